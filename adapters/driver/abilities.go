package driver

import (
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
)

// This file holds the optional abilities beside money out, money back, bills
// and feeds. What holds for Submit holds here: one attempt, no waiting, and an
// error that is not ErrNotPerformed leaves open what the far side did.

// A Reversal is what became of a debit whose reversal was asked for.
type Reversal string

// The reversals. None is proof: "closed" is also said of a payment that never
// existed and of one that was given back before, so the gateway asks Query
// afterwards and the bill decides.
const (
	ReversalUnknown Reversal = ""         // nobody can say; ask again
	ReversalClosed  Reversal = "closed"   // nothing was paid, and nothing will be under this id
	ReversalGiven   Reversal = "returned" // it was paid, and the money went back
	ReversalRefused Reversal = "refused"  // the debit stands as it was: too early, too late, or not in this state
)

// A Reverser undoes a debit of which nobody can say what became.
type Reverser interface {
	// Reverse closes ref if it is unpaid and gives the money back if it is
	// paid. It is asked for open debits alone, never as a refund, and within
	// Limits.ReverseAfter and ReverseWithin of ref.SubmittedAt. Two calls are
	// one reversal. A lost reply leaves both the debit and the reversal open:
	// ask again. The reason code says why a reversal was refused.
	Reverse(ctx context.Context, ref Ref) (r Reversal, reasonCode string, err error)
}

// A Notification is a request that the provider sent to us, as it was received.
type Notification struct {
	Method string
	Target string // path and query exactly as in the request line: some products sign them
	Header map[string][]string
	Body   []byte
	At     time.Time // when it came in
}

// An Ack is the whole answer to a notification. The gateway sends it byte for
// byte, and only after what the notice says is on disk: a product that hears yes
// never repeats it, and one that hears anything else repeats it for a day.
type Ack struct {
	Status      int
	ContentType string // "" = none is sent
	Body        []byte
}

// A NoticeKind is what a notification is about.
type NoticeKind string

// The kinds.
const (
	NoticePayment   NoticeKind = "payment"
	NoticeRefund    NoticeKind = "refund"
	NoticeAgreement NoticeKind = "agreement" // one was signed or ended
	NoticeRider     NoticeKind = "rider"     // a rider's debt or state at the provider changed
	NoticeReversal  NoticeKind = "reversal"  // a payment was taken back, or a dispute about that was decided
	NoticeOther     NoticeKind = "other"     // authentic and of no concern to the gateway
)

// A TakenState is what a notice says of a payment that was taken back.
type TakenState string

// The states.
const (
	TakenBack  TakenState = "taken" // the bank or the provider took the payment back: a chargeback, a returned debit
	TakenWon   TakenState = "won"   // the dispute about it is decided for the operator, who gets Amount back
	TakenLost  TakenState = "lost"  // it is decided for the payer: nothing comes back any more
	TakenOther TakenState = ""      // something else, such as a date until when to answer
)

// A Taken is a payment that was taken back, as a notice tells of it. References are those
// of the bill's rows (BillLine.RefundID), and Fee is what those rows keep: what a notice
// and a row say otherwise about one reference waits for somebody to look. A fee that a
// notice does not say is booked once, from the row. Outcomes may come before what they are of.
type Taken struct {
	Reference  string         // the provider's own of what is told
	Of         string         // of an outcome: the reference of what was taken
	State      TakenState     // [TakenOther] changes nothing
	Amount     citygate.Money // positive: what was taken, or of a won one came back; a lost one has none
	Fee        int64          // minor units that the provider keeps for it; of an outcome, negative: gave back
	FeeUnsaid  bool           // it does not say the fee, which is not 0 for that: Fee is 0, and the bill's row says it
	ReasonCode string
	At         time.Time
}

// A Notice is what a notification says, once it was proven to be the provider's.
type Notice struct {
	ID   string // the provider's own id of this notice, equal in all its repetitions; "" = it has none
	Kind NoticeKind

	// Result is set for payments and refunds. Result.OurID is the id of the
	// debit, or of the refund; ChargeID is then that of the debit, as it is of a
	// payment that was taken back.
	Result   Result
	ChargeID string

	Agreement Agreement // for agreements
	Rider     RiderStatus
	Taken     Taken // for reversals
}

// ErrProbe says that the provider sent something that is meant to be refused, to see
// whether anybody checks. It is refused and is nothing to be alarmed about.
var ErrProbe = errors.New("driver: a probe of the provider's")

// A Notifier reads what the provider sends unasked.
type Notifier interface {
	// ParseNotify proves and reads one notification. It is pure but for the
	// keys it may fetch when the notification names one it does not have.
	// On an error the notice is empty, nothing may be believed, and ack is the
	// refusal to answer, after which the provider sends it again.
	//
	// A notice of a payment that was made settles it. A notice of anything else
	// makes the gateway ask: notices arrive late, twice and in any order. A
	// missing notice proves nothing.
	ParseNotify(ctx context.Context, n Notification) (notice Notice, ack Ack, err error)
}

