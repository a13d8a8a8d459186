package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/jobs"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

type numbered struct {
	Tenant citygate.TenantID
	N      int
}

func (numbered) Kind() string { return "test.numbered" }

// open gives a database whose transactions enqueue into a running queue.
func open(t *testing.T, c jobs.Config) (*pg.DB, *jobs.Client) {
	t.Helper()
	db := pgtest.New(t)
	c.URL = pgtest.RoleURL(t, db, pglocal.Jobs)
	client, err := jobs.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := client.Stop(ctx); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return pgtest.Reopen(t, db, pgtest.WithEnqueuer(client)), client
}

func enqueue(t *testing.T, db *pg.DB, ns ...int) {
	t.Helper()
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		for _, n := range ns {
			if err := tx.Enqueue(t.Context(), numbered{tx.Tenant, n}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func drain(t *testing.T, client *jobs.Client) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return client.Drain(ctx)
}

// seen collects the numbers of the jobs that ran.
type seen struct {
	mu sync.Mutex
	ns []int
}

func (s *seen) handle(_ context.Context, args json.RawMessage) error {
	var j numbered
	if err := json.Unmarshal(args, &j); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ns = append(s.ns, j.N)
	return nil
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ns)
}

func TestAJobOfARolledBackTransactionDoesNotExist(t *testing.T) {
	var s seen
	db, client := open(t, jobs.Config{Handlers: map[string]jobs.Handler{"test.numbered": s.handle}})
	broken := errors.New("the work of the transaction failed")
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
		if err := tx.Enqueue(t.Context(), numbered{1, 1}); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	enqueue(t, db, 2)
	if err := drain(t, client); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.ns, []int{2}) {
		t.Errorf("jobs %v ran, want only that of the committed transaction", s.ns)
	}
}

func TestOneWorkerRunsJobsInTheOrderTheyWereAskedFor(t *testing.T) {
	var s seen
	var want []int
	db, client := open(t, jobs.Config{Workers: 1, Handlers: map[string]jobs.Handler{"test.numbered": s.handle}})
	for n := range 50 {
		enqueue(t, db, 2*n, 2*n+1)
		want = append(want, 2*n, 2*n+1)
	}
	if err := drain(t, client); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.ns, want) {
		t.Errorf("ran in the order %v", s.ns)
	}
}

// A job that asks for a job is drained with it.
func TestDrainWaitsForWhatJobsAskFor(t *testing.T) {
	var db *pg.DB
	var runs atomic.Int32
	more := func(ctx context.Context, args json.RawMessage) error {
		runs.Add(1)
		var j numbered
		if err := json.Unmarshal(args, &j); err != nil || j.N == 0 {
			return err
		}
		return db.InTenant(ctx, j.Tenant, func(tx *pg.Tx) error { return tx.Enqueue(ctx, numbered{j.Tenant, j.N - 1}) })
	}
	db, client := open(t, jobs.Config{Handlers: map[string]jobs.Handler{"test.numbered": more}})
	enqueue(t, db, 199)
	if err := drain(t, client); err != nil {
		t.Fatal(err)
	}
	if n := runs.Load(); n != 200 {
		t.Errorf("%d jobs ran, want the chain of 200", n)
	}
}

func TestAFailedJobIsReportedAndRunsAgain(t *testing.T) {
	var broken atomic.Bool
	var runs atomic.Int32
	broken.Store(true)
	handle := func(context.Context, json.RawMessage) error {
		runs.Add(1)
		if broken.Load() {
			return errors.New("the provider's gate is stuck")
		}
		return nil
	}
	db, client := open(t, jobs.Config{Handlers: map[string]jobs.Handler{"test.numbered": handle}})
	enqueue(t, db, 1)
	if err := drain(t, client); !errors.Is(err, jobs.ErrFailed) {
		t.Fatalf("Drain over a failed job: %v, want ErrFailed", err)
	}
	count, last := awaitFailed(t, client, 1)
	if count != 1 || !strings.Contains(last, "gate is stuck") {
		t.Errorf("Failed gives %d, %q", count, last)
	}
	broken.Store(false)
	if n, err := client.RetryNow(t.Context()); n != 1 || err != nil {
		t.Fatalf("RetryNow gives %d, %v", n, err)
	}
	if err := drain(t, client); err != nil {
		t.Fatal(err)
	}
	if n := runs.Load(); n != 2 {
		t.Errorf("the job ran %d times, want 2", n)
	}
	if count, _ := awaitFailed(t, client, 0); count != 0 {
		t.Errorf("%d jobs still count as failed", count)
	}
}

