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

func yearOf(at int64) int { return time.Unix(at, 0).UTC().Year() }

// latest gives the last instant not after end that a time stamp of day and
// second can mean. The year is not on the code; a barcode lives for less than
// one, so the end of its life tells it.
func latest(day, second int, end int64) (at int64, ok bool) {
	for year := yearOf(end); year > yearOf(end)-9; year-- { // 8 years without a 29 February at most
		if at, ok := unixOf(year, day, second); ok && at <= end {
			return at, true
		}
	}
	return 0, false
}

// earliest gives the first instant not before begin that a time stamp of day
// and second can mean.
func earliest(day, second int, begin int64) (at int64, ok bool) {
	for year := yearOf(begin); year < yearOf(begin)+9; year++ {
		if at, ok := unixOf(year, day, second); ok && at >= begin {
			return at, true
		}
	}
	return 0, false
}

// End gives the end of the barcode's validity in unix seconds, exclusive, and
// false when it has none.
func (b *Barcode) End() (at int64, ok bool) {
	if b.EndYear == 0 {
		return 0, false
	}
	return unixOf(int(b.EndYear), int(b.EndDay), int(b.EndMinute)*60)
}
