package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// rowsAtOnce is how many rows one statement inserts.
const rowsAtOnce = 1000

// Import puts the tenants of an export into a gateway that has none of their
// numbers. The export is checked first. A tenant is one transaction; if one does
// not fit, those before it stay and importing again, into a gateway where those
// are, is refused: begin with an empty one.
func Import(ctx context.Context, db *pg.DB, directory *tenants.Directory, actor string, files fs.FS) (Report, error) {
	r, err := Check(files)
	if err != nil {
		return r, err
	}
	m, _, err := readManifest(files)
	if err != nil {
		return r, err
	}
	if own, err := schema(); err != nil || own != m.Schema {
		return r, ErrSchema.Explain("the export's is %s, this gateway's is %s", m.Schema, own)
	}
	raw, err := fs.ReadFile(files, directoryFile)
	if err != nil {
		return r, err
	}
	var listed []tenants.Tenant
	if err := json.Unmarshal(raw, &listed); err != nil {
		return r, ErrTampered.Explain("%s: %v", directoryFile, err)
	}
	for _, t := range listed {
		if _, err := directory.ByID(ctx, t.ID); err == nil {
			return r, ErrTaken.Explain("tenant %d", t.ID)
		}
	}
	for _, t := range listed {
		if err := directory.Create(ctx, actor, t); err != nil {
			return r, err
		}
	}
	for _, id := range m.Tenants {
		if err := db.InTenant(ctx, id, func(tx *pg.Tx) error { return importTenant(ctx, tx, files, m) }); err != nil {
			return r, fmt.Errorf("tenant %d: %w", id, err)
		}
	}
	directory.Forget() // calendars and quotas came after the tenants
	return r, nil
}

func importTenant(ctx context.Context, tx *pg.Tx, files fs.FS, m Manifest) error {
	all, err := tablesOf(ctx, tx)
	if err != nil {
		return err
	}
	dir := fmt.Sprintf("tenants/%d/", tx.Tenant)
	for _, f := range m.Files {
		name, mine := strings.CutPrefix(f.Name, dir)
		name, rows := strings.CutSuffix(name, ".jsonl")
		if mine && rows && !isPlatform(name) && !slices.ContainsFunc(all, func(t table) bool { return t.name == name }) {
			return ErrSchema.Explain("there is no table %s here", name)
		}
	}
	if err := importPlatform(ctx, tx, files, m, dir); err != nil {
		return err
	}
	for _, t := range all {
		var batch [][]byte // verbatim: columns of type json keep their text
		flush := func() error {
			if len(batch) == 0 {
				return nil
			}
			raw := append(append([]byte{'['}, bytes.Join(batch, []byte{','})...), ']')
			// Safety: the name comes from the catalog. The WHERE holds every row to this tenant.
			tag, err := tx.Exec(ctx, `INSERT INTO `+t.name+` SELECT r.* FROM json_populate_recordset(NULL::`+t.name+`, $2::json) AS r WHERE r.tenant_id = $1
				ON CONFLICT DO NOTHING`, tx.Tenant, string(raw))
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			if tag.RowsAffected() != int64(len(batch)) {
				return ErrTaken.Explain("%s%s.jsonl: %d of %d rows fit", dir, t.name, tag.RowsAffected(), len(batch))
			}
			batch = batch[:0]
			return nil
		}
		err := lines(files, dir+t.name+".jsonl", func(row json.RawMessage) error {
			if batch = append(batch, slices.Clone(row)); len(batch) == rowsAtOnce {
				return flush()
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
	return nil
}
