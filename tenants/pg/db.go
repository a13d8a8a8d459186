package pg

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Config says how to reach the database. Clock and Random are required.
type Config struct {
	// URL of the role citygate_app. Its query parameters may carry any setting
	// of a session, such as synchronous_commit.
	URL      string
	Clock    citygate.Clock
	Random   io.Reader // for ids; read under a lock
	MaxConns int32     // 0 = 8
	Enqueuer Enqueuer  // nil = [Tx.Enqueue] fails
	// OnStatement, if set, is told every statement before it runs. Tests hold
	// the rules for SQL with it.
	OnStatement func(sql string)
	// OnChange, if set, is told of every statement that changed rows, with the context
	// it ran in. The transaction may still fail.
	OnChange func(ctx context.Context, sql string)
	// OnAudit, if set, is told the tenant (0 = the platform) of every row that a
	// transaction adds to an audit log. The transaction may still fail.
	OnAudit func(citygate.TenantID)
}

// Session settings. A URL may override them.
var sessionDefaults = map[string]string{
	"application_name":                    "citygate",
	"timezone":                            "UTC",
	"statement_timeout":                   "60s",
	"idle_in_transaction_session_timeout": "60s",
	"jit":                                 "off", // costs more than it saves on statements of this size
}

// A DB is the database as the gateway sees it. It is safe for concurrent use.
type DB struct {
	pool        *pgxpool.Pool
	clock       citygate.Clock
	enqueuer    Enqueuer
	onStatement func(string)
	onAudit     func(citygate.TenantID)

	idMu   sync.Mutex
	random io.Reader

	clocks sync.Map // of citygate.TenantID -> *tenantClock
}

// Open connects as the gateway's role. It refuses a role that row-level
// security does not hold ([ErrUnsafeRole]), a server that is too old
// ([ErrVersion]) and a database without the schema ([ErrNotMigrated]).
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Clock == nil || c.Random == nil {
		return nil, ErrConfig.Because(nil, "no clock or no randomness given")
	}
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, ErrConfig.Because(nil, "%v", err) // pgx leaves the password out
	}
	for k, v := range sessionDefaults {
		if _, given := pc.ConnConfig.RuntimeParams[k]; !given {
			pc.ConnConfig.RuntimeParams[k] = v
		}
	}
	pc.MaxConns = 8
	if c.MaxConns > 0 {
		pc.MaxConns = c.MaxConns
	}
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		registerTypes(conn.TypeMap())
		return prepareClock(ctx, conn)
	}
	if c.OnChange != nil {
		pc.ConnConfig.Tracer = changeTracer(c.OnChange)
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, ErrConfig.Because(nil, "%v", err)
	}
	db := &DB{pool: pool, clock: c.Clock, random: c.Random, enqueuer: c.Enqueuer, onStatement: c.OnStatement, onAudit: c.OnAudit}
	if err := db.check(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return db, nil
}

// Close ends all connections. Transactions under way are waited for.
func (db *DB) Close() { db.pool.Close() }

// Now gives the platform's time, the injected clock's, in the form rows store it.
// What is done for a tenant has the tenant's: [Tx.Now], [DB.NowOf].
func (db *DB) Now() time.Time { return db.clock().UTC().Truncate(time.Microsecond) }

// ownsTables finds out whether the role owns any table, itself or by membership.
const ownsTables = `
	SELECT EXISTS (
		SELECT FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
		  AND pg_has_role(current_user, c.relowner, 'MEMBER'))`

