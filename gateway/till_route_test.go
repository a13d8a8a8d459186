package gateway

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// second adds another contract that takes Alipay's codes, at another gateway of the
// platform's: an acquirer's.
func (c *counter) second(name string) *alipaysim.Server {
	c.t.Helper()
	held, err := c.Ring.Ensure(c.t.Context(), actor, bus, keys.ProviderPurpose("alipay"), keys.RSA2048)
	c.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	c.must(err)
	sim, err := alipaysim.Start(alipaysim.Config{Clock: c.now, Merchants: []alipaysim.Merchant{{AppID: "3036", Account: "2099", Key: public.(*rsa.PublicKey), FeePPM: feePPM}}})
	c.must(err)
	c.t.Cleanup(sim.Close)
	der, err := x509.MarshalPKIXPublicKey(sim.Public())
	c.must(err)
	c.send(http.MethodPut, busPath("contracts/"+name), map[string]any{"adapter": "alipay", "fee_ppm": feePPM,
		"config": alipayproduct.Contract{Gateway: sim.URL(), AppID: "3036", Account: "2099", PlatformKeys: [][]byte{der}, Collect: "barcode"}}, nil)
	return sim
}

// routing publishes a rule set with these rules of routing.
func (c *counter) routing(rules string) {
	c.t.Helper()
	c.send(http.MethodPost, busPath("policies"), map[string]any{"source": fmt.Sprintf(`citygate: rules/1
time_zone: Asia/Shanghai
acceptance:
  schemes: [ct1]
  issuers: [{issuer: %d, currency: CNY, cap_unit_minor: 100}]
  modes: [{mode: bus, kinds: [single]}]
  skew_seconds: 30
  max_window_seconds: 120
  max_ttl_hours: 48
  stale_list_seconds: 259200
  late_upload_days: 7
  clock_suspect_seconds: 600
  incomplete: {charge: max, max_journey_minutes: 180, grace_minutes: 300}
routing:
%s`, issuer, rules)}, nil)
	c.move(time.Minute)
}

// Two contracts take codes of one form: without a rule the order is refused and both are
// named; with rules these choose, by what they say of amount, wallet and kind, and the answer
// says which did. What the order names comes before them.
func TestRulesChooseAmongContractsThatTakeACode(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	acquirer := c.second("acquirer")
	if code := c.refused(http.MethodPost, busPath("till-payments"), c.asks("R-1", 100)); code != "till.code" {
		t.Errorf("without a rule: %s", code)
	}
	c.routing(`    - {id: dear, when: 'kind == "till" && amount >= 1000', use: [sandbox, acquirer, alipay]}
    - {id: of-rides, when: 'kind == "charge"', use: [acquirer]}
    - {id: wallets, wallets: [alipay], currencies: [CNY], use: [alipay, acquirer]}
`)
	dear := c.want("a dear one", c.pay("R-1", 1200), "paid")
	if r := dear.Routing; dear.Contract != "acquirer" || r == nil || r.Rule != "dear" || r.PolicyVersion != 2 || !strings.Contains(r.Finding, "code_unfit: contract sandbox") {
		t.Errorf("a dear one went to %s by %+v", dear.Contract, r)
	}
	cheap := c.want("a cheap one", c.pay("R-2", 300), "paid")
	if r := cheap.Routing; cheap.Contract != "alipay" || r == nil || r.Rule != "wallets" || r.Finding != "" {
		t.Errorf("a cheap one went to %s by %+v", cheap.Contract, r)
	}
	named := c.asks("R-3", 300)
	named["contract"] = "acquirer"
	var p edge.TillPayment
	c.send(http.MethodPost, busPath("till-payments"), named, &p)
	if p.Contract != "acquirer" || p.Routing != nil {
		t.Errorf("a named one went to %s by %+v", p.Contract, p.Routing)
	}
	if again := c.pay("R-1", 1200); again.ID != dear.ID || again.Routing == nil || again.Routing.Rule != "dear" {
		t.Errorf("asked again: %+v", again)
	}
	if a, b := len(c.sim.Book()), len(acquirer.Book()); a != 1 || b != 2 {
		t.Errorf("%d and %d orders", a, b)
	}
	c.settleDown()
	c.booksHold()
	c.noSecretIsOut()
}

