package collect

import (
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// What is asked before charges of one batch are sent. Each question has a share of the
// time in which the batch is this run's (leaseMargin, beside the call's own deadline): what
// is not answered by the end of it is sent as if it had not been asked, but for a quote,
// without which nothing is sent.
const (
	agreementsWithin = 12 * time.Second
	evidenceWithin   = 12 * time.Second
	standingsWithin  = 8 * time.Second
	quotesWithin     = 12 * time.Second

	asksWithin = agreementsWithin + evidenceWithin + standingsWithin + quotesWithin
)

// ask puts the questions that come before a batch is sent, and gives what is to be sent
// and what became of the rest. unquoted says that the provider did not say its rates.
//
// Nothing holds an adapter to its deadline. A run that asked for longer than the batch is
// its own may have been taken for dead: then others send these charges, or know already
// what became of them. So what was asked about is sent, or declined, only if the batch is
// still as this run left it, and by a lease that begins anew.
func (r *run) ask(ctx context.Context, contract Contract, provider *adapters.Provider, about driver.Description, batch []charge, lease time.Time) (ready []charge, rest []outcome, unquoted bool, err error) {
	if !r.asks(contract, provider, batch) {
		return batch, nil, false, nil
	}
	ready, held, err := r.checkAgreements(ctx, contract, provider, batch)
	if err != nil {
		return nil, nil, false, err
	}
	ready, forged := r.checkEvidence(ctx, contract, provider, ready)
	r.askStandings(ctx, contract, provider, ready, func(i int) bool { return ready[i].State == adapters.Created })
	ready, without, err := r.quoteCharges(ctx, provider, ready, about.Deadline)
	if err != nil {
		return nil, nil, false, err
	}
	var ours map[string]bool
	err = r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) (err error) {
		ours, err = renewLease(ctx, tx, chargeIDs(batch), lease, tx.Now.Add(about.Deadline+leaseMargin))
		return err
	})
	if err != nil {
		return nil, nil, false, err
	}
	ready = slices.DeleteFunc(ready, func(c charge) bool { return !ours[c.OurID] })
	rest = slices.DeleteFunc(slices.Concat(held, forged, without), func(o outcome) bool { return !ours[o.id] })
	return ready, rest, len(without) > 0, nil
}

// asks reports whether anything is asked before a batch is sent. Most batches need
// nothing, and cost no statement more.
func (r *run) asks(contract Contract, provider *adapters.Provider, batch []charge) bool {
	_, quotes := provider.Quoter()
	recovers := r.Standings != nil && slices.ContainsFunc(batch, func(c charge) bool { return c.Kind == kindRecovery })
	return len(batch) > 0 && (quotes || recovers || r.Agreed != nil && provider.ByAgreement() || wantsEvidence(contract, provider))
}

// renewLease gives a run that has charges marked as being sent, until was, more time, and
// gives those that are still so by our id: nobody has asked after the others.
func renewLease(ctx context.Context, tx *pg.Tx, ids []citygate.UUID, was, until time.Time) (ours map[string]bool, err error) {
	rows, err := tx.Query(ctx, `
		UPDATE charges SET next_try_at = $4 WHERE tenant_id = $1 AND charge_id = ANY ($2::uuid[]) AND state IN ('sent', 'unknown') AND next_do = 'query' AND next_try_at = $3
		RETURNING our_id`, tx.Tenant, ids, was, until)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ours = map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ours[id] = true
	}
	return ours, rows.Err()
}
