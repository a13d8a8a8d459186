package audit_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/audit"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	metro = citygate.TenantID(7)
	bus   = citygate.TenantID(8)
)

// A place is a database with keys and a sealer over them.
type place struct {
	*testing.T
	db     *pg.DB
	ring   *keys.Ring
	sealer *audit.Sealer
	super  *pgtest.Conn

	mu sync.Mutex
	at time.Time
}

func (p *place) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

func (p *place) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = p.at.Add(d)
}

func open(t *testing.T) *place {
	t.Helper()
	p := &place{T: t, at: time.Date(2026, 11, 21, 8, 0, 0, 123456789, time.UTC)}
	p.db = pgtest.New(t, pgtest.WithClock(p.now))
	p.ring = keys.NewRing(p.db, store(t, p.now))
	p.sealer = &audit.Sealer{DB: p.db, Ring: p.ring}
	p.super = pgtest.As(t, p.db, pglocal.Superuser)
	return p
}

func store(t *testing.T, now citygate.Clock) *local.Store {
	t.Helper()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := local.CreateKeyFile(keyFile, rand.Reader); err != nil {
		t.Fatal(err)
	}
	s, err := local.Open(local.Config{Dir: filepath.Join(dir, "store"), KeyFile: keyFile, Random: rand.Reader, Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *place) in(tenant citygate.TenantID, fn func(*pg.Tx) error) {
	p.Helper()
	var err error
	if tenant == audit.Platform {
		err = p.db.InSystem(p.Context(), fn)
	} else {
		err = p.db.InTenant(p.Context(), tenant, fn)
	}
	p.must(err)
}

func (p *place) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// write adds n rows to a log, a millisecond apart.
func (p *place) write(tenant citygate.TenantID, n int) {
	p.Helper()
	for i := range n {
		p.pass(time.Millisecond)
		e := pg.AuditEntry{Actor: "user:ada", Verb: "terminal.state", Object: fmt.Sprintf("terminal:%d", i), Before: map[string]any{"state": "active", "n": i}}
		if i%2 == 0 {
			e.After = map[string]any{"state": "suspended", "why": "<&>\u2028é"}
		}
		p.in(tenant, func(tx *pg.Tx) error { return tx.Audit(p.Context(), e) })
	}
}

func (p *place) seal(tenant citygate.TenantID) {
	p.Helper()
	for more := true; more; {
		var err error
		more, err = p.sealer.Seal(p.Context(), tenant)
		p.must(err)
	}
}

// verify reads all three logs.
func (p *place) verify(copies ...audit.Copy) audit.Report {
	p.Helper()
	return p.verifyWith(p.ring, copies...)
}

func (p *place) verifyWith(ring *keys.Ring, copies ...audit.Copy) audit.Report {
	p.Helper()
	v := audit.Verifier{DB: p.db, Ring: ring}
	r, err := v.Verify(p.Context(), []citygate.TenantID{audit.Platform, metro, bus}, copies)
	p.must(err)
	return r
}

func (p *place) clean() audit.Report {
	p.Helper()
	r := p.verify()
	for _, f := range r.Findings {
		p.Errorf("in a log that nobody touched: %s", f)
	}
	return r
}

func (p *place) count(tenant citygate.TenantID, what, from string) int64 {
	return p.super.Count(tenant, "SELECT "+what+" FROM "+from+" WHERE tenant_id = $1", tenant)
}

func TestSealingCoversEveryRowOnce(t *testing.T) {
	p := open(t)
	for round := range 3 {
		for _, log := range []citygate.TenantID{metro, bus, audit.Platform} {
			p.write(log, 5+round)
			p.seal(log)
			p.seal(log) // again changes nothing but the rows that making the key wrote
		}
	}
	r := p.clean()
	if r.Logs != 3 || r.Waiting != 0 || r.Keys != audit.KeyStore || r.Rows < 3*(5+6+7) {
		t.Errorf("%+v", r)
	}
	sealed := p.count(metro, "max(n)", "audit_checkpoints")
	p.seal(metro)
	if got := p.count(metro, "max(n)", "audit_checkpoints"); got != sealed {
		t.Errorf("a log with nothing new was sealed once more: %d checkpoints, then %d", sealed, got)
	}
	if got := p.super.Count(0, "SELECT count(*) FROM platform.audit_log WHERE seq IS NULL"); got != 0 {
		t.Errorf("%d rows of the platform wait", got)
	}
	if kids := p.super.Count(0, "SELECT count(*) FROM platform.platform_keys WHERE purpose = 'audit' AND state = 'active'"); kids != 1 {
		t.Errorf("the platform has %d audit keys", kids)
	}
}

// A process that dies between any two steps leaves what the next one goes on from.
func TestSealingGoesOnAfterADeath(t *testing.T) {
	p := open(t)
	p.write(metro, 3)
	p.seal(metro)
	p.seal(metro) // the rows that making the key wrote
	p.write(metro, 4)
	away := &audit.Sealer{DB: p.db, Ring: keys.NewRing(p.db, nothing{p.ring.Signer()})}
	if _, err := away.Seal(t.Context(), metro); err == nil {
		t.Fatal("it sealed without its key store")
	}
	r := p.clean()
	if r.Waiting != 4 {
		t.Errorf("%d rows wait for their checkpoint, want 4", r.Waiting)
	}
	p.seal(metro)
	if r := p.clean(); r.Waiting != 0 {
		t.Errorf("%d rows wait", r.Waiting)
	}
}

// nothing signs nothing: the key store is away.
type nothing struct{ keys.Signer }

func (nothing) Sign(context.Context, citygate.TenantID, keys.Purpose, int, [][]byte) ([]keys.Signature, error) {
	return nil, keys.ErrUnavailable
}

// Rows come in while several instances seal: there is one chain, and it has each
// row once.
func TestInstancesAtOnceMakeOneChain(t *testing.T) {
	p := open(t)
	p.seal(metro)
	other := &audit.Sealer{DB: pgtest.Reopen(t, p.db, pgtest.WithClock(p.now)), Ring: p.ring}
	const writers, each = 3, 40
	var wait sync.WaitGroup
	failed := make(chan error, writers*each+100)
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				p.pass(time.Microsecond)
				failed <- p.db.InTenant(context.Background(), metro, func(tx *pg.Tx) error {
					return tx.Audit(context.Background(), pg.AuditEntry{Actor: "system:w", Verb: "v", Object: fmt.Sprint(w, i)})
				})
			}
		})
	}
	for _, s := range []*audit.Sealer{p.sealer, other} {
		wait.Go(func() {
			for range 25 {
				_, err := s.Seal(context.Background(), metro)
				failed <- err
			}
		})
	}
	wait.Wait()
	close(failed)
	for err := range failed {
		p.must(err)
	}
	p.seal(metro)
	p.seal(metro) // the rows that making the key wrote
	r := p.clean()
	written := p.super.Count(metro, "SELECT count(*) FROM audit_log WHERE tenant_id = $1", metro)
	if r.Waiting != 0 || int64(r.Rows) != written || written < writers*each || r.Checkpoints < 2 {
		t.Errorf("%+v of %d rows", r, written)
	}
}

