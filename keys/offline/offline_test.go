package offline_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/keys/offline"
)

var phrase = citygate.NewSecret([]byte("four words of nonsense"))

func create(t *testing.T) (path string, root bundle.RootKey) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ada.key")
	root, err := offline.Create(path, phrase, offline.WorkFactorMin, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return path, root
}

func TestARootKeyOpensByItsPassphraseAlone(t *testing.T) {
	path, root := create(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	k, err := offline.Open(path, phrase)
	if err != nil || !bytes.Equal(k.Root().Public, root.Public) {
		t.Fatalf("Open = %v, %v", k, err)
	}
	signature, err := k.Signer().Sign([]byte("m"))
	if err != nil || !ed25519.Verify(root.Public, []byte("m"), signature) {
		t.Errorf("the signature does not hold: %v", err)
	}
	if s := fmt.Sprintf("%v %+v %#v %s %x", k, k, k, k, k); bytes.Contains([]byte(s), []byte("private")) || len(s) > 60 {
		t.Errorf("it prints as %s", s)
	}
	for what, wrong := range map[string]string{"another passphrase": "four words of nonsensE", "none": ""} {
		if _, err := offline.Open(path, citygate.NewSecret([]byte(wrong))); !errors.Is(err, offline.ErrPassphrase) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The file is age's: whoever has lost this program still has the key.
func TestTheFileOpensWithoutThisProgram(t *testing.T) {
	path, root := create(t)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	identity, err := age.NewScryptIdentity(string(phrase.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(f, identity)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var inside struct{ Seed []byte }
	if err := json.Unmarshal(plain, &inside); err != nil {
		t.Fatal(err)
	}
	if public := ed25519.NewKeyFromSeed(inside.Seed).Public().(ed25519.PublicKey); !public.Equal(ed25519.PublicKey(root.Public)) {
		t.Error("the seed inside is another key's")
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	path, _ := create(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := offline.Create(path, phrase, offline.WorkFactorMin, rand.Reader); !errors.Is(err, offline.ErrFile) {
		t.Errorf("a root key was replaced: %v", err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, good) {
		t.Errorf("the file changed: %v", err)
	}
	dir := t.TempDir()
	for what, c := range map[string]struct {
		content []byte
		mode    os.FileMode
	}{
		"others may read it": {good, 0o640},
		"cut short":          {good[:len(good)-1], 0o600},
		"a bit flipped":      {append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), 0o600},
		"no root key":        {[]byte("something"), 0o600},
		"far too long":       {make([]byte, 10_000), 0o600},
		"a gateway's file":   {make([]byte, 32), 0o600},
	} {
		p := filepath.Join(dir, "key")
		if err := os.WriteFile(p, c.content, c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := offline.Open(p, phrase); !errors.Is(err, offline.ErrFile) {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := offline.Open(filepath.Join(dir, "nothing"), phrase); !errors.Is(err, offline.ErrFile) {
		t.Errorf("no file: %v", err)
	}
	if err := offline.Check(dir); !errors.Is(err, offline.ErrFile) {
		t.Errorf("a directory: %v", err)
	}
	short := filepath.Join(dir, "short")
	if _, err := offline.Create(short, citygate.NewSecret([]byte("eleven char")), offline.WorkFactorMin, rand.Reader); !errors.Is(err, offline.ErrPassphrase) {
		t.Errorf("a short passphrase: %v", err)
	}
	if _, err := offline.Create(short, phrase, offline.WorkFactorMin-1, rand.Reader); !errors.Is(err, offline.ErrFile) {
		t.Errorf("a passphrase that is cheap to guess: %v", err)
	}
	if _, err := offline.Create(short, phrase, offline.WorkFactorMin, bytes.NewReader(make([]byte, 31))); !errors.Is(err, offline.ErrFile) {
		t.Errorf("no randomness: %v", err)
	}
	if _, err := os.Stat(short); err == nil {
		t.Error("a refused key left a file")
	}
}
