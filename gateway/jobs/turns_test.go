package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/riverqueue/river/rivertype"
)

// A stage is turns with jobs on it that end when they are told to.
type stage struct {
	*turns
	t       *testing.T
	mu      sync.Mutex
	began   chan string // the jobs as they begin: "3", or "3+4+5" where they are done together
	release map[string]chan error
	results map[int64]chan error
}

func newStage(t *testing.T, workers int, laneOf func(string, json.RawMessage) []Lane) *stage {
	s := &stage{t: t, began: make(chan string, 100), release: map[string]chan error{}, results: map[int64]chan error{}}
	s.turns = &turns{free: workers, laneOf: laneOf, together: map[string]Together{"sum": {
		Key: func(args json.RawMessage) string { return strings.Trim(string(args), `"`)[:1] },
		Run: func(_ context.Context, all []json.RawMessage) error {
			names := make([]string, len(all))
			for i, a := range all {
				names[i] = strings.Trim(string(a), `"`)
			}
			return s.play(strings.Join(names, "+"))
		},
	}}}
	return s
}

func (s *stage) gate(name string) chan error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.release[name] == nil {
		s.release[name] = make(chan error, 1)
	}
	return s.release[name]
}

func (s *stage) play(name string) error {
	s.began <- name
	err := <-s.gate(name)
	if err != nil && err.Error() == "panic" {
		panic("a bug")
	}
	return err
}

func (s *stage) end(name string, err error) { s.gate(name) <- err }

// fetch tells of jobs "kind:args" with ids from first on, and has them arrive in
// the order of arrivals.
func (s *stage) fetch(first int64, arrivals []int, jobs ...string) {
	rows := make([]*rivertype.JobRow, len(jobs))
	envelopes := make([]envelope, len(jobs))
	for i, j := range jobs {
		name, args, _ := strings.Cut(j, ":")
		envelopes[i] = envelope{name, json.RawMessage(fmt.Sprintf("%q", args))}
		raw, err := json.Marshal(envelopes[i])
		if err != nil {
			s.t.Fatal(err)
		}
		rows[i] = &rivertype.JobRow{ID: first + int64(i), Attempt: 1, Kind: envelope{}.Kind(), EncodedArgs: raw}
	}
	s.fetched(rows)
	for _, i := range arrivals {
		id := first + int64(i)
		result := make(chan error, 1)
		s.results[id] = result
		handle := func(_ context.Context, args json.RawMessage) error { return s.play(strings.Trim(string(args), `"`)) }
		before := s.here()
		go func() {
			defer func() {
				if p := recover(); p != nil {
					result <- fmt.Errorf("%v", p)
				}
			}()
			result <- s.do(s.t.Context(), runID{id, 1}, envelopes[i], handle)
		}()
		for s.here() == before { // the next one arrives later
			runtime.Gosched()
		}
	}
}

func (s *stage) here() (n int) {
	s.mu2(func() {
		for _, t := range s.tickets {
			if t.arrived {
				n++
			}
		}
	})
	return n
}

func (s *stage) mu2(f func()) {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	f()
}

// begins checks that these jobs begin, in any order, and no others.
func (s *stage) begins(want ...string) {
	s.t.Helper()
	got := make([]string, 0, len(want))
	for range want {
		got = append(got, <-s.began)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Fatalf("%v began, want %v", got, want)
	}
	running := 0
	s.mu2(func() {
		for _, t := range s.tickets {
			if len(t.lead) > 0 {
				running++
			}
		}
	})
	if n := len(s.began) + running; n > 0 {
		s.t.Fatalf("after %v %d others began", want, n)
	}
}

func (s *stage) result(id int64, want string) {
	s.t.Helper()
	if err := <-s.results[id]; fmt.Sprint(err) != want {
		s.t.Errorf("job %d ended with %v, want %s", id, err, want)
	}
}

// River begins the jobs of a fetch all at once; their turns come by their ids.
func TestTurnsComeInTheOrderOfAsking(t *testing.T) {
	s := newStage(t, 1, nil)
	s.fetch(1, []int{2, 1, 0}, "one:a", "one:b", "one:c")
	for i, name := range []string{"a", "b", "c"} {
		s.begins(name)
		s.end(name, nil)
		s.result(int64(i+1), "<nil>")
	}
}

