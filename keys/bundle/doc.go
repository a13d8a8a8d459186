// Package bundle is TB1, the signed trust bundle a terminal holds: whose codes
// it accepts, by which keys, under which policy.
//
// A bundle is a COSE_Sign message (RFC 9052) over deterministic CBOR, signed by
// the platform's root keys: always at least two, and more than half of them.
// [Bundle.Prepare] gives the bytes to be signed, [Cosign] adds one root's
// signature and [Merge] unites those of several machines; [Sign] does all of it
// where the roots are at hand. [Open] is the only way to get a [Bundle] that
// answers questions; what Open accepts encodes back to the same bytes, and every
// signature in it must hold, so two different files are never one bundle and no
// bit of a file is free.
//
// A bundle is made for the terminals of one operator: it names that operator as
// home ([Bundle.For] refuses any other's) and the issuers it accepts, not the
// whole world.
//
// Single terminals may have a profile in it ([Bundle.ProfileOf]). A thousand that
// share ten take less than 3 KB (TestProfilesAreSmall).
//
// [Open] refuses a bundle that is malformed, tampered with, signed twice by one
// root, signed by too few or by the wrong ones, expired, below the caller's
// floor (an old bundle would bring revoked keys back), one with a key outside
// its usage and one that trusts nobody, each with its own error ([Refusals]).
// [Bundle.Follow] opens the next bundle of a terminal and also refuses a fork
// and a bundle that drops most keys: a publisher's mistake must not close every
// gate of a city.
//
// Roots rotate by a [RootSet] that a threshold of the old AND of the new roots
// signed. Bundles carry the sets so far, so a terminal that missed several
// rotations follows them from the one bundle somebody hands it. Only the first
// set, that of its enrolment, a terminal must get by a way it trusts.
//
// An opened Bundle is immutable, safe for concurrent use and implements
// [code.KeySource]; a look-up is a binary search and allocates nothing. A key
// takes about 54 bytes, 500 keys of 125 tenants are 41 KB (TestBundle500Keys); opened,
// 500 keys take about 120 KB of memory.
//
// Of the home operator it carries a policy and, in at most 32 KB, what its readers may
// know of its prices: the tariff in force and those to come (package gateway/fare,
// EntryFares). Both are bytes here.
//
// The package is pure: it reads no clock (the caller passes now) and verifies
// with Go's crypto/ed25519 alone. Root keys are Ed25519. It does not fetch,
// store or choose bundles, and it does not read policies or the entries of code
// schemes: both are bytes here. It cannot notice that a terminal was set back to
// an old copy of its own memory; gateway/fleet does.
//
// A bundle is signed as a whole and its entries are not. Entries with signatures of
// their own, as the EU's certificate gateway has them, let a receiver cut a subset
// that still verifies; here the publisher cuts it, a bundle for each operator, and
// roots sign the cut. They would take away what the whole gives: somebody on the
// way could leave an entry out, or bring an old one back beside new ones, and each
// entry would need a version and a floor of its own to notice. And two root
// signatures an entry are 145 bytes, 18 KB for 125 tenants on top of 41. Nor does a
// tenant sign its own rows: its key would be vouched for by the same roots that put
// it there, so terminals, which believe the roots, would learn nothing from it. What
// a tenant can check is that its keys are right in what was published: they are in
// its key set and in every bundle, and both are public.
//
// Index blocks of deny lists are not in a bundle either; package denylist says why.
//
// States and usages of keys are declared here and nowhere else.
package bundle
