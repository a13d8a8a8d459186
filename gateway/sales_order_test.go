package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/terminal"
)

// Whatever riders buy, ride, give back and are given back, and whatever providers take back
// of it and return, in whatever order it becomes known: what was paid for a product is in
// its rides, given back, taken back, left to the seller or still owed in rides, to the cent,
// and what its rides earned is paid out.
func TestProductsInAnyOrder(t *testing.T) {
	did := map[string]int{}
	for _, seed := range []uint64{5, 6, 7} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { productsInAnyOrder(t, rand.New(rand.NewPCG(20, seed)), seed > 5, did) })
	}
	for _, what := range []string{"given back: 200", "void: 200", "held", "refunded", "closed", "reversed", "taken back", "a debt taken back", "won", "lost", "paid", "written off",
		"of a held one", "of a refunded one", "of a reversed one", "owed"} {
		if did[what] == 0 {
			t.Errorf("%s never happened: %v", what, did)
		}
	}
}

// A market is a customer whose products are bought, used and taken back at random.
type market struct {
	*customer
	w       *rand.Rand
	v       *terminal.Verifier
	change  func(sandbox.Script)
	did     map[string]int
	orders  int
	pending int
}

func productsInAnyOrder(t *testing.T, w *rand.Rand, takes bool, did map[string]int) {
	o := open(t)
	m := &market{w: w, did: did, change: o.scripted(sandbox.Script{})}
	o.onboard()
	m.customer = &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(shop)}, nil)
	if takes { // he owes and rides, so that more happens
		terms := []byte(`{"version":1,"contracts":[{"contract":"` + o.contract("sandbox").Name + `","on_reversal":"owe","retries":0,"window":{},"retry_within_days":0}]}`)
		o.send(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: o.now().Add(time.Second), Terms: terms}, nil)
	}
	m.v = o.validator()
	// The rest of a ticket is given back while a ride that would use it is in the reader.
	o.move(time.Minute)
	first := m.buys("two", "first")
	o.settleDown()
	m.rides(m.v)
	m.uploads(m.v)
	m.rides(m.v)
	o.move(time.Minute)
	o.send(http.MethodPost, busPath("rider/refunds"), map[string]any{"code": m.code(), "sale": first.ID}, nil)
	m.uploads(m.v)
	m.holds("the rest of a ticket")
	for range 90 {
		what := ""
		if n := w.IntN(18); n < 12 || !takes {
			what = m.trade(n % 12)
		} else {
			what = m.takeBack(n)
		}
		m.holds(what)
	}
	// A pass is over, and closed, when a ride of it is uploaded that nobody knew of: the
	// seller has what was left, and gives none of it to the ride.
	m.change(sandbox.Script{})
	m.upload()
	m.pay()
	m.holds("paid")
	m.buys("day", "last")
	o.settleDown()
	o.sync(m.v)
	m.rides(m.v)
	m.upload()
	m.rides(m.v)
	for range 10 {
		o.move(6 * time.Hour)
		m.holds("with a tap in the reader")
	}
	if takes { // it was had to its end, with what the seller kept
		r := m.reverse(bus, o.paidBy("purchase"), m.name(), 500)
		if s, _ := some(m, "sales", func(s *edge.Sale) bool { return s.Order == "last" }); s.State != "reversed" || s.LeftOver == nil || r.Owed.Minor != 500 || r.Covered.Minor != 0 {
			t.Errorf("a pass that is over: %+v of %+v", r, s)
		}
		m.holds("a pass that is over is taken back")
	}
	m.uploads(m.v)
	for range 12 {
		o.move(12 * time.Hour)
		m.pay()
		m.holds("in the end")
	}
	if got := o.net(bus); got["product_payable"] != 0 || got["payable"] != 0 || got["rider_debt"] != 0 {
		t.Errorf("in the end: %v", got)
	}
	m.even()
}

func (m *market) upload() {
	if m.pending > 0 {
		m.uploads(m.v)
		m.pending = 0
	}
}

func (m *market) name() string {
	m.orders++
	return fmt.Sprint("n", m.orders)
}

// some gives one of a list that fulfils a condition.
func some[T any](m *market, path string, is func(*T) bool) (found T, ok bool) {
	all := slices.DeleteFunc(list[T](m.office, path), func(x T) bool { return !is(&x) })
	if len(all) == 0 {
		return found, false
	}
	return all[m.w.IntN(len(all))], true
}

