package city

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/gateway/code"
)

// riderRef is the payment provider's name for a rider.
func riderRef(t traveller) string { return fmt.Sprintf("2088%012d", t.number+1) }

// lateKeys gives the simulator the issuers' published keys, which exist only
// after onboarding.
type lateKeys struct{ code.KeySource }

// empties empties the wallets of the plan's riders at the provider.
func (w *world) empties() {
	for _, t := range w.riders {
		if t.empty && t.tenant != hillside {
			w.sim.SetInsufficient(riderRef(t), time.Time{})
		}
	}
}

// topUp fills the wallets that do not stay empty.
func (w *world) topUp() {
	for _, t := range w.riders {
		if t.empty && !t.never && t.tenant != hillside {
			w.sim.TopUp(riderRef(t))
		}
	}
}

// outage is the hour the provider is away: in the evening peak, while accounts
// that reached their limit are collected.
func (w *world) outage() (from, to time.Time) {
	return w.day.Add(18 * time.Hour), w.day.Add(19 * time.Hour)
}

// faultyBills puts the seeded faults into the merchants' bills of a day, on
// charges that are final, before anybody downloads them.
func (w *world) faultyBills(ctx context.Context, day citygate.Date) error {
	for _, tenant := range []citygate.TenantID{harbourCity, harbourMetro} {
		if !w.paidOn(tenant, day) {
			continue // nobody asks for a bill of a day without payments
		}
		counts := alipaysim.BillFaultCounts{Missing: 1, Extra: 1, Cent: 1, Refund: 1}
		if tenant == harbourCity {
			counts = alipaysim.BillFaultCounts{Missing: 2, Extra: 1, Cent: 2, Refund: 1}
		}
		final, err := w.finalCharges(ctx, tenant)
		if err != nil {
			return err
		}
		faults, err := w.sim.SeedBillFaults(appID(tenant), day, counts, func(id string) bool { return final[id] })
		if err != nil {
			return err
		}
		for _, f := range faults {
			w.faults = append(w.faults, seededFault{tenant, f})
		}
	}
	return nil
}

// paidOn reports whether a merchant was paid on a day of the provider.
func (w *world) paidOn(tenant citygate.TenantID, day citygate.Date) bool {
	return slices.ContainsFunc(w.sim.Book(), func(t alipaysim.Trade) bool {
		return t.AppID == appID(tenant) && t.Paid && citygate.DateOf(t.At.In(w.day.Location())) == day
	})
}

// A seededFault is a bill fault and whose bill it is in.
type seededFault struct {
	tenant citygate.TenantID
	alipaysim.BillFault
}

// exceptionOf is what reconciliation must call each fault.
var exceptionOf = map[alipaysim.BillFaultKind]string{
	alipaysim.MissingRow:       "missing_provider",
	alipaysim.ExtraRow:         "missing_ledger",
	alipaysim.CentOff:          "amount_diff",
	alipaysim.UnexpectedRefund: "refund_unexpected",
}

func appID(tenant citygate.TenantID) string   { return fmt.Sprintf("20210001%08d", tenant) }
func account(tenant citygate.TenantID) string { return fmt.Sprintf("20885010%08d", tenant) }
