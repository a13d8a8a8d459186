package gateway

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// walk asks for a list page by page, size rows at a time, and gives the ids it
// saw. The last page has no next.
func walk[T any](o *office, path string, size int, id func(T) string) (ids []string) {
	o.t.Helper()
	for cursor := ""; ; {
		q := url.Values{"limit": {fmt.Sprint(size)}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		rows, next := page[T](o, path+"?"+q.Encode())
		for _, row := range rows {
			ids = append(ids, id(row))
		}
		if next == "" {
			return ids
		}
		if len(rows) != size || len(ids) > 100 {
			o.t.Fatalf("%s: a page of %d rows, %d in all", path, len(rows), len(ids))
		}
		cursor = next
	}
}

// An operator's vehicles, owners and terminals are its own to keep, by the API.
func TestFleetByTheAPI(t *testing.T) {
	o := open(t)
	o.onboard()
	o.send(http.MethodPost, busPath("vehicles"), map[string]any{"vehicles": []edge.Vehicle{
		{ID: "V-2", Kind: "bus", Plate: "B 2"}, {ID: "V-1", Kind: "bus", Plate: "B 1"}, {ID: "V-3", Kind: "minibus"},
	}}, nil)
	if got := walk(o, "vehicles", 2, func(v edge.Vehicle) string { return v.ID }); !slices.Equal(got, []string{"V-1", "V-2", "V-3"}) {
		t.Errorf("vehicles %v", got)
	}
	o.send(http.MethodPost, busPath("payees"), map[string]any{"payees": []edge.PutPayee{
		{ID: "ann", Kind: "owner", Name: "Ann", Account: "6222020200012345678", BankID: "B"}, {ID: "bea", Kind: "owner", Name: "Bea", Account: "12345678"},
	}}, nil)
	if got := walk(o, "payees", 2, func(p edge.Payee) string { return p.ID + " " + p.Account }); !slices.Equal(got[:2], []string{"ann …5678", "bea …"}) || len(got) != 3 {
		t.Errorf("payees %v", got)
	}
	if got := o.refused(http.MethodPost, busPath("payees"), map[string]any{"payees": []edge.PutPayee{{ID: "ann", Kind: "driver", Name: "Ann"}}}); got != "fleet.conflict" {
		t.Errorf("another kind of payee: %s", got)
	}
	from := o.now()
	o.send(http.MethodPost, busPath("assignments"), map[string]any{"assignments": []edge.Assignment{{Kind: "vehicle", Subject: "V-1", Payee: "ann", From: from}}}, nil)
	for at, want := range map[time.Time]string{from: "ann", from.Add(-time.Microsecond): "valley-bus"} {
		var answer struct{ Payee string }
		o.send(http.MethodGet, busPath("payee-of-ride?"+url.Values{"vehicle": {"V-1"}, "at": {at.Format(time.RFC3339Nano)}}.Encode()), nil, &answer)
		if answer.Payee != want {
			t.Errorf("at %s %s is paid, want %s", at, answer.Payee, want)
		}
	}

	credential := o.credential("phone")
	v := o.validator() // terminal 1
	for id := uint32(2); id <= 4; id++ {
		o.send(http.MethodPost, busPath("terminals"), edge.EnrolTerminal{ID: id, Name: "bus", PublicKey: key(fmt.Sprint(id))[ed25519.SeedSize:], Kind: "validator"}, nil)
	}
	if got := walk(o, "terminals", 2, func(t edge.Terminal) string { return fmt.Sprint(t.ID) }); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("terminals %v", got)
	}
	batch := o.board(v, credential, "phone")
	o.send(http.MethodPut, busPath("terminals/1/state"), edge.TerminalState{State: "suspended"}, nil)
	if w := o.ask(http.MethodPost, "/v1/tap-batches", "application/octet-stream", batch); w.Code == http.StatusOK {
		t.Errorf("a suspended terminal's batch: %d %s", w.Code, w.Body)
	}
	if got := list[edge.Terminal](o, "terminals?limit=1")[0].State; got != "suspended" {
		t.Errorf("the suspended terminal is %s", got)
	}
	o.send(http.MethodPut, busPath("terminals/1/state"), edge.TerminalState{State: "active"}, nil)
	if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
		t.Errorf("the batch of a terminal that was taken back: %v", got)
	}
	if got := o.refused(http.MethodPut, busPath("terminals/99/state"), edge.TerminalState{State: "active"}); got != "fleet.not_found" {
		t.Errorf("a terminal that is not there: %s", got)
	}
	o.in(bus, func(tx *pg.Tx) error { return fleet.Raise(t.Context(), tx, 3, fleet.ClockWrong, "an hour") })
	flagged := func() (ids []uint32) {
		for _, x := range list[edge.Terminal](o, "terminals")[1:] {
			if len(x.Flags) > 0 {
				ids = append(ids, x.ID)
			}
		}
		return ids
	}
	if got := flagged(); !slices.Equal(got, []uint32{3}) {
		t.Errorf("flagged are %v", got)
	}
	o.send(http.MethodPost, busPath("terminals/3/flags/clock_wrong/clear"), nil, nil)
	if got := flagged(); len(got) != 0 {
		t.Errorf("flagged after it was cleared are %v", got)
	}
}

