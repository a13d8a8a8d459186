package openloop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/openloop"
	"github.com/cashlesscity/citygate/adapters/openloop/openloopsim"
	"github.com/cashlesscity/citygate/adapters/simserve"
)

const (
	shared = "a key of at least thirty-two bytes!"
	token  = "tok_5f2a81"
)

var (
	start = time.Date(2026, 3, 2, 6, 30, 0, 0, time.UTC)
	chip  = []byte("9F2608A1B2C3D4E5F60708")
)

type world struct {
	mu       sync.Mutex
	at       time.Time
	sim      *openloopsim.Server
	config   openloop.Config
	provider *openloop.Provider
	in       func(c citygate.Currency, numeric string) *world // another one, with fares in a currency
}

func (w *world) now() time.Time      { w.mu.Lock(); defer w.mu.Unlock(); return w.at }
func (w *world) set(t time.Time)     { w.mu.Lock(); defer w.mu.Unlock(); w.at = t }
func (w *world) add(d time.Duration) { w.set(w.now().Add(d)) }

func newWorld(t testing.TB, change func(*openloopsim.Config, *openloop.Config)) *world {
	t.Helper()
	w := &world{at: start}
	w.in = func(c citygate.Currency, numeric string) *world {
		return newWorld(t, func(s *openloopsim.Config, o *openloop.Config) { s.Currency, s.Numeric, o.Currency = c, numeric, c })
	}
	sim := openloopsim.Config{Clock: w.now, Merchant: "valley", Key: []byte(shared), Currency: "EUR", Numeric: "978", FeePPM: 12_000, FirstRideMax: 600}
	w.config = openloop.Config{
		Merchant: "valley", Key: citygate.NewSecret([]byte(shared)), Currency: "EUR", NotifyURL: "https://city.example/n/cards",
		Rules: openloop.Rules{FirstRideMax: 600, AggregateWithin: openloop.Duration(14 * 24 * time.Hour), OverCapture: true},
		HTTP:  &http.Client{Transport: &http.Transport{}}, Clock: w.now,
	}
	if change != nil {
		change(&sim, &w.config)
	}
	var err error
	if w.sim, err = openloopsim.Start(sim); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sim.Close)
	w.config.Base = w.sim.URL()
	if w.provider, err = openloop.New(w.config); err != nil {
		t.Fatal(err)
	}
	return w
}

func eur(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "EUR"} }

func debit(id string, minor int64) driver.Debit {
	return driver.Debit{OurID: id, RiderRef: token, Amount: eur(minor), TripTime: start, Attempted: start, Subject: "Rides", Evidence: [][]byte{chip}}
}

func ref(d driver.Debit) driver.Ref {
	return driver.Ref{OurID: d.OurID, SubmittedAt: d.Attempted, Amount: d.Amount}
}

type harness struct{ *world }

func (h harness) Provider() driver.Provider                 { return h.provider }
func (h harness) Debit(id string, minor int64) driver.Debit { return debit(id, minor) }
func (h harness) LoseNextReply()                            { h.sim.ArmNext(openloopsim.ArmLose) }
func (h harness) DropNext()                                 { h.sim.ArmNext(simserve.Drop) }

func (h harness) ShedNext() time.Duration {
	h.sim.ArmNext(simserve.Shed)
	return simserve.ShedFor
}

func (h harness) DieNext()     { h.sim.ArmNext(openloopsim.ArmDie) }
func (h harness) DelayNext()   { h.sim.ArmNext(openloopsim.ArmDelay) }
func (h harness) GarbleNext()  { h.sim.ArmNext(openloopsim.ArmGarble) }
func (h harness) DeclineNext() { h.sim.ArmNext(openloopsim.ArmDecline) }
func (h harness) PartialNext() {} // one debit a call
func (h harness) BusyNext()    { h.sim.ArmNext(openloopsim.ArmBusy) }

func (h harness) In(c citygate.Currency) (drivertest.Harness, bool) {
	return harness{h.in(c, map[citygate.Currency]string{"JPY": "392", "KWD": "414"}[c])}, true
}

