package bundle_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"errors"
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

// city is a bundle of two issuers as a publisher fills it, roots 1 to 3.
func city() *bundle.Bundle {
	return &bundle.Bundle{
		Number: 5, Issued: now - day, Expires: now + 29*day, Threshold: 1,
		Roots: []bundle.RootKey{root(1), root(2), root(3)},
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
		DenyFloors: []bundle.DenyFloor{{Issuer: harbour, List: 1, Seq: 9}},
	}
}

func sign(t testing.TB, b *bundle.Bundle, signers ...bundle.RootSigner) []byte {
	t.Helper()
	raw, err := bundle.Sign(b, signers...)
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	return raw
}

func open(t testing.TB, raw []byte, roots ...bundle.RootKey) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(raw, roots, 1, now, 0)
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

func TestEveryRefusalHasItsName(t *testing.T) {
	good := sign(t, city(), signer(1))
	roots := []bundle.RootKey{root(1), root(2), root(3)}
	for _, c := range []struct {
		what      string
		raw       []byte
		roots     []bundle.RootKey
		threshold int
		now       int64
		floor     uint64
		want      *citygate.Code
	}{
		{"no root known", good, nil, 1, now, 0, bundle.ErrNotTrusted},
		{"signed by another root", good, []bundle.RootKey{root(2)}, 1, now, 0, bundle.ErrNotTrusted},
		{"one signature of two", good, roots, 2, now, 0, bundle.ErrNotTrusted},
		{"one root listed twice", good, []bundle.RootKey{root(1), root(1)}, 2, now, 0, bundle.ErrNotTrusted},
		{"threshold zero", good, roots, 0, now, 0, bundle.ErrNotTrusted},
		{"at the second it expires", good, roots, 1, now + 29*day, 0, bundle.ErrExpired},
		{"below the floor", good, roots, 1, now, 6, bundle.ErrOlder},
		{"cut short", good[:len(good)-1], roots, 1, now, 0, bundle.ErrMalformed},
		{"a byte too many", append(bytes.Clone(good), 0), roots, 1, now, 0, bundle.ErrMalformed},
		{"nothing", nil, roots, 1, now, 0, bundle.ErrMalformed},
		{"too large", make([]byte, bundle.BytesMax+1), roots, 1, now, 0, bundle.ErrMalformed},
	} {
		b, err := bundle.Open(c.raw, c.roots, c.threshold, c.now, c.floor)
		refused(t, c.what, err, c.want)
		if b != nil {
			t.Errorf("%s: Open gave a bundle with its error", c.what)
		}
	}
	if _, err := bundle.Open(good, roots, 1, now, 5); err != nil {
		t.Errorf("the floor itself is refused: %v", err)
	}
}

func TestEveryBitFlipIsRefused(t *testing.T) {
	good := sign(t, city(), signer(1))
	roots := []bundle.RootKey{root(1)}
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if b, err := bundle.Open(bad, roots, 1, now, 0); err == nil || b != nil {
				t.Fatalf("byte %d bit %d flipped and still accepted", i, bit)
			}
		}
	}
}

// What no signature covers, and what a root key signed by mistake, must still
// be in the one canonical form.
func TestAnotherEncodingOfTheSameBundleIsRefused(t *testing.T) {
	good := sign(t, city(), signer(1))
	payload := bundle.Payload(good)
	if again, err := bundle.SignPayload(payload, signer(1)); err != nil || !bytes.Equal(again, good) {
		t.Fatalf("the payload signed again differs: %v", err)
	}
	once := func(in []byte, old, new string) []byte {
		t.Helper()
		if bytes.Count(in, []byte(old)) < 1 {
			t.Fatalf("%x is not in the bundle", old)
		}
		return bytes.Replace(in, []byte(old), []byte(new), 1)
	}
	for what, payload := range map[string][]byte{
		"a number longer than needed": once(payload, "\x02\x05\x03", "\x02\x18\x05\x03"),
		"a field twice":               once(payload, "\x02\x05\x03", "\x02\x05\x02\x05\x03"),
		"an indefinite string":        once(payload, "\x63TB1", "\x7f\x63TB1\xff"),
		"a float":                     once(payload, "\x02\x05\x03", "\x02\xf9\x45\x00\x03"),
		"an empty field spelled out":  once(once(payload, "\xaa\x01\x63TB1", "\xab\x01\x63TB1"), "\x0b\x81", "\x0a\x00\x0b\x81"),
		"bytes after the end":         append(bytes.Clone(payload), 0),
	} {
		raw, err := bundle.SignPayload(payload, signer(1))
		if err != nil {
			t.Fatal(err)
		}
		_, err = bundle.Open(raw, city().Roots, 1, now, 0)
		refused(t, what, err, bundle.ErrMalformed)
	}
	for what, raw := range map[string][]byte{
		"a header nobody signed": once(good, "+cbor\xa0", "+cbor\xa1\x04\x41\x00"),
		"no tag":                 good[2:],
	} {
		_, err := bundle.Open(raw, city().Roots, 1, now, 0)
		refused(t, what, err, bundle.ErrMalformed)
	}
}

