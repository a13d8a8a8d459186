package vault_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/vault"
	"github.com/cashlesscity/citygate/keys/vault/vaulttest"
)

const (
	alice = citygate.TenantID(1001)
	bob   = citygate.TenantID(1002)
)

type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A rig is a store that reaches a server through a proxy, has a key of alice's
// and one of bob's, and a clock that stands.
type rig struct {
	*vault.Store
	server *vaulttest.Server
	place  *vaulttest.Place
	proxy  *vaulttest.Proxy
	clock  *clock
	config vault.Config // its logins are those in use
}

func through(t *testing.T, server *vaulttest.Server, change ...func(*vaulttest.Place, *vault.Config)) *rig {
	t.Helper()
	r := &rig{server: server, place: server.Place(t), proxy: vaulttest.NewProxy(t, server), clock: newClock()}
	config := r.place.Config(t)
	config.Address, config.Clock = r.proxy.Address, r.clock.now
	for _, f := range change {
		f(r.place, &config)
	}
	r.Store, r.config = open(t, config), config
	for _, tenant := range []citygate.TenantID{alice, bob} {
		if err := r.Create(t.Context(), tenant, keys.Credential, keys.Ed25519); err != nil {
			t.Fatalf("Create: %v", err)
		}
	}
	r.proxy.Seen()
	return r
}

func sign(ctx context.Context, s *rig, tenant citygate.TenantID) error {
	out, err := s.Sign(ctx, tenant, keys.Credential, 1, [][]byte{[]byte("m")})
	if err == nil {
		err = out[0].Err
	}
	return err
}

// unavailable gives the reason of an error, or fails the test.
func unavailable(t *testing.T, err error, want keys.Reason) *keys.Unavailable {
	t.Helper()
	var u *keys.Unavailable
	if !errors.As(err, &u) || !errors.Is(err, keys.ErrUnavailable) {
		t.Fatalf("%v, want keys.unavailable: %s", err, want)
	}
	if u.Reason != want || u.RetryAfter() <= 0 {
		t.Fatalf("unavailable because %q, again after %s; want %q", u.Reason, u.RetryAfter(), want)
	}
	return u
}

// Vault answers 200 where one item of a batch failed.
func TestOneItemOfABatchFails(t *testing.T) {
	s := through(t, vaulttest.New(t))
	s.proxy.Set(vaulttest.Fault{Match: vaulttest.On("/sign/"), Change: func(body []byte) []byte {
		return bytes.Replace(body, []byte(`"Yg=="`), []byte(`"Yg"`), 1) // b, not base64 any more
	}})
	messages := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	out, err := s.Sign(t.Context(), alice, keys.Credential, 1, messages)
	if err != nil || len(out) != 3 {
		t.Fatalf("Sign = %d answers, %v", len(out), err)
	}
	versions, err := s.Versions(t.Context(), alice, keys.Credential)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range out {
		switch {
		case i == 1 && (!errors.Is(o.Err, keys.ErrInvalid) || o.Bytes != nil):
			t.Errorf("the item that Vault did not sign is %x, %v", o.Bytes, o.Err)
		case i != 1 && (o.Err != nil || keys.Verify(versions[0].Public, messages[i], o.Bytes) != nil):
			t.Errorf("item %d was lost beside the bad one: %v", i, o.Err)
		}
	}
}

// A signature by another version than the one named is not taken.
func TestAnotherVersionsSignatureIsRefused(t *testing.T) {
	s := through(t, vaulttest.New(t))
	if _, err := s.Rotate(t.Context(), alice, keys.Credential); err != nil {
		t.Fatal(err)
	}
	s.proxy.Set(vaulttest.Fault{Match: vaulttest.On("/sign/"), Change: func(body []byte) []byte {
		return bytes.Replace(body, []byte(`"key_version":1`), []byte(`"key_version":2`), 1)
	}})
	unavailable(t, sign(t.Context(), s, alice), keys.Garbled)
}

func count(t *testing.T, s *rig, tenant citygate.TenantID) int {
	t.Helper()
	versions, err := s.Versions(t.Context(), tenant, keys.Credential)
	if err != nil {
		t.Fatal(err)
	}
	return len(versions)
}

