package motsm2

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// The values of [Params].
const (
	OrderStandard       = "standard"        // field 15 behind 13 and 14
	OrderSignatureFirst = "signature_first" // field 15 before 13 and 14; still over fields 3 to 14 by number

	UserIDByVersion = "version" // 80: default, 81: context
	UserIDDefault   = "default" // "1234567812345678" three times
	UserIDContext   = "context" // what is signed names the user id

	CertificateRequired = "required" // three levels
	CertificateAbsent   = "absent"   // two levels: the issuer's key is held here
	CertificateEither   = "either"   // the length says which
)

// Params are what cities do differently. The zero value is not valid: start from
// [Defaults].
type Params struct {
	code.Common
	FieldOrder  string `json:"field_order"`
	UserID      string `json:"user_id"`
	Certificate string `json:"certificate"`
	// Epoch is what fields 11 and 16 count from, RFC 3339. A certificate ends
	// with its month in the time zone of Epoch.
	Epoch string `json:"epoch"`
	// Admit lists whose codes are taken; empty admits all that the keys prove.
	Admit []Admission `json:"admit,omitempty"`
}

// An Admission admits codes by issuer and platform. Every field is four bytes in
// hexadecimal; "" admits any.
type Admission struct {
	CertIssuer string `json:"cert_issuer,omitempty"` // issuer id of the certificate
	CardIssuer string `json:"card_issuer,omitempty"` // field 6
	Platform   string `json:"platform,omitempty"`    // field 7
}

// Defaults are the parameters of the layout in the package doc.
func Defaults() Params {
	return Params{
		FieldOrder: OrderStandard, UserID: UserIDByVersion, Certificate: CertificateRequired, Epoch: "1970-01-01T00:00:00Z",
	}
}

// Plugin makes schemes from the JSON form of [Params]; a field that is not there
// has its default. The trust object is
//
//	{"root_ca":[{"index":N,"public_uncompressed_hex":".."}],
//	 "issuers":[{"card_issuer":"31047700","platform":"00000001","public_hex":".."}]}
//
// where issuers are the keys of codes without a certificate. A terminal's source
// names a root [RootKey] and an issuer's key [IssuerKey]; either is a point of 33
// or 65 bytes.
var Plugin = code.Plugin{ID: ID, New: newScheme, Trust: readTrust, Samples: samples, Key: checkKey}

func checkKey(key []byte) error {
	_, err := sm2.ParseKey(key)
	return err
}

func newScheme(raw []byte) (code.Scheme, error) {
	p := Defaults()
	if err := code.Decode(raw, &p); err != nil {
		return nil, err
	}
	return New(p)
}

// New makes a scheme.
func New(p Params) (*Scheme, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	s := &Scheme{issuer: p.Issuer, signatureFirst: p.FieldOrder == OrderSignatureFirst, userID: p.UserID, certificate: p.Certificate}
	epoch, err := time.Parse(time.RFC3339, p.Epoch)
	switch {
	case p.FieldOrder != OrderStandard && p.FieldOrder != OrderSignatureFirst:
		return nil, fmt.Errorf("field_order: want %s or %s", OrderStandard, OrderSignatureFirst)
	case p.UserID != UserIDByVersion && p.UserID != UserIDDefault && p.UserID != UserIDContext:
		return nil, fmt.Errorf("user_id: want %s, %s or %s", UserIDByVersion, UserIDDefault, UserIDContext)
	case p.Certificate != CertificateRequired && p.Certificate != CertificateAbsent && p.Certificate != CertificateEither:
		return nil, fmt.Errorf("certificate: want %s, %s or %s", CertificateRequired, CertificateAbsent, CertificateEither)
	case err != nil:
		return nil, fmt.Errorf("epoch: %w", err)
	case epoch.Unix() < 0 || epoch.Unix() > math.MaxUint32:
		return nil, errors.New("epoch: want 1970 to 2106")
	}
	s.epoch, s.zone = epoch.Unix(), epoch.Location()
	for i, a := range p.Admit {
		entry, err := a.parse()
		if err != nil {
			return nil, fmt.Errorf("admit[%d].%w", i, err)
		}
		s.admit = append(s.admit, entry)
	}
	return s, nil
}

// An admission is an [Admission] as numbers; -1 admits any.
type admission struct{ certIssuer, cardIssuer, platform int64 }

func (a Admission) parse() (out admission, err error) {
	for _, f := range []struct {
		name, text string
		into       *int64
	}{{"cert_issuer", a.CertIssuer, &out.certIssuer}, {"card_issuer", a.CardIssuer, &out.cardIssuer}, {"platform", a.Platform, &out.platform}} {
		*f.into = -1
		if f.text == "" {
			continue
		}
		n, err := number(f.text)
		if err != nil {
			return out, fmt.Errorf("%s: %w", f.name, err)
		}
		*f.into = int64(n)
	}
	return out, nil
}

// number reads four bytes in hexadecimal.
func number(text string) (uint32, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 4 {
		return 0, fmt.Errorf("%q: want 8 hexadecimal digits", text)
	}
	return binary.BigEndian.Uint32(raw), nil
}

// RootKey names the key of a root CA.
func RootKey(index uint8) code.KeyName {
	return code.KeyName{Scheme: ID, Kind: "root_ca", ID: uint32(index)}
}

// IssuerKey names the key of an issuer whose codes carry no certificate.
func IssuerKey(cardIssuer, platform uint32) code.KeyName {
	return code.KeyName{Scheme: ID, Owner: fmt.Sprintf("%08x", cardIssuer), Kind: "issuer", ID: platform}
}

func readTrust(raw []byte) (code.KeySource, error) {
	var file struct {
		RootCA []struct {
			Index  uint8  `json:"index"`
			Public string `json:"public_uncompressed_hex"`
		} `json:"root_ca"`
		Issuers []struct {
			CardIssuer string `json:"card_issuer"`
			Platform   string `json:"platform"`
			Public     string `json:"public_hex"`
		} `json:"issuers"`
	}
	if err := code.Decode(raw, &file); err != nil {
		return nil, err
	}
	t := new(code.Trust)
	for i, r := range file.RootCA {
		key, err := point(r.Public)
		if err != nil {
			return nil, fmt.Errorf("root_ca[%d].public_uncompressed_hex: %w", i, err)
		}
		t.AddForeign(RootKey(r.Index), key)
	}
	for i, is := range file.Issuers {
		card, err := number(is.CardIssuer)
		if err != nil {
			return nil, fmt.Errorf("issuers[%d].card_issuer: %w", i, err)
		}
		platform, err := number(is.Platform)
		if err != nil {
			return nil, fmt.Errorf("issuers[%d].platform: %w", i, err)
		}
		key, err := point(is.Public)
		if err != nil {
			return nil, fmt.Errorf("issuers[%d].public_hex: %w", i, err)
		}
		t.AddForeign(IssuerKey(card, platform), key)
	}
	return t, nil
}

func point(text string) ([]byte, error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return nil, err
	}
	_, err = sm2.ParseKey(raw)
	return raw, err
}

var _ code.Scheme = (*Scheme)(nil)

// Scheme is one city's reading of the code. New makes it; it does not change.
type Scheme struct {
	issuer              citygate.Issuer
	signatureFirst      bool
	userID, certificate string
	epoch               int64 // unix seconds
	zone                *time.Location
	admit               []admission
}
