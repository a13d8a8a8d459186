package collect

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// abroad has the metro be of another tree, on terms.
func (c *city) abroad(s Stay, bears bool) {
	config := c.Config
	config.Abroad = func(_ context.Context, _ *pg.Tx, operator citygate.TenantID) (Abroad, error) {
		if operator != metro {
			return nil, nil
		}
		return func(time.Time, code.SchemeID, uint16) Stay { return s }, nil
	}
	config.Bears = func(_ context.Context, _ *pg.Tx, operator citygate.TenantID, _ time.Time) (Guarantee, error) {
		return Guarantee{Holds: bears && operator == metro, PayDays: 30}, nil
	}
	c.Collector = New(config)
}

// Whatever is claimed in whatever order and however often, no rider's day goes
// beyond the highest sum, what is counted is what is accepted, and a fare that is
// taken back makes room.
func TestDaysOfRidersAreHeldToTheTerms(t *testing.T) {
	c := newCity(t)
	const highest = 1000
	c.abroad(Stay{DayCapMinor: highest}, false)
	w := rand.New(rand.NewPCG(3, 9))
	n := map[int]int{}
	refused := 0
	for range 40 {
		j := 1 + w.IntN(24)
		n[j]++
		cl := ride(j, n[j], uint32(1+j%3), uint16(j), int64(w.IntN(6))*100)
		if j%4 == 0 {
			cl.BusinessDate.Day++
		}
		for _, v := range c.claim(metro, cl) {
			if !v.Accepted {
				refused++
				if len(v.Refused) != 1 || v.Refused[0].Reason != code.OverLimit {
					t.Fatalf("refused: %+v", v)
				}
			}
		}
		c.claim(bus, ride(100+j, n[j], uint32(1+j%3), uint16(1000+j), 900)) // of the tree: counts for nothing
	}
	if refused == 0 {
		t.Fatal("nothing was refused")
	}
	c.in(func(tx *pg.Tx) error {
		var over, differ, days int
		err := tx.QueryRow(t.Context(), `
			SELECT count(*) FILTER (WHERE s.amount > $2), count(*) FILTER (WHERE s.amount IS DISTINCT FROM d.amount), count(*) FROM roaming_days d FULL JOIN (
				SELECT account_id, business_date, sum(amount)::bigint AS amount FROM claims WHERE tenant_id = $1 AND operator_id = $3 AND account_id IS NOT NULL GROUP BY 1, 2) AS s
			USING (account_id, business_date) WHERE d.tenant_id = $1`, issuer, highest, metro).Scan(&over, &differ, &days)
		if over != 0 || differ != 0 || days < 5 {
			t.Errorf("of %d days %d go beyond, %d are counted wrong", days, over, differ)
		}
		return err
	})
	c.rederive()
}

// A journey beyond the highest sum may be taken at the operator's risk: what is
// beyond is passed back if the rider does not pay, though the issuer bears the rest.
func TestBeyondTheDayIsTheOperatorsRisk(t *testing.T) {
	for way, passed := range map[Beyond]int64{BeyondAtRisk: 400, BeyondLikeOther: 0} {
		c := newCity(t)
		c.abroad(Stay{DayCapMinor: 1000, Beyond: way}, true)
		c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1)}}})
		for _, v := range c.claim(metro, ride(1, 1, 1, 1, 800), ride(2, 1, 1, 2, 600)) {
			if !v.Accepted {
				t.Fatalf("refused: %+v", v)
			}
		}
		c.clock.set(closed)
		c.due()
		c.passBack()
		if got := c.advice(metro)["uncollected"]; got != passed {
			t.Errorf("way %d: %d is passed back, want %d", way, got, passed)
		}
		if got := c.net(ledger.PrefixInterbookPayable); got != passed-1400 {
			t.Errorf("way %d: we owe %d", way, -got)
		}
		c.rederive()
	}
}
