// Package migrations holds the database schema as numbered SQL files, forward
// only, applied in order by tenants/pg.Migrate as the role citygate_owner.
//
// The files are named <UTC timestamp>_<what>.sql. A file that has been released
// is never changed: the next one corrects it. Every tenant table carries the
// row-level security of the rules that the catalog test in tenants/pg reads back
// from a migrated database, so a table that forgets a rule fails the build.
package migrations

import "embed"

// FS holds the goose migration files. schema.sql, what they add up to, is for
// readers and not among them.
//
//go:embed 2*.sql
var FS embed.FS
