package collect

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const liability = `  - {id: own, use: [box]}
liability:
  - {id: small, when: amount <= 300, bearer: issuer}
  - {id: buses, operators: [%d], bearer: issuer, up_to: 200}
`

func (r *routed) bearings() (out []string) {
	r.t.Helper()
	r.in(func(tx *pg.Tx) error {
		out = nil
		charges, err := Charges(r.t.Context(), tx, citygate.UUID{}, 100)
		if err != nil {
			return err
		}
		var ids []citygate.UUID
		for _, c := range charges {
			ids = append(ids, c.ID)
		}
		all, err := Bearings(r.t.Context(), tx, ids)
		for _, list := range all {
			for _, b := range list {
				out = append(out, fmt.Sprintf("%d: %d of %d, %s %s v%d", b.Operator, b.IssuerBears, b.Owed, b.Basis, b.Rule, b.Version))
			}
		}
		return err
	})
	return out
}

func (r *routed) wantBearings(want ...string) {
	r.t.Helper()
	got := map[string]bool{}
	for _, b := range r.bearings() {
		got[b] = true
	}
	for _, b := range want {
		if !got[b] || len(got) != len(want) {
			r.t.Errorf("borne %v, want %q", got, want)
			return
		}
	}
}

// What a rider owes is borne as the rule set of the ride's time says: the
// operator's part is passed back, the issuer's is not; later rules, looking
// again and a correction change nothing of that, and when the rider pays nothing
// is left over.
func TestShortfallIsBorneByTheRules(t *testing.T) {
	c := newRouted(t, fmt.Sprintf(liability, bus))
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1), Span: sandbox.Span{Until: closed.Add(30 * time.Hour)}}}})
	c.claim(metro, ride(1, 1, 1, 1, 500), ride(2, 1, 1, 2, 300))
	c.claim(bus, ride(3, 1, 1, 3, 700))
	c.clock.set(closed)
	c.publish("  - {id: own, use: [box]}\n", time.Time{}) // from now on nobody but operators bears
	c.due()
	for range 2 {
		c.passBack()
		c.wantAdvice(metro, map[string]int64{"uncollected": 500})
		c.wantAdvice(bus, map[string]int64{"uncollected": 500})
	}
	c.wantBearings(fmt.Sprintf("%d: 0 of 500, default  v1", metro), fmt.Sprintf("%d: 300 of 300, rule small v1", metro), fmt.Sprintf("%d: 200 of 700, rule buses v1", bus))
	if got := c.net(ledger.PrefixInterbookPayable); got != -500 {
		t.Errorf("we owe operators %d, want what the issuer bears", -got)
	}
	c.claim(bus, ride(3, 2, 1, 3, 600))
	c.passBack()
	c.wantBearings(fmt.Sprintf("%d: 0 of 500, default  v1", metro), fmt.Sprintf("%d: 300 of 300, rule small v1", metro), fmt.Sprintf("%d: 200 of 600, rule buses v1", bus))
	c.rederive()
	c.box.SetScript(sandbox.Script{})
	c.clock.add(50 * time.Hour)
	c.due()
	c.release()
	if got := c.net(ledger.PrefixInterbookPayable); got != 0 {
		t.Errorf("we still owe operators %d", -got)
	}
	c.settled()
}

// Terms between two cities come before the rules: the other city relies on them.
func TestTermsBearBeforeRules(t *testing.T) {
	c := newRouted(t, fmt.Sprintf(liability, bus))
	config := c.Config
	config.Bears = func(_ context.Context, _ *pg.Tx, operator citygate.TenantID, _ time.Time) (Guarantee, error) {
		return Guarantee{Holds: operator == metro, PayDays: 30}, nil
	}
	c.Collector = New(config)
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1)}}})
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.claim(bus, ride(3, 1, 1, 3, 700))
	c.clock.set(closed)
	c.due()
	c.passBack()
	c.wantAdvice(metro, map[string]int64{})
	c.wantAdvice(bus, map[string]int64{"uncollected": 500})
	c.wantBearings(fmt.Sprintf("%d: 500 of 500, terms  v0", metro), fmt.Sprintf("%d: 200 of 700, rule buses v1", bus))
	c.rederive()
}

// Rules may tell a payment that the bank took back from a charge that was declined.
func TestReversedAndDeclinedAreBorneApart(t *testing.T) {
	c := newRouted(t, `  - {id: own, use: [box]}
liability:
  - {id: taken-back, when: reversed, bearer: issuer, up_to: 300}
  - {id: declined, when: "!reversed", bearer: issuer, up_to: 100}
`)
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(2)}}})
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.claim(bus, ride(2, 1, 2, 2, 500))
	c.clock.set(closed)
	c.due()
	c.passBack()
	c.wantAdvice(metro, map[string]int64{"fee": 3})
	c.wantAdvice(bus, map[string]int64{"uncollected": 400})
	var paid string
	c.in(func(tx *pg.Tx) error {
		all, err := Charges(t.Context(), tx, citygate.UUID{}, 100)
		for _, ch := range all {
			if ch.State == "succeeded" {
				paid = ch.OurID
			}
		}
		return err
	})
	if _, err := c.Reverse(t.Context(), "user:ada", issuer, Reversal{Contract: "box", Reference: "CB-1", Charge: paid, Amount: citygate.Money{Minor: 500, Currency: "HKD"},
		Reason: "not recognised", Source: FromPerson}); err != nil {
		t.Fatal(err)
	}
	c.passBack()
	c.wantAdvice(metro, map[string]int64{"fee": 3, "uncollected": 200, "cleared": 300}) // of what was taken back the operator keeps what the issuer bears, at once
	c.wantAdvice(bus, map[string]int64{"uncollected": 400})
	c.rederive()
}
