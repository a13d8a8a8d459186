package vaulttest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Fault is what a [Proxy] does to requests. The zero value lets all pass.
type Fault struct {
	// Match picks the requests by method and path, "/v1/..."; nil = all.
	Match func(r *http.Request) bool
	// Times is how often it happens; 0 = always.
	Times int

	Change    func(body []byte) []byte // of the request, before it is sent on
	Delay     time.Duration            // before it is sent on; ends when the client goes
	Refuse    bool                     // the connection breaks and nothing is sent on
	LoseReply bool                     // it is sent on and answered, and the connection breaks
}

// A Proxy stands before a server.
type Proxy struct {
	Address string

	mu     sync.Mutex
	faults []*Fault
	seen   []Seen
}

// Seen is a request that came to the proxy.
type Seen struct {
	Method, Path string
	At           time.Time
}

// NewProxy starts a proxy that ends with the test.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	target, err := url.Parse(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }}
	p := &Proxy{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, forward) }))
	server.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	p.Address = server.URL
	return p
}

// Set puts faults in place of those there are.
func (p *Proxy) Set(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
	for _, f := range faults {
		p.faults = append(p.faults, &f)
	}
}

// Seen gives the requests since the start or the last call, and forgets them.
func (p *Proxy) Seen() []Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}

// Count gives how many of the requests went to a path that contains part.
func Count(seen []Seen, part string) int {
	n := 0
	for _, s := range seen {
		if strings.Contains(s.Path, part) {
			n++
		}
	}
	return n
}

// On matches requests whose path contains part.
func On(part string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.Contains(r.URL.Path, part) }
}

// pick gives the fault of a request.
func (p *Proxy) pick(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, Seen{r.Method, r.URL.Path, time.Now()})
	for i, f := range p.faults {
		if f.Match != nil && !f.Match(r) {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				p.faults = append(p.faults[:i:i], p.faults[i+1:]...)
			}
		}
		return *f
	}
	return Fault{}
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	f := p.pick(r)
	body, err := io.ReadAll(r.Body)
	if err != nil || f.Refuse {
		panic(http.ErrAbortHandler) // breaks the connection
	}
	if f.Change != nil {
		body = f.Change(body)
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return
		}
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if f.LoseReply {
		// What was sent on is done whether or not the client stays.
		forward.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
		panic(http.ErrAbortHandler)
	}
	forward.ServeHTTP(w, r)
}
