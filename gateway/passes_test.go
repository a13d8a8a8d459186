package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/rotating"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/keys"
)

// closedStore is a secret store that is away, or sealed.
type closedStore struct{ keys.Secrets }

func (closedStore) Get(context.Context, citygate.TenantID, string) (citygate.Secret, int, error) {
	return citygate.Secret{}, 0, keys.ErrUnavailable.Explain("sealed")
}

// rotate gives what a pass of a master shows at an instant.
func rotate(m *rotating.Master, pass string, at time.Time) []byte {
	p := rotating.Defaults()
	value := make([]byte, p.Digits)
	p.Algorithm.Value(value, m.PassSecret([]byte(pass)), uint64(at.Unix()/p.Period))
	return append([]byte(pass+"."), value...)
}

// Rotating barcodes are proven at the gateway by the secret in the tenant's secret
// store. While the store is away a tap waits with its terminal; no secret is in a
// bundle, goes to the provider's adapter, or serves another tenant's validators.
func TestRotatingCodesAreProvenByTheTenantsSecret(t *testing.T) {
	o := open(t)
	o.onboard()
	masters := make([]*rotating.Master, 2)
	for i := range masters {
		key := make([]byte, 32)
		_, _ = rand.Read(key)
		masters[i] = &rotating.Master{Key: citygate.NewSecret(key)}
	}
	master := masters[0]

	entry := edge.CodeScheme{Params: json.RawMessage(`{"issuer":7}`), Contract: "sandbox", Opens: true}
	putScheme := func(e edge.CodeScheme, want string) {
		t.Helper()
		raw, err := json.Marshal(e)
		o.must(err)
		w := o.ask(http.MethodPut, schemePath(bus, rotating.ID), "application/json", raw)
		if ok := w.Code < 300; ok != (want == "") || !strings.Contains(w.Body.String(), want) {
			t.Errorf("put scheme: %d %s, want %q", w.Code, w.Body, want)
		}
	}
	putSecret := func(value string) {
		t.Helper()
		o.send(http.MethodPut, busPath("contracts/sandbox/secrets/"+foreign.SecretName(rotating.ID)), map[string][]byte{"value": []byte(value)}, nil)
	}
	putScheme(entry, `has no secret \"code-rotating\"`)
	for _, useless := range []string{`{}`, `{"master_hex":"00"}`, `nonsense`} {
		putSecret(useless)
		putScheme(entry, "is not what the scheme")
	}
	putSecret(fmt.Sprintf(`{"master_hex":"%x"}`, master.Key.Reveal()))
	shared := entry
	shared.Operators = []int64{int64(rail)}
	putScheme(shared, "no other tenant's validators")
	putScheme(edge.CodeScheme{Params: entry.Params}, "proven by a secret")
	putScheme(entry, "")
	r := rules(2)
	r.Schemes = []code.SchemeID{ct1.ID, rotating.ID}
	_, err := o.PublishPolicy(t.Context(), actor, r)
	o.must(err)

	plain, secure, stolen := o.reader(1), o.secureReader(2, master), o.secureReader(3, masters[1])
	good := rotate(master, "ANN", o.now())
	wrong := slices.Clone(good)
	wrong[len(wrong)-1] = '0' + (wrong[len(wrong)-1]-'0'+1)%10
	if got := o.offer(plain, good); got != code.UnknownIssuer {
		t.Errorf("without a secure module: %q", got)
	}
	for i, s := range []struct {
		raw  []byte
		want code.Reason
	}{{good, ""}, {good, code.Replayed}, {wrong, code.BadSecret}, {rotate(master, "BEA", o.now()), ""}} {
		if got := o.offer(secure, s.raw); got != s.want {
			t.Errorf("%d: at the gate %q, want %q", i, got, s.want)
		}
	}
	// A validator that holds another secret opens for what the tenant never made.
	if got := o.offer(stolen, rotate(masters[1], "CID", o.now())); got != "" {
		t.Errorf("a validator with another secret: %q", got)
	}
	if got := o.offer(stolen, rotate(masters[1], "ANN", o.now())); got != "" {
		t.Errorf("a validator with another secret: %q", got)
	}

	store := o.Secrets
	o.Secrets = closedStore{store}
	batch, err := secure.NextBatch(0)
	o.must(err)
	was := o.rows()
	if w := o.ask(http.MethodPost, "/v1/tap-batches", "application/octet-stream", batch); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("while the secret store is away: %d %s", w.Code, w.Body)
	}
	unchanged(t, "a batch that was not taken", was, o.rows())
	o.Secrets = store
	if got := o.drain(plain); !slices.Equal(got, []string{"refused unknown_issuer"}) {
		t.Errorf("the validator without one: %v", got)
	}
	if got := o.drain(secure); !slices.Equal(got, []string{"recorded", "refused replayed", "refused bad_secret", "recorded"}) {
		t.Errorf("the validator with a secure module: %v", got)
	}
	o.Secrets = closedStore{store} // what was read serves on
	o.move(time.Hour)
	if got := o.drain(stolen); !slices.Equal(got, []string{"refused bad_secret", "refused bad_secret"}) {
		t.Errorf("the validator with another secret: %v", got)
	}
	o.Secrets = store
	o.settleDown()
	if got, want := o.finals(), map[string]string{"1/1": "unknown_issuer", "2/1": "", "2/2": "replayed", "2/3": "bad_secret", "2/4": "", "3/1": "bad_secret", "3/2": "bad_secret"}; !maps.Equal(got, want) {
		t.Errorf("in the end %v, want %v", got, want)
	}
	o.until("collected", func() bool { return len(o.charged(bus)) == 2 })
	for payer, minor := range o.charged(bus) {
		if minor != price || !strings.HasPrefix(payer, "rotating:") {
			t.Errorf("%s paid %d", payer, minor)
		}
	}
	o.booksHold()

	bundle := o.call(http.MethodGet, busPath("bundle"), "", nil)
	if key := master.Key.Reveal(); bytes.Contains(bundle, key) || bytes.Contains(bundle, fmt.Appendf(nil, "%x", key)) {
		t.Error("the bundle holds the master")
	}
	_, noted, _, err := o.versionsOf(t.Context(), bus, collect.Contract{Name: "sandbox", Adapter: "sandbox"})
	o.must(err)
	given, err := o.secretsOf(t.Context(), bus, "sandbox", noted)
	o.must(err)
	if len(given) != 0 {
		t.Errorf("the provider's adapter is given %d secrets", len(given))
	}
	for i, m := range masters {
		o.secrets.Add(fmt.Sprintf("the master secret of rotating codes %d", i), m.Key.Reveal())
	}
	o.noSecretIsOut()
}
