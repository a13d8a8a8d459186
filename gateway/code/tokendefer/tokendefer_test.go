package tokendefer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/schemetest"
	"github.com/cashlesscity/citygate/gateway/code/tokendefer"
)

var update = flag.Bool("update", false, "write testdata/codes.txt anew")

func scheme(t testing.TB, params string) code.Scheme {
	t.Helper()
	s, err := tokendefer.Plugin.New([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func token(seed string, n int) []byte {
	a, b := sha256.Sum256([]byte(seed)), sha256.Sum256([]byte(seed+" "))
	return append(a[:], b[:]...)[:n]
}

func build(t testing.TB, provider string, token []byte) []byte {
	t.Helper()
	raw, err := tokendefer.Build(provider, token)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestConformance(t *testing.T) {
	codes := [][]byte{build(t, "palm-co", token("rider", 32)), build(t, "palm-co", token("another", 16)), build(t, "cards", token("rider", 64))}
	if *update {
		text := "# Codes of this scheme, for every other scheme to refuse. Written by go test -update.\n"
		for _, raw := range codes {
			text += fmt.Sprintf("%x # %s\n", raw, raw)
		}
		if err := os.WriteFile("testdata/codes.txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing here costs more than a sum, so every mutation is verified.
	suite := schemetest.Suite{Scheme: scheme(t, `{"cap_minor":300}`), VerifyMax: 1_000_000}
	for _, raw := range codes {
		at := bytes.LastIndexByte(raw, ':') + 1
		v := schemetest.Vector{
			Name: string(raw), Raw: raw, At: 1_800_000_000, Amount: 300, Outcome: code.Defer, Reason: code.UnknownKey, Strength: code.Unverified,
			Checked: code.WithinCap,
			Proven: []schemetest.Region{
				{Name: "prefix", From: 0, To: 5, Reason: code.Malformed}, {Name: "provider", From: 5, To: at, Reason: code.Malformed},
				{Name: "token", From: at, To: len(raw), Reason: code.Malformed},
			},
		}
		dear := v
		dear.Name, dear.Amount, dear.Outcome, dear.Reason = "too dear", 301, code.Reject, code.AmountOverCap
		suite.Vectors = append(suite.Vectors, v, dear)
	}
	short := suite.Vectors[0]
	short.Name, short.Raw, short.Outcome, short.Reason = "cut off", codes[0][:20], code.Reject, code.Malformed
	suite.Vectors = append(suite.Vectors, short)
	schemetest.Run(t, suite)
}

// What a reader sees of a body must not get in, under whatever name.
func TestNoImageOrTemplate(t *testing.T) {
	s := scheme(t, "")
	for name, token := range map[string][]byte{
		"a JPEG's start":      append([]byte{0xff, 0xd8, 0xff, 0xe0}, token("x", 28)...),
		"a PNG's start":       append([]byte("\x89PNG\r\n\x1a\n"), token("x", 24)...),
		"a WSQ's start":       append([]byte{0xff, 0xa0, 0xff, 0xa4}, token("x", 24)...),
		"a finger template":   append([]byte("FMR\x00 20\x00"), token("x", 24)...),
		"a face image record": append([]byte("FAC\x00010\x00"), token("x", 24)...),
		"an iris record":      append([]byte("IIR\x00020\x00"), token("x", 24)...),
		"65 bytes":            append(token("x", 64), 1),
		"a face embedding":    make([]byte, 512),
		"15 bytes":            token("x", 15),
	} {
		if raw, err := tokendefer.Build("palm-co", token); err == nil {
			t.Errorf("%s: built %s", name, raw)
		}
		raw := []byte("TKN1:palm-co:" + base64.RawURLEncoding.EncodeToString(token))
		if err := s.Parse(raw, new(code.Code)); !errors.Is(err, code.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two texts of one token would be two rides.
func TestATokenHasOneText(t *testing.T) {
	s := scheme(t, "")
	good := string(build(t, "palm-co", token("x", 32))) // 43 characters: the last holds 4 bits of slack
	last := good[len(good)-1]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	forms := []string{good + "=", good + "\n", good[:30] + "\r\n" + good[30:], strings.ToUpper(good[:5]) + " " + good[5:], "tkn1:" + good[5:], good[:5] + ":" + good[5:]}
	for _, c := range []byte(alphabet) {
		if c != last {
			forms = append(forms, good[:len(good)-1]+string(c))
		}
	}
	var genuine code.Code
	if err := s.Parse([]byte(good), &genuine); err != nil {
		t.Fatal(err)
	}
	parsed := 0
	for _, form := range forms {
		var c code.Code
		if s.Parse([]byte(form), &c) != nil {
			continue
		}
		parsed++
		if c.Use() == genuine.Use() {
			t.Errorf("%q is the same token", form)
		}
	}
	if parsed != 15 { // the other values of the last character's 4 used bits
		t.Errorf("%d other forms parse, want 15 other tokens", parsed)
	}
}

func TestProviders(t *testing.T) {
	s := scheme(t, `{"providers":["palm-co"],"window_s":30}`)
	for provider, want := range map[string]code.Verdict{"palm-co": code.Deferred(0), "cards": code.Refuse(code.UnknownIssuer)} {
		var c code.Code
		if err := s.Parse(build(t, provider, token("x", 32)), &c); err != nil {
			t.Fatal(err)
		}
		if v := s.Verify(&c, nil, nil); v != want {
			t.Errorf("%s: %+v", provider, v)
		}
	}
	var a, b code.Code
	if s.Parse(build(t, "palm-co", token("x", 32)), &a) != nil || s.Parse(build(t, "cards", token("x", 32)), &b) != nil || a.Use() == b.Use() {
		t.Error("two providers' equal tokens are one use")
	}
	for params, want := range map[string]string{`{"providers":["A"]}`: "providers[0]", `{"providers":[""]}`: "providers[0]", `{"window_s":0}`: "window_s", `{"window_s":3601}`: "window_s", `{"image":true}`: "image"} {
		if _, err := tokendefer.Plugin.New([]byte(params)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", params, err)
		}
	}
	if _, err := tokendefer.Plugin.Trust([]byte(`{"keys":[]}`)); err == nil {
		t.Error("keys for what nobody can prove")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("TKN1:palm-co:AAAAAAAAAAAAAAAAAAAAAA"))
	s := scheme(f, "")
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c code.Code
		if s.Parse(raw, &c) != nil {
			return
		}
		provider, text, _ := strings.Cut(string(raw[5:]), ":")
		token, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := tokendefer.Build(provider, token); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%q has another form %q, %v", raw, again, err)
		}
	})
}
