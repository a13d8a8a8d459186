package collect

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Verdict is what was done about a notification.
type Verdict string

// The verdicts. The last three changed nothing and are open for somebody to look at.
const (
	NoticeApplied       Verdict = "applied"       // it settled a payment or refund
	NoticeKnown         Verdict = "known"         // it says what was known, or what something newer has overtaken
	NoticeAsked         Verdict = "asked"         // it settles nothing: the provider is asked at once
	NoticeNoted         Verdict = "noted"         // of a rider, an agreement, or of no concern
	NoticeHeld          Verdict = "held"          // it came for a tenant that is closed
	NoticeWaiting       Verdict = "waiting"       // the outcome of a dispute about what nobody has told yet: it is recorded with that
	NoticeUnknownOrder  Verdict = "unknown_order" // the contract has no such payment
	NoticeMismatch      Verdict = "mismatch"      // of another amount, currency or reference than was asked
	NoticeContradiction Verdict = "contradiction" // of what is final otherwise, or was never sent
)

// open reports whether somebody has to look.
func (v Verdict) open() bool {
	return v == NoticeUnknownOrder || v == NoticeMismatch || v == NoticeContradiction
}

// ErrNotice says that there is no such open notice.
var ErrNotice = &citygate.Code{Name: "collect.no_notice", Kind: citygate.NotFound, Title: "There is no such notice that waits for a decision. List the open ones."}

// noticeActor writes what notices raise.
const noticeActor = "system:notify"

// A Taken is a notice that is stored.
type Taken struct {
	Verdict Verdict
	Fresh   bool // it came for the first time
}

// TakeNotice stores a notification that was proven to come from the contract's
// provider, and moves the payment or refund it is about on as the answer to a
// question does, but never away from what is final. It makes no call. The same
// notice again changes nothing but a count; what contradicts our rows changes
// nothing but raises an exception. A contradiction that says a declined charge was
// paid also ends the scheduled recovery of its debt, so that nobody pays twice
// until somebody has looked. For a tenant that is closed it is held: stored alone.
func (c *Collector) TakeNotice(ctx context.Context, tx *pg.Tx, contract Contract, about driver.Description, rules Rules, n driver.Notice, held bool) (Taken, error) {
	digest := digestOf(n)
	seen, err := repeated(ctx, tx, contract.Name, n.ID, digest)
	if err != nil || seen != "" {
		return Taken{Verdict: seen}, err
	}
	r := ruling{verdict: NoticeNoted}
	switch {
	case held:
		r.verdict = NoticeHeld
	case n.Kind == driver.NoticePayment:
		r, err = c.rulePayment(ctx, tx, contract, about, rules, n)
	case n.Kind == driver.NoticeRefund:
		r, err = c.ruleRefund(ctx, tx, contract, about, n)
	case n.Kind == driver.NoticeReversal:
		r, err = c.ruleTaken(ctx, tx, contract, n)
	case n.Kind == driver.NoticeRider || n.Kind == driver.NoticeAgreement:
		var later bool
		if later, err = overtaken(ctx, tx, contract.Name, riderOf(n), saidAt(n)); later {
			r = ruling{NoticeKnown, "a later notice came before it"}
		}
	}
	if err != nil {
		return Taken{}, err
	}
	id, fresh, err := insertNotice(ctx, tx, contract.Name, n, digest, r)
	if err != nil {
		return Taken{}, err
	}
	if !fresh { // another request with it was faster; nothing was done twice, as what it says was known by then
		seen, err := repeated(ctx, tx, contract.Name, n.ID, digest)
		return Taken{Verdict: seen}, err
	}
	if r.verdict.open() {
		err = tx.Audit(ctx, pg.AuditEntry{Actor: noticeActor, Verb: "notice.exception", Object: "notice:" + id.Text("ntc_"),
			After: map[string]string{"contract": contract.Name, "verdict": string(r.verdict), "our_id": n.Result.OurID, "detail": r.detail}})
	}
	return Taken{r.verdict, true}, err
}

// A ruling is a verdict and why.
type ruling struct {
	verdict Verdict
	detail  string
}

