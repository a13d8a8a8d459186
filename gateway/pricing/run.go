package pricing

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare/share"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A run is one transaction's work.
type run struct {
	*Engine
	Taps    Taps // with those that members handed over
	tx      *pg.Tx
	home    home
	book    *ruleBook
	prices  priceList
	windows map[citygate.Date]citygate.Date

	foldsFrom int64                               // see [priceList.foldsFrom]; riders may hold what was sold too
	sellsFrom int64                               // unix milliseconds; where the first catalogue begins, or never
	folded    map[citygate.UUID]*folded           // of the pass that runs
	rights    map[citygate.Rider]rights           // likewise; nil where no tariff asks for any
	known     acquaintance                        // who is one person with whom
	gifts     map[citygate.UUID]gift              // likewise: what was given back
	refused   map[citygate.UUID]interbook.Verdict // claims just refused whatever their taps are

	claims    map[citygate.TenantID][]interbook.Claim // to go out at the end
	transfers []ledger.Transfer
	letters   map[citygate.TenantID][]letter // likewise

	circle circle
	pools  map[citygate.UUID]share.State // of the pass that runs, by their first ride
	shared []change                      // likewise: the journeys that may have shares
}

// A touch is a time around which a rider's journeys have to be built again.
type touch struct {
	rider citygate.Rider
	at    int64
}

func (e *Engine) begin(ctx context.Context, tx *pg.Tx, h home) (*run, error) {
	book, err := e.ruleBook(ctx, tx)
	if err != nil {
		return nil, err
	}
	prices, err := e.priceList(ctx, tx)
	if err != nil {
		return nil, err
	}
	sells, err := sellsFrom(ctx, tx)
	if err != nil {
		return nil, err
	}
	circle, err := circleOf(ctx, tx)
	if err != nil {
		return nil, err
	}
	r := &run{Engine: e, Taps: e.Taps, tx: tx, home: h, book: book, prices: prices, windows: make(map[citygate.Date]citygate.Date),
		foldsFrom: min(prices.foldsFrom(), sells, circle.since()), sellsFrom: sells, claims: make(map[citygate.TenantID][]interbook.Claim), circle: circle}
	if len(circle.lead) > 0 {
		r.Taps = union{e.Taps, r}
	}
	return r, nil
}

// price does what has to be done because of taps: those that an authority prices
// are handed over.
func (r *run) price(ctx context.Context, taps []Tap) error {
	taps, err := r.handOver(ctx, taps)
	if err != nil {
		return err
	}
	var singles []Tap
	var touches []touch
	for i := range taps {
		if isPaired(taps[i].Tap) {
			touches = append(touches, touch{taps[i].Rider, taps[i].At})
		} else {
			singles = append(singles, taps[i])
		}
	}
	return r.priceAgain(ctx, singles, touches)
}

// priceAgain builds, decides, claims and stores, and in the end tells the
// issuers and posts the differences: what other transactions wait for comes
// last. A claim on a rider of this tenant is judged on the way; if it is refused
// the decision is kept without effect and everything is built again without the
// refused taps.
func (r *run) priceAgain(ctx context.Context, singles []Tap, touches []touch) error {
	slices.SortFunc(singles, func(a, b Tap) int { return cmp.Or(a.Rider.Compare(b.Rider), a.Compare(b.Tap)) })
	if r.foldsFrom != never { // the rides of a rider hang together: singles wait for its row too
		all := slices.Clone(touches)
		for i := range singles {
			all = append(all, touch{singles[i].Rider, singles[i].At})
		}
		if _, err := r.lock(ctx, all); err != nil {
			return err
		}
	}
	riders, err := r.lock(ctx, touches)
	if err != nil {
		return err
	}
	for {
		refused, err := r.pass(ctx, riders, singles, touches)
		if err != nil {
			return err
		}
		if len(refused) == 0 {
			break
		}
		if err := r.Taps.Refuse(ctx, r.tx, r.tx.Tenant, refused); err != nil {
			return err
		}
		for _, v := range refused {
			id := citygate.TapID{Terminal: v.Terminal, Seq: v.Seq}
			for i := range singles {
				if singles[i].ID == id {
					singles[i].Accepted = false
				}
			}
		}
	}
	if err := r.divide(ctx); err != nil {
		return err
	}
	for issuer, claims := range r.claims {
		r.post(issuer, interbook.KindClaims, interbook.Claims{Currency: r.home.Currency, Items: claims})
	}
	if err := r.send(ctx); err != nil {
		return err
	}
	return ledger.Post(ctx, r.tx, r.transfers)
}

