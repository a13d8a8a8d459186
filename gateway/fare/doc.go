// Package fare prices journeys by tariffs. It is pure: one tariff, journey and
// category always give the same [Decision], bit for bit, with every step that
// led to the amount in its [Explanation] and the SHA-256 of everything it
// depended on in InputsHash.
//
// A [Tariff] is an immutable version. Its rules are tried in order and the first
// that serves the journey's route, operator, medium and time prices it:
//
//	flat      one amount per rider category
//	sections  by the section the rider boards in
//	table     origin and destination, per category; a formula cannot replace it
//	zones     sets of zones, concentric rings, or the number of zones passed
//	distance  bands over the shortest path of a network, not over the path ridden
//	time      the minutes between the first and the last tap
//	entered   the amount the driver entered, inside limits
//	feed      the fares v2 of a GTFS feed, its join and transfer rules too ([Feed])
//
// What comes between that nominal price and what is paid are lines
// ([Adjustment]), each with who bears it, in this order: the difference a funded
// category saves, surcharges and discounts of the ride, the minimum, the best
// transfer, the cumulative discount, the n-th ride, the rounding, a zero fare or
// pass, the best cap, a ticket, stored value, and what was given back.
//
// Transfers, cumulative discounts, n-th rides, caps and products depend on the
// payer's other rides. A [Folder] prices those together: a fold over them in the
// order of event time, never of arrival. Its [State] is kept with every decision,
// so that a late ride makes it begin again just before that ride.
//
// What is promised:
//
//   - An unknown fare is never 0. Whatever the tariff does not say outright (no
//     rule, no amount for the category, an unknown stop, an empty cell) gives a
//     decision with Known false and a [Reason], to be set aside for a person. A
//     fare of 0 exists only where the tariff states 0.
//   - A same-station row of a table is not a price: a table must leave its
//     diagonal empty, and a journey that ends where it began, or at a station
//     the tariff calls linked to it, goes by the tariff's same_stop rule.
//   - An incomplete journey goes by the tariff's incomplete rule: a fixed amount,
//     the highest fare from the stop that is known, or the highest of the rule.
//   - There is one rounding step: the price for one person is rounded to the
//     tariff's step once, and then multiplied by the party. An entered amount is
//     a meter reading for the vehicle: it is neither rounded nor multiplied
//     unless the rule says per_person.
//   - The first tap decides: its event time chooses the tariff version for the
//     whole journey (a change at midnight inside an open journey does not touch
//     it), the periods of caps, the peak, and whether a proof of category still
//     holds. A cap of the same id goes on in its period across versions, with the
//     limit of the version that prices the ride.
//   - A cap is an amount. At most one is applied to a ride, the one that takes
//     most; all that were possible are listed, and all count what was paid. So no
//     period ever holds more than its cap.
//   - A ride given back whole ([Trip.Void]) counts for nothing, and those after it
//     are priced again; money given back on top ([Trip.Goodwill]) changes no
//     other ride.
//   - Transfers, caps and products are the holder's. Companions on the same code
//     pay what one such ride costs by itself. How many ride says the code, which its
//     holder signed, or the operator, who can count more at the reader and never
//     fewer; an explanation tells the two apart.
//   - Media are the words of policies/accept.MediumOf: phone, band, server (codes
//     made ahead) or other by what a CT1 code says, else the code's scheme. A medium
//     that nobody knows matches no list of media.
//
// Start with [ParseTariff], [Tariff.Price] and [Folder.Fold].
package fare
