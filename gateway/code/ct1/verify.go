package ct1

import (
	"crypto"
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
// signature or its place in the hash chain. A cache hit stands for the first
// two: it can exist only after they held under the same version of the keys.
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
	if known, ok := device.(link); ok {
		own, held := follows(c, known)
		if !held {
			return code.Refuse(code.BadDeviceSignature).After(code.IssuerSignature)
		}
		if credentials != nil && own.at > known.at {
			credentials.Put(cacheKey, own) // the next display has fewer steps to go
		}
	} else if !verifyDisplay(c, device) {
		return code.Refuse(code.BadDeviceSignature).After(code.IssuerSignature)
	}
	return code.Verdict{Outcome: code.Accept, Strength: strength(c), Checked: code.IssuerSignature | code.DeviceSignature}
}

// strength says what a code that verified rests on. A preimage proves that who
// showed it has the slot's secret, not that it was made here and now; codes made
// ahead prove that the server made them.
func strength(c *code.Code) code.Strength {
	switch {
	case c.Suite == SuiteChain:
		return code.SecretBound
	case c.Medium == code.MediumServerBatch:
		return code.StaticSigned
	}
	return code.DeviceBound
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
	msg := make([]byte, 0, len(credentialContext)+maxSize)
	msg = append(append(msg, credentialContext...), c.Credential[:len(c.Credential)-sigSize]...)
	if reason := verifyIssuer(c, public, msg); reason != "" {
		return nil, reason
	}
	// Only now: before, the key is anybody's claim and not worth a square root.
	device, err := parseDeviceKey(c.Suite, c.DeviceKey)
	if err != nil {
		return nil, code.Malformed
	}
	return device, ""
}

// verifyIssuer checks the issuer's signature with a key of the suite's own
// algorithm and no other: which algorithm it is, the key says and the code must
// agree.
func verifyIssuer(c *code.Code, public crypto.PublicKey, msg []byte) code.Reason {
	sig := c.Credential[len(c.Credential)-sigSize:]
	held := false
	switch key := public.(type) {
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize || issuerAlgorithm(c.Suite) != algEd25519 {
			return code.Unsupported // the issuer's key is not of this suite
		}
		held = ed25519.Verify(key, msg, sig)
	case *ecdsa.PublicKey:
		if issuerAlgorithm(c.Suite) != algorithmOf(key) {
			return code.Unsupported
		}
		held = verifyPoint(key, msg, sig)
	default:
		return code.Unsupported
	}
	if !held {
		return code.BadIssuerSignature
	}
	return ""
}

func verifyDisplay(c *code.Code, device any) bool {
	signed := len(c.Raw) - sigSize
	var buf [len(displayContext) + maxSize]byte
	msg := append(append(buf[:0], displayContext...), c.Raw[:signed]...)
	sig := c.Raw[signed:]
	switch key := device.(type) {
	case *ecdsa.PublicKey: // of the suite's curve: parseDeviceKey made it
		return c.Suite != SuiteEd25519 && verifyPoint(key, msg, sig)
	case ed25519.PublicKey:
		return c.Suite == SuiteEd25519 && ed25519.Verify(key, msg, sig)
	}
	return false
}
