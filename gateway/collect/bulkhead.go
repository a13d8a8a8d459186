package collect

import (
	"context"
	"fmt"
	"sync"

	"github.com/cashlesscity/citygate"
)

// A Bulkhead collects each contract beside all others, so that a provider that
// hangs holds up its own contract and nothing else: not the job that found its
// charges due, and not another contract or tenant. A contract is collected by
// one goroutine at a time; what becomes due meanwhile is found when the next
// job looks. Nothing is lost with a goroutine: what it was about is in rows.
type Bulkhead struct {
	most   int
	failed func(error)
	ctx    context.Context // of the process
	stop   context.CancelFunc

	mu      sync.Mutex
	running map[bulkheadKey]bool
	group   sync.WaitGroup
}

type bulkheadKey struct {
	tenant   citygate.TenantID
	contract string
}

// NewBulkhead lets at most so many contracts be collected at once; others wait
// for the next look. failed hears of what went wrong.
func NewBulkhead(most int, failed func(error)) *Bulkhead {
	ctx, stop := context.WithCancel(context.Background())
	return &Bulkhead{most: most, failed: failed, ctx: ctx, stop: stop, running: map[bulkheadKey]bool{}}
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

// start has work done beside the caller, unless the contract is being collected
// already or too many are.
func (b *Bulkhead) start(tenant citygate.TenantID, contract string, work func(context.Context) error) {
	key := bulkheadKey{tenant, contract}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running[key] || len(b.running) >= b.most {
		return
	}
	b.running[key] = true
	b.group.Go(func() {
		if err := work(b.ctx); err != nil && b.ctx.Err() == nil {
			b.failed(fmt.Errorf("collect, tenant %d, contract %s: %w", tenant, contract, err))
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.running, key)
	})
}
