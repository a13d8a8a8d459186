package pricing

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"math/big"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/share"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// SharedPayee stands for the members of an integrated tariff in the books of the
// authority: what riders pay goes to its payable, and the shares of the operators
// come off it, so that it is always zero. No payee can be called so.
const SharedPayee = "*members"

// A foldState is what a journey leaves behind for the next one of its rider.
type foldState struct {
	fare.State
	Share *share.State `json:"share,omitempty"` // of an integrated tariff
}

// isShared reports whether a journey has taps that members handed over.
func (r *run) isShared(j *journey.Journey) bool {
	if len(r.circle.lead) == 0 {
		return false
	}
	return slices.ContainsFunc(members(j), func(t journey.Tap) bool { return r.circle.of(t.ID) != nil })
}

// pool keeps how a pool stands; of several of one pool the last holds.
func (r *run) pool(s *share.State) {
	if s != nil && len(s.Rides) > 0 {
		r.pools[s.Pool()] = *s
	}
}

// join takes a ride that was just priced into its pool.
func (r *run) join(state *foldState, c *change, d *fare.Decision) error {
	if !d.Known || !r.isShared(&c.built) {
		return nil
	}
	t := r.prices.at(c.built.At())
	if t == nil {
		return nil
	}
	terms := t.Sharing
	if terms == nil {
		terms = &share.Terms{}
	}
	parts, err := r.parts(terms, &c.built)
	if err != nil {
		return err
	}
	at := time.UnixMilli(c.built.At())
	date := r.home.calendar.BusinessDate(at)
	key := state.PoolKey(terms, &c.built, c.id, date)
	next := share.State{}
	if state.Share != nil {
		next = *state.Share
	}
	err = next.Add(key, date.String()[:len("2006-01")], share.Ride{Journey: c.id, First: c.built.First.String(), Paid: d.Amount.Minor, Nominal: d.Nominal, Parts: parts})
	if err != nil {
		return err
	}
	state.Share = &next
	r.pool(&next)
	return nil
}

