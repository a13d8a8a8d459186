package ruleset

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/cashlesscity/citygate/policies/accept"
)

// alternativesMax bounds what a condition grows to on its way to a table row.
const alternativesMax = 256

// A wanted is the set of values a fact may have: spans of whole numbers, or texts,
// those named or all but those.
type wanted struct {
	spans []accept.Span
	texts []string // ascending
	not   bool
}

// A clause is what must hold at once; a fact that is missing may be anything.
type clause map[accept.Fact]wanted

// A refusal is why an expression has no place in a table.
type refusal struct {
	at       int64 // id of the expression
	variable string
	why      string
}

func (r *refusal) Error() string { return r.why }

// A lowering turns an expression into alternatives of clauses.
type lowering struct {
	areas map[string][]string
}

func (l *lowering) refuse(e ast.Expr, format string, args ...any) error {
	return &refusal{at: e.ID(), variable: firstIdent(e), why: fmt.Sprintf(format, args...)}
}

func firstIdent(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		return firstIdent(e.AsSelect().Operand())
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			if name := firstIdent(x); name != "" {
				return name
			}
		}
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			if name := firstIdent(call.Target()); name != "" {
				return name
			}
		}
		for _, x := range call.Args() {
			if name := firstIdent(x); name != "" {
				return name
			}
		}
	default: // a literal names nothing
	}
	return ""
}

const readersOnly = "readers are offline and decide by a table: "

// lower gives the alternatives in which e is true, or false if not.
func (l *lowering) lower(e ast.Expr, not bool) ([]clause, error) {
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().Value().(bool); ok {
			return constant(b != not), nil
		}
	case ast.IdentKind:
		if e.AsIdent() == accept.FactClockOK.String() {
			return single(accept.FactClockOK, wanted{spans: flag(!not)}), nil
		}
	case ast.CallKind:
		return l.call(e, not)
	default:
	}
	return nil, l.refuse(e, readersOnly+"this has no place in one")
}

func (l *lowering) call(e ast.Expr, not bool) ([]clause, error) {
	call := e.AsCall()
	args := call.Args()
	switch name := call.FunctionName(); name {
	case operators.LogicalNot:
		return l.lower(args[0], !not)
	case operators.LogicalAnd, operators.LogicalOr:
		return l.both(e, args[0], args[1], not, (name == operators.LogicalAnd) != not)
	case operators.Conditional:
		yes, err := l.both2(e, args[0], false, args[1], not)
		if err != nil {
			return nil, err
		}
		no, err := l.both2(e, args[0], true, args[2], not)
		if err != nil {
			return nil, err
		}
		return l.bounded(e, append(yes, no...))
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return l.compare(e, name, args[0], args[1], not)
	case operators.In:
		return l.in(e, args[0], args[1], not)
	default:
		return nil, l.refuse(e, readersOnly+"%s has no place in one", plainName(name))
	}
}

func plainName(name string) string {
	if shown, ok := operators.FindReverse(name); ok && shown != "" {
		return shown
	}
	return name
}

// both joins two conditions, by and or by or.
func (l *lowering) both(e, a, b ast.Expr, not, and bool) ([]clause, error) {
	if and {
		x, err := l.both2(e, a, not, b, not)
		return x, err
	}
	x, err := l.lower(a, not)
	if err != nil {
		return nil, err
	}
	y, err := l.lower(b, not)
	if err != nil {
		return nil, err
	}
	return l.bounded(e, append(x, y...))
}

func (l *lowering) both2(e, a ast.Expr, notA bool, b ast.Expr, notB bool) ([]clause, error) {
	x, err := l.lower(a, notA)
	if err != nil {
		return nil, err
	}
	y, err := l.lower(b, notB)
	if err != nil {
		return nil, err
	}
	if len(x)*len(y) > alternativesMax*8 {
		return nil, l.refuse(e, "%d alternatives, want at most %d: split the rule", len(x)*len(y), alternativesMax)
	}
	var out []clause
	for _, p := range x {
		for _, q := range y {
			if c, ok := p.and(q); ok {
				out = append(out, c)
			}
		}
	}
	return l.bounded(e, out)
}

