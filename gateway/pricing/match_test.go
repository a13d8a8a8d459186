package pricing

import (
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/tap"
)

func row(name byte, taps ...Tap) stored {
	s := stored{id: citygate.UUID{name}, rider: taps[0].Rider, paired: true, at: taps[0].At, ends: taps[len(taps)-1].At}
	for _, t := range taps {
		s.taps = append(s.taps, t.ID)
	}
	return s
}

func built(taps ...Tap) []journey.Journey {
	plain := make([]journey.Tap, len(taps))
	for i, t := range taps {
		plain[i] = t.Tap
	}
	return journey.Build(plain, pairing, 0)
}

func TestJourneyKeepsItsIDByItsTaps(t *testing.T) {
	x, y := tapAt(1, 7, 1, 1, tap.On, 0, "A"), tapAt(1, 7, 2, 1, tap.Off, 60, "B")
	z := tapAt(1, 7, 3, 1, tap.On, 30, "C")
	t.Run("two rows become one journey: the earlier one goes on, the other is emptied", func(t *testing.T) {
		for _, rows := range [][]stored{{row('x', x), row('y', y)}, {row('y', y), row('x', x)}} {
			got := match(metro, rows, built(x, y))
			if len(got) != 2 || got[0].id[0] != 'x' || len(got[0].built.Taps) != 2 || got[1].id[0] != 'y' || len(got[1].built.Taps) != 0 {
				t.Errorf("%+v", got)
			}
		}
	})
	t.Run("one row becomes two journeys: the first keeps it, the other is new", func(t *testing.T) {
		got := match(metro, []stored{row('x', x, y)}, built(x, z, y))
		if len(got) != 2 || got[0].id[0] != 'x' || got[1].old != nil || got[1].id != journeyID(metro, &z.Tap, 0) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a tap that started a journey before starts another one now", func(t *testing.T) {
		first := row('y', x, y) // was made from y alone, and x came late
		first.id = journeyID(metro, &y.Tap, 0)
		got := match(metro, []stored{first}, built(x, z, tapAt(1, 7, 4, 1, tap.Off, 40, "A"), y))
		if len(got) != 3 || got[0].id != first.id || got[2].id != journeyID(metro, &y.Tap, 1) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a row without taps is never taken up again", func(t *testing.T) {
		empty := row('x', x)
		empty.id, empty.taps = journeyID(metro, &x.Tap, 0), nil
		got := match(metro, []stored{empty}, built(x, y))
		if len(got) != 1 || got[0].old != nil || got[0].id == empty.id {
			t.Errorf("%+v", got)
		}
	})
}

func TestWithinLeavesOutWhatMayBeBuiltWrong(t *testing.T) {
	edge, inside := tapAt(1, 7, 1, 1, tap.Off, -600, "A"), tapAt(1, 7, 1, 2, tap.On, 0, "A")
	late := tapAt(1, 7, 2, 1, tap.Off, 200, "B")
	from, to := inside.At-minuteMS, inside.At+minuteMS
	rows, rides := within([]stored{row('e', edge), row('l', late)}, built(edge, inside, late), from, to)
	if len(rows) != 1 || rows[0].id[0] != 'l' || len(rides) != 1 || len(rides[0].Taps) != 2 {
		t.Errorf("rows %+v, journeys %+v", rows, rides)
	}
}

const minuteMS = 60_000

// TestAnotherPayeeGetsWhatOthersBear: when a late tap moves a ride to another vehicle,
// whose owner is paid from now on, what city and sold product bear of it moves with the
// fare: the former payee keeps nothing.
func TestAnotherPayeeGetsWhatOthersBear(t *testing.T) {
	funded := func(city, pass int64) []funding { return []funding{{"city:green", city}, {"prepaid:1", pass}} }
	before := posting{n: 1, amount: 100, payee: "first", issuer: 7, cur: "CNY", funded: funded(50, 30)}
	after := posting{n: 2, amount: 90, payee: "second", issuer: 7, cur: "CNY", funded: funded(60, 30)}
	owed := map[string]int64{}
	for i, list := range [][]ledger.Transfer{transfersOf(7, citygate.UUID{1}, posting{}, before), transfersOf(7, citygate.UUID{1}, before, after)} {
		ids := map[citygate.UUID]bool{}
		for _, x := range list {
			if x.Amount <= 0 || ids[x.ID] {
				t.Errorf("decision %d: %+v", i+1, x)
			}
			ids[x.ID] = true
			owed[x.Debit] -= x.Amount
			owed[x.Credit] += x.Amount
		}
	}
	for account, want := range map[string]int64{
		ledger.Payable("first"): 0, ledger.SubsidyPayable("first"): 0, ledger.ProductPayable("first"): 0,
		ledger.Payable("second"): 90, ledger.SubsidyPayable("second"): 60, ledger.ProductPayable("second"): 30,
	} {
		if owed[account] != want {
			t.Errorf("%s is owed %d, want %d: %v", account, owed[account], want, owed)
		}
	}
}
