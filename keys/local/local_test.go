package local_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/keystest"
	"github.com/cashlesscity/citygate/keys/local"
)

var at = time.Unix(1_800_000_000, 0).UTC()

func config(t *testing.T) local.Config {
	t.Helper()
	dir := t.TempDir()
	c := local.Config{Dir: filepath.Join(dir, "store"), KeyFile: filepath.Join(dir, "keys", "unseal"), Random: rand.Reader,
		Clock: func() time.Time { return at }}
	if err := local.CreateKeyFile(c.KeyFile, c.Random); err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t *testing.T, c local.Config) *local.Store {
	t.Helper()
	s, err := local.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKit(t *testing.T) {
	keystest.Run(t, func(t *testing.T) keystest.Fixture {
		c := config(t)
		s := open(t, c)
		return keystest.Fixture{Signer: s, Secrets: s, RSA: true, Again: func() (keys.Signer, keys.Secrets) {
			again := open(t, c)
			return again, again
		}}
	})
}

func TestKeyFileThatOthersMayReadIsRefusedWithTheRemedy(t *testing.T) {
	c := config(t)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o777} {
		if err := os.Chmod(c.KeyFile, mode); err != nil {
			t.Fatal(err)
		}
		_, err := local.Open(c)
		if !errors.Is(err, local.ErrKeyFile) || !strings.Contains(err.Error(), "chmod 600 "+c.KeyFile) {
			t.Errorf("mode %04o: %v, want a refusal that says what to run", mode, err)
		}
	}
	if err := os.Chmod(c.KeyFile, 0o400); err != nil {
		t.Fatal(err)
	}
	open(t, c)
}

func TestKeyFileOfAnotherStoreIsRefused(t *testing.T) {
	c := config(t)
	open(t, c)
	c.KeyFile = config(t).KeyFile
	if _, err := local.Open(c); !errors.Is(err, local.ErrKeyFile) {
		t.Errorf("opened with another key file: %v", err)
	}
}

