package jobs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A history remembers the runs of this process that have ended, because River
// writes their ends into the database in batches, up to a quarter of a second
// later. It only lets [Client.Drain] return sooner: for what it has forgotten,
// Drain waits for the row.
type history struct {
	mu       sync.Mutex
	active   map[runID]bool
	quiet    chan struct{} // has an element when the last active run has ended
	count    int64         // of runs that have ended
	ended    map[runID]ending
	endedOld map[runID]ending // the generation before, so that memory is bounded
}

// An ending is how a run ended, and the how-manieth of all endings it was.
type ending struct {
	ok bool
	n  int64
}

type runID struct {
	job     int64
	attempt int
}

// endedMax bounds each of the two generations.
const endedMax = 20_000

func newHistory() *history {
	return &history{active: map[runID]bool{}, quiet: make(chan struct{}, 1), ended: map[runID]ending{}}
}

type run struct {
	history *history
	id      runID
}

func (h *history) begin(job int64, attempt int) run {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := run{h, runID{job, attempt}}
	h.active[r.id] = true
	return r
}

func (r run) end(ok bool) {
	h := r.history
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.active, r.id)
	if len(h.ended) >= endedMax {
		h.ended, h.endedOld = map[runID]ending{}, h.ended
	}
	h.count++
	h.ended[r.id] = ending{ok, h.count}
	if len(h.active) == 0 {
		select {
		case h.quiet <- struct{}{}:
		default:
		}
	}
}

// outcome tells how a run ended, if it is known to have.
func (h *history) outcome(id runID) (e ending, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e, known = h.ended[id]; !known {
		e, known = h.endedOld[id]
	}
	return e, known
}

func (h *history) endings() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}

// busy reports whether a run is active.
func (h *history) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.active) > 0
}

func (h *history) isActive(id runID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.active[id]
}

// A state is what the queue holds at one moment.
type state struct {
	waiting int // may run now and does not
	running int
	failed  int // failed, and wait for their next try or have none left
}

const unfinished = `
	SELECT id, attempt, state::text, state = 'available' AND scheduled_at <= now()
	FROM river.river_job
	WHERE state IN ('available', 'running', 'retryable', 'scheduled', 'pending', 'discarded')`

// state asks the database, and takes the history's word only for runs that had
// ended before it asked: a job that a run put in is then in the answer.
func (c *Client) state(ctx context.Context) (s state, err error) {
	before := c.ran.endings()
	rows, err := c.pool.Query(ctx, unfinished)
	if err != nil {
		return s, err
	}
	var id runID
	var name string
	var due bool
	_, err = pgx.ForEachRow(rows, []any{&id.job, &id.attempt, &name, &due}, func() error {
		switch {
		case due:
			s.waiting++
		case name == "running":
			switch end, known := c.ran.outcome(id); {
			case !known || end.n > before:
				s.running++
			case !end.ok:
				s.failed++
			}
		default:
			s.failed++ // we schedule nothing for later but retries
		}
		return nil
	})
	return s, err
}

// Idle reports whether no job is running or may run now. Jobs that failed and
// wait for their next try do not count: see [Client.Failed].
func (c *Client) Idle(ctx context.Context) (bool, error) {
	s, err := c.state(ctx)
	return err == nil && s.waiting == 0 && s.running == 0, err
}

// Backlog gives the number of jobs that are running or may run now.
func (c *Client) Backlog(ctx context.Context) (int, error) {
	s, err := c.state(ctx)
	return s.waiting + s.running, err
}

// nudge wakes the workers when a commit's notification was swallowed: River
// sends at most one in a millisecond.
const nudge = `SELECT pg_notify('river.river_insert', '{"queue": "default"}')`

// Drain waits until no job is running or may run now, jobs asked for meanwhile
// by jobs included. If jobs have failed by then it says so by [ErrFailed].
func (c *Client) Drain(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.ran.quiet:
		default:
		}
		s, err := c.state(ctx)
		switch {
		case err != nil:
			return err
		case s.waiting > 0 && s.running == 0:
			if _, err := c.pool.Exec(ctx, nudge); err != nil {
				return err
			}
		case s.waiting == 0 && s.running == 0 && s.failed > 0:
			_, last, err := c.Failed(ctx)
			if err != nil {
				return err
			}
			return ErrFailed.Because(nil, "%d jobs; the last one: %s", s.failed, last)
		case s.waiting == 0 && s.running == 0:
			return nil
		}
		for asked := true; asked; asked = c.ran.busy() { // while we work there is nothing to ask the database
			select {
			case <-c.ran.quiet:
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("draining the job queue: %d waiting, %d running: %w", s.waiting, s.running, ctx.Err())
			}
		}
	}
}

const failed = `
	SELECT count(*), coalesce((array_agg(coalesce(args ->> 'name', kind) || ': ' || (errors[array_length(errors, 1)] ->> 'error')
		ORDER BY attempted_at DESC, id DESC))[1], '')
	FROM river.river_job
	WHERE state IN ('retryable', 'discarded', 'available') AND array_length(errors, 1) > 0`

// Failed gives the number of jobs whose last try failed and that wait for the
// next or have none left, and the error of the latest.
func (c *Client) Failed(ctx context.Context) (count int, last string, err error) {
	err = c.pool.QueryRow(ctx, failed).Scan(&count, &last)
	return count, last, err
}

const retryNow = `
	UPDATE river.river_job
	SET state = 'available', scheduled_at = now(), finalized_at = NULL, max_attempts = greatest(max_attempts, attempt + 1)
	WHERE state IN ('retryable', 'discarded') OR (state = 'available' AND scheduled_at > now())`

// RetryNow makes every failed job run again at once, also those that have no
// try left, and gives their number.
func (c *Client) RetryNow(ctx context.Context) (int, error) {
	tag, err := c.pool.Exec(ctx, retryNow)
	if err != nil {
		return 0, err
	}
	_, err = c.pool.Exec(ctx, nudge)
	return int(tag.RowsAffected()), err
}
