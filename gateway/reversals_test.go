package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants"
)

// listOf gives all items of a list of a tenant.
func listOf[T any](o *office, tenant citygate.TenantID, path string) []T {
	o.t.Helper()
	var answer struct {
		Items []T `json:"items"`
	}
	o.send(http.MethodGet, pathOf(tenant, path), nil, &answer)
	return answer.Items
}

func (o *office) reverse(tenant citygate.TenantID, c edge.Charge, reference string, amount int64) (v edge.Reversal) {
	o.t.Helper()
	o.send(http.MethodPost, pathOf(tenant, "reversals"), edge.RecordReversal{Contract: c.Contract, Reference: reference, Payment: c.OurID,
		Amount: citygate.Money{Minor: amount, Currency: c.Amount.Currency}, FeeMinor: new(int64(15)), Reason: "not recognised"}, &v)
	return v
}

func (o *office) conclude(tenant citygate.TenantID, id, reference, outcome string, amount int64) (v edge.Reversal) {
	o.t.Helper()
	o.send(http.MethodPost, pathOf(tenant, "reversals/"+id+"/outcome"), edge.ConcludeReversal{Reference: reference, Outcome: outcome, AmountMinor: amount, FeeMinor: new(int64), Reason: "by the scheme"}, &v)
	return v
}

// A bank takes a payment back: its rider is denied for that payment alone, pays it and
// rides again; what is won afterwards is his again. By other terms he owes it and rides.
func TestAReversedPaymentBlocksForItsOwnDebt(t *testing.T) {
	o := open(t)
	o.scripted(sandbox.Script{})
	o.onboard()
	mine, v := o.credential("phone"), o.validator()
	ride := func(counter uint16) code.Reason {
		o.sync(v)
		return o.look(v, o.fresh(mine, "phone", counter))
	}
	o.board(v, mine, "phone")
	o.drain(v)
	o.until("collected", func() bool {
		all := list[edge.Charge](o, "charges")
		return len(all) == 1 && all[0].State == "succeeded"
	})
	o.move(40 * time.Hour) // reconciled, and paid out
	o.settleDown()
	o.booksHold()
	if len(list[edge.Payout](o, "payouts")) != 1 {
		t.Fatal("the fare was not paid out")
	}
	mine = o.credential("phone")
	paid := list[edge.Charge](o, "charges")[0]
	r := o.reverse(bus, paid, "CB-1", price)
	if again := o.reverse(bus, paid, "CB-1", price); again.ID != r.ID || again.Debt != r.Debt {
		t.Errorf("recorded twice: %+v", again)
	}
	for name, c := range map[string]struct {
		r    edge.RecordReversal
		want string
	}{
		"the same reference, another sum": {edge.RecordReversal{Contract: paid.Contract, Reference: "CB-1", Payment: paid.OurID, Amount: citygate.Money{Minor: 1, Currency: "CNY"}, Reason: "not recognised"}, "reversal.other_content"},
		"nobody's payment":                {edge.RecordReversal{Contract: paid.Contract, Reference: "CB-2", Payment: "NOBODYS", Amount: citygate.Money{Minor: 1, Currency: "CNY"}, Reason: "not recognised"}, "reversal.no_charge"},
		"more than was paid":              {edge.RecordReversal{Contract: paid.Contract, Reference: "CB-2", Payment: paid.OurID, Amount: citygate.Money{Minor: price + 1, Currency: "CNY"}, Reason: "not recognised"}, "reversal.invalid"},
	} {
		if got := o.refused(http.MethodPost, busPath("reversals"), c.r); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := o.refused(http.MethodPost, busPath("reversals/"+citygate.UUID{1}.Text("rvs_")+"/outcome"), edge.ConcludeReversal{Reference: "x", Outcome: "lost", Reason: "nobody's"}); got != "reversal.not_found" {
		t.Errorf("nobody's: %s", got)
	}
	o.settleDown()
	o.booksHold()
	if got := ride(30); got != code.Denied {
		t.Errorf("after the chargeback at the reader: %q", got)
	}
	debt := list[edge.Debt](o, "debts?state=open")
	if len(debt) != 1 || debt[0].Left.Minor != price || debt[0].Reversal != r.ID || debt[0].RetryAt != nil || !debt[0].Blocks {
		t.Errorf("debts %+v", debt)
	}
	var pay struct{ Debts int }
	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: o.proof(mine, "phone", 31)}, &pay)
	o.until("paid", func() bool { return len(list[edge.Debt](o, "debts?state=recovered")) == 1 })
	if got := ride(32); got != "" {
		t.Errorf("paid, and at the reader: %q", got)
	}
	o.booksHold()

	// The scheme decides for us after all: he paid twice, and gets one back.
	won := o.conclude(bus, r.ID, "RP-1", "won", price)
	if again := o.conclude(bus, r.ID, "RP-1", "won", price); again.State != "won" || won.State != "won" {
		t.Errorf("won: %+v then %+v", won, again)
	}
	if got := o.refused(http.MethodPost, busPath("reversals/"+r.ID+"/outcome"), edge.ConcludeReversal{Reference: "RP-2", Outcome: "lost", Reason: "by the scheme"}); got != "reversal.closed" {
		t.Errorf("lost after won: %s", got)
	}
	o.until("given back", func() bool { return len(list[edge.Refund](o, "refunds?state=succeeded")) == 1 })
	o.move(3 * 24 * time.Hour)
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["rider_debt"] != 0 || got["rider_receivable"] != 0 || got["reversal_fee"] != 15 {
		t.Errorf("the book: %v", got)
	}

	terms := []byte(`{"version":1,"contracts":[{"contract":"` + paid.Contract + `","on_reversal":"owe","retries":0,"window":{},"retry_within_days":0}]}`)
	o.send(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: o.now().Add(time.Second), Terms: terms}, nil)
	o.move(time.Minute)
	mine = o.credential("phone")
	if r = o.reverse(bus, list[edge.Charge](o, "charges")[1], "CB-3", 50); r.Owed.Minor != 50 {
		t.Errorf("a part: %+v", r)
	}
	o.settleDown()
	if got := ride(33); got != "" {
		t.Errorf("owed by the terms, and at the reader: %q", got)
	}
	o.move(20 * 24 * time.Hour) // nothing asks the bank again by itself
	o.settleDown()
	if debt := list[edge.Debt](o, "debts?state=open"); len(debt) != 1 || debt[0].Left.Minor != 50 || debt[0].Blocks || debt[0].Tries != 0 {
		t.Errorf("asked for by itself: %+v", debt)
	}
	o.booksHold()
}

