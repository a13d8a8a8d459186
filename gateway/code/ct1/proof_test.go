package ct1_test

import (
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// A proof is of its rider and of nothing else: no reader takes it, no ride is one, and
// none of its bytes can be changed, the party least of all.
func TestAProofIsNoRide(t *testing.T) {
	suites(t, func(t *testing.T, c *city) {
		credential := c.credential(t, c.fields())
		var parsed, of code.Code
		if err := ct1.ParseCredential(credential, &of); err != nil {
			t.Fatal(err)
		}
		d := ct1.Dynamic{GeneratedAt: of.IssuedAt + 60, Counter: 3, ClockQuality: code.ClockUnknown, Medium: code.MediumBand}
		if c.suite == ct1.SuiteChain {
			d.Counter = 0
		}
		raw, err := ct1.DisplayProof(credential, d, c.sign)
		if c.suite == ct1.SuiteChain {
			if err == nil {
				t.Error("a hash chain makes a proof")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := (ct1.Scheme{}).Parse(raw, &parsed); err == nil {
			t.Errorf("a reader reads a proof: %+v", parsed)
		}
		if err := ct1.ParseProof(raw, &parsed); err != nil || parsed.Rider != of.Rider || parsed.GeneratedAt != d.GeneratedAt || parsed.Counter != 3 {
			t.Fatalf("%+v, %v", parsed, err)
		}
		if v := (ct1.Scheme{}).Verify(&parsed, c.keys, nil); v.Reason != "" {
			t.Errorf("the proof: %q", v.Reason)
		}
		if ct1.ProvesByDisplay(&parsed) {
			t.Error("what has made a proof has no other than what it shows")
		}
		flags := len(raw) - 64 - 5
		if raw[flags]>>4 != 0 {
			t.Fatal("the flags are elsewhere")
		}
		raw[flags] |= 1 << 4
		if err := (ct1.Scheme{}).Parse(raw, &parsed); err != nil {
			t.Fatal(err)
		}
		if v := (ct1.Scheme{}).Verify(&parsed, c.keys, nil); v.Reason != code.BadDeviceSignature {
			t.Errorf("a proof with a party of one rides: %q", v.Reason)
		}

		shown := c.show(t, credential)
		if err := ct1.ParseProof(shown, &parsed); err == nil {
			t.Errorf("what was shown at a reader is a proof: %+v", parsed)
		}
		shown[flags] &= 0x0f
		if err := ct1.ParseProof(shown, &parsed); err != nil {
			t.Fatal(err)
		}
		if v := (ct1.Scheme{}).Verify(&parsed, c.keys, nil); v.Reason != code.BadDeviceSignature {
			t.Errorf("a ride with a party of nobody proves: %q", v.Reason)
		}
	})
	d := ct1.Dynamic{Party: 1}
	if _, err := ct1.DisplayProof(nil, d, nil); err == nil {
		t.Error("a proof for a party of one")
	}
}
