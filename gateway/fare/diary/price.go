package diary

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/share"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// A Price is what a diary costs. Total is nil where a ride's fare is unknown: that is
// never 0.
type Price struct {
	Total    *int64            `json:"total_minor"`
	Currency citygate.Currency `json:"currency,omitempty"`
	Rides    []Ride            `json:"rides"`            // in the order of their first taps
	Shares   []Share           `json:"shares,omitempty"` // of all rides, by operator
}

// A Ride is one journey of the diary.
type Ride struct {
	Taps         []Touch          `json:"taps"`
	Repeats      []Touch          `json:"repeats,omitempty"` // touches that count as one with those
	BusinessDate string           `json:"business_date"`
	State        journey.State    `json:"state"`
	Missing      journey.Missing  `json:"missing,omitempty"`
	Doubt        journey.Doubt    `json:"doubt,omitempty"`
	Inferred     string           `json:"inferred,omitempty"` // the stop that was found for what is missing
	Total        *int64           `json:"total_minor"`        // nil = unknown, or still open
	Explanation  fare.Explanation `json:"explanation"`
	Shares       []Share          `json:"shares,omitempty"`
}

// A Touch is a tap as its journey has it.
type Touch struct {
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"`
	Stop     string    `json:"stop,omitempty"`
	Route    string    `json:"route,omitempty"`
	Operator string    `json:"operator,omitempty"`
}

// A Share is what an operator gets, in minor units.
type Share struct {
	Operator string `json:"operator"`
	Minor    int64  `json:"minor"`
}

// pricing is one run of Price.
type pricing struct {
	*Diary
	taps     []Tap // sequence numbers are 1 more than their places
	tariffs  func(at int64) *fare.Tariff
	calendar citygate.Calendar
	names    []string // of the operators, ascending: their numbers are 1 more than their places
	state    fare.State
	shared   share.State
	pools    map[citygate.UUID]share.State
	of       map[citygate.UUID]int // rides by journey
}

// Price prices the diary by the tariffs that hold at an instant (unix milliseconds), nil
// where none does.
func (d *Diary) Price(tariffs func(at int64) *fare.Tariff) (*Price, error) {
	calendar, err := d.calendar()
	if err != nil {
		return nil, ErrDiary.Explain("%v", err)
	}
	rules, err := d.rules()
	if err != nil {
		return nil, ErrDiary.Explain("%v", err)
	}
	holdings, err := d.holdings(tariffs)
	if err != nil {
		return nil, err
	}
	p := &pricing{Diary: d, taps: d.sorted(), tariffs: tariffs, calendar: calendar, pools: make(map[citygate.UUID]share.State), of: make(map[citygate.UUID]int)}
	folder := fare.Folder{Tariff: tariffs, Calendar: fare.Calendar{Calendar: calendar}, Holdings: holdings}
	built := p.journeys(rules)
	slices.SortFunc(built, func(a, b journey.Journey) int {
		x, y := fare.Trip{Journey: &a}, fare.Trip{Journey: &b}
		return x.Compare(&y)
	})
	p.name(built)
	out := &Price{Rides: make([]Ride, len(built))}
	total, known := int64(0), true
	for i := range built {
		decision := folder.Step(&p.state, p.trip(&built[i]))
		out.Rides[i] = p.ride(&built[i], &decision)
		if c := decision.Explanation.Currency; out.Currency != "" && c != "" && c != out.Currency {
			return nil, ErrDiary.Explain("tariffs: they are in %s and %s, and a rider is charged in one currency", out.Currency, c)
		}
		out.Currency = cmp.Or(out.Currency, decision.Explanation.Currency)
		if !decision.Known {
			known = false
			continue
		}
		total += decision.Amount.Minor
		if err := p.join(i, &built[i], &decision); err != nil {
			return nil, err
		}
	}
	if known {
		out.Total = &total
	}
	return out, p.divide(out)
}

// journeys builds the journeys of the taps.
func (p *pricing) journeys(rules *journey.Rules) []journey.Journey {
	taps := make([]journey.Tap, len(p.taps))
	rider := citygate.Rider{Issuer: 1, List: 1, Index: 1}
	for i := range p.taps {
		t := &p.taps[i]
		taps[i] = journey.Tap{ID: citygate.TapID{Terminal: 1, Seq: uint64(i) + 1}, Rider: rider, Kind: kinds[t.Kind], At: t.At.UnixMilli(), Stop: t.Stop, Route: t.Route,
			Party: max(t.Party, 1), Medium: cmp.Or(t.Medium, p.Medium), Product: p.Product}
		if t.Product != nil {
			taps[i].Product = *t.Product
		}
		if t.Amount != nil {
			taps[i].Entered = citygate.Money{Minor: *t.Amount, Currency: t.Currency}
			if tariff := p.tariffs(taps[i].At); t.Currency == "" && tariff != nil {
				taps[i].Entered.Currency = tariff.Currency
			}
		}
	}
	now := p.taps[len(p.taps)-1].At.Add(rules.MaxJourney + rules.UploadGrace + rules.Reach() + rules.Horizon())
	if p.Now != nil {
		now = *p.Now
	}
	return journey.BuildAll(taps, &journey.Input{Rules: func(int64) *journey.Rules { return rules }, Now: now.UnixMilli()})
}

