package rotating_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/rotating"
	"github.com/cashlesscity/citygate/gateway/code/schemetest"
)

type rfc struct {
	HOTP   []string `json:"hotp_sha1_6digits_counter_0_9"`
	SHA1   string   `json:"seed_sha1_ascii"`
	SHA256 string   `json:"seed_sha256_ascii"`
	SHA512 string   `json:"seed_sha512_ascii"`
	TOTP   []struct {
		SHA1, SHA256, SHA512 string
		Unix                 int64 `json:"unix"`
		Period               int64 `json:"period_s"`
		Digits               int   `json:"digits"`
	} `json:"totp"`
}

func load(t testing.TB) rfc {
	t.Helper()
	data, err := os.ReadFile("testdata/totp-rfc6238-rfc4226.json")
	var file rfc
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil || len(file.HOTP) != 10 || len(file.TOTP) != 6 {
		t.Fatalf("%v, %+v", err, file)
	}
	return file
}

func scheme(t testing.TB, params string) *rotating.Scheme {
	t.Helper()
	s, err := rotating.Plugin.New([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	r, _ := s.(*rotating.Scheme)
	return r
}

func trust(t testing.TB, secrets map[string]string) code.KeySource {
	t.Helper()
	keys := new(code.Trust)
	for pass, secret := range secrets {
		keys.AddSecret(rotating.ID, pass, citygate.NewSecret([]byte(secret)))
	}
	return keys
}

func TestRFC(t *testing.T) {
	file := load(t)
	for i, want := range file.HOTP {
		got := make([]byte, 6)
		rotating.SHA1.Value(got, citygate.NewSecret([]byte(file.SHA1)), uint64(i))
		if string(got) != want {
			t.Errorf("counter %d: %s, want %s", i, got, want)
		}
	}
	for _, test := range file.TOTP {
		for algorithm, want := range map[rotating.Algorithm][2]string{
			rotating.SHA1: {file.SHA1, test.SHA1}, rotating.SHA256: {file.SHA256, test.SHA256}, rotating.SHA512: {file.SHA512, test.SHA512},
		} {
			got := make([]byte, test.Digits)
			algorithm.Value(got, citygate.NewSecret([]byte(want[0])), uint64(test.Unix/test.Period))
			if string(got) != want[1] {
				t.Errorf("%s at %d: %s, want %s", algorithm, test.Unix, got, want[1])
			}
			s := scheme(t, fmt.Sprintf(`{"algorithm":%q}`, algorithm))
			c, v := verify(t, s, "P1."+want[1], test.Unix, trust(t, map[string]string{"P1": want[0]}))
			if v.Outcome != code.Accept || v.Strength != code.SecretBound || c.GeneratedAt != test.Unix/30*30 {
				t.Errorf("%s at %d: %+v, made at %d", algorithm, test.Unix, v, c.GeneratedAt)
			}
		}
	}
}

func verify(t testing.TB, s *rotating.Scheme, text string, at int64, keys code.KeySource) (*code.Code, code.Verdict) {
	t.Helper()
	var c code.Code
	if err := s.Parse([]byte(text), &c); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	c.Place(at)
	return &c, s.Verify(&c, keys, nil)
}

func TestConformance(t *testing.T) {
	file := load(t)
	keys := trust(t, map[string]string{"PASS-1": file.SHA1, "PASS-2": file.SHA256})
	suite := schemetest.Suite{Scheme: scheme(t, `{"cap_minor":500}`)}
	// All mutations are verified: three sums cost little.
	suite.VerifyMax = 300_000
	for i, test := range file.TOTP {
		raw := []byte("PASS-1." + test.SHA1)
		v := schemetest.Vector{
			Name: "PASS-1 at " + fmt.Sprint(test.Unix), Raw: raw, Keys: keys, At: test.Unix, Amount: 500, Outcome: code.Accept,
			Strength: code.SecretBound, Checked: code.SharedSecret | code.InWindow | code.WithinCap,
			Proven: []schemetest.Region{
				{Name: "pass", From: 0, To: 6, Reason: code.UnknownKey}, {Name: "dot", From: 6, To: 7, Reason: code.Malformed},
				{Name: "value", From: 7, To: len(raw), Reason: code.BadSecret},
			},
		}
		suite.Vectors = append(suite.Vectors, v)
		dear, other := v, v
		dear.Name, dear.Amount, dear.Outcome, dear.Reason = "too dear", 501, code.Reject, code.AmountOverCap
		other.Name, other.Raw, other.Outcome, other.Reason = "another pass", []byte("PASS-2."+test.SHA1), code.Reject, code.BadSecret
		late := v
		late.Name, late.At, late.Outcome, late.Reason = "two steps late", test.Unix+60, code.Reject, code.BadSecret
		early := v
		early.Name, early.At, early.Outcome, early.Reason = "two steps early", max(0, test.Unix-60), code.Reject, code.BadSecret
		if i == 0 {
			early = late // there is no time before 1970
		}
		suite.Vectors = append(suite.Vectors, dear, other, late, early)
	}
	schemetest.Run(t, suite)
}

func TestAnEmptySecretOpensNothing(t *testing.T) {
	keys := new(code.Trust)
	keys.AddSecret(rotating.ID, "P", citygate.Secret{})
	value := make([]byte, 8)
	rotating.SHA1.Value(value, citygate.Secret{}, 1)
	if _, v := verify(t, scheme(t, ""), "P."+string(value), 30, keys); v.Reason != code.UnknownKey {
		t.Errorf("%+v", v)
	}
}

// The derivation is a contract with every pass that was ever made.
func TestMaster(t *testing.T) {
	m := &rotating.Master{Number: 3, Key: citygate.NewSecret([]byte("0123456789abcdef"))}
	mac := hmac.New(sha256.New, []byte("0123456789abcdef"))
	mac.Write([]byte("citygate rotating pass\x00P1"))
	if got := m.PassSecret([]byte("P1")); !bytes.Equal(got.Reveal(), mac.Sum(nil)) {
		t.Errorf("%x", got.Reveal())
	}
	s := scheme(t, "")
	const at = 1_800_000_000
	value := make([]byte, 8)
	rotating.SHA1.Value(value, m.PassSecret([]byte("P1")), at/30)
	for text, want := range map[string]code.Reason{"P1." + string(value): "", "P2." + string(value): code.BadSecret, "P." + string(value): code.BadSecret} {
		if _, v := verify(t, s, text, at, m); v.Reason != want {
			t.Errorf("%s: %+v, want %q", text, v, want)
		}
	}
	other := &rotating.Master{Key: citygate.NewSecret([]byte("0123456789abcdeg"))}
	if _, v := verify(t, s, "P1."+string(value), at, other); v.Reason != code.BadSecret {
		t.Errorf("another tenant's master: %+v", v)
	}
	for _, short := range []string{"", "fifteen bytes.."} {
		weak := &rotating.Master{Key: citygate.NewSecret([]byte(short))}
		if _, v := verify(t, s, "P1."+string(value), at, weak); v.Reason != code.UnknownIssuer {
			t.Errorf("a master of %d bytes: %+v", len(short), v)
		}
	}
	if _, reason := m.Secret("ct1", []byte("P1")); reason != code.UnknownIssuer {
		t.Errorf("another scheme's secret: %q", reason)
	}
	if _, reason := m.IssuerKey(1, 1, 0); reason != code.UnknownIssuer || m.Version() != 3 {
		t.Errorf("%q, version %d", reason, m.Version())
	}
	keys, err := rotating.Plugin.Trust([]byte(`{"master_hex":"30313233343536373839616263646566"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, v := verify(t, s, "P1."+string(value), at, keys); v.Outcome != code.Accept {
		t.Errorf("from a file: %+v", v)
	}
	for _, bad := range []string{`{"master_hex":"3031"}`, `{"master_hex":"xx"}`, `{"master_hex":"30313233343536373839616263646566","secrets":[{"pass":"p","hex":"aa"}]}`} {
		if _, err := rotating.Plugin.Trust([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// A value opens in its own step and its neighbours, and is one use in all three.
func TestOneStepEitherWay(t *testing.T) {
	secret := "12345678901234567890"
	keys := trust(t, map[string]string{"P": secret})
	const at = 1_800_000_015 // in the middle of a step
	value := func(step int64) string {
		got := make([]byte, 8)
		rotating.SHA1.Value(got, citygate.NewSecret([]byte(secret)), uint64(step))
		return string(got)
	}
	for _, pattern := range []string{`{pass}.{totp_value_0}`, `{totp_value_0}|{pass}|{totp_timestamp_seconds}`, `R:{totp_timestamp_millis}/{pass}/{totp_value_0}`} {
		s := scheme(t, fmt.Sprintf(`{"value_pattern":%q}`, pattern))
		var uses []code.Use
		for off := int64(-3); off <= 3; off++ {
			text := strings.NewReplacer("{pass}", "P", "{totp_value_0}", value(at/30), "{totp_timestamp_seconds}", fmt.Sprint(at), "{totp_timestamp_millis}", fmt.Sprint(at*1000+7)).Replace(pattern)
			c, v := verify(t, s, text, at+30*off, keys)
			want := code.Reason("")
			if off < -1 || off > 1 {
				want = code.BadSecret
				if strings.Contains(pattern, "timestamp") {
					want = code.ExpiredCode
					if off < 0 {
						want = code.NotYetValid
					}
				}
			}
			if v.Reason != want {
				t.Errorf("%s, tapped %d steps later: %+v, want %q", pattern, off, v, want)
			}
			if v.Outcome == code.Accept {
				uses = append(uses, c.Use())
			}
		}
		if len(uses) != 3 || uses[0] != uses[1] || uses[1] != uses[2] {
			t.Errorf("%s: %d uses, or not one", pattern, len(uses))
		}
		text := strings.NewReplacer("{pass}", "P", "{totp_value_0}", value(at/30+1), "{totp_timestamp_seconds}", fmt.Sprint(at+30), "{totp_timestamp_millis}", fmt.Sprint((at+30)*1000)).Replace(pattern)
		if c, v := verify(t, s, text, at, keys); v.Outcome != code.Accept || c.Use() == uses[0] {
			t.Errorf("%s: the next step's value: %+v, or it is the same use", pattern, v)
		}
	}
}

// A time on the barcode is a claim: with the right value of another step it must
// not move the use.
func TestTimeMustBelongToTheValue(t *testing.T) {
	secret := "12345678901234567890"
	keys := trust(t, map[string]string{"P": secret})
	s := scheme(t, `{"value_pattern":"{pass}|{totp_value_0}|{totp_timestamp_seconds}"}`)
	const at = 1_800_000_000
	got := make([]byte, 8)
	rotating.SHA1.Value(got, citygate.NewSecret([]byte(secret)), at/30)
	var first code.Use
	for i, second := range []int64{0, 1, 29} { // of one step: one use
		c, v := verify(t, s, fmt.Sprintf("P|%s|%d", got, at+second), at, keys)
		if v.Outcome != code.Accept || i > 0 && c.Use() != first {
			t.Errorf("second %d: %+v", second, v)
		}
		first = c.Use()
	}
	for _, second := range []int64{-1, 30} {
		if _, v := verify(t, s, fmt.Sprintf("P|%s|%d", got, at+second), at, keys); v.Reason != code.BadSecret {
			t.Errorf("second %d: %+v", second, v)
		}
	}
	for _, text := range []string{"P|12345678|", "P|12345678|0", "P|12345678|01800000000", "P|12345678|1800000000 ", "P|12345678|99999999999999999"} {
		if err := s.Parse([]byte(text), new(code.Code)); err == nil {
			t.Errorf("%q parses", text)
		}
	}
}

func TestParametersThatMeanNothingAreRefused(t *testing.T) {
	for params, want := range map[string]string{
		`{"algorithm":"MD5"}`: "algorithm", `{"algorithm":""}`: "algorithm", `{"digits":5}`: "digits", `{"digits":9}`: "digits", `{"period_s":0}`: "period_s",
		`{"value_pattern":"{pass}"}`:                                                "value_pattern",
		`{"value_pattern":"{pass}.{totp_value_1}"}`:                                 "not a field",
		`{"value_pattern":"{pass}.{totp_value_0"}`:                                  "not a field",
		`{"value_pattern":"{pass}{totp_value_0}"}`:                                  "cannot hold",
		`{"value_pattern":"{pass}-{totp_value_0}"}`:                                 "cannot hold",
		`{"value_pattern":"{pass}.{pass}.{totp_value_0}"}`:                          "once each",
		`{"value_pattern":"{totp_timestamp_seconds}0{pass}.{totp_value_0}"}`:        "cannot hold",
		`{"value_pattern":"` + strings.Repeat("x", 200) + `{pass}.{totp_value_0}"}`: "longer",
		`{"period":30}`: "period",
	} {
		if _, err := rotating.Plugin.New([]byte(params)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", params, err, want)
		}
	}
	const digits = "31323x"
	if _, err := rotating.Plugin.Trust([]byte(`{"secrets":[{"pass":"p","hex":"` + digits + `"}]}`)); err == nil || strings.Contains(err.Error(), digits) {
		t.Errorf("a broken secret: %v", err)
	}
}

func TestTextsThatDoNotFollowThePatternAreMalformed(t *testing.T) {
	s := scheme(t, "")
	for _, text := range []string{
		"", "PASS-1", "PASS-1.", ".94287082", "PASS-1.9428708", "PASS-1.942870820", "PASS-1.9428708x", "PASS 1.94287082", "PASS-1,94287082",
		strings.Repeat("P", 65) + ".94287082", "PASS-1.94287082\n", "PASS-1.94287082 ", "é.94287082",
	} {
		if err := s.Parse([]byte(text), new(code.Code)); !errors.Is(err, code.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("PASS-1.94287082"), uint8(0))
	f.Add([]byte("94287082|PASS-1|59"), uint8(1))
	schemes := []*rotating.Scheme{scheme(f, ""), scheme(f, `{"value_pattern":"{totp_value_0}|{pass}|{totp_timestamp_seconds}"}`)}
	keys := trust(f, map[string]string{"PASS-1": "12345678901234567890"})
	f.Fuzz(func(t *testing.T, raw []byte, which uint8) {
		s := schemes[int(which)%2]
		var c code.Code
		if s.Parse(raw, &c) != nil {
			if c.Raw != nil || s.Sniff(raw) != code.No {
				t.Errorf("%+v, sniffed %d", c, s.Sniff(raw))
			}
			return
		}
		c.Place(59)
		if v := s.Verify(&c, keys, nil); v.Outcome == code.Accept && !strings.Contains(string(raw), "PASS-1") {
			t.Errorf("%q: %+v", raw, v)
		}
	})
}
