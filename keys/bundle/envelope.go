package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"github.com/veraison/go-cose"
)

// A kind is what an envelope holds. It stands in the header that signatures
// cover, so that a root set never passes for a bundle.
type kind string

const (
	bundleKind kind = "application/vnd.citygate.tb1+cbor"
	rootsKind  kind = "application/vnd.citygate.tr1+cbor"
)

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

// message is a COSE_Sign (RFC 9052, 4.1) in canonical form whose signatures are
// not checked.
type message struct {
	raw     []byte
	kind    kind
	cose    *cose.SignMessage
	signers [][8]byte // ascending
	by      []RootKey // who signed, one for each signer; filled in by check
	sum     [32]byte  // SHA-256 of the payload
}

// checked gives m without what only checking it needs: whoever holds a bundle
// holds it for weeks, and may have little memory.
func (m *message) checked() *message {
	return &message{raw: m.raw, kind: m.kind, signers: m.signers, by: m.by, sum: m.sum}
}

// readMessage reads the envelope of an object of kind k.
func readMessage(raw []byte, k kind) (*message, error) {
	const tag = 2 // bytes of the COSE_Sign tag, the only tag allowed
	if len(raw) > BytesMax {
		return nil, ErrMalformed.Because(nil, "%d bytes", len(raw))
	}
	if !signed(raw) {
		return nil, ErrMalformed.Because(nil, "no COSE_Sign tag")
	}
	if err := decoder.Wellformed(raw[tag:]); err != nil {
		return nil, ErrMalformed.Because(err, "envelope")
	}
	m := &message{raw: bytes.Clone(raw), kind: k, cose: cose.NewSignMessage()}
	if err := m.cose.UnmarshalCBOR(m.raw); err != nil {
		return nil, ErrMalformed.Because(err, "envelope")
	}
	if len(m.cose.Payload) == 0 || len(m.cose.Signatures) > SignaturesMax {
		return nil, ErrMalformed.Because(nil, "payload or signatures out of bounds")
	}
	canonical := newMessage(m.cose.Payload, k)
	for _, s := range m.cose.Signatures {
		kid, ok := s.Headers.Protected[cose.HeaderLabelKeyID].([]byte)
		if !ok || len(kid) != 8 || len(s.Signature) != ed25519.SignatureSize {
			return nil, ErrMalformed.Because(nil, "signature without a root id")
		}
		if slices.Contains(m.signers, [8]byte(kid)) {
			return nil, ErrSignedTwice.Explain("by root %x", kid)
		}
		m.signers = append(m.signers, [8]byte(kid))
		canonical.Signatures = append(canonical.Signatures, newSignature([8]byte(kid), s.Signature))
	}
	if !slices.IsSortedFunc(m.signers, compareIDs) {
		return nil, ErrMalformed.Because(nil, "signatures out of order")
	}
	// Everything go-cose was lenient about shows as a difference here.
	if again, err := canonical.MarshalCBOR(); err != nil || !bytes.Equal(again, raw) {
		return nil, ErrMalformed.Because(err, "envelope is not canonical")
	}
	m.sum = sha256.Sum256(m.cose.Payload)
	return m, nil
}

// signed reports whether raw is an envelope and not a bare payload.
func signed(raw []byte) bool {
	return len(raw) > 2 && raw[0] == 0xd8 && raw[1] == cose.CBORTagSignMessage
}

func compareIDs(a, b [8]byte) int { return bytes.Compare(a[:], b[:]) }

func (m *message) digest() [32]byte { return m.sum }

// check verifies every signature of m. All of them must be by one of allowed
// and hold: a signature that nobody looks at could be changed unseen.
func (m *message) check(allowed []RootKey) error {
	protected, err := m.cose.Headers.MarshalProtected()
	if err != nil {
		return ErrMalformed.Because(err, "envelope")
	}
	m.by = nil
	for i, s := range m.cose.Signatures {
		at := slices.IndexFunc(allowed, func(r RootKey) bool { return r.ID() == m.signers[i] })
		if at < 0 || len(allowed[at].Public) != ed25519.PublicKeySize {
			return ErrNotTrusted.Explain("%x, who signed, is none of its roots", m.signers[i])
		}
		v, err := cose.NewVerifier(cose.AlgorithmEdDSA, ed25519.PublicKey(allowed[at].Public))
		if err == nil {
			err = s.Verify(v, protected, m.cose.Payload, nil)
		}
		if err != nil {
			return ErrTampered.Explain("the signature of root %x does not hold", m.signers[i])
		}
		m.by = append(m.by, allowed[at])
	}
	return nil
}

// count says how many of roots signed m, which was checked. Each counts once,
// however often it is listed.
func (m *message) count(roots []RootKey) int {
	n := 0
	for _, signer := range m.by {
		if slices.ContainsFunc(roots, func(r RootKey) bool { return bytes.Equal(r.Public, signer.Public) }) {
			n++
		}
	}
	return n
}

// only gives m with the signatures of roots alone.
func (m *message) only(roots []RootKey) *message {
	c := newMessage(m.cose.Payload, m.kind)
	part := &message{raw: m.raw, kind: m.kind, cose: c}
	for i, id := range m.signers {
		if slices.ContainsFunc(roots, func(r RootKey) bool { return r.ID() == id }) {
			c.Signatures, part.signers = append(c.Signatures, m.cose.Signatures[i]), append(part.signers, id)
		}
	}
	return part
}

func newMessage(payload []byte, k kind) *cose.SignMessage {
	m := cose.NewSignMessage()
	m.Headers.Protected[cose.HeaderLabelContentType] = string(k)
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

// seal adds the signatures of signers to a payload that may have some. A root
// that has signed already is not asked again: Ed25519 would say the same.
func seal(payload []byte, k kind, have []*cose.Signature, ids [][8]byte, signers []RootSigner) ([]byte, error) {
	m := newMessage(payload, k)
	protected, err := m.Headers.MarshalProtected()
	if err != nil {
		return nil, fmt.Errorf("bundle: sign: %w", err)
	}
	byID := map[[8]byte]*cose.Signature{}
	for i, id := range ids {
		byID[id] = newSignature(id, have[i].Signature)
	}
	for _, s := range signers {
		id := s.Root.ID()
		if byID[id] != nil {
			continue
		}
		signature := newSignature(id, nil)
		if err := signature.Sign(nil, coseSigner{s}, protected, payload, nil); err != nil {
			return nil, fmt.Errorf("bundle: sign: %w", err)
		}
		byID[id] = signature
		ids = append(slices.Clip(ids), id)
	}
	if len(ids) > SignaturesMax {
		return nil, ErrMalformed.Explain("%d signatures, at most %d are allowed", len(ids), SignaturesMax)
	}
	for _, id := range slices.SortedFunc(slices.Values(ids), compareIDs) {
		m.Signatures = append(m.Signatures, byID[id])
	}
	raw, err := m.MarshalCBOR()
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if len(raw) > BytesMax {
		return nil, ErrMalformed.Explain("%d bytes, at most %d are allowed", len(raw), BytesMax)
	}
	return raw, nil
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
