// Package ledger keeps a tenant's books by double entry.
//
// A [Transfer] is one row: it moves a positive amount of one currency from one
// account to another (it debits the first and credits the second), so that the
// books balance by construction. Transfers are never changed or removed; the
// application role has no right to. A mistake is corrected by a further
// transfer the other way round.
//
// A transfer's id is made from what caused it: tenant, event, code and leg
// ([NewTransfer]). Posting the same event again finds the same ids and changes
// nothing, whoever died in between. The pure function that turns an event (a
// fare decision, a charge outcome, a payout) into transfers is used twice: to
// post, and by a [Source] to derive again what should be in the books.
//
// [Post] joins the caller's transaction, so that the event and its transfers
// are stored together or not at all. It inserts the transfers, nets those that
// are new per account and then moves the balances, accounts in ascending
// order, once per transaction: hot accounts (a payee, the receivable from an
// issuer) cost one row update per batch and not one per fare. Call Post once in
// a transaction and late: from there to the commit other writers of the same
// accounts wait.
//
// The balances table only saves adding up. [Check] derives every transfer
// again from the sources, compares row by row both ways, adds up the balances,
// and proves that what two tenants say about each other is equal and opposite.
// [CheckClearing] proves that clearing accounts are zero but for amounts that
// an open exception explains. Both read each tenant in its own transaction and
// see each statement's own moment: run them when the outbox is empty and jobs
// are idle.
//
// The package knows nothing of fares, providers or calendars. Amounts of two
// currencies never meet in one transfer.
package ledger
