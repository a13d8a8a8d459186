package gateway

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/keys"
)

// A flaky line to providers meets its next requests by a plan: it may end the goroutine
// that sends, as a process dies, before or after the provider has acted, or lose a request.
type flaky struct {
	driver.Doer
	mu   sync.Mutex
	plan []string      // "" = sent; dies, heard (and dies), late (and dies), lost, refused, answer lost
	late *http.Request // under way still
}

func (f *flaky) Do(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	do := ""
	if len(f.plan) > 0 {
		do, f.plan = f.plan[0], f.plan[1:]
	}
	f.mu.Unlock()
	switch do {
	case "dies":
		runtime.Goexit()
	case "late":
		f.late = r.Clone(context.WithoutCancel(r.Context()))
		f.late.Body, _ = r.GetBody()
		runtime.Goexit()
	case "lost":
		return nil, errors.New("the line is down")
	case "refused": // before anything could leave
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.GetConn != nil {
			trace.GetConn(r.Host)
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	answer, err := f.Doer.Do(r)
	switch do {
	case "heard":
		runtime.Goexit()
	case "answer lost":
		if err == nil {
			_ = answer.Body.Close()
		}
		return nil, errors.New("the line broke")
	}
	return answer, err
}

func (f *flaky) next(plan ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = plan
}

// A counter is a shop's, where customers pay by the codes of their wallets.
type counter struct {
	*office
	sim  *alipaysim.Server
	line *flaky
	told int
}

// counterOf opens a shop whose customers pay with Alipay. It issues no codes.
func counterOf(t *testing.T, faults alipaysim.Faults) *counter { return counterIn(open(t), faults) }

func counterIn(o *office, faults alipaysim.Faults) *counter {
	t := o.t
	t.Helper()
	o.onboard()
	held, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("alipay"), keys.RSA2048)
	o.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	o.must(err)
	sim, err := alipaysim.Start(alipaysim.Config{Clock: o.now, Faults: faults,
		Merchants: []alipaysim.Merchant{{AppID: "2026", Account: "2088", Key: public.(*rsa.PublicKey), FeePPM: feePPM}}})
	o.must(err)
	t.Cleanup(sim.Close)
	der, err := x509.MarshalPKIXPublicKey(sim.Public())
	o.must(err)
	raw, err := json.Marshal(alipayproduct.Contract{Gateway: sim.URL(), AppID: "2026", Account: "2088", PlatformKeys: [][]byte{der}, Collect: "barcode"})
	o.must(err)
	c := &counter{office: o, sim: sim, line: &flaky{Doer: http.DefaultClient}}
	o.HTTP = c.line
	o.send(http.MethodPut, busPath("contracts/alipay"), map[string]any{"adapter": "alipay", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	return c
}

// code is a customer's, another one each time.
func (c *counter) code() string {
	c.told++
	code := "2812345678901" + string(rune('0'+c.told/100%10)) + string(rune('0'+c.told/10%10)) + string(rune('0'+c.told%10)) + "77"
	c.secrets.AddText("a payment code", code)
	return code
}

func (c *counter) asks(order string, minor int64) map[string]any {
	return map[string]any{"order": order, "amount": map[string]any{"minor": minor, "currency": "CNY"}, "subject": "Two teas", "payment_code": c.code(), "till": "counter 1"}
}

func (c *counter) pay(order string, minor int64) (p edge.TillPayment) {
	c.t.Helper()
	c.send(http.MethodPost, busPath("till-payments"), c.asks(order, minor), &p)
	return p
}

func (c *counter) find(id string) (p edge.TillPayment) {
	c.t.Helper()
	c.send(http.MethodGet, busPath("till-payments/"+id), nil, &p)
	return p
}

// later lets time pass in steps and has what is due done.
func (c *counter) later(steps int, each time.Duration) {
	c.t.Helper()
	for range steps {
		c.move(each)
		c.must(c.Till.RunDue(c.t.Context(), bus))
	}
}

func (c *counter) want(what string, p edge.TillPayment, state string) edge.TillPayment {
	c.t.Helper()
	if p = c.find(p.ID); p.State != state {
		c.t.Errorf("%s: it is %s (%s); want %s", what, p.State, p.Reason, state)
	}
	return p
}

// Where two are wanted for money that leaves, one person gives a payment back up to the sum
// alone, in however many parts; what was given back already may be asked for again.
func TestOnePersonGivesBackUpToTheSum(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	tea := c.pay("R-1", 2000)
	c.send(http.MethodPut, busPath("refund-rules"), edge.RefundRule{AloneUpTo: 500}, nil)
	c.send(http.MethodPut, busPath("approval-settings"), map[string]any{"two_person": []string{"payout_release"}}, nil)
	for _, part := range []struct {
		name   string
		amount int64
		code   int
	}{{"a", 300, http.StatusOK}, {"b", 201, http.StatusAccepted}, {"c", 200, http.StatusOK}, {"d", 1, http.StatusAccepted}, {"a", 300, http.StatusOK}, {"rest", 0, http.StatusAccepted}} {
		body := map[string]any{"name": part.name, "reason": "cold"}
		if part.amount > 0 {
			body["amount_minor"] = part.amount
		}
		got := c.ask(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), "application/json", []byte(asJSON(t, body)))
		if got.Code != part.code {
			t.Errorf("%s, %d: %d %s, want %d", part.name, part.amount, got.Code, got.Body, part.code)
		}
	}
	if p := c.find(tea.ID); p.Refunded.Minor != 500 {
		t.Errorf("%d go back", p.Refunded.Minor)
	}
}

// A shop's day: what is paid is paid once, whatever is lost or asked twice; what is not
// confirmed or given up is taken back; the next day's bill has it all, and the shop is
// paid out what customers paid less the fee and what went back.
func TestAShopsDayAtTheTill(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{RetryAfter: 20 * time.Second})
	tea := c.pay("R-1", 2000)
	c.want("tea", tea, "paid")
	if again := c.pay("R-1", 2000); again.ID != tea.ID || again.State != "paid" {
		t.Errorf("the same order again is %+v", again)
	}
	if code := c.refused(http.MethodPost, busPath("till-payments"), c.asks("R-1", 2001)); code != "till.other_order" {
		t.Errorf("another amount under the same name: %s", code)
	}
	foreign := c.asks("R-2", 100)
	foreign["payment_code"] = "134567890123456789" // a wallet of WeChat's
	if code := c.refused(http.MethodPost, busPath("till-payments"), foreign); code != "till.code" {
		t.Errorf("a code of another provider: %s", code)
	}
	foreign["contract"], foreign["payment_code"] = "sandbox", c.code()
	if code := c.refused(http.MethodPost, busPath("till-payments"), foreign); code != "till.contract" {
		t.Errorf("a contract that takes no codes: %s", code)
	}
	dear := c.asks("R-2", 100)
	dear["amount"] = map[string]any{"minor": 100, "currency": "HKD"}
	if code := c.refused(http.MethodPost, busPath("till-payments"), dear); code != "adapters.currency_unsupported" {
		t.Errorf("another currency: %s", code)
	}

	c.sim.ArmNext(alipaysim.ArmDecline)
	c.want("a wallet without money", c.pay("R-3", 700), "declined")
	c.sim.ArmNext(alipaysim.ArmLose)
	c.want("the answer was lost", c.pay("R-4", 800), "paid")

	c.sim.ArmNext(alipaysim.ArmWait)
	pin := c.want("the customer types his PIN", c.pay("R-5", 900), "paying")
	c.later(6, 5*time.Second)
	c.want("he has typed it", pin, "paid")

	c.sim.ArmNext(alipaysim.ArmWait)
	gone := c.pay("R-6", 1100)
	var cancelled edge.TillPayment
	c.send(http.MethodPost, busPath("till-payments/"+gone.ID+"/cancel"), map[string]any{"reason": "he left"}, &cancelled)
	c.want("given up while it was confirmed", cancelled, "closed")
	c.later(8, 5*time.Second)
	c.want("and stays so", cancelled, "closed")
	if code := c.refused(http.MethodPost, busPath("till-payments/"+tea.ID+"/cancel"), map[string]any{}); code != "till.paid" {
		t.Errorf("cancelling what is paid: %s", code)
	}

	var part edge.TillPayment
	for range 2 { // asked twice, given once
		c.send(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), map[string]any{"name": "one tea", "amount_minor": 500, "reason": "cold"}, &part)
	}
	c.settleDown()
	if part = c.find(tea.ID); part.State != "paid" || part.Returned.Minor != 500 || len(part.Refunds) != 1 || part.Refunds[0].State != "succeeded" {
		t.Errorf("a part given back: %+v", part)
	}
	if code := c.refused(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), map[string]any{"name": "more", "amount_minor": 1501, "reason": "all"}); code != "till.no_refund" {
		t.Errorf("more than is left: %s", code)
	}
	if code := c.refused(http.MethodGet, busPath("till-payments/tpy_ee1c0000000000000000000000000000"), nil); code != "till.not_found" {
		t.Errorf("a payment nobody has: %s", code)
	}
	if n := len(c.sim.Book()); n != 4 {
		t.Errorf("the platform has taken %d orders; want one of each payment that was not declined", n)
	}
	c.booksHold()

	c.until("paid out", func() bool { return len(list[edge.Payout](c.office, "payouts")) > 0 })
	var paid int64
	for _, p := range list[edge.Payout](c.office, "payouts") {
		paid += p.Amount.Minor
	}
	if want := int64(2000 - 12 + 800 - 5 + 900 - 5 - 500); paid != want {
		t.Errorf("paid out %d; want %d", paid, want)
	}
	if items := list[edge.ReconItem](c.office, "reconciliation"); len(items) != 0 {
		t.Errorf("open reconciliation items: %+v", items)
	}
	if tea = c.find(tea.ID); tea.ClearedAt == nil {
		t.Errorf("its bill had it, and it is not cleared: %+v", tea)
	}
	c.send(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), map[string]any{"name": "the rest", "reason": "all cold"}, nil)
	c.settleDown()
	c.want("all of it given back, after the payout", tea, "refunded")
	if got := c.balances()[ledger.TillPayable("valley-bus")]; got != 1500 {
		t.Errorf("the shop owes %d; want the rest of the tea", got)
	}
	c.booksHold()
	c.noSecretIsOut()
}