// More rows than one call takes are left for the next, and said to be.
func TestSealingIsBounded(t *testing.T) {
	p := open(t)
	const many = 10_200
	p.in(metro, func(tx *pg.Tx) error {
		for i := range many {
			if err := tx.Audit(t.Context(), pg.AuditEntry{Actor: "a", Verb: "v", Object: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	more, err := p.sealer.Seal(t.Context(), metro)
	if err != nil || !more {
		t.Fatalf("more %t, %v", more, err)
	}
	if got := p.count(metro, "count(seq)", "audit_log"); got != 10_000 {
		t.Errorf("%d rows have a link, want 10000", got)
	}
	left, err := p.sealer.Run(t.Context(), audit.Job{Tenants: []citygate.TenantID{metro, bus}})
	if err != nil || len(left) != 0 {
		t.Fatalf("left %v, %v", left, err)
	}
	p.seal(metro)
	if r := p.clean(); r.Rows < many || r.Waiting != 0 {
		t.Errorf("%+v", r)
	}
}

// Rows that wait are told with their age; over a minute that is a finding.
func TestWaitingRowsAreReported(t *testing.T) {
	p := open(t)
	p.write(metro, 2)
	p.seal(metro)
	p.seal(metro)
	before := p.count(metro, "max(seq)", "audit_log")
	p.write(metro, 3)
	p.pass(time.Minute - 5*time.Millisecond)
	r := p.clean()
	if r.Waiting != 3 || r.OldestSeconds != 59 {
		t.Errorf("%+v", r)
	}
	p.pass(time.Second)
	r = p.verify()
	if r.Waiting != 3 || r.OldestSeconds != 60 || !has(r, audit.Unsealed, metro, 0) || r.Wrong != 1 {
		t.Errorf("%+v", r)
	}
	away := &audit.Sealer{DB: p.db, Ring: keys.NewRing(p.db, nothing{p.ring.Signer()})}
	_, _ = away.Seal(t.Context(), metro) // a link is not a seal yet
	if r = p.verify(); r.Waiting != 3 || !has(r, audit.Unsealed, metro, before+1) {
		t.Errorf("%+v", r)
	}
	p.seal(metro)
	p.clean()
}

// The key rotates and is revoked: what it sealed goes on holding under the next.
func TestSealsOutliveTheirKey(t *testing.T) {
	p := open(t)
	p.write(metro, 3)
	p.seal(metro)
	p.seal(metro)
	_, err := p.ring.Rotate(t.Context(), "user:ada", metro, keys.Audit, p.now(), p.now().Add(1000*time.Hour))
	p.must(err)
	_, err = p.ring.Activate(t.Context(), "user:ada", metro, keys.Audit, 2)
	p.must(err)
	p.seal(metro)
	p.clean()
	_, err = p.ring.Revoke(t.Context(), "user:ada", metro, keys.Audit, 2)
	p.must(err)
	if r := p.verify(); !has(r, audit.WrongKey, metro, 0) {
		t.Errorf("the last checkpoint is of a revoked key, and found is %v", r.Findings)
	}
	_, err = p.ring.Rotate(t.Context(), "user:ada", metro, keys.Audit, p.now(), p.now().Add(1000*time.Hour))
	p.must(err)
	_, err = p.ring.Activate(t.Context(), "user:ada", metro, keys.Audit, 3)
	p.must(err)
	p.seal(metro)
	p.clean()
}

func TestListFilters(t *testing.T) {
	p := open(t)
	p.write(metro, 4)
	from := p.now().Truncate(time.Microsecond)
	p.pass(time.Second)
	p.in(metro, func(tx *pg.Tx) error {
		return tx.Audit(t.Context(), pg.AuditEntry{Actor: "user:bob", Verb: "key.rotate", Object: "key:1"})
	})
	p.write(bus, 2)
	for name, c := range map[string]struct {
		f    audit.Filter
		want int
	}{
		"all":           {audit.Filter{}, 5},
		"actor":         {audit.Filter{Actor: "user:bob"}, 1},
		"verb":          {audit.Filter{Verb: "terminal.state"}, 4},
		"kind of verb":  {audit.Filter{Verb: "key."}, 1},
		"part of verb":  {audit.Filter{Verb: "key"}, 0},
		"object":        {audit.Filter{Object: "terminal:1"}, 1},
		"from":          {audit.Filter{From: from}, 2},
		"until":         {audit.Filter{Until: from}, 3},
		"none of these": {audit.Filter{Actor: "user:ada", Verb: "key.rotate"}, 0},
	} {
		var got []audit.Row
		p.in(metro, func(tx *pg.Tx) (err error) {
			got, err = audit.List(t.Context(), tx, c.f, citygate.UUID{}, 100)
			return err
		})
		if len(got) != c.want {
			t.Errorf("%s: %d rows, want %d", name, len(got), c.want)
		}
	}
	var pages [][]audit.Row
	after := citygate.UUID{}
	for range 3 {
		p.in(metro, func(tx *pg.Tx) error {
			page, err := audit.List(t.Context(), tx, audit.Filter{}, after, 2)
			pages = append(pages, page)
			after = page[len(page)-1].ID
			return err
		})
	}
	if len(pages[2]) != 1 || pages[0][0].Verb != "key.rotate" || pages[2][0].Object != "terminal:0" {
		t.Errorf("%+v", pages)
	}
}

func has(r audit.Report, kind string, tenant citygate.TenantID, row int64) bool {
	for _, f := range r.Findings {
		if f.Kind == kind && f.Tenant == tenant && (row == 0 || f.Row <= row && row <= max(f.Row, f.LastRow)) {
			return true
		}
	}
	return false
}

// Rows that do not take their link, because somebody else changed them under the
// lock, stop the sealer.
func TestAChainThatChangesUnderItsLockIsNotWritten(t *testing.T) {
	p := open(t)
	p.seal(metro)
	p.in(metro, func(tx *pg.Tx) error {
		return tx.Audit(t.Context(), pg.AuditEntry{Actor: "system:w", Verb: "v", Object: "o"})
	})
	p.super.Exec(0, `CREATE FUNCTION stolen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
	p.super.Exec(0, `CREATE TRIGGER stolen BEFORE UPDATE ON audit_log FOR EACH ROW EXECUTE FUNCTION stolen()`)
	_, err := p.sealer.Seal(t.Context(), metro)
	var code *citygate.Code
	if !errors.As(err, &code) || code.Name != "audit.chain" {
		t.Errorf("sealed: %v", err)
	}
}
