package fare

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// ErrEntry says that bytes are no fares for readers.
var ErrEntry = &citygate.Code{Name: "fare.bad_entry_fares", Kind: citygate.Invalid, Title: "These are no fares for readers. Publish the bundle again from a gateway that the readers understand."}

// EntryFares are an operator's prices as far as a reader can know them when a rider
// boards: the version in force and those to come, each with the rules that need no
// exit, and the part of the calendar that their peaks need. A reader prices by the
// same code as the gateway, so it changes over offline at the instant a version
// begins. What depends on the rider's other rides, or on where he leaves, is not in
// it: a price is what one ride costs before transfers, caps and products.
//
// While an operator is a member of its authority's integrated tariff the authority's
// prices hold for the riders that the authority prices, each membership for its time
// ([EntryMember]); for codes of other schemes the operator's own go on.
type EntryFares struct {
	entryPrices

	members []entryMember
}

// entryPrices are the prices of one tenant.
type entryPrices struct {
	calendar Calendar
	versions []EntryVersion // the oldest first
}

type entryMember struct {
	from, until int64 // unix milliseconds; until 0 = without end
	operator    string
	entryPrices
}

// An EntryVersion is a tariff from an instant on, in unix milliseconds.
type EntryVersion struct {
	From   int64
	Tariff *Tariff // nil where readers know the version and no price
}

// An EntryMember is the time of a membership in an integrated tariff, in unix
// milliseconds, Until 0 without end, and the authority's prices then, under which the
// operator has the name Operator.
type EntryMember struct {
	From, Until int64
	Operator    string
	Calendar    citygate.Calendar
	Versions    []EntryVersion // the oldest first
}

// atEntryOf is [Tariff.AtEntry] without the prices of other operators than one.
func (t *Tariff) atEntryOf(operator string) (*Tariff, error) {
	out, err := t.AtEntry()
	if err != nil {
		return nil, err
	}
	for i := range out.Rules {
		r := &out.Rules[i]
		elsewhere := len(r.Routes) > 0 && !slices.ContainsFunc(r.Routes, func(route string) bool {
			of, listed := t.operator[route]
			return !listed || of == operator
		})
		if elsewhere || len(r.Operators) > 0 && !slices.Contains(r.Operators, operator) {
			*r = Rule{ID: r.ID, Routes: r.Routes, Operators: r.Operators, Media: r.Media, When: r.When, AtExit: true}
		}
	}
	out.Operators = nil // readers say who they are
	return out, out.Compile()
}

// AtEntry gives the part of t that prices rides which end where they begin, as on a
// bus, without the rider's other rides. Rules that need the exit keep their place,
// so that none behind them comes to price in their stead. A rule with a feed becomes
// flat prices and sections as far as the feed asks the same wherever the ride ends, and
// keeps its place behind them.
func (t *Tariff) AtEntry() (*Tariff, error) {
	raw, err := t.Encode()
	if err != nil {
		return nil, err
	}
	out := new(Tariff)
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, ErrTariff.Because(err, "read back")
	}
	taken := func(prefix string) bool {
		return slices.ContainsFunc(t.Rules, func(r Rule) bool { return strings.HasPrefix(r.ID, prefix) })
	}
	zones, rules := false, make([]Rule, 0, len(out.Rules))
	for i := range out.Rules {
		r := &out.Rules[i]
		if r.Feed != nil {
			for _, priced := range t.Rules[i].atEntry(t.entryCategories(), taken) {
				rules = append(rules, priced)
				for k := range out.Discounts {
					if m := &out.Discounts[k].Match; slices.Contains(m.Rules, r.ID) {
						m.Rules = append(m.Rules, priced.ID)
					}
				}
			}
		}
		if r.Flat == nil && r.Sections == nil && r.Entered == nil {
			r.Table, r.Zones, r.Distance, r.Time, r.Feed, r.AtExit = nil, nil, nil, nil, nil, true
		}
		rules = append(rules, *r)
	}
	out.Rules = rules
	for i := range out.Discounts {
		zones = zones || len(out.Discounts[i].Match.Zones) > 0
	}
	if !zones {
		out.Zones = nil
	}
	out.Transfers, out.Cumulative, out.NthRide, out.Caps, out.Products, out.Sharing = nil, nil, nil, nil, nil, nil
	out.Categories.Funded = nil // who pays the rest is not the reader's business
	out.Incomplete, out.SameStop = Incomplete{}, SameStop{}
	return out, out.Compile()
}

