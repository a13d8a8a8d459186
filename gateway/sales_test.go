package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/terminal"
)

const shop = `{"version":1,"currency":"CNY","products":[
	{"id":"two","name":"Two rides","kind":"ticket","price":701,"rides":2,"sold_by":["rider","operator"],"refund":"rest","begins":"asked"},
	{"id":"purse","kind":"stored_value","price":600,"value":700,"sold_by":["rider"],"refund":"rest"},
	{"id":"day","kind":"pass","price":500,"days":1,"sold_by":["rider"],"keep_days":1},
	{"id":"student","kind":"pass","price":100,"days":1,"sold_by":["rider"],"buyers":["student"]},
	{"id":"staff","kind":"zero_fare","price":0}]}`

// A customer is a rider with a phone, in front of an office.
type customer struct {
	*office
	credential []byte
	device     string
	counter    uint16
}

// openShop opens a city with a catalogue, a provider that does as it is told, and a customer.
func openShop(t *testing.T) (*office, *customer, func(sandbox.Script)) {
	o := open(t)
	change := o.scripted(sandbox.Script{})
	o.onboard()
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(shop)}, nil)
	return o, &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}, change
}

func (c *customer) code() []byte {
	c.counter++
	return c.proof(c.credential, c.device, c.counter)
}

func (c *customer) asks(product, order string) map[string]any {
	return map[string]any{"code": c.code(), "product": product, "order": order}
}

func (c *customer) buys(product, order string) (s edge.Sale) {
	c.t.Helper()
	c.send(http.MethodPost, busPath("rider/purchases"), c.asks(product, order), &s)
	return s
}

func (c *customer) holds() (h edge.Holdings) {
	c.t.Helper()
	c.send(http.MethodPost, busPath("rider/holdings"), edge.ByCode{Code: c.code()}, &h)
	return h
}

// sale gives what became of an order.
func (c *customer) sale(order string) edge.Sale {
	c.t.Helper()
	for _, s := range c.holds().Sales {
		if s.Order == order {
			return s
		}
	}
	c.t.Fatalf("no order %s", order)
	return edge.Sale{}
}

func (c *customer) rides(v *terminal.Verifier) {
	c.t.Helper()
	c.move(time.Minute)
	c.counter++
	if got := c.visit(v, c.credential, c.device, c.counter, 0); got != "" {
		c.t.Fatalf("refused: %s", got)
	}
}

func (c *customer) uploads(v *terminal.Verifier) {
	c.t.Helper()
	c.drain(v)
	c.settleDown()
}

func (c *customer) fares() string {
	c.t.Helper()
	found := c.trips(c.code())
	slices.SortFunc(found, func(a, b edge.Trip) int { return a.StartsAt.Compare(b.StartsAt) })
	var list []string
	for _, f := range found {
		list = append(list, fmt.Sprint(f.Fare.Minor))
	}
	return strings.Join(list, " ")
}

// prepaid gives the sums of the accounts that products move.
func (o *office) prepaid() map[string]int64 {
	sums := map[string]int64{}
	for account, net := range o.balances() {
		for _, prefix := range []string{ledger.PrefixPrepaid, "product_", "sales_fee"} {
			if strings.HasPrefix(account, prefix) && net != 0 {
				sums[prefix] += net
			}
		}
	}
	return sums
}

