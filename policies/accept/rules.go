package accept

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// Bounds of what a rule set may say. SkewMax is also how long a terminal keeps
// replay keys beyond a code's window, so that a new version with a larger skew
// meets no code whose key was already forgotten.
const (
	SkewMax   = 300      // seconds
	WindowMax = 3600     // seconds
	TTLMax    = 24 * 366 // hours
	sizeMax   = 64 << 10 // bytes of an encoded rule set
)

// ErrRules says that bytes are no rule set, or a rule set contradicts itself.
var ErrRules = &citygate.Code{Name: "accept.rules", Kind: citygate.Invalid, Title: "The acceptance rules are not valid; correct the named field."}

// A Mode is a mode of transport, as a terminal is set up for it. There may be
// others: a policy names them.
type Mode string

// The modes.
const (
	Metro   Mode = "metro"
	Rail    Mode = "rail"
	Bus     Mode = "bus"
	Minibus Mode = "minibus"
	Taxi    Mode = "taxi"
	Ferry   Mode = "ferry"
)

// Rules is one version of what a tenant's terminals accept. It is not changed
// after it was made and may be shared between goroutines.
type Rules struct {
	Version uint64            `json:"version"`
	Tenant  citygate.TenantID `json:"tenant"`

	Issuers []IssuerRule    `json:"issuers"` // ascending by number
	Schemes []code.SchemeID `json:"schemes"` // in the order they are tried
	Modes   []ModeRule      `json:"modes"`   // ascending by name

	SkewSeconds      int64 `json:"skew_seconds"`       // allowed between two clocks, both ways
	MaxWindowSeconds int64 `json:"max_window_seconds"` // longest life of one display, whatever it says
	MaxTTLHours      int64 `json:"max_ttl_hours"`      // longest life of a credential

	// StaleListSeconds is how long after a rider was last known to be good (by the
	// deny list or by the credential's issue) he is taken without more ado; 0 means
	// any age of the list. See [Rules.Freshness].
	StaleListSeconds int64 `json:"stale_list_seconds"`
	// StaleLimitSeconds is how long he is taken up to the issuer's lower cap; 0 =
	// not longer.
	StaleLimitSeconds int64 `json:"stale_limit_seconds,omitempty"`
	// MissingListOK accepts riders of a list the terminal does not hold.
	MissingListOK bool `json:"missing_list_ok"`

	// LateUploadDays is how long after the event intake takes a tap as money; it
	// takes none after 90 days.
	LateUploadDays int64 `json:"late_upload_days"`
	// ClockSuspectSeconds is how far a terminal's clock may be from the codes
	// it reads, in the median, before intake names the terminal.
	ClockSuspectSeconds int64 `json:"clock_suspect_seconds"`

	Incomplete Incomplete `json:"incomplete"`

	// Deferred admits codes that only their issuer can prove, ascending by scheme.
	Deferred []DeferredRule `json:"deferred,omitempty"`

	// From is the event time from which the version holds, in unix milliseconds; 0
	// = always. Before it Prior does: see [Rules.InForce].
	From int64 `json:"from,omitempty"`
	// Table holds conditions and limits beyond the fields above; nil = none.
	Table *Table `json:"table,omitempty"`
	// Prior is the version before, for the taps until From. What is stored of a
	// version has none; what readers are given may.
	Prior *Rules `json:"prior,omitempty"`
}

// priorMax is how many versions may stand behind one another in what a reader holds.
const priorMax = 3

// InForce gives the version that holds at an event time, in unix milliseconds. It
// gives r itself where nothing stands before it.
func (r *Rules) InForce(at int64) *Rules {
	for r.Prior != nil && at < r.From {
		r = r.Prior
	}
	return r
}

// An IssuerRule admits one issuer's riders.
type IssuerRule struct {
	Issuer   citygate.Issuer   `json:"issuer"`
	Currency citygate.Currency `json:"currency"`
	// CapUnitMinor is what one unit of a credential's cap is worth.
	CapUnitMinor int64 `json:"cap_unit_minor"`
	// UnsureCapMinor bounds a fare while the terminal's clock is unsure; 0 = the
	// credential's own cap.
	UnsureCapMinor int64 `json:"unsure_cap_minor"`
	// StaleCapMinor bounds a fare while it is longer than StaleListSeconds ago that
	// the rider was known to be good; 0 = the credential's own cap.
	StaleCapMinor int64 `json:"stale_cap_minor,omitempty"`
}

