package jobs

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A job is stuck when its row says that this process runs it and this process
// does not: the answer to the fetch was lost, or the end could not be written,
// because the database went away at that moment. River has an hour's patience
// with such rows. We know better and give them back.
//
// A row counts as stuck when this many sweeps in a row found it so: soon if the
// run never began here, later if it ended here, since River goes on trying to
// write an end for up to 40 seconds.
const (
	sweepEvery   = time.Second
	sweepsUnseen = 3
	sweepsEnded  = 60
)

// ourRunning names the jobs this process should be running: those it fetched, and
// where it has the queue to itself everybody's. A process that was killed while it
// fetched leaves a session behind that may finish the fetch after we started, and
// nobody else would ever give those jobs back.
const ourRunning = `
	SELECT id, attempt FROM river.river_job
	WHERE state = 'running' AND (attempted_by[array_length(attempted_by, 1)] = $1 OR $2)`

const giveBack = `UPDATE river.river_job SET state = 'available' WHERE id = $1 AND attempt = $2 AND state = 'running'`

// sweepUntilStopped gives stuck jobs back until stopSweep is called or ctx ends.
func (c *Client) sweepUntilStopped(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		found := map[runID]int{} // in how many sweeps in a row
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// An error means that the database is away: the next sweep asks again,
			// and forgets nothing meanwhile.
			if next, err := c.sweep(ctx, found); err == nil {
				found = next
			}
		}
	})
	c.stopSweep = func() { cancel(); wg.Wait() }
}

func (c *Client) sweep(ctx context.Context, before map[runID]int) (map[runID]int, error) {
	rows, err := c.pool.Query(ctx, ourRunning, c.river.ID(), c.exclusive)
	if err != nil {
		return nil, err
	}
	var id runID
	now := map[runID]int{}
	_, err = pgx.ForEachRow(rows, []any{&id.job, &id.attempt}, func() error {
		if !c.ran.isActive(id) {
			now[id] = before[id] + 1
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for id, sweeps := range now {
		limit := sweepsUnseen
		if _, ended := c.ran.outcome(id); ended {
			limit = sweepsEnded
		}
		if sweeps >= limit {
			if _, err := c.pool.Exec(ctx, giveBack, id.job, id.attempt); err != nil {
				return nil, err
			}
			delete(now, id)
		}
	}
	return now, nil
}
