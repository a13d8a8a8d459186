package gateway

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// shopper opens an office with a shop and a rider.
func shopper(t *testing.T, s sandbox.Script) *customer {
	t.Helper()
	o := open(t)
	o.scripted(s)
	o.onboard()
	c := &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(shop)}, nil)
	o.move(time.Minute)
	return c
}

// paidBy gives the latest charge of a kind.
func (o *office) paidBy(kind string) (found edge.Charge) {
	o.t.Helper()
	for _, c := range list[edge.Charge](o, "charges") {
		if c.Kind == kind {
			found = c
		}
	}
	if found.ID == "" {
		o.t.Fatalf("no %s", kind)
	}
	return found
}

// The worked case of gateway/sales: of a ticket for two rides at 7.01 one was used when the
// bank takes the payment back. 3.50 are owed, 3.51 ended with the ticket; the fee is the
// seller's. The debt is seen and paid by its rider, who is denied for it alone; what is won
// afterwards is his.
func TestATicketIsTakenBack(t *testing.T) {
	c := shopper(t, sandbox.Script{})
	o, v := c.office, c.validator()
	sale := c.buys("two", "a")
	o.settleDown()
	c.rides(v)
	c.uploads(v)
	c.rides(v) // in the reader still: it would use the rest
	o.move(time.Minute)
	paid := o.paidBy("purchase")
	r := o.reverse(bus, paid, "CB-1", 701)
	used := int64(350)
	if r.Sale != sale.ID || r.Owed.Minor != used || r.Covered.Minor != 701-used || r.State != "open" || r.Debt == "" {
		t.Errorf("taken back: %+v", r)
	}
	if again := o.reverse(bus, paid, "CB-1", 701); again.ID != r.ID || again.Debt != r.Debt {
		t.Errorf("told again: %+v", again)
	}
	o.neighbour("")
	if got := o.refused(http.MethodPost, pathOf(hill, "reversals"), edge.RecordReversal{Contract: paid.Contract, Reference: "CB-1", Payment: paid.OurID,
		Amount: citygate.Money{Minor: 701, Currency: "CNY"}, Reason: "another tenant's"}); got != "reversal.no_charge" {
		t.Errorf("told by another tenant: %s", got)
	}
	c.uploads(v)
	if got := c.fares(); got != "0 450" {
		t.Errorf("fares %s", got)
	}
	if s := c.sale("a"); s.State != "reversed" {
		t.Errorf("the sale: %+v", s)
	}
	o.booksHold()
	wantSums(t, "taken back", o.prepaid(), map[string]int64{"product_": -used, "sales_fee": paid.Fee})
	if got := o.net(bus); got["rider_debt"] != used || got["reversal_fee"] != 15 {
		t.Errorf("the book: %v", got)
	}
	if got := o.refused(http.MethodPost, busPath("rider/refunds"), map[string]any{"code": c.code(), "sale": sale.ID}); got != "sales.no_refund" {
		t.Errorf("a refund of it: %s", got)
	}
	if got := o.refused(http.MethodPost, busPath("rider/purchases"), c.asks("two", "b")); got != "sales.in_debt" {
		t.Errorf("another one: %s", got)
	}
	var owes struct{ Items []edge.OwnDebt }
	o.send(http.MethodPost, busPath("rider/debts"), edge.ByCode{Code: c.code()}, &owes)
	if len(owes.Items) != 1 || owes.Items[0].Sale != sale.ID || owes.Items[0].Product != "Two rides" || owes.Items[0].Left.Minor != used {
		t.Errorf("what the rider sees: %+v", owes.Items)
	}
	debts := list[edge.Debt](o, "debts")
	if len(debts) != 1 || debts[0].Sale != sale.ID || debts[0].Reversal != r.ID || !debts[0].Blocks || debts[0].RetryAt != nil {
		t.Errorf("debts %+v", debts)
	}
	var pay struct{ Debts int }
	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: c.code()}, &pay)
	o.until("paid", func() bool { return len(list[edge.Debt](o, "debts?state=recovered")) == 1 })
	recovery := o.paidBy("recovery")
	if recovery.Amount.Minor != used || recovery.State != "succeeded" {
		t.Errorf("recovered by %+v", recovery)
	}
	o.sync(v)
	c.credential = o.credential("phone")
	c.rides(v)
	c.uploads(v)
	o.booksHold()

	if won := o.conclude(bus, r.ID, "RP-1", "won", 701); won.State != "won" || won.Pending {
		t.Errorf("won: %+v", won)
	}
	o.until("given back", func() bool { return len(list[edge.Refund](o, "refunds?state=succeeded")) == 2 })
	var back int64
	for _, f := range list[edge.Refund](o, "refunds") {
		if back += f.Amount.Minor; f.ChargeOurID == recovery.OurID && f.Amount.Minor != used {
			t.Errorf("of the debt that was paid: %+v", f)
		}
	}
	if back != 701 { // paid 7.01 and 3.50, and used 3.50
		t.Errorf("%d came back, want 701", back)
	}
	for range 4 {
		o.move(24 * time.Hour)
		o.settleDown()
		o.booksHold()
	}
	if got := o.net(bus); got["prepaid"] != 0 || got["product_payable"] != 0 || got["rider_debt"] != 0 || got["rider_receivable"] != 0 || got["product_income"] != 0 {
		t.Errorf("in the end: %v", got)
	}
}

