package recon

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
)

// A Kind is what became of a row or of a payment without one.
type Kind string

// The kinds. All but Matched are exceptions.
const (
	Matched          Kind = "matched"
	MissingProvider  Kind = "missing_provider"  // we collected it, no bill has it
	MissingLedger    Kind = "missing_ledger"    // a bill has it, we did not collect it
	AmountDiff       Kind = "amount_diff"       // both have it, at other amounts or fees
	CurrencyDiff     Kind = "currency_diff"     // both have it, in other currencies
	RefundUnexpected Kind = "refund_unexpected" // a bill gives back what we did not
	Duplicate        Kind = "duplicate"         // a second row for it in one bill
	DateDiff         Kind = "date_diff"         // a second row for it in another bill
)

// owners say who has to explain an exception.
var owners = map[Kind]string{
	MissingProvider:  "provider",
	MissingLedger:    "operator", // somebody paid without a ride we know of
	AmountDiff:       "finance",
	CurrencyDiff:     "provider",
	RefundUnexpected: "finance",
	Duplicate:        "provider",
	DateDiff:         "provider",
}

// A State is how far a payment has come, as a bill sees it.
type State string

// The states. Whatever is not yet final is Open.
const (
	Succeeded State = "succeeded"
	Declined  State = "declined"
	Open      State = "open"
)

// A Payment is our side of a row: a charge, or a refund of one.
type Payment struct {
	ChargeID    citygate.UUID
	RefundID    citygate.UUID // zero for a charge
	OurID       string        // what the provider knows it by: the charge's id, or the refund's own
	ChargeOurID string        // of a refund: the charge's id; "" = OurID
	Amount      int64         // positive
	Currency    citygate.Currency
	Fee         int64 // what the provider keeps of a charge or for a reversal; zero for a refund
	FeeUnsaid   bool  // of a payment that was taken back: nobody has said its fee
	State       State
	FinalAt     time.Time

	// Unnamed is what of a charge went back as it was reversed, while no bill has said
	// what it calls that.
	Unnamed int64

	// Pays is what the payer paid in his own currency, and Guaranteed whether the
	// provider promised to settle what was asked for; zero where there was no quote.
	Pays       citygate.Money
	Guaranteed bool
}

// IsRefund reports whether p gives money back.
func (p *Payment) IsRefund() bool { return !p.RefundID.IsZero() }

// signed is the amount as bills write it.
func (p *Payment) signed() int64 {
	if p.IsRefund() {
		return -p.Amount
	}
	return p.Amount
}

// A Line is a row of a bill.
type Line struct {
	Day         citygate.Date
	Issue       int // of the bill
	No          int
	Refund      bool
	OurID       string // of the charge
	RefundID    string // of the refund, on refund rows; of a reversal its reference
	Reversed    bool   // a refund row of a payment that was taken back
	ProviderRef string
	Amount      int64 // negative on refund rows
	Currency    citygate.Currency
	Fee         int64
	At          time.Time

	// Paid is what the row says the payer paid in his own currency, signed as
	// Amount is; zero in a row of one currency.
	Paid citygate.Money
}

// names gives the id under which we know what the row is about. A refund row without
// an id of its own is a payment that the provider reversed: nobody here knows it by
// that, so it is named after its charge.
func (l *Line) names() string {
	switch {
	case !l.Refund:
		return l.OurID
	case l.RefundID == "":
		return "of " + l.OurID
	}
	return l.RefundID
}

// says is what a row tells us; two rows that say the same are as good as one another.
func (l *Line) says() string {
	return fmt.Sprintf("%s %d %s %d %d%s", l.OurID, l.Amount, l.Currency, l.Fee, l.Paid.Minor, l.Paid.Currency)
}

// key is the natural key of the item for a charge or refund: one item for each,
// whether its row came or not.
func key(refund bool, ourID string) string {
	if refund {
		return "refund/" + ourID
	}
	return "charge/" + ourID
}

