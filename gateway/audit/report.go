package audit

import (
	"fmt"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// WaitMax is how long a row may wait for a checkpoint before that is a finding.
const WaitMax = time.Minute

// listedMax bounds the findings that a [Report] lists; all are counted.
const listedMax = 1000

// The kinds of findings.
const (
	Altered     = "altered"      // a row or a checkpoint does not fit its hash or signature
	BrokenLink  = "broken_link"  // a row does not follow the row before it
	Missing     = "missing"      // rows are not there
	Beyond      = "beyond_head"  // a row was added past the chain's end
	WrongHead   = "wrong_head"   // the chain's end is not the last row
	WrongRoot   = "wrong_root"   // a checkpoint seals another row than the one there
	NoSeal      = "no_seal"      // a checkpoint is not there
	WrongKey    = "wrong_key"    // an audit key is not the key store's, or must not count
	CopyDiffers = "copy_differs" // the log is not what a copy kept elsewhere says
	Unsealed    = "unsealed"     // a row waits for too long
)

// A Finding is one thing that is not as it was written. Row, Checkpoint and Entry
// name it as far as they are known.
type Finding struct {
	Tenant     citygate.TenantID `json:"tenant"` // 0 = the platform
	Kind       string            `json:"kind"`
	Row        int64             `json:"row,omitempty"`
	LastRow    int64             `json:"last_row,omitempty"` // of several, from Row on
	Entry      string            `json:"entry,omitempty"`
	Checkpoint int64             `json:"checkpoint,omitempty"`
	Detail     string            `json:"detail"`
}

// String gives the finding on one line.
func (f Finding) String() string {
	var b strings.Builder
	if f.Tenant == Platform {
		b.WriteString("platform: " + f.Kind)
	} else {
		fmt.Fprintf(&b, "tenant %d: %s", f.Tenant, f.Kind)
	}
	switch {
	case f.LastRow > f.Row:
		fmt.Fprintf(&b, " rows=%d..%d", f.Row, f.LastRow)
	case f.Row > 0:
		fmt.Fprintf(&b, " row=%d", f.Row)
	}
	if f.Entry != "" {
		b.WriteString(" entry=" + f.Entry)
	}
	if f.Checkpoint > 0 {
		fmt.Fprintf(&b, " checkpoint=%d", f.Checkpoint)
	}
	return b.String() + ": " + f.Detail
}

// A Report is what [Verify] read and found.
type Report struct {
	Logs        int `json:"logs"`
	Rows        int `json:"rows"` // in chains
	Checkpoints int `json:"checkpoints"`
	// Waiting counts rows that no checkpoint covers yet; OldestSeconds is the age of
	// the oldest.
	Waiting       int   `json:"waiting"`
	OldestSeconds int64 `json:"oldest_waiting_s"`
	// Keys says what the audit keys were held against.
	Keys     KeyTrust  `json:"keys"`
	Copies   int       `json:"copies"` // checkpoints of copies that were compared
	Wrong    int       `json:"wrong"`
	Findings []Finding `json:"findings"`
}

// A KeyTrust says where the public keys came from that seals were verified with.
type KeyTrust string

// The sources of public keys, the weakest first. Of several logs the weakest is told.
const (
	Announced KeyTrust = "announced" // the database's own word: who rewrites the log can rewrite it too
	KeyStore  KeyTrust = "key_store" // what the key store holds
)

// OK reports whether nothing was found.
func (r *Report) OK() bool { return r.Wrong == 0 }

func (r *Report) find(f Finding) {
	r.Wrong++
	if len(r.Findings) < listedMax {
		r.Findings = append(r.Findings, f)
	}
}
