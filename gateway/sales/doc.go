// Package sales sells products of a tenant's catalogue to its riders: what is
// asked for, charged, held, given back and ended. What a product is and what a
// ride uses of it is package entitlement; the rides are priced by package pricing.
//
// # States
//
//	asked ──▶ paid ──▶ held ──▶ refunding ──▶ refunded
//	  │                  │          │
//	  ▼                  ▼          ▼
//	declined           closed     held, nothing left of it (the provider declined the refund)
//
// A sale is asked for under the buyer's own name for the order, once: asking again
// gives the same sale, whatever became of the first answer. In the same
// transaction the intent to charge is written (package collect), under an id that
// follows from the sale. While the provider's outcome is unknown the sale stays
// asked; it is asked after and never charged twice. When the money is certain the
// sale is paid, and [Desk.RunDue] gives the rider what was bought: a right with
// the sale's id, so there is one, whoever died in between. It begins when the
// money was certain, or, if the product says so, when it was asked for, and the
// rides since then are priced again with it: so the order in which payment and
// taps become known changes nothing.
//
// # Giving back
//
// [Desk.Refund] gives back what the product's rule allows, to the provider that
// took it. From then on nothing more can be used than was used when it was
// decided: a tap that arrives late and would have used more is paid with money.
// A refund that the provider declines leaves the money owed (prepaid); it is tried
// again as every refund is.
//
// # Books
//
// The price is owed in rides: it stands on prepaid:{sale}. A ride moves what it
// uses up to product_payable:{payee}, in the decision's own transfers, and
// the next window that is paid pays it to the payee (gateway/settle). What is left
// when a product has ended and late taps had their time is product_income, by a
// row of the sale, and nothing more can be used then either. [Source] derives that
// again.
//
// # Limits
//
// A tenant sells to riders it issued codes to: the account that pays is its own. A
// rider of another tenant's code is refused by name.
package sales
