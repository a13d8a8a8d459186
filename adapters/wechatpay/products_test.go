package wechatpay_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
)

// What a product can do is what its type has.
func TestProductsHaveTheirAbilities(t *testing.T) {
	for product, want := range map[wechatpay.Product]string{
		wechatpay.Ride:    "[refund notify bill rider]",
		wechatpay.RideV2:  "[refund notify bill rider]",
		wechatpay.CodePay: "[refund reverse notify bill]",
		wechatpay.Global:  "[refund reverse notify bill]",
	} {
		w := newWorld(t, product, nil)
		if got := fmt.Sprint(driver.Capabilities(w.provider)); got != want {
			t.Errorf("%s can %s; want %s", product, got, want)
		}
	}
	w := newWorld(t, wechatpay.Ride, func(_ *wechatpaysim.Config, c *wechatpay.Config) { c.ArrearsPath = wechatpaysim.ArrearsPath })
	if got := fmt.Sprint(driver.Capabilities(w.provider)); got != "[refund notify bill deny_feed rider]" {
		t.Errorf("ride with arrears can %s", got)
	}
}

// A debit on a contract is accepted first; what becomes of it is heard by asking.
func TestRideIsAcceptedAndThenCarriedOut(t *testing.T) {
	for _, product := range []wechatpay.Product{wechatpay.Ride, wechatpay.RideV2} {
		w := newWorld(t, product, func(s *wechatpaysim.Config, _ *wechatpay.Config) { s.DeductAfter = time.Minute })
		d := w.debit("a", 250)
		if r, err := w.submit(t, d); err != nil || r.Outcome != driver.Accepted {
			t.Fatalf("%s: %q, %v; want accepted", product, r.Outcome, err)
		}
		if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Accepted {
			t.Errorf("%s: Query = %q, %v; want accepted", product, r.Outcome, err)
		}
		w.clock.add(time.Minute)
		if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded || r.Amount != d.Amount {
			t.Errorf("%s: a minute later = %+v, %v; want succeeded", product, r, err)
		}
	}
}

// The platform pays for who cannot: the operator has its money for good, and the
// rider's debt is the platform's.
func TestAdvancedOrders(t *testing.T) {
	for _, product := range []wechatpay.Product{wechatpay.Ride, wechatpay.RideV2} {
		w := newWorld(t, product, func(s *wechatpaysim.Config, _ *wechatpay.Config) { s.Merchants[0].Advance = true })
		w.sim.SetInsufficient(riderID)
		ask := func(id string) driver.Result {
			t.Helper()
			r, err := w.provider.Query(t.Context(), ref(w.debit(id, 250)))
			if err != nil || r.Outcome != driver.Succeeded {
				t.Fatalf("%s: Query(%s) = %+v, %v; want succeeded", product, id, r, err)
			}
			return r
		}
		for _, id := range []string{"a", "b"} {
			if _, err := w.submit(t, w.debit(id, 250)); err != nil {
				t.Fatal(err)
			}
		}
		if r := ask("a"); r.Advance != driver.AdvanceOwed {
			t.Errorf("%s: advance %q; want owed", product, r.Advance)
		}
		check := w.provider.(driver.RiderCheck)
		state := func() driver.RiderState {
			s, err := check.RiderState(t.Context(), driver.RiderQuestion{RiderRef: riderID, AgreementID: riderID})
			if err != nil {
				t.Fatal(err)
			}
			return s.State
		}
		if s := state(); s != driver.RiderOverdue {
			t.Errorf("%s: the rider is %q; want overdue", product, s)
		}
		back := driver.Refund{OurID: "r", Charge: ref(w.debit("b", 250)), Amount: citygate.Money{Minor: 250, Currency: "CNY"}}
		if r, err := w.provider.(driver.Refunder).Refund(t.Context(), back); err != nil || r.Outcome != driver.Succeeded {
			t.Errorf("%s: Refund = %+v, %v", product, r, err)
		}
		w.sim.TopUp(riderID)
		if product == wechatpay.Ride { // APIv2 does not tell of the debt, only of the bank
			if r := ask("a"); r.Advance != driver.AdvanceRepaid {
				t.Errorf("repaid: advance %q", r.Advance)
			}
			if r := ask("b"); r.Advance != driver.AdvanceReturned {
				t.Errorf("refunded: advance %q", r.Advance)
			}
		}
		if s := state(); s != driver.RiderNormal {
			t.Errorf("%s: the rider who paid is %q; want normal", product, s)
		}
	}
}

