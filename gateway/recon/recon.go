package recon

import (
	"cmp"
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
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The errors of this package.
var (
	ErrReissued = &citygate.Code{Name: "recon.reissued", Kind: citygate.Conflict, Title: "A bill of that day that was made later is imported already. The file is kept and changes nothing; ask the provider which one holds."}
	ErrBill     = &citygate.Code{Name: "recon.bill", Kind: citygate.Unavailable, Title: "A provider's bill cannot be read. The file is kept; look at it, or wait for the next try."}
	ErrNotOpen  = &citygate.Code{Name: "recon.not_open", Kind: citygate.Conflict, Title: "There is no such open exception. List the open ones."}
)

// chunk is the number of rows stored in one statement, and of those judged in one
// transaction; joinRows the number of rows joined in one.
const (
	chunk    = 2_000
	joinRows = 50_000
)

// A Book is what this package needs of the charges and refunds of a tenant.
// Every method speaks of one contract and runs in the caller's transaction.
type Book interface {
	// Touched gives instants, not before since, one at least of every day of the
	// provider whose bill may name a payment.
	Touched(ctx context.Context, tx *pg.Tx, contract string, since time.Time) ([]time.Time, error)
	// Named gives the charges and refunds with these ids of ours, in any state.
	Named(ctx context.Context, tx *pg.Tx, contract string, ourIDs []string) ([]Payment, error)
	// Resolve decides payments whose outcome is not known here: the provider's
	// bill has them, so they succeeded; and records the payments that rows take back.
	// Doing it again changes nothing.
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
	// Bulkhead has bills fetched beside each other and beside the caller of ImportDue;
	// nil = within it, one contract after another.
	Bulkhead *collect.Bulkhead
}

// A Reconciler imports and matches for every tenant. It is safe for concurrent
// use: two runs for one tenant do the work once.
type Reconciler struct {
	Config
	rows  int  // joined in one transaction; 0 = joinRows
	apart bool // corrects everything thing by thing, which comes to the same
}

// New makes a Reconciler.
func New(c Config) *Reconciler { return &Reconciler{Config: c} }

func (r *Reconciler) part() int { return cmp.Or(r.rows, joinRows) }

// ImportDue imports and matches every bill that is due and ready. A contract
// whose provider fails does not keep the others from being reconciled.
func (r *Reconciler) ImportDue(ctx context.Context, tenant citygate.TenantID) error {
	billers, failed := r.Billers(ctx, tenant)
	for _, contract := range slices.Sorted(maps.Keys(billers)) {
		err := r.Bulkhead.Do(ctx, collect.TaskBills, tenant, contract, func(ctx context.Context) error {
			err := r.contract(ctx, tenant, contract, billers[contract])
			if err == nil {
				err = r.recheck(ctx, tenant, contract, billers[contract])
			}
			return err
		})
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("contract %s: %w", contract, err))
		}
	}
	return failed
}

// contract brings one contract up to date, day by day.
func (r *Reconciler) contract(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller) error {
	days, pending, err := r.due(ctx, tenant, contract, biller)
	if err != nil {
		return err
	}
	for _, day := range days {
		if b, here := pending[day]; here {
			if err := r.process(ctx, tenant, biller, b); err != nil {
				return err
			}
			continue
		}
		file, err := biller.FetchBill(ctx, day)
		if errors.Is(err, driver.ErrBillNotReady) {
			return nil // later days are not ready either
		}
		if err != nil {
			return err
		}
		if err := r.take(ctx, tenant, contract, biller, file, true); err != nil {
			return err
		}
	}
	return nil
}

// due lists the days to import, in order: those that payments touched, that
// are over, and that are not processed. pending gives the bills that are here.
func (r *Reconciler) due(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller) (days []citygate.Date, pending map[citygate.Date]bill, err error) {
	err = r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		var last *citygate.Date
		var err error
		days = nil
		if pending, last, err = files(ctx, tx, contract); err != nil {
			return err
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
		for _, day := range slices.AppendSeq(billDays(biller, instants), maps.Keys(pending)) {
			if _, here := pending[day]; day.Compare(today) < 0 && !seen[day] && (last == nil || day.Compare(*last) > 0 || here) {
				seen[day] = true
				days = append(days, day)
			}
		}
		slices.SortFunc(days, citygate.Date.Compare)
		return nil
	})
	return days, pending, err
}

func billDays(biller driver.Biller, instants []time.Time) []citygate.Date {
	days := make([]citygate.Date, len(instants))
	for i, at := range instants {
		days[i] = biller.BillDay(at)
	}
	return days
}

