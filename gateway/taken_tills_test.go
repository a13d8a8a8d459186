package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/archive"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// charged is the charge of a payment at a till, as the provider's bill names it.
func charged(p edge.TillPayment) edge.Charge {
	return edge.Charge{OurID: p.OurID, Contract: p.Contract, Amount: p.Amount}
}

// owes gives what stands on the accounts of the shop: positive, it is owed to it.
func (c *counter) owes() int64 {
	all := c.balances()
	return -all[ledger.TillUncleared("valley-bus")] - all[ledger.TillPayable("valley-bus")] - all[ledger.Payable("valley-bus")]
}

// tillTerms are terms by which the tenant bears chargebacks of its tills, or a payee does.
func (c *counter) tillTerms(version int, bearer string) {
	terms := fmt.Sprintf(`{"version":%d,"contracts":[{"contract":"alipay","till_reversal":%q,"retries":0,"window":{},"retry_within_days":0}]}`, version, bearer)
	c.send(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: c.now().Add(time.Second), Terms: []byte(terms)}, nil)
	c.move(time.Minute)
}

// A customer's bank takes back a payment of which a part was refunded, after it was paid
// out: the shop bears what was left of it, and the fee, and its next money makes that good.
// What was taken beyond that the provider owes. What is won is the shop's again, and a
// customer is never given twice what he paid.
func TestAPaymentAtTheTillIsTakenBack(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	tea := c.pay("R-1", 2000)
	c.send(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), map[string]any{"name": "a part", "amount_minor": 500, "reason": "cold"}, nil)
	c.until("paid out", func() bool { return len(list[edge.Payout](c.office, "payouts")) == 1 })
	r := c.reverse(bus, charged(tea), "CB-1", 2000)
	if again := c.reverse(bus, charged(tea), "CB-1", 2000); r.State != "open" || again.ID != r.ID || r.Till != tea.ID || r.Borne.Minor != 1500 || r.Owed.Minor != 0 || r.Debt != "" || r.Account != "" {
		t.Errorf("taken back: %+v, then %+v", r, again)
	}
	if tea = c.find(tea.ID); tea.State != "paid" || tea.Taken.Minor != 2000 || tea.TakenBearer != "payee" {
		t.Errorf("the payment: %+v", tea)
	}
	c.neighbour("")
	if got := c.refused(http.MethodPost, pathOf(hill, "reversals"), edge.RecordReversal{Contract: tea.Contract, Reference: "CB-1", Payment: tea.OurID, Amount: tea.Amount,
		Reason: "another tenant's"}); got != "reversal.no_charge" {
		t.Errorf("told by another tenant: %s", got)
	}
	if got := c.refused(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), map[string]any{"name": "the rest", "reason": "cold"}); got != "till.no_refund" {
		t.Errorf("a refund of what is gone: %s", got)
	}
	c.booksHold()
	if all := c.balances(); c.owes() != -1500-15 || all[ledger.Suspense("alipay")] != 500 || all[ledger.ReversalFee("alipay")] != 0 {
		t.Errorf("the book: the shop is owed %d, %v", c.owes(), all)
	}
	c.pay("R-2", 3000) // 18 of fee
	c.until("paid out again", func() bool { return len(list[edge.Payout](c.office, "payouts")) == 2 })
	if second := list[edge.Payout](c.office, "payouts"); second[0].Amount.Minor+second[1].Amount.Minor != 2000-12-500+3000-18-1500-15 {
		t.Errorf("paid out %+v", second)
	}
	c.booksHold()

	if part := c.conclude(bus, r.ID, "RP-1", "won", 1700); part.State != "open" || part.Returned.Minor != 1700 {
		t.Errorf("a part is won: %+v", part)
	}
	if tea = c.find(tea.ID); tea.Taken.Minor != 300 || c.owes() != 1200 || c.balances()[ledger.Suspense("alipay")] != 0 {
		t.Errorf("a part is won: %d are taken, the shop is owed %d, %v", tea.Taken.Minor, c.owes(), c.balances())
	}
	c.send(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), map[string]any{"name": "the rest", "reason": "cold"}, nil)
	c.settleDown()
	if tea = c.find(tea.ID); tea.Refunded.Minor != 1700 || tea.Returned.Minor != 1700 || c.owes() != 0 {
		t.Errorf("the rest given back: %+v, the shop is owed %d", tea, c.owes())
	}
	c.conclude(bus, r.ID, "RP-2", "lost", 0)
	c.booksHold()
	if got := c.owes(); got != 0 {
		t.Errorf("lost: the shop is owed %d", got)
	}
	c.noSecretIsOut()
}

