package settle

import (
	"context"
	"fmt"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Sources derives again, from receipts and payouts, every transfer this package
// posts.
func Sources() []ledger.Source { return []ledger.Source{receiptSource{}, payoutSource{}} }

type receiptSource struct{}

func (receiptSource) Name() string { return "receipts" }

func (receiptSource) Derive(ctx context.Context, tx *pg.Tx, yield func(ledger.Transfer) error) error {
	return eachReceipt(ctx, tx, func(r *receipt) error {
		if t, ok := r.transfer(tx.Tenant); ok {
			return yield(t)
		}
		return nil
	})
}

type payoutSource struct{}

func (payoutSource) Name() string { return "payouts" }

func (payoutSource) Derive(ctx context.Context, tx *pg.Tx, yield func(ledger.Transfer) error) error {
	return eachPayout(ctx, tx, func(p *Payout) error { return yield(p.transfer(tx.Tenant)) })
}

// PayoutsEqualReceipts is the name of the invariant that [CheckPayouts] proves.
const PayoutsEqualReceipts = "payouts_equal_receipts"

// CheckPayouts proves that in every paid window each payee was paid what came in
// for it, no more and no less, and that nobody was paid in any other window.
func CheckPayouts(ctx context.Context, db *pg.DB, tenants []citygate.TenantID) (ledger.Report, error) {
	report := ledger.Report{Findings: []ledger.Finding{}}
	for _, tenant := range tenants {
		var wrong []mismatch
		if err := db.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			wrong, err = findMismatches(ctx, tx)
			return err
		}); err != nil {
			return report, fmt.Errorf("payout check of tenant %d: %w", tenant, err)
		}
		report.Tenants++
		for _, m := range wrong {
			report.Wrong++
			report.Findings = append(report.Findings, ledger.Finding{
				Tenant: tenant, Invariant: PayoutsEqualReceipts, Kind: "payout_differs", Account: ledger.Payable(m.payee),
				Currency: m.currency, Field: "window " + citygate.DateOf(m.window).String(), Want: fmt.Sprint(m.received), Got: fmt.Sprint(m.paid),
			})
		}
	}
	return report, nil
}