// Import stores and matches a bill that came by another way than FetchBill. A bill
// that was taken once changes nothing when it comes again, also after another one of
// its day, since nobody knows how old it is; another one of the same day corrects it.
func (r *Reconciler) Import(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller, file driver.Bill) error {
	return r.take(ctx, tenant, contract, biller, file, false)
}

// take keeps a file, reads it, stores its rows and gives them their outcomes. The file
// is kept first: one that cannot be read is the one somebody will want to look at.
// What is stored of the day and not processed yet is processed before. fetched says
// that the file is what the provider has for the day now.
func (r *Reconciler) take(ctx context.Context, tenant citygate.TenantID, contract string, biller driver.Biller, file driver.Bill, fetched bool) error {
	sum := sha256.Sum256(file.Body)
	name := fileName(tenant, contract, file, sum)
	if err := r.Files.WriteFile(ctx, name, file.Body); err != nil {
		return fmt.Errorf("recon: keep the bill %s: %w", name, err)
	}
	var before []stored
	err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		before, err = issues(ctx, tx, contract, file.Day)
		return err
	})
	if err != nil {
		return err
	}
	if len(before) > 0 && !before[0].processed {
		if err := r.process(ctx, tenant, biller, before[0].bill); err != nil {
			return err
		}
	}
	issue, err := issueOf(before, file, sum[:], fetched, func() ([]byte, error) { return digest(biller, file, name) })
	if err != nil || issue == 0 {
		return err
	}
	b := bill{contract, file.Day, issue}
	err = r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		fresh, err := insertFile(ctx, tx, b, name, sum[:], file.Issued)
		if err != nil || !fresh {
			return err
		}
		rows, content, err := storeLines(ctx, tx, b, biller, file, name)
		if err != nil {
			return err
		}
		if issue > 1 {
			if err := tx.Audit(ctx, pg.AuditEntry{
				Actor: "system:recon", Verb: "recon.reissue", Object: contract + "/" + file.Day.String(), After: map[string]any{"issue": issue, "file": name},
			}); err != nil {
				return err
			}
		}
		return describe(ctx, tx, b, rows, content)
	})
	if err != nil {
		return err
	}
	return r.process(ctx, tenant, biller, b)
}

// fileName names a bill by tenant, contract, day and content, of letters that
// every file system takes.
func fileName(tenant citygate.TenantID, contract string, file driver.Bill, sum [sha256.Size]byte) string {
	safe := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
				return r
			}
			return '_'
		}, strings.TrimLeft(s, "."))
	}
	return "bills/" + tenant.String() + "/" + safe(contract) + "/" + file.Day.String() + "_" + hex.EncodeToString(sum[:4]) + "_" + safe(file.Name)
}

// process gives every row of a stored bill its outcome, and then looks for payments
// that have no row. Of another issue it is what it says otherwise.
func (r *Reconciler) process(ctx context.Context, tenant citygate.TenantID, biller driver.Biller, b bill) error {
	work := r.first
	if b.issue > 1 {
		work = r.correct
	}
	if err := work(ctx, tenant, b); err != nil {
		return err
	}
	return r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return r.finish(ctx, tx, biller, b) })
}

// first gives the rows of a day's first bill their outcomes: those that are plainly
// right by joining them to the payments, part by part; then, few by few, the others.
func (r *Reconciler) first(ctx context.Context, tenant citygate.TenantID, b bill) error {
	for more := true; more; {
		err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			more, err = r.join(ctx, tx, b)
			return err
		})
		if err != nil {
			return err
		}
	}
	for behind, more := 0, true; more; {
		var open []Line
		last, wait := behind, true
		judge := func(tx *pg.Tx) (err error) {
			last, open, err = r.judge(ctx, tx, b, behind, wait)
			return err
		}
		if err := r.DB.InTenant(ctx, tenant, judge); err != nil {
			return err
		}
		if len(open) > 0 {
			// Deciding posts to the books and so does matching, and a transaction posts
			// once: so this is one of its own, and then the rows are matched.
			err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return r.Book.Resolve(ctx, tx, b.contract, open) })
			if err != nil {
				return err
			}
			wait = false
			if err := r.DB.InTenant(ctx, tenant, judge); err != nil {
				return err
			}
		}
		more, behind = last > behind, last
	}
	return nil
}

