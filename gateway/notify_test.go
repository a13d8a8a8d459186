package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// reachable gives the office a public address, at which it is served over HTTP.
func (o *office) reachable() *httptest.Server {
	o.t.Helper()
	server := httptest.NewServer(o.Handler())
	o.t.Cleanup(server.Close)
	o.PublicURL = server.URL
	return server
}

// forgetful sends requests and loses the first answers.
type forgetful struct{ lose int }

func (f *forgetful) Do(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultClient.Do(r)
	if err != nil || f.lose == 0 {
		return resp, err
	}
	f.lose--
	_ = resp.Body.Close()
	return nil, errors.New("the answer was lost")
}

// post sends a body to an address of the office and gives the status and the answer.
func (o *office) post(address, contentType string, body []byte) (int, string) {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), http.MethodPost, address, bytes.NewReader(body))
	o.must(err)
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	o.must(err)
	defer func() { _ = resp.Body.Close() }()
	said, err := io.ReadAll(resp.Body)
	o.must(err)
	return resp.StatusCode, string(said)
}

// notifyAddress is what the API shows as a contract's address.
func (o *office) notifyAddress(contract string) string {
	o.t.Helper()
	for _, c := range list[edge.Contract](o, "contracts") {
		if c.Name == contract {
			return c.Notify
		}
	}
	return ""
}

// verdicts gives those of the notices of the bus, sorted.
func (o *office) verdicts(state string) (all []string) {
	for _, n := range list[edge.Notice](o, "notices?state="+state) {
		all = append(all, n.Verdict)
	}
	slices.Sort(all)
	return all
}

// Two riders of a bus pay by WeChat Pay, and the platform tells of it: the charges
// settle without being asked about, although the first answer is lost and all of it
// comes again. What is forged, probed, or sent to another's address settles nothing.
func TestWechatNotificationsSettleCharges(t *testing.T) {
	o := open(t)
	o.onboard()
	server := o.reachable()
	sim, _ := o.wechat(func(c *wechatpaysim.Config) { c.DeductAfter = time.Minute })
	v := o.validator()
	for _, device := range []string{"ann", "ben"} {
		o.wechatRide(v, sim, device)
	}
	sent := func() []edge.Charge { return list[edge.Charge](o, "charges") }
	o.until("sent", func() bool { return len(sent()) == 2 })
	address := o.notifyAddress("wechat")
	if !strings.HasPrefix(address, server.URL+"/v1/notify/wechatpay/1001-") || len(o.succeeded()) != 0 {
		t.Fatalf("the address is %q, %d charges are settled", address, len(o.succeeded()))
	}
	o.move(time.Minute)
	sim.Book() // looks at what has become due there

	id := sent()[0].OurID
	for _, a := range []wechatpaysim.Arm{wechatpaysim.ArmBadSign, wechatpaysim.ArmUnsigned, wechatpaysim.ArmStale, wechatpaysim.ArmProbe, wechatpaysim.ArmStrange} {
		if status, err := sim.Probe(t.Context(), http.DefaultClient, id, a); err != nil || status != http.StatusUnauthorized {
			t.Errorf("a notification with %s: status %d, %v", a, status, err)
		}
	}
	for range 2 * unprovenAtMost { // a probe is refused however often it comes, and counts for nothing
		if status, err := sim.Probe(t.Context(), http.DefaultClient, id, wechatpaysim.ArmProbe); err != nil || status != http.StatusUnauthorized {
			t.Fatalf("a probe: status %d, %v", status, err)
		}
	}
	if n := len(list[edge.Notice](o, "notices")); n != 0 || len(o.succeeded()) != 0 {
		t.Fatalf("forged notifications left %d rows and settled %d charges", n, len(o.succeeded()))
	}
	doer := &forgetful{lose: 1}
	if got := sim.Deliver(t.Context(), doer); len(got) != 2 || got[0].Taken || !got[1].Taken || got[1].Status != http.StatusNoContent {
		t.Fatalf("delivered: %+v", got)
	}
	if n := len(o.succeeded()); n != 2 {
		t.Fatalf("%d charges are settled by what the platform told; want both", n)
	}
	o.booksHold()
	o.move(time.Minute)
	if got := sim.Deliver(t.Context(), doer); len(got) != 1 || !got[0].Taken || got[0].Status != http.StatusNoContent {
		t.Fatalf("delivered again: %+v", got)
	}
	notices := list[edge.Notice](o, "notices")
	if len(notices) != 2 || notices[0].Verdict != "applied" || notices[1].Verdict != "applied" || notices[0].Repeats+notices[1].Repeats != 1 {
		t.Errorf("notices: %+v; want both applied, one of them twice here", notices)
	}
	o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) > 0 })
	if items := list[edge.ReconItem](o, "reconciliation"); len(items) != 0 {
		t.Errorf("open reconciliation items: %+v", items)
	}
	o.booksHold()
	o.noSecretIsOut()
}

