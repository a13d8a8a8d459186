package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants"
)

func newFareRecomputeCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, day string
	var asJSON bool
	c := &cobra.Command{
		Use:   "recompute --date DATE [--tenant TENANT]",
		Short: "Derive a day's fares again from the taps and compare",
		Long: `Builds the journeys that began on a business date again from their taps, prices them by the tariff versions
that were valid, in the order of each rider's rides, and compares with what was decided: the amount, the
explanation byte by byte and the hash of what the price depended on.

Prints each journey that differs on a line of its own and exits 1; if there is none it says what it derived
and exits 0. It changes nothing. It needs the secret store where riders joined their devices, and no key else.
Journeys that are still open are left out, and so are those
whose taps are erased, which it counts.`,
		Example: `  citygate fare recompute --date 2026-11-21 --tenant harbour-metro --data /var/lib/citygate/serve`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			date, err := citygate.ParseDate(day)
			if err != nil {
				return &usageError{fmt.Errorf("--date: %w", err)}
			}
			return fareRecompute(cmd.Context(), sys, f, name, date, asJSON)
		},
	}
	f.withKeys(c)
	c.Flags().StringVar(&day, "date", "", "business date on which the journeys began")
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant (default: every tenant)")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on one line")
	required(c, "date")
	return c
}

// recomputed is one tenant's part of what fare recompute --json prints.
type recomputed struct {
	Tenant     citygate.TenantID `json:"tenant"`
	Date       string            `json:"date"`
	Journeys   int               `json:"journeys"`
	TotalMinor int64             `json:"total_minor"`
	Erased     int               `json:"erased"`
	Different  []differentFare   `json:"different"`
}

type differentFare struct {
	Journey string `json:"journey"`
	N       int    `json:"n"`
	Field   string `json:"field"`
	Stored  string `json:"stored"`
	Derived string `json:"derived"`
}

func fareRecompute(ctx context.Context, sys *system, f gatewayFlags, name string, date citygate.Date, asJSON bool) (err error) {
	in, err := f.readingSecrets(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	all, err := in.Tenants.All(ctx)
	if name != "" {
		var t tenants.Tenant
		t, err = in.tenant(ctx, name)
		all = []tenants.Tenant{t}
	}
	if err != nil {
		return err
	}
	report := []recomputed{}
	different := 0
	for _, t := range all {
		if err := in.People.Prime(ctx, t.ID); err != nil {
			return fmt.Errorf("tenant %s: %w", t, err)
		}
		r, err := in.Pricing.Recompute(ctx, t.ID, date)
		if err != nil {
			return fmt.Errorf("tenant %s: %w", t, err)
		}
		if r.Journeys+r.Erased == 0 {
			continue
		}
		line := recomputed{Tenant: t.ID, Date: date.String(), Journeys: r.Journeys, TotalMinor: r.Total, Erased: r.Erased, Different: []differentFare{}}
		for _, d := range r.Different {
			line.Different = append(line.Different, differentFare{d.Journey.Text(pricing.Prefix), d.N, d.Field, d.Stored, d.Derived})
		}
		report, different = append(report, line), different+len(r.Different)
	}
	if asJSON {
		if err := json.NewEncoder(sys.Stdout).Encode(report); err != nil {
			return err
		}
	} else {
		for _, r := range report {
			for _, d := range r.Different {
				fmt.Fprintf(sys.Stdout, "tenant %d: %s decision %d: %s is %s, derived %s\n", r.Tenant, d.Journey, d.N, d.Field, d.Stored, d.Derived)
			}
			fmt.Fprintf(sys.Stdout, "tenant %d: %s: %d journeys derived again, %d differ, %d erased\n", r.Tenant, r.Date, r.Journeys, len(r.Different), r.Erased)
		}
	}
	if different > 0 {
		return fmt.Errorf("%d fares are not what their taps give", different)
	}
	if len(report) == 0 {
		say(sys, "no journey began on "+date.String())
	}
	return nil
}