func (h harness) Secrets() []string {
	return []string{shared, "v1=", token, string(chip), "/v1/merchants"}
}

func (h harness) Moved() (list []drivertest.Move) {
	for _, e := range h.sim.Book() {
		if !e.Moved {
			continue
		}
		m := drivertest.Move{OurID: e.Order, Amount: e.Amount}
		if e.Operation == "REFUND" {
			m.OurID, m.Refund = strings.TrimPrefix(e.ID, "r_"), true
		}
		list = append(list, m)
	}
	return list
}

func (h harness) Tap() driver.CardTap { return tap(token) }

func (h harness) Held() (list []drivertest.Move) {
	for _, e := range h.sim.Book() {
		if e.Held {
			list = append(list, drivertest.Move{OurID: e.Order, Amount: e.Amount})
		}
	}
	return list
}

func (h harness) EndDay() citygate.Date {
	h.set(start.Add(24 * time.Hour))
	return citygate.DateOf(start)
}

func (h harness) Notification(d driver.Debit) driver.Notification {
	sent, err := h.sim.Notification(d.OurID, h.config.NotifyURL)
	if err != nil {
		panic(err)
	}
	return driver.Notification{Method: http.MethodPost, Target: "/behind/a/proxy", Header: sent.Header, Body: sent.Body, At: h.now()}
}

// TamperBill drops the first settled row and leaves the trailer.
func (h harness) TamperBill(bill driver.Bill) driver.Bill {
	lines := bytes.SplitAfter(bill.Body, []byte("\n"))
	i := slices.IndexFunc(lines, func(l []byte) bool { return bytes.Contains(l, []byte("|SETTLED|")) })
	bill.Body = bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil)
	return bill
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness { return harness{newWorld(t, nil)} })
}

// Where the scheme lets no more be captured than was authorised.
func TestConformanceWithoutOverCapture(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		return harness{newWorld(t, func(_ *openloopsim.Config, c *openloop.Config) { c.Rules.OverCapture = false })}
	})
}

func TestOpenAnswersStayOpen(t *testing.T) {
	for _, arm := range []openloopsim.Arm{openloopsim.ArmUnsigned, openloopsim.ArmBadSign, openloopsim.ArmGarble, openloopsim.ArmUnsure, openloopsim.ArmStrange} {
		w := newWorld(t, nil)
		w.sim.ArmNext(arm)
		results, err := w.provider.Submit(t.Context(), []driver.Debit{debit("day1", 470)})
		if errors.Is(err, driver.ErrNotPerformed) || (err == nil && results[0].Outcome != driver.Unknown) {
			t.Errorf("%s: %+v, %v; want an open outcome", arm, results, err)
		}
		if r, err := w.provider.Query(t.Context(), ref(debit("day1", 470))); err != nil || r.Outcome != driver.Succeeded {
			t.Errorf("%s: Query = %+v, %v; want succeeded", arm, r, err)
		}
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// An answer is to one request: that of another, however genuine, is none.
func TestAnswersToOtherRequests(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{debit("day1", 470)}); err != nil {
		t.Fatal(err)
	}
	var kept []byte
	var header http.Header
	w.config.HTTP = doer(func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		if kept == nil {
			kept, _ = io.ReadAll(resp.Body)
			header = resp.Header.Clone()
		}
		resp.Body, resp.Header = io.NopCloser(bytes.NewReader(kept)), header
		return resp, nil
	})
	p, err := openloop.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Query(t.Context(), ref(debit("day1", 470))); err != nil {
		t.Fatal(err)
	}
	w.add(time.Second) // the same question a second later is another request
	if r, err := p.Query(t.Context(), ref(debit("day1", 470))); err == nil {
		t.Errorf("an old answer was taken: %+v", r)
	}
}

