package bundle_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/keys/bundle"
)

const (
	now     = int64(1_800_000_000)
	day     = int64(24 * 3600)
	harbour = citygate.Issuer(7)
	stop    = citygate.Issuer(8)
)

// private gives a key that depends on seed alone.
func private(seed uint32) ed25519.PrivateKey {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(nil, seed))
	return ed25519.NewKeyFromSeed(sum[:])
}

func public(seed uint32) []byte { return private(seed).Public().(ed25519.PublicKey) }

func root(seed uint32) bundle.RootKey { return bundle.RootKey{Public: public(seed)} }

func signer(seed uint32) bundle.RootSigner {
	return bundle.RootSigner{Root: root(seed), Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(private(seed), m), nil }}
}

func key(tenant citygate.TenantID, issuer citygate.Issuer, kid uint8, usage bundle.Usage, state bundle.State) bundle.Key {
	return bundle.Key{Tenant: tenant, Issuer: issuer, KeyID: kid, Algorithm: bundle.Ed25519,
		Public: public(uint32(tenant)<<16 | uint32(kid)<<8 | uint32(usage)), Usage: usage,
		NotBefore: now - 10*day, Expires: now + 100*day, State: state}
}

// genesis is the first root set: roots 1 to 3, of which 2 sign.
var genesis = rootSet(nil, []uint32{1, 2, 3}, 1, 2)

// rootSet gives the set after before with these roots, signed by signers.
func rootSet(before *bundle.RootSet, roots []uint32, signers ...uint32) bundle.RootSet {
	var keys []bundle.RootKey
	for _, seed := range roots {
		keys = append(keys, root(seed))
	}
	next, err := bundle.NextRoots(before, now-100*day, len(roots)/2+1, keys...)
	if err != nil {
		panic(err)
	}
	raw, err := next.Prepare()
	for _, seed := range signers {
		if err == nil {
			raw, err = bundle.Cosign(raw, signer(seed))
		}
	}
	if err == nil {
		next, err = bundle.InspectRoots(raw)
	}
	if err != nil {
		panic(err)
	}
	return next
}

// chain gives root sets as a bundle carries them.
func chain(sets ...bundle.RootSet) (raws [][]byte) {
	for _, s := range sets {
		raws = append(raws, s.Raw())
	}
	return raws
}

var roots = []bundle.RootKey{root(1), root(2), root(3)}

// city is a bundle of two issuers as a publisher fills it, roots 1 to 3.
func city() *bundle.Bundle {
	return &bundle.Bundle{
		Number: 5, Issued: now - day, Expires: now + 29*day, RootSets: chain(genesis),
		Tenants: []bundle.Tenant{
			{ID: 20, Issuer: harbour, Name: "Harbour City", Currency: "CNY", CapUnit: 50, MaxTTLHours: 72},
			{ID: 21, Issuer: stop, Name: "Hillside", Currency: "HKD", CapUnit: 10},
			{ID: 22, Name: "Metro", Currency: "CNY", Policy: []byte("rules"), PolicyVersion: 3, Home: true},
		},
		Keys: []bundle.Key{
			key(20, harbour, 1, bundle.ForCredential, bundle.Active),
			key(20, harbour, 2, bundle.ForCredential, bundle.Published),
			key(20, harbour, 1, bundle.ForDenyList|bundle.ForHeartbeat, bundle.Active),
			key(21, stop, 1, bundle.ForCredential, bundle.Active),
			key(21, stop, 1, bundle.ForDenyList, bundle.Active),
		},
		Schemes: []bundle.Scheme{
			{Tenant: 20, ID: "mot-sm2", Params: []byte(`{"skew_s":30}`), Roots: []bundle.ForeignRoot{
				{Kind: "root_ca", ID: 1, Key: []byte("a point")}, {Owner: "alipay", List: "L", ID: 300, Key: []byte("another")}}},
			{Tenant: 21, ID: "uic-dosipas"},
		},
		DenyFloors: []bundle.DenyFloor{{Issuer: harbour, List: 1, Seq: 9}},
	}
}

// sign has signers sign b, roots 1 and 2 if none is named.
func sign(t testing.TB, b *bundle.Bundle, signers ...bundle.RootSigner) []byte {
	t.Helper()
	if len(signers) == 0 {
		signers = []bundle.RootSigner{signer(1), signer(2)}
	}
	raw, err := bundle.Sign(b, signers...)
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	return raw
}

func open(t testing.TB, raw []byte) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(raw, roots, 2, now, 0)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return b
}

func refused(t *testing.T, what string, got error, want *citygate.Code) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %s", what, got, want.Name)
	}
}

