package fare

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/fare/share"
)

// ErrTariff says that a tariff cannot be used; the detail names the part.
var ErrTariff = &citygate.Code{Name: "fare.bad_tariff", Kind: citygate.Invalid, Title: "The tariff is not valid. Correct the named part and publish it as a new version."}

// A Category is a class of riders with prices of its own, such as "adult".
type Category string

// NoPrice marks an empty cell of a [Table].
const NoPrice = -1

// A Tariff is one immutable version of an operator's prices. Amounts are minor
// units of Currency. A Tariff is ready for use only from [ParseTariff] or
// [Tariff.Compile], and safe for concurrent use from then on.
type Tariff struct {
	Name       string            `json:"name"`
	Version    uint64            `json:"version"`
	Currency   citygate.Currency `json:"currency"`
	Categories Categories        `json:"categories"`
	Rules      []Rule            `json:"rules"`
	Incomplete Incomplete        `json:"incomplete"`
	SameStop   SameStop          `json:"same_stop"`
	Rounding   Rounding          `json:"rounding"`

	// Zones are the zones of stops: for rules of zones and for the reach of caps.
	Zones map[string][]string `json:"zones,omitempty"`
	// Operators are the routes of each operator of an integrated tariff.
	Operators map[string][]string `json:"operators,omitempty"`
	// Holidays, and Workdays that are worked although their weekday rests, are
	// business dates beside those of the tenant's calendar, and come before it.
	Holidays []string `json:"holidays,omitempty"`
	Workdays []string `json:"workdays,omitempty"`
	// Discounts and Minimum change the price of one ride.
	Discounts []Discount `json:"discounts,omitempty"`
	Minimum   Amounts    `json:"minimum,omitempty"`
	// Transfers, Cumulative, NthRide and Caps depend on the rider's rides before.
	Transfers  []Transfer   `json:"transfers,omitempty"`
	Cumulative []Cumulative `json:"cumulative,omitempty"`
	NthRide    []NthRide    `json:"nth_ride,omitempty"`
	Caps       []Cap        `json:"caps,omitempty"`
	// Sharing makes it an integrated tariff: how what riders pay is divided among
	// the operators that carried them.
	Sharing *share.Terms `json:"sharing,omitempty"`
	// Products are what riders can buy and hold (package entitlement).
	Products []entitlement.Product `json:"products,omitempty"`

	digest   [32]byte
	ready    bool
	timed    bool // some price depends on the day or the time of day
	zoned    bool // some feed goes by the time zone of the tenant
	media    bool // some price depends on the medium
	holidays []citygate.Date
	workdays []citygate.Date
	operator map[string]string // by route
}

// Categories maps the product number of a credential to the rider's category.
// A product that is not listed has the Default; without one its fare is unknown.
type Categories struct {
	Products map[uint16]Category `json:"products,omitempty"`
	Default  Category            `json:"default,omitempty"`
	// Proof names categories a rider must have proved, and the category they
	// ride in without: [Tariff.CategoryOf].
	Proof map[Category]Category `json:"proof,omitempty"`
	// Funded names categories whose difference to another one's price somebody
	// pays: the nominal price is the other's.
	Funded map[Category]Concession `json:"funded,omitempty"`
}

// A Concession says who pays what a category saves against Reference.
type Concession struct {
	Reference Category `json:"reference"`
	Funder    Funder   `json:"funder,omitempty"`
}

// A Rule prices the journeys it serves: of its routes, operators and media, at
// its times; what is not given is no condition. Exactly one of the kinds of
// price is set.
type Rule struct {
	ID        string    `json:"id"`
	Routes    []string  `json:"routes,omitempty"`
	Operators []string  `json:"operators,omitempty"`
	Media     []string  `json:"media,omitempty"`
	When      []When    `json:"when,omitempty"`
	Flat      Amounts   `json:"flat,omitempty"`
	Sections  *Sections `json:"sections,omitempty"`
	Table     *Table    `json:"table,omitempty"`
	Zones     *Zones    `json:"zones,omitempty"`
	Distance  *Distance `json:"distance,omitempty"`
	Time      *Time     `json:"time,omitempty"`
	Entered   *Entered  `json:"entered,omitempty"`
	Feed      *Feed     `json:"feed,omitempty"`
	// AtExit prices nothing: it stands in what readers are given ([Tariff.AtEntry]) for
	// a rule that needs the end of the ride.
	AtExit bool `json:"at_exit,omitempty"`
}

// Amounts are minor units per category. A category that is missing has no
// price; one with 0 rides free.
type Amounts map[Category]int64

