package collect

import (
	"errors"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// disputed opens the dispute of a bearer over the only debt.
func (r *routed) disputed(bearer string) Dispute {
	r.t.Helper()
	d, err := r.OpenDispute(r.t.Context(), "user:ada", issuer, Dispute{Debt: r.debts()[0].ID, Bearer: bearer, Reason: "not ours", Evidence: "list 4711, terminal 12"})
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *routed) paid(bearer, contract, reference string, amount int64) error {
	_, err := r.RecordBearerPayment(r.t.Context(), "user:ada", issuer, BearerPayment{Bearer: bearer, Contract: contract, Reference: reference,
		Amount: citygate.Money{Minor: amount, Currency: "HKD"}, Reason: "bank statement"})
	return err
}

func (r *routed) refusedAs(what string, got, want error) {
	r.t.Helper()
	if !errors.Is(got, want) {
		r.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// borne is a debt of which the provider bears 400, in ten days, and the platform 500, at
// once.
func borne(t *testing.T) *routed {
	t.Helper()
	c := newRouted(t, bearing)
	c.declining(1)
	c.claim(bus, ride(1, 1, 1, 1, 400), ride(2, 1, 1, 2, 600))
	c.clock.set(closed)
	c.due()
	c.passBack()
	c.wantNet("claimed", map[string]int64{"suspense": 400, "platform_receivable": 500, "interbook_payable": -400, "bank": -500})
	return c
}

// Who is told to bear a debt disputes it: nothing more is paid until it is decided, and
// upheld it moves to the operator, once.
func TestAnUpheldDisputeMovesWhatWasBorne(t *testing.T) {
	c := borne(t)
	ctx, debt := t.Context(), c.debts()[0]
	d := c.disputed("provider")
	if again := c.disputed("provider"); again != d {
		t.Errorf("disputed twice: %+v, %+v", d, again)
	}
	for what, x := range map[string]struct {
		d    Dispute
		want error
	}{
		"who bears nothing": {Dispute{Debt: debt.ID, Bearer: "issuer", Reason: "not ours", Evidence: "a list"}, ErrNotBorne},
		"nobody's debt":     {Dispute{Debt: citygate.UUID{1}, Bearer: "platform", Reason: "not ours", Evidence: "a list"}, ErrNoDebt},
		"no evidence":       {Dispute{Debt: debt.ID, Bearer: "platform", Reason: "not ours", Evidence: " "}, ErrDispute},
		"the operator":      {Dispute{Debt: debt.ID, Bearer: "operator", Reason: "not ours", Evidence: "a list"}, ErrDispute},
	} {
		_, err := c.OpenDispute(ctx, "user:ada", issuer, x.d)
		c.refusedAs(what, err, x.want)
	}
	c.clock.add(11 * 24 * time.Hour)
	c.passBack()
	c.wantNet("disputed, and due", map[string]int64{"suspense": 400, "interbook_payable": -400, "bank": -500})
	c.refusedAs("paid while it is disputed", c.paid("provider", "box", "P-1", 400), ErrBearerPaid)
	_, err := c.WriteOff(ctx, "user:ada", issuer, WriteOff{Debt: debt.ID, Amount: debt.Left, Reason: "moved away"})
	c.refusedAs("written off while it is disputed", err, ErrDisputed)

	_, err = c.DecideDispute(ctx, "user:bob", issuer, citygate.UUID{9}, DisputeRejected, "", "no reason")
	c.refusedAs("nobody's dispute", err, ErrNoDispute)
	for range 2 {
		if d, err = c.DecideDispute(ctx, "user:bob", issuer, d.ID, DisputeUpheld, "operator", "the list was old"); err != nil || d.State != DisputeUpheld || d.DecidedBy != "user:bob" {
			t.Fatalf("%+v, %v", d, err)
		}
		c.passBack()
		c.wantAdvice(bus, map[string]int64{"uncollected": 500, "cleared": 500})
		c.wantNet("upheld", map[string]int64{"suspense": 0, "covered:provider:box": 0, "platform_receivable": 500, "interbook_payable": 0, "bank": -500})
	}
	_, err = c.DecideDispute(ctx, "user:bob", issuer, d.ID, DisputeRejected, "", "after all")
	c.refusedAs("decided again", err, ErrDisputeClosed)
	_, err = c.OpenDispute(ctx, "user:ada", issuer, Dispute{Debt: debt.ID, Bearer: "provider", Reason: "not ours", Evidence: "a list"})
	c.refusedAs("disputed again", err, ErrDisputeClosed)
	c.clock.add(20 * 24 * time.Hour)
	_, err = c.OpenDispute(ctx, "user:ada", issuer, Dispute{Debt: debt.ID, Bearer: "platform", Reason: "not ours", Evidence: "a list"})
	c.refusedAs("31 days later", err, ErrDisputeLate)
	c.settled()
}

// Rejected, what waited goes its way, once; moved to the issuer, it is the issuer's to pay.
func TestARejectedDisputeLetsGoWhatWaited(t *testing.T) {
	for outcome, instead := range map[string]string{DisputeRejected: "", DisputeUpheld: "issuer"} {
		c := borne(t)
		d := c.disputed("provider")
		c.clock.add(11 * 24 * time.Hour)
		c.passBack()
		for range 2 {
			if _, err := c.DecideDispute(t.Context(), "user:bob", issuer, d.ID, outcome, instead, "looked at"); err != nil {
				t.Fatal(err)
			}
			c.passBack()
			suspense := int64(400)
			if instead != "" {
				suspense = 0
			}
			c.wantNet(outcome, map[string]int64{"suspense": suspense, "interbook_payable": 0, "bank": -900})
			c.wantAdvice(bus, map[string]int64{"uncollected": 100, "cleared": 900})
		}
		c.settled()
	}
}

// What the platform pays of what it bears is booked once, never more than it owes, and
// given back when riders pay after all.
func TestBearersPay(t *testing.T) {
	c := borne(t)
	c.refusedAs("more than owed", c.paid("platform", "", "T-1", 501), ErrBearerPaid)
	c.refusedAs("given back what never came", c.paid("platform", "", "T-1", -1), ErrBearerPaid)
	for range 2 {
		c.refusedAs("a part", c.paid("platform", "", "T-1", 200), nil)
		c.wantNet("a part", map[string]int64{"platform_receivable": 300, "bank": -300})
	}
	c.refusedAs("the same reference, another sum", c.paid("platform", "", "T-1", 100), ErrBearerOther)
	c.refusedAs("more than the rest", c.paid("platform", "", "T-2", 301), ErrBearerPaid)
	c.refusedAs("the provider", c.paid("provider", "box", "P-1", 400), nil)
	c.wantNet("the provider", map[string]int64{"suspense": 0, "bank": 100})
	c.declining()
	c.in(func(tx *pg.Tx) error { _, err := c.RetryDebts(t.Context(), tx, "test", accountID(1)); return err })
	c.due()
	c.passBack()
	c.wantNet("the rider pays", map[string]int64{"platform_receivable": -200, "suspense": -400})
	c.refusedAs("given back too much", c.paid("platform", "", "T-3", -201), ErrBearerPaid)
	c.refusedAs("given back", c.paid("platform", "", "T-3", -200), nil)
	c.wantNet("given back", map[string]int64{"platform_receivable": 0})
}