// A process that dies in the call, on either side of the provider's act, leaves one
// payment that is made or taken back, and never a second one.
func TestAPaymentWhoseProcessDied(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	c.pay("warm", 100) // the provider is open
	for _, after := range []bool{false, true} {
		order := map[bool]string{false: "before", true: "after"}[after]
		body, err := json.Marshal(c.asks(order, 600))
		c.must(err)
		c.line.next(map[bool]string{false: "dies", true: "heard"}[after])
		var dead sync.WaitGroup
		dead.Go(func() { c.ask(http.MethodPost, busPath("till-payments"), "application/json", body) })
		dead.Wait()
		p := c.byOrder(order)
		if p.State != "asked" {
			t.Fatalf("%s: it is %s; want nobody to know", order, p.State)
		}
		if again := c.pay(order, 600); again.ID != p.ID {
			t.Errorf("%s: the order again is another payment", order)
		}
		c.later(3, 2*time.Minute)
		if after {
			c.want("the provider had acted", p, "paid")
			continue
		}
		c.later(3, 2*time.Minute)
		if p = c.want("the provider never heard of it", p, "closed"); p.Reason != "absent_at_provider" {
			t.Errorf("it was closed for %q", p.Reason)
		}
	}
	if n := len(c.sim.Book()); n != 2 {
		t.Errorf("the platform has %d orders; want two", n)
	}
	c.settleDown()
	c.booksHold()
	c.noSecretIsOut()
}

