// Package bundle is TB1, the signed trust bundle a terminal holds: whose codes
// it accepts, by which keys, under which policy.
//
// A bundle is a COSE_Sign message (RFC 9052) over deterministic CBOR, signed by
// the platform's root keys. [Sign] makes one and [Open] is the only way to get
// a [Bundle] that answers questions; what Open accepts encodes back to the same
// bytes, so two different files are never one bundle.
//
// Open refuses a bundle with too few valid root signatures, one that expired,
// one below the caller's floor (an old bundle would bring revoked keys back),
// one with a key outside its usage, a malformed one and one that trusts nobody,
// each with its own error. [Bundle.Follow] opens the next bundle of a terminal
// and also refuses a fork and a bundle that drops most keys: a publisher's
// mistake must not close every gate of a city. Roots rotate by a bundle that a
// threshold of the old AND of the new roots signed.
//
// An opened Bundle is immutable, safe for concurrent use and implements
// [code.KeySource]; a look-up costs one map access and allocates nothing.
//
// The package is pure: it reads no clock (the caller passes now) and verifies
// with Go's crypto/ed25519 alone. Root keys are Ed25519. It does not fetch,
// store or choose bundles, and it does not read policies: Policy is bytes here.
//
// States and usages of keys are declared here and nowhere else.
package bundle
