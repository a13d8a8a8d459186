package gateway

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/unionpay"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpayproduct"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys"
)

const unionMerID = "777290058110097"

// unionpay signs a contract with a simulated UnionPay for the bus, by the API.
// config starts it again at its address.
func (o *office) unionpay() (sim *unionpaysim.Server, config unionpaysim.Config, contract unionpayproduct.Contract) {
	o.t.Helper()
	held, err := o.Ring.Ensure(o.t.Context(), actor, bus, keys.ProviderPurpose("unionpay"), keys.RSA2048)
	o.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	o.must(err)
	own, err := unionpaysim.Certify(public, "valley", o.now())
	o.must(err)
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	o.must(err)
	theirs, err := unionpaysim.Certify(&signing.PublicKey, unionpaysim.Owner, o.now())
	o.must(err)
	config = unionpaysim.Config{
		Clock: o.now, Key: signing, Authority: theirs, Merchants: []unionpaysim.Merchant{{MerID: unionMerID, Cert: own.Leaf, FeePPM: feePPM}},
	}
	sim, err = unionpaysim.Start(config)
	o.must(err)
	o.t.Cleanup(sim.Close)
	contract = unionpayproduct.Contract{
		Gateway: sim.URL() + unionpaysim.GatewayPath, Files: sim.URL(), MerID: unionMerID, TermID: "00000001", Collect: "token", TokenRequestor: "99988877766",
		Certificate: own.Leaf.Raw, Roots: [][]byte{theirs.Root.Raw},
	}
	raw, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/union"), map[string]any{"adapter": "unionpay", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	config.Listen = strings.TrimPrefix(sim.URL(), "http://")
	return sim, config, contract
}

// ridesByToken has a rider agree to pay by a token of UnionPay and ride once.
func (o *office) ridesByToken(v *terminal.Verifier, device string) {
	o.t.Helper()
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "token" + device, Contract: "union", DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	batch := o.board(v, answer.Issued[0].Credential, device)
	if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
		o.t.Fatalf("the ride of %s: %v", device, got)
	}
	parsed, err := tap.ParseBatch(batch)
	o.must(err)
	o.must(v.Ack(parsed.Hash))
}

// UnionPay's day ends at 23:00 in Beijing. Two fares of one business date are collected
// at 22:59 and 23:01: they are in the files of two clearing days, of which the second
// comes a day later. Nothing is missing meanwhile, each file matches its payment, and
// both are paid out.
func TestPaymentsOnBothSidesOfTheClearingCut(t *testing.T) {
	o := open(t)
	o.onboard()
	o.reachable()
	sim, _, _ := o.unionpay()
	v := o.validator()
	beijing := time.FixedZone("", 8*60*60)
	at := func(day, hour, minute int) {
		o.move(time.Date(2026, 11, day, hour, minute, 0, 0, beijing).Sub(o.now()))
		o.settleDown()
	}
	o.Collect.AmountLimit = price // every ride is collected at once
	at(21, 22, 58)
	o.ridesByToken(v, "ann")
	made := func() string {
		var all []string
		for _, e := range sim.Book() {
			all = append(all, e.TxnTime)
		}
		return strings.Join(all, " ")
	}
	at(21, 22, 59)
	if got := made(); got != "20261121225900" {
		t.Fatalf("made by 22:59: %q; want the first payment", got)
	}
	o.ridesByToken(v, "ben")
	at(21, 23, 1)
	if got := made(); got != "20261121225900 20261121230100" {
		t.Fatalf("made by 23:01: %q; want both", got)
	}
	for _, minute := range []int{2, 5, 10, 20} {
		at(21, 23, minute) // they are asked about
	}
	if n := o.count(`SELECT count(*) FROM charges WHERE tenant_id = 1001 AND state = 'succeeded' AND business_date = '2026-11-21'`); n != 2 {
		t.Fatalf("%d charges of one business date succeeded; want both", n)
	}
	// cleared gives of each matched payment the day of the file that has it.
	cleared := func() string {
		days := ""
		for _, row := range o.audit.Rows(0, `SELECT c.mark || ' ' || i.day || ' ' || i.kind || ' ' || i.state FROM recon_items AS i
			JOIN charges AS c ON c.tenant_id = i.tenant_id AND c.charge_id = i.charge_id WHERE i.tenant_id = 1001 ORDER BY 1`) {
			days += row[0].(string) + "; "
		}
		return days
	}
	at(22, 0, 59)
	if got := cleared(); got != "" {
		t.Errorf("before the first file is ready: %s", got)
	}
	at(22, 1, 30)
	at(22, 12, 0)
	if got := cleared(); got != "20261121225900 2026-11-21 matched matched; " {
		t.Errorf("after the first file: %s", got)
	}
	at(23, 1, 30)
	at(23, 12, 0)
	if got := cleared(); got != "20261121225900 2026-11-21 matched matched; 20261121230100 2026-11-22 matched matched; " {
		t.Errorf("after the second file: %s", got)
	}
	bills := list[edge.Bill](o, "bills")
	if len(bills) != 2 || bills[0].Day != "2026-11-21" || bills[0].Rows != 1 || bills[1].Day != "2026-11-22" || bills[1].Rows != 1 {
		t.Errorf("bills: %+v", bills)
	}
	o.until("paid out", func() bool {
		var paid int64
		for _, p := range list[edge.Payout](o, "payouts") {
			paid += p.Amount.Minor
		}
		return paid == 2*(price-3)
	})
	if past := list[edge.ReconPast](o, "reconciliation-history"); len(past) != 0 {
		t.Errorf("history: %+v", past)
	}
	o.booksHold()
}

