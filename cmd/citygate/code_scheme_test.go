package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every synthetic code of the Ministry's layout, tried by hand.
func TestCodeVerifySchemeMOT(t *testing.T) {
	data, err := os.ReadFile("../../gateway/code/motsm2/testdata/mot-sm2-synthetic.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		RootCA json.RawMessage `json:"root_ca"`
		Tests  []struct {
			Hex    string `json:"code_hex"`
			Expect string `json:"expect"`
			Now    int64  `json:"now_unix"`
			Amount int64  `json:"amount_minor"`
		} `json:"tests"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	trust := writeFile(t, "T.json", `{"root_ca":[`+string(file.RootCA)+`]}`)
	for i, test := range file.Tests {
		exit, out, errs := runAt(t, "", "code", "verify", "--scheme", "mot-sm2", "--trust", trust, "--at", fmt.Sprint(test.Now), "--amount", fmt.Sprint(test.Amount), test.Hex)
		want, wantExit := fmt.Sprintf(`{"outcome":"reject","reason":%q,`, strings.Replace(test.Expect, "user", "device", 1)), 1
		if test.Expect == "ok" {
			want, wantExit = `{"outcome":"accept","reason":"","strength":"device_bound","checked":["issuer_cert","issuer_signature","device_signature","window","amount"]}`, 0
		}
		if exit != wantExit || !strings.HasPrefix(out, want) || strings.Count(out, "\n") != 1 || errs != "" {
			t.Errorf("%d: exit %d, %s%s; want %d, %s", i, exit, out, errs, wantExit, want)
		}
	}
	good := file.Tests[0]
	skewed := writeFile(t, "P.json", `{"skew_s":60}`)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--trust", trust, "--at", fmt.Sprint(good.Now + 56)}, `"expired_code"`},
		{[]string{"--trust", trust, "--at", fmt.Sprint(good.Now + 56), "--params", skewed}, `"accept"`},
		{[]string{"--trust", trust, "--at", fmt.Sprint(good.Now), "--amount", "2001"}, `"amount_over_cap"`},
		{[]string{"--at", fmt.Sprint(good.Now)}, `"unknown_issuer"`},
		{[]string{"--trust", writeFile(t, "T2.json", `{"root_ca":[`+strings.Replace(string(file.RootCA), `"index": 1`, `"index": 2`, 1)+`]}`), "--at", fmt.Sprint(good.Now)}, `"unknown_key"`},
	} {
		if _, out, errs := runAt(t, "", append(append([]string{"code", "verify", "--scheme", "mot-sm2"}, test.args...), good.Hex)...); !strings.Contains(out, test.want) {
			t.Errorf("%v: %s%s; want %s", test.args, out, errs, test.want)
		}
	}
}

func TestCodeVerifySchemes(t *testing.T) {
	secrets := writeFile(t, "T.json", fmt.Sprintf(`{"secrets":[{"pass":"PASS-1","hex":"%x"}]}`, "12345678901234567890"))
	rotating := hex.EncodeToString([]byte("PASS-1.94287082"))
	token := hex.EncodeToString([]byte("TKN1:palm-co:AAAAAAAAAAAAAAAAAAAAAA"))
	wallet := writeFile(t, "P.json", `{"shapes":[{"provider":"alipay","prefixes_hex":["3238"],"min":16,"max":24,"digits":true}]}`)
	for _, test := range []struct {
		args []string
		exit int
		want string
	}{
		{[]string{"rotating", "--trust", secrets, "--at", "59", "--amount", "200", rotating}, 0, `{"outcome":"accept","reason":"","strength":"secret_bound","checked":["secret","window"]}`},
		{[]string{"rotating", "--trust", secrets, "--at", "29", rotating}, 0, `"accept"`},
		{[]string{"rotating", "--trust", secrets, "--at", "89", rotating}, 0, `"accept"`},
		{[]string{"rotating", "--trust", secrets, "--at", "90", rotating}, 1, `"bad_secret"`},
		{[]string{"rotating", "--at", "59", rotating}, 1, `"unknown_issuer"`},
		{[]string{"token-defer", "--at", "59", "--amount", "200", token}, 3, `{"outcome":"defer","reason":"unknown_key","strength":"unverified","checked":[]}`},
		{[]string{"token-defer", "--at", "59", token[:20]}, 1, `"malformed"`},
		{[]string{"opaque", "--at", "59", "--params", wallet, hex.EncodeToString([]byte("281234567890123456"))}, 3, `"defer"`},
		{[]string{"opaque", "--at", "59", hex.EncodeToString([]byte("281234567890123456"))}, 1, `"malformed"`},
	} {
		exit, out, errs := runAt(t, "", append([]string{"code", "verify", "--scheme"}, test.args...)...)
		if exit != test.exit || !strings.Contains(out, test.want) || errs != "" {
			t.Errorf("%v: exit %d, %s%s; want %d, %s", test.args, exit, out, errs, test.exit, test.want)
		}
	}
}

// A code of the tool itself, under a trust file written by hand.
func TestCodeVerifySchemeCT1(t *testing.T) {
	for _, suite := range []string{"0", "3", "4"} {
		keys := filepath.Join(t.TempDir(), "keys.json")
		var issued struct {
			Public string `json:"issuer_public"`
		}
		if err := json.Unmarshal([]byte(must(t, "", "code", "issue", "--keys", keys, "--suite", suite, "--ttl", "2", "--cap", "300")), &issued); err != nil {
			t.Fatal(err)
		}
		raw := strings.TrimSpace(must(t, "", "code", "show", "--keys", keys, "--quiet", "--bytes"))
		text := hex.EncodeToString([]byte(strings.TrimRight(must(t, "", "code", "show", "--keys", keys, "--quiet"), "\n")))
		trust := writeFile(t, "T.json", fmt.Sprintf(`{"keys":[{"tenant":1,"kid":1,"alg":"ed25519","public_hex":%q}]}`, issued.Public))
		dear := writeFile(t, "P.json", `{"cap_unit_minor":10}`)
		for _, test := range []struct {
			args []string
			exit int
			want string
		}{
			{[]string{"--trust", trust, "--amount", "300", raw}, 0, `"window","amount"]}`},
			{[]string{"--trust", trust, "--amount", "301", raw}, 1, `"amount_over_cap"`},
			{[]string{"--trust", trust, "--amount", "3000", "--params", dear, raw}, 0, `"accept"`},
			{[]string{"--trust", trust, text}, 0, `"accept"`},
			{[]string{raw}, 1, `"unknown_issuer"`},
			{[]string{"--trust", trust, raw[:len(raw)-2]}, 1, `"malformed"`},
		} {
			exit, out, errs := runAt(t, "", append([]string{"code", "verify", "--scheme", "ct1"}, test.args...)...)
			if exit != test.exit || !strings.Contains(out, test.want) || errs != "" {
				t.Errorf("suite %s, %v: exit %d, %s%s; want %d, %s", suite, test.args, exit, out, errs, test.exit, test.want)
			}
		}
	}
}
