package ridership

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// TransferWithin is how long after a ride's last tap the next boarding counts as
// a transfer.
const TransferWithin = time.Hour

// A Kind is what a tap does.
type Kind int

// The kinds: entering, leaving, and boarding without leaving.
const (
	On Kind = iota + 1
	Off
	Single
)

// A Tap is an accepted tap of the tenant.
type Tap struct {
	ID      citygate.TapID
	Kind    Kind
	At      time.Time
	Date    citygate.Date // business date
	Rider   citygate.Rider
	Party   int
	Stop    string
	Route   string
	Vehicle string
}

// A Ride is a journey as it was decided: its taps in order and what it cost.
type Ride struct {
	Taps   []citygate.TapID
	Fare   citygate.Money // no currency: not known
	Capped bool
}

// A Report is the ridership of a period. Its tables are protected.
type Report struct {
	Transactions Rows // TIDES fare_transactions: not for publication
	Activities   Rows // TIDES station_activities: Boardings without its totals
	Boardings    []Day
	OD           *Table
	Transfers    *Table
}

// A Day is the boardings of one business date: stops by hour and kind, such as
// "2026-11-22T08:00:00+08:00 entries".
type Day struct {
	Date citygate.Date
	*Table
}

// Build makes the report of taps and rides, in the local time of zone. digits
// are the decimals of the tenant's currency. key makes the pseudonyms: draw one
// for this report and forget it.
func Build(taps []Tap, rides []Ride, zone *time.Location, digits int, key [32]byte) *Report {
	taps = slices.Clone(taps)
	slices.SortFunc(taps, func(a, b Tap) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID.Terminal, b.ID.Terminal), cmp.Compare(a.ID.Seq, b.ID.Seq))
	})
	byID := make(map[citygate.TapID]*Tap, len(taps))
	for i := range taps {
		byID[taps[i].ID] = &taps[i]
	}
	r := &Report{
		Transactions: transactions(taps, rides, byID, zone, digits, key),
		Activities:   Rows{Name: "station_activities", Columns: []string{"service_date", "stop_id", "time_period_start", "time_period_end", "total_entries", "total_exits"}},
		Transfers:    transfers(taps, rides, byID),
	}
	dates := map[citygate.Date]bool{}
	for _, t := range taps {
		dates[t.Date] = true
	}
	for _, date := range slices.SortedFunc(maps.Keys(dates), citygate.Date.Compare) {
		day := Day{date, boardings(taps, date, zone)}
		r.Boardings = append(r.Boardings, day)
		r.Activities.Rows = append(r.Activities.Rows, activityRows(date.String(), day.Table)...)
	}
	od := newCounter()
	for _, ride := range rides {
		first, last := ends(ride, byID)
		if first != nil && last != nil && first.Kind == On && last.Kind == Off {
			od.add(first.Stop, last.Stop, first.Rider, first.Party)
		}
	}
	r.OD = od.table()
	r.OD.Protect(MinCell)
	return r
}

// ends gives the first and the last tap of a ride, nil where the period lacks it.
func ends(ride Ride, byID map[citygate.TapID]*Tap) (first, last *Tap) {
	if n := len(ride.Taps); n > 0 {
		return byID[ride.Taps[0]], byID[ride.Taps[n-1]]
	}
	return nil, nil
}

// line names what a tap was on: the route, or the stop of a gate without one.
func line(t *Tap) string {
	if t.Route != "" {
		return t.Route
	}
	return t.Stop
}

func transfers(taps []Tap, rides []Ride, byID map[citygate.TapID]*Tap) *Table {
	lastOf := map[citygate.TapID]*Tap{} // by the first tap of the ride
	for _, ride := range rides {
		if first, last := ends(ride, byID); first != nil && last != nil {
			lastOf[first.ID] = last
		}
	}
	c := newCounter()
	before := map[citygate.Rider]*Tap{}
	for i := range taps {
		t := &taps[i]
		last, begins := lastOf[t.ID]
		if !begins {
			continue
		}
		who := t.Rider
		if prior := before[who]; prior != nil && !t.At.Before(prior.At) && t.At.Sub(prior.At) <= TransferWithin {
			c.add(line(prior), line(t), who, t.Party)
		}
		before[who] = last
	}
	table := c.table()
	table.Protect(MinCell)
	return table
}

