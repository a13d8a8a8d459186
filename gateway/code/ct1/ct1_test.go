package ct1_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

const (
	issuedAt = 1_795_000_000
	shownAt  = issuedAt + 3*86400 + 17
)

// keySource holds one issuer's key under one kid.
type keySource struct {
	issuer  citygate.Issuer
	kid     uint8
	public  crypto.PublicKey
	version uint64
	asked   int
}

func (k *keySource) Version() uint64 { return k.version }

func (k *keySource) IssuerKey(issuer citygate.Issuer, kid uint8, _ int64) (crypto.PublicKey, code.Reason) {
	k.asked++
	if issuer != k.issuer {
		return nil, code.UnknownIssuer
	}
	if kid != k.kid {
		return nil, code.UnknownKey
	}
	return k.public, ""
}

// city is an issuer and a device of one suite.
type city struct {
	issue  func(msg []byte) []byte
	keys   *keySource
	suite  uint8
	device []byte
	sign   func([]byte) ([]byte, error)
}

func newCity(t testing.TB, suite uint8, seed string) *city {
	t.Helper()
	material := sha256.Sum256([]byte("issuer " + seed))
	issuerSuite, ed := suite, ed25519.NewKeyFromSeed(material[:])
	if suite == ct1.SuiteP256 || suite == ct1.SuiteChain {
		issuerSuite = ct1.SuiteEd25519
	}
	public := ed.Public()
	issue := func(msg []byte) ([]byte, error) { return ed25519.Sign(ed, msg), nil }
	if issuerSuite != ct1.SuiteEd25519 {
		public, issue = pointSigner(t, issuerSuite, material[:])
	}
	c := &city{
		issue: func(msg []byte) []byte {
			sig, err := issue(msg)
			if err != nil {
				t.Fatal(err)
			}
			return sig
		},
		keys:  &keySource{issuer: 0x1234, kid: 7, public: public, version: 1},
		suite: suite,
	}
	material = sha256.Sum256([]byte("device " + seed))
	switch suite {
	case ct1.SuiteChain:
		var err error
		if c.device, err = ct1.ChainAnchor(material[:16]); err != nil {
			t.Fatal(err)
		}
		if c.sign, err = ct1.ChainSigner(material[:16]); err != nil {
			t.Fatal(err)
		}
		return c
	case ct1.SuiteEd25519:
		key := ed25519.NewKeyFromSeed(material[:])
		public = key.Public()
		c.sign = func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil }
	default:
		public, c.sign = pointSigner(t, suite, material[:])
	}
	gotSuite, device, err := ct1.DeviceKey(public)
	if want := map[uint8]uint8{ct1.SuiteAllP256: ct1.SuiteP256}[suite]; err != nil || gotSuite != suite && gotSuite != want {
		t.Fatalf("DeviceKey = suite %d, %v; want %d", gotSuite, err, suite)
	}
	c.device = device
	return c
}

// pointSigner gives a key of P-256 or SM2.
func pointSigner(t testing.TB, suite uint8, scalar []byte) (crypto.PublicKey, func([]byte) ([]byte, error)) {
	t.Helper()
	if suite == ct1.SuiteSM2 {
		key, err := sm2.NewPrivateKey(scalar)
		if err != nil {
			t.Fatal(err)
		}
		return key.Public(), ct1.SM2Signer(key, rand.Reader)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		t.Fatal(err)
	}
	sign, err := ct1.Signer(key)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public(), sign
}

func (c *city) fields() ct1.Credential {
	f := ct1.Credential{
		Suite: c.suite, Rider: citygate.Rider{Issuer: 0x1234, List: 0x0506, Index: 0x0708090a}, KeyID: 7,
		IssuedAt: issuedAt, TTLHours: 168, Product: 0x0b0c, Cap: 0x0d0e, Taps: 200, Window: 30, DeviceKey: c.device,
	}
	if c.suite == ct1.SuiteChain {
		f.Taps, f.Window, f.TTLHours = 0, 60, 96
	}
	return f
}

func (c *city) credential(t testing.TB, f ct1.Credential) []byte {
	t.Helper()
	toSign, err := ct1.BuildCredential(f)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := ct1.Assemble(toSign, c.issue(toSign))
	if err != nil {
		t.Fatal(err)
	}
	return credential
}

