package bundle_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// The root sets of a life: root 1 leaves for 4, then all leave for 5, 6, 7.
var (
	rotated = rootSet(&genesis, []uint32{2, 3, 4}, 2, 3, 4)
	renewed = rootSet(&rotated, []uint32{5, 6, 7}, 3, 4, 5, 7)
)

// under gives bundle number, signed by signers under the last of sets.
func under(t testing.TB, number uint64, sets []bundle.RootSet, signers ...uint32) []byte {
	t.Helper()
	b := city()
	b.Number, b.RootSets = number, chain(sets...)
	var with []bundle.RootSigner
	for _, s := range signers {
		with = append(with, signer(s))
	}
	return sign(t, b, with...)
}

func TestATerminalFollowsRotationsOffline(t *testing.T) {
	all := []bundle.RootSet{genesis, rotated, renewed}
	last := under(t, 40, all, 5, 6)
	enrolled := map[string][]bundle.RootKey{"enrolled with the first set": roots, "with the second": rotated.Roots, "with the third": renewed.Roots}
	for what, known := range enrolled {
		if b, err := bundle.Open(last, known, 2, now, 0); err != nil || b.RootSet().Version != 3 {
			t.Errorf("a terminal %s: %v", what, err)
		}
	}
	first, second := open(t, sign(t, city())), under(t, 20, all[:2], 3, 4)
	if b, err := first.Follow(last, now); err != nil || b.Version() != 40 {
		t.Errorf("two rotations at once: %v", err)
	}
	between, err := first.Follow(second, now)
	if err != nil {
		t.Fatalf("one rotation: %v", err)
	}
	after, err := between.Follow(last, now)
	if err != nil {
		t.Fatalf("the next rotation: %v", err)
	}
	if _, err := after.Follow(under(t, 42, all, 6, 7), now); err != nil {
		t.Errorf("the bundle after it: %v", err)
	}
	if _, err := between.Follow(under(t, 41, all[1:], 6, 7), now); err != nil {
		t.Errorf("a chain that begins with the set held: %v", err)
	}
	if _, err := between.Follow(under(t, 41, all[2:], 6, 7), now); err != nil {
		t.Errorf("a chain that begins right behind the set held: %v", err)
	}
}