// The reply of a rotation is lost: there is one new version, and it is found.
func TestRotateWithALostReply(t *testing.T) {
	s := through(t, vaulttest.New(t))
	s.proxy.Set(vaulttest.Fault{Match: vaulttest.On("/rotate"), LoseReply: true, Times: 1})
	version, err := s.Rotate(t.Context(), alice, keys.Credential)
	if err != nil || version != 2 {
		t.Errorf("Rotate = %d, %v; want version 2", version, err)
	}
	if n := vaulttest.Count(s.proxy.Seen(), "/rotate"); n != 1 {
		t.Errorf("the rotation was sent %d times", n)
	}
	if n := count(t, s, alice); n != 2 {
		t.Errorf("%d versions after one rotation of one", n)
	}
}

// What cannot be known is said, and nothing is sent twice.
func TestRotateWithAnUnknownOutcome(t *testing.T) {
	s := through(t, vaulttest.New(t))
	var rotated bool
	s.proxy.Set(vaulttest.Fault{Match: func(r *http.Request) bool {
		rotated = rotated || strings.HasSuffix(r.URL.Path, "/rotate")
		return rotated
	}, LoseReply: true})
	if version, err := s.Rotate(t.Context(), alice, keys.Credential); err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("Rotate = %d, %v; want an unknown outcome", version, err)
	}
	s.proxy.Set()
	if n := count(t, s, alice); n != 2 {
		t.Errorf("%d versions, want 2", n)
	}
	s.proxy.Set(vaulttest.Fault{Match: vaulttest.On("/rotate"), Refuse: true})
	if version, err := s.Rotate(t.Context(), bob, keys.Credential); err == nil {
		t.Errorf("a rotation that never arrived gave version %d", version)
	}
	if n := count(t, s, bob); n != 1 {
		t.Errorf("%d versions after no rotation", n)
	}
}

func TestPutWithALostReply(t *testing.T) {
	s := through(t, vaulttest.New(t))
	ctx := t.Context()
	lost := vaulttest.Fault{Match: func(r *http.Request) bool {
		return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/data/")
	}, LoseReply: true, Times: 1}
	s.proxy.Set(lost)
	version, err := s.Put(ctx, alice, "api-key", citygate.NewSecret([]byte("one")), 0)
	if err != nil || version != 1 {
		t.Errorf("Put = %d, %v; want version 1", version, err)
	}
	// Somebody else's value at the version that would be ours is no success.
	if _, err := s.Put(ctx, alice, "api-key", citygate.NewSecret([]byte("two")), 1); err != nil {
		t.Fatal(err)
	}
	s.proxy.Set(lost)
	if version, err := s.Put(ctx, alice, "api-key", citygate.NewSecret([]byte("mine")), 1); !errors.Is(err, keys.ErrConflict) {
		t.Errorf("Put over another's value = %d, %v; want keys.conflict", version, err)
	}
	got, version, err := s.Get(ctx, alice, "api-key")
	if err != nil || version != 2 || string(got.Reveal()) != "two" {
		t.Errorf("Get gives version %d, %v", version, err)
	}
}

// Reading and signing are tried once more after a broken connection.
func TestABrokenConnectionIsMetOnce(t *testing.T) {
	s := through(t, vaulttest.New(t))
	for name, fault := range map[string]vaulttest.Fault{"refused": {Refuse: true, Times: 1}, "reply lost": {LoseReply: true, Times: 1}} {
		fault.Match = vaulttest.On("/sign/")
		s.proxy.Set(fault)
		if err := sign(t.Context(), s, alice); err != nil {
			t.Errorf("%s once: %v", name, err)
		}
	}
	s.proxy.Seen()
	s.proxy.Set(vaulttest.Fault{Match: vaulttest.On("/sign/"), Refuse: true})
	unavailable(t, sign(t.Context(), s, alice), keys.Down)
	if n := vaulttest.Count(s.proxy.Seen(), "/sign/"); n != 2 {
		t.Errorf("one signature was asked for %d times, want 2", n)
	}
}

