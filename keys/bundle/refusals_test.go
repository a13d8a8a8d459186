package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// A refusal is a bundle that a terminal must not take. held nil: the terminal
// is new and knows its enrolment alone.
type refusal struct {
	what      string
	held      *bundle.Bundle
	raw       []byte
	roots     []bundle.RootKey
	threshold int
	now       int64
	floor     uint64
	want      *citygate.Code
}

func (r refusal) check(t *testing.T) {
	t.Helper()
	var b *bundle.Bundle
	var err error
	if r.held != nil {
		b, err = r.held.Follow(r.raw, r.now)
	} else {
		b, err = bundle.Open(r.raw, r.roots, r.threshold, r.now, r.floor)
	}
	if err == nil && b != nil {
		err = b.For(22)
		b = nil
	}
	refused(t, r.what, err, r.want)
	if b != nil {
		t.Errorf("%s: a bundle came with the error", r.what)
	}
}

// Every name of the closed set is given, for each way to get there.
func TestEveryRefusalHasItsName(t *testing.T) {
	seen := map[string]bool{}
	for _, list := range [][]refusal{strangers(t), followers(t)} {
		for _, r := range list {
			r.check(t)
			seen[r.want.Name] = true
		}
	}
	for _, c := range content() {
		seen[c.want.Name] = true // by TestContentIsRefusedByName
	}
	for _, c := range bundle.Refusals() {
		if !seen[c.Name] {
			t.Errorf("no case is refused as %s", c.Name)
		}
		delete(seen, c.Name)
	}
	for name := range seen {
		t.Errorf("%s is not in the closed set", name)
	}
}