func (c *city) show(t testing.TB, credential []byte) []byte {
	t.Helper()
	if c.suite == ct1.SuiteChain {
		return chainAt(t, c, credential, shownAt)
	}
	raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: shownAt, Counter: 0x1112, Context: 0x1314, Party: 2, ClockQuality: code.ClockSynced, Medium: code.MediumBand}, c.sign)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// proven is the check that covers part B of c's codes, and unproven its reason.
func (c *city) proven() code.Checks {
	if c.suite == ct1.SuiteChain {
		return code.SharedSecret
	}
	return code.DeviceSignature
}

func (c *city) unproven() code.Reason {
	if c.suite == ct1.SuiteChain {
		return code.BadSecret
	}
	return code.BadDeviceSignature
}

func (c *city) code(t testing.TB) []byte { return c.show(t, c.credential(t, c.fields())) }

// strength is what a genuine code of c rests on.
func (c *city) strength() code.Strength {
	if c.suite == ct1.SuiteChain {
		return code.SecretBound
	}
	return code.DeviceBound
}

// point gives the P-256 key of a compressed point, without the package's help.
func point(compressed []byte) *ecdsa.PublicKey {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), compressed)
	uncompressed := make([]byte, 65)
	uncompressed[0] = 4
	x.FillBytes(uncompressed[1:33])
	y.FillBytes(uncompressed[33:])
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), uncompressed)
	if err != nil {
		panic(err)
	}
	return key
}

func bareP256(compressed, msg, sig []byte) bool {
	digest := sha256.Sum256(msg)
	return ecdsa.Verify(point(compressed), digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}

// chainLink gives the value before the one at a position of a hash chain.
func chainLink(position int, value []byte) []byte {
	msg := binary.BigEndian.AppendUint32([]byte("CT1-chain\x00"), uint32(position))
	sum := sha256.Sum256(append(msg, value...))
	return sum[:16]
}

// negate gives n-s of P-256.
func negate(s []byte) []byte {
	return new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(s)).FillBytes(make([]byte, 32))
}

func suites(t *testing.T, f func(t *testing.T, c *city)) {
	for name, suite := range map[string]uint8{"ed25519": ct1.SuiteEd25519, "all p256": ct1.SuiteAllP256, "sm2": ct1.SuiteSM2, "p256": ct1.SuiteP256, "chain": ct1.SuiteChain} {
		t.Run(name, func(t *testing.T) { f(t, newCity(t, suite, name)) })
	}
}

func mustParse(t testing.TB, raw []byte) *code.Code {
	t.Helper()
	var c code.Code
	if err := (ct1.Scheme{}).Parse(raw, &c); err != nil {
		t.Fatalf("Parse(%x): %v", raw, err)
	}
	return &c
}

// The layout is a contract with every phone and validator: each byte is checked
// against offsets written here by hand, not against the package's constants.
func TestLayoutIsByteExact(t *testing.T) {
	suites(t, func(t *testing.T, c *city) {
		raw := c.code(t)
		want := map[uint8]struct {
			size, key               int
			hdr, ttlToWindow, partB string
		}{
			0: {191, 32, "20", "00a8" + "0b0c" + "0d0e" + "c8" + "1e", "03f491" + "25" + "1112" + "1314"},
			1: {192, 33, "24", "00a8" + "0b0c" + "0d0e" + "c8" + "1e", "03f491" + "25" + "1112" + "1314"},
			2: {192, 33, "28", "00a8" + "0b0c" + "0d0e" + "c8" + "1e", "03f491" + "25" + "1112" + "1314"},
			3: {192, 33, "2c", "00a8" + "0b0c" + "0d0e" + "c8" + "1e", "03f491" + "25" + "1112" + "1314"},
			4: {127, 16, "30", "0060" + "0b0c" + "0d0e" + "00" + "3c", "03f480" + "19" + "10e0" + "0000"}, // slot 4320 of 60 s
		}[c.suite]
		if len(raw) != want.size {
			t.Fatalf("%d bytes, want %d", len(raw), want.size)
		}
		head := "7d" + want.hdr + "1234" + "07" + "0506" + "0708090a" + "6afd86c0" + want.ttlToWindow
		if got := hex.EncodeToString(raw[:23]); got != head {
			t.Errorf("head %s, want %s", got, head)
		}
		isigAt, dynAt := 23+want.key, 23+want.key+64
		if !bytes.Equal(raw[23:isigAt], c.device) {
			t.Error("device key is not at 23")
		}
		if got := hex.EncodeToString(raw[dynAt : dynAt+8]); got != want.partB {
			t.Errorf("part B %s, want %s", got, want.partB)
		}
		if !bare(c.keys.public, append([]byte("CT1-cred\x00"), raw[:isigAt]...), raw[isigAt:dynAt]) {
			t.Error("the issuer's signature is not over CT1-cred and part A")
		}
		dyn, proof := append([]byte("CT1-dyn\x00"), raw[:dynAt+8]...), raw[dynAt+8:]
		switch c.suite {
		case 0:
			if !ed25519.Verify(c.device, dyn, proof) {
				t.Error("the device's signature is not over CT1-dyn, part A and part B")
			}
		case 1, 3:
			if !bareP256(c.device, dyn, proof) {
				t.Error("the device's signature is not over CT1-dyn, part A and part B")
			}
		case 2:
			key, err := sm2.ParseKey(c.device)
			if err != nil || !bare(key, dyn, proof) {
				t.Error("the device's signature is not over CT1-dyn, part A and part B")
			}
		case 4: // slot 4320 is the 4321st: so many hashes lead to the anchor
			for position := 4321; position > 0; position-- {
				proof = chainLink(position, proof)
			}
			if !bytes.Equal(proof, c.device) {
				t.Error("the preimage does not lead to the anchor")
			}
		}
	})
}

