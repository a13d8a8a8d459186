package alipay

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// This file speaks the platform's REST face (v3): a method's name is a path, and the
// signature is in headers. It has trade, bills and tickets, and nothing of offline
// rides, so contracts are collected by v2, which has all; tools reach both.

const (
	restPrefix = "/v3/"
	restScheme = "ALIPAY-SHA256withRSA "
)

// restVerbs are the methods that have a path, by their verbs.
var restVerbs = map[string]string{
	methodPay: http.MethodPost, methodQuery: http.MethodPost, methodRefund: http.MethodPost, methodCancel: http.MethodPost, methodRefundQuery: http.MethodPost,
	methodBill:       http.MethodGet,
	methodTicketMake: http.MethodPost, methodTicketsQuery: http.MethodPost, methodTicketRefund: http.MethodPost,
	methodStations: http.MethodGet,
}

// exchangeREST sends one REST request and gives the believed answer's head, as v2 would
// put it, and its body. A refusal that is not signed is not believed either.
func (p *Provider) exchangeREST(ctx context.Context, method string, biz json.RawMessage) (reply, []byte, error) {
	req, err := p.requestREST(ctx, method, biz)
	if err != nil {
		return reply{}, nil, fmt.Errorf("%w: %w", driver.ErrNotPerformed, err)
	}
	got, err := wire.Do(p.config.HTTP, req, wire.CallLimit)
	if err != nil {
		return reply{}, nil, fmt.Errorf("alipay: %s: %w", method, err)
	}
	h := got.Header
	keys, err := p.keysFor(ctx, h.Get("Alipay-Sn"))
	if err != nil {
		return reply{}, nil, err
	}
	covered := h.Get("Alipay-Timestamp") + "\n" + h.Get("Alipay-Nonce") + "\n" + string(got.Body) + "\n"
	if err := proven(keys, []byte(covered), h.Get("Alipay-Signature")); err != nil {
		return reply{}, nil, fmt.Errorf("%w (HTTP status %d)", err, got.Status)
	}
	body := got.Body
	if p.cipher != nil && len(body) > 0 && body[0] != '{' {
		if body, err = decrypt(p.cipher, string(body)); err != nil {
			return reply{}, nil, err
		}
	}
	switch got.Status {
	case http.StatusOK:
		return reply{Code: codeOK}, body, nil
	case http.StatusAccepted:
		return reply{Code: codeWaiting}, body, nil
	}
	var said struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(body, &said) != nil || said.Code == "" || got.Status < 400 || got.Status >= 500 {
		return reply{}, nil, fmt.Errorf("alipay: %s: HTTP status %d %s", method, got.Status, clip(said.Code))
	}
	return reply{Code: "40004", SubCode: said.Code}, body, nil
}

// requestREST builds a signed request. What is signed is the header's own text, the
// verb, path and query, and the body, byte for byte.
func (p *Provider) requestREST(ctx context.Context, method string, biz json.RawMessage) (*http.Request, error) {
	target := *p.gateway
	target.Path, target.RawPath = restPath(method), ""
	verb := restVerbs[method]
	body := []byte(biz)
	if verb == http.MethodGet {
		query, err := queryOf(biz)
		if err != nil {
			return nil, err
		}
		target.RawQuery, body = query.Encode(), nil
	}
	sealed := p.cipher != nil && len(body) > 0 // a query is not encrypted, and nor is its answer
	if sealed {
		body = []byte(encrypt(p.cipher, body))
	}
	nonce := make([]byte, sha256.Size/2)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s %s", p.config.AppID, p.config.Clock().UnixNano(), target.RequestURI(), body))
	copy(nonce, sum[:]) // it is for the platform's log: what must not be repeated is named in the body
	auth := "app_id=" + p.config.AppID
	if p.chain.certified() {
		auth += ",app_cert_sn=" + p.chain.appSN
	}
	auth += fmt.Sprintf(",nonce=%x,timestamp=%s", nonce, strconv.FormatInt(p.config.Clock().UnixMilli(), 10))
	digest := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s\n", auth, verb, target.RequestURI(), body))
	sig, err := p.config.Signer.Sign(nil, digest[:], crypto.SHA256) // PKCS #1 v1.5 takes no randomness
	if err != nil {
		return nil, fmt.Errorf("alipay: sign: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, verb, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("alipay: the request cannot be built")
	}
	req.Header.Set("Authorization", restScheme+auth+",sign="+base64.StdEncoding.EncodeToString(sig))
	req.Header.Set("Alipay-Request-Id", fmt.Sprintf("%x", nonce))
	req.Header.Set("Accept", "application/json")
	if verb != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
	}
	if sealed {
		req.Header.Set("Content-Type", "text/plain")
		req.Header.Set("Alipay-Encrypt-Type", "AES")
	}
	if p.chain.certified() {
		req.Header.Set("Alipay-Root-Cert-Sn", p.chain.rootSN)
	}
	return req, nil
}

// restPath is the path of a method.
func restPath(method string) string {
	path := []byte(restPrefix + method)
	for i, c := range path {
		if c == '.' {
			path[i] = '/'
		}
	}
	return string(path)
}

func queryOf(biz json.RawMessage) (url.Values, error) {
	fields := map[string]string{}
	if len(biz) > 0 && json.Unmarshal(biz, &fields) != nil {
		return nil, errors.New("alipay: a query wants a JSON object of texts")
	}
	query := url.Values{}
	for name, value := range fields {
		query.Set(name, value)
	}
	return query, nil
}
