package edge_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/edge/conform"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
	"github.com/golang-jwt/jwt/v5"
)

var now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// A bench is an edge over a real database, with verticals that count calls.
type testBench struct {
	*edge.Edge
	t      *testing.T
	mu     sync.Mutex
	of     *edge.Edge
	served http.Handler // of, held to its document
	key    ed25519.PrivateKey
	tokens *edge.Tokens
	denied int

	db       *pg.DB
	log      bytes.Buffer
	resolved []string
}

func newBench(t *testing.T) *testBench {
	t.Helper()
	clock := func() time.Time { return now }
	db := pgtest.New(t, pgtest.WithClock(clock))
	b := &testBench{t: t, db: db, key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))}
	b.tokens = &edge.Tokens{
		Now: db.NowOf,
		Sign: func(_ context.Context, m []byte) ([]byte, string, error) {
			return ed25519.Sign(b.key, m), "1", nil
		},
		KeyID: func(context.Context) (string, error) { return "1", nil },
		Key: func(_ context.Context, kid string) (ed25519.PublicKey, bool) {
			return b.key.Public().(ed25519.PublicKey), kid == "1"
		},
	}
	directory := tenants.NewDirectory(db, clock)
	for id, slug := range map[citygate.TenantID]string{1: "harbour", 2: "hillside"} {
		if err := directory.Create(t.Context(), "test", tenants.Tenant{
			ID: id, Slug: slug, Name: slug, Kind: tenants.Authority, Mode: tenants.Sandbox, Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240,
		}); err != nil {
			t.Fatal(err)
		}
	}
	guard, err := access.New(access.Config{DB: db, Clock: clock, Directory: directory, Random: rand.Reader, HTTP: &http.Client{}, AllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	b.Edge = edge.New(edge.Verticals{
		DB: db, Clock: clock, Tokens: b.tokens, Tenants: directory, Access: guard, Limits: edge.Limits{Unknown: edge.Rate{PerSecond: 1 << 20, Burst: 1 << 20}},
		Deny: func(_ context.Context, _ string, _ citygate.TenantID, list uint16, _ uint32, _ string) error {
			b.denied++
			switch list {
			case 77:
				panic("secret detail of a panic")
			case 99:
				return errors.New("secret detail of a database: SQLSTATE 42501")
			}
			return nil
		},
		Balances: func(_ context.Context, _ citygate.TenantID, prefix, after string, limit int) ([]edge.Balance, error) {
			return []edge.Balance{{ID: after, Account: prefix, Currency: "CNY", Debit: int64(limit), Credit: 2}}, nil
		},
		Terminals: func(_ context.Context, _ citygate.TenantID, after uint32, limit int) ([]edge.Terminal, error) {
			return []edge.Terminal{{ID: after + 1, Name: strconv.Itoa(limit)}}, nil
		},
		Bundle: func(_ context.Context, tenant citygate.TenantID) ([]byte, string, error) {
			if tenant == 2 {
				panic("secret detail of a panic")
			}
			return []byte("TB1"), "v1", nil
		},
		ResolveRecon: func(_ context.Context, _ string, _ citygate.TenantID, item string, d edge.ResolveRecon) error {
			b.resolved = append(b.resolved, d.Contract+" "+item+" "+d.Resolution)
			return nil
		},
		Windows: func(_ context.Context, _ citygate.TenantID, after citygate.Date, limit int) ([]edge.Window, error) {
			return []edge.Window{{BusinessDate: after.AddDays(-1).String(), State: "open", Terms: limit}}, nil
		},
		Payouts: edge.PayoutDesk{List: func(_ context.Context, _ citygate.TenantID, _ string, page edge.Page) ([]edge.Payout, error) {
			return []edge.Payout{{ID: page.After.Text("pay_"), State: "sent", Payee: strconv.Itoa(page.Limit), Window: "2026-11-20"}}, nil
		}},
		ReconItems: func(_ context.Context, _ citygate.TenantID, state, after string, limit int) ([]edge.ReconItem, error) {
			return []edge.ReconItem{{ID: after, State: state, AgeDays: limit, Day: "2026-11-20"}}, nil
		},
		RecordTaps: func(context.Context, []byte) ([]edge.TapReceipt, error) {
			return []edge.TapReceipt{{Seq: 1, Outcome: "recorded"}}, nil
		},
	}, slog.New(slog.NewTextHandler(&b.log, nil)))
	return b
}

// ServeHTTP holds every request and answer of the tests to the document.
func (b *testBench) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	if b.of != b.Edge {
		b.of, b.served = b.Edge, conform.Handler(b.t, b.Edge)
	}
	served := b.served
	b.mu.Unlock()
	served.ServeHTTP(w, r)
}

