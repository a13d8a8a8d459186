package recon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The errors of this package.
var (
	ErrReissued = &citygate.Code{Name: "recon.reissued", Kind: citygate.Conflict, Title: "Another bill of that day was imported before. Compare the two files and ask the provider which one holds."}
	ErrBill     = &citygate.Code{Name: "recon.bill", Kind: citygate.Unavailable, Title: "A provider's bill cannot be read. The file is kept; look at it, or wait for the next try."}
	ErrNotOpen  = &citygate.Code{Name: "recon.not_open", Kind: citygate.Conflict, Title: "There is no such open exception. List the open ones."}
)

// chunk is the number of rows matched in one transaction.
const chunk = 2_000

// A Book is what this package needs of the charges and refunds of a tenant.
// Every method speaks of one contract and runs in the caller's transaction.
type Book interface {
	// Touched gives instants, not before since, one at least of every day of the
	// provider whose bill may name a payment.
	Touched(ctx context.Context, tx *pg.Tx, contract string, since time.Time) ([]time.Time, error)
	// Named gives the charges and refunds with these ids of ours, in any state.
	Named(ctx context.Context, tx *pg.Tx, contract string, ourIDs []string) ([]Payment, error)
	// SucceededIn gives the charges, or the refunds, that became final in [from, to)
	// and moved money, by our id behind after, at most limit: fewer are the last
	// ones. Others among them are passed over.
	SucceededIn(ctx context.Context, tx *pg.Tx, contract string, refunds bool, from, to time.Time, after string, limit int) ([]Payment, error)
	// Resolve decides payments whose outcome is not known here: the provider's
	// bill has them, so they succeeded. Doing it again changes nothing.
	Resolve(ctx context.Context, tx *pg.Tx, contract string, lines []Line) error
}

// Files keeps bills as they came. Writing the same content under the same name
// again is no error.
type Files interface {
	WriteFile(ctx context.Context, name string, body []byte) error
}

// A Config is what a [Reconciler] is made of; all of it is required.
type Config struct {
	DB    *pg.DB
	Book  Book
	Files Files
	// Billers gives the contracts of a tenant whose provider gives bills. It is
	// called outside transactions. With an error it gives those it has none about.
	Billers func(ctx context.Context, tenant citygate.TenantID) (map[string]driver.Biller, error)
}

// A Reconciler imports and matches for every tenant. It is safe for concurrent
// use: two runs for one tenant do the work once.
type Reconciler struct{ Config }

// New makes a Reconciler.
func New(c Config) *Reconciler { return &Reconciler{c} }

// ImportDue imports and matches every bill that is due and ready. A contract
// whose provider fails does not keep the others from being reconciled.
func (r *Reconciler) ImportDue(ctx context.Context, tenant citygate.TenantID) error {
	billers, failed := r.Billers(ctx, tenant)
	for _, contract := range slices.Sorted(maps.Keys(billers)) {
		if err := r.contract(ctx, tenant, contract, billers[contract]); err != nil {
			failed = errors.Join(failed, fmt.Errorf("contract %s: %w", contract, err))
		}
	}
	return failed
}

// contract brings one contract up to date, day by day.
func (r *Reconciler) contract(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller) error {
	days, stored, err := r.due(ctx, tenant, contract, biller)
	if err != nil {
		return err
	}
	for _, day := range days {
		if !stored[day] {
			bill, err := biller.FetchBill(ctx, day)
			if errors.Is(err, driver.ErrBillNotReady) {
				return nil // later days are not ready either
			}
			if err != nil {
				return err
			}
			if err := r.store(ctx, tenant, contract, biller, bill); err != nil {
				return err
			}
		}
		if err := r.process(ctx, tenant, contract, biller, day); err != nil {
			return err
		}
	}
	return nil
}

