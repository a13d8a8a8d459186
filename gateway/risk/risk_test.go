package risk_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/risk"
)

const termsText = `{"version": 2, "contracts": [
	{"contract": "card", "scheme": "visa", "country": "HK", "window": {"hours": 24, "amount_minor": 2000, "taps": 12}, "first_ride_minor": 600,
	 "retries": 3, "retry_within_days": 30, "recovery": ["tap", "rider"], "unblock": "approval", "block_within_minutes": 60},
	{"contract": "wallet", "window": {}, "liability": "operator", "retries": 1, "retry_within_days": 1}],
	"late": [{"records": "late", "after_days": 30, "bearer": "operator"}, {"records": "late", "after_days": 120, "bearer": "platform"},
	         {"records": "expired", "after_days": 0, "bearer": "operator"}, {"records": "denied", "after_days": 0, "bearer": "issuer"}]}`

func terms(t testing.TB) *risk.Terms {
	t.Helper()
	terms, err := risk.Parse([]byte(termsText))
	if err != nil {
		t.Fatal(err)
	}
	return terms
}

var zone = time.FixedZone("HKT", 8*3600)

// Case C of the fare rules: three rides of 7.40 are declined and the threshold is 6.00. It is
// no first-ride risk; the debt is 7.40; the rider is blocked at once; a touch of a
// reader may recover it, and what is approved unblocks.
func TestCaseC(t *testing.T) {
	c := terms(t).Contract("card")
	declined := time.Date(2026, 11, 2, 3, 0, 0, 0, time.UTC)
	if c.Insures(740, risk.Past{}) {
		t.Error("7.40 is above the threshold")
	}
	d := c.Opened(740, risk.Past{}, false, declined)
	if d.Amount != 740 || d.Liability != risk.Issuer || d.State != risk.Open {
		t.Errorf("the debt is %+v", d)
	}
	if !c.Blocked([]risk.Debt{d}, declined.Add(-time.Hour)) || c.BlockMin != 60 {
		t.Error("not blocked within the hour")
	}
	touch := declined.Add(30 * time.Hour)
	if !c.May(&d, risk.ByTap, touch, zone) {
		t.Error("a touch of a reader does not try again")
	}
	d.Tries = append(d.Tries, touch)
	if c.May(&d, risk.ByTap, touch.Add(time.Hour), zone) {
		t.Error("the second touch of a day tries again")
	}
	d.State, d.Amount = risk.Paid, 0
	if !c.Blocked([]risk.Debt{d}, declined.Add(-time.Hour)) {
		t.Error("unblocked without an approval")
	}
	if !c.Blocked([]risk.Debt{d}, declined) {
		t.Error("what was approved at the instant of the decline was not approved after it")
	}
	if c.Blocked([]risk.Debt{d}, touch) {
		t.Error("still blocked after the approval")
	}
}

func TestFirstRideRiskIsOnceUnderTheThreshold(t *testing.T) {
	c := terms(t).Contract("card")
	for _, x := range []struct {
		amount int64
		past   risk.Past
		want   bool
	}{{600, risk.Past{}, true}, {601, risk.Past{}, false}, {600, risk.Past{DeclinesSinceApproval: 1}, false}, {600, risk.Past{FirstRideUsed: true}, false}} {
		d := c.Opened(x.amount, x.past, false, time.Time{})
		if got := c.Insures(x.amount, x.past); got != x.want || (d.Liability == risk.Provider) != x.want {
			t.Errorf("%d after %+v: %v, borne by %s", x.amount, x.past, got, d.Liability)
		}
	}
	if terms(t).Contract("wallet").Insures(1, risk.Past{}) || (*risk.Contract)(nil).Insures(1, risk.Past{}) {
		t.Error("nobody insures that")
	}
	if d := c.Opened(100, risk.Past{}, true, time.Time{}); d.Liability == risk.Provider {
		t.Error("a reversal is no first ride")
	}
}