func wantSums(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// A rider buys a ticket. The provider's answer is lost, the rider asks again, and
// the tap of the meantime arrives late: there is one charge, one ticket, and every
// ride since it was asked for is on it, as far as it goes.
func TestATicketIsBoughtOnce(t *testing.T) {
	o := open(t)
	o.scripted(sandbox.Script{LoseReply: []string{"rider-1"}})
	o.onboard()
	c := &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(shop)}, nil)
	v := o.validator()
	o.move(time.Minute)

	var offers struct{ Items []edge.OfferedProduct }
	o.send(http.MethodPost, busPath("rider/products"), edge.ByCode{Code: c.code()}, &offers)
	if n := len(offers.Items); n != 3 {
		t.Errorf("%d products are offered: %+v", n, offers.Items)
	}
	for product, want := range map[string]string{"student": "sales.not_sold", "staff": "sales.not_sold", "nothing": "sales.not_sold"} {
		if got := o.refused(http.MethodPost, busPath("rider/purchases"), c.asks(product, "x")); got != want {
			t.Errorf("%s: %s", product, got)
		}
	}

	first := c.buys("two", "a")
	again := c.buys("two", "a")
	if first.ID != again.ID || first.State != "asked" {
		t.Errorf("asked twice: %+v and %+v", first, again)
	}
	if got := o.refused(http.MethodPost, busPath("rider/purchases"), c.asks("purse", "a")); got != "sales.other_order" {
		t.Errorf("another product under the same name: %s", got)
	}
	c.rides(v) // while nobody knows whether the money came
	c.uploads(v)
	if got := c.fares(); got != fmt.Sprint(price) && got != "0" {
		t.Errorf("the ride of the meantime: %s", got)
	}
	o.until("held", func() bool { return c.sale("a").State == "held" })
	if got := c.fares(); got != "0" {
		t.Errorf("after the money is certain: %s", got)
	}
	c.rides(v)
	c.rides(v)
	c.uploads(v)
	if got := c.fares(); got != "0 0 450" {
		t.Errorf("fares %s", got)
	}
	charges := list[edge.Charge](o, "charges")
	purchases := slices.DeleteFunc(charges, func(c edge.Charge) bool { return c.Kind != "purchase" })
	if len(purchases) != 1 || purchases[0].State != "succeeded" || purchases[0].Amount.Minor != 701 {
		t.Errorf("charges %+v", purchases)
	}
	o.booksHold()
	wantSums(t, "used up", o.prepaid(), map[string]int64{"product_": -701, "sales_fee": purchases[0].Fee})
	if got := o.refused(http.MethodPost, busPath("rider/refunds"), map[string]any{"code": c.code(), "sale": first.ID}); got != "sales.no_refund" {
		t.Errorf("a refund of a used ticket: %s", got)
	}
	if r := c.holds().Rights; len(r) != 1 || r[0].Used != 2 || r[0].RidesLeft != 0 || r[0].Sale != first.ID {
		t.Errorf("rights %+v", r)
	}
	if got := o.refused(http.MethodDelete, busPath("rights/"+c.holds().Rights[0].ID), nil); got != "rights.bought" {
		t.Errorf("ending what was bought: %s", got)
	}
}

// What is refused, each for its own reason.
func TestWhatIsNotSoldOrGiven(t *testing.T) {
	o := open(t)
	o.scripted(sandbox.Script{Decline: []sandbox.Refusal{{Rider: "rider-1"}}})
	o.onboard()
	c := &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}
	publish := func(from time.Time, doc string) string {
		return o.refused(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{From: from, Catalogue: json.RawMessage(doc)})
	}
	from := o.now().Add(time.Minute)
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{From: from, Catalogue: json.RawMessage(shop)}, nil)
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{From: from, Catalogue: json.RawMessage(shop)}, nil)
	second := strings.Replace(shop, `"version":1`, `"version":2`, 1)
	for want, got := range map[string]string{
		"products.catalogue_exists": publish(from.Add(time.Hour), shop),
		"products.catalogue_date":   publish(from.Add(-time.Second), second),
		"products.bad_catalogue":    publish(from.Add(time.Hour), `{"version":2,"currency":"CNY","products":[{"id":"x"}]}`),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := publish(from.Add(time.Hour), strings.Replace(second, "CNY", "EUR", 1)); got != "products.catalogue_date" {
		t.Errorf("in another currency: %s", got)
	}
	v := o.validator()
	o.move(2 * time.Minute)
	c.rides(v)
	c.uploads(v)
	rider := list[edge.Journey](o, "journeys")[0].Rider
	give := func(r edge.GiveRight) string {
		r.Rider = rider
		return o.refused(http.MethodPost, busPath("rights"), r)
	}
	for name, r := range map[string]edge.GiveRight{
		"money": {Product: "purse"}, "nothing": {}, "no product": {Product: "none"}, "no proof": {Category: "student"}, "the past": {Product: "staff", From: o.now().Add(-time.Hour)},
	} {
		if got := give(r); got != "rights.not_given" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := o.refused(http.MethodDelete, busPath("rights/rgt_019aa5e1-0000-7000-8000-000000000001"), nil); got != "rights.not_found" {
		t.Errorf("ending nothing: %s", got)
	}
	if got := o.refused(http.MethodGet, busPath("sales/sal_019aa5e1-0000-7000-8000-000000000001"), nil); got != "sales.not_found" {
		t.Errorf("a sale that is not there: %s", got)
	}
	order := map[string]any{"rider": "99/0/1", "product": "two", "order": "o"}
	if got := o.refused(http.MethodPost, busPath("sales"), order); got != "sales.no_account" {
		t.Errorf("another tenant's rider: %s", got)
	}
	o.until("in debt", func() bool { return len(list[edge.Debt](o, "debts?state=open")) == 1 })
	order["rider"] = rider
	if got := o.refused(http.MethodPost, busPath("sales"), order); got != "sales.in_debt" {
		t.Errorf("with a debt: %s", got)
	}
	var given edge.Given
	o.send(http.MethodPost, busPath("rights"), edge.GiveRight{Rider: rider, Product: "staff", Evidence: "roster 7"}, &given)
	c.rides(v)
	o.move(time.Minute)
	o.call(http.MethodDelete, busPath("rights/"+given.ID), "", nil)
	c.rides(v)
	c.uploads(v)
	if got := c.fares(); got != "450 0 450" {
		t.Errorf("fares %s", got)
	}
	o.booksHold()
}

// Stored value is used before other money, first what was paid for, then what was
// given on top. The rest goes back to the provider, and a tap that comes in late
// finds no more of it than was used when that was decided.
func TestStoredValueAndItsRest(t *testing.T) {
	o := open(t)
	o.scripted(sandbox.Script{})
	o.onboard()
	c := &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(shop)}, nil)
	v := o.validator()
	o.move(time.Minute)
	sale := c.buys("purse", "p")
	o.settleDown()
	if got := c.sale("p").State; got != "held" {
		t.Fatalf("the purse is %s", got)
	}
	c.rides(v) // 450 of 700
	c.uploads(v)
	wantSums(t, "one ride", o.prepaid(), map[string]int64{"prepaid:": -150, "product_": -450, "sales_fee": 4})
	c.rides(v) // held up in the validator: it would use the rest
	o.move(time.Minute)
	var back edge.Sale
	o.send(http.MethodPost, busPath("rider/refunds"), map[string]any{"code": c.code(), "sale": sale.ID}, &back)
	if back.Refund == nil || back.Refund.Minor != 150 || back.State != "refunding" {
		t.Errorf("given back: %+v", back)
	}
	o.send(http.MethodPost, busPath("sales/"+sale.ID+"/refund"), map[string]any{"reason": "asked again"}, &back)
	if back.Refund.Minor != 150 {
		t.Errorf("given back again: %+v", back)
	}
	c.uploads(v)
	c.rides(v)
	c.uploads(v)
	if got := c.fares(); got != "0 450 450" {
		t.Errorf("fares %s", got)
	}
	o.until("refunded", func() bool { return c.sale("p").State == "refunded" })
	o.booksHold()
	wantSums(t, "in the end", o.prepaid(), map[string]int64{"product_": -450, "sales_fee": 4})
}

