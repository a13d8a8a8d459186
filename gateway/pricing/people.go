package pricing

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/share"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/person"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// People knows which credentials are one person's by consent. It is asked inside
// transactions and reads nothing but tables there.
type People interface {
	// Members gives, of all persons that any of the riders is or was part of, every
	// credential with the times in which it is.
	Members(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) ([]person.Member, error)
	// Seal hides what a joint ride leaves for the next; the same for the same.
	Seal(tenant citygate.TenantID, ride citygate.UUID, plain []byte) ([]byte, error)
	Unseal(tenant citygate.TenantID, ride citygate.UUID, sealed []byte) ([]byte, error)
}

// A payer is whose rides hang together: a credential, or at times a person.
type payer struct {
	subject person.Subject
	rider   citygate.Rider // zero of a person
}

func (p payer) joint() bool { return p.subject != person.Subject{} }

// acquaintance is what a run knows of who is one person with whom.
type acquaintance struct {
	met     map[citygate.Rider]bool
	spans   map[citygate.Rider][]person.Member
	persons map[person.Subject][]citygate.Rider
	circles map[citygate.Rider][]citygate.Rider // with whom each rider hangs together, in order; nil = nobody
}

// meet learns who riders are one person with, at any time, and gives them with all
// of those, in order.
func (r *run) meet(ctx context.Context, riders []citygate.Rider) ([]citygate.Rider, error) {
	if r.People == nil || r.foldsFrom == never {
		return riders, nil
	}
	k := &r.known
	if k.met == nil {
		*k = acquaintance{map[citygate.Rider]bool{}, map[citygate.Rider][]person.Member{}, map[person.Subject][]citygate.Rider{}, map[citygate.Rider][]citygate.Rider{}}
	}
	ask := riders
	for {
		ask = slices.DeleteFunc(slices.Clone(ask), func(x citygate.Rider) bool { return k.met[x] })
		if len(ask) == 0 {
			break
		}
		members, err := r.People.Members(ctx, r.tx, ask)
		if err != nil {
			return nil, err
		}
		for _, x := range ask {
			k.met[x] = true
		}
		ask = nil
		for _, m := range members {
			if !slices.Contains(k.spans[m.Rider], m) {
				k.spans[m.Rider] = append(k.spans[m.Rider], m)
				k.persons[m.Subject] = append(k.persons[m.Subject], m.Rider)
				ask = append(ask, m.Rider)
				clear(k.circles)
			}
		}
	}
	var all []citygate.Rider
	for _, x := range riders {
		all = append(all, r.circleOf(x)...)
	}
	slices.SortFunc(all, citygate.Rider.Compare)
	return slices.Compact(all), nil
}

// circleOf gives the riders whose fares may depend on a rider's, himself included,
// in order.
func (r *run) circleOf(x citygate.Rider) []citygate.Rider {
	k := &r.known
	if len(k.spans[x]) == 0 {
		return []citygate.Rider{x}
	}
	if c := k.circles[x]; c != nil {
		return c
	}
	circle, next := []citygate.Rider{x}, 0
	for ; next < len(circle); next++ {
		for _, m := range k.spans[circle[next]] {
			for _, other := range k.persons[m.Subject] {
				if !slices.Contains(circle, other) {
					circle = append(circle, other)
				}
			}
		}
	}
	slices.SortFunc(circle, citygate.Rider.Compare)
	for _, member := range circle {
		k.circles[member] = circle
	}
	return circle
}

// head names a rider's circle: its first rider.
func (r *run) head(x citygate.Rider) citygate.Rider { return r.circleOf(x)[0] }

// payer gives whose ride it is that a rider began at an instant, unix milliseconds.
func (r *run) payer(x citygate.Rider, at int64) payer {
	for _, m := range r.known.spans[x] {
		if m.From <= at && at < m.Until {
			return payer{subject: m.Subject}
		}
	}
	return payer{rider: x}
}

