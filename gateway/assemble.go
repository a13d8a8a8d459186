package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/audit"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/explain"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/person"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/gateway/till"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// assemble makes the verticals and gives each what it needs of the others.
func (g *Gateway) assemble() error {
	g.Tenants = tenants.NewDirectory(g.DB, g.Clock)
	g.Ring = keys.NewRing(g.DB, g.Signer)
	g.Tokens = &edge.Tokens{Now: g.DB.NowOf, Sign: g.signToken, KeyID: g.tokenKeyID, Key: g.tokenKey}
	g.Fleet = fleet.New(g.DB)
	g.Ring.Wait(g.Fleet)
	g.Sealer = &audit.Sealer{DB: g.DB, Ring: g.Ring}
	g.Bundles = fleet.NewPublisher(g.DB, g.Ring, g.Tenants)
	g.Credentials = credential.New(credential.Config{DB: g.DB, Ring: g.Ring, Directory: g.Tenants, Random: g.Random})
	g.Issuance = &issuance.Office{DB: g.DB, Credentials: g.Credentials, Random: g.Random, Statuses: g.Revoked}
	g.Foreign = foreign.New(foreign.Config{DB: g.DB, Directory: heldDirectory{g}, Plugins: schemes.All(), Resolver: g.resolver, Beside: askBeside(g.bulkhead), Tell: g.tellOwn,
		Listed: func(ctx context.Context, tx *pg.Tx) (roots, former map[code.SchemeID][]bundle.ForeignRoot, err error) {
			held, err := listedRoots(ctx, tx, tx.Now.Add(-lateKeysFor))
			return held.roots, held.former, err
		}})
	var err error
	g.Access, err = access.New(access.Config{
		DB: g.DB, Clock: g.Clock, Directory: g.Tenants, Random: g.Random, HTTP: g.Issuers,
	})
	if err != nil {
		return err
	}
	g.Intake, err = intake.New(intake.Config{
		DB: g.DB, Terminals: readers{g}, Trust: g, Calendars: g, Schemes: g.schemes, Credentials: g.seen, Copies: g.tellCopies, Denied: g.tellDenied,
		Blocks: g.blocksOf, SchemesOf: g.schemesOf, Foreign: namedBy{g}, Abroad: g.abroadOf,
	})
	if err != nil {
		return err
	}
	g.Settler, err = settle.New(settle.Config{DB: g.DB, Directory: g.Tenants, Payees: journeyPayees{}, Files: settle.Dir{Root: g.Files}})
	if err != nil {
		return err
	}
	g.Collector = collect.New(collect.Config{
		DB: g.DB, Accounts: accounts{credential.Denier{Actor: "system:collect"}, &payers{}}, Receipts: receipts{g}, Settings: g.collectSettings, Provider: g.provider,
		Bulkhead:  g.bulkhead,
		Sales:     soldTo{g},
		Agreed:    g.agreed,
		Standings: g.standings,
		Tills:     paidAt{g},
		Recorded:  g.recorded,
		Foreign:   g.proveForeign,
		Abroad:    g.termsWith,
		Bears:     g.issuerBears,
		Prove:     collect.NewProver(g.schemes, func(ctx context.Context, tx *pg.Tx) (code.KeySource, error) { return g.trust.held(tx.Tenant) }, g.seen),
	})
	g.Agreements = g.newAgreements()
	g.People = &person.Book{DB: g.DB, Secrets: g.Secrets, Directory: riderDevices{}, Random: g.Random}
	g.Pricing, err = pricing.New(pricing.Config{
		DB: g.DB, Directory: heldDirectory{g}, Taps: taps{}, Payees: ridePayees{}, Windows: g.Settler, Issuer: ownIssuer{g.Collector}, Rules: g.journeyRules, People: g.People,
	})
	if err != nil {
		return err
	}
	g.Sales = sales.New(sales.Config{
		DB: g.DB, Engine: g.Pricing, Account: buyer, Wake: func(t citygate.TenantID) pg.Job { return DueJob{Tenant: t} },
		Calendar: func(ctx context.Context, tenant citygate.TenantID) (citygate.Calendar, error) {
			t, err := heldDirectory{g}.ByID(ctx, tenant)
			if err != nil {
				return citygate.Calendar{}, err
			}
			return t.Calendar()
		},
	})
	g.Till = till.New(till.Config{
		DB: g.DB, Collector: g.Collector, Provider: g.provider, Settings: g.collectSettings, Payee: payeeAtTill, Bulkhead: g.bulkhead,
		Wake: func(t citygate.TenantID) pg.Job { return DueJob{Tenant: t} },
	})
	g.Flagger = g.newFlagger()
	g.Explanations = &explain.Sealer{DB: g.DB, Ring: g.Ring, Random: g.Random, Taps: g.Pricing.TapsByID}
	g.looks = g.allLooks()
	g.Reconciler = recon.New(recon.Config{DB: g.DB, Book: recon.Payments{Collector: g.Collector}, Files: files{g.Files}, Billers: g.billers, Bulkhead: g.bulkhead})
	g.handler = edge.New(g.verticals(), g.Log)
	if g.Served != nil {
		g.handler = g.Served(g.handler)
	}
	return nil
}

// Calendar implements [intake.Calendars]. Intake asks for it before its
// transaction, in which it may have copies to tell ([Gateway.tellCopies]).
func (g *Gateway) Calendar(ctx context.Context, tenant citygate.TenantID) (citygate.Calendar, error) {
	if err := g.hold(ctx); err != nil {
		return citygate.Calendar{}, err
	}
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return citygate.Calendar{}, err
	}
	return t.Calendar()
}