func (b *testBench) token(t *testing.T, tenant citygate.TenantID, scopes ...string) string {
	t.Helper()
	token, err := b.tokens.Mint(t.Context(), edge.Caller{Subject: "user:ada", Tenant: tenant, Scopes: scopes}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (b *testBench) call(method, path, token, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func code(w *httptest.ResponseRecorder) string {
	var p edge.Problem
	if json.Unmarshal(w.Body.Bytes(), &p) != nil || w.Header().Get("Content-Type") != "application/problem+json" {
		return "not a problem: " + w.Header().Get("Content-Type") + " " + w.Body.String()
	}
	return p.Code
}

// Every route has a class, every token route refuses a missing, an expired and
// another tenant's token, and the document lists exactly the routes.
func TestEveryRouteIsClassifiedAndDocumented(t *testing.T) {
	b := newBench(t)
	past, err := (&edge.Tokens{Now: func(context.Context, citygate.TenantID) (time.Time, error) { return now.Add(-2 * time.Hour), nil }, Sign: b.tokens.Sign, KeyID: b.tokens.KeyID}).
		Mint(t.Context(), edge.Caller{Subject: "user:ada", Tenant: 1, Scopes: []string{edge.ScopeAdmin}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	foreign := b.token(t, 2, edge.ScopeAdmin)
	documented := b.Documented()
	tokens := 0
	for route, class := range b.Routes() {
		method, path, _ := strings.Cut(route, " ")
		if class == "" {
			t.Errorf("%s has no class", route)
		}
		if !strings.HasPrefix(path, "/openapi") && !documented[route] {
			t.Errorf("%s is not in the document", route)
		}
		delete(documented, route)
		if class != "token" {
			continue
		}
		tokens++
		concrete := regexp.MustCompile(`:[a-z]+`).ReplaceAllString(strings.Replace(path, ":tenant", "1", 1), "1")
		if w := b.call(method, concrete, "", ""); w.Code != http.StatusUnauthorized || code(w) != "auth.token_invalid" {
			t.Errorf("%s without a token: %d %s", route, w.Code, code(w))
		}
		if w := b.call(method, concrete, past, ""); w.Code != http.StatusUnauthorized {
			t.Errorf("%s with an expired token: %d", route, w.Code)
		}
		if strings.Contains(path, ":tenant") {
			if w := b.call(method, concrete, foreign, ""); w.Code != http.StatusNotFound {
				t.Errorf("%s with another tenant's token: %d, want what nobody's path answers", route, w.Code)
			}
		}
	}
	if tokens < 10 {
		t.Errorf("only %d token routes were tried", tokens)
	}
	if len(documented) > 0 {
		t.Errorf("documented but not routed: %v", slices.Collect(maps.Keys(documented)))
	}
}

// Huma does not see the fields of an embedded struct whose type is not exported:
// a path parameter there stays zero and nothing says so.
func TestPathParametersReachTheHandler(t *testing.T) {
	b := newBench(t)
	bound := b.Bound()
	for route := range b.Routes() {
		for part := range strings.SplitSeq(route, "/") {
			if name, ok := strings.CutPrefix(part, ":"); ok && !slices.Contains(bound[route], name) {
				t.Errorf("%s: its request has no field for %q", route, name)
			}
		}
	}
	platform := b.token(t, 0, edge.ScopePlatform)
	w := b.call("PUT", "/v1/tenants/7", platform, `{"slug":"valley","name":"Valley","kind":"bus","mode":"sandbox","currency":"CNY","time_zone":"Asia/Shanghai","cut_minutes":240,"cap_unit":100}`,
		"Idempotency-Key", "k7")
	if w.Code != http.StatusOK {
		t.Fatalf("put-tenant: %d %s", w.Code, w.Body)
	}
	got, err := b.Tenants.ByID(t.Context(), 7)
	if err != nil || got.ID != 7 || got.Slug != "valley" {
		t.Errorf("tenant 7 is %+v, %v", got, err)
	}
	if all, err := b.Tenants.All(t.Context()); err != nil || len(all) != 3 {
		t.Errorf("there are %d tenants, %v; want the two there were and the new one", len(all), err)
	}
	var doc edge.TenantDocument
	if w := b.call("GET", "/v1/tenants/7", platform, ""); w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &doc) != nil || doc.Slug != "valley" {
		t.Errorf("get-tenant: %d %s", w.Code, w.Body)
	}
	if w := b.call("PUT", "/v1/tenants/0", platform, `{"slug":"nobody","name":"Nobody","kind":"bus","mode":"sandbox","currency":"CNY","time_zone":"UTC","cut_minutes":0,"cap_unit":0}`,
		"Idempotency-Key", "k0"); w.Code < 400 || w.Code >= 500 {
		t.Errorf("tenant 0: %d %s", w.Code, w.Body)
	}
}

func TestARouteWithoutAClassDoesNotAnswer(t *testing.T) {
	b := newBench(t)
	b.AddUnclassified("/v1/forgotten")
	if w := b.call("GET", "/v1/forgotten", b.token(t, 0, edge.ScopePlatform), ""); w.Code != http.StatusNotFound {
		t.Errorf("an unclassified route answered %d", w.Code)
	}
}

func TestTokenCorpus(t *testing.T) {
	b := newBench(t)
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))
	base := func() jwt.MapClaims {
		return jwt.MapClaims{
			"iss": "citygate", "aud": "citygate-api", "sub": "user:eve", "tenant": 1, "scope": "admin",
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		}
	}
	sign := func(method jwt.SigningMethod, c jwt.MapClaims, key any, header map[string]any) string {
		token := jwt.NewWithClaims(method, c)
		token.Header["typ"], token.Header["kid"] = "at+jwt", "1"
		maps.Copy(token.Header, header)
		s, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	without := func(name string) jwt.MapClaims { c := base(); delete(c, name); return c }
	with := func(name string, v any) jwt.MapClaims { c := base(); c[name] = v; return c }
	public := b.key.Public().(ed25519.PublicKey)
	for what, token := range map[string]string{
		"nothing":                  "",
		"not a token":              "eyJ.a.b",
		"too long":                 strings.Repeat("a.", 5000),
		"alg none":                 sign(jwt.SigningMethodNone, base(), jwt.UnsafeAllowNoneSignatureType, nil),
		"HMAC with the public key": sign(jwt.SigningMethodHS256, base(), []byte(public), nil),
		"another key":              sign(jwt.SigningMethodEdDSA, base(), other, nil),
		"unknown kid":              sign(jwt.SigningMethodEdDSA, base(), b.key, map[string]any{"kid": "../1"}),
		"id token type":            sign(jwt.SigningMethodEdDSA, base(), b.key, map[string]any{"typ": "JWT"}),
		"no expiry":                sign(jwt.SigningMethodEdDSA, without("exp"), b.key, nil),
		"no subject":               sign(jwt.SigningMethodEdDSA, without("sub"), b.key, nil),
		"other audience":           sign(jwt.SigningMethodEdDSA, with("aud", "console"), b.key, nil),
		"other issuer":             sign(jwt.SigningMethodEdDSA, with("iss", "evil"), b.key, nil),
		"issued in the future":     sign(jwt.SigningMethodEdDSA, with("iat", now.Add(time.Hour).Unix()), b.key, nil),
		"not yet":                  sign(jwt.SigningMethodEdDSA, with("nbf", now.Add(time.Hour).Unix()), b.key, nil),
		"platform inside a tenant": sign(jwt.SigningMethodEdDSA, with("scope", "platform"), b.key, nil),
		"tenant scope for none":    sign(jwt.SigningMethodEdDSA, with("tenant", 0), b.key, nil),
	} {
		if w := b.call("GET", "/v1/tenants/1/balances", token, ""); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", what, w.Code)
		}
	}
	if w := b.call("GET", "/v1/tenants/1/balances", sign(jwt.SigningMethodEdDSA, base(), b.key, nil), ""); w.Code != http.StatusOK {
		t.Errorf("a good token: %d %s", w.Code, w.Body)
	}
}

func TestIdempotencyKeyRepeatsTheFirstAnswer(t *testing.T) {
	b := newBench(t)
	admin := b.token(t, 1, edge.ScopeAdmin)
	const path, body = "/v1/tenants/1/denials", `{"list":1,"index":2,"reason":"lost"}`
	if w := b.call("POST", path, admin, body); code(w) != "idempotency.key_missing" {
		t.Errorf("without a key: %d %s", w.Code, w.Body)
	}
	for i := range 3 {
		w := b.call("POST", path, admin, body, "Idempotency-Key", "k1")
		if w.Code != http.StatusOK || (w.Header().Get("Idempotency-Replayed") == "true") != (i > 0) {
			t.Fatalf("call %d: %d %s", i, w.Code, w.Body)
		}
	}
	if b.denied != 1 {
		t.Errorf("it ran %d times", b.denied)
	}
	if w := b.call("POST", path, admin, `{"list":1,"index":3,"reason":"lost"}`, "Idempotency-Key", "k1"); code(w) != "idempotency.key_reused" {
		t.Errorf("the key with another body: %d %s", w.Code, w.Body)
	}
	if w := b.call("POST", "/v1/tenants/2/denials", b.token(t, 2, edge.ScopeAdmin), body, "Idempotency-Key", "k1"); w.Code != http.StatusOK || b.denied != 2 {
		t.Errorf("another tenant's same key: %d, ran %d times", w.Code, b.denied)
	}
	for range 2 { // a failure of ours is not kept: the repeat may succeed
		if w := b.call("POST", path, admin, `{"list":99,"index":3,"reason":"lost"}`, "Idempotency-Key", "k2"); w.Code != http.StatusInternalServerError {
			t.Errorf("failure: %d", w.Code)
		}
	}
	if b.denied != 4 {
		t.Errorf("the failed call ran %d times in all", b.denied)
	}
}

func TestErrorsDoNotTellTheCause(t *testing.T) {
	b := newBench(t)
	w := b.call("POST", "/v1/tenants/1/denials", b.token(t, 1, edge.ScopeAdmin), `{"list":99,"index":2,"reason":"lost"}`, "Idempotency-Key", "k")
	if code(w) != "internal" || strings.Contains(w.Body.String(), "SQLSTATE") || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for what, body := range map[string]string{
		"unknown field": `{"list":1,"index":2,"reason":"lost","tenant":2}`, "wrong type": `{"list":"one","index":2,"reason":"lost"}`,
		"missing field": `{"list":1}`, "not JSON": `{`, "unknown reason": `{"list":1,"index":2,"reason":"dislike"}`,
	} {
		if w := b.call("POST", "/v1/tenants/1/denials", b.token(t, 1, edge.ScopeAdmin), body, "Idempotency-Key", what); w.Code < 400 || w.Code >= 500 || code(w) != "request.invalid" {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if b.denied != 1 {
		t.Errorf("an invalid request reached the vertical (%d calls)", b.denied)
	}
}

func TestScopesAndLimits(t *testing.T) {
	b := newBench(t)
	reader := b.token(t, 1, edge.ScopeRead)
	if w := b.call("GET", "/v1/tenants/1/balances", reader, ""); w.Code != http.StatusOK {
		t.Errorf("a reader reads: %d", w.Code)
	}
	if w := b.call("POST", "/v1/tenants/1/denials", reader, `{}`, "Idempotency-Key", "k"); code(w) != "auth.forbidden" {
		t.Errorf("a reader changes: %d %s", w.Code, code(w))
	}
	if w := b.call("PUT", "/v1/tenants/1", b.token(t, 1, edge.ScopeAdmin), `{"slug":"harbour","name":"x","kind":"bus","mode":"live","currency":"CNY","time_zone":"UTC","cut_minutes":0,"cap_unit":0}`, "Idempotency-Key", "k"); code(w) != "auth.forbidden" {
		t.Errorf("a tenant onboards itself: %d %s", w.Code, w.Body)
	}
	if w := b.call("POST", "/v1/tap-batches", "", strings.Repeat("x", 2<<20+1)); code(w) != "request.too_large" {
		t.Errorf("a batch over 2 MiB: %d %s", w.Code, code(w))
	}
	if w := b.call("POST", "/v1/tap-batches", "", "x"); w.Code != http.StatusOK {
		t.Errorf("a batch: %d %s", w.Code, w.Body)
	}
	if w := b.call("PUT", "/v1/tenants/1/tariffs/2", b.token(t, 1, edge.ScopeAdmin), strings.Repeat(" ", 8<<20), "Idempotency-Key", "feed"); code(w) == "request.too_large" {
		t.Errorf("a tariff with a feed of several MiB: %d %s", w.Code, code(w))
	}
	if w := b.call("PUT", "/v1/tenants/1/tariffs/2", b.token(t, 1, edge.ScopeAdmin), strings.Repeat(" ", 9<<20+1), "Idempotency-Key", "feeds"); code(w) != "request.too_large" {
		t.Errorf("a tariff over the limit: %d %s", w.Code, code(w))
	}
	if w := b.call("POST", "/v1/tenants/1/denials", b.token(t, 1, edge.ScopeAdmin), strings.Repeat(" ", 1<<20+1), "Idempotency-Key", "k"); code(w) != "request.too_large" {
		t.Errorf("a body over 1 MiB: %d %s", w.Code, code(w))
	}
	if w := b.call("GET", "/v1/nowhere", reader, ""); code(w) != "request.not_found" {
		t.Errorf("an unknown path: %d %s", w.Code, w.Body)
	}
}

func TestSignedObjectsAreCacheable(t *testing.T) {
	b := newBench(t)
	w := b.call("GET", "/v1/tenants/1/bundle", "", "")
	if w.Code != http.StatusOK || w.Body.String() != "TB1" || w.Header().Get("ETag") != `"v1"` {
		t.Fatalf("%d %q %v", w.Code, w.Body, w.Header())
	}
	w = b.call("GET", "/v1/tenants/1/bundle", "", "", "If-None-Match", `"v1"`)
	if w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("the current version again: %d %q", w.Code, w.Body)
	}
}

func TestDocumentIsServed(t *testing.T) {
	w := newBench(t).call("GET", "/openapi.yaml", "", "")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "openapi: 3.1.0") || !strings.Contains(w.Body.String(), "/v1/tap-batches") {
		t.Errorf("%d %.200s", w.Code, w.Body)
	}
}

// A handler that panics answers like any failure of ours: its key is free for
// the repeat, its cause stays in the log, and the process lives.
func TestPanicIsAnAnswerAndKeepsNoKey(t *testing.T) {
	b := newBench(t)
	admin := b.token(t, 1, edge.ScopeAdmin)
	for range 2 {
		w := b.call("POST", "/v1/tenants/1/denials", admin, `{"list":77,"index":2,"reason":"lost"}`, "Idempotency-Key", "k")
		if w.Code != http.StatusInternalServerError || code(w) != "internal" || strings.Contains(w.Body.String(), "secret") {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if b.denied != 2 {
		t.Errorf("it ran %d times; want the repeat to run again", b.denied)
	}
	if n := b.keys(t); n != 0 {
		t.Errorf("%d keys are held by dead requests", n)
	}
	if w := b.call("GET", "/v1/tenants/2/bundle", "", ""); w.Code != http.StatusInternalServerError || code(w) != "internal" {
		t.Errorf("a public route that panics: %d %s", w.Code, w.Body)
	}
	if log := b.log.String(); strings.Count(log, "secret detail of a panic") != 3 || !strings.Contains(log, "edge_test.go") {
		t.Errorf("the log does not tell where it panicked: %s", log)
	}
}

// An answer that is half-way out when its handler panics is cut off and not kept.
func TestPanicBehindTheFirstByteCutsTheConnection(t *testing.T) {
	b := newBench(t)
	b.AddUnsafe("/v1/half", func(w http.ResponseWriter) {
		_, _ = w.Write([]byte("half an ans"))
		panic("torn")
	})
	for range 2 {
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler { //nolint:errorlint // a panic value
					t.Errorf("recovered %v; want http.ErrAbortHandler", got)
				}
			}()
			b.call("POST", "/v1/half", b.token(t, 1, edge.ScopeAdmin), "{}", "Idempotency-Key", "k")
		}()
	}
	if n := b.keys(t); n != 0 {
		t.Errorf("%d keys are held by dead requests", n)
	}
}

// keys counts the Idempotency-Keys of tenant 1.
func (b *testBench) keys(t *testing.T) int64 {
	t.Helper()
	return pgtest.Owner(t, b.db).Count(1, `SELECT count(*) FROM idempotency_keys`)
}

func TestAnswersAreForgottenAfterADay(t *testing.T) {
	b := newBench(t)
	admin := b.token(t, 1, edge.ScopeAdmin)
	for _, key := range []string{"old", "fresh"} {
		b.call("POST", "/v1/tenants/1/denials", admin, `{"list":1,"index":2,"reason":"lost"}`, "Idempotency-Key", key)
	}
	pgtest.Owner(t, b.db).Exec(1, `UPDATE idempotency_keys SET created_at = $1 WHERE key = 'old'`, now.Add(-24*time.Hour-time.Microsecond))
	pgtest.Owner(t, b.db).Exec(1, `UPDATE idempotency_keys SET created_at = $1 WHERE key = 'fresh'`, now.Add(-24*time.Hour))
	if err := b.db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { return edge.ForgetAnswers(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Owner(t, b.db).Count(1, `SELECT count(*) FROM idempotency_keys WHERE key = 'fresh'`); n != 1 || b.keys(t) != 1 {
		t.Errorf("%d keys are left, %d of them fresh; want only the fresh one", b.keys(t), n)
	}
}

func TestListsComePageByPage(t *testing.T) {
	b := newBench(t)
	reader := b.token(t, 1, edge.ScopeRead)
	behind := func(path, key string) string { // as a page that ended with the row of that key says it
		address, err := url.Parse("/v1/tenants/1/" + path)
		if err != nil {
			t.Fatal(err)
		}
		query := address.Query()
		query.Set("cursor", edge.CursorOf(address, 1, key))
		return strings.TrimPrefix(address.Path, "/v1/tenants/1/") + "?" + query.Encode()
	}
	for path, want := range map[string]string{
		behind("windows?limit=7", "2026-11-21"):                                  `"business_date":"2026-11-20","state":"open","terms":8`,
		behind("windows", "yesterday"):                                           `request.cursor`,
		behind("payouts?limit=3", "pay_01a20bb5e600787895f9b766d1ec1045"):        `"id":"pay_01a20bb5e600787895f9b766d1ec1045"`,
		behind("payouts", "chg_01a20bb5e600787895f9b766d1ec1045"):                `request.cursor`,
		"payouts?limit=501":                                                      `request.invalid`,
		"payouts?cursor=pay_01a20bb5e600787895f9b766d1ec1045":                    `request.cursor`,
		behind("reconciliation?state=resolved&limit=5", "main/row/2026-11-21/4"): `"id":"main/row/2026-11-21/4"`,
		behind("balances?prefix=payable:&limit=9", "payable:a/CNY"):              `"id":"payable:a/CNY","account":"payable:","currency":"CNY","debit":10`,
		"balances?limit=0":                `request.invalid`,
		"balances":                        `"debit":101`,
		behind("terminals?limit=2", "41"): `"id":42,"name":"3"`,
		behind("terminals", "-1"):         `request.cursor`,
		"terminals":                       `"id":1,"name":"101"`,
		"journeys?rider=7":                `request.invalid`,
		"journeys?state=lost":             `request.invalid`,
		"debts?account=chg_1":             `request.invalid`,
		"refunds?state=lost":              `request.invalid`,
		"accounts/acc_1":                  `request.not_found`,
		"reconciliation?state=matched":    `request.invalid`,
	} {
		if w := b.call("GET", "/v1/tenants/1/"+path, reader, ""); !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s; want %s", path, w.Code, w.Body, want)
		}
	}
}

// An item's name has slashes; in the path they are escaped.
func TestResolveTakesTheItemFromThePath(t *testing.T) {
	b := newBench(t)
	const body = `{"contract":"main","resolution":"write_off","reason":"too small"}`
	for _, item := range []string{"row%2F2026-11-21%2F4", "charge%2FC1", "plain"} {
		if w := b.call("POST", "/v1/tenants/1/reconciliation/"+item+"/resolve", b.token(t, 1, edge.ScopeAdmin), body, "Idempotency-Key", item); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", item, w.Code, w.Body)
		}
	}
	if got := strings.Join(b.resolved, ", "); got != "main row/2026-11-21/4 write_off, main charge/C1 write_off, main plain write_off" {
		t.Errorf("resolved %s", got)
	}
	for what, body := range map[string]string{
		"another decision": `{"contract":"main","resolution":"forget","reason":"x"}`, "no reason": `{"contract":"main","resolution":"write_off","reason":""}`,
		"no contract": `{"resolution":"write_off","reason":"x"}`,
	} {
		if w := b.call("POST", "/v1/tenants/1/reconciliation/plain/resolve", b.token(t, 1, edge.ScopeAdmin), body, "Idempotency-Key", what); code(w) != "request.invalid" {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if w := b.call("POST", "/v1/tenants/1/reconciliation/plain/resolve", b.token(t, 1, edge.ScopeRead), body, "Idempotency-Key", "r"); code(w) != "auth.forbidden" {
		t.Errorf("a reader decides: %d %s", w.Code, w.Body)
	}
}

// Whatever the route, a client finds in the document that it may get a problem.
func TestEveryOperationDocumentsItsProblems(t *testing.T) {
	for route, documented := range newBench(t).Problems() {
		if !documented {
			t.Errorf("%s documents no problem answer", route)
		}
	}
}

// Deny by default: an operation without a line in the permission table cannot be
// registered, every route that is served has one, and no line is left over.
func TestEveryOperationHasAPermission(t *testing.T) {
	b := newBench(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("an operation without a permission registered")
			}
		}()
		b.AddUnlisted("forgotten")
	}()
	needs := b.Needs()
	if len(needs) < len(b.Routes())-4 { // the four documents are one entry
		t.Errorf("%d routes, %d permissions", len(b.Routes()), len(needs))
	}
	for id, need := range needs {
		if need.Resource != "public" && !need.Valid() { // reading, and signing in
			t.Errorf("%s needs %s, which does not exist", id, need)
		}
	}
	for _, id := range edge.Listed() {
		if _, served := needs[id]; !served {
			t.Errorf("the table lists %s, which no route is", id)
		}
	}
}

// A read of the API never needs a permission to change, nor the other way round.
func TestVerbsFitMethods(t *testing.T) {
	b := newBench(t)
	for route, need := range b.NeedsByRoute() {
		reads := strings.HasPrefix(route, "GET ")
		if need.Resource != "public" && reads != (need.Verb == "read") {
			t.Errorf("%s needs %s", route, need)
		}
	}
}

func TestARefusalSaysWhatWasMissing(t *testing.T) {
	b := newBench(t)
	w := b.call("POST", "/v1/tenants/1/denials", b.token(t, 1, edge.ScopeRead), `{}`, "Idempotency-Key", "k")
	var p edge.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code != "auth.forbidden" ||
		!strings.Contains(p.Detail, "rider.write") || !strings.Contains(p.Detail, "deny-credential") || !strings.Contains(p.Detail, "support") {
		t.Errorf("%s", w.Body)
	}
	if w := b.call("GET", "/v1/tenants", b.token(t, 1, edge.ScopeRead), ""); strings.Contains(w.Body.String(), "hillside") || !strings.Contains(w.Body.String(), "harbour") {
		t.Errorf("the list of a tenant's reader: %s", w.Body)
	}
	if w := b.call("GET", "/v1/tenants", b.token(t, 0, edge.ScopePlatform), ""); !strings.Contains(w.Body.String(), "hillside") {
		t.Errorf("the platform's list: %s", w.Body)
	}
}

func TestTenantsComePageByPage(t *testing.T) {
	b := newBench(t)
	platform := b.token(t, 0, edge.ScopePlatform)
	for query, want := range map[string][]int64{
		"": {1, 2}, "?limit=1": {1}, "?kind=authority": {1, 2}, "?kind=bus": {}, "?state=active&mode=sandbox": {1, 2}, "?mode=live": {},
	} {
		var got struct{ Items []edge.NumberedTenant }
		w := b.call("GET", "/v1/tenants"+query, platform, "")
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		ids := []int64{}
		for _, item := range got.Items {
			ids = append(ids, item.ID)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s: %v, want %v", query, ids, want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=501", "?kind=tram", "?state=gone"} {
		if w := b.call("GET", "/v1/tenants"+query, platform, ""); code(w) != "request.invalid" {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}