func TestKeyFileInsideItsStoreIsRefused(t *testing.T) {
	c := config(t)
	for _, inside := range []string{filepath.Join(c.Dir, "key"), filepath.Join(c.Dir, "a", "..", "b", "key")} {
		c.KeyFile = inside
		if _, err := local.Open(c); !errors.Is(err, local.ErrKeyFile) {
			t.Errorf("%s: %v", inside, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Mkdir(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(c.Dir, link); err != nil {
		t.Fatal(err)
	}
	if !local.Inside(filepath.Join(link, "key"), c.Dir) {
		t.Error("a link to the store hides that the key file lies in it")
	}
	if local.Inside(c.Dir+"-2/key", c.Dir) || local.Inside(filepath.Dir(c.Dir), c.Dir) {
		t.Error("a neighbour counts as inside")
	}
}

func TestKeyFileIsNeverReplaced(t *testing.T) {
	c := config(t)
	before, err := os.ReadFile(c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := local.CreateKeyFile(c.KeyFile, rand.Reader); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second CreateKeyFile: %v", err)
	}
	after, err := os.ReadFile(c.KeyFile)
	if err != nil || !bytes.Equal(before, after) || len(after) != 32 {
		t.Errorf("the key file changed: %v", err)
	}
	if info, err := os.Stat(c.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file has mode %v", info.Mode())
	}
	for name, content := range map[string][]byte{"short": make([]byte, 31), "long": make([]byte, 33), "empty": nil} {
		c.KeyFile = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(c.KeyFile, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := local.Open(c); !errors.Is(err, local.ErrKeyFile) {
			t.Errorf("%s key file: %v", name, err)
		}
	}
}

// files lists everything in the store but the check file, by path.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(path, filepath.Join(dir, "check")) {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAFileStandsForNothingElse(t *testing.T) {
	c := config(t)
	s := open(t, c)
	ctx := t.Context()
	for _, tenant := range []citygate.TenantID{1, 2} {
		for _, p := range []keys.Purpose{keys.Credential, keys.DenyList} {
			if err := s.Create(ctx, tenant, p, keys.Ed25519); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Rotate(ctx, tenant, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := files(t, c.Dir)
	if len(all) != 8 {
		t.Fatalf("files: %v", all)
	}
	victim := filepath.Join(c.Dir, "keys", "1", "credential", "1")
	good, err := os.ReadFile(victim)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range all {
		if other == victim {
			continue
		}
		swapped, err := os.ReadFile(other)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(victim, swapped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, c).Sign(ctx, 1, keys.Credential, 1, [][]byte{{1}}); !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("%s passes for %s: %v", other, victim, err)
		}
	}
	for cut := range len(good) {
		bad := bytes.Clone(good)
		bad[cut] ^= 1
		for _, content := range [][]byte{good[:cut], bad} {
			if err := os.WriteFile(victim, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, c).Versions(ctx, 1, keys.Credential); !errors.Is(err, keys.ErrUnavailable) {
				t.Fatalf("a damaged file is taken for a key: %v", err)
			}
		}
	}
}

func TestNothingLiesOnDiskInTheClear(t *testing.T) {
	c := config(t)
	seed := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	c.Random = bytes.NewReader(seed) // every private key is now a known string
	s := open(t, c)
	ctx := t.Context()
	if err := s.Create(ctx, 1, keys.Credential, keys.Ed25519); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, 1, "api", citygate.NewSecret([]byte("canary-value")), 0); err != nil {
		t.Fatal(err)
	}
	for _, path := range files(t, c.Dir) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		// The nonce is made of the known string too, hence the 13th byte on.
		if bytes.Contains(content, []byte("canary-value")) || bytes.Contains(content[4+12:], []byte("0123456789")) {
			t.Errorf("%s shows what it holds", path)
		}
	}
}

func TestWhatACrashLeavesMeansNothing(t *testing.T) {
	c := config(t)
	s := open(t, c)
	ctx := t.Context()
	if err := s.Create(ctx, 1, keys.Credential, keys.Ed25519); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(c.Dir, "keys", "1", "credential")
	for _, name := range []string{".new-00", "02", "2.bak", "-1", "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half a fi"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, c)
	if v, err := s.Versions(ctx, 1, keys.Credential); err != nil || len(v) != 1 {
		t.Fatalf("Versions = %v, %v", v, err)
	}
	if v, err := s.Rotate(ctx, 1, keys.Credential); err != nil || v != 2 {
		t.Errorf("Rotate = %d, %v", v, err)
	}
}

func TestEachCallLeavesNoFileAside(t *testing.T) {
	c := config(t)
	s := open(t, c)
	for range 3 {
		_ = s.Create(t.Context(), 1, keys.Credential, keys.Ed25519)
		_, _ = s.Put(t.Context(), 1, "a", citygate.NewSecret([]byte("v")), 0)
	}
	for _, path := range files(t, c.Dir) {
		if strings.HasPrefix(filepath.Base(path), ".") {
			t.Errorf("left behind: %s", path)
		}
	}
}

// empty is a source of randomness that has run dry.
type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestNoRandomnessNoKey(t *testing.T) {
	c := config(t)
	open(t, c)
	c.Random = empty{}
	if s, err := local.Open(c); err == nil {
		if err := s.Create(t.Context(), 1, keys.Credential, keys.Ed25519); err == nil {
			t.Error("a key was made without randomness")
		}
	}
}

func TestSameRandomnessSameKeys(t *testing.T) {
	public := func() string {
		c := config(t)
		c.Random = strings.NewReader(strings.Repeat("seed of a test run", 1000))
		s := open(t, c)
		out := ""
		for _, a := range []keys.Algorithm{keys.Ed25519, keys.P256} {
			p := keys.ProviderPurpose(string(a))
			if err := s.Create(t.Context(), 1, p, a); err != nil {
				t.Fatal(err)
			}
			v, err := s.Versions(t.Context(), 1, p)
			if err != nil || !v[0].Created.Equal(at) {
				t.Fatalf("Versions = %v, %v", v, err)
			}
			_, raw, err := keys.EncodePublic(v[0].Public)
			if err != nil {
				t.Fatal(err)
			}
			sig, err := s.Sign(t.Context(), 1, p, 1, [][]byte{{1}})
			if err != nil {
				t.Fatal(err)
			}
			out += fmt.Sprintf("%x %x ", raw, sig[0].Bytes)
		}
		return out
	}
	if a, b := public(), public(); a != b {
		t.Error("the injected randomness does not decide keys and signatures")
	}
}

func TestACancelledBatchSignsNothing(t *testing.T) {
	s := open(t, config(t))
	if err := s.Create(t.Context(), 1, keys.Credential, keys.Ed25519); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if out, err := s.Sign(ctx, 1, keys.Credential, 1, [][]byte{{1}}); err == nil || out != nil {
		t.Errorf("Sign = %v, %v", out, err)
	}
}

func BenchmarkSign(b *testing.B) {
	dir := b.TempDir()
	c := local.Config{Dir: filepath.Join(dir, "store"), KeyFile: filepath.Join(dir, "key"), Random: rand.Reader, Clock: func() time.Time { return at }}
	if err := local.CreateKeyFile(c.KeyFile, c.Random); err != nil {
		b.Fatal(err)
	}
	s, err := local.Open(c)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Create(b.Context(), 1, keys.Credential, keys.Ed25519); err != nil {
		b.Fatal(err)
	}
	message := make([]byte, 64)
	for b.Loop() {
		if _, err := s.Sign(b.Context(), 1, keys.Credential, 1, [][]byte{message}); err != nil {
			b.Fatal(err)
		}
	}
}
