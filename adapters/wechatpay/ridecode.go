package wechatpay

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// A RideCode is what an operator says in ride codes of the Ministry of Transport's
// layout that the platform shows for it: fields 1 to 15, of which the operator's
// SM2 key signs 3 to 14. How the platform seals its call is not published; here it
// is AES-256-CBC under Key.
type RideCode struct {
	Key         citygate.Secret // 32 bytes
	Scheme      *motsm2.Scheme  // the city's parameters
	Version     byte            // 0x80 or as the city says
	Certificate []byte          // of the operator's key, by the city's root; nil for codes of two levels
	CardIssuer  uint32
	Platform    uint32
	AccountType uint8
	CapMinor    int64         // highest fare
	Lifetime    time.Duration // of an authorisation
	Validity    time.Duration // of a code that a phone shows
}

const (
	userKeyHex     = 130 // an uncompressed point
	cardDigitsMost = 20  // of field 5, two in a byte
	errcodeRefused = 40001
)

func (r *RideCode) check() error {
	switch {
	case len(r.Key.Reveal()) != apiKeySize:
		return ErrConfig.Explain("ride_code: want a key of 32 bytes")
	case r.Scheme == nil:
		return ErrConfig.Explain("ride_code: the city's parameters are missing")
	case r.Lifetime <= 0 || r.Validity < time.Second || r.Validity > 1<<16*time.Second-1:
		return ErrConfig.Explain("ride_code: want a lifetime and a validity of 1 to 65535 s")
	}
	return nil
}

type codeRequest struct {
	AppID         string `json:"appid"`
	MchID         string `json:"mch_id"`
	NonceStr      string `json:"nonce_str"`
	EncryptedData string `json:"encrypted_data"`
	IV            string `json:"iv"`
	Sign          string `json:"sign"`
}

type codeHolder struct {
	OpenID  string `json:"openid"`
	CardID  string `json:"card_id"`
	UserKey string `json:"user_public_key"`
}

type codeAnswer struct {
	ErrCode       int    `json:"errcode"`
	ErrMsg        string `json:"errmsg,omitempty"`
	NonceStr      string `json:"nonce_str,omitempty"`
	EncryptedData string `json:"encrypted_data,omitempty"`
	IV            string `json:"iv,omitempty"`
}

type codeData struct {
	Base64 string `json:"base64_svr_data"`
}

// IssueCode implements [driver.CodeIssuer]. The request is proven by the signature
// over its first five fields before anything in it is opened, so that its padding
// tells nobody anything. card_id is the account that the operator gave the rider
// at registration, up to 20 digits; it becomes field 5, and the rider's open id
// field 4, digested.
func (p *ride) IssueCode(_ context.Context, n driver.Notification, sign crypto.Signer) (driver.IssuedCode, driver.Ack, error) {
	holder, nonce, err := p.codeHolder(n.Body)
	if err != nil {
		return driver.IssuedCode{}, refuseCode(), err
	}
	issued, err := p.issue(holder, sign)
	if err != nil {
		return driver.IssuedCode{}, refuseCode(), err
	}
	data, err := marshal(codeData{base64.StdEncoding.EncodeToString(issued.Code)})
	if err != nil {
		return driver.IssuedCode{}, refuseCode(), err
	}
	var iv [aes.BlockSize]byte
	if _, err := io.ReadFull(p.config.Random, iv[:]); err != nil {
		return driver.IssuedCode{}, refuseCode(), fmt.Errorf("wechatpay: no randomness: %w", err)
	}
	box, err := sealCBC(p.config.RideCode.Key, iv[:], data)
	if err != nil {
		return driver.IssuedCode{}, refuseCode(), err
	}
	body, err := marshal(codeAnswer{NonceStr: nonce, EncryptedData: base64.StdEncoding.EncodeToString(box), IV: base64.StdEncoding.EncodeToString(iv[:])})
	if err != nil {
		return driver.IssuedCode{}, refuseCode(), err
	}
	return issued, driver.Ack{Status: http.StatusOK, ContentType: "application/json", Body: body}, nil
}

func refuseCode() driver.Ack {
	body, err := marshal(codeAnswer{ErrCode: errcodeRefused, ErrMsg: "refused"})
	if err != nil {
		body = nil
	}
	return driver.Ack{Status: http.StatusUnauthorized, ContentType: "application/json", Body: body}
}