// Without the right to advances, a rider without money is a decline and a debt;
// who owes is on the list and leaves it by paying.
func TestArrearsListIsComplete(t *testing.T) {
	w := newWorld(t, wechatpay.Ride, func(_ *wechatpaysim.Config, c *wechatpay.Config) { c.ArrearsPath = wechatpaysim.ArrearsPath })
	feed, ok := driver.As[driver.DenyFeed](w.provider)
	if !ok {
		t.Fatal("no list of arrears")
	}
	for i := range 10_001 {
		id := fmt.Sprintf("c%05d", i)
		w.sim.AddContract(id, fmt.Sprintf("o%05d", i), "")
		w.sim.SetArrears(id, 100)
	}
	w.sim.SetInsufficient(riderID)
	if r, err := w.submit(t, w.debit("poor", 250)); err != nil || r.Outcome != driver.Declined {
		t.Fatalf("Submit = %+v, %v; want declined", r, err)
	}
	riders, err := feed.PullDeny(t.Context())
	if err != nil || len(riders) != 10_002 {
		t.Fatalf("PullDeny gave %d riders, %v; want 10002", len(riders), err)
	}
	if riders[0] != "o00000" || riders[10_001] == "oRider1" {
		t.Errorf("first %s, last %s; want an open id first and the name from registration last", riders[0], riders[10_001])
	}
	w.sim.TopUp(riderID)
	if riders, err = feed.PullDeny(t.Context()); err != nil || len(riders) != 10_001 {
		t.Errorf("PullDeny gave %d riders, %v; want the one who paid gone", len(riders), err)
	}
}

func TestRidersAreReadOneByOne(t *testing.T) {
	for _, product := range []wechatpay.Product{wechatpay.Ride, wechatpay.RideV2} {
		w := newWorld(t, product, nil)
		check := w.provider.(driver.RiderCheck)
		ask := func() driver.RiderState {
			s, err := check.RiderState(t.Context(), driver.RiderQuestion{RiderRef: riderID, AgreementID: riderID})
			if err != nil {
				t.Fatal(err)
			}
			return s.State
		}
		if s := ask(); s != driver.RiderNormal {
			t.Errorf("%s: %q; want normal", product, s)
		}
		w.sim.Block(riderID, "ACCOUNT_FROZEN")
		want := map[wechatpay.Product]driver.RiderState{wechatpay.Ride: driver.RiderFrozen, wechatpay.RideV2: driver.RiderBlocked}[product]
		if s := ask(); s != want {
			t.Errorf("%s: %q; want %q", product, s, want)
		}
		w.sim.Block(riderID, "")
		w.sim.EndContract(riderID)
		if s := ask(); s != driver.RiderBlocked && s != driver.RiderDeleted {
			t.Errorf("%s: %q after the contract's end", product, s)
		}
		if r, err := w.submit(t, w.debit("late", 100)); err != nil || r.Outcome == driver.Succeeded {
			t.Errorf("%s: a debit on an ended contract: %+v, %v", product, r, err)
		}
	}
}

