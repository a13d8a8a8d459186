package collect

import (
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func TestClaimsAreAbsolute(t *testing.T) {
	c := newCity(t)
	for _, v := range c.claim(metro, ride(1, 1, 5, 1, 500), ride(2, 1, 5, 2, 300)) {
		if !v.Accepted {
			t.Errorf("refused: %+v", v)
		}
	}
	c.claim(metro, ride(1, 2, 5, 1, 700), ride(2, 2, 5, 2, 100))
	c.claim(metro, ride(1, 2, 5, 1, 700)) // again
	c.claim(metro, ride(1, 1, 5, 1, 500)) // late: an older decision
	if got := c.net(ledger.InterbookPayable(metro)); got != -800 {
		t.Errorf("we owe the metro %d, want 800", -got)
	}
	c.clock.set(closed)
	c.due()
	c.wantStates("charges", "charge succeeded")
	if n := c.count(); n.Money["HKD"].Collected != 800 {
		t.Errorf("collected %d, want 800", n.Money["HKD"].Collected)
	}
	c.settled()
}

func TestTwoDecisionsOfOneBatchCountOnce(t *testing.T) {
	c := newCity(t)
	vs := c.claim(metro, ride(1, 1, 5, 1, 500), ride(1, 2, 5, 1, 200))
	if len(vs) != 2 || !vs[0].Accepted || !vs[1].Accepted || vs[0].N != 1 {
		t.Errorf("verdicts %+v", vs)
	}
	if got := c.net(ledger.PrefixInterbookPayable); got != -200 {
		t.Errorf("we owe %d, want 200", -got)
	}
}

// One display of many that is taken does not keep the others from being so.
func TestSecondUseAmongManyIsRefused(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 5, 1, 500))
	var batch []interbook.Claim
	for r := range 2 * attemptFrom {
		batch = append(batch, ride(10+r, 1, uint32(r), 1, 10))
	}
	for r, v := range c.claim(bus, batch...) {
		if v.Accepted == (r == 5) {
			t.Errorf("rider %d: %+v", r, v)
		}
	}
	if got := c.net(ledger.InterbookPayable(bus)); got != -10*(2*attemptFrom-1) {
		t.Errorf("we owe the bus %d, want %d", -got, 10*(2*attemptFrom-1))
	}
}

func TestSecondUseOfOneDisplayIsRefused(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 5, 1, 500))
	forwarded := ride(2, 1, 5, 1, 400)
	copied := ride(3, 1, 5, 1, 400)
	copied.Taps[0].Evidence = text(5, 1, "another screen")
	fine := ride(4, 1, 5, 2, 400)
	vs := c.claim(bus, forwarded, copied, fine)
	for i, want := range []code.Reason{code.DoubleUse, code.Clone, ""} {
		switch {
		case want == "" && !vs[i].Accepted:
			t.Errorf("claim %d: refused %+v", i, vs[i])
		case want != "" && (vs[i].Accepted || len(vs[i].Refused) != 1 || vs[i].Refused[0].Reason != want || vs[i].Refused[0].Seq != 1):
			t.Errorf("claim %d: %+v, want %s", i, vs[i], want)
		}
	}
	if got := c.net(ledger.InterbookPayable(bus)); got != -400 {
		t.Errorf("we owe the bus %d, want 400", -got)
	}
	if len(c.bank.copied) != 1 || c.bank.copied[0] != rider(5) {
		t.Errorf("denied for cloning: %v", c.bank.copied)
	}
	// The operator decides again without the tap.
	again := forwarded
	again.N, again.Amount, again.Taps = 2, 0, nil
	if vs := c.claim(bus, again); !vs[0].Accepted {
		t.Errorf("the corrected claim: %+v", vs[0])
	}
	c.clock.set(closed)
	c.due()
	c.settled()
}

// Two claims of one batch for one display: the earlier tap has it, whatever the
// order in the message.
func TestCollisionInOneBatchGoesByTime(t *testing.T) {
	for _, turned := range []bool{false, true} {
		c := newCity(t)
		items := []interbook.Claim{ride(1, 1, 5, 1, 500), ride(2, 1, 5, 1, 400)}
		if turned {
			items[0], items[1] = items[1], items[0]
		}
		for i, v := range c.claim(metro, items...) {
			if want := items[i].Journey == journey(1); v.Accepted != want {
				t.Errorf("turned %v: journey %s accepted %v", turned, v.Journey, v.Accepted)
			}
		}
	}
}

