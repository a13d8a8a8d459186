package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/ledger/ledgertest"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	issuer = citygate.TenantID(1)
	metro  = citygate.TenantID(2)
	bus    = citygate.TenantID(3)
	feePPM = 6_000
)

var (
	morning = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	today   = citygate.Date{Year: 2026, Month: time.November, Day: 21}
	closed  = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC) // six hours after the date's end
)

type handClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *handClock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *handClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = t
}
func (c *handClock) add(d time.Duration) { c.set(c.now().Add(d)) }

// bank stands in for the tenant's credentials: rider n has account n.
type bank struct {
	mu      sync.Mutex
	denied  map[citygate.UUID]bool
	copied  []citygate.Rider
	missing map[uint32]bool
}

func rider(n uint32) citygate.Rider { return citygate.Rider{Issuer: 9, List: 1, Index: n} }
func accountID(n uint32) (u citygate.UUID) {
	u[0], u[13], u[14], u[15] = 1, byte(n>>16), byte(n>>8), byte(n)
	return u
}

func (b *bank) AccountsOf(_ context.Context, _ *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]Account, error) {
	out := map[citygate.Rider]Account{}
	for _, r := range riders {
		if !b.missing[r.Index] {
			out[r] = Account{ID: accountID(r.Index), Key: fmt.Sprintf("payer%06d", r.Index), Contract: "box", PayerRef: fmt.Sprintf("payer%06d", r.Index)}
		}
	}
	return out, nil
}

func (b *bank) DenyAccounts(_ context.Context, _ *pg.Tx, ids []citygate.UUID, _ string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		b.denied[id] = true
	}
	return nil
}

func (b *bank) LiftAccounts(_ context.Context, _ *pg.Tx, ids []citygate.UUID, _ string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		delete(b.denied, id)
	}
	return nil
}

func (b *bank) DenyRiders(_ context.Context, _ *pg.Tx, riders []citygate.Rider, _ string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.copied = append(b.copied, riders...)
	return nil
}

// receipts keeps what is told to the tenant's own operator side.
type receipts struct{ items []interbook.AdviceItem }

func (r *receipts) TakeAdvice(_ context.Context, _ *pg.Tx, _ citygate.TenantID, items []interbook.AdviceItem) error {
	r.items = append(r.items, items...)
	return nil
}

type queue struct{}

func (queue) Enqueue(context.Context, pgx.Tx, []pg.Job) error { return nil }

// A city is an issuer with a sandbox provider.
type city struct {
	*Collector
	t     testing.TB
	clock *handClock
	bank  *bank
	own   *receipts
	box   *sandbox.Provider
	rules Rules
}

func newCity(t testing.TB, options ...pgtest.Option) *city {
	t.Helper()
	c := &city{t: t, clock: &handClock{at: morning}, bank: &bank{denied: map[citygate.UUID]bool{}, missing: map[uint32]bool{}}, own: &receipts{}, rules: DefaultRules()}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	config, _ := json.Marshal(sandbox.Config{FeePPM: feePPM, BatchMax: batchMax(t), FirstRide: true, Recoveries: true})
	if c.box, err = sandbox.Open(root, c.clock.now, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.box.Close() })
	db := pgtest.New(t, append([]pgtest.Option{pgtest.WithClock(c.clock.now), pgtest.WithEnqueuer(queue{})}, options...)...)
	c.Collector = New(Config{
		DB: db, Accounts: c.bank, Receipts: c.own, Prove: proveText,
		Settings: func(context.Context, citygate.TenantID) (Settings, error) {
			return Settings{Rules: c.rules, Calendar: citygate.Calendar{Version: 1, Location: time.UTC, Cut: 4 * time.Hour}, Currency: "HKD", CapUnit: 100}, nil
		},
		Provider: func(context.Context, citygate.TenantID, Contract) (*adapters.Provider, error) {
			return adapters.New(c.box, c.clock.now), nil
		},
	})
	c.in(func(tx *pg.Tx) error {
		return AddContract(t.Context(), tx, "test", Contract{Name: "box", Adapter: "sandbox", FeePPM: feePPM})
	})
	return c
}

func (c *city) in(fn func(tx *pg.Tx) error) {
	c.t.Helper()
	if err := c.DB.InTenant(c.t.Context(), issuer, fn); err != nil {
		c.t.Fatal(err)
	}
}

