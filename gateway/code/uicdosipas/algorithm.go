package uicdosipas

import (
	"crypto"
	"crypto/elliptic"
)

// An OID is the content of an ASN.1 OBJECT IDENTIFIER: "" when absent.
type OID string

// The identifiers known here. Level 1 and level 2 name their key's algorithm
// and their signature's apart.
const (
	P224 OID = "\x2b\x81\x04\x00\x21"             // 1.3.132.0.33, secp224r1
	P256 OID = "\x2a\x86\x48\xce\x3d\x03\x01\x07" // 1.2.840.10045.3.1.7, prime256v1
	P384 OID = "\x2b\x81\x04\x00\x22"             // 1.3.132.0.34, secp384r1
	// ECKey and DSAKey leave the curve and the parameters to the key itself,
	// which is then a SubjectPublicKeyInfo.
	ECKey  OID = "\x2a\x86\x48\xce\x3d\x02\x01" // 1.2.840.10045.2.1, id-ecPublicKey
	DSAKey OID = "\x2a\x86\x48\xce\x38\x04\x01" // 1.2.840.10040.4.1, id-dsa

	ECDSAWithSHA224 OID = "\x2a\x86\x48\xce\x3d\x04\x03\x01"     // 1.2.840.10045.4.3.1
	ECDSAWithSHA256 OID = "\x2a\x86\x48\xce\x3d\x04\x03\x02"     // 1.2.840.10045.4.3.2
	ECDSAWithSHA384 OID = "\x2a\x86\x48\xce\x3d\x04\x03\x03"     // 1.2.840.10045.4.3.3
	ECDSAWithSHA512 OID = "\x2a\x86\x48\xce\x3d\x04\x03\x04"     // 1.2.840.10045.4.3.4
	DSAWithSHA1     OID = "\x2a\x86\x48\xce\x38\x04\x03"         // 1.2.840.10040.4.3
	DSAWithSHA224   OID = "\x60\x86\x48\x01\x65\x03\x04\x03\x01" // 2.16.840.1.101.3.4.3.1
	DSAWithSHA256   OID = "\x60\x86\x48\x01\x65\x03\x04\x03\x02" // 2.16.840.1.101.3.4.3.2
)

// maxOID bounds an identifier's content.
const maxOID = 16

// An algorithm is how a level is signed.
type algorithm struct {
	oid  OID
	dsa  bool // or else ECDSA
	hash crypto.Hash
}

var algorithms = [...]algorithm{
	{ECDSAWithSHA256, false, crypto.SHA256}, // nearly every code
	{ECDSAWithSHA224, false, crypto.SHA224},
	{ECDSAWithSHA384, false, crypto.SHA384},
	{ECDSAWithSHA512, false, crypto.SHA512},
	{DSAWithSHA256, true, crypto.SHA256},
	{DSAWithSHA224, true, crypto.SHA224},
	{DSAWithSHA1, true, crypto.SHA1},
}

// curves are those of issuers' keys, with the weakest hash that is taken on each.
var curves = [...]struct {
	oid   OID
	curve elliptic.Curve
	hash  crypto.Hash
}{
	{P256, deviceCurve, crypto.SHA256},
	{P224, elliptic.P224(), crypto.SHA224},
	{P384, elliptic.P384(), crypto.SHA384},
}

// deviceCurve is the curve of devices' keys: secure hardware has no other. With
// a dearer one anybody could make a reader spend its time on a key of his own.
var deviceCurve = elliptic.P256()

// find gives the signing algorithm that o names.
func (o oid) find(raw []byte) (algorithm, bool) {
	for _, a := range algorithms {
		if o.is(raw, a.oid) {
			return a, true
		}
	}
	return algorithm{}, false
}

// naturalHash is the hash as strong as a curve of issuers: what a key signs with
// when the code does not say, and the weakest that is taken.
func naturalHash(curve elliptic.Curve) crypto.Hash {
	for _, c := range curves {
		if c.curve == curve {
			return c.hash
		}
	}
	return crypto.SHA512
}

// An oid says where an identifier stands in a code: absent when n is 0.
type oid octets

func readOID(r *reader, present bool) oid {
	if !present {
		return oid{}
	}
	o := r.octets()
	if r.bad || o.n < 1 || o.n > maxOID {
		r.bad = true
		return oid{}
	}
	first := true // octet of a sub-identifier, which begins with no empty septet
	for i := range o.n {
		c := byte(bitsAt(r.raw, o.at+8*i, 8))
		if first && c == 0x80 {
			r.bad = true
		}
		first = c < 0x80
	}
	if !first {
		r.bad = true // the last sub-identifier does not end
	}
	return oid(o)
}

// is compares without allocating.
func (o oid) is(raw []byte, want OID) bool {
	if o.n != len(want) {
		return false
	}
	for i := range o.n {
		if byte(bitsAt(raw, o.at+8*i, 8)) != want[i] {
			return false
		}
	}
	return true
}
