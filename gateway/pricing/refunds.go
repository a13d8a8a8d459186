package pricing

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of giving fares back.
var (
	ErrGiveBack  = &citygate.Code{Name: "pricing.no_refund", Kind: citygate.Conflict, Title: "Nothing can be given back of this journey: it has no fare, or no more than was given back already."}
	ErrGivenBack = &citygate.Code{Name: "pricing.other_refund", Kind: citygate.Conflict, Title: "The journey has another refund of this name. Give every refund a name of its own."}
)

// A GiveBack gives a rider's fare back by a decision of people. Void takes the ride
// as if it had not been: it costs nothing, counts toward no cap and uses no
// product, and the rides after it are priced again. Otherwise Goodwill is given
// back of the fare and changes nothing of any other ride.
type GiveBack struct {
	Journey  citygate.UUID
	Name     string // whoever asks gives it, 1 to 64 characters: once per journey
	Void     bool
	Goodwill int64 // minor units; 0 with Void
	Reason   string

	// Alone says whether one person may decide that so much of a fare goes back in all;
	// nil = nobody needs to be asked, or a second person was. It is called inside the
	// transaction.
	Alone func(ctx context.Context, tx *pg.Tx, sum int64) (bool, error)
}

// A gift is what was given back of a journey.
type gift struct {
	void     bool
	goodwill int64
}

// apply has a trip priced with what was given back.
func (g gift) apply(t *fare.Trip) { t.Void, t.Goodwill = g.void, g.goodwill }

// readGifts reads what was given back of the journeys of changes.
func (r *run) readGifts(ctx context.Context, changes []change) error {
	ids := make([]citygate.UUID, 0, len(changes))
	for i := range changes {
		if changes[i].old != nil { // only of a fare that is known can anything be given back
			ids = append(ids, changes[i].id)
		}
	}
	r.gifts = nil
	if len(ids) == 0 {
		return nil
	}
	rows, err := r.tx.Query(ctx, `
		SELECT journey_id, bool_or(kind = 'void'), sum(amount)::bigint FROM fare_refunds
		WHERE tenant_id = $1 AND journey_id = ANY($2::uuid[]) GROUP BY journey_id`, int64(r.tx.Tenant), ids)
	if err != nil {
		return err
	}
	var id citygate.UUID
	var g gift
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&id), &g.void, &g.goodwill}, func() error {
		if r.gifts == nil {
			r.gifts = make(map[citygate.UUID]gift)
		}
		r.gifts[id] = g
		return nil
	})
	return err
}

// GiveBack gives a fare back: the journey, and with Void those after it that depend
// on it, get a decision n+1, and the difference goes back to where the fare was
// collected. Asking again under the same name changes nothing.
func (e *Engine) GiveBack(ctx context.Context, tenant citygate.TenantID, actor string, b GiveBack) error {
	home, err := e.home(ctx, tenant)
	if err != nil {
		return err
	}
	return e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		r, err := e.begin(ctx, tx, home)
		if err != nil {
			return err
		}
		found, err := journeysByID(ctx, tx, []citygate.UUID{b.Journey})
		if err != nil {
			return err
		}
		s := found[b.Journey]
		if s == nil || s.rider == (citygate.Rider{}) {
			return ErrNotFound.Because(nil, "%s", b.Journey)
		}
		if err := lockRiders(ctx, tx, []citygate.Rider{s.rider}); err != nil {
			return err
		}
		if found, err = journeysByID(ctx, tx, []citygate.UUID{b.Journey}); err != nil {
			return err
		}
		s = found[b.Journey]
		fresh, err := r.keepGift(ctx, actor, s, b)
		if err != nil || !fresh {
			return err
		}
		if s.paired {
			return r.priceAgain(ctx, nil, []touch{{s.rider, s.at}, {s.rider, s.ends}})
		}
		singles, err := r.Taps.ByID(ctx, tx, s.taps)
		if err != nil {
			return err
		}
		return r.priceAgain(ctx, singles, nil)
	})
}