// bare checks a signature without the package's help.
func bare(public crypto.PublicKey, msg, sig []byte) bool {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, msg, sig)
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return sm2.Verify(key, []byte("1234567812345678"), msg, sig)
		}
		digest := sha256.Sum256(msg)
		return ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	}
	return false
}

func TestParseGivesTheFields(t *testing.T) {
	suites(t, func(t *testing.T, c *city) {
		got := mustParse(t, c.code(t))
		want := code.Code{
			Scheme: "ct1", Rider: citygate.Rider{Issuer: 0x1234, List: 0x0506, Index: 0x0708090a}, KeyID: 7, Suite: c.suite,
			IssuedAt: issuedAt, ExpiresAt: issuedAt + 168*3600, GeneratedAt: shownAt, Window: 30,
			Product: 0x0b0c, Cap: 0x0d0e, Taps: 200, Counter: 0x1112,
			Party: 2, ClockQuality: code.ClockSynced, Medium: code.MediumBand, Context: 0x1314,
			Raw: got.Raw, Credential: got.Raw[:len(got.Raw)-72], DeviceKey: c.device,
		}
		if c.suite == ct1.SuiteChain { // part B follows from the slot
			want.GeneratedAt, want.Window, want.Taps, want.Counter, want.ExpiresAt = issuedAt+4320*60, 60, 0, 4320, issuedAt+96*3600
			want.Party, want.ClockQuality, want.Context, want.Credential = 1, code.ClockUnknown, 0, got.Raw[:len(got.Raw)-24]
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			t.Errorf("parsed %s, want %s", a, b)
		}
		if v := (ct1.Scheme{}).Verify(got, c.keys, nil); v != (code.Verdict{Outcome: code.Accept, Strength: c.strength(), Checked: code.IssuerSignature | c.proven()}) {
			t.Errorf("Verify = %+v", v)
		}
	})
}

func TestEverySingleBitFlipIsRefused(t *testing.T) {
	suites(t, func(t *testing.T, c *city) {
		f := c.fields()
		f.Extensions = []byte{1, 2, 0xaa, 0xbb, 9, 0}
		for _, raw := range [][]byte{c.code(t), c.show(t, c.credential(t, f))} {
			cache := code.NewMemory(4096, 64) // it has seen the untouched code
			if v := (ct1.Scheme{}).Verify(mustParse(t, raw), c.keys, cache); v.Outcome != code.Accept {
				t.Fatalf("the untouched code: %+v", v)
			}
			for bit := range len(raw) * 8 {
				bad := bytes.Clone(raw)
				bad[bit/8] ^= 1 << (bit % 8)
				var parsed code.Code
				if (ct1.Scheme{}).Parse(bad, &parsed) != nil {
					continue
				}
				if v := (ct1.Scheme{}).Verify(&parsed, c.keys, cache); v.Outcome != code.Reject || !v.Reason.Known() {
					t.Errorf("bit %d of byte %d flipped: %+v", bit%8, bit/8, v)
				}
			}
		}
	})
}