// due lists the days to import, in order: those that payments touched, that
// are over, and that are not processed. stored says which bills are here.
func (r *Reconciler) due(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller) (days []citygate.Date, stored map[citygate.Date]bool, err error) {
	err = r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		days, stored = nil, make(map[citygate.Date]bool)
		pending, last, err := files(ctx, tx, contract)
		if err != nil {
			return err
		}
		for _, day := range pending {
			stored[day] = true
		}
		var since time.Time
		if last != nil {
			since = last.AddDays(-1).Time() // days before the last processed one are processed
		}
		instants, err := r.Book.Touched(ctx, tx, contract, since)
		if err != nil {
			return err
		}
		today := biller.BillDay(tx.Now)
		seen := make(map[citygate.Date]bool)
		for _, day := range append(billDays(biller, instants), pending...) {
			if day.Compare(today) < 0 && !seen[day] && (last == nil || day.Compare(*last) > 0 || stored[day]) {
				seen[day] = true
				days = append(days, day)
			}
		}
		slices.SortFunc(days, citygate.Date.Compare)
		return nil
	})
	return days, stored, err
}

func billDays(biller driver.Biller, instants []time.Time) []citygate.Date {
	days := make([]citygate.Date, len(instants))
	for i, at := range instants {
		days[i] = biller.BillDay(at)
	}
	return days
}

// Import stores and matches a bill that came by another way than FetchBill. The
// same bill again changes nothing.
func (r *Reconciler) Import(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller, bill driver.Bill) error {
	if err := r.store(ctx, tenant, contract, biller, bill); err != nil {
		return err
	}
	return r.process(ctx, tenant, contract, biller, bill.Day)
}

// store keeps the file, reads it and stores its rows. The file is kept first:
// one that cannot be read is the one somebody will want to look at.
func (r *Reconciler) store(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller, bill driver.Bill) error {
	sum := sha256.Sum256(bill.Body)
	name := fileName(tenant, contract, bill, sum)
	if err := r.Files.WriteFile(ctx, name, bill.Body); err != nil {
		return fmt.Errorf("recon: keep the bill %s: %w", name, err)
	}
	return r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		fresh, err := insertFile(ctx, tx, contract, bill.Day, name, sum[:])
		if err != nil || !fresh {
			return err
		}
		rows, err := storeLines(ctx, tx, contract, biller, bill, name)
		if err != nil {
			return err
		}
		return countLines(ctx, tx, contract, bill.Day, rows)
	})
}

// fileName names a bill by tenant, contract, day and content, of letters that
// every file system takes.
func fileName(tenant citygate.TenantID, contract string, bill driver.Bill, sum [sha256.Size]byte) string {
	safe := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
				return r
			}
			return '_'
		}, strings.TrimLeft(s, "."))
	}
	return "bills/" + tenant.String() + "/" + safe(contract) + "/" + bill.Day.String() + "_" + hex.EncodeToString(sum[:4]) + "_" + safe(bill.Name)
}

// process matches the rows of a stored bill and then looks for payments that
// have none.
func (r *Reconciler) process(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller, day citygate.Date) error {
	for more := true; more; {
		var open []Line
		wait := true
		match := func(tx *pg.Tx) (err error) {
			more, open, err = r.match(ctx, tx, contract, day, wait)
			return err
		}
		if err := r.DB.InTenant(ctx, tenant, match); err != nil {
			return err
		}
		if len(open) == 0 {
			continue
		}
		// Deciding posts to the books and so does matching, and a transaction posts
		// once: so this is one of its own, and then the rows are matched.
		err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return r.Book.Resolve(ctx, tx, contract, open) })
		if err != nil {
			return err
		}
		wait = false
		if err := r.DB.InTenant(ctx, tenant, match); err != nil {
			return err
		}
	}
	return r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return r.finish(ctx, tx, contract, biller, day) })
}

// undecided gives the rows that speak of payments whose outcome is open here.
func undecided(lines []Line, known map[string]*Payment) (open []Line) {
	for i := range lines {
		l := &lines[i]
		if p := known[key(l.Refund, l.names())]; p != nil && p.State == Open && p.Currency == l.Currency {
			open = append(open, *l)
		}
	}
	return open
}

// known gives the payments that rows are about, by the key of their item: the
// charges and refunds they name, and the charges that refund rows name.
func (r *Reconciler) known(ctx context.Context, tx *pg.Tx, contract string, lines []Line) (map[string]*Payment, error) {
	ids := make([]string, 0, len(lines))
	for i := range lines {
		ids = append(ids, lines[i].OurID)
		if lines[i].Refund {
			ids = append(ids, lines[i].RefundID)
		}
	}
	payments, err := r.Book.Named(ctx, tx, contract, ids)
	if err != nil {
		return nil, err
	}
	known := make(map[string]*Payment, len(payments))
	for i := range payments {
		known[key(payments[i].IsRefund(), payments[i].OurID)] = &payments[i]
	}
	return known, nil
}

