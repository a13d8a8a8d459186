package motsm2

import (
	"encoding/binary"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// ID names the scheme.
const ID code.SchemeID = "mot-sm2"

const (
	headSize   = 3 // fields 1 and 2
	certSize   = 117
	fixedSize  = 16 + 10 + 4 + 4 + 1 + 3 + 33 + 4 + 2 // fields 4 to 12
	sigSize    = 1 + sm2.SignatureSize
	customMax  = 32
	bareSize   = headSize + fixedSize + 1 + sigSize + 4 + sigSize // without certificate and custom field: 215
	versionMin = 0x80

	certSigned = 6  // where the part begins that the root signs
	certKey    = 20 // where the issuer's key begins
	certSig    = 53
)

// A layout says where the fields of one code begin.
type layout struct {
	cert       int // 0 = there is none
	account    int // field 4
	end        int // behind field 12
	custom     int // field 13
	customSize int
	isig       int // the prefix byte of field 15
	made       int // field 16; the prefix byte of field 17 is 4 behind
}

func (l *layout) userAccount() int { return l.account + 16 }
func (l *layout) cardIssuer() int  { return l.account + 26 }
func (l *layout) platform() int    { return l.account + 30 }
func (l *layout) accountType() int { return l.account + 34 }
func (l *layout) highest() int     { return l.account + 35 }
func (l *layout) userKey() int     { return l.account + 38 }
func (l *layout) ends() int        { return l.account + 71 }
func (l *layout) validity() int    { return l.account + 75 }
func (l *layout) usig() int        { return l.made + 4 }

// measure finds the fields of raw, or ok is false.
func (s *Scheme) measure(raw []byte) (l layout, ok bool) {
	if len(raw) < bareSize || raw[0] < versionMin || int(binary.BigEndian.Uint16(raw[1:])) != len(raw)-headSize {
		return l, false
	}
	l.account = headSize
	custom := len(raw) - bareSize
	withCert := custom >= certSize && s.certificate != CertificateAbsent
	if withCert {
		l.cert, l.account, custom = headSize, headSize+certSize, custom-certSize
	} else if s.certificate == CertificateRequired {
		return l, false
	}
	if custom > customMax {
		return l, false
	}
	l.end, l.customSize = l.account+fixedSize, custom
	l.custom, l.isig = l.end, l.end+1+custom
	if s.signatureFirst {
		l.isig, l.custom = l.end, l.end+sigSize
	}
	l.made = l.end + sigSize + 1 + custom
	return l, int(raw[l.custom]) == custom
}

// ID gives "mot-sm2".
func (*Scheme) ID() code.SchemeID { return ID }

// Sniff is Sure of bytes whose length is the one they say, which for no other
// scheme that begins above 7F can be.
func (s *Scheme) Sniff(raw []byte) code.Match {
	if _, ok := s.measure(raw); ok {
		return code.Sure
	}
	return code.No
}

// Parse reads a code. c's slices alias raw. On error c is zero.
func (s *Scheme) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{}
	l, ok := s.measure(raw)
	if !ok || !sm2.Compressed(raw[l.userKey():l.ends()]) {
		return code.ErrMalformed
	}
	if s.userID == UserIDByVersion && raw[0] > versionMin+1 {
		return code.ErrUnsupported
	}
	certEnds := int64(0)
	if l.cert != 0 {
		var err error
		if certEnds, err = s.parseCert(raw[l.cert : l.cert+certSize]); err != nil {
			return err
		}
	}
	made := s.time(raw[l.made:])
	*c = code.Code{
		Scheme: ID, Raw: raw, Rider: citygate.Rider{Issuer: s.issuer},
		IssuedAt: made, GeneratedAt: made, ExpiresAt: s.time(raw[l.ends():]), CertExpiresAt: certEnds,
		Window:   int64(binary.BigEndian.Uint16(raw[l.validity():])),
		CapMinor: int64(raw[l.highest()])<<16 | int64(binary.BigEndian.Uint16(raw[l.highest()+1:])),
		Product:  uint16(raw[l.accountType()]), Party: 1,
		Credential: raw[:l.made:l.made], DeviceKey: raw[l.userKey():l.ends()],
	}
	card := raw[l.userAccount():l.platform()] // fields 5 and 6: the number and whose card it is
	c.Account = code.Digest(ID, "account", card)
	c.Once = code.Digest(ID, "use", card, c.DeviceKey, raw[l.made:l.usig()])
	return nil
}

// time reads four bytes as unix seconds.
func (s *Scheme) time(raw []byte) int64 { return s.epoch + int64(binary.BigEndian.Uint32(raw)) }

// parseCert checks the form of a certificate and gives when it ends.
func (s *Scheme) parseCert(cert []byte) (ends int64, err error) {
	signed := cert[certSigned:]
	switch {
	case cert[0] != 0x24 || string(cert[1:5]) != "\x01\x01\x00\x00" || signed[0] != 0x12:
		return 0, code.ErrMalformed
	case signed[10] != 0x04: // another signature algorithm
		return 0, code.ErrUnsupported
	case signed[11] != 0x04 || signed[12] != 0 || signed[13] != sm2.KeySize || !sm2.Compressed(cert[certKey:certSig]):
		return 0, code.ErrMalformed
	}
	month, ok1 := bcd(signed[5])
	year, ok2 := bcd(signed[6])
	if !ok1 || !ok2 || month < 1 || month > 12 {
		return 0, code.ErrMalformed
	}
	return time.Date(2000+year, time.Month(month+1), 1, 0, 0, 0, 0, s.zone).Unix(), nil
}

// bcd reads two decimal digits.
func bcd(b byte) (n int, ok bool) {
	return int(b>>4)*10 + int(b&15), b>>4 < 10 && b&15 < 10
}
