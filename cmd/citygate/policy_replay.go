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
)

func newPolicyReplayCommand(sys *system) *cobra.Command {
	var f policyFlags
	var draft, day string
	c := &cobra.Command{
		Use:   "replay --draft FILE --day DATE",
		Short: "Say what a draft would have decided on a day's taps, before it is published",
		Long: `Decides on every tap of a business date by the rule set in FILE and prints what would change: how many taps
that were accepted would be refused, by which rule, with the fares known at the reader, and how many refused ones
would be admitted. It changes nothing. Limits that ask about a rider's earlier taps are passed over: what each reader
remembered is not known afterwards. A day of any size goes through a bounded memory.`,
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

type replayJSON struct {
	Day     string           `json:"day"`
	Taps    int              `json:"taps"`
	Same    int              `json:"same"`
	Unread  int              `json:"unread"`
	Refused []replayLineJSON `json:"accepted_to_refused"`
	Admits  []replayLineJSON `json:"refused_to_accepted"`
}

type replayLineJSON struct {
	Reason string                      `json:"reason"`
	Rule   string                      `json:"rule,omitempty"`
	Taps   int                         `json:"taps"`
	Fares  map[citygate.Currency]int64 `json:"fares_minor"`
	NoFare int                         `json:"fare_not_known"`
}

func printReplay(w io.Writer, r *gateway.Replay, asJSON bool) error {
	lines := func(in []gateway.ReplayLine) []replayLineJSON {
		out := make([]replayLineJSON, len(in))
		for i, l := range in {
			out[i] = replayLineJSON{string(l.Reason), l.Rule, l.Taps, l.Fares, l.NoFare}
		}
		return out
	}
	out := replayJSON{r.Day.String(), r.Taps, r.Same, r.Unread, lines(r.Refused), lines(r.Admits)}
	if asJSON {
		return json.NewEncoder(w).Encode(out)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d taps, %d decided as they were, %d without a code to try\n", out.Day, out.Taps, out.Same, out.Unread)
	for _, change := range []struct {
		what  string
		lines []replayLineJSON
	}{{"accepted -> refused", out.Refused}, {"refused -> accepted", out.Admits}} {
		for _, l := range change.lines {
			why := l.Reason
			if l.Rule != "" {
				why += " by " + l.Rule
			}
			fmt.Fprintf(&b, "%s: %d taps, %s", change.what, l.Taps, why)
			for _, c := range slices.Sorted(maps.Keys(l.Fares)) {
				fmt.Fprintf(&b, ", %s %d in minor units", c, l.Fares[c])
			}
			if l.NoFare > 0 {
				fmt.Fprintf(&b, ", %d without a known fare", l.NoFare)
			}
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
