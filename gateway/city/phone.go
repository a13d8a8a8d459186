package city

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// A phone is a rider's device: a phone with a P-256 key, as secure hardware
// has it, or a wristband with an Ed25519 key. It makes codes offline.
type phone struct {
	suite      uint8
	medium     uint8
	public     []byte // as the credential carries it
	sign       func(message []byte) ([]byte, error)
	credential []byte
	list       uint16 // the credential's place in its issuer's deny list
	idx        uint32
	counter    uint16
}

// newPhone makes a device whose key is derived from (seed, purpose, number), so
// that the same seed plays the same city.
func newPhone(seed uint64, purpose string, number int, band bool) (*phone, error) {
	material := sha256.Sum256(fmt.Appendf(nil, "citygate played device %d %s %d", seed, purpose, number))
	if band {
		key := ed25519.NewKeyFromSeed(material[:])
		return &phone{
			suite: ct1.SuiteEd25519, medium: code.MediumBand, public: key[ed25519.SeedSize:],
			sign: func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil },
		}, nil
	}
	key, err := p256Key(material)
	if err != nil {
		return nil, err
	}
	return &phone{
		suite: ct1.SuiteP256, medium: code.MediumPhone,
		public: elliptic.MarshalCompressed(elliptic.P256(), key.X, key.Y),
		sign:   func(m []byte) ([]byte, error) { return signP256(key, m) },
	}, nil
}

// p256Key turns 32 bytes into a private key; they are below the group order but
// for one case in 2^32, which is folded back.
func p256Key(material [32]byte) (*ecdsa.PrivateKey, error) {
	order := elliptic.P256().Params().N
	d := new(big.Int).SetBytes(material[:])
	d.Mod(d, new(big.Int).Sub(order, big.NewInt(1))).Add(d, big.NewInt(1))
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
}

// signP256 gives the deterministic (RFC 6979) signature as raw r||s.
func signP256(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	der, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return rawSignature(der)
}

// show makes the code of one display at the instant at, with the next counter.
func (p *phone) show(at time.Time) ([]byte, error) {
	p.counter++
	return p.display(at, p.counter)
}

func (p *phone) display(at time.Time, counter uint16) ([]byte, error) {
	return ct1.Display(p.credential, ct1.Dynamic{
		GeneratedAt: at.Unix(), Counter: counter, Party: 1, Medium: p.medium,
	}, p.sign)
}

// forge makes a code that must be refused, in one of four variants: an unknown
// issuer key, a wrong issuer signature, a wrong device signature, an altered
// field of the credential.
func (p *phone) forge(at time.Time, variant int) ([]byte, error) {
	real, err := p.show(at)
	if err != nil {
		return nil, err
	}
	raw := append([]byte(nil), real...)
	var c code.Code
	if err := (ct1.Scheme{}).Parse(raw, &c); err != nil {
		return nil, err
	}
	const (
		offKeyID = 4
		offCap   = 19
	)
	switch variant {
	case 0: // an issuer key nobody published; the device signs honestly
		return p.resigned(at, func(credential []byte) { credential[offKeyID] ^= 0x80 })
	case 1: // the issuer's signature is not the issuer's
		return p.resigned(at, func(credential []byte) { credential[len(credential)-64] ^= 1 })
	case 2: // another device's signature: an Ed25519 S or a P-256 r of another message
		return p.foreign(at)
	default: // a higher cap than was signed
		return p.resigned(at, func(credential []byte) {
			binary.BigEndian.PutUint16(credential[offCap:], c.Cap+1)
		})
	}
}

// resigned displays an altered copy of the credential with a correct device
// signature, so that only the issuer's part can give it away.
func (p *phone) resigned(at time.Time, alter func(credential []byte)) ([]byte, error) {
	forgery := *p
	forgery.credential = append([]byte(nil), p.credential...)
	alter(forgery.credential)
	return forgery.display(at, p.counter)
}

// foreign displays the credential under a device key that is not its own.
func (p *phone) foreign(at time.Time) ([]byte, error) {
	thief, err := newPhone(uint64(p.counter), "thief of "+string(p.public), 0, p.suite == ct1.SuiteEd25519)
	if err != nil {
		return nil, err
	}
	thief.credential = p.credential
	return thief.display(at, p.counter)
}

// rawSignature turns an ASN.1 ECDSA signature into 64 bytes r||s.
func rawSignature(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("signature is not ASN.1: %w", err)
	}
	raw := make([]byte, 64)
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	return raw, nil
}
