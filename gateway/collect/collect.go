package collect

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The errors of this package.
var (
	ErrContract = &citygate.Code{Name: "collect.contract", Kind: citygate.Conflict, Title: "The provider contract exists with other terms. Add a contract under another name."}
	ErrNoRefund = &citygate.Code{Name: "collect.no_refund", Kind: citygate.Internal, Title: "The provider cannot refund. The refund waits until it can."}
	ErrLost     = &citygate.Code{Name: "collect.contradiction", Kind: citygate.Conflict, Title: "The provider contradicts a final outcome. Look at the charge and the provider's bill."}
)

// An Account is who pays for a rider.
type Account struct {
	ID       citygate.UUID
	Key      string // natural key, unique in the tenant: what order and provider ids go by; "" = the ID
	Contract string // of the provider that collects
	PayerRef string // the provider's name for the payer
}

// Accounts is what this package needs of the tenant's credentials.
type Accounts interface {
	// AccountsOf gives who pays for each rider of the tenant. A rider to whom
	// nothing was issued is absent.
	AccountsOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]Account, error)
	// DenyAccounts puts all credentials of the accounts on the deny list, and
	// LiftAccounts takes off what DenyAccounts put there for the same reason.
	// Doing either again changes nothing.
	DenyAccounts(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID, reason string) error
	LiftAccounts(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID, reason string) error
	// DenyRiders puts single credentials on the deny list for good.
	DenyRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, reason string) error
}

// The reasons of deny entries.
const (
	DenyDeclined = credential.ReasonDeclined
	DenyClone    = "clone"
)

// A Proof is what a raw code proves. Reason is "" if it is ours and signed as
// it must be. Times are unix seconds.
type Proof struct {
	Use         code.Use
	Reason      code.Reason
	Cap         uint16 // highest fare for one tap, in the tenant's cap units
	CapMinor    int64  // the same in minor units, in its place if not 0; [code.CapNone] = none stated
	Scheme      code.SchemeID
	Product     uint16
	GeneratedAt int64
	ExpiresAt   int64
	Window      int64
}

// A Prover verifies raw codes under the keys of the tenant that issued them. It
// is called inside a transaction and does no I/O of its own over a network.
type Prover func(ctx context.Context, tx *pg.Tx, raw [][]byte) ([]Proof, error)

// Receipts is the operator's side when issuer and operator are one tenant: it
// takes in the same transaction what another operator gets as a message, and
// posts payable against AdviceItem.Contra.
type Receipts interface {
	TakeAdvice(ctx context.Context, tx *pg.Tx, from citygate.TenantID, items []interbook.AdviceItem) error
}

// Rules say when a tenant collects.
type Rules struct {
	AmountLimit int64         // an open aggregation this large is due; 0 = no limit
	CountLimit  int           // or with this many taps; 0 = no limit
	CloseAfter  time.Duration // after the end of the business date
	MaxTries    int           // recoveries tried by schedule for one debt
	RetryEvery  time.Duration // between them
}

// DefaultRules close six hours after the business date and try to recover a
// debt three times, on different days.
func DefaultRules() Rules {
	return Rules{AmountLimit: 0, CountLimit: 0, CloseAfter: 6 * time.Hour, MaxTries: 3, RetryEvery: 24 * time.Hour}
}

// Settings are what a tenant collects by.
type Settings struct {
	Rules    Rules
	Calendar citygate.Calendar
	Currency citygate.Currency // what the tenant's contracts collect in
	CapUnit  int64             // minor units of one unit of a credential's cap
}