// pass brings the stored journeys to where the taps say they should be. It
// gives the taps of our own riders whose claim was refused.
func (r *run) pass(ctx context.Context, riders []citygate.Rider, singles []Tap, touches []touch) ([]interbook.TapVerdict, error) {
	known := make(map[citygate.TapID]*Tap, len(singles)) // the taps that journeys are made of
	changes, err := r.changes(ctx, riders, singles, touches, known)
	if err != nil {
		return nil, err
	}
	if len(r.circle.lead) > 0 {
		r.shared = changes
	}
	outcomes, err := r.decide(ctx, changes)
	if err != nil {
		return nil, err
	}
	if len(outcomes) == 0 {
		return nil, writeStates(ctx, r.tx, r.folded, nil)
	}
	refused, err := r.claim(ctx, outcomes, known)
	if err != nil {
		return nil, err
	}
	return refused, r.store(ctx, outcomes)
}

// lock takes the rows of the riders of touches, and of those who are one person with
// them, in order.
func (r *run) lock(ctx context.Context, touches []touch) ([]citygate.Rider, error) {
	riders := make([]citygate.Rider, len(touches))
	for i, t := range touches {
		riders[i] = t.rider
	}
	slices.SortFunc(riders, citygate.Rider.Compare)
	riders = slices.Compact(riders)
	if len(riders) == 0 {
		return nil, nil
	}
	all, err := r.meet(ctx, riders)
	if err != nil {
		return nil, err
	}
	return riders, lockRiders(ctx, r.tx, all)
}

// singles gives the changes of taps that are journeys by themselves.
func (r *run) singles(ctx context.Context, taps []Tap, known map[citygate.TapID]*Tap) ([]change, error) {
	if len(taps) == 0 {
		return nil, nil
	}
	ids := make([]citygate.UUID, len(taps))
	for i := range taps {
		ids[i] = journeyID(r.tx.Tenant, &taps[i].Tap, 0)
	}
	rows, err := journeysByID(ctx, r.tx, ids)
	if err != nil {
		return nil, err
	}
	changes := make([]change, 0, len(taps))
	for i := range taps {
		old := rows[ids[i]]
		switch {
		case taps[i].Accepted:
			known[taps[i].ID] = &taps[i]
			changes = append(changes, change{ids[i], old, single(taps[i].Tap)})
		case old != nil:
			changes = append(changes, change{ids[i], old, journey.Journey{Rider: taps[i].Rider}})
		}
	}
	return changes, nil
}

// paired builds the journeys of riders around touches and gives the changes.
func (r *run) paired(ctx context.Context, riders []citygate.Rider, touches []touch, known map[citygate.TapID]*Tap) ([]change, error) {
	if len(riders) == 0 {
		return nil, nil
	}
	reach, next := r.book.reach.Milliseconds(), r.book.next.Milliseconds()
	from, to := touches[0].at, touches[0].at
	for _, t := range touches {
		from, to = min(from, t.at), max(to, t.at)
	}
	if r.book.horizon > 0 { // what is inferred later may rest on what is learnt now
		var err error
		if to, err = lastLacking(ctx, r.tx, riders, to, to+r.book.horizon.Milliseconds()); err != nil {
			return nil, err
		}
	}
	from, to = from-next, to+next
	built, err := r.build(ctx, riders, from-2*reach, to+2*reach, known)
	if err != nil {
		return nil, err
	}
	rows, err := journeysOfRiders(ctx, r.tx, riders, from-2*reach, to+2*reach)
	if err != nil {
		return nil, err
	}
	rows, built = within(rows, built, from-reach, to+reach)
	return match(r.tx.Tenant, rows, built), nil
}

