package unionpay_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"math/big"
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
	"github.com/cashlesscity/citygate/adapters/simserve"
	"github.com/cashlesscity/citygate/adapters/unionpay"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
)

const merID = "777290058110097"

var start = time.Date(2026, 3, 2, 6, 30, 0, 0, time.UTC) // 14:30 in Beijing

var (
	once               sync.Once
	own, platform      *rsa.PrivateKey
	ownCert            *x509.Certificate
	authority, foreign *unionpaysim.Authority
)

func keys(t testing.TB) {
	t.Helper()
	once.Do(func() {
		for _, k := range []**rsa.PrivateKey{&own, &platform} {
			made, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			*k = made
		}
		serial, _ := new(big.Int).SetString("4a7f0e1d9c2b3a4d5e6f7a8b", 16) // longer than a float can hold
		c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "valley"}, NotBefore: start.AddDate(-1, 0, 0), NotAfter: start.AddDate(5, 0, 0)}
		der, err := x509.CreateCertificate(rand.Reader, c, c, &own.PublicKey, own)
		if err != nil {
			t.Fatal(err)
		}
		if ownCert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		if authority, err = unionpaysim.Certify(&platform.PublicKey, unionpaysim.Owner, start); err != nil {
			t.Fatal(err)
		}
		if foreign, err = unionpaysim.Certify(&platform.PublicKey, "某某公司", start); err != nil {
			t.Fatal(err)
		}
	})
}

type world struct {
	mu       sync.Mutex
	at       time.Time
	sim      *unionpaysim.Server
	config   unionpay.Config
	provider *unionpay.Provider
}

func (w *world) now() time.Time      { w.mu.Lock(); defer w.mu.Unlock(); return w.at }
func (w *world) set(t time.Time)     { w.mu.Lock(); defer w.mu.Unlock(); w.at = t }
func (w *world) add(d time.Duration) { w.set(w.now().Add(d)) }

func newWorld(t testing.TB, change func(*unionpaysim.Config, *unionpay.Config)) *world {
	t.Helper()
	keys(t)
	w := &world{at: start}
	sim := unionpaysim.Config{Clock: w.now, Key: platform, Authority: authority, Merchants: []unionpaysim.Merchant{{MerID: merID, Cert: ownCert, FeePPM: 6000}}}
	w.config = unionpay.Config{
		MerID: merID, TermID: "00000001", Signer: own, Certificate: ownCert, Roots: []*x509.Certificate{authority.Root},
		BackURL: "https://city.example/back", HTTP: &http.Client{Transport: &http.Transport{}}, Clock: w.now,
	}
	if change != nil {
		change(&sim, &w.config)
	}
	var err error
	if w.sim, err = unionpaysim.Start(sim); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sim.Close)
	w.config.Gateway, w.config.Files = w.sim.URL()+unionpaysim.GatewayPath, w.sim.URL()+unionpaysim.FilePath
	if w.provider, err = unionpay.New(w.config); err != nil {
		t.Fatal(err)
	}
	return w
}

func debit(id string, minor int64) driver.Debit {
	return driver.Debit{
		OurID: id, RiderRef: "rider", Amount: citygate.Money{Minor: minor, Currency: "CNY"}, TripTime: start, Attempted: start,
		AuthCode: citygate.NewSecret([]byte("6220485073630469936")),
	}
}

func ref(d driver.Debit) driver.Ref {
	return driver.Ref{OurID: d.OurID, SubmittedAt: d.Attempted, Amount: d.Amount}
}

// patient asks about what was taken, as the gateway does, and lengthens the kit's
// numbers, which UnionPay wants to be of 8 characters.
type patient struct{ *unionpay.Provider }

func long(id string) string  { return id + strings.Repeat("Q", max(8-len(id), 0)) }
func short(id string) string { return strings.TrimRight(id, "Q") }

func (p patient) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	if len(debits) != 1 {
		return p.Provider.Submit(ctx, debits)
	}
	d := debits[0]
	d.OurID = long(d.OurID)
	results, err := p.Provider.Submit(ctx, []driver.Debit{d})
	if err == nil && results[0].Outcome != driver.Declined {
		r, err := p.Query(ctx, ref(debits[0]))
		return []driver.Result{r}, err
	}
	for i := range results {
		results[i].OurID = debits[0].OurID
	}
	return results, err
}

