package collect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of reversals.
var (
	ErrReversal      = &citygate.Code{Name: "reversal.invalid", Kind: citygate.Invalid, Title: "The reversal cannot be recorded as it is written. Correct the named field."}
	ErrReversalOther = &citygate.Code{Name: "reversal.other_content", Kind: citygate.Conflict, Title: "The provider's reference was recorded with other content. Compare the two; nothing was changed."}
	ErrNoReversal    = &citygate.Code{Name: "reversal.not_found", Kind: citygate.NotFound, Title: "There is no such reversal. List the reversals of the tenant."}
	ErrNoCharge      = &citygate.Code{Name: "reversal.no_charge", Kind: citygate.NotFound, Title: "No payment of that contract has this id. Name it as the provider's bill does."}
	ErrReversalOver  = &citygate.Code{Name: "reversal.closed", Kind: citygate.Conflict, Title: "The reversal has its outcome. A further one is recorded under its own reference."}
)

// The states of a reversal.
const (
	reversalWaiting = "waiting" // its payment is not known to have succeeded
	reversalOpen    = "open"
	ReversalWon     = "won"
	ReversalLost    = "lost"
)

// The sources of what is heard of reversals.
const (
	FromBill   = "bill"
	FromNotice = "notice"
	FromPerson = "person"
)

// A Reversal is a collected payment, or a part of one, that the provider took back:
// a chargeback, a returned debit.
type Reversal struct {
	Contract  string
	Reference string // the provider's own; the same again is the same reversal
	Charge    string // what the provider knows the payment by: our id
	Amount    citygate.Money
	Fee       int64 // what the provider keeps for it
	FeeUnsaid bool  // nobody has said that yet; Fee is 0
	Reason    string
	Source    string
}

// A ReversalOutcome is what became of a reversal that was disputed with the provider.
type ReversalOutcome struct {
	Reversal  citygate.UUID
	Reference string // the provider's own for it
	Outcome   string // ReversalWon or ReversalLost
	Amount    int64  // of a won one what came back, perhaps a part
	Fee       int64  // what the provider keeps for it; negative: gave back
	FeeUnsaid bool   // nobody has said that yet; Fee is 0
	Reason    string
	Source    string
}

// A ReversalView is a reversal as it is kept.
type ReversalView struct {
	Reversal
	ID         citygate.UUID
	State      string
	Account    citygate.UUID // zero while it waits
	Debt       citygate.UUID // zero: nobody owes anything by it
	Sale       citygate.UUID // whose price, or whose debt, the payment was of; zero: it was of fares
	Owed       int64         // what riders owe again; the rest was not theirs when it was taken
	Covered    int64         // of a sale: what nobody had used of it
	Till       citygate.UUID // the payment at a till that it was; zero: it was none
	Borne      int64         // of that: what it still held, which its payee or the tenant bears
	Returned   int64
	RecordedBy string
	RecordedAt time.Time
	AppliedAt  time.Time
	ClosedAt   time.Time
	Pending    bool // an outcome waits for a payment under way

	charge citygate.UUID
	date   citygate.Date // of the books
	late   lateFee
}

// A lateFee is when a fee was said, if that was after what it is for was booked.
type lateFee struct {
	at time.Time
	on citygate.Date
}

// transfer gives what a fee does.
func (l *lateFee) transfer(tenant citygate.TenantID, t ledger.Transfer, fee int64) []ledger.Transfer {
	if fee == 0 {
		return nil
	}
	if !l.at.IsZero() {
		t.EffectiveAt, t.BusinessDate = l.at, l.on
	}
	t.Code, t.Amount = codeReversalFee, fee
	return []ledger.Transfer{ledger.NewTransfer(tenant, 0, t)}
}

// beyond is what was taken and is not owed by a rider.
func (v *ReversalView) beyond() int64 { return v.Amount.Minor - v.Owed - v.Covered - v.Borne }

