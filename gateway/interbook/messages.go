package interbook

import (
	"encoding/json"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// The kinds of messages.
const (
	KindClaims   = "claims"   // operator to issuer: fares of the issuer's riders
	KindVerdicts = "verdicts" // issuer to operator: what became of the claims
	KindAdvice   = "advice"   // issuer to operator: fees, open debts, cleared money

	KindCodes = "foreign_codes" // operator to issuer: codes of other schemes, whose riders the issuer is to name
	KindNames = "foreign_names" // issuer to operator: who they are

	KindFacts        = "fare_facts"         // operator to authority: taps that the authority's tariff prices
	KindFactVerdicts = "fare_fact_verdicts" // authority to operator: taps among them that issuers refused
	KindShares       = "fare_shares"        // authority to operator: its shares of the fares

	KindSightings = "sightings" // operator to issuer: copied credentials that the operator found by itself
	KindTouches   = "touches"   // operator to issuer: riders that a reader refused as denied
)

// Claims is what an operator asks of an issuer for journeys of its riders.
type Claims struct {
	Currency citygate.Currency `json:"currency"`
	Items    []Claim           `json:"items"`
}

// A Claim is one fare decision. A later one (a higher N) replaces it.
type Claim struct {
	Journey      citygate.UUID  `json:"journey"`
	N            int            `json:"n"`
	Rider        citygate.Rider `json:"rider"`
	Amount       int64          `json:"amount"` // the journey's fare after this decision: absolute, never a difference
	BusinessDate citygate.Date  `json:"business_date"`
	At           time.Time      `json:"at"` // event time of the journey: when its transfers take effect
	Taps         []ClaimTap     `json:"taps"`

	// Handed says that the taps are another tenant's, so that an issuer which is the
	// operator itself proves them like any others. It does not travel.
	Handed bool `json:"-"`
}

// A ClaimTap is one presentation of the rider's code, with the proof.
type ClaimTap struct {
	Terminal  uint32    `json:"terminal"`
	Seq       uint64    `json:"seq"`
	Counter   uint16    `json:"counter"`
	Evidence  []byte    `json:"evidence"` // the raw code bytes
	EventTime time.Time `json:"event_time"`
}

// Verdicts answers claims, item by item.
type Verdicts struct {
	Items []Verdict `json:"items"`
}

// A Verdict is the issuer's answer to one claim. A refused claim names the taps
// that are at fault, and the operator decides again without them; or it gives a
// Reason that lies in the claim itself, and the operator takes the whole fare
// back and sets the journey aside.
type Verdict struct {
	Journey  citygate.UUID `json:"journey"`
	N        int           `json:"n"`
	Accepted bool          `json:"accepted"`
	Refused  []TapVerdict  `json:"refused,omitempty"`
	Reason   ClaimReason   `json:"reason,omitempty"`
}

// A ClaimReason says why a claim is refused whatever its taps are.
type ClaimReason string

// The reasons that lie in a claim.
const (
	NoEvidence    ClaimReason = "no_evidence"    // an amount, and no code that proves a ride
	BadAmount     ClaimReason = "bad_amount"     // a fare below zero
	OtherRider    ClaimReason = "other_rider"    // the journey was claimed for another rider before
	OtherCurrency ClaimReason = "other_currency" // one we do not collect in, or not that of the claim before
	UnknownRider  ClaimReason = "unknown_rider"  // nothing was issued to the rider
)

// A TapVerdict refuses one tap.
type TapVerdict struct {
	Terminal uint32      `json:"terminal"`
	Seq      uint64      `json:"seq"`
	Reason   code.Reason `json:"reason"` // double_use, clone, not_issued or why the code does not hold
}

// Sightings tells an issuer of credentials of its own that were copied.
type Sightings struct {
	Items []Sighting `json:"items"`
}

// A Sighting is two codes of one display with different bytes: making the second
// takes the credential's key and counter, so there are two devices that have them.
type Sighting struct {
	Rider  citygate.Rider `json:"rider"`
	First  ClaimTap       `json:"first"`
	Second ClaimTap       `json:"second"`
}

// Touches tells an issuer which of its denied riders came to a reader.
type Touches struct {
	Items []Touch `json:"items"`
}

// A Touch is one presentation of a code that a reader refused as denied.
type Touch struct {
	Rider citygate.Rider `json:"rider"`
	Tap   ClaimTap       `json:"tap"`
}

// The kinds of advice. An amount is positive for the kind's usual direction
// and negative for its reversal.
const (
	AdviceFee         = "fee"         // the journey's share of a charge's provider fee
	AdviceUncollected = "uncollected" // what the rider still owes of the journey's fare
	AdviceRecovered   = "recovered"   // what of that the rider has paid since
	AdviceCleared     = "cleared"     // what is paid over after reconciliation
)

// The kinds that an issuer keeps apart in its own book and tells as cleared, or not at all.
const (
	AdviceBorne         = "borne"          // what others than the operator bear of a debt, paid over: told as cleared
	AdviceProviderClaim = "provider_claim" // what the provider bears
	AdvicePlatformClaim = "platform_claim" // what the platform bears
	AdviceOwnFee        = "own_fee"        // a fee on what the issuer had paid the operator before
)

// Advice tells an operator what became of the fares an issuer accepted.
type Advice struct {
	Items []AdviceItem `json:"items"`
}

// An AdviceItem is one amount of one journey.
type AdviceItem struct {
	Journey  citygate.UUID     `json:"journey"`
	Kind     string            `json:"kind"`
	Amount   int64             `json:"amount"`
	Ref      string            `json:"ref"` // the charge, refund or debt it comes from; with Journey and Kind the item's natural key
	Currency citygate.Currency `json:"currency"`
	At       time.Time         `json:"at"` // when its transfers take effect, in both books

	// Contra is the account that stands against the payable where issuer and
	// operator are one tenant, and the item never travels.
	Contra string `json:"-"`
}

// Codes asks an issuer who rides on codes of other schemes that it answers for.
type Codes struct {
	Items []Code `json:"items"`
}

// A Code is one presentation of such a code.
type Code struct {
	Terminal  uint32         `json:"terminal"`
	Seq       uint64         `json:"seq"`
	Scheme    code.SchemeID  `json:"scheme"`
	Evidence  []byte         `json:"evidence"` // the raw code bytes
	EventTime time.Time      `json:"event_time"`
	Fare      citygate.Money `json:"fare"`       // as known at the reader; no currency = not known
	GiveUpAt  time.Time      `json:"give_up_at"` // when the operator takes no answer any more

	// What intake found out, for an issuer that is the operator itself. It does not
	// travel: an issuer believes no other tenant.
	Issuer  citygate.Issuer `json:"-"`
	Account [32]byte        `json:"-"`
	Once    [32]byte        `json:"-"`
	Cap     int64           `json:"-"` // minor units, [code.CapNone] = none stated
	Proven  bool            `json:"-"` // else only its provider can prove it
}

// Names answers codes, in any order and number: what is not among them is still
// being found out.
type Names struct {
	Items []Name `json:"items"`
}

// A Name says who rides on a code, and which of his displays it is; or with a
// Reason, that it is nobody's.
type Name struct {
	Terminal uint32         `json:"terminal"`
	Seq      uint64         `json:"seq"`
	Rider    citygate.Rider `json:"rider"`
	Counter  uint16         `json:"counter"`
	Reason   code.Reason    `json:"reason,omitempty"`
}

// Facts hands over taps that are priced by the receiver's integrated tariff.
type Facts struct {
	Items []Fact `json:"items"`
}

// A Fact is one tap as its operator recorded it. A later one of the same tap
// replaces it.
type Fact struct {
	ClaimTap
	Rider    citygate.Rider `json:"rider"`
	Kind     uint8          `json:"kind"` // of package tap
	Stop     string         `json:"stop,omitempty"`
	Route    string         `json:"route,omitempty"`
	Party    uint8          `json:"party"`
	Shown    uint8          `json:"shown,omitempty"`
	Medium   string         `json:"medium,omitempty"`
	Product  uint16         `json:"product"`
	Entered  citygate.Money `json:"entered"`
	Accepted bool           `json:"accepted"`
}

// FactVerdicts names taps that were handed over and that issuers refused.
type FactVerdicts struct {
	Items []TapVerdict `json:"items"`
}

// Shares tells an operator what it gets for rides that the sender priced.
type Shares struct {
	Currency citygate.Currency `json:"currency"`
	Items    []FareShare       `json:"items"`
}

// A FareShare is an operator's share of one ride. A later one (a higher N)
// replaces it.
type FareShare struct {
	Journey     citygate.UUID   `json:"journey"`
	N           int             `json:"n"`
	Amount      int64           `json:"amount"` // absolute, never a difference
	At          time.Time       `json:"at"`     // event time of the ride
	Taps        string          `json:"taps"`   // the operator's own taps of it, terminal:seq, separated by spaces
	Tariff      uint64          `json:"tariff"` // version
	Explanation json.RawMessage `json:"explanation"`
}
