package issuance

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"time"

	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// Roots are the certificates that attestations may end in.
type Roots []*x509.Certificate

// ParseRoots reads certificates in PEM; an empty text is no roots.
func ParseRoots(text string) (Roots, error) {
	var roots Roots
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return nil, ErrPolicy.Explain("attestation_roots: after certificate %d comes something that is none", len(roots))
			}
			return roots, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, ErrPolicy.Because(err, "attestation_roots: block %d is no certificate", len(roots)+1)
		}
		roots = append(roots, c)
	}
}

// An Attestation is what an Android device's secure hardware says of a key.
type Attestation struct {
	Version  int    `json:"version"` // of the record: 3, 4, 100, 200, 300
	Level    string `json:"level"`   // trusted_environment or strongbox
	Verified bool   `json:"verified_boot"`
	Locked   bool   `json:"locked"`

	// Serials are of every certificate, as a [StatusList] writes them; Revocation is
	// what they were held against.
	Serials    []string   `json:"serials,omitempty"`
	Revocation Revocation `json:"revocation,omitempty"`
}

// The attestation record of a certificate: the KeyDescription of Android's key
// attestation, versions 3 to 300 alike in these fields. Source: Android Open
// Source Project, "Key and ID attestation".
type keyDescription struct {
	Version         int
	Level           asn1.Enumerated
	KeyMintVersion  int
	KeyMintLevel    asn1.Enumerated
	Challenge       []byte
	UniqueID        []byte
	SoftwareOnly    asn1.RawValue
	HardwareEnforce asn1.RawValue
}

type rootOfTrust struct {
	BootKey []byte
	Locked  bool
	State   asn1.Enumerated
	Hash    []byte `asn1:"optional"`
}

var attestationOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 17}

// Tags of an authorization list.
const (
	tagPurpose     = 1
	tagOrigin      = 702
	tagRootOfTrust = 704
)

// Check verifies that chain (the device's certificate first, each DER) ends in
// one of the roots at now and says that publicKey was made in secure hardware, for
// this challenge, may sign, and that the device runs what its maker signed.
// Anything else is ErrAttest. Whether a certificate was revoked is for
// [Statuses.Check] to say.
func (r Roots) Check(chain [][]byte, challenge, publicKey []byte, now time.Time) (Attestation, error) {
	if len(r) == 0 {
		return Attestation{}, ErrAttest.Explain("the issuance policy names no attestation roots")
	}
	leaf, serials, err := r.verify(chain, now)
	if err != nil {
		return Attestation{}, err
	}
	if _, key, err := ct1.DeviceKey(leaf.PublicKey); err != nil || !bytes.Equal(key, publicKey) {
		return Attestation{}, ErrAttest.Explain("the attested key is not the device's key")
	}
	for _, e := range leaf.Extensions {
		if e.Id.Equal(attestationOID) {
			a, err := judge(e.Value, challenge)
			a.Serials = serials
			return a, err
		}
	}
	return Attestation{}, ErrAttest.Explain("the certificate holds no attestation record")
}

// verify gives the device's certificate, and the serials of all that were sent and
// of all on any way to a root.
func (r Roots) verify(chain [][]byte, now time.Time) (leaf *x509.Certificate, serials []string, err error) {
	if len(chain) < 2 || len(chain) > 10 {
		return nil, nil, ErrAttest.Explain("a chain of %d certificates, want 2 to 10", len(chain))
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range r {
		options.Roots.AddCert(c)
	}
	all := make([]*x509.Certificate, 0, len(chain)+1)
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, ErrAttest.Because(err, "certificate %d cannot be read", i)
		}
		all = append(all, c)
		if i == 0 {
			continue
		}
		// A device can have a second record signed by a key of its own that claims
		// anything: only the certificate next to the makers' may hold one.
		for _, e := range c.Extensions {
			if e.Id.Equal(attestationOID) {
				return nil, nil, ErrAttest.Explain("certificate %d holds an attestation record too", i)
			}
		}
		options.Intermediates.AddCert(c)
	}
	ways, err := all[0].Verify(options)
	if err != nil {
		return nil, nil, ErrAttest.Because(err, "the chain does not end in a root of the policy, or a certificate is not valid now")
	}
	for _, c := range slices.Concat(all, slices.Concat(ways...)) {
		if serial := c.SerialNumber.Text(16); !slices.Contains(serials, serial) {
			serials = append(serials, serial)
		}
	}
	return all[0], serials, nil
}

// judge reads a record.
func judge(der, challenge []byte) (Attestation, error) {
	var d keyDescription
	if rest, err := asn1.Unmarshal(der, &d); err != nil || len(rest) > 0 {
		return Attestation{}, ErrAttest.Because(err, "the attestation record cannot be read")
	}
	a := Attestation{Version: d.Version}
	switch min(d.Level, d.KeyMintLevel) {
	case 1:
		a.Level = "trusted_environment"
	case 2:
		a.Level = "strongbox"
	default:
		return a, ErrAttest.Explain("the key is kept by software")
	}
	if !bytes.Equal(d.Challenge, challenge) {
		return a, ErrAttest.Explain("it was made for another challenge")
	}
	fields, err := authorizations(d.HardwareEnforce.Bytes)
	if err != nil {
		return a, err
	}
	var purposes []int
	if _, err := asn1.UnmarshalWithParams(fields[tagPurpose], &purposes, "set"); err != nil || len(purposes) != 1 || purposes[0] != 2 {
		return a, ErrAttest.Explain("the key is for something else than signing") // such as signing attestations of its own
	}
	var origin int
	if _, err := asn1.Unmarshal(fields[tagOrigin], &origin); err != nil || origin != 0 {
		return a, ErrAttest.Explain("the key was not made in the hardware")
	}
	var boot rootOfTrust
	if _, err := asn1.Unmarshal(fields[tagRootOfTrust], &boot); err != nil {
		return a, ErrAttest.Because(err, "the record does not say what the device booted")
	}
	a.Verified, a.Locked = boot.State == 0, boot.Locked
	if !a.Verified || !a.Locked {
		return a, ErrAttest.Explain("the device is unlocked or runs what its maker did not sign")
	}
	return a, nil
}

// authorizations gives the explicitly tagged fields of an authorization list.
func authorizations(list []byte) (map[int][]byte, error) {
	out := map[int][]byte{}
	for len(list) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(list, &v)
		if err != nil || v.Class != asn1.ClassContextSpecific || out[v.Tag] != nil {
			return nil, ErrAttest.Because(err, "the attestation record's list cannot be read")
		}
		out[v.Tag] = v.Bytes
		list = rest
	}
	return out, nil
}
