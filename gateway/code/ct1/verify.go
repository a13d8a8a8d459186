package ct1

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"

	"github.com/cashlesscity/citygate/gateway/code"
)

const (
	credentialContext = "CT1-cred\x00"
	displayContext    = "CT1-dyn\x00"
)

// Verify checks the issuer's signature, then the device key, then the device's
// signature. A cache hit stands for the first two: it can exist only after they
// held under the same version of the keys.
func (Scheme) Verify(c *code.Code, keys code.KeySource, credentials code.CredentialCache) code.Verdict {
	var cacheKey [32]byte
	var device any
	hit := false
	if credentials != nil {
		cacheKey = credentialKey(c.Credential, keys.Version())
		device, hit = credentials.Get(cacheKey)
	}
	if !hit {
		var reason code.Reason
		if device, reason = verifyCredential(c, keys); reason != "" {
			return code.Refuse(reason)
		}
		if credentials != nil {
			credentials.Put(cacheKey, device)
		}
	}
	if !verifyDisplay(c, device) {
		return code.Refuse(code.BadDeviceSignature).After(code.IssuerSignature)
	}
	return code.Verdict{Outcome: code.Accept, Strength: code.DeviceBound, Checked: code.IssuerSignature | code.DeviceSignature}
}

// credentialKey is SHA-256 of all of part A and the version of the keys.
func credentialKey(credential []byte, keysVersion uint64) [32]byte {
	var buf [maxSize + 8]byte
	n := copy(buf[:maxSize], credential)
	binary.BigEndian.PutUint64(buf[n:], keysVersion)
	return sha256.Sum256(buf[:n+8])
}

// VerifyCredential checks the issuer's signature of a credential and its device
// key, as a device does when it receives one. c is filled in by [ParseCredential]
// or [Scheme.Parse].
func VerifyCredential(c *code.Code, keys code.KeySource) code.Reason {
	_, reason := verifyCredential(c, keys)
	return reason
}

func verifyCredential(c *code.Code, keys code.KeySource) (device any, refused code.Reason) {
	public, reason := keys.IssuerKey(c.Rider.Issuer, c.KeyID, c.IssuedAt)
	if reason != "" {
		return nil, reason
	}
	issuer, ok := public.(ed25519.PublicKey)
	if !ok || len(issuer) != ed25519.PublicKeySize {
		return nil, code.Unsupported // the issuer's key is not of this suite
	}
	signed := len(c.Credential) - sigSize
	msg := make([]byte, 0, len(credentialContext)+maxSize)
	msg = append(append(msg, credentialContext...), c.Credential[:signed]...)
	if !ed25519.Verify(issuer, msg, c.Credential[signed:]) {
		return nil, code.BadIssuerSignature
	}
	// Only now: before, the key is anybody's claim and not worth a square root.
	device, err := parseDeviceKey(c.Suite, c.DeviceKey)
	if err != nil {
		return nil, code.Malformed
	}
	return device, ""
}

func verifyDisplay(c *code.Code, device any) bool {
	signed := len(c.Raw) - sigSize
	var buf [len(displayContext) + maxSize]byte
	msg := append(append(buf[:0], displayContext...), c.Raw[:signed]...)
	sig := c.Raw[signed:]
	switch key := device.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(msg)
		return c.Suite == SuiteP256 && verifyP256(key, digest[:], sig)
	case ed25519.PublicKey:
		return c.Suite == SuiteEd25519 && ed25519.Verify(key, msg, sig)
	}
	return false
}
