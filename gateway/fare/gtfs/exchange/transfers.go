package exchange

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/cashlesscity/citygate/gateway/fare"
)

// transfers writes the tariff's transfer, if the reference can say the same, and takes
// the leg groups out of the leg rules if not.
func (e *exporter) transfers() {
	t := e.tariff
	why := "the reference has no choice between several transfers"
	if len(t.Transfers) <= 1 {
		if len(t.Transfers) == 1 {
			why = e.transfer(&t.Transfers[0])
		}
		if len(t.Transfers) == 1 && why == "" {
			return
		}
	}
	legs := e.table("fare_leg_rules")
	legs.Columns = legs.Columns[1:]
	for i := range legs.Rows {
		legs.Rows[i] = legs.Rows[i][1:]
	}
	for _, x := range t.Transfers {
		e.omit("transfers["+x.ID+"]", why+": the rides of a journey cost by the feed what they cost one by one")
	}
}

// transfer writes a transfer, or says why it cannot.
func (e *exporter) transfer(x *fare.Transfer) (why string) {
	for _, m := range []fare.Match{x.From, x.To} {
		if len(m.Operators)+len(m.Routes)+len(m.Zones)+len(m.Categories)+len(m.Media) > 0 {
			return "transfers of the reference are between groups of rules, and this one asks for more"
		}
	}
	if slices.ContainsFunc(e.legs, func(l leg) bool { return l.rule == "" }) {
		return "rules by medium have no leg group of one rule"
	}
	from, to := e.rules(x.From.Rules), e.rules(x.To.Rules)
	whole := slices.Equal(from, to)
	if !whole && slices.ContainsFunc(from, func(r string) bool { return slices.Contains(to, r) }) {
		return "its rules overlap in part"
	}
	once := !whole || x.Count == 1
	kind := "1" // from the first departure to that of the ride
	switch {
	case x.Since == "end" && once:
		kind = "2"
	case (x.Since == "start" || x.Since == "end") && !once:
		return "the reference measures a run of transfers from its beginning"
	}
	if !x.SameRoute && (whole || e.share(from, to)) {
		return "the reference cannot tell a ride on the route of the ride before"
	}
	limit := strconv.FormatInt(x.Window*60, 10)
	if whole {
		count := strconv.Itoa(x.Count)
		if x.Count == 0 {
			count = "-1"
		}
		fee, why := e.fee(x, to)
		if why != "" {
			return why
		}
		e.regroup(to)
		e.add("fare_transfer_rules", "ride", "ride", count, limit, kind, feeType(fee), fee)
		return ""
	}
	fees := make([]string, len(to))
	for i, rule := range to {
		if fees[i], why = e.fee(x, []string{rule}); why != "" {
			return why
		}
	}
	for _, a := range from {
		for i, b := range to {
			e.add("fare_transfer_rules", a, b, "", limit, kind, feeType(fees[i]), fees[i])
		}
	}
	return ""
}

// feeType is the transfer type: 0 takes the whole leg off, 1 adds the leg and a product
// of less than nothing.
func feeType(fee string) string {
	if fee == "" {
		return "0"
	}
	return "1"
}

// rules gives the rules that legs of the feed go by and a match names, in order.
func (e *exporter) rules(named []string) (out []string) {
	for _, l := range e.legs {
		if !slices.Contains(out, l.rule) && (len(named) == 0 || slices.Contains(named, l.rule)) {
			out = append(out, l.rule)
		}
	}
	slices.Sort(out)
	return out
}

// share reports whether a route can have legs of rules of either side, at different times.
func (e *exporter) share(from, to []string) bool {
	return slices.ContainsFunc(e.legs, func(a leg) bool {
		return slices.Contains(from, a.rule) && slices.ContainsFunc(e.legs, func(b leg) bool { return b.network == a.network && slices.Contains(to, b.rule) })
	})
}

// regroup puts the legs of rules into one leg group.
func (e *exporter) regroup(rules []string) {
	for _, row := range e.table("fare_leg_rules").Rows {
		if slices.Contains(rules, row[0]) {
			row[0] = "ride"
		}
	}
}

// fee gives the product that is what a transfer takes off legs of rules, "" for all
// of them: the same must be taken off every leg of a rider.
func (e *exporter) fee(x *fare.Transfer, rules []string) (product, why string) {
	if x.Permille == 1000 {
		return "", ""
	}
	t := e.tariff
	if t.Rounding.Step > 1 || slices.ContainsFunc(t.Discounts, func(d fare.Discount) bool { return d.Permille%1000 != 0 }) ||
		slices.ContainsFunc(t.Rules, func(r fare.Rule) bool { return r.Distance != nil }) {
		return "", "prices are rounded after the transfer"
	}
	off := map[paid]int64{}
	for _, l := range e.legs {
		if !slices.Contains(rules, l.rule) {
			continue
		}
		for who, minor := range l.amounts {
			by := x.Amounts[who.category]
			if x.Permille > 0 {
				if by = minor * x.Permille / 1000; by*1000 != minor*x.Permille {
					return "", "a share of a price is no whole amount"
				}
			}
			if before, known := off[who]; by > minor || known && before != -by {
				return "", fmt.Sprintf("it does not take the same off every ride of the category %s", who.category)
			}
			off[who] = -by
		}
	}
	if len(off) == 0 {
		return "", "no leg of the feed has it"
	}
	return e.product(off), ""
}