// By the tenant's terms the tenant bears it and the fee; who did stays so when the terms
// change. Taken back before its bill came, and won, the shop has what it earned.
func TestTheTenantBearsAChargebackOfItsTills(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	c.tillTerms(1, "tenant")
	tea := c.pay("R-1", 2000)
	r := c.reverse(bus, charged(tea), "CB-1", 2000)
	if p := c.find(tea.ID); p.TakenBearer != "tenant" || c.owes() != 2000-12 || c.balances()[ledger.WriteOff("alipay")] != 2000 || c.balances()[ledger.ReversalFee("alipay")] != 15 {
		t.Errorf("%+v, the shop is owed %d: %v", p, c.owes(), c.balances())
	}
	c.booksHold()
	c.tillTerms(2, "payee")
	c.conclude(bus, r.ID, "RP-1", "won", 500)
	if got := c.balances(); c.owes() != 2000-12 || got[ledger.WriteOff("alipay")] != 1500 {
		t.Errorf("a part is won: %v", got)
	}
	milk := c.pay("R-2", 1000)
	c.reverse(bus, charged(milk), "CB-2", 1000)
	c.booksHold()
	if p := c.find(milk.ID); p.TakenBearer != "payee" || c.owes() != 2000-12-6-15 {
		t.Errorf("by the new terms: %+v, the shop is owed %d", p, c.owes())
	}
	c.until("cleared", func() bool { return c.find(milk.ID).ClearedAt != nil })
	c.booksHold()
	if code := c.refused(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: c.now().Add(time.Second),
		Terms: []byte(`{"version":3,"contracts":[{"contract":"alipay","till_reversal":"bank","retries":0,"window":{},"retry_within_days":0}]}`)}); code != "risk.bad_terms" {
		t.Errorf("borne by nobody known: %s", code)
	}
}