// A card is named by a token; its number is refused before anything is sent.
func TestCardNumbersAreNeverSent(t *testing.T) {
	w := newWorld(t, nil)
	w.config.HTTP = doer(func(*http.Request) (*http.Response, error) {
		t.Error("something was sent")
		return nil, errors.New("no")
	})
	p, err := openloop.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range []string{"4111111111111111", "5555 5555 5555 4444", "6200-0000-0000-0005", ""} {
		d := debit("day1", 470)
		d.RiderRef = number
		_, err := p.Submit(t.Context(), []driver.Debit{d})
		if !errors.Is(err, driver.ErrNotPerformed) || (number != "" && strings.Contains(err.Error(), number)) {
			t.Errorf("%q: %v; want ErrNotPerformed without the number", number, err)
		}
		a := driver.Authorization{OurID: "a1", Tap: driver.CardTap{Token: number}, Amount: eur(1)}
		if _, err := p.Verify(t.Context(), a); !errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("%q: Verify: %v; want ErrNotPerformed", number, err)
		}
	}
}

func tap(token string) driver.CardTap {
	return driver.CardTap{Token: token, Chip: chip, Terminal: "gate-0042", At: start}
}

func step(t *testing.T, do func(context.Context, driver.Authorization) (driver.AuthorizationResult, error), a driver.Authorization, want driver.Outcome) driver.AuthorizationResult {
	t.Helper()
	for range 2 { // the same again is the same step
		r, err := do(t.Context(), a)
		if err != nil || r.Outcome != want {
			t.Fatalf("%s: %+v, %v; want %q", a.OurID, r, err, want)
		}
	}
	r, _ := do(t.Context(), a)
	return r
}

func net(w *world) (sum int64) {
	for _, m := range (harness{w}).Moved() {
		if m.Refund {
			sum -= m.Amount.Minor
		} else {
			sum += m.Amount.Minor
		}
	}
	return sum
}

// A nominal authorisation on the first tap, and the day's fares captured of it,
// which are more, where the contract allows it.
func TestVerifyAuthorizeCaptureMore(t *testing.T) {
	w := newWorld(t, nil)
	p := w.provider
	if r := step(t, p.Verify, driver.Authorization{OurID: "v1", Tap: tap(token)}, driver.Succeeded); r.ReasonCode != "VERIFIED 85" {
		t.Errorf("Verify: %+v", r)
	}
	step(t, p.Authorize, driver.Authorization{OurID: "a1", Tap: tap(token), Amount: eur(10)}, driver.Succeeded)
	if net(w) != 0 {
		t.Errorf("%d moved before the capture", net(w))
	}
	of := driver.Ref{OurID: "a1", Amount: eur(10)}
	step(t, p.Capture, driver.Authorization{OurID: "c1", Amount: eur(990), Of: of}, driver.Succeeded)
	step(t, p.Capture, driver.Authorization{OurID: "c2", Amount: eur(990), Of: of}, driver.Declined) // it is captured
	if net(w) != 990 {
		t.Errorf("%d moved; want 990", net(w))
	}
	step(t, p.Authorize, driver.Authorization{OurID: "a2", Tap: tap(token), Amount: eur(10)}, driver.Succeeded)
	step(t, p.Void, driver.Authorization{OurID: "w2", Of: driver.Ref{OurID: "a2", Amount: eur(10)}}, driver.Succeeded)
	step(t, p.Capture, driver.Authorization{OurID: "c3", Amount: eur(10), Of: driver.Ref{OurID: "a2", Amount: eur(10)}}, driver.Declined)

	strict := newWorld(t, func(_ *openloopsim.Config, c *openloop.Config) { c.Rules.OverCapture = false })
	step(t, strict.provider.Authorize, driver.Authorization{OurID: "a1", Tap: tap(token), Amount: eur(10)}, driver.Succeeded)
	if _, err := strict.provider.Capture(t.Context(), driver.Authorization{OurID: "c1", Amount: eur(11), Of: of}); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("more than was authorised, against the contract: %v; want ErrNotPerformed", err)
	}
}

