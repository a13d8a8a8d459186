package fare

import (
	"errors"
	"fmt"
	"slices"
)

// A Split is the promise never to charge more than a rider would pay who leaves
// and enters again on the way: at stations At (none: at any of the table), up to
// Breaks times.
type Split struct {
	Breaks int      `json:"breaks"`
	At     []string `json:"at,omitempty"`
}

const maxBreaks = 3

func (t *Table) check() error {
	n := len(t.Stops)
	if n == 0 || n > 4096 || (len(t.Names) != 0 && len(t.Names) != n) {
		return errors.New("table: 1 to 4096 stops and as many names, or none, are required")
	}
	t.index = make(map[string]int, n)
	for i, stop := range t.Stops {
		if _, taken := t.index[stop]; taken || stop == "" {
			return fmt.Errorf("table: the stop %q is empty or given twice", stop)
		}
		t.index[stop] = i
	}
	for _, pair := range t.Linked {
		_, a := t.index[pair[0]]
		_, b := t.index[pair[1]]
		if !a || !b {
			return fmt.Errorf("table: linked stops %v are not both in the table", pair)
		}
	}
	if sp := t.Split; sp != nil {
		if sp.Breaks < 1 || sp.Breaks > maxBreaks {
			return fmt.Errorf("table: never_more_than_split: 1 to %d breaks are possible", maxBreaks)
		}
		for _, stop := range sp.At {
			if _, known := t.index[stop]; !known {
				return fmt.Errorf("table: never_more_than_split: no stop %q", stop)
			}
		}
	}
	if len(t.Amounts) == 0 {
		return errors.New("table: no amounts")
	}
	for c, cells := range t.Amounts {
		if c == "" || len(cells) != n*n {
			return fmt.Errorf("table: category %q has %d cells, want %d", c, len(cells), n*n)
		}
		for i, minor := range cells {
			if minor < NoPrice || minor > maxAmount {
				return fmt.Errorf("table: category %q, cell %d: %d is out of range", c, i, minor)
			}
			if i%(n+1) == 0 && minor != NoPrice {
				return fmt.Errorf("table: category %q: the row of %q to itself is not a price; leave it %d", c, t.Stops[i/n], NoPrice)
			}
		}
	}
	return nil
}

// linked reports whether a and b are one station to the rider.
func (t *Table) linked(a, b string) bool {
	return slices.Contains(t.Linked, [2]string{a, b}) || slices.Contains(t.Linked, [2]string{b, a})
}

// split gives the cheapest way from a to b with up to the allowed number of
// breaks, and where it breaks; direct is what it costs without. Where two ways
// cost the same the one with fewer breaks, and then the one whose stops come
// first in the table, is taken.
func (t *Table) split(cells []int64, a, b int, direct int64) (int64, []string) {
	sp := t.Split
	at := make([]int, 0, len(t.Stops))
	if len(sp.At) == 0 {
		for i := range t.Stops {
			at = append(at, i)
		}
	} else {
		for i, stop := range t.Stops {
			if slices.Contains(sp.At, stop) {
				at = append(at, i)
			}
		}
	}
	n := len(t.Stops)
	cell := func(from, to int) int64 { return cells[from*n+to] }
	// reach[i] is the cheapest way from a to at[i] with the breaks so far.
	reach, via := make([]int64, len(at)), make([][]string, len(at))
	for i, stop := range at {
		reach[i] = NoPrice
		if stop != a && stop != b {
			reach[i], via[i] = cell(a, stop), []string{t.Stops[stop]}
		}
	}
	best, breaks := direct, []string(nil)
	for round := 1; ; round++ {
		for i, stop := range at {
			if last := cell(stop, b); reach[i] != NoPrice && last != NoPrice && stop != b && reach[i]+last < best {
				best, breaks = reach[i]+last, via[i]
			}
		}
		if round == sp.Breaks {
			return best, breaks
		}
		further, furtherVia := slices.Clone(reach), slices.Clone(via)
		for i, from := range at {
			for k, to := range at {
				if c := cell(from, to); reach[i] != NoPrice && c != NoPrice && to != a && to != b && to != from &&
					(further[k] == NoPrice || reach[i]+c < further[k]) {
					further[k], furtherVia[k] = reach[i]+c, append(slices.Clone(via[i]), t.Stops[to])
				}
			}
		}
		reach, via = further, furtherVia
	}
}
