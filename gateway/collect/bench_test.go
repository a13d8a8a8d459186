package collect

import (
	"fmt"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// BenchmarkAccept takes claims of one tap each, 1,000 to a transaction, of
// 100,000 riders: what a claim costs in the issuer's book, evidence included.
func BenchmarkAccept(b *testing.B) {
	c := newCity(b)
	j := 0
	for b.Loop() {
		items := make([]interbook.Claim, 1000)
		for i := range items {
			j++
			items[i] = bulkRide(j)
		}
		c.in(func(tx *pg.Tx) error {
			_, transfers, err := c.Accept(b.Context(), tx, metro, "HKD", items)
			if err != nil {
				return err
			}
			return ledger.Post(b.Context(), tx, transfers)
		})
	}
	b.ReportMetric(float64(j)/b.Elapsed().Seconds(), "claims/s")
}

func bulkRide(j int) interbook.Claim {
	x := ride(j, 1, uint32(j%100_000), uint16(j/100_000+1), 500)
	x.Journey = ledger.DeriveID(x.At, "bench", fmt.Sprint(j))
	x.Taps[0].Evidence = fmt.Appendf(nil, "1/%d#%d %0180d", x.Rider.Index, x.Taps[0].Counter, 0)
	return x
}

// BenchmarkCollect closes, charges and passes back aggregations of five rides
// each through the sandbox.
func BenchmarkCollect(b *testing.B) {
	const riders = 2000
	for b.Loop() {
		b.StopTimer()
		c := newCity(b)
		for at := 0; at < 5*riders; at += 1000 {
			items := make([]interbook.Claim, 1000)
			for i := range items {
				items[i] = bulkRide(at + i)
				items[i].Rider.Index = uint32((at + i) % riders)
				items[i].Taps[0].Counter = uint16((at+i)/riders + 1)
				items[i].Taps[0].Evidence = fmt.Appendf(nil, "1/%d#%d %0180d", items[i].Rider.Index, items[i].Taps[0].Counter, 0)
			}
			c.in(func(tx *pg.Tx) error {
				_, transfers, err := c.Accept(b.Context(), tx, metro, "HKD", items)
				if err != nil {
					return err
				}
				return ledger.Post(b.Context(), tx, transfers)
			})
		}
		c.clock.set(closed)
		b.StartTimer()
		start := time.Now()
		c.due()
		charged := time.Since(start)
		c.passBack()
		passed := time.Since(start) - charged
		c.release()
		b.ReportMetric(riders/charged.Seconds(), "charges/s")
		b.ReportMetric(5*riders/passed.Seconds(), "shares_passed/s")
		b.ReportMetric(5*riders/(time.Since(start)-charged-passed).Seconds(), "shares_cleared/s")
		b.StopTimer()
		c.settled()
		b.StartTimer()
	}
}