// again is the natural key of the item for a row that is one too many.
func again(l *Line) string {
	if l.Issue > 1 {
		return fmt.Sprintf("row/%s.%d/%d", l.Day, l.Issue, l.No)
	}
	return fmt.Sprintf("row/%s/%d", l.Day, l.No)
}

// verdict compares a row with the payment that has its id, nil if none has. charge is
// the charge that a refund row names.
func verdict(l *Line, p, charge *Payment) Kind {
	switch {
	case p == nil || p.State != Succeeded:
		if l.Refund {
			return RefundUnexpected
		}
		return MissingLedger
	case l.Currency != p.Currency:
		return CurrencyDiff
	case (l.Amount != p.signed() || l.Fee != p.Fee) && !converted(l, p, charge):
		return AmountDiff
	}
	return Matched
}

// exchangeMax is how much a settlement at a rate that nobody guaranteed may differ
// from the fare: one part in so many. More is for a person to look at.
const exchangeMax = 20

// converted reports whether a row differs from its payment only by what the
// provider's exchange made of it: the payer paid exactly what was agreed on in his
// currency (the adapter has held the row to its own rate), and what is settled for
// it is the fare to a minor unit, or, without a guarantee, near it. Its fee may be a
// minor unit off, being of another base; a refund may bring back the fee of its part.
func converted(l *Line, p, charge *Payment) bool {
	agreed := p.Pays
	if p.IsRefund() {
		agreed = agreed.Neg()
	}
	if p.Pays.Currency == "" || l.Paid != agreed {
		return false
	}
	off := magnitude(l.Amount - p.signed())
	if off > 1 && (p.Guaranteed || off > p.Amount/exchangeMax) {
		return false
	}
	if !p.IsRefund() {
		return magnitude(l.Fee-p.Fee) <= 1
	}
	if charge == nil || charge.Amount <= 0 {
		return l.Fee == 0
	}
	return l.Fee <= 0 && -l.Fee <= charge.Fee*p.Amount/charge.Amount+1
}

func magnitude(n int64) int64 { return max(n, -n) }

// An Item is the outcome of a row, or of a payment without one.
type Item struct {
	Contract    string            `json:"contract"`
	Item        string            `json:"item"`
	N           int               `json:"n"` // counts what the item was, from 1
	Kind        Kind              `json:"kind"`
	State       string            `json:"state"`
	Owner       string            `json:"owner,omitempty"`
	ChargeID    citygate.UUID     `json:"-"` // zero if it names no charge of ours
	RefundID    citygate.UUID     `json:"-"`
	OurID       string            `json:"our_id"` // of the charge, also where it is about a refund
	Day         citygate.Date     `json:"-"`
	Issue       int               `json:"-"`              // of the bill
	Line        int               `json:"line,omitempty"` // 0: no bill has a row for it
	Currency    citygate.Currency `json:"currency"`
	Expected    int64             `json:"expected"` // minor units, 0 if nothing was expected
	ExpectedFee int64             `json:"expected_fee"`
	Actual      int64             `json:"actual"`
	ActualFee   int64             `json:"actual_fee"`
	Resolution  Resolution        `json:"resolution,omitempty"`
	Note        string            `json:"note,omitempty"` // why it was resolved so
	OpenedAt    time.Time         `json:"opened_at"`
	ResolvedAt  time.Time         `json:"resolved_at,omitzero"`
}

// Age is how long an exception has been open at the instant now.
func (i *Item) Age(now time.Time) time.Duration {
	if i.State != stateOpen {
		return i.ResolvedAt.Sub(i.OpenedAt)
	}
	return now.Sub(i.OpenedAt)
}

// The states of items.
const (
	stateOpen     = "open"
	stateMatched  = "matched"
	stateResolved = "resolved"
)

// stamp sets what follows from the kind.
func (i *Item) stamp(now time.Time) {
	i.Owner, i.State, i.OpenedAt = owners[i.Kind], stateOpen, now
	if i.Kind == Matched {
		i.State, i.ResolvedAt = stateMatched, now
	}
}

