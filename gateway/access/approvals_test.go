package access_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func content(text string) access.Content {
	return access.Content{Kind: access.PolicyPublish, Operation: "publish-policy", Method: "POST", Path: "/v1/tenants/2/policies", Body: []byte(text), Hash: sha256.Sum256([]byte(text))}
}

func person(name string) access.Caller { return access.Caller{Subject: "user:" + name, Tenant: metro} }

func keyOf(owner string, n byte) access.Caller {
	return access.Caller{Subject: "key:1/user:" + owner, Tenant: metro, Key: citygate.UUID{n}, Owner: "user:" + owner}
}

func propose(t *testing.T, g *access.Guard, c access.Caller, text string) access.Proposal {
	t.Helper()
	p, err := g.Propose(t.Context(), c, metro, content(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func want(t *testing.T, what string, err error, code *citygate.Code) {
	t.Helper()
	if code == nil && err != nil || code != nil && !errors.Is(err, code) {
		t.Errorf("%s: %v, want %v", what, err, code)
	}
}

// change is a change as verticals make them: audited, in one transaction.
func change(ctx context.Context, db *pg.DB, verb string) error {
	return db.InTenant(ctx, metro, func(tx *pg.Tx) error {
		return tx.Audit(ctx, pg.AuditEntry{Actor: "user:ada", Verb: verb, Object: "it"})
	})
}

// changes counts what was really done.
func changes(t *testing.T, w *world, verb string) int {
	t.Helper()
	return int(pgtest.Owner(t, w.db).Count(metro, `SELECT count(*) FROM audit_log WHERE verb = '`+verb+`'`))
}

func TestTheSecondPersonIsAnother(t *testing.T) {
	_, g := newWorld(t)
	ctx := t.Context()
	for name, c := range map[string]access.Caller{"by a token": person("ada"), "by a key": keyOf("ada", 1)} {
		p := propose(t, g, c, name)
		for who, second := range map[string]access.Caller{"the same person": person("ada"), "the same key": keyOf("ada", 1), "another key of the same owner": keyOf("ada", 2)} {
			_, err := g.Approve(ctx, second, metro, p.ID)
			want(t, name+", approved by "+who, err, access.ErrSamePerson)
		}
		_, err := g.Approve(ctx, keyOf("bea", 3), metro, p.ID)
		want(t, name+", approved by another's key", err, access.ErrByKey)
		_, err = g.Approve(ctx, person("bea"), bus, p.ID)
		want(t, name+", approved in another tenant", err, access.ErrNoProposal)
		_, err = g.Withdraw(ctx, person("bea"), metro, p.ID)
		want(t, name+", withdrawn by another", err, access.ErrNotProposer)
		if again := propose(t, g, c, name); again.ID != p.ID {
			t.Errorf("%s: the same request is another proposal", name)
		}
		for range 2 { // twice by the same person changes nothing
			if p, err = g.Approve(ctx, person("bea"), metro, p.ID); err != nil || p.State != access.Approved || p.Second != "user:bea" {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
		_, err = g.Approve(ctx, person("cem"), metro, p.ID)
		want(t, name+", approved by a third", err, access.ErrOver)
	}
}

func TestWhatIsApprovedIsExactlyOneRequestOnce(t *testing.T) {
	w, g := newWorld(t)
	ctx := t.Context()
	ada, bea := person("ada"), person("bea")
	p := propose(t, g, keyOf("ada", 1), "x")
	_, _, err := g.Begin(ctx, ada, metro, p.ID, p.Hash)
	want(t, "before the approval", err, access.ErrWaiting)
	if _, err := g.Approve(ctx, bea, metro, p.ID); err != nil {
		t.Fatal(err)
	}
	_, _, err = g.Begin(ctx, bea, metro, p.ID, p.Hash)
	want(t, "by another", err, access.ErrNotProposer)
	_, _, err = g.Begin(ctx, ada, stranger, p.ID, p.Hash)
	want(t, "in another tenant", err, access.ErrNoProposal)
	run, joined, err := g.Begin(ctx, ada, metro, p.ID, p.Hash)
	want(t, "the run", err, nil)
	_, _, err = g.Begin(ctx, ada, metro, p.ID, p.Hash)
	want(t, "two at a time", err, access.ErrRunning)
	want(t, "a change", change(joined, w.db, "x.do"), nil)
	want(t, "a second one of the run", change(joined, w.db, "x.do"), nil)
	want(t, "the end", run.End(ctx, 200, true), nil)
	_, _, err = g.Begin(ctx, ada, metro, p.ID, p.Hash)
	want(t, "again", err, access.ErrDone)
	rows := pgtest.Owner(t, w.db).Rows(metro, `SELECT actor, after->>'proposed_by', after->>'second' FROM audit_log WHERE verb = 'approval.execute'`)
	if len(rows) != 1 || rows[0][1] != "key:1/user:ada" || rows[0][2] != "user:bea" {
		t.Errorf("the audit log names %v", rows)
	}

	p = propose(t, g, ada, "y")
	if _, err := g.Approve(ctx, bea, metro, p.ID); err != nil {
		t.Fatal(err)
	}
	_, _, err = g.Begin(ctx, ada, metro, p.ID, content("z").Hash)
	want(t, "other content", err, access.ErrChanged)
	_, _, err = g.Begin(ctx, ada, metro, p.ID, p.Hash)
	want(t, "the void one", err, access.ErrOver)

	p = propose(t, g, ada, "refused late")
	if _, err := g.Approve(ctx, bea, metro, p.ID); err != nil {
		t.Fatal(err)
	}
	_, joined, err = g.Begin(ctx, ada, metro, p.ID, p.Hash)
	want(t, "the run", err, nil)
	if _, err := g.Refuse(ctx, person("cem"), metro, p.ID); err != nil {
		t.Fatal(err)
	}
	want(t, "a change after it was refused", change(joined, w.db, "late.do"), access.ErrDone)
}

// An approval does not outlive its day, nor come back with the clock.
func TestAProposalExpires(t *testing.T) {
	w, g := newWorld(t)
	ctx := t.Context()
	p, q := propose(t, g, person("ada"), "x"), propose(t, g, person("ada"), "y")
	if _, err := g.Approve(ctx, person("bea"), metro, q.ID); err != nil {
		t.Fatal(err)
	}
	w.pass(access.ProposalLife)
	_, err := g.Approve(ctx, person("bea"), metro, p.ID)
	want(t, "approved too late", err, access.ErrExpired)
	_, _, err = g.Begin(ctx, person("ada"), metro, q.ID, q.Hash)
	want(t, "executed too late", err, access.ErrExpired)
	w.pass(-time.Hour)
	_, err = g.Approve(ctx, person("bea"), metro, p.ID)
	want(t, "with the clock back", err, access.ErrOver)
	_, _, err = g.Begin(ctx, person("ada"), metro, q.ID, q.Hash)
	want(t, "executed with the clock back", err, access.ErrOver)
}

// Two instances and many tries: the change is made once.
func TestRacingRunsMakeOneChange(t *testing.T) {
	w, g := newWorld(t)
	other := w.instance(t, w.db)
	p := propose(t, g, person("ada"), "x")
	if _, err := g.Approve(t.Context(), person("bea"), metro, p.ID); err != nil {
		t.Fatal(err)
	}
	var done atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			at := g
			if i%2 == 1 {
				at = other
			}
			run, joined, err := at.Begin(t.Context(), person("ada"), metro, p.ID, p.Hash)
			if err != nil {
				return
			}
			if change(joined, w.db, "x.do") == nil {
				done.Add(1)
			}
			if err := run.End(t.Context(), 200, true); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := changes(t, w, "x.do"); n != 1 || done.Load() != 1 {
		t.Errorf("%d changes, %d runs say they made one", n, done.Load())
	}
}

// A process dies at every point: the next run does what is missing, and nothing twice.
func TestARunThatDied(t *testing.T) {
	w, g := newWorld(t)
	ctx := t.Context()
	ada := person("ada")
	p := propose(t, g, ada, "x")
	if _, err := g.Approve(ctx, person("bea"), metro, p.ID); err != nil {
		t.Fatal(err)
	}
	_, first, err := g.Begin(ctx, ada, metro, p.ID, p.Hash) // dies before it did anything
	want(t, "the first run", err, nil)
	_, _, err = g.Begin(ctx, ada, metro, p.ID, p.Hash)
	want(t, "while it may be alive", err, access.ErrRunning)
	w.pass(3 * time.Minute)
	_, second, err := g.Begin(ctx, ada, metro, p.ID, p.Hash)
	want(t, "the second run", err, nil)
	want(t, "the first was not dead", change(first, w.db, "one.do"), access.ErrDone)
	want(t, "the second's change", change(second, w.db, "one.do"), nil) // and dies before the next one
	w.pass(3 * time.Minute)
	run, third, err := g.Begin(ctx, ada, metro, p.ID, p.Hash)
	want(t, "the third run", err, nil)
	want(t, "what is done, again", change(third, w.db, "one.do"), access.ErrDone)
	want(t, "what is missing", change(third, w.db, "two.do"), nil)
	want(t, "the end", run.End(ctx, 200, true), nil)
	if one, two := changes(t, w, "one.do"), changes(t, w, "two.do"); one != 1 || two != 1 {
		t.Errorf("done %d and %d times", one, two)
	}
	_, err = g.Withdraw(ctx, ada, metro, p.ID)
	want(t, "withdrawn afterwards", err, access.ErrOver)
}

// Live tenants want two persons for everything, and lower that with two alone.
func TestTheSettingOfApprovals(t *testing.T) {
	_, g := newWorld(t)
	ctx := t.Context()
	kinds, err := g.TwoPerson(ctx, metro)
	if err != nil || len(kinds) != len(access.Kinds()) {
		t.Fatalf("a live tenant wants %v, %v", kinds, err)
	}
	want(t, "lowered by one", g.SetTwoPerson(ctx, "user:ada", metro, []string{"policy_publish"}, false), access.ErrUnapproved)
	want(t, "no kind", g.SetTwoPerson(ctx, "user:ada", metro, []string{"approval_settings"}, true), access.ErrInvalid)
	want(t, "lowered by two", g.SetTwoPerson(ctx, "user:ada", metro, []string{"policy_publish"}, true), nil)
	if low, err := g.Lowers(ctx, metro, []string{"payout_release"}); err != nil || !low {
		t.Errorf("another instead of one: %v, %v", low, err)
	}
	want(t, "raised by one", g.SetTwoPerson(ctx, "user:ada", metro, []string{"policy_publish", "payout_release"}, false), nil)
	if yes, err := g.NeedsSecond(ctx, metro, access.PayoutRelease); err != nil || !yes {
		t.Errorf("payouts need a second person: %v, %v", yes, err)
	}
	if yes, err := g.NeedsSecond(ctx, metro, access.KeyRevocation); err != nil || yes {
		t.Errorf("keys need a second person: %v, %v", yes, err)
	}
}

// A tenant in which a thousand proposals wait takes no more.
func TestTooManyProposalsWait(t *testing.T) {
	w, g := newWorld(t)
	p := propose(t, g, person("ada"), "one")
	pgtest.Owner(t, w.db).Exec(metro, `INSERT INTO access_proposals SELECT (jsonb_populate_record(p, jsonb_build_object('proposal_id', gen_random_uuid(), 'path', 'p' || n,
		'content_hash', '\x' || encode(sha256(n::text::bytea), 'hex')))).* FROM access_proposals AS p, generate_series(1, 999) AS n WHERE p.proposal_id = $1`, p.ID)
	_, err := g.Propose(t.Context(), person("ada"), metro, content("one more"))
	want(t, "the 1001st", err, access.ErrTooMany)
	if again := propose(t, g, person("ada"), "one"); again.ID != p.ID {
		t.Error("one that waits is not found any more")
	}
}
