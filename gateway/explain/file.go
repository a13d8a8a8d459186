package explain

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cashlesscity/citygate"
)

// The refusals of checks.
var (
	ErrFile      = &citygate.Code{Name: "explain.file", Kind: citygate.Invalid, Title: "This is no explanation file, or no key set. Get it again from the operator."}
	ErrProof     = &citygate.Code{Name: "explain.proof", Kind: citygate.Conflict, Title: "The document is not the one that was signed: it was changed, or the proof is of another one. Do not believe it."}
	ErrKey       = &citygate.Code{Name: "explain.key", Kind: citygate.Conflict, Title: "The key set has no key that could have signed this explanation then. Get the key set of the tenant that the file names."}
	ErrSignature = &citygate.Code{Name: "explain.signature", Kind: citygate.Conflict, Title: "The signature is not by the tenant's key. Do not believe the explanation."}
)

// Format names the form of files.
const Format = "citygate explanation 1"

// A Document is what a fare decision says.
type Document struct {
	Tenant       citygate.TenantID `json:"tenant"`
	Journey      string            `json:"journey"`
	Decision     int               `json:"decision"` // number; it replaces the one before
	Taps         []Tap             `json:"taps"`
	Known        bool              `json:"known"`
	Reason       string            `json:"reason,omitempty"` // why the fare is unknown
	Amount       int64             `json:"amount"`           // minor units
	Currency     citygate.Currency `json:"currency"`
	Tariff       uint64            `json:"tariff_version"`
	TariffDigest string            `json:"tariff_digest,omitempty"` // SHA-256, hexadecimal
	InputsHash   string            `json:"inputs_hash"`             // likewise
	EventTime    string            `json:"event_time"`              // RFC 3339
	BusinessDate string            `json:"business_date"`
	DecidedAt    string            `json:"decided_at"`
	SharedBy     citygate.TenantID `json:"shared_by,omitempty"` // whose integrated tariff priced the ride, this being a share
	Explanation  json.RawMessage   `json:"explanation"`
}

// A Tap is a tap of the ride.
type Tap struct {
	ID    string `json:"tap"`
	Kind  string `json:"kind"`
	At    string `json:"at"`
	Stop  string `json:"stop,omitempty"`
	Route string `json:"route,omitempty"`
}

// Bytes gives the canonical form of d.
func (d *Document) Bytes() ([]byte, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	return Canonical(raw)
}

// A File is one explanation with its proof.
type File struct {
	Format    string          `json:"format"`
	Document  json.RawMessage `json:"document"`
	Salt      string          `json:"salt"` // hexadecimal
	Index     int             `json:"index"`
	Path      []string        `json:"path"` // hexadecimal, from the leaf up
	Batch     Batch           `json:"batch"`
	Signature []byte          `json:"signature"`
}

// A Batch is what a tenant signed.
type Batch struct {
	Tenant   citygate.TenantID `json:"tenant"`
	Number   int64             `json:"number"`
	Size     int               `json:"size"`
	Root     string            `json:"root"`
	SealedAt time.Time         `json:"sealed_at"`
	Key      uint8             `json:"kid"`
}

// message is what is signed.
func (b *Batch) message() ([]byte, error) {
	root, err := parseHash(b.Root)
	if err != nil {
		return nil, err
	}
	m := []byte("citygate explanation batch 1\n")
	m = binary.BigEndian.AppendUint64(m, uint64(b.Tenant))
	m = binary.BigEndian.AppendUint64(m, uint64(b.Number))
	m = binary.BigEndian.AppendUint64(m, uint64(b.Size))
	m = append(m, root[:]...)
	m = binary.BigEndian.AppendUint64(m, uint64(b.SealedAt.UnixMicro()))
	return append(m, b.Key), nil
}

func parseHash(text string) (h Hash, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(h) || text != strings.ToLower(text) {
		return h, ErrFile.Explain("%.80q is no SHA-256 hash in lower-case hexadecimal", text)
	}
	return Hash(raw), nil
}

// maxFile bounds a file; no explanation comes near.
const maxFile = 1 << 20

