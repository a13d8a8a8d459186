package drivertest

import (
	"errors"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases of products on whose agreements riders are debited without being there.

var agreementCases = []testCase{
	{"agreement_open_twice", "an agreement that is opened twice is one, whichever invitation its rider opens", agrees, agreementOpenTwice},
	{"agreement_open_lost_reply", "after a lost reply the same is opened again, and is one agreement", agrees, agreementOpenLostReply},
	{"agreement_unconfirmed", "what its rider has not confirmed is not in force, and has not ended", agrees, agreementUnconfirmed},
	{"agreement_not_known", "an agreement that the far side does not know is unknown, not ended", agrees, agreementNotKnown},
	{"agreement_active", "what its rider confirmed is in force under a number, and is found by it and by our name", agrees, agreementActive},
	{"agreement_of_another", "what is said of an agreement is said of the one that was asked about", agrees, agreementOfAnother},
	{"agreement_debit", "a debit on an agreement in force is made; one on a number that is nobody's is not", restsOnAgreements, agreementDebit},
	{"agreement_close_twice", "an agreement that is closed twice ends once, and the second time is no error", agrees, agreementCloseTwice},
	{"agreement_ended", "an agreement that was closed is over for good, whenever and by whichever name it is asked about", agrees, agreementEnded},
	{"agreement_ended_debit", "a debit on an agreement that is over is declined or not performed; one that was made before stays made", restsOnAgreements, agreementEndedDebit},
	{"agreement_close_lost_reply", "the end whose reply was lost is open, and asked for again it is so", agrees, agreementCloseLostReply},
	{"agreement_garbled", "an answer about an agreement that makes no sense says nothing of it", agrees, agreementGarbled},
	{"agreement_gone", "a question about an agreement that reaches nobody is an error, and so is its end", agrees, agreementGone},
}

// An AgreementHarness is a Harness whose far side has riders who agree. An adapter that is
// a driver.Contract has one.
type AgreementHarness interface {
	Harness
	// Agree has the rider open an invitation and confirm. Twice is once.
	Agree(i driver.Invitation)
}

func agrees(h Harness) bool { _, ok := driver.As[driver.Contract](h.Provider()); return ok }
func restsOnAgreements(h Harness) bool {
	return agrees(h) && h.Provider().Describe().Limits.ByAgreement
}

// parties gives what the cases of agreements need. A harness without riders fails them.
func parties(t TB, h Harness) (AgreementHarness, driver.Contract) {
	t.Helper()
	has, ok := h.(AgreementHarness)
	if !ok {
		t.Fatalf("the adapter is a driver.Contract and its harness no AgreementHarness: give it an Agree method")
	}
	manager, _ := driver.As[driver.Contract](h.Provider())
	return has, manager
}

func invite(t TB, m driver.Contract, ourID string) driver.Invitation {
	t.Helper()
	i, err := m.OpenAgreement(t.Context(), driver.AgreementRequest{OurID: ourID, Purpose: "rides", ReturnURL: "https://operator.example/back"})
	if err != nil || i.OurID != ourID || i.URL == "" {
		t.Fatalf("OpenAgreement(%s) = %+v, %v; want an invitation to it", ourID, i, err)
	}
	return i
}

// inForce asks after an agreement that its rider confirmed.
func inForce(t TB, m driver.Contract, of driver.Agreement) driver.Agreement {
	t.Helper()
	a, err := m.QueryAgreement(t.Context(), of)
	if err != nil || a.State != driver.AgreementActive || a.ID == "" || of.OurID != "" && a.OurID != of.OurID || of.ID != "" && a.ID != of.ID {
		t.Fatalf("QueryAgreement(%q, %q) = %+v, %v; want it in force, with a number", of.OurID, of.ID, a, err)
	}
	return a
}

// agree opens an agreement and has its rider confirm it.
func agree(t TB, h AgreementHarness, m driver.Contract, ourID string) driver.Agreement {
	t.Helper()
	h.Agree(invite(t, m, ourID))
	return inForce(t, m, driver.Agreement{OurID: ourID})
}

// agreed is agree by parties.
func agreed(t TB, h Harness, ourID string) (driver.Contract, driver.Agreement) {
	t.Helper()
	has, m := parties(t, h)
	return m, agree(t, has, m, ourID)
}

// names are the ways in which an agreement is asked about.
func names(a driver.Agreement) []driver.Agreement {
	return []driver.Agreement{{OurID: a.OurID}, {ID: a.ID}, {OurID: a.OurID, ID: a.ID}}
}

// isOver asks after an agreement that was closed.
func isOver(t TB, m driver.Contract, of driver.Agreement) {
	t.Helper()
	if a, err := m.QueryAgreement(t.Context(), of); err != nil || a.State != driver.AgreementEnded {
		t.Errorf("QueryAgreement(%q, %q) of one that was closed = %q, %v; want ended", of.OurID, of.ID, a.State, err)
	}
}

// end closes an agreement, and says whether the product ends it at once.
func end(t TB, m driver.Contract, a driver.Agreement) (atOnce bool) {
	t.Helper()
	said, err := m.CloseAgreement(t.Context(), a)
	if err != nil || said.State != driver.AgreementEnded && said.State != driver.AgreementActive || said.OurID != a.OurID {
		t.Fatalf("CloseAgreement(%s) = %+v, %v; want ended, or in force until it ends later", a.OurID, said, err)
	}
	return said.State == driver.AgreementEnded
}

func agreementOpenTwice(t TB, h Harness) {
	has, m := parties(t, h)
	first, second := invite(t, m, "twice"), invite(t, m, "twice")
	has.Agree(second)
	a := inForce(t, m, driver.Agreement{OurID: "twice"})
	has.Agree(first)
	if again := inForce(t, m, driver.Agreement{OurID: "twice"}); again.ID != a.ID {
		t.Errorf("one agreement got two numbers, %q and %q", a.ID, again.ID)
	}
	moved(t, h)
}

func agreementOpenLostReply(t TB, h Harness) {
	has, m := parties(t, h)
	h.LoseNextReply()
	_, _ = m.OpenAgreement(t.Context(), driver.AgreementRequest{OurID: "lost", Purpose: "rides"}) // a product that sends nothing loses nothing
	_, _ = m.QueryAgreement(t.Context(), driver.Agreement{OurID: "lost"})                         // but its first question
	a := agree(t, has, m, "lost")
	for _, of := range names(a) {
		inForce(t, m, of)
	}
}

func agreementUnconfirmed(t TB, h Harness) {
	_, m := parties(t, h)
	invite(t, m, "asked")
	a, err := m.QueryAgreement(t.Context(), driver.Agreement{OurID: "asked"})
	if err != nil || a.State != driver.AgreementPending && a.State != driver.AgreementUnknown || a.OurID != "asked" {
		t.Errorf("QueryAgreement of what nobody confirmed = %+v, %v; want pending or unknown", a, err)
	}
}

func agreementNotKnown(t TB, h Harness) {
	_, m := parties(t, h)
	if a, err := m.QueryAgreement(t.Context(), driver.Agreement{OurID: "neveropened"}); err != nil || a.State != driver.AgreementUnknown {
		t.Errorf("QueryAgreement of one that was never opened = %q, %v; want unknown", a.State, err)
	}
}

func agreementActive(t TB, h Harness) {
	m, a := agreed(t, h, "agreed")
	for _, of := range names(a) {
		if said := inForce(t, m, of); said.ID != a.ID || said.OurID != a.OurID {
			t.Errorf("QueryAgreement(%q, %q) = %q, %q; want %q, %q", of.OurID, of.ID, said.OurID, said.ID, a.OurID, a.ID)
		}
	}
	moved(t, h)
}

func agreementOfAnother(t TB, h Harness) {
	has, m := parties(t, h)
	one, two := agree(t, has, m, "one"), agree(t, has, m, "two")
	if one.ID == two.ID {
		t.Errorf("two agreements have one number, %q", one.ID)
	}
	if said, err := m.QueryAgreement(t.Context(), driver.Agreement{OurID: one.OurID, ID: two.ID}); err == nil && said.State != driver.AgreementUnknown {
		t.Errorf("QueryAgreement by one's name and the other's number = %+v; want nothing said of either", said)
	}
	if end(t, m, one) {
		inForce(t, m, driver.Agreement{OurID: two.OurID})
	}
}

// debitOn gives a debit that rests on an agreement.
func debitOn(h Harness, ourID string, minor int64, number string) driver.Debit {
	d := debit(h, ourID, minor)
	d.RiderRef = number
	return d
}

// noDebit submits a debit that no agreement in force lets be made.
func noDebit(t TB, h Harness, d driver.Debit) {
	t.Helper()
	if r, err := submit(t.Context(), h, d); r.Outcome != driver.Declined && !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("Submit(%s) = %q, %v; want declined or not performed", d.OurID, r.Outcome, err)
	}
}

