package alipay_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const restPay = `{"out_trade_no":"rest1","total_amount":"4.70","subject":"M66 公园","product_code":"FACE_TO_FACE_PAYMENT","scene":"bar_code","auth_code":"2812345678901234"}`

// The REST face has the same book as the v2 gateway, and the same tables say what its
// answers mean.
func TestREST(t *testing.T) {
	w := newWorld(t, nil)
	exec := func(op, biz string) (alipay.Standing, string) {
		t.Helper()
		method, err := alipay.MethodOf(op)
		if err != nil {
			t.Fatal(err)
		}
		a, err := w.provider.Exec(t.Context(), method, json.RawMessage(biz))
		if err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		return a.Standing, a.Why
	}
	for _, c := range []struct {
		op, biz string
		want    alipay.Standing
		why     string
	}{
		{"/v3/alipay/trade/pay", restPay, alipay.Done, ""},
		{"v3/alipay/trade/query", `{"out_trade_no":"rest1"}`, alipay.Done, ""},
		{"trade.query", `{"out_trade_no":"rest1"}`, alipay.Done, ""}, // by v2
		{"v3/alipay/trade/query", `{"out_trade_no":"never"}`, alipay.Open, "ACQ.TRADE_NOT_EXIST"},
		{"v3/alipay/trade/refund", `{"out_trade_no":"rest1","refund_amount":"1.00","out_request_no":"b1"}`, alipay.Done, ""},
		{"v3/alipay/trade/refund", `{"out_trade_no":"rest1","refund_amount":"9.00","out_request_no":"b2"}`, alipay.Refused, "ACQ.REASON_TRADE_REFUND_FEE_ERR"},
		{"v3/alipay/trade/fastpay/refund/query", `{"out_trade_no":"rest1","out_request_no":"b1"}`, alipay.Done, ""},
		{"v3/alipay/trade/cancel", `{"out_trade_no":"never"}`, alipay.Open, "ask trade.query"},
		{"v3/alipay/commerce/cityfacilitator/station/query", `{"city_code":"440100"}`, alipay.Done, ""},
		{"v3/alipay/data/dataservice/bill/downloadurl/query", `{"bill_type":"trade","bill_date":"2026-03-02"}`, alipay.Refused, ""},
	} {
		if got, why := exec(c.op, c.biz); got != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%s %s is %q, %q; want %q, %q", c.op, c.biz, got, why, c.want, c.why)
		}
	}
	if _, err := alipay.MethodOf("v3/alipay/commerce/transport/offlinepay/key/query"); err == nil {
		t.Error("offline rides have no path")
	}
}

// One changed byte of a request is refused before anything moves; an answer that is not
// signed, or signed over other bytes, is no answer, whatever its status says.
func TestRESTIsProven(t *testing.T) {
	body := func(old, changed string) func(*http.Request) {
		return func(r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			text = bytes.Replace(text, []byte(old), []byte(changed), 1)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		}
	}
	auth := func(old, changed string) func(*http.Request) {
		return func(r *http.Request) {
			was := r.Header.Get("Authorization")
			if !strings.Contains(was, old) {
				t.Errorf("%q is not in %q", old, was)
			}
			r.Header.Set("Authorization", strings.Replace(was, old, changed, 1))
		}
	}
	for name, change := range map[string]func(*http.Request){
		"amount":    body("4.70", "4.71"),
		"a space":   body("{", "{ "),
		"nonce":     auth("nonce=", "nonce=0"),
		"timestamp": auth("timestamp=1", "timestamp=2"),
		"app":       auth("app_id=2", "app_id=3"),
		"signature": auth(",sign=", ",sign=A"),
		"twice":     auth("app_id=", "app_id=1,app_id="),
		"query":     func(r *http.Request) { r.URL.RawQuery = "a=b" },
		"path":      func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "pay", "cancel", 1) },
		"token":     func(r *http.Request) { r.Header.Set("Alipay-App-Auth-Token", "t") },
		"no header": func(r *http.Request) { r.Header.Del("Authorization") },
	} {
		w := newWorld(t, nil)
		p := w.contract(t, func(c *alipay.Config) {
			c.HTTP = doer(func(r *http.Request) (*http.Response, error) {
				change(r)
				return http.DefaultClient.Do(r)
			})
		})
		a, err := p.Exec(t.Context(), "/v3/alipay/trade/pay", json.RawMessage(restPay))
		if (err == nil && a.Standing != alipay.Refused) || len(w.paid()) != 0 {
			t.Errorf("%s: %+v, %v; paid %v", name, a, err, w.paid())
		}
	}
	for name, arm := range map[string]alipaysim.Arm{"unsigned": alipaysim.ArmUnsigned, "bad": alipaysim.ArmBadSign, "garbled": alipaysim.ArmGarble} {
		w := newWorld(t, nil)
		w.sim.ArmNext(arm)
		if a, err := w.provider.Exec(t.Context(), "/v3/alipay/trade/pay", json.RawMessage(restPay)); err == nil || errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("%s: %+v, %v; want an open outcome", name, a, err)
		}
		if len(w.paid()) != 1 {
			t.Errorf("%s: paid %v", name, w.paid())
		}
	}
}

// A travel code of a card holds for its user while the card is in the wallet and enabled;
// an answer that does not say so leaves it open.
func TestPassIsVerified(t *testing.T) {
	w := newWorld(t, nil)
	exec := func(op, biz string) alipay.Answer {
		t.Helper()
		method, err := alipay.MethodOf(op)
		if err != nil {
			t.Fatal(err)
		}
		a, err := w.provider.Exec(t.Context(), method, json.RawMessage(biz))
		if err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		return a
	}
	const card, pass = `"card_no":"c1","card_type":"T0440100","user_id":"2088000000000099"`, "qrpass.verify.query"
	send := func(disabled string) {
		if a := exec("virtualcard.send", `{"action":"UPDATE","last_update_time":"2026-03-02 14:00:00",`+disabled+card+`}`); a.Standing != alipay.Done {
			t.Fatalf("%+v", a)
		}
	}
	if a := exec(pass, "{"+card+"}"); a.Standing != alipay.Refused || a.Why != "result false" {
		t.Errorf("a card that was never sent: %+v", a)
	}
	send("")
	if a := exec(pass, "{"+card+"}"); a.Method != "alipay.commerce.transport."+pass || a.Standing != alipay.Done || !strings.Contains(string(a.Node), `"result":true`) {
		t.Errorf("%+v %s", a, a.Node)
	}
	for name, biz := range map[string]string{
		"another user": strings.Replace(card, "99", "98", 1), "another type": strings.Replace(card, "T0440100", "T0440300", 1), "another card": strings.Replace(card, "c1", "c2", 1),
	} {
		if a := exec(pass, "{"+biz+"}"); a.Standing != alipay.Refused {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := exec(pass, `{"card_no":"c1"}`); a.Standing != alipay.Refused || !strings.Contains(a.Why, "isv.invalid-parameter") {
		t.Errorf("without a user: %+v", a)
	}
	send(`"disabled":"true","disabled_code":"CARD_OVERDUE",`)
	if a := exec(pass, "{"+card+"}"); a.Standing != alipay.Refused {
		t.Errorf("a disabled card: %+v", a)
	}
}
