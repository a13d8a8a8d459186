// Package simserve is what the simulators of payment products serve with, whatever
// their protocol: a listener that can die and come back with its book, things that are
// armed for the next request that moves money, and notifications that are sent again by
// a platform's schedule until they are taken.
//
// It knows no protocol and no signature: those are each simulator's own, so that an
// adapter and its simulator share no mistake. It has no clock: whoever plays the time
// says what time it is.
package simserve

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Server is a platform's listener. It is safe for concurrent use.
type Server struct {
	handler http.Handler
	address string // as it was given out: coming back is coming back there

	mu     sync.Mutex
	http   *http.Server // nil while it is dead
	served chan struct{}
	closed bool
}

// New makes a platform that answers by a handler once it listens.
func New(handler http.Handler) *Server { return &Server{handler: handler} }

// Listen opens the platform at an address; "" means a free port of the loopback interface.
func (s *Server) Listen(address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = cmp.Or(address, "127.0.0.1:0")
	return s.open()
}

// open listens and serves. The caller holds the lock.
func (s *Server) open() error {
	var listening net.ListenConfig
	l, err := listening.Listen(context.Background(), "tcp", s.address)
	if err != nil {
		return fmt.Errorf("simserve: %w", err)
	}
	s.address = l.Addr().String()
	server, served := &http.Server{Handler: s.handler, ReadHeaderTimeout: time.Minute}, make(chan struct{})
	s.http, s.served = server, served
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with ErrServerClosed, by end
	}()
	return nil
}

// Close ends the platform at once and for good: open connections are cut and later dials
// are refused. Closing twice is closing once.
func (s *Server) Close() { s.end(true) }

// Die is Close from which [Server.Revive] comes back. It does not return before the
// listener is gone, so a request that is being answered must not wait for it.
func (s *Server) Die() { s.end(false) }

func (s *Server) end(forGood bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.closed || forGood
	if s.http == nil {
		return
	}
	_ = s.http.Close() // nothing of ours is lost by a connection that ends badly
	<-s.served
	s.http = nil
}

// Revive brings a platform that died back at its address, with its book, which lay in
// memory all the time. One that lives or was closed it leaves alone. It fails if somebody
// else has the address now.
func (s *Server) Revive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil || s.closed {
		return nil
	}
	return s.open()
}

// Base is the address: scheme, host and port.
func (s *Server) Base() string { return "http://" + s.address }

// What every platform can be armed with; a product has more of its own.
const (
	Drop  = "drop"  // the next request of any kind: does not act, closes the connection
	Shed  = "shed"  // the next request of any kind: what stands before the platform answers 503 with Retry-After
	Lose  = "lose"  // acts, closes the connection
	Die   = "die"   // acts, closes the connection and the server
	Delay = "delay" // acts, and answers when the client has gone
)

// Cut does to a request what an arm of every platform does, once the platform acted, and
// reports whether it was one: then there is nothing left to answer.
func (s *Server) Cut(w http.ResponseWriter, r *http.Request, arm string) bool {
	switch arm {
	case Lose:
	case Die:
		defer func() { go s.Die() }() // it waits for requests, of which this is one
	case Delay:
		<-r.Context().Done()
	default:
		return false
	}
	HangUp(w)
	return true
}

// HangUp closes the connection without an answer.
func HangUp(w http.ResponseWriter) {
	h, can := w.(http.Hijacker)
	if !can {
		panic(http.ErrAbortHandler) // net/http's own way to cut a connection
	}
	if conn, _, err := h.Hijack(); err == nil {
		_ = conn.Close() // it is to be gone
	}
}

