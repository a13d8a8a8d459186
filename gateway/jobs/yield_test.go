package jobs_test

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/jobs"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// Whoever makes work waits while the queue is crowded, until it is not, and never
// for longer than the patience.
func TestYield(t *testing.T) {
	const crowd = 20
	for _, c := range []struct {
		name     string
		patience time.Duration
		crowd    int
		waits    bool
	}{
		{"crowded", time.Hour, crowd, true},
		{"a few jobs", time.Hour, 3, false},
		{"patience over", time.Millisecond, crowd, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := make(chan struct{})
			release := sync.OnceFunc(func() { close(stop) })
			defer release()
			var done atomic.Int64
			db, client := open(t, jobs.Config{Patience: c.patience, Handlers: map[string]jobs.Handler{
				"test.numbered": func(context.Context, json.RawMessage) error {
					<-stop
					done.Add(1)
					return nil
				},
			}})
			client.Yield(t.Context()) // an empty queue keeps nobody
			ns := make([]int, c.crowd)
			enqueue(t, db, ns...)
			if c.waits {
				time.AfterFunc(300*time.Millisecond, release)
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { client.Yield(t.Context()) })
			}
			wg.Wait()
			if n := done.Load(); c.waits != (n > 0) {
				t.Errorf("%d of %d jobs were done when it returned", n, c.crowd)
			}
			release()
			if err := client.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A process that works no queue has nobody to give way to.
func TestYieldWithoutWorkers(t *testing.T) {
	db := pgtest.New(t)
	client, err := jobs.New(t.Context(), jobs.Config{URL: pgtest.RoleURL(t, db, "citygate_jobs"), Patience: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Stop(context.Background()) }()
	enqueue(t, pgtest.Reopen(t, db, pgtest.WithEnqueuer(client)), make([]int, 50)...)
	client.Yield(t.Context())
}
