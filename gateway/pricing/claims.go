package pricing

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ClaimPrefix and FactPrefix are what ids of claims and facts carry at the API.
const (
	ClaimPrefix = "jcl_"
	FactPrefix  = "jfa_"
)

// The refusals of claims and facts.
var (
	ErrNoClaim    = &citygate.Code{Name: "pricing.no_claim", Kind: citygate.Conflict, Title: "No tap of this journey can be claimed: nothing is missing, it may still come, it was claimed before, or the operator takes no claims. Ask the operator."}
	ErrClaimLate  = &citygate.Code{Name: "pricing.claim_late", Kind: citygate.Conflict, Title: "The journey is too old for a claim. Ask the operator."}
	ErrClaimMost  = &citygate.Code{Name: "pricing.claim_most", Kind: citygate.Conflict, Title: "No more taps can be claimed this month. Ask the operator, or claim next month."}
	ErrClaimPlace = &citygate.Code{Name: "pricing.claim_place", Kind: citygate.Invalid, Title: "The journey cannot have begun or ended there. Name another stop of the operator."}
	ErrFact       = &citygate.Code{Name: "pricing.bad_fact", Kind: citygate.Invalid, Title: "The fact is not valid. Name a reader or a stop, and a time of at most a week."}
)

// A MissingTap is what a rider claims about a journey that lacks an end.
type MissingTap struct {
	Rider   citygate.Rider
	Journey citygate.UUID
	Stop    string
	At      time.Time // zero = the rider does not say
}

// Claim takes a rider's word for the missing end of a journey, as far as the
// rules in force at the journey allow it, and decides the journey again: decision
// n+1. A tap that arrives later takes the claim's place. A journey of another
// rider is one that does not exist.
func (e *Engine) Claim(ctx context.Context, tenant citygate.TenantID, m MissingTap) error {
	home, err := e.home(ctx, tenant)
	if err != nil {
		return err
	}
	return e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		r, err := e.begin(ctx, tx, home)
		if err != nil {
			return err
		}
		if err := lockRiders(ctx, tx, []citygate.Rider{m.Rider}); err != nil {
			return err
		}
		found, err := collectJourneys(tx.Query(ctx, `SELECT `+journeyColumns+` FROM journeys j
			WHERE j.tenant_id = $1 AND j.journey_id = $2 AND j.issuer = $3 AND j.list = $4 AND j.idx = $5`,
			int64(tx.Tenant), m.Journey, int32(m.Rider.Issuer), int32(m.Rider.List), int64(m.Rider.Index)))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrNotFound.Because(nil, "%s of rider %s", m.Journey, m.Rider)
		}
		if err := r.claimable(ctx, &found[0], m); err != nil {
			return err
		}
		return r.priceAgain(ctx, nil, []touch{{m.Rider, found[0].at}, {m.Rider, found[0].ends}})
	})
}

