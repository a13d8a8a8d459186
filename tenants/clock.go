package tenants

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of clocks.
var (
	ErrClockLive = &citygate.Code{Name: "clock.live", Kind: citygate.Conflict, Title: "A live tenant has the platform's clock. Only sandbox tenants have one that can be moved."}
	ErrClockBack = &citygate.Code{Name: "clock.back", Kind: citygate.Conflict, Title: "That is before what the tenant's clock shows. Say that it is meant to go back, or choose a later time."}
	ErrClock     = &citygate.Code{Name: "clock.invalid", Kind: citygate.Invalid, Title: "A sandbox's clock cannot show that. It is never behind the platform's, and at most ten years ahead."}
)

// ClockAheadMost is how far a sandbox's clock may be ahead of the platform's.
const ClockAheadMost = 3660 * 24 * time.Hour

// A Clock is what a tenant's clock shows.
type Clock struct {
	Tenant citygate.TenantID
	Mode   Mode
	Now    time.Time
	Ahead  time.Duration // of the platform's clock; 0 of a live tenant
}

// Clock gives a tenant's clock. Every timestamp that is made for the tenant comes
// from it, by [pg.Tx.Now] and [pg.DB.NowOf].
func (d *Directory) Clock(ctx context.Context, id citygate.TenantID) (c Clock, err error) {
	err = d.db.InTenant(ctx, id, func(tx *pg.Tx) (err error) {
		c, err = readClock(ctx, tx, `SELECT mode, clock_ahead_us FROM platform.tenants WHERE tenant_id = $1`)
		return err
	})
	return c, err
}

func readClock(ctx context.Context, tx *pg.Tx, sql string) (Clock, error) {
	c := Clock{Tenant: tx.Tenant, Now: tx.Now}
	var us int64
	err := tx.QueryRow(ctx, sql, tx.Tenant).Scan(&c.Mode, &us)
	if pg.IsNoRows(err) {
		return c, ErrNotFound.Because(nil, "tenant %d", tx.Tenant)
	}
	c.Ahead = time.Duration(us) * time.Microsecond
	return c, err
}

// AdvanceClock moves a sandbox tenant's clock on by a span. What becomes due by it
// is done like anything that is due: by a gateway that runs.
func (d *Directory) AdvanceClock(ctx context.Context, actor string, id citygate.TenantID, by time.Duration) (Clock, error) {
	return d.moveClock(ctx, actor, id, func(c Clock) (time.Duration, error) {
		if by <= 0 || by > ClockAheadMost {
			return 0, ErrClock.Explain("advance by %s: want a span above zero of at most %d days", by, ClockAheadMost/(24*time.Hour))
		}
		return c.Ahead + by, nil
	})
}

// SetClock has a sandbox tenant's clock show at now. Before what it shows is
// [ErrClockBack] unless back says that this is meant: rows that were made later
// stay, and what was paid, closed or published in them stays so.
func (d *Directory) SetClock(ctx context.Context, actor string, id citygate.TenantID, at time.Time, back bool) (Clock, error) {
	return d.moveClock(ctx, actor, id, func(c Clock) (time.Duration, error) {
		ahead := c.Ahead + at.Sub(c.Now)
		if ahead < c.Ahead && !back {
			return 0, ErrClockBack.Explain("%s is before %s, which %s shows", at.UTC().Format(time.RFC3339), c.Now.Format(time.RFC3339), "the clock")
		}
		return ahead, nil
	})
}

// moveClock locks a tenant, so that two that move its clock do so one after the
// other, each from where the other left it.
func (d *Directory) moveClock(ctx context.Context, actor string, id citygate.TenantID, to func(Clock) (time.Duration, error)) (c Clock, err error) {
	err = d.db.InTenant(ctx, id, func(tx *pg.Tx) error {
		if c, err = readClock(ctx, tx, `SELECT mode, clock_ahead_us FROM platform.tenants WHERE tenant_id = $1 FOR UPDATE`); err != nil {
			return err
		}
		if c.Mode != Sandbox {
			return ErrClockLive.Because(nil, "tenant %d", id)
		}
		c.Now = d.db.Now().Add(c.Ahead) // the lock may have been waited for
		ahead, err := to(c)
		if err != nil {
			return err
		}
		ahead = ahead.Truncate(time.Microsecond)
		if ahead < 0 || ahead > ClockAheadMost {
			return ErrClock.Explain("%s is %s from the platform's clock", c.Now.Add(ahead-c.Ahead).Format(time.RFC3339), ahead)
		}
		if ahead == c.Ahead {
			return nil
		}
		if _, err := tx.Exec(ctx, `UPDATE platform.tenants SET clock_ahead_us = $2 WHERE tenant_id = $1`, id, ahead.Microseconds()); err != nil {
			return err
		}
		next := c
		next.Now, next.Ahead = c.Now.Add(ahead-c.Ahead), ahead
		before, after := clockEntry{c.Now, int64(c.Ahead / time.Second)}, clockEntry{next.Now, int64(next.Ahead / time.Second)}
		c = next
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "clock.move", Object: "clock", Before: before, After: after})
	})
	if err == nil {
		d.forget()
	}
	return c, err
}

// A clockEntry is a clock in the audit log.
type clockEntry struct {
	Now          time.Time `json:"now"`
	AheadSeconds int64     `json:"ahead_seconds"`
}
