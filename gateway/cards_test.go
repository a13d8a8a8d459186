package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
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

// A debt locks the card of its rider by itself and its payment lets it go, where the
// contract says so. A lost answer is asked for again before anything later is told, and
// what was decided meanwhile follows it; a card that people locked stays so. The newest
// state wins at the wallet, so that a clock that was set back undoes nothing.
func TestDebtsLockCards(t *testing.T) {
	o := open(t)
	o.onboard()
	lost := &losing{text: "virtualcard.send"}
	o.HTTP = lost
	sim, der := o.simulatedAlipay()
	for name, locks := range map[string]bool{"cards": true, "plain": false} {
		raw, err := json.Marshal(alipayproduct.Contract{Gateway: sim.URL(), AppID: "2026", Account: "2088", PlatformKeys: [][]byte{der}, CardType: "T0370301", Feeds: adapters.Feeds{LockCards: locks}})
		o.must(err)
		o.send(http.MethodPut, busPath("contracts/"+name), map[string]any{"adapter": "alipay", "fee_ppm": 0, "config": json.RawMessage(raw)}, nil)
	}
	ann, ben := o.accountsOf("cards", "2088ann")[0], o.accountsOf("plain", "2088ben")[0]
	var card edge.Card
	for range 2 {
		o.send(http.MethodPost, busPath("wallet-cards"), map[string]any{"contract": "plain", "card": "2", "rider_ref": "2088ben"}, nil)
		o.send(http.MethodPost, busPath("wallet-cards"), map[string]any{"contract": "cards", "card": "1", "rider_ref": "2088ann"}, &card)
	}
	if card.Account != ann.Text("acc_") || len(list[edge.Card](o, "wallet-cards")) != 2 {
		t.Fatalf("added: %+v", card)
	}
	tell := func(after time.Duration) {
		o.move(after)
		_ = o.tellWallets(t.Context(), bus) // what it could not is in the rows
	}
	shows := func(what string, want string) {
		t.Helper()
		var got []string
		for _, c := range sim.Cards("2026") {
			got = append(got, fmt.Sprintf("%s %s", c.CardNo, c.DisabledCode))
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%s: the wallets show %q; want %q", what, got, want)
		}
	}
	state := func() string {
		var c edge.Card
		o.send(http.MethodGet, busPath("wallet-cards/"+card.ID), nil, &c)
		return c.State + " " + c.Told
	}
	tell(0)
	shows("told of", "1 ,2 ")
	lost.lose.Store(1)
	o.denies(ann, collect.DenyDeclined, true)
	o.denies(ben, collect.DenyDeclined, true)
	tell(0)
	shows("she owes", "1 CARD_OVERDUE,2 ")
	if s := state(); s != "unknown enabled" {
		t.Errorf("the answer was lost: %s", s)
	}
	o.denies(ann, collect.DenyDeclined, false) // she pays within the second
	tell(0)
	shows("within the minute", "1 CARD_OVERDUE,2 ")
	tell(61 * time.Second)
	tell(0)
	shows("she has paid", "1 ,2 ")
	o.denies(ann, "stolen", true)
	tell(time.Second)
	shows("stolen is no debt", "1 ,2 ")

	o.move(-30 * time.Second)
	o.send(http.MethodPost, busPath("wallet-cards/"+card.ID+"/lock"), map[string]any{"why": "revoked", "tip": "given back"}, nil)
	tell(0)
	shows("given up, the clock set back", "1 CARD_REVOKING,2 ")
	o.denies(ann, collect.DenyDeclined, true)
	o.denies(ann, collect.DenyDeclined, false)
	tell(time.Hour)
	shows("people locked it", "1 CARD_REVOKING,2 ")
	o.send(http.MethodPost, busPath("wallet-cards/"+card.ID+"/unlock"), nil, nil)
	tell(time.Second)
	shows("unlocked", "1 ,2 ")
	if s := state(); s != "told enabled" {
		t.Errorf("in the end: %s", s)
	}

	// The answer to a lock is lost, and the next attempt certainly did not arrive: what is so
	// by then is told, though it is what the wallet confirmed last. Once is enough.
	o.denies(ann, collect.DenyDeclined, true)
	lost.lose.Store(1)
	tell(time.Second)
	lost.refuse.Store(1)
	tell(61 * time.Second)
	shows("she owes", "1 CARD_OVERDUE,2 ")
	if s := state(); s != "refused enabled" {
		t.Errorf("certainly not taken: %s", s)
	}
	o.denies(ann, collect.DenyDeclined, false)
	tell(time.Hour)
	shows("she has paid", "1 ,2 ")
	before := asJSON(t, sim.Cards("2026"))
	o.denies(ann, "lost", true)
	o.denies(ann, "lost", false)
	lost.lose.Store(1)
	tell(time.Second)
	if s := state(); s != "told enabled" || before != asJSON(t, sim.Cards("2026")) {
		t.Errorf("told once more: %s", s)
	}
	lost.lose.Store(0)

	// A card is noted before its rider has an account, which locks it once there is one.
	// One that was given up, and whose rider is erased, is nobody's to unlock.
	var early edge.Card
	o.send(http.MethodPost, busPath("wallet-cards"), map[string]any{"contract": "cards", "card": "3", "rider_ref": "2088cat"}, &early)
	if early.Account != "" {
		t.Errorf("noted early: %+v", early)
	}
	cat := o.accountsOf("cards", "2088cat")[0]
	o.denies(cat, collect.DenyDeclined, true)
	tell(time.Second)
	shows("noted early", "1 ,2 ,3 CARD_OVERDUE")
	o.owner.Exec(bus, `UPDATE wallet_cards SET rider_ref = '', account_id = NULL, locked = 'revoked' WHERE tenant_id = $1 AND card_ref = '3'`, bus)
	if got := o.refused(http.MethodPost, busPath("wallet-cards/"+early.ID+"/unlock"), nil); got != credential.ErrCard.Name {
		t.Errorf("erased: %s", got)
	}

	if got := o.refused(http.MethodPost, busPath("wallet-cards"), map[string]any{"contract": "cards", "card": "1", "rider_ref": "2088ben"}); got != credential.ErrCard.Name {
		t.Errorf("another rider's card: %s", got)
	}
	if got := o.refused(http.MethodPost, busPath("wallet-cards"), map[string]any{"contract": "sandbox", "card": "3", "rider_ref": "ann"}); got != ErrCard.Name {
		t.Errorf("no wallet: %s", got)
	}
	if got := o.refused(http.MethodGet, busPath("wallet-cards/crd_"+strings.Repeat("0", 32)), nil); got != credential.ErrNoCard.Name {
		t.Errorf("nobody's: %s", got)
	}
}
