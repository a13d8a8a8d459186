package settle

import (
	"cmp"
	"context"
	"encoding/base32"
	"slices"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Payout is what a payee gets for a window.
type Payout struct {
	ID              citygate.UUID
	WindowDate      citygate.Date
	Payee           string
	Currency        citygate.Currency
	Amount          int64
	Receipts        int64 // how many rows it adds up
	EndToEndID      string
	State           string // held, created, sent, cancelled
	CSVFile         string
	XMLFile         string
	BusinessDate    citygate.Date
	CalendarVersion int
	CreatedAt       time.Time
	SentAt          *time.Time
	Batch           int        // 0 = what was paid with the window; what is released together has one
	HeldFor         string     // why it waits or waited for a release; "" = it did not
	ReleasedAt      *time.Time // it was booked then
	ReleasedBy      string
	PayTo           string // who gets it in the place of Payee, whom it is owed to; "" = Payee
	CancelledAt     *time.Time
	CancelledBy     string
}

// Recipient is who gets the money.
func (p *Payout) Recipient() string { return cmp.Or(p.PayTo, p.Payee) }

// The states of a payout.
const (
	stateHeld    = "held" // waits for a release: owed, booked nowhere and in no file
	stateCreated = "created"

	stateCancelled = "cancelled" // owed again
)

// booked is when the payout left the book.
func (p *Payout) booked() time.Time {
	if p.ReleasedAt != nil {
		return *p.ReleasedAt
	}
	return p.CreatedAt
}

// newPayout makes the payout of a window to a payee. Its id follows from what it
// is for, so that the same payout made again is the same row.
func newPayout(tx *pg.Tx, cal citygate.Calendar, window citygate.Date, t total) Payout {
	id := ledger.DeriveID(tx.Now, "payout", tx.Tenant.String(), window.String(), t.payee, string(t.currency))
	return Payout{
		ID: id, WindowDate: window, Payee: t.payee, Currency: t.currency, Amount: t.amount, Receipts: t.rows,
		EndToEndID: endToEnd(id), State: stateCreated,
		BusinessDate: cal.BusinessDate(tx.Now), CalendarVersion: versionAt(cal, tx.Now), CreatedAt: tx.Now,
	}
}

// endToEnd gives the 26 characters by which a bank statement finds the payout.
func endToEnd(id citygate.UUID) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(id[:])
}

// transfer gives what a payout posts. It is used to post and to derive again.
func (p *Payout) transfer(tenant citygate.TenantID) ledger.Transfer {
	return ledger.NewTransfer(tenant, 0, ledger.Transfer{
		Debit: ledger.Payable(p.Payee), Credit: ledger.Bank(), Amount: p.Amount, Currency: p.Currency,
		Code: "payout", Event: "payout:" + p.ID.String(), EffectiveAt: p.booked(), BusinessDate: p.BusinessDate,
	})
}

// PayDue pays every window whose time has come, oldest first, and writes the
// files of all payouts that have none.
func (s *Settler) PayDue(ctx context.Context, tenant citygate.TenantID) error {
	t, cal, err := s.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	for {
		paid := false
		err := s.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			d, ok, err := lockDueToPay(ctx, tx)
			paid = ok
			if err != nil || !ok {
				return err
			}
			return payWindow(ctx, tx, t.Currency, cal, d)
		})
		if err != nil {
			return err
		}
		if !paid {
			return s.writeFiles(ctx, t, cal)
		}
	}
}

// payWindow pays the window of d, which is locked and closed.
func payWindow(ctx context.Context, tx *pg.Tx, currency citygate.Currency, cal citygate.Calendar, d citygate.Date) error {
	if err := takeProducts(ctx, tx, cal, d); err != nil {
		return err
	}
	sums, err := received(ctx, tx, d)
	if err != nil {
		return err
	}
	if err := markPaid(ctx, tx, d); err != nil {
		return err
	}
	sums, rows, err := carry(ctx, tx, cal, d, sums)
	if err != nil {
		return err
	}
	rules, err := RulesOfPayouts(ctx, tx)
	if err != nil {
		return err
	}
	var payouts []Payout
	held := 0
	paid, waits := map[citygate.Currency]int64{}, map[citygate.Currency]int64{}
	for _, t := range sums {
		if t.amount <= 0 {
			continue
		}
		p := newPayout(tx, cal, d, t)
		if p.HeldFor = rules.holds(currency, p); p.HeldFor != "" {
			p.State = stateHeld
			held++
			waits[t.currency] += t.amount
		} else {
			paid[t.currency] += t.amount
		}
		payouts = append(payouts, p)
	}
	if _, err := insertReceipts(ctx, tx, rows); err != nil {
		return err
	}
	if err := insertPayouts(ctx, tx, payouts); err != nil {
		return err
	}
	if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "window.pay", Object: d.String(),
		After: map[string]any{"payouts": len(payouts) - held, "paid_minor": paid, "carried": len(rows), "held": held, "held_minor": waits}}); err != nil {
		return err
	}
	var transfers []ledger.Transfer
	for i := range payouts {
		if payouts[i].State != stateHeld {
			transfers = append(transfers, payouts[i].transfer(tx.Tenant))
		}
	}
	return ledger.Post(ctx, tx, transfers)
}

