package fare

import (
	"container/heap"
	"errors"
	"fmt"
)

// limits of a distance network, so that preparing a tariff stays bounded.
const (
	maxNetworkStops = 1024
	maxMetres       = 10_000_000
)

func (d *Distance) check() error {
	if d.Base.UpTo <= 0 || d.Base.Amount < 0 || d.Base.Amount > maxAmount {
		return errors.New("distance: the base needs upto_m > 0 and an amount")
	}
	end := d.Base.UpTo
	for i, b := range d.Bands {
		last := i == len(d.Bands)-1
		if b.Per <= 0 || b.Add < 0 || b.Add > maxAmount>>20 || (b.UpTo <= end && (b.UpTo != 0 || !last)) {
			return fmt.Errorf("distance: band %d: per_m > 0, add in range and rising upto_m are required; only the last may have no end", i+1)
		}
		end = b.UpTo
	}
	if len(d.Permille) == 0 {
		return errors.New("distance: no category has a permille share")
	}
	for c, share := range d.Permille {
		if c == "" || share < 0 || share > 10_000 {
			return fmt.Errorf("distance: category %q: the share %d is out of range", c, share)
		}
	}
	return d.measure()
}

// Amount gives the price of a distance for a rider who pays all of it. It
// reports false beyond the last band.
func (d *Distance) Amount(metres int64) (int64, bool) {
	if metres < 0 || metres > maxMetres {
		return 0, false
	}
	amount, from := d.Base.Amount, d.Base.UpTo
	for _, b := range d.Bands {
		if metres <= from {
			return amount, true
		}
		to := metres
		if b.UpTo != 0 {
			to = min(metres, b.UpTo)
		}
		amount += (to - from + b.Per - 1) / b.Per * b.Add
		from = to
	}
	return amount, metres <= from
}

// measure computes the shortest paths between all stops.
func (d *Distance) measure() error {
	d.index = make(map[string]int)
	type edge struct {
		to     int
		metres int64
	}
	var edges [][]edge
	stop := func(name string) int {
		i, known := d.index[name]
		if !known {
			i = len(edges)
			d.index[name] = i
			edges = append(edges, nil)
		}
		return i
	}
	for _, l := range d.Links {
		if l.A == "" || l.B == "" || l.A == l.B || l.Metres <= 0 || l.Metres > maxMetres {
			return fmt.Errorf("distance: the link %q to %q, %d m, is not one", l.A, l.B, l.Metres)
		}
		a, b := stop(l.A), stop(l.B)
		edges[a] = append(edges[a], edge{b, l.Metres})
		edges[b] = append(edges[b], edge{a, l.Metres})
	}
	n := len(edges)
	if n == 0 || n > maxNetworkStops {
		return fmt.Errorf("distance: %d stops; 2 to %d are possible", n, maxNetworkStops)
	}
	d.metres = make([][]int64, n)
	for from := range n {
		best := make([]int64, n)
		for i := range best {
			best[i] = -1
		}
		queue := frontier{{from, 0}}
		for len(queue) > 0 {
			at, _ := heap.Pop(&queue).(reached)
			if best[at.stop] >= 0 {
				continue
			}
			best[at.stop] = at.metres
			for _, e := range edges[at.stop] {
				if best[e.to] < 0 {
					heap.Push(&queue, reached{e.to, at.metres + e.metres})
				}
			}
		}
		d.metres[from] = best
	}
	return nil
}

// shortest gives the length of the shortest path, if both stops are known and joined.
func (d *Distance) shortest(from, to string) (metres int64, known, joined bool) {
	a, okA := d.index[from]
	b, okB := d.index[to]
	if !okA || !okB {
		return 0, false, false
	}
	m := d.metres[a][b]
	return m, true, m >= 0
}

type reached struct {
	stop   int
	metres int64
}

// frontier is the heap of Dijkstra's algorithm.
type frontier []reached

func (f frontier) Len() int           { return len(f) }
func (f frontier) Less(i, j int) bool { return f[i].metres < f[j].metres }
func (f frontier) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *frontier) Push(x any) {
	if r, ok := x.(reached); ok {
		*f = append(*f, r)
	}
}
func (f *frontier) Pop() any {
	old := *f
	last := old[len(old)-1]
	*f = old[:len(old)-1]
	return last
}
