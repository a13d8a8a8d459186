package collect

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// terms publishes risk terms of the contract box, in force from now on.
func (c *city) terms(contract string) {
	c.t.Helper()
	t, err := risk.Parse(fmt.Appendf(nil, `{"version":1,"contracts":[{"contract":"box","window":{},%s}]}`, contract))
	if err != nil {
		c.t.Fatal(err)
	}
	c.in(func(tx *pg.Tx) error { return risk.Publish(c.t.Context(), tx, "test", t, c.clock.now()) })
}

func (c *city) declineAll(riders ...int) {
	var script sandbox.Script
	for _, r := range riders {
		script.Decline = append(script.Decline, sandbox.Refusal{Rider: payer(r)})
	}
	c.box.SetScript(script)
}

// starters gives who started each charge.
func (c *city) starters() (out []string) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) error {
		all, err := Charges(c.t.Context(), tx, citygate.UUID{}, 100)
		for _, ch := range all {
			out = append(out, ch.Kind+" by "+ch.StartedBy+" "+ch.State)
		}
		slices.Sort(out)
		return err
	})
	return out
}

func (c *city) wantStarters(want ...string) {
	c.t.Helper()
	if got := c.starters(); !slices.Equal(got, want) {
		c.t.Errorf("charges are %v, want %v", got, want)
	}
}

func (c *city) debts() (all []DebtView) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) (err error) {
		all, err = Debts(c.t.Context(), tx, "", citygate.UUID{}, citygate.UUID{}, 100)
		return err
	})
	return all
}

// A scheme pays one declined fare of a payer, ever: the first, if it is small.
func TestAnInsuredFirstDeclineIsPaidOnce(t *testing.T) {
	c := newCity(t)
	c.terms(`"first_ride_minor":600,"retries":2,"retry_within_days":10`)
	c.declineAll(1, 2)
	c.claim(metro, ride(1, 1, 1, 1, 500), ride(2, 1, 2, 1, 601))
	c.clock.set(closed)
	c.due()
	c.due()
	c.wantStarters("charge by schedule declined", "charge by schedule declined", "first_ride by first_ride succeeded")
	if c.bank.denied[accountID(1)] || !c.bank.denied[accountID(2)] {
		t.Errorf("denied %v: the scheme paid for one, nobody for the other", c.bank.denied)
	}
	for _, d := range c.debts() {
		if want := d.Account == accountID(1); d.Insured != want || d.Tries != 0 || (d.State == "recovered") != want {
			t.Errorf("%+v", d)
		}
	}
	later := ride(3, 1, 1, 2, 100)
	later.BusinessDate.Day++
	c.claim(metro, later)
	c.clock.add(24 * time.Hour)
	c.due()
	c.wantStarters("charge by schedule declined", "charge by schedule declined", "charge by schedule declined", "first_ride by first_ride succeeded")
	if !c.bank.denied[accountID(1)] {
		t.Error("insured twice")
	}
	c.passBack()
	c.settled()
}

