package city

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// An attack is a kind of misuse the day contains.
type attack string

// The attacks; honest is none.
const (
	honest    attack = ""
	forged    attack = "forged"
	expired   attack = "expired"
	future    attack = "future"
	replayed  attack = "replayed"
	cloned    attack = "cloned"
	forwarded attack = "forwarded"
	overCap   attack = "over_cap"
	denied    attack = "denied"
)

var attacks = []attack{forged, expired, future, replayed, cloned, forwarded, overCap, denied}

// A story is a day that every played city has in it.
type story int

const (
	anyDay       story = iota
	neverPays          // declined by noon, refused offline in the evening, still owes at the end
	paysLater          // the same, but the wallet is filled on the next day
	comesOutLate       // the exit is uploaded after the ride was charged as incomplete
	wrongTime          // boards the vehicle whose clock is an hour off
	uphill             // an ordinary rider of Hillside
)

var stories = []story{
	neverPays, paysLater, comesOutLate, neverPays, paysLater, comesOutLate,
	wrongTime, wrongTime, wrongTime, wrongTime, wrongTime, wrongTime, uphill, uphill,
}

// slot is the grain of the play: the clock moves from slot to slot.
const slot = 15 * time.Minute

// wake is how often validators may be online and due work is looked for.
const wake = 4 * slot

// A traveller is one rider of the plan.
type traveller struct {
	number  int
	issuer  citygate.Issuer
	tenant  citygate.TenantID // the issuer
	band    bool              // wristband (Ed25519) instead of phone (P-256)
	product uint16
	attack  attack // what is played with this rider's device
	story   story
	// The rider's wallet is empty until toppedUp; zero = always full. never = it stays empty.
	empty, never bool
}

// A visit is one presentation of a code at a validator.
type visit struct {
	at      time.Time
	rider   int
	place   int // index into places
	kind    tap.Kind
	stop    string // boarding section of a vehicle
	entered int64  // taxi: amount on the meter
	attack  attack
	variant int
	trip    int  // rides of one rider: the exit belongs to the entry of its trip
	again   bool // the same bytes as the visit before it in the trip
}

// A plan is the day as riders mean it: pure, made from the seed alone.
type plan struct {
	places  []place
	riders  []traveller
	visits  []visit // in the order of (at, rider, trip)
	perKind int     // attacks of each kind
	// wrongClock is the validator whose clock is an hour ahead.
	wrongClock int
	// lateUploads are validators that upload only on the next day.
	lateUploads map[int]bool
}

// lateStations are gates whose journal is uploaded on the next day.
var lateStations = []string{"76", "68", "48"}

// MinRiders is the smallest city that holds every attack at least five times.
const MinRiders = 60

func newPlan(seed uint64, riders int, day time.Time) (*plan, error) {
	if riders < MinRiders {
		return nil, fmt.Errorf("a city of %d riders cannot hold every attack five times; play at least %d", riders, MinRiders)
	}
	p := &plan{places: places(), perKind: max(5, riders/200), lateUploads: map[int]bool{}}
	p.wrongClock = p.first(peakMinibus) + peakVehicles - 1
	for _, station := range lateStations {
		p.lateUploads[slices.IndexFunc(p.places, func(x place) bool { return x.stop == station })] = true
	}
	p.lateUploads[p.first(bayMinibus)] = true
	for n := range riders {
		r := rand.New(rand.NewPCG(seed, uint64(n)+1))
		t := p.traveller(n, r)
		p.riders = append(p.riders, t)
		switch {
		case t.attack != honest:
			p.attackDay(t, day, r)
		case t.story != anyDay:
			p.storyDay(t, day, r)
		case t.tenant == hillside:
			p.hillsideDay(t, day, r)
		default:
			p.harbourDay(t, day, r)
		}
	}
	slices.SortStableFunc(p.visits, func(a, b visit) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.rider - b.rider
	})
	return p, nil
}