// transfers gives what an applied reversal does: the rider owes again what was taken;
// what was more than the payment still held is claimed from the provider.
func (v *ReversalView) transfers(tenant citygate.TenantID) (out []ledger.Transfer) {
	if v.State == reversalWaiting {
		return nil
	}
	t := ledger.Transfer{Event: "reversal:" + v.Contract + "/" + v.Reference, Credit: ledger.ProviderReceivable(v.Contract), Currency: v.Amount.Currency,
		EffectiveAt: v.AppliedAt, BusinessDate: v.date}
	type part struct {
		debit, code string
		amount      int64
	}
	parts := []part{{ledger.RiderDebt(v.Account), codeReversal, v.Owed}, {ledger.Suspense(v.Contract), codeReversalMore, v.beyond()}}
	switch {
	case !v.Sale.IsZero(): // what of it is owed, and by whom, lines of the sale say
		parts = []part{{ledger.Prepaid(v.Sale), codeReversal, v.Amount.Minor}}
	case !v.Till.IsZero(): // lines of the payment say who bears it (package till)
		parts = nil
	}
	for _, part := range parts {
		if part.amount != 0 {
			t.Debit, t.Code, t.Amount = part.debit, part.code, part.amount
			out = append(out, ledger.NewTransfer(tenant, 0, t))
		}
	}
	return append(out, v.feeTransfers(tenant)...)
}

func (v *ReversalView) feeTransfers(tenant citygate.TenantID) []ledger.Transfer {
	return v.late.transfer(tenant, ledger.Transfer{Event: "reversal:" + v.Contract + "/" + v.Reference, Debit: ledger.ReversalFee(v.Contract),
		Credit: ledger.ProviderReceivable(v.Contract), Currency: v.Amount.Currency, EffectiveAt: v.AppliedAt, BusinessDate: v.date}, v.Fee)
}

// An outcomeRow is one row of reversal_outcomes with its reversal.
type outcomeRow struct {
	ReversalOutcome
	id         citygate.UUID
	toDebt     int64 // off the open debt
	toRider    int64 // refunded, as the rider has paid or owes no more
	toSuspense int64 // of what was not owed; of a lost one what is given up of it
	toSale     int64 // to the sale that the payment was of
	toTill     int64 // to the payment at a till; its lines book it
	at         time.Time
	date       citygate.Date
	late       lateFee
	of         ReversalView
}

// transfers gives what an applied outcome does.
func (o *outcomeRow) transfers(tenant citygate.TenantID) (out []ledger.Transfer) {
	contract, receivable := o.of.Contract, ledger.ProviderReceivable(o.of.Contract)
	t := ledger.Transfer{Event: "reversal:" + contract + "/" + o.of.Reference + "/" + o.Reference, Currency: o.of.Amount.Currency, EffectiveAt: o.at, BusinessDate: o.date}
	add := func(debit, credit, code string, amount int64) {
		if amount != 0 {
			t.Debit, t.Credit, t.Code, t.Amount = debit, credit, code, amount
			out = append(out, ledger.NewTransfer(tenant, 0, t))
		}
	}
	if o.Outcome == ReversalLost && o.of.Till.IsZero() {
		add(ledger.WriteOff(contract), ledger.Suspense(contract), codeReversalLost, o.toSuspense)
	} else {
		add(receivable, ledger.RiderDebt(o.of.Account), codeReversalWon, o.toDebt)
		add(receivable, ledger.RiderReceivable(o.of.Account), codeReversalRider, o.toRider)
		add(receivable, ledger.Suspense(contract), codeReversalMore, o.toSuspense)
		add(receivable, ledger.Prepaid(o.of.Sale), codeReversalWon, o.toSale)
	}
	return append(out, o.feeTransfers(tenant)...)
}

func (o *outcomeRow) feeTransfers(tenant citygate.TenantID) []ledger.Transfer {
	return o.late.transfer(tenant, ledger.Transfer{Event: "reversal:" + o.of.Contract + "/" + o.of.Reference + "/" + o.Reference, Debit: ledger.ReversalFee(o.of.Contract),
		Credit: ledger.ProviderReceivable(o.of.Contract), Currency: o.of.Amount.Currency, EffectiveAt: o.at, BusinessDate: o.date}, o.Fee)
}

