package ct1

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// challengeContext keeps an answer to a challenge from being anything else that a
// device signs.
const challengeContext = "CT1-challenge\x00"

// ChallengeMessage gives the bytes that a device signs to answer a challenge. They
// begin otherwise than those of a display, so that no answer is ever a ride.
func ChallengeMessage(challenge []byte) []byte { return append([]byte(challengeContext), challenge...) }

// VerifyChallenge checks a credential as [VerifyCredential] does, and that its device
// answered a challenge: signature is raw r||s or Ed25519, 64 bytes. A hash chain
// signs nothing, and answers none.
func VerifyChallenge(c *code.Code, keys code.KeySource, challenge, signature []byte) code.Reason {
	device, reason := verifyCredential(c, keys)
	if reason != "" {
		return reason
	}
	if len(signature) != sigSize {
		return code.BadDeviceSignature
	}
	msg, holds := ChallengeMessage(challenge), false
	switch key := device.(type) {
	case *ecdsa.PublicKey:
		switch c.Suite {
		case SuiteSM2:
			holds = sm2.Verify(key, nil, msg, signature)
		case SuiteP256, SuiteAllP256:
			digest := sha256.Sum256(msg)
			holds = verifyP256(key, digest[:], signature)
		}
	case ed25519.PublicKey:
		holds = c.Suite == SuiteEd25519 && ed25519.Verify(key, msg, signature)
	}
	if !holds {
		return code.BadDeviceSignature
	}
	return ""
}
