package entitlement

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
)

func id(n byte) citygate.UUID { return citygate.UUID{15: n} }

const hour = int64(60 * 60 * 1000)

func TestPeriodsOfProducts(t *testing.T) {
	bought := time.UnixMilli(10 * hour)
	for _, c := range []struct {
		name    string
		product Product
		ok      map[int64]bool // a first ride at this hour is covered
	}{
		{"a day from purchase", Product{ID: "d", Kind: Pass, Days: 1}, map[int64]bool{9: false, 10: true, 33: true, 34: false}},
		{"two hours from the first ride", Product{ID: "h", Kind: Pass, Minutes: 120, FirstUse: true}, map[int64]bool{9: false, 10: true, 1000: true}},
		{"used within a day", Product{ID: "w", Kind: Pass, Minutes: 120, FirstUse: true, Within: 1}, map[int64]bool{33: true, 34: false}},
		{"value does not end", Product{ID: "v", Kind: StoredValue, Value: 100}, map[int64]bool{10: true, 100_000: true}},
	} {
		if err := c.product.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		h := c.product.Hold(id(1), bought)
		for at, want := range c.ok {
			var none Uses
			if _, got := none.serves(&h, &Ride{At: at * hour}); got != want {
				t.Errorf("%s: at hour %d %v, want %v", c.name, at, got, want)
			}
		}
	}
	h := (&Product{ID: "h", Kind: Pass, Minutes: 120, FirstUse: true, Within: 1}).Hold(id(1), bought)
	var u Uses
	for at, want := range []bool{33: true, 34: true, 35: false} {
		if at >= 33 && (u.Free([]Holding{h}, &Ride{At: int64(at) * hour}) != nil) != want {
			t.Errorf("a pass begun at hour 33 covers hour %d: %v", at, !want)
		}
	}
}

// TestTakenBack: a pass that was begun ends when it is taken back, and which
// holding served the rides before does not change.
func TestTakenBack(t *testing.T) {
	holdings := []Holding{{ID: id(1), Kind: Pass, Lasts: 10 * hour, Ended: 5 * hour}, {ID: id(2), Kind: Pass, Until: 90 * hour}}
	var u Uses
	for at, want := range []byte{1: 2, 2: 2, 5: 2} {
		if want != 0 && u.Free(holdings, &Ride{At: int64(at) * hour}).ID != id(want) {
			t.Errorf("at hour %d not %d", at, want)
		}
	}
	u = nil
	for at, want := range []bool{1: true, 4: true, 5: false} {
		if at > 0 && at != 2 && at != 3 && (u.Free(holdings[:1], &Ride{At: int64(at) * hour}) != nil) != want {
			t.Errorf("at hour %d: %v", at, !want)
		}
	}
}

