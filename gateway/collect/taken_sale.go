package collect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Worth is what a sale whose payment was taken back is worth, in minor units of its
// price.
type Worth struct {
	// Used is what its rider had of it, or the seller got to keep when it ended: this he pays.
	Used int64
	// Keeps is what the seller keeps of a payment that stands, by the sale's own rule;
	// at least Used.
	Keeps int64
}

// A payment of a sale: of its price, or of a debt that a reversal left of it.
type salePayment struct {
	charge   citygate.UUID
	ourID    string
	contract string
	price    bool  // it is of the price
	amount   int64 // that came in by it
	refunded int64 // that went back or is on its way
	declined int64 // that is owed back, and the provider declined to give
	taken    int64 // that the provider took back, less what it returned
	returned int64
	lost     int64 // of what was taken beyond what it held, what was lost for good

	unowed, givenUp int64 // booked
}

// holds is what is left of it; negative: more was taken than it held.
func (p *salePayment) holds() int64 { return p.amount - p.refunded - p.taken }

// A takenSale is a sale of which a payment was taken back, with all that is booked of it.
type takenSale struct {
	id       citygate.UUID
	account  citygate.UUID
	currency citygate.Currency
	payments []salePayment // that of the price first
	owed     int64         // by debts that are open or given up, and not paid
	kept     int64
	parts    int
}

// saleTargets is what should be booked of a takenSale.
type saleTargets struct {
	owed    int64
	kept    int64
	back    int64   // to be given back, what the provider declined to give included
	unowed  []int64 // by payment
	givenUp []int64
}

// aim gives the targets. The rider pays what he used, no more: what his payments hold of
// it counts, the rest he owes. What they hold beyond that goes back to him, save what came
// back by a dispute that was won: of that the seller keeps what the sale's own rule lets it
// keep. What was taken beyond what a payment held was the rider's already, and is claimed
// from the provider.
func (s *takenSale) aim(w Worth) (t saleTargets) {
	var held, returned int64
	t.unowed, t.givenUp = make([]int64, len(s.payments)), make([]int64, len(s.payments))
	for i := range s.payments {
		p := &s.payments[i]
		held += max(0, p.holds())
		t.unowed[i] = max(0, -p.holds())
		t.givenUp[i] = min(t.unowed[i], p.lost)
		if p.price {
			returned += p.returned
		}
	}
	if t.owed = max(0, w.Used-held); t.owed > 0 {
		return t
	}
	left := held - w.Used
	t.kept = min(left, max(0, w.Keeps-w.Used), returned)
	t.back = left - t.kept
	return t
}

// A saleLine is one row of taken_sale_lines.
type saleLine struct {
	sale     citygate.UUID
	part     int
	kind     string
	debt     citygate.UUID // of an owed one
	charge   citygate.UUID // of an unowed one
	account  citygate.UUID
	contract string
	amount   int64
	currency citygate.Currency
	date     citygate.Date
	at       time.Time
}

const (
	saleOwed    = "owed"
	saleUnowed  = "unowed"
	saleGivenUp = "given_up"
	saleKept    = "kept"
)

// transfer gives what the line does to the books.
func (l *saleLine) transfer(tenant citygate.TenantID) ledger.Transfer {
	t := ledger.Transfer{Event: "taken:" + l.sale.String() + "/" + strconv.Itoa(l.part), Amount: l.amount, Currency: l.currency, EffectiveAt: l.at, BusinessDate: l.date,
		Credit: ledger.Prepaid(l.sale)}
	switch l.kind {
	case saleOwed:
		t.Debit, t.Code = ledger.RiderDebt(l.account), codeSaleOwed
	case saleUnowed:
		t.Debit, t.Code = ledger.Suspense(l.contract), codeReversalMore
	case saleGivenUp:
		t.Debit, t.Credit, t.Code = ledger.WriteOff(l.contract), ledger.Suspense(l.contract), codeReversalLost
	default:
		t.Debit, t.Credit, t.Code = ledger.Prepaid(l.sale), ledger.ProductIncome(), codeSaleKept
	}
	return ledger.NewTransfer(tenant, 0, t)
}

// reverseSale applies a reversal of a payment of a sale: what was bought ends, and what
// its rider used of it and has not paid any more he owes.
func (c *Collector) reverseSale(ctx context.Context, tx *pg.Tx, v *ReversalView, sale citygate.UUID) error {
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	if _, err := c.Sales.End(ctx, tx, sale); err != nil { // its locks come before those of its payments
		return err
	}
	ch, err := lockSold(ctx, tx, v.Contract, v.Charge)
	if err != nil || ch == nil {
		return err
	}
	v.Sale, v.charge, v.Account, v.State = sale, ch.ID, ch.Account, reversalOpen
	v.AppliedAt, v.date = tx.Now.UTC().Truncate(time.Microsecond), settings.Calendar.BusinessDate(tx.Now)
	if err := storeApplied(ctx, tx, v); err != nil {
		return err
	}
	if err := takeSale(ctx, tx, sale); err != nil {
		return err
	}
	if err := ledger.Post(ctx, tx, v.transfers(tx.Tenant)); err != nil {
		return err
	}
	unowed, err := c.settleSale(ctx, tx, sale, v)
	if err != nil {
		return err
	}
	v.Covered = v.Amount.Minor - v.Owed - min(max(0, unowed), v.Amount.Minor-v.Owed)
	if err := storeApplied(ctx, tx, v); err != nil {
		return err
	}
	return c.applyOutcomes(ctx, tx, v)
}