// rulePayment moves the charge of a payment's notice.
func (c *Collector) rulePayment(ctx context.Context, tx *pg.Tx, contract Contract, about driver.Description, rules Rules, n driver.Notice) (ruling, error) {
	charges, err := lockCharges(ctx, tx, []string{n.Result.OurID})
	if err != nil {
		return ruling{}, err
	}
	ch := charges[n.Result.OurID]
	if ch == nil || ch.Contract != contract.Name {
		return ruling{NoticeUnknownOrder, ""}, nil
	}
	pays, err := quotedOf(ctx, tx, ch.OurID)
	if err != nil {
		return ruling{}, err
	}
	if why := differs(n.Result, ch.money(), pays, ch.ProviderRef); why != "" {
		return ruling{NoticeMismatch, why}, nil
	}
	o := outcome{ch.OurID, adapters.Noticed, n.Result}
	m, _, err := o.on("charge", ch.ID, ch.State, ch.SentAt, about, tx.Now)
	if err != nil {
		if ch.State == adapters.Declined {
			if err := endRecovery(ctx, tx, ch.Aggregation); err != nil {
				return ruling{}, err
			}
		}
		return ruling{NoticeContradiction, contradicts(ch.State, n.Result)}, nil //nolint:nilerr // it is the ruling
	}
	if ch.State.Final() {
		return ruling{verdict: NoticeKnown}, nil
	}
	contradictions, err := c.apply(ctx, tx, contract, about, rules, []outcome{o}, func(_ string, a adapters.Action) time.Time { return a.At })
	if err != nil || len(contradictions) > 0 {
		return ruling{}, fmt.Errorf("collect: notice of charge %s: %w", ch.OurID, errorOf(err, contradictions))
	}
	return settledOrAsked(m), nil
}

// ruleRefund is rulePayment for refunds.
func (c *Collector) ruleRefund(ctx context.Context, tx *pg.Tx, contract Contract, about driver.Description, n driver.Notice) (ruling, error) {
	refunds, err := lockRefunds(ctx, tx, []string{n.Result.OurID})
	if err != nil {
		return ruling{}, err
	}
	r := refunds[n.Result.OurID]
	if r == nil || r.Contract != contract.Name {
		return ruling{NoticeUnknownOrder, ""}, nil
	}
	if n.ChargeID != "" {
		of, err := chargeOf(ctx, tx, r.ID)
		if err != nil || n.ChargeID != of {
			return ruling{NoticeUnknownOrder, "the refund is of another payment here"}, err
		}
	}
	pays, err := quotedOf(ctx, tx, r.OurID)
	if err != nil {
		return ruling{}, err
	}
	if why := differs(n.Result, citygate.Money{Minor: r.Amount, Currency: r.Currency}, pays, ""); why != "" { // some products name the payment, others the refund
		return ruling{NoticeMismatch, why}, nil
	}
	o := outcome{r.OurID, adapters.Noticed, n.Result}
	was := adapters.State(r.State)
	m, _, err := o.on("refund", r.ID, was, r.SentAt, about, tx.Now)
	if err != nil {
		return ruling{NoticeContradiction, contradicts(was, n.Result)}, nil //nolint:nilerr // it is the ruling
	}
	if was.Final() {
		return ruling{verdict: NoticeKnown}, nil
	}
	contradictions, err := c.applyRefunds(ctx, tx, about, []outcome{o}, func(_ string, a adapters.Action) time.Time { return a.At })
	if err != nil || len(contradictions) > 0 {
		return ruling{}, fmt.Errorf("collect: notice of refund %s: %w", r.OurID, errorOf(err, contradictions))
	}
	return settledOrAsked(m), nil
}

func settledOrAsked(m change) ruling {
	if m.final {
		return ruling{verdict: NoticeApplied}
	}
	return ruling{verdict: NoticeAsked}
}

func contradicts(s adapters.State, r driver.Result) string {
	return fmt.Sprintf("it is %s here, the provider says %s", s, word(r.Outcome))
}

func errorOf(err error, others []error) error {
	if err == nil && len(others) > 0 {
		return others[0]
	}
	return err
}

