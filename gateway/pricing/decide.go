package pricing

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants"
)

// Reasons of this package, beside those of fare.
const (
	noTariff      fare.Reason = "no_tariff"      // no version was valid at the first tap
	issuerUnknown fare.Reason = "issuer_unknown" // nobody to claim from
)

// The states of a claim.
const (
	claimNone     = "none"
	claimPending  = "pending"
	claimAccepted = "accepted"
	claimRefused  = "refused"
)

// A decision is a row of fare_decisions to be.
type decision struct {
	journey     citygate.UUID
	n           int
	taps        string
	issuer      citygate.TenantID
	account     citygate.UUID // only of the tenant's own riders
	payee       string
	known       bool
	reason      fare.Reason
	amount      int64
	currency    citygate.Currency
	tariff      uint64
	hash        [32]byte
	explanation []byte
	at          time.Time
	date        citygate.Date
	calendar    int
	window      citygate.Date
	claim       string
	lines       []fare.Adjustment
	funded      []funding // what others bear, by funder
	sharedBy    citygate.TenantID
}

// An outcome is a change that has to be written: the state a journey takes, and
// a decision if what it costs is not what was decided last.
type outcome struct {
	change
	state    string
	reason   fare.Reason
	reading  string // how the journey was read, where its taps were not just believed
	lacks    bool
	decision *decision

	retold   bool      // the last decision has the amount and tells another story
	financed []funding // what others bear by the last decision
}

// claims reports whether the issuer has to hear of the outcome: whenever a
// fare is known, and when one it knows changed to anything else.
func (o *outcome) claims() bool {
	return o.decision != nil && o.decision.claim != claimNone
}

