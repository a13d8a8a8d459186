// Package recon compares what providers say they collected, their bills, with
// what we say, charges and refunds.
//
// [Reconciler.ImportDue] fetches the bill of every day of the provider that our
// payments touched and that is over, keeps the file as it came, stores its rows
// and matches them. Fetching is outside any transaction. Days go in order, and
// a day that is not ready holds up the later days of its contract only.
//
// Every row of a bill, and every succeeded payment that no bill has, becomes
// one item: matched, or an exception with a kind, an owner and an age. So
// bill rows + payments without a row = matched + exceptions, always
// ([Count]).
//
// Matching joins sets in the database. Rows that say exactly what a succeeded payment
// says become matched items and transfers without leaving it, fifty thousand to a
// transaction ([ledger.PostFrom]); payments of the day without an item are named
// missing by the anti-join the other way. What is left, a row that is off by a cent, of
// another currency or state, or one too many, is read and judged row by row.
//
// A row is matched with the payment that has its id, wherever the day fell:
// a payment made at 23:59 there and known here at 00:01 is no exception. A
// second row for the same payment is a duplicate in the same bill and a
// date_diff in another; of several rows the payment's is the one that says what our
// book says. A row for a payment whose outcome is not known here
// decides it ([Book.Resolve]), for the bill is the last arbiter, and is then
// matched like any other. A payment is missing at the provider when the day on
// which it became final is imported, as all touched days before it are, and
// none had its row; should a later bill have it, the exception ends as matched.
//
// A matched row moves what the provider owes us to the bank. An exception moves
// nothing: the amount stays where it is, and [HeldCharges] names the charges
// whose money is not to be passed on. A refund nobody asked for holds the
// charge it names, whose own row stays matched.
//
// A payment between currencies is matched if the payer paid exactly what the quote
// said and what is settled for it is the fare to a minor unit, or, without a
// guarantee, within a twentieth of it; the adapter has held the row to its own rate
// before. What is settled less or more, and a fee that is a minor unit off or comes
// back with a refund, moves to the account exchange_difference of the contract. It is
// the issuer's: operators get their fares whole.
//
// A row that takes a payment back, and says so, records that ([Book.Resolve]) and is then
// matched with it; one that only looks like a refund nobody asked for is matched as soon as
// a person records the reversal under its reference ([Recognise]).
//
// Importing a bill again changes nothing. A process that dies half-way leaves a bill
// that is stored but not processed; the next run goes on behind the last row that has
// its outcome.
//
// # Bills that are issued again
//
// A provider is asked once in each of the next seven days whether there is another
// issue of a day's bill; one can also be handed to [Reconciler.Import]. Every file is
// kept. One whose rows say the same, in whatever bytes, does nothing; one that was made
// before the last is refused ([ErrReissued]). Of another issue the difference counts,
// by what rows are about: an item whose row is gone or says something else is history
// ([History]), and what it had moved is moved back by a transfer of its own, code
// _reversed, of the instant at which that was known; then the rows that stand there now
// are judged, and a payment that has none any more is missing at the provider. A row
// that is repeated keeps its item, and what a person decided about it. A row that moved
// to another day's bill is the payment's there. That a charge was released, or paid
// out, changes nothing of this: the exception names it, and it is the issuer who follows
// it up.
// Most of another issue is corrected by joining sets, as a first one is matched: payments
// that had one row and have one, or were missing. The rest is looked at thing by thing.
//
// # Decisions
//
// [Resolve] ends an exception by a person's decision and books it, so that
// nothing is left on what the provider owes us, and the charge it held may be
// passed on in full. The bank has got what the row says, if there is one in our
// currency. What is then left, which is our figure less the provider's, goes
//
//   - accept_ours: to the suspense account of the contract, for the provider has
//     agreed to make it good, or we have to give it back, outside this row;
//   - accept_provider: to the write-off account if it is a loss, and to the
//     suspense account if it is money nobody can name the owner of: too much money
//     is not a gain until somebody says so;
//   - write_off: to the write-off account, loss or gain.
//
// The charge's operators are paid in full whatever was decided, so it is the
// issuer who bears a loss: a fare that was taken from a rider is not taken from
// who drove. The row of a currency_diff is not booked, for two currencies never
// meet in one transfer, and accept_provider is refused. Should a later bill have
// a row for a payment that was resolved as missing, the row is an exception of
// its own; decided by accept_provider it sets off what accept_ours had put on the
// suspense account. A decision is not undone.
//
// Limits. A bill is believed to be complete once its own totals hold, which is
// the adapter's affair. The bill of a day that none of our payments touched is not asked
// for: what it takes back is not heard of until somebody imports it. Bank statements are not read: the bank account is what
// providers' bills say was paid out.
package recon
