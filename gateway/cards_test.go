package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A card in a rider's wallet is locked while he owes, and enabled again; the newest
// state stands. Without an answer nobody says that it was done.
func TestWalletCardIsLockedWhileItsRiderOwes(t *testing.T) {
	o := open(t)
	o.onboard()
	sim, der := o.simulatedAlipay()
	for name, cardType := range map[string]string{"cards": "T0370301", "none": ""} {
		raw, err := json.Marshal(alipayproduct.Contract{Gateway: sim.URL(), AppID: "2026", Account: "2088", PlatformKeys: [][]byte{der}, CardType: cardType})
		o.must(err)
		o.send(http.MethodPut, busPath("contracts/"+name), map[string]any{"adapter": "alipay", "fee_ppm": 0, "config": json.RawMessage(raw)}, nil)
	}
	card := driver.CardState{CardRef: "0370001", RiderRef: "2088ann", Disabled: true, Overdue: true, Tip: "a ride is not paid"}
	push := func(contract string, c driver.CardState) error {
		return o.PushCard(t.Context(), actor, bus, contract, c)
	}
	o.must(push("cards", card))
	if got := sim.Cards("2026"); len(got) != 1 || !got[0].Disabled || got[0].DisabledCode != "CARD_OVERDUE" || got[0].UserID != "2088ann" {
		t.Errorf("locked: %+v", got)
	}
	o.move(time.Minute)
	o.must(push("cards", driver.CardState{CardRef: card.CardRef, RiderRef: card.RiderRef}))
	if got := sim.Cards("2026"); len(got) != 1 || got[0].Disabled {
		t.Errorf("enabled again: %+v", got)
	}
	for what, err := range map[string]error{
		"no card": push("cards", driver.CardState{RiderRef: "2088ann"}), "no wallet": push("none", card), "owes and rides": push("cards", driver.CardState{CardRef: "1", RiderRef: "2", Overdue: true}),
	} {
		if !errors.Is(err, ErrCard) {
			t.Errorf("%s: %v; want ErrCard", what, err)
		}
	}
	sim.Close()
	if err := push("cards", card); !errors.Is(err, adapters.ErrNotSent) && !errors.Is(err, adapters.ErrOpen) {
		t.Errorf("nobody is there: %v", err)
	}
}
