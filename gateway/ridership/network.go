package ridership

import (
	"container/heap"
	"slices"
)

// MinCell is the fewest riders that a published count may be about, and how far at
// least the smallest and the largest value lie apart that a suppressed count can
// have for all who know what is published.
const MinCell = 10

// A network holds counts that add up. Every count is an edge, and at every node
// what comes in is what goes out: the entries of the hours of a day into a stop are
// the day's entries of the stop, those of the days are the stop's, and so on to the
// rides that start there. All sums of the tables are such nodes and nothing else
// ties the counts, so that other tables with the same sums are found by going round
// in circles.
//
// # Why no suppressed count follows
//
// On a closed way through the network raise every count by [MinCell] that is passed
// along its direction, and lower by as much every one that is passed against it.
// All sums hold. If the way passes suppressed counts alone, and lowers none that is
// not above MinCell, then the table with the changed counts would have been
// published with the same numbers and gaps: who sees it cannot tell which of the
// two is true. Every suppressed count is on such a way, so for each there are two
// values, MinCell apart, that nobody can rule out, whoever solves the sums,
// inequalities between counts and none below 1 included. (Whoever knows some
// rides knows more: somebody's own ride is no secret to him.)
//
// A count below MinCell riders is only ever raised. That there is a way round is
// the same as that both its ends lie in one strongly connected part of what can be
// passed; where they do not, protect buys the cheapest way by suppressing the
// counts on it, and joins what lies on it. A bought count is on the way it was
// bought for.
type network struct {
	edges []edge
	nodes int

	incident [][]int32 // edges by node
	part     []int32   // union-find over nodes
	members  [][]int32 // nodes of a part, by its root
}

// An edge is a count that is above 0.
type edge struct {
	from, to int32
	n        int
	few      bool // fewer than MinCell riders are behind it
	free     bool // nobody publishes it: such as rides that were not ended
	rigid    bool // raising it would break what another table says
	held     int  // of n, what another table needs: it is not lowered below

	hidden bool
}

// node adds a node.
func (w *network) node() int32 {
	w.nodes++
	return int32(w.nodes - 1)
}

// add adds a count and gives its number. Counts of 0 are no edges: they are
// published.
func (w *network) add(e edge) int32 {
	w.edges = append(w.edges, e)
	return int32(len(w.edges) - 1)
}

// lowers reports whether an edge can be passed against its direction.
func (e *edge) lowers() bool { return !e.few && e.n-max(e.held, 1) >= MinCell }

// price is what it costs to pass an edge that is published.
func (e *edge) price() int {
	if e.hidden || e.free {
		return 0
	}
	return e.n
}

// protect suppresses every count with too few riders, and others, until all are on
// ways round. It reports false where that cannot be done; then nothing of the
// network may be published.
func (w *network) protect() bool {
	w.incident = make([][]int32, w.nodes)
	for i := range w.edges {
		e := &w.edges[i]
		e.hidden = e.few && !e.free
		w.incident[e.from] = append(w.incident[e.from], int32(i))
		w.incident[e.to] = append(w.incident[e.to], int32(i))
	}
	w.join()
	search := newSearch(w)
	for i := range w.edges {
		e := &w.edges[i]
		switch {
		case !e.hidden || !e.few:
		case e.rigid:
			return false
		case w.root(e.from) != w.root(e.to) && !search.way(w, e.to, e.from):
			return false
		}
	}
	return true
}

// join makes the parts: nodes between which there are ways both forth and back,
// over what costs nothing.
func (w *network) join() {
	w.part, w.members = make([]int32, w.nodes), make([][]int32, w.nodes)
	for i := range w.part {
		w.part[i], w.members[i] = int32(i), []int32{int32(i)}
	}
	order := make([]int32, 0, w.nodes) // by the end of a search forth
	seen := make([]bool, w.nodes)
	for start := range int32(w.nodes) {
		order = w.finish(start, seen, order)
	}
	clear(seen)
	for _, start := range slices.Backward(order) { // and back: what is reached is one part
		if seen[start] {
			continue
		}
		seen[start] = true
		for stack := []int32{start}; len(stack) > 0; {
			at := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			for _, i := range w.incident[at] {
				if next, price, ok := w.pass(i, at, true); ok && price == 0 && !seen[next] {
					seen[next] = true
					stack = append(stack, next)
					w.union(start, next)
				}
			}
		}
	}
}

