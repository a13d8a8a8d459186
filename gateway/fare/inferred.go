package fare

import "github.com/cashlesscity/citygate/gateway/journey"

// OpInferred tells of an end that no tap shows: Rule names the method, From or To
// the stop, Factor the confidence in permille (0 of what the rider claims).
const OpInferred Op = "inferred"

// PriceJourney prices a journey as package journey built it: with the end that
// was inferred or claimed for it, but never above what it costs as an incomplete
// one, so that nobody is worse off for what was guessed.
func (t *Tariff) PriceJourney(j *journey.Journey, category Category) Decision {
	priced := j.AsPriced()
	d := t.Price(&priced, category)
	in := j.Inferred
	if in == nil {
		return d
	}
	bare := *j
	bare.Inferred, bare.State = nil, journey.Incomplete
	bare = bare.AsPriced()
	if least := t.Price(&bare, category); least.Known && (!d.Known || least.Amount.Minor < d.Amount.Minor) {
		d = least
	}
	step := Step{Rule: string(in.Method), Op: OpInferred, Factor: in.Confidence}
	if j.Missing == journey.MissingOn {
		step.From = in.Stop
	} else {
		step.To = in.Stop
	}
	d.Explanation.Steps = append([]Step{step}, d.Explanation.Steps...)
	return d
}
