package code_test

import (
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

func TestChecksAreAListOfNames(t *testing.T) {
	v := code.Refuse(code.BadDeviceSignature).After(code.IssuerSignature | code.InWindow)
	line, err := json.Marshal(v)
	if want := `{"outcome":"reject","reason":"bad_device_signature","strength":"unverified","checked":["issuer_signature","window"]}`; err != nil || string(line) != want {
		t.Errorf("%s, %v; want %s", line, err, want)
	}
	if line, err := json.Marshal(code.Refuse(code.Malformed)); err != nil || !strings.Contains(string(line), `"checked":[]`) {
		t.Errorf("%s, %v", line, err)
	}
	all := code.IssuerCert | code.IssuerSignature | code.DeviceSignature | code.SharedSecret | code.InWindow | code.WithinCap
	if line, err = json.Marshal(all); err != nil || string(line) != `["issuer_cert","issuer_signature","device_signature","secret","window","amount"]` {
		t.Errorf("%s, %v", line, err)
	}
	var again code.Checks
	if err := json.Unmarshal(line, &again); err != nil || again != all {
		t.Errorf("%v, %v", again, err)
	}
	if json.Unmarshal([]byte(`["window","everything"]`), &again) == nil {
		t.Error("an unknown check is read")
	}
}

// Callers that look at the reason alone must not let a deferred code pass.
func TestDeferredHasAReason(t *testing.T) {
	if v := code.Deferred(code.InWindow); v.Outcome != code.Defer || !v.Reason.Known() || v.Strength != code.Unverified {
		t.Errorf("%+v", v)
	}
}

func TestDecodeRefusesWhatItWouldIgnore(t *testing.T) {
	type params struct {
		code.Common
		Period int `json:"period_s"`
	}
	for raw, want := range map[string]string{
		``: "", ` `: "", `{}`: "", `{"skew_s":30,"period_s":15}`: "",
		`{"skew":30}`: "skew", `{"period_s":"x"}`: "period_s", `{} {}`: "more than one", `[]`: "array", `{`: "EOF",
	} {
		p := params{Period: 60}
		err := code.Decode([]byte(raw), &p)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Decode(%q): %v, want %q", raw, err, want)
		}
		if want == "" && p.Period != 60 && p.Period != 15 {
			t.Errorf("Decode(%q): %+v", raw, p)
		}
	}
	for _, p := range []code.Common{{SkewSeconds: -1}, {SkewSeconds: 3601}, {CapMinor: -1}, {CapUnitMinor: -1}, {CapUnitMinor: 1<<40 + 1}} {
		if p.Check() == nil {
			t.Errorf("%+v passes", p)
		}
	}
	if (code.Common{}).Cap() != code.CapNone || (code.Common{CapMinor: 5}).Cap() != 5 {
		t.Error("a cap of 0 is a limit of nothing")
	}
}

func TestDigestTellsListsOfPartsApart(t *testing.T) {
	seen := map[[32]byte]string{}
	for name, sum := range map[string][32]byte{
		"ab":      code.Digest("s", "use", []byte("ab")),
		"a b":     code.Digest("s", "use", []byte("a"), []byte("b")),
		"ab -":    code.Digest("s", "use", []byte("ab"), nil),
		"nothing": code.Digest("s", "use"),
		"account": code.Digest("s", "account", []byte("ab")),
		"scheme":  code.Digest("su", "se", []byte("ab")),
		"long":    code.Digest("s", "use", make([]byte, 5000)),
	} {
		if other, ok := seen[sum]; ok {
			t.Errorf("%s and %s are one", name, other)
		}
		seen[sum] = name
	}
	part, other := make([]byte, 900), make([]byte, 900)
	if n := testing.AllocsPerRun(100, func() { code.Digest("scheme", "use", part, other) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPlaceMovesOnlyCodesWithoutATime(t *testing.T) {
	timed := code.Code{IssuedAt: 1, GeneratedAt: 2, ExpiresAt: 3, Window: 30}
	before := timed.GeneratedAt
	timed.Place(1000)
	if timed.GeneratedAt != before || timed.IssuedAt != 1 || timed.ExpiresAt != 3 {
		t.Errorf("moved: %+v", timed)
	}
	for window, expires := range map[int64]int64{0: 1001, 60: 1060} {
		c := code.Code{Timeless: true, Window: window}
		c.Place(1000)
		if c.IssuedAt != 1000 || c.GeneratedAt != 1000 || c.ExpiresAt != expires {
			t.Errorf("window %d: %+v", window, c)
		}
	}
}

func TestUseTellsDisplaysApart(t *testing.T) {
	a := code.Code{Rider: citygate.Rider{Issuer: 1}, Once: [32]byte{1}}
	b := code.Code{Rider: citygate.Rider{Issuer: 1}, Once: [32]byte{2}}
	if a.Use() == b.Use() || a.Subject() != b.Subject() {
		t.Error("a display is not its own, or a rider is not one")
	}
}

func TestTrustNamesWhatIsMissing(t *testing.T) {
	var trust code.Trust
	key := ed25519.PublicKey(make([]byte, 32))
	root := code.KeyName{Scheme: "s", Kind: "root", ID: 1}
	if _, reason := trust.IssuerKey(1, 1, 0); reason != code.UnknownIssuer {
		t.Errorf("zero trust: %q", reason)
	}
	if _, reason := trust.ForeignKey(root); reason != code.UnknownIssuer {
		t.Errorf("zero trust: %q", reason)
	}
	if _, reason := trust.Secret("s", []byte("p")); reason != code.UnknownIssuer {
		t.Errorf("zero trust: %q", reason)
	}
	trust.AddIssuer(1, 1, key)
	trust.AddForeign(root, key)
	trust.AddSecret("s", "p", citygate.NewSecret([]byte("x")))
	for name, got := range map[string]code.Reason{
		"":               second(trust.IssuerKey(1, 1, 0)),
		"unknown_key":    second(trust.IssuerKey(1, 2, 0)),
		"unknown_issuer": second(trust.IssuerKey(2, 1, 0)),
	} {
		if string(got) != name {
			t.Errorf("issuer key: %q, want %q", got, name)
		}
	}
	for name, want := range map[code.KeyName]code.Reason{
		root:                                   "",
		{Scheme: "s", Kind: "root", ID: 2}:     code.UnknownKey,
		{Scheme: "other", Kind: "root", ID: 1}: code.UnknownIssuer,
		{Scheme: "s", Owner: "x", Kind: "root", ID: 1}: code.UnknownIssuer,
	} {
		if _, got := trust.ForeignKey(name); got != want {
			t.Errorf("%+v: %q, want %q", name, got, want)
		}
	}
	if _, reason := trust.Secret("s", []byte("q")); reason != code.UnknownKey {
		t.Errorf("another pass: %q", reason)
	}
	if _, reason := trust.Secret("other", []byte("p")); reason != code.UnknownIssuer {
		t.Errorf("another scheme's pass: %q", reason)
	}
	if secret, reason := trust.Secret("s", []byte("p")); reason != "" || string(secret.Reveal()) != "x" {
		t.Errorf("the pass: %q", reason)
	}
}

func second[T any](_ T, reason code.Reason) code.Reason { return reason }