// A rider types a password: open until he has; what he types after the reversal
// changes nothing.
func TestPasswordAndReversal(t *testing.T) {
	for _, product := range []wechatpay.Product{wechatpay.CodePay, wechatpay.Global} {
		w := newWorld(t, product, func(s *wechatpaysim.Config, _ *wechatpay.Config) {
			s.PasswordAfter = 30 * time.Second
			s.Faults.Password = func(id string) bool { return id != "quick" }
		})
		reverser := w.provider.(driver.Reverser)
		typed, undone, late := w.debit("typed", 300), w.debit("undone", 300), w.debit("late", 300)
		for _, d := range []driver.Debit{typed, undone, late} {
			if r, err := w.submit(t, d); err != nil || r.Outcome != driver.Accepted {
				t.Fatalf("%s: %+v, %v; want accepted", product, r, err)
			}
		}
		if said, reason, err := reverser.Reverse(t.Context(), ref(undone)); err != nil || said != driver.ReversalRefused {
			t.Errorf("%s: reversed at once: %q, %s, %v; want refused", product, said, reason, err)
		}
		w.clock.add(16 * time.Second)
		if said, _, err := reverser.Reverse(t.Context(), ref(undone)); err != nil || said != driver.ReversalClosed {
			t.Errorf("%s: reversed after 16 s: %q, %v", product, said, err)
		}
		if said, _, err := reverser.Reverse(t.Context(), ref(w.debit("never", 300))); err != nil || said != driver.ReversalClosed {
			t.Errorf("%s: a number that never was: %q, %v; the platform says yes", product, said, err)
		}
		w.clock.add(time.Minute)
		for d, want := range map[string]driver.Outcome{"typed": driver.Succeeded, "undone": driver.Declined, "never": driver.Absent} {
			if r, err := w.provider.Query(t.Context(), ref(w.debit(d, 300))); err != nil || r.Outcome != want {
				t.Errorf("%s: Query(%s) = %+v, %v; want %q", product, d, r, err, want)
			}
		}
		if _, _, err := reverser.Reverse(t.Context(), ref(late)); err != nil { // he had typed it, just before
			t.Error(err)
		}
		r, err := w.provider.Query(t.Context(), ref(late))
		if err != nil || r.Outcome != driver.Succeeded || r.Returned != late.Amount {
			t.Errorf("%s: paid and reversed = %+v, %v; want succeeded, and returned", product, r, err)
		}
		w.clock.add(8 * 24 * time.Hour)
		if said, _, err := reverser.Reverse(t.Context(), ref(typed)); err != nil || said != driver.ReversalRefused {
			t.Errorf("%s: reversed after a week: %q, %v; want refused", product, said, err)
		}
	}
}

// SYSTEM_ERROR on a payment that went through is no decline.
func TestSystemErrorIsOpen(t *testing.T) {
	for _, product := range []wechatpay.Product{wechatpay.Ride, wechatpay.CodePay, wechatpay.Global} {
		w := newWorld(t, product, func(s *wechatpaysim.Config, _ *wechatpay.Config) { s.Faults.Unsure = func(string) bool { return true } })
		d := w.debit("a", 100)
		if r, err := w.submit(t, d); err == nil || errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("%s: %+v, %v; want an open error", product, r, err)
		}
		if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded {
			t.Errorf("%s: Query = %+v, %v; want succeeded", product, r, err)
		}
	}
}