// trade does what riders and staff do.
func (m *market) trade(n int) string {
	switch n {
	case 0, 1:
		order := m.asks([]string{"two", "two", "purse", "day"}[m.w.IntN(4)], m.name())
		return fmt.Sprintf("bought: %d", m.ask(http.MethodPost, busPath("rider/purchases"), "application/json", mustJSON(order)).Code)
	case 2, 3, 4:
		m.sync(m.v)
		m.move(time.Minute)
		m.counter++
		if got := m.visit(m.v, m.credential, m.device, m.counter, 0); got == string(code.Denied) {
			return "denied"
		} else if got != "" {
			m.t.Fatalf("refused: %s", got)
		}
		m.pending++
		return "ridden"
	case 5:
		m.upload()
		return "uploaded"
	case 8:
		m.move(time.Duration(10+m.w.IntN(40)) * time.Minute)
		m.change(sandbox.Script{})
		if m.w.IntN(3) == 0 {
			m.change(sandbox.Script{LoseReply: []string{"rider-1"}})
		}
		return "later"
	case 9:
		j, ok := some(m, "journeys", func(*edge.Journey) bool { return true })
		if !ok {
			return ""
		}
		r := edge.RefundJourney{Kind: "void", Name: m.name(), Reason: "late bus"}
		what := fmt.Sprintf("void: %d", m.ask(http.MethodPost, busPath("journeys/"+j.ID+"/refunds"), "application/json", mustJSON(r)).Code)
		m.did[what]++
		return what
	}
	s, ok := some(m, "sales?state=held", func(*edge.Sale) bool { return true })
	if !ok {
		return ""
	}
	what := fmt.Sprintf("given back: %d", m.ask(http.MethodPost, busPath("rider/refunds"), "application/json", mustJSON(map[string]any{"code": m.code(), "sale": s.ID})).Code)
	m.did[what]++
	return what
}

// takeBack does what banks do, and what follows from it.
func (m *market) takeBack(n int) string {
	left := map[string]int64{} // of each payment
	for _, r := range list[edge.Reversal](m.office, "reversals") {
		left[r.Payment] -= r.Amount.Minor - r.Returned.Minor
	}
	switch n {
	case 12, 13, 14:
		ch, ok := some(m, "charges", func(c *edge.Charge) bool {
			return (c.Kind == "purchase" || c.Kind == "recovery") && c.State == "succeeded" && c.Amount.Minor+left[c.OurID] > 0
		})
		if !ok {
			return ""
		}
		amount := ch.Amount.Minor + left[ch.OurID]
		if m.w.IntN(3) == 0 {
			amount = 1 + m.w.Int64N(amount)
		}
		for _, s := range list[edge.Sale](m.office, "sales") {
			if id, _ := citygate.ParseUUID("sal_", s.ID); ch.ID == id.Text("chg_") && ch.Kind == "purchase" {
				m.did["of a "+s.State+" one"]++
			}
		}
		if r := m.reverse(bus, ch, m.name(), amount); r.Sale != "" {
			if m.did["taken back"]++; ch.Kind == "recovery" {
				m.did["a debt taken back"]++
			}
			if r.Owed.Minor > 0 {
				m.did["owed"]++
			}
		}
	case 15:
		r, ok := some(m, "reversals?state=open", func(*edge.Reversal) bool { return true })
		if !ok {
			return ""
		}
		if m.w.IntN(3) == 0 {
			m.conclude(bus, r.ID, m.name(), "lost", 0)
			m.did["lost"]++
			return "lost"
		}
		amount := r.Amount.Minor - r.Returned.Minor
		if m.w.IntN(2) == 0 {
			amount = 1 + m.w.Int64N(amount)
		}
		m.conclude(bus, r.ID, m.name(), "won", amount)
		m.did["won"]++
		return "won"
	case 16:
		m.pay()
		return "paid"
	case 17:
		d, ok := some(m, "debts?state=open", func(d *edge.Debt) bool { return d.Sale != "" })
		if !ok {
			return ""
		}
		answer := m.ask(http.MethodPost, busPath("debts/"+d.ID+"/write-off"), "application/json", mustJSON(edge.WriteOffDebt{Amount: d.Left, Reason: "moved away"}))
		if answer.Code == http.StatusOK {
			m.did["written off"]++
		}
		return fmt.Sprintf("written off: %d", answer.Code)
	}
	return "taken back"
}

// pay has what is owed collected, and asked for once more what was given up.
func (m *market) pay() {
	for _, d := range list[edge.Debt](m.office, "debts") {
		switch {
		case d.State == "open":
			m.send(http.MethodPost, busPath("accounts/"+d.Account+"/retry-debts"), nil, nil)
			m.did["paid"]++
		case d.State == "written_off" && d.RepaidAt == nil && d.Left.Minor > 0:
			m.ask(http.MethodPost, busPath("debts/"+d.ID+"/collect"), "application/json", nil)
		}
	}
}

// pendingOf sums what is to go back of each sale and has not gone.
func (m *market) pendingOf() map[string]int64 {
	sums := map[string]int64{}
	for _, row := range m.audit.Rows(bus, `SELECT journey_id::text, sum(amount)::bigint FROM refunds
		WHERE tenant_id = $1 AND n = 0 AND state IN ('created', 'sent', 'unknown', 'declined') GROUP BY journey_id`, int64(bus)) {
		sums[row[0].(string)] = row[1].(int64)
	}
	return sums
}

