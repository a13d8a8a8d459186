package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/city/data"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A fareReport is what bench fare prints.
type fareReport struct {
	Journeys          int     `json:"journeys"`
	Payers            int     `json:"payers"`
	Identical         bool    `json:"identical"`
	Different         int     `json:"different"`
	Digest            string  `json:"digest"` // SHA-256 over every decision, payer by payer
	TotalMinor        int64   `json:"total_minor"`
	Adjusted          int     `json:"adjusted"` // journeys with a transfer, cap or discount
	Unknown           int     `json:"unknown"`
	Seconds           float64 `json:"seconds"` // of pricing alone, on Cores
	JourneysPerSecond float64 `json:"journeys_per_second"`
	Cores             int     `json:"cores"`
	AllocsPerJourney  float64 `json:"allocs_per_journey"`
	BytesPerJourney   float64 `json:"bytes_per_journey"`
}

const ridesPerPayer = 10

func newBenchFareCommand(sys *system) *cobra.Command {
	var seed uint64
	var journeys int
	var asJSON bool
	c := &cobra.Command{
		Use:   "fare",
		Short: "Price a million journeys twice, in two orders, and compare every bit",
		Long: `Plays riders with ten journeys each in three days on the embedded metro, on buses and on minibuses, under one
tariff with the whole origin-destination table, sections, peaks, a concession paid by a programme, transfers, a day
cap, a rolling cap and a cumulative discount. Prices them, each payer's in the order of event time; then again from a
tariff that was encoded and parsed again, with the journeys given in another order. Every decision with its
explanation must be the same, byte by byte; otherwise it exits 1.

The time and the allocations are those of pricing alone, the first of the two runs.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if journeys < ridesPerPayer {
				return fmt.Errorf("want at least %d journeys", ridesPerPayer)
			}
			r, err := benchFare(seed, journeys/ridesPerPayer)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(sys.Stdout).Encode(r)
			} else {
				_, err = fmt.Fprintf(sys.Stdout, "%d journeys of %d payers: %.0f journeys/s on %d cores, %.1f allocations and %.0f bytes each, %d adjusted, %d differ\n",
					r.Journeys, r.Payers, r.JourneysPerSecond, r.Cores, r.AllocsPerJourney, r.BytesPerJourney, r.Adjusted, r.Different)
			}
			if err == nil && !r.Identical {
				err = fmt.Errorf("%d decisions were not the same the second time", r.Different)
			}
			return err
		},
	}
	c.Flags().Uint64Var(&seed, "seed", 1, "what everything follows from")
	c.Flags().IntVar(&journeys, "journeys", 1_000_000, "journeys to price, a multiple of 10")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on one line")
	return c
}

// benchTariff is a city's tariff over the embedded metro.
func benchTariff() (*fare.Tariff, error) {
	table, err := data.MTRTable()
	if err != nil {
		return nil, err
	}
	t := &fare.Tariff{
		Name: "bench", Version: 1, Currency: "HKD",
		Categories: fare.Categories{Products: map[uint16]fare.Category{2: data.Student, 3: data.Elderly}, Default: data.Adult,
			Funded: map[fare.Category]fare.Concession{data.Elderly: {Reference: data.Adult, Funder: "programme:elderly"}}},
		Operators: map[string][]string{"metro": {"M"}, "bus": {"B1", "B2", "B3"}, "minibus": {"G1"}},
		Rules: []fare.Rule{{ID: "metro", Routes: []string{"M"}, Table: table},
			{ID: "bus-peak", Operators: []string{"bus"}, When: []fare.When{{Days: []string{"weekday"}, From: "07:30", Until: "09:30"}}, Flat: fare.Amounts{data.Adult: 640, data.Student: 320, data.Elderly: 200}},
			{ID: "bus", Operators: []string{"bus"}, Flat: fare.Amounts{data.Adult: 580, data.Student: 290, data.Elderly: 200}},
			{ID: "minibus", Sections: &fare.Sections{Amounts: map[string]fare.Amounts{"upper": {data.Adult: 720, data.Student: 500, data.Elderly: 200}, "lower": {data.Adult: 490, data.Student: 400, data.Elderly: 200}}}}},
		Transfers:  []fare.Transfer{{ID: "to-metro", From: fare.Match{Operators: []string{"bus", "minibus"}}, To: fare.Match{Operators: []string{"metro"}}, Window: 90, Since: "end", Amounts: fare.Amounts{data.Adult: 100}}, {ID: "bus-bus", From: fare.Match{Operators: []string{"bus"}}, To: fare.Match{Operators: []string{"bus"}}, Window: 120, Permille: 500, Count: 2, Funder: "city:interchange"}},
		Cumulative: []fare.Cumulative{{ID: "month", Period: fare.Period{Kind: "month"}, Steps: []fare.CumulativeStep{{Over: 7000, Permille: 100}}}},
		Caps: []fare.Cap{{ID: "day", Period: fare.Period{Kind: "day", Cut: "04:30"}, Amounts: fare.Amounts{data.Adult: 5000, data.Student: 2500}, ExcludeIncomplete: true},
			{ID: "week", Period: fare.Period{Kind: "rolling", Days: 7}, Amounts: fare.Amounts{data.Adult: 16000, data.Student: 8000}}},
		Incomplete: fare.Incomplete{Mode: fare.MaxFromStop}, SameStop: fare.SameStop{Mode: fare.MinFromStop}, Rounding: fare.Rounding{Step: 10},
	}
	return t, t.Compile()
}

// payerTrips plays one payer's journeys, in event order.
func payerTrips(seed uint64, payer int, stops []string, categories []fare.Category) []fare.Trip {
	r := rand.New(rand.NewPCG(seed, uint64(payer)))
	category := categories[min(r.IntN(10), 2)%3]
	if r.IntN(10) < 7 {
		category = data.Adult
	}
	at := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC).UnixMilli() + r.Int64N(24*60)*60_000
	trips := make([]fare.Trip, ridesPerPayer)
	for i := range trips {
		at += (10 + r.Int64N(14*60)) * 60_000
		if r.IntN(2) == 0 {
			at -= min(r.Int64N(13*60), 9*60) * 1_000
		}
		on := journey.Tap{ID: citygate.TapID{Terminal: uint32(payer), Seq: uint64(2*i + 1)}, Rider: citygate.Rider{Issuer: 1, Index: uint32(payer)}, At: at, Party: 1}
		j := &journey.Journey{Rider: on.Rider, First: on.ID, State: journey.Complete}
		switch k := r.IntN(100); {
		case k < 60:
			on.Kind, on.Route, on.Stop = tap.On, "M", stops[r.IntN(len(stops))]
			off := on
			off.ID.Seq, off.Kind, off.Stop = on.ID.Seq+1, tap.Off, stops[r.IntN(len(stops))]
			off.At += (5 + r.Int64N(60)) * 60_000
			j.Taps = []journey.Tap{on, off}
			if k == 0 {
				j.Taps, j.State, j.Missing = j.Taps[:1], journey.Incomplete, journey.MissingOff
			}
		case k < 85:
			on.Kind, on.Route = tap.Single, "B"+strconv.Itoa(1+r.IntN(3))
			j.Taps = []journey.Tap{on}
		default:
			on.Kind, on.Route, on.Stop = tap.Single, "G1", []string{"upper", "lower"}[r.IntN(2)]
			j.Taps = []journey.Tap{on}
		}
		trips[i] = fare.Trip{Journey: j, Category: category}
	}
	return trips
}

// benchFare prices the journeys in rounds, so that memory stays bounded. Playing
// riders and comparing are not part of the time.
func benchFare(seed uint64, payers int) (fareReport, error) {
	tariff, err := benchTariff()
	if err != nil {
		return fareReport{}, err
	}
	raw, err := tariff.Encode()
	if err != nil {
		return fareReport{}, err
	}
	again, err := fare.ParseTariff(raw)
	if err != nil {
		return fareReport{}, err
	}
	zone := time.FixedZone("HKT", 8*60*60)
	folder := func(t *fare.Tariff) *fare.Folder {
		return &fare.Folder{Tariff: func(int64) *fare.Tariff { return t }, Calendar: fare.Calendar{Calendar: citygate.Calendar{Version: 1, Location: zone, Cut: 4 * time.Hour}}}
	}
	first, second := folder(tariff), folder(again)
	stops, categories := tariff.Rules[0].Table.Stops, []fare.Category{data.Adult, data.Student, data.Elderly}
	cores := runtime.GOMAXPROCS(0)
	out := fareReport{Journeys: payers * ridesPerPayer, Payers: payers, Cores: cores}
	sum := sha256.New()
	var spent time.Duration
	const round = 2_000
	for from := 0; from < payers; from += round {
		n := min(round, payers-from)
		trips, decisions := make([][]fare.Trip, n), make([][]fare.Decision, n)
		for i := range trips {
			trips[i] = payerTrips(seed, from+i, stops, categories)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		started := time.Now()
		spread(cores, n, func(i int) { decisions[i] = first.Fold(new(fare.State), trips[i]) })
		spent += time.Since(started)
		runtime.ReadMemStats(&after)
		out.AllocsPerJourney += float64(after.Mallocs - before.Mallocs)
		out.BytesPerJourney += float64(after.TotalAlloc - before.TotalAlloc)
		if err := compareFolds(&out, sum, second, trips, decisions, cores); err != nil {
			return out, err
		}
	}
	out.Digest, out.Identical = fmt.Sprintf("%x", sum.Sum(nil)), out.Different == 0
	out.Seconds, out.JourneysPerSecond = spent.Seconds(), float64(out.Journeys)/spent.Seconds()
	out.AllocsPerJourney /= float64(out.Journeys)
	out.BytesPerJourney /= float64(out.Journeys)
	return out, nil
}

// spread runs work(0) to work(n-1) on some goroutines.
func spread(workers, n int, work func(i int)) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				work(i)
			}
		})
	}
	wg.Wait()
}

// compareFolds prices the same trips again, given backwards, and adds what was
// decided to the sum and the report.
func compareFolds(out *fareReport, sum hash.Hash, second *fare.Folder, trips [][]fare.Trip, decisions [][]fare.Decision, cores int) error {
	texts, same := make([][][]byte, len(trips)), make([][]bool, len(trips))
	errs := make([]error, len(trips))
	spread(cores, len(trips), func(i int) {
		backwards := slices.Clone(trips[i])
		slices.Reverse(backwards)
		again := second.Fold(new(fare.State), backwards)
		slices.Reverse(again)
		texts[i], same[i] = make([][]byte, len(again)), make([]bool, len(again))
		for k := range again {
			a, err := json.Marshal(decisions[i][k])
			b, err2 := json.Marshal(again[k])
			if err != nil || err2 != nil {
				errs[i] = fmt.Errorf("encode a decision: %w, %w", err, err2)
				return
			}
			texts[i][k], same[i][k] = a, bytes.Equal(a, b)
		}
	})
	for i := range trips {
		if errs[i] != nil {
			return errs[i]
		}
		for k, d := range decisions[i] {
			sum.Write(texts[i][k])
			out.TotalMinor += d.Amount.Minor
			if !same[i][k] {
				out.Different++
			}
			if len(d.Explanation.Adjustments) > 0 {
				out.Adjusted++
			}
			if !d.Known {
				out.Unknown++
			}
		}
	}
	return nil
}
