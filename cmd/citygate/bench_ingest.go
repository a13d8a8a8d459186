package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/city/load"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
)

// benchBatch is the number of taps in an uploaded batch.
const benchBatch = 500

// benchDay is when the played operator's day begins: a Monday morning, far from
// the cut of a business date.
var benchDay = time.Date(2026, 11, 23, 6, 0, 0, 0, time.FixedZone("", 8*3600))

type ingestOptions struct {
	seconds int
	books   bool
	rate    int
	riders  int
	lanes   int
	workers int
	data    string
	profile string
}

func newBenchIngestCommand(sys *system) *cobra.Command {
	var o ingestOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "ingest",
		Short: "Upload signed taps over HTTP into PostgreSQL, and say what they cost",
		Long: `Uploads batches of 500 taps, signed before the clock starts, over loopback HTTP to a gateway on a
private PostgreSQL that keeps what it acknowledged (fsync). The sender is a process of its own. Compares the
rate with the checking of the same codes on all cores and nothing else.

With --books pricing and posting run at the same time, taps come at --rate a second, and the backlog of taps
without a price is counted at the start, in the middle and at the end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.seconds < 2 || o.seconds > 600:
				return &usageError{errors.New("bench ingest: --seconds: want 2 to 600")}
			case o.riders < 50_000:
				return &usageError{errors.New("bench ingest: --riders: want at least 50000 distinct credentials")}
			case o.lanes < 1 || o.workers < 1:
				return &usageError{errors.New("bench ingest: --lanes and --workers: want at least 1")}
			}
			if o.books && o.rate == 0 {
				o.rate = 10_000
			}
			f, err := benchIngest(cmd.Context(), sys, o)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(sys, f)
			}
			return f.print(sys.Stdout)
		},
	}
	f := c.Flags()
	f.IntVar(&o.seconds, "seconds", 20, "how long to send")
	f.BoolVar(&o.books, "books", false, "price and post at the same time")
	f.IntVar(&o.rate, "rate", 0, "taps a second at most; 0 = as fast as they are taken, with --books 10000")
	f.IntVar(&o.riders, "riders", 50_000, "distinct credentials; each is shown at most 6 times")
	f.IntVar(&o.lanes, "lanes", 4, "uploads at a time")
	f.IntVar(&o.workers, "workers", 4, "jobs at a time, with --books")
	f.StringVar(&o.data, "data", "", "directory for a database of this run, on the disk to measure (default: beside the demo's)")
	f.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the gateway while it is measured")
	f.BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

type ingestFigures struct {
	TapsPerSecond   float64 `json:"taps_per_second"`
	VerifyLimit     float64 `json:"verify_limit_per_second"`
	Ratio           float64 `json:"ratio"`
	CPUSecondsPer1k struct {
		Generator float64 `json:"generator"`
		Gateway   float64 `json:"gateway"`
		Postgres  float64 `json:"postgres"`
	} `json:"cpu_seconds_per_1000"`
	DistinctCredentials int   `json:"distinct_credentials"`
	Recorded            int   `json:"recorded"`
	RowsInDatabase      int64 `json:"rows_in_database"`
	load.Durability
	Seconds float64      `json:"seconds"`
	Books   *booksFigure `json:"books,omitempty"`
}

type booksFigure struct {
	PricedPerSecond float64  `json:"priced_per_second"`
	Backlog         backlogs `json:"backlog"`
	DrainSeconds    float64  `json:"drain_seconds"` // after the last upload
	Transfers       int64    `json:"transfers"`
}

type backlogs struct {
	Start  int64 `json:"start"`
	Middle int64 `json:"middle"`
	End    int64 `json:"end"`
}

func (f *ingestFigures) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, `taps a second            %10.0f
verify limit a second    %10.0f
ratio                    %10.2f
CPU seconds per 1,000    generator %.4f  gateway %.4f  postgres %.4f
distinct credentials     %10d
rows in the database     %10d  (fsync %s, synchronous_commit %s)
`, f.TapsPerSecond, f.VerifyLimit, f.Ratio, f.CPUSecondsPer1k.Generator, f.CPUSecondsPer1k.Gateway, f.CPUSecondsPer1k.Postgres,
		f.DistinctCredentials, f.RowsInDatabase, f.Fsync, f.SynchronousCommit)
	if err == nil && f.Books != nil {
		_, err = fmt.Fprintf(w, "priced a second          %10.0f\nbacklog                  start %d  middle %d  end %d  drained %.1f s later\n",
			f.Books.PricedPerSecond, f.Books.Backlog.Start, f.Books.Backlog.Middle, f.Books.Backlog.End, f.Books.DrainSeconds)
	}
	return err
}

// A benchCity is an operator on a private database in a directory that goes
// when the benchmark ends.
type benchCity struct {
	*load.Operator
	clock *load.Clock
	data  string
	close func() error
}

// openBench starts PostgreSQL, durable, and an operator's gateway on it.
func openBench(ctx context.Context, sys *system, data string, c load.Config) (b *benchCity, err error) {
	if data == "" {
		data = defaultData(sys, "bench")
	}
	if err := os.MkdirAll(data, 0o755); err != nil { //nolint:gosec // root's database user must reach its part of it
		return nil, err
	}
	dir, err := os.MkdirTemp(data, "run-")
	if err != nil {
		return nil, err
	}
	var undo []func() error
	closeAll := func() error {
		var err error
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
		return err
	}
	undo = append(undo, func() error { return os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // as above
		return nil, err
	}
	server, err := pglocal.Start(ctx, pglocal.Config{
		DataDir: dir, PGBin: sys.Env("PG_BIN"), CacheDir: cacheDir(sys), Durable: true,
		Progress: func(s string) { _, _ = fmt.Fprintln(sys.Stderr, s) },
	})
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() error {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return server.Stop(stop)
	})
	if _, err := pg.Migrate(ctx, server.URL(pglocal.Owner, pglocal.Database)); err != nil {
		return nil, err
	}
	b = &benchCity{clock: load.NewClock(benchDay, sys.Now), data: dir, close: closeAll}
	c.Dir = filepath.Join(dir, "gateway")
	c.AppURL, c.JobsURL = server.URL(pglocal.App, pglocal.Database), server.URL(pglocal.Jobs, pglocal.Database)
	c.Clock, c.Served = b.clock.Now, sys.served
	c.Log = slog.New(slog.NewTextHandler(sys.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if b.Operator, err = load.Open(ctx, c); err != nil {
		return nil, err
	}
	undo = append(undo, func() error { return b.Close(context.WithoutCancel(ctx)) })
	return b, b.Onboard(ctx)
}

// signed puts the batches of rides into a file.
func (b *benchCity) signed(name string, write func(yield func(raw []byte) error) error) (path string, err error) {
	path = filepath.Join(b.data, name)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = write(load.Write(w))
	return path, errors.Join(err, w.Flush(), f.Close())
}

func benchIngest(ctx context.Context, sys *system, o ingestOptions) (f *ingestFigures, err error) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(sys.Stderr, format+"\n", args...) }
	b, err := openBench(ctx, sys, o.data, load.Config{
		Connections: int32(4*o.lanes + o.workers), Workers: o.workers,
		Collect: collect.Rules{CloseAfter: 6 * time.Hour},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	const most = 6 // displays of one credential
	want := o.riders * most
	if o.rate > 0 {
		want = min(want, o.rate*(o.seconds+1))
	}
	say("issuing %d credentials and signing %d taps", o.riders, want)
	crowd, err := b.Riders(ctx, 0, o.riders)
	if err != nil {
		return nil, err
	}
	taps, err := b.signed("taps", func(yield func([]byte) error) error {
		return load.NewLine(b.Seed, b.Terminals).Taps(load.Ride{
			Crowd: crowd, Rounds: most, Batch: benchBatch, From: b.clock.Now().Add(time.Minute), Lasts: 10 * time.Minute, Most: want,
		}, yield)
	})
	if err != nil {
		return nil, err
	}
	b.clock.Set(benchDay.Add(2 * time.Hour))
	f = &ingestFigures{DistinctCredentials: min(o.riders, want)}
	if f.Durability, err = b.Durability(ctx); err != nil {
		return nil, err
	}
	say("uploading for %d seconds", o.seconds)
	if err := b.measureIngest(ctx, sys, o, taps, f); err != nil {
		return nil, err
	}
	say("checking the same codes alone")
	in, err := os.Open(taps)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	bundle, err := b.Gateway.Bundle(ctx, load.Tenant)
	if err != nil {
		return nil, err
	}
	checked, took, err := load.VerifyLimit(in, f.Recorded, bundle, sys.Now)
	if err != nil {
		return nil, err
	}
	f.VerifyLimit = float64(checked) / took.Seconds()
	f.Ratio = f.TapsPerSecond / f.VerifyLimit
	return f, nil
}

// measureIngest has the sender upload while the gateway works, and fills in what
// that came to.
func (b *benchCity) measureIngest(ctx context.Context, sys *system, o ingestOptions, taps string, f *ingestFigures) (err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: b.Gateway.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer func() { err = errors.Join(err, server.Close()) }()
	if o.books {
		if err := b.Gateway.Start(ctx); err != nil {
			return err
		}
		f.Books = &booksFigure{}
	}
	if o.profile != "" {
		out, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer func() { _ = out.Close() }()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	sender := exec.CommandContext(ctx, self, "bench", "send", "--url", "http://"+listener.Addr().String(), "--taps", taps, //nolint:gosec // this very program
		"--for", (time.Duration(o.seconds) * time.Second).String(), "--lanes", strconv.Itoa(o.lanes), "--rate", strconv.Itoa(o.rate))
	sender.Stderr = sys.Stderr
	cpu, _ := selfCPU()
	postgres := postgresCPU(b.data)
	before, err := b.Progress(ctx)
	if err != nil {
		return err
	}
	started := sys.Now()
	watched := make(chan error, 1)
	watch, unwatch := context.WithCancel(ctx)
	go func() { watched <- b.watch(watch, o, f.Books) }()
	answer, err := sender.Output()
	unwatch()
	if err = errors.Join(err, <-watched); err != nil {
		return err
	}
	var sent senderReport
	if err := json.Unmarshal(answer, &sent); err != nil {
		return fmt.Errorf("the sender's report: %w", err)
	}
	after, err := b.Progress(ctx)
	if err != nil {
		return err
	}
	if f.Books != nil {
		f.Books.Backlog.End = after.Backlog()
		f.Books.PricedPerSecond = float64(after.Decided-before.Decided) / sent.Took.Seconds()
		drained := sys.Now()
		if err := b.Gateway.Drain(ctx); err != nil {
			return err
		}
		f.Books.DrainSeconds = sys.Now().Sub(drained).Seconds()
	}
	cpuAfter, _ := selfCPU()
	postgresAfter := postgresCPU(b.data)
	final, err := b.Progress(ctx)
	if err != nil {
		return err
	}
	if f.Books != nil {
		f.Books.Transfers = final.Posted
		if final.Backlog() != 0 {
			return fmt.Errorf("%d taps have no price after the queue is empty", final.Backlog())
		}
	}
	thousands := float64(sent.Recorded) / 1000
	f.Recorded, f.RowsInDatabase, f.Seconds = sent.Recorded, final.Recorded, sent.Took.Seconds()
	f.TapsPerSecond = float64(sent.Recorded) / sent.Took.Seconds()
	f.CPUSecondsPer1k.Generator = sent.CPUSeconds / thousands
	f.CPUSecondsPer1k.Gateway = (cpuAfter - cpu).Seconds() / thousands
	f.CPUSecondsPer1k.Postgres = (postgresAfter - postgres).Seconds() / thousands
	if sent.Recorded != sent.Taps {
		return fmt.Errorf("%d of %d taps were recorded in %s", sent.Recorded, sent.Taps, sys.Now().Sub(started))
	}
	return nil
}

// watch counts the backlog when the taps begin to come and half-way.
func (b *benchCity) watch(ctx context.Context, o ingestOptions, books *booksFigure) error {
	if books == nil {
		return nil
	}
	for _, at := range []struct {
		after time.Duration
		count *int64
	}{
		{2 * time.Second, &books.Backlog.Start},
		{time.Duration(o.seconds)*time.Second/2 - 2*time.Second, &books.Backlog.Middle},
	} {
		select {
		case <-time.After(at.after):
		case <-ctx.Done():
			return nil
		}
		p, err := b.Progress(ctx)
		if err != nil {
			return err
		}
		*at.count = p.Backlog()
	}
	return nil
}

// A senderReport is what the hidden sub-command prints.
type senderReport struct {
	load.Sent
	CPUSeconds float64 `json:"cpu_seconds"`
}

// newBenchSendCommand is the sender of bench ingest in a process of its own, so
// that its CPU time is counted apart.
func newBenchSendCommand(sys *system) *cobra.Command {
	s := load.Sender{Clock: sys.Now}
	var taps string
	c := &cobra.Command{
		Use: "send", Short: "Upload signed batches (used by bench ingest)", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			in, err := os.Open(taps)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.Close()) }()
			sent, err := s.Send(cmd.Context(), in)
			if err != nil {
				return err
			}
			cpu, _ := selfCPU()
			return printJSON(sys, senderReport{sent, cpu.Seconds()})
		},
	}
	f := c.Flags()
	f.StringVar(&s.URL, "url", "", "")
	f.StringVar(&taps, "taps", "", "")
	f.DurationVar(&s.For, "for", 0, "")
	f.IntVar(&s.Rate, "rate", 0, "")
	f.IntVar(&s.Lanes, "lanes", 4, "")
	return c
}
