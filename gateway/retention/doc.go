// Package retention erases what a tenant does not keep any more: taps, and what
// joins them to riders.
//
// Everything of taps whose event time is before a cut goes: the taps, their
// evidence and digests, the displays they used, verdicts and conflicts about
// them, the copies of them in messages between books that were delivered.
// Journeys keep their fare and payee and lose rider, account, taps and time of
// day; fare decisions keep amount, account and time, from which the books are
// derived, and lose their taps, the hash over them and the explanation; claims
// keep their account and lose the rider's list and index. Transfers, charges,
// refunds, payouts, bills and the audit log are not touched. So the books still
// say what each account paid and when, and no row that is left says where its
// rider was, by which credential, or which tap it was.
//
// The cut is never less than [tenants.KeepMin] ago, and since no tap is taken as
// money after [tenants.TapsWithin], and no claim after [tenants.ClaimsWithin], a
// tap that is sent again after it was erased is refused as too_late, not charged.
//
// Closed accounts lose what further providers call their payer once they have had no
// payment since the cut and owe nothing. Agreements that ended before the cut, or that nobody
// confirmed who was invited before it, lose account, rider and the provider's number, and
// cards in wallets that were given up before it their rider and account.
//
// Held back, until it is done: journeys that are open, or whose fare is in an
// account not yet collected, a charge or refund under way or named by an open
// reconciliation item, or an open debt; and their taps. What an operator is told
// of as uncollected holds the operator's rows too.
//
// What was taken elsewhere is not reached: exports, backups, copies of the
// database, and the files and logs of validators.
package retention

import "github.com/cashlesscity/citygate"

// The refusals of this package.
var (
	ErrTooEarly = &citygate.Code{Name: "retention.too_early", Kind: citygate.Conflict, Title: "The tenant keeps taps and rider detail for longer. Choose an earlier date."}
	ErrKeep     = &citygate.Code{Name: "retention.keep", Kind: citygate.Invalid, Title: "Taps and rider detail are kept from 120 to 3660 days. Correct the number of days."}
)
