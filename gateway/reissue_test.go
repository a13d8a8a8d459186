package gateway

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// Alipay's bill of a day is late, lacks a payment, has one nobody made and one of a fen
// too much. Exceptions name all three, until the platform issues the bill again: then
// they are history, everybody is paid, and the books hold what was taken back.
func TestBillThatIsIssuedAgainEndsItsExceptions(t *testing.T) {
	o := open(t)
	o.onboard()
	o.reachable()
	sim := o.alipayWithholding()
	v := o.validator()
	for _, device := range []string{"ann", "ben", "cay"} {
		batch := o.board(v, o.agreed(sim, device), device)
		if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
			t.Fatalf("the ride of %s: %v", device, got)
		}
		parsed, err := tap.ParseBatch(batch)
		o.must(err)
		o.must(v.Ack(parsed.Hash))
	}
	o.until("collected", func() bool { return len(o.succeeded()) == 3 })
	day := citygate.DateOf(sim.Book()[0].At.In(time.FixedZone("", 8*60*60)))
	o.must(sim.SetBillLate("2026", day, o.now().Add(30*time.Hour)))
	faults, err := sim.SeedBillFaults("2026", day, alipaysim.BillFaultCounts{Missing: 1, Extra: 1, Cent: 1}, nil)
	if err != nil || len(faults) != 3 {
		t.Fatalf("faults %v, %v", faults, err)
	}
	kinds := func(state string) string {
		var all []string
		for _, i := range list[edge.ReconItem](o, "reconciliation?state="+state) {
			all = append(all, i.Kind)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	const named = "amount_diff missing_ledger missing_provider"
	o.until("reconciled", func() bool { return kinds("open") == named })
	o.booksHold()
	for range 10 { // the platform says the same for another day
		o.move(3 * time.Hour)
		o.settleDown()
	}
	if got := kinds("open"); got != named || o.count(`SELECT count(*) FROM recon_history WHERE tenant_id = 1001`) != 0 {
		t.Errorf("a day later: %s", got)
	}
	o.must(sim.Reissue("2026", day))
	o.until("corrected", func() bool { return kinds("open") == "" })
	past := list[edge.ReconPast](o, "reconciliation-history")
	if len(past) != 3 {
		t.Errorf("%d items are history; want the three", len(past))
	}
	for _, p := range past {
		if came := p.Kind == "missing_ledger"; p.EndedIssue != 2 || (p.Now == nil) != came || !came && p.Now.Kind != "matched" {
			t.Errorf("history: %+v", p)
		}
	}
	bills := list[edge.Bill](o, "bills")
	if len(bills) != 2 || bills[0].Holds || !bills[1].Holds || bills[1].Corrected != 3 || bills[0].SHA256 == bills[1].SHA256 {
		t.Errorf("bills: %+v", bills)
	}
	if n := o.count(`SELECT count(*) FROM recon_items WHERE tenant_id = 1001 AND state = 'matched'`); n != 3 {
		t.Errorf("%d payments are matched; want all", n)
	}
	o.until("paid out", func() bool {
		var paid int64
		for _, p := range list[edge.Payout](o, "payouts") {
			paid += p.Amount.Minor
		}
		return paid == 3*(price-3)
	})
	o.booksHold()
	o.noSecretIsOut()
}
