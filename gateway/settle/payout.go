package settle

import (
	"context"
	"encoding/base32"
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
	State           string // created, sent
	CSVFile         string
	XMLFile         string
	BusinessDate    citygate.Date
	CalendarVersion int
	CreatedAt       time.Time
	SentAt          *time.Time
}

// newPayout makes the payout of a window to a payee. Its id follows from what it
// is for, so that the same payout made again is the same row.
func newPayout(tx *pg.Tx, cal citygate.Calendar, window citygate.Date, t total) Payout {
	id := ledger.DeriveID(tx.Now, "payout", tx.Tenant.String(), window.String(), t.payee, string(t.currency))
	return Payout{
		ID: id, WindowDate: window, Payee: t.payee, Currency: t.currency, Amount: t.amount, Receipts: t.rows,
		EndToEndID: endToEnd(id), State: "created",
		BusinessDate: cal.BusinessDate(tx.Now), CalendarVersion: cal.Version, CreatedAt: tx.Now,
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
		Code: "payout", Event: "payout:" + p.ID.String(), EffectiveAt: p.CreatedAt, BusinessDate: p.BusinessDate,
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
			return payWindow(ctx, tx, cal, d)
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
func payWindow(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, d citygate.Date) error {
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
	var payouts []Payout
	paid := map[citygate.Currency]int64{}
	for _, t := range sums {
		if t.amount > 0 {
			payouts = append(payouts, newPayout(tx, cal, d, t))
			paid[t.currency] += t.amount
		}
	}
	if _, err := insertReceipts(ctx, tx, rows); err != nil {
		return err
	}
	if err := insertPayouts(ctx, tx, payouts); err != nil {
		return err
	}
	if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "window.pay", Object: d.String(),
		After: map[string]any{"payouts": len(payouts), "paid_minor": paid, "carried": len(rows)}}); err != nil {
		return err
	}
	transfers := make([]ledger.Transfer, len(payouts))
	for i := range payouts {
		transfers[i] = payouts[i].transfer(tx.Tenant)
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
			amount: moved, window: d, date: cal.BusinessDate(tx.Now), calendar: cal.Version, at: tx.Now,
		})
	}
	return sums, rows, nil
}

// writeFiles writes the files of payouts that were created and not sent. It may
// die anywhere and run again: the files are made from the rows, and one that is
// there already is compared and kept.
func (s *Settler) writeFiles(ctx context.Context, t tenants.Tenant, cal citygate.Calendar) error {
	var windows []citygate.Date
	err := s.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
		windows, err = windowsToWrite(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range windows {
		var payouts []Payout
		if err := s.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
			payouts, err = Payouts(ctx, tx, d)
			return err
		}); err != nil {
			return err
		}
		if err := s.writeWindow(ctx, t, cal, d, payouts); err != nil {
			return err
		}
	}
	return nil
}

// writeWindow writes the two files of a window and notes it.
func (s *Settler) writeWindow(ctx context.Context, t tenants.Tenant, cal citygate.Calendar, d citygate.Date, payouts []Payout) error {
	csvBody := renderCSV(t, payouts)
	xmlBody, err := renderXML(t, cal, d, payouts)
	if err != nil {
		return err
	}
	csvName, xmlName := fileName(t, d, "csv"), fileName(t, d, "xml")
	if err := s.Files.WriteOnce(ctx, csvName, csvBody); err != nil {
		return err
	}
	if err := s.Files.WriteOnce(ctx, xmlName, xmlBody); err != nil {
		return err
	}
	return s.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
		n, err := markSent(ctx, tx, d, csvName, xmlName)
		if err != nil || n == 0 {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "payout.send", Object: d.String(),
			After: map[string]any{"payouts": n, "csv": csvName, "xml": xmlName}})
	})
}

// fileName names a payout file by tenant and window.
func fileName(t tenants.Tenant, d citygate.Date, ending string) string {
	return "payout-" + t.Slug + "-" + d.String() + "." + ending
}
