// Package risk says what follows when money does not come, and when taps cannot
// be one person's. Its rules are pure: callers bring what they know and keep what it
// says. Beside them are the tables of terms and flags.
//
// # Terms
//
// A tenant publishes [Terms] by version: for each of its provider contracts the
// limits under which rides are gathered into one charge, how a declined charge is
// retried, whose loss it is, and what blocks and unblocks a rider; and for
// everybody to read, who bears records that come late or expired ([Terms.Bearer]).
// Schemes publish the form of these rules and keep the amounts in contracts
// (fares-and-money.md 1.9), so amounts are data here.
//
// # First-ride risk
//
// Some schemes insure the first decline: [Contract.Insures] tells whether a decline may
// be captured all the same. It may once for a token, only for the first decline
// since the last approval, and only up to the threshold.
//
// # Debts
//
// [Debt] is what is owed of one charge: open, tried again on other days, paid,
// corrected or written off.
// [Contract.Next] gives the next try, [Contract.Blocked] whether its rider is blocked. A bank
// reversal of a charge is a debt of that charge alone: it blocks like one, and no
// longer than until it is paid, or not at all where the terms say so
// ([ReversedOwed]). It is never tried again by schedule or by a tap.
//
// # Flags
//
// [Scan] reads the taps of riders for copies of a credential (two codes of one
// display with different bytes, or a counter that falls), for travel nobody can
// do, and for more taps in a short time than one person makes. A flag names its
// taps. It accuses nobody by itself: what it leads to is the tenant's rule.
// [Flagger] runs it over what terminals uploaded and keeps what it finds as rows
// until somebody closes them with a reason; by [Flagging.Block] a kind of flag puts
// riders of the tenant's own on the deny list until then. Travel is judged by the
// places of the journey rules in force; without any, nobody is too fast.
package risk