// A person, a notice and a bill tell of one chargeback at the same moment: it is recorded
// once. A fee that nobody said is the shop's when it is said.
func TestAPaymentAtTheTillIsTakenBackOnce(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	tea := c.pay("R-1", 2000)
	own, err := c.Tenants.ByID(t.Context(), bus)
	c.must(err)
	p, err := c.provider(t.Context(), bus, c.contract("alipay"))
	c.must(err)
	told := collect.Reversal{Contract: "alipay", Reference: "CB-1", Charge: tea.OurID, Amount: tea.Amount, FeeUnsaid: true, Reason: "not recognised", Source: collect.FromPerson}
	var ways sync.WaitGroup
	for n := range 6 {
		ways.Go(func() {
			var err error
			switch n % 3 {
			case 0:
				_, err = c.Reverse(t.Context(), "person:ada", bus, told)
			case 1:
				err = c.takeNotice(t.Context(), own, c.contract("alipay"), p, driver.Notice{ID: string(rune('a' + n)), Kind: driver.NoticeReversal, ChargeID: tea.OurID,
					Taken: driver.Taken{Reference: "CB-1", State: driver.TakenBack, Amount: tea.Amount, FeeUnsaid: true}})
			default:
				err = c.DB.InTenant(t.Context(), bus, func(tx *pg.Tx) error { return c.Collector.ReverseByBill(t.Context(), tx, told) })
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	ways.Wait()
	c.booksHold()
	if all := list[edge.Reversal](c.office, "reversals"); len(all) != 1 || c.find(tea.ID).Taken.Minor != 2000 || c.owes() != -12 {
		t.Errorf("%+v, the shop is owed %d", all, c.owes())
	}
	told.FeeUnsaid, told.Fee = false, 30
	_, err = c.Reverse(t.Context(), "person:ada", bus, told)
	c.must(err)
	c.booksHold()
	if c.owes() != -12-30 || c.balances()[ledger.ReversalFee("alipay")] != 0 {
		t.Errorf("with its fee the shop is owed %d: %v", c.owes(), c.balances())
	}
}

// The bill's row came first and nobody knew what it was: recorded under its reference, it
// is matched, and the next window pays the shop what is left.
func TestABillsRowOfAChargebackAtTheTill(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	tea := c.pay("R-1", 2000)
	beijing := time.FixedZone("", 8*3600)
	day := citygate.DateOf(c.now().In(beijing))
	c.until("over", func() bool { return citygate.DateOf(c.now().In(beijing)) != day })
	faults, err := c.sim.SeedBillFaults("2026", day, alipaysim.BillFaultCounts{Refund: 1}, nil)
	c.must(err)
	c.until("billed", func() bool { return len(list[edge.ReconItem](c.office, "reconciliation")) == 1 })
	if len(list[edge.Payout](c.office, "payouts")) != 0 {
		t.Error("it was paid out")
	}
	var r edge.Reversal
	c.send(http.MethodPost, busPath("reversals"), edge.RecordReversal{Contract: "alipay", Reference: faults[0].RefundID, Payment: tea.OurID, Amount: tea.Amount, Reason: "not recognised"}, &r)
	if items := list[edge.ReconItem](c.office, "reconciliation"); len(items) != 0 || r.Borne.Minor != 2000 {
		t.Errorf("recorded: %+v, and open items %+v", r, items)
	}
	c.settleDown()
	c.booksHold()
	c.until("cleared", func() bool { return c.find(tea.ID).ClearedAt != nil })
	c.booksHold()
	if got := c.owes(); got != -12 {
		t.Errorf("the shop is owed %d", got)
	}
}

// A request hangs until after its reversal, and the bank takes the payment back while the
// gateway would give it back: it goes back once. What is won then goes back too.
func TestATakenPaymentThatIsBeingTakenBack(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	c.pay("warm", 100)
	c.sim.ArmNext(alipaysim.ArmWait)
	p := c.pay("raced", 1500)
	c.move(2*time.Minute + 30*time.Second) // he confirms as the shop gives it up
	c.send(http.MethodPost, busPath("till-payments/"+p.ID+"/cancel"), map[string]any{}, nil)
	if p = c.find(p.ID); p.State != "reversing" && p.State != "closed" {
		t.Fatalf("given up: %+v", p)
	}
	c.settleDown()
	p = c.want("given back", p, "closed")
	r := c.reverse(bus, charged(p), "CB-1", 1500)
	if r.Borne.Minor != 0 || c.balances()[ledger.Suspense("alipay")] != 1500 {
		t.Errorf("taken after it went back: %+v, %v", r, c.balances())
	}
	c.booksHold()
	c.conclude(bus, r.ID, "RP-1", "won", 1500)
	c.settleDown()
	if p = c.want("won", p, "closed"); p.Returned.Minor != 1500 || c.balances()[ledger.Suspense("alipay")] != 0 {
		t.Errorf("won: %+v, %v", p, c.balances())
	}
	c.booksHold()
}

// A shop moves to another gateway with chargebacks open, and they end there.
func TestChargebacksAtATillMoveToAnotherGateway(t *testing.T) {
	var store keyStore
	c := counterIn(openWith(t, func(o *office) keyStore {
		store = localStore(o)
		return store
	}), alipaysim.Faults{})
	tea := c.pay("R-1", 2000)
	c.until("paid out", func() bool { return len(list[edge.Payout](c.office, "payouts")) == 1 })
	r := c.reverse(bus, charged(tea), "CB-1", 1200)
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	c.must(err)
	defer func() { _ = root.Close() }()
	_, err = archive.Exporter{DB: c.DB, Tenants: c.Tenants, Ring: c.Ring, PayoutFiles: c.Files.FS(), Clock: c.now}.Export(t.Context(), root, bus)
	c.must(err)
	there := &counter{office: openWith(t, func(*office) keyStore { return store }), sim: c.sim, line: c.line, told: 50}
	there.HTTP = c.line
	there.micro.Store(c.micro.Load())
	_, err = archive.Import(t.Context(), there.DB, there.Tenants, actor, os.DirFS(dir))
	c.must(err)
	there.booksHold()
	if a, b := asJSON(t, c.balances()), asJSON(t, there.balances()); a != b {
		t.Errorf("balances %s, elsewhere %s", a, b)
	}
	if again := there.reverse(bus, charged(tea), "CB-1", 1200); again.ID != r.ID || there.find(tea.ID).Taken.Minor != 1200 {
		t.Errorf("told again elsewhere: %+v", again)
	}
	there.conclude(bus, r.ID, "RP-1", "won", 1200)
	there.booksHold()
	if there.find(tea.ID).Taken.Minor != 0 || there.owes() != -15 {
		t.Errorf("won elsewhere: the shop is owed %d", there.owes())
	}
}

// Whatever happens to payments at a till, in whatever order, the books hold at every step,
// and in the end each has what it should: the shop what customers paid, less fees, what went
// back and what was taken of what a payment held; the provider owes what it took beyond that.
func TestChargebacksAtTheTillInAnyOrder(t *testing.T) {
	did := map[string]int{}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { takenTillsInAnyOrder(t, rand.New(rand.NewPCG(17, seed)), did) })
	}
	for _, what := range []string{"taken", "taken beyond", "won", "lost", "refunded", "declined", "retried", "not retried", "refused", "a fee"} {
		if did[what] == 0 {
			t.Errorf("%s never happened: %v", what, did)
		}
	}
}

// A givesBackOrNot is Alipay's product whose answers to refunds are as somebody says.
type givesBackOrNot struct {
	payments
	how *atomic.Int32
}

type payments interface {
	driver.Provider
	driver.Refunder
	driver.Reverser
	driver.Biller
	driver.Notifier
}

// How refunds are answered.
const (
	asEver   int32 = iota
	declined       // for good
	nobody         // answers
)

func (p givesBackOrNot) Refund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	return p.answer(r, func() (driver.Result, error) { return p.payments.Refund(ctx, r) })
}

func (p givesBackOrNot) QueryRefund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	return p.answer(r, func() (driver.Result, error) { return p.payments.QueryRefund(ctx, r) })
}