func reasonable(reason string) bool {
	n := len([]rune(strings.TrimSpace(reason)))
	return n >= 3 && n <= 500
}

func referable(reference string) bool {
	return reference != "" && len(reference) <= 64 && strings.TrimSpace(reference) == reference
}

// Reverse records that a payment was taken back. As soon as the payment is known to
// have succeeded, which may be at once, its rider owes that much again: a debt of its
// own, of the fares that the payment held, borne by whom rules and terms name. The same
// reference again changes nothing.
func (c *Collector) Reverse(ctx context.Context, actor string, tenant citygate.TenantID, r Reversal) (ReversalView, error) {
	switch {
	case !referable(r.Reference):
		return ReversalView{}, ErrReversal.Explain("reference: want the provider's own, of 1 to 64 characters")
	case r.Amount.Minor <= 0 || r.Fee < 0 || r.FeeUnsaid && r.Fee != 0 || !r.Amount.Currency.Valid():
		return ReversalView{}, ErrReversal.Explain("want a positive amount, and a fee that is not negative")
	case !reasonable(r.Reason):
		return ReversalView{}, ErrReversal.Explain("reason: want 3 to 500 characters")
	}
	if err := c.PassBack(ctx, tenant); err != nil { // what is told of its fares comes first
		return ReversalView{}, err
	}
	var v ReversalView
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		v, _, err = c.reverse(ctx, tx, actor, &r)
		return err
	})
	return v, err
}

// byBill is who recorded what a bill said.
const byBill = "system:bill"

// ReverseByBill takes a bill's word that a payment was taken back. What cannot be
// recorded changes nothing: the bill's row is an exception then.
func (c *Collector) ReverseByBill(ctx context.Context, tx *pg.Tx, r Reversal) error {
	r.Source, r.Reason = FromBill, "the provider's bill"
	if !referable(r.Reference) || r.Amount.Minor <= 0 || r.Fee < 0 {
		return nil
	}
	_, _, err := c.reverse(ctx, tx, byBill, &r)
	if errors.Is(err, ErrReversal) || errors.Is(err, ErrReversalOther) || errors.Is(err, ErrNoCharge) {
		return nil // refused before anything was stored
	}
	return err
}

func (c *Collector) reverse(ctx context.Context, tx *pg.Tx, actor string, r *Reversal) (v ReversalView, fresh bool, err error) {
	if err := chargeable(ctx, tx, r); err != nil {
		return v, false, err
	}
	if fresh, err = insertReversal(ctx, tx, actor, r); err != nil {
		return v, false, err
	}
	if v, err = lockReversal(ctx, tx, r.Contract, r.Reference); err != nil || !fresh {
		if err == nil {
			fresh, err = c.again(ctx, tx, actor, &v, r)
		}
		return v, fresh, err
	}
	if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "reversal.record", Object: "reversal:" + v.ID.Text("rvs_"),
		After: map[string]any{"contract": r.Contract, "reference": r.Reference, "payment": r.Charge, "amount": r.Amount, "fee": r.Fee, "reason": r.Reason}}); err != nil {
		return v, false, err
	}
	if err := c.applyReversal(ctx, tx, &v); err != nil {
		return v, true, err
	}
	return v, true, c.takeEarly(ctx, tx, &v)
}

// again compares what is told of a reversal with what was recorded of it, and books a fee
// that was not said before; it reports whether it did.
func (c *Collector) again(ctx context.Context, tx *pg.Tx, actor string, v *ReversalView, r *Reversal) (said bool, err error) {
	said = v.FeeUnsaid && !r.FeeUnsaid
	if v.Charge != r.Charge || v.Amount != r.Amount || v.Fee != r.Fee && !said && !r.FeeUnsaid {
		return false, ErrReversalOther.Explain("it was recorded as %d %s of %s with a fee of %d", v.Amount.Minor, v.Amount.Currency, v.Charge, v.Fee)
	}
	if !said {
		return false, nil
	}
	return true, c.sayFee(ctx, tx, actor, v, r.Fee)
}

