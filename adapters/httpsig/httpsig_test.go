package httpsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The keys and messages of RFC 9421, appendix B.1 and B.2.
const (
	rfcP256 = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----`
	rfcEd25519 = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----`
	rfcCreated = 1618884473
)

func rfcKeys(t *testing.T) (ed25519.PrivateKey, func(string) (crypto.PublicKey, bool)) {
	t.Helper()
	block, _ := pem.Decode([]byte(rfcEd25519))
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	block, _ = pem.Decode([]byte(rfcP256))
	p256, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	ed := private.(ed25519.PrivateKey)
	keys := map[string]crypto.PublicKey{"test-key-ed25519": ed.Public(), "test-key-ecc-p256": p256}
	return ed, func(id string) (crypto.PublicKey, bool) { k, ok := keys[id]; return k, ok }
}

func rfcRequest(t *testing.T) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://example.com/foo?param=Value&Pet=dog", strings.NewReader(`{"hello": "world"}`))
	r.Header = http.Header{
		"Date": {"Tue, 20 Apr 2021 02:07:55 GMT"}, "Content-Type": {"application/json"}, "Content-Length": {"18"},
		"Content-Digest": {"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"},
	}
	return r
}

// RFC 9421, B.2.6.
func TestVectorEd25519(t *testing.T) {
	private, keys := rfcKeys(t)
	const want = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
	r := rfcRequest(t)
	err := Sign(Request(r, "", ""), Params{
		Components: []string{"date", "@method", "@path", "@authority", "content-type", "content-length"},
		Created:    time.Unix(rfcCreated, 0), KeyID: "test-key-ed25519",
	}, private)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Header.Get("Signature"); got != "sig=:"+want+":" {
		t.Errorf("Signature = %s, want %s", got, want)
	}
	r.Header.Set("Signature-Input", strings.Replace(r.Header.Get("Signature-Input"), "sig=", "sig-b26=", 1))
	r.Header.Set("Signature", "sig-b26=:"+want+":")
	if _, err := Verify(Request(r, "", ""), Policy{Keys: keys, Required: []string{"@method"}}); err != nil {
		t.Error(err)
	}
	if err := CheckDigest(r.Header, []byte(`{"hello": "world"}`)); err != nil {
		t.Error(err)
	}
}

// RFC 9421, B.2.4.
func TestVectorECDSAResponse(t *testing.T) {
	_, keys := rfcKeys(t)
	h := http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {"23"},
		"Content-Digest":  {"sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:"},
		"Signature-Input": {`sig-b24=("@status" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-ecc-p256"`},
		"Signature":       {"sig-b24=:wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==:"},
	}
	m := Response(200, h, Request(rfcRequest(t), "", ""))
	if _, err := Verify(m, Policy{Keys: keys, Required: []string{"@status", "content-digest"}}); err != nil {
		t.Error(err)
	}
	if err := CheckDigest(h, []byte(`{"message": "good dog"}`)); err != nil {
		t.Error(err)
	}
	if err := CheckDigest(h, []byte(`{"message": "bad dog."}`)); !errors.Is(err, ErrSignature) {
		t.Errorf("another body: %v", err)
	}
	if _, err := Verify(Response(201, h, Request(rfcRequest(t), "", "")), Policy{Keys: keys}); !errors.Is(err, ErrSignature) {
		t.Errorf("another status: %v", err)
	}
}

