package risk

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
)

// ErrTerms says that risk terms cannot be used; the detail names the part.
var ErrTerms = &citygate.Code{Name: "risk.bad_terms", Kind: citygate.Invalid, Title: "The risk terms are not valid. Correct the named part and publish them as a new version."}

// A Party is who can bear a loss.
type Party string

// The parties.
const (
	Issuer   Party = "issuer"
	Provider Party = "provider"
	Operator Party = "operator"
	Platform Party = "platform"
	Rider    Party = "rider"
)

// Terms are one version of what a tenant's riders, operators and providers agreed
// on about money that does not come. The zero Terms hold before the first version.
type Terms struct {
	Version   uint64     `json:"version"`
	Contracts []Contract `json:"contracts"`
	Late      []Late     `json:"late,omitempty"`
	Disputes  int        `json:"dispute_days,omitempty"` // how long after a debt was opened who bears it may be disputed; 0 = [DisputeDays]
	Flags     *Flagging  `json:"flags,omitempty"`        // nil = [DefaultLimits], and nobody is blocked
}

// DisputeDays is how long after a debt was opened who bears it may be disputed, if the
// terms say nothing.
const DisputeDays = 30

// Disputable gives how many days who bears a debt may be disputed.
func (t *Terms) Disputable() int { return cmp.Or(t.Disputes, DisputeDays) }

// Flagging says what of a rider's taps is flagged, and what follows from it.
type Flagging struct {
	Taps      int    `json:"taps,omitempty"`           // more of them within WithinMin are a rush; 0 = as by default
	WithinMin int    `json:"within_minutes,omitempty"` // 0 = as by default
	SkewSec   int    `json:"skew_seconds,omitempty"`   // how far the clocks of two readers may be apart; 0 = as by default
	Block     []Kind `json:"block,omitempty"`          // which flags put a rider of the tenant's own on the deny list until they are closed
}

// Limits gives what one person can do, by the terms.
func (t *Terms) Limits(places *journey.Places) Limits {
	l := DefaultLimits(places)
	if f := t.Flags; f != nil {
		l.Taps = cmp.Or(f.Taps, l.Taps)
		l.Within = cmp.Or(time.Duration(f.WithinMin)*time.Minute, l.Within)
		l.Skew = cmp.Or(time.Duration(f.SkewSec)*time.Second, l.Skew)
	}
	return l
}

// A Contract is what holds for the charges of one provider contract, by the rules
// of its scheme in its country.
type Contract struct {
	Name    string `json:"contract"`
	Scheme  string `json:"scheme,omitempty"`  // of the card or wallet, for people
	Country string `json:"country,omitempty"` // ISO 3166-1 alpha-2

	Window    Window `json:"window"`
	FirstRide int64  `json:"first_ride_minor,omitempty"` // highest insured decline; 0 = none is
	Liability Party  `json:"liability,omitempty"`        // of a debt that is not insured; "" = Issuer

	Retries   int      `json:"retries"`                        // tries after the first decline
	WithinDay int      `json:"retry_within_days"`              // of the first decline
	Recovery  []Source `json:"recovery,omitempty"`             // who may start a try besides the schedule
	Unblock   Unblock  `json:"unblock,omitempty"`              // "" = OnPayment
	BlockMin  int      `json:"block_within_minutes,omitempty"` // what the scheme asks; published for people
	Reversed  Reversed `json:"on_reversal,omitempty"`          // "" = ReversedBlocks

	TillReversed TillBearer `json:"till_reversal,omitempty"` // "" = PayeeBears
}

// A Window bounds what is gathered into one charge. Zero is no bound.
type Window struct {
	Hours  int   `json:"hours,omitempty"`
	Amount int64 `json:"amount_minor,omitempty"`
	Taps   int   `json:"taps,omitempty"`
}

// Closes reports whether a charge of so much, of so many taps, open since an
// instant, has to be made now.
func (w Window) Closes(amount int64, taps int, opened, now time.Time) bool {
	return w.Amount > 0 && amount >= w.Amount || w.Taps > 0 && taps >= w.Taps ||
		w.Hours > 0 && !now.Before(opened.Add(time.Duration(w.Hours)*time.Hour))
}

// A Source is who starts a try to recover a debt.
type Source string

// The sources. Schedule is always allowed, within the terms.
const (
	BySchedule Source = "schedule"
	ByTap      Source = "tap"   // the rider touches a reader, or shows a code to an inspector
	ByRider    Source = "rider" // the rider asks to pay
)

// An Unblock says what takes a rider off the deny list.
type Unblock string

// The ways to be unblocked.
const (
	OnPayment  Unblock = "payment"  // no debt is open any more
	OnApproval Unblock = "approval" // and the provider approved something since the decline
)

// A Reversed says what a payment that the bank took back does to its rider.
type Reversed string

// The rules for reversed payments.
const (
	ReversedBlocks Reversed = "block" // he is denied until it is paid
	ReversedOwed   Reversed = "owe"   // he owes it, and rides
)

// A TillBearer says who bears a payment at a till that the bank took back.
type TillBearer string

// The bearers.
const (
	PayeeBears  TillBearer = "payee" // who earned it, whose till it was
	TenantBears TillBearer = "tenant"
)

// TillBearer gives who bears what is taken back of payments at tills, also without terms
// of the contract.
func (c *Contract) TillBearer() TillBearer {
	if c == nil {
		return PayeeBears
	}
	return cmp.Or(c.TillReversed, PayeeBears)
}

// Late says who bears records that arrive so many days after their event.
type Late struct {
	Records Records `json:"records"`
	Days    int     `json:"after_days"` // from so many whole days on; of expired ones 0
	Bearer  Party   `json:"bearer"`
}

// Records are kinds of offline records.
type Records string

