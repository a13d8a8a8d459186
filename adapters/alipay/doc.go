// Package alipay collects fares through the Alipay open platform: its v2
// gateway, with plain keys or certificates; the offlinepay family that settles
// offline ride codes; trade.pay on a rider's agreement or on a payment code; the
// trade queries, cancellations and refunds beside them; notifications,
// agreements, cards, the operator's name list, tickets, and the daily bill. The
// platform's REST face (v3), which has trade, tickets and bills alone, is spoken by
// [Provider.Exec] for tools.
//
// How debits are collected is the contract's ([Collect]), and what the contract
// can do follows from that ([Provider.Able]). The real gateway settles only
// records of its own ride codes; a CT1 ride is collected by Withholding, one
// debit a call, with the agreement's number as the rider.
//
// What a debit becomes: [Provider.Submit] sends one
// alipay.commerce.transport.offlinepay.trade.settle for a batch; every item of
// the answer has an outcome of its own. SUCCESS is final; FAIL is final only
// when need_retry is false and the error code does not say that the order
// already exists; FAIL with need_retry and UNKNOWN are open, and next_try_time
// says when to ask again. The family has no query of its own, so
// [Provider.Query] asks alipay.trade.query, which may not find an offlinepay
// order at all: ACQ.TRADE_NOT_EXIST is Absent, never "no". The way out is then
// to send the item again under the same number with the same content, which
// the platform answers as it answered before.
//
// What is believed: only an answer whose signature holds over the bytes that
// were received, with one of the configured platform keys. An unsigned, badly
// signed, truncated or unreadable answer, and an error_response without a
// signature, are errors, so that the debit stays Unknown. A refusal counts as
// certain only for the codes listed in codes.go.
//
// Amounts are fen as integers and yuan as text; the conversion is exact. The
// platform's clock and its days are Beijing's. Only CNY is accepted; anything
// else is refused before a byte leaves this machine.
//
// Evidence is opaque. Bytes that are printable ASCII go into records as they
// are (a record of Alipay's own validator SDK is such a string); other bytes,
// such as a CT1 code, go as standard base64.
//
// trade.pay: 10000 is paid, 10003 waits for the payer and is open, and only the
// codes of a table decline. ACQ.TRADE_HAS_SUCCESS says that the order was paid,
// not that it was paid as asked now, so it is looked up. A payment code may be
// refused the second time although it was paid on the first, so a Barcode
// contract never submits again. trade.cancel says yes also of an order that never
// was; without an action it says nothing.
//
// Notifications: form fields count as they are once the form is read. Decoding
// them again breaks every value with a percent sign. sign_type is under the
// signature of some kinds of message (V2) and not of others (V1); both are tried.
// A notification for another application or seller is refused, and the answer is
// the seven bytes success or something else.
//
// Content encryption: a contract with an AES key sends the contents of its requests as
// ciphertext, and gets answers so (AES-128, CBC from an IV of zeros, PKCS #7, base64). What is
// signed, both ways, is the ciphertext. An answer that cannot be decrypted, or is no object
// then, is an error like one that is not signed: the debit stays Unknown. A signed answer in
// plain is believed, since that is how the platform refuses what it cannot decrypt; its
// refusal of that leaves the matter open. Requests without content, notifications and bill
// files are not encrypted. It hides contents between the two sides, and proves nothing.
//
// Certificates: both sides name the certificate they sign with. A name that is
// new is asked for once a minute at most; what makes its key good is the chain to
// the configured roots. Nothing is fetched on the word of a notification.
//
// Assumptions, where the platform publishes nothing: the word for
// virtualcard.send's action (configurable), the sub codes with which
// record.verify refuses (codes of a table; any other leaves it open), and the
// fields by which namelist.sync names a rider.
//
// Limits. Tickets of the city facilitator are paid to an intermediary of the
// platform and are not booked here. The settle path with CT1 records exists at
// the simulator in alipaysim alone. Bill files are not signed by the platform; what is
// checked is that their rows add up to their own totals.
//
// The package never retries, never sleeps and keeps nothing but the platform's
// certificates; it has its clock, its HTTP client and its signer from the caller.
package alipay