// A fare in Hong Kong dollars paid from a wallet in yuan.
func TestExchange(t *testing.T) {
	w := newWorld(t, wechatpay.Global, nil)
	d := w.debit("fx", 1005)
	d.AuthCode = shownCode(7)
	w.sim.SetWallet(string(d.AuthCode.Reveal()), "CNY")
	paid := driver.Exchange{Paid: citygate.Money{Minor: 925, Currency: "CNY"}, PaidRate: driver.Rate{Pair: "HKD/CNY", Price: "0.92010000"}}
	if r := w.pay(t, d); r.Amount != d.Amount || r.Exchange != paid {
		t.Errorf("paid %s, %+v; want %s, %+v", r.Amount, r.Exchange, d.Amount, paid)
	}
	if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Exchange != paid {
		t.Errorf("Query = %+v, %v; want %+v", r, err, paid)
	}
	e, err := w.provider.(wechatpay.Exchanger).Exchange(t.Context(), ref(d))
	want := wechatpay.Exchange{Asked: d.Amount, Paid: citygate.Money{Minor: 925, Currency: "CNY"}, Kind: "USERPAYMENT_RATE", Rate: "0.92010000"}
	if err != nil || e != want {
		t.Errorf("Exchange = %+v, %v; want %+v", e, err, want)
	}
	if !e.Exact(2, 2) { // 10.05 x 0.9201 = 9.247005
		t.Error("the rate does not give what was paid")
	}
	for _, wrong := range []int64{924, 926} {
		e.Paid.Minor = wrong
		if e.Exact(2, 2) {
			t.Errorf("the rate gives %d too", wrong)
		}
	}
	refund := driver.Refund{OurID: "r", Charge: ref(d), Amount: citygate.Money{Minor: 505, Currency: "HKD"}}
	if r, err := w.provider.(driver.Refunder).Refund(t.Context(), refund); err != nil || r.Outcome != driver.Accepted {
		t.Errorf("Refund = %+v, %v; want accepted: the answer has no state", r, err)
	}
	if r, err := w.provider.(driver.Refunder).QueryRefund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("QueryRefund = %+v, %v; want succeeded", r, err)
	}
	home := w.debit("home", 500)
	if r := w.pay(t, home); r.Exchange != (driver.Exchange{}) {
		t.Errorf("paid in the fare's own currency: %+v", r.Exchange)
	}
	if e, err := w.provider.(wechatpay.Exchanger).Exchange(t.Context(), ref(home)); err != nil || e.Paid != home.Amount || !e.Exact(2, 2) {
		t.Errorf("in the fare's own currency: %+v, %v", e, err)
	}
}

func TestRefundStates(t *testing.T) {
	w := newWorld(t, wechatpay.Ride, func(s *wechatpaysim.Config, _ *wechatpay.Config) {
		s.RefundAfter = time.Hour
		s.Faults.Abnormal = func(id string) bool { return id == "bad" }
	})
	d := w.debit("a", 500)
	w.pay(t, d)
	refunder := w.provider.(driver.Refunder)
	refund := func(id string, minor int64) driver.Refund {
		return driver.Refund{OurID: id, Charge: ref(d), Amount: citygate.Money{Minor: minor, Currency: "CNY"}}
	}
	if r, err := refunder.Refund(t.Context(), refund("slow", 100)); err != nil || r.Outcome != driver.Accepted {
		t.Errorf("Refund = %+v, %v; want accepted", r, err)
	}
	w.clock.add(time.Hour)
	if r, err := refunder.QueryRefund(t.Context(), refund("slow", 100)); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("an hour later: %+v, %v; want succeeded", r, err)
	}
	if r, err := refunder.QueryRefund(t.Context(), refund("slow", 101)); err == nil {
		t.Errorf("of another amount: %+v; want an error", r)
	}
	if r, err := refunder.Refund(t.Context(), refund("slow", 101)); err == nil || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("the number with another amount: %+v, %v; want an open error: the first was made", r, err)
	}
	if r, err := refunder.Refund(t.Context(), refund("bad", 100)); err != nil || r.Outcome != driver.Unknown || r.ReasonCode != "ABNORMAL" {
		t.Errorf("Refund = %+v, %v; want unknown: a person has to say where the money goes", r, err)
	}
	if r, err := refunder.QueryRefund(t.Context(), refund("never", 100)); err != nil || r.Outcome != driver.Absent {
		t.Errorf("QueryRefund of nothing = %+v, %v; want absent", r, err)
	}
}

