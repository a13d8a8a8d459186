package till

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/ledger"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func good() Order {
	return Order{Name: "R-1", Amount: citygate.Money{Minor: 100, Currency: "CNY"}, Subject: "Tea", Code: citygate.NewSecret([]byte("281234567890123456"))}
}

func TestOrdersAreCheckedAndNeverRepeatTheCode(t *testing.T) {
	if o := good(); o.check() != nil {
		t.Fatalf("a good one: %v", o.check())
	}
	for field, spoil := range map[string]func(*Order){
		"order":        func(o *Order) { o.Name = "" },
		"order:":       func(o *Order) { o.Name = "a\nb" },
		"amount":       func(o *Order) { o.Amount.Minor = 0 },
		"subject":      func(o *Order) { o.Subject = strings.Repeat("x", subjectMax+1) },
		"till":         func(o *Order) { o.Till = " counter" },
		"payment_code": func(o *Order) { o.Code = citygate.NewSecret([]byte(strings.Repeat("1", codeMax+1))) },
		"wait":         func(o *Order) { o.Wait = WaitMax + time.Second },
	} {
		o := good()
		spoil(&o)
		err := o.check()
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), strings.TrimSuffix(field, ":")) || strings.Contains(err.Error(), "1111") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// A provider that hangs holds up its own contract's customers and no others.
func TestALineIsBounded(t *testing.T) {
	var l line
	var leave []func()
	for range ofContract {
		out, err := l.join(1, "hangs")
		if err != nil {
			t.Fatal("a place is refused before there are too many")
		}
		leave = append(leave, out)
	}
	if _, err := l.join(1, "hangs"); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many of a contract: %v", err)
	}
	for _, other := range []place{{1, "answers"}, {2, "hangs"}} {
		if out, err := l.join(other.tenant, other.contract); err != nil {
			t.Errorf("%v waits for another's provider", other)
		} else {
			out()
		}
	}
	for _, out := range leave {
		out()
	}
	if _, err := l.join(1, "hangs"); err != nil || len(l.contract) != 1 || l.all != 1 {
		t.Errorf("places are not given back: %+v", &l)
	}
}

// Whatever is heard in whatever order: what is taken back is never paid, and what was
// certain once stays so.
func TestWhatIsHeardMovesAPaymentOn(t *testing.T) {
	accepted := driver.Result{Outcome: driver.Accepted}
	for _, c := range []struct {
		from  string
		h     collect.TillHeard
		want  string
		again bool // it is looked at at once
	}{
		{Asked, collect.TillHeard{State: adapters.Unknown, Event: adapters.Submitted, Result: accepted}, Paying, false},
		{Asked, collect.TillHeard{State: adapters.Unknown, Event: adapters.Lost}, Asked, false},
		{Asked, collect.TillHeard{State: adapters.Succeeded, Event: adapters.Submitted}, Paid, false},
		{Paying, collect.TillHeard{State: adapters.Declined, Event: adapters.Queried}, Declined, false},
		{Paying, collect.TillHeard{State: adapters.Unknown, Event: adapters.Noticed}, Paying, true},
		{Reversing, collect.TillHeard{State: adapters.Unknown, Event: adapters.Queried, Result: accepted}, Reversing, false},
		{Reversing, collect.TillHeard{State: adapters.Declined, Event: adapters.Queried}, Closed, false},
		{Reversing, collect.TillHeard{State: adapters.Succeeded, Event: adapters.Noticed}, Reversing, true},
		{Reversing, collect.TillHeard{State: adapters.Succeeded, Event: adapters.Billed}, Reversing, true},
	} {
		p := Payment{State: c.from, NextAt: noon.Add(time.Minute)}
		p.hear(&c.h, noon)
		if p.State != c.want || p.NextAt.Equal(noon) != c.again || p.open() == p.NextAt.IsZero() {
			t.Errorf("%s, %s (%s): %s, next %s", c.from, c.h.Event, c.h.State, p.State, p.NextAt)
		}
	}
}

