package adapters

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// able is a driver with the abilities that the wrapper checks.
type able struct {
	*fake
	reversal driver.Reversal
	reversed int
	notice   driver.Notice
	ack      driver.Ack
	err      error
	rider    driver.RiderStatus
}

func (a *able) Reverse(context.Context, driver.Ref) (driver.Reversal, string, error) {
	a.reversed++
	return a.reversal, "WHY", a.err
}

func (a *able) ParseNotify(context.Context, driver.Notification) (driver.Notice, driver.Ack, error) {
	return a.notice, a.ack, a.err
}

func (a *able) RiderState(context.Context, driver.RiderQuestion) (driver.RiderStatus, error) {
	return a.rider, a.err
}

func TestCapabilitiesAreTheTypes(t *testing.T) {
	got := New(&able{fake: &fake{about: about}}, still).Capabilities()
	want := []driver.Capability{driver.CapReverse, driver.CapNotify, driver.CapRider}
	if !slices.Equal(got, want) {
		t.Errorf("capabilities %q; want %q", got, want)
	}
	if got := New(&fake{about: about}, still).Capabilities(); len(got) != 0 {
		t.Errorf("a driver of three methods can %q", got)
	}
}

// Rule 6.4.5: only what is unknown is reversed, within the product's times.
func TestOnlyTheUnknownIsReversed(t *testing.T) {
	limited := about
	limited.Limits = driver.Limits{ReverseAfter: 15 * time.Second, ReverseWithin: time.Hour}
	for name, c := range map[string]struct {
		state State
		age   time.Duration
		ok    bool
	}{
		"unknown": {Unknown, time.Minute, true}, "created": {Created, time.Minute, false}, "sent": {Sent, time.Minute, false},
		"succeeded": {Succeeded, time.Minute, false}, "declined": {Declined, time.Minute, false},
		"too early": {Unknown, 14 * time.Second, false}, "just": {Unknown, 15 * time.Second, true},
		"last": {Unknown, time.Hour, true}, "too late": {Unknown, time.Hour + 1, false}, "the clock went back": {Unknown, -time.Minute, false},
	} {
		d := &able{fake: &fake{about: limited}, reversal: driver.ReversalClosed}
		r, _ := New(d, still).Reverser()
		got, _, err := r.Reverse(t.Context(), c.state, driver.Ref{OurID: "a", SubmittedAt: noon.Add(-c.age)})
		if (err == nil) != c.ok || (d.reversed == 1) != c.ok || (got == driver.ReversalClosed) != c.ok {
			t.Errorf("%s: %q, %v, asked %d times", name, got, err, d.reversed)
		}
		if !c.ok && !errors.Is(err, ErrReverse) {
			t.Errorf("%s: err = %v; want ErrReverse", name, err)
		}
	}
	d := &able{fake: &fake{about: about}, reversal: "undone"}
	r, _ := New(d, still).Reverser()
	if got, _, err := r.Reverse(t.Context(), Unknown, driver.Ref{OurID: "a"}); got != driver.ReversalUnknown || err != nil {
		t.Errorf("a word that is not in the contract: %q, %v; want unknown", got, err)
	}
	d.err, d.reversal = errors.New("reset"), driver.ReversalClosed
	if got, _, err := r.Reverse(t.Context(), Unknown, driver.Ref{OurID: "a"}); got != driver.ReversalUnknown || !errors.Is(err, ErrOpen) {
		t.Errorf("a lost reply: %q, %v; want unknown and open", got, err)
	}
}

// Rule 6.4.6: a notice confirms and does no more.
func TestANoticeOnlyConfirms(t *testing.T) {
	for _, s := range []State{Sent, Unknown} {
		if next, err := Next(s, Noticed, driver.Result{Outcome: driver.Succeeded}); next != Succeeded || err != nil {
			t.Errorf("a notice of success on %s: %s, %v", s, next, err)
		}
		for _, o := range []driver.Outcome{driver.Declined, driver.Accepted, driver.Absent, driver.Unknown} {
			if next, err := Next(s, Noticed, driver.Result{Outcome: o}); next != Unknown || err != nil {
				t.Errorf("a notice of %q on %s: %s, %v; want unknown", o, s, next, err)
			}
		}
	}
	if next, err := Next(Succeeded, Noticed, driver.Result{Outcome: driver.Accepted}); next != Succeeded || err != nil {
		t.Errorf("a late notice of an earlier step: %s, %v", next, err)
	}
	if _, err := Next(Declined, Noticed, driver.Result{Outcome: driver.Succeeded}); !errors.Is(err, ErrTransition) {
		t.Errorf("a notice that contradicts a final state: %v; people must look", err)
	}
	if _, err := Next(Created, Noticed, driver.Result{Outcome: driver.Succeeded}); err == nil {
		t.Error("a notice of a charge that was never sent settled it")
	}
	a := After(Unknown, Noticed, driver.Result{Outcome: driver.Declined}, driver.Description{PollEvery: time.Hour}, noon, noon)
	if a != (Action{Query, noon}) {
		t.Errorf("after a notice that says no: %+v; want to ask at once", a)
	}
}

