package pricing

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of simulations.
var (
	ErrSimulation = &citygate.Code{Name: "pricing.simulation", Kind: citygate.Invalid, Title: "The draft cannot be tried on that day. Give a tariff in the tenant's currency and a day of the past."}
	ErrFewRiders  = &citygate.Code{Name: "pricing.few_riders", Kind: citygate.Conflict, Title: "Fewer than 10 riders rode on that day: what changes for them would tell who they are. Take another day."}
)

// cellMin is how many riders at least are behind every number of a simulation.
const cellMin = 10

// A Simulation is what a day would have cost by a draft of the tariff.
type Simulation struct {
	Date     citygate.Date
	Journeys int  // of the day that are decided
	Riders   int  // who took them
	Partial  bool // there were more journeys than the limit; riders are whole
	Before   int64
	After    int64 // minor units, over the journeys that both price
	Unknown  int   // journeys that are priced and that the draft cannot price
	Known    int   // journeys that are set aside and that the draft prices
	// Riders who would have paid less, more and the same over the day; -1 where the
	// number is withheld, being below 10 or following from one that is.
	Winners, Losers, Same int
	Groups                []SimulatedGroup // by category, the largest first
}

// A SimulatedGroup is what changes for the riders of a category. Categories of
// fewer than 10 riders are one group without a name.
type SimulatedGroup struct {
	Category string
	Riders   int
	Journeys int
	Before   int64
	After    int64
}

// Simulate prices the journeys that began on a business date as if the draft had
// been the tariff on that day: from the same taps, in the order of each rider's
// rides, with caps, transfers and rights, by the code that prices. What riders had
// ridden before counts as it was. It keeps nothing. Riders are taken until limit
// journeys are reached.
func (e *Engine) Simulate(ctx context.Context, tenant citygate.TenantID, draft *fare.Tariff, date citygate.Date, limit int) (Simulation, error) {
	out := Simulation{Date: date}
	home, err := e.home(ctx, tenant)
	if err != nil {
		return out, err
	}
	if draft.Currency != home.Currency {
		return out, ErrSimulation.Explain("the draft is in %s, the tenant's books in %s", draft.Currency, home.Currency)
	}
	from, until := home.calendar.Window(date)
	var t tally
	for after := (citygate.Rider{}); ; {
		var riders []citygate.Rider
		var here tally
		err := e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			here = tally{}
			if from.After(tx.Now) {
				return ErrSimulation.Explain("%s has not begun", date)
			}
			r, err := e.begin(ctx, tx, home)
			if err != nil {
				return err
			}
			r.prices = r.prices.with(draft, from.UnixMilli(), until.UnixMilli())
			r.foldsFrom = min(r.foldsFrom, r.prices.foldsFrom())
			if riders, err = ridersOf(ctx, tx, from, until, after); err != nil || len(riders) == 0 {
				return err
			}
			if err := r.simulate(ctx, riders, from, until, &here); err != nil {
				return err
			}
			return errLooked
		})
		if err != nil && !errors.Is(err, errLooked) {
			return out, err
		}
		t.add(here)
		if len(riders) == 0 {
			break
		}
		if after = riders[len(riders)-1]; len(t.rides) >= limit {
			out.Partial = true
			break
		}
	}
	return out, t.into(&out)
}

// with gives the price list with a draft in place of what held from from until until.
func (l priceList) with(draft *fare.Tariff, from, until int64) priceList {
	var out priceList
	for _, v := range l {
		if v.from < from {
			out = append(out, v)
		}
	}
	out = append(out, &version{from, draft})
	if then := l.at(until); then != nil {
		out = append(out, &version{until, then})
	}
	for _, v := range l {
		if v.from > until {
			out = append(out, v)
		}
	}
	return out
}

// The limits of simulations, in journeys: of one that a person waits for at a
// terminal, and of one that a request waits for.
const (
	SimulationMax    = 1_000_000
	SimulationAtOnce = 20_000
)

const simulatedRiders = 500 // riders of one transaction

