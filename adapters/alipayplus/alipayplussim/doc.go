// Package alipayplussim is a stand-in for Antom and Alipay+: a real HTTP server
// that speaks what adapters/alipayplus uses of them, with a book, keys, rates and
// files of its own. It imports neither that adapter nor any signer of this
// project.
//
// It knows its merchants' keys and checks every request's signature over method,
// path, client, time and body; its answers are signed over the same path. A
// payment is named by paymentRequestId: asked for again with equal content it is
// answered as before, with other content REPEAT_REQ_INCONSISTENT. A quote ends
// when its time is over: a payment that names it later is refused and leaves no
// trace. A guaranteed quote settles what was asked for; any other settles what the
// payer paid, at the rate of settlement, and refunds may have a rate of their own.
//
// The files of a day are ready at 06:00 of the next, in +08:00.
//
// [Server.ArmNext] has the next request that moves money meet trouble. The book is
// in memory. Time is the injected clock's. It holds no money.
package alipayplussim
