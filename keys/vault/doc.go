// Package vault keeps keys in Vault's transit engine and provider credentials
// in its key/value store, version 2. It passes keys/keystest on a real server.
//
// All tenants share one transit mount; a key's name is made from tenant and
// purpose by one function, [KeyName]. Private keys never leave Vault: a key that
// is exportable or may be backed up in plain text is refused before anything is
// signed with it, at the start for the platform's keys and at first use for a
// tenant's ([Store.Inspect] looks at all). Every signature names its version.
//
// A process has one identity that signs and reads ([Config.Sign]) and, where it
// administers, a second that makes and rotates keys and stores credentials
// ([Config.Admin]); neither can do the other's work. deploy/vault has their
// policies. The environment (VAULT_ADDR, VAULT_TOKEN and so on) counts for
// nothing.
//
// # When Vault is not well
//
// Every call ends within [Config.Deadline], 2 seconds by default. A failure is a
// [keys.Unavailable] with reason and time of the next try:
//
//   - sealed, down, slow: after five failures in a row calls are refused at
//     once, and one at a time tries, every second at first and at least every
//     five; the first success ends that. [Store.Versions] answers from memory
//     for as long as [Config.Remember], so verification goes on; signing fails.
//   - 429: the tenant that was told so waits, others go on.
//   - 403: one login for all callers, at most one every five seconds, then the
//     call is tried once more, then it fails.
//
// Signing and reading are tried a second time after a broken connection. Rotate
// and Put are sent once; when their reply is lost the version is read again, and
// says whether they happened.
//
// Tokens are renewed in the background. At the end of a token's longest life
// there is a new login; a token that could not be renewed in half the time that
// was left for it is an error in the log and in [Store.Health].
package vault
