// Package terminal is the offline SDK of a validator: it decides whether the
// gate opens, remembers what it saw, and keeps a journal of every tap until the
// gateway has acknowledged it.
//
// A [Verifier] runs one tap in this order: parse; window, cap and budget
// (policies/accept); deny list; replay memory; signatures; journal, synced to
// disk; replay memory written; gate. So a gate that opened has a record on disk
// whatever happens next, and a forged code never fills the replay memory.
// Refusals are journalled, and synced, before they are reported. When the
// journal cannot be written the gate stays shut.
//
// What it promises, held by a test that stops the machine before and after
// every file operation:
//
//   - a tap whose gate opened is in the journal after any crash, once;
//   - a batch once handed out is handed out again with the same bytes until it
//     is acknowledged, and the chain of batches never forks;
//   - the same display is never accepted twice by one terminal, also across a
//     crash, a reboot or a clock that goes back.
//
// What it does not: a crash between the journal's sync and the gate leaves a
// record of a ride that was not taken. A code copied to a second terminal
// inside its window is accepted there; the gateway finds it at upload.
//
// Deny lists come as snapshots, deltas and heartbeats, by any channel and in any
// order; [Verifier.Install] takes them all. What is held stays in use until what
// replaces it was verified and is on disk, its sequence number only grows, and a
// list that is not exactly what its issuer signed is refused. A rider on no list is
// as good as the later of two instants says: when that list was last known to be
// the newest, and when his credential was issued ([accept.Rules.Freshness]).
//
// The package asks nobody for the time: the caller passes the wall clock (unix
// milliseconds) and the milliseconds since boot. The terminal's own time never
// goes back: it is at least the last signed time seen (bundle, deny list or heartbeat) and
// at least the last accepted tap plus the monotonic time since. Refused taps do
// not move that floor, so that a clock that jumps ahead for a while does not
// lock the terminal once it is put right. While the given clock is behind the
// floor, taps are marked as of unknown clock and the lower cap applies.
//
// Files come in by the [Files] interface; [Dir] is the one for a real
// directory. The terminal's own disk is trusted: a bundle in a slot was
// verified before it was written. A terminal whose disk is set back to an old
// copy holds an old bundle again and cannot know; its taps name the bundle, and
// the gateway notices.
//
// One directory belongs to one Verifier at a time; a Verifier is safe for
// concurrent use and takes one tap at a time.
package terminal
