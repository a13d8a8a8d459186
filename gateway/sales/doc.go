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
//	paid, held, refunding, refunded, closed ──▶ reversed (its payment was taken back)
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
// # Payments that are taken back
//
// When the bank or the provider takes the price back, or a part of it, the product ends in
// the transaction that records it ([Desk.End]): a ride from then on is paid with money, and
// so is one that becomes known only now, as far as it would use more than was used. The sale
// is reversed for good; a product is not begun again when the dispute is won. What its
// rider owes then is decided by what he had of it (package collect), and by nothing else:
//
//   - what rides used of the price he pays, as they earned it for those who carried him and
//     are paid, whatever becomes of the price; of a product that was over also what was left
//     and the seller's, since he had it to its end;
//   - what nobody had used ended with the product. It is owed by nobody, and what of it the
//     bank left with us goes back, whatever the product's rule: nobody pays for what he cannot ride on;
//   - what came back by a dispute that was won is the price again, and the seller keeps of
//     it what the product's rule of refunds lets it keep. The rest goes to the rider, first what he paid of the debt.
//
// A ticket for two rides costs 7.01 and its provider keeps 0.04 of that; one ride was made
// when the bank takes the payment back and keeps 0.15:
//
//	bought         provider_receivable 7.01   to prepaid 7.01        sales_fee 0.04 to provider_receivable
//	one ride       prepaid 3.50               to product_payable 3.50
//	taken back     prepaid 7.01               to provider_receivable 7.01
//	               rider_debt 3.50            to prepaid 3.50        reversal_fee 0.15 to provider_receivable
//
// Nothing is owed in rides any more (7.01 - 3.50 - 7.01 + 3.50 = 0): 3.51 ended with the
// ticket, 3.50 are a debt. Its rider pays it, and the dispute is won:
//
//	paid           provider_receivable 3.50   to rider_debt 3.50
//	won            provider_receivable 7.01   to prepaid 7.01
//	given back     prepaid 3.50               to provider_receivable 3.50 (of the debt's payment)
//	               prepaid 3.51               to provider_receivable 3.51 (by the rule "rest")
//
// A ride that is given back as void later lowers the debt, or goes back to who paid it.
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
