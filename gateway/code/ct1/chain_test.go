package ct1_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// chainAt gives the code that a band shows at a time.
func chainAt(t testing.TB, c *city, credential []byte, at int64) []byte {
	t.Helper()
	raw, err := ct1.Display(credential, chainDisplay(at), c.sign)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A slot has one code and no other: nothing in part B is signed, so nothing in
// it may be chosen, neither a bigger party nor another counter.
func TestChainSlotHasOneForm(t *testing.T) {
	c := newCity(t, ct1.SuiteChain, "one form")
	credential := c.credential(t, c.fields())
	first := chainAt(t, c, credential, shownAt)
	slotBegin := shownAt - (shownAt-issuedAt)%60
	for at := int64(slotBegin); at < int64(slotBegin)+60; at++ {
		if raw := chainAt(t, c, credential, at); !bytes.Equal(raw, first) {
			t.Fatalf("second %d of the slot: %x, want %x", at-int64(slotBegin), raw, first)
		}
	}
	next := chainAt(t, c, credential, int64(slotBegin)+60)
	if mustParse(t, next).Counter != mustParse(t, first).Counter+1 {
		t.Error("the counter does not grow with the slot")
	}
	partB := len(first) - 24
	for at := partB; at < partB+8; at++ {
		for v := range 256 {
			bad := bytes.Clone(first)
			bad[at] = byte(v)
			var parsed code.Code
			if byte(v) != first[at] && (ct1.Scheme{}).Parse(bad, &parsed) == nil {
				t.Errorf("byte %d of part B may be %#x and %#x", at-partB, first[at], v)
			}
		}
	}
}

// The promises that a chain does not make, as the package's doc says them.
func TestChainsWeakerPromise(t *testing.T) {
	c := newCity(t, ct1.SuiteChain, "weaker")
	credential := c.credential(t, c.fields())
	raw := chainAt(t, c, credential, shownAt)
	parsed := mustParse(t, raw)
	if v := (ct1.Scheme{}).Verify(parsed, c.keys, nil); v.Outcome != code.Accept || v.Strength != code.SecretBound {
		t.Errorf("%+v", v)
	}
	// Whoever saw a slot's code can make those of every slot before it.
	sum := chainLink(int(parsed.Counter)+1, raw[len(raw)-16:])
	earlier := append(bytes.Clone(chainAt(t, c, credential, shownAt-60)[:len(raw)-16]), sum...)
	if v := (ct1.Scheme{}).Verify(mustParse(t, earlier), c.keys, nil); v.Outcome != code.Accept {
		t.Errorf("the slot before: %+v; it is over by then, so the window refuses it", v)
	}
	// The anchor of two credentials serves both: issue a chain once.
	f := c.fields()
	f.Rider.Index++
	moved := append(c.credential(t, f), raw[len(raw)-24:]...)
	if v := (ct1.Scheme{}).Verify(mustParse(t, moved), c.keys, nil); v.Outcome != code.Accept {
		t.Errorf("a second credential of one anchor: %+v", v)
	}
	// What stops the copy: it has the original's replay key, whatever is tried.
	if copied := mustParse(t, bytes.Clone(raw)); copied.Use() != parsed.Use() {
		t.Error("a copy has another replay key")
	}
	// What nobody who saw a code can do: the next slot.
	later := chainAt(t, c, credential, shownAt+60)
	copy(ct1.Proof(mustParse(t, later)), raw[len(raw)-16:])
	if v := (ct1.Scheme{}).Verify(mustParse(t, later), c.keys, nil); v != code.Refuse(code.BadSecret).After(code.IssuerSignature) {
		t.Errorf("the next slot with this slot's preimage: %+v", v)
	}
}

// What the cache remembers of a chain shortens the way and changes no answer.
func TestChainCacheChangesNoAnswer(t *testing.T) {
	c := newCity(t, ct1.SuiteChain, "cache")
	credential := c.credential(t, c.fields())
	cache := code.NewCredentials(64)
	for _, slot := range []int64{4000, 4001, 10, 0, 5000, 5000, 4999, ct1.ChainMax - 1} {
		raw := chainAt(t, c, credential, issuedAt+slot*60)
		forged := bytes.Clone(raw)
		forged[len(forged)-1] ^= 1
		for range 2 {
			if v := (ct1.Scheme{}).Verify(mustParse(t, forged), c.keys, cache); v.Reason != code.BadSecret {
				t.Errorf("slot %d, forged: %+v", slot, v)
			}
		}
		if v := (ct1.Scheme{}).Verify(mustParse(t, raw), c.keys, cache); v.Outcome != code.Accept {
			t.Errorf("slot %d: %+v", slot, v)
		}
	}
	if c.keys.asked != 1 {
		t.Errorf("the issuer's key was asked for %d times, want 1", c.keys.asked)
	}
}

// The suite on the code never chooses how a key is used: a key of one algorithm
// is refused for every suite of another.
func TestKeysServeTheirOwnSuitesAlone(t *testing.T) {
	algorithm := map[uint8]string{0: "ed25519", 1: "p256", 2: "sm2", 3: "ed25519", 4: "ed25519"}
	for suite := range uint8(5) {
		c := newCity(t, suite, "keys")
		raw := c.code(t)
		for other := range uint8(5) {
			keys := *c.keys
			keys.public = newCity(t, other, "keys").keys.public
			want := code.Reason("")
			if algorithm[suite] != algorithm[other] {
				want = code.Unsupported
			}
			if v := (ct1.Scheme{}).Verify(mustParse(t, raw), &keys, nil); v.Reason != want {
				t.Errorf("suite %d under a key of suite %d: %+v, want %q", suite, other, v, want)
			}
		}
		keys := *c.keys
		for _, public := range []any{nil, "key", ed25519.PublicKey(nil)} {
			keys.public = public
			if v := (ct1.Scheme{}).Verify(mustParse(t, raw), &keys, nil); v.Reason != code.Unsupported {
				t.Errorf("suite %d under %T: %+v", suite, public, v)
			}
		}
	}
}

// A P-256 issuer's signature has one form on a code too, and Assemble makes it.
func TestIssuerSignatureHasLowS(t *testing.T) {
	c := newCity(t, ct1.SuiteAllP256, "low s")
	toSign, err := ct1.BuildCredential(c.fields())
	if err != nil {
		t.Fatal(err)
	}
	sig := c.issue(toSign)
	high := append(bytes.Clone(sig[:32]), negate(sig[32:])...)
	credential, err := ct1.Assemble(toSign, high)
	if err != nil || !bytes.Equal(credential[len(credential)-64:], sig) {
		t.Fatalf("Assemble kept the high S: %v", err)
	}
	raw := c.show(t, credential)
	if v := (ct1.Scheme{}).Verify(mustParse(t, raw), c.keys, nil); v.Outcome != code.Accept {
		t.Fatalf("%+v", v)
	}
	copy(raw[120-32:], high[32:])
	var parsed code.Code
	if err := (ct1.Scheme{}).Parse(raw, &parsed); err == nil {
		t.Error("the issuer's high S parses: a credential has two forms")
	}
}

func TestBatchCoversConsecutiveWindows(t *testing.T) {
	c := newCity(t, ct1.SuiteP256, "batch")
	f := c.fields()
	f.TTLHours = 24
	credential := c.credential(t, f)
	plan := ct1.BatchPlan{From: issuedAt + 100, Count: 50, Counter: 7, Party: 1}
	codes, err := ct1.Batch(credential, plan, c.sign)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[code.Use]bool{}
	for i, raw := range codes {
		parsed := mustParse(t, raw)
		if v := (ct1.Scheme{}).Verify(parsed, c.keys, nil); v.Outcome != code.Accept || v.Strength != code.StaticSigned {
			t.Fatalf("code %d: %+v", i, v)
		}
		if parsed.GeneratedAt != issuedAt+100+int64(i)*30 || parsed.Counter != uint16(7+i) || parsed.Medium != code.MediumServerBatch {
			t.Errorf("code %d: made at %d, counter %d, medium %d", i, parsed.GeneratedAt, parsed.Counter, parsed.Medium)
		}
		seen[parsed.Use()] = true
		// The medium is signed: a copy cannot pose as the phone's own code.
		posing := bytes.Clone(raw)
		posing[123] &^= 3
		if v := (ct1.Scheme{}).Verify(mustParse(t, posing), c.keys, nil); v.Reason != code.BadDeviceSignature {
			t.Errorf("code %d as a phone's: %+v", i, v)
		}
	}
	if len(codes) != 50 || len(seen) != 50 {
		t.Errorf("%d codes with %d replay keys, want 50 and 50", len(codes), len(seen))
	}
	for name, change := range map[string]func(*ct1.BatchPlan){
		"none":                func(b *ct1.BatchPlan) { b.Count = 0 },
		"before issue":        func(b *ct1.BatchPlan) { b.From = issuedAt - 1 },
		"beyond the life":     func(b *ct1.BatchPlan) { b.From = issuedAt + 24*3600 - 49*30 },
		"over the tap budget": func(b *ct1.BatchPlan) { b.Counter = 152 },
		"nobody":              func(b *ct1.BatchPlan) { b.Party = 0 },
	} {
		b := plan
		change(&b)
		if _, err := ct1.Batch(credential, b, c.sign); err == nil {
			t.Errorf("%s: made", name)
		}
	}
	if _, err := ct1.Batch(c.credential(t, c.fields()), plan, c.sign); err == nil {
		t.Error("codes are made ahead for a credential that lives a week")
	}
	f.Taps = 0
	if _, err := ct1.Batch(c.credential(t, f), ct1.BatchPlan{From: issuedAt, Count: 2, Counter: 65535, Party: 1}, c.sign); err == nil {
		t.Error("the counter runs over")
	}
	band := newCity(t, ct1.SuiteChain, "batch")
	g := band.fields()
	g.TTLHours = 24
	if _, err := ct1.Batch(band.credential(t, g), ct1.BatchPlan{From: issuedAt, Count: 1, Party: 1}, c.sign); err == nil {
		t.Error("a batch for a chain")
	}
}
