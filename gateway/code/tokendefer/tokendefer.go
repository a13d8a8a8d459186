package tokendefer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// ID names the scheme.
const ID code.SchemeID = "token-defer"

// Prefix begins every code of the scheme.
const Prefix = "TKN1:"

const (
	providerMax = 32
	tokenMin    = 16 // bytes: what nobody guesses
	tokenMax    = 64 // bytes: what no template fits into
)

// Params are a tenant's readers.
type Params struct {
	code.Common
	// Providers lists whose tokens are taken; empty takes all.
	Providers []string `json:"providers,omitempty"`
	// Window is how long a token is remembered, in seconds: 1 to 3600.
	Window int64 `json:"window_s"`
}

// Defaults takes every provider's tokens and remembers them for a minute.
func Defaults() Params { return Params{Window: 60} }

// Plugin makes schemes from the JSON form of [Params]; a field that is not there
// has its default. There is nothing to trust: the trust object is {}.
var Plugin = code.Plugin{ID: ID, New: newScheme, Trust: readTrust, Samples: samples}

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
	if p.Window < 1 || p.Window > 3600 {
		return nil, errors.New("window_s: want 1 to 3600")
	}
	for i, name := range p.Providers {
		if !providerName([]byte(name)) {
			return nil, fmt.Errorf("providers[%d]: want 1 to %d of a-z, 0-9 and '-'", i, providerMax)
		}
	}
	p.Providers = slices.Clone(p.Providers)
	return &Scheme{p}, nil
}

func readTrust(raw []byte) (code.KeySource, error) {
	var nothing struct{}
	return new(code.Trust), code.Decode(raw, &nothing)
}

// Scheme reads tokens. New makes it; it does not change.
type Scheme struct{ params Params }

var _ code.Scheme = (*Scheme)(nil)

// ID gives "token-defer".
func (*Scheme) ID() code.SchemeID { return ID }

// Sniff is Sure of the prefix.
func (*Scheme) Sniff(raw []byte) code.Match {
	if bytes.HasPrefix(raw, []byte(Prefix)) {
		return code.Sure
	}
	return code.No
}

// Parse reads a token. c's Raw aliases raw. On error c is zero. The code is
// [code.Code.Timeless]: it is of the tap.
func (s *Scheme) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{}
	provider, token, ok := split(raw)
	if !ok || !tokenForm(token) {
		return code.ErrMalformed
	}
	*c = code.Code{
		Scheme: ID, Raw: raw, Rider: citygate.Rider{Issuer: s.params.Issuer}, Timeless: true, Window: s.params.Window,
		CapMinor: s.params.Cap(), Party: 1,
		Account: code.Digest(ID, "account", provider, token), Once: code.Digest(ID, "use", provider, token),
	}
	return nil
}

// split takes a code apart into provider and encoded token.
func split(raw []byte) (provider, token []byte, ok bool) {
	rest, ok := bytes.CutPrefix(raw, []byte(Prefix))
	if !ok {
		return nil, nil, false
	}
	provider, token, ok = bytes.Cut(rest, []byte{':'})
	return provider, token, ok && providerName(provider)
}

func providerName(name []byte) bool {
	if len(name) == 0 || len(name) > providerMax {
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

var encoding = base64.RawURLEncoding.Strict()

// tokenForm reports whether token is the one base64url form of an opaque token.
func tokenForm(token []byte) bool {
	if len(token) > base64.RawURLEncoding.EncodedLen(tokenMax) || bytes.ContainsAny(token, "\r\n") { // which the decoder would skip
		return false
	}
	var buf [tokenMax + 3]byte
	n, err := encoding.Decode(buf[:], token)
	return err == nil && n >= tokenMin && n <= tokenMax && !bodyData(buf[:n])
}

// bodyStarts begin images and biometric templates: JPEG, PNG, GIF, JPEG 2000, WSQ,
// RIFF, and the records of ISO/IEC 19794 (finger, face, iris, vein) and 39794.
var bodyStarts = [][]byte{
	{0xff, 0xd8, 0xff}, {0x89, 'P', 'N', 'G'}, []byte("GIF8"), {0, 0, 0, 0x0c, 'j', 'P'}, {0xff, 0x4f, 0xff, 0x51}, {0xff, 0xa0}, []byte("RIFF"),
	[]byte("FMR\x00"), []byte("FIR\x00"), []byte("FAC\x00"), []byte("IIR\x00"), []byte("VIR\x00"), []byte("FSP\x00"), []byte("FRI\x00"),
}

func bodyData(token []byte) bool {
	for _, start := range bodyStarts {
		if bytes.HasPrefix(token, start) {
			return true
		}
	}
	return false
}

// Build gives the code of a token, as a reader's driver hands it over.
func Build(provider string, token []byte) ([]byte, error) {
	raw := []byte(Prefix + provider + ":" + base64.RawURLEncoding.EncodeToString(token))
	if _, encoded, ok := split(raw); !ok || !tokenForm(encoded) {
		return nil, fmt.Errorf("token: want a provider of a-z, 0-9 and '-', and %d to %d opaque bytes that are no image or template", tokenMin, tokenMax)
	}
	return raw, nil
}

func samples(random io.Reader) ([]code.Sample, error) {
	token := make([]byte, tokenMax)
	if _, err := io.ReadFull(random, token); err != nil {
		return nil, err
	}
	token[0] = 1 // no image begins so
	s, err := New(Defaults())
	if err != nil {
		return nil, err
	}
	raw, err := Build("sample", token)
	return []code.Sample{{Scheme: s, Keys: new(code.Trust), Raw: raw, At: 1_800_000_000}}, err
}

// Verify defers: only the provider knows the token. A provider that the tenant
// does not take is refused.
func (s *Scheme) Verify(c *code.Code, _ code.KeySource, _ code.CredentialCache) code.Verdict {
	provider, _, ok := split(c.Raw)
	switch {
	case !ok: // not what Parse gave
		return code.Refuse(code.Malformed)
	case len(s.params.Providers) > 0 && !slices.Contains(s.params.Providers, string(provider)):
		return code.Refuse(code.UnknownIssuer)
	}
	return code.Deferred(0)
}
