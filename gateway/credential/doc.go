// Package credential is the issuer's side of ride codes: accounts, the
// credentials their devices hold, and the deny lists.
//
// A credential is signed by the tenant and carries (issuer, list, idx), the only
// name a rider has outside the issuer's own tenant. A list holds what was issued
// in one week; idx counts from 0 inside it. The account behind it is known here
// alone: [AccountsOf].
//
// [Registry.Issue] reserves the index in one transaction, signs outside of any,
// and stores the signed credential in a second one. A call that dies in between
// leaves a reserved index that was never handed out and is never used again;
// calling again issues another. No credential is issued to a closed or denied
// account.
//
// [Deny] and [Lift] write entries in the caller's transaction, so that a debt
// and its entry are stored together. An entry denies an account (all of its
// credentials, later ones included) or a single credential; it is lifted, never
// deleted. Doing either twice changes nothing.
//
// [Registry.PublishLists] makes entries known to validators: with the next
// sequence number, for every live list whose content changed or whose last
// version is half-way through its validity, a signed snapshot and deltas to it
// (package denylist), then a heartbeat. [Updates] names the one object a terminal
// needs. A delta fits whoever was away since it starts, so a few of them (from the
// last version, the 2nd to the 64th last in doubling steps, and those of an hour
// to a week ago) serve everybody; nothing is kept about single terminals. A list is
// dropped when its last credential has run out. [PublishLatency] says how old
// denials are that no list has yet.
//
// Indices are dense but tell nothing of the order of issue: each day of a list has
// a block of them, sized by the day before, and gives them out by a secret
// permutation. The blocks are public ([Blocks]), so that whoever meets a code can
// say that its index was not issued on the day it claims (reason not_issued);
// whether it was issued at all the issuer's record says. The number of credentials
// that a list states is where its last block ends.
//
// Limits: a database that was restored from a backup publishes sequence numbers
// that validators have seen, which they refuse until they are passed.
package credential