func TestContentIsRefusedByName(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(b *bundle.Bundle)
		want   *citygate.Code
	}{
		{"no keys", func(b *bundle.Bundle) { b.Keys = nil }, bundle.ErrEmpty},
		{"no tenants", func(b *bundle.Bundle) { b.Tenants, b.Keys = nil, nil }, bundle.ErrEmpty},
		{"all revoked", func(b *bundle.Bundle) {
			for i := range b.Keys {
				b.Keys[i].State = bundle.Revoked
			}
		}, bundle.ErrEmpty},
		{"a key for credentials and deny lists", func(b *bundle.Bundle) { b.Keys[0].Usage |= bundle.ForDenyList }, bundle.ErrWrongUsage},
		{"a key for nothing", func(b *bundle.Bundle) { b.Keys[0].Usage = 0 }, bundle.ErrWrongUsage},
		{"a usage nobody knows", func(b *bundle.Bundle) { b.Keys[0].Usage = 64 }, bundle.ErrWrongUsage},
		{"one key for two usages", func(b *bundle.Bundle) { b.Keys[2].Public = b.Keys[0].Public }, bundle.ErrWrongUsage},
		{"a root key as credential key", func(b *bundle.Bundle) { b.Keys[0].Public = public(2) }, bundle.ErrWrongUsage},
		{"two keys in one slot", func(b *bundle.Bundle) {
			b.Keys = append(b.Keys, key(20, harbour, 1, bundle.ForDenyList, bundle.Active))
		}, bundle.ErrWrongUsage},
		{"a credential key of a tenant without issuer", func(b *bundle.Bundle) {
			b.Keys = append(b.Keys, key(22, 0, 1, bundle.ForCredential, bundle.Active))
		}, bundle.ErrWrongUsage},
		{"a key that speaks for another issuer", func(b *bundle.Bundle) { b.Keys[3].Issuer = harbour }, bundle.ErrMalformed},
		{"a key twice", func(b *bundle.Bundle) { b.Keys = append(b.Keys, b.Keys[0]) }, bundle.ErrMalformed},
		{"one issuer, two tenants", func(b *bundle.Bundle) {
			b.Tenants[1].Issuer, b.Keys[3].Issuer, b.Keys[4].Issuer = harbour, harbour, harbour
		}, bundle.ErrMalformed},
		{"two homes", func(b *bundle.Bundle) { b.Tenants[0].Home = true }, bundle.ErrMalformed},
		{"RSA", func(b *bundle.Bundle) { b.Keys[0].Algorithm = bundle.RSA2048 }, bundle.ErrMalformed},
		{"a state nobody knows", func(b *bundle.Bundle) { b.Keys[0].State = "next" }, bundle.ErrMalformed},
		{"it never expires", func(b *bundle.Bundle) { b.Expires = 1 << 62 }, bundle.ErrMalformed},
		{"it expires before it is issued", func(b *bundle.Bundle) { b.Expires = -1 << 63 }, bundle.ErrMalformed},
		{"a threshold out of reach", func(b *bundle.Bundle) { b.Threshold = 4 }, bundle.ErrMalformed},
		{"no roots", func(b *bundle.Bundle) { b.Roots = nil }, bundle.ErrMalformed},
		{"number zero", func(b *bundle.Bundle) { b.Number = 0 }, bundle.ErrMalformed},
	} {
		b := city()
		c.change(b)
		_, err := bundle.Sign(b, signer(1))
		refused(t, c.what, err, c.want)
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
	b = open(t, sign(t, b, signer(1)), root(1))
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
	if home, ok := b.Home(); !ok || home.ID != 22 {
		t.Errorf("Home = %v, %t", home, ok)
	}
}

