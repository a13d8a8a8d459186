package adapters

import (
	"context"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ErrReverse refuses a reversal that the rules of this gateway or of the
// product do not allow now. Nothing was sent.
var ErrReverse = &citygate.Code{Name: "adapters.reverse_refused", Kind: citygate.Conflict,
	Title: "This payment cannot be reversed now. Ask what became of it, or give the money back by a refund."}

// A Reverser is the ability of a [Provider] to undo a debit of which nobody can
// say what became.
type Reverser struct {
	p *Provider
	d driver.Reverser
}

// Reverser finds out whether the product reverses debits.
func (p *Provider) Reverser() (*Reverser, bool) {
	d, ok := driver.As[driver.Reverser](p.driver)
	if !ok {
		return nil, false
	}
	return &Reverser{p, d}, true
}

// Reverse undoes a debit in state s. It is refused with ErrReverse unless the
// state is Unknown (a final one is refunded, an unsent one needs nothing), and
// before or after the times the product allows. What it answers is never a final
// state: the caller queries afterwards, whatever the reversal said.
func (r *Reverser) Reverse(ctx context.Context, s State, ref driver.Ref) (driver.Reversal, string, error) {
	if err := r.p.checkID(ref.OurID); err != nil {
		return driver.ReversalUnknown, "", err
	}
	if s != Unknown {
		return driver.ReversalUnknown, "", ErrReverse.Explain("%s is %s; only what is unknown is reversed", ref.OurID, s)
	}
	age, l := r.p.clock().Sub(ref.SubmittedAt), r.p.about.Limits
	if age < l.ReverseAfter {
		return driver.ReversalUnknown, "", ErrReverse.Explain("%s was submitted %s ago; %s reverses after %s", ref.OurID, age, r.p.about.Name, l.ReverseAfter)
	}
	if l.ReverseWithin > 0 && age > l.ReverseWithin {
		return driver.ReversalUnknown, "", ErrReverse.Explain("%s was submitted %s ago; %s reverses within %s", ref.OurID, age, r.p.about.Name, l.ReverseWithin)
	}
	ctx, done := r.p.deadline(ctx)
	defer done()
	var said driver.Reversal
	reason, err := contained(r.p.about.Name, func() (reason string, err error) {
		said, reason, err = r.d.Reverse(ctx, ref)
		return reason, err
	})
	if err != nil {
		return driver.ReversalUnknown, "", r.p.failed(ctx, err)
	}
	switch said {
	case driver.ReversalClosed, driver.ReversalGiven, driver.ReversalRefused:
		return said, reason, nil
	case driver.ReversalUnknown:
	}
	return driver.ReversalUnknown, reason, nil
}

// A Notifier is the ability of a [Provider] to tell unasked.
type Notifier struct {
	p *Provider
	d driver.Notifier
}

// Notifier finds out whether the product sends notifications.
func (p *Provider) Notifier() (*Notifier, bool) {
	d, ok := driver.As[driver.Notifier](p.driver)
	if !ok {
		return nil, false
	}
	return &Notifier{p, d}, true
}

// ErrNotice says that a notification was not proven to be the provider's.
// Nothing in it may be believed.
var ErrNotice = &citygate.Code{Name: "adapters.notice_unproven", Kind: citygate.Unauthenticated,
	Title: "This notification is not proven to be the provider's. Nothing was taken from it."}

// ParseNotify proves and reads a notification. The ack is to be sent as it is:
// with an error at once, else only after what the notice says is on disk. An
// outcome that is no word of the contract, and a notice that names no debit, say
// nothing.
func (n *Notifier) ParseNotify(ctx context.Context, in driver.Notification) (driver.Notice, driver.Ack, error) {
	ctx, done := n.p.deadline(ctx)
	defer done()
	var ack driver.Ack
	notice, err := contained(n.p.about.Name, func() (notice driver.Notice, err error) {
		notice, ack, err = n.d.ParseNotify(ctx, in)
		return notice, err
	})
	if err != nil {
		if ack.Status < http.StatusBadRequest && len(ack.Body) == 0 { // an adapter that forgot to refuse must not acknowledge
			ack = driver.Ack{Status: http.StatusUnauthorized, ContentType: "text/plain", Body: []byte("refused")}
		}
		return driver.Notice{}, ack, ErrNotice.Because(err, "%s", n.p.about.Name)
	}
	switch notice.Kind {
	case driver.NoticePayment, driver.NoticeRefund:
		notice.Result = believe(notice.Result, notice.Result.OurID, citygate.Money{})
		if n.p.checkID(notice.Result.OurID) != nil {
			notice.Kind, notice.Result = driver.NoticeOther, driver.Result{ReasonCode: Unbelievable}
		}
	case driver.NoticeReversal:
		if !n.p.credible(&notice) { // money was taken for all that: somebody has to look
			notice = driver.Notice{ID: notice.ID, Kind: driver.NoticeReversal, Taken: driver.Taken{State: driver.TakenBack, ReasonCode: Unbelievable}}
		}
	case driver.NoticeAgreement:
		if !credibleAgreement(notice.Agreement) {
			notice = driver.Notice{ID: notice.ID, Kind: driver.NoticeOther, Result: driver.Result{ReasonCode: Unbelievable}}
		}
	case driver.NoticeRider, driver.NoticeOther:
	default:
		notice = driver.Notice{ID: notice.ID, Kind: driver.NoticeOther, Result: driver.Result{ReasonCode: Unbelievable}}
	}
	return notice, ack, nil
}

// plain reports whether text has at most so many bytes, none of them of a control
// character: it can be kept and shown.
func plain(text string, most int) bool {
	return len(text) <= most && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// credible reports whether a notice of a payment that was taken back is in words of the
// contract: a state, references that a bill can have, a payment that can be ours.
func (p *Provider) credible(n *driver.Notice) bool {
	t := &n.Taken
	if !plain(t.Reference, 64) || !plain(t.Of, 64) || !plain(t.ReasonCode, 64) {
		return false
	}
	switch t.State {
	case driver.TakenOther:
		return true
	case driver.TakenBack:
		return t.Reference != "" && p.checkID(n.ChargeID) == nil && p.checkAmount(t.Amount) == nil
	case driver.TakenWon, driver.TakenLost:
		return t.Reference != "" && t.Of != "" && (n.ChargeID == "" || p.checkID(n.ChargeID) == nil)
	}
	return false
}

// A DenyPush is the ability of a [Provider] to take the operator's refusals.
type DenyPush struct {
	p *Provider
	d driver.DenyPush
}

// DenyPush finds out whether the product takes the operator's refusals.
func (p *Provider) DenyPush() (*DenyPush, bool) {
	d, ok := driver.As[driver.DenyPush](p.driver)
	if !ok {
		return nil, false
	}
	return &DenyPush{p, d}, true
}

// PushDeny sends a change. After ErrNotSent or ErrInvalid it certainly was not taken;
// after any other error the same is sent again.
func (d *DenyPush) PushDeny(ctx context.Context, change driver.DenyChange) error {
	if err := d.p.checkID(change.OurID); err != nil {
		return err
	}
	ctx, done := d.p.deadline(ctx)
	defer done()
	_, err := contained(d.p.about.Name, func() (struct{}, error) { return struct{}{}, d.d.PushDeny(ctx, change) })
	if err != nil {
		return d.p.failed(ctx, err)
	}
	return nil
}

// An EvidenceCheck is the ability of a [Provider] to look at records of its codes.
type EvidenceCheck struct {
	p *Provider
	d driver.EvidenceCheck
}

// EvidenceCheck finds out whether the product looks at records of its codes.
func (p *Provider) EvidenceCheck() (*EvidenceCheck, bool) {
	d, ok := driver.As[driver.EvidenceCheck](p.driver)
	if !ok {
		return nil, false
	}
	return &EvidenceCheck{p, d}, true
}

// CheckEvidence asks about one record. Whatever goes wrong, and any word that is none of
// the contract, leaves it EvidenceUnknown.
func (e *EvidenceCheck) CheckEvidence(ctx context.Context, record []byte) (v driver.EvidenceVerdict, reasonCode string, err error) {
	ctx, done := e.p.deadline(ctx)
	defer done()
	v, err = contained(e.p.about.Name, func() (said driver.EvidenceVerdict, err error) {
		said, reasonCode, err = e.d.CheckEvidence(ctx, record)
		return said, err
	})
	if err != nil {
		return driver.EvidenceUnknown, "", e.p.failed(ctx, err)
	}
	if v != driver.EvidenceGenuine && v != driver.EvidenceRefused {
		return driver.EvidenceUnknown, "", nil
	}
	return v, reasonCode, nil
}

// A RiderCheck is the ability of a [Provider] to say how a payer stands.
type RiderCheck struct {
	p *Provider
	d driver.RiderCheck
}

// RiderCheck finds out whether the product says how a payer stands.
func (p *Provider) RiderCheck() (*RiderCheck, bool) {
	d, ok := driver.As[driver.RiderCheck](p.driver)
	if !ok {
		return nil, false
	}
	return &RiderCheck{p, d}, true
}

// RiderState asks about a payer. Whatever goes wrong leaves him RiderUnknown,
// which stops nobody.
func (r *RiderCheck) RiderState(ctx context.Context, q driver.RiderQuestion) (driver.RiderStatus, error) {
	ctx, done := r.p.deadline(ctx)
	defer done()
	open := driver.RiderStatus{RiderRef: q.RiderRef}
	s, err := contained(r.p.about.Name, func() (driver.RiderStatus, error) { return r.d.RiderState(ctx, q) })
	if err != nil {
		return open, r.p.failed(ctx, err)
	}
	switch s.State {
	case driver.RiderNormal, driver.RiderBlocked, driver.RiderOverdue, driver.RiderFrozen, driver.RiderDeleted:
	case driver.RiderUnknown:
		return open, nil
	default:
		return open, nil
	}
	if q.RiderRef != "" && s.RiderRef != q.RiderRef {
		return open, nil
	}
	return s, nil
}

// A CardIssuer is the ability of a [Provider] to show an operator's cards.
type CardIssuer struct {
	p *Provider
	d driver.CardIssuer
}

// CardIssuer finds out whether the product shows an operator's cards.
func (p *Provider) CardIssuer() (*CardIssuer, bool) {
	d, ok := driver.As[driver.CardIssuer](p.driver)
	if !ok {
		return nil, false
	}
	return &CardIssuer{p, d}, true
}

// PushCard has the wallet show a card as it is. After ErrNotSent it certainly does not;
// after any other error the same is sent again.
func (i *CardIssuer) PushCard(ctx context.Context, card driver.CardState) error {
	ctx, done := i.p.deadline(ctx)
	defer done()
	_, err := contained(i.p.about.Name, func() (struct{}, error) { return struct{}{}, i.d.PushCard(ctx, card) })
	if err != nil {
		return i.p.failed(ctx, err)
	}
	return nil
}

// CodeIssuer finds out whether the product has the operator sign codes.
func (p *Provider) CodeIssuer() (driver.CodeIssuer, bool) {
	d, ok := driver.As[driver.CodeIssuer](p.driver)
	return d, ok
}

// Authorizer finds out whether the product charges contactless cards in steps.
func (p *Provider) Authorizer() (driver.Authorizer, bool) {
	d, ok := driver.As[driver.Authorizer](p.driver)
	return d, ok
}

// A Quoter is the ability of a [Provider] to offer rates to payers of another
// currency.
type Quoter struct {
	p *Provider
	d driver.Quoter
}

// Quoter finds out whether the product offers rates.
func (p *Provider) Quoter() (*Quoter, bool) {
	d, ok := driver.As[driver.Quoter](p.driver)
	if !ok {
		return nil, false
	}
	return &Quoter{p, d}, true
}

// Quote asks what a payer would pay for an amount. It moves nothing, so any error
// is [ErrNotSent] or a refusal of the amount. A quote for something else, without a
// name, a rate or an amount, is none.
func (q *Quoter) Quote(ctx context.Context, m citygate.Money) (driver.Quote, error) {
	if err := q.p.checkAmount(m); err != nil {
		return driver.Quote{}, err
	}
	ctx, done := q.p.deadline(ctx)
	defer done()
	offer, err := contained(q.p.about.Name, func() (driver.Quote, error) { return q.d.Quote(ctx, m) })
	if err != nil {
		return driver.Quote{}, ErrNotSent.Because(err, "%s: no quote", q.p.about.Name)
	}
	_, priced := driver.Convert(1, offer.Rate.Price, 0, 0)
	if offer.Asked != m || offer.Pays.Minor <= 0 || !offer.Pays.Currency.Valid() || offer.Pays.Currency == m.Currency || offer.Rate.ID == "" || priced != nil {
		return driver.Quote{}, ErrNotSent.Because(nil, "%s: a quote that is none", q.p.about.Name)
	}
	return offer, nil
}
