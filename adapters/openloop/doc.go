// Package openloop is the reference adapter for contactless bank cards and for
// phones and wearables that carry one (their device's number stands for the card's).
// It is named a reference because it is one: the documents of the processors that
// do this for transport are not public, and nobody's wire protocol is claimed. The
// operations, their words and what they mean are those that card schemes and
// processors publish; the wire is a plain HTTPS interface with them, which a real
// processor's adapter replaces without changing anything above it. Its far side is
// openloopsim.
//
// What is signed: method, path, time and body, each on a line, by HMAC-SHA256 with
// the contract's key; an answer signs its status, the request's own signature, its
// time and its body, so that it answers this request and no other. A request names
// its order and its transaction, both ours: the same again is answered as before.
//
// A card is a token of the processor's, never a number: a text that is one is
// refused before it is sent anywhere. A token is of a device or of the card itself;
// both have one payment account reference. Recovery of a debt that the merchant
// starts is charged to the card itself, even if the rider tapped with a device.
//
// # How a day of rides is collected
//
// Submit is a deferred authorisation with capture of all rides that were gathered
// (PAY): it names when the first was and, where Rules.AggregateWithin is set, that
// it is an aggregate of rides no older than that. A decline that may be captured all the same
// says so; the same rides are then asked for once more, under another number, as
// Debit.FirstRide (FIRST_RIDE_RISK): the scheme pays, up to Rules.FirstRideMax.
//
// A debt is asked for again as Debit.Recovery says, naming the declined
// authorisation: by the merchant, by the rider, or by a tap of the blocked card with
// what its chip said then. That is no aggregate, however old its rides are, and its
// success takes the card off the deny list. How often and how long the merchant may
// ask on his own is Rules.RecoverTries and RecoverWithin: they are stated in
// Limits, the gateway holds to them before it sends, and the processor refuses more.
//
// The steps can be had one by one as well, as a driver.Authorizer, by programs that
// tap cards online: Verify moves nothing, Authorize holds, Capture takes what was held
// or, where Rules.OverCapture allows it, more. What is refused, lost or stolen is on
// the deny list, which is read whole.
//
// APPROVED and VERIFIED are a yes; DECLINED, LOST, STOLEN and INVALID a no; PENDING
// is open, and so are FAILED, UNAVAILABLE, UNKNOWN and every other word. VOID undoes
// what is not settled yet.
//
// The settlement file is separated by bars, in numeric currencies, and ends in a
// trailer with its sums; a row that comes again with a later time replaces the
// first.
//
// Assumptions: what schemes keep in contracts (thresholds of first-ride risk, how
// long rides may be gathered, over-capture) is configuration here, without a
// default.
package openloop
