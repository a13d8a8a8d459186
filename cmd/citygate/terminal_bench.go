package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies/accept"
)

// What a terminal may spend on one presentation.
const (
	budgetMicros = 1000 // an offline decision on one core, 99 of 100
	budgetBytes  = 2048 // of heap
)

func newTerminalBenchCommand(sys *system) *cobra.Command {
	var asJSON bool
	var seconds int
	var data string
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a terminal spends on one presentation, on this machine",
		Long: `Measures the SDK's offline decision (form, windows, amount, signatures) of codes of every CT1 suite, for
riders not seen before and for riders it remembers, one at a time on one core; and what it takes to put one
record into the journal and on the disk of --data. For the hash chain, not seen before means the last slot of
the longest chain, the dearest check there is.

Decisions are timed in CPU time of one thread, so that a busy machine does not count against them; the journal
in time that passes, since it waits for the disk.

The budgets are 1,000 us for 99 of 100 decisions and 2 KB of heap for each.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if seconds < 1 || seconds > 600 {
				return &usageError{errors.New("terminal bench: --seconds: want 1 to 600")}
			}
			f, err := terminalBench(sys, time.Duration(seconds)*time.Second, data)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(sys, f)
			}
			return f.print(sys.Stdout)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	c.Flags().IntVar(&seconds, "seconds", 5, "how long to measure")
	c.Flags().StringVar(&data, "data", "", "directory on the disk to measure (default: the one for temporary files)")
	return c
}

type terminalFigures struct {
	Decisions []decisionFigure `json:"decisions"`
	Journal   struct {
		P50Micros   float64 `json:"p50_us"`
		P99Micros   float64 `json:"p99_us"`
		BytesPerTap int64   `json:"bytes_per_tap"`
		Taps        int     `json:"taps"`
	} `json:"journal"`
	BudgetMicros int    `json:"budget_us"`
	BudgetBytes  int    `json:"budget_bytes"`
	Go           string `json:"go"`
}

type decisionFigure struct {
	Suite      int     `json:"suite"`
	Remembered bool    `json:"remembered"`
	P50Micros  float64 `json:"p50_us"`
	P99Micros  float64 `json:"p99_us"`
	Bytes      uint64  `json:"heap_bytes"`
	Allocs     uint64  `json:"allocs"`
	Taps       int     `json:"taps"`
}

func (f *terminalFigures) print(w io.Writer) error {
	if _, err := fmt.Fprintln(w, "suite  rider        p50 us    p99 us  heap bytes  allocations"); err != nil {
		return err
	}
	for _, d := range f.Decisions {
		rider := "new"
		if d.Remembered {
			rider = "remembered"
		}
		over := ""
		if d.P99Micros > budgetMicros || d.Bytes > budgetBytes {
			over = "  over the budget"
		}
		if _, err := fmt.Fprintf(w, "%5d  %-10s %8.1f  %8.1f  %10d  %11d%s\n", d.Suite, rider, d.P50Micros, d.P99Micros, d.Bytes, d.Allocs, over); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "journal, on disk: p50 %.0f us, p99 %.0f us, %d bytes a tap\n", f.Journal.P50Micros, f.Journal.P99Micros, f.Journal.BytesPerTap)
	return err
}

func terminalBench(sys *system, limit time.Duration, data string) (*terminalFigures, error) {
	const parts = 11 // five suites twice, and the journal
	f := &terminalFigures{BudgetMicros: budgetMicros, BudgetBytes: budgetBytes, Go: runtime.Version()}
	suites, err := newTerminalCodes(sys.Random)
	if err != nil {
		return nil, err
	}
	for suite, codes := range suites {
		for _, remembered := range []bool{false, true} {
			d, err := codes.measure(sys, remembered, limit/parts)
			if err != nil {
				return nil, err
			}
			d.Suite, d.Remembered = suite, remembered
			f.Decisions = append(f.Decisions, d)
		}
	}
	return f, f.journal(sys, limit/parts, data, suites[ct1.SuiteP256])
}

// terminalCodes are genuine codes of riders of one suite.
type terminalCodes []code.Sample

// newTerminalCodes makes codes of every suite, by its number.
func newTerminalCodes(random io.Reader) ([]terminalCodes, error) {
	const riders = 32
	var suites []terminalCodes
	for range riders {
		samples, err := ct1.Plugin.Samples(random)
		if err != nil {
			return nil, err
		}
		if suites == nil {
			suites = make([]terminalCodes, len(samples))
		}
		for suite, s := range samples {
			suites[suite] = append(suites[suite], s)
		}
	}
	return suites, nil
}

// benchRules take every sample.
var benchRules = accept.Rules{
	Schemes: []code.SchemeID{ct1.ID}, Issuers: []accept.IssuerRule{{Issuer: 1, Currency: "CNY", CapUnitMinor: 100}},
	Modes:       []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},
	SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 168,
}

func (codes terminalCodes) measure(sys *system, remembered bool, limit time.Duration) (figure decisionFigure, err error) {
	d := terminal.Decider{Schemes: code.NewDispatcher(ct1.Scheme{}), Rules: &benchRules}
	if remembered {
		d.Credentials = code.NewCredentials(64 * len(codes))
	}
	decide := func(i int) error {
		s := &codes[i%len(codes)]
		d.Keys = s.Keys
		var c code.Code
		v := d.Decide(&c, s.Raw, accept.Facts{At: s.At * 1000, ClockOK: true, Mode: accept.Bus, Kind: tap.Single, Fare: citygate.Money{Minor: 200, Currency: "CNY"}})
		if v.Outcome != code.Accept {
			return fmt.Errorf("terminal bench: a genuine code, %s, was refused: %s", s.Name, v.Reason)
		}
		return nil
	}
	for i := range codes { // fills the cache, warms the rest
		if err := decide(i); err != nil {
			return figure, err
		}
	}
	times := make([]time.Duration, 0, 1<<16)
	var before, after runtime.MemStats
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.ReadMemStats(&before)
	for began := sys.Now(); len(times) < cap(times) && (len(times) < 100 || sys.Now().Sub(began) < limit); {
		start := threadCPU()
		if err := decide(len(times)); err != nil {
			return figure, err
		}
		times = append(times, threadCPU()-start)
	}
	runtime.ReadMemStats(&after)
	n := uint64(len(times))
	figure.Bytes, figure.Allocs, figure.Taps = (after.TotalAlloc-before.TotalAlloc)/n, (after.Mallocs-before.Mallocs)/n, len(times)
	figure.P50Micros, figure.P99Micros = percentiles(times)
	return figure, nil
}

func percentiles(times []time.Duration) (p50, p99 float64) {
	slices.Sort(times)
	at := func(percent int) float64 { return float64(times[(len(times)-1)*percent/100].Nanoseconds()) / 1000 }
	return at(50), at(99)
}

// journal measures a presentation of a terminal without trust: all it does is
// read the form and put the refusal on disk, as every tap is.
func (f *terminalFigures) journal(sys *system, limit time.Duration, data string, codes terminalCodes) (err error) {
	dir, err := os.MkdirTemp(data, "citygate-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	v, err := terminal.Open(terminal.Config{Files: terminal.Dir(root), Tenant: 1, KeyID: 1, Mode: accept.Bus, Software: "bench/1", BootID: 1,
		Schemes: code.NewDispatcher(ct1.Scheme{})})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	times := make([]time.Duration, 0, 1<<14)
	began := sys.Now()
	for now := began; len(times) < cap(times) && (len(times) < 20 || now.Sub(began) < limit); {
		in := terminal.Input{MonotonicMS: uint64(len(times)), Clock: tap.ClockGNSS, Kind: tap.Single, Stop: "stop-1", Vehicle: "bus-1"}
		s := &codes[len(times)%len(codes)]
		if _, err := v.Tap(s.At*1000, s.Raw, in); err != nil {
			return err
		}
		end := sys.Now()
		times = append(times, end.Sub(now))
		now = end
	}
	files, err := filepath.Glob(filepath.Join(dir, "journal-*"))
	if err != nil {
		return err
	}
	var size int64
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		size += info.Size()
	}
	f.Journal.Taps, f.Journal.BytesPerTap = len(times), size/int64(len(times))
	f.Journal.P50Micros, f.Journal.P99Micros = percentiles(times)
	return nil
}
