package bundle

// Signatures gives the signatures of a bundle that Inspect accepted.
func Signatures(raw []byte) [][]byte {
	m, err := readMessage(raw)
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
	payload, err := encoder.Marshal(b)
	if err != nil {
		return nil, err
	}
	m := newMessage(payload)
	for i := range ids {
		m.Signatures = append(m.Signatures, newSignature(ids[i], signatures[i]))
	}
	return m.MarshalCBOR()
}

// Payload gives what the signatures of a bundle cover.
func Payload(raw []byte) []byte {
	m, err := readMessage(raw)
	if err != nil {
		return nil
	}
	return m.cose.Payload
}

// SignPayload signs any payload, canonical or not.
func SignPayload(payload []byte, s RootSigner) ([]byte, error) {
	m := newMessage(payload)
	m.Signatures = append(m.Signatures, newSignature(s.Root.ID(), nil))
	if err := m.Sign(nil, nil, coseSigner{s}); err != nil {
		return nil, err
	}
	return m.MarshalCBOR()
}
