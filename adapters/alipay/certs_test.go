package alipay_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
)

func platformKeys() []*rsa.PublicKey { return []*rsa.PublicKey{&platformKey.PublicKey} }

// certified is a world in certificate mode.
func certified(t *testing.T, change func(*alipay.Config)) (*world, *alipaysim.Authority) {
	t.Helper()
	keys(t)
	w := &world{clock: &clock{at: start}, issuer: newIssuer()}
	authority, err := alipaysim.NewAuthority(w.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	app, err := authority.Issue("Harbour Metro", &merchantKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sn, err := alipay.CertSN(app)
	if err != nil {
		t.Fatal(err)
	}
	w.sim, err = alipaysim.Start(alipaysim.Config{
		Clock: w.clock.now, Key: platformKey, FindOffline: true, Authority: authority,
		Merchants: []alipaysim.Merchant{{AppID: appID, Account: account, Key: &merchantKey.PublicKey, CertSN: sn}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sim.Close)
	w.provider = w.contract(t, func(c *alipay.Config) {
		c.PlatformKeys = nil
		c.Certificates = &alipay.Certificates{App: app, Platform: w.sim.Certificate(), Roots: authority.Roots()}
		if change != nil {
			change(c)
		}
	})
	return w, authority
}

func pays(t *testing.T, w *world, id string) error {
	t.Helper()
	d := w.debit(t, id, 470)
	d.Evidence = nil
	r, err := one(t, w.provider, d)
	if err == nil && r.Outcome != driver.Succeeded {
		t.Errorf("%s is %+v", id, r)
	}
	return err
}

func TestCertificateMode(t *testing.T) {
	w, _ := certified(t, nil)
	if err := pays(t, w, "a"); err != nil {
		t.Error(err)
	}
	if w.paid()["a"] != 470 {
		t.Errorf("the book has %v", w.paid())
	}
}

// The platform changes its certificate at noon and nobody stops: the new one is
// fetched, once, and believed because the roots vouch for it.
func TestANewCertificateIsFetched(t *testing.T) {
	w, _ := certified(t, nil)
	if err := pays(t, w, "before"); err != nil {
		t.Fatal(err)
	}
	if err := w.sim.Rotate(otherKey); err != nil {
		t.Fatal(err)
	}
	if err := pays(t, w, "after"); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
	if w.paid()["after"] != 470 {
		t.Errorf("the book has %v", w.paid())
	}
}

// Somebody between us and the platform who has certificates of another root
// proves nothing.
func TestACertificateOfAnotherRootIsRefused(t *testing.T) {
	w, _ := certified(t, nil)
	foreign, err := alipaysim.NewAuthority(w.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := foreign.Issue("支付宝(中国)网络技术有限公司", &otherKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	impostor, err := alipaysim.Start(alipaysim.Config{
		Clock: w.clock.now, Key: otherKey, FindOffline: true, Authority: foreign, Certificate: theirs,
		Merchants: []alipaysim.Merchant{{AppID: appID, Account: account, Key: &merchantKey.PublicKey}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(impostor.Close)
	honest := w.sim
	w.sim = impostor
	authority, err := alipaysim.NewAuthority(w.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	app, err := authority.Issue("Harbour Metro", &merchantKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	platform, err := authority.Issue("platform", honest.Public())
	if err != nil {
		t.Fatal(err)
	}
	w.provider = w.contract(t, func(c *alipay.Config) {
		c.PlatformKeys = nil
		c.Certificates = &alipay.Certificates{App: app, Platform: platform, Roots: authority.Roots()}
	})
	if err := pays(t, w, "x"); err == nil || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("an answer under another root: %v; want an open outcome", err)
	}
}

// A download that brings another certificate, although the same roots vouch for it, is
// not taken for the one that was asked for, and the right one is a minute later.
func TestADownloadedCertificateIsTheOneAskedFor(t *testing.T) {
	wrong := true
	var app []byte
	w, _ := certified(t, func(c *alipay.Config) {
		app = c.Certificates.App
		c.HTTP = doer(func(r *http.Request) (*http.Response, error) {
			resp, err := http.DefaultClient.Do(r)
			if err != nil || !wrong || !strings.Contains(r.URL.RawQuery, "alipaycert.download") {
				return resp, err
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return nil, err
			}
			other := regexp.MustCompile(`"alipay_cert_content":"[^"]*"`).ReplaceAll(body, []byte(`"alipay_cert_content":"`+base64.StdEncoding.EncodeToString(app)+`"`))
			if bytes.Equal(other, body) {
				t.Errorf("nothing was downloaded: %s", body)
			}
			resp.Body = io.NopCloser(bytes.NewReader(other))
			return resp, nil
		})
	})
	if err := w.sim.Rotate(otherKey); err != nil {
		t.Fatal(err)
	}
	if err := pays(t, w, "a"); err == nil || !strings.Contains(err.Error(), "another certificate than the one that was asked for") {
		t.Errorf("with another certificate: %v", err)
	}
	wrong = false
	w.clock.set(start.Add(2 * time.Minute))
	if err := pays(t, w, "b"); err != nil || w.paid()["b"] != 470 {
		t.Errorf("with the one that was asked for: %v, %v", err, w.paid())
	}
}

// Names of certificates come with answers that nobody proved yet: inventing them
// must not make us ask for certificates all the time.
func TestUnknownNamesDoNotStormThePlatform(t *testing.T) {
	w, _ := certified(t, nil)
	if err := w.sim.Rotate(otherKey); err != nil {
		t.Fatal(err)
	}
	w.clock.set(start.Add(time.Second))
	if err := pays(t, w, "first"); err != nil {
		t.Fatal(err)
	}
	third := newKey(t)
	if err := w.sim.Rotate(third); err != nil {
		t.Fatal(err)
	}
	if err := pays(t, w, "soon"); err == nil {
		t.Error("a second unknown certificate was fetched within a minute")
	}
	w.clock.set(start.Add(2 * time.Minute))
	d := w.debit(t, "soon", 470)
	if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("Query a minute later = %+v, %v; want succeeded", r, err)
	}
}

func TestCertificateConfigIsChecked(t *testing.T) {
	w, authority := certified(t, nil)
	app, err := authority.Issue("somebody else", &otherKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	own, err := authority.Issue("Harbour Metro", &merchantKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := alipaysim.NewAuthority(w.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]alipay.Certificates{
		"of another's key":      {App: app, Platform: w.sim.Certificate(), Roots: authority.Roots()},
		"no roots":              {App: own, Platform: w.sim.Certificate()},
		"no platform":           {App: own, Roots: authority.Roots()},
		"under another root":    {App: own, Platform: w.sim.Certificate(), Roots: foreign.Roots()},
		"not a certificate":     {App: []byte("-----BEGIN"), Platform: w.sim.Certificate(), Roots: authority.Roots()},
		"damaged certificate":   {App: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1, 2}}), Platform: w.sim.Certificate(), Roots: authority.Roots()},
		"roots that are no PEM": {App: own, Platform: w.sim.Certificate(), Roots: []byte("x")},
	} {
		_, err := alipay.New(alipay.Config{
			Gateway: w.sim.URL(), AppID: appID, Account: account, Signer: merchantKey, Certificates: &c,
			HTTP: http.DefaultClient, Clock: w.clock.now,
		})
		if !errors.Is(err, alipay.ErrConfig) {
			t.Errorf("%s: %v; want ErrConfig", name, err)
		}
	}
	sn, err := alipay.RootCertSN(authority.Roots())
	if err != nil || strings.Contains(sn, "_") || len(sn) != 32 {
		t.Errorf("RootCertSN = %q, %v; want the one root of RSA", sn, err)
	}
}

func TestCardsListsAndRecords(t *testing.T) {
	w := newWorld(t, nil)
	p := w.contract(t, func(c *alipay.Config) { c.CardType = "T0370301" })
	w.provider = p
	ctx := t.Context()
	card := driver.CardState{CardRef: "3700001", RiderRef: rider, Data: []byte{0xca, 0xfe}, Disabled: true, Overdue: true, Tip: "欠费", At: start}
	if err := p.PushCard(ctx, card); err != nil {
		t.Fatal(err)
	}
	late := card
	late.Disabled, late.At = false, start.Add(-time.Minute) // overtaken on the way
	if err := p.PushCard(ctx, late); err != nil {
		t.Fatal(err)
	}
	cards := w.sim.Cards(appID)
	if len(cards) != 1 || !cards[0].Disabled || cards[0].DisabledCode != "CARD_OVERDUE" || cards[0].CardData != "cafe" {
		t.Errorf("the wallet has %+v", cards)
	}
	for _, c := range []struct {
		change driver.DenyChange
		want   bool
	}{{driver.DenyChange{OurID: "d1", RiderRef: rider, Denied: true}, true}, {driver.DenyChange{OurID: "d2", RiderRef: rider}, false}, {driver.DenyChange{OurID: "d1", RiderRef: rider, Denied: true}, false}} {
		if err := p.PushDeny(ctx, c.change); err != nil || w.sim.Refused(appID, rider) != c.want {
			t.Errorf("after %s: %v, refused %t", c.change.OurID, err, w.sim.Refused(appID, rider))
		}
	}
	if v, _, err := p.CheckEvidence(ctx, []byte(w.sim.Record(rider))); err != nil || v != driver.EvidenceGenuine {
		t.Errorf("a genuine record is %q, %v", v, err)
	}
	if v, why, err := p.CheckEvidence(ctx, []byte("AR1|2088|00")); err != nil || v != driver.EvidenceRefused || why == "" {
		t.Errorf("a forged record is %q, %v", v, err)
	}
	if _, _, err := p.CheckEvidence(ctx, nil); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("no record: %v", err)
	}
}

func TestTickets(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	price := citygate.Money{Minor: 300, Currency: "CNY"}
	asked := alipay.Ticket{City: "440100", TradeNo: "20260302220000000001", From: "公园前", To: "体育西路", Quantity: 2, Price: price}
	made, err := w.provider.MakeTicket(ctx, asked)
	again, err2 := w.provider.MakeTicket(ctx, asked)
	if err != nil || err2 != nil || made.TicketNo == "" || made.TicketNo != again.TicketNo || made.Total.Minor != 600 || made.Expires.IsZero() {
		t.Fatalf("MakeTicket = %+v, %v, then %+v, %v", made, err, again, err2)
	}
	status := func(want string) {
		t.Helper()
		got, err := w.provider.QueryTickets(ctx, "440100", made.TradeNo, "unknown")
		if err != nil || len(got) != 1 || got[0].Status != want || got[0].Total.Minor != 600 || got[0].Quantity != 2 {
			t.Errorf("QueryTickets = %+v, %v; want %s", got, err, want)
		}
	}
	status("INIT")
	if err := w.provider.UseTicket(ctx, "use1", made, start); err != nil {
		t.Error(err)
	}
	status("USED")
	if err := w.provider.RefundTicket(ctx, made); err == nil {
		t.Error("a used ticket was given back")
	}
	second := asked
	second.TradeNo = "20260302220000000002"
	if second, err = w.provider.MakeTicket(ctx, second); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := errors.Join(w.provider.CancelTicket(ctx, second, start)); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := w.provider.RefundTicket(ctx, second); err != nil {
			t.Error(err)
		}
	}
	if from, err := w.provider.Stations(ctx, "440100"); err != nil || len(from) != 2 {
		t.Errorf("Stations = %v, %v", from, err)
	}
	if _, err := w.provider.MakeTicket(ctx, alipay.Ticket{City: "440100", TradeNo: "t", Quantity: 0, Price: price}); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("no ticket: %v", err)
	}
}

func TestAbilitiesFollowTheContract(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		change func(*alipay.Config)
		want   []driver.Capability
		wantNo []driver.Capability
	}{
		"offline":     {func(*alipay.Config) {}, []driver.Capability{driver.CapKeyFeed, driver.CapDenyFeed, driver.CapEvidence, driver.CapRefund, driver.CapBill}, []driver.Capability{driver.CapReverse, driver.CapNotify, driver.CapContract, driver.CapCardIssue, driver.CapAuthorize}},
		"withholding": {func(c *alipay.Config) { c.Collect, c.NotifyURL = alipay.Withholding, "https://city.example/n" }, []driver.Capability{driver.CapReverse, driver.CapNotify, driver.CapContract}, []driver.Capability{driver.CapKeyFeed, driver.CapDenyFeed}},
		"barcode":     {func(c *alipay.Config) { c.Collect = alipay.Barcode }, []driver.Capability{driver.CapReverse}, []driver.Capability{driver.CapNotify, driver.CapContract}},
	} {
		has := map[driver.Capability]bool{}
		for _, capability := range driver.Capabilities(w.contract(t, c.change)) {
			has[capability] = true
		}
		for _, want := range c.want {
			if !has[want] {
				t.Errorf("%s cannot %s", name, want)
			}
		}
		for _, no := range c.wantNo {
			if has[no] {
				t.Errorf("%s can %s", name, no)
			}
		}
	}
}
