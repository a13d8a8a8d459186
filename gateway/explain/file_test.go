package explain

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// seal makes the files of n documents of tenant 7, signed by key 3.
func seal(t testing.TB, n int, sign func([]byte) []byte) []*File {
	t.Helper()
	leaves, files := make([]Hash, n), make([]*File, n)
	for i := range n {
		d := &Document{Tenant: 7, Journey: fmt.Sprintf("jrn_%d", i), Decision: 1, Taps: []Tap{{ID: "tap_1_1", Kind: "on", At: "2026-11-21T08:00:00Z", Stop: "A"}}, Known: true,
			Amount: int64(300 + i), Currency: "CNY", Explanation: json.RawMessage(`{"steps": [ {"rule":"od","minor":300} ]}`)}
		raw, err := d.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		salt := [SaltSize]byte{byte(i), byte(i >> 8)}
		leaves[i] = Leaf(salt, raw)
		files[i] = &File{Format: Format, Document: raw, Salt: hex.EncodeToString(salt[:]), Index: i}
	}
	root := Root(leaves)
	b := Batch{Tenant: 7, Number: 1, Size: n, Root: hex.EncodeToString(root[:]), SealedAt: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Key: 3}
	m, err := b.message()
	if err != nil {
		t.Fatal(err)
	}
	signature := sign(m)
	for i, f := range files {
		f.Batch, f.Signature = b, signature
		for _, h := range Path(leaves, i) {
			f.Path = append(f.Path, hex.EncodeToString(h[:]))
		}
	}
	return files
}

func keyPair(t testing.TB) (ed25519.PublicKey, func([]byte) []byte) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public, func(m []byte) []byte { return ed25519.Sign(private, m) }
}

