package accept

import (
	"math/bits"
	"slices"

	"github.com/cashlesscity/citygate"
)

// Bounds of a table. They bound the time of a decision too: it looks at each
// test at most once, and into each set by bisection.
const (
	TableMax      = 16 << 10 // bytes of an encoded table
	TableRowsMax  = 128
	TableAnyMax   = 64   // alternatives of one row
	TableTestsMax = 2048 // of all rows
	TableSpansMax = 4096 // of all tests
	tableTextsMax = 1024
	tableTextMax  = 64 // bytes of a text: as on a tap record
	tableShiftMax = 64
)

// ErrTable says that bytes are no table, or that one is larger than the bounds.
var ErrTable = &citygate.Code{Name: "accept.table", Kind: citygate.Invalid, Title: "The decision table is not valid or too large; publish fewer or simpler conditions."}

// A Fact is one thing that a table may ask about a tap. The numbers are those of
// the encoding and never change their meaning.
type Fact uint8

// The facts. Amounts are minor units; what is not known is 0 or "".
const (
	FactScheme Fact = iota
	FactIssuer
	FactProduct
	FactMode
	FactKind
	FactMedium
	FactParty
	FactAmount
	FactCurrency
	FactClockOK // 0 or 1
	FactMinute  // of the local day, 0 to 1439
	FactWeekday // local, Monday is 1 and Sunday 7
	FactDate    // local, as 20261122
	FactStop
	FactRoute
	FactCounter       // of the display
	FactCredentialAge // minutes since the credential was issued
	FactDayTaps       // of this rider here on this local day, this tap among them
	FactDayAmount
	FactHourTaps  // in the last 60 minutes, this tap among them
	FactSinceLast // seconds since this rider's last accepted tap here
	factCount
)

var factNames = [factCount]string{"scheme", "issuer", "product", "mode", "kind", "medium", "party", "amount", "currency", "clock_ok", "minute", "weekday",
	"date", "stop", "route", "counter", "credential_age", "day_taps", "day_amount", "hour_taps", "since_last"}

const (
	textFacts   = 1<<FactScheme | 1<<FactMode | 1<<FactKind | 1<<FactMedium | 1<<FactCurrency | 1<<FactStop | 1<<FactRoute
	timeFacts   = 1<<FactMinute | 1<<FactWeekday | 1<<FactDate
	memoryFacts = 1<<FactDayTaps | 1<<FactDayAmount | 1<<FactHourTaps | 1<<FactSinceLast
)

// String gives the name that conditions know the fact by.
func (f Fact) String() string {
	if f < factCount {
		return factNames[f]
	}
	return "unknown"
}

// Text reports whether the fact is a text; the others are whole numbers.
func (f Fact) Text() bool { return textFacts>>f&1 == 1 }

// Remembered reports whether the fact is about earlier taps of the rider, which
// only the reader that saw them knows.
func (f Fact) Remembered() bool { return memoryFacts>>f&1 == 1 }

// FactNamed gives the fact of that name.
func FactNamed(name string) (Fact, bool) {
	i := slices.Index(factNames[:], name)
	return Fact(max(i, 0)), i >= 0
}

// An Effect is what a row does to a tap that it matches.
type Effect uint8

// The effects. The first row of accept and refuse that matches decides; then any
// row of limit that matches refuses.
const (
	Admit  Effect = 0
	Refuse Effect = 1
	Limit  Effect = 2
)

// A Span is the whole numbers from Lo to Hi, both included.
type Span struct{ Lo, Hi int64 }

// A Test asks whether a fact is in a set: spans in ascending order with a gap
// between any two. Of a text fact the numbers are indices into the table's texts,
// and -1 stands for any other text.
type Test struct {
	Fact Fact
	In   []Span
}

// A Row matches when all tests of any of its alternatives hold. An alternative
// without tests always holds, a row without alternatives never.
type Row struct {
	ID     string
	Effect Effect
	Any    [][]Test // each ascending by fact, no fact twice

	remembers bool
}

// A Shift is a change of local time: from At (unix seconds) on it is Offset
// seconds ahead of UTC.
type Shift struct{ At, Offset int64 }

// A Table is a decision table: the acceptance rules and limits of a rule set in
// the form that readers run offline. It is not changed after it was made and may
// be shared between goroutines.
type Table struct {
	zone  []Shift
	texts []string
	rows  []Row
	asks  uint32 // the facts any row asks for
	raw   []byte
}

