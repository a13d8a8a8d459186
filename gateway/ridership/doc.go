// Package ridership says how many people ride, without saying who.
//
// [Publish] makes the report of a period of business dates, of four tables:
//
//	station_activities  entries and exits by stop and hour, in the form of TIDES
//	boardings           the same with all totals
//	od                  rides from stop to stop, of those whose both ends are known
//	transfers           from one line (or stop) to the next within [TransferWithin]
//
// [Transactions] writes fare_transactions of TIDES, one row per tap, for the tenant's
// own analysts. What is written is held against the schemas in tides/ before it is
// given out.
//
// # The other tables of TIDES
//
// passenger_events and stop_visits are about vehicles at stops: both require
// trip_stop_sequence, the place of the stop among all the stops that a performed
// trip made, from 1 without gaps, and stop_visits requires the trip. A tap knows its
// stop, its route and its vehicle. It does not know the trip, and of the stops of a
// trip only those show at which somebody tapped; whoever numbered these would write
// down trips that skip stops at which nobody boarded. So neither is made, nor
// vehicle_locations, trips_performed and the like. They come from a vehicle location
// system, and fare_transactions joins them by vehicle_id and event_timestamp. Of
// fare_transactions what a tap lacks is left out: trips, patterns, the fare product
// and the category of the rider, who has a right to keep it from analysts.
//
// # Privacy of counts
//
// A count that fewer than [MinCell] riders are behind is suppressed, totals
// included; a count of nobody is 0 and is not listed. From the counts that are left
// nobody can find a suppressed one, nor bounds of it that are less than [MinCell]
// apart, by any sums: those of a table, those across tables (boardings less the
// rides that start there, transfers against boardings), and those of days and hours.
// How, is said at network; attack_test.go plays the attacker.
//
// Across reports: a business date is in one report, for ever. The report is stored as
// it was published, so that asking again, or after a late upload, gives the same
// bytes; a period that overlaps a published one is refused; and there is no filter. So
// no two reports count one tap, and there is nothing to subtract. Choose the length
// of the periods by the traffic: days for a metro, weeks or months for a small
// bus company, of whose days little would be left; and publish when late uploads are
// in.
//
// What is not held: an attacker who knows rides from elsewhere knows these; and that
// somebody rode at all, if rides of a place are all of one group.
//
// # Privacy of transactions
//
// A rider appears in fare_transactions as a pseudonym: HMAC-SHA-256 of the code's
// list and index and of the week of the business date, under a key drawn for the one
// export. The key is never stored and is gone when the export ends, and nobody can be
// asked for it. Exports, tenants and weeks cannot be joined by it; not weeks of one
// export either, so that a date which two exports share does not lead from the one to
// all of the other ([Period]). Rows of single taps are still data about people
// (co-travellers recognise each other, and regular trips themselves): they are for
// the tenant, who has the taps, and a permission of their own, not for publication.
package ridership