func TestLookUpFollowsStateUsageAndTime(t *testing.T) {
	b := city()
	retiring := key(20, harbour, 3, bundle.ForCredential, bundle.Retiring)
	stolen := key(20, harbour, 4, bundle.ForCredential, bundle.Retiring)
	stolen.NotIssuedAfter = now - 2*day
	revoked := key(20, harbour, 5, bundle.ForCredential, bundle.Revoked)
	denyOnly := key(20, harbour, 6, bundle.ForDenyList, bundle.Active)
	b.Keys = append(b.Keys, retiring, stolen, revoked, denyOnly)
	b = open(t, sign(t, b))
	for _, c := range []struct {
		what   string
		issuer citygate.Issuer
		kid    uint8
		at     int64
		want   code.Reason
	}{
		{"active", harbour, 1, now, ""},
		{"active, before it was valid", harbour, 1, now - 10*day - 1, code.UnknownKey},
		{"active, at its first second", harbour, 1, now - 10*day, ""},
		{"active, at its expiry", harbour, 1, now + 100*day, code.KeyRevoked},
		{"published: the terminal's bundle may be older than the switch", harbour, 2, now, ""},
		{"retiring", harbour, 3, now, ""},
		{"stolen, issued before", harbour, 4, now - 2*day, ""},
		{"stolen, issued after", harbour, 4, now - 2*day + 1, code.KeyRevoked},
		{"revoked", harbour, 5, now - 5*day, code.KeyRevoked},
		{"a deny list key is no credential key", harbour, 6, now, code.UnknownKey},
		{"no such kid", harbour, 99, now, code.UnknownKey},
		{"another issuer's kid", stop, 2, now, code.UnknownKey},
		{"no such issuer", 999, 1, now, code.UnknownIssuer},
		{"no issuer", 0, 1, now, code.UnknownIssuer},
	} {
		k, reason := b.IssuerKey(c.issuer, c.kid, c.at)
		if reason != c.want || (k == nil) == (reason == "") {
			t.Errorf("%s: IssuerKey = %v, %q, want %q", c.what, k, reason, c.want)
		}
	}
	if _, reason := b.DenyKey(harbour, 1); reason != "" {
		t.Errorf("DenyKey refused: %s", reason)
	}
	if _, reason := b.HeartbeatKey(harbour, 1); reason != "" {
		t.Errorf("HeartbeatKey refused the deny list key with the heartbeat bit: %s", reason)
	}
	if _, reason := b.HeartbeatKey(stop, 1); reason != code.UnknownKey {
		t.Errorf("HeartbeatKey of a key without the bit = %q, want unknown_key", reason)
	}
	if k, _ := b.IssuerKey(stop, 1, now); !private(21<<16 | 1<<8 | uint32(bundle.ForCredential)).Public().(ed25519.PublicKey).Equal(k) {
		t.Error("IssuerKey gave another tenant's key")
	}
	if policy, version, ok := b.PolicyFor(22); !ok || string(policy) != "rules" || version != 3 {
		t.Errorf("PolicyFor = %q, %d, %t", policy, version, ok)
	}
	if _, _, ok := b.PolicyFor(20); ok {
		t.Error("PolicyFor a tenant without a policy says ok")
	}
	if b.DenyFloor(harbour, 1) != 9 || b.DenyFloor(harbour, 2) != 0 || b.Version() != 5 {
		t.Error("deny floor or version is wrong")
	}
	for name, want := range map[code.KeyName]code.Reason{
		{Scheme: "mot-sm2", Kind: "root_ca", ID: 1}:               "",
		{Scheme: "mot-sm2", Kind: "root_ca", ID: 2}:               code.UnknownKey,
		{Scheme: "mot-sm2", Owner: "alipay", List: "L", ID: 300}:  "",
		{Scheme: "mot-sm2", Owner: "alipay", List: "M", ID: 300}:  code.UnknownKey,
		{Scheme: "mot-sm2", Owner: "tencent", List: "L", ID: 300}: code.UnknownIssuer,
		{Scheme: "uic-dosipas", Kind: "root_ca", ID: 1}:           code.UnknownIssuer,
	} {
		if k, reason := b.ForeignKey(name); reason != want || (k == nil) == (reason == "") {
			t.Errorf("ForeignKey(%+v) = %q, %q, want %q", name, k, reason, want)
		}
	}
	if home, ok := b.Home(); !ok || home.ID != 22 {
		t.Errorf("Home = %v, %t", home, ok)
	}
}

