// Package audit makes the audit logs tamper-evident: who changed what, in an
// order that nobody can alter unseen.
//
// Every state-changing verb writes one row in the transaction of its change, by
// [pg.Tx.Audit]: in its tenant's log, or in the platform's (tenant 0 here) when no
// tenant is bound. Afterwards a [Sealer] gives the rows that wait their place in
// the log's hash chain, in batches, because a chain that writers had to queue for
// would make them wait for each other. Then it seals the chain by a checkpoint
// signed with the tenant's key of purpose "audit"; the platform's log with the
// platform's own key of that purpose. Two instances at once make one chain: links
// are added under a lock on the log's head, and checkpoints are numbered, so the
// second of two with one number is dropped.
//
// # Canonical form of a row
//
// The hash of row seq is SHA-256 over these bytes, integers big-endian:
//
//	"citygate/audit/row/v1" 0x00
//	tenant   uint64         0 = the platform
//	seq      uint64         from 1, without gaps
//	prev     32 bytes       hash of row seq-1; zeros for the first
//	entry    16 bytes       entry_id
//	at       int64          microseconds since 1970-01-01T00:00:00Z
//	actor    uint32 length, UTF-8 bytes
//	verb     the same
//	object   the same
//	before   0x00 for NULL, else 0x01, uint32 length, canonical JSON
//	after    the same
//
// Canonical JSON is that of RFC 8785 (no white space, shortest escapes) with two
// differences that keep every value exact: members are sorted by the bytes of
// their UTF-8 names, and numbers stand as PostgreSQL's jsonb prints them, in plain
// decimals of any length.
//
// # Checkpoints
//
// A checkpoint signs these bytes, Ed25519 or P-256 as [keys.Signer.Sign] says:
//
//	"citygate/audit/checkpoint/v1" 0x00
//	tenant   uint64
//	n        uint64         from 1, without gaps
//	seq      uint64         the last row it seals
//	root     32 bytes       hash of that row, and so of every row before
//	prev     32 bytes       root of checkpoint n-1; zeros for the first
//	at       int64          microseconds since 1970-01-01T00:00:00Z
//	kid      uint8          of the audit key that signed
//
// Test vectors: testdata/vectors.json.
//
// # What is found, and by what
//
// [Verify] reads whole logs and names rows. A column that was changed, a row that
// was deleted, inserted or swapped breaks a hash or a link of the chain. A chain
// that was cut, or written anew with good hashes, breaks a checkpoint, which only
// the key could have made. Where checkpoints were removed too, or the key was
// misused, only a copy of a checkpoint kept elsewhere shows it: [Export] gives
// such copies, and Verify takes them.
//
// What it does not promise: a row is safe from when a checkpoint covers it, which
// takes seconds; before that, whoever may write to the database can remove it
// unseen. Rows that wait longer than [WaitMax] are a finding. A row that somebody
// adds who may write to the database is sealed like any other: the log says what
// was written, not whether it is true. A checkpoint's time is the gateway's.
package audit
