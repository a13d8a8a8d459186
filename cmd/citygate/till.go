package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/till"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newTillCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "till",
		Short: "Payments by the codes of customers' wallets, at a counter or a gate",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newTillPayCommand(sys), newTillShowCommand(sys), newTillListCommand(sys), newTillCancelCommand(sys), newTillRefundCommand(sys))
	return c
}

// tillFlags name a tenant, and open the installation with the keys that sign requests to
// providers.
type tillFlags struct {
	gatewayFlags
	tenant, payment string
}

func (f *tillFlags) register(c *cobra.Command) {
	f.withKeys(c)
	c.Flags().StringVar(&f.tenant, "tenant", "", "number or short name")
}

func (f *tillFlags) run(c *cobra.Command, sys *system, fn func(in *installation, id citygate.TenantID) error) (err error) {
	in, err := f.signing(c.Context(), sys, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(c.Context())) }()
	t, err := in.tenant(c.Context(), f.tenant)
	if err != nil {
		return err
	}
	return fn(in, t.ID)
}

// one does something to the payment that --payment names and prints it.
func (f *tillFlags) one(c *cobra.Command, sys *system, fn func(in *installation, tenant citygate.TenantID, payment citygate.UUID) (till.Payment, error)) error {
	id, err := citygate.ParseUUID(till.Prefix, f.payment)
	if err != nil {
		return &usageError{fmt.Errorf("--payment: %w", err)}
	}
	return f.run(c, sys, func(in *installation, tenant citygate.TenantID) error {
		p, err := fn(in, tenant, id)
		if err != nil {
			return err
		}
		refunds, err := in.TillRefunds(c.Context(), tenant, &p)
		if err != nil {
			return err
		}
		return tillLine(sys, &p, refunds...)
	})
}

// tillLine is a payment as the commands print it, with its refunds where they are known.
func tillLine(sys *system, p *till.Payment, refunds ...edge.TillRefund) error {
	line := map[string]any{"id": p.ID.Text(till.Prefix), "order": p.Order, "amount_minor": p.Amount.Minor, "currency": p.Amount.Currency, "contract": p.Contract,
		"payee": p.Payee, "state": p.State, "our_id": p.OurID, "asked_at": p.AskedAt}
	for name, text := range map[string]string{"reason": p.Reason, "till": p.Till, "reversing_for": p.ReversingFor} {
		if text != "" {
			line[name] = text
		}
	}
	if p.Route.Rule != "" {
		line["rule"], line["policy_version"] = p.Route.Rule, p.Route.Version
	}
	if p.Route.Finding != "" {
		line["finding"] = p.Route.Finding
	}
	if p.TakenBearer != "" {
		line["taken_bearer"] = p.TakenBearer
	}
	for name, minor := range map[string]int64{"refunded_minor": p.Refunded, "returned_minor": p.Returned, "taken_minor": p.Taken} {
		if minor > 0 {
			line[name] = minor
		}
	}
	for name, at := range map[string]time.Time{"paid_at": p.PaidAt, "cleared_at": p.ClearedAt} {
		if !at.IsZero() {
			line[name] = at
		}
	}
	if len(refunds) > 0 {
		line["refunds"] = refunds
	}
	return json.NewEncoder(sys.Stdout).Encode(line)
}

