package bundle

import "slices"

// Signatures gives the signatures of a bundle that Inspect accepted.
func Signatures(raw []byte) [][]byte {
	m, err := readMessage(raw, bundleKind)
	if err != nil {
		return nil
	}
	var out [][]byte
	for _, s := range m.cose.Signatures {
		out = append(out, s.Signature)
	}
	return out
}

// Encode builds the file from the decoded fields and signatures made before.
func Encode(b *Bundle, ids [][8]byte, signatures [][]byte) ([]byte, error) {
	content, err := b.encode()
	if err != nil {
		return nil, err
	}
	return envelope(content, bundleKind, ids, signatures)
}

// EncodeRoots does the same for a root set.
func EncodeRoots(s RootSet) ([]byte, error) {
	content, err := s.encode()
	if err != nil || s.m == nil {
		return content, err
	}
	var signatures [][]byte
	for _, x := range s.m.cose.Signatures {
		signatures = append(signatures, x.Signature)
	}
	return envelope(content, rootsKind, s.m.signers, signatures)
}

func envelope(content []byte, k kind, ids [][8]byte, signatures [][]byte) ([]byte, error) {
	m := newMessage(content, k)
	for i := range ids {
		m.Signatures = append(m.Signatures, newSignature(ids[i], signatures[i]))
	}
	return m.MarshalCBOR()
}

// Payload gives what the signatures of a bundle cover.
func Payload(raw []byte) []byte {
	m, err := readMessage(raw, bundleKind)
	if err != nil {
		return nil
	}
	return m.cose.Payload
}

// SignPayload signs any payload, canonical or not, as a bundle or as a root set.
func SignPayload(payload []byte, roots bool, signers ...RootSigner) ([]byte, error) {
	k := bundleKind
	if roots {
		k = rootsKind
	}
	return seal(payload, k, nil, nil, signers)
}

// Unordered puts signatures into the envelope as they come, twice if they come
// twice.
func Unordered(raw []byte, order ...int) ([]byte, error) {
	m, err := readMessage(raw, bundleKind)
	if err != nil {
		return nil, err
	}
	c := newMessage(m.cose.Payload, bundleKind)
	for _, i := range order {
		c.Signatures = append(c.Signatures, newSignature(m.signers[i], m.cose.Signatures[i].Signature))
	}
	return c.MarshalCBOR()
}

// Unchecked gives the payload of b, sorted and whatever is in it.
func Unchecked(b *Bundle) []byte {
	slices.SortStableFunc(b.Tenants, compareTenants)
	slices.SortStableFunc(b.Keys, compareKeys)
	slices.SortStableFunc(b.Schemes, compareSchemes)
	raw, err := b.encode()
	if err != nil {
		panic(err)
	}
	return raw
}
