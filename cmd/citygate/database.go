package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
)

// A database is a PostgreSQL a command works on: a given one, or the private
// one of a data directory.
type database struct {
	url  func(pglocal.Role) string
	stop func(context.Context) error
}

// databaseFlags are the two ways to name a database.
type databaseFlags struct {
	data string
	url  string
	// often says that databases like this one are made again and again: an empty
	// one is kept to be copied.
	often bool
}

// open gives a migrated database. A URL wins, then DATABASE_URL, then the
// private server of the data directory, which is started and, on the way out,
// stopped. A given URL names host and database; the roles of deploy/roles.sql
// must exist there, and each connection takes the role it needs.
func (f databaseFlags) open(ctx context.Context, sys *system, progress func(string)) (*database, error) {
	given := f.url
	if given == "" {
		given = sys.Env("DATABASE_URL")
	}
	var db *database
	keep := func(context.Context) error { return nil }
	if given != "" {
		u, err := url.Parse(given)
		if err != nil {
			return nil, &usageError{fmt.Errorf("database URL: %w", err)}
		}
		db = &database{
			url: func(role pglocal.Role) string {
				as := *u
				if query := as.Query(); query.Has("user") { // it would override the role below
					query.Del("user")
					as.RawQuery = query.Encode()
				}
				as.User = url.User(string(role))
				if password, set := u.User.Password(); set {
					as.User = url.UserPassword(string(role), password)
				}
				return as.String()
			},
			stop: func(context.Context) error { return nil },
		}
	} else {
		config := pglocal.Config{DataDir: f.data, PGBin: sys.Env("PG_BIN"), CacheDir: cacheDir(sys), Durable: true, Progress: progress}
		if f.often {
			schema, err := pg.SchemaDigest()
			if err != nil {
				return nil, err
			}
			config.Template = schema
		}
		server, err := pglocal.Start(ctx, config)
		if err != nil {
			return nil, err
		}
		keep = server.KeepTemplate
		db = &database{
			url:  func(role pglocal.Role) string { return server.URL(role, pglocal.Database) },
			stop: server.Stop,
		}
	}
	applied, err := pg.Migrate(ctx, db.url(pglocal.Owner))
	if err == nil {
		err = keep(ctx)
	}
	if err != nil {
		_ = db.stop(context.WithoutCancel(ctx))
		return nil, err
	}
	if len(applied) > 0 {
		progress(fmt.Sprintf("migrated the database (%d steps)", len(applied)))
	}
	return db, nil
}

// defaultData is where a command keeps its data unless told otherwise. Root's
// database runs as another user, so root's data lies where that user can reach it.
func defaultData(sys *system, name string) string {
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib/citygate", name)
	}
	if dir := sys.Env("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "citygate", name)
	}
	return filepath.Join(sys.Env("HOME"), ".local", "share", "citygate", name)
}

// cacheDir is where a downloaded PostgreSQL is unpacked, for all data directories.
func cacheDir(sys *system) string {
	if os.Geteuid() == 0 {
		return "/var/lib/citygate/cache"
	}
	if dir := sys.Env("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "citygate")
	}
	return filepath.Join(sys.Env("HOME"), ".cache", "citygate")
}
