package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/jackc/pgx/v5"
)

// Epoch is where the clock of a database stands by default.
var Epoch = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// An Option changes what [New] opens.
type Option func(*pg.Config)

// WithClock gives the database a clock.
func WithClock(clock citygate.Clock) Option { return func(c *pg.Config) { c.Clock = clock } }

// WithRandom gives the database a source of randomness, for ids that repeat.
func WithRandom(random io.Reader) Option { return func(c *pg.Config) { c.Random = random } }

// WithEnqueuer gives the database a job queue.
func WithEnqueuer(e pg.Enqueuer) Option { return func(c *pg.Config) { c.Enqueuer = e } }

// WithMaxConns sets the size of the pool.
func WithMaxConns(n int32) Option { return func(c *pg.Config) { c.MaxConns = n } }

// WithStatements has every statement shown to see before it runs, instead of
// holding it to the rules.
func WithStatements(see func(sql string)) Option {
	return func(c *pg.Config) { c.OnStatement = see }
}

// opened remembers where each database of [New] lies.
var opened sync.Map // *pg.DB -> *database

type database struct {
	super string // superuser URL of the server
	name  string
}

// New gives an open, migrated, empty database that is dropped when t ends.
func New(t testing.TB, opts ...Option) *pg.DB {
	t.Helper()
	return open(t, create(t), opts)
}

// Reopen opens db's database once more with other options: the gateway after a
// restart, or a second one beside it.
func Reopen(t testing.TB, db *pg.DB, opts ...Option) *pg.DB {
	t.Helper()
	return open(t, of(t, db), opts)
}

func open(t testing.TB, d *database, opts []Option) *pg.DB {
	t.Helper()
	c := pg.Config{
		URL:    d.url(pglocal.App),
		Clock:  func() time.Time { return Epoch },
		Random: rand.Reader,

		OnStatement: holdStatements(t, d),
	}
	for _, o := range opts {
		o(&c)
	}
	db, err := pg.Open(context.Background(), c)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	opened.Store(db, d)
	t.Cleanup(func() {
		opened.Delete(db)
		db.Close()
	})
	return db
}

// Private gives a server of the test's own, for tests that kill it: durable
// unless settings say otherwise, its database ([pglocal.Database]) migrated,
// stopped and removed when t ends.
func Private(t testing.TB, settings map[string]string) *pglocal.Server {
	t.Helper()
	ctx := context.Background()
	dir, err := DataDir()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	c := Config(dir)
	c.Durable, c.Settings = true, settings
	s, err := pglocal.Start(ctx, c)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Stop(ctx), os.RemoveAll(dir)); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	if _, err := pg.Migrate(ctx, s.URL(pglocal.Owner, "")); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return s
}

// Open opens the database of a [Private] server.
func Open(t testing.TB, s *pglocal.Server, opts ...Option) *pg.DB {
	t.Helper()
	return open(t, &database{super: s.URL(pglocal.Superuser, "postgres"), name: pglocal.Database}, opts)
}

// NewURL gives the URL, for the given role, of a migrated database that nothing
// has opened yet; it is dropped when t ends.
func NewURL(t testing.TB, role pglocal.Role) string {
	t.Helper()
	return create(t).url(role)
}

// NewURLs gives, as NewURL does, one new database, in a URL for each of two
// roles: what a whole gateway needs.
func NewURLs(t testing.TB, a, b pglocal.Role) (asA, asB string) {
	t.Helper()
	d := create(t)
	return d.url(a), d.url(b)
}

// URL gives the URL of db for the gateway's role.
func URL(t testing.TB, db *pg.DB) string { return RoleURL(t, db, pglocal.App) }

// RoleURL gives the URL of db for a role.
func RoleURL(t testing.TB, db *pg.DB, role pglocal.Role) string {
	t.Helper()
	return of(t, db).url(role)
}

func of(t testing.TB, db *pg.DB) *database {
	t.Helper()
	d, ok := opened.Load(db)
	if !ok {
		t.Fatal("pgtest: this database was not opened by pgtest")
	}
	return d.(*database)
}

func (d *database) url(role pglocal.Role) string { return roleURL(d.super, role, d.name) }

// roleURL is super for another role and database. Roles have no password on the
// servers that tests run on.
func roleURL(super string, role pglocal.Role, name string) string {
	u, err := url.Parse(super)
	if err != nil {
		return super
	}
	q := u.Query()
	if q.Has("user") {
		q.Set("user", string(role))
	} else {
		u.User = url.User(string(role))
	}
	u.RawQuery, u.Path = q.Encode(), "/"+name
	return u.String()
}

// create copies the template.
func create(t testing.TB) *database {
	t.Helper()
	ctx := context.Background()
	super, err := server()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	template, err := template(ctx, super)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	d := &database{super: super, name: "citygate_test_" + hex.EncodeToString(random[:])}
	if err := asSuperuser(ctx, super, fmt.Sprintf(`CREATE DATABASE %s TEMPLATE %s OWNER %s`, d.name, template, pglocal.Owner)); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := asSuperuser(ctx, super, fmt.Sprintf(`DROP DATABASE IF EXISTS %s WITH (FORCE)`, d.name)); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return d
}

func asSuperuser(ctx context.Context, super, sql string) error {
	conn, err := pgx.Connect(ctx, super)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	if closeErr := conn.Close(ctx); err == nil {
		err = closeErr
	}
	return err
}
