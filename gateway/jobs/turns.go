package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// A Lane is something that two jobs may not use at once, unless both share it.
type Lane struct {
	Name   string
	Shared bool
}

// Together says how several jobs of one kind are done at once, for less than they
// cost one by one.
type Together struct {
	// Key names the jobs that can be done together; "" = this one cannot.
	Key func(args json.RawMessage) string
	// Run does the jobs, in this order. Where it fails each is done by itself.
	Run func(ctx context.Context, args []json.RawMessage) error
}

const (
	// ahead is how many jobs a process that has the queue to itself fetches
	// before it has a worker for them: a fetch costs as much as a small job, and
	// only what is here can be done together.
	ahead = 16
	// turnTimeout bounds the work of one turn.
	turnTimeout = 15 * time.Minute
	// lostAfter is how long a fetched job may take to begin before others stop
	// waiting for it. River begins each at once unless it is shutting down.
	lostAfter = 10 * time.Second
)

// A ticket is a job that this process has fetched and not ended.
type ticket struct {
	id    runID
	name  string
	args  json.RawMessage
	lanes []Lane
	group string // the kind and key of those it can be done with; "" = alone

	arrived bool
	running bool
	lost    *time.Timer    // drops it if it does not arrive
	lead    chan []*ticket // gets the tickets that its worker does: itself, and others
	done    chan error     // gets the result if another's worker did it
}

func (t *ticket) meets(u *ticket) bool {
	for _, a := range t.lanes {
		for _, b := range u.lanes {
			if a.Name == b.Name && (!a.Shared || !b.Shared) {
				return true
			}
		}
	}
	return false
}

// turns gives the jobs of this process their turns, in the order in which they
// were asked for: as many at once as there are workers, and none beside an
// earlier one that it shares a lane with.
type turns struct {
	laneOf   func(name string, args json.RawMessage) []Lane
	together map[string]Together

	mu      sync.Mutex
	free    int       // workers
	tickets []*ticket // by id
}

func (q *turns) ticket(id runID, e envelope) *ticket {
	t := &ticket{id: id, name: e.Name, args: e.Payload, lead: make(chan []*ticket, 1), done: make(chan error, 1)}
	if q.laneOf != nil {
		t.lanes = q.laneOf(e.Name, e.Payload)
	}
	if how, ok := q.together[e.Name]; ok {
		if key := how.Key(e.Payload); key != "" {
			t.group = e.Name + " " + key
		}
	}
	return t
}

// fetched notes jobs before they begin, which they do in any order.
func (q *turns) fetched(rows []*rivertype.JobRow) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, row := range rows {
		var e envelope
		if row.Kind != (envelope{}).Kind() || json.Unmarshal(row.EncodedArgs, &e) != nil {
			continue // River says so; it comes to no worker
		}
		t := q.ticket(runID{row.ID, row.Attempt}, e)
		t.lost = time.AfterFunc(lostAfter, func() { q.drop(t) })
		q.insert(t)
	}
}

func (q *turns) insert(t *ticket) {
	i, _ := slices.BinarySearchFunc(q.tickets, t, func(a, b *ticket) int {
		return cmp.Or(cmp.Compare(a.id.job, b.id.job), cmp.Compare(a.id.attempt, b.id.attempt))
	})
	q.tickets = slices.Insert(q.tickets, i, t)
}

// drop forgets a ticket whose job did not begin.
func (q *turns) drop(t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !t.arrived && !t.running {
		q.remove(t)
		q.dispatch()
	}
}

func (q *turns) remove(t *ticket) {
	q.tickets = slices.DeleteFunc(q.tickets, func(u *ticket) bool { return u == t })
}

// arrive gives the ticket of a job that begins.
func (q *turns) arrive(id runID, e envelope) *ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.tickets, func(t *ticket) bool { return t.id == id && !t.arrived })
	var t *ticket
	if i >= 0 {
		t = q.tickets[i]
		t.lost.Stop()
	} else {
		t = q.ticket(id, e)
		q.insert(t)
	}
	t.arrived = true
	q.dispatch()
	return t
}

// dispatch gives turns to those whose turn it is.
func (q *turns) dispatch() {
	for i := 0; i < len(q.tickets) && q.free > 0; i++ {
		t := q.tickets[i]
		if t.running || slices.ContainsFunc(q.tickets[:i], t.meets) {
			continue
		}
		if !t.arrived {
			return // it comes at once, and goes first
		}
		q.free--
		with := q.companions(i)
		for _, u := range with {
			u.running = true
		}
		t.lead <- with
	}
}

// companions gives the ticket at i and those that can be done together with it:
// none that would overtake an earlier one it shares a lane with.
func (q *turns) companions(i int) []*ticket {
	first := q.tickets[i]
	with := []*ticket{first}
	if first.group == "" {
		return with
	}
	for k := i + 1; k < len(q.tickets); k++ {
		t := q.tickets[k]
		overtakes := func(u *ticket) bool { return t.meets(u) && !slices.Contains(with, u) }
		if !t.running && t.group == first.group && !slices.ContainsFunc(q.tickets[:k], overtakes) {
			with = append(with, t)
		}
	}
	return with
}

// waiting counts the jobs that are here and have not had their turn.
func (q *turns) waiting() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.tickets {
		if !t.running {
			n++
		}
	}
	return n
}

// end notes that tickets have been done and frees their worker.
func (q *turns) end(with []*ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range with {
		q.remove(t)
	}
	q.free++
	q.dispatch()
}

// part leaves first alone with its worker: the others wait for turns of their own.
func (q *turns) part(with []*ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range with {
		t.group = ""
		t.running = t == with[0]
	}
	q.dispatch()
}

// leave takes back a ticket whose context has ended, and tells whether it had
// not got its turn.
func (q *turns) leave(t *ticket) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.running {
		return false
	}
	q.remove(t)
	q.dispatch()
	return true
}

// do works a job when its turn has come, or waits until another's turn did it.
func (q *turns) do(ctx context.Context, id runID, e envelope, handle Handler) error {
	t := q.arrive(id, e)
	ended := ctx.Done()
	for {
		select {
		case with := <-t.lead:
			return q.turn(ctx, with, handle)
		case err := <-t.done:
			return err
		case <-ended:
			if q.leave(t) {
				return ctx.Err()
			}
			ended = nil // whoever has it hears of the end too
		}
	}
}

// turn works tickets: together if there are several, and where that fails the
// first one by itself.
func (q *turns) turn(ctx context.Context, with []*ticket, handle Handler) error {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	defer func() { q.end(with) }() // also when the handler panics
	if len(with) > 1 {
		if q.inOne(ctx, with) {
			for _, t := range with[1:] {
				t.done <- nil
			}
			return nil
		}
		q.part(with)
		with = with[:1]
	}
	return handle(ctx, with[0].args)
}

// inOne does tickets together and tells whether that went well. A panic will show
// again, in the job that has it.
func (q *turns) inOne(ctx context.Context, with []*ticket) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	args := make([]json.RawMessage, len(with))
	for i, t := range with {
		args[i] = t.args
	}
	return q.together[with[0].name].Run(ctx, args) == nil
}
