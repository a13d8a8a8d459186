package collect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// An Answer is what became of one claim.
type Answer struct {
	interbook.Verdict
	Account citygate.UUID // who pays; zero if refused
	Delta   int64         // how the claim changed what is accepted of the journey
}

// Accept takes operator's claims for riders of the transaction's tenant. It
// gives one answer for each claim in the order given, and the transfers that go
// with them, for the caller to post in this transaction. For another operator
// those are all; when operator is this tenant the fares themselves are not among
// them, as the caller posts them from rider to payee, with Answer.Account.
func (c *Collector) Accept(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, currency citygate.Currency, items []interbook.Claim) ([]Answer, []ledger.Transfer, error) {
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return nil, nil, err
	}
	claims := newest(items)
	if err := markStale(ctx, tx, operator, currency, claims); err != nil {
		return nil, nil, err
	}
	sift(claims, currency, settings.Currency)
	abroad, err := c.termsWith(ctx, tx, operator)
	if err != nil {
		return nil, nil, err
	}
	if err := c.prove(ctx, tx, operator, settings.CapUnit, abroad, claims); err != nil {
		return nil, nil, err
	}
	if err := c.record(ctx, tx, claims); err != nil {
		return nil, nil, err
	}
	if err := c.identify(ctx, tx, claims); err != nil {
		return nil, nil, err
	}
	if abroad != nil {
		if err := holdDays(ctx, tx, operator, currency, claims); err != nil {
			return nil, nil, err
		}
	}
	if err := c.checkUses(ctx, tx, operator, claims); err != nil {
		return nil, nil, err
	}
	b := booking{operator: operator, currency: currency}
	if err := c.book(ctx, tx, &b, settings, claims); err != nil {
		return nil, nil, err
	}
	if abroad != nil {
		if err := countDays(ctx, tx, operator, currency, claims); err != nil {
			return nil, nil, err
		}
	}
	return answers(items, claims), b.transfers, nil
}

// HandleClaims is the handler of claims messages: it accepts, puts the verdicts
// and posts.
func (c *Collector) HandleClaims(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var m interbook.Claims
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("claims: %w", err)
	}
	answers, transfers, err := c.Accept(ctx, tx, from, m.Currency, m.Items)
	if err != nil {
		return err
	}
	verdicts := interbook.Verdicts{Items: make([]interbook.Verdict, len(answers))}
	for i, a := range answers {
		verdicts.Items[i] = a.Verdict
	}
	if err := interbook.Put(ctx, tx, from, interbook.KindVerdicts, verdicts); err != nil {
		return err
	}
	return ledger.Post(ctx, tx, transfers)
}

// sift refuses claims that nothing about their taps could make right.
func sift(claims []*claim, asked, ours citygate.Currency) {
	for _, cl := range claims {
		switch {
		case cl.settled():
		case cl.Amount < 0:
			cl.reason = interbook.BadAmount
		case asked != ours:
			cl.reason = interbook.OtherCurrency
		case cl.Amount > 0 && len(cl.Taps) == 0:
			cl.reason = interbook.NoEvidence
		}
	}
}

// termsWith gives the terms with an operator of another tree, nil for one of ours.
func (c *Collector) termsWith(ctx context.Context, tx *pg.Tx, operator citygate.TenantID) (Abroad, error) {
	if operator == tx.Tenant || c.Abroad == nil {
		return nil, nil
	}
	return c.Abroad(ctx, tx, operator)
}

// prove verifies the evidence of claims of other operators, and that the rider's
// codes promise what is claimed.
func (c *Collector) prove(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, capUnit int64, abroad Abroad, claims []*claim) error {
	if operator == tx.Tenant { // intake verified the same bytes, unless they were handed over
		if claims = slices.DeleteFunc(slices.Clone(claims), func(cl *claim) bool { return !cl.Handed }); len(claims) == 0 {
			return nil
		}
	}
	if err := c.proveForeign(ctx, tx, operator, capUnit, abroad, claims); err != nil {
		return err
	}
	var raw [][]byte
	for _, cl := range claims {
		if !cl.settled() && !cl.Rider.Foreign() {
			for i := range cl.Taps {
				raw = append(raw, cl.Taps[i].Evidence)
			}
		}
	}
	if len(raw) == 0 {
		return nil
	}
	proofs, err := c.Prove(ctx, tx, raw)
	if err != nil {
		return err
	}
	if len(proofs) != len(raw) {
		return fmt.Errorf("collect: %d proofs for %d codes", len(proofs), len(raw))
	}
	at := 0
	for _, cl := range claims {
		if !cl.settled() && !cl.Rider.Foreign() {
			cl.hold(tx.Now, proofs[at:at+len(cl.Taps)], capUnit, abroad)
			at += len(cl.Taps)
		}
	}
	return nil
}

