package fare

import "github.com/cashlesscity/citygate/gateway/journey"

// OpInferred tells of an end that no tap shows: Rule names the method, From or To
// the stop, Factor the confidence in permille (0 of what the rider claims).
const OpInferred Op = "inferred"

// PriceJourney is [Tariff.PriceTrip] of a journey alone, by the wall clock of UTC.
func (t *Tariff) PriceJourney(j *journey.Journey, category Category) Decision {
	return t.PriceTrip(&Trip{Journey: j, Category: category}, Calendar{})
}

// PriceTrip decides what a trip costs by itself: without what depends on the
// rider's other trips ([Folder] does that). The journey is as package journey
// built it: with the end that was inferred or claimed for it, but never above
// what it costs as an incomplete one, so that nobody is worse off for what was
// guessed.
func (t *Tariff) PriceTrip(trip *Trip, calendar Calendar) Decision {
	return t.resolved(trip, calendar, nil)
}

// resolved decides a trip as it is priced: of an end that was inferred, the
// cheaper of the whole and the incomplete journey, each by itself.
func (t *Tariff) resolved(trip *Trip, calendar Calendar, f *folding) Decision {
	j := trip.Journey
	if j.Inferred == nil && j.Doubt == "" {
		return t.decide(trip, calendar, f)
	}
	priced, as := j.AsPriced(), *trip
	as.Journey = &priced
	in := j.Inferred
	if in == nil {
		return t.decide(&as, calendar, f)
	}
	bare, without := *j, *trip
	bare.Inferred, bare.State = nil, journey.Incomplete
	bare = bare.AsPriced()
	without.Journey = &bare
	d := t.decide(&as, calendar, nil)
	if least := t.decide(&without, calendar, nil); least.Known && (!d.Known || least.Amount.Minor < d.Amount.Minor) {
		d, as = least, without
	}
	if f != nil {
		d = t.decide(&as, calendar, f)
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
