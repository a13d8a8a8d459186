package uicdosipas

import (
	"bytes"
	"crypto"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
)

// A code of an issuer who is not known is refused as that, whenever it is
// shown, and the device's signature is still judged.
func TestSamplesWithoutAnIssuer(t *testing.T) {
	for _, s := range publicSamples(t) {
		want := code.Checks(0)
		if s.Expect.Level2SignatureValid {
			want = code.DeviceSignature
		}
		for _, at := range []time.Time{time.Unix(0, 0), time.Unix(1707317998, 0), shown} {
			v := judge(t, Scheme{}, new(code.Trust), unhex(t, s.Hex), at)
			if v.Outcome != code.Reject || v.Reason != code.UnknownIssuer || v.Checked != want {
				t.Errorf("%s at %v: %+v", s.Name, at, v)
			}
		}
		i := newIssuer(t) // knows another provider, then another key of this one
		for range 2 {
			v := judge(t, Scheme{}, i.trust, unhex(t, s.Hex), shown)
			if v.Outcome != code.Reject || v.Checked != want {
				t.Errorf("%s: %+v", s.Name, v)
			}
			i.trust.AddForeign(KeyName("1187", 1), spki(t, i.level1.Public()))
			i.trust.AddForeign(KeyName("3703", 1), spki(t, i.level1.Public()))
		}
	}
}

// No single bit of a dynamic code can be another and the device's signature
// still hold: not in what it signs, not in itself, not in the few bits around.
// With the issuer known, no such code is accepted either.
func TestEverySingleBitFlipIsRefused(t *testing.T) {
	i := newIssuer(t)
	codes := map[string][]byte{"made here": must(t, i.show(i.ticket(day()), shown).Marshal)}
	for _, s := range publicSamples(t) {
		if s.Expect.Level2SignatureValid {
			codes[s.Name] = unhex(t, s.Hex)
		}
	}
	if len(codes) != 3 {
		t.Fatalf("%d codes", len(codes))
	}
	for name, raw := range codes {
		var b Barcode
		if err := b.Parse(raw); err != nil || b.deviceHolds() != code.DeviceSignature {
			t.Fatalf("%s: %v", name, err)
		}
		signed := b.level2
		judged := 0
		for bit := range 8 * len(raw) {
			bad := bytes.Clone(raw)
			bad[bit/8] ^= 0x80 >> (bit % 8)
			if b.Parse(bad) != nil {
				continue
			}
			if signed.at <= bit && bit < signed.end {
				judged++
			}
			if b.deviceHolds() != 0 {
				t.Errorf("%s, bit %d: the device's signature holds", name, bit)
			}
			if name != "made here" {
				continue // nobody here knows its issuer
			}
			if v := judge(t, Scheme{}, i.trust, bad, shown); v.Outcome != code.Reject {
				t.Errorf("%s, bit %d: %+v", name, bit, v)
			}
		}
		if judged < (signed.end-signed.at)*2/3 {
			t.Errorf("%s: only %d of %d flips got as far as the signature", name, judged, signed.end-signed.at)
		}
	}
}

