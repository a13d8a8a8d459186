package agreement

import (
	"cmp"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The refusals of this package.
var (
	ErrName = &citygate.Code{Name: "agreement.name", Kind: citygate.Invalid,
		Title: "This cannot name an agreement. Give 1 to 32 letters, digits and underscores, or the provider's number."}
	ErrOther = &citygate.Code{Name: "agreement.other", Kind: citygate.Conflict,
		Title: "There is another agreement of this name, or the provider speaks of another one. Use a new name."}
	ErrEnded = &citygate.Code{Name: "agreement.ended", Kind: citygate.Conflict,
		Title: "This agreement has ended, for good. Open one under a new name."}
	ErrNone = &citygate.Code{Name: "agreement.none", Kind: citygate.NotFound,
		Title: "There is no such agreement. List the tenant's."}
	ErrAccount = &citygate.Code{Name: "agreement.account", Kind: citygate.Conflict,
		Title: "The account cannot be collected by an agreement under this contract. Open the agreement without an account and issue to the number it gets."}
)

// Prefix is that of agreements' ids in the API.
const Prefix = "agr_"

// A State is how an agreement stands, as far as is known.
type State string

// The states. Only Ended is final.
const (
	Unknown State = "unknown" // the provider knows nothing of it: the rider has not confirmed it
	Pending State = "pending" // nothing can be debited on it now
	Active  State = "active"
	Ended   State = "ended"
)

const (
	// Fresh is how long an answer of the provider is good enough to charge by.
	Fresh = 24 * time.Hour

	askFirst   = time.Minute         // after which an open agreement is asked after; twice as long each time ...
	askMost    = 6 * time.Hour       // ... up to this
	askFor     = 30 * 24 * time.Hour // and no longer than this after its rider was invited
	skew       = 5 * time.Minute     // by which the provider's clock may be ahead of ours
	waitAgain  = time.Hour           // a charge that waits is looked at again
	waitAtMost = 72 * time.Hour      // and is declined so long after it was made
)

// An Agreement is a row. Zero times are none.
type Agreement struct {
	ID         citygate.UUID
	Contract   string
	OurID      string // "" = it came to be otherwise
	ProviderID string // "" = not known yet
	RiderRef   string // the provider's name for the rider
	Account    citygate.UUID
	Linked     bool // the account is collected by it
	State      State
	Ending     bool // the tenant asked for its end, and the provider has not confirmed it
	ValidFrom  time.Time
	ValidTo    time.Time
	SingleMax  citygate.Money // no currency = none said
	Reason     string         // the provider's word for its state
	Error      string         // what went wrong the last time

	Asks      int // by schedule, since it was settled
	OpenedAt  time.Time
	InvitedAt time.Time // its rider, the last time
	ChangedAt time.Time
	AskedAt   time.Time // the provider's last answer
	NextAskAt time.Time
	EndedAt   time.Time
}

// named gives how the provider is asked about it.
func (a *Agreement) named() driver.Agreement {
	return driver.Agreement{OurID: a.OurID, ID: a.ProviderID}
}

// Hear takes in what the provider said in answer to a question that was begun at from.
// What is final stays. An answer that something newer has overtaken says nothing, unless
// it says the end. An answer about another agreement changes nothing and is [ErrOther].
func (a *Agreement) Hear(said driver.Agreement, from, now time.Time) error {
	if said.ID != "" && a.ProviderID != "" && said.ID != a.ProviderID || said.OurID != "" && a.OurID != "" && said.OurID != a.OurID {
		a.Error = "the provider speaks of another agreement"
		return ErrOther.Explain("agreement %s: asked for %.40q %.40q, told of %.40q %.40q", a.ID.Text(Prefix), a.OurID, a.ProviderID, said.OurID, said.ID)
	}
	a.AskedAt, a.Error = now, ""
	if a.State == Ended {
		return nil
	}
	a.name(said)
	switch {
	case said.State == driver.AgreementEnded:
		a.Reason = cmp.Or(clip(said.ReasonCode, 64), a.Reason)
		a.State, a.EndedAt, a.ChangedAt, a.Ending = Ended, now, now, false
		a.NextAskAt = time.Time{}
		return nil
	case a.ChangedAt.After(from) && !a.ChangedAt.After(now): // not if the clock was set back
		a.NextAskAt = now.Add(askFirst)
		return nil
	}
	a.fill(said)
	was := a.State
	switch said.State {
	case driver.AgreementPending:
		a.State = Pending
	case driver.AgreementActive:
		a.State, a.Asks = Active, 0
	case driver.AgreementUnknown: // of one that it knew before it says nothing
		if a.State != Unknown {
			a.Error = "the provider does not know it any more"
		}
	case driver.AgreementEnded: // above
	}
	if a.State != was {
		a.ChangedAt = now
	}
	a.schedule(now)
	return nil
}

// name takes over who is meant, which does not change.
func (a *Agreement) name(said driver.Agreement) {
	if a.ProviderID == "" {
		a.ProviderID = said.ID
	}
	if a.OurID == "" {
		a.OurID = said.OurID
	}
	if said.RiderRef != "" {
		a.RiderRef = said.RiderRef
	}
}

// fill takes over how it stands.
func (a *Agreement) fill(said driver.Agreement) {
	if said.ReasonCode != "" {
		a.Reason = clip(said.ReasonCode, 64)
	}
	if said.State == driver.AgreementActive || said.State == driver.AgreementPending {
		a.ValidFrom, a.ValidTo, a.SingleMax = said.ValidFrom, said.ValidTo, citygate.Money{}
		if said.SingleMax.Minor > 0 && said.SingleMax.Currency.Valid() {
			a.SingleMax = said.SingleMax
		}
	}
}

// schedule says when the provider is asked next, where nobody needs to know before.
func (a *Agreement) schedule(now time.Time) {
	a.NextAskAt = time.Time{}
	switch {
	case a.State == Ended:
	case a.Ending:
		a.NextAskAt = now.Add(wait(a.Asks))
	case a.State == Active:
		if a.ValidTo.After(now) {
			a.NextAskAt = a.ValidTo
		}
	case a.confirmable(now):
		a.NextAskAt = now.Add(wait(a.Asks))
	}
}

// confirmable reports whether its rider may still open what he was given to agree.
func (a *Agreement) confirmable(now time.Time) bool {
	return a.OurID != "" && now.Sub(a.InvitedAt) < askFor
}

func wait(asks int) time.Duration { return min(askFirst<<min(asks, 10), askMost) }

// The reasons of charges that an agreement stops.
const (
	ReasonEnded   = "agreement_ended"
	ReasonExpired = "agreement_expired"
	ReasonLimit   = "agreement_limit"
	ReasonPending = "agreement_pending"
)

// A Ruling is what is done about a charge. The zero Ruling sends it.
type Ruling struct {
	Reason  string
	RetryAt time.Time // zero, with a reason = it is declined for good
}

// A Question is a charge that rests on an agreement.
type Question struct {
	Number string // the provider's, of the agreement
	Amount citygate.Money
	Made   time.Time
	Prompt bool // somebody waits for it: it is sent now or declined
}

// Judge says what is done now about a charge that rests on a, nil for one that is not
// known here. ask says that the provider is to be asked first: then the ruling is none.
// asked says that it was, and answered whether a is its word.
func Judge(a *Agreement, q Question, now time.Time, asked, answered bool) (r Ruling, ask bool) {
	if a == nil {
		return Ruling{}, !asked
	}
	if a.State == Ended {
		return Ruling{Reason: ReasonEnded}, false
	}
	age := now.Sub(a.AskedAt)
	fresh := answered || !a.AskedAt.IsZero() && age >= 0 && age < Fresh
	r = a.stops(q, now)
	switch {
	case !asked && (!fresh || r.Reason != "" || a.Ending):
		return Ruling{}, true
	case !fresh:
		return Ruling{}, false
	}
	return r, false
}

// stops says what stops a charge if all that is known of the agreement is true.
func (a *Agreement) stops(q Question, now time.Time) Ruling {
	switch {
	case a.State == Unknown:
		return Ruling{}
	case !a.ValidTo.IsZero() && !now.Before(a.ValidTo):
		return Ruling{Reason: ReasonExpired}
	case a.State == Pending, a.ValidFrom.After(now.Add(skew)):
		if q.Prompt || now.Sub(q.Made) >= waitAtMost {
			return Ruling{Reason: ReasonPending}
		}
		again := now.Add(waitAgain)
		if a.State == Active && a.ValidFrom.Before(again) {
			again = a.ValidFrom
		}
		return Ruling{ReasonPending, again}
	case a.SingleMax.Currency == q.Amount.Currency && a.SingleMax.Minor > 0 && q.Amount.Minor > a.SingleMax.Minor:
		return Ruling{Reason: ReasonLimit}
	}
	return Ruling{}
}