// outcome is the item of a row and the payment it is about. charge is the
// charge a refund row names, to be held if we know nothing of the refund.
func outcome(contract string, l *Line, p, charge *Payment, now time.Time) Item {
	i := Item{
		Contract: contract, Item: key(l.Refund, l.names()), Kind: verdict(l, p, charge), OurID: l.OurID,
		Day: l.Day, Issue: l.Issue, Line: l.No, Currency: l.Currency, Actual: l.Amount, ActualFee: l.Fee,
	}
	switch {
	case p != nil:
		i.ChargeID, i.RefundID = p.ChargeID, p.RefundID
		if p.State == Succeeded {
			i.Expected, i.ExpectedFee = p.signed(), p.Fee
			i.Currency = p.Currency // if the row's is another, the row still says so
		}
	case charge != nil:
		i.ChargeID = charge.ChargeID
	}
	i.stamp(now)
	return i
}

// surplus is the item of a row whose payment had its row already, on day first.
func surplus(i Item, l *Line, first citygate.Date, now time.Time) Item {
	i.Item, i.Kind = again(l), Duplicate
	if first != l.Day {
		i.Kind = DateDiff
	}
	i.Expected, i.ExpectedFee, i.ResolvedAt = 0, 0, time.Time{}
	i.stamp(now)
	return i
}

// missing is the item of a payment that no bill has.
func missing(contract string, p *Payment, day citygate.Date, now time.Time) Item {
	i := Item{
		Contract: contract, Item: key(p.IsRefund(), p.OurID), Kind: MissingProvider, OurID: cmp.Or(p.ChargeOurID, p.OurID),
		ChargeID: p.ChargeID, RefundID: p.RefundID, Day: day, Currency: p.Currency,
		Expected: p.signed(), ExpectedFee: p.Fee,
	}
	i.stamp(now)
	return i
}

// event names what an item does to the books, and each time that it does it.
func (i *Item) event(what string) string {
	name := what + ":" + i.Contract + "/" + i.Item
	if i.N > 1 {
		name += "#" + strconv.Itoa(i.N)
	}
	return name
}

// reversed gives the transfers that take others back, at an instant.
func reversed(tenant citygate.TenantID, transfers []ledger.Transfer, at time.Time) []ledger.Transfer {
	back := make([]ledger.Transfer, len(transfers))
	for i, t := range transfers {
		back[i] = ledger.NewTransfer(tenant, 0, ledger.Transfer{
			Debit: t.Credit, Credit: t.Debit, Amount: t.Amount, Currency: t.Currency, Code: t.Code + "_reversed", Event: t.Event,
			EffectiveAt: at, BusinessDate: t.BusinessDate,
		})
	}
	return back
}

// transfersOf gives what an item does to the books: of a matched row, that what
// the provider owed us is at the bank, and what its exchange made more or less of
// it; of a decision, its settlement; of an open exception, nothing.
func transfersOf(tenant citygate.TenantID, i *Item) []ledger.Transfer {
	if i.State == stateResolved {
		return settlement(tenant, i)
	}
	if i.Kind != Matched {
		return nil
	}
	difference := ledger.ExchangeDifference(i.Contract)
	var transfers []ledger.Transfer
	for _, t := range []ledger.Transfer{
		{Debit: ledger.Bank(), Amount: i.Actual - i.ActualFee, Code: "provider_settled"},
		{Debit: difference, Amount: i.Expected - i.Actual, Code: "exchange_difference"},
		{Debit: difference, Amount: i.ActualFee - i.ExpectedFee, Code: "exchange_fee"},
	} {
		if t.Amount == 0 {
			continue
		}
		t.Credit, t.Currency, t.Event = ledger.ProviderReceivable(i.Contract), i.Currency, i.event("bill")
		t.EffectiveAt, t.BusinessDate = i.ResolvedAt, i.Day
		transfers = append(transfers, ledger.NewTransfer(tenant, 0, t))
	}
	return transfers
}