func (db *DB) check(ctx context.Context) error {
	var role string
	var version int
	var super, bypass, owns, schema bool
	err := db.pool.QueryRow(ctx, `
		SELECT current_user, current_setting('server_version_num')::int, rolsuper, rolbypassrls,
		       to_regclass('platform.tenants') IS NOT NULL
		FROM pg_roles WHERE rolname = current_user`).Scan(&role, &version, &super, &bypass, &schema)
	if err != nil {
		return ErrUnavailable.Because(err, "connecting")
	}
	if err := db.pool.QueryRow(ctx, ownsTables).Scan(&owns); err != nil {
		return ErrUnavailable.Because(err, "connecting")
	}
	switch {
	case version < 150000:
		return ErrVersion.Explain("the server is version %d.%d", version/10000, version%10000)
	case super:
		return ErrUnsafeRole.Explain("role %s is a superuser", role)
	case bypass:
		return ErrUnsafeRole.Explain("role %s has BYPASSRLS", role)
	case owns:
		return ErrUnsafeRole.Explain("role %s owns tables, or is a member of a role that does", role)
	case !schema:
		return ErrNotMigrated.Explain("there is no table platform.tenants that role %s can see", role)
	}
	return nil
}

// triesMax bounds how often a transaction that lost a race is run.
const triesMax = 5

// InTenant runs fn in a transaction bound to tenant, and commits if fn returns
// nil. A transaction that lost a race is run again, so fn must have no effect
// outside the database and start from nothing each time.
//
// An error of fn comes back as it is. [ErrUnavailable] says that the database
// could not be reached and nothing was changed; [ErrInDoubt] that the answer to
// the commit was lost.
func (db *DB) InTenant(ctx context.Context, tenant citygate.TenantID, fn func(*Tx) error) error {
	if tenant <= 0 {
		return ErrNoTenant.Because(nil, "tenant %d", tenant)
	}
	return db.run(ctx, tenant, false, fn)
}

// InSnapshot is [DB.InTenant] for reading: every statement sees the rows as the
// first one did, and nothing can be changed.
func (db *DB) InSnapshot(ctx context.Context, tenant citygate.TenantID, fn func(*Tx) error) error {
	if tenant <= 0 {
		return ErrNoTenant.Because(nil, "tenant %d", tenant)
	}
	return db.run(ctx, tenant, true, fn)
}

// InSystem is [DB.InTenant] with no tenant bound: tenant tables show no rows
// and take none. What it may use lies in schema platform.
func (db *DB) InSystem(ctx context.Context, fn func(*Tx) error) error {
	return db.run(ctx, 0, false, fn)
}

func (db *DB) run(ctx context.Context, tenant citygate.TenantID, snapshot bool, fn func(*Tx) error) error {
	for try := 1; ; try++ {
		err := db.once(ctx, tenant, snapshot, fn)
		if err == nil || try == triesMax || !lostRace(err) {
			return classify(ctx, err)
		}
	}
}

func (db *DB) once(ctx context.Context, tenant citygate.TenantID, snapshot bool, fn func(*Tx) error) (err error) {
	ptx, ahead, err := db.begin(ctx, tenant, snapshot)
	if err != nil {
		return err
	}
	defer func() {
		// After a commit this does nothing. After an error, and after a panic of
		// fn, it undoes everything; a connection on which that fails is closed by
		// the pool, which undoes it too.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = ptx.Rollback(undo)
	}()
	tx := &Tx{Tenant: tenant, Now: db.Now().Add(ahead), db: db, tx: ptx, ahead: ahead}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.failed != nil {
		return tx.failed
	}
	return commitError(ptx.Commit(ctx))
}

// commitError tells a commit that was refused from one whose answer was lost.
func commitError(err error) error {
	if err == nil || errors.Is(err, pgx.ErrTxCommitRollback) || errors.Is(err, pgx.ErrTxClosed) {
		return err
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Severity != "FATAL" && e.Severity != "PANIC" {
		return err
	}
	if pgconn.SafeToRetry(err) { // the commit was never sent
		return ErrUnavailable.Because(err, "commit")
	}
	return ErrInDoubt.Because(err, "commit")
}

func isNetError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

// newID makes an id under a lock: randomness sources need not be safe for
// concurrent use.
func (db *DB) newID(ahead time.Duration) (citygate.UUID, error) {
	at := db.clock().Add(ahead)
	db.idMu.Lock()
	defer db.idMu.Unlock()
	return citygate.NewUUID(at, db.random)
}
