package roaming

import (
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/policies/accept"
)

// The refusals of this package.
var (
	ErrInvalid  = &citygate.Code{Name: "roaming.invalid", Kind: citygate.Invalid, Title: "The roaming terms are not valid. Correct the named field."}
	ErrNone     = &citygate.Code{Name: "roaming.none", Kind: citygate.NotFound, Title: "There are no such roaming terms. List what there is between the two tenants."}
	ErrState    = &citygate.Code{Name: "roaming.state", Kind: citygate.Conflict, Title: "The terms are not waiting for this tenant's agreement. List what there is between the two tenants."}
	ErrCurrency = &citygate.Code{Name: "roaming.currency", Kind: citygate.Conflict, Title: "The two tenants have different currencies, and there is no exchange. They cannot roam."}
	ErrMode     = &citygate.Code{Name: "roaming.mode", Kind: citygate.Conflict, Title: "One tenant's money is real and the other's is play. They cannot roam."}
	ErrTree     = &citygate.Code{Name: "roaming.one_tree", Kind: citygate.Conflict, Title: "The two tenants belong to one authority and need no terms. The host's acceptance rules alone admit the issuer."}
	ErrIssuer   = &citygate.Code{Name: "roaming.no_issuer", Kind: citygate.Conflict, Title: "The tenant that is to be the issuer issues no codes."}
)

// A Bearer is who bears something.
type Bearer string

// The bearers.
const (
	ByIssuer Bearer = "issuer"
	ByHost   Bearer = "host"
	ByRider  Bearer = "rider" // he pays it as any fare, and if he does not the host bears it; for [Terms.Beyond] alone
)

// Terms is what two tenants agree on.
type Terms struct {
	// Schemes are those whose codes are taken; none = all that the host reads.
	Schemes []code.SchemeID `json:"schemes,omitempty"`
	// Products are those of the issuer that are taken; none = all.
	Products []uint16 `json:"products,omitempty"`
	// CapMinor is the highest fare for one tap, in minor units; 0 = what the
	// credential itself promises.
	CapMinor int64 `json:"cap_minor,omitempty"`
	// DayCapMinor is the highest sum of the fares of one rider on one business date
	// of the host, in minor units; 0 = none.
	DayCapMinor int64 `json:"day_cap_minor,omitempty"`
	// Beyond says who bears what a rider rides for beyond DayCapMinor; "" = the host.
	Beyond Bearer `json:"beyond,omitempty"`
	// UploadDays is how long after the event the host may upload a tap; 0 = as its
	// own rules say.
	UploadDays int64 `json:"upload_days,omitempty"`
	// Uncollected says who bears a fare that the rider does not pay.
	Uncollected Bearer `json:"uncollected"`
	// PayDays is how long after a decline the issuer pays the host what it bears; 0 = 30
	// days.
	PayDays int64 `json:"pay_days,omitempty"`
	// NoticeDays is how long the terms hold on after either has ended them.
	NoticeDays int64 `json:"notice_days,omitempty"`
}

// Check names the first field that cannot be agreed on.
func (t Terms) Check() error {
	switch {
	case len(t.Schemes) > 32 || len(t.Products) > 256:
		return ErrInvalid.Explain("at most 32 schemes and 256 products")
	case t.CapMinor < 0 || t.CapMinor > 1<<40:
		return ErrInvalid.Explain("cap_minor: want 0 to 2^40")
	case t.DayCapMinor < 0 || t.DayCapMinor > 1<<40 || t.DayCapMinor > 0 && t.DayCapMinor < t.CapMinor:
		return ErrInvalid.Explain("day_cap_minor: want 0, or cap_minor to 2^40")
	case t.Beyond != "" && (t.DayCapMinor == 0 || t.Beyond != ByHost && t.Beyond != ByRider && t.Beyond != ByIssuer):
		return ErrInvalid.Explain("beyond: want host, rider or issuer, beside a day_cap_minor")
	case t.UploadDays < 0 || t.UploadDays > 366:
		return ErrInvalid.Explain("upload_days: want 0 to 366")
	case t.PayDays < 0 || t.PayDays > 366 || t.PayDays > 0 && t.Uncollected != ByIssuer:
		return ErrInvalid.Explain("pay_days: want 0 to 366, where the issuer bears what is not collected")
	case t.NoticeDays < 0 || t.NoticeDays > 366:
		return ErrInvalid.Explain("notice_days: want 0 to 366")
	case t.Uncollected != ByIssuer && t.Uncollected != ByHost:
		return ErrInvalid.Explain("uncollected: want issuer or host")
	}
	for i, s := range t.Schemes {
		if s == "" || len(s) > 40 || slices.Contains(t.Schemes[:i], s) {
			return ErrInvalid.Explain("schemes[%d]: empty, too long or named twice", i)
		}
	}
	return nil
}

// Pays gives [Terms.PayDays], or what stands for it.
func (t Terms) Pays() int {
	if t.PayDays == 0 {
		return payDaysUsual
	}
	return int(t.PayDays)
}

const payDaysUsual = 30

