package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
)

// The scary case of a kind nobody thought of: its readers open offline, and the
// gateway refuses the tap or never prices it.
func TestEveryKindOfOperatorIsPaid(t *testing.T) {
	for kind, mode := range map[tenants.Kind]accept.Mode{tenants.Ferry: accept.Ferry, tenants.Rail: accept.Rail, tenants.Parking: "parking"} {
		o := open(t)
		o.kind, o.mode = kind, mode
		o.onboard()
		credential := o.credential("phone")
		if got := o.upload(o.board(o.validator(), credential, "phone")); !slices.Equal(got, []string{"recorded"}) {
			t.Errorf("a %s: %v", kind, got)
		}
		o.settleDown()
		if journeys := list[edge.Journey](o, "journeys"); len(journeys) != 1 || journeys[0].Fare == nil || journeys[0].Fare.Minor != price {
			t.Errorf("a %s: %+v", kind, journeys)
		}
		var todo edge.Checklist
		o.send(http.MethodGet, busPath("checklist"), nil, &todo)
		if missing := missingOf(todo); len(missing) != 0 {
			t.Errorf("a %s misses %v", kind, missing)
		}
		o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) == 1 })
		o.booksHold()
	}
}

// A mode that the rules name and no reader has is missing before the first rider
// rides for nothing.
func TestTheChecklistFindsAModeWithoutReaders(t *testing.T) {
	o := open(t)
	o.mode = "tram"
	o.onboard()
	o.enrol(validatorID, "validator")
	var list edge.Checklist
	o.send(http.MethodGet, busPath("checklist"), nil, &list)
	if missing := missingOf(list); !slices.Equal(missing, []string{"mode tram"}) {
		t.Errorf("it misses %v", missing)
	}
	o.send(http.MethodPut, busPath(fmt.Sprintf("terminals/%d/profile", validatorID)), fleet.TerminalProfile{Mode: "tram"}, nil)
	list = edge.Checklist{}
	o.send(http.MethodGet, busPath("checklist"), nil, &list)
	if missing := missingOf(list); len(missing) != 0 {
		t.Errorf("with readers of that mode it misses %v", missing)
	}
}

// Every kind but an authority has a mode of its readers; a railway's are named
// either way.
func TestEveryKindHasAMode(t *testing.T) {
	for _, kind := range tenants.Kinds() {
		usual, others := modesOf(kind)
		switch kind {
		case tenants.Authority:
			if usual != "" || others != nil {
				t.Errorf("an authority: %q %v", usual, others)
			}
		case tenants.Rail:
			if usual != accept.Metro || !slices.Equal(others, []accept.Mode{accept.Rail}) {
				t.Errorf("a railway: %q %v", usual, others)
			}
		default:
			if string(usual) != string(kind) {
				t.Errorf("%s: %q", kind, usual)
			}
		}
	}
}