// Conclude records what became of a reversal that was disputed with the provider. Won
// money comes off the debt that is open for it; a rider who has paid that meanwhile
// gets it back. The same reference again changes nothing.
func (c *Collector) Conclude(ctx context.Context, actor string, tenant citygate.TenantID, o ReversalOutcome) (ReversalView, error) {
	if !reasonable(o.Reason) {
		return ReversalView{}, ErrReversal.Explain("reason: want 3 to 500 characters")
	}
	if err := o.check(); err != nil {
		return ReversalView{}, err
	}
	if err := c.PassBack(ctx, tenant); err != nil {
		return ReversalView{}, err
	}
	var v ReversalView
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if v, err = lockReversalID(ctx, tx, o.Reversal); err != nil {
			return err
		}
		_, err = c.conclude(ctx, tx, actor, &v, &o)
		return err
	})
	return v, err
}

// check refuses an outcome that no reversal can have.
func (o *ReversalOutcome) check() error {
	won := o.Outcome == ReversalWon
	switch {
	case !referable(o.Reference):
		return ErrReversal.Explain("reference: want the provider's own, of 1 to 64 characters")
	case !won && o.Outcome != ReversalLost:
		return ErrReversal.Explain("outcome: want won or lost")
	case won != (o.Amount > 0) || o.Amount < 0:
		return ErrReversal.Explain("amount: what came back, of a won one alone")
	}
	return nil
}

// conclude stores a checked outcome of a locked reversal and books it, at once or when
// its payment is over. It refuses before it changes anything.
func (c *Collector) conclude(ctx context.Context, tx *pg.Tx, actor string, v *ReversalView, o *ReversalOutcome) (fresh bool, err error) {
	was, found, err := outcomeOf(ctx, tx, v.ID, o.Reference)
	if err != nil || found {
		said := was.FeeUnsaid && !o.FeeUnsaid
		switch {
		case err != nil:
			return false, err
		case was.Outcome != o.Outcome || was.Amount != o.Amount || was.Fee != o.Fee && !said && !o.FeeUnsaid:
			return false, ErrReversalOther.Explain("it was recorded as %s, %d with a fee of %d", was.Outcome, was.Amount, was.Fee)
		case said:
			was.of = *v
			return true, c.sayOutcomeFee(ctx, tx, actor, &was, o.Fee)
		}
		return false, nil
	}
	pending, err := promised(ctx, tx, v.ID)
	switch {
	case err != nil:
		return false, err
	case v.State == ReversalWon || v.State == ReversalLost:
		return false, ErrReversalOver.Explain("it is %s", v.State)
	case o.Amount > v.Amount.Minor-v.Returned-pending:
		return false, ErrReversal.Explain("amount: %d of it are still with the provider", v.Amount.Minor-v.Returned-pending)
	}
	if err := insertOutcome(ctx, tx, actor, o); err != nil {
		return false, err
	}
	if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "reversal.conclude", Object: "reversal:" + v.ID.Text("rvs_"),
		Before: map[string]any{"state": v.State, "returned": v.Returned},
		After:  map[string]any{"outcome": o.Outcome, "reference": o.Reference, "amount": o.Amount, "fee": o.Fee, "reason": o.Reason}}); err != nil {
		return false, err
	}
	return true, c.applyOutcomes(ctx, tx, v)
}

// reverseDue settles sales, outcomes that came early and reversals that waited for a
// payment's outcome. One that fails holds up none of the others.
func (c *Collector) reverseDue(ctx context.Context, tenant citygate.TenantID) error {
	return errors.Join(c.settleSales(ctx, tenant), c.earlyDue(ctx, tenant), c.waitingDue(ctx, tenant))
}

