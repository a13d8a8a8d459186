package alipay_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
)

const rider = "2088000000000099"

// withholding is a world whose contract debits on agreements.
func withholding(t *testing.T, change func(*alipaysim.Config)) (w *world, agreementNo string) {
	t.Helper()
	w = newWorld(t, change)
	no, err := w.sim.Sign(appID, "agr1", rider)
	if err != nil {
		t.Fatal(err)
	}
	w.provider = w.contract(t, func(c *alipay.Config) { c.Collect = alipay.Withholding })
	return w, no
}

type payHarness struct {
	*harness
	agreement string
}

func (h payHarness) Debit(id string, minor int64) driver.Debit {
	d := driver.Debit{
		OurID: id, RiderRef: h.agreement, Amount: citygate.Money{Minor: minor, Currency: "CNY"},
		TripTime: start, Subject: "bus & metro", Attempted: h.clock.now(),
	}
	if h.agreement == "" { // a code for each order, the same one for the same order
		sum := sha256.Sum256([]byte(id))
		d.AuthCode = citygate.NewSecret(fmt.Appendf(nil, "28%016d", binary.BigEndian.Uint64(sum[:])%1e16))
	}
	return d
}

// Notification is the last one on its way.
func (h payHarness) Notification(driver.Debit) driver.Notification {
	list := h.sim.Notifications()
	return form(list[len(list)-1])
}

// Agree opens the page, as the rider's phone does.
func (h payHarness) Agree(i driver.Invitation) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, i.URL, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		h.t.Fatalf("the page of agreement %s: %v, %v", i.OurID, resp, err)
	}
	_ = resp.Body.Close()
}

func (h payHarness) Secrets() []string {
	secrets := h.harness.Secrets()
	for _, id := range []string{"s1", "s2", "s3", "s4", "s5", "s6", "s7"} { // the payment codes of the case
		secrets = append(secrets, string(h.Debit(id, 1).AuthCode.Reveal()))
	}
	return secrets
}

func TestConformanceOfWithholding(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		w, no := withholding(t, nil)
		w.provider = w.contract(t, func(c *alipay.Config) { c.Collect, c.NotifyURL = alipay.Withholding, "http://127.0.0.1:1/n" })
		return payHarness{&harness{world: w, t: t}, no}
	})
}

func TestConformanceOfPaymentCodes(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		w := newWorld(t, nil)
		w.provider = w.contract(t, func(c *alipay.Config) { c.Collect = alipay.Barcode })
		return payHarness{&harness{world: w, t: t}, ""}
	})
}

func one(t *testing.T, p *alipay.Provider, d driver.Debit) (driver.Result, error) {
	t.Helper()
	results, err := p.Submit(t.Context(), []driver.Debit{d})
	if err != nil {
		return driver.Result{}, err
	}
	return results[0], nil
}

func ride(id, agreement string, fen int64) driver.Debit {
	return driver.Debit{OurID: id, RiderRef: agreement, Amount: citygate.Money{Minor: fen, Currency: "CNY"}, TripTime: start, Attempted: start}
}

// A rider who is asked to confirm has not paid and has not refused, and may pay
// after we gave up: only the platform's own word ends it.
func TestWaitingForThePayerIsOpen(t *testing.T) {
	w, no := withholding(t, nil)
	d := ride("waits", no, 470)
	w.sim.ArmNext(alipaysim.ArmWait)
	if r, err := one(t, w.provider, d); err != nil || r.Outcome != driver.Accepted {
		t.Fatalf("Submit = %+v, %v; want accepted", r, err)
	}
	if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Accepted {
		t.Errorf("Query = %+v, %v; want accepted", r, err)
	}
	w.clock.set(start.Add(2 * time.Minute)) // he confirms
	if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("Query = %+v, %v; want succeeded", r, err)
	}
	if w.paid()["waits"] != 470 {
		t.Errorf("the book has %v", w.paid())
	}
}

