package alipayplus_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipayplus"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplussim"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// What is not proven, not a word of the tables, or U is neither a yes nor a no.
func TestOpenAnswersStayOpen(t *testing.T) {
	for _, arm := range []alipayplussim.Arm{
		alipayplussim.ArmUnsigned, alipayplussim.ArmBadSign, alipayplussim.ArmForge, alipayplussim.ArmGarble, alipayplussim.ArmUnsure, alipayplussim.ArmStrange, alipayplussim.ArmBusy,
	} {
		w := newWorld(t, nil)
		w.sim.ArmNext(arm)
		d := debit("ride1", 470)
		results, err := w.provider.Submit(t.Context(), []driver.Debit{d})
		if errors.Is(err, driver.ErrNotPerformed) || (err == nil && results[0].Outcome != driver.Unknown) {
			t.Errorf("%s: %+v, %v; want an open outcome", arm, results, err)
		}
		want := driver.Succeeded
		if arm == alipayplussim.ArmBusy {
			want = driver.Absent
		}
		if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Outcome != want {
			t.Errorf("%s: Query = %+v, %v; want %s", arm, r, err, want)
		}
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// One changed byte of a request, wherever it is, is refused before anything moves.
func TestChangedRequestsAreRefused(t *testing.T) {
	body := func(old, changed string) func(*http.Request) {
		return func(r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			if !bytes.Contains(text, []byte(old)) {
				t.Errorf("%q is not in the request", old)
			}
			text = bytes.Replace(text, []byte(old), []byte(changed), 1)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		}
	}
	header := func(name, old, changed string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, strings.Replace(r.Header.Get(name), old, changed, 1)) }
	}
	for name, change := range map[string]func(*http.Request){
		"amount":      body(`"470"`, `"471"`),
		"a space":     body(`{`, `{ `),
		"payer":       body(token, token[:len(token)-1]+"2"),
		"time":        header("Request-Time", "2026", "2027"),
		"client":      header("Client-Id", "0001", "0002"),
		"key version": header("Signature", "keyVersion=1", "keyVersion=2"),
		"signature":   header("Signature", "signature=", "signature=a"),
		"path":        func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "/pay", "/refund", 1) },
		"family":      func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "/ams", "/aps", 1) },
		"a query":     func(r *http.Request) { r.URL.RawQuery = "a=b" },
	} {
		w := newWorld(t, nil)
		w.config.HTTP = doer(func(r *http.Request) (*http.Response, error) {
			change(r)
			return http.DefaultClient.Do(r)
		})
		p, err := alipayplus.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := p.Submit(t.Context(), []driver.Debit{debit("ride1", 470)}); err == nil || len(w.sim.Book()) != 0 {
			t.Errorf("%s: %+v, %v; the book has %v", name, r, err, w.sim.Book())
		}
	}
}

// An answer to another call, of another client or about another payment is no
// answer to this one.
func TestAnswersOfSomethingElse(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{debit("ride1", 470)}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*http.Request){
		"another payment's inquiry": nil,
		"a failed one's inquiry":    nil,
		"another call":              func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "inquiryPayment", "inquiryRefund", 1) },
	} {
		c := w.config
		var kept *http.Response
		c.HTTP = doer(func(r *http.Request) (*http.Response, error) {
			if change != nil {
				change(r)
				return http.DefaultClient.Do(r)
			}
			if kept == nil {
				var err error
				kept, err = http.DefaultClient.Do(r)
				if err != nil {
					return nil, err
				}
				text, _ := io.ReadAll(kept.Body)
				kept.Body = io.NopCloser(bytes.NewReader(text))
				other := *kept
				other.Body = io.NopCloser(bytes.NewReader(text))
				return &other, nil
			}
			return kept, nil
		})
		p, err := alipayplus.New(c)
		if err != nil {
			t.Fatal(err)
		}
		if change == nil {
			id := "ride1"
			if strings.HasPrefix(name, "a failed") {
				id = "poor"
				w.sim.ArmNext(alipayplussim.ArmDecline)
				if r, err := w.provider.Submit(t.Context(), []driver.Debit{debit(id, 470)}); err != nil || r[0].Outcome != driver.Declined {
					t.Fatal(r, err)
				}
			}
			if _, err := p.Query(t.Context(), ref(debit(id, 470))); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := p.Query(t.Context(), ref(debit("ride2", 470))); err == nil {
			t.Errorf("%s: Query = %+v; want an error", name, r)
		}
	}
}

