package pricing

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// draftText has dearer buses, a cap on a day, and halves the second ride.
const draftText = `{"name":"draft","version":2,"currency":"CNY","categories":{"products":{"2":"student"},"default":"adult"},
	"rules":[{"id":"flat","routes":["12"],"flat":{"adult":500,"student":240}},
	         {"id":"od","routes":["M"],"table":{"stops":["A","B","C"],"amounts":{
	            "adult":[-1,300,700, 300,-1,400, 700,400,-1],"student":[-1,150,350, 150,-1,200, 350,200,-1]}}}],
	"transfers":[{"id":"change","window_min":90,"permille":500}],"caps":[{"id":"day","period":{"kind":"day"},"amounts":{"adult":900,"student":500}}],
	"incomplete":{"mode":"max_from_stop"},"same_stop":{"mode":"min_from_stop"},"rounding":{}}`

func parse(t *testing.T, text string) *fare.Tariff {
	t.Helper()
	tariff, err := fare.ParseTariff([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return tariff
}

// dayOfRides are 30 riders: a third rides once, a third twice, a third changes from
// bus to metro.
func dayOfRides() (taps []Tap) {
	seq := uint64(0)
	next := func() uint64 { seq++; return seq }
	for rider := range uint32(30) {
		at := int(rider)
		one := tapAt(2, rider, 1, next(), tap.Single, at, "")
		if rider%5 == 0 {
			one.Product = 2
		}
		taps = append(taps, one)
		switch rider % 3 {
		case 1:
			two := tapAt(2, rider, 1, next(), tap.Single, at+200, "")
			two.Product = one.Product
			taps = append(taps, two)
		case 2:
			on, off := tapAt(2, rider, 1, next(), tap.On, at+20, "A"), tapAt(2, rider, 1, next(), tap.Off, at+50, "C")
			on.Product, off.Product = one.Product, one.Product
			taps = append(taps, on, off)
		}
	}
	return taps
}

// A draft costs on a day of the past what it would have cost, had it been published
// before: the simulation is held against a world in which it was.
func TestSimulationIsWhatPublishingWouldHaveDone(t *testing.T) {
	date := citygate.Calendar{Version: 1, Location: time.FixedZone("", 8*3600), Cut: 4 * time.Hour}.BusinessDate(pgtest.Epoch)
	w := newWorld(t)
	w.upload(t, dayOfRides()...)
	w.now = w.now.Add(closed)
	was := w.journeys(t)
	got, err := w.engine.Simulate(t.Context(), metro, parse(t, draftText), date, 1000)
	if err != nil {
		t.Fatal(err)
	}
	same, err := w.engine.Simulate(t.Context(), metro, parse(t, tariffText), date, 1000)
	if err != nil || same.Before != same.After || same.Same != 30 || same.Winners+same.Losers != 0 || same.Unknown != 0 {
		t.Errorf("the tariff in force changes something: %+v, %v", same, err)
	}
	if now := w.journeys(t); strings.Join(now, "\n") != strings.Join(was, "\n") {
		t.Errorf("a simulation changed journeys")
	}
	w.check(t)

	real := newWorld(t)
	real.in(t, metro, func(tx *pg.Tx) error { return Publish(t.Context(), tx, "test", parse(t, draftText), real.now) })
	real.upload(t, dayOfRides()...)
	before, after := -w.balance(t, "payable:operator"), -real.balance(t, "payable:operator")
	if got.Before != before || got.After != after || before == after || got.Journeys != 50 || got.Riders != 30 {
		t.Errorf("simulated %d to %d of %+v; really %d to %d", got.Before, got.After, got, before, after)
	}
	if got.Winners+got.Losers+got.Same != 30 && got.Winners >= 0 && got.Losers >= 0 && got.Same >= 0 {
		t.Errorf("riders: %+v", got)
	}
	for _, g := range got.Groups {
		if g.Riders < cellMin {
			t.Errorf("a group of %d riders is told", g.Riders)
		}
	}
	if all, err := w.engine.Simulate(t.Context(), metro, parse(t, draftText), date, 1); err != nil || all.Partial || all.Journeys != 50 {
		t.Errorf("the limit is passed by riders that were taken: %+v, %v", all, err)
	}
	if part, err := w.engine.simulateBy(t.Context(), metro, parse(t, draftText), date, 20, 15); err != nil || !part.Partial || part.Riders != 15 {
		t.Errorf("beyond the limit: %+v, %v", part, err)
	}
	if whole, err := w.engine.simulateBy(t.Context(), metro, parse(t, draftText), date, 50, 4); err != nil || !reflect.DeepEqual(whole, got) {
		t.Errorf("four riders at a time: %+v, %v, want %+v", whole, err, got)
	}
	w.now = w.now.Add(-closed)
	if _, err := w.engine.Simulate(t.Context(), metro, parse(t, draftText), date, 1000); !errors.Is(err, ErrSimulation) {
		t.Errorf("a day that is not over: %v", err)
	}
	w.now = w.now.Add(closed)
	euro := strings.Replace(draftText, "CNY", "EUR", 1)
	if _, err := w.engine.Simulate(t.Context(), metro, parse(t, euro), date, 1000); !errors.Is(err, ErrSimulation) {
		t.Errorf("another currency: %v", err)
	}
	if _, err := w.engine.Simulate(t.Context(), metro, parse(t, draftText), date.AddDays(9), 1000); !errors.Is(err, ErrSimulation) {
		t.Errorf("a day to come: %v", err)
	}
	if _, err := w.engine.Simulate(t.Context(), metro, parse(t, draftText), date.AddDays(-9), 1000); !errors.Is(err, ErrFewRiders) {
		t.Errorf("a day without riders: %v", err)
	}
}

func TestSmallCellsAreWithheld(t *testing.T) {
	for _, c := range []struct{ in, want [3]int }{
		{[3]int{20, 30, 40}, [3]int{20, 30, 40}}, {[3]int{9, 30, 40}, [3]int{-1, -1, 40}}, {[3]int{9, 0, 40}, [3]int{-1, 0, -1}},
		{[3]int{1, 2, 40}, [3]int{-1, -1, -1}}, {[3]int{1, 9, 40}, [3]int{-1, -1, 40}}, {[3]int{0, 10, 4}, [3]int{0, -1, -1}}, {[3]int{0, 0, 40}, [3]int{0, 0, 40}}, {[3]int{5, 6, 7}, [3]int{-1, -1, -1}},
	} {
		x := c.in
		if withhold(&x[0], &x[1], &x[2]); x != c.want {
			t.Errorf("%v becomes %v, want %v", c.in, x, c.want)
		}
	}
}

// Of a draft that prices a few riders only, or all but a few, nothing is told from which
// their number or their fares follow.
func TestWhatFewRidersPayIsWithheld(t *testing.T) {
	rides := func(category string, from, n uint32, was, is bool) (out []simulated) {
		for i := range n {
			out = append(out, simulated{rider: citygate.Rider{Issuer: 1, Index: from + i}, category: category, was: was, is: is, before: 100, after: 90})
		}
		return out
	}
	sums, out := tally{groups: make(map[string]*SimulatedGroup)}, Simulation{}
	sums.add(slices.Concat(rides("adult", 0, 64, true, false), rides("student", 100, 4, true, true)))
	if err := sums.into(&out); !errors.Is(err, ErrFewRiders) || !reflect.DeepEqual(out, Simulation{}) {
		t.Errorf("a draft for four students tells %+v, %v", out, err)
	}
	sums, out = tally{groups: make(map[string]*SimulatedGroup)}, Simulation{}
	sums.add(slices.Concat(rides("adult", 0, 64, true, true), rides("student", 100, 4, true, false), rides("senior", 200, 9, false, true)))
	want := Simulation{Journeys: 64, Riders: 64, Before: 6400, After: 5760, Unknown: -1, Known: -1, Winners: 64, Groups: []SimulatedGroup{{"adult", 64, 64, 6400, 5760, 64}}}
	if err := sums.into(&out); err != nil || !reflect.DeepEqual(out, want) {
		t.Errorf("four and nine riders are apart: %+v, %v, want %+v", out, err, want)
	}
	sums, out = tally{groups: make(map[string]*SimulatedGroup)}, Simulation{}
	sums.add(slices.Concat(rides("senior", 30, 20, true, true), rides("adult", 0, 9, true, true), rides("student", 0, 9, true, true), rides("", 60, 10, true, false)))
	want = Simulation{Journeys: 38, Riders: 29, Before: 3800, After: 3420, Unknown: 10, Winners: 29, Groups: []SimulatedGroup{{"", 38, 38, 3800, 3420, 29}}}
	if err := sums.into(&out); err != nil || !reflect.DeepEqual(out, want) {
		t.Errorf("nine adults are the students too: %+v, %v, want %+v", out, err, want)
	}
}

// Going back to an earlier version is a new one that says the same; rides from before
// keep their price.
func TestAnEarlierTariffIsRestored(t *testing.T) {
	w := newWorld(t)
	w.in(t, metro, func(tx *pg.Tx) error { return Publish(t.Context(), tx, "test", parse(t, draftText), w.now) })
	w.upload(t, tapAt(2, 1, 1, 1, tap.Single, 0, ""))
	at := w.now.Add(time.Hour)
	w.in(t, metro, func(tx *pg.Tx) error {
		if _, err := RestoreTariff(t.Context(), tx, "test", 7, at, false); !errors.Is(err, ErrNoVersion) {
			t.Errorf("a version that never was: %v", err)
		}
		if _, err := RestoreTariff(t.Context(), tx, "test", 1, w.now.Add(-time.Hour), false); !errors.Is(err, ErrTariffDate) {
			t.Errorf("into the past: %v", err)
		}
		p, err := RestoreTariff(t.Context(), tx, "test", 1, at, false)
		if err == nil && (p.Tariff.Version != 3 || !p.From.Equal(at)) {
			t.Errorf("restored %+v", p)
		}
		return err
	})
	w.upload(t, tapAt(2, 2, 1, 2, tap.Single, 61, ""))
	if got := -w.balance(t, "payable:operator"); got != 500+480 {
		t.Errorf("payable %d", got)
	}
	w.check(t)
}

// A version that has not begun gives way to another, on request, and never holds: not
// for riders, readers, simulations, or who publishes next. One that has begun, or is
// about to, does not.
func TestAVersionToComeIsWithdrawn(t *testing.T) {
	w := newWorld(t)
	cheap := strings.NewReplacer(`"version":2`, `"version":3`, `"adult":500`, `"adult":100`).Replace(draftText)
	soon, later, far := w.now.Add(time.Hour), w.now.Add(2*time.Hour), w.now.Add(48*time.Hour)
	w.in(t, metro, func(tx *pg.Tx) error { return Publish(t.Context(), tx, "test", parse(t, draftText), far) })
	w.in(t, metro, func(tx *pg.Tx) error {
		if err := Publish(t.Context(), tx, "test", parse(t, cheap), later); !errors.Is(err, ErrTariffDate) {
			t.Errorf("before a version to come, unasked: %v", err)
		}
		if err := PublishInstead(t.Context(), tx, "test", parse(t, cheap), later); err != nil {
			return err
		}
		return PublishInstead(t.Context(), tx, "test", parse(t, cheap), later) // again
	})
	w.in(t, metro, func(tx *pg.Tx) error {
		if err := Publish(t.Context(), tx, "test", parse(t, draftText), far); !errors.Is(err, ErrTariffWithdrawn) {
			t.Errorf("the withdrawn version again: %v", err)
		}
		p, ok, err := Tariff(t.Context(), tx, 2)
		if err != nil || !ok || p.Withdrawn.IsZero() {
			t.Errorf("the withdrawn version is %+v, %v", p, err)
		}
		readers, err := EntryVersions(t.Context(), tx, w.now)
		if err != nil || len(readers) != 2 || readers[1].Tariff.Version != 3 {
			t.Errorf("readers are given %+v, %v", readers, err)
		}
		// Going back before the version to come begins: the same instant is free again.
		back, err := RestoreTariff(t.Context(), tx, "test", 1, soon, true)
		if err == nil && back.Tariff.Version != 4 {
			t.Errorf("restored %+v", back)
		}
		if _, err := RestoreTariff(t.Context(), tx, "test", 2, far, false); err != nil {
			t.Errorf("what a withdrawn version said: %v", err)
		}
		return err
	})
	w.upload(t, tapAt(2, 1, 1, 1, tap.Single, 0, ""), tapAt(2, 1, 1, 2, tap.Single, 61, ""), tapAt(2, 1, 1, 3, tap.Single, 121, ""), tapAt(2, 1, 1, 4, tap.Single, 49*60, ""))
	if got := -w.balance(t, "payable:operator"); got != 3*480+500 {
		t.Errorf("payable %d, want three rides by the first version and one by the restored draft", got)
	}
	w.check(t)
}

// A version by which a ride was priced already, of a reader whose clock is ahead, stays.
func TestAVersionThatPricedARideIsNotWithdrawn(t *testing.T) {
	w := newWorld(t)
	w.in(t, metro, func(tx *pg.Tx) error {
		return Publish(t.Context(), tx, "test", parse(t, draftText), w.now.Add(time.Hour))
	})
	w.upload(t, tapAt(2, 1, 1, 1, tap.Single, 61, ""))
	w.in(t, metro, func(tx *pg.Tx) error {
		if _, err := RestoreTariff(t.Context(), tx, "test", 1, w.now.Add(time.Hour), true); !errors.Is(err, ErrTariffDate) {
			t.Errorf("a version that has priced a ride: %v", err)
		}
		return nil
	})
	w.check(t)

	w = newWorld(t)
	at := w.now.Add(time.Hour)
	w.in(t, metro, func(tx *pg.Tx) error { return Publish(t.Context(), tx, "test", parse(t, draftText), at) })
	w.now = at.Add(-5 * time.Minute)
	w.in(t, metro, func(tx *pg.Tx) error {
		if _, err := RestoreTariff(t.Context(), tx, "test", 1, at, true); !errors.Is(err, ErrTariffDate) {
			t.Errorf("five minutes before it begins: %v", err)
		}
		return nil
	})
}
