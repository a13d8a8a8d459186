package diary

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// ErrDiary refuses a file of taps; the detail names the part.
var ErrDiary = &citygate.Code{Name: "fare.bad_taps", Kind: citygate.Invalid, Title: "The file of taps cannot be used. Correct the named part."}

// The bounds of a diary.
const (
	maxTaps     = 10_000
	maxProducts = 1_000
)

// A Diary is what one rider tapped, and what else prices depend on.
type Diary struct {
	// TimeZone (IANA) and Cut ("04:00") are those of business dates; without them the
	// offset of the first tap, and midnight.
	TimeZone string `json:"time_zone,omitempty"`
	Cut      string `json:"cut,omitempty"`
	// JourneyRules pair the taps; without them an off ends the on before it within four
	// hours, and nothing is inferred.
	JourneyRules json.RawMessage `json:"journey_rules,omitempty"`
	// Tariffs are further files, each from an instant on.
	Tariffs []Change `json:"tariffs,omitempty"`

	Category fare.Category `json:"category,omitempty"` // of the rider, whatever the product
	Product  uint16        `json:"product,omitempty"`  // of the credential
	Medium   string        `json:"medium,omitempty"`
	Proofs   []Proof       `json:"proofs,omitempty"`
	Products []Bought      `json:"products,omitempty"`
	// Now is when it is looked at: a journey that lacks a tap then is open as long as one
	// may still come. Without it every journey is over.
	Now  *time.Time `json:"now,omitempty"`
	Taps []Tap      `json:"taps"`
}

// A Change is a version of the tariff and when it begins to hold.
type Change struct {
	From time.Time `json:"from"`
	File string    `json:"file"`
}

// A Proof shows that the rider belongs to a category from one instant until another.
type Proof struct {
	Category fare.Category `json:"category"`
	From     time.Time     `json:"from"`
	Until    *time.Time    `json:"until,omitempty"`
}

// Bought is a product of the tariff that the rider has from an instant on.
type Bought struct {
	Product string    `json:"product"`
	At      time.Time `json:"at"`
	Given   bool      `json:"given,omitempty"` // nobody paid for it
}

// A Tap is one of the rider's taps.
type Tap struct {
	At       time.Time         `json:"at"`
	Kind     string            `json:"kind"` // on, off or single
	Stop     string            `json:"stop,omitempty"`
	Route    string            `json:"route,omitempty"`
	Operator string            `json:"operator,omitempty"` // without it the tariff's, by the route
	Medium   string            `json:"medium,omitempty"`
	Product  *uint16           `json:"product,omitempty"`
	Party    uint8             `json:"party,omitempty"`
	Amount   *int64            `json:"amount,omitempty"` // entered by the driver, minor units
	Currency citygate.Currency `json:"currency,omitempty"`
}

// Parse reads a diary, strictly: an unknown field may have a say in a price. name
// stands for the file in messages.
func Parse(name string, raw []byte) (*Diary, error) {
	d := new(Diary)
	in := json.NewDecoder(bytes.NewReader(raw))
	in.DisallowUnknownFields()
	if err := in.Decode(d); err != nil {
		if at, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			if at.Field == "" {
				return nil, ErrDiary.Explain("%s: want an object", name)
			}
			return nil, ErrDiary.Explain("%s: %s: %s does not fit here", name, at.Field, at.Value)
		}
		return nil, ErrDiary.Explain("%s: %v", name, err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrDiary.Explain("%s: something follows the object", name)
	}
	if err := d.check(); err != nil {
		return nil, ErrDiary.Explain("%s: %v", name, err)
	}
	return d, nil
}

// check refuses what cannot be priced; its errors begin with the field.
func (d *Diary) check() error {
	switch {
	case len(d.Taps) == 0 || len(d.Taps) > maxTaps:
		return fmt.Errorf("taps: want 1 to %d", maxTaps)
	case len(d.Products) > maxProducts:
		return fmt.Errorf("products: want up to %d", maxProducts)
	}
	if _, err := d.calendar(); err != nil {
		return err
	}
	if _, err := d.rules(); err != nil {
		return err
	}
	for i := range d.Taps {
		if err := d.Taps[i].check(); err != nil {
			return fmt.Errorf("taps[%d].%w", i, err)
		}
	}
	for i, c := range d.Tariffs {
		switch {
		case c.File == "" || c.From.IsZero():
			return fmt.Errorf("tariffs[%d]: from and file are required", i)
		case i > 0 && !c.From.After(d.Tariffs[i-1].From):
			return fmt.Errorf("tariffs[%d].from: want one after that of the version before", i)
		}
	}
	for i, p := range d.Proofs {
		if p.Category == "" || p.From.IsZero() || p.Until != nil && !p.Until.After(p.From) {
			return fmt.Errorf("proofs[%d]: a category, from, and an until after it are wanted", i)
		}
	}
	for i, b := range d.Products {
		if b.Product == "" || b.At.IsZero() {
			return fmt.Errorf("products[%d]: product and at are required", i)
		}
	}
	return nil
}

