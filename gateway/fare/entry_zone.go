package fare

import (
	"encoding/binary"
	"math"
	"time"
)

// zoneOf makes a time zone of shifts: pairs of an instant in unix seconds and the
// offset from UTC from then on; the first counts from ever. It writes them in the
// form of the time zone database (TZif version 2, RFC 8536), which the standard
// library reads.
func zoneOf(shifts [][2]int64) (*time.Location, error) {
	for i, s := range shifts {
		if s[1] < -24*3600 || s[1] > 24*3600 || i > 1 && s[0] <= shifts[i-1][0] {
			return nil, ErrEntry.Explain("shift %d is out of order or out of range", i)
		}
	}
	if len(shifts) == 1 {
		return time.FixedZone("", int(shifts[0][1])), nil
	}
	be := binary.BigEndian
	header := func(b []byte, times, types, chars int) []byte {
		b = append(b, "TZif2"...)
		b = append(b, make([]byte, 15)...)
		for _, n := range []int{0, 0, 0, times, types, chars} { // isutc, isstd, leap, times, types, characters
			b = be.AppendUint32(b, uint32(n))
		}
		return b
	}
	b := header(nil, 0, 1, 1) // the block of 32 bits, that nobody reads
	b = append(b, 0, 0, 0, 0, 0, 0, 0)
	b = header(b, len(shifts), len(shifts), 4)
	for i, s := range shifts {
		at := s[0]
		if i == 0 {
			at = math.MinInt64
		}
		b = be.AppendUint64(b, uint64(at))
	}
	for i := range shifts {
		b = append(b, byte(i))
	}
	for _, s := range shifts {
		b = be.AppendUint32(b, uint32(int32(s[1])))
		b = append(b, 0, 0)
	}
	b = append(b, "LOC\x00\n\n"...)
	zone, err := time.LoadLocationFromTZData("local", b)
	if err != nil {
		return nil, ErrEntry.Because(err, "shifts")
	}
	return zone, nil
}
