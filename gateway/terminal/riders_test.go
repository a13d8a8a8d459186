package terminal

import (
	"math"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/policies/accept"
)

func rememberingRules(t *testing.T) *accept.Rules {
	t.Helper()
	table, err := accept.NewTable([]accept.Shift{{At: 0, Offset: 8 * 3600}}, nil, []accept.Row{
		{ID: "gap", Effect: accept.Limit, Any: [][]accept.Test{{{Fact: accept.FactSinceLast, In: []accept.Span{{Lo: 0, Hi: 59}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &accept.Rules{Version: 1, Table: table}
}

const midnight = 20_779*86_400_000 - 8*hour // a local midnight of that zone, in milliseconds

func TestRiderMemoryCountsDayAndHour(t *testing.T) {
	rules, m := rememberingRules(t), newRiderMemory()
	c := &code.Code{Rider: citygate.Rider{Issuer: 7, List: 1, Index: 5}}
	fare := citygate.Money{Minor: 200, Currency: "CNY"}
	about := func(at int64) accept.Memory { return m.about(rules, c, accept.Facts{At: at, Fare: fare}) }
	if got := about(midnight); got != (accept.Memory{Known: true, DayTaps: 1, DayMinor: 200, HourTaps: 1, SinceLast: accept.NeverBefore}) {
		t.Errorf("first tap: %+v", got)
	}
	m.add(rules, c, midnight-1000, fare)
	if got := about(midnight); got.DayTaps != 1 || got.DayMinor != 200 || got.HourTaps != 2 || got.SinceLast != 1 {
		t.Errorf("a second after midnight's tap of yesterday: %+v", got)
	}
	m.add(rules, c, midnight, fare)
	m.add(rules, c, midnight+1000, citygate.Money{Minor: math.MaxInt64, Currency: "CNY"})
	if got := about(midnight + 2000); got.DayTaps != 3 || got.DayMinor != math.MaxInt64 || got.HourTaps != 4 {
		t.Errorf("an amount that does not fit: %+v", got)
	}
	if got := about(midnight + 1000 + hour); got.HourTaps != 1 || got.DayTaps != 3 {
		t.Errorf("an hour later: %+v", got)
	}
	other := &code.Code{Rider: citygate.Rider{Issuer: 7, List: 1, Index: 6}}
	if got := m.about(rules, other, accept.Facts{At: midnight}); got.DayTaps != 1 {
		t.Errorf("another rider: %+v", got)
	}
	if got := m.about(&accept.Rules{}, c, accept.Facts{At: midnight}); got.Known {
		t.Errorf("rules that do not ask: %+v", got)
	}
	if until := m.keepUntil(rules, midnight); until < midnight+24*hour || m.keepUntil(&accept.Rules{}, midnight) != 0 {
		t.Errorf("kept until %d", until)
	}
}

func TestRiderMemoryIsBounded(t *testing.T) {
	rules, m := rememberingRules(t), newRiderMemory()
	for i := range uint32(3 * ridersMax) {
		m.add(rules, &code.Code{Rider: citygate.Rider{Index: i}}, midnight+int64(i), citygate.Money{})
	}
	if len(m.of) > ridersMax {
		t.Errorf("%d riders", len(m.of))
	}
	one := &code.Code{Rider: citygate.Rider{Index: 1 << 30}}
	for i := range int64(500) {
		m.add(rules, one, midnight+i, citygate.Money{})
	}
	if n := len(m.of[one.Subject()].times); n > riderTapsMax {
		t.Errorf("%d times of one rider", n)
	}
}
