package remotetest

import (
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// Every field of a step about a card comes to the program as it was asked for, and what
// the program says of it comes back.
func TestStepsOfCardsTravel(t *testing.T) {
	p := newProduct()
	d := open(t, serve(t, p, nil), http.DefaultClient)
	by, ok := driver.As[driver.Authorizer](driver.Provider(d))
	if !ok {
		t.Fatal("no Authorizer")
	}
	ctx, at := t.Context(), time.Unix(1_800_000_000, 0).UTC()
	hkd := func(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "HKD"} }
	hold := driver.Authorization{OurID: "h1", Tap: driver.CardTap{Token: toyCard, Chip: []byte{1, 0xff}, Terminal: "gate-7", At: at}, Amount: hkd(470)}
	stranger := hold
	stranger.OurID, stranger.Tap.Token = "h2", "tok_nobody"
	of := driver.Ref{OurID: "h1", ProviderRef: "p", SubmittedAt: at, Amount: hkd(470)}
	take := driver.Authorization{OurID: "c1", Amount: hkd(400), Of: of}
	insured := driver.Authorization{OurID: "f1", Tap: hold.Tap, Amount: hkd(470), Of: driver.Ref{OurID: "h2", Amount: hkd(470)}, FirstRide: true}
	for _, c := range []struct {
		do   func(driver.Authorization) (driver.AuthorizationResult, error)
		a    driver.Authorization
		want driver.AuthorizationResult
	}{
		{func(a driver.Authorization) (driver.AuthorizationResult, error) { return by.Verify(ctx, a) }, driver.Authorization{OurID: "v1", Tap: hold.Tap},
			driver.AuthorizationResult{Result: driver.Result{OurID: "v1", Outcome: driver.Succeeded}}},
		{func(a driver.Authorization) (driver.AuthorizationResult, error) { return by.Authorize(ctx, a) }, hold,
			driver.AuthorizationResult{Result: driver.Result{OurID: "h1", Outcome: driver.Succeeded}}},
		{func(a driver.Authorization) (driver.AuthorizationResult, error) { return by.Authorize(ctx, a) }, stranger,
			driver.AuthorizationResult{Result: driver.Result{OurID: "h2", Outcome: driver.Declined}, Liability: driver.LiabilityOperator, FirstRide: true}},
		{func(a driver.Authorization) (driver.AuthorizationResult, error) { return by.Capture(ctx, a) }, take,
			driver.AuthorizationResult{Result: driver.Result{OurID: "c1", Outcome: driver.Succeeded}}},
		{func(a driver.Authorization) (driver.AuthorizationResult, error) { return by.Capture(ctx, a) }, insured,
			driver.AuthorizationResult{Result: driver.Result{OurID: "f1", Outcome: driver.Succeeded}}},
		{func(a driver.Authorization) (driver.AuthorizationResult, error) { return by.Void(ctx, a) }, driver.Authorization{OurID: "l1", Of: of},
			driver.AuthorizationResult{Result: driver.Result{OurID: "l1", Outcome: driver.Declined}, Liability: driver.LiabilityOperator}},
	} {
		got, err := c.do(c.a)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.a.OurID, got, err, c.want)
		}
		if !reflect.DeepEqual(p.cards.last, c.a) {
			t.Errorf("%s: the program was asked %+v; want %+v", c.a.OurID, p.cards.last, c.a)
		}
	}
}

// What the manifest does not allow is never sent, and an answer about another step, device
// or debit is none.
func TestStepsOfCardsAreHeldToTheManifest(t *testing.T) {
	d := open(t, serve(t, newProduct(), nil), nobody{t})
	hkd := func(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "HKD"} }
	of := driver.Ref{OurID: "h1", Amount: hkd(470)}
	for name, a := range map[string]driver.Authorization{
		"more than was held":      {OurID: "c1", Amount: hkd(471), Of: of},
		"another currency":        {OurID: "c1", Amount: citygate.Money{Minor: 470, Currency: "MOP"}, Of: of},
		"the id of the hold":      {OurID: "h1", Amount: hkd(470), Of: of},
		"nothing":                 {OurID: "c1", Amount: hkd(0), Of: of},
		"less than nothing":       {OurID: "c1", Amount: hkd(-1), Of: of},
		"first ride, other money": {OurID: "c1", Amount: citygate.Money{Minor: 470, Currency: "MOP"}, Of: of, FirstRide: true},
		"a first ride, likewise":  {OurID: "c1", Amount: hkd(0), Of: of, FirstRide: true},
	} {
		if r, err := d.Capture(t.Context(), a); !errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("%s: %+v, %v; want ErrNotPerformed", name, r, err)
		}
	}
	over := newProduct()
	over.limits = func(l *driver.Limits) { l.OverCapture, l.FirstRide = true, false }
	d = open(t, serve(t, over, nil), nobody{t})
	for name, a := range map[string]driver.Authorization{
		"another currency, though more may be taken": {OurID: "c1", Amount: citygate.Money{Minor: 900, Currency: "MOP"}, Of: of},
		"a first ride, though none is insured":       {OurID: "c1", Amount: hkd(470), Of: of, FirstRide: true},
	} {
		if r, err := d.Capture(t.Context(), a); !errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("%s: %+v, %v; want ErrNotPerformed", name, r, err)
		}
	}
	if _, err := d.Authorize(t.Context(), driver.Authorization{OurID: "h1"}); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("a hold of nothing: %v; want ErrNotPerformed", err)
	}
	if _, err := d.CertifyDevice(t.Context(), "v1", nil); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("a device without a key: %v; want ErrNotPerformed", err)
	}
	a := driver.Authorization{OurID: "h1", Amount: hkd(470)}
	other := open(t, saying(t, "/v1/authorize", `{"result":{"id":"h2","outcome":"succeeded"},"liability":"unknown"}`), http.DefaultClient)
	if r, err := other.Authorize(t.Context(), a); err == nil || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("an answer about another hold: %+v, %v", r, err)
	}
	for _, text := range []string{`{"id":"v2","certificate":"AAAA"}`, `{"id":"v1","certificate":""}`} {
		if c, err := open(t, saying(t, "/v1/device", text), http.DefaultClient).CertifyDevice(t.Context(), "v1", []byte("k")); err == nil {
			t.Errorf("%s: %x", text, c)
		}
	}
	if err := open(t, saying(t, "/v1/arrears", `{"id":"d2"}`), http.DefaultClient).SyncArrear(t.Context(), driver.Ref{OurID: "d1"}); err == nil {
		t.Error("an answer about another debt is taken")
	}
}

func TestDevicesAndArrearsTravel(t *testing.T) {
	p := newProduct()
	d := open(t, serve(t, p, nil), http.DefaultClient)
	want, _ := p.CertifyDevice(t.Context(), "v1", []byte("a key"))
	if got, err := d.CertifyDevice(t.Context(), "v1", []byte("a key")); err != nil || string(got) != string(want) {
		t.Errorf("CertifyDevice = %x, %v; want %x", got, err, want)
	}
	r := driver.Ref{OurID: "d1", ProviderRef: "p1", SubmittedAt: time.Unix(1_800_000_000, 0).UTC(), Amount: citygate.Money{Minor: 470, Currency: "HKD"}}
	if err := d.SyncArrear(t.Context(), r); err != nil || len(p.cards.synced) != 1 || p.cards.synced[0] != r {
		t.Errorf("SyncArrear: %v; the program was told %+v", err, p.cards.synced)
	}
}
