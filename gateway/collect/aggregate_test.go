package collect

import (
	"slices"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// An account whose aggregations close again and again on one day goes on behind
// the last of them, whoever else is in the batch.
func TestManyAggregationsOfOneDay(t *testing.T) {
	c := newCity(t)
	c.rules.CountLimit = 1
	const most = 10 // more than one look ahead
	for i := range most {
		c.claim(metro, ride(1+i, 1, 1, uint16(1+i), 10))
		c.due()
	}
	c.rules.CountLimit = 0
	c.claim(metro, ride(101, 1, 1, 101, 10), ride(102, 1, 2, 1, 20))
	c.wantStates("aggregations", append(slices.Repeat([]string{"settled"}, most), "open", "open")...)
	c.claim(metro, ride(103, 1, 1, 103, 30)) // the open one takes it
	c.wantStates("aggregations", append(slices.Repeat([]string{"settled"}, most), "open", "open")...)
	c.clock.set(closed)
	c.due()
	c.settled()
}

// What is taken back from an open aggregation and added to it in one batch does
// not make it reach a limit on the way.
func TestCorrectionCountsBeforeTheLimit(t *testing.T) {
	c := newCity(t)
	c.rules.AmountLimit = 1000
	c.claim(metro, ride(1, 1, 1, 1, 900))
	c.claim(metro, ride(1, 2, 1, 1, 500), ride(2, 1, 1, 2, 300))
	c.due()
	c.wantStates("aggregations", "open")
	c.claim(metro, ride(3, 1, 1, 3, 200))
	c.due()
	c.wantStates("aggregations", "settled")
	c.settled()
}

// Claims of many batches at once make one aggregation for each account, which
// holds all of them.
func TestAggregationsMadeAtOnce(t *testing.T) {
	c := newCity(t)
	const batches, riders = 8, 5
	var wg sync.WaitGroup
	for b := range batches {
		var items []interbook.Claim
		for r := range riders {
			items = append(items, ride(1+b*riders+r, 1, uint32(r), uint16(1+b), 10))
		}
		wg.Go(func() {
			err := c.DB.InTenant(t.Context(), issuer, func(tx *pg.Tx) error {
				_, transfers, err := c.Accept(t.Context(), tx, metro, "HKD", items)
				if err != nil {
					return err
				}
				return ledger.Post(t.Context(), tx, transfers)
			})
			if err != nil {
				t.Errorf("batch %d: %v", b, err)
			}
		})
	}
	wg.Wait()
	c.wantStates("aggregations", slices.Repeat([]string{"open"}, riders)...)
	c.clock.set(closed)
	c.due()
	for i, e := range c.box.Book() {
		if e.Amount.Minor != batches*10 {
			t.Errorf("charge %d is of %d, want %d", i, e.Amount.Minor, batches*10)
		}
	}
	if n := len(c.box.Book()); n != riders {
		t.Errorf("%d charges, want %d", n, riders)
	}
	c.settled()
}
