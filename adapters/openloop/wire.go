package openloop

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// errUnproven says that a message carries no signature that holds. Whatever it
// says is not believed.
var errUnproven = errors.New("openloop: not signed by the processor")

const (
	headerSignature = "X-Signature"
	clockSkew       = 5 * time.Minute
)

// seal gives the signature of parts, one on each line.
func seal(key citygate.Secret, parts ...string) string {
	mac := hmac.New(sha256.New, key.Reveal())
	_, _ = mac.Write([]byte(strings.Join(parts, "\n"))) // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// split takes t=<ms>,v1=<hex> apart.
func split(header string) (at, signature string, ok bool) {
	at, signature, ok = strings.Cut(header, ",")
	at, ok1 := strings.CutPrefix(at, "t=")
	signature, ok2 := strings.CutPrefix(signature, "v1=")
	return at, signature, ok && ok1 && ok2
}

// call sends one request and gives the proven answer.
func (p *Provider) call(ctx context.Context, method, path string, body []byte, limit int64) (status int, answer []byte, err error) {
	full := p.root + path
	host, err := url.Parse(p.config.Base)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: openloop: the request cannot be built", driver.ErrNotPerformed)
	}
	req, err := http.NewRequestWithContext(ctx, method, host.Scheme+"://"+host.Host+full, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: openloop: the request cannot be built", driver.ErrNotPerformed)
	}
	at := strconv.FormatInt(p.config.Clock().UnixMilli(), 10)
	own := seal(p.config.Key, method, full, at, string(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(headerSignature, "t="+at+",v1="+own)
	got, err := wire.Do(p.config.HTTP, req, limit)
	if err != nil {
		return 0, nil, fmt.Errorf("openloop: %w", err)
	}
	when, signature, ok := split(got.Header.Get(headerSignature))
	want := seal(p.config.Key, strconv.Itoa(got.Status), own, when, string(got.Body))
	if !ok || !hmac.Equal([]byte(want), []byte(signature)) {
		return 0, nil, errUnproven
	}
	return got.Status, got.Body, nil
}

// proven checks a notification: signed for the path that the processor was told,
// not long ago.
func (p *Provider) proven(n driver.Notification) error {
	at, signature, ok := split(textproto.MIMEHeader(n.Header).Get(headerSignature))
	ms, err := strconv.ParseInt(at, 10, 64)
	want := seal(p.config.Key, n.Method, p.notify, at, string(n.Body))
	if !ok || err != nil || !hmac.Equal([]byte(want), []byte(signature)) {
		return errUnproven
	}
	if age := p.config.Clock().Sub(time.UnixMilli(ms)); age > clockSkew || age < -clockSkew {
		return fmt.Errorf("%w: it is not of now", errUnproven)
	}
	return nil
}

func read(raw []byte, out any) error {
	if json.Unmarshal(raw, out) != nil {
		return errors.New("openloop: the answer is not the JSON it is to be")
	}
	return nil
}

// clip keeps text of the far side short.
func clip(s string) string { return s[:min(len(s), 64)] }

// cardNumber reports whether a text is a card's number: what must be a token, and
// never is sent, stored or shown as such.
func cardNumber(s string) bool {
	digits := strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, s)
	if len(digits) < 12 || len(digits) > 19 || strings.Trim(digits, "0123456789") != "" {
		return false
	}
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
