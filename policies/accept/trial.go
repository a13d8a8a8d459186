package accept

import (
	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A Trial holds single codes against one scheme, in the order of a validator
// that would take anything genuine and holds no lists: form, life and window,
// amount, then what the scheme itself proves.
type Trial struct {
	Scheme code.Scheme
	Keys   code.KeySource
	Common code.Common
	At     int64  // unix milliseconds: the tap
	Amount *int64 // minor units; nil = not known at the reader
}

// Judge parses and verifies one code as it was scanned. c is zero when the bytes
// are no code of the scheme.
func (t *Trial) Judge(scanned []byte, c *code.Code) code.Verdict {
	*c = code.Code{}
	raw := scanned
	if text, ok := t.Scheme.(code.TextScheme); ok {
		decoded, ok, err := text.AppendText(nil, scanned)
		if err != nil {
			return code.Refuse(code.ReasonOf(err))
		}
		if ok {
			raw = decoded
		}
	}
	if err := t.Scheme.Parse(raw, c); err != nil {
		return code.Refuse(code.ReasonOf(err))
	}
	const currency = "XXX" // none: the code's cap and the amount are of one currency here
	rules := Rules{
		Issuers: []IssuerRule{{Issuer: c.Rider.Issuer, Currency: currency, CapUnitMinor: max(1, t.Common.CapUnitMinor)}},
		Schemes: []code.SchemeID{c.Scheme},
		Modes:   []ModeRule{{Mode: Bus, Kinds: Kinds{tap.Single}}},

		SkewSeconds: t.Common.SkewSeconds, MaxWindowSeconds: WindowMax, MaxTTLHours: TTLMax,
	}
	facts := Facts{At: t.At, ClockOK: true, Mode: Bus, Kind: tap.Single}
	held := code.InWindow
	if c.Timeless {
		held = 0 // the code says no time; if it proves one, Verify says so
	}
	if t.Amount != nil {
		facts.Fare = citygate.Money{Minor: *t.Amount, Currency: currency}
		if c.CapMinor != code.CapNone {
			held |= code.WithinCap
		}
	}
	if reason := rules.BeforeSignatures(c, facts); reason != "" {
		return code.Refuse(reason)
	}
	return t.Scheme.Verify(c, t.Keys, nil).After(held)
}
