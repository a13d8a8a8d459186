// Package adapters is what the gateway uses of a payment product: a [Provider]
// around one driver, the states a charge goes through, and the [Set] of
// products this build knows.
//
// Provider is the one wrapper a driver ever gets. It checks what goes in (ids,
// currency, batch size), puts a deadline on every call, checks what comes out,
// and turns every failure into one of three answers: certainly nothing was sent
// ([ErrNotSent]), certainly refused before sending ([ErrCurrencyUnsupported],
// [ErrInvalid]), or nobody can say. A driver that answers too few results, in
// the wrong order, for another id, with another amount or with a word that is
// not in the contract is not believed: the outcome is Unknown. Optional
// abilities are found on the driver itself, by [Provider.Refunder] and its
// sisters; [Provider.Capabilities] lists them.
//
// What becomes of a charge is decided by two pure functions, so that it can be
// read and tested without any provider: [Next] moves a charge's [State] on an
// answer, and [After] says what to do about it and when. A charge that anybody
// may have acted upon is never Declined by a timeout, and a final state never
// changes. The caller keeps the rule that makes this work: intent row, commit,
// call, outcome row; and after a restart a charge found in [Sent] gets the event
// [Lost] before anything else. A notification can confirm a payment and nothing
// else; only what is Unknown is reversed ([Reverser]), and what a reversal
// answered is asked about and never taken as proof.
//
// Nothing here retries, sleeps, stores or books. Deadlines run on the injected
// clock. Metrics are the caller's.
package adapters
