package collect

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Rerouted is a charge as it was routed, and as a draft would have.
type Rerouted struct {
	Charge  citygate.UUID
	Amount  citygate.Money
	From    string // the contract that collected it
	To      string // the contract that the draft names
	Rule    string // of the draft, "" = none matched: the payer's own
	Finding string // why a rule of the draft was not followed to the letter
}

// chargesWithin is how long after its business date a charge may have been made.
const chargesWithin = 40 * 24 * time.Hour

const selectReroute = `
	SELECT c.charge_id, c.account_id, a.contract, c.contract, c.kind, c.attempt, c.amount, c.currency, c.created_at
	FROM charges c JOIN aggregations a ON a.tenant_id = $1 AND a.aggregation_id = c.aggregation_id
	WHERE c.tenant_id = $1 AND c.charge_id > $2 AND c.charge_id < $3 AND c.business_date = $4 AND c.kind IN ('charge', 'recovery') AND c.state <> 'moved'
	ORDER BY c.charge_id LIMIT $5`

// Reroute asks a draft's routing about the charges of a business date behind one,
// at most limit of them, by id, and changes nothing. A charge is asked about as of
// when it was made, with every active contract answering: which of them did not
// at that moment is not known any more. Who had agreed to which contract is taken
// as it is now.
func Reroute(ctx context.Context, tx *pg.Tx, draft *ruleset.Set, day citygate.Date, after citygate.UUID, limit int) ([]Rerouted, error) {
	if first := idFrom(day.Time().Add(-24 * time.Hour)); after.String() < first.String() {
		after = first
	}
	rows, err := tx.Query(ctx, selectReroute, tx.Tenant, after, idFrom(day.Time().Add(chargesWithin)), day, limit)
	if err != nil {
		return nil, fmt.Errorf("charges of %s: %w", day, err)
	}
	type made struct {
		Rerouted
		payment
		at time.Time
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m made, err error) {
		err = row.Scan(&m.Charge, &m.account, &m.own, &m.From, &m.kind, &m.attempt, &m.Amount.Minor, &m.Amount.Currency, &m.at)
		return m, err
	})
	if err != nil {
		return nil, err
	}
	accounts := make([]citygate.UUID, len(all))
	for i := range all {
		accounts[i] = all[i].account
	}
	r := &router{contracts: map[string]Contract{}, up: map[string]bool{}}
	if r.payers, err = payersOf(ctx, tx, accounts); err != nil {
		return nil, err
	}
	contracts, err := Contracts(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, c := range contracts {
		r.contracts[c.Name], r.up[c.Name] = c, c.State == contractActive
	}
	out := make([]Rerouted, len(all))
	for i := range all {
		m := &all[i]
		chosen, err := draft.Route(&ruleset.Payment{
			At: m.at.UTC(), Wallet: r.contracts[m.own].Adapter, Contract: m.own, Kind: m.kind, Attempt: m.attempt, Amount: m.Amount, Up: r.up,
		}, func(name string) bool {
			why := r.mayNot(&m.payment, name)
			if why != "" {
				m.Finding = why
			}
			return why == ""
		})
		if err != nil {
			m.Finding = "a condition failed: " + err.Error()
		}
		m.To, m.Rule = chosen.Contract, chosen.Rule
		out[i] = m.Rerouted
	}
	return out, nil
}

// idFrom gives the lowest id that can be made at a time: ids begin with theirs.
func idFrom(at time.Time) (id citygate.UUID) {
	binary.BigEndian.PutUint64(id[:8], uint64(max(0, at.UnixMilli()))<<16)
	return id
}
