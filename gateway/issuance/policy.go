package issuance

import (
	"bytes"
	"encoding/json"
	"math"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// Limits are what one credential of a device allows.
type Limits struct {
	Cap           uint16 `json:"cap" minimum:"1" doc:"highest fare for one tap, in the tenant's cap units"`
	Taps          uint8  `json:"taps" minimum:"1" doc:"taps until renewal"`
	TTLHours      uint16 `json:"ttl_hours" minimum:"1" maximum:"4464" doc:"life of a credential"`
	WindowSeconds uint8  `json:"window_seconds" minimum:"5" doc:"life of one display"`
}

// within reports whether l gives nothing that o does not.
func (l Limits) within(o Limits) bool {
	return l.Cap <= o.Cap && l.Taps <= o.Taps && l.TTLHours <= o.TTLHours
}

// ChainLimits are what one credential of a band with a hash chain allows. A chain
// counts displays, not taps: it has no tap budget.
type ChainLimits struct {
	Cap           uint16 `json:"cap" minimum:"1" doc:"highest fare for one tap; nothing above a band's"`
	TTLHours      uint16 `json:"ttl_hours,omitempty" maximum:"408" doc:"life of a credential; 0: as long as the chain lasts, at most a phone's"`
	WindowSeconds uint8  `json:"window_seconds,omitempty" minimum:"5" doc:"life of one display; 0: 60"`
}

// BatchLimits are what one batch of codes made ahead allows.
type BatchLimits struct {
	Cap           uint16 `json:"cap" minimum:"1" doc:"highest fare for one tap; nothing above a band's"`
	Windows       uint8  `json:"windows" minimum:"1" doc:"codes of a batch, one for each window"`
	WindowSeconds uint8  `json:"window_seconds" minimum:"5" doc:"life of one code"`
}

// life is from the first code's window to the end of the last one's.
func (l BatchLimits) life() time.Duration {
	return time.Duration(l.Windows) * time.Duration(l.WindowSeconds) * time.Second
}

func (l BatchLimits) credential() Limits {
	hours := (l.life() + time.Hour - 1) / time.Hour
	return Limits{Cap: l.Cap, Taps: l.Windows, TTLHours: uint16(hours), WindowSeconds: l.WindowSeconds}
}

// A Concession is a product for accounts of a category.
type Concession struct {
	Category string `json:"category" minLength:"1" maxLength:"40"`
	Product  uint16 `json:"product"`
	Proof    bool   `json:"proof" doc:"only while the account's proof has not run out"`
}

// A Policy says what an issuer gives to devices. A published version never
// changes.
type Policy struct {
	Version int    `json:"version" readOnly:"true"`
	Phone   Limits `json:"phone"`
	Band    Limits `json:"band" doc:"nothing in it above what a phone has"`
	// Unproven is for phones whose key nobody showed to be in hardware; nil: they
	// get no credential.
	Unproven *Limits `json:"unproven,omitempty" doc:"phones without hardware proof; absent: none are issued to"`

	// Chain is for bands that have a hash chain instead of a key, Batch for wallets
	// and bands that have nothing; nil: they get nothing.
	Chain *ChainLimits `json:"chain,omitempty" doc:"bands with a hash chain, suite 4; absent: none are issued to"`
	Batch *BatchLimits `json:"batch,omitempty" doc:"wallets and bands without a key, whose codes are made ahead; absent: none are issued to"`

	Product     uint16       `json:"product" doc:"product of accounts without a concession"`
	Concessions []Concession `json:"concessions"`

	BandsPerPhone      int `json:"bands_per_phone" minimum:"0" maximum:"8"`
	WaitAfterLossHours int `json:"wait_after_loss_hours" minimum:"1" maximum:"8760" doc:"until another rider may bind a device that was reported lost"`

	// AttestationRoots are the keys that hardware attestations end in, as
	// certificates in PEM. Without one no phone can show that its key is in hardware.
	AttestationRoots string `json:"attestation_roots,omitempty"`
	// FreshStatus refuses attestations that cannot be held against a fresh revocation
	// list; otherwise they count as vouched for by the issuer.
	FreshStatus bool `json:"attestation_fresh_status,omitempty" doc:"refuse Android attestations while the platform has no fresh revocation list; false: they count as vouched then"`
	// Apple is for iOS apps that vouch for a phone's key; nil: none may.
	Apple *Apple `json:"apple,omitempty" doc:"iOS apps whose App Attest attestation is checked; absent: none is taken"`
}

// maxTTL is the longest life a code can state with its age field: 194 days are
// 2^24 seconds, less a margin of the last day. Source: offline code format CT1.
const maxTTL = 186 * 24

// Check refuses a policy under which a rider could lose without bound.
func (p *Policy) Check() error {
	for name, l := range map[string]*Limits{"phone": &p.Phone, "band": &p.Band, "unproven": p.Unproven} {
		switch {
		case l == nil:
		case l.Cap == 0, l.Taps == 0:
			return ErrPolicy.Explain("%s: cap and taps of 0 would leave a loss without bound", name)
		case l.TTLHours == 0, l.TTLHours > maxTTL:
			return ErrPolicy.Explain("%s: a life of %d hours, want 1 to %d", name, l.TTLHours, maxTTL)
		case l.WindowSeconds < 5:
			return ErrPolicy.Explain("%s: a display of %d seconds cannot be scanned, want at least 5", name, l.WindowSeconds)
		case !l.within(p.Phone):
			return ErrPolicy.Explain("%s: a limit is above the phone's", name)
		}
	}
	if err := p.checkWeak(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range p.Concessions {
		if c.Category == "" || len(c.Category) > 40 || seen[c.Category] {
			return ErrPolicy.Explain("concession %q: empty, too long or there twice", c.Category)
		}
		seen[c.Category] = true
	}
	if p.BandsPerPhone < 0 || p.BandsPerPhone > 8 || p.WaitAfterLossHours < 1 || p.WaitAfterLossHours > 8760 {
		return ErrPolicy.Explain("bands per phone 0 to 8, waiting period 1 to 8760 hours")
	}
	if p.Apple != nil {
		if err := p.Apple.Check(); err != nil {
			return err
		}
	}
	_, err := ParseRoots(p.AttestationRoots)
	return err
}

// checkWeak refuses limits of media with a weaker promise that are above a band's.
func (p *Policy) checkWeak() error {
	if p.Chain != nil {
		switch l := p.chain(); {
		case l.Cap == 0 || l.Cap > p.Band.Cap:
			return ErrPolicy.Explain("chain: a cap of %d, want 1 to the band's %d", l.Cap, p.Band.Cap)
		case l.WindowSeconds < 5:
			return ErrPolicy.Explain("chain: a display of %d seconds cannot be scanned, want at least 5", l.WindowSeconds)
		case l.TTLHours == 0 || l.TTLHours > chainHours(l.WindowSeconds):
			return ErrPolicy.Explain("chain: a life of %d hours; with displays of %d seconds the longest chain lasts %d", l.TTLHours, l.WindowSeconds, chainHours(l.WindowSeconds))
		case l.TTLHours > p.Phone.TTLHours:
			return ErrPolicy.Explain("chain: a limit is above the phone's")
		}
	}
	if l := p.Batch; l != nil {
		switch {
		case l.Cap == 0 || l.Cap > p.Band.Cap:
			return ErrPolicy.Explain("batch: a cap of %d, want 1 to the band's %d", l.Cap, p.Band.Cap)
		case l.Windows == 0 || l.WindowSeconds < 5:
			return ErrPolicy.Explain("batch: %d windows of %d seconds, want 1 or more of at least 5", l.Windows, l.WindowSeconds)
		case l.credential().TTLHours > p.Phone.TTLHours:
			return ErrPolicy.Explain("batch: it lasts for longer than a phone's credential")
		}
	}
	return nil
}

// chainWindow is how long a display of a hash chain lives unless the policy says
// otherwise.
const chainWindow = 60

// chainHours is how long the longest chain lasts.
func chainHours(window uint8) uint16 { return uint16(ct1.ChainMax * int(window) / 3600) }

// chain gives the limits of hash chains with the defaults filled in.
func (p *Policy) chain() Limits {
	l := Limits{Cap: p.Chain.Cap, TTLHours: p.Chain.TTLHours, WindowSeconds: p.Chain.WindowSeconds}
	if l.WindowSeconds == 0 {
		l.WindowSeconds = chainWindow
	}
	if l.TTLHours == 0 {
		l.TTLHours = min(chainHours(l.WindowSeconds), p.Phone.TTLHours)
	}
	return l
}

// LargestLoss gives the most that whoever takes a phone and all its bands can ride
// for on the owner's account, if the loss is reported after unreported and the
// validators hold the deny list that follows: unit is the tenant's cap unit in
// minor units. Each device has at most two credentials that are alive, and gets
// one more for each half of a credential's life until the report. A display shown
// at several validators is paid for once: the issuer refuses the others, so the
// owner's loss does not grow with the number of validators that are offline.
func (p *Policy) LargestLoss(unit citygate.Money, unreported time.Duration) citygate.Money {
	ofKey := func(l Limits) int64 {
		return alive(time.Duration(l.TTLHours)*time.Hour, unreported) * int64(l.Taps) * int64(l.Cap)
	}
	band := ofKey(p.Band)
	if p.Chain != nil {
		l := p.chain()
		life := time.Duration(l.TTLHours) * time.Hour
		displays := int64(life / (time.Duration(l.WindowSeconds) * time.Second))
		band = max(band, alive(life, unreported)*displays*int64(l.Cap))
	}
	band = max(band, p.batchLoss(unreported))
	return inMoney(ofKey(p.Phone)+int64(p.BandsPerPhone)*band, unit)
}

// LargestBatchLoss gives the most that whoever copied all the codes of one wallet
// can ride for on the owner's account, by the same reckoning. Each code counts
// once: what is shown twice is refused by the issuer.
func (p *Policy) LargestBatchLoss(unit citygate.Money, unreported time.Duration) citygate.Money {
	return inMoney(p.batchLoss(unreported), unit)
}

func (p *Policy) batchLoss(unreported time.Duration) int64 {
	if p.Batch == nil {
		return 0
	}
	return alive(p.Batch.life(), unreported) * int64(p.Batch.Windows) * int64(p.Batch.Cap)
}

// alive is how many credentials of that life a device can use until a loss is
// reported: two, and one more for each half of a life.
func alive(life, unreported time.Duration) int64 {
	half := life / 2
	return 2 + int64((unreported+half-1)/half)
}

func inMoney(units int64, unit citygate.Money) citygate.Money {
	if unit.Minor > 0 && units > math.MaxInt64/unit.Minor {
		return citygate.Money{Minor: math.MaxInt64, Currency: unit.Currency}
	}
	return citygate.Money{Minor: units * unit.Minor, Currency: unit.Currency}
}

// limits gives what a device may have, false if nothing.
func (p *Policy) limits(d *Device) (Limits, bool) {
	switch {
	case d.Keyless && p.Batch != nil:
		return p.Batch.credential(), true
	case d.Suite == ct1.SuiteChain && p.Chain != nil:
		return p.chain(), true
	case d.Keyless, d.Suite == ct1.SuiteChain:
		return Limits{}, false
	case d.Kind == Band:
		return p.Band, true
	case d.Assurance != Unproven:
		return p.Phone, true
	case p.Unproven != nil:
		return *p.Unproven, true
	}
	return Limits{}, false
}

// product gives what an account rides on at now, and when the proof for it ends,
// zero if it needs none.
func (p *Policy) product(category string, proof, now time.Time) (product uint16, ends time.Time) {
	for _, c := range p.Concessions {
		switch {
		case c.Category != category:
		case !c.Proof:
			return c.Product, time.Time{}
		case proof.Sub(now) >= time.Hour: // a credential lives in whole hours
			return c.Product, proof
		}
	}
	return p.Product, time.Time{}
}

func (p *Policy) wait() time.Duration { return time.Duration(p.WaitAfterLossHours) * time.Hour }

func (p *Policy) encode() ([]byte, error) {
	stored := *p
	stored.Version = 0 // the row's
	if stored.Concessions == nil {
		stored.Concessions = []Concession{}
	}
	return json.Marshal(stored)
}

func decodePolicy(version int, body []byte) (Policy, error) {
	var p Policy
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(&p)
	p.Version = version
	return p, err
}
