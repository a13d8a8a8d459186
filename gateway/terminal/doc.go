// Package terminal is the offline SDK of a validator: it decides whether the
// gate opens, remembers what it saw, and keeps a journal of every tap until the
// gateway has acknowledged it.
//
// A [Verifier] runs one tap in this order: parse; window, cap and budget
// (policies/accept); deny list; replay memory; signatures; journal, synced to
// disk; replay memory written; gate. So a gate that opened has a record on disk
// whatever happens next, and a forged code never fills the replay memory.
// Refusals are journalled, and synced, before they are reported. When the
// journal cannot be written the gate stays shut. A code whose display only its
// check can tell (it says no time) is looked up in the replay memory after that
// check once more, and a deferred code opens nothing.
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
//
// # Tutorial
//
// The examples beside this page run; the package example is this tutorial in one
// piece.
//
// Enrolment gives the terminal an operator's tenant number, a key id for its own
// key, and the platform's root keys. The private key may stay in secure hardware:
// [Config.Sign] is called for uploads alone. Then
//
//	root, err := os.OpenRoot("/var/lib/validator") // on storage that keeps what was synced
//	v, err := terminal.Open(terminal.Config{
//		Files: terminal.Dir(root), Tenant: tenant, KeyID: keyID, Sign: sign,
//		Mode: accept.Bus, Software: "acme-4.2", BootID: boots, // another one after each start
//		Schemes: code.NewDispatcher(ct1.Scheme{}), Credentials: code.NewCredentials(4096),
//		Roots: roots, Threshold: threshold,
//	})
//
// Whenever there is a network, and it need not be the terminal's own: fetch
// /v1/tenants/{tenant}/bundle and, for each issuer in it, /v1/issuers/{issuer}/lists
// and the lists named there, and hand the bytes over. Neither the way they came
// nor the server needs to be trusted; what is refused changes nothing.
//
//	err = v.InstallBundle(now, raw)
//	err = v.Install(now, raw) // a snapshot, a delta or a heartbeat of a deny list
//
// For each code that the reader gives, bytes or text:
//
//	d, err := v.Tap(now, scanned, terminal.Input{
//		MonotonicMS: sinceBoot, Clock: tap.ClockGNSS, Kind: tap.Single, Vehicle: "bus-7", Fare: fare,
//	})
//	if err == nil && d.Open {
//		gate.Open()
//	}
//
// d.Reason says what to tell the rider: expired_code and not_yet_valid "show a
// fresh code", expired_credential, taps_exhausted and stale_list "open the app
// online once", amount_over_cap, denied and product_not_valid_here "pay another
// way", replayed "already used here". An error means that the tap is not on disk
// and the gate stays shut: the storage needs attention.
//
// Whenever there is a network, upload until nothing is left. Ask for the next
// batch only after the answer to the one before; after a lost answer, a crash or
// a week, the same bytes come out again, and the gateway counts no tap twice.
//
//	for {
//		batch, err := v.NextBatch(0) // nil: nothing is left
//		...                          // POST /v1/tap-batches, as it is; wait for 200
//		parsed, err := tap.ParseBatch(batch)
//		err = v.Ack(parsed.Hash)
//	}
//
// [Verifier.Status] is what a terminal can tell support. "citygate terminal sim"
// plays readers made of this package through an hour offline, and "citygate
// terminal bench" says what one presentation costs on a machine. For other
// languages see gateway/terminal/cabi (C) and gateway/terminal/ts (TypeScript).
package terminal
