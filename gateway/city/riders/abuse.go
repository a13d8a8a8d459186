package riders

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/risk"
)

// A Mix is a town's taps with those of abusers among them, and who they are.
type Mix struct {
	Sightings  []risk.Sighting
	Limits     risk.Limits
	Clean      int                     // taps of honest riders
	Cloned     map[citygate.Rider]bool // on two devices
	Impossible [][2]citygate.TapID     // pairs of taps that one person cannot make
	Rushed     map[citygate.Rider]bool // shown to a queue of people
}

// A device shows codes with a counter that grows by one to six a display: most
// displays are never scanned.
type device struct {
	counter uint16
	salt    uint64
}

func (d *device) show(rng *rand.Rand, t *journey.Tap) risk.Sighting {
	d.counter += uint16(1 + rng.IntN(6))
	b := binary.BigEndian.AppendUint64(nil, d.salt)
	b = binary.BigEndian.AppendUint64(b, uint64(t.At))
	b = binary.BigEndian.AppendUint16(b, d.counter)
	return risk.Sighting{Tap: t.ID, Rider: t.Rider, At: t.At, Stop: t.Stop, Counted: true, Counter: d.counter, Code: sha256.Sum256(b)}
}

// Abuse plays so many cases of each kind among the town's honest taps: copied
// credentials, whose copy rides beside the original from the same count on;
// codes relayed to somebody elsewhere, in less than two thirds of the time it
// takes to be there; and credentials shown to a queue. Every reader's clock is up
// to 20 seconds wrong, either way.
func (t *Town) Abuse(seed uint64, cases int) *Mix {
	rng := rand.New(rand.NewPCG(seed, 7))
	m := &Mix{Limits: risk.DefaultLimits(t.rules.Places), Cloned: make(map[citygate.Rider]bool), Rushed: make(map[citygate.Rider]bool)}
	taps := t.Taps()
	slices.SortFunc(taps, func(a, b journey.Tap) int { return a.Compare(b) })
	wrong := make(map[uint32]int64)
	for i := range taps {
		if _, known := wrong[taps[i].ID.Terminal]; !known {
			wrong[taps[i].ID.Terminal] = rng.Int64N(40_001) - 20_000
		}
	}
	devices := make(map[citygate.Rider]*device)
	copies := make(map[citygate.Rider]*device)
	seq := uint64(1) << 32
	extra := func(like journey.Tap, stop string, at int64) journey.Tap {
		seq++
		like.ID, like.Stop, like.At = citygate.TapID{Terminal: uint32(1_000_000 + slices.Index(t.stops, stop)), Seq: seq}, stop, at
		return like
	}
	for i := range taps {
		tp := taps[i]
		d := devices[tp.Rider]
		if d == nil {
			d = &device{counter: uint16(rng.IntN(1 << 16)), salt: rng.Uint64()}
			devices[tp.Rider] = d
		}
		tp.At += wrong[tp.ID.Terminal]
		s := d.show(rng, &tp)
		m.Sightings, m.Clean = append(m.Sightings, s), m.Clean+1
		if c := copies[tp.Rider]; c != nil && rng.IntN(2) == 0 { // the copy rides too, hours away from the original
			other := extra(tp, tp.Stop, tp.At+4*60*minute+rng.Int64N(60*minute))
			m.Sightings = append(m.Sightings, c.show(rng, &other))
		}
		if rng.IntN(200) != 0 {
			continue
		}
		switch {
		case len(m.Cloned) < cases && copies[tp.Rider] == nil && !m.Rushed[tp.Rider]:
			c := *d
			c.salt++
			copies[tp.Rider], m.Cloned[tp.Rider] = &c, true
			first := extra(tp, tp.Stop, tp.At+5*60*minute) // who copies it uses it
			m.Sightings = append(m.Sightings, c.show(rng, &first))
		case len(m.Impossible) < cases && copies[tp.Rider] == nil:
			far := t.stop(tp.Stop)
			least, _ := t.rules.Places.MinTravel(tp.Stop, far)
			if least.Milliseconds() < 10*minute {
				continue
			}
			relayed := extra(tp, far, tp.At+rng.Int64N(least.Milliseconds()*2/3))
			m.Sightings = append(m.Sightings, d.show(rng, &relayed))
			m.Impossible = append(m.Impossible, [2]citygate.TapID{tp.ID, relayed.ID})
		case len(m.Rushed) < cases && copies[tp.Rider] == nil:
			m.Rushed[tp.Rider] = true
			at := tp.At
			for range 10 + rng.IntN(10) {
				at += 10_000 + rng.Int64N(15_000)
				next := extra(tp, tp.Stop, at)
				m.Sightings = append(m.Sightings, d.show(rng, &next))
			}
		}
	}
	return m
}

// An AbuseReport says what was found of a mix.
type AbuseReport struct {
	Seed            uint64 `json:"seed"`
	Taps            int    `json:"taps"`
	CleanTaps       int    `json:"taps_of_a_clean_day"`
	FlagsOfClean    int    `json:"flags_of_a_clean_day"`
	Clones          int    `json:"clones"`
	ClonesFound     int    `json:"clones_found"`
	Impossible      int    `json:"impossible_travel"`
	ImpossibleFound int    `json:"impossible_travel_found"`
	Rushes          int    `json:"rushes"`
	RushesFound     int    `json:"rushes_found"`
	Unnamed         int    `json:"flags_without_two_taps"`
	Innocent        int    `json:"riders_flagged_without_a_case"`
}

// Find scans the mix, and the town without abusers.
func (t *Town) Find(seed uint64, m *Mix) AbuseReport {
	r := AbuseReport{Seed: seed, Taps: len(m.Sightings), CleanTaps: m.Clean, Clones: len(m.Cloned), Impossible: len(m.Impossible), Rushes: len(m.Rushed)}
	r.FlagsOfClean = len(risk.Scan(t.Abuse(seed, 0).Sightings, m.Limits))
	cloned, rushed := make(map[citygate.Rider]bool), make(map[citygate.Rider]bool)
	guilty := make(map[citygate.Rider]bool)
	of := make(map[citygate.TapID]citygate.Rider, len(m.Sightings))
	for _, s := range m.Sightings {
		of[s.Tap] = s.Rider
	}
	travel := make(map[citygate.TapID]bool)
	for _, pair := range m.Impossible {
		guilty[of[pair[0]]] = true
	}
	innocent := make(map[citygate.Rider]bool)
	for _, f := range risk.Scan(m.Sightings, m.Limits) {
		if len(f.Taps) < 2 {
			r.Unnamed++
			continue
		}
		switch f.Kind {
		case risk.Copied:
			cloned[f.Rider] = true
		case risk.ImpossibleTravel:
			travel[f.Taps[0]], travel[f.Taps[1]] = true, true
		default:
			rushed[f.Rider] = true
		}
		if !m.Cloned[f.Rider] && !m.Rushed[f.Rider] && !guilty[f.Rider] {
			innocent[f.Rider] = true
		}
	}
	for rider := range m.Cloned {
		if cloned[rider] {
			r.ClonesFound++
		}
	}
	for rider := range m.Rushed {
		if rushed[rider] {
			r.RushesFound++
		}
	}
	for _, pair := range m.Impossible {
		if travel[pair[1]] {
			r.ImpossibleFound++
		}
	}
	r.Innocent = len(innocent)
	return r
}