// A Config is what a [Collector] is made of. All but Receipts and Recorded
// are required; without Receipts no tenant may be operator and issuer at once.
type Config struct {
	DB       *pg.DB
	Accounts Accounts
	Prove    Prover
	Receipts Receipts
	// Recorded says of each raw code whether it shows a credential as it was issued.
	// Whoever has the issuer's key can sign others, and only the record tells. It is
	// called inside a transaction. nil = nobody asks.
	Recorded func(ctx context.Context, tx *pg.Tx, raw [][]byte) ([]bool, error)
	// Foreign proves taps with codes of other schemes, in place of Prove: that the
	// tenant has named the display as the rider's for this very tap. It is called
	// inside a transaction. nil = there are no such riders.
	Foreign func(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, riders []citygate.Rider, taps []interbook.ClaimTap) ([]Proof, error)
	// Abroad gives the terms on which an operator of another tree takes the tenant's
	// riders, nil for one of its own tree. It is called inside a transaction, and
	// what it gives does no I/O. nil = every operator is of the tree.
	Abroad func(ctx context.Context, tx *pg.Tx, operator citygate.TenantID) (Abroad, error)
	// Bears says whether the tenant answers to an operator for what riders do not pay
	// of fares that were ridden at some time, so that it is not passed back. It is
	// called inside a transaction. nil = operators bear all of it.
	Bears func(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, at time.Time) (Guarantee, error)
	// Sales hears what becomes of purchases ([Buy]); nil where nothing is sold.
	Sales Sales
	// Standings has a provider asked how the payers stand whose debts are about to be
	// tried again, or were recovered. It is called outside of transactions and stops no charge. nil = nobody
	// asks.
	Standings func(ctx context.Context, tenant citygate.TenantID, c Contract, p *adapters.Provider, payers []string)
	// Agreed says what is done about charges that rest on riders' agreements before they
	// are sent, in their order, until ctx ends. It is called outside transactions. nil = all are sent.
	Agreed func(ctx context.Context, tenant citygate.TenantID, c Contract, p *adapters.Provider, charges []Resting) ([]Hold, error)
	// Tills hears what becomes of payments on payment codes; nil where none are made.
	Tills Tills
	// Settings gives a tenant's settings. It is called inside transactions and
	// does no I/O there: another connection may not be had while this one waits.
	Settings func(ctx context.Context, tenant citygate.TenantID) (Settings, error)
	// Bulkhead collects contracts beside each other and beside the caller of
	// [Collector.RunDue]. nil = one after another, within it.
	Bulkhead *Bulkhead
	// Provider opens the provider of a contract. It is called outside transactions.
	Provider func(ctx context.Context, tenant citygate.TenantID, c Contract) (*adapters.Provider, error)
}

// A Resting is a charge that rests on an agreement.
type Resting struct {
	PayerRef string // the provider's number of the agreement
	Amount   citygate.Money
	Made     time.Time
	Prompt   bool // its payer waits for it: it is sent now or declined
}

// A Hold keeps a charge from being sent. The zero Hold lets it go.
type Hold struct {
	Reason  string
	RetryAt time.Time // when it is looked at again; zero, with a reason = it is declined
}

// Abroad decides on one presentation of a code by the terms of its event time.
type Abroad func(at time.Time, scheme code.SchemeID, product uint16) Stay

// A Stay is what terms with an operator of another tree say of one presentation.
type Stay struct {
	Reason      code.Reason // why it is refused, "" if it is not
	CapMinor    int64       // highest fare for it; 0 = nothing is said
	DayCapMinor int64       // highest sum of the rider's fares on a business date; 0 = nothing is said
	Beyond      Beyond      // what is done about more
}

// A Guarantee is what terms with an operator say of fares that riders do not pay. The
// zero Guarantee is none.
type Guarantee struct {
	Holds   bool
	PayDays int // how long after the decline the operator is paid
}

// Beyond says what is done about fares beyond the highest sum of a day.
type Beyond int

// The ways. The zero value is BeyondRefused.
const (
	BeyondRefused   Beyond = iota // the claim is refused
	BeyondAtRisk                  // it is taken, and the operator bears it if the rider does not pay
	BeyondLikeOther               // it is taken as any other
)

// A Collector collects for every tenant. It is safe for concurrent use.
type Collector struct {
	Config

	sets  *policies.Sets
	terms *risk.Book
}

// New makes a Collector.
func New(c Config) *Collector { return &Collector{c, new(policies.Sets), new(risk.Book)} }

// ourID makes the id a provider knows a payment by: 32 characters that follow
// from natural keys.
func ourID(tenant citygate.TenantID, parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{tenant.String()}, parts...) {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:20])
}

// A prover of one dispatcher, for wiring.
type codeKeys = func(ctx context.Context, tx *pg.Tx) (code.KeySource, error)

// NewProver makes a [Prover] that parses and verifies with d under the keys
// that keys gives for the transaction's tenant.
func NewProver(d *code.Dispatcher, keys codeKeys, credentials code.CredentialCache) Prover {
	return func(ctx context.Context, tx *pg.Tx, raw [][]byte) ([]Proof, error) {
		source, err := keys(ctx, tx)
		if err != nil {
			return nil, err
		}
		proofs := make([]Proof, len(raw))
		inParallel(len(raw), func(from, to int) {
			var c code.Code
			for i := from; i < to; i++ {
				if err := d.Parse(raw[i], &c); err != nil {
					proofs[i].Reason = code.Malformed
					continue
				}
				proofs[i] = Proof{Use: c.Use(), Reason: d.Verify(&c, source, credentials).Reason, Cap: c.Cap, CapMinor: c.CapMinor, Product: c.Product,
					Scheme: c.Scheme, GeneratedAt: c.GeneratedAt, ExpiresAt: c.ExpiresAt, Window: c.Window}
			}
		})
		return proofs, nil
	}
}
