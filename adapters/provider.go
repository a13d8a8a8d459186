package adapters

import (
	"context"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// The ways a call ends without an answer. Only ErrNotSent, ErrInvalid and
// ErrCurrencyUnsupported are certain; ErrOpen is everything else.
var (
	ErrNotSent = &citygate.Code{Name: "adapters.not_sent", Kind: citygate.Unavailable,
		Title: "The payment provider could not be reached and nothing was sent. It is safe to try again."}
	ErrOpen = &citygate.Code{Name: "adapters.outcome_open", Kind: citygate.Unavailable,
		Title: "The payment provider gave no usable answer. The outcome is open and is being asked for."}
	ErrInvalid = &citygate.Code{Name: "adapters.invalid", Kind: citygate.Invalid,
		Title: "This payment provider cannot take such a request. Nothing was sent."}
	ErrBatchTooLarge = &citygate.Code{Name: "adapters.batch_too_large", Kind: citygate.TooLarge,
		Title: "More payments in one call than this provider takes. Nothing was sent; send fewer."}
	ErrCurrencyUnsupported = &citygate.Code{Name: "adapters.currency_unsupported", Kind: citygate.Invalid,
		Title: "This payment provider does not settle that currency. Nothing was sent; route it to another provider."}
	ErrBillNotReady = &citygate.Code{Name: "adapters.bill_not_ready", Kind: citygate.NotFound,
		Title: "The provider has no bill for that day yet. Ask again later."}
)

// A Provider is a payment product as the gateway uses it. Make one with [New].
// It is safe for concurrent use.
type Provider struct {
	driver driver.Provider
	about  driver.Description
	clock  citygate.Clock

	lists, bills time.Duration // what may be fetched within
}

// New wraps d. The deadlines of calls run on clock.
func New(d driver.Provider, clock citygate.Clock) *Provider {
	return &Provider{d, d.Describe(), clock, listsWithin, billsWithin}
}

// Describe gives the driver's limits.
func (p *Provider) Describe() driver.Description { return p.about }

// Capabilities lists the driver's optional abilities.
func (p *Provider) Capabilities() []driver.Capability { return driver.Capabilities(p.driver) }

// Refunder finds out whether refunds are possible.
func (p *Provider) Refunder() (*Refunder, bool) {
	d, ok := driver.As[driver.Refunder](p.driver)
	if !ok {
		return nil, false
	}
	return &Refunder{p, d}, true
}

// Biller finds out whether the product gives bills.
func (p *Provider) Biller() (*Biller, bool) {
	d, ok := driver.As[driver.Biller](p.driver)
	if !ok {
		return nil, false
	}
	return &Biller{p, d}, true
}

// Mark gives what names a debit or refund to the product beside its id, if it is sent
// at the instant; "" where its id is enough.
func (p *Provider) Mark(at time.Time) string {
	d, ok := driver.As[driver.Marker](p.driver)
	if !ok {
		return ""
	}
	return d.Mark(at)
}

// Submit asks for payments. There is one result for each debit, in order,
// whatever error comes with them.
//
// A nil error means that the provider answered; results may still be Unknown.
// ErrNotSent, ErrInvalid, ErrBatchTooLarge and ErrCurrencyUnsupported are
// certain for every debit of the call. ErrOpen leaves every debit Unknown. Where the far
// side, or what stands before it, said by Retry-After when it wants to be asked again,
// that is RetryAt of what is not final, with an error too; the same holds for Query and
// for refunds.
func (p *Provider) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	results := make([]driver.Result, len(debits))
	for i, d := range debits {
		results[i] = driver.Result{OurID: d.OurID}
	}
	if len(debits) == 0 {
		return results, nil
	}
	if err := p.checkDebits(debits); err != nil {
		return results, err
	}
	ctx, done := p.deadline(ctx)
	defer done()
	ctx, later := wire.Heed(ctx, p.clock)
	answers, err := contained(p.about.Name, func() ([]driver.Result, error) { return p.driver.Submit(ctx, debits) })
	if err != nil {
		for i := range results {
			results[i].RetryAt = later.At()
		}
		return results, p.failed(ctx, err)
	}
	if len(answers) != len(debits) {
		return results, ErrOpen.Because(nil, "%s answered %d results for %d debits", p.about.Name, len(answers), len(debits))
	}
	for i, r := range answers {
		results[i] = p.put(believe(r, debits[i].OurID, debits[i].Amount), later)
	}
	return results, nil
}

// Query asks what became of a debit. With an error the result is Unknown.
func (p *Provider) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	if err := p.checkID(ref.OurID); err != nil {
		return driver.Result{OurID: ref.OurID}, err
	}
	ctx, done := p.deadline(ctx)
	defer done()
	ctx, later := wire.Heed(ctx, p.clock)
	r, err := contained(p.about.Name, func() (driver.Result, error) { return p.driver.Query(ctx, ref) })
	if err != nil {
		return driver.Result{OurID: ref.OurID, RetryAt: later.At()}, p.failed(ctx, err)
	}
	return p.put(believe(r, ref.OurID, ref.Amount), later), nil
}

