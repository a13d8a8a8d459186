package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
)

type tenantsOptions struct {
	tenants, visits int
	data            string
}

func newBenchTenantsCommand(sys *system) *cobra.Command {
	var o tenantsOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "tenants",
		Short: "Measure start-up, memory and first requests of a gateway with many tenants",
		Long: `Makes tenants on a private PostgreSQL, each as onboarding makes it, and opens a gateway over them: first
with ten, then with all. For each it prints how long the gateway takes to start and to answer its first request,
the memory it then takes, and the latency of the first request to tenants it has not heard of since it started,
visited at random ("cold"), of the second ("warm"), and of a request that comes when the directory of tenants has
to be looked at again ("look"); and how long one round over everything that may be due takes where nothing is.

Requests go through the whole HTTP handler in this process, without a network.`,
		Example: "  citygate bench tenants --json",
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if o.tenants < 10 || o.tenants > 60_000 || o.visits < 10 {
				return &usageError{errors.New("bench tenants: want --tenants of 10 to 60000 and at least 10 --visits")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			rows, err := benchTenants(cmd.Context(), sys, o)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(sys, map[string]any{"rows": rows})
			}
			return printTenantRows(sys.Stdout, rows)
		},
	}
	f := c.Flags()
	f.IntVar(&o.tenants, "tenants", 10_000, "how many")
	f.IntVar(&o.visits, "visits", 1000, "how many tenants are asked about, at most all")
	f.StringVar(&o.data, "data", "", "directory for a database of this run (default: beside the demo's)")
	f.BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

// A tenantRow is what a gateway with so many tenants takes.
type tenantRow struct {
	Tenants     int     `json:"tenants"`
	StartMS     float64 `json:"start_ms"` // until the first request is answered
	RSSMiB      float64 `json:"rss_mib"`  // of the process, 0 where the system does not tell
	HeapKiB     float64 `json:"heap_kib"` // live, after the visits
	ColdP50     float64 `json:"cold_p50_us"`
	ColdP99     float64 `json:"cold_p99_us"`
	WarmP50     float64 `json:"warm_p50_us"`
	WarmP99     float64 `json:"warm_p99_us"`
	LookP50     float64 `json:"look_p50_us"`
	LookP99     float64 `json:"look_p99_us"`
	ListOwnP50  float64 `json:"list_own_p50_us"` // GET /v1/tenants as one tenant's reader
	MakeSeconds float64 `json:"make_s"`          // of the tenants
	DueSeconds  float64 `json:"due_s"`           // one round over everything that may be due, where nothing is
}

func printTenantRows(w io.Writer, rows []tenantRow) error {
	_, err := fmt.Fprintln(w, "tenants   start ms  RSS MiB  heap KiB   cold p50/p99 us    warm p50/p99 us    look p50/p99 us   list p50 us   due s")
	for _, r := range rows {
		if err == nil {
			_, err = fmt.Fprintf(w, "%7d %10.0f %8.0f %9.0f %9.0f/%-8.0f %9.0f/%-8.0f %9.0f/%-8.0f %9.0f %9.1f\n",
				r.Tenants, r.StartMS, r.RSSMiB, r.HeapKiB, r.ColdP50, r.ColdP99, r.WarmP50, r.WarmP99, r.LookP50, r.LookP99, r.ListOwnP50, r.DueSeconds)
		}
	}
	return err
}

