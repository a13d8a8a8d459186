package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/openloop/openloopproduct"
	"github.com/cashlesscity/citygate/adapters/openloop/openloopsim"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants/pg"
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

// A contract that wants it has its provider asked of each rider whose account is opened,
// once, and daily of who is denied for what it said, until it says otherwise, the tenant lets
// him go or his account is closed. What nobody can say denies nobody, lets nobody go, and is
// not asked for ever.
func TestNewRidersAreAskedAbout(t *testing.T) {
	o := open(t)
	o.onboard()
	sim := o.cards("plain")
	raw, err := json.Marshal(openloopproduct.Contract{Base: sim.URL(), Merchant: "valley", Currency: "CNY", Feeds: adapters.Feeds{CheckRiders: true}})
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/cards"), map[string]any{"adapter": "openloop", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	o.send(http.MethodPut, busPath("contracts/cards/secrets/"+openloopproduct.Key), map[string]any{"value": []byte(processorKey)}, nil)
	day := func(n int) {
		t.Helper()
		o.move(time.Duration(n) * 24 * time.Hour)
		o.settleDown()
	}
	waiting := func(when string, want int64) {
		t.Helper()
		if got := o.count(`SELECT count(*) FROM rider_questions`); got != want {
			t.Errorf("%s: %d riders are to be asked about; want %d", when, got, want)
		}
	}
	set := func(state string) {
		for _, token := range []string{"tok_ann", "tok_bob", "tok_cat", "tok_eve"} {
			sim.SetCard(openloopsim.Card{Token: token, State: state})
		}
	}
	set("LOST")
	accounts := map[string]string{}
	for device, contract := range map[string]string{"ann": "cards", "bob": "cards", "cat": "cards", "dot": "cards", "eve": "plain"} {
		o.cardHolder(contract, device)
		accounts[device] = o.accountsOf(contract, "tok_"+device)[0].Text("acc_")
	}
	o.cardHolder("cards", "dot") // again
	waiting("opened", 4)
	o.settleDown()
	for _, device := range []string{"ann", "bob", "cat"} {
		o.wantDenied(device+" lost his card", accounts[device], providerList)
	}
	o.wantDenied("her card is good", accounts["dot"])
	o.wantDenied("nobody is to be asked", accounts["eve"])
	waiting("denied", 3)

	set("STRANGE")
	day(1)
	o.wantDenied("a word of no table", accounts["ann"], providerList)
	o.in(bus, func(tx *pg.Tx) error { // people let him go: whatever is said, nobody asks for it
		id, err := citygate.ParseUUID("acc_", accounts["bob"])
		o.must(err)
		return credential.Lift(t.Context(), tx, actor, providerList, credential.Targets{Accounts: []citygate.UUID{id}})
	})
	o.send(http.MethodPost, busPath("accounts/"+accounts["cat"]+"/close"), nil, nil)
	set("LOST")
	day(2)
	o.wantDenied("people let him go", accounts["bob"])
	waiting("let go, closed", 1)
	set("")
	day(1)
	o.wantDenied("found again", accounts["ann"])
	waiting("found again", 0)

	sim.Close()
	o.cardHolder("cards", "fay")
	for range 60 {
		o.move(time.Hour)
		_ = o.askRiders(t.Context(), bus) // what it could not is in the rows
	}
	o.wantDenied("nobody answers", o.accountsOf("cards", "tok_fay")[0].Text("acc_"))
	waiting("nobody answers", 0)
}
