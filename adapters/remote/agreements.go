package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// Agreements on which riders are debited without being there: capability contract.

const (
	pathOpenAgreement  = "/v1/agreement/open"
	pathQueryAgreement = "/v1/agreement/query"
	pathCloseAgreement = "/v1/agreement/close"
)

type (
	openAgreementCall struct {
		Contract contractPart `json:"contract"`

		ID        string `json:"id"`
		Rider     string `json:"rider,omitempty"`
		Purpose   string `json:"purpose,omitempty"`
		SingleMax *money `json:"single_max,omitempty"`
		ReturnURL string `json:"return_url,omitempty"`
	}
	invitation struct {
		ID  string `json:"id"`
		URL string `json:"url"`
	}
	agreementCall struct {
		Contract   contractPart `json:"contract"`
		ID         string       `json:"id,omitempty"`
		ProviderID string       `json:"provider_id,omitempty"`
	}
	agreement struct {
		ID         string     `json:"id"`
		ProviderID string     `json:"provider_id,omitempty"`
		Rider      string     `json:"rider,omitempty"`
		State      string     `json:"state"`
		ValidFrom  *time.Time `json:"valid_from,omitempty"`
		ValidTo    *time.Time `json:"valid_to,omitempty"`
		SingleMax  *money     `json:"single_max,omitempty"`
		Reason     string     `json:"reason,omitempty"`
	}
)

func agreementOut(a driver.Agreement) *agreement {
	return &agreement{
		a.OurID, a.ID, a.RiderRef, wordOf(a.State), instant(a.ValidFrom), instant(a.ValidTo), moneyOf(a.SingleMax), a.ReasonCode,
	}
}

func (a *agreement) agreement() driver.Agreement {
	return driver.Agreement{
		OurID: a.ID, ID: a.ProviderID, RiderRef: a.Rider, State: ofWord[driver.AgreementState](a.State),
		ValidFrom: instantOf(a.ValidFrom), ValidTo: instantOf(a.ValidTo), SingleMax: a.SingleMax.money(), ReasonCode: a.Reason,
	}
}

// OpenAgreement is driver.Contract's: the program makes the invitation. It is told where
// the gateway hears of the agreement if it can read what comes from there.
func (d *Driver) OpenAgreement(ctx context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
	call := openAgreementCall{
		Contract: d.part, ID: r.OurID, Rider: r.RiderRef, Purpose: r.Purpose, SingleMax: moneyOf(r.SingleMax), ReturnURL: r.ReturnURL,
	}
	if r.NotifyURL != "" && d.Able(driver.CapNotify) {
		call.Contract.NotifyURL = r.NotifyURL
	}
	var a invitation
	if err := d.call(ctx, pathOpenAgreement, call, &a); err != nil {
		return driver.Invitation{}, err
	}
	if a.ID != r.OurID {
		return driver.Invitation{}, errAnotherAgreement
	}
	return driver.Invitation{OurID: a.ID, URL: a.URL}, nil
}

// QueryAgreement is driver.Contract's.
func (d *Driver) QueryAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error) {
	return d.agreement(ctx, pathQueryAgreement, a)
}

// CloseAgreement is driver.Contract's.
func (d *Driver) CloseAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error) {
	return d.agreement(ctx, pathCloseAgreement, a)
}

var errAnotherAgreement = errors.New("remote: the answer is about another agreement")

// agreement makes a call about one. The answer repeats each name that was asked by; one
// that the program does not know has none of its own.
func (d *Driver) agreement(ctx context.Context, path string, of driver.Agreement) (driver.Agreement, error) {
	if of.OurID == "" && of.ID == "" {
		return driver.Agreement{}, fmt.Errorf("%w: an agreement without a name", driver.ErrNotPerformed)
	}
	var a agreement
	if err := d.call(ctx, path, agreementCall{d.part, of.OurID, of.ID}, &a); err != nil {
		return driver.Agreement{}, err
	}
	said := a.agreement()
	if of.OurID != "" && said.OurID != of.OurID || of.ID != "" && said.ID != of.ID {
		return driver.Agreement{}, errAnotherAgreement
	}
	return said, nil
}

func serveOpenAgreement(ctx context.Context, p driver.Contract, c openAgreementCall) (any, error) {
	i, err := p.OpenAgreement(ctx, driver.AgreementRequest{
		OurID: c.ID, RiderRef: c.Rider, Purpose: c.Purpose, SingleMax: c.SingleMax.money(), NotifyURL: c.Contract.NotifyURL, ReturnURL: c.ReturnURL,
	})
	return invitation{i.OurID, i.URL}, err
}

// serveAgreement serves one of the two calls about an agreement that is there.
func serveAgreement(do func(driver.Contract, context.Context, driver.Agreement) (driver.Agreement, error)) func(context.Context, driver.Contract, agreementCall) (any, error) {
	return func(ctx context.Context, p driver.Contract, c agreementCall) (any, error) {
		a, err := do(p, ctx, driver.Agreement{OurID: c.ID, ID: c.ProviderID})
		return agreementOut(a), err
	}
}

// AgreementControls are TestControls of a product with agreements.
type AgreementControls interface {
	// Agree has the rider confirm an agreement; twice is once.
	Agree(ourID string) error
}

const testAgree = "agree" // the rider confirms the agreement named by id

func (h *handler) testAgree(id string) error {
	riders, ok := h.Test.(AgreementControls)
	if !ok {
		return errAbility
	}
	return riders.Agree(id)
}

// Agree has the rider confirm an agreement at the test system.
func (t *TestClient) Agree(ctx context.Context, ourID string) error {
	return t.d.call(ctx, pathTest, testCall{Contract: t.d.part, Do: testAgree, ID: ourID}, &testAnswer{})
}
