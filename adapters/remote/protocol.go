package remote

import (
	_ "embed"
	"encoding/json"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// OpenAPI is the protocol as an OpenAPI 3.1 document.
//
//go:embed openapi.yaml
var OpenAPI []byte

// Protocol is the version this package speaks.
const Protocol = "1"

// Tag is that of the signatures of calls and answers.
const Tag = "citygate-provider-1"

const (
	tag             = Tag
	protocolHeader  = "Citygate-Protocol"
	clockDifference = 5 * time.Minute
)

// What the two signatures cover.
var (
	requestCovers = []string{"@method", "@authority", "@path", "content-digest", "citygate-protocol"}
	answerCovers  = []string{"@status", "content-digest", "signature;req"}
)

// The paths of the calls.
const (
	pathManifest    = "/v1/manifest"
	pathHealth      = "/v1/health"
	pathSubmit      = "/v1/submit"
	pathQuery       = "/v1/query"
	pathReverse     = "/v1/reverse"
	pathRefund      = "/v1/refund"
	pathQueryRefund = "/v1/refund/query"
	pathBill        = "/v1/bill"
	pathDeny        = "/v1/deny"
	pathKeys        = "/v1/keys"
	pathNotify      = "/v1/notify"
	pathCode        = "/v1/code"
	pathRider       = "/v1/rider"
	pathDenyChange  = "/v1/deny/change"
	pathTest        = "/v1/test"
)

// A Manifest says what a program can do. All of it is static for one version.
type Manifest struct {
	Protocol []string `json:"protocol"` // versions it speaks
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Title    string   `json:"title,omitempty"`

	Currencies   []string            `json:"currencies"` // empty = any
	BatchMax     int                 `json:"batch_max"`
	ResubmitSafe bool                `json:"resubmit_safe"`
	Capabilities []driver.Capability `json:"capabilities"`

	IDMin     int    `json:"id_min,omitempty"`
	IDMax     int    `json:"id_max"`
	IDCharset string `json:"id_charset,omitempty"` // "" or "alnum"
	AmountMin int64  `json:"amount_min,omitempty"`
	AmountMax int64  `json:"amount_max,omitempty"`

	QuietSeconds         int64 `json:"quiet_seconds"`
	PollSeconds          int64 `json:"poll_seconds"`
	DeadlineSeconds      int64 `json:"deadline_seconds"`
	QueryDelaySeconds    int64 `json:"query_delay_seconds,omitempty"`
	ReverseAfterSeconds  int64 `json:"reverse_after_seconds,omitempty"`
	ReverseWithinSeconds int64 `json:"reverse_within_seconds,omitempty"`
	RefundWithinSeconds  int64 `json:"refund_within_seconds,omitempty"`
	RefundsMax           int   `json:"refunds_max,omitempty"`
	FullRefund           bool  `json:"full_refund,omitempty"`
	FirstRide            bool  `json:"first_ride,omitempty"`
	ByAgreement          bool  `json:"by_agreement,omitempty"`       // debits rest on agreements: a debit's rider is the number of one
	OverCapture          bool  `json:"over_capture,omitempty"`       // more may be captured than was authorised
	PayerPollSeconds     int64 `json:"payer_poll_seconds,omitempty"` // of a payment that waits for its payer; 0 = poll_seconds

	// PaymentCodes are the forms of the codes that debits are made on (auth_code); none:
	// it collects in another way.
	PaymentCodes []codeForm `json:"payment_codes,omitempty"`

	// Recoveries are the ways in which the recovery of a debt is known, and the rest how
	// often and how long the merchant may ask on his own.
	Recoveries           []driver.Recovery `json:"recoveries,omitempty"`
	RecoverTries         int               `json:"recover_tries,omitempty"`
	RecoverWithinSeconds int64             `json:"recover_within_seconds,omitempty"`

	Notices             string `json:"notices,omitempty"` // "", "success" or "finality"
	NoticeWithinSeconds int64  `json:"notice_within_seconds,omitempty"`

	// BillZone and BillStartSeconds say which instants a bill's day has: it
	// begins at midnight in the zone plus so many seconds, -3600 for 23:00 on
	// the evening before.
	BillZone         string `json:"bill_zone,omitempty"`
	BillStartSeconds int64  `json:"bill_start_seconds,omitempty"`

	ConfigSchema json.RawMessage `json:"config_schema,omitempty"` // JSON Schema of the contract's configuration
	Secrets      []string        `json:"secrets,omitempty"`       // the names of the secrets it needs

	Test *TestSystem `json:"test,omitempty"` // of a program beside a test system: never in production
}

// A TestSystem is what the conformance kit needs of a program: a payer, and the
// call /v1/test by which the kit looks at the far side's book and has it decline.
type TestSystem struct {
	Rider    string `json:"rider"` // has money and may be charged; where debits rest on agreements, the number of one in force
	Currency string `json:"currency"`
	Code     []byte `json:"code,omitempty"` // a code of Rider's, for code_resolve
	Scheme   string `json:"scheme,omitempty"`
	Record   []byte `json:"record,omitempty"` // a genuine record of the product's own codes, for evidence

	// PaymentCode is one of Rider's that any number of payments can be made on, where the
	// manifest has payment_codes.
	PaymentCode string `json:"payment_code,omitempty"`

	Card string `json:"card,omitempty"` // the token of a card that may be charged, for authorize
}

// A codeForm is a driver.CodeForm.
type codeForm struct {
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Min     int    `json:"min"`
	Max     int    `json:"max"`
	Letters bool   `json:"letters,omitempty"`
}

// contractPart is what of a tenant's contract each call carries.
type contractPart struct {
	Config  json.RawMessage   `json:"config"`
	Secrets map[string]string `json:"secrets,omitempty"`
	// NotifyURL is where the provider is to send notifications about what is asked
	// for; "" = nowhere.
	NotifyURL string `json:"notify_url,omitempty"`
}

type money struct {
	Minor    int64             `json:"minor"`
	Currency citygate.Currency `json:"currency"`
}

func moneyOf(m citygate.Money) *money {
	if m == (citygate.Money{}) {
		return nil
	}
	return &money{m.Minor, m.Currency}
}

func (m *money) money() citygate.Money {
	if m == nil {
		return citygate.Money{}
	}
	return citygate.Money{Minor: m.Minor, Currency: m.Currency}
}

type debit struct {
	ID        string     `json:"id"`
	Rider     string     `json:"rider"`
	Amount    *money     `json:"amount"`
	TripTime  time.Time  `json:"trip_time"`
	Subject   string     `json:"subject"`
	Evidence  [][]byte   `json:"evidence"`
	Attempted *time.Time `json:"attempted,omitempty"`
	AuthCode  string     `json:"auth_code,omitempty"`
	Payee     string     `json:"payee,omitempty"`
	FirstRide bool       `json:"first_ride,omitempty"`
	Mark      mark       `json:"mark,omitempty"`

	Recovery driver.Recovery `json:"recovery,omitempty"`
	Recovers *ref            `json:"recovers,omitempty"`
	Shown    []byte          `json:"shown,omitempty"`
	Quote    *quote          `json:"quote,omitempty"`
}

// A mark is, on the wire, the instant that names a debit or refund beside its id: a
// program makes of it what its product wants, such as the second. It is the same text
// for ever.
type mark string

// markAt is the mark of an instant.
func markAt(at time.Time) mark { return mark(at.UTC().Format(time.RFC3339Nano)) }

// of gives what the driver of a program makes of a mark.
func (m mark) of(p driver.Provider) (string, error) {
	marker, ok := driver.As[driver.Marker](p)
	if m == "" || !ok {
		return "", nil
	}
	at, err := time.Parse(time.RFC3339Nano, string(m))
	if err != nil {
		return "", errBody
	}
	return marker.Mark(at), nil
}

type ref struct {
	ID          string     `json:"id"`
	ProviderRef string     `json:"provider_ref,omitempty"`
	SubmittedAt *time.Time `json:"submitted_at,omitempty"`
	Amount      *money     `json:"amount,omitempty"`
	Mark        mark       `json:"mark,omitempty"`
	Quote       *quote     `json:"quote,omitempty"`
}

type result struct {
	ID          string     `json:"id"`
	Outcome     string     `json:"outcome"`
	ProviderRef string     `json:"provider_ref,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	RetryAt     *time.Time `json:"retry_at,omitempty"`
	FeeMinor    int64      `json:"fee_minor,omitempty"`
	Amount      *money     `json:"amount,omitempty"`
	Returned    *money     `json:"returned,omitempty"`
	Advance     string     `json:"advance,omitempty"`
	Exchange    *exchange  `json:"exchange,omitempty"`
}

type (
	submitCall struct {
		Contract contractPart `json:"contract"`
		Debits   []debit      `json:"debits"`
	}
	submitAnswer struct {
		Results []result `json:"results"`
	}
	refCall struct {
		Contract contractPart `json:"contract"`
		Ref      ref          `json:"ref"`
	}
	reverseAnswer struct {
		Reversal string `json:"reversal"`
		Reason   string `json:"reason,omitempty"`
	}
	refund struct {
		ID     string `json:"id"`
		Charge ref    `json:"charge"`
		Amount *money `json:"amount"`
		Reason string `json:"reason,omitempty"`
		Mark   mark   `json:"mark,omitempty"`
		Pays   *money `json:"pays,omitempty"`
	}
	refundCall struct {
		Contract contractPart `json:"contract"`
		Refund   refund       `json:"refund"`
	}
	billCall struct {
		Contract contractPart `json:"contract"`
		Day      string       `json:"day"`
		After    string       `json:"after,omitempty"` // how many rows the gateway has already
		Limit    int          `json:"limit,omitempty"` // rows that it wants now at most
	}
	plainCall struct {
		Contract contractPart `json:"contract"`
		After    string       `json:"after,omitempty"`
	}
	denyAnswer struct {
		Riders []string `json:"riders"`
		Next   string   `json:"next,omitempty"`
	}
	keysAnswer struct {
		Keys []feedKey `json:"keys"`
	}
	feedKey struct {
		ID       uint32 `json:"id"`
		Material []byte `json:"material"`
	}
	notification struct {
		Method string              `json:"method"`
		Target string              `json:"target"`
		Header map[string][]string `json:"header"`
		Body   []byte              `json:"body"`
		At     time.Time           `json:"at"`
	}
	notifyCall struct {
		Contract     contractPart `json:"contract"`
		Notification notification `json:"notification"`
	}
	ack struct {
		Status      int    `json:"status"`
		ContentType string `json:"content_type,omitempty"`
		Body        []byte `json:"body"`
	}
	notice struct {
		ID        string       `json:"id,omitempty"`
		Kind      string       `json:"kind"`
		Result    *result      `json:"result,omitempty"`
		ChargeID  string       `json:"charge_id,omitempty"`
		Agreement *agreement   `json:"agreement,omitempty"`
		Rider     *riderAnswer `json:"rider,omitempty"`
		Taken     *taken       `json:"taken,omitempty"`
	}
	taken struct {
		Reference string     `json:"reference"`
		Of        string     `json:"of,omitempty"`
		State     string     `json:"state"`
		Amount    *money     `json:"amount,omitempty"`
		FeeMinor  *int64     `json:"fee_minor,omitempty"` // absent: it is not said
		Reason    string     `json:"reason,omitempty"`
		At        *time.Time `json:"at,omitempty"`
	}
	notifyAnswer struct {
		Proven bool    `json:"proven"` // the notification is the provider's
		Notice *notice `json:"notice,omitempty"`
		Ack    ack     `json:"ack"`
	}
	codeCall struct {
		Contract contractPart `json:"contract"`
		ID       string       `json:"id"`
		Scheme   string       `json:"scheme"`
		Code     []byte       `json:"code"`
		At       time.Time    `json:"at"`
		Fare     *money       `json:"fare,omitempty"`
	}
	codeAnswer struct {
		ID      string     `json:"id"`
		Outcome string     `json:"outcome"`
		Rider   string     `json:"rider,omitempty"`
		Reason  string     `json:"reason,omitempty"`
		RetryAt *time.Time `json:"retry_at,omitempty"`
	}
	denyChangeCall struct {
		Contract contractPart `json:"contract"`

		ID     string    `json:"id"`
		Rider  string    `json:"rider"`
		Card   string    `json:"card,omitempty"`
		Denied bool      `json:"denied"`
		Reason string    `json:"reason,omitempty"`
		At     time.Time `json:"at"`
	}
	denyChangeAnswer struct {
		ID string `json:"id"`
	}
	riderCall struct {
		Contract  contractPart `json:"contract"`
		Rider     string       `json:"rider,omitempty"`
		Agreement string       `json:"agreement,omitempty"`
	}
	riderAnswer struct {
		Rider  string     `json:"rider,omitempty"`
		State  string     `json:"state"`
		Owes   *money     `json:"owes,omitempty"`
		Reason string     `json:"reason,omitempty"`
		At     *time.Time `json:"at,omitempty"`
	}
	testCall struct {
		Contract contractPart `json:"contract"`
		Do       string       `json:"do"`
		ID       string       `json:"id,omitempty"` // what it is done to
	}
	testAnswer struct {
		Moves []testMove `json:"moves,omitempty"`
		Holds []testMove `json:"holds,omitempty"`
		Cards []testCard `json:"cards,omitempty"`
		Day   string     `json:"day,omitempty"`
	}
	testMove struct {
		ID     string `json:"id"`
		Refund bool   `json:"refund,omitempty"`
		Amount *money `json:"amount"`
	}
	problem struct {
		Code   string `json:"code"`
		Detail string `json:"detail,omitempty"`
	}
)

// What the conformance kit asks of a test system.
const (
	testReset   = "reset"        // forget all payments, refunds and faults
	testMoves   = "moves"        // what moved since, in order
	testEndDay  = "end_day"      // end the day, so that its bill is ready, and say which
	testDecline = "decline_next" // the next debit gets a final no
	testPartial = "partial_next" // of the next three debits: act on the first, cannot say of the second, a final no to the third
)

// The codes of a problem that say something certain.
const (
	codeNotPerformed        = "not_performed"
	codeCurrencyUnsupported = "currency_unsupported"
	codeBillNotReady        = "bill_not_ready"
	codeProtocol            = "protocol_version"
)

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}

func instantOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// The words for "nobody can say": written out on the wire, empty in the driver.
const wordUnknown = "unknown"

func wordOf[T ~string](v T) string {
	if v == "" {
		return wordUnknown
	}
	return string(v)
}

func ofWord[T ~string](w string) T {
	if w == wordUnknown {
		return ""
	}
	return T(w)
}

func debitOut(d driver.Debit) debit {
	out := debit{
		ID: d.OurID, Rider: d.RiderRef, Amount: moneyOf(d.Amount), TripTime: d.TripTime.UTC(), Subject: d.Subject, Evidence: d.Evidence,
		Attempted: instant(d.Attempted), AuthCode: string(d.AuthCode.Reveal()), Payee: d.PayeeRef, FirstRide: d.FirstRide, Mark: mark(d.Mark),
		Recovery: d.Recovery, Shown: d.Shown, Quote: quoteOut(d.Quote),
	}
	if d.Recovers.OurID != "" {
		of := refOut(d.Recovers)
		out.Recovers = &of
	}
	return out
}

// debit gives the debit as the driver p knows it.
func (d debit) debit(p driver.Provider) (out driver.Debit, err error) {
	out = driver.Debit{
		OurID: d.ID, RiderRef: d.Rider, Amount: d.Amount.money(), TripTime: d.TripTime, Subject: d.Subject,
		Evidence: d.Evidence, Attempted: instantOf(d.Attempted), PayeeRef: d.Payee, FirstRide: d.FirstRide,
		Recovery: d.Recovery, Shown: d.Shown, Quote: d.Quote.quote(),
	}
	if d.Recovers != nil {
		if out.Recovers, err = d.Recovers.ref(p); err != nil {
			return out, err
		}
	}
	if d.AuthCode != "" {
		out.AuthCode = citygate.NewSecret([]byte(d.AuthCode))
	}
	out.Mark, err = d.Mark.of(p)
	return out, err
}

func refOut(r driver.Ref) ref {
	return ref{r.OurID, r.ProviderRef, instant(r.SubmittedAt), moneyOf(r.Amount), mark(r.Mark), quoteOut(r.Quote)}
}

func (r ref) ref(p driver.Provider) (driver.Ref, error) {
	name, err := r.Mark.of(p)
	return driver.Ref{
		OurID: r.ID, ProviderRef: r.ProviderRef, SubmittedAt: instantOf(r.SubmittedAt), Amount: r.Amount.money(), Quote: r.Quote.quote(), Mark: name,
	}, err
}

func refundOut(r driver.Refund) refund {
	return refund{r.OurID, refOut(r.Charge), moneyOf(r.Amount), r.Reason, mark(r.Mark), moneyOf(r.Pays)}
}

func (r refund) refund(p driver.Provider) (driver.Refund, error) {
	name, err := r.Mark.of(p)
	if err != nil {
		return driver.Refund{}, err
	}
	charge, err := r.Charge.ref(p)
	return driver.Refund{OurID: r.ID, Charge: charge, Amount: r.Amount.money(), Pays: r.Pays.money(), Reason: r.Reason, Mark: name}, err
}

func resultOut(r driver.Result) result {
	return result{
		r.OurID, wordOf(r.Outcome), r.ProviderRef, r.ReasonCode, instant(r.RetryAt), r.Fee,
		moneyOf(r.Amount), moneyOf(r.Returned), string(r.Advance), exchangeOut(r.Exchange),
	}
}

func (r result) result() driver.Result {
	return driver.Result{
		OurID: r.ID, Outcome: ofWord[driver.Outcome](r.Outcome), ProviderRef: r.ProviderRef, ReasonCode: r.Reason, RetryAt: instantOf(r.RetryAt),
		Fee: r.FeeMinor, Amount: r.Amount.money(), Returned: r.Returned.money(), Advance: driver.Advance(r.Advance), Exchange: r.Exchange.exchange(),
	}
}