// holds compares each sale with what its rides earned, by the decisions, and with the book.
func (m *market) holds(what string) {
	t, o := m.t, m.office
	t.Helper()
	o.settleDown()
	o.booksHold()
	earned := map[string]int64{}
	for _, row := range o.audit.Rows(bus, `SELECT a.rule, sum(a.prepaid)::bigint FROM fare_adjustments a JOIN journeys j ON j.tenant_id = $1 AND j.journey_id = a.journey_id AND j.last_n = a.n
		WHERE a.tenant_id = $1 AND a.kind IN ('product', 'stored_value') GROUP BY a.rule`, int64(bus)) {
		earned[row[0].(string)] = row[1].(int64)
	}
	owed := map[string]int64{}
	for account, net := range o.balances() {
		if id, found := strings.CutPrefix(account, ledger.PrefixPrepaid); found {
			owed[id] = -net
		}
	}
	busy := map[string]bool{}
	for _, row := range o.audit.Rows(bus, `SELECT sale_id::text FROM taken_sales WHERE tenant_id = $1 AND unsettled`, int64(bus)) {
		busy[row[0].(string)] = true
	}
	pending := m.pendingOf()
	for _, s := range list[edge.Sale](o, "sales") {
		uuid, err := citygate.ParseUUID("sal_", s.ID)
		o.must(err)
		id := uuid.String()
		used, left := earned[id], int64(0)
		for _, money := range []*citygate.Money{s.Refund, s.LeftOver} {
			if money != nil {
				left += money.Minor
			}
		}
		want := s.Price.Minor - used
		switch s.State {
		case "asked", "declined":
			want = 0
		case "refunded", "closed":
			want -= left
		case "reversed": // nothing is owed in rides any more
			want = pending[id]
		}
		if m.did[s.State]++; busy[id] {
			continue
		}
		if used < 0 || used > s.Price.Minor || want < 0 || owed[id] != want {
			t.Fatalf("%s: %s %s of %d earned %d, %d is given back or left, and %d owed in rides, want %d", what, s.State, s.Product, s.Price.Minor, used, left, owed[id], want)
		}
	}
}

// even holds each sale of which everything is over against what its rider paid for it in all:
// what he used, and what the seller kept of a payment that stands, no more and no less.
func (m *market) even() {
	for _, row := range m.audit.Rows(bus, `
		SELECT s.sale_id::text, s.product, s.price, s.left_over,
		       (SELECT coalesce(sum(a.prepaid), 0) FROM fare_adjustments a JOIN journeys j ON j.tenant_id = $1 AND j.journey_id = a.journey_id AND j.last_n = a.n
		        WHERE a.tenant_id = $1 AND a.rule = s.sale_id::text)::bigint,
		       (SELECT coalesce(sum(c.amount), 0) FROM charges c WHERE c.tenant_id = $1 AND c.state = 'succeeded'
		        AND (c.aggregation_id = s.sale_id OR c.aggregation_id IN (SELECT d.aggregation_id FROM debts d WHERE d.tenant_id = $1 AND d.sale_id = s.sale_id)))::bigint,
		       (SELECT coalesce(sum(r.amount), 0) FROM refunds r WHERE r.tenant_id = $1 AND r.journey_id = s.sale_id AND r.state = 'succeeded')::bigint,
		       (SELECT coalesce(sum(v.amount - v.returned), 0) FROM reversals v WHERE v.tenant_id = $1 AND v.sale_id = s.sale_id)::bigint,
		       (SELECT coalesce(sum(l.amount), 0) FROM taken_sale_lines l WHERE l.tenant_id = $1 AND l.sale_id = s.sale_id AND l.kind = 'unowed')::bigint,
		       (SELECT coalesce(sum(l.amount), 0) FROM taken_sale_lines l WHERE l.tenant_id = $1 AND l.sale_id = s.sale_id AND l.kind = 'kept')::bigint,
		       (SELECT coalesce(sum(v.returned), 0) FROM reversals v WHERE v.tenant_id = $1 AND v.sale_id = s.sale_id)::bigint
		FROM product_sales s WHERE s.tenant_id = $1 AND s.state = 'reversed'`, int64(bus)) {
		n := func(i int) int64 { return row[i].(int64) }
		leftOver, used, in, back, taken, unowed, kept, returned := n(3), n(4), n(5), n(6), n(7), n(8), n(9), n(10)
		if in-back-taken+unowed != used+leftOver+kept || kept < 0 || kept > returned {
			m.t.Errorf("sale %v of %v at %v: %d came in, %d went back, %d was taken and %d of it is claimed; %d was used, %d left over, %d kept of %d that came back",
				row[0], row[1], row[2], in, back, taken, unowed, used, leftOver, kept, returned)
		}
	}
}
