package driver

import (
	"slices"
	"testing"
)

// able has the methods of two abilities, and says which of them count.
type able struct {
	Provider
	Refunder
	Biller
	can []Capability
}

func (a able) Able(c Capability) bool { return slices.Contains(a.can, c) }

func TestAsAsksASelectiveProvider(t *testing.T) {
	p := able{can: []Capability{CapBill, CapReverse}}
	if _, ok := As[Refunder](p); ok {
		t.Error("an ability that the provider says it does not have was found")
	}
	if _, ok := As[Biller](p); !ok {
		t.Error("an ability that the provider has was not found")
	}
	if _, ok := As[Reverser](p); ok {
		t.Error("an ability without methods was found")
	}
	if got := Capabilities(p); !slices.Equal(got, []Capability{CapBill}) {
		t.Errorf("Capabilities = %v, want the bill alone", got)
	}
	if len(interfaces) != len(capabilities) {
		t.Errorf("%d interfaces for %d capabilities", len(interfaces), len(capabilities))
	}
}
