// Package intake takes the taps that terminals upload: it believes none of it
// and loses none of it.
//
// [Recorder.Record] takes one signed batch. It checks the terminal's signature,
// verifies every code again on all cores by the policy version the terminal
// used, and stores the batch in one transaction: identities (tap_seen), taps,
// evidence, first uses of displays, and one job for pricing if anything new was
// accepted. The answer has one line for each tap:
//
//	recorded            accepted, and on disk
//	refused(reason)     stored with the reason: the terminal's own if it refused
//	                    the tap, else the gateway's
//	duplicate(reason)   was here before; reason repeats the first answer
//
// So a lost reply is repaired by sending the same batch again. A bad batch (not
// canonical, too large, not signed by its terminal) is an error and stores
// nothing.
//
// What only the gateway can see:
//
//   - a display of a credential used twice at this tenant's terminals. The same
//     code bytes at another terminal are a double_use, at the same one replayed;
//     other bytes with the same counter are a clone. The first upload keeps the
//     display; the evidence of both is stored.
//   - a genuine credential whose index was not issued on the day it says
//     (not_issued): its issuer's key is in other hands.
//   - an accepted tap that says by which deny list it was decided, when that list
//     and the credential were too old for the policy (stale_list).
//   - a sequence number that comes again with other content: the second content
//     is kept in tap_conflicts, refused as sequence_conflict, and the terminal
//     is flagged.
//   - a tap from after its own receipt (clock_suspect), or from longer ago than
//     the policy takes (too_late).
//   - the chain of batches. A batch is stored whether or not the one before is
//     here; the chain is checked when that comes. A fork flags the terminal at
//     once, a gap when it lasts ([Recorder.Due]). Neither refuses taps.
//   - a terminal whose clock is wrong, by the median of code time minus event
//     time over its last taps, refused ones included if their signatures hold.
//
// Taps of other tenants' riders are verified like any other; what the issuer
// finds out later arrives as a verdict ([WriteVerdicts]) and changes the final
// answer, not the row of the tap.
//
// Batches of one terminal are recorded one after the other (a row lock); batches
// of different terminals meet in tap_uses only, which is written in key order.
package intake
