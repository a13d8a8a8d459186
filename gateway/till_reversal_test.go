package gateway

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplusproduct"
	"github.com/cashlesscity/citygate/adapters/alipayplus/alipayplussim"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpayproduct"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// unionKiosk takes UnionPay's codes, whose questions never say that a payment went back.
func unionKiosk(t *testing.T) (*kiosk, *unionpaysim.Server, *flaky) {
	t.Helper()
	k := &kiosk{office: open(t)}
	k.onboard()
	line := &flaky{Doer: http.DefaultClient}
	k.HTTP = line
	k.reachable()
	own, err := unionpaysim.Certify(k.signs("unionpay"), "valley", k.now())
	k.must(err)
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	k.must(err)
	theirs, err := unionpaysim.Certify(&signing.PublicKey, unionpaysim.Owner, k.now())
	k.must(err)
	sim, err := unionpaysim.Start(unionpaysim.Config{Clock: k.now, Key: signing, Authority: theirs,
		Merchants: []unionpaysim.Merchant{{MerID: unionMerID, Cert: own.Leaf, FeePPM: feePPM}}})
	k.must(err)
	t.Cleanup(sim.Close)
	k.contract("union", "unionpay", unionpayproduct.Contract{Gateway: sim.URL() + unionpaysim.GatewayPath, Files: sim.URL(), MerID: unionMerID, TermID: "00000001",
		Collect: "payment_code", Certificate: own.Leaf.Raw, Roots: [][]byte{theirs.Root.Raw}})
	return k, sim, line
}

// A reversal whose answer is lost, or in whose call the process dies after the provider has
// acted, is asked for again under its name: the money goes back once, no refund is made
// beside it, and the payment ends.
func TestAReversalOfWhichNobodyHeard(t *testing.T) {
	for _, how := range []string{"lost", "heard", "before"} {
		t.Run(how, func(t *testing.T) {
			k, sim, line := unionKiosk(t)
			sim.ArmNext(unionpaysim.ArmLose)
			var p edge.TillPayment
			k.send(http.MethodPost, busPath("till-payments"), map[string]any{"order": "R-1", "subject": "Two teas", "payment_code": "6212345678901234501",
				"amount": map[string]any{"minor": 2000, "currency": "CNY"}}, &p)
			if p.State != "asked" {
				t.Fatalf("it is %s; want nobody to know", p.State)
			}
			k.move(61 * time.Second)
			switch how { // the question, the reversal's own question, the reversal
			case "lost":
				line.next("lost", "", "answer lost")
			case "heard":
				line.next("lost", "", "heard")
			case "before":
				line.next("lost", "", "dies")
			}
			var run sync.WaitGroup
			run.Go(func() { _ = k.Till.RunDue(t.Context(), bus) })
			run.Wait()
			for range 6 {
				k.move(5 * time.Minute)
				k.must(k.Till.RunDue(t.Context(), bus))
				k.settleDown()
			}
			k.send(http.MethodGet, busPath("till-payments/"+p.ID), nil, &p)
			if p.State != "closed" || p.Returned.Minor != 2000 || len(p.Refunds) != 1 || p.Refunds[0].Kind != "reversal" || p.Refunds[0].State != "succeeded" {
				t.Errorf("it ended as %+v", p)
			}
			back := 0
			for _, o := range sim.Book() {
				if o.Origin != "" && o.Made {
					back++
				}
			}
			if back != 1 {
				t.Errorf("the platform has given the money back %d times: %+v", back, sim.Book())
			}
			k.booksHold()
		})
	}
}

// A request that hangs on its way arrives after the payment was reversed, which said that
// nothing was there: what it takes goes back. Nobody may say before that it is closed.
func TestAPaymentThatArrivesAfterItsReversal(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{})
	c.pay("warm", 100)
	body := []byte(asJSON(t, c.asks("late", 600)))
	c.line.next("late")
	var dead sync.WaitGroup
	dead.Go(func() { c.ask(http.MethodPost, busPath("till-payments"), "application/json", body) })
	dead.Wait()
	p := c.want("under way", c.byOrder("late"), "asked")
	c.later(9, 30*time.Second)
	if p = c.want("the provider does not know it yet", p, "reversing"); c.owner.Count(bus, `SELECT count(*) FROM till_payments WHERE tenant_id = $1 AND reversals > 0`, int64(bus)) != 1 {
		t.Errorf("it was not reversed: %+v", p)
	}
	answer, err := c.line.Doer.Do(c.line.late)
	c.must(err)
	c.must(answer.Body.Close())
	if n := len(c.sim.Book()); n != 2 {
		t.Fatalf("the platform has %d orders; want two", n)
	}
	c.later(4, 3*time.Minute)
	c.settleDown()
	c.later(2, time.Minute)
	if p = c.want("taken after all", p, "closed"); p.PaidAt == nil || p.Returned.Minor != 600 || len(p.Refunds) != 1 {
		t.Errorf("it ended as %+v", p)
	}
	var given int64
	for _, e := range c.sim.Book() {
		for _, r := range e.Refunds {
			given += r.Amount.Minor
		}
	}
	if given != 600 {
		t.Errorf("the platform has given %d back", given)
	}
	c.booksHold()
}