// Sections price a ride by where it begins: a bus fare that falls towards the
// end of the line. Stops names the section of a stop; a tap that carries a
// section name itself needs no entry.
type Sections struct {
	Stops   map[string]string  `json:"stops,omitempty"`
	Amounts map[string]Amounts `json:"amounts"`
}

// A Table holds one price per pair of stops and category, row by row from
// origin, [NoPrice] where there is none. The diagonal is empty by rule. Names
// are for people and in the order of Stops. Linked pairs are stations one can
// walk between inside the gates: they count as one station.
type Table struct {
	Stops   []string             `json:"stops"`
	Names   []string             `json:"names,omitempty"`
	Linked  [][2]string          `json:"linked,omitempty"`
	Amounts map[Category][]int64 `json:"amounts"`
	Split   *Split               `json:"never_more_than_split,omitempty"`

	index map[string]int
}

// Distance prices the length of the shortest path between two stops: Base up to
// Base.UpTo metres, and from there Add for every started Per metres of each
// band. Band limits belong to the band they end. Permille is the share of the
// price a category pays; 1000 is all of it.
type Distance struct {
	Base     Base               `json:"base"`
	Bands    []Band             `json:"bands"`
	Links    []Link             `json:"links"`
	Permille map[Category]int64 `json:"permille"`

	index  map[string]int
	metres [][]int64
}

// Base is the first stretch of a distance tariff.
type Base struct {
	UpTo   int64 `json:"upto_m"`
	Amount int64 `json:"amount"`
}

// A Band is a stretch that ends at UpTo metres; 0 means it has no end.
type Band struct {
	UpTo int64 `json:"upto_m"`
	Per  int64 `json:"per_m"`
	Add  int64 `json:"add"`
}

// A Link is a piece of line between two stops, passable both ways.
type Link struct {
	A      string `json:"a"`
	B      string `json:"b"`
	Metres int64  `json:"m"`
}

// Entered takes the amount the driver entered, refused outside Min and Max.
type Entered struct {
	Min       int64 `json:"min"`
	Max       int64 `json:"max"`
	PerPerson bool  `json:"per_person,omitempty"`
}

// A Mode says how an incomplete or same-stop journey is priced.
type Mode string

// The modes. The empty mode is SetAside.
const (
	SetAside    Mode = "set_aside"     // nobody is charged until a person decides
	Fixed       Mode = "fixed"         // Amounts
	MaxFromStop Mode = "max_from_stop" // the highest price from the known stop
	MinFromStop Mode = "min_from_stop" // the lowest price from the known stop that is not 0
	MaxOfRule   Mode = "max"           // the highest price of the rule
)

// Incomplete is the rule for journeys that lack a tap: SetAside, Fixed,
// MaxFromStop or MaxOfRule.
type Incomplete struct {
	Mode    Mode    `json:"mode,omitempty"`
	Amounts Amounts `json:"amounts,omitempty"`
}

// SameStop is the rule for journeys that end where they began: SetAside, Fixed
// or MinFromStop.
type SameStop struct {
	Mode    Mode    `json:"mode,omitempty"`
	Amounts Amounts `json:"amounts,omitempty"`
}

// Rounding is the one rounding step. Step 0 or 1 keeps whole minor units; the
// mode then only matters for permille shares.
type Rounding struct {
	Step int64        `json:"step,omitempty"`
	Mode RoundingMode `json:"mode,omitempty"`
}

// A RoundingMode says where the middle goes. The empty mode is HalfUp.
type RoundingMode string

// The rounding modes.
const (
	HalfUp RoundingMode = "half_up"
	Down   RoundingMode = "down"
	Up     RoundingMode = "up"
)

// ParseTariff reads the JSON form of a tariff, strictly: an unknown field or
// anything after the object is refused.
func ParseTariff(raw []byte) (*Tariff, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	t := new(Tariff)
	if err := d.Decode(t); err != nil {
		return nil, ErrTariff.Explain("not the JSON of a tariff: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrTariff.Explain("something follows the tariff")
	}
	if err := t.Compile(); err != nil {
		return nil, err
	}
	return t, nil
}

// Encode gives the one JSON form of t: what [ParseTariff] reads and Digest covers.
func (t *Tariff) Encode() ([]byte, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, ErrTariff.Because(err, "encode")
	}
	return raw, nil
}

// Digest is the SHA-256 of [Tariff.Encode]. It is part of every InputsHash.
func (t *Tariff) Digest() [32]byte { return t.digest }

// Category gives the category of a product number, whether or not it must be proved.
func (t *Tariff) Category(product uint16) (Category, bool) {
	c, ok := t.Categories.Products[product]
	if !ok {
		c = t.Categories.Default
	}
	return c, c != ""
}