// NewTable makes a table. zone says how local time goes: what is before its first
// shift goes by that one too. texts are ascending; rows of [Limit] come last. It
// keeps what it is given.
func NewTable(zone []Shift, texts []string, rows []Row) (*Table, error) {
	t := &Table{zone: zone, texts: texts, rows: rows}
	if err := t.check(); err != nil {
		return nil, err
	}
	t.raw = t.appendTo(nil)
	if len(t.raw) > TableMax {
		return nil, ErrTable.Explain("%d bytes, at most %d are carried to readers", len(t.raw), TableMax)
	}
	return t, nil
}

// Rows gives the rows in their order. The caller must not change them.
func (t *Table) Rows() []Row { return t.rows }

// Asks reports whether any row asks for the fact.
func (t *Table) Asks(f Fact) bool { return t != nil && t.asks>>f&1 == 1 }

// Remembers reports whether any row asks about earlier taps of the rider.
func (t *Table) Remembers() bool { return t != nil && t.asks&memoryFacts != 0 }

// Steps gives the most comparisons that one decision takes.
func (t *Table) Steps() int {
	steps := 0
	for _, r := range t.rows {
		for _, all := range r.Any {
			for _, test := range all {
				steps += 1 + bits.Len(uint(len(test.In)))
			}
		}
	}
	return steps
}

func (t *Table) check() error {
	switch {
	case len(t.zone) == 0 || len(t.zone) > tableShiftMax:
		return ErrTable.Explain("zone: want 1 to %d shifts", tableShiftMax)
	case len(t.texts) > tableTextsMax:
		return ErrTable.Explain("%d texts, want at most %d", len(t.texts), tableTextsMax)
	case len(t.rows) > TableRowsMax:
		return ErrTable.Explain("%d rules, want at most %d", len(t.rows), TableRowsMax)
	}
	for i, s := range t.zone {
		if i > 0 && t.zone[i-1].At >= s.At || s.Offset < -24*3600 || s.Offset > 24*3600 || s.At < -1<<40 || s.At > 1<<40 {
			return ErrTable.Explain("zone: shift %d is out of order or out of range", i)
		}
	}
	for i, text := range t.texts {
		if len(text) > tableTextMax || i > 0 && t.texts[i-1] >= text {
			return ErrTable.Explain("text %d is longer than %d bytes or not in ascending order", i, tableTextMax)
		}
	}
	tests, spans := 0, 0
	seen := make(map[string]bool, len(t.rows))
	for i := range t.rows {
		r := &t.rows[i]
		if !RuleID(r.ID) || seen[r.ID] || r.Effect > Limit || i > 0 && t.rows[i-1].Effect == Limit && r.Effect != Limit {
			return ErrTable.Explain("rule %d: want a name that is not taken, and limits after the others", i)
		}
		seen[r.ID] = true
		if len(r.Any) > TableAnyMax {
			return ErrTable.Explain("rule %s: %d alternatives, want at most %d", r.ID, len(r.Any), TableAnyMax)
		}
		for _, all := range r.Any {
			n, err := t.checkTests(r, all)
			if err != nil {
				return err
			}
			tests, spans = tests+len(all), spans+n
		}
	}
	if tests > TableTestsMax || spans > TableSpansMax {
		return ErrTable.Explain("%d tests and %d ranges, want at most %d and %d", tests, spans, TableTestsMax, TableSpansMax)
	}
	return nil
}

func (t *Table) checkTests(r *Row, all []Test) (spans int, err error) {
	for j, test := range all {
		if test.Fact >= factCount || j > 0 && all[j-1].Fact >= test.Fact || len(test.In) == 0 {
			return 0, ErrTable.Explain("rule %s: a fact that is not known, out of order or asked for nothing", r.ID)
		}
		if test.Fact.Remembered() {
			if r.Effect != Limit {
				return 0, ErrTable.Explain("rule %s: only limits may ask for %s", r.ID, test.Fact)
			}
			r.remembers = true
		}
		for k, s := range test.In {
			if s.Lo > s.Hi || k > 0 && (test.In[k-1].Hi >= s.Lo || test.In[k-1].Hi+1 == s.Lo) {
				return 0, ErrTable.Explain("rule %s: ranges of %s are out of order or touch", r.ID, test.Fact)
			}
		}
		t.asks |= 1 << test.Fact
		spans += len(test.In)
	}
	return spans, nil
}

