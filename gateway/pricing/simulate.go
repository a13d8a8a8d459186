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

// A Simulation is what a day would have cost by a draft of the tariff. In one answer no
// number that fewer than 10 riders are behind is told, and none from which one
// follows; -1 stands for it. Whoever may try drafts at will and subtracts answers
// learns more: trying is for those who may change the tariff.
type Simulation struct {
	Date     citygate.Date
	Journeys int  // that both price
	Riders   int  // who took them
	Partial  bool // there were more riders than journeys could be priced for; riders are whole
	Before   int64
	After    int64 // minor units, over these journeys
	Unknown  int   // further journeys, that are priced and that the draft cannot price
	Known    int   // further journeys, that are set aside and that the draft prices
	// Riders who would have paid less, more and the same over the day.
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

	sole int // riders whose first journey of the day is of the group: nobody is in two
}

// Simulate prices the journeys that began on a business date as if the draft had
// been the tariff on that day: from the same taps, in the order of each rider's
// rides, with caps, transfers and rights, by the code that prices. What riders had
// ridden before counts as it was. It keeps nothing. Riders are taken whole, 500 at a
// time, until limit journeys are reached; what it holds in memory does not grow with
// the day.
func (e *Engine) Simulate(ctx context.Context, tenant citygate.TenantID, draft *fare.Tariff, date citygate.Date, limit int) (Simulation, error) {
	return e.simulateBy(ctx, tenant, draft, date, limit, simulatedRiders)
}