// Whatever happens to payments that were taken back, in whatever order, the books of
// issuer and operator hold at every step, nobody is denied for what he does not owe, and
// a cent is never in two places.
func TestReversalsInAnyOrder(t *testing.T) {
	did := map[string]int{}
	for i, bearer := range []string{"issuer", "host"} {
		t.Run(bearer, func(t *testing.T) { reversalsInAnyOrder(t, bearer, rand.New(rand.NewPCG(9, uint64(i)+31)), did) })
	}
	for _, what := range []string{"reversed open", "won", "lost", "retried", "written off", "fare corrected"} {
		if did[what] == 0 {
			t.Errorf("%s never happened: %v", what, did)
		}
	}
}

func reversalsInAnyOrder(t *testing.T, bearer string, w *rand.Rand, did map[string]int) {
	o := open(t)
	say := o.declines()
	o.onboard()
	o.neighbour("")
	v := o.validator()
	days := int64(0)
	if bearer == "issuer" {
		days = 4
	}
	o.agree(edge.Roamable{Uncollected: bearer, PayDays: days})
	rides, references := 0, 0
	ride := func() {
		name := fmt.Sprintf("v%d", rides)
		credential := o.visitor(name, 1)
		o.move(time.Minute)
		o.settleDown()
		o.syncAll(v)
		if got := o.visit(v, credential, name, 1, price); got != "" {
			t.Fatalf("ride %d: %q", rides, got)
		}
		o.drain(v)
		rides++
	}
	reference := func() string { references++; return fmt.Sprintf("CB-%d", references) }
	some := func(state string) (edge.Reversal, bool) {
		all := listOf[edge.Reversal](o, hill, "reversals?state="+state)
		if len(all) == 0 {
			return edge.Reversal{}, false
		}
		return all[w.IntN(len(all))], true
	}
	step := func() {
		o.settleDown()
		o.booksHold()
		owing := map[string]bool{}
		for _, d := range o.hillDebts("open") {
			owing[d.Account] = true
		}
		for _, d := range listOf[edge.Debt](o, hill, "debts") {
			denied := slices.ContainsFunc(listOf[edge.Denial](o, hill, "accounts/"+d.Account+"/denials"), func(n edge.Denial) bool { return n.Reason == "declined" && n.LiftedAt == nil })
			if denied != owing[d.Account] {
				t.Errorf("account %s: denied %t, owing %t", d.Account, denied, owing[d.Account])
			}
		}
	}
	ride()
	ride()
	for range 34 {
		switch w.IntN(11) {
		case 0:
			ride()
		case 1:
			say(w.IntN(2) > 0)
		case 2:
			o.move(time.Duration(20+w.IntN(40)) * time.Hour)
		case 3, 4, 9:
			all := slices.DeleteFunc(listOf[edge.Charge](o, hill, "charges"), func(c edge.Charge) bool { return c.State == "declined" })
			if len(all) > 0 {
				c := all[w.IntN(len(all))]
				r := o.reverse(hill, c, reference(), 1+w.Int64N(c.Amount.Minor))
				did["reversed "+r.State]++
			}
		case 5, 10:
			if r, found := some("open"); found {
				if w.IntN(2) == 0 {
					o.conclude(hill, r.ID, reference(), "lost", 0)
					did["lost"]++
				} else {
					o.conclude(hill, r.ID, reference(), "won", 1+w.Int64N(r.Amount.Minor-r.Returned.Minor))
					did["won"]++
				}
			}
		case 6:
			for _, d := range o.hillDebts("open") {
				o.send(http.MethodPost, pathOf(hill, "accounts/"+d.Account+"/retry-debts"), nil, nil)
				did["retried"]++
			}
		case 7:
			if all := o.hillDebts("open"); len(all) > 0 {
				o.writeOff(all[w.IntN(len(all))])
				did["written off"]++
			}
		case 8:
			if all := list[edge.Journey](o, "journeys"); len(all) > 0 {
				j := all[w.IntN(len(all))]
				if j.Fare != nil && j.Fare.Minor > 1 {
					o.send(http.MethodPost, busPath("journeys/"+j.ID+"/refunds"), edge.RefundJourney{Kind: "goodwill", Goodwill: 1 + w.Int64N(j.Fare.Minor-1), Name: reference(), Reason: "late bus"}, nil)
					did["fare corrected"]++
				}
			}
		}
		step()
	}
	say(false)
	for _, d := range o.hillDebts("open") {
		o.send(http.MethodPost, pathOf(hill, "accounts/"+d.Account+"/retry-debts"), nil, nil)
	}
	for range 10 {
		o.move(12 * time.Hour)
		step()
	}
	if open := o.hillDebts("open"); len(open) != 0 {
		t.Errorf("everybody paid, and still open: %+v", open)
	}
	got := o.net(hill)
	if got["rider_receivable"] != 0 || got["interbook_payable"] != 0 {
		t.Errorf("the hill's book in the end: %v", got)
	}
	if got := o.net(bus); got["interbook_receivable"] != 0 {
		t.Errorf("the bus's book in the end: %v", got)
	}
}

