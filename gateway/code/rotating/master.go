package rotating

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// A Master gives every pass of a tenant its secret from one secret of the
// tenant's secret store, so that neither the store nor a validator keeps a list
// of passes: who makes a pass puts [Master.PassSecret] into it, who verifies one
// derives it again. It is a [code.SecretSource].
//
// Whoever holds the master draws every pass of the tenant. In a validator it
// belongs into the secure module; a validator without one is given the secrets of
// the passes it may meet, or none.
type Master struct {
	Number uint64 // Version; another one when the secret is another
	Key    citygate.Secret
}

var _ code.SecretSource = (*Master)(nil)

const masterContext = "citygate rotating pass\x00"

// masterMin is the least length of a master, in bytes: what nobody tries out.
const masterMin = 16

// PassSecret gives the secret of a pass: the 32 bytes of HMAC-SHA-256 over
// "citygate rotating pass" 00 and the pass. A master that is too short gives none.
func (m *Master) PassSecret(pass []byte) citygate.Secret {
	if len(m.Key.Reveal()) < masterMin {
		return citygate.Secret{}
	}
	mac := hmac.New(sha256.New, m.Key.Reveal())
	mac.Write([]byte(masterContext))
	mac.Write(pass)
	return citygate.NewSecret(mac.Sum(nil))
}

// Version gives Number.
func (m *Master) Version() uint64 { return m.Number }

// IssuerKey knows no issuer: passes are not signed.
func (m *Master) IssuerKey(citygate.Issuer, uint8, int64) (crypto.PublicKey, code.Reason) {
	return nil, code.UnknownIssuer
}

// Secret gives the secret of a pass of this scheme.
func (m *Master) Secret(scheme code.SchemeID, pass []byte) (citygate.Secret, code.Reason) {
	secret := m.PassSecret(pass)
	if scheme != ID || secret.IsZero() {
		return citygate.Secret{}, code.UnknownIssuer
	}
	return secret, ""
}
