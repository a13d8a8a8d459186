package bands

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
)

// ErrTariff is the refusal of a file of distance tariffs or of a distance.
var ErrTariff = &citygate.Code{Name: "fare.bad_distance_tariff", Kind: citygate.Invalid, Title: "The distance tariff cannot be used. Correct the named part."}

// A Tariff is a distance tariff as a city describes it.
type Tariff struct {
	ID       string
	Currency citygate.Currency
	Distance fare.Distance // without links: the distance is given
	Points   []Point       // worked examples of the file, if it has any
}

// A Point is a worked example: what a distance in metres, rounded up, costs.
type Point struct {
	Km     string
	Metres int64
	Minor  int64
}

type stepJSON struct {
	UpTo *string `json:"upto_km"`
	Per  string  `json:"per_km"`
	Add  *int64  `json:"add"`
}

type tariffJSON struct {
	ID       string `json:"id"`
	Currency string `json:"currency"`
	Base     *struct {
		UpTo   string `json:"upto_km"`
		Amount *int64 `json:"amount"`
	} `json:"base"`
	Steps  []json.RawMessage    `json:"steps"`
	Points [][2]json.RawMessage `json:"points"`
}

// said are the fields of a tariff that describe it and have no say in a price.
var said = []string{"id", "currency", "base", "steps", "points", "worked_example", "sources", "source", "conflicts", "also", "note", "why", "name", "city"}

// Parse reads a file of distance tariffs. name stands for the file in messages,
// which name the tariff and the field. A field that could have a say in a price
// and is not known is refused.
func Parse(name string, raw []byte) ([]Tariff, error) {
	var file struct {
		Note    any               `json:"note"`
		Source  any               `json:"source"`
		Tariffs []json.RawMessage `json:"tariffs"`
	}
	if err := strict(raw, &file); err != nil {
		return nil, ErrTariff.Explain("%s: %v", name, err)
	}
	if len(file.Tariffs) == 0 {
		return nil, ErrTariff.Explain("%s: tariffs: there is none", name)
	}
	var tariffs []Tariff
	for i, raw := range file.Tariffs {
		t, err := parseTariff(raw)
		if err == nil && slices.ContainsFunc(tariffs, func(other Tariff) bool { return other.ID == t.ID }) {
			err = fmt.Errorf("id: %q is given twice", t.ID)
		}
		if err != nil {
			return nil, ErrTariff.Explain("%s: tariffs[%d].%v", name, i, err)
		}
		tariffs = append(tariffs, t)
	}
	return tariffs, nil
}

// parseTariff reads one tariff; its errors begin with the field.
func parseTariff(raw json.RawMessage) (Tariff, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return Tariff{}, errors.New("want an object")
	}
	for field := range fields {
		if !slices.Contains(said, field) {
			return Tariff{}, fmt.Errorf("%s: the field is not known; it may change prices", field)
		}
	}
	var form tariffJSON
	if err := json.Unmarshal(raw, &form); err != nil {
		if at, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Tariff{}, fmt.Errorf("%s: %s does not fit here", at.Field, at.Value)
		}
		return Tariff{}, fmt.Errorf("%w", err)
	}
	t := Tariff{ID: form.ID, Currency: citygate.Currency(form.Currency)}
	switch {
	case t.ID == "":
		return t, errors.New("id: it is required")
	case !t.Currency.Valid():
		return t, fmt.Errorf("currency: %q is no code such as CNY", form.Currency)
	case form.Base == nil || form.Base.Amount == nil:
		return t, errors.New("base: upto_km and amount are required")
	}
	var known struct {
		UpTo   any `json:"upto_km"`
		Amount any `json:"amount"`
	}
	if err := strict(fields["base"], &known); err != nil {
		return t, fmt.Errorf("base: %w", err)
	}
	upTo, err := wholeMetres(form.Base.UpTo)
	if err != nil {
		return t, fmt.Errorf("base.upto_km: %w", err)
	}
	if t.Distance.Base = (fare.Base{UpTo: upTo, Amount: *form.Base.Amount}); !inRange(t.Distance.Base.Amount) {
		return t, fmt.Errorf("base.amount: %d is out of range", t.Distance.Base.Amount)
	}
	for i, raw := range form.Steps {
		b, err := parseStep(raw, upTo, i == len(form.Steps)-1)
		if err != nil {
			return t, fmt.Errorf("steps[%d].%w", i, err)
		}
		t.Distance.Bands, upTo = append(t.Distance.Bands, b), b.UpTo
	}
	for i, raw := range form.Points {
		var p Point
		if json.Unmarshal(raw[0], &p.Km) != nil || json.Unmarshal(raw[1], &p.Minor) != nil {
			return t, fmt.Errorf("points[%d]: want [\"km\", amount]", i)
		}
		if p.Metres, err = Metres(p.Km); err != nil {
			return t, fmt.Errorf("points[%d]: %w", i, err)
		}
		t.Points = append(t.Points, p)
	}
	return t, nil
}

