package ridership

import (
	"container/heap"
	"slices"

	"github.com/cashlesscity/citygate"
)

// MinCell is the fewest riders that a published count may be about.
const MinCell = 10

// A Table counts by two names. The last row and the last column of Cells are the
// totals.
type Table struct {
	Rows, Columns []string
	Cells         [][]Cell
}

// A Cell is a count and how many different riders are behind it. A suppressed
// cell keeps neither.
type Cell struct {
	Count      int
	Riders     int
	Suppressed bool
}

// A counter fills a table.
type counter struct {
	counts map[[2]string]int
	riders map[[2]string]map[citygate.Rider]bool
}

// total is the name under which totals are counted: no stop or line is called so.
const total = "\x00total"

func newCounter() *counter {
	return &counter{counts: map[[2]string]int{}, riders: map[[2]string]map[citygate.Rider]bool{}}
}

// add counts n people of one rider's code, in the cell and its totals.
func (c *counter) add(row, column string, who citygate.Rider, n int) {
	for _, key := range [][2]string{{row, column}, {row, total}, {total, column}, {total, total}} {
		c.counts[key] += n
		if c.riders[key] == nil {
			c.riders[key] = map[citygate.Rider]bool{}
		}
		c.riders[key][who] = true
	}
}

func (c *counter) table() *Table {
	t := &Table{Rows: []string{}, Columns: []string{}}
	for key := range c.counts {
		if key[1] == total && key[0] != total {
			t.Rows = append(t.Rows, key[0])
		}
		if key[0] == total && key[1] != total {
			t.Columns = append(t.Columns, key[1])
		}
	}
	slices.Sort(t.Rows)
	slices.Sort(t.Columns)
	for _, row := range append(slices.Clone(t.Rows), total) {
		cells := make([]Cell, 0, len(t.Columns)+1)
		for _, column := range append(slices.Clone(t.Columns), total) {
			key := [2]string{row, column}
			cells = append(cells, Cell{Count: c.counts[key], Riders: len(c.riders[key])})
		}
		t.Cells = append(t.Cells, cells)
	}
	return t
}

// Protect suppresses every count that fewer than least riders are behind, and
// then more, until no suppressed count can be derived from the others.
//
// The argument: take rows and columns, totals included, as the nodes of a graph
// and the suppressed cells as its edges. Every line of the table says that its
// cells add up to its total. Around a cycle of suppressed cells 1 can be added
// and taken in turns and every line still holds; so a cell on a cycle has more
// than one possible value, also for one who knows that no count is negative,
// because only counts above 0 are suppressed. A cell on no cycle follows from
// the rest. So every suppressed cell is put on a cycle, by suppressing the cells
// of the cheapest way around it: such a way always exists, for a count above 0
// has totals above 0.
func (t *Table) Protect(least int) {
	for _, row := range t.Cells {
		for c := range row {
			row[c].Suppressed = row[c].Count > 0 && row[c].Riders < least
		}
	}
	for r := range t.Cells {
		for c := range t.Cells[r] {
			if t.Cells[r][c].Suppressed {
				t.encircle(r, c)
			}
		}
	}
	for _, row := range t.Cells {
		for c := range row {
			if row[c].Suppressed {
				row[c] = Cell{Suppressed: true}
			}
		}
	}
}

// encircle suppresses the cheapest way from row r to column c beside the cell
// itself. Cells suppressed already cost nothing; others what they count.
func (t *Table) encircle(r, c int) {
	rows := len(t.Cells)
	nodes := rows + len(t.Cells[0])
	cost, from := make([]int, nodes), make([]int, nodes)
	for i := range cost {
		cost[i], from[i] = -1, -1
	}
	queue := &ways{{to: r, from: r}}
	for queue.Len() > 0 {
		w, _ := heap.Pop(queue).(way)
		if cost[w.to] >= 0 {
			continue
		}
		cost[w.to], from[w.to] = w.cost, w.from
		if w.to == rows+c {
			break
		}
		for next := range nodes {
			if (next < rows) == (w.to < rows) || cost[next] >= 0 {
				continue
			}
			row, column := min(w.to, next), max(w.to, next)-rows
			cell := t.Cells[row][column]
			if cell.Count == 0 || row == r && column == c {
				continue
			}
			price := cell.Count
			if cell.Suppressed {
				price = 0
			}
			heap.Push(queue, way{w.cost + price, next, w.to})
		}
	}
	for at := rows + c; at != r && from[at] >= 0; at = from[at] {
		row, column := min(at, from[at]), max(at, from[at])-rows
		t.Cells[row][column].Suppressed = true
	}
}

type way struct{ cost, to, from int }

// ways is the heap of Dijkstra's algorithm; equal costs go by node, so that the
// same table is always protected in the same way.
type ways []way

func (w ways) Len() int { return len(w) }
func (w ways) Less(i, j int) bool {
	if w[i].cost != w[j].cost {
		return w[i].cost < w[j].cost
	}
	return w[i].to < w[j].to
}
func (w ways) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *ways) Push(x any) {
	if one, ok := x.(way); ok {
		*w = append(*w, one)
	}
}
func (w *ways) Pop() any {
	old := *w
	last := old[len(old)-1]
	*w = old[:len(old)-1]
	return last
}
