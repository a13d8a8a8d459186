package remotetest

import (
	"context"
	"crypto/sha256"
	"slices"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote"
)

const toyCard = "tok_ann"

// A step of the toy's about a card.
type step struct {
	kind    string
	asked   driver.Authorization
	outcome driver.Outcome
}

// A drawer is what the toy knows of cards.
type drawer struct {
	steps   map[string]step
	holds   []remote.Move
	insured bool                 // the card's first ride was
	last    driver.Authorization // that was asked for
	synced  []driver.Ref
}

func (p *product) Holds() ([]remote.Move, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.cards.holds), nil
}

func (p *product) step(kind string, a driver.Authorization) (driver.AuthorizationResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.cards
	c.last = a
	r := driver.AuthorizationResult{Result: driver.Result{OurID: a.OurID}}
	if old, again := c.steps[a.OurID]; again {
		if old.kind == kind && old.asked.Amount == a.Amount && old.asked.Of.OurID == a.Of.OurID && old.asked.FirstRide == a.FirstRide {
			r.Outcome = old.outcome
		}
		return r, nil
	}
	of := c.steps[a.Of.OurID]
	held := slices.IndexFunc(c.holds, func(m remote.Move) bool { return m.ID == a.Of.OurID })
	r.Outcome = driver.Declined
	decline := p.decline
	p.decline = false
	switch {
	case decline || (kind == "verify" || kind == "authorize") && a.Tap.Token != toyCard:
	case kind == "verify":
		r.Outcome = driver.Succeeded
	case kind == "authorize":
		r.Outcome = driver.Succeeded
		c.holds = append(c.holds, remote.Move{ID: a.OurID, Amount: a.Amount})
	case a.FirstRide:
		if kind == "capture" && of.kind == "authorize" && of.outcome == driver.Declined && a.Amount == of.asked.Amount && !c.insured {
			r.Outcome, c.insured = driver.Succeeded, true
		}
	case held >= 0:
		r.Outcome, c.holds = driver.Succeeded, slices.Delete(c.holds, held, held+1)
	}
	if kind == "capture" && r.Outcome == driver.Succeeded {
		p.moves = append(p.moves, remote.Move{ID: a.OurID, Amount: a.Amount})
	}
	if r.Outcome == driver.Declined {
		r.FirstRide, r.Liability = kind == "authorize", driver.LiabilityOperator
	}
	if c.steps == nil {
		c.steps = map[string]step{}
	}
	c.steps[a.OurID] = step{kind, a, r.Outcome}
	return r, nil
}

func (p *product) Verify(_ context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return p.step("verify", a)
}

func (p *product) Authorize(_ context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return p.step("authorize", a)
}

func (p *product) Capture(_ context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return p.step("capture", a)
}

func (p *product) Void(_ context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return p.step("void", a)
}

func (p *product) CertifyDevice(_ context.Context, ourID string, key []byte) ([]byte, error) {
	sum := sha256.Sum256(append([]byte(ourID+"\x00"), key...))
	return sum[:], nil
}

func (p *product) SyncArrear(_ context.Context, r driver.Ref) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cards.synced = append(p.cards.synced, r)
	return nil
}
