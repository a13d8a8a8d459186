// Package driver is the contract between Citygate and a payment product. Who
// wants to connect a product implements [Provider] here, runs
// adapters/drivertest against it, and is done. The package is public, holds
// almost no code and imports the standard library and the root package only.
//
// # What an adapter is
//
// An adapter translates. It turns a [Debit] into the product's request, signs
// it, sends it, verifies the answer and says what the answer means. It holds no
// policy: when to charge, whether to ask again, what to book and who bears a
// loss are the gateway's business. An adapter is given everything it uses: a
// [Doer] that sends HTTP requests, a crypto.Signer, named secrets, a clock. It
// never opens a file, reads the environment, asks for the time, prints or
// starts a goroutine that outlives a call. Its methods are safe for concurrent
// use.
//
// # What an adapter promises
//
// One id, one payment. Debit.OurID names a payment for ever. Two Submits of one
// id with equal content are one payment, whether the first was answered, lost
// or is still under way. The gateway sends again only what is equal byte for
// byte, and only if Description.ResubmitSafe says that this is allowed. If the
// far side knows the id with other content, the answer is neither [Succeeded]
// nor [Declined], because the payment it does know may have gone through: it is
// [Unknown] with the provider's code as reason.
//
// Nobody can say is an answer. [Succeeded] and [Declined] are final and are
// returned only on the strength of an authentic answer that says so in words
// the adapter knows. Everything else is [Unknown]: a timeout, a broken
// connection, HTTP 5xx, a body that does not parse, a missing or bad signature,
// a code that is not in the adapter's table, "please try later". A timeout is
// never a decline. The gateway then queries, or sends the same again, and in
// the end the provider's bill decides.
//
// Certainly nothing happened is said by [ErrNotPerformed] and by nothing else.
// adapters/wire knows when it is true.
//
// An adapter never retries and never sleeps: one method call is at most one
// attempt (paging and downloads are several requests, each made once). An
// attempt inside an attempt would hide from the gateway how often the far side
// was asked, and its last error would speak of the wrong attempt.
//
// Results come in the order of the debits, one for each, whatever order the far
// side answers in. A context that ends makes every method return promptly.
// Errors and reason codes hold no key, no secret, no signature and no URL.
// Money arrives in minor units and is never a float.
//
// # What is optional
//
// Everything but [Provider] itself is found by type assertion, and
// [Capabilities] lists it: [Refunder], [Reverser], [Notifier], [Biller],
// [KeyFeed], [DenyFeed], [DenyPush], [EvidenceCheck], [RiderCheck], [Contract],
// [Authorizer], [CardIssuer], [CodeIssuer], [CodeResolver], [DeviceEnroller],
// [ArrearSync] and [Quoter]. An adapter that cannot do a thing does not have the
// methods, or, when it learns that from its contract, says so as a [Selective]. No error
// stands for a missing ability. What is not a method but a number is in [Limits].
package driver

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/cashlesscity/citygate"
)

// ErrNotPerformed says that the provider certainly did not act on the request,
// so that trying again cannot charge twice. Return it only when that is
// certain: nothing left this machine, or the request was refused before any
// effect. After a timeout, a reset, an unreadable or unsigned answer return the
// error as it is; the gateway then treats the outcome as Unknown.
var ErrNotPerformed = errors.New("driver: not performed")

// ErrCurrencyUnsupported refuses a currency the provider does not settle.
var ErrCurrencyUnsupported = errors.New("driver: currency_unsupported")

// ErrConfig refuses the configuration of a contract, by the field that is wrong.
var ErrConfig = &citygate.Code{Name: "adapter.config", Kind: citygate.Invalid,
	Title: "The contract's configuration is incomplete or wrong; correct the named field."}

// ErrBillNotReady says that the bill of that day does not exist yet.
var ErrBillNotReady = errors.New("driver: bill not ready")

// IDMade is the length of the ids that the gateway makes, of letters and digits. A
// product that takes no such ids can be paid nothing.
const IDMade = 32

// An Outcome is what the provider said became of one debit or refund.
type Outcome string

// The outcomes. The zero value is Unknown, so that a forgotten field is never
// taken for money that moved or did not.
const (
	Unknown   Outcome = ""          // nobody can say; ask again
	Accepted  Outcome = "accepted"  // taken, not decided yet
	Succeeded Outcome = "succeeded" // final: money moved
	Declined  Outcome = "declined"  // final: money did not move and will not
	Absent    Outcome = "absent"    // the provider does not know the id (yet): still Unknown
)

