package gateway

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A locked product takes one secret at a time, and notes who came with which.
type locked struct {
	*sandbox.Provider
	now citygate.Clock

	mu     sync.Mutex
	takes  string // the only secret that is taken
	to     string // one it may come to take
	once   bool   // it takes to from the first call that has it, and what it took before no more
	calls  []carried
	made   map[string]int // Submits of each debit
	during func()         // done in the next Submit, whose answer is then lost
}

type carried struct {
	at     time.Time
	secret string
	taken  bool
}

// call takes a call, or refuses it before anything is done.
func (l *locked) call(secret string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.once && secret == l.to {
		l.takes, l.once = l.to, false
	}
	taken := secret == l.takes
	l.calls = append(l.calls, carried{l.now(), secret, taken})
	if !taken {
		return errors.New("another secret")
	}
	return nil
}

// Submit counts, and forgets to answer where something happens meanwhile.
func (l *locked) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	l.mu.Lock()
	for _, d := range debits {
		l.made[d.OurID]++
	}
	during := l.during
	l.during = nil
	l.mu.Unlock()
	results, err := l.Provider.Submit(ctx, debits)
	if during != nil {
		during()
		return nil, errors.New("the answer is lost")
	}
	return results, err
}

// change has the product take another secret: from the first call that has it, or
// at once.
func (l *locked) change(to string, once bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to, l.once = to, once
	if !once {
		l.takes = to
	}
}

func (l *locked) came() []carried { l.mu.Lock(); defer l.mu.Unlock(); return slices.Clone(l.calls) }

// A contract's secret is changed while its charges are being made: none is declined,
// given up or made twice, no process starts anew, and 30 seconds after the tenant's
// store has the new one no call carries the old one. It does not matter whether the
// provider goes over to it with the first call that has it, or at once, so that
// calls are refused until the gateway has heard, with an answer that is lost in
// the middle; nor whether this process was told of the new one or another was.
func TestASecretChangesWhileChargesRun(t *testing.T) {
	o := open(t)
	o.Collect.AmountLimit = price // every ride is collected at once
	o.onboard()
	own, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	l := &locked{now: o.now, takes: "the first secret", made: map[string]int{}}
	a, contract := o.programOf(ed25519.PublicKey(own.Public), func(p driver.Provider) driver.Provider {
		l.Provider, _ = p.(*sandbox.Provider)
		return l
	})
	a.takes = l.call
	config, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/acme"), edge.PutContract{Adapter: "http", FeePPM: 6000, Config: config}, nil)
	byAPI := func(value string) {
		o.send(http.MethodPut, busPath("contracts/acme/secrets/api-key"), map[string]any{"value": base64.StdEncoding.EncodeToString([]byte(value))}, nil)
	}
	elsewhere := func(value string, replaces int) { // by another process, of which this one hears nothing
		version, err := o.Secrets.Put(context.WithoutCancel(t.Context()), bus, collect.SecretName("acme", "api-key"), citygate.NewSecret([]byte(value)), replaces)
		if err == nil {
			err = o.DB.InTenant(context.WithoutCancel(t.Context()), bus, func(tx *pg.Tx) error {
				return collect.NoteSecret(t.Context(), tx, actor, "acme", "api-key", version)
			})
		}
		if err != nil {
			t.Error(err)
		}
	}
	byAPI("the first secret")
	v, rides := o.validator(), 0
	ride := func() {
		t.Helper()
		rides++
		device := fmt.Sprintf("phone %d", rides)
		var answer struct {
			Issued []edge.IssuedCredential `json:"issued"`
		}
		o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
			RiderRef: device, Contract: "acme", DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
		}}}, &answer)
		batch := o.board(v, answer.Issued[0].Credential, device)
		o.upload(batch)
		parsed, err := tap.ParseBatch(batch)
		o.must(err)
		o.must(v.Ack(parsed.Hash))
		o.settleDown()
	}
	paid := func() (n int) {
		for _, c := range list[edge.Charge](o, "charges") {
			if c.State == "declined" || c.State == "moved" || c.Attempt > 1 {
				t.Errorf("charge %s is %s at attempt %d for %q", c.OurID, c.State, c.Attempt, c.Reason)
			}
			if c.State == "succeeded" {
				n++
			}
		}
		return n
	}
	// settled has rides go on every ten seconds for a minute and gives what was refused.
	settled := func(what, secret string, since time.Time) (refused int) {
		t.Helper()
		from := len(l.came())
		for range 6 {
			o.move(10 * time.Second)
			ride()
		}
		for range 12 { // a provider that refused is tried again in half a minute
			if paid() == rides {
				break
			}
			o.move(10 * time.Second)
			o.settleDown()
		}
		if got := paid(); got != rides {
			t.Errorf("%s: %d of %d rides are paid", what, got, rides)
		}
		var news int
		for _, c := range l.came()[from:] {
			switch {
			case c.secret == secret:
				news++
			case !c.at.Before(since.Add(recheck)):
				t.Errorf("%s: a call carries %q %s after there was a new one", what, c.secret, c.at.Sub(since))
			}
			if !c.taken {
				refused++
			}
		}
		if news == 0 {
			t.Errorf("%s: no call carries the new one", what)
		}
		return refused
	}
	ride()
	if paid() != 1 {
		t.Fatal("the first ride is not paid")
	}

	l.change("the second secret", true)
	elsewhere("the second secret", 1)
	if n := settled("from the first call that has it", "the second secret", o.now()); n != 0 {
		t.Errorf("%d calls were refused by a provider that takes the old one until it hears the new one", n)
	}

	at := o.now()
	l.mu.Lock()
	l.during = func() {
		l.change("the third secret", false)
		elsewhere("the third secret", 2)
	}
	l.mu.Unlock()
	ride() // its answer is lost, and the question after it is refused
	if n := settled("at once, in the middle of a charge", "the third secret", at); n == 0 {
		t.Error("no call was refused: nothing was asked between the provider's change and ours")
	}

	l.change("the fourth secret", false)
	byAPI("the fourth secret")
	if n := settled("told to this process", "the fourth secret", o.now().Add(-recheck)); n != 0 {
		t.Errorf("%d calls carried the old one after this process was given the new one", n)
	}
	for id, n := range l.made {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
	entries := l.Book()
	if len(entries) != rides || len(l.made) != rides {
		t.Errorf("%d rides, %d debits sent, %d in the provider's book", rides, len(l.made), len(entries))
	}
	o.booksHold()
	o.noSecretIsOut()
}
