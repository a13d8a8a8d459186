package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
)

type neighboursOptions struct {
	quota, factor, others, pairs int
	seconds                      float64
	data                         string
}

// neighbourBound is how much one tenant over its quota may move the p99 of others.
const neighbourBound = 1.2

func newBenchNeighboursCommand(sys *system) *cobra.Command {
	var o neighboursOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "neighbours",
		Short: "Measure how far one tenant over its quota moves the latency of the others",
		Long: `Opens a gateway over a private PostgreSQL and serves it on a loopback port. Tenants within their quota send
four reads and a write in turn, at fixed times; latency counts from those times, so that what waits is seen. In
turns they are alone, or beside one more tenant that sends reads at a multiple of its quota: pairs, every second
one the other way round. Printed are the p99 of each half, their ratio pair by pair, the median ratio and its spread.

Sender, gateway and database share the machine: what the sending itself costs counts against the gateway.`,
		Example: "  citygate bench neighbours --json",
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if o.quota < 2 || o.factor < 1 || o.others < 1 || o.pairs < 1 || o.seconds <= 0 {
				return &usageError{errors.New("bench neighbours: want a --quota of at least 2 and at least 1 of everything else")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := benchNeighbours(cmd.Context(), sys, o)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(sys, r)
			}
			return r.print(sys.Stdout)
		},
	}
	f := c.Flags()
	f.IntVar(&o.quota, "quota", 20, "requests a second of each tenant, of reads and of writes")
	f.IntVar(&o.factor, "factor", 50, "what the loud tenant sends, in quotas")
	f.IntVar(&o.others, "others", 10, "tenants that send half their quota")
	f.IntVar(&o.pairs, "pairs", 5, "pairs of a half alone and a half beside the loud tenant")
	f.Float64Var(&o.seconds, "seconds", 10, "how long each half lasts")
	f.StringVar(&o.data, "data", "", "directory for a database of this run (default: beside the demo's)")
	f.BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

// neighboursResult is what the benchmark found.
type neighboursResult struct {
	Quota       int       `json:"quota_per_s"`
	Factor      int       `json:"factor"`
	Others      int       `json:"others"`
	AloneP99    []float64 `json:"alone_p99_us"`
	BesideP99   []float64 `json:"beside_p99_us"`
	Ratios      []float64 `json:"ratios"`
	MedianRatio float64   `json:"median_ratio"`
	LeastRatio  float64   `json:"least_ratio"`
	MostRatio   float64   `json:"most_ratio"`
	AloneP50    float64   `json:"alone_p50_us"`  // median of the halves
	BesideP50   float64   `json:"beside_p50_us"` // likewise
	LoudSent    int64     `json:"loud_sent"`
	LoudRefused int64     `json:"loud_refused"`
	LoudPerSec  float64   `json:"loud_per_s"`
	Requests    int       `json:"requests_a_half"`
	Held        bool      `json:"held"` // the median ratio is at most 1.2
}

func (r *neighboursResult) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d tenants within a quota of %d/s; one more sends %d times that: %.0f/s, %d of %d refused\n", r.Others, r.Quota, r.Factor, r.LoudPerSec, r.LoudRefused, r.LoudSent)
	for i := range r.Ratios {
		if err == nil {
			_, err = fmt.Fprintf(w, "pair %d: p99 %8.0f us alone %8.0f us beside  ratio %.2f\n", i+1, r.AloneP99[i], r.BesideP99[i], r.Ratios[i])
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "median ratio %.2f (%.2f to %.2f), bound %.2f: held %t\n", r.MedianRatio, r.LeastRatio, r.MostRatio, neighbourBound, r.Held)
	}
	return err
}

// A neighbourhood is a gateway that is served, and tokens of its tenants: the last
// one is the loud one's.
type neighbourhood struct {
	o      neighboursOptions
	sys    *system
	addr   string
	tokens []string
	ids    []int64
	sent   atomic.Int64
	shed   atomic.Int64
	serial atomic.Int64
}

