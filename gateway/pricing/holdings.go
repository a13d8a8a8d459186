package pricing

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Right is what a rider holds or has proved, and what is left of it.
type Right struct {
	ID        citygate.UUID
	Kind      string // holding, proof
	Name      string // of the product, or the category
	Holding   *entitlement.Holding
	Evidence  string
	From      time.Time
	Until     time.Time // zero = without end
	GrantedAt time.Time
	RidesLeft int   // of a ticket
	ValueLeft int64 // of stored value, in minor units
	Used      int   // rides
}

// RightsOf lists what a rider holds and has proved, behind a right's id.
func RightsOf(ctx context.Context, tx *pg.Tx, rider citygate.Rider, after citygate.UUID, limit int) ([]Right, error) {
	rows, err := tx.Query(ctx, `
		SELECT right_id, kind, name, body::text, evidence, valid_from, valid_until, granted_at FROM fare_rights
		WHERE tenant_id = $1 AND issuer = $2 AND list = $3 AND idx = $4 AND right_id > $5 ORDER BY right_id LIMIT $6`,
		int64(tx.Tenant), int32(rider.Issuer), int32(rider.List), int64(rider.Index), after, limit)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Right, err error) {
		var body string
		var until *time.Time
		if err := row.Scan((*[16]byte)(&r.ID), &r.Kind, &r.Name, &body, &r.Evidence, &r.From, &until, &r.GrantedAt); err != nil {
			return r, err
		}
		r.From, r.GrantedAt = r.From.UTC(), r.GrantedAt.UTC()
		if until != nil {
			r.Until = until.UTC()
		}
		if r.Kind == "holding" {
			r.Holding = new(entitlement.Holding)
			err = json.Unmarshal([]byte(body), r.Holding)
		}
		return r, err
	})
	if err != nil {
		return nil, err
	}
	var holdings []entitlement.Holding
	for i := range list {
		if list[i].Holding != nil {
			holdings = append(holdings, *list[i].Holding)
		}
	}
	uses, err := usesOf(ctx, tx, holdings, false)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if h := list[i].Holding; h != nil {
			list[i].RidesLeft, list[i].ValueLeft = uses.Rest(h)
			list[i].Used = uses.Rides(h)
		}
	}
	return list, nil
}

// usesOf gives what the decided rides have used of holdings: all of them, or those
// alone whose rider is erased.
func usesOf(ctx context.Context, tx *pg.Tx, holdings []entitlement.Holding, erased bool) (entitlement.Uses, error) {
	if len(holdings) == 0 {
		return nil, nil
	}
	ids := make([]string, len(holdings))
	of := make(map[string]*entitlement.Holding, len(holdings))
	for i := range holdings {
		ids[i] = holdings[i].ID.String()
		of[ids[i]] = &holdings[i]
	}
	rows, err := tx.Query(ctx, `
		SELECT a.rule, min(d.event_time), count(*), sum(a.amount)::bigint
		FROM fare_adjustments a
		JOIN journeys j ON j.tenant_id = $1 AND j.journey_id = a.journey_id AND j.last_n = a.n
		JOIN fare_decisions d ON d.tenant_id = $1 AND d.journey_id = a.journey_id AND d.n = a.n
		WHERE a.tenant_id = $1 AND a.rule = ANY($2::text[]) AND a.kind IN ('product', 'stored_value') AND a.applied AND (NOT $3 OR j.issuer = 0)
		GROUP BY a.rule`, int64(tx.Tenant), ids, erased)
	if err != nil {
		return nil, err
	}
	var uses entitlement.Uses
	var rule string
	var first time.Time
	var rides int
	var amount int64
	_, err = pgx.ForEachRow(rows, []any{&rule, &first, &rides, &amount}, func() error {
		h := of[rule]
		u := entitlement.Used{Holding: h.ID, First: first.UnixMilli(), Rides: rides}
		if h.Kind == entitlement.StoredValue || h.Kind == entitlement.Pass && h.Paid > 0 {
			u.Value = amount
		}
		uses = append(uses, u)
		return nil
	})
	slices.SortFunc(uses, func(a, b entitlement.Used) int { return bytes.Compare(a.Holding[:], b.Holding[:]) })
	return uses, err
}

// addErased gives riders what rides have used of their holdings that nobody can
// tell any more whose they were. It is what the rides that are kept begin with.
func addErased(ctx context.Context, tx *pg.Tx, list map[citygate.Rider]rights) error {
	var all []entitlement.Holding
	for _, r := range list {
		all = append(all, r.holdings...)
	}
	uses, err := usesOf(ctx, tx, all, true)
	if err != nil || len(uses) == 0 {
		return err
	}
	for rider, r := range list {
		for _, u := range uses {
			if slices.ContainsFunc(r.holdings, func(h entitlement.Holding) bool { return h.ID == u.Holding }) {
				r.erased = append(r.erased, u)
			}
		}
		list[rider] = r
	}
	return nil
}

// A Bought is a holding that was paid for.
type Bought struct {
	Rider    citygate.Rider
	Holding  entitlement.Holding
	Evidence string
}

