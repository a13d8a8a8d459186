package jobs_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/jobs"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// The answer to a fetch was lost: the row says that this process runs the job,
// and it does not. It gives the job back to itself.
func TestAJobThatNobodyRunsIsGivenBack(t *testing.T) {
	var s seen
	db, client := open(t, jobs.Config{Handlers: map[string]jobs.Handler{"test.numbered": s.handle}})
	enqueue(t, db, 1)
	if err := drain(t, client); err != nil {
		t.Fatal(err)
	}
	// Once River has written the end, take it back as if the job had been fetched
	// once more and the fetch's answer lost.
	owner := pgtest.Owner(t, db)
	for range 200 {
		if owner.Exec(0, `UPDATE river.river_job SET state = 'running', finalized_at = NULL, attempt = attempt + 1 WHERE state = 'completed'`) == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := drain(t, client); err != nil {
		t.Fatal(err)
	}
	if len(s.ns) != 2 {
		t.Errorf("the job ran %d times, want 2", len(s.ns))
	}
}

// A process was killed while it fetched, and its session ended the fetch after the
// next process had started: the row names a process that is no more. Whoever has
// the queue to itself takes the job; beside others it may be at work.
func TestAFetchThatOutlivedItsProcess(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		var s seen
		db, client := open(t, jobs.Config{Handlers: map[string]jobs.Handler{"test.numbered": s.handle}, Exclusive: exclusive})
		enqueue(t, db, 1)
		if err := drain(t, client); err != nil {
			t.Fatal(err)
		}
		owner := pgtest.Owner(t, db)
		for range 200 {
			if owner.Exec(0, `UPDATE river.river_job SET state = 'running', finalized_at = NULL, attempt = attempt + 1,
				attempted_by = array_append(attempted_by, 'a process that was killed') WHERE state = 'completed'`) == 1 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		want := 2
		if !exclusive {
			want = 1
			time.Sleep(5 * time.Second) // longer than a sweep takes to give a job back
		} else if err := drain(t, client); err != nil {
			t.Fatal(err)
		}
		if ran := s.count(); ran != want {
			t.Errorf("exclusive %v: the job ran %d times, want %d", exclusive, ran, want)
		}
	}
}

// PostgreSQL is killed while jobs run, and comes back. Every job whose enqueueing
// was acknowledged runs to its end, without a restart of the workers.
func TestJobsOutliveAKilledPostgreSQL(t *testing.T) {
	server := pgtest.Private(t, nil)
	var done [200]atomic.Bool
	handle := func(_ context.Context, args json.RawMessage) error {
		var j numbered
		if err := json.Unmarshal(args, &j); err != nil {
			return err
		}
		done[j.N].Store(true)
		return nil
	}
	client, err := jobs.New(t.Context(), jobs.Config{
		URL: server.URL(pglocal.Jobs, ""), Workers: 2, Handlers: map[string]jobs.Handler{"test.numbered": handle},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Stop(context.Background()) }()
	db := pgtest.Open(t, server, pgtest.WithEnqueuer(client))
	acknowledged := map[int]bool{}
	for n := range done {
		if n == 100 {
			server.KillAll()
			if err := server.Restart(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		err := db.InTenant(t.Context(), 1, func(tx *pg.Tx) error { return tx.Enqueue(t.Context(), numbered{1, n}) })
		acknowledged[n] = err == nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if err := client.Drain(ctx); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	lost := 0
	for n := range done {
		if acknowledged[n] && !done[n].Load() {
			lost++
		}
	}
	if lost > 0 || ctx.Err() != nil {
		t.Errorf("%d of %d acknowledged jobs did not run, %v", lost, len(acknowledged), ctx.Err())
	}
}
