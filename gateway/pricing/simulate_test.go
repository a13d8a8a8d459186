package pricing

import (
	"errors"
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
	if part, err := w.engine.Simulate(t.Context(), metro, parse(t, draftText), date, 1); err != nil || !part.Partial {
		t.Errorf("beyond the limit: %+v, %v", part, err)
	}
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
		{[3]int{1, 2, 40}, [3]int{-1, -1, 40}}, {[3]int{0, 0, 40}, [3]int{0, 0, 40}}, {[3]int{5, 6, 7}, [3]int{-1, -1, -1}},
	} {
		x := c.in
		if withhold(&x[0], &x[1], &x[2]); x != c.want {
			t.Errorf("%v becomes %v, want %v", c.in, x, c.want)
		}
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
		if _, err := RestoreTariff(t.Context(), tx, "test", 7, at); !errors.Is(err, ErrNoVersion) {
			t.Errorf("a version that never was: %v", err)
		}
		if _, err := RestoreTariff(t.Context(), tx, "test", 1, w.now.Add(-time.Hour)); !errors.Is(err, ErrTariffDate) {
			t.Errorf("into the past: %v", err)
		}
		p, err := RestoreTariff(t.Context(), tx, "test", 1, at)
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
