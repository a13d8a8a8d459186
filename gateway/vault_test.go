package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/sentinel"
	"github.com/cashlesscity/citygate/keys/vault"
	"github.com/cashlesscity/citygate/keys/vault/vaulttest"
)

// A whole gateway on a real Vault, which is then sealed: taps are verified and
// recorded, also past the day on which the bundle should have been renewed;
// issuing is refused with the reason and the time of the next try; and a second
// gateway starts.
func TestSealedVault(t *testing.T) {
	server := vaulttest.Private(t)
	place := server.Place(t)
	keep := func(o *office) keyStore {
		c := place.Config(t)
		c.Clock, c.Log = o.now, o.secrets.Logger()
		c.Address = overheard(t, c.Address, &o.secrets)
		o.secrets.AddText("Vault's root token", server.Token)
		for _, login := range []vault.Login{c.Sign, c.Admin} {
			role, ok := login.(*vault.AppRole)
			if !ok {
				t.Fatalf("a login is a %T", login)
			}
			wrapped := role.Wrapped
			role.Wrapped = func(ctx context.Context) (citygate.Secret, error) {
				token, err := wrapped(ctx)
				o.secrets.Add("a SecretID's wrapping token", token.Reveal())
				return token, err
			}
		}
		s, err := vault.Open(t.Context(), c)
		o.must(err)
		t.Cleanup(func() { _ = s.Close(t.Context()) })
		return s
	}
	o := openWith(t, keep)
	o.onboard()
	o.move(7*24*time.Hour + 10*time.Hour) // a bundle of 30 days is renewed after 7.5
	credential := o.credential("phone")
	v := o.validator()
	batch := o.board(v, credential, "phone")
	server.Seal(t)
	o.move(8 * time.Hour)
	if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
		t.Errorf("a tap while Vault is sealed: %v", got)
	}
	body, err := json.Marshal(map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "rider-2", Contract: "sandbox", DeviceKey: key("watch")[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}})
	o.must(err)
	w := o.ask(http.MethodPost, busPath("credentials"), "application/json", body)
	var p edge.Problem
	o.must(json.Unmarshal(w.Body.Bytes(), &p))
	seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
	if w.Code != http.StatusServiceUnavailable || p.Code != keys.ErrUnavailable.Name || !strings.Contains(p.Detail, "sealed") || err != nil || seconds < 1 {
		t.Errorf("issuing while Vault is sealed: %d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	created, err := o.EnsurePlatform(t.Context(), actor)
	if created || err != nil {
		t.Errorf("starting while Vault is sealed: %v, %v", created, err)
	}
	server.Unseal(t)
	o.move(renewEvery) // a renewal that failed is tried again
	o.credential("watch")
	b, err := o.Bundle(t.Context(), bus)
	o.must(err)
	if b.Version() < 2 {
		t.Errorf("the bundle is still version %d after Vault came back", b.Version())
	}
	o.noSecretIsOut()
}

// spoken are the fields in which Vault and its clients tell each other who they are.
var spoken = regexp.MustCompile(`"(client_token|secret_id|token)": ?"([^"]+)"`)

// overheard gives an address in front of a Vault's: whatever SecretID or token goes
// through is a secret from then on.
func overheard(t *testing.T, address string, secrets *sentinel.Set) string {
	t.Helper()
	behind, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	heard := func(body io.ReadCloser) (io.ReadCloser, error) {
		raw, err := io.ReadAll(body)
		for _, m := range spoken.FindAllSubmatch(raw, -1) {
			secrets.Add("Vault's "+string(m[1]), m[2])
		}
		return io.NopCloser(bytes.NewReader(raw)), errors.Join(err, body.Close())
	}
	tokens := atomic.Int64{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(behind)
			if token := r.In.Header.Get("X-Vault-Token"); token != "" {
				tokens.Add(1)
				secrets.AddText("a token of Vault's", token)
			}
			if r.Out.Body != nil {
				if body, err := heard(r.Out.Body); err == nil {
					r.Out.Body = body
				}
			}
		},
		ModifyResponse: func(r *http.Response) (err error) {
			r.Body, err = heard(r.Body)
			return err
		},
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(func() {
		server.Close()
		if tokens.Load() == 0 {
			t.Error("no token of Vault's was heard")
		}
	})
	return server.URL
}
