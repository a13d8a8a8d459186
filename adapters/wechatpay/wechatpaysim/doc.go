// Package wechatpaysim is a stand-in for WeChat Pay: a real HTTP server that
// speaks APIv3 and the APIv2 of rides for what adapters/wechatpay uses, with a
// book, keys, bills and notifications of its own. It imports neither that adapter
// nor any signer of this project.
//
// It knows its merchants' public keys and checks every request: the signature
// over method, path with query, time, nonce and body as they came, the time to
// five minutes, the nonce used once. Its answers are signed over their raw bytes,
// with spaces and escapes that do not survive a decoder, by a certificate's key or
// by a key that has only an id, whichever the merchant asked for; notifications
// use both. [Server.Rotate] changes the certificate.
//
// Debits on contracts are accepted and carried out after [Config.DeductAfter].
// Who has no money is declined and then owes; a merchant with Advance is paid all
// the same, and the rider owes the platform. A payment code of a rider who has to
// type a password is open for [Config.PasswordAfter]. A reversal of a number that
// never existed is answered like one that worked. Nothing is ever sent about a
// payment that failed.
//
// Misbehaviour comes from [Faults] and from the Set methods, each chosen by the
// order's number (see [Pick]), so that the same orders meet the same fate whatever
// the order of arrival. Faults of a bill ([Server.SeedBillFaults]) change the file
// and never the book. [Server.ArmNext] is for conformance tests and the one thing
// that goes by arrival.
//
// The list of riders in arrears has a path of this simulator's own
// ([ArrearsPath]) and is asked for like any other APIv3 path: the real one is not
// published.
//
// The book is in memory. Time is the injected clock's; the server never sleeps. It
// is for tests, demonstrations and benchmarks, and holds no money.
package wechatpaysim
