package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"

	"github.com/cashlesscity/citygate/keys/bundle"
)

// A JWK is a public key as RFC 7517 and RFC 8037 write it, with what the ring
// knows of it besides.
type JWK struct {
	KeyType   string  `json:"kty"`
	Use       string  `json:"use"`
	Algorithm string  `json:"alg"`
	ID        string  `json:"kid"`
	Curve     string  `json:"crv,omitempty"`
	X         string  `json:"x,omitempty"`
	Y         string  `json:"y,omitempty"`
	N         string  `json:"n,omitempty"`
	E         string  `json:"e,omitempty"`
	Purpose   Purpose `json:"purpose"`
	State     string  `json:"state"`
	NotBefore int64   `json:"nbf"`           // unix seconds
	Expires   int64   `json:"exp"`           // unix seconds
	NotAfter  int64   `json:"nia,omitempty"` // what it signed after this counts for nothing; unix seconds
}

// jwksPurposes are the keys that somebody outside verifies by a key set. Root
// keys are not among them: terminals are enrolled with them.
var jwksPurposes = []Purpose{Credential, DenyList, Policy, Audit, Explain, Webhook, Token}

// Announced reports whether key sets hold keys of purpose p, and so the next one
// beside the one that signs.
func (p Purpose) Announced() bool { return slices.Contains(jwksPurposes, p) }

// JWKID is the id of a key in a key set: the kid alone for the platform's token
// keys, as access tokens name it, and "purpose-kid" for a tenant's.
func JWKID(purpose Purpose, kid uint8) string {
	if purpose == Token {
		return strconv.Itoa(int(kid))
	}
	return string(purpose) + "-" + strconv.Itoa(int(kid))
}

// JWKS gives the key set of a tenant's or the platform's keys, as [Ring.Keys]
// lists them. Revoked keys are left out; published ones are in it, so that
// nobody meets a signature by a key that was not announced.
func JWKS(all []Key) ([]byte, error) {
	set := struct {
		Keys []JWK `json:"keys"`
	}{[]JWK{}}
	for _, k := range all {
		if k.State == bundle.Revoked || !k.Purpose.Announced() {
			continue
		}
		j, err := k.jwk()
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, j)
	}
	return json.Marshal(set)
}

func (k Key) jwk() (JWK, error) {
	j := JWK{
		Use: "sig", ID: JWKID(k.Purpose, k.KeyID), Purpose: k.Purpose, State: string(k.State), NotBefore: k.NotBefore.Unix(), Expires: k.Expires.Unix(),
	}
	if !k.NotIssuedAfter.IsZero() {
		j.NotAfter = k.NotIssuedAfter.Unix()
	}
	public, err := ParsePublic(k.Algorithm, k.Public)
	if err != nil {
		return JWK{}, err
	}
	text := base64.RawURLEncoding.EncodeToString
	switch public := public.(type) {
	case ed25519.PublicKey:
		j.KeyType, j.Algorithm, j.Curve, j.X = "OKP", "EdDSA", "Ed25519", text(public)
	case *ecdsa.PublicKey:
		raw, err := public.Bytes() // 4, then X and Y of 32 bytes each
		if err != nil {
			return JWK{}, ErrInvalid.Because(err, "P-256 public key")
		}
		j.KeyType, j.Algorithm, j.Curve, j.X, j.Y = "EC", "ES256", "P-256", text(raw[1:33]), text(raw[33:])
	case *rsa.PublicKey:
		j.KeyType, j.Algorithm, j.N, j.E = "RSA", "RS256", text(public.N.Bytes()), text(big.NewInt(int64(public.E)).Bytes())
	default:
		return JWK{}, ErrInvalid.Because(nil, "a public key of type %T", public)
	}
	return j, nil
}