func TestRotationsThatAreNone(t *testing.T) {
	held := open(t, sign(t, city()))
	later, err := held.Follow(under(t, 20, []bundle.RootSet{genesis, rotated}, 2, 3), now)
	if err != nil {
		t.Fatal(err)
	}
	forged := rootSet(nil, []uint32{91, 92, 93}, 91, 92)
	forgedNext := rootSet(&forged, []uint32{94, 95, 96}, 91, 92, 94, 95)
	renewedOther := rootSet(&forgedNext, []uint32{5, 6, 7}, 94, 95, 5, 6)
	for _, c := range []struct {
		what string
		held *bundle.Bundle
		sets []bundle.RootSet
		by   []uint32
		want *citygate.Code
	}{
		{"the new roots alone signed the rotation", held, []bundle.RootSet{genesis, rootSet(&genesis, []uint32{5, 6, 7}, 5, 6)}, []uint32{5, 6}, bundle.ErrUnderThreshold},
		{"one old root and the new ones", held, []bundle.RootSet{genesis, rootSet(&genesis, []uint32{5, 6, 7}, 1, 5, 6)}, []uint32{5, 6}, bundle.ErrUnderThreshold},
		{"the old roots alone signed the rotation", held, []bundle.RootSet{genesis, rootSet(&genesis, []uint32{5, 6, 7}, 1, 2)}, []uint32{5, 6}, bundle.ErrUnderThreshold},
		{"the old ones and one new root", held, []bundle.RootSet{genesis, rootSet(&genesis, []uint32{5, 6, 7}, 1, 2, 5)}, []uint32{5, 6}, bundle.ErrUnderThreshold},
		{"a stranger signed the rotation too", held, []bundle.RootSet{genesis, rootSet(&genesis, []uint32{5, 6, 7}, 1, 2, 5, 6, 99)}, []uint32{5, 6}, bundle.ErrNotTrusted},
		{"somebody else's first set", held, []bundle.RootSet{forged}, []uint32{91, 92}, bundle.ErrNotTrusted},
		{"somebody else's sets", held, []bundle.RootSet{forged, forgedNext}, []uint32{94, 95}, bundle.ErrNotTrusted},
		{"a rotation left out", held, []bundle.RootSet{genesis, renewed}, []uint32{5, 6}, bundle.ErrForked},
		{"the chain cut too short", held, []bundle.RootSet{renewed}, []uint32{5, 6}, bundle.ErrNotTrusted},
		{"the chain cut, and the old roots did not sign", held, []bundle.RootSet{rootSet(&genesis, []uint32{5, 6, 7}, 5, 6)}, []uint32{5, 6}, bundle.ErrUnderThreshold},
		{"the chain cut, after another set than the one held", later, []bundle.RootSet{renewedOther}, []uint32{5, 6}, bundle.ErrNotTrusted},
		{"sets in the wrong order", held, []bundle.RootSet{rotated, genesis}, []uint32{1, 2}, bundle.ErrForked},
		{"signed by roots that left", later, []bundle.RootSet{genesis}, []uint32{1, 2}, bundle.ErrOlder},
		{"a root that left and one that stayed", later, []bundle.RootSet{genesis, rotated}, []uint32{1, 2}, bundle.ErrNotTrusted},
		{"another second set than the one held", later, []bundle.RootSet{genesis, rootSet(&genesis, []uint32{1, 2, 3, 9}, 1, 2, 9)}, []uint32{1, 2, 3}, bundle.ErrNotTrusted},
	} {
		b := city()
		b.Number, b.RootSets = 30, chain(c.sets...)
		var by []bundle.RootSigner
		for _, s := range c.by {
			by = append(by, signer(s))
		}
		raw, err := bundle.SignPayload(bundle.Unchecked(b), false, by...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.held.Follow(raw, now)
		refused(t, c.what, err, c.want)
	}
}

// A root set has one form, whoever signed it.
func TestAnotherEncodingOfARootSetIsRefused(t *testing.T) {
	good, err := genesis.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ old, new string }{
		"as it is":                    {"\x02\x01\x03", "\x02\x01\x03"},
		"a number longer than needed": {"\x02\x01\x03", "\x02\x18\x01\x03"},
		"a field twice":               {"\x02\x01\x03", "\x02\x01\x02\x01\x03"},
		"an indefinite string":        {"\x63TR1", "\x7f\x63TR1\xff"},
		"another format":              {"\x63TR1", "\x63TR2"},
	} {
		raw, err := bundle.SignPayload(bytes.Replace(good, []byte(c.old), []byte(c.new), 1), true, signer(1), signer(2))
		if err != nil {
			t.Fatal(err)
		}
		_, err = bundle.OpenRoots([][]byte{raw})
		if c.old == c.new {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		refused(t, what, err, bundle.ErrMalformed)
	}
}

func TestRootSetsThatNobodyMayMake(t *testing.T) {
	for _, c := range []struct {
		what      string
		threshold int
		roots     []bundle.RootKey
	}{
		{"two roots", 2, []bundle.RootKey{root(1), root(2)}},
		{"one of three", 1, roots},
		{"half of four", 2, append(slices.Clone(roots), root(4))},
		{"four of three", 4, roots},
		{"one root twice", 2, []bundle.RootKey{root(1), root(1), root(2)}},
		{"nine roots", 5, append(slices.Clone(roots), root(4), root(5), root(6), root(7), root(8), root(9))},
		{"a key that is none", 2, []bundle.RootKey{root(1), root(2), {Public: []byte("short")}}},
	} {
		_, err := bundle.NextRoots(nil, now, c.threshold, c.roots...)
		refused(t, c.what, err, bundle.ErrMalformed)
	}
	if _, err := bundle.NextRoots(&genesis, genesis.Issued-1, 2, roots...); !errors.Is(err, bundle.ErrMalformed) {
		t.Errorf("a set older than the one before: %v", err)
	}
}

// Signatures come one by one, from machines that do not know each other.
func TestSignaturesAreCollected(t *testing.T) {
	draft, err := city().Prepare()
	if err != nil {
		t.Fatal(err)
	}
	var copies [][]byte
	for _, s := range []uint32{3, 1} {
		signed, err := bundle.Cosign(draft, signer(s))
		if err != nil {
			t.Fatal(err)
		}
		_, err = bundle.Open(signed, roots, 2, now, 0)
		refused(t, "one signature", err, bundle.ErrUnderThreshold)
		copies = append(copies, signed)
	}
	merged, err := bundle.Merge(draft, copies[0], copies[1], copies[0])
	if err != nil {
		t.Fatal(err)
	}
	if together := sign(t, city(), signer(1), signer(3)); !bytes.Equal(merged, together) {
		t.Error("signatures brought together differ from those made together")
	}
	if again, err := bundle.Cosign(merged, signer(1)); err != nil || !bytes.Equal(again, merged) {
		t.Errorf("a root signed again: %v", err)
	}
	if alone, err := bundle.Merge(draft); err != nil || !bytes.Equal(alone, draft) {
		t.Errorf("one draft without signatures: %v", err)
	}
	other := city()
	other.Number++
	_, err = bundle.Merge(merged, sign(t, other))
	refused(t, "copies of two bundles", err, bundle.ErrForked)
	_, err = bundle.Merge(merged, genesis.Raw())
	refused(t, "a bundle and a root set", err, bundle.ErrForked)
	_, err = bundle.Cosign(merged)
	refused(t, "nobody signs", err, bundle.ErrUnderThreshold)
	_, err = bundle.Cosign([]byte("something"), signer(1))
	refused(t, "something else to sign", err, bundle.ErrMalformed)
	_, err = bundle.Sign(city(), signer(1), signer(9))
	refused(t, "a stranger signs", err, bundle.ErrNotTrusted)
	wrong := signer(1)
	wrong.Sign = signer(2).Sign
	if _, err := bundle.Sign(city(), wrong); err == nil {
		t.Error("a signature that no terminal accepts went through")
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	b := city()
	one := sign(t, b)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		random.Shuffle(len(b.Keys), func(i, j int) { b.Keys[i], b.Keys[j] = b.Keys[j], b.Keys[i] })
		random.Shuffle(len(b.Tenants), func(i, j int) { b.Tenants[i], b.Tenants[j] = b.Tenants[j], b.Tenants[i] })
		random.Shuffle(len(b.Schemes), func(i, j int) { b.Schemes[i], b.Schemes[j] = b.Schemes[j], b.Schemes[i] })
		for _, s := range b.Schemes {
			random.Shuffle(len(s.Roots), func(i, j int) { s.Roots[i], s.Roots[j] = s.Roots[j], s.Roots[i] })
		}
		if two := sign(t, b, signer(2), signer(1)); !bytes.Equal(one, two) {
			t.Fatal("the same bundle has two encodings")
		}
	}
}

// Whatever is in a bundle comes back out of it.
func TestABundleSaysWhatWasPutIn(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		b := anyBundle(random)
		raw := sign(t, b)
		got, err := bundle.Open(raw, roots, 2, b.Issued, 0)
		if err != nil {
			t.Fatal(err)
		}
		if again := sign(t, got); !bytes.Equal(again, raw) {
			t.Fatal("opened and signed again it differs")
		}
		for _, k := range b.Keys {
			at := slices.IndexFunc(got.Keys, func(x bundle.Key) bool { return bytes.Equal(x.Public, k.Public) })
			if at < 0 || got.Keys[at].State != k.State || got.Keys[at].Usage != k.Usage || got.Keys[at].Expires != k.Expires ||
				got.Keys[at].NotIssuedAfter != k.NotIssuedAfter || got.Keys[at].Issuer != k.Issuer || got.Keys[at].KeyID != k.KeyID {
				t.Fatalf("key %+v is not there", k)
			}
		}
		for _, s := range b.Schemes {
			x, ok := got.Scheme(s.Tenant, s.ID)
			if !ok || !bytes.Equal(x.Params, s.Params) || len(x.Roots) != len(s.Roots) {
				t.Fatalf("scheme %+v is not there", s)
			}
		}
	}
}

