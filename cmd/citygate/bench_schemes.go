package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/policies/accept"
)

func newBenchSchemesCommand(sys *system) *cobra.Command {
	var asJSON bool
	var count int
	c := &cobra.Command{
		Use:   "schemes",
		Short: "Measure what one code of each scheme costs a validator, beside its bare signatures",
		Long: `Measure the offline decision on one code of each scheme: form, life and window,
amount, and every signature, without the credential cache that a rider who comes
again is found in. Beside it the bare signature checks or keyed sums that the
scheme needs, on keys that are parsed already, and the decision with the cache.

Times are CPU time of one thread, so that a busy machine does not count against
the code; p99 is of single decisions. Allocations are of one decision.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if count < 100 || count > 1_000_000 {
				return &usageError{errors.New("bench schemes: --count: want 100 to 1000000")}
			}
			return benchSchemes(sys, count, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	c.Flags().IntVar(&count, "count", 2000, "decisions on each code")
	return c
}

type schemeFigures struct {
	Scheme       code.SchemeID `json:"scheme"`
	Name         string        `json:"name"`
	Bytes        int           `json:"bytes"`
	Outcome      code.Outcome  `json:"outcome"`
	FullMicros   float64       `json:"full_us"` // median
	P99Micros    float64       `json:"full_p99_us"`
	BareMicros   float64       `json:"bare_us"` // 0 = nothing to compute
	CachedMicros float64       `json:"cached_us"`
	Allocs       float64       `json:"allocs"`
	AllocBytes   float64       `json:"alloc_bytes"`
}

func benchSchemes(sys *system, count int, asJSON bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all []schemeFigures
	for _, p := range schemes.All() {
		if p.Samples == nil {
			continue
		}
		samples, err := p.Samples(sys.Random)
		if err != nil {
			return fmt.Errorf("bench schemes: %s: %w", p.ID, err)
		}
		for i := range samples {
			figures, err := benchSample(&samples[i], count)
			if err != nil {
				return fmt.Errorf("bench schemes: %s %s: %w", p.ID, samples[i].Name, err)
			}
			all = append(all, figures)
		}
	}
	if asJSON {
		return printJSON(sys, map[string]any{"schemes": all, "count": count, "go": runtime.Version()})
	}
	if _, err := fmt.Fprintf(sys.Stdout, "%-12s %-13s %6s %8s %9s %9s %9s %9s %7s\n", "scheme", "", "bytes", "outcome", "full us", "p99 us", "bare us", "cached us", "allocs"); err != nil {
		return err
	}
	for _, f := range all {
		if _, err := fmt.Fprintf(sys.Stdout, "%-12s %-13s %6d %8s %9.1f %9.1f %9.1f %9.1f %7.0f\n",
			f.Scheme, f.Name, f.Bytes, f.Outcome, f.FullMicros, f.P99Micros, f.BareMicros, f.CachedMicros, f.Allocs); err != nil {
			return err
		}
	}
	return nil
}

// benchSample lets the three sides take turns, so that a machine that changes its
// pace changes it for all.
func benchSample(s *code.Sample, count int) (schemeFigures, error) {
	trial := accept.Trial{Scheme: s.Scheme, Keys: s.Keys, At: s.At * 1000}
	cache := code.NewCredentials(64)
	var c code.Code
	f := schemeFigures{Scheme: s.Scheme.ID(), Name: s.Name, Bytes: len(s.Raw), Outcome: trial.Judge(s.Raw, &c).Outcome}
	if f.Outcome == code.Reject {
		return f, errors.New("a genuine code was refused")
	}
	full := func() bool { return trial.Judge(s.Raw, &c).Outcome == f.Outcome }
	sides := []func() bool{full, s.Bare, func() bool {
		if s.Scheme.Parse(s.Raw, &c) != nil {
			return false
		}
		c.Place(s.At)
		return s.Scheme.Verify(&c, s.Keys, cache).Outcome == f.Outcome
	}}
	times := make([][]time.Duration, len(sides))
	for range count {
		for i, side := range sides {
			if side == nil {
				continue
			}
			start := threadCPU()
			if !side() {
				return f, errors.New("a genuine code was refused")
			}
			times[i] = append(times[i], threadCPU()-start)
		}
	}
	f.FullMicros, f.P99Micros, f.CachedMicros = medianMicros(times[0]), quantileMicros(times[0], 99), medianMicros(times[2])
	if s.Bare != nil {
		f.BareMicros = medianMicros(times[1])
	}
	f.Allocs, f.AllocBytes = allocations(full)
	return f, nil
}

// threadCPU gives the CPU time of this thread so far.
func threadCPU() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

func quantileMicros(times []time.Duration, percent int) float64 {
	sorted := slices.Sorted(slices.Values(times))
	return float64(sorted[len(sorted)*percent/100].Nanoseconds()) / 1000
}

// allocations gives the mean number and size of the allocations of one call.
func allocations(f func() bool) (count, size float64) {
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / runs, float64(after.TotalAlloc-before.TotalAlloc) / runs
}
