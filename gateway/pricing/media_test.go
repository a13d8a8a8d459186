package pricing

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/person"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// shownOn gives a tap with what its code was shown on, and who rides: what the code
// states and what the reader counted.
func shownOn(t Tap, medium string, shown, party uint8) Tap {
	t.Medium, t.Shown, t.Party = medium, shown, party
	return t
}

// TestMediaAndCompanionsOfRealTaps: a tap is priced by what its code was shown on and
// for everybody who rides on it, the explanation says so, and the day derived again
// from the taps gives the same bits.
func TestMediaAndCompanionsOfRealTaps(t *testing.T) {
	w := newWorld(t)
	tariff, err := fare.ParseTariff([]byte(strings.Replace(tariffText, `"version":1,`, `"version":2,
		"discounts":[{"id":"bands","match":{"media":["band"]},"permille":100},{"id":"card","match":{"media":["emv-cpm"]},"amounts":{"adult":30},"surcharge":true}],
		"caps":[{"id":"day","match":{"media":["band"]},"period":{"kind":"day"},"amounts":{"adult":600}}],`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	w.in(t, metro, func(tx *pg.Tx) error { return Publish(t.Context(), tx, "test", tariff, w.now) })
	w.upload(t,
		shownOn(tapAt(2, 1, 1, 1, tap.Single, 1, ""), "band", 1, 1),
		shownOn(tapAt(2, 1, 1, 2, tap.Single, 2, ""), "band", 1, 3), // two more, counted at the reader: the cap is the holder's alone
		shownOn(tapAt(2, 2, 1, 3, tap.Single, 3, ""), "phone", 2, 2),
		shownOn(tapAt(2, 3, 1, 4, tap.Single, 4, ""), "emv-cpm", 1, 1),
		tapAt(2, 4, 1, 5, tap.Single, 5, ""), // from before readers' taps had it
	)
	if got, want := w.fares(t), []int64{432, 168 + 2*432, 960, 510, 480}; !slices.Equal(got, want) {
		t.Errorf("the rides cost %v, want %v", got, want)
	}
	var told []string
	w.in(t, metro, func(tx *pg.Tx) error {
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 10)
		slices.SortFunc(list, func(a, b Journey) int { return a.StartsAt.Compare(b.StartsAt) })
		for _, j := range list {
			_, decisions, err := Find(t.Context(), tx, j.ID)
			if err != nil {
				return err
			}
			var e fare.Explanation
			if err := json.Unmarshal(decisions[0].Explanation, &e); err != nil {
				return err
			}
			last := e.Steps[len(e.Steps)-1]
			told = append(told, fmt.Sprint(e.Medium, " ", last.Op, last.Factor, last.Counted))
		}
		return err
	})
	if want := []string{"band flat0 0", "band party3 2", "phone party2 0", "emv-cpm flat0 0", " flat0 0"}; !slices.Equal(told, want) {
		t.Errorf("explanations %q, want %q", told, want)
	}
	again, err := w.engine.Recompute(t.Context(), metro, citygate.DateOf(pgtest.Epoch))
	if err != nil || again.Journeys != 5 || len(again.Different) > 0 {
		t.Errorf("derived again: %+v, %v", again, err)
	}
	w.check(t)
}

// TestOnePersonAcrossDevicesAndOperators: in an integrated tariff the rides of one
// person, on several devices and with several operators, cost what they would on one
// device, by medium and with companions, under one cap, and are divided among the
// operators to the cent; whoever uploads first, twice or last.
func TestOnePersonAcrossDevicesAndOperators(t *testing.T) {
	media := `"discounts":[{"id":"bands","match":{"media":["band"]},"permille":100}],"transfers"`
	for _, pool := range []string{"transfers", "day"} {
		r := rand.New(rand.NewPCG(11, uint64(len(pool))))
		var loads []load
		seqs := map[citygate.TenantID]uint64{}
		next := func(o citygate.TenantID) uint64 { seqs[o]++; return seqs[o] }
		const persons = 3
		for p := range uint32(persons) {
			at := r.IntN(30)
			for range 6 {
				at += r.IntN(70) + 1
				device, medium, party := uint32(r.IntN(3)), []string{"band", "phone"}[r.IntN(2)], uint8(1+r.IntN(2)*r.IntN(3))
				on, off, station, single, lasts := operators[r.IntN(2)], operators[r.IntN(2)], []string{"X", "Y"}[r.IntN(2)], r.IntN(3) == 0, r.IntN(20)+1
				for k, rider := range []uint32{100 * p, 100*p + 1 + device, 100*p + 50 + device} { // on one device, joined, alone
					terminal := uint32(3 + k)
					if single {
						loads = append(loads, load{bus, shownOn(board(terminal, next(bus), rider, at), medium, 1, party)})
						continue
					}
					loads = append(loads, load{on, shownOn(gate(terminal, next(on), rider, tap.On, at, station), medium, 1, party)},
						load{off, shownOn(gate(terminal, next(off), rider, tap.Off, at+lasts, "Z"), medium, 1, 1)})
				}
				at += lasts
			}
		}
		var wantShares [3]int64
		var wantRides []string
		for order := range uint64(3) {
			l := newLandOf(t, strings.Replace(strings.Replace(integratedText, "POOL", pool, 1), `"transfers"`, media, 1))
			f := new(friends)
			for p := range uint32(persons) {
				for d := range uint32(3) {
					f.members = append(f.members, person.Member{Rider: citygate.Rider{Issuer: 1, Index: 100*p + 1 + d}, Subject: person.Subject{byte(p + 1)}, Until: 1 << 60})
				}
			}
			l.engine.People = f
			mixed, m := slices.Clone(loads), rand.New(rand.NewPCG(order, 5))
			if order > 0 {
				m.Shuffle(len(mixed), func(i, k int) { mixed[i], mixed[k] = mixed[k], mixed[i] })
			}
			for i, x := range mixed {
				l.upload(t, x)
				if m.IntN(4) == 0 {
					l.carry(t)
				}
				if order == 2 && m.IntN(5) == 0 {
					l.upload(t, mixed[m.IntN(i+1)])
				}
			}
			l.due(t, pgtest.Epoch.Add(48*time.Hour))
			l.check(t)
			joined, alone := false, false
			for p := range uint32(persons) {
				want := l.faresOf(t, authority, 100*p)
				got := l.faresOf(t, authority, 100*p+1, 100*p+2, 100*p+3)
				if !slices.Equal(got, want) {
					t.Fatalf("%s, order %d, person %d: one device pays\n%v\nthree pay\n%v", pool, order, p, want, got)
				}
				joined = joined || len(want) > 0
				alone = alone || !slices.Equal(got, l.faresOf(t, authority, 100*p+50, 100*p+51, 100*p+52))
			}
			if !joined || !alone {
				t.Fatal("no ride costs otherwise on devices that are not joined: the test shows nothing")
			}
			shares, fares := l.totals(t)
			rides := l.sharesAsText(t)
			if shares[0]+shares[1]+shares[2] != fares || fares == 0 {
				t.Fatalf("%s: shares %v of %d", pool, shares, fares)
			}
			if order == 0 {
				wantShares, wantRides = shares, rides
			} else if shares != wantShares || !slices.Equal(rides, wantRides) {
				t.Fatalf("%s, order %d: shares %v, want %v", pool, order, shares, wantShares)
			}
		}
	}
}
