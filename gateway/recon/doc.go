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
// A row is matched with the payment that has its id, wherever the day fell:
// a payment made at 23:59 there and known here at 00:01 is no exception. A
// second row for the same payment is a duplicate in the same bill and a
// date_diff in another. A row for a payment whose outcome is not known here
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
// Importing a bill again changes nothing. Another bill for an imported day is
// refused. A process that dies half-way leaves a bill that is stored but not
// processed; the next run goes on behind the last row that has its outcome.
//
// Limits. A bill is believed to be complete once its own totals hold, which is
// the adapter's affair. [Resolve] ends an exception by a person's decision and
// lets the money go on; it corrects no books. Bank statements are not read: the
// bank account is what providers' bills say was paid out.
package recon
