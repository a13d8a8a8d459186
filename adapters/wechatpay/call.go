package wechatpay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// A reply is what the platform said, after its signature held.
type reply struct {
	status int
	Code   string // of a refusal
}

func (r reply) ok() bool { return r.status == http.StatusOK || r.status == http.StatusNoContent }

// String names the code, for logs; messages of the platform may name riders.
func (r reply) String() string { return fmt.Sprintf("HTTP %d %s", r.status, clip(r.Code)) }

// send sends one signed request and gives the answer, unbelieved.
func (c *client) send(ctx context.Context, method, target string, body []byte, limit int64) (wire.Reply, error) {
	auth, err := c.authorization(method, target, body)
	if err != nil {
		return wire.Reply{}, fmt.Errorf("%w: %w", driver.ErrNotPerformed, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+target, bytes.NewReader(body))
	if err != nil || req.URL.RequestURI() != target {
		return wire.Reply{}, fmt.Errorf("%w: wechatpay: the request cannot be built", driver.ErrNotPerformed)
	}
	req.Header.Set("Authorization", auth)
	req.Header.Set("Accept", "application/json")
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.config.AnswerKey != "" {
		req.Header.Set("Wechatpay-Serial", c.config.AnswerKey)
	}
	return wire.Do(c.config.HTTP, req, limit)
}

// call sends one request and gives the believed answer, a success filled into
// out. An error that is [driver.ErrNotPerformed] means that nothing was sent;
// every other error means that nobody can say.
func (c *client) call(ctx context.Context, method, target string, in, out any) (reply, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = marshal(in); err != nil {
			return reply{}, fmt.Errorf("%w: wechatpay: %w", driver.ErrNotPerformed, err)
		}
	}
	r, text, err := c.exchange(ctx, method, target, body)
	if err != nil {
		return reply{}, err
	}
	if r.ok() && len(text) > 0 && out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			return reply{}, errors.New("wechatpay: the answer's content is unreadable")
		}
	}
	return r, nil
}

// exchange sends one request and gives the believed answer with its bytes.
func (c *client) exchange(ctx context.Context, method, target string, body []byte) (reply, []byte, error) {
	got, err := c.send(ctx, method, target, body, wire.CallLimit)
	if err != nil {
		return reply{}, nil, fmt.Errorf("wechatpay: %w", err)
	}
	if err := c.proven(ctx, got.Header, got.Body); err != nil {
		return reply{}, nil, fmt.Errorf("%w (HTTP status %d)", withoutCertainty(err), got.Status)
	}
	r := reply{status: got.Status}
	if !r.ok() {
		if r.Code = codeOf(got.Body); r.Code == "" {
			return reply{}, nil, fmt.Errorf("wechatpay: a refusal without a code, HTTP status %d", got.Status)
		}
	}
	return r, got.Body, nil
}

// codeOf gives the code of a refusal, "" if it has none.
func codeOf(body []byte) string {
	var said struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	return said.Code
}

// withoutCertainty keeps what an error says and drops that nothing was sent:
// that was about fetching keys, after the call itself had been made.
func withoutCertainty(err error) error {
	if errors.Is(err, driver.ErrNotPerformed) {
		return fmt.Errorf("%w: the key list cannot be had", errUnproven)
	}
	return err
}

// marshal writes JSON without escaping &, < and >: the bytes are signed as they
// are, but people compare them with the platform's own examples.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// clip keeps text of the far side short in errors.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most]
	}
	return s
}