// A Debit asks for one payment. OurID and the content together are the
// request: re-sent, they are equal byte for byte. Attempted alone may differ
// from one attempt to the next and is not content.
type Debit struct {
	OurID     string // at most Description.IDMax characters of [A-Za-z0-9_], or of Limits.Charset
	RiderRef  string // the provider's name for the payer (user id, agreement)
	Amount    citygate.Money
	TripTime  time.Time
	Subject   string
	Evidence  [][]byte // raw signed codes, opaque
	Attempted time.Time

	// AuthCode is a payment code read from the rider's phone, where the debit is
	// made on one. Whoever has it within its minute can charge him.
	AuthCode citygate.Secret

	PayeeRef string // who gets the money, where that is not the merchant: a driver, a sub-merchant

	// FirstRide says that the scheme insures the payment: it was declined under
	// another id, and is asked for again as the payer's insured first ride. It is
	// content, and only where Limits.FirstRide allows it.
	FirstRide bool

	// Recovery says that the debit asks for a debt, and who started that. It is
	// content, and only a way that Limits.Recoveries knows; a debt that is asked for in no
	// such way is a debit like any other.
	Recovery Recovery

	// Recovers is the declined debit whose debt is asked for: of a Recovery always,
	// of a FirstRide where Limits.Recoveries knows any way, and of nothing else. Its
	// Amount is what was declined; Debit.Amount is never more. It is content.
	Recovers Ref

	// Shown is what the payer showed a reader when he started a [RecoverByTap], as
	// opaque as Evidence, which stays that of the rides. It is content.
	Shown []byte

	// Quote is the rate at which the payer pays in another currency, once the
	// gateway has one of a [Quoter]. It is content. The zero value has none.
	Quote Quote

	// Mark is what the adapter's [Marker] gave when the debit was first sent, or
	// sent again after it certainly had not been; "" where it is none. It is content.
	Mark string
}

// A Recovery says who starts the recovery of a debt: another try to collect what was
// declined before.
type Recovery string

// The ways.
const (
	RecoverByMerchant Recovery = "merchant" // by his schedule, or because one of his people says so
	RecoverByRider    Recovery = "rider"    // who asks to pay
	RecoverByTap      Recovery = "tap"      // the rider shows his code or card to a reader again
)

// A Ref is everything ever learnt about a submitted debit.
type Ref struct {
	OurID       string
	ProviderRef string
	SubmittedAt time.Time
	Amount      citygate.Money
	Quote       Quote  // that of the debit
	Mark        string // that of the debit
}

// A Result is the answer for one debit, refund or query.
type Result struct {
	OurID       string
	Outcome     Outcome
	ProviderRef string
	ReasonCode  string    // the provider's own code, for people
	RetryAt     time.Time // when the provider wants to be asked again, a week ahead at most; zero = our cadence
	Fee         int64     // minor units, if the provider says; not used for booking

	// Amount is what the provider says it moved, if it says so. An amount that
	// is not the one asked for makes the outcome Unknown.
	Amount citygate.Money

	// Returned is what of it went back since, if the provider says so: a paid
	// debit that was reversed or refunded stays Succeeded.
	Returned citygate.Money

	// Exchange is what became of it between currencies, if the provider says so.
	Exchange Exchange

	// Advance says that the provider paid out of its own pocket. The money is
	// the operator's either way: a Succeeded is final whatever becomes of it.
	Advance Advance
}

// An Advance is how a payment stands that the provider made for a rider who had
// no money.
type Advance string

// The advances.
const (
	NoAdvance       Advance = ""         // the rider paid, or nothing is said
	AdvanceOwed     Advance = "owed"     // the operator has its money, the rider owes the provider
	AdvanceRepaid   Advance = "repaid"   // and has paid it back since
	AdvanceReturned Advance = "returned" // the operator gave all of it back, so nobody owes anything
)

// A Description is static: the limits of this adapter. Abilities that have an
// interface (Refunder, Biller ...) are found by type assertion and are not
// repeated here.
type Description struct {
	Name         string
	Version      string
	Currencies   []citygate.Currency // empty = any
	BatchMax     int                 // debits in one Submit
	IDMax        int                 // characters in OurID, at least IDMade
	ResubmitSafe bool                // equal id and content may be sent again
	QuietTime    time.Duration       // an Absent older than this may be re-submitted
	PollEvery    time.Duration       // cadence of Query when the provider names none
	Deadline     time.Duration       // of one call; 0 = the caller's context alone
	Limits       Limits

	// PaymentCodes are the forms of the codes that debits are made on
	// (Debit.AuthCode); none: it collects in another way.
	PaymentCodes []CodeForm
}

// A Provider collects money. Implementations are safe for concurrent use, hold
// no state that matters, never retry and never sleep.
type Provider interface {
	Describe() Description
	// Submit asks for payments, at most BatchMax. The results are in the order
	// of the debits. A non-nil error speaks of the whole call: ErrNotPerformed,
	// ErrCurrencyUnsupported (also certain), or unknown for every item.
	Submit(ctx context.Context, debits []Debit) ([]Result, error)
	// Query reports what became of a debit. An error leaves it Unknown.
	Query(ctx context.Context, ref Ref) (Result, error)
}

// A Marker is a [Provider] whose far side knows a debit, or a refund, by its OurID and
// something else that is chosen as it is sent, such as the second.
type Marker interface {
	// Mark gives that for what is about to be sent at the instant, at most 64
	// characters. It is pure. The gateway keeps it before the first byte leaves, and
	// gives it back in Debit, Ref and Refund.
	Mark(at time.Time) string
}