// A pass that nobody rode on is given back, and carries no ride of before that is
// uploaded only now.
func TestAReturnedPassCarriesNoLateTap(t *testing.T) {
	o := open(t)
	o.scripted(sandbox.Script{})
	o.onboard()
	c := &customer{office: o, credential: o.credential("phone"), device: "phone", counter: 10}
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(shop)}, nil)
	v := o.validator()
	o.move(time.Minute)
	sale := c.buys("day", "d")
	o.settleDown()
	c.rides(v)
	o.move(time.Minute)
	var back edge.Sale
	o.send(http.MethodPost, busPath("rider/refunds"), map[string]any{"code": c.code(), "sale": sale.ID}, &back)
	if back.Refund == nil || back.Refund.Minor != 500 {
		t.Fatalf("%+v", back)
	}
	c.uploads(v)
	if got := c.fares(); got != fmt.Sprint(price) {
		t.Errorf("fares %s, want %d", got, price)
	}
	o.booksHold()
}

// A pass that is over leaves what its rides have not used up to the seller, and a
// declined purchase leaves nothing: no product, no debt, no denial.
func TestAPassEndsAndADeclineLeavesNothing(t *testing.T) {
	o, c, change := openShop(t)
	v := o.validator()
	o.move(time.Minute)
	c.buys("day", "d")
	o.settleDown()
	c.rides(v)
	c.uploads(v)
	if got := c.fares(); got != "0" {
		t.Errorf("fares %s", got)
	}
	change(sandbox.Script{Decline: []sandbox.Refusal{{Rider: "rider-1"}}})
	c.buys("two", "no")
	o.settleDown()
	if got := c.sale("no").State; got != "declined" {
		t.Errorf("the declined purchase is %s", got)
	}
	o.until("closed", func() bool { return len(list[edge.Sale](o, "sales?state=closed")) == 1 })
	o.booksHold()
	o.move(40 * time.Hour)
	o.settleDown()
	o.booksHold()
	// What the ride earned was paid with its window, the rest is the seller's.
	wantSums(t, "over", o.prepaid(), map[string]int64{"product_": -50, "sales_fee": 3})
	var paid []int64
	for _, p := range list[edge.Payout](o, "payouts") {
		paid = append(paid, p.Amount.Minor)
	}
	if fmt.Sprint(paid) != "[450]" || o.net(bus)["payable"] != 0 {
		t.Errorf("paid out %v, still payable %d", paid, o.net(bus)["payable"])
	}
	if n := len(list[edge.Debt](o, "debts")); n != 0 {
		t.Errorf("%d debts", n)
	}
	if n := o.audit.Count(0, `SELECT count(*) FROM deny_entries WHERE tenant_id = $1`, bus); n != 0 {
		t.Errorf("%d denials", n)
	}
}
