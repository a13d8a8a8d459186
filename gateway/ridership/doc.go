// Package ridership says how many people ride, without saying who.
//
// From the accepted taps of one tenant and a period of business dates it makes
//
//	fare_transactions   one row per tap in the form of TIDES, for the tenant's own analysts
//	station_activities  entries and exits by stop and hour, in the form of TIDES
//	boardings           boardings by stop and hour of the day
//	od                  rides from stop to stop, of those whose both ends are known
//	transfers           from one line (or stop) to the next within [TransferWithin]
//
// TIDES rows are checked against the schemas in tides/ before they are given out
// ([Validate]); passenger_events and stop_visits need performed trips with the
// sequence of their stops, which taps do not have, and are not made.
//
// # Privacy
//
// A rider appears in fare_transactions as a pseudonym: HMAC-SHA-256 of the code's
// list and index under a key drawn for the one export. The key is never stored
// and is gone when the export ends, so no two exports, periods or tenants can be
// joined by it, and nobody can be asked for it. Rows of single taps are still
// data about people (co-travellers recognise each other): they are for the
// tenant, not for publication.
//
// The tables of counts are for publication. A cell with fewer than [MinCell]
// riders is suppressed, totals included, and further cells with it until no
// suppressed cell follows from what is left: [Table.Protect] has the argument.
// A count of nobody is 0 and is shown. What is held is that no cell follows from
// its own table; tables of overlapping periods, published together, are not held
// against each other. Choose periods that do not overlap.
package ridership
