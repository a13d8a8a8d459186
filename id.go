package citygate

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A TenantID names a tenant for ever; it is never reused. Zero is no tenant.
type TenantID int64

// String gives the decimal form.
func (t TenantID) String() string { return strconv.FormatInt(int64(t), 10) }

// An Issuer is the u16 number a tenant carries on the codes it signs. Only
// tenants that issue codes have one; the trust bundle maps it to the tenant.
type Issuer uint16

// A Rider is everything a ride code says about who rides: an entry of a status
// list of an issuer. The account behind it is known to the issuer alone.
type Rider struct {
	Issuer Issuer
	List   uint16
	Index  uint32
}

// ForeignLists is the first status list whose riders hold no credential: the
// issuer knows them by codes of other schemes, and lists only number them.
const ForeignLists = 1 << 15

// Foreign reports whether the rider is known by a code of another scheme.
func (r Rider) Foreign() bool { return r.List >= ForeignLists }

// String gives "issuer/list/index".
func (r Rider) String() string { return fmt.Sprintf("%d/%d/%d", r.Issuer, r.List, r.Index) }

// ParseRider reads the form of [Rider.String].
func ParseRider(s string) (Rider, error) {
	var r Rider
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Rider{}, fmt.Errorf("rider %q: want issuer/list/index", s)
	}
	for i, bits := range []int{16, 16, 32} {
		n, err := strconv.ParseUint(parts[i], 10, bits)
		if err != nil {
			return Rider{}, fmt.Errorf("rider %q: %w", s, err)
		}
		switch i {
		case 0:
			r.Issuer = Issuer(n)
		case 1:
			r.List = uint16(n)
		default:
			r.Index = uint32(n)
		}
	}
	return r, nil
}

// Compare orders riders by issuer, list and index: the order in which their
// rows are locked.
func (r Rider) Compare(o Rider) int {
	a := uint64(r.Issuer)<<48 | uint64(r.List)<<32 | uint64(r.Index)
	b := uint64(o.Issuer)<<48 | uint64(o.List)<<32 | uint64(o.Index)
	return cmp.Compare(a, b)
}

// A TapID is a tap's natural identity inside a tenant: the terminal key that
// signed it and that key's sequence number.
type TapID struct {
	Terminal uint32 // terminal key id, unique inside the tenant
	Seq      uint64
}

// String gives the form the API uses: "tap_<terminal>_<seq>".
func (t TapID) String() string { return fmt.Sprintf("tap_%d_%d", t.Terminal, t.Seq) }

// ParseTapID reads the form of [TapID.String].
func ParseTapID(s string) (TapID, error) {
	terminal, seq, ok := strings.Cut(strings.TrimPrefix(s, "tap_"), "_")
	if !ok || !strings.HasPrefix(s, "tap_") {
		return TapID{}, fmt.Errorf("tap id %q: want tap_<terminal>_<seq>", s)
	}
	k, err := strconv.ParseUint(terminal, 10, 32)
	if err != nil {
		return TapID{}, fmt.Errorf("tap id %q: %w", s, err)
	}
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return TapID{}, fmt.Errorf("tap id %q: %w", s, err)
	}
	return TapID{uint32(k), n}, nil
}

// A UUID is a version 7 UUID (RFC 9562) made from the injected clock and
// randomness. At the API it carries a typed prefix: see [UUID.Text].
type UUID [16]byte