// What a thief would try with a copy of somebody's code.
func TestForgeriesAreNamed(t *testing.T) {
	i := newIssuer(t)
	s := scheme(t, `{"allow_static":true}`)
	genuine := func() *Display { return i.show(i.ticket(day()), shown) }
	other := newIssuer(t)
	other.level2 = other.level1
	for _, test := range []struct {
		name   string
		change func(*Display)
		want   code.Reason
		held   code.Checks
	}{
		{"nothing", func(*Display) {}, "", code.IssuerSignature | code.DeviceSignature | code.InWindow},
		{"device signature taken off, to make it last", func(d *Display) { d.Level2Signature = nil }, code.BadDeviceSignature, code.IssuerSignature},
		{"and the dynamic content too", func(d *Display) { d.Level2Signature, d.Level2Data = nil, nil }, code.BadDeviceSignature, code.IssuerSignature},
		{"and the device key", func(d *Display) {
			d.Level2Signature, d.Level2Data, d.Level2Key, d.Level2KeyAlg, d.Level2SigningAlg, d.Duration = nil, nil, nil, "", "", 0
		}, code.BadIssuerSignature, 0},
		{"a later time stamp", func(d *Display) { d.Level2Data = NewDynamic(shown.Add(time.Minute)) }, code.BadDeviceSignature, code.IssuerSignature},
		{"another device's signature", func(d *Display) { other.resign(d) }, code.BadDeviceSignature, code.IssuerSignature},
		{"another device's key and signature", func(d *Display) { d.Level2Key = point(other.level2); other.resign(d) }, code.BadIssuerSignature, 0},
		{"a device's signature in the issuer's place", func(d *Display) {
			d.Level1Signature = sign(t, i.level2, crypto.SHA256, must(t, d.Level1))
			i.resign(d)
		}, code.BadIssuerSignature, 0},
		{"no issuer's signature", func(d *Display) { d.Level1Signature = nil; i.resign(d) }, code.BadIssuerSignature, 0},
		{"an empty one", func(d *Display) { d.Level1Signature = []byte{}; i.resign(d) }, code.BadIssuerSignature, 0},
		{"an endless one", func(d *Display) { d.Level1Signature = bytes.Repeat([]byte{0x30}, 600); i.resign(d) }, code.BadIssuerSignature, 0},
		{"two riders more", func(d *Display) { r := day(); r.travelers = 4; d.Contents[0].Data = r.encode(); i.resign(d) }, code.BadIssuerSignature, 0},
		{"a longer life", func(d *Display) { d.EndDay += 10; i.resign(d) }, code.BadIssuerSignature, 0},
		{"a longer window", func(d *Display) { d.Duration = 3600; i.resign(d) }, code.BadIssuerSignature, 0},
		{"another key id", func(d *Display) { d.KeyID++; i.resign(d) }, code.UnknownKey, code.DeviceSignature},
		{"another provider", func(d *Display) { d.ProviderNum++; i.resign(d) }, code.UnknownIssuer, code.DeviceSignature},
		{"the provider as text", func(d *Display) { d.ProviderNum, d.ProviderIA5 = 0, "9999"; i.resign(d) }, code.BadIssuerSignature, 0},
		{"another hash", func(d *Display) { d.Level1SigningAlg = ECDSAWithSHA512; i.resign(d) }, code.BadIssuerSignature, 0},
		{"another version", func(d *Display) { d.Version, d.EndYear, d.Duration = 1, 0, 0; i.resign(d) }, code.BadIssuerSignature, 0},
	} {
		d := genuine()
		test.change(d)
		raw := must(t, d.Marshal)
		if v := judge(t, s, i.trust, raw, shown); v.Reason != test.want || v.Checked != test.held {
			t.Errorf("%s: %+v, want %q, %q", test.name, v, test.want, test.held.Names())
		}
	}
}

// A dynamic code must have what bounds a copy of it.
func TestWithoutATimeStampIsUnsupported(t *testing.T) {
	i := newIssuer(t)
	d := i.show(i.ticket(day()), shown)
	var none writer
	none.number(0, 6)
	for _, content := range []*Content{nil, {formatDynamic, none.out}, {"_9999X", []byte{1, 2, 3}}} {
		d.Level2Data = content
		i.resign(d)
		if v := judge(t, Scheme{}, i.trust, must(t, d.Marshal), shown); v.Reason != code.Unsupported {
			t.Errorf("%+v: %+v", content, v)
		}
	}
}