// put says of a result that is open when the far side wants to be asked again, if it said
// so by Retry-After and in no words of its own.
func (p *Provider) put(r driver.Result, later *wire.Later) driver.Result {
	if r.RetryAt.IsZero() && r.Outcome != driver.Succeeded && r.Outcome != driver.Declined {
		r.RetryAt = later.At()
	}
	r.RetryAt = p.soon(r.RetryAt)
	return r
}

// retryMost is how far ahead a provider may put another question in words of its own. One
// that takes milliseconds for seconds must not have a payment open for ever.
const retryMost = 7 * 24 * time.Hour

// soon gives an instant, or the last one that a provider may name.
func (p *Provider) soon(at time.Time) time.Time {
	if most := p.clock().Add(retryMost); at.After(most) {
		return most
	}
	return at
}

// Certain reports whether err, from Submit or Refund, means that nothing was
// sent, so that the charge can be treated as [NotSent].
func Certain(err error) bool {
	return errors.Is(err, ErrNotSent) || errors.Is(err, ErrInvalid) ||
		errors.Is(err, ErrBatchTooLarge) || errors.Is(err, ErrCurrencyUnsupported)
}

// Check reports why d could never be submitted here, so that one bad debit can
// be set aside instead of stopping a batch.
func (p *Provider) Check(d driver.Debit) error {
	if err := p.checkID(d.OurID); err != nil {
		return err
	}
	if err := p.checkAmount(d.Amount); err != nil {
		return err
	}
	if l := p.about.Limits; d.Amount.Minor < l.AmountMin || (l.AmountMax > 0 && d.Amount.Minor > l.AmountMax) {
		return ErrInvalid.Explain("an amount of %s; %s takes %d to %d minor units", d.Amount, p.about.Name, max(l.AmountMin, 1), l.AmountMax)
	}
	if d.Recovery != "" && (!p.about.Limits.Recoveries.Has(d.Recovery) || d.Recovers.OurID == "" || d.Amount.Minor > d.Recovers.Amount.Minor) {
		return ErrInvalid.Explain("a recovery by %q of %s; %s knows none such", d.Recovery, d.Recovers.Amount, p.about.Name)
	}
	return nil
}

// Unbelievable is the reason of an answer that breaks the contract.
const Unbelievable = "citygate_unbelievable_answer"

// believe gives r if it is an answer to the question, and Unknown otherwise.
func believe(r driver.Result, ourID string, asked citygate.Money) driver.Result {
	switch r.Outcome {
	case driver.Unknown, driver.Accepted, driver.Succeeded, driver.Declined, driver.Absent:
	default:
		return driver.Result{OurID: ourID, ReasonCode: Unbelievable}
	}
	if r.OurID != ourID {
		return driver.Result{OurID: ourID, ReasonCode: Unbelievable}
	}
	if said := r.Amount; said != (citygate.Money{}) && asked != (citygate.Money{}) && said != asked {
		return driver.Result{OurID: ourID, ProviderRef: r.ProviderRef, ReasonCode: Unbelievable}
	}
	return r
}

func (p *Provider) checkDebits(debits []driver.Debit) error {
	if len(debits) > p.about.BatchMax {
		return ErrBatchTooLarge.Explain("%d payments; %s takes %d", len(debits), p.about.Name, p.about.BatchMax)
	}
	seen := make(map[string]bool, len(debits))
	for _, d := range debits {
		if err := p.Check(d); err != nil {
			return err
		}
		if seen[d.OurID] {
			return ErrInvalid.Explain("the id %s twice in one call", d.OurID)
		}
		seen[d.OurID] = true
	}
	return nil
}

func (p *Provider) checkAmount(m citygate.Money) error {
	if m.Minor <= 0 {
		return ErrInvalid.Explain("an amount of %s", m)
	}
	if !m.Currency.Valid() {
		return ErrCurrencyUnsupported.Explain("%q is not a currency", string(m.Currency))
	}
	for _, c := range p.about.Currencies {
		if c == m.Currency {
			return nil
		}
	}
	if len(p.about.Currencies) > 0 {
		return ErrCurrencyUnsupported.Explain("%s does not settle %s", p.about.Name, m.Currency)
	}
	return nil
}

func (p *Provider) checkID(id string) error {
	if id == "" || len(id) > p.about.IDMax {
		return ErrInvalid.Explain("an id of %d characters; %s takes 1 to %d", len(id), p.about.Name, p.about.IDMax)
	}
	if limits := p.about.Limits; len(id) < limits.IDMin {
		return ErrInvalid.Explain("an id of %d characters; %s takes at least %d", len(id), p.about.Name, limits.IDMin)
	} else if !limits.Charset.Holds(id) {
		return ErrInvalid.Explain("the id %q has characters that %s does not take", id, p.about.Name)
	}
	return nil
}