// A bill says that payments were taken back: one of which nobody told us is recorded from
// its row; one that stands there as a refund nobody asked for is recognised as soon as a
// person records it under the row's reference, or the provider's notice does.
func TestBillsTakePaymentsBack(t *testing.T) {
	for _, by := range []string{"person", "notice"} {
		t.Run(by, func(t *testing.T) { billsTakePaymentsBack(t, by) })
	}
}

// sandboxes keeps every sandbox that is opened from now on.
func (o *office) sandboxes() *[]*sandbox.Provider {
	boxes := new([]*sandbox.Provider)
	var opened adapters.Constructor
	opened = o.Products.Replace("sandbox", func(d adapters.Deps) (driver.Provider, error) {
		p, err := opened(d)
		if err == nil {
			*boxes = append(*boxes, p.(*sandbox.Provider))
		}
		return p, err
	})
	return boxes
}

func billsTakePaymentsBack(t *testing.T, by string) {
	o := open(t)
	boxes := o.sandboxes()
	o.onboard()
	mine, v := o.credential("phone"), o.validator()
	o.board(v, mine, "phone")
	o.drain(v)
	o.until("collected", func() bool {
		all := list[edge.Charge](o, "charges")
		return len(all) == 1 && all[0].State == "succeeded"
	})
	paid := list[edge.Charge](o, "charges")[0]
	cny := func(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "CNY"} }
	for _, b := range *boxes {
		b.SetBillFaults([]sandbox.BillFault{
			{Kind: sandbox.TakenBack, OurID: paid.OurID, Amount: cny(60), Fee: 9},
			{Kind: sandbox.UnaskedRefund, OurID: paid.OurID, Amount: cny(30)},
		})
	}
	o.move(40 * time.Hour)
	o.until("the bill is read", func() bool { return len(list[edge.Reversal](o, "reversals")) == 1 })
	r := list[edge.Reversal](o, "reversals")[0]
	if r.Reference != "cb_"+paid.OurID || r.Source != "bill" || r.State != "open" || r.Owed.Minor != 60 || r.FeeMinor != 9 {
		t.Errorf("by the bill: %+v", r)
	}
	open := func() (kinds []string) {
		for _, i := range list[edge.ReconItem](o, "reconciliation?state=open") {
			kinds = append(kinds, i.Kind+" "+i.Item)
		}
		return kinds
	}
	if got := fmt.Sprint(open()); got != "[refund_unexpected refund/unasked_"+paid.OurID+"]" {
		t.Errorf("exceptions: %s", got)
	}
	o.booksHold()
	late := edge.RecordReversal{Contract: paid.Contract, Reference: "unasked_" + paid.OurID, Payment: paid.OurID, Amount: cny(30), Reason: "a chargeback"}
	if by == "notice" {
		own, err := o.Tenants.ByID(t.Context(), bus)
		o.must(err)
		p, err := o.provider(t.Context(), bus, o.contract("sandbox"))
		o.must(err)
		o.must(o.takeNotice(t.Context(), own, o.contract("sandbox"), p, driver.Notice{ID: "1", Kind: driver.NoticeReversal, ChargeID: late.Payment,
			Taken: driver.Taken{Reference: late.Reference, State: driver.TakenBack, Amount: late.Amount}}))
	} else {
		o.send(http.MethodPost, busPath("reversals"), late, nil)
		o.send(http.MethodPost, busPath("reversals"), late, nil)
	}
	if got := open(); len(got) != 0 {
		t.Errorf("recognised, and still open: %v", got)
	}
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["provider_receivable"] != 0 || got["rider_debt"] != 90 || got["reversal_fee"] != 9 {
		t.Errorf("the book: %v", got)
	}
}

