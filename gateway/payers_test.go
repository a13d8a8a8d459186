package gateway

import (
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
)

// What one tenant's rider pays with is no other tenant's, a rider to whom
// nothing was issued is asked for again, and memory is bounded.
func TestPayers(t *testing.T) {
	var p payers
	rider := func(i int) citygate.Rider { return citygate.Rider{Issuer: 301, Index: uint32(i)} }
	account := collect.Account{Key: "sandbox/rider", Contract: "sandbox", PayerRef: "rider"}
	p.keep(1, []citygate.Rider{rider(1), rider(2)}, map[citygate.Rider]collect.Account{rider(1): account})
	of := map[citygate.Rider]collect.Account{}
	if unknown := p.take(2, []citygate.Rider{rider(1)}, of); len(unknown) != 1 || len(of) != 0 {
		t.Fatalf("tenant 2 was given %v, asked for %v", of, unknown)
	}
	if unknown := p.take(1, []citygate.Rider{rider(1), rider(2)}, of); len(unknown) != 1 || unknown[0] != rider(2) || of[rider(1)] != account {
		t.Fatalf("known: %v, to be asked for: %v", of, unknown)
	}
	// Rider 1 is asked for all the time and stays; the others come once.
	for i := range 3 * payersMax {
		r := rider(1000 + i)
		p.keep(1, []citygate.Rider{r}, map[citygate.Rider]collect.Account{r: account})
		if i%1000 == 0 && len(p.take(1, []citygate.Rider{rider(1)}, of)) != 0 {
			t.Fatalf("rider 1 was forgotten after %d others", i)
		}
	}
	if n := len(p.young) + len(p.old); n > 2*payersMax {
		t.Errorf("%d riders are kept, at most %d should be", n, 2*payersMax)
	}
	if len(p.take(1, []citygate.Rider{rider(1000)}, of)) != 1 {
		t.Error("the first of all riders is still known")
	}
}
