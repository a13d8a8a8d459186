package uicdosipas

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
)

// foreignTicket is what testdata/level1-openssl.json was signed over: the same
// ticket, with the signing algorithm that the case names.
func foreignTicket(i *issuer, alg OID) *Ticket {
	t := i.ticket(day())
	t.Level1SigningAlg = alg
	return t
}

var namedAlgorithms = map[string]OID{
	"": "", "ecdsa-sha224": ECDSAWithSHA224, "ecdsa-sha256": ECDSAWithSHA256, "ecdsa-sha384": ECDSAWithSHA384, "ecdsa-sha512": ECDSAWithSHA512,
	"dsa-sha1": DSAWithSHA1, "dsa-sha224": DSAWithSHA224, "dsa-sha256": DSAWithSHA256,
}

// Every kind of issuer key and hash that the field uses, signed by another
// implementation: it verifies, or the answer is unsupported and never a wrong
// one. A hash that is weaker than the key is not taken.
func TestLevel1OfAnotherImplementation(t *testing.T) {
	var file struct {
		Messages   map[string]string
		PublicKeys map[string]string `json:"public_keys"`
		Cases      []struct {
			Key        string
			SigningAlg string `json:"signing_alg"`
			Want       string
			Signature  string
		}
	}
	data, err := os.ReadFile("testdata/level1-openssl.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil || len(file.Cases) < 25 {
		t.Fatal(err, len(file.Cases))
	}
	tenants := []Scheme{scheme(t, ""), scheme(t, `{"issuer_keys":["p384"]}`), scheme(t, `{"issuer_keys":["dsa2048"]}`), scheme(t, `{"issuer_keys":["dsa1024"]}`), scheme(t, `{"issuer_keys":["p224"]}`)}
	for _, test := range file.Cases {
		name := test.Key + " " + test.SigningAlg
		i := newIssuer(t)
		alg, ok := namedAlgorithms[test.SigningAlg]
		ticket := foreignTicket(i, alg)
		if !ok || !bytes.Equal(must(t, ticket.Level1), unhex(t, file.Messages[test.SigningAlg])) {
			t.Fatalf("%s: level 1 is not what was signed", name)
		}
		d := &Display{Ticket: *ticket, Level2Data: NewDynamic(shown), Level1Signature: unhex(t, test.Signature)}
		i.resign(d)
		der := unhex(t, file.PublicKeys[test.Key])
		trust := new(code.Trust)
		trust.AddForeign(KeyName("9999", testKeyID), der)

		want, ok := map[string][5]bool{"held": {true, true, true, true, true}, "unsupported": {}, "only with p384": {1: true}, "only with dsa2048": {2: true}, "only with dsa1024": {3: true}, "only with p224": {4: true}}[test.Want]
		if !ok {
			t.Fatalf("%s: %q", name, test.Want)
		}
		raw := must(t, d.Marshal)
		holds := -1 // a tenant who takes it
		for n, s := range tenants {
			v := judge(t, s, trust, raw, shown)
			if want[n] {
				holds = n
			}
			if want[n] != (v.Outcome == code.Accept) || !want[n] && v.Reason != code.Unsupported {
				t.Errorf("%s, tenant %d: %+v", name, n, v)
			}
		}
		if holds < 0 {
			continue
		}
		d.Contents[0].Data[len(d.Contents[0].Data)-3] ^= 1
		i.resign(d)
		if v := judge(t, tenants[holds], trust, must(t, d.Marshal), shown); v.Reason != code.BadIssuerSignature || v.Checked != 0 {
			t.Errorf("%s, ticket changed and signed again by the device: %+v", name, v)
		}
		if err := CheckIssuerKey(der); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Keys that must not come into trust at all.
func TestIssuerKeysAreCheckedOnce(t *testing.T) {
	var file struct {
		PublicKeys map[string]string `json:"public_keys"`
	}
	data, err := os.ReadFile("testdata/level1-openssl.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"P-521", "DSA 3072/256", "secp256k1", "brainpoolP256r1"} {
		if CheckIssuerKey(unhex(t, file.PublicKeys[name])) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	// The generator stands before the public value, both as INTEGERs; a change of
	// either, or of the modulus, leaves numbers that do not belong together.
	der := unhex(t, file.PublicKeys["DSA 2048/224"])
	for _, at := range []int{40, 330, 400, len(der) - 1} {
		bad := bytes.Clone(der)
		bad[at] ^= 2
		if CheckIssuerKey(bad) == nil {
			t.Errorf("a DSA key with byte %d changed is taken", at)
		}
	}
	for _, bad := range []string{
		`{"keys":[{"provider":"1187","key_id":1,"public_hex":"00"}]}`,
		`{"keys":[{"provider":"","key_id":1,"public_hex":"` + file.PublicKeys["P-256"] + `"}]}`,
		`{"keys":[{"provider":"1187","key_id":100000,"public_hex":"` + file.PublicKeys["P-256"] + `"}]}`,
		`{"keys":[{"provider":"1187","kid":1,"public_hex":"` + file.PublicKeys["P-256"] + `"}]}`,
	} {
		if _, err := Plugin.Trust([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	keys, err := Plugin.Trust([]byte(`{"keys":[{"provider":"1187","key_id":90000,"public_hex":"` + file.PublicKeys["P-256"] + `"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, reason := keys.(code.ForeignKeySource).ForeignKey(KeyName("1187", 90000)); reason != "" {
		t.Errorf("a key read is not found: %s", reason)
	}
}

// The device's key comes in the forms that issuers write, on the curves they use.
func TestLevel2KeysAndAlgorithms(t *testing.T) {
	i := newIssuer(t)
	s := scheme(t, "")
	for _, c := range curves {
		device := keyOf(t, c.curve, "another level 2")
		whole := code.Reason("") // of a code whose key is as it should be
		if c.curve != deviceCurve {
			whole = code.Unsupported
		}
		uncompressed, _ := device.PublicKey.Bytes()
		for _, form := range []struct {
			name string
			alg  OID
			key  []byte
			want code.Reason
		}{
			{"compressed", c.oid, point(device), whole},
			{"uncompressed", c.oid, uncompressed, whole},
			{"info", c.oid, spki(t, device.Public()), whole},
			{"info without a curve", ECKey, spki(t, device.Public()), whole},
			{"info without an algorithm", "", spki(t, device.Public()), whole},
			{"compressed without a curve", ECKey, point(device), code.Unsupported},
			{"compressed without an algorithm", "", point(device), code.Unsupported},
			{"an algorithm not known", "\x2a\x03", point(device), code.Unsupported},
			{"off the curve", c.oid, append([]byte{4}, bytes.Repeat([]byte{5}, len(uncompressed)-1)...), code.Unsupported},
			{"the point at infinity", c.oid, []byte{0}, code.Unsupported},
			{"empty", c.oid, []byte{}, code.Unsupported},
			{"too long", c.oid, bytes.Repeat([]byte{2}, maxDeviceKey+1), code.Unsupported},
		} {
			ticket := i.ticket(day())
			ticket.Level2Key, ticket.Level2KeyAlg = form.key, form.alg
			for _, alg := range algorithms {
				ticket.Level2SigningAlg = alg.oid
				d := i.show(ticket, shown)
				d.Level2Signature = sign(t, device, alg.hash, must(t, d.Level2))
				want := form.want
				if alg.dsa || alg.hash.Size() < 32 {
					want = code.Unsupported
				}
				if v := judge(t, s, i.trust, must(t, d.Marshal), shown); v.Reason != want {
					t.Errorf("%s %s, %x: %+v, want %q", c.curve.Params().Name, form.name, alg.oid, v, want)
				}
			}
		}
		if c.curve.Params().Name == "P-256" {
			continue
		}
		ticket := i.ticket(day()) // the curve that the code names is not the key's
		ticket.Level2Key, ticket.Level2KeyAlg = spki(t, device.Public()), P256
		if v := judge(t, s, i.trust, must(t, i.show(ticket, shown).Marshal), shown); v.Reason != code.Unsupported {
			t.Errorf("%s said to be P-256: %+v", c.curve.Params().Name, v)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, bench := range []struct {
		name  string
		cache code.CredentialCache
	}{{"cold", nil}, {"cached", code.NewCredentials(64)}} {
		b.Run(bench.name, func(b *testing.B) {
			i := newIssuer(b)
			raw := must(b, i.show(i.ticket(day()), shown).Marshal)
			benchmarkVerify(b, i.trust, raw, bench.cache)
		})
	}
	var file struct {
		PublicKeys map[string]string `json:"public_keys"`
		Cases      []struct {
			Key        string
			SigningAlg string `json:"signing_alg"`
			Want       string
			Signature  string
		}
	}
	data, err := os.ReadFile("testdata/level1-openssl.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		b.Fatal(err)
	}
	for _, test := range file.Cases {
		if test.Want == "unsupported" || test.SigningAlg == "" {
			continue
		}
		b.Run("cold/"+test.Key+"/"+test.SigningAlg, func(b *testing.B) {
			i := newIssuer(b)
			d := &Display{Ticket: *foreignTicket(i, namedAlgorithms[test.SigningAlg]), Level2Data: NewDynamic(shown), Level1Signature: unhex(b, test.Signature)}
			i.resign(d)
			trust := new(code.Trust)
			trust.AddForeign(KeyName("9999", testKeyID), unhex(b, file.PublicKeys[test.Key]))
			benchmarkVerify(b, trust, must(b, d.Marshal), nil)
		})
	}
}

func benchmarkVerify(b *testing.B, trust code.KeySource, raw []byte, cache code.CredentialCache) {
	s := scheme(b, `{"issuer_keys":["p224","p384","dsa2048","dsa1024"]}`)
	b.ReportAllocs()
	for b.Loop() {
		var c code.Code
		err := s.Parse(raw, &c)
		c.Place(shown.Add(time.Second).Unix())
		if err != nil || s.Verify(&c, trust, cache).Outcome != code.Accept {
			b.Fatal("refused")
		}
	}
}
