// Package entitlement knows the products riders hold and what of them a ride
// uses up. It is pure: the same holdings and rides in event order always leave
// the same rest, so a late tap that comes between two others moves a used ticket
// to the right ride when the rides are gone through again.
//
// A [Product] is what can be bought, a [Holding] one that a rider has:
//
//	zero_fare     staff, an event: rides cost nothing, and a funder may pay for them
//	pass          any number of rides in its period
//	ticket        a number of rides
//	stored_value  money paid beforehand
//
// What is used, and in which order:
//
//   - A zero fare, then a pass, covers the whole fare, and the fare counts toward
//     no cap: it was not paid with money.
//   - A ticket is used only where something is left to pay after transfers and
//     caps: a ride that is free anyway uses up none.
//   - Stored value pays what is left before anything is charged, as far as it
//     goes. It is the rider's money, so the fare counts toward caps.
//   - Among holdings of one kind the one that ends first is used, then the one
//     with the smaller id.
//
// A holding that begins with its first use ends that long after the first tap of
// the first ride it covered. A ride belongs to a holding by the event time of its
// first tap alone: one begun before the end is covered to its last tap.
//
// Only the holder rides on a holding; companions on the same code pay.
package entitlement