// A Refund asks to give back part of a succeeded debit. Two calls with one
// OurID are one refund.
type Refund struct {
	OurID  string
	Charge Ref
	Amount citygate.Money
	Reason string

	// Pays is what the payer gets back in his own currency, where Charge has a
	// quote: its part of what he paid ([PartOf]). It is content.
	Pays citygate.Money

	Mark string // as of a debit, of the refund itself
}

// A Refunder gives money back.
type Refunder interface {
	Refund(ctx context.Context, refund Refund) (Result, error)
	QueryRefund(ctx context.Context, refund Refund) (Result, error)
}

// A Bill is the provider's file of one of its days, verbatim.
type Bill struct {
	Day      citygate.Date
	Issued   time.Time // when the provider made the file, if it says; of two files of one day the later one holds
	Name     string    // file name
	Body     []byte
	Currency citygate.Currency
}

// A BillLine is one row of a bill.
type BillLine struct {
	Line     int    // 1-based row number in the file
	Refund   bool   // a refund row; Amount is then negative
	OurID    string // of the debit
	RefundID string // of the refund, on refund rows

	// Reversed says that a refund row is none that was asked for: the bank or the
	// provider took the payment back (a chargeback, a returned debit), or gave back of it
	// after a dispute, in which case Amount is positive. RefundID is the provider's
	// reference of that, and Fee what it keeps for it.
	Reversed bool

	ProviderRef string
	Amount      citygate.Money // signed
	Fee         int64          // minor units, positive = charged to the merchant
	At          time.Time

	// Exchange is what the bill says of a payment between currencies, signed as
	// Amount is. What is settled in the operator's currency is Amount itself.
	Exchange Exchange
}

// A Biller hands out bills.
type Biller interface {
	// FetchBill gives the bill of the provider's day, or ErrBillNotReady.
	FetchBill(ctx context.Context, day citygate.Date) (Bill, error)
	// ParseBill reads a bill. It is pure; a file whose rows do not add up to
	// its own totals is an error.
	ParseBill(bill Bill) ([]BillLine, error)
	// BillDay gives the day whose bill carries a payment finished at the instant.
	BillDay(at time.Time) citygate.Date
}

// A BillReader is a [Biller] that reads bills row by row, so that one of a million
// rows needs no memory for them.
type BillReader interface {
	// ReadBill is ParseBill, with a visit for each line in the file's order. On an
	// error, of its own or of a visit, what was visited is worth nothing: totals
	// stand at the end of files.
	ReadBill(bill Bill, visit func(BillLine) error) error
}

// A Mark stands for a number in a bill, for readers that keep one for each row: a million
// of them need no more than this.
type Mark [16]byte

// MarkOf gives the mark of a number.
func MarkOf(number string) Mark {
	sum := sha256.Sum256([]byte(number))
	return Mark(sum[:16])
}

// BillLines gives all lines that a ReadBill visits, and none on an error: what
// ParseBill is for an adapter that reads row by row.
func BillLines(read func(Bill, func(BillLine) error) error, bill Bill) ([]BillLine, error) {
	var lines []BillLine
	err := read(bill, func(l BillLine) error {
		lines = append(lines, l)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lines, nil
}

// A DenyFeed lists riders the provider refuses. It is a full snapshot.
type DenyFeed interface {
	PullDeny(ctx context.Context) (riderRefs []string, err error)
}

// A KeyFeed gives the provider's public keys for its own offline codes.
type KeyFeed interface {
	PullKeys(ctx context.Context) ([]FeedKey, error)
}

// A FeedKey is a key of a provider's own code scheme.
type FeedKey struct {
	ID       uint32
	Material []byte
}

// A Doer sends HTTP requests; the host chooses transport, limits and egress
// rules. *http.Client is one.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// A CodeOutcome is what a provider said of a code that only it can read.
type CodeOutcome string

// The outcomes. The zero value is CodeUnknown, so that a forgotten field names
// nobody.
const (
	CodeUnknown CodeOutcome = ""        // nobody can say; ask again
	CodeKnown   CodeOutcome = "known"   // final: the code was genuine and is RiderRef's
	CodeRefused CodeOutcome = "refused" // final: the provider answers for nobody with this code
)

// A CodeQuestion asks whose a code is that was shown offline. Nothing is charged
// by asking. OurID names the question for ever; asked again, it is equal byte for
// byte and has the answer it had, once that was final.
type CodeQuestion struct {
	OurID    string
	Scheme   string // the code scheme, as Citygate calls it
	Evidence []byte // the raw code, opaque
	At       time.Time
	Fare     citygate.Money // as known at the reader; no currency = not known
}

// A CodeAnswer is the answer to a question.
type CodeAnswer struct {
	OurID      string
	Outcome    CodeOutcome
	RiderRef   string // the provider's name for the payer, as in Debit; exactly when known
	ReasonCode string
	RetryAt    time.Time // when the provider wants to be asked again, a week ahead at most; zero = our cadence
}

// A CodeResolver says whose codes of its own are, after the ride.
type CodeResolver interface {
	// ResolveCode asks about one code. An error leaves it unknown.
	ResolveCode(ctx context.Context, q CodeQuestion) (CodeAnswer, error)
}