// A sealed Vault: signing fails with the reason, verification goes on, and Vault
// coming back meets one caller at a time.
func TestSealed(t *testing.T) {
	server := vaulttest.Private(t)
	s := through(t, server)
	before, err := s.Versions(t.Context(), alice, keys.Credential)
	if err != nil {
		t.Fatal(err)
	}
	server.Seal(t)
	s.proxy.Seen()
	for range 5 {
		unavailable(t, sign(t.Context(), s, alice), keys.Sealed)
	}
	asked := len(s.proxy.Seen())
	for range 20 {
		unavailable(t, sign(t.Context(), s, bob), keys.Sealed)
	}
	if n := len(s.proxy.Seen()); asked != 5 || n != 0 {
		t.Errorf("%d requests until calls were refused at once, and %d after; want 5 and 0", asked, n)
	}
	if h := s.Health(); !h.Refusing || h.Reason != keys.Sealed {
		t.Errorf("Health = %+v", h)
	}
	// 24 hours and more the public keys are there.
	s.clock.move(30 * time.Hour)
	after, err := s.Versions(t.Context(), alice, keys.Credential)
	if err != nil || len(after) != len(before) || after[0].Version != before[0].Version {
		t.Errorf("public keys of a sealed Vault: %v, %v", after, err)
	}
	// Many callers, one try each time.
	for range 6 {
		s.clock.move(6 * time.Second)
		s.proxy.Seen()
		crowd(t, func() {
			if err := sign(t.Context(), s, alice); err == nil {
				t.Error("a sealed Vault signs")
			}
		})
		if n := len(s.proxy.Seen()); n > 2 { // a refused token is looked at besides
			t.Errorf("a crowd made %d requests of a sealed Vault", n)
		}
	}
	server.Unseal(t)
	s.clock.move(10 * time.Second)
	if err := sign(t.Context(), s, alice); err != nil {
		t.Fatalf("10 s after Vault came back: %v", err)
	}
	s.proxy.Seen()
	crowd(t, func() {
		if err := sign(t.Context(), s, bob); err != nil {
			t.Errorf("after Vault came back: %v", err)
		}
	})
	if n := len(s.proxy.Seen()); n > 2*crowdSize {
		t.Errorf("%d callers made %d requests when Vault came back", crowdSize, n)
	}
	s.clock.move(vault.DefaultRemember + time.Hour)
	server.Seal(t)
	_, err = s.Versions(t.Context(), alice, keys.Credential)
	unavailable(t, err, keys.Sealed)
}

const crowdSize = 40

func crowd(t *testing.T, f func()) {
	t.Helper()
	var wg sync.WaitGroup
	for range crowdSize {
		wg.Go(f)
	}
	wg.Wait()
}

// A gateway that starts while Vault is sealed is there when Vault is.
func TestOpenWhileSealed(t *testing.T) {
	server := vaulttest.Private(t)
	place, c := server.Place(t), newClock()
	config := place.Config(t)
	config.Clock = c.now
	// The deliverer of SecretIDs has one ready from before.
	for _, login := range []*vault.AppRole{config.Sign.(*vault.AppRole), config.Admin.(*vault.AppRole)} {
		secret := citygate.NewSecret([]byte(place.Wrapped(t, login.Role)))
		login.Wrapped = func(context.Context) (citygate.Secret, error) { return secret, nil }
	}
	server.Seal(t)
	s := open(t, config)
	if err := s.Create(t.Context(), alice, keys.Credential, keys.Ed25519); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("Create: %v", err)
	}
	server.Unseal(t)
	c.move(6 * time.Second)
	await(t, "a login after Vault came back", func() bool {
		h := s.Health()
		return h.Tokens[0].LoggedIn && h.Tokens[1].LoggedIn
	})
	c.move(10 * time.Second)
	if err := s.Create(t.Context(), alice, keys.Credential, keys.Ed25519); err != nil {
		t.Errorf("Create after Vault came back: %v", err)
	}
}

// await waits for something that happens in the background.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("no %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// 429 comes from a quota of the server. It makes the tenant wait that was told
// so, and nobody else.
func TestThrottled(t *testing.T) {
	server := vaulttest.Private(t)
	s := through(t, server)
	quota := map[string]any{"path": s.place.Transit + "/sign/" + vault.KeyName(alice, keys.Credential), "rate": 1, "interval": "1h"}
	server.Do(t, http.MethodPost, "sys/quotas/rate-limit/alice", quota)
	if err := sign(t.Context(), s, alice); err != nil {
		t.Fatalf("within the quota: %v", err)
	}
	wait := unavailable(t, sign(t.Context(), s, alice), keys.Throttled).RetryAfter()
	s.proxy.Seen()
	for range 20 {
		unavailable(t, sign(t.Context(), s, alice), keys.Throttled)
		if err := sign(t.Context(), s, bob); err != nil {
			t.Fatalf("another tenant: %v", err)
		}
	}
	seen := s.proxy.Seen()
	if n := vaulttest.Count(seen, vault.KeyName(alice, keys.Credential)); n != 0 {
		t.Errorf("%d requests of the tenant that was told to wait", n)
	}
	if s.Health().Refusing {
		t.Error("one tenant's quota closed Vault to all")
	}
	server.Do(t, http.MethodDelete, "sys/quotas/rate-limit/alice", nil)
	s.clock.move(wait)
	if err := sign(t.Context(), s, alice); err != nil {
		t.Errorf("after the wait of %s: %v", wait, err)
	}
}

