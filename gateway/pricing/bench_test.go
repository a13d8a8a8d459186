package pricing

import (
	"context"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// batchTaps is the size of the batches terminals upload in the benchmarks.
const batchTaps = 500

// BenchmarkSingle prices batches of 500 flat fares: the metric is taps per
// second of one worker, reading taps excluded.
func BenchmarkSingle(b *testing.B) {
	for name, issuer := range map[string]citygate.Issuer{"own": 2, "claimed": 1} {
		b.Run(name, func(b *testing.B) {
			benchmark(b, func(i int) Tap { return tapAt(issuer, uint32(i%50_000), 1, uint64(i+1), tap.Single, i/1000, "") })
		})
	}
}

// BenchmarkPaired prices batches of 500 taps that are 250 metro rides.
func BenchmarkPaired(b *testing.B) {
	benchmark(b, func(i int) Tap {
		kind, stop := tap.On, "A"
		if i%2 == 1 {
			kind, stop = tap.Off, "B"
		}
		return tapAt(1, uint32(i/2%50_000), 1, uint64(i+1), kind, i/1000, stop)
	})
}

func benchmark(b *testing.B, tapOf func(i int) Tap) {
	w := newWorld(b)
	source := &stream{uploads: w.taps}
	w.engine.Taps = source
	n := 0
	for b.Loop() {
		source.batch = source.batch[:0]
		for range batchTaps {
			source.batch = append(source.batch, tapOf(n))
			n++
		}
		if err := w.engine.RunBatch(b.Context(), metro, 1, source.batch[0].ID.Seq, batchTaps); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "taps/s")
}

// stream gives one batch and forgets it.
type stream struct {
	*uploads
	batch []Tap
}

func (s *stream) Batch(context.Context, *pg.Tx, uint32, uint64, int) ([]Tap, error) {
	return s.batch, nil
}

func (s *stream) OfRiders(_ context.Context, _ *pg.Tx, _ []citygate.Rider, _, _ time.Time) ([]Tap, error) {
	return s.batch, nil
}