// A pass is bought, ridden on twice and used up by that, charged back, and paid after all.
func TestAPassIsTakenBack(t *testing.T) {
	c := shopper(t, sandbox.Script{})
	o, v := c.office, c.validator()
	c.buys("day", "d")
	o.settleDown()
	c.rides(v)
	c.rides(v)
	c.uploads(v)
	if got := c.fares(); got != "0 0" {
		t.Errorf("fares %s", got)
	}
	r := o.reverse(bus, o.paidBy("purchase"), "CB-1", 500)
	if r.Owed.Minor != 500 || r.Covered.Minor != 0 { // 4.50 and the 0.50 that were left
		t.Errorf("taken back: %+v", r)
	}
	c.rides(v) // the reader knows nothing of it yet
	c.uploads(v)
	if got := c.fares(); got != "0 0 450" {
		t.Errorf("fares %s", got)
	}
	o.sync(v)
	o.move(time.Minute)
	c.counter++
	if got := c.visit(v, c.credential, c.device, c.counter, 0); got != string(code.Denied) {
		t.Errorf("in debt, at the reader: %q", got)
	}
	var pay struct{ Debts int }
	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: c.code()}, &pay)
	o.until("paid", func() bool { return len(list[edge.Debt](o, "debts?state=recovered")) == 1 })
	o.sync(v)
	c.credential = o.credential("phone")
	c.rides(v)
	c.uploads(v)
	for range 4 {
		o.move(24 * time.Hour)
		o.settleDown()
		o.booksHold()
	}
	if got := o.net(bus); got["prepaid"] != 0 || got["product_payable"] != 0 || got["rider_debt"] != 0 || got["payable"] != 0 {
		t.Errorf("in the end: %v", got)
	}
}

