package uicdosipas

import (
	"errors"
	"time"
)

// A Content is a named block of bytes: a rail ticket ("FCB3"), dynamic content
// ("FDC1"), a company's own ("_1187..."), a country's ("+FR...").
type Content struct {
	Format string
	Data   []byte
}

// A Ticket is level 1 of a code: what the issuer signs.
type Ticket struct {
	Version     uint8  // of the header: 1 or 2
	ProviderNum uint16 // RICS code 1..32000, or 0
	ProviderIA5 string // in place of ProviderNum
	KeyID       uint32 // 0..99999, when HasKeyID
	HasKeyID    bool
	Contents    []Content

	Level1KeyAlg, Level2KeyAlg         OID
	Level1SigningAlg, Level2SigningAlg OID
	Level2Key                          []byte // of the device; nil for a static code

	// The end of validity in UTC, from version 2 on; EndYear 0 for none.
	EndYear, EndDay, EndMinute uint16
	Duration                   uint16 // seconds, 1..3600, or 0; from version 2 on
}

// A Display is a code as it is shown: a ticket, its signature, and, of a
// dynamic code, what the device adds and signs.
type Display struct {
	Ticket
	Level1Signature []byte   // nil for none
	Level2Data      *Content // nil for none
	Level2Signature []byte   // nil for none
}

// ErrBuild says that a ticket or display has a value that a code cannot hold.
var ErrBuild = errors.New("uic-dosipas: a field is out of its range")

// Level1 gives the bytes that the issuer signs.
func (t *Ticket) Level1() ([]byte, error) {
	var w writer
	t.write(&w)
	return w.bytes()
}

// Level2 gives the bytes that the device signs.
func (d *Display) Level2() ([]byte, error) {
	var w writer
	d.writeLevel2(&w)
	return w.bytes()
}

// Marshal gives the code. Whatever [Barcode.Parse] takes, Marshal of its
// [Barcode.Display] gives back bit by bit.
func (d *Display) Marshal() ([]byte, error) {
	var w writer
	w.flag(d.Level2Signature != nil)
	w.ia5("U" + string(rune('0'+d.Version)))
	d.writeLevel2(&w)
	if d.Level2Signature != nil {
		w.octets(d.Level2Signature)
	}
	return w.bytes()
}

func (w *writer) bytes() ([]byte, error) {
	if w.bad || len(w.out) > MaxBytes {
		return nil, ErrBuild
	}
	return w.out, nil
}

func (d *Display) writeLevel2(w *writer) {
	w.flag(d.Level1Signature != nil)
	w.flag(d.Level2Data != nil)
	d.write(w)
	if d.Level1Signature != nil {
		w.octets(d.Level1Signature)
	}
	if d.Level2Data != nil {
		w.content(*d.Level2Data)
	}
}

func (t *Ticket) write(w *writer) {
	if t.Version < 1 || t.Version > 2 || len(t.Contents) < 1 || len(t.Contents) > maxContents || t.Version == 1 && (t.EndYear != 0 || t.Duration != 0) {
		w.bad = true
		return
	}
	oids := [...]OID{t.Level1KeyAlg, t.Level2KeyAlg, t.Level1SigningAlg, t.Level2SigningAlg}
	w.flag(t.ProviderNum != 0)
	w.flag(t.ProviderIA5 != "")
	w.flag(t.HasKeyID)
	for _, o := range oids {
		w.flag(o != "")
	}
	w.flag(t.Level2Key != nil)
	if t.Version == 2 {
		for range 3 { // year, day, minute
			w.flag(t.EndYear != 0)
		}
		w.flag(t.Duration != 0)
	}
	if t.ProviderNum != 0 {
		w.within(uint32(t.ProviderNum), 15, 1, maxProvider-1)
	}
	if t.ProviderIA5 != "" {
		w.ia5(t.ProviderIA5)
	}
	if t.HasKeyID {
		w.within(t.KeyID, 17, 0, maxKeyID)
	}
	w.length(len(t.Contents))
	for _, c := range t.Contents {
		w.content(c)
	}
	for _, o := range oids {
		if o != "" {
			w.octets([]byte(o))
		}
	}
	if t.Level2Key != nil {
		w.octets(t.Level2Key)
	}
	if t.EndYear != 0 {
		w.within(uint32(t.EndYear), 8, firstYear, lastYear-firstYear)
		w.within(uint32(t.EndDay), 9, 1, longestYear-1)
		w.within(uint32(t.EndMinute), 11, 0, minutesOfDay-1)
	}
	if t.Duration != 0 {
		w.within(uint32(t.Duration), 12, 1, maxDuration-1)
	}
}

func (w *writer) content(c Content) {
	if len(c.Format) < 1 || len(c.Format) > maxFormatName {
		w.bad = true
	}
	w.ia5(c.Format)
	w.octets(c.Data)
}

// SetEnd sets the end of validity to at, to the minute.
func (t *Ticket) SetEnd(at time.Time) {
	at = at.UTC()
	t.EndYear, t.EndDay, t.EndMinute = uint16(at.Year()), uint16(at.YearDay()), uint16(at.Hour()*60+at.Minute())
}

// NewDynamic gives the dynamic content of a display made at at: its time stamp
// and nothing else.
func NewDynamic(at time.Time) *Content {
	at = at.UTC()
	var w writer
	w.number(0b001000, 6) // extended, app id, TIME, place, responses, extension
	w.within(uint32(at.YearDay()), 9, 1, longestYear-1)
	w.within(uint32(at.Hour()*3600+at.Minute()*60+at.Second()), 17, 0, secondsOfDay-1)
	return &Content{formatDynamic, w.out}
}

// Display gives the parts of b as their own values: nothing aliases the bytes
// that b was parsed from.
func (b *Barcode) Display() *Display {
	d := &Display{Ticket: Ticket{
		Version: b.Version, ProviderNum: b.ProviderNum, KeyID: b.KeyID, HasKeyID: b.HasKeyID,
		ProviderIA5:  string(b.provider.appendTo(nil, b.raw)),
		Level1KeyAlg: b.oid(b.level1KeyAlg), Level2KeyAlg: b.oid(b.level2KeyAlg),
		Level1SigningAlg: b.oid(b.level1SigningAlg), Level2SigningAlg: b.oid(b.level2SigningAlg),
		EndYear: b.EndYear, EndDay: b.EndDay, EndMinute: b.EndMinute, Duration: b.Duration,
	}}
	for _, c := range b.contents[:b.count] {
		d.Contents = append(d.Contents, b.content(c))
	}
	if b.hasLevel2Key {
		d.Level2Key = b.level2Key.appendTo([]byte{}, b.raw)
	}
	if b.hasLevel1Sig {
		d.Level1Signature = b.level1Sig.appendTo([]byte{}, b.raw)
	}
	if b.hasLevel2Data {
		c := b.content(b.level2Data)
		d.Level2Data = &c
	}
	if b.hasLevel2Sig {
		d.Level2Signature = b.level2Sig.appendTo([]byte{}, b.raw)
	}
	return d
}

func (b *Barcode) oid(o oid) OID { return OID(octets(o).appendTo(nil, b.raw)) }

func (b *Barcode) content(c content) Content {
	return Content{string(c.format.appendTo(nil, b.raw)), c.data.appendTo(nil, b.raw)}
}
