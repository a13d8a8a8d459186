package recon_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/ledger/ledgertest"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	tenant   citygate.TenantID = 7
	contract                   = "alipay main"
)

// zone is the provider's: its days are not ours.
var zone = time.FixedZone("provider", 8*3600)

// monday at noon of the provider.
var (
	monday = citygate.Date{Year: 2026, Month: time.March, Day: 2}
	noon   = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)
)

// A biller is a provider whose bills are lists of lines.
type biller struct {
	w      *world
	bills  map[citygate.Date][]driver.BillLine
	broken bool
}

func (b *biller) BillDay(at time.Time) citygate.Date { return citygate.DateOf(at.In(zone)) }

func (b *biller) FetchBill(_ context.Context, day citygate.Date) (driver.Bill, error) {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.w.fetched = append(b.w.fetched, day)
	ready := time.Date(day.Year, day.Month, day.Day+1, 9, 0, 0, 0, zone)
	if b.w.now.Before(ready) {
		return driver.Bill{}, fmt.Errorf("%w: %s", driver.ErrBillNotReady, day)
	}
	if b.broken {
		return driver.Bill{}, fmt.Errorf("the provider is away")
	}
	return driver.Bill{Day: day, Name: "bill.csv", Body: fmt.Appendf(nil, "%v", b.bills[day]), Currency: "CNY"}, nil
}

func (b *biller) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	if bytes.Contains(bill.Body, []byte("torn")) {
		return nil, fmt.Errorf("the bill does not add up")
	}
	return b.bills[bill.Day], nil
}

// A world is a tenant with charges, a provider with bills, and a clock.
type world struct {
	t      testing.TB
	db     *pg.DB
	biller *biller
	r      *recon.Reconciler

	mu      sync.Mutex
	now     time.Time
	fetched []citygate.Date
	files   map[string][]byte
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, now: noon, files: make(map[string][]byte)}
	w.db = pgtest.New(t, pgtest.WithClock(func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.now
	}))
	w.biller = &biller{w: w, bills: make(map[citygate.Date][]driver.BillLine)}
	w.r = recon.New(recon.Config{
		DB: w.db, Book: book{}, Files: w,
		Billers: func(context.Context, citygate.TenantID) (map[string]driver.Biller, error) {
			return map[string]driver.Biller{contract: w.biller}, nil
		},
	})
	return w
}

func (w *world) WriteFile(_ context.Context, name string, body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[name] = body
	return nil
}