// The window, both ends, to the second, with and without skew.
func TestWindows(t *testing.T) {
	i := newIssuer(t)
	raw := must(t, i.show(i.ticket(day()), shown).Marshal)
	end := shown.Add(3 * time.Hour).Truncate(time.Minute)
	last := must(t, i.show(i.ticket(day()), end.Add(-10*time.Second)).Marshal)
	early := i.ticket(day())
	early.EndYear, early.EndDay, early.EndMinute = 0, 0, 0
	before := must(t, i.show(early, time.Date(2026, 11, 18, 23, 59, 50, 0, time.UTC)).Marshal)
	for _, test := range []struct {
		name   string
		raw    []byte
		params string
		at     time.Time
		want   code.Reason
	}{
		{"made now", raw, "", shown, ""},
		{"made a second from now", raw, "", shown.Add(-time.Second), code.NotYetValid},
		{"at the end of its window", raw, "", shown.Add(testWindow * time.Second), ""},
		{"a second later", raw, "", shown.Add((testWindow + 1) * time.Second), code.ExpiredCode},
		{"skew, early", raw, `{"skew_s":30}`, shown.Add(-30 * time.Second), ""},
		{"skew, too early", raw, `{"skew_s":30}`, shown.Add(-31 * time.Second), code.NotYetValid},
		{"skew, late", raw, `{"skew_s":30}`, shown.Add(90 * time.Second), ""},
		{"skew, too late", raw, `{"skew_s":30}`, shown.Add(91 * time.Second), code.ExpiredCode},
		{"a shorter window of the tenant", raw, `{"max_window_s":20}`, shown.Add(21 * time.Second), code.ExpiredCode},
		{"an hour from now", raw, "", shown.Add(-time.Hour), code.NotYetValid},
		{"a year later to the second", raw, "", shown.AddDate(1, 0, 0), code.ExpiredCredential},
		{"a year earlier to the second", raw, "", shown.AddDate(-1, 0, 0), code.NotYetValid},
		{"a second before the barcode ends", last, "", end.Add(-time.Second), ""},
		{"the barcode ends", last, "", end, code.ExpiredCredential},
		{"the barcode ends, whatever the skew", last, `{"skew_s":3600}`, end, code.ExpiredCredential},
		{"the ticket begins", before, "", time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC), ""},
		{"the day before", before, "", time.Date(2026, 11, 18, 23, 59, 59, 0, time.UTC), code.NotYetValid},
		{"the day before, where it is later", before, `{"zone":"Asia/Shanghai"}`, time.Date(2026, 11, 18, 23, 59, 59, 0, time.UTC), ""},
	} {
		if v := judge(t, scheme(t, test.params), i.trust, test.raw, test.at); v.Reason != test.want {
			t.Errorf("%s: %+v, want %q", test.name, v, test.want)
		}
	}
}

// A time stamp has a day of the year and no year.
func TestYearOfATimeStamp(t *testing.T) {
	at := func(s string) int64 {
		v, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.Unix()
	}
	for _, test := range []struct {
		made, tap, want string
	}{
		{"2026-12-31 23:59:50", "2027-01-01 00:00:05", "2026-12-31 23:59:50"}, // shown last year, scanned this year
		{"2027-01-01 00:00:05", "2026-12-31 23:59:50", "2027-01-01 00:00:05"}, // a device whose clock is ahead
		{"2028-02-29 12:00:00", "2028-02-29 12:00:30", "2028-02-29 12:00:00"},
		{"2028-12-31 12:00:00", "2028-12-31 12:00:30", "2028-12-31 12:00:00"}, // day 366
		{"2028-12-31 12:00:00", "2029-01-01 00:00:00", "2028-12-31 12:00:00"},
		{"2026-07-01 00:00:00", "2026-01-01 00:00:00", "2026-07-01 00:00:00"},
	} {
		stamp := time.Unix(at(test.made), 0).UTC()
		d := Dynamic{HasTime: true, Day: uint16(stamp.YearDay()), Second: uint32(stamp.Hour()*3600 + stamp.Minute()*60 + stamp.Second())}
		if got, ok := d.nearest(at(test.tap)); !ok || got != at(test.want) {
			t.Errorf("%s seen at %s: %v, want %s", test.made, test.tap, time.Unix(got, 0).UTC(), test.want)
		}
	}
	d := Dynamic{HasTime: true, Day: 366}
	if got, ok := d.nearest(at("2026-06-01 00:00:00")); ok {
		t.Errorf("a day 366 near 2026 is %v", time.Unix(got, 0).UTC())
	}
	// And through the whole scheme, over New Year.
	i := newIssuer(t)
	made := time.Date(2026, 12, 31, 23, 59, 50, 0, time.UTC)
	rail := day()
	rail.issued, rail.fromDay, rail.untilDay = made.Add(-time.Hour), 0, 5
	ticket := i.ticket(rail)
	ticket.SetEnd(made.Add(24 * time.Hour))
	raw := must(t, i.show(ticket, made).Marshal)
	if v := judge(t, Scheme{}, i.trust, raw, made.Add(20*time.Second)); v.Outcome != code.Accept {
		t.Errorf("over New Year: %+v", v)
	}
}