// proveForeign holds claims for riders of other schemes to what this tenant named.
func (c *Collector) proveForeign(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, capUnit int64, abroad Abroad, claims []*claim) error {
	var riders []citygate.Rider
	var taps []interbook.ClaimTap
	for _, cl := range claims {
		if !cl.settled() && cl.Rider.Foreign() {
			for i := range cl.Taps {
				riders, taps = append(riders, cl.Rider), append(taps, cl.Taps[i])
			}
		}
	}
	if len(taps) == 0 {
		return nil
	}
	proofs := make([]Proof, len(taps))
	if c.Foreign == nil {
		for i := range proofs {
			proofs[i].Reason = code.Unsupported
		}
	} else {
		var err error
		if proofs, err = c.Foreign(ctx, tx, operator, riders, taps); err != nil {
			return err
		}
		if len(proofs) != len(taps) {
			return fmt.Errorf("collect: %d proofs for %d foreign codes", len(proofs), len(taps))
		}
	}
	for _, cl := range claims {
		if !cl.settled() && cl.Rider.Foreign() {
			cl.hold(tx.Now, proofs[:len(cl.Taps)], capUnit, abroad)
			proofs = proofs[len(cl.Taps):]
		}
	}
	return nil
}

// record refuses codes whose signatures hold and whose credential the issuer did
// not issue.
func (c *Collector) record(ctx context.Context, tx *pg.Tx, claims []*claim) error {
	if c.Recorded == nil {
		return nil
	}
	var raw [][]byte
	for _, cl := range claims {
		if !cl.settled() && len(cl.refused) == 0 && !cl.Rider.Foreign() {
			for i := range cl.Taps {
				raw = append(raw, cl.Taps[i].Evidence)
			}
		}
	}
	if len(raw) == 0 {
		return nil
	}
	recorded, err := c.Recorded(ctx, tx, raw)
	if err != nil {
		return err
	}
	if len(recorded) != len(raw) {
		return fmt.Errorf("collect: %d answers for %d codes", len(recorded), len(raw))
	}
	for _, cl := range claims {
		if !cl.settled() && len(cl.refused) == 0 && !cl.Rider.Foreign() {
			of := recorded[:len(cl.Taps)]
			recorded = recorded[len(cl.Taps):]
			for i, ok := range of {
				if !ok {
					cl.refuse(&cl.Taps[i], code.NotIssued)
				}
			}
		}
	}
	return nil
}

// identify finds who pays.
func (c *Collector) identify(ctx context.Context, tx *pg.Tx, claims []*claim) error {
	var riders []citygate.Rider
	for _, cl := range claims {
		if !cl.settled() && (len(riders) == 0 || riders[len(riders)-1] != cl.Rider) {
			riders = append(riders, cl.Rider)
		}
	}
	if len(riders) == 0 {
		return nil
	}
	accounts, err := c.Accounts.AccountsOf(ctx, tx, riders)
	if err != nil {
		return err
	}
	for _, cl := range claims {
		if cl.settled() {
			continue
		}
		a, ok := accounts[cl.Rider]
		if a.Key == "" {
			a.Key = a.ID.String()
		}
		cl.account = a
		if !ok && len(cl.refused) == 0 {
			cl.refuseAll(code.NotIssued)
			cl.account = Account{}
		}
		if !ok && len(cl.Taps) == 0 {
			cl.reason = interbook.UnknownRider // there is no tap to name
		}
	}
	return nil
}

// checkUses gives each display to the first tap that claims it, and to one
// journey of those that name the tap.
func (c *Collector) checkUses(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, claims []*claim) error {
	all := uses(operator, claims)
	holders, err := takeUses(ctx, tx, all)
	if err != nil {
		return err
	}
	_, cloned := judge(all, holders)
	if len(cloned) > 0 {
		if err := c.Accounts.DenyRiders(ctx, tx, cloned, DenyClone); err != nil {
			return err
		}
	}
	if err := refuseHeld(ctx, tx, operator, claims, moved(all, holders), holders); err != nil {
		return err
	}
	if err := holdDisplays(ctx, tx, all, holders); err != nil {
		return err
	}
	return keepConflicts(ctx, tx, operator, claims)
}

// A line is a change of what is accepted, and where it went.
type line struct {
	claim       *claim
	part        int
	aggregation citygate.UUID
	kind        string // fare, refund, debt, reversal
	refund      citygate.UUID
	delta       int64
}

// The kinds of lines.
const (
	lineFare   = "fare"
	lineRefund = "refund"
	lineDebt   = "debt"

	lineReversal = "reversal" // moves a fare to the debt that a reversal opens, or back
)

// A booking gathers what a batch of accepted claims writes.
type booking struct {
	operator  citygate.TenantID
	currency  citygate.Currency
	lines     []line
	sums      map[citygate.UUID]int64 // what is taken back from open aggregations, negative
	transfers []ledger.Transfer
}

