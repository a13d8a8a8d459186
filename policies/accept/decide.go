package accept

import (
	"math"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// Facts is what the terminal, or intake in its place, knows beside the code.
type Facts struct {
	At      int64 // unix milliseconds: the instant of the tap
	ClockOK bool  // At can be trusted; false makes it a lower bound

	Mode Mode
	Kind tap.Kind

	// Fare is what the tap will cost when that is known at the reader (a flat
	// fare, or the amount a driver entered). No currency means not known.
	Fare citygate.Money
	// Riders is how many the operator counted at the reader, 0 = as the code says; the
	// higher number counts.
	Riders uint8
	// Context is the vehicle binding of this reader, 0 = none.
	Context uint16
	// TrustExpired says that the terminal's trust bundle has run out.
	TrustExpired bool

	Stop, Route string // where the reader is; "" = not known
	// Memory is what the reader knows of the rider's earlier taps.
	Memory Memory
}

// Issuer gives the rule for an issuer's riders.
func (r *Rules) Issuer(n citygate.Issuer) (IssuerRule, bool) {
	lo, hi := 0, len(r.Issuers)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if r.Issuers[mid].Issuer < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(r.Issuers) && r.Issuers[lo].Issuer == n {
		return r.Issuers[lo], true
	}
	return IssuerRule{}, false
}

// BeforeSignatures runs every check that needs neither a key nor a list, in
// the fixed order of the reader: scheme and issuer, times, place, amount,
// budget. It gives the first reason to refuse, or "" and then the signatures
// decide. A code that says no time is put at the tap. It allocates nothing.
func (r *Rules) BeforeSignatures(c *code.Code, f Facts) code.Reason {
	reason, _ := r.Judge(c, f)
	return reason
}

// Judge is [Rules.BeforeSignatures] that also names the rule of the table which
// decided, "" if none did. Rules and limits come last, after the budget.
func (r *Rules) Judge(c *code.Code, f Facts) (reason code.Reason, rule string) {
	r = r.InForce(f.At)
	if reason := r.fixed(c, f); reason != "" || r.Table == nil {
		return reason, ""
	}
	s := situation(c, f)
	rule, effect := r.Table.Decide(&s)
	switch effect {
	case Refuse:
		return code.PolicyRefused, rule
	case Limit:
		return code.OverLimit, rule
	default:
		return "", rule
	}
}

// situation gives a tap as a table sees it.
func situation(c *code.Code, f Facts) Situation {
	s := Situation{
		At: f.At, ClockOK: f.ClockOK, Scheme: string(c.Scheme), Mode: string(f.Mode), Kind: kindName(f.Kind), Medium: mediumName(c.Medium),
		Currency: string(f.Fare.Currency), Stop: f.Stop, Route: f.Route,
		Issuer: int64(c.Rider.Issuer), Product: int64(c.Product), Party: int64(max(c.Party, f.Riders)), Counter: int64(c.Counter), Memory: f.Memory,
		CredentialAge: max(0, (floor(f.At, 1000)-c.IssuedAt)/60),
	}
	if s.Currency != "" {
		s.Amount = f.Fare.Minor
	}
	return s
}

func kindName(k tap.Kind) string {
	switch k {
	case tap.On:
		return "on"
	case tap.Off:
		return "off"
	case tap.Single:
		return "single"
	}
	return ""
}

// MediumOf names what a code was shown on: phone, band, server (made ahead) or other
// as a CT1 code says, else the code's scheme, as nothing in it tells more.
func MediumOf(c *code.Code) string {
	if c.Scheme != ct1 {
		return string(c.Scheme)
	}
	return mediumName(c.Medium)
}

// Foreign reports whether a code is of a scheme whose riders only their issuer can
// tell: an operator's own, not its authority's, prices hold for them.
func Foreign(c *code.Code) bool { return c.Scheme != ct1 }

// ct1 is the scheme whose codes say what they are shown on.
const ct1 code.SchemeID = "ct1"

func mediumName(m uint8) string {
	switch m {
	case code.MediumPhone:
		return "phone"
	case code.MediumBand:
		return "band"
	case code.MediumServerBatch:
		return "server"
	}
	return "other"
}

func (r *Rules) fixed(c *code.Code, f Facts) code.Reason {
	c.Place(f.At / 1000)
	if !r.scheme(c.Scheme) {
		return code.Unsupported
	}
	issuer, ok := r.Issuer(c.Rider.Issuer)
	if !ok {
		return code.UnknownIssuer
	}
	if f.TrustExpired {
		return code.IssuerCertExpired
	}
	if reason := r.times(c, f); reason != "" {
		return reason
	}
	if !r.place(c, f) {
		return code.ProductNotValidHere
	}
	if c.Context != 0 && f.Context != 0 && c.Context != f.Context {
		return code.WrongVehicle
	}
	if reason := amount(issuer, c, f); reason != "" {
		return reason
	}
	if c.Taps != 0 && c.Counter > uint16(c.Taps) {
		return code.TapsExhausted
	}
	return ""
}

// times checks the life of the credential, then the display's window
// [generated - skew, generated + window + skew], both ends included.
func (r *Rules) times(c *code.Code, f Facts) code.Reason {
	skew := r.SkewSeconds * 1000
	if c.CertExpiresAt != 0 && f.At >= c.CertExpiresAt*1000 {
		return code.IssuerCertExpired
	}
	if c.ExpiresAt <= c.IssuedAt || c.ExpiresAt-c.IssuedAt > r.MaxTTLHours*3600 {
		return code.ExpiredCredential
	}
	if f.At >= c.ExpiresAt*1000 || c.GeneratedAt >= c.ExpiresAt {
		return code.ExpiredCredential
	}
	window := min(max(c.Window, 0), r.MaxWindowSeconds) * 1000
	if f.At > c.GeneratedAt*1000+window+skew {
		return code.ExpiredCode
	}
	if c.GeneratedAt < c.IssuedAt {
		return code.NotYetValid
	}
	if f.ClockOK && (c.IssuedAt*1000 > f.At+skew || c.GeneratedAt*1000 > f.At+skew) {
		return code.NotYetValid
	}
	return ""
}

func (r *Rules) scheme(id code.SchemeID) bool {
	for _, s := range r.Schemes {
		if s == id {
			return true
		}
	}
	return false
}

func (r *Rules) place(c *code.Code, f Facts) bool {
	for i := range r.Modes {
		m := &r.Modes[i]
		if m.Mode != f.Mode {
			continue
		}
		kind := false
		for _, k := range m.Kinds {
			kind = kind || k == f.Kind
		}
		product := len(m.Products) == 0
		for _, p := range m.Products {
			product = product || p == c.Product
		}
		return kind && product
	}
	return false
}

// amount compares a known fare with the credential's cap. A fare in another
// currency than the issuer's cannot be promised by the cap, so it is refused.
func amount(issuer IssuerRule, c *code.Code, f Facts) code.Reason {
	if f.Fare.Currency == "" {
		return ""
	}
	if f.Fare.Currency != issuer.Currency {
		return code.ProductNotValidHere
	}
	limit := int64(c.Cap) * issuer.CapUnitMinor // at most 2^56: Check bounds the unit
	switch {
	case c.CapMinor > 0:
		limit = c.CapMinor
	case c.CapMinor < 0: // code.CapNone: what the code does not bound only policy can
		limit = math.MaxInt64
	}
	if !f.ClockOK && issuer.UnsureCapMinor > 0 {
		limit = min(limit, issuer.UnsureCapMinor)
	}
	if f.Fare.Minor < 0 || f.Fare.Minor > limit {
		return code.AmountOverCap
	}
	return ""
}

// A List is what a terminal knows of the deny list a rider is on or not.
type List struct {
	Held    bool  // the terminal holds it, or knows that it is empty
	Expired bool  // it is past its own time: then it proves nothing any more
	At      int64 // unix seconds: when it was last known to be the newest
}

// Freshness says whether a rider who is on no list may be let through. A rider
// was good when the list that lacks him was the newest, and was good when his
// credential was issued: an issuer gives none to whom it denies. The later of the
// two counts, so a terminal that was away still serves riders whose phone was
// not. Up to StaleListSeconds after it all is well; from there to
// StaleLimitSeconds a lower cap applies; beyond, the rider is refused. It
// allocates nothing.
func (r *Rules) Freshness(c *code.Code, f Facts, l List) code.Reason {
	r = r.InForce(f.At)
	usable := l.Held && !l.Expired
	if !l.Held && r.MissingListOK {
		return ""
	}
	if r.StaleListSeconds == 0 { // any age of a list, but a list there must be
		if usable {
			return ""
		}
		return code.StaleList
	}
	good := c.IssuedAt
	if usable {
		good = max(good, l.At)
	}
	age := f.At/1000 - good
	switch {
	case age <= r.StaleListSeconds:
		return ""
	case age > r.StaleLimitSeconds:
		return code.StaleList
	}
	issuer, _ := r.Issuer(c.Rider.Issuer)
	if f.Fare.Currency != "" && issuer.StaleCapMinor > 0 && f.Fare.Minor > issuer.StaleCapMinor {
		return code.AmountOverCap
	}
	return ""
}
