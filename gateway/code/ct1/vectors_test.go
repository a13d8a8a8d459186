package ct1

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
)

func load(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Wycheproof's verdict on every P-256 signature is ours, except that a valid
// signature with the high S is refused: a code has one form.
func TestWycheproofP256(t *testing.T) {
	var file struct {
		TestGroups []struct {
			PublicKey struct{ Uncompressed string }
			Tests     []struct {
				TcID             int
				Msg, Sig, Result string
				Comment          string
			}
		}
	}
	load(t, "ecdsa_secp256r1_sha256_p1363_test.json", &file)
	checked, high := 0, 0
	for _, group := range file.TestGroups {
		uncompressed := unhex(t, group.PublicKey.Uncompressed)
		key := append([]byte{2 + uncompressed[64]&1}, uncompressed[1:33]...)
		device, err := parseDeviceKey(SuiteP256, key)
		if err != nil || !compressed(key) {
			t.Fatalf("%x: %v", key, err)
		}
		for _, test := range group.Tests {
			sig, digest := unhex(t, test.Sig), sha256.Sum256(unhex(t, test.Msg))
			if len(sig) != sigSize { // cannot stand on a code
				if test.Result != "invalid" {
					t.Errorf("%d: %d bytes are %s", test.TcID, len(sig), test.Result)
				}
				continue
			}
			checked++
			want := test.Result == "valid"
			if got := verifyP256(device.(*ecdsa.PublicKey), digest[:], sig); got != want {
				t.Errorf("%d (%s): verify = %v, want %v", test.TcID, test.Comment, got, want)
			}
			if got := verifyIssuer(SuiteAllP256, device, unhex(t, test.Msg), sig) == ""; got != want {
				t.Errorf("%d (%s): as an issuer's: %v, want %v", test.TcID, test.Comment, got, want)
			}
			if want && !lowS(sig[32:]) {
				high++
				if low := LowS(slices.Clone(sig)); !lowS(low[32:]) || !verifyP256(device.(*ecdsa.PublicKey), digest[:], low) {
					t.Errorf("%d (%s): the low form of a valid signature does not verify", test.TcID, test.Comment)
				}
			}
		}
	}
	if checked < 200 || high == 0 {
		t.Errorf("%d signatures checked, %d with the high S: the file is not what it was", checked, high)
	}
}

func TestWycheproofEd25519(t *testing.T) {
	var file struct {
		TestGroups []struct {
			PublicKey struct{ PK string }
			Tests     []struct {
				TcID             int
				Msg, Sig, Result string
				Comment          string
			}
		}
	}
	load(t, "ed25519_test.json", &file)
	checked := 0
	for _, group := range file.TestGroups {
		device, err := parseDeviceKey(SuiteEd25519, unhex(t, group.PublicKey.PK))
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range group.Tests {
			checked++
			sig := unhex(t, test.Sig)
			got := len(sig) == sigSize && ed25519.Verify(device.(ed25519.PublicKey), unhex(t, test.Msg), sig)
			want := test.Result == "valid"
			if got != want {
				t.Errorf("%d (%s): verify = %v, want %v", test.TcID, test.Comment, got, want)
			}
			if issued := len(sig) == sigSize && verifyIssuer(SuiteP256, device, unhex(t, test.Msg), sig) == ""; issued != want {
				t.Errorf("%d (%s): as an issuer's: %v, want %v", test.TcID, test.Comment, issued, want)
			}
		}
	}
	if checked != 151 {
		t.Errorf("%d signatures checked, want 151", checked)
	}
}

// Ed25519 verifiers disagree on these twelve. The row below is crypto/ed25519's;
// validator, gateway and dispute tool must all stand on it, so that a change of
// the standard library is seen here first.
func TestSpeccheckRowIsTheStandardLibrarys(t *testing.T) {
	var tests []struct {
		Message   string `json:"message"`
		PubKey    string `json:"pub_key"`
		Signature string `json:"signature"`
	}
	load(t, "ed25519-speccheck.json", &tests)
	for name, verify := range map[string]func(key, msg, sig []byte) bool{
		"the standard library": func(key, msg, sig []byte) bool { return ed25519.Verify(key, msg, sig) },
		"issuer, suite 0": func(key, msg, sig []byte) bool {
			return verifyIssuer(SuiteEd25519, ed25519.PublicKey(key), msg, sig) == ""
		},
		"issuer, suite 3": func(key, msg, sig []byte) bool {
			return verifyIssuer(SuiteP256, ed25519.PublicKey(key), msg, sig) == ""
		},
		"issuer, suite 4": func(key, msg, sig []byte) bool {
			return verifyIssuer(SuiteChain, ed25519.PublicKey(key), msg, sig) == ""
		},
	} {
		var row strings.Builder
		for _, test := range tests {
			if verify(unhex(t, test.PubKey), unhex(t, test.Message), unhex(t, test.Signature)) {
				row.WriteByte('V')
			} else {
				row.WriteByte('x')
			}
		}
		if got, want := row.String(), "VVVVxxxxxxxV"; got != want {
			t.Errorf("%s: row %s, want %s", name, got, want)
		}
	}
	// The first two have a key of small order: no credential is issued for one.
	for i := range 2 {
		if CheckDeviceKey(SuiteEd25519, unhex(t, tests[i].PubKey)) == nil {
			t.Errorf("vector %d: a key of small order may be issued", i)
		}
	}
}

func TestRFC9285(t *testing.T) {
	var file struct {
		Encode []struct{ Base45, Hex string }
		Reject []struct{ Base45, Why string }
	}
	load(t, "base45-rfc9285.json", &file)
	if len(file.Encode) < 5 || len(file.Reject) < 5 {
		t.Fatalf("%d and %d vectors", len(file.Encode), len(file.Reject))
	}
	for _, test := range file.Encode {
		raw := unhex(t, test.Hex)
		if got := string(appendBase45(nil, raw)); got != test.Base45 {
			t.Errorf("encode %s = %q, want %q", test.Hex, got, test.Base45)
		}
		if got, ok := appendUnbase45(nil, []byte(test.Base45)); !ok || !slices.Equal(got, raw) {
			t.Errorf("decode %q = %x, %v; want %s", test.Base45, got, ok, test.Hex)
		}
	}
	for _, test := range file.Reject {
		if got, ok := appendUnbase45(nil, []byte(test.Base45)); ok {
			t.Errorf("decode %q = %x; want a refusal: %s", test.Base45, got, test.Why)
		}
	}
}

func TestTextFormOfEveryLength(t *testing.T) {
	raw := make([]byte, maxSize)
	for i := range raw {
		raw[i] = byte(255 - i*7)
	}
	for n := range maxSize + 1 {
		text := Text(raw[:n])
		if got, err := ParseText(text); err != nil || !slices.Equal(got, raw[:n]) {
			t.Fatalf("%d bytes: %q gives %x, %v", n, text, got, err)
		}
	}
	if got := len(Text(raw[:192])); got != 292 {
		t.Errorf("a code of 192 bytes is %d characters of text, want 292", got)
	}
	for _, bad := range []string{"", "CT1", "ct1:00", "CT1:0", "CT1:::::", "CT1:" + strings.Repeat("0", 3000)} {
		if got, err := ParseText(bad); err == nil {
			t.Errorf("%q gives %x", bad, got)
		}
	}
}

// The constants that canonical form rests on, against their definitions.
func TestHalfOrder(t *testing.T) {
	n := elliptic.P256().Params().N
	half := new(big.Int).SetBytes(halfOrder)
	if half.Lsh(half, 1).Add(half, big.NewInt(1)).Cmp(n) != 0 {
		t.Error("halfOrder is not (n-1)/2")
	}
	above := new(big.Int).Add(new(big.Int).SetBytes(halfOrder), big.NewInt(1)).FillBytes(make([]byte, 32))
	if !lowS(halfOrder) || lowS(above) {
		t.Error("the bound is not (n-1)/2 exactly")
	}
}