// bounded drops alternatives that another one covers.
func (l *lowering) bounded(e ast.Expr, all []clause) ([]clause, error) {
	var out []clause
	for i, c := range all {
		covered := false
		for j, d := range all {
			covered = covered || i != j && d.covers(c) && (!c.covers(d) || j < i)
		}
		if !covered {
			out = append(out, c)
		}
	}
	if len(out) > alternativesMax {
		return nil, l.refuse(e, "%d alternatives, want at most %d: split the rule", len(out), alternativesMax)
	}
	return out, nil
}

// and gives what holds when both do; false if nothing does.
func (c clause) and(d clause) (clause, bool) {
	out := maps.Clone(c)
	for f, w := range d {
		if had, ok := out[f]; ok {
			w = had.and(w)
		}
		if w.empty() {
			return nil, false
		}
		out[f] = w
	}
	return out, true
}

// covers reports whether d is true wherever o is.
func (c clause) covers(o clause) bool {
	for f, w := range c {
		had, ok := o[f]
		if !ok || !had.and(w).same(had) {
			return false
		}
	}
	return true
}

func (w wanted) empty() bool { return len(w.spans) == 0 && len(w.texts) == 0 && !w.not }

func (w wanted) same(o wanted) bool {
	return w.not == o.not && slices.Equal(w.spans, o.spans) && slices.Equal(w.texts, o.texts)
}

func (w wanted) and(o wanted) wanted {
	switch {
	case w.spans != nil || o.spans != nil:
		return wanted{spans: intersect(w.spans, o.spans)}
	case w.not && o.not:
		return wanted{texts: union(w.texts, o.texts), not: true}
	case w.not:
		return o.and(w)
	}
	var kept []string
	for _, t := range w.texts {
		if _, there := slices.BinarySearch(o.texts, t); there != o.not {
			kept = append(kept, t)
		}
	}
	return wanted{texts: kept}
}

