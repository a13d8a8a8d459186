// Package wechatpay collects fares through WeChat Pay. A contract is for one
// [Product]:
//
//   - ride: debits on riders' contracts by APIv3 (scan-and-ride). The platform
//     accepts a debit and carries it out later; where it pays for a rider who
//     cannot (bank_type BPA), the operator has its money for good, and
//     driver.Result.Advance says what the rider owes;
//   - ride_v2: the same by APIv2, XML signed with HMAC-SHA256. SUCCESS says that a
//     debit was accepted, and of one that fails nothing is ever heard;
//   - codepay: a payment code that the rider shows, good for a minute. He may have
//     to type a password first (USERPAYING): Accepted, asked about at least 10 s
//     apart. What stays open is reversed, not earlier than 15 s and not later than
//     7 days after the payment, and asked about again: a yes to a reversal is also
//     said of a number that never existed;
//   - global: payment codes in Hong Kong and cross-border. The fare is in the
//     contract's currency, the rider pays in his own; [Exchanger] gives the rate.
//
// All refund, notify and have a bill. The two ride products say how a rider stands
// before he is let in; ride also pulls the list of riders in arrears, if the
// contract says where it is. A ride contract with RideCode besides answers the
// platform when it asks for the operator's part of a ministry ride code
// (driver.CodeIssuer).
//
// What is believed: only an answer or a notification whose signature holds over
// the bytes that were received, not older than five minutes, under a key that is
// held under the id it names. The keys are a set, because the platform signs with
// certificates and with keys that have only an id at the same time; a certificate
// that is not held is fetched once, at most every minute, and must be sealed with
// the APIv3 key. A signature that begins WECHATPAY/SIGNTEST/ is meant to fail and
// does, without anything else happening. An unsigned, badly signed, truncated or
// unreadable answer is an error, so that the payment stays Unknown; so is HTTP 5xx
// and every code that is not in the tables of codes.go. In particular
// INVALID_REQUEST settles nothing: the platform says it of a refund that is too
// large and of one whose number was used with another amount.
//
// Bills are not signed; the answer that names their address is, and carries their
// SHA-1. Rows must add up to the totals at the end of the file. A refund row is
// dated when the refund was asked for, and its state is never updated.
//
// Assumptions, because the platform publishes nothing about them: the path of the
// arrears list (a setting) and that it is signed like the rest of APIv3; that the
// notification of scan-and-ride is the usual envelope around a payment; that an
// exchange rate is scaled by 100,000,000; that the create-code call of ride codes
// is sealed with AES-256-CBC under a key of 32 bytes and signed like APIv2.
//
// The package never retries, never sleeps and keeps no state but the platform's
// certificates; it has its clock, its randomness, its HTTP client and its signer
// from the caller.
package wechatpay
