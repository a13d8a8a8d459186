// Package roaming keeps the terms on which one tenant's riders are taken by the
// readers of another: tenant A, the issuer, and tenant B, the host.
//
// Between tenants of one tree there are none: an authority and its operators, and
// operators of the same authority, take each other's riders by their acceptance
// rules alone; the tree is the agreement. Across trees nothing is taken without
// terms that hold at the event time of the tap.
//
// # Versions
//
// [Propose] puts down the next version of the terms between two tenants, [Agree]
// is the other one's word. Nothing of a version changes after that. It holds from
// a whole minute on, never from before it was agreed; of the versions that hold
// from a time not later than a tap the highest decides on it. [End] is either's
// word: after the notice of the terms nothing agreed between the two holds any
// more, until something is agreed again. What is only proposed ends at once.
//
// The rows lie in the schema of the platform, as two tenants share them;
// row-level security shows them to the two alone. A transaction is one of them,
// and its audit log has what it did, with the names of both who agreed.
//
// # Where terms are held to
//
//   - The host's trust bundle carries the issuer's keys, and its acceptance rules
//     the terms as rows of the decision table ([accept.Stay]), so that readers decide
//     offline. In the hour that a change to winter time repeats, their minutes can be
//     an hour off where the host's rules ask for local times; the gateway is exact.
//   - Intake decides again by the event time, whatever the reader did
//     ([Version.Judge]): unknown_issuer without terms, policy_refused for schemes and
//     products, over_limit above the highest fare, too_late after the upload days.
//   - The issuer believes no host: of each claim it decides the same again.
//
// The fare is the host's, by its tariff, and the money goes the way it goes within
// a tree: a pair of transfers with one interbook id. Both have one currency; terms
// between two currencies are [ErrCurrency], for there is no exchange here.
//
// # Liability
//
// [Terms.Uncollected] says who bears a fare that cannot be collected. The host:
// the issuer passes it back, as within a tree. The issuer: it is not passed back;
// [Terms.PayDays] after the decline the issuer pays it to the host, by a pair of
// transfers with the interbook id of the fare, and what the rider pays later is the
// issuer's.
// Upload days are the host's risk, and so is what an issuer refuses.
//
// # The highest sum of a day
//
// [Terms.DayCapMinor] bounds what one rider rides for at the host on one business
// date, "beyond" says who bears what goes further. A reader knows the taps that it
// took itself on its local day, and refuses the one that goes beyond with over_limit.
// The issuer knows all of them: it counts what it accepted of the host per account
// and business date, and
//
//   - host (or nothing said): refuses the claim of a journey that does not fit in, whole,
//     with over_limit. The rider is not charged for it. Who claims first has the room;
//     of claims in one message the earlier ride.
//   - rider: takes the claim, and the rider is charged. What is beyond is the host's if
//     he does not pay, also where the issuer bears the rest.
//   - issuer: takes the claim and answers for it as for what is below: the sum then is
//     one that readers hold to, no more.
//
// Not here: shares of the risk by the age of the deny list.
package roaming
