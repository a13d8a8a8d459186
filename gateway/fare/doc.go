// Package fare prices journeys by tariffs. It is pure: one tariff, journey and
// category always give the same [Decision], bit for bit, with every step that
// led to the amount in its [Explanation] and the SHA-256 of everything it
// depended on in InputsHash.
//
// A [Tariff] is an immutable version. Its rules are tried in order and the first
// that serves the journey's route prices it:
//
//	flat      one amount per rider category
//	sections  by the section the rider boards in
//	table     origin and destination, per category; a formula cannot replace it
//	distance  bands over the shortest path of a network, not over the path ridden
//	entered   the amount the driver entered, inside limits
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
//
// Caps, transfers and peaks are not part of this package. Start with
// [ParseTariff] and [Tariff.Price].
package fare