// Who asks at the desk about a credential is told whose it is, and a code that
// shows another device under the same number is told apart.
func TestRiderByTheAPI(t *testing.T) {
	o := open(t)
	o.onboard()
	credential := o.credential("phone")
	var on code.Code
	o.must(ct1.ParseCredential(credential, &on))
	number := fmt.Sprintf("credentials/%d/%d", on.Rider.List, on.Rider.Index)
	show := func(credential []byte) string {
		raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: 1, Party: 1, Medium: code.MediumBand},
			func(m []byte) ([]byte, error) { return ed25519.Sign(key("phone"), m), nil })
		o.must(err)
		return "?code=" + base64.RawURLEncoding.EncodeToString(raw)
	}
	var record edge.Credential
	o.send(http.MethodGet, busPath(number+show(credential)), nil, &record)
	if record.Genuine == nil || !*record.Genuine || !slices.Equal(record.Credential, credential) {
		t.Errorf("the record: %+v", record)
	}
	forged := slices.Clone(credential)
	forged[len(forged)-1] ^= 1 // as if another had signed it
	o.send(http.MethodGet, busPath(number+show(forged)), nil, &record)
	if record.Genuine == nil || *record.Genuine {
		t.Errorf("a forged code: %+v", record)
	}
	if got := o.refused(http.MethodGet, busPath("credentials/1/1"), nil); got != "credential.not_issued" {
		t.Errorf("a credential that was never issued: %s", got)
	}
	denials := func() []edge.Denial { return list[edge.Denial](o, "accounts/"+record.Account+"/denials") }
	lost := map[string]any{"list": on.Rider.List, "index": on.Rider.Index, "reason": "lost"}
	o.send(http.MethodPost, busPath("denials"), lost, nil)
	if got := denials(); len(got) != 1 || got[0].Reason != "lost" || got[0].LiftedAt != nil || got[0].WholeAccount {
		t.Errorf("denied: %+v", got)
	}
	o.send(http.MethodPost, busPath("denials/lift"), lost, nil)
	if got := denials(); len(got) != 1 || got[0].LiftedAt == nil {
		t.Errorf("lifted: %+v", got)
	}
	var account edge.Account
	o.send(http.MethodGet, busPath("accounts/"+record.Account), nil, &account)
	if account.ID != record.Account || account.RiderRef != "rider-1" || account.State != "active" {
		t.Errorf("the account: %+v", account)
	}
	for range 2 {
		o.send(http.MethodPost, busPath("accounts/"+record.Account+"/close"), nil, nil)
	}
	o.send(http.MethodGet, busPath("accounts/"+record.Account), nil, &account)
	if got := walk(o, "accounts/"+record.Account+"/denials", 1, func(d edge.Denial) string { return d.ID }); account.State != "closed" || len(got) != 2 {
		t.Errorf("closed: %+v, denials %v", account, got)
	}
	if got := o.refused(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "rider-1", Contract: "sandbox", DeviceKey: key("watch")[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}); got != "credential.account_closed" {
		t.Errorf("a credential for a closed account: %s", got)
	}
	nobody := citygate.UUID{1}.Text("acc_")
	for _, path := range []string{"accounts/" + nobody, "accounts/" + nobody + "/denials"} {
		if got := o.refused(http.MethodGet, busPath(path), nil); got != "credential.no_account" {
			t.Errorf("%s: %s", path, got)
		}
	}
	for _, path := range []string{"close", "retry-debts"} {
		if got := o.refused(http.MethodPost, busPath("accounts/"+nobody+"/"+path), nil); got != "credential.no_account" {
			t.Errorf("%s of nobody: %s", path, got)
		}
	}
}

// scripted puts a script into the sandbox when it is opened, and gives a way to
// change it after that.
func (o *office) scripted(s sandbox.Script) (change func(sandbox.Script)) {
	var box *sandbox.Provider
	var open adapters.Constructor
	open = o.Products.Replace("sandbox", func(d adapters.Deps) (driver.Provider, error) {
		p, err := open(d)
		if err == nil {
			box = p.(*sandbox.Provider)
			box.SetScript(s)
		}
		return p, err
	})
	return func(s sandbox.Script) { box.SetScript(s) }
}

