// Package agreement keeps the agreements on which a tenant's riders are debited without
// being there: what was asked for, what the provider said of each last, and what a charge
// may rest on.
//
// An agreement is the provider's: the rider confirms and ends it there, and nobody tells
// the tenant for certain. A row here is what is known. Only ended is final; everything
// else is what was said last, and may be asked again. A row is written before the first
// byte leaves: an invitation, or the wish to end, whose reply is lost leaves a row that is
// asked after by schedule ([Book.RunDue]) until the provider says how it stands.
//
// An agreement that the tenant gives up before the provider knows it is not over: for
// thirty days after he was invited last its rider may still confirm it. So long it is being
// ended, and it is ended there as soon as he has; a notice that he has counts later too.
//
// A notice ends an agreement that is known by its number, at once. Any other notice only
// has the provider asked: notices come late, twice and in any order, and one that names an
// agreement of somebody else must link nobody's account. An account is linked, so that it
// is collected by the agreement, on the provider's answer to a question of ours alone.
//
// # Before a charge
//
// [Judge] is the rule. The products known today say what they do with a debit on an
// agreement that is over or too small (providers.md 1.11: they refuse it, for good), and
// nothing of one that has not begun, so:
//
//   - Ended: the charge is declined as agreement_ended and not sent.
//   - Over by its own date, or for less than the charge: the provider is asked, and if it
//     says nothing else the charge is declined as agreement_expired, agreement_limit.
//   - Not confirmed yet, suspended, or not begun: the charge waits as agreement_pending,
//     an hour at a time, for three days after it was made; then it is declined as that. The
//     price of a product, for which somebody waits, is declined at once.
//   - Active, heard of in the last [Fresh]: it is sent.
//   - Anything older, an agreement that is being ended, one that is not known here, or not
//     known to the provider: the provider is asked once, and the charge is sent unless
//     the answer stops it. An unanswered question stops no charge: the provider judges it.
//
// A charge that may have been sent before is sent as it was, whatever is known now: a
// refusal made up here would contradict what the provider may have done.
package agreement
