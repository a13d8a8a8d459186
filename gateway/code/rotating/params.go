package rotating

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// Params are what a tenant's passes look like. Start from [Defaults].
type Params struct {
	code.Common
	Pattern   string    `json:"value_pattern"`
	Algorithm Algorithm `json:"algorithm"` // SHA1, SHA256 or SHA512
	Digits    int       `json:"digits"`    // 6 to 8
	Period    int64     `json:"period_s"`  // 10 to 600
}

// Defaults are the parameters named in the package doc.
func Defaults() Params {
	return Params{Pattern: "{pass}.{totp_value_0}", Algorithm: SHA1, Digits: 8, Period: 30}
}

// Plugin makes schemes from the JSON form of [Params]; a field that is not there
// has its default. The trust object is
//
//	{"secrets":[{"pass":"..","hex":".."}]}
//
// or {"master_hex":".."} for the passes of a [Master].
var Plugin = code.Plugin{ID: ID, New: newScheme, Trust: readTrust, Samples: samples, NeedsSecret: true}

func newScheme(raw []byte) (code.Scheme, error) {
	p := Defaults()
	if err := code.Decode(raw, &p); err != nil {
		return nil, err
	}
	return New(p)
}

// New makes a scheme.
func New(p Params) (*Scheme, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	switch {
	case p.Algorithm.hash() == nil:
		return nil, fmt.Errorf("algorithm: want %s, %s or %s", SHA1, SHA256, SHA512)
	case p.Digits < 6 || p.Digits > 8:
		return nil, errors.New("digits: want 6 to 8")
	case p.Period < 10 || p.Period > 600:
		return nil, errors.New("period_s: want 10 to 600")
	}
	pattern, err := parsePattern(p.Pattern)
	if err != nil {
		return nil, fmt.Errorf("value_pattern: %w", err)
	}
	return &Scheme{params: p, pattern: pattern}, nil
}

// The fields of a pattern.
type field uint8

const (
	literal field = iota
	pass
	value
	seconds
	millis
)

var fieldNames = map[string]field{
	"pass": pass, "totp_value_0": value, "totp_timestamp_seconds": seconds, "totp_timestamp_millis": millis,
}

// A token is a field, or literal text.
type token struct {
	field field
	text  string
}

func parsePattern(pattern string) (tokens []token, err error) {
	if len(pattern) > 200 {
		return nil, errors.New("longer than 200 bytes")
	}
	count := map[field]int{}
	for rest := pattern; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		if before != "" {
			tokens = append(tokens, token{literal, before})
		}
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		f, known := fieldNames[name]
		if !closed || !known {
			return nil, fmt.Errorf("{%s is not a field; there are {pass}, {totp_value_0}, {totp_timestamp_seconds} and {totp_timestamp_millis}", after)
		}
		tokens, rest = append(tokens, token{field: f}), tail
		count[f]++
	}
	if count[pass] != 1 || count[value] != 1 || count[seconds]+count[millis] > 1 {
		return nil, errors.New("want {pass} and {totp_value_0} once each, and one time at most")
	}
	for i, t := range tokens {
		if t.field == literal || t.field == value || i+1 == len(tokens) {
			continue
		}
		next := tokens[i+1]
		if next.field != literal || t.holds(next.text[0]) {
			return nil, errors.New("behind {pass} and behind a time there must be a character that they cannot hold")
		}
	}
	return tokens, nil
}

// holds reports whether a variable field may hold a character.
func (t token) holds(c byte) bool {
	if c >= '0' && c <= '9' {
		return true
	}
	return t.field == pass && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_')
}

func readTrust(raw []byte) (code.KeySource, error) {
	var file struct {
		Secrets []struct {
			Pass string `json:"pass"`
			Hex  string `json:"hex"`
		} `json:"secrets"`
		Master string `json:"master_hex"`
	}
	if err := code.Decode(raw, &file); err != nil {
		return nil, err
	}
	if file.Master != "" {
		key, err := hex.DecodeString(file.Master)
		if err != nil || len(key) < masterMin || len(file.Secrets) > 0 {
			return nil, fmt.Errorf("master_hex: want %d bytes or more in hexadecimal, and no secrets beside it", masterMin)
		}
		return &Master{Key: citygate.NewSecret(key)}, nil
	}
	t := new(code.Trust)
	for i, s := range file.Secrets {
		secret, err := hex.DecodeString(s.Hex)
		if err != nil || len(secret) == 0 { // the error would quote the secret
			return nil, fmt.Errorf("secrets[%d].hex: want hexadecimal digits", i)
		}
		t.AddSecret(ID, s.Pass, citygate.NewSecret(secret))
	}
	return t, nil
}
