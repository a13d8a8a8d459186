package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newFareGiveCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, rider, product, category, from, until, evidence string
	c := &cobra.Command{
		Use:   "give --tenant TENANT --rider ISSUER/LIST/INDEX --product ID | --category NAME",
		Short: "Give a rider a product of the catalogue or tariff, or record that a category was proved",
		Long: `Gives a rider a pass, a ticket or a zero fare of the catalogue or the tariff, or records that the rider proved a category that
the tariff wants proved, and prints the id of the right. It costs nothing here: what was sold elsewhere, what
staff have, what was shown at a counter. Stored value is money and is not given.

The right holds for rides whose first tap is at or after --from, now if it is not given; rides of the past stay
as they were priced. Giving the same again gives the same id.`,
		Example: `  citygate fare give --tenant harbour-metro --rider 1/0/42 --product staff --evidence "roster 7"
  citygate fare give --tenant harbour-metro --rider 1/0/43 --category student --until 2027-08-31T23:59:59+08:00 --evidence "school 4"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			g := pricing.Grant{Product: product, Category: fare.Category(category), Evidence: evidence}
			var err error
			if g.Rider, err = citygate.ParseRider(rider); err != nil || (product == "") == (category == "") {
				return &usageError{errors.Join(errors.New("fare give needs a rider such as 1/0/42, and --product or --category"), err)}
			}
			for text, into := range map[*string]*time.Time{&from: &g.From, &until: &g.Until} {
				if *text == "" {
					continue
				}
				if *into, err = time.Parse(time.RFC3339, *text); err != nil {
					return &usageError{fmt.Errorf("%q: want a time such as 2026-11-21T08:30:00+08:00", *text)}
				}
			}
			var id citygate.UUID
			err = withPricing(cmd.Context(), sys, f, name, func(in *installation, tx *pg.Tx) (err error) {
				id, err = in.Pricing.GiveRight(cmd.Context(), tx, actor(sys), g)
				return err
			})
			if err == nil {
				_, err = fmt.Fprintln(sys.Stdout, id.Text(pricing.RightPrefix))
			}
			return err
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&name, "tenant", "", "number or short name of the tenant that owns the tariff")
	flags.StringVar(&rider, "rider", "", "issuer/list/index of the rider's credential")
	flags.StringVar(&product, "product", "", "product of the catalogue or the tariff")
	flags.StringVar(&category, "category", "", "category that was proved")
	flags.StringVar(&from, "from", "", "when the right begins, RFC 3339 (default now)")
	flags.StringVar(&until, "until", "", "when a proof ends, RFC 3339 (default never)")
	flags.StringVar(&evidence, "evidence", "", "what was shown for it: a reference of yours")
	required(c, "tenant", "rider")
	return c
}

func newFareEndCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, right string
	c := &cobra.Command{
		Use:   "end --tenant TENANT --right ID",
		Short: "End a right now: no later ride has it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := citygate.ParseUUID(pricing.RightPrefix, right)
			if err != nil {
				return &usageError{err}
			}
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				return pricing.EndRight(cmd.Context(), tx, actor(sys), id)
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant")
	c.Flags().StringVar(&right, "right", "", "id that fare give printed")
	required(c, "tenant", "right")
	return c
}

// withPricing runs fn in a transaction of a tenant.
func withPricing(ctx context.Context, sys *system, f gatewayFlags, name string, fn func(*installation, *pg.Tx) error) (err error) {
	in, err := f.reading(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	t, err := in.tenant(ctx, name)
	if err != nil {
		return err
	}
	return in.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error { return fn(in, tx) })
}

func newFareRefundCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, journey, order, reason string
	var void bool
	var goodwill int64
	c := &cobra.Command{
		Use:   "refund --tenant TENANT --journey ID --name NAME --reason TEXT --void | --goodwill MINOR",
		Short: "Give a fare back, to the provider that collected it",
		Long: `Gives a fare back. With --void it is as if the ride had not been: it costs nothing, counts toward no cap and uses
no product, and the rides after it are priced again. With --goodwill so many minor units are given back, and no
other ride changes. The same --name again gives nothing twice.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := citygate.ParseUUID(pricing.Prefix, journey)
			if err != nil || void == (goodwill > 0) {
				return &usageError{errors.Join(errors.New("fare refund needs the id of a journey, and --void or --goodwill"), err)}
			}
			return f.withTenant(cmd, sys, name, func(in *installation, tenant citygate.TenantID) error {
				return in.GiveBack(cmd.Context(), actor(sys), tenant, pricing.GiveBack{Journey: id, Name: order, Void: void, Goodwill: goodwill, Reason: reason})
			})
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&name, "tenant", "", "number or short name of the tenant that decided the fare")
	flags.StringVar(&journey, "journey", "", "id of the journey")
	flags.StringVar(&order, "name", "", "your own name for the refund, once per journey")
	flags.StringVar(&reason, "reason", "", "for the audit log")
	flags.BoolVar(&void, "void", false, "as if the ride had not been")
	flags.Int64Var(&goodwill, "goodwill", 0, "so much of the fare, in minor units")
	required(c, "tenant", "journey", "name", "reason")
	return c
}
