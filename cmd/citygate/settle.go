package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newSettleCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "settle",
		Short: "Payouts of a tenant: list them, say which wait, let those go that wait",
		Long: `Windows close and are paid by a running gateway, by the tenant's settlement terms. By its payout rules payouts
can wait for somebody: all, those above an amount, those to certain payees. One that waits is owed, and is
neither booked nor in a file. People of the tenant release it by the API, where it may need two of them;
these commands are for who runs the installation, and are in the tenant's audit log under your name.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(newSettlePayoutsCommand(sys), newSettleReleaseCommand(sys), newSettleCancelCommand(sys), newSettleRedirectCommand(sys), newSettleRulesCommand(sys),
		newSettleWriteOffCommand(sys), newSettleCollectCommand(sys), newSettleRetryCommand(sys),
		newSettleDisputeCommand(sys), newSettleDecideCommand(sys), newSettleBearersCommand(sys), newSettleBearerPaidCommand(sys), newSettleChargesCommand(sys))
	return c
}

// payoutsShown is how many payouts a list has.
const payoutsShown = 500

func newSettlePayoutsCommand(sys *system) *cobra.Command {
	var f accessFlags
	var state string
	var asJSON bool
	c := &cobra.Command{
		Use:     "payouts --tenant TENANT",
		Short:   "List payouts, newest window first",
		Example: `  citygate settle payouts --tenant harbour-metro --state held`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				var all []settle.Payout
				err := in.DB.InTenant(cmd.Context(), tenant, func(tx *pg.Tx) (err error) {
					all, err = settle.PayoutsAfter(cmd.Context(), tx, state, citygate.UUID{}, payoutsShown)
					return err
				})
				if err != nil {
					return err
				}
				if asJSON {
					out := json.NewEncoder(sys.Stdout)
					for _, p := range all {
						if err := out.Encode(map[string]any{
							"id": p.ID.Text("pay_"), "window": p.WindowDate.String(), "payee": p.Payee, "amount": citygate.Money{Minor: p.Amount, Currency: p.Currency},
							"state": p.State, "held_for": p.HeldFor, "released_by": p.ReleasedBy, "file": p.CSVFile,
						}); err != nil {
							return err
						}
					}
					return nil
				}
				t := tabwriter.NewWriter(sys.Stdout, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(t, "ID\tWINDOW\tPAYEE\tMINOR\tCURRENCY\tSTATE\tHELD FOR\tFILE")
				for _, p := range all {
					_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", p.ID.Text("pay_"), p.WindowDate, p.Payee, p.Amount, p.Currency, p.State, p.HeldFor, p.CSVFile)
				}
				return t.Flush()
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&state, "state", "", "only those: held, created, sent, cancelled")
	choice(c, "state", "held", "created", "sent", "cancelled")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

// payoutFlags name a payout and what is known of it.
type payoutFlags struct {
	accessFlags
	amount          int64
	currency, payee string
}

func (f *payoutFlags) register(c *cobra.Command) {
	f.accessFlags.register(c)
	c.Flags().Int64Var(&f.amount, "amount", 0, "the payout's amount in minor units")
	c.Flags().StringVar(&f.currency, "currency", "", "the payout's currency")
	c.Flags().StringVar(&f.payee, "payee", "", "who gets it")
}

// of gives the payout that a command line names.
func (f *payoutFlags) of(args []string) (r settle.Release, err error) {
	if r.Payout, err = citygate.ParseUUID("pay_", args[0]); err != nil {
		return r, &usageError{err}
	}
	if f.amount <= 0 || f.currency == "" || f.payee == "" {
		return r, &usageError{errors.New("say what you know of it by --amount, --currency and --payee, as settle payouts lists them")}
	}
	r.Amount, r.Payee = citygate.Money{Minor: f.amount, Currency: citygate.Currency(f.currency)}, f.payee
	return r, nil
}

func newSettleReleaseCommand(sys *system) *cobra.Command {
	var f payoutFlags
	c := &cobra.Command{
		Use:   "release --tenant TENANT --amount MINOR --currency CODE --payee PAYEE pay_...",
		Short: "Let a payout go that waits",
		Long: `Books a payout that waits; a running gateway then writes its file. Name what you know of it: a payout of another
amount or to another payee is not released. When it was released before this changes nothing.`,
		Example: `  citygate settle release --tenant harbour-metro --amount 125000 --currency CNY --payee harbour-metro pay_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the payout"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.of(args)
			if err != nil {
				return err
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				released, err := in.ReleasePayouts(cmd.Context(), actor(sys), tenant, r)
				for _, p := range released {
					_, _ = fmt.Fprintf(sys.Stdout, "%s %s, released by %s\n", args[0], p.State, p.ReleasedBy)
				}
				return err
			})
		},
	}
	f.register(c)
	return c
}

