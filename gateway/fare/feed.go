package fare

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// A Feed prices rides by the fares v2 of a GTFS feed (package gtfs says how the
// reference is read). Stops and routes of taps are those of the feed by their ids;
// Stops and Routes name those that have another id there, a stop or an area, a route
// or a network. So do Riders for categories. A medium is the fare medium that Media
// says, and none where it says nothing.
//
// A feed prices itineraries; taps have none. Rides of one rider, in one category and
// on one medium, that this rule prices and of which each begins at most Pause minutes
// after the one before ended are one journey of the feed, up to 30 rides. A ride costs
// what it adds to the most that the journey cost so far, so nobody is given money
// back, and what became cheaper in between is set off against the rides after it.
// Pause is given if and only if the feed has rules for transfers or joined legs.
//
// A single tap, or one without a stop, is priced where the feed asks the same
// wherever the ride ended or began. Its time counts for both ends. Readers are told
// such prices too ([Tariff.AtEntry]), but of feeds with timeframes.
type Feed struct {
	Files  map[string]string   `json:"files"` // the texts of the feed's files by name, "fare_leg_rules.txt"
	Pause  int64               `json:"pause_min,omitempty"`
	Stops  map[string]string   `json:"stops,omitempty"`
	Routes map[string]string   `json:"routes,omitempty"`
	Riders map[Category]string `json:"riders,omitempty"`
	Media  map[string]string   `json:"media,omitempty"`

	feed   *gtfs.Feed
	places []string // of the feed, one of each kind
}

// The operations of a rule with a feed.
const (
	OpFeed        Op = "feed"         // the ride by itself: Product, Row of fare_leg_rules
	OpFeedJourney Op = "feed_journey" // the journey of Factor rides so far; Row of fare_transfer_rules
	OpFeedAdds    Op = "feed_adds"    // what the ride adds to it
)

// NotInFeed says that the feed has no fare for the ride; the step's Note says why.
const NotInFeed Reason = "no_fare_in_feed"

const (
	maxFeedBytes = 4 << 20
	maxFeedRides = 30
)

// check reads the feed and what ties it to the operator's own names.
func (r *Feed) check(currency citygate.Currency) error {
	size := 0
	for name, text := range r.Files {
		if size += len(text); !gtfs.Reads(name) || strings.Contains(text, "\x00") {
			return fmt.Errorf("feed: %s is no file of fares or of what they refer to, or not text; leave it out", name)
		}
	}
	if size > maxFeedBytes {
		return fmt.Errorf("feed: %d bytes, at most %d are possible; leave out the columns and rows that fares do not refer to", size, maxFeedBytes)
	}
	feed, err := gtfs.ReadFiles(r.Files)
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	r.feed = feed
	if err := feed.Priceable(); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	for _, c := range feed.Currencies() {
		if c != string(currency) {
			return fmt.Errorf("feed: fare_products.txt has prices in %s, the tariff is in %s; leave the products out that the tariff cannot charge", c, currency)
		}
	}
	switch {
	case feed.Combines() && (r.Pause < 1 || r.Pause > 24*60):
		return errors.New("feed: it has rules for transfers or joined legs: pause_min is required, 1 to 1440, the longest pause between two rides of one journey")
	case !feed.Combines() && r.Pause != 0:
		return errors.New("feed: it has no rules for transfers or joined legs: leave pause_min out")
	}
	r.places = feed.Places()
	return r.checkNames()
}

// Fares gives the feed as it is priced by. The tariff must be compiled.
func (r *Feed) Fares() *gtfs.Feed { return r.feed }

// checkNames checks that what stops, routes, riders and media name is in the feed.
func (r *Feed) checkNames() error {
	for _, ours := range slices.Sorted(maps.Keys(r.Stops)) {
		if !r.feed.HasPlace(r.Stops[ours]) {
			return fmt.Errorf("feed: stops: %q is to be %q, which is neither a stop nor an area of the feed", ours, r.Stops[ours])
		}
	}
	for _, ours := range slices.Sorted(maps.Keys(r.Routes)) {
		if id := r.Routes[ours]; !r.feed.HasRoute(id) && !r.feed.HasNetwork(id) {
			return fmt.Errorf("feed: routes: %q is to be %q, which is neither a route nor a network of the feed", ours, id)
		}
	}
	for _, ours := range slices.Sorted(maps.Keys(r.Riders)) {
		if id := r.Riders[ours]; id != "" && !slices.Contains(r.feed.Riders(), id) {
			return fmt.Errorf("feed: riders: %q is to be %q, which is no rider category of the feed", ours, id)
		}
	}
	for _, ours := range slices.Sorted(maps.Keys(r.Media)) {
		if !r.feed.HasMedia(r.Media[ours]) {
			return fmt.Errorf("feed: media: %q is to be %q, which is no fare medium of the feed", ours, r.Media[ours])
		}
	}
	return nil
}

