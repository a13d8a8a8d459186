package entitlement

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCatalogues(t *testing.T) {
	const good = `{"id":"t","kind":"ticket","price":700,"rides":2,"sold_by":["rider"]}`
	for name, c := range map[string]struct {
		products string
		says     string // "" = it is accepted
	}{
		"a ticket":                       {good, ""},
		"one product twice":              {good + "," + good, "twice"},
		"an unknown field":               {`{"id":"t","kind":"ticket","prize":1}`, "prize"},
		"a zero fare that is sold":       {`{"id":"z","kind":"zero_fare","price":0,"sold_by":["rider"]}`, "given, not sold"},
		"stored value nobody sells":      {`{"id":"v","kind":"stored_value","price":5,"value":5}`, "never given"},
		"stored value for nothing":       {`{"id":"v","kind":"stored_value","price":0,"value":5,"sold_by":["rider"]}`, "needs a price"},
		"less value than was paid":       {`{"id":"v","kind":"stored_value","price":6,"value":5,"sold_by":["rider"]}`, "less than was paid"},
		"a seller nobody knows":          {`{"id":"t","kind":"ticket","price":1,"rides":1,"sold_by":["shop"]}`, "shop"},
		"the rest of a pass":             {`{"id":"p","kind":"pass","price":1,"days":1,"sold_by":["rider"],"refund":"rest"}`, "rest"},
		"a rule of refunds nobody knows": {`{"id":"p","kind":"pass","price":1,"days":1,"refund":"half"}`, "half"},
		"a beginning nobody knows":       {`{"id":"p","kind":"pass","price":1,"days":1,"begins":"soon"}`, "soon"},
	} {
		_, err := ParseCatalogue([]byte(`{"version":1,"currency":"CNY","products":[` + c.products + `]}`))
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (!errors.Is(err, ErrCatalogue) || !strings.Contains(err.Error(), c.says)): // products.bad_catalogue
			t.Errorf("%s: %v", name, err)
		}
	}
	if ErrCatalogue.Name != "products.bad_catalogue" {
		t.Error(ErrCatalogue.Name)
	}
	if _, err := ParseCatalogue([]byte(`{"version":1,"currency":"CNY","products":[]} more`)); err == nil {
		t.Error("something after the catalogue is accepted")
	}
}

// FuzzParseCatalogue: what is read can be written and read again as the same.
func FuzzParseCatalogue(f *testing.F) {
	f.Add([]byte(`{"version":1,"currency":"CNY","products":[{"id":"t","kind":"ticket","price":700,"rides":2,"sold_by":["rider"],"buyers":["student"],"refund":"rest"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseCatalogue(raw)
		if err != nil {
			return
		}
		text, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseCatalogue(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if second, err := again.Encode(); err != nil || string(second) != string(text) {
			t.Fatalf("%s, and then %s, %v", text, second, err)
		}
		for i := range c.Products {
			o := &c.Products[i]
			h := o.Hold(id(1), time.UnixMilli(0))
			if back := o.Back(o.Price, 0, 0); back < 0 || back > o.Price || h.Closes(o.Keep()) < h.Until {
				t.Fatalf("%+v gives %d back and closes at %d", o, back, h.Closes(o.Keep()))
			}
		}
	})
}

// TestWhatIsGivenBackMakesNoRideDearer: of a ticket whose second ride was given back the
// first one is still half.
func TestWhatIsGivenBackMakesNoRideDearer(t *testing.T) {
	holdings := []Holding{{ID: id(1), Kind: Ticket, Rides: 1, Of: 2, Paid: 701}}
	var u Uses
	if h := u.Ticket(holdings, &Ride{At: 1}); h == nil || u.Earn(h, 450) != 350 {
		t.Errorf("%+v of %+v", u, h)
	}
}

// TestAHoldingClosesAfterItsLastRide: one that begins with its first use can begin on
// the last day of its purchase, lasts from then on, and late rides are waited for.
func TestAHoldingClosesAfterItsLastRide(t *testing.T) {
	const dayMS = 24 * 60 * 60 * 1000
	o := Offer{Product: Product{ID: "week", Kind: Pass, Price: 100, Days: 7, FirstUse: true, Within: 30}}
	h := o.Hold(id(1), time.UnixMilli(0))
	if got := h.Closes(o.Keep()); got != (30+7+14)*dayMS {
		t.Errorf("closes after %d days, want 51", got/dayMS)
	}
}

// TestNoMoreIsEarnedThanWasPaid: the shares of rides add up to the price of a
// ticket when it is used up, to what was drawn of stored value as far as it was
// paid for, and never to more than was paid, also after the rest was given back.
func TestNoMoreIsEarnedThanWasPaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		paid, rides := rapid.Int64Range(1, 5000).Draw(t, "paid"), rapid.IntRange(1, 30).Draw(t, "rides")
		holdings := []Holding{
			{ID: id(1), Kind: Ticket, Rides: rides, Of: rides, Paid: paid},
			{ID: id(2), Kind: StoredValue, Value: paid + rapid.Int64Range(0, 900).Draw(t, "bonus"), Paid: paid},
			{ID: id(3), Kind: Pass, Until: 1000, Paid: paid},
		}
		var u Uses
		earned := map[byte]int64{}
		stop := rapid.IntRange(0, 40).Draw(t, "until the rest is given back")
		for i := range 60 {
			if i == stop { // as pricing.TakeBack does
				holdings[0].Rides, _ = u.Used(&holdings[0])
				_, holdings[1].Value = u.Used(&holdings[1])
				holdings[2].Paid = earned[3]
			}
			r := &Ride{At: int64(i)}
			fare := rapid.Int64Range(0, 700).Draw(t, "fare")
			if h := u.Ticket(holdings, r); h != nil {
				earned[1] += u.Earn(h, fare)
			}
			for _, d := range u.Draw(holdings, r, fare) {
				earned[2] += d.Earned
			}
			if h := u.Free(holdings, r); h != nil {
				earned[3] += u.Earn(h, fare)
			}
		}
		for n, e := range earned {
			if e > paid {
				t.Fatalf("%d of %d is earned of holding %d", e, paid, n)
			}
		}
		used, _ := u.Used(&holdings[0])
		if used == rides && earned[1] != paid || earned[1] != paid*int64(used)/int64(rides) {
			t.Fatalf("%d rides of %d for %d earned %d", used, rides, paid, earned[1])
		}
		if _, drawn := u.Used(&holdings[1]); earned[2] != min(drawn, paid) {
			t.Fatalf("%d was drawn of what %d was paid for, %d is earned", drawn, paid, earned[2])
		}
	})
}