// A provider tells of payments that were taken back and of what became of the disputes:
// each is recorded once, whoever else records it too, and the books hold. What cannot be
// recorded changes nothing and waits for somebody.
func TestProvidersTellOfReversals(t *testing.T) {
	o := open(t)
	change := o.scripted(sandbox.Script{Outages: []sandbox.Span{{Until: o.now().AddDate(1, 0, 0)}}})
	o.onboard()
	own, err := o.Tenants.ByID(t.Context(), bus)
	o.must(err)
	contract := o.contract("sandbox")
	p, err := o.provider(t.Context(), bus, contract)
	o.must(err)
	cny := func(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "CNY"} }
	mine, v := o.credential("phone"), o.validator()
	o.board(v, mine, "phone")
	o.drain(v)
	o.until("asked", func() bool { return len(list[edge.Charge](o, "charges")) == 1 })
	paid := list[edge.Charge](o, "charges")[0]
	ids := 0
	noticeOf := func(id string) (n edge.Notice) {
		for _, n := range list[edge.Notice](o, "notices") {
			if n.ProviderID == id {
				return n
			}
		}
		return n
	}
	tell := func(what, of string, state driver.TakenState, amount, fee int64, want string) {
		t.Helper()
		ids++
		n := driver.Notice{ID: fmt.Sprint(ids), Kind: driver.NoticeReversal, ChargeID: paid.OurID, Taken: driver.Taken{Reference: what, Of: of, State: state, Fee: fee}}
		if n.Taken.ReasonCode = "C28"; amount > 0 {
			n.Taken.Amount = cny(amount)
		}
		for range 2 {
			o.must(o.takeNotice(t.Context(), own, contract, p, n))
		}
		all, got := list[edge.Notice](o, "notices"), noticeOf(fmt.Sprint(ids))
		if len(all) != ids || got.Verdict != want || got.Kind != "reversal" || got.ChargeOurID != paid.OurID || got.Repeats != 1 {
			t.Errorf("%s %s: %d notices, %+v, want %s", what, state, len(all), got, want)
		}
	}
	state := func(reference string) (r edge.Reversal) {
		for _, r := range list[edge.Reversal](o, "reversals") {
			if r.Reference == reference {
				return r
			}
		}
		return r
	}

	// Before the payment is known to have succeeded it waits.
	tell("CB-1", "", driver.TakenBack, 60, 9, "applied")
	if r := state("CB-1"); r.State != "waiting" || r.Source != "notice" || r.RecordedBy != "system:notify" || r.Reason != "the provider's notice: C28" {
		t.Errorf("told of a payment whose outcome nobody knows: %+v", r)
	}
	change(sandbox.Script{})
	o.until("collected", func() bool { return list[edge.Charge](o, "charges")[0].State == "succeeded" })
	o.until("owed", func() bool { return state("CB-1").State == "open" })
	o.booksHold()
	if got := list[edge.Debt](o, "debts?state=open"); len(got) != 1 || got[0].Left.Minor != 60 || got[0].Reversal != state("CB-1").ID {
		t.Errorf("debts %+v", got)
	}

	tell("CB-1", "", driver.TakenBack, 61, 9, "mismatch") // one reference, another sum
	tell("CB-2", "", driver.TakenBack, price+1, 0, "mismatch")
	tell("RP-9", "CB-99", driver.TakenWon, 10, 0, "waiting") // of what nobody told
	tell("", "", driver.TakenOther, 0, 0, "noted")
	stranger := driver.Notice{ID: "s", Kind: driver.NoticeReversal, ChargeID: "NOBODYS", Taken: driver.Taken{Reference: "CB-3", State: driver.TakenBack, Amount: cny(10)}}
	ids++
	o.must(o.takeNotice(t.Context(), own, contract, p, stranger))
	if all := list[edge.Notice](o, "notices?state=open"); len(all) != 3 || noticeOf("s").Verdict != "unknown_order" {
		t.Errorf("waiting for somebody: %+v", all)
	}
	if n := len(list[edge.Reversal](o, "reversals")); n != 1 {
		t.Errorf("%d reversals", n)
	}

	// Amounts are of the payment's currency, and outcomes of its own reversals.
	say := func(id, charge string, taken driver.Taken, want string) {
		t.Helper()
		ids++
		n := driver.Notice{ID: id, Kind: driver.NoticeReversal, ChargeID: charge, Taken: taken}
		o.must(o.takeNotice(t.Context(), own, contract, p, n))
		if got := noticeOf(id); got.Verdict != want {
			t.Errorf("%s: %+v, want %s", id, got, want)
		}
	}
	hkd := citygate.Money{Minor: 10, Currency: "HKD"}
	say("hkd", paid.OurID, driver.Taken{Reference: "CB-8", State: driver.TakenBack, Amount: hkd}, "mismatch")
	say("won hkd", paid.OurID, driver.Taken{Reference: "RP-8", Of: "CB-1", State: driver.TakenWon, Amount: hkd}, "mismatch")
	say("won of another", "NOBODYS", driver.Taken{Reference: "RP-8", Of: "CB-1", State: driver.TakenWon, Amount: cny(10)}, "mismatch")
	// One provider gives its notices no ids: what they say tells them apart.
	anonymous := func() (n int) {
		for _, x := range list[edge.Notice](o, "notices") {
			if x.ProviderID == "" {
				n++
			}
		}
		return n
	}
	for i, reference := range []string{"CB-9", "CB-10", "CB-9"} {
		o.must(o.takeNotice(t.Context(), own, contract, p, driver.Notice{Kind: driver.NoticeReversal, ChargeID: "NOBODYS", Taken: driver.Taken{Reference: reference, State: driver.TakenBack, Amount: cny(10)}}))
		if want := min(i+1, 2); anonymous() != want {
			t.Errorf("%d notices without an id, want %d", anonymous(), want)
		}
	}
	ids += 2

	// A person has recorded another one already; the notice knows it.
	o.reverse(bus, paid, "CB-4", 20)
	tell("CB-4", "", driver.TakenBack, 20, 15, "known")
	tell("RP-1", "CB-1", driver.TakenWon, 60, 0, "applied")
	tell("RP-1", "CB-1", driver.TakenWon, 60, 0, "known")
	tell("RP-2", "CB-1", driver.TakenLost, 0, 0, "contradiction")
	tell("RP-4", "CB-4", driver.TakenWon, 21, 0, "mismatch") // more than was taken
	tell("RP-5", "CB-4", driver.TakenWon, 15, 0, "applied")
	tell("RP-6", "CB-4", driver.TakenWon, 6, 0, "mismatch") // more than is left of it
	tell("RP-4", "CB-4", driver.TakenLost, 0, 5, "applied")
	if a, b := state("CB-1"), state("CB-4"); a.State != "won" || a.Returned.Minor != 60 || b.State != "lost" || b.Returned.Minor != 15 {
		t.Errorf("decided: %+v and %+v", a, b)
	}
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["rider_debt"] != 5 || got["reversal_fee"] != 9+15+5 {
		t.Errorf("the book: %v", got)
	}

	closed := own
	closed.State = tenants.Closed
	o.must(o.takeNotice(t.Context(), closed, contract, p, driver.Notice{ID: "c", Kind: driver.NoticeReversal, ChargeID: paid.OurID,
		Taken: driver.Taken{Reference: "CB-5", State: driver.TakenBack, Amount: cny(10)}}))
	if got := noticeOf("c"); got.Verdict != "held" || state("CB-5").ID != "" {
		t.Errorf("at a closed tenant: %+v", got)
	}
}
