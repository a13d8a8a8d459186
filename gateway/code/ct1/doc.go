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
//	B: age 3 | flags 1 | ctr 2 | ctx 2 | device signature 64 or preimage 16
//
// All numbers are big endian. hdr holds the version in bits 7-5 (1), the suite
// in bits 4-2, has_ext in bit 1 and a reserved zero. flags holds the party size
// in bits 7-4 (1..15), the clock quality in bits 3-2 (0 network, 1 recently
// synced, 2 unknown) and the medium in bits 1-0 (0 phone, 1 band, 2 server batch,
// 3 other). Extensions are a length byte 1..21, then type, length, value in
// strictly ascending type; unknown types are kept and mean nothing here.
//
// The suites:
//
//	0  Ed25519 issuer, Ed25519 device       191 bytes   bands that can sign
//	1  P-256 issuer, P-256 device           192
//	2  SM2 issuer, SM2 device               192         signs SM3 with the user id 1234567812345678
//	3  Ed25519 issuer, P-256 device         192         phones: what secure hardware can do
//	4  Ed25519 issuer, hash chain           127         bands that cannot sign
//
// A key's algorithm comes with the key. A code whose suite says another one is
// unsupported: the code never chooses how a key is used.
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
// What it does not: windows, limits, deny lists and replay are the caller's.
//
// # Hash chains (suite 4)
//
// The device key is an anchor of 16 bytes, H applied n times to a random seed; H
// is the first 16 bytes of SHA-256. Time is cut in slots of win seconds from iat,
// at most [SlotsMax] of them. In slot k, from 0, the band shows the value that
// k+1 times H leads to the anchor. Nothing is signed, so nothing in part B can be
// chosen: age is k x win, ctr is k+1, flags are 19 (a party of one, clock
// unknown, band) and ctx is 0. Any other part B is malformed.
//
// The promise is weaker, and the verdict says so ([code.SecretBound]): who sees a
// display can show it again until its slot and the skew are over, and can make
// those of the slots before, which are over. The replay key (issuer, list, idx,
// ctr) is the slot's, which no copy can change, so that one validator takes a
// slot once and the issuer finds a slot taken at two. What is left: a copy shown
// at another validator inside the slot rides, and if it is first, at the owner's
// charge. A rider gets one ride a slot. There is no tap budget (taps is 0), no
// companions and no vehicle binding. The preimage is not bound to the credential:
// an anchor must be issued once.
//
// # Codes made ahead (medium server batch)
//
// For media that have no key, or no clock they can hash with, a server holds the
// device key and signs the codes of consecutive windows ahead: see [Batch]. Who
// copies them rides until they end; the verdict is [code.StaticSigned].
//
// Readers and cameras that mangle bytes use the text form, "CT1:" and base45
// (RFC 9285): see [Text] and [ParseText].
package ct1