// waitingDue applies reversals whose payment has its outcome by now.
func (c *Collector) waitingDue(ctx context.Context, tenant citygate.TenantID) error {
	var waiting []citygate.UUID
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		waiting, err = reversalsDue(ctx, tx)
		return err
	})
	if err != nil || len(waiting) == 0 {
		return err
	}
	if err := c.PassBack(ctx, tenant); err != nil {
		return err
	}
	var failed error
	for _, id := range waiting {
		err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			v, err := lockReversalID(ctx, tx, id)
			if err != nil {
				return err
			}
			if v.State == reversalWaiting {
				return c.applyReversal(ctx, tx, &v)
			}
			return c.applyOutcomes(ctx, tx, &v)
		})
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("collect, tenant %d, reversal %s: %w", tenant, id, err))
		}
	}
	return failed
}

// applyReversal books a reversal whose payment has succeeded. Of the fares that the
// payment still holds, that much moves to a debt of its own; what is taken beyond them
// (they were refunded already) is nobody's debt and is claimed from the provider.
func (c *Collector) applyReversal(ctx context.Context, tx *pg.Tx, v *ReversalView) error {
	sale, paid, err := saleOf(ctx, tx, v.Contract, v.Charge)
	if err != nil || !sale.IsZero() && !paid {
		return err // it waits
	}
	if !sale.IsZero() {
		return c.reverseSale(ctx, tx, v, sale)
	}
	payment, paid, err := tillOf(ctx, tx, v.Contract, v.Charge)
	if err != nil || !payment.IsZero() && !paid {
		return err // it waits
	}
	if !payment.IsZero() {
		return c.reverseTill(ctx, tx, v, payment)
	}
	ch, released, err := lockPaid(ctx, tx, v.Contract, v.Charge)
	if err != nil || ch == nil {
		return err // it waits
	}
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	all, err := heldBy(ctx, tx, ch.Aggregation)
	if err != nil {
		return err
	}
	parts, err := divide(all, v.Amount.Minor)
	if err != nil {
		return err
	}
	for _, p := range parts {
		v.Owed += p.amount
	}
	v.charge, v.Account, v.State, v.AppliedAt, v.date = ch.ID, ch.Account, reversalOpen, tx.Now.UTC().Truncate(time.Microsecond), settings.Calendar.BusinessDate(tx.Now)
	blocks := false
	if v.Owed > 0 {
		if v.Debt, err = openReversed(ctx, tx, ch, v.Owed); err != nil {
			return err
		}
		terms, err := c.terms.At(ctx, tx, tx.Now)
		if err != nil {
			return err
		}
		of := terms.Contract(ch.Contract)
		blocks = of.Blocked([]risk.Debt{of.Opened(v.Owed, risk.Past{}, true, tx.Now)}, tx.Now)
		if err := oweAgain(ctx, tx, v, ch, blocks); err != nil {
			return err
		}
		if err := moveHeld(ctx, tx, v, ch.Aggregation, v.Debt, parts, 1); err != nil {
			return err
		}
	}
	if err := storeApplied(ctx, tx, v); err != nil {
		return err
	}
	if err := ledger.Post(ctx, tx, v.transfers(tx.Tenant)); err != nil || v.Owed == 0 {
		return err
	}
	if err := c.tellReversed(ctx, tx, ch.ID, v.Debt, released); err != nil {
		return err
	}
	if blocks {
		if err := c.Accounts.DenyAccounts(ctx, tx, []citygate.UUID{v.Account}, DenyDeclined); err != nil {
			return err
		}
	}
	return c.applyOutcomes(ctx, tx, v)
}

// tellReversed tells operators what a change of a payment and of the debt it left means
// to them, both in one message: what was paid over of it goes back or comes again, and
// whoever bears the debt bears more or less.
func (c *Collector) tellReversed(ctx context.Context, tx *pg.Tx, charge, debt citygate.UUID, released bool) error {
	if err := unrelease(ctx, tx, charge); err != nil {
		return err
	}
	var advices []advice
	var err error
	if released {
		if advices, err = clearedNow(ctx, tx, []citygate.UUID{charge}); err != nil {
			return err
		}
	}
	borne, err := c.spread(ctx, tx, []citygate.UUID{debt})
	if err != nil {
		return err
	}
	return c.tell(ctx, tx, append(advices, borne...))
}

