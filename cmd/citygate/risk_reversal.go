package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/gateway/till"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A reversalLine is a reversal as it is printed.
type reversalLine struct {
	ID        string         `json:"id"`
	Contract  string         `json:"contract"`
	Reference string         `json:"reference"`
	Payment   string         `json:"payment"`
	State     string         `json:"state"`
	Amount    citygate.Money `json:"amount"`
	FeeMinor  int64          `json:"fee_minor"`
	FeeUnsaid bool           `json:"fee_unsaid,omitempty"`
	Owed      int64          `json:"owed_minor"`
	Covered   int64          `json:"covered_minor,omitempty"`
	Sale      string         `json:"sale,omitempty"`
	Till      string         `json:"till_payment,omitempty"`
	Borne     int64          `json:"borne_minor,omitempty"`
	Returned  int64          `json:"returned_minor"`
	Debt      string         `json:"debt,omitempty"`
	Pending   bool           `json:"pending,omitempty"`
	Reason    string         `json:"reason"`
}

func reversalLineOf(v *collect.ReversalView) reversalLine {
	l := reversalLine{ID: v.ID.Text("rvs_"), Contract: v.Contract, Reference: v.Reference, Payment: v.Charge, State: v.State, Amount: v.Amount,
		FeeMinor: v.Fee, FeeUnsaid: v.FeeUnsaid, Owed: v.Owed, Covered: v.Covered, Borne: v.Borne, Returned: v.Returned, Pending: v.Pending, Reason: v.Reason}
	if !v.Till.IsZero() {
		l.Till = v.Till.Text(till.Prefix)
	}
	if !v.Sale.IsZero() {
		l.Sale = v.Sale.Text(sales.Prefix)
	}
	if !v.Debt.IsZero() {
		l.Debt = v.Debt.Text("dbt_")
	}
	return l
}

func newRiskReversalsCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, state string
	c := &cobra.Command{
		Use:   "reversals --tenant TENANT [--state STATE]",
		Short: "List payments that providers took back",
		Long: `Lists chargebacks and returned debits, one line of JSON each, the oldest first:

  waiting  the payment is not known to have succeeded yet; nothing is booked
  open     taken back: owed_minor of it is a debt of its rider again; of a product (sale) that
           is what he used, and covered_minor is what he had not; of a payment at a till
           borne_minor is what its payee or the tenant bears
  won      the provider gave it back
  lost     the dispute is over; the debt stays`,
		Example: `  citygate risk reversals --tenant harbour-metro --state open`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return &usageError{errors.New("risk reversals needs --tenant")}
			}
			out := json.NewEncoder(sys.Stdout)
			return withPricing(cmd.Context(), sys, f, name, func(_ *installation, tx *pg.Tx) error {
				return eachReversal(cmd.Context(), tx, state, func(v *collect.ReversalView) error { return out.Encode(reversalLineOf(v)) })
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant (required)")
	c.Flags().StringVar(&state, "state", "", "waiting, open, won or lost")
	return c
}

func eachReversal(ctx context.Context, tx *pg.Tx, state string, yield func(*collect.ReversalView) error) error {
	return eachPage(func(last *collect.ReversalView) ([]collect.ReversalView, error) {
		return collect.Reversals(ctx, tx, state, last.ID, pageRows)
	}, yield)
}

func newRiskReverseCommand(sys *system) *cobra.Command {
	var f accessFlags
	r := collect.Reversal{Source: collect.FromPerson}
	var currency string
	c := &cobra.Command{
		Use:   "reverse --tenant TENANT --contract NAME --payment ID --reference REF --amount MINOR --currency CODE --reason TEXT [--fee MINOR]",
		Short: "Record that a provider took a payment back",
		Long: `Records a chargeback or a returned debit. What was taken back is a debt of its own, borne by whom liability rules and
roaming terms name; its rider is denied until it is paid, unless the risk terms of the contract say otherwise
("on_reversal":"owe"), and for nothing else. Nothing asks the bank again by itself: the rider pays when he offers to.

The reference is the provider's own, as its bill has it: the same again changes nothing. A payment that is not known to have
succeeded yet has its reversal wait. A payment for a product ends the product: its rider owes what rides used of it. A payment at a
till is borne by its payee, or by the tenant if its risk terms say so ("till_reversal":"tenant"), with the fee. What is
taken beyond what was left of the payment (it was refunded already) is claimed from the provider.`,
		Example: `  citygate risk reverse --tenant harbour-metro --contract wallet --payment Z2F… --reference CB-2031 --amount 290 --currency CNY --fee 150 --reason "10.4 fraud"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Amount.Minor < 0 {
				return &usageError{fmt.Errorf("--amount %d: want what was taken, more than 0", r.Amount.Minor)}
			}
			if r.Contract == "" || r.Charge == "" || r.Reference == "" || r.Amount.Minor == 0 || currency == "" || r.Reason == "" {
				return &usageError{errors.New("risk reverse needs --contract, --payment, --reference, --amount, --currency and --reason")}
			}
			r.Amount.Currency, r.FeeUnsaid = citygate.Currency(currency), !cmd.Flags().Changed("fee")
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				v, err := in.Reverse(cmd.Context(), actor(sys), tenant, r)
				if err != nil {
					return err
				}
				return json.NewEncoder(sys.Stdout).Encode(reversalLineOf(&v))
			})
		},
	}
	f.register(c)
	flags := c.Flags()
	flags.StringVar(&r.Contract, "contract", "", "the provider contract that collected (required)")
	flags.StringVar(&r.Charge, "payment", "", "the payment's id as the provider knows it (required)")
	flags.StringVar(&r.Reference, "reference", "", "the provider's reference of the reversal (required)")
	flags.Int64Var(&r.Amount.Minor, "amount", 0, "what was taken back, in minor units (required)")
	flags.StringVar(&currency, "currency", "", "its currency (required)")
	flags.Int64Var(&r.Fee, "fee", 0, "what the provider keeps for it, in minor units; not given: booked once from the bill")
	flags.StringVar(&r.Reason, "reason", "", "such as the scheme's reason code (required)")
	return c
}

func newRiskConcludeCommand(sys *system) *cobra.Command {
	var f accessFlags
	o := collect.ReversalOutcome{Source: collect.FromPerson}
	c := &cobra.Command{
		Use:   "conclude --tenant TENANT --outcome won|lost --reference REF --reason TEXT [--amount MINOR] [--fee MINOR] rvs_...",
		Short: "Record what became of a reversal that was disputed with the provider",
		Long: `Records the outcome of a dispute. What is won comes off the debt that the reversal opened; a rider who has paid that
meanwhile gets it back by a refund. A lost one leaves the debt as it is. The reference is the provider's own for the
outcome: the same again changes nothing.`,
		Example: `  citygate risk conclude --tenant harbour-metro --outcome won --reference RP-88 --amount 290 --reason "evidence accepted" rvs_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the reversal"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Reversal, err = citygate.ParseUUID("rvs_", args[0]); err != nil {
				return &usageError{err}
			}
			if o.Outcome == "" || o.Reference == "" || o.Reason == "" {
				return &usageError{fmt.Errorf("risk conclude needs --outcome, --reference and --reason")}
			}
			o.FeeUnsaid = !cmd.Flags().Changed("fee")
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				v, err := in.ConcludeReversal(cmd.Context(), actor(sys), tenant, o)
				if err != nil {
					return err
				}
				return json.NewEncoder(sys.Stdout).Encode(reversalLineOf(&v))
			})
		},
	}
	f.register(c)
	flags := c.Flags()
	flags.StringVar(&o.Outcome, "outcome", "", "won or lost (required)")
	flags.StringVar(&o.Reference, "reference", "", "the provider's reference of the outcome (required)")
	flags.Int64Var(&o.Amount, "amount", 0, "of a won one what came back, in minor units")
	flags.Int64Var(&o.Fee, "fee", 0, "what the provider keeps for it, in minor units; negative: gave back; not given: booked once from the bill")
	flags.StringVar(&o.Reason, "reason", "", "why (required)")
	return c
}