// checkFeeds checks what a rule with a feed asks of the tariff around it.
func (t *Tariff) checkFeeds() error {
	named := slices.Collect(maps.Values(t.Categories.Products))
	named = slices.AppendSeq(named, maps.Keys(t.Categories.Proof))
	named = slices.AppendSeq(named, maps.Values(t.Categories.Proof))
	if t.Categories.Default != "" {
		named = append(named, t.Categories.Default)
	}
	slices.Sort(named)
	for i := range t.Rules {
		r := t.Rules[i].Feed
		if r == nil {
			continue
		}
		if r.feed.Combines() && len(t.Transfers) > 0 {
			return fmt.Errorf("transfers: the feed of rule %s has transfers or joined legs of its own", t.Rules[i].ID)
		}
		riders := r.feed.Riders()
		for _, c := range named {
			if _, tied := r.Riders[c]; !tied && len(riders) > 0 && !slices.Contains(riders, string(c)) {
				return fmt.Errorf("rule %s: feed: riders: the category %q is no rider category of the feed (%s); name the one it is", t.Rules[i].ID, c, strings.Join(riders, ", "))
			}
		}
	}
	return nil
}

// rider gives the feed's name of a category.
func (r *Feed) rider(c Category) string {
	if id, tied := r.Riders[c]; tied {
		return id
	}
	return string(c)
}

// place gives the feed's name of a stop of ours.
func (r *Feed) place(stop string) string {
	if id, tied := r.Stops[stop]; tied {
		return id
	}
	return stop
}

// leg gives a ride as the feed has it. A route that the feed does not have is
// unknown to it, unless it tells no routes and networks apart at all.
func (r *Feed) leg(ride *FeedRide, zone func(ms int64) *time.Location) gtfs.Ride {
	leg := gtfs.Ride{From: r.place(ride.From), To: r.place(ride.To), Dep: time.UnixMilli(ride.Dep), Arr: time.UnixMilli(ride.Arr)}
	leg.Dep, leg.Arr = leg.Dep.In(zone(ride.Dep)), leg.Arr.In(zone(ride.Arr))
	id, tied := r.Routes[ride.Route]
	if !tied {
		id = ride.Route
	}
	switch {
	case id == "" || !r.feed.HasRoutes():
	case r.feed.HasRoute(id):
		leg.Route = id
	default:
		leg.Network = id
	}
	return leg
}

