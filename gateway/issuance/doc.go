// Package issuance decides what riders' devices are given: phones and bands, who
// holds which, and under which limits their credentials are issued and renewed.
// Package credential signs them.
//
// # Devices
//
// A device is a key. It proves that it holds it by signing a challenge of ours
// ([Office.Challenge], [Proof]), and a phone may show that the key lies in secure
// hardware by an Android key attestation ([Roots.Check]). On an iPhone the issuer's
// app vouches for the key, and Apple for the app ([Apple.Attested]): a key of App
// Attest signs nothing but Apple's own layout, so it cannot sign codes itself. An
// issuer that checks other evidence in its own back end vouches for it. A key is
// held by one device at a time: nobody else can register it until the device is
// released, or was reported lost and the waiting period of the policy is over.
//
// A band is bound to one phone, whose account it rides on. It holds less than its
// phone by policy ([Policy.Check]): lower caps, fewer taps, fewer hours.
//
// # Revoked makers' keys
//
// Every certificate of an Android attestation is held against the makers' status
// list that the platform keeps ([Statuses], [ParseStatusList]). One that is on the
// list is refused ([ErrRevoked]), and a device that was attested by it counts as
// unproven from its next credential on. The list says nothing about its own age, so
// the time at which it was fetched counts. Without a list, or with one older than
// [Statuses.MaxAge], an attestation counts as vouched only, and the answer says so
// ([Attestation.Revocation]); a policy with FreshStatus refuses it ([ErrStatus]).
// Such a device stays vouched until it is released and registered again.
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
// # Media with a weaker promise
//
// A wallet, or a band without a key, is known by a name alone, and whoever may
// register devices says whose it is. [Office.Batch] makes its codes ahead: the key
// that signs a batch is made for it and forgotten, and only the codes are kept, until
// they run out. Who copies them, out of the medium, a backup or the database, rides
// as well as the owner, each code once; at validators that are offline the first to
// show a window's code has it. So the cap is at most a band's, a batch lasts at most
// [ct1.BatchHoursMax], and the loss is stated ([Policy.LargestBatchLoss]).
//
// A band with a hash chain (suite 4 of package ct1) is given no longer life than a
// chain has displays, 96 hours by default, and needs a new chain for every credential
// ([Office.RenewChain]). It has no tap budget: its largest loss is a fare for every
// display of its life.
//
// # Losses
//
// [Office.ReportLoss] takes a lost phone, band, wallet or all in one call: their
// credentials are on the deny list in the same transaction, and the next
// publication takes them to the validators. What a thief can ride for until then
// is bounded by [Policy.LargestLoss].
//
// Limits: a band with a hash chain has no key to sign a challenge with, so whoever knows its anchor can register it first; anchors are
// secret until the band is bound. An app that Apple attests was not changed, but
// nothing of Apple's says that the key it names is in the Secure Enclave: that is the
// app's word. The receipt in an App Attest object, which Apple's servers would answer
// with a count of attestations on the device, is not used. A process that stands still between
// reserving a credential and storing it for more than [signingTime] and then goes
// on can make it three that are alive.
package issuance