func (p givesBackOrNot) answer(r driver.Refund, ask func() (driver.Result, error)) (driver.Result, error) {
	switch p.how.Load() {
	case declined:
		return driver.Result{OurID: r.OurID, Outcome: driver.Declined, ReasonCode: "too_late"}, nil
	case nobody:
		return driver.Result{}, errors.New("the line broke")
	}
	return ask()
}

// counterWhere opens a shop whose provider answers refunds as how says.
func counterWhere(t *testing.T) (c *counter, how *atomic.Int32) {
	o := open(t)
	how = new(atomic.Int32)
	var opened adapters.Constructor
	opened = o.Products.Replace("alipay", func(d adapters.Deps) (driver.Provider, error) {
		p, err := opened(d)
		if err != nil {
			return nil, err
		}
		return givesBackOrNot{p.(payments), how}, nil
	})
	return counterIn(o, alipaysim.Faults{}), how
}

func takenTillsInAnyOrder(t *testing.T, w *rand.Rand, did map[string]int) {
	c, how := counterWhere(t)
	n := 0
	name := func() string { n++; return fmt.Sprintf("N-%d", n) }
	var fees int64
	payments := []edge.TillPayment{c.pay(name(), 6000), c.pay(name(), 700)}
	post := func(path string, body any) bool {
		got := c.ask(http.MethodPost, busPath(path), "application/json", []byte(asJSON(t, body)))
		if got.Code >= 500 {
			t.Fatalf("%s: %d %s", path, got.Code, got.Body)
		}
		return got.Code < 300
	}
	for step := range 60 {
		p := c.find(payments[w.IntN(len(payments))].ID)
		switch w.IntN(8) {
		case 0, 1: // a refund that is not sent yet
			if post("till-payments/"+p.ID+"/refunds", map[string]any{"name": name(), "amount_minor": 1 + w.Int64N(300), "reason": "cold"}) {
				did["refunded"]++
			} else {
				did["refused"]++
			}
		case 2:
			how.Store(w.Int32N(3))
			c.move(30 * time.Minute)
			c.settleDown()
		case 3, 4:
			fee := w.Int64N(20)
			body := edge.RecordReversal{Contract: p.Contract, Reference: name(), Payment: p.OurID, Amount: citygate.Money{Minor: 1 + w.Int64N(400), Currency: "CNY"}, Reason: "not recognised"}
			said := w.IntN(2) == 0
			if said {
				body.FeeMinor = &fee
			}
			if !post("reversals", body) {
				t.Fatalf("step %d: not recorded: %+v", step, body)
			}
			did["taken"]++
			if !said && w.IntN(2) == 0 {
				body.FeeMinor = &fee
				post("reversals", body)
				did["a fee"]++
				said = true
			}
			if said {
				fees += fee
			}
		case 5:
			open := list[edge.Reversal](c.office, "reversals?state=open")
			if len(open) == 0 {
				continue
			}
			r := open[w.IntN(len(open))]
			body := edge.ConcludeReversal{Reference: name(), Outcome: "lost", FeeMinor: new(int64), Reason: "by the scheme"}
			if w.IntN(2) == 0 {
				body.Outcome, body.AmountMinor = "won", 1+w.Int64N(r.Amount.Minor-r.Returned.Minor)
				*body.FeeMinor = -w.Int64N(3)
			}
			if !post("reversals/"+r.ID+"/outcome", body) {
				t.Fatalf("step %d: not concluded: %+v", step, body)
			}
			fees += *body.FeeMinor
			did[body.Outcome]++
		case 6:
			for _, no := range list[edge.Refund](c.office, "refunds?state=declined") {
				switch got := c.ask(http.MethodPost, busPath("refunds/"+no.ID+"/retry"), "", nil); {
				case got.Code == http.StatusOK:
					did["retried"]++
				case strings.Contains(got.Body.String(), "collect.taken_back"):
					did["not retried"]++
				default:
					t.Fatalf("tried again: %d %s", got.Code, got.Body)
				}
			}
		case 7:
			c.move(time.Duration(1+w.IntN(20)) * time.Hour)
			c.settleDown()
		}
		c.must(c.Drain(t.Context()))
		c.booksHold()
	}
	how.Store(asEver)
	for range 6 {
		c.move(30 * time.Minute)
		c.settleDown()
	}
	c.booksHold()
	did["declined"] += len(list[edge.Refund](c.office, "refunds?state=declined"))
	taken, back := map[string]int64{}, map[string]int64{}
	lost := map[string]bool{}
	for _, r := range list[edge.Reversal](c.office, "reversals") {
		taken[r.Payment] += r.Amount.Minor - r.Returned.Minor
		lost[r.Payment] = lost[r.Payment] || r.State == "lost"
	}
	for _, r := range list[edge.Refund](c.office, "refunds?state=succeeded") {
		back[r.ChargeOurID] += r.Amount.Minor
	}
	var shop, claimed int64
	for _, p := range payments {
		beyond := max(0, taken[p.OurID]+back[p.OurID]-p.Amount.Minor)
		if beyond > 0 {
			did["taken beyond"]++
		}
		shop += p.Amount.Minor - citygate.PartPerMillion(p.Amount.Minor, feePPM) - back[p.OurID] - (taken[p.OurID] - beyond)
		claimed += beyond
		if got := c.find(p.ID); got.Taken.Minor != taken[p.OurID] || got.Returned.Minor != back[p.OurID] {
			t.Errorf("%d were taken and %d went back: %+v", taken[p.OurID], back[p.OurID], got)
		}
	}
	for _, p := range list[edge.Payout](c.office, "payouts") {
		shop -= p.Amount.Minor
	}
	all := c.balances()
	if got := c.owes(); got != shop-fees {
		t.Errorf("the shop is owed %d; want %d", got, shop-fees)
	}
	if got := all[ledger.Suspense("alipay")] + all[ledger.WriteOff("alipay")]; got != claimed || all[ledger.ReversalFee("alipay")] != 0 {
		t.Errorf("claimed from the provider, or lost: %d; want %d (%v)", got, claimed, all)
	}
}