// A FeedRide is a ride as a journey of a feed remembers it: stops and route are the
// operator's, times unix milliseconds.
type FeedRide struct {
	Route string `json:"route,omitempty"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Dep   int64  `json:"dep"`
	Arr   int64  `json:"arr"`
}

// A FeedJourney is the rides so far of a journey that a feed prices as one.
type FeedJourney struct {
	Rule     string     `json:"rule"`
	Category Category   `json:"category"`
	Medium   string     `json:"medium,omitempty"` // of the feed
	Rides    []FeedRide `json:"rides"`
}

func (j *FeedJourney) appendInputs(b []byte) []byte {
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, s := range [...]string{"feed", j.Rule, string(j.Category), j.Medium} {
		text(s)
	}
	b = binary.AppendVarint(b, int64(len(j.Rides)))
	for _, r := range j.Rides {
		for _, s := range [...]string{r.Route, r.From, r.To} {
			text(s)
		}
		b = binary.AppendVarint(binary.AppendVarint(b, r.Dep), r.Arr)
	}
	return b
}

// wallZone gives the time zone of the tenant's calendar at an instant: that of a feed
// that names none.
func (p *pricing) wallZone(ms int64) *time.Location {
	c := p.calendar.business(nil)
	return c.On(c.BusinessDate(time.UnixMilli(ms))).Location
}

// feedRide gives this ride as the feed prices it.
func (p *pricing) feedRide() FeedRide {
	on := &p.Journey.Taps[0]
	ride := FeedRide{Route: on.Route, From: on.Stop, Dep: on.At, Arr: on.At}
	if off, ended := p.Journey.Off(); ended {
		ride.To, ride.Arr = off.Stop, off.At
	}
	return ride
}

// feedPrice prices rides as one journey of the feed.
func (p *pricing) feedPrice(r *Feed, rides []FeedRide) *gtfs.Price {
	j := gtfs.Journey{Rider: r.rider(p.Category), Media: r.Media[p.Medium], Legs: make([]gtfs.Ride, len(rides))}
	for i := range rides {
		j.Legs[i] = r.leg(&rides[i], p.wallZone)
	}
	price, err := r.feed.Price(&j)
	if err != nil { // compile refuses feeds that cannot be priced
		return &gtfs.Price{Explanation: []gtfs.Step{{Op: "unknown", Text: err.Error()}}}
	}
	return price
}

// feed prices the ride by a feed: by itself, or by what it adds to the journey that
// it continues.
func (p *pricing) feed(r *Feed) (exact, Reason) {
	ride := p.feedRide()
	own := p.feedPrice(r, []FeedRide{ride})
	s := Step{Op: OpFeed, From: ride.From, To: ride.To}
	for _, e := range own.Explanation {
		switch e.Op {
		case "product":
			s.Product = e.Product
		case "unknown":
			s.Note = e.Text
		}
	}
	for _, e := range own.Explanation {
		if e.Op == "match" && e.Product == s.Product && s.Row == 0 {
			s.Row = e.Row
		}
	}
	if own.Total != nil {
		s.Minor = own.Total.Minor
	}
	p.step(s)
	if earlier := p.feedBefore(&ride); earlier != nil {
		if adds, ok := p.feedAdds(r, append(slices.Clone(earlier.Rides), ride)); ok {
			p.continued = true
			return adds, ""
		}
	}
	if own.Total == nil {
		return exact{}, NotInFeed
	}
	return minor(own.Total.Minor), ""
}

// feedBefore gives the journey of the feed that the ride continues, or nil.
func (p *pricing) feedBefore(ride *FeedRide) *FeedJourney {
	if p.fold == nil || p.fold.state.Feed == nil || p.Journey.State != journey.Complete {
		return nil
	}
	j, r := p.fold.state.Feed, p.rule.Feed
	last, pause := j.Rides[len(j.Rides)-1], r.Pause*time.Minute.Milliseconds()
	if j.Rule != p.rule.ID || j.Category != p.own || j.Medium != r.Media[p.Medium] || len(j.Rides) >= maxFeedRides || ride.Dep-last.Arr > pause {
		return nil
	}
	return j
}

// feedAdds gives what the last of rides adds to the most that the journey cost
// before it; false where the feed cannot say what it cost or costs.
func (p *pricing) feedAdds(r *Feed, rides []FeedRide) (exact, bool) {
	most := int64(0)
	for n := 1; n < len(rides); n++ {
		before := p.feedPrice(r, rides[:n])
		if before.Total == nil {
			return exact{}, false // by another version, that the journey began in
		}
		most = max(most, before.Total.Minor)
	}
	whole := p.feedPrice(r, rides)
	if whole.Total == nil {
		return exact{}, false
	}
	s := Step{Op: OpFeedJourney, From: rides[0].From, To: rides[len(rides)-1].To, Factor: int64(len(rides)), Minor: whole.Total.Minor}
	for _, e := range whole.Explanation {
		if (e.Op == "transfer" || e.Op == "separate") && e.Leg == whole.EffectiveLegs {
			s.Row, s.Product, s.Note = e.Row, e.Product, e.Text
		}
	}
	p.step(s)
	adds := max(whole.Total.Minor-most, 0)
	p.step(Step{Op: OpFeedAdds, Minor: adds})
	return minor(adds), true
}

// remember makes this ride the last of a journey of its feed.
func (j *FeedJourney) remember(p *pricing) *FeedJourney {
	if p.rule.Feed == nil || p.rule.Feed.Pause == 0 {
		return nil
	}
	next := &FeedJourney{Rule: p.rule.ID, Category: p.own, Medium: p.rule.Feed.Media[p.Medium]}
	if p.continued {
		next.Rides = slices.Clone(j.Rides)
	}
	next.Rides = append(next.Rides, p.feedRide())
	return next
}

// feedExtreme gives the price that wins by better among all rides from a stop
// (outward) or to it, at the time of the tap that is known.
func (p *pricing) feedExtreme(r *Feed, stop string, outward bool, better func(candidate, best exact) bool) (exact, Reason) {
	known := p.feedRide()
	known.From, known.To, known.Arr = stop, "", known.Dep
	found, best := false, exact{}
	for _, place := range r.places {
		leg := r.leg(&known, p.wallZone)
		if leg.To = place; !outward {
			leg.From, leg.To = place, leg.From
		}
		price, err := r.feed.Price(&gtfs.Journey{Rider: r.rider(p.Category), Media: r.Media[p.Medium], Legs: []gtfs.Ride{leg}})
		if err != nil || price.Total == nil {
			continue
		}
		if candidate := minor(price.Total.Minor); !found || better(candidate, best) {
			found, best = true, candidate
		}
	}
	if !found {
		return exact{}, NotInFeed
	}
	return best, ""
}
