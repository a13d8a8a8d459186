package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newReconCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "recon",
		Short: "Providers' bills against the books: what differs, and what bills that were issued again corrected",
		Long: `A running gateway fetches the bill of each day of each provider, matches its rows with what was collected, and
asks once in each of the next seven days whether there is another issue. What does not match is an exception with an
owner; what another issue has otherwise is taken back in the books, and is history.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(newReconBillsCommand(sys), newReconExceptionsCommand(sys), newReconHistoryCommand(sys), newReconImportCommand(sys), newReconResolveCommand(sys))
	return c
}

func newReconBillsCommand(sys *system) *cobra.Command {
	var f accessFlags
	var contract string
	c := &cobra.Command{
		Use:   "bills --tenant TENANT [--contract NAME]",
		Short: "List providers' bills, every issue of a day's",
		Long: `Lists what was imported, one line of JSON each, by contract, day and issue. "corrected" counts the items that an
issue ended because it says something else than the bills before; "recon history" has them.`,
		Example: `  citygate recon bills --tenant harbour-metro --contract wallet`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := json.NewEncoder(sys.Stdout)
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				return in.DB.InTenant(cmd.Context(), tenant, func(tx *pg.Tx) error { return printBills(cmd.Context(), tx, contract, out) })
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&contract, "contract", "", "of one contract (default: of all)")
	return c
}

func printBills(ctx context.Context, tx *pg.Tx, contract string, out *json.Encoder) error {
	return eachPage(func(last *recon.Issue) ([]recon.Issue, error) {
		return recon.Issues(ctx, tx, contract, last.Contract, last.Day, last.Issue, pageRows)
	}, func(b *recon.Issue) error {
		row := map[string]any{
			"contract": b.Contract, "day": b.Day.String(), "issue": b.Issue, "rows": b.Rows, "holds": b.Holds, "processed": b.Processed,
			"corrected": b.Corrected, "imported_at": b.ImportedAt, "file": b.Name,
		}
		for name, at := range map[string]time.Time{"issued_at": b.IssuedAt, "checked_at": b.CheckedAt} {
			if !at.IsZero() {
				row[name] = at
			}
		}
		return out.Encode(row)
	})
}

func newReconExceptionsCommand(sys *system) *cobra.Command {
	var f accessFlags
	var state string
	c := &cobra.Command{
		Use:   "exceptions --tenant TENANT [--state open|resolved]",
		Short: "List what does not match, each with an owner",
		Long: `Lists exceptions, one line of JSON each, by contract and item: what was expected and what the bill says, in minor
units, without and with fees, and since when. While one is open its charge's money is not passed on.`,
		Example: `  citygate recon exceptions --tenant harbour-metro`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := json.NewEncoder(sys.Stdout)
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				return in.DB.InTenant(cmd.Context(), tenant, func(tx *pg.Tx) error {
					return eachPage(func(last *recon.Item) ([]recon.Item, error) {
						return recon.ExceptionsIn(cmd.Context(), tx, state, last.Contract, last.Item, pageRows)
					}, func(i *recon.Item) error {
						return out.Encode(struct {
							*recon.Item
							Day   string `json:"day"`
							Issue int    `json:"issue,omitempty"`
						}{i, i.Day.String(), i.Issue})
					})
				})
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&state, "state", "open", "open or resolved")
	choice(c, "state", "open", "resolved")
	return c
}

