package wechatpay

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// errUnproven says that an answer or a notification carries no signature that
// holds. Whatever it says is not believed.
var errUnproven = errors.New("wechatpay: not signed by the platform")

// errProbe says that the platform sent a signature that is meant to fail: it
// looks whether anybody checks. It is errUnproven, and nothing else is done
// about it: no alarm, no key is looked up, no key list is fetched.
var errProbe = fmt.Errorf("%w: %w", errUnproven, driver.ErrProbe)

const (
	scheme      = "WECHATPAY2-SHA256-RSA2048"
	probePrefix = "WECHATPAY/SIGNTEST/"
	clockSkew   = 5 * time.Minute
	nonceSize   = 16
)

// message is what a request's signature covers. target is path and query as
// they are sent; body may be empty, and its line is there all the same.
func message(method, target string, timestamp int64, nonce string, body []byte) []byte {
	return fmt.Appendf(nil, "%s\n%s\n%d\n%s\n%s\n", method, target, timestamp, nonce, body)
}

// covered is what an answer's or a notification's signature covers.
func covered(timestamp, nonce string, body []byte) []byte {
	return fmt.Appendf(nil, "%s\n%s\n%s\n", timestamp, nonce, body)
}

// authorization signs a request and gives its Authorization header.
func (c *client) authorization(method, target string, body []byte) (string, error) {
	nonce, err := c.nonce()
	if err != nil {
		return "", err
	}
	at := c.config.Clock().Unix()
	digest := sha256.Sum256(message(method, target, at, nonce, body))
	sig, err := c.config.Signer.Sign(nil, digest[:], crypto.SHA256) // PKCS #1 v1.5 takes no randomness
	if err != nil {
		return "", fmt.Errorf("wechatpay: sign: %w", err)
	}
	return fmt.Sprintf(`%s mchid="%s",nonce_str="%s",timestamp="%d",serial_no="%s",signature="%s"`,
		scheme, c.config.MchID, nonce, at, c.config.Serial, base64.StdEncoding.EncodeToString(sig)), nil
}

// nonce gives 32 characters of 0-9 A-F.
func (c *client) nonce() (string, error) {
	var raw [nonceSize]byte
	if _, err := io.ReadFull(c.config.Random, raw[:]); err != nil {
		return "", fmt.Errorf("wechatpay: no randomness for a nonce: %w", err)
	}
	return fmt.Sprintf("%X", raw), nil
}

// A stamp is the signature of an answer or a notification, as its headers say it.
type stamp struct {
	timestamp, nonce, signature, serial string
}

// stampOf reads the headers. Each must be there exactly once: of two, another
// reader might take the other one.
func stampOf(h http.Header) (stamp, error) {
	one := func(name string) string {
		if v := h.Values(name); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	s := stamp{one("Wechatpay-Timestamp"), one("Wechatpay-Nonce"), one("Wechatpay-Signature"), one("Wechatpay-Serial")}
	switch {
	case s.timestamp == "" || s.nonce == "" || s.signature == "" || s.serial == "":
		return s, errUnproven
	case strings.HasPrefix(s.signature, probePrefix):
		return s, errProbe
	case strings.ContainsAny(s.timestamp+s.nonce, "\r\n"):
		return s, errUnproven
	}
	return s, nil
}

// fresh checks the time of a signature: an old answer is no answer to this call.
func (s stamp) fresh(now time.Time) error {
	seconds, err := strconv.ParseInt(s.timestamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != s.timestamp {
		return errUnproven
	}
	if now.Sub(time.Unix(seconds, 0)).Abs() > clockSkew {
		return fmt.Errorf("%w: its time is more than %s from ours", errUnproven, clockSkew)
	}
	return nil
}

// by checks the signature under one key.
func (s stamp) by(key *rsa.PublicKey, body []byte) error {
	sig, err := base64.StdEncoding.Strict().DecodeString(s.signature)
	if err != nil || len(sig) == 0 {
		return errUnproven
	}
	digest := sha256.Sum256(covered(s.timestamp, s.nonce, body))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig) != nil {
		return errUnproven
	}
	return nil
}