func union(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

func intersect(a, b []accept.Span) []accept.Span {
	out := []accept.Span{}
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if s := (accept.Span{Lo: max(a[i].Lo, b[j].Lo), Hi: min(a[i].Hi, b[j].Hi)}); s.Lo <= s.Hi {
			out = append(out, s)
		}
		if a[i].Hi < b[j].Hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// complement gives all other whole numbers.
func complement(in []accept.Span) []accept.Span {
	out := []accept.Span{}
	next := int64(math.MinInt64)
	for _, s := range in {
		if s.Lo > next {
			out = append(out, accept.Span{Lo: next, Hi: s.Lo - 1})
		}
		if s.Hi == math.MaxInt64 {
			return out
		}
		next = s.Hi + 1
	}
	return append(out, accept.Span{Lo: next, Hi: math.MaxInt64})
}

// spansOf gives the spans that hold the numbers.
func spansOf(numbers []int64) []accept.Span {
	numbers = slices.Clone(numbers)
	slices.Sort(numbers)
	out := []accept.Span{}
	for _, n := range slices.Compact(numbers) {
		if k := len(out); k > 0 && out[k-1].Hi != math.MaxInt64 && out[k-1].Hi+1 == n {
			out[k-1].Hi = n
		} else {
			out = append(out, accept.Span{Lo: n, Hi: n})
		}
	}
	return out
}

func flag(on bool) []accept.Span {
	if on {
		return []accept.Span{{Lo: 1, Hi: 1}}
	}
	return []accept.Span{{Lo: 0, Hi: 0}}
}

func constant(b bool) []clause {
	if b {
		return []clause{{}}
	}
	return nil
}

func single(f accept.Fact, w wanted) []clause {
	if w.empty() {
		return nil
	}
	if len(w.spans) == 1 && w.spans[0] == (accept.Span{Lo: math.MinInt64, Hi: math.MaxInt64}) {
		return []clause{{}}
	}
	return []clause{{f: w}}
}

func (l *lowering) compare(e ast.Expr, op string, a, b ast.Expr, not bool) ([]clause, error) {
	fact, ok := factOf(a)
	if !ok {
		if fact, ok = factOf(b); !ok {
			return l.constants(e, op, a, b, not)
		}
		b, op = a, mirrored(op)
	}
	if other, also := factOf(b); also {
		return nil, l.refuse(e, readersOnly+"%s compared with %s has no place in one; compare each with a constant", fact, other)
	}
	value, err := l.value(b)
	if err != nil {
		return nil, err
	}
	w := wanted{}
	switch v := value.(type) {
	case int64:
		w.spans = satisfying(op, v)
	case bool:
		if op != operators.Equals && op != operators.NotEquals {
			return nil, l.refuse(e, readersOnly+"%s of truths has no place in one", plainName(op))
		}
		w.spans = flag(v == (op == operators.Equals))
	case string:
		if op != operators.Equals && op != operators.NotEquals {
			return nil, l.refuse(e, readersOnly+"texts have no order in one; use == or in")
		}
		w.texts, w.not = []string{v}, op == operators.NotEquals
	}
	return single(fact, w.unless(not, fact)), nil
}

// constants compares two constants.
func (l *lowering) constants(e ast.Expr, op string, a, b ast.Expr, not bool) ([]clause, error) {
	x, err := l.value(a)
	if err != nil {
		return nil, err
	}
	y, err := l.value(b)
	if err != nil {
		return nil, err
	}
	if n, ok := x.(int64); ok {
		m, ok := y.(int64)
		if !ok {
			return nil, l.refuse(e, readersOnly+"this has no place in one")
		}
		return constant((len(intersect(satisfying(op, m), []accept.Span{{Lo: n, Hi: n}})) == 1) != not), nil
	}
	if op != operators.Equals && op != operators.NotEquals {
		return nil, l.refuse(e, readersOnly+"texts have no order in one; use == or in")
	}
	return constant((x == y) == (op == operators.Equals) != not), nil
}

// unless turns a set of values over.
func (w wanted) unless(not bool, f accept.Fact) wanted {
	switch {
	case !not:
	case f == accept.FactClockOK:
		w.spans = flag(w.spans[0].Lo == 0)
	case f.Text():
		w.not = !w.not
	default:
		w.spans = complement(w.spans)
	}
	return w
}

func satisfying(op string, v int64) []accept.Span {
	lowest, highest := int64(math.MinInt64), int64(math.MaxInt64)
	switch op {
	case operators.Equals:
		return []accept.Span{{Lo: v, Hi: v}}
	case operators.NotEquals:
		return complement([]accept.Span{{Lo: v, Hi: v}})
	case operators.LessEquals:
		return []accept.Span{{Lo: lowest, Hi: v}}
	case operators.GreaterEquals:
		return []accept.Span{{Lo: v, Hi: highest}}
	case operators.Less:
		return complement([]accept.Span{{Lo: v, Hi: highest}})
	}
	return complement([]accept.Span{{Lo: lowest, Hi: v}})
}

func mirrored(op string) string {
	switch op {
	case operators.Less:
		return operators.Greater
	case operators.LessEquals:
		return operators.GreaterEquals
	case operators.Greater:
		return operators.Less
	case operators.GreaterEquals:
		return operators.LessEquals
	}
	return op
}

func (l *lowering) in(e, a, b ast.Expr, not bool) ([]clause, error) {
	fact, ok := factOf(a)
	if !ok {
		return nil, l.refuse(e, readersOnly+"in asks for a fact in a list of constants")
	}
	var numbers []int64
	texts := []string{}
	switch b.Kind() {
	case ast.ListKind:
		for _, x := range b.AsList().Elements() {
			value, err := l.value(x)
			if err != nil {
				return nil, err
			}
			switch v := value.(type) {
			case int64:
				numbers = append(numbers, v)
			case string:
				texts = append(texts, v)
			default:
				return nil, l.refuse(e, readersOnly+"a list of truths has no place in one")
			}
		}
	default:
		names, err := l.area(b)
		if err != nil {
			return nil, err
		}
		texts = append(texts, names...)
	}
	if fact == accept.FactClockOK {
		return nil, l.refuse(e, readersOnly+"clock_ok stands for itself")
	}
	w := wanted{}
	if fact.Text() {
		w.texts = union(texts, nil)
	} else {
		w.spans = spansOf(numbers)
	}
	if len(w.texts) == 0 && len(w.spans) == 0 {
		return constant(not), nil // an empty list holds nothing
	}
	return single(fact, w.unless(not, fact)), nil
}

// area gives the texts of areas.name or areas["name"].
func (l *lowering) area(e ast.Expr) ([]string, error) {
	name, ok := areaName(e)
	if !ok {
		return nil, l.refuse(e, readersOnly+"in asks for a fact in a list of constants or an area")
	}
	names, ok := l.areas[name]
	if !ok {
		return nil, &refusal{at: e.ID(), variable: "areas." + name, why: "no such area is named in the file"}
	}
	return names, nil
}

func areaName(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		if s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == "areas" && !s.IsTestOnly() {
			return s.FieldName(), true
		}
	case ast.CallKind:
		call := e.AsCall()
		if args := call.Args(); call.FunctionName() == operators.Index && args[0].Kind() == ast.IdentKind && args[0].AsIdent() == "areas" && args[1].Kind() == ast.LiteralKind {
			name, ok := args[1].AsLiteral().Value().(string)
			return name, ok
		}
	default:
	}
	return "", false
}

func factOf(e ast.Expr) (accept.Fact, bool) {
	if e.Kind() != ast.IdentKind {
		return 0, false
	}
	return accept.FactNamed(e.AsIdent())
}

// value gives a constant: a literal, or whole-number arithmetic on some.
func (l *lowering) value(e ast.Expr) (any, error) {
	switch e.Kind() {
	case ast.LiteralKind:
		switch v := e.AsLiteral().Value().(type) {
		case int64, bool:
			return v, nil
		case string:
			if len(v) > 64 {
				return nil, l.refuse(e, "a text of %d bytes, want at most 64: no fact is longer", len(v))
			}
			return v, nil
		}
	case ast.CallKind:
		call := e.AsCall()
		numbers := make([]int64, len(call.Args()))
		for i, x := range call.Args() {
			v, err := l.value(x)
			if err != nil {
				return nil, err
			}
			n, ok := v.(int64)
			if !ok {
				return nil, l.refuse(e, readersOnly+"%s has no place in one", plainName(call.FunctionName()))
			}
			numbers[i] = n
		}
		if !call.IsMemberFunction() {
			n, why := arithmetic(call.FunctionName(), numbers)
			if why == "" {
				return n, nil
			}
			return nil, l.refuse(e, "%s", why)
		}
	default:
	}
	return nil, l.refuse(e, readersOnly+"arithmetic on facts has no place in one; compare a fact with a constant")
}

// arithmetic is that of CEL: what does not fit is an error, not a wrapped number.
func arithmetic(op string, n []int64) (result int64, why string) {
	const overflow = "the constant does not fit 64 bits"
	if op == operators.Negate && len(n) == 1 {
		if n[0] == math.MinInt64 {
			return 0, overflow
		}
		return -n[0], ""
	}
	if len(n) != 2 {
		return 0, readersOnly + op + " has no place in one"
	}
	a, b := n[0], n[1]
	switch op {
	case operators.Add:
		if result = a + b; (a > 0 && b > 0 && result <= 0) || (a < 0 && b < 0 && result >= 0) {
			return 0, overflow
		}
	case operators.Subtract:
		if result = a - b; (a >= 0 && b < 0 && result < 0) || (a < 0 && b > 0 && result >= 0) {
			return 0, overflow
		}
	case operators.Multiply:
		if result = a * b; a != 0 && (result/a != b || a == -1 && b == math.MinInt64) {
			return 0, overflow
		}
	case operators.Divide, operators.Modulo:
		if b == 0 {
			return 0, "a constant divided by zero"
		}
		if a == math.MinInt64 && b == -1 {
			return 0, overflow
		}
		if result = a / b; op == operators.Modulo {
			result = a % b
		}
	default:
		return 0, readersOnly + plainName(op) + " has no place in one"
	}
	return result, ""
}
