package credential

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals.
var (
	ErrNoAccount  = &citygate.Code{Name: "credential.no_account", Kind: citygate.NotFound, Title: "There is no such account. Open it first."}
	ErrClosed     = &citygate.Code{Name: "credential.account_closed", Kind: citygate.Conflict, Title: "The account is closed. Open another one."}
	ErrDenied     = &citygate.Code{Name: "credential.account_denied", Kind: citygate.Forbidden, Title: "The account is denied. Settle what it owes, then ask again."}
	ErrRequest    = &citygate.Code{Name: "credential.request", Kind: citygate.Invalid, Title: "No credential can be made of this request. Correct the named field."}
	ErrNotIssued  = &citygate.Code{Name: "credential.not_issued", Kind: citygate.NotFound, Title: "No such credential was issued. Check issuer, list and index."}
	ErrNoIssuer   = &citygate.Code{Name: "credential.no_issuer", Kind: citygate.Conflict, Title: "The tenant issues no codes: it has no issuer number."}
	ErrNoList     = &citygate.Code{Name: "credential.no_list", Kind: citygate.NotFound, Title: "No such deny list was published."}
	ErrListFull   = &citygate.Code{Name: "credential.list_full", Kind: citygate.Conflict, Title: "This week's list is full. Issue from next week's."}
	ErrBusy       = &citygate.Code{Name: "credential.busy", Kind: citygate.Unavailable, Title: "The list is being published by others at the moment. Try again."}
	ErrBadReason  = &citygate.Code{Name: "credential.reason", Kind: citygate.Invalid, Title: "The reason is not a word in lower case."}
	ErrBadAccount = &citygate.Code{Name: "credential.account", Kind: citygate.Invalid, Title: "No account can be opened like this. It needs a contract and the provider's name for the payer."}
)

// A State is an account's place in its life.
type State string

// The states of an account.
const (
	Active State = "active"
	Closed State = "closed"
)

// An Account is who pays.
type Account struct {
	ID       citygate.UUID
	Contract string // with the provider that collects
	RiderRef string // the provider's name for the payer, unique under the contract
	Category string // concession class, "" = none
	State    State
}

// A Request asks for one credential.
type Request struct {
	Account   citygate.UUID
	Device    citygate.UUID // of package issuance; zero = the device has no record
	Suite     uint8
	Medium    uint8 // what the device is: see package code
	DeviceKey []byte
	Product   uint16
	Cap       uint16 // highest fare for one tap, in the tenant's cap units
	Taps      uint8  // highest counter accepted, 0 = unlimited
	Window    uint8  // seconds a display lives; 0 = 30, on a band 60
	TTLHours  uint16 // 0 = 168, a week; on a hash chain as long as it lasts, if that is less
}

// An Issue is a credential for the device, with the server's time, by which the
// device may set its clock.
type Issue struct {
	Rider      citygate.Rider
	Credential []byte
	ExpiresAt  time.Time
	ServerTime time.Time
}

// A Credential is what is on record about an issued credential.
type Credential struct {
	Rider   citygate.Rider
	Account citygate.UUID
	PartA   []byte
}

// A DeviceCredential is one that a device holds and that has not run out.
type DeviceCredential struct {
	Rider     citygate.Rider
	IssuedAt  time.Time
	ExpiresAt time.Time
	PartA     []byte   // nil: it is being signed, or whoever signed it died
	Denied    []string // why it is on the deny list, in alphabetical order
}

// Issued reports whether c shows this very credential. A code can carry the
// rider of a genuine credential and another device key, if somebody signs with
// a stolen issuer key: only the record tells them apart.
func (r Credential) Issued(c *code.Code) bool { return bytes.Equal(r.PartA, c.Credential) }

// A Directory gives tenants.
type Directory interface {
	ByID(ctx context.Context, id citygate.TenantID) (tenants.Tenant, error)
}

// A Config is what a Registry is made of. DB, Ring and Directory are required.
type Config struct {
	DB        *pg.DB
	Ring      *keys.Ring
	Directory Directory
	// ListValidity is how long a deny list may be used; 0 = 72 hours. It is
	// published again, changed or not, when half of it is over.
	ListValidity time.Duration
	// HeartbeatEvery is how often validators are told that there is nothing newer;
	// 0 = 5 minutes.
	HeartbeatEvery time.Duration
	// Random makes the keys of the secret orders; nil = crypto/rand.
	Random io.Reader
}

// A Registry issues credentials and publishes deny lists for every tenant. Safe
// for concurrent use.
type Registry struct{ Config }

// New makes a Registry.
func New(c Config) *Registry {
	if c.ListValidity == 0 {
		c.ListValidity = 72 * time.Hour
	}
	if c.HeartbeatEvery == 0 {
		c.HeartbeatEvery = 5 * time.Minute
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return &Registry{c}
}

// Week gives the list that is issued from at t: the week number since 1970.
func Week(t time.Time) uint16 { return uint16(t.Unix() / (7 * 24 * 3600)) }

func (r *Registry) issuer(ctx context.Context, tenant citygate.TenantID) (citygate.Issuer, error) {
	t, err := r.Directory.ByID(ctx, tenant)
	if err != nil {
		return 0, err
	}
	if t.Issuer == 0 {
		return 0, ErrNoIssuer.Explain("tenant %s", t.Slug)
	}
	return t.Issuer, nil
}
