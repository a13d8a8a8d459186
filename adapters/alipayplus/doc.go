// Package alipayplus collects through Antom and Alipay+: wallets of many countries
// that pay in a city of another. It speaks both families of paths (ams of Antom,
// aps of Alipay+), for four ways to collect: a payment code that the rider shows
// ([PaymentCode]), an entry code ([EntryCode]), an agreement he gave before
// ([Agreement]), and rides recorded while everybody was offline ([DualOffline]).
//
// What is signed: METHOD, a space, the path, a line feed, and the client's id, the
// time and the body with dots between, byte for byte as they are sent; RSA with
// SHA-256, in Base64, URL-encoded into the header Signature, which names the
// version of the key. Answers are signed the same way over the request's path and
// their own time; notifications over the path that the platform was told. Nothing
// is believed before that held under a key of the contract.
//
// What is heard: resultStatus is S, F or U. S is a yes to what was called. F is a
// no only in words of a table; any other F, every U, HTTP status other than 200 and
// whatever does not parse leaves the matter open. An inquiry has two results: its
// own, and that of the payment in paymentStatus (aps: paymentResult).
//
// Money between currencies: the fare is in the contract's currency. With
// Config.PayCurrency the adapter is a driver.Quoter: a quote says what the payer
// pays in his own, for how long and whether that is guaranteed, and a debit with a
// quote asks for that amount and names the quote. An amount that is not the one
// agreed on is no confirmation. What was paid and what will be settled comes back
// as a driver.Exchange, in the platform's own numbers.
//
// Files: the transaction file of a day has a row for each payment, refund, cancel,
// reversal and fee; the settlement file has a summary and its items. The last line
// is <END>: a file without it is incomplete and refused, and so is a settlement
// whose items do not add up to its summary to the minor unit, or one item that is
// more than a unit away from its amount at its rate. A fee row belongs to its
// payment or refund.
//
// Disputes: Antom notifies of them (notifyDispute), and such a notification is noted. The
// money of one moves with the file's rows DISPUTE and DISPUTE_REVERSAL, under numbers of
// their own, which the gateway records.
//
// Assumptions, from no published document: the aps paths beside pay and inquiry;
// that files are served over HTTPS as they lie on the platform's SFTP server, and
// the names of transaction files; the columns of the settlement's summary; that a
// time names the day of a file in Config.Zone. Dual-offline rides (dualOfflinePayment,
// createDeviceCertificate, syncArrear) are three names in the platform's own SDK
// without a description: what is done with them here is what the names say, with
// the raw code as the payment method's id, and nothing of EasyGo's merchant API is
// public. Nobody has met the platform with this; adapters/interop has a second
// verifier, written from the description of the signature alone, as no outside one
// can be had from a registry.
package alipayplus
