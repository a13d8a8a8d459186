package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/agreement"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A losing doer sends every request and loses the answers to those that hold a text, or,
// of the first of them, the request itself; some it certainly does not send.
type losing struct {
	text               string
	refuse, lose, drop atomic.Int32
}

func (l *losing) Do(r *http.Request) (*http.Response, error) {
	said := r.URL.RawQuery
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		raw, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		said += string(raw)
	}
	if strings.Contains(said, l.text) && l.refuse.Add(-1) >= 0 {
		return nil, fmt.Errorf("%w: nobody listens", driver.ErrNotPerformed)
	}
	if strings.Contains(said, l.text) && l.drop.Add(-1) >= 0 {
		return nil, errors.New("the request was lost on its way")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil || !strings.Contains(said, l.text) || l.lose.Add(-1) < 0 {
		return resp, err
	}
	_ = resp.Body.Close()
	return nil, errors.New("the answer was lost")
}

// A rider is invited by the API and confirms on Alipay's page: the account that the
// agreement was opened for is collected by it without anybody's asking. The reply to its
// end is lost, and it is ended all the same, told by nobody but the question.
func TestRidersAgreeAndLeave(t *testing.T) {
	o := open(t)
	o.onboard()
	lost := &losing{text: "alipay.user.agreement.unsign"}
	o.HTTP = lost
	o.alipayWithholding()
	account := o.accountsOf("sandbox", "ann")[0].Text("acc_")
	var invited edge.Invited
	for range 2 { // the same again is the same agreement
		o.send(http.MethodPost, busPath("agreements"), map[string]any{"contract": "alipay", "name": "AGR1", "account": account}, &invited)
	}
	if all := list[edge.Agreement](o, "agreements?account="+account); len(all) != 1 || all[0].State != "unknown" || all[0].ID != invited.ID {
		t.Fatalf("invited: %+v", all)
	}
	resp, err := http.Get(invited.URL) // the rider opens the page and confirms
	o.must(err)
	o.must(resp.Body.Close())
	o.move(2 * time.Minute)
	o.settleDown()
	var agreed edge.Agreement
	o.send(http.MethodGet, busPath("agreements/"+invited.ID), nil, &agreed)
	if agreed.State != "active" || agreed.ProviderID == "" || !agreed.Linked {
		t.Fatalf("after the rider confirmed: %+v", agreed)
	}
	payers := func() []edge.AccountPayer {
		var a edge.Account
		o.send(http.MethodGet, busPath("accounts/"+account), nil, &a)
		return a.Payers
	}
	if got := payers(); !slices.Equal(got, []edge.AccountPayer{{Contract: "alipay", RiderRef: agreed.ProviderID}}) {
		t.Errorf("the account is collected by %+v", got)
	}

	lost.lose.Store(1)
	var ending edge.Agreement
	o.send(http.MethodPost, busPath("agreements/"+invited.ID+"/end"), nil, &ending)
	if ending.State != "active" || !ending.Ending || ending.Error == "" {
		t.Errorf("the reply to its end was lost: %+v", ending)
	}
	o.move(2 * time.Minute)
	o.settleDown()
	var ended edge.Agreement
	o.send(http.MethodPost, busPath("agreements/"+invited.ID+"/ask"), nil, &ended)
	if ended.State != "ended" || ended.Linked || len(payers()) != 0 {
		t.Errorf("ended: %+v, payers %+v", ended, payers())
	}
	for _, c := range []struct {
		code string
		body map[string]any
	}{
		{agreement.ErrEnded.Name, map[string]any{"contract": "alipay", "name": "AGR1", "account": account}},
		{agreement.ErrOther.Name, map[string]any{"contract": "alipay", "name": "AGR1"}},
		{ErrAgreement.Name, map[string]any{"contract": "sandbox", "name": "AGR2"}},
		{agreement.ErrAccount.Name, map[string]any{"contract": "alipay", "name": "AGR2", "account": o.accountsOf("alipay", "ben")[0].Text("acc_")}},
	} {
		if got := o.refused(http.MethodPost, busPath("agreements"), c.body); got != c.code {
			t.Errorf("%v: %s; want %s", c.body, got, c.code)
		}
	}
	if got := o.refused(http.MethodGet, busPath("agreements/agr_"+strings.Repeat("0", 32)), nil); got != agreement.ErrNone.Name {
		t.Errorf("nobody's: %s", got)
	}
	if got := o.audit.Count(bus, `SELECT count(*) FROM audit_log WHERE verb IN ('agreement.invite', 'agreement.end', 'agreement.change', 'payer.add', 'payer.drop')`); got != 7 {
		t.Errorf("%d audit rows; want 2 invitations, 2 changes, an end, and a payer that came and went", got)
	}
	o.noSecretIsOut()
}

