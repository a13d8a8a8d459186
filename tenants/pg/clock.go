package pg

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cashlesscity/citygate"
)

// A tenantClock is what is known of a tenant's clock. A live tenant has the
// platform's, for ever: neither its mode nor that changes.
type tenantClock struct {
	live  bool
	ahead atomic.Int64 // microseconds, when it was last read
}

const selectClock = `SELECT mode = 'live', clock_ahead_us FROM platform.tenants WHERE tenant_id = $1`

// clockStatement is the name by which every connection knows selectClock.
const clockStatement = "tenant_clock"

// ahead gives how far a tenant's clock is ahead of the platform's. A live
// tenant's is asked for once, a sandbox's every time: another process may have
// moved it. A number that no tenant has runs with the platform. A transaction has
// it from its [DB.begin].
func (db *DB) ahead(ctx context.Context, tenant citygate.TenantID) (time.Duration, error) {
	known, ok := db.clockKnown(tenant)
	if tenant == 0 || ok && known.live {
		return 0, nil
	}
	var live bool
	var us int64
	switch err := db.pool.QueryRow(ctx, selectClock, tenant).Scan(&live, &us); {
	case IsNoRows(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return db.keepClock(tenant, live, us), nil
}

// keepClock keeps what was read of a tenant's clock.
func (db *DB) keepClock(tenant citygate.TenantID, live bool, us int64) time.Duration {
	held, ok := db.clocks.Load(tenant)
	if !ok {
		held, _ = db.clocks.LoadOrStore(tenant, &tenantClock{live: live})
	}
	if known, ok := held.(*tenantClock); ok {
		known.ahead.Store(us)
	}
	return time.Duration(us) * time.Microsecond
}

func (db *DB) clockKnown(tenant citygate.TenantID) (*tenantClock, bool) {
	held, ok := db.clocks.Load(tenant)
	if !ok {
		return nil, false
	}
	c, ok := held.(*tenantClock)
	return c, ok
}

// NowOf gives the time on a tenant's clock, of the platform for 0. Inside a
// transaction of the tenant [Tx.Now] is that time.
//
// A sandbox's clock is read from the database; while that does not answer what
// was last known of it stands, and [ErrUnavailable] says that nothing was.
func (db *DB) NowOf(ctx context.Context, tenant citygate.TenantID) (time.Time, error) {
	ahead, err := db.ahead(ctx, tenant)
	if err != nil {
		known, ok := db.clockKnown(tenant)
		if !ok {
			return time.Time{}, ErrUnavailable.Because(err, "the clock of tenant %d", tenant)
		}
		ahead = time.Duration(known.ahead.Load()) * time.Microsecond
	}
	return db.Now().Add(ahead), nil
}

// ClockOf gives a tenant's clock to what may do no I/O to tell the time, such as
// a provider in this process. It is as far ahead as the tenant's last transaction
// here saw it.
func (db *DB) ClockOf(tenant citygate.TenantID) citygate.Clock {
	return func() time.Time {
		now := db.clock()
		if known, ok := db.clockKnown(tenant); ok {
			now = now.Add(time.Duration(known.ahead.Load()) * time.Microsecond)
		}
		return now
	}
}