// ParseFile reads a file, strictly.
func ParseFile(raw []byte) (*File, error) {
	if len(raw) > maxFile {
		return nil, ErrFile.Explain("more than %d bytes", maxFile)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	f := new(File)
	if err := d.Decode(f); err != nil {
		return nil, ErrFile.Explain("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrFile.Explain("something follows the file")
	}
	if f.Format != Format {
		return nil, ErrFile.Explain("format %q, want %q", f.Format, Format)
	}
	return f, nil
}

// Verify checks the file with a key set (RFC 7517), as the tenant's well-known
// address gives it, and gives the document.
func (f *File) Verify(jwks []byte) (*Document, error) {
	document, err := Canonical(f.Document)
	if err != nil {
		return nil, err
	}
	var salt [SaltSize]byte
	if raw, err := hex.DecodeString(f.Salt); err != nil || copy(salt[:], raw) != len(salt) || len(raw) != len(salt) {
		return nil, ErrFile.Explain("salt: want %d bytes in hexadecimal", SaltSize)
	}
	path := make([]Hash, len(f.Path))
	for i, text := range f.Path {
		if path[i], err = parseHash(text); err != nil {
			return nil, err
		}
	}
	message, err := f.Batch.message()
	if err != nil {
		return nil, err
	}
	root, ok := Climb(Leaf(salt, document), f.Index, f.Batch.Size, path)
	if !ok || hex.EncodeToString(root[:]) != f.Batch.Root {
		return nil, ErrProof
	}
	key, err := keyOf(jwks, &f.Batch)
	if err != nil {
		return nil, err
	}
	if !key.verify(message, f.Signature) {
		return nil, ErrSignature
	}
	d := new(Document)
	if err := json.Unmarshal(document, d); err != nil {
		return nil, ErrFile.Explain("document: %v", err)
	}
	if d.Tenant != f.Batch.Tenant {
		return nil, ErrProof.Explain("the document is of tenant %d, the batch of %d", d.Tenant, f.Batch.Tenant)
	}
	return d, nil
}

// A jwk is what is needed of a key of a key set.
type jwk struct {
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	Purpose   string `json:"purpose"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	NotAfter  int64  `json:"nia"`
}

// clockSlack is how far the clocks of those who seal and of who gave the key may be
// apart.
const clockSlack = 5 * time.Minute

// keyOf finds the key that signed a batch, and sees that it might.
func keyOf(jwks []byte, b *Batch) (*jwk, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil || set.Keys == nil {
		return nil, ErrFile.Explain("the key set is no JSON of one")
	}
	id := fmt.Sprintf("explain-%d", b.Key)
	i := slices.IndexFunc(set.Keys, func(k jwk) bool { return k.ID == id && k.Purpose == "explain" })
	if i < 0 {
		return nil, ErrKey.Explain("no key %s", id)
	}
	k := &set.Keys[i]
	switch at := b.SealedAt; {
	case at.Before(time.Unix(k.NotBefore, 0).Add(-clockSlack)):
		return nil, ErrKey.Explain("%s was not in use yet", id)
	case k.Expires != 0 && at.After(time.Unix(k.Expires, 0)), k.NotAfter != 0 && at.After(time.Unix(k.NotAfter, 0)):
		return nil, ErrKey.Explain("%s was not in use any more", id)
	}
	return k, nil
}

// verify checks a signature: Ed25519, or ECDSA on P-256 with SHA-256, as ASN.1 or as
// two numbers of 32 bytes.
func (k *jwk) verify(message, signature []byte) bool {
	x, err := base64.RawURLEncoding.DecodeString(k.X)
	if err != nil {
		return false
	}
	switch {
	case k.Type == "OKP" && k.Curve == "Ed25519":
		return len(x) == ed25519.PublicKeySize && ed25519.Verify(x, message, signature)
	case k.Type == "EC" && k.Curve == "P-256":
		y, err := base64.RawURLEncoding.DecodeString(k.Y)
		if err != nil || len(x) != 32 || len(y) != 32 {
			return false
		}
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil {
			return false
		}
		sum := sha256.Sum256(message)
		if len(signature) == 64 {
			return ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
		}
		return ecdsa.VerifyASN1(public, sum[:], signature)
	}
	return false
}

// Canonical gives the one form of a JSON value that documents are hashed in.
func Canonical(raw []byte) ([]byte, error) {
	if !utf8.Valid(raw) {
		return nil, ErrFile.Explain("the document is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	out, err := value(d, nil, 0)
	if err != nil {
		return nil, ErrFile.Explain("the document: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrFile.Explain("something follows the document")
	}
	return out, nil
}

const deepest = 64 // how far values may lie in each other

// value appends the canonical form of the next value of d.
func value(d *json.Decoder, out []byte, depth int) ([]byte, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > deepest {
		return nil, errors.New("values lie too deep in each other")
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			return array(d, out, depth)
		}
		return object(d, out, depth)
	case string:
		return quoted(out, t), nil
	case json.Number:
		n, ok := new(big.Int).SetString(string(t), 10)
		if !ok || n.String() != string(t) {
			return nil, fmt.Errorf("%.40s is no whole number in its shortest form", t)
		}
		return append(out, t...), nil
	case bool:
		return fmt.Appendf(out, "%t", t), nil
	}
	return append(out, "null"...), nil
}

func array(d *json.Decoder, out []byte, depth int) ([]byte, error) {
	out = append(out, '[')
	var err error
	for first := true; d.More(); first = false {
		if !first {
			out = append(out, ',')
		}
		if out, err = value(d, out, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return append(out, ']'), err
}

func object(d *json.Decoder, out []byte, depth int) ([]byte, error) {
	fields := map[string][]byte{}
	var names []string
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("the name %.40q comes twice", name)
		}
		names = append(names, name)
		if fields[name], err = value(d, nil, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	slices.Sort(names)
	out = append(out, '{')
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(quoted(out, name), ':')
		out = append(out, fields[name]...)
	}
	return append(out, '}'), nil
}

// quoted appends a JSON string.
func quoted(out []byte, s string) []byte {
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < 0x20:
			out = fmt.Appendf(out, "\\u%04x", c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}
