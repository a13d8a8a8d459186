package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newSettleDisputeCommand(sys *system) *cobra.Command {
	var f accessFlags
	var d collect.Dispute
	c := &cobra.Command{
		Use:   "dispute --tenant TENANT --bearer issuer|provider|platform --reason TEXT --evidence TEXT dbt_...",
		Short: "Dispute that a party bears a debt",
		Long: `Records that issuer, provider or platform say they do not bear what rules or terms tell them to bear of a debt. That is
possible for 30 days after the debt was opened, or "dispute_days" of the risk terms. Until it is decided nothing of it is
paid and the debt is not written off.`,
		Example: `  citygate settle dispute --tenant harbour-metro --bearer platform --reason "the list was older than agreed" --evidence "list 4711, terminal 12" dbt_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the debt"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if d.Debt, err = citygate.ParseUUID("dbt_", args[0]); err != nil {
				return &usageError{err}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				v, err := in.OpenDispute(cmd.Context(), actor(sys), tenant, d)
				if err == nil {
					_, err = fmt.Fprintf(sys.Stdout, "%s %s\n", v.ID.Text("dsp_"), v.State)
				}
				return err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&d.Bearer, "bearer", "", "issuer, provider or platform: who disputes it")
	c.Flags().StringVar(&d.Reason, "reason", "", "why")
	c.Flags().StringVar(&d.Evidence, "evidence", "", "what proves it, and where it lies")
	required(c, "bearer", "reason", "evidence")
	return c
}

func newSettleDecideCommand(sys *system) *cobra.Command {
	var f accessFlags
	var outcome, instead, reason string
	c := &cobra.Command{
		Use:   "decide --tenant TENANT --outcome upheld|rejected [--bears-instead operator|issuer] --reason TEXT dsp_...",
		Short: "Decide who bears a disputed debt",
		Long: `Upheld, what the party bore moves to the operator or the issuer, in the books of both where two are concerned; rejected,
what waited goes its way. A decision stands. People of the tenant do it by the API, where it may need two of them.`,
		Example: `  citygate settle decide --tenant harbour-metro --outcome upheld --bears-instead operator --reason "list 4711 was two days old" dsp_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the dispute"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := citygate.ParseUUID("dsp_", args[0])
			if err != nil {
				return &usageError{err}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				v, err := in.DecideDispute(cmd.Context(), actor(sys), tenant, id, outcome, instead, reason)
				if err == nil {
					_, err = fmt.Fprintf(sys.Stdout, "%s %s\n", args[0], v.State)
				}
				return err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&outcome, "outcome", "", "upheld or rejected")
	c.Flags().StringVar(&instead, "bears-instead", "", "of an upheld one: operator or issuer")
	c.Flags().StringVar(&reason, "reason", "", "why")
	required(c, "outcome", "reason")
	return c
}

func newSettleBearersCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name string
	c := &cobra.Command{
		Use:     "bearers --tenant TENANT",
		Short:   "List what providers and the platform owe of what they bear",
		Example: `  citygate settle bearers --tenant harbour-metro`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := json.NewEncoder(sys.Stdout)
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				claims, err := collect.BearerClaims(cmd.Context(), tx)
				for i := range claims {
					b := &claims[i]
					if err := out.Encode(map[string]any{"bearer": b.Bearer, "contract": b.Contract, "currency": b.Currency, "claimed_minor": b.Claimed,
						"disputed_minor": b.Disputed, "paid_minor": b.Paid, "owed_minor": b.Owed()}); err != nil {
						return err
					}
				}
				return err
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant")
	required(c, "tenant")
	return c
}

func newSettleBearerPaidCommand(sys *system) *cobra.Command {
	var f accessFlags
	var p collect.BearerPayment
	var currency string
	c := &cobra.Command{
		Use:   "bearer-paid --tenant TENANT --bearer provider|platform [--contract NAME] --reference REF --amount MINOR --currency CODE --reason TEXT",
		Short: "Record that a provider or the platform paid what it bears",
		Long: `Books money of a bearer against what is claimed from it ("settle bearers"), never more than it owes. The same reference
again changes nothing. A negative amount is what was given back to it, as riders paid after all.`,
		Example: `  citygate settle bearer-paid --tenant harbour-metro --bearer platform --reference TX-77 --amount 200 --currency CNY --reason "bank statement of 21 November"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.Amount.Currency = citygate.Currency(currency)
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				v, err := in.RecordBearerPayment(cmd.Context(), actor(sys), tenant, p)
				if err == nil {
					_, err = fmt.Fprintf(sys.Stdout, "%s %d %s of %s\n", v.ID.Text("bpm_"), v.Amount.Minor, v.Amount.Currency, v.Bearer)
				}
				return err
			})
		},
	}
	f.register(c)
	flags := c.Flags()
	flags.StringVar(&p.Bearer, "bearer", "", "provider or platform")
	flags.StringVar(&p.Contract, "contract", "", "of a provider")
	flags.StringVar(&p.Reference, "reference", "", "of the payment")
	flags.Int64Var(&p.Amount.Minor, "amount", 0, "in minor units")
	flags.StringVar(&currency, "currency", "", "its currency")
	flags.StringVar(&p.Reason, "reason", "", "why, for the audit log")
	required(c, "bearer", "reference", "amount", "currency", "reason")
	return c
}
