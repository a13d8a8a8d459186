// Package tap is what a terminal records for every presentation of a code, and
// the signed batch in which it uploads those records.
//
// A [Record] has one encoding: whatever [ParseRecord] reads marshals back to
// the same bytes, so the SHA-256 of the bytes ([Digest]) identifies the
// content. All integers are big endian.
//
//	record  off size field
//	        0   1    version, 1
//	        1   1    kind: 1 on, 2 off, 3 single
//	        2   1    1 accepted, 0 refused
//	        3   1    clock source, 0 to 3
//	        4   1    party size
//	        5   4    terminal key id
//	        9   8    sequence number, from 1
//	        17  8    event time, unix milliseconds, signed
//	        25  4    boot id
//	        29  8    milliseconds since boot
//	        37  8    bundle version
//	        45  8    deny list version
//	        53  8    policy version
//	        61  8    tariff version
//	        69  ...  fields: type u8, length u16, value; types strictly ascending
//
//	field   1 reason (exactly on refused records)   2 stop    3 route   4 trip
//	        5 vehicle   6 driver   7 shift   8 entered amount: minor i64, currency 3
//	        9 software version   10 raw code bytes
//	        11 when the deny list was last known to be the newest: unix seconds u32
//	        12 1 = accepted though only the code's issuer can prove it
//	        13 the rule of that policy version which decided, if one did
//
// Text is UTF-8 of 1 to 64 bytes; an empty field is left out. A type this
// version does not know is kept and written back as it came, so that an older
// gateway loses nothing of a newer terminal; a type with the bit 0x80 is
// critical and an unknown one of those is refused.
//
// A batch carries records with consecutive numbers, signed once:
//
//	batch   0   4    "CTB1"
//	        4   1    0
//	        5   8    tenant
//	        13  4    terminal key id
//	        17  8    first sequence number
//	        25  4    count
//	        29  32   hash of the previous batch, zeros for the first
//	        61  ...  count times: length u32, record
//	        end 64   signature over everything before it
//
// The signature is Ed25519, or ECDSA P-256 over SHA-256 as raw r||s with low s,
// as the terminal's registered key says. The hash of a batch is the SHA-256 of
// the signed bytes without the signature, so that signing the same content
// again makes no other batch. A batch holds at most [BatchTapsMax] records and
// [BatchBytesMax] bytes.
package tap
