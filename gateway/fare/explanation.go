package fare

import (
	"github.com/cashlesscity/citygate"
)

// A Reason says why a fare is unknown: a closed set, the same words in rows and
// at the API.
type Reason string

// The reasons.
const (
	JourneyOpen       Reason = "journey_open"         // a tap may still come
	NoTaps            Reason = "no_taps"              // nothing to price
	NoCategory        Reason = "category_unknown"     // the product maps to no category
	NoRule            Reason = "no_rule"              // no rule serves the route
	NoAmount          Reason = "no_amount"            // the rule has no price for the category
	NoStop            Reason = "stop_unknown"         // the tariff does not know the stop or section
	NoPair            Reason = "no_price_for_pair"    // the table has no price for the two stops
	NoSameStop        Reason = "same_stop"            // ended where it began, to be set aside
	NoIncomplete      Reason = "incomplete"           // a tap is missing, to be set aside
	NeedsOff          Reason = "destination_unknown"  // the rule needs an off, the tap was single
	BeyondTable       Reason = "beyond_last_band"     // farther than the tariff goes
	NotEntered        Reason = "amount_missing"       // the driver entered none
	EnteredCurrency   Reason = "entered_currency"     // entered in another currency
	EnteredOutOfRange Reason = "entered_out_of_range" // outside the rule's limits
	NotCompiled       Reason = "tariff_not_compiled"  // the tariff was not prepared for use
	NoTariff          Reason = "no_tariff"            // no version was valid at the first tap
)

// A Decision is what a journey costs, or why nobody can say. Amount and Nominal
// are set only if Known; Reason only if not. Amount is what the rider pays now:
// Nominal less the adjustments that were applied.
type Decision struct {
	Known         bool
	Reason        Reason
	Amount        citygate.Money
	Nominal       int64
	TariffVersion uint64
	InputsHash    [32]byte // SHA-256 over tariff, category and journey
	Explanation   Explanation
}

// An Explanation lists what was done, in order, so that a rider, an operator or
// an auditor can follow and repeat it. The last step's Minor is the nominal
// price; without adjustments that is the fare, and Nominal and Payable are left out.
type Explanation struct {
	Tariff   string            `json:"tariff"`
	Version  uint64            `json:"version"`
	Currency citygate.Currency `json:"currency"`
	Category Category          `json:"category"`
	// Medium and Day are what the first tap was taken for, where the tariff has prices
	// by medium or by time.
	Medium string `json:"medium,omitempty"`
	Day    *Day   `json:"day,omitempty"`
	Steps  []Step `json:"steps"`

	Nominal     *int64       `json:"nominal,omitempty"`
	Adjustments []Adjustment `json:"adjustments,omitempty"`
	Payable     *int64       `json:"payable,omitempty"`
	Caps        []CapState   `json:"caps,omitempty"`

	// Joint says that the ride was counted together with those of the rider's other
	// devices. What caps counted before and after it is then left out: it would show
	// which devices those are.
	Joint bool `json:"joint,omitempty"`

	Unknown Reason `json:"unknown,omitempty"`
}

// A Step is one step of a decision: the rule that was applied, what it did, on
// which inputs, and the amount after it.
type Step struct {
	Rule    string `json:"rule"`
	Op      Op     `json:"op"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Section string `json:"section,omitempty"`
	Metres  int64  `json:"metres,omitempty"`
	Minutes int64  `json:"minutes,omitempty"`
	Via     string `json:"via,omitempty"`     // where a cheaper split breaks the journey, comma separated
	Factor  int64  `json:"factor,omitempty"`  // permille of a share, step of a rounding, riders of a party
	Counted int64  `json:"counted,omitempty"` // of the riders of a party, those the operator entered beyond what the code states
	// Product and Row are what a feed prices by, Note what it says of it.
	Product string `json:"product,omitempty"`
	Row     int    `json:"row,omitempty"`
	Note    string `json:"note,omitempty"`
	Minor   int64  `json:"minor"`
}

// An Op names what a step did.
type Op string

// The operations.
const (
	OpFlat       Op = "flat"
	OpSection    Op = "section"
	OpTable      Op = "table"
	OpDistance   Op = "distance"
	OpEntered    Op = "entered"
	OpIncomplete Op = "incomplete"
	OpSameStop   Op = "same_stop"
	OpShare      Op = "share" // permille of a category; the amount is shown rounded down
	OpRound      Op = "round"
	OpParty      Op = "party"
	OpZone       Op = "zone"
	OpTime       Op = "time"
	OpSplit      Op = "split" // two or more rides of the table cost less than one
)
