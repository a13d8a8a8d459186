package sentinel_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/sentinel"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// ways are all the ways in which a secret is looked for, wherever it begins.
func ways(secret []byte) map[string][]byte {
	all := map[string][]byte{"raw": secret, "hex": []byte(hex.EncodeToString(secret)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(secret)))}
	for before := range 3 {
		inside := append(bytes.Repeat([]byte{'<'}, before), append(secret, '>', '>')...)
		all[fmt.Sprint("base64 after ", before)] = []byte(base64.StdEncoding.EncodeToString(inside))
		all[fmt.Sprint("base64url after ", before)] = []byte(base64.RawURLEncoding.EncodeToString(inside))
	}
	return all
}

// Whichever way a secret is written down, and wherever, it is found; and where
// there is none nothing is.
func TestASecretIsFoundWhereverItIs(t *testing.T) {
	var s sentinel.Set
	secret := make([]byte, 32)
	if _, err := s.Random("a key", rand.Reader).Read(secret); err != nil {
		t.Fatal(err)
	}
	db := pgtest.New(t)
	super := pgtest.As(t, db, pglocal.Superuser)
	super.Exec(0, `CREATE SCHEMA odd; CREATE TABLE odd."Table" (n int, "Text" text, raw bytea, js jsonb, many bytea[])`)
	dir := t.TempDir()
	if found, rows := s.Tables(super); len(found) > 0 || rows == 0 {
		t.Errorf("in a new database of %d rows: %v", rows, found)
	}
	for how, written := range ways(secret) {
		if len(s.In(append([]byte("before "), written...))) == 0 {
			t.Errorf("%s: not found in bytes", how)
		}
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, written, 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := s.Files(dir, nil); len(found) == 0 || err != nil {
			t.Errorf("%s: not found in a file: %v", how, err)
		}
		if found, err := s.Files(dir, func(path string) bool { return path == file }); len(found) > 0 || err != nil {
			t.Errorf("%s: found in a file that may have it: %v, %v", how, found, err)
		}
		for column, value := range map[string]any{`raw`: written, `many`: [][]byte{{1}, written}, `"Text"`: string(written), `js`: map[string]string{"a": string(written)}} {
			if how == "raw" && column != `raw` && column != `many` || how != "raw" && column == `many` {
				continue // no text holds raw bytes, and an array is shown in hex
			}
			super.Exec(0, `INSERT INTO odd."Table" (n, `+column+`) VALUES (1, $1)`, value)
			if found, _ := s.Tables(super); len(found) == 0 || !strings.Contains(found[0], `odd."Table"`) {
				t.Errorf("%s: in column %s found %v", how, column, found)
			}
			super.Exec(0, `DELETE FROM odd."Table"`)
		}
		if how == "raw" {
			continue // a log line is text
		}
		s.Logger().With("group", "x").Debug("a request", "err", fmt.Errorf("wrapped: %s", written))
		if found, lines := s.Logged(); len(found) == 0 || lines != 1 {
			t.Errorf("%s: not found in %d log lines", how, lines)
		}
	}
	s.Logger().Info("a secret that hides itself", "secret", citygate.NewSecret(secret))
	if found, lines := s.Logged(); len(found) > 0 || lines != 1 {
		t.Errorf("%d lines, %v", lines, found)
	}
}

// A short secret would be found by chance; a watched store adds what passes.
func TestWhatIsRemembered(t *testing.T) {
	var s sentinel.Set
	s.AddText("short", "12345678901")
	if found := s.In([]byte("12345678901")); len(found) > 0 {
		t.Errorf("a short secret: %v", found)
	}
	store := s.Watch(memory{})
	if _, err := store.Put(t.Context(), 1, "token", citygate.NewSecret([]byte("a provider's token")), 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Get(t.Context(), 1, "other"); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"a provider's token", "what is kept already"} {
		if len(s.In([]byte(secret))) == 0 {
			t.Errorf("%s is not remembered", secret)
		}
	}
}
