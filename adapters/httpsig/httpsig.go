package httpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/asn1"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// The algorithms, by their names in the registry of RFC 9421.
const (
	Ed25519   = "ed25519"
	ECDSAP256 = "ecdsa-p256-sha256"
)

// Params are the parameters of a signature.
type Params struct {
	Components []string // such as "@method", "content-digest", "@method;req"
	Created    time.Time
	Expires    time.Time // zero = none
	Nonce      string
	KeyID      string
	Tag        string
}

// AlgorithmOf names the algorithm of a public key, "" if it has none here.
func AlgorithmOf(public crypto.PublicKey) string {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return Ed25519
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return ECDSAP256
		}
	}
	return ""
}

// Sign adds Signature-Input and Signature to the message's header, under the
// label "sig". The digest of a body that is covered must be there already.
func Sign(m Message, p Params, key crypto.Signer) error {
	covered := httpsfv.InnerList{Params: httpsfv.NewParams()}
	for _, c := range p.Components {
		name, req := strings.CutSuffix(c, ";req")
		item := httpsfv.NewItem(name)
		if req {
			item.Params.Add("req", true)
		}
		covered.Items = append(covered.Items, item)
	}
	covered.Params.Add("created", p.Created.Unix())
	if !p.Expires.IsZero() {
		covered.Params.Add("expires", p.Expires.Unix())
	}
	if p.Nonce != "" {
		covered.Params.Add("nonce", p.Nonce)
	}
	covered.Params.Add("keyid", p.KeyID)
	if p.Tag != "" {
		covered.Params.Add("tag", p.Tag)
	}
	base, err := m.base(covered)
	if err != nil {
		return err
	}
	signature, err := signBase(base, key)
	if err != nil {
		return err
	}
	inputs, signatures := httpsfv.NewDictionary(), httpsfv.NewDictionary()
	inputs.Add("sig", covered)
	signatures.Add("sig", httpsfv.NewItem(signature))
	input, err := httpsfv.Marshal(inputs)
	if err != nil {
		return refuse("parameters that cannot be written: %v", err)
	}
	value, err := httpsfv.Marshal(signatures)
	if err != nil {
		return refuse("a signature that cannot be written")
	}
	m.header.Set("Signature-Input", input)
	m.header.Set("Signature", value)
	return nil
}

func signBase(base []byte, key crypto.Signer) ([]byte, error) {
	switch AlgorithmOf(key.Public()) {
	case Ed25519:
		return key.Sign(nil, base, crypto.Hash(0))
	case ECDSAP256:
		digest := sha256.Sum256(base)
		der, err := key.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			return nil, err
		}
		if len(der) == 64 && der[0] != 0x30 {
			return der, nil // r and s as they go on the wire, as some key stores give them
		}
		var rs struct{ R, S *big.Int }
		if rest, err := asn1.Unmarshal(der, &rs); err != nil || len(rest) > 0 || rs.R.Sign() <= 0 || rs.S.Sign() <= 0 || rs.R.BitLen() > 256 || rs.S.BitLen() > 256 {
			return nil, refuse("the signer gave a signature that is not one")
		}
		raw := make([]byte, 64)
		rs.R.FillBytes(raw[:32])
		rs.S.FillBytes(raw[32:])
		return raw, nil
	}
	return nil, refuse("a key that is neither Ed25519 nor P-256")
}

// A Policy says what a signature must be to count.
type Policy struct {
	Tag      string   // of the signature; "" takes one without a tag
	Required []string // components it covers at least
	Keys     func(keyID string) (crypto.PublicKey, bool)
	Now      time.Time
	MaxAge   time.Duration // of created, and how far it may lie ahead; 0 = not looked at
	Nonce    bool          // a nonce is wanted
}

// Verify finds the signature that the policy speaks of and checks it. The error
// is ErrSignature with what is wrong. A covered Content-Digest is compared with
// nothing here: that is [CheckDigest]'s.
func Verify(m Message, p Policy) (Params, error) {
	label, covered, err := find(m.header, p.Tag)
	if err != nil {
		return Params{}, err
	}
	params, err := p.judge(covered)
	if err != nil {
		return Params{}, err
	}
	signature, err := signatureOf(m.header, label)
	if err != nil {
		return Params{}, err
	}
	key, ok := p.Keys(params.KeyID)
	if !ok {
		return Params{}, refuse("the key id %.64q is not known", params.KeyID)
	}
	algorithm := AlgorithmOf(key)
	if alg, said := covered.Params.Get("alg"); said && alg != algorithm {
		return Params{}, refuse("the algorithm is not the key's")
	}
	base, err := m.base(covered)
	if err != nil {
		return Params{}, err
	}
	if !holds(key, base, signature) {
		return Params{}, refuse("the signature of key %.64q does not hold", params.KeyID)
	}
	return params, nil
}