// What only the ticket says: for whom, when, whether at all.
func TestTicketsThatAGateMustRefuse(t *testing.T) {
	i := newIssuer(t)
	for _, test := range []struct {
		name   string
		rail   func(*railTicket)
		static bool
		noEnd  bool
		params string
		want   code.Reason
	}{
		{"a ticket", func(*railTicket) {}, false, false, "", ""},
		{"a pass", func(r *railTicket) { r.pass = true }, false, false, "", ""},
		{"with regions", func(r *railTicket) { r.region = true }, false, true, "", ""},
		{"a specimen", func(r *railTicket) { r.specimen = true }, false, false, "", code.ProductNotValidHere},
		{"a specimen on a test track", func(r *railTicket) { r.specimen = true }, false, false, `{"allow_specimen":true}`, ""},
		{"not activated", func(r *railTicket) { r.inactive = true }, false, false, "", code.ProductNotValidHere},
		{"static", func(*railTicket) {}, true, false, "", code.ProductNotValidHere},
		{"static, allowed", func(*railTicket) {}, true, false, `{"allow_static":true}`, ""},
		{"static, allowed, its own dates", func(*railTicket) {}, true, true, `{"allow_static":true}`, ""},
		{"static, yesterday's", func(r *railTicket) { r.fromDay = 0 }, true, true, `{"allow_static":true}`, code.ExpiredCredential},
		{"static, until this minute", func(r *railTicket) { r.untilMin = 8*60 + 30 }, true, true, `{"allow_static":true}`, ""},
		{"static, until the minute before", func(r *railTicket) { r.untilMin = 8*60 + 29 }, true, true, `{"allow_static":true}`, code.ExpiredCredential},
		{"static, from the next minute", func(r *railTicket) { r.fromMin = 8*60 + 31 }, true, true, `{"allow_static":true}`, code.NotYetValid},
		{"static, until 10:29 in Berlin", func(r *railTicket) { r.untilMin = 9*60 + 29 }, true, true, `{"allow_static":true,"zone":"Europe/Berlin"}`, code.ExpiredCredential},
		{"static, until 10:30 in Berlin", func(r *railTicket) { r.untilMin = 9*60 + 30 }, true, true, `{"allow_static":true,"zone":"Europe/Berlin"}`, ""},
		{"static, an offset of its own", func(r *railTicket) { r.untilMin, r.offset, r.quarters = 9*60+30, true, -4 }, true, true, `{"allow_static":true}`, ""},
		{"static, an offset of its own, late", func(r *railTicket) { r.untilMin, r.offset, r.quarters = 9*60+29, true, -4 }, true, true, `{"allow_static":true}`, code.ExpiredCredential},
		{"bought later", func(r *railTicket) { r.issued, r.fromDay = shown.Add(time.Minute), 0 }, false, false, "", code.NotYetValid},
		{"of version 2, whose dates are not read", func(r *railTicket) { r.version = 2 }, false, true, "", code.Unsupported},
		{"of version 2, with an end of the barcode", func(r *railTicket) { r.version = 2 }, false, false, "", ""},
		{"of version 1, with an end of the barcode, a specimen", func(r *railTicket) { r.version, r.specimen = 1, true }, false, false, "", code.ProductNotValidHere},
	} {
		rail := day()
		test.rail(&rail)
		ticket := i.ticket(rail)
		if rail.version != 0 {
			ticket.Contents[0].Format = "FCB" + string(rune('0'+rail.version))
		}
		if test.noEnd {
			ticket.EndYear, ticket.EndDay, ticket.EndMinute = 0, 0, 0
		}
		d := i.show(ticket, shown)
		strength := code.DeviceBound
		if test.static {
			d, strength = i.static(ticket), code.StaticSigned
		}
		v := judge(t, scheme(t, test.params), i.trust, must(t, d.Marshal), shown)
		if v.Reason != test.want || test.want == "" && v.Strength != strength {
			t.Errorf("%s: %+v, want %q", test.name, v, test.want)
		}
	}
}

