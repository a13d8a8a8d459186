// Package keystest is the kit every signer and secret store must pass: the
// sealed files of keys/local and a real Vault alike.
//
// [Run] is all that a store's own test calls. Each [Check] is one promise of
// [keys.Signer] or [keys.Secrets]; the kit's own test shows for each that a
// store which breaks it is caught.
package keystest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// A Fixture is a store under test. Tenants of the kit start above 1000, so that
// one store can serve many runs.
type Fixture struct {
	Signer  keys.Signer
	Secrets keys.Secrets
	// Again opens the same store as another process would.
	Again func() (keys.Signer, keys.Secrets)
	// RSA says that the signer has RSA keys.
	RSA bool
}

// T is what a check needs of *testing.T, so that the kit can be tested.
type T interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// A Check is one promise.
type Check struct {
	Name string
	Run  func(t T, f Fixture)
}

// Run holds a store to every check. open is called once for each.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, c := range Checks {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, open(t)) })
	}
}

// Checks lists the promises.
var Checks = []Check{
	{"create twice is create once", createTwice},
	{"create with another algorithm is a conflict", createConflict},
	{"rotate gives exactly one new version", rotate},
	{"the version named signs, before and after a rotation", versionNamed},
	{"what is not there is not found", notFound},
	{"signatures have the one form", forms},
	{"one bad message fails alone", oneBadMessage},
	{"answers are in the order of the messages", order},
	{"another tenant's key is never used", tenants},
	{"another purpose's key is never used", purposes},
	{"purposes are checked", purposeChecks},
	{"digests and messages sign alike", cryptoSigner},
	{"secrets compare and set", secretsCAS},
	{"secrets belong to one tenant and name", secretsApart},
	{"nothing secret is printed", printing},
	{"another process sees the same", another},
	{"many at once", concurrency},
}

const (
	alice = citygate.TenantID(1001)
	bob   = citygate.TenantID(1002)
)

func create(t T, s keys.Signer, tenant citygate.TenantID, p keys.Purpose, a keys.Algorithm) {
	t.Helper()
	if err := s.Create(t.Context(), tenant, p, a); err != nil {
		t.Fatalf("Create(%d, %s, %s): %v", tenant, p, a, err)
	}
}

func versions(t T, s keys.Signer, tenant citygate.TenantID, p keys.Purpose) []keys.Version {
	t.Helper()
	v, err := s.Versions(t.Context(), tenant, p)
	if err != nil {
		t.Fatalf("Versions(%d, %s): %v", tenant, p, err)
	}
	return v
}

func sign(t T, s keys.Signer, tenant citygate.TenantID, p keys.Purpose, version int, message []byte) []byte {
	t.Helper()
	out, err := s.Sign(t.Context(), tenant, p, version, [][]byte{message})
	if err != nil || len(out) != 1 || out[0].Err != nil {
		t.Fatalf("Sign(%d, %s, version %d) = %v, %v", tenant, p, version, out, err)
	}
	return out[0].Bytes
}

// same reports whether two lists of versions hold the same keys.
func same(a, b []keys.Version) bool {
	return slices.EqualFunc(a, b, func(x, y keys.Version) bool {
		return x.Version == y.Version && x.Algorithm == y.Algorithm && x.Created.Equal(y.Created) && equal(x.Public, y.Public)
	})
}

func equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func createTwice(t T, f Fixture) {
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	before := versions(t, f.Signer, alice, keys.Credential)
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	after := versions(t, f.Signer, alice, keys.Credential)
	if len(before) != 1 || before[0].Version != 1 || before[0].Created.IsZero() {
		t.Fatalf("a new key has versions %v, want version 1 with its time", before)
	}
	if !same(before, after) {
		t.Errorf("the second Create changed the key: %v became %v", before, after)
	}
}

func createConflict(t T, f Fixture) {
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	if err := f.Signer.Create(t.Context(), alice, keys.Credential, keys.P256); !errors.Is(err, keys.ErrConflict) {
		t.Errorf("Create with another algorithm: %v, want keys.conflict", err)
	}
}

