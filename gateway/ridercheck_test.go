package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/openloop/openloopsim"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// deniedFor gives why an account is denied now.
func (o *office) deniedFor(account string) (reasons []string) {
	o.t.Helper()
	for _, d := range list[edge.Denial](o, "accounts/"+account+"/denials") {
		if d.LiftedAt == nil {
			reasons = append(reasons, d.Reason)
		}
	}
	slices.Sort(reasons)
	return reasons
}

func (o *office) wantDenied(when, account string, want ...string) {
	o.t.Helper()
	if got := o.deniedFor(account); !slices.Equal(got, want) {
		o.t.Errorf("%s: denied for %q, want %q", when, got, want)
	}
}

// A provider that is asked how a payer stands is heard: who cannot pay is denied, who can
// is let go, and a provider that does not answer stops nobody and lets nobody go. It is
// asked on demand, before a debt is tried again and once it is recovered.
func TestAProviderIsAskedHowPayersStand(t *testing.T) {
	o := open(t)
	o.onboard()
	sim := o.cards("cards")
	o.send(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: o.now().Add(time.Second),
		Terms: json.RawMessage(`{"version":1,"contracts":[{"contract":"cards","window":{"taps":1},"recovery":["rider"],"retries":1,"retry_within_days":30}]}`)}, nil)
	o.move(time.Minute)
	v := o.validator()
	ann := o.cardHolder("cards", "ann")
	o.credential("phone")
	o.sync(v)
	o.board(v, ann, "ann")
	account := o.accountsOf("cards", "tok_ann")[0].Text("acc_")
	other := o.accountsOf("sandbox", "rider-1")[0].Text("acc_")
	ask := func() (said edge.PayerState) {
		t.Helper()
		o.send(http.MethodPost, busPath("accounts/"+account+"/payers/cards/ask"), nil, &said)
		return said
	}
	if said := ask(); said.State != "normal" || said.RiderRef != "tok_ann" || said.Owes != nil {
		t.Errorf("who stands well: %+v", said)
	}
	o.wantDenied("standing well", account)
	sim.SetCard(openloopsim.Card{Token: "tok_ann", State: "LOST"})
	if said := ask(); said.State != "frozen" || said.Reason != "LOST" {
		t.Errorf("of a lost card: %+v", said)
	}
	o.wantDenied("lost", account, providerList)
	ask()
	o.wantDenied("asked twice", account, providerList)
	sim.SetCard(openloopsim.Card{Token: "tok_ann", State: "STRANGE"})
	if said := ask(); said.State != "unknown" {
		t.Errorf("a word of no table: %+v", said)
	}
	o.wantDenied("nobody can say", account, providerList)
	sim.SetCard(openloopsim.Card{Token: "tok_ann"})
	ask()
	o.wantDenied("found again", account)

	sim.SetCard(openloopsim.Card{Token: "tok_gone", State: "EXPIRED"})
	o.send(http.MethodPut, busPath("accounts/"+other+"/payers/cards"), map[string]any{"rider_ref": "tok_gone"}, nil)
	var further edge.PayerState
	if o.send(http.MethodPost, busPath("accounts/"+other+"/payers/cards/ask"), nil, &further); further.State != "deleted" {
		t.Errorf("of an expired card: %+v", further)
	}
	o.wantDenied("by a further contract", other)

	sim.SetCard(openloopsim.Card{Token: "tok_ann", Empty: true})
	o.drain(v)
	o.until("declined", func() bool { return len(list[edge.Debt](o, "debts?state=open")) == 1 })
	sim.SetCard(openloopsim.Card{Token: "tok_ann", State: "STOLEN"})
	o.move(time.Hour)
	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: o.proof(ann, "ann", 31)}, nil)
	o.settleDown()
	o.wantDenied("tried and stolen", account, "declined", providerList)
	sim.SetCard(openloopsim.Card{Token: "tok_ann"})
	o.move(time.Hour)
	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: o.proof(ann, "ann", 32)}, nil)
	o.settleDown()
	o.wantDenied("paid", account)

	if got := o.refused(http.MethodPost, busPath("accounts/"+other+"/payers/sandbox/ask"), nil); got != ErrRiderCheck.Name {
		t.Errorf("a provider that does not say: %q", got)
	}
	if got := o.refused(http.MethodPost, busPath("accounts/"+account+"/payers/sandbox/ask"), nil); got != "credential.no_account" {
		t.Errorf("a contract that the account has not: %q", got)
	}
	sim.Close()
	if said := ask(); said.State != "unknown" || said.Reason == "" {
		t.Errorf("a provider that is gone: %+v", said)
	}
	o.wantDenied("gone", account)
	o.booksHold()
}