// failed sorts a driver's error. A deadline is named as what ended the call;
// it never makes the outcome certain.
func (p *Provider) failed(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, driver.ErrNotPerformed):
		return ErrNotSent.Because(err, "%s", p.about.Name)
	case errors.Is(err, driver.ErrCurrencyUnsupported):
		return ErrCurrencyUnsupported.Because(err, "%s", p.about.Name)
	case errors.Is(err, driver.ErrBillNotReady):
		return ErrBillNotReady.Because(err, "%s", p.about.Name)
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return ErrOpen.Because(errors.Join(context.DeadlineExceeded, err), "%s", p.about.Name)
	}
	return ErrOpen.Because(err, "%s", p.about.Name)
}

// lookEvery is how often a call under way looks at the clock, at most. The
// injected clock cannot wake anybody, so the deadline is looked for.
const lookEvery = 100 * time.Millisecond

// deadline gives a context that ends with [context.DeadlineExceeded] as its
// cause when the driver's deadline has passed on the injected clock. A clock
// that stands still, as in a played day, never ends a call.
func (p *Provider) deadline(ctx context.Context) (context.Context, func()) {
	return p.within(ctx, p.about.Deadline)
}

// within is deadline with another time; 0 is none.
func (p *Provider) within(ctx context.Context, most time.Duration) (context.Context, func()) {
	if most <= 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	end := p.clock().Add(most)
	timer := time.NewTimer(min(most, lookEvery))
	go func() {
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			left := end.Sub(p.clock())
			if left <= 0 {
				cancel(context.DeadlineExceeded)
				return
			}
			timer.Reset(min(left, lookEvery))
		}
	}()
	return ctx, func() { cancel(nil) }
}

// A Refunder is the ability of a [Provider] to give money back.
type Refunder struct {
	p *Provider
	d driver.Refunder
}

// Refund gives back part of a succeeded debit. Two calls with one OurID and
// equal content are one refund. Errors mean what they mean for Submit.
func (f *Refunder) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	return f.call(ctx, refund, f.d.Refund)
}

// QueryRefund asks what became of a refund.
func (f *Refunder) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	return f.call(ctx, refund, f.d.QueryRefund)
}

func (f *Refunder) call(ctx context.Context, refund driver.Refund, do func(context.Context, driver.Refund) (driver.Result, error)) (driver.Result, error) {
	open := driver.Result{OurID: refund.OurID}
	if err := errors.Join(f.p.checkID(refund.OurID), f.p.checkID(refund.Charge.OurID), f.p.checkAmount(refund.Amount)); err != nil {
		return open, err
	}
	if charged := refund.Charge.Amount; charged != (citygate.Money{}) &&
		(charged.Currency != refund.Amount.Currency || refund.Amount.Minor > charged.Minor) {
		return open, ErrInvalid.Explain("a refund of %s on a charge of %s", refund.Amount, charged)
	}
	ctx, done := f.p.deadline(ctx)
	defer done()
	ctx, later := wire.Heed(ctx, f.p.clock)
	r, err := contained(f.p.about.Name, func() (driver.Result, error) { return do(ctx, refund) })
	if err != nil {
		open.RetryAt = later.At()
		return open, f.p.failed(ctx, err)
	}
	return f.p.put(believe(r, refund.OurID, refund.Amount), later), nil
}

// A Biller is the ability of a [Provider] to give bills.
type Biller struct {
	p *Provider
	d driver.Biller
}

// FetchBill gives the bill of the provider's day, or ErrBillNotReady. Bills are
// large and have the contract's deadline for them, not that of a payment call.
func (b *Biller) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	ctx, done := b.p.within(OwnDeadline(ctx), b.p.bills)
	defer done()
	bill, err := contained(b.p.about.Name, func() (driver.Bill, error) { return b.d.FetchBill(ctx, day) })
	if err != nil {
		return driver.Bill{}, b.p.failed(ctx, err)
	}
	if bill.Day != day {
		return driver.Bill{}, ErrOpen.Because(nil, "%s gave the bill of %s for that of %s", b.p.about.Name, bill.Day, day)
	}
	return bill, nil
}

// ParseBill reads a bill.
func (b *Biller) ParseBill(bill driver.Bill) ([]driver.BillLine, error) { return b.d.ParseBill(bill) }

// ReadBill reads a bill row by row, without holding its rows where the driver can.
func (b *Biller) ReadBill(bill driver.Bill, visit func(driver.BillLine) error) error {
	if r, ok := b.d.(driver.BillReader); ok {
		return r.ReadBill(bill, visit)
	}
	lines, err := b.d.ParseBill(bill)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if err := visit(l); err != nil {
			return err
		}
	}
	return nil
}

// BillDay gives the day whose bill carries a payment finished at the instant.
func (b *Biller) BillDay(at time.Time) citygate.Date { return b.d.BillDay(at) }
