package issuance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// realChain gives a real phone's attestation, its root, its key and a time at
// which it was valid.
func realChain(t testing.TB) (chain [][]byte, roots Roots, key []byte, at time.Time) {
	t.Helper()
	raw, err := os.ReadFile("testdata/android-tee-chain.pem")
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(chain[len(chain)-1])
	if err != nil {
		t.Fatal(err)
	}
	_, key, err = ct1.DeviceKey(leaf.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return chain, Roots{root}, key, time.Date(2023, 3, 8, 12, 0, 0, 0, time.UTC)
}

func TestRealAttestationHolds(t *testing.T) {
	chain, roots, key, at := realChain(t)
	got, err := roots.Check(chain, []byte("challenge"), key, at)
	want := Attestation{Version: 200, Level: "trusted_environment", Verified: true, Locked: true,
		Serials: []string{"1", "d05facf443ed535548d994f6845e6d3c", "81a25b152f47389f1a0803ccb64811ac3d95c2", "388266760658996860e", "d50ff25ba3f2d6b3"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("Check = %+v, %v; want %+v", got, err, want)
	}
	other := bytes.Clone(key)
	other[0] ^= 1 // the point's mirror image
	maker := newMaker(t)
	for name, check := range map[string]func() error{
		"another challenge": func() error { _, err := roots.Check(chain, []byte("challengf"), key, at); return err },
		"another key":       func() error { _, err := roots.Check(chain, []byte("challenge"), other, at); return err },
		"another root":      func() error { _, err := Roots{maker.root}.Check(chain, []byte("challenge"), key, at); return err },
		"no root":           func() error { _, err := Roots(nil).Check(chain, []byte("challenge"), key, at); return err },
		"expired":           func() error { _, err := roots.Check(chain, []byte("challenge"), key, at.AddDate(0, 1, 0)); return err },
		"a link missing": func() error {
			_, err := roots.Check(slices.Delete(slices.Clone(chain), 1, 2), []byte("challenge"), key, at)
			return err
		},
		"leaf alone": func() error { _, err := roots.Check(chain[:1], []byte("challenge"), key, at); return err },
	} {
		if err := check(); !errors.Is(err, ErrAttest) {
			t.Errorf("%s: %v, want %v", name, err, ErrAttest)
		}
	}
}

// No flip of a bit of the device's certificate goes through.
func TestAttestationIsSigned(t *testing.T) {
	chain, roots, key, at := realChain(t)
	for i := range chain[0] {
		bad := slices.Clone(chain)
		bad[0] = bytes.Clone(chain[0])
		bad[0][i] ^= 1 << (i % 8)
		if _, err := roots.Check(bad, []byte("challenge"), key, at); !errors.Is(err, ErrAttest) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

// A maker signs attestations for tests.
type maker struct {
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newMaker(t testing.TB) *maker {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maker"}, NotBefore: epoch.AddDate(-1, 0, 0), NotAfter: epoch.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &maker{key, root}
}

func (m *maker) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.root.Raw}))
}

// claims are what a record of a test says.
type claims struct {
	level, mintLevel asn1.Enumerated
	challenge        []byte
	purposes         []int
	origin           int
	locked           bool
	boot             asn1.Enumerated
}

func genuine(challenge []byte) claims {
	return claims{level: 2, mintLevel: 2, challenge: challenge, purposes: []int{2}, locked: true}
}

// attest gives a chain for key with a record that says c.
func (m *maker) attest(t testing.TB, key *ecdsa.PublicKey, c claims) [][]byte {
	t.Helper()
	must := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tagged := func(tag int, inner []byte) []byte {
		return must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: inner}))
	}
	list := slices.Concat(
		tagged(tagPurpose, must(asn1.MarshalWithParams(c.purposes, "set"))),
		tagged(tagOrigin, must(asn1.Marshal(c.origin))),
		tagged(tagRootOfTrust, must(asn1.Marshal(rootOfTrust{BootKey: make([]byte, 32), Locked: c.locked, State: c.boot, Hash: make([]byte, 32)}))))
	sequence := func(b []byte) asn1.RawValue {
		return asn1.RawValue{FullBytes: must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: b}))}
	}
	record := must(asn1.Marshal(keyDescription{Version: 300, Level: c.level, KeyMintVersion: 300, KeyMintLevel: c.mintLevel, Challenge: c.challenge,
		UniqueID: []byte{}, SoftwareOnly: sequence(nil), HardwareEnforce: sequence(list)}))
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Android Keystore Key"}, NotBefore: epoch.AddDate(-1, 0, 0), NotAfter: epoch.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{{Id: attestationOID, Value: record}}}
	return [][]byte{must(x509.CreateCertificate(rand.Reader, template, m.root, key, m.key)), m.root.Raw}
}

func TestAttestationMustSayEverything(t *testing.T) {
	m := newMaker(t)
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, public, err := ct1.DeviceKey(&device.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	challenge := bytes.Repeat([]byte{7}, 32)
	for name, change := range map[string]func(*claims){
		"":                        func(*claims) {},
		"kept by software":        func(c *claims) { c.level = 0 },
		"kept by software again":  func(c *claims) { c.mintLevel = 0 },
		"another challenge":       func(c *claims) { c.challenge = nil },
		"something else":          func(c *claims) { c.purposes = []int{7} },
		"something else as well":  func(c *claims) { c.purposes = []int{2, 7} },
		"not made in the":         func(c *claims) { c.origin = 2 },
		"unlocked":                func(c *claims) { c.locked = false },
		"unlocked or runs what i": func(c *claims) { c.boot = 1 },
	} {
		c := genuine(challenge)
		change(&c)
		got, err := Roots{m.root}.Check(m.attest(t, &device.PublicKey, c), challenge, public, epoch)
		switch {
		case name == "" && (err != nil || got.Level != "strongbox"):
			t.Errorf("a genuine one: %+v, %v", got, err)
		case name != "" && !errors.Is(err, ErrAttest):
			t.Errorf("%s: %v", name, err)
		}
	}
	// A device signs a second record with a key of its own: two records in a chain.
	inner := m.attest(t, &device.PublicKey, genuine(challenge))
	if _, err := (Roots{m.root}).Check([][]byte{inner[0], inner[0], inner[1]}, challenge, public, epoch); !errors.Is(err, ErrAttest) || !strings.Contains(err.Error(), "too") {
		t.Errorf("two records: %v", err)
	}
}

// Whatever bytes a record has, judging it ends in a verdict, and one that holds
// names the challenge.
func FuzzRecord(f *testing.F) {
	chain, _, _, _ := realChain(f)
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range leaf.Extensions {
		f.Add(e.Value)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if a, err := judge(der, []byte("challenge")); err == nil && (!a.Locked || !a.Verified || a.Level == "" || !bytes.Contains(der, []byte("challenge"))) {
			t.Errorf("held: %+v", a)
		} else if err != nil && !errors.Is(err, ErrAttest) {
			t.Error(err)
		}
	})
}