func TestForgeriesAreNamed(t *testing.T) {
	suites(t, func(t *testing.T, c *city) {
		other := newCity(t, c.suite, "somebody else")
		credential := c.credential(t, c.fields())
		foreign := c.fields()
		foreign.Rider.Issuer = 0x4321
		unknownKey := c.fields()
		unknownKey.KeyID = 8
		stranger := c.show(t, credential) // with the proof of another device
		copy(ct1.Proof(mustParse(t, stranger)), ct1.Proof(mustParse(t, other.show(t, other.credential(t, other.fields())))))
		if c.suite != ct1.SuiteChain {
			otherDevice := *c
			otherDevice.sign = other.sign
			stranger = otherDevice.show(t, credential)
		}
		altered := bytes.Clone(credential)
		altered[20]++ // cap
		tests := []struct {
			name string
			raw  []byte
			want code.Reason
		}{
			{"issuer nobody knows", c.show(t, c.credential(t, foreign)), code.UnknownIssuer},
			{"key nobody knows", c.show(t, c.credential(t, unknownKey)), code.UnknownKey},
			{"issuer's signature by another key", c.show(t, other.credential(t, c.fields())), code.BadIssuerSignature},
			{"altered field, signed again by the device", c.show(t, altered), code.BadIssuerSignature},
			{"device's signature by another key", stranger, c.unproven()},
		}
		for _, test := range tests {
			for _, cache := range []code.CredentialCache{nil, code.NewCredentials(64)} {
				if v := (ct1.Scheme{}).Verify(mustParse(t, test.raw), c.keys, cache); v.Outcome != code.Reject || v.Reason != test.want {
					t.Errorf("%s: %+v, want %s", test.name, v, test.want)
				}
			}
		}
	})
}

// A device signs exactly one credential: its signature must not hold under a
// second credential for the same device key.
func TestDisplayCannotBeMovedToAnotherCredential(t *testing.T) {
	suites(t, func(t *testing.T, c *city) {
		if c.suite == ct1.SuiteChain {
			return // a preimage signs nothing: see TestChainsWeakerPromise
		}
		raw := c.code(t)
		f := c.fields()
		f.Cap = 0xffff
		moved := append(c.credential(t, f), raw[len(raw)-72:]...)
		if v := (ct1.Scheme{}).Verify(mustParse(t, moved), c.keys, nil); v != code.Refuse(code.BadDeviceSignature).After(code.IssuerSignature) {
			t.Errorf("%+v", v)
		}
	})
}

func TestCacheSkipsTheIssuerAndNothingElse(t *testing.T) {
	suites(t, func(t *testing.T, c *city) {
		cache := code.NewCredentials(64)
		credential := c.credential(t, c.fields())
		first, second := c.show(t, credential), c.show(t, credential)
		verify := func(raw []byte) code.Verdict { return (ct1.Scheme{}).Verify(mustParse(t, raw), c.keys, cache) }

		bad := bytes.Clone(first)
		bad[30] ^= 1 // of the device key
		if v := verify(bad); v != code.Refuse(code.BadIssuerSignature) || cache.Len() != 0 {
			t.Fatalf("a forged credential: %+v, %d cached", v, cache.Len())
		}
		for _, raw := range [][]byte{first, second} {
			if v := verify(raw); v.Outcome != code.Accept {
				t.Fatalf("%+v", v)
			}
			clear(raw) // the reader's buffer is used again: the cache must own its key
		}
		if c.keys.asked != 2 || cache.Len() != 1 {
			t.Errorf("issuer key asked for %d times, %d cached; want 2 and 1", c.keys.asked, cache.Len())
		}
		// Whoever holds a device may sign anything with it: a hit must stand for this
		// very issuer signature, not for the fields above it.
		resigned := bytes.Clone(credential)
		resigned[len(resigned)-1] ^= 1
		if v := verify(c.show(t, resigned)); v != code.Refuse(code.BadIssuerSignature) {
			t.Errorf("another issuer signature over cached fields: %+v", v)
		}
		third := c.show(t, credential)
		third[len(third)-1] ^= 1
		if v := verify(third); v != code.Refuse(c.unproven()).After(code.IssuerSignature) {
			t.Errorf("bad device signature on a hit: %+v", v)
		}
		// A new bundle revokes the key: what was cached under the old one is void.
		c.keys.version, c.keys.kid = 2, 99
		if v := verify(c.show(t, credential)); v != code.Refuse(code.UnknownKey) {
			t.Errorf("after the bundle changed: %+v", v)
		}
	})
}

