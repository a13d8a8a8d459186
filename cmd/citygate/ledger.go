package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/spf13/cobra"
)

func newLedgerCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "ledger",
		Short: "The books",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newLedgerCheckCommand(sys))
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
exceptions and unfinished work explain, and payouts against receipts.

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