// keepGift stores what is given back, unless it is there already.
func (r *run) keepGift(ctx context.Context, actor string, s *stored, b GiveBack) (fresh bool, err error) {
	kind := "goodwill"
	if b.Void {
		kind = "void"
	}
	var was string
	var amount int64
	err = r.tx.QueryRow(ctx, `SELECT kind, amount FROM fare_refunds WHERE tenant_id = $1 AND journey_id = $2 AND order_key = $3`,
		int64(r.tx.Tenant), b.Journey, b.Name).Scan(&was, &amount)
	switch {
	case err == nil && (was != kind || amount != b.Goodwill):
		return false, ErrGivenBack.Explain("refund %s is %s of %d", b.Name, was, amount)
	case err == nil:
		return false, nil
	case !pg.IsNoRows(err):
		return false, err
	case s.state != statePriced || b.Void && b.Goodwill != 0 || !b.Void && (b.Goodwill <= 0 || b.Goodwill > s.amount):
		return false, ErrGiveBack.Explain("it is %s, and its fare is %d now", s.state, s.amount)
	}
	if b.Alone != nil {
		given, _, err := GivenBack(ctx, r.tx, b.Journey, b.Name)
		if err != nil {
			return false, err
		}
		alone, err := b.Alone(ctx, r.tx, given+b.amountOf(s.amount))
		if err != nil {
			return false, err
		}
		if !alone {
			return false, ErrGiveBack.Explain("%d went back by now: for more a second person is needed; ask again", given)
		}
	}
	if _, err := r.tx.Exec(ctx, `
		INSERT INTO fare_refunds (tenant_id, journey_id, order_key, kind, amount, reason, actor, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		int64(r.tx.Tenant), b.Journey, b.Name, kind, b.Goodwill, b.Reason, actor, r.tx.Now); err != nil {
		return false, raced(err)
	}
	return true, r.tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "fare.refund", Object: b.Journey.Text(Prefix),
		After: map[string]any{"kind": kind, "amount": b.Goodwill, "reason": b.Reason, "name": b.Name}})
}

// amountOf gives what leaves of a fare: of a void one all of it as it stands.
func (b *GiveBack) amountOf(fare int64) int64 {
	if b.Void {
		return fare
	}
	return b.Goodwill
}

// GivenBack gives how much of a journey's fare went back by goodwill, and whether the
// journey has a refund of the name.
func GivenBack(ctx context.Context, tx *pg.Tx, journey citygate.UUID, name string) (sum int64, named bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT coalesce(sum(amount), 0)::bigint, coalesce(bool_or(order_key = $3), false) FROM fare_refunds WHERE tenant_id = $1 AND journey_id = $2`,
		int64(tx.Tenant), journey, name).Scan(&sum, &named)
	return sum, named, err
}

// FareOf gives what a journey costs now, in minor units: the most that can be given
// back of it.
func FareOf(ctx context.Context, tx *pg.Tx, id citygate.UUID) (int64, error) {
	found, err := journeysByID(ctx, tx, []citygate.UUID{id})
	if err == nil && found[id] == nil {
		err = ErrNotFound.Because(nil, "%s", id)
	}
	if err != nil {
		return 0, err
	}
	return found[id].amount, nil
}

// A RefundRule says up to what amount one person alone gives fares back where the
// tenant wants two for money that leaves.
type RefundRule struct {
	Version   int // 0 = none was set: two are wanted for every refund
	AloneUpTo int64
	Actor     string
	At        time.Time
}

// RefundRuleOf gives the rule in force.
func RefundRuleOf(ctx context.Context, tx *pg.Tx) (r RefundRule, err error) {
	err = tx.QueryRow(ctx, `SELECT version, alone_up_to, actor, at FROM fare_refund_rules WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1`,
		int64(tx.Tenant)).Scan(&r.Version, &r.AloneUpTo, &r.Actor, &r.At)
	if pg.IsNoRows(err) {
		return RefundRule{}, nil
	}
	r.At = r.At.UTC()
	return r, err
}

// SetRefundRule gives the tenant the next version of its rule.
func SetRefundRule(ctx context.Context, tx *pg.Tx, actor string, aloneUpTo int64) (RefundRule, error) {
	last, err := RefundRuleOf(ctx, tx)
	if err != nil || last.Version > 0 && last.AloneUpTo == aloneUpTo {
		return last, err
	}
	r := RefundRule{Version: last.Version + 1, AloneUpTo: aloneUpTo, Actor: actor, At: tx.Now.UTC()}
	if _, err := tx.Exec(ctx, `INSERT INTO fare_refund_rules (tenant_id, version, alone_up_to, actor, at) VALUES ($1, $2, $3, $4, $5)`,
		int64(tx.Tenant), r.Version, r.AloneUpTo, actor, r.At); err != nil {
		return r, raced(err)
	}
	return r, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "fare_refunds.rule", Object: "fare_refunds", Before: last.AloneUpTo, After: aloneUpTo})
}
