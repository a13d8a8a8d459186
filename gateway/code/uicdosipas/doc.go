// Package uicdosipas is the code scheme "uic-dosipas": the barcode of European
// rail tickets, UIC IRS 90918-9, with the device signature that makes a copy of
// it worthless.
//
// A code is a [Barcode] in unaligned PER (ITU-T X.691, canonical):
//
//	level 2 signature present | "U1" or "U2" | level 2 | device's signature
//	level 2: level 1 | issuer's signature | dynamic content
//	level 1: security provider (a RICS code or text) | key id | contents ("FCB3", "_1187..") |
//	         algorithms | the device's public key | from U2 on: end of validity, window
//
// The issuer signs level 1. The device, whose key level 1 names, signs level 2
// for each display, with the moment in it ("FDC1"). A code without a device key
// is static: any copy of it is as good, so it is taken only on purpose.
//
// What this package promises:
//
//   - one barcode has one byte form: whatever [Barcode.Parse] takes, the fields
//     make again ([Barcode.Display], [Display.Marshal]). A signature has two, and
//     for that reason no replay key is made of it;
//   - parsing allocates nothing, whatever it is given;
//   - a code whose device signature was taken off is refused as that, and never
//     read as a static one: whether there is to be a signature stands in level 1;
//   - dynamic content without a time stamp, and a ticket whose end cannot be told,
//     are unsupported: a copy of either would be good for ever;
//   - a display lives for the window that the issuer states, at most an hour, from
//     the time stamp on. The stamp has no year; the one next to the tap is meant,
//     and the ends of barcode and ticket rule out another year's;
//   - a hash weaker than its key is not taken, nor an algorithm of another family.
//
// Level 1 is verified with ECDSA on P-256 and, only when a tenant says so, on
// P-224 and P-384, with DSA of 2048 bits (they take about a millisecond) and DSA
// of 1024 bits with SHA-1 (it is weak); hashes are SHA-224 to SHA-512, as strong as
// the key. When the code names no algorithm the key's size does. Level 2 is ECDSA
// on P-256, all that secure hardware has; keys come as points or as
// SubjectPublicKeyInfo. Everything else (larger curves, DSA of 3072 bits,
// brainpool, RSA, EdDSA, fragmented fields, header version 3) is unsupported.
//
// Of the ticket itself it reads what a gate needs (see [Rail]): issue time,
// specimen, activation, and in FCB3 the dates of the first document when that is
// an open ticket or a pass. Where such a ticket is valid is not judged: tickets
// of a provider are good here because a tenant took the provider's keys.
//
// The format name "U1" or "U2" is outside of both signatures. Reading signed
// bits of one version as the other moves every field by four bits, the provider
// first, so it asks for another provider's key.
package uicdosipas