// build reads the taps of riders between from and to (unix milliseconds) and
// gives their journeys. History is read of those alone who need it.
func (r *run) build(ctx context.Context, riders []citygate.Rider, from, to int64, known map[citygate.TapID]*Tap) ([]journey.Journey, error) {
	in := journey.Input{Rules: r.book.at, Now: r.tx.Now.UnixMilli()}
	plain, err := r.read(ctx, riders, from, to, known)
	if err != nil || len(r.book.versions) == 0 {
		return journey.BuildAll(plain, &in), err
	}
	if in.Facts, err = factsOf(ctx, r.tx, riders, from, to); err != nil {
		return nil, err
	}
	built := journey.BuildAll(plain, &in)
	if r.book.horizon == 0 {
		return built, nil
	}
	var lacking []citygate.Rider
	for i := range built {
		if j := &built[i]; j.Missing != journey.Nothing && j.State != journey.Open {
			lacking = append(lacking, j.Rider)
		}
	}
	if lacking = slices.Compact(lacking); len(lacking) == 0 { // in order, as built is
		return built, nil
	}
	early := from - r.book.horizon.Milliseconds() - r.book.reach.Milliseconds()
	if plain, err = r.read(ctx, lacking, early, to, known); err != nil {
		return nil, err
	}
	more, err := factsOf(ctx, r.tx, lacking, early, to)
	if err != nil {
		return nil, err
	}
	in.Facts = more
	built = slices.DeleteFunc(built, func(j journey.Journey) bool {
		_, again := slices.BinarySearchFunc(lacking, j.Rider, citygate.Rider.Compare)
		return again
	})
	built = append(built, journey.BuildAll(plain, &in)...)
	slices.SortStableFunc(built, func(a, b journey.Journey) int { return a.Rider.Compare(b.Rider) })
	return built, nil
}

func (r *run) read(ctx context.Context, riders []citygate.Rider, from, to int64, known map[citygate.TapID]*Tap) ([]journey.Tap, error) {
	taps, err := r.Taps.OfRiders(ctx, r.tx, riders, time.UnixMilli(from).UTC(), time.UnixMilli(to).UTC())
	if err != nil {
		return nil, err
	}
	plain := make([]journey.Tap, 0, len(taps))
	for i := range taps {
		if r.circle.holder(&taps[i]) == 0 {
			plain = append(plain, taps[i].Tap)
			known[taps[i].ID] = &taps[i]
		}
	}
	return plain, nil
}

// within keeps the rows and journeys that have to do with the time from from to
// to: those with a tap in it, and those that share a tap with one of them. What
// is left out lies so near the edge of what was read that it may be built wrong.
func within(rows []stored, built []journey.Journey, from, to int64) ([]stored, []journey.Journey) {
	inside := make(map[citygate.TapID]bool)
	for _, j := range built {
		for _, t := range members(&j) {
			if t.At >= from && t.At <= to {
				inside[t.ID] = true
			}
		}
	}
	row := func(s stored) bool {
		return s.at <= to && s.ends >= from || slices.ContainsFunc(s.taps, func(id citygate.TapID) bool { return inside[id] })
	}
	ride := func(j journey.Journey) bool {
		return slices.ContainsFunc(members(&j), func(t journey.Tap) bool { return inside[t.ID] })
	}
	for before := -1; before != len(inside); {
		before = len(inside)
		for _, s := range rows {
			if row(s) {
				for _, id := range s.taps {
					inside[id] = true
				}
			}
		}
		for _, j := range built {
			if ride(j) {
				for _, t := range members(&j) {
					inside[t.ID] = true
				}
			}
		}
	}
	rows = slices.DeleteFunc(rows, func(s stored) bool { return !row(s) })
	built = slices.DeleteFunc(built, func(j journey.Journey) bool { return !ride(j) })
	return rows, built
}

