package pricing

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/share"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// never is the time from which journeys of a tenant fold if no tariff of it does.
const never = math.MaxInt64

// foldsFrom gives the instant (unix milliseconds) from which on the tenant's
// journeys are priced in the order of their riders' rides: where the first
// version begins whose prices depend on it. Without one every journey is priced
// by itself, and nothing here is asked for.
func (l priceList) foldsFrom() int64 {
	for _, v := range l {
		if v.tariff.Folds() {
			return v.from
		}
	}
	return never
}

// funds reports whether somebody beside the operator may bear part of a fare.
func (r *run) funds() bool {
	return r.sellsFrom != never || slices.ContainsFunc(r.prices, func(v *version) bool { return v.tariff.Adjusts() })
}

// A folded journey is what it costs after the rides before it, and what it leaves
// behind for those after it.
type folded struct {
	decision fare.Decision
	state    []byte
	write    bool // the state is not what is stored
	retold   bool // the last decision tells another story
}

// changes gives what the riders' journeys around touches, and singles, should be.
// Where fares depend on the rides before, that is every journey from the first
// of them on: their prices follow.
func (r *run) changes(ctx context.Context, riders []citygate.Rider, singles []Tap, touches []touch, known map[citygate.TapID]*Tap) ([]change, error) {
	for {
		all := slices.Clone(riders)
		for i := range singles {
			all = append(all, singles[i].Rider)
		}
		if _, err := r.meet(ctx, all); err != nil {
			return nil, err
		}
		alone, err := r.singles(ctx, singles, known)
		if err != nil {
			return nil, err
		}
		paired, err := r.paired(ctx, riders, touches, known)
		if err != nil {
			return nil, err
		}
		changes := append(alone, paired...)
		if err := r.readRights(ctx, changes); err != nil {
			return nil, err
		}
		if err := r.readGifts(ctx, changes); err != nil {
			return nil, err
		}
		if r.foldsFrom == never {
			return changes, nil
		}
		later, err := r.later(ctx, changes)
		if err != nil {
			return nil, err
		}
		if len(later) == 0 {
			return changes, r.fold(ctx, changes)
		}
		var ids []citygate.TapID
		for i := range later {
			if s := &later[i]; s.paired {
				touches = append(touches, touch{s.rider, s.at}, touch{s.rider, s.ends})
				riders = append(riders, s.rider)
			} else {
				ids = append(ids, s.taps...)
			}
		}
		slices.SortFunc(riders, citygate.Rider.Compare)
		riders = slices.Compact(riders)
		if len(ids) > 0 {
			more, err := r.Taps.ByID(ctx, r.tx, ids)
			if err != nil {
				return nil, err
			}
			singles = append(slices.Clone(singles), more...)
			slices.SortFunc(singles, func(a, b Tap) int { return cmp.Or(a.Rider.Compare(b.Rider), a.Compare(b.Tap)) })
			singles = slices.CompactFunc(singles, func(a, b Tap) bool { return a.ID == b.ID })
		}
	}
}

// begins gives when a journey and its row begin, whichever is first.
func (c *change) begins() int64 {
	switch {
	case c.old == nil:
		return c.built.At()
	case len(c.built.Taps) == 0:
		return c.old.at
	}
	return min(c.old.at, c.built.At())
}

// later gives the stored journeys of the riders of changes that begin with or
// after the first of them and are not among them.
func (r *run) later(ctx context.Context, changes []change) ([]stored, error) {
	first := make(map[citygate.Rider]int64) // by the head of the circle
	here := make(map[citygate.UUID]bool, len(changes))
	for i := range changes {
		c := &changes[i]
		here[c.id] = true
		head := r.head(c.built.Rider)
		if at, ok := first[head]; !ok || c.begins() < at {
			first[head] = c.begins()
		}
	}
	riders, from := make([]citygate.Rider, 0, len(first)), make([]int64, 0, len(first))
	for head := range first {
		riders = append(riders, r.circleOf(head)...)
	}
	slices.SortFunc(riders, citygate.Rider.Compare)
	for _, rider := range riders {
		from = append(from, max(first[r.head(rider)], r.foldsFrom))
	}
	rows, err := journeysFrom(ctx, r.tx, riders, from)
	return slices.DeleteFunc(rows, func(s stored) bool { return here[s.id] }), err
}