func (p patient) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	id := ref.OurID
	ref.OurID = long(id)
	r, err := p.Provider.Query(ctx, ref)
	r.OurID = id
	return r, err
}

func (p patient) Refund(ctx context.Context, f driver.Refund) (driver.Result, error) {
	id := f.OurID
	f.OurID, f.Charge.OurID = long(id), long(f.Charge.OurID)
	r, err := p.Provider.Refund(ctx, f)
	if err == nil && r.Outcome != driver.Declined {
		r, err = p.Provider.QueryRefund(ctx, f)
	}
	r.OurID = id
	return r, err
}

func (p patient) QueryRefund(ctx context.Context, f driver.Refund) (driver.Result, error) {
	id := f.OurID
	f.OurID, f.Charge.OurID = long(id), long(f.Charge.OurID)
	r, err := p.Provider.QueryRefund(ctx, f)
	r.OurID = id
	return r, err
}

func (p patient) ParseBill(b driver.Bill) ([]driver.BillLine, error) {
	lines, err := p.Provider.ParseBill(b)
	for i := range lines {
		lines[i].OurID, lines[i].RefundID = short(lines[i].OurID), short(lines[i].RefundID)
	}
	return lines, err
}

type harness struct{ *world }

func (h harness) Provider() driver.Provider                 { return patient{h.provider} }
func (h harness) Debit(id string, minor int64) driver.Debit { return debit(id, minor) }
func (h harness) LoseNextReply()                            { h.sim.ArmNext(unionpaysim.ArmLose) }
func (h harness) DropNext()                                 { h.sim.ArmNext(simserve.Drop) }

func (h harness) ShedNext() time.Duration {
	h.sim.ArmNext(simserve.Shed)
	return simserve.ShedFor
}

func (h harness) DieNext()     { h.sim.ArmNext(unionpaysim.ArmDie) }
func (h harness) DelayNext()   { h.sim.ArmNext(unionpaysim.ArmDelay) }
func (h harness) GarbleNext()  { h.sim.ArmNext(unionpaysim.ArmGarble) }
func (h harness) DeclineNext() { h.sim.ArmNext(unionpaysim.ArmDecline) }
func (h harness) PartialNext() {} // one debit a call
func (h harness) Secrets() []string {
	return []string{own.D.String(), "signature=", "6220485073630469936", "BEGIN CERT"}
}

func (h harness) Moved() (list []drivertest.Move) {
	for _, o := range h.sim.Book() {
		if o.Made {
			list = append(list, drivertest.Move{OurID: short(o.OrderID), Refund: o.Kind != "01", Amount: o.Amount})
		}
	}
	return list
}

func (h harness) EndDay() citygate.Date {
	h.set(start.Add(24 * time.Hour))
	return citygate.Date{Year: 2026, Month: time.March, Day: 2}
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness { return harness{newWorld(t, nil)} })
}

// The certificate that a message brings along proves nothing by itself.
func TestOnlyPinnedCertificatesAreBelieved(t *testing.T) {
	for name, change := range map[string]func(*world){
		"somebody's own certificate": func(w *world) { w.sim.ArmNext(unionpaysim.ArmForge) },
		"a changed answer":           func(w *world) { w.sim.ArmNext(unionpaysim.ArmBadSign) },
		"no signature":               func(w *world) { w.sim.ArmNext(unionpaysim.ArmUnsigned) },
		"half an answer":             func(w *world) { w.sim.ArmNext(unionpaysim.ArmGarble) },
		"a certificate out of date":  func(w *world) { w.set(start.AddDate(11, 0, 0)) },
	} {
		w := newWorld(t, nil)
		change(w)
		d := debit("order00001", 470)
		results, err := w.provider.Submit(t.Context(), []driver.Debit{d})
		if err == nil || errors.Is(err, driver.ErrNotPerformed) || len(w.sim.Book()) != 1 {
			t.Errorf("%s: %v, %v; want an open error about a payment that was made", name, results, err)
		}
	}
	w := newWorld(t, func(s *unionpaysim.Config, _ *unionpay.Config) { s.Authority = foreign })
	w.config.Roots = []*x509.Certificate{foreign.Root}
	p, err := unionpay.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.Submit(t.Context(), []driver.Debit{debit("order00001", 470)}); err == nil {
		t.Errorf("a certificate under the right root of another owner: %v", r)
	}
	w.config.SignerName = "某某公司"
	if p, err = unionpay.New(w.config); err != nil {
		t.Fatal(err)
	}
	if r, err := p.Submit(t.Context(), []driver.Debit{debit("order00002", 470)}); err != nil || r[0].Outcome != driver.Accepted {
		t.Errorf("the owner that the contract names: %v, %v", r, err)
	}
}

