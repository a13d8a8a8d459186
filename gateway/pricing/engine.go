package pricing

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The errors of this package.
var (
	ErrRaced   = &citygate.Code{Name: "pricing.raced", Kind: citygate.Unavailable, Title: "Another worker priced the same taps; the job runs again and finds them done."}
	ErrVerdict = &citygate.Code{Name: "pricing.verdict", Kind: citygate.Internal, Title: "An issuer's answer to a claim says neither yes nor why not, or speaks of another issuer's rider; the message waits for a person."}
	ErrConfig  = &citygate.Code{Name: "pricing.config", Kind: citygate.Internal, Title: "Pricing was put together without a part it needs."}
)

// A Tap is a recorded tap as pricing needs it. Accepted is the final verdict of
// intake, not the terminal's. Received and Digest say where its evidence lies;
// they go back to [Taps.Evidence] as they came.
type Tap struct {
	journey.Tap
	Counter  uint16
	Accepted bool
	Received time.Time
	Digest   [32]byte
}

// Taps reads recorded taps and takes verdicts on them. Results come in any order.
type Taps interface {
	// Batch gives the recorded taps of a terminal with sequence numbers from
	// first to first+count-1, refused ones included.
	Batch(ctx context.Context, tx *pg.Tx, terminal uint32, first uint64, count int) ([]Tap, error)
	// ByID gives recorded taps, refused ones included.
	ByID(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) ([]Tap, error)
	// OfRiders gives the accepted taps of kind on and off of riders with event
	// times from from to to, both included.
	OfRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from, to time.Time) ([]Tap, error)
	// OfTerminal gives the accepted taps of kind on and off of a terminal with event
	// times from from to to, both included.
	OfTerminal(ctx context.Context, tx *pg.Tx, terminal uint32, from, to time.Time) ([]Tap, error)
	// Evidence gives the raw code bytes of taps that the methods above gave.
	Evidence(ctx context.Context, tx *pg.Tx, taps []Tap) (map[citygate.TapID][]byte, error)
	// Refuse records verdicts of issuers; such taps are not accepted any more.
	Refuse(ctx context.Context, tx *pg.Tx, issuer citygate.TenantID, verdicts []interbook.TapVerdict) error
}

// A Ride is what decides who is paid for it.
type Ride struct {
	Vehicle string
	Driver  string
	At      time.Time
}

// Payees names who is paid for rides: the operator, the owner of the vehicle or
// the driver, by the assignment at that time. The answers are in the order of rides.
type Payees interface {
	Payees(ctx context.Context, tx *pg.Tx, rides []Ride) ([]string, error)
}

// Windows gives the settlement window a decision of a business date goes to:
// the date's own, or the oldest that is not closed.
type Windows interface {
	DecisionWindow(ctx context.Context, tx *pg.Tx, date citygate.Date) (citygate.Date, error)
}

// Issuer takes claims on the transaction's tenant by that same tenant: gateway/
// collect. The answers are in the order of the claims. The transfers are what
// the claims cause beside the fares themselves (refunds, lowered debts); they
// are posted with the fares.
type Issuer interface {
	AcceptOwn(ctx context.Context, tx *pg.Tx, currency citygate.Currency, claims []interbook.Claim) ([]Answer, []ledger.Transfer, error)
}

// An Answer is what became of one claim on a rider of our own.
type Answer struct {
	interbook.Verdict
	Account citygate.UUID // who pays, if accepted
}

// Directory knows the tenants; *tenants.Directory is one.
type Directory interface {
	ByID(ctx context.Context, id citygate.TenantID) (tenants.Tenant, error)
	ByIssuer(ctx context.Context, issuer citygate.Issuer) (tenants.Tenant, error)
}

// A Config says what an Engine works with. Every field is required.
type Config struct {
	DB        *pg.DB
	Directory Directory
	Taps      Taps
	Payees    Payees
	Windows   Windows
	Issuer    Issuer
	// Rules gives the pairing rules of the transaction's tenant that hold before its
	// first version of journey rules ([PublishRules]). Like Directory
	// it is asked inside transactions and does no I/O there: another connection
	// may not be had while this one waits.
	Rules func(ctx context.Context, tx *pg.Tx) (journey.Rules, error)
	// People knows which credentials are one person's. nil = each is by itself.
	People People
}

// An Engine prices taps. It is safe for concurrent use.
type Engine struct {
	Config

	mu      sync.Mutex
	tariffs map[tariffKey]*version

	ruleVersions map[tariffKey]*ruleVersion
}

// New puts an Engine together.
func New(c Config) (*Engine, error) {
	if c.DB == nil || c.Directory == nil || c.Taps == nil || c.Payees == nil || c.Windows == nil || c.Issuer == nil || c.Rules == nil {
		return nil, ErrConfig.Because(nil, "every field of the config is required")
	}
	return &Engine{Config: c, tariffs: make(map[tariffKey]*version), ruleVersions: make(map[tariffKey]*ruleVersion)}, nil
}

// chunkRiders bounds the riders, or single taps, of one transaction.
const chunkRiders = 1000

// RunBatch prices what the taps of one upload change: the job "pricing.batch"
// that intake queues. It runs in transactions
// of at most 1,000 riders each; run again, it finds nothing left to do.
func (e *Engine) RunBatch(ctx context.Context, tenant citygate.TenantID, terminal uint32, first uint64, count int) error {
	return e.RunBatches(ctx, tenant, []Batch{{terminal, first, count}})
}

// A Batch names the records of one upload.
type Batch struct {
	Terminal uint32
	First    uint64
	Count    int
}