func benchNeighbours(ctx context.Context, sys *system, o neighboursOptions) (r *neighboursResult, err error) {
	dir, server, remove, err := benchDatabase(ctx, sys, o.data, "neighbours-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	keyFile := filepath.Join(dir, "keys.key")
	if err := local.CreateKeyFile(keyFile, rand.Reader); err != nil {
		return nil, err
	}
	b := &tenantsBench{
		o: tenantsOptions{visits: o.others + 1}, sys: sys, dir: dir, keyFile: keyFile, app: server.url(pglocal.App), jobs: server.url(pglocal.Jobs),
		limits: edge.Limits{Quota: func(citygate.TenantID) edge.Quota {
			rate := edge.Rate{PerSecond: o.quota, Burst: o.quota}
			return edge.Quota{Taps: rate, Reads: rate, Writes: rate}
		}},
	}
	say(sys, "making tenants")
	if err := b.make(ctx, o.others+2); err != nil {
		return nil, err
	}
	g, end, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	n := &neighbourhood{o: o, sys: sys}
	for id := int64(2); id <= int64(o.others)+2; id++ {
		token, err := g.Tokens.Mint(ctx, edge.Caller{Subject: "user:bench", Tenant: citygate.TenantID(id), Scopes: []string{edge.ScopeAdmin}}, 24*time.Hour)
		if err != nil {
			return nil, err
		}
		n.tokens, n.ids = append(n.tokens, token), append(n.ids, id)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.addr = listener.Addr().String()
	served := &http.Server{Handler: g.Handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelWarn)}
	go func() { _ = served.Serve(listener) }() // ends by the Close below
	defer func() { err = errors.Join(err, served.Close()) }()
	return n.measure(ctx)
}

func (n *neighbourhood) measure(ctx context.Context) (*neighboursResult, error) {
	r := &neighboursResult{Quota: n.o.quota, Factor: n.o.factor, Others: n.o.others}
	say(n.sys, "warming up")
	warm := n.o
	warm.seconds = min(2, n.o.seconds)
	if _, err := n.half(ctx, warm, false); err != nil {
		return nil, err
	}
	var alone50, beside50 []float64
	loudFor := 0.0
	for pair := range n.o.pairs {
		say(n.sys, fmt.Sprintf("pair %d of %d", pair+1, n.o.pairs))
		var p99 [2]float64
		for turn := range 2 {
			loud := (turn+pair)%2 == 1
			times, err := n.half(ctx, n.o, loud)
			if err != nil {
				return nil, err
			}
			r.Requests = len(times)
			p50, at99 := percentiles(times)
			if loud {
				p99[1], beside50, loudFor = at99, append(beside50, p50), loudFor+n.o.seconds
			} else {
				p99[0], alone50 = at99, append(alone50, p50)
			}
		}
		r.AloneP99, r.BesideP99, r.Ratios = append(r.AloneP99, p99[0]), append(r.BesideP99, p99[1]), append(r.Ratios, p99[1]/p99[0])
	}
	r.MedianRatio, r.LeastRatio, r.MostRatio = medianOf(r.Ratios), slices.Min(r.Ratios), slices.Max(r.Ratios)
	r.AloneP50, r.BesideP50 = medianOf(alone50), medianOf(beside50)
	r.LoudSent, r.LoudRefused = n.sent.Load(), n.shed.Load()
	r.LoudPerSec = float64(r.LoudSent) / loudFor
	r.Held = r.MedianRatio <= neighbourBound
	if r.LoudPerSec < 0.8*float64(n.o.factor*n.o.quota) {
		return nil, fmt.Errorf("the loud tenant sent %.0f requests a second, not %d: this machine is too slow for a fair run; choose a smaller --quota", r.LoudPerSec, n.o.factor*n.o.quota)
	}
	return r, nil
}

func medianOf(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// half lets the others send, alone or beside the loud tenant, and gives their latencies.
func (n *neighbourhood) half(ctx context.Context, o neighboursOptions, loud bool) ([]time.Duration, error) {
	length := time.Duration(o.seconds * float64(time.Second))
	stop, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var senders sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	note := func(times []time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		all, failed = append(all, times...), errors.Join(failed, err)
	}
	began := n.sys.Now()
	for i := range o.others {
		senders.Go(func() { note(n.others(stop, i, began, length)) })
	}
	if loud {
		const lines = 8
		for range lines {
			senders.Go(func() {
				note(nil, n.loud(stop, began, time.Duration(lines)*time.Second/time.Duration(o.factor*o.quota)))
			})
		}
	}
	senders.Wait()
	return all, errors.Join(failed, ctx.Err())
}

// line is one kept connection.
type line struct {
	net.Conn
	answers *bufio.Reader
}

func (n *neighbourhood) line(ctx context.Context) (*line, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.addr)
	if err != nil {
		return nil, err
	}
	return &line{c, bufio.NewReader(c)}, nil
}

// ask sends a request and reads the answer to its end.
func (l *line) ask(request string) (status int, err error) {
	if _, err := io.WriteString(l, request); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(l.answers, nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}

func (n *neighbourhood) read(i int) string {
	return fmt.Sprintf("GET /v1/tenants/%d/balances HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n\r\n", n.ids[i], n.tokens[i])
}

func (n *neighbourhood) write(i int) string {
	body := `{"stops":[{"id":"S1","name":"One"}]}`
	return fmt.Sprintf("POST /v1/tenants/%d/stops HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nIdempotency-Key: k%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		n.ids[i], n.tokens[i], n.serial.Add(1), len(body), body)
}

// others sends half the quota of a tenant, each request at its time; the tenants
// take turns.
func (n *neighbourhood) others(ctx context.Context, i int, began time.Time, length time.Duration) (times []time.Duration, err error) {
	l, err := n.line(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	every := 2 * time.Second / time.Duration(n.o.quota)
	offset := every * time.Duration(i) / time.Duration(n.o.others)
	for k := 0; ; k++ {
		due := offset + time.Duration(k)*every
		if due >= length {
			return times, nil
		}
		pause(ctx, due-n.sys.Now().Sub(began))
		request := n.read(i)
		if k%5 == 4 {
			request = n.write(i)
		}
		status, err := l.ask(request)
		if err != nil || status != http.StatusOK {
			return nil, fmt.Errorf("%s: %d: %w", strings.SplitN(request, "\r\n", 2)[0], status, errors.Join(err, errors.New("a tenant within its quota was not served")))
		}
		times = append(times, n.sys.Now().Sub(began)-due)
	}
}

// loud sends reads of the loud tenant, one each interval.
func (n *neighbourhood) loud(ctx context.Context, began time.Time, every time.Duration) (err error) {
	l, err := n.line(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	request := n.read(len(n.ids) - 1)
	for k := 0; ctx.Err() == nil; k++ {
		pause(ctx, time.Duration(k)*every-n.sys.Now().Sub(began))
		status, err := l.ask(request)
		if err != nil {
			return err
		}
		n.sent.Add(1)
		switch status {
		case http.StatusTooManyRequests:
			n.shed.Add(1)
		case http.StatusOK:
		default:
			return fmt.Errorf("the loud tenant was answered %d", status)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
