package adapters

import (
	"context"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// Agreements are the ability of a [Provider] to manage what later debits rest on.
type Agreements struct {
	p *Provider
	d driver.Contract
}

// Agreements finds out whether the product manages agreements.
func (p *Provider) Agreements() (*Agreements, bool) {
	d, ok := driver.As[driver.Contract](p.driver)
	if !ok {
		return nil, false
	}
	return &Agreements{p, d}, true
}

// ByAgreement reports whether debits rest on agreements that the product manages: then the
// payer's name is the provider's number of one.
func (p *Provider) ByAgreement() bool {
	_, manages := p.Agreements()
	return manages && p.about.Limits.ByAgreement
}

// invitationMost is how long what a phone opens may be: a signed page has some 2,000.
const invitationMost = 8192

// OpenAgreement gives what the rider opens to agree. Nothing is agreed by it. After
// ErrOpen the same is asked again: one OurID is one agreement.
func (a *Agreements) OpenAgreement(ctx context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
	if err := a.p.checkID(r.OurID); err != nil {
		return driver.Invitation{}, err
	}
	ctx, done := a.p.deadline(ctx)
	defer done()
	invitation, err := contained(a.p.about.Name, func() (driver.Invitation, error) { return a.d.OpenAgreement(ctx, r) })
	if err != nil {
		return driver.Invitation{}, a.p.failed(ctx, err)
	}
	if invitation.OurID != r.OurID {
		return driver.Invitation{}, ErrOpen.Because(nil, "%s: an invitation to another agreement", a.p.about.Name)
	}
	if invitation.URL == "" || !plain(invitation.URL, invitationMost) {
		return driver.Invitation{}, ErrOpen.Because(nil, "%s: an invitation that no phone opens", a.p.about.Name)
	}
	return invitation, nil
}

// QueryAgreement asks how an agreement stands. One in force has a number: without it
// nobody could be debited, and nobody would ask again.
func (a *Agreements) QueryAgreement(ctx context.Context, of driver.Agreement) (driver.Agreement, error) {
	said, err := a.ask(ctx, of, a.d.QueryAgreement)
	if err == nil && said.State == driver.AgreementActive && said.ID == "" {
		return driver.Agreement{}, ErrOpen.Because(nil, "%s: an agreement in force without a number", a.p.about.Name)
	}
	return said, err
}

// CloseAgreement ends an agreement. Two calls are one.
func (a *Agreements) CloseAgreement(ctx context.Context, of driver.Agreement) (driver.Agreement, error) {
	return a.ask(ctx, of, a.d.CloseAgreement)
}

// ask makes a call about an agreement. An answer about another one, or in a word that
// is none of the contract, says nothing.
func (a *Agreements) ask(ctx context.Context, of driver.Agreement, do func(context.Context, driver.Agreement) (driver.Agreement, error)) (driver.Agreement, error) {
	ctx, done := a.p.deadline(ctx)
	defer done()
	said, err := contained(a.p.about.Name, func() (driver.Agreement, error) { return do(ctx, of) })
	if err != nil {
		return driver.Agreement{}, a.p.failed(ctx, err)
	}
	if !credibleAgreement(said) {
		return driver.Agreement{}, ErrOpen.Because(nil, "%s: an answer about an agreement that is none", a.p.about.Name)
	}
	if of.OurID != "" && said.OurID != of.OurID || of.ID != "" && said.ID != of.ID && (said.ID != "" || of.OurID == "") {
		return driver.Agreement{}, ErrOpen.Because(nil, "%s: an answer about another agreement", a.p.about.Name)
	}
	return said, nil
}

// credibleAgreement reports whether what is said of an agreement is in words of the
// contract and can be kept: lengths as the table has them.
func credibleAgreement(a driver.Agreement) bool {
	switch a.State {
	case driver.AgreementUnknown, driver.AgreementPending, driver.AgreementActive, driver.AgreementEnded:
		return plain(a.OurID, 64) && plain(a.ID, 200) && plain(a.RiderRef, 200) && plain(a.ReasonCode, 500)
	}
	return false
}