func TestReverseIsNoProof(t *testing.T) {
	w, no := withholding(t, nil)
	paid, waiting := ride("paid", no, 470), ride("waiting", no, 530)
	if _, err := one(t, w.provider, paid); err != nil {
		t.Fatal(err)
	}
	w.sim.ArmNext(alipaysim.ArmWait)
	if _, err := one(t, w.provider, waiting); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]driver.Reversal{
		"waiting": driver.ReversalClosed, "paid": driver.ReversalGiven,
		"never": driver.ReversalUnknown, // the platform says yes to a number it never had
	} {
		if got, why, err := w.provider.Reverse(t.Context(), driver.Ref{OurID: id}); err != nil || got != want {
			t.Errorf("Reverse(%s) = %q %s, %v; want %q", id, got, why, err, want)
		}
	}
	if r, err := w.provider.Query(t.Context(), ref(waiting)); err != nil || r.Outcome != driver.Declined {
		t.Errorf("Query of what was closed unpaid = %+v, %v; want declined", r, err)
	}
	if r, err := w.provider.Query(t.Context(), ref(paid)); err != nil || r.Outcome != driver.Succeeded || r.Returned != paid.Amount {
		t.Errorf("Query of what was given back = %+v, %v; want succeeded, and all of it returned", r, err)
	}
	w.clock.set(start.Add(25 * time.Hour))
	if got, _, err := w.provider.Reverse(t.Context(), driver.Ref{OurID: "paid"}); err != nil || got != driver.ReversalRefused {
		t.Errorf("Reverse after a day = %q, %v; want refused", got, err)
	}
	wrapped, ok := adapters.New(w.provider, w.clock.now).Reverser()
	if !ok {
		t.Fatal("a contract of withholding cannot reverse")
	}
	if _, _, err := wrapped.Reverse(t.Context(), adapters.Unknown, ref(paid)); !errors.Is(err, adapters.ErrReverse) {
		t.Errorf("the gateway asked for a reversal after a day: %v", err)
	}
}

// The order was paid and the answer lost; the platform now says only "has
// success", which does not say of what.
func TestPaidBeforeIsLookedUp(t *testing.T) {
	w, no := withholding(t, nil)
	if _, err := one(t, w.provider, ride("r1", no, 470)); err != nil {
		t.Fatal(err)
	}
	if r, err := one(t, w.provider, ride("r1", no, 470)); err != nil || r.Outcome != driver.Succeeded || r.ProviderRef == "" {
		t.Errorf("the same again = %+v, %v; want succeeded", r, err)
	}
	other := ride("r1", no, 999)
	if r, err := one(t, w.provider, other); err == nil && (r.Outcome == driver.Succeeded || r.Outcome == driver.Declined) {
		t.Errorf("other content = %+v; want an open outcome", r)
	}
}

func TestEndedAgreementDeclines(t *testing.T) {
	w, no := withholding(t, nil)
	a, err := w.provider.QueryAgreement(t.Context(), driver.Agreement{OurID: "agr1"})
	if err != nil || a.State != driver.AgreementActive || a.ID != no || a.RiderRef != rider || !a.ValidTo.IsZero() {
		t.Errorf("QueryAgreement = %+v, %v", a, err)
	}
	if a, err := w.provider.QueryAgreement(t.Context(), driver.Agreement{OurID: "never"}); err != nil || a.State != driver.AgreementUnknown {
		t.Errorf("QueryAgreement of none = %+v, %v; want unknown", a, err)
	}
	for range 2 { // two calls are one
		if a, err := w.provider.CloseAgreement(t.Context(), driver.Agreement{ID: no}); err != nil || a.State != driver.AgreementEnded {
			t.Errorf("CloseAgreement = %+v, %v; want ended", a, err)
		}
	}
	if r, err := one(t, w.provider, ride("late", no, 470)); err != nil || r.Outcome != driver.Declined || r.ReasonCode != "ACQ.AGREEMENT_INVALID" {
		t.Errorf("a debit on an ended agreement = %+v, %v; want declined", r, err)
	}
	if len(w.paid()) != 0 {
		t.Errorf("the book has %v", w.paid())
	}
}

// inbox takes notifications.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	got    []driver.Notification
	answer func(driver.Notification) driver.Ack
}

func newInbox(t *testing.T, answer func(driver.Notification) driver.Ack) *inbox {
	t.Helper()
	in := &inbox{answer: answer}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n := driver.Notification{Method: r.Method, Target: r.RequestURI, Header: r.Header, Body: body}
		in.mu.Lock()
		in.got = append(in.got, n)
		in.mu.Unlock()
		ack := in.answer(n)
		w.WriteHeader(ack.Status)
		_, _ = w.Write(ack.Body)
	}))
	t.Cleanup(in.Close)
	return in
}

func (in *inbox) all() []driver.Notification {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]driver.Notification(nil), in.got...)
}