// Three riders of a bus pay by UnionPay tokens, over HTTP and with certificates. The
// gateway is away at first, so what is made is made long after it was to be. One
// debit's answer is lost and its outcome asked for under the same number and second;
// one is told of by the platform; one rider has no money. A fare is given back. The
// platform's book has each once, its files of fixed width agree, and the operator is
// paid out.
func TestRidesAreCollectedByUnionPay(t *testing.T) {
	o := open(t)
	o.onboard()
	server := o.reachable()
	sim, config, _ := o.unionpay()
	sim.Close() // what is tried now is made hours later
	v := o.validator()
	for _, device := range []string{"ann", "ben", "cay"} {
		o.ridesByToken(v, device)
	}
	o.until("tried", func() bool {
		return o.count(`SELECT count(*) FROM charges WHERE tenant_id = 1001 AND attempts > 0 AND state = 'created'`) == 3
	})
	sim, err := unionpaysim.Start(config)
	o.must(err)
	t.Cleanup(sim.Close)
	sim.SetInsufficient("tokencay")
	sim.ArmNext(unionpaysim.ArmLose)
	sim.ArmNext(unionpaysim.ArmUnsure)
	o.until("sent", func() bool { return len(sim.Book()) == 3 })
	address := o.notifyAddress("union")
	if !strings.HasPrefix(address, server.URL+"/v1/notify/unionpay/") {
		t.Fatalf("the address is %q", address)
	}
	if n := sim.Deliver(t.Context(), http.DefaultClient, unionpaysim.ArmForge); n != 0 {
		t.Errorf("%d forged notifications were taken", n)
	}
	for range 3 {
		o.move(10 * time.Minute)
		o.settleDown()
	}
	if n := len(o.succeeded()); n != 2 {
		t.Fatalf("%d charges are known to be made half an hour later; want both, by asking: no bill has come yet", n)
	}
	o.booksHold()

	charges := o.succeeded()
	for _, e := range sim.Book() {
		i := slices.IndexFunc(charges, func(c edge.Charge) bool { return c.OurID == e.OrderID })
		if e.Made != (i >= 0) {
			t.Errorf("the platform has %+v, we have it collected: %t", e, i >= 0)
		}
		if e.Amount.Minor != price {
			t.Errorf("an order of %s", e.Amount)
		}
	}
	unknown := int(o.count(`SELECT count(*) FROM charges WHERE tenant_id = 1001 AND ever_unknown AND state = 'succeeded' AND mark ~ '^[0-9]{14}$'`))
	if unknown != 2 {
		t.Errorf("%d of the collected charges were unknown before; want both", unknown)
	}

	journeys := list[edge.Journey](o, "journeys")
	given := slices.IndexFunc(journeys, func(j edge.Journey) bool { return j.Fare != nil && j.Fare.Minor == price })
	o.send(http.MethodPost, busPath("journeys/"+journeys[given].ID+"/refunds"), edge.RefundJourney{Kind: "goodwill", Goodwill: 50, Name: "late", Reason: "late bus"}, nil)
	o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) > 0 })
	back := sim.Book()[len(sim.Book())-1]
	if refunds := list[edge.Refund](o, "refunds?state=succeeded"); len(refunds) != 1 || back.Kind != "04" || !back.Made || back.Amount.Minor != 50 {
		t.Errorf("refunds %+v; the platform's last order is %+v", refunds, back)
	}
	if items := list[edge.ReconItem](o, "reconciliation"); len(items) != 0 {
		t.Errorf("open reconciliation items: %+v", items)
	}
	if debts := list[edge.Debt](o, "debts?state=open"); len(debts) != 1 {
		t.Errorf("debts %+v; want the rider's who has no money", debts)
	}
	o.booksHold()
	o.noSecretIsOut()
}

func TestBadUnionPayContractIsRefusedByTheFieldsName(t *testing.T) {
	o := open(t)
	o.onboard()
	o.reachable()
	_, _, good := o.unionpay()
	raw, err := json.Marshal(good)
	o.must(err)
	if _, err := o.provider(t.Context(), bus, collect.Contract{Name: "union", Adapter: "unionpay", Config: raw}); err != nil {
		t.Fatalf("a good contract: %v", err)
	}
	for names, change := range map[string]func(*unionpayproduct.Contract){
		"certificate":     func(c *unionpayproduct.Contract) { c.Certificate = []byte("x") },
		"roots[0]":        func(c *unionpayproduct.Contract) { c.Roots = [][]byte{{1}} },
		"roots":           func(c *unionpayproduct.Contract) { c.Roots = nil },
		"token_requestor": func(c *unionpayproduct.Contract) { c.TokenRequestor = "" },
		"collect":         func(c *unionpayproduct.Contract) { c.Collect = "cash" },
		"signer": func(c *unionpayproduct.Contract) {
			other, err := rsa.GenerateKey(rand.Reader, 2048)
			o.must(err)
			a, err := unionpaysim.Certify(&other.PublicKey, "valley", o.now().Add(-time.Hour))
			o.must(err)
			c.Certificate = a.Leaf.Raw
		},
	} {
		c := good
		change(&c)
		raw, err := json.Marshal(c)
		o.must(err)
		o.providers.forget(bus, "union")
		if _, err := o.provider(t.Context(), bus, collect.Contract{Name: "union", Adapter: "unionpay", Config: raw}); !errors.Is(err, unionpay.ErrConfig) || !strings.Contains(err.Error(), names) {
			t.Errorf("%v; want %s named", err, names)
		}
	}
}