// awaitFailed waits for River's delayed bookkeeping to show want failures.
func awaitFailed(t *testing.T, client *jobs.Client, want int) (count int, last string) {
	t.Helper()
	for range 200 {
		var err error
		if count, last, err = client.Failed(t.Context()); err != nil {
			t.Fatal(err)
		}
		if count == want {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return count, last
}

// A panic of a handler is a failure of its job and of nothing else.
func TestAPanicIsAFailedJob(t *testing.T) {
	db, client := open(t, jobs.Config{Handlers: map[string]jobs.Handler{
		"test.numbered": func(context.Context, json.RawMessage) error { panic("a bug") },
	}})
	enqueue(t, db, 1)
	if err := drain(t, client); !errors.Is(err, jobs.ErrFailed) {
		t.Errorf("Drain over a panicking job: %v, want ErrFailed", err)
	}
}

func TestAJobWithoutHandlerIsKeptAndReported(t *testing.T) {
	db, client := open(t, jobs.Config{})
	enqueue(t, db, 1)
	if err := drain(t, client); !errors.Is(err, jobs.ErrFailed) {
		t.Errorf("Drain over an unknown job: %v, want ErrFailed", err)
	}
	super := pgtest.As(t, db, pglocal.Superuser)
	told := func() bool { // the queue writes it down a moment later
		return super.Count(0, `SELECT count(*) FROM river.river_job WHERE errors::text LIKE '%jobs.unknown_kind%'`) == 1
	}
	for range 500 {
		if told() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the job does not say what it lacks")
}

// The process was killed while it worked a job: the row says "running" and
// nobody is. The next process runs it.
func TestAJobOfAKilledProcessRunsAgain(t *testing.T) {
	db := pgtest.New(t)
	url := pgtest.RoleURL(t, db, pglocal.Jobs)
	asking, err := jobs.New(t.Context(), jobs.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	enqueue(t, pgtest.Reopen(t, db, pgtest.WithEnqueuer(asking)), 1)
	if err := asking.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	owner := pgtest.Owner(t, db)
	if n := owner.Exec(0, `UPDATE river.river_job SET state = 'running', attempt = 1, attempted_at = created_at, attempted_by = '{dead}'`); n != 1 {
		t.Fatalf("%d jobs, want 1", n)
	}
	var s seen
	next, err := jobs.New(t.Context(), jobs.Config{URL: url, Exclusive: true, Handlers: map[string]jobs.Handler{"test.numbered": s.handle}})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := drain(t, next); err != nil {
		t.Fatal(err)
	}
	if err := next.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.ns, []int{1}) {
		t.Errorf("jobs %v ran, want the killed process's", s.ns)
	}
}

// The queue follows commits closely enough to stand between two steps of a
// player: 500 small jobs, one at a time.
func TestDrainsFiveHundredSmallJobsInTwoSeconds(t *testing.T) {
	var s seen
	db, client := open(t, jobs.Config{Workers: 1, Handlers: map[string]jobs.Handler{"test.numbered": s.handle}})
	ns := make([]int, 500)
	for i := range ns {
		ns[i] = i
	}
	began := time.Now()
	enqueue(t, db, ns...)
	inserted := time.Since(began)
	if err := drain(t, client); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("500 jobs: enqueued one by one in %v, drained after %v", inserted, took-inserted)
	if !slices.Equal(s.ns, ns) {
		t.Errorf("%d jobs ran", len(s.ns))
	}
	if limit := 10 * time.Second; took > limit { // five times the promise: this machine may be busy
		t.Errorf("took %v, want less than %v", took, limit)
	}
	var each time.Duration
	for n := range 20 {
		began = time.Now()
		enqueue(t, db, n)
		if err := drain(t, client); err != nil {
			t.Fatal(err)
		}
		each += time.Since(began)
	}
	t.Logf("enqueue and drain of a single job: %v", each/20)
}

// The gateway's role may put a job in, and do nothing else to the queue.
func TestTheGatewayCannotReadOrChangeTheQueue(t *testing.T) {
	db := pgtest.New(t)
	for _, sql := range []string{
		`SELECT count(*) FROM river.river_job`,
		`UPDATE river.river_job SET state = 'available'`,
		`DELETE FROM river.river_job`,
		`SELECT count(*) FROM river.river_queue`,
		`INSERT INTO river.river_leader (elected_at, expires_at, leader_id) VALUES ('2026-01-01', '2026-01-02', 'x')`,
	} {
		err := db.InSystem(t.Context(), func(tx *pg.Tx) error {
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		if pg.SQLState(err) != pg.StateInsufficientRights {
			t.Errorf("%s: %v, want SQLSTATE 42501", sql, err)
		}
	}
	err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
}

// The queue's role reaches the queue, and no tenant's rows.
func TestTheQueuesRoleReachesNoTenantTable(t *testing.T) {
	db := pgtest.New(t)
	_, err := pgtest.As(t, db, pglocal.Jobs).Try(1, `SELECT count(*) FROM audit_log WHERE tenant_id = 1`)
	if pg.SQLState(err) != pg.StateInsufficientRights {
		t.Errorf("%v, want SQLSTATE 42501", err)
	}
}

func TestAQueueWithoutAnAddress(t *testing.T) {
	if _, err := jobs.New(t.Context(), jobs.Config{URL: "postgres://user:hunter2@[broken"}); !errors.Is(err, jobs.ErrConfig) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("opened: %v", err)
	}
}
