package explain

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// kindText names the kind of a tap.
func kindText(k tap.Kind) string {
	switch k {
	case tap.On:
		return "on"
	case tap.Off:
		return "off"
	case tap.Single:
		return "single"
	}
	return "unknown"
}

// verbs say what a step did.
var verbs = map[fare.Op]string{
	fare.OpFlat: "one price for the ride", fare.OpSection: "by the section it began in", fare.OpTable: "by the table of pairs", fare.OpDistance: "by distance",
	fare.OpEntered: "as the driver entered", fare.OpIncomplete: "a tap is missing", fare.OpSameStop: "it ended where it began", fare.OpShare: "the part that the category pays",
	fare.OpRound: "rounded", fare.OpParty: "for all who rode on the code", fare.OpZone: "by zones", fare.OpTime: "by the time in the system", fare.OpSplit: "as cheap as leaving and entering again on the way",
	fare.OpFeed: "by the feed's fares", fare.OpFeedAdds: "which the ride adds to what the journey cost before",
}

// Words says the document line by line. money writes minor units of its currency.
func (d *Document) Words(money func(int64) string) ([]string, error) {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, t := range d.Taps {
		say("tap %s: %s at %s%s%s", t.ID, t.Kind, t.At, place(" at stop ", t.Stop), place(" on route ", t.Route))
	}
	if d.SharedBy != 0 {
		say("share: tenant %d priced the ride by its tariff version %d", d.SharedBy, d.Tariff)
		var s struct {
			Rides           int
			Total           int64
			Weight, Weights string
		}
		if err := json.Unmarshal(d.Explanation, &s); err != nil {
			return nil, ErrFile.Explain("the explanation of a share: %v", err)
		}
		say("of %s for %d rides by weight %s of %s", money(s.Total), s.Rides, s.Weight, s.Weights)
		say("share: %s", money(d.Amount))
		return lines, nil
	}
	var e fare.Explanation
	if err := json.Unmarshal(d.Explanation, &e); err != nil {
		return nil, ErrFile.Explain("the explanation: %v", err)
	}
	if e.Tariff != "" {
		say("tariff %s, version %d%s", e.Tariff, e.Version, place(", category ", string(e.Category)))
	}
	if e.Medium != "" {
		say("shown on: %s", e.Medium)
	}
	if day := e.Day; day != nil {
		moved := ""
		if day.Moved {
			moved = ", a rest day moved to be worked"
		}
		say("day of the fare: %s, %s%s; the first tap was at %s", day.Date, day.Type, moved, day.Time)
	}
	for i := range e.Steps {
		s := &e.Steps[i]
		verb := verbs[s.Op]
		if verb == "" {
			verb = string(s.Op)
		}
		if s.Op == fare.OpParty {
			verb = fmt.Sprintf("for all %d who rode on the code", s.Factor)
			if s.Counted > 0 {
				verb += fmt.Sprintf(", %d of them counted at the reader", s.Counted)
			}
		}
		if s.Op == fare.OpFeedJourney {
			verb = fmt.Sprintf("as one journey of %d rides", s.Factor)
		}
		by := ""
		if s.Row > 0 {
			by = fmt.Sprintf(", row %d", s.Row)
		}
		amount := money(s.Minor)
		if s.Op == fare.OpFeed && s.Product == "" {
			amount = "unknown" // by itself
		}
		say("%s%s%s%s%s%s%s%s: %s", verb, place(", rule ", s.Rule), place(", product ", s.Product), by, place(", from ", s.From), place(" to ", s.To), measured(s), place(", ", s.Note), amount)
	}
	for _, a := range e.Adjustments {
		what := strings.ReplaceAll(string(a.Kind), "_", " ") + place(" ", a.ID)
		switch {
		case a.NotApplied:
			say("%s would take off %s; another was better", what, money(a.Minor))
		case a.Minor < 0:
			say("%s adds %s%s", what, money(-a.Minor), place(", borne by ", string(a.Funder)))
		default:
			say("%s takes off %s%s", what, money(a.Minor), place(", borne by ", string(a.Funder)))
		}
	}
	for _, c := range e.Caps {
		say("cap %s of %s: %s paid before this ride, %s after it", c.ID, money(c.Limit), money(c.Before), money(c.After))
	}
	if !d.Known {
		say("fare: unknown (%s)", d.Reason)
	} else {
		say("fare: %s", money(d.Amount))
	}
	return lines, nil
}

// measured says what a step went by: without it nobody could repeat the amount.
func measured(s *fare.Step) string {
	out := place(", section ", s.Section) + place(", at ", strings.ReplaceAll(s.Via, ",", ", "))
	if s.Op == fare.OpDistance {
		out += fmt.Sprintf(", %d m", s.Metres)
	}
	if s.Op == fare.OpTime {
		out += fmt.Sprintf(", %d minutes", s.Minutes)
	}
	if s.Op == fare.OpShare {
		out += fmt.Sprintf(", %d of 1000", s.Factor)
	}
	return out
}

func place(before, name string) string {
	if name == "" {
		return ""
	}
	return before + name
}
