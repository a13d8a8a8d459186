// Package alipaysim is a stand-in for the Alipay open platform: a real HTTP
// server that speaks the v2 gateway's protocol for the methods that
// adapters/alipay uses, with a book of its own.
//
// It knows its merchants' public keys and checks every request's signature and
// timestamp; it signs its answers over their raw bytes, with escapes that do
// not survive a decoder, as the real one does. Its own book is the independent
// count of what was collected ([Server.Book]).
//
// It settles offline records that are CT1 codes, each verified under the keys
// issuers have published. The real platform settles records of its own codes
// only; that is the one thing here that has no counterpart there.
//
// Misbehaviour comes from [Faults] and from the Set methods. A fault that
// belongs to an order is chosen by the order's number (see [Pick]) and happens
// the first time the order is acted on, so that the same orders meet the same
// fate whatever the order of arrival. Faults of a bill ([Server.SeedBillFaults])
// change the file and never the book. [Server.ArmNext] is for conformance tests
// and the one thing that goes by arrival.
//
// An order number with equal content is answered as it was before; with other
// content it is refused as ACQ.CONTEXT_INCONSISTENT. A declined order stays
// declined: a debt is collected under a new number. Bills are ready at 09:00
// Beijing time of the next day, as a zip of two GBK files, and their address
// dies 30 seconds after it was issued; a bill can come late and be issued again.
//
// Notifications wait until [Server.Deliver] is called, and are repeated on the
// platform's schedule until the answer is the seven bytes success. An agreement
// is confirmed by whoever opens its page, or by [Server.Sign]. In certificate
// mode ([Authority]) requests and answers name certificates, and
// [Server.Rotate] changes the platform's. Offline records of the platform's own
// codes ([Server.Record]) have a layout of the simulator's, as the real one is
// not public.
//
// The book is in memory. Time is the injected clock's; the server never sleeps.
// It is for tests, demonstrations and benchmarks, and holds no money.
//
// A merchant with an AES key may encrypt the contents of its requests (encrypt_type=AES); the
// answers to those are encrypted as well, but for refusals of what could not be read.
package alipaysim
