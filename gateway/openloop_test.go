package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/openloop"
	"github.com/cashlesscity/citygate/adapters/openloop/openloopproduct"
	"github.com/cashlesscity/citygate/adapters/openloop/openloopsim"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/risk"
)

const processorKey = "a key that a merchant shares with its processor"

// cards signs a contract with a simulated processor of bank cards, which lets the
// merchant ask once on his own for what was declined.
func (o *office) cards(name string) *openloopsim.Server {
	o.t.Helper()
	sim, err := openloopsim.Start(openloopsim.Config{
		Clock: o.now, Merchant: "valley", Key: []byte(processorKey), Currency: "CNY", Numeric: "156", FeePPM: feePPM, RecoverTries: 1, RecoverWithin: 40 * 24 * time.Hour,
	})
	o.must(err)
	o.t.Cleanup(sim.Close)
	raw, err := json.Marshal(openloopproduct.Contract{Base: sim.URL(), Merchant: "valley", Currency: "CNY", Rules: openloop.Rules{
		AggregateWithin: openloop.Duration(24 * time.Hour), RecoverTries: 1, RecoverWithin: openloop.Duration(40 * 24 * time.Hour),
	}})
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/"+name), map[string]any{"adapter": "openloop", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	o.send(http.MethodPut, busPath("contracts/"+name+"/secrets/"+openloopproduct.Key), map[string]any{"value": []byte(processorKey)}, nil)
	return sim
}

func (o *office) cardHolder(contract, device string) []byte {
	o.t.Helper()
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "tok_" + device, Contract: contract, DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	return answer.Issued[0].Credential
}

// Debts of cards are recovered as the scheme knows it: by a tap with what was shown
// then, by the rider who pays, twice at once, and by the merchant on another day, with
// the reply lost; each names the decline, each is one debit.
func TestDebtsOfCardsAreRecoveredAsTheSchemeKnowsIt(t *testing.T) {
	o := open(t)
	o.onboard()
	sim := o.cards("cards")
	terms := func(version, retries int) edge.RiskTerms {
		return edge.RiskTerms{From: o.now().Add(time.Second), Terms: fmt.Appendf(nil,
			`{"version":%d,"contracts":[{"contract":"cards","window":{"taps":1},"recovery":["tap","rider"],"retries":%d,"retry_within_days":30}]}`, version, retries)}
	}
	if got := o.refused(http.MethodPost, busPath("risk-terms"), terms(1, 2)); got != risk.ErrTerms.Name {
		t.Errorf("terms that ask more often than the scheme allows: %q", got)
	}
	o.send(http.MethodPost, busPath("risk-terms"), terms(1, 1), nil)
	o.move(time.Minute)
	riders := []string{"ann", "bea", "cat", "dot"}
	credentials, v := map[string][]byte{}, o.validator()
	for _, r := range riders {
		sim.SetCard(openloopsim.Card{Token: "tok_" + r, Empty: true})
		credentials[r] = o.cardHolder("cards", r)
		o.sync(v)
		o.board(v, credentials[r], r)
		o.drain(v)
	}
	o.until("declined", func() bool { return len(list[edge.Debt](o, "debts?state=open")) == len(riders) })
	for _, r := range riders {
		sim.SetCard(openloopsim.Card{Token: "tok_" + r, Empty: r == "dot"})
	}
	o.move(25 * time.Hour) // aggregates are a day old at most: these would be refused
	o.sync(v)
	shown := o.fresh(credentials["ann"], "ann", 30)
	if got := o.look(v, shown); got != code.Denied {
		t.Fatalf("with a debt at the reader: %q", got)
	}
	o.drain(v)
	o.settleDown()

	o.send(http.MethodPost, busPath("rider/pay"), edge.ByCode{Code: o.proof(credentials["bea"], "bea", 31)}, nil)
	if w := o.ask(http.MethodPost, busPath("rider/pay"), "application/json", mustJSON(edge.ByCode{Code: o.proof(credentials["bea"], "bea", 32)})); w.Code != http.StatusOK {
		t.Errorf("a second time: %d %s", w.Code, w.Body)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := o.Collector.RunDue(t.Context(), bus); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	o.settleDown()

	sim.ArmNext(openloopsim.ArmLose) // the next that moves money is the merchant's own
	o.until("tried by schedule", func() bool {
		o.move(5 * 24 * time.Hour)
		o.settleDown()
		return len(list[edge.Debt](o, "debts?state=open")) == 1
	})
	o.move(10 * 24 * time.Hour)
	o.settleDown()
	for _, d := range list[edge.Debt](o, "debts?state=open") { // a person asks; the scheme has nothing of it any more
		o.send(http.MethodPost, busPath("accounts/"+d.Account+"/retry-debts"), nil, nil)
	}
	o.settleDown()

	want := map[string][]string{
		"tok_ann": {"AGGREGATED_AUTHORIZATION DECLINED", "DEBT_RECOVERY_TAP_INITIATED APPROVED"},
		"tok_bea": {"AGGREGATED_AUTHORIZATION DECLINED", "DEBT_RECOVERY_PAYER_INITIATED APPROVED"},
		"tok_cat": {"AGGREGATED_AUTHORIZATION DECLINED", "DEBT_RECOVERY_MERCHANT_INITIATED APPROVED"},
		"tok_dot": {"AGGREGATED_AUTHORIZATION DECLINED", "DEBT_RECOVERY_MERCHANT_INITIATED DECLINED"},
	}
	got := map[string][]string{}
	for _, e := range sim.Book() {
		got[e.Token] = append(got[e.Token], e.Kind+" "+e.Status)
	}
	for token, steps := range want {
		if !slices.Equal(got[token], steps) {
			t.Errorf("%s: %q, want %q", token, got[token], steps)
		}
	}
	told := map[string]int{}
	for _, c := range list[edge.Charge](o, "charges") {
		told[c.Kind+" "+c.Recovery+" "+c.State]++
		if (c.Kind == "recovery") != (c.Recovers != "") || c.Reason == "recovery_exhausted" != (c.By == "person") {
			t.Errorf("%+v", c)
		}
	}
	if told["recovery tap succeeded"] != 1 || told["recovery rider succeeded"] != 1 || told["recovery merchant succeeded"] != 1 || told["recovery merchant declined"] != 2 {
		t.Errorf("the charges say %v", told)
	}
	if n := o.count(`SELECT count(*) FROM charges WHERE shown IS NOT NULL`) + o.count(`SELECT count(*) FROM debts WHERE retry_shown IS NOT NULL`); n != 0 {
		t.Errorf("what was shown stays in %d rows", n)
	}
	o.booksHold()
	o.noSecretIsOut()
}
