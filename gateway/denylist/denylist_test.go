package denylist_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
)

var issuerKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))

func sign(msg []byte) ([]byte, error) {
	if len(msg) != 36 {
		return nil, fmt.Errorf("%d bytes to sign: a key store behind a network may not take them", len(msg))
	}
	return ed25519.Sign(issuerKey, msg), nil
}

// signedPart is what is signed of an object: magic and SHA-256.
func signedPart(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return append(append([]byte(nil), raw[:4]...), sum[:]...)
}

// keys trusts issuerKey as key 3 of issuer 9.
func keys(issuer citygate.Issuer, kid uint8) (ed25519.PublicKey, bool) {
	return issuerKey.Public().(ed25519.PublicKey), issuer == 9 && kid == 3
}

func header(issued uint32) denylist.Header {
	return denylist.Header{Issuer: 9, List: 47, Seq: 12, BuiltAt: 1000, ValidUntil: 2000, Issued: issued}
}

func mustSign(t testing.TB, h denylist.Header, denied []uint32) *denylist.List {
	t.Helper()
	l, err := denylist.Build(h, denied)
	if err != nil {
		t.Fatal(err)
	}
	if l, err = l.Sign(3, sign); err != nil {
		t.Fatal(err)
	}
	return l
}

// sample draws r of n, ascending.
func sample(n, r int) []uint32 {
	rnd := rand.New(rand.NewPCG(1, 2))
	seen := make(map[uint32]bool, r)
	out := make([]uint32, 0, r)
	for len(out) < r {
		if idx := uint32(rnd.IntN(n)); !seen[idx] {
			seen[idx] = true
			out = append(out, idx)
		}
	}
	slices.Sort(out)
	return out
}

func TestDeniedIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		issued := rapid.Uint32Range(1, 6000).Draw(t, "issued")
		set := rapid.SliceOfNDistinct(rapid.Uint32Range(0, issued-1), 0, min(600, int(issued)), rapid.ID[uint32]).Draw(t, "denied")
		slices.Sort(set)
		l, err := denylist.Build(header(issued), set)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := l.Sign(3, sign)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := denylist.Open(signed.Bytes(), keys)
		if err != nil {
			t.Fatal(err)
		}
		if opened.Header != header(issued) || opened.KeyID != 3 || opened.Count() != len(set) || opened.Hash() != l.Hash() {
			t.Fatalf("opened %+v", opened.Header)
		}
		for _, list := range []*denylist.List{l, opened} {
			for idx := range issued + 3 {
				_, want := slices.BinarySearch(set, idx)
				if list.Denied(idx) != want {
					t.Fatalf("Denied(%d) = %v", idx, !want)
				}
			}
			if got := slices.Collect(list.All); !slices.Equal(got, set) {
				t.Fatalf("All = %v, want %v", got, set)
			}
		}
	})
}

func TestWholeRangeAndFarEnd(t *testing.T) {
	everybody := make([]uint32, 1000)
	for i := range everybody {
		everybody[i] = uint32(i)
	}
	const top = 1<<32 - 1
	for name, test := range map[string]struct {
		issued uint32
		denied []uint32
	}{
		"nobody":            {1000, nil},
		"nobody of none":    {0, nil},
		"everybody":         {1000, everybody},
		"first and last":    {top, []uint32{0, top - 1}},
		"two far apart":     {top, []uint32{1 << 20, top - 1}},
		"last of all":       {top, []uint32{top - 1}},
		"129 and far apart": {top, append(slices.Clone(everybody[:129]), top-1)},
	} {
		l, err := denylist.Open(mustSign(t, header(test.issued), test.denied).Bytes(), keys)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := slices.Collect(l.All); !slices.Equal(got, test.denied) {
			t.Errorf("%s: %v", name, got)
		}
		for _, idx := range []uint32{0, 1, 999, 1000, 1 << 20, top - 2, top - 1, top} {
			if _, want := slices.BinarySearch(test.denied, idx); l.Denied(idx) != want {
				t.Errorf("%s: Denied(%d) = %v", name, idx, !want)
			}
		}
	}
}

