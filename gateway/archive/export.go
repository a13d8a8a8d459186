package archive

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/migrations"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Form is the version of the export's form.
const Form = 1

// The files of an export besides those of its tenants.
const (
	manifestFile  = "manifest.json"
	directoryFile = "directory.json"
	keysFile      = "keys.json"
)

// A Manifest names what an export holds.
type Manifest struct {
	Form    int                 `json:"citygate_export"`
	Schema  string              `json:"schema"` // the last migration
	At      time.Time           `json:"at"`
	Tenants []citygate.TenantID `json:"tenants"`
	Files   []File              `json:"files"`
}

// A File is one file of an export.
type File struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
	Rows   int    `json:"rows,omitempty"`
}

// An IssuerKey is a public key that codes are signed with.
type IssuerKey struct {
	Issuer    citygate.Issuer  `json:"issuer"`
	KeyID     uint8            `json:"kid"`
	Algorithm bundle.Algorithm `json:"algorithm"`
	Public    []byte           `json:"public_key"` // base64, form of a trust bundle
}

// ephemeral tables hold nothing that is worth more than a day, or what riders
// consented to here and nowhere else: which devices are one person's.
var ephemeral = []string{"idempotency_keys", "device_challenges", "person_devices"}

// schema gives the name of the last migration of this program.
func schema() (string, error) {
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(files) == 0 {
		return "", errors.Join(err, errors.New("no migrations"))
	}
	return strings.TrimSuffix(slices.Max(files), ".sql"), nil
}

// An Exporter takes tenants out.
type Exporter struct {
	DB      *pg.DB
	Tenants *tenants.Directory
	Ring    *keys.Ring
	// PayoutFiles reads the payout files that rows name; nil = they are left out.
	PayoutFiles fs.FS
	Clock       citygate.Clock
}

type writer struct {
	root     *os.Root
	manifest Manifest
}

// Export writes tenants into an empty directory and gives the SHA-256 of its
// manifest. Each tenant is read in one snapshot.
func (x Exporter) Export(ctx context.Context, dir *os.Root, ids ...citygate.TenantID) (sum string, err error) {
	w := writer{root: dir, manifest: Manifest{Form: Form, At: x.Clock().UTC(), Tenants: ids}}
	if w.manifest.Schema, err = schema(); err != nil {
		return "", err
	}
	if there, err := fs.ReadDir(dir.FS(), "."); err != nil || len(there) > 0 {
		return "", errors.Join(err, fmt.Errorf("an export needs an empty directory; there are %d files in this one", len(there)))
	}
	listed, err := x.directory(ctx, ids)
	if err != nil {
		return "", err
	}
	if err := w.json(directoryFile, listed); err != nil {
		return "", err
	}
	found, read := map[string]IssuerKey{}, map[string]SchemeKeys{}
	for _, id := range ids {
		if err := x.tenant(ctx, &w, id, found, read); err != nil {
			return "", fmt.Errorf("tenant %d: %w", id, err)
		}
	}
	public := []IssuerKey{}
	for _, k := range found {
		public = append(public, k)
	}
	slices.SortFunc(public, func(a, b IssuerKey) int { return (int(a.Issuer)-int(b.Issuer))*256 + int(a.KeyID) - int(b.KeyID) })
	if err := w.json(keysFile, public); err != nil {
		return "", err
	}
	foreign := []SchemeKeys{}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		foreign = append(foreign, read[name])
	}
	if err := w.json(schemesFile, foreign); err != nil {
		return "", err
	}
	slices.SortFunc(w.manifest.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	raw, err := json.MarshalIndent(w.manifest, "", " ")
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(raw)
	return hex.EncodeToString(hash[:]), w.write(manifestFile, raw)
}

// directory gives the tenants, and those above them in the tree.
func (x Exporter) directory(ctx context.Context, ids []citygate.TenantID) ([]tenants.Tenant, error) {
	all, err := x.Tenants.All(ctx)
	if err != nil {
		return nil, err
	}
	listed := []tenants.Tenant{}
	var add func(id citygate.TenantID) error
	add = func(id citygate.TenantID) error {
		if slices.ContainsFunc(listed, func(t tenants.Tenant) bool { return t.ID == id }) {
			return nil
		}
		i := slices.IndexFunc(all, func(t tenants.Tenant) bool { return t.ID == id })
		if i < 0 {
			return tenants.ErrNotFound.Explain("tenant %d", id)
		}
		if all[i].Parent != 0 {
			if err := add(all[i].Parent); err != nil {
				return err
			}
		}
		listed = append(listed, all[i])
		return nil
	}
	for _, id := range ids {
		if err := add(id); err != nil {
			return nil, err
		}
	}
	return listed, nil
}

// tableOrder lists the tables that tenants own, each behind those it refers to.
const tableOrder = `
	SELECT c.relname::text,
		coalesce((SELECT array_agg(DISTINCT o.relname::text) FROM pg_constraint k JOIN pg_class o ON o.oid = k.confrelid
			WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid <> c.oid), '{}'),
		coalesce((SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY x.n) FROM pg_index i
			CROSS JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY AS x (att, n)
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.att WHERE i.indrelid = c.oid AND i.indisprimary), 'tenant_id')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
	WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1`

type table struct {
	name string
	key  string // its primary key, as ORDER BY takes it
	refs []string
}