func (c *counter) byOrder(order string) edge.TillPayment {
	c.t.Helper()
	found := list[edge.TillPayment](c.office, "till-payments?order="+order)
	if len(found) != 1 {
		c.t.Fatalf("%d payments of order %s", len(found), order)
	}
	return found[0]
}

// Nobody confirms in time, and the reversal's answer is lost; or the customer confirms
// while it is taken back. Either way what moved goes back, and the books and the bill
// agree.
func TestAPaymentThatIsTakenBack(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{RetryAfter: 2 * time.Minute})
	c.sim.ArmNext(alipaysim.ArmWait)
	slow := c.pay("slow", 1000)
	c.sim.ArmNext(alipaysim.ArmLose) // the reversal's answer
	c.later(14, 5*time.Second)
	if slow = c.want("nobody confirmed it", slow, "closed"); slow.ReversingFor != "timeout" {
		t.Errorf("taken back for %q", slow.ReversingFor)
	}

	c.sim.ArmNext(alipaysim.ArmLose) // paid, and nobody hears of it
	c.sim.SetOutage(c.now().Add(time.Second), c.now().Add(2*time.Minute))
	lost := c.pay("lost", 1300)
	c.want("the answer was lost, and the question found it", lost, "paid")

	c.sim.ArmNext(alipaysim.ArmWait)
	raced := c.pay("raced", 1500)
	c.move(2*time.Minute + 30*time.Second) // he confirms as the shop gives it up
	c.send(http.MethodPost, busPath("till-payments/"+raced.ID+"/cancel"), map[string]any{}, nil)
	c.settleDown()
	if raced = c.want("confirmed while it was given up", raced, "closed"); raced.Returned.Minor != 1500 {
		t.Errorf("%d went back; want all of it", raced.Returned.Minor)
	}
	// Paid, and nobody hears of it until the reversal has given the money back.
	c.sim.ArmNext(alipaysim.ArmLose)
	c.line.next("", "lost")
	unheard := c.want("nobody knows", c.pay("unheard", 1700), "asked")
	c.move(61 * time.Second)
	c.line.next("lost")
	c.must(c.Till.RunDue(t.Context(), bus))
	if unheard = c.want("reversed after it was paid", unheard, "closed"); unheard.Returned.Minor != 1700 || unheard.PaidAt == nil || unheard.Refunds[0].Kind != "reversal" {
		t.Errorf("reversed after it was paid: %+v", unheard)
	}
	c.booksHold()
	c.until("reconciled", func() bool { return c.find(raced.ID).ClearedAt != nil && c.find(unheard.ID).ClearedAt != nil })
	if items := list[edge.ReconItem](c.office, "reconciliation"); len(items) != 0 {
		t.Errorf("open reconciliation items: %+v", items)
	}
	c.booksHold()
}

