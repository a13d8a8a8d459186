package emvcpm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/schemetest"
)

var update = flag.Bool("update", false, "write testdata/codes.txt anew")

type vectors struct {
	CPM []struct {
		Comment       string
		PayloadBase64 string `json:"payload_base64"`
		PayloadHex    string `json:"payload_hex"`
		Valid         bool
	}
	MPM []struct {
		Comment, Payload string
		Valid            bool
	}
}

func published(t testing.TB) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/emvco-qr.json")
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil || len(v.CPM) != 4 || len(v.MPM) != 4 {
		t.Fatal(err, len(v.CPM), len(v.MPM))
	}
	return v
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// sample is the specification's worked example, as bytes.
func sample(t testing.TB) []byte { return decode(t, published(t).CPM[0].PayloadBase64) }

// el writes one element, length in the shortest form.
func el(tag int, value ...[]byte) []byte {
	var out []byte
	for shift := 16; shift >= 0; shift -= 8 {
		if tag>>shift != 0 {
			out = append(out, byte(tag>>shift))
		}
	}
	v := bytes.Join(value, nil)
	switch {
	case len(v) < 128:
		out = append(out, byte(len(v)))
	case len(v) < 256:
		out = append(out, 0x81, byte(len(v)))
	default:
		out = append(out, 0x82, byte(len(v)>>8), byte(len(v)))
	}
	return append(out, v...)
}

// A wallet code with everything in the application: track 2, counter and
// cryptogram in its transparent template.
func wallet(change func(app map[int][]byte)) []byte {
	app := map[int][]byte{
		tagAID:    []byte("\xa0\x00\x00\x03\x33\x01\x01\x01"),
		tagTrack2: []byte("\x62\x12\x34\x56\x78\x90\x12\x32\xd3\x01\x22\x20\x12\x34\x5f"),
		0x5f34:    {1},
		0x9f10:    []byte("\x07\x01\x01\x03\xa0\x00\x00\x01"), tagCryptogram: []byte("8 bytes!"), tagATC: {0x01, 0x2c}, 0x9f37: []byte("rand"),
		tagLabel: []byte("City Pay"),
	}
	change(app)
	var outer, inner []byte
	for _, tag := range []int{tagAID, tagLabel, tagTrack2, tagPAN, 0x5f34} {
		if v := app[tag]; v != nil {
			outer = append(outer, el(tag, v)...)
		}
	}
	for _, tag := range []int{0x9f10, tagCryptogram, tagATC, 0x9f37} {
		if v := app[tag]; v != nil {
			inner = append(inner, el(tag, v)...)
		}
	}
	if len(inner) > 0 {
		outer = append(outer, el(tagSpecific, inner)...)
	}
	return slices.Concat(formatIndicator, el(tagApplication, outer))
}

func asIs(map[int][]byte) {}

// judge is a reader's way: text, form, verdict.
func judge(scanned []byte) (code.Verdict, code.Code) {
	var c code.Code
	raw, ok, err := Scheme{}.AppendText(nil, scanned)
	if !ok {
		raw = scanned
	}
	if err == nil {
		err = Scheme{}.Parse(raw, &c)
	}
	if err != nil {
		return code.Refuse(code.ReasonOf(err)), c
	}
	return Scheme{}.Verify(&c, new(code.Trust), nil), c
}

func TestSpecificationSamples(t *testing.T) {
	for _, v := range published(t).CPM {
		want := code.Refuse(code.Malformed)
		if v.Valid {
			want = code.Deferred(0)
		}
		if got, _ := judge([]byte(v.PayloadBase64)); got != want {
			t.Errorf("%s: %+v", v.Comment, got)
		}
		if got, _ := judge(decode(t, v.PayloadBase64)); got != want {
			t.Errorf("%s, as bytes: %+v", v.Comment, got)
		}
	}
}