// match gives the next rows their outcomes and reports whether there may be
// more of them. If wait, and rows speak of payments that are open, it gives
// these and does nothing else. The file's row is locked first, so that two runs
// take turns.
func (r *Reconciler) match(ctx context.Context, tx *pg.Tx, contract string, day citygate.Date, wait bool) (more bool, open []Line, err error) {
	from, processed, err := file(ctx, tx, contract, day, forUpdate)
	if err != nil || processed {
		return false, nil, err
	}
	lines, err := next(ctx, tx, contract, day, from)
	if err != nil || len(lines) == 0 {
		return false, nil, err
	}
	known, err := r.known(ctx, tx, contract, lines)
	if err != nil {
		return false, nil, err
	}
	if open = undecided(lines, known); wait && len(open) > 0 {
		return true, open, nil
	}
	items, err := place(ctx, tx, contract, lines, known)
	if err != nil {
		return false, nil, err
	}
	var transfers []ledger.Transfer
	for i := range items {
		transfers = append(transfers, transfersOf(tx.Tenant, &items[i])...)
	}
	if err := advance(ctx, tx, contract, day, lines[len(lines)-1].No); err != nil {
		return false, nil, err
	}
	return true, nil, ledger.Post(ctx, tx, transfers)
}

// place stores the items of rows and gives them as they were stored. The first
// row of a payment is its item; what the item of an earlier one is in the way of
// is either late, where no bill had a row before, or one too many. A row for a
// payment that a person has settled meanwhile is one too many as well: its money
// is booked, and what the row brings has to be looked at.
func place(ctx context.Context, tx *pg.Tx, contract string, lines []Line, known map[string]*Payment) ([]Item, error) {
	first, repeated := make([]Item, 0, len(lines)), []Item(nil)
	at := make(map[string]*Line, len(lines))
	for i := range lines {
		l := &lines[i]
		item := outcome(contract, l, known[key(l.Refund, l.names())], known[key(false, l.OurID)], tx.Now)
		if at[item.Item] != nil {
			repeated = append(repeated, surplus(item, l, l.Day, tx.Now))
			continue
		}
		at[item.Item] = l
		first = append(first, item)
	}
	stored, err := insertItems(ctx, tx, first)
	if err != nil {
		return nil, err
	}
	placed, blocked := first[:0:0], []string(nil)
	for _, item := range first {
		if stored[item.Item] {
			placed = append(placed, item)
		} else {
			blocked = append(blocked, item.Item)
		}
	}
	if len(blocked) > 0 {
		holders, err := taken(ctx, tx, contract, blocked)
		if err != nil {
			return nil, err
		}
		var late []Item
		for _, item := range first {
			if h, there := holders[item.Item]; there && h.settled {
				repeated = append(repeated, surplus(item, at[item.Item], h.day, tx.Now))
			} else if there {
				late = append(late, item)
			}
		}
		if err := giveRows(ctx, tx, late); err != nil {
			return nil, err
		}
		placed = append(placed, late...)
	}
	_, err = insertItems(ctx, tx, repeated)
	return append(placed, repeated...), err
}

// finish names the payments of the day that no bill has and marks the bill as
// processed.
func (r *Reconciler) finish(ctx context.Context, tx *pg.Tx, contract string, biller driver.Biller, day citygate.Date) error {
	_, processed, err := file(ctx, tx, contract, day, forUpdate)
	if err != nil || processed {
		return err
	}
	// A provider's day is somewhere within these instants, whatever its zone and
	// cut; BillDay says which of them are its own.
	from, to := day.AddDays(-1).Time(), day.AddDays(2).Time()
	for _, refunds := range []bool{false, true} {
		if err := r.absent(ctx, tx, contract, biller, day, refunds, from, to); err != nil {
			return err
		}
	}
	return markProcessed(ctx, tx, contract, day)
}