// What is remembered of a display is its device signature, and that only if it
// held: the issuer's key is asked for again, and may be gone.
func TestADisplayIsRememberedWithoutItsIssuer(t *testing.T) {
	suites(t, func(t *testing.T, c *city) {
		memory := code.NewMemory(64, 64)
		verify := func(raw []byte) code.Verdict { return (ct1.Scheme{}).Verify(mustParse(t, raw), c.keys, memory) }
		good := c.show(t, c.credential(t, c.fields()))
		if c.unproven() != code.BadDeviceSignature { // proven by a secret: there is no signature to remember
			if v := verify(good); v.Outcome != code.Accept || memory.Held(sha256.Sum256(good)) {
				t.Errorf("%+v, remembered %v", v, memory.Held(sha256.Sum256(good)))
			}
			return
		}
		bad := bytes.Clone(good)
		bad[len(bad)-1] ^= 1
		for range 2 {
			if v := verify(good); v.Outcome != code.Accept {
				t.Fatalf("the same display: %+v", v)
			}
			if v := verify(bad); v != code.Refuse(code.BadDeviceSignature).After(code.IssuerSignature) {
				t.Fatalf("a bad device signature: %+v", v)
			}
		}
		if !memory.Held(sha256.Sum256(good)) || memory.Held(sha256.Sum256(bad)) {
			t.Error("what holds is not remembered, or what does not is")
		}
		c.keys.version, c.keys.kid = 2, 99
		if v := verify(good); v != code.Refuse(code.UnknownKey) {
			t.Errorf("the display is known, its issuer's key is revoked: %+v", v)
		}
	})
}

func TestIssuedKeyOffTheCurveIsMalformed(t *testing.T) {
	c := newCity(t, ct1.SuiteP256, "off curve")
	f := c.fields()
	for x := byte(0); ; x++ { // half of all x have no point
		f.DeviceKey = append([]byte{2}, bytes.Repeat([]byte{0}, 32)...)
		f.DeviceKey[32] = x
		if px, _ := elliptic.UnmarshalCompressed(elliptic.P256(), f.DeviceKey); px == nil {
			break
		}
	}
	if _, err := ct1.BuildCredential(f); err == nil {
		t.Error("BuildCredential takes a device key off the curve")
	}
	good := c.credential(t, c.fields())
	bad := bytes.Clone(good[:56])
	copy(bad[23:], f.DeviceKey)
	bad = append(bad, c.issue(append([]byte("CT1-cred\x00"), bad...))...)
	raw := append(bad, c.code(t)[120:]...)
	if v := (ct1.Scheme{}).Verify(mustParse(t, raw), c.keys, nil); v != code.Refuse(code.Malformed) {
		t.Errorf("%+v, want malformed", v)
	}
}

func TestBuildersRefuseWhatParsersWould(t *testing.T) {
	c := newCity(t, ct1.SuiteEd25519, "builders")
	for name, change := range map[string]func(*ct1.Credential){
		"unknown suite":      func(f *ct1.Credential) { f.Suite = 5 },
		"short device key":   func(f *ct1.Credential) { f.DeviceKey = f.DeviceKey[:31] },
		"small order key":    func(f *ct1.Credential) { f.DeviceKey = append([]byte{1}, make([]byte, 31)...) },
		"time before 1970":   func(f *ct1.Credential) { f.IssuedAt = -1 },
		"time after 2106":    func(f *ct1.Credential) { f.IssuedAt = 1 << 32 },
		"no lifetime":        func(f *ct1.Credential) { f.TTLHours = 0 },
		"no window":          func(f *ct1.Credential) { f.Window = 0 },
		"long extension":     func(f *ct1.Credential) { f.Extensions = append([]byte{1, 20}, make([]byte, 20)...) },
		"unordered":          func(f *ct1.Credential) { f.Extensions = []byte{2, 0, 1, 0} },
		"twice the same TLV": func(f *ct1.Credential) { f.Extensions = []byte{2, 0, 2, 0} },
		"torn TLV":           func(f *ct1.Credential) { f.Extensions = []byte{2, 5, 1} },
	} {
		f := c.fields()
		change(&f)
		if got, err := ct1.BuildCredential(f); err == nil {
			t.Errorf("%s: built %x", name, got)
		}
	}
	credential := c.credential(t, c.fields())
	good := ct1.Dynamic{GeneratedAt: shownAt, Party: 1}
	for name, change := range map[string]func(*ct1.Dynamic){
		"before issue":    func(d *ct1.Dynamic) { d.GeneratedAt = issuedAt - 1 },
		"194 days later":  func(d *ct1.Dynamic) { d.GeneratedAt = issuedAt + 1<<24 },
		"nobody":          func(d *ct1.Dynamic) { d.Party = 0 },
		"party of 16":     func(d *ct1.Dynamic) { d.Party = 16 },
		"unknown quality": func(d *ct1.Dynamic) { d.ClockQuality = 3 },
	} {
		d := good
		change(&d)
		if got, err := ct1.Display(credential, d, c.sign); err == nil {
			t.Errorf("%s: made %x", name, got)
		}
	}
	if _, err := ct1.Display(credential, good, func([]byte) ([]byte, error) { return nil, errors.New("locked") }); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("a device that cannot sign: %v", err)
	}
}

