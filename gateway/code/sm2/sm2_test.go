package sm2_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm3"

	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

func load(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type signatures struct {
	Private string `json:"private_key_hex"`
	Public  struct {
		Compressed   string `json:"compressed_hex"`
		Uncompressed string `json:"uncompressed_hex"`
	} `json:"public_key"`
	Tests []struct {
		ID      int    `json:"id"`
		Comment string `json:"comment"`
		UID     string `json:"uid_ascii"`
		Msg     string `json:"msg_hex"`
		Sig     string `json:"sig_rs_hex"`
		Valid   bool   `json:"valid"`
	} `json:"tests"`
}

func TestStandardSignatures(t *testing.T) {
	var file signatures
	load(t, "sm2_sign.json", &file)
	for _, form := range []string{file.Public.Compressed, file.Public.Uncompressed} {
		key, err := sm2.ParseKey(unhex(t, form))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(sm2.Compress(key)); got != file.Public.Compressed {
			t.Errorf("compressed %s, want %s", got, file.Public.Compressed)
		}
		valid := 0
		for _, test := range file.Tests {
			if got := sm2.Verify(key, []byte(test.UID), unhex(t, test.Msg), unhex(t, test.Sig)); got != test.Valid {
				t.Errorf("%d (%s): verify = %v, want %v", test.ID, test.Comment, got, test.Valid)
			}
			if test.Valid {
				valid++
			}
		}
		if valid == 0 || len(file.Tests)-valid < 10 {
			t.Errorf("%d valid of %d: the file is not what it was", valid, len(file.Tests))
		}
	}
	private, err := sm2.NewPrivateKey(unhex(t, file.Private))
	if err != nil || hex.EncodeToString(sm2.Compress(private.Public())) != file.Public.Compressed {
		t.Errorf("private key: %v, %x", err, sm2.Compress(private.Public()))
	}
}

// The hash under the signatures, from the library behind the door.
func TestStandardHashes(t *testing.T) {
	var file struct {
		Tests []struct {
			Digest string `json:"digest_hex"`
			Msg    string `json:"msg_ascii"`
		} `json:"tests"`
	}
	load(t, "sm3_hash.json", &file)
	if len(file.Tests) < 2 {
		t.Fatal("too few")
	}
	for _, test := range file.Tests {
		if got := sm3.Sum([]byte(test.Msg)); hex.EncodeToString(got[:]) != test.Digest {
			t.Errorf("%q: %x, want %s", test.Msg, got, test.Digest)
		}
	}
}

func TestSignedVerifies(t *testing.T) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	again, err := sm2.NewPrivateKey(key.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	public, err := sm2.ParseKey(sm2.Compress(again.Public()))
	if err != nil {
		t.Fatal(err)
	}
	for range 200 { // a leading zero byte in r or s comes once in 128
		sig, err := key.Sign(rand.Reader, []byte("user"), []byte("message"))
		if err != nil || !sm2.Verify(public, []byte("user"), []byte("message"), sig) {
			t.Fatalf("%x, %v", sig, err)
		}
		if sm2.Verify(public, nil, []byte("message"), sig) || sm2.Verify(public, []byte("user"), []byte("massage"), sig) {
			t.Fatal("a signature holds for another user or message")
		}
	}
	sig, err := key.Sign(rand.Reader, nil, []byte("m"))
	if err != nil || !sm2.Verify(public, []byte(sm2.DefaultUserID), []byte("m"), sig) {
		t.Errorf("the empty user id is not the default one: %v", err)
	}
}

func TestKeysOfOtherFormsAreRefused(t *testing.T) {
	var file signatures
	load(t, "sm2_sign.json", &file)
	good, full := unhex(t, file.Public.Compressed), unhex(t, file.Public.Uncompressed)
	big := append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)
	off := bytes.Clone(full)
	off[64] ^= 1
	noPoint := append([]byte{2}, make([]byte, 32)...)
	for x := byte(0); ; x++ {
		noPoint[32] = x
		if _, err := sm2.ParseKey(noPoint); err != nil {
			break
		}
		if x == 255 {
			t.Fatal("every x has a point")
		}
	}
	for name, raw := range map[string][]byte{
		"nothing": nil, "infinity": {0}, "short": good[:32], "long": append(bytes.Clone(good), 0), "x above p": big,
		"prefix 4": append([]byte{4}, good[1:]...), "off the curve": off, "hybrid": append([]byte{6}, full[1:]...),
	} {
		if key, err := sm2.ParseKey(raw); err == nil {
			t.Errorf("%s: %v", name, key)
		}
		if sm2.Compressed(raw) {
			t.Errorf("%s has the compressed form", name)
		}
	}
	p256 := &ecdsa.PublicKey{Curve: elliptic.P256()}
	if sm2.Verify(p256, nil, nil, make([]byte, 64)) || sm2.Compress(p256) != nil {
		t.Error("a key of P-256 is taken")
	}
	if _, err := sm2.NewPrivateKey(make([]byte, 32)); err == nil {
		t.Error("the private key 0")
	}
}

func TestPrivateKeysDoNotPrint(t *testing.T) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, key); !strings.Contains(got, "[secret]") || len(got) > 10 {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	msg := make([]byte, 250)
	sig, err := key.Sign(rand.Reader, nil, msg)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !sm2.Verify(key.Public(), nil, msg, sig) {
			b.Fatal("refused")
		}
	}
}
