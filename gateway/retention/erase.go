package retention

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Result is what erasing did, or would do.
type Result struct {
	Before   time.Time `json:"before"`
	Taps     int64     `json:"taps"`          // with evidence, displays and verdicts
	Journeys int64     `json:"journeys"`      // whose rider and taps went; their fares stay
	Claims   int64     `json:"claims"`        // of operators, whose rider went
	Codes    int64     `json:"codes"`         // codes that claims were proved by
	Messages int64     `json:"messages"`      // delivered messages, whose body went
	HeldTaps int64     `json:"held_taps"`     // that open work holds back
	Held     int64     `json:"held_journeys"` // by open work
	DryRun   bool      `json:"dry_run,omitempty"`
}

// batchMax bounds the rows of one transaction.
const batchMax = 1000

// Erase erases everything of a tenant from before an instant that is not held
// back, in transactions of at most some thousand rows. It may be stopped at any
// point and run again: it goes on where it was, and once more changes nothing. A
// dry run counts. An instant that is not yet so long ago as the tenant keeps its
// rows is [ErrTooEarly].
func Erase(ctx context.Context, db *pg.DB, actor string, tenant citygate.TenantID, before time.Time, dryRun bool) (Result, error) {
	e := eraser{db: db, tenant: tenant, before: before.UTC().Truncate(time.Microsecond), cursor: cursor{r: Result{Before: before.UTC(), DryRun: dryRun}}}
	err := db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		s, err := Read(ctx, tx)
		if err != nil {
			return err
		}
		if last := tx.Now.AddDate(0, 0, -s.KeepDays); e.before.After(last) {
			return ErrTooEarly.Explain("it keeps them for %d days, so they can be erased from before %s", s.KeepDays, last.Format(time.RFC3339))
		}
		if err := e.readHeld(ctx, tx); err != nil || !dryRun {
			return err
		}
		return e.count(ctx, tx)
	})
	if err != nil || dryRun {
		return e.r, err
	}
	for _, step := range []func(context.Context, *pg.Tx) (bool, error){e.taps, e.facts, e.journeys, e.claims, e.codes, e.payers, e.agreements, e.flags, e.joins, e.messages, e.told} {
		e.terminal, e.seq, e.journey = 0, 0, citygate.UUID{}
		for more := true; more; {
			was := e.cursor // a transaction may run twice
			if err := db.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
				e.cursor = was
				more, err = step(ctx, tx)
				return err
			}); err != nil {
				return e.r, err
			}
		}
	}
	return e.r, db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if err := noted(ctx, tx, e.before, 0, 0); err != nil {
			return err
		}
		if e.r.Taps+e.r.Journeys+e.r.Claims+e.r.Codes+e.r.Messages == 0 {
			return nil
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "retention.erase", Object: "tenant:" + tenant.String(), After: e.r})
	})
}

// A cursor is where a step is, and what was erased until then.
type cursor struct {
	terminal, seq int64
	journey       citygate.UUID
	r             Result
}

type eraser struct {
	db     *pg.DB
	tenant citygate.TenantID
	before time.Time
	held   []citygate.UUID // journeys
	// heldTaps are their taps.
	heldTaps map[[2]int64]bool
	cursor
}