func rotate(t T, f Fixture) {
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	first := versions(t, f.Signer, alice, keys.Credential)
	for want := 2; want <= 4; want++ {
		got, err := f.Signer.Rotate(t.Context(), alice, keys.Credential)
		if err != nil || got != want {
			t.Fatalf("Rotate = %d, %v, want %d", got, err, want)
		}
	}
	all := versions(t, f.Signer, alice, keys.Credential)
	if len(all) != 4 || !same(all[:1], first) {
		t.Fatalf("after three rotations there are versions %v", all)
	}
	for i, v := range all {
		if v.Version != i+1 || v.Algorithm != keys.Ed25519 || i > 0 && equal(v.Public, all[i-1].Public) {
			t.Errorf("version %d of %d is %v: want a new key of the same algorithm", i+1, len(all), v)
		}
	}
}

func versionNamed(t T, f Fixture) {
	for _, a := range []keys.Algorithm{keys.Ed25519, keys.P256} {
		p := keys.ProviderPurpose(string(a[:4]))
		create(t, f.Signer, alice, p, a)
		if _, err := f.Signer.Rotate(t.Context(), alice, p); err != nil {
			t.Fatalf("Rotate: %v", err)
		}
		for _, v := range versions(t, f.Signer, alice, p) {
			m := fmt.Appendf(nil, "signed with version %d", v.Version)
			if err := keys.Verify(v.Public, m, sign(t, f.Signer, alice, p, v.Version, m)); err != nil {
				t.Errorf("%s: what version %d signed does not verify under its public key", a, v.Version)
			}
		}
	}
}

func notFound(t T, f Fixture) {
	ctx := t.Context()
	if _, err := f.Signer.Versions(ctx, alice, keys.Credential); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("Versions of no key: %v, want keys.not_found", err)
	}
	if _, err := f.Signer.Rotate(ctx, alice, keys.Credential); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("Rotate of no key: %v, want keys.not_found", err)
	}
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	for _, version := range []int{-1, 0, 2, 1 << 30} { // 0 must not mean "the latest"
		if _, err := f.Signer.Sign(ctx, alice, keys.Credential, version, [][]byte{{1}}); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("Sign with version %d: %v, want keys.not_found", version, err)
		}
	}
	if _, _, err := f.Secrets.Get(ctx, alice, "none"); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("Get of no secret: %v, want keys.not_found", err)
	}
}

func forms(t T, f Fixture) {
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	create(t, f.Signer, alice, keys.Audit, keys.P256)
	half := new(big.Int).Rsh(elliptic.P256().Params().N, 1)
	for i := range 24 { // half of all raw ECDSA signatures have a high s
		m := fmt.Appendf(nil, "message %d", i)
		e := sign(t, f.Signer, alice, keys.Credential, 1, m)
		if pub, ok := versions(t, f.Signer, alice, keys.Credential)[0].Public.(ed25519.PublicKey); !ok || !ed25519.Verify(pub, m, e) {
			t.Fatalf("Ed25519: not a pure signature of the message under an ed25519.PublicKey")
		}
		p := sign(t, f.Signer, alice, keys.Audit, 1, m)
		pub, ok := versions(t, f.Signer, alice, keys.Audit)[0].Public.(*ecdsa.PublicKey)
		if !ok || len(p) != 64 {
			t.Fatalf("P-256: %d bytes under a %T, want raw r||s of 64 under an *ecdsa.PublicKey", len(p), pub)
		}
		r, s := new(big.Int).SetBytes(p[:32]), new(big.Int).SetBytes(p[32:])
		digest := sha256.Sum256(m)
		if !ecdsa.Verify(pub, digest[:], r, s) {
			t.Errorf("P-256: not a signature of the message's SHA-256")
		}
		if s.Cmp(half) > 0 {
			t.Errorf("P-256: s is in the upper half of the group")
		}
	}
	if !f.RSA {
		return
	}
	purpose := keys.ProviderPurpose("rsa")
	create(t, f.Signer, alice, purpose, keys.RSA2048)
	digest := sha256.Sum256([]byte("m"))
	pub, ok := versions(t, f.Signer, alice, purpose)[0].Public.(*rsa.PublicKey)
	if !ok || rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sign(t, f.Signer, alice, purpose, 1, []byte("m"))) != nil {
		t.Errorf("RSA: not a PKCS #1 v1.5 signature of the message's SHA-256")
	}
}

