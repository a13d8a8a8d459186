package openloop

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// step sends one step of an authorisation under an order of its own.
func (p *Provider) step(ctx context.Context, a driver.Authorization, r request) (driver.AuthorizationResult, error) {
	r.NotifyURL = p.config.NotifyURL
	t, err := p.put(ctx, a.OurID, firstTransaction, r)
	if err != nil {
		return driver.AuthorizationResult{}, err
	}
	result, err := t.result(a.OurID, citygate.Money(r.Amount))
	if err != nil {
		return driver.AuthorizationResult{}, err
	}
	out := driver.AuthorizationResult{Result: result, FirstRide: result.Outcome == driver.Declined && t.FirstRide}
	switch t.Liability {
	case "ISSUER":
		out.Liability = driver.LiabilityIssuer
	case "OPERATOR":
		out.Liability = driver.LiabilityOperator
	}
	return out, nil
}

func tapped(tap driver.CardTap) (*source, *transit) {
	s := &source{Token: tap.Token}
	if len(tap.Chip) > 0 {
		s.Chip = base64.StdEncoding.EncodeToString(tap.Chip)
	}
	t := &transit{Kind: kindDeferred, Terminal: tap.Terminal}
	if !tap.At.IsZero() {
		t.Tapped = tap.At.UTC().Format(time.RFC3339)
	}
	return s, t
}

// named checks the id of a step without money.
func (p *Provider) named(a driver.Authorization) error {
	return errors.Join(p.priced(a.OurID, citygate.Money{Minor: 1, Currency: p.config.Currency}), tokenOnly(a.Tap.Token))
}

// Verify implements [driver.Authorizer]: whether the card is good, for nothing.
func (p *Provider) Verify(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	if err := p.named(a); err != nil {
		return driver.AuthorizationResult{}, err
	}
	r := request{Operation: opVerify, Amount: money{Currency: p.config.Currency}}
	r.Source, r.Transit = tapped(a.Tap)
	return p.step(ctx, a, r)
}

// Authorize implements [driver.Authorizer]: it holds an amount, nominal or known.
func (p *Provider) Authorize(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	if err := errors.Join(p.priced(a.OurID, a.Amount), tokenOnly(a.Tap.Token)); err != nil {
		return driver.AuthorizationResult{}, err
	}
	r := request{Operation: opAuthorize, Amount: money(a.Amount)}
	r.Source, r.Transit = tapped(a.Tap)
	return p.step(ctx, a, r)
}

// Capture implements [driver.Authorizer]: it takes what was held. Of a declined
// authorisation it is a first ride, under a number of its own.
func (p *Provider) Capture(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	if err := errors.Join(p.priced(a.OurID, a.Amount), p.priced(a.Of.OurID, a.Of.Amount)); err != nil {
		return driver.AuthorizationResult{}, err
	}
	r := request{Operation: opCapture, Amount: money(a.Amount), TargetOrder: a.Of.OurID}
	switch {
	case a.OurID == a.Of.OurID:
		return driver.AuthorizationResult{}, fmt.Errorf("%w: %s: a capture has a number of its own", driver.ErrNotPerformed, a.OurID)
	case a.FirstRide && (p.config.Rules.FirstRideMax == 0 || a.Amount.Minor > p.config.Rules.FirstRideMax):
		return driver.AuthorizationResult{}, fmt.Errorf("%w: %s: first rides are insured up to %d", driver.ErrNotPerformed, a.OurID, p.config.Rules.FirstRideMax)
	case !a.FirstRide && a.Amount.Minor > a.Of.Amount.Minor && !p.config.Rules.OverCapture:
		return driver.AuthorizationResult{}, fmt.Errorf("%w: %s: this contract does not let more be captured than was authorised", driver.ErrNotPerformed, a.OurID)
	case a.FirstRide:
		if err := tokenOnly(a.Tap.Token); err != nil {
			return driver.AuthorizationResult{}, err
		}
		r.Source, r.Transit = tapped(a.Tap) // the same chip data as of what was declined
		r.Transit.Kind = kindFirstRide
	}
	return p.step(ctx, a, r)
}

// Void implements [driver.Authorizer]: it lets go of what is held, or undoes what
// is not settled.
func (p *Provider) Void(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	if err := errors.Join(p.priced(a.OurID, a.Of.Amount), p.priced(a.Of.OurID, a.Of.Amount)); err != nil {
		return driver.AuthorizationResult{}, err
	}
	return p.step(ctx, a, request{Operation: opVoid, Amount: money(a.Of.Amount), TargetOrder: a.Of.OurID})
}