// ridersOf gives riders behind one who have decided journeys in a time, in order.
func ridersOf(ctx context.Context, tx *pg.Tx, from, until time.Time, after citygate.Rider) ([]citygate.Rider, error) {
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT issuer, list, idx FROM journeys WHERE tenant_id = $1 AND starts_at >= $2 AND starts_at < $3 AND state IN ('priced', 'set_aside') AND issuer <> 0
		AND (issuer, list, idx) > ($4, $5, $6) ORDER BY issuer, list, idx LIMIT $7`,
		int64(tx.Tenant), from, until, int32(after.Issuer), int32(after.List), int64(after.Index), simulatedRiders)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r citygate.Rider, err error) {
		var issuer, list int32
		var index int64
		err = row.Scan(&issuer, &list, &index)
		return citygate.Rider{Issuer: citygate.Issuer(issuer), List: uint16(list), Index: uint32(index)}, err
	})
}

// A simulated ride is what a journey cost, and would have.
type simulated struct {
	rider         citygate.Rider
	category      string
	was, is       bool // known
	before, after int64
}

type tally struct{ rides []simulated }

func (t *tally) add(o tally) { t.rides = append(t.rides, o.rides...) }

// simulate prices the day's journeys of riders.
func (r *run) simulate(ctx context.Context, riders []citygate.Rider, from, until time.Time, t *tally) error {
	issuers, lists, indices := riderColumns(riders)
	rows, err := collectJourneys(r.tx.Query(ctx, `
		SELECT `+journeyColumns+` FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx) CROSS JOIN LATERAL (
			SELECT * FROM journeys WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx AND starts_at >= $5 AND starts_at < $6
			AND state IN ('priced', 'set_aside') OFFSET 0) AS j`, int64(r.tx.Tenant), issuers, lists, indices, from, until))
	if err != nil {
		return err
	}
	changes, err := r.derive(ctx, rows)
	if err != nil {
		return err
	}
	for i := range rows {
		c := changes[rows[i].id]
		if c == nil {
			continue // late taps that are not priced yet have taken it
		}
		_, d, err := r.outcome(ctx, *c)
		if err != nil {
			return err
		}
		t.rides = append(t.rides, simulated{rider: rows[i].rider, category: string(d.Explanation.Category), was: rows[i].state == statePriced, is: d.Known,
			before: rows[i].amount, after: d.Amount.Minor})
	}
	return nil
}

// into adds up.
func (t *tally) into(out *Simulation) error {
	type balance struct{ before, after int64 }
	riders := make(map[citygate.Rider]*balance)
	groups := make(map[string]*SimulatedGroup)
	members := make(map[string]map[citygate.Rider]bool)
	for i := range t.rides {
		s := &t.rides[i]
		out.Journeys++
		if riders[s.rider] == nil {
			riders[s.rider] = new(balance)
		}
		switch {
		case s.was && !s.is:
			out.Unknown++
			continue
		case !s.was && s.is:
			out.Known++
			continue
		case !s.was:
			continue
		}
		out.Before += s.before
		out.After += s.after
		b := riders[s.rider]
		b.before, b.after = b.before+s.before, b.after+s.after
		g := groups[s.category]
		if g == nil {
			g = &SimulatedGroup{Category: s.category}
			groups[s.category], members[s.category] = g, make(map[citygate.Rider]bool)
		}
		members[s.category][s.rider] = true
		g.Journeys, g.Before, g.After = g.Journeys+1, g.Before+s.before, g.After+s.after
	}
	if out.Riders = len(riders); out.Riders < cellMin {
		return ErrFewRiders
	}
	for _, b := range riders {
		switch {
		case b.after < b.before:
			out.Winners++
		case b.after > b.before:
			out.Losers++
		default:
			out.Same++
		}
	}
	withhold(&out.Winners, &out.Losers, &out.Same)
	for name, g := range groups {
		g.Riders = len(members[name])
		out.Groups = append(out.Groups, *g)
	}
	slices.SortFunc(out.Groups, func(a, b SimulatedGroup) int {
		return cmp.Or(cmp.Compare(b.Riders, a.Riders), cmp.Compare(a.Category, b.Category))
	})
	// The smallest are put together until there are enough, and one more where the
	// rest would follow from the total.
	for n := len(out.Groups); n > 1 && out.Groups[n-1].Riders < cellMin; n = len(out.Groups) {
		a, b := &out.Groups[n-2], out.Groups[n-1]
		*a = SimulatedGroup{Riders: a.Riders + b.Riders, Journeys: a.Journeys + b.Journeys, Before: a.Before + b.Before, After: a.After + b.After}
		out.Groups = out.Groups[:n-1]
	}
	return nil
}

// withhold takes out numbers from 1 to 9, and where that is one the smallest other,
// from which and the total it would follow.
func withhold(cells ...*int) {
	hidden := 0
	for _, c := range cells {
		if *c > 0 && *c < cellMin {
			*c, hidden = -1, hidden+1
		}
	}
	if hidden != 1 {
		return
	}
	var least *int
	for _, c := range cells {
		if *c >= 0 && (least == nil || *c < *least) && *c > 0 {
			least = c
		}
	}
	if least != nil {
		*least = -1
	}
}
