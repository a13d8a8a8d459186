package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/spf13/cobra"
)

func newLedgerCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "ledger",
		Short: "The books",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newLedgerCheckCommand(sys), newLedgerRebuildCommand(sys))
	return c
}

func newLedgerCheckCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Prove that the books say what happened, row by row",
		Long: `Derives again every transfer that should exist, from fare decisions, claims, charges, refunds, bills,
receipts and payouts, and compares with the books of every tenant row by row, both ways. Then it holds
balances against transfers, each tenant's book against the others', clearing accounts against what open
exceptions and unfinished work explain, payouts against receipts, and closed settlement windows against the
totals that were fingerprinted when they were closed.

Prints each finding on a line of its own and exits 1; if there is none it says what it read and exits 0.
It changes nothing, needs no keys and may run beside a gateway; while work is going on, what is on its way
between two books can look like a difference, so then run it again.`,
		Example: `  citygate ledger check --data /var/lib/citygate/serve
  citygate ledger check --database-url postgres://db.example/citygate --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return ledgerCheck(cmd.Context(), sys, f, asJSON) },
	}
	f.databaseOnly(c)
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on one line: what was read and every finding")
	return c
}

func newLedgerRebuildCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name string
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use:   "rebuild",
		Short: "Add up every balance again from its transfers",
		Long: `Balances are a cache: totals that save adding up an account's transfers. Where "ledger check" says
balance_cache, this adds them up again and prints each balance that was wrong, with what it was and what it is.

It changes no transfer and needs no keys. It may run beside a gateway, which waits with its postings to a
tenant while that tenant's balances are added up. What is wrong with transfers themselves it does not mend.`,
		Example: `  citygate ledger rebuild --data /var/lib/citygate/serve --dry-run
  citygate ledger rebuild --database-url postgres://db.example/citygate --tenant harbour-metro`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ledgerRebuild(cmd.Context(), sys, f, name, dryRun, asJSON)
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant (default: every tenant)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print what is wrong and change nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line for each balance")
	return c
}

func ledgerRebuild(ctx context.Context, sys *system, f gatewayFlags, name string, dryRun, asJSON bool) (err error) {
	in, err := f.reading(ctx, sys)
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
	mended := 0
	for _, t := range all {
		var wrong []ledger.Drift
		err := in.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
			if dryRun {
				wrong, err = ledger.Drifted(ctx, tx)
			} else {
				wrong, err = ledger.Rebuild(ctx, tx, actor(sys))
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("tenant %s: %w", t, err)
		}
		for _, d := range wrong {
			if err := printDrift(sys, d, asJSON); err != nil {
				return err
			}
		}
		mended += len(wrong)
	}
	switch {
	case mended == 0:
		say(sys, "every balance is the sum of its transfers")
	case dryRun:
		say(sys, fmt.Sprintf("%d balances are not the sums of their transfers; without --dry-run they are added up again", mended))
	default:
		say(sys, fmt.Sprintf("%d balances were added up again", mended))
	}
	return nil
}

func printDrift(sys *system, d ledger.Drift, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(sys.Stdout).Encode(d)
	}
	_, err := fmt.Fprintf(sys.Stdout, "tenant %d: account=%s currency=%s debit %d -> %d credit %d -> %d\n",
		d.Tenant, d.Account, d.Currency, d.Was.Debit, d.Is.Debit, d.Was.Credit, d.Is.Credit)
	return err
}

func ledgerCheck(ctx context.Context, sys *system, f gatewayFlags, asJSON bool) (err error) {
	in, err := f.reading(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	report, err := in.CheckBooks(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(sys.Stdout).Encode(report)
	} else {
		err = printReport(sys, &report)
	}
	if err != nil || report.OK() {
		return err
	}
	if more := report.Wrong - len(report.Findings); more > 0 {
		say(sys, fmt.Sprintf("%d more findings are not listed", more))
	}
	if n, err := in.underWay(ctx); err == nil && n > 0 {
		say(sys, fmt.Sprintf("%d messages between books are on their way; what they say is counted as a difference until they arrive", n))
	}
	return &exitError{code: 1, err: fmt.Errorf("the books do not hold: %d findings", report.Wrong)}
}

func printReport(sys *system, r *ledger.Report) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(sys.Stdout, f); err != nil {
			return err
		}
	}
	for _, e := range r.Erased {
		if _, err := fmt.Fprintf(sys.Stdout, "tenant %d: the fares of %d journeys before %s cannot be derived from taps again: their %d taps are erased\n",
			e.Tenant, e.Journeys, e.Before.Format(time.RFC3339), e.Taps); err != nil {
			return err
		}
	}
	if !r.OK() {
		return nil
	}
	_, err := fmt.Fprintf(sys.Stdout, "the books hold: %d tenants, %d transfers as derived, %d accounts, %d journeys in two books\n",
		r.Tenants, r.Transfers, r.Accounts, r.Pairs)
	return err
}

// underWay counts messages between books that were not delivered.
func (in *installation) underWay(ctx context.Context) (n int, err error) {
	all, err := in.Tenants.All(ctx)
	for _, t := range all {
		if err != nil {
			return n, err
		}
		err = in.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
			waiting, err := interbook.Undelivered(ctx, tx)
			n += waiting
			return err
		})
	}
	return n, err
}