// The kinds.
const (
	LateRecords    Records = "late"    // uploaded long after the event
	ExpiredRecords Records = "expired" // of a code that had run out when it was shown
	DeniedRecords  Records = "denied"  // of a credential on a deny list that the reader could have had
)

// Parse reads the JSON form of terms, strictly.
func Parse(raw []byte) (*Terms, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	t := new(Terms)
	if err := d.Decode(t); err != nil {
		return nil, ErrTerms.Explain("not the JSON of risk terms: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrTerms.Explain("something follows the terms")
	}
	if err := t.check(); err != nil {
		return nil, ErrTerms.Explain("%v", err)
	}
	return t, nil
}

// Encode gives the one JSON form of t.
func (t *Terms) Encode() ([]byte, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, ErrTerms.Because(err, "encode")
	}
	return raw, nil
}

func (t *Terms) check() error {
	if t.Version == 0 || t.Version > 1<<62 {
		return errors.New("version: want a number from 1")
	}
	if t.Disputes < 0 || t.Disputes > 366 {
		return errors.New("dispute_days: want 1 to 366")
	}
	names := map[string]bool{}
	for i := range t.Contracts {
		c := &t.Contracts[i]
		switch {
		case c.Name == "" || names[c.Name]:
			return fmt.Errorf("contracts %d: the name %q is empty or taken", i+1, c.Name)
		case c.Window.Hours < 0 || c.Window.Hours > 14*24 || c.Window.Amount < 0 || c.Window.Taps < 0:
			return fmt.Errorf("contract %s: window: at most 14 days, and no negative limits", c.Name)
		case c.FirstRide < 0 || c.FirstRide > 1<<40:
			return fmt.Errorf("contract %s: first_ride_minor is out of range", c.Name)
		case !slices.Contains([]Party{"", Issuer, Provider, Operator, Platform}, c.Liability):
			return fmt.Errorf("contract %s: no party %q can be liable", c.Name, c.Liability)
		case c.Retries < 0 || c.Retries > 30 || c.WithinDay < 0 || c.WithinDay > 365 || c.Retries > c.WithinDay:
			return fmt.Errorf("contract %s: want retries on as many different days within retry_within_days", c.Name)
		case !slices.Contains([]Unblock{"", OnPayment, OnApproval}, c.Unblock):
			return fmt.Errorf("contract %s: no unblock %q", c.Name, c.Unblock)
		case !slices.Contains([]Reversed{"", ReversedBlocks, ReversedOwed}, c.Reversed):
			return fmt.Errorf("contract %s: on_reversal is block or owe, not %q", c.Name, c.Reversed)
		case !slices.Contains([]TillBearer{"", PayeeBears, TenantBears}, c.TillReversed):
			return fmt.Errorf("contract %s: till_reversal is payee or tenant, not %q", c.Name, c.TillReversed)
		}
		for _, s := range c.Recovery {
			if s != ByTap && s != ByRider {
				return fmt.Errorf("contract %s: recovery is by tap or rider, not %q", c.Name, s)
			}
		}
		names[c.Name] = true
	}
	if f := t.Flags; f != nil {
		if f.Taps < 0 || f.Taps > 1000 || f.Taps == 1 || f.WithinMin < 0 || f.WithinMin > 24*60 || f.SkewSec < 0 || f.SkewSec > 3600 {
			return errors.New("flags: want taps from 2 to 1000, within_minutes to 1440, skew_seconds to 3600")
		}
		for _, k := range f.Block {
			if !slices.Contains([]Kind{Copied, ImpossibleTravel, Velocity}, k) {
				return fmt.Errorf("flags: nothing is flagged as %q", k)
			}
		}
	}
	for i, l := range t.Late {
		if !slices.Contains([]Records{LateRecords, ExpiredRecords, DeniedRecords}, l.Records) || l.Days < 0 || l.Days > 366 ||
			!slices.Contains([]Party{Issuer, Provider, Operator, Platform, Rider}, l.Bearer) {
			return fmt.Errorf("late %d: want records late, expired or denied, after_days to 366, and who bears them", i+1)
		}
	}
	return nil
}

// OperatorAfter gives from how many days on the operator bears records that come
// late: intake takes none of them, and their riders pay nothing. 0 = never by the
// terms.
func (t *Terms) OperatorAfter() (days int64) {
	for _, l := range t.Late {
		if l.Records == LateRecords && l.Bearer == Operator && (days == 0 || int64(l.Days) < days) {
			days = int64(l.Days)
		}
	}
	return days
}

// Contract gives what holds for a contract, nil if the terms do not name it.
func (t *Terms) Contract(name string) *Contract {
	for i := range t.Contracts {
		if t.Contracts[i].Name == name {
			return &t.Contracts[i]
		}
	}
	return nil
}

// ByTap reports whether a tap may start a try under any contract.
func (t *Terms) ByTap() bool {
	return slices.ContainsFunc(t.Contracts, func(c Contract) bool { return slices.Contains(c.Recovery, ByTap) })
}

// OnApproval reports whether any contract asks for an approval before a rider is
// unblocked.
func (t *Terms) OnApproval() bool {
	return slices.ContainsFunc(t.Contracts, func(c Contract) bool { return c.Unblock == OnApproval })
}

// Bearer gives who bears records of a kind that arrived age after their event.
// Where the terms are silent the rider pays what was ridden in time, and the
// operator bears what its readers should not have let pass.
func (t *Terms) Bearer(kind Records, age time.Duration) Party {
	bearer, days := Rider, -1
	if kind != LateRecords {
		bearer = Operator
	}
	for _, l := range t.Late {
		if l.Records == kind && age >= time.Duration(l.Days)*24*time.Hour && l.Days > days {
			bearer, days = l.Bearer, l.Days
		}
	}
	return bearer
}
