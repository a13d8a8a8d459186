// Package unionpaysim is a stand-in for China UnionPay's ACP gateway 5.1.0: a real
// HTTP server that speaks it for what adapters/unionpay uses, with a book, a
// certificate authority and settlement files of its own. It imports neither that
// adapter nor any signer of this project.
//
// It knows its merchants' certificates and checks every request's signature and
// certId; its answers carry the certificate they are signed with. An order is the
// pair of orderId and txnTime: the number at another time is another order, and
// the rider pays twice. A payment is answered 00 when it was taken; what became
// of it is told by the query, and by a notification if it was made. Payments made
// before 23:00 in Beijing are of that day and can be reversed until then; the file
// is ready at 01:00.
//
// [Server.Dispute], or POST /sim/dispute?mer_id=..&order_id=.., has a bank take a payment
// back, or the merchant get it again; both are in the ZME file of the day on which that
// is cleared, which names the payment by its trace number, time, amount and day.
//
// [Server.ArmNext] has the next request that moves money meet trouble. The book is
// in memory. Time is the injected clock's. It holds no money.
package unionpaysim