// Sorted gives t with its sets in order: one content has one form.
func (t Terms) Sorted() Terms {
	t.Schemes, t.Products = slices.Clone(t.Schemes), slices.Clone(t.Products)
	slices.Sort(t.Schemes)
	slices.Sort(t.Products)
	t.Products = slices.Compact(t.Products)
	if t.Beyond == ByHost {
		t.Beyond = "" // the same
	}
	return t
}

// Equal reports whether two terms say the same.
func (t Terms) Equal(o Terms) bool { return fmt.Sprint(t.Sorted()) == fmt.Sprint(o.Sorted()) }

// A Version of the terms between two tenants. Times that are not known yet are zero.
type Version struct {
	Issuer, Host citygate.TenantID
	Number       int
	Terms        Terms
	Currency     citygate.Currency
	AskedFrom    time.Time // event time from which the proposer wants it; zero = when it is agreed
	Proposer     citygate.TenantID
	ProposedBy   string
	ProposedAt   time.Time
	AgreedBy     string
	AgreedAt     time.Time
	EffectiveAt  time.Time // event time
	Ender        citygate.TenantID
	EndedBy      string
	EndedAt      time.Time
	EndsAt       time.Time // event time
}

// State says in a word where the version stands at an instant.
func (v *Version) State(at time.Time) string {
	agreed, ended := !v.AgreedAt.IsZero(), !v.EndsAt.IsZero()
	switch {
	case !agreed && ended:
		return "withdrawn"
	case !agreed:
		return "proposed"
	case ended && !at.Before(v.EndsAt):
		return "ended"
	case at.Before(v.EffectiveAt):
		return "agreed"
	}
	return "in_force"
}

// InForce gives the version that decides on a tap at an event time, nil if none
// does. versions are those between two tenants.
func InForce(versions []Version, at time.Time) *Version {
	var found *Version
	for i := range versions {
		v := &versions[i]
		if !v.AgreedAt.IsZero() && !v.EffectiveAt.After(at) && (found == nil || v.Number > found.Number) {
			found = v
		}
	}
	if found == nil || !found.EndsAt.IsZero() && !at.Before(found.EndsAt) {
		return nil
	}
	return found
}

// Word gives what a tenant stands by of the versions between two: the newest that it
// proposed or agreed to and that nobody has ended; nil if there is none.
func Word(versions []Version, tenant citygate.TenantID) *Version {
	for i := len(versions) - 1; i >= 0; i-- {
		if v := &versions[i]; v.EndsAt.IsZero() && (v.Proposer == tenant || !v.AgreedAt.IsZero()) {
			return v
		}
	}
	return nil
}

// Judge holds a code at an event time to the terms, for a fare of the host's
// currency as far as it is known. It gives "" if they admit it, else the reason
// and the name of the row that readers refuse by.
func (v *Version) Judge(issuer citygate.Issuer, scheme code.SchemeID, product uint16, fareMinor int64) (code.Reason, string) {
	switch {
	case v == nil:
		return code.UnknownIssuer, ""
	case len(v.Terms.Schemes) > 0 && !slices.Contains(v.Terms.Schemes, scheme):
		return code.PolicyRefused, v.stay(issuer).RowID("scheme")
	case len(v.Terms.Products) > 0 && !slices.Contains(v.Terms.Products, product):
		return code.PolicyRefused, v.stay(issuer).RowID("product")
	case v.Terms.CapMinor > 0 && fareMinor > v.Terms.CapMinor:
		return code.OverLimit, v.stay(issuer).RowID("cap")
	}
	return "", ""
}

func (v *Version) stay(issuer citygate.Issuer) accept.Stay {
	return accept.Stay{Issuer: issuer, Version: v.Number, Schemes: v.Terms.Schemes, Products: v.Terms.Products, CapMinor: v.Terms.CapMinor, DayCapMinor: v.Terms.DayCapMinor}
}

// Stays gives the periods in which terms hold for the riders of an issuer, as far
// as they have not passed at now, in the order of time.
func Stays(issuer citygate.Issuer, versions []Version, now time.Time) []accept.Stay {
	var edges []time.Time
	for i := range versions {
		if v := &versions[i]; !v.AgreedAt.IsZero() {
			edges = append(edges, v.EffectiveAt)
			if !v.EndsAt.IsZero() {
				edges = append(edges, v.EndsAt)
			}
		}
	}
	slices.SortFunc(edges, time.Time.Compare)
	edges = slices.CompactFunc(edges, time.Time.Equal)
	var all []accept.Stay
	for i, from := range edges {
		v := InForce(versions, from)
		last := i == len(edges)-1
		if v == nil || !last && !edges[i+1].After(now) {
			continue
		}
		s := v.stay(issuer)
		s.From, s.Until = from.UnixMilli(), accept.Forever
		if !last {
			s.Until = edges[i+1].UnixMilli()
		}
		if n := len(all); n > 0 && all[n-1].Version == s.Version && all[n-1].Until == s.From {
			all[n-1].Until = s.Until
			continue
		}
		all = append(all, s)
	}
	return all
}

// minute gives the first whole minute that is not before at: readers know minutes.
func minute(at time.Time) time.Time {
	whole := at.UTC().Truncate(time.Minute)
	if whole.Before(at) {
		whole = whole.Add(time.Minute)
	}
	return whole
}
