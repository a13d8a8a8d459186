package jobs

import (
	"context"
	"sync"
	"time"
)

// A queue is crowded when more than this many jobs wait for each worker.
const waitingEach = 4

// defaultPatience bounds [Client.Yield].
const defaultPatience = time.Second

// lookEvery is how often a crowded queue is looked at again.
const lookEvery = 10 * time.Millisecond

const waiting = `
	SELECT count(*) FROM (
		SELECT FROM river.river_job WHERE state = 'available' AND queue = 'default' AND scheduled_at <= now() LIMIT $1) AS w`

// A gate holds back those who make work while the queue is crowded.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // while it is shut: closed when it opens
}

// Yield waits while the queue is crowded, so that those who make work let those
// who do it catch up. It never waits longer than the patience of the [Config] and
// refuses nothing: what it is asked before goes on then, however long the queue
// is. It returns at once where this process works no queue or cannot look.
func (c *Client) Yield(ctx context.Context) {
	if !c.started {
		return
	}
	opened := c.gate.wait(func() bool { return c.crowded(ctx) }, c.reopen)
	if opened == nil {
		return
	}
	patience := time.NewTimer(c.patience)
	defer patience.Stop()
	select {
	case <-opened:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// wait gives nil if the gate is open and stays so, else what is closed when it
// opens. Whoever shuts it has watch open it again.
func (g *gate) wait(crowded func() bool, watch func()) <-chan struct{} {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	if opened != nil {
		return opened
	}
	if !crowded() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
		go watch()
	}
	return g.opened
}

// reopen opens the gate when the queue is not crowded any more.
func (c *Client) reopen() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for c.crowded(context.Background()) {
		<-tick.C
	}
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	close(c.gate.opened)
	c.gate.opened = nil
}

// crowded looks at the queue. One that cannot be looked at, as when the client
// was stopped, counts as empty.
func (c *Client) crowded(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, defaultPatience)
	defer cancel()
	most := waitingEach*c.workers - c.turns.waiting()
	if most < 0 {
		return true
	}
	var n int
	err := c.pool.QueryRow(ctx, waiting, most+1).Scan(&n)
	return err == nil && n > most
}