// Riders ended their agreements at the provider, who tells nobody. One had ridden before:
// the provider is asked before he is charged, nothing is sent, the charge says why and he
// is denied. One whose agreement is in force is charged, once, and is asked about once.
func TestEndedAgreementsAreNotCharged(t *testing.T) {
	o := open(t)
	o.onboard()
	sim := o.alipayWithholding()
	v := o.validator()
	for _, device := range []string{"ann", "ben"} {
		batch := o.board(v, o.agreed(sim, device), device)
		if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
			t.Fatalf("the ride of %s: %v", device, got)
		}
		parsed, err := tap.ParseBatch(batch)
		o.must(err)
		o.must(v.Ack(parsed.Hash))
	}
	p, err := o.provider(t.Context(), bus, o.contract("alipay"))
	o.must(err)
	there, _ := p.Agreements()
	bens, err := there.QueryAgreement(t.Context(), driver.Agreement{OurID: "ext-ben"})
	o.must(err)
	_, err = there.CloseAgreement(t.Context(), bens)
	o.must(err)
	o.until("one is collected", func() bool { return len(o.succeeded()) == 1 })
	for range 3 {
		o.move(10 * time.Minute)
		o.settleDown()
	}
	if book := sim.Book(); len(book) != 1 {
		t.Errorf("the platform's book: %+v; want one", book)
	}
	declined := slices.DeleteFunc(list[edge.Charge](o, "charges"), func(c edge.Charge) bool { return c.State == "succeeded" })
	if len(declined) != 1 || declined[0].State != "declined" || declined[0].Reason != agreement.ReasonEnded {
		t.Errorf("the charge of who left: %+v", declined)
	}
	o.in(bus, func(tx *pg.Tx) error {
		denied, err := credential.DeniedRider(t.Context(), tx, "alipay", bens.ID)
		if !denied {
			t.Error("who left is not denied")
		}
		return err
	})
	if all := list[edge.Agreement](o, "agreements"); len(all) != 2 || all[0].State == all[1].State {
		t.Errorf("kept: %+v; want one in force and one that ended", all)
	}
	o.booksHold()
}

// Riders end their agreements while debits on them are under way. Of one the answer was
// lost and the money moved: it is found and booked, once. The other's request never arrived:
// what may have been sent is sent again as it was, whatever is known of the agreement by
// now, and what the provider says of it stands. Neither rides on, and neither pays twice.
func TestAnAgreementEndsWhileADebitIsUnderWay(t *testing.T) {
	o := open(t)
	o.onboard()
	line := &losing{text: "alipay.trade."}
	o.HTTP = line
	sim := o.alipayWithholding()
	v := o.validator()
	for _, device := range []string{"ann", "ben"} {
		batch := o.board(v, o.agreed(sim, device), device)
		o.upload(batch)
		parsed, err := tap.ParseBatch(batch)
		o.must(err)
		o.must(v.Ack(parsed.Hash))
	}
	p, err := o.provider(t.Context(), bus, o.contract("alipay"))
	o.must(err)
	there, _ := p.Agreements()
	leave := func(device string) {
		t.Helper()
		a, err := there.QueryAgreement(t.Context(), driver.Agreement{OurID: "ext-" + device})
		o.must(err)
		said, err := there.CloseAgreement(t.Context(), a)
		o.must(err)
		said.State = driver.AgreementEnded
		for range 2 { // the notice comes twice
			o.in(bus, func(tx *pg.Tx) error { return o.Agreements.Noticed(t.Context(), tx, notifyActor, "alipay", said) })
		}
		o.in(bus, func(tx *pg.Tx) error {
			denied, err := credential.DeniedRider(t.Context(), tx, "alipay", a.ID)
			if !denied {
				t.Errorf("%s left and is not denied", device)
			}
			return err
		})
	}
	states := func() (all []string) {
		for _, c := range list[edge.Charge](o, "charges") {
			all = append(all, c.State)
		}
		slices.Sort(all)
		return all
	}
	line.drop.Store(1) // of the first debit; of the other, and of what is asked after, the answers
	line.lose.Store(1000)
	for range 30 {
		if o.move(time.Hour); len(states()) == 2 {
			break
		}
		o.settleDown()
	}
	o.settleDown()
	if got := states(); !slices.Equal(got, []string{"unknown", "unknown"}) {
		t.Fatalf("under way: %v", got)
	}
	leave("ann")
	leave("ben")
	line.lose.Store(0)
	for range 30 {
		o.move(10 * time.Minute)
		o.settleDown()
	}
	if got := states(); !slices.Equal(got, []string{"declined", "succeeded"}) {
		t.Fatalf("charges: %v", got)
	}
	if paid := slices.DeleteFunc(sim.Book(), func(e alipaysim.Trade) bool { return !e.Paid }); len(paid) != 1 {
		t.Errorf("the platform was paid %+v; want once", paid)
	}
	for _, c := range list[edge.Charge](o, "charges") {
		if c.State == "declined" && (c.Reason == agreement.ReasonEnded || c.Reason == "") {
			t.Errorf("what may have been sent was judged here: %+v", c)
		}
	}
	o.booksHold()
}
