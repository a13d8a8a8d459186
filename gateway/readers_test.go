package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
)

// A tariff published ahead, with a peak, prices by medium and a calendar that moves a
// working day, is in the next bundle; a validator that is offline from then on changes
// over at the instant it begins, names version and price in its records, companions
// that its driver counted included, and the gateway prices the taps the same.
func TestATariffToComeReachesReadersAhead(t *testing.T) {
	o := open(t)
	o.onboard() // on a Saturday, 21 November, noon; every ride costs price
	o.enrol(validatorID, "validator")
	o.send(http.MethodPost, busPath("calendars"), edge.Calendar{Version: 2, From: "2026-11-23", TimeZone: "Asia/Shanghai", CutMinutes: 240,
		Holidays: []string{"2026-11-23"}}, nil)
	begins := time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC) // midnight there
	coming := fmt.Sprintf(`{"name":"Flat","version":2,"currency":"CNY","categories":{"default":"adult"},"workdays":["2026-11-22"],
		"rules":[{"id":"peak","when":[{"days":["weekday"],"from":"07:00","until":"09:00"}],"flat":{"adult":%d}},{"id":"base","flat":{"adult":%d}}],
		"discounts":[{"id":"bands","match":{"media":["band"]},"amounts":{"adult":10}}],"incomplete":{},"same_stop":{},"rounding":{}}`, price+100, price+50)
	o.send(http.MethodPut, busPath("tariffs/2"), edge.Tariff{From: begins, Tariff: json.RawMessage(coming)}, nil)

	v := o.start(t.TempDir(), 1)
	o.sync(v)
	credential := o.credential("card") // the last word of the gateway that the validator hears
	counter := uint16(0)
	show := func(at time.Time, medium, party, riders uint8) string {
		t.Helper()
		counter++
		raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: at.Unix(), Counter: counter, Party: party, Medium: medium},
			func(m []byte) ([]byte, error) { return ed25519.Sign(key("card"), m), nil })
		o.must(err)
		d, err := v.Tap(at.UnixMilli(), raw, terminal.Input{MonotonicMS: uint64(at.Sub(o.now()).Milliseconds()) + 60_000, Clock: tap.ClockGNSS, Kind: tap.Single,
			Stop: "Central", Route: "12", Vehicle: "V-12", Riders: riders})
		o.must(err)
		if !d.Open {
			t.Fatalf("at %s: %s", at, d.Reason)
		}
		return fmt.Sprintf("v%d %d for %d", d.Record.TariffVersion, d.Record.Entered.Minor, d.Record.Party)
	}
	local := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour-8, minute, 0, 0, time.UTC) }
	got := []string{
		show(begins.Add(-time.Millisecond), code.MediumPhone, 1, 0),
		show(begins, code.MediumPhone, 1, 0),
		show(local(22, 8, 0), code.MediumBand, 1, 0),  // a Sunday that is worked, by the tariff
		show(local(22, 8, 1), code.MediumPhone, 2, 3), // one more than the code states
		show(local(22, 12, 0), code.MediumBand, 1, 2),
		show(local(23, 8, 0), code.MediumPhone, 1, 0), // a holiday, by the calendar
	}
	want := []string{
		fmt.Sprintf("v1 %d for 1", price), fmt.Sprintf("v2 %d for 1", price+50), fmt.Sprintf("v2 %d for 1", price+90),
		fmt.Sprintf("v2 %d for 3", 3*(price+100)), fmt.Sprintf("v2 %d for 2", 2*(price+40)), fmt.Sprintf("v2 %d for 1", price+50),
	}
	if !slices.Equal(got, want) {
		t.Errorf("the reader says\n%q, want\n%q", got, want)
	}
	o.move(local(23, 9, 0).Sub(o.now()))
	batch, err := v.NextBatch(0)
	o.must(err)
	o.upload(batch)
	o.settleDown()
	var amounts []int64
	var told []fare.Explanation
	for _, row := range o.owner.Rows(bus, `SELECT amount, explanation::text FROM fare_decisions WHERE tenant_id = $1 ORDER BY event_time`, int64(bus)) {
		amounts = append(amounts, row[0].(int64))
		var e fare.Explanation
		o.must(json.Unmarshal([]byte(row[1].(string)), &e))
		told = append(told, e)
	}
	if want := []int64{price, price + 50, price + 90, 3 * (price + 100), 2 * (price + 40), price + 50}; !slices.Equal(amounts, want) {
		t.Errorf("the gateway prices %v, want %v", amounts, want)
	}
	for i, want := range map[int]string{3: "phone weekday true 1", 4: "band weekday true 1", 5: "phone holiday false 0"} {
		if i >= len(told) || told[i].Day == nil {
			t.Fatalf("ride %d is not explained by its day: %+v", i, told)
		}
		e := told[i]
		if got := fmt.Sprint(e.Medium, " ", e.Day.Type, " ", e.Day.Moved, " ", e.Steps[len(e.Steps)-1].Counted); got != want {
			t.Errorf("ride %d is explained by %s, want %s", i, got, want)
		}
	}
}
