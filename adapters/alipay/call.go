package alipay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// A reply is the head that every answer of the platform has. It is only ever
// filled from a node whose signature held.
type reply struct {
	Code    string `json:"code"`
	Msg     string `json:"msg"`
	SubCode string `json:"sub_code"`
	SubMsg  string `json:"sub_msg"`

	node string
}

// String names the codes, for logs; messages of the platform may name riders.
func (r reply) String() string {
	if r.SubCode == "" {
		return "code " + clip(r.Code)
	}
	return "code " + clip(r.Code) + " " + clip(r.SubCode)
}

// call sends one request and gives the believed answer, its node filled into
// out. An error that is [driver.ErrNotPerformed] means that nothing was sent;
// every other error means that nobody can say.
func (p *Provider) call(ctx context.Context, method string, biz, out any) (reply, error) {
	r, raw, err := p.exchange(ctx, method, biz)
	if err != nil {
		return reply{}, err
	}
	if r.node != errorNode && out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			return reply{}, fmt.Errorf("alipay: %s: the answer's content is unreadable", method)
		}
	}
	return r, nil
}

// exchange sends one request and gives the believed answer's head, and its node
// as it was received.
func (p *Provider) exchange(ctx context.Context, method string, biz any) (reply, []byte, error) {
	req, err := p.request(ctx, method, biz)
	if err != nil {
		return reply{}, nil, fmt.Errorf("%w: %w", driver.ErrNotPerformed, err)
	}
	got, err := wire.Do(p.config.HTTP, req, wire.CallLimit)
	if err != nil {
		return reply{}, nil, fmt.Errorf("alipay: %s: %w", method, err)
	}
	if got.Status != http.StatusOK {
		return reply{}, nil, fmt.Errorf("alipay: %s: HTTP status %d", method, got.Status)
	}
	env, err := open(got.Body, method)
	if err != nil {
		return reply{}, nil, err
	}
	keys, err := p.keysFor(ctx, env.certSN)
	if err != nil {
		return reply{}, nil, err
	}
	if err := proven(keys, env.raw, env.sign); err != nil {
		return reply{}, nil, err
	}
	raw, err := p.content(env.raw)
	if err != nil {
		return reply{}, nil, err
	}
	var r reply
	if err := json.Unmarshal(raw, &r); err != nil {
		return reply{}, nil, fmt.Errorf("alipay: %s: the answer's head is unreadable", method)
	}
	if env.node == errorNode && r.Code == codeOK {
		return reply{}, nil, fmt.Errorf("alipay: %s: an error that says success", method)
	}
	r.node = env.node
	return r, raw, nil
}

// request builds a signed POST: the common parameters in the query, biz_content
// in the body, both under the signature.
func (p *Provider) request(ctx context.Context, method string, biz any) (req *http.Request, err error) {
	params := p.common(method)
	if method == methodPay && p.config.NotifyURL != "" {
		params["notify_url"] = p.config.NotifyURL
	}
	body := url.Values{}
	if biz != nil {
		text, exact := biz.(json.RawMessage)
		if !exact {
			if text, err = json.Marshal(biz); err != nil {
				return nil, fmt.Errorf("alipay: %s: %w", method, err)
			}
		}
		content := string(text)
		if p.cipher != nil {
			content, params["encrypt_type"] = encrypt(p.cipher, text), "AES"
		}
		params["biz_content"] = content
		body.Set("biz_content", content)
	}
	signature, err := sign(p.config.Signer, params)
	if err != nil {
		return nil, err
	}
	query := url.Values{"sign": {signature}}
	for k, v := range params {
		if k != "biz_content" {
			query.Set(k, v)
		}
	}
	to := *p.gateway
	to.RawQuery = query.Encode()
	req, err = http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(body.Encode()))
	if err != nil {
		return nil, errors.New("alipay: the request cannot be built") // the error would carry the signature
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	return req, nil
}

// common are the parameters that every request has.
func (p *Provider) common(method string) map[string]string {
	params := map[string]string{
		"app_id":    p.config.AppID,
		"method":    method,
		"format":    "JSON",
		"charset":   "utf-8",
		"sign_type": "RSA2",
		"timestamp": p.config.Clock().In(beijing).Format(stamp),
		"version":   "1.0",
	}
	if p.chain.certified() {
		params["app_cert_sn"], params["alipay_root_cert_sn"] = p.chain.appSN, p.chain.rootSN
	}
	return params
}

// clip keeps text of the far side short in errors.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most]
	}
	return s
}
