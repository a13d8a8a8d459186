package bundle_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/keys/bundle"
)

func gateProfile(terminals ...uint32) bundle.TerminalProfile {
	return bundle.TerminalProfile{
		Terminals: terminals, Mode: "metro", Stop: "Central", Kinds: []uint8{1, 2}, MaxFareMinor: 5000, Schemes: []code.SchemeID{"ct1"}, Features: []string{"beep"},
	}
}

func TestBundleCarriesProfiles(t *testing.T) {
	b := city()
	b.Profiles = []bundle.TerminalProfile{gateProfile(1, 7, 4_000_000_000), {Terminals: []uint32{2}, Route: "12"}}
	held := open(t, sign(t, b))
	if p, ok := held.ProfileOf(7); !ok || !reflect.DeepEqual(p, gateProfile(1, 7, 4_000_000_000)) {
		t.Errorf("terminal 7: %+v, %t", p, ok)
	}
	if p, ok := held.ProfileOf(2); !ok || p.Route != "12" || p.Mode != "" {
		t.Errorf("terminal 2: %+v, %t", p, ok)
	}
	if _, ok := held.ProfileOf(3); ok {
		t.Error("terminal 3 has a profile")
	}
	for name, change := range map[string]func(p []bundle.TerminalProfile) []bundle.TerminalProfile{
		"of nobody":            func(p []bundle.TerminalProfile) []bundle.TerminalProfile { p[0].Terminals = nil; return p },
		"terminals unordered":  func(p []bundle.TerminalProfile) []bundle.TerminalProfile { p[0].Terminals = []uint32{7, 1}; return p },
		"two of one terminal":  func(p []bundle.TerminalProfile) []bundle.TerminalProfile { p[1].Terminals = []uint32{7}; return p },
		"profiles unordered":   func(p []bundle.TerminalProfile) []bundle.TerminalProfile { slices.Reverse(p); return p },
		"a fare below 0":       func(p []bundle.TerminalProfile) []bundle.TerminalProfile { p[0].MaxFareMinor = -1; return p },
		"kinds unordered":      func(p []bundle.TerminalProfile) []bundle.TerminalProfile { p[0].Kinds = []uint8{2, 1}; return p },
		"a feature that is no": func(p []bundle.TerminalProfile) []bundle.TerminalProfile { p[0].Features = []string{"A b"}; return p },
		"a stop too long": func(p []bundle.TerminalProfile) []bundle.TerminalProfile {
			p[0].Stop = string(make([]byte, 65))
			return p
		},
	} {
		b := city()
		b.Profiles = change([]bundle.TerminalProfile{gateProfile(1, 7), {Terminals: []uint32{2}, Route: "12"}})
		if _, err := bundle.Sign(b, signer(1), signer(2)); !errors.Is(err, bundle.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A thousand terminals that share ten profiles take less than 3 KB.
func TestProfilesAreSmall(t *testing.T) {
	without := len(sign(t, city()))
	b := city()
	for i := range uint32(10) {
		p := gateProfile()
		p.Stop = "Stop " + string(rune('A'+i))
		for n := range uint32(100) {
			p.Terminals = append(p.Terminals, 1+i+10*n)
		}
		b.Profiles = append(b.Profiles, p)
	}
	if got := len(sign(t, b)) - without; got > 3000 {
		t.Errorf("%d bytes", got)
	}
}