// RFC 9421, B.4: what a proxy may do to a message, and what it may not.
func TestVectorTransformations(t *testing.T) {
	_, keys := rfcKeys(t)
	build := func(change func(*http.Request)) Message {
		r := httptest.NewRequest(http.MethodGet, "https://example.org/demo?name1=Value1&Name2=value2", nil)
		r.Header = http.Header{
			"Date": {"Fri, 15 Jul 2022 14:24:55 GMT"}, "Accept": {"application/json", "*/*"},
			"Signature-Input": {`transform=("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519"`},
			"Signature":       {"transform=:ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA==:"},
		}
		change(r)
		return Request(r, "", "")
	}
	for name, c := range map[string]struct {
		ok     bool
		change func(*http.Request)
	}{
		"as signed":            {true, func(*http.Request) {}},
		"a field added":        {true, func(r *http.Request) { r.Header.Set("Accept-Language", "en-US,en;q=0.5") }},
		"fields combined":      {true, func(r *http.Request) { r.Header["Accept"] = []string{"application/json, */*"} }},
		"query changed":        {true, func(r *http.Request) { r.URL.RawQuery = "name2=Value1" }},
		"default port added":   {true, func(r *http.Request) { r.Host = "EXAMPLE.org:443" }},
		"method and authority": {false, func(r *http.Request) { r.Method, r.Host = http.MethodPost, "example.com" }},
		"values swapped":       {false, func(r *http.Request) { r.Header["Accept"] = []string{"*/*", "application/json"} }},
		"path":                 {false, func(r *http.Request) { r.URL.Path = "/demo/" }},
	} {
		if _, err := Verify(build(c.change), Policy{Keys: keys}); (err == nil) != c.ok {
			t.Errorf("%s: %v, want ok %t", name, err, c.ok)
		}
	}
}

var now = time.Unix(1_800_000_000, 0)

func exchange(t *testing.T) (r *http.Request, answer http.Header, policy, back Policy) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := func(id string) (crypto.PublicKey, bool) { return &private.PublicKey, id == "k1" }
	body := []byte(`{"debits":[]}`)
	r = httptest.NewRequest(http.MethodPost, "https://adapter.test/v1/debits?x=1", bytes.NewReader(body))
	r.Header.Set("Content-Digest", Digest(body))
	covered := []string{"@method", "@target-uri", "content-digest"}
	if err := Sign(Request(r, "", ""), Params{Components: covered, Created: now, Expires: now.Add(time.Minute), Nonce: "n1", KeyID: "k1", Tag: "t"}, private); err != nil {
		t.Fatal(err)
	}
	policy = Policy{Tag: "t", Required: covered, Keys: keys, Now: now, MaxAge: 5 * time.Minute, Nonce: true}
	answer = http.Header{"Content-Digest": {Digest([]byte("{}"))}}
	covered = []string{"@status", "content-digest", "signature;req"}
	if err := Sign(Response(200, answer, Request(r, "", "")), Params{Components: covered, Created: now, KeyID: "k1", Tag: "t"}, private); err != nil {
		t.Fatal(err)
	}
	back = policy
	back.Required, back.Nonce = covered, false
	return r, answer, policy, back
}

