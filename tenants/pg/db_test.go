package pg_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// put adds an audit row about object, the simplest tenant row there is.
func put(t *testing.T, db *pg.DB, tenant citygate.TenantID, object string) {
	t.Helper()
	err := db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error {
		return tx.Audit(t.Context(), pg.AuditEntry{Actor: "user:ada", Verb: "test.put", Object: object})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// objects gives the objects of the audit rows a transaction sees when it asks
// for any tenant.
func objects(ctx context.Context, tx *pg.Tx) ([]string, error) {
	var all []string
	err := tx.QueryRow(ctx, `SELECT coalesce(array_agg(object ORDER BY object), '{}') FROM audit_log WHERE tenant_id IS NOT NULL`).Scan(&all)
	return all, err
}

func seen(t *testing.T, db *pg.DB, tenant citygate.TenantID) (all []string) {
	t.Helper()
	db = pgtest.Reopen(t, db, pgtest.WithStatements(func(string) {})) // it asks for every tenant's on purpose
	look := func(tx *pg.Tx) (err error) {
		all, err = objects(t.Context(), tx)
		return err
	}
	var err error
	if tenant == 0 {
		err = db.InSystem(t.Context(), look)
	} else {
		err = db.InTenant(t.Context(), tenant, look)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestATenantSeesItsOwnRowsOnly(t *testing.T) {
	db := pgtest.New(t)
	put(t, db, 1, "one")
	put(t, db, 2, "two")
	for tenant, want := range map[citygate.TenantID][]string{0: {}, 1: {"one"}, 2: {"two"}, 3: {}} {
		if got := seen(t, db, tenant); !slices.Equal(got, want) {
			t.Errorf("tenant %d sees %q, want %q", tenant, got, want)
		}
	}
}

func TestAnotherTenantsRowIsRefused(t *testing.T) {
	db := pgtest.New(t)
	const insert = `INSERT INTO audit_log (tenant_id, entry_id, actor, verb, object, at) VALUES (2, $1, 'user:ada', 'test.put', 'x', $2)`
	write := func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), insert, tx.NewID(), tx.Now)
		return err
	}
	if err := db.InTenant(t.Context(), 1, write); pg.SQLState(err) != pg.StateInsufficientRights {
		t.Errorf("tenant 1 writes a row of tenant 2: %v, want SQLSTATE 42501", err)
	}
	if err := db.InSystem(t.Context(), write); pg.SQLState(err) != pg.StateInsufficientRights {
		t.Errorf("the system writes a row of tenant 2: %v, want SQLSTATE 42501", err)
	}
	if got := seen(t, db, 2); len(got) != 0 {
		t.Errorf("tenant 2 has rows %q", got)
	}
}

func TestNoTenantIsNoTransaction(t *testing.T) {
	db := pgtest.New(t)
	for _, tenant := range []citygate.TenantID{0, -1} {
		err := db.InTenant(t.Context(), tenant, func(*pg.Tx) error { t.Error("fn ran"); return nil })
		if !errors.Is(err, pg.ErrNoTenant) {
			t.Errorf("tenant %d: %v, want ErrNoTenant", tenant, err)
		}
	}
}

// Whatever a transaction leaves in its session, the next borrower of the
// connection has nothing of it.
func TestALeftoverTenantDoesNotReachTheNextTransaction(t *testing.T) {
	db := pgtest.New(t, pgtest.WithMaxConns(1))
	put(t, db, 1, "one")
	spoil := func(tx *pg.Tx) error {
		for _, sql := range []string{`SET app.tenant_id = '1'`, `SET search_path = platform`, `SET statement_timeout = '1ms'`} {
			if _, err := tx.Exec(t.Context(), sql); err != nil {
				return err
			}
		}
		return nil
	}
	if err := db.InTenant(t.Context(), 2, spoil); err != nil {
		t.Fatal(err)
	}
	if got := seen(t, db, 0); len(got) != 0 {
		t.Errorf("the next transaction without a tenant sees %q", got)
	}
	err := db.InSystem(t.Context(), func(tx *pg.Tx) error {
		var timeout, path string
		err := tx.QueryRow(t.Context(), `SELECT current_setting('statement_timeout'), current_setting('search_path')`).Scan(&timeout, &path)
		if timeout != "1min" || path == "platform" {
			t.Errorf("statement_timeout is %s and search_path %s", timeout, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

const raise = `DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$`

func TestALostRaceIsRunAgain(t *testing.T) {
	db := pgtest.New(t)
	runs := 0
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		runs++
		if err := tx.Audit(t.Context(), pg.AuditEntry{Actor: "user:ada", Verb: "test.put", Object: "x"}); err != nil {
			return err
		}
		if runs < 3 {
			_, err := tx.Exec(t.Context(), raise)
			return err
		}
		return nil
	})
	if err != nil || runs != 3 {
		t.Fatalf("%d runs, %v", runs, err)
	}
	if got := seen(t, db, 1); len(got) != 1 {
		t.Errorf("%d rows after three runs of which two lost, want 1", len(got))
	}
}

func TestARaceLostForEverIsGivenUp(t *testing.T) {
	db := pgtest.New(t)
	runs := 0
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		runs++
		_, err := tx.Exec(t.Context(), raise)
		return err
	})
	if pg.SQLState(err) != "40001" || runs != 5 {
		t.Errorf("%d runs, %v", runs, err)
	}
}

// Two transactions lock two rows in opposite order. One is given up by the
// server and run again, so both changes are there at the end.
func TestADeadlockIsRunAgain(t *testing.T) {
	db := pgtest.New(t)
	for _, key := range []string{"a", "b"} {
		err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO idempotency_keys (tenant_id, key, route, request_hash, state, status, created_at)
				VALUES ($1, $2, 'r', '', 'done', 0, $3)`, tx.Tenant, key, tx.Now)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const update = `UPDATE idempotency_keys SET status = status + 1 WHERE tenant_id = $1 AND key = $2`
	var both sync.WaitGroup // both hold their first row before either wants its second
	both.Add(2)
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, keys := range [][2]string{{"a", "b"}, {"b", "a"}} {
		met := sync.OnceFunc(func() { both.Done(); both.Wait() })
		wg.Go(func() {
			errs[i] = db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
				if _, err := tx.Exec(t.Context(), update, tx.Tenant, keys[0]); err != nil {
					return err
				}
				met()
				_, err := tx.Exec(t.Context(), update, tx.Tenant, keys[1])
				return err
			})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Owner(t, db).Count(1, `SELECT sum(status)::bigint FROM idempotency_keys WHERE tenant_id = 1`); n != 4 {
		t.Errorf("the rows were changed %d times, want 4", n)
	}
}

func TestAnErrorAndAPanicUndoTheTransaction(t *testing.T) {
	db := pgtest.New(t)
	broken := errors.New("broken")
	write := func(tx *pg.Tx) error {
		return tx.Audit(t.Context(), pg.AuditEntry{Actor: "user:ada", Verb: "test.put", Object: "x"})
	}
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { return errors.Join(write(tx), broken) })
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { _ = write(tx); panic("a bug") })
	}()
	if got := seen(t, db, 1); len(got) != 0 {
		t.Errorf("%d rows, want none", len(got))
	}
}

func TestStartIsRefusedForARoleThatRowLevelSecurityDoesNotHold(t *testing.T) {
	db := pgtest.New(t)
	open := func(url string) error {
		other, err := pg.Open(t.Context(), pg.Config{URL: url, Clock: db.Now, Random: iotest.ErrReader(nil)})
		if err == nil {
			other.Close()
		}
		return err
	}
	for role, reason := range map[pglocal.Role]string{
		pglocal.Superuser: "is a superuser", pglocal.Auditor: "has BYPASSRLS", pglocal.Owner: "owns tables",
	} {
		if err := open(pgtest.RoleURL(t, db, role)); !errors.Is(err, pg.ErrUnsafeRole) || !strings.Contains(err.Error(), reason) {
			t.Errorf("as %s: %v, want ErrUnsafeRole because it %s", role, err, reason)
		}
	}
	// A member of the owner can act as the owner.
	super := pgtest.As(t, db, pglocal.Superuser)
	super.Exec(0, `CREATE ROLE citygate_test_member LOGIN IN ROLE citygate_owner`)
	defer super.Exec(0, `DROP ROLE citygate_test_member`)
	if err := open(pgtest.RoleURL(t, db, "citygate_test_member")); !errors.Is(err, pg.ErrUnsafeRole) {
		t.Errorf("as a member of the owner: %v, want ErrUnsafeRole", err)
	}
	if err := open(pgtest.URL(t, db)); err != nil {
		t.Errorf("as citygate_app: %v", err)
	}
}

func TestStartIsRefusedWithoutSchemaOrServer(t *testing.T) {
	db := pgtest.New(t)
	super := pgtest.As(t, db, pglocal.Superuser)
	super.Exec(0, `DROP SCHEMA platform CASCADE`)
	config := pg.Config{URL: pgtest.URL(t, db), Clock: db.Now, Random: iotest.ErrReader(nil)}
	if _, err := pg.Open(t.Context(), config); !errors.Is(err, pg.ErrNotMigrated) {
		t.Errorf("without a schema: %v, want ErrNotMigrated", err)
	}
	config.URL = "postgres:///citygate?host=" + t.TempDir()
	if _, err := pg.Open(t.Context(), config); !errors.Is(err, pg.ErrUnavailable) {
		t.Errorf("without a server: %v, want ErrUnavailable", err)
	}
	config.URL = "postgres://user:hunter2@[broken"
	if _, err := pg.Open(t.Context(), config); !errors.Is(err, pg.ErrConfig) {
		t.Errorf("with a broken URL: %v, want ErrConfig", err)
	}
}

// The server ends the session while fn runs or before the commit was sent: nothing
// was committed. It ends the session while it commits: nobody knows.
func TestALostConnectionSaysWhatIsKnown(t *testing.T) {
	db := pgtest.New(t)
	super := pgtest.As(t, db, pglocal.Superuser)
	kill := func(tx *pg.Tx) error {
		var pid int32
		if err := tx.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		super.Exec(0, `SELECT pg_terminate_backend($1, 5000)`, pid)
		return nil
	}
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		if err := kill(tx); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `SELECT 1`)
		return err
	})
	if !errors.Is(err, pg.ErrUnavailable) {
		t.Errorf("lost during a statement: %v, want ErrUnavailable", err)
	}
	if err := db.InTenant(t.Context(), 1, kill); !errors.Is(err, pg.ErrUnavailable) {
		t.Errorf("lost before the commit was sent: %v, want ErrUnavailable", err)
	}
	super.Exec(0, `CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'`)
	super.Exec(0, `CREATE CONSTRAINT TRIGGER die AFTER INSERT ON audit_log DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()`)
	err = db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		return tx.Audit(t.Context(), pg.AuditEntry{Actor: "user:ada", Verb: "test.put", Object: "x"})
	})
	if !errors.Is(err, pg.ErrInDoubt) {
		t.Errorf("lost while the commit was under way: %v, want ErrInDoubt", err)
	}
	if err := db.InTenant(t.Context(), 1, func(*pg.Tx) error { return nil }); err != nil {
		t.Errorf("the next transaction: %v", err)
	}
}

// The server was restarted: every pooled connection is dead. The next
// transaction does not fail for it.
func TestDeadConnectionsOfThePoolAreNoFailure(t *testing.T) {
	db := pgtest.New(t, pgtest.WithMaxConns(3))
	var all, wg sync.WaitGroup
	all.Add(3)
	for range 3 {
		wg.Go(func() {
			_ = db.InSystem(t.Context(), func(*pg.Tx) error { all.Done(); all.Wait(); return nil })
		})
	}
	wg.Wait()
	super := pgtest.As(t, db, pglocal.Superuser)
	if n := super.Exec(0, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'citygate_app'`); n != 3 {
		t.Fatalf("%d connections were ended, want 3", n)
	}
	if err := db.InTenant(t.Context(), 1, func(*pg.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestASlowStatementIsATimeout(t *testing.T) {
	db := pgtest.New(t)
	err := db.InSystem(t.Context(), func(tx *pg.Tx) error {
		if _, err := tx.Exec(t.Context(), `SET LOCAL statement_timeout = '20ms'`); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `SELECT pg_sleep(5)`)
		return err
	})
	if !errors.Is(err, pg.ErrTimeout) {
		t.Errorf("%v, want ErrTimeout", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = db.InSystem(ctx, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, `SELECT pg_sleep(5)`)
		return err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the caller's own deadline", err)
	}
}

func TestViolatesNamesTheConstraint(t *testing.T) {
	db := pgtest.New(t)
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		for range 2 {
			_, err := tx.Exec(t.Context(), `INSERT INTO idempotency_keys (tenant_id, key, route, request_hash, state, created_at)
				VALUES ($1, 'k', 'r', '', 'running', $2)`, tx.Tenant, tx.Now)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if !pg.Violates(err, "idempotency_keys_pkey") || pg.Violates(err, "another") {
		t.Errorf("%v", err)
	}
}

func TestNowStandsStillInATransaction(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 0, 0, 123_456_789, time.FixedZone("HKT", 8*3600))
	clock := func() time.Time { now = now.Add(time.Second); return now }
	db := pgtest.New(t, pgtest.WithClock(clock))
	err := db.InSystem(t.Context(), func(tx *pg.Tx) error {
		first := tx.Now
		clock()
		if !tx.Now.Equal(first) || tx.Now.Location() != time.UTC || tx.Now.Nanosecond()%1000 != 0 {
			t.Errorf("Now is %v, then %v", first, tx.Now)
		}
		var back time.Time
		err := tx.QueryRow(t.Context(), `SELECT $1::timestamptz`, tx.Now).Scan(&back)
		if !back.Equal(tx.Now) {
			t.Errorf("stored %v, read %v", tx.Now, back)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestIDsAreMadeFromTheClockUnderConcurrency(t *testing.T) {
	db := pgtest.New(t)
	ids := make([]citygate.UUID, 8*100)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_ = db.InSystem(t.Context(), func(tx *pg.Tx) error {
				for n := range 100 {
					ids[100*i+n] = tx.NewID()
				}
				return nil
			})
		})
	}
	wg.Wait()
	epoch, err := citygate.NewUUID(pgtest.Epoch, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	distinct := map[citygate.UUID]bool{}
	for _, id := range ids {
		distinct[id] = true
		if id[6]>>4 != 7 || id.String()[:13] != epoch.String()[:13] {
			t.Fatalf("%s is not a version 7 UUID of the clock's time", id)
		}
	}
	if len(distinct) != len(ids) {
		t.Errorf("%d distinct ids of %d", len(distinct), len(ids))
	}
}

func TestATransactionFailsWhereRandomnessFails(t *testing.T) {
	dry := errors.New("no randomness left")
	db := pgtest.New(t, pgtest.WithRandom(iotest.ErrReader(dry)))
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		return tx.Audit(t.Context(), pg.AuditEntry{Actor: "user:ada", Verb: "test.put", Object: "x"})
	})
	if !errors.Is(err, dry) {
		t.Errorf("%v, want the source's error", err)
	}
	if got := seen(t, db, 1); len(got) != 0 {
		t.Errorf("%d rows were committed under a broken id", len(got))
	}
}

func TestAuditRowsSayWhoDidWhat(t *testing.T) {
	db := pgtest.New(t)
	entry := pg.AuditEntry{Actor: "user:ada", Verb: "tenant.state", Object: "harbour", Before: map[string]int{"n": 1}, After: map[string]int{"n": 2}}
	audit := func(tx *pg.Tx) error { return tx.Audit(t.Context(), entry) }
	if err := errors.Join(db.InTenant(t.Context(), 1, audit), db.InSystem(t.Context(), audit)); err != nil {
		t.Fatal(err)
	}
	owner := pgtest.Owner(t, db)
	for _, table := range []string{"audit_log", "platform.audit_log"} {
		rows := owner.Rows(1, `SELECT actor, verb, object, before::text, after::text, at, hash FROM `+table)
		if len(rows) != 1 {
			t.Fatalf("%s: %d rows, want 1", table, len(rows))
		}
		want := []any{"user:ada", "tenant.state", "harbour", `{"n": 1}`, `{"n": 2}`, pgtest.Epoch, nil}
		for i := range want {
			if at, ok := rows[0][i].(time.Time); ok {
				rows[0][i] = at.UTC()
			}
		}
		if b, ok := rows[0][6].([]byte); ok && b == nil {
			rows[0][6] = nil
		}
		if !slices.Equal(rows[0], want) {
			t.Errorf("%s: %v, want %v", table, rows[0], want)
		}
	}
}

func TestEveryStatementIsSeen(t *testing.T) {
	var statements []string
	db := pgtest.New(t, pgtest.WithStatements(func(sql string) { statements = append(statements, sql) }))
	err := db.InSystem(t.Context(), func(tx *pg.Tx) error {
		var one int
		if err := tx.QueryRow(t.Context(), `SELECT 1`).Scan(&one); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `SELECT 2`)
		return err
	})
	if err != nil || !slices.Equal(statements, []string{`SELECT 1`, `SELECT 2`}) {
		t.Errorf("%q, %v", statements, err)
	}
}

func TestAJobWithoutAQueueIsAnError(t *testing.T) {
	db := pgtest.New(t)
	err := db.InSystem(t.Context(), func(tx *pg.Tx) error { return tx.Enqueue(t.Context(), job{}) })
	if !errors.Is(err, pg.ErrConfig) {
		t.Errorf("%v, want ErrConfig", err)
	}
}

type job struct{}

func (job) Kind() string { return "test.job" }

// A server older than 15 is refused. This one only says that it is.
func TestAnOldServerIsRefused(t *testing.T) {
	db := pgtest.New(t)
	super := pgtest.As(t, db, pglocal.Superuser)
	super.Exec(0, `CREATE SCHEMA shadow`)
	super.Exec(0, `CREATE FUNCTION shadow.current_setting(text) RETURNS text LANGUAGE sql AS
		$$SELECT CASE $1 WHEN 'server_version_num' THEN '140012' ELSE pg_catalog.current_setting($1) END$$`)
	super.Exec(0, `GRANT USAGE ON SCHEMA shadow TO PUBLIC`)
	_, err := pg.Open(t.Context(), pg.Config{URL: pgtest.URL(t, db) + "&search_path=shadow,pg_catalog,public", Clock: db.Now, Random: iotest.ErrReader(nil)})
	if !errors.Is(err, pg.ErrVersion) || !strings.Contains(err.Error(), "14.12") {
		t.Errorf("opened: %v", err)
	}
}
