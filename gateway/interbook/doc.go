// Package interbook carries messages from one tenant's book to another's.
//
// One transaction is always one tenant, so money between two tenants needs two
// transactions and something between them that neither loses nor repeats.
// [Put] stores a message in the sender's outbox, in the transaction that
// decided what it says. [Carry] takes undelivered messages to their receivers:
// it marks the message in the receiver's inbox and runs the handler in one
// transaction there, and then notes the delivery in the outbox. A process that
// dies in between delivers again, and the inbox makes that the end of it.
//
// Messages from one tenant to another are numbered without gaps in the order
// in which their transactions commit, and are handled in that order: the number
// is given under a lock on the pair that lasts until the commit. So Put comes
// late in a transaction, just before its transfers are posted, and one that puts
// messages to several tenants takes them in ascending order. A message whose handler fails stops those behind it
// to the same receiver and no others; the next Carry tries again.
//
// A body is JSON, and every amount in it is absolute or carries the natural key
// of what it is about, so that a handler can tell what it has seen. The bodies
// of the messages between operator and issuer are declared here: [Claims],
// [Verdicts], [Advice], [Sightings], [Codes] and [Names]; those between an operator
// and the authority whose integrated tariff it rides on are [Facts], [FactVerdicts]
// and [Shares].
package interbook
