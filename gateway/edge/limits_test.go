package edge_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A limitedBench is a bench with quotas and a clock that the test moves.
type limitedBench struct {
	*testBench
	ahead atomic.Int64
}

func newLimitedBench(t *testing.T, l edge.Limits, change func(*edge.Verticals)) *limitedBench {
	t.Helper()
	b := &limitedBench{testBench: newBench(t)}
	v := b.Verticals
	l.Clock = func() time.Time { return now.Add(time.Duration(b.ahead.Load())) }
	v.Limits = l
	if change != nil {
		change(&v)
	}
	b.log.Reset()
	b.Edge = edge.New(v, slog.New(slog.NewTextHandler(&b.log, nil)))
	return b
}

func (b *limitedBench) pass(d time.Duration) { b.ahead.Add(int64(d)) }

func sameQuota(q edge.Quota) func(citygate.TenantID) edge.Quota {
	return func(citygate.TenantID) edge.Quota { return q }
}

// untouched is a body that must not be read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, errors.New("read")
}

// Refusing a tenant over its quota asks no database, whether it shows a token or an
// API key; one whose bucket is full again is looked at again.
func TestRefusingALoudTenantAsksNoDatabase(t *testing.T) {
	var clocks atomic.Int64
	b := newLimitedBench(t, edge.Limits{Quota: sameQuota(edge.Quota{Reads: edge.Rate{PerSecond: 1, Burst: 1}})}, func(v *edge.Verticals) {
		plain := v.Tokens
		v.Tokens = &edge.Tokens{Sign: plain.Sign, KeyID: plain.KeyID, Key: plain.Key, Now: func(ctx context.Context, tenant citygate.TenantID) (time.Time, error) {
			clocks.Add(1) // a sandbox's is read from the database
			return plain.Now(ctx, tenant)
		}}
	})
	const path = "/v1/tenants/1/balances"
	mine := b.token(t, 1, edge.ScopeAdmin)
	for round := range 2 {
		before := clocks.Load()
		if w := b.call("GET", path, mine, ""); w.Code != http.StatusOK || clocks.Load() != before+1 {
			t.Fatalf("round %d: within its quota: %d, %d looks at the clock", round, w.Code, clocks.Load()-before)
		}
		for range 3 {
			w := b.call("GET", path, mine, "")
			if w.Code != http.StatusTooManyRequests || code(w) != "limit.rate" || w.Header().Get("RateLimit") != `"reads";r=0;t=1` || w.Header().Get("Retry-After") != "1" {
				t.Errorf("round %d: %d %s %v", round, w.Code, code(w), w.Header())
			}
		}
		if n := clocks.Load() - before - 1; n != 0 {
			t.Errorf("round %d: %d refusals asked for the clock", round, n)
		}
		b.pass(time.Second)
	}
}

