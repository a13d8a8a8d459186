// Package local keeps keys and secrets as sealed files on disk: the embedded
// default, and the signer of tests.
//
// Each version of a key or secret is one file, sealed with AES-256-GCM under a
// key file of 32 random bytes. The seal binds tenant, name and version, so that
// a file moved or renamed to stand for another is refused. The key file lies
// outside the directory it opens, is readable by its owner alone, and anything
// else is refused with the command that mends it.
//
// A file appears under its name whole and on disk, or not at all: it is written
// aside, synced, linked to its name, and the directory synced. Linking fails
// where the name is taken, which is also how two processes that create, rotate
// or put at once agree on who was first. Files are never changed; old versions
// stay. A process that died can leave a file named ".new-*", which means
// nothing and may be deleted.
//
// Opened keys stay in memory, so signing does no I/O.
//
// What it does not do: somebody who can read both the directory and the key
// file has every key, and somebody who can delete files can roll a secret back.
// Use Vault where that matters. RSA keys come from the system's randomness
// whatever was injected, as Go has no other way.
package local