func TestABundleNotOpenedAnswersNothing(t *testing.T) {
	raw := sign(t, city())
	b, signers, err := bundle.Inspect(raw)
	if err != nil || len(signers) != 2 || !slices.Contains(signers, root(1).ID()) {
		t.Fatalf("Inspect = %v, %v", signers, err)
	}
	if k, reason := b.IssuerKey(harbour, 1, now); k != nil || reason == "" {
		t.Error("an inspected bundle gave a key")
	}
	if k, reason := city().IssuerKey(harbour, 1, now); k != nil || reason == "" {
		t.Error("a bundle that was never signed gave a key")
	}
}

func TestLookUpDoesNotAllocate(t *testing.T) {
	b := open(t, sign(t, city()))
	if n := testing.AllocsPerRun(100, func() { _, _ = b.IssuerKey(harbour, 1, now) }); n != 0 {
		t.Errorf("IssuerKey allocates %v times", n)
	}
}

func TestRevokedKeysMayLeave(t *testing.T) {
	b := city()
	for i := range 4 {
		k := key(20, harbour, uint8(100+i), bundle.ForCredential, bundle.Revoked)
		b.Keys = append(b.Keys, k)
	}
	held := open(t, sign(t, b))
	n := city()
	n.Number, n.Prev = 6, held.Digest()
	if _, err := held.Follow(sign(t, n, signer(1), signer(2)), now); err != nil {
		t.Errorf("dropping revoked keys is refused: %v", err)
	}
}

func TestHalfOfTheKeysMayLeave(t *testing.T) {
	b := city()
	b.Keys = b.Keys[:4]
	held := open(t, sign(t, b))
	for keep, want := range map[int]bool{2: true, 1: false} {
		n := city()
		n.Number, n.Prev, n.Keys = 6, held.Digest(), n.Keys[:keep]
		if _, err := held.Follow(sign(t, n, signer(1), signer(2)), now); (err == nil) != want {
			t.Errorf("of four keys %d stay: %v", keep, err)
		}
	}
}

func TestP256KeysHaveOneEncoding(t *testing.T) {
	for seed := range uint32(20) {
		sum := sha256.Sum256(binary.BigEndian.AppendUint32(nil, seed))
		priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum[:])
		if err != nil {
			t.Fatal(err)
		}
		algorithm, raw, err := bundle.EncodePublic(&priv.PublicKey)
		if err != nil || algorithm != bundle.P256 || len(raw) != 33 {
			t.Fatalf("EncodePublic = %s, %x, %v", algorithm, raw, err)
		}
		back, err := bundle.ParsePublic(algorithm, raw)
		if err != nil || !priv.PublicKey.Equal(back) {
			t.Fatalf("ParsePublic: %v, %v", back, err)
		}
	}
	if _, err := bundle.ParsePublic(bundle.P256, append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)); err == nil {
		t.Error("a coordinate outside the field is accepted")
	}
}

// FuzzOpen checks that Open never panics and that what reads as a bundle is
// the only encoding of itself. Signatures would hide the second property, so
// the payload is signed here: the fuzzer owns everything else.
func FuzzOpen(f *testing.F) {
	f.Add(sign(f, city()))
	f.Add(sign(f, city(), signer(1), signer(2), signer(3)))
	f.Add([]byte{0xd8, 0x62, 0x84})
	f.Add(bundle.Payload(sign(f, city())))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if b, err := bundle.Open(raw, roots, 2, now, 0); (b == nil) != (err != nil) {
			t.Fatalf("Open = %v, %v; want exactly one of them", b, err)
		}
		b, ids, err := bundle.Inspect(raw)
		if err != nil {
			return
		}
		again, err := bundle.Encode(b, ids, bundle.Signatures(raw))
		if len(ids) == 0 {
			again, err = bundle.Unchecked(b), nil // a draft
		}
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("read and encoded again it differs: %v\n%x\n%x", err, raw, again)
		}
	})
}

func BenchmarkIssuerKey(b *testing.B) {
	held := open(b, sign(b, city()))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = held.IssuerKey(harbour, 1, now)
	}
}

func BenchmarkOpen500Keys(b *testing.B) {
	c := city()
	for kid := range 250 {
		for _, u := range []bundle.Usage{bundle.ForCredential, bundle.ForDenyList} {
			if kid > 2 {
				c.Keys = append(c.Keys, key(20, harbour, uint8(kid), u, bundle.Active))
			}
		}
	}
	raw := sign(b, c)
	for b.Loop() {
		if _, err := bundle.Open(raw, roots, 2, now, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(raw)), "bytes")
}
