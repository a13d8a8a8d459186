package alipay_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const contentKey = "aa4BtZ4tspm2wnXLb1ThQA==" // of 16 bytes

// spied is a client that keeps what it carries, and lets change spoil an answer.
type spied struct {
	request, answer []byte
	change          func([]byte) []byte
}

func (s *spied) Do(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	s.request = []byte(r.URL.RawQuery + "&" + string(body))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	s.answer, err = io.ReadAll(resp.Body)
	if s.change != nil {
		s.answer = s.change(s.answer)
	}
	resp.Body = io.NopCloser(bytes.NewReader(s.answer))
	return resp, err
}

// sealedWorld is a platform that knows the key of a contract's contents.
func sealedWorld(t *testing.T, key string) (*world, *alipay.Provider, *spied) {
	t.Helper()
	w, wire := newWorld(t, func(c *alipaysim.Config) { c.Merchants[0].AESKey = contentKey }), &spied{}
	return w, w.contract(t, func(c *alipay.Config) { c.AESKey, c.HTTP = citygate.NewSecret([]byte(key)), wire }), wire
}

// Contents are encrypted both ways, over either face, and nothing else changes: what is
// settled, asked, refunded and billed is as without a key.
func TestContentsAreEncrypted(t *testing.T) {
	w, p, wire := sealedWorld(t, contentKey)
	d := w.debit(t, "fare_00", 470)
	if r, err := p.Submit(t.Context(), []driver.Debit{d}); err != nil || r[0].Outcome != driver.Succeeded {
		t.Fatalf("%+v, %v", r, err)
	}
	form, err := url.ParseQuery(string(wire.request))
	if err != nil || form.Get("encrypt_type") != "AES" || bytes.Contains(wire.request, []byte("fare_00")) || bytes.Contains(wire.answer, []byte("fare_00")) {
		t.Errorf("on its way: %s; %s", wire.request, wire.answer)
	}
	if raw, err := base64.StdEncoding.DecodeString(form.Get("biz_content")); err != nil || len(raw) == 0 || len(raw)%16 != 0 {
		t.Errorf("the content is no ciphertext: %q", form.Get("biz_content"))
	}
	if r, err := p.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("asked: %+v, %v", r, err)
	}
	if r, err := w.provider.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("in plain, of the same book: %+v, %v", r, err)
	}
	if keys, err := p.PullKeys(t.Context()); err != nil || strings.Contains(string(wire.request), "encrypt_type") {
		t.Errorf("what has no content: %d keys, %v, %s", len(keys), err, wire.request)
	}
	never := ref(w.debit(t, "never", 470))
	if r, err := p.Query(t.Context(), never); err != nil || r.Outcome != driver.Absent || bytes.Contains(wire.answer, []byte("ACQ.")) {
		t.Errorf("a refusal: %+v, %v, %s", r, err, wire.answer)
	}
	for _, c := range []struct {
		op, biz string
		want    alipay.Standing
	}{
		{"/v3/alipay/trade/query", `{"out_trade_no":"fare_00"}`, alipay.Done},
		{"/v3/alipay/trade/query", `{"out_trade_no":"never"}`, alipay.Open},
		{"/v3/alipay/commerce/cityfacilitator/station/query", `{"city_code":"440100"}`, alipay.Done},
	} {
		if a, err := p.Exec(t.Context(), c.op, json.RawMessage(c.biz)); err != nil || a.Standing != c.want || bytes.Contains(wire.request, []byte("out_trade_no")) || bytes.Contains(wire.answer, []byte("TRADE_SUCCESS")) {
			t.Errorf("%s %s: %+v, %v; on its way %s; %s", c.op, c.biz, a, err, wire.request, wire.answer)
		}
	}
	w.clock.set(start.Add(24 * time.Hour))
	if bill, err := p.FetchBill(t.Context(), citygate.DateOf(start)); err != nil {
		t.Error(err)
	} else if lines, err := p.ParseBill(bill); err != nil || len(lines) != 1 {
		t.Errorf("%+v, %v", lines, err)
	}
}

// What cannot be decrypted, or was changed on its way, is no answer: the money has moved
// and nobody here says that it has not.
func TestContentsThatCannotBeRead(t *testing.T) {
	inCipher := func(b []byte) []byte {
		i := bytes.Index(b, []byte(`_response":"`)) + 30
		b = bytes.Clone(b)
		if b[i]++; b[i] > 'y' || b[i] == ':' || b[i] == '[' {
			b[i] = 'a'
		}
		return b
	}
	for name, c := range map[string]struct {
		arm    alipaysim.Arm
		change func([]byte) []byte
	}{
		"encrypted by another key": {arm: alipaysim.ArmOtherKey},
		"a changed ciphertext":     {change: inCipher},
		"a ciphertext unsigned":    {arm: alipaysim.ArmUnsigned},
		"half of it":               {arm: alipaysim.ArmGarble},
	} {
		w, p, wire := sealedWorld(t, contentKey)
		w.sim.ArmNext(c.arm)
		wire.change = c.change
		d := w.debit(t, "fare_00", 470)
		r, err := p.Submit(t.Context(), []driver.Debit{d})
		if err == nil || errors.Is(err, driver.ErrNotPerformed) || len(w.sim.Book()) != 1 || strings.Contains(err.Error(), contentKey) {
			t.Errorf("%s: %+v, %v, %d orders; want an open error about an order that was made", name, r, err, len(w.sim.Book()))
		}
		wire.change = nil
		if r, err := p.Query(t.Context(), ref(d)); err != nil || r.Outcome != driver.Succeeded {
			t.Errorf("%s, asked: %+v, %v", name, r, err)
		}
	}
	// Encrypted by a key that the platform does not have: it cannot read it, and says so in plain.
	w, p, _ := sealedWorld(t, "BBBBtZ4tspm2wnXLb1ThQA==")
	r, err := p.Submit(t.Context(), []driver.Debit{w.debit(t, "fare_00", 470)})
	if open := err != nil && !errors.Is(err, driver.ErrNotPerformed) || err == nil && r[0].Outcome == driver.Unknown; !open || len(w.sim.Book()) != 0 {
		t.Errorf("by another key: %+v, %v; want it open", r, err)
	}
	for _, bad := range []string{"AAAA", "not base64", base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		c := alipay.Config{Gateway: w.sim.URL(), AppID: appID, Account: account, Signer: merchantKey, HTTP: http.DefaultClient, Clock: w.clock.now, AESKey: citygate.NewSecret([]byte(bad))}
		c.PlatformKeys = append(c.PlatformKeys, w.sim.Public())
		if _, err := alipay.New(c); !errors.Is(err, alipay.ErrConfig) || strings.Contains(err.Error(), bad) {
			t.Errorf("the key %q: %v", bad, err)
		}
	}
}
