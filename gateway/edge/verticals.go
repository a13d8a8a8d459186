package edge

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Verticals is what the edge calls: wiring fills it with the verticals'
// methods. Every function takes the tenant it acts for; none takes it from a
// body.
type Verticals struct {
	DB      *pg.DB
	Clock   citygate.Clock
	Tokens  *Tokens
	Tenants *tenants.Directory
	Access  *access.Guard // decides at every token route, and knows people and keys
	Limits  Limits

	// FileKeeps is [tenants.ErrManaged] where a file manages a part of a tenant's people
	// ([KeptMember] and the others); nil = no file manages anything.
	FileKeeps func(ctx context.Context, tenant citygate.TenantID, part, name string) error

	// RecordTaps stores a signed batch; the tenant is the one in its header.
	RecordTaps func(ctx context.Context, raw []byte) ([]TapReceipt, error)
	// Bundle gives the operator's trust bundle and its entity tag.
	Bundle func(ctx context.Context, tenant citygate.TenantID) (body []byte, etag string, err error)
	// BundleReach tells which terminals seen in so many days hold a bundle.
	BundleReach func(ctx context.Context, tenant citygate.TenantID, version uint64, days int) (BundleReach, error)
	DenyLists
	// JWKS gives the public keys of a tenant as a key set, of the platform for 0.
	JWKS func(ctx context.Context, tenant citygate.TenantID) ([]byte, error)

	Devices    Devices
	Onboarding Onboarding
	Foreign    Foreign
	Audit      Audit
	Policies   Policies
	Roaming    Roaming
	Shared     SharedFares
	Explain    Explain
	// Simulate prices a day again by a draft of the tariff.
	Simulate  func(ctx context.Context, tenant citygate.TenantID, date citygate.Date, draft json.RawMessage) (TariffSimulation, error)
	Ridership Ridership
	Settings  Settings
	Pairings  Pairings
	Payouts   PayoutDesk
	Notify    Notify

	ProviderFeeds ProviderFeeds
	Agreements    Agreements
	Cards         Cards

	Enrol func(ctx context.Context, actor string, tenant citygate.TenantID, t EnrolTerminal) (Terminal, error)
	// Terminals gives terminals with numbers above after.
	Terminals func(ctx context.Context, tenant citygate.TenantID, after uint32, limit int) ([]Terminal, error)
	// SetProfile gives a terminal a profile of its own and publishes it.
	SetProfile  func(ctx context.Context, actor string, tenant citygate.TenantID, terminal uint32, p fleet.TerminalProfile) error
	SetTerminal func(ctx context.Context, actor string, tenant citygate.TenantID, terminal uint32, state string) error
	ClearFlag   func(ctx context.Context, actor string, tenant citygate.TenantID, terminal uint32, flag string) error
	Vehicles    func(ctx context.Context, tenant citygate.TenantID, after string, limit int) ([]Vehicle, error)
	PutVehicles func(ctx context.Context, actor string, tenant citygate.TenantID, vehicles []Vehicle) error
	Payees      func(ctx context.Context, tenant citygate.TenantID, after string, limit int) ([]Payee, error)
	PutPayees   func(ctx context.Context, actor string, tenant citygate.TenantID, payees []PutPayee) error
	Assign      func(ctx context.Context, actor string, tenant citygate.TenantID, assignments []Assignment) error
	PayeeOf     func(ctx context.Context, tenant citygate.TenantID, ride RideQuery) (string, error)
	Issue       func(ctx context.Context, actor string, tenant citygate.TenantID, requests []IssueCredential) ([]IssuedCredential, error)
	Deny        func(ctx context.Context, actor string, tenant citygate.TenantID, list uint16, index uint32, reason string) error
	Lift        func(ctx context.Context, actor string, tenant citygate.TenantID, list uint16, index uint32, reason string) error
	// Credential gives the record of a credential; code may be nil.
	Credential   func(ctx context.Context, tenant citygate.TenantID, list uint16, index uint32, code []byte) (Credential, error)
	Account      func(ctx context.Context, tenant citygate.TenantID, account citygate.UUID) (Account, error)
	CloseAccount func(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID) error
	PutPayer     func(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID, contract, riderRef string) error
	AskPayer     func(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID, contract string) (PayerState, error)
	Denials      func(ctx context.Context, tenant citygate.TenantID, account citygate.UUID, page Page) ([]Denial, error)
	RetryDebts   func(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID) (int, error)
	// Debts gives debts in a state, "" for any, of an account, the zero id for all.
	Debts             func(ctx context.Context, tenant citygate.TenantID, state string, account citygate.UUID, page Page) ([]Debt, error)
	WriteOffDebt      func(ctx context.Context, actor string, tenant citygate.TenantID, debt citygate.UUID, w WriteOffDebt) (Debt, error)
	CollectWrittenOff func(ctx context.Context, actor string, tenant citygate.TenantID, debt citygate.UUID) (Debt, error)

	Reversals Reversals
	Bearers   Bearers

	Refunds     func(ctx context.Context, tenant citygate.TenantID, state string, page Page) ([]Refund, error)
	RetryRefund func(ctx context.Context, actor string, tenant citygate.TenantID, refund citygate.UUID) (citygate.UUID, error)
	// Carried gives what payees have to make good, behind a row's id.
	Carried func(ctx context.Context, tenant citygate.TenantID, after string, limit int) ([]Carried, error)
	// Journeys gives journeys in a state, "" for any, of a rider, zero for all.
	Journeys       func(ctx context.Context, tenant citygate.TenantID, state string, rider citygate.Rider, page Page) ([]Journey, error)
	Journey        func(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (Journey, error)
	JourneyReading JourneyReading
	Riders         Riders
	Risk           Risk
	Sales          Sales
	Till           Till
	FareRefunds    FareRefunds
	Charges        func(ctx context.Context, tenant citygate.TenantID, page Page) ([]Charge, error)
	// Balances gives accounts whose names begin with prefix, behind a row's id.
	Balances func(ctx context.Context, tenant citygate.TenantID, prefix, after string, limit int) ([]Balance, error)
	Terms    func(ctx context.Context, tenant citygate.TenantID, page VersionsPage) ([]Terms, error)
	AddTerms func(ctx context.Context, actor string, tenant citygate.TenantID, t Terms) error
	// Windows gives windows before the date after, all for the zero date.
	Windows func(ctx context.Context, tenant citygate.TenantID, after citygate.Date, limit int) ([]Window, error)
	// ReconItems gives exceptions behind the one with the id after.
	ReconItems   func(ctx context.Context, tenant citygate.TenantID, state, after string, limit int) ([]ReconItem, error)
	ResolveRecon func(ctx context.Context, actor string, tenant citygate.TenantID, item string, decision ResolveRecon) error
	// Bills gives issues of providers' bills, and ReconHistory what items were, behind
	// the one with the id after.
	Bills        func(ctx context.Context, tenant citygate.TenantID, contract, after string, limit int) ([]Bill, error)
	ReconHistory func(ctx context.Context, tenant citygate.TenantID, q ReconHistoryQuery, after string, limit int) ([]ReconPast, error)
}

// A Page asks for the part of a list after a key, at most Limit rows.
type Page struct {
	After citygate.UUID
	Limit int
}

// A TapReceipt answers one uploaded record.
type TapReceipt struct {
	Seq     uint64      `json:"seq"`
	Outcome string      `json:"outcome" enum:"recorded,duplicate,refused"`
	Reason  code.Reason `json:"reason,omitempty" doc:"why it was refused; the same word everywhere"`
}

// A Journey is a journey with its final fare and why.
type Journey struct {
	ID           string            `json:"id" example:"jrn_0195e2…"`
	Rider        string            `json:"rider" doc:"issuer/list/index; the account is the issuer's secret"`
	State        string            `json:"state"`
	Taps         []string          `json:"taps"`
	BusinessDate string            `json:"business_date,omitempty" format:"date"`
	Decision     int               `json:"decision,omitempty" doc:"number of the final decision; given when one journey is asked for"`
	Fare         *citygate.Money   `json:"fare,omitempty"`
	Unknown      string            `json:"unknown,omitempty" doc:"why there is no fare"`
	Currency     citygate.Currency `json:"currency,omitempty"`
	Explanation  json.RawMessage   `json:"explanation,omitempty"`
	Reading      *Reading          `json:"reading,omitempty" doc:"what was not taken as its taps declare it; left out = everything was"`
	Corrections  []Correction      `json:"corrections,omitempty" doc:"fares that moved between this journey and others of the rider; given when one journey is asked for"`
}

// A Charge is one attempt to collect.
type Charge struct {
	ID       string         `json:"id"`
	Kind     string         `json:"kind" enum:"charge,recovery,first_ride,purchase,till"`
	By       string         `json:"started_by" enum:"schedule,tap,rider,person,first_ride" doc:"tap: the rider touched a reader or showed a code to an inspector"`
	Recovery string         `json:"recovery,omitempty" enum:"merchant,rider,tap" doc:"of a debt: how the provider was told that it is asked for again; left out: as a debit like any other"`
	Recovers string         `json:"recovers,omitempty" doc:"the declined charge whose debt the provider was asked for"`
	State    string         `json:"state"`
	Amount   citygate.Money `json:"amount"`
	Fee      int64          `json:"fee"`
	Contract string         `json:"contract"`
	OurID    string         `json:"our_id"`
	Provider string         `json:"provider_ref,omitempty"`
	Reason   string         `json:"reason,omitempty" doc:"the provider's own code for where it stands; evidence_refused and its code: it was not sent, because the provider says that what it rests on is not genuine; recovery_exhausted: it was not sent, because the scheme lets the merchant ask for the debt no more"`
	At       time.Time      `json:"at"`
	Attempt  int            `json:"attempt" doc:"of collecting the same fares; a charge in state moved was never sent, and the next attempt went to another contract"`
	Route    ChargeRoute    `json:"route"`

	Exchange *ChargeExchange `json:"exchange,omitempty" doc:"of a charge that its payer pays in another currency"`
	Bearers  []ChargeBearer  `json:"bearers,omitempty" doc:"of a declined charge: who bears what is owed of other operators' fares, until the rider pays"`
}

// A ChargeExchange says what a charge was on its way from the payer's currency.
type ChargeExchange struct {
	Pays       citygate.Money  `json:"pays" doc:"what the payer was asked for, or paid where nothing was quoted, in his own currency"`
	Quote      string          `json:"quote_id" doc:"empty: the provider offers no quotes, and told the rate with the payment"`
	Pair       string          `json:"pair" doc:"such as MOP/HKD; empty if the provider named no rate: price is units of the second for one of the first"`
	Price      string          `json:"price" doc:"decimal text, as the provider wrote it"`
	Until      time.Time       `json:"until,omitzero" doc:"when the quote ended"`
	Guaranteed bool            `json:"guaranteed" doc:"until then the provider settles what was asked for"`
	Quotes     int             `json:"quotes" doc:"how many were asked for: a quote that ended was renewed only while nothing had been sent"`
	Settled    *citygate.Money `json:"settled,omitempty" doc:"what the bill says is settled, before the fee"`
	SettledBy  string          `json:"settled_price,omitempty" doc:"the bill's own rate, from what was paid to what is settled"`
	Difference *citygate.Money `json:"difference,omitempty" doc:"settled less charged: on the account exchange_difference of the contract, as soon as the row is matched"`
}

// A ChargeBearer says who bears what a rider owes of one fare, and why.
type ChargeBearer struct {
	Operator int64  `json:"operator"`
	Journey  string `json:"journey"`
	Owed     int64  `json:"owed" doc:"in minor units of the charge's currency"`
	Issuer   int64  `json:"issuer_bears" doc:"not passed back to the operator, which bears the rest"`
	Provider int64  `json:"provider_bears,omitempty" doc:"the same, claimed from the provider"`
	Platform int64  `json:"platform_bears,omitempty" doc:"the same, claimed from the platform"`
	PayDays  int    `json:"pay_days,omitempty" doc:"how long after the decline the operator is paid what others bear"`
	Basis    string `json:"basis" enum:"rule,terms,default,dispute" doc:"a liability rule of the tenant, terms with the other city, neither: then the operator bears all of it, or a dispute that was upheld"`
	Version  uint64 `json:"version,omitempty" doc:"of the rule set at the ride's time"`
	Rule     string `json:"rule,omitempty"`
	Finding  string `json:"finding,omitempty" doc:"why the rule set was not followed to the letter"`
}

// A ChargeRoute is why a charge goes to its contract.
type ChargeRoute struct {
	Version uint64 `json:"version" doc:"the rule set that decided; 0 = none held at the time of the rides"`
	Rule    string `json:"rule,omitempty" doc:"its rule that decided; without one it is the payer's own contract"`
	Finding string `json:"finding,omitempty" doc:"why a rule that matched was not followed to the letter"`
}

// A Balance is one account of the tenant's book.
type Balance struct {
	ID       string            `json:"id" doc:"for the next page"`
	Account  string            `json:"account"`
	Currency citygate.Currency `json:"currency"`
	Debit    int64             `json:"debit"`
	Credit   int64             `json:"credit"`
}

// A Window is one settlement window.
type Window struct {
	BusinessDate string     `json:"business_date" format:"date"`
	State        string     `json:"state" enum:"open,closed,paid"`
	Terms        int        `json:"terms" doc:"version of the settlement terms its instants follow from, 0 = the default ones"`
	OpensAt      time.Time  `json:"opens_at"`
	EndsAt       time.Time  `json:"ends_at"`
	ClosesAt     time.Time  `json:"closes_at"`
	PaysAt       time.Time  `json:"pays_at"`
	ClosedAt     *time.Time `json:"closed_at,omitempty"`
	PaidAt       *time.Time `json:"paid_at,omitempty"`
}

// Terms say when windows close and are paid, counted from the end of their
// business date.
type Terms struct {
	Version           int    `json:"version" minimum:"0" doc:"the next number, from 1; 0 are the default terms"`
	From              string `json:"from,omitempty" format:"date" doc:"first business date they hold for: one that has no window yet"`
	CloseAfterMinutes int    `json:"close_after_minutes" minimum:"0" maximum:"10080" doc:"late uploads still join their own day until then"`
	PayAfterMinutes   int    `json:"pay_after_minutes" minimum:"0" maximum:"44640" doc:"the provider's bill must have come and be reconciled by then"`
}
