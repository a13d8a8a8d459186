// Package pricing decides what taps cost and posts it: the tables around the
// pure packages journey and fare.
//
// A batch of recorded taps ([Engine.RunBatch]) and the clock
// ([Engine.RunDue]) both lead to the same step: build the journeys of the riders
// concerned from all their accepted taps, compare them with what is stored, and
// for every journey whose outcome differs add a decision n+1, post the
// difference to what was posted before, and tell the issuer the new absolute
// amount. So it does not matter in which order or how often taps arrive or jobs
// run: the totals follow from the taps alone.
//
// Who does what:
//
//   - A single tap is a journey of its own: its id follows from the tap, and it
//     needs no lock. Taps that pair are built under a lock on the rider's row of
//     pricing_riders, taken in (issuer, list, index) order, from all taps within
//     twice the longest journey around what changed.
//   - A journey keeps its id as long as it keeps a tap: when late taps change
//     the pairing, the stored journeys are matched with the built ones by the
//     taps they share, earliest first. A journey that lost all taps gets a
//     decision of 0.
//   - A rider of another tenant is claimed from that tenant through the outbox;
//     the fare is posted at once against interbook_receivable. The verdict comes
//     back as a message ([Engine.Verdicts]): refused taps are recorded, the
//     journey is built again without them, and the difference is posted. A
//     tenant's own rider is claimed in the same transaction ([Issuer]), before
//     anything is decided.
//   - Where a tariff has transfers, caps or other parts that depend on a rider's
//     other rides, from the beginning of its first such version on, the rides of
//     a rider are priced together by [fare.Folder], in event order and under the
//     lock on the rider's row. A journey's state (fare_states) lets the fold begin
//     after it, so a tap costs the rides that follow it and no others; each whose
//     fare or explanation differs gets a decision n+1. Other tenants' taps do not
//     pay for this: nothing of it is asked for them.
//   - Rights of riders ([Engine.GiveRight]) are products of the tariff and proofs of
//     category. They begin now or later, so no ride that is priced already changes;
//     what rides have used up of a holding is part of the fold's state.
//   - A fare given back by people ([Engine.GiveBack]) is a row that every later
//     decision of its journey goes by: void, as if the ride had not been, so that
//     those after it are priced again and leave no less under their caps; or
//     goodwill, which changes no other ride. The difference goes back to the
//     charge that collected the fare.
//   - What somebody beside the operator bears of a fare is posted by funder,
//     subsidy_receivable to subsidy_payable: it is no rider's money, so windows,
//     payouts and claims do not know it.
//   - An unknown fare is set aside: a decision with known false, a reason and
//     nothing posted ([SetAside] lists them).
//
// Tariff versions are immutable and chosen by the event time of a journey's
// first tap. [Publish] refuses a version that would begin in the past, so a
// journey built again later finds the version it was priced by.
//
// How taps become journeys is data of the tenant too: [PublishRules] adds a
// version of journey rules, chosen by the event time of a journey's first tap,
// [Engine.Record] a fact about a reader or a station, [Engine.Claim] what a rider
// says about a missing tap. Before the first version the acceptance policy alone
// decides and nothing is inferred. A fact, a claim or a late tap builds every
// journey again that it can change, also later ones whose inference rests on it;
// [Journey.Reading] says how a journey was read, and its decision how it was
// priced, never above what it would cost incomplete. When a fare moves from one
// journey of a rider to another, [CorrectionsOf] has the pair that sums to zero.
//
// # Integrated tariffs
//
// An authority may price the rides of its operators: one tariff, journeys over
// several operators, caps and transfers that hold for all of them. [Engine.ProposeMember]
// and [Engine.AgreeMember] make an operator a member, both having to want it; from an
// event time on its taps are handed over through the outbox (fare_handovers,
// fare_facts) and are in no journey of its own. The authority builds, prices and claims
// them like its own, with the operator's number in the upper bits of their sequence
// numbers.
//
// What riders pay goes to payable:*members and off it again to each operator by
// package share, pool by pool (fare_shares): nominal fares, largest remainders, and a
// difference posted, in pairs that sum to zero, when a late tap divides a pool anew.
// An operator's share is a fare decision in its book, claimed from the authority
// ([Engine.Shares]), so windows, receipts and payouts are as ever. What the issuer tells
// about a fare is passed on by the shares of its pool ([Engine.TakeAdvice]); when nothing
// of a pool is owed any more, no operator of it is owed anything. An issuer's refusal of
// a tap goes back to the reader's operator ([Engine.FactVerdicts]).
//
// A membership goes by the event time of the tap: a journey under way when one begins
// or ends lacks a tap on either side. Codes of other schemes stay with the operator.
// What others than riders bear (subsidies), and what was paid ahead with products,
// stays with the authority. Riders of another
// tree need roaming terms with the authority too.
//
// [Books] derives from the decisions every transfer that this package posted,
// by the function that made them.
package pricing
