package accept

import (
	"github.com/cashlesscity/citygate/gateway/code"
)

// A DeferredRule says what a reader does with codes of a scheme that nobody there
// can prove, only their issuer or provider: it lets them through on that word, up
// to a limit. A scheme without a rule is not let through.
type DeferredRule struct {
	Scheme code.SchemeID `json:"scheme"`
	// LimitMinor is the highest fare, in minor units of the issuer's currency. The
	// fare must be known at the reader: a code that proves nothing opens no journey
	// of unknown price.
	LimitMinor int64 `json:"limit_minor"`
	// ResolveMinutes is how long after the upload somebody may still vouch for the
	// code; then the tap is refused as unresolved.
	ResolveMinutes int64 `json:"resolve_minutes"`
}

// resolveMax bounds ResolveMinutes: 31 days.
const resolveMax = 31 * 24 * 60

// DeferredRule gives the rule for deferred codes of a scheme.
func (r *Rules) DeferredRule(id code.SchemeID) (DeferredRule, bool) {
	for i := range r.Deferred {
		if r.Deferred[i].Scheme == id {
			return r.Deferred[i], true
		}
	}
	return DeferredRule{}, false
}

// Deferring says why a deferred code is not let through, "" if it is. What
// [Rules.BeforeSignatures] checks was checked before. It allocates nothing.
func (r *Rules) Deferring(c *code.Code, f Facts) code.Reason {
	rule, ok := r.InForce(f.At).DeferredRule(c.Scheme)
	switch {
	case !ok:
		return code.UnknownKey // no key held here proves it
	case f.Fare.Currency == "" || f.Fare.Minor > rule.LimitMinor:
		return code.AmountOverCap
	}
	return ""
}

func (r *Rules) checkDeferred() error {
	for i, d := range r.Deferred {
		switch {
		case i > 0 && r.Deferred[i-1].Scheme >= d.Scheme:
			return ErrRules.Explain("deferred[%d]: not in ascending order of schemes", i)
		case !r.scheme(d.Scheme):
			return ErrRules.Explain("deferred[%d].scheme: %q is not one of schemes", i, d.Scheme)
		case d.LimitMinor < 1:
			return ErrRules.Explain("deferred[%d].limit_minor: must be at least 1", i)
		case d.ResolveMinutes < 1 || d.ResolveMinutes > resolveMax:
			return ErrRules.Explain("deferred[%d].resolve_minutes: want 1 to %d", i, resolveMax)
		}
	}
	return nil
}
