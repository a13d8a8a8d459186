package driver

import (
	"time"
)

// Limits are what a product promises and refuses, as numbers. The table is
// static: one contract has one. A zero value says that nothing is known or
// nothing is limited, whichever its comment says.
type Limits struct {
	IDMin   int     // characters an OurID has at least, at most IDMade; 0 = 1
	Charset Charset // of OurID; "" = letters, digits and underscores

	// AmountMin and AmountMax bound one debit, in minor units of its currency;
	// 0 = no bound but that it is positive.
	AmountMin, AmountMax int64

	// ReverseAfter is how long after the attempt a reversal may be asked for at
	// the earliest, ReverseWithin at the latest; 0 = at once, and without end.
	ReverseAfter, ReverseWithin time.Duration

	// RefundWithin is how long after the payment money can be given back; 0 =
	// without end. RefundsMax bounds the refunds of one payment; 0 = no bound.
	RefundWithin time.Duration
	RefundsMax   int
	FullRefund   bool // only the whole payment can be given back

	// FirstRide says that the product knows insured first rides: a payment that was
	// declined may be asked for once more as Debit.FirstRide.
	FirstRide bool

	// OverCapture says that more may be captured than was authorised ([Authorizer]).
	OverCapture bool

	// Recoveries says how the product knows the recovery of debts. The zero value: a
	// debt is asked for as any other debit.
	Recoveries Recoveries

	// ByAgreement says that debits rest on agreements of [Contract]: Debit.RiderRef is the
	// ID of one.
	ByAgreement bool

	// QueryDelay is how long after the attempt a Query says nothing that
	// counts; before it even Absent is not worth asking for.
	QueryDelay time.Duration

	// PayerEvery is how often a payment may be asked about that waits for its payer to
	// confirm it; 0 = Description.PollEvery.
	PayerEvery time.Duration

	// Notices is what the product promises to tell of its own accord.
	Notices NoticePromise
	// NoticeWithin is how soon a notification must be acknowledged; 0 = unknown.
	NoticeWithin time.Duration
}

// Recoveries are the ways in which a product knows the recovery of a debt. A debit of
// such a way names the declined one (Debit.Recovery, Debit.Recovers).
type Recoveries struct {
	ByMerchant, ByRider, ByTap bool

	// Tries and Within are how often, and how long after the decline, the merchant may
	// ask for a debt on his own, by the rules of the scheme; 0 = nothing is said. The
	// gateway holds to them before it sends.
	Tries  int
	Within time.Duration
}

// Has reports whether the product knows a way.
func (r Recoveries) Has(way Recovery) bool {
	return way == RecoverByMerchant && r.ByMerchant || way == RecoverByRider && r.ByRider || way == RecoverByTap && r.ByTap
}

// Any reports whether it knows any.
func (r Recoveries) Any() bool { return r.ByMerchant || r.ByRider || r.ByTap }

// A Charset names the characters that ids may have.
type Charset string

// The charsets. Ids made by the gateway are letters and digits.
const (
	AlnumUnderscore Charset = ""      // A-Z a-z 0-9 _
	Alnum           Charset = "alnum" // A-Z a-z 0-9
)

