package collect

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
)

// A Task is one kind of work with a contract's provider.
type Task string

// The tasks. One that hangs keeps no other of its contract waiting.
const (
	TaskCharges Task = "charges"
	TaskBills   Task = "bills"
	TaskCodes   Task = "codes"
	TaskLists   Task = "lists"
	TaskPush    Task = "push" // what the provider is told

	TaskAgreements Task = "agreements"
	TaskTill       Task = "till" // payments on payment codes
	TaskCards      Task = "cards"
	TaskRiders     Task = "riders" // how they stand
)

// A Bulkhead does each task of each contract beside all others, so that a provider
// that hangs holds up its own task and nothing else: not the job that found it due,
// and not another contract or tenant. A task is done by one goroutine at a time;
// what becomes due meanwhile is found when the next job looks. Nothing is lost with
// a goroutine: what it was about is in rows.
//
// Work that has gone on for longer than [hung] waits for somebody and counts no
// more among the most at once, nor does it from the start when the same task waited
// so long the last time: providers that hang cost others a moment, once, and not one
// each round. A tenant has its share of them and no more. A task
// that failed breakerFailures times in a row is left alone for a while, twice as
// long each time (charges and payments at tills are not: their breaker is a row, see
// health.go, and one payment that fails keeps no customer waiting).
type Bulkhead struct {
	most   int
	clock  citygate.Clock
	failed func(error)
	ctx    context.Context // of the process
	stop   context.CancelFunc

	mu      sync.Mutex
	running map[bulkheadKey]time.Time // since when
	slow    map[bulkheadKey]bool      // hung the last time
	breaker map[bulkheadKey]pause
	group   sync.WaitGroup
}

type bulkheadKey struct {
	tenant   citygate.TenantID
	contract string
	task     Task
}

type pause struct {
	failures int
	until    time.Time
}

const (
	hung         = 2 * time.Second
	hungAtMost   = 16 // times most: what waits takes memory
	tenantsShare = 4  // of most: a tenant has a quarter
	pauseMost    = 15 * time.Minute
)

// NewBulkhead lets so many tasks be worked at at once; others wait for the next
// look. clock is the platform's, failed hears of what went wrong.
func NewBulkhead(most int, clock citygate.Clock, failed func(error)) *Bulkhead {
	ctx, stop := context.WithCancel(context.Background())
	return &Bulkhead{most: most, clock: clock, failed: failed, ctx: ctx, stop: stop, running: map[bulkheadKey]time.Time{}, slow: map[bulkheadKey]bool{}, breaker: map[bulkheadKey]pause{}}
}

// Stop ends the calls under way, whose outcomes then are open, and waits for
// their goroutines.
func (b *Bulkhead) Stop() {
	b.mu.Lock()
	b.most = 0
	b.mu.Unlock()
	b.stop()
	b.group.Wait()
}

// Do has work done beside the caller, unless the same task is under way already,
// is left alone for a while, or too many are; without a bulkhead the caller does it.
func (b *Bulkhead) Do(ctx context.Context, task Task, tenant citygate.TenantID, contract string, work func(context.Context) error) error {
	if b == nil {
		return work(ctx)
	}
	key := bulkheadKey{tenant, contract, task}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.admits(key, b.clock()) {
		return nil
	}
	b.running[key] = b.clock()
	b.group.Go(func() { // it outlives the caller
		err := contained(b.ctx, work)
		if err != nil && b.ctx.Err() == nil {
			b.failed(fmt.Errorf("%s, tenant %d, contract %s: %w", task, tenant, contract, err))
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.noteTime(key, b.clock())
		delete(b.running, key)
		b.note(key, err, b.clock())
	})
	return nil
}

// contained does work of which a panic is an error: an adapter's mistake is its
// contract's affair, and the process has others to serve.
func contained(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = adapters.Panicked("the task", p)
		}
	}()
	return work(ctx)
}

func (b *Bulkhead) admits(key bulkheadKey, now time.Time) bool {
	if _, under := b.running[key]; under || now.Before(b.breaker[key].until) || len(b.running) >= b.most*hungAtMost {
		return false
	}
	own, working := 0, 0
	for k, since := range b.running {
		if k.tenant == key.tenant {
			own++
		}
		if now.Sub(since) < hung && !b.slow[k] {
			working++
		}
	}
	return (working < b.most || b.slow[key]) && own < max(1, b.most/tenantsShare)
}

// noteTime keeps whether a task that ends now has hung.
func (b *Bulkhead) noteTime(key bulkheadKey, now time.Time) {
	if now.Sub(b.running[key]) < hung {
		delete(b.slow, key)
		return
	}
	b.slow[key] = true
}

// note keeps how a task ended.
func (b *Bulkhead) note(key bulkheadKey, err error, now time.Time) {
	if err == nil || key.task == TaskCharges || key.task == TaskTill {
		delete(b.breaker, key)
		return
	}
	p := b.breaker[key]
	if p.failures++; p.failures >= breakerFailures {
		p.until = now.Add(min(breakerWait<<min(p.failures-breakerFailures, 5), pauseMost))
	}
	b.breaker[key] = p
}