func TestStructureIsRefusedByKind(t *testing.T) {
	c := newCity(t, ct1.SuiteP256, "structure")
	valid := c.code(t)
	edit := func(f func(raw []byte) []byte) []byte { return f(bytes.Clone(valid)) }
	set := func(at int, v byte) []byte {
		return edit(func(raw []byte) []byte { raw[at] = v; return raw })
	}
	highS := edit(func(raw []byte) []byte {
		s := raw[160:]
		new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(s)).FillBytes(s)
		return raw
	})
	tests := []struct {
		name string
		raw  []byte
		want error
	}{
		{"nothing", nil, code.ErrMalformed},
		{"magic alone", valid[:1], code.ErrMalformed},
		{"other magic", set(0, 0x7c), code.ErrMalformed},
		{"version 0", set(1, 0x0c), code.ErrUnsupported},
		{"version 2", set(1, 0x4c), code.ErrUnsupported},
		{"suite 4, which is shorter", set(1, 0x30), code.ErrMalformed},
		{"suite 5", set(1, 0x34), code.ErrUnsupported},
		{"suite 7", set(1, 0x3c), code.ErrUnsupported},
		{"reserved bit", set(1, 0x2d), code.ErrMalformed},
		{"extensions that are not there", set(1, 0x2e), code.ErrMalformed},
		{"the other suite's length", set(1, 0x20), code.ErrMalformed},
		{"uncompressed key", set(23, 4), code.ErrMalformed},
		{"x of the key is p", edit(func(raw []byte) []byte {
			elliptic.P256().Params().P.FillBytes(raw[24:56])
			return raw
		}), code.ErrMalformed},
		{"party of 0", set(123, valid[123]&0x0f), code.ErrMalformed},
		{"clock quality 3", set(123, valid[123]|0x0c), code.ErrMalformed},
		{"high S", highS, code.ErrMalformed},
		{"a byte short", valid[:191], code.ErrMalformed},
		{"a byte more", append(bytes.Clone(valid), 0), code.ErrMalformed},
	}
	for _, test := range tests {
		got := code.Code{Scheme: "left over"}
		if err := (ct1.Scheme{}).Parse(test.raw, &got); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if got.Scheme != "" || got.Raw != nil || got.Rider != (citygate.Rider{}) {
			t.Errorf("%s: left %+v behind", test.name, got)
		}
	}
	// High S is refused for being the second form of a code, not because it is
	// wrong: bare ECDSA takes it.
	if !bareP256(c.device, append([]byte("CT1-dyn\x00"), highS[:128]...), highS[128:]) {
		t.Error("the high-S code of this test is no valid signature; the test proves nothing")
	}
}

func TestEveryExtensionLengthIsBounded(t *testing.T) {
	c := newCity(t, ct1.SuiteP256, "extensions")
	for n := range 256 {
		var ext []byte
		if n >= 2 {
			ext = append([]byte{5, byte(n - 2)}, make([]byte, n-2)...)
		}
		plain := c.credential(t, c.fields())
		a := bytes.Clone(plain[:56])
		a[1] |= 2
		a = append(append(a, byte(n)), ext...)
		a = append(a, c.issue(append([]byte("CT1-cred\x00"), a...))...)
		var got code.Code
		err := ct1.ParseCredential(a, &got)
		if want := n >= 2 && n <= 21; (err == nil) != want {
			t.Errorf("extension of %d bytes: %v", n, err)
		} else if want && !bytes.Equal(ct1.Extensions(&got), ext) {
			t.Errorf("extension of %d bytes came back as %x", n, ct1.Extensions(&got))
		}
	}
}

