package ct1_test

import (
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// A device with a key answers a challenge: that one, by its own key, under a
// credential of its issuer. No display is an answer, and no answer a display.
func TestADeviceAnswersAChallenge(t *testing.T) {
	suites(t, func(t *testing.T, c *city) {
		credential := c.credential(t, c.fields())
		var parsed code.Code
		if err := ct1.ParseCredential(credential, &parsed); err != nil {
			t.Fatal(err)
		}
		challenge := []byte("one challenge")
		if c.suite == ct1.SuiteChain {
			if got := ct1.VerifyChallenge(&parsed, c.keys, challenge, make([]byte, 64)); got != code.BadDeviceSignature {
				t.Errorf("a chain answers: %q", got)
			}
			return
		}
		signature, err := c.sign(ct1.ChallengeMessage(challenge))
		if err != nil {
			t.Fatal(err)
		}
		if got := ct1.VerifyChallenge(&parsed, c.keys, challenge, signature); got != "" {
			t.Errorf("the answer: %q", got)
		}
		bare, err := c.sign(challenge)
		if err != nil {
			t.Fatal(err)
		}
		broken := append([]byte{}, signature...)
		broken[10] ^= 1
		shown := c.show(t, credential)
		for name, sig := range map[string][]byte{"without its context": bare, "changed": broken, "cut": signature[:63], "longer": append(signature, 0), "of a display": shown[len(shown)-64:]} {
			if got := ct1.VerifyChallenge(&parsed, c.keys, challenge, sig); got != code.BadDeviceSignature {
				t.Errorf("a signature %s: %q", name, got)
			}
		}
		if got := ct1.VerifyChallenge(&parsed, c.keys, []byte("another challenge"), signature); got != code.BadDeviceSignature {
			t.Errorf("another challenge: %q", got)
		}
		stranger := newCity(t, c.suite, "stranger")
		if got := ct1.VerifyChallenge(&parsed, stranger.keys, challenge, signature); got != code.BadIssuerSignature {
			t.Errorf("another issuer: %q", got)
		}
	})
}