// first gives the index of the operator's first validator.
func (p *plan) first(operator citygate.TenantID) int {
	return slices.IndexFunc(p.places, func(x place) bool { return x.operator == operator })
}

// traveller decides who rider n is: the first ones carry the attacks, then
// seven of ten are riders of the city, some of the metro, some of Hillside.
func (p *plan) traveller(n int, r *rand.Rand) traveller {
	t := traveller{number: n, issuer: harbourIssuer, tenant: harbourCity, band: n%3 == 2, product: 1}
	if k := n / p.perKind; k < len(attacks) {
		t.attack = attacks[k]
		return t
	}
	if k := n - len(attacks)*p.perKind; k < len(stories) { // whatever the size of the city, these are in it
		t.story = stories[k]
		t.never = t.story == neverPays
		t.empty = t.never || t.story == paysLater
		if t.story == uphill {
			t.issuer, t.tenant = hillsideIssuer, hillside
		}
		return t
	}
	switch share := r.IntN(100); {
	case share < 70:
	case share < 82:
		t.issuer, t.tenant = metroIssuer, harbourMetro
	default:
		t.issuer, t.tenant = hillsideIssuer, hillside
	}
	switch share := r.IntN(100); {
	case share < 12:
		t.product = 2
	case share < 25:
		t.product = 3
	}
	if share := r.IntN(1000); share < 40 {
		t.empty, t.never = true, share < 16
	}
	return t
}

// at gives a uniformly drawn second between two times of day.
func at(day time.Time, r *rand.Rand, from, to time.Duration) time.Time {
	return day.Add(from + time.Duration(r.Int64N(int64((to-from)/time.Second)))*time.Second)
}

func (p *plan) add(v visit) { p.visits = append(p.visits, v) }

// harbourDay is a commuter's day: minibus to the station, metro in and back,
// at times a taxi. One metro exit in sixty is forgotten.
func (p *plan) harbourDay(t traveller, day time.Time, r *rand.Rand) {
	home, work := r.IntN(len(stations)), r.IntN(len(stations)-1)
	if work >= home {
		work++
	}
	city := t.tenant == harbourCity
	trip := 0
	ride := func(from, to int, start time.Time) time.Time {
		trip++
		p.add(visit{at: start, rider: t.number, place: from, kind: tap.On, trip: trip})
		end := start.Add(16*time.Minute + time.Duration(r.IntN(50*60))*time.Second)
		if r.IntN(60) != 0 {
			p.add(visit{at: end, rider: t.number, place: to, kind: tap.Off, trip: trip})
		}
		return end
	}
	single := func(start time.Time) {
		trip++
		p.single(t, start, trip, r)
	}
	morning := at(day, r, 6*time.Hour, 9*time.Hour+30*time.Minute)
	if city && r.IntN(100) < 30 {
		single(morning.Add(-18 * time.Minute))
	}
	ride(home, work, morning)
	if city && r.IntN(100) < 10 {
		trip++
		p.taxi(t, at(day, r, 11*time.Hour, 15*time.Hour), trip, r)
	}
	if r.IntN(3) == 0 { // the others go home by other ways, or stay
		evening := ride(work, home, at(day, r, 16*time.Hour+30*time.Minute, 21*time.Hour))
		if city && r.IntN(100) < 30 {
			single(evening.Add(7 * time.Minute))
		}
	}
}

// single is a ride on one of the two minibus lines.
func (p *plan) single(t traveller, start time.Time, trip int, r *rand.Rand) {
	v := visit{at: start, rider: t.number, kind: tap.Single, trip: trip, attack: honest}
	if r.IntN(2) == 0 {
		v.place = p.first(peakMinibus) + r.IntN(peakVehicles)
	} else {
		v.place = p.first(bayMinibus) + r.IntN(bayVehicles)
		v.stop = baySections[r.IntN(len(baySections))].name
	}
	p.add(v)
}

