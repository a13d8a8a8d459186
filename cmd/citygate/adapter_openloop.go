package main

import (
	"context"
	"errors"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/openloop"
	"github.com/cashlesscity/citygate/adapters/openloop/openloopsim"
)

// openloopProduct meets over a secret that both sides know; the keys of the
// directory are not used.
var openloopProduct = adapterProduct{
	name:    "openloop",
	account: map[string]string{"mchid": "citygate", "currency": "EUR", "currency_number": "978", "processor_key": "simulated-processor-key-32-bytes!"},
	sim:     simOpenloop,
	call:    callOpenloop,
}

const openloopFirstRide = 600 // of the simulated contract, in minor units

func simOpenloop(_ context.Context, sys *system, dir partyDir, listen string) (runningSim, error) {
	sim, err := openloopsim.Start(openloopsim.Config{ //nolint:contextcheck // it serves until stop
		Clock: sys.Now, Listen: listen, Merchant: dir.text("mchid"), Key: []byte(dir.text("processor_key")), FeePPM: 12_000,
		Currency: citygate.Currency(dir.text("currency")), Numeric: dir.text("currency_number"), FirstRideMax: openloopFirstRide,
	})
	if err != nil {
		return runningSim{}, err
	}
	return runningSim{sim.URL(), sim.Close}, nil
}

func callOpenloop(ctx context.Context, sys *system, dir partyDir, c adapterCall) (adapterAnswer, error) {
	p, err := openloop.New(openloop.Config{
		Base: c.endpoint, Merchant: dir.text("mchid"), Key: citygate.NewSecret([]byte(dir.text("processor_key"))),
		Currency: citygate.Currency(dir.text("currency")), Rules: openloop.Rules{FirstRideMax: openloopFirstRide}, HTTP: callClient(), Clock: sys.Now,
	})
	if err != nil {
		return adapterAnswer{}, err
	}
	a, err := p.Exec(ctx, c.op, c.biz)
	var code *citygate.Code
	switch {
	case errors.Is(err, driver.ErrNotPerformed), errors.As(err, &code):
		return adapterAnswer{}, err
	case err != nil:
		return adapterAnswer{unknown: err.Error()}, nil
	}
	answer := adapterAnswer{body: a.Body}
	switch a.Standing {
	case openloop.Refused:
		answer.refused = a.Why
	case openloop.Open:
		answer.unknown = a.Why
	case openloop.Done:
	}
	return answer, nil
}
