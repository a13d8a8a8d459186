package code

// A TextScheme is a [Scheme] whose codes also travel as text, for readers and
// phones that mangle bytes.
type TextScheme interface {
	Scheme
	// AppendText decodes scanned text and appends the code's bytes to dst. ok is
	// false when scanned is not in the scheme's text form at all; then dst comes
	// back as it was.
	AppendText(dst, scanned []byte) (raw []byte, ok bool, err error)
}

// A Dispatcher finds the scheme of a code among the ones a tenant allows. The
// zero Dispatcher allows none. Safe for concurrent use.
type Dispatcher struct{ schemes []Scheme }

// NewDispatcher allows schemes, in this order.
func NewDispatcher(schemes ...Scheme) *Dispatcher {
	return &Dispatcher{append([]Scheme(nil), schemes...)}
}

// Scheme gives an allowed scheme. A nil Dispatcher allows none.
func (d *Dispatcher) Scheme(id SchemeID) (Scheme, bool) {
	if d == nil {
		return nil, false
	}
	for _, s := range d.schemes {
		if s.ID() == id {
			return s, true
		}
	}
	return nil, false
}

// Binary gives the bytes of what a reader scanned: scanned itself, or, when it
// is the text form of an allowed scheme, the decoded bytes appended to dst.
func (d *Dispatcher) Binary(dst, scanned []byte) ([]byte, error) {
	for _, s := range d.schemes {
		t, ok := s.(TextScheme)
		if !ok {
			continue
		}
		if raw, ok, err := t.AppendText(dst, scanned); ok || err != nil {
			return raw, err
		}
	}
	return scanned, nil
}

// Parse parses raw as a code of the first scheme that is Sure of it. When none
// is, every scheme that says Maybe parses it and exactly one must succeed: bytes
// that two schemes would take are nobody's code. On error c is zero.
func (d *Dispatcher) Parse(raw []byte, c *Code) error {
	*c = Code{}
	maybe := false
	for _, s := range d.schemes {
		switch s.Sniff(raw) {
		case Sure:
			return clearOnError(s.Parse(raw, c), c)
		case Maybe:
			maybe = true
		case No:
		}
	}
	if !maybe {
		return ErrUnsupported
	}
	// Two passes instead of a second Code: a local one would escape to the heap.
	var winner Scheme
	for _, s := range d.schemes {
		if s.Sniff(raw) != Maybe || s.Parse(raw, c) != nil {
			continue
		}
		if winner != nil {
			*c = Code{}
			return ErrMalformed
		}
		winner = s
	}
	*c = Code{}
	if winner == nil {
		return ErrMalformed
	}
	return clearOnError(winner.Parse(raw, c), c)
}

// Verify checks the signatures of c, which Parse filled in, also by the keys that a
// [FormerKeySource] knows.
func (d *Dispatcher) Verify(c *Code, keys KeySource, credentials CredentialCache) Verdict {
	for _, s := range d.schemes {
		if s.ID() == c.Scheme {
			return VerifyLate(s, c, keys, credentials)
		}
	}
	return Refuse(Unsupported)
}

// VerifyLate is s.Verify, and again by the keys that a [FormerKeySource] knows, one
// after another, as long as the issuer's signature does not hold.
func VerifyLate(s Scheme, c *Code, keys KeySource, credentials CredentialCache) Verdict {
	first := s.Verify(c, keys, credentials)
	late, ok := keys.(FormerKeySource)
	if !ok || !otherIssuer(first) {
		return first
	}
	for _, former := range late.Former() {
		if v := s.Verify(c, former, credentials); !otherIssuer(v) {
			return v
		}
	}
	return first
}

// otherIssuer reports whether another key of the issuer's could make a difference.
func otherIssuer(v Verdict) bool {
	return v.Outcome == Reject && (v.Reason == BadIssuerSignature || v.Reason == BadIssuerCert)
}

func clearOnError(err error, c *Code) error {
	if err != nil {
		*c = Code{}
	}
	return err
}
