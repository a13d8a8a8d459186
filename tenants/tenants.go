// Package tenants says who takes part: cities, operators, billers, shops, each
// a tenant with its own books, keys, provider contracts and calendar.
//
// A tree of tenants (an authority and its operators) gives rights, never a
// wider transaction: one transaction is always one tenant. The directory of
// tenants is the platform's; everything a tenant owns lies behind row-level
// security, reached through tenants/pg alone.
package tenants

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Kind is what a tenant does in the city.
type Kind string

// The kinds.
const (
	Authority Kind = "authority"
	Metro     Kind = "metro"
	Rail      Kind = "rail"
	Bus       Kind = "bus"
	Minibus   Kind = "minibus"
	Taxi      Kind = "taxi"
	Ferry     Kind = "ferry"
	Parking   Kind = "parking"
	Biller    Kind = "biller"
	Clinic    Kind = "clinic"
	Merchant  Kind = "merchant"
)

// Kinds gives every kind there is.
func Kinds() []Kind {
	return []Kind{Authority, Metro, Rail, Bus, Minibus, Taxi, Ferry, Parking, Biller, Clinic, Merchant}
}

// A Mode says whether a tenant's money is real. It never changes.
type Mode string

// The modes.
const (
	Sandbox Mode = "sandbox"
	Live    Mode = "live"
)

// A State is a tenant's place in its life: draft -> active <-> suspended, both
// -> closing -> closed. What each refuses is in life.go.
type State string

// The states.
const (
	Draft     State = "draft"
	Active    State = "active"
	Suspended State = "suspended"
	Closing   State = "closing" // finishes what it has
	Closed    State = "closed"
)

// A Tenant is one member of the platform.
type Tenant struct {
	ID     citygate.TenantID
	Slug   string // in URLs and files: lower-case letters, digits, hyphens
	Name   string
	Kind   Kind
	Parent citygate.TenantID // the authority that owns an operator; 0 = none
	Mode   Mode
	// Issuer is the number on the codes the tenant signs; 0 = it issues none.
	Issuer          citygate.Issuer
	Currency        citygate.Currency // of its prices and books
	TimeZone        string            // IANA name
	CutMinutes      int               // local minutes after midnight at which a business date starts
	CalendarVersion int
	CapUnit         int64 // minor units one step of a code's cap field stands for
	State           State

	later *[]CalendarVersion // of its calendar
}

// Calendar gives the tenant's settlement calendar, with its later versions where
// the tenant was given by a [Directory].
func (t Tenant) Calendar() (citygate.Calendar, error) {
	loc, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return citygate.Calendar{}, ErrInvalid.Explain("time_zone %q is not an IANA time zone", t.TimeZone)
	}
	c := citygate.Calendar{Version: t.CalendarVersion, Location: loc, Cut: time.Duration(t.CutMinutes) * time.Minute}
	if t.later == nil {
		return c, nil
	}
	for _, v := range *t.later {
		if c, err = v.after(c); err != nil {
			return citygate.Calendar{}, err
		}
	}
	return c, nil
}

// The refusals of this package.
var (
	ErrNotFound = &citygate.Code{Name: "tenant.not_found", Kind: citygate.NotFound, Title: "There is no such tenant. Check the name or number."}
	ErrInvalid  = &citygate.Code{Name: "tenant.invalid", Kind: citygate.Invalid, Title: "The tenant's description is not valid. Correct the named field."}
	ErrExists   = &citygate.Code{Name: "tenant.exists", Kind: citygate.Conflict, Title: "A tenant with this number, name or issuer number exists with other settings."}
	ErrState    = &citygate.Code{Name: "tenant.state", Kind: citygate.Conflict, Title: "The tenant's state does not allow this change."}
)

var slugForm = regexp.MustCompile(`^[a-z][a-z0-9-]{1,38}[a-z0-9]$`)

// Check reports the first field that cannot be stored.
func (t Tenant) Check() error {
	switch {
	case t.ID <= 0:
		return ErrInvalid.Explain("id must be a positive number")
	case !slugForm.MatchString(t.Slug):
		return ErrInvalid.Explain("slug %q: want 3 to 40 lower-case letters, digits and hyphens, starting with a letter", t.Slug)
	case t.Name == "":
		return ErrInvalid.Explain("name is empty")
	case !slices.Contains(Kinds(), t.Kind):
		return ErrInvalid.Explain("kind %q is not known", t.Kind)
	case t.Mode != Sandbox && t.Mode != Live:
		return ErrInvalid.Explain("mode %q: want sandbox or live", t.Mode)
	case !t.Currency.Valid():
		return ErrInvalid.Explain("currency %q: want three capital letters (ISO 4217)", t.Currency)
	case t.CutMinutes < 0 || t.CutMinutes >= 24*60:
		return ErrInvalid.Explain("cut_minutes %d: want 0 to 1439", t.CutMinutes)
	case t.TimeZone == "" || t.TimeZone == "Local": // Go reads them as UTC and as the machine's
		return ErrInvalid.Explain("time_zone %q: want the name of an IANA time zone, such as Asia/Shanghai", t.TimeZone)
	case t.Issuer != 0 && t.CapUnit <= 0:
		return ErrInvalid.Explain("cap_unit must be positive for a tenant that issues codes")
	case t.Parent == t.ID:
		return ErrInvalid.Explain("a tenant cannot own itself")
	}
	_, err := t.Calendar()
	return err
}

// transitions lists the states each state may go to.
var transitions = map[State][]State{
	Draft:     {Active, Closed},
	Active:    {Suspended, Closing},
	Suspended: {Active, Closing},
	Closing:   {Closed},
}

// MayBecome reports whether a tenant in state s may go to state to.
func (s State) MayBecome(to State) bool { return s == to || slices.Contains(transitions[s], to) }

// String gives "slug (id)".
func (t Tenant) String() string { return fmt.Sprintf("%s (%d)", t.Slug, t.ID) }
