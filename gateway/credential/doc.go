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
// [Registry.PublishLists] makes entries known to validators: a signed snapshot
// (package denylist) with the next sequence number for every live list whose
// content changed, or whose last snapshot is half-way through its validity. A
// list is dropped when its last credential has run out.
//
// Limits: idx follows the order of issue, so whoever collects codes can see how
// fast a tenant issues; a keyed permutation of the indices would hide that and
// is not done. The count of issued credentials that a list states is rounded up
// to a multiple of 256 for the same reason. Snapshots only, no deltas.
package credential
