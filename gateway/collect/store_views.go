package collect

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A ChargeView is a charge as people look at it.
type ChargeView struct {
	ID          citygate.UUID
	Kind        string // charge, recovery, purchase
	State       string // moved: never sent, the next attempt goes to another contract
	Amount      citygate.Money
	Fee         int64
	Contract    string
	OurID       string
	ProviderRef string
	Reason      string // the provider's own code
	EverUnknown bool
	CreatedAt   time.Time
	Attempt     int
	StartedBy   string        // schedule, tap, rider, person, first_ride
	Recovery    string        // merchant, rider, tap: as the provider was told; "" = as a debit like any other
	Recovers    citygate.UUID // the declined charge that the provider was asked for again; zero = none
	Route       Route
}

// A Route is why a charge goes to its contract.
type Route struct {
	Version uint64 // of the rule set; 0 = none holds at the time of the rides
	Rule    string // "" = none matched: it is the payer's own contract
	Finding string // why rules that matched were not followed to the letter
}

// Charges lists the tenant's charges by id, after one of them, at most limit.
func Charges(ctx context.Context, tx *pg.Tx, after citygate.UUID, limit int) ([]ChargeView, error) {
	rows, err := tx.Query(ctx, `
		SELECT charge_id, kind, state, amount, currency, fee, contract, our_id, provider_ref, reason, ever_unknown, created_at,
		       attempt, started_by, recovery, coalesce(recovers, '00000000-0000-0000-0000-000000000000'), route_version, route_rule, route_finding
		FROM charges WHERE tenant_id = $1 AND charge_id > $2 ORDER BY charge_id LIMIT $3`, tx.Tenant, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (v ChargeView, err error) {
		err = row.Scan(&v.ID, &v.Kind, &v.State, &v.Amount.Minor, &v.Amount.Currency, &v.Fee, &v.Contract, &v.OurID, &v.ProviderRef,
			&v.Reason, &v.EverUnknown, &v.CreatedAt, &v.Attempt, &v.StartedBy, &v.Recovery, &v.Recovers, &v.Route.Version, &v.Route.Rule, &v.Route.Finding)
		v.CreatedAt = v.CreatedAt.UTC()
		return v, err
	})
}

// ErrFilter says that nothing can be in such a list.
var ErrFilter = &citygate.Code{Name: "collect.filter", Kind: citygate.Invalid, Title: "There is no such state. Ask for one that the document names."}

// inState gives the condition on a state, "" for any. The state is written out: a
// partial index serves the list only if the planner sees which one it is.
func inState(column, state string, among ...string) (string, error) {
	switch {
	case state == "":
		return "", nil
	case !slices.Contains(among, state):
		return "", ErrFilter.Explain("state %q", state)
	}
	return " AND " + column + " = '" + state + "'", nil
}

// A DebtView is a debt as people look at it: what a rider owes after a declined
// charge.
type DebtView struct {
	ID           citygate.UUID // of what was to be collected
	Account      citygate.UUID
	Opened       citygate.Money // what was declined
	Left         citygate.Money // what is still owed of it
	BusinessDate citygate.Date
	State        string // open, recovered, corrected, written_off
	Tries        int
	RetryAt      time.Time // zero: not by itself any more
	RetryBy      string    // who asked for that try: schedule, tap, rider, person, first_ride
	Insured      bool      // the scheme paid it as an insured first ride
	OpenedAt     time.Time
	ClosedAt     time.Time     // zero while it is open
	RepaidAt     time.Time     // paid after it was written off; zero: not
	Reversal     citygate.UUID // that opened it; zero: a charge was declined
	Sale         citygate.UUID // of which the rider used what he owes; zero: he owes fares
	Product      string        // its name for the rider
	Blocks       bool          // its rider is denied while it is open
}

// Debts lists debts in one state, or in any for "", of one account, or of all for
// the zero id, after one of them, at most limit.
func Debts(ctx context.Context, tx *pg.Tx, state string, account, after citygate.UUID, limit int) ([]DebtView, error) {
	where, err := inState("state", state, debtOpen, debtRecovered, debtCorrected, debtWrittenOff)
	if err != nil {
		return nil, err
	}
	args := []any{tx.Tenant, after, limit}
	if !account.IsZero() {
		where += " AND account_id = $4"
		args = append(args, account)
	}
	rows, err := tx.Query(ctx, `
		SELECT aggregation_id, account_id, opened_amount, amount, currency, business_date, state, tries, retry_at, retry_by, insured, opened_at, closed_at, repaid_at, reversal_id, blocks, sale_id,
		       coalesce((SELECT c.subject FROM taken_sales t JOIN charges c ON c.tenant_id = $1 AND c.charge_id = t.charge_id WHERE t.tenant_id = $1 AND t.sale_id = d.sale_id), '')
		FROM debts d
		WHERE tenant_id = $1 AND aggregation_id > $2`+where+` ORDER BY aggregation_id LIMIT $3`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d DebtView, err error) {
		var retry, closed, repaid *time.Time
		var reversal, sale *citygate.UUID
		err = row.Scan(&d.ID, &d.Account, &d.Opened.Minor, &d.Left.Minor, &d.Left.Currency, &d.BusinessDate, &d.State, &d.Tries, &retry, &d.RetryBy, &d.Insured, &d.OpenedAt, &closed, &repaid,
			&reversal, &d.Blocks, &sale, &d.Product)
		if sale != nil {
			d.Sale = *sale
		}
		d.Opened.Currency, d.OpenedAt = d.Left.Currency, d.OpenedAt.UTC()
		if reversal != nil {
			d.Reversal = *reversal
		}
		if retry != nil {
			d.RetryAt = retry.UTC()
		}
		if closed != nil {
			d.ClosedAt = closed.UTC()
		}
		if repaid != nil {
			d.RepaidAt = repaid.UTC()
		}
		return d, err
	})
}