func agreementDebit(t TB, h Harness) {
	_, a := agreed(t, h, "agreed")
	d := debitOn(h, "onit", 470, a.ID)
	pay(t, h, d)
	noDebit(t, h, debitOn(h, "onnone", 470, a.ID+"0"))
	moved(t, h, took(d))
}

func agreementCloseTwice(t TB, h Harness) {
	m, a := agreed(t, h, "closed")
	end(t, m, a)
	if end(t, m, a) {
		isOver(t, m, driver.Agreement{OurID: a.OurID})
	}
}

func agreementEnded(t TB, h Harness) {
	m, a := agreed(t, h, "closed")
	if !end(t, m, a) {
		return // its notice says when
	}
	for range 2 {
		for _, of := range names(a) {
			isOver(t, m, of)
		}
	}
}

func agreementEndedDebit(t TB, h Harness) {
	m, a := agreed(t, h, "closed")
	before := debitOn(h, "before", 470, a.ID)
	pay(t, h, before)
	if !end(t, m, a) {
		return
	}
	noDebit(t, h, debitOn(h, "behind", 530, a.ID))
	if h.Provider().Describe().ResubmitSafe {
		pay(t, h, before)
	}
	if r, err := h.Provider().Query(t.Context(), ref(before)); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("Query of what was paid before = %q, %v; want succeeded", r.Outcome, err)
	}
	moved(t, h, took(before))
}

