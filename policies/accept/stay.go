package accept

import (
	"fmt"
	"math"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// Forever is the end of a [Stay] that has none.
const Forever = int64(math.MaxInt64)

// A Stay is a period in which riders of another city's issuer are taken on terms:
// event times from From to before Until, in unix milliseconds and whole minutes.
type Stay struct {
	Issuer      citygate.Issuer
	From, Until int64
	Version     int // of the terms
	Schemes     []code.SchemeID
	Products    []uint16
	CapMinor    int64 // highest fare of one tap; 0 = the credential's own cap
	DayCapMinor int64 // highest sum of a rider's fares on a day; a reader knows its own; 0 = none
}

// RowID names the row of a table that holds what, one of scheme, product, cap and day.
func (s Stay) RowID(what string) string {
	return fmt.Sprintf("roaming-%d-v%d-%s", s.Issuer, s.Version, what)
}

// WithStays gives the rules as readers are to hold them when issuers are admitted
// on terms: home says which are admitted by the rules alone, stays are the others'
// periods, an issuer's in the order of time. An issuer of neither is taken out.
// r is not changed.
func (r *Rules) WithStays(home func(citygate.Issuer) bool, stays []Stay) (*Rules, error) {
	next := *r
	next.Issuers = slices.DeleteFunc(slices.Clone(r.Issuers), func(i IssuerRule) bool {
		return !home(i.Issuer) && !slices.ContainsFunc(stays, func(s Stay) bool { return s.Issuer == i.Issuer })
	})
	var err error
	for i := 0; i < len(stays); {
		j := i
		for j < len(stays) && stays[j].Issuer == stays[i].Issuer {
			j++
		}
		own := stays[i:j]
		i = j
		if _, admitted := next.Issuer(own[0].Issuer); !admitted || home(own[0].Issuer) {
			continue
		}
		if next.Table, err = next.Table.with(own); err != nil {
			return nil, err
		}
	}
	if r.Prior != nil {
		next.Prior, err = r.Prior.WithStays(home, stays)
	}
	return &next, err
}

// with gives a table that also refuses what the stays of one issuer do not admit.
func (t *Table) with(stays []Stay) (*Table, error) {
	if t == nil {
		t = &Table{zone: []Shift{{At: 0, Offset: 0}}}
	}
	texts := slices.Clone(t.texts)
	for _, s := range stays {
		for _, scheme := range s.Schemes {
			texts = append(texts, string(scheme))
		}
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	next := &Table{zone: t.zone, texts: texts}
	issuer := Test{FactIssuer, []Span{{int64(stays[0].Issuer), int64(stays[0].Issuer)}}}
	refuse := []Row{{ID: fmt.Sprintf("roaming-%d-agreed", stays[0].Issuer), Effect: Refuse, Any: next.outside(issuer, stays)}}
	var limits []Row
	for _, s := range stays {
		if len(s.Schemes) > 0 {
			other := next.textsBut(func(text string) bool { return slices.Contains(s.Schemes, code.SchemeID(text)) })
			refuse = append(refuse, Row{ID: s.RowID("scheme"), Effect: Refuse, Any: next.during(s.From, s.Until, Test{FactScheme, other}, issuer)})
		}
		if other := productsBut(s.Products); len(s.Products) > 0 && len(other) > 0 {
			refuse = append(refuse, Row{ID: s.RowID("product"), Effect: Refuse, Any: next.during(s.From, s.Until, issuer, Test{FactProduct, other})})
		}
		if s.CapMinor > 0 {
			over := Test{FactAmount, []Span{{s.CapMinor + 1, math.MaxInt64}}}
			limits = append(limits, Row{ID: s.RowID("cap"), Effect: Limit, Any: next.during(s.From, s.Until, issuer, over)})
		}
		if s.DayCapMinor > 0 {
			any := next.during(s.From, s.Until, issuer)
			for i := range any {
				any[i] = append(any[i], Test{FactDayAmount, []Span{{s.DayCapMinor + 1, math.MaxInt64}}})
			}
			limits = append(limits, Row{ID: s.RowID("day"), Effect: Limit, Any: any})
		}
	}
	refuse = slices.DeleteFunc(refuse, func(r Row) bool { return len(r.Any) == 0 })
	return NewTable(t.zone, texts, slices.Concat(refuse, t.moved(texts), limits))
}

// outside gives alternatives that hold for an issuer when none of the stays does.
func (t *Table) outside(issuer Test, stays []Stay) (any [][]Test) {
	from := int64(math.MinInt64)
	for _, s := range stays {
		if from != s.From {
			any = append(any, t.during(from, s.From, issuer)...)
		}
		from = s.Until
	}
	if from != Forever {
		any = append(any, t.during(from, Forever, issuer)...)
	}
	return any
}

// dateMax is later than any date that civil gives for a tap.
const dateMax = 1 << 40

// during gives alternatives that hold from one minute to before another, and all
// tests besides: those ask for facts before [FactMinute], in order.
func (t *Table) during(from, until int64, tests ...Test) (any [][]Test) {
	add := func(times ...Test) { any = append(any, slices.Concat(tests, times)) }
	minutes := func(lo, hi int64) Test { return Test{FactMinute, []Span{{lo, hi}}} }
	dates := func(lo, hi int64) Test { return Test{FactDate, []Span{{lo, hi}}} }
	firstDate, firstMinute, lastDate, lastMinute := int64(0), int64(0), int64(dateMax), int64(0)
	if from != math.MinInt64 {
		day, second := t.Local(from)
		firstDate, firstMinute = civil(day), second/60
	}
	if until != Forever {
		day, second := t.Local(until)
		lastDate, lastMinute = civil(day), second/60
	}
	if firstDate == lastDate {
		if firstMinute < lastMinute {
			add(minutes(firstMinute, lastMinute-1), dates(firstDate, firstDate))
		}
		return any
	}
	if firstMinute > 0 {
		add(minutes(firstMinute, 24*60-1), dates(firstDate, firstDate))
		firstDate++ // no such date may be; then none is between
	}
	if lastMinute > 0 {
		add(minutes(0, lastMinute-1), dates(lastDate, lastDate))
	}
	if firstDate <= lastDate-1 {
		add(dates(firstDate, lastDate-1))
	}
	return any
}

// textsBut gives the places of all texts, with -1 for those that a table does not
// name, but of those that keep names.
func (t *Table) textsBut(keep func(text string) bool) []Span {
	in := []Span{{-1, -1}}
	for i, text := range t.texts {
		if !keep(text) {
			in = join(in, int64(i))
		}
	}
	return in
}

// moved gives t's rows with the places that its texts have among others.
func (t *Table) moved(texts []string) []Row {
	rows := make([]Row, len(t.rows))
	for i, r := range t.rows {
		rows[i] = Row{ID: r.ID, Effect: r.Effect, Any: make([][]Test, len(r.Any))}
		for j, all := range r.Any {
			rows[i].Any[j] = make([]Test, len(all))
			for k, test := range all {
				if test.Fact.Text() {
					var in []Span
					if within(test.In, -1) {
						in = join(in, -1)
					}
					for place, text := range texts {
						if within(test.In, t.index(text)) {
							in = join(in, int64(place))
						}
					}
					test.In = in
				}
				rows[i].Any[j][k] = test
			}
		}
	}
	return rows
}

// join adds a number that is higher than all of a set.
func join(in []Span, n int64) []Span {
	if k := len(in); k > 0 && in[k-1].Hi+1 == n {
		in[k-1].Hi = n
		return in
	}
	return append(in, Span{n, n})
}

// productsBut gives all products but some, ascending.
func productsBut(products []uint16) (in []Span) {
	next := int64(0)
	for _, p := range products {
		if int64(p) > next {
			in = append(in, Span{next, int64(p) - 1})
		}
		next = int64(p) + 1
	}
	if next <= math.MaxUint16 {
		in = append(in, Span{next, math.MaxUint16})
	}
	return in
}