// Tries by schedule are on days of their own, no more than the terms say and none
// after their time is over.
func TestRetriesAreOnDifferentDays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &risk.Contract{Retries: rapid.IntRange(0, 5).Draw(t, "retries"), WithinDay: rapid.IntRange(5, 40).Draw(t, "days"), Recovery: []risk.Source{risk.ByTap}}
		d := c.Opened(100, risk.Past{}, false, time.Date(2026, 3, 1, rapid.IntRange(0, 23).Draw(t, "hour"), 0, 0, 0, time.UTC))
		for range rapid.IntRange(0, 2).Draw(t, "touches") {
			at := d.Since.Add(time.Duration(rapid.IntRange(0, 20*24).Draw(t, "touch")) * time.Hour)
			if c.May(&d, risk.ByTap, at, zone) {
				d.Tries = append(d.Tries, at)
			}
		}
		for {
			at, ok := c.Next(&d, zone)
			if !ok {
				break
			}
			if !c.May(&d, risk.BySchedule, at, zone) || at.After(d.Since.AddDate(0, 0, c.WithinDay)) {
				t.Fatalf("next %v of %+v", at, d)
			}
			d.Tries = append(d.Tries, at)
		}
		days := map[string]bool{}
		for _, at := range d.Tries {
			days[at.In(zone).Format(time.DateOnly)] = true
		}
		if len(days) != len(d.Tries) || len(d.Tries) > max(c.Retries, 2) {
			t.Fatalf("%d tries on %d days, want at most %d: %v", len(d.Tries), len(days), c.Retries, d.Tries)
		}
	})
}

// TestADayOfTwentyFiveHoursHasOneTry: 24 hours after a decline in the first hour of the
// day on which clocks go back it is still that day.
func TestADayOfTwentyFiveHoursHasOneTry(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	c := &risk.Contract{Retries: 1, WithinDay: 3}
	d := c.Opened(100, risk.Past{}, false, time.Date(2026, 10, 25, 0, 30, 0, 0, london).UTC())
	if next, ok := c.Next(&d, london); !ok || next.In(london).Format(time.DateOnly) != "2026-10-26" {
		t.Errorf("tried again at %s, %t", next.In(london), ok)
	}
}

// A bank that takes one payment back opens a debt of that payment. Whoever pays
// it rides again, whatever was reversed, and a debt that is none any more never
// blocks.
func TestAReversalBlocksForItsOwnDebtAlone(t *testing.T) {
	c := terms(t).Contract("card")
	at := time.Date(2026, 11, 2, 3, 0, 0, 0, time.UTC)
	reversed := c.Opened(300, risk.Past{}, true, at)
	if !c.Blocked([]risk.Debt{reversed}, at.Add(-time.Hour)) {
		t.Error("an open reversal does not block")
	}
	for _, s := range []risk.State{risk.Paid, risk.WrittenOff, risk.Corrected} {
		reversed.State, reversed.Amount = s, 0
		if c.Blocked([]risk.Debt{reversed}, at.Add(-time.Hour)) {
			t.Errorf("a reversal that is %s blocks on", s)
		}
	}
	open := c.Opened(100, risk.Past{}, false, at)
	if !c.Blocked([]risk.Debt{reversed, open}, at.Add(time.Hour)) {
		t.Error("another debt is forgiven with the reversal")
	}
	// It is never asked for again by itself, at a reader neither; its rider may pay it.
	again := c.Opened(300, risk.Past{}, true, at)
	later := at.AddDate(0, 0, 25)
	if c.May(&again, risk.BySchedule, later, zone) || c.May(&again, risk.ByTap, later, zone) || !c.May(&again, risk.ByRider, later, zone) {
		t.Error("a payment that the bank took back is asked for again, or cannot be paid")
	}
	owes := *c
	owes.Reversed = risk.ReversedOwed
	if owes.Blocked([]risk.Debt{again}, at.Add(time.Hour)) || !owes.Blocked([]risk.Debt{again, open}, at.Add(time.Hour)) {
		t.Error("where reversals are owed they block, or other debts do not")
	}
}