func TestAnUnprovenNoticeIsNeverAcknowledged(t *testing.T) {
	d := &able{fake: &fake{about: about}, err: errors.New("bad signature"), notice: driver.Notice{Kind: driver.NoticePayment}}
	n, _ := New(d, still).Notifier()
	notice, ack, err := n.ParseNotify(t.Context(), driver.Notification{})
	if notice != (driver.Notice{}) || ack.Status != http.StatusUnauthorized || !errors.Is(err, ErrNotice) {
		t.Errorf("%+v, %+v, %v", notice, ack, err)
	}
	d.ack = driver.Ack{Status: 200, Body: []byte("fail")} // a product that reads the body alone
	if _, ack, _ := n.ParseNotify(t.Context(), driver.Notification{}); string(ack.Body) != "fail" {
		t.Errorf("the product's own refusal became %+v", ack)
	}
	d.err, d.notice.Result = nil, driver.Result{OurID: "a-b", Outcome: driver.Succeeded}
	if notice, _, err := n.ParseNotify(t.Context(), driver.Notification{}); err != nil || notice.Kind != driver.NoticeOther || notice.Result.Outcome != driver.Unknown {
		t.Errorf("a notice of an id that is not ours: %+v, %v", notice, err)
	}
	d.notice = driver.Notice{Kind: driver.NoticePayment, Result: driver.Result{OurID: "a", Outcome: "PAID"}}
	if notice, _, _ := n.ParseNotify(t.Context(), driver.Notification{}); notice.Result.Outcome != driver.Unknown {
		t.Errorf("a word that is not in the contract: %+v", notice)
	}
}