// alipayWithholding signs a contract with a simulated Alipay that debits riders on
// agreements, for the bus.
func (o *office) alipayWithholding() *alipaysim.Server {
	o.t.Helper()
	held, err := o.Ring.Ensure(o.t.Context(), actor, bus, keys.ProviderPurpose("alipay"), keys.RSA2048)
	o.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	o.must(err)
	merchants := []alipaysim.Merchant{
		{AppID: "2026", Account: "2088", Key: public.(*rsa.PublicKey), FeePPM: feePPM}, {AppID: "2027", Account: "2089", Key: public.(*rsa.PublicKey), FeePPM: feePPM},
	}
	sim, err := alipaysim.Start(alipaysim.Config{Clock: o.now, Merchants: merchants})
	o.must(err)
	o.t.Cleanup(sim.Close)
	der, err := x509.MarshalPKIXPublicKey(sim.Public())
	o.must(err)
	for name, m := range map[string]alipaysim.Merchant{"alipay": merchants[0], "alipay-2": merchants[1]} {
		raw, err := json.Marshal(alipayproduct.Contract{Gateway: sim.URL(), AppID: m.AppID, Account: m.Account, PlatformKeys: [][]byte{der}, Collect: "withholding"})
		o.must(err)
		o.send(http.MethodPut, busPath("contracts/"+name), map[string]any{"adapter": "alipay", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
		_, err = o.provider(o.t.Context(), bus, collect.Contract{Name: name, Adapter: "alipay", Config: raw})
		o.must(err)
	}
	return sim
}

// agreed enrols a device of a rider who lets the bus debit him by Alipay.
func (o *office) agreed(sim *alipaysim.Server, device string) []byte {
	o.t.Helper()
	no, err := sim.Sign("2026", "ext-"+device, "2088-"+device)
	o.must(err)
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: no, Contract: "alipay", DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	return answer.Issued[0].Credential
}

// Riders of a bus have agreed to be debited by Alipay: one payment is told of before
// it is answered, one waits for the rider and is told of when it was made. Each is
// collected once, the bill agrees, and the operator is paid. A notification counts at
// its own contract's address alone; one for a tenant that is closed is kept.
func TestAlipayWithholdingIsCollectedAndTold(t *testing.T) {
	o := open(t)
	o.onboard()
	o.reachable()
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
	sim.ArmNext(alipaysim.ArmNotice)
	sim.ArmNext(alipaysim.ArmWait)
	o.until("one collected", func() bool { return len(o.succeeded()) == 1 })
	if got := o.verdicts("done"); !slices.Equal(got, []string{"applied"}) {
		t.Errorf("told before the answer: %v", got)
	}
	o.move(time.Minute)
	if n := sim.Deliver(t.Context()); n != 1 || len(o.succeeded()) != 2 {
		t.Fatalf("%d notifications were taken, %d charges are settled", n, len(o.succeeded()))
	}
	o.booksHold()
	o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) > 0 })
	if items := list[edge.ReconItem](o, "reconciliation"); len(items) != 0 {
		t.Errorf("open reconciliation items: %+v", items)
	}
	if book := sim.Book(); len(book) != 2 {
		t.Errorf("the platform's book: %+v; want each ride once", book)
	}

	// A refund that nobody here asked for is told of: it is kept, and shown.
	charge := o.succeeded()[0]
	p, err := o.provider(t.Context(), bus, o.contract("alipay"))
	o.must(err)
	refunder, _ := p.Refunder()
	giveBack := func(id string, minor int64) {
		t.Helper()
		m := citygate.Money{Minor: minor, Currency: "CNY"}
		if _, err := refunder.Refund(t.Context(), driver.Refund{OurID: id, Charge: driver.Ref{OurID: charge.OurID, Amount: charge.Amount}, Amount: m}); err != nil {
			t.Fatal(err)
		}
	}
	giveBack("BYHAND1", 10)
	forms := sim.Notifications()
	if len(forms) != 1 {
		t.Fatalf("%d notifications on their way", len(forms))
	}
	form, own := forms[0].Encode(), o.notifyAddress("alipay")
	changed := strings.Replace(form, "refund_fee=0.10", "refund_fee=9.10", 1)
	const kind = "application/x-www-form-urlencoded"
	if status, said := o.post(o.notifyAddress("alipay-2"), kind, []byte(form)); status != http.StatusBadRequest || said != "fail" {
		t.Errorf("at another contract's address: %d %q", status, said)
	}
	if status, said := o.post(own, kind, []byte(changed)); changed == form || status != http.StatusBadRequest || said != "fail" {
		t.Errorf("changed on the way: %d %q", status, said)
	}
	var nobodys string
	for _, address := range []string{
		strings.Replace(own, "/alipay/", "/wechatpay/", 1), strings.Replace(own, "1001-", "1002-", 1), own[:len(own)-1] + map[bool]string{true: "b", false: "a"}[own[len(own)-1] == 'a'],
		own + "a", strings.Replace(own, "1001-", "", 1), strings.Replace(own, "1001-", "-1-", 1),
	} {
		status, said := o.post(address, kind, []byte(form))
		var problem edge.Problem
		o.must(json.Unmarshal([]byte(said), &problem))
		problem.Request = ""
		raw, err := json.Marshal(problem)
		o.must(err)
		if status != http.StatusNotFound || problem.Code != ErrNoAddress.Name || (nobodys != "" && nobodys != string(raw)) {
			t.Errorf("%s: %d %s; want what every address of nobody's answers", address, status, said)
		}
		nobodys = string(raw)
	}
	if got := o.verdicts("open"); len(got) != 0 {
		t.Fatalf("what went astray left %v", got)
	}
	for range 2 { // the answer was lost
		if status, said := o.post(own, kind, []byte(form)); status != http.StatusOK || said != "success" {
			t.Errorf("the notification: %d %q", status, said)
		}
	}
	open := list[edge.Notice](o, "notices?state=open")
	if len(open) != 1 || open[0].Verdict != "unknown_order" || open[0].Repeats != 1 || open[0].OurID != "BYHAND1" {
		t.Fatalf("open: %+v", open)
	}
	o.send(http.MethodPost, busPath("notices/"+open[0].ID+"/resolve"), map[string]string{"note": "refunded at the desk"}, nil)
	if got := o.refused(http.MethodPost, busPath("notices/"+open[0].ID+"/resolve"), map[string]string{"note": "again"}); got != collect.ErrNotice.Name {
		t.Errorf("resolved twice: %s", got)
	}
	if n := sim.Deliver(t.Context()); n != 1 {
		t.Errorf("%d taken", n)
	}

	o.owner.Exec(0, `UPDATE platform.tenants SET state = 'closed' WHERE tenant_id = $1`, bus)
	o.move(time.Minute)
	was := o.rows("provider_notices")
	giveBack("BYHAND2", 20)
	if n := sim.Deliver(t.Context()); n != 1 {
		t.Errorf("%d notifications were taken for a tenant that is closed; want it", n)
	}
	unchanged(t, "a notification for a closed tenant", was, o.rows("provider_notices"))
	if got := o.audit.Count(bus, `SELECT count(*) FROM provider_notices WHERE verdict = 'held' AND our_id = 'BYHAND2'`); got != 1 {
		t.Errorf("%d held", got)
	}
	o.noSecretIsOut()
}