// Two ways tell of one reversal at the same moment: it is recorded once, and owed once.
func TestASaleIsTakenBackOnce(t *testing.T) {
	c := shopper(t, sandbox.Script{})
	o, v := c.office, c.validator()
	c.buys("purse", "a")
	o.settleDown()
	c.rides(v)
	c.uploads(v)
	paid := o.paidBy("purchase")
	own, err := o.Tenants.ByID(t.Context(), bus)
	o.must(err)
	contract := o.contract("sandbox")
	p, err := o.provider(t.Context(), bus, contract)
	o.must(err)
	var ways sync.WaitGroup
	for n := range 4 {
		ways.Go(func() {
			if n%2 == 0 {
				_, err := o.Reverse(t.Context(), "person:ada", bus, collect.Reversal{Contract: paid.Contract, Reference: "CB-1", Charge: paid.OurID, Amount: paid.Amount, Fee: 9,
					Reason: "not recognised", Source: collect.FromPerson})
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err := o.takeNotice(t.Context(), own, contract, p, driver.Notice{ID: string(rune('a' + n)), Kind: driver.NoticeReversal, ChargeID: paid.OurID,
				Taken: driver.Taken{Reference: "CB-1", State: driver.TakenBack, Amount: paid.Amount, Fee: 9}}); err != nil {
				t.Error(err)
			}
		})
	}
	ways.Wait()
	o.settleDown()
	o.booksHold()
	if all, debts := list[edge.Reversal](o, "reversals"), list[edge.Debt](o, "debts"); len(all) != 1 || len(debts) != 1 || debts[0].Left.Minor != 450 {
		t.Errorf("%+v and %+v", all, debts)
	}
	wantSums(t, "once", o.prepaid(), map[string]int64{"product_": -450, "sales_fee": paid.Fee})
	if got := o.net(bus); got["reversal_fee"] != 9 {
		t.Errorf("the book: %v", got)
	}
}

// A provider takes back all of a price of which a part was given back before: what was used
// is owed, what was refunded the provider owes us, until that is lost.
func TestARefundedSaleIsTakenBack(t *testing.T) {
	c := shopper(t, sandbox.Script{})
	o, v := c.office, c.validator()
	sale := c.buys("purse", "a")
	o.settleDown()
	c.rides(v)
	c.uploads(v)
	o.send(http.MethodPost, busPath("rider/refunds"), map[string]any{"code": c.code(), "sale": sale.ID}, nil)
	o.until("refunded", func() bool { return c.sale("a").State == "refunded" })
	paid := o.paidBy("purchase")
	r := o.reverse(bus, paid, "CB-1", 600)
	if r.Owed.Minor != 450 || r.Covered.Minor != 0 {
		t.Errorf("taken back: %+v", r)
	}
	o.settleDown()
	o.booksHold()
	if got := o.balances(); got[ledger.Suspense(paid.Contract)] != 150 || o.net(bus)["rider_debt"] != 450 {
		t.Errorf("claimed %d, the book %v", got[ledger.Suspense(paid.Contract)], o.net(bus))
	}
	o.conclude(bus, r.ID, "RP-1", "lost", 0)
	o.settleDown()
	o.booksHold()
	if got := o.balances(); got[ledger.Suspense(paid.Contract)] != 0 || got[ledger.WriteOff(paid.Contract)] != 150 {
		t.Errorf("lost: %v", got)
	}
	// What is owed is given up: nobody but the seller bears it.
	d := list[edge.Debt](o, "debts?state=open")[0]
	o.send(http.MethodPost, busPath("debts/"+d.ID+"/write-off"), edge.WriteOffDebt{Amount: d.Left, Reason: "moved away"}, nil)
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["bad_debt"] != 450 || got["rider_debt"] != 0 || got["prepaid"] != 0 {
		t.Errorf("written off: %v", got)
	}
	// He pays after all, and a ride of it turns out to have been void: both are put right.
	o.send(http.MethodPost, busPath("debts/"+d.ID+"/collect"), nil, nil)
	o.until("paid", func() bool { return list[edge.Debt](o, "debts")[0].RepaidAt != nil })
	j := list[edge.Journey](o, "journeys")[0]
	o.send(http.MethodPost, busPath("journeys/"+j.ID+"/refunds"), edge.RefundJourney{Kind: "void", Name: "r", Reason: "the bus broke down"}, nil)
	o.until("given back", func() bool { return len(list[edge.Refund](o, "refunds?state=succeeded")) == 2 })
	o.booksHold()
	if got := o.net(bus); got["prepaid"] != 0 || got["bad_debt"]+got["recovery_income"] != 0 {
		t.Errorf("in the end: %v", got)
	}
}

// What is owed is given up, then a part of the dispute is won, the rider pays the rest after
// all, and then all of it is won: nobody has more or less than what was used, in the end.
func TestAWrittenOffSaleIsWon(t *testing.T) {
	c := shopper(t, sandbox.Script{})
	o, v := c.office, c.validator()
	c.buys("two", "a")
	o.settleDown()
	c.rides(v)
	c.uploads(v)
	r := o.reverse(bus, o.paidBy("purchase"), "CB-1", 701)
	o.settleDown()
	d := list[edge.Debt](o, "debts")[0]
	o.send(http.MethodPost, busPath("debts/"+d.ID+"/write-off"), edge.WriteOffDebt{Amount: d.Left, Reason: "moved away"}, nil)
	o.conclude(bus, r.ID, "RP-1", "won", 100)
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["bad_debt"] != 250 || got["prepaid"] != 0 || len(list[edge.Debt](o, "debts")) != 1 {
		t.Errorf("a part is won: %v", got)
	}
	o.send(http.MethodPost, busPath("debts/"+d.ID+"/collect"), nil, nil)
	o.until("paid", func() bool { return list[edge.Debt](o, "debts")[0].RepaidAt != nil })
	o.conclude(bus, r.ID, "RP-2", "won", 601)
	o.until("given back", func() bool { return len(list[edge.Refund](o, "refunds?state=succeeded")) == 2 })
	o.booksHold()
	if got := o.net(bus); got["prepaid"] != 0 || got["bad_debt"]+got["recovery_income"] != 0 || got["rider_debt"] != 0 {
		t.Errorf("in the end: %v", got)
	}
}

// The dispute is won while the debt that it left is being paid, and nobody knows whether it
// is: what the sale has too much waits for that, whichever way it ends, and is given back once.
func TestAWonSaleWaitsForItsDebt(t *testing.T) {
	for _, pays := range []bool{true, false} {
		o, c, change := openShop(t)
		v := o.validator()
		o.move(time.Minute)
		c.buys("two", "a")
		o.settleDown()
		c.rides(v)
		c.uploads(v)
		r := o.reverse(bus, o.paidBy("purchase"), "CB-1", 701)
		change(sandbox.Script{Outages: []sandbox.Span{{Until: o.now().AddDate(1, 0, 0)}}})
		o.send(http.MethodPost, busPath("accounts/"+r.Account+"/retry-debts"), nil, nil)
		o.settleDown()
		if got := o.paidBy("recovery"); got.State == "succeeded" || got.State == "declined" {
			t.Fatalf("the recovery is %s", got.State)
		}
		o.conclude(bus, r.ID, "RP-1", "won", 701)
		o.settleDown()
		o.booksHold()
		if d := list[edge.Debt](o, "debts")[0]; d.State != "open" || d.Left.Minor != 350 {
			t.Errorf("while it is paid: %+v", d)
		}
		script, refunds, debt := sandbox.Script{}, 2, "recovered"
		if !pays {
			script.Decline, refunds, debt = []sandbox.Refusal{{Rider: "rider-1"}}, 1, "corrected"
		}
		change(script)
		o.until("over", func() bool { return len(list[edge.Debt](o, "debts?state="+debt)) == 1 })
		change(sandbox.Script{})
		o.until("given back", func() bool { return len(list[edge.Refund](o, "refunds?state=succeeded")) == refunds })
		o.booksHold()
		var back int64
		for _, f := range list[edge.Refund](o, "refunds") {
			back += f.Amount.Minor
		}
		if want := map[bool]int64{true: 701, false: 351}[pays]; back != want || o.net(bus)["prepaid"] != 0 || o.net(bus)["rider_debt"] != 0 {
			t.Errorf("%d came back, want %d: %v", back, want, o.net(bus))
		}
	}
}

// The provider takes a payment back of which nobody knows yet that it succeeded, or before
// the rider was given anything: he never is, and owes nothing.
func TestASaleIsTakenBackBeforeItIsHeld(t *testing.T) {
	o := open(t)
	change := o.scripted(sandbox.Script{Outages: []sandbox.Span{{Until: o.now().AddDate(1, 0, 0)}}})
	o.onboard()
	c := &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(shop)}, nil)
	o.move(time.Minute)
	c.buys("two", "a")
	o.settleDown()
	paid := o.paidBy("purchase")
	if r := o.reverse(bus, paid, "CB-1", 701); r.State != "waiting" {
		t.Errorf("%+v", r)
	}
	change(sandbox.Script{})
	o.until("known", func() bool { return list[edge.Reversal](o, "reversals")[0].State == "open" })
	o.booksHold()
	r := list[edge.Reversal](o, "reversals")[0]
	if s := c.sale("a"); s.State != "reversed" || r.Owed.Minor != 0 || r.Covered.Minor != 701 || len(list[edge.Debt](o, "debts")) != 0 {
		t.Errorf("%+v of %+v", r, s)
	}
	wantSums(t, "nothing was used", o.prepaid(), map[string]int64{"sales_fee": o.paidBy("purchase").Fee})
}

