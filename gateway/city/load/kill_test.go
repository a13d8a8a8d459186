package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/city/load"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge/conform"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	killRiders    = 160
	killTerminals = 4
	killBatch     = 20 // taps: small, so that many commits are under way
	perCharge     = 3  // rides until an account is collected
)

// A rig is an operator's gateway as a process of its own on a PostgreSQL of its
// own, readers that upload to it, and what they were promised.
type rig struct {
	t       *testing.T
	random  *rand.Rand
	server  *pglocal.Server
	db      *pg.DB // the test's own eyes
	config  load.Config
	env     []string  // of the gateway's process
	at      time.Time // the gateway's clock
	gateway atomic.Pointer[child]

	crowd *load.Crowd
	line  *load.Line
	rides time.Time // when the next round of rides begins

	mu    sync.Mutex
	acked map[tapKey]bool
	count atomic.Int64 // of acked
}

type tapKey struct {
	terminal uint32
	seq      uint64
}

func newRig(t *testing.T, settings map[string]string, env ...string) *rig {
	t.Helper()
	day := time.Date(2026, 11, 23, 6, 0, 0, 0, time.FixedZone("", 8*3600))
	r := &rig{t: t, random: rand.New(rand.NewPCG(1, 2)), server: pgtest.Private(t, settings), acked: map[tapKey]bool{}, at: day, rides: day.Add(time.Minute)}
	findings := conform.File(filepath.Join(t.TempDir(), "findings"))
	r.db, r.env = pgtest.Open(t, r.server), append(env, envFindings+"="+string(findings))
	t.Cleanup(func() { // after the gateway's end
		requests, found, err := findings.Read()
		if err != nil || requests == 0 {
			t.Errorf("%d requests were held to the document, %v", requests, err)
		}
		for _, what := range found {
			t.Error(what)
		}
	})
	r.config = load.Config{
		Dir: t.TempDir(), AppURL: r.server.URL(pglocal.App, ""), JobsURL: r.server.URL(pglocal.Jobs, ""), Terminals: killTerminals, Payees: 2,
		Sandbox: sandbox.Config{FeePPM: load.FeePPM, UTCOffsetMinutes: 480, BatchMax: 20},
		Collect: collect.Rules{CountLimit: perCharge, CloseAfter: time.Hour, MaxTries: 1, RetryEvery: time.Hour},
	}
	setUp := r.config
	setUp.Clock, setUp.Served = func() time.Time { return day }, findings.Handler
	o, err := load.Open(t.Context(), setUp)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Onboard(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.crowd, err = o.Riders(t.Context(), 0, killRiders); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.line = load.NewLine(0, killTerminals)
	r.at = day.Add(4 * time.Hour)
	r.gateway.Store(startChild(t, r.config, r.at, r.env...))
	t.Cleanup(func() { r.gateway.Load().kill() })
	return r
}

func (r *rig) killGateway()    { r.gateway.Load().kill() }
func (r *rig) restartGateway() { r.gateway.Store(startChild(r.t, r.config, r.at, r.env...)) }
func (r *rig) restartPostgres() {
	if err := r.server.Restart(r.t.Context(), nil); err != nil {
		r.t.Fatal(err)
	}
}

// must has the gateway do something that cannot fail.
func (r *rig) must(command string) {
	r.t.Helper()
	if answer, err := r.gateway.Load().ask(command); err != nil || answer != "ok" {
		r.t.Fatalf("%s: %s %v", command, answer, err)
	}
}

// upload has every rider ride for some rounds and uploads it all, reader beside
// reader, again and again until it is acknowledged. meanwhile runs beside it.
func (r *rig) upload(rounds int, meanwhile func(done <-chan struct{})) {
	r.t.Helper()
	lanes := make([][][]byte, killTerminals)
	turn := 0
	err := r.line.Taps(load.Ride{Crowd: r.crowd, Rounds: rounds, Batch: killBatch, From: r.rides, Lasts: time.Minute}, func(raw []byte) error {
		lanes[turn%killTerminals] = append(lanes[turn%killTerminals], raw) // batches come for the readers in turn
		turn++
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.rides = r.rides.Add(time.Duration(rounds) * time.Minute)
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, batches := range lanes {
		wg.Go(func() {
			for _, raw := range batches {
				for last := error(nil); !r.send(ctx, raw, &last); {
					select {
					case <-time.After(10 * time.Millisecond):
					case <-ctx.Done():
						r.t.Errorf("a batch was never acknowledged: %v", last)
						return
					}
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	if meanwhile != nil {
		meanwhile(done)
	}
	<-done
	if r.t.Failed() {
		r.t.FailNow()
	}
}

// send uploads a batch once and remembers what was acknowledged.
func (r *rig) send(ctx context.Context, raw []byte, last *error) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.gateway.Load().url+"/v1/tap-batches", bytes.NewReader(raw))
	if err != nil {
		*last = err
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		*last = err
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		*last = err
		return false
	}
	var receipts struct {
		Results []struct {
			Seq             uint64
			Outcome, Reason string
		}
	}
	if err := json.Unmarshal(body, &receipts); err != nil || resp.StatusCode != http.StatusOK {
		*last = fmt.Errorf("%s: %.300s", resp.Status, body)
		return false
	}
	b, err := tap.ParseBatch(raw)
	if err != nil || len(receipts.Results) != b.Count {
		*last = fmt.Errorf("%d receipts for %d taps, %w", len(receipts.Results), b.Count, err)
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range receipts.Results {
		if x.Reason != "" {
			r.t.Errorf("tap %d:%d was %s: %s", b.Terminal, x.Seq, x.Outcome, x.Reason)
		}
		r.acked[tapKey{b.Terminal, x.Seq}] = true
	}
	r.count.Add(int64(len(receipts.Results)))
	return true
}

// strike waits until a random part of so many taps is acknowledged and a little
// longer, and gives false if everything was over before.
func (r *rig) strike(taps int, done <-chan struct{}) bool {
	goal := r.count.Load() + int64(taps/10+r.random.IntN(taps*6/10))
	for r.count.Load() < goal {
		select {
		case <-done:
			return false
		case <-time.After(200 * time.Microsecond):
		}
	}
	time.Sleep(time.Duration(r.random.IntN(4_000)) * time.Microsecond)
	return true
}

// duringIngest kills something while taps come in.
func (r *rig) duringIngest(kill, restart func()) {
	r.t.Helper()
	const rounds = 5
	r.upload(rounds, func(done <-chan struct{}) {
		if !r.strike(rounds*killRiders, done) {
			r.t.Error("the upload was over before the blow")
			return
		}
		kill()
		restart()
	})
}

// duringCollect kills something while charges go out.
func (r *rig) duringCollect(kill, restart func()) {
	r.t.Helper()
	r.upload(perCharge, nil)
	r.must("drain")
	book := filepath.Join(r.config.Dir, "files", "sandbox-1-sandbox", "book.jsonl")
	size := func() int64 {
		info, err := os.Stat(book)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	const line = 250 // bytes of a payment, roughly
	goal := size() + int64(1+r.random.IntN(killRiders*line/2))
	r.must("tick")
	for limit := time.Now().Add(30 * time.Second); size() < goal; time.Sleep(200 * time.Microsecond) {
		if time.Now().After(limit) {
			r.t.Fatal("no charges go out")
		}
	}
	time.Sleep(time.Duration(r.random.IntN(2_000)) * time.Microsecond)
	kill()
	restart()
}

// recover lets the gateway finish what it was at: leases run out, failed jobs
// come again. A job whose end could not be written while the database was away
// is given back within a minute of real time.
func (r *rig) recover() {
	r.t.Helper()
	var answer string
	limit := time.Now().Add(90 * time.Second)
	for try := 0; time.Now().Before(limit); try++ {
		if try < 5 {
			r.at = r.at.Add(3 * time.Minute)
			r.must(fmt.Sprintf("set %d", r.at.UnixMicro()))
		}
		for _, command := range []string{"retry", "tick", "drain"} {
			var err error
			if answer, err = r.gateway.Load().ask(command); err != nil {
				r.t.Fatalf("%s: %v", command, err)
			}
		}
		if answer == "ok" && r.openCharges() == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("work is left: %s, %d charges open", answer, r.openCharges())
}

// lost lists acknowledged taps that the database does not have.
func (r *rig) lost() (missing []tapKey) {
	r.t.Helper()
	r.mu.Lock()
	acked := make(map[tapKey]bool, len(r.acked))
	for k := range r.acked {
		acked[k] = true
	}
	r.mu.Unlock()
	r.rows(`SELECT s.terminal, s.seq FROM tap_seen s JOIN taps t ON t.tenant_id = $1 AND t.terminal = s.terminal AND t.seq = s.seq
	        WHERE s.tenant_id = $1 AND s.accepted AND t.accepted`, func(scan func(...any) error) error {
		var terminal, seq int64
		err := scan(&terminal, &seq)
		delete(acked, tapKey{uint32(terminal), uint64(seq)})
		return err
	})
	for k := range acked {
		missing = append(missing, k)
	}
	return missing
}

func (r *rig) rows(sql string, each func(scan func(...any) error) error) {
	r.t.Helper()
	err := r.db.InTenant(r.t.Context(), load.Tenant, func(tx *pg.Tx) error {
		rows, err := tx.Query(r.t.Context(), sql, tx.Tenant)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows.Scan); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) number(sql string) (n int64) {
	r.t.Helper()
	r.rows(sql, func(scan func(...any) error) error { return scan(&n) })
	return n
}

func (r *rig) openCharges() int64 {
	return r.number(`SELECT count(*) FROM charges WHERE tenant_id = $1 AND state NOT IN ('succeeded', 'declined')`)
}

// chargeErrors compares the provider's book with our charges and says what is
// wrong: each must be once on both sides, and no ride paid twice.
func (r *rig) chargeErrors() (wrong []string) {
	r.t.Helper()
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	type payment struct {
		rider  string
		amount int64
	}
	provider := map[string]payment{}
	paid := map[string]int64{}
	for _, e := range readBook(r.t, filepath.Join(r.config.Dir, "files", "sandbox-1-sandbox")) {
		if e.Kind != sandbox.Charge || e.Outcome != driver.Succeeded {
			continue
		}
		if _, twice := provider[e.OurID]; twice {
			say("the provider has payment %s twice", e.OurID)
		}
		provider[e.OurID] = payment{e.Rider, e.Amount.Minor}
		paid[e.Rider] += e.Amount.Minor
	}
	ours := 0
	r.rows(`SELECT our_id, payer_ref, amount FROM charges WHERE tenant_id = $1 AND state = 'succeeded'`, func(scan func(...any) error) error {
		var id string
		var p payment
		err := scan(&id, &p.rider, &p.amount)
		if provider[id] != p {
			say("charge %s: %v here, %v at the provider", id, p, provider[id])
		}
		ours++
		return err
	})
	if ours != len(provider) || ours == 0 {
		say("%d charges here, %d payments at the provider", ours, len(provider))
	}
	r.rows(`SELECT a.payer_ref, sum(a.total)::bigint FROM aggregations a WHERE a.tenant_id = $1 AND a.state <> 'open' GROUP BY a.payer_ref`,
		func(scan func(...any) error) error {
			var rider string
			var owed int64
			err := scan(&rider, &owed)
			if paid[rider] != owed {
				say("%s paid %d for rides of %d", rider, paid[rider], owed)
			}
			return err
		})
	return wrong
}

// readBook reads the provider's book from a copy: opening one mends it.
func readBook(t *testing.T, dir string) []sandbox.Entry {
	t.Helper()
	twin := t.TempDir()
	if err := os.CopyFS(filepath.Join(twin, "book"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(twin, "book"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	p, err := sandbox.Open(root, time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	return p.Book()
}

// check holds everything that must be true after a crash and its recovery.
func (r *rig) check() {
	r.t.Helper()
	if missing := r.lost(); len(missing) > 0 {
		r.t.Errorf("%d of %d acknowledged taps are gone, such as %v", len(missing), len(r.acked), missing[0])
	}
	r.recover()
	for _, wrong := range r.chargeErrors() {
		r.t.Error(wrong)
	}
	r.must("check")
	if n := r.number(`SELECT count(*) FROM tap_seen WHERE tenant_id = $1`); n != int64(len(r.acked)) {
		r.t.Errorf("%d taps stored, %d acknowledged, and every one was sent until it was", n, len(r.acked))
	}
	if n := r.number(`SELECT count(*) FROM journeys WHERE tenant_id = $1 AND state = 'priced'`); n != int64(len(r.acked)) {
		r.t.Errorf("%d rides have a price, of %d", n, len(r.acked))
	}
	if n := r.number(`SELECT count(*) FROM tap_batches WHERE tenant_id = $1 AND chain <> 'ok'`); n != 0 {
		r.t.Errorf("the chain of %d batches is broken", n)
	}
	if r.t.Failed() {
		r.t.FailNow()
	}
}

func TestNothingAcknowledgedIsLostWhenProcessesAreKilled(t *testing.T) {
	r := newRig(t, nil)
	ingest, charges := r.duringIngest, r.duringCollect
	for _, c := range []struct {
		name          string
		cycles        int
		strike        func(kill, restart func())
		kill, restart func()
	}{
		{"gateway during ingest", 8, ingest, r.killGateway, r.restartGateway},
		{"postgres during ingest", 9, ingest, r.server.KillAll, r.restartPostgres},
		{"gateway during collect", 4, charges, r.killGateway, r.restartGateway},
		{"postgres during collect", 4, charges, r.server.KillAll, r.restartPostgres},
	} {
		start := time.Now()
		for range c.cycles {
			c.strike(c.kill, c.restart)
			r.check()
		}
		t.Logf("%s: killed %d times in %s, %d taps acknowledged so far, none lost", c.name, c.cycles, time.Since(start).Round(time.Millisecond), len(r.acked))
	}
	r.at = r.at.AddDate(0, 0, 2) // every aggregation is closed by now
	r.check()
	var paid int64
	for _, e := range readBook(t, filepath.Join(r.config.Dir, "files", "sandbox-1-sandbox")) {
		paid += e.Amount.Minor
	}
	if want := load.Fare * int64(len(r.acked)); paid != want {
		t.Errorf("riders paid %d for %d rides, want %d", paid, len(r.acked), want)
	}
}

// A harness that cannot see a loss proves nothing: here the server acknowledges
// what it has not written.
func TestTheHarnessReportsLossWhenCommitsAreNotSynchronous(t *testing.T) {
	r := newRig(t, map[string]string{"synchronous_commit": "off", "wal_writer_delay": "10s"})
	for range 5 {
		r.duringIngest(r.server.KillAll, r.restartPostgres)
		if missing := r.lost(); len(missing) > 0 {
			t.Logf("reported: %d of %d acknowledged taps are gone", len(missing), len(r.acked))
			return
		}
	}
	t.Error("commits were not synchronous, and the harness saw nothing lost")
}

// And one that cannot see a payment made twice proves nothing either: here the
// provider makes again, under another id, what a dead gateway was not told of.
func TestTheHarnessReportsAPaymentMadeTwice(t *testing.T) {
	r := newRig(t, nil, envForgetful+"=1")
	for range 5 {
		r.duringCollect(r.killGateway, r.restartGateway)
		r.recover()
		wrong := r.chargeErrors()
		if len(wrong) == 0 {
			continue // the blow hit between two payments
		}
		twice := slices.IndexFunc(wrong, func(s string) bool {
			var who string
			var paid, owed int64
			_, err := fmt.Sscanf(s, "%s paid %d for rides of %d", &who, &paid, &owed)
			return err == nil && paid == owed+perCharge*load.Fare
		})
		if twice < 0 {
			t.Errorf("reported, but not that somebody paid twice: %q", wrong)
		} else {
			t.Logf("reported %d things, such as: %s", len(wrong), wrong[twice])
		}
		return
	}
	t.Error("payments lost with their gateway were made again, and the harness saw nothing")
}
