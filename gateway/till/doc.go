// Package till takes payments on payment codes: what a customer's wallet shows at a
// shop's till, a clinic's or a ticket office's counter, or a gate that is online.
//
// # States
//
//	asked ──▶ paying ──▶ paid ──▶ refunded
//	  │         │
//	  │         ├──▶ declined
//	  ▼         ▼
//	reversing ──▶ closed
//
// A payment is asked for under the shop's own name for the order, once: the same order
// with the same content is the same payment, whatever became of the first answer and
// whatever code comes with it; with other content it is [ErrOrder]. While the provider's
// outcome is not known it is asked, or paying once the provider has said that the
// customer confirms it. When he has not by [Payment].WaitUntil, or the shop gives it up
// ([Desk.Cancel]), it is reversing, which is on disk before a reversal leaves. From then
// on it is never paid: it is closed as soon as it is certain that no money moved, or that
// what moved has gone back. Paid, declined and closed are certain. Refunded is a paid one
// of which all went back.
//
// # The code
//
// A code is good for a minute, and whoever has it can charge its owner. It is a
// [citygate.Secret] that is handed to the provider's call and to nothing else: no row,
// log, audit entry or idempotency key has it. So the intent is committed first, the call
// is made by the request itself, outside of any transaction, and what was answered is a
// third transaction. A process that dies in between leaves a payment of which nobody can
// say anything. It is asked about and, when its time is over, reversed; it is never sent
// again, under its name or another.
//
// Whose code it is the product says (driver.Description.PaymentCodes). The contract is
// the one that the order names, or the one whose product knows most of the code's first
// characters, which owns the wallet, and that takes the amount. Where several do, the
// tenant's rules of routing choose among them (kind till), and the payment keeps by which;
// where no rule does, the order is refused and they are named. A payment that certainly
// never reached its provider goes to the contract that the rules name next, under the same
// name, unless a quote was agreed on; whatever may have been seen stays where it is.
//
// # What is certain
//
// A provider is asked before and after every reversal, and what a reversal says is never
// proof (driver.Reversal): "closed" is also said of what never existed. A payment that
// turns out to be paid although it was being reversed is given back: as the reversal's
// doing where the provider says that the money went back, else by a refund. A payment that
// the provider does not know [absentAfter] later, when no code can be good any more, and
// that was reversed meanwhile where that can be done, is closed: nothing can arrive for it.
// Should a bill have it nevertheless, its row is an exception (missing_ledger) that a
// person ends with the provider; the payment stays closed, and nothing of it is passed on.
//
// # Books
//
// A paid one is owed to its payee, less the provider's fee, on till_uncleared:{payee}.
// When its bill has it (gateway/recon) it moves to till_payable:{payee}, and the next
// window that is paid pays it out (gateway/settle). What goes back is taken from the
// account that the payment stands on then, so the payee bears it, and the fee with it.
// The money of a reversed payment goes back under a name of the provider's own; the bill's
// row that names the payment, at the same amount, is taken to be that. [Source] derives
// all of it again.
//
// # Taken back by the customer's bank
//
// A chargeback is recorded once, by whoever tells of it first (collect.Reverse), whatever
// state the payment is in. What the payment still held then is borne by its payee with the
// provider's fee, or by the tenant if the risk terms of the contract say so
// ("till_reversal":"tenant"); which of them is decided when something of the payment is
// taken back for the first time. What was taken beyond that the customer had already, by a
// refund, and it is claimed from the provider (suspense). All of it follows from what was
// taken, came back and was refunded, and is brought in line whenever one of these changes
// ([Desk.Taken]): the order in which they become known makes no difference. What was taken
// cannot be refunded as well, and money that is won of a payment which was being taken back
// goes to the customer.
//
// # Limits
//
// Payments at tills are in the currency of the tenant's books. A refund that the provider declines of a payment that
// is being taken back leaves it reversing until somebody has it tried again
// (collect.RetryRefund).
package till
