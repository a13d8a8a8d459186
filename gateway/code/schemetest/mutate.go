package schemetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/cashlesscity/citygate/gateway/code"
)

// mutations tampers with the accepted and deferred vectors, over and over, from
// a fixed seed.
func (k *kit) mutations(t T) {
	t.Helper()
	var base []*Vector
	genuine := map[identity]bool{}
	uses := map[code.Use]bool{}
	for i := range k.Vectors {
		v := &k.Vectors[i]
		if v.Outcome == code.Reject {
			continue
		}
		var c code.Code
		k.prove(v, v.Raw, nil, &c)
		genuine[identityOf(&c)], uses[c.Use()] = true, true
		base = append(base, v)
	}
	if len(base) == 0 {
		t.Fatalf("no vector to tamper with")
		return
	}
	cache := code.NewCredentials(1024)
	m := mutator{rng: rand.New(rand.NewPCG(20181, 1179)), base: base}
	verified := 0
	for n := range k.Mutations {
		v, bad := m.next()
		if v == nil {
			continue // it came out as it was
		}
		if problem := k.tampered(v, bad, genuine, uses, cache, &verified); problem != "" {
			t.Errorf("mutation %d of %s: %s: %x", n, v.Name, problem, bad)
			return
		}
	}
	if verified == 0 {
		t.Errorf("no tampered code got past its form: the form decides all, or the mutations are too coarse")
	}
}

// tampered says what is wrong with the answer to a tampered code.
func (k *kit) tampered(v *Vector, bad []byte, genuine map[identity]bool, uses map[code.Use]bool, cache code.CredentialCache, verified *int) (problem string) {
	defer func() {
		if p := recover(); p != nil {
			problem = fmt.Sprintf("panic: %v", p)
		}
	}()
	var c code.Code
	k.Scheme.Sniff(bad)
	if k.Scheme.Parse(bad, &c) != nil || *verified >= k.VerifyMax {
		return ""
	}
	*verified++
	if *verified%2 == 0 {
		cache = nil
	}
	c.Place(v.At)
	switch got := k.Scheme.Verify(&c, v.Keys, cache); got.Outcome {
	case code.Accept:
		if !genuine[identityOf(&c)] {
			return fmt.Sprintf("accepted as %+v", identityOf(&c))
		}
		if v.Outcome == code.Defer {
			return "accepted, and nobody can prove a deferred code"
		}
	case code.Defer:
		if uses[c.Use()] && !slices.ContainsFunc(k.Vectors, func(v Vector) bool { return looseOnly(&v, bad) }) {
			return "deferred with the replay key of a genuine code"
		}
	case code.Reject:
		if !got.Reason.Known() {
			return fmt.Sprintf("refused as %q", got.Reason)
		}
	}
	return ""
}

// looseOnly reports whether bad differs from v in loose bytes alone.
func looseOnly(v *Vector, bad []byte) bool {
	if len(bad) != len(v.Raw) {
		return false
	}
	loose := make([]bool, len(bad))
	for _, r := range v.Loose {
		mark(loose, r)
	}
	for i := range bad {
		if bad[i] != v.Raw[i] && !loose[i] {
			return false
		}
	}
	return true
}

// A mutator makes tampered codes.
type mutator struct {
	rng  *rand.Rand
	base []*Vector
	buf  []byte
}

// next gives a tampered code of a vector; nil when the change changed nothing.
// The bytes are good until the next call and have no room behind them, so that
// reading past their end is a panic.
func (m *mutator) next() (*Vector, []byte) {
	v := m.base[m.rng.IntN(len(m.base))]
	b := append(m.buf[:0], v.Raw...)
	for range 1 + m.rng.IntN(3) {
		b = m.change(b)
	}
	m.buf = b[:0]
	for _, other := range m.base {
		if bytes.Equal(b, other.Raw) {
			return nil, nil
		}
	}
	return v, b[:len(b):len(b)]
}

var telling = []byte{0, 1, 2, 3, 4, 0x7f, 0x80, 0x81, 0xfe, 0xff, '0', '9', 'A', ':', '.'}

// change applies one change; most keep the length, since a code of another
// length seldom gets past its form.
func (m *mutator) change(b []byte) []byte {
	if len(b) == 0 {
		return append(b, telling[m.rng.IntN(len(telling))])
	}
	at := m.rng.IntN(len(b))
	switch m.rng.IntN(12) {
	default:
		b[at] ^= 1 << m.rng.IntN(8)
	case 5:
		b[at] = byte(m.rng.Uint32())
	case 6:
		b[at] = telling[m.rng.IntN(len(telling))]
	case 7: // a piece of another genuine code in its place
		other := m.base[m.rng.IntN(len(m.base))].Raw
		if at < len(other) {
			n := min(1+m.rng.IntN(80), len(b)-at, len(other)-at)
			copy(b[at:at+n], other[at:at+n])
		}
	case 8:
		n := min(1+m.rng.IntN(40), len(b)-at)
		b = append(b[:at], b[at+n:]...)
	case 9:
		n := min(1+m.rng.IntN(8), len(b)-at)
		b = append(b, b[at:at+n]...)
	case 10:
		b = b[:at]
	case 11:
		other := m.rng.IntN(len(b))
		b[at], b[other] = b[other], b[at]
	}
	return b
}