// A declined rider who has paid in the meantime is tried again when somebody asks
// for it, and rides again.
func TestDebtIsTriedWhenAsked(t *testing.T) {
	o := open(t)
	change := o.scripted(sandbox.Script{Decline: []sandbox.Refusal{{Rider: "rider-1"}}})
	o.onboard()
	credential := o.credential("phone")
	o.upload(o.board(o.validator(), credential, "phone"))
	debts := func() []edge.Debt { return list[edge.Debt](o, "debts?state=open") }
	o.until("declined", func() bool { return len(debts()) == 1 })
	debt := debts()[0]
	if debt.Left.Minor != price || debt.Opened.Minor != price || debt.State != "open" || debt.RetryAt == nil {
		t.Errorf("the debt: %+v", debt)
	}
	if got := list[edge.Debt](o, "debts?account="+citygate.UUID{1}.Text("acc_")); len(got) != 0 {
		t.Errorf("of another account: %+v", got)
	}
	retry := func() int {
		var answer struct{ Debts int }
		o.send(http.MethodPost, busPath("accounts/"+debt.Account+"/retry-debts"), nil, &answer)
		o.settleDown()
		return answer.Debts
	}
	if n := retry(); n != 1 || debts()[0].Tries != 1 {
		t.Errorf("%d tried while the bank declines, %+v", n, debts())
	}
	change(sandbox.Script{})
	if n := retry(); n != 1 || len(debts()) != 0 {
		t.Errorf("%d tried, open are %+v", n, debts())
	}
	if got := list[edge.Debt](o, "debts?account="+debt.Account); len(got) != 1 || got[0].State != "recovered" || got[0].ClosedAt == nil {
		t.Errorf("recovered: %+v", got)
	}
	if n := retry(); n != 0 {
		t.Errorf("%d debts of a rider who owes nothing", n)
	}
	if n := len(o.audit.Rows(0, `SELECT 1 FROM audit_log WHERE verb = 'debts.retry' AND actor = $1`, byPlatform)); n != 2 {
		t.Errorf("%d retries are in the audit log, want those 2 that did something", n)
	}
	o.booksHold()
}

// A refund that the provider declined is listed until somebody has it tried again.
func TestDeclinedRefundIsTriedAgainOnce(t *testing.T) {
	o := open(t)
	o.onboard()
	credential := o.credential("phone")
	o.upload(o.board(o.validator(), credential, "phone"))
	o.until("collected", func() bool { return len(list[edge.Charge](o, "charges")) == 1 })
	declined := citygate.UUID{1}
	o.owner.Exec(bus, `INSERT INTO refunds (tenant_id, refund_id, charge_id, ordinal, our_id, contract, account_id, operator_id, journey_id, n, amount, currency,
			business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, created_at, final_at)
		SELECT tenant_id, $1, charge_id, 1, 'R1', contract, account_id, tenant_id, $1, 2, 50, currency, business_date, 'declined', false, 1, '', 'NO_BALANCE', '', $2, $2, $2
		FROM charges`, declined, o.now())
	refused := list[edge.Refund](o, "refunds?state=declined")
	if len(refused) != 1 || refused[0].ID != declined.Text("ref_") || refused[0].Amount.Minor != 50 || refused[0].Reason != "NO_BALANCE" || refused[0].FinalAt == nil {
		t.Fatalf("declined: %+v", refused)
	}
	var answer struct{ Refund string }
	path := busPath("refunds/" + refused[0].ID + "/retry")
	o.send(http.MethodPost, path, nil, &answer)
	if got := walk(o, "refunds", 1, func(r edge.Refund) string { return r.ID }); !slices.Equal(got, []string{refused[0].ID, answer.Refund}) {
		t.Errorf("refunds %v, retried as %s", got, answer.Refund)
	}
	if got := o.refused(http.MethodPost, path, nil); got != "collect.refund_not_refused" {
		t.Errorf("tried again twice: %s", got)
	}
	o.settleDown()
	if got := list[edge.Refund](o, "refunds?state=succeeded"); len(got) != 1 || got[0].ID != answer.Refund || got[0].Attempt != 2 {
		t.Errorf("given back: %+v", got)
	}
}