// A merchant's sticker is told from a payer's code, and from a damaged one.
func TestMerchantCodes(t *testing.T) {
	for _, v := range published(t).MPM {
		want, reason := ErrMerchantCode, code.Unsupported
		if !v.Valid {
			want, reason = code.ErrMalformed, code.Malformed
		}
		var c code.Code
		if err := (Scheme{}).Parse([]byte(v.Payload), &c); !errors.Is(err, want) || code.ReasonOf(err) != reason || c.Raw != nil {
			t.Errorf("%s: %v", v.Comment, err)
		}
		if (Scheme{}).Sniff([]byte(v.Payload)) != code.Sure {
			t.Errorf("%s is not recognised", v.Comment)
		}
	}
	if !strings.Contains(ErrMerchantCode.Error(), "your own phone") {
		t.Errorf("%v does not say what to do", ErrMerchantCode)
	}
	sticker := []byte(published(t).MPM[0].Payload)
	for i := range sticker { // a sticker on the sticker: the checksum sees single changes, and only them
		bad := bytes.Clone(sticker)
		bad[i] ^= 1
		if err := (Scheme{}).Parse(bad, new(code.Code)); !errors.Is(err, code.ErrMalformed) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for name, bad := range map[string]string{
		"nothing behind the indicator": "000201",
		"the checksum not last":        "000201" + "6304" + "0000" + "5802CN",
		"an id twice":                  withCRC("000201" + "5802CN" + "5802CN"),
		"an empty value":               withCRC("000201" + "5800"),
		"a length that overruns":       withCRC("000201" + "5899CN"),
		"no digits":                    withCRC("000201" + "5x02CN"),
		"no text":                      withCRC("000201" + "5902\xff\xfe"),
		"too long":                     withCRC("000201" + strings.Repeat("x", 600)),
		"a checksum in small letters":  strings.ToLower(withCRC("0002015802CN")),
	} {
		if err := (Scheme{}).Parse([]byte(bad), new(code.Code)); !errors.Is(err, code.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Scheme{}).Parse([]byte(withCRC("0002015802CN")), new(code.Code)); !errors.Is(err, ErrMerchantCode) {
		t.Errorf("the cases above have another fault: %v", err)
	}
}

func withCRC(s string) string {
	s += "6304"
	return string(appendHex([]byte(s), crc([]byte(s))))
}

// The text has one form.
func TestText(t *testing.T) {
	text := published(t).CPM[0].PayloadBase64
	raw, ok, err := Scheme{}.AppendText([]byte("kept"), []byte(text))
	if !ok || err != nil || !bytes.Equal(raw, append([]byte("kept"), sample(t)...)) {
		t.Fatalf("%x, %v, %v", raw, ok, err)
	}
	last := text[:len(text)-4]
	for name, bad := range map[string]string{
		"a line break":      text[:60] + "\n" + text[60:],
		"a carriage return": text + "\r",
		"a space":           text + " ",
		"no padding":        strings.TrimRight(text, "="),
		"stray bits":        last + "Ex==",
		"the URL alphabet":  strings.NewReplacer("+", "-", "/", "_").Replace(text[:len(text)-8]) + "-_-_vEw==",
		"too long":          text[:len(text)-4] + strings.Repeat("AAAA", 600),
	} {
		out, ok, err := Scheme{}.AppendText([]byte("kept"), []byte(bad))
		if !ok || !errors.Is(err, code.ErrMalformed) || string(out) != "kept" {
			t.Errorf("%s: %q, %v, %v", name, out, ok, err)
		}
	}
	for _, other := range []string{"", "hQVDUFYw", "CT1:abc", "000201", string(sample(t))} {
		if out, ok, err := (Scheme{}).AppendText([]byte("kept"), []byte(other)); ok || err != nil || string(out) != "kept" {
			t.Errorf("%q: %q, %v, %v", other, out, ok, err)
		}
	}
}

// Each says what the wallet's code says, or less, in a form that is not taken.
func TestStructureIsRefusedByKind(t *testing.T) {
	good := wallet(asIs)
	if v, _ := judge(good); v.Outcome != code.Defer {
		t.Fatalf("%+v", v)
	}
	aid, pan := el(tagAID, []byte("\xa0\x00\x00\x03\x33")), el(tagPAN, []byte("\x12\x34\x56\x78\x90\x12\x34\x58"))
	proof := slices.Concat(el(tagCryptogram, []byte("8 bytes!")), el(tagATC, []byte{0, 1}))
	app := el(tagApplication, aid)
	common := el(tagCommon, pan, el(tagTransparent, proof))
	payload := func(parts ...[]byte) []byte { return slices.Concat(append([][]byte{formatIndicator}, parts...)...) }
	for _, test := range []struct {
		name string
		raw  []byte
		want code.Reason
	}{
		{"as it is", payload(app, common), code.UnknownKey},
		{"common data first", payload(common, app), code.UnknownKey},
		{"two applications", payload(app, el(tagApplication, el(tagAID, []byte("\xa0\x00\x00\x06\x66"))), common), code.UnknownKey},
		{"its own proof in an application", payload(el(tagApplication, aid, pan, proof)), code.UnknownKey},
		{"the indicator alone", payload(), code.Malformed},
		{"no application", payload(common), code.Malformed},
		{"no application id", payload(el(tagApplication, pan, proof)), code.Malformed},
		{"no account", payload(app, el(tagCommon, el(tagTransparent, proof))), code.Unsupported},
		{"no counter", payload(app, el(tagCommon, pan, el(tagCryptogram, []byte("8 bytes!")))), code.Unsupported},
		{"no cryptogram", payload(app, el(tagCommon, pan, el(tagATC, []byte{0, 1}))), code.Unsupported},
		{"a second application without an account", payload(el(tagApplication, aid, pan, proof), app), code.Unsupported},
		{"an element of its own at the root", payload(app, common, el(0x80, []byte{1})), code.Unsupported},
		{"the indicator twice", payload(formatIndicator, app, common), code.Malformed},
		{"common data twice", payload(app, common, common), code.Malformed},
		{"an account twice", payload(app, el(tagCommon, pan, pan, proof)), code.Malformed},
		{"a byte behind", payload(app, common, []byte{0}), code.Malformed},
		{"padding between", payload(app, []byte{0}, common), code.Malformed},
		{"an empty value", payload(app, el(tagCommon, pan, proof, el(0xc1))), code.Malformed},
		{"a long length for a short value", payload(app, el(tagCommon, []byte{tagPAN, 0x81, 8}, pan[2:], proof)), code.Malformed},
		{"an indefinite length", payload(app, el(tagCommon, pan, proof, []byte{0x61, 0x80, 0, 0})), code.Malformed},
		{"a tag of four bytes", payload(app, el(tagCommon, pan, proof, []byte{0xdf, 0x81, 0x82, 3, 1, 1})), code.Malformed},
		{"a tag that begins with nothing", payload(app, el(tagCommon, pan, proof, []byte{0xdf, 0x80, 0x01, 1, 1})), code.Malformed},
		{"templates too deep", payload(app, el(tagCommon, pan, proof, el(0xe1, el(0xe2, el(0xe3, el(0xc4, []byte{1})))))), code.Malformed},
		{"templates as deep as may be", payload(app, el(tagCommon, pan, proof, el(0xe1, el(0xe2, el(0xc4, []byte{1}))))), code.UnknownKey},
		{"longer than a code", payload(app, common, el(0xc4, make([]byte, 500))), code.Malformed},
		{"an account of seven digits", payload(app, el(tagCommon, el(tagPAN, []byte("\x12\x34\x56\x7f")), proof)), code.Malformed},
		{"an account with a letter", payload(app, el(tagCommon, el(tagPAN, []byte("\x12\x34\x56\x7a\x90\x12\x34\x58")), proof)), code.Malformed},
		{"an account padded in the middle", payload(app, el(tagCommon, el(tagPAN, []byte("\x12\x34\x5f\x78\x90\x12\x34\x5f")), proof)), code.Malformed},
		{"two accounts in one", wallet(func(a map[int][]byte) { a[tagPAN] = []byte("\x12\x34\x56\x78\x90\x12\x34\x58") }), code.Malformed},
		{"one account in two forms", wallet(func(a map[int][]byte) { a[tagPAN] = []byte("\x62\x12\x34\x56\x78\x90\x12\x32") }), code.UnknownKey},
		{"track 2 without a D", wallet(func(a map[int][]byte) { a[tagTrack2][8] = 0x30 }), code.Malformed},
		{"track 2 with two", wallet(func(a map[int][]byte) { a[tagTrack2][10] = 0xd0 }), code.Malformed},
		{"track 2 without an expiry", wallet(func(a map[int][]byte) { a[tagTrack2] = a[tagTrack2][:10] }), code.Malformed},
		{"a counter of three bytes", wallet(func(a map[int][]byte) { a[tagATC] = []byte{1, 2, 3} }), code.Malformed},
		{"half a cryptogram", wallet(func(a map[int][]byte) { a[tagCryptogram] = []byte("half") }), code.Malformed},
	} {
		if v, c := judge(test.raw); v.Reason != test.want || v.Outcome != code.Defer && c.Raw != nil {
			t.Errorf("%s: %+v, want %q", test.name, v, test.want)
		}
	}
	for n := range good {
		if v, _ := judge(good[:n]); v.Outcome != code.Reject {
			t.Errorf("%d of %d bytes: %+v", n, len(good), v)
		}
	}
}

// Who pays is the account; which promise, everything that the issuer acts on.
func TestSubjectAndUse(t *testing.T) {
	parse := func(raw []byte) (c code.Code) {
		s, err := Plugin.New([]byte(`{"issuer":3,"cap_minor":500,"window_s":30}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Parse(raw, &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := parse(wallet(asIs))
	if first.Rider.Issuer != 3 || first.CapMinor != 500 || first.Window != 30 || !first.Timeless || first.Party != 1 {
		t.Errorf("%+v", first)
	}
	for name, test := range map[string]struct {
		change              func(map[int][]byte)
		sameRider, sameOnce bool
	}{
		"another label":       {func(a map[int][]byte) { a[tagLabel] = []byte("Other") }, true, true},
		"no label":            {func(a map[int][]byte) { delete(a, tagLabel) }, true, false},
		"another counter":     {func(a map[int][]byte) { a[tagATC] = []byte{1, 0x2d} }, true, false},
		"another cryptogram":  {func(a map[int][]byte) { a[tagCryptogram] = []byte("8 other!") }, true, false},
		"another application": {func(a map[int][]byte) { a[tagAID] = []byte("\xa0\x00\x00\x03\x33\x01\x01\x02") }, true, false},
		"another account":     {func(a map[int][]byte) { a[tagTrack2][7], a[tagTrack2][1] = 0x40, 0x13 }, false, false},
	} {
		c := parse(wallet(test.change))
		if (c.Subject() == first.Subject()) != test.sameRider || (c.Use() == first.Use()) != test.sameOnce {
			t.Errorf("%s: same rider %v, same use %v", name, c.Subject() == first.Subject(), c.Use() == first.Use())
		}
	}
	inPAN := parse(wallet(func(a map[int][]byte) {
		a[tagPAN] = []byte("\x62\x12\x34\x56\x78\x90\x12\x32")
		delete(a, tagTrack2)
	}))
	if inPAN.Subject() != first.Subject() {
		t.Error("one account in two forms is two riders")
	}
}

func TestParametersAndTrust(t *testing.T) {
	for _, bad := range []string{`{"skew_s":-1}`, `{"window_s":3601}`, `{"window_s":-1}`, `{"keys":[]}`} {
		if _, err := Plugin.New([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if _, err := Plugin.Trust([]byte(`{"keys":[]}`)); err == nil {
		t.Error("keys are taken, and there are none in this scheme")
	}
	if keys, err := Plugin.Trust(nil); err != nil || keys == nil {
		t.Error(err)
	}
}

func TestConformance(t *testing.T) {
	value := func(raw []byte, parts ...string) (out []schemetest.Region) {
		for _, p := range parts {
			at := bytes.Index(raw, []byte(p))
			if at < 0 {
				t.Fatalf("no %q", p)
			}
			out = append(out, schemetest.Region{Name: p, From: at, To: at + len(p)})
		}
		return out
	}
	promise := func(name string, raw []byte, loose ...string) schemetest.Vector {
		v := schemetest.Vector{Name: name, Raw: raw, Outcome: code.Defer, Reason: code.UnknownKey, Strength: code.Unverified, Loose: value(raw, loose...)}
		from := 0
		for _, l := range append(slices.Clone(v.Loose), schemetest.Region{From: len(raw)}) {
			v.Proven = append(v.Proven, schemetest.Region{Name: fmt.Sprint("from byte ", from), From: from, To: l.From, Reason: code.Malformed})
			from = l.To
		}
		return v
	}
	list := []schemetest.Vector{
		promise("the specification's example", sample(t), "Product1", "Product2", "CARDHOLDER/EMV", "ruesdeen"),
		promise("a wallet with track 2", wallet(asIs), "City Pay"),
	}
	for _, v := range published(t).CPM[1:] {
		list = append(list, schemetest.Vector{Name: v.Comment, Raw: decode(t, v.PayloadBase64), Outcome: code.Reject, Reason: code.Malformed})
	}
	for _, v := range published(t).MPM {
		reason := code.Malformed
		if v.Valid {
			reason = code.Unsupported
		}
		list = append(list, schemetest.Vector{Name: "merchant: " + v.Comment, Raw: []byte(v.Payload), Outcome: code.Reject, Reason: reason})
	}
	if *update {
		text := "# Codes of this scheme, for every other scheme to refuse. Written by go test -update.\n"
		for _, v := range list {
			if v.Outcome == code.Defer {
				text += fmt.Sprintf("%x # %s\n", v.Raw, v.Name)
			}
		}
		if err := os.WriteFile("testdata/codes.txt", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	schemetest.Run(t, schemetest.Suite{Scheme: Scheme{}, Vectors: list, VerifyMax: 1 << 20})
}

// encode writes elements anew, in the one form.
func encode(template []byte) (out []byte) {
	for len(template) > 0 {
		e, rest, _ := next(template)
		value := e.value
		if e.constructed {
			value = encode(value)
		}
		out = append(out, el(e.tag, value)...)
		template = rest
	}
	return out
}

// FuzzParse checks that a payload has one byte form, and that what is taken is
// deferred and nothing else.
func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Add(wallet(asIs))
	f.Add([]byte(published(f).MPM[0].Payload))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c code.Code
		err := Scheme{}.Parse(raw, &c)
		if err != nil {
			if c.Raw != nil || c.Scheme != "" || c.Once != [32]byte{} {
				t.Fatalf("%v, and %+v", err, c)
			}
			return
		}
		if back := encode(raw); !bytes.Equal(back, raw) {
			t.Fatalf("two forms of one code: %x and %x", raw, back)
		}
		if (Scheme{}).Sniff(raw) != code.Sure || c.Account == [32]byte{} || c.Once == [32]byte{} {
			t.Fatalf("%x: %+v", raw, c)
		}
		if v := (Scheme{}).Verify(&c, new(code.Trust), nil); v != code.Deferred(0) {
			t.Fatalf("%+v", v)
		}
	})
}

// FuzzText checks that no two texts are one payload.
func FuzzText(f *testing.F) {
	f.Add([]byte(published(f).CPM[0].PayloadBase64))
	f.Add([]byte("hQVDUFYwMQ=="))
	f.Fuzz(func(t *testing.T, text []byte) {
		raw, ok, err := Scheme{}.AppendText(nil, text)
		if !ok || err != nil {
			if len(raw) != 0 {
				t.Fatalf("%x is left behind", raw)
			}
			return
		}
		if back := base64.StdEncoding.EncodeToString(raw); back != string(text) {
			t.Fatalf("%q and %q are one payload", text, back)
		}
	})
}

// FuzzMerchant checks that what is called a merchant's code has its checksum.
func FuzzMerchant(f *testing.F) {
	for _, v := range published(f).MPM {
		f.Add([]byte(v.Payload))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !errors.Is(parseMerchant(text), ErrMerchantCode) {
			return
		}
		head, ok := bytes.CutSuffix(text, appendHex(nil, crc(text[:len(text)-4])))
		if !ok || !bytes.HasSuffix(head, []byte("6304")) {
			t.Fatalf("%q", text)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	raw := sample(b)
	var c code.Code
	b.ReportAllocs()
	for b.Loop() {
		if (Scheme{}).Parse(raw, &c) != nil {
			b.Fatal("refused")
		}
	}
}