// quotedOf gives what the payer of a charge pays, or of a refund gets back, in his
// currency by its quote; nothing where it has none.
func quotedOf(ctx context.Context, tx *pg.Tx, ourID string) (citygate.Money, error) {
	quotes, err := quotesOf(ctx, tx, []string{ourID})
	return quotes[ourID].Pays, err
}

// differs says what of a notice is not what was asked for, "" if nothing is. pays is
// the payer's side of it, if there is a quote: a payment at another one is not that
// which was asked for.
func differs(r driver.Result, asked, pays citygate.Money, ref string) string {
	paid := r.Exchange.Paid
	switch {
	case pays != (citygate.Money{}) && paid != (citygate.Money{}) && paid != pays:
		return fmt.Sprintf("the quote says %s, the provider %s", pays, paid)
	case paid.Currency == asked.Currency && paid != asked && paid != (citygate.Money{}):
		return fmt.Sprintf("%s was asked, the payer paid %s", asked, paid)
	case r.Amount != (citygate.Money{}) && r.Amount != asked:
		return fmt.Sprintf("%s was asked, the provider says %s", asked, r.Amount)
	case ref != "" && r.ProviderRef != "" && ref != r.ProviderRef:
		return "the provider gave it another number before"
	}
	return ""
}

// word names an outcome; that nobody can say has no word of its own.
func word(o driver.Outcome) string {
	if o == driver.Unknown {
		return "unknown"
	}
	return string(o)
}

// riderOf gives the provider's name for whom a notice is about.
func riderOf(n driver.Notice) string {
	switch n.Kind {
	case driver.NoticeRider:
		return n.Rider.RiderRef
	case driver.NoticeAgreement:
		if n.Agreement.ID != "" {
			return n.Agreement.ID
		}
		return n.Agreement.RiderRef
	case driver.NoticePayment, driver.NoticeRefund, driver.NoticeReversal, driver.NoticeOther:
	}
	return ""
}

// saidAt is when what a notice says became so, zero if it does not say.
func saidAt(n driver.Notice) time.Time {
	switch n.Kind {
	case driver.NoticeRider:
		return n.Rider.At
	case driver.NoticeAgreement:
		if n.Agreement.State == driver.AgreementEnded {
			return n.Agreement.ValidTo
		}
		return n.Agreement.ValidFrom
	case driver.NoticeReversal:
		return n.Taken.At
	case driver.NoticePayment, driver.NoticeRefund, driver.NoticeOther:
	}
	return time.Time{}
}

// stateOf is the outcome column of a notice.
func stateOf(n driver.Notice) string {
	switch n.Kind {
	case driver.NoticePayment, driver.NoticeRefund:
		return word(n.Result.Outcome)
	case driver.NoticeAgreement:
		return string(n.Agreement.State)
	case driver.NoticeRider:
		return string(n.Rider.State)
	case driver.NoticeReversal:
		return string(n.Taken.State)
	case driver.NoticeOther:
	}
	return ""
}

// digestOf is over everything that a notice says.
func digestOf(n driver.Notice) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range []string{
		string(n.Kind), n.Result.OurID, n.ChargeID, stateOf(n), n.Result.ProviderRef, n.Result.ReasonCode,
		strconv.FormatInt(n.Result.Amount.Minor, 10), string(n.Result.Amount.Currency),
		strconv.FormatInt(n.Result.Returned.Minor, 10), string(n.Result.Returned.Currency), string(n.Result.Advance),
		n.Agreement.OurID, n.Agreement.ID, n.Agreement.RiderRef, n.Rider.RiderRef, n.Rider.ReasonCode,
		strconv.FormatInt(n.Rider.Owes.Minor, 10), string(n.Rider.Owes.Currency), saidAt(n).UTC().Format(time.RFC3339Nano),
	} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	if paid := n.Result.Exchange.Paid; paid != (citygate.Money{}) {
		fmt.Fprintf(h, "paid %s", paid)
	}
	if t := n.Taken; t != (driver.Taken{}) {
		fmt.Fprintf(h, "taken %q %q %s %d %q", t.Reference, t.Of, t.Amount, t.Fee, t.ReasonCode)
		if t.FeeUnsaid {
			fmt.Fprint(h, " fee unsaid")
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}