func keySet(public ed25519.PublicKey, more string) []byte {
	return fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"explain-3","purpose":"explain","x":%q,"nbf":1700000000,"exp":1900000000%s}]}`,
		base64.RawURLEncoding.EncodeToString(public), more)
}

func TestEveryLeafOfEveryTreeIsProved(t *testing.T) {
	public, sign := keyPair(t)
	for n := 1; n <= 33; n++ {
		files := seal(t, n, sign)
		for i, f := range files {
			raw, err := json.MarshalIndent(f, "", "  ") // white space is nothing
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			if d, err := again.Verify(keySet(public, "")); err != nil || d.Amount != int64(300+i) || d.Taps[0].Stop != "A" {
				t.Fatalf("%d of %d: %+v, %v", i, n, d, err)
			}
			other := *f
			other.Document, other.Salt = files[(i+1)%n].Document, files[(i+1)%n].Salt
			if _, err := other.Verify(keySet(public, "")); n > 1 && !errors.Is(err, ErrProof) {
				t.Fatalf("the proof of %d of %d holds for another: %v", i, n, err)
			}
			for _, bad := range []File{{Path: append(slices.Clone(f.Path), f.Batch.Root)}, {Path: f.Path[:max(0, len(f.Path)-1)]}} {
				x := *f
				x.Path = bad.Path
				if _, err := x.Verify(keySet(public, "")); len(bad.Path) != len(f.Path) && !errors.Is(err, ErrProof) {
					t.Fatalf("a path of %d of %d: %v", len(bad.Path), n, err)
				}
			}
		}
	}
}

// A node is never taken for a leaf, nor a leaf for a node.
func TestLeavesAndNodesAreApart(t *testing.T) {
	public, sign := keyPair(t)
	f := seal(t, 4, sign)[0]
	x := *f // the leaf's neighbour and itself as one document
	x.Index, x.Batch.Size, x.Path = 0, 2, f.Path[1:]
	if _, err := x.Verify(keySet(public, "")); !errors.Is(err, ErrProof) {
		t.Errorf("%v", err)
	}
}

// Every changed byte of a file is refused, by a code, or changes nothing that counts.
func TestAFlippedByteIsRefused(t *testing.T) {
	public, sign := keyPair(t)
	f := seal(t, 5, sign)[2]
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for _, bit := range []byte{1, 0x20} {
			bad := bytes.Clone(raw)
			bad[i] ^= bit
			x, err := ParseFile(bad)
			if err == nil {
				_, err = x.Verify(keySet(public, ""))
			}
			switch {
			case err == nil: // names of fields may be in another case
				if !strings.EqualFold(string(bad), string(raw)) || bytes.Contains(bad, f.Document) == false {
					t.Fatalf("byte %d: %q for %q passes", i, bad[i], raw[i])
				}
			case !errors.Is(err, ErrFile) && !errors.Is(err, ErrProof) && !errors.Is(err, ErrKey) && !errors.Is(err, ErrSignature):
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
}

func TestKeysThatDoNotCount(t *testing.T) {
	public, sign := keyPair(t)
	other, _ := keyPair(t)
	f := seal(t, 3, sign)[1]
	for name, c := range map[string]struct {
		set  []byte
		want error
	}{
		"the key":            {keySet(public, ""), nil},
		"another key":        {keySet(other, ""), ErrSignature},
		"another purpose":    {bytes.ReplaceAll(keySet(public, ""), []byte(`"purpose":"explain"`), []byte(`"purpose":"audit"`)), ErrKey},
		"another number":     {bytes.ReplaceAll(keySet(public, ""), []byte(`explain-3`), []byte(`explain-4`)), ErrKey},
		"no longer in use":   {bytes.ReplaceAll(keySet(public, ""), []byte(`1900000000`), []byte(`1700000001`)), ErrKey},
		"not yet in use":     {bytes.ReplaceAll(keySet(public, ""), []byte(`1700000000`), []byte(`1899999999`)), ErrKey},
		"stolen before":      {keySet(public, `,"nia":1700000001`), ErrKey},
		"not a key set":      {[]byte(`[]`), ErrFile},
		"an unknown kind":    {bytes.ReplaceAll(keySet(public, ""), []byte(`OKP`), []byte(`RSA`)), ErrSignature},
		"half a public key":  {keySet(public[:16], ""), ErrSignature},
		"the key of nothing": {[]byte(`{"keys":[]}`), ErrKey},
	} {
		if _, err := f.Verify(c.set); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A P-256 key signs as well.
func TestP256(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	set := fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","kid":"explain-3","purpose":"explain","x":%q,"y":%q}]}`,
		base64.RawURLEncoding.EncodeToString(raw[1:33]), base64.RawURLEncoding.EncodeToString(raw[33:]))
	f := seal(t, 2, func(m []byte) []byte {
		sum := sha256.Sum256(m)
		s, err := ecdsa.SignASN1(rand.Reader, private, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return s
	})[0]
	if _, err := f.Verify(set); err != nil {
		t.Error(err)
	}
	f.Batch.Number++
	if _, err := f.Verify(set); !errors.Is(err, ErrSignature) {
		t.Errorf("another batch: %v", err)
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`{ "b" : 1, "a":[true,null,"é<\u0041"] }`: `{"a":[true,null,"é<A"],"b":1}`,
		`"\u0000\"\\\n"`: `"\u0000\"\\\u000a"`,
		`{"a":1,"a":2}`:  ``,
		`1.0`:            ``,
		`1e3`:            ``,
		`-0`:             ``,
		`{} {}`:          ``,
		"\"\xff\"":       ``,
		strings.Repeat("[", 100) + strings.Repeat("]", 100): ``,
	} {
		got, err := Canonical([]byte(in))
		if string(got) != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrFile) {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}

// FuzzCanonical: the canonical form is its own, and says the same.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x"],"b":{}}`, `"\ud83d\ude00"`, `[[],{"":0}]`, `-12`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := Canonical(raw)
		if err != nil {
			return
		}
		twice, err := Canonical(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q, then %q, %v", once, twice, err)
		}
		var a, b any
		if json.Unmarshal(raw, &a) != nil || json.Unmarshal(once, &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("%q says another thing than %q", once, raw)
		}
	})
}
