package audit

import (
	"time"

	"github.com/cashlesscity/citygate"
)

// Platform is the number of the log of what was changed outside any tenant.
const Platform citygate.TenantID = 0

// Prefix begins an entry's id at the API.
const Prefix = "aud_"

// A Checkpoint is a signed seal: the chain of a log's rows up to Seq has the root
// Root.
type Checkpoint struct {
	Tenant    citygate.TenantID
	N         int64 // from 1, without gaps
	Seq       int64
	Root      Hash // hash of row Seq
	Prev      Hash // root of checkpoint N-1, zeros for the first
	At        time.Time
	KeyID     uint8 // of the audit key
	Signature []byte
}

// A Filter says which rows to list. Its zero value passes all.
type Filter struct {
	Actor  string
	Verb   string // one that ends in a dot passes every verb that begins so
	Object string
	From   time.Time // inclusive
	Until  time.Time // exclusive
}

// errChain is found by the gateway itself while it adds links: somebody else wrote
// to a chain whose head it holds.
var errChain = &citygate.Code{Name: "audit.chain", Kind: citygate.Internal, Title: "The audit chain changed under the sealer's lock. Run \"citygate audit verify\"."}

// ErrCopy says that a file of copies cannot be read.
var ErrCopy = &citygate.Code{Name: "audit.copy_invalid", Kind: citygate.Invalid, Title: "The copy of checkpoints cannot be read. Give a file that \"citygate audit export\" wrote."}