// A provider that gives no quotes any more is left alone like one that takes no payments.
func TestQuotesThatNobodyGives(t *testing.T) {
	k := &kiosk{office: open(t)}
	k.onboard()
	line := &flaky{Doer: http.DefaultClient}
	k.HTTP = line
	sim, err := alipayplussim.Start(alipayplussim.Config{Clock: k.now, Rates: map[string]string{"CNY/HKD": "1.08683838", "HKD/CNY": "0.9185"},
		Merchants: []alipayplussim.Merchant{{ClientID: "VALLEY_0001", Key: k.signs("alipayplus"), FeePPM: feePPM}}})
	k.must(err)
	t.Cleanup(sim.Close)
	der, err := x509.MarshalPKIXPublicKey(sim.Key())
	k.must(err)
	k.contract("hongkong", "alipayplus", alipayplusproduct.Contract{Base: sim.URL(), Files: sim.URL(), Collect: "payment_code", ClientID: "VALLEY_0001",
		PlatformKeys: map[string][]byte{alipayplussim.KeyVersion: der}, Merchant: "valley", Method: "CONNECT_WALLET", NotifyURL: "https://city.example/notify",
		Currency: "CNY", PayCurrency: "HKD"})
	ask := func() (int, string) {
		w := k.ask(http.MethodPost, busPath("till-payments"), "application/json", []byte(`{"order":"R-1","subject":"Two teas","payment_code":"281006000000000001","amount":{"minor":450,"currency":"CNY"}}`))
		return w.Code, w.Body.String()
	}
	line.next("lost", "lost", "lost", "lost")
	for i := range 3 {
		if code, body := ask(); code != http.StatusServiceUnavailable || !strings.Contains(body, "adapters.not_sent") {
			t.Errorf("without a quote, %d: %d %s", i, code, body)
		}
	}
	if code, body := ask(); code != http.StatusServiceUnavailable || !strings.Contains(body, "till.provider_down") {
		t.Errorf("the fourth: %d %s", code, body)
	}
	if len(line.plan) != 1 {
		t.Error("it was asked all the same")
	}
	line.next()
	if n := len(list[edge.TillPayment](k.office, "till-payments")); n != 0 {
		t.Errorf("%d payments are on disk", n)
	}
	k.move(35 * time.Second)
	if code, body := ask(); code != http.StatusOK || !strings.Contains(body, `"paid"`) {
		t.Errorf("half a minute later: %d %s", code, body)
	}
}

// Hundreds of payments that hang at one provider take no turn of another's customer.
func TestOneProvidersOpenPaymentsHoldUpNoOther(t *testing.T) {
	c := counterOf(t, alipaysim.Faults{RetryAfter: 10 * time.Second})
	c.sim.ArmNext(alipaysim.ArmWait)
	pin := c.want("he types his PIN", c.pay("R-1", 900), "paying")
	c.owner.Exec(bus, `
		INSERT INTO till_payments (tenant_id, payment_id, order_key, amount, currency, subject, contract, named, till, payee, state, reason, our_id, business_date,
		                           asked_by, asked_at, wait_until, next_at, reversing_for, reversals, reversal_said, refunded, returned)
		SELECT $1, gen_random_uuid(), 'H-' || n, 100, 'CNY', 'Tea', 'hangs', '', '', 'valley-bus', 'asked', '', 'H' || n, '2026-05-04',
		       'somebody', $2, $2::timestamptz + interval '1 minute', $2, '', 0, '', 0, 0 FROM generate_series(1, 250) AS n`, int64(bus), c.now().Add(-time.Hour))
	for range 3 {
		c.move(5 * time.Second)
		_ = c.Till.RunDue(t.Context(), bus) // those have no contract that could be asked
	}
	c.want("he has typed it", pin, "paid")
}
