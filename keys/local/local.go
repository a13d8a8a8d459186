package local

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// A Config says where a store lies. All fields are required.
type Config struct {
	Dir     string // made if it is not there
	KeyFile string // see [CreateKeyFile]; outside Dir
	Random  io.Reader
	Clock   citygate.Clock
}

// A Store is a directory of sealed keys and secrets. It is safe for concurrent
// use, also by several processes.
type Store struct {
	dir    string
	seal   sealer
	clock  citygate.Clock
	random io.Reader // behind a lock

	making sync.Mutex // one creation at a time; other processes meet at the file name
	mu     sync.RWMutex
	opened map[ref]*private
}

var (
	_ keys.DigestSigner = (*Store)(nil)
	_ keys.Secrets      = (*Store)(nil)
)

// Open opens the store, or starts an empty one. A key file that is not the one
// the store was made with is [ErrKeyFile].
func Open(c Config) (*Store, error) {
	if c.Dir == "" || c.KeyFile == "" || c.Random == nil || c.Clock == nil {
		return nil, keys.ErrInvalid.Because(nil, "keys/local: a directory, a key file, randomness and a clock are needed")
	}
	if Inside(c.KeyFile, c.Dir) {
		return nil, ErrKeyFile.Explain("the key file %s lies inside %s, which it opens; keep it elsewhere", c.KeyFile, c.Dir)
	}
	random := &lockedReader{r: c.Random}
	seal, err := readKeyFile(c.KeyFile, random)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: c.Dir, seal: seal, clock: c.Clock, random: random, opened: map[ref]*private{}}
	if err := s.checkKey(c.KeyFile); err != nil {
		return nil, err
	}
	return s, nil
}

// checkKey seals a known file when the store is new and opens it ever after, so
// that a wrong key file is noticed here and not at the first signature.
func (s *Store) checkKey(keyFile string) error {
	at := ref{kind: "check", version: 1}
	err := s.put(at, []byte("citygate"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return keys.ErrUnavailable.Because(err, "keys/local")
	}
	if _, err := s.get(at); err != nil {
		return ErrKeyFile.Because(err, "%s does not open %s: it was made with another key file", keyFile, s.dir)
	}
	return nil
}

// Format keeps keys out of logs whatever the verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "keys/local(%s)", s.dir) }

// Create implements [keys.Signer].
func (s *Store) Create(_ context.Context, tenant citygate.TenantID, purpose keys.Purpose, algorithm keys.Algorithm) error {
	if err := purpose.Check(tenant); err != nil {
		return err
	}
	at := ref{"keys", tenant, string(purpose), 1}
	s.making.Lock()
	defer s.making.Unlock()
	k, err := s.key(at)
	if errors.Is(err, keys.ErrNotFound) {
		if err = s.make(at, algorithm); errors.Is(err, fs.ErrExist) {
			err = nil // another process was first
		}
		if err == nil {
			k, err = s.key(at)
		}
	}
	switch {
	case err != nil:
		return err
	case k.algorithm != algorithm:
		return keys.ErrConflict.Explain("key %s of tenant %d is %s, not %s", purpose, tenant, k.algorithm, algorithm)
	}
	return nil
}

// Rotate implements [keys.Signer].
func (s *Store) Rotate(_ context.Context, tenant citygate.TenantID, purpose keys.Purpose) (int, error) {
	if err := purpose.Check(tenant); err != nil {
		return 0, err
	}
	s.making.Lock()
	defer s.making.Unlock()
	for {
		numbers, err := s.numbers("keys", tenant, string(purpose))
		if err != nil {
			return 0, err
		}
		if len(numbers) == 0 {
			return 0, noKey(tenant, purpose)
		}
		at := ref{"keys", tenant, string(purpose), numbers[len(numbers)-1]}
		last, err := s.key(at)
		if err != nil {
			return 0, err
		}
		at.version++
		err = s.make(at, last.algorithm)
		if !errors.Is(err, fs.ErrExist) { // else another process rotated too: its version is not ours
			return at.version, err
		}
	}
}

// Versions implements [keys.Signer].
func (s *Store) Versions(_ context.Context, tenant citygate.TenantID, purpose keys.Purpose) ([]keys.Version, error) {
	if err := purpose.Check(tenant); err != nil {
		return nil, err
	}
	numbers, err := s.numbers("keys", tenant, string(purpose))
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, noKey(tenant, purpose)
	}
	versions := make([]keys.Version, len(numbers))
	for i, n := range numbers {
		k, err := s.key(ref{"keys", tenant, string(purpose), n})
		if err != nil {
			return nil, err
		}
		versions[i] = keys.Version{Version: n, Algorithm: k.algorithm, Public: k.signer.Public(), Created: k.created}
	}
	return versions, nil
}

