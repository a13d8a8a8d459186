package wechatpay_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
)

// Merchants of one service provider can share its keys: a notice that opens and is
// signed well may still be about somebody else's money.
func TestNoticesOfAnotherMerchantAreRefused(t *testing.T) {
	for _, product := range []wechatpay.Product{wechatpay.Ride, wechatpay.RideV2} {
		var told []driver.Notification
		const otherID = "1900009999"
		e := listen(t, product, func(s *wechatpaysim.Config, _ *wechatpay.Config) {
			other := s.Merchants[0]
			other.MchID = otherID
			s.Merchants = append(s.Merchants, other)
		})
		e.change = func(n *driver.Notification) { told = append(told, *n) }
		d := e.w.debit("a", 500)
		if _, err := e.w.submit(t, d); err != nil {
			t.Fatal(err)
		}
		if product == wechatpay.Ride {
			if _, err := e.w.provider.(driver.Refunder).Refund(t.Context(), driver.Refund{OurID: "back", Charge: ref(d), Amount: citygate.Money{Minor: 100, Currency: "CNY"}}); err != nil {
				t.Fatal(err)
			}
		}
		e.deliver(t)
		if len(told) == 0 || len(e.heard) != len(told) {
			t.Fatalf("%s: %d told, %d heard", product, len(told), len(e.heard))
		}
		config := e.w.config
		config.MchID = otherID
		other, err := wechatpay.New(config)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range told {
			notice, _, err := other.(driver.Notifier).ParseNotify(t.Context(), n)
			if err == nil || !strings.Contains(err.Error(), "another merchant") || notice.Kind != "" {
				t.Errorf("%s: another merchant's notice is taken for a %q: %v", product, notice.Kind, err)
			}
		}
	}
}

var field = regexp.MustCompile(`<(\w+)>(?:<!\[CDATA\[)?([^<\]]*)(?:\]\]>)?</\w+>`)

// signedAnew is an APIv2 answer with one field changed, under the same key.
func signedAnew(body []byte, name, value string) []byte {
	fields := map[string]string{}
	for _, m := range field.FindAllSubmatch(body, -1) {
		fields[string(m[1])] = string(m[2])
	}
	fields[name] = value
	var pairs []string
	var out bytes.Buffer
	out.WriteString("<xml>")
	for k, v := range fields {
		if k == "sign" {
			continue
		}
		if v != "" {
			pairs = append(pairs, k+"="+v)
		}
		out.WriteString("<" + k + "><![CDATA[" + v + "]]></" + k + ">")
	}
	slices.Sort(pairs)
	sum := hmac.New(sha256.New, []byte(apiV2))
	_, _ = io.WriteString(sum, strings.Join(pairs, "&")+"&key="+apiV2)
	out.WriteString("<sign>" + strings.ToUpper(hex.EncodeToString(sum.Sum(nil))) + "</sign></xml>")
	return out.Bytes()
}

// changing answers with what the platform said but for one field.
type changing struct {
	inner       *http.Client
	name, value string
}

func (c *changing) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.inner.Do(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	body = signedAnew(body, c.name, c.value)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, nil
}

// An APIv2 answer that is signed well and about another merchant or application says
// nothing about the debit.
func TestAnswersAboutAnotherMerchantAreUnknown(t *testing.T) {
	for name, value := range map[string]string{"mch_id": "1900009999", "appid": "wx0000000000000000", "nonce_str": "another"} {
		w := newWorld(t, wechatpay.RideV2, nil)
		config := w.config
		config.HTTP = &changing{w.http.inner, name, value}
		p, err := wechatpay.New(config)
		if err != nil {
			t.Fatal(err)
		}
		w.provider = p
		got, err := w.submit(t, w.debit("a", 250))
		switch {
		case name == "nonce_str": // that it is taken shows that the changed answers are signed well
			if err != nil || got.Outcome == driver.Unknown {
				t.Errorf("an answer with another nonce: %q, %v", got.Outcome, err)
			}
		case err == nil && got.Outcome != driver.Unknown, errors.Is(err, driver.ErrNotPerformed):
			t.Errorf("an answer with another %s is taken: %q, %v", name, got.Outcome, err)
		}
	}
}