// A provider that has not answered for a while is left alone: nothing is on disk, and the
// customer is not kept waiting. After half a minute one payment may try.
func TestAProviderThatIsDownIsLeftAlone(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	c.sim.SetOutage(c.now(), c.now().Add(20*time.Second))
	c.pay("R-1", 100) // its question is a second call without an answer
	c.pay("R-2", 100)
	body, err := json.Marshal(c.asks("R-3", 100))
	c.must(err)
	if w := c.ask(http.MethodPost, busPath("till-payments"), "application/json", body); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "till.provider_down") {
		t.Errorf("the third: %d %s", w.Code, w.Body)
	}
	if n := len(list[edge.TillPayment](c.office, "till-payments")); n != 2 {
		t.Errorf("%d payments are on disk", n)
	}
	c.move(35 * time.Second)
	c.want("half a minute later", c.pay("R-3", 100), "paid")
}

// A contract that collects by codes alone is given no riders, in whatever way: their rides
// would wait unsent. It does not make an issuer ready either.
func TestNoRidesUnderAContractByCodes(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	issue := func(contract string) map[string]any {
		return map[string]any{"requests": []edge.IssueCredential{{RiderRef: "2088000000000001", Contract: contract, DeviceKey: key("ann")[32:], Product: 1, Cap: 50, Window: 30, TTLHours: 48}}}
	}
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	c.send(http.MethodPost, busPath("credentials"), issue("sandbox"), &answer)
	device := func(contract string) map[string]any {
		return map[string]any{"kind": "phone", "contract": contract, "rider_ref": "2088000000000002", "public_key": key("bob")[32:], "challenge": make([]byte, 32), "signature": make([]byte, 64)}
	}
	for what, ask := range map[string]struct {
		method, path string
		body         any
	}{
		"credentials":    {http.MethodPost, "credentials", issue("alipay")},
		"a payer":        {http.MethodPut, "accounts/" + answer.Issued[0].Account + "/payers/alipay", map[string]any{"rider_ref": "2088000000000001"}},
		"foreign riders": {http.MethodPost, "foreign-riders", map[string]any{"requests": []edge.RegisterForeign{{Scheme: "token-defer", Code: []byte{1}, Contract: "alipay", RiderRef: "dan"}}}},
		"a code scheme":  {http.MethodPut, "code-schemes/token-defer", edge.CodeScheme{Params: json.RawMessage(`{"issuer":7,"providers":["palm"]}`), Contract: "alipay"}},
		"a device":       {http.MethodPost, "devices", device("alipay")},
	} {
		if code := c.refused(ask.method, busPath(ask.path), ask.body); code != ErrByCode.Name {
			t.Errorf("%s: refused with %q", what, code)
		}
	}
	if n := c.count(`SELECT count(*) FROM accounts WHERE contract = 'alipay'`) + c.count(`SELECT count(*) FROM account_payers`); n != 0 {
		t.Errorf("%d payers are under it", n)
	}
	var ready edge.Checklist
	c.send(http.MethodGet, busPath("checklist"), nil, &ready)
	item := func(name string) (found edge.ChecklistItem) {
		c.send(http.MethodGet, busPath("checklist"), nil, &ready)
		if i := slices.IndexFunc(ready.Items, func(i edge.ChecklistItem) bool { return i.Name == name }); i >= 0 {
			found = ready.Items[i]
		}
		return found
	}
	if got := item("provider contract"); got.Detail != "sandbox" {
		t.Errorf("the checklist: %+v", ready.Items)
	}
	if got := item("riders under alipay"); got.Name != "" {
		t.Errorf("nobody is under it: %+v", got)
	}
	// Riders who were opened under it before this was refused are named.
	c.owner.Exec(bus, `UPDATE accounts SET contract = 'alipay' WHERE tenant_id = $1`, int64(bus))
	if got := item("riders under alipay"); got.Done || got.Optional || ready.Ready || !strings.Contains(got.Detail, "1 account ") || !strings.Contains(got.Detail, answer.Issued[0].Account) || got.Do == "" {
		t.Errorf("riders under it: %+v", got)
	}
}

// Two requests of one order at once are one payment.
func TestOneOrderTwiceAtOnce(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	bodies := make([][]byte, 4)
	for i := range bodies {
		bodies[i], _ = json.Marshal(c.asks("same", 300))
	}
	c.pay("warm", 100)
	answers := make([]string, len(bodies))
	handler, token := c.Handler(), c.token
	var all sync.WaitGroup
	for i := range bodies {
		all.Go(func() { answers[i] = post(handler, token, busPath("till-payments"), string(rune('a'+i)), bodies[i]) })
	}
	all.Wait()
	ids := map[string]bool{}
	for _, a := range answers {
		var p edge.TillPayment
		if err := json.Unmarshal([]byte(a), &p); err != nil || p.ID == "" {
			t.Errorf("answered %s", a)
		}
		ids[p.ID] = true
	}
	if n := len(c.sim.Book()); len(ids) != 1 || n != 2 {
		t.Errorf("%d payments, and the platform has %d orders", len(ids), n)
	}
	c.want("paid once", c.byOrder("same"), "paid")
	c.booksHold()
}

// post sends a request with a key of its own and gives the answer's body.
func post(handler http.Handler, token, path, key string, body []byte) string {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Idempotency-Key", "at-once-"+key)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Body.String()
}
