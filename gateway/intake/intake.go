package intake

import (
	"context"
	"crypto"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The errors of this package. With any of them nothing is stored.
var (
	ErrOtherTenant     = &citygate.Code{Name: "intake.other_tenant", Kind: citygate.Forbidden, Title: "The batch belongs to another tenant; send it there."}
	ErrUnknownTerminal = &citygate.Code{Name: "intake.unknown_terminal", Kind: citygate.Unauthenticated, Title: "No such terminal key is registered; enrol the terminal."}
	ErrConfig          = &citygate.Code{Name: "intake.config", Kind: citygate.Internal, Title: "Intake was put together without a part it needs."}
)

// A Terminal is what intake must know about the terminal that signed a batch.
type Terminal struct {
	Key     crypto.PublicKey // ed25519.PublicKey or a P-256 *ecdsa.PublicKey
	Mode    accept.Mode
	Modes   []accept.Mode // others that it was given at times
	Context uint16        // vehicle binding of its reader, 0 = none
}

// Terminals finds a tenant's terminal by key id. An unknown one, or one whose
// uploads are no longer taken, is [ErrUnknownTerminal].
type Terminals interface {
	Terminal(ctx context.Context, tenant citygate.TenantID, keyID uint32) (Terminal, error)
}

// Trust gives what a tenant accepts codes by.
type Trust interface {
	// Keys gives the issuers' public keys of the latest trust bundle. A source that
	// also has Err() error may say there, after it was asked, that it could not
	// answer: then the batch is not taken, and comes again.
	Keys(ctx context.Context, tenant citygate.TenantID) (code.KeySource, error)
	// Rules gives a version of the tenant's acceptance rules; a version that is
	// not known gives the current one.
	Rules(ctx context.Context, tenant citygate.TenantID, version uint64) (*accept.Rules, error)
	// RulesAt gives the version that holds at an event time, in unix milliseconds.
	RulesAt(ctx context.Context, tenant citygate.TenantID, at int64) (*accept.Rules, error)
}

// Calendars gives the calendar that cuts a tenant's business dates.
type Calendars interface {
	Calendar(ctx context.Context, tenant citygate.TenantID) (citygate.Calendar, error)
}

// Config says what a [Recorder] works with.
type Config struct {
	DB        *pg.DB
	Terminals Terminals
	Trust     Trust
	Calendars Calendars
	Schemes   *code.Dispatcher
	// SchemesOf gives the schemes that a tenant's terminals read under some rules,
	// by its latest trust bundle; nil = Schemes, whoever asks.
	SchemesOf   func(ctx context.Context, tenant citygate.TenantID, rules *accept.Rules) (*code.Dispatcher, error)
	Credentials code.CredentialCache // nil works; one for the process is faster
	Workers     int                  // goroutines that verify a batch; 0 = all cores
	// Blocks gives the blocks that an issuer's list gives indices out of, as known or
	// read now; none where nothing is known of the list. It is not called inside a
	// transaction. nil = nobody asks.
	Blocks func(ctx context.Context, issuer citygate.Issuer, list uint16, now bool) (denylist.Blocks, error)
	// Foreign names the riders of other schemes' codes. nil = nobody answers for
	// such codes, and they are refused as unsupported.
	Foreign Foreign
	// Abroad holds the riders of issuers outside the tenant's tree to the terms that
	// were agreed with those: it gives a function that does no I/O. nil = every rider
	// is at home.
	Abroad func(ctx context.Context, tenant citygate.TenantID) (Abroad, error)
	// Copies is told of copied credentials, in the transaction that found them.
	// It may be nil.
	Copies func(ctx context.Context, tx *pg.Tx, copies []Copy) error
	// Denied is told of fresh taps that a terminal refused as denied, in the
	// transaction that recorded them. Their codes are not verified. It may be nil.
	Denied func(ctx context.Context, tx *pg.Tx, denied []Denied) error
}

// A Denied is a tap that a terminal refused as denied.
type Denied struct {
	Rider   citygate.Rider // as the code says
	Counter uint16
	Shown
}

// Foreign is how intake learns who rides on codes of other schemes. Both methods
// are called in the transaction that records the batch.
type Foreign interface {
	// Name gives the names there are at once: where the tenant of tx answers for the
	// codes itself. What is not among them is waited for.
	Name(ctx context.Context, tx *pg.Tx, codes []interbook.Code) ([]interbook.Name, error)
	// Ask is told, late in the transaction, which codes wait for a name that Name
	// did not have asked for itself.
	Ask(ctx context.Context, tx *pg.Tx, codes []interbook.Code) error
}

// Abroad decides on a code by the terms of its issuer that hold at an event time
// (unix milliseconds): why it is refused, "" if it is not, and by which rule; and
// how many days after the event it may be uploaded, 0 = as the rules say.
type Abroad func(c *code.Code, at int64, fare citygate.Money) (reason code.Reason, rule string, uploadDays int64)

// A Copy is a credential that two devices hold: two genuine codes of one display
// with different bytes.
type Copy struct {
	Rider         citygate.Rider
	Counter       uint16
	First, Second Shown
}

// A Shown is one code as a terminal read it.
type Shown struct {
	ID       citygate.TapID
	At       time.Time
	Evidence []byte
}

// A Recorder takes batches. It is safe for concurrent use.
type Recorder struct{ config Config }

// New makes a Recorder.
func New(c Config) (*Recorder, error) {
	if c.DB == nil || c.Terminals == nil || c.Trust == nil || c.Calendars == nil || c.Schemes == nil {
		return nil, ErrConfig
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	return &Recorder{c}, nil
}

// An Outcome is what became of one uploaded tap.
type Outcome string

// The outcomes.
const (
	Recorded  Outcome = "recorded"
	Duplicate Outcome = "duplicate"
	Refused   Outcome = "refused"
)

// An ItemResult answers one tap. The reason of a duplicate is that of the first
// answer, "" if the tap was recorded then.
type ItemResult struct {
	Seq     uint64      `json:"seq"`
	Outcome Outcome     `json:"outcome"`
	Reason  code.Reason `json:"reason,omitempty"`
}

// A Receipt answers a batch. What it names is on disk.
type Receipt struct {
	Terminal uint32       `json:"terminal"`
	Hash     [32]byte     `json:"-"` // of the batch: what the terminal acknowledges by
	Results  []ItemResult `json:"results"`
}

// A BatchJob asks pricing to look at the taps of a batch.
type BatchJob struct {
	Tenant   citygate.TenantID `json:"tenant"`
	Terminal uint32            `json:"terminal"`
	FirstSeq uint64            `json:"first_seq"`
	Count    int               `json:"count"`
}

// Kind names the job.
func (BatchJob) Kind() string { return "pricing.batch" }

// Record takes one uploaded batch of the tenant's terminals.
func (r *Recorder) Record(ctx context.Context, tenant citygate.TenantID, raw []byte) (Receipt, error) {
	b, err := tap.ParseBatch(raw)
	if err != nil {
		return Receipt{}, err
	}
	if b.Tenant != tenant {
		return Receipt{}, ErrOtherTenant
	}
	if b.First > math.MaxInt64-tap.BatchTapsMax {
		return Receipt{}, tap.ErrMalformed.Explain("first sequence number %d", b.First)
	}
	terminal, err := r.config.Terminals.Terminal(ctx, tenant, b.Terminal)
	if err != nil {
		return Receipt{}, fmt.Errorf("terminal %d: %w", b.Terminal, err)
	}
	if err := b.Verify(terminal.Key); err != nil {
		return Receipt{}, err
	}
	in, err := r.read(ctx, b, terminal)
	if err != nil {
		return Receipt{}, err
	}
	// Most of what comes twice is a whole batch whose reply was lost. It is not
	// worth verifying again; the transaction below decides for good.
	var known map[uint64]first
	err = r.config.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		known, err = seen(ctx, tx, b)
		return err
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("look up batch: %w", err)
	}
	r.verify(in, known)
	if f, ok := in.keys.(interface{ Err() error }); ok && f.Err() != nil {
		return Receipt{}, fmt.Errorf("secrets of code schemes: %w", f.Err())
	}
	if err := r.issued(ctx, in); err != nil {
		return Receipt{}, fmt.Errorf("blocks of issued indices: %w", err)
	}
	var results []ItemResult
	err = r.config.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		results, err = r.record(ctx, tx, in)
		return err
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("record batch: %w", err)
	}
	return Receipt{Terminal: b.Terminal, Hash: b.Hash, Results: results}, nil
}