func anyBundle(random *rand.Rand) *bundle.Bundle {
	b := &bundle.Bundle{Number: 1 + random.Uint64N(1<<40), Issued: now + random.Int64N(day), RootSets: chain(genesis), MinBundle: random.Uint64N(2)}
	b.Expires = b.Issued + 1 + random.Int64N(bundle.LifeMax)
	states := []bundle.State{bundle.Published, bundle.Active, bundle.Retiring, bundle.Revoked}
	for i := range 1 + random.IntN(6) {
		id := citygate.TenantID(i*i + 1)
		issuer := citygate.Issuer(i + 1)
		b.Tenants = append(b.Tenants, bundle.Tenant{ID: id, Issuer: issuer, Name: "Tenant", Currency: "CNY", Home: i == 0, Policy: make([]byte, random.IntN(50))})
		for kid := range 1 + random.IntN(4) {
			k := key(id, issuer, uint8(kid+1), bundle.ForCredential, states[random.IntN(4)])
			if k.NotIssuedAfter = random.Int64N(2) * now; i == 0 && kid == 0 {
				k.State = bundle.Active
			}
			b.Keys = append(b.Keys, k)
		}
		if random.IntN(2) == 0 {
			b.Schemes = append(b.Schemes, bundle.Scheme{Tenant: id, ID: "toy", Params: []byte("{}"), Roots: []bundle.ForeignRoot{{Owner: string(rune('a' + i)), ID: random.Uint32(), Key: make([]byte, 1+random.IntN(90))}}})
			b.DenyFloors = append(b.DenyFloors, bundle.DenyFloor{Issuer: issuer, List: uint16(i), Seq: random.Uint32()})
		}
	}
	return b
}

