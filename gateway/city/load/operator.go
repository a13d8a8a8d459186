package load

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The operator and what it charges.
const (
	Tenant   citygate.TenantID = 1
	Issuer   citygate.Issuer   = 301
	Currency citygate.Currency = "CNY"
	Fare     int64             = 200 // minor units for every ride
	FeePPM   int64             = 5000

	capUnit  = 10
	contract = "sandbox"
	actor    = "user:load"
)

// Zone is the operator's time zone; its business date starts at 04:00.
const Zone = "Asia/Shanghai"

// A Config says where an operator's gateway lives and how it is run.
type Config struct {
	Dir     string // keys and files; made if need be
	AppURL  string
	JobsURL string
	Clock   citygate.Clock `json:"-"`

	Terminals int // 0 = 64
	Payees    int // owners of the buses, who are paid; 0 = 1
	Seed      uint64

	Sandbox     sandbox.Config
	Collect     collect.Rules
	Connections int32 // 0 = the gateway's own default
	Workers     int
	Log         *slog.Logger `json:"-"` // nil = silent

	// Front, if set, stands before the sandbox: a test puts a fault there.
	Front func(*sandbox.Provider) driver.Provider `json:"-"`
	// Served stands before the API; see gateway.Config.
	Served func(http.Handler) http.Handler `json:"-"`
}

// An Operator is a gateway with the one tenant of this package.
type Operator struct {
	Config
	Gateway *gateway.Gateway
	Sandbox *sandbox.Provider // once the first charge was made

	files *os.Root
}

// Open starts the gateway over the directory and the migrated database. Jobs
// are worked from [gateway.Gateway.Start] on.
func Open(ctx context.Context, c Config) (*Operator, error) {
	if c.Terminals == 0 {
		c.Terminals = 64
	}
	c.Payees = max(c.Payees, 1)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	o := &Operator{Config: c}
	if err := o.open(ctx); err != nil {
		return nil, errors.Join(err, o.Close(context.WithoutCancel(ctx)))
	}
	return o, nil
}

func (o *Operator) open(ctx context.Context) error {
	files := filepath.Join(o.Dir, "files")
	if err := os.MkdirAll(files, 0o700); err != nil {
		return err
	}
	var err error
	if o.files, err = os.OpenRoot(files); err != nil {
		return err
	}
	keyFile := filepath.Join(o.Dir, "keys.key")
	if _, err := os.Stat(keyFile); errors.Is(err, os.ErrNotExist) {
		if err := local.CreateKeyFile(keyFile, rand.Reader); err != nil {
			return err
		}
	}
	store, err := local.Open(local.Config{Dir: filepath.Join(o.Dir, "keys"), KeyFile: keyFile, Random: rand.Reader, Clock: o.Clock})
	if err != nil {
		return err
	}
	products := gateway.Products()
	var openSandbox adapters.Constructor
	openSandbox = products.Replace("sandbox", func(d adapters.Deps) (driver.Provider, error) {
		p, err := openSandbox(d)
		if book, ok := p.(*sandbox.Provider); ok && err == nil {
			o.Sandbox = book
			if o.Front != nil {
				return o.Front(book), nil
			}
		}
		return p, err
	})
	o.Gateway, err = gateway.New(ctx, gateway.Config{
		AppURL: o.AppURL, JobsURL: o.JobsURL, Clock: o.Clock, Random: rand.Reader, Signer: store, Secrets: store, Files: o.files,
		Products: products, HTTP: http.DefaultClient, Collect: o.Collect, Connections: o.Connections, Workers: o.Workers, Exclusive: true, Log: o.Log, Served: o.Served,
	})
	return err
}

// Close stops the gateway.
func (o *Operator) Close(ctx context.Context) error {
	var err error
	if o.Gateway != nil {
		err = o.Gateway.Close(ctx)
	}
	if o.files != nil {
		err = errors.Join(err, o.files.Close())
	}
	return err
}

