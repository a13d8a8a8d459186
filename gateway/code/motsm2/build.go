package motsm2

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// Sign gives an SM2 signature r||s over msg by the user uid; nil is the default
// user id.
type Sign func(uid, msg []byte) ([]byte, error)

// signPrefix is written before a signature. Its meaning is not public.
const signPrefix = 0x15

// A Certificate is what a root CA says of an issuer.
type Certificate struct {
	Version   byte // of the codes it will stand on: 80 or 81
	RootIndex uint8
	IssuerID  uint32
	Month     int // 1 to 12: the last one it is good in
	Year      int // 2000 to 2099
	Serial    uint32
	Key       []byte // compressed, 33 bytes
}

// BuildCertificate gives the 117 bytes of a certificate, signed by the root.
func (s *Scheme) BuildCertificate(f Certificate, root Sign) ([]byte, error) {
	switch {
	case f.Month < 1 || f.Month > 12 || f.Year < 2000 || f.Year > 2099:
		return nil, fmt.Errorf("certificate: it cannot end in %d-%d", f.Year, f.Month)
	case f.Serial >= 1<<24:
		return nil, errors.New("certificate: a serial number of more than 3 bytes")
	case !sm2.Compressed(f.Key):
		return nil, sm2.ErrKey
	}
	out := make([]byte, 0, certSize)
	out = append(out, 0x24, 1, 1, 0, 0, f.RootIndex, 0x12)
	out = binary.BigEndian.AppendUint32(out, f.IssuerID)
	out = append(out, toBCD(f.Month), toBCD(f.Year%100), byte(f.Serial>>16), byte(f.Serial>>8), byte(f.Serial), 4, 4, 0, sm2.KeySize)
	out = append(out, f.Key...)
	var uid []byte
	if s.context(f.Version) {
		uid = out[1:certSigned]
	}
	return appendSigned(out, root, uid, out[certSigned:])
}

func toBCD(n int) byte { return byte(n/10<<4 | n%10) }

func appendSigned(out []byte, sign Sign, uid, msg []byte) ([]byte, error) {
	sig, err := sign(uid, msg)
	if err != nil {
		return nil, err
	}
	if len(sig) != sm2.SignatureSize {
		return nil, fmt.Errorf("a signature of %d bytes, want %d", len(sig), sm2.SignatureSize)
	}
	return append(out, sig...), nil
}

// An Authorisation is what an issuer says of a rider, fields 1 to 14.
type Authorisation struct {
	Version        byte
	Certificate    []byte // nil for codes of two levels
	PaymentAccount [16]byte
	UserAccount    [10]byte
	CardIssuer     uint32
	Platform       uint32
	AccountType    uint8
	CapMinor       int64  // at most 2^24-1
	UserKey        []byte // compressed, 33 bytes
	ExpiresAt      int64  // unix seconds
	Validity       uint16 // seconds
	Custom         []byte // at most 32 bytes
}

// BuildAuthorisation gives fields 1 to 15, signed by the issuer: what a phone
// keeps and passes to [Scheme.Display].
func (s *Scheme) BuildAuthorisation(f Authorisation, issuer Sign) ([]byte, error) {
	ends := f.ExpiresAt - s.epoch
	switch {
	case f.Version < versionMin:
		return nil, fmt.Errorf("authorisation: version %02x, want 80 to ff", f.Version)
	case len(f.Certificate) != 0 && len(f.Certificate) != certSize:
		return nil, fmt.Errorf("authorisation: a certificate of %d bytes, want %d", len(f.Certificate), certSize)
	case (f.Certificate == nil) != (s.certificate == CertificateAbsent) && s.certificate != CertificateEither:
		return nil, fmt.Errorf("authorisation: a certificate is %s", s.certificate)
	case f.CapMinor < 0 || f.CapMinor >= 1<<24:
		return nil, fmt.Errorf("authorisation: a cap of %d does not fit 3 bytes", f.CapMinor)
	case !sm2.Compressed(f.UserKey):
		return nil, sm2.ErrKey
	case ends < 0 || ends >= 1<<32:
		return nil, fmt.Errorf("authorisation: end %d does not fit 4 bytes", f.ExpiresAt)
	case len(f.Custom) > customMax:
		return nil, fmt.Errorf("authorisation: a custom field of %d bytes, at most %d", len(f.Custom), customMax)
	}
	body := append([]byte(nil), f.Certificate...)
	account := len(body)
	body = append(append(body, f.PaymentAccount[:]...), f.UserAccount[:]...)
	body = binary.BigEndian.AppendUint32(body, f.CardIssuer)
	body = binary.BigEndian.AppendUint32(body, f.Platform)
	body = append(body, f.AccountType, byte(f.CapMinor>>16), byte(f.CapMinor>>8), byte(f.CapMinor))
	body = append(body, f.UserKey...)
	body = binary.BigEndian.AppendUint32(body, uint32(ends))
	body = binary.BigEndian.AppendUint16(body, f.Validity)
	custom := append([]byte{byte(len(f.Custom))}, f.Custom...)
	signed := append(append([]byte(nil), body...), custom...)
	var uid []byte
	if s.context(f.Version) {
		uid = signed[account+26 : account+34] // card issuer and platform
	}
	sig, err := appendSigned([]byte{signPrefix}, issuer, uid, signed)
	if err != nil {
		return nil, fmt.Errorf("authorisation: %w", err)
	}
	first, second := custom, sig
	if s.signatureFirst {
		first, second = sig, custom
	}
	body = append(append(body, first...), second...)
	out := binary.BigEndian.AppendUint16([]byte{f.Version}, uint16(len(body)+4+sigSize))
	return append(out, body...), nil
}

// Display makes a code at an instant, in unix seconds, as the phone does.
func (s *Scheme) Display(authorisation []byte, at int64, user Sign) ([]byte, error) {
	made := at - s.epoch
	if made < 0 || made >= 1<<32 {
		return nil, fmt.Errorf("display: time %d does not fit 4 bytes", at)
	}
	out := binary.BigEndian.AppendUint32(append([]byte(nil), authorisation...), uint32(made))
	probe := append(out[:len(out):len(out)], make([]byte, sigSize)...)
	l, ok := s.measure(probe)
	if !ok {
		return nil, errors.New("display: this authorisation was not made for this scheme's parameters")
	}
	var uid []byte
	if s.context(out[0]) {
		uid = out[l.userAccount():l.cardIssuer()]
	}
	signed := out
	out, err := appendSigned(append(out[:len(out):len(out)], signPrefix), user, uid, signed)
	if err != nil {
		return nil, fmt.Errorf("display: %w", err)
	}
	return out, nil
}
