// Package issuertest is an OpenID Connect issuer with state, for tests: it
// serves discovery and a key set over HTTP, signs ID tokens with RSA, P-256 or
// Ed25519 keys, rotates them, and signs whatever an attacker would like.
package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// An Issuer is a running issuer. It is safe for concurrent use.
type Issuer struct {
	*httptest.Server
	clock func() time.Time

	mu      sync.Mutex
	keys    []Key
	next    int
	fetches int
	down    bool
}

// A Key is a signing key of the issuer.
type Key struct {
	ID        string
	Algorithm string // RS256, ES256 or EdDSA
	Private   crypto.Signer
}

// New starts an issuer with one key of each algorithm.
func New(t testing.TB, clock func() time.Time) *Issuer {
	t.Helper()
	i := &Issuer{clock: clock}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.answer(w, map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "EdDSA", "none", "HS256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		i.fetches++
		list := []map[string]any{}
		for _, k := range i.keys {
			list = append(list, k.jwk())
		}
		i.mu.Unlock()
		i.answer(w, map[string]any{"keys": list})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		i.Add(t, algorithm)
	}
	return i
}

func (i *Issuer) answer(w http.ResponseWriter, v any) {
	i.mu.Lock()
	down := i.down
	i.mu.Unlock()
	if down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Add makes a key and publishes it.
func (i *Issuer) Add(t testing.TB, algorithm string) Key {
	t.Helper()
	var private crypto.Signer
	var err error
	switch algorithm {
	case "RS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.next++
	k := Key{strconv.Itoa(i.next), algorithm, private}
	i.keys = append(i.keys, k)
	return k
}

// Withdraw takes a key out of the key set.
func (i *Issuer) Withdraw(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var left []Key
	for _, k := range i.keys {
		if k.ID != id {
			left = append(left, k)
		}
	}
	i.keys = left
}

// Key gives the first key of an algorithm.
func (i *Issuer) Key(algorithm string) Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, k := range i.keys {
		if k.Algorithm == algorithm {
			return k
		}
	}
	return Key{}
}

// Fetches says how often the key set was read.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// SetDown lets the issuer answer nothing but 503.
func (i *Issuer) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Claims are those of a good ID token for an hour.
func (i *Issuer) Claims(subject, audience string) map[string]any {
	now := i.clock()
	return map[string]any{"iss": i.URL, "sub": subject, "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
}

// Sign makes a token with a key. Entries of header replace those it would have;
// nil takes one away.
func (k Key) Sign(claims, header map[string]any) string {
	h := map[string]any{"alg": k.Algorithm, "kid": k.ID, "typ": "JWT"}
	for name, v := range header {
		if h[name] = v; v == nil {
			delete(h, name)
		}
	}
	signed := encode(h) + "." + encode(claims)
	var signature []byte
	switch private := k.Private.(type) {
	case ed25519.PrivateKey:
		signature = ed25519.Sign(private, []byte(signed))
	case *ecdsa.PrivateKey:
		digest := sha256.Sum256([]byte(signed))
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			return ""
		}
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case *rsa.PrivateKey:
		digest := sha256.Sum256([]byte(signed))
		signature, _ = rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encode(v any) string {
	raw, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// jwk gives the public key as RFC 7517 has it.
func (k Key) jwk() map[string]any {
	b64 := base64.RawURLEncoding.EncodeToString
	m := map[string]any{"kid": k.ID, "use": "sig", "alg": k.Algorithm}
	switch public := k.Private.Public().(type) {
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(public)
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err == nil {
			m["kty"], m["crv"], m["x"], m["y"] = "EC", "P-256", b64(point[1:33]), b64(point[33:])
		}
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(public.N.Bytes()), b64(big.NewInt(int64(public.E)).Bytes())
	}
	return m
}