// fold prices the changes from foldsFrom on, rider by rider in event order, and
// riders who are or were one person together. What no claim can be made for, and
// what is not decided yet, moves nothing.
func (r *run) fold(ctx context.Context, changes []change) error {
	r.folded, r.pools = make(map[citygate.UUID]*folded, len(changes)), make(map[citygate.UUID]share.State)
	order := make([]*change, 0, len(changes))
	for i := range changes {
		if len(changes[i].built.Taps) > 0 && changes[i].built.At() >= r.foldsFrom {
			order = append(order, &changes[i])
		}
	}
	slices.SortFunc(order, func(a, b *change) int {
		return cmp.Or(r.head(a.built.Rider).Compare(r.head(b.built.Rider)), compareJourneys(&a.built, &b.built))
	})
	var heads []*change
	for i, c := range order {
		if i == 0 || r.head(c.built.Rider) != r.head(order[i-1].built.Rider) {
			heads = append(heads, c)
		}
	}
	ids := make([]citygate.UUID, len(changes))
	for i := range changes {
		ids[i] = changes[i].id
	}
	past, err := r.pastBefore(ctx, heads, ids)
	if err != nil {
		return err
	}
	told, err := lastTold(ctx, r.tx, order)
	if err != nil {
		return err
	}
	folder := fare.Folder{Tariff: r.prices.at, Calendar: fare.Calendar{Calendar: r.home.calendar}}
	pooled := make(map[citygate.Rider]bool)
	for _, c := range order {
		rider := c.built.Rider
		of := r.payer(rider, c.built.At())
		// A holding stays with the credential it was given to, and rides of several
		// are divided among operators apart: what is stored of pools names their rides.
		state := foldState{past.of[of], past.shares[rider]}
		state.Uses = past.uses[rider]
		if !pooled[rider] {
			pooled[rider] = true
			r.pool(state.Share)
			if len(state.Uses) == 0 {
				state.Uses = r.rights[rider].erased
			}
		}
		folder.Holdings = r.rights[rider].holdings
		f, err := r.step(ctx, &folder, &state, c, of, told[c.id])
		if err != nil {
			return err
		}
		past.of[of], past.uses[rider], past.shares[rider] = state.State, state.Uses, state.Share
		r.folded[c.id] = f
	}
	return nil
}

// step prices one journey of a fold.
func (r *run) step(ctx context.Context, folder *fare.Folder, state *foldState, c *change, of payer, told told) (*folded, error) {
	f := new(folded)
	why, err := r.unpriceable(ctx, c)
	if err != nil {
		return nil, err
	}
	trip := fare.Trip{Journey: &c.built, Medium: mediumOf(&c.built)}
	if t := r.prices.at(c.built.At()); t != nil {
		trip.Category = r.category(t, c)
	}
	if m := r.circle.of(c.built.First); m != nil {
		trip.Operator = m.Name
	}
	r.gifts[c.id].apply(&trip)
	if why != "" {
		f.decision = r.unknown(why)
	} else {
		f.decision = folder.Step(&state.State, &trip)
	}
	if err := r.join(state, c, &f.decision); err != nil {
		return nil, err
	}
	if f.state, err = json.Marshal(state); err != nil {
		return nil, err
	}
	if of.joint() {
		if err := r.hide(c, f); err != nil {
			return nil, err
		}
	}
	f.write = string(f.state) != told.state
	if c.old != nil && c.old.lastN > 0 {
		explanation, err := json.Marshal(f.decision.Explanation)
		if err != nil {
			return nil, err
		}
		f.retold = string(explanation) != told.explanation
	}
	return f, nil
}

// category gives the category of a journey's rider, by the proofs that hold at its
// first tap.
func (r *run) category(t *fare.Tariff, c *change) fare.Category {
	category, _ := t.CategoryOf(c.built.Taps[0].Product, r.rights[c.built.Rider].proofs, c.built.At())
	return category
}

// mediumOf gives what the code of a journey's first tap was shown on.
func mediumOf(j *journey.Journey) string {
	if len(j.Taps) == 0 {
		return ""
	}
	return j.Taps[0].Medium
}

func compareJourneys(a, b *journey.Journey) int {
	x, y := fare.Trip{Journey: a}, fare.Trip{Journey: b}
	return x.Compare(&y)
}

// prepaidBy begins the funder that is a product the rider paid for beforehand; the
// sale's id follows. No tariff can name such a funder.
const prepaidBy = "prepaid:"

// A funding is what somebody beside the operator bears of a fare.
type funding struct {
	funder string
	amount int64
}

// fundings adds up the applied lines of a decision that others bear, by funder.
func fundings(lines []fare.Adjustment) []funding {
	var out []funding
	for _, l := range lines {
		if !l.NotApplied && !l.Funder.Own() && l.Minor != 0 {
			out = append(out, funding{string(l.Funder), l.Minor})
		}
		if l.Prepaid != 0 {
			out = append(out, funding{prepaidBy + l.ID, l.Prepaid})
		}
	}
	return summed(out)
}

// summed gives one funding per funder, ascending, without those of nothing.
func summed(list []funding) []funding {
	slices.SortFunc(list, func(a, b funding) int { return cmp.Compare(a.funder, b.funder) })
	out := list[:0]
	for _, f := range list {
		if n := len(out); n > 0 && out[n-1].funder == f.funder {
			out[n-1].amount += f.amount
		} else {
			out = append(out, f)
		}
	}
	return slices.DeleteFunc(out, func(f funding) bool { return f.amount == 0 })
}