// claimable stores the claim if the rules allow it.
func (r *run) claimable(ctx context.Context, s *stored, m MissingTap) error {
	v := r.book.version(s.at)
	if v == nil || v.document.Claims == nil || s.state == stateOpen || s.state == stateEmpty {
		return ErrNoClaim.Because(nil, "journey %s is %s", s.id, s.state)
	}
	allowed := v.document.Claims
	if r.tx.Now.After(time.UnixMilli(s.ends).AddDate(0, 0, int(7*allowed.WithinWeeks))) {
		return ErrClaimLate.Explain("claims are taken for %d weeks", allowed.WithinWeeks)
	}
	reach := r.book.reach.Milliseconds()
	built, err := r.build(ctx, []citygate.Rider{m.Rider}, s.at-2*reach, s.ends+2*reach, map[citygate.TapID]*Tap{})
	if err != nil {
		return err
	}
	var j *journey.Journey
	for i := range built {
		if sameTaps(s.taps, members(&built[i])) {
			j = &built[i]
		}
	}
	if j == nil || j.Missing == journey.Nothing {
		return ErrNoClaim.Because(nil, "journey %s lacks nothing", s.id)
	}
	known := j.Taps[0]
	if j.Missing == journey.MissingOn {
		known = j.Taps[len(j.Taps)-1]
	}
	places := v.rules.Places
	if m.Stop == "" || places.Same(m.Stop, known.Stop) || places != nil && !places.Known(m.Stop) {
		return ErrClaimPlace.Explain("stop %q", m.Stop)
	}
	zone, err := time.LoadLocation(r.home.TimeZone)
	if err != nil {
		return err
	}
	now := r.tx.Now.In(zone)
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	var made, here int
	if err := r.tx.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE month = $5), count(*) FILTER (WHERE journey_id = $6) FROM journey_claims
		WHERE tenant_id = $1 AND issuer = $2 AND list = $3 AND idx = $4`, int64(r.tx.Tenant), int32(m.Rider.Issuer), int32(m.Rider.List), int64(m.Rider.Index),
		month, s.id).Scan(&made, &here); err != nil {
		return err
	}
	if here > 0 {
		return ErrNoClaim.Because(nil, "journey %s was claimed", s.id)
	}
	if int64(made) >= allowed.PerMonth {
		return ErrClaimMost.Explain("%d a month", allowed.PerMonth)
	}
	return r.insertClaim(ctx, s.id, m, known.ID, j.Missing, month)
}

func (r *run) insertClaim(ctx context.Context, id citygate.UUID, m MissingTap, known citygate.TapID, missing journey.Missing, month time.Time) error {
	var at *time.Time
	if !m.At.IsZero() {
		t := m.At.UTC().Truncate(time.Millisecond)
		at = &t
	}
	claim := ledger.DeriveID(r.tx.Now, "journey claim", r.tx.Tenant.String(), id.String(), known.String())
	if _, err := r.tx.Exec(ctx, `
		INSERT INTO journey_claims (tenant_id, claim_id, journey_id, issuer, list, idx, terminal, seq, missing, stop, at, month, claimed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`, int64(r.tx.Tenant), claim, id, int32(m.Rider.Issuer), int32(m.Rider.List), int64(m.Rider.Index),
		int64(known.Terminal), int64(known.Seq), string(missing), m.Stop, at, month, r.tx.Now); err != nil {
		return err
	}
	return r.tx.Audit(ctx, pg.AuditEntry{Actor: "rider", Verb: "journey.claim", Object: id.Text(Prefix),
		After: map[string]any{"claim": claim.Text(ClaimPrefix), "missing": missing, "stop": m.Stop}})
}

// Record keeps a fact about readers or stations and builds the journeys it can
// change again. It gives the fact's id.
func (e *Engine) Record(ctx context.Context, tenant citygate.TenantID, f Fact) (citygate.UUID, error) {
	f.From, f.To = f.From.UTC().Truncate(time.Millisecond), f.To.UTC().Truncate(time.Millisecond)
	gates := f.Kind == GatesOpened
	switch {
	case f.Kind != GatesOpened && f.Kind != ReaderKindWrong && f.Kind != ReaderPlaceWrong:
		return citygate.UUID{}, ErrFact.Explain("kind %q", f.Kind)
	case gates == (f.Stop == "") || gates == (f.Terminal != 0):
		return citygate.UUID{}, ErrFact.Explain("gates are opened at a stop, and readers have a number")
	case f.To.Before(f.From) || f.To.Sub(f.From) > 7*24*time.Hour:
		return citygate.UUID{}, ErrFact.Explain("from %s to %s", f.From.Format(time.RFC3339), f.To.Format(time.RFC3339))
	}
	err := e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		f.ID = ledger.DeriveID(tx.Now, "journey fact", tx.Tenant.String(), f.Kind, f.Stop, citygate.TapID{Terminal: f.Terminal}.String(), f.From.String(), f.To.String())
		if err := insertFact(ctx, tx, f); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: f.Actor, Verb: "journey_fact.record", Object: f.ID.Text(FactPrefix),
			After: map[string]any{"kind": f.Kind, "terminal": f.Terminal, "stop": f.Stop, "from": f.From, "to": f.To}})
	})
	if pg.SQLState(err) == pg.StateUniqueViolation { // the same, in the same instant
		return f.ID, nil
	}
	if err != nil {
		return citygate.UUID{}, err
	}
	return f.ID, e.reconsider(ctx, tenant, f)
}

// reconsider builds the journeys again that a fact can change: those that lack
// an end, and those with a tap of the reader.
func (e *Engine) reconsider(ctx context.Context, tenant citygate.TenantID, f Fact) error {
	home, err := e.home(ctx, tenant)
	if err != nil {
		return err
	}
	var touches []touch
	err = e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		touches = nil
		if f.Kind != GatesOpened {
			taps, err := e.Taps.OfTerminal(ctx, tx, f.Terminal, f.From, f.To)
			for i := range taps {
				touches = append(touches, touch{taps[i].Rider, taps[i].At})
			}
			return err
		}
		book, err := e.ruleBook(ctx, tx)
		if err != nil {
			return err
		}
		for after := (citygate.UUID{}); ; {
			page, err := lackingBetween(ctx, tx, f.From.Add(-book.reach), f.To.Add(book.reach), after, chunkRiders)
			if err != nil {
				return err
			}
			for i := range page {
				touches = append(touches, touch{page[i].rider, page[i].at})
			}
			if len(page) < chunkRiders {
				return nil
			}
			after = page[len(page)-1].id
		}
	})
	for len(touches) > 0 && err == nil {
		n := min(len(touches), chunkRiders)
		err = e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			r, err := e.begin(ctx, tx, home)
			if err != nil {
				return err
			}
			return r.priceAgain(ctx, nil, touches[:n:n])
		})
		touches = touches[n:]
	}
	return err
}

// insertCorrections keeps which fares moved between journeys of one rider.
func insertCorrections(ctx context.Context, tx *pg.Tx, moved []*outcome) error {
	changed := map[citygate.Rider][]journey.Delta{}
	of := map[citygate.UUID]*decision{}
	down := false
	for _, o := range moved {
		if d := o.after().amount - o.before().amount; d != 0 {
			changed[o.built.Rider] = append(changed[o.built.Rider], journey.Delta{Journey: o.id, Amount: d})
			of[o.id], down = o.decision, down || d < 0
		}
	}
	if !down {
		return nil
	}
	var from, to []citygate.UUID
	var fromN, toN []int32
	var amounts []int64
	var currencies []string
	for _, deltas := range changed {
		pairs, _ := journey.Corrections(deltas)
		for _, p := range pairs {
			from, to, amounts = append(from, p.From), append(to, p.To), append(amounts, p.Amount)
			fromN, toN = append(fromN, int32(of[p.From].n)), append(toN, int32(of[p.To].n))
			currencies = append(currencies, string(of[p.From].currency))
		}
	}
	if len(from) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO journey_corrections (tenant_id, from_journey, from_n, to_journey, to_n, amount, currency)
		SELECT $1, * FROM unnest($2::uuid[], $3::int[], $4::uuid[], $5::int[], $6::bigint[], $7::text[]) AS u (a, an, b, bn, amount, currency)
		ON CONFLICT (tenant_id, from_journey, from_n, to_journey, to_n) DO NOTHING`, int64(tx.Tenant), from, fromN, to, toN, amounts, currencies)
	return err
}

// A Correction is a fare, or part of one, that moved from one journey of a rider
// to another: minus Amount there, plus Amount here.
type Correction struct {
	From, To   citygate.UUID
	FromN, ToN int // the decisions that did it
	Amount     citygate.Money
}

// CorrectionsOf gives the corrections that a journey is part of.
func CorrectionsOf(ctx context.Context, tx *pg.Tx, id citygate.UUID) ([]Correction, error) {
	rows, err := tx.Query(ctx, `
		SELECT from_journey, from_n, to_journey, to_n, amount, currency FROM journey_corrections WHERE tenant_id = $1 AND from_journey = $2
		UNION ALL
		SELECT from_journey, from_n, to_journey, to_n, amount, currency FROM journey_corrections WHERE tenant_id = $1 AND to_journey = $2
		ORDER BY 1, 2, 3, 4`, int64(tx.Tenant), id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (c Correction, err error) {
		err = r.Scan(&c.From, &c.FromN, &c.To, &c.ToN, &c.Amount.Minor, &c.Amount.Currency)
		return c, err
	})
}
