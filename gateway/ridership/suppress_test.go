package ridership

import (
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
)

// filled makes a table of counts with its totals; every rider counts once.
func filled(counts [][]int) *Table {
	c := newCounter()
	next := uint32(0)
	for r, row := range counts {
		for k, n := range row {
			for range n {
				next++
				c.add(string(rune('a'+r)), string(rune('A'+k)), citygate.Rider{Index: next}, 1)
			}
		}
	}
	return c.table()
}

// TestNothingFollows: after Protect no suppressed count follows from what is
// published. The oracle solves the equations of all lines by elimination.
func TestNothingFollows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, columns := rapid.IntRange(1, 5).Draw(t, "rows"), rapid.IntRange(1, 5).Draw(t, "columns")
		counts := make([][]int, rows)
		for r := range counts {
			for range columns {
				counts[r] = append(counts[r], rapid.SampledFrom([]int{0, 0, 1, 3, 9, 10, 11, 25, 60}).Draw(t, "count"))
			}
		}
		table := filled(counts)
		if len(table.Rows) == 0 {
			return
		}
		before := filled(counts)
		table.Protect(MinCell)
		for r, row := range table.Cells {
			for c, cell := range row {
				was := before.Cells[r][c]
				switch {
				case cell.Suppressed && (cell.Count != 0 || cell.Riders != 0):
					t.Fatalf("a suppressed cell keeps its count: %+v", cell)
				case cell.Suppressed && was.Count == 0:
					t.Fatal("a count of 0 was suppressed, and follows from its sign")
				case !cell.Suppressed && was.Count > 0 && was.Riders < MinCell:
					t.Fatalf("%d riders were published", was.Riders)
				case !cell.Suppressed && cell != was:
					t.Fatalf("a published count changed: %+v, was %+v", cell, was)
				}
			}
		}
		if cell, follows := derivable(table); follows {
			t.Fatalf("the cell %v of %+v follows from the others", cell, table)
		}
	})
}

// derivable solves the table for its suppressed cells: each line says that its
// cells add up to its total. It gives a cell that has one solution alone.
func derivable(t *Table) (at [2]int, found bool) {
	var unknown [][2]int
	for r, row := range t.Cells {
		for c, cell := range row {
			if cell.Suppressed {
				unknown = append(unknown, [2]int{r, c})
			}
		}
	}
	var lines [][]*big.Rat
	lastRow, lastColumn := len(t.Cells)-1, len(t.Cells[0])-1
	for axis, n := range []int{lastRow + 1, lastColumn + 1} {
		for i := range n {
			line := make([]*big.Rat, len(unknown))
			for k, cell := range unknown {
				sign := int64(0)
				if cell[axis] == i {
					sign = 1
					if cell[1-axis] == []int{lastColumn, lastRow}[axis] {
						sign = -1
					}
				}
				line[k] = big.NewRat(sign, 1)
			}
			lines = append(lines, line)
		}
	}
	for k := range unknown { // reduced row echelon form
		pivot := slices.IndexFunc(lines, func(line []*big.Rat) bool {
			return line[k].Sign() != 0 && !slices.ContainsFunc(line[:k], func(v *big.Rat) bool { return v.Sign() != 0 })
		})
		if pivot < 0 {
			continue
		}
		scale := new(big.Rat).Inv(lines[pivot][k])
		for i := range lines[pivot] {
			lines[pivot][i] = new(big.Rat).Mul(lines[pivot][i], scale)
		}
		for l := range lines {
			if factor := lines[l][k]; l != pivot && factor.Sign() != 0 {
				for i := range lines[l] {
					lines[l][i] = new(big.Rat).Sub(lines[l][i], new(big.Rat).Mul(factor, lines[pivot][i]))
				}
			}
		}
	}
	for _, line := range lines { // a line of one unknown says what it is
		only := -1
		for k, v := range line {
			if v.Sign() != 0 {
				if only >= 0 {
					only = -2
					break
				}
				only = k
			}
		}
		if only >= 0 {
			return unknown[only], true
		}
	}
	return at, false
}

// TestTheOracleFinds: the check of the test above can fail.
func TestTheOracleFinds(t *testing.T) {
	table := filled([][]int{{3, 20}, {40, 50}})
	table.Cells[0][0] = Cell{Suppressed: true} // alone in its lines
	if at, follows := derivable(table); !follows || at != [2]int{0, 0} {
		t.Errorf("%v %v", at, follows)
	}
	// every line has two suppressed cells, and the one between two cycles follows
	table = filled([][]int{{20, 20, 20, 20}, {20, 20, 20, 20}, {20, 20, 20, 20}, {20, 20, 20, 20}})
	for _, cell := range [][2]int{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {2, 2}, {2, 3}, {3, 2}, {3, 3}, {1, 2}} {
		table.Cells[cell[0]][cell[1]] = Cell{Suppressed: true}
	}
	if at, follows := derivable(table); !follows || at != [2]int{1, 2} {
		t.Errorf("a bridge: %v %v", at, follows)
	}
}

func TestProtectKeepsWhatItCan(t *testing.T) {
	table := filled([][]int{{3, 20, 30}, {40, 50, 60}, {70, 12, 90}})
	table.Protect(MinCell)
	var gone [][2]int
	for r, row := range table.Cells {
		for c, cell := range row {
			if cell.Suppressed {
				gone = append(gone, [2]int{r, c})
			}
		}
	}
	// the cheapest way around 3 is 20, 12, 70 (102) or 20, 50, 40 (110)
	if want := [][2]int{{0, 0}, {0, 1}, {2, 0}, {2, 1}}; !slices.Equal(gone, want) {
		t.Errorf("suppressed %v, want %v", gone, want)
	}
}