// Show answers with a value as JSON; a list of nothing is [].
func Show(w http.ResponseWriter, value any) {
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice && v.IsNil() {
		value = []struct{}{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // a client that is gone asks again
}

// Arms are what the next requests that move money meet, in order. It is safe for
// concurrent use.
type Arms[A ~string] struct {
	known []A
	mu    sync.Mutex
	next  []A
}

// ShedFor is what a shed request is told to wait.
const ShedFor = 90 * time.Second

// NewArms makes arms of which a client may ask for these, and for Drop and Shed.
func NewArms[A ~string](known ...A) *Arms[A] {
	return &Arms[A]{known: append([]A{Drop, Shed}, known...)}
}

// Dropping loses the request that is to meet Drop before the platform has it, and turns
// one away that is to meet Shed, with nobody's signature: whatever it asks for. Requests of
// the simulator's own, below /sim/, always arrive.
func (s *Arms[A]) Dropping(platform http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		front := A("")
		if !strings.HasPrefix(r.URL.Path, "/sim/") {
			front = s.front()
		}
		if front == "" {
			platform.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // it was sent whole
		if front == Shed {
			w.Header().Set("Retry-After", strconv.Itoa(int(ShedFor/time.Second)))
			http.Error(w, "the service is overloaded", http.StatusServiceUnavailable)
			return
		}
		HangUp(w)
	})
}

// front takes a Drop or a Shed, if one is the next armed thing; "" otherwise.
func (s *Arms[A]) front() (a A) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.next) > 0 && (s.next[0] == Drop || s.next[0] == Shed) {
		a, s.next = s.next[0], s.next[1:]
	}
	return a
}

// ArmNext lets one request that moves money meet a; "" lets it pass.
func (s *Arms[A]) ArmNext(a A) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = append(s.next, a)
}

// Disarm takes the next armed thing, "" if there is none.
func (s *Arms[A]) Disarm() (a A) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.next) > 0 {
		a, s.next = s.next[0], s.next[1:]
	}
	return a
}

// DisarmOf takes the next armed thing if it is one of those. Otherwise it stays armed,
// for a request of another kind.
func (s *Arms[A]) DisarmOf(those ...A) (a A) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.next) > 0 && slices.Contains(those, s.next[0]) {
		a, s.next = s.next[0], s.next[1:]
	}
	return a
}

// ServeArm arms the next request: POST /sim/arm?next=lose.
func (s *Arms[A]) ServeArm(w http.ResponseWriter, r *http.Request) {
	a := A(r.URL.Query().Get("next"))
	if !slices.Contains(s.known, a) {
		names := make([]string, len(s.known))
		for i := range s.known {
			names[i] = string(s.known[i])
		}
		last := len(names) - 1
		http.Error(w, "next: want "+strings.Join(names[:last], ", ")+" or "+names[last], http.StatusBadRequest)
		return
	}
	s.ArmNext(a)
	w.WriteHeader(http.StatusNoContent)
}

// Notices are notifications on their way, in the order in which things happened. One that
// is not taken is sent again after each of the pauses, and then given up. It is safe for
// concurrent use.
type Notices[N any] struct {
	pauses []time.Duration
	mu     sync.Mutex
	list   []*sending[N]
}

type sending[N any] struct {
	what  N
	due   time.Time
	sends int
}

// NewNotices makes notices with a platform's pauses between the sends of one.
func NewNotices[N any](pauses ...time.Duration) *Notices[N] { return &Notices[N]{pauses: pauses} }

// Add has a notification sent from an instant on.
func (s *Notices[N]) Add(what N, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, &sending[N]{what: what, due: due})
}

// Waiting gives what has not been taken yet nor given up.
func (s *Notices[N]) Waiting() []N {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]N, len(s.list))
	for i, n := range s.list {
		list[i] = n.what
	}
	return list
}

// Deliver sends what is due at an instant, once each, and gives how many were taken.
// send is called without a lock.
func (s *Notices[N]) Deliver(now time.Time, send func(N) (taken bool)) (taken int) {
	s.mu.Lock()
	var due []*sending[N]
	for _, n := range s.list {
		if !now.Before(n.due) {
			due = append(due, n)
		}
	}
	s.mu.Unlock()
	for _, n := range due {
		ok := send(n.what)
		s.mu.Lock()
		if n.sends++; ok || n.sends > len(s.pauses) {
			s.list = slices.DeleteFunc(s.list, func(other *sending[N]) bool { return other == n })
		} else {
			n.due = now.Add(s.pauses[n.sends-1])
		}
		s.mu.Unlock()
		if ok {
			taken++
		}
	}
	return taken
}