// A ModeRule says what one mode of transport takes. Empty Products means all.
type ModeRule struct {
	Mode     Mode     `json:"mode"`
	Kinds    Kinds    `json:"kinds"`    // in the order on, off, single
	Products []uint16 `json:"products"` // ascending
}

// Kinds is a set of tap kinds.
type Kinds []tap.Kind

var kindNames = map[tap.Kind]string{tap.On: "on", tap.Off: "off", tap.Single: "single"}

// MarshalJSON gives the names; plain JSON would take kinds for bytes.
func (k Kinds) MarshalJSON() ([]byte, error) {
	names := make([]string, len(k))
	for i, kind := range k {
		names[i] = kindNames[kind]
	}
	return json.Marshal(names)
}

// UnmarshalJSON reads the names.
func (k *Kinds) UnmarshalJSON(raw []byte) error {
	var names []string
	if err := json.Unmarshal(raw, &names); err != nil {
		return err
	}
	*k = make(Kinds, 0, len(names))
	for _, name := range names {
		found := tap.Kind(0)
		for kind, n := range kindNames {
			if n == name {
				found = kind
			}
		}
		if found == 0 {
			return ErrRules.Explain("kinds: %q is none of on, off, single", name)
		}
		*k = append(*k, found)
	}
	return nil
}

// IncompleteCharge says what a journey with one end missing costs.
type IncompleteCharge string

// The ways to charge an incomplete journey.
const (
	ChargeMax   IncompleteCharge = "max"   // the dearest fare from the known stop
	ChargeFixed IncompleteCharge = "fixed" // Incomplete.Minor
	ChargeNone  IncompleteCharge = "none"  // nothing; the journey is listed
)

// Incomplete is the rule for journeys with one end missing.
type Incomplete struct {
	Charge            IncompleteCharge `json:"charge"`
	Minor             int64            `json:"minor"`
	MaxJourneyMinutes int64            `json:"max_journey_minutes"`
	GraceMinutes      int64            `json:"grace_minutes"` // for uploads that come late
}

// Check names the first field that contradicts the rules for rules.
func (r *Rules) Check() error {
	switch {
	case r.Version == 0:
		return ErrRules.Explain("version: must be at least 1")
	case r.Tenant <= 0:
		return ErrRules.Explain("tenant: must be positive")
	case r.SkewSeconds < 0 || r.SkewSeconds > SkewMax:
		return ErrRules.Explain("skew_seconds: want 0 to %d", SkewMax)
	case r.MaxWindowSeconds < 1 || r.MaxWindowSeconds > WindowMax:
		return ErrRules.Explain("max_window_seconds: want 1 to %d", WindowMax)
	case r.MaxTTLHours < 1 || r.MaxTTLHours > TTLMax:
		return ErrRules.Explain("max_ttl_hours: want 1 to %d", TTLMax)
	case r.StaleListSeconds < 0:
		return ErrRules.Explain("stale_list_seconds: must not be negative")
	case r.StaleLimitSeconds != 0 && (r.StaleListSeconds == 0 || r.StaleLimitSeconds < r.StaleListSeconds):
		return ErrRules.Explain("stale_limit_seconds: want 0, or no less than a stale_list_seconds that is not 0")
	case r.LateUploadDays < 1 || r.LateUploadDays > 366:
		return ErrRules.Explain("late_upload_days: want 1 to 366")
	case r.ClockSuspectSeconds < 1 || r.ClockSuspectSeconds > 24*3600:
		return ErrRules.Explain("clock_suspect_seconds: want 1 to %d", 24*3600)
	}
	if err := r.checkIssuers(); err != nil {
		return err
	}
	if err := r.checkModes(); err != nil {
		return err
	}
	if err := r.checkDeferred(); err != nil {
		return err
	}
	if err := r.Incomplete.check(); err != nil {
		return err
	}
	return r.checkPrior()
}

func (r *Rules) checkPrior() error {
	if r.From < 0 || r.From > 1<<50 {
		return ErrRules.Explain("from: want unix milliseconds")
	}
	depth := 0
	for p := r.Prior; p != nil; p = p.Prior {
		if depth++; depth > priorMax {
			return ErrRules.Explain("prior: more than %d versions behind one another", priorMax)
		}
	}
	if r.Prior == nil {
		return nil
	}
	if r.Prior.Version >= r.Version || r.Prior.Tenant != r.Tenant || r.Prior.From >= r.From {
		return ErrRules.Explain("prior: want a lower version of the same tenant, from an earlier time")
	}
	return r.Prior.Check()
}

