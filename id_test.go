package citygate_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
)

func TestUUIDIsVersion7OfTheGivenInstant(t *testing.T) {
	at := time.UnixMilli(0x0123456789ab)
	u, err := citygate.NewUUID(at, bytes.NewReader(bytes.Repeat([]byte{0xff}, 10)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := u.String(), "01234567-89ab-7fff-bfff-ffffffffffff"; got != want {
		t.Errorf("NewUUID = %s, want %s", got, want)
	}
	back, err := citygate.ParseUUID("chg_", u.Text("chg_"))
	if err != nil || back != u {
		t.Errorf("ParseUUID(Text) = %v, %v", back, err)
	}
	if _, err := citygate.ParseUUID("chg_", "pay_"+u.Text("")); err == nil {
		t.Error("an id of another type was accepted")
	}
}

func TestTapIDTextForm(t *testing.T) {
	id := citygate.TapID{Terminal: 7, Seq: 42}
	back, err := citygate.ParseTapID(id.String())
	if err != nil || back != id {
		t.Errorf("ParseTapID(%q) = %v, %v", id, back, err)
	}
	for _, bad := range []string{"", "tap_", "tap_7", "tap_7_", "7_42", "tap_4294967296_1", "tap_-1_1"} {
		if _, err := citygate.ParseTapID(bad); err == nil {
			t.Errorf("ParseTapID(%q) was accepted", bad)
		}
	}
}

// A business date is a pure function of instant and calendar, also when the
// clock skips an hour or runs one twice.
func TestBusinessDateAcrossCutAndDaylightSaving(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	cal := citygate.Calendar{Version: 1, Location: berlin, Cut: 4 * time.Hour}
	for _, c := range []struct {
		at, want string
	}{
		{"2026-03-02T03:59:59+01:00", "2026-03-01"},
		{"2026-03-02T04:00:00+01:00", "2026-03-02"},
		{"2026-03-29T03:59:59+02:00", "2026-03-28"}, // the night that lost an hour
		{"2026-03-29T04:00:00+02:00", "2026-03-29"},
		{"2026-10-25T02:30:00+01:00", "2026-10-24"}, // the hour that came twice
		{"2026-10-25T04:00:00+01:00", "2026-10-25"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := cal.BusinessDate(at).String(); got != c.want {
			t.Errorf("BusinessDate(%s) = %s, want %s", c.at, got, c.want)
		}
	}
	for day, hours := range map[string]time.Duration{"2026-03-28": 23, "2026-10-24": 25, "2026-06-01": 24} {
		d, err := citygate.ParseDate(day)
		if err != nil {
			t.Fatal(err)
		}
		start, end := cal.Window(d)
		if end.Sub(start) != hours*time.Hour {
			t.Errorf("window of %s lasts %v, want %d h", day, end.Sub(start), hours)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	s := citygate.NewSecret([]byte("hunter2"))
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s) + string(text) + s.LogValue().String() + fmt.Sprintf("%v", struct{ S citygate.Secret }{s})
	if strings.Contains(all, "hunter2") || strings.Contains(all, "68756e74657232") {
		t.Errorf("the secret shows in %q", all)
	}
}

func TestParseRiderReadsWhatStringWrites(t *testing.T) {
	for _, r := range []citygate.Rider{{}, {Issuer: 101, List: 2944, Index: 17}, {Issuer: 65535, List: 65535, Index: 1<<32 - 1}} {
		if got, err := citygate.ParseRider(r.String()); err != nil || got != r {
			t.Errorf("ParseRider(%s) = %s, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "1", "1/2", "1/2/3/4", "65536/1/1", "1/65536/1", "1/1/4294967296", "-1/1/1", "a/b/c", "1/2/"} {
		if got, err := citygate.ParseRider(s); err == nil {
			t.Errorf("ParseRider(%q) = %s", s, got)
		}
	}
}

// Where one calendar follows another, every instant has one business date, dates
// never go back, and no window overlaps or leaves a gap.
func TestCalendarsFollowEachOther(t *testing.T) {
	zone := func(name string) *time.Location {
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		return loc
	}
	for _, c := range []struct {
		name   string
		before string
		cut    time.Duration
		after  string
		next   time.Duration
	}{
		{"a later cut", "Asia/Shanghai", 4 * time.Hour, "Asia/Shanghai", 5 * time.Hour}, {"an earlier cut", "Asia/Shanghai", 4 * time.Hour, "Asia/Shanghai", 3 * time.Hour},
		{"further east", "Asia/Shanghai", 4 * time.Hour, "Asia/Tokyo", 4 * time.Hour}, {"further west", "Asia/Shanghai", 4 * time.Hour, "Europe/Paris", 0},
		{"a late cut", "Asia/Shanghai", 0, "Asia/Shanghai", 22 * time.Hour},
	} {
		first := citygate.Calendar{Version: 1, Location: zone(c.before), Cut: c.cut}
		from := citygate.Date{Year: 2026, Month: 11, Day: 26}
		cal := citygate.Calendar{Version: 2, Location: zone(c.after), Cut: c.next, From: from, Former: &first}
		last := citygate.Date{}
		for at := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC); at.Before(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)); at = at.Add(10 * time.Minute) {
			d := cal.BusinessDate(at)
			start, end := cal.Window(d)
			if at.Before(start) || !at.Before(end) || d.Compare(last) < 0 {
				t.Fatalf("%s: %s is of %s, which is from %s to %s; the one before was of %s", c.name, at, d, start, end, last)
			}
			if want := map[bool]int{true: 2, false: 1}[d.Compare(from) >= 0]; cal.On(d).Version != want {
				t.Fatalf("%s: %s is of version %d", c.name, d, cal.On(d).Version)
			}
			last = d
		}
	}
}

// TestWorkingDay: a rest day of the week or a holiday is none, a day moved to be
// worked is one, by the version that holds on the date.
func TestWorkingDay(t *testing.T) {
	day := func(d int) citygate.Date { return citygate.Date{Year: 2026, Month: time.October, Day: d} }
	first := citygate.Calendar{Version: 1, Location: time.UTC}
	c := citygate.Calendar{Version: 2, Location: time.UTC, From: day(5), Former: &first,
		Rest: &citygate.RestDays{Weekdays: []time.Weekday{time.Saturday, time.Sunday}, Holidays: []citygate.Date{day(7)}, Workdays: []citygate.Date{day(10)}}}
	for d, want := range map[int]bool{3: true, 4: true, 5: true, 7: false, 10: true, 11: false, 17: false} {
		if c.WorkingDay(day(d)) != want {
			t.Errorf("%s: working %t, want %t", day(d), !want, want)
		}
	}
	if got := c.WorkingTime(time.Date(2026, 10, 11, 12, 0, 0, 0, time.UTC)); citygate.DateOf(got) != day(12) {
		t.Errorf("paid on %s", got)
	}
	if got := c.WorkingTime(time.Date(2026, 10, 10, 12, 0, 0, 0, time.UTC)); citygate.DateOf(got) != day(10) {
		t.Errorf("paid on %s, though the Saturday is worked", got)
	}
}
