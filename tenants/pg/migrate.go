package pg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"

	"github.com/cashlesscity/citygate/migrations"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Migrate brings the schema of the database at ownerURL up to date and gives
// the names of the files it applied. ownerURL connects as citygate_owner, which
// must own the database. Two processes may migrate at once: one waits.
func Migrate(ctx context.Context, ownerURL string) ([]string, error) {
	return migrate(ctx, ownerURL, migrations.FS)
}

// SchemaDigest names the schema that [Migrate] gives an empty database.
func SchemaDigest() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(migrations.FS, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(migrations.FS, path)
		_, _ = fmt.Fprintf(h, "%d:%s%d:%s", len(path), path, len(raw), raw) // a hash takes everything
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func migrate(ctx context.Context, ownerURL string, files fs.FS) ([]string, error) {
	config, err := pgx.ParseConfig(ownerURL)
	if err != nil {
		return nil, ErrConfig.Because(nil, "%v", err)
	}
	config.RuntimeParams["application_name"] = "citygate migrate"
	config.RuntimeParams["timezone"] = "UTC"
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }()
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	// Files are named by the time they were written, and branches are merged later
	// than that: a database may lack a file older than its newest.
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker), goose.WithAllowOutofOrder(true))
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return nil, classify(ctx, fmt.Errorf("migrations: %w", err))
	}
	var applied []string
	for _, r := range results {
		applied = append(applied, r.Source.Path)
	}
	return applied, nil
}