func agreementCloseLostReply(t TB, h Harness) {
	m, a := agreed(t, h, "closed")
	h.LoseNextReply()
	if said, err := m.CloseAgreement(t.Context(), a); err == nil && said.State != driver.AgreementEnded { // net/http may have sent it again by itself
		t.Errorf("lost reply: CloseAgreement = %q; want an error: nobody can say how it stands", said.State)
	} else if errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("lost reply: CloseAgreement said not performed, but the far side had the request: %v", err)
	}
	if end(t, m, a) {
		isOver(t, m, driver.Agreement{OurID: a.OurID})
	}
}

func agreementGarbled(t TB, h Harness) {
	m, a := agreed(t, h, "garbled")
	h.GarbleNext()
	if said, err := m.QueryAgreement(t.Context(), driver.Agreement{OurID: a.OurID}); err == nil && said.State != driver.AgreementUnknown {
		t.Errorf("an answer that makes no sense: QueryAgreement = %q", said.State)
	}
	inForce(t, m, driver.Agreement{OurID: a.OurID})
	h.GarbleNext()
	if said, err := m.CloseAgreement(t.Context(), a); err == nil && said.State != driver.AgreementUnknown || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("an answer that makes no sense: CloseAgreement = %q, %v; want it open", said.State, err)
	}
	end(t, m, a)
}

func agreementGone(t TB, h Harness) {
	m, a := agreed(t, h, "gone")
	die(t, h)
	for what, do := range map[string]func() (driver.Agreement, error){
		"QueryAgreement": func() (driver.Agreement, error) { return m.QueryAgreement(t.Context(), a) },
		"CloseAgreement": func() (driver.Agreement, error) { return m.CloseAgreement(t.Context(), a) },
	} {
		if said, err := do(); err == nil {
			t.Errorf("%s of nobody = %q and no error", what, said.State)
		}
	}
}
