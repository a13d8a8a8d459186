// Package unionpay collects through China UnionPay's ACP gateway 5.1.0: by the payment
// codes of its wallets (the rider shows a code, the merchant sends it), or by a token
// that the rider agreed to once, which is how rides that were recorded offline are
// collected.
//
// What is signed: the fields that are not empty, sorted, as k=v&k=v; their SHA-256
// in lower-case hexadecimal; and over those 64 characters, as text, RSA with
// SHA-256 again. certId is the serial number of the merchant's certificate in
// decimal, however long.
//
// What is believed: a message that carries the certificate it is signed with
// proves nothing by that. The certificate must lead to a root of the contract, be
// in its time, and name UnionPay (the third part of its common name between @);
// only then is its key asked about the signature. The fields of an answer are not
// URL-encoded; those of a notification are.
//
// An order is named by the pair of orderId and txnTime. The time is the debit's mark
// (driver.Marker), which the gateway keeps before the first byte leaves: the same
// number with another time is another order, and would be paid again. Without a mark it
// is Debit.Attempted, which Ref.SubmittedAt has to repeat to the second. A debit
// is never sent again (ResubmitSafe is false); it is asked for. A refund without a mark
// takes the payment's time, so that it is one refund however often it is asked for.
//
// 00 says that a payment was taken, not that it was made: it is Accepted, and the
// query says more (origRespCode). 03, 04, 05 and every code that is in no table
// settle nothing. Notifications come of payments that were made, and of nothing
// else. A reversal (31) works on the whole of a payment that was made, until 23:00
// in Beijing, when UnionPay's day ends; so a reversal asks first.
//
// The settlement file is rows of fixed width in GBK, cut by bytes. It has no
// totals; the answer that carries it is signed, and each row must agree with
// itself: what is settled is the amount less the fee. Its times have no year.
//
// Beside the payments (ZM) lie the errors and disputes (ZME). A row of those names what it
// is of by trace number, time, amount and clearing day, never by our number, so that fetching
// a bill fetches the files of those days as well and keeps the rows that are named, as they
// came, in the folder origins/ of the bill's zip. A row of a dispute code of the contract is a
// payment that was taken back (settled as a debit) or came again (a credit): a bank's
// chargeback is a reversal in the books, under the row's code, time, trace number and
// sender. Rows of other codes are refunds that nobody asked for, or payments that nobody
// made, and stand as exceptions until somebody looked. A row whose payment no file says,
// because UnionPay has that day's no more, does not give it for three days, or the bill was
// imported by hand, stands under the first 20 digits of the payment's queryId. A damaged row
// refuses the file. The gateway asks for no file of a day on which it has no payment: a dispute
// in such a one is not heard of until the file is imported by hand.
//
// Assumptions: the txnSubType 06 of payment codes, the form of a payment by token
// (bizType 000902, txnSubType 01, tokenPayData), the answer 98 for a file that
// is not there yet, and that a txnTime of the past is taken for refunds are not
// from published documents. Nor is the meaning of the ZME columns, beyond their widths
// (read as public programs of merchants name them: code, trace, time, amount, those of the
// transaction before and its clearing day, fee, settled amount, merchant); that its settled
// amount is the amount less the fee as in a ZM row; the codes E23, E24 and E25, which the
// contract can replace (dispute_codes); and that a queryId begins with the payment's
// time and trace number, as two public examples have it. Offline data authentication (ODA) at the gate is not
// public and not here. There is no outside verifier that this project could run;
// adapters/interop has a second one, written from the same description.
package unionpay
