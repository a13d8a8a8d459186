package opaque_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/opaque"
	"github.com/cashlesscity/citygate/gateway/code/schemetest"
)

var update = flag.Bool("update", false, "write testdata/codes.txt anew")

// wallets are shapes like the two wallets': payment codes of digits, whose
// beginnings are public, and a binary ride code that is made up here.
const wallets = `{"cap_minor":300,"shapes":[
	{"provider":"alipay","kind":"payment","prefixes_hex":["3235","3236","3237","3238","3239","3330"],"min":16,"max":24,"digits":true},
	{"provider":"tencent","kind":"payment","prefixes_hex":["3130","3131","3132","3133","3134","3135"],"min":18,"max":18,"digits":true},
	{"provider":"alipay","list":"bus","kind":"ride","prefixes_hex":["0201a1"],"min":64,"max":400}]}`

func scheme(t testing.TB, params string) code.Scheme {
	t.Helper()
	s, err := opaque.Plugin.New([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func codes() [][]byte {
	ride := []byte{2, 1, 0xa1}
	for i := range 5 {
		sum := sha256.Sum256([]byte{byte(i)})
		ride = append(ride, sum[:]...)
	}
	return [][]byte{[]byte("281234567890123456"), []byte("130123456789012345"), ride}
}

func TestConformance(t *testing.T) {
	if *update {
		text := "# Codes of this scheme, for every other scheme to refuse: made up, none of a real rider. Written by go test -update.\n"
		for _, raw := range codes() {
			text += fmt.Sprintf("%x\n", raw)
		}
		if err := os.WriteFile("testdata/codes.txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	suite := schemetest.Suite{Scheme: scheme(t, wallets), VerifyMax: 1_000_000} // nothing costs more than a sum
	for i, raw := range codes() {
		v := schemetest.Vector{
			Name: fmt.Sprintf("code %d", i), Raw: raw, At: 1_800_000_000, Amount: 300, Outcome: code.Defer, Reason: code.UnknownKey, Strength: code.Unverified,
			Checked: code.WithinCap, Proven: []schemetest.Region{{Name: "all", From: 0, To: len(raw), Reason: code.Malformed}},
		}
		dear := v
		dear.Name, dear.Amount, dear.Outcome, dear.Reason = "too dear", 301, code.Reject, code.AmountOverCap
		suite.Vectors = append(suite.Vectors, v, dear)
	}
	schemetest.Run(t, suite)
}

func TestTheSameBytesOfTwoProvidersAreTwoUses(t *testing.T) {
	raw := codes()[0]
	use := func(provider, list, kind string) code.Use {
		s := scheme(t, fmt.Sprintf(`{"shapes":[{"provider":%q,"list":%q,"kind":%q,"prefixes_hex":["32"],"min":16,"max":24}]}`, provider, list, kind))
		var c code.Code
		if err := s.Parse(raw, &c); err != nil {
			t.Fatal(err)
		}
		return c.Use()
	}
	seen := map[code.Use]bool{}
	for _, name := range [][3]string{{"a", "", ""}, {"b", "", ""}, {"a", "x", ""}, {"a", "", "x"}, {"a", "y", "x"}} {
		seen[use(name[0], name[1], name[2])] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d uses, want 5", len(seen))
	}
}

// Holding the provider's keys proves nothing here.
func TestKeysAreNamedAndProveNothing(t *testing.T) {
	keys, err := opaque.Plugin.Trust([]byte(`{"keys":[{"provider":"alipay","list":"bus","kind":"ride","id":7,"public_hex":"02aa"},{"provider":"alipay","list":"bus","kind":"ride","id":8,"public_hex":"02bb"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := keys.(code.ForeignKeySource)
	if key, reason := foreign.ForeignKey(opaque.Key("alipay", "bus", "ride", 8)); reason != "" || !bytes.Equal(key, []byte{2, 0xbb}) {
		t.Errorf("%x, %q", key, reason)
	}
	for name, want := range map[code.KeyName]code.Reason{
		opaque.Key("alipay", "bus", "ride", 9): code.UnknownKey, opaque.Key("alipay", "metro", "ride", 7): code.UnknownKey,
		opaque.Key("tencent", "bus", "ride", 7): code.UnknownIssuer,
	} {
		if _, reason := foreign.ForeignKey(name); reason != want {
			t.Errorf("%+v: %q, want %q", name, reason, want)
		}
	}
	s := scheme(t, wallets)
	var c code.Code
	if err := s.Parse(codes()[2], &c); err != nil {
		t.Fatal(err)
	}
	if v := s.Verify(&c, keys, nil); v != code.Deferred(0) {
		t.Errorf("%+v", v)
	}
	for trust, want := range map[string]string{
		`{"keys":[{"provider":"A","public_hex":"02"}]}`:                                    "provider",
		`{"keys":[{"provider":"a","public_hex":""}]}`:                                      "public_hex",
		`{"keys":[{"provider":"a","public_hex":"02"},{"provider":"a","public_hex":"03"}]}`: "twice",
	} {
		if _, err := opaque.Plugin.Trust([]byte(trust)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", trust, err)
		}
	}
}

func TestParametersThatMeanNothingAreRefused(t *testing.T) {
	shape := func(s string) string { return `{"shapes":[{` + s + `}]}` }
	for params, want := range map[string]string{
		`{}`: "shapes", `{"window_s":0,"shapes":[]}`: "window_s",
		shape(`"provider":"","prefixes_hex":["32"],"min":16,"max":16`):   "provider",
		shape(`"provider":"a","prefixes_hex":["32"],"min":7,"max":16`):   "min, max",
		shape(`"provider":"a","prefixes_hex":["32"],"min":16,"max":15`):  "min, max",
		shape(`"provider":"a","prefixes_hex":["32"],"min":16,"max":513`): "min, max",
		shape(`"provider":"a","prefixes_hex":[],"min":16,"max":16`):      "prefixes_hex",
		shape(`"provider":"a","prefixes_hex":[""],"min":16,"max":16`):    "prefixes_hex",
		shape(`"provider":"a","prefixes_hex":["3"],"min":16,"max":16`):   "prefixes_hex",
		shape(`"provider":"a","prefix":"32","min":16,"max":16`):          "prefix",
	} {
		if _, err := opaque.Plugin.New([]byte(params)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", params, err, want)
		}
	}
	s := scheme(t, "")
	for _, raw := range codes() {
		if s.Sniff(raw) != code.No || !errors.Is(s.Parse(raw, new(code.Code)), code.ErrMalformed) {
			t.Errorf("without parameters %x is taken", raw)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, raw := range codes() {
		f.Add(raw)
	}
	s := scheme(f, wallets)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c code.Code
		err := s.Parse(raw, &c)
		if (err == nil) != (s.Sniff(raw) == code.Maybe) || err == nil && (!bytes.Equal(c.Raw, raw) || c.Once == c.Account) {
			t.Errorf("%v, %+v", err, c)
		}
	})
}