// contract gives one of the bus.
func (o *office) contract(name string) collect.Contract {
	o.t.Helper()
	all, err := o.contracts(o.t.Context(), bus)
	o.must(err)
	i := slices.IndexFunc(all, func(c collect.Contract) bool { return c.Name == name })
	return all[i]
}

// What a provider tells of a rider denies him, and lets him go; so does the end of
// his agreement.
func TestNotifiedRidersAreDenied(t *testing.T) {
	o := open(t)
	o.onboard()
	o.settleDown()
	o.in(bus, func(tx *pg.Tx) error {
		_, err := credential.OpenAccounts(t.Context(), tx, actor, []credential.Account{
			{Contract: "sandbox", RiderRef: "ann", Category: "adult"}, {Contract: "sandbox", RiderRef: "AGREEMENT1", Category: "adult"},
		})
		return err
	})
	own, err := o.Tenants.ByID(t.Context(), bus)
	o.must(err)
	p, err := o.provider(t.Context(), bus, o.contract("sandbox"))
	o.must(err)
	rider := func(state driver.RiderState) driver.Notice {
		return driver.Notice{Kind: driver.NoticeRider, Rider: driver.RiderStatus{RiderRef: "ann", State: state, At: o.now()}}
	}
	agreement := func(state driver.AgreementState, at time.Time) driver.Notice {
		return driver.Notice{Kind: driver.NoticeAgreement, Agreement: driver.Agreement{ID: "AGREEMENT1", State: state, ValidFrom: at, ValidTo: at}}
	}
	for i, step := range []struct {
		n    driver.Notice
		want []string
	}{
		{rider(driver.RiderOverdue), []string{"ann provider_list"}},
		{rider(driver.RiderOverdue), []string{"ann provider_list"}},
		{rider(driver.RiderUnknown), []string{"ann provider_list"}},
		{agreement(driver.AgreementEnded, o.now()), []string{"AGREEMENT1 agreement_ended", "ann provider_list"}},
		{agreement(driver.AgreementActive, o.now().Add(-time.Hour)), []string{"AGREEMENT1 agreement_ended", "ann provider_list"}}, // late
		{rider(driver.RiderNormal), []string{"AGREEMENT1 agreement_ended"}},
		{agreement(driver.AgreementActive, o.now().Add(time.Minute)), nil},
	} {
		o.must(o.takeNotice(t.Context(), own, o.contract("sandbox"), p, step.n))
		var got []string
		for _, row := range o.audit.Rows(bus, `SELECT a.rider_ref || ' ' || d.reason FROM deny_entries d JOIN accounts a ON a.tenant_id = d.tenant_id AND a.account_id = d.account_id
			WHERE d.lifted_at IS NULL ORDER BY a.rider_ref COLLATE "C"`) {
			got = append(got, row[0].(string))
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("step %d: denied are %q, want %q", i, got, step.want)
		}
	}
}

// Who sends forged notifications to a contract's address holds up that contract
// alone, and only for a while.
func TestForgedNotificationsAreBounded(t *testing.T) {
	var gates noticeGates
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	here, there := providerKey{1, "a"}, providerKey{2, "a"}
	for range unprovenAtMost {
		leave, err := gates.enter(here, at)
		if err != nil {
			t.Fatal(err)
		}
		gates.unproven(here, at)
		leave()
	}
	if _, err := gates.enter(here, at); !errors.Is(err, ErrNotifyBusy) {
		t.Errorf("after %d forged ones: %v", unprovenAtMost, err)
	}
	var leaves []func()
	for range noticesAtOnce {
		leave, err := gates.enter(there, at)
		if err != nil {
			t.Fatalf("another's: %v", err)
		}
		leaves = append(leaves, leave)
	}
	if _, err := gates.enter(there, at); !errors.Is(err, ErrNotifyBusy) {
		t.Errorf("%d at once: %v", noticesAtOnce+1, err)
	}
	leaves[0]()
	if _, err := gates.enter(there, at); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	if _, err := gates.enter(here, at.Add(unprovenWithin)); err != nil {
		t.Errorf("after a while: %v", err)
	}
}