func (r *Rules) checkIssuers() error {
	for i, is := range r.Issuers {
		switch {
		case i > 0 && r.Issuers[i-1].Issuer >= is.Issuer:
			return ErrRules.Explain("issuers[%d]: not in ascending order", i)
		case !is.Currency.Valid():
			return ErrRules.Explain("issuers[%d].currency: want three capital letters", i)
		case is.CapUnitMinor < 1 || is.CapUnitMinor > 1<<40:
			return ErrRules.Explain("issuers[%d].cap_unit_minor: want 1 to 2^40", i)
		case is.UnsureCapMinor < 0:
			return ErrRules.Explain("issuers[%d].unsure_cap_minor: must not be negative", i)
		case is.StaleCapMinor < 0:
			return ErrRules.Explain("issuers[%d].stale_cap_minor: must not be negative", i)
		}
	}
	if len(r.Schemes) == 0 {
		return ErrRules.Explain("schemes: at least one")
	}
	for i, s := range r.Schemes {
		if s == "" || slices.Contains(r.Schemes[:i], s) {
			return ErrRules.Explain("schemes[%d]: empty or named twice", i)
		}
	}
	return nil
}

func (r *Rules) checkModes() error {
	for i, m := range r.Modes {
		if m.Mode == "" || i > 0 && r.Modes[i-1].Mode >= m.Mode {
			return ErrRules.Explain("modes[%d]: empty or not in ascending order", i)
		}
		for j, k := range m.Kinds {
			if k < tap.On || k > tap.Single || j > 0 && m.Kinds[j-1] >= k {
				return ErrRules.Explain("modes[%d].kinds[%d]: unknown or not in ascending order", i, j)
			}
		}
		for j := 1; j < len(m.Products); j++ {
			if m.Products[j-1] >= m.Products[j] {
				return ErrRules.Explain("modes[%d].products[%d]: not in ascending order", i, j)
			}
		}
	}
	return nil
}

func (c Incomplete) check() error {
	switch {
	case c.Charge != ChargeMax && c.Charge != ChargeFixed && c.Charge != ChargeNone:
		return ErrRules.Explain("incomplete.charge: want max, fixed or none")
	case c.Minor < 0 || c.Charge != ChargeFixed && c.Minor != 0:
		return ErrRules.Explain("incomplete.minor: an amount only with fixed, and never negative")
	case c.MaxJourneyMinutes < 1 || c.GraceMinutes < 0:
		return ErrRules.Explain("incomplete: want max_journey_minutes of 1 or more and no negative grace_minutes")
	}
	return nil
}

// Encode gives the canonical bytes of r: one value has one encoding.
func (r *Rules) Encode() ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(r.canonical())
	if err != nil {
		return nil, ErrRules.Because(err, "encode")
	}
	if len(raw) > sizeMax {
		return nil, ErrRules.Explain("the rule set is larger than %d bytes", sizeMax)
	}
	return raw, nil
}

// canonical gives r with empty lists for those that are nil.
func (r *Rules) canonical() *Rules {
	c := *r
	if c.Issuers == nil {
		c.Issuers = []IssuerRule{}
	}
	c.Modes = make([]ModeRule, len(r.Modes))
	for i, m := range r.Modes {
		if m.Kinds == nil {
			m.Kinds = Kinds{}
		}
		if m.Products == nil {
			m.Products = []uint16{}
		}
		c.Modes[i] = m
	}
	if c.Prior != nil {
		c.Prior = c.Prior.canonical()
	}
	return &c
}

// Parse reads the form of [Rules.Encode] and nothing else: an unknown or
// repeated field, another order or a space more is refused, so that whatever
// parses encodes back to the same bytes.
func Parse(raw []byte) (*Rules, error) {
	if len(raw) > sizeMax {
		return nil, ErrRules.Explain("the rule set is larger than %d bytes", sizeMax)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	r := new(Rules)
	if err := dec.Decode(r); err != nil {
		return nil, ErrRules.Because(err, "decode")
	}
	again, err := r.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, raw) {
		return nil, ErrRules.Explain("not in canonical form")
	}
	return r, nil
}