func TestABundleNotOpenedAnswersNothing(t *testing.T) {
	raw := sign(t, city(), signer(1))
	b, signers, err := bundle.Inspect(raw)
	if err != nil || len(signers) != 1 || signers[0] != root(1).ID() {
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
	b := open(t, sign(t, city(), signer(1)), root(1))
	if n := testing.AllocsPerRun(100, func() { _, _ = b.IssuerKey(harbour, 1, now) }); n != 0 {
		t.Errorf("IssuerKey allocates %v times", n)
	}
}

func TestSignOrderDoesNotMatter(t *testing.T) {
	b := city()
	one := sign(t, b, signer(1), signer(2))
	b.Keys[0], b.Keys[4] = b.Keys[4], b.Keys[0]
	b.Tenants[0], b.Tenants[2] = b.Tenants[2], b.Tenants[0]
	b.Roots[0], b.Roots[2] = b.Roots[2], b.Roots[0]
	if two := sign(t, b, signer(2), signer(1)); !bytes.Equal(one, two) {
		t.Error("the same bundle has two encodings")
	}
	if _, err := bundle.Open(one, city().Roots, 2, now, 0); err != nil {
		t.Errorf("two of three signatures: %v", err)
	}
	if _, err := bundle.Sign(b, signer(1), signer(1)); err == nil {
		if _, err := bundle.Open(sign(t, b, signer(1), signer(1)), city().Roots, 1, now, 0); err == nil {
			t.Error("one root's signature is listed twice and accepted")
		}
	}
}

func TestSignNoticesAWrongSignature(t *testing.T) {
	wrong := signer(1)
	wrong.Sign = signer(2).Sign
	if _, err := bundle.Sign(city(), wrong); err == nil {
		t.Error("Sign let a signature through that no terminal accepts")
	}
}

func TestFollow(t *testing.T) {
	held := open(t, sign(t, city(), signer(1)), root(1))
	next := func(change func(b *bundle.Bundle)) *bundle.Bundle {
		b := city()
		b.Number, b.Prev, b.Issued, b.Expires = 6, held.Digest(), now, now+30*day
		if change != nil {
			change(b)
		}
		return b
	}
	if b, err := held.Follow(held.Raw(), now); err != nil || b != held {
		t.Errorf("the same bundle again: %v", err)
	}
	if b, err := held.Follow(sign(t, next(nil), signer(2)), now); err != nil || b.Version() != 6 {
		t.Errorf("the next bundle: %v", err)
	}
	for _, c := range []struct {
		what   string
		change func(b *bundle.Bundle)
		by     []bundle.RootSigner
		want   *citygate.Code
	}{
		{"older", func(b *bundle.Bundle) { b.Number = 4 }, nil, bundle.ErrOlder},
		{"same number, other content", func(b *bundle.Bundle) { b.Number = 5 }, nil, bundle.ErrForked},
		{"next number, other past", func(b *bundle.Bundle) { b.Prev[0] ^= 1 }, nil, bundle.ErrForked},
		{"below the minimum it brings", func(b *bundle.Bundle) { b.MinBundle = 7 }, nil, bundle.ErrOlder},
		{"keeps one key of five", func(b *bundle.Bundle) { b.Keys = b.Keys[:1] }, nil, bundle.ErrDropsKeys},
		{"new root signs alone", func(b *bundle.Bundle) { b.Roots = []bundle.RootKey{root(9)} }, []bundle.RootSigner{signer(9)}, bundle.ErrNotTrusted},
		{"old root brings a root that did not sign", func(b *bundle.Bundle) { b.Roots = []bundle.RootKey{root(9)} }, nil, bundle.ErrNotTrusted},
	} {
		by := c.by
		if by == nil {
			by = []bundle.RootSigner{signer(1)}
		}
		_, err := held.Follow(sign(t, next(c.change), by...), now)
		refused(t, c.what, err, c.want)
	}
	rotated := sign(t, next(func(b *bundle.Bundle) { b.Roots = []bundle.RootKey{root(9)} }), signer(1), signer(9))
	b, err := held.Follow(rotated, now)
	if err != nil {
		t.Fatalf("old and new root signed: %v", err)
	}
	if _, err := b.Follow(sign(t, next(func(b *bundle.Bundle) { b.Number = 8 }), signer(1)), now); !errors.Is(err, bundle.ErrNotTrusted) {
		t.Errorf("the root that was rotated out still signs: %v", err)
	}
	if _, err := held.Follow(held.Raw(), held.Expires); !errors.Is(err, bundle.ErrExpired) {
		t.Errorf("the held bundle is offered after its expiry: %v", err)
	}
}

func TestRevokedKeysMayLeave(t *testing.T) {
	b := city()
	for i := range 4 {
		k := key(20, harbour, uint8(100+i), bundle.ForCredential, bundle.Revoked)
		b.Keys = append(b.Keys, k)
	}
	held := open(t, sign(t, b, signer(1)), root(1))
	n := city()
	n.Number, n.Prev = 6, held.Digest()
	if _, err := held.Follow(sign(t, n, signer(1)), now); err != nil {
		t.Errorf("dropping revoked keys is refused: %v", err)
	}
}

func TestHalfOfTheKeysMayLeave(t *testing.T) {
	b := city()
	b.Keys = b.Keys[:4]
	held := open(t, sign(t, b, signer(1)), root(1))
	for keep, want := range map[int]bool{2: true, 1: false} {
		n := city()
		n.Number, n.Prev, n.Keys = 6, held.Digest(), n.Keys[:keep]
		if _, err := held.Follow(sign(t, n, signer(1)), now); (err == nil) != want {
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
	f.Add(sign(f, city(), signer(1)))
	f.Add(sign(f, city(), signer(1), signer(2), signer(3)))
	f.Add([]byte{0xd8, 0x62, 0x84})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if b, err := bundle.Open(raw, city().Roots, 1, now, 0); (b == nil) != (err != nil) {
			t.Fatalf("Open = %v, %v; want exactly one of them", b, err)
		}
		b, ids, err := bundle.Inspect(raw)
		if err != nil {
			return
		}
		again, err := bundle.Encode(b, ids, bundle.Signatures(raw))
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("read and encoded again it differs: %v\n%x\n%x", err, raw, again)
		}
	})
}

func BenchmarkIssuerKey(b *testing.B) {
	held := open(b, sign(b, city(), signer(1)), root(1))
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
	raw := sign(b, c, signer(1))
	for b.Loop() {
		if _, err := bundle.Open(raw, c.Roots, 1, now, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(raw)), "bytes")
}
