package alipay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// errorNode is the node of an answer that belongs to no method.
const errorNode = "error_response"

// An envelope is an answer taken apart, before anything in it is believed.
type envelope struct {
	node string // "<method>_response" or "error_response"
	raw  []byte // the node's object, or its text if it is encrypted, byte for byte as received: what the signature covers
	sign string // "" when the answer is unsigned

	certSN string // the certificate it names, in certificate mode
}

// responseNode names the node that answers method.
func responseNode(method string) string {
	return strings.ReplaceAll(method, ".", "_") + "_response"
}

// open takes an answer apart. The signature covers the node's bytes as they
// came, escapes and spaces included, so the object is cut out of the body and
// never re-encoded. An answer in which two readers could see two different
// nodes is refused: no name twice, nothing after the object, one node.
func open(body []byte, method string) (envelope, error) {
	var env envelope
	if !utf8.Valid(body) {
		return env, errors.New("alipay: the answer is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return env, errors.New("alipay: the answer is not a JSON object")
	}
	seen := make(map[string]bool)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return env, fmt.Errorf("alipay: the answer is not JSON: %w", err)
		}
		key, _ := name.(string)
		if seen[key] {
			return env, fmt.Errorf("alipay: the answer has %.40q twice", key)
		}
		seen[key] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return env, fmt.Errorf("alipay: the answer is not JSON: %w", err)
		}
		switch key {
		case "sign":
			if err := json.Unmarshal(value, &env.sign); err != nil {
				return env, errors.New("alipay: the answer's signature is not text")
			}
		case "alipay_cert_sn":
			if err := json.Unmarshal(value, &env.certSN); err != nil {
				return env, errors.New("alipay: the answer's certificate is not named by text")
			}
		case responseNode(method), errorNode:
			if env.node != "" || len(value) == 0 || (value[0] != '{' && value[0] != '"') {
				return env, errors.New("alipay: the answer does not have one node")
			}
			env.node, env.raw = key, value
		}
	}
	if _, err := d.Token(); err != nil {
		return env, fmt.Errorf("alipay: the answer is not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return env, errors.New("alipay: the answer goes on after its end")
	}
	if env.node == "" {
		return env, fmt.Errorf("alipay: the answer has no %s", responseNode(method))
	}
	return env, nil
}