// entryCategories gives every category that a reader can find a rider in, or that its
// price is told against.
func (t *Tariff) entryCategories() []Category {
	out := t.AllCategories()
	for c, without := range t.Categories.Proof {
		out = append(out, c, without)
	}
	for c, concession := range t.Categories.Funded {
		out = append(out, c, concession.Reference)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// The wire form. A zone is told by its shifts, as readers need not have a database of
// time zones.
type entryWire struct {
	Calendar []entryCalendar `json:"calendar"` // the newest first
	Versions []entryVersion  `json:"versions"`
	Members  []memberWire    `json:"members,omitempty"`
}

type memberWire struct {
	From     int64           `json:"from"`
	Until    int64           `json:"until,omitempty"`
	Operator string          `json:"operator"`
	Calendar []entryCalendar `json:"calendar"`
	Versions []entryVersion  `json:"versions"`
}

type entryVersion struct {
	From    int64   `json:"from"`
	Version uint64  `json:"version"`
	Tariff  *Tariff `json:"tariff,omitempty"`
}

type entryCalendar struct {
	Version  int        `json:"version"`
	From     string     `json:"from,omitempty"`
	Cut      int        `json:"cut_min,omitempty"`
	Shifts   [][2]int64 `json:"shifts"` // unix seconds, offset in seconds; the first counts from ever
	Weekdays []int      `json:"rest_weekdays,omitempty"`
	Holidays []string   `json:"holidays,omitempty"`
	Workdays []string   `json:"workdays,omitempty"`
}

// entryVersionsMax and entryShiftsMax bound what a reader keeps.
const (
	entryVersionsMax = 16
	entryShiftsMax   = 64
	entryMembersMax  = 4
)

// EncodeEntry writes versions, the oldest first, and memberships for the time from one
// instant until another, in at most size bytes: what does not fit goes without its
// prices, the version that begins last first. The same gives the same bytes.
func EncodeEntry(calendar citygate.Calendar, versions []EntryVersion, members []EntryMember, from, until time.Time, size int) ([]byte, error) {
	w := entryWire{Calendar: calendarWire(calendar, from, until)}
	var err error
	if w.Versions, err = versionsWire(versions, (*Tariff).AtEntry); err != nil {
		return nil, err
	}
	for _, m := range members[:min(len(members), entryMembersMax)] {
		wire := memberWire{From: m.From, Until: m.Until, Operator: m.Operator, Calendar: calendarWire(m.Calendar, from, until)}
		if wire.Versions, err = versionsWire(m.Versions, func(t *Tariff) (*Tariff, error) { return t.atEntryOf(m.Operator) }); err != nil {
			return nil, err
		}
		w.Members = append(w.Members, wire)
	}
	var last []*entryVersion // that begins last, last
	for i := range w.Versions {
		last = append(last, &w.Versions[i])
	}
	for i := range w.Members {
		for k := range w.Members[i].Versions {
			last = append(last, &w.Members[i].Versions[k])
		}
	}
	slices.SortStableFunc(last, func(a, b *entryVersion) int { return cmp.Compare(a.From, b.From) })
	for {
		raw, err := json.Marshal(w)
		if err != nil {
			return nil, ErrEntry.Because(err, "encode")
		}
		if len(raw) <= size {
			return raw, nil
		}
		if len(last) == 0 {
			return nil, ErrEntry.Explain("%d bytes without a price, readers carry %d", len(raw), size)
		}
		last[len(last)-1].Tariff, last = nil, last[:len(last)-1]
	}
}

func versionsWire(versions []EntryVersion, short func(*Tariff) (*Tariff, error)) (out []entryVersion, err error) {
	for _, v := range versions[:min(len(versions), entryVersionsMax)] {
		t, err := short(v.Tariff)
		if err != nil {
			return nil, err
		}
		out = append(out, entryVersion{v.From, t.Version, t})
	}
	return out, nil
}

func calendarWire(c citygate.Calendar, from, until time.Time) (out []entryCalendar) {
	if c.Location == nil {
		c.Location = time.UTC
	}
	first := c.BusinessDate(from).AddDays(-1)
	for at := &c; at != nil; at = at.Former {
		w := entryCalendar{Version: at.Version, Cut: int(at.Cut / time.Minute)}
		begin := from.AddDate(0, 0, -2).In(at.Location)
		_, offset := begin.Zone()
		w.Shifts = [][2]int64{{0, int64(offset)}}
		for len(w.Shifts) < entryShiftsMax {
			_, next := begin.ZoneBounds()
			if next.IsZero() || next.After(until) {
				break
			}
			begin = next
			_, offset := begin.Zone()
			w.Shifts = append(w.Shifts, [2]int64{begin.Unix(), int64(offset)})
		}
		if at.Rest != nil {
			for _, d := range at.Rest.Weekdays {
				w.Weekdays = append(w.Weekdays, int(d))
			}
			w.Holidays, w.Workdays = datesFrom(at.Rest.Holidays, first), datesFrom(at.Rest.Workdays, first)
		}
		if at.Former != nil && at.From.Compare(first) > 0 {
			w.From = at.From.String()
			out = append(out, w)
			continue
		}
		return append(out, w) // those before hold for no ride to come
	}
	return out
}

func datesFrom(dates []citygate.Date, first citygate.Date) (out []string) {
	for _, d := range dates {
		if d.Compare(first) >= 0 {
			out = append(out, d.String())
		}
	}
	return out
}

// ParseEntry reads what EncodeEntry wrote, strictly.
func ParseEntry(raw []byte) (*EntryFares, error) {
	var w entryWire
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return nil, ErrEntry.Explain("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrEntry.Explain("something follows the fares")
	}
	if len(w.Members) > entryMembersMax {
		return nil, ErrEntry.Explain("%d memberships", len(w.Members))
	}
	e := new(EntryFares)
	var err error
	if e.entryPrices, err = pricesOf(w.Calendar, w.Versions); err != nil {
		return nil, err
	}
	for _, m := range w.Members {
		own := entryMember{from: m.From, until: m.Until, operator: m.Operator}
		if m.Operator == "" || m.Until != 0 && m.Until <= m.From {
			return nil, ErrEntry.Explain("a membership from %d until %d of %q", m.From, m.Until, m.Operator)
		}
		if own.entryPrices, err = pricesOf(m.Calendar, m.Versions); err != nil {
			return nil, err
		}
		e.members = append(e.members, own)
	}
	return e, nil
}

func pricesOf(calendars []entryCalendar, versions []entryVersion) (e entryPrices, err error) {
	if len(versions) > entryVersionsMax || len(calendars) == 0 || len(calendars) > 64 {
		return e, ErrEntry.Explain("%d versions, %d calendars", len(versions), len(calendars))
	}
	for i, v := range versions {
		if i > 0 && v.From <= versions[i-1].From {
			return e, ErrEntry.Explain("version %d begins no later than the one before", v.Version)
		}
		if v.Tariff == nil {
			v.Tariff = &Tariff{Version: v.Version} // not compiled: it prices nothing
		} else if err := v.Tariff.Compile(); err != nil {
			return e, err
		}
		if v.Tariff.Version != v.Version {
			return e, ErrEntry.Explain("version %d holds the tariff of version %d", v.Version, v.Tariff.Version)
		}
		e.versions = append(e.versions, EntryVersion{v.From, v.Tariff})
	}
	for _, c := range slices.Backward(calendars) {
		next, err := c.calendar()
		if err != nil {
			return e, err
		}
		if former := e.calendar.Calendar; former.Location != nil {
			if c.From == "" || former.Former != nil && next.From.Compare(former.From) <= 0 {
				return e, ErrEntry.Explain("calendar %d begins no later than the one before", c.Version)
			}
			next.Former = &former
		}
		e.calendar.Calendar = next
	}
	return e, nil
}

func (w *entryCalendar) calendar() (c citygate.Calendar, err error) {
	if w.Cut < 0 || w.Cut >= 24*60 || len(w.Shifts) == 0 || len(w.Shifts) > entryShiftsMax || len(w.Weekdays) > 6 {
		return c, ErrEntry.Explain("calendar %d: cut, shifts or rest days are out of range", w.Version)
	}
	rest := new(citygate.RestDays)
	for _, d := range w.Weekdays {
		if d < 0 || d > 6 {
			return c, ErrEntry.Explain("calendar %d: %d is no day of the week", w.Version, d)
		}
		rest.Weekdays = append(rest.Weekdays, time.Weekday(d))
	}
	if rest.Holidays, err = dates(w.Holidays); err == nil {
		rest.Workdays, err = dates(w.Workdays)
	}
	if err == nil && w.From != "" {
		c.From, err = day(w.From)
	}
	if err != nil {
		return c, ErrEntry.Explain("calendar %d: %v", w.Version, err)
	}
	c.Version, c.Cut, c.Rest = w.Version, time.Duration(w.Cut)*time.Minute, rest
	c.Location, err = zoneOf(w.Shifts)
	return c, err
}

// at gives the version in force at an instant.
func (e *entryPrices) at(ms int64) (v *EntryVersion) {
	for i := range e.versions {
		if e.versions[i].From <= ms {
			v = &e.versions[i]
		}
	}
	return v
}

// of gives whose prices hold for a rider at an instant, and the operator's name in them.
func (e *EntryFares) of(ms int64, foreign bool) (*entryPrices, string) {
	for i := range e.members {
		if m := &e.members[i]; !foreign && ms >= m.from && (m.until == 0 || ms < m.until) {
			return &m.entryPrices, m.operator
		}
	}
	return &e.entryPrices, ""
}

// Version gives the number of the version in force at an instant, 0 before the first:
// the authority's while the operator is a member of its tariff.
func (e *EntryFares) Version(ms int64) uint64 {
	prices, _ := e.of(ms, false)
	if v := prices.at(ms); v != nil {
		return v.Tariff.Version
	}
	return 0
}

// Price gives what a single tap costs all who ride on it, by the version in force at
// its event time; false where that cannot be said before the ride is over. A tap of a
// foreign rider is one of a code of another scheme.
func (e *EntryFares) Price(tap *journey.Tap) (citygate.Money, bool) {
	prices, operator := e.of(tap.At, tap.Rider.Foreign())
	v := prices.at(tap.At)
	if v == nil {
		return citygate.Money{}, false
	}
	category, ok := v.Tariff.CategoryOf(tap.Product, nil, tap.At)
	if !ok {
		return citygate.Money{}, false
	}
	j := journey.Journey{First: tap.ID, Taps: []journey.Tap{*tap}, State: journey.Complete}
	d := v.Tariff.PriceTrip(&Trip{Journey: &j, Category: category, Medium: tap.Medium, Operator: operator}, prices.calendar)
	return d.Amount, d.Known
}
