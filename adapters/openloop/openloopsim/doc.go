// Package openloopsim is a stand-in for a processor of contactless cards in
// transport: a real HTTP server with cards, a book, a deny list and settlement
// files of its own, which speaks the reference interface of adapters/openloop. It
// imports neither that adapter nor any signer of this project.
//
// A transaction is named by order and transaction; the same again is answered as
// before, other content is CONTENT_DIFFERS and moves nothing. A card without money
// is declined and goes on the deny list; the first decline since its last approval
// may be captured as a first ride, once, under another order and up to the
// configured amount, and is then the issuer's loss. A debt that is paid takes the
// card off the list. A recovery names the decline whose debt it asks for: one that was
// paid, or is none, is refused, and so is more than was declined. What the merchant asks
// for of a device is refused unless it is asked of the card behind it, and on his own he
// may ask as often, and as long, as the configuration says.
//
// Captures of a day are settled at its end, in UTC, and can be voided until then;
// the file is ready at 02:00.
//
// [Server.ArmNext] has the next request that moves money meet trouble. The book is
// in memory. Time is the injected clock's. It holds no money.
package openloopsim