// concludeSale books the outcomes of a sale's reversal. Money that came back is the sale's
// again.
func (c *Collector) concludeSale(ctx context.Context, tx *pg.Tx, v *ReversalView, waiting []outcomeRow) error {
	if _, err := c.Sales.End(ctx, tx, v.Sale); err != nil {
		return err
	}
	if err := c.bookOutcomes(ctx, tx, v, waiting, func(o *outcomeRow) *int64 { return &o.toSale }); err != nil {
		return err
	}
	_, err := c.settleSale(ctx, tx, v.Sale, nil)
	return err
}

// bookOutcomes stores and books the outcomes of a reversal that no ride's debt is for. What was
// won goes whole where to says.
func (c *Collector) bookOutcomes(ctx context.Context, tx *pg.Tx, v *ReversalView, waiting []outcomeRow, to func(*outcomeRow) *int64) error {
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	for i := range waiting {
		o := &waiting[i]
		o.of, o.at, o.date = *v, tx.Now.UTC().Truncate(time.Microsecond), settings.Calendar.BusinessDate(tx.Now)
		if o.Outcome == ReversalWon {
			*to(o) = o.Amount
			v.Returned += o.Amount
		} else {
			v.State, v.ClosedAt = ReversalLost, o.at
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

// settleSale brings what is owed, given back, claimed and kept of a sale of which a payment
// was taken back to what it should be. v is the reversal that is being applied, if one is:
// what is owed more is its debt. It gives what is claimed from providers more than before. A debt that is being
// collected is left as it is until that is over.
func (c *Collector) settleSale(ctx context.Context, tx *pg.Tx, sale citygate.UUID, v *ReversalView) (unowed int64, err error) {
	worth, err := c.Sales.End(ctx, tx, sale)
	if err != nil {
		return 0, err
	}
	s, err := takenSaleOf(ctx, tx, sale)
	if err != nil {
		return 0, err
	}
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return 0, err
	}
	b := &saleBooking{c: c, s: s, date: settings.Calendar.BusinessDate(tx.Now), at: tx.Now.UTC().Truncate(time.Microsecond)}
	t := s.aim(worth)
	for i := range s.payments {
		p := &s.payments[i]
		unowed += t.unowed[i] - p.unowed
		b.add(saleLine{kind: saleUnowed, charge: p.charge, contract: p.contract, amount: t.unowed[i] - p.unowed})
		b.add(saleLine{kind: saleGivenUp, charge: p.charge, contract: p.contract, amount: t.givenUp[i] - p.givenUp})
	}
	b.add(saleLine{kind: saleKept, contract: s.payments[0].contract, amount: t.kept - s.kept})
	if err := b.owe(ctx, tx, t.owed, v); err != nil {
		return 0, err
	}
	if err := b.giveBack(ctx, tx, t); err != nil {
		return 0, err
	}
	return unowed, b.store(ctx, tx)
}

// A saleBooking collects what is booked of one sale in one transaction.
type saleBooking struct {
	c     *Collector
	s     *takenSale
	date  citygate.Date
	at    time.Time
	lines []saleLine
	debts []citygate.UUID // that became others
	busy  bool            // something must wait
	deny  citygate.UUID
}

func (b *saleBooking) add(l saleLine) {
	if l.amount == 0 {
		return
	}
	l.sale, l.part, l.account, l.currency, l.date, l.at = b.s.id, b.s.parts+len(b.lines), b.s.account, b.s.currency, b.date, b.at
	b.lines = append(b.lines, l)
}

// owe has the rider owe so much of the sale: a debt more, or less of those there are.
func (b *saleBooking) owe(ctx context.Context, tx *pg.Tx, target int64, v *ReversalView) error {
	switch {
	case target > b.s.owed:
		return b.open(ctx, tx, target-b.s.owed, v)
	case target == b.s.owed:
		return nil
	}
	debts, err := saleDebts(ctx, tx, b.s.id)
	if err != nil {
		return err
	}
	less := b.s.owed - target
	for _, id := range debts {
		if less == 0 {
			break
		}
		d, busy, err := lockDebt(ctx, tx, id)
		if err != nil {
			return err
		}
		if busy {
			b.busy = true
			continue
		}
		if d.State != debtOpen && (d.State != debtWrittenOff || !d.RepaidAt.IsZero()) {
			continue
		}
		off := min(less, d.Left.Minor)
		if off == 0 {
			continue
		}
		if err := b.c.lowerDebt(ctx, tx, id, off); err != nil {
			return err
		}
		b.add(saleLine{kind: saleOwed, debt: id, contract: b.s.payments[0].contract, amount: -off})
		b.debts, less = append(b.debts, id), less-off
	}
	b.busy = b.busy || less > 0 // one was paid just now: what was paid counts when this is looked at again
	return nil
}

// open opens a debt.
func (b *saleBooking) open(ctx context.Context, tx *pg.Tx, amount int64, v *ReversalView) error {
	if v == nil { // nothing but a reversal makes a rider owe more
		return ErrLost.Because(nil, "sale %s: %d more are owed, and no payment was taken back", b.s.id, amount)
	}
	ch, err := lockSold(ctx, tx, v.Contract, v.Charge)
	if err != nil {
		return err
	}
	v.Owed = amount
	if v.Debt, err = openReversed(ctx, tx, ch, amount); err != nil {
		return err
	}
	terms, err := b.c.terms.At(ctx, tx, tx.Now)
	if err != nil {
		return err
	}
	of := terms.Contract(ch.Contract)
	blocks := of.Blocked([]risk.Debt{of.Opened(amount, risk.Past{}, true, tx.Now)}, tx.Now)
	if err := oweAgain(ctx, tx, v, ch, blocks); err != nil {
		return err
	}
	if blocks {
		b.deny = v.Account
	}
	b.add(saleLine{kind: saleOwed, debt: v.Debt, contract: ch.Contract, amount: amount})
	b.debts = append(b.debts, v.Debt)
	return nil
}

// giveBack has given back what the payments hold too much, what debts were paid by first.
func (b *saleBooking) giveBack(ctx context.Context, tx *pg.Tx, t saleTargets) error {
	parts, anew := b.s.parted(t.back)
	if anew {
		if err := dropDeclined(ctx, tx, b.s.id); err != nil {
			return err
		}
	}
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] == 0 {
			continue
		}
		if _, err := createSaleRefund(ctx, tx, b.s.id, b.s.payments[i].charge, parts[i], b.date); err != nil {
			return err
		}
	}
	return nil
}