func tablesOf(ctx context.Context, tx *pg.Tx) ([]table, error) {
	rows, err := tx.Query(ctx, tableOrder)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []table
	for rows.Next() {
		var t table
		if err := rows.Scan(&t.name, &t.refs, &t.key); err != nil {
			return nil, err
		}
		if !slices.Contains(ephemeral, t.name) {
			all = append(all, t)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var ordered []table
	done := map[string]bool{}
	for len(ordered) < len(all) {
		before := len(ordered)
		for _, t := range all {
			if !done[t.name] && !slices.ContainsFunc(t.refs, func(r string) bool { return !done[r] }) {
				ordered, done[t.name] = append(ordered, t), true
			}
		}
		if len(ordered) == before {
			return nil, errors.New("archive: tables refer to each other in a circle")
		}
	}
	return ordered, nil
}

// tenant writes every table of one tenant, and its payout files.
func (x Exporter) tenant(ctx context.Context, w *writer, id citygate.TenantID, found map[string]IssuerKey, read map[string]SchemeKeys) error {
	dir := fmt.Sprintf("tenants/%d", id)
	if err := w.root.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	kept := len(w.manifest.Files)
	var payouts []string
	err := x.DB.InSnapshot(ctx, id, func(tx *pg.Tx) error {
		w.manifest.Files, payouts = w.manifest.Files[:kept], nil // a transaction may run twice
		all, err := tablesOf(ctx, tx)
		if err != nil {
			return err
		}
		for _, t := range all {
			if err := w.table(ctx, tx, dir, t); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
		if err := w.platformRows(ctx, tx, dir); err != nil {
			return err
		}
		if payouts, err = payoutFiles(ctx, tx); err != nil {
			return err
		}
		return bundleKeys(ctx, tx, found, read)
	})
	if err != nil {
		return err
	}
	if err := x.ownKeys(ctx, id, found); err != nil {
		return err
	}
	for _, name := range payouts {
		if x.PayoutFiles == nil {
			break
		}
		raw, err := fs.ReadFile(x.PayoutFiles, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is written by the next run of what is due
		}
		if err == nil {
			err = w.file(path.Join(dir, "payout-files", path.Base(name)), raw, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// table writes the tenant's rows of one table.
func (w *writer) table(ctx context.Context, tx *pg.Tx, dir string, t table) error {
	// Safety: name and key come from the catalog, not from anybody's request.
	return w.rows(ctx, tx, path.Join(dir, t.name+".jsonl"), `SELECT row_to_json(t)::text FROM `+t.name+` AS t WHERE t.tenant_id = $1 ORDER BY `+t.key)
}

// rows writes what a statement gives for the tenant.
func (w *writer) rows(ctx context.Context, tx *pg.Tx, name, sql string) error {
	rows, err := tx.Query(ctx, sql, tx.Tenant)
	if err != nil {
		return err
	}
	defer rows.Close()
	out, err := w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	hash := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(out, hash), 1<<16)
	f := File{Name: name}
	for rows.Next() {
		var line string
		if err = rows.Scan(&line); err != nil {
			break
		}
		n, writeErr := buffered.WriteString(line + "\n")
		if err = writeErr; err != nil {
			break
		}
		f.Rows, f.Bytes = f.Rows+1, f.Bytes+int64(n)
	}
	if err = errors.Join(err, rows.Err(), buffered.Flush(), out.Sync(), out.Close()); err != nil {
		return err
	}
	f.SHA256 = hex.EncodeToString(hash.Sum(nil))
	w.manifest.Files = append(w.manifest.Files, f)
	return nil
}

func payoutFiles(ctx context.Context, tx *pg.Tx) (names []string, err error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT f.name FROM payouts AS p CROSS JOIN LATERAL (VALUES (p.csv_file), (p.xml_file)) AS f (name)
		WHERE p.tenant_id = $1 AND f.name <> '' ORDER BY 1`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// bundleKeys adds the issuers' keys of every bundle the tenant's terminals had, and
// how those read codes of other schemes.
func bundleKeys(ctx context.Context, tx *pg.Tx, found map[string]IssuerKey, read map[string]SchemeKeys) error {
	rows, err := tx.Query(ctx, `SELECT body FROM bundles WHERE tenant_id = $1 ORDER BY version`, tx.Tenant)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return err
		}
		b, _, err := bundle.Inspect(body)
		if err != nil {
			return err
		}
		for _, k := range b.Keys {
			if k.Usage&bundle.ForCredential != 0 && k.Issuer != 0 {
				add(found, IssuerKey{k.Issuer, k.KeyID, k.Algorithm, k.Public})
			}
		}
		if err := addSchemes(read, tx.Tenant, b); err != nil {
			return err
		}
	}
	return rows.Err()
}

func add(found map[string]IssuerKey, k IssuerKey) {
	found[fmt.Sprintf("%d/%d", k.Issuer, k.KeyID)] = k
}

// ownKeys adds the keys that the tenant itself signs credentials with.
func (x Exporter) ownKeys(ctx context.Context, id citygate.TenantID, found map[string]IssuerKey) error {
	t, err := x.Tenants.ByID(ctx, id)
	if err != nil || t.Issuer == 0 {
		return err
	}
	own, err := x.Ring.Keys(ctx, id)
	for _, k := range own {
		if k.Purpose == keys.Credential {
			add(found, IssuerKey{t.Issuer, k.KeyID, k.Algorithm, k.Public})
		}
	}
	return err
}

func (w *writer) json(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return w.file(name, raw, 0)
}

func (w *writer) file(name string, raw []byte, rows int) error {
	sum := sha256.Sum256(raw)
	w.manifest.Files = append(w.manifest.Files, File{Name: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(raw)), Rows: rows})
	return w.write(name, raw)
}

func (w *writer) write(name string, raw []byte) error {
	if err := w.root.MkdirAll(path.Dir(name), 0o750); err != nil {
		return err
	}
	return w.root.WriteFile(name, raw, 0o640)
}
