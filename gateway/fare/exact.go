package fare

import (
	"cmp"
	"math/bits"
)

// An exact is a price before its one rounding step: (hi, lo) / 1000^scale minor
// units, never negative. Every share is in permille, so a share of a share stays
// exact: four of them over the largest amount of a tariff need less than 100 bits.
type exact struct {
	hi, lo uint64
	scale  int
}

func minor(m int64) exact { return exact{lo: uint64(max(m, 0))} }

// times multiplies by a small number without changing the scale.
func (e exact) times(n uint64) exact {
	hi, lo := bits.Mul64(e.lo, n)
	return exact{e.hi*n + hi, lo, e.scale}
}

// share is permille thousandths of e.
func (e exact) share(permille int64) exact {
	out := e.times(uint64(permille))
	out.scale++
	return out
}

// to gives e in a scale that is not smaller.
func (e exact) to(scale int) exact {
	for e.scale < scale {
		e = e.times(1000)
		e.scale++
	}
	return e
}

// less gives e - o, and 0 where o is more.
func (e exact) less(o exact) exact {
	scale := max(e.scale, o.scale)
	e, o = e.to(scale), o.to(scale)
	if e.cmp(o) <= 0 {
		return exact{}
	}
	lo, borrow := bits.Sub64(e.lo, o.lo, 0)
	hi, _ := bits.Sub64(e.hi, o.hi, borrow)
	return exact{hi, lo, scale}
}

// plus gives e + o.
func (e exact) plus(o exact) exact {
	scale := max(e.scale, o.scale)
	e, o = e.to(scale), o.to(scale)
	lo, carry := bits.Add64(e.lo, o.lo, 0)
	hi, _ := bits.Add64(e.hi, o.hi, carry)
	return exact{hi, lo, scale}
}

func (e exact) cmp(o exact) int {
	scale := max(e.scale, o.scale)
	e, o = e.to(scale), o.to(scale)
	return cmp.Or(cmp.Compare(e.hi, o.hi), cmp.Compare(e.lo, o.lo))
}

// div gives e / unit in whole units, and whether something is left and whether
// that is half a unit or more.
func (e exact) div(unit int64) (whole int64, rest, half bool) {
	d := exact{lo: uint64(unit)}.to(e.scale) // below 2^64 up to a unit of 2^24 and scale 4
	if d.hi != 0 {                           // a unit no price reaches
		return 0, e != exact{scale: e.scale}, false
	}
	qh, r := e.hi/d.lo, e.hi%d.lo
	q, r := bits.Div64(r, e.lo, d.lo)
	if qh != 0 {
		return 0, true, true // out of range: compile bounds every amount
	}
	return int64(q), r != 0, r >= d.lo-r
}

// floor is the amount as it is shown: whole minor units, rounded down.
func (e exact) floor() int64 {
	whole, _, _ := e.div(1)
	return whole
}