// parted gives what is to be asked back of each payment so that back of them goes back in
// all. A refund that the provider declined waits for somebody, as every one does, while all
// of it is owed still and its payment holds it; else what is owed is asked for anew. What
// waits is not asked for a second time.
func (s *takenSale) parted(back int64) (parts []int64, anew bool) {
	var declined int64
	for i := range s.payments {
		p := &s.payments[i]
		declined += p.declined
		anew = anew || p.declined > max(0, p.holds())
	}
	if anew = anew || declined > back; !anew {
		back -= declined
	}
	parts = make([]int64, len(s.payments))
	for i := len(s.payments) - 1; i >= 0; i-- {
		p := &s.payments[i]
		free := max(0, p.holds())
		if !anew {
			free -= p.declined
		}
		parts[i] = min(back, free)
		back -= parts[i]
	}
	return parts, anew
}

// store books the lines, and tells who bears what of the debts.
func (b *saleBooking) store(ctx context.Context, tx *pg.Tx) error {
	if err := storeSaleLines(ctx, tx, b.lines); err != nil {
		return err
	}
	if err := markSettled(ctx, tx, b.s.id, b.busy); err != nil {
		return err
	}
	if len(b.debts) > 0 {
		advices, err := b.c.spread(ctx, tx, b.debts)
		if err != nil {
			return err
		}
		if err := b.c.tell(ctx, tx, advices); err != nil {
			return err
		}
	}
	if b.deny.IsZero() {
		return nil
	}
	return b.c.Accounts.DenyAccounts(ctx, tx, []citygate.UUID{b.deny}, DenyDeclined)
}

// settleSales looks again at sales of which a payment was taken back: those of which rides
// use another part by now, and those that waited for a payment under way.
func (c *Collector) settleSales(ctx context.Context, tenant citygate.TenantID) error {
	if c.Sales == nil {
		return nil
	}
	var due []citygate.UUID
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if due, err = c.Sales.Changed(ctx, tx, passBatch); err != nil {
			return err
		}
		more, err := unsettledSales(ctx, tx)
		due = sortedUnique(append(due, more...))
		return err
	})
	if err != nil || len(due) == 0 {
		return err
	}
	if err := c.PassBack(ctx, tenant); err != nil {
		return err
	}
	var failed error
	for _, sale := range due {
		if err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			_, err := c.settleSale(ctx, tx, sale, nil)
			return err
		}); err != nil {
			failed = errors.Join(failed, fmt.Errorf("collect, tenant %d, sale %s: %w", tenant, sale, err))
		}
	}
	return failed
}

// returned tells of a sale's refund that became certain. Of one that was taken back the
// rest is brought in line.
func (c *Collector) returnedOf(ctx context.Context, tx *pg.Tx, r *refund) error {
	if err := c.Sales.Returned(ctx, tx, r.Journey, r.State == string(adapters.Succeeded)); err != nil {
		return err
	}
	taken, err := isTaken(ctx, tx, r.Journey)
	if err != nil || !taken {
		return err
	}
	_, err = c.settleSale(ctx, tx, r.Journey, nil)
	return err
}