// Codes in these tests are text: "list/index#counter", and anything after a
// blank makes another code of the same display.
func text(r uint32, ctr uint16, more string) []byte {
	return []byte(strings.TrimSpace(fmt.Sprintf("1/%d#%d %s", r, ctr, more)))
}

// proofMade gives when codes were made; nil = in the morning.
var proofMade func() time.Time

func proveText(_ context.Context, _ *pg.Tx, raw [][]byte) ([]Proof, error) {
	out := make([]Proof, len(raw))
	for i, b := range raw {
		u := code.Use{Rider: citygate.Rider{Issuer: 9}}
		if _, err := fmt.Sscanf(string(b), "%d/%d#%d", &u.Rider.List, &u.Rider.Index, &u.Counter); err != nil {
			out[i].Reason = code.Malformed
			continue
		}
		out[i] = Proof{Use: u, Cap: 100, GeneratedAt: morning.Unix(), ExpiresAt: morning.Add(72 * time.Hour).Unix(), Window: 30}
		if proofMade != nil {
			out[i].GeneratedAt, out[i].ExpiresAt = proofMade().Unix(), proofMade().Add(time.Hour).Unix()
		}
		if _, limit, ok := strings.Cut(string(b), "cap"); ok {
			_, _ = fmt.Sscan(limit, &out[i].Cap)
		}
		if strings.Contains(string(b), "forged") {
			out[i].Reason = code.BadDeviceSignature
		}
	}
	return out, nil
}

func journey(n int) (u citygate.UUID) { u[0], u[14], u[15] = 2, byte(n>>8), byte(n); return u }

// ride is a claim with one tap whose terminal and sequence follow from the
// journey, so that a later decision claims the same tap.
func ride(j, n int, r uint32, ctr uint16, amount int64) interbook.Claim {
	at := morning.Add(time.Duration(j) * time.Minute)
	return interbook.Claim{Journey: journey(j), N: n, Rider: rider(r), Amount: amount, BusinessDate: today, At: at,
		Taps: []interbook.ClaimTap{{Terminal: uint32(j), Seq: 1, Counter: ctr, Evidence: text(r, ctr, ""), EventTime: at}}}
}

// claim sends claims as operator and gives the verdicts it gets back.
func (c *city) claim(operator citygate.TenantID, items ...interbook.Claim) []interbook.Verdict {
	c.t.Helper()
	return c.claimIn("HKD", operator, items...)
}

func (c *city) claimIn(currency citygate.Currency, operator citygate.TenantID, items ...interbook.Claim) []interbook.Verdict {
	c.t.Helper()
	body, err := json.Marshal(interbook.Claims{Currency: currency, Items: items})
	if err != nil {
		c.t.Fatal(err)
	}
	c.in(func(tx *pg.Tx) error { return c.HandleClaims(c.t.Context(), tx, operator, body) })
	sent := c.sent(operator, interbook.KindVerdicts)
	var v interbook.Verdicts
	if err := json.Unmarshal(sent[len(sent)-1], &v); err != nil {
		c.t.Fatal(err)
	}
	return v.Items
}

// sent gives the bodies put to a tenant so far.
func (c *city) sent(to citygate.TenantID, kind string) (bodies [][]byte) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) error {
		rows, err := tx.Query(c.t.Context(), `SELECT body FROM outbox WHERE tenant_id = $1 AND to_tenant = $2 AND kind = $3 ORDER BY position`, issuer, to, kind)
		if err != nil {
			return err
		}
		bodies, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
		return err
	})
	return bodies
}

// advice adds up what operator was told, by kind.
func (c *city) advice(operator citygate.TenantID) map[string]int64 {
	c.t.Helper()
	out := map[string]int64{}
	seen := map[string]bool{}
	for _, b := range c.sent(operator, interbook.KindAdvice) {
		var a interbook.Advice
		if err := json.Unmarshal(b, &a); err != nil {
			c.t.Fatal(err)
		}
		for _, it := range a.Items {
			if k := fmt.Sprint(it.Journey, it.Kind, it.Ref); seen[k] {
				c.t.Errorf("told twice: %s", k)
			} else {
				seen[k] = true
			}
			out[it.Kind] += it.Amount
		}
	}
	return out
}