// A span is a time in which all rides of a rider are one payer's, from one instant
// to before another.
type span struct {
	rider       citygate.Rider
	from, until int64
}

// spansBefore cuts a rider's time until an instant where the payer may change.
func (r *run) spansBefore(x citygate.Rider, until int64) []span {
	cuts := []int64{0, until}
	for _, m := range r.known.spans[x] {
		for _, at := range []int64{m.From, m.Until} {
			if at > 0 && at < until {
				cuts = append(cuts, at)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	out := make([]span, 0, len(cuts))
	for i := 1; i < len(cuts); i++ {
		out = append(out, span{x, cuts[i-1], cuts[i]})
	}
	return out
}

// A past is what rides leave behind for the next ones: counts and transfers for
// those of the same payer, what is used of holdings for those of the same rider.
type past struct {
	of     map[payer]fare.State
	uses   map[citygate.Rider]entitlement.Uses
	shares map[citygate.Rider]*share.State
}

// A before is a stored ride with the state after it.
type before struct {
	ride  journey.Journey
	state string
	id    citygate.UUID
}

// pastBefore gives what the rides before the heads of circles left. What except
// names is about to change.
func (r *run) pastBefore(ctx context.Context, heads []*change, except []citygate.UUID) (past, error) {
	p := past{map[payer]fare.State{}, map[citygate.Rider]entitlement.Uses{}, map[citygate.Rider]*share.State{}}
	var spans []span
	first := make(map[citygate.Rider]*journey.Journey, len(heads))
	for _, c := range heads {
		for _, x := range r.circleOf(c.built.Rider) {
			spans = append(spans, r.spansBefore(x, c.built.At())...)
			first[x] = &c.built
		}
	}
	found, err := lastOfSpans(ctx, r.tx, spans, except)
	if err != nil {
		return p, err
	}
	found = slices.DeleteFunc(found, func(b before) bool { return compareJourneys(&b.ride, first[b.ride.Rider]) >= 0 })
	slices.SortFunc(found, func(a, b before) int { return compareJourneys(&a.ride, &b.ride) })
	for i := range found { // the last of each stays
		s, err := r.unsealed(&found[i])
		if err != nil {
			return p, err
		}
		p.of[r.payer(found[i].ride.Rider, found[i].ride.At())] = s.State
		p.uses[found[i].ride.Rider], p.shares[found[i].ride.Rider] = s.Uses, s.Share
	}
	return p, nil
}

// sealedState is how the state after a joint ride is stored.
type sealedState struct {
	Sealed []byte `json:"sealed"`
}

func (r *run) unsealed(b *before) (s foldState, err error) {
	text := []byte(b.state)
	if r.People != nil && bytes.HasPrefix(text, []byte(`{"sealed":`)) {
		var hidden sealedState
		if err := json.Unmarshal(text, &hidden); err != nil {
			return s, err
		}
		if text, err = r.People.Unseal(r.tx.Tenant, b.id, hidden.Sealed); err != nil {
			return s, err
		}
	}
	return s, json.Unmarshal(text, &s)
}

// hide takes out of what is kept of a joint ride what other devices' rides show in.
func (r *run) hide(c *change, f *folded) error {
	e := &f.decision.Explanation
	e.Joint, e.Caps = true, nil
	e.Steps = slices.DeleteFunc(e.Steps, func(s fare.Step) bool { return s.Op == fare.OpFeedJourney })
	e.Adjustments = slices.DeleteFunc(e.Adjustments, func(a fare.Adjustment) bool { return a.NotApplied })
	sealed, err := r.People.Seal(r.tx.Tenant, c.id, f.state)
	if err != nil {
		return err
	}
	f.state, err = json.Marshal(sealedState{sealed})
	return err
}

// times gives instants as the database has them.
func times(ms []int64) []time.Time {
	out := make([]time.Time, len(ms))
	for i, at := range ms {
		out[i] = time.UnixMilli(at).UTC()
	}
	return out
}
