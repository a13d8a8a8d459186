package bundle

import (
	"cmp"
	"slices"

	"github.com/cashlesscity/citygate/gateway/code"
)

// Limits of the terminal profiles of a bundle.
const (
	ProfilesMax       = 512
	ProfileTermsMax   = KeysMax // terminals that have one
	profileTextMax    = 64
	profileEntriesMax = 32
)

// A TerminalProfile is what some terminals do otherwise than their operator's
// policy says. It narrows, but for the mode: what the policy refuses stays refused,
// and bundle and deny list floors are nobody's to lower.
type TerminalProfile struct {
	Terminals []uint32 // by their key ids, ascending

	Mode         string          // of transport, as the policy names it; "" = as the terminal was set up
	Stop, Route  string          // where it is, if whoever runs it does not say
	Kinds        []uint8         // of taps that it takes, ascending, numbered as in a tap record; none = all
	MaxFareMinor int64           // highest fare that it takes, in the operator's currency; 0 = any
	Schemes      []code.SchemeID // of codes that it takes, ascending; none = all
	Features     []string        // words for the software of the terminal, ascending
}

// wireProfile is a profile on the wire; of the terminals the first and then the
// differences.
type wireProfile struct {
	_            struct{} `cbor:",toarray"`
	Terminals    []uint32
	Mode         string
	Stop         string
	Route        string
	Kinds        []uint16 // plain bytes would be a byte string
	MaxFareMinor int64
	Schemes      []code.SchemeID
	Features     []string
}

func (p *TerminalProfile) wire() wireProfile {
	w := wireProfile{
		Terminals: slices.Clone(p.Terminals), Mode: p.Mode, Stop: p.Stop, Route: p.Route, Kinds: make([]uint16, len(p.Kinds)), MaxFareMinor: p.MaxFareMinor,
		Schemes: append([]code.SchemeID{}, p.Schemes...), Features: append([]string{}, p.Features...),
	}
	for i := len(w.Terminals) - 1; i > 0; i-- {
		w.Terminals[i] -= w.Terminals[i-1]
	}
	for i, k := range p.Kinds {
		w.Kinds[i] = uint16(k)
	}
	return w
}

func (w *wireProfile) profile() TerminalProfile {
	p := TerminalProfile{
		Terminals: w.Terminals, Mode: w.Mode, Stop: w.Stop, Route: w.Route, Kinds: make([]uint8, len(w.Kinds)), MaxFareMinor: w.MaxFareMinor, Schemes: w.Schemes, Features: w.Features,
	}
	for i := 1; i < len(p.Terminals); i++ {
		p.Terminals[i] += p.Terminals[i-1] // one that wraps around is not ascending
	}
	for i, k := range w.Kinds {
		p.Kinds[i] = uint8(min(k, 255))
	}
	return p
}

func compareProfiles(a, b TerminalProfile) int { return slices.Compare(a.Terminals, b.Terminals) }

// Check refuses a profile that a bundle cannot carry.
func (p *TerminalProfile) Check() error {
	ordered := len(p.Terminals) > 0 && p.Terminals[0] > 0 && ascending(p.Terminals, cmp.Compare[uint32]) && ascending(p.Kinds, cmp.Compare[uint8]) &&
		ascending(p.Schemes, cmp.Compare[code.SchemeID]) && ascending(p.Features, cmp.Compare[string])
	switch {
	case !ordered:
		return ErrMalformed.Explain("a terminal profile names no terminal, or something twice or out of order")
	case len(p.Mode) > profileTextMax || len(p.Stop) > profileTextMax || len(p.Route) > profileTextMax || p.MaxFareMinor < 0:
		return ErrMalformed.Explain("profile of terminal %d: a text of more than %d bytes, or a fare below 0", p.Terminals[0], profileTextMax)
	case len(p.Kinds) > profileEntriesMax || len(p.Schemes) > profileEntriesMax || len(p.Features) > profileEntriesMax:
		return ErrMalformed.Explain("profile of terminal %d: more than %d kinds, schemes or features", p.Terminals[0], profileEntriesMax)
	}
	for _, f := range p.Features {
		if !schemeForm.MatchString(f) {
			return ErrMalformed.Explain("profile of terminal %d: feature %q: want lower-case letters, digits and hyphens", p.Terminals[0], f)
		}
	}
	for _, s := range p.Schemes {
		if !schemeForm.MatchString(string(s)) {
			return ErrMalformed.Explain("profile of terminal %d: scheme %q", p.Terminals[0], s)
		}
	}
	return nil
}

// checkProfiles also sees that no terminal has two.
func (b *Bundle) checkProfiles() error {
	terminals, seen := 0, map[uint32]bool{}
	if len(b.Profiles) > ProfilesMax || !ascending(b.Profiles, compareProfiles) {
		return ErrMalformed.Explain("more than %d terminal profiles, or out of order", ProfilesMax)
	}
	for i := range b.Profiles {
		p := &b.Profiles[i]
		if err := p.Check(); err != nil {
			return err
		}
		for _, id := range p.Terminals {
			if seen[id] {
				return ErrMalformed.Explain("terminal %d has two profiles", id)
			}
			seen[id] = true
		}
		if terminals += len(p.Terminals); terminals > ProfileTermsMax {
			return ErrMalformed.Explain("more than %d terminals have a profile", ProfileTermsMax)
		}
	}
	return nil
}

// ProfileOf gives the profile of a terminal of the bundle's operator, if it has one.
func (b *Bundle) ProfileOf(terminal uint32) (TerminalProfile, bool) {
	for _, p := range b.Profiles {
		if _, ok := slices.BinarySearch(p.Terminals, terminal); ok {
			return p, true
		}
	}
	return TerminalProfile{}, false
}
