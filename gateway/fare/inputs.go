package fare

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// inputsHash covers everything a decision depends on, in one unambiguous form:
// every text is preceded by its length.
func (p *pricing) inputsHash(f *folding) [32]byte {
	t, j := p.tariff, p.Journey
	var room [512]byte
	b := room[:0]
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text("citygate fare inputs 1")
	b = append(b, t.digest[:]...)
	text(string(p.Category))
	text(string(j.State))
	text(string(j.Missing))
	b = binary.AppendUvarint(b, uint64(len(j.Taps)))
	for i := range j.Taps {
		tp := &j.Taps[i]
		b = binary.BigEndian.AppendUint32(b, tp.ID.Terminal)
		b = binary.BigEndian.AppendUint64(b, tp.ID.Seq)
		b = append(b, byte(tp.Kind), tp.Party)
		b = binary.AppendVarint(b, tp.At)
		text(tp.Stop)
		text(tp.Route)
		b = binary.AppendVarint(b, tp.Entered.Minor)
		text(string(tp.Entered.Currency))
	}
	if counted := j.Counted(); counted > 0 {
		text("counted")
		b = binary.AppendVarint(b, counted)
	}
	if j.SameStation != "" {
		text(string(j.SameStation))
	}
	medium := ""
	if t.media {
		medium = p.Medium
	}
	if !t.timed && medium == "" && p.Operator == "" && !p.Void && p.Goodwill == 0 && f == nil {
		return sha256.Sum256(b) // what a plain tariff needs
	}
	text("more")
	text(medium)
	text(p.Operator)
	if t.timed {
		text(p.at.date.String())
		b = binary.AppendVarint(b, int64(p.at.minute))
		b = append(b, flag(p.at.holiday)|flag(p.at.rest != p.at.usual())<<1)
	}
	if t.zoned {
		for i := range j.Taps {
			b = p.appendZone(b, j.Taps[i].At)
		}
		if f != nil && f.state.Feed != nil {
			for _, r := range f.state.Feed.Rides {
				b = p.appendZone(p.appendZone(b, r.Dep), r.Arr)
			}
		}
	}
	b = append(b, flag(p.Void))
	b = binary.AppendVarint(b, p.Goodwill)
	if f != nil {
		b = f.appendInputs(b)
	}
	return sha256.Sum256(b)
}

// appendZone adds the tenant's offset from UTC at an instant.
func (p *pricing) appendZone(b []byte, ms int64) []byte {
	_, offset := time.UnixMilli(ms).In(p.wallZone(ms)).Zone()
	return binary.AppendVarint(b, int64(offset))
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}