// What is said of a payment that was taken back has to be in words of the contract. What
// is not is no reversal of anything, and is not dropped either.
func TestAnIncredibleReversalIsLookedAt(t *testing.T) {
	hkd := citygate.Money{Minor: 470, Currency: "HKD"}
	good := driver.Notice{ID: "1", Kind: driver.NoticeReversal, ChargeID: "a", Taken: driver.Taken{Reference: "cb-1", State: driver.TakenBack, Amount: hkd}}
	won := driver.Notice{ID: "1", Kind: driver.NoticeReversal, Taken: driver.Taken{Reference: "cb-2", Of: "cb-1", State: driver.TakenWon, Amount: hkd}}
	of := func(n driver.Notice, change func(*driver.Notice)) driver.Notice { change(&n); return n }
	for name, c := range map[string]struct {
		said     driver.Notice
		believed bool
	}{
		"taken": {good, true}, "won": {won, true},
		"a date to answer by": {of(good, func(n *driver.Notice) { n.Taken = driver.Taken{ReasonCode: "DUE"} }), true},
		"another word":        {of(good, func(n *driver.Notice) { n.Taken.State = "TAKEN" }), false},
		"no reference":        {of(good, func(n *driver.Notice) { n.Taken.Reference = "" }), false},
		"a long reference":    {of(good, func(n *driver.Notice) { n.Taken.Reference = strings.Repeat("x", 65) }), false},
		"a zero byte":         {of(good, func(n *driver.Notice) { n.Taken.ReasonCode = "a\x00" }), false},
		"no text":             {of(good, func(n *driver.Notice) { n.Taken.Of = "\xff" }), false},
		"nothing taken":       {of(good, func(n *driver.Notice) { n.Taken.Amount.Minor = 0 }), false},
		"no currency":         {of(good, func(n *driver.Notice) { n.Taken.Amount.Currency = "" }), false},
		"no payment of ours":  {of(good, func(n *driver.Notice) { n.ChargeID = "a-b" }), false},
		"won of nothing":      {of(won, func(n *driver.Notice) { n.Taken.Of = "" }), false},
	} {
		n, _ := New(&able{fake: &fake{about: about}, notice: c.said}, still).Notifier()
		got, _, err := n.ParseNotify(t.Context(), driver.Notification{})
		want := driver.Notice{ID: "1", Kind: driver.NoticeReversal, Taken: driver.Taken{State: driver.TakenBack, ReasonCode: Unbelievable}}
		if c.believed {
			want = c.said
		}
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	n, _ := New(&able{fake: &fake{about: about}, notice: driver.Notice{ID: "1", Kind: "gift"}}, still).Notifier()
	if got, _, err := n.ParseNotify(t.Context(), driver.Notification{}); err != nil || got.Kind != driver.NoticeOther || got.Result.ReasonCode != Unbelievable {
		t.Errorf("a kind that is no word of the contract: %+v, %v", got, err)
	}
}

func TestARiderOfWhomNothingIsKnownIsNotStopped(t *testing.T) {
	d := &able{fake: &fake{about: about}, rider: driver.RiderStatus{RiderRef: "r", State: driver.RiderOverdue}}
	c, _ := New(d, still).RiderCheck()
	if s, err := c.RiderState(t.Context(), driver.RiderQuestion{RiderRef: "r"}); s.State != driver.RiderOverdue || err != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := c.RiderState(t.Context(), driver.RiderQuestion{RiderRef: "another"}); s.State != driver.RiderUnknown || err != nil {
		t.Errorf("an answer about another rider: %+v, %v", s, err)
	}
	d.rider.State = "OVERDUE"
	if s, _ := c.RiderState(t.Context(), driver.RiderQuestion{RiderRef: "r"}); s.State != driver.RiderUnknown {
		t.Errorf("a word that is not in the contract: %+v", s)
	}
}

func TestLimitsAreHeldBeforeAnythingIsSent(t *testing.T) {
	tight := about
	tight.Limits = driver.Limits{IDMin: 2, Charset: driver.Alnum, AmountMin: 10, AmountMax: 500}
	p := New(&fake{about: tight}, still)
	for name, d := range map[string]driver.Debit{
		"short id": {OurID: "a", Amount: hkd(100)}, "underscore": {OurID: "a_b", Amount: hkd(100)},
		"too little": {OurID: "ab", Amount: hkd(9)}, "too much": {OurID: "ab", Amount: hkd(501)},
	} {
		if err := p.Check(d); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v; want ErrInvalid", name, err)
		}
	}
	for _, minor := range []int64{10, 500} {
		if err := p.Check(driver.Debit{OurID: "ab", Amount: citygate.Money{Minor: minor, Currency: "HKD"}}); err != nil {
			t.Errorf("%d: %v", minor, err)
		}
	}
	slow := driver.Description{Limits: driver.Limits{QueryDelay: 10 * time.Second}}
	if a := After(Unknown, Lost, driver.Result{}, slow, noon, noon); a != (Action{Query, noon.Add(10 * time.Second)}) {
		t.Errorf("with a query delay: %+v", a)
	}
}

// A notice of an agreement in words that are none of the contract, or that nobody could
// keep, says nothing.
func TestANoticeOfAnAgreementIsInWordsOfTheContract(t *testing.T) {
	for name, c := range map[string]struct {
		said driver.Agreement
		kind driver.NoticeKind
	}{
		"active":            {driver.Agreement{ID: "7", State: driver.AgreementActive}, driver.NoticeAgreement},
		"another word":      {driver.Agreement{ID: "7", State: "signed"}, driver.NoticeOther},
		"a zero byte":       {driver.Agreement{ID: "7\x00", State: driver.AgreementEnded}, driver.NoticeOther},
		"a rider's novel":   {driver.Agreement{ID: "7", RiderRef: string(make([]byte, 201)), State: driver.AgreementEnded}, driver.NoticeOther},
		"not UTF-8":         {driver.Agreement{OurID: "\xff", State: driver.AgreementEnded}, driver.NoticeOther},
		"nobody can say it": {driver.Agreement{OurID: "a"}, driver.NoticeAgreement},
	} {
		n, _ := New(&able{fake: &fake{about: about}, notice: driver.Notice{ID: "1", Kind: driver.NoticeAgreement, Agreement: c.said}}, time.Now).Notifier()
		notice, _, err := n.ParseNotify(t.Context(), driver.Notification{})
		if err != nil || notice.Kind != c.kind || (c.kind == driver.NoticeOther && notice.Agreement != (driver.Agreement{})) {
			t.Errorf("%s is heard as %+v, %v", name, notice, err)
		}
	}
}
