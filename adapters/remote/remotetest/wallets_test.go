package remotetest

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
)

func (p *product) PushCard(_ context.Context, c driver.CardState) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.wallets[c.CardRef]; !ok || !c.At.Before(old.At) {
		p.wallets[c.CardRef] = c
	}
	return nil
}

func (p *product) Cards() ([]driver.CardState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.wallets)), nil
}

// A card comes out as it went in, and what a program says of another one is no word that
// it is shown.
func TestCardsTravel(t *testing.T) {
	p := newProduct()
	card := driver.CardState{
		CardRef: "0370001", RiderRef: "ann", Data: []byte{0, 1, 0xff}, Balance: citygate.Money{Minor: 1230, Currency: "HKD"}, Disabled: true, Overdue: true,
		Tip: "a ride is not paid", At: time.Unix(1_800_000_000, 123_456_789).UTC(),
	}
	issuer, ok := adapters.New(open(t, serve(t, p, nil), http.DefaultClient), time.Now).CardIssuer()
	if !ok {
		t.Fatal("no CardIssuer")
	}
	if err := issuer.PushCard(t.Context(), card); err != nil {
		t.Fatal(err)
	}
	if got := p.wallets[card.CardRef]; !reflect.DeepEqual(got, card) {
		t.Errorf("the program was given %+v; want %+v", got, card)
	}
	for _, text := range []string{`{"card":"0370002"}`, `{}`, `[]`} {
		other, _ := adapters.New(open(t, saying(t, "/v1/card", text), http.DefaultClient), time.Now).CardIssuer()
		if err := other.PushCard(t.Context(), card); !errors.Is(err, adapters.ErrOpen) {
			t.Errorf("%s is heard as %v", text, err)
		}
	}
	silent, _ := adapters.New(open(t, serve(t, p, nil), nobody{t}), time.Now).CardIssuer()
	card.RiderRef = ""
	if err := silent.PushCard(t.Context(), card); !errors.Is(err, adapters.ErrNotSent) {
		t.Errorf("nobody's card: %v", err)
	}
}