// The bytes are a contract with validators written elsewhere.
func TestLayoutIsByteExact(t *testing.T) {
	raw := mustSign(t, header(100), []uint32{3, 4, 20}).Bytes()
	// Gaps minus one are 0 and 15: k = 2 codes them in (1+2) + (4+2) bits, k = 3 in
	// (1+3) + (2+3), as many; the smaller wins. 0 = "0 00", 15 = "1110 11".
	want := []byte("DL1S\x00\x09\x00\x2f\x00\x00\x00\x0c\x00\x00\x03\xe8\x00\x00\x07\xd0\x00\x00\x00\x64\x00\x00\x00\x03\x02\x07" +
		"\x00\x00\x00\x03\x00\x00\x00\x00" + "\xb8\x01")
	set := sha256.Sum256([]byte("\x00\x00\x00\x64\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x14"))
	want = append(append(want, set[:]...), 3)
	want = append(want, ed25519.Sign(issuerKey, signedPart(want))...)
	if !bytes.Equal(raw, want) {
		t.Errorf("got  %x\nwant %x", raw, want)
	}
}

// offlineCodes 6.2: what each size takes, within 0.1 % for another random set.
func TestSizeIsNearTheBound(t *testing.T) {
	for _, test := range []struct{ issued, denied, want int }{
		{10_000_000, 100_000, 106_818},
		{5_000_000, 50_000, 53_408},
		{1_000_000, 1_000, 1_487},
	} {
		l := mustSign(t, header(uint32(test.issued)), sample(test.issued, test.denied))
		body := len(l.Bytes()) - 30 - 97
		if d := body - test.want; d*1000 > test.want*3 && d > 8 || -d*1000 > test.want*3 && -d > 8 {
			t.Errorf("%d of %d: %d bytes, want about %d", test.denied, test.issued, body, test.want)
		}
		t.Logf("%d of %d: %d bytes with header and signature", test.denied, test.issued, len(l.Bytes()))
	}
}

