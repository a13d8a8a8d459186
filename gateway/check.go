package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/gateway/till"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// clearingAccounts are the accounts through which money only passes. What
// stands on one is either on its way, by a row that says so, or is held by an
// open exception, or is wrong.
var clearingAccounts = []string{
	ledger.PrefixRiderReceivable, ledger.PrefixRiderDebt, ledger.PrefixProviderReceivable, ledger.PrefixProviderFeeExpense,
	ledger.PrefixInterbookPayable, ledger.PrefixInterbookReceivable, ledger.PrefixUncollected,
	ledger.PrefixPrepaid, ledger.PrefixCovered, ledger.PrefixTillUncleared, ledger.Payable(pricing.SharedPayee),
}

// CheckBooks holds the books of all tenants against what happened. It proves
// books_rederive, interbook_pairs, clearing_zero, payouts_equal_receipts and
// closed_windows_hold, and names every row that breaks one of them.
//
// Each tenant is read in transactions of its own, with the rights of the running
// gateway. Between two books the check is exact only while no message is on its
// way, so run it when jobs are idle.
func (g *Gateway) CheckBooks(ctx context.Context) (ledger.Report, error) {
	all, err := g.Tenants.All(ctx)
	if err != nil {
		return ledger.Report{}, err
	}
	ids := make([]citygate.TenantID, len(all))
	for i, t := range all {
		ids[i] = t.ID
	}
	sources := append([]ledger.Source{pricing.Books{}, g.Collector.Source(), recon.Source{}, sales.Source{}, till.Source{}}, settle.Sources()...)
	report, err := ledger.Check(ctx, g.DB, ids, sources)
	if err != nil {
		return report, err
	}
	expected, err := g.explainAll(ctx, ids)
	if err != nil {
		return report, err
	}
	clearing, err := ledger.CheckClearing(ctx, g.DB, ids, clearingAccounts, func(_ context.Context, tx *pg.Tx) ([]ledger.Explained, error) {
		return expected[tx.Tenant], nil
	})
	if err != nil {
		return report, err
	}
	accounts := report.Accounts // Check has counted every account already
	report.Merge(clearing)
	report.Accounts = accounts
	payouts, err := settle.CheckPayouts(ctx, g.DB, ids)
	if err != nil {
		return report, err
	}
	report.Merge(payouts)
	windows, err := settle.CheckWindows(ctx, g.DB, ids)
	if err != nil {
		return report, err
	}
	report.Merge(windows)
	report.Erased, err = g.erased(ctx, ids)
	return report, err
}

// explainAll gives what may stand on each tenant's clearing accounts. What an
// issuer still owes an operator stands in the operator's book as well.
func (g *Gateway) explainAll(ctx context.Context, ids []citygate.TenantID) (map[citygate.TenantID][]ledger.Explained, error) {
	all := map[citygate.TenantID][]ledger.Explained{}
	for _, issuer := range ids {
		var own []ledger.Explained
		var owed []owedToOperator
		err := g.DB.InTenant(ctx, issuer, func(tx *pg.Tx) (err error) {
			own, owed, err = mayStand(ctx, tx)
			return err
		})
		if err != nil {
			return nil, err
		}
		all[issuer] = append(all[issuer], own...)
		for _, o := range owed {
			if o.operator == issuer {
				continue // one book: nothing passes between two
			}
			all[issuer] = append(all[issuer], ledger.Explained{Account: ledger.InterbookPayable(o.operator), Currency: o.currency, Net: -o.amount, Why: o.why})
			all[o.operator] = append(all[o.operator], ledger.Explained{Account: ledger.InterbookReceivable(issuer), Currency: o.currency, Net: o.amount, Why: o.why})
		}
	}
	return all, nil
}

// mayStand gives what may stand on the clearing accounts of the transaction's
// tenant, from rows that are not its books: fares waiting for their charge,
// charges waiting for their bill or named by an open exception, refunds on
// their way, debts. A charge that reconciliation lets go explains nothing: its
// money must have been passed on.
func mayStand(ctx context.Context, tx *pg.Tx) (own []ledger.Explained, owed []owedToOperator, err error) {
	if own, err = recon.Explained(ctx, tx); err != nil {
		return nil, nil, err
	}
	held, err := sales.Explained(ctx, tx)
	if err != nil {
		return nil, nil, err
	}
	own = append(own, held...)
	waiting, err := collect.Unreleased(ctx, tx)
	if err != nil {
		return nil, nil, err
	}
	free, err := recon.Releasable(ctx, tx, waiting)
	if err != nil {
		return nil, nil, err
	}
	for _, query := range ownQueries {
		found, err := explained(ctx, tx, query)
		if err != nil {
			return nil, nil, err
		}
		own = append(own, found...)
	}
	atTills, err := till.Explained(ctx, tx, without(waiting, free))
	if err != nil {
		return nil, nil, err
	}
	own = append(own, atTills...)
	if owed, err = owedToOperators(ctx, tx, without(waiting, free)); err != nil {
		return nil, nil, err
	}
	shares, err := pricing.OwedShares(ctx, tx)
	for _, s := range shares {
		owed = append(owed, owedToOperator{s.Operator, s.Currency, s.Amount, "shares of fares that were not paid over"})
	}
	return own, owed, err
}

// without gives the elements of all that are not among some.
func without(all, some []citygate.UUID) []citygate.UUID {
	drop := make(map[citygate.UUID]bool, len(some))
	for _, id := range some {
		drop[id] = true
	}
	rest := make([]citygate.UUID, 0, len(all))
	for _, id := range all {
		if !drop[id] {
			rest = append(rest, id)
		}
	}
	return rest
}