// pseudonym names a rider for one report.
func pseudonym(key [32]byte, r citygate.Rider) string {
	m := hmac.New(sha256.New, key[:])
	var id [10]byte
	binary.BigEndian.PutUint32(id[:], uint32(r.Issuer))
	binary.BigEndian.PutUint16(id[4:], r.List)
	binary.BigEndian.PutUint32(id[6:], r.Index)
	_, _ = m.Write(id[:]) // a hash takes everything
	return hex.EncodeToString(m.Sum(nil)[:16])
}

func transactions(taps []Tap, rides []Ride, byID map[citygate.TapID]*Tap, zone *time.Location, digits int, key [32]byte) Rows {
	decided := map[citygate.TapID]Ride{} // by the last tap: there the fare is
	for _, ride := range rides {
		if _, last := ends(ride, byID); last != nil {
			decided[last.ID] = ride
		}
	}
	out := Rows{Name: "fare_transactions", Columns: []string{"transaction_id", "service_date", "event_timestamp", "amount", "currency_type", "fare_action", "vehicle_id", "device_id",
		"stop_id", "num_riders", "fare_media_id", "fare_capped", "token_id"}}
	for _, t := range taps {
		action := map[Kind]string{On: "Enter", Off: "Exit", Single: "Enter"}[t.Kind]
		ride, priced := decided[t.ID]
		amount, currency := decimals(0, digits), missing
		if priced && ride.Fare.Currency != "" {
			amount, currency = decimals(ride.Fare.Minor, digits), string(ride.Fare.Currency)
		}
		out.Rows = append(out.Rows, []string{
			fmt.Sprintf("%d-%d", t.ID.Terminal, t.ID.Seq), t.Date.String(), t.At.In(zone).Format(time.RFC3339), amount, currency, action,
			t.Vehicle, strconv.FormatUint(uint64(t.ID.Terminal), 10), t.Stop, strconv.Itoa(t.Party), "Optical scan",
			strconv.FormatBool(priced && ride.Capped), pseudonym(key, t.Rider),
		})
	}
	return out
}

// boardings counts entries and exits of a day by stop and hour, protected. Taps
// without a stop are not in it.
func boardings(taps []Tap, date citygate.Date, zone *time.Location) *Table {
	c := newCounter()
	for _, t := range taps {
		if t.Date != date || t.Stop == "" {
			continue
		}
		kind := entries
		if t.Kind == Off {
			kind = exits
		}
		c.add(t.Stop, t.At.In(zone).Truncate(time.Hour).Format(time.RFC3339)+" "+kind, t.Rider, t.Party)
	}
	table := c.table()
	table.Protect(MinCell)
	return table
}

const (
	entries = "entries"
	exits   = "exits"
)

// activityRows says a protected day in the form of TIDES. What is suppressed is
// missing there; hours in which nothing happened at a stop are left out.
func activityRows(date string, table *Table) (rows [][]string) {
	text := func(c Cell) string {
		if c.Suppressed {
			return missing
		}
		return strconv.Itoa(c.Count)
	}
	at := map[[2]string]int{} // hour and kind
	starts := []string{}
	for k, column := range table.Columns {
		start, kind, _ := strings.Cut(column, " ")
		at[[2]string{start, kind}] = k
		if !slices.Contains(starts, start) {
			starts = append(starts, start)
		}
	}
	for r, stop := range table.Rows {
		for _, start := range starts {
			counts, said := [2]string{"0", "0"}, false
			for i, kind := range [2]string{entries, exits} {
				if k, ok := at[[2]string{start, kind}]; ok {
					cell := table.Cells[r][k]
					counts[i] = text(cell)
					said = said || cell.Suppressed || cell.Count > 0
				}
			}
			if said {
				rows = append(rows, []string{date, stop, start, hourAfter(start), counts[0], counts[1]})
			}
		}
	}
	return rows
}
