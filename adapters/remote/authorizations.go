package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// This file holds how the steps of contactless cards travel (capability authorize), the
// certificates of validators (device_enroll) and debts that are to be looked at again
// (arrears).

const (
	pathVerify    = "/v1/verify"
	pathAuthorize = "/v1/authorize"
	pathCapture   = "/v1/capture"
	pathVoid      = "/v1/void"
	pathDevice    = "/v1/device"
	pathArrears   = "/v1/arrears"
)

type (
	cardTap struct {
		Token    string     `json:"token"`
		Chip     []byte     `json:"chip,omitempty"`
		Terminal string     `json:"terminal,omitempty"`
		At       *time.Time `json:"at,omitempty"`
	}
	authorization struct {
		ID        string   `json:"id"`
		Tap       *cardTap `json:"tap,omitempty"`
		Amount    *money   `json:"amount,omitempty"`
		Of        *ref     `json:"of,omitempty"`
		FirstRide bool     `json:"first_ride,omitempty"`
	}
	authorizationCall struct {
		Contract      contractPart  `json:"contract"`
		Authorization authorization `json:"authorization"`
	}
	authorizationAnswer struct {
		Result    result `json:"result"`
		Liability string `json:"liability"`
		FirstRide bool   `json:"first_ride,omitempty"`
	}
	deviceCall struct {
		Contract contractPart `json:"contract"`
		ID       string       `json:"id"`
		Key      []byte       `json:"key"`
	}
	deviceAnswer struct {
		ID          string `json:"id"`
		Certificate []byte `json:"certificate"`
	}
	arrearsAnswer struct {
		ID string `json:"id"`
	}
)

func authorizationOut(a driver.Authorization) authorization {
	out := authorization{ID: a.OurID, Amount: moneyOf(a.Amount), FirstRide: a.FirstRide}
	if t := a.Tap; t.Token != "" || len(t.Chip) > 0 || t.Terminal != "" || !t.At.IsZero() {
		out.Tap = &cardTap{t.Token, t.Chip, t.Terminal, instant(t.At)}
	}
	if a.Of.OurID != "" {
		of := refOut(a.Of)
		out.Of = &of
	}
	return out
}

func (a authorization) authorization(p driver.Provider) (out driver.Authorization, err error) {
	out = driver.Authorization{OurID: a.ID, Amount: a.Amount.money(), FirstRide: a.FirstRide}
	if t := a.Tap; t != nil {
		out.Tap = driver.CardTap{Token: t.Token, Chip: t.Chip, Terminal: t.Terminal, At: instantOf(t.At)}
	}
	if a.Of != nil {
		out.Of, err = a.Of.ref(p)
	}
	return out, err
}

// Verify is driver.Authorizer's.
func (d *Driver) Verify(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return d.step(ctx, pathVerify, a)
}

// Authorize is driver.Authorizer's.
func (d *Driver) Authorize(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	if err := positive(a.Amount); err != nil {
		return driver.AuthorizationResult{}, err
	}
	return d.step(ctx, pathAuthorize, a)
}

// Capture is driver.Authorizer's. More than was authorised is sent only where the manifest
// says that it may be captured, a first ride only where it says that they are insured, and another
// currency never.
func (d *Driver) Capture(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	if err := positive(a.Amount); err != nil {
		return driver.AuthorizationResult{}, err
	}
	m, over := &d.config.Manifest, a.Amount.Minor > a.Of.Amount.Minor
	switch {
	case a.OurID == a.Of.OurID || a.Amount.Currency != a.Of.Amount.Currency:
		return driver.AuthorizationResult{}, fmt.Errorf("%w: a capture has an id of its own and the currency of what was authorised", driver.ErrNotPerformed)
	case a.FirstRide && !m.FirstRide || over && !a.FirstRide && !m.OverCapture:
		return driver.AuthorizationResult{}, fmt.Errorf("%w: the program takes no more than was authorised, or insures no first rides", driver.ErrNotPerformed)
	}
	return d.step(ctx, pathCapture, a)
}

// Void is driver.Authorizer's.
func (d *Driver) Void(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return d.step(ctx, pathVoid, a)
}

func positive(m citygate.Money) error {
	if m.Minor <= 0 {
		return fmt.Errorf("%w: an amount of %s", driver.ErrNotPerformed, m)
	}
	return nil
}

// step sends one step. An answer about another one is none.
func (d *Driver) step(ctx context.Context, path string, a driver.Authorization) (driver.AuthorizationResult, error) {
	var answer authorizationAnswer
	if err := d.call(ctx, path, authorizationCall{d.part, authorizationOut(a)}, &answer); err != nil {
		return driver.AuthorizationResult{}, err
	}
	if answer.Result.ID != a.OurID {
		return driver.AuthorizationResult{}, errors.New("remote: the answer is about another step")
	}
	return driver.AuthorizationResult{
		Result: answer.Result.result(), Liability: ofWord[driver.Liability](answer.Liability), FirstRide: answer.FirstRide,
	}, nil
}

// serveStep serves one of the four calls about cards.
func serveStep(do func(driver.Authorizer, context.Context, driver.Authorization) (driver.AuthorizationResult, error)) func(context.Context, driver.Provider, driver.Authorizer, authorizationCall) (any, error) {
	return func(ctx context.Context, p driver.Provider, by driver.Authorizer, c authorizationCall) (any, error) {
		a, err := c.Authorization.authorization(p)
		if err != nil {
			return nil, err
		}
		r, err := do(by, ctx, a)
		return authorizationAnswer{resultOut(r.Result), wordOf(r.Liability), r.FirstRide}, err
	}
}

// CertifyDevice is driver.DeviceEnroller's. An answer about another device, or without a
// certificate, is none.
func (d *Driver) CertifyDevice(ctx context.Context, ourID string, devicePublicKey []byte) ([]byte, error) {
	if ourID == "" || len(devicePublicKey) == 0 {
		return nil, fmt.Errorf("%w: a device needs an id and a key", driver.ErrNotPerformed)
	}
	var a deviceAnswer
	if err := d.call(ctx, pathDevice, deviceCall{d.part, ourID, devicePublicKey}, &a); err != nil {
		return nil, err
	}
	if a.ID != ourID || len(a.Certificate) == 0 {
		return nil, errors.New("remote: the answer has no certificate of this device")
	}
	return a.Certificate, nil
}

func serveDevice(ctx context.Context, p driver.DeviceEnroller, c deviceCall) (any, error) {
	certificate, err := p.CertifyDevice(ctx, c.ID, c.Key)
	return deviceAnswer{c.ID, certificate}, err
}

// SyncArrear is driver.ArrearSync's. An answer about another debit is none.
func (d *Driver) SyncArrear(ctx context.Context, r driver.Ref) error {
	var a arrearsAnswer
	if err := d.call(ctx, pathArrears, refCall{d.part, refOut(r)}, &a); err != nil {
		return err
	}
	if a.ID != r.OurID {
		return errors.New("remote: the answer is about another debit")
	}
	return nil
}

func serveArrears(ctx context.Context, p driver.Provider, do driver.ArrearSync, c refCall) (any, error) {
	r, err := c.Ref.ref(p)
	if err != nil {
		return nil, err
	}
	return arrearsAnswer{c.Ref.ID}, do.SyncArrear(ctx, r)
}