func oneBadMessage(t T, f Fixture) {
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	public := versions(t, f.Signer, alice, keys.Credential)[0].Public
	batch := [][]byte{[]byte("a"), make([]byte, keys.MessageMax+1), []byte("c"), nil}
	out, err := f.Signer.Sign(t.Context(), alice, keys.Credential, 1, batch)
	if err != nil || len(out) != len(batch) {
		t.Fatalf("Sign = %d answers, %v; want %d", len(out), err, len(batch))
	}
	for i, o := range out {
		switch {
		case i == 1 && (o.Err == nil || o.Bytes != nil):
			t.Errorf("a message that is too long was signed")
		case i != 1 && (o.Err != nil || keys.Verify(public, batch[i], o.Bytes) != nil):
			t.Errorf("message %d was not signed beside a bad one: %v", i, o.Err)
		}
	}
	if out, err := f.Signer.Sign(t.Context(), alice, keys.Credential, 1, nil); err != nil || len(out) != 0 {
		t.Errorf("Sign of no messages = %v, %v", out, err)
	}
}

func order(t T, f Fixture) {
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	public := versions(t, f.Signer, alice, keys.Credential)[0].Public
	batch := make([][]byte, 50)
	for i := range batch {
		batch[i] = fmt.Appendf(nil, "%d", i)
	}
	out, err := f.Signer.Sign(t.Context(), alice, keys.Credential, 1, batch)
	if err != nil || len(out) != len(batch) {
		t.Fatalf("Sign = %d answers, %v; want %d", len(out), err, len(batch))
	}
	for i := range out {
		if keys.Verify(public, batch[i], out[i].Bytes) != nil {
			t.Errorf("answer %d is not for message %d", i, i)
		}
	}
}

func tenants(t T, f Fixture) {
	m := []byte("m")
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	if _, err := f.Signer.Sign(t.Context(), bob, keys.Credential, 1, [][]byte{m}); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a tenant without a key signs: %v, want keys.not_found", err)
	}
	create(t, f.Signer, bob, keys.Credential, keys.Ed25519)
	a, b := versions(t, f.Signer, alice, keys.Credential)[0].Public, versions(t, f.Signer, bob, keys.Credential)[0].Public
	if equal(a, b) {
		t.Fatalf("two tenants have one key")
	}
	if keys.Verify(a, m, sign(t, f.Signer, bob, keys.Credential, 1, m)) == nil {
		t.Errorf("one tenant's signature verifies under another tenant's key")
	}
}

func purposes(t T, f Fixture) {
	m := []byte("m")
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	if _, err := f.Signer.Sign(t.Context(), alice, keys.DenyList, 1, [][]byte{m}); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a purpose without a key signs: %v, want keys.not_found", err)
	}
	create(t, f.Signer, alice, keys.DenyList, keys.Ed25519)
	if equal(versions(t, f.Signer, alice, keys.Credential)[0].Public, versions(t, f.Signer, alice, keys.DenyList)[0].Public) {
		t.Errorf("two purposes have one key")
	}
}

func purposeChecks(t T, f Fixture) {
	for _, c := range []struct {
		tenant    citygate.TenantID
		purpose   keys.Purpose
		algorithm keys.Algorithm
	}{
		{alice, "", keys.Ed25519}, {alice, "../x", keys.Ed25519}, {alice, "A", keys.Ed25519},
		{alice, keys.Root, keys.Ed25519}, {keys.Platform, keys.Credential, keys.Ed25519}, {-1, keys.Credential, keys.Ed25519},
		{alice, keys.Credential, "none"}, {alice, keys.Credential, ""},
	} {
		if err := f.Signer.Create(t.Context(), c.tenant, c.purpose, c.algorithm); !errors.Is(err, keys.ErrInvalid) {
			t.Errorf("Create(%d, %q, %q): %v, want keys.invalid", c.tenant, string(c.purpose), string(c.algorithm), err)
		}
	}
	create(t, f.Signer, keys.Platform, keys.Root, keys.Ed25519)
}