func TestWhoBearsLateRecords(t *testing.T) {
	ts := terms(t)
	const day = 24 * time.Hour
	for _, c := range []struct {
		kind risk.Records
		age  time.Duration
		want risk.Party
	}{
		{risk.LateRecords, 0, risk.Rider}, {risk.LateRecords, 30*day - 1, risk.Rider}, {risk.LateRecords, 30 * day, risk.Operator}, {risk.LateRecords, 200 * day, risk.Platform},
		{risk.ExpiredRecords, 0, risk.Operator}, {risk.DeniedRecords, day, risk.Issuer},
	} {
		if got := ts.Bearer(c.kind, c.age); got != c.want {
			t.Errorf("%s after %v: %s, want %s", c.kind, c.age, got, c.want)
		}
	}
	if got := (&risk.Terms{}).Bearer(risk.DeniedRecords, 0); got != risk.Operator {
		t.Errorf("without terms the %s bears denied records", got)
	}
}

func TestWindowsCloseByTimeAmountOrCount(t *testing.T) {
	w := terms(t).Contract("card").Window
	opened := time.Date(2026, 11, 2, 3, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		amount int64
		taps   int
		after  time.Duration
		want   bool
	}{{1999, 11, 24*time.Hour - 1, false}, {2000, 1, 0, true}, {1, 12, 0, true}, {1, 1, 24 * time.Hour, true}} {
		if got := w.Closes(c.amount, c.taps, opened, opened.Add(c.after)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if (risk.Window{}).Closes(1<<40, 1000, opened, opened.AddDate(1, 0, 0)) {
		t.Error("no bound closed")
	}
}

func TestTermsThatAreRefused(t *testing.T) {
	for _, raw := range []string{`{}`, `{"version":1}x`, `{"version":1,"contracts":[{"contract":""}]}`, `{"version":1,"contracts":[{"contract":"a"},{"contract":"a"}]}`,
		`{"version":1,"contracts":[{"contract":"a","liability":"rider"}]}`, `{"version":1,"contracts":[{"contract":"a","retries":3,"retry_within_days":2}]}`,
		`{"version":1,"contracts":[{"contract":"a","unblock":"never"}]}`, `{"version":1,"contracts":[{"contract":"a","recovery":["schedule"]}]}`,
		`{"version":1,"late":[{"records":"late","after_days":1,"bearer":"city"}]}`, `{"version":1,"contracts":[{"contract":"a","window":{"hours":400}}]}`, `{"version":1,"more":1}`} {
		if _, err := risk.Parse([]byte(raw)); !errors.Is(err, risk.ErrTerms) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(termsText))
	f.Fuzz(func(t *testing.T, raw []byte) {
		terms, err := risk.Parse(raw)
		if err != nil {
			return
		}
		again, err := terms.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := risk.Parse(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func sight(seq uint64, minutes int64, counter uint16, code byte) risk.Sighting {
	return risk.Sighting{Tap: citygate.TapID{Terminal: 1, Seq: seq}, Rider: citygate.Rider{Issuer: 1, Index: 1}, At: minutes * 60_000, Stop: "A",
		Counted: true, Counter: counter, Code: [32]byte{code}}
}

func TestCopiesAreFoundByCountAndCode(t *testing.T) {
	l := risk.DefaultLimits(nil)
	for _, c := range []struct {
		name string
		all  []risk.Sighting
		want int
	}{
		{"a device counts up", []risk.Sighting{sight(1, 0, 65535, 1), sight(2, 10, 0, 2), sight(3, 20, 7, 3)}, 0},
		{"one display is scanned twice", []risk.Sighting{sight(1, 0, 5, 1), sight(2, 10, 5, 1)}, 0},
		{"two codes of one display", []risk.Sighting{sight(1, 0, 5, 1), sight(2, 10, 5, 2)}, 1},
		{"the count falls", []risk.Sighting{sight(1, 0, 50, 1), sight(2, 10, 40, 2)}, 1},
		{"readers' clocks are a minute apart", []risk.Sighting{sight(1, 1, 50, 1), sight(2, 2, 49, 2)}, 0},
		{"the count went around", []risk.Sighting{sight(1, 0, 5, 1), sight(2, 30*60, 5, 2)}, 0},
	} {
		got := risk.Scan(c.all, l)
		slices.Reverse(c.all)
		again := risk.Scan(append(c.all, c.all...), l)
		if len(got) != c.want || len(again) != c.want {
			t.Errorf("%s: %+v, again %+v", c.name, got, again)
		}
	}
	for _, s := range [][]risk.Sighting{{sight(1, 0, 0, 1), sight(2, 10, 0, 2)}} {
		s[0].Counted, s[1].Counted = false, false
		if got := risk.Scan(s, l); len(got) != 0 {
			t.Errorf("a scheme that does not count: %+v", got)
		}
	}
}

func TestARushIsOneFlagThatNamesItsTaps(t *testing.T) {
	var all []risk.Sighting
	for i := range uint64(12) {
		all = append(all, sight(i+1, int64(i)/2, uint16(i), byte(i)))
	}
	got := risk.Scan(all, risk.DefaultLimits(nil))
	if len(got) != 1 || got[0].Kind != risk.Velocity || len(got[0].Taps) != 12 {
		t.Errorf("%+v", got)
	}
}

// TestTheLastInstantOfARush: nine taps from the first to the last instant of ten
// minutes are a rush, and a millisecond later they are none.
func TestTheLastInstantOfARush(t *testing.T) {
	for after, want := range map[int64]int{600_000: 1, 600_001: 0} {
		var all []risk.Sighting
		for i := range uint64(9) {
			s := sight(i+1, 0, uint16(i), byte(i))
			if i == 8 {
				s.At += after
			} else {
				s.At += int64(i) * 60_001
			}
			all = append(all, s)
		}
		if got := risk.Scan(all, risk.DefaultLimits(nil)); len(got) != want {
			t.Errorf("%d ms: %+v, want %d", after, got, want)
		}
	}
}

// Travel is impossible when it is too fast even with clocks as far apart as they may
// be; where nothing is known of the way, nobody is too fast.
func TestTravelIsJudgedByPlacesAndClocks(t *testing.T) {
	doc, err := journey.ParseDocument([]byte(`{"version":1,"max_journey_minutes":180,"upload_grace_minutes":60,"stops":[{"id":"A"},{"id":"B"},{"id":"C"}],"travel":[{"from":"A","to":"B","min_seconds":600}]}`))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := doc.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to     string
		after  time.Duration
		places *journey.Places
		want   int
	}{
		{"B", 539 * time.Second, rules.Places, 1}, {"B", 540 * time.Second, rules.Places, 0}, {"B", 5 * time.Second, rules.Places, 1},
		{"C", 5 * time.Second, rules.Places, 0}, {"B", 5 * time.Second, nil, 0},
	} {
		b := sight(2, 0, 2, 2)
		b.Stop, b.At = c.to, c.after.Milliseconds()
		got := risk.Scan([]risk.Sighting{sight(1, 0, 1, 1), b}, risk.DefaultLimits(c.places))
		if len(got) != c.want || c.want == 1 && (got[0].Kind != risk.ImpossibleTravel || len(got[0].Taps) != 2) {
			t.Errorf("to %s after %s: %+v", c.to, c.after, got)
		}
	}
}

// Late records are their rider's until the operator's day.
func TestOperatorAfter(t *testing.T) {
	versions := []risk.Published{{From: time.Unix(100, 0), Terms: terms(t)}, {From: time.Unix(200, 0), Terms: &risk.Terms{}}}
	for at, want := range map[int64]int64{99: 0, 100: 30, 199: 30, 200: 0} {
		if got := risk.InForce(versions, time.Unix(at, 0)).OperatorAfter(); got != want {
			t.Errorf("at %d: %d days, want %d", at, got, want)
		}
	}
}
