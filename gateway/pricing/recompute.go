package pricing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Recount is what came out when a day's fares were derived again.
type Recount struct {
	Date      citygate.Date
	Journeys  int   // of the day that are decided
	Total     int64 // what they cost as stored, in minor units
	Erased    int   // whose taps are erased: nothing is left to derive them from
	Different []Difference
}

// A Difference is a journey whose last decision is not what its taps give.
type Difference struct {
	Journey citygate.UUID
	N       int
	Field   string // amount, state, taps, explanation, inputs_hash
	Stored  string
	Derived string
}

// errLooked ends a transaction that only looked.
var errLooked = errors.New("nothing is to be kept")

// Recompute builds the journeys that began on a business date again from their
// taps, decides them by the tariff versions that were valid, with all that went
// before them, and compares the last decision of each: amount, explanation byte
// by byte, and, of journeys priced by themselves, the hash of the inputs. It
// keeps nothing. Journeys that are still open are left out.
func (e *Engine) Recompute(ctx context.Context, tenant citygate.TenantID, date citygate.Date) (Recount, error) {
	out := Recount{Date: date}
	home, err := e.home(ctx, tenant)
	if err != nil {
		return out, err
	}
	from, until := home.calendar.Window(date)
	err = e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM journeys WHERE tenant_id = $1 AND issuer = 0 AND starts_at >= $2 AND starts_at < $3`,
			int64(tenant), from.UTC().Truncate(24*time.Hour), until).Scan(&out.Erased)
	})
	if err != nil {
		return out, err
	}
	for after := (citygate.UUID{}); ; {
		var list []stored
		err := e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			r, err := e.begin(ctx, tx, home)
			if err != nil {
				return err
			}
			list, err = collectJourneys(tx.Query(ctx, `
				SELECT `+journeyColumns+` FROM journeys j
				WHERE j.tenant_id = $1 AND j.starts_at >= $2 AND j.starts_at < $3 AND j.state IN ('priced', 'set_aside') AND j.issuer <> 0 AND j.journey_id > $4
				ORDER BY j.journey_id LIMIT $5`, int64(tenant), from, until, after, chunkRiders))
			if err != nil || len(list) == 0 {
				return err
			}
			found, err := r.recount(ctx, list)
			if err != nil {
				return err
			}
			out.Different = append(out.Different, found...)
			return errLooked
		})
		if err != nil && !errors.Is(err, errLooked) {
			return out, err
		}
		if len(list) == 0 {
			return out, nil
		}
		out.Journeys += len(list)
		for i := range list {
			out.Total += list[i].amount
		}
		after = list[len(list)-1].id
	}
}

// derive builds stored journeys again and prices them, by journey.
func (r *run) derive(ctx context.Context, list []stored) (map[citygate.UUID]*change, error) {
	var touches []touch
	var ids []citygate.TapID
	var riders []citygate.Rider
	for i := range list {
		s := &list[i]
		if s.paired {
			touches = append(touches, touch{s.rider, s.at}, touch{s.rider, s.ends})
			riders = append(riders, s.rider)
		} else {
			ids = append(ids, s.taps...)
		}
	}
	slices.SortFunc(riders, citygate.Rider.Compare)
	var singles []Tap
	if len(ids) > 0 {
		var err error
		if singles, err = r.Taps.ByID(ctx, r.tx, ids); err != nil {
			return nil, err
		}
		slices.SortFunc(singles, func(a, b Tap) int { return a.Rider.Compare(b.Rider) })
	}
	changes, err := r.changes(ctx, slices.Compact(riders), singles, touches, make(map[citygate.TapID]*Tap))
	if err != nil {
		return nil, err
	}
	derived := make(map[citygate.UUID]*change, len(changes))
	for i := range changes {
		derived[changes[i].id] = &changes[i]
	}
	return derived, nil
}

// recount derives journeys again and gives what differs.
func (r *run) recount(ctx context.Context, list []stored) ([]Difference, error) {
	derived, err := r.derive(ctx, list)
	if err != nil {
		return nil, err
	}
	kept, err := keptDecisions(ctx, r.tx, list)
	if err != nil {
		return nil, err
	}
	var out []Difference
	for i := range list {
		s := &list[i]
		c := derived[s.id]
		if c == nil {
			out = append(out, Difference{s.id, s.lastN, "taps", tapsOf(s), ""})
			continue
		}
		field, was, is, err := r.differs(ctx, c, kept[s.id])
		if err != nil {
			return nil, err
		}
		if field != "" {
			out = append(out, Difference{s.id, s.lastN, field, was, is})
		}
	}
	return out, nil
}

// differs names the first thing in which a journey derived again is not as kept.
func (r *run) differs(ctx context.Context, c *change, k keptDecision) (field, was, is string, err error) {
	o, d, err := r.outcome(ctx, *c)
	if err != nil {
		return "", "", "", err
	}
	explanation, err := json.Marshal(d.Explanation)
	if err != nil {
		return "", "", "", err
	}
	switch {
	case !sameTaps(c.old.taps, members(&c.built)):
		return "taps", tapsOf(c.old), tapsText(members(&c.built)), nil
	case c.old.state != o.state || c.old.reason != string(o.reason):
		return "state", c.old.state + " " + c.old.reason, o.state + " " + string(o.reason), nil
	case c.old.amount != o.amount() || k.amount != o.amount():
		return "amount", fmt.Sprint(k.amount), fmt.Sprint(o.amount()), nil
	case k.explanation != string(explanation):
		return "explanation", k.explanation, string(explanation), nil
	case r.folded[c.id] == nil && !bytes.Equal(k.hash, d.InputsHash[:]):
		return "inputs_hash", fmt.Sprintf("%x", k.hash), fmt.Sprintf("%x", d.InputsHash), nil
	}
	return "", "", "", nil
}

func tapsOf(s *stored) string {
	var b []byte
	for i, id := range s.taps {
		if i > 0 {
			b = append(b, ' ')
		}
		b = fmt.Appendf(b, "%d:%d", id.Terminal, id.Seq)
	}
	return string(b)
}

type keptDecision struct {
	amount      int64
	hash        []byte
	explanation string
}

// keptDecisions gives the last decision of each journey.
func keptDecisions(ctx context.Context, tx *pg.Tx, list []stored) (map[citygate.UUID]keptDecision, error) {
	ids, ns := make([]citygate.UUID, len(list)), make([]int32, len(list))
	for i := range list {
		ids[i], ns[i] = list[i].id, int32(list[i].lastN)
	}
	rows, err := tx.Query(ctx, `
		SELECT d.journey_id, d.amount, d.inputs_hash, d.explanation FROM unnest($2::uuid[], $3::int[]) AS u (id, n) CROSS JOIN LATERAL (
			SELECT journey_id, amount, inputs_hash, explanation::text FROM fare_decisions WHERE tenant_id = $1 AND journey_id = u.id AND n = u.n OFFSET 0) AS d`,
		int64(tx.Tenant), ids, ns)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID]keptDecision, len(list))
	var id citygate.UUID
	var k keptDecision
	_, err = pgx.ForEachRow(rows, []any{&id, &k.amount, &k.hash, &k.explanation}, func() error {
		k.hash = bytes.Clone(k.hash)
		out[id] = k
		return nil
	})
	return out, err
}