func (g *Gateway) collectSettings(ctx context.Context, tenant citygate.TenantID) (collect.Settings, error) {
	t, err := heldDirectory{g}.ByID(ctx, tenant)
	if err != nil {
		return collect.Settings{}, err
	}
	calendar, err := t.Calendar()
	return collect.Settings{Rules: g.Collect, Calendar: calendar, Currency: t.Currency, CapUnit: t.CapUnit}, err
}

// What an authority without an acceptance policy pairs its operators' taps by, until
// it publishes journey rules.
const (
	integratedJourney = 4 * time.Hour
	integratedGrace   = 24 * time.Hour
)

// journeyRules are the pairing rules of the tenant's policy, as they were last
// read before the transaction.
func (g *Gateway) journeyRules(ctx context.Context, tx *pg.Tx) (journey.Rules, error) {
	rules, ok := g.held.rulesOf(tx.Tenant)
	if !ok {
		var err error
		rules, err = policies.Chain(ctx, tx)
		if errors.Is(err, policies.ErrNone) { // an authority that prices its operators' rides and has no readers
			return journey.Rules{MaxJourney: integratedJourney, UploadGrace: integratedGrace}, nil
		}
		if err != nil {
			return journey.Rules{}, err
		}
	}
	rules = rules.InForce(tx.Now.UnixMilli())
	return journey.Rules{
		MaxJourney:  time.Duration(rules.Incomplete.MaxJourneyMinutes) * time.Minute,
		UploadGrace: time.Duration(rules.Incomplete.GraceMinutes) * time.Minute,
	}, nil
}

// billers gives the contracts whose provider gives bills. One that cannot be
// opened does not keep the others from being reconciled.
func (g *Gateway) billers(ctx context.Context, tenant citygate.TenantID) (map[string]driver.Biller, error) {
	contracts, err := g.contracts(ctx, tenant)
	if err != nil {
		return nil, err
	}
	found := map[string]driver.Biller{}
	var failed error
	for _, c := range contracts {
		p, err := g.provider(ctx, tenant, c)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if b, ok := p.Biller(); ok {
			found[c.Name] = b
		}
	}
	return found, failed
}

func (g *Gateway) contracts(ctx context.Context, tenant citygate.TenantID) (list []collect.Contract, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		list, err = collect.Contracts(ctx, tx)
		return err
	})
	return list, err
}

// readers finds terminals for intake.
type readers struct{ g *Gateway }

// modesOf says what modes of transport a tenant's readers are set up for when no
// profile says otherwise: that of its kind's name, and either name of a railway,
// whose readers are set up as a metro's as often as not. An authority's have none.
func modesOf(k tenants.Kind) (usual accept.Mode, others []accept.Mode) {
	if k == tenants.Authority {
		return "", nil
	}
	if k == tenants.Rail {
		return accept.Metro, []accept.Mode{accept.Rail}
	}
	return accept.Mode(k), nil
}

func (r readers) Terminal(ctx context.Context, tenant citygate.TenantID, keyID uint32) (intake.Terminal, error) {
	t, err := r.g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return intake.Terminal{}, err
	}
	if err := t.May(tenants.TakingTaps); err != nil {
		return intake.Terminal{}, err
	}
	var found fleet.Terminal
	var given []string
	err = r.g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if found, err = fleet.Get(ctx, tx, keyID); err != nil {
			return err
		}
		given, err = fleet.ModesOf(ctx, tx, keyID)
		return err
	})
	if errors.Is(err, fleet.ErrNotFound) || (err == nil && found.State != fleet.Active) {
		return intake.Terminal{}, intake.ErrUnknownTerminal.Because(err, "terminal %d of tenant %d", keyID, tenant)
	}
	if err != nil {
		return intake.Terminal{}, err
	}
	key, err := found.Key()
	terminal := intake.Terminal{Key: key}
	terminal.Mode, terminal.Modes = modesOf(t.Kind)
	for _, mode := range given {
		terminal.Modes = append(terminal.Modes, accept.Mode(mode))
	}
	return terminal, err
}

// journeyPayees gives settle the payees that pricing decided.
type journeyPayees struct{}

func (journeyPayees) PayeeOf(ctx context.Context, tx *pg.Tx, journeys []citygate.UUID) (map[citygate.UUID]settle.Payee, error) {
	found, err := pricing.PayeesOf(ctx, tx, journeys)
	if err != nil {
		return nil, err
	}
	payees := make(map[citygate.UUID]settle.Payee, len(found))
	for id, p := range found {
		payees[id] = settle.Payee(p)
	}
	return payees, nil
}

// ridePayees gives pricing the payees of the fleet.
type ridePayees struct{}

func (ridePayees) Payees(ctx context.Context, tx *pg.Tx, rides []pricing.Ride) ([]string, error) {
	asked := make([]fleet.Ride, len(rides))
	for i, r := range rides {
		asked[i] = fleet.Ride(r)
	}
	return fleet.PayeesAt(ctx, tx, asked)
}

// ownIssuer lets pricing claim a tenant's own riders in its own transaction.
type ownIssuer struct{ collector *collect.Collector }

func (o ownIssuer) AcceptOwn(ctx context.Context, tx *pg.Tx, currency citygate.Currency, claims []interbook.Claim) ([]pricing.Answer, []ledger.Transfer, error) {
	answers, transfers, err := o.collector.Accept(ctx, tx, tx.Tenant, currency, claims)
	if err != nil {
		return nil, nil, err
	}
	list := make([]pricing.Answer, len(answers))
	for i, a := range answers {
		list[i] = pricing.Answer{Verdict: a.Verdict, Account: a.Account}
	}
	return list, transfers, nil
}