func TestBuildRefusesWhatNoListCanSay(t *testing.T) {
	for name, test := range map[string]struct {
		h      denylist.Header
		denied []uint32
	}{
		"twice the same":     {header(100), []uint32{5, 5}},
		"descending":         {header(100), []uint32{6, 5}},
		"never issued":       {header(100), []uint32{100}},
		"never valid":        {denylist.Header{BuiltAt: 5, ValidUntil: 5}, nil},
		"built before 1970":  {denylist.Header{BuiltAt: -1, ValidUntil: 5}, nil},
		"valid for too long": {denylist.Header{BuiltAt: 1, ValidUntil: 1 << 32}, nil},
	} {
		if _, err := denylist.Build(test.h, test.denied); !errors.Is(err, denylist.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryBitFlipIsRefused(t *testing.T) {
	raw := mustSign(t, header(5000), sample(5000, 300)).Bytes()
	for bit := range len(raw) * 8 {
		bad := bytes.Clone(raw)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := denylist.Open(bad, keys); err == nil {
			t.Fatalf("bit %d of byte %d flipped: accepted", bit%8, bit/8)
		}
		// Also without the signature, only the signature itself and the fields that
		// stand for themselves (issuer to valid_until, and the kid) may be changed.
		if l, err := denylist.Parse(bad); err == nil {
			if at := bit / 8; at >= 20 && at < len(raw)-65 {
				t.Fatalf("bit %d of byte %d flipped: parses as %+v", bit%8, at, l.Header)
			}
		}
	}
}

// Bytes that a careless publisher could sign: each says a set, in a form that
// is not the one.
func TestSecondFormsAreMalformed(t *testing.T) {
	good := mustSign(t, header(100), []uint32{3, 4, 20}).Bytes()
	rehash := func(raw []byte, words ...uint32) []byte {
		var set []byte
		for _, w := range words {
			set = binary.BigEndian.AppendUint32(set, w)
		}
		sum := sha256.Sum256(set)
		copy(raw[len(raw)-97:], sum[:])
		return raw
	}
	largerRice := bytes.Clone(good)
	largerRice[28] = 3
	copy(largerRice[38:], "\xd0\x01") // "0 000" and "10 111": as many bits as with k = 2
	neverIssued := bytes.Clone(good)
	binary.BigEndian.PutUint32(neverIssued[20:], 20)
	for name, raw := range map[string][]byte{
		"k that is not the smallest": largerRice,
		"index that was not issued":  rehash(neverIssued, 20, 3, 4, 20),
	} {
		if l, err := denylist.Parse(raw); !errors.Is(err, denylist.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	if _, err := denylist.Parse(rehash(bytes.Clone(good), 100, 3, 4, 20)); err != nil {
		t.Errorf("the good one: %v; the test proves nothing", err)
	}
}

func TestOpenTrustsOneKeyOnly(t *testing.T) {
	l := mustSign(t, header(100), []uint32{7})
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	forged, err := l.Sign(3, func(msg []byte) ([]byte, error) { return ed25519.Sign(other, msg), nil })
	if err != nil {
		t.Fatal(err)
	}
	otherKid, err := l.Sign(4, sign)
	if err != nil {
		t.Fatal(err)
	}
	h := header(100)
	h.Issuer = 10
	for name, list := range map[string]*denylist.List{"another key": forged, "another kid": otherKid, "another issuer": mustSign(t, h, []uint32{7})} {
		if _, err := denylist.Open(list.Bytes(), keys); !errors.Is(err, denylist.ErrNotTrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Sign(3, func([]byte) ([]byte, error) { return nil, errors.New("sealed") }); err == nil {
		t.Error("a signer that fails made a list")
	}
}

func TestSeqOnlyGrows(t *testing.T) {
	at := func(seq uint32) *denylist.List {
		h := header(100)
		h.Seq = seq
		return mustSign(t, h, nil)
	}
	held := at(12)
	h := header(100)
	h.List, h.Seq = 48, 13
	otherList := mustSign(t, h, nil)
	for _, test := range []struct {
		name  string
		next  *denylist.List
		held  *denylist.List
		floor uint32
		now   int64
		want  error
	}{
		{"newer", at(13), held, 0, 1500, nil},
		{"first", at(1), nil, 0, 1500, nil},
		{"first, below the bundle's floor", at(4), nil, 5, 1500, denylist.ErrOlder},
		{"newer, below the bundle's floor", at(13), held, 14, 1500, denylist.ErrOlder},
		{"same again", at(12), held, 0, 1500, denylist.ErrOlder},
		{"older", at(11), held, 0, 1500, denylist.ErrOlder},
		{"expired", at(13), held, 0, 2000, denylist.ErrExpired},
		{"another list", otherList, held, 0, 1500, denylist.ErrWrongList},
	} {
		if err := test.next.Replaces(test.held, 9, 47, test.floor, test.now); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if err := at(13).Replaces(held, 8, 47, 0, 1500); !errors.Is(err, denylist.ErrWrongList) {
		t.Errorf("another issuer: %v", err)
	}
}

// A file of a few bytes must not make a validator allocate gigabytes.
func TestClaimedCountIsBounded(t *testing.T) {
	raw := bytes.Clone(mustSign(t, header(1<<31), nil).Bytes())
	binary.BigEndian.PutUint32(raw[24:], 1<<30)
	if _, err := denylist.Parse(raw); !errors.Is(err, denylist.ErrMalformed) {
		t.Errorf("%v", err)
	}
	if _, err := denylist.Parse(make([]byte, denylist.MaxBytes+1)); !errors.Is(err, denylist.ErrMalformed) {
		t.Errorf("%v", err)
	}
}

// FuzzParse checks that one set has one byte form and that look-ups agree with
// the decoded set.
func FuzzParse(f *testing.F) {
	for _, l := range []*denylist.List{
		mustSign(f, header(100), nil), mustSign(f, header(100), []uint32{3, 4, 20}),
		mustSign(f, header(5000), sample(5000, 300)), mustSign(f, header(1<<32-1), []uint32{0, 1 << 31}),
	} {
		f.Add(l.Bytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := denylist.Parse(raw)
		if (l == nil) != (err != nil) {
			t.Fatalf("Parse = %v, %v; want exactly one", l, err)
		}
		if err != nil {
			return
		}
		denied := slices.Collect(l.All)
		again, err := denylist.Build(l.Header, denied)
		if err != nil {
			t.Fatalf("parsed, but cannot be built: %v", err)
		}
		again, err = again.Sign(l.KeyID, func([]byte) ([]byte, error) { return raw[len(raw)-64:], nil })
		if err != nil || !bytes.Equal(again.Bytes(), raw) {
			t.Errorf("two encodings of one list: %x and %x", raw, again.Bytes())
		}
		for _, idx := range denied {
			if !l.Denied(idx) {
				t.Errorf("%d is in the set and not denied", idx)
			}
		}
	})
}

func BenchmarkDenied(b *testing.B) {
	set := sample(10_000_000, 100_000)
	l := mustSign(b, header(10_000_000), set)
	i := 0
	for b.Loop() {
		if !l.Denied(set[i%len(set)]) {
			b.Fatal("not denied")
		}
		i += 7919
	}
}

func BenchmarkOpen(b *testing.B) {
	raw := mustSign(b, header(10_000_000), sample(10_000_000, 100_000)).Bytes()
	for b.Loop() {
		if _, err := denylist.Open(raw, keys); err != nil {
			b.Fatal(err)
		}
	}
}
