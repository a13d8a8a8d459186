package uicdosipas

import (
	"bytes"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
)

type sample struct {
	Name, Hex string
	Level1    struct {
		SecurityProviderNum, KeyID                                     int
		EndOfValidityYear, EndOfValidityDay, EndOfValidityTime         int
		ValidityDuration                                               int
		Level2PublicKey                                                string
		Level2KeyAlg, Level2SigningAlg, Level1KeyAlg, Level1SigningAlg string
		Data                                                           []struct{ Format, Hex string }
	}
	Level1Signature, Level1SignedBytes, Level2Signature, Level2SignedBytes string

	Level2Data struct{ Format, Hex string }
	Expect     struct {
		Level2SignatureValid bool `json:"level2_signature_valid"`
	}
}

func publicSamples(t testing.TB) []sample {
	t.Helper()
	var file struct{ Tests []sample }
	data, err := os.ReadFile("testdata/uic-dosipas.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil || len(file.Tests) != 4 {
		t.Fatal(err, len(file.Tests))
	}
	return file.Tests
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dotted gives the usual form of an identifier's content.
func dotted(t testing.TB, o OID) string {
	t.Helper()
	if o == "" {
		return ""
	}
	var id asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(append([]byte{6, byte(len(o))}, o...), &id); err != nil {
		t.Fatal(err)
	}
	return id.String()
}

func TestIdentifiers(t *testing.T) {
	for o, want := range map[OID]string{
		P224: "1.3.132.0.33", P256: "1.2.840.10045.3.1.7", P384: "1.3.132.0.34", ECKey: "1.2.840.10045.2.1",
		ECDSAWithSHA224: "1.2.840.10045.4.3.1", ECDSAWithSHA256: "1.2.840.10045.4.3.2", ECDSAWithSHA384: "1.2.840.10045.4.3.3", ECDSAWithSHA512: "1.2.840.10045.4.3.4",
		DSAWithSHA1: "1.2.840.10040.4.3", DSAWithSHA224: "2.16.840.1.101.3.4.3.1", DSAWithSHA256: "2.16.840.1.101.3.4.3.2",
	} {
		if got := dotted(t, o); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Every field of the public samples, as another parser read them, and the same
// bytes again from the fields.
func TestSamplesGiveTheirFields(t *testing.T) {
	for _, s := range publicSamples(t) {
		var b Barcode
		raw := unhex(t, s.Hex)
		if err := b.Parse(raw); err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		d, w := b.Display(), s.Level1
		if int(b.ProviderNum) != w.SecurityProviderNum || b.Provider() != strconv.Itoa(w.SecurityProviderNum) || int(b.KeyID) != w.KeyID ||
			int(b.EndYear) != w.EndOfValidityYear || int(b.EndDay) != w.EndOfValidityDay || int(b.EndMinute) != w.EndOfValidityTime || int(b.Duration) != w.ValidityDuration {
			t.Errorf("%s: %+v", s.Name, b)
		}
		for _, pair := range [][2]string{
			{hex.EncodeToString(d.Level2Key), w.Level2PublicKey},
			{dotted(t, d.Level1KeyAlg), w.Level1KeyAlg}, {dotted(t, d.Level2KeyAlg), w.Level2KeyAlg},
			{dotted(t, d.Level1SigningAlg), w.Level1SigningAlg}, {dotted(t, d.Level2SigningAlg), w.Level2SigningAlg},
			{hex.EncodeToString(d.Level1Signature), s.Level1Signature}, {hex.EncodeToString(d.Level2Signature), s.Level2Signature},
			{hex.EncodeToString(b.AppendLevel1(nil)), s.Level1SignedBytes}, {hex.EncodeToString(b.AppendLevel2(nil)), s.Level2SignedBytes},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %s, want %s", s.Name, pair[0], pair[1])
			}
		}
		for i, want := range w.Data {
			if format, data, ok := b.Content(i); !ok || format != want.Format || hex.EncodeToString(data) != want.Hex {
				t.Errorf("%s: content %d is %s %x", s.Name, i, format, data)
			}
		}
		if _, _, ok := b.Content(len(w.Data)); ok {
			t.Errorf("%s: more contents than %d", s.Name, len(w.Data))
		}
		if (d.Level2Data != nil) != (s.Level2Data.Format != "") || d.Level2Data != nil && hex.EncodeToString(d.Level2Data.Data) != s.Level2Data.Hex {
			t.Errorf("%s: level 2 data %+v", s.Name, d.Level2Data)
		}
		if back, err := d.Marshal(); err != nil || !bytes.Equal(back, raw) {
			t.Errorf("%s: marshals to %x, %v", s.Name, back, err)
		}
	}
}

// The rail tickets inside say what the samples' names say.
func TestSamplesGiveTheirTickets(t *testing.T) {
	type ticket struct {
		issued, from, until string
		made                int64 // second of the year
		riders              int
	}
	want := map[string]ticket{
		"20200301-pass-ok-F-Z.bin":         {"2020-03-05 07:25:00", "2020-03-01 00:00:00", "2020-04-01 00:00:00", 83*86400 + 40953, 1},
		"20210120-plein-tarif-U-OD-AS.bin": {"2021-01-18 20:14:00", "2021-01-20 00:00:00", "2021-01-21 00:00:00", 0, 0},
		"20240207-Exemple-24H-EMS-2-passagers-CB2D.bin": { //nolint:misspell // French
			"2024-02-07 14:59:00", "2024-02-07 15:59:00", "2024-02-08 16:00:00", 37*86400 + 53997, 0,
		},
		"20240301-trans80-1-trajet-U-Z.bin": {"2024-02-29 23:30:00", "2024-03-01 00:00:00", "2024-03-02 00:00:00", 0, 1},
	}
	utc := func(at int64) string { return time.Unix(at, 0).UTC().Format(time.DateTime) }
	for _, s := range publicSamples(t) {
		var b Barcode
		if err := b.Parse(unhex(t, s.Hex)); err != nil {
			t.Fatal(err)
		}
		made := int64(0)
		if b.Dynamic.HasTime {
			made = int64(b.Dynamic.Day-1)*86400 + int64(b.Dynamic.Second)
		}
		got := ticket{utc(b.Rail.Issued), utc(b.Rail.from(time.UTC)), utc(b.Rail.until(time.UTC)), made, b.Rail.Riders}
		if got != want[s.Name] || !b.Rail.Specimen || !b.Rail.Active || !b.Rail.HasDates {
			t.Errorf("%s: %+v, want %+v", s.Name, got, want[s.Name])
		}
	}
}

// Text in place of numbers, dates on all three rail formats, and the region
// types, read as they were written.
func TestRailTicketsGiveTheirFields(t *testing.T) {
	for _, version := range []int{1, 2, 3} {
		rail := day()
		rail.version, rail.region, rail.untilDay, rail.untilMin, rail.travelers = version, true, 30, 600, 3
		data := rail.encode()
		r := newReader(data)
		got, ok := readRail(&r, version != 3, version == 3)
		if !ok || got.Issued != bought.Unix() || got.Specimen || !got.Active || string(got.pnr.appendTo(nil, data)) != "ABC123" {
			t.Errorf("version %d: %+v, %v", version, got, ok)
		}
		if version < 3 {
			if got.HasDates {
				t.Errorf("version %d: dates are not read", version)
			}
			continue
		}
		if !got.HasDates || got.Riders != 3 || got.FromDay != int(bought.Unix()/86400)+1 || got.UntilDay != got.FromDay+30 || got.UntilMin != 600 {
			t.Errorf("%+v", got)
		}
		if num := got.referenceNum.appendTo(nil, data); !bytes.Equal(num, []byte{3, 0x12, 0xd6, 0x87}) { // 1234567 behind its length
			t.Errorf("reference %x", num)
		}
	}
}

// A barcode has one byte form: each of these says what another one says, in
// bytes that a second reader might take.
func TestOneForm(t *testing.T) {
	i := newIssuer(t)
	raw := must(t, i.show(i.ticket(day()), shown).Marshal)
	var b Barcode
	if err := b.Parse(raw); err != nil {
		t.Fatal(err)
	}
	if err := b.Parse(rewrite(t, oneContent)); err != nil {
		t.Fatal(err) // or the cases that rewrite it prove nothing
	}
	padded := bytes.Clone(raw)
	padded[len(padded)-1] |= 1
	for name, bad := range map[string][]byte{
		"a zero octet behind":      append(bytes.Clone(raw), 0),
		"padding that is not zero": padded,
		"longer than any symbol":   append(bytes.Clone(raw), make([]byte, MaxBytes)...),
		"a count in the long form": rewrite(t, func(w *writer) { w.number(0b10<<14|1, 16); w.ia5("_9999X"); w.octets([]byte{1, 2, 3}) }),
		"a name in the long form": rewrite(t, func(w *writer) {
			w.length(1)
			w.number(0b10<<14|2, 16)
			w.number('_'<<7|'A', 14)
			w.octets([]byte{1, 2, 3})
		}),
		"octets in the long form": rewrite(t, func(w *writer) { w.length(1); w.ia5("_9999X"); w.number(0b10<<14|3, 16); w.number(0x010203, 24) }),
		"a fragmented length":     rewrite(t, func(w *writer) { w.length(1); w.ia5("_9999X"); w.number(0b11000001, 8); w.number(0, 64) }),
		"no content at all":       rewrite(t, func(w *writer) { w.length(0) }),
		"nine contents": rewrite(t, func(w *writer) {
			w.length(9)
			for range 9 {
				w.ia5("_9999X")
				w.octets(nil)
			}
		}),
		"an identifier not minimal":  oidCode(t, i, "\x2a\x80\x48"),
		"an identifier without end":  oidCode(t, i, "\x2a\x86"),
		"an identifier of 17 octets": oidCode(t, i, OID(strings.Repeat("\x2a", 17))),
	} {
		if bytes.Equal(bad, raw) {
			t.Fatalf("%s: nothing changed", name)
		}
		if err := b.Parse(bad); err == nil {
			t.Errorf("%s parses", name)
		}
		if b.raw != nil || b.Version != 0 || b.count != 0 {
			t.Errorf("%s: something is left behind: %+v", name, b)
		}
	}
	if padded[len(padded)-1] == raw[len(raw)-1] {
		t.Error("the code has no padding; the test proves nothing")
	}
}

// rewrite gives a code whose data sequence sequence writes, and which ends there.
func rewrite(t testing.TB, sequence func(*writer)) []byte {
	t.Helper()
	var w writer
	w.flag(false)
	w.ia5("U2")
	w.number(0, 2)
	w.number(0b101_00000_0000, 12)
	w.within(9999, 15, 1, maxProvider-1)
	w.number(42, 17)
	sequence(&w)
	if w.bad {
		t.Fatal("bad")
	}
	return w.out
}

func oneContent(w *writer) {
	w.length(1)
	w.ia5("_9999X")
	w.octets([]byte{1, 2, 3})
}

func oidCode(t testing.TB, i *issuer, o OID) []byte {
	t.Helper()
	ticket := i.ticket(day())
	ticket.Level1KeyAlg = o
	return must(t, i.show(ticket, shown).Marshal)
}

// What the modules say must come together, and what no honest issuer makes.
func TestPartsGoTogether(t *testing.T) {
	i := newIssuer(t)
	var b Barcode
	for _, test := range []struct {
		name   string
		change func(*Display)
		want   error
	}{
		{"as it is", func(*Display) {}, nil},
		{"no provider", func(d *Display) { d.ProviderNum = 0 }, code.ErrMalformed},
		{"two providers", func(d *Display) { d.ProviderIA5 = "X" }, code.ErrMalformed},
		{"a provider in text", func(d *Display) { d.ProviderNum, d.ProviderIA5 = 0, "X" }, nil},
		{"no key id", func(d *Display) { d.KeyID, d.HasKeyID = 0, false }, nil},
		{"a device signature without a device key", func(d *Display) { d.Level2Key = nil }, code.ErrMalformed},
		{"dynamic content that nobody signed", func(d *Display) { d.Level2Key, d.Level2Signature = nil, nil }, code.ErrMalformed},
		{"day 366 of a common year", func(d *Display) { d.EndDay = 366 }, code.ErrMalformed},
		{"day 366 of a leap year", func(d *Display) { d.EndYear, d.EndDay = 2028, 366 }, nil},
		{"a rail ticket that is none", func(d *Display) { d.Contents[0].Data = []byte{1, 2, 3} }, code.ErrMalformed},
		{"dynamic content that is none", func(d *Display) { d.Level2Data = &Content{formatDynamic, []byte{0x20}} }, code.ErrMalformed},
		{"dynamic content with a bit behind", func(d *Display) {
			d.Level2Data.Data[len(d.Level2Data.Data)-1] ^= 1
			d.Level2Data.Data = append(d.Level2Data.Data, 1)
		}, code.ErrMalformed},
	} {
		d := i.show(i.ticket(day()), shown)
		test.change(d)
		if err := b.Parse(must(t, d.Marshal)); err != test.want { //nolint:errorlint // Parse gives the very value
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// Dynamic content with everything in it, and with what later versions may add.
func TestDynamicContent(t *testing.T) {
	write := func(extended bool) []byte {
		var w writer
		w.flag(extended)
		w.number(0b11111, 5)
		w.ia5("app-1")
		w.within(323, 9, 1, 365)
		w.number(30607, 17)
		w.number(0b10011, 5) // place: unit and southern hemisphere stated, and accuracy
		w.number(4, 3)
		w.flag(true)
		w.integer(-8)
		w.integer(1 << 40)
		w.number(2, 3)
		w.length(1)
		w.ia5("=")
		w.octets([]byte("challenge"))
		w.ia5("_9999")
		w.octets(nil)
		if extended {
			w.flag(false)
			w.number(2-1, 6)
			w.number(0b01, 2)
			w.octets([]byte{1, 2, 3})
		}
		return w.out
	}
	for _, extended := range []bool{false, true} {
		data := write(extended)
		r := newReader(data)
		var d Dynamic
		if !d.read(&r) || !d.HasTime || d.Day != 323 || d.Second != 30607 {
			t.Errorf("extended %v: %+v", extended, d)
		}
		for n := range data {
			r := newReader(data[:n])
			if new(Dynamic).read(&r) {
				t.Errorf("extended %v: %d of %d octets are taken", extended, n, len(data))
			}
		}
	}
	for v, want := range map[string]bool{"\x01\x00": true, "\x02\x00\x80": true, "\x02\x00\x7f": false, "\x02\xff\x80": false, "\x02\xff\x7f": true, "\x00": false, "\x09abcdefghi": false} {
		r := newReader([]byte(v))
		if r.integer(); r.done() != want {
			t.Errorf("an INTEGER of %x: taken %v", v, !want)
		}
	}
}

func TestBuildRefusesWhatACodeCannotHold(t *testing.T) {
	i := newIssuer(t)
	for name, change := range map[string]func(*Display){
		"version 0":         func(d *Display) { d.Version = 0 },
		"version 3":         func(d *Display) { d.Version = 3 },
		"version 1, end":    func(d *Display) { d.Version, d.Duration = 1, 0 },
		"a large provider":  func(d *Display) { d.ProviderNum = 32001 },
		"a large key id":    func(d *Display) { d.KeyID = 100000 },
		"no content":        func(d *Display) { d.Contents = nil },
		"many contents":     func(d *Display) { d.Contents = make([]Content, 9) },
		"a nameless one":    func(d *Display) { d.Contents[0].Format = "" },
		"eight-bit text":    func(d *Display) { d.Contents[0].Format = "FCBü" },
		"an early year":     func(d *Display) { d.EndYear = 2015 },
		"day 367":           func(d *Display) { d.EndDay = 367 },
		"minute 1440":       func(d *Display) { d.EndMinute = 1440 },
		"an hour and more":  func(d *Display) { d.Duration = 3601 },
		"more than fits":    func(d *Display) { d.Contents[0].Data = make([]byte, MaxBytes) },
		"more than PER has": func(d *Display) { d.Contents[0].Data = make([]byte, maxLength+1) },
	} {
		d := i.show(i.ticket(day()), shown)
		change(d)
		if raw, err := d.Marshal(); err == nil {
			t.Errorf("%s: %x", name, raw)
		}
	}
}

// FuzzParse checks that a barcode has one byte form: whatever is taken, its
// fields make again. It also drives everything that reads a parsed barcode.
func FuzzParse(f *testing.F) {
	i := newIssuer(f)
	for _, s := range publicSamples(f) {
		f.Add(unhex(f, s.Hex))
	}
	rail := day()
	rail.region = true
	for _, version := range []uint8{1, 2} {
		ticket := i.ticket(rail)
		if ticket.Version = version; version == 1 {
			ticket.EndYear, ticket.Duration = 0, 0
		}
		d := i.show(ticket, shown)
		raw, err := d.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add(rewrite(f, oneContent))
	nobodys := new(code.Trust) // an issuer of the seeds' name with another key
	nobodys.AddForeign(KeyName("9999", testKeyID), spki(f, keyOf(f, elliptic.P256(), "nobody's").Public()))
	loose := Scheme{params: Params{AllowStatic: true, AllowSpecimen: true}, take: allKinds}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b Barcode
		if err := b.Parse(raw); err != nil {
			if b.raw != nil || b.Version != 0 || b.Provider() != "0" {
				t.Fatalf("%v, and %+v", err, b)
			}
			return
		}
		back, err := b.Display().Marshal()
		if err != nil || !bytes.Equal(back, raw) {
			t.Fatalf("two forms of one code: %x and %x (%v)", raw, back, err)
		}
		var c code.Code
		if loose.Sniff(raw) != code.Sure {
			t.Fatalf("parses and is not recognised: %x", raw)
		}
		if loose.Parse(raw, &c) != nil {
			return
		}
		c.Place(shown.Unix())
		if v := loose.Verify(&c, nobodys, nil); v.Outcome == code.Accept {
			t.Errorf("accepted with nobody's key: %x", raw)
		}
	})
}

// FuzzRail checks that a ticket's content, which an issuer may let riders write
// into, cannot do more than be wrong: dates it gives are within their bounds.
func FuzzRail(f *testing.F) {
	for _, s := range publicSamples(f) {
		for _, c := range s.Level1.Data {
			f.Add(unhex(f, c.Hex), false)
		}
	}
	rail := day()
	rail.region = true
	f.Add(rail.encode(), false)
	rail.version = 1
	f.Add(rail.encode(), true)
	f.Fuzz(func(t *testing.T, data []byte, optionalTime bool) {
		r := newReader(data)
		got, ok := readRail(&r, optionalTime, true)
		if !ok && got != (Rail{}) {
			t.Fatalf("%+v is left behind", got)
		}
		if got.HasDates && (got.UntilDay < got.FromDay-1 || got.UntilDay > got.FromDay+500 || got.UntilMin >= minutesOfDay || got.FromMin >= minutesOfDay || got.Riders > maxTravelers) {
			t.Fatalf("%+v", got)
		}
		if got.HasDates && got.until(time.UTC) < got.Issued-400*86400 {
			t.Fatalf("valid until %d, issued %d", got.until(time.UTC), got.Issued)
		}
	})
}

// FuzzBuild checks the other way: what is built is read as it was meant.
func FuzzBuild(f *testing.F) {
	f.Add(uint8(2), uint16(1187), "", uint32(90000), true, "FCB3", []byte{1}, []byte{2, 3}, uint16(2026), uint16(60), []byte{4})
	f.Add(uint8(1), uint16(0), "ABC", uint32(0), false, "_9999X", []byte{}, []byte{}, uint16(0), uint16(0), []byte{})
	f.Fuzz(func(t *testing.T, version uint8, num uint16, ia5 string, keyID uint32, hasKey bool, format string, data, sig []byte, year, duration uint16, key []byte) {
		if !hasKey {
			keyID = 0
		}
		d := &Display{Ticket: Ticket{Version: version, ProviderNum: num, ProviderIA5: ia5, KeyID: keyID, HasKeyID: hasKey, Contents: []Content{{format, data}},
			Level2KeyAlg: P256, Level2SigningAlg: ECDSAWithSHA256, Level2Key: key, EndYear: year, Duration: duration},
			Level1Signature: sig, Level2Signature: sig}
		if year != 0 {
			d.EndDay, d.EndMinute = 1, 2
		}
		raw, err := d.Marshal()
		if err != nil {
			return
		}
		var b Barcode
		if err := b.Parse(raw); err != nil {
			if (num == 0) == (ia5 == "") || strings.HasPrefix(format, "FCB") {
				return
			}
			if key == nil {
				return
			}
			t.Fatalf("%+v makes %x, which is refused", d, raw)
		}
		got := b.Display()
		if got.ProviderNum != num || got.ProviderIA5 != ia5 || got.KeyID != keyID || !bytes.Equal(got.Contents[0].Data, data) || got.Contents[0].Format != format ||
			!bytes.Equal(got.Level1Signature, sig) || !bytes.Equal(got.Level2Key, key) || got.EndYear != year || got.Duration != duration {
			t.Fatalf("%+v came back as %+v", d, got)
		}
	})
}