// decide gives the outcomes of the changes that change something.
func (r *run) decide(ctx context.Context, changes []change) ([]outcome, error) {
	outcomes := make([]outcome, 0, len(changes))
	before, err := r.financed(ctx, changes)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		o, fares, err := r.outcome(ctx, c)
		if err != nil {
			return nil, err
		}
		if c.old != nil {
			o.financed = before[c.id][c.old.lastN]
		}
		if !o.differs() {
			continue
		}
		if o.mustDecide() {
			if err := r.complete(ctx, &o, fares); err != nil {
				return nil, err
			}
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, r.payees(ctx, outcomes)
}

// outcome prices one journey.
func (r *run) outcome(ctx context.Context, c change) (outcome, fare.Decision, error) {
	o := outcome{change: c}
	if len(c.built.Taps) == 0 {
		o.state, o.reason = stateEmpty, fare.NoTaps
		return o, fare.Decision{Known: true, Reason: fare.NoTaps, Explanation: fare.Explanation{Currency: r.home.Currency, Steps: []fare.Step{}, Unknown: fare.NoTaps}}, nil
	}
	why, err := r.unpriceable(ctx, &c)
	if err != nil {
		return o, fare.Decision{}, err
	}
	if v := r.book.version(c.built.At()); v != nil {
		o.reading, o.lacks = readingOf(&c.built, v.document.Version), c.built.Missing != journey.Nothing
	}
	d := r.unknown(noTariff)
	if f := r.folded[c.id]; f != nil {
		d, o.retold = f.decision, f.retold
	} else if t := r.prices.at(c.built.At()); t != nil && why == "" {
		trip := fare.Trip{Journey: &c.built, Category: r.category(t, &c), Medium: mediumOf(&c.built)}
		r.gifts[c.id].apply(&trip)
		d = t.PriceTrip(&trip, fare.Calendar{Calendar: r.home.calendar})
	}
	if why != "" {
		d = r.unknown(why)
	}
	switch {
	case c.built.State == journey.Open:
		o.state, o.reason = stateOpen, fare.JourneyOpen
	case d.Known:
		o.state = statePriced
	default:
		o.state, o.reason = StateSetAside, d.Reason
	}
	if d.Known {
		o.decision = &decision{amount: d.Amount.Minor}
	} else {
		o.decision = &decision{}
	}
	return o, d, nil
}

// unpriceable gives why a journey is set aside whatever the tariff says: nobody
// to claim from, or an issuer that takes no claim for it.
func (r *run) unpriceable(ctx context.Context, c *change) (fare.Reason, error) {
	if why := r.refusal(c); why != "" {
		return why, nil
	}
	_, err := r.issuerOf(ctx, c.built.Rider)
	if errors.Is(err, tenants.ErrNotFound) {
		return issuerUnknown, nil
	}
	return "", err
}

func (r *run) unknown(why fare.Reason) fare.Decision {
	return fare.Decision{Reason: why, Explanation: fare.Explanation{Currency: r.home.Currency, Steps: []fare.Step{}, Unknown: why}}
}

// financed gives what others bear of the journeys of changes as they are decided.
func (r *run) financed(ctx context.Context, changes []change) (map[citygate.UUID]map[int][]funding, error) {
	if !r.funds() {
		return nil, nil
	}
	ids := []citygate.UUID{}
	for i := range changes {
		if changes[i].old != nil {
			ids = append(ids, changes[i].id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return fundingsOf(ctx, r.tx, ids)
}

// claimRejected begins the reason of a journey whose claim the issuer refused
// whatever its taps are; the issuer's own word follows.
const claimRejected = "claim_"

// refusal gives why the issuer takes no claim for a journey, "" if nothing is
// known of that. It holds as long as the journey has the same taps: with others
// it is another claim.
func (r *run) refusal(c *change) fare.Reason {
	if c.old == nil || !sameTaps(c.old.taps, members(&c.built)) {
		return ""
	}
	if v, ok := r.refused[c.id]; ok && v.N == c.old.lastN {
		return fare.Reason(claimRejected + string(v.Reason))
	}
	if c.old.state == StateSetAside && strings.HasPrefix(c.old.reason, claimRejected) {
		return fare.Reason(c.old.reason)
	}
	return ""
}

// differs reports whether anything about the journey is not as stored.
func (o *outcome) differs() bool {
	s := o.old
	return s == nil || s.state != o.state || s.reason != string(o.reason) || s.amount != o.amount() ||
		s.closes != o.closes() || s.reading != o.reading || o.retold || !sameTaps(s.taps, members(&o.built))
}

// mustDecide reports whether the change is one of money or of what is known: an
// open journey that nothing was decided about waits without a decision.
func (o *outcome) mustDecide() bool {
	if o.state == stateOpen && (o.old == nil || o.old.lastN == 0 || o.old.state == stateOpen) {
		o.decision = nil
		return false
	}
	return true
}

func (o *outcome) amount() int64 {
	if o.decision == nil {
		return 0
	}
	return o.decision.amount
}

// closes gives when an open journey becomes incomplete.
func (o *outcome) closes() int64 {
	if o.state != stateOpen {
		return 0
	}
	return o.built.ClosesAt
}

// complete fills in the decision of an outcome, all but its payee.
func (r *run) complete(ctx context.Context, o *outcome, f fare.Decision) error {
	explanation, err := json.Marshal(f.Explanation)
	if err != nil {
		return err
	}
	issuer, err := r.issuerOf(ctx, o.built.Rider)
	if err != nil && !errors.Is(err, tenants.ErrNotFound) {
		return err
	}
	at := o.built.At()
	if len(o.built.Taps) == 0 {
		at = o.old.at
	}
	d := &decision{journey: o.id, n: 1, taps: tapsText(members(&o.built)), issuer: issuer, known: f.Known, reason: o.reason, amount: f.Amount.Minor,
		currency: r.home.Currency, tariff: f.TariffVersion, hash: f.InputsHash, explanation: explanation,
		at: time.UnixMilli(at).UTC(), claim: claimNone,
		lines: f.Explanation.Adjustments, funded: fundings(f.Explanation.Adjustments)}
	claimed := f.Known && o.state != stateEmpty
	if o.old != nil {
		d.n = o.old.lastN + 1
		d.payee, d.account = o.old.payee, o.old.account
		claimed = claimed || o.old.claimed
	}
	if claimed && issuer != 0 {
		d.claim = claimPending
	}
	o.decision = d
	return r.date(ctx, d)
}

// date gives a decision its business date and its window.
func (r *run) date(ctx context.Context, d *decision) error {
	d.date = r.home.calendar.BusinessDate(d.at)
	d.calendar = r.home.calendar.On(d.date).Version
	window, known := r.windows[d.date]
	if !known {
		var err error
		if window, err = r.Windows.DecisionWindow(ctx, r.tx, d.date); err != nil {
			return err
		}
		r.windows[d.date] = window
	}
	d.window = window
	return nil
}

// issuerOf gives the tenant that issued the rider's credential.
func (r *run) issuerOf(ctx context.Context, rider citygate.Rider) (citygate.TenantID, error) {
	if rider.Issuer == r.home.Issuer && rider.Issuer != 0 {
		return r.home.ID, nil
	}
	t, err := r.Directory.ByIssuer(ctx, rider.Issuer)
	return t.ID, err
}

// payees names who is paid for the journeys that cost something.
func (r *run) payees(ctx context.Context, outcomes []outcome) error {
	var rides []Ride
	var of []*decision
	for i := range outcomes {
		o := &outcomes[i]
		if o.decision == nil || o.state != statePriced {
			continue
		}
		if r.isShared(&o.built) {
			o.decision.payee = SharedPayee
			continue
		}
		first := o.built.Taps[0]
		rides = append(rides, Ride{first.Vehicle, first.Driver, time.UnixMilli(first.At).UTC()})
		of = append(of, o.decision)
	}
	if len(rides) == 0 {
		return nil
	}
	names, err := r.Payees.Payees(ctx, r.tx, rides)
	if err != nil {
		return err
	}
	if len(names) != len(rides) {
		return ErrConfig.Because(nil, "%d payees for %d rides", len(names), len(rides))
	}
	for i, d := range of {
		d.payee = names[i]
	}
	return nil
}

// A posting is what of a decision reaches the books.
type posting struct {
	n       int
	amount  int64
	payee   string
	issuer  citygate.TenantID
	account citygate.UUID
	cur     citygate.Currency
	at      time.Time
	date    citygate.Date
	funded  []funding
}

// before gives what is posted for the journey so far.
func (o *outcome) before() posting {
	if o.old == nil {
		return posting{}
	}
	return posting{n: o.old.lastN, amount: o.old.amount, payee: o.old.payee, account: o.old.account, funded: o.financed}
}

// after gives what has to be posted for the journey from now on: the decision,
// unless it was refused at once and never had an effect.
func (o *outcome) after() posting {
	d := o.decision
	if d == nil || d.claim == claimRefused {
		return o.before()
	}
	return posting{d.n, d.amount, d.payee, d.issuer, d.account, d.currency, d.at, d.date, d.funded}
}

// transfersOf gives the transfers of decision d of a journey after decision
// before (the zero posting if it is the first): what the rider pays, and what
// others bear. It is used to post and to derive.
func transfersOf(tenant citygate.TenantID, id citygate.UUID, before, d posting) []ledger.Transfer {
	return append(faresOf(tenant, id, before, d), subsidiesOf(tenant, id, before, d)...)
}

// subsidiesOf gives what has to be posted of what others bear: the difference for
// each funder, or, when another payee is paid now, the old back and the new.
func subsidiesOf(tenant citygate.TenantID, id citygate.UUID, before, d posting) (out []ledger.Transfer) {
	if len(before.funded)+len(d.funded) == 0 {
		return nil
	}
	var names []string
	was, is := make(map[string]int64), make(map[string]int64)
	for _, f := range before.funded {
		names, was[f.funder] = append(names, f.funder), f.amount
	}
	for _, f := range d.funded {
		names, is[f.funder] = append(names, f.funder), f.amount
	}
	slices.Sort(names)
	for i, name := range slices.Compact(names) {
		leg := func(n int, payee string, amount int64) {
			if amount == 0 {
				return
			}
			debit, credit, code := ledger.SubsidyReceivable(name), ledger.SubsidyPayable(payee), "subsidy"
			if strings.HasPrefix(name, prepaidBy) {
				debit, credit, code = name, ledger.ProductPayable(payee), "product_use"
			}
			if amount < 0 {
				code += "_correction"
			}
			out = append(out, ledger.NewTransfer(tenant, n, ledger.Transfer{Debit: debit, Credit: credit,
				Amount: amount, Currency: d.cur, Code: code, Event: eventOf(id, d.n), EffectiveAt: d.at, BusinessDate: d.date}))
		}
		if was[name] == 0 || before.payee == d.payee {
			leg(2*i, d.payee, is[name]-was[name])
			continue
		}
		leg(2*i, before.payee, -was[name])
		leg(2*i+1, d.payee, is[name])
	}
	return out
}

// faresOf gives what has to be posted of what the rider pays: the difference, or,
// when another payee is paid now, all of the old amount back and all of the new.
func faresOf(tenant citygate.TenantID, id citygate.UUID, before, d posting) []ledger.Transfer {
	debit := ledger.InterbookReceivable(d.issuer)
	pair := citygate.UUID{}
	if d.issuer == tenant {
		debit = ledger.RiderReceivable(d.account)
	} else {
		pair = ledger.InterbookID(tenant, id)
	}
	leg := func(n int, payee string, amount int64) ledger.Transfer {
		code := "fare"
		if amount < 0 {
			code = "fare_correction"
		}
		return ledger.NewTransfer(tenant, n, ledger.Transfer{Debit: debit, Credit: ledger.Payable(payee), Amount: amount, Currency: d.cur,
			Code: code, Event: eventOf(id, d.n), Interbook: pair, EffectiveAt: d.at, BusinessDate: d.date})
	}
	switch {
	case before.amount == d.amount && before.payee == d.payee, before.amount == 0 && d.amount == 0:
		return nil
	case before.amount == 0 || before.payee == d.payee:
		return []ledger.Transfer{leg(0, d.payee, d.amount-before.amount)}
	case d.amount == 0:
		return []ledger.Transfer{leg(0, before.payee, -before.amount)}
	}
	return []ledger.Transfer{leg(0, before.payee, -before.amount), leg(1, d.payee, d.amount)}
}
