// Package riders plays the taps of riders on a real network for some weeks, and
// knows of every ride where it really went: what inference, pairing and the
// search for copied codes are measured against. Everything follows from the seed.
//
// Of the riders 60 % commute (two rides on weekdays at about the same time, a
// detour on one evening in ten, a day off in twenty), 30 % ride now and then in
// chains from home and back, leaving a station on foot for another one in 15 %
// of the chains, and 10 % are visitors of two days without a home.
package riders

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/city/data"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// Issuer is the issuer number on every played code.
const Issuer citygate.Issuer = 1

// A Ride is what really happened.
type Ride struct {
	Rider    citygate.Rider
	From, To string
	On, Off  journey.Tap
}

// A Town is a network and its riders' rides, in the order in which they begin.
type Town struct {
	Rules journey.Document // with stops, travel times and everything else switched on
	Rides []Ride

	rules *journey.Rules
	stops []string
	rng   *rand.Rand
	seq   map[uint32]uint64
}

const (
	minute = int64(60_000)
	day    = 24 * 60 * minute
	// Monday is the first day played: 2026-09-07T00:00Z.
	Monday = int64(1_788_739_200_000)
	hop    = 90 // seconds nobody goes below between two neighbouring stations
)

// Document gives journey rules for the embedded network with every rule on.
func Document() (journey.Document, error) {
	lines, err := data.MTRLines()
	if err != nil {
		return journey.Document{}, err
	}
	table, err := data.MTRTable()
	if err != nil {
		return journey.Document{}, err
	}
	d := journey.Document{
		Version: 1, MaxJourneyMin: 180, UploadGraceMin: 300, PassbackSec: 30,
		SameStation: []journey.SameStationRule{{UpToSec: 120, Do: journey.NoCharge}, {UpToSec: 1800, Do: journey.CheapestSingle}, {Do: journey.TwoIncompletes}},
		Retype:      journey.RetypeSuspect, MaxStaySec: 1800,
		Inference: &journey.InferenceRule{Methods: []journey.Method{journey.NextOn, journey.RegularTrip, journey.GatesOpened}, MinConfidence: 890},
		Claims:    &journey.ClaimRule{PerMonth: 3, WithinWeeks: 8},
	}
	for _, id := range table.Stops {
		d.Stops = append(d.Stops, journey.Stop{ID: id})
	}
	for _, l := range lines {
		for i := 1; i < len(l.Stops); i++ {
			d.Travel = append(d.Travel, journey.Travel{From: l.Stops[i-1], To: l.Stops[i], MinSec: hop})
		}
	}
	for _, pair := range table.Linked {
		d.Travel = append(d.Travel, journey.Travel{From: pair[0], To: pair[1], MinSec: hop})
	}
	// Light rail stops and others of the table that no line of the file serves are left out.
	served := make(map[string]bool)
	for _, t := range d.Travel {
		served[t.From], served[t.To] = true, true
	}
	d.Stops = slices.DeleteFunc(d.Stops, func(s journey.Stop) bool { return !served[s.ID] })
	known := make(map[string]bool)
	for _, s := range d.Stops {
		known[s.ID] = true
	}
	d.Travel = slices.DeleteFunc(d.Travel, func(t journey.Travel) bool { return !known[t.From] || !known[t.To] })
	return d, nil
}

// Play gives a town in which at least so many rides are made in four weeks.
func Play(seed uint64, rides int) (*Town, error) {
	d, err := Document()
	if err != nil {
		return nil, err
	}
	rules, err := d.Rules()
	if err != nil {
		return nil, err
	}
	t := &Town{Rules: d, rules: rules, rng: rand.New(rand.NewPCG(seed, 5)), seq: make(map[uint32]uint64)}
	for _, s := range d.Stops {
		t.stops = append(t.stops, s.ID)
	}
	for n := uint32(1); len(t.Rides) < rides; n++ {
		who := citygate.Rider{Issuer: Issuer, List: 1, Index: n}
		switch k := t.rng.IntN(10); {
		case k < 6:
			t.commute(who)
		case k < 9:
			t.roam(who)
		default:
			t.visit(who)
		}
	}
	slices.SortFunc(t.Rides, func(a, b Ride) int { return a.On.Compare(b.On) })
	t.number()
	t.Rides = t.Rides[:rides]
	return t, nil
}

