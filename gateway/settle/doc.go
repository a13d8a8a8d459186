// Package settle closes business days and pays payees: it is the operator's
// side of the money.
//
// # Windows
//
// A window is a business date of a tenant, cut by its calendar: open, then
// closed, then paid, and never open again. Its instants are rows, fixed when
// the window is first needed: it closes some time after its business date ends,
// [Grace] unless the tenant's [Terms] say otherwise, and is paid some time after
// that end, [PayAfter], when the provider's bill of the charges has come and was
// reconciled. [Settler.CloseDue] and [Settler.PayDue] look what
// is due by the transaction's time; they may run at any moment and any number
// of times.
//
// A fare decision belongs to the oldest window that is not closed and not before
// its business date; money that came in, or was given back, belongs to the window
// in which its ride was first decided or, once that is paid, to the oldest later
// one that is not. Whoever assigns a row to a window holds a share lock on it until
// the commit, and closing and paying take it alone, so a closed window's decisions
// and a paid window's receipts never change. That is what totals_hash, taken at
// the close, lets anybody check. Late taps and late money go to the next window
// with their own business date kept.
//
// # Receipts
//
// The issuer of a rider's code tells the operator, by advice messages, what
// became of each journey's fare: its share of the provider's fee, what is still
// owed, what was recovered, and what is cleared, which is money paid over net of
// the fee. Each item is a row of receipts under its natural key, and a transfer
// that mirrors the issuer's. If issuer and operator are one tenant the same rows
// are written in the issuer's transaction, the other side of the payable is the
// account the issuer names, and clearing moves nothing.
//
// # Payouts
//
// A window pays each payee what was cleared for it in that window. A negative
// sum (refunds of earlier days above the day's money) is carried: a row takes it
// out of the window, and rows put it back into the next windows in which money
// comes in for the payee, as far as that money goes. Windows without any are left
// alone. So for every paid window, payee and currency the receipts add up to the
// payout: [CheckPayouts] proves it. What is still carried is [Carried]; a payee
// for whom no money ever comes again keeps it, and whoever runs the tenant has to
// ask for it elsewhere.
//
// The payout and its transfer are one transaction; the files are written after
// it, named by tenant and window, and are made from the rows alone, so that a
// run after a death writes the same bytes. A file that exists with other bytes
// is an error and is left alone. There is a CSV for people and an ISO 20022
// pain.001.001.09 for a bank. Bank account numbers are not kept in Citygate: the
// file names debtor and creditors by their names here as proprietary account
// ids, for the bank's or the treasurer's table of payees.
//
// With it goes what the payee has earned until then by rides on products that riders paid
// for beforehand (product_payable): their money came in with the purchase, so no bill is
// waited for; and what it has earned at tills, once a bill had it (till_payable). It is a row of the window like every other, its transfer moves it to what is
// payable, and what a later correction takes back is set off or carried.
//
// [PayoutRules] can have payouts wait: all, those above an amount, those to
// certain payees. Such a payout is held: it is owed and proved with its window,
// and nothing is booked or ordered until [Settler.Release], which needs whoever
// releases to name its amount and payee. What is released together is a batch of
// its window with files of its own. [Settler.Cancel] takes one back that waits: a
// carried row takes it out of its window, and the next window that is paid has it,
// also where nothing else came in for its payee. [Settler.Redirect] has one paid to
// another payee, which settles the claim of the first; it goes on waiting.
//
// Names in the XML are reduced to the characters every SEPA bank takes: accents
// are dropped, other characters become full stops. A name of which no letter or
// digit is left is replaced by the payee's payout id.
package settle
