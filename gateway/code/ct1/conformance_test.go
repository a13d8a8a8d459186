package ct1_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/schemetest"
)

var update = flag.Bool("update", false, "write what is made in testdata anew: codes.txt, vectors.json, qr")

// published gives one code of each suite, and one with extensions. They stand in
// a file since SM2 signatures differ each time.
func published(t *testing.T) (cities []*city, codes [][]byte) {
	t.Helper()
	for suite := range uint8(5) {
		cities = append(cities, newCity(t, suite, "published"))
	}
	cities = append(cities, newCity(t, ct1.SuiteP256, "published"))
	if *update {
		var text strings.Builder
		text.WriteString("# Codes of this scheme, for every other scheme to refuse. Written by go test -update.\n")
		for i, c := range cities {
			f := c.fields()
			f.Taps = 0
			if i == 5 {
				f.Extensions = []byte{1, 2, 0xaa, 0xbb, 9, 0}
			}
			fmt.Fprintf(&text, "%x # suite %d\n", c.show(t, c.credential(t, f)), c.suite)
		}
		if err := os.WriteFile("testdata/codes.txt", []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("testdata/codes.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if text, _, _ := strings.Cut(line, "#"); strings.TrimSpace(text) != "" {
			raw, err := hex.DecodeString(strings.TrimSpace(text))
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, raw)
		}
	}
	if len(codes) != len(cities) {
		t.Fatalf("%d published codes, want %d; run go test -update", len(codes), len(cities))
	}
	return cities, codes
}

func TestConformance(t *testing.T) {
	cities, codes := published(t)
	suite := schemetest.Suite{Scheme: ct1.Scheme{}}
	for i, c := range cities {
		keySize, proof := len(c.device), 64
		ext := 0
		if i == 5 {
			ext = 7
		}
		v := schemetest.Vector{
			Name: fmt.Sprintf("suite %d, %d bytes of extensions", c.suite, ext), Raw: codes[i], Keys: c.keys, At: shownAt, Amount: 0x0d0e,
			Outcome: code.Accept, Strength: code.DeviceBound, Checked: code.IssuerSignature | code.DeviceSignature | code.InWindow | code.WithinCap,
		}
		shown := code.BadDeviceSignature
		if c.suite == ct1.SuiteChain {
			proof, shown = 16, code.BadSecret
			v.Strength, v.Checked = code.SecretBound, code.IssuerSignature|code.SharedSecret|code.InWindow|code.WithinCap
		}
		isig := 23 + keySize + ext
		part := func(name string, from, to int, reason code.Reason) schemetest.Region {
			return schemetest.Region{Name: name, From: from, To: to, Reason: reason}
		}
		v.Proven = []schemetest.Region{
			part("magic and header", 0, 2, code.Malformed),
			part("issuer", 2, 4, code.UnknownIssuer),
			part("key id", 4, 5, code.UnknownKey),
			part("rider to window", 5, 22, code.BadIssuerSignature),
			part("device key", 23, 23+keySize, code.BadIssuerSignature),
			part("issuer's signature", isig, isig+64, code.BadIssuerSignature),
			part("device's proof", isig+72, isig+72+proof, shown),
		}
		if c.suite == ct1.SuiteChain { // a slot is one time, one counter and nothing else
			v.Proven = append(v.Proven, part("window", 22, 23, code.Malformed), part("dynamic part", isig+64, isig+72, code.Malformed))
		} else {
			v.Proven = append(v.Proven, part("window", 22, 23, code.BadIssuerSignature), part("dynamic part", isig+64, isig+72, shown))
		}
		if ext > 0 {
			v.Proven = append(v.Proven, part("extensions", 23+keySize, isig, code.BadIssuerSignature))
		}
		suite.Vectors = append(suite.Vectors, v)
	}
	late := suite.Vectors[3]
	late.Name, late.At, late.Outcome, late.Reason = "a second too late", shownAt+31, code.Reject, code.ExpiredCode
	dear := suite.Vectors[3]
	dear.Name, dear.Amount, dear.Outcome, dear.Reason = "above the cap", 0x0d0f, code.Reject, code.AmountOverCap
	suite.Vectors = append(suite.Vectors, late, dear)
	schemetest.Run(t, suite)
}

// An issuer's key verifies the suites of its own algorithm alone.
func TestSuiteAndIssuerKeyGoTogether(t *testing.T) {
	cities, codes := published(t)
	for i, c := range cities {
		for _, other := range cities {
			got := (ct1.Scheme{}).Verify(mustParse(t, codes[i]), other.keys, nil)
			same := fmt.Sprintf("%T", c.keys.public) == fmt.Sprintf("%T", other.keys.public) && (c.suite == ct1.SuiteSM2) == (other.suite == ct1.SuiteSM2)
			if same && got.Outcome != code.Accept || !same && got.Reason != code.Unsupported {
				t.Errorf("suite %d under the key of suite %d: %+v", c.suite, other.suite, got)
			}
		}
	}
}

func chainDisplay(at int64) ct1.Dynamic {
	return ct1.Dynamic{GeneratedAt: at, Party: 1, ClockQuality: code.ClockUnknown, Medium: code.MediumBand}
}