func (w *world) at(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

func (w *world) in(fn func(tx *pg.Tx) error) {
	w.t.Helper()
	if err := w.db.InTenant(w.t.Context(), tenant, fn); err != nil {
		w.t.Fatal(err)
	}
}

// id makes the id of a charge or refund from its name.
func id(name string) citygate.UUID { return ledger.DeriveID(noon, name) }

// A charge as the collector would have left it.
type charge struct {
	id     string
	amount int64
	fee    int64
	state  string
	final  time.Time
}

const insertCharge = `
	INSERT INTO charges (tenant_id, charge_id, aggregation_id, kind, attempt, our_id, contract, account_id, account_key, payer_ref, amount, currency, fee,
	                     subject, trip_at, business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, passed, released, created_at, sent_at, final_at,
	                     route_version, route_rule, route_finding)
	SELECT $1, u.id, u.id, 'charge', 1, u.our_id, $2, u.id, u.our_id, 'payer', u.amount, 'CNY', u.fee,
	       'ride', $3, '2026-03-02', u.state, false, 1, '', '', '', $3, false, false, $3, $3, u.final_at, 0, '', ''
	FROM unnest($4::uuid[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::timestamptz[]) AS u (id, our_id, amount, fee, state, final_at)
	ON CONFLICT DO NOTHING`

// charges stores charges and books the ones that succeeded.
func (w *world) charges(list ...charge) {
	w.t.Helper()
	w.in(func(tx *pg.Tx) error {
		var transfers []ledger.Transfer
		for part := range slices.Chunk(list, 2000) {
			var ids []citygate.UUID
			var ourIDs, states []string
			var amounts, fees []int64
			var finals []*time.Time
			for _, c := range part {
				ids, ourIDs, states = append(ids, id(c.id)), append(ourIDs, c.id), append(states, c.state)
				amounts, fees = append(amounts, c.amount), append(fees, c.fee)
				var final *time.Time
				if c.state == "succeeded" || c.state == "declined" {
					final = &c.final
				}
				finals = append(finals, final)
				if c.state == "succeeded" {
					transfers = append(transfers, collected(c.id, c.amount, c.fee)...)
				}
			}
			if _, err := tx.Exec(w.t.Context(), insertCharge, int64(tenant), contract, noon, ids, ourIDs, amounts, fees, states, finals); err != nil {
				return err
			}
		}
		return ledger.Post(w.t.Context(), tx, transfers)
	})
}

func collected(ourID string, amount, fee int64) []ledger.Transfer {
	t := []ledger.Transfer{{Debit: ledger.ProviderReceivable(contract), Credit: "rider_receivable:" + ourID, Amount: amount, Code: "charge"}}
	if fee > 0 {
		t = append(t, ledger.Transfer{Debit: ledger.ProviderFeeExpense(contract), Credit: ledger.ProviderReceivable(contract), Amount: fee, Code: "provider_fee"})
	}
	for i := range t {
		t[i].Currency, t[i].Event, t[i].EffectiveAt, t[i].BusinessDate = "CNY", "charge:"+ourID, noon, monday
		t[i] = ledger.NewTransfer(tenant, 0, t[i])
	}
	return t
}

// refund stores a refund of a charge in a state and books it if it succeeded.
func (w *world) refund(ourID, chargeID string, amount int64, state string, final time.Time) {
	w.t.Helper()
	w.in(func(tx *pg.Tx) error {
		var at *time.Time
		if state == "succeeded" {
			at = &final
		}
		_, err := tx.Exec(w.t.Context(), `
			INSERT INTO refunds (tenant_id, refund_id, charge_id, ordinal, our_id, contract, account_id, operator_id, journey_id, n, amount, currency, business_date,
			                     state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, created_at, sent_at, final_at)
			VALUES ($1, $2, $3, 1, $4, $5, $3, 8, $3, 2, $6, 'CNY', '2026-03-02', $7, false, 1, '', '', '', $8, $8, $8, $9)
			ON CONFLICT DO NOTHING`, int64(tenant), id(ourID), id(chargeID), ourID, contract, amount, state, noon, at)
		if err != nil || state != "succeeded" {
			return err
		}
		return ledger.Post(w.t.Context(), tx, []ledger.Transfer{ledger.NewTransfer(tenant, 0, ledger.Transfer{
			Debit: "rider_receivable:" + chargeID, Credit: ledger.ProviderReceivable(contract), Amount: amount, Currency: "CNY",
			Code: "refund", Event: "refund:" + ourID, EffectiveAt: noon, BusinessDate: monday,
		})})
	})
}

// row is a bill row of a payment.
func row(n int, ourID string, amount, fee int64) driver.BillLine {
	return driver.BillLine{Line: n, OurID: ourID, Amount: citygate.Money{Minor: amount, Currency: "CNY"}, Fee: fee, ProviderRef: "p" + ourID, At: noon}
}

func back(n int, chargeID, ourID string, amount int64) driver.BillLine {
	l := row(n, chargeID, -amount, 0)
	l.Refund, l.RefundID = true, ourID
	return l
}

// importAt lets the provider's next morning come.
func (w *world) importAt(at time.Time) {
	w.t.Helper()
	w.at(at)
	if err := w.r.ImportDue(w.t.Context(), tenant); err != nil {
		w.t.Fatal(err)
	}
}

// morning is 09:30 after day at the provider.
func morning(day citygate.Date) time.Time {
	return time.Date(day.Year, day.Month, day.Day+1, 9, 30, 0, 0, zone)
}

func (w *world) count() (c recon.Counts) {
	w.t.Helper()
	w.in(func(tx *pg.Tx) (err error) {
		c, err = recon.Count(w.t.Context(), tx)
		return err
	})
	if done := pgtest.Owner(w.t, w.db).Count(tenant, `SELECT count(*) FROM external_files WHERE tenant_id = $1 AND state = 'stored'`, int64(tenant)); done == 0 && !c.Balanced() {
		w.t.Errorf("the outcomes are not one for each line: %+v", c)
	}
	return c
}

// exceptions gives "kind our_id owner" of all exceptions, in order.
func (w *world) exceptions() (list []string) {
	w.t.Helper()
	w.in(func(tx *pg.Tx) error {
		items, err := recon.Exceptions(w.t.Context(), tx, false, "", "", 1000)
		list = nil
		for _, i := range items {
			list = append(list, fmt.Sprintf("%s %s %s", i.Kind, i.OurID, i.Owner))
		}
		return err
	})
	slices.Sort(list)
	return list
}

func (w *world) held() (list []citygate.UUID) {
	w.t.Helper()
	w.in(func(tx *pg.Tx) (err error) {
		list, err = recon.HeldCharges(w.t.Context(), tx)
		return err
	})
	return list
}

// balance is what an account owes us.
func (w *world) balance(account string) int64 {
	w.t.Helper()
	return ledgertest.Net(w.t, w.db, tenant, account)
}

// settled checks that what the provider still owes is what exceptions explain,
// and that the books say of bills what the items say.
func (w *world) settled() {
	w.t.Helper()
	tenants := []citygate.TenantID{tenant}
	r, err := ledger.CheckClearing(w.t.Context(), w.db, tenants, []string{ledger.PrefixProviderReceivable}, recon.Explained)
	if err != nil || !r.OK() {
		w.t.Errorf("what the provider owes is not explained: %v, %v", r.Findings, err)
	}
	r, err = ledger.Check(w.t.Context(), w.db, tenants, []ledger.Source{recon.Source{}, paymentSource{}})
	if err != nil || !r.OK() {
		w.t.Errorf("the books do not re-derive: %v, %v", r.Findings, err)
	}
}

// paymentSource accepts every transfer that is not reconciliation's as derived.
type paymentSource struct{}

func (paymentSource) Name() string { return "payments" }

func (paymentSource) Derive(ctx context.Context, tx *pg.Tx, yield func(ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `SELECT our_id, amount, fee FROM charges WHERE tenant_id = $1 AND state = 'succeeded'`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	type paid struct {
		ID          string
		Amount, Fee int64
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[paid])
	if err != nil {
		return err
	}
	for _, p := range list {
		for _, t := range collected(p.ID, p.Amount, p.Fee) {
			if err := yield(t); err != nil {
				return err
			}
		}
	}
	rows, err = tx.Query(ctx, `
		SELECT r.our_id, r.amount, 0::bigint, c.our_id
		FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id
		WHERE r.tenant_id = $1 AND r.state = 'succeeded'`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	type given struct {
		ID          string
		Amount, Fee int64
		Charge      string
	}
	refunds, err := pgx.CollectRows(rows, pgx.RowToStructByPos[given])
	if err != nil {
		return err
	}
	for _, g := range refunds {
		if err := yield(ledger.NewTransfer(tenant, 0, ledger.Transfer{
			Debit: "rider_receivable:" + g.Charge, Credit: ledger.ProviderReceivable(contract), Amount: g.Amount, Currency: "CNY",
			Code: "refund", Event: "refund:" + g.ID, EffectiveAt: noon, BusinessDate: monday,
		})); err != nil {
			return err
		}
	}
	return nil
}

// book is the collector's own, but for the collector itself: deciding here is
// an update and a posting.
type book struct{ recon.Payments }

func (book) Resolve(ctx context.Context, tx *pg.Tx, contract string, lines []recon.Line) error {
	var transfers []ledger.Transfer
	for _, l := range lines {
		table, ourID := "charges", l.OurID
		if l.Refund {
			table, ourID = "refunds", l.RefundID
		}
		fee := "fee"
		if l.Refund {
			fee = "0::bigint"
		}
		rows, err := tx.Query(ctx, `UPDATE `+table+` SET state = 'succeeded', final_at = $3 WHERE tenant_id = $1 AND our_id = $2 AND state IN ('sent', 'unknown')
			RETURNING our_id, amount, `+fee, int64(tx.Tenant), ourID, tx.Now)
		if err != nil {
			return err
		}
		type paid struct {
			ID          string
			Amount, Fee int64
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[paid])
		if err != nil {
			return err
		}
		for _, p := range list {
			if !l.Refund {
				transfers = append(transfers, collected(p.ID, p.Amount, p.Fee)...)
			}
		}
	}
	return ledger.Post(ctx, tx, transfers)
}

func joined(list []string) string { return strings.Join(list, ", ") }