// A notification is repeated with the same id until the seven bytes come back,
// and confirms a payment whose answer was lost.
func TestNotificationsAreProvenAndAcknowledged(t *testing.T) {
	w, no := withholding(t, nil)
	refuse := true
	in := newInbox(t, func(n driver.Notification) driver.Ack {
		_, ack, err := w.provider.ParseNotify(t.Context(), n)
		if err != nil {
			t.Errorf("ParseNotify: %v", err)
		}
		if refuse {
			return driver.Ack{Status: 200, Body: []byte("success ")} // a byte too many is a no
		}
		return ack
	})
	w.provider = w.contract(t, func(c *alipay.Config) { c.Collect, c.NotifyURL = alipay.Withholding, in.URL })
	d := ride("told", no, 470)
	w.sim.ArmNext(alipaysim.ArmLose)
	if _, err := one(t, w.provider, d); err == nil {
		t.Fatal("the answer was to be lost")
	}
	if n := w.sim.Deliver(t.Context()); n != 0 || len(in.all()) != 1 {
		t.Errorf("%d acknowledged of %d sent", n, len(in.all()))
	}
	refuse = false
	if w.sim.Deliver(t.Context()); len(in.all()) != 1 {
		t.Error("it was sent again before its time")
	}
	w.clock.set(start.Add(4 * time.Minute))
	if n := w.sim.Deliver(t.Context()); n != 1 {
		t.Errorf("%d acknowledged; want 1", n)
	}
	w.clock.set(start.Add(40 * time.Hour))
	w.sim.Deliver(t.Context())
	got := in.all()
	if len(got) != 2 {
		t.Fatalf("%d notifications; want 2", len(got))
	}
	first, _, err := w.provider.ParseNotify(t.Context(), got[0])
	second, ack, err2 := w.provider.ParseNotify(t.Context(), got[1])
	if err != nil || err2 != nil || first != second || first.ID == "" {
		t.Errorf("%+v, %v and %+v, %v; want the same notice twice", first, err, second, err2)
	}
	if first.Kind != driver.NoticePayment || first.Result.OurID != "told" || first.Result.Outcome != driver.Succeeded || first.Result.Amount != d.Amount {
		t.Errorf("the notice is %+v", first)
	}
	if string(ack.Body) != "success" || ack.Status != 200 {
		t.Errorf("the ack is %d %q", ack.Status, ack.Body)
	}
}

func TestNotificationOvertakesTheAnswer(t *testing.T) {
	w, no := withholding(t, nil)
	in := newInbox(t, func(driver.Notification) driver.Ack { return driver.Ack{Status: 200, Body: []byte("success")} })
	w.provider = w.contract(t, func(c *alipay.Config) { c.Collect, c.NotifyURL = alipay.Withholding, in.URL })
	w.sim.ArmNext(alipaysim.ArmNotice)
	if r, err := one(t, w.provider, ride("early", no, 470)); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("Submit = %+v, %v", r, err)
	}
	if len(in.all()) != 1 {
		t.Errorf("%d notifications before the answer; want 1", len(in.all()))
	}
}

// form makes a notification's request of a form.
func form(values url.Values) driver.Notification {
	return driver.Notification{Method: http.MethodPost, Target: "/", Body: []byte(values.Encode())}
}

func TestChangedNotificationsAreRefused(t *testing.T) {
	w, no := withholding(t, nil)
	w.provider = w.contract(t, func(c *alipay.Config) { c.Collect, c.NotifyURL = alipay.Withholding, "http://127.0.0.1:1/n" })
	if _, err := one(t, w.provider, ride("told", no, 470)); err != nil {
		t.Fatal(err)
	}
	list := w.sim.Notifications()
	genuine := list[len(list)-1]
	if genuine.Get("out_trade_no") != "told" || !strings.Contains(genuine.Get("body"), "%") {
		t.Fatalf("the notification is %v", genuine)
	}
	if _, _, err := w.provider.ParseNotify(t.Context(), form(genuine)); err != nil {
		t.Fatalf("the genuine one: %v", err) // a literal percent sign is a character of its value
	}
	for name := range genuine {
		changed := url.Values{}
		for k, v := range genuine {
			changed[k] = append([]string(nil), v...)
		}
		value := []byte(changed.Get(name))
		value[len(value)/2] ^= 1
		changed.Set(name, string(value))
		notice, ack, err := w.provider.ParseNotify(t.Context(), form(changed))
		if err == nil || string(ack.Body) == "success" || notice != (driver.Notice{}) {
			t.Errorf("one bit of %s changed: %+v, %q, %v; want a refusal", name, notice, ack.Body, err)
		}
	}
	for what, body := range map[string]string{
		"nothing": "", "no form": "%zz", "one name twice": genuine.Encode() + "&out_trade_no=other",
		"without its signature": strings.Replace(genuine.Encode(), "sign=", "sigh=", 1),
	} {
		if _, ack, err := w.provider.ParseNotify(t.Context(), driver.Notification{Body: []byte(body)}); err == nil || string(ack.Body) == "success" {
			t.Errorf("%s: acknowledged", what)
		}
	}
	stranger := w.contract(t, func(c *alipay.Config) {
		c.Collect, c.NotifyURL, c.AppID = alipay.Withholding, "http://127.0.0.1:1/n", "2021000000000077"
	})
	if _, _, err := stranger.ParseNotify(t.Context(), form(genuine)); err == nil {
		t.Error("another application took the notification")
	}
	if genuine.Get("seller_id") == "" {
		t.Fatal("the notification does not name the seller")
	}
	seller := w.contract(t, func(c *alipay.Config) {
		c.Collect, c.NotifyURL, c.Account = alipay.Withholding, "http://127.0.0.1:1/n", "2088000000000077"
	})
	if _, ack, err := seller.ParseNotify(t.Context(), form(genuine)); err == nil || string(ack.Body) == "success" {
		t.Error("another seller took the notification")
	}
}