// The first decline since an approval may be captured all the same, once, under
// another number and up to the threshold; it is the issuer's loss then.
func TestFirstRideRisk(t *testing.T) {
	w := newWorld(t, nil)
	w.sim.SetCard(openloopsim.Card{Token: token, Empty: true})
	submit := func(id string, minor int64, first bool) (driver.Result, error) {
		d := debit(id, minor)
		d.FirstRide = first
		results, err := w.provider.Submit(t.Context(), []driver.Debit{d})
		if err != nil {
			return driver.Result{}, err
		}
		return results[0], nil
	}
	if r, err := submit("day1", 600, false); err != nil || r.Outcome != driver.Declined {
		t.Fatalf("an empty card: %+v, %v", r, err)
	}
	if _, err := submit("first0", 601, true); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("more than is insured: %v; want ErrNotPerformed", err)
	}
	if r, err := submit("first2", 599, true); err != nil || r.Outcome != driver.Declined {
		t.Errorf("what was not declined: %+v, %v; want declined", r, err)
	}
	if r, err := submit("first1", 600, true); err != nil || r.Outcome != driver.Succeeded || net(w) != 600 {
		t.Errorf("the insured first ride: %+v, %v; %d moved", r, err, net(w))
	}
	if r, err := submit("day2", 300, false); err != nil || r.Outcome != driver.Declined {
		t.Fatalf("the next day: %+v, %v", r, err)
	}
	if r, err := submit("first3", 300, true); err != nil || r.Outcome != driver.Declined || net(w) != 600 {
		t.Errorf("a second time: %+v, %v; %d moved; want declined", r, err, net(w))
	}
	for _, e := range w.sim.Book() {
		if e.Order == "first1" && (e.Liability != "ISSUER" || e.Kind != "FIRST_RIDE_RISK") {
			t.Errorf("the first ride is %+v", e)
		}
	}
	none := newWorld(t, func(_ *openloopsim.Config, c *openloop.Config) { c.Rules.FirstRideMax = 0 })
	if none.provider.Describe().Limits.FirstRide {
		t.Error("a contract without a threshold says that it insures first rides")
	}
}

// A debt is recovered by the merchant (of the card itself, not of the watch that
// was tapped), by the rider, or by a tap; then the card is off the deny list.
func TestDebtRecovery(t *testing.T) {
	for _, how := range []driver.Recovery{driver.RecoverByMerchant, driver.RecoverByRider, driver.RecoverByTap} {
		w := newWorld(t, nil)
		watch := openloopsim.Card{Token: "tok_watch", Device: true, Account: "par1", Empty: true}
		w.sim.SetCard(watch)
		w.sim.SetCard(openloopsim.Card{Token: "tok_card", Account: "par1"})
		d := debit("day1", 740)
		d.RiderRef = "tok_watch"
		if r, err := w.provider.Submit(t.Context(), []driver.Debit{d}); err != nil || r[0].Outcome != driver.Declined {
			t.Fatalf("%+v, %v", r, err)
		}
		if list, err := w.provider.PullDeny(t.Context()); err != nil || !slices.Equal(list, []string{"tok_card", "tok_watch"}) {
			t.Errorf("the deny list is %v, %v; want the card and its watch", list, err)
		}
		if s, err := w.provider.RiderState(t.Context(), driver.RiderQuestion{RiderRef: "tok_watch"}); err != nil || s.State != driver.RiderOverdue || s.Owes != eur(740) {
			t.Errorf("the watch is %+v, %v", s, err)
		}
		watch.Empty = false
		w.sim.SetCard(watch)
		again := recovery("debt1", d, how)
		for range 2 {
			if r, err := w.provider.Submit(t.Context(), []driver.Debit{again}); err != nil || r[0].Outcome != driver.Succeeded {
				t.Errorf("%s: %+v, %v", how, r, err)
			}
		}
		if list, err := w.provider.PullDeny(t.Context()); err != nil || len(list) != 0 || net(w) != 740 {
			t.Errorf("%s: the deny list is %v, %v, and %d moved", how, list, err, net(w))
		}
		if r, err := w.provider.Submit(t.Context(), []driver.Debit{recovery("debt2", d, how)}); err != nil || r[0].Outcome != driver.Declined || net(w) != 740 {
			t.Errorf("%s, of a debt that is paid: %+v, %v; %d moved", how, r, err, net(w))
		}
	}
}