// One flipped byte of a request is refused before anything moves.
func TestChangedRequestsAreRefused(t *testing.T) {
	for _, field := range []string{"txnAmt=470", "orderId=order", "certId=", "merId=77", "qrNo=62", "signature="} {
		w := newWorld(t, nil)
		w.config.HTTP = doer(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			i := bytes.Index(body, []byte(field)) + len(field) + 1
			if body[i] == '1' {
				body[i] = '2'
			} else {
				body[i] = '1'
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			return http.DefaultClient.Do(r)
		})
		p, err := unionpay.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := p.Submit(t.Context(), []driver.Debit{debit("order00001", 470)}); err == nil || len(w.sim.Book()) != 0 {
			t.Errorf("%s: %v, %v; the book has %v", field, r, err, w.sim.Book())
		}
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// 05 is no decline; a reversal is of the whole, the same day, and is looked up.
func TestUnsureAndReversed(t *testing.T) {
	w := newWorld(t, nil)
	d := debit("order00001", 470)
	w.sim.ArmNext(unionpaysim.ArmUnsure)
	if r, err := w.provider.Submit(t.Context(), []driver.Debit{d}); err != nil || r[0].Outcome != driver.Unknown {
		t.Fatalf("05: %v, %v; want unknown", r, err)
	}
	if said, _, err := w.provider.Reverse(t.Context(), ref(debit("neverwas", 470))); err != nil || said != driver.ReversalUnknown {
		t.Errorf("an order that never was: %q, %v", said, err)
	}
	w.set(time.Date(2026, 3, 2, 14, 59, 59, 0, time.UTC)) // a second before 23:00 in Beijing
	late := debit("order00002", 300)
	late.Attempted = w.now()
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{late}); err != nil {
		t.Fatal(err)
	}
	if said, _, err := w.provider.Reverse(t.Context(), ref(d)); err != nil || said != driver.ReversalGiven {
		t.Errorf("in time: %q, %v; want returned", said, err)
	}
	w.add(time.Second)
	if said, reason, err := w.provider.Reverse(t.Context(), ref(late)); err != nil || said != driver.ReversalRefused {
		t.Errorf("a day later by a second: %q, %s, %v; want refused", said, reason, err)
	}
	next := debit("order00003", 200)
	next.Attempted = w.now()
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{next}); err != nil {
		t.Fatal(err)
	}
	w.set(start.Add(48 * time.Hour))
	for day, want := range map[int]int{2: 3, 3: 1} { // two payments and a reversal; the one after 23:00
		bill, err := w.provider.FetchBill(t.Context(), citygate.Date{Year: 2026, Month: time.March, Day: day})
		if err != nil {
			t.Fatal(err)
		}
		lines, err := w.provider.ParseBill(bill)
		if err != nil || len(lines) != want {
			t.Errorf("the file of the %d. has %d rows, %v; want %d", day, len(lines), err, want)
		}
	}
}

func TestNotificationsTellOfSuccess(t *testing.T) {
	var w *world
	heard, refused := 0, 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n, ack, err := w.provider.ParseNotify(r.Context(), driver.Notification{Method: r.Method, Target: r.RequestURI, Header: r.Header, Body: body})
		if err != nil {
			refused++
		} else if heard++; n.Kind != driver.NoticePayment || n.Result.Outcome != driver.Succeeded || n.Result.Amount.Minor != 470 || n.ID == "" {
			t.Errorf("told %+v", n)
		}
		rw.WriteHeader(ack.Status)
	}))
	t.Cleanup(server.Close)
	w = newWorld(t, func(_ *unionpaysim.Config, c *unionpay.Config) { c.BackURL = server.URL })
	for i, arm := range []unionpaysim.Arm{"", unionpaysim.ArmForge, unionpaysim.ArmBadSign, unionpaysim.ArmUnsigned} {
		w.sim.ArmNext("")
		if _, err := w.provider.Submit(t.Context(), []driver.Debit{debit("order0000"+string(rune('1'+i)), 470)}); err != nil {
			t.Fatal(err)
		}
		taken := w.sim.Deliver(t.Context(), http.DefaultClient, arm)
		if (arm == "") != (taken == 1) {
			t.Errorf("%q: %d were taken", arm, taken)
		}
	}
	w.sim.ArmNext(unionpaysim.ArmDecline)
	if _, err := w.provider.Submit(t.Context(), []driver.Debit{debit("order00009", 470)}); err != nil {
		t.Fatal(err)
	}
	if w.sim.Deliver(t.Context(), http.DefaultClient, "") != 0 || heard != 1 || refused != 3 {
		t.Errorf("heard %d, refused %d; want 1 and 3, and nothing of a refusal", heard, refused)
	}
}

