package ct1

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// Plugin makes CT1 schemes. They have no parameters of their own. The trust
// object is
//
//	{"keys":[{"tenant":N,"kid":N,"alg":"ed25519|es256|sm2","public_hex":".."}]}
//
// where tenant is the issuer number that stands on the code. A key of es256
// (P-256) or sm2 is a compressed point of 33 bytes or an uncompressed one of 65.
var Plugin = code.Plugin{ID: ID, New: newScheme, Trust: readTrust, Samples: samples}

func newScheme(params []byte) (code.Scheme, error) {
	var p code.Common
	if err := code.Decode(params, &p); err != nil {
		return nil, err
	}
	return Scheme{}, p.Check()
}

func readTrust(raw []byte) (code.KeySource, error) {
	var file struct {
		Keys []struct {
			Tenant    citygate.Issuer `json:"tenant"`
			KeyID     uint8           `json:"kid"`
			Alg       string          `json:"alg"`
			PublicHex string          `json:"public_hex"`
		} `json:"keys"`
	}
	if err := code.Decode(raw, &file); err != nil {
		return nil, err
	}
	t := new(code.Trust)
	for i, k := range file.Keys {
		bytes, err := hex.DecodeString(k.PublicHex)
		if err != nil {
			return nil, fmt.Errorf("keys[%d].public_hex: %w", i, err)
		}
		public, err := issuerKey(k.Alg, bytes)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		t.AddIssuer(k.Tenant, k.KeyID, public)
	}
	return t, nil
}

func issuerKey(alg string, raw []byte) (crypto.PublicKey, error) {
	switch alg {
	case "ed25519":
		if len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("public_hex: %d bytes, want %d", len(raw), ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(raw), nil
	case "es256":
		if len(raw) == p256KeySize && compressed(raw) {
			if key, err := parseDeviceKey(SuiteP256, raw); err == nil {
				return key, nil
			}
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
		if err != nil {
			return nil, errors.New("public_hex: not a point of P-256, compressed or uncompressed")
		}
		return key, nil
	case "sm2":
		key, err := sm2.ParseKey(raw)
		if err != nil {
			return nil, errors.New("public_hex: not a point of SM2, compressed or uncompressed")
		}
		return key, nil
	}
	return nil, fmt.Errorf("alg %q is not known; want ed25519, es256 or sm2", alg)
}