// parts says which members carried how much of a ride. A path over an operator
// that is no member counts as no path.
func (r *run) parts(terms *share.Terms, j *journey.Journey) ([]share.TenantPart, error) {
	var names []string
	for _, t := range j.Taps {
		if m := r.circle.of(t.ID); m != nil {
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 { // of the touches that only repeat another
		for _, t := range j.Repeats {
			if m := r.circle.of(t.ID); m != nil {
				names = append(names, m.Name)
			}
		}
	}
	from, to := "", ""
	if taps := j.AsPriced().Taps; len(taps) > 1 {
		from, to = taps[0].Stop, taps[len(taps)-1].Stop
	}
	for range 2 {
		named, err := terms.Parts(from, to, names)
		if err != nil {
			return nil, err
		}
		out, whole := make([]share.TenantPart, 0, len(named)), true
		for _, p := range named {
			m := r.circle.named(p.Operator, j.At())
			if m == nil {
				m = r.byName(j, p.Operator)
			}
			if m == nil {
				whole = false
				break
			}
			out = append(out, share.TenantPart{Operator: m.Operator, Of: p.Of})
		}
		if whole {
			slices.SortFunc(out, func(a, b share.TenantPart) int { return cmp.Compare(a.Operator, b.Operator) })
			return out, nil
		}
		from, to = "", ""
	}
	return nil, ErrFacts.Because(nil, "journey of rider %s: no member", j.Rider)
}

// byName gives the member of a name among those whose taps a journey has: one of
// them may have left since the journey began.
func (r *run) byName(j *journey.Journey, name string) *Member {
	for _, t := range members(j) {
		if m := r.circle.of(t.ID); m != nil && m.Name == name {
			return m
		}
	}
	return nil
}

// A shareKey names an operator's share of a ride.
type shareKey struct {
	journey  citygate.UUID
	operator citygate.TenantID
}

func (k shareKey) compare(o shareKey) int {
	return cmp.Or(bytes.Compare(k.journey[:], o.journey[:]), cmp.Compare(k.operator, o.operator))
}

// A shareRow is a row of fare_shares.
type shareRow struct {
	shareKey
	n      int
	amount int64
	cur    citygate.Currency
	taps   string
	at     time.Time
	date   citygate.Date
}

// transfer gives what a share posts after the one before it, if anything: the
// mirror of what the operator posts.
func (s *shareRow) transfer(tenant citygate.TenantID, before int64) (ledger.Transfer, bool) {
	if s.amount == before {
		return ledger.Transfer{}, false
	}
	code := "fare_share"
	if s.amount < before {
		code = "fare_share_correction"
	}
	return ledger.NewTransfer(tenant, 0, ledger.Transfer{Debit: ledger.Payable(SharedPayee), Credit: ledger.InterbookPayable(s.operator),
		Amount: s.amount - before, Currency: s.cur, Code: code, Event: "share:" + s.operator.String() + ":" + eventOf(s.journey, s.n),
		Interbook: ledger.InterbookID(s.operator, s.journey), EffectiveAt: s.at, BusinessDate: s.date}), true
}

// A shareStory explains a share to its operator: amount is total x weight / weights,
// but for less than one minor unit.
type shareStory struct {
	Authority citygate.TenantID `json:"shared_by"`
	Pool      citygate.UUID     `json:"pool"`
	Rides     int               `json:"rides"`
	Total     int64             `json:"total"`
	Weight    *big.Rat          `json:"weight"`
	Weights   *big.Rat          `json:"weights"`
}

// divide brings the operators' shares to where the pools say they should be, posts
// the differences and tells the operators, and passes on to them what issuers told
// about the fares.
func (r *run) divide(ctx context.Context) error {
	if len(r.pools) == 0 && len(r.shared) == 0 {
		return nil
	}
	built := make(map[citygate.UUID]*change, len(r.shared))
	var ids, first []citygate.UUID
	for i := range r.shared {
		built[r.shared[i].id] = &r.shared[i]
		ids = append(ids, r.shared[i].id)
	}
	in := make(map[citygate.UUID]citygate.UUID) // journey -> pool
	for pool, s := range r.pools {
		first = append(first, pool)
		for i := range s.Rides {
			in[s.Rides[i].Journey] = pool
			ids = append(ids, s.Rides[i].Journey)
		}
	}
	ids, first = sortedIDs(ids), sortedIDs(first)
	touched, err := movePools(ctx, r.tx, ids, first, in)
	if err != nil {
		return err
	}
	last, err := lastShares(ctx, r.tx, ids)
	if err != nil {
		return err
	}
	rows, stories, err := r.wanted(in, built, last)
	if err != nil || len(rows) == 0 && len(touched) == 0 {
		return err
	}
	if err := insertShares(ctx, r.tx, rows); err != nil {
		return err
	}
	told := make(map[citygate.TenantID][]interbook.FareShare)
	for i := range rows {
		s := &rows[i]
		if t, ok := s.transfer(r.tx.Tenant, last[s.shareKey].amount); ok {
			r.transfers = append(r.transfers, t)
		}
		story, err := json.Marshal(stories[s.shareKey])
		if err != nil {
			return err
		}
		version := uint64(0)
		if t := r.prices.at(s.at.UnixMilli()); t != nil {
			version = t.Version
		}
		told[s.operator] = append(told[s.operator], interbook.FareShare{Journey: s.journey, N: s.n, Amount: s.amount, At: s.at, Taps: s.taps,
			Tariff: version, Explanation: story})
	}
	for to, items := range told {
		r.post(to, interbook.KindShares, interbook.Shares{Currency: r.home.Currency, Items: items})
	}
	return r.passOn(ctx, touched)
}

func sortedIDs(ids []citygate.UUID) []citygate.UUID {
	slices.SortFunc(ids, func(a, b citygate.UUID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// wanted gives the shares that are not as they were, in the order of their keys. A
// journey in no pool gives nothing.
func (r *run) wanted(in map[citygate.UUID]citygate.UUID, built map[citygate.UUID]*change, last map[shareKey]shareRow) ([]shareRow, map[shareKey]shareStory, error) {
	amounts := make(map[shareKey]int64)
	stories := make(map[shareKey]shareStory)
	for pool, s := range r.pools {
		shares, err := s.Shares()
		if err != nil {
			return nil, nil, err
		}
		for _, x := range shares {
			if in[x.Journey] != pool {
				continue // the ride has moved on to another pool
			}
			k := shareKey{x.Journey, x.Operator}
			weight, weights := s.Weight(x.Journey, x.Operator)
			amounts[k] = x.Minor
			stories[k] = shareStory{Authority: r.tx.Tenant, Pool: pool, Rides: len(s.Rides), Total: s.Total(), Weight: weight, Weights: weights}
		}
	}
	for k := range last {
		if _, ok := amounts[k]; !ok {
			amounts[k], stories[k] = 0, shareStory{Authority: r.tx.Tenant, Weight: new(big.Rat), Weights: new(big.Rat)}
		}
	}
	var rows []shareRow
	for k, amount := range amounts {
		row, known := last[k]
		c := built[k.journey]
		taps := row.taps
		if c != nil {
			taps = r.ownTaps(&c.built, k.operator)
		}
		if known && row.amount == amount && row.taps == taps {
			continue
		}
		row.shareKey, row.amount, row.taps, row.cur = k, amount, taps, r.home.Currency
		row.n++
		if c != nil && len(c.built.Taps) > 0 {
			row.at = time.UnixMilli(c.built.At()).UTC()
			row.date = r.home.calendar.BusinessDate(row.at)
		}
		if row.at.IsZero() {
			return nil, nil, ErrConfig.Because(nil, "journey %s has a share and no time", k.journey)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b shareRow) int { return a.compare(b.shareKey) })
	return rows, stories, nil
}

// ownTaps names the taps of a journey that are an operator's, by its own numbers.
func (r *run) ownTaps(j *journey.Journey, operator citygate.TenantID) string {
	var own []journey.Tap
	for _, t := range members(j) {
		if m := r.circle.of(t.ID); m != nil && m.Operator == operator {
			t.ID.Seq = ownSeq(t.ID.Seq)
			own = append(own, t)
		}
	}
	return tapsText(own)
}

// Shares takes what an authority says this tenant gets for rides that it priced: an
// [interbook.Handler]. A share is a decision like one of our own, claimed from the
// authority, so that windows, receipts and payouts know no difference.
func (e *Engine) Shares(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var m interbook.Shares
	if err := json.Unmarshal(body, &m); err != nil {
		return ErrFacts.Because(err, "from %d", from)
	}
	home, err := e.home(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	circle, err := circleOf(ctx, tx)
	if err != nil {
		return err
	}
	if m.Currency != home.Currency || !slices.ContainsFunc(circle.in, func(x Member) bool { return x.Authority == from }) {
		return ErrFacts.Because(nil, "tenant %d gives shares in %s", from, m.Currency)
	}
	before, err := sharedBefore(ctx, tx, from, m.Items)
	if err != nil {
		return err
	}
	rides, err := e.shareRides(ctx, tx, m.Items)
	if err != nil {
		return err
	}
	payees, err := e.Payees.Payees(ctx, tx, rides)
	if err != nil {
		return err
	}
	r := &run{Engine: e, tx: tx, home: home, windows: make(map[citygate.Date]citygate.Date)}
	var decided []*decision
	var transfers []ledger.Transfer
	for i := range m.Items {
		it := &m.Items[i]
		was := before[it.Journey]
		if it.N <= was.n {
			continue
		}
		if it.N != was.n+1 || it.Amount < 0 || it.At.IsZero() || it.Journey.IsZero() || !json.Valid(it.Explanation) {
			return ErrFacts.Because(nil, "tenant %d, journey %s: share %d after %d of %d", from, it.Journey, it.N, was.n, it.Amount)
		}
		sum := sha256.Sum256(it.Explanation)
		d := &decision{journey: it.Journey, n: it.N, taps: it.Taps, issuer: from, payee: payees[i], known: true, amount: it.Amount, currency: home.Currency,
			tariff: it.Tariff, hash: sum, explanation: it.Explanation, at: it.At.UTC(), claim: claimAccepted, sharedBy: from}
		if err := r.date(ctx, d); err != nil {
			return err
		}
		decided = append(decided, d)
		after := posting{d.n, d.amount, d.payee, d.issuer, d.account, d.currency, d.at, d.date, nil}
		transfers = append(transfers, transfersOf(tx.Tenant, d.journey, was, after)...)
		before[it.Journey] = after
	}
	if err := insertDecisions(ctx, tx, decided); err != nil {
		return err
	}
	return ledger.Post(ctx, tx, transfers)
}

// shareRides gives what decides who is paid for shares: the first tap of ours.
func (e *Engine) shareRides(ctx context.Context, tx *pg.Tx, items []interbook.FareShare) ([]Ride, error) {
	var ids []citygate.TapID
	first := make([]citygate.TapID, len(items))
	for i := range items {
		own, err := parseTaps(items[i].Taps)
		if err != nil {
			return nil, ErrFacts.Because(err, "journey %s", items[i].Journey)
		}
		if len(own) > 0 {
			first[i], ids = own[0], append(ids, own[0])
		}
	}
	found := make(map[citygate.TapID]*Tap, len(ids))
	if len(ids) > 0 {
		taps, err := e.Taps.ByID(ctx, tx, ids)
		if err != nil {
			return nil, err
		}
		for i := range taps {
			found[taps[i].ID] = &taps[i]
		}
	}
	rides := make([]Ride, len(items))
	for i := range items {
		rides[i].At = items[i].At
		if t := found[first[i]]; t != nil {
			rides[i] = Ride{t.Vehicle, t.Driver, time.UnixMilli(t.At).UTC()}
		}
	}
	return rides, nil
}