func noKey(tenant citygate.TenantID, purpose keys.Purpose) error {
	return keys.ErrNotFound.Explain("tenant %d has no key %s", tenant, purpose)
}

// Sign implements [keys.Signer].
func (s *Store) Sign(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose, version int, messages [][]byte) ([]keys.Signature, error) {
	if err := purpose.Check(tenant); err != nil {
		return nil, err
	}
	k, err := s.key(ref{"keys", tenant, string(purpose), version})
	if err != nil {
		return nil, err
	}
	out := make([]keys.Signature, len(messages))
	for i, m := range messages {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(m) > keys.MessageMax {
			out[i].Err = keys.ErrInvalid.Explain("a message of %d bytes; at most %d can be signed", len(m), keys.MessageMax)
			continue
		}
		out[i].Bytes, out[i].Err = k.signMessage(m)
	}
	return out, nil
}

// SignDigest implements [keys.DigestSigner].
func (s *Store) SignDigest(_ context.Context, tenant citygate.TenantID, purpose keys.Purpose, version int, digest []byte) ([]byte, error) {
	if err := purpose.Check(tenant); err != nil {
		return nil, err
	}
	k, err := s.key(ref{"keys", tenant, string(purpose), version})
	if err != nil {
		return nil, err
	}
	if k.algorithm == keys.Ed25519 || len(digest) != crypto.SHA256.Size() {
		return nil, keys.ErrInvalid.Explain("key %s does not sign digests of %d bytes", purpose, len(digest))
	}
	return k.signDigest(digest)
}

// key gives an opened key, from memory if it was opened before.
func (s *Store) key(at ref) (*private, error) {
	s.mu.RLock()
	k := s.opened[at]
	s.mu.RUnlock()
	if k != nil {
		return k, nil
	}
	plain, err := s.get(at)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	var f keyFile
	if err := json.Unmarshal(plain, &f); err != nil {
		return nil, keys.ErrUnavailable.Because(nil, "%s: not a key", at) // the cause could quote the key
	}
	if k, err = f.open(); err != nil {
		return nil, keys.ErrUnavailable.Because(nil, "%s: not a key", at)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened[at] = k
	return k, nil
}

// make generates a key and stores it as at; fs.ErrExist if the name is taken.
func (s *Store) make(at ref, algorithm keys.Algorithm) error {
	f, err := generate(algorithm, s.random)
	if err != nil {
		return err
	}
	f.Created = s.clock().UTC().Truncate(time.Microsecond)
	plain, err := json.Marshal(f)
	if err != nil {
		return keys.ErrUnavailable.Because(nil, "%s: cannot be encoded", at)
	}
	defer clear(plain)
	return s.put(at, plain)
}

// Put implements [keys.Secrets].
func (s *Store) Put(_ context.Context, tenant citygate.TenantID, name string, value citygate.Secret, cas int) (int, error) {
	if err := keys.CheckSecretName(name); err != nil {
		return 0, err
	}
	if tenant < 0 || cas < 0 || value.IsZero() {
		return 0, keys.ErrInvalid.Explain("secret %s: a tenant, a value and a version of 0 or more are needed", name)
	}
	s.making.Lock()
	defer s.making.Unlock()
	numbers, err := s.numbers("secrets", tenant, name)
	if err != nil {
		return 0, err
	}
	current := 0
	if len(numbers) > 0 {
		current = numbers[len(numbers)-1]
	}
	if current == cas {
		err = s.put(ref{"secrets", tenant, name, cas + 1}, value.Reveal())
		if err == nil {
			return cas + 1, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
		current++
	}
	return 0, keys.ErrConflict.Explain("secret %s is at version %d, not %d", name, current, cas)
}

// Get implements [keys.Secrets].
func (s *Store) Get(_ context.Context, tenant citygate.TenantID, name string) (citygate.Secret, int, error) {
	if err := keys.CheckSecretName(name); err != nil {
		return citygate.Secret{}, 0, err
	}
	numbers, err := s.numbers("secrets", tenant, name)
	if err != nil {
		return citygate.Secret{}, 0, err
	}
	if len(numbers) == 0 {
		return citygate.Secret{}, 0, keys.ErrNotFound.Explain("tenant %d has no secret %s", tenant, name)
	}
	last := numbers[len(numbers)-1]
	plain, err := s.get(ref{"secrets", tenant, name, last})
	if err != nil {
		return citygate.Secret{}, 0, err
	}
	defer clear(plain)
	return citygate.NewSecret(plain), last, nil
}

// numbers lists the versions on disk, ascending.
func (s *Store) numbers(kind string, tenant citygate.TenantID, name string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(s.path(ref{kind, tenant, name, 1})))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, keys.ErrUnavailable.Because(err, "keys/local")
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 && strconv.Itoa(n) == e.Name() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