// A DenyChange puts a rider on the provider's list or takes him off.
type DenyChange struct {
	OurID    string // names the change; the same again is one change
	RiderRef string
	// CardRef is of a card in the rider's wallet, where the product lists cards. The
	// gateway sends none: it denies whole riders here, and cards by a [CardIssuer].
	CardRef string
	Denied  bool
	Reason  string // for people; may be shown to the rider
	At      time.Time
}

// A DenyPush tells the provider whom the operator refuses: riders. The denial of one
// device of a rider is told to nobody. What products list is the rider and the card in
// his wallet (alipay's namelist.sync: user_block_id, partner_block_id); a device of ours
// has a credential that they never saw, and to list its rider would stop his others.
type DenyPush interface {
	// PushDeny is idempotent. After an error the change is sent again.
	PushDeny(ctx context.Context, change DenyChange) error
}

// An EvidenceVerdict is what the provider says of a record of its own codes.
type EvidenceVerdict string

// The verdicts.
const (
	EvidenceUnknown EvidenceVerdict = ""        // nobody can say; ask again
	EvidenceGenuine EvidenceVerdict = "genuine" // final
	EvidenceRefused EvidenceVerdict = "refused" // final
)

// EvidenceMost is how many bytes a record has at most that is asked about: what the
// library of a validator gives for the products known today (providers.md 1.9).
const EvidenceMost = 2048

// An EvidenceCheck has the provider look at a record without charging for it.
type EvidenceCheck interface {
	// CheckEvidence asks about one record, opaque bytes as a validator gave them.
	// One of no bytes, or of more than EvidenceMost, is ErrNotPerformed. It is a
	// question: it moves nothing, it may be asked any number of times, and a final
	// verdict stays what it was. A lost or unreadable reply is EvidenceUnknown: only
	// the provider's own word that a record is not genuine refuses it.
	CheckEvidence(ctx context.Context, record []byte) (v EvidenceVerdict, reasonCode string, err error)
}

// A RiderState is a payer as the provider sees him.
type RiderState string

// The states. RiderUnknown never stops a rider on its own.
const (
	RiderUnknown RiderState = ""
	RiderNormal  RiderState = "normal"
	RiderBlocked RiderState = "blocked"
	RiderOverdue RiderState = "overdue" // owes the provider or, through it, the operator
	RiderFrozen  RiderState = "frozen"
	RiderDeleted RiderState = "deleted"
)

// A RiderStatus is a rider's state at an instant.
type RiderStatus struct {
	RiderRef   string
	State      RiderState
	Owes       citygate.Money // if the provider says
	ReasonCode string
	At         time.Time
}

// A RiderQuestion asks about a payer; a product wants one or both.
type RiderQuestion struct {
	RiderRef    string
	AgreementID string
}

// A RiderCheck asks the provider about one payer, online.
type RiderCheck interface {
	RiderState(ctx context.Context, q RiderQuestion) (RiderStatus, error)
}

// An AgreementState is how far an agreement has come.
type AgreementState string

// The states. A rider can end an agreement at the provider at any time, so only
// AgreementEnded is final.
const (
	AgreementUnknown AgreementState = ""
	AgreementPending AgreementState = "pending" // the rider has not confirmed it yet
	AgreementActive  AgreementState = "active"
	AgreementEnded   AgreementState = "ended"
)

// An Agreement lets an operator debit a rider without him being there.
type Agreement struct {
	OurID      string // ours, for ever
	ID         string // the provider's, once it is active
	RiderRef   string
	State      AgreementState
	ValidFrom  time.Time
	ValidTo    time.Time      // zero = without end
	SingleMax  citygate.Money // of one debit; no currency = none said
	ReasonCode string
}

// An AgreementRequest asks a rider to agree.
type AgreementRequest struct {
	OurID     string
	RiderRef  string // if known already
	Purpose   string // shown to the rider
	SingleMax citygate.Money
	NotifyURL string // where the gateway hears of it
	ReturnURL string // where the rider's phone goes afterwards
}

// An Invitation is what the rider's phone opens to confirm an agreement. With it
// nothing is agreed: until he confirms, nobody is debited.
type Invitation struct {
	OurID string
	URL   string // or the parameters of a wallet's SDK, signed
}

// A Contract manages agreements for later debits (withholding).
type Contract interface {
	// OpenAgreement gives an invitation. Some products have it signed here and send
	// nothing; others are asked for it, and so is every program behind the HTTP
	// protocol, within Description.Deadline. The same OurID again invites to the same
	// agreement, so after a lost reply the same is asked again, and at worst an
	// agreement that nobody was invited to is never confirmed. After ErrNotPerformed
	// the far side knows of none.
	OpenAgreement(ctx context.Context, r AgreementRequest) (Invitation, error)
	// QueryAgreement asks by OurID, or by ID if that is known. An agreement the
	// provider does not know is AgreementUnknown.
	QueryAgreement(ctx context.Context, a Agreement) (Agreement, error)
	// CloseAgreement ends it, for good: a debit on it that was not made before is
	// declined or not performed. Two calls are one. A product that ends it later
	// answers AgreementActive, and a notice follows. After a lost reply it may be in
	// force or over: QueryAgreement says, and closing it again is safe.
	CloseAgreement(ctx context.Context, a Agreement) (Agreement, error)
}