// NewUUID makes a version 7 UUID for the instant at.
func NewUUID(at time.Time, random io.Reader) (UUID, error) {
	var u UUID
	if _, err := io.ReadFull(random, u[6:]); err != nil {
		return UUID{}, fmt.Errorf("uuid: %w", err)
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(u[:6], ms[2:])
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return u, nil
}

// IsZero reports whether u is the zero UUID, which names nothing.
func (u UUID) IsZero() bool { return u == UUID{} }

// String gives the canonical 36-character form.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Text gives the form the API uses: a typed prefix such as "chg_" and 32
// hexadecimal digits.
func (u UUID) Text(prefix string) string { return prefix + hex.EncodeToString(u[:]) }

// ParseUUID reads the canonical form or the form of [UUID.Text] with prefix.
func ParseUUID(prefix, s string) (UUID, error) {
	var u UUID
	raw := strings.ReplaceAll(strings.TrimPrefix(s, prefix), "-", "")
	if len(raw) != 32 {
		return UUID{}, fmt.Errorf("id %q: want %s and 32 hexadecimal digits", s, prefix)
	}
	if _, err := hex.Decode(u[:], []byte(raw)); err != nil {
		return UUID{}, fmt.Errorf("id %q: %w", s, err)
	}
	return u, nil
}

// A Clock gives the time. Only cmd makes one from the system clock.
type Clock func() time.Time

// A Date is a calendar day without a zone, such as a business date.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DateOf gives the calendar day of t in t's location.
func DateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{y, m, d}
}

// ParseDate reads "2006-01-02".
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Date{}, fmt.Errorf("date %q: want YYYY-MM-DD", s)
	}
	return DateOf(t), nil
}

// String gives "2006-01-02".
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// Time gives midnight UTC of d, the form a SQL date column takes.
func (d Date) Time() time.Time { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC) }

// AddDays gives the day n days later.
func (d Date) AddDays(n int) Date { return DateOf(d.Time().AddDate(0, 0, n)) }

// Compare orders days.
func (d Date) Compare(o Date) int { return d.Time().Compare(o.Time()) }

// A Calendar cuts time into business dates: the date d runs from d's cut time
// to the next day's cut time, local wall clock. A business date is a pure
// function of (instant, calendar), also on days of 23 or 25 hours.
//
// A calendar may follow another one: its time zone, cut and rest days hold for the
// business dates from From on, the former's for those before.
type Calendar struct {
	Version  int
	Location *time.Location
	Cut      time.Duration // since local midnight, such as 4h
	Rest     *RestDays     // nil = every day is a working day

	From   Date // of the first business date it holds for, where there is a former one
	Former *Calendar
}

// RestDays are days on which nothing is paid out and prices of working days do
// not hold.
type RestDays struct {
	Weekdays []time.Weekday
	Holidays []Date // in order
	Workdays []Date // in order: worked although their weekday rests, as days moved for a holiday are
}

// On gives the version that holds for the business date d.
func (c Calendar) On(d Date) Calendar {
	for c.Former != nil && d.Compare(c.From) < 0 {
		c = *c.Former
	}
	return c
}

// BusinessDate gives the business date of the instant t.
func (c Calendar) BusinessDate(t time.Time) Date {
	if c.Former != nil && t.Before(c.start(c.From)) {
		d, last := c.Former.BusinessDate(t), c.From.AddDays(-1)
		if d.Compare(last) > 0 { // its day was longer than it is now
			return last
		}
		return d
	}
	local := t.In(c.Location)
	d := DateOf(local)
	if local.Before(c.start(d)) {
		return d.AddDays(-1)
	}
	return d
}

// Window gives the instants at which the business date d starts and ends.
func (c Calendar) Window(d Date) (start, end time.Time) {
	return c.start(d), c.start(d.AddDays(1))
}

// WorkingDay reports whether the date d is no rest day.
func (c Calendar) WorkingDay(d Date) bool {
	rest := c.On(d).Rest
	return rest == nil || slices.Contains(rest.Workdays, d) || !slices.Contains(rest.Weekdays, d.Time().Weekday()) && !slices.Contains(rest.Holidays, d)
}

// restMost bounds how long rest days may follow each other.
const restMost = 31

// WorkingTime gives t, or the same time of day on the next working day: t's date is
// the local one.
func (c Calendar) WorkingTime(t time.Time) time.Time {
	local := t.In(c.On(c.BusinessDate(t)).Location)
	for range restMost {
		if c.WorkingDay(DateOf(local)) {
			break
		}
		local = local.AddDate(0, 0, 1)
	}
	return local.UTC()
}

func (c Calendar) start(d Date) time.Time {
	on := c.On(d)
	return time.Date(d.Year, d.Month, d.Day, 0, int(on.Cut/time.Minute), 0, 0, on.Location)
}
