package terminal

import (
	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
)

// price finds out what a single tap costs where the caller does not say, by the
// tariff that the trust bundle has in force at the tap. It reads the code only:
// nothing is believed of it that the checks after it do not prove.
func (v *Verifier) price(c *code.Code, r *tap.Record, raw []byte, in *Input) {
	if v.fares == nil {
		return
	}
	if in.TariffVersion == 0 {
		in.TariffVersion = v.fares.Version(r.EventTime)
		r.TariffVersion = in.TariffVersion
	}
	if in.Kind != tap.Single || in.Fare.Currency != "" || v.schemes.Parse(raw, c) != nil {
		return
	}
	var rider citygate.Rider
	if accept.Foreign(c) {
		rider.List = citygate.ForeignLists
	}
	money, known := v.fares.Price(&journey.Tap{Rider: rider, Kind: in.Kind, At: r.EventTime, Stop: in.Stop, Route: in.Route,
		Party: max(c.Party, in.Riders), Product: c.Product, Medium: accept.MediumOf(c)})
	if known {
		in.Fare, r.Entered = money, money
	}
}
