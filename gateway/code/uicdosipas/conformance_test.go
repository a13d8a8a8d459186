package uicdosipas

import (
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/schemetest"
)

func TestConformance(t *testing.T) {
	i := newIssuer(t)
	schemetest.Run(t, schemetest.Suite{Scheme: scheme(t, `{"allow_static":true}`), Vectors: vectors(t, i), VerifyMax: 10_000})
}

// vectors are codes made here, whose bytes are the same in every run and stand
// in testdata/codes.txt, and the public samples.
func vectors(t *testing.T, i *issuer) []schemetest.Vector {
	const bound = code.IssuerSignature | code.DeviceSignature | code.InWindow
	rail := day()
	rail.region, rail.pass = true, false
	old := i.ticket(rail)
	old.Version, old.EndYear, old.Duration = 1, 0, 0
	pass := day()
	pass.pass, pass.untilDay, pass.travelers = true, 30, 0
	text := i.ticket(pass)
	text.ProviderNum, text.ProviderIA5, text.KeyID, text.HasKeyID = 0, "ZZZZ", 0, false
	i.trust.AddForeign(KeyName("ZZZZ", 0), spki(t, i.level1.Public()))

	specimen := day()
	specimen.specimen = true
	stripped := i.show(i.ticket(day()), shown)
	stripped.Level2Signature = nil

	out := []schemetest.Vector{
		accepted(t, i, "dynamic", i.show(i.ticket(day()), shown), code.DeviceBound, bound),
		accepted(t, i, "dynamic, version 1 of the header", i.show(old, shown), code.DeviceBound, bound),
		accepted(t, i, "a pass, the provider as text", i.show(text, shown), code.DeviceBound, bound),
		accepted(t, i, "static", i.static(i.ticket(day())), code.StaticSigned, code.IssuerSignature|code.InWindow),
	}
	for _, c := range []struct {
		name string
		d    *Display
		at   time.Duration
		want code.Reason
	}{
		{"late", i.show(i.ticket(day()), shown), 2 * time.Minute, code.ExpiredCode},
		{"early", i.show(i.ticket(day()), shown), -2 * time.Minute, code.NotYetValid},
		{"next year", i.show(i.ticket(day()), shown), 365 * 24 * time.Hour, code.ExpiredCredential},
		{"specimen", i.show(i.ticket(specimen), shown), 0, code.ProductNotValidHere},
		{"stripped", stripped, 0, code.BadDeviceSignature},
	} {
		out = append(out, schemetest.Vector{Name: c.name, Raw: must(t, c.d.Marshal), Keys: i.trust, At: shown.Add(c.at).Unix(), Outcome: code.Reject, Reason: c.want})
	}
	for _, s := range publicSamples(t) {
		out = append(out, schemetest.Vector{Name: s.Name, Raw: unhex(t, s.Hex), Keys: i.trust, At: shown.Unix(), Outcome: code.Reject, Reason: code.UnknownIssuer})
	}
	return out
}

// accepted says which signature covers what of a code. A byte that two parts
// share is counted with the first.
func accepted(t *testing.T, i *issuer, name string, d *Display, strength code.Strength, checked code.Checks) schemetest.Vector {
	t.Helper()
	raw := must(t, d.Marshal)
	var b Barcode
	if err := b.Parse(raw); err != nil {
		t.Fatal(err)
	}
	sig1 := b.level1Sig.at/8 + b.level1Sig.n
	v := schemetest.Vector{
		Name: name, Raw: raw, Keys: i.trust, At: shown.Add(5 * time.Second).Unix(),
		Outcome: code.Accept, Strength: strength, Checked: checked,
		Proven: []schemetest.Region{
			{Name: "format", From: 0, To: 3, Reason: code.Malformed},
			{Name: "level 1", From: 3, To: b.level1.end / 8, Reason: code.BadIssuerSignature},
			{Name: "issuer's signature", From: b.level1.end / 8, To: sig1, Reason: code.BadIssuerSignature},
		},
	}
	if !b.IsDynamic() {
		v.Proven[2].To = len(raw)
		return v
	}
	v.Proven = append(v.Proven,
		schemetest.Region{Name: "dynamic content", From: sig1, To: b.level2.end / 8, Reason: code.BadDeviceSignature},
		schemetest.Region{Name: "device's signature", From: b.level2.end / 8, To: len(raw), Reason: code.BadDeviceSignature})
	return v
}
