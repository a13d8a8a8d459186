package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/tenants"
)

func newClockCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "clock",
		Short: "Show and move the clocks of sandbox tenants",
		Long: `A sandbox tenant has a clock of its own behind every timestamp that is made for it: taps, fares, windows, due
work, retention, credentials, approvals, tokens, the audit log. It begins with the platform's clock and can be moved on,
so that a day's windows settle, or 130 days pass and taps are erased, in a minute. What becomes due is done by a running
gateway. A live tenant has the platform's clock.

Tenants that settle with each other should show the same time: --below moves an authority and all it owns. Tokens and API
keys of a tenant run out by its clock. Devices take their time from what the gateway tells them.`,
	}
	c.AddCommand(newClockShowCommand(sys), newClockAdvanceCommand(sys), newClockSetCommand(sys))
	return c
}

// clockFlags are the flags that every clock command has.
type clockFlags struct {
	gatewayFlags
	below, asJSON bool
}

func (f *clockFlags) add(c *cobra.Command) {
	f.databaseOnly(c)
	c.Flags().BoolVar(&f.below, "below", false, "also the tenants that it owns")
	c.Flags().BoolVar(&f.asJSON, "json", false, "one JSON object a line")
}

// each runs do for a tenant, with --below for all it owns too, and prints the
// clocks. Of those that it owns live ones are left out.
func (f *clockFlags) each(ctx context.Context, sys *system, name string, do func(*installation, tenants.Tenant) (tenants.Clock, error)) (err error) {
	in, err := f.reading(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	t, err := in.tenant(ctx, name)
	if err != nil {
		return err
	}
	list := []tenants.Tenant{t}
	if f.below {
		if list, err = in.Tenants.Under(ctx, t.ID); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(sys.Stdout, 0, 0, 2, ' ', 0)
	for _, each := range list {
		if each.ID != t.ID && each.Mode != tenants.Sandbox {
			continue
		}
		c, err := do(in, each)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", each.Slug, err), table.Flush())
		}
		if f.asJSON {
			line := map[string]any{"tenant": each.Slug, "mode": each.Mode, "now": c.Now, "ahead_seconds": int64(c.Ahead / time.Second)}
			if err := json.NewEncoder(sys.Stdout).Encode(line); err != nil {
				return err
			}
			continue
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", each.Slug, each.Mode, c.Now.Format(time.RFC3339), aheadText(c.Ahead))
	}
	return table.Flush()
}

func aheadText(ahead time.Duration) string {
	if ahead == 0 {
		return "as the platform"
	}
	days, rest := ahead/(24*time.Hour), ahead%(24*time.Hour)
	text := strings.TrimPrefix(fmt.Sprintf("%dd%s", days, rest.Truncate(time.Second)), "0d")
	return strings.TrimSuffix(text, "d0s") + map[bool]string{true: "d", false: ""}[days > 0 && rest < time.Second] + " ahead"
}

// spanOf reads a span such as 36h, 1d or 130d12h.
func spanOf(text string) (time.Duration, error) {
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q: want a span such as 36h, 1d or 130d12h", text)
	}
	span := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return span, nil
	}
	more, err := time.ParseDuration(rest)
	return span + more, err
}

func newClockShowCommand(sys *system) *cobra.Command {
	var f clockFlags
	c := &cobra.Command{
		Use: "show NUMBER|NAME", Short: "Print the time on a tenant's clock", Example: `  citygate clock show harbour-city --below`,
		Args: one("the tenant's number or short name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return f.each(ctx, sys, args[0], func(in *installation, t tenants.Tenant) (tenants.Clock, error) { return in.Tenants.Clock(ctx, t.ID) })
		},
	}
	f.add(c)
	return c
}

func newClockAdvanceCommand(sys *system) *cobra.Command {
	var f clockFlags
	var by string
	c := &cobra.Command{
		Use: "advance --by SPAN NUMBER|NAME", Short: "Move a sandbox tenant's clock on",
		Example: `  citygate clock advance --by 1d harbour-city --below
  citygate clock advance --by 90m harbour-bus`,
		Args: one("the tenant's number or short name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			span, err := spanOf(by)
			if err != nil || span <= 0 {
				return &usageError{fmt.Errorf("--by %q: want a span such as 36h, 1d or 130d12h", by)}
			}
			ctx := cmd.Context()
			return f.each(ctx, sys, args[0], func(in *installation, t tenants.Tenant) (tenants.Clock, error) {
				return in.Tenants.AdvanceClock(ctx, actor(sys), t.ID, span)
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&by, "by", "", "how far: hours, minutes and seconds such as 90m, or days such as 1d (required)")
	return c
}

func newClockSetCommand(sys *system) *cobra.Command {
	var f clockFlags
	var to string
	var back bool
	c := &cobra.Command{
		Use: "set --to TIME NUMBER|NAME", Short: "Have a sandbox tenant's clock show a time",
		Long: `Has a sandbox tenant's clock show a time, which is not before the platform's. A time before what it shows is refused
unless --back says that this is meant: rows that were made later stay, and what was paid, closed or published stays so.`,
		Example: `  citygate clock set --to 2027-01-01T00:00:00+08:00 harbour-city --below`,
		Args:    one("the tenant's number or short name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := time.Parse(time.RFC3339, to)
			if err != nil {
				return &usageError{fmt.Errorf("--to %q: want a time such as 2027-01-01T00:00:00+08:00", to)}
			}
			ctx := cmd.Context()
			return f.each(ctx, sys, args[0], func(in *installation, t tenants.Tenant) (tenants.Clock, error) {
				return in.Tenants.SetClock(ctx, actor(sys), t.ID, at, back)
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&to, "to", "", "the time, such as 2027-01-01T00:00:00+08:00 (required)")
	c.Flags().BoolVar(&back, "back", false, "it may be before what the clock shows")
	return c
}
