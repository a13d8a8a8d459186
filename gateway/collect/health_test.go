package collect

import (
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// People see what routing acts on: which contracts are down and since when, and
// where a payer may be collected besides.
func TestHealthAndPayersAreShown(t *testing.T) {
	c := newRouted(t, "")
	look := func() (down map[string]Breaker, payers map[string]string) {
		c.in(func(tx *pg.Tx) (err error) {
			if down, err = Breakers(t.Context(), tx); err == nil {
				payers, err = PayersOf(t.Context(), tx, accountID(1))
			}
			return err
		})
		return down, payers
	}
	for n := range breakerFailures {
		if down, _ := look(); len(down) != 0 {
			t.Errorf("after %d failures %v are down", n, down)
		}
		c.in(func(tx *pg.Tx) error { return hear(t.Context(), tx, "box", fails) })
	}
	down, payers := look()
	if b := down["box"]; len(down) != 1 || b.Failures != breakerFailures || !b.ProbeAt.Equal(b.OpenedAt.Add(breakerWait)) {
		t.Errorf("down: %+v", down)
	}
	if len(payers) != 1 || payers["other"] != "there-"+payer(1) {
		t.Errorf("payers %v", payers)
	}
	c.in(func(tx *pg.Tx) error { return hear(t.Context(), tx, "box", replied) })
	if down, _ := look(); len(down) != 0 {
		t.Errorf("it answers and is down: %v", down)
	}
}

// Every product is asked to take ids of this form.
func TestIDsAreAsProductsAreTold(t *testing.T) {
	for _, id := range []string{ourID(1), ourID(1<<62, "refund", strings.Repeat("x", 300), "7")} {
		if len(id) != driver.IDMade || !driver.Alnum.Holds(id) {
			t.Errorf("id %q", id)
		}
	}
}
