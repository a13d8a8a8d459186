package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/city/load"
	"github.com/cashlesscity/citygate/gateway/collect"
)

type dayOptions struct {
	taps   int
	riders int
	data   string
}

const dayPayees = 5

// dayMemory is what the collector of garbage is told to stay below, as GOMEMLIMIT
// would in a container of 512 MB. The riders' phones and the provider's book live
// in this process as well.
const dayMemory = 400 << 20

func newBenchDayCommand(sys *system) *cobra.Command {
	var o dayOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "day",
		Short: "Take a day of flat-fare taps from recorded to paid out, and say what each half cost",
		Long: `One operator, one business date, five payees. The riders of the morning make the first half of the taps and
are charged before noon, which is where the provider cuts its bills; the riders of the evening make the other
half. Each half is recorded, priced, posted, collected, billed, matched and released before the next thing
happens, then the day is closed and paid. CPU time is that of the gateway and of PostgreSQL together; signing
the taps is not counted. Cost is linear when the second half, on top of the first one's rows, costs the same.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.riders < 2 || o.taps < o.riders || o.taps%o.riders != 0 || o.riders%2 != 0 {
				return &usageError{errors.New("bench day: --taps: want a multiple of --riders, which is even")}
			}
			f, err := benchDayRun(cmd.Context(), sys, o)
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
	f.IntVar(&o.taps, "taps", 1_000_000, "taps of the day")
	f.IntVar(&o.riders, "riders", 200_000, "riders; all ride equally often")
	f.StringVar(&o.data, "data", "", "directory for a database of this run (default: beside the demo's)")
	f.BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

type dayFigures struct {
	Taps    int     `json:"taps"`
	Riders  int     `json:"riders"`
	Payees  int     `json:"payees"`
	Seconds float64 `json:"seconds"`
	CPU     struct {
		First  float64 `json:"first_half"`
		Second float64 `json:"second_half"`
		Ratio  float64 `json:"ratio"` // second to first
		Pay    float64 `json:"pay"`   // closing and paying the day, once
	} `json:"cpu_seconds"`
	Phases map[string][2]float64 `json:"phases"` // CPU seconds by half
	RSSMax int64                 `json:"rss_max_bytes"`
	load.Totals
}

func (f *dayFigures) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d taps of %d riders, %d payees, in %.0f s\n\n%-22s %12s %12s\n", f.Taps, f.Riders, f.Payees, f.Seconds, "CPU seconds", "first half", "second half")
	for _, name := range dayPhases {
		if err == nil {
			_, err = fmt.Fprintf(w, "%-22s %12.1f %12.1f\n", name, f.Phases[name][0], f.Phases[name][1])
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "%-22s %12.1f %12.1f   ratio %.2f\n%-22s %12.1f\n\nmemory %d MB at most\n%d decisions, %d charges of %d, fees %d, %d bill rows matched, %d exceptions, %d payouts of %d\n",
			"together", f.CPU.First, f.CPU.Second, f.CPU.Ratio, "closing and paying", f.CPU.Pay, f.RSSMax>>20,
			f.Decisions, f.Charges, f.Collected, f.Fees, f.Matched, f.Exceptions, f.Payouts, f.Paid)
	}
	return err
}

// The phases of each half, in order.
var dayPhases = []string{"record and price", "collect", "bill and release"}

// A dayRun is one run of bench day.
type dayRun struct {
	*benchCity
	o    dayOptions
	line *load.Line
	f    *dayFigures
	say  func(format string, args ...any)
	now  func() time.Time
}

func benchDayRun(ctx context.Context, sys *system, o dayOptions) (f *dayFigures, err error) {
	debug.SetMemoryLimit(dayMemory)
	rides := o.taps / o.riders
	b, err := openBench(ctx, sys, o.data, load.Config{
		Payees: dayPayees, Workers: 2,
		// The provider's day is cut at noon of the operator's.
		Sandbox: sandbox.Config{FeePPM: load.FeePPM, UTCOffsetMinutes: (8 - 12) * 60, BatchMax: 500},
		Collect: collect.Rules{CountLimit: rides, CloseAfter: 6 * time.Hour},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.Gateway.Start(ctx); err != nil {
		return nil, err
	}
	d := &dayRun{benchCity: b, o: o, line: load.NewLine(b.Seed, b.Terminals), now: sys.Now,
		f:   &dayFigures{Taps: o.taps, Riders: o.riders, Payees: dayPayees, Phases: map[string][2]float64{}},
		say: func(format string, args ...any) { _, _ = fmt.Fprintf(sys.Stderr, format+"\n", args...) }}
	start := sys.Now()
	midnight := benchDay.Add(-6 * time.Hour)
	halves := [2][3]time.Duration{
		{6 * time.Hour, 11 * time.Hour, 12*time.Hour + 30*time.Minute},
		{13 * time.Hour, 22 * time.Hour, 36*time.Hour + 30*time.Minute},
	}
	for half, hours := range halves {
		if err := d.half(ctx, half, midnight.Add(hours[0]), midnight.Add(hours[1]), midnight.Add(hours[2])); err != nil {
			return nil, err
		}
	}
	d.say("closing and paying the day")
	if d.f.CPU.Pay, err = d.cost(func() error { return d.wake(ctx, midnight.Add(61*time.Hour)) }); err != nil {
		return nil, err
	}
	f = d.f
	for _, halves := range f.Phases {
		f.CPU.First += halves[0]
		f.CPU.Second += halves[1]
	}
	f.CPU.Ratio = f.CPU.Second / f.CPU.First
	_, f.RSSMax = selfCPU()
	f.Seconds = sys.Now().Sub(start).Seconds()
	if f.Totals, err = d.Totals(ctx); err != nil {
		return nil, err
	}
	return f, d.complete()
}

// complete makes sure that the day was really finished: a benchmark that left
// work undone is not fast.
func (d *dayRun) complete() error {
	t, want := d.f.Totals, int64(d.o.taps)
	switch {
	case t.Decisions != want || t.Charges != int64(d.o.riders) || t.Matched != int64(d.o.riders) || t.Exceptions != 0:
		return fmt.Errorf("bench day: the day is not finished: %+v", t)
	case t.Collected != want*load.Fare || t.Paid != t.Collected-t.Fees || t.Payouts != dayPayees:
		return fmt.Errorf("bench day: the money is not all there: %+v", t)
	}
	return nil
}

// half takes one half of the day from new riders to released money.
func (d *dayRun) half(ctx context.Context, half int, ride, charge, bill time.Time) error {
	riders, rounds := d.o.riders/2, d.o.taps/d.o.riders
	d.clock.Set(ride)
	d.say("half %d: issuing %d credentials and signing %d taps", half+1, riders, riders*rounds)
	crowd, err := d.Riders(ctx, half*riders, riders)
	if err != nil {
		return err
	}
	file, err := d.signed(fmt.Sprintf("taps-%d", half), func(yield func([]byte) error) error {
		return d.line.Taps(load.Ride{
			Crowd: crowd, Rounds: rounds, Batch: benchBatch, From: d.clock.Now().Add(time.Minute), Lasts: 200 * time.Minute / time.Duration(rounds),
		}, yield)
	})
	if err != nil {
		return err
	}
	d.clock.Set(charge)
	steps := [...]func() error{
		func() error {
			if err := d.record(ctx, file); err != nil {
				return err
			}
			return d.Gateway.Drain(ctx)
		},
		func() error { return d.wake(ctx, charge.Add(30*time.Minute)) },
		func() error { return d.wake(ctx, bill) },
	}
	for i, step := range steps {
		d.say("half %d: %s", half+1, dayPhases[i])
		cost, err := d.cost(step)
		if err != nil {
			return err
		}
		halves := d.f.Phases[dayPhases[i]]
		halves[half] = math.Round(cost*100) / 100
		d.f.Phases[dayPhases[i]] = halves
	}
	return os.Remove(file)
}

// cost gives the CPU seconds that step took, here and in PostgreSQL.
func (d *dayRun) cost(step func() error) (float64, error) {
	cpu, _ := selfCPU()
	postgres := postgresCPU(d.data)
	err := step()
	cpuAfter, _ := selfCPU()
	postgresAfter := postgresCPU(d.data)
	return (cpuAfter - cpu + postgresAfter - postgres).Seconds(), err
}

// wake sets the clock, has everything that is due done and waits for it.
func (d *dayRun) wake(ctx context.Context, at time.Time) error {
	d.clock.Set(at)
	if err := d.Gateway.Tick(ctx); err != nil {
		return err
	}
	return d.Gateway.Drain(ctx)
}

// record puts the batches of a file through intake, several at a time.
func (d *dayRun) record(ctx context.Context, path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	const lanes = 4
	batches := make(chan []byte)
	var wg sync.WaitGroup
	for range lanes {
		wg.Go(func() {
			for raw := range batches {
				if err := d.Record(ctx, raw); err != nil {
					cancel(err)
				}
			}
		})
	}
	err = load.Read(in, func(raw []byte) (bool, error) {
		select {
		case batches <- raw:
			return true, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	})
	close(batches)
	wg.Wait()
	return errors.Join(err, context.Cause(ctx))
}