// join matches the next part of a bill's rows and reports whether there was one. The
// file's row is locked first, so that two runs take turns.
func (r *Reconciler) join(ctx context.Context, tx *pg.Tx, b bill) (more bool, err error) {
	from, processed, err := lock(ctx, tx, b)
	if err != nil || processed {
		return false, err
	}
	last, err := partEnd(ctx, tx, b, from, r.part())
	if err != nil || last == 0 {
		return false, err
	}
	if err := advance(ctx, tx, b, last); err != nil {
		return false, err
	}
	return true, matchPart(ctx, tx, b, from, last)
}

// undecided gives the rows that speak of payments whose outcome is open here, those that
// take payments back of which nobody told us, and those that say the fee of one that was told without.
func undecided(lines []Line, known map[string]*Payment) (open []Line) {
	for i := range lines {
		l := &lines[i]
		p, of := known[key(l.Refund, l.names())], known[key(false, l.OurID)]
		switch {
		case p != nil && p.State == Open && p.Currency == l.Currency:
			open = append(open, *l)
		case p != nil && p.FeeUnsaid && p.Currency == l.Currency && p.signed() == l.Amount:
			open = append(open, *l) // the bill says its fee
		case p == nil && l.Reversed && l.Amount < 0 && of != nil && of.State == Succeeded && of.Currency == l.Currency:
			open = append(open, *l) // we hear of it by the bill
		case p == nil && l.Refund && !l.Reversed && of != nil && of.Unnamed != 0 && of.Unnamed == -l.Amount && of.Currency == l.Currency:
			open = append(open, *l) // the bill says what it calls the money of a reversed payment
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
			ids = append(ids, lines[i].names())
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

// judge gives the next rows behind one that have no outcome theirs, and gives the
// last of them. If wait, and rows speak of payments that are open, it gives these and
// does nothing else. The file's row is locked first, so that two runs take turns.
func (r *Reconciler) judge(ctx context.Context, tx *pg.Tx, b bill, behind int, wait bool) (last int, open []Line, err error) {
	_, processed, err := lock(ctx, tx, b)
	if err != nil || processed {
		return behind, nil, err
	}
	lines, err := rest(ctx, tx, b, behind)
	if err != nil || len(lines) == 0 {
		return behind, nil, err
	}
	known, err := r.known(ctx, tx, b.contract, lines)
	if err != nil {
		return behind, nil, err
	}
	if open = undecided(lines, known); wait && len(open) > 0 {
		return behind, open, nil
	}
	items, err := place(ctx, tx, b, lines, known)
	if err != nil {
		return behind, nil, err
	}
	var transfers []ledger.Transfer
	for i := range items {
		transfers = append(transfers, transfersOf(tx.Tenant, &items[i])...)
	}
	return lines[len(lines)-1].No, nil, ledger.Post(ctx, tx, transfers)
}

// plain orders what says the same as our book before what does not.
func plain(i Item) int {
	if i.Kind == Matched {
		return 0
	}
	return 1
}

// place stores the items of rows and gives them as they were stored. The first
// row of a payment that says what our book says, or else its first, is its item; what the item of an earlier one is in the way of
// is either late, where no bill had a row before, or one too many. A row for a
// payment that a person has settled meanwhile is one too many as well: its money
// is booked, and what the row brings has to be looked at.
func place(ctx context.Context, tx *pg.Tx, b bill, lines []Line, known map[string]*Payment) ([]Item, error) {
	first, repeated := make([]Item, 0, len(lines)), []Item(nil)
	at := make(map[string]*Line, len(lines))
	outcomes := make([]Item, len(lines))
	order := make([]int, len(lines))
	for i := range lines {
		l := &lines[i]
		outcomes[i], order[i] = outcome(b.contract, l, known[key(l.Refund, l.names())], known[key(false, l.OurID)], tx.Now), i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(plain(outcomes[a]), plain(outcomes[b])) })
	for _, n := range order {
		l, item := &lines[n], outcomes[n]
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
		holders, err := taken(ctx, tx, b.contract, blocked)
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
		if err := giveRows(ctx, tx, b, late); err != nil {
			return nil, err
		}
		placed = append(placed, late...)
	}
	_, err = insertItems(ctx, tx, repeated)
	return append(placed, repeated...), err
}

// finish names the payments of the day that no bill has and marks the bill as
// processed.
func (r *Reconciler) finish(ctx context.Context, tx *pg.Tx, biller driver.Biller, b bill) error {
	_, processed, err := lock(ctx, tx, b)
	if err != nil || processed {
		return err
	}
	from, to := span(biller, b.day)
	if err := nameMissing(ctx, tx, b.contract, b.day, from, to); err != nil {
		return err
	}
	return markProcessed(ctx, tx, b)
}
