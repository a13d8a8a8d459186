package settle

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	operator = citygate.TenantID(12)
	issuer   = citygate.TenantID(7)
)

// world is an operator with a database, a clock and a directory for its files.
type world struct {
	t     *testing.T
	db    *pg.DB
	owner *pgtest.Conn
	s     *Settler
	dir   string
	fail  error             // what the next WriteOnce says, after it wrote
	from  citygate.TenantID // that the journeys' riders are of

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: local(day, 12), dir: t.TempDir(), from: issuer}
	w.db = pgtest.New(t, pgtest.WithClock(w.clock))
	w.owner = pgtest.Owner(t, w.db)
	w.s = w.settler(w.dir)
	return w
}

func (w *world) settler(dir string) *Settler {
	root, err := os.OpenRoot(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = root.Close() })
	s, err := New(Config{DB: w.db, Directory: w, Payees: w, Files: dying{w, Dir{root}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// local is an hour of the business date d, which may be 24 or more.
func local(d citygate.Date, hour int) time.Time {
	return time.Date(d.Year, d.Month, d.Day, hour, 0, 0, 0, hongKong)
}

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) at(now time.Time) { w.mu.Lock(); defer w.mu.Unlock(); w.now = now }

func (w *world) ByID(_ context.Context, id citygate.TenantID) (tenants.Tenant, error) {
	t := minibus
	t.ID = id
	return t, nil
}

// PayeeOf implements [Payees]: a journey's payee is the second byte of its id.
func (w *world) PayeeOf(_ context.Context, _ *pg.Tx, journeys []citygate.UUID) (map[citygate.UUID]Payee, error) {
	payees := map[citygate.UUID]Payee{}
	for _, j := range journeys {
		if j[1] != 0 {
			payees[j] = Payee{fmt.Sprintf("owner:%d", j[1]), w.from}
		}
	}
	return payees, nil
}

// dying is Files of a process that may die after a file was written.
type dying struct {
	w    *world
	kept Dir
}

func (f dying) WriteOnce(ctx context.Context, name string, body []byte) error {
	if err := f.kept.WriteOnce(ctx, name, body); err != nil {
		return err
	}
	err := f.w.fail
	f.w.fail = nil
	return err
}

func (w *world) in(tenant citygate.TenantID, f func(context.Context, *pg.Tx) error) {
	w.t.Helper()
	if err := w.try(tenant, f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) try(tenant citygate.TenantID, f func(context.Context, *pg.Tx) error) error {
	return w.db.InTenant(w.t.Context(), tenant, func(tx *pg.Tx) error { return f(w.t.Context(), tx) })
}

func (w *world) run() {
	w.t.Helper()
	if err := w.s.RunDue(w.t.Context(), operator); err != nil {
		w.t.Fatal(err)
	}
}

// ride names journey number n of a payee.
func ride(n, payee byte) citygate.UUID { return citygate.UUID{n, payee, 6: 0x70, 8: 0x80} }

func item(kind string, journey citygate.UUID, amount int64, ref string) interbook.AdviceItem {
	return interbook.AdviceItem{Journey: journey, Kind: kind, Amount: amount, Ref: ref, Currency: "CNY", At: local(day, 20)}
}

func (w *world) take(from citygate.TenantID, items ...interbook.AdviceItem) error {
	w.t.Helper()
	body, err := json.Marshal(interbook.Advice{Items: items})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.try(operator, func(ctx context.Context, tx *pg.Tx) error { return w.s.HandleAdvice(ctx, tx, from, body) })
}

func (w *world) mustTake(from citygate.TenantID, items ...interbook.AdviceItem) {
	w.t.Helper()
	if err := w.take(from, items...); err != nil {
		w.t.Fatal(err)
	}
}

// decide stores a fare decision of the first day as pricing would.
func (w *world) decide(journey citygate.UUID, n int, payee string, amount int64) (window citygate.Date) {
	w.t.Helper()
	return w.decideOn(day, journey, n, payee, amount)
}

func (w *world) decideOn(date citygate.Date, journey citygate.UUID, n int, payee string, amount int64) (window citygate.Date) {
	w.t.Helper()
	w.in(operator, func(ctx context.Context, tx *pg.Tx) (err error) {
		window, err = w.s.DecisionWindow(ctx, tx, date)
		return err
	})
	var supersedes any
	if n > 1 {
		supersedes = n - 1
	}
	w.owner.Exec(operator, `
		INSERT INTO fare_decisions (tenant_id, journey_id, n, supersedes, taps, issuer_tenant, payee, known, reason, amount, currency,
			tariff_version, inputs_hash, explanation, event_time, business_date, calendar_version, window_date, decided_at, claim_state)
		VALUES ($1, $2, $3, $4, '', 7, $5, true, '', $6, 'CNY', 1, '', '{}', $7, $8, 3, $9, $7, 'none')`,
		int64(operator), journey.String(), n, supersedes, payee, amount, w.clock(), date.Time(), window.Time())
	return window
}

// balance gives an account's debits less credits.
func (w *world) balance(account string) int64 {
	w.t.Helper()
	var net int64
	w.in(operator, func(ctx context.Context, tx *pg.Tx) error {
		all, err := ledger.Balances(ctx, tx, account)
		for _, b := range all {
			if b.Account == account {
				net += b.Net()
			}
		}
		return err
	})
	return net
}

func (w *world) payouts(d citygate.Date) (all []Payout) {
	w.t.Helper()
	w.in(operator, func(ctx context.Context, tx *pg.Tx) (err error) {
		all, err = Payouts(ctx, tx, d)
		return err
	})
	return all
}

// rederive compares the operator's books with what the rows say.
func (w *world) rederive() ledger.Report {
	w.t.Helper()
	r, err := ledger.Check(w.t.Context(), w.db, []citygate.TenantID{operator}, Sources())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) checkPayouts() ledger.Report {
	w.t.Helper()
	r, err := CheckPayouts(w.t.Context(), w.db, []citygate.TenantID{operator})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}