func (p *plan) taxi(t traveller, start time.Time, trip int, r *rand.Rand) {
	fareTenths := taxiLowest/10 + r.Int64N((taxiHighest-taxiLowest)/10)
	p.add(visit{at: start, rider: t.number, place: p.first(harbourTaxi) + r.IntN(taxis), kind: tap.Single, trip: trip, entered: fareTenths * 10})
}

func (p *plan) hillsideDay(t traveller, day time.Time, r *rand.Rand) {
	for trip := range 1 + r.IntN(2) {
		from := time.Duration(6+6*trip) * time.Hour
		p.add(visit{at: at(day, r, from, from+4*time.Hour), rider: t.number, place: p.first(hillsideBus) + r.IntN(buses), kind: tap.Single, trip: trip + 1})
	}
}

// storyDay plays one of the stories.
func (p *plan) storyDay(t traveller, day time.Time, r *rand.Rand) {
	switch t.story {
	case anyDay:
		return
	case uphill:
		p.hillsideDay(t, day, r)
		return
	case wrongTime:
		p.add(visit{at: at(day, r, 7*time.Hour, 19*time.Hour), rider: t.number, place: p.wrongClock, kind: tap.Single, trip: 1})
		return
	case comesOutLate:
		late := slices.IndexFunc(p.places, func(x place) bool { return x.stop == lateStations[2] })
		start := at(day, r, 7*time.Hour, 10*time.Hour)
		p.add(visit{at: start, rider: t.number, place: 0, kind: tap.On, trip: 1})
		p.add(visit{at: start.Add(40 * time.Minute), rider: t.number, place: late, kind: tap.Off, trip: 1})
		return
	case neverPays, paysLater:
	}
	// A taxi above the limit is collected within the half hour, and declined.
	p.taxi(t, at(day, r, 7*time.Hour, 9*time.Hour), 1, r)
	p.add(visit{
		at: at(day, r, 20*time.Hour, 22*time.Hour), rider: t.number, place: p.first(peakMinibus) + r.IntN(peakVehicles-1), kind: tap.Single, trip: 2,
	})
}

// attackDay plays one attack. Vehicles with the wrong clock or a late upload
// are left out, so that what catches an attack is the attack's own reason.
func (p *plan) attackDay(t traveller, day time.Time, r *rand.Rand) {
	reader := p.first(peakMinibus) + r.IntN(peakVehicles-2)
	other := reader + 1
	start := at(day, r, 9*time.Hour, 11*time.Hour)
	v := visit{at: start, rider: t.number, place: reader, kind: tap.Single, attack: t.attack, variant: t.number % 4, trip: 1}
	ride := v
	ride.attack = honest
	switch t.attack {
	case honest:
	case forged, expired, future:
		p.add(v)
	case replayed: // an honest ride, and the same bytes again at the same reader
		p.add(ride)
		v.at, v.again = start.Add(8*time.Second), true
		p.add(v)
	case forwarded: // the same bytes at the next vehicle, inside the window
		p.add(ride)
		v.at, v.place, v.again = start.Add(8*time.Second), other, true
		if t.number%2 == 0 { // to another operator, where only the issuer can see it
			v.place, v.stop = p.first(bayMinibus)+1+r.IntN(bayVehicles-1), baySections[0].name
		}
		p.add(v)
	case cloned: // key and counter are copied after the first ride; both go on
		p.add(ride)
		for i := range 2 {
			later := ride
			later.at, later.trip, later.place = start.Add(time.Duration(i+1)*40*time.Minute), i+2, reader
			p.add(later)
			copied := v
			copied.at, copied.trip, copied.place = later.at.Add(5*time.Minute), i+2, other
			p.add(copied)
		}
	case overCap:
		v.place, v.entered = p.first(harbourTaxi)+r.IntN(taxis), overCapFare
		p.add(v)
	case denied: // reported lost at noon; the thief tries in the evening
		p.add(ride)
		v.at, v.trip = at(day, r, 18*time.Hour, 20*time.Hour), 2
		p.add(v)
	}
}