func cryptoSigner(t T, f Fixture) {
	algorithms := []keys.Algorithm{keys.Ed25519, keys.P256}
	if f.RSA {
		algorithms = append(algorithms, keys.RSA2048)
	}
	m := []byte("a request to a provider")
	digest := sha256.Sum256(m)
	for _, a := range algorithms {
		purpose := keys.ProviderPurpose(string(a))
		create(t, f.Signer, alice, purpose, a)
		s, err := keys.CryptoSigner(t.Context(), f.Signer, alice, purpose, 1)
		if err != nil {
			t.Fatalf("CryptoSigner(%s): %v", a, err)
		}
		opts := crypto.SignerOpts(crypto.SHA256)
		if a == keys.Ed25519 {
			opts = crypto.Hash(0)
		}
		signature, err := crypto.SignMessage(s, nil, m, opts)
		if err != nil || keys.Verify(s.Public(), m, signature) != nil {
			t.Errorf("%s: SignMessage: %v", a, err)
		}
		if _, ok := f.Signer.(keys.DigestSigner); !ok || a == keys.Ed25519 {
			continue
		}
		if signature, err = s.Sign(nil, digest[:], opts); err != nil || keys.Verify(s.Public(), m, signature) != nil {
			t.Errorf("%s: Sign of a digest: %v", a, err)
		}
	}
	if _, err := keys.CryptoSigner(t.Context(), f.Signer, alice, keys.ProviderPurpose(string(keys.Ed25519)), 2); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("CryptoSigner of a version that is not there: %v", err)
	}
}

func secretsCAS(t T, f Fixture) {
	put := func(value string, cas int) (int, error) {
		return f.Secrets.Put(t.Context(), alice, "api-key", citygate.NewSecret([]byte(value)), cas)
	}
	for _, step := range []struct {
		value     string
		cas, want int // 0 = conflict
	}{
		{"early", 1, 0}, {"one", 0, 1}, {"again", 0, 0}, {"two", 1, 2}, {"late", 1, 0}, {"ahead", 3, 0}, {"three", 2, 3},
	} {
		got, err := put(step.value, step.cas)
		if step.want == 0 && !errors.Is(err, keys.ErrConflict) || step.want > 0 && err != nil || got != step.want {
			t.Errorf("Put(%s, cas %d) = %d, %v, want %d", step.value, step.cas, got, err, step.want)
		}
	}
	value, version, err := f.Secrets.Get(t.Context(), alice, "api-key")
	if err != nil || version != 3 || string(value.Reveal()) != "three" {
		t.Errorf("Get gives version %d, %v; want the third value", version, err)
	}
	if _, err := f.Secrets.Put(t.Context(), alice, "../up", citygate.NewSecret([]byte("x")), 0); !errors.Is(err, keys.ErrInvalid) {
		t.Errorf("a secret's name may leave its place: %v", err)
	}
}

func secretsApart(t T, f Fixture) {
	for _, tenant := range []citygate.TenantID{alice, bob} {
		for _, name := range []string{"a", "a.b"} {
			value := citygate.NewSecret(fmt.Appendf(nil, "%d %s", tenant, name))
			if _, err := f.Secrets.Put(t.Context(), tenant, name, value, 0); err != nil {
				t.Fatalf("Put: %v", err)
			}
		}
	}
	got, _, err := f.Secrets.Get(t.Context(), bob, "a")
	if err != nil || string(got.Reveal()) != "1002 a" {
		t.Errorf("Get gave another tenant's or name's secret (%v)", err)
	}
}