func TestEveryBitFlipOfARootSetIsRefused(t *testing.T) {
	good := rotated.Raw()
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if _, err := bundle.OpenRoots([][]byte{genesis.Raw(), bad}); err == nil {
				t.Fatalf("byte %d bit %d flipped and still accepted", i, bit)
			}
		}
	}
}

// Three years of rotations, and the profile of a large city: 125 tenants with
// the four keys that one in the middle of a rotation has.
func TestBundle500Keys(t *testing.T) {
	const most = 45_000
	b := city()
	b.RootSets = chain(genesis, rotated, renewed)
	b.Tenants, b.Keys, b.Schemes, b.DenyFloors = nil, nil, nil, nil
	for i := range 125 {
		id, issuer := citygate.TenantID(10_000+i), citygate.Issuer(1000+i)
		b.Tenants = append(b.Tenants, bundle.Tenant{ID: id, Issuer: issuer, Name: "Harbour Minibus Number 00", Currency: "CNY", CapUnit: 50, MaxTTLHours: 336, Home: i == 0})
		for kid := range uint8(2) {
			for _, usage := range []bundle.Usage{bundle.ForCredential, bundle.ForDenyList | bundle.ForHeartbeat} {
				k := key(id, issuer, kid+1, usage, []bundle.State{bundle.Active, bundle.Published}[kid])
				k.Public, k.NotIssuedAfter = public(1<<20|uint32(i)<<8|uint32(kid)<<4|uint32(usage)), now
				b.Keys = append(b.Keys, k)
			}
			b.DenyFloors = append(b.DenyFloors, bundle.DenyFloor{Issuer: issuer, List: uint16(2900 + int(kid)), Seq: 100_000})
		}
	}
	b.Tenants[0].Policy = make([]byte, 2048) // a full rule set is about half of that
	if len(b.Keys) != 500 {
		t.Fatalf("%d keys", len(b.Keys))
	}
	raw := sign(t, b, signer(5), signer(6))
	t.Logf("500 keys of 125 tenants, 250 deny floors, 3 root sets: %d bytes", len(raw))
	if len(raw) > most {
		t.Errorf("%d bytes, at most %d", len(raw), most)
	}
	if _, err := bundle.Open(raw, roots, 2, now, 0); err != nil {
		t.Error(err)
	}
}

// FuzzRoots checks that what reads as a root set is the only encoding of itself.
func FuzzRoots(f *testing.F) {
	for _, s := range []bundle.RootSet{genesis, rotated, renewed} {
		f.Add(s.Raw())
		draft, err := s.Prepare()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(draft)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := bundle.InspectRoots(raw)
		if err != nil {
			return
		}
		if again, err := bundle.EncodeRoots(s); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("read and encoded again it differs: %v\n%x\n%x", err, raw, again)
		}
		if newest, err := bundle.OpenRoots([][]byte{raw}); err == nil && len(newest.Signers()) < bundle.ThresholdMin {
			t.Errorf("%d signatures made a root set", len(newest.Signers()))
		}
	})
}
