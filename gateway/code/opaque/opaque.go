package opaque

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// ID names the scheme.
const ID code.SchemeID = "opaque"

const (
	codeMin = 8
	codeMax = 512 // bytes: more fits no code that a phone can show and a reader read
)

// Params say whose codes are taken and what they look like.
type Params struct {
	code.Common
	Shapes []Shape `json:"shapes"` // at least one; the first that fits decides
	// Window is how long a code is remembered, in seconds: 1 to 3600; default 120,
	// twice the life of a payment code.
	Window int64 `json:"window_s"`
}

// A Shape is the look of a provider's codes.
type Shape struct {
	Provider string `json:"provider"` // 1 to 32 of a-z, 0-9 and '-'
	List     string `json:"list,omitempty"`
	Kind     string `json:"kind,omitempty"`
	// Prefixes are beginnings in hexadecimal, of which a code has one; required,
	// since a shape that begins with anything would take every scheme's codes.
	Prefixes []string `json:"prefixes_hex"`
	Min      int      `json:"min"` // bytes, 8 to 512
	Max      int      `json:"max"`
	Digits   bool     `json:"digits,omitempty"` // decimal digits alone
}

// Plugin makes schemes from the JSON form of [Params]. Without parameters it knows
// no code. The trust object is
//
//	{"keys":[{"provider":"alipay","list":"..","kind":"..","id":N,"public_hex":".."}]}
var Plugin = code.Plugin{ID: ID, New: newScheme, Trust: readTrust, Samples: samples}

func newScheme(raw []byte) (code.Scheme, error) {
	p := Params{Window: 120}
	if err := code.Decode(raw, &p); err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return &Scheme{params: p}, nil
	}
	return New(p)
}

// New makes a scheme.
func New(p Params) (*Scheme, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	switch {
	case p.Window < 1 || p.Window > 3600:
		return nil, errors.New("window_s: want 1 to 3600")
	case len(p.Shapes) == 0:
		return nil, errors.New("shapes: at least one")
	}
	s := &Scheme{params: p}
	for i, sh := range p.Shapes {
		shape, err := sh.parse()
		if err != nil {
			return nil, fmt.Errorf("shapes[%d].%w", i, err)
		}
		s.shapes = append(s.shapes, shape)
	}
	return s, nil
}

// A shape is a [Shape] with its prefixes as bytes.
type shape struct {
	Shape
	prefixes [][]byte
}

func (s Shape) parse() (shape, error) {
	out := shape{Shape: s}
	switch {
	case !providerName(s.Provider):
		return out, errors.New("provider: want 1 to 32 of a-z, 0-9 and '-'")
	case s.Min < codeMin || s.Max < s.Min || s.Max > codeMax:
		return out, fmt.Errorf("min, max: want %d to %d bytes", codeMin, codeMax)
	case len(s.Prefixes) == 0:
		return out, errors.New("prefixes_hex: at least one")
	}
	for _, text := range s.Prefixes {
		prefix, err := hex.DecodeString(text)
		if err != nil || len(prefix) == 0 || len(prefix) > s.Min {
			return out, fmt.Errorf("prefixes_hex: %q: want one byte or more, at most min", text)
		}
		out.prefixes = append(out.prefixes, prefix)
	}
	return out, nil
}

func providerName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(name) > 0 && len(name) <= 32
}

func (s *shape) fits(raw []byte) bool {
	if len(raw) < s.Min || len(raw) > s.Max {
		return false
	}
	begins := false
	for _, p := range s.prefixes {
		begins = begins || bytes.HasPrefix(raw, p)
	}
	if !begins {
		return false
	}
	if s.Digits {
		for _, c := range raw {
			if c < '0' || c > '9' {
				return false
			}
		}
	}
	return true
}

// Key names a provider's public key, for a terminal's key source and for what
// fetches the lists.
func Key(provider, list, kind string, id uint32) code.KeyName {
	return code.KeyName{Scheme: ID, Owner: provider, List: list, Kind: kind, ID: id}
}

func readTrust(raw []byte) (code.KeySource, error) {
	var file struct {
		Keys []struct {
			Provider string `json:"provider"`
			List     string `json:"list"`
			Kind     string `json:"kind"`
			ID       uint32 `json:"id"`
			Public   string `json:"public_hex"`
		} `json:"keys"`
	}
	if err := code.Decode(raw, &file); err != nil {
		return nil, err
	}
	t := new(code.Trust)
	for i, k := range file.Keys {
		public, err := hex.DecodeString(k.Public)
		switch {
		case !providerName(k.Provider):
			return nil, fmt.Errorf("keys[%d].provider: want 1 to 32 of a-z, 0-9 and '-'", i)
		case err != nil || len(public) == 0:
			return nil, fmt.Errorf("keys[%d].public_hex: want hexadecimal digits", i)
		case t.Foreign[Key(k.Provider, k.List, k.Kind, k.ID)] != nil:
			return nil, fmt.Errorf("keys[%d]: %s, list %q, kind %q, id %d is there twice", i, k.Provider, k.List, k.Kind, k.ID)
		}
		t.AddForeign(Key(k.Provider, k.List, k.Kind, k.ID), public)
	}
	return t, nil
}

// Scheme takes providers' codes by their look. New makes it; it does not change.
type Scheme struct {
	params Params
	shapes []shape
}

var _ code.Scheme = (*Scheme)(nil)

// ID gives "opaque".
func (*Scheme) ID() code.SchemeID { return ID }

func (s *Scheme) shape(raw []byte) *shape {
	for i := range s.shapes {
		if s.shapes[i].fits(raw) {
			return &s.shapes[i]
		}
	}
	return nil
}

// Sniff is Maybe for a code that looks like a provider's: a look is no proof, and
// a scheme that reads the code goes first.
func (s *Scheme) Sniff(raw []byte) code.Match {
	if s.shape(raw) != nil {
		return code.Maybe
	}
	return code.No
}

// Parse takes a code by its look. c's Raw aliases raw. On error c is zero. The
// code is [code.Code.Timeless]: if it says a time, only the provider can read it.
func (s *Scheme) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{}
	shape := s.shape(raw)
	if shape == nil {
		return code.ErrMalformed
	}
	*c = code.Code{
		Scheme: ID, Raw: raw, Rider: citygate.Rider{Issuer: s.params.Issuer}, Timeless: true, Window: s.params.Window,
		CapMinor: s.params.Cap(), Party: 1,
		Account: s.name("account", shape, raw), Once: s.name("use", shape, raw),
	}
	return nil
}

func (s *Scheme) name(what string, shape *shape, raw []byte) [32]byte {
	var buf [128]byte // strings as bytes, without the heap
	b := append(append(append(append(append(buf[:0], shape.Provider...), 0), shape.List...), 0), shape.Kind...)
	return code.Digest(ID, what, b, raw)
}

func samples(random io.Reader) ([]code.Sample, error) {
	raw := make([]byte, 400)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, err
	}
	raw[0] = 2
	s, err := New(Params{Window: 60, Shapes: []Shape{{Provider: "sample", Prefixes: []string{"02"}, Min: 64, Max: codeMax}}})
	return []code.Sample{{Scheme: s, Keys: new(code.Trust), Raw: raw, At: 1_800_000_000}}, err
}

// Verify defers: the provider decides.
func (s *Scheme) Verify(c *code.Code, _ code.KeySource, _ code.CredentialCache) code.Verdict {
	if s.shape(c.Raw) == nil { // not what Parse gave
		return code.Refuse(code.Malformed)
	}
	return code.Deferred(0)
}
