package settle

import (
	"context"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The due times of a window, from the end of its business date, where the tenant
// has set no [Terms].
const (
	Grace    = 2 * time.Hour  // until it closes: late uploads still join their own day
	PayAfter = 32 * time.Hour // until it is paid: the bill of the next calendar day has come and was reconciled
)

// The errors of this package.
var (
	ErrConfig   = &citygate.Code{Name: "settle.config", Kind: citygate.Internal, Title: "Settlement was put together without a part it needs."}
	ErrAdvice   = &citygate.Code{Name: "settle.advice", Kind: citygate.Invalid, Title: "An advice item cannot be booked. The issuer must send it again correctly."}
	ErrNoPayee  = &citygate.Code{Name: "settle.no_payee", Kind: citygate.Conflict, Title: "An advice names a journey that was never decided here. It waits until it is."}
	ErrConflict = &citygate.Code{Name: "settle.conflict", Kind: citygate.Conflict, Title: "The same advice came again with other content. Nothing was booked; ask the issuer."}
	ErrTerms    = &citygate.Code{Name: "settle.terms", Kind: citygate.Invalid, Title: "These settlement terms cannot be added. Correct the named field; versions that exist never change."}
	ErrFile     = &citygate.Code{Name: "settle.file_differs", Kind: citygate.Conflict, Title: "A payout file of that name exists with other content. It was left alone; move it away if it is not the right one."}
	ErrPayFile  = &citygate.Code{Name: "settle.payment_file", Kind: citygate.Internal, Title: "The payment file does not add up and was not written."}
)

// Directory knows the tenants; *tenants.Directory is one.
type Directory interface {
	ByID(ctx context.Context, id citygate.TenantID) (tenants.Tenant, error)
}

// A Payee is who is paid for a journey, and the tenant that issued the rider's
// credential: the only one that may say what became of the fare.
type Payee struct {
	Name   string
	Issuer citygate.TenantID
}

// Payees names who is paid for journeys, as their decisions say. A journey that
// was never decided is absent.
type Payees interface {
	PayeeOf(ctx context.Context, tx *pg.Tx, journeys []citygate.UUID) (map[citygate.UUID]Payee, error)
}

// Files keeps payout files.
type Files interface {
	// WriteOnce stores a file whole or not at all. A file that exists with
	// equal bytes is success, with other bytes [ErrFile].
	WriteOnce(ctx context.Context, name string, body []byte) error
}

// A Config is what a [Settler] is made of. Every field is required.
type Config struct {
	DB        *pg.DB
	Directory Directory
	Payees    Payees
	Files     Files
}

// A Settler settles for every tenant. It is safe for concurrent use.
type Settler struct {
	Config

	mu    sync.Mutex
	known map[citygate.TenantID]citygate.Calendar
}

// New puts a Settler together.
func New(c Config) (*Settler, error) {
	if c.DB == nil || c.Directory == nil || c.Payees == nil || c.Files == nil {
		return nil, ErrConfig.Because(nil, "every field of the config is required")
	}
	return &Settler{Config: c, known: map[citygate.TenantID]citygate.Calendar{}}, nil
}

// RunDue closes and pays what is due.
func (s *Settler) RunDue(ctx context.Context, tenant citygate.TenantID) error {
	if err := s.CloseDue(ctx, tenant); err != nil {
		return err
	}
	return s.PayDue(ctx, tenant)
}

// tenant reads the directory; never inside a transaction.
func (s *Settler) tenant(ctx context.Context, id citygate.TenantID) (tenants.Tenant, citygate.Calendar, error) {
	t, err := s.Directory.ByID(ctx, id)
	if err != nil {
		return t, citygate.Calendar{}, err
	}
	cal, err := t.Calendar()
	if err == nil {
		s.mu.Lock()
		s.known[id] = cal
		s.mu.Unlock()
	}
	return t, cal, err
}

// calendar gives the tenant's calendar as last read by [Settler.tenant], because
// inside a transaction a read of the directory would need a second connection.
func (s *Settler) calendar(ctx context.Context, id citygate.TenantID) (citygate.Calendar, error) {
	s.mu.Lock()
	cal, ok := s.known[id]
	s.mu.Unlock()
	if ok {
		return cal, nil
	}
	_, cal, err := s.tenant(ctx, id)
	return cal, err
}

// actor is who the audit log names for what falls due.
const actor = "system:settle"
