// Package gtfs reads, checks, prices and writes fares in the form of GTFS Fares
// v2: the fare files of the GTFS Schedule reference (google/transit,
// gtfs/spec/en/reference.md). It is pure: a [Feed] and a [Journey] always give
// the same [Price], with every step in its explanation.
//
//	feed, err := gtfs.Read(os.DirFS(dir)) // or a zip.Reader
//	price, err := feed.Price(journey)
//
// [Read] accepts whatever is a set of tables and says what is wrong with it in
// [Feed.Findings], each with file, row and column (row 1 is the header). A
// finding is a note (nothing depends on it), a breach of the reference that has
// no say in a price, or a refusal: [Feed.Price] then gives [ErrRefused] and no
// number. Only the files of fares and those they refer to are read; stops,
// trips and routes may be absent, a journey can name areas and networks itself.
//
// # Decisions
//
// The reference leaves these open; for charging real money they are settled so.
//
//   - An unknown fare is never 0: no matching rule, no product for the rider
//     and media, mixed currencies, a place or network the feed does not define,
//     a negative total, all give a price without a total. Every effective leg
//     must have a fare of its own, also where a transfer replaces it.
//   - A column of a fare file that the reference does not have, or a fare file
//     it does not have, changes prices in a way we cannot know. The feed is
//     reported and not priced.
//   - "If the rule_priority field exists" means that the column exists, even if
//     every cell is empty. Then an empty network or area is no constraint and
//     the highest priority wins (empty is 0). Without the column an empty cell
//     means every value that the same column lists nowhere: a stop in a listed
//     area is not matched by it, a stop in no area is.
//   - An effective leg whose rides have different networks, like a ride of no
//     network, matches only rows with an empty network_id, listed or not.
//   - A journey that names no rider travels in the default category; one that
//     names no media uses none, which is an empty fare_media_id or a medium of
//     type 0. Nothing is chosen because it is cheaper across products: the first
//     matched rule in the order of the file that has a product for this rider
//     and medium prices the leg and gives its leg group; of that product's
//     eligible rows the cheapest counts.
//   - A timeframe holds by the local calendar date of the tap, not by the
//     service day of a trip; start inclusive, end exclusive. The time zone is the
//     stop's, else its station's, else the agency's; a feed that names none is
//     read in the offset of the journey's own times. A rule that depends on a
//     timeframe or service that is not defined makes the leg's fare unknown if
//     the rest of the rule matches.
//   - duration_limit is inclusive: elapsed <= limit. For a run of transfers by
//     rules with equal from and to the measure starts at the first leg of the
//     run, and transfer_count counts the transfers of the run.
//   - Several transfer rules: those whose product this rider and medium can
//     have, then the smallest transfer_count that is enough, then the shortest
//     duration limit, then the order of the file. If none matches, the legs are
//     separate and the next leg opens a sub-journey of its own.
//   - transfer_count where it is forbidden is a breach and ignored; its absence
//     where it is required is a refusal.
//   - networks.txt beside routes.network_id is a breach; both are read, and a
//     route that they put into two networks is refused.
//   - A stop has the areas of its own rows in stop_areas; only a stop without
//     any has those of its station. A place in a journey is a stop if the feed
//     knows a stop of that id, else an area; an area is no station and joins
//     nothing. What is neither makes the fare unknown; in a feed without
//     stops.txt it is a stop of no area.
//   - A ride that does not say where it begins or ends (an empty From or To: one
//     tap on a bus) has a fare if the feed asks the same, in the same leg group,
//     from or to wherever it has a fare; such an end joins nothing.
//   - GTFS speaks of scheduled times. The times of a [Journey] are those of the
//     taps, because that is what is charged.
//   - Distances (fare_distance_units_traveled), fare_capping, area sets and
//     duration limits of join rules are proposals, not the reference: refused.
package gtfs
