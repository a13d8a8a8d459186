// Package sentinel finds secrets where they must not be, for tests.
//
// A test runs with secrets it knows: provider credentials, tokens, key files, the
// bytes that keys are made of. A [Set] remembers them ([Set.Add], [Set.Random],
// [Set.Watch]), and afterwards looks for each, raw, in hex, in base64 and in
// base64url, in what was logged ([Set.Logger]), in answers ([Set.In]), in every
// column of every table ([Set.Tables]) and in files ([Set.Files]).
//
// What it does not see: a secret that was cut into pieces, compressed, or encoded
// in another way; and one shorter than [Shortest], which could turn up by chance.
package sentinel

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// Shortest is how many bytes a secret must have to be looked for.
const Shortest = 12

// keyBytes is the length from which on random bytes are taken for a key.
const keyBytes = 32

// A Set is the secrets of a test. It is safe for concurrent use.
type Set struct {
	mu      sync.Mutex
	needles []needle
	known   map[string]bool
	log     bytes.Buffer
}

// A needle is one way in which a secret can be written.
type needle struct {
	name, how string
	bytes     []byte
}

// Add remembers a secret under a name that a finding gives. A short one is left out.
func (s *Set) Add(name string, secret []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(secret) < Shortest || s.known[string(secret)] {
		return
	}
	if s.known == nil {
		s.known = map[string]bool{}
	}
	s.known[string(secret)] = true
	add := func(how string, b []byte) { s.needles = append(s.needles, needle{name, how, b}) }
	add("raw", slices.Clone(secret))
	add("hex", []byte(hex.EncodeToString(secret)))
	add("HEX", []byte(strings.ToUpper(hex.EncodeToString(secret))))
	for skip := range 3 { // base64 of something that has it inside: the three ways it can lie
		inner := secret[skip:]
		inner = inner[:len(inner)-len(inner)%3]
		standard := []byte(base64.RawStdEncoding.EncodeToString(inner))
		add("base64", standard)
		if url := []byte(base64.RawURLEncoding.EncodeToString(inner)); !bytes.Equal(url, standard) {
			add("base64url", url)
		}
	}
}

// AddText remembers a secret that is text, such as a token.
func (s *Set) AddText(name, secret string) { s.Add(name, []byte(secret)) }

// In gives each secret that b has, by name and how it is written.
func (s *Set) In(b []byte) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.needles {
		if bytes.Contains(b, n.bytes) {
			found = append(found, n.name+" ("+n.how+")")
		}
	}
	return found
}

// Random gives the bytes of r and remembers those that are long enough to be a key.
func (s *Set) Random(name string, r io.Reader) io.Reader { return &watched{s, name, r} }

type watched struct {
	set  *Set
	name string
	r    io.Reader
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n >= keyBytes {
		w.set.Add(w.name, p[:n])
	}
	return n, err
}

// Watch gives a secret store that remembers every value that passes.
func (s *Set) Watch(store keys.Secrets) keys.Secrets { return &keeper{store, s} }

type keeper struct {
	keys.Secrets
	set *Set
}

func (w *keeper) Put(ctx context.Context, tenant citygate.TenantID, name string, value citygate.Secret, cas int) (int, error) {
	w.set.Add("the secret "+name, value.Reveal())
	return w.Secrets.Put(ctx, tenant, name, value, cas)
}

func (w *keeper) Get(ctx context.Context, tenant citygate.TenantID, name string) (citygate.Secret, int, error) {
	value, version, err := w.Secrets.Get(ctx, tenant, name)
	w.set.Add("the secret "+name, value.Reveal())
	return value, version, err
}

// Logger logs everything, whatever its level, to where [Set.Logged] looks.
func (s *Set) Logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler((*logWriter)(s), &slog.HandlerOptions{Level: slog.LevelDebug - 100, AddSource: true}))
}

type logWriter Set

func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// Logged gives each secret that was logged, with its line, and forgets what was
// logged; lines says how many lines there were.
func (s *Set) Logged() (found []string, lines int) {
	s.mu.Lock()
	text := slices.Clone(s.log.Bytes())
	s.log.Reset()
	s.mu.Unlock()
	for line := range bytes.Lines(text) {
		lines++
		for _, f := range s.In(line) {
			found = append(found, fmt.Sprintf("logged: %s in %s", f, line))
		}
	}
	return found, lines
}

// A Reader runs a query that is held by nothing, tenant 0 for no tenant.
type Reader interface {
	Rows(tenant citygate.TenantID, sql string, args ...any) [][]any
}

const readable = `
	SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname),
		string_agg(CASE WHEN a.atttypid = 'bytea'::regtype THEN quote_ident(a.attname) ELSE quote_ident(a.attname) || '::text' END, ', ' ORDER BY a.attnum)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
	  AND has_table_privilege(c.oid, 'SELECT')
	GROUP BY 1 ORDER BY 1`

// Tables gives each secret that lies in a table, with table and row. rows says how
// many rows there were.
func (s *Set) Tables(db Reader) (found []string, rows int) {
	for _, table := range db.Rows(0, readable) {
		for _, row := range db.Rows(0, fmt.Sprintf(`SELECT %s FROM %s`, table[1], table[0])) {
			rows++
			for i, value := range row {
				var b []byte
				switch v := value.(type) {
				case []byte:
					b = v
				case string:
					b = []byte(v)
				}
				for _, f := range s.In(b) {
					found = append(found, fmt.Sprintf("%s: %s in column %d of %.200q", table[0], f, i+1, row))
				}
			}
		}
	}
	return found, rows
}

// Files gives each secret that lies in a file under dir; except says which ones
// may have some.
func (s *Set) Files(dir string, except func(path string) bool) (found []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err != nil || !d.Type().IsRegular() || except != nil && except(path) {
			return err
		}
		raw, err := root.ReadFile(name)
		if err != nil {
			return err
		}
		for _, f := range append(s.In(raw), s.In([]byte(name))...) {
			found = append(found, path+": "+f)
		}
		return nil
	})
	return found, err
}