// The cache skips the issuer and nothing else, and ends with the keys' version.
func TestCacheSkipsTheIssuerAndNothingElse(t *testing.T) {
	i := newIssuer(t)
	cache := code.NewCredentials(64)
	try := func(d *Display) code.Verdict {
		var c code.Code
		if err := (Scheme{}).Parse(must(t, d.Marshal), &c); err != nil {
			t.Fatal(err)
		}
		c.Place(shown.Unix())
		return Scheme{}.Verify(&c, i.trust, cache)
	}
	genuine := func() *Display { return i.show(i.ticket(day()), shown) }
	if v := try(genuine()); v.Outcome != code.Accept || cache.Len() != 1 {
		t.Fatalf("%+v, %d entries", v, cache.Len())
	}
	key := i.trust.Foreign[KeyName("9999", testKeyID)]
	delete(i.trust.Foreign, KeyName("9999", testKeyID))
	if v := try(genuine()); v.Outcome != code.Accept {
		t.Errorf("a hit asked for the issuer's key: %+v", v)
	}
	d := genuine()
	d.Level2Data = NewDynamic(shown.Add(time.Second))
	if v := try(d); v.Reason != code.BadDeviceSignature {
		t.Errorf("a hit let a changed display pass: %+v", v)
	}
	d = genuine()
	d.Level2Signature = nil
	if v := try(d); v.Reason != code.BadDeviceSignature {
		t.Errorf("a hit let a display without a signature pass: %+v", v)
	}
	for _, change := range []func(*Display){
		func(d *Display) { d.Duration++ },
		func(d *Display) { d.Level1Signature[20] ^= 1 },
		func(d *Display) { d.Level1Signature = nil },
	} {
		d := genuine()
		change(d)
		i.resign(d)
		if v := try(d); v.Reason != code.UnknownIssuer {
			t.Errorf("a hit for another credential: %+v", v)
		}
	}
	i.trust.Number++
	if v := try(genuine()); v.Reason != code.UnknownIssuer {
		t.Errorf("a hit under other keys: %+v", v)
	}
	i.trust.AddForeign(KeyName("9999", testKeyID), key)
	bad := genuine()
	bad.Level1Signature[20] ^= 1
	i.resign(bad)
	before := cache.Len()
	if v := try(bad); v.Reason != code.BadIssuerSignature || cache.Len() != before {
		t.Errorf("a signature that did not hold was remembered: %+v", v)
	}
}