// Rides that could not be priced are a list of their own, with the reason.
func TestSetAsideRidesAreListed(t *testing.T) {
	o := open(t)
	o.onboard()
	credential := o.credential("phone")
	v := o.validator()
	o.upload(o.board(v, credential, "phone"))
	tariff := &fare.Tariff{
		Name: "Elsewhere", Version: 2, Currency: "CNY", Categories: fare.Categories{Default: "adult"},
		Rules: []fare.Rule{{ID: "far", Routes: []string{"99"}, Flat: fare.Amounts{"adult": price}}},
	}
	o.must(tariff.Compile())
	o.move(time.Hour)
	o.in(bus, func(tx *pg.Tx) error { return pricing.Publish(t.Context(), tx, actor, tariff, o.now()) })
	o.move(time.Minute)
	batch, err := tap.ParseBatch(o.pending(v))
	o.must(err)
	o.must(v.Ack(batch.Hash))
	o.upload(o.board(v, o.credential("watch"), "watch"))
	o.settleDown()
	aside := list[edge.Journey](o, "journeys?state=set_aside")
	if len(aside) != 1 || aside[0].Unknown != "no_rule" || aside[0].Fare != nil {
		t.Fatalf("set aside: %+v", aside)
	}
	if got := list[edge.Journey](o, "journeys?rider="+aside[0].Rider); len(got) != 1 || got[0].ID != aside[0].ID {
		t.Errorf("of that rider: %+v", got)
	}
	if got := walk(o, "journeys", 1, func(j edge.Journey) string { return j.ID }); len(got) != 2 {
		t.Errorf("in all: %v", got)
	}
	if got, next := page[edge.Journey](o, "journeys?state=set_aside&limit=1"); len(got) != 1 || next != "" {
		t.Errorf("the last one: %+v, and then %q", got, next)
	}
	accounts := walk(o, "balances", 1, func(b edge.Balance) string { return b.ID })
	if all := list[edge.Balance](o, "balances"); len(all) < 2 || len(accounts) != len(all) || accounts[0] != all[0].Account+"/CNY" {
		t.Errorf("balances one by one: %v; at once: %+v", accounts, all)
	}
}

// pending gives the batch that a validator has sent and not seen acknowledged.
func (o *office) pending(v *terminal.Verifier) []byte {
	o.t.Helper()
	batch, err := v.NextBatch(0)
	o.must(err)
	return batch
}

// What a payee has to make good is listed until its money sets it off.
func TestCarriedSumsAreListed(t *testing.T) {
	o := open(t)
	o.onboard()
	for _, payee := range []string{"ann", "bea"} {
		o.owner.Exec(bus, `INSERT INTO receipts (tenant_id, journey_id, kind, ref, issuer_id, contra, payee, amount, currency, business_date, calendar_version, window_date, at, received_at)
			VALUES ($1, '00000000-0000-0000-0000-000000000000', 'carried', $2, $1, '', $2, 70, 'CNY', '2026-11-20', 1, '2026-11-20', $3, $3)`, bus, payee, o.now())
	}
	if got := walk(o, "carried", 1, func(c edge.Carried) string { return c.ID }); !slices.Equal(got, []string{"ann/CNY", "bea/CNY"}) {
		t.Errorf("carried: %v", got)
	}
	_, next := page[edge.Carried](o, "carried?limit=1")
	if got := list[edge.Carried](o, "carried?cursor="+next); len(got) != 1 || got[0].Amount != (citygate.Money{Minor: 70, Currency: "CNY"}) {
		t.Errorf("behind ann: %+v", got)
	}
}

// When windows close and are paid is the tenant's to say, for days to come.
func TestSettlementTermsByTheAPI(t *testing.T) {
	o := open(t)
	o.onboard()
	o.settleDown()
	from := citygate.DateOf(o.now()).AddDays(2)
	next := edge.Terms{Version: 1, From: from.String(), CloseAfterMinutes: 60, PayAfterMinutes: 600}
	for range 2 {
		o.send(http.MethodPost, busPath("settlement-terms"), next, nil)
	}
	if got := list[edge.Terms](o, "settlement-terms"); !slices.Equal(got, []edge.Terms{{CloseAfterMinutes: 120, PayAfterMinutes: 32 * 60}, next}) {
		t.Errorf("terms %+v", got)
	}
	next.PayAfterMinutes++
	if got := o.refused(http.MethodPost, busPath("settlement-terms"), next); got != "settle.terms" {
		t.Errorf("version 1 with another content: %s", got)
	}
	o.until("opened", func() bool { return list[edge.Window](o, "windows")[0].BusinessDate == from.String() })
	newest := list[edge.Window](o, "windows")
	if w := newest[0]; w.Terms != 1 || w.ClosesAt.Sub(w.EndsAt) != time.Hour || w.PaysAt.Sub(w.EndsAt) != 10*time.Hour || w.ClosedAt != nil {
		t.Errorf("the window of the day: %+v", w)
	}
	if w := newest[len(newest)-1]; w.Terms != 0 || w.ClosesAt.Sub(w.EndsAt) != 2*time.Hour || w.PaysAt.Sub(w.EndsAt) != 32*time.Hour || w.ClosedAt == nil {
		t.Errorf("the first window: %+v", w)
	}
}