// number gives every tap its sequence number at its terminal, in event order.
func (t *Town) number() {
	var taps []*journey.Tap
	for i := range t.Rides {
		taps = append(taps, &t.Rides[i].On, &t.Rides[i].Off)
	}
	slices.SortStableFunc(taps, func(a, b *journey.Tap) int { return int(min(max(a.At-b.At, -1), 1)) })
	for _, tp := range taps {
		t.seq[tp.ID.Terminal]++
		tp.ID.Seq = t.seq[tp.ID.Terminal]
	}
}

func (t *Town) stop(not ...string) string {
	for {
		if s := t.stops[t.rng.IntN(len(t.stops))]; !slices.Contains(not, s) {
			if len(not) == 0 {
				return s
			}
			if _, joined := t.rules.Places.MinTravel(not[0], s); joined {
				return s
			}
		}
	}
}

// ride makes one ride and gives when it ended.
func (t *Town) ride(who citygate.Rider, from, to string, at int64) int64 {
	shortest, _ := t.rules.Places.MinTravel(from, to)
	took := shortest.Milliseconds()*(110+t.rng.Int64N(50))/100 + (2+t.rng.Int64N(6))*minute
	gate := func(stop string) uint32 { // four gates a station
		return uint32(slices.Index(t.stops, stop)*4 + 1 + t.rng.IntN(4))
	}
	r := Ride{Rider: who, From: from, To: to}
	r.On = journey.Tap{ID: citygate.TapID{Terminal: gate(from)}, Rider: who, Kind: tap.On, At: at, Stop: from, Party: 1, Product: 1}
	r.Off = journey.Tap{ID: citygate.TapID{Terminal: gate(to)}, Rider: who, Kind: tap.Off, At: at + took, Stop: to, Party: 1, Product: 1}
	t.Rides = append(t.Rides, r)
	return at + took
}

func (t *Town) about(hour, spread int64) int64 {
	return hour*60*minute + t.rng.Int64N(2*spread*minute) - spread*minute
}

func (t *Town) commute(who citygate.Rider) {
	home := t.stop()
	work := t.stop(home)
	start, end := t.about(8, 60), t.about(18, 60)
	for d := range int64(28) {
		if d%7 >= 5 || t.rng.IntN(20) == 0 {
			continue
		}
		at := Monday + d*day
		t.ride(who, home, work, at+start+t.about(0, 20))
		leave := at + end + t.about(0, 20)
		if t.rng.IntN(10) == 0 {
			other := t.stop(work, home)
			back := t.ride(who, work, other, leave) + (60+t.rng.Int64N(60))*minute
			t.ride(who, other, home, back)
			continue
		}
		t.ride(who, work, home, leave)
	}
}

// chain rides n times from a stop and in the end goes to home, if there is one.
func (t *Town) chain(who citygate.Rider, from, home string, n int, at int64) string {
	for range n {
		to := t.stop(from)
		at = t.ride(who, from, to, at) + (30+t.rng.Int64N(90))*minute
		from = to
		if t.rng.IntN(100) < 15 { // walked to another station
			from = t.stop(to)
		}
	}
	if home != "" && from != home {
		t.ride(who, from, home, at)
		return home
	}
	return from
}

func (t *Town) roam(who citygate.Rider) {
	home := t.stop()
	for d := range int64(28) {
		if t.rng.IntN(7) < 3 {
			t.chain(who, home, home, 1+t.rng.IntN(2), Monday+d*day+t.about(12, 180))
		}
	}
}

func (t *Town) visit(who citygate.Rider) {
	first := t.rng.Int64N(27)
	at := t.stop()
	for d := first; d < first+2; d++ {
		at = t.chain(who, at, "", 2+t.rng.IntN(3), Monday+d*day+t.about(10, 60))
	}
}

// Taps gives every tap of the rides.
func (t *Town) Taps() []journey.Tap {
	taps := make([]journey.Tap, 0, 2*len(t.Rides))
	for i := range t.Rides {
		taps = append(taps, t.Rides[i].On, t.Rides[i].Off)
	}
	return taps
}

// End is an instant when every journey of the town is closed.
func (t *Town) End() int64 { return Monday + 30*day }