func TestAnythingElseIsRefused(t *testing.T) {
	r, _, policy, _ := exchange(t)
	if _, err := Verify(Request(r, "", ""), policy); err != nil {
		t.Fatalf("as signed: %v", err)
	}
	for name, spoil := range map[string]func(*http.Request, *Policy){
		"method":          func(r *http.Request, _ *Policy) { r.Method = http.MethodPut },
		"path":            func(r *http.Request, _ *Policy) { r.URL.Path = "/v1/refunds" },
		"query":           func(r *http.Request, _ *Policy) { r.URL.RawQuery = "x=2" },
		"host":            func(r *http.Request, _ *Policy) { r.Host = "other.test" },
		"digest":          func(r *http.Request, _ *Policy) { r.Header.Set("Content-Digest", Digest([]byte("x"))) },
		"key id":          func(r *http.Request, _ *Policy) { replace(r, `keyid="k1"`, `keyid="k2"`) },
		"tag":             func(r *http.Request, _ *Policy) { replace(r, `tag="t"`, `tag="u"`) },
		"nonce gone":      func(r *http.Request, _ *Policy) { replace(r, `;nonce="n1"`, "") },
		"nonce other":     func(r *http.Request, _ *Policy) { replace(r, `nonce="n1"`, `nonce="n2"`) },
		"created gone":    func(r *http.Request, _ *Policy) { replace(r, ";created=1800000000", "") },
		"created a word":  func(r *http.Request, _ *Policy) { replace(r, "created=1800000000", `created="1800000000"`) },
		"component gone":  func(r *http.Request, _ *Policy) { replace(r, ` "content-digest"`, "") },
		"component twice": func(r *http.Request, _ *Policy) { replace(r, `"@method"`, `"@method" "@method"`) },
		"alg of others":   func(r *http.Request, _ *Policy) { replace(r, ";tag=", `;alg="hmac-sha256";tag=`) },
		"no signature":    func(r *http.Request, _ *Policy) { r.Header.Del("Signature") },
		"no input":        func(r *http.Request, _ *Policy) { r.Header.Del("Signature-Input") },
		"two inputs": func(r *http.Request, _ *Policy) {
			r.Header.Add("Signature-Input", strings.Replace(r.Header.Get("Signature-Input"), "sig=", "two=", 1))
		},
		"too late":  func(_ *http.Request, p *Policy) { p.Now = now.Add(6 * time.Minute) },
		"too early": func(_ *http.Request, p *Policy) { p.Now = now.Add(-6 * time.Minute) },
		"expired":   func(_ *http.Request, p *Policy) { p.Now = now.Add(time.Minute) },
		"a bit of the signature": func(r *http.Request, _ *Policy) {
			s := []byte(r.Header.Get("Signature"))
			s[10] ^= 1
			r.Header.Set("Signature", string(s))
		},
	} {
		r, _, policy, _ := exchange(t)
		spoil(r, &policy)
		if _, err := Verify(Request(r, "", ""), policy); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
}

func replace(r *http.Request, old, with string) {
	r.Header.Set("Signature-Input", strings.Replace(r.Header.Get("Signature-Input"), old, with, 1))
}

// An answer belongs to the request it answers, also when both requests are equal.
func TestAnAnswerBelongsToItsRequest(t *testing.T) {
	r, answer, _, back := exchange(t)
	if _, err := Verify(Response(200, answer, Request(r, "", "")), back); err != nil {
		t.Fatalf("as signed: %v", err)
	}
	other, _, _, _ := exchange(t)
	if _, err := Verify(Response(200, answer, Request(other, "", "")), back); !errors.Is(err, ErrSignature) {
		t.Errorf("the answer to another request: %v", err)
	}
}

func TestWhatIsNotSupportedIsNotSigned(t *testing.T) {
	private, _ := rfcKeys(t)
	for _, c := range []string{"@query-param", "@status", "missing", "Content-Type", "content-type;req", "@method @method"} {
		if err := Sign(Request(rfcRequest(t), "", ""), Params{Components: strings.Fields(c), Created: now, KeyID: "k"}, private); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v, want it refused", c, err)
		}
	}
}

// Whatever arrives is refused without a panic, and what is accepted was signed.
func FuzzVerify(f *testing.F) {
	f.Add(`sig=("@method" "@path");created=1;keyid="test-key-ed25519"`, "sig=:AAAA:")
	f.Add(`sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`,
		"sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:")
	block, _ := pem.Decode([]byte(rfcEd25519))
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		f.Fatal(err)
	}
	public := private.(ed25519.PrivateKey).Public()
	keys := func(id string) (crypto.PublicKey, bool) { return public, id == "test-key-ed25519" }
	f.Fuzz(func(t *testing.T, input, signature string) {
		r := httptest.NewRequest(http.MethodPost, "http://example.com/foo?param=Value&Pet=dog", nil)
		r.Header = http.Header{
			"Date": {"Tue, 20 Apr 2021 02:07:55 GMT"}, "Content-Type": {"application/json"}, "Content-Length": {"18"},
			"Signature-Input": {input}, "Signature": {signature},
		}
		p, err := Verify(Request(r, "", ""), Policy{Keys: keys})
		if err == nil && (p.KeyID != "test-key-ed25519" || p.Created.Unix() != rfcCreated) {
			t.Errorf("accepted a signature that was never made: %s %s", input, signature)
		}
		if err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("an error of another kind: %v", err)
		}
	})
}
