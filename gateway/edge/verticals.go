package edge

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
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

	// RecordTaps stores a signed batch; the tenant is the one in its header.
	RecordTaps func(ctx context.Context, raw []byte) ([]TapReceipt, error)
	// Bundle gives the operator's trust bundle and its entity tag.
	Bundle func(ctx context.Context, tenant citygate.TenantID) (body []byte, etag string, err error)
	DenyLists

	Enrol     func(ctx context.Context, actor string, tenant citygate.TenantID, t EnrolTerminal) (Terminal, error)
	Terminals func(ctx context.Context, tenant citygate.TenantID) ([]Terminal, error)
	Issue     func(ctx context.Context, actor string, tenant citygate.TenantID, requests []IssueCredential) ([]IssuedCredential, error)
	Deny      func(ctx context.Context, actor string, tenant citygate.TenantID, list uint16, index uint32, reason string) error
	Journeys  func(ctx context.Context, tenant citygate.TenantID, page Page) ([]Journey, error)
	Journey   func(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (Journey, error)
	Charges   func(ctx context.Context, tenant citygate.TenantID, page Page) ([]Charge, error)
	Balances  func(ctx context.Context, tenant citygate.TenantID, prefix string) ([]Balance, error)
	// Windows gives windows before the date after, all for the zero date.
	Windows    func(ctx context.Context, tenant citygate.TenantID, after citygate.Date, limit int) ([]Window, error)
	Payouts    func(ctx context.Context, tenant citygate.TenantID, page Page) ([]Payout, error)
	PayoutFile func(ctx context.Context, tenant citygate.TenantID, name string) (body []byte, contentType string, err error)
	// ReconItems gives exceptions behind the one with the id after.
	ReconItems   func(ctx context.Context, tenant citygate.TenantID, state, after string, limit int) ([]ReconItem, error)
	ResolveRecon func(ctx context.Context, actor string, tenant citygate.TenantID, item string, decision ResolveRecon) error
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

// EnrolTerminal asks for a terminal key to be known.
type EnrolTerminal struct {
	ID        uint32 `json:"id" minimum:"1" doc:"terminal key id, unique inside the tenant"`
	Name      string `json:"name" minLength:"1" maxLength:"80"`
	PublicKey []byte `json:"public_key" doc:"Ed25519, 32 bytes, base64"`
	Kind      string `json:"kind" enum:"gate,validator,taximeter"`
	Stop      string `json:"stop,omitempty"`
	Route     string `json:"route,omitempty"`
	Vehicle   string `json:"vehicle,omitempty"`
}

// A Terminal is an enrolled terminal.
type Terminal struct {
	ID      uint32   `json:"id"`
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Stop    string   `json:"stop,omitempty"`
	Route   string   `json:"route,omitempty"`
	Vehicle string   `json:"vehicle,omitempty"`
	State   string   `json:"state"`
	Flags   []string `json:"flags,omitempty" doc:"what is wrong with it, such as clock_suspect"`

	ListAge *int64     `json:"list_age_s,omitempty" doc:"how old the oldest of its deny lists was when its taps of the last seven days used it; absent = no such tap came in"`
	Lists   []UsedList `json:"lists,omitempty" doc:"the deny lists those taps were decided by"`
}

// A UsedList is a deny list a terminal decided by.
type UsedList struct {
	Issuer   uint16    `json:"issuer"`
	List     uint16    `json:"list"`
	Seq      uint32    `json:"seq"`
	ProvenAt time.Time `json:"proven_at" doc:"when the list was last known to be the newest"`
	UsedAt   time.Time `json:"used_at" doc:"time of the last tap with it"`
	Age      int64     `json:"age_s" doc:"how old it was then"`
}

// IssueCredential asks for one CT1 credential.
type IssueCredential struct {
	RiderRef  string `json:"rider_ref" minLength:"1" maxLength:"64" doc:"the payment provider's name for the payer"`
	Contract  string `json:"contract" doc:"provider contract the account is collected under"`
	DeviceKey []byte `json:"device_key" doc:"compressed P-256 point (33 bytes) or Ed25519 key (32 bytes), base64"`
	Product   uint16 `json:"product" doc:"concession class: 1 adult, 2 student, 3 elderly"`
	Cap       uint16 `json:"cap" doc:"highest fare for one tap, in the tenant's cap units"`
	Taps      uint8  `json:"taps,omitempty" doc:"taps until renewal, 0 = no limit"`
	Window    uint8  `json:"window" minimum:"1" doc:"seconds one display lives"`
	TTLHours  uint16 `json:"ttl_hours" minimum:"1"`
}

// An IssuedCredential is part A of the rider's codes.
type IssuedCredential struct {
	Account    string `json:"account"`
	List       uint16 `json:"list"`
	Index      uint32 `json:"index"`
	Credential []byte `json:"credential" doc:"base64"`
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
}

// A Charge is one attempt to collect.
type Charge struct {
	ID       string         `json:"id"`
	Kind     string         `json:"kind"`
	State    string         `json:"state"`
	Amount   citygate.Money `json:"amount"`
	Fee      int64          `json:"fee"`
	Contract string         `json:"contract"`
	OurID    string         `json:"our_id"`
	Provider string         `json:"provider_ref,omitempty"`
	At       time.Time      `json:"at"`
}

// A Balance is one account of the tenant's book.
type Balance struct {
	Account  string            `json:"account"`
	Currency citygate.Currency `json:"currency"`
	Debit    int64             `json:"debit"`
	Credit   int64             `json:"credit"`
}

// A Window is one settlement window.
type Window struct {
	BusinessDate string    `json:"business_date" format:"date"`
	State        string    `json:"state"`
	OpensAt      time.Time `json:"opens_at"`
	ClosesAt     time.Time `json:"closes_at"`
}

// A Payout is money owed to a payee, and the files that pay it.
type Payout struct {
	ID         string         `json:"id"`
	Payee      string         `json:"payee"`
	Window     string         `json:"window" format:"date"`
	Amount     citygate.Money `json:"amount"`
	EndToEndID string         `json:"end_to_end_id"`
	State      string         `json:"state"`
	Files      []string       `json:"files"`
}

// A ReconItem is one exception of a reconciliation.
type ReconItem struct {
	ID         string            `json:"id" doc:"for the next page"`
	Item       string            `json:"item" doc:"its name in the contract, such as charge/… or row/…"`
	Kind       string            `json:"kind"`
	State      string            `json:"state"`
	Owner      string            `json:"owner,omitempty"`
	Contract   string            `json:"contract"`
	Day        string            `json:"day" format:"date"`
	OurID      string            `json:"our_id,omitempty"`
	Currency   citygate.Currency `json:"currency"`
	Expected   int64             `json:"expected"`
	Actual     int64             `json:"actual"`
	Diff       int64             `json:"diff"`
	OpenedAt   time.Time         `json:"opened_at"`
	AgeDays    int               `json:"age_days"`
	Resolution string            `json:"resolution,omitempty"`
	Reason     string            `json:"reason,omitempty" doc:"why it was resolved so"`
}

// ResolveRecon is a person's decision about an exception.
type ResolveRecon struct {
	Contract   string `json:"contract" minLength:"1"`
	Resolution string `json:"resolution" enum:"accept_provider,accept_ours,write_off" doc:"whose figure holds; write_off: neither is pursued"`
	Reason     string `json:"reason" minLength:"1" maxLength:"500"`
}
