package collect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// box is the city's contract.
var box = Contract{Name: "box", Adapter: "sandbox", FeePPM: feePPM, State: "active"}

// take has the gateway take a notice.
func (c *city) take(contract Contract, n driver.Notice, held bool) (taken Taken) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) (err error) {
		taken, err = c.TakeNotice(c.t.Context(), tx, contract, c.provider().Describe(), c.rules, n, held)
		return err
	})
	return taken
}

// open leaves the charges of riders 1 to n on their way: they were sent, and no
// answer has come. Their ids come in the riders' order.
func (c *city) open(n int) (ids []string) {
	c.t.Helper()
	for i := range n {
		c.claim(metro, ride(i+1, 1, uint32(i+1), 1, 500))
	}
	c.box.SetScript(sandbox.Script{Outages: []sandbox.Span{{From: closed, Until: closed.Add(time.Minute)}}})
	c.clock.set(closed)
	_ = c.RunDue(c.t.Context(), issuer) // nothing connects
	c.clock.add(30 * time.Minute)
	c.in(func(tx *pg.Tx) error {
		due, err := dueToSend(c.t.Context(), tx, "box")
		if err != nil {
			return err
		}
		batch, err := takeToSend(c.t.Context(), tx, due, tx.Now.Add(time.Hour))
		for _, ch := range batch {
			ids = append(ids, ch.OurID)
		}
		return err
	})
	if len(ids) != n {
		c.t.Fatalf("%d charges are on their way, want %d", len(ids), n)
	}
	return ids
}

func notice(noticeID, id string, o driver.Outcome, minor int64) driver.Notice {
	return driver.Notice{ID: noticeID, Kind: driver.NoticePayment, Result: driver.Result{
		OurID: id, Outcome: o, ProviderRef: "P" + id, Amount: citygate.Money{Minor: minor, Currency: "HKD"},
	}}
}

func (c *city) noticesIn(state string) (list []NoticeView) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) (err error) {
		list, err = Notices(c.t.Context(), tx, state, citygate.UUID{}, 100)
		return err
	})
	return list
}

