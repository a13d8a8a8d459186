package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newTenantRetentionCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var days int
	var automatic bool
	c := &cobra.Command{
		Use:   "retention NUMBER|NAME",
		Short: "Show or set how long a tenant keeps taps and rider detail",
		Long: `Prints how long a tenant keeps taps and rider detail, and how far it has erased them, as one JSON object on one
line; with --keep-days or --automatic sets it. It is 120 days at least. Without --automatic nothing is erased
but by "citygate tenant erase"; with it a running gateway erases once a day.`,
		Example: `  citygate tenant retention harbour-bus --keep-days 180 --automatic`,
		Args:    one("the tenant's number or short name"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			t, err := in.tenant(ctx, args[0])
			if err != nil {
				return err
			}
			var s retention.Settings
			if err := in.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
				if s, err = retention.Read(ctx, tx); err != nil {
					return err
				}
				set := cmd.Flags().Changed
				if !set("keep-days") && !set("automatic") {
					return nil
				}
				want := s
				if set("keep-days") {
					want.KeepDays = days
				}
				if set("automatic") {
					want.Automatic = automatic
				}
				s, err = retention.Set(ctx, tx, actor(sys), want.KeepDays, want.Automatic)
				return err
			}); err != nil {
				return err
			}
			return json.NewEncoder(sys.Stdout).Encode(s)
		},
	}
	f.databaseOnly(c)
	c.Flags().IntVar(&days, "keep-days", 0, "days that taps and rider detail are kept, 120 to 3660")
	c.Flags().BoolVar(&automatic, "automatic", false, "have a running gateway erase what is older")
	return c
}

func newTenantEraseCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var before string
	var dryRun bool
	c := &cobra.Command{
		Use:   "erase --before DATE NUMBER|NAME",
		Short: "Erase a tenant's taps and rider detail from before a business date",
		Long: `Erases taps with their evidence, the displays they used and whatever else joins a rider's code to a tap, from
before a business date that is longer ago than the tenant keeps them (120 days at least). Fares, transfers,
charges, refunds and payouts keep their amounts, and "citygate ledger check" still proves the books.

What is open holds its rows back: journeys without a fare yet, charges and refunds under way or named by an open
reconciliation item, debts that are not paid. Run it again when those are done. It may be stopped and run again
at any time, beside a gateway. Exports and backups made before still have what is erased here.

Prints one JSON object on one line; --dry-run counts and changes nothing.`,
		Example: `  citygate tenant erase --before 2026-07-01 --dry-run harbour-bus`,
		Args: func(c *cobra.Command, args []string) error {
			if before == "" {
				return &usageError{fmt.Errorf("want --before DATE (see '%s --help')", c.CommandPath())}
			}
			return one("the tenant's number or short name")(c, args)
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			day, err := time.Parse(time.DateOnly, before)
			if err != nil {
				return &usageError{fmt.Errorf("--before %q is not a date such as 2026-07-01", before)}
			}
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			t, err := in.tenant(ctx, args[0])
			if err != nil {
				return err
			}
			r, err := in.EraseBefore(ctx, actor(sys), t.ID, citygate.DateOf(day), dryRun)
			if err != nil {
				return err
			}
			return json.NewEncoder(sys.Stdout).Encode(r)
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&before, "before", "", "business date, such as 2026-07-01; it is kept, what is before goes (required)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "count and change nothing")
	return c
}
