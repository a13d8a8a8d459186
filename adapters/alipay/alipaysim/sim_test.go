package alipaysim_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
)

const app = "2021000000000001"

// A client signs as a merchant does, with nothing of the adapter's.
type client struct {
	t   *testing.T
	key *rsa.PrivateKey
	sim *alipaysim.Server
	now atomic.Int64 // unix seconds of the one clock
}

func newClient(t *testing.T, change func(*alipaysim.Config)) *client {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, key: key}
	c.now.Store(time.Date(2026, 3, 2, 6, 30, 0, 0, time.UTC).Unix())
	config := alipaysim.Config{
		Clock: c.clock, Key: key, FindOffline: true,
		Merchants: []alipaysim.Merchant{{AppID: app, Account: "2088", Key: &key.PublicKey, FeePPM: 6000}},
	}
	if change != nil {
		change(&config)
	}
	if c.sim, err = alipaysim.Start(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.sim.Close)
	return c
}

func (c *client) clock() time.Time { return time.Unix(c.now.Load(), 0) }

// params are those of one call, signed.
func (c *client) params(method, biz string) map[string]string {
	c.t.Helper()
	p := map[string]string{
		"app_id": app, "method": method, "charset": "utf-8", "sign_type": "RSA2", "version": "1.0", "format": "JSON",
		"timestamp":   c.clock().In(time.FixedZone("", 8*3600)).Format(time.DateTime),
		"biz_content": biz,
	}
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(p)) {
		pairs = append(pairs, k+"="+p[k])
	}
	digest := sha256.Sum256([]byte(strings.Join(pairs, "&")))
	sig, err := rsa.SignPKCS1v15(nil, c.key, crypto.SHA256, digest[:])
	if err != nil {
		c.t.Fatal(err)
	}
	p["sign"] = base64.StdEncoding.EncodeToString(sig)
	return p
}

