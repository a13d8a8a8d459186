package motsm2_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/schemetest"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func scheme(t testing.TB, params string) *motsm2.Scheme {
	t.Helper()
	s, err := motsm2.Plugin.New([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := s.(*motsm2.Scheme)
	return m
}

// synthetic is the shared file of vectors.
type synthetic struct {
	RootCA json.RawMessage `json:"root_ca"`
	Tests  []struct {
		ID      int    `json:"id"`
		Comment string `json:"comment"`
		Expect  string `json:"expect"`
		Hex     string `json:"code_hex"`
		Now     int64  `json:"now_unix"`
		Amount  int64  `json:"amount_minor"`
	} `json:"tests"`
}

func loadSynthetic(t testing.TB) (synthetic, code.KeySource) {
	t.Helper()
	data, err := os.ReadFile("testdata/mot-sm2-synthetic.json")
	if err != nil {
		t.Fatal(err)
	}
	var file synthetic
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	keys, err := motsm2.Plugin.Trust([]byte(`{"root_ca":[` + string(file.RootCA) + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return file, keys
}

const all = code.IssuerCert | code.IssuerSignature | code.DeviceSignature | code.InWindow | code.WithinCap

// proven are the parts of a code by the signature that covers them.
func proven(raw []byte, cert bool) (proven, loose []schemetest.Region) {
	at := 3
	if cert {
		proven = append(proven,
			schemetest.Region{Name: "root CA index", From: 8, To: 9, Reason: code.UnknownKey},
			schemetest.Region{Name: "certificate", From: 9, To: 56, Reason: code.BadIssuerCert},
			schemetest.Region{Name: "root's signature", From: 56, To: 120, Reason: code.BadIssuerCert})
		at = 120
	}
	made := len(raw) - 69
	proven = append(proven,
		schemetest.Region{Name: "version and length", From: 0, To: 3, Reason: code.Malformed},
		schemetest.Region{Name: "account and limits", From: at, To: at + 26, Reason: code.BadIssuerSignature},
		schemetest.Region{Name: "type to validity", From: at + 34, To: made - 65, Reason: code.BadIssuerSignature},
		schemetest.Region{Name: "card issuer and platform", From: at + 26, To: at + 34, Reason: code.BadIssuerSignature},
		schemetest.Region{Name: "issuer's prefix", From: made - 65, To: made - 64, Reason: code.BadDeviceSignature},
		schemetest.Region{Name: "issuer's signature", From: made - 64, To: made, Reason: code.BadIssuerSignature},
		schemetest.Region{Name: "time", From: made, To: made + 4, Reason: code.BadDeviceSignature},
		schemetest.Region{Name: "user's signature", From: made + 5, To: len(raw), Reason: code.BadDeviceSignature})
	if cert {
		proven = append(proven, schemetest.Region{Name: "certificate's head", From: 3, To: 8, Reason: code.Malformed})
	} else {
		for i := range proven {
			if proven[i].Name == "card issuer and platform" {
				proven[i].Reason = code.UnknownIssuer // they name the key
			}
		}
	}
	return proven, []schemetest.Region{{Name: "user's prefix", From: made + 4, To: made + 5}}
}

func TestConformance(t *testing.T) {
	file, keys := loadSynthetic(t)
	suite := schemetest.Suite{Scheme: scheme(t, "")}
	reasons := map[string]code.Reason{"bad_user_signature": code.BadDeviceSignature}
	for _, test := range file.Tests {
		v := schemetest.Vector{Name: fmt.Sprintf("%d: %s", test.ID, test.Comment), Raw: unhex(t, test.Hex), Keys: keys, At: test.Now, Amount: test.Amount,
			Outcome: code.Reject, Reason: code.Reason(test.Expect)}
		if other, ok := reasons[test.Expect]; ok {
			v.Reason = other
		}
		if test.Expect == "ok" {
			v.Outcome, v.Reason, v.Strength, v.Checked = code.Accept, "", code.DeviceBound, all
			v.Proven, v.Loose = proven(v.Raw, true)
		}
		suite.Vectors = append(suite.Vectors, v)
	}
	schemetest.Run(t, suite)
}

// A city is a root, an issuer and a phone, made anew for each test.
type city struct {
	root, issuer, user *sm2.PrivateKey
	keys               code.KeySource
}

const (
	cardIssuer = 0x31047700
	platform   = 0x00000007
	now        = 1_789_000_000
)

func newCity(t testing.TB) *city {
	t.Helper()
	c := new(city)
	for _, key := range []**sm2.PrivateKey{&c.root, &c.issuer, &c.user} {
		var err error
		if *key, err = sm2.GenerateKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	trust := new(code.Trust)
	trust.AddForeign(motsm2.RootKey(3), sm2.Compress(c.root.Public()))
	trust.AddForeign(motsm2.IssuerKey(cardIssuer, platform), sm2.Compress(c.issuer.Public()))
	c.keys = trust
	return c
}

func signer(key *sm2.PrivateKey) motsm2.Sign {
	return func(uid, msg []byte) ([]byte, error) { return key.Sign(rand.Reader, uid, msg) }
}

func (c *city) certificate(t testing.TB, s *motsm2.Scheme, version byte, by *sm2.PrivateKey, change func(*motsm2.Certificate)) []byte {
	t.Helper()
	f := motsm2.Certificate{Version: version, RootIndex: 3, IssuerID: 0x50023301, Month: 12, Year: 2030, Serial: 7, Key: sm2.Compress(c.issuer.Public())}
	if change != nil {
		change(&f)
	}
	cert, err := s.BuildCertificate(f, signer(by))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (c *city) authorisation(cert []byte, version byte) motsm2.Authorisation {
	return motsm2.Authorisation{Version: version, Certificate: cert, UserAccount: [10]byte{0x31, 4}, CardIssuer: cardIssuer, Platform: platform,
		AccountType: 2, CapMinor: 70_000, UserKey: sm2.Compress(c.user.Public()), ExpiresAt: now + 86400, Validity: 60, Custom: []byte("student")}
}

func (c *city) code(t testing.TB, s *motsm2.Scheme, f motsm2.Authorisation, issuer, user *sm2.PrivateKey) []byte {
	t.Helper()
	authorised, err := s.BuildAuthorisation(f, signer(issuer))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Display(authorised, now, signer(user))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Every combination of parameters reads what it builds, and refuses what a
// scheme with any one other parameter builds.
func TestParametersAreHeld(t *testing.T) {
	c := newCity(t)
	type variant struct {
		params  string
		version byte
		cert    bool
		size    int
	}
	variants := []variant{
		{`{}`, 0x80, true, 339},
		{`{}`, 0x81, true, 339},
		{`{"user_id":"context"}`, 0x80, true, 339},
		{`{"user_id":"default"}`, 0x93, true, 339},
		{`{"field_order":"signature_first"}`, 0x80, true, 339},
		{`{"field_order":"signature_first","certificate":"either","epoch":"2000-01-01T00:00:00+08:00"}`, 0x80, true, 339},
		{`{"certificate":"absent"}`, 0x80, false, 222},
		{`{"certificate":"either"}`, 0x81, false, 222},
		{`{"certificate":"absent","field_order":"signature_first","user_id":"context"}`, 0x80, false, 222},
	}
	for i, v := range variants {
		s := scheme(t, v.params)
		var cert []byte
		if v.cert {
			cert = c.certificate(t, s, v.version, c.root, nil)
		}
		f := c.authorisation(cert, v.version)
		raw := c.code(t, s, f, c.issuer, c.user)
		if len(raw) != v.size {
			t.Errorf("%s: %d bytes, want %d", v.params, len(raw), v.size)
		}
		got := mustParse(t, s, raw)
		if got.GeneratedAt != now || got.ExpiresAt != now+86400 || got.Window != 60 || got.CapMinor != 70_000 || got.Product != 2 {
			t.Errorf("%s: %+v", v.params, got)
		}
		cache := code.NewCredentials(64)
		for range 2 {
			if verdict := s.Verify(got, c.keys, cache); verdict.Outcome != code.Accept {
				t.Errorf("%s: %+v", v.params, verdict)
			}
		}
		for j, other := range variants {
			o := scheme(t, other.params)
			var parsed code.Code
			if i == j || o.Parse(raw, &parsed) != nil {
				continue
			}
			if verdict := o.Verify(&parsed, c.keys, cache); verdict.Outcome == code.Accept && !sameReading(v.params, v.version, other.params) {
				t.Errorf("a code of %s (%02x) is accepted under %s", v.params, v.version, other.params)
			}
		}
	}
}

// sameReading says that two parameters read a code of that version the same way.
func sameReading(a string, version byte, b string) bool {
	mode := func(p string) string {
		switch {
		case strings.Contains(p, `"context"`):
			return "context"
		case strings.Contains(p, `"default"`) || version == 0x80:
			return "default"
		}
		return "context"
	}
	return mode(a) == mode(b) && strings.Contains(a, "signature_first") == strings.Contains(b, "signature_first")
}

func mustParse(t testing.TB, s *motsm2.Scheme, raw []byte) *code.Code {
	t.Helper()
	var c code.Code
	if err := s.Parse(raw, &c); err != nil {
		t.Fatalf("%v: %x", err, raw)
	}
	return &c
}

// The mistakes that public validators make: each of these codes rides free with
// one of them.
func TestForgeriesAreNamed(t *testing.T) {
	c, stranger := newCity(t), newCity(t)
	s := scheme(t, "")
	cert := c.certificate(t, s, 0x80, c.root, nil)
	good := c.authorisation(cert, 0x80)
	with := func(cert []byte) motsm2.Authorisation {
		f := good
		f.Certificate = cert
		return f
	}
	selfSigned := stranger.certificate(t, s, 0x80, stranger.issuer, nil) // checked with the key inside it, it holds
	otherIndex := c.certificate(t, s, 0x80, c.root, func(f *motsm2.Certificate) { f.RootIndex = 4 })
	offCurve := c.certificate(t, s, 0x80, c.root, func(f *motsm2.Certificate) {
		f.Key = append([]byte{2}, make([]byte, 32)...)
		for x := range 256 {
			f.Key[32] = byte(x)
			if _, err := sm2.ParseKey(f.Key); err != nil {
				return
			}
		}
		t.Fatal("every x has a point")
	})
	for name, test := range map[string]struct {
		raw  []byte
		want code.Reason
	}{
		"a certificate that signed itself":          {stranger.code(t, s, with(selfSigned), stranger.issuer, c.user), code.BadIssuerCert},
		"a root nobody holds":                       {c.code(t, s, with(otherIndex), c.issuer, c.user), code.UnknownKey},
		"a certified key that is none":              {c.code(t, s, with(offCurve), c.issuer, c.user), code.BadIssuerCert},
		"authorised by a key nobody certified":      {c.code(t, s, good, stranger.issuer, c.user), code.BadIssuerSignature},
		"authorised by the user":                    {c.code(t, s, good, c.user, c.user), code.BadIssuerSignature},
		"shown by another phone":                    {c.code(t, s, good, c.issuer, stranger.user), code.BadDeviceSignature},
		"shown by the issuer in the user's place":   {c.code(t, s, good, c.issuer, c.issuer), code.BadDeviceSignature},
		"the root in the place of the issuer's key": {c.code(t, s, good, c.root, c.user), code.BadIssuerSignature},
	} {
		for _, cache := range []code.CredentialCache{nil, code.NewCredentials(64)} {
			if v := s.Verify(mustParse(t, s, test.raw), c.keys, cache); v.Outcome != code.Reject || v.Reason != test.want {
				t.Errorf("%s: %+v, want %s", name, v, test.want)
			}
		}
	}
	if v := s.Verify(mustParse(t, s, c.code(t, s, good, c.issuer, c.user)), stranger.keys, nil); v.Reason != code.BadIssuerCert {
		t.Errorf("under another city's root: %+v", v)
	}
}

func TestCacheSkipsTheIssuerAndNothingElse(t *testing.T) {
	c := newCity(t)
	s := scheme(t, "")
	cache := code.NewCredentials(64)
	authorised, err := s.BuildAuthorisation(c.authorisation(c.certificate(t, s, 0x80, c.root, nil), 0x80), signer(c.issuer))
	if err != nil {
		t.Fatal(err)
	}
	show := func(at int64) []byte {
		raw, err := s.Display(authorised, at, signer(c.user))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for at := range int64(3) {
		raw := show(now + at)
		if v := s.Verify(mustParse(t, s, raw), c.keys, cache); v.Outcome != code.Accept {
			t.Fatalf("%+v", v)
		}
		raw[len(raw)-1] ^= 1
		if v := s.Verify(mustParse(t, s, raw), c.keys, cache); v.Reason != code.BadDeviceSignature {
			t.Errorf("a forged display of a cached rider: %+v", v)
		}
		clear(raw) // the reader's buffer is used again
	}
	if cache.Len() != 1 {
		t.Errorf("%d cached, want 1", cache.Len())
	}
	raw := show(now)
	raw[200] ^= 1
	if v := s.Verify(mustParse(t, s, raw), c.keys, cache); v.Outcome == code.Accept {
		t.Error("an altered authorisation is taken for the cached one")
	}
	// A new bundle without the root: what was cached under the old one is void.
	later := new(code.Trust)
	later.Number = 2
	if v := s.Verify(mustParse(t, s, show(now)), later, cache); v.Reason != code.UnknownIssuer {
		t.Errorf("after the root was withdrawn: %+v", v)
	}
}

func TestTheSameDisplayIsOneUse(t *testing.T) {
	c := newCity(t)
	s := scheme(t, "")
	f := c.authorisation(c.certificate(t, s, 0x80, c.root, nil), 0x80)
	raw := c.code(t, s, f, c.issuer, c.user)
	first := mustParse(t, s, raw)
	altered := bytes.Clone(raw)
	altered[len(raw)-65] ^= 0xff // the user's prefix: nobody signs it
	if got := mustParse(t, s, altered); got.Use() != first.Use() || s.Verify(got, c.keys, nil).Outcome != code.Accept {
		t.Error("another byte form is another use, or refused")
	}
	again := mustParse(t, s, c.code(t, s, f, c.issuer, c.user)) // signed again, so other bytes
	if bytes.Equal(again.Raw, raw) || again.Use() != first.Use() {
		t.Error("the same second of the same card and phone is another use")
	}
	f.UserAccount[9] = 9
	if other := mustParse(t, s, c.code(t, s, f, c.issuer, c.user)); other.Use() == first.Use() || other.Subject() == first.Subject() {
		t.Error("another card is the same rider")
	}
}

func TestAdmission(t *testing.T) {
	c := newCity(t)
	plain := scheme(t, "")
	raw := c.code(t, plain, c.authorisation(c.certificate(t, plain, 0x80, c.root, nil), 0x80), c.issuer, c.user)
	for params, want := range map[string]code.Reason{
		`{"admit":[{"cert_issuer":"50023301"}]}`:                                                                           "",
		`{"admit":[{"cert_issuer":"50023302"},{"card_issuer":"31047700","platform":"00000007"}]}`:                          "",
		`{"admit":[{"cert_issuer":"50023302"}]}`:                                                                           code.UnknownIssuer,
		`{"admit":[{"card_issuer":"31047700","platform":"00000008"},{"card_issuer":"31047701"}]}`:                          code.UnknownIssuer,
		`{"admit":[{"cert_issuer":"50023302","card_issuer":"31047700"},{"cert_issuer":"50023301","platform":"00000001"}]}`: code.UnknownIssuer,
	} {
		s := scheme(t, params)
		if v := s.Verify(mustParse(t, s, raw), c.keys, nil); v.Reason != want {
			t.Errorf("%s: %+v, want %q", params, v, want)
		}
	}
}

func TestParametersThatMeanNothingAreRefused(t *testing.T) {
	for params, want := range map[string]string{
		`{"field_order":"other"}`:             "field_order",
		`{"user_id":"x"}`:                     "user_id",
		`{"certificate":""}`:                  "certificate",
		`{"epoch":"1970"}`:                    "epoch",
		`{"epoch":"1969-12-31T23:59:59Z"}`:    "epoch",
		`{"skew_s":-1}`:                       "skew_s",
		`{"admit":[{"platform":"1"}]}`:        "admit[0].platform",
		`{"user_id_mode":"context"}`:          "user_id_mode",
		`{"admit":[{},{"card_issuer":"zz"}]}`: "admit[1].card_issuer",
	} {
		if _, err := motsm2.Plugin.New([]byte(params)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", params, err, want)
		}
	}
	for trust, want := range map[string]string{
		`{"root_ca":[{"index":1,"public_uncompressed_hex":"04"}]}`:                           "root_ca[0]",
		`{"root_ca":[{"index":1,"public_uncompressed_hex":"0x"}]}`:                           "root_ca[0]",
		`{"issuers":[{"card_issuer":"1","platform":"00000001","public_hex":""}]}`:            "card_issuer",
		`{"issuers":[{"card_issuer":"00000001","platform":"00000001","public_hex":"02ff"}]}`: "issuers[0]",
		`{"roots":[]}`: "roots",
	} {
		if _, err := motsm2.Plugin.Trust([]byte(trust)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", trust, err, want)
		}
	}
}

func TestBuildersRefuseWhatParsersWould(t *testing.T) {
	c := newCity(t)
	s := scheme(t, "")
	cert := c.certificate(t, s, 0x80, c.root, nil)
	for name, change := range map[string]func(*motsm2.Authorisation){
		"version 7f":              func(f *motsm2.Authorisation) { f.Version = 0x7f },
		"no certificate":          func(f *motsm2.Authorisation) { f.Certificate = nil },
		"half a certificate":      func(f *motsm2.Authorisation) { f.Certificate = cert[:116] },
		"a cap of 2^24":           func(f *motsm2.Authorisation) { f.CapMinor = 1 << 24 },
		"a negative cap":          func(f *motsm2.Authorisation) { f.CapMinor = -1 },
		"an uncompressed key":     func(f *motsm2.Authorisation) { f.UserKey = make([]byte, 65) },
		"an end before 1970":      func(f *motsm2.Authorisation) { f.ExpiresAt = -1 },
		"33 bytes of custom data": func(f *motsm2.Authorisation) { f.Custom = make([]byte, 33) },
	} {
		f := c.authorisation(cert, 0x80)
		change(&f)
		if got, err := s.BuildAuthorisation(f, signer(c.issuer)); err == nil {
			t.Errorf("%s: %x", name, got)
		}
	}
	for name, change := range map[string]func(*motsm2.Certificate){
		"month 13": func(f *motsm2.Certificate) { f.Month = 13 }, "year 1999": func(f *motsm2.Certificate) { f.Year = 1999 },
		"a long serial": func(f *motsm2.Certificate) { f.Serial = 1 << 24 }, "no key": func(f *motsm2.Certificate) { f.Key = nil },
	} {
		f := motsm2.Certificate{Version: 0x80, Month: 1, Year: 2030, Key: sm2.Compress(c.issuer.Public())}
		change(&f)
		if _, err := s.BuildCertificate(f, signer(c.root)); err == nil {
			t.Errorf("certificate with %s", name)
		}
	}
	if _, err := s.Display([]byte{0x80, 0, 1}, now, signer(c.user)); err == nil {
		t.Error("a display of nothing")
	}
}

// FuzzParse holds the form: a length that is what the code says, no panic, nothing
// left behind, and the limits are bytes of the code and not of its neighbours.
func FuzzParse(f *testing.F) {
	file, _ := loadSynthetic(f)
	for _, test := range file.Tests {
		f.Add(unhex(f, test.Hex), uint8(test.ID))
	}
	variants := []string{``, `{"certificate":"absent"}`, `{"certificate":"either","field_order":"signature_first"}`, `{"user_id":"context","certificate":"either"}`}
	var schemes []*motsm2.Scheme
	for _, v := range variants {
		schemes = append(schemes, scheme(f, v))
	}
	f.Fuzz(func(t *testing.T, raw []byte, which uint8) {
		s := schemes[int(which)%len(schemes)]
		c := code.Code{Raw: []byte{1}}
		err := s.Parse(raw, &c)
		if err != nil {
			if c.Raw != nil || c.Scheme != "" || c.Account != [32]byte{} {
				t.Fatalf("%v and %+v", err, c)
			}
			return
		}
		if s.Sniff(raw) != code.Sure || c.CapMinor < 0 || c.CapMinor >= 1<<24 || c.Window < 0 || len(c.DeviceKey) != 33 || len(c.Credential) != len(raw)-69 {
			t.Errorf("%+v", c)
		}
		if v := s.Verify(&c, new(code.Trust), nil); v.Outcome != code.Reject {
			t.Errorf("accepted with nobody's keys: %+v", v)
		}
	})
}
