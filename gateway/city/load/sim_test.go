package load_test

import (
	"testing"

	"github.com/cashlesscity/citygate/gateway/city/load"
	"github.com/cashlesscity/citygate/gateway/code"
)

// A report with anything open is not an account.
func TestSimReportNamesWhatIsOpen(t *testing.T) {
	closed := func() load.SimReport {
		return load.SimReport{Presented: 3, Opened: 2, Recorded: 3, Batches: 1}
	}
	if r := closed(); !r.Accounted() {
		t.Errorf("%+v is not accounted for", r)
	}
	for name, change := range map[string]func(*load.SimReport){
		"a tap lost":         func(r *load.SimReport) { r.Missing++ },
		"a row too many":     func(r *load.SimReport) { r.Extra++ },
		"another reason":     func(r *load.SimReport) { r.Changed++ },
		"a rider wronged":    func(r *load.SimReport) { r.Disagreed = map[code.Reason]int{code.Clone: 1} },
		"a ride for nothing": func(r *load.SimReport) { r.Unpriced++ },
		"a reader not empty": func(r *load.SimReport) { r.StillHeld++ },
		"a row short":        func(r *load.SimReport) { r.Recorded-- },
		"nothing uploaded":   func(r *load.SimReport) { r.Batches = 0 },
	} {
		r := closed()
		change(&r)
		if r.Accounted() {
			t.Errorf("%s: accounted for", name)
		}
	}
}