func newReconHistoryCommand(sys *system) *cobra.Command {
	var f accessFlags
	var q recon.HistoryQuery
	var day string
	c := &cobra.Command{
		Use:   "history --tenant TENANT [--contract NAME] [--day DATE] [--issue N]",
		Short: "List what items were before a bill had something else to say",
		Long: `Lists history, one line of JSON each: what the item was, which bill ended it and when, each transfer that it had
made with the one that took it back ("corrections"), and what stands in its place by now ("now"; none if nothing does).
A bill that was issued again ends items, and so does a later day's that has a row which was missing.`,
		Example: `  citygate recon history --tenant harbour-metro
  citygate recon history --tenant harbour-metro --contract wallet --day 2026-11-20 --issue 2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if day != "" {
				if q.Day, err = citygate.ParseDate(day); err != nil {
					return &usageError{err}
				}
			}
			out := json.NewEncoder(sys.Stdout)
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				return in.DB.InTenant(cmd.Context(), tenant, func(tx *pg.Tx) error { return printHistory(cmd.Context(), tx, q, out) })
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&q.Contract, "contract", "", "of one contract (default: of all)")
	c.Flags().StringVar(&day, "day", "", "ended by a bill of that day")
	c.Flags().IntVar(&q.Issue, "issue", 0, "ended by that issue of a bill")
	return c
}

func printHistory(ctx context.Context, tx *pg.Tx, q recon.HistoryQuery, out *json.Encoder) error {
	var now map[[2]string]recon.Item
	return eachPage(func(last *recon.Past) (past []recon.Past, err error) {
		if past, err = recon.History(ctx, tx, q, last.Contract, last.Item.Item, last.N, pageRows); err == nil {
			now, err = recon.Standing(ctx, tx, past)
		}
		return past, err
	}, func(p *recon.Past) error {
		type correction struct {
			Transfer string `json:"transfer"`
			Reversal string `json:"reversal"`
			Code     string `json:"code"`
			Amount   int64  `json:"amount_minor"`
		}
		type standing struct {
			Kind   recon.Kind `json:"kind"`
			State  string     `json:"state"`
			Issue  int        `json:"issue"`
			Actual int64      `json:"actual"`
		}
		line := struct {
			*recon.Past
			Day         string       `json:"day"`
			Issue       int          `json:"issue"`
			EndedDay    string       `json:"ended_day"`
			Corrections []correction `json:"corrections"`
			Now         *standing    `json:"now,omitempty"`
		}{Past: p, Day: p.Day.String(), Issue: p.Issue, EndedDay: p.EndedDay.String(), Corrections: []correction{}}
		for _, c := range p.Corrections(tx.Tenant) {
			line.Corrections = append(line.Corrections, correction{c.Transfer.ID.String(), c.Reversal.ID.String(), c.Transfer.Code, c.Transfer.Amount})
		}
		if i, ok := now[[2]string{p.Contract, p.Item.Item}]; ok {
			line.Now = &standing{i.Kind, i.State, i.Issue, i.Actual}
		}
		return out.Encode(line)
	})
}

func newReconImportCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, contract, day, issued, currency string
	c := &cobra.Command{
		Use:   "import --tenant TENANT --contract NAME --day DATE FILE",
		Short: "Import a bill that came by another way than the provider's interface",
		Long: `Keeps, stores and matches a provider's file, such as one that was mailed after a correction. It is read by the adapter
of the contract, and nothing is asked of the provider. The same file again changes nothing; another one of the same day
corrects what the one before said, and one that was made earlier than that is kept and refused. It may run beside a
gateway, whose files and keys it needs.`,
		Example: `  citygate recon import --tenant harbour-metro --contract wallet --day 2026-11-20 20887000000000000156_20261120.csv.zip`,
		Args:    one("the file"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			bill := driver.Bill{Name: filepath.Base(args[0]), Currency: citygate.Currency(currency)}
			if bill.Day, err = citygate.ParseDate(day); err != nil {
				return &usageError{err}
			}
			if issued != "" {
				if bill.Issued, err = time.Parse(time.RFC3339, issued); err != nil {
					return &usageError{fmt.Errorf("--issued %q: want an instant such as 2026-11-21T09:30:00+08:00", issued)}
				}
			}
			if bill.Body, err = os.ReadFile(args[0]); err != nil {
				return err
			}
			return importBill(cmd.Context(), sys, f, name, contract, bill)
		},
	}
	f.withKeys(c)
	flags := c.Flags()
	flags.StringVar(&name, "tenant", "", "number or short name of the tenant")
	flags.StringVar(&contract, "contract", "", "whose provider made the file")
	flags.StringVar(&day, "day", "", "the provider's day that it is about")
	flags.StringVar(&issued, "issued", "", "when the provider made it, if it says: of two files of one day the later one holds")
	flags.StringVar(&currency, "currency", "", "that the file is in (default: the tenant's)")
	required(c, "tenant", "contract", "day")
	return c
}

func importBill(ctx context.Context, sys *system, f gatewayFlags, name, contract string, bill driver.Bill) (err error) {
	if err := f.mustExist(sys); err != nil {
		return err
	}
	in, err := f.signing(ctx, sys, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	t, err := in.tenant(ctx, name)
	if err != nil {
		return err
	}
	if bill.Currency == "" {
		bill.Currency = t.Currency
	}
	if err := in.ImportBill(ctx, actor(sys), t.ID, contract, bill); err != nil {
		return err
	}
	return in.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error { return saySaid(ctx, tx, contract, bill.Day, sys.Stdout) })
}

// saySaid prints which issue of a day's bill holds and what it corrected.
func saySaid(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, out io.Writer) error {
	found, err := recon.Issues(ctx, tx, contract, contract, day, 0, pageRows)
	if err != nil {
		return err
	}
	for _, i := range found {
		if i.Day == day && i.Holds {
			_, err = fmt.Fprintf(out, "issue %d of the bill of %s holds: %d rows, %d items corrected\n", i.Issue, i.Day, i.Rows, i.Corrected)
		}
	}
	return err
}

func newReconResolveCommand(sys *system) *cobra.Command {
	var f accessFlags
	var contract, how, reason string
	c := &cobra.Command{
		Use:   "resolve --tenant TENANT --contract NAME --resolution accept_provider|accept_ours|write_off --reason TEXT ITEM",
		Short: "End an exception by a decision",
		Long: `Books a decision about an exception, and what it held may be passed on:

  accept_provider  the provider's figure holds: a loss is written off, too much money goes to suspense
  accept_ours      ours holds: the provider makes it good outside this row
  write_off        neither is pursued

A decision stands; only a bill that is issued again and has the row otherwise ends it. People of the tenant decide by
the API; this is for who runs the installation, and is in the tenant's audit log under your name.`,
		Example: `  citygate recon resolve --tenant harbour-metro --contract wallet --resolution accept_provider --reason "paid at the counter" charge/Z2F7K`,
		Args:    one("the item, as recon exceptions lists it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				err := in.DB.InTenant(cmd.Context(), tenant, func(tx *pg.Tx) error {
					return recon.Resolve(cmd.Context(), tx, actor(sys), contract, args[0], recon.Resolution(how), reason)
				})
				if err == nil {
					_, err = fmt.Fprintf(sys.Stdout, "%s resolved: %s\n", args[0], how)
				}
				return err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&contract, "contract", "", "the exception's contract")
	c.Flags().StringVar(&how, "resolution", "", "accept_provider, accept_ours or write_off")
	c.Flags().StringVar(&reason, "reason", "", "why")
	required(c, "contract", "resolution", "reason")
	return c
}