func TestNotifications(t *testing.T) {
	var w *world
	var heard []driver.Notice
	refused := 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n, ack, err := w.provider.ParseNotify(r.Context(), driver.Notification{Method: r.Method, Target: r.RequestURI, Header: r.Header, Body: body})
		if err != nil {
			refused++
		} else {
			heard = append(heard, n)
		}
		rw.Header().Set("Content-Type", ack.ContentType)
		rw.WriteHeader(ack.Status)
		_, _ = rw.Write(ack.Body)
	}))
	t.Cleanup(server.Close)
	w = newWorld(t, func(_ *alipayplussim.Config, c *alipayplus.Config) {
		c.NotifyURL = server.URL + "/n/1"
		c.PayCurrency = "HKD"
	})
	d := quoted(t, w, "ride1", 600)
	for _, one := range []driver.Debit{d, debit("ride2", 470)} {
		if _, err := w.provider.Submit(t.Context(), []driver.Debit{one}); err != nil {
			t.Fatal(err)
		}
	}
	w.sim.ArmNext(alipayplussim.ArmDecline)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{debit("ride3", 470)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.provider.Refund(t.Context(), driver.Refund{OurID: "back1", Charge: ref(debit("ride2", 470)), Amount: mop(70), Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	for _, arm := range []alipayplussim.Arm{alipayplussim.ArmForge, alipayplussim.ArmBadSign, alipayplussim.ArmUnsigned} {
		if n := w.sim.Deliver(t.Context(), http.DefaultClient, arm); n != 0 {
			t.Errorf("%s: %d were taken", arm, n)
		}
		if w.sim.Deliver(t.Context(), http.DefaultClient, ""); len(heard) != 0 {
			t.Errorf("%s: sent again at once", arm)
		}
		w.add(10 * time.Minute) // until the platform tries again
	}
	if len(heard) != 0 || refused != 12 {
		t.Fatalf("heard %d, refused %d; want 0 and 12", len(heard), refused)
	}
	if n := w.sim.Deliver(t.Context(), http.DefaultClient, ""); n != 4 {
		t.Fatalf("%d of 4 were acknowledged as the platform wants it", n)
	}
	for i, want := range []driver.Notice{
		{Kind: driver.NoticePayment, Result: driver.Result{OurID: "ride1", Outcome: driver.Succeeded}},
		{Kind: driver.NoticePayment, Result: driver.Result{OurID: "ride2", Outcome: driver.Succeeded, Amount: mop(470)}},
		{Kind: driver.NoticePayment, Result: driver.Result{OurID: "ride3", Outcome: driver.Declined, Amount: mop(470)}},
		{Kind: driver.NoticeRefund, ChargeID: "ride2", Result: driver.Result{OurID: "back1", Outcome: driver.Succeeded, Amount: mop(70)}},
	} {
		n := heard[i]
		if n.Kind != want.Kind || n.ChargeID != want.ChargeID || n.Result.OurID != want.Result.OurID || n.Result.Outcome != want.Result.Outcome || n.Result.Amount != want.Result.Amount {
			t.Errorf("notice %d is %+v; want %+v", i, n, want)
		}
	}
	if heard[0].Result.Exchange.Paid != d.Quote.Pays {
		t.Errorf("the first says %+v was paid; want %s", heard[0].Result.Exchange, d.Quote.Pays)
	}
	// Disputes are told, and are nobody's payment: nothing follows from them but what the file says.
	heard = nil
	for _, x := range [][2]string{{"DISPUTE_CREATED", ""}, {"DISPUTE_JUDGED", "ACCEPT_BY_MERCHANT"}} {
		if err := w.sim.Dispute(w.config.ClientID, "ride2", "d1", x[0], x[1]); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.sim.Deliver(t.Context(), http.DefaultClient, ""); n != 2 || len(heard) != 2 {
		t.Fatalf("%d of 2 were acknowledged, and %+v heard", n, heard)
	}
	for i, why := range []string{"DISPUTE_CREATED", "DISPUTE_JUDGED ACCEPT_BY_MERCHANT"} {
		n := heard[i]
		if n.Kind != driver.NoticeReversal || n.ChargeID != "ride2" || n.Taken.State != driver.TakenOther || n.Taken.Reference != "d1" || n.Taken.ReasonCode != why || n.Taken.At.IsZero() || n.Result != (driver.Result{}) {
			t.Errorf("a dispute is %+v", n)
		}
	}
}

// A cancelled payment that was made stays made and gave its money back; one that
// was refunded in part cannot be cancelled.
func TestCancelled(t *testing.T) {
	w := newWorld(t, nil)
	d, other := debit("ride1", 470), debit("ride2", 300)
	for _, one := range []driver.Debit{d, other} {
		if _, err := w.provider.Submit(t.Context(), []driver.Debit{one}); err != nil {
			t.Fatal(err)
		}
	}
	if said, _, err := w.provider.Reverse(t.Context(), ref(d)); err != nil || said != driver.ReversalClosed {
		t.Errorf("Reverse = %q, %v", said, err)
	}
	if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded || r.Returned != mop(470) {
		t.Errorf("Query = %+v, %v; want succeeded with all of it returned", r, err)
	}
	if _, err := w.provider.Refund(t.Context(), driver.Refund{OurID: "back1", Charge: ref(other), Amount: mop(70), Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	if said, reason, err := w.provider.Reverse(t.Context(), ref(other)); err != nil || said != driver.ReversalRefused || reason != "REFUND_HAS_BEEN_MADE" {
		t.Errorf("Reverse of what was refunded in part = %q, %s, %v; want refused", said, reason, err)
	}
	w.add(25 * time.Hour)
	bill, err := w.provider.FetchBill(t.Context(), citygate.Date{Year: 2026, Month: time.March, Day: 2})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := w.provider.ParseBill(bill)
	var sum int64
	for _, l := range lines {
		sum += l.Amount.Minor
	}
	if err != nil || len(lines) != 4 || sum != 230 {
		t.Errorf("%d lines of %d, %v; want 4 of 230", len(lines), sum, err)
	}
}

func TestDevicesAndArrears(t *testing.T) {
	w := newWorld(t, func(_ *alipayplussim.Config, c *alipayplus.Config) { c.Collect = alipayplus.DualOffline })
	certificate, err := w.provider.CertifyDevice(t.Context(), "validator1", []byte("a key"))
	again, err2 := w.provider.CertifyDevice(t.Context(), "validator1", []byte("a key"))
	if err != nil || err2 != nil || len(certificate) == 0 || !bytes.Equal(certificate, again) {
		t.Errorf("CertifyDevice = %x, %v, then %x, %v", certificate, err, again, err2)
	}
	d := debit("ride1", 470)
	if err := w.provider.SyncArrear(t.Context(), ref(d)); err == nil {
		t.Error("an arrear of what never was is taken")
	}
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{d}); err != nil {
		t.Fatal(err)
	}
	if err := w.provider.SyncArrear(t.Context(), ref(d)); err != nil {
		t.Error(err)
	}
	for collect, want := range map[alipayplus.Collect]bool{alipayplus.DualOffline: true, alipayplus.Agreement: false} {
		w := newWorld(t, func(_ *alipayplussim.Config, c *alipayplus.Config) { c.Collect = collect })
		_, device := driver.As[driver.DeviceEnroller](driver.Provider(w.provider))
		_, quotes := driver.As[driver.Quoter](driver.Provider(w.provider))
		if device != want || quotes {
			t.Errorf("%s: certifies devices %t, quotes %t", collect, device, quotes)
		}
	}
}

func TestExecStandings(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{debit("ride1", 470)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		op, body string
		want     alipayplus.Standing
	}{
		{"inquiryPayment", `{"paymentRequestId":"ride1"}`, alipayplus.Done},
		{"inquiryRefund", `{"refundRequestId":"never"}`, alipayplus.Open},
		{"refund", `{"refundRequestId":"b","paymentRequestId":"never","refundAmount":{"currency":"MOP","value":"1"}}`, alipayplus.Refused},
		{"pay", `{}`, alipayplus.Open},
		{"inquireExchangeRate", `{}`, alipayplus.Refused},
		{"cancel", `{"paymentRequestId":"ride1"}`, alipayplus.Done},
	} {
		a, err := w.provider.Exec(t.Context(), c.op, json.RawMessage(c.body))
		if err != nil || a.Standing != c.want {
			t.Errorf("%s: %q, %s, %v; want %q", c.op, a.Standing, a.Body, err, c.want)
		}
	}
	if _, err := w.provider.Exec(t.Context(), "fly", nil); !errors.Is(err, alipayplus.ErrMethod) {
		t.Errorf("fly: %v; want ErrMethod", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t, nil)
	for name, change := range map[string]func(*alipayplus.Config){
		"base":          func(c *alipayplus.Config) { c.Base += "/ams" },
		"files":         func(c *alipayplus.Config) { c.Files = "" },
		"notify_url":    func(c *alipayplus.Config) { c.NotifyURL = "https://city.example/?a=b" },
		"client_id":     func(c *alipayplus.Config) { c.ClientID = "a b" },
		"family":        func(c *alipayplus.Config) { c.Family = "x" },
		"collect":       func(c *alipayplus.Config) { c.Collect = "" },
		"key_version":   func(c *alipayplus.Config) { c.KeyVersion = "one" },
		"merchant":      func(c *alipayplus.Config) { c.Merchant = "" },
		"currency":      func(c *alipayplus.Config) { c.Currency = "mop" },
		"pay_currency":  func(c *alipayplus.Config) { c.PayCurrency = c.Currency },
		"signer":        func(c *alipayplus.Config) { c.Signer = nil },
		"platform_keys": func(c *alipayplus.Config) { c.PlatformKeys = nil },
		"clock":         func(c *alipayplus.Config) { c.Clock = nil },
	} {
		c := w.config
		change(&c)
		if _, err := alipayplus.New(c); !errors.Is(err, alipayplus.ErrConfig) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: New = %v; want ErrConfig that names it", name, err)
		}
	}
	// The platform's keys are a set: each answer names its own.
	c := w.config
	c.PlatformKeys = map[string]*rsa.PublicKey{"1": &platform.PublicKey, "2": &own.PublicKey}
	p, err := alipayplus.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.Submit(context.Background(), []driver.Debit{debit("ride1", 470)}); err != nil || r[0].Outcome != driver.Succeeded {
		t.Errorf("with two keys: %+v, %v", r, err)
	}
	c.PlatformKeys = map[string]*rsa.PublicKey{"2": &platform.PublicKey}
	if p, err = alipayplus.New(c); err != nil {
		t.Fatal(err)
	}
	if r, err := p.Query(context.Background(), ref(debit("ride1", 470))); err == nil {
		t.Errorf("a key version that the contract does not name: %+v", r)
	}
}