// finish adds what is reached from start to order, each node after all beyond it.
func (w *network) finish(start int32, seen []bool, order []int32) []int32 {
	if seen[start] {
		return order
	}
	type visit struct{ node, next int32 }
	seen[start] = true
	for stack := []visit{{node: start}}; len(stack) > 0; {
		top := &stack[len(stack)-1]
		if int(top.next) == len(w.incident[top.node]) {
			order = append(order, top.node)
			stack = stack[:len(stack)-1]
			continue
		}
		i := w.incident[top.node][top.next]
		top.next++
		if next, price, ok := w.pass(i, top.node, false); ok && price == 0 && !seen[next] {
			seen[next] = true
			stack = append(stack, visit{node: next})
		}
	}
	return order
}

// pass says where edge i leads from a node, and for what. Backward asks from where
// it leads to the node.
func (w *network) pass(i, at int32, backward bool) (next int32, price int, ok bool) {
	e := &w.edges[i]
	if (e.from == at) != backward { // along its direction
		next, ok = e.to, !e.rigid
	} else {
		next, ok = e.from, e.lowers()
	}
	if backward && e.from != at {
		next = e.from
	} else if backward {
		next = e.to
	}
	return next, e.price(), ok
}

func (w *network) root(n int32) int32 {
	for w.part[n] != n {
		w.part[n] = w.part[w.part[n]]
		n = w.part[n]
	}
	return n
}

func (w *network) union(a, b int32) {
	a, b = w.root(a), w.root(b)
	if a == b {
		return
	}
	if len(w.members[a]) < len(w.members[b]) {
		a, b = b, a
	}
	w.part[b], w.members[a], w.members[b] = a, append(w.members[a], w.members[b]...), nil
}

// A search finds cheapest ways between parts.
type search struct {
	cost  []int
	by    []int32 // the edge over which a part was reached
	from  []int32 // the part before
	round []int32 // in which search the part was reached
	done  []int32
	now   int32
	queue ways
}

func newSearch(w *network) *search {
	return &search{cost: make([]int, w.nodes), by: make([]int32, w.nodes), from: make([]int32, w.nodes), round: make([]int32, w.nodes), done: make([]int32, w.nodes)}
}

// way suppresses what lies on the cheapest way from one node to another, and joins
// the parts on it.
func (s *search) way(w *network, from, to int32) bool {
	s.now++
	s.queue = s.queue[:0]
	start, goal := w.root(from), w.root(to)
	s.cost[start], s.round[start], s.by[start] = 0, s.now, -1
	heap.Push(&s.queue, reached{0, start})
	for s.queue.Len() > 0 {
		at, _ := heap.Pop(&s.queue).(reached)
		if s.done[at.part] == s.now {
			continue
		}
		s.done[at.part] = s.now
		if at.part == goal {
			s.buy(w, start, goal)
			return true
		}
		for _, node := range w.members[at.part] {
			for _, i := range w.incident[node] {
				next, price, ok := w.pass(i, node, false)
				next = w.root(next)
				if !ok || s.done[next] == s.now {
					continue
				}
				if cost := at.cost + price; s.round[next] != s.now || cost < s.cost[next] {
					s.cost[next], s.round[next], s.by[next], s.from[next] = cost, s.now, i, at.part
					heap.Push(&s.queue, reached{cost, next})
				}
			}
		}
	}
	return false
}

func (s *search) buy(w *network, start, goal int32) {
	joined := []int32{goal}
	for at := goal; at != start; at = s.from[at] {
		if e := &w.edges[s.by[at]]; !e.free {
			e.hidden = true
		}
		joined = append(joined, s.from[at])
	}
	for _, part := range joined[1:] {
		w.union(joined[0], part)
	}
}

// A reached part is one that was reached, and for how much.
type reached struct {
	cost int
	part int32
}

// ways is the heap of Dijkstra's algorithm; equal costs go by part, so that the
// same counts are always protected in the same way.
type ways []reached

func (q ways) Len() int { return len(q) }
func (q ways) Less(i, j int) bool {
	if q[i].cost != q[j].cost {
		return q[i].cost < q[j].cost
	}
	return q[i].part < q[j].part
}
func (q ways) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *ways) Push(x any) {
	if one, ok := x.(reached); ok {
		*q = append(*q, one)
	}
}
func (q *ways) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
