package rotating

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// ID names the scheme.
const ID code.SchemeID = "rotating"

const (
	passMax  = 64
	timeMax  = 15 // digits: more than any time in milliseconds
	textMax  = 400
	stepsOff = 1 // before and after the step of the tap
)

// Scheme reads one tenant's passes. New makes it; it does not change.
type Scheme struct {
	params  Params
	pattern []token
}

var _ code.Scheme = (*Scheme)(nil)

// ID gives "rotating".
func (*Scheme) ID() code.SchemeID { return ID }

// A shown text, taken apart.
type shown struct {
	pass, value []byte
	timed       bool
	step        int64 // claimed, if timed
}

// match takes a text apart; ok is false when it does not follow the pattern.
func (s *Scheme) match(raw []byte) (m shown, ok bool) {
	if len(raw) > textMax {
		return m, false
	}
	rest := raw
	for _, t := range s.pattern {
		if t.field == literal {
			if !bytes.HasPrefix(rest, []byte(t.text)) {
				return m, false
			}
			rest = rest[len(t.text):]
			continue
		}
		n, most := 0, s.params.Digits
		switch t.field {
		case pass:
			most = passMax
		case seconds, millis:
			most = timeMax
		case value, literal:
		}
		for n < len(rest) && n < most && t.holds(rest[n]) {
			n++
		}
		part := rest[:n]
		rest = rest[n:]
		switch t.field {
		case pass:
			m.pass = part
		case value:
			m.value = part
		case seconds, millis:
			m.timed = true
			if m.step, ok = s.step(part, t.field); !ok {
				return m, false
			}
		case literal:
		}
	}
	return m, len(rest) == 0 && len(m.pass) > 0 && len(m.value) == s.params.Digits
}

// step reads a time on the barcode. It has no leading zeros.
func (s *Scheme) step(digits []byte, unit field) (int64, bool) {
	if len(digits) == 0 || digits[0] == '0' {
		return 0, false
	}
	n := int64(0)
	for _, d := range digits {
		n = n*10 + int64(d-'0')
	}
	if unit == millis {
		n /= 1000
	}
	return n / s.params.Period, true
}

// Sniff is Maybe for a text that follows the pattern: another tenant's texts may.
func (s *Scheme) Sniff(raw []byte) code.Match {
	if _, ok := s.match(raw); ok {
		return code.Maybe
	}
	return code.No
}

// Parse reads a text. c's Raw aliases raw. On error c is zero. The code is
// [code.Code.Timeless] even with a time on it, which nothing proves yet.
func (s *Scheme) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{}
	m, ok := s.match(raw)
	if !ok {
		return code.ErrMalformed
	}
	*c = code.Code{
		Scheme: ID, Raw: raw, Rider: citygate.Rider{Issuer: s.params.Issuer}, Timeless: true, Window: 2 * s.params.Period,
		CapMinor: s.params.Cap(), Party: 1, Account: code.Digest(ID, "account", m.pass),
	}
	if m.timed {
		c.Once = use(m.pass, m.step)
	} else {
		c.Once = code.Digest(ID, "value", m.pass, m.value) // until Verify knows the step
	}
	return nil
}

func use(pass []byte, step int64) [32]byte {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(step))
	return code.Digest(ID, "use", pass, n[:])
}

// Verify looks for the value in the steps around the tap, which is where the
// caller has placed c. When it is found c is moved to its step.
func (s *Scheme) Verify(c *code.Code, keys code.KeySource, _ code.CredentialCache) code.Verdict {
	m, ok := s.match(c.Raw)
	if !ok { // not what Parse gave
		return code.Refuse(code.Malformed)
	}
	secrets, ok := keys.(code.SecretSource)
	if !ok {
		return code.Refuse(code.UnknownIssuer)
	}
	secret, reason := secrets.Secret(ID, m.pass)
	if reason == "" && secret.IsZero() { // everybody knows the sums under an empty key
		reason = code.UnknownKey
	}
	if reason != "" {
		return code.Refuse(reason)
	}
	tap := c.GeneratedAt / s.params.Period
	first, last := tap-stepsOff, tap+stepsOff
	if m.timed {
		switch {
		case m.step < first:
			return code.Refuse(code.ExpiredCode)
		case m.step > last:
			return code.Refuse(code.NotYetValid)
		}
		first, last = m.step, m.step
	}
	found := int64(-1)
	for step := max(0, first); step <= last; step++ {
		var want [8]byte
		s.params.Algorithm.Value(want[:s.params.Digits], secret, uint64(step))
		if subtle.ConstantTimeCompare(want[:s.params.Digits], m.value) == 1 {
			found = step
		}
	}
	if found < 0 {
		return code.Refuse(code.BadSecret)
	}
	c.GeneratedAt, c.Once = found*s.params.Period, use(m.pass, found)
	return code.Verdict{Outcome: code.Accept, Strength: code.SecretBound, Checked: code.SharedSecret | code.InWindow}
}