// A Proof shows that a rider belongs to a category from one instant until
// another, in unix milliseconds; Until 0 means without end.
type Proof struct {
	Category Category `json:"category"`
	From     int64    `json:"from"`
	Until    int64    `json:"until,omitempty"`
}

// CategoryOf gives the category a ride of a product number is priced in, by the
// proofs that hold at the event time of its first tap: a ride that begins before
// a proof ends keeps its category to the last tap, the next ride does not. The
// category of a valid proof wins over that of the product; of several valid ones
// the one that ends last, then the one whose name comes first.
func (t *Tariff) CategoryOf(product uint16, proofs []Proof, at int64) (Category, bool) {
	var best *Proof
	for i := range proofs {
		p := &proofs[i]
		if at < p.From || p.Until != 0 && at >= p.Until || t.Categories.Proof[p.Category] == "" {
			continue
		}
		later := best == nil || best.Until != 0 && (p.Until == 0 || p.Until > best.Until)
		if later || best.Until == p.Until && p.Category < best.Category {
			best = p
		}
	}
	if best != nil {
		return best.Category, true
	}
	c, ok := t.Category(product)
	if fallback := t.Categories.Proof[c]; fallback != "" {
		c = fallback
	}
	return c, ok
}

// Compile checks t and prepares it for pricing. A tariff must not be changed
// afterwards.
func (t *Tariff) Compile() error {
	if err := t.check(); err != nil {
		return ErrTariff.Explain("%v", err)
	}
	raw, err := t.Encode()
	if err != nil {
		return err
	}
	t.timed = slices.ContainsFunc(t.Rules, func(r Rule) bool { return len(r.When) > 0 }) ||
		slices.ContainsFunc(t.Discounts, func(d Discount) bool { return len(d.When) > 0 })
	for i := range t.Rules {
		if r := t.Rules[i].Feed; r != nil && r.feed.Timed() {
			t.timed, t.zoned = true, t.zoned || !r.feed.Zoned()
		}
	}
	t.media = t.asksMedium()
	t.digest, t.ready = sha256.Sum256(raw), true
	return nil
}

// asksMedium reports whether some price depends on what a code was shown on.
func (t *Tariff) asksMedium() bool {
	by := func(m *Match) bool { return len(m.Media) > 0 }
	return slices.ContainsFunc(t.Rules, func(r Rule) bool { return len(r.Media) > 0 || r.Feed != nil && len(r.Feed.Media) > 0 }) ||
		slices.ContainsFunc(t.Discounts, func(d Discount) bool { return by(&d.Match) }) ||
		slices.ContainsFunc(t.Transfers, func(x Transfer) bool { return by(&x.From) || by(&x.To) }) ||
		slices.ContainsFunc(t.Cumulative, func(c Cumulative) bool { return by(&c.Match) }) ||
		slices.ContainsFunc(t.NthRide, func(n NthRide) bool { return by(&n.Match) }) ||
		slices.ContainsFunc(t.Caps, func(c Cap) bool { return by(&c.Match) })
}

func (t *Tariff) check() error {
	if t.Name == "" || t.Version == 0 || !t.Currency.Valid() {
		return errors.New("name, version (from 1) and currency are required")
	}
	if len(t.Rules) == 0 {
		return errors.New("a tariff needs at least one rule")
	}
	ids := make(map[string]bool)
	for i := range t.Rules {
		r := &t.Rules[i]
		if r.ID == "" || ids[r.ID] {
			return fmt.Errorf("rule %d: the id %q is empty or taken", i+1, r.ID)
		}
		ids[r.ID] = true
		if err := r.check(t.Currency); err != nil {
			return fmt.Errorf("rule %s: %w", r.ID, err)
		}
	}
	if err := checkMode(t.Incomplete.Mode, t.Incomplete.Amounts, Fixed, MaxFromStop, MaxOfRule); err != nil {
		return fmt.Errorf("incomplete: %w", err)
	}
	if err := checkMode(t.SameStop.Mode, t.SameStop.Amounts, Fixed, MinFromStop); err != nil {
		return fmt.Errorf("same_stop: %w", err)
	}
	if t.Rounding.Step < 0 || t.Rounding.Step > maxStep {
		return errors.New("rounding: the step is out of range")
	}
	if !slices.Contains([]RoundingMode{"", HalfUp, Down, Up}, t.Rounding.Mode) {
		return fmt.Errorf("rounding: no mode %q", t.Rounding.Mode)
	}
	if err := t.checkCategories(); err != nil {
		return fmt.Errorf("categories: %w", err)
	}
	if err := t.checkNames(); err != nil {
		return err
	}
	if err := t.checkFeeds(); err != nil {
		return err
	}
	if t.Sharing != nil {
		if err := t.Sharing.Check(); err != nil {
			return fmt.Errorf("sharing: %w", err)
		}
	}
	return t.checkAdjustments(ids)
}