// The contract that the rules name first does not answer. What certainly did not reach it
// goes to the next, once; what it may have seen stays there, whoever else is up. A contract
// that is taken to be down is passed over from the start.
func TestACodePaymentFailsOverOnlyIfItWasNotSeen(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	acquirer := c.second("acquirer")
	c.routing("    - {id: first, use: [alipay, acquirer]}\n")
	c.line.next("refused")
	p := c.want("not reached", c.pay("R-1", 300), "paid")
	if p.Contract != "acquirer" || p.Routing == nil || p.Routing.Rule != "first" || !strings.Contains(p.Routing.Finding, "not_sent: contract alipay") {
		t.Errorf("not reached: %s by %+v", p.Contract, p.Routing)
	}
	if a, b := len(c.sim.Book()), len(acquirer.Book()); a != 0 || b != 1 {
		t.Errorf("%d and %d orders", a, b)
	}
	c.line.next("refused", "refused")
	if p = c.want("neither reached", c.pay("R-2", 300), "declined"); p.Reason != "adapters.not_sent" {
		t.Errorf("neither reached: %+v", p)
	}
	warm := func(order string) { // both have answered
		c.pay(order+"-a", 100)
		named := c.asks(order+"-b", 100)
		named["contract"] = "acquirer"
		c.send(http.MethodPost, busPath("till-payments"), named, nil)
	}
	warm("W-1")
	c.line.next("lost", "lost")
	lost := c.want("it may have been seen", c.pay("R-3", 300), "asked")
	if lost.Contract != "alipay" || len(acquirer.Book()) != 2 {
		t.Errorf("it may have been seen: %+v", lost)
	}
	warm("W-2")
	c.line.next("refused", "answer lost", "lost")
	moved := c.want("moved, and its answer lost", c.pay("R-4", 300), "asked")
	if moved.Contract != "acquirer" || len(acquirer.Book()) != 4 {
		t.Errorf("moved: %+v", moved)
	}
	c.line.next()
	c.later(2, 30*time.Second)
	c.want("and found there", moved, "paid")

	warm("W-3")
	c.sim.SetOutage(c.now(), c.now().Add(time.Hour))
	for i := range 3 { // its breaker opens
		c.line.next("refused")
		c.pay(fmt.Sprint("B-", i), 100)
	}
	c.line.next()
	down := c.want("passed over", c.pay("R-5", 300), "paid")
	if down.Contract != "acquirer" || down.Routing == nil || strings.Contains(down.Routing.Finding, "not_sent") {
		t.Errorf("taken to be down: %+v by %+v", down, down.Routing)
	}
	c.settleDown()
	c.booksHold()
	c.noSecretIsOut()
}

// Rules may name more contracts than a finding has room for: what is said of them is cut, and
// the payment is made.
func TestAFindingIsAsLongAsItMayBe(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	c.second("acquirer")
	var many []string
	for n := range 60 {
		many = append(many, fmt.Sprintf("a-contract-that-takes-no-codes-%d", n))
		c.in(bus, func(tx *pg.Tx) error {
			return collect.AddContract(c.t.Context(), tx, actor, collect.Contract{Name: many[n], Adapter: "sandbox",
				Config: json.RawMessage(`{"utc_offset_minutes":480,"bill_delay_minutes":540}`)})
		})
	}
	c.routing("    - {id: first, use: [" + strings.Join(many, ", ") + ", alipay, acquirer]}\n")
	c.line.next("refused")
	p := c.want("not reached", c.pay("R-1", 300), "paid")
	if p.Contract != "acquirer" || p.Routing == nil || !strings.Contains(p.Routing.Finding, many[0]) || !strings.Contains(p.Routing.Finding, "not_sent: contract alipay") {
		t.Errorf("it went to %s by %+v", p.Contract, p.Routing)
	}
}

// A process that dies as a payment is being moved, or in the second call, leaves one of
// which nobody can say anything: it is asked about where it is, and closed or paid once.
func TestAMoveThatDied(t *testing.T) {
	for _, plan := range [][]string{{"refused", "dies"}, {"refused", "heard"}} {
		t.Run(strings.Join(plan, " "), func(t *testing.T) {
			c := counterOf(t, alipaysim.Faults{})
			acquirer := c.second("acquirer")
			c.routing("    - {id: first, use: [alipay, acquirer]}\n")
			body, err := json.Marshal(c.asks("R-1", 300))
			c.must(err)
			c.line.next(plan...)
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.ask(http.MethodPost, busPath("till-payments"), "application/json", body)
			}()
			<-done
			c.later(6, 2*time.Minute)
			p := c.byOrder("R-1")
			if want := map[string]string{"dies": "closed", "heard": "paid"}[plan[1]]; p.State != want || p.Contract != "acquirer" || len(c.sim.Book()) != 0 {
				t.Errorf("it ended as %+v; want %s", p, want)
			}
			if n := len(acquirer.Book()); n > 1 {
				t.Errorf("%d orders", n)
			}
			c.booksHold()
		})
	}
}
