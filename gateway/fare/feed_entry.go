package fare

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
)

// maxFeedLooks bounds the prices that a feed is asked for to tell readers.
const maxFeedLooks = 1 << 16

// atEntry gives rules of flat prices and sections that say of a rule with a feed what
// single taps cost that do not say where the ride ends, and no more than the feed
// itself says of them: what is not in the rules is unknown by the feed, or not told
// apart here. Nothing is told of a feed whose prices go by timeframes, as readers have
// the tenant's calendar and not the feed's, or that has very many places and routes.
// Their ids begin with what no id that is taken begins with.
func (r *Rule) atEntry(categories []Category, taken func(prefix string) bool) (out []Rule) {
	f := r.Feed
	routes, stops, media := f.entryRoutes(r.Routes), f.entryStops(), f.entryMedia(r.Media)
	if f.feed.Timed() || max(len(routes), 1)*len(stops)*len(media)*len(categories)*len(f.places) > maxFeedLooks {
		return nil
	}
	prefix := r.ID + "/"
	for taken(prefix) {
		prefix += "/"
	}
	add := func(rule Rule, prices entryPlaces) {
		if len(prices) == 0 {
			return
		}
		rule.ID = prefix + strconv.Itoa(len(out)+1)
		rule.Operators, rule.When = r.Operators, r.When
		prices.into(&rule)
		out = append(out, rule)
	}
	if !f.feed.HasRoutes() {
		for _, m := range media {
			add(Rule{Routes: r.Routes, Media: m.ours}, f.entryPlaces("", m.theirs, stops, categories))
		}
		return out
	}
	for _, m := range media {
		alike := map[string][]string{} // routes by what they cost
		said := map[string]entryPlaces{}
		for _, route := range routes {
			prices := f.entryPlaces(route, m.theirs, stops, categories)
			key := fmt.Sprint(prices)
			alike[key], said[key] = append(alike[key], route), prices
		}
		for _, key := range slices.SortedFunc(maps.Keys(alike), func(a, b string) int { return strings.Compare(alike[a][0], alike[b][0]) }) {
			add(Rule{Routes: alike[key], Media: m.ours}, said[key])
		}
	}
	return out
}

// entryRoutes gives every route of taps that the feed can price, of those that the
// rule serves; "" for taps that say none.
func (r *Feed) entryRoutes(served []string) []string {
	if !r.feed.HasRoutes() {
		return nil
	}
	routes := append(slices.Collect(maps.Keys(r.Routes)), r.feed.Routes()...)
	routes = append(append(routes, r.feed.Networks()...), "")
	slices.Sort(routes)
	return slices.DeleteFunc(slices.Compact(routes), func(route string) bool {
		return len(served) > 0 && !slices.Contains(served, route)
	})
}

// nowhere is a stop that no feed has: ids are text without it.
const nowhere = "\x00"

// entryStops gives every stop of taps that the feed knows, "" for a tap that says
// none, and, where the feed prices what it does not know, a stop that it does not.
func (r *Feed) entryStops() []string {
	stops := append(slices.Collect(maps.Keys(r.Stops)), r.feed.PlaceIDs()...)
	if stops = append(stops, ""); !r.feed.HasStops() {
		stops = append(stops, nowhere)
	}
	slices.Sort(stops)
	return slices.Compact(stops)
}

// A mediumClass is media of codes that are one fare medium; nil: all others.
type mediumClass struct {
	ours   []string
	theirs string
}

func (r *Feed) entryMedia(served []string) (out []mediumClass) {
	by := map[string][]string{}
	for ours, theirs := range r.Media {
		if len(served) == 0 || slices.Contains(served, ours) {
			by[theirs] = append(by[theirs], ours)
		}
	}
	for _, theirs := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[theirs])
		out = append(out, mediumClass{by[theirs], theirs})
	}
	var rest []string
	for _, ours := range served {
		if _, tied := r.Media[ours]; !tied {
			rest = append(rest, ours)
		}
	}
	if len(served) == 0 || len(rest) > 0 {
		out = append(out, mediumClass{rest, ""})
	}
	return out
}

// entryPlaces are what single taps cost by the stop that they say.
type entryPlaces map[string]Amounts

func (r *Feed) entryPlaces(route, medium string, stops []string, categories []Category) entryPlaces {
	out := entryPlaces{}
	seen := map[string]Amounts{} // stops of the same areas cost the same
	for _, stop := range stops {
		alike := strings.Join(r.feed.Areas(r.place(stop)), "\x00")
		if stop == "" {
			alike = nowhere
		}
		amounts, known := seen[alike]
		if !known {
			amounts = r.entryAmounts(route, medium, stop, categories)
			seen[alike] = amounts
		}
		if len(amounts) > 0 {
			out[stop] = amounts
		}
	}
	if unknown, priced := out[nowhere]; priced && !slices.ContainsFunc(stops, func(stop string) bool { return !maps.Equal(out[stop], unknown) }) {
		return entryPlaces{nowhere: unknown}
	}
	delete(out, nowhere)
	return out
}

func (r *Feed) entryAmounts(route, medium, stop string, categories []Category) Amounts {
	out := Amounts{}
	for _, c := range categories {
		leg := r.leg(&FeedRide{Route: route, From: stop}, func(int64) *time.Location { return time.UTC })
		price, err := r.feed.Price(&gtfs.Journey{Rider: r.rider(c), Media: medium, Legs: []gtfs.Ride{leg}})
		if err == nil && price.Total != nil {
			out[c] = price.Total.Minor
		}
	}
	return out
}

// into says the prices by a rule: one everywhere, or sections that are called as the
// first stop in them.
func (e entryPlaces) into(rule *Rule) {
	if everywhere, ok := e[nowhere]; ok {
		rule.Flat = everywhere
		return
	}
	rule.Sections = &Sections{Stops: map[string]string{}, Amounts: map[string]Amounts{}}
	section := map[string]string{}
	stops := slices.Sorted(maps.Keys(e))
	if stops[0] == "" { // a name is better
		stops = append(stops[1:], "")
	}
	for _, stop := range stops {
		key := fmt.Sprint(e[stop])
		name, known := section[key]
		if !known {
			name = stop
			section[key], rule.Sections.Amounts[name] = name, e[stop]
		}
		if name != stop {
			rule.Sections.Stops[stop] = name
		}
	}
}
