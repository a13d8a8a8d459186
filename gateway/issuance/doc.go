// Package issuance decides what riders' devices are given: phones and bands, who
// holds which, and under which limits their credentials are issued and renewed.
// Package credential signs them.
//
// # Devices
//
// A device is a key. It proves that it holds it by signing a challenge of ours
// ([Office.Challenge], [Proof]), and a phone may show that the key lies in secure
// hardware by an Android key attestation ([Roots.Check]); an issuer that checks
// other evidence in its own back end, such as Apple's, vouches for it. A key is
// held by one device at a time: nobody else can register it until the device is
// released, or was reported lost and the waiting period of the policy is over.
//
// A band is bound to one phone, whose account it rides on. It holds less than its
// phone by policy ([Policy.Check]): lower caps, fewer taps, fewer hours.
//
// # Credentials
//
// Product, cap, taps, hours and window follow from the policy in force and the
// account; a caller chooses none of them. [Office.Renew] gives a device its
// credential: the one it has while at least half of its life is left, a new one
// otherwise. So a device may ask whenever it is online, an answer that was lost is
// given again, and no device ever holds more than two that are alive. A concession
// ends with its proof: no credential outlives it.
//
// # Losses
//
// [Office.ReportLoss] takes a lost phone, a lost band or both in one call: their
// credentials are on the deny list in the same transaction, and the next
// publication takes them to the validators. What a thief can ride for until then
// is bounded by [Policy.LargestLoss].
//
// Limits: a band with a hash chain (suite 4 of package ct1) has no key to sign a
// challenge with, so whoever knows its anchor can register it first; anchors are
// secret until the band is bound. Attestation certificates are checked against the
// roots given, not against a revocation list. A process that stands still between
// reserving a credential and storing it for more than [signingTime] and then goes
// on can make it three that are alive.
package issuance