// applyOutcomes books the outcomes of an applied reversal that are not booked yet. One
// that comes while its debt is being collected waits until that is over.
func (c *Collector) applyOutcomes(ctx context.Context, tx *pg.Tx, v *ReversalView) error {
	waiting, err := outcomesDue(ctx, tx, v.ID)
	if err != nil || len(waiting) == 0 || v.State == reversalWaiting {
		v.Pending = len(waiting) > 0
		return err
	}
	if !v.Sale.IsZero() {
		return c.concludeSale(ctx, tx, v, waiting)
	}
	if !v.Till.IsZero() {
		return c.concludeTill(ctx, tx, v, waiting)
	}
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	for i := range waiting {
		o := &waiting[i]
		o.of, o.at, o.date = *v, tx.Now.UTC().Truncate(time.Microsecond), settings.Calendar.BusinessDate(tx.Now)
		applied := true
		if o.Outcome == ReversalLost {
			o.toSuspense = v.beyond() - max(0, v.Returned-v.Owed)
			v.State, v.ClosedAt = ReversalLost, o.at
		} else if applied, err = c.giveBack(ctx, tx, v, o); err != nil {
			return err
		}
		if !applied {
			v.Pending = true
			return nil
		}
		if v.Returned == v.Amount.Minor {
			v.State, v.ClosedAt = ReversalWon, o.at
		}
		if err := storeConcluded(ctx, tx, v, o); err != nil {
			return err
		}
		if err := ledger.Post(ctx, tx, o.transfers(tx.Tenant)); err != nil {
			return err
		}
	}
	return nil
}

// giveBack takes what the provider returned off the debt, as far as that is open, and
// has the rest refunded: its rider has paid again, or owes less since.
func (c *Collector) giveBack(ctx context.Context, tx *pg.Tx, v *ReversalView, o *outcomeRow) (bool, error) {
	fares := min(o.Amount, max(0, v.Owed-v.Returned))
	o.toSuspense = o.Amount - fares
	v.Returned += o.Amount
	if fares == 0 {
		return true, nil
	}
	ch, released, err := lockPaid(ctx, tx, v.Contract, v.Charge)
	if err != nil || ch == nil {
		return false, err
	}
	d, busy, err := lockDebt(ctx, tx, v.Debt)
	if err != nil {
		return false, err
	}
	if busy { // being collected, or divided
		v.Returned -= o.Amount
		return false, nil
	}
	left, err := sharesLeft(ctx, tx, v.ID)
	if err != nil {
		return false, err
	}
	parts, err := divide(left, fares)
	if err != nil {
		return false, err
	}
	open := map[citygate.UUID]int64{} // what of each fare is in the debt
	if d.State == debtOpen || d.State == debtWrittenOff && d.RepaidAt.IsZero() {
		still, err := heldBy(ctx, tx, v.Debt)
		if err != nil {
			return false, err
		}
		for _, h := range still {
			open[h.journey] = h.amount
		}
	}
	var off, rest []held
	for _, p := range parts {
		x := min(p.amount, open[p.journey])
		o.toDebt, o.toRider = o.toDebt+x, o.toRider+p.amount-x
		if y := p; x < p.amount {
			y.amount -= x
			rest = append(rest, y)
		}
		if p.amount = x; x > 0 {
			off = append(off, p)
		}
	}
	if err := moveHeld(ctx, tx, v, v.Debt, ch.Aggregation, off, -1); err != nil {
		return false, err
	}
	if err := refundReturned(ctx, tx, v, ch, rest); err != nil {
		return false, err
	}
	if o.toDebt > 0 {
		if err := c.lowerDebt(ctx, tx, v.Debt, o.toDebt); err != nil {
			return false, err
		}
	}
	return true, c.tellReversed(ctx, tx, ch.ID, v.Debt, released)
}
