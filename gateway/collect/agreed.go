package collect

import (
	"context"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// checkAgreements takes out of a batch what riders' agreements stop: what is declined for
// good, and what waits. Neither was sent. A charge that may have been sent before goes on
// as it was, whatever is known of its agreement now.
func (r *run) checkAgreements(ctx context.Context, contract Contract, provider *adapters.Provider, batch []charge) (ready []charge, held []outcome, err error) {
	if r.Agreed == nil || len(batch) == 0 || !provider.ByAgreement() {
		return batch, nil, nil
	}
	var rests []Resting
	var at []int
	for i := range batch {
		if batch[i].State == adapters.Created {
			rests, at = append(rests, Resting{batch[i].PayerRef, batch[i].money(), batch[i].CreatedAt, batch[i].Kind == kindPurchase}), append(at, i)
		}
	}
	if len(rests) == 0 {
		return batch, nil, nil
	}
	asking, done := context.WithTimeout(ctx, agreementsWithin)
	defer done()
	holds, err := r.Agreed(asking, r.tenant, contract, provider, rests)
	if err != nil {
		return nil, nil, err
	}
	stopped := map[int]Hold{}
	for i, h := range holds {
		if h.Reason != "" {
			stopped[at[i]] = h
		}
	}
	for i := range batch {
		h, stops := stopped[i]
		if !stops {
			ready = append(ready, batch[i])
			continue
		}
		o := outcome{batch[i].OurID, adapters.NotSent, driver.Result{OurID: batch[i].OurID, ReasonCode: h.Reason, RetryAt: h.RetryAt}}
		if h.RetryAt.IsZero() {
			o.event, o.result.Outcome = adapters.Submitted, driver.Declined
		}
		held = append(held, o)
	}
	return ready, held, nil
}