// A bill that says so records it by itself, also of a product.
func TestABillTakesASaleBack(t *testing.T) {
	o := open(t)
	boxes := o.sandboxes()
	o.onboard()
	c := &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(shop)}, nil)
	v := o.validator()
	o.move(time.Minute)
	c.buys("purse", "a")
	o.settleDown()
	c.rides(v)
	c.uploads(v)
	paid := o.paidBy("purchase")
	for _, b := range *boxes {
		b.SetBillFaults([]sandbox.BillFault{{Kind: sandbox.TakenBack, OurID: paid.OurID, Amount: citygate.Money{Minor: 400, Currency: "CNY"}, Fee: 9}})
	}
	o.until("the bill is read", func() bool { return len(list[edge.Reversal](o, "reversals")) == 1 })
	o.booksHold()
	r := list[edge.Reversal](o, "reversals")[0]
	if r.Source != "bill" || r.State != "open" || r.Covered.Minor != 150 || r.Owed.Minor != 250 {
		t.Errorf("by the bill: %+v", r)
	}
	if open := list[edge.ReconItem](o, "reconciliation?state=open"); len(open) != 0 {
		t.Errorf("exceptions %+v", open)
	}
}

// The provider declines to give back what a debt of the sale was paid by, and the dispute is
// won: what came back is asked of the payment that holds it, and none is asked for more than
// it was, also when the declined refund is tried again.
func TestADeclinedRefundOfATakenSaleIsAskedOnce(t *testing.T) {
	o, c, change := openShop(t)
	o.move(time.Minute)
	v := o.validator()
	c.buys("two", "a")
	o.settleDown()
	c.rides(v)
	c.uploads(v)
	r := o.reverse(bus, o.paidBy("purchase"), "CB-1", 701)
	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: c.code()}, &struct{ Debts int }{})
	o.until("paid", func() bool { return len(list[edge.Debt](o, "debts?state=recovered")) == 1 })
	change(sandbox.Script{Outages: []sandbox.Span{{Until: o.now().AddDate(1, 0, 0)}}})
	j := list[edge.Journey](o, "journeys")[0]
	o.send(http.MethodPost, busPath("journeys/"+j.ID+"/refunds"), edge.RefundJourney{Kind: "void", Name: "r", Reason: "the bus broke down"}, nil)
	o.settleDown()
	if n := o.owner.Exec(bus, `UPDATE refunds SET state = 'declined', final_at = $2, next_do = 'nothing', reason = 'too_late' WHERE tenant_id = $1 AND n = 0 AND state = 'created'`,
		int64(bus), o.now()); n != 1 {
		t.Fatalf("%d refunds were on their way", n)
	}
	change(sandbox.Script{})
	o.conclude(bus, r.ID, "RP-1", "won", 701)
	o.until("given back", func() bool { return len(list[edge.Refund](o, "refunds?state=succeeded")) == 1 })
	declined := list[edge.Refund](o, "refunds?state=declined")
	if len(declined) != 1 || declined[0].ChargeOurID != o.paidBy("recovery").OurID {
		t.Fatalf("declined: %+v", declined)
	}
	o.send(http.MethodPost, busPath("refunds/"+declined[0].ID+"/retry"), nil, nil)
	o.until("given back too", func() bool { return len(list[edge.Refund](o, "refunds?state=succeeded")) == 2 })
	back := map[string]int64{}
	for _, f := range list[edge.Refund](o, "refunds?state=succeeded") {
		back[f.ChargeOurID] += f.Amount.Minor
	}
	for _, kind := range []string{"purchase", "recovery"} {
		if paid := o.paidBy(kind); back[paid.OurID] != paid.Amount.Minor {
			t.Errorf("%s: %d of %d came back", kind, back[paid.OurID], paid.Amount.Minor)
		}
	}
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["prepaid"] != 0 || got["rider_debt"] != 0 {
		t.Errorf("in the end: %v", got)
	}
}