// RunBatches is RunBatch for several uploads of one tenant, which takes as few
// transactions as their taps allow.
func (e *Engine) RunBatches(ctx context.Context, tenant citygate.TenantID, batches []Batch) error {
	home, err := e.home(ctx, tenant)
	if err != nil {
		return err
	}
	for _, chunk := range chunks(batches) {
		err := e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			r, err := e.begin(ctx, tx, home)
			if err != nil {
				return err
			}
			var taps []Tap
			for _, b := range chunk {
				more, err := e.Taps.Batch(ctx, tx, b.Terminal, b.First, b.Count)
				if err != nil {
					return err
				}
				taps = append(taps, more...)
			}
			return r.price(ctx, taps)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// chunks cuts batches into what one transaction takes each.
func chunks(batches []Batch) (list [][]Batch) {
	room := 0
	for _, b := range batches {
		for b.Count > 0 {
			if room == 0 {
				list, room = append(list, nil), chunkRiders
			}
			part := Batch{b.Terminal, b.First, min(b.Count, room)}
			list[len(list)-1] = append(list[len(list)-1], part)
			b.First, b.Count, room = b.First+uint64(part.Count), b.Count-part.Count, room-part.Count
		}
	}
	return list
}

// RunDue closes the journeys whose time is over.
func (e *Engine) RunDue(ctx context.Context, tenant citygate.TenantID) error {
	home, err := e.home(ctx, tenant)
	if err != nil {
		return err
	}
	for {
		var due []stored
		err := e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			r, err := e.begin(ctx, tx, home)
			if err != nil {
				return err
			}
			if due, err = dueJourneys(ctx, tx, chunkRiders); err != nil || len(due) == 0 {
				return err
			}
			touches := make([]touch, 0, len(due))
			for i := range due {
				touches = append(touches, touch{due[i].rider, due[i].at}, touch{due[i].rider, due[i].ends})
			}
			return r.priceAgain(ctx, nil, touches)
		})
		if err != nil || len(due) < chunkRiders {
			return err
		}
	}
}

// A rejection is what an issuer refused of the claims it was sent.
type rejection struct {
	taps   []interbook.TapVerdict
	claims map[citygate.UUID]interbook.Verdict // refused whatever their taps are; the last one of each journey
}

func rejections(items []interbook.Verdict) (r rejection, err error) {
	r.claims = make(map[citygate.UUID]interbook.Verdict)
	for _, v := range items {
		switch {
		case v.Accepted:
		case len(v.Refused) > 0:
			r.taps = append(r.taps, v.Refused...)
		case v.Reason == "":
			return r, ErrVerdict.Because(nil, "journey %s, decision %d", v.Journey, v.N)
		case r.claims[v.Journey].N < v.N:
			r.claims[v.Journey] = v
		}
	}
	return r, nil
}

// Verdicts takes an issuer's answers to claims: an [interbook.Handler]. Taps
// that were refused are left out of the journeys that have them; a claim that
// was refused for itself sets its journey aside. Either way what was posted for
// it is taken back.
func (e *Engine) Verdicts(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var m interbook.Verdicts
	if err := json.Unmarshal(body, &m); err != nil {
		return ErrVerdict.Because(err, "from %d", from)
	}
	refused, err := rejections(m.Items)
	if err != nil {
		return err
	}
	if len(refused.taps) == 0 && len(refused.claims) == 0 {
		return keepVerdicts(ctx, tx, from, m.Items)
	}
	home, err := e.home(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	r, err := e.begin(ctx, tx, home)
	if err != nil {
		return err
	}
	r.refused = refused.claims
	gone := make(map[citygate.TapID]bool, len(refused.taps))
	for _, v := range refused.taps {
		gone[citygate.TapID{Terminal: v.Terminal, Seq: v.Seq}] = true
	}
	ids, err := tapsOfJourneys(ctx, tx, slices.Collect(maps.Keys(refused.claims)))
	if err != nil {
		return err
	}
	ids = slices.AppendSeq(ids, maps.Keys(gone))
	slices.SortFunc(ids, compareID)
	taps, err := r.Taps.ByID(ctx, tx, slices.Compact(ids))
	if err != nil {
		return err
	}
	// An issuer speaks of its own riders alone.
	for _, t := range taps {
		if issuer, err := e.Directory.ByIssuer(ctx, t.Rider.Issuer); err != nil || issuer.ID != from {
			return ErrVerdict.Because(err, "tap %s is of rider %s, the verdict from %d", t.ID, t.Rider, from)
		}
	}
	if len(refused.taps) > 0 {
		if err := r.Taps.Refuse(ctx, tx, from, refused.taps); err != nil {
			return err
		}
	}
	touches := make([]touch, len(taps))
	for i := range taps {
		taps[i].Accepted = taps[i].Accepted && !gone[taps[i].ID]
		touches[i] = touch{taps[i].Rider, taps[i].At}
	}
	if _, err := r.lock(ctx, touches); err != nil {
		return err
	}
	if err := keepVerdicts(ctx, tx, from, m.Items); err != nil {
		return err
	}
	if err := unclaim(ctx, tx, m.Items); err != nil {
		return err
	}
	return r.price(ctx, taps)
}

// A home is the tenant a run works for.
type home struct {
	tenants.Tenant
	calendar citygate.Calendar
}

func (e *Engine) home(ctx context.Context, tenant citygate.TenantID) (home, error) {
	t, err := e.Directory.ByID(ctx, tenant)
	if err != nil {
		return home{}, err
	}
	calendar, err := t.Calendar()
	return home{t, calendar}, err
}