// A later decision about the same tap is no double use.
func TestSameTapAgainIsNoDoubleUse(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 5, 1, 500))
	two := ride(1, 2, 5, 1, 650)
	two.Taps = append(two.Taps, interbook.ClaimTap{Terminal: 90, Seq: 4, Counter: 2, Evidence: text(5, 2, ""), EventTime: morning.Add(time.Hour)})
	if v := c.claim(metro, two)[0]; !v.Accepted {
		t.Errorf("refused: %+v", v)
	}
	if got := c.net(ledger.PrefixInterbookPayable); got != -650 {
		t.Errorf("we owe %d, want 650", -got)
	}
}

func TestEvidenceMustProveTheClaim(t *testing.T) {
	c := newCity(t)
	c.bank.missing[6] = true
	forged, other, unknown, garbage := ride(1, 1, 5, 1, 500), ride(2, 1, 5, 2, 500), ride(3, 1, 6, 1, 500), ride(4, 1, 5, 4, 500)
	forged.Taps[0].Evidence = text(5, 1, "forged")
	other.Taps[0].Evidence = text(7, 2, "")
	garbage.Taps[0].Evidence = []byte("?")
	vs := c.claim(metro, forged, other, unknown, garbage)
	for i, want := range []code.Reason{code.BadDeviceSignature, code.Malformed, code.NotIssued, code.Malformed} {
		if v := vs[i]; v.Accepted || len(v.Refused) != 1 || v.Refused[0].Reason != want {
			t.Errorf("claim %d: %+v, want %s", i, v, want)
		}
	}
	if got := c.net(""); got != 0 || len(c.states("aggregations")) != 0 {
		t.Errorf("a refused claim moved %d", got)
	}
	// What was refused took no display: the true owner can still use it.
	if v := c.claim(bus, ride(9, 1, 5, 1, 100))[0]; !v.Accepted {
		t.Errorf("refused: %+v", v)
	}
	if n := c.net(ledger.InterbookPayable(bus)); n != -100 {
		t.Errorf("we owe the bus %d", -n)
	}
}

// A refusal leaves what was accepted of the journey before.
func TestRefusedDecisionKeepsTheOneBefore(t *testing.T) {
	c := newCity(t)
	c.claim(bus, ride(8, 1, 5, 9, 100))
	c.claim(metro, ride(1, 1, 5, 1, 500))
	two := ride(1, 2, 5, 1, 900)
	two.Taps = append(two.Taps, interbook.ClaimTap{Terminal: 90, Seq: 4, Counter: 9, Evidence: text(5, 9, ""), EventTime: morning.Add(time.Hour)})
	if v := c.claim(metro, two)[0]; v.Accepted || v.Refused[0].Terminal != 90 {
		t.Errorf("verdict %+v", v)
	}
	if got := c.net(ledger.InterbookPayable(metro)); got != -500 {
		t.Errorf("we owe the metro %d, want 500", -got)
	}
	if v := c.claim(metro, ride(1, 3, 5, 1, 600))[0]; !v.Accepted {
		t.Errorf("verdict %+v", v)
	}
	if got := c.net(ledger.InterbookPayable(metro)); got != -600 {
		t.Errorf("we owe the metro %d, want 600", -got)
	}
}

// For a rider of our own on our own line the fare is posted by who decided it;
// the caller learns the account.
func TestOwnClaimsPostNoFare(t *testing.T) {
	c := newCity(t)
	c.in(func(tx *pg.Tx) error {
		answers, transfers, err := c.Accept(t.Context(), tx, issuer, "HKD", []interbook.Claim{ride(1, 1, 5, 1, 500)})
		if err != nil {
			return err
		}
		if len(transfers) != 0 || len(answers) != 1 || answers[0].Account != accountID(5) || answers[0].Delta != 500 || !answers[0].Accepted {
			t.Errorf("answers %+v, transfers %+v", answers, transfers)
		}
		return nil
	})
	c.clock.set(closed)
	c.due()
	c.passBack()
	if len(c.own.items) != 1 || c.own.items[0].Kind != interbook.AdviceFee || c.own.items[0].Amount != 3 || c.own.items[0].Contra != ledger.ProviderFeeExpense("box") {
		t.Errorf("told %+v", c.own.items)
	}
	c.rederive()
}

func TestEveryStatementNamesTheTenant(t *testing.T) {
	for _, sql := range playedStatements(t) {
		if !namesTenant(sql) {
			t.Errorf("no tenant in %s", sql)
		}
	}
}
