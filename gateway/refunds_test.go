package gateway

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// People give fares back: a part of one, and one as if it had not been. Each goes
// back to the provider once, whatever it is asked for again, and no more than the
// fare.
func TestPeopleGiveFaresBack(t *testing.T) {
	o := open(t)
	o.scripted(sandbox.Script{})
	o.onboard()
	c := &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}
	v := o.validator()
	c.rides(v)
	c.rides(v)
	c.uploads(v)
	o.until("collected", func() bool {
		charges := list[edge.Charge](o, "charges")
		return len(charges) == 1 && charges[0].State == "succeeded" && charges[0].Amount.Minor == 2*price
	})
	journeys := list[edge.Journey](o, "journeys")
	path := func(i int) string { return busPath("journeys/" + journeys[i].ID + "/refunds") }
	for name, r := range map[string]edge.RefundJourney{
		"more than the fare": {Kind: "goodwill", Goodwill: price + 1, Name: "a", Reason: "late bus"},
		"nothing":            {Kind: "goodwill", Name: "a", Reason: "late bus"},
	} {
		if got := o.refused(http.MethodPost, path(0), r); got != "pricing.no_refund" {
			t.Errorf("%s: %s", name, got)
		}
	}
	part := edge.RefundJourney{Kind: "goodwill", Goodwill: 100, Name: "late", Reason: "late bus"}
	var after edge.Journey
	o.send(http.MethodPost, path(0), part, &after)
	o.send(http.MethodPost, path(0), part, &after)
	if after.Fare == nil || after.Fare.Minor != price-100 {
		t.Errorf("after a part: %+v", after)
	}
	part.Goodwill = 200
	if got := o.refused(http.MethodPost, path(0), part); got != "pricing.other_refund" {
		t.Errorf("another amount under the same name: %s", got)
	}
	o.send(http.MethodPost, path(1), edge.RefundJourney{Kind: "void", Name: "wrong", Reason: "the reader was wrong"}, &after)
	if after.Fare == nil || after.Fare.Minor != 0 {
		t.Errorf("void: %+v", after)
	}
	o.until("given back", func() bool {
		sum := int64(0)
		for _, r := range list[edge.Refund](o, "refunds?state=succeeded") {
			sum += r.Amount.Minor
		}
		return sum == price+100
	})
	o.booksHold()
	if got := c.fares(); got != fmt.Sprint(price-100, " ", 0) && got != fmt.Sprint(0, " ", price-100) {
		t.Errorf("fares %s", got)
	}
	var rule edge.RefundRule
	o.send(http.MethodPut, busPath("refund-rules"), edge.RefundRule{AloneUpTo: 300}, nil)
	o.send(http.MethodGet, busPath("refund-rules"), nil, &rule)
	if rule.AloneUpTo != 300 || rule.Version != 1 || rule.SetBy != byPlatform {
		t.Errorf("rule %+v", rule)
	}

	// Where two are wanted for money that leaves, one person gives back up to the sum alone.
	o.send(http.MethodPut, busPath("refund-rules"), edge.RefundRule{AloneUpTo: 20}, nil)
	o.send(http.MethodPut, busPath("approval-settings"), map[string]any{"two_person": []string{"payout_release"}}, nil)
	c.rides(v)
	c.uploads(v)
	o.until("a third ride", func() bool { return len(list[edge.Journey](o, "journeys")) == 3 })
	third := list[edge.Journey](o, "journeys")[2]
	at := busPath("journeys/" + third.ID + "/refunds")
	fareOf := func() int64 { return list[edge.Journey](o, "journeys")[2].Fare.Minor }
	was := fareOf()
	if got := o.ask(http.MethodPost, at, "application/json", []byte(asJSON(t, edge.RefundJourney{Kind: "goodwill", Goodwill: 21, Name: "more", Reason: "late bus"}))); got.Code != http.StatusAccepted || fareOf() != was {
		t.Errorf("above the sum, alone: %d %s, the fare is %d", got.Code, got.Body, fareOf())
	}
	if got := o.ask(http.MethodPost, at, "application/json", []byte(asJSON(t, edge.RefundJourney{Kind: "void", Name: "all", Reason: "late bus"}))); got.Code != http.StatusAccepted || fareOf() != was {
		t.Errorf("all of it, alone: %d %s, the fare is %d", got.Code, got.Body, fareOf())
	}
	o.send(http.MethodPost, at, edge.RefundJourney{Kind: "goodwill", Goodwill: 20, Name: "little", Reason: "late bus"}, nil)
	if fareOf() != was-20 {
		t.Errorf("up to the sum, alone: the fare is %d, was %d", fareOf(), was)
	}
	for name, refund := range map[string]edge.RefundJourney{
		"one more after the sum": {Kind: "goodwill", Goodwill: 1, Name: "crumb", Reason: "late bus"},
		"the rest":               {Kind: "void", Name: "rest", Reason: "late bus"},
	} {
		if got := o.ask(http.MethodPost, at, "application/json", []byte(asJSON(t, refund))); got.Code != http.StatusAccepted || fareOf() != was-20 {
			t.Errorf("%s, alone: %d %s, the fare is %d", name, got.Code, got.Body, fareOf())
		}
	}
	o.send(http.MethodPost, at, edge.RefundJourney{Kind: "goodwill", Goodwill: 20, Name: "little", Reason: "late bus"}, nil) // again: it is the same
	if fareOf() != was-20 {
		t.Errorf("the same again: the fare is %d, was %d", fareOf(), was)
	}
}
