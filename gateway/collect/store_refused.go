package collect

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrNotRefused says that there is nothing to try again.
var (
	ErrNotRefused = &citygate.Code{Name: "collect.refund_not_refused", Kind: citygate.Conflict, Title: "The provider did not decline this refund. Look at its state; only a declined one is tried again."}
	ErrTakenBack  = &citygate.Code{Name: "collect.taken_back", Kind: citygate.Conflict, Title: "The provider took the payment back meanwhile, so the customer has that money. Refund what is left of it, if anything is."}
)

// A RefundView is a refund as people look at it: a correction below what was
// collected. One that is declined is money that a rider is owed and the provider
// declined to give back: somebody has to find out why. None of them is forgotten:
// it stands on the rider's account, and the operator is not paid what it corrects.
type RefundView struct {
	ID           citygate.UUID
	Charge       citygate.UUID
	OurID        string
	ChargeOurID  string
	Contract     string
	Account      citygate.UUID
	Amount       citygate.Money
	BusinessDate citygate.Date
	State        string
	Reason       string // the provider's own code
	Attempt      int
	CreatedAt    time.Time
	FinalAt      time.Time // zero while it is open
}

// Refunds lists refunds in one state, or in any for "", by id, which grows with
// the time they were asked for, after one of them, at most limit.
func Refunds(ctx context.Context, tx *pg.Tx, state string, after citygate.UUID, limit int) ([]RefundView, error) {
	where, err := inState("r.state", state, "waiting", "created", "sent", "unknown", "succeeded", "declined", refundVoid, refundReplaced)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `
		SELECT r.refund_id, r.charge_id, r.our_id, c.our_id, r.contract, r.account_id, r.amount, r.currency, r.business_date, r.state, r.reason, r.attempt,
		       r.created_at, r.final_at
		FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id
		WHERE r.tenant_id = $1 AND r.refund_id > $2`+where+` ORDER BY r.refund_id LIMIT $3`, tx.Tenant, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r RefundView, err error) {
		var final *time.Time
		err = row.Scan(&r.ID, &r.Charge, &r.OurID, &r.ChargeOurID, &r.Contract, &r.Account, &r.Amount.Minor, &r.Amount.Currency, &r.BusinessDate,
			&r.State, &r.Reason, &r.Attempt, &r.CreatedAt, &final)
		if r.CreatedAt = r.CreatedAt.UTC(); final != nil {
			r.FinalAt = final.UTC()
		}
		return r, err
	})
}

// RetryRefund asks again for a refund that the provider declined, under an id
// the provider has not seen, and gives the id of the refund that stands for it
// from now on.
func RetryRefund(ctx context.Context, tx *pg.Tx, actor string, id citygate.UUID) (citygate.UUID, error) {
	var state, charge string
	var ordinal, attempt, n int
	var amount int64
	var of citygate.UUID
	err := tx.QueryRow(ctx, `
		SELECT r.state, r.ordinal, r.attempt, c.our_id, r.n, r.amount, r.charge_id FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id
		WHERE r.tenant_id = $1 AND r.refund_id = $2 FOR UPDATE OF r`, tx.Tenant, id).Scan(&state, &ordinal, &attempt, &charge, &n, &amount, (*[16]byte)(&of))
	if pg.IsNoRows(err) {
		return citygate.UUID{}, ErrNotRefused.Because(nil, "no refund %s", id)
	}
	if err != nil {
		return citygate.UUID{}, err
	}
	if state != string(adapters.Declined) {
		return citygate.UUID{}, ErrNotRefused.Explain("refund %s is %s", id, state)
	}
	if n < noDecision {
		if err := tillHolds(ctx, tx, of, amount); err != nil {
			return citygate.UUID{}, err
		}
	}
	our := ourID(tx.Tenant, "refund", charge, strconv.Itoa(ordinal), strconv.Itoa(attempt+1))
	again := ledger.DeriveID(tx.Now, "refund", tx.Tenant.String(), our)
	if _, err := tx.Exec(ctx, `UPDATE refunds SET state = $3 WHERE tenant_id = $1 AND refund_id = $2`, tx.Tenant, id, refundReplaced); err != nil {
		return citygate.UUID{}, err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO refunds (tenant_id, refund_id, charge_id, ordinal, attempt, our_id, contract, account_id, operator_id, journey_id, n, amount, currency,
		                     business_date, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, created_at)
		SELECT $1, $3, charge_id, ordinal, attempt + 1, $4, contract, account_id, operator_id, journey_id, n, amount, currency,
		       business_date, 'created', false, 0, '', '', $5, $6, $6
		FROM refunds WHERE tenant_id = $1 AND refund_id = $2`, tx.Tenant, id, again, our, string(adapters.Submit), tx.Now); err != nil {
		return citygate.UUID{}, err
	}
	return again, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "refund.retry", Object: our, After: map[string]any{"attempt": attempt + 1}})
}