// Every slot of a chain shows its own value; a slot's value opens no other slot.
func TestChainSlots(t *testing.T) {
	c := newCity(t, ct1.SuiteChain, "slots")
	credential := c.credential(t, c.fields())
	var last []byte
	for _, slot := range []int64{0, 1, 2, 100, ct1.ChainMax - 1} {
		raw, err := ct1.Display(credential, chainDisplay(issuedAt+slot*60+59), c.sign)
		if err != nil {
			t.Fatal(err)
		}
		got := mustParse(t, raw)
		if got.GeneratedAt != issuedAt+slot*60 || int64(got.Counter) != slot || len(raw) != 127 {
			t.Errorf("slot %d: made at %d, counter %d, %d bytes", slot, got.GeneratedAt, got.Counter, len(raw))
		}
		if v := (ct1.Scheme{}).Verify(got, c.keys, nil); v.Outcome != code.Accept || v.Strength != code.SecretBound {
			t.Errorf("slot %d: %+v", slot, v)
		}
		if last != nil { // this slot's fields with an earlier slot's value
			copy(raw[111:], last)
			if v := (ct1.Scheme{}).Verify(mustParse(t, raw), c.keys, nil); v.Reason != code.BadSecret {
				t.Errorf("slot %d with an earlier value: %+v", slot, v)
			}
		}
		last = bytes.Clone(raw[111:])
	}
	// The anchor itself is on every code: it must open nothing.
	raw, err := ct1.Display(credential, chainDisplay(issuedAt), c.sign)
	if err != nil {
		t.Fatal(err)
	}
	copy(raw[111:], c.device)
	if v := (ct1.Scheme{}).Verify(mustParse(t, raw), c.keys, nil); v.Reason != code.BadSecret {
		t.Errorf("the anchor as a value: %+v", v)
	}
	if _, err := ct1.Display(credential, chainDisplay(issuedAt+ct1.ChainMax*60), c.sign); err == nil {
		t.Error("a display behind the chain's end")
	}
}

// What a preimage does not cover has one value only, or it could be changed by
// anyone who sees the band.
func TestChainDisplaysSayNothingUnproven(t *testing.T) {
	c := newCity(t, ct1.SuiteChain, "unproven")
	valid := c.code(t)
	for name, change := range map[string]func(raw []byte){
		"a second later":   func(raw []byte) { raw[105]++ },
		"another counter":  func(raw []byte) { raw[108]++ },
		"a party of two":   func(raw []byte) { raw[106] += 0x10 },
		"a better clock":   func(raw []byte) { raw[106] &^= 0x0c },
		"another medium":   func(raw []byte) { raw[106] &^= 0x03 },
		"a vehicle":        func(raw []byte) { raw[110] = 1 },
		"no window":        func(raw []byte) { raw[22] = 0 },
		"behind the chain": func(raw []byte) { raw[103], raw[107], raw[108] = 0xff, 0xff, 0xff },
	} {
		raw := bytes.Clone(valid)
		change(raw)
		if err := (ct1.Scheme{}).Parse(raw, new(code.Code)); !errors.Is(err, code.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	credential := c.credential(t, c.fields())
	for name, change := range map[string]func(*ct1.Dynamic){
		"a counter": func(d *ct1.Dynamic) { d.Counter = 1 }, "a vehicle": func(d *ct1.Dynamic) { d.Context = 1 },
		"a party": func(d *ct1.Dynamic) { d.Party = 2 }, "a clock": func(d *ct1.Dynamic) { d.ClockQuality = code.ClockSynced },
		"a phone": func(d *ct1.Dynamic) { d.Medium = code.MediumPhone },
	} {
		d := chainDisplay(issuedAt)
		change(&d)
		if _, err := ct1.Display(credential, d, c.sign); err == nil {
			t.Errorf("a display that states %s", name)
		}
	}
	for name, change := range map[string]func(*ct1.Credential){
		"a tap budget":     func(f *ct1.Credential) { f.Taps = 5 },
		"an hour too long": func(f *ct1.Credential) { f.TTLHours++ },
		"no anchor":        func(f *ct1.Credential) { f.DeviceKey = make([]byte, 16) },
	} {
		f := c.fields()
		change(&f)
		if _, err := ct1.BuildCredential(f); err == nil {
			t.Errorf("a credential with %s", name)
		}
	}
	if _, err := ct1.ChainAnchor(make([]byte, 15)); err == nil {
		t.Error("a seed of 15 bytes")
	}
	if _, err := ct1.ChainSigner(nil); err == nil {
		t.Error("no seed")
	}
}

// A device must not be able to make the verifier read a chain value of another
// length.
func TestChainValueLength(t *testing.T) {
	c := newCity(t, ct1.SuiteChain, "length")
	for _, n := range []int{0, 15, 17, 64} {
		if _, err := ct1.Display(c.credential(t, c.fields()), chainDisplay(issuedAt), func([]byte) ([]byte, error) { return make([]byte, n), nil }); err == nil {
			t.Errorf("a value of %d bytes", n)
		}
		raw := c.code(t)
		if err := (ct1.Scheme{}).Parse(append(raw[:111:111], make([]byte, n)...), new(code.Code)); err == nil {
			t.Errorf("a code with a value of %d bytes", n)
		}
	}
}
