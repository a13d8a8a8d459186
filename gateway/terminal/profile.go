package terminal

import (
	"slices"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

// Profile gives what the bundle held says of this terminal alone; the zero value
// if it says nothing. Its features are for the software around the SDK.
func (v *Verifier) Profile() bundle.TerminalProfile {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.profile
}

// mode gives the mode of transport that decides.
func (v *Verifier) mode() accept.Mode {
	if v.profile.Mode != "" {
		return accept.Mode(v.profile.Mode)
	}
	return v.config.Mode
}

// placed fills in where the terminal is, if whoever runs it does not say.
func (v *Verifier) placed(in Input) Input {
	if in.Stop == "" {
		in.Stop = v.profile.Stop
	}
	if in.Route == "" {
		in.Route = v.profile.Route
	}
	return in
}

// narrowed refuses what this terminal does not take although the policy may allow
// it elsewhere.
func (v *Verifier) narrowed(in Input) code.Reason {
	p := &v.profile
	switch {
	case len(p.Kinds) > 0 && !slices.Contains(p.Kinds, uint8(in.Kind)):
		return code.ProductNotValidHere
	case p.MaxFareMinor > 0 && in.Fare.Minor > p.MaxFareMinor:
		return code.AmountOverCap
	}
	return ""
}
