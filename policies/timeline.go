package policies

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Timeline is a tenant's versions, newest first: what holds when.
type Timeline []Published

// HasSets reports whether any version of the tenant's is a rule set.
func HasSets(ctx context.Context, tx *pg.Tx) (some bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM rule_sets WHERE tenant_id = $1)`, tx.Tenant).Scan(&some)
	return some, err
}

// TimelineOf gives the tenant's versions.
func TimelineOf(ctx context.Context, tx *pg.Tx) (Timeline, error) {
	rows, err := tx.Query(ctx, selectPublished+` ORDER BY p.version DESC`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanPublished)
}

// At gives the version that holds at an event time, as [InForce] does.
func (t Timeline) At(at time.Time) Published {
	for _, p := range t {
		if !p.EffectiveAt.After(at) {
			return p
		}
	}
	if len(t) == 0 {
		return Published{}
	}
	return t[len(t)-1]
}

// Sets keeps compiled rule sets: a version never changes. Its zero value is ready,
// and safe for concurrent use.
type Sets struct {
	mu   sync.Mutex
	held map[setKey]*ruleset.Set
}

type setKey struct {
	tenant  citygate.TenantID
	version uint64
}

const setsMax = 1024

// Of gives the rule set of a version of the transaction's tenant, nil for a
// version that has none.
func (s *Sets) Of(ctx context.Context, tx *pg.Tx, version uint64) (*ruleset.Set, error) {
	key := setKey{tx.Tenant, version}
	s.mu.Lock()
	set, ok := s.held[key]
	s.mu.Unlock()
	if ok {
		return set, nil
	}
	_, source, err := Source(ctx, tx, version)
	if errors.Is(err, ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if set, err = ruleset.Parse(source); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil || len(s.held) >= setsMax {
		s.held = map[setKey]*ruleset.Set{}
	}
	s.held[key] = set
	return set, nil
}
