package audit

// Connect numbers and hashes rows behind the row seq with the given hash, as the
// sealer does.
func Connect(rows []Row, seq int64, hash Hash) error { return connect(rows, link{seq, hash}) }

// Message gives what a checkpoint signs.
func (c *Checkpoint) Message() []byte { return c.message() }

// Canonical gives the canonical form of a JSON value.
func Canonical(raw []byte) ([]byte, error) { return canonicalJSON(raw) }
