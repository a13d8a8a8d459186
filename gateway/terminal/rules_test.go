package terminal_test

import (
	"math"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/policies/accept"
)

// ruled is a policy that from start+50 on leaves a minute between two taps of a
// rider here, and takes nobody at stop X.
func ruled(t testing.TB) *accept.Rules {
	t.Helper()
	table, err := accept.NewTable([]accept.Shift{{At: 0, Offset: 0}}, []string{"S"}, []accept.Row{
		{ID: "only-s", Effect: accept.Refuse, Any: [][]accept.Test{{{Fact: accept.FactStop, In: []accept.Span{{Lo: math.MinInt64, Hi: -1}}}}}},
		{ID: "gap", Effect: accept.Limit, Any: [][]accept.Test{{{Fact: accept.FactSinceLast, In: []accept.Span{{Lo: 0, Hi: 59}}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := rules(2)
	r.From, r.Table, r.Prior = (start+50)*1000, table, rules(1)
	return r
}

// A scheduled version holds from its instant, decides by its rules, says which one
// in the journal, and knows riders again after a crash.
func TestRulesAndLimitsOffline(t *testing.T) {
	disk := newDisk()
	v := mustOpen(t, disk)
	if err := v.InstallBundle(start*1000, signedBundle(t, 1, [32]byte{}, ruled(t))); err != nil {
		t.Fatal(err)
	}
	if err := v.InstallList(start*1000, signedList(t, 1, start-60)); err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		seconds int64
		stop    string
		want    code.Reason
		rule    string
		version uint64
		restart bool
	}{
		{30, "X", "", "", 1, false},
		{49, "S", "", "", 1, false},
		{50, "X", code.PolicyRefused, "only-s", 2, false},
		{51, "S", "", "", 2, false},
		{60, "S", code.OverLimit, "gap", 2, false},
		{110, "S", code.OverLimit, "gap", 2, true},
		{111, "S", "", "", 2, true},
		{112, "S", code.OverLimit, "gap", 2, false},
	} {
		if tt.restart {
			v = mustOpen(t, disk)
		}
		now, in := at(tt.seconds)
		in.Stop = tt.stop
		d, err := v.Tap(now, toyCode(1, uint16(i+1), start+tt.seconds, true), in)
		if err != nil {
			t.Fatal(err)
		}
		if d.Reason != tt.want || d.Record.Rule != tt.rule || d.Record.PolicyVersion != tt.version {
			t.Errorf("after %d s: %q by %q of version %d, want %q by %q of %d", tt.seconds, d.Reason, d.Record.Rule, d.Record.PolicyVersion, tt.want, tt.rule, tt.version)
		}
	}
}
