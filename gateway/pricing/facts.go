package pricing

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A letter is a message that goes out at the end of a transaction.
type letter struct {
	kind string
	body any
}

// post keeps a message for the end of the run.
func (r *run) post(to citygate.TenantID, kind string, body any) {
	if r.letters == nil {
		r.letters = make(map[citygate.TenantID][]letter)
	}
	r.letters[to] = append(r.letters[to], letter{kind, body})
}

// send puts what was kept, receivers ascending as interbook asks.
func (r *run) send(ctx context.Context) error {
	for _, to := range slices.Sorted(maps.Keys(r.letters)) {
		for _, l := range r.letters[to] {
			if err := interbook.Put(ctx, r.tx, to, l.kind, l.body); err != nil {
				return err
			}
		}
	}
	return nil
}

// handOver takes the taps out that an authority prices and sends it those that it
// has to know: the accepted ones, and those that it was told before. It gives the
// taps that this tenant prices.
func (r *run) handOver(ctx context.Context, taps []Tap) ([]Tap, error) {
	if len(r.circle.in) == 0 {
		return taps, nil
	}
	var stay, away []Tap
	for i := range taps {
		if r.circle.holder(&taps[i]) == 0 {
			stay = append(stay, taps[i])
		} else {
			away = append(away, taps[i])
		}
	}
	known, err := handed(ctx, r.tx, away)
	if err != nil {
		return nil, err
	}
	away = slices.DeleteFunc(away, func(t Tap) bool { return !t.Accepted && !known[t.ID] })
	if len(away) == 0 {
		return stay, nil
	}
	slices.SortFunc(away, func(a, b Tap) int { return compareID(a.ID, b.ID) })
	evidence, err := r.Taps.Evidence(ctx, r.tx, away)
	if err != nil {
		return nil, err
	}
	facts := make(map[citygate.TenantID][]interbook.Fact)
	for i := range away {
		t := &away[i]
		if t.ID.Seq != ownSeq(t.ID.Seq) {
			return nil, errOrdinal
		}
		to := r.circle.holder(t)
		facts[to] = append(facts[to], interbook.Fact{
			ClaimTap: interbook.ClaimTap{Terminal: t.ID.Terminal, Seq: t.ID.Seq, Counter: t.Counter, Evidence: evidence[t.ID], EventTime: time.UnixMilli(t.At).UTC()},
			Rider:    t.Rider, Kind: uint8(t.Kind), Stop: t.Stop, Route: t.Route, Party: t.Party, Shown: t.Shown, Medium: t.Medium, Product: t.Product, Entered: t.Entered, Accepted: t.Accepted,
		})
	}
	for _, to := range slices.Sorted(maps.Keys(facts)) {
		if err := noteHandovers(ctx, r.tx, to, facts[to]); err != nil {
			return nil, err
		}
		r.post(to, interbook.KindFacts, interbook.Facts{Items: facts[to]})
	}
	return stay, nil
}

