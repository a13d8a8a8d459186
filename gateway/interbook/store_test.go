package interbook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// jobs counts what was enqueued.
type jobs struct {
	mu sync.Mutex
	n  int
}

func (j *jobs) Enqueue(_ context.Context, _ pgx.Tx, more []pg.Job) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.n += len(more)
	return nil
}

func put(t *testing.T, db *pg.DB, from, to citygate.TenantID, bodies ...string) {
	t.Helper()
	err := db.InTenant(t.Context(), from, func(tx *pg.Tx) error {
		for _, b := range bodies {
			if err := Put(t.Context(), tx, to, "note", b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A desk takes notes into the audit log of its tenant, so that they commit or
// not with the inbox.
func desk(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	return tx.Audit(ctx, pg.AuditEntry{Actor: "test", Verb: "note", Object: fmt.Sprintf("%d:%s", from, body)})
}

func taken(t *testing.T, db *pg.DB, tenant citygate.TenantID) []string {
	t.Helper()
	var out []string
	err := db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error {
		rows, err := tx.Query(t.Context(), `SELECT object FROM audit_log WHERE tenant_id = $1 ORDER BY at, entry_id`, tenant)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func undeliveredCount(t *testing.T, db *pg.DB, tenant citygate.TenantID) (n int) {
	t.Helper()
	err := db.InTenant(t.Context(), tenant, func(tx *pg.Tx) (err error) { n, err = Undelivered(t.Context(), tx); return err })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMessagesArriveOnceAndInOrder(t *testing.T) {
	j := &jobs{}
	db := pgtest.New(t, pgtest.WithEnqueuer(j))
	var want []string
	for i := range carryBatch + 20 {
		put(t, db, 1, 2, fmt.Sprint("n", i))
		want = append(want, fmt.Sprintf(`1:"n%d"`, i))
	}
	if j.n != carryBatch+20 {
		t.Errorf("%d jobs for %d messages", j.n, carryBatch+20)
	}
	var got []string
	handlers := map[string]Handler{"note": func(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
		got = append(got, fmt.Sprintf("%d:%s", from, body))
		return desk(ctx, tx, from, body)
	}}
	for range 2 {
		if err := Carry(t.Context(), db, 1, handlers); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if n := undeliveredCount(t, db, 1); n != 0 {
		t.Errorf("%d messages left", n)
	}
	if n := len(taken(t, db, 1)); n != 0 {
		t.Errorf("the sender's book has %d notes", n)
	}
}

// The process dies after the receiver committed and before the sender noted it:
// the message is delivered again and handled no second time.
func TestDeathBeforeTheSenderNotesIt(t *testing.T) {
	db := pgtest.New(t, pgtest.WithEnqueuer(&jobs{}))
	put(t, db, 1, 2, "a", "b")
	handlers := map[string]Handler{"note": desk}
	batch, err := undelivered(t.Context(), db, 1, 2)
	if err != nil || len(batch) != 2 {
		t.Fatal(batch, err)
	}
	if err := deliver(t.Context(), db, 1, batch[0], handlers); err != nil {
		t.Fatal(err)
	}
	if n := undeliveredCount(t, db, 1); n != 2 {
		t.Fatalf("%d messages left before the restart, want 2", n)
	}
	if err := Carry(t.Context(), db, 1, handlers); err != nil {
		t.Fatal(err)
	}
	if got := taken(t, db, 2); len(got) != 2 {
		t.Errorf("got %v, want each note once", got)
	}
	if n := undeliveredCount(t, db, 1); n != 0 {
		t.Errorf("%d messages left", n)
	}
}

// A handler that fails leaves no trace, holds back what is behind it to the
// same receiver and nothing else, and is tried again.
func TestFailureStopsTheLineAndNoOther(t *testing.T) {
	db := pgtest.New(t, pgtest.WithEnqueuer(&jobs{}))
	put(t, db, 1, 2, "a", "bad", "c")
	put(t, db, 1, 3, "x")
	broken := true
	handlers := map[string]Handler{"note": func(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
		if err := desk(ctx, tx, from, body); err != nil {
			return err
		}
		if broken && strings.Contains(string(body), "bad") {
			return errors.New("broken")
		}
		return nil
	}}
	if err := Carry(t.Context(), db, 1, handlers); err == nil || !strings.Contains(err.Error(), "position 2") {
		t.Errorf("got %v, want the failure of position 2", err)
	}
	if got := taken(t, db, 2); len(got) != 1 {
		t.Errorf("tenant 2 took %v", got)
	}
	if got := taken(t, db, 3); len(got) != 1 {
		t.Errorf("tenant 3 took %v", got)
	}
	broken = false
	if err := Carry(t.Context(), db, 1, handlers); err != nil {
		t.Fatal(err)
	}
	if got := taken(t, db, 2); len(got) != 3 {
		t.Errorf("tenant 2 took %v", got)
	}
}

func TestTwoCarriersDeliverOnce(t *testing.T) {
	db := pgtest.New(t, pgtest.WithEnqueuer(&jobs{}))
	for i := range 30 {
		put(t, db, 1, 2, fmt.Sprint("n", i))
	}
	var mu sync.Mutex
	last, bad := -1, false
	handlers := map[string]Handler{"note": func(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
		var n int
		_, _ = fmt.Sscanf(string(body), `"n%d"`, &n)
		mu.Lock()
		bad = bad || n < last
		last = n
		mu.Unlock()
		return desk(ctx, tx, from, body)
	}}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := Carry(t.Context(), db, 1, handlers); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := taken(t, db, 2); len(got) != 30 || bad {
		t.Errorf("%d notes, out of order: %v", len(got), bad)
	}
}

func TestUnknownKindWaits(t *testing.T) {
	db := pgtest.New(t, pgtest.WithEnqueuer(&jobs{}))
	put(t, db, 1, 2, "a")
	if err := Carry(t.Context(), db, 1, nil); !errors.Is(err, ErrUnhandled) {
		t.Errorf("got %v, want %v", err, ErrUnhandled)
	}
	if n := undeliveredCount(t, db, 1); n != 1 {
		t.Errorf("%d messages left, want 1", n)
	}
}

func TestNoMessageToOneself(t *testing.T) {
	db := pgtest.New(t, pgtest.WithEnqueuer(&jobs{}))
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { return Put(t.Context(), tx, 1, "note", "a") })
	if !errors.Is(err, ErrSelf) {
		t.Errorf("got %v, want %v", err, ErrSelf)
	}
}

// A transaction that fails sends nothing, and leaves no hole in the numbers.
func TestRolledBackMessageIsNotSent(t *testing.T) {
	db := pgtest.New(t, pgtest.WithEnqueuer(&jobs{}))
	_ = db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		if err := Put(t.Context(), tx, 2, "note", "lost"); err != nil {
			t.Error(err)
		}
		return errors.New("no")
	})
	put(t, db, 1, 2, "a")
	batch, err := undelivered(t.Context(), db, 1, 2)
	if err != nil || len(batch) != 1 || batch[0].position != 1 {
		t.Errorf("got %+v, %v", batch, err)
	}
}
