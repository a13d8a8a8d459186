package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A platformTable has rows of tenants in the platform's schema.
type platformTable struct {
	name string
	// of are the columns that name the tenants whose rows they are: one, or the two
	// that share them.
	of []string
	// with are the columns that name tenants. A row is imported if the export has all
	// of them: whoever has such a number here otherwise has agreed to nothing.
	with []string
	key  []string
}

var platformTables = []platformTable{
	{name: "calendars", of: []string{"tenant_id"}, with: []string{"tenant_id"}, key: []string{"tenant_id", "version"}},
	{name: "memberships", of: []string{"tenant_id"}, with: []string{"tenant_id", "authority_id"}, key: []string{"tenant_id", "authority_id"}},
	{name: "roaming_terms", of: []string{"issuer_id", "host_id"}, with: []string{"issuer_id", "host_id"}, key: []string{"issuer_id", "host_id", "version"}},
	{name: "fare_members", of: []string{"authority_id", "operator_id"}, with: []string{"authority_id", "operator_id"}, key: []string{"authority_id", "operator_id", "version"}},
}

// settingsTable is the file of what is set in the tenant's own row and not in the
// directory.
const settingsTable = "settings"

const (
	exportSettings = `SELECT json_build_object('clock_ahead_us', clock_ahead_us, 'quota', quota)::text FROM platform.tenants WHERE tenant_id = $1`
	importSettings = `UPDATE platform.tenants SET clock_ahead_us = r.clock_ahead_us, quota = r.quota
		FROM json_to_record($2::json) AS r (clock_ahead_us bigint, quota jsonb) WHERE tenant_id = $1`
)

// isPlatform reports whether a file holds rows of the platform's schema.
func isPlatform(name string) bool {
	return name == settingsTable || slices.ContainsFunc(platformTables, func(t platformTable) bool { return t.name == name })
}

// columns names the columns of a row.
func columns(row string, names []string) string {
	return row + "." + strings.Join(names, ", "+row+".")
}

// platformRows writes what lies in the platform's schema and is the tenant's.
func (w *writer) platformRows(ctx context.Context, tx *pg.Tx, dir string) error {
	for _, t := range platformTables {
		// Safety: the names are those of platformTables.
		sql := `SELECT row_to_json(t)::text FROM platform.` + t.name + ` AS t WHERE $1 IN (` + columns("t", t.of) + `) ORDER BY ` + columns("t", t.key)
		if err := w.rows(ctx, tx, path.Join(dir, t.name+".jsonl"), sql); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	if err := w.rows(ctx, tx, path.Join(dir, settingsTable+".jsonl"), exportSettings); err != nil {
		return fmt.Errorf("%s: %w", settingsTable, err)
	}
	return nil
}

// importPlatform puts those rows back. Both tenants of a shared row have it, and the
// second finds what the first put there.
func importPlatform(ctx context.Context, tx *pg.Tx, files fs.FS, m Manifest, dir string) error {
	for _, t := range platformTables {
		err := lines(files, dir+t.name+".jsonl", func(row json.RawMessage) error { return t.put(ctx, tx, m, dir, row) })
		if err != nil {
			return err
		}
	}
	return lines(files, dir+settingsTable+".jsonl", func(row json.RawMessage) error {
		_, err := tx.Exec(ctx, importSettings, tx.Tenant, string(row))
		return err
	})
}

func (t platformTable) put(ctx context.Context, tx *pg.Tx, m Manifest, dir string, row json.RawMessage) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(row, &fields); err != nil {
		return ErrTampered.Explain("%s%s.jsonl: %v", dir, t.name, err)
	}
	for _, column := range t.with {
		var party citygate.TenantID
		if err := json.Unmarshal(fields[column], &party); err != nil {
			return ErrTampered.Explain("%s%s.jsonl: %s: %v", dir, t.name, column, err)
		}
		if !slices.Contains(m.Tenants, party) {
			return nil
		}
	}
	// Safety: the names are those of platformTables. The WHERE holds every row to this tenant.
	record := `json_populate_record(NULL::platform.` + t.name + `, $2::json) AS r`
	if _, err := tx.Exec(ctx, `INSERT INTO platform.`+t.name+` SELECT r.* FROM `+record+` WHERE $1 IN (`+columns("r", t.of)+`) ON CONFLICT DO NOTHING`, tx.Tenant, string(row)); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	var same bool
	err := tx.QueryRow(ctx, `
		SELECT coalesce((SELECT to_jsonb(t) = to_jsonb(r) FROM platform.`+t.name+` AS t
			WHERE $1 IN (`+columns("t", t.of)+`) AND (`+columns("t", t.key)+`) = (`+columns("r", t.key)+`)), false)
		FROM `+record+` WHERE $1 IN (`+columns("r", t.of)+`)`, tx.Tenant, string(row)).Scan(&same)
	if err == nil && !same {
		err = ErrTampered.Explain("%s%s.jsonl: a row is another in the other tenant's file: %s", dir, t.name, row)
	}
	return err
}
