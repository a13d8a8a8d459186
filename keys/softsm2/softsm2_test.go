package softsm2_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/keys/softsm2"
)

func store(t *testing.T) *local.Store {
	t.Helper()
	dir := t.TempDir()
	c := local.Config{Dir: filepath.Join(dir, "store"), KeyFile: filepath.Join(dir, "keys", "unseal"), Random: rand.Reader, Clock: func() time.Time { return time.Unix(1_800_000_000, 0) }}
	if err := local.CreateKeyFile(c.KeyFile, c.Random); err != nil {
		t.Fatal(err)
	}
	s, err := local.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type warnings struct {
	mu    sync.Mutex
	lines []string
}

func (w *warnings) add(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line)
}

func all(t *testing.T) (*softsm2.Keys, *warnings) {
	w := new(warnings)
	return &softsm2.Keys{Secrets: store(t), Random: rand.Reader, Warn: w.add}, w
}

func TestAKeyIsMadeOnceAndSaidLoudly(t *testing.T) {
	k, warned := all(t)
	if _, err := k.Open(t.Context(), 20, keys.Credential); !errors.Is(err, keys.ErrNotFound) {
		t.Fatalf("before it is made: %v", err)
	}
	if len(warned.lines) != 0 {
		t.Errorf("warned of nothing: %q", warned.lines)
	}
	first, err := k.Create(t.Context(), 20, keys.Credential)
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []func(context.Context, citygate.TenantID, keys.Purpose) (*softsm2.Key, error){k.Create, k.Open} {
		warned.lines = nil
		again, err := open(t.Context(), 20, keys.Credential)
		if err != nil || string(again.Public()) != string(first.Public()) {
			t.Errorf("again: %v", err)
		}
		if len(warned.lines) != 1 || !strings.Contains(warned.lines[0], "tenant 20") || !strings.Contains(warned.lines[0], "software key") {
			t.Errorf("warnings %q", warned.lines)
		}
	}
	other, err := k.Create(t.Context(), 21, keys.Credential)
	if err != nil || string(other.Public()) == string(first.Public()) {
		t.Errorf("another tenant's key: %v", err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, first); got != "[key]" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

// Two processes that make the key at once must not sign with two.
func TestAKeyMadeTwiceAtOnceIsOne(t *testing.T) {
	k, _ := all(t)
	public := make([]string, 8)
	var wg sync.WaitGroup
	for i := range public {
		wg.Go(func() {
			key, err := k.Create(t.Context(), 20, keys.Credential)
			if err != nil {
				t.Error(err)
				return
			}
			public[i] = string(key.Public())
		})
	}
	wg.Wait()
	for _, p := range public {
		if p != public[0] || len(p) != sm2.KeySize {
			t.Errorf("%x and %x", p, public[0])
		}
	}
}

// broken is a secret store that loses the reply of a Put that worked.
type broken struct{ keys.Secrets }

func (b broken) Put(ctx context.Context, tenant citygate.TenantID, name string, value citygate.Secret, cas int) (int, error) {
	if _, err := b.Secrets.Put(ctx, tenant, name, value, cas); err != nil {
		return 0, err
	}
	return 0, keys.ErrUnavailable
}

func TestALostReplyLeavesOneKey(t *testing.T) {
	k, _ := all(t)
	good := k.Secrets
	k.Secrets = broken{good}
	if _, err := k.Create(t.Context(), 20, keys.Credential); !errors.Is(err, keys.ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	k.Secrets = good
	first, err := k.Create(t.Context(), 20, keys.Credential)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := k.Open(t.Context(), 20, keys.Credential); err != nil || string(again.Public()) != string(first.Public()) {
		t.Errorf("after a lost reply: %v", err)
	}
}

func TestWhatHasNoSM2Key(t *testing.T) {
	k, _ := all(t)
	for tenant, purpose := range map[citygate.TenantID]keys.Purpose{keys.Platform: keys.Root, 20: "No Purpose", 21: keys.Root} {
		if _, err := k.Create(t.Context(), tenant, purpose); !errors.Is(err, keys.ErrInvalid) {
			t.Errorf("tenant %d, %s: %v", tenant, purpose, err)
		}
	}
	if _, err := k.Secrets.Put(t.Context(), 30, "sm2-software-key.credential", citygate.NewSecret([]byte("short")), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(t.Context(), 30, keys.Credential); !errors.Is(err, keys.ErrInvalid) || strings.Contains(err.Error(), "short") {
		t.Errorf("a secret that is no key: %v", err)
	}
	key, err := k.Create(t.Context(), 20, keys.Credential)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Sign(nil, make([]byte, keys.MessageMax+1)); !errors.Is(err, keys.ErrInvalid) {
		t.Errorf("a message that is too long: %v", err)
	}
}

// What a tenant signs with it, a validator takes.
func TestAnIssuerOfTheMinistrysLayout(t *testing.T) {
	k, _ := all(t)
	issuer, err := k.Create(t.Context(), 20, keys.Credential)
	if err != nil {
		t.Fatal(err)
	}
	user, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := motsm2.Defaults()
	p.Certificate = motsm2.CertificateAbsent
	s, err := motsm2.New(p)
	if err != nil {
		t.Fatal(err)
	}
	authorised, err := s.BuildAuthorisation(motsm2.Authorisation{Version: 0x81, CardIssuer: 1, Platform: 2, CapMinor: 5, UserKey: sm2.Compress(user.Public()), ExpiresAt: 1_800_086_400, Validity: 60}, issuer.Sign)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Display(authorised, 1_800_000_000, func(uid, msg []byte) ([]byte, error) { return user.Sign(rand.Reader, uid, msg) })
	if err != nil {
		t.Fatal(err)
	}
	trust := new(code.Trust)
	trust.AddForeign(motsm2.IssuerKey(1, 2), issuer.Public())
	var c code.Code
	if err := s.Parse(raw, &c); err != nil {
		t.Fatal(err)
	}
	if v := s.Verify(&c, trust, nil); v.Outcome != code.Accept {
		t.Errorf("%+v", v)
	}
}
