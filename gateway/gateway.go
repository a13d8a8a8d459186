package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/agreement"
	"github.com/cashlesscity/citygate/gateway/audit"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/explain"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/jobs"
	"github.com/cashlesscity/citygate/gateway/person"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/gateway/till"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Config is what a Gateway is made of. All fields are required unless they say
// otherwise.
type Config struct {
	AppURL  string // PostgreSQL as citygate_app
	JobsURL string // the same database as citygate_jobs

	Clock   citygate.Clock
	Random  io.Reader
	Signer  keys.Signer
	Secrets keys.Secrets

	Files    *os.Root     // payout files, bills and the sandbox's book
	Products adapters.Set // payment products this build knows
	HTTP     driver.Doer  // the way to providers
	// PublicURL is where providers reach this gateway, for notifications: what a
	// proxy in front of it is called, such as https://pay.city.example. Empty: requests
	// name an address only where a contract says one.
	PublicURL string
	Issuers   *http.Client       // the way to OpenID Connect issuers; nil = nobody signs in
	Revoked   *issuance.Statuses // of makers' attestation certificates; nil = attestations count as vouched only
	Collect   collect.Rules      // when aggregations close and debts are tried again

	Limits      edge.Limits // of tenants and client addresses; those of connections follow from Connections
	Connections int32       // to the database; 0 = 16
	Workers     int         // jobs at a time; 0 = 1
	// Calls is how many providers may be worked with at once beside the jobs, so that
	// one that hangs holds up no other; 0 = within jobs, one after another.
	Calls int
	// Ordered keeps jobs in the order in which they were asked for where that shows
	// in counts or money, also with several workers. It takes Exclusive.
	Ordered bool
	// Exclusive says that this is the only process on the database's queue.
	Exclusive bool
	Log       *slog.Logger

	// OnMissed has the work of tenants done in which nothing looks due, and hears of
	// statements that change rows then: each is due work that a look should have found
	// ([Gateway.Tick]). Tests hold with it that there are none; nil = quiet tenants are
	// left alone.
	OnMissed func(tenant citygate.TenantID, sql string)

	// Served stands before the API where it is set: tests hold every request and
	// answer to the document there. nil = the API as it is.
	Served func(http.Handler) http.Handler
}

// A Gateway is the program. Its verticals are exported for commands and tests;
// they are not to be replaced.
type Gateway struct {
	Config

	DB           *pg.DB
	Tenants      *tenants.Directory
	Ring         *keys.Ring
	Tokens       *edge.Tokens
	Access       *access.Guard
	Fleet        *fleet.Fleet
	Bundles      *fleet.Publisher
	Credentials  *credential.Registry
	Issuance     *issuance.Office
	Foreign      *foreign.Desk
	Intake       *intake.Recorder
	Pricing      *pricing.Engine
	Collector    *collect.Collector
	Flagger      *risk.Flagger
	People       *person.Book
	Agreements   *agreement.Book
	Settler      *settle.Settler
	Reconciler   *recon.Reconciler
	Sales        *sales.Desk
	Till         *till.Desk
	Sealer       *audit.Sealer
	Jobs         *jobs.Client
	Explanations *explain.Sealer

	schemes   *code.Dispatcher
	readers   schemeCache
	passes    secretCache
	late      lateCache
	seen      *code.Memory
	trust     trustCache
	tokenKeys tokenKeys
	held      held
	abroad    visitCache
	waiting   waitingSet
	looks     *pg.Looks // for what is due
	rounds    rounds
	blocks    blockCache
	unlisted  waitingSet // waits for its lists to be published
	announced turns      // was looked at for next keys that are missing
	unsealed  waitingSet // waits for its audit log to be sealed
	audited   auditedSet
	providers providerCache
	notices   noticeGates
	tills     openTills
	ways      wayToCollect
	bulkhead  *collect.Bulkhead // nil = providers are called within jobs
	handler   http.Handler
}

// New opens the database and the queue and puts the verticals together. Close
// what it gives.
func New(ctx context.Context, c Config) (*Gateway, error) {
	if c.Connections == 0 {
		c.Connections = 16 // a tenant's requests may hold a quarter
	}
	c.Limits.Connections = int(c.Connections)
	g := &Gateway{Config: c, schemes: code.NewDispatcher(ct1.Scheme{}), seen: code.NewMemory(1<<17, 1<<15)}
	if g.Limits.Quota == nil {
		g.Limits.Quota = g.quota
	}
	var err error
	queue := jobs.Config{
		URL: c.JobsURL, Handlers: g.handlers(), Together: g.together(), Workers: c.Workers, Logger: c.Log, Exclusive: c.Exclusive,
	}
	if c.Ordered {
		queue.Lanes = lanes
	}
	if c.Calls > 0 {
		g.bulkhead = collect.NewBulkhead(c.Calls, c.Clock, func(err error) { c.Log.Warn("work with a provider failed and is tried again", "error", err.Error()) })
	}
	g.Jobs, err = jobs.New(ctx, queue)
	if err != nil {
		return nil, err
	}
	database := pg.Config{URL: c.AppURL, Clock: c.Clock, Random: c.Random, MaxConns: c.Connections, Enqueuer: g.Jobs, OnAudit: g.audited.add}
	if c.OnMissed != nil {
		database.OnChange = g.onChange
	}
	g.DB, err = pg.Open(ctx, database)
	if err != nil {
		return nil, errors.Join(err, g.Jobs.Stop(ctx))
	}
	if err := g.assemble(); err != nil { //nolint:contextcheck // its handlers take the context of the request they serve
		return nil, errors.Join(err, g.Close(ctx))
	}
	return g, nil
}

// Handler is the HTTP API.
func (g *Gateway) Handler() http.Handler { return g.handler }

// Start works the jobs until Close. ctx bounds the work, not this call.
func (g *Gateway) Start(ctx context.Context) error { return g.Jobs.Start(ctx) }

// Drain waits until no job is left to run now; a job that failed is an error.
func (g *Gateway) Drain(ctx context.Context) error { return g.Jobs.Drain(ctx) }

// Close stops the workers, seals what was audited and closes the database.
func (g *Gateway) Close(ctx context.Context) error {
	err := g.Jobs.Stop(ctx)
	if g.bulkhead != nil {
		g.bulkhead.Stop()
	}
	g.sealLast(ctx)
	g.DB.Close()
	return errors.Join(err, g.providers.close())
}