func parseStep(raw json.RawMessage, from int64, last bool) (b fare.Band, err error) {
	var form stepJSON
	if err := strict(raw, &form); err != nil {
		return b, fmt.Errorf("%w", err)
	}
	if form.UpTo != nil {
		if b.UpTo, err = wholeMetres(*form.UpTo); err != nil {
			return b, fmt.Errorf("upto_km: %w", err)
		}
	}
	if b.Per, err = wholeMetres(form.Per); err != nil {
		return b, fmt.Errorf("per_km: %w", err)
	}
	switch {
	case form.UpTo == nil && !last:
		return b, errors.New("upto_km: only the last step may have no end")
	case form.UpTo != nil && b.UpTo <= from:
		return b, fmt.Errorf("upto_km: %s does not lie beyond the step before", *form.UpTo)
	case form.Add == nil:
		return b, errors.New("add: it is required")
	case !inRange(*form.Add):
		return b, fmt.Errorf("add: %d is out of range", *form.Add)
	}
	b.Add = *form.Add
	return b, nil
}

// maxMinor bounds amounts so that no sum over a network leaves an int64.
const maxMinor = 1 << 20

func inRange(minor int64) bool { return minor >= 0 && minor <= maxMinor }

// Price prices a distance in kilometres, decimal text such as "17.15". It
// reports false beyond the last band.
func (t *Tariff) Price(km string) (minor int64, ok bool, err error) {
	metres, err := Metres(km)
	if err != nil {
		return 0, false, ErrTariff.Explain("the distance: %v", err)
	}
	minor, ok = t.Distance.Amount(metres)
	return minor, ok, nil
}

// maxKmDigits and maxFraction bound a distance: 9,999 km to the nanometre.
const (
	maxKmDigits = 4
	maxFraction = 12
)

// Metres reads kilometres as decimal text and gives the whole metres, rounded
// up. It never goes through a float.
func Metres(km string) (int64, error) {
	whole, rest, err := metres(km)
	if rest {
		whole++
	}
	return whole, err
}

// wholeMetres reads kilometres that must be whole metres, above zero.
func wholeMetres(km string) (int64, error) {
	m, rest, err := metres(km)
	switch {
	case err != nil:
		return 0, err
	case rest:
		return 0, fmt.Errorf("%q is no whole number of metres", km)
	case m == 0:
		return 0, fmt.Errorf("%q is not above zero", km)
	}
	return m, nil
}

// metres gives the whole metres of decimal kilometres, and whether more remains.
func metres(km string) (m int64, rest bool, err error) {
	whole, fraction, point := strings.Cut(km, ".")
	decimal := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	if !decimal(whole) || point && !decimal(fraction) {
		return 0, false, fmt.Errorf("%q is no decimal number of kilometres", km)
	}
	if len(strings.TrimLeft(whole, "0")) > maxKmDigits || len(fraction) > maxFraction {
		return 0, false, fmt.Errorf("%q is out of range: at most %d digits before the point and %d behind it", km, maxKmDigits, maxFraction)
	}
	for len(fraction) < 3 {
		fraction += "0"
	}
	for _, digit := range strings.TrimLeft(whole, "0") + fraction[:3] {
		m = m*10 + int64(digit-'0')
	}
	return m, strings.Trim(fraction[3:], "0") != "", nil
}

func strict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\ufeff"))))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if at, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("%s: %s does not fit here", cmp.Or(at.Field, "the whole"), at.Value)
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}
