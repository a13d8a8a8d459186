package collect

import (
	"time"

	"github.com/cashlesscity/citygate"
)

// A held is one journey's part of what a payment, or a debt, still holds.
type held struct {
	operator citygate.TenantID
	journey  citygate.UUID
	n        int // the decision its evidence goes by
	amount   int64
	at       time.Time
	date     citygate.Date
}

// divide divides an amount by what each holds, at most all of it.
func divide(all []held, amount int64) ([]held, error) {
	var total int64
	weights, keys := make([]int64, len(all)), make([]string, len(all))
	for i, h := range all {
		weights[i], keys[i] = h.amount, h.journey.String()+"/"+h.operator.String()
		total += h.amount
	}
	if total == 0 {
		return nil, nil
	}
	amounts, err := citygate.Split(min(amount, total), weights, keys)
	if err != nil {
		return nil, err
	}
	var parts []held
	for i, h := range all {
		if h.amount = amounts[i]; h.amount > 0 {
			parts = append(parts, h)
		}
	}
	return parts, nil
}
