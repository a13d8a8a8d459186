package uicdosipas

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"io"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
)

// sampleSize is the level 1 content of a sample: as much as the public samples
// of dynamic codes have.
const sampleSize = 167

// samples are codes of each curve that an issuer's key is taken on by default,
// with a device's on the same. What a tenant takes beside them (see
// [Params.IssuerKeys]) is measured by BenchmarkVerify.
func samples(random io.Reader) ([]code.Sample, error) {
	var out []code.Sample
	for _, kind := range []struct {
		name           string
		issuer, device elliptic.Curve
		deviceAlg      OID
		hash1, hash2   crypto.Hash
		level1, level2 OID
	}{
		{"P-256", elliptic.P256(), elliptic.P256(), P256, crypto.SHA256, crypto.SHA256, ECDSAWithSHA256, ECDSAWithSHA256},
		{"P-224", elliptic.P224(), elliptic.P224(), P224, crypto.SHA224, crypto.SHA224, ECDSAWithSHA224, ECDSAWithSHA224},
	} {
		issuer, err := ecdsa.GenerateKey(kind.issuer, random)
		if err != nil {
			return nil, err
		}
		device, err := ecdsa.GenerateKey(kind.device, random)
		if err != nil {
			return nil, err
		}
		t := Ticket{Level1SigningAlg: kind.level1, Level2KeyAlg: kind.deviceAlg, Level2SigningAlg: kind.level2}
		sample, err := makeSample(&t, issuer, device, kind.hash1, kind.hash2)
		if err != nil {
			return nil, err
		}
		sample.Name = kind.name
		out = append(out, sample)
	}
	return out, nil
}

func makeSample(t *Ticket, issuer, device *ecdsa.PrivateKey, hash1, hash2 crypto.Hash) (code.Sample, error) {
	at := time.Unix(1_800_000_000, 0)
	public, err := device.PublicKey.Bytes()
	if err != nil {
		return code.Sample{}, err
	}
	half := len(public) / 2
	t.Version, t.ProviderNum, t.KeyID, t.HasKeyID, t.Duration = 2, maxProvider, maxKeyID, true, 60
	t.Contents = []Content{{"_9999X", make([]byte, sampleSize)}}
	t.Level2Key = append([]byte{2 + public[2*half]&1}, public[1:1+half]...)
	t.SetEnd(at.Add(24 * time.Hour))
	d := &Display{Ticket: *t, Level2Data: NewDynamic(at)}
	if d.Level1Signature, err = signed(d.Level1, issuer, hash1); err != nil {
		return code.Sample{}, err
	}
	if d.Level2Signature, err = signed(d.Level2, device, hash2); err != nil {
		return code.Sample{}, err
	}
	raw, err := d.Marshal()
	if err != nil {
		return code.Sample{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(issuer.Public())
	if err != nil {
		return code.Sample{}, err
	}
	trust := new(code.Trust)
	trust.AddForeign(KeyName("32000", maxKeyID), der)
	var b Barcode
	if err := b.Parse(raw); err != nil {
		return code.Sample{}, err
	}
	return code.Sample{Scheme: Scheme{}, Keys: trust, Raw: raw, At: at.Unix(), Bare: func() bool {
		held1, _ := verifyLevel1(&b, issuerKey{ecdsa: &issuer.PublicKey})
		held2, _ := verifyLevel2(&b, &device.PublicKey)
		return held1 && held2
	}}, nil
}

// signed signs what message gives.
func signed(message func() ([]byte, error), key *ecdsa.PrivateKey, hash crypto.Hash) ([]byte, error) {
	msg, err := message()
	if err != nil {
		return nil, err
	}
	return key.Sign(nil, digestOf(nil, hash, msg), hash)
}