// A slow Vault: calls end by the deadline, and nobody is let through for a while
// after five.
func TestSlow(t *testing.T) {
	if vault.DefaultDeadline != 2*time.Second {
		t.Errorf("a call may take %s, promised are 2 s", vault.DefaultDeadline)
	}
	s := through(t, vaulttest.New(t), func(_ *vaulttest.Place, config *vault.Config) { config.Deadline = 50 * time.Millisecond })
	s.proxy.Set(vaulttest.Fault{Match: vaulttest.On("/sign/"), Delay: time.Hour})
	for range 10 {
		unavailable(t, sign(t.Context(), s, alice), keys.Slow)
	}
	if n := len(s.proxy.Seen()); n != 5 {
		t.Errorf("%d requests of 10 reached a slow Vault, want 5", n)
	}
	s.proxy.Set()
	s.clock.move(10 * time.Second)
	if err := sign(t.Context(), s, alice); err != nil {
		t.Errorf("10 s after Vault was slow: %v", err)
	}
}

// A tenant whose calls hang holds no more places than its own, and callers that
// go away say nothing about Vault.
func TestATenantsPlaces(t *testing.T) {
	const places = 2
	s := through(t, vaulttest.New(t), func(_ *vaulttest.Place, config *vault.Config) { config.Deadline, config.AtOnce = time.Minute, places })
	arrived := make(chan struct{}, 100)
	s.proxy.Set(vaulttest.Fault{Match: func(r *http.Request) bool {
		slow := strings.Contains(r.URL.Path, "/sign/"+vault.KeyName(alice, keys.Credential))
		if slow {
			arrived <- struct{}{}
		}
		return slow
	}, Delay: time.Hour})
	for range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range places {
			wg.Go(func() {
				if err := sign(ctx, s, alice); !errors.Is(err, context.Canceled) {
					t.Errorf("a caller that went away: %v", err)
				}
			})
		}
		for range places {
			<-arrived
		}
		soon, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		unavailable(t, sign(soon, s, alice), keys.Busy)
		stop()
		if err := sign(t.Context(), s, bob); err != nil {
			t.Errorf("another tenant beside one that hangs: %v", err)
		}
		cancel()
		wg.Wait()
	}
	if s.Health().Refusing {
		t.Error("callers that went away closed Vault")
	}
	if n := vaulttest.Count(s.proxy.Seen(), vault.KeyName(alice, keys.Credential)); n != 4*places {
		t.Errorf("%d requests of one tenant were under way, want %d", n, 4*places)
	}
}

// All tokens are revoked: one login serves every caller.
func TestRevokedToken(t *testing.T) {
	server := vaulttest.New(t)
	s := through(t, server)
	revoke := func() {
		server.Do(t, http.MethodPut, "sys/leases/revoke-prefix/auth/"+s.place.AppRole+"/login", nil)
	}
	s.clock.move(time.Minute)
	revoke()
	// One of them is refused when the others have the new token already.
	s.proxy.Set(vaulttest.Fault{Match: vaulttest.On("/sign/"), Times: 1, Delay: 500 * time.Millisecond})
	crowd(t, func() {
		if err := sign(t.Context(), s, alice); err != nil {
			t.Errorf("with a revoked token: %v", err)
		}
	})
	if n := vaulttest.Count(s.proxy.Seen(), "/login"); n != 1 {
		t.Errorf("%d callers made %d logins, want 1", crowdSize, n)
	}
	// Revoked again at once: the login of moments ago is all there is.
	revoke()
	for range 3 {
		unavailable(t, sign(t.Context(), s, alice), keys.Denied)
	}
	if n := vaulttest.Count(s.proxy.Seen(), "/login"); n != 0 {
		t.Errorf("%d logins within 5 s of the last", n)
	}
	s.clock.move(5 * time.Second)
	if err := sign(t.Context(), s, alice); err != nil {
		t.Errorf("5 s later: %v", err)
	}
}
