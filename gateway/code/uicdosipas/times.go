package uicdosipas

import "time"

// unixOf gives unix seconds of the second-th second of the day-th day (1 = 1
// January) of year, UTC. ok is false for day 366 of a common year.
func unixOf(year, day, second int) (at int64, ok bool) {
	if day < 1 || day > daysIn(year) {
		return 0, false
	}
	return time.Date(year, 1, day, 0, 0, 0, 0, time.UTC).Unix() + int64(second), true
}

func daysIn(year int) int {
	if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		return 366
	}
	return 365
}

// nearest gives the instant closest to at that the time stamp can mean: it has
// no year. A display of the same second of another year is a year away at least,
// which no window spans. ok is false when no year near at has such a day.
func (d *Dynamic) nearest(at int64) (made int64, ok bool) {
	year := time.Unix(at, 0).UTC().Year()
	for y := year - 1; y <= year+1; y++ {
		candidate, exists := unixOf(y, int(d.Day), int(d.Second))
		if exists && (!ok || distance(candidate, at) < distance(made, at)) {
			made, ok = candidate, true
		}
	}
	return made, ok
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// End gives the end of the barcode's validity in unix seconds, exclusive, and
// false when it has none.
func (b *Barcode) End() (at int64, ok bool) {
	if b.EndYear == 0 {
		return 0, false
	}
	return unixOf(int(b.EndYear), int(b.EndDay), int(b.EndMinute)*60)
}

func (s Scheme) location() *time.Location {
	if s.zone == nil {
		return time.UTC
	}
	return s.zone
}