// Onboard makes the tenant with all it needs to be paid.
func (o *Operator) Onboard(ctx context.Context) error {
	g := o.Gateway
	if _, err := g.EnsurePlatform(ctx, actor); err != nil {
		return err
	}
	err := g.Tenants.Create(ctx, actor, tenants.Tenant{
		ID: Tenant, Slug: "busy-bus", Name: "Busy Bus", Kind: tenants.Bus, Mode: tenants.Sandbox, Issuer: Issuer, Currency: Currency,
		TimeZone: Zone, CutMinutes: 240, CalendarVersion: 1, CapUnit: capUnit, State: tenants.Active,
	})
	if err != nil {
		return err
	}
	for _, p := range []keys.Purpose{keys.Policy, keys.Audit, keys.Credential, keys.DenyList} {
		if _, err := g.Ring.Ensure(ctx, actor, Tenant, p, keys.Ed25519); err != nil {
			return err
		}
	}
	terms, err := json.Marshal(o.Config.Sandbox)
	if err != nil {
		return err
	}
	prices := &fare.Tariff{
		Name: "Flat fare", Version: 1, Currency: Currency, Categories: fare.Categories{Default: "adult"},
		Rules: []fare.Rule{{ID: "flat", Flat: fare.Amounts{"adult": Fare}}},
	}
	if err := prices.Compile(); err != nil {
		return err
	}
	err = g.DB.InTenant(ctx, Tenant, func(tx *pg.Tx) error {
		if err := collect.AddContract(ctx, tx, actor, collect.Contract{Name: contract, Adapter: "sandbox", FeePPM: FeePPM, Config: terms}); err != nil {
			return err
		}
		return pricing.Publish(ctx, tx, actor, prices, o.Clock().Add(-24*time.Hour))
	})
	if err != nil {
		return err
	}
	if err := o.fleet(ctx); err != nil {
		return err
	}
	_, err = g.PublishPolicy(ctx, actor, &accept.Rules{
		Version: 1, Tenant: Tenant, Schemes: []code.SchemeID{"ct1"}, SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 24 * 14,
		StaleListSeconds: 72 * 3600, LateUploadDays: 7, ClockSuspectSeconds: 600,
		Incomplete: accept.Incomplete{Charge: accept.ChargeMax, MaxJourneyMinutes: 180, GraceMinutes: 300},
		Issuers:    []accept.IssuerRule{{Issuer: Issuer, Currency: Currency, CapUnitMinor: capUnit}},
		Modes:      []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},
	})
	return err
}

// fleet makes the buses, who owns them, and the reader on each.
func (o *Operator) fleet(ctx context.Context) error {
	payees := []fleet.Payee{{ID: "busy-bus", Kind: fleet.Operator, Name: "Busy Bus", Account: "OPERATOR-1", BankID: "BANK", Default: true}}
	for i := range o.Payees {
		if i > 0 {
			payees = append(payees, fleet.Payee{ID: payee(i), Kind: fleet.Owner, Name: fmt.Sprintf("Owner %d", i), Account: fmt.Sprintf("6222%08d", i), BankID: "BANK"})
		}
	}
	if err := o.Gateway.Fleet.PutPayees(ctx, actor, Tenant, payees...); err != nil {
		return err
	}
	var buses []fleet.Vehicle
	var assigned []fleet.Assignment
	from := o.Clock().Add(-24 * time.Hour)
	for i := range o.Terminals {
		buses = append(buses, fleet.Vehicle{ID: bus(i), Kind: fleet.Bus, Plate: fmt.Sprintf("B %05d", i)})
		assigned = append(assigned, fleet.Assignment{Subject: fleet.Subject{Kind: fleet.OfVehicle, ID: bus(i)}, Payee: payee(i % o.Payees), From: from})
	}
	if err := o.Gateway.Fleet.PutVehicles(ctx, actor, Tenant, buses...); err != nil {
		return err
	}
	if err := o.Gateway.Fleet.Assign(ctx, actor, Tenant, assigned...); err != nil {
		return err
	}
	for i := range o.Terminals {
		_, err := o.Gateway.Fleet.Enrol(ctx, actor, Tenant, fleet.Terminal{
			ID: terminalID(i), Name: "reader " + bus(i), Kind: fleet.Validator, Mode: fleet.Single, Route: route, Vehicle: bus(i),
		}, terminalKey(o.Seed, i).Public())
		if err != nil {
			return err
		}
	}
	return nil
}

const route = "7"

func payee(i int) string {
	if i == 0 {
		return "busy-bus"
	}
	return fmt.Sprintf("owner-%d", i)
}

func bus(i int) string { return fmt.Sprintf("bus-%03d", i) }

func terminalID(i int) uint32 { return uint32(i) + 1 }

// terminalKey is the key of a reader: derived, so that whoever has the seed can
// go on where another process stopped.
func terminalKey(seed uint64, i int) ed25519.PrivateKey {
	material := sha256.Sum256(fmt.Appendf(nil, "citygate load terminal %d %d", seed, i))
	return ed25519.NewKeyFromSeed(material[:])
}

// Record puts a batch through intake without HTTP; anything but recorded is an
// error.
func (o *Operator) Record(ctx context.Context, raw []byte) error {
	receipt, err := o.Gateway.Intake.Record(ctx, Tenant, raw)
	if err != nil {
		return err
	}
	for _, r := range receipt.Results {
		if r.Outcome != intake.Recorded {
			return fmt.Errorf("load: tap %d:%d is %s %s", receipt.Terminal, r.Seq, r.Outcome, r.Reason)
		}
	}
	return nil
}
