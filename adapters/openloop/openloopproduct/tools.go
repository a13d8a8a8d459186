package openloopproduct

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/openloop"
	"github.com/cashlesscity/citygate/adapters/openloop/openloopsim"
	"github.com/cashlesscity/citygate/adapters/party"
)

// The tools meet over a secret that both sides know; the keys of the
// directory are not used.
var tools = party.Tools{
	Account: map[string]string{"mchid": "citygate", "currency": "EUR", "currency_number": "978", "processor_key": "simulated-processor-key-32-bytes!"},
	Sim:     simulate, Call: call,
}

const openloopFirstRide = 600 // of the simulated contract, in minor units

func simulate(ctx context.Context, m party.Meeting, listen string) (party.Running, error) {
	sim, err := openloopsim.Start(openloopsim.Config{ //nolint:contextcheck // it serves until stop
		Clock: m.Clock, Listen: listen, Merchant: m.Dir.Text("mchid"), Key: []byte(m.Dir.Text("processor_key")), FeePPM: 12_000,
		Currency: citygate.Currency(m.Dir.Text("currency")), Numeric: m.Dir.Text("currency_number"), FirstRideMax: openloopFirstRide,
	})
	if err != nil {
		return party.Running{}, err
	}
	stop := party.Announce(ctx, time.Second, sim, func(ctx context.Context) { sim.Deliver(ctx, m.HTTP) })
	return party.Running{Address: sim.URL(), Stop: func() { stop(); sim.Close() }}, nil
}

func call(ctx context.Context, m party.Meeting, c party.Call) (party.Answer, error) {
	p, err := openloop.New(openloop.Config{
		Base: c.Endpoint, Merchant: m.Dir.Text("mchid"), Key: citygate.NewSecret([]byte(m.Dir.Text("processor_key"))),
		Currency: citygate.Currency(m.Dir.Text("currency")), Rules: openloop.Rules{FirstRideMax: openloopFirstRide}, HTTP: m.HTTP, Clock: m.Clock,
	})
	if err != nil {
		return party.Answer{}, err
	}
	a, err := p.Exec(ctx, c.Op, c.Biz)
	if err != nil {
		return party.Failed(err)
	}
	return party.Heard(a.Body, a.Standing == openloop.Refused, a.Standing == openloop.Open, a.Why), nil
}