// Hold gives a rider what was paid for, and prices the rides again that began
// since it began: whatever order payment and taps became known in, what is paid is
// the same. Doing it again changes nothing. It locks the rider's row, and is to be
// the last thing in its transaction.
func (e *Engine) Hold(ctx context.Context, tx *pg.Tx, b Bought) error {
	home, err := e.home(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	if err := lockRiders(ctx, tx, []citygate.Rider{b.Rider}); err != nil {
		return err
	}
	h := b.Holding
	fresh, err := insertRight(ctx, tx, right{id: h.ID, rider: b.Rider, kind: "holding", name: h.Product, body: h, evidence: b.Evidence,
		from: time.UnixMilli(h.From).UTC(), until: h.Until})
	if err != nil || !fresh {
		return err
	}
	r, err := e.begin(ctx, tx, home)
	if err != nil {
		return err
	}
	return r.reprice(ctx, b.Rider, h.From)
}

// reprice prices a rider's rides again that began at an instant or later. The
// rider's row is locked.
func (r *run) reprice(ctx context.Context, rider citygate.Rider, from int64) error {
	rows, err := journeysFrom(ctx, r.tx, []citygate.Rider{rider}, []int64{max(from, r.foldsFrom)})
	if err != nil || len(rows) == 0 {
		return err
	}
	var touches []touch
	var ids []citygate.TapID
	for i := range rows {
		if s := &rows[i]; s.paired {
			touches = append(touches, touch{s.rider, s.at}, touch{s.rider, s.ends})
		} else {
			ids = append(ids, s.taps...)
		}
	}
	var singles []Tap
	if len(ids) > 0 {
		if singles, err = r.Taps.ByID(ctx, r.tx, ids); err != nil {
			return err
		}
	}
	return r.priceAgain(ctx, singles, touches)
}

// A Taken is what rides had used of a holding when it was taken back.
type Taken struct {
	Holding entitlement.Holding
	Rides   int
	Earned  int64 // of the price, in minor units
}

// Peek gives what rides have used of a holding that was paid for, with the rider's
// row locked: nothing more is used before the transaction ends.
func Peek(ctx context.Context, tx *pg.Tx, id citygate.UUID) (t Taken, err error) {
	var rider citygate.Rider
	var body string
	err = tx.QueryRow(ctx, `SELECT issuer, list, idx, body::text FROM fare_rights WHERE tenant_id = $1 AND right_id = $2 AND kind = 'holding'`,
		int64(tx.Tenant), id).Scan(&rider.Issuer, &rider.List, &rider.Index, &body)
	if pg.IsNoRows(err) {
		return t, ErrNoRight.Explain("right %s", id.Text(RightPrefix))
	}
	if err != nil {
		return t, err
	}
	if err := lockRiders(ctx, tx, []citygate.Rider{rider}); err != nil {
		return t, err
	}
	if err := json.Unmarshal([]byte(body), &t.Holding); err != nil {
		return t, err
	}
	uses, err := usesOf(ctx, tx, []entitlement.Holding{t.Holding}, false)
	if err != nil {
		return t, err
	}
	t.Rides = uses.Rides(&t.Holding)
	t.Earned, err = EarnedOf(ctx, tx, id)
	return t, err
}

// EarnedOf gives what of the price of a holding rides have used up, in minor units.
func EarnedOf(ctx context.Context, tx *pg.Tx, id citygate.UUID) (earned int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT coalesce(sum(a.prepaid), 0)::bigint FROM fare_adjustments a
		JOIN journeys j ON j.tenant_id = $1 AND j.journey_id = a.journey_id AND j.last_n = a.n
		WHERE a.tenant_id = $1 AND a.rule = $2 AND a.kind IN ('product', 'stored_value')`, int64(tx.Tenant), id.String()).Scan(&earned)
	return earned, err
}

// TakeBack ends what t is of: no more of it can be used than was used, whatever
// arrives late, and nothing of it by rides from now on. The rider's row is locked
// since [Peek].
func TakeBack(ctx context.Context, tx *pg.Tx, t Taken) error {
	h := t.Holding
	uses, err := usesOf(ctx, tx, []entitlement.Holding{h}, false)
	if err != nil {
		return err
	}
	h.Of = max(h.Of, h.Rides)
	h.Rides, h.Value = uses.Used(&h)
	if h.Kind == entitlement.Pass {
		h.Rides, h.Value, h.Of, h.Paid = 0, 0, 0, t.Earned
	}
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	until := tx.Now.UTC().Truncate(time.Millisecond)
	if t.Rides == 0 {
		until = time.UnixMilli(h.From).UTC() // it never was
	}
	_, err = tx.Exec(ctx, `
		UPDATE fare_rights SET body = $3::json, valid_until = greatest(valid_from, least($4, coalesce(valid_until, $4))) WHERE tenant_id = $1 AND right_id = $2`,
		int64(tx.Tenant), h.ID, string(body), until)
	return err
}

// ProofsOf gives the categories a rider has proved at an instant.
func ProofsOf(ctx context.Context, tx *pg.Tx, rider citygate.Rider, at time.Time) ([]fare.Category, error) {
	found, err := rightsOf(ctx, tx, []citygate.Rider{rider})
	if err != nil {
		return nil, err
	}
	var list []fare.Category
	for _, p := range found[rider].proofs {
		if ms := at.UnixMilli(); ms >= p.From && (p.Until == 0 || ms < p.Until) {
			list = append(list, p.Category)
		}
	}
	return list, nil
}