// A job that was fetched and does not begin, as in a shutdown, stops the others
// for a while only.
func TestAJobThatDoesNotBeginIsNotWaitedForForever(t *testing.T) {
	s := newStage(t, 1, nil)
	s.fetch(1, []int{1}, "one:a", "one:b")
	s.begins()
	s.drop(s.tickets[0])
	s.begins("b")
	s.end("b", nil)
	s.result(2, "<nil>")
}

func lanesByName(name string, args json.RawMessage) []Lane {
	if name == "message" {
		return []Lane{{Name: "messages"}}
	}
	return []Lane{{Name: "messages", Shared: true}, {Name: string(args)}}
}

// Jobs of one lane go one after another, those that share it side by side, and
// nobody overtakes an earlier job that it meets.
func TestLanes(t *testing.T) {
	s := newStage(t, 4, lanesByName)
	s.fetch(1, []int{0, 1, 2, 3, 4}, "due:a", "due:a", "due:b", "message:m", "due:c")
	s.begins("a", "b") // the second of a waits for the first; c for m, which waits for all before it
	s.end("b", nil)
	s.begins()
	s.end("a", nil)
	s.begins("a")
	s.end("a", nil)
	s.begins("m")
	s.end("m", nil)
	s.begins("c")
	s.end("c", nil)
	for id := range int64(5) {
		s.result(id+1, "<nil>")
	}
}

// Jobs that wait are done together, each once; what came between and may not be
// overtaken keeps them apart.
func TestJobsAreDoneTogether(t *testing.T) {
	s := newStage(t, 1, func(string, json.RawMessage) []Lane { return []Lane{{Name: "all"}} })
	s.fetch(1, []int{0}, "one:x")
	s.begins("x")
	s.fetch(2, []int{4, 3, 2, 1, 0}, "sum:a1", "sum:a2", "sum:b3", "sum:a4", "sum:a5")
	s.end("x", nil)
	for _, name := range []string{"a1+a2", "b3", "a4+a5"} {
		s.begins(name)
		s.end(name, nil)
	}
	for id := range int64(6) {
		s.result(id+1, "<nil>")
	}
	if len(s.tickets) != 0 || s.free != 1 {
		t.Errorf("%d tickets are left, %d workers free", len(s.tickets), s.free)
	}
}

// Where jobs fail together, or the handler panics, each is done by itself, and
// fails by itself.
func TestOneOfManyFails(t *testing.T) {
	for _, how := range []string{"broken", "panic"} {
		s := newStage(t, 1, nil)
		s.fetch(1, []int{0}, "one:x")
		s.begins("x")
		s.fetch(2, []int{0, 1, 2}, "sum:a1", "sum:a2", "sum:a3")
		s.end("x", nil)
		s.begins("a1+a2+a3")
		s.end("a1+a2+a3", errors.New(how))
		for _, name := range []string{"a1", "a2", "a3"} {
			s.begins(name)
			if name == "a2" {
				s.end(name, errors.New("a2 is broken"))
			} else {
				s.end(name, nil)
			}
		}
		for id, want := range map[int64]string{2: "<nil>", 3: "a2 is broken", 4: "<nil>"} {
			s.result(id, want)
		}
	}
}

// A panic frees the worker and takes nobody along.
func TestAPanicEndsItsTurn(t *testing.T) {
	s := newStage(t, 1, nil)
	s.fetch(1, []int{0, 1}, "one:a", "one:b")
	s.begins("a")
	s.end("a", errors.New("panic"))
	s.result(1, "a bug")
	s.begins("b")
	s.end("b", nil)
	s.result(2, "<nil>")
}

// A job whose context ends before its turn gives its place up.
func TestACancelledJobLeaves(t *testing.T) {
	s := newStage(t, 1, nil)
	s.fetch(1, []int{0}, "one:a")
	s.begins("a")
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		left <- s.do(ctx, runID{2, 1}, envelope{Name: "one"}, func(context.Context, json.RawMessage) error { return nil })
	}()
	for s.here() == 1 {
		runtime.Gosched()
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of its context", err)
	}
	s.end("a", nil)
	s.result(1, "<nil>")
	if len(s.tickets) != 0 || s.free != 1 {
		t.Errorf("%d tickets are left, %d workers free", len(s.tickets), s.free)
	}
}