func newSettleCancelCommand(sys *system) *cobra.Command {
	var f payoutFlags
	c := &cobra.Command{
		Use:   "cancel --tenant TENANT --amount MINOR --currency CODE --payee PAYEE pay_...",
		Short: "Take a payout back that waits: it is owed again",
		Long: `Takes a payout back that waits. Its money is owed to its payee as before, and the next window that is paid has it.
Name what you know of it: a payout of another amount or to another payee is not taken back.`,
		Example: `  citygate settle cancel --tenant harbour-metro --amount 125000 --currency CNY --payee harbour-metro pay_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the payout"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.of(args)
			if err != nil {
				return err
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				p, err := in.Settler.Cancel(cmd.Context(), actor(sys), tenant, r)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(sys.Stdout, "%s %s by %s\n", args[0], p.State, p.CancelledBy)
				return err
			})
		},
	}
	f.register(c)
	return c
}

func newSettleRedirectCommand(sys *system) *cobra.Command {
	var f payoutFlags
	var to string
	c := &cobra.Command{
		Use:   "redirect --tenant TENANT --amount MINOR --currency CODE --payee PAYEE --to PAYEE pay_...",
		Short: "Have a payout that waits paid to another payee",
		Long: `Has a payout that waits paid to another payee of the tenant: one with a bank account whose payouts do not wait by name.
What is settled is the claim of the one it is owed to. It goes on waiting for its release, which names the new payee.`,
		Example: `  citygate settle redirect --tenant harbour-metro --amount 125000 --currency CNY --payee owner-7 --to harbour-metro pay_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the payout"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.of(args)
			if err != nil {
				return err
			}
			if to == "" {
				return &usageError{errors.New("name the new payee by --to")}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				p, err := in.Settler.Redirect(cmd.Context(), actor(sys), tenant, r, to)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(sys.Stdout, "%s %s, to %s\n", args[0], p.State, p.Recipient())
				return err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&to, "to", "", "who is to get it")
	return c
}

func newSettleRulesCommand(sys *system) *cobra.Command {
	var f accessFlags
	var set settle.PayoutRules
	var above int64
	var automatic bool
	c := &cobra.Command{
		Use:   "rules --tenant TENANT [--manual | --automatic | --hold-above MINOR | --hold-payee PAYEE]",
		Short: "Say which payouts of a tenant wait for a release, or show it",
		Long: `Without a flag shows the rules. With one they are replaced as a whole: what is not named does not wait. They
hold for what is paid from then on; a payout that waits goes on waiting.`,
		Example: `  citygate settle rules --tenant harbour-metro
  citygate settle rules --tenant harbour-metro --hold-above 1000000 --hold-payee new-owner
  citygate settle rules --tenant harbour-metro --automatic`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("hold-above") {
				set.HoldAbove = &above
			}
			change := set.Manual || automatic || set.HoldAbove != nil || len(set.HoldPayees) > 0
			if automatic && (set.Manual || set.HoldAbove != nil || len(set.HoldPayees) > 0) {
				return &usageError{errors.New("--automatic says that none waits: leave out the others")}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				var r settle.PayoutRules
				var err error
				if change {
					r, err = in.SetPayoutRules(cmd.Context(), actor(sys), tenant, set, true)
				} else {
					r, err = in.PayoutRules(cmd.Context(), tenant)
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(sys.Stdout, "version %d: %s\n", r.Version, describeRules(r))
				return err
			})
		},
	}
	f.register(c)
	c.Flags().BoolVar(&set.Manual, "manual", false, "every payout waits")
	c.Flags().BoolVar(&automatic, "automatic", false, "none waits")
	c.Flags().Int64Var(&above, "hold-above", 0, "payouts above it wait, in minor units of the tenant's currency, and all in another currency")
	c.Flags().StringSliceVar(&set.HoldPayees, "hold-payee", nil, "payouts to them wait")
	return c
}

func describeRules(r settle.PayoutRules) string {
	if r.Manual {
		return "every payout waits"
	}
	var parts []string
	if r.HoldAbove != nil {
		parts = append(parts, fmt.Sprintf("payouts above %d wait, and all in another currency", *r.HoldAbove))
	}
	if len(r.HoldPayees) > 0 {
		parts = append(parts, "those to "+strings.Join(r.HoldPayees, ", ")+" wait")
	}
	if len(parts) == 0 {
		return "no payout waits"
	}
	return strings.Join(parts, "; ")
}