// name gives numbers to the operators.
func (p *pricing) name(built []journey.Journey) {
	names := make(map[string]bool)
	for i := range built {
		for _, name := range p.operators(&built[i]) {
			names[name] = true
		}
		if t := p.tariffs(built[i].At()); t != nil && t.Sharing != nil {
			for _, path := range t.Sharing.Paths {
				for _, leg := range path.Legs {
					names[leg.Operator] = true
				}
			}
		}
	}
	p.names = slices.Sorted(maps.Keys(names))
}

// operator gives the operator of a tap, "" where nobody says which.
func (p *pricing) operator(t *journey.Tap) string {
	if t.ID.Seq > 0 && p.taps[t.ID.Seq-1].Operator != "" {
		return p.taps[t.ID.Seq-1].Operator
	}
	if tariff := p.tariffs(t.At); tariff != nil {
		return tariff.OperatorOf(t.Route)
	}
	return ""
}

// operators gives those of the taps of a journey.
func (p *pricing) operators(j *journey.Journey) (names []string) {
	for i := range j.Taps {
		if name := p.operator(&j.Taps[i]); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func (p *pricing) trip(j *journey.Journey) *fare.Trip {
	trip := fare.Trip{Journey: j, Category: p.Category, Medium: j.Taps[0].Medium, Operator: p.operator(&j.Taps[0])}
	if t := p.tariffs(j.At()); t != nil && trip.Category == "" {
		trip.Category, _ = t.CategoryOf(j.Taps[0].Product, p.proofs(), j.At())
	}
	return &trip
}

func (p *pricing) ride(j *journey.Journey, d *fare.Decision) Ride {
	r := Ride{Taps: p.touches(j.Taps), Repeats: p.touches(j.Repeats), BusinessDate: p.calendar.BusinessDate(time.UnixMilli(j.At())).String(),
		State: j.State, Missing: j.Missing, Doubt: j.Doubt, Explanation: d.Explanation}
	if j.Inferred != nil {
		r.Inferred = j.Inferred.Stop
	}
	if d.Known {
		r.Total = &d.Amount.Minor
	}
	return r
}

func (p *pricing) touches(taps []journey.Tap) (out []Touch) {
	for i := range taps {
		t := &taps[i]
		for name, kind := range kinds {
			if kind == t.Kind {
				out = append(out, Touch{At: p.taps[t.ID.Seq-1].At, Kind: name, Stop: t.Stop, Route: t.Route, Operator: p.operator(t)})
			}
		}
	}
	return out
}

// join takes a ride into the pool whose money is divided together. A ride of nobody is
// in none.
func (p *pricing) join(i int, j *journey.Journey, d *fare.Decision) error {
	terms := &share.Terms{}
	if t := p.tariffs(j.At()); t != nil && t.Sharing != nil {
		terms = t.Sharing
	}
	names := p.operators(j)
	from, to := "", ""
	if taps := j.AsPriced().Taps; len(taps) > 1 {
		from, to = taps[0].Stop, taps[len(taps)-1].Stop
	}
	if len(names) == 0 {
		return nil
	}
	named, err := terms.Parts(from, to, names)
	if err != nil {
		return ErrDiary.Explain("sharing: %v", err)
	}
	parts := make([]share.TenantPart, len(named))
	for k, part := range named { // they are ascending, and so are the numbers
		at, _ := slices.BinarySearch(p.names, part.Operator)
		parts[k] = share.TenantPart{Operator: citygate.TenantID(at + 1), Of: part.Of}
	}
	var id citygate.UUID
	binary.BigEndian.PutUint64(id[8:], uint64(i)+1)
	date := p.calendar.BusinessDate(time.UnixMilli(j.At()))
	ride := share.Ride{Journey: id, First: strconv.FormatInt(j.At(), 10), Paid: d.Amount.Minor, Nominal: d.Nominal, Parts: parts}
	if err := p.shared.Add(p.state.PoolKey(terms, j, id, date), date.String()[:len("2006-01")], ride); err != nil {
		return ErrDiary.Explain("sharing: %v", err)
	}
	p.of[id], p.pools[p.shared.Pool()] = i, p.shared
	return nil
}

// divide gives the operators their shares.
func (p *pricing) divide(out *Price) error {
	sums := make(map[string]int64)
	for _, pool := range p.pools {
		shares, err := pool.Shares()
		if err != nil {
			return ErrDiary.Explain("sharing: %v", err)
		}
		for _, s := range shares {
			name := p.names[s.Operator-1]
			ride := &out.Rides[p.of[s.Journey]]
			ride.Shares, sums[name] = append(ride.Shares, Share{name, s.Minor}), sums[name]+s.Minor
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		out.Shares = append(out.Shares, Share{name, sums[name]})
	}
	return nil
}