func benchTenants(ctx context.Context, sys *system, o tenantsOptions) (rows []tenantRow, err error) {
	dir, server, remove, err := benchDatabase(ctx, sys, o.data, "tenants-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	keyFile := filepath.Join(dir, "keys.key")
	if err := local.CreateKeyFile(keyFile, rand.Reader); err != nil {
		return nil, err
	}
	b := &tenantsBench{o: o, sys: sys, dir: dir, keyFile: keyFile, app: server.url(pglocal.App), jobs: server.url(pglocal.Jobs)}
	for _, n := range []int{10, o.tenants} {
		row, err := b.row(ctx, n)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// A tenantsBench is the benchmark's world.
type tenantsBench struct {
	o                       tenantsOptions
	sys                     *system
	dir, keyFile, app, jobs string
	made                    int
	limits                  edge.Limits
	ahead                   atomic.Int64 // the gateway's clock before the machine's
}

func (b *tenantsBench) now() time.Time { return b.sys.Now().Add(time.Duration(b.ahead.Load())) }

// open starts a gateway, as serve does.
func (b *tenantsBench) open(ctx context.Context) (g *gateway.Gateway, end func() error, err error) {
	files, err := os.OpenRoot(b.dir)
	if err != nil {
		return nil, nil, err
	}
	store, err := local.Open(local.Config{Dir: filepath.Join(b.dir, "keys"), KeyFile: b.keyFile, Random: rand.Reader, Clock: b.now})
	if err != nil {
		return nil, nil, errors.Join(err, files.Close())
	}
	g, err = gateway.New(ctx, gateway.Config{
		AppURL: b.app, JobsURL: b.jobs, Clock: b.now, Random: rand.Reader, Signer: store, Secrets: store, Files: files,
		Products: gateway.Products(), HTTP: http.DefaultClient, Collect: collect.DefaultRules(), Exclusive: true, Log: slog.New(slog.DiscardHandler), Limits: b.limits, Served: b.sys.served,
	})
	if err != nil {
		return nil, nil, errors.Join(err, files.Close())
	}
	end = func() error { return errors.Join(g.Close(context.WithoutCancel(ctx)), files.Close()) }
	if _, err := g.EnsurePlatform(ctx, rotateActor); err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return g, end, nil
}

func (b *tenantsBench) row(ctx context.Context, n int) (row tenantRow, err error) {
	row.Tenants = n
	say(b.sys, fmt.Sprintf("making tenants, up to %d", n))
	began := b.sys.Now()
	if err := b.make(ctx, n); err != nil {
		return row, err
	}
	row.MakeSeconds = b.sys.Now().Sub(began).Seconds()
	say(b.sys, "starting and asking")
	began = b.sys.Now()
	g, end, err := b.open(ctx)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, end()) }()
	tokens, err := b.tokens(ctx, g, n)
	if err != nil {
		return row, err
	}
	if _, err := b.ask(ctx, g, tokens[0], "/v1/tenants/1"); err != nil {
		return row, err
	}
	row.StartMS = float64(b.sys.Now().Sub(began).Microseconds()) / 1000
	if err := b.visit(ctx, g, tokens, &row); err != nil {
		return row, err
	}
	return row, b.due(ctx, g, &row)
}

// due has the gateway look twice at what is due in each tenant, which is active
// and idle, and measures the second round: the first makes what a new tenant has.
func (b *tenantsBench) due(ctx context.Context, g *gateway.Gateway, row *tenantRow) error {
	say(b.sys, "looking for what is due")
	if err := g.Start(ctx); err != nil {
		return err
	}
	for range 2 {
		began := b.sys.Now()
		if err := errors.Join(g.Tick(ctx), g.Drain(ctx)); err != nil {
			return err
		}
		row.DueSeconds = b.sys.Now().Sub(began).Seconds()
	}
	return nil
}

// make adds tenants until there are n.
func (b *tenantsBench) make(ctx context.Context, n int) error {
	g, end, err := b.open(ctx)
	if err != nil {
		return err
	}
	var next atomic.Int64
	next.Store(int64(b.made))
	var workers sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range 4 {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				err := g.Tenants.Create(ctx, rotateActor, tenants.Tenant{
					ID: citygate.TenantID(i), Slug: fmt.Sprintf("bench-%d", i), Name: fmt.Sprintf("Bench %d", i), Kind: tenants.Bus, Issuer: citygate.Issuer(i),
					Currency: "CNY", CapUnit: 50, Mode: tenants.Sandbox, TimeZone: "Asia/Hong_Kong", CutMinutes: 240,
				})
				if err == nil {
					err = g.Tenants.SetState(ctx, rotateActor, citygate.TenantID(i), tenants.Active)
				}
				if err != nil {
					mu.Lock()
					failed = errors.Join(failed, fmt.Errorf("tenant %d: %w", i, err))
					mu.Unlock()
					return
				}
			}
		})
	}
	workers.Wait()
	b.made = n
	return errors.Join(failed, end())
}

// tokens gives a reader of each of the first tenants in a random order, the one of
// tenant 1 first; it is not visited.
func (b *tenantsBench) tokens(ctx context.Context, g *gateway.Gateway, n int) ([]tenantToken, error) {
	random := mathrand.New(mathrand.NewPCG(7, 7)) // the same visits each time
	ids := random.Perm(n - 1)
	tokens := []tenantToken{{id: 1}}
	for _, i := range ids[:min(b.o.visits, n-1)] {
		tokens = append(tokens, tenantToken{id: int64(i) + 2})
	}
	for i := range tokens {
		token, err := g.Tokens.Mint(ctx, edge.Caller{Subject: "user:bench", Tenant: citygate.TenantID(tokens[i].id), Scopes: []string{edge.ScopeRead}}, 24*time.Hour)
		if err != nil {
			return nil, err
		}
		tokens[i].token = token
	}
	return tokens, nil
}

type tenantToken struct {
	id    int64
	token string
}

func (b *tenantsBench) visit(ctx context.Context, g *gateway.Gateway, tokens []tenantToken, row *tenantRow) error {
	round := func(path string, before func()) ([]time.Duration, error) {
		var times []time.Duration
		for _, t := range tokens[1:] {
			if before != nil {
				before()
			}
			took, err := b.ask(ctx, g, t, strings.ReplaceAll(path, "{tenant}", strconv.FormatInt(t.id, 10)))
			if err != nil {
				return nil, err
			}
			times = append(times, took)
		}
		return times, nil
	}
	const balances = "/v1/tenants/{tenant}/balances"
	for _, measured := range []struct {
		path     string
		before   func()
		p50, p99 *float64
	}{
		{balances, nil, &row.ColdP50, &row.ColdP99},
		{balances, nil, &row.WarmP50, &row.WarmP99},
		{balances, func() { b.ahead.Add(int64(3 * time.Second)) }, &row.LookP50, &row.LookP99},
		{"/v1/tenants", nil, &row.ListOwnP50, new(float64)},
	} {
		times, err := round(measured.path, measured.before)
		if err != nil {
			return err
		}
		*measured.p50, *measured.p99 = percentiles(times)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	row.HeapKiB, row.RSSMiB = float64(m.HeapAlloc)/1024, residentMiB()
	runtime.KeepAlive(g)
	return nil
}

func (b *tenantsBench) ask(ctx context.Context, g *gateway.Gateway, t tenantToken, path string) (time.Duration, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+t.token)
	w := httptest.NewRecorder()
	began := b.sys.Now()
	g.Handler().ServeHTTP(w, r)
	took := b.sys.Now().Sub(began)
	if w.Code != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return took, nil
}

// residentMiB is what the process takes of the machine's memory.
func residentMiB() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64); err == nil {
				return kib / 1024
			}
		}
	}
	return 0
}
