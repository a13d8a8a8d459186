package alipay

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
)

func TestYuanIsExact(t *testing.T) {
	for minor, text := range map[int64]string{
		0: "0.00", 1: "0.01", 10: "0.10", 99: "0.99", 100: "1.00", 1005: "10.05", -1: "-0.01", -1234: "-12.34",
		amountMax: "100000000.00", math.MinInt64: "-92233720368547758.08",
	} {
		if got := yuan(minor); got != text {
			t.Errorf("yuan(%d) = %s; want %s", minor, got, text)
		}
		if minor == math.MinInt64 {
			continue
		}
		if got, err := fen(text); err != nil || got != minor {
			t.Errorf("fen(%s) = %d, %v; want %d", text, got, err, minor)
		}
	}
	for text, minor := range map[string]int64{"5": 500, "5.1": 510, "007.00": 700} {
		if got, err := fen(text); err != nil || got != minor {
			t.Errorf("fen(%s) = %d, %v; want %d", text, got, err, minor)
		}
	}
	for _, text := range []string{"", "-", ".", ".5", "1.", "1.234", "1e3", "+1", "1,000.00", " 1", "１", "0x1", "--1", strings.Repeat("9", 17)} {
		if got, err := fen(text); err == nil {
			t.Errorf("fen(%q) = %d; want an error", text, got)
		}
	}
}

// The string that the platform's own SDKs sign for such a request: sorted by
// name, values as they are, sign_type in, sign out.
func TestCanonicalStringIsThePlatforms(t *testing.T) {
	got := canonical(map[string]string{
		"method": "alipay.trade.query", "app_id": "2021", "sign_type": "RSA2", "sign": "x",
		"biz_content": `{"a":"1&2=3 ü"}`, "timestamp": "2026-03-02 14:30:00", "charset": "utf-8",
	})
	const want = `app_id=2021&biz_content={"a":"1&2=3 ü"}&charset=utf-8&method=alipay.trade.query&sign_type=RSA2&timestamp=2026-03-02 14:30:00`
	if got != want {
		t.Errorf("canonical = %s; want %s", got, want)
	}
}

// A debit sent again must be equal whatever else is in the batch.
func TestRecordsKeepTextAndCarryBytes(t *testing.T) {
	for evidence, want := range map[string]string{
		"CT1:ABC": "CT1:ABC", `{"r":1}`: `{"r":1}`, "\x7d\x01": "fQE=", "tab\t": "dGFiCQ==", "": "",
	} {
		if got := record([]byte(evidence)); got != want {
			t.Errorf("record(%q) = %q; want %q", evidence, got, want)
		}
	}
}

// FuzzOpen checks that the bytes whose signature is verified are the bytes that
// any other JSON reader finds in the answer: were they not, a signed text could
// be shown to the check and another one be believed.
func FuzzOpen(f *testing.F) {
	const method = "alipay.trade.query"
	f.Add([]byte(`{"alipay_trade_query_response":{"code":"10000","u":"a\/b"},"sign":"QUJD"}`))
	f.Add([]byte(`{"error_response": {"code":"40002"} , "sign":"QUJD","alipay_cert_sn":"1"}`))
	f.Add([]byte(`{"alipay_trade_query_response":{"code":"10000"},"alipay_trade_query_response":{"code":"40004"},"sign":""}`))
	f.Add([]byte(`{"alipay_trade_query_respons\u0065":{},"error_response":{}}`))
	f.Add([]byte(`{"sign":"x","error_response":{}} x`))
	f.Fuzz(func(t *testing.T, body []byte) {
		env, err := open(body, method)
		if err != nil {
			return
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(body, &all); err != nil {
			t.Fatalf("open took what is no JSON: %v", err)
		}
		if !bytes.Equal(all[env.node], env.raw) || !bytes.Contains(body, env.raw) {
			t.Errorf("open gave %q; another reader sees %q", env.raw, all[env.node])
		}
		if _, other := all[errorNode]; other && env.node != errorNode {
			t.Errorf("the answer has an error and open gave %s", env.node)
		}
		var sign string
		if raw, there := all["sign"]; there {
			if err := json.Unmarshal(raw, &sign); err != nil || sign != env.sign {
				t.Errorf("open gave signature %q; another reader sees %s", env.sign, raw)
			}
		}
	})
}

// Of a content the padding is checked whole: what ends in anything else is not what was
// encrypted, although an object may stand before it.
func TestPaddingIsChecked(t *testing.T) {
	block, err := contentCipher(citygate.NewSecret([]byte("aa4BtZ4tspm2wnXLb1ThQA==")))
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(plain string) string {
		raw := []byte(plain)
		cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(raw, raw)
		return base64.StdEncoding.EncodeToString(raw)
	}
	const object = `{"code":"10000"}` // one block
	for plain, good := range map[string]bool{
		object + strings.Repeat("\x10", 16):           true,
		object + strings.Repeat("\x01", 15) + "\x10":  false,
		object + strings.Repeat("\x00", 16):           false,
		object:                                        false,
		object[:14] + "}" + "\x01":                    false,
		strings.Repeat("\x10", 16):                    false,
		`["a","b","c","d"]` + strings.Repeat(" ", 15): false,
	} {
		if got, err := decrypt(block, sealed(plain)); (err == nil) != good || (good && string(got) != object) {
			t.Errorf("%q is read as %q, %v", plain, got, err)
		}
	}
	for content := range strings.SplitSeq(`{} {"a":"b"} {"a":"0123456789"}`, " ") {
		if got, err := decrypt(block, encrypt(block, []byte(content))); err != nil || string(got) != content {
			t.Errorf("%s comes back as %q, %v", content, got, err)
		}
	}
}
