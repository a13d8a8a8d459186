// Package exchange turns fares v2 of GTFS feeds into tariffs and tariffs into feeds.
// It is pure. [Import] makes a tariff whose one rule holds the feed (fare.Feed), which
// prices as the feed does; [Export] says a tariff as a feed.
package exchange