var kinds = map[string]tap.Kind{"on": tap.On, "off": tap.Off, "single": tap.Single}

func (t *Tap) check() error {
	switch {
	case t.At.IsZero() || t.At.Year() < 1971 || t.At.Year() > 9000:
		return errors.New("at: want a time such as 2026-11-21T08:30:00+08:00")
	case kinds[t.Kind] == 0:
		return fmt.Errorf("kind: %q is not one of on, off and single", t.Kind)
	case t.Party > 16:
		return fmt.Errorf("party: %d is not from 1 to 16", t.Party)
	case t.Amount != nil && *t.Amount < 0:
		return errors.New("amount: it is negative")
	case t.Currency != "" && (!t.Currency.Valid() || t.Amount == nil):
		return fmt.Errorf("currency: %q wants to be a code such as CNY, and goes with amount", t.Currency)
	}
	return nil
}

// calendar gives the business dates of the diary.
func (d *Diary) calendar() (citygate.Calendar, error) {
	c := citygate.Calendar{Version: 1}
	if d.TimeZone == "" {
		_, offset := d.sorted()[0].At.Zone()
		c.Location = time.FixedZone("", offset)
	} else {
		zone, err := time.LoadLocation(d.TimeZone)
		if err != nil || d.TimeZone == "Local" {
			return c, fmt.Errorf("time_zone: no zone %q", d.TimeZone)
		}
		c.Location = zone
	}
	if d.Cut != "" {
		at, err := time.Parse("15:04", d.Cut)
		if err != nil {
			return c, fmt.Errorf("cut: %q is no time of day such as 04:00", d.Cut)
		}
		c.Cut = time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
	}
	return c, nil
}

// longest is the longest journey where the diary has no rules.
const longest = 4 * time.Hour

func (d *Diary) rules() (*journey.Rules, error) {
	if len(d.JourneyRules) == 0 || string(d.JourneyRules) == "null" {
		return &journey.Rules{MaxJourney: longest}, nil
	}
	doc, err := journey.ParseDocument(d.JourneyRules)
	if err != nil {
		return nil, fmt.Errorf("journey_rules: %w", err)
	}
	return doc.Rules()
}

// holdings gives what the rider holds, ascending by id.
func (d *Diary) holdings(tariffs func(at int64) *fare.Tariff) ([]entitlement.Holding, error) {
	out := make([]entitlement.Holding, 0, len(d.Products))
	for i, b := range d.Products {
		var id citygate.UUID
		id[14], id[15] = byte((i+1)>>8), byte(i+1)
		t := tariffs(b.At.UnixMilli())
		if t == nil {
			return nil, ErrDiary.Explain("products[%d]: no tariff holds at that time", i)
		}
		k := slices.IndexFunc(t.Products, func(p entitlement.Product) bool { return p.ID == b.Product })
		if k < 0 {
			return nil, ErrDiary.Explain("products[%d]: the tariff %s, version %d, has no product %q", i, t.Name, t.Version, b.Product)
		}
		h := t.Products[k].Hold(id, b.At)
		if !b.Given {
			h.Paid, h.Of = t.Products[k].Price, h.Rides
		}
		out = append(out, h)
	}
	return out, nil
}

func (d *Diary) proofs() []fare.Proof {
	out := make([]fare.Proof, len(d.Proofs))
	for i, p := range d.Proofs {
		out[i] = fare.Proof{Category: p.Category, From: p.From.UnixMilli()}
		if p.Until != nil {
			out[i].Until = p.Until.UnixMilli()
		}
	}
	return out
}

// sorted gives the taps in an order that does not depend on that of the file.
func (d *Diary) sorted() []Tap {
	taps := slices.Clone(d.Taps)
	slices.SortStableFunc(taps, func(a, b Tap) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(kinds[a.Kind], kinds[b.Kind]), strings.Compare(a.Stop, b.Stop), strings.Compare(a.Route, b.Route),
			strings.Compare(a.Operator, b.Operator), strings.Compare(a.Medium, b.Medium), cmp.Compare(a.Party, b.Party),
			cmp.Compare(number(a.Product), number(b.Product)), cmp.Compare(number(a.Amount), number(b.Amount)), cmp.Compare(a.Currency, b.Currency),
			cmp.Compare(offset(a.At), offset(b.At)))
	})
	return taps
}

// number orders what may be absent.
func number[N uint16 | int64](n *N) int64 {
	if n == nil {
		return -1
	}
	return int64(*n)
}

func offset(at time.Time) int {
	_, seconds := at.Zone()
	return seconds
}
