package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newProductCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "product",
		Short: "What a tenant sells and gives to riders: tickets, passes, stored value",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newProductPublishCommand(sys), newProductListCommand(sys), newProductSellCommand(sys), newProductSalesCommand(sys), newProductRefundCommand(sys))
	return c
}

// documentFile reads the JSON document that a flag names.
func documentFile(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	return raw, nil
}

func newProductPublishCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, file, from string
	c := &cobra.Command{
		Use:   "publish --tenant TENANT --file CATALOGUE.json",
		Short: "Publish the next version of the catalogue",
		Long: `Publish the next version of what a tenant sells and gives, in force from --from on, now if it is not given. A
version never changes; the same again is no error. A catalogue:

  {"version":1,"currency":"CNY","products":[
    {"id":"ten","name":"Ten rides","kind":"ticket","price":1800,"rides":10,"sold_by":["rider","operator"],"refund":"rest"},
    {"id":"day","kind":"pass","price":900,"days":1,"first_use":true,"within_days":90,"sold_by":["rider"]},
    {"id":"purse","kind":"stored_value","price":5000,"value":5500,"sold_by":["rider"],"refund":"rest"},
    {"id":"staff","kind":"zero_fare","price":0}]}

Kinds are ticket, pass, stored_value and zero_fare; sold_by says who sells it (nobody: it is given by fare give);
buyers names categories of which the buyer must have proved one; begins is paid or asked; refund is unused, rest or
none; keep_days is how long after its end late taps may come in.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			at, err := instant(sys, from)
			if err != nil {
				return err
			}
			if from == "" {
				at = time.Time{} // the transaction's own now
			}
			raw, err := documentFile(file)
			if err != nil {
				return err
			}
			catalogue, err := entitlement.ParseCatalogue(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(file), err)
			}
			return f.withTenant(cmd, sys, name, func(in *installation, id citygate.TenantID) error {
				return in.PublishCatalogue(cmd.Context(), actor(sys), id, catalogue, at)
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name")
	c.Flags().StringVar(&file, "file", "", "JSON file of the catalogue")
	c.Flags().StringVar(&from, "from", "", "when it begins, RFC 3339 (default now)")
	required(c, "tenant", "file")
	return c
}

// withTenant runs fn for a tenant of an installation that needs no keys.
func (f gatewayFlags) withTenant(c *cobra.Command, sys *system, name string, fn func(in *installation, id citygate.TenantID) error) (err error) {
	in, err := f.reading(c.Context(), sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(c.Context())) }()
	t, err := in.tenant(c.Context(), name)
	if err != nil {
		return err
	}
	return fn(in, t.ID)
}

func newProductListCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name string
	c := &cobra.Command{
		Use:   "list --tenant TENANT",
		Short: "Print every version of the catalogue, one line of JSON each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				found, err := pricing.Catalogues(cmd.Context(), tx)
				if err != nil {
					return err
				}
				out := json.NewEncoder(sys.Stdout)
				for _, p := range found {
					if err := out.Encode(map[string]any{"from": p.From, "catalogue": p.Catalogue}); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name")
	required(c, "tenant")
	return c
}

// saleLine is a sale as the commands print it.
func saleLine(sys *system, s *sales.Sale) error {
	line := map[string]any{"id": s.ID.Text(sales.Prefix), "rider": s.Rider.String(), "order": s.Order, "product": s.Offer.ID, "price_minor": s.Price.Minor,
		"currency": s.Price.Currency, "sold_by": s.SoldBy, "state": s.State, "asked_at": s.AskedAt}
	for name, minor := range map[string]int64{"refund_minor": s.Refund, "left_over_minor": s.LeftOver} {
		if minor > 0 {
			line[name] = minor
		}
	}
	return json.NewEncoder(sys.Stdout).Encode(line)
}

func newProductSellCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, rider, product, order string
	c := &cobra.Command{
		Use:   "sell --tenant TENANT --rider ISSUER/LIST/INDEX --product ID --order NAME",
		Short: "Sell a rider a product, through the provider of the account",
		Long: `Sell a rider a product of the catalogue and print the sale. A running gateway sends the charge; the rider has the
product when the money is certain. The same order again gives the sale there is: nothing is bought twice.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			who, err := citygate.ParseRider(rider)
			if err != nil {
				return &usageError{fmt.Errorf("--rider: %w", err)}
			}
			return f.withTenant(cmd, sys, name, func(in *installation, id citygate.TenantID) error {
				s, err := in.Sell(cmd.Context(), actor(sys), id, sales.Order{Rider: who, Product: product, Name: order, By: entitlement.ByOperator})
				if err != nil {
					return err
				}
				return saleLine(sys, &s)
			})
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&name, "tenant", "", "number or short name of the tenant that issued the code")
	flags.StringVar(&rider, "rider", "", "issuer/list/index of the rider's credential")
	flags.StringVar(&product, "product", "", "product of the catalogue")
	flags.StringVar(&order, "order", "", "your own name for the order, once per rider")
	required(c, "tenant", "rider", "product", "order")
	return c
}

func newProductSalesCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, rider, state string
	c := &cobra.Command{
		Use:   "sales --tenant TENANT",
		Short: "Print the products that riders asked for, one line of JSON each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var who citygate.Rider
			var err error
			if rider != "" {
				who, err = citygate.ParseRider(rider)
			}
			if err != nil {
				return &usageError{fmt.Errorf("--rider: %w", err)}
			}
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				return eachPage(func(last *sales.Sale) ([]sales.Sale, error) {
					return sales.List(cmd.Context(), tx, who, state, last.ID, pageRows)
				}, func(s *sales.Sale) error { return saleLine(sys, s) })
			})
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&name, "tenant", "", "number or short name")
	flags.StringVar(&rider, "rider", "", "of one rider alone: issuer/list/index")
	flags.StringVar(&state, "state", "", "asked, paid, held, declined, refunding, refunded, closed or reversed")
	required(c, "tenant")
	choice(c, "state", "asked", "paid", "held", "declined", "refunding", "refunded", "closed", "reversed")
	return c
}

func newProductRefundCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, sale, reason string
	c := &cobra.Command{
		Use:   "refund --tenant TENANT --sale ID --reason TEXT",
		Short: "Give back what the product's rule allows, to the provider that took it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := citygate.ParseUUID(sales.Prefix, sale)
			if err != nil {
				return &usageError{fmt.Errorf("--sale: %w", err)}
			}
			return f.withTenant(cmd, sys, name, func(in *installation, tenant citygate.TenantID) error {
				s, err := in.RefundSale(cmd.Context(), actor(sys), tenant, id, reason)
				if err != nil {
					return err
				}
				return saleLine(sys, &s)
			})
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&name, "tenant", "", "number or short name")
	flags.StringVar(&sale, "sale", "", "id of the sale")
	flags.StringVar(&reason, "reason", "", "for the audit log")
	required(c, "tenant", "sale", "reason")
	return c
}