// Facts takes taps that a member of this tenant's integrated tariff hands over, and
// prices what they change: an [interbook.Handler].
func (e *Engine) Facts(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var m interbook.Facts
	if err := json.Unmarshal(body, &m); err != nil {
		return ErrFacts.Because(err, "from %d", from)
	}
	home, err := e.home(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	r, err := e.begin(ctx, tx, home)
	if err != nil {
		return err
	}
	for i := range m.Items {
		member, err := r.memberOf(from, &m.Items[i])
		if err != nil {
			return err
		}
		m.Items[i].Seq |= uint64(member.Ordinal) << ordinalShift
	}
	slices.SortFunc(m.Items, func(a, b interbook.Fact) int { return compareID(tapOf(&a), tapOf(&b)) })
	if err := keepFacts(ctx, tx, from, m.Items); err != nil {
		return err
	}
	ids := make([]citygate.TapID, len(m.Items))
	for i := range m.Items {
		ids[i] = tapOf(&m.Items[i])
	}
	taps, err := factsByID(ctx, tx, ids) // as they stand: an issuer may have refused one before
	if err != nil {
		return err
	}
	return r.price(ctx, taps)
}

func tapOf(f *interbook.Fact) citygate.TapID {
	return citygate.TapID{Terminal: f.Terminal, Seq: f.Seq}
}

const evidenceMax = 4096 // bytes of a code

// memberOf gives the membership by which a tap may be handed over.
func (r *run) memberOf(from citygate.TenantID, f *interbook.Fact) (*Member, error) {
	switch {
	case f.Terminal == 0 || f.Seq == 0 || f.Seq != ownSeq(f.Seq) || len(f.Evidence) > evidenceMax || f.Rider.Foreign():
	case f.Kind != uint8(tap.On) && f.Kind != uint8(tap.Off) && f.Kind != uint8(tap.Single):
	default:
		for i := range r.circle.lead {
			if m := &r.circle.lead[i]; m.Operator == from && m.holds(f.EventTime.UnixMilli()) {
				return m, nil
			}
		}
	}
	return nil, ErrFacts.Because(nil, "tenant %d, tap %d:%d at %s", from, f.Terminal, f.Seq, f.EventTime.Format(time.RFC3339))
}

// FactVerdicts takes the word that issuers refused taps which this tenant handed
// over: an [interbook.Handler]. They are in no journey here; the verdict stands
// with the tap.
func (e *Engine) FactVerdicts(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var m interbook.FactVerdicts
	if err := json.Unmarshal(body, &m); err != nil {
		return ErrFacts.Because(err, "from %d", from)
	}
	var taps []Tap
	for _, v := range m.Items {
		taps = append(taps, Tap{})
		taps[len(taps)-1].ID = citygate.TapID{Terminal: v.Terminal, Seq: v.Seq}
	}
	to, err := handedTo(ctx, tx, taps)
	if err != nil {
		return err
	}
	for i := range taps {
		if to[taps[i].ID] != from {
			return ErrFacts.Because(nil, "tenant %d judges tap %s, which it was not given", from, taps[i].ID)
		}
	}
	return e.Taps.Refuse(ctx, tx, from, m.Items)
}

// A union is the taps of an authority: its own, and those that members handed over.
type union struct {
	Taps
	r *run
}

func (u union) ByID(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) ([]Tap, error) {
	own, facts := apart(ids, func(id citygate.TapID) citygate.TapID { return id })
	found, err := factsByID(ctx, tx, facts)
	if err != nil || len(own) == 0 {
		return found, err
	}
	more, err := u.Taps.ByID(ctx, tx, own)
	return append(found, more...), err
}

func (u union) OfRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from, to time.Time) ([]Tap, error) {
	own, err := u.Taps.OfRiders(ctx, tx, riders, from, to)
	if err != nil {
		return nil, err
	}
	found, err := factsOfRiders(ctx, tx, riders, from, to)
	return append(own, found...), err
}

func (u union) Evidence(ctx context.Context, tx *pg.Tx, taps []Tap) (map[citygate.TapID][]byte, error) {
	own, facts := apart(taps, func(t Tap) citygate.TapID { return t.ID })
	out := make(map[citygate.TapID][]byte, len(taps))
	if len(own) > 0 {
		found, err := u.Taps.Evidence(ctx, tx, own)
		if err != nil {
			return nil, err
		}
		maps.Copy(out, found)
	}
	return out, factEvidence(ctx, tx, facts, out)
}

func (u union) Refuse(ctx context.Context, tx *pg.Tx, issuer citygate.TenantID, verdicts []interbook.TapVerdict) error {
	own, facts := apart(verdicts, func(v interbook.TapVerdict) citygate.TapID {
		return citygate.TapID{Terminal: v.Terminal, Seq: v.Seq}
	})
	if len(own) > 0 {
		if err := u.Taps.Refuse(ctx, tx, issuer, own); err != nil {
			return err
		}
	}
	if len(facts) == 0 {
		return nil
	}
	if err := refuseFacts(ctx, tx, facts); err != nil {
		return err
	}
	told := make(map[citygate.TenantID][]interbook.TapVerdict)
	for _, v := range facts {
		m := u.r.circle.of(citygate.TapID{Terminal: v.Terminal, Seq: v.Seq})
		if m == nil {
			return ErrFacts.Because(nil, "tap %d:%d is of no member", v.Terminal, v.Seq)
		}
		v.Seq = ownSeq(v.Seq)
		told[m.Operator] = append(told[m.Operator], v)
	}
	for _, to := range slices.Sorted(maps.Keys(told)) {
		slices.SortFunc(told[to], func(a, b interbook.TapVerdict) int {
			return cmp.Or(cmp.Compare(a.Terminal, b.Terminal), cmp.Compare(a.Seq, b.Seq))
		})
		u.r.post(to, interbook.KindFactVerdicts, interbook.FactVerdicts{Items: told[to]})
	}
	return nil
}

// apart parts what is of this tenant's readers from what was handed over.
func apart[T any](list []T, id func(T) citygate.TapID) (own, facts []T) {
	for _, x := range list {
		if id(x).Seq>>ordinalShift == 0 {
			own = append(own, x)
		} else {
			facts = append(facts, x)
		}
	}
	return own, facts
}

// TapsByID gives recorded taps of the transaction's tenant, with those that members
// of its integrated tariff handed over.
func (e *Engine) TapsByID(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) ([]Tap, error) {
	return union{e.Taps, nil}.ByID(ctx, tx, ids)
}