func TestProductsThatCannotBeSold(t *testing.T) {
	for name, p := range map[string]Product{
		"no id":                      {Kind: Pass, Days: 1},
		"no kind":                    {ID: "p"},
		"a pass without end":         {ID: "p", Kind: Pass},
		"days and minutes":           {ID: "p", Kind: Pass, Days: 1, Minutes: 5},
		"first use of what":          {ID: "p", Kind: Ticket, Rides: 1, FirstUse: true},
		"within without first use":   {ID: "p", Kind: Pass, Days: 1, Within: 2},
		"a ticket without rides":     {ID: "p", Kind: Ticket},
		"rides of a pass":            {ID: "p", Kind: Pass, Days: 1, Rides: 3},
		"no value":                   {ID: "p", Kind: StoredValue},
		"a price below nothing":      {ID: "p", Kind: Pass, Days: 1, Price: -1},
		"a funder of a sold product": {ID: "p", Kind: Pass, Days: 1, Funder: "city:x"},
	} {
		if p.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestWhatEndsFirstIsUsedFirst(t *testing.T) {
	holdings := []Holding{
		{ID: id(1), Kind: Ticket, Rides: 2},
		{ID: id(2), Kind: Ticket, Rides: 1, Until: 50 * hour},
		{ID: id(3), Kind: Ticket, Rides: 1, Until: 50 * hour, Scope: Scope{Routes: []string{"M"}}},
		{ID: id(4), Kind: StoredValue, Value: 30, Until: 20 * hour},
		{ID: id(5), Kind: StoredValue, Value: 100},
	}
	var u Uses
	var got []citygate.UUID
	for h := u.Ticket(holdings, &Ride{At: hour}); h != nil; h = u.Ticket(holdings, &Ride{At: hour}) {
		got = append(got, h.ID)
	}
	if want := []citygate.UUID{id(2), id(1), id(1)}; !slices.Equal(got, want) {
		t.Errorf("tickets were used in the order %v, want %v", got, want)
	}
	draws := u.Draw(holdings, &Ride{At: hour}, 120)
	if len(draws) != 2 || draws[0].Holding.ID != id(4) || draws[0].Minor != 30 || draws[1].Minor != 90 {
		t.Errorf("draws %+v", draws)
	}
	if draws := u.Draw(holdings, &Ride{At: hour}, 120); len(draws) != 1 || draws[0].Minor != 10 {
		t.Errorf("what was left: %+v", draws)
	}
	if _, value := u.Rest(&holdings[4]); value != 0 {
		t.Errorf("%d are left", value)
	}
}

func TestScopes(t *testing.T) {
	ride := Ride{Operator: "bus", Route: "B1", Category: "adult", Ends: [][]string{{"1", "2"}, {"3"}}}
	for _, c := range []struct {
		scope Scope
		want  bool
	}{
		{Scope{}, true}, {Scope{Operators: []string{"bus"}}, true}, {Scope{Operators: []string{"metro"}}, false},
		{Scope{Routes: []string{"B2"}}, false}, {Scope{Categories: []string{"child"}}, false},
		{Scope{Zones: []string{"2", "3"}}, true}, {Scope{Zones: []string{"1", "2"}}, false},
	} {
		if got := c.scope.Covers(&ride); got != c.want {
			t.Errorf("%+v covers: %v", c.scope, got)
		}
	}
	if (&Scope{Zones: []string{"1"}}).Covers(&Ride{}) {
		t.Error("a ride of no known place is inside a zone")
	}
}

// TestNoMoreIsUsedThanWasBought whatever the rides are, and the same rides use
// the same.
func TestNoMoreIsUsedThanWasBought(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var holdings []Holding
		for i := range rapid.IntRange(1, 6).Draw(t, "holdings") {
			holdings = append(holdings, Holding{ID: id(byte(i + 1)), Kind: rapid.SampledFrom([]Kind{ZeroFare, Pass, Ticket, StoredValue}).Draw(t, "kind"),
				From: rapid.Int64Range(0, 50).Draw(t, "from") * hour, Until: rapid.Int64Range(0, 90).Draw(t, "until") * hour,
				Lasts: rapid.Int64Range(0, 9).Draw(t, "lasts") * hour, Rides: rapid.IntRange(1, 4).Draw(t, "rides"), Value: rapid.Int64Range(1, 900).Draw(t, "value")})
		}
		var at int64
		rides := make([]int64, rapid.IntRange(1, 30).Draw(t, "n"))
		for i := range rides {
			at += rapid.Int64Range(0, 6).Draw(t, "gap") * hour
			rides[i] = at
		}
		run := func() (u Uses, drawn int64) {
			for _, at := range rides {
				r := &Ride{At: at}
				if u.Free(holdings, r) != nil || u.Ticket(holdings, r) != nil {
					continue
				}
				for _, d := range u.Draw(holdings, r, 100) {
					drawn += d.Minor
				}
			}
			return u, drawn
		}
		u, drawn := run()
		again, _ := run()
		if !slices.Equal(u, again) || !slices.IsSortedFunc(u, func(a, b Used) int { return slices.Compare(a.Holding[:], b.Holding[:]) }) {
			t.Fatalf("%v, and then %v", u, again)
		}
		for i := range holdings {
			h := &holdings[i]
			used, _, _ := u.of(h.ID)
			if h.Kind == Ticket && used.Rides > h.Rides || h.Kind == StoredValue && used.Value > h.Value {
				t.Fatalf("%+v of %+v", used, h)
			}
			drawn -= used.Value
		}
		if drawn != 0 {
			t.Fatalf("draws and uses differ by %d", drawn)
		}
	})
}