func printing(t T, f Fixture) {
	const canary = "canary-3f9a1c"
	if _, err := f.Secrets.Put(t.Context(), alice, "token", citygate.NewSecret([]byte(canary)), 0); err != nil {
		t.Fatalf("Put: %v", err)
	}
	secret, _, err := f.Secrets.Get(t.Context(), alice, "token")
	if err != nil || string(secret.Reveal()) != canary {
		t.Fatalf("Get: %v", err)
	}
	create(t, f.Signer, alice, keys.Credential, keys.Ed25519)
	sign(t, f.Signer, alice, keys.Credential, 1, []byte("m")) // a key that was used may be in memory
	_, conflict := f.Secrets.Put(t.Context(), alice, "token", citygate.NewSecret([]byte(canary+"2")), 7)

	var out bytes.Buffer
	for _, v := range []any{secret, &secret, f.Signer, f.Secrets, conflict, struct{ S citygate.Secret }{secret}} {
		_, _ = fmt.Fprintf(&out, "%v %+v %#v %s %x\n", v, v, v, v, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
		if raw, err := json.Marshal(v); err == nil {
			_, _ = out.Write(raw)
		}
	}
	for _, leak := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%v", []byte(canary))} {
		if bytes.Contains(out.Bytes(), []byte(leak)) {
			t.Errorf("a secret was printed")
		}
	}
	for _, mark := range []string{"PrivateKey", "aead", "Seed"} {
		if bytes.Contains(out.Bytes(), []byte(mark)) {
			t.Errorf("printing the store shows what it holds (%s)", mark)
		}
	}
}

func another(t T, f Fixture) {
	create(t, f.Signer, alice, keys.Credential, keys.P256)
	if _, err := f.Secrets.Put(t.Context(), alice, "s", citygate.NewSecret([]byte("v")), 0); err != nil {
		t.Fatalf("Put: %v", err)
	}
	signer, secrets := f.Again()
	if !same(versions(t, f.Signer, alice, keys.Credential), versions(t, signer, alice, keys.Credential)) {
		t.Errorf("another process sees another key")
	}
	// A version made there is known here at once, and the other way round.
	if v, err := signer.Rotate(t.Context(), alice, keys.Credential); err != nil || v != 2 {
		t.Fatalf("Rotate there = %d, %v", v, err)
	}
	public := versions(t, signer, alice, keys.Credential)[1].Public
	if keys.Verify(public, []byte("m"), sign(t, f.Signer, alice, keys.Credential, 2, []byte("m"))) != nil {
		t.Errorf("a version made by another process signs with another key here")
	}
	if v, err := f.Signer.Rotate(t.Context(), alice, keys.Credential); err != nil || v != 3 {
		t.Errorf("Rotate here = %d, %v, want 3", v, err)
	}
	if got, _, err := secrets.Get(t.Context(), alice, "s"); err != nil || string(got.Reveal()) != "v" {
		t.Errorf("another process does not see the secret: %v", err)
	}
	if _, err := secrets.Put(t.Context(), alice, "s", citygate.NewSecret([]byte("w")), 0); !errors.Is(err, keys.ErrConflict) {
		t.Errorf("another process overwrites a secret: %v", err)
	}
}

// concurrency has two processes do everything at once.
func concurrency(t T, f Fixture) {
	const n = 8
	signer, secrets := f.Again()
	signers, stores := []keys.Signer{f.Signer, signer}, []keys.Secrets{f.Secrets, secrets}
	var wg sync.WaitGroup
	var mu sync.Mutex
	rotated, put := map[int]int{}, 0
	for i := range n {
		wg.Go(func() {
			s := signers[i%2]
			if err := s.Create(t.Context(), alice, keys.Credential, keys.Ed25519); err != nil {
				t.Errorf("Create at once: %v", err)
				return
			}
			v, err := s.Rotate(t.Context(), alice, keys.Credential)
			if err != nil {
				t.Errorf("Rotate at once: %v", err)
			}
			_, putErr := stores[i%2].Put(t.Context(), alice, "one", citygate.NewSecret(fmt.Appendf(nil, "%d", i)), 0)
			if putErr != nil && !errors.Is(putErr, keys.ErrConflict) {
				t.Errorf("Put at once: %v", putErr)
			}
			if out, err := s.Sign(t.Context(), alice, keys.Credential, 1, [][]byte{{byte(i)}}); err != nil || out[0].Err != nil {
				t.Errorf("Sign at once: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			rotated[v]++
			if putErr == nil {
				put++
			}
		})
	}
	wg.Wait()
	if got := len(versions(t, f.Signer, alice, keys.Credential)); got != n+1 || len(rotated) != n {
		t.Errorf("%d rotations at once gave %d versions and the numbers %v", n, got, rotated)
	}
	if put != 1 {
		t.Errorf("%d of %d writers of a new secret were told that they were first", put, n)
	}
}
