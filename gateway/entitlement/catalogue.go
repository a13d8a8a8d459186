package entitlement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cashlesscity/citygate"
)

// ErrCatalogue says that a catalogue cannot be used; the detail names the product.
var ErrCatalogue = &citygate.Code{Name: "products.bad_catalogue", Kind: citygate.Invalid, Title: "The catalogue of products is not valid. Correct the named part and publish it as a new version."}

// A Catalogue is one immutable version of what a tenant sells and gives.
type Catalogue struct {
	Version  uint64            `json:"version"`
	Currency citygate.Currency `json:"currency"`
	Products []Offer           `json:"products"`
}

// An Offer is a product of a catalogue and the terms it is sold by.
type Offer struct {
	Product

	// SoldBy says who sells it: "rider", at the rider's own request, and "operator",
	// by staff. Without any it is given and never sold.
	SoldBy []Seller `json:"sold_by,omitempty"`
	// Buyers are categories of which the buyer must have proved one at the time;
	// without any everybody may buy.
	Buyers []string `json:"buyers,omitempty"`
	// Begins is when the holding begins: "paid" (the default), when the money is
	// certain, or "asked", when it was asked for. Either way there is no holding
	// before the money is certain; with "asked" the rides of the meantime are then
	// priced again with it.
	Begins string `json:"begins,omitempty"`
	// Refund says what can be given back: "unused" (the default), all of it while
	// nothing of it is used; "rest", what is not used, of tickets and stored value;
	// or "none".
	Refund RefundRule `json:"refund,omitempty"`
	// KeepDays is how long after its end rides may still come in late. What is left
	// then is the seller's. 0 = 14.
	KeepDays int `json:"keep_days,omitempty"`
}

// A Seller is who sells a product.
type Seller string

// The sellers.
const (
	ByRider    Seller = "rider"
	ByOperator Seller = "operator"
)

// A RefundRule says what of a product can be given back.
type RefundRule string

// The rules of refunds. The empty rule is RefundUnused.
const (
	RefundUnused RefundRule = "unused"
	RefundRest   RefundRule = "rest"
	RefundNone   RefundRule = "none"
)

// BeginsAsked has a holding begin when it was asked for.
const BeginsAsked = "asked"

const offersMax = 1_000

// ParseCatalogue reads the JSON form of a catalogue, strictly: an unknown field or
// anything after the object is refused.
func ParseCatalogue(raw []byte) (*Catalogue, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	c := new(Catalogue)
	if err := d.Decode(c); err != nil {
		return nil, ErrCatalogue.Explain("not the JSON of a catalogue: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrCatalogue.Explain("something follows the catalogue")
	}
	return c, c.Check()
}

// Encode gives the one JSON form of c.
func (c *Catalogue) Encode() ([]byte, error) { return json.Marshal(c) }

// Offer gives the product with an id, or nil.
func (c *Catalogue) Offer(id string) *Offer {
	i := slices.IndexFunc(c.Products, func(o Offer) bool { return o.ID == id })
	if i < 0 {
		return nil
	}
	return &c.Products[i]
}

// Check refuses a catalogue that cannot be published.
func (c *Catalogue) Check() error {
	if c.Version == 0 || c.Version > 1<<62 || !c.Currency.Valid() {
		return ErrCatalogue.Explain("version (from 1) and currency are required")
	}
	if len(c.Products) > offersMax {
		return ErrCatalogue.Explain("more than %d products", offersMax)
	}
	seen := make(map[string]bool, len(c.Products))
	for i := range c.Products {
		o := &c.Products[i]
		if err := o.check(); err != nil {
			return ErrCatalogue.Explain("%v", err)
		}
		if seen[o.ID] {
			return ErrCatalogue.Explain("product %s: it is there twice", o.ID)
		}
		seen[o.ID] = true
	}
	return nil
}

func (o *Offer) check() error {
	if err := o.Check(); err != nil {
		return err
	}
	for _, s := range o.SoldBy {
		if s != ByRider && s != ByOperator {
			return fmt.Errorf("product %s: nobody sells as %q: want rider or operator", o.ID, s)
		}
	}
	switch {
	case len(o.ID) > 80 || len(o.Name) > 200:
		return fmt.Errorf("product %s: the id or name is too long", o.ID)
	case o.Kind == ZeroFare && (len(o.SoldBy) > 0 || o.Price > 0):
		return fmt.Errorf("product %s: a zero fare is given, not sold", o.ID)
	case o.Kind == StoredValue && len(o.SoldBy) == 0:
		return fmt.Errorf("product %s: stored value is money: it is sold, by rider or operator, and never given", o.ID)
	case o.Kind == StoredValue && o.Value < o.Price:
		return fmt.Errorf("product %s: stored value of %d for %d is less than was paid", o.ID, o.Value, o.Price)
	case o.Kind == StoredValue && o.Price == 0:
		return fmt.Errorf("product %s: stored value is money and needs a price", o.ID)
	case o.Begins != "" && o.Begins != "paid" && o.Begins != BeginsAsked:
		return fmt.Errorf("product %s: begins %q: want paid or asked", o.ID, o.Begins)
	case !slices.Contains([]RefundRule{"", RefundUnused, RefundRest, RefundNone}, o.Refund):
		return fmt.Errorf("product %s: refund %q: want unused, rest or none", o.ID, o.Refund)
	case o.Refund == RefundRest && o.Kind != Ticket && o.Kind != StoredValue:
		return fmt.Errorf("product %s: only of tickets and stored value there is a rest to give back", o.ID)
	case o.KeepDays < 0 || o.KeepDays > 366:
		return fmt.Errorf("product %s: keep_days is out of range", o.ID)
	}
	return nil
}

// Sells reports whether s sells o.
func (o *Offer) Sells(s Seller) bool { return slices.Contains(o.SoldBy, s) }

// Keep gives KeepDays as it holds.
func (o *Offer) Keep() int {
	if o.KeepDays == 0 {
		return 14
	}
	return o.KeepDays
}

// Back gives what of the price of a holding of o can be given back, in minor units,
// when earned of it is used up by so many rides.
func (o *Offer) Back(paid, earned int64, rides int) int64 {
	switch {
	case o.Refund == RefundNone, (o.Refund == "" || o.Refund == RefundUnused) && rides > 0:
		return 0
	}
	return max(paid-earned, 0)
}

// Closes gives the instant (unix milliseconds) after which no ride can begin on h
// and keep days have passed; 0 means never. A holding that begins with its first
// use can be used until its last day and from then on for its period.
func (h *Holding) Closes(keep int) int64 {
	const dayMS = 24 * 60 * 60 * 1000
	if h.Until == 0 {
		return 0
	}
	return h.Until + h.Lasts + int64(keep)*dayMS
}
