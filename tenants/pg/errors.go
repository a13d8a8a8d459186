package pg

import (
	"context"
	"errors"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The failures of the door itself. What a statement refuses (a constraint, a
// missing grant) stays a *pgconn.PgError in the chain: see [SQLState] and
// [Violates].
var (
	ErrUnsafeRole  = &citygate.Code{Name: "pg.unsafe_role", Kind: citygate.Internal, Title: "The database role is not held by row-level security. Connect as citygate_app of deploy/roles.sql."}
	ErrVersion     = &citygate.Code{Name: "pg.version", Kind: citygate.Internal, Title: "The PostgreSQL server is too old. Use version 15 or later."}
	ErrNotMigrated = &citygate.Code{Name: "pg.not_migrated", Kind: citygate.Internal, Title: "The database has no Citygate schema. Run \"citygate migrate\" first."}
	ErrUnavailable = &citygate.Code{Name: "pg.unavailable", Kind: citygate.Unavailable, Title: "The database cannot be reached. Try again."}
	// ErrInDoubt says that the connection broke while a commit was under way:
	// the transaction is either wholly there or wholly not. Do it again; every
	// write has a natural key, so the second time finds what the first left.
	ErrInDoubt  = &citygate.Code{Name: "pg.in_doubt", Kind: citygate.Unavailable, Title: "The database did not confirm the change. Try again; nothing is done twice."}
	ErrTimeout  = &citygate.Code{Name: "pg.timeout", Kind: citygate.Unavailable, Title: "The database took too long. Try again."}
	ErrNoTenant = &citygate.Code{Name: "pg.no_tenant", Kind: citygate.Internal, Title: "A tenant's transaction needs a tenant."}
	ErrConfig   = &citygate.Code{Name: "pg.config", Kind: citygate.Invalid, Title: "The database settings are not usable. Correct the database URL."}
)

// The SQLSTATEs that callers tell apart.
const (
	StateUniqueViolation     = "23505"
	StateForeignKeyViolation = "23503"
	StateCheckViolation      = "23514"
	StateNotNullViolation    = "23502"
	StateInsufficientRights  = "42501" // a missing grant, or a row of another tenant
)

// SQLState gives the SQLSTATE of the statement that failed, or "".
func SQLState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// Violates reports whether err is a violation of the named constraint or unique
// index, whatever its kind.
func Violates(err error, constraint string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(e.Code, "23") && e.ConstraintName == constraint
}

// IsNoRows reports whether a row was asked for and there was none.
func IsNoRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// lostRace reports whether PostgreSQL gave the transaction up in favour of
// another one, so that running it again is right.
func lostRace(err error) bool {
	switch SQLState(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	}
	return false
}

// classify names the failures that say nothing about the caller's request: the
// server is away, or was too slow.
func classify(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if _, coded := errors.AsType[*citygate.Code](err); coded {
		return err
	}
	switch state := SQLState(err); {
	case state == "57014": // query_canceled: the statement timeout, as ctx is alive
		return ErrTimeout.Because(err, "")
	case strings.HasPrefix(state, "57P"), strings.HasPrefix(state, "08"), state == "53300":
		return ErrUnavailable.Because(err, "")
	case state != "":
		return err
	case connectionLost(err):
		return ErrUnavailable.Because(err, "")
	}
	return err
}

// connectionLost reports whether err came from the connection and not from a
// statement or from the caller's own code.
func connectionLost(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	// pgconn wraps what the socket said; both of its own markers mean that the
	// connection is of no more use.
	return pgconn.SafeToRetry(err) || isNetError(err)
}