// simulateBy is Simulate with as many riders at a time as page says.
func (e *Engine) simulateBy(ctx context.Context, tenant citygate.TenantID, draft *fare.Tariff, date citygate.Date, limit, page int) (Simulation, error) {
	out := Simulation{Date: date}
	home, err := e.home(ctx, tenant)
	if err != nil {
		return out, err
	}
	if draft.Currency != home.Currency {
		return out, ErrSimulation.Explain("the draft is in %s, the tenant's books in %s", draft.Currency, home.Currency)
	}
	from, until := home.calendar.Window(date)
	t := tally{groups: make(map[string]*SimulatedGroup)}
	for after := (citygate.Rider{}); ; {
		var riders []citygate.Rider
		var rides []simulated
		full := t.seen >= limit
		err := e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			if until.After(tx.Now) {
				return ErrSimulation.Explain("%s is not over", date)
			}
			r, err := e.begin(ctx, tx, home)
			if err != nil {
				return err
			}
			r.prices = r.prices.with(draft, from.UnixMilli(), until.UnixMilli())
			r.foldsFrom = min(r.foldsFrom, r.prices.foldsFrom())
			if riders, err = ridersOf(ctx, tx, from, until, after, page); err != nil || len(riders) == 0 || full {
				return err
			}
			if rides, err = r.simulate(ctx, riders, from, until); err != nil {
				return err
			}
			return errLooked
		})
		if err != nil && !errors.Is(err, errLooked) {
			return out, err
		}
		if out.Partial = full && len(riders) > 0; full || len(riders) == 0 {
			break
		}
		t.add(rides)
		after = riders[len(riders)-1]
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
func ridersOf(ctx context.Context, tx *pg.Tx, from, until time.Time, after citygate.Rider, page int) ([]citygate.Rider, error) {
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT issuer, list, idx FROM journeys WHERE tenant_id = $1 AND starts_at >= $2 AND starts_at < $3 AND state IN ('priced', 'set_aside') AND issuer <> 0
		AND (issuer, list, idx) > ($4, $5, $6) ORDER BY issuer, list, idx LIMIT $7`,
		int64(tx.Tenant), from, until, int32(after.Issuer), int32(after.List), int64(after.Index), page)
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

// A tally adds up what rides cost, all rides of a rider at once.
type tally struct {
	seen                       int // journeys
	unknownRiders, knownRiders int
	unknown, known             int
	journeys                   int
	before, after              int64
	winners, losers, same      int
	groups                     map[string]*SimulatedGroup
}

// add adds the rides of riders of whom it has seen none.
func (t *tally) add(rides []simulated) {
	slices.SortStableFunc(rides, func(a, b simulated) int { return a.rider.Compare(b.rider) })
	for len(rides) > 0 {
		n := 1
		for n < len(rides) && rides[n].rider == rides[0].rider {
			n++
		}
		t.rider(rides[:n])
		rides = rides[n:]
	}
}

// rider adds the rides of one rider.
func (t *tally) rider(rides []simulated) {
	var before, after int64
	var unknown, known int
	var in []*SimulatedGroup
	for i := range rides {
		s := &rides[i]
		switch {
		case s.was && !s.is:
			unknown++
		case !s.was && s.is:
			known++
		case s.was:
			before, after = before+s.before, after+s.after
			g := t.groups[s.category]
			if g == nil {
				g = &SimulatedGroup{Category: s.category}
				t.groups[s.category] = g
			}
			if !slices.Contains(in, g) {
				in = append(in, g)
				g.Riders++
			}
			t.journeys++
			g.Journeys, g.Before, g.After = g.Journeys+1, g.Before+s.before, g.After+s.after
		}
	}
	t.seen += len(rides)
	t.unknown, t.known = t.unknown+unknown, t.known+known
	t.unknownRiders, t.knownRiders = t.unknownRiders+min(unknown, 1), t.knownRiders+min(known, 1)
	if len(in) == 0 {
		return
	}
	in[0].sole++
	t.before, t.after = t.before+before, t.after+after
	switch {
	case after < before:
		t.winners++
	case after > before:
		t.losers++
	default:
		t.same++
	}
}

// simulate prices the day's journeys of riders.
func (r *run) simulate(ctx context.Context, riders []citygate.Rider, from, until time.Time) ([]simulated, error) {
	issuers, lists, indices := riderColumns(riders)
	rows, err := collectJourneys(r.tx.Query(ctx, `
		SELECT `+journeyColumns+` FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx) CROSS JOIN LATERAL (
			SELECT * FROM journeys WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx AND starts_at >= $5 AND starts_at < $6
			AND state IN ('priced', 'set_aside') OFFSET 0) AS j`, int64(r.tx.Tenant), issuers, lists, indices, from, until))
	if err != nil {
		return nil, err
	}
	changes, err := r.derive(ctx, rows)
	if err != nil {
		return nil, err
	}
	rides := make([]simulated, 0, len(rows))
	for i := range rows {
		c := changes[rows[i].id]
		if c == nil {
			continue // late taps that are not priced yet have taken it
		}
		_, d, err := r.outcome(ctx, *c)
		if err != nil {
			return nil, err
		}
		rides = append(rides, simulated{rider: rows[i].rider, category: string(d.Explanation.Category), was: rows[i].state == statePriced, is: d.Known,
			before: rows[i].amount, after: d.Amount.Minor})
	}
	return rides, nil
}

// into gives what may be told of the sums.
func (t *tally) into(out *Simulation) error {
	riders := t.winners + t.losers + t.same
	if riders < cellMin {
		if t.unknownRiders >= cellMin {
			return ErrFewRiders.Explain("of those who did, the draft cannot price the journeys of %d; it prices those of fewer than %d", t.unknownRiders, cellMin)
		}
		return ErrFewRiders
	}
	out.Riders, out.Journeys, out.Before, out.After = riders, t.journeys, t.before, t.after
	out.Winners, out.Losers, out.Same = t.winners, t.losers, t.same
	withhold(&out.Winners, &out.Losers, &out.Same)
	if out.Unknown = t.unknown; t.unknown > 0 && t.unknownRiders < cellMin {
		out.Unknown = -1
	}
	if out.Known = t.known; t.known > 0 && t.knownRiders < cellMin {
		out.Known = -1
	}
	for _, g := range t.groups {
		out.Groups = append(out.Groups, *g)
	}
	slices.SortFunc(out.Groups, func(a, b SimulatedGroup) int {
		return cmp.Or(cmp.Compare(b.sole, a.sole), cmp.Compare(a.Category, b.Category))
	})
	// The smallest are put together until there are enough: what one of them has
	// does not follow from the total.
	for n := len(out.Groups); n > 1 && out.Groups[n-1].sole < cellMin; n = len(out.Groups) {
		a, b := &out.Groups[n-2], out.Groups[n-1]
		*a = SimulatedGroup{Riders: a.Riders + b.Riders, Journeys: a.Journeys + b.Journeys, Before: a.Before + b.Before, After: a.After + b.After, sole: a.sole + b.sole}
		out.Groups = out.Groups[:n-1]
	}
	return nil
}

// withhold takes out numbers of riders from 1 to 9, and the smallest others until no
// fewer than 10 riders are in those taken out: their sum follows from the total, and
// each is at least 1, as nobody is told to be nobody.
func withhold(cells ...*int) {
	sum, hidden := 0, 0
	hide := func(c *int) { sum, hidden, *c = sum+*c, hidden+1, -1 }
	for _, c := range cells {
		if *c > 0 && *c < cellMin {
			hide(c)
		}
	}
	for hidden == 1 || hidden > 0 && sum < cellMin {
		var least *int
		for _, c := range cells {
			if *c > 0 && (least == nil || *c < *least) {
				least = c
			}
		}
		if least == nil {
			return
		}
		hide(least)
	}
}