func holds(key crypto.PublicKey, base, signature []byte) bool {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize && ed25519.Verify(k, base, signature)
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() || len(signature) != 64 {
			return false
		}
		digest := sha256.Sum256(base)
		return ecdsa.Verify(k, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	return false
}

// find gives the one signature input with the tag.
func find(h http.Header, tag string) (string, httpsfv.InnerList, error) {
	inputs, err := httpsfv.UnmarshalDictionary(h.Values("Signature-Input"))
	if err != nil {
		return "", httpsfv.InnerList{}, refuse("Signature-Input is missing or not a dictionary")
	}
	var (
		label string
		found httpsfv.InnerList
	)
	for _, name := range inputs.Names() {
		member, _ := inputs.Get(name)
		list, ok := member.(httpsfv.InnerList)
		if !ok {
			continue
		}
		said, tagged := list.Params.Get("tag")
		if tagged != (tag != "") || (tagged && said != tag) {
			continue
		}
		if label != "" {
			return "", found, refuse("two signatures of one kind")
		}
		label, found = name, list
	}
	if label == "" {
		return "", found, refuse("no signature with the tag %q", tag)
	}
	return label, found, nil
}

func signatureOf(h http.Header, label string) ([]byte, error) {
	signatures, err := httpsfv.UnmarshalDictionary(h.Values("Signature"))
	if err != nil {
		return nil, refuse("Signature is missing or not a dictionary")
	}
	member, _ := signatures.Get(label)
	if item, ok := member.(httpsfv.Item); ok {
		if value, ok := item.Value.([]byte); ok {
			return value, nil
		}
	}
	return nil, refuse("Signature has no bytes for %q", label)
}

// judge checks the parameters of a signature.
func (p Policy) judge(covered httpsfv.InnerList) (Params, error) {
	var out Params
	created, ok := number(covered, "created")
	if !ok {
		return out, refuse("the signature does not say when it was created")
	}
	out.Created = time.Unix(created, 0)
	if age := p.Now.Sub(out.Created); p.MaxAge > 0 && (age > p.MaxAge || age < -p.MaxAge) {
		return out, refuse("the signature was created %s from now", age.Abs().Truncate(time.Second))
	}
	if expires, ok := number(covered, "expires"); ok {
		out.Expires = time.Unix(expires, 0)
		if p.MaxAge > 0 && !p.Now.Before(out.Expires) {
			return out, refuse("the signature has expired")
		}
	}
	if out.KeyID, ok = text(covered, "keyid"); !ok || out.KeyID == "" {
		return out, refuse("the signature does not say its key")
	}
	if out.Nonce, ok = text(covered, "nonce"); p.Nonce && (!ok || out.Nonce == "") {
		return out, refuse("the signature has no nonce")
	}
	out.Tag, _ = text(covered, "tag")
	for _, want := range p.Required {
		if !covers(covered, want) {
			return out, refuse("the signature does not cover %s", want)
		}
	}
	for _, i := range covered.Items {
		name, _ := i.Value.(string)
		if _, req := i.Params.Get("req"); req {
			name += ";req"
		}
		out.Components = append(out.Components, name)
	}
	return out, nil
}

func number(l httpsfv.InnerList, name string) (int64, bool) {
	v, _ := l.Params.Get(name)
	n, ok := v.(int64)
	return n, ok
}

func text(l httpsfv.InnerList, name string) (string, bool) {
	v, _ := l.Params.Get(name)
	s, ok := v.(string)
	return s, ok
}

// Digest gives the value of Content-Digest for a body (RFC 9530).
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	d := httpsfv.NewDictionary()
	d.Add("sha-256", httpsfv.NewItem(sum[:]))
	s, err := httpsfv.Marshal(d)
	if err != nil {
		panic(err) // a byte sequence can always be written
	}
	return s
}

// CheckDigest compares a body with the Content-Digest of its message: every
// digest by sha-256 or sha-512 must be the body's, and there must be one.
func CheckDigest(h http.Header, body []byte) error {
	d, err := httpsfv.UnmarshalDictionary(h.Values("Content-Digest"))
	if err != nil {
		return refuse("Content-Digest is missing or not a dictionary")
	}
	known := 0
	for _, name := range d.Names() {
		member, _ := d.Get(name)
		item, ok := member.(httpsfv.Item)
		if !ok {
			return refuse("Content-Digest has a member that is no digest")
		}
		value, _ := item.Value.([]byte)
		var sum []byte
		switch name {
		case "sha-256":
			s := sha256.Sum256(body)
			sum = s[:]
		case "sha-512":
			s := sha512.Sum512(body)
			sum = s[:]
		default:
			continue
		}
		if subtle.ConstantTimeCompare(sum, value) != 1 {
			return refuse("the body is not what Content-Digest says")
		}
		known++
	}
	if known == 0 {
		return refuse("Content-Digest has no sha-256 and no sha-512")
	}
	return nil
}
