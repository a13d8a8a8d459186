package gateway

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/agreement"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
)

// A withholder is a provider whose debits rest on agreements.
type withholder struct {
	driver.Provider
	mu     sync.Mutex
	states map[string]driver.AgreementState // by our name
	opened int
	paid   []string // on which numbers it was asked for money
}

func (w *withholder) Describe() driver.Description {
	d := w.Provider.Describe()
	d.Limits.ByAgreement = true
	return d
}

func (w *withholder) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	w.mu.Lock()
	for _, d := range debits {
		w.paid = append(w.paid, d.RiderRef)
	}
	w.mu.Unlock()
	return w.Provider.Submit(ctx, debits)
}

func (w *withholder) OpenAgreement(_ context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	if w.states[r.OurID] == "" {
		w.states[r.OurID] = driver.AgreementPending
	}
	return driver.Invitation{OurID: r.OurID, URL: "https://wallet.example/agree?" + r.OurID}, nil
}

func (w *withholder) QueryAgreement(_ context.Context, of driver.Agreement) (driver.Agreement, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if of.OurID == "" {
		of.OurID = strings.TrimPrefix(of.ID, "N-")
	}
	of.State = w.states[of.OurID]
	if of.State == driver.AgreementActive || of.State == driver.AgreementEnded {
		of.ID, of.RiderRef = "N-"+of.OurID, "ann"
	}
	return of, nil
}

func (w *withholder) CloseAgreement(ctx context.Context, of driver.Agreement) (driver.Agreement, error) {
	w.set(of.OurID, driver.AgreementEnded)
	return w.QueryAgreement(ctx, of)
}

func (w *withholder) set(ourID string, s driver.AgreementState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[ourID] = s
}

// A rider agrees and leaves at a program behind the HTTP provider protocol. The answer to
// the invitation is lost, and the same again invites to the same agreement; he confirms,
// and what he rides is charged on its number; the answer to its end is lost, and it is
// over all the same. What he rode and had not been charged for by then is not asked for.
func TestRidersAgreeAtAProgram(t *testing.T) {
	o := open(t)
	o.onboard()
	own, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("http"), keys.Ed25519)
	o.must(err)
	far := &withholder{states: map[string]driver.AgreementState{}}
	a, contract := o.programOf(ed25519.PublicKey(own.Public), func(p driver.Provider) driver.Provider { far.Provider = p; return far })
	contract.Manifest.Secrets = nil
	inner := a.server.Config.Handler
	loses := func(path string) { a.server.Config.Handler = &lossy{inner: inner, path: path, lose: 1} }
	config, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/acme"), edge.PutContract{Adapter: "http", FeePPM: feePPM, Config: config}, nil)

	loses("/v1/agreement/open")
	body := []byte(`{"contract":"acme","name":"AGR1","purpose":"rides"}`)
	if w := o.ask(http.MethodPost, busPath("agreements"), "application/json", body); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), adapters.ErrOpen.Name) {
		t.Errorf("the answer to the invitation was lost: %d %s", w.Code, w.Body)
	}
	var invited edge.Invited
	o.send(http.MethodPost, busPath("agreements"), map[string]any{"contract": "acme", "name": "AGR1", "purpose": "rides"}, &invited)
	if all := list[edge.Agreement](o, "agreements"); len(all) != 1 || all[0].ID != invited.ID || invited.URL != "https://wallet.example/agree?AGR1" || far.opened != 2 {
		t.Fatalf("invited: %+v to %q, opened %d times", all, invited.URL, far.opened)
	}
	show := func() (a edge.Agreement) {
		o.send(http.MethodGet, busPath("agreements/"+invited.ID), nil, &a)
		return a
	}
	o.move(2 * time.Minute)
	o.settleDown()
	if a := show(); a.State != "pending" || a.Error != "" {
		t.Errorf("before he confirms: %+v", a)
	}
	far.set("AGR1", driver.AgreementActive)
	o.move(10 * time.Minute)
	o.settleDown()
	if a := show(); a.State != "active" || a.ProviderID != "N-AGR1" || a.RiderRef != "ann" {
		t.Fatalf("after he confirmed: %+v", a)
	}

	v := o.validator()
	ride := func(device string) {
		t.Helper()
		var answer struct {
			Issued []edge.IssuedCredential `json:"issued"`
		}
		o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
			RiderRef: "N-AGR1", Contract: "acme", DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
		}}}, &answer)
		batch := o.board(v, answer.Issued[0].Credential, device)
		if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
			t.Fatalf("the ride of %s: %v", device, got)
		}
		parsed, err := tap.ParseBatch(batch)
		o.must(err)
		o.must(v.Ack(parsed.Hash))
	}
	ride("phone")
	o.until("charged on the agreement", func() bool { return len(o.succeeded()) == 1 })
	o.move(time.Minute)
	ride("watch")
	loses("/v1/agreement/close")
	var ending edge.Agreement
	o.send(http.MethodPost, busPath("agreements/"+invited.ID+"/end"), nil, &ending)
	if ending.State != "active" || !ending.Ending || ending.Error == "" {
		t.Errorf("the answer to its end was lost: %+v", ending)
	}
	o.until("the ride behind the end is judged", func() bool { return len(list[edge.Charge](o, "charges")) == 2 && show().State == "ended" })
	for range 3 {
		o.move(10 * time.Minute)
		o.settleDown()
	}
	if a := show(); a.State != "ended" || a.Ending || a.EndedAt == nil {
		t.Errorf("ended: %+v", a)
	}
	if !slices.Equal(far.paid, []string{"N-AGR1"}) {
		t.Errorf("the program was asked for money on %q; want once", far.paid)
	}
	declined := slices.DeleteFunc(list[edge.Charge](o, "charges"), func(c edge.Charge) bool { return c.State == "succeeded" })
	if len(declined) != 1 || declined[0].State != "declined" || declined[0].Reason != agreement.ReasonEnded {
		t.Errorf("the ride behind the end: %+v", declined)
	}
	if got := o.refused(http.MethodPost, busPath("agreements"), map[string]any{"contract": "acme", "name": "AGR1"}); got != agreement.ErrEnded.Name {
		t.Errorf("opened again: %s", got)
	}
	o.booksHold()
	o.noSecretIsOut()
}
