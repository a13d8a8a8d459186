package terminal_test

import (
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// A profile counts at the terminals it names and nowhere else: it narrows what
// the policy allows and says where the terminal is, also after a restart.
func TestProfileOfOneTerminal(t *testing.T) {
	for name, c := range map[string]struct {
		profile bundle.TerminalProfile
		change  func(in *terminal.Input)
		want    code.Reason
	}{
		"nothing":               {profile: bundle.TerminalProfile{Features: []string{"beep"}}},
		"its kinds":             {profile: bundle.TerminalProfile{Kinds: []uint8{uint8(tap.Single)}}},
		"other kinds":           {profile: bundle.TerminalProfile{Kinds: []uint8{uint8(tap.On), uint8(tap.Off)}}, want: code.ProductNotValidHere},
		"a mode without a rule": {profile: bundle.TerminalProfile{Mode: "ferry"}, want: code.ProductNotValidHere},
		"its schemes":           {profile: bundle.TerminalProfile{Schemes: []code.SchemeID{"toy"}}},
		"other schemes":         {profile: bundle.TerminalProfile{Schemes: []code.SchemeID{"ct1"}}, want: code.Unsupported},
		"a fare it takes": {profile: bundle.TerminalProfile{MaxFareMinor: 200},
			change: func(in *terminal.Input) { in.Fare = citygate.Money{Minor: 200, Currency: "CNY"} }},
		"a fare above": {profile: bundle.TerminalProfile{MaxFareMinor: 200},
			change: func(in *terminal.Input) { in.Fare = citygate.Money{Minor: 201, Currency: "CNY"} }, want: code.AmountOverCap},
	} {
		for _, mine := range []bool{true, false} {
			d := newDisk()
			v := mustOpen(t, d)
			p := c.profile
			if p.Terminals = []uint32{config(d).KeyID}; !mine {
				p.Terminals[0]++
			}
			p.Stop, p.Route = "Central", "12"
			if err := v.InstallBundle(start*1000, bundleWith(t, 1, func(b *bundle.Bundle) { b.Profiles = []bundle.TerminalProfile{p} })); err != nil {
				t.Fatal(err)
			}
			install(t, v, 0, list(t, 1, 1, start-60, 13).Bytes())
			v = mustOpen(t, d.crash(keepAll))
			now, in := at(10)
			if c.change != nil {
				c.change(&in)
			}
			in.Stop = ""
			got, err := v.Tap(now, toyCode(1, 1, start, true), in)
			if err != nil {
				t.Fatal(err)
			}
			want, stop, route := c.want, "Central", "12"
			if !mine {
				want, stop, route = "", "", ""
			}
			if got.Reason != want || got.Record.Stop != stop || got.Record.Route != route {
				t.Errorf("%s, mine %t: %q at %q of %q; want %q", name, mine, got.Reason, got.Record.Stop, got.Record.Route, want)
			}
			if features := v.Profile().Features; mine && name == "nothing" && len(features) != 1 {
				t.Errorf("features %v", features)
			}
		}
	}
}