// Two declines of a payer at once are one insured ride, and two processes that see
// them at once do not get stuck on it.
func TestOneOfTwoDeclinesIsInsured(t *testing.T) {
	c := newCity(t)
	nextDay := func(it interbook.Claim) interbook.Claim { it.BusinessDate.Day++; return it }
	c.terms(`"first_ride_minor":600,"retries":2,"retry_within_days":10`)
	c.declineAll(1)
	c.claim(metro, ride(1, 1, 1, 1, 500), nextDay(ride(2, 1, 1, 2, 400)))
	c.clock.set(closed.Add(24 * time.Hour))
	c.due()
	c.due()
	c.wantStarters("charge by schedule declined", "charge by schedule declined", "first_ride by first_ride succeeded")

	// As another process would have left it: both to be insured.
	c.claim(metro, ride(3, 1, 2, 1, 300), nextDay(ride(4, 1, 2, 2, 200)))
	c.declineAll(1, 2)
	r := &run{Collector: c.Collector, tenant: issuer, touched: map[string]int{}}
	if err := r.closeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.terms2(`"retries":2,"retry_within_days":10`)
	c.due()
	c.in(func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE debts SET retry_at = $2, retry_by = 'first_ride' WHERE tenant_id = $1 AND state = 'open' AND account_id = $3`, issuer, tx.Now, accountID(2))
		return err
	})
	c.due()
	first, recovery := 0, 0
	for _, s := range c.starters() {
		switch s {
		case "first_ride by first_ride succeeded":
			first++
		case "recovery by schedule declined":
			recovery++
		}
	}
	if first != 2 || recovery != 1 {
		t.Errorf("%v", c.starters())
	}
	c.settled()
}

// terms2 publishes the second version.
func (c *city) terms2(contract string) {
	c.t.Helper()
	t, err := risk.Parse(fmt.Appendf(nil, `{"version":2,"contracts":[{"contract":"box","window":{},%s}]}`, contract))
	if err != nil {
		c.t.Fatal(err)
	}
	c.clock.add(time.Second)
	c.in(func(tx *pg.Tx) error { return risk.Publish(c.t.Context(), tx, "test", t, c.clock.now()) })
}

// The answer about the insured ride is lost: it is asked for, and nothing else is
// tried meanwhile.
func TestALostInsuredRideIsAskedFor(t *testing.T) {
	c := newCity(t)
	c.terms(`"first_ride_minor":600,"recovery":["tap","rider"],"retries":2,"retry_within_days":10`)
	c.box.SetScript(sandbox.Script{LoseReply: []string{payer(1)}, Decline: []sandbox.Refusal{{Rider: payer(1)}}})
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	c.due()
	c.clock.add(2 * time.Hour)
	r := &run{Collector: c.Collector, tenant: issuer, touched: map[string]int{}}
	for range 3 {
		if err := r.startRecoveries(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.recover(risk.ByRider, 1, 0)
		c.due()
		c.clock.add(2 * time.Hour)
	}
	c.wantStarters("charge by schedule declined", "first_ride by first_ride succeeded")
	if n := c.count(); n.UnknownSeen != 2 || n.DebtsOpen != 0 {
		t.Errorf("%+v", n)
	}
	c.settled()
}

// recover has an account's debts tried, and says how many are to be.
func (c *city) recover(by risk.Source, account uint32, want int) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) error {
		n, err := c.Recover(c.t.Context(), tx, by, "test", accountID(account))
		if n != want {
			c.t.Errorf("%d debts are tried by %s, want %d", n, by, want)
		}
		return err
	})
}

// An insured ride stays with its contract: if that is closed before it was sent,
// the debt goes the way of all others.
func TestAnInsuredRideOfAClosedContractIsADebt(t *testing.T) {
	c := newCity(t)
	c.terms(`"first_ride_minor":600,"retries":2,"retry_within_days":10`)
	c.declineAll(1)
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	r := &run{Collector: c.Collector, tenant: issuer, touched: map[string]int{}}
	if err := r.closeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	contract := Contract{Name: "box", Adapter: "sandbox", FeePPM: feePPM}
	if _, err := r.sendCharges(t.Context(), contract, c.provider()); err != nil {
		t.Fatal(err)
	}
	if err := r.startRecoveries(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wantStarters("charge by schedule declined", "first_ride by first_ride created")
	set := func(state string) {
		c.in(func(tx *pg.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE provider_contracts SET state = $2 WHERE tenant_id = $1`, issuer, state)
			return err
		})
	}
	set("closed")
	if err := r.moveCharges(t.Context()); err != nil {
		t.Fatal(err)
	}
	set("active")
	c.declineAll()
	c.due()
	c.wantStarters("charge by schedule declined", "first_ride by first_ride moved", "recovery by schedule succeeded")
	c.settled()
}