// V1 leaves sign_type out of the signature, V2 keeps it in; agreements are told
// the second way.
func TestAgreementsAreTold(t *testing.T) {
	w, _ := withholding(t, nil)
	w.provider = w.contract(t, func(c *alipay.Config) { c.Collect, c.NotifyURL = alipay.Withholding, "http://127.0.0.1:1/n" })
	invitation, err := w.provider.OpenAgreement(t.Context(), driver.AgreementRequest{OurID: "agr2", NotifyURL: "http://127.0.0.1:1/n"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(invitation.URL) // the rider opens the page and confirms
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	_ = resp.Body.Close()
	list := w.sim.Notifications()
	notice, ack, err := w.provider.ParseNotify(t.Context(), form(list[len(list)-1]))
	if err != nil || notice.Kind != driver.NoticeAgreement || notice.Agreement.OurID != "agr2" || notice.Agreement.State != driver.AgreementActive || string(ack.Body) != "success" {
		t.Errorf("%+v, %+v, %v", notice, ack, err)
	}
	if a, err := w.provider.QueryAgreement(t.Context(), driver.Agreement{OurID: "agr2"}); err != nil || a.ID != notice.Agreement.ID {
		t.Errorf("QueryAgreement = %+v, %v; want %s", a, err, notice.Agreement.ID)
	}
}

func TestRefundsAreTold(t *testing.T) {
	w, no := withholding(t, nil)
	w.provider = w.contract(t, func(c *alipay.Config) { c.Collect, c.NotifyURL = alipay.Withholding, "http://127.0.0.1:1/n" })
	d := ride("told", no, 470)
	if _, err := one(t, w.provider, d); err != nil {
		t.Fatal(err)
	}
	refund := driver.Refund{OurID: "back1", Charge: ref(d), Amount: citygate.Money{Minor: 100, Currency: "CNY"}}
	if r, err := w.provider.Refund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
		t.Fatalf("Refund = %+v, %v", r, err)
	}
	list := w.sim.Notifications()
	notice, _, err := w.provider.ParseNotify(t.Context(), form(list[len(list)-1]))
	if err != nil || notice.Kind != driver.NoticeRefund || notice.Result.OurID != "back1" || notice.ChargeID != "told" || notice.Result.Outcome != driver.Succeeded {
		t.Errorf("%+v, %v", notice, err)
	}
}

func FuzzParseNotify(f *testing.F) {
	keys(f)
	p, err := alipay.New(alipay.Config{
		Gateway: "http://127.0.0.1:1/", AppID: appID, Account: account, Signer: merchantKey, Collect: alipay.Withholding, NotifyURL: "http://127.0.0.1:1/",
		PlatformKeys: platformKeys(), HTTP: http.DefaultClient, Clock: func() time.Time { return start },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("app_id=2021000000000001&out_trade_no=a&total_amount=1.00&trade_status=TRADE_SUCCESS&sign_type=RSA2&sign=QUJD"))
	f.Add([]byte("sign=&sign_type=RSA2&a=%25"))
	f.Fuzz(func(t *testing.T, body []byte) {
		// Nobody here has the platform's key, so no input may be acknowledged.
		notice, ack, err := p.ParseNotify(context.Background(), driver.Notification{Body: body})
		if err == nil || notice != (driver.Notice{}) || string(ack.Body) == "success" {
			t.Errorf("an unsigned notification was taken: %+v, %+v", notice, ack)
		}
	})
}