// RuleID reports whether a text can name a rule: 1 to 40 of a-z, 0-9, - and _.
func RuleID(s string) bool {
	if len(s) == 0 || len(s) > 40 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// A Memory is what a reader knows of a rider's earlier taps. This tap is counted
// in already. The zero value means that nobody remembers.
type Memory struct {
	Known     bool
	DayTaps   int64 // accepted here on this local day
	DayMinor  int64 // their fares as far as they were known, in the currency of this one
	HourTaps  int64 // in the last 60 minutes
	SinceLast int64 // seconds since the last one; NeverBefore if there was none
}

// NeverBefore is Memory.SinceLast of a rider without an earlier tap.
const NeverBefore int64 = 1<<63 - 1

// A Situation is one tap as a table sees it.
type Situation struct {
	At      int64 // unix milliseconds
	ClockOK bool

	Scheme, Mode, Kind, Medium, Currency, Stop, Route string

	Issuer, Product, Party, Amount, Counter int64
	CredentialAge                           int64 // minutes

	Memory Memory
}

// Decide gives the rule that decided and what it does. Without a rule that
// matches the tap is admitted and rule is "". A limit that asks about earlier taps
// is passed over where nobody remembers them. It allocates nothing.
func (t *Table) Decide(s *Situation) (rule string, effect Effect) {
	if t == nil {
		return "", Admit
	}
	var v [factCount]int64
	t.load(s, &v)
	settled := false
	for i := range t.rows {
		r := &t.rows[i]
		if settled && r.Effect != Limit || r.remembers && !s.Memory.Known || !r.holds(&v) {
			continue
		}
		if r.Effect != Admit {
			return r.ID, r.Effect
		}
		rule, settled = r.ID, true
	}
	return rule, Admit
}

func (r *Row) holds(v *[factCount]int64) bool {
	for _, all := range r.Any {
		held := true
		for i := range all {
			if !within(all[i].In, v[all[i].Fact]) {
				held = false
				break
			}
		}
		if held {
			return true
		}
	}
	return false
}

func within(in []Span, x int64) bool {
	lo, hi := 0, len(in)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if in[mid].Hi < x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(in) && in[lo].Lo <= x
}

func (t *Table) load(s *Situation, v *[factCount]int64) {
	v[FactIssuer], v[FactProduct], v[FactParty], v[FactAmount] = s.Issuer, s.Product, s.Party, s.Amount
	v[FactCounter], v[FactCredentialAge] = s.Counter, s.CredentialAge
	if s.ClockOK {
		v[FactClockOK] = 1
	}
	v[FactDayTaps], v[FactDayAmount], v[FactHourTaps], v[FactSinceLast] = s.Memory.DayTaps, s.Memory.DayMinor, s.Memory.HourTaps, s.Memory.SinceLast
	if t.asks&textFacts != 0 {
		for _, f := range [...]struct {
			fact Fact
			text string
		}{{FactScheme, s.Scheme}, {FactMode, s.Mode}, {FactKind, s.Kind}, {FactMedium, s.Medium}, {FactCurrency, s.Currency}, {FactStop, s.Stop}, {FactRoute, s.Route}} {
			if t.asks>>f.fact&1 == 1 {
				v[f.fact] = t.index(f.text)
			}
		}
	}
	if t.asks&timeFacts != 0 {
		day, second := t.Local(s.At)
		v[FactMinute], v[FactWeekday], v[FactDate] = second/60, (day%7+10)%7+1, civil(day)
	}
}

// index gives the place of a text among the table's, -1 if it is not there.
func (t *Table) index(text string) int64 {
	lo, hi := 0, len(t.texts)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if t.texts[mid] < text {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(t.texts) && t.texts[lo] == text {
		return int64(lo)
	}
	return -1
}

// Local gives the local day of an instant (unix milliseconds) as days since
// 1970-01-01, and the second of that day as the clock on the wall shows it.
func (t *Table) Local(at int64) (day, second int64) {
	seconds := floor(at, 1000)
	lo, hi := 1, len(t.zone)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if t.zone[mid].At <= seconds {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	seconds += t.zone[lo-1].Offset
	day = floor(seconds, 24*3600)
	return day, seconds - day*24*3600
}

// floor divides towards minus infinity.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// civil gives the Gregorian date of a day as the number yyyymmdd. It counts from
// 1 March of the year 0, so that the leap day is a year's last.
func civil(day int64) int64 {
	day += 719468
	era := floor(day, 146097)
	doe := day - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	year, month := yoe+era*400, mp+3
	if mp >= 10 {
		year, month = year+1, mp-9
	}
	return year*10000 + month*100 + doy - (153*mp+2)/5 + 1
}
