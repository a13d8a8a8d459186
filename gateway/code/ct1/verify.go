package ct1

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
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
	if known, ok := device.(chainLink); ok {
		own, held := chainHolds(c, known)
		if !held {
			return code.Refuse(code.BadSecret).After(code.IssuerSignature)
		}
		if credentials != nil && own.at > known.at {
			credentials.Put(cacheKey, own) // the next display has fewer steps to go
		}
		// Who saw the value may show it again while its slot lasts.
		return code.Verdict{Outcome: code.Accept, Strength: code.SecretBound, Checked: code.IssuerSignature | code.SharedSecret}
	}
	if !displayHolds(c, device, credentials) {
		return code.Refuse(code.BadDeviceSignature).After(code.IssuerSignature)
	}
	strength := code.DeviceBound
	if c.Medium == code.MediumServerBatch {
		strength = code.StaticSigned // who has a copy of the batch may show it: see Batch
	}
	return code.Verdict{Outcome: code.Accept, Strength: strength, Checked: code.IssuerSignature | code.DeviceSignature}
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
	signed := len(c.Credential) - sigSize
	msg := make([]byte, 0, len(credentialContext)+maxSize)
	msg = append(append(msg, credentialContext...), c.Credential[:signed]...)
	if reason := verifyIssuer(c.Suite, public, msg, c.Credential[signed:]); reason != "" {
		return nil, reason
	}
	// Only now: before, the key is anybody's claim and not worth a square root.
	device, err := parseDeviceKey(c.Suite, c.DeviceKey)
	if err != nil {
		return nil, code.Malformed
	}
	return device, ""
}

// verifyIssuer checks the issuer's signature by the algorithm of the suite. A
// key of another one is not tried: a suite is what was signed under.
func verifyIssuer(suite uint8, public crypto.PublicKey, msg, sig []byte) code.Reason {
	holds := false
	switch suite {
	case SuiteAllP256, SuiteSM2:
		key, ok := public.(*ecdsa.PublicKey)
		switch {
		case ok && suite == SuiteSM2 && sm2.IsKey(key):
			holds = sm2.Verify(key, nil, msg, sig)
		case ok && suite == SuiteAllP256 && key.Curve == elliptic.P256():
			digest := sha256.Sum256(msg)
			holds = verifyP256(key, digest[:], sig)
		default:
			return code.Unsupported
		}
	default:
		key, ok := public.(ed25519.PublicKey)
		if !ok || len(key) != ed25519.PublicKeySize {
			return code.Unsupported
		}
		holds = ed25519.Verify(key, msg, sig)
	}
	if !holds {
		return code.BadIssuerSignature
	}
	return ""
}

// displayHolds checks the device's signature, or knows that it held for these bytes.
func displayHolds(c *code.Code, device any, credentials code.CredentialCache) bool {
	memory, ok := credentials.(code.DisplayMemory)
	if !ok {
		return verifyDisplay(c, device)
	}
	sum := sha256.Sum256(c.Raw)
	if memory.Held(sum) {
		return true
	}
	if !verifyDisplay(c, device) {
		return false
	}
	memory.Hold(sum)
	return true
}

func verifyDisplay(c *code.Code, device any) bool {
	signed := len(c.Raw) - sigSize
	var buf [len(displayContext) + maxSize]byte
	msg := append(append(buf[:0], displayContext...), c.Raw[:signed]...)
	sig := c.Raw[signed:]
	switch key := device.(type) {
	case *ecdsa.PublicKey:
		if c.Suite == SuiteSM2 {
			return sm2.Verify(key, nil, slices.Clone(msg), sig) // the clone keeps P-256's message off the heap
		}
		digest := sha256.Sum256(msg)
		return (c.Suite == SuiteP256 || c.Suite == SuiteAllP256) && verifyP256(key, digest[:], sig)
	case ed25519.PublicKey:
		return c.Suite == SuiteEd25519 && ed25519.Verify(key, msg, sig)
	}
	return false
}