func TestAPaymentIsLookedAtInTime(t *testing.T) {
	about := driver.Description{PollEvery: time.Minute, Limits: driver.Limits{PayerEvery: 5 * time.Second, ReverseAfter: 15 * time.Second}}
	p := Payment{State: Paying, AskedAt: noon, WaitUntil: noon.Add(time.Minute)}
	for after, want := range map[time.Duration]time.Duration{0: 5 * time.Second, 57 * time.Second: time.Minute, 2 * time.Minute: 2 * time.Minute} {
		if got := p.next(about, noon.Add(after)); !got.Equal(noon.Add(want)) {
			t.Errorf("after %s: %s; want after %s", after, got.Sub(noon), want)
		}
	}
	p.State = Reversing
	if got := p.next(about, noon.Add(time.Second)); !got.Equal(noon.Add(15 * time.Second)) {
		t.Errorf("a reversal that may be asked for after 15 s is tried after %s", got.Sub(noon))
	}
	p.Reversals = 1
	if got := p.next(about, noon.Add(10*time.Minute)); !got.Equal(noon.Add(11 * time.Minute)) {
		t.Errorf("an old one is looked at after %s", got.Sub(noon))
	}
}

// The payee earns the amount less the fee, bears what goes back, and is left what was
// cleared: whether that happens before or after its bill, the accounts end alike.
func TestThePayeeBearsFeeAndRefunds(t *testing.T) {
	p := Payment{OurID: "X", Contract: "pay", Payee: "shop", Amount: citygate.Money{Minor: 1000, Currency: "CNY"}, PaidAt: noon, ClearedAt: noon}
	for _, before := range []bool{true, false} {
		r := refund{ordinal: 1, amount: 300, uncleared: before}
		p.Cleared = 994
		if before {
			p.Cleared = 694
		}
		all := append(append(p.made(1, 6), p.returned(1, &r, noon, p.BusinessDate)...), p.cleared(1)...)
		net := map[string]int64{}
		for _, x := range all {
			net[x.Debit] += x.Amount
			net[x.Credit] -= x.Amount
		}
		if net[ledger.TillUncleared("shop")] != 0 || net[ledger.TillPayable("shop")] != -694 || net[ledger.ProviderReceivable("pay")] != 694 {
			t.Errorf("given back before its bill %t: %v", before, net)
		}
	}
}

func TestRefundsAreHeldToWhatPaymentAndProviderAllow(t *testing.T) {
	paid := Payment{State: Paid, Amount: citygate.Money{Minor: 1000, Currency: "CNY"}, Refunded: 400, PaidAt: noon}
	limits := refundLimits{able: true, within: time.Hour}
	if err := limits.allow(&paid, 600, noon); err != nil {
		t.Errorf("the rest: %v", err)
	}
	late, whole, unable, closed := limits, limits, limits, paid
	late.within, whole.whole, unable.able, closed.State = time.Second, true, false, Closed
	for what, err := range map[string]error{
		"more than is left": limits.allow(&paid, 601, noon), "too late": late.allow(&paid, 1, noon.Add(time.Minute)), "a part": whole.allow(&paid, 1, noon),
		"no refunds": unable.allow(&paid, 1, noon), "not paid": limits.allow(&closed, 1, noon),
	} {
		if !errors.Is(err, ErrRefund) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Money that is won of a payment which was taken back is the customer's: it is not closed
// before that went back, also where its refund was declined.
func TestWonMoneyOfAPaymentTakenBack(t *testing.T) {
	paid := Payment{State: Closed, Amount: citygate.Money{Minor: 1000, Currency: "CNY"}, PaidAt: noon, EndedAt: noon}
	for what, p := range map[string]struct {
		refunded, returned, taken int64
		state                     string
	}{
		"nothing went back":        {0, 0, 0, Reversing},
		"its refund is not over":   {1000, 0, 0, Reversing},
		"a part of it is":          {1000, 400, 599, Reversing},
		"all went back":            {1000, 1000, 0, Closed},
		"all went or is taken yet": {700, 700, 300, Closed},
	} {
		now := paid
		now.Refunded, now.Returned, now.Taken = p.refunded, p.returned, p.taken
		if now.standAfterTaking(noon); now.State != p.state || now.EndedAt.IsZero() == (p.state == Closed) {
			t.Errorf("%s: it is %s; want %s", what, now.State, p.state)
		}
	}
}