func TestRefusalBeforeSignaturesAllocatesNothing(t *testing.T) {
	suites(t, refusalAllocatesNothing)
}

func refusalAllocatesNothing(t *testing.T, c *city) {
	valid := c.code(t)
	flags := bytes.Clone(valid)
	flags[len(valid)-len(ct1.Proof(mustParse(t, valid)))-5] = 0
	foreign := bytes.Clone(valid)
	foreign[3] = 0
	inputs := [][]byte{nil, valid[:1], valid[:100], flags, foreign, []byte("CT1:ABC"), []byte("hQVDUFYwMQ"), bytes.Repeat([]byte{0x7d}, 4000)}
	d := code.NewDispatcher(ct1.Scheme{})
	cache := code.NewCredentials(64)
	var parsed code.Code
	allocs := testing.AllocsPerRun(100, func() {
		for _, raw := range inputs {
			if d.Parse(raw, &parsed) != nil {
				continue
			}
			if v := d.Verify(&parsed, c.keys, cache); v.Reason != code.UnknownIssuer {
				t.Fatalf("%+v", v)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if allocs := testing.AllocsPerRun(100, func() {
		if err := d.Parse(valid, &parsed); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("parsing a valid code: %v allocations", allocs)
	}
}

// Other schemes' codes must never be taken for ours, whatever the reader sends.
func TestOtherSchemesCodesAreNotOurs(t *testing.T) {
	for _, name := range []string{"uic-dosipas.json", "mot-sm2-synthetic.json", "emvco-qr.json"} {
		paths, err := filepath.Glob("../*/testdata/" + name) // of the scheme's own folder, where there is one
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: no such file, %v", name, err)
		}
		data, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, raw := range hexStrings(t, data) {
			found++
			var c code.Code
			if m := (ct1.Scheme{}).Sniff(raw); m != code.No {
				t.Errorf("%s: Sniff(%x) = %v", name, raw, m)
			}
			if err := (ct1.Scheme{}).Parse(raw, &c); err == nil {
				t.Errorf("%s: %x parses", name, raw)
			}
		}
		if found == 0 {
			t.Errorf("%s: no codes found; the test proves nothing", name)
		}
	}
}

// hexStrings gives the bytes of every long hexadecimal string in a JSON file.
func hexStrings(t *testing.T, data []byte) [][]byte {
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case string:
			if raw, err := hex.DecodeString(v); err == nil && len(raw) >= 24 {
				out = append(out, raw)
			}
		}
	}
	walk(doc)
	return out
}

// FuzzParse checks that no two byte strings are one code. If they were, one ride
// could be shown twice under two names. Nothing is left behind on error.
func FuzzParse(f *testing.F) {
	for suite := range uint8(5) {
		c := newCity(f, suite, "fuzz")
		f.Add(c.code(f))
		with := c.fields()
		with.Extensions = []byte{1, 2, 3, 4, 200, 0}
		f.Add(c.show(f, c.credential(f, with)))
	}
	keys := &keySource{issuer: 1, public: ed25519.PublicKey(make([]byte, 32))}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c code.Code
		err := (ct1.Scheme{}).Parse(raw, &c)
		if err != nil {
			if c.Raw != nil || c.Credential != nil || c.DeviceKey != nil || c.Rider != (citygate.Rider{}) || c.Scheme != "" {
				t.Fatalf("error %v and %+v", err, c)
			}
			return
		}
		if got := ct1.Marshal(&c); !bytes.Equal(got, raw) {
			t.Errorf("two encodings of one code: %x and %x", raw, got)
		}
		if c.Party == 0 || c.ExpiresAt < c.IssuedAt || c.GeneratedAt < c.IssuedAt || binary.BigEndian.Uint32(raw[7:]) != c.Rider.Index {
			t.Errorf("%+v", c)
		}
		if v := (ct1.Scheme{}).Verify(&c, keys, nil); v.Outcome != code.Reject {
			t.Errorf("accepted with nobody's key: %+v", v)
		}
	})
}
