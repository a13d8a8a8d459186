package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// A wire stands before a provider: it can be dead in either direction.
type wire struct {
	*sandbox.Provider
	mu        sync.Mutex
	deaf      bool // what is asked arrives, and no answer comes back
	submitted int
	most      int64 // of one payment; 0 = no limit
}

func (w *wire) Describe() driver.Description {
	about := w.Provider.Describe()
	about.Limits.AmountMax = w.most
	return about
}

func (w *wire) set(deaf bool) { w.mu.Lock(); defer w.mu.Unlock(); w.deaf = deaf }

func (w *wire) Submit(ctx context.Context, d []driver.Debit) ([]driver.Result, error) {
	r, err := w.Provider.Submit(ctx, d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.submitted += len(d)
	if w.deaf && err == nil {
		return nil, errors.New("the connection was reset")
	}
	return r, err
}

func (w *wire) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	w.mu.Lock()
	deaf := w.deaf
	w.mu.Unlock()
	if deaf {
		return driver.Result{}, errors.New("the connection was reset")
	}
	return w.Provider.Query(ctx, ref)
}

// A routed city has a second contract, which riders 1 to 9 have agreed to.
type routed struct {
	*city
	first, second *wire
	other         *sandbox.Provider
}

func newRouted(t *testing.T, routing string) *routed {
	t.Helper()
	c := newCity(t)
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	config, _ := json.Marshal(sandbox.Config{FeePPM: feePPM, BatchMax: 3})
	other, err := sandbox.Open(root, c.clock.now, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	r := &routed{city: c, first: &wire{Provider: c.box}, second: &wire{Provider: other}, other: other}
	c.Collector = New(r.config())
	c.in(func(tx *pg.Tx) error {
		if err := AddContract(t.Context(), tx, "test", Contract{Name: "other", Adapter: "sandbox", FeePPM: feePPM}); err != nil {
			return err
		}
		for n := range uint32(10) {
			if _, err := tx.Exec(t.Context(), `INSERT INTO accounts (tenant_id, account_id, contract, rider_ref, category, state, created_at)
				VALUES ($1, $2, 'box', $3, '', 'active', $4)`, issuer, accountID(n), payer(int(n)), tx.Now); err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			for range 2 { // the second changes nothing
				if err := AddPayer(t.Context(), tx, "test", Payer{Account: accountID(n), Contract: "other", RiderRef: "there-" + payer(int(n))}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if routing != "" {
		r.publish(routing, time.Time{})
	}
	return r
}

func (r *routed) config() Config {
	config := r.Config
	config.Provider = func(_ context.Context, _ citygate.TenantID, c Contract) (*adapters.Provider, error) {
		if c.Name == "other" {
			return adapters.New(r.second, r.clock.now), nil
		}
		return adapters.New(r.first, r.clock.now), nil
	}
	return config
}

func (r *routed) publish(routing string, at time.Time) {
	r.t.Helper()
	set, err := ruleset.Parse([]byte(`citygate: rules/1
time_zone: Etc/UTC
acceptance:
  schemes: [ct1]
  issuers: [{issuer: 9, currency: HKD, cap_unit_minor: 10}]
  modes: [{mode: bus, kinds: [single]}]
  skew_seconds: 30
  max_window_seconds: 120
  max_ttl_hours: 200
  late_upload_days: 7
  clock_suspect_seconds: 600
  incomplete: {charge: max, max_journey_minutes: 180, grace_minutes: 60}
routing:
` + routing))
	if err != nil {
		r.t.Fatal(err)
	}
	r.in(func(tx *pg.Tx) error {
		_, _, err := policies.PublishSet(r.t.Context(), tx, "user:ada", policies.Proposal{Set: set, At: at})
		return err
	})
}

// charges lists attempts: account, attempt, contract, payer, state, version, rule and finding.
func (r *routed) charges() (out []string) {
	r.t.Helper()
	r.in(func(tx *pg.Tx) error {
		rows, err := tx.Query(r.t.Context(), `SELECT right(account_key, 1) || ' #' || attempt || ' ' || contract || ' ' || state || ' v' || route_version || ' ' || route_rule || ' ' || route_finding
			FROM charges WHERE tenant_id = $1 ORDER BY account_key, attempt`, issuer)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

func (r *routed) want(want ...string) {
	r.t.Helper()
	if got := r.charges(); fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("charges are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// once proves that no fare moved money twice, whichever providers were asked.
func (r *routed) once(total int64) {
	r.t.Helper()
	r.rederive()
	var moved int64
	for _, e := range append(r.box.Book(), r.other.Book()...) {
		if e.Outcome == driver.Succeeded {
			moved += e.Amount.Minor
		}
	}
	n := r.count()
	if m := n.Money["HKD"]; moved != total || m.Collected != total || m.Claimed != total || n.Unfinished != 0 {
		r.t.Errorf("the providers moved %d, want %d: %+v", moved, total, n)
	}
}

// tryDue runs what is due; what providers fail at is not of interest.
func (r *routed) tryDue() { _ = r.RunDue(r.t.Context(), issuer) }

const failOver = `  - {id: both, use: [box, other]}
`

// A reply of the first contract is lost, and then it answers nothing any more. The
// charge stays with it, is asked for there, and the second never hears of it.
func TestWhatMayHaveBeenSeenNeverMoves(t *testing.T) {
	r := newRouted(t, failOver)
	r.first.set(true)
	r.claim(metro, ride(1, 1, 1, 1, 500))
	r.clock.set(closed)
	for range 10 {
		r.tryDue()
		r.clock.add(time.Minute)
	}
	r.want("1 #1 box unknown v1 both")
	if !r.open("box") {
		t.Error("nothing was answered for ten minutes, and the breaker is closed: the test shows nothing")
	}
	if n := r.second.submitted; n != 0 {
		t.Errorf("the second contract was asked for %d payments", n)
	}
	// Others go to the second meanwhile.
	r.claim(metro, ride(2, 1, 2, 1, 700))
	r.claim(metro, ride(3, 1, 3, 1, 900))
	r.in(func(tx *pg.Tx) error { // no probe just now
		_, err := tx.Exec(t.Context(), `UPDATE provider_breakers SET probe_at = $2 WHERE tenant_id = $1`, issuer, tx.Now.Add(time.Hour))
		return err
	})
	r.due()
	r.first.set(false)
	r.clock.add(time.Hour)
	r.due()
	r.want("1 #1 box succeeded v1 both", "2 #1 other succeeded v1 both", "3 #1 other succeeded v1 both")
	r.once(2100)
}

// What a contract can never take is no fault of its provider, which has not even been
// asked: it goes where the rules say, and where there is nothing else it waits. All
// others of the contract are collected as ever.
func TestWhatIsOutsideTheLimitsMovesAndBreaksNothing(t *testing.T) {
	r := newRouted(t, failOver)
	r.first.most = 600
	r.claim(metro, ride(1, 1, 1, 1, 700), ride(2, 1, 0, 1, 800)) // rider 0 has no other contract
	r.clock.set(closed)
	for range 3 * breakerFailures {
		r.tryDue()
		r.clock.add(time.Minute)
	}
	if r.open("box") {
		t.Error("the breaker of a provider is open that nobody asked")
	}
	r.claim(metro, ride(3, 1, 3, 1, 500))
	r.due()
	r.want("0 #1 box created v1 both", "1 #1 box moved v1 both", "1 #2 other succeeded v1 both contract_refused: contract box cannot take this payment",
		"3 #1 box succeeded v1 both")
	if r.first.submitted != 1 {
		t.Errorf("the first contract was asked for %d payments; want the one it takes", r.first.submitted)
	}
}

// open reports whether a breaker is open.
func (r *routed) open(contract string) (open bool) {
	r.t.Helper()
	r.in(func(tx *pg.Tx) error {
		down, err := breakersOpen(r.t.Context(), tx)
		_, open = down[contract]
		return err
	})
	return open
}

// breaks has the first contract not answer until its breaker opens.
func (r *routed) breaks() {
	r.t.Helper()
	r.in(func(tx *pg.Tx) error {
		for range breakerFailures {
			if err := hear(r.t.Context(), tx, "box", fails); err != nil {
				return err
			}
		}
		return nil
	})
}

// outage takes the first contract off until it is over; nothing can be sent.
func (r *routed) outage(d time.Duration) {
	now := r.clock.now()
	r.box.SetScript(sandbox.Script{Outages: []sandbox.Span{{From: now, Until: now.Add(d)}}})
}

// What was certainly never sent goes to the second contract as a new attempt, by
// one of two instances that look at once; a payer who is not known there waits.
func TestWhatWasNeverSentMovesOnce(t *testing.T) {
	r := newRouted(t, failOver)
	r.clock.set(closed)
	r.outage(time.Hour)
	var total int64
	for i := range 5 {
		r.claim(metro, ride(10+i, 1, uint32(i), 1, 500+int64(i)))
		total += 500 + int64(i)
	}
	r.tryDue() // nothing could be sent
	r.breaks()
	instances := []*Collector{r.Collector, New(r.config())}
	for range 4 {
		var at sync.WaitGroup
		for _, c := range instances {
			at.Go(func() { _ = c.RunDue(t.Context(), issuer) })
		}
		at.Wait()
		r.clock.add(2 * time.Second)
	}
	r.want("0 #1 box created v1 both",
		"1 #1 box moved v1 both", "1 #2 other succeeded v1 both", "2 #1 box moved v1 both", "2 #2 other succeeded v1 both",
		"3 #1 box moved v1 both", "3 #2 other succeeded v1 both", "4 #1 box moved v1 both", "4 #2 other succeeded v1 both")
	for _, e := range r.other.Book() {
		if !strings.HasPrefix(e.Rider, "there-payer") {
			t.Errorf("the second contract knows no %s", e.Rider)
		}
	}
	// A correction finds the attempt that collected, not the one that moved.
	r.claim(metro, ride(11, 2, 1, 1, 400))
	total -= 101
	r.clock.add(2 * time.Hour)
	r.due()
	if r.open("box") {
		t.Error("the first contract answers, and its breaker is open")
	}
	r.wantStates("refunds", "succeeded")
	r.rederive()
	if n := r.count(); n.Money["HKD"].Collected != total || n.Unfinished != 0 {
		t.Errorf("%+v, want %d", n, total)
	}
}

// The process dies between the choice and the call: the intent is on disk with its
// contract, and is sent there once, or moves if that is down by then.
func TestDeathBetweenChoiceAndCall(t *testing.T) {
	for _, down := range []bool{false, true} {
		r := newRouted(t, failOver)
		r.claim(metro, ride(1, 1, 1, 1, 500))
		r.clock.set(closed)
		dead := &run{Collector: r.Collector, tenant: issuer, touched: map[string]int{}}
		if err := dead.closeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		if down {
			r.breaks()
			r.clock.add(breakerWait)
			r.breaks()
		}
		r.due()
		r.due()
		if down {
			r.want("1 #1 box moved v1 both", "1 #2 other succeeded v1 both")
		} else {
			r.want("1 #1 box succeeded v1 both")
		}
		r.once(500)
	}
}

// What is marked as being sent was perhaps seen: it does not move.
func TestDeathInTheCallDoesNotMove(t *testing.T) {
	r := newRouted(t, failOver)
	r.claim(metro, ride(1, 1, 1, 1, 500))
	r.clock.set(closed)
	dead := &run{Collector: r.Collector, tenant: issuer, touched: map[string]int{}}
	if err := dead.closeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.in(func(tx *pg.Tx) error {
		_, err := takeNext(t.Context(), tx, "box", 10, tx.Now.Add(time.Minute))
		return err
	})
	r.breaks()
	r.tryDue()
	r.want("1 #1 box sent v1 both")
	r.clock.add(time.Hour)
	r.due()
	r.clock.add(time.Hour)
	r.due()
	r.want("1 #1 box succeeded v1 both")
	r.once(500)
}

// Rules choose by version of the rides' time, amount and what is known of payers;
// what they cannot have is the payer's own contract, with the reason.
func TestRulesChooseTheContract(t *testing.T) {
	r := newRouted(t, "")
	r.claim(metro, ride(1, 1, 1, 1, 500)) // before any rule set
	r.clock.add(2 * time.Hour)
	r.publish(`  - {id: large, when: amount >= 1000, use: [other]}
`, time.Time{})
	later := func(c int, n uint32, amount int64) {
		x := ride(c, 1, n, 1, amount)
		x.At = morning.Add(3 * time.Hour)
		x.Taps[0].EventTime = x.At
		r.claim(metro, x)
	}
	later(2, 2, 1000)
	later(3, 3, 999)
	later(4, 0, 5000) // not known to the other
	r.clock.set(closed)
	r.due()
	r.want("0 #1 box succeeded v1  payer_unknown: the payer is not known under contract other",
		"1 #1 box succeeded v1", "2 #1 other succeeded v1 large", "3 #1 box succeeded v1")
	r.once(7499)
}

// A contract that a published rule names is gone: its payments go to the payers'
// own, and say so.
func TestContractThatIsGone(t *testing.T) {
	for _, name := range []string{"nowhere", "other"} {
		r := newRouted(t, "  - {id: away, use: ["+name+"]}\n")
		r.claim(metro, ride(1, 1, 1, 1, 500))
		want := "1 #1 box succeeded v1  contract_unknown: there is no contract nowhere"
		if name == "other" {
			want = "1 #1 box succeeded v1  contract_closed: contract other is closed"
			closeContract(r, name)
		}
		r.clock.set(closed)
		r.due()
		r.want(want)
		r.once(500)
	}
}

// An open breaker lets one payment try, of all instances.
func TestOneProbe(t *testing.T) {
	r := newRouted(t, failOver)
	r.clock.set(closed)
	r.breaks()
	r.clock.add(breakerWait)
	for i := range 6 {
		r.claim(metro, ride(10+i, 1, uint32(1+i), 1, 500))
	}
	var at sync.WaitGroup
	for _, c := range []*Collector{r.Collector, New(r.config())} {
		at.Go(func() {
			x := &run{Collector: c, tenant: issuer, touched: map[string]int{}}
			if err := x.closeDue(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	at.Wait()
	tries := 0
	for _, c := range r.charges() {
		if strings.Contains(c, " box ") {
			tries++
		}
	}
	if tries != 1 {
		t.Errorf("%d payments try the contract, want 1:\n%s", tries, strings.Join(r.charges(), "\n"))
	}
	r.due()
	if r.open("box") {
		t.Error("the probe was answered and the breaker is open")
	}
	r.once(3000)
}

func closeContract(r *routed, name string) {
	r.t.Helper()
	pgtest.Owner(r.t, r.DB).Exec(issuer, `UPDATE provider_contracts SET state = 'closed' WHERE tenant_id = $1 AND contract = $2`, int64(issuer), name)
}
