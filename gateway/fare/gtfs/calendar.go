package gtfs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A frame is one row of timeframes.txt: seconds of the local day, [start, end).
type frame struct {
	start, end int
	service    string
	row        int
}

// A service says on which dates it is in effect. Dates are numbers: 20261122.
type service struct {
	weekdays [7]bool // by time.Weekday
	from, to int     // inclusive; 0 without a row in calendar.txt
	except   map[int]bool
}

func (s service) on(day time.Time) bool {
	date := day.Year()*10000 + int(day.Month())*100 + day.Day()
	if added, named := s.except[date]; named {
		return added
	}
	return s.from <= date && date <= s.to && s.weekdays[day.Weekday()]
}

func (c *compiler) calendar() {
	var s service
	for i, column := range weekdays {
		n, ok := c.choice(column, 1, 0)
		if !ok {
			return
		}
		s.weekdays[i] = n == 1
	}
	var ok [2]bool
	s.from, ok[0] = c.date("start_date")
	s.to, ok[1] = c.date("end_date")
	if !ok[0] || !ok[1] {
		return
	}
	if s.to < s.from {
		c.find("bad_date", Refuse, "end_date", "the service ends on %d, before it starts on %d", s.to, s.from)
		return
	}
	s.except = map[int]bool{}
	c.feed.services[c.cell("service_id")] = s
}

func (c *compiler) calendarDate() {
	date, ok := c.date("date")
	if !ok {
		return
	}
	kind, ok := c.choice("exception_type", 2, 0)
	if !ok {
		return
	}
	if kind == 0 {
		c.find("bad_choice", Refuse, "exception_type", "want 1 (added) or 2 (removed)")
		return
	}
	id := c.cell("service_id")
	s, known := c.feed.services[id]
	if !known {
		s.except = map[int]bool{}
		c.feed.services[id] = s
	}
	s.except[date] = kind == 1
}

func (c *compiler) date(column string) (int, bool) {
	text := c.cell(column)
	if day, err := time.Parse("20060102", text); err == nil {
		return day.Year()*10000 + int(day.Month())*100 + day.Day(), true
	}
	c.find("bad_date", Refuse, column, "%q is no date of the form 20261122", text)
	return 0, false
}

const daySeconds = 24 * 60 * 60

func (c *compiler) timeframe() {
	f := frame{end: daySeconds, service: c.cell("service_id"), row: c.table.line(c.row)}
	if (c.cell("start_time") == "") != (c.cell("end_time") == "") {
		c.find("half_a_pair", Breach, "start_time", "start_time and end_time go together; the empty one is the begin or the end of the day")
	}
	ok := true
	if c.cell("start_time") != "" {
		f.start, ok = c.timeOfDay("start_time")
	}
	if c.cell("end_time") != "" && ok {
		f.end, ok = c.timeOfDay("end_time")
	}
	if !ok {
		return
	}
	if f.end <= f.start {
		c.find("bad_time", Refuse, "end_time", "the timeframe ends at or before its start; one that passes midnight takes two rows")
		return
	}
	group := c.cell("timeframe_group_id")
	c.feed.frames[group] = append(c.feed.frames[group], f)
}

// timeOfDay reads H:MM:SS or HH:MM:SS up to 24:00:00 as seconds of the day.
func (c *compiler) timeOfDay(column string) (int, bool) {
	text := c.cell(column)
	parts := strings.Split(text, ":")
	if len(parts) == 3 && len(parts[0]) <= 2 && len(parts[1]) == 2 && len(parts[2]) == 2 {
		var n [3]int
		good := true
		for i, part := range parts {
			v, err := strconv.ParseUint(part, 10, 8)
			n[i] = int(v)
			good = good && err == nil
		}
		seconds := n[0]*3600 + n[1]*60 + n[2]
		if good && n[1] < 60 && n[2] < 60 && seconds <= daySeconds {
			return seconds, true
		}
	}
	c.find("bad_time", Refuse, column, "%q is no time of the day from 00:00:00 to 24:00:00", text)
	return 0, false
}

// overlaps reports timeframes that overlap and those whose service no calendar
// defines. The first has no say in a price, the second makes it unknown.
func (c *compiler) overlaps() {
	file := "timeframes.txt"
	for _, t := range c.feed.Tables {
		if t.Name == "timeframes" {
			file = t.File()
		}
	}
	for _, group := range slices.Sorted(maps.Keys(c.feed.frames)) {
		frames := c.feed.frames[group]
		for i, f := range frames {
			if _, ok := c.feed.services[f.service]; !ok {
				c.feed.Findings = append(c.feed.Findings, Finding{"unknown_service", Breach, file, f.row, "service_id",
					fmt.Sprintf("no calendar defines the service %q: fares that depend on it are unknown", f.service)})
			}
			for _, other := range frames[:i] {
				if f.service == other.service && f.start < other.end && other.start < f.end {
					c.feed.Findings = append(c.feed.Findings, Finding{"timeframe_overlap", Breach, file, f.row, "start_time",
						fmt.Sprintf("the timeframe overlaps that of row %d of the same group and service", other.row)})
				}
			}
		}
	}
}

// truth is an answer that may be missing.
type truth int

const (
	no truth = iota
	yes
	unknown
)

// within reports whether the local time lies in a timeframe of the group.
func (f *fares) within(group string, local time.Time) truth {
	frames, defined := f.frames[group]
	if !defined {
		return unknown
	}
	second := local.Hour()*3600 + local.Minute()*60 + local.Second()
	answer := no
	for _, fr := range frames {
		if second < fr.start || second >= fr.end {
			continue
		}
		s, ok := f.services[fr.service]
		switch {
		case !ok:
			answer = unknown
		case s.on(local):
			return yes
		}
	}
	return answer
}

// local gives the event's time at a place: of the stop's zone, else its
// station's, else the agency's, else as it was written.
func (f *fares) local(place string, at time.Time) time.Time {
	if zone := f.zoneOf(place); zone != nil {
		return at.In(zone)
	}
	return at
}

// zoneOf gives the time zone of a place, nil if the feed names none.
func (f *fares) zoneOf(place string) *time.Location {
	for range maxParents {
		s, ok := f.stops[place]
		if !ok {
			break
		}
		if s.zone != nil {
			return s.zone
		}
		place = s.parent
	}
	return f.zone
}
