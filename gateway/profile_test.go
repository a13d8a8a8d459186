package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A profile that is set over HTTP is in the next bundle. A mode that it gives is
// one that the terminal's taps are judged under from then on, also when it is taken
// back: they come late.
func TestTerminalProfileReachesTheTerminal(t *testing.T) {
	o := open(t)
	o.onboard()
	v := o.validator()
	path := busPath(fmt.Sprintf("terminals/%d/profile", validatorID))
	set := func(p fleet.TerminalProfile) {
		t.Helper()
		o.send(http.MethodPut, path, p, nil)
		o.move(time.Minute)
	}
	if w := o.ask(http.MethodPut, busPath("terminals/99/profile"), "application/json", []byte(`{"stop":"A"}`)); w.Code != http.StatusNotFound {
		t.Errorf("a terminal that is not there: %d %s", w.Code, w.Body)
	}
	if w := o.ask(http.MethodPut, path, "application/json", []byte(`{"features":["NOT A WORD"]}`)); w.Code/100 != 4 {
		t.Errorf("a feature that is no word: %d %s", w.Code, w.Body)
	}
	// The bus takes single taps in minibus mode alone from now on.
	held, err := o.Rules(t.Context(), bus, 0)
	o.must(err)
	next := *held
	next.Version++
	next.Modes = []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.On}}, {Mode: accept.Minibus, Kinds: accept.Kinds{tap.Single}}}
	_, err = o.PublishPolicy(t.Context(), actor, &next)
	o.must(err)
	o.move(time.Minute)
	set(fleet.TerminalProfile{Mode: "minibus", Features: []string{"quiet"}})
	o.install(v)
	if p := v.Profile(); p.Mode != "minibus" || !slices.Equal(p.Features, []string{"quiet"}) {
		t.Fatalf("the terminal has the profile %+v", p)
	}
	o.ride(v, "phone") // which uploads it, too
	shown := list[edge.Terminal](o, "terminals")
	if len(shown) != 1 || shown[0].Profile == nil || shown[0].Profile.Mode != "minibus" {
		t.Errorf("terminals: %+v", shown)
	}
	before, err := o.Bundle(t.Context(), bus)
	o.must(err)
	set(fleet.TerminalProfile{Mode: "minibus", Features: []string{"quiet"}})
	if b, err := o.Bundle(t.Context(), bus); err != nil || b.Number != before.Number {
		t.Errorf("the same profile again: bundle %d after %d, %v", b.Number, before.Number, err)
	}
	set(fleet.TerminalProfile{})
	o.ride(v, "watch") // it has not fetched the bundle without it yet
	o.install(v)
	if p := v.Profile(); p.Mode != "" || len(p.Terminals) != 0 {
		t.Errorf("taken back: %+v", p)
	}
}
