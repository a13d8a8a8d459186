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

// samples is a code whose issuer's and device's keys are of the kind taken by
// default. The other kinds (see [Params.IssuerKeys]) are measured by
// BenchmarkVerify.
func samples(random io.Reader) ([]code.Sample, error) {
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, err
	}
	device, err := ecdsa.GenerateKey(deviceCurve, random)
	if err != nil {
		return nil, err
	}
	sample, err := makeSample(issuer, device)
	return []code.Sample{sample}, err
}

func makeSample(issuer, device *ecdsa.PrivateKey) (code.Sample, error) {
	at := time.Unix(1_800_000_000, 0)
	public, err := device.PublicKey.Bytes()
	if err != nil {
		return code.Sample{}, err
	}
	d := &Display{Level2Data: NewDynamic(at), Ticket: Ticket{
		Version: 2, ProviderNum: maxProvider, KeyID: maxKeyID, HasKeyID: true, Duration: 60,
		Contents:         []Content{{"_9999X", make([]byte, sampleSize)}},
		Level1SigningAlg: ECDSAWithSHA256, Level2SigningAlg: ECDSAWithSHA256, Level2KeyAlg: P256,
		Level2Key: append([]byte{2 + public[64]&1}, public[1:33]...),
	}}
	d.SetEnd(at.Add(24 * time.Hour))
	if d.Level1Signature, err = signed(d.Level1, issuer); err != nil {
		return code.Sample{}, err
	}
	if d.Level2Signature, err = signed(d.Level2, device); err != nil {
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
func signed(message func() ([]byte, error), key *ecdsa.PrivateKey) ([]byte, error) {
	msg, err := message()
	if err != nil {
		return nil, err
	}
	return key.Sign(nil, digestOf(nil, crypto.SHA256, msg), crypto.SHA256)
}