// Subject and replay key: the same ticket in another display, another ticket,
// another provider's ticket of the same number.
func TestSubjectAndUse(t *testing.T) {
	i := newIssuer(t)
	parse := func(d *Display) (c code.Code) {
		if err := scheme(t, `{"issuer":7}`).Parse(must(t, d.Marshal), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := parse(i.show(i.ticket(day()), shown))
	if first.Rider.Issuer != 7 || first.Party != 2 || first.Window != testWindow || !first.Timeless || first.CapMinor != code.CapNone {
		t.Errorf("%+v", first)
	}
	renewed := i.ticket(day())
	renewed.SetEnd(shown.Add(30 * time.Hour))
	renewed.Level2Key = point(i.level1)
	again := parse(i.show(renewed, shown.Add(time.Second)))
	if again.Subject() != first.Subject() || again.Use() == first.Use() {
		t.Error("a renewed barcode of one ticket is another rider's, or the same display")
	}
	high := i.show(i.ticket(day()), shown) // the other form of an ECDSA signature
	high.Level2Signature = malleate(t, high.Level2Signature)
	if c := parse(high); c.Use() != first.Use() || bytes.Equal(c.Raw, first.Raw) {
		t.Error("one display written in two ways is two uses")
	}
	seat := day()
	seat.travelers = 1 // another ticket of the booking
	if c := parse(i.show(i.ticket(seat), shown)); c.Subject() != first.Subject() || c.Use() == first.Use() {
		t.Error("two tickets under one reference are one display")
	}
	other := day()
	other.reference++
	if c := parse(i.show(i.ticket(other), shown)); c.Subject() == first.Subject() || c.Use() == first.Use() {
		t.Error("two tickets are one rider's")
	}
	none := day()
	none.reference = 0
	if c := parse(i.show(i.ticket(none), shown)); c.Subject() == first.Subject() || c.Account == [32]byte{} {
		t.Error("a ticket without a reference")
	}
	foreign := i.ticket(day())
	foreign.ProviderNum++
	if c := parse(i.show(foreign, shown)); c.Subject() == first.Subject() || c.Use() == first.Use() {
		t.Error("two providers' tickets of one number are one rider's")
	}
}

func TestParametersAreHeldToTheirBounds(t *testing.T) {
	for _, bad := range []string{`{"skew_s":-1}`, `{"window_s":3601}`, `{"max_window_s":-1}`, `{"zone":"Nowhere/Land"}`, `{"allow_static":1}`, `{"issuer_keys":["rsa"]}`, `{"static":true}`} {
		if _, err := Plugin.New([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	i := newIssuer(t)
	ticket := i.ticket(day())
	ticket.Duration = 0
	raw := must(t, i.show(ticket, shown).Marshal)
	for params, want := range map[string]int64{"": defaultWindow, `{"window_s":15}`: 15, `{"window_s":15,"max_window_s":10}`: 10} {
		var c code.Code
		if err := scheme(t, params).Parse(raw, &c); err != nil || c.Window != want {
			t.Errorf("%s: a window of %d, want %d (%v)", params, c.Window, want, err)
		}
	}
}

func TestSniff(t *testing.T) {
	for raw, want := range map[string]code.Match{
		"\x81\x55\x65\x00": code.Sure, "\x01\x55\x62\x00": code.Sure, "\x01\x55\x67\x00": code.Sure,
		"": code.No, "\x81\x55\x65": code.No, "\x80\x55\x65\x00": code.No, "\x81\x01\x49\x24": code.No, "\x81\x55\x00\x00": code.No, "#UT01": code.No,
	} {
		if got := (Scheme{}).Sniff([]byte(raw)); got != want {
			t.Errorf("Sniff(%x) = %v, want %v", raw, got, want)
		}
	}
	var c code.Code
	if err := (Scheme{}).Parse([]byte("\x81\x55\x67\x00\x00"), &c); code.ReasonOf(err) != code.Unsupported {
		t.Errorf("version 3 of the header: %v", err)
	}
}

func BenchmarkParse(b *testing.B) {
	i := newIssuer(b)
	raw := must(b, i.show(i.ticket(day()), shown).Marshal)
	var c code.Code
	b.ReportAllocs()
	for b.Loop() {
		if (Scheme{}).Parse(raw, &c) != nil {
			b.Fatal("refused")
		}
	}
}

// prefixes of a code are no code.
func TestTruncatedIsMalformed(t *testing.T) {
	i := newIssuer(t)
	raw := must(t, i.show(i.ticket(day()), shown).Marshal)
	var b Barcode
	for n := range raw {
		if err := b.Parse(slices.Clone(raw[:n])); err == nil {
			t.Errorf("%d of %d bytes parse", n, len(raw))
		}
	}
}
