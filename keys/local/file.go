package local

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// ErrKeyFile says that the key file cannot be used as it is.
var ErrKeyFile = &citygate.Code{Name: "keys.key_file", Kind: citygate.Internal, Title: "The key file that opens the key store cannot be used. Mend it as the log says."}

const (
	keyFileBytes = 32
	magic        = "CGS1" // first bytes of every sealed file
)

// CreateKeyFile makes a new key file at path, with directories as needed. It
// never replaces one: without its key file a store is lost.
func CreateKeyFile(path string, random io.Reader) error {
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return ErrKeyFile.Because(err, "cannot be made")
	}
	key := make([]byte, keyFileBytes)
	defer clear(key)
	if _, err := io.ReadFull(random, key); err != nil {
		return ErrKeyFile.Because(err, "no randomness")
	}
	if err := writeOnce(path, key, random); err != nil {
		return ErrKeyFile.Because(err, "cannot be made")
	}
	return nil
}

// Inside reports whether file lies in dir or below it.
func Inside(file, dir string) bool {
	rel, err := filepath.Rel(resolved(dir), filepath.Join(resolved(filepath.Dir(file)), filepath.Base(file)))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// resolved follows links as far as the path exists.
func resolved(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(resolved(parent), filepath.Base(path))
	}
	return path
}

func readKeyFile(path string, random io.Reader) (sealer, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return sealer{}, ErrKeyFile.Explain("there is no key file %s", path)
	}
	if err != nil {
		return sealer{}, ErrKeyFile.Because(err, "cannot be read")
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of the open file: what is checked is what is read
	if err != nil {
		return sealer{}, ErrKeyFile.Because(err, "cannot be read")
	}
	switch {
	case !info.Mode().IsRegular():
		return sealer{}, ErrKeyFile.Explain("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return sealer{}, ErrKeyFile.Explain("others may open %s (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	case info.Size() != keyFileBytes:
		return sealer{}, ErrKeyFile.Explain("%s has %d bytes, a key file has %d", path, info.Size(), keyFileBytes)
	}
	key := make([]byte, keyFileBytes)
	defer clear(key)
	if _, err := io.ReadFull(f, key); err != nil {
		return sealer{}, ErrKeyFile.Because(err, "cannot be read")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, ErrKeyFile.Because(err, "")
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return sealer{}, ErrKeyFile.Because(err, "")
	}
	return sealer{aead, random}, nil
}

// A sealer encrypts files. Nonces are random: at 96 bits a store can hold
// billions of files before two are likely to meet.
type sealer struct {
	aead   cipher.AEAD
	random io.Reader
}

func (s sealer) seal(plain []byte, label string) ([]byte, error) {
	head := make([]byte, len(magic)+s.aead.NonceSize(), len(magic)+s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	copy(head, magic)
	if _, err := io.ReadFull(s.random, head[len(magic):]); err != nil {
		return nil, fmt.Errorf("no randomness: %w", err)
	}
	return s.aead.Seal(head, head[len(magic):], plain, []byte(label)), nil
}

func (s sealer) open(file []byte, label string) ([]byte, error) {
	rest, ok := strings.CutPrefix(string(file), magic)
	if n := s.aead.NonceSize(); ok && len(rest) >= n {
		return s.aead.Open(nil, []byte(rest[:n]), []byte(rest[n:]), []byte(label))
	}
	return nil, errors.New("not a sealed file")
}

// A ref names one version of one sealed thing. It is the path and the label
// under the seal, so a file stands for nothing but what it was made as.
type ref struct {
	kind    string
	tenant  citygate.TenantID
	name    string
	version int
}

func (r ref) String() string { return fmt.Sprintf("%s/%d/%s/%d", r.kind, r.tenant, r.name, r.version) }

func (s *Store) path(r ref) string {
	return filepath.Join(s.dir, r.kind, strconv.FormatInt(int64(r.tenant), 10), r.name, strconv.Itoa(r.version))
}

// put seals plain and stores it under a name that must be free: fs.ErrExist
// says that it is not.
func (s *Store) put(r ref, plain []byte) error {
	sealed, err := s.seal.seal(plain, "citygate keys/local 1 "+r.String())
	if err != nil {
		return keys.ErrUnavailable.Because(err, "%s", r)
	}
	path := s.path(r)
	err = makeDirs(filepath.Dir(path))
	if err == nil {
		err = writeOnce(path, sealed, s.random)
	}
	if err != nil {
		return keys.ErrUnavailable.Because(err, "%s", r)
	}
	return nil
}

func (s *Store) get(r ref) ([]byte, error) {
	if r.version < 1 {
		return nil, keys.ErrNotFound.Explain("%s", r)
	}
	file, err := os.ReadFile(s.path(r))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, keys.ErrNotFound.Explain("%s", r)
	case err != nil:
		return nil, keys.ErrUnavailable.Because(err, "%s", r)
	}
	plain, err := s.seal.open(file, "citygate keys/local 1 "+r.String())
	if err != nil {
		return nil, keys.ErrUnavailable.Because(err, "%s: the file is damaged or was made for something else", r)
	}
	return plain, nil
}

// writeOnce makes a file that is either absent or whole, also after a power
// cut, and never replaces one.
func writeOnce(path string, content []byte, random io.Reader) (err error) {
	suffix := make([]byte, 8)
	if _, err := io.ReadFull(random, suffix); err != nil {
		return err
	}
	aside := filepath.Join(filepath.Dir(path), ".new-"+hex.EncodeToString(suffix))
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(aside)
	}()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(aside, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			// The winner may not have synced the directory yet, and the caller
			// goes on as if the file were there for good.
			_ = syncDir(filepath.Dir(path))
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

// makeDirs is os.MkdirAll that also makes the new names last.
func makeDirs(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// lockedReader lets several goroutines share a source of randomness.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return io.ReadFull(l.r, p)
}
