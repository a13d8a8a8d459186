package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

const (
	format      = "TB1"
	contentType = "application/vnd.citygate.tb1+cbor"
)

var encoder = func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // constant options
	}
	return mode
}()

// A RootSigner signs with one root key. Sign gets the bytes to be signed, not
// a digest: Ed25519 is pure here.
type RootSigner struct {
	Root RootKey
	Sign func(message []byte) ([]byte, error)
}

// ID names the root key in signatures: the first 8 bytes of the key's SHA-256.
func (r RootKey) ID() [8]byte {
	sum := sha256.Sum256(r.Public)
	return [8]byte(sum[:8])
}

// Sign puts b into its canonical order, checks it as [Open] will, and gives the
// signed bytes. It refuses to sign what Open would refuse whatever the time.
func Sign(b *Bundle, signers ...RootSigner) ([]byte, error) {
	c := *b
	c.Format = format
	c.Roots, c.Tenants = slices.Clone(b.Roots), slices.Clone(b.Tenants)
	c.Keys, c.DenyFloors = slices.Clone(b.Keys), slices.Clone(b.DenyFloors)
	slices.SortFunc(c.Roots, compareRoots)
	slices.SortFunc(c.Tenants, compareTenants)
	slices.SortFunc(c.Keys, compareKeys)
	slices.SortFunc(c.DenyFloors, compareFloors)
	if err := c.index(); err != nil {
		return nil, err
	}
	payload, err := encoder.Marshal(&c)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	signers = slices.Clone(signers)
	slices.SortFunc(signers, func(x, y RootSigner) int {
		a, b := x.Root.ID(), y.Root.ID()
		return bytes.Compare(a[:], b[:])
	})
	m := newMessage(payload)
	with := make([]cose.Signer, len(signers))
	for i, s := range signers {
		m.Signatures = append(m.Signatures, newSignature(s.Root.ID(), nil))
		with[i] = coseSigner{s}
	}
	if err := m.Sign(nil, nil, with...); err != nil {
		return nil, fmt.Errorf("bundle: sign: %w", err)
	}
	raw, err := m.MarshalCBOR()
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if len(raw) > BytesMax {
		return nil, ErrMalformed.Explain("the bundle has %d bytes, at most %d are allowed", len(raw), BytesMax)
	}
	return raw, nil
}

func newMessage(payload []byte) *cose.SignMessage {
	m := cose.NewSignMessage()
	m.Headers.Protected[cose.HeaderLabelContentType] = contentType
	m.Payload = payload
	return m
}

func newSignature(root [8]byte, signature []byte) *cose.Signature {
	s := cose.NewSignature()
	s.Headers.Protected.SetAlgorithm(cose.AlgorithmEdDSA)
	s.Headers.Protected[cose.HeaderLabelKeyID] = root[:]
	s.Signature = signature
	return s
}

// coseSigner is a root key wherever it is kept, as go-cose wants it.
type coseSigner struct{ root RootSigner }

func (s coseSigner) Algorithm() cose.Algorithm { return cose.AlgorithmEdDSA }

func (s coseSigner) Sign(_ io.Reader, content []byte) ([]byte, error) {
	signature, err := s.root.Sign(content)
	if err != nil {
		return nil, err
	}
	// A signer that answers with another key's signature must not become a
	// bundle that every terminal refuses.
	if len(s.root.Root.Public) != ed25519.PublicKeySize || !ed25519.Verify(s.root.Root.Public, content, signature) {
		return nil, fmt.Errorf("the signature does not verify under root %x", s.root.Root.ID())
	}
	return signature, nil
}
