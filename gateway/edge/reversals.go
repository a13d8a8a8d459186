package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Reversal is a collected payment, or a part of one, that its provider took back.
type Reversal struct {
	ID         string         `json:"id"`
	Contract   string         `json:"contract"`
	Reference  string         `json:"reference" doc:"what the provider calls it"`
	Payment    string         `json:"payment" doc:"what the provider knows the payment by: the our_id of a charge"`
	Account    string         `json:"account,omitempty"`
	State      string         `json:"state" enum:"waiting,open,won,lost" doc:"waiting: the payment is not known to have succeeded, and nothing is booked"`
	Amount     citygate.Money `json:"amount"`
	FeeMinor   int64          `json:"fee_minor" doc:"what the provider keeps for it"`
	FeeUnsaid  bool           `json:"fee_unsaid,omitempty" doc:"nobody has said that yet: the bill's row will"`
	Owed       citygate.Money `json:"owed" doc:"what its rider owes again by it; what is neither owed nor covered was not the rider's any more and is claimed from the provider"`
	Covered    citygate.Money `json:"covered" doc:"of a product: what nobody had used of it, which ended with it and is owed by nobody"`
	Till       string         `json:"till_payment,omitempty" doc:"the payment at a till that it was; absent: it was none"`
	Borne      citygate.Money `json:"borne" doc:"of a payment at a till: what it still held, which its payee or the tenant bears; the payment says who"`
	Sale       string         `json:"sale,omitempty" doc:"the sale whose price, or whose debt, the payment was of; absent: it was of fares"`
	Returned   citygate.Money `json:"returned" doc:"what came back of it"`
	Debt       string         `json:"debt,omitempty" doc:"the debt it opened"`
	Pending    bool           `json:"pending,omitempty" doc:"an outcome waits until a payment under way has its own"`
	Reason     string         `json:"reason"`
	Source     string         `json:"source" enum:"bill,notice,person"`
	RecordedBy string         `json:"recorded_by"`
	RecordedAt time.Time      `json:"recorded_at"`
	AppliedAt  *time.Time     `json:"applied_at,omitempty"`
	ClosedAt   *time.Time     `json:"closed_at,omitempty"`
}

// RecordReversal says what was taken back.
type RecordReversal struct {
	Contract  string         `json:"contract" minLength:"1"`
	Reference string         `json:"reference" minLength:"1" maxLength:"64" doc:"the provider's own, as its bill has it; the same again is the same reversal"`
	Payment   string         `json:"payment" minLength:"1" maxLength:"32" doc:"the our_id of the charge"`
	Amount    citygate.Money `json:"amount" doc:"all of the payment, or a part"`
	FeeMinor  *int64         `json:"fee_minor,omitempty" minimum:"0" doc:"what the provider keeps for it; absent: not known yet, and booked once from the bill's row"`
	Reason    string         `json:"reason" minLength:"3" maxLength:"500" doc:"such as the scheme's reason code"`
}

// ConcludeReversal says what became of a disputed reversal.
type ConcludeReversal struct {
	Reference   string `json:"reference" minLength:"1" maxLength:"64" doc:"the provider's own for the outcome; the same again is the same outcome"`
	Outcome     string `json:"outcome" enum:"won,lost"`
	AmountMinor int64  `json:"amount_minor,omitempty" minimum:"0" doc:"of a won one what came back, perhaps a part"`
	FeeMinor    *int64 `json:"fee_minor,omitempty" doc:"what the provider keeps for the outcome; negative: gave back of the fee; absent: not known yet"`
	Reason      string `json:"reason" minLength:"3" maxLength:"500"`
}

// Reversals are what is kept of payments that were taken back.
type Reversals struct {
	List     func(ctx context.Context, tenant citygate.TenantID, state string, page Page) ([]Reversal, error)
	Record   func(ctx context.Context, actor string, tenant citygate.TenantID, r RecordReversal) (Reversal, error)
	Conclude func(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, c ConcludeReversal) (Reversal, error)
}

// reversalRoutes are about payments that were taken back.
func (e *Edge) reversalRoutes() {
	register(e, get("list-reversals", "/v1/tenants/{tenant}/reversals", "Payments that providers took back", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"waiting,open,won,lost" doc:"absent: any"`
		}) (*body[list[Reversal]], error) {
			page, err := r.page("rvs_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(v Reversal) string { return v.ID })(e.Reversals.List(ctx, r.id(), r.State, page))
		})
	register(e, post("record-reversal", "/v1/tenants/{tenant}/reversals", "Record that a provider took a payment back: its rider owes it again", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body RecordReversal
		}) (*body[Reversal], error) {
			return respond(e.Reversals.Record(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, post("conclude-reversal", "/v1/tenants/{tenant}/reversals/{reversal}/outcome", "Record what became of a reversal that was disputed with the provider", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Reversal string `path:"reversal" example:"rvs_0195e2…"`
			Body     ConcludeReversal
		}) (*body[Reversal], error) {
			id, err := citygate.ParseUUID("rvs_", r.Reversal)
			if err != nil {
				return nil, errNotFound.Because(err, "reversal")
			}
			return respond(e.Reversals.Conclude(ctx, who.Subject, r.id(), id, r.Body))
		})
}
