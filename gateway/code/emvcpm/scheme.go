package emvcpm

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// ID names the scheme.
const ID code.SchemeID = "emv-cpm"

// MaxBytes bounds the decoded payload.
const MaxBytes = 512

// Params are a tenant's parameters.
type Params struct {
	code.Common
	// WindowSeconds is how long a code counts as one display, from the tap on:
	// wallets draw another one every minute. Default 60.
	WindowSeconds int64 `json:"window_s,omitempty"`
}

const (
	defaultWindow = 60
	maxWindow     = 3600
)

// Scheme is the EMV consumer-presented scheme of one tenant. [New] makes it; the
// zero Scheme has the default parameters.
type Scheme struct{ params Params }

var _ code.TextScheme = Scheme{}

// Plugin makes the scheme. It has no keys: its trust object is {}.
var Plugin = code.Plugin{ID: ID, New: newScheme, Trust: readTrust, Samples: samples}

func newScheme(params []byte) (code.Scheme, error) {
	var p Params
	if err := code.Decode(params, &p); err != nil {
		return nil, err
	}
	return New(p)
}

// New makes a scheme. Its error names the parameter that is out of bounds.
func New(p Params) (Scheme, error) {
	if err := p.Check(); err != nil {
		return Scheme{}, err
	}
	if p.WindowSeconds < 0 || p.WindowSeconds > maxWindow {
		return Scheme{}, fmt.Errorf("window_s: want 1 to %d", maxWindow)
	}
	return Scheme{p}, nil
}

func readTrust(raw []byte) (code.KeySource, error) {
	var none struct{}
	return new(code.Trust), code.Decode(raw, &none)
}

// formatIndicator is the element that a payload begins with: 85, "CPV01".
var formatIndicator = []byte("\x85\x05CPV01")

// textPrefix is what the format indicator fixes of the base64 text: nine
// characters and part of the tenth.
const textPrefix = "hQVDUFYwM"

// ID gives "emv-cpm".
func (Scheme) ID() code.SchemeID { return ID }

// Sniff is Sure of a payload by its format indicator, and of a merchant's code,
// which no scheme takes and whose refusal is to say what it is.
func (Scheme) Sniff(raw []byte) code.Match {
	if bytes.HasPrefix(raw, formatIndicator) || hasMerchantPrefix(raw) {
		return code.Sure
	}
	return code.No
}

func hasMerchantPrefix(raw []byte) bool {
	return len(raw) >= len(merchantPrefix) && string(raw[:len(merchantPrefix)]) == merchantPrefix
}

// canonical is base64 in its one form; line breaks, which it would skip, are
// refused apart.
var canonical = base64.StdEncoding.Strict()

// AppendText decodes the base64 text of the QR symbol.
func (Scheme) AppendText(dst, scanned []byte) (raw []byte, ok bool, err error) {
	if len(scanned) < len(textPrefix) || string(scanned[:len(textPrefix)]) != textPrefix {
		return dst, false, nil
	}
	if len(scanned) > base64.StdEncoding.EncodedLen(MaxBytes) || bytes.ContainsAny(scanned, "\r\n") {
		return dst, true, code.ErrMalformed
	}
	raw, err = canonical.AppendDecode(dst, scanned)
	if err != nil {
		return dst, true, code.ErrMalformed
	}
	return raw, true, nil
}

// Parse reads a payload. On error c is zero; [ErrMerchantCode] is an
// unsupported code with something to tell the rider.
func (s Scheme) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{}
	if hasMerchantPrefix(raw) {
		return parseMerchant(raw)
	}
	if len(raw) > MaxBytes || !bytes.HasPrefix(raw, formatIndicator) || !wellFormed(raw, 0) {
		return code.ErrMalformed
	}
	var buf [19]byte
	payer, err := payer(buf[:0], raw[len(formatIndicator):])
	if err != nil {
		return err
	}
	var promise [MaxBytes]byte // no element grows
	c.Scheme, c.Raw = ID, raw
	c.Rider = citygate.Rider{Issuer: s.params.Issuer}
	c.Party = 1
	c.Timeless = true
	if c.Window = s.params.WindowSeconds; c.Window == 0 {
		c.Window = defaultWindow
	}
	c.CapMinor = s.params.Cap()
	c.Account = code.Digest(ID, "account", payer)
	c.Once = code.Digest(ID, "use", appendPromise(promise[:0], raw))
	return nil
}

// payer goes through the templates and gives the account number of the first
// application, which is the one the wallet prefers. Every application must name
// an account, a transaction counter and a cryptogram, itself or in the common
// data: what lacks one of them is no promise to pay.
func payer(dst, templates []byte) ([]byte, error) {
	common, _ := find(templates, tagCommon)
	var first []byte
	for rest := templates; len(rest) > 0; {
		e, after, _ := next(rest)
		rest = after
		switch e.tag {
		case tagCommon:
			continue
		case tagApplication:
		default:
			return nil, code.ErrUnsupported
		}
		if !holds(e.value, tagAID) {
			return nil, code.ErrMalformed
		}
		var buf [19]byte
		number, err := number(buf[:0], e.value, common)
		if err != nil {
			return nil, err
		}
		for _, tag := range [...]int{tagATC, tagCryptogram} {
			if _, ok := element(e.value, common, tag); !ok {
				return nil, code.ErrUnsupported
			}
		}
		if first == nil {
			first = append(dst, number...)
		}
	}
	if first == nil {
		return nil, code.ErrMalformed // no application
	}
	return first, nil
}

// element looks in an application, then in the common data.
func element(application, common []byte, tag int) ([]byte, bool) {
	if v, ok := findIn(application, tagSpecific, tag); ok {
		return v, true
	}
	return findIn(common, tagTransparent, tag)
}

// number gives the account number of an application. Where both forms of it
// stand they must agree.
func number(dst, application, common []byte) ([]byte, error) {
	var buf [19]byte
	pan, hasPAN := element(application, common, tagPAN)
	track, hasTrack := element(application, common, tagTrack2)
	var fromPAN, fromTrack []byte
	ok := true
	if hasPAN {
		fromPAN, ok = account(dst, pan)
	}
	if hasTrack && ok {
		fromTrack, ok = track2(buf[:0], track)
	}
	switch {
	case !ok, hasPAN && hasTrack && !bytes.Equal(fromPAN, fromTrack):
		return nil, code.ErrMalformed
	case hasPAN:
		return fromPAN, nil
	case hasTrack:
		return append(dst, fromTrack...), nil
	}
	return nil, code.ErrUnsupported
}

// Verify defers every code: its cryptogram is symmetric, and only the issuer
// has the key.
func (Scheme) Verify(*code.Code, code.KeySource, code.CredentialCache) code.Verdict {
	return code.Deferred(0)
}
