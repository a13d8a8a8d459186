// Package offline keeps a platform root key in one sealed file, for a machine
// that never sees the gateway: no directory of it, no database, no network.
//
// The file is in the format of age (age-encryption.org), sealed by a passphrase
// through scrypt, so it can also be opened without this program: what is inside
// is one line of JSON with the seed of the Ed25519 key. It is readable by its
// owner alone, and a file that others can read is refused with the command that
// mends it. It is never replaced: without it the root is lost.
//
// One file is one root, and each root belongs to somebody else: the threshold is
// worth nothing if one person has two files and both passphrases.
package offline

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// The refusals.
var (
	ErrFile       = &citygate.Code{Name: "rootkey.file", Kind: citygate.Invalid, Title: "The root key file cannot be used as it is. Mend it as the message says."}
	ErrPassphrase = &citygate.Code{Name: "rootkey.passphrase", Kind: citygate.Forbidden, Title: "The passphrase does not open the root key file."}
)

// The cost of one guess of a passphrase, as a power of two: about a second and
// 256 MB on a machine of today.
const (
	WorkFactor    = 18
	WorkFactorMin = 14
	WorkFactorMax = 22
)

// PassphraseMin is the fewest bytes of a passphrase. The file can be guessed at
// without a limit by whoever has it.
const PassphraseMin = 12

const (
	label   = "citygate root key 1"
	fileMax = 4096 // bytes; a sealed key has about 400
)

// sealed is what lies under the seal.
type sealed struct {
	Label string `json:"label"`
	Seed  []byte `json:"seed"`
}

// Create makes a root key from random and seals it at path, which must not be
// there. It gives the public half.
func Create(path string, passphrase citygate.Secret, work int, random io.Reader) (bundle.RootKey, error) {
	if len(passphrase.Reveal()) < PassphraseMin {
		return bundle.RootKey{}, ErrPassphrase.Explain("it needs at least %d bytes", PassphraseMin)
	}
	if work < WorkFactorMin || work > WorkFactorMax {
		return bundle.RootKey{}, ErrFile.Explain("work factor %d: want %d to %d", work, WorkFactorMin, WorkFactorMax)
	}
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	if _, err := io.ReadFull(random, seed); err != nil {
		return bundle.RootKey{}, ErrFile.Because(err, "no randomness")
	}
	content, err := seal(seed, passphrase, work)
	if err != nil {
		return bundle.RootKey{}, ErrFile.Because(err, "cannot be sealed")
	}
	if err := writeOnce(path, content); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return bundle.RootKey{}, ErrFile.Explain("%s is there already: a root key is never replaced; name another file", path)
		}
		return bundle.RootKey{}, ErrFile.Because(err, "cannot be made")
	}
	// What cannot be opened again must be noticed now and not in a year.
	k, err := Open(path, passphrase)
	if err != nil {
		return bundle.RootKey{}, errors.Join(err, os.Remove(path))
	}
	return k.Root(), nil
}

func seal(seed []byte, passphrase citygate.Secret, work int) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase.Reveal()))
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(work)
	plain, err := json.Marshal(sealed{label, seed})
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(append(plain, '\n')); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// A Key is an opened root key. It signs and never prints.
type Key struct{ private ed25519.PrivateKey }

// Format keeps the key out of logs whatever the verb.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[root key]") }

// Root gives the public half.
func (k *Key) Root() bundle.RootKey {
	public, _ := k.private.Public().(ed25519.PublicKey)
	return bundle.RootKey{Public: public}
}

// Signer gives the key as a bundle takes it.
func (k *Key) Signer() bundle.RootSigner {
	return bundle.RootSigner{Root: k.Root(), Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(k.private, m), nil }}
}

// Check reports whether the file at path can be opened at all, before anybody
// is asked for a passphrase.
func Check(path string) error {
	_, err := readPrivate(path)
	return err
}

// Open opens a root key file.
func Open(path string, passphrase citygate.Secret) (*Key, error) {
	content, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	identity, err := age.NewScryptIdentity(string(passphrase.Reveal()))
	if err != nil {
		return nil, ErrPassphrase.Explain("it is empty")
	}
	identity.SetMaxWorkFactor(WorkFactorMax)
	r, err := age.Decrypt(bytes.NewReader(content), identity)
	var wrong *age.NoIdentityMatchError
	switch {
	case errors.As(err, &wrong):
		return nil, ErrPassphrase.Explain("%s", path)
	case err != nil:
		return nil, ErrFile.Because(err, "%s is damaged or no root key", path)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, ErrFile.Because(err, "%s is damaged", path)
	}
	defer clear(plain)
	var s sealed
	if err := json.Unmarshal(plain, &s); err != nil || s.Label != label || len(s.Seed) != ed25519.SeedSize {
		return nil, ErrFile.Explain("%s is sealed, and holds no root key", path) // the cause could quote the key
	}
	defer clear(s.Seed)
	return &Key{ed25519.NewKeyFromSeed(s.Seed)}, nil
}

// readPrivate reads a file that nobody but its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrFile.Explain("there is no root key file %s", path)
	}
	if err != nil {
		return nil, ErrFile.Because(err, "cannot be read")
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of the open file: what is checked is what is read
	switch {
	case err != nil:
		return nil, ErrFile.Because(err, "cannot be read")
	case !info.Mode().IsRegular():
		return nil, ErrFile.Explain("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, ErrFile.Explain("others may open %s (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	case info.Size() > fileMax:
		return nil, ErrFile.Explain("%s has %d bytes and is no root key", path, info.Size())
	}
	content, err := io.ReadAll(io.LimitReader(f, fileMax))
	if err != nil {
		return nil, ErrFile.Because(err, "cannot be read")
	}
	return content, nil
}

// writeOnce makes a file that only its owner can read, whole and on disk, and
// never replaces one.
func writeOnce(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
