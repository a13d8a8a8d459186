package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/edge"
)

func newPolicyReplayCommand(sys *system) *cobra.Command {
	var f policyFlags
	var draft, day string
	c := &cobra.Command{
		Use:   "replay --draft FILE --day DATE",
		Short: "Say what a draft would have decided on a day's taps, before it is published",
		Long: `Decides on every tap of a business date by the rule set in FILE and prints what would change: how many taps
that were accepted would be refused, by which rule, with their fares, known at the reader or decided by pricing later,
and how many refused ones would be admitted; and which of the day's charges the draft's routing would have given to
another contract. It changes nothing, and says last what it cannot know. A day of any size goes through a bounded memory.`,
		Example: `  citygate policy replay --tenant harbour-bus --draft rules.yaml --day 2026-11-21`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			date, err := citygate.ParseDate(day)
			if err != nil {
				return &usageError{fmt.Errorf("--day %q: want a date such as 2026-11-21", day)}
			}
			set, err := readRules(draft)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			t, err := in.tenant(ctx, f.tenant)
			if err != nil {
				return err
			}
			r, err := in.ReplayRules(ctx, t.ID, set, date)
			if err != nil {
				return err
			}
			return printReplay(sys.Stdout, r, f.json)
		},
	}
	c.Flags().StringVar(&draft, "draft", "", "the rule set's file")
	c.Flags().StringVar(&day, "day", "", "business date, such as 2026-11-21")
	_, _ = c.MarkFlagRequired("draft"), c.MarkFlagRequired("day")
	f.register(c)
	f.databaseOnly(c)
	return c
}

func printReplay(w io.Writer, r *gateway.Replay, asJSON bool) error {
	out := gateway.ReplayView(r)
	if asJSON {
		return json.NewEncoder(w).Encode(out)
	}
	var b strings.Builder
	money := func(by map[citygate.Currency]int64) {
		for _, c := range slices.Sorted(maps.Keys(by)) {
			fmt.Fprintf(&b, ", %s %d in minor units", c, by[c])
		}
	}
	counted := func(n int, what string) {
		if n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, what)
		}
	}
	fmt.Fprintf(&b, "%s: %d taps, %d decided as they were", out.Day, out.Taps, out.Same)
	counted(out.Erased, "whose code is not kept any more")
	counted(out.Unread, "without a code to try")
	b.WriteByte('\n')
	for _, change := range []struct {
		what  string
		lines []edge.ReplayLine
	}{{"accepted -> refused", out.Refused}, {"refused -> accepted", out.Admits}} {
		for _, l := range change.lines {
			why := l.Reason
			if l.Rule != "" {
				why += " by " + l.Rule
			}
			fmt.Fprintf(&b, "%s: %d taps, %s", change.what, l.Taps, why)
			money(l.Fares)
			counted(l.Decided, "of them priced later")
			counted(l.Parts, "of rides that another tap began")
			counted(l.NoFare, "without a known fare")
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, "%s: %d charges, %d stay with their contract\n", out.Day, out.Charges, out.Stay)
	for _, m := range out.Moved {
		by := "no rule: the payer's own"
		if m.Rule != "" {
			by = "by " + m.Rule
		}
		fmt.Fprintf(&b, "%s -> %s: %d charges, %s", m.From, m.To, m.Charges, by)
		money(m.Amounts)
		if m.Finding != "" {
			b.WriteString(" (" + m.Finding + ")")
		}
		b.WriteByte('\n')
	}
	for _, limit := range out.Unknown {
		b.WriteString("not known: " + limit + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