func newTillPayCommand(sys *system) *cobra.Command {
	var f tillFlags
	var o till.Order
	var currency string
	c := &cobra.Command{
		Use:   "pay --tenant TENANT --order NAME --amount MINOR --currency CODE --subject TEXT",
		Short: "Charge a customer's wallet by the code it shows, which is read from standard input",
		Long: `Charge a customer's wallet by the code that it shows, and print the payment. The code is read from standard input, as a
scanner types it: it is good for a minute, and command lines are for everybody to see.

The same order again prints the payment there is: nothing is charged twice. A payment that is asked or paying is not
certain yet: a running gateway asks after it, and so does till show; if the customer does not confirm it in time, it is
taken back.`,
		Example: `  echo 281234567890123456 | citygate till pay --tenant harbour-tea --order R-1007 --amount 1800 --currency CNY --subject "Two teas"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Amount.Currency = citygate.Currency(currency)
			raw, err := io.ReadAll(io.LimitReader(sys.Stdin, 1024))
			if err != nil {
				return fmt.Errorf("read the payment code: %w", err)
			}
			o.Code = citygate.NewSecret([]byte(strings.TrimSpace(string(raw))))
			return f.run(cmd, sys, func(in *installation, id citygate.TenantID) error {
				p, err := in.PayAtTill(cmd.Context(), actor(sys), id, o)
				if err != nil {
					return err
				}
				return tillLine(sys, &p)
			})
		},
	}
	f.register(c)
	flags := c.Flags()
	flags.StringVar(&o.Name, "order", "", "your own name for it, once per tenant")
	flags.Int64Var(&o.Amount.Minor, "amount", 0, "in minor units of the currency")
	flags.StringVar(&currency, "currency", "", "such as CNY")
	flags.StringVar(&o.Subject, "subject", "", "what the customer reads")
	flags.StringVar(&o.Contract, "contract", "", "of the provider (default: told from the code, or by the rules of routing)")
	flags.StringVar(&o.Till, "till", "", "which counter, as you call it")
	flags.StringVar(&o.Payee, "payee", "", "who earns it (default: the tenant's default payee)")
	flags.DurationVar(&o.Wait, "wait", till.WaitDefault, "how long the customer may take to confirm")
	required(c, "tenant", "order", "amount", "currency", "subject")
	return c
}

func newTillShowCommand(sys *system) *cobra.Command {
	var f tillFlags
	c := &cobra.Command{
		Use:   "show --tenant TENANT --payment ID",
		Short: "Ask after a payment, if its time has come, and print it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.one(cmd, sys, func(in *installation, tenant citygate.TenantID, id citygate.UUID) (till.Payment, error) {
				return in.AskAtTill(cmd.Context(), tenant, id)
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.payment, "payment", "", "id of the payment")
	required(c, "tenant", "payment")
	return c
}

func newTillListCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, state, order string
	c := &cobra.Command{
		Use:   "list --tenant TENANT",
		Short: "Print payments, one line of JSON each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				return eachPage(func(last *till.Payment) ([]till.Payment, error) {
					return till.List(cmd.Context(), tx, state, order, last.ID, pageRows)
				}, func(p *till.Payment) error { return tillLine(sys, p) })
			})
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&name, "tenant", "", "number or short name")
	flags.StringVar(&state, "state", "", strings.Join(till.States(), ", "))
	choice(c, "state", till.States()...)
	flags.StringVar(&order, "order", "", "of this name alone")
	required(c, "tenant")
	return c
}

func newTillCancelCommand(sys *system) *cobra.Command {
	var f tillFlags
	var reason string
	c := &cobra.Command{
		Use:   "cancel --tenant TENANT --payment ID",
		Short: "Give up a payment that is not made yet: it is taken back",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.one(cmd, sys, func(in *installation, tenant citygate.TenantID, id citygate.UUID) (till.Payment, error) {
				return in.CancelAtTill(cmd.Context(), actor(sys), tenant, id, reason)
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.payment, "payment", "", "id of the payment")
	c.Flags().StringVar(&reason, "reason", "", "for the audit log")
	required(c, "tenant", "payment")
	return c
}

func newTillRefundCommand(sys *system) *cobra.Command {
	var f tillFlags
	var b till.GiveBack
	c := &cobra.Command{
		Use:   "refund --tenant TENANT --payment ID --name NAME --reason TEXT [--amount MINOR]",
		Short: "Give a payment back, or a part of it, to the customer who made it",
		Long: `Give a payment back, or a part of it, through the provider that took it; a running gateway sends it. The same name
again is the same refund: nothing is given twice.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.one(cmd, sys, func(in *installation, tenant citygate.TenantID, id citygate.UUID) (till.Payment, error) {
				b.Payment = id
				return in.RefundAtTill(cmd.Context(), actor(sys), tenant, b)
			})
		},
	}
	f.register(c)
	flags := c.Flags()
	flags.StringVar(&f.payment, "payment", "", "id of the payment")
	flags.StringVar(&b.Name, "name", "", "your own name for it, once per payment")
	flags.Int64Var(&b.Amount, "amount", 0, "in minor units (default: all that is left)")
	flags.StringVar(&b.Reason, "reason", "", "for the audit log")
	required(c, "tenant", "payment", "name", "reason")
	return c
}