// Of a notification that nobody takes there are five, 1, 2, 4 and 5 minutes apart; one
// that was taken is not sent again.
func TestNotificationsAreSentAgain(t *testing.T) {
	var heard []time.Duration
	take := false
	var w *world
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if _, _, err := w.provider.ParseNotify(r.Context(), driver.Notification{Method: r.Method, Target: r.RequestURI, Header: r.Header, Body: body}); err != nil {
			t.Errorf("a notification that is sent again: %v", err)
		}
		heard = append(heard, w.now().Sub(start))
		if !take {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	w = newWorld(t, func(_ *unionpaysim.Config, c *unionpay.Config) { c.BackURL = server.URL })
	for n, want := range [][]time.Duration{{0, time.Minute, 3 * time.Minute, 7 * time.Minute, 12 * time.Minute}, {0, time.Minute}} {
		heard = nil
		w.set(start)
		if _, err := w.provider.Submit(t.Context(), []driver.Debit{debit("order0000"+string(rune('1'+n)), 470)}); err != nil {
			t.Fatal(err)
		}
		for ; w.now().Before(start.Add(time.Hour)); w.add(30 * time.Second) {
			take = n == 1 && len(heard) == 1
			w.sim.Deliver(t.Context(), http.DefaultClient, "")
		}
		if !slices.Equal(heard, want) {
			t.Errorf("heard after %v; want %v", heard, want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t, nil)
	for name, change := range map[string]func(*unionpay.Config){
		"no gateway":            func(c *unionpay.Config) { c.Gateway = "" },
		"a back address":        func(c *unionpay.Config) { c.BackURL += "?a=b" },
		"a short merchant":      func(c *unionpay.Config) { c.MerID = "777" },
		"no terminal":           func(c *unionpay.Config) { c.TermID = "" },
		"no root":               func(c *unionpay.Config) { c.Roots = nil },
		"another's certificate": func(c *unionpay.Config) { c.Certificate = authority.Leaf },
		"no signer":             func(c *unionpay.Config) { c.Signer = nil },
		"no clock":              func(c *unionpay.Config) { c.Clock = nil },
	} {
		c := w.config
		change(&c)
		if _, err := unionpay.New(c); !errors.Is(err, unionpay.ErrConfig) {
			t.Errorf("%s: New = %v; want ErrConfig", name, err)
		}
	}
}

// FuzzParseBill holds that what is settled by the rows that are read is what they
// say is settled: amounts less fees.
func FuzzParseBill(f *testing.F) {
	drivertest.FuzzFiles(f)
	w := newWorld(f, nil)
	if _, err := w.provider.Submit(f.Context(), []driver.Debit{debit("order00001", 470)}); err != nil {
		f.Fatal(err)
	}
	w.set(start.Add(24 * time.Hour))
	day := citygate.Date{Year: 2026, Month: time.March, Day: 2}
	bill, err := w.provider.FetchBill(f.Context(), day)
	if err != nil {
		f.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(bill.Body), int64(len(bill.Body)))
	if err != nil {
		f.Fatal(err)
	}
	r, err := archive.File[0].Open()
	if err != nil {
		f.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(append(bytes.Clone(text), text...))
	f.Add(bytes.Replace(text, []byte("000000000470"), []byte("000000000471"), 1))
	f.Fuzz(func(t *testing.T, text []byte) {
		var packed bytes.Buffer
		z := zip.NewWriter(&packed)
		if w, err := z.Create("INN26030288ZM_" + merID); err == nil {
			_, _ = w.Write(text)
		}
		_ = z.Close()
		lines, err := w.provider.ParseBill(driver.Bill{Day: day, Body: packed.Bytes(), Currency: "CNY"})
		if err != nil {
			return
		}
		var sum, said int64
		for _, l := range lines {
			sum += l.Amount.Minor - l.Fee
			raw := bytes.Split(text, []byte("\n"))[l.Line-1]
			at := 0
			for _, width := range []int{3, 11, 11, 6, 10, 19, 12, 4, 2, 21, 2, 32, 2, 6, 10, 13} {
				at += width + 1
			}
			var n int64
			for _, c := range raw[at+1 : at+13] {
				n = n*10 + int64(c-'0')
			}
			if raw[at] == 'D' {
				n = -n
			}
			said += n
		}
		if sum != said {
			t.Errorf("rows of %d, which say %d is settled", sum, said)
		}
	})
}

// A payment by token: its answer repeats the token's field, which holds an & of its
// own, and what the merchant reserved for himself may too. All of it is under the
// signature.
func TestAnswersWithBracesAreRead(t *testing.T) {
	w := newWorld(t, func(_ *unionpaysim.Config, c *unionpay.Config) {
		c.Collect, c.TokenRequestor = unionpay.Token, "99988877766"
	})
	d := debit("tokenorder1", 470)
	r, err := w.provider.Submit(t.Context(), []driver.Debit{d})
	if err != nil || r[0].Outcome != driver.Accepted {
		t.Fatalf("Submit = %+v, %v; want accepted", r, err)
	}
	if q, err := w.provider.Query(t.Context(), ref(d)); err != nil || q.Outcome != driver.Succeeded {
		t.Errorf("Query = %+v, %v; want succeeded", q, err)
	}
	reserved := json.RawMessage(`{"orderId":"reserved001","txnTime":"20260302143000","txnAmt":"1","qrNo":"6220485073630469936","reqReserved":"[a=1&b={2}]"}`)
	if a, err := w.provider.Exec(t.Context(), "consume", reserved); err != nil || a.Fields["reqReserved"] != "[a=1&b={2}]" || a.Fields["respCode"] != "00" {
		t.Errorf("consume = %+v, %v", a, err)
	}
}

// What UnionPay says to another merchant, or of an order of another time, is no answer
// here, and nor is what it tells another merchant: all of it is signed alike.
func TestAnswersOfSomethingElse(t *testing.T) {
	const other = "777290058110098"
	w := newWorld(t, func(s *unionpaysim.Config, _ *unionpay.Config) {
		s.Merchants = append(s.Merchants, unionpaysim.Merchant{MerID: other, Cert: ownCert})
	})
	taken := 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, ack, err := w.provider.ParseNotify(r.Context(), driver.Notification{Method: r.Method, Target: r.RequestURI, Header: r.Header, Body: body})
		if err == nil {
			taken++
		}
		rw.WriteHeader(ack.Status)
	}))
	t.Cleanup(server.Close)
	config := w.config
	config.MerID, config.BackURL = other, server.URL
	theirs, err := unionpay.New(config)
	if err != nil {
		t.Fatal(err)
	}
	d := debit("order00001", 470)
	if _, err := theirs.Submit(t.Context(), []driver.Debit{d}); err != nil {
		t.Fatal(err)
	}
	if n := w.sim.Deliver(t.Context(), http.DefaultClient, ""); n != 0 || taken != 0 {
		t.Errorf("a notice for another merchant was taken")
	}
	var kept []byte
	keeping := func(c unionpay.Config) *unionpay.Provider {
		c.HTTP = doer(func(r *http.Request) (*http.Response, error) {
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return nil, err
			}
			if kept == nil {
				kept, err = io.ReadAll(resp.Body)
			}
			resp.Body = io.NopCloser(bytes.NewReader(kept))
			return resp, err
		})
		p, err := unionpay.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if r, err := keeping(config).Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded {
		t.Fatal(r, err)
	}
	if r, err := keeping(w.config).Query(t.Context(), ref(d)); err == nil {
		t.Errorf("the answer to another merchant: %+v", r)
	}
	later := ref(d)
	later.SubmittedAt = later.SubmittedAt.Add(time.Second)
	if r, err := keeping(config).Query(t.Context(), later); err == nil {
		t.Errorf("the answer of an order of another second: %+v", r)
	}
}
