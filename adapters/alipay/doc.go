// Package alipay collects fares through the Alipay open platform: its v2
// gateway, the offlinepay family that settles offline ride codes, the trade
// queries and refunds beside it, and the daily bill.
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
// Limits. The real gateway settles only records of its own ride codes: a CT1
// ride is collected there by withholding (alipay.trade.pay with product_code
// GENERAL_WITHHOLDING), which this package does not do. The settle path with
// CT1 records exists at the simulator in alipaysim. Certificate mode, content
// encryption and notifications are not spoken. Bill files are not signed by the
// platform; what is checked is that their rows add up to their own totals.
//
// The package never retries, never sleeps and keeps no state; it has its clock,
// its HTTP client and its signer from the caller.
package alipay