// A CardTap is a contactless card as a validator read it. The adapter gets a
// token and the chip's answers, never a card number.
type CardTap struct {
	Token    string // of the processor, for this card or this device
	Chip     []byte // EMV data, opaque
	Terminal string
	At       time.Time
}

// An Authorization asks for or captures money of a card.
type Authorization struct {
	OurID  string
	Tap    CardTap
	Amount citygate.Money // of Capture; may be more than was authorized where the scheme says so
	Of     Ref            // the authorization that is captured or voided

	// FirstRide captures a declined authorization under the scheme's first-ride
	// rule; it has an OurID of its own.
	FirstRide bool
}

// A Liability says who bears a decline.
type Liability string

// The liabilities.
const (
	LiabilityUnknown  Liability = ""
	LiabilityIssuer   Liability = "issuer"
	LiabilityOperator Liability = "operator"
)

// An AuthorizationResult is the answer to any step of an authorization.
type AuthorizationResult struct {
	Result
	Liability Liability
	FirstRide bool // a decline that the first-ride rule lets be captured all the same
}

// An Authorizer charges contactless bank cards in the steps the schemes know.
// Every step has its own OurID; a lost reply leaves the step open, and the same
// step is asked again under the same id.
//
// The gateway itself takes none of the steps: what it collects was ridden offline, and
// is one debit (Submit), asked for again as Debit.FirstRide and Debit.Recovery and undone
// by a [Reverser]; whether a card is good it asks by [RiderCheck], which needs no tap. The
// steps are for programs that have the card at the reader, online: `adapter call` and
// those of one's own.
type Authorizer interface {
	Verify(ctx context.Context, a Authorization) (AuthorizationResult, error) // no money
	Authorize(ctx context.Context, a Authorization) (AuthorizationResult, error)
	Capture(ctx context.Context, a Authorization) (AuthorizationResult, error)
	Void(ctx context.Context, a Authorization) (AuthorizationResult, error)
}

// A CardState is the state of an operator's card in a rider's wallet.
type CardState struct {
	CardRef  string
	RiderRef string
	Data     []byte // carried in the wallet's code, opaque
	Balance  citygate.Money
	Disabled bool
	Overdue  bool // disabled because the rider owes; otherwise because the card is being given up
	Tip      string
	At       time.Time
}

// A CardIssuer keeps the card in the rider's wallet as the operator has it.
type CardIssuer interface {
	// PushCard is idempotent: the newest CardState.At wins, and an older state that
	// comes late is taken, without an error, and changes nothing. A card without a
	// number, a rider or an instant is ErrNotPerformed. After any other error nobody
	// knows what the wallet shows, and the state is sent again.
	PushCard(ctx context.Context, card CardState) error
}

// A CodeIssuer answers the provider when it asks the operator to sign a code for
// a rider. sign is the operator's key for that; it never leaves the signer.
type CodeIssuer interface {
	// IssueCode proves the request, makes the code and gives the answer to
	// send. On an error ack is the refusal.
	IssueCode(ctx context.Context, n Notification, sign crypto.Signer) (issued IssuedCode, ack Ack, err error)
}

// An IssuedCode is what the operator answers for; it is stored before the ack is
// sent.
type IssuedCode struct {
	RiderRef  string
	CardRef   string
	Code      []byte // the signed part
	NotBefore time.Time
	NotAfter  time.Time
}

// A DeviceEnroller has the provider certify one validator's key.
//
// The gateway does not call it. Of the one product that has it (Antom's
// createDeviceCertificate) the fields alone are public: not the form of the key or of the
// certificate, not for how long it holds or how it ends, and not who is shown it. A
// validator of ours has nobody to show one to: what it uploads is signed by its own key,
// enrolled at the gateway, and debits carry no certificate. To ask for one at each
// enrolment would bind validators to a promise that nobody has read. A program that has
// the product's documents uses it by this interface or by
// `citygate adapter call alipayplus createDeviceCertificate`.
type DeviceEnroller interface {
	CertifyDevice(ctx context.Context, ourID string, devicePublicKey []byte) (certificate []byte, err error)
}

// An ArrearSync has the provider look at an unpaid debit again. It says whether the call
// was taken and nothing of the debt.
//
// The gateway does not call it, also not after a debt was settled otherwise. Of the one
// product that has it (Antom's syncArrear: a payment's ids in, a result out) no word is
// public that says whether the call reports a debt, takes it back or has it collected. It
// cannot be asked afterwards what it did, so no outbox could end an unknown outcome, and
// the wrong reading has a rider who paid at the counter pay once more, or be refused. A
// debt is asked for again by a debit (Debit.Recovery), and how a rider stands by
// [RiderCheck]. People who have the provider's word for it use
// `citygate adapter call alipayplus syncArrear`.
type ArrearSync interface {
	SyncArrear(ctx context.Context, ref Ref) error
}