// post sends params and gives the node and the answer's text.
func (c *client) post(p map[string]string) (node map[string]any, text string) {
	c.t.Helper()
	form := url.Values{}
	for k, v := range p {
		form.Set(k, v)
	}
	resp, err := http.PostForm(c.sim.URL(), form)
	if err != nil {
		return nil, ""
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		c.t.Fatalf("%s: %v", raw, err)
	}
	for k, v := range all {
		if strings.HasSuffix(k, "_response") {
			if err := json.Unmarshal(v, &node); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	return node, string(raw)
}

func (c *client) call(method, biz string) map[string]any {
	c.t.Helper()
	node, _ := c.post(c.params(method, biz))
	return node
}

const settle = "alipay.commerce.transport.offlinepay.trade.settle"

func order(no, amount, user string) string {
	return `{"trade_list":[{"out_trade_no":"` + no + `","amount":"` + amount + `","actual_order_time":"2026-03-02 14:00:00","user_id":"` + user + `"}]}`
}

func (c *client) result(no, amount, user string) map[string]any {
	c.t.Helper()
	list := c.call(settle, order(no, amount, user))["result_list"].([]any)
	return list[0].(map[string]any)
}

// Nothing moves for a request of which a single part was changed.
func TestChangedRequestsAreRefused(t *testing.T) {
	c := newClient(t, nil)
	for name, change := range map[string]func(map[string]string){
		"biz_content":  func(p map[string]string) { p["biz_content"] = order("a", "9.00", "u") },
		"timestamp":    func(p map[string]string) { p["timestamp"] = "2026-03-02 14:31:00" },
		"sign_type":    func(p map[string]string) { p["sign_type"] = "RSA" },
		"one more":     func(p map[string]string) { p["notify_url"] = "http://elsewhere" },
		"one less":     func(p map[string]string) { delete(p, "format") },
		"no signature": func(p map[string]string) { delete(p, "sign") },
		"application":  func(p map[string]string) { p["app_id"] = "2021000000000009" },
	} {
		p := c.params(settle, order("a", "1.00", "u"))
		change(p)
		node, text := c.post(p)
		if sub, _ := node["sub_code"].(string); node["code"] == "10000" || !strings.HasPrefix(sub, "isv.") {
			t.Errorf("%s: %s; want a refusal of the gateway", name, text)
		}
		if unsigned := !strings.Contains(text, `"sign"`); unsigned != (name == "application") {
			t.Errorf("%s: unsigned is %t: only an unknown application cannot be answered under a key", name, unsigned)
		}
	}
	p := c.params(settle, order("a", "1.00", "u"))
	c.now.Add(11 * 60)
	if node, text := c.post(p); node["sub_code"] != "isv.invalid-timestamp" {
		t.Errorf("an old request: %s", text)
	}
	if book := c.sim.Book(); len(book) != 0 {
		t.Errorf("the book has %v; want nothing", book)
	}
}

func TestOneNumberIsOneOrder(t *testing.T) {
	c := newClient(t, nil)
	first := c.result("a", "1.00", "u")
	if again := c.result("a", "1.00", "u"); first["result"] != "SUCCESS" || !maps.Equal(first, again) {
		t.Errorf("the same again: %v, then %v", first, again)
	}
	if other := c.result("a", "1.01", "u"); other["result"] != "FAIL" || other["error_code"] != "ACQ.CONTEXT_INCONSISTENT" {
		t.Errorf("other content: %v", other)
	}
	if book := c.sim.Book(); len(book) != 1 || book[0].Amount.Minor != 100 || book[0].Fee != 1 {
		t.Errorf("the book has %v", book)
	}
}

// A decline is final for its number: money that comes later pays a new order.
func TestDeclineStaysDeclined(t *testing.T) {
	c := newClient(t, nil)
	c.sim.SetInsufficient("u", c.clock().Add(time.Hour))
	for range 2 {
		if r := c.result("a", "1.00", "u"); r["result"] != "FAIL" || r["need_retry"] != false {
			t.Errorf("without money: %v", r)
		}
		c.now.Add(2 * 3600)
	}
	if r := c.result("b", "1.00", "u"); r["result"] != "SUCCESS" {
		t.Errorf("with money again: %v", r)
	}
}

func TestOutageActsOnNothing(t *testing.T) {
	c := newClient(t, nil)
	c.sim.SetOutage(c.clock(), c.clock().Add(time.Hour))
	if node := c.call(settle, order("a", "1.00", "u")); node != nil {
		t.Errorf("an answer during the outage: %v", node)
	}
	c.now.Add(3600)
	if len(c.sim.Book()) != 0 {
		t.Error("the platform acted during its outage")
	}
	if r := c.result("a", "1.00", "u"); r["result"] != "SUCCESS" {
		t.Errorf("after the outage: %v", r)
	}
}

// Whether trade.query finds an offlinepay order is the platform's secret; the
// refund methods know it either way.
func TestQueryMayNotFindOfflineOrders(t *testing.T) {
	for _, finds := range []bool{true, false} {
		c := newClient(t, func(config *alipaysim.Config) { config.FindOffline = finds })
		c.result("a", "1.00", "u")
		if got := c.call("alipay.trade.query", `{"out_trade_no":"a"}`); (got["trade_status"] == "TRADE_SUCCESS") != finds || (got["sub_code"] == "ACQ.TRADE_NOT_EXIST") == finds {
			t.Errorf("finds %t: %v", finds, got)
		}
		first := c.call("alipay.trade.refund", `{"out_trade_no":"a","refund_amount":"0.40","out_request_no":"r1"}`)
		again := c.call("alipay.trade.refund", `{"out_trade_no":"a","refund_amount":"0.40","out_request_no":"r1"}`)
		more := c.call("alipay.trade.refund", `{"out_trade_no":"a","refund_amount":"0.61","out_request_no":"r2"}`)
		if first["fund_change"] != "Y" || again["fund_change"] != "N" || again["refund_fee"] != "0.40" || more["sub_code"] != "ACQ.REASON_TRADE_REFUND_FEE_ERR" {
			t.Errorf("refunds: %v, again %v, more than left %v", first, again, more)
		}
		if book := c.sim.Book(); len(book[0].Refunds) != 1 {
			t.Errorf("the book has refunds %v; want one", book[0].Refunds)
		}
	}
}

func TestBillAddressDies(t *testing.T) {
	c := newClient(t, nil)
	c.result("a", "1.00", "u")
	c.now.Add(24 * 3600)
	got := c.call("alipay.data.dataservice.bill.downloadurl.query", `{"bill_type":"trade","bill_date":"2026-03-02"}`)
	address, _ := got["bill_download_url"].(string)
	status := func(address string) int {
		resp, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	c.now.Add(29)
	if got := status(address); got != http.StatusOK {
		t.Errorf("after 29 seconds: %d", got)
	}
	if got := status(strings.Replace(address, "2026-03-02", "2026-03-01", 1)); got != http.StatusNotFound {
		t.Errorf("an address of another day: %d", got)
	}
	c.now.Add(1)
	if got := status(address); got != http.StatusForbidden {
		t.Errorf("after 30 seconds: %d", got)
	}
}
