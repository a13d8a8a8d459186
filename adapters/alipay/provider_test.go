package alipay_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// scripted is a contract with a platform that answers every call with text,
// signed as sign says.
func scripted(t *testing.T, node, text string, sign func(raw string) string, changes ...func(*alipay.Config)) *alipay.Provider {
	t.Helper()
	keys(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"` + node + `":` + text + sign(text) + `}`))
	}))
	t.Cleanup(server.Close)
	config := alipay.Config{
		Gateway: server.URL, AppID: appID, Account: account, Signer: merchantKey,
		PlatformKeys: []*rsa.PublicKey{&otherKey.PublicKey, &platformKey.PublicKey}, HTTP: server.Client(),
		Clock: func() time.Time { return start },
	}
	for _, change := range changes {
		change(&config)
	}
	p, err := alipay.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func signature(key *rsa.PrivateKey, text string) string {
	digest := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return `,"sign":"` + base64.StdEncoding.EncodeToString(sig) + `"`
}

func signed(text string) string { return signature(platformKey, text) }

const settleNode = "alipay_commerce_transport_offlinepay_trade_settle_response"

func plainDebit(id string, fen int64) driver.Debit {
	return driver.Debit{
		OurID: id, RiderRef: "2088000000000099", Amount: citygate.Money{Minor: fen, Currency: "CNY"},
		TripTime: start, Evidence: [][]byte{{0x7d, 1}},
	}
}

// An answer is believed only when the platform's signature holds over the
// bytes that came; nothing else may ever become a decline or a success.
func TestUnprovenAnswersAreUnknown(t *testing.T) {
	const fail = `{"code":"10000","msg":"Success","result_list":[{"out_trade_no":"a","result":"FAIL","need_retry":false}]}`
	const success = `{"code":"10000","msg":"Success","result_list":[{"out_trade_no":"a","result":"SUCCESS","trade_no":"1"}]}`
	const refused = `{"code":"40002","msg":"no","sub_code":"isv.invalid-signature"}`
	none := func(string) string { return "" }
	own := func(text string) string { return signature(merchantKey, text) }
	spaced := func(text string) string { return signed(text + " ") }
	for name, c := range map[string]struct {
		node, text string
		sign       func(string) string
	}{
		"unsigned fail":           {settleNode, fail, none},
		"unsigned success":        {settleNode, success, none},
		"signed by us":            {settleNode, success, own},
		"signature of other text": {settleNode, fail, spaced},
		"unsigned error":          {"error_response", refused, none},
		"badly signed error":      {"error_response", refused, spaced},
		"error that says success": {"error_response", success, signed},
		"another method's node":   {"alipay_trade_query_response", success, signed},
		"two nodes":               {"error_response", refused + `,"` + settleNode + `":` + success, func(string) string { return signed(success) }},
		"the node twice":          {settleNode, fail + `,"` + settleNode + `":` + success, func(string) string { return signed(success) }},
		"something behind it":     {settleNode, success, func(text string) string { return signed(text) + `}{"x":1` }},
		"not UTF-8":               {settleNode, strings.Replace(success, "Success", "\xb3\xc9", 1), signed},
		"code 20000":              {settleNode, `{"code":"20000","msg":"Service Currently Unavailable","sub_code":"isp.unknow-error"}`, signed},
		"business system error":   {settleNode, `{"code":"40004","msg":"Business Failed","sub_code":"ACQ.SYSTEM_ERROR"}`, signed},
		"a refusal nobody knows":  {settleNode, `{"code":"40004","msg":"Business Failed","sub_code":"ACQ.SOMETHING_NEW"}`, signed},
		"a code nobody knows":     {settleNode, `{"code":"50001","sub_code":"isv.invalid-signature"}`, signed},
		"no code":                 {settleNode, `{"result_list":[{"out_trade_no":"a","result":"FAIL","need_retry":false}]}`, signed},
		"a list that is no list":  {settleNode, `{"code":"10000","result_list":{}}`, signed},
	} {
		t.Run(name, func(t *testing.T) {
			results, err := scripted(t, c.node, c.text, c.sign).Submit(t.Context(), []driver.Debit{plainDebit("a", 100)})
			if err == nil {
				t.Fatalf("Submit = %+v; want an error", results)
			}
			if errors.Is(err, driver.ErrNotPerformed) {
				t.Errorf("Submit says that nothing happened, which nobody can know: %v", err)
			}
		})
	}
}

// A signed refusal by the gateway itself is certain: the business never saw it.
func TestSignedGatewayRefusalIsNotPerformed(t *testing.T) {
	for _, node := range []string{settleNode, "error_response"} {
		p := scripted(t, node, `{"code":"40002","msg":"Invalid Arguments","sub_code":"isv.invalid-signature"}`, signed)
		if _, err := p.Submit(t.Context(), []driver.Debit{plainDebit("a", 100)}); !errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("%s: %v; want ErrNotPerformed", node, err)
		}
	}
}

// Every item has its own outcome, and only a FAIL without a further try is a no.
func TestEachItemHasItsOwnOutcome(t *testing.T) {
	item := func(fields string) string {
		return `{"code":"10000","result_list":[{"out_trade_no":"other","result":"SUCCESS"},{"out_trade_no":"a",` + fields + `}]}`
	}
	for _, c := range []struct {
		fields string
		want   driver.Outcome
		retry  string
	}{
		{`"result":"SUCCESS","trade_no":"1"`, driver.Succeeded, ""},
		{`"result":"FAIL","need_retry":false,"error_code":"ACQ.BUYER_BALANCE_NOT_ENOUGH"`, driver.Declined, ""},
		{`"result":"FAIL","need_retry":false`, driver.Declined, ""},
		{`"result":"FAIL"`, driver.Unknown, ""},
		{`"result":"FAIL","need_retry":true,"next_try_time":"2026-03-02 15:00:00"`, driver.Unknown, "2026-03-02T07:00:00Z"},
		{`"result":"UNKNOWN","need_retry":false`, driver.Unknown, ""},
		{`"result":"UNKNOWN","need_retry":true,"next_try_time":"soon"`, driver.Unknown, ""},
		{`"result":"FAIL","need_retry":false,"error_code":"ACQ.CONTEXT_INCONSISTENT"`, driver.Unknown, ""},
		{`"result":"FAIL","need_retry":false,"error_code":"ACQ.TRADE_HAS_SUCCESS"`, driver.Unknown, ""},
		{`"result":"success"`, driver.Unknown, ""},
		{`"result":"SUCCESS"},{"out_trade_no":"a","result":"FAIL","need_retry":false`, driver.Unknown, ""},
		{`"result":"SUCCESS","trade_no":"1"},{"out_trade_no":"a","result":"SUCCESS","trade_no":"1"`, driver.Succeeded, ""},
	} {
		results, err := scripted(t, settleNode, item(c.fields), signed).Submit(t.Context(), []driver.Debit{plainDebit("a", 100), plainDebit("missing", 100)})
		if err != nil || len(results) != 2 {
			t.Fatalf("%s: %v, %v", c.fields, results, err)
		}
		if results[0].Outcome != c.want {
			t.Errorf("%s = %q; want %q", c.fields, results[0].Outcome, c.want)
		}
		if got := results[0].RetryAt; (!got.IsZero() || c.retry != "") && got.Format(time.RFC3339) != c.retry {
			t.Errorf("%s: retry at %s; want %s", c.fields, got, c.retry)
		}
		if results[1].OurID != "missing" || results[1].Outcome != driver.Unknown {
			t.Errorf("an item without a result = %+v; want unknown", results[1])
		}
	}
}

func TestQueryReadsTheTradesOwnFacts(t *testing.T) {
	const node = "alipay_trade_query_response"
	answer := func(fields string) string {
		return `{"code":"10000","out_trade_no":"a","trade_no":"1","total_amount":"1.00",` + fields + `}`
	}
	for name, c := range map[string]struct {
		text string
		want driver.Outcome
		fail bool
	}{
		"paid":                  {answer(`"trade_status":"TRADE_SUCCESS"`), driver.Succeeded, false},
		"finished":              {answer(`"trade_status":"TRADE_FINISHED"`), driver.Succeeded, false},
		"waiting":               {answer(`"trade_status":"WAIT_BUYER_PAY"`), driver.Accepted, false},
		"code waiting":          {`{"code":"10003"}`, driver.Accepted, false},
		"closed after payment":  {answer(`"trade_status":"TRADE_CLOSED","send_pay_date":"2026-03-02 14:30:00"`), driver.Succeeded, false},
		"closed, never paid":    {answer(`"trade_status":"TRADE_CLOSED","buyer_pay_amount":"0.00"`), driver.Declined, false},
		"closed, partly paid":   {answer(`"trade_status":"TRADE_CLOSED","buyer_pay_amount":"0.50"`), driver.Unknown, true},
		"closed, nobody says":   {answer(`"trade_status":"TRADE_CLOSED"`), driver.Unknown, true},
		"unheard of":            {answer(`"trade_status":"TRADE_PENDING"`), driver.Unknown, true},
		"of another order":      {`{"code":"10000","out_trade_no":"b","total_amount":"1.00","trade_status":"TRADE_SUCCESS"}`, driver.Unknown, true},
		"of another amount":     {`{"code":"10000","out_trade_no":"a","total_amount":"1.01","trade_status":"TRADE_SUCCESS"}`, driver.Unknown, true},
		"not found":             {`{"code":"40004","sub_code":"ACQ.TRADE_NOT_EXIST"}`, driver.Absent, false},
		"system error":          {`{"code":"40004","sub_code":"ACQ.SYSTEM_ERROR"}`, driver.Unknown, true},
		"not found by its luck": {`{"code":"20000","sub_code":"ACQ.TRADE_NOT_EXIST"}`, driver.Unknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := scripted(t, node, c.text, signed).Query(t.Context(), ref(plainDebit("a", 100)))
			if (err != nil) != c.fail || (err == nil && r.Outcome != c.want) {
				t.Errorf("Query = %q, %v; want %q, error %t", r.Outcome, err, c.want, c.fail)
			}
		})
	}
}

// A yes to a payment that is made later, if at all, is no payment; nor is one of
// another order or amount, or under a status that is not 200.
func TestPayReadsWhatTheYesIsTo(t *testing.T) {
	const node = "alipay_trade_pay_response"
	answer := func(fields string) string {
		return `{"code":"10000","trade_no":"1",` + fields + `}`
	}
	mine := `"out_trade_no":"a","total_amount":"1.00"`
	for name, c := range map[string]struct {
		text   string
		status int
		want   driver.Outcome
		fail   bool
	}{
		"paid":                     {answer(mine), 200, driver.Succeeded, false},
		"paid at once":             {answer(mine + `,"async_payment_mode":"SYNC_DIRECT_PAYMENT"`), 200, driver.Succeeded, false},
		"to be paid in the night":  {answer(mine + `,"async_payment_mode":"NORMAL_ASYNC_PAYMENT"`), 200, driver.Accepted, false},
		"delayed":                  {answer(mine + `,"async_payment_mode":"ASYNC_DELAY_PAYMENT"`), 200, driver.Accepted, false},
		"another order":            {answer(`"out_trade_no":"b","total_amount":"1.00"`), 200, driver.Unknown, true},
		"another amount":           {answer(`"out_trade_no":"a","total_amount":"10.00"`), 200, driver.Unknown, true},
		"no amount":                {answer(`"out_trade_no":"a"`), 200, driver.Unknown, true},
		"HTTP 500, and it is yes":  {answer(mine), 500, driver.Unknown, true},
		"HTTP 403, and it is a no": {`{"code":"40004","sub_code":"ACQ.BUYER_BALANCE_NOT_ENOUGH"}`, 403, driver.Unknown, true},
	} {
		p := scripted(t, node, c.text, signed, func(config *alipay.Config) {
			config.Collect = alipay.Withholding
			inner := config.HTTP
			config.HTTP = doer(func(r *http.Request) (*http.Response, error) {
				resp, err := inner.Do(r)
				if err == nil {
					resp.StatusCode = c.status
				}
				return resp, err
			})
		})
		r, err := one(t, p, plainDebit("a", 100))
		if (err != nil) != c.fail || (err == nil && r.Outcome != c.want) || errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("%s: %q, %v; want %q, error %t", name, r.Outcome, err, c.want, c.fail)
		}
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// fund_change and the cumulative refund_fee: neither alone proves this refund.
func TestRefundIsComparedWithWhatWasGivenBack(t *testing.T) {
	const node = "alipay_trade_refund_response"
	refund := driver.Refund{OurID: "r", Charge: ref(plainDebit("a", 500)), Amount: citygate.Money{Minor: 200, Currency: "CNY"}}
	for name, c := range map[string]struct {
		text string
		want driver.Outcome
		fail bool
	}{
		"moved":            {`{"code":"10000","out_trade_no":"a","fund_change":"Y","refund_fee":"2.00"}`, driver.Succeeded, false},
		"moved, the third": {`{"code":"10000","out_trade_no":"a","fund_change":"Y","refund_fee":"4.50"}`, driver.Succeeded, false},
		"moved too little": {`{"code":"10000","out_trade_no":"a","fund_change":"Y","refund_fee":"1.99"}`, driver.Unknown, true},
		"not by this call": {`{"code":"10000","out_trade_no":"a","fund_change":"N","refund_fee":"4.00"}`, driver.Unknown, true}, // the query that follows gets no answer here
		"another order":    {`{"code":"10000","out_trade_no":"b","fund_change":"Y","refund_fee":"2.00"}`, driver.Unknown, true},
		"more than left":   {`{"code":"40004","sub_code":"ACQ.REASON_TRADE_REFUND_FEE_ERR"}`, driver.Declined, false},
		"other amount":     {`{"code":"40004","sub_code":"ACQ.DISCORDANT_REPEAT_REQUEST"}`, driver.Unknown, true},
		"no such trade":    {`{"code":"40004","sub_code":"ACQ.TRADE_NOT_EXIST"}`, driver.Unknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := scripted(t, node, c.text, signed).Refund(t.Context(), refund)
			if (err != nil) != c.fail || (err == nil && r.Outcome != c.want) {
				t.Errorf("Refund = %q, %v; want %q, error %t", r.Outcome, err, c.want, c.fail)
			}
			if errors.Is(err, driver.ErrNotPerformed) {
				t.Errorf("the refund may have been made: %v", err)
			}
		})
	}
	p := scripted(t, node, `{"code":"40004","sub_code":"ACQ.SELLER_BALANCE_NOT_ENOUGH"}`, signed)
	if _, err := p.Refund(t.Context(), refund); !errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("a merchant without funds: %v; want ErrNotPerformed, the refund can be sent again", err)
	}
}

func TestBadDebitsNeverLeave(t *testing.T) {
	w := newWorld(t, nil)
	hkd := w.debit(t, "a", 100)
	hkd.Amount.Currency = "HKD"
	nobody := w.debit(t, "a", 100)
	nobody.RiderRef = ""
	for name, c := range map[string]struct {
		debits []driver.Debit
		want   error
	}{
		"another currency":      {[]driver.Debit{w.debit(t, "ok", 100), hkd}, driver.ErrCurrencyUnsupported},
		"nothing to pay":        {[]driver.Debit{w.debit(t, "a", 0)}, driver.ErrNotPerformed},
		"a negative amount":     {[]driver.Debit{w.debit(t, "a", -1)}, driver.ErrNotPerformed},
		"more than the maximum": {[]driver.Debit{w.debit(t, "a", 100_000_000_01)}, driver.ErrNotPerformed},
		"an id with a hyphen":   {[]driver.Debit{w.debit(t, "a-b", 100)}, driver.ErrNotPerformed},
		"an id too long":        {[]driver.Debit{w.debit(t, strings.Repeat("a", 65), 100)}, driver.ErrNotPerformed},
		"one id twice":          {[]driver.Debit{w.debit(t, "a", 100), w.debit(t, "a", 100)}, driver.ErrNotPerformed},
		"nobody to pay":         {[]driver.Debit{nobody}, driver.ErrNotPerformed},
		"too many":              {make([]driver.Debit, 51), driver.ErrNotPerformed},
	} {
		if _, err := w.provider.Submit(t.Context(), c.debits); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
	if book := w.sim.Book(); len(book) != 0 {
		t.Errorf("the platform has orders %v; want none", book)
	}
}

func TestForgedAndForeignRecordsAreDeclined(t *testing.T) {
	w := newWorld(t, nil)
	flipped := w.debit(t, "flipped", 100)
	flipped.Evidence[0][150] ^= 1
	none := w.debit(t, "none", 100)
	none.Evidence = nil
	second := w.debit(t, "second", 100)
	second.Evidence = append(second.Evidence, []byte("not a code"))
	results, err := w.provider.Submit(t.Context(), []driver.Debit{w.debit(t, "good", 100), flipped, none, second})
	if err != nil {
		t.Fatal(err)
	}
	want := []driver.Outcome{driver.Succeeded, driver.Declined, driver.Declined, driver.Declined}
	for i, r := range results {
		if r.Outcome != want[i] {
			t.Errorf("%s = %q (%s); want %q", r.OurID, r.Outcome, r.ReasonCode, want[i])
		}
	}
}

// A deny list is all pages or nothing.
func TestFeedsAreComplete(t *testing.T) {
	w := newWorld(t, func(c *alipaysim.Config) { c.KeyList = map[uint32][]byte{0: {2, 1}, 31: {3, 9}} })
	for i := range 2500 {
		w.sim.SetBlacklisted(fmt.Sprintf("2077%012d", i), true)
	}
	riders, err := w.provider.PullDeny(t.Context())
	if err != nil || len(riders) != 2500 {
		t.Errorf("PullDeny gave %d riders, %v; want 2500", len(riders), err)
	}
	list, err := w.provider.PullKeys(t.Context())
	if err != nil || len(list) != 2 || list[1].ID != 31 || list[1].Material[0] != 3 {
		t.Errorf("PullKeys = %v, %v; want keys 0 and 31", list, err)
	}
	w.sim.SetInsufficient("2088000000000099", time.Time{})
	if r, err := w.provider.Submit(t.Context(), []driver.Debit{w.debit(t, "poor", 100)}); err != nil || r[0].Outcome != driver.Declined {
		t.Fatalf("Submit for a rider without money = %v, %v", r, err)
	}
	if riders, err = w.provider.PullDeny(t.Context()); err != nil || len(riders) != 2501 {
		t.Errorf("PullDeny gave %d riders, %v; want the one who owes too", len(riders), err)
	}
	w.sim.TopUp("2088000000000099")
	if riders, err = w.provider.PullDeny(t.Context()); err != nil || len(riders) != 2500 {
		t.Errorf("PullDeny gave %d riders, %v; want the one who paid up gone", len(riders), err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t, nil)
	good := alipay.Config{
		Gateway: w.sim.URL(), AppID: appID, Account: account, Signer: merchantKey,
		PlatformKeys: []*rsa.PublicKey{w.sim.Public()}, HTTP: http.DefaultClient, Clock: w.clock.now,
	}
	if _, err := alipay.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*alipay.Config){
		"no gateway":          func(c *alipay.Config) { c.Gateway = "" },
		"a gateway query":     func(c *alipay.Config) { c.Gateway += "?a=b" },
		"a file":              func(c *alipay.Config) { c.Gateway = "file:///tmp/x" },
		"no app id":           func(c *alipay.Config) { c.AppID = "" },
		"an account of words": func(c *alipay.Config) { c.Account = "harbour" },
		"no signer":           func(c *alipay.Config) { c.Signer = nil },
		"no platform key":     func(c *alipay.Config) { c.PlatformKeys = nil },
		"our own key":         func(c *alipay.Config) { c.PlatformKeys = []*rsa.PublicKey{&merchantKey.PublicKey} },
		"no clock":            func(c *alipay.Config) { c.Clock = nil },
		"an endless batch":    func(c *alipay.Config) { c.BatchMax = 5000 },
		"no quiet time":       func(c *alipay.Config) { c.QuietTime = time.Second },
	} {
		c := good
		change(&c)
		if _, err := alipay.New(c); !errors.Is(err, alipay.ErrConfig) {
			t.Errorf("%s: New = %v; want ErrConfig", name, err)
		}
	}
}