func TestBadDebitsNeverLeave(t *testing.T) {
	ride, card := newWorld(t, wechatpay.Ride, nil), newWorld(t, wechatpay.CodePay, nil)
	spoil := func(w *world, change func(*driver.Debit)) []driver.Debit {
		d := w.debit("a", 100)
		change(&d)
		return []driver.Debit{d}
	}
	for name, c := range map[string]struct {
		w      *world
		debits []driver.Debit
		want   error
	}{
		"another currency":       {ride, spoil(ride, func(d *driver.Debit) { d.Amount.Currency = "HKD" }), driver.ErrCurrencyUnsupported},
		"nothing to pay":         {ride, spoil(ride, func(d *driver.Debit) { d.Amount.Minor = 0 }), driver.ErrNotPerformed},
		"an id of 33 characters": {ride, spoil(ride, func(d *driver.Debit) { d.OurID = "abcdefghijklmnopqrstuvwxyz0123456" }), driver.ErrNotPerformed},
		"an id with a slash":     {ride, spoil(ride, func(d *driver.Debit) { d.OurID = "a/b" }), driver.ErrNotPerformed},
		"nobody to pay":          {ride, spoil(ride, func(d *driver.Debit) { d.RiderRef = "" }), driver.ErrNotPerformed},
		"two at once":            {ride, []driver.Debit{ride.debit("a", 1), ride.debit("b", 1)}, driver.ErrNotPerformed},
		"no payment code":        {card, spoil(card, func(d *driver.Debit) { d.AuthCode = citygate.Secret{} }), driver.ErrNotPerformed},
		"a code of letters":      {card, spoil(card, func(d *driver.Debit) { d.AuthCode = citygate.NewSecret([]byte("13006109882800940x")) }), driver.ErrNotPerformed},
	} {
		if _, err := c.w.provider.Submit(t.Context(), c.debits); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
	if len(ride.sim.Book())+len(card.sim.Book()) != 0 {
		t.Error("a bad debit reached the platform")
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t, wechatpay.Ride, nil)
	for name, change := range map[string]func(*wechatpay.Config){
		"no base":               func(c *wechatpay.Config) { c.Base = "" },
		"a base with a path":    func(c *wechatpay.Config) { c.Base += "/v3" },
		"no product":            func(c *wechatpay.Config) { c.Product = "cash" },
		"no app id":             func(c *wechatpay.Config) { c.AppID = "" },
		"a merchant of words":   func(c *wechatpay.Config) { c.MchID = "harbour" },
		"no serial":             func(c *wechatpay.Config) { c.Serial = "" },
		"no signer":             func(c *wechatpay.Config) { c.Signer = nil },
		"a short APIv3 key":     func(c *wechatpay.Config) { c.APIv3Key = citygate.NewSecret([]byte("short")) },
		"no platform key":       func(c *wechatpay.Config) { c.PlatformKeys = nil },
		"our own key":           func(c *wechatpay.Config) { c.PlatformKeys[wechatpaysim.PublicKeyID] = &merchantKey.PublicKey },
		"a strange key id":      func(c *wechatpay.Config) { c.PlatformKeys["key one"] = &publicKey.PublicKey },
		"an answer key not had": func(c *wechatpay.Config) { c.AnswerKey = "PUB_KEY_ID_2" },
		"no scene":              func(c *wechatpay.Config) { c.Scene = "FERRY" },
		"nowhere to notify":     func(c *wechatpay.Config) { c.NotifyURL = "" },
		"another currency":      func(c *wechatpay.Config) { c.Currency = "HKD" },
		"v2 without its key":    func(c *wechatpay.Config) { c.Product, c.APIv2Key = wechatpay.RideV2, citygate.Secret{} },
		"global without a MCC":  func(c *wechatpay.Config) { c.Product, c.Currency = wechatpay.Global, "HKD" },
		"hasty queries":         func(c *wechatpay.Config) { c.PollEvery = time.Second },
		"no clock":              func(c *wechatpay.Config) { c.Clock = nil },
		"no randomness":         func(c *wechatpay.Config) { c.Random = nil },
	} {
		c := w.config
		c.PlatformKeys = w.sim.Keys()
		c.HTTP = http.DefaultClient
		change(&c)
		if _, err := wechatpay.New(c); !errors.Is(err, wechatpay.ErrConfig) {
			t.Errorf("%s: New = %v; want ErrConfig", name, err)
		}
	}
}