// Case C of the fare rules, in the tables: three rides of 7.40 are declined with a
// threshold of 6.00; the rider is denied; touching a reader tries again once a day;
// what is approved unblocks.
func TestCaseCInTheTables(t *testing.T) {
	c := newCity(t)
	c.terms(`"recovery":["tap"],"unblock":"approval","retries":3,"retry_within_days":30`)
	c.declineAll(1)
	c.claim(metro, ride(1, 1, 1, 1, 290), ride(2, 1, 1, 2, 290), ride(3, 1, 1, 3, 160))
	c.clock.set(closed)
	c.due()
	if d := c.debts(); len(d) != 1 || d[0].Left.Minor != 740 || d[0].State != "open" || !c.bank.denied[accountID(1)] {
		t.Fatalf("%+v, denied %v", d, c.bank.denied)
	}
	touch := func(at time.Time, evidence []byte, ctr uint16) {
		body, _ := json.Marshal(interbook.Touches{Items: []interbook.Touch{{Rider: rider(1), Tap: interbook.ClaimTap{Terminal: 7, Seq: 1, Counter: ctr, Evidence: evidence, EventTime: at}}}})
		c.in(func(tx *pg.Tx) error { return c.HandleTouches(t.Context(), tx, bus, body) })
	}
	now := c.clock.now()
	c.recover(risk.ByRider, 1, 0) // the terms name taps alone
	proofMade = func() time.Time { return c.clock.now() }
	defer func() { proofMade = nil }()
	touch(now, text(1, 9, ""), 9) // the touch that the decline followed
	c.clock.add(time.Hour)
	for _, bad := range [][]byte{text(1, 9, "forged"), text(2, 9, ""), []byte("noise")} {
		touch(c.clock.now(), bad, 9)
	}
	touch(c.clock.now().Add(-48*time.Hour), text(1, 9, ""), 9)
	c.due()
	c.wantStarters("charge by schedule declined")
	c.clock.add(30 * time.Hour)
	touch(c.clock.now(), text(1, 9, ""), 9)
	touch(c.clock.now(), text(1, 10, ""), 10)
	c.due()
	touch(c.clock.now(), text(1, 11, ""), 11) // the same day
	c.due()
	c.wantStarters("charge by schedule declined", "recovery by tap declined")
	c.declineAll()
	c.clock.add(24 * time.Hour)
	touch(c.clock.now(), text(1, 12, ""), 12)
	c.due()
	c.wantStarters("charge by schedule declined", "recovery by tap declined", "recovery by tap succeeded")
	if c.bank.denied[accountID(1)] {
		t.Error("approved and still denied")
	}
	c.passBack()
	c.settled()
}

// A ride that a reader with an older list let pass is a touch as well.
func TestANewRideTriesAnOldDebt(t *testing.T) {
	for _, recovery := range []string{`"recovery":["tap","rider"],`, ``} {
		c := newCity(t)
		c.terms(recovery + `"retries":3,"retry_within_days":30`)
		c.declineAll(1)
		c.claim(metro, ride(1, 1, 1, 1, 290))
		c.clock.set(closed)
		c.due()
		c.declineAll()
		c.clock.add(2 * time.Hour)
		again := ride(2, 1, 1, 2, 300)
		again.Taps[0].EventTime, again.At = c.clock.now(), c.clock.now()
		proofMade = func() time.Time { return again.At }
		c.claim(metro, again)
		proofMade = nil
		c.due()
		want := []string{"charge by schedule declined"}
		if recovery != "" {
			want = append(want, "recovery by tap succeeded")
		}
		got := slices.DeleteFunc(c.starters(), func(s string) bool { return s == "charge by schedule succeeded" })
		if !slices.Equal(got, want) || c.bank.denied[accountID(1)] == (recovery != "") {
			t.Errorf("%q: %v, denied %v", recovery, got, c.bank.denied)
		}
	}
}

// Where the scheme asks for an approval, a debt that was corrected away needs none,
// and one that is gone otherwise needs one of any charge.
func TestUnblockedByApproval(t *testing.T) {
	c := newCity(t)
	c.terms(`"unblock":"approval","retries":0,"retry_within_days":0`)
	c.declineAll(1, 2)
	c.claim(metro, ride(1, 1, 1, 1, 290), ride(2, 1, 2, 1, 290))
	c.clock.set(closed)
	c.due()
	c.claim(metro, ride(1, 2, 1, 1, 0))
	if c.bank.denied[accountID(1)] || !c.bank.denied[accountID(2)] {
		t.Errorf("denied %v: nothing is owed of the first any more", c.bank.denied)
	}
	c.in(func(tx *pg.Tx) error { // nobody collects it any more, and nothing was approved
		_, err := tx.Exec(t.Context(), `UPDATE debts SET state = 'recovered', amount = 0, closed_at = $2 WHERE tenant_id = $1 AND account_id = $3`, issuer, tx.Now, accountID(2))
		if err != nil {
			return err
		}
		return c.lift(t.Context(), tx, []citygate.UUID{accountID(2)})
	})
	if !c.bank.denied[accountID(2)] {
		t.Error("unblocked without an approval")
	}
	c.declineAll()
	next := ride(3, 1, 2, 2, 100)
	next.BusinessDate.Day++
	c.claim(metro, next)
	c.clock.add(24 * time.Hour)
	c.due()
	if c.bank.denied[accountID(2)] {
		t.Error("an approval does not unblock")
	}
}