// claim asks the issuers for the fares of outcomes: those of other tenants by
// messages that go out with this transaction, our own riders' here and now. It
// gives the refused taps of our own riders.
func (r *run) claim(ctx context.Context, outcomes []outcome, known map[citygate.TapID]*Tap) ([]interbook.TapVerdict, error) {
	var taps []Tap
	for i := range outcomes {
		if outcomes[i].claims() {
			for _, t := range outcomes[i].built.Taps {
				taps = append(taps, *known[t.ID])
			}
		}
	}
	var evidence map[citygate.TapID][]byte
	if len(taps) > 0 {
		var err error
		if evidence, err = r.Taps.Evidence(ctx, r.tx, taps); err != nil {
			return nil, err
		}
	}
	var own []interbook.Claim
	var of []*outcome
	for i := range outcomes {
		o := &outcomes[i]
		if !o.claims() {
			continue
		}
		c := interbook.Claim{Journey: o.id, N: o.decision.n, Rider: o.built.Rider, Amount: o.decision.amount,
			BusinessDate: o.decision.date, At: o.decision.at, Handed: r.isShared(&o.built), Taps: make([]interbook.ClaimTap, len(o.built.Taps))}
		for k, t := range o.built.Taps {
			c.Taps[k] = interbook.ClaimTap{Terminal: t.ID.Terminal, Seq: t.ID.Seq, Counter: known[t.ID].Counter,
				Evidence: evidence[t.ID], EventTime: time.UnixMilli(t.At).UTC()}
		}
		if o.decision.issuer != r.tx.Tenant {
			r.claims[o.decision.issuer] = append(r.claims[o.decision.issuer], c)
			continue
		}
		own, of = append(own, c), append(of, o)
	}
	return r.claimOwn(ctx, own, of)
}

// claimOwn has claims on this tenant's own riders judged.
func (r *run) claimOwn(ctx context.Context, claims []interbook.Claim, of []*outcome) ([]interbook.TapVerdict, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	answers, transfers, err := r.Issuer.AcceptOwn(ctx, r.tx, r.home.Currency, claims)
	if err != nil {
		return nil, err
	}
	if len(answers) != len(claims) {
		return nil, ErrVerdict.Because(nil, "%d answers to %d claims", len(answers), len(claims))
	}
	r.transfers = append(r.transfers, transfers...)
	var refused []interbook.TapVerdict
	for i, a := range answers {
		d := of[i].decision
		switch {
		case a.Accepted:
			d.claim = claimAccepted
			if !a.Account.IsZero() {
				d.account = a.Account
			}
		case len(a.Refused) == 0:
			return nil, ErrVerdict.Because(nil, "journey %s, decision %d, own rider: %q", a.Journey, a.N, a.Reason)
		default:
			d.claim = claimRefused
			refused = append(refused, a.Refused...)
		}
	}
	return refused, nil
}

// store writes outcomes and keeps what is to be posted for them.
func (r *run) store(ctx context.Context, outcomes []outcome) error {
	if err := writeJourneys(ctx, r.tx, outcomes); err != nil {
		return err
	}
	decided := make([]*decision, 0, len(outcomes))
	var gone []citygate.UUID
	var moved []*outcome
	for i := range outcomes {
		o := &outcomes[i]
		if r.foldsFrom != never && len(o.built.Taps) == 0 {
			gone = append(gone, o.id)
		}
		if o.decision == nil {
			continue
		}
		decided = append(decided, o.decision)
		moved = append(moved, o)
		r.transfers = append(r.transfers, transfersOf(r.tx.Tenant, o.id, o.before(), o.after())...)
	}
	if err := insertDecisions(ctx, r.tx, decided); err != nil {
		return err
	}
	if err := insertAdjustments(ctx, r.tx, decided); err != nil {
		return err
	}
	if err := insertCorrections(ctx, r.tx, moved); err != nil {
		return err
	}
	return writeStates(ctx, r.tx, r.folded, gone)
}
