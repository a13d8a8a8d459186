package collect

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A riderDay is one payer on one business date of an operator.
type riderDay struct {
	account citygate.UUID
	date    citygate.Date
}

func (d riderDay) compare(o riderDay) int {
	return cmp.Or(bytes.Compare(d.account[:], o.account[:]), d.date.Compare(o.date))
}

// holdDays holds claims of an operator of another tree to the highest sum of a
// rider's day that the terms name: what does not fit in is refused, or taken at the
// operator's risk, as they say. Claims come in the order of riders and times, and
// the sums are locked until the transaction ends.
func holdDays(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, currency citygate.Currency, claims []*claim) error {
	var days []riderDay
	for _, cl := range claims {
		if cl.capped() {
			days = append(days, cl.day())
		}
	}
	if len(days) == 0 {
		return nil
	}
	sums, err := sumsOfDays(ctx, tx, operator, currency, days)
	if err != nil {
		return err
	}
	for _, cl := range claims {
		if !cl.capped() {
			continue
		}
		sum := sums[cl.day()] + cl.Amount
		if cl.hadDate == cl.BusinessDate {
			sum -= cl.had
		}
		over := max(0, min(sum-cl.stay.DayCapMinor, cl.Amount))
		switch {
		case over > 0 && cl.Amount > cl.had && cl.stay.Beyond == BeyondRefused:
			cl.refuseAll(code.OverLimit)
			continue
		case cl.stay.Beyond == BeyondAtRisk:
			cl.beyond = over
		}
		sums[cl.day()] = sum
	}
	return nil
}

// capped reports whether a claim that may be accepted has a highest sum of the day.
func (c *claim) capped() bool {
	return !c.settled() && len(c.refused) == 0 && c.stay != nil && c.stay.DayCapMinor > 0
}

func (c *claim) day() riderDay { return riderDay{c.account.ID, c.BusinessDate} }

// sumsOfDays gives what was accepted of an operator's fares on riders' days, and
// locks it.
func sumsOfDays(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, currency citygate.Currency, days []riderDay) (map[riderDay]int64, error) {
	slices.SortFunc(days, riderDay.compare)
	days = slices.Compact(days)
	accounts, dates := make([]citygate.UUID, len(days)), make([]citygate.Date, len(days))
	for i, d := range days {
		accounts[i], dates[i] = d.account, d.date
	}
	// A day without a row gets one: two messages about it must not both find none.
	rows, err := tx.Query(ctx, `
		INSERT INTO roaming_days AS d (tenant_id, operator_id, account_id, business_date, currency, amount)
		SELECT $1, $2, account, date, $3, 0 FROM unnest($4::uuid[], $5::date[]) AS u (account, date)
		ON CONFLICT (tenant_id, operator_id, account_id, business_date, currency) DO UPDATE SET amount = d.amount
		RETURNING account_id, business_date, amount`, tx.Tenant, operator, string(currency), accounts, dates)
	if err != nil {
		return nil, err
	}
	sums := make(map[riderDay]int64, len(days))
	var d riderDay
	var amount int64
	_, err = pgx.ForEachRow(rows, []any{&d.account, &d.date, &amount}, func() error {
		sums[d] = amount
		return nil
	})
	return sums, err
}

// countDays adds what claims changed to the sums of riders' days, and keeps how
// much of each goes beyond the terms.
func countDays(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, currency citygate.Currency, claims []*claim) error {
	changed := map[riderDay]int64{}
	var journeys []citygate.UUID
	var beyond []int64
	for _, cl := range claims {
		if cl.settled() || cl.account.ID.IsZero() {
			continue
		}
		if cl.had != 0 {
			changed[riderDay{cl.account.ID, cl.hadDate}] -= cl.had
		}
		if now := cl.had + cl.delta; now != 0 {
			changed[cl.day()] += now
		}
		if len(cl.refused) == 0 && (cl.beyond > 0 || cl.had > 0) {
			journeys, beyond = append(journeys, cl.Journey), append(beyond, cl.beyond)
		}
	}
	var days []riderDay
	for d, by := range changed {
		if by != 0 {
			days = append(days, d)
		}
	}
	slices.SortFunc(days, riderDay.compare)
	accounts, dates, amounts := make([]citygate.UUID, len(days)), make([]citygate.Date, len(days)), make([]int64, len(days))
	for i, d := range days {
		accounts[i], dates[i], amounts[i] = d.account, d.date, changed[d]
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO roaming_days AS d (tenant_id, operator_id, account_id, business_date, currency, amount)
		SELECT $1, $2, account, date, $3, amount FROM unnest($4::uuid[], $5::date[], $6::bigint[]) AS u (account, date, amount)
		ON CONFLICT (tenant_id, operator_id, account_id, business_date, currency) DO UPDATE SET amount = d.amount + excluded.amount`,
		tx.Tenant, operator, string(currency), accounts, dates, amounts); err != nil {
		return err
	}
	if len(journeys) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		UPDATE claims c SET beyond = u.beyond FROM unnest($3::uuid[], $4::bigint[]) AS u (journey, beyond)
		WHERE c.tenant_id = $1 AND c.operator_id = $2 AND c.journey_id = u.journey AND c.beyond <> u.beyond`, tx.Tenant, operator, journeys, beyond)
	return err
}