// recovery asks for the debt of a declined debit.
func recovery(id string, of driver.Debit, how driver.Recovery) driver.Debit {
	d := of
	d.OurID, d.Recovery, d.Recovers = id, how, ref(of)
	if how == driver.RecoverByTap {
		d.Shown = []byte("what the chip says now")
	}
	return d
}

// A recovery is of a decline, of no more than that, and of a known way; the merchant's
// own has an end. It is no aggregate: rides that were gathered for as long as they may
// be can still be asked for.
func TestWhatIsNoRecovery(t *testing.T) {
	w := newWorld(t, func(s *openloopsim.Config, c *openloop.Config) {
		s.RecoverTries, s.RecoverWithin = 2, 20*24*time.Hour
		c.Rules.RecoverTries, c.Rules.RecoverWithin = 2, openloop.Duration(20*24*time.Hour)
	})
	w.sim.SetCard(openloopsim.Card{Token: token, Empty: true})
	d := debit("day1", 740)
	say := func(d driver.Debit) string {
		t.Helper()
		r, err := w.provider.Submit(t.Context(), []driver.Debit{d})
		if errors.Is(err, driver.ErrNotPerformed) {
			return "not sent"
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(r[0].Outcome) + " " + r[0].ReasonCode
	}
	bare := recovery("r1", d, driver.RecoverByTap)
	bare.Shown = nil
	both := recovery("r2", d, driver.RecoverByRider)
	both.FirstRide = true
	more := recovery("r3", d, driver.RecoverByRider)
	more.Amount.Minor++
	nameless := recovery("r4", d, driver.RecoverByRider)
	nameless.Recovers = driver.Ref{Amount: eur(740)}
	if got := say(recovery("r0", d, driver.RecoverByRider)); got != "declined NOT_FOUND" {
		t.Errorf("of what was never asked for: %s", got)
	}
	if got := say(d); got != "declined DECLINED 51" {
		t.Fatal(got)
	}
	w.sim.SetCard(openloopsim.Card{Token: token, Empty: false})
	for want, list := range map[string][]driver.Debit{"not sent": {bare, both, nameless, recovery("r5", d, "dice")}, "declined INVALID 13": {more}} {
		for _, no := range list {
			if got := say(no); got != want {
				t.Errorf("%s: %s, want %s", no.OurID, got, want)
			}
		}
	}
	w.sim.SetCard(openloopsim.Card{Token: token, Empty: true})
	for i, want := range []string{"declined DECLINED 51", "declined DECLINED 51", "declined DECLINED RECOVERY_EXHAUSTED"} {
		if got := say(recovery(fmt.Sprint("m", i), d, driver.RecoverByMerchant)); got != want {
			t.Errorf("the merchant's try %d: %s, want %s", i+1, got, want)
		}
	}
	w.sim.SetCard(openloopsim.Card{Token: token})
	w.add(60 * 24 * time.Hour)
	if got := say(recovery("late", d, driver.RecoverByTap)); got != "succeeded APPROVED 00" || net(w) != 740 {
		t.Errorf("by a tap, after 60 days: %s; %d moved", got, net(w))
	}
	want := driver.Recoveries{ByMerchant: true, ByRider: true, ByTap: true, Tries: 2, Within: 20 * 24 * time.Hour}
	if l := w.provider.Describe().Limits.Recoveries; l != want {
		t.Errorf("stated: %+v", l)
	}
}

// The deny list is read whole, page by page, and shrinks; one that changes while it
// is read is not believed.
func TestDenyListIsWhole(t *testing.T) {
	w := newWorld(t, func(s *openloopsim.Config, _ *openloop.Config) { s.DenyPage = 3 })
	for i := range 10 {
		name := fmt.Sprintf("tok_%02d", i)
		w.sim.SetCard(openloopsim.Card{Token: name, State: "STOLEN"})
	}
	list, err := w.provider.PullDeny(t.Context())
	if err != nil || len(list) != 10 || !slices.IsSorted(list) {
		t.Fatalf("%v, %v; want 10", list, err)
	}
	w.sim.SetCard(openloopsim.Card{Token: "tok_03", State: "NORMAL"})
	if list, err = w.provider.PullDeny(t.Context()); err != nil || len(list) != 9 || slices.Contains(list, "tok_03") {
		t.Errorf("%v, %v; want 9, without the one that was found again", list, err)
	}
	c := w.config
	calls := 0
	c.HTTP = doer(func(r *http.Request) (*http.Response, error) {
		if calls++; calls == 2 {
			d := debit("between", 100)
			d.RiderRef = "tok_05"
			if _, err := w.provider.Submit(t.Context(), []driver.Debit{d}); err != nil {
				t.Error(err)
			}
		}
		return http.DefaultClient.Do(r)
	})
	p, err := openloop.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := p.PullDeny(t.Context()); err == nil {
		t.Errorf("a list that changed while it was read: %v", list)
	}
}

func TestAggregatesHaveAnAge(t *testing.T) {
	w := newWorld(t, nil)
	w.add(14*24*time.Hour + time.Second)
	r, err := w.provider.Submit(t.Context(), []driver.Debit{debit("day1", 470)})
	if err != nil || r[0].Outcome != driver.Declined || r[0].ReasonCode != "INVALID AGGREGATION_TOO_OLD" {
		t.Errorf("rides gathered for too long: %+v, %v", r, err)
	}
	late := newWorld(t, func(_ *openloopsim.Config, c *openloop.Config) { c.Rules.AggregateWithin = 0 })
	late.add(15 * 24 * time.Hour)
	if r, err = late.provider.Submit(t.Context(), []driver.Debit{debit("day1", 470)}); err != nil || r[0].Outcome != driver.Succeeded {
		t.Errorf("a deferred authorisation: %+v, %v", r, err)
	}
}

// A notification is sent until somebody takes it, sealed anew each time, so that one of
// hours ago is not refused for its age.
func TestNotificationsAreSentAgain(t *testing.T) {
	var w *world
	heard, taken := 0, 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n, ack, err := w.provider.ParseNotify(r.Context(), driver.Notification{Method: r.Method, Target: r.RequestURI, Header: r.Header, Body: body})
		if err != nil || n.Result.OurID != "day1" {
			t.Errorf("told %+v, %v", n, err)
		}
		if heard++; heard < 4 {
			ack.Status = http.StatusServiceUnavailable
		}
		rw.WriteHeader(ack.Status)
	}))
	t.Cleanup(server.Close)
	w = newWorld(t, func(_ *openloopsim.Config, c *openloop.Config) { c.NotifyURL = server.URL + "/told" })
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{debit("day1", 470)}); err != nil {
		t.Fatal(err)
	}
	for range 24 * 60 {
		taken += w.sim.Deliver(t.Context(), http.DefaultClient)
		w.add(time.Minute)
	}
	if heard != 4 || taken != 1 {
		t.Errorf("heard %d times, taken %d times; want 4 and once", heard, taken)
	}
}

func TestOldNotificationsAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{debit("day1", 470)}); err != nil {
		t.Fatal(err)
	}
	n := harness{w}.Notification(debit("day1", 470))
	w.add(5*time.Minute + time.Second)
	if notice, ack, err := w.provider.ParseNotify(t.Context(), n); err == nil || ack.Status != http.StatusUnauthorized {
		t.Errorf("a notification of five minutes ago: %+v, %+v", notice, ack)
	}
	quiet := newWorld(t, func(_ *openloopsim.Config, c *openloop.Config) { c.NotifyURL = "" })
	if _, ok := driver.As[driver.Notifier](driver.Provider(quiet.provider)); ok || quiet.provider.Describe().Limits.Notices != driver.NoNotices {
		t.Error("a contract without an address for notifications says that it has them")
	}
}

func TestExecAndConfig(t *testing.T) {
	w := newWorld(t, nil)
	w.sim.SetCard(openloopsim.Card{Token: "tok_lost", State: "LOST"})
	for _, c := range []struct {
		op, biz string
		want    openloop.Standing
	}{
		{"pay", `{"order":"o1","amount":{"minor":470,"currency":"EUR"},"source":{"token":"tok_1"}}`, openloop.Done},
		{"query", `{"order":"o1"}`, openloop.Done},
		{"query", `{"order":"o2"}`, openloop.Open},
		{"pay", `{"order":"o3","amount":{"minor":470,"currency":"EUR"},"source":{"token":"tok_lost"}}`, openloop.Refused},
		{"void", `{"order":"o1","transaction":"void","amount":{"minor":470,"currency":"EUR"},"target_transaction":"1"}`, openloop.Done},
		{"query", `{"order":"o1"}`, openloop.Refused},
		{"pay", `{"order":"o4"}`, openloop.Refused},
	} {
		a, err := w.provider.Exec(t.Context(), c.op, json.RawMessage(c.biz))
		if err != nil || a.Standing != c.want {
			t.Errorf("%s %s: %q, %s, %v; want %q", c.op, c.biz, a.Standing, a.Body, err, c.want)
		}
	}
	if _, err := w.provider.Exec(t.Context(), "fly", nil); !errors.Is(err, openloop.ErrMethod) {
		t.Errorf("fly: %v; want ErrMethod", err)
	}
	for name, change := range map[string]func(*openloop.Config){
		"base":       func(c *openloop.Config) { c.Base = "valley" },
		"notify_url": func(c *openloop.Config) { c.NotifyURL += "?a=b" },
		"merchant":   func(c *openloop.Config) { c.Merchant = "a/b" },
		"key":        func(c *openloop.Config) { c.Key = citygate.NewSecret([]byte("short")) },
		"currency":   func(c *openloop.Config) { c.Currency = "" },
		"rules":      func(c *openloop.Config) { c.Rules.FirstRideMax = -1 },
		"clock":      func(c *openloop.Config) { c.Clock = nil },
	} {
		c := w.config
		change(&c)
		if _, err := openloop.New(c); !errors.Is(err, openloop.ErrConfig) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: New = %v; want ErrConfig that names it", name, err)
		}
	}
}