// A LossReport says what became of rides of which taps were lost.
type LossReport struct {
	Seed       uint64         `json:"seed"`
	Rides      int            `json:"journeys"`
	Taps       int            `json:"taps"`
	Deleted    int            `json:"taps_deleted"`
	Invisible  int            `json:"both_taps_deleted"`
	Missing    int            `json:"one_tap_deleted"`
	Misjoined  int            `json:"joined_with_a_tap_of_another_ride"`
	Completed  int            `json:"completed"`
	Right      int            `json:"right"`
	Above      int            `json:"priced_above_incomplete"`
	PaidMinor  int64          `json:"paid_for_completed_minor"`
	WouldMinor int64          `json:"incomplete_fares_of_completed_minor"`
	Methods    map[string]int `json:"methods"`
}

// Lose deletes so many permille of the taps, builds the journeys of the rest and
// says how many of the rides that lack a tap were completed, and rightly. price
// gives what a journey costs and what it would as an incomplete one.
func (t *Town) Lose(seed uint64, permille int, price func(j *journey.Journey) (amount, incomplete int64, err error)) (LossReport, error) {
	rng := rand.New(rand.NewPCG(seed, 6))
	report := LossReport{Seed: seed, Rides: len(t.Rides), Taps: 2 * len(t.Rides), Methods: make(map[string]int)}
	of := make(map[citygate.TapID]*Ride, 2*len(t.Rides))
	gone := make(map[citygate.TapID]bool)
	var left []journey.Tap
	for i := range t.Rides {
		r := &t.Rides[i]
		for _, tp := range []journey.Tap{r.On, r.Off} {
			of[tp.ID] = r
			if rng.IntN(1000) < permille {
				gone[tp.ID] = true
				report.Deleted++
				continue
			}
			left = append(left, tp)
		}
		switch {
		case gone[r.On.ID] && gone[r.Off.ID]:
			report.Invisible++
		case gone[r.On.ID] || gone[r.Off.ID]:
			report.Missing++
		}
	}
	rng.Shuffle(len(left), func(i, k int) { left[i], left[k] = left[k], left[i] })
	for _, j := range journey.BuildAll(left, &journey.Input{Rules: func(int64) *journey.Rules { return t.rules }, Now: t.End()}) {
		if err := report.judge(&j, of, gone, price); err != nil {
			return report, err
		}
	}
	return report, nil
}

func (l *LossReport) judge(j *journey.Journey, of map[citygate.TapID]*Ride, gone map[citygate.TapID]bool, price func(*journey.Journey) (int64, int64, error)) error {
	if len(j.Taps) == 2 {
		if of[j.Taps[0].ID] != of[j.Taps[1].ID] {
			l.Misjoined++
		}
		return nil
	}
	r := of[j.Taps[0].ID]
	if !gone[r.On.ID] && !gone[r.Off.ID] {
		return fmt.Errorf("both taps of the ride from %s to %s at %d are there, and it lacks one", r.From, r.To, r.On.At)
	}
	if j.Inferred == nil {
		return nil
	}
	l.Completed++
	l.Methods[string(j.Inferred.Method)]++
	truth := r.To
	if j.Missing == journey.MissingOn {
		truth = r.From
	}
	if j.Inferred.Stop == truth {
		l.Right++
	}
	amount, incomplete, err := price(j)
	if err != nil {
		return err
	}
	l.PaidMinor, l.WouldMinor = l.PaidMinor+amount, l.WouldMinor+incomplete
	if amount > incomplete {
		l.Above++
	}
	return nil
}

// MTRPrice prices journeys by the embedded tariff, for [Town.Lose].
func MTRPrice() (func(j *journey.Journey) (amount, incomplete int64, err error), error) {
	tariff, err := data.MTRTariff("HKD", 1)
	if err != nil {
		return nil, err
	}
	return func(j *journey.Journey) (int64, int64, error) {
		bare := *j
		bare.Inferred, bare.State = nil, journey.Incomplete
		d, least := tariff.PriceJourney(j, data.Adult), tariff.PriceJourney(&bare, data.Adult)
		if !d.Known || !least.Known {
			return 0, 0, fmt.Errorf("no fare for the journey at %d: %s %s", j.At(), d.Reason, least.Reason)
		}
		return d.Amount.Minor, least.Amount.Minor, nil
	}, nil
}
