package wechatpay_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
)

// An ear takes the platform's notifications and answers them as the adapter says.
type ear struct {
	*httptest.Server
	w       *world
	change  func(*driver.Notification) // spoils the next one
	heard   []driver.Notice
	refused int
}

func listen(t *testing.T, product wechatpay.Product, change func(*wechatpaysim.Config, *wechatpay.Config)) *ear {
	t.Helper()
	e := &ear{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		n := driver.Notification{Method: r.Method, Target: r.RequestURI, Header: r.Header, Body: body, At: e.w.clock.read()}
		if e.change != nil {
			e.change(&n)
		}
		notice, ack, err := e.w.provider.(driver.Notifier).ParseNotify(r.Context(), n)
		if err != nil {
			e.refused++
		} else {
			e.heard = append(e.heard, notice)
		}
		if ack.ContentType != "" {
			w.Header().Set("Content-Type", ack.ContentType)
		}
		w.WriteHeader(ack.Status)
		_, _ = w.Write(ack.Body)
	}))
	t.Cleanup(e.Close)
	e.w = newWorld(t, product, func(s *wechatpaysim.Config, c *wechatpay.Config) {
		c.NotifyURL = e.URL + "/notify"
		if change != nil {
			change(s, c)
		}
	})
	return e
}

func (e *ear) deliver(t *testing.T) []wechatpaysim.Delivery {
	t.Helper()
	return e.w.sim.Deliver(context.Background(), http.DefaultClient)
}

// Success is told, once it is there, under both kinds of keys; failure never.
func TestNotificationsTellOfSuccessAlone(t *testing.T) {
	for _, product := range []wechatpay.Product{wechatpay.Ride, wechatpay.RideV2} {
		e := listen(t, product, func(s *wechatpaysim.Config, _ *wechatpay.Config) { s.DeductAfter = time.Minute })
		e.w.sim.AddContract("poor", "oPoor", "")
		e.w.sim.SetInsufficient("poor")
		for i := range 8 {
			d := e.w.debit(string(rune('a'+i)), 250)
			if i == 3 {
				d.RiderRef = "poor"
			}
			if _, err := e.w.submit(t, d); err != nil {
				t.Fatal(err)
			}
		}
		e.deliver(t)
		if len(e.heard) != 0 {
			t.Fatalf("%s: told of %v before anything was decided", product, e.heard)
		}
		e.w.clock.add(time.Minute)
		e.w.sim.Book() // the platform's day goes on
		e.deliver(t)
		if len(e.heard) != 7 || e.refused != 0 {
			t.Fatalf("%s: told of %d, %d refused; want 7 successes", product, len(e.heard), e.refused)
		}
		for _, n := range e.heard {
			if n.Kind != driver.NoticePayment || n.Result.Outcome != driver.Succeeded || n.Result.OurID == "d" || n.Result.Amount != (citygate.Money{Minor: 250, Currency: "CNY"}) || n.ID == "" {
				t.Errorf("%s: told %+v", product, n)
			}
		}
		if again := e.deliver(t); len(again) != 0 {
			t.Errorf("%s: told again after it was taken: %v", product, again)
		}
	}
}

func TestRefundsAreTold(t *testing.T) {
	e := listen(t, wechatpay.Ride, func(s *wechatpaysim.Config, _ *wechatpay.Config) {
		s.Faults.Abnormal = func(id string) bool { return id == "bad" }
	})
	d := e.w.debit("a", 500)
	e.w.pay(t, d)
	for id, want := range map[string]driver.Outcome{"good": driver.Succeeded, "bad": driver.Unknown} {
		e.heard = nil
		if _, err := e.w.provider.(driver.Refunder).Refund(t.Context(), driver.Refund{OurID: id, Charge: ref(d), Amount: citygate.Money{Minor: 100, Currency: "CNY"}}); err != nil {
			t.Fatal(err)
		}
		e.deliver(t)
		n := e.heard[len(e.heard)-1]
		if n.Kind != driver.NoticeRefund || n.Result.OurID != id || n.ChargeID != "a" || n.Result.Outcome != want || n.Result.Amount.Minor != 100 {
			t.Errorf("told %+v of %s; want %q", n, id, want)
		}
	}
}