// A notice settles an open charge, once; again, older and vaguer ones change
// nothing; what is not what was asked changes nothing and waits for somebody.
func TestNoticesMoveChargesForwardOnly(t *testing.T) {
	c := newCity(t)
	ids := c.open(4)
	other := Contract{Name: "other", Adapter: "sandbox", FeePPM: feePPM, State: "active"}
	c.in(func(tx *pg.Tx) error { return AddContract(c.t.Context(), tx, "test", other) })
	for i, step := range []struct {
		contract Contract
		n        driver.Notice
		verdict  Verdict
		fresh    bool
		state    string // of the first charge afterwards
	}{
		{box, notice("n1", ids[0], driver.Accepted, 500), NoticeAsked, true, "unknown"},
		{box, notice("n2", ids[0], driver.Declined, 500), NoticeAsked, true, "unknown"}, // it may be old: the provider is asked
		{box, notice("n3", ids[0], driver.Succeeded, 501), NoticeMismatch, true, "unknown"},
		{box, notice("n4", "NOBODYSORDER", driver.Succeeded, 500), NoticeUnknownOrder, true, "unknown"},
		{other, notice("n5", ids[0], driver.Succeeded, 500), NoticeUnknownOrder, true, "unknown"},
		{box, notice("n6", ids[0], driver.Succeeded, 500), NoticeApplied, true, "succeeded"},
		{box, notice("n6", ids[0], driver.Succeeded, 500), NoticeApplied, false, "succeeded"},
		{box, notice("n7", ids[0], driver.Succeeded, 500), NoticeKnown, true, "succeeded"},
		{box, notice("n8", ids[0], driver.Accepted, 500), NoticeKnown, true, "succeeded"}, // out of order
		{box, notice("n9", ids[0], driver.Declined, 500), NoticeKnown, true, "succeeded"}, // a notice never says no
		{box, notice("n6", ids[0], driver.Succeeded, 400), NoticeMismatch, true, "succeeded"},
		{box, func() driver.Notice {
			n := notice("n10", ids[0], driver.Succeeded, 500)
			n.Result.ProviderRef = "another"
			return n
		}(), NoticeMismatch, true, "succeeded"},
		{box, notice("", ids[1], driver.Succeeded, 500), NoticeApplied, true, "succeeded"}, // a product whose notices have no id
		{box, notice("", ids[1], driver.Succeeded, 500), NoticeApplied, false, "succeeded"},
		{box, notice("", ids[2], driver.Succeeded, 500), NoticeApplied, true, "succeeded"},
	} {
		got := c.take(step.contract, step.n, false)
		var state string
		c.in(func(tx *pg.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT state FROM charges WHERE tenant_id = $1 AND our_id = $2`, tx.Tenant, ids[0]).Scan(&state)
		})
		if got != (Taken{step.verdict, step.fresh}) || state != step.state {
			t.Errorf("step %d: %+v, the charge is %s; want %s, fresh %t, %s", i, got, state, step.verdict, step.fresh, step.state)
		}
	}
	if got := c.take(box, notice("h1", ids[3], driver.Succeeded, 500), true); got.Verdict != NoticeHeld {
		t.Errorf("for a tenant that is closed: %+v", got)
	}
	c.wantStates("charges", "charge succeeded", "charge succeeded", "charge succeeded", "charge sent")
	if n := c.net("provider_receivable"); n != 3*(500-3) {
		t.Errorf("the provider owes %d, want the net of three charges", n)
	}
	c.rederive()
	open := c.noticesIn("open")
	slices.SortFunc(open, func(a, b NoticeView) int { return strings.Compare(a.Detail, b.Detail) })
	slices.Reverse(open)
	var verdicts []string
	for _, n := range open {
		verdicts = append(verdicts, n.Verdict)
	}
	slices.Sort(verdicts)
	if want := []string{"mismatch", "mismatch", "mismatch", "unknown_order", "unknown_order"}; !slices.Equal(verdicts, want) {
		t.Fatalf("open are %v, want %v", verdicts, want)
	}
	c.in(func(tx *pg.Tx) error {
		return ResolveNotice(t.Context(), tx, "user:ada", open[0].ID, "the provider corrected it")
	})
	c.in(func(tx *pg.Tx) error {
		if err := ResolveNotice(t.Context(), tx, "user:ada", open[0].ID, "again"); !errors.Is(err, ErrNotice) {
			t.Errorf("resolved twice: %v", err)
		}
		return nil
	})
	if got := c.noticesIn("resolved"); len(got) != 1 || got[0].Note != "the provider corrected it" || got[0].ResolvedAt.IsZero() || got[0].ID != open[0].ID {
		t.Errorf("resolved: %+v", got)
	}
	repeats := 0
	for _, n := range c.noticesIn("") {
		repeats += n.Repeats
	}
	if repeats != 2 {
		t.Errorf("%d repetitions were counted, want 2", repeats)
	}
	// The fourth rider's charge, whose notice was held, is settled by asking.
	c.clock.set(closed.Add(25 * time.Hour))
	c.due()
	c.clock.add(time.Hour) // it was not known there, and its quiet time is over
	c.due()
	c.wantStates("charges", "charge succeeded", "charge succeeded", "charge succeeded", "charge succeeded")
	if len(c.box.Book()) != 1 { // the others were settled before the provider was asked
		t.Errorf("the provider's book: %+v", c.box.Book())
	}
	c.rederive()
}

// A provider that says a declined charge was paid is believed by nobody, and the
// debt is not tried again until somebody has looked.
func TestNoticeAgainstAFinalOutcomeStopsTheRecovery(t *testing.T) {
	c := newCity(t)
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1)}}})
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	c.due()
	c.wantStates("charges", "charge declined")
	var id string
	c.in(func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT our_id FROM charges WHERE tenant_id = $1`, tx.Tenant).Scan(&id)
	})
	n := notice("n1", id, driver.Succeeded, 500)
	n.Result.ProviderRef = ""
	if got := c.take(box, n, false); got.Verdict != NoticeContradiction {
		t.Fatalf("%+v", got)
	}
	c.wantStates("charges", "charge declined")
	c.box.SetScript(sandbox.Script{})
	for range 5 {
		c.clock.add(24 * time.Hour)
		c.due()
	}
	c.wantStates("charges", "charge declined")
	c.wantStates("debts", "open 500")
	if open := c.noticesIn("open"); len(open) != 1 || open[0].Detail != "it is declined here, the provider says succeeded" {
		t.Errorf("open: %+v", open)
	}
	var raised int
	c.in(func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND verb = 'notice.exception'`, tx.Tenant).Scan(&raised)
	})
	if raised != 1 {
		t.Errorf("%d audit rows of the exception", raised)
	}
}

// Refunds are told of too, and are held to their charge, contract and amount.
func TestNoticesOfRefunds(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 1000))
	c.clock.set(closed)
	c.due()
	c.box.SetScript(sandbox.Script{Outages: []sandbox.Span{{From: closed, Until: closed.Add(time.Hour)}}})
	c.claim(metro, ride(1, 2, 1, 1, 300))
	var refund, charge string
	c.in(func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT r.our_id, c.our_id FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id
			WHERE r.tenant_id = $1`, tx.Tenant).Scan(&refund, &charge)
	})
	c.in(func(tx *pg.Tx) error { // as if the call were under way
		_, err := tx.Exec(t.Context(), `UPDATE refunds SET state = 'sent', next_do = 'query' WHERE tenant_id = $1`, tx.Tenant)
		return err
	})
	say := func(id, of string, minor int64) Verdict {
		n := notice(fmt.Sprint("r", id, of, minor), id, driver.Succeeded, minor)
		n.Kind, n.ChargeID = driver.NoticeRefund, of
		return c.take(box, n, false).Verdict
	}
	for _, step := range []struct {
		got, want Verdict
	}{
		{say(charge, charge, 700), NoticeUnknownOrder}, // a charge is no refund
		{say(refund, "ANOTHERCHARGE", 700), NoticeUnknownOrder},
		{say(refund, charge, 701), NoticeMismatch},
		{say(refund, charge, 700), NoticeApplied},
		{say(refund, "", 700), NoticeKnown},
	} {
		if step.got != step.want {
			t.Errorf("%s, want %s", step.got, step.want)
		}
	}
	c.wantStates("refunds", "succeeded")
	c.rederive()
}

// What is said of a rider counts by when it became so, not by when it was heard.
func TestNoticesOfRidersOutOfOrder(t *testing.T) {
	c := newCity(t)
	said := func(state driver.RiderState, at time.Time) Verdict {
		return c.take(box, driver.Notice{Kind: driver.NoticeRider, Rider: driver.RiderStatus{RiderRef: "r1", State: state, At: at}}, false).Verdict
	}
	for _, step := range []struct{ got, want Verdict }{
		{said(driver.RiderNormal, morning.Add(time.Hour)), NoticeNoted},
		{said(driver.RiderOverdue, morning), NoticeKnown},
		{said(driver.RiderOverdue, morning.Add(2*time.Hour)), NoticeNoted},
		{said(driver.RiderOverdue, time.Time{}), NoticeNoted},
	} {
		if step.got != step.want {
			t.Errorf("%s, want %s", step.got, step.want)
		}
	}
}