// Somebody has a declined refund tried again at the moment at which the bank takes a part of
// the payment: what goes back by the one is not asked for by the other as well.
func TestARefundIsRetriedWhileItsSaleIsTakenBack(t *testing.T) {
	o, c, change := openShop(t)
	o.move(time.Minute)
	sale := c.buys("two", "a")
	o.settleDown()
	paid := o.paidBy("purchase")
	change(sandbox.Script{Outages: []sandbox.Span{{Until: o.now().AddDate(1, 0, 0)}}})
	o.send(http.MethodPost, busPath("rider/refunds"), map[string]any{"code": c.code(), "sale": sale.ID}, nil)
	o.settleDown()
	if n := o.owner.Exec(bus, `UPDATE refunds SET state = 'declined', final_at = $2, next_do = 'nothing', reason = 'too_late' WHERE tenant_id = $1 AND n = 0 AND state = 'created'`,
		int64(bus), o.now()); n != 1 {
		t.Fatalf("%d refunds were on their way", n)
	}
	change(sandbox.Script{})
	id, err := citygate.ParseUUID("ref_", list[edge.Refund](o, "refunds?state=declined")[0].ID)
	o.must(err)
	var ways sync.WaitGroup
	err = o.DB.InTenant(t.Context(), bus, func(tx *pg.Tx) error {
		if _, err := collect.RetryRefund(t.Context(), tx, "person:ada", id); err != nil {
			return err
		}
		ways.Go(func() {
			if _, err := o.Reverse(t.Context(), "person:ada", bus, collect.Reversal{Contract: paid.Contract, Reference: "CB-1", Charge: paid.OurID,
				Amount: citygate.Money{Minor: 300, Currency: "CNY"}, Reason: "not recognised", Source: collect.FromPerson}); err != nil {
				t.Error(err)
			}
		})
		for len(o.super.Rows(0, `SELECT 1 FROM pg_locks WHERE NOT granted`)) == 0 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	o.must(err)
	ways.Wait()
	o.until("given back", func() bool { return len(list[edge.Refund](o, "refunds?state=succeeded")) == 1 })
	o.settleDown()
	o.booksHold()
	var asked int64
	for _, f := range list[edge.Refund](o, "refunds") {
		if f.State != "replaced" {
			asked += f.Amount.Minor
		}
	}
	if asked != 701 || o.balances()[ledger.Suspense(paid.Contract)] != 300 {
		t.Errorf("%d goes back of 701, and %d is claimed of the 300 that the bank took", asked, o.balances()[ledger.Suspense(paid.Contract)])
	}
}