// What is not proven is refused by its status, and comes again.
func TestUnprovenNotificationsAreRefused(t *testing.T) {
	replace := func(old, with string) func(*driver.Notification) {
		return func(n *driver.Notification) { n.Body = bytes.Replace(n.Body, []byte(old), []byte(with), 1) }
	}
	for name, c := range map[string]struct {
		arm    wechatpaysim.Arm
		change func(*driver.Notification)
	}{
		"a probe":              {wechatpaysim.ArmProbe, nil},
		"stale":                {wechatpaysim.ArmStale, nil},
		"an unheard-of serial": {wechatpaysim.ArmStrange, nil},
		"badly signed":         {wechatpaysim.ArmBadSign, nil},
		"unsigned":             {wechatpaysim.ArmUnsigned, nil},
		"one byte":             {"", replace("TRANSACTION", "TRANSACTIOM")},
		"one byte sealed":      {"", replace(`"nonce":"`, `"nonce":"0`)},
		"no body":              {"", func(n *driver.Notification) { n.Body = nil }},
		"no key id":            {"", func(n *driver.Notification) { delete(n.Header, "Wechatpay-Serial") }},
	} {
		e := listen(t, wechatpay.Ride, nil)
		e.change = c.change
		e.w.pay(t, e.w.debit("a", 100))
		status, err := e.w.sim.Probe(t.Context(), http.DefaultClient, "a", c.arm)
		if err != nil || status < 400 || e.refused != 1 || len(e.heard) != 0 {
			t.Errorf("%s: answered %d, %v; heard %v; want a refusal", name, status, err, e.heard)
		}
		e.change = nil
		if tries := e.deliver(t); len(tries) != 1 || !tries[0].Taken || len(e.heard) != 1 {
			t.Errorf("%s: the true one then: %v", name, tries)
		}
	}
}

func TestUnprovenV2NotificationsAreRefused(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"the amount":   func(s string) string { return strings.Replace(s, "<![CDATA[250]]>", "<![CDATA[251]]>", 1) },
		"the merchant": func(s string) string { return strings.Replace(s, mchID, "1900000110", 1) },
		"twice": func(s string) string {
			return strings.Replace(s, "<total_fee>", "<total_fee>1</total_fee><total_fee>", 1)
		},
		"a directive": func(s string) string { return `<!DOCTYPE x [<!ENTITY a "b">]>` + s },
		"nothing":     func(string) string { return "" },
	} {
		e := listen(t, wechatpay.RideV2, nil)
		e.change = func(n *driver.Notification) { n.Body = []byte(change(string(n.Body))) }
		if _, err := e.w.submit(t, e.w.debit("a", 250)); err != nil {
			t.Fatal(err)
		}
		if tries := e.deliver(t); len(tries) != 1 || tries[0].Taken || e.refused != 1 {
			t.Errorf("%s: %v; want a refusal", name, tries)
		}
		e.change = nil
		e.w.clock.add(15 * time.Second)
		if tries := e.deliver(t); len(tries) != 1 || !tries[0].Taken {
			t.Errorf("%s: the true one then: %v", name, tries)
		}
	}
}

// The platform repeats for a day what is not taken.
func TestNotificationsAreRepeatedForADay(t *testing.T) {
	e := listen(t, wechatpay.Ride, nil)
	e.change = func(n *driver.Notification) { n.Body = nil }
	e.w.pay(t, e.w.debit("a", 100))
	for range 24 * 60 * 4 {
		e.deliver(t)
		e.w.clock.add(15 * time.Second)
	}
	e.w.clock.add(24 * time.Hour)
	e.deliver(t)
	if e.refused != 16 {
		t.Errorf("came %d times; want once and fifteen repetitions", e.refused)
	}
}
