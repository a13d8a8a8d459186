package pricing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/person"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// friends are persons of the tests. What they seal is marked and no more.
type friends struct{ members []person.Member }

func (f *friends) Members(_ context.Context, _ *pg.Tx, riders []citygate.Rider) (out []person.Member, err error) {
	of := map[person.Subject]bool{}
	for _, m := range f.members {
		of[m.Subject] = of[m.Subject] || slices.Contains(riders, m.Rider)
	}
	for _, m := range f.members {
		if of[m.Subject] {
			out = append(out, m)
		}
	}
	return out, nil
}

func (f *friends) Seal(_ citygate.TenantID, ride citygate.UUID, plain []byte) ([]byte, error) {
	return append(ride[:], plain...), nil
}

func (f *friends) Unseal(_ citygate.TenantID, ride citygate.UUID, sealed []byte) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, ride[:])
	if !ok {
		return nil, errors.New("sealed for another ride")
	}
	return plain, nil
}

func (f *friends) join(subject byte, from, until int64, riders ...uint32) {
	for _, r := range riders {
		f.members = append(f.members, person.Member{Rider: citygate.Rider{Issuer: 2, Index: r}, Subject: person.Subject{subject}, From: from, Until: until})
	}
}

// faresOf gives what a tenant decided for rides of riders, in event order: time and amount.
func (w *world) faresOf(t testing.TB, tenant citygate.TenantID, riders ...uint32) (out []string) {
	t.Helper()
	w.in(t, tenant, func(tx *pg.Tx) error {
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 1000)
		slices.SortFunc(list, func(a, b Journey) int { return a.StartsAt.Compare(b.StartsAt) })
		out = nil
		for _, j := range list {
			if j.State != "empty" && slices.Contains(riders, j.Rider.Index) {
				out = append(out, fmt.Sprintf("%s %d", j.StartsAt.Format("02 15:04"), j.Amount.Minor))
			}
		}
		return err
	})
	return out
}

// However a person's rides are split over devices, and in whatever order they are
// uploaded, each costs what it would on one device.
func TestAnySplitOverDevicesPaysWhatOneDeviceWould(t *testing.T) {
	w := newWorld(t)
	w.capped(t)
	f := new(friends)
	w.engine.People = f
	lessThanAlone := false
	for group := range uint32(5) {
		rng := rand.New(rand.NewPCG(7, uint64(group)))
		one, alone := 100*group, 100*group+50 // the same rides on one device, and on devices that are not joined
		f.join(byte(group+1), 0, math.MaxInt64, one+1, one+2, one+3)
		var taps [3][]Tap
		minute := 0
		for seq := uint64(1); seq <= 24; {
			minute += 5 + rng.IntN(240)
			device, pair, station := uint32(rng.IntN(3)), rng.IntN(3) == 0, string("ABC"[rng.IntN(3)])
			for k, rider := range []uint32{one, one + 1 + device, alone + device} {
				terminal := 1000*uint32(k+1) + group
				if pair {
					taps[k] = append(taps[k], tapAt(2, rider, terminal, seq, tap.On, minute, station), tapAt(2, rider, terminal, seq+1, tap.Off, minute+4, "B"))
				} else {
					taps[k] = append(taps[k], tapAt(2, rider, terminal, seq, tap.Single, minute, ""))
				}
			}
			if pair {
				seq++
			}
			seq++
			minute += 5
		}
		for k := range taps {
			rng.Shuffle(len(taps[k]), func(i, j int) { taps[k][i], taps[k][j] = taps[k][j], taps[k][i] })
			w.upload(t, taps[k]...)
		}
		want, got := w.faresOf(t, metro, one), w.faresOf(t, metro, one+1, one+2, one+3)
		if !slices.Equal(got, want) {
			t.Fatalf("group %d: one device pays\n%v\nthree pay\n%v", group, want, got)
		}
		lessThanAlone = lessThanAlone || !slices.Equal(got, w.faresOf(t, metro, alone, alone+1, alone+2))
	}
	if !lessThanAlone {
		t.Error("no ride costs otherwise on devices that are not joined: the test shows nothing")
	}
	w.check(t)
	days := map[string]bool{}
	for _, s := range w.faresOf(t, metro, 0) {
		days[s[:2]] = true
	}
	var date citygate.Date
	w.in(t, metro, func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT min(business_date) FROM fare_decisions WHERE tenant_id = $1`, int64(metro)).Scan(&date)
	})
	for range len(days) + 1 {
		again, err := w.engine.Recompute(t.Context(), metro, date)
		if err != nil || len(again.Different) > 0 {
			t.Fatalf("derived again: %+v, %v", again.Different, err)
		}
		date = date.AddDays(1)
	}
}

// A device is joint on whole days: before and after, it counts by itself, and goes
// on where it was. Nothing of the other devices is kept with a ride.
func TestAPersonFromDayToDay(t *testing.T) {
	w := newWorld(t)
	w.capped(t)
	f := new(friends)
	w.engine.People = f
	const day = 24 * 60
	start := tapAt(2, 1, 1, 1, tap.Single, 0, "").At
	f.join(1, start+day*60_000, start+2*day*60_000, 1, 2)
	seq := uint64(0)
	ride := func(rider uint32, minute int) Tap {
		seq++
		return tapAt(2, rider, 1, seq, tap.Single, minute, "")
	}
	first := ride(1, 10)
	later := []Tap{ride(2, 20), ride(1, 120), ride(1, day+10), ride(2, day+100), ride(1, day+200), ride(2, day+300), ride(2, day+400), ride(2, 2*day+10), ride(1, 2*day+20)}
	for _, x := range slices.Backward(later) {
		w.upload(t, x)
	}
	w.upload(t, first) // late, of a day that is nobody else's
	var amounts []string
	for _, s := range w.faresOf(t, metro, 1, 2) {
		amounts = append(amounts, strings.Fields(s)[2])
	}
	// Alone 4.30 each; on the joint day the cap of 15.00; afterwards alone again: what
	// each paid by itself on the first day counts, the joint day does not.
	if want := []string{"430", "430", "430", "430", "430", "430", "210", "0", "430", "430"}; !slices.Equal(amounts, want) {
		t.Errorf("rides cost %v, want %v", amounts, want)
	}
	w.in(t, metro, func(tx *pg.Tx) error {
		rows, err := tx.Query(t.Context(), `
			SELECT j.starts_at, d.explanation::text || (SELECT coalesce(string_agg(a.rule, ' '), '') FROM fare_adjustments a WHERE a.tenant_id = $1 AND a.journey_id = j.journey_id AND NOT a.applied), s.state::text
			FROM journeys j JOIN fare_decisions d ON d.tenant_id = $1 AND d.journey_id = j.journey_id
			JOIN fare_states s ON s.tenant_id = $1 AND s.journey_id = j.journey_id WHERE j.tenant_id = $1`, int64(metro))
		if err != nil {
			return err
		}
		type kept struct {
			At     time.Time
			Told   string
			States string
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[kept])
		for _, k := range all {
			joint := k.At.UnixMilli() >= start+day*60_000 && k.At.UnixMilli() < start+2*day*60_000
			if strings.Contains(k.Told, `"joint":true`) != joint || strings.Contains(k.Told, `"caps"`) == joint || joint && strings.Contains(k.Told, "three") || strings.Contains(k.States, `"sealed"`) != joint {
				t.Errorf("joint %v: kept %s, state %s", joint, k.Told, k.States)
			}
		}
		if len(all) < 10 {
			t.Errorf("%d decisions", len(all))
		}
		return err
	})
	w.check(t)
}