// carry sets what the window d received off against what payees still have to
// make good. A sum that is then negative is taken out of the window, and what
// was set off is put into it. It gives the sums to pay and the rows that say so;
// a payee for whom nothing came in has none, and waits.
func carry(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, d citygate.Date, sums []total) ([]total, []receipt, error) {
	waiting, err := outstanding(ctx, tx)
	if err != nil || len(sums) == 0 {
		return nil, nil, err
	}
	type of struct {
		payee    string
		currency citygate.Currency
	}
	owed := make(map[of]int64, len(waiting))
	for _, t := range waiting {
		owed[of{t.payee, t.currency}] = t.amount
	}
	for _, t := range waiting { // what a cancelled payout left is paid though nothing else came in
		if t.amount > 0 && !slices.ContainsFunc(sums, func(s total) bool { return s.payee == t.payee && s.currency == t.currency }) {
			sums = append(sums, total{payee: t.payee, currency: t.currency})
		}
	}
	var rows []receipt
	for i := range sums {
		t := &sums[i]
		moved := max(owed[of{t.payee, t.currency}], -t.amount)
		if moved == 0 {
			continue
		}
		t.amount, t.rows = t.amount+moved, t.rows+1
		rows = append(rows, receipt{
			kind: carried, ref: d.String() + " " + string(t.currency) + " " + t.payee, issuer: tx.Tenant, payee: t.payee, currency: t.currency,
			amount: moved, window: d, date: cal.BusinessDate(tx.Now), calendar: versionAt(cal, tx.Now), at: tx.Now,
		})
	}
	return sums, rows, nil
}

// writeFiles writes the files of payouts that were created and not sent. It may
// die anywhere and run again: the files are made from the rows, and one that is
// there already is compared and kept.
func (s *Settler) writeFiles(ctx context.Context, t tenants.Tenant, cal citygate.Calendar) error {
	var orders []order
	err := s.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
		orders, err = ordersToWrite(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	for _, o := range orders {
		var payouts []Payout
		if err := s.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
			payouts, err = payoutsOf(ctx, tx, o)
			return err
		}); err != nil {
			return err
		}
		if err := s.writeOrder(ctx, t, cal, o, payouts); err != nil {
			return err
		}
	}
	return nil
}

// An order is what one pair of files orders: the payouts of a window that did
// not wait, or a batch of it that was released.
type order struct {
	Window citygate.Date
	Batch  int
}

func (o order) String() string {
	if o.Batch == 0 {
		return o.Window.String()
	}
	return o.Window.String() + "-r" + strconv.Itoa(o.Batch)
}

// writeOrder writes the two files of an order and notes it.
func (s *Settler) writeOrder(ctx context.Context, t tenants.Tenant, cal citygate.Calendar, o order, payouts []Payout) error {
	csvBody := renderCSV(t, payouts)
	xmlBody, err := renderXML(t, cal, o, payouts)
	if err != nil {
		return err
	}
	csvName, xmlName := fileName(t, o, "csv"), fileName(t, o, "xml")
	if err := s.Files.WriteOnce(ctx, csvName, csvBody); err != nil {
		return err
	}
	if err := s.Files.WriteOnce(ctx, xmlName, xmlBody); err != nil {
		return err
	}
	return s.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
		n, err := markSent(ctx, tx, o, csvName, xmlName)
		if err != nil || n == 0 {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payout.send", Object: o.String(),
			After: map[string]any{"payouts": n, "csv": csvName, "xml": xmlName}})
	})
}

// fileName names a payout file by tenant and order.
func fileName(t tenants.Tenant, o order, ending string) string {
	return "payout-" + t.Slug + "-" + o.String() + "." + ending
}