// takeBack adds a line of what is taken back.
func (b *booking) takeBack(l line) {
	b.lines = append(b.lines, l)
	if l.kind != lineFare {
		return
	}
	if b.sums == nil {
		b.sums = map[citygate.UUID]int64{}
	}
	b.sums[l.aggregation] += l.delta
}

// book writes claims, lines and aggregations of what is not refused.
func (c *Collector) book(ctx context.Context, tx *pg.Tx, b *booking, settings Settings, claims []*claim) error {
	if err := storeClaims(ctx, tx, b, claims); err != nil {
		return err
	}
	var up []*claim
	for _, cl := range claims {
		switch {
		case cl.delta > 0:
			up = append(up, cl)
		case cl.delta < 0:
			if err := c.takeBack(ctx, tx, b, cl); err != nil {
				return err
			}
		}
	}
	if err := lowerAggregations(ctx, tx, b.sums); err != nil {
		return err
	}
	if len(up) > 0 {
		terms, err := c.terms.At(ctx, tx, tx.Now)
		if err != nil {
			return err
		}
		into, err := addFares(ctx, tx, b.currency, limits{settings.Rules, terms}, up, func(d citygate.Date) time.Time {
			_, end := settings.Calendar.Window(d)
			return end.Add(settings.Rules.CloseAfter)
		})
		if err != nil {
			return err
		}
		if terms.ByTap() {
			if err := c.touched(ctx, tx, up); err != nil {
				return err
			}
		}
		for _, cl := range up {
			b.lines = append(b.lines, line{claim: cl, aggregation: into[aggregationKey{cl.account.ID, cl.BusinessDate}], kind: lineFare, delta: cl.delta})
		}
	}
	if err := storeLines(ctx, tx, b); err != nil {
		return err
	}
	b.transfers = claimTransfers(tx.Tenant, b)
	return nil
}

// claimTransfers gives the transfers of a booking.
func claimTransfers(tenant citygate.TenantID, b *booking) []ledger.Transfer {
	var out []ledger.Transfer
	for i := range b.lines {
		l := &b.lines[i]
		r := lineRow{
			Operator: b.operator, Journey: l.claim.Journey, N: l.claim.N, Part: l.part, Account: l.claim.account.ID, Kind: l.kind,
			Delta: l.delta, Currency: b.currency, BusinessDate: l.claim.BusinessDate, At: l.claim.at(),
		}
		out = append(out, r.transfers(tenant)...)
	}
	return out
}

// takeBack spreads a negative difference over what the journey's fare went to,
// the youngest first.
func (c *Collector) takeBack(ctx context.Context, tx *pg.Tx, b *booking, cl *claim) error {
	places, err := contributions(ctx, tx, b.operator, cl.Journey)
	if err != nil {
		return err
	}
	left := -cl.delta
	for part, p := range places {
		amount := min(left, p.amount)
		if amount <= 0 {
			continue
		}
		left -= amount
		l := line{claim: cl, part: part, aggregation: p.aggregation, delta: -amount}
		switch {
		case p.state == aggregationOpen:
			l.kind = lineFare
		case (p.state == aggregationInDebt || p.state == aggregationWrittenOff) && p.charge.IsZero():
			l.kind = lineDebt
			if err := c.lowerDebt(ctx, tx, p.aggregation, amount); err != nil {
				return err
			}
		default:
			l.kind = lineRefund
			if l.refund, err = createRefund(ctx, tx, b, cl, p, amount); err != nil {
				return err
			}
		}
		b.takeBack(l)
	}
	if left > 0 {
		return fmt.Errorf("collect: journey %s: %d to take back is nowhere to be found", cl.Journey, left)
	}
	return nil
}

func answers(items []interbook.Claim, claims []*claim) []Answer {
	byJourney := make(map[citygate.UUID]*claim, len(claims))
	for _, cl := range claims {
		byJourney[cl.Journey] = cl
	}
	out := make([]Answer, len(items))
	for i, it := range items {
		cl := byJourney[it.Journey]
		a := Answer{Verdict: interbook.Verdict{Journey: it.Journey, N: it.N, Accepted: true}}
		switch {
		case cl.index != i: // a newer claim of the journey is in the batch and says it all
		case cl.stale:
			a.Accepted = cl.was
		case cl.reason != "":
			a.Accepted, a.Reason = false, cl.reason
		case len(cl.refused) > 0:
			a.Accepted, a.Refused = false, cl.refused
			slices.SortFunc(a.Refused, func(x, y interbook.TapVerdict) int {
				return cmp.Or(cmp.Compare(x.Terminal, y.Terminal), cmp.Compare(x.Seq, y.Seq))
			})
		default:
			a.Account, a.Delta = cl.account.ID, cl.delta
		}
		out[i] = a
	}
	return out
}
