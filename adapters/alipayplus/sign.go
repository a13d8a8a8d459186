package alipayplus

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// errUnproven says that a message carries no signature that holds under a key of
// the contract. Whatever it says is not believed.
var errUnproven = errors.New("alipayplus: not signed by the platform")

const (
	headerClient       = "Client-Id"
	headerRequestTime  = "Request-Time"
	headerResponseTime = "Response-Time"
	headerSignature    = "Signature"

	timeForm = "2006-01-02T15:04:05.000Z07:00"
)

// content is what a signature covers. The time is opaque: it is signed as sent.
func content(method, path, client, at string, body []byte) []byte {
	return append([]byte(method+" "+path+"\n"+client+"."+at+"."), body...)
}

func sign(signer crypto.Signer, version string, what []byte) (string, error) {
	sum := sha256.Sum256(what)
	sig, err := signer.Sign(nil, sum[:], crypto.SHA256) // PKCS #1 v1.5 takes no randomness
	if err != nil {
		return "", fmt.Errorf("alipayplus: sign: %w", err)
	}
	return "algorithm=RSA256,keyVersion=" + version + ",signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(sig)), nil
}

// proven checks a Signature header. It is printed with and without spaces behind
// its commas, so both are taken; a part twice, which two readers could read in two
// ways, is not.
func (p *Provider) proven(header string, what []byte) error {
	parts := map[string]string{}
	for part := range strings.SplitSeq(header, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := parts[name]; twice || !ok {
			return fmt.Errorf("%w: the header is malformed", errUnproven)
		}
		parts[name] = value
	}
	key := p.config.PlatformKeys[parts["keyVersion"]]
	if key == nil || parts["algorithm"] != "RSA256" {
		return fmt.Errorf("%w: by a key or a method that the contract does not name", errUnproven)
	}
	text, err := url.QueryUnescape(parts["signature"])
	if err != nil {
		return errUnproven
	}
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return errUnproven
	}
	sum := sha256.Sum256(what)
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) != nil {
		return errUnproven
	}
	return nil
}

// call sends one request and gives the answer's body once it is proven.
func (p *Provider) call(ctx context.Context, op string, body []byte) ([]byte, error) {
	path := p.root + op
	at := p.config.Clock().UTC().Format(timeForm)
	signature, err := sign(p.config.Signer, p.config.KeyVersion, content(http.MethodPost, path, p.config.ClientID, at, body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrNotPerformed, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.config.Base+path, strings.NewReader(string(body)))
	if err != nil {
		return nil, fmt.Errorf("%w: alipayplus: the request cannot be built", driver.ErrNotPerformed)
	}
	req.Header.Set("Content-Type", "application/json; charset=UTF-8")
	req.Header.Set(headerClient, p.config.ClientID)
	req.Header.Set(headerRequestTime, at)
	req.Header.Set(headerSignature, signature)
	got, err := wire.Do(p.config.HTTP, req, wire.CallLimit)
	if err != nil {
		return nil, fmt.Errorf("alipayplus: %w", err)
	}
	if got.Status != http.StatusOK {
		return nil, fmt.Errorf("alipayplus: HTTP status %d", got.Status)
	}
	if client := got.Header.Get(headerClient); client != p.config.ClientID {
		return nil, fmt.Errorf("%w: for another client", errUnproven)
	}
	said := content(http.MethodPost, path, p.config.ClientID, got.Header.Get(headerResponseTime), got.Body)
	if err := p.proven(got.Header.Get(headerSignature), said); err != nil {
		return nil, err
	}
	return got.Body, nil
}

// ask sends a request that is made here and reads the answer into out.
func (p *Provider) ask(ctx context.Context, op string, request, out any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("%w: alipayplus: the request cannot be written", driver.ErrNotPerformed)
	}
	raw, err := p.call(ctx, op, body)
	if err != nil {
		return err
	}
	return read(raw, out)
}

func read(raw []byte, out any) error {
	if json.Unmarshal(raw, out) != nil {
		return errors.New("alipayplus: the answer is not the JSON it is to be")
	}
	return nil
}
