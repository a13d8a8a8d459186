// Package ct1 is Citygate's native ride code: 192 bytes on a phone (suite 3),
// 191 or 127 on a band (suites 0 and 4), that two parties who are both offline
// can settle on.
//
// Part A is the credential. The issuer signs it while the device is online; it
// carries limits, a lifetime and the device's public key. Part B is made by the
// device, offline, for each display: its age, a counter and the device's
// signature over everything before it. A verifier needs the issuer's public key
// and nothing secret.
//
//	A: magic 7D | hdr | issuer 2 | kid 1 | list 2 | idx 4 | iat 4 | ttl 2 | product 2 |
//	   cap 2 | taps 1 | win 1 | device key 33, 32 or 16 | extensions | issuer signature 64
//	B: age 3 | flags 1 | ctr 2 | ctx 2 | device signature 64 or 16
//
// All numbers are big endian. hdr holds the version in bits 7-5 (1), the suite
// in bits 4-2, has_ext in bit 1 and a reserved zero. flags holds the party size
// in bits 7-4 (1..15), the clock quality in bits 3-2 (0 network, 1 recently
// synced, 2 unknown) and the medium in bits 1-0 (0 phone, 1 band, 2 server batch,
// 3 other). Extensions are a length byte 1..21, then type, length, value in
// strictly ascending type; unknown types are kept and mean nothing here.
//
// The issuer signs "CT1-cred" 00 and A without its signature; the device signs
// "CT1-dyn" 00, A with its signature, and the first 8 bytes of B. The credential
// ends at iat + ttl x 3600, a display is made at iat + age.
//
// What this package promises:
//   - one code has one byte form. Whatever [Scheme.Parse] takes, [Marshal] gives
//     back; a P-256 signature of either party must have the low S, trailing bytes,
//     reserved bits, clock quality 3, a party of 0 and unordered extensions are
//     malformed;
//   - parsing allocates nothing, whatever it is given;
//   - Ed25519 signatures are taken exactly when crypto/ed25519 takes them, so the
//     validator, the gateway and a dispute agree on every edge case;
//   - a device key is looked at only after the issuer's signature over it holds.
//
// A display with a party of 0 is no ride. Signed like any other it proves its rider to
// the gateway ([DisplayProof], [ParseProof]), which takes nothing that readers have seen
// for that from a device with a key of its own; readers refuse it as malformed.
//
// The suites, as issuer and device: 0 Ed25519 and Ed25519, 1 P-256 and P-256, 2
// SM2 and SM2 (default user id), 3 Ed25519 and P-256, 4 Ed25519 and a hash chain.
// A key of an issuer verifies the suites of its own algorithm alone.
//
// Suite 4 is for bands without public-key crypto, 127 bytes, and promises less.
// The device key is the 16-byte anchor of a chain and the device's signature a
// 16-byte value of it ([ChainAnchor] says how they hang together). A value proves
// the slot of time that it belongs to, age / win, and nothing else: so age is a
// multiple of win, ctr is the slot, and flags and ctx have one value (a party of
// 1, unknown clock, band; 0). Whoever sees the band can show its code elsewhere
// until the slot is over, no vehicle can be bound, and there is no tap budget,
// since the counter counts slots and not taps: bound the loss by cap, hours and
// a short win. A seed serves one credential; under two, one's values open both.
// The verdict's strength says so: secret_bound, not device_bound. The replay key
// (issuer, list, idx, ctr) is the slot's, which no copy can change: one validator
// takes a slot once, and the issuer finds a slot taken at two. What is left is a
// copy shown at another validator inside the slot, which rides, at the owner's
// charge if it comes first; and an honest rider has one ride a slot.
//
// Codes made ahead (medium server batch) are for wallets and bands that have no
// key: a server that holds the device key signs the codes of consecutive windows
// ([Batch]). Who copies them rides until they end, a day at most; the verdict is
// static_signed.
//
// What it does not: windows, limits, deny lists and replay are the caller's.
//
// Readers and cameras that mangle bytes use the text form, "CT1:" and base45
// (RFC 9285): see [Text] and [ParseText].
package ct1
