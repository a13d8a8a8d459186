package gateway

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote/remoteproduct"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
)

// A wallet is a provider that shows cards.
type wallet struct {
	driver.Provider
	mu    sync.Mutex
	heard []driver.CardState
}

func (w *wallet) PushCard(_ context.Context, c driver.CardState) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, c)
	return nil
}

// told gives what was heard since, as "1 ann locked".
func (w *wallet) told() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.heard {
		shown := map[[2]bool]string{{false, false}: "enabled", {true, true}: "overdue", {true, false}: "revoked"}[[2]bool{c.Disabled, c.Overdue}]
		list = append(list, fmt.Sprintf("%s %s %s", c.CardRef, c.RiderRef, shown))
	}
	return list
}

// A program behind the HTTP provider protocol shows the bus's cards. A debt locks its
// rider's; the answer is lost, and the same state is sent again before what came since.
func TestAProgramShowsCards(t *testing.T) {
	o := open(t)
	o.onboard()
	own, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	far := &wallet{}
	a, contract := o.programOf(ed25519.PublicKey(own.Public), func(p driver.Provider) driver.Provider { far.Provider = p; return far })
	contract.Manifest.Secrets = nil
	line := &lossy{inner: a.server.Config.Handler, path: "/v1/card"}
	a.server.Config.Handler = line
	config, err := json.Marshal(remoteproduct.Contract{Contract: contract, Feeds: adapters.Feeds{LockCards: true}})
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/acme"), edge.PutContract{Adapter: "http", Config: config}, nil)
	ann := o.accountsOf("acme", "ann")[0]
	var card edge.Card
	o.send(http.MethodPost, busPath("wallet-cards"), map[string]any{"contract": "acme", "card": "1", "rider_ref": "ann"}, &card)
	tell := func(after time.Duration) {
		o.move(after)
		_ = o.tellWallets(t.Context(), bus) // what it could not is in the rows
	}
	want := func(what string, state string, told ...string) {
		t.Helper()
		if got := far.told(); !slices.Equal(got, told) {
			t.Errorf("%s: the wallet was told %q; want %q", what, got, told)
		}
		var c edge.Card
		o.send(http.MethodGet, busPath("wallet-cards/"+card.ID), nil, &c)
		if c.State != state {
			t.Errorf("%s: the card is %s for %q; want %s", what, c.State, c.Error, state)
		}
	}
	tell(0)
	want("added", "told", "1 ann enabled")
	line.lose = 1
	o.denies(ann, collect.DenyDeclined, true)
	tell(time.Second)
	want("she owes, and the answer was lost", "unknown", "1 ann enabled", "1 ann overdue")
	o.denies(ann, collect.DenyDeclined, false) // she pays meanwhile
	tell(61 * time.Second)
	tell(time.Second)
	want("she has paid", "told", "1 ann enabled", "1 ann overdue", "1 ann overdue", "1 ann enabled")
	if first, again := far.heard[1], far.heard[2]; !first.At.Equal(again.At) || !far.heard[3].At.After(again.At) {
		t.Errorf("states of %s, %s and %s; want the same again, and a newer one behind it", first.At, again.At, far.heard[3].At)
	}
	o.noSecretIsOut()
}