func (c *city) due() {
	c.t.Helper()
	if err := c.RunDue(c.t.Context(), issuer); err != nil {
		c.t.Fatal(err)
	}
}

func (c *city) passBack() {
	c.t.Helper()
	if err := c.PassBack(c.t.Context(), issuer); err != nil {
		c.t.Fatal(err)
	}
}

func (c *city) count() (n Counters) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) (err error) { n, err = Count(c.t.Context(), tx); return err })
	return n
}

// net gives the sum of all accounts with prefix.
func (c *city) net(prefix string) int64 {
	c.t.Helper()
	return ledgertest.Net(c.t, c.DB, issuer, prefix)
}

// settled proves that the books follow from the rows, that the provider's book
// says what ours does, and that no rider has anything in the air.
func (c *city) settled() {
	c.t.Helper()
	c.rederive()
	n := c.count()
	if n.Unfinished != 0 || n.UnknownOpen != 0 {
		c.t.Errorf("not finished: %+v", n)
	}
	var moved int64
	ids := map[string]int{}
	for _, e := range c.box.Book() {
		if e.Outcome != driver.Succeeded {
			continue
		}
		ids[e.Kind+e.OurID]++
		if e.Kind == sandbox.Refund {
			moved -= e.Amount.Minor
		} else {
			moved += e.Amount.Minor
		}
	}
	for id, times := range ids {
		if times != 1 {
			c.t.Errorf("%s moved money %d times", id, times)
		}
	}
	m := n.Money["HKD"]
	if moved != m.Collected {
		c.t.Errorf("the provider moved %d, we collected %d", moved, m.Collected)
	}
	if m.Claimed != m.Collected+m.Debt {
		c.t.Errorf("claimed %d is not collected %d and debt %d", m.Claimed, m.Collected, m.Debt)
	}
	if left := c.net(ledger.PrefixRiderReceivable); left != 0 {
		c.t.Errorf("riders' accounts hold %d", left)
	}
	if debt := c.net(ledger.PrefixRiderDebt); debt != m.Debt {
		c.t.Errorf("the books say %d of debt, the rows %d", debt, m.Debt)
	}
	if owed := c.net(ledger.PrefixProviderReceivable); owed != m.Collected-m.Fees {
		c.t.Errorf("the provider owes %d, want %d less %d", owed, m.Collected, m.Fees)
	}
}

func (c *city) rederive() {
	c.t.Helper()
	r, err := ledger.Check(c.t.Context(), c.DB, []citygate.TenantID{issuer}, []ledger.Source{c.Source()})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Kind != ledger.Unpaired { // the operators' books are not played here
			c.t.Errorf("ledger: %s", f)
		}
	}
}

// states gives the states of rows of a table, in order.
func (c *city) states(table string) (out []string) {
	c.t.Helper()
	sql := map[string]string{
		"charges":      `SELECT kind || ' ' || state FROM charges WHERE tenant_id = $1 ORDER BY account_key, attempt`,
		"aggregations": `SELECT state FROM aggregations WHERE tenant_id = $1 ORDER BY account_key, business_date, ordinal`,
		"refunds":      `SELECT state FROM refunds WHERE tenant_id = $1 ORDER BY our_id`,
		"debts":        `SELECT state || ' ' || amount FROM debts WHERE tenant_id = $1 ORDER BY aggregation_id`,
	}[table]
	c.in(func(tx *pg.Tx) error {
		rows, err := tx.Query(c.t.Context(), sql, issuer)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return out
}

func (c *city) wantStates(table string, want ...string) {
	c.t.Helper()
	if got := c.states(table); !slices.Equal(got, want) {
		c.t.Errorf("%s are %v, want %v", table, got, want)
	}
}

func (c *city) wantAdvice(operator citygate.TenantID, want map[string]int64) {
	c.t.Helper()
	got := c.advice(operator)
	maps.DeleteFunc(got, func(_ string, n int64) bool { return n == 0 })
	if !maps.Equal(got, want) {
		c.t.Errorf("operator %d was told %v, want %v", operator, got, want)
	}
}

// batchMax makes several calls of a few charges, in benchmarks one of many.
func batchMax(t testing.TB) int {
	if _, ok := t.(*testing.B); ok {
		return 100
	}
	return 3
}
