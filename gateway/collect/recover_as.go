package collect

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// What a debt is asked for as, at a provider that knows the recovery of debts, is
// decided when the charge is first sent and kept: sent again, it is equal byte for
// byte, whatever the contract says by then.

// RecoveryExhausted is the reason of a charge that was not sent because the scheme lets
// the merchant ask for the debt on his own no more. The rider still may.
const RecoveryExhausted = "recovery_exhausted"

// way gives how a try is told to a provider, "" if as a debit like any other. What the
// provider does not know as the rider's is the merchant's.
func way(known driver.Recoveries, by risk.Source, shown []byte) driver.Recovery {
	switch {
	case by == risk.ByTap && known.ByTap && len(shown) > 0:
		return driver.RecoverByTap
	case by == risk.ByRider && known.ByRider:
		return driver.RecoverByRider
	case known.ByMerchant:
		return driver.RecoverByMerchant
	}
	return ""
}

// spent reports whether the scheme lets the merchant ask no more, who asked so often
// for a debt that was declined at an instant.
func spent(known driver.Recoveries, asked int, declined, now time.Time) bool {
	return known.Tries > 0 && asked >= known.Tries || known.Within > 0 && now.After(declined.Add(known.Within))
}

// recoverAs says of charges of debts that are about to be sent, and that no provider
// can have seen, what theirs is told.
func recoverAs(ctx context.Context, tx *pg.Tx, known driver.Recoveries, batch []charge) error {
	at := map[citygate.UUID]*charge{}
	for i := range batch {
		if c := &batch[i]; c.State == adapters.Created && (c.Kind == kindRecovery || c.Kind == kindFirstRide) {
			at[c.ID] = c
		}
	}
	if len(at) == 0 {
		return nil
	}
	declines, err := declinesOf(ctx, tx, at)
	if err != nil {
		return err
	}
	for _, c := range at {
		c.Recovery, c.Recovers = "", driver.Ref{}
		var of *citygate.UUID
		if d, ok := declines[c.ID]; ok && known.Any() && c.Amount <= d.Amount.Minor {
			of, c.Recovers = &d.id, d.Ref
			if c.Kind == kindRecovery {
				c.Recovery = way(known, c.StartedBy, c.Shown)
			}
			c.over = c.Recovery == driver.RecoverByMerchant && spent(known, d.asked, d.SubmittedAt, tx.Now)
			if c.Kind == kindRecovery && c.Recovery == "" {
				of, c.Recovers = nil, driver.Ref{}
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE charges SET recovery = $3, recovers = $4 WHERE tenant_id = $1 AND charge_id = $2`,
			tx.Tenant, c.ID, string(c.Recovery), of); err != nil {
			return err
		}
	}
	return nil
}

// A decline is a charge that was declined at the contract where its debt is asked for.
type decline struct {
	driver.Ref
	id    citygate.UUID
	asked int // recoveries of it by the merchant
}

// declinesOf gives for charges the first decline of their debt at their contract: the
// one that the provider knows as the debt. What was declined here and never sent it
// does not know, and a first ride is no debt of its own.
func declinesOf(ctx context.Context, tx *pg.Tx, of map[citygate.UUID]*charge) (map[citygate.UUID]decline, error) {
	ids := make([]citygate.UUID, 0, len(of))
	for id := range of {
		ids = append(ids, id)
	}
	rows, err := tx.Query(ctx, `
		SELECT c.charge_id, d.charge_id, d.our_id, d.provider_ref, d.mark, d.sent_at, d.amount, d.currency, (
			SELECT count(*) FROM charges m WHERE m.tenant_id = $1 AND m.aggregation_id = c.aggregation_id AND m.contract = c.contract AND m.charge_id <> c.charge_id
				AND m.recovers = d.charge_id AND m.recovery = 'merchant' AND m.state NOT IN ('created', 'moved') AND m.reason <> $3)
		FROM charges c CROSS JOIN LATERAL (
			SELECT * FROM charges WHERE tenant_id = $1 AND aggregation_id = c.aggregation_id AND contract = c.contract AND attempt < c.attempt
				AND state = 'declined' AND sent_at IS NOT NULL AND kind <> 'first_ride' AND recovery = '' AND reason NOT LIKE $4 || '%' AND reason NOT LIKE 'agreement\_%'
			ORDER BY attempt LIMIT 1) AS d
		WHERE c.tenant_id = $1 AND c.charge_id = ANY($2::uuid[])`, tx.Tenant, ids, RecoveryExhausted, EvidenceRefused)
	if err != nil {
		return nil, err
	}
	out := map[citygate.UUID]decline{}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (id citygate.UUID, err error) {
		var d decline
		err = row.Scan(&id, &d.id, &d.OurID, &d.ProviderRef, &d.Mark, &d.SubmittedAt, &d.Amount.Minor, &d.Amount.Currency, &d.asked)
		d.SubmittedAt = d.SubmittedAt.UTC()
		out[id] = d
		return id, err
	})
	return out, err
}

// loadRecoveries gives charges that were sent before what their provider was told of
// the debt.
func loadRecoveries(ctx context.Context, tx *pg.Tx, batch []charge) error {
	at := map[citygate.UUID]*charge{}
	for i := range batch {
		if batch[i].recovers() {
			at[batch[i].ID] = &batch[i]
		}
	}
	if len(at) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `
		SELECT c.charge_id, c.recovery, c.shown, coalesce(d.our_id, ''), coalesce(d.provider_ref, ''), coalesce(d.mark, ''), coalesce(d.sent_at, c.created_at),
		       coalesce(d.amount, 0), coalesce(d.currency, '')
		FROM charges c LEFT JOIN charges d ON d.tenant_id = $1 AND d.charge_id = c.recovers
		WHERE c.tenant_id = $1 AND c.charge_id = ANY($2::uuid[])`, tx.Tenant, chargeIDs(batch))
	if err != nil {
		return err
	}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (id citygate.UUID, err error) {
		var r driver.Ref
		var shown []byte
		var how driver.Recovery
		if err = row.Scan(&id, &how, &shown, &r.OurID, &r.ProviderRef, &r.Mark, &r.SubmittedAt, &r.Amount.Minor, &r.Amount.Currency); err != nil {
			return id, err
		}
		if c := at[id]; c != nil {
			c.Recovery, c.Shown = how, shown
			if r.OurID != "" {
				r.SubmittedAt = r.SubmittedAt.UTC()
				c.Recovers = r
			}
		}
		return id, nil
	})
	return err
}

// exhausted sets aside what the scheme lets nobody ask for: it is declined here, and the
// provider never hears of it.
func exhausted(batch []charge) (ready []charge, over []outcome) {
	for i := range batch {
		if c := &batch[i]; c.over {
			over = append(over, outcome{c.OurID, adapters.Submitted, driver.Result{OurID: c.OurID, Outcome: driver.Declined, ReasonCode: RecoveryExhausted}})
			continue
		}
		ready = append(ready, batch[i])
	}
	return ready, over
}

// askStandings has the provider asked after the payers of those of the recoveries, once
// each: before it is asked for their debts, and of who has paid again, who may have been
// denied for what was said before.
func (r *run) askStandings(ctx context.Context, contract Contract, provider *adapters.Provider, batch []charge, of func(i int) bool) {
	var payers []string
	for i := range batch {
		if c := &batch[i]; c.Kind == kindRecovery && of(i) {
			payers = append(payers, c.PayerRef)
		}
	}
	if r.Standings != nil && len(payers) > 0 {
		slices.Sort(payers)
		asking, done := context.WithTimeout(ctx, standingsWithin)
		defer done()
		r.Standings(asking, r.tenant, contract, provider, slices.Compact(payers))
	}
}