// FuzzParseBill holds that the rows that are read are what the trailer says.
func FuzzParseBill(f *testing.F) {
	drivertest.FuzzFiles(f)
	w := newWorld(f, nil)
	d := debit("day1", 470)
	if _, err := w.provider.Submit(f.Context(), []driver.Debit{d}); err != nil {
		f.Fatal(err)
	}
	if _, err := w.provider.Refund(f.Context(), driver.Refund{OurID: "back1", Charge: ref(d), Amount: eur(70)}); err != nil {
		f.Fatal(err)
	}
	w.add(24 * time.Hour)
	bill, err := w.provider.FetchBill(f.Context(), citygate.DateOf(start))
	if err != nil {
		f.Fatal(err)
	}
	lines, err := w.provider.ParseBill(bill)
	if err != nil || len(lines) != 2 {
		f.Fatalf("%d lines, %v; want 2, though each stands twice", len(lines), err)
	}
	f.Add(bill.Body)
	f.Add(bytes.Replace(bill.Body, []byte("|470|"), []byte("|471|"), 2))
	f.Add(bytes.Replace(bill.Body, []byte("SETTLED"), []byte("FAILED"), 1))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, err := w.provider.ParseBill(driver.Bill{Body: text, Currency: "EUR"})
		if err != nil {
			return
		}
		var debits, credits, fees int64
		for _, l := range lines {
			fees += l.Fee
			if l.Refund {
				credits -= l.Amount.Minor
			} else {
				debits += l.Amount.Minor
			}
		}
		all := strings.Split(strings.TrimRight(string(text), "\r\n"), "\n")
		var n, a, b, c int64
		if _, err := fmt.Sscanf(strings.TrimSuffix(all[len(all)-1], "\r"), "TRAILER|%d|%d|%d|%d", &n, &a, &b, &c); err != nil || n != int64(len(lines)) || a != debits || b != credits || c != fees {
			t.Errorf("%d lines of %d, %d and %d; the last row is %q", len(lines), debits, credits, fees, all[len(all)-1])
		}
	})
}
