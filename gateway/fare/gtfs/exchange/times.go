package exchange

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate/gateway/fare"
)

// A span is a part of the day, in minutes since midnight: the first included, the second
// not.
type span struct{ from, until int }

const dayMinutes = 24 * 60

// everyDay is the service of timeframes: windows of the clock hold on every day of these
// years. What a tariff asks at other times a feed does not say.
const everyDay, firstDay, lastDay = "every-day", "20000101", "20991231"

// plain reports whether a window goes by the clock alone. What goes by days goes by the
// tenant's calendar, which is not part of the tariff, and is not said.
func plain(w fare.When) bool { return len(w.Days) == 0 && w.First == "" && w.Last == "" }

func allPlain(whens []fare.When) bool {
	return !slices.ContainsFunc(whens, func(w fare.When) bool { return !plain(w) })
}

// spans cuts the day where a window of the clock begins or ends, so that no price changes
// inside of one.
func spans(t *fare.Tariff) []span {
	cuts := []int{0, dayMinutes}
	cut := func(whens []fare.When) {
		for _, w := range whens {
			if plain(w) && w.From != "" {
				cuts = append(cuts, minute(w.From), minute(w.Until))
			}
		}
	}
	for i := range t.Rules {
		cut(t.Rules[i].When)
	}
	for i := range t.Discounts {
		cut(t.Discounts[i].When)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	out := make([]span, 0, len(cuts)-1)
	for i := range cuts[1:] {
		out = append(out, span{cuts[i], cuts[i+1]})
	}
	return out
}

// minute reads the time of day of a compiled tariff, such as 07:30 or 24:00.
func minute(clock string) int {
	if clock == "24:00" {
		return dayMinutes
	}
	at, err := time.Parse("15:04", clock)
	if err != nil {
		panic("exchange: a tariff was not compiled: " + err.Error())
	}
	return at.Hour()*60 + at.Minute()
}

// during reports whether one of plain windows holds in a span; none means always.
func during(whens []fare.When, s span) bool {
	return len(whens) == 0 || slices.ContainsFunc(whens, func(w fare.When) bool {
		if w.From == "" {
			return true
		}
		from, until := minute(w.From), minute(w.Until)
		if until <= from {
			return s.from >= from || s.from < until
		}
		return s.from >= from && s.from < until
	})
}

// frame gives the group of timeframes that is some spans of the day, "" for all of it.
func (e *exporter) frame(of []int) string {
	if len(of) == len(e.spans) {
		return ""
	}
	var rows [][]string
	for i := 0; i < len(of); i++ {
		s := e.spans[of[i]]
		for i+1 < len(of) && e.spans[of[i+1]].from == s.until {
			i++
			s.until = e.spans[of[i]].until
		}
		rows = append(rows, []string{wall(s.from), wall(s.until)})
	}
	var id strings.Builder
	for i, row := range rows {
		if i > 0 {
			id.WriteByte('+')
		}
		id.WriteString(row[0][:5] + "-" + row[1][:5])
	}
	if !e.frames[id.String()] {
		if len(e.frames) == 0 {
			e.add("calendar", everyDay, "1", "1", "1", "1", "1", "1", "1", firstDay, lastDay)
		}
		e.frames[id.String()] = true
		for _, row := range rows {
			e.add("timeframes", id.String(), row[0], row[1], everyDay)
		}
	}
	return id.String()
}

func wall(minute int) string { return fmt.Sprintf("%02d:%02d:00", minute/60, minute%60) }

// untimed takes the column for times out of the leg rules of a feed whose prices do not go by
// them.
func (e *exporter) untimed() {
	if len(e.frames) > 0 {
		return
	}
	legs := e.table("fare_leg_rules")
	i := slices.Index(legs.Columns, "from_timeframe_group_id")
	legs.Columns = slices.Delete(legs.Columns, i, i+1)
	for k := range legs.Rows {
		legs.Rows[k] = slices.Delete(legs.Rows[k], i, i+1)
	}
}