// codeHolder proves and opens a request.
func (p *ride) codeHolder(body []byte) (codeHolder, string, error) {
	var in codeRequest
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil || d.More() {
		return codeHolder{}, "", errors.New("wechatpay: a code is asked for in words that are not understood")
	}
	said := document{
		"appid": in.AppID, "mch_id": in.MchID, "nonce_str": in.NonceStr, "encrypted_data": in.EncryptedData, "iv": in.IV, signField: in.Sign,
	}
	if err := said.proven(p.config.APIv2Key); err != nil {
		return codeHolder{}, "", err
	}
	if in.AppID != p.config.AppID || in.MchID != p.config.MchID || in.NonceStr == "" {
		return codeHolder{}, "", errors.New("wechatpay: a code is asked for by another merchant")
	}
	iv, err1 := base64.StdEncoding.DecodeString(in.IV)
	box, err2 := base64.StdEncoding.DecodeString(in.EncryptedData)
	text, err3 := openCBC(p.config.RideCode.Key, iv, box)
	if err := errors.Join(err1, err2, err3); err != nil {
		return codeHolder{}, "", errors.New("wechatpay: a code is asked for, and by whom cannot be opened")
	}
	var holder codeHolder
	if err := json.Unmarshal(text, &holder); err != nil || holder.OpenID == "" || !digits(holder.CardID, cardDigitsMost) || len(holder.UserKey) != userKeyHex {
		return codeHolder{}, "", errors.New("wechatpay: a code is asked for nobody, or without an account or a key")
	}
	return holder, in.NonceStr, nil
}

// issue makes fields 1 to 15.
func (p *ride) issue(holder codeHolder, sign crypto.Signer) (driver.IssuedCode, error) {
	r := p.config.RideCode
	point, err := hex.DecodeString(holder.UserKey)
	if err != nil {
		return driver.IssuedCode{}, sm2.ErrKey
	}
	key, err := sm2.ParseKey(point)
	if err != nil {
		return driver.IssuedCode{}, err
	}
	now := p.config.Clock().UTC()
	ends := now.Add(r.Lifetime).Truncate(time.Second)
	f := motsm2.Authorisation{
		Version: r.Version, Certificate: r.Certificate, UserAccount: packed(holder.CardID), CardIssuer: r.CardIssuer, Platform: r.Platform,
		AccountType: r.AccountType, CapMinor: r.CapMinor, UserKey: sm2.Compress(key), ExpiresAt: ends.Unix(), Validity: uint16(r.Validity / time.Second),
	}
	account := sha256.Sum256([]byte(p.config.AppID + "\x00" + holder.OpenID))
	copy(f.PaymentAccount[:], account[:])
	signed, err := r.Scheme.BuildAuthorisation(f, func(uid, msg []byte) ([]byte, error) { return sm2.SignWith(sign, p.config.Random, uid, msg) })
	if err != nil {
		return driver.IssuedCode{}, fmt.Errorf("wechatpay: ride code: %w", err)
	}
	return driver.IssuedCode{RiderRef: holder.OpenID, CardRef: holder.CardID, Code: signed, NotBefore: now, NotAfter: ends}, nil
}

// packed writes digits two in a byte, zeros in front.
func packed(s string) (out [cardDigitsMost / 2]byte) {
	for i := range len(s) {
		place := cardDigitsMost - len(s) + i
		out[place/2] |= (s[i] - '0') << (4 * (1 - place%2))
	}
	return out
}

// openCBC decrypts AES-CBC and takes the padding of PKCS #7 off.
func openCBC(key citygate.Secret, iv, box []byte) ([]byte, error) {
	block, err := aes.NewCipher(key.Reveal())
	if err != nil || len(iv) != aes.BlockSize || len(box) == 0 || len(box)%aes.BlockSize != 0 {
		return nil, errors.New("wechatpay: a sealed text of another length")
	}
	text := make([]byte, len(box))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(text, box)
	pad := int(text[len(text)-1])
	if pad < 1 || pad > aes.BlockSize || !bytes.Equal(text[len(text)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errors.New("wechatpay: a sealed text that the key does not open")
	}
	return text[:len(text)-pad], nil
}

// sealCBC pads as PKCS #7 says and encrypts.
func sealCBC(key citygate.Secret, iv, text []byte) ([]byte, error) {
	block, err := aes.NewCipher(key.Reveal())
	if err != nil {
		return nil, fmt.Errorf("wechatpay: %w", err)
	}
	pad := aes.BlockSize - len(text)%aes.BlockSize
	box := append(bytes.Clone(text), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(box, box)
	return box, nil
}
