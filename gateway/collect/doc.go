// Package collect is the issuer's side of a ride: it takes operators' claims
// for fares of our riders, gathers them per account and business date, collects
// each total through the account's payment provider, keeps debts and refunds,
// and passes back to the operators what became of their fares.
//
// # Claims
//
// A claim carries a journey's fare as an absolute amount and the raw codes that
// prove it ([Collector.Accept]). The codes are verified again under our own
// keys, unless the operator is this tenant, whose intake did so. The first
// claim of a display (list, index, counter) has it: the same bytes from another
// tap are double_use, other bytes under the same counter are a clone, which also
// puts the credential on the deny list. A display pays for one journey at a time:
// a tap that another journey lives on is double_use as well, unless the same
// message claims that journey again without it, as an operator does when late taps
// change the pairing. A refused claim posts nothing and names the taps; an accepted
// one changes the books by the difference to what was accepted of the journey
// before.
//
// A claim must be proven: an amount needs codes, made within a day of their taps,
// whose caps add up to it, and a journey keeps its rider and is claimed in the
// tenant's currency. What fails that for itself and not for a tap is refused with
// a reason and leaves no trace here. An operator that finds a copied credential
// by itself sends both codes ([Collector.TakeSightings]).
//
// # Aggregation, charge, outcome
//
// A positive difference goes to the open aggregation of its account and
// business date. An aggregation closes by time, amount or number of taps, but
// only when [Collector.RunDue] runs, so that what arrives together is collected
// together. Closing writes the charge's intent; it is committed, marked as sent
// and committed again before the provider is called, outside any transaction,
// and the outcome is a third transaction. adapters.Next and adapters.After
// decide what an answer means: an outcome nobody knows is asked for, or sent
// again under the same id with equal content, never under a new one. A process
// that dies at any point leaves a row that says how far it came.
//
// A declined charge is a debt and a deny entry; recoveries are charges of their
// own, tried on a schedule of rows, by a tap of the rider or when somebody asks, as
// the risk terms of the contract say, and a paid debt lifts the entry. Where the
// scheme insures a payer's first decline, the debt is first asked for once more as
// that: a charge of its own kind, under a new id, at the same contract, once ever.
//
// A negative difference lowers the aggregation while it is open. Afterwards it
// is a refund of the charge that collected it: at once if that has succeeded, as
// soon as it has if it is under way (and if it is declined instead, the debt is
// lower by so much). An open debt is lowered directly.
//
// # Purchases
//
// A product that a rider buys is charged by [Buy]: a charge of its own beside the
// aggregations, sent and asked after in the same way. Its price is owed in rides
// (prepaid), its fee is the seller's, a decline leaves no debt. [Sales] hears the
// outcome in the transaction that stores it. One that could not be sent for a day
// ([PurchaseLife]), tried or not, is given up as declined, reason "expired". Rules of routing do not touch it.
//
// # Payments at a till
//
// A payment on a payment code is a charge of its own kind too. Its intent is written as sent
// ([AskTill]), since only the request that has the code can send it ([Collector.SendTill]):
// nothing here sends it, and when it is asked about and reversed is package till's affair,
// which hears of it and posts ([Tills]). Money that went back with a reversal is a refund
// without a request of ours; the first bill's row of that payment and amount gives it its name.
// Where several contracts take a code, the rules of routing choose ([Collector.RouteTill]); what
// certainly never left for one may go to another ([MoveTill]).
// A reversal of such a payment has no rider who owes: what is borne by its payee or the
// tenant, and what is claimed from the provider, follows from all that was taken, returned
// and refunded of it, and is told whenever that changes ([TillTaken]).
//
// # Routing
//
// When an intent is written, the tenant's rule set of the rides' time chooses the
// contract (policies/ruleset), and the charge keeps rule and version. Hours and days
// of its rules are those of the moment of choosing. Without a rule set, or a rule
// that matches, it is the payer's own; a rule's contract that is gone, closed or
// under which the payer is not known ([AddPayer]) is passed over with a finding.
//
// Three calls in a row without an answer open a contract's breaker. It is a row, so
// that all instances agree; every 30 seconds one payment may try, and an answer
// closes it. A charge that is still "created" was never sent: where its contract is
// down, closed or cannot take its currency, it becomes "moved" and the next attempt
// is made under a new id at the contract that the rules name now, if that is up. It
// does not while a correction waits for it. Nothing else ever moves: what a provider
// may have seen is asked for there.
//
// # Payers of another currency
//
// Where a contract's provider offers rates, a charge gets a quote before it is sent:
// what the payer pays in his own currency, until when, and whether the provider
// guarantees to settle the fare for it. The quote is on disk before the first byte
// leaves and is content: sent again, the charge has the same, whatever the rate is
// then. One that is over is renewed only for a charge that is "created", which was
// certainly never performed. Refunds give back at the rate of the payment, all of
// them together what was paid ([driver.PartOf]).
//
// # Passing back
//
// [Collector.PassBack] tells each operator its journeys' shares of the fees of
// succeeded charges, what riders still owe of its fares and what of that came in
// since; [Collector.Release] tells what is cleared of charges that
// reconciliation has matched. Both send differences to what was sent before, so
// they may run at any time and any number of times.
//
// # Who bears what riders do not pay
//
// A declined charge leaves each fare owed, and somebody bears it until the rider
// pays: by terms between two cities, else by the liability rules of the issuer's
// rule set at the ride's time, else the operator. The operator's part is passed
// back. What issuer, provider or platform bear is not: some days after the decline,
// as terms or rule say, the issuer pays it to the operator, which takes it as cleared
// money of the fare. From then on the rider's payment is the issuer's, with the fee on
// it. What the provider bears is claimed from it (suspense of the contract, beside its
// bills), what the platform bears from whoever runs it (platform_receivable: the
// platform has no book), and the claim is taken back when the rider pays. What was
// decided is kept with its rule ([Bearings]).
//
// [Collector.OpenDispute] says that issuer, provider or platform do not bear what they are
// told to: while it is open the operator is paid nothing more of it. Upheld
// ([Collector.DecideDispute]), that part moves to operator or issuer, as every other
// difference does; a dispute is decided once. [Collector.RecordBearerPayment] books what
// provider or platform paid of what is claimed from them, never more.
//
// [Collector.WriteOff] gives a debt up: it goes off the rider's account to those who
// bear it, the issuer's part as bad_debt. The state is final and the deny entry goes.
// [PayWrittenOff] collects it once more as the rider offers to; then operator, provider
// and platform get back what they bore, and the issuer's part is recovery_income.
//
// # Payments that are taken back
//
// [Collector.Reverse] records that a provider took a payment back, or a part of it, by
// the provider's reference; it waits while the payment is not known to have succeeded.
// What the payment still held of each fare, in proportion, moves to an aggregation of
// its own that is a debt from the beginning (claim lines of kind reversal, which
// together are zero): all that holds for debts holds for it, corrections of the fares
// come off it first, and several reversals of one payment are several debts. It is tried
// only when somebody asks. The operator gives back what it was paid of the fare and is
// paid in the same message what others bear of it. What is taken beyond what the payment
// held, as it had been refunded, is nobody's debt: it is claimed from the provider on the
// contract's suspense account. The provider's fee is the issuer's.
//
// A payment for something that was sold, and not for fares, is told the same way. [Sales.End]
// ends what was sold and says what it is worth: what its rider had of it he owes, as a debt
// of the sale without claim lines, what he had not nobody owes. All payments of the sale, of
// its price and of such debts, count together, so that refunds, recoveries, further reversals,
// outcomes and rides that turn out to be void may come in any order ([takenSale.aim]; only
// differences to what was booked are). No operator sold it: what provider and platform do not
// bear by the liability rules is the issuer's, and so is the fee of what is recovered. What is
// taken back of a payment at a till is refused here: it is an exception of its bill. Another
// kind of charge without an aggregation joins by saleOf, which has to know it, and by an End
// that says what it is worth.
//
// [Collector.Conclude] records what became of a dispute. What is won comes off the debt
// as far as that is open; the rest is refunded to the rider, who has paid it or owes it no
// more. While a try to collect the debt is under way it waits. What is lost leaves the
// debt as it is, and gives up what was claimed from the provider. A provider's
// notice of an outcome may come before anybody told what it is of: it is kept and recorded
// with that, once. Nobody need know the fee when he tells of a reversal or an outcome: it is
// booked when somebody says it, and from then on another one is refused.
//
// [owedJourney.aim] says what should be told and booked of each fare in a debt, and
// only differences to what was are, so that corrections, payments, write-offs and time
// may come in any order.
//
// # Order
//
// Batches go by natural keys (business date, the account's key), and ids given
// to providers are made from them, so that the same input meets the same fate
// at the provider whatever ran first.
//
// Limits: the sum accepted of one journey is claimed in one currency; a refund that the provider finally declines stays on
// the rider's account as money we owe, is not passed on to the operator and is
// listed as declined ([Refunds]) until somebody has it tried again ([RetryRefund]).
package collect