// That a signature was good once is remembered; whether the token is due, and
// whether its key still counts, is not.
func TestAProvenTokenIsLookedAtEachTime(t *testing.T) {
	b := newBench(t)
	at, key := now, b.key.Public().(ed25519.PublicKey)
	counts := true
	tokens := &edge.Tokens{
		Sign: b.tokens.Sign, KeyID: b.tokens.KeyID,
		Now: func(context.Context, citygate.TenantID) (time.Time, error) { return at, nil },
		Key: func(context.Context, string) (ed25519.PublicKey, bool) { return key, counts },
	}
	caller := edge.Caller{Subject: "user:ada", Tenant: 1, Scopes: []string{edge.ScopeAdmin}}
	raw, err := tokens.Mint(t.Context(), caller, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, raw string, good bool) {
		t.Helper()
		asked := false
		c, err := tokens.Check(t.Context(), raw, func(tenant citygate.TenantID) error {
			asked = true
			return nil
		})
		if good != (err == nil) || good && (c.Subject != caller.Subject || c.Tenant != 1) {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
		if !good && !errors.Is(err, access.ErrToken) {
			t.Errorf("%s: %v", what, err)
		}
		if good && !asked {
			t.Errorf("%s: its tenant was not asked about", what)
		}
	}
	check("first", raw, true)
	check("again", raw, true)
	flipped := []byte(raw)
	flipped[len(flipped)-9] ^= 1
	check("another signature", string(flipped), false)
	counts = false
	check("a key that is withdrawn", raw, false)
	counts, key = true, make(ed25519.PublicKey, ed25519.PublicKeySize)
	check("another key under the same number", raw, false)
	key = b.key.Public().(ed25519.PublicKey)
	check("the key is back", raw, true)
	at = now.Add(time.Hour + time.Minute)
	check("over", raw, false)
	at = now.Add(-time.Minute)
	check("not yet", raw, false)
}

// A tenant over its quota is refused before its body is read and its key is taken;
// the others, and its other classes, are not.
func TestTenantOverItsQuotaIsShed(t *testing.T) {
	b := newLimitedBench(t, edge.Limits{Quota: sameQuota(edge.Quota{Reads: edge.Rate{PerSecond: 2, Burst: 3}, Writes: edge.Rate{PerSecond: 1, Burst: 1}})}, nil)
	const path = "/v1/tenants/1/balances"
	mine, others := b.token(t, 1, edge.ScopeAdmin), b.token(t, 2, edge.ScopeAdmin)
	for i, want := range []string{`"reads";r=2;t=1`, `"reads";r=1;t=1`, `"reads";r=0;t=2`} {
		w := b.call("GET", path, mine, "")
		if w.Code != http.StatusOK || w.Header().Get("RateLimit") != want || w.Header().Get("RateLimit-Policy") != `"reads";q=3;w=2` {
			t.Errorf("request %d: %d, RateLimit %s of %s", i, w.Code, w.Header().Get("RateLimit"), w.Header().Get("RateLimit-Policy"))
		}
	}
	w := b.call("GET", path, mine, "")
	if w.Code != http.StatusTooManyRequests || code(w) != "limit.rate" || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"retryable":true`) {
		t.Errorf("over the quota: %d %s after %s", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	if b.log.Len() > 0 {
		t.Errorf("a refusal fills the log: %s", b.log.String())
	}
	if w := b.call("GET", "/v1/tenants/2/balances", others, ""); w.Code != http.StatusOK {
		t.Errorf("another tenant: %d %s", w.Code, w.Body)
	}
	deny := func(key string, body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/v1/tenants/1/denials", body)
		r.Header.Set("Authorization", "Bearer "+mine)
		r.Header.Set("Idempotency-Key", key)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		return w
	}
	if w := deny("first", strings.NewReader(`{"list":1,"index":2,"reason":"lost"}`)); w.Code != http.StatusOK {
		t.Fatalf("the first write: %d %s", w.Code, w.Body)
	}
	if w := deny("second", untouched{t}); w.Code != http.StatusTooManyRequests {
		t.Errorf("the second write: %d %s", w.Code, w.Body)
	}
	b.pass(time.Second)
	if w := deny("second", strings.NewReader(`{"list":1,"index":2,"reason":"lost"}`)); w.Code != http.StatusOK || b.denied != 2 {
		t.Errorf("the same key when the quota is back: %d %s, denied %d times", w.Code, w.Body, b.denied)
	}
	if w := b.call("GET", path, mine, ""); w.Code != http.StatusOK {
		t.Errorf("a second later: %d", w.Code)
	}
}

// A bad token uses up nobody's quota.
func TestForgedTokensUseNoQuota(t *testing.T) {
	b := newLimitedBench(t, edge.Limits{Quota: sameQuota(edge.Quota{Reads: edge.Rate{PerSecond: 1, Burst: 1}})}, nil)
	good := b.token(t, 1, edge.ScopeAdmin)
	for range 5 {
		if w := b.call("GET", "/v1/tenants/1/balances", good+"A", ""); w.Code != http.StatusUnauthorized {
			t.Fatalf("a forged token: %d", w.Code)
		}
	}
	if w := b.call("GET", "/v1/tenants/1/balances", good, ""); w.Code != http.StatusOK {
		t.Errorf("after forged tokens: %d %s", w.Code, w.Body)
	}
}

func batchOf(tenant int64, size int) []byte {
	raw := append([]byte("CTB1\x00"), make([]byte, size)...)
	binary.BigEndian.PutUint64(raw[5:], uint64(tenant))
	return raw
}

// Uploads count by their taps, once these have proved to be the tenant's; the
// refusal needs no more than the head of the body.
func TestUploadsAreShedByTheirHead(t *testing.T) {
	forged := false
	b := newLimitedBench(t, edge.Limits{Quota: sameQuota(edge.Quota{Taps: edge.Rate{PerSecond: 100, Burst: 400}})}, func(v *edge.Verticals) {
		v.RecordTaps = func(context.Context, []byte) ([]edge.TapReceipt, error) {
			if forged {
				return nil, tap.ErrBatchSignature
			}
			return slices.Repeat([]edge.TapReceipt{{Outcome: "recorded"}}, 500), nil
		}
	})
	upload := func(tenant int64) (w *httptest.ResponseRecorder, read int) {
		body := bytes.NewReader(batchOf(tenant, 100_000))
		w = httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest("POST", "/v1/tap-batches", body))
		return w, int(body.Size()) - body.Len()
	}
	forged = true
	for range 20 {
		if w, _ := upload(1); w.Code != http.StatusUnauthorized {
			t.Fatalf("a forged batch: %d %s", w.Code, w.Body)
		}
	}
	forged = false
	w, read := upload(1)
	if w.Code != http.StatusOK || read != 100_005 || w.Header().Get("RateLimit") != `"taps";r=0;t=4` || w.Header().Get("RateLimit-Policy") != `"taps";q=400;w=4;qu="taps"` {
		t.Fatalf("an upload after forged ones: %d %s, %d bytes read, %v", w.Code, w.Body, read, w.Header())
	}
	w, read = upload(1)
	if w.Code != http.StatusTooManyRequests || code(w) != "limit.rate" || read > 64 || w.Header().Get("Retry-After") != "2" {
		t.Errorf("an upload in debt: %d %s, %d bytes read, again after %s", w.Code, w.Body, read, w.Header().Get("Retry-After"))
	}
	if w, _ = upload(2); w.Code != http.StatusOK {
		t.Errorf("another tenant's: %d %s", w.Code, w.Body)
	}
	b.pass(1020 * time.Millisecond)
	if w, _ = upload(1); w.Code != http.StatusOK {
		t.Errorf("when the debt is paid: %d %s", w.Code, w.Body)
	}
}

// A tenant whose requests hang holds its share of the connections and no more: the
// next ones wait, those after them are refused, and neither other tenants nor its
// own taps wait for them.
func TestSlowTenantHoldsItsShare(t *testing.T) {
	gate := make(chan struct{})
	var inside atomic.Int32
	b := newLimitedBench(t, edge.Limits{Connections: 12}, func(v *edge.Verticals) {
		v.Balances = func(_ context.Context, tenant citygate.TenantID, _, _ string, _ int) ([]edge.Balance, error) {
			if tenant == 1 {
				inside.Add(1)
				<-gate
			}
			return nil, nil
		}
	})
	mine, others := b.token(t, 1, edge.ScopeAdmin), b.token(t, 2, edge.ScopeAdmin)
	var sent sync.WaitGroup
	var ok, busy atomic.Int32
	send := func() {
		sent.Go(func() {
			switch w := b.call("GET", "/v1/tenants/1/balances", mine, ""); {
			case w.Code == http.StatusOK:
				ok.Add(1)
			case code(w) == "limit.concurrency" && w.Header().Get("Retry-After") == "1":
				busy.Add(1)
			default:
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	for range 2 + 32 { // a quarter of 12 but one, and those who may wait
		send()
	}
	for inside.Load() < 2 || b.Waiting(1) < 32 {
		time.Sleep(time.Millisecond)
	}
	if w := b.call("GET", "/v1/tenants/1/balances", mine, ""); code(w) != "limit.concurrency" {
		t.Errorf("one more: %d %s", w.Code, w.Body)
	}
	if w := b.call("GET", "/v1/tenants/2/balances", others, ""); w.Code != http.StatusOK {
		t.Errorf("another tenant: %d %s", w.Code, w.Body)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest("POST", "/v1/tap-batches", bytes.NewReader(batchOf(1, 100))))
	if w.Code != http.StatusOK {
		t.Errorf("its taps: %d %s", w.Code, w.Body)
	}
	if n := inside.Load(); n != 2 {
		t.Errorf("%d requests run at once", n)
	}
	close(gate)
	sent.Wait()
	if ok.Load()+busy.Load() != 34 || ok.Load() < 2 {
		t.Errorf("%d answered, %d refused", ok.Load(), busy.Load())
	}
	if w := b.call("GET", "/v1/tenants/1/balances", mine, ""); w.Code != http.StatusOK {
		t.Errorf("when all is over: %d %s", w.Code, w.Body)
	}
}

// What panics gives its slot back.
func TestPanicGivesItsSlotBack(t *testing.T) {
	b := newLimitedBench(t, edge.Limits{}, nil)
	for range 5 {
		if w := b.call("GET", "/v1/tenants/2/bundle", "", ""); w.Code != http.StatusInternalServerError {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

// Public documents and sign-ins are limited by the address of the connection, which
// a header does not change. Whether the process answers is always told.
func TestPublicDocumentsAreLimitedByAddress(t *testing.T) {
	b := newLimitedBench(t, edge.Limits{Public: edge.Rate{PerSecond: 1, Burst: 2}}, nil)
	ask := func(path, from string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = from
		r.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", b.ahead.Add(1)%250))
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		return w
	}
	const path = "/v1/tenants/1/bundle"
	for _, c := range []struct {
		from string
		want int
	}{
		{"192.0.2.1:1", 200}, {"192.0.2.1:2", 200}, {"192.0.2.1:3", 429}, {"[::ffff:192.0.2.1]:3", 429}, {"192.0.2.2:3", 200},
		{"[2001:db8::1]:1", 200}, {"[2001:db8::2]:1", 200}, {"[2001:db8::3]:1", 429}, {"[2001:db8:0:1::3]:1", 200}, {"@", 200},
	} {
		if w := ask(path, c.from); w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.from, w.Code, c.want)
		}
	}
	for range 5 {
		if w := ask("/healthz", "192.0.2.1:9"); w.Code != http.StatusOK {
			t.Errorf("health: %d", w.Code)
		}
	}
}

// However many tenants and addresses there are, buckets take bounded memory, and
// one that is not full is not forgotten.
func TestBucketsAreBounded(t *testing.T) {
	b := newLimitedBench(t, edge.Limits{
		Remembered: 100, Quota: sameQuota(edge.Quota{Taps: edge.Rate{PerSecond: 1, Burst: 1}, Reads: edge.Rate{PerSecond: 1, Burst: 1}}),
	}, nil)
	upload := func(tenant int64) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/v1/tap-batches", bytes.NewReader(batchOf(tenant, 100)))
		b.ServeHTTP(w, r)
		return w.Code
	}
	for tenant := range int64(10_000) {
		b.pass(20 * time.Millisecond)
		if got := upload(tenant + 1); got != http.StatusOK {
			t.Fatalf("tenant %d: %d", tenant+1, got)
		}
		if tenant > 60 && tenant%50 == 0 {
			if got := upload(tenant + 1); got != http.StatusTooManyRequests {
				t.Errorf("tenant %d again at once: %d", tenant+1, got)
			}
		}
	}
	if tenants, _ := b.Remembered(); tenants > 100 {
		t.Errorf("%d tenants are remembered", tenants)
	}
	// All at one instant: those for whom there is no room share a bucket, and no more memory.
	for tenant := range int64(1000) {
		upload(20_000 + tenant)
		r := httptest.NewRequest("GET", "/v1/tenants/1/bundle", nil)
		r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1", tenant/250, tenant%250)
		b.ServeHTTP(httptest.NewRecorder(), r)
	}
	if tenants, addresses := b.Remembered(); tenants > 100 || addresses > 100 {
		t.Errorf("%d tenants and %d addresses are remembered", tenants, addresses)
	}
}

// Who guesses tokens is told less and less; who has a good one at the same address
// is not held up, and an address is what the connection says.
func TestGuessesCostTheirAddress(t *testing.T) {
	b := newLimitedBench(t, edge.Limits{Unknown: edge.Rate{PerSecond: 1, Burst: 3}}, nil)
	good := b.token(t, 1, edge.ScopeAdmin)
	ask := func(token, from string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/v1/tenants/1/balances", nil)
		r.RemoteAddr = from
		r.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", b.ahead.Add(1)%250))
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		return w
	}
	for i, token := range []string{"", good + "A", "cgk_0000000000000000_" + strings.Repeat("0", 43)} {
		if w := ask(token, "192.0.2.1:1"); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" || w.Header().Get("RateLimit") != fmt.Sprintf(`"unknown";r=%d;t=%d`, 2-i, 1+i) {
			t.Errorf("guess %d: %d %v", i, w.Code, w.Header())
		}
	}
	w := ask(good+"B", "192.0.2.1:2")
	if w.Code != http.StatusTooManyRequests || code(w) != "limit.rate" || w.Header().Get("Retry-After") != "1" {
		t.Errorf("one more: %d %s", w.Code, w.Body)
	}
	if w := ask(good, "192.0.2.1:3"); w.Code != http.StatusOK {
		t.Errorf("a good token at that address: %d %s", w.Code, w.Body)
	}
	if w := ask(good+"B", "192.0.2.2:1"); w.Code != http.StatusUnauthorized {
		t.Errorf("a guess elsewhere: %d", w.Code)
	}
	b.pass(time.Second)
	if w := ask(good+"B", "192.0.2.1:4"); w.Code != http.StatusUnauthorized {
		t.Errorf("a second later: %d", w.Code)
	}
}
