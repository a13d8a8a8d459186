// Package foreign is the issuer's side of codes of other schemes: a tenant has a
// contract with whoever such codes belong to, answers for them towards operators,
// and collects. [Desk] says whose a code is.
//
// An [Entry] says how the tenant has a scheme read, by which foreign keys, and by
// which operators besides itself; it travels in their trust bundles. Towards an
// operator that is not in it the tenant answers for nothing.
//
// A subject of a scheme (a digest in the scheme's own terms: a card, a ticket, a
// provider's user) is a rider (issuer, list, idx) like any other, with lists from
// [citygate.ForeignLists] on, and each of its displays has a counter. Both are
// given at first sight, densely, so that pricing, claims, collection and debts
// need to know nothing of schemes. Whose account it is
//
//   - the tenant registered: [Desk.Register];
//   - or, for a code that was proven, is opened at first sight where the entry
//     says so, under its contract, with "scheme:subject" as the name of the payer.
//     The provider charges by the evidence, which goes with every debit;
//   - or, for a deferred code, the provider says, when it is asked
//     ([adapters/driver.CodeResolver]). Its riders are subjects by the provider's
//     name for the payer, since a fresh code says nothing of who shows it.
//
// A display belongs to the first tap that asks about it, whichever operator's.
// Another tap with it is refused: replayed at the same terminal, double_use at
// another. A copy of a foreign code proves no copied key, because such codes may
// be encoded again by anyone, so nobody is denied for it.
//
// A code that nobody knows is refused as not_issued when it was proven or the
// provider said so, and as unresolved when nobody vouched for it until the operator
// gives up; its evidence is kept in foreign_codes.
//
// An operator's question is believed in nothing but its time, which a display's own
// time bounds where it has one: every code of another tenant is verified again
// here. The question to the provider is a row before it is a call, and its answer
// a row after: after a crash or a lost reply the same question is asked again under
// the same id. Jobs only wake [Desk.RunDue].
//
// Codes that are proven by a secret shared with whoever makes them (rotating
// barcodes) are proven here with what the tenant put into its secret store
// ([SecretName]); it is in no bundle and no message, and is used for the tenant's
// own validators only. A tap is verified with the secret of the day of its upload:
// whoever replaces the secret waits until the taps before are in.
//
// Limits: a rider has 65,535 displays. What is known against a foreign rider no
// terminal can look up offline: lists name riders by index, which his code does not
// carry. His debt grows with his next ride, and his tap is still claimed.
package foreign
