package pricing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/diary"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// TestADiaryCostsWhatTheGatewayCharges: taps of one rider at three operators over two
// days cost in a file of taps what the gateway charges for the same taps, ride by ride,
// and the operators' shares are those of the books, but for the minor units of equal
// remainders.
func TestADiaryCostsWhatTheGatewayCharges(t *testing.T) {
	for _, pool := range []string{"ride", "transfers", "day"} {
		text := strings.Replace(integratedText, "POOL", pool, 1)
		tariff, err := fare.ParseTariff([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		l := newLand(t, pool)
		r := rand.New(rand.NewPCG(7, uint64(len(pool))))
		d := &diary.Diary{TimeZone: "Asia/Shanghai", Cut: "04:00", JourneyRules: []byte(`{"version":1,"max_journey_minutes":240,"upload_grace_minutes":1440,"passback_seconds":20}`), Product: 1}
		seqs := map[citygate.TenantID]uint64{}
		take := func(o citygate.TenantID, x Tap) {
			l.upload(t, load{o, x})
			kind := map[tap.Kind]string{tap.On: "on", tap.Off: "off", tap.Single: "single"}[x.Kind]
			d.Taps = append(d.Taps, diary.Tap{At: time.UnixMilli(x.At).UTC(), Kind: kind, Stop: x.Stop, Route: x.Route,
				Operator: map[citygate.TenantID]string{rail: "rail", tram: "tram", bus: "bus"}[o]})
		}
		next := func(o citygate.TenantID) uint64 { seqs[o]++; return seqs[o] }
		for at := 0; at < 2*24*60; {
			at += r.IntN(120) + 1
			if r.IntN(2) == 0 {
				take(bus, board(3, next(bus), 7, at))
				continue
			}
			on, off := operators[r.IntN(2)], operators[r.IntN(2)]
			take(on, gate(3, next(on), 7, tap.On, at, []string{"X", "Y"}[r.IntN(2)]))
			if at += r.IntN(40) + 1; r.IntN(6) > 0 {
				take(off, gate(3, next(off), 7, tap.Off, at, []string{"X", "Y", "Z"}[r.IntN(3)]))
			}
		}
		l.carry(t)
		l.due(t, pgtest.Epoch.Add(closed+48*time.Hour))
		shares, fares := l.totals(t)

		r.Shuffle(len(d.Taps), func(i, k int) { d.Taps[i], d.Taps[k] = d.Taps[k], d.Taps[i] })
		got, err := d.Price(func(int64) *fare.Tariff { return tariff })
		if err != nil {
			t.Fatal(err)
		}
		if got.Total == nil || *got.Total != fares || fares == 0 {
			t.Fatalf("%s: a diary of %d taps costs %v, the gateway charges %d", pool, len(d.Taps), got.Total, fares)
		}
		var rides, charged []string
		for _, x := range got.Rides {
			rides = append(rides, fmt.Sprint(x.Taps[0].At.UnixMilli(), " ", *x.Total, " ", len(x.Taps)+len(x.Repeats)))
		}
		l.in(t, authority, func(tx *pg.Tx) error {
			list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 10_000)
			charged = nil
			for _, j := range list {
				charged = append(charged, fmt.Sprint(j.StartsAt.UnixMilli(), " ", j.Amount.Minor, " ", len(j.Taps)))
			}
			return err
		})
		slices.Sort(rides)
		slices.Sort(charged)
		if !slices.Equal(rides, charged) {
			t.Errorf("%s: rides\n%v, the gateway has\n%v", pool, rides, charged)
		}
		for i, name := range []string{"rail", "tram", "bus"} {
			k := slices.IndexFunc(got.Shares, func(s diary.Share) bool { return s.Operator == name })
			if k < 0 || got.Shares[k].Minor-shares[i] > 2 || shares[i]-got.Shares[k].Minor > 2 {
				t.Errorf("%s: %s has %+v in the diary, %d in the books", pool, name, got.Shares, shares[i])
			}
		}
	}
}
