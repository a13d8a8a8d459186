package keystest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/keystest"
	"github.com/cashlesscity/citygate/keys/local"
)

// recorder is a T that remembers failures.
type recorder struct {
	*testing.T
	mu     sync.Mutex
	failed []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func honest(t *testing.T) *local.Store {
	t.Helper()
	dir := t.TempDir()
	c := local.Config{Dir: filepath.Join(dir, "store"), KeyFile: filepath.Join(dir, "key"), Random: rand.Reader,
		Clock: func() time.Time { return time.Unix(1_800_000_000, 0) }}
	if err := local.CreateKeyFile(c.KeyFile, c.Random); err != nil {
		t.Fatal(err)
	}
	s, err := local.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mutant is a store with one promise broken: a nil func is kept.
type mutant struct {
	*local.Store
	create   func(m *mutant, tenant citygate.TenantID, p keys.Purpose, a keys.Algorithm) error
	rotate   func(m *mutant, tenant citygate.TenantID, p keys.Purpose) (int, error)
	versions func(m *mutant, tenant citygate.TenantID, p keys.Purpose) ([]keys.Version, error)
	sign     func(m *mutant, tenant citygate.TenantID, p keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error)
	digest   func(m *mutant, digest []byte) ([]byte, error)
	put      func(m *mutant, tenant citygate.TenantID, name string, v citygate.Secret, cas int) (int, error)
	again    func(t *testing.T, m *mutant) *local.Store
	prints   string
}

var ctx = context.Background()

func (m *mutant) Create(ctx context.Context, tenant citygate.TenantID, p keys.Purpose, a keys.Algorithm) error {
	if m.create != nil {
		return m.create(m, tenant, p, a)
	}
	return m.Store.Create(ctx, tenant, p, a)
}

func (m *mutant) Rotate(ctx context.Context, tenant citygate.TenantID, p keys.Purpose) (int, error) {
	if m.rotate != nil {
		return m.rotate(m, tenant, p)
	}
	return m.Store.Rotate(ctx, tenant, p)
}

func (m *mutant) Versions(ctx context.Context, tenant citygate.TenantID, p keys.Purpose) ([]keys.Version, error) {
	if m.versions != nil {
		return m.versions(m, tenant, p)
	}
	return m.Store.Versions(ctx, tenant, p)
}

func (m *mutant) Sign(ctx context.Context, tenant citygate.TenantID, p keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
	if m.sign != nil {
		return m.sign(m, tenant, p, version, messages)
	}
	return m.Store.Sign(ctx, tenant, p, version, messages)
}

func (m *mutant) SignDigest(ctx context.Context, tenant citygate.TenantID, p keys.Purpose, version int, digest []byte) ([]byte, error) {
	if m.digest != nil {
		return m.digest(m, digest)
	}
	return m.Store.SignDigest(ctx, tenant, p, version, digest)
}

func (m *mutant) Put(ctx context.Context, tenant citygate.TenantID, name string, v citygate.Secret, cas int) (int, error) {
	if m.put != nil {
		return m.put(m, tenant, name, v, cas)
	}
	return m.Store.Put(ctx, tenant, name, v, cas)
}

func (m *mutant) Format(f fmt.State, verb rune) {
	m.Store.Format(f, verb)
	_, _ = fmt.Fprint(f, m.prints)
}

// mutants breaks each check's promise, by the check's name.
var mutants = map[string]mutant{
	"create twice is create once": {create: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, a keys.Algorithm) error {
		if _, err := m.Store.Rotate(ctx, tenant, p); err == nil {
			return nil
		}
		return m.Store.Create(ctx, tenant, p, a)
	}},
	"create with another algorithm is a conflict": {create: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, a keys.Algorithm) error {
		if err := m.Store.Create(ctx, tenant, p, a); !errors.Is(err, keys.ErrConflict) {
			return err
		}
		return nil
	}},
	"rotate gives exactly one new version": {rotate: func(m *mutant, tenant citygate.TenantID, p keys.Purpose) (int, error) {
		v, err := m.Store.Rotate(ctx, tenant, p)
		if err != nil {
			return v, err
		}
		_, err = m.Store.Rotate(ctx, tenant, p) // a call that was retried
		return v, err
	}},
	"the version named signs, before and after a rotation": {sign: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
		if all, err := m.Store.Versions(ctx, tenant, p); err == nil {
			version = len(all) // always the latest
		}
		return m.Store.Sign(ctx, tenant, p, version, messages)
	}},
	"what is not there is not found": {sign: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
		return m.Store.Sign(ctx, tenant, p, max(version, 1), messages) // 0 means some version
	}},
	"signatures have the one form": {sign: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
		out, err := m.Store.Sign(ctx, tenant, p, version, messages)
		if p == keys.Audit && err == nil {
			out[0].Bytes = highS(out[0].Bytes)
		}
		return out, err
	}},
	"one bad message fails alone": {sign: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
		out, err := m.Store.Sign(ctx, tenant, p, version, messages)
		for _, o := range out {
			err = errors.Join(err, o.Err)
		}
		return out, err
	}},
	"answers are in the order of the messages": {sign: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
		out, err := m.Store.Sign(ctx, tenant, p, version, messages)
		slices.Reverse(out)
		return out, err
	}},
	"another tenant's key is never used": {
		create: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, a keys.Algorithm) error {
			return m.Store.Create(ctx, min(tenant, 1001), p, a)
		},
		versions: func(m *mutant, tenant citygate.TenantID, p keys.Purpose) ([]keys.Version, error) {
			return m.Store.Versions(ctx, min(tenant, 1001), p)
		},
		sign: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
			return m.Store.Sign(ctx, min(tenant, 1001), p, version, messages)
		},
	},
	"another purpose's key is never used": {sign: func(m *mutant, tenant citygate.TenantID, _ keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
		return m.Store.Sign(ctx, tenant, keys.Credential, version, messages)
	}},
	"purposes are checked": {create: func(m *mutant, tenant citygate.TenantID, p keys.Purpose, a keys.Algorithm) error {
		if p == keys.Root {
			p = "root2"
		}
		return m.Store.Create(ctx, tenant, p, a)
	}},
	"digests and messages sign alike": {digest: func(m *mutant, digest []byte) ([]byte, error) {
		out, err := m.Store.Sign(ctx, 1001, keys.ProviderPurpose(string(keys.P256)), 1, [][]byte{digest}) // hashes again
		return out[0].Bytes, err
	}},
	"secrets compare and set": {put: func(m *mutant, tenant citygate.TenantID, name string, v citygate.Secret, cas int) (int, error) {
		if _, current, err := m.Get(ctx, tenant, name); err == nil {
			cas = current // the last writer wins
		}
		return m.Store.Put(ctx, tenant, name, v, cas)
	}},
	"secrets belong to one tenant and name": {put: func(m *mutant, _ citygate.TenantID, name string, v citygate.Secret, _ int) (int, error) {
		for tenant := citygate.TenantID(1001); tenant <= 1002; tenant++ {
			if version, err := m.Store.Put(ctx, tenant, name, v, 0); err != nil {
				return version, nil //nolint:nilerr // the mutant says all is well
			}
		}
		return 1, nil
	}},
	"nothing secret is printed": {prints: "canary-3f9a1c"},
	"another process sees the same": {again: func(t *testing.T, _ *mutant) *local.Store {
		s := honest(t) // a store of its own
		_ = s.Create(ctx, 1001, keys.Credential, keys.P256)
		return s
	}},
	"many at once": {rotate: func(m *mutant, tenant citygate.TenantID, p keys.Purpose) (int, error) {
		all, err := m.Store.Versions(ctx, tenant, p) // reads, then writes
		if err != nil || len(all) > 1 {
			return len(all), err
		}
		return m.Store.Rotate(ctx, tenant, p)
	}},
}

// highS gives the other signature that ECDSA verifiers accept.
func highS(signature []byte) []byte { return keystest.HighS(signature) }

func TestEveryCheckCatchesItsMutant(t *testing.T) {
	for _, c := range keystest.Checks {
		m, ok := mutants[c.Name]
		if !ok {
			t.Errorf("check %q has no mutant: it may never fail", c.Name)
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			m.Store = honest(t)
			again := func() (keys.Signer, keys.Secrets) {
				if m.again != nil {
					s := m.again(t, &m)
					return s, s
				}
				return &m, &m
			}
			r := &recorder{T: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.Run(r, keystest.Fixture{Signer: &m, Secrets: &m, Again: again, RSA: true})
			}()
			<-done
			if len(r.failed) == 0 {
				t.Error("the check passes a store that breaks its promise")
			}
		})
	}
}
