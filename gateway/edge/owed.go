package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Debt is what a rider owes after a declined charge, or after a payment was taken back.
type Debt struct {
	ID           string         `json:"id"`
	Account      string         `json:"account"`
	Opened       citygate.Money `json:"opened" doc:"what was declined or taken back"`
	Left         citygate.Money `json:"left" doc:"what is still owed of it"`
	BusinessDate string         `json:"business_date" format:"date"`
	State        string         `json:"state" enum:"open,recovered,corrected,written_off"`
	Tries        int            `json:"tries"`
	RetryAt      *time.Time     `json:"retry_at,omitempty" doc:"absent: not tried again by itself"`
	RetryBy      string         `json:"retry_by" enum:"schedule,tap,rider,person,first_ride" doc:"who asked for the next try or, without one, for the last"`
	Insured      bool           `json:"insured,omitempty" doc:"the scheme paid it as an insured first ride"`
	OpenedAt     time.Time      `json:"opened_at"`
	ClosedAt     *time.Time     `json:"closed_at,omitempty"`
	RepaidAt     *time.Time     `json:"repaid_at,omitempty" doc:"when the rider paid it after it was written off"`
	Reversal     string         `json:"reversal,omitempty" doc:"the reversal that opened it; absent: a charge was declined"`
	Sale         string         `json:"sale,omitempty" doc:"the sale of which the rider used what he owes; absent: he owes fares"`
	Blocks       bool           `json:"blocks" doc:"its rider is denied while it is open"`
}

// WriteOffDebt says what is given up, and why.
type WriteOffDebt struct {
	Amount citygate.Money `json:"amount" doc:"what is owed by now: another amount is refused"`
	Reason string         `json:"reason" minLength:"3" maxLength:"500" doc:"for the audit log"`
}

// A Refund is a correction below what was collected.
type Refund struct {
	ID           string         `json:"id"`
	Charge       string         `json:"charge"`
	OurID        string         `json:"our_id" doc:"what the provider knows it by"`
	ChargeOurID  string         `json:"charge_our_id"`
	Contract     string         `json:"contract"`
	Account      string         `json:"account"`
	Amount       citygate.Money `json:"amount"`
	BusinessDate string         `json:"business_date" format:"date"`
	State        string         `json:"state" enum:"waiting,created,sent,unknown,succeeded,declined,void,replaced"`
	Reason       string         `json:"reason,omitempty" doc:"the provider's own code"`
	Attempt      int            `json:"attempt"`
	At           time.Time      `json:"at"`
	FinalAt      *time.Time     `json:"final_at,omitempty"`

	Exchange *RefundExchange `json:"exchange,omitempty" doc:"of a payment that was made in another currency"`
}

// A RefundExchange says what a refund is to the payer, in his own currency.
type RefundExchange struct {
	Share      citygate.Money  `json:"share" doc:"his part of what he paid, at the payment's own rate, to the minor unit: all parts of a payment add up to what was paid"`
	Back       *citygate.Money `json:"back,omitempty" doc:"what he got; absent until that is known"`
	Pair       string          `json:"pair,omitempty" doc:"price is units of the second for one of the first"`
	Price      string          `json:"price,omitempty" doc:"by which what he got was made; decimal text, as the provider wrote it"`
	Difference *citygate.Money `json:"difference,omitempty" doc:"back less share: what the provider's rate of then, or its rounding, made more or less of it; it is between provider and payer, and in nobody's books"`
}

// Carried is what a payee has to make good: refunds exceeded its money.
type Carried struct {
	ID     string         `json:"id" doc:"for the next page"`
	Payee  string         `json:"payee"`
	Amount citygate.Money `json:"amount" doc:"taken off its next payouts"`
}

// A RetriedRefund names the refund that is asked for instead of one.
type RetriedRefund struct {
	Refund string `json:"refund" doc:"the refund that stands for it from now on"`
}

// owedRoutes are about money that somebody still owes.
func (e *Edge) owedRoutes() {
	register(e, get("list-debts", "/v1/tenants/{tenant}/debts", "What riders owe after declined charges and payments that were taken back", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State   string `query:"state" enum:"open,recovered,corrected,written_off" doc:"absent: any"`
			Account string `query:"account" doc:"of one account"`
		}) (*body[list[Debt]], error) {
			page, err := r.page("dbt_")
			if err != nil {
				return nil, err
			}
			var account citygate.UUID
			if r.Account != "" {
				if account, err = citygate.ParseUUID("acc_", r.Account); err != nil {
					return nil, errBody.Explain("account: want the id of an account, such as acc_…")
				}
			}
			return inPages(ctx, r.Paging, func(d Debt) string { return d.ID })(e.Debts(ctx, r.id(), r.State, account, page))
		})
	register(e, post("write-off-debt", "/v1/tenants/{tenant}/debts/{debt}/write-off", "Give up what a rider owes, at the cost of those who bear it; for good", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Debt string `path:"debt" example:"dbt_0195e2…"`
			Body WriteOffDebt
		}) (*body[Debt], error) {
			id, err := citygate.ParseUUID("dbt_", r.Debt)
			if err != nil {
				return nil, errNotFound.Because(err, "debt")
			}
			return respond(e.WriteOffDebt(ctx, who.Subject, r.id(), id, r.Body))
		})
	register(e, post("collect-written-off", "/v1/tenants/{tenant}/debts/{debt}/collect", "Collect a debt that was written off once more, as its rider offers to pay", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Debt string `path:"debt" example:"dbt_0195e2…"`
		}) (*body[Debt], error) {
			id, err := citygate.ParseUUID("dbt_", r.Debt)
			if err != nil {
				return nil, errNotFound.Because(err, "debt")
			}
			return respond(e.CollectWrittenOff(ctx, who.Subject, r.id(), id))
		})
	register(e, get("list-refunds", "/v1/tenants/{tenant}/refunds", "Refunds; a declined one is owed to the rider until it is tried again", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"waiting,created,sent,unknown,succeeded,declined,void,replaced" doc:"absent: any"`
		}) (*body[list[Refund]], error) {
			page, err := r.page("ref_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(f Refund) string { return f.ID })(e.Refunds(ctx, r.id(), r.State, page))
		})
	register(e, post("retry-refund", "/v1/tenants/{tenant}/refunds/{refund}/retry", "Ask again for a refund that the provider declined", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Refund string `path:"refund" example:"ref_0195e2…"`
		}) (*body[RetriedRefund], error) {
			id, err := citygate.ParseUUID("ref_", r.Refund)
			if err != nil {
				return nil, errNotFound.Because(err, "refund")
			}
			again, err := e.RetryRefund(ctx, who.Subject, r.id(), id)
			return respond(RetriedRefund{again.Text("ref_")}, err)
		})
	register(e, get("list-carried", "/v1/tenants/{tenant}/carried", "What payees have to make good out of their next payouts", "money"),
		func(ctx context.Context, _ Caller, r *Named) (*body[list[Carried]], error) {
			return inPages(ctx, r.Paging, func(c Carried) string { return c.ID })(e.Carried(ctx, r.id(), r.After, r.more()))
		})
}