// Holds reports whether every character of id is in c.
func (c Charset) Holds(id string) bool {
	for _, b := range []byte(id) {
		letter := (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9')
		if !letter && (b != '_' || c != AlnumUnderscore) {
			return false
		}
	}
	return true
}

// A NoticePromise is what a provider tells unasked. None of them makes a missing
// notice mean anything: it may be lost, and so may all its repetitions.
type NoticePromise string

// The promises.
const (
	NoNotices       NoticePromise = ""         // nothing; a charge is asked about
	SuccessOnly     NoticePromise = "success"  // payments that were made; of a refused one nothing is ever heard
	EveryFinalState NoticePromise = "finality" // whatever became of it
)

// A Capability is the name of an ability, as the conformance report and the
// routing rules write it.
type Capability string

// The capabilities. Each stands for an interface of this package.
const (
	CapRefund       Capability = "refund"        // Refunder
	CapReverse      Capability = "reverse"       // Reverser
	CapNotify       Capability = "notify"        // Notifier
	CapBill         Capability = "bill"          // Biller
	CapKeyFeed      Capability = "key_feed"      // KeyFeed
	CapDenyFeed     Capability = "deny_feed"     // DenyFeed
	CapDenyPush     Capability = "deny_push"     // DenyPush
	CapEvidence     Capability = "evidence"      // EvidenceCheck
	CapRider        Capability = "rider"         // RiderCheck
	CapContract     Capability = "contract"      // Contract
	CapAuthorize    Capability = "authorize"     // Authorizer
	CapCardIssue    Capability = "card_issue"    // CardIssuer
	CapCodeIssue    Capability = "code_issue"    // CodeIssuer
	CapCodeResolve  Capability = "code_resolve"  // CodeResolver
	CapDeviceEnroll Capability = "device_enroll" // DeviceEnroller
	CapArrears      Capability = "arrears"       // ArrearSync
	CapQuote        Capability = "quote"         // Quoter
	CapMark         Capability = "mark"          // Marker
)

// A Selective provider learns what it can do when it is opened, as one that
// speaks for a program elsewhere does: its type has methods that this contract
// may not have. All others leave this away.
type Selective interface {
	// Able reports whether the ability is there. It is static for one contract.
	Able(c Capability) bool
}

// Capabilities lists what p can do beyond the three required methods, in a fixed
// order. It asks the type, so a list and the code cannot disagree.
func Capabilities(p Provider) []Capability {
	var able []Capability
	for _, c := range capabilities {
		if c.has(p) {
			able = append(able, c.name)
		}
	}
	return able
}

// As finds the ability T, one of the optional interfaces of this package, of p.
// It is the type assertion p.(T), but for a [Selective] provider.
func As[T any](p Provider) (T, bool) {
	t, ok := p.(T)
	if s, selective := p.(Selective); ok && selective && !s.Able(nameOf[T]()) {
		var none T
		return none, false
	}
	return t, ok
}

var capabilities = []struct {
	name Capability
	has  func(Provider) bool
}{
	{CapRefund, is[Refunder]}, {CapReverse, is[Reverser]}, {CapNotify, is[Notifier]}, {CapBill, is[Biller]},
	{CapKeyFeed, is[KeyFeed]}, {CapDenyFeed, is[DenyFeed]}, {CapDenyPush, is[DenyPush]},
	{CapEvidence, is[EvidenceCheck]}, {CapRider, is[RiderCheck]}, {CapContract, is[Contract]},
	{CapAuthorize, is[Authorizer]}, {CapCardIssue, is[CardIssuer]}, {CapCodeIssue, is[CodeIssuer]},
	{CapCodeResolve, is[CodeResolver]}, {CapDeviceEnroll, is[DeviceEnroller]}, {CapArrears, is[ArrearSync]},
	{CapQuote, is[Quoter]}, {CapMark, is[Marker]},
}

func is[T any](p Provider) bool { _, ok := As[T](p); return ok }

// interfaces pairs the names with nil pointers to their interfaces.
var interfaces = map[any]Capability{
	(*Refunder)(nil): CapRefund, (*Reverser)(nil): CapReverse, (*Notifier)(nil): CapNotify, (*Biller)(nil): CapBill,
	(*KeyFeed)(nil): CapKeyFeed, (*DenyFeed)(nil): CapDenyFeed, (*DenyPush)(nil): CapDenyPush,
	(*EvidenceCheck)(nil): CapEvidence, (*RiderCheck)(nil): CapRider, (*Contract)(nil): CapContract,
	(*Authorizer)(nil): CapAuthorize, (*CardIssuer)(nil): CapCardIssue, (*CodeIssuer)(nil): CapCodeIssue,
	(*CodeResolver)(nil): CapCodeResolve, (*DeviceEnroller)(nil): CapDeviceEnroll, (*ArrearSync)(nil): CapArrears,
	(*Quoter)(nil): CapQuote, (*Marker)(nil): CapMark,
}

// nameOf gives the name of the ability T, "" for what is none.
func nameOf[T any]() Capability { return interfaces[any((*T)(nil))] }