func (t *Tariff) checkCategories() error {
	for c, fallback := range t.Categories.Proof {
		if c == "" || fallback == c || t.Categories.Proof[fallback] != "" {
			return fmt.Errorf("proof: %q falls back to %q, which must be another category that needs no proof", c, fallback)
		}
	}
	for c, f := range t.Categories.Funded {
		if _, chain := t.Categories.Funded[f.Reference]; c == "" || f.Reference == "" || f.Reference == c || chain {
			return fmt.Errorf("funded: the reference of %q must be another category that is not funded itself", c)
		}
		if err := f.Funder.check(); err != nil {
			return fmt.Errorf("funded: %q: %w", c, err)
		}
	}
	return nil
}

// checkNames reads what the whole tariff refers to: zones, operators, holidays.
func (t *Tariff) checkNames() error {
	for stop, zones := range t.Zones {
		if stop == "" || len(zones) == 0 || slices.Contains(zones, "") {
			return fmt.Errorf("zones: the stop %q has none", stop)
		}
	}
	t.operator = make(map[string]string)
	for _, operator := range slices.Sorted(maps.Keys(t.Operators)) {
		for _, route := range t.Operators[operator] {
			if other, taken := t.operator[route]; taken || operator == "" {
				return fmt.Errorf("operators: the route %q is of %q and of %q", route, other, operator)
			}
			t.operator[route] = operator
		}
	}
	var err error
	if t.holidays, err = dates(t.Holidays); err != nil {
		return fmt.Errorf("holidays: %w", err)
	}
	if t.workdays, err = dates(t.Workdays); err != nil {
		return fmt.Errorf("workdays: %w", err)
	}
	for _, d := range t.workdays {
		if holds(t.holidays, d) {
			return fmt.Errorf("workdays: %s is a holiday too", d)
		}
	}
	return nil
}

// dates reads dates and puts them in order.
func dates(texts []string) (out []citygate.Date, err error) {
	for _, text := range texts {
		d, err := day(text)
		if err == nil && text == "" {
			err = errors.New("a date is empty")
		}
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	slices.SortFunc(out, citygate.Date.Compare)
	return out, nil
}

// maxAmount bounds every amount of a tariff so that no step of a decision can
// leave its range: party and permille factors stay far below 2^20.
const (
	maxAmount = 1 << 40
	maxStep   = 1_000_000
)

func (a Amounts) check() error {
	for c, minor := range a {
		if c == "" || minor < 0 || minor > maxAmount {
			return fmt.Errorf("category %q: the amount %d is out of range", c, minor)
		}
	}
	return nil
}

func checkMode(mode Mode, amounts Amounts, allowed ...Mode) error {
	if mode != "" && mode != SetAside && !slices.Contains(allowed, mode) {
		return fmt.Errorf("the mode %q is not one of set_aside, %v", mode, allowed)
	}
	if (mode == Fixed) != (len(amounts) > 0) {
		return errors.New("amounts go with the mode fixed, and only with it")
	}
	return amounts.check()
}

func (r *Rule) check(currency citygate.Currency) error {
	kinds := 0
	for _, set := range []bool{len(r.Flat) > 0, r.Sections != nil, r.Table != nil, r.Zones != nil, r.Distance != nil, r.Time != nil, r.Entered != nil, r.Feed != nil, r.AtExit} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return errors.New("exactly one of flat, sections, table, zones, distance, time, entered and feed is required")
	}
	if err := checkWhens(r.When); err != nil {
		return err
	}
	switch {
	case r.AtExit:
		return nil
	case r.Zones != nil:
		return r.Zones.check()
	case r.Time != nil:
		return r.Time.check()
	case r.Sections != nil:
		return r.Sections.check()
	case r.Table != nil:
		return r.Table.check()
	case r.Distance != nil:
		return r.Distance.check()
	case r.Feed != nil:
		return r.Feed.check(currency)
	case r.Entered != nil:
		if r.Entered.Min < 0 || r.Entered.Max < r.Entered.Min || r.Entered.Max > maxAmount {
			return errors.New("entered: 0 <= min <= max is required")
		}
		return nil
	}
	return r.Flat.check()
}

func (s *Sections) check() error {
	if len(s.Amounts) == 0 {
		return errors.New("sections: no amounts")
	}
	for section, amounts := range s.Amounts {
		if err := amounts.check(); err != nil {
			return fmt.Errorf("section %q: %w", section, err)
		}
	}
	for stop, section := range s.Stops {
		if _, ok := s.Amounts[section]; !ok {
			return fmt.Errorf("stop %q is in section %q, which has no amounts", stop, section)
		}
	}
	return nil
}