// strangers are cases of a terminal that holds no bundle yet.
func strangers(t *testing.T) []refusal {
	t.Helper()
	good := sign(t, city())
	tampered := bytes.Replace(good, []byte("Harbour City"), []byte("Harbour Citz"), 1)
	first := ed25519.Sign(private(1), []byte("something else"))
	signedTwice, err := bundle.Unordered(good, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	unordered, err := bundle.Unordered(good, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	// A thief of root 1 makes a root set of his own and signs by it.
	thief := rootSet(nil, []uint32{1, 91, 92}, 91, 92)
	stolen := city()
	stolen.RootSets = chain(thief)
	away := city()
	away.Tenants[2].Home = false
	return []refusal{
		{"no root known", nil, good, nil, 2, now, 0, bundle.ErrNotTrusted},
		{"signed by other roots", nil, good, []bundle.RootKey{root(7), root(8), root(9)}, 2, now, 0, bundle.ErrNotTrusted},
		{"one root would do for the caller", nil, good, roots, 1, now, 0, bundle.ErrNotTrusted},
		{"no root would do for the caller", nil, good, roots, 0, now, 0, bundle.ErrNotTrusted},
		{"a root set that one stolen root made", nil, sign(t, stolen, signer(91), signer(92)), roots, 2, now, 0, bundle.ErrNotTrusted},
		{"the same and the stolen root signed", nil, sign(t, stolen, signer(1), signer(91)), roots, 2, now, 0, bundle.ErrUnderThreshold},
		{"one signature of two", nil, sign(t, city(), signer(1)), roots, 2, now, 0, bundle.ErrUnderThreshold},
		{"two signatures of three that the caller asks for", nil, good, roots, 3, now, 0, bundle.ErrUnderThreshold},
		{"one root listed twice by the caller", nil, good, []bundle.RootKey{root(1), root(1)}, 2, now, 0, bundle.ErrUnderThreshold},
		{"one root signed twice", nil, signedTwice, roots, 2, now, 0, bundle.ErrSignedTwice},
		{"a byte of the content changed", nil, tampered, roots, 2, now, 0, bundle.ErrTampered},
		{"a signature over something else", nil, bytes.Replace(good, bundle.Signatures(good)[0], first, 1), roots, 2, now, 0, bundle.ErrTampered},
		{"signatures in another order", nil, unordered, roots, 2, now, 0, bundle.ErrMalformed},
		{"at the second it expires", nil, good, roots, 2, now + 29*day, 0, bundle.ErrExpired},
		{"below the floor", nil, good, roots, 2, now, 6, bundle.ErrOlder},
		{"cut short", nil, good[:len(good)-1], roots, 2, now, 0, bundle.ErrMalformed},
		{"a byte too many", nil, append(bytes.Clone(good), 0), roots, 2, now, 0, bundle.ErrMalformed},
		{"nothing", nil, nil, roots, 2, now, 0, bundle.ErrMalformed},
		{"too large", nil, make([]byte, bundle.BytesMax+1), roots, 2, now, 0, bundle.ErrMalformed},
		{"not signed at all", nil, bundle.Payload(good), roots, 2, now, 0, bundle.ErrMalformed},
		{"a root set in place of a bundle", nil, genesis.Raw(), roots, 2, now, 0, bundle.ErrMalformed},
		{"for nobody's terminals", nil, sign(t, away), roots, 2, now, 0, bundle.ErrWrongTenant},
		{"for another operator's terminals", nil, sign(t, otherOperator()), roots, 2, now, 0, bundle.ErrWrongTenant},
	}
}

func otherOperator() *bundle.Bundle {
	b := city()
	b.Tenants[1].Home, b.Tenants[2].Home = true, false
	return b
}

// followers are cases of a terminal that holds the city's bundle.
func followers(t *testing.T) []refusal {
	t.Helper()
	held := open(t, sign(t, city()))
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
	if b, err := held.Follow(sign(t, city(), signer(2), signer(3)), now); err != nil || b != held {
		t.Errorf("the same bundle, signed by others of its roots: %v", err)
	}
	if b, err := held.Follow(sign(t, next(nil), signer(2), signer(3)), now); err != nil || b.Version() != 6 {
		t.Errorf("the next bundle: %v", err)
	}
	list := []refusal{{what: "the held bundle after its expiry", held: held, raw: held.Raw(), now: held.Expires, want: bundle.ErrExpired}}
	for _, c := range []struct {
		what   string
		change func(b *bundle.Bundle)
		want   *citygate.Code
	}{
		{"older", func(b *bundle.Bundle) { b.Number = 4 }, bundle.ErrOlder},
		{"same number, other content", func(b *bundle.Bundle) { b.Number = 5 }, bundle.ErrForked},
		{"next number, other past", func(b *bundle.Bundle) { b.Prev[0] ^= 1 }, bundle.ErrForked},
		{"below the minimum it brings", func(b *bundle.Bundle) { b.MinBundle = 7 }, bundle.ErrOlder},
		{"keeps one key of five", func(b *bundle.Bundle) { b.Keys = b.Keys[:1] }, bundle.ErrDropsKeys},
		{"for another operator", func(b *bundle.Bundle) { b.Tenants[1].Home, b.Tenants[2].Home = true, false }, bundle.ErrWrongTenant},
	} {
		list = append(list, refusal{what: c.what, held: held, raw: sign(t, next(c.change)), now: now, want: c.want})
	}
	// A publisher that cannot sign what no terminal would take still has to be
	// refused when it is somebody else's program.
	for _, c := range content() {
		b := next(nil)
		b.Number, b.Prev = 9, [32]byte{}
		c.change(b)
		raw, err := bundle.SignPayload(bundle.Unchecked(b), false, signer(1), signer(2))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, refusal{what: "signed all the same: " + c.what, held: held, raw: raw, now: now, want: c.wire()})
	}
	return list
}

// A broken content is one that no publisher may sign.
type broken struct {
	what   string
	change func(b *bundle.Bundle)
	want   *citygate.Code
	onWire *citygate.Code // if the wire form cannot say it
}

func (c broken) wire() *citygate.Code {
	if c.onWire != nil {
		return c.onWire
	}
	return c.want
}

func content() []broken {
	return []broken{
		{"no keys", func(b *bundle.Bundle) { b.Keys = nil }, bundle.ErrEmpty, nil},
		{"no tenants", func(b *bundle.Bundle) { b.Tenants, b.Keys, b.Schemes = nil, nil, nil }, bundle.ErrEmpty, nil},
		{"all revoked", func(b *bundle.Bundle) {
			for i := range b.Keys {
				b.Keys[i].State = bundle.Revoked
			}
		}, bundle.ErrEmpty, nil},
		{"a key for credentials and deny lists", func(b *bundle.Bundle) { b.Keys[0].Usage |= bundle.ForDenyList }, bundle.ErrWrongUsage, nil},
		{"a key for nothing", func(b *bundle.Bundle) { b.Keys[0].Usage = 0 }, bundle.ErrWrongUsage, nil},
		{"a usage nobody knows", func(b *bundle.Bundle) { b.Keys[0].Usage = 64 }, bundle.ErrWrongUsage, nil},
		{"one key for two usages", func(b *bundle.Bundle) { b.Keys[2].Public = b.Keys[0].Public }, bundle.ErrWrongUsage, nil},
		{"a root key as credential key", func(b *bundle.Bundle) { b.Keys[0].Public = public(2) }, bundle.ErrWrongUsage, nil},
		{"two keys in one slot", func(b *bundle.Bundle) {
			b.Keys = append(b.Keys, key(20, harbour, 1, bundle.ForDenyList, bundle.Active))
		}, bundle.ErrWrongUsage, nil},
		{"a credential key of a tenant without issuer", func(b *bundle.Bundle) {
			b.Keys = append(b.Keys, key(22, 0, 1, bundle.ForCredential, bundle.Active))
		}, bundle.ErrWrongUsage, nil},
		{"a key of no tenant here", func(b *bundle.Bundle) { b.Keys[3].Tenant = 99 }, bundle.ErrMalformed, nil},
		{"a key twice", func(b *bundle.Bundle) { b.Keys = append(b.Keys, b.Keys[0]) }, bundle.ErrMalformed, nil},
		{"one issuer, two tenants", func(b *bundle.Bundle) {
			b.Tenants[1].Issuer, b.Keys[3].Issuer, b.Keys[4].Issuer = harbour, harbour, harbour
		}, bundle.ErrMalformed, nil},
		{"two homes", func(b *bundle.Bundle) { b.Tenants[0].Home = true }, bundle.ErrMalformed, nil},
		{"RSA", func(b *bundle.Bundle) { b.Keys[0].Algorithm = bundle.RSA2048 }, bundle.ErrMalformed, nil},
		{"a state nobody knows", func(b *bundle.Bundle) { b.Keys[0].State = "next" }, bundle.ErrMalformed, nil},
		{"it never expires", func(b *bundle.Bundle) { b.Expires = 1 << 62 }, bundle.ErrMalformed, nil},
		{"it expires before it is issued", func(b *bundle.Bundle) { b.Expires = -1 << 63 }, bundle.ErrMalformed, nil},
		{"no root set", func(b *bundle.Bundle) { b.RootSets = nil }, bundle.ErrMalformed, nil},
		{"number zero", func(b *bundle.Bundle) { b.Number = 0 }, bundle.ErrMalformed, bundle.ErrMalformed},
		{"a scheme of no tenant here", func(b *bundle.Bundle) { b.Schemes[0].Tenant = 99 }, bundle.ErrMalformed, nil},
		{"a scheme twice", func(b *bundle.Bundle) { b.Schemes[1] = b.Schemes[0] }, bundle.ErrMalformed, nil},
		{"a scheme without a name", func(b *bundle.Bundle) { b.Schemes[0].ID = "" }, bundle.ErrMalformed, nil},
		{"a scheme with a name that is none", func(b *bundle.Bundle) { b.Schemes[0].ID = "a b" }, bundle.ErrMalformed, nil},
		{"parameters without end", func(b *bundle.Bundle) { b.Schemes[0].Params = make([]byte, bundle.ParamsMax+1) }, bundle.ErrMalformed, nil},
		{"a foreign root without a key", func(b *bundle.Bundle) { b.Schemes[0].Roots = []bundle.ForeignRoot{{ID: 1}} }, bundle.ErrMalformed, nil},
		{"a foreign root's name without end", func(b *bundle.Bundle) {
			b.Schemes[0].Roots = []bundle.ForeignRoot{{List: strings.Repeat("l", 65), Key: []byte{1}}}
		}, bundle.ErrMalformed, nil},
		{"a foreign root twice", func(b *bundle.Bundle) {
			b.Schemes[0].Roots = []bundle.ForeignRoot{{ID: 1, Key: []byte{1}}, {ID: 1, Key: []byte{1}}}
		}, bundle.ErrMalformed, nil},
		{"two tenants' keys under one name", func(b *bundle.Bundle) {
			b.Schemes[1].ID, b.Schemes[1].Roots = "mot-sm2", []bundle.ForeignRoot{{Kind: "root_ca", ID: 1, Key: []byte("mine")}}
		}, bundle.ErrMalformed, nil},
	}
}

func TestContentIsRefusedByName(t *testing.T) {
	for _, c := range content() {
		b := city()
		c.change(b)
		_, err := bundle.Sign(b, signer(1), signer(2))
		refused(t, c.what, err, c.want)
	}
}

// Every bit counts, those of a third signature that nobody needs as well.
func TestEveryBitFlipIsRefused(t *testing.T) {
	b := city()
	b.Tenants, b.Keys, b.Schemes = b.Tenants[:1], b.Keys[:1], b.Schemes[:1]
	few := sign(t, b)
	more := sign(t, b, signer(1), signer(2), signer(3))
	b.RootSets = chain(genesis, rotated)
	after := sign(t, b, signer(2), signer(4))
	for _, c := range []struct {
		what string
		good []byte
		bits int // tried of each byte
	}{{"two signatures", few, 8}, {"a signature more than needed", more, 1}, {"signed after a rotation", after, 1}} {
		if _, err := bundle.Open(c.good, roots, 2, now, 0); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		bad := bytes.Clone(c.good)
		for i := range bad {
			for n := range c.bits {
				bit := byte(1) << ((i + n) % 8)
				bad[i] ^= bit
				if b, err := bundle.Open(bad, roots, 2, now, 0); err == nil || b != nil {
					t.Fatalf("%s: byte %d with bit %#x flipped is still accepted", c.what, i, bit)
				}
				bad[i] ^= bit
			}
		}
	}
}

// What no signature covers, and what root keys signed by mistake, must still be
// in the one canonical form.
func TestAnotherEncodingOfTheSameBundleIsRefused(t *testing.T) {
	good := sign(t, city())
	payload := bundle.Payload(good)
	if again, err := bundle.SignPayload(payload, false, signer(2), signer(1)); err != nil || !bytes.Equal(again, good) {
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
		"null for no parameters":      once(payload, "uic-dosipas\x40", "uic-dosipas\xf6"),
		"bytes after the end":         append(bytes.Clone(payload), 0),
	} {
		raw, err := bundle.SignPayload(payload, false, signer(1), signer(2))
		if err != nil {
			t.Fatal(err)
		}
		_, err = bundle.Open(raw, roots, 2, now, 0)
		refused(t, what, err, bundle.ErrMalformed)
	}
	for what, raw := range map[string][]byte{
		"a header nobody signed": once(good, "+cbor\xa0", "+cbor\xa1\x04\x41\x00"),
		"no tag":                 good[2:],
	} {
		_, err := bundle.Open(raw, roots, 2, now, 0)
		refused(t, what, err, bundle.ErrMalformed)
	}
}

// An issuer number is a tenant's: a key cannot claim another's.
func TestAKeySpeaksForItsTenantsIssuerAlone(t *testing.T) {
	b := city()
	b.Keys[3].Issuer = harbour
	if _, err := bundle.Sign(b, signer(1), signer(2)); !errors.Is(err, bundle.ErrMalformed) {
		t.Errorf("a key that speaks for another issuer: %v", err)
	}
	held := open(t, sign(t, city()))
	if _, reason := held.IssuerKey(harbour, 21, now); reason != code.UnknownKey {
		t.Errorf("another tenant's kid: %q", reason)
	}
}
