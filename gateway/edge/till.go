package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
)

// Till is what the edge calls for payments on payment codes.
type Till struct {
	List   func(ctx context.Context, tenant citygate.TenantID, state, order string, page Page) ([]TillPayment, error)
	Find   func(ctx context.Context, tenant citygate.TenantID, payment citygate.UUID) (TillPayment, error)
	Pay    func(ctx context.Context, actor string, tenant citygate.TenantID, p PayAtTill) (TillPayment, error)
	Cancel func(ctx context.Context, actor string, tenant citygate.TenantID, payment citygate.UUID, reason string) (TillPayment, error)
	// AloneMay reports whether one person alone may give so much back, with what goes back
	// of the payment already. Refund holds alone against the rule once more.
	AloneMay func(ctx context.Context, tenant citygate.TenantID, payment citygate.UUID, r RefundTillPayment) (bool, error)
	Refund   func(ctx context.Context, actor string, tenant citygate.TenantID, payment citygate.UUID, r RefundTillPayment, alone bool) (TillPayment, error)
}

// PayAtTill asks for a payment on the code that a customer's wallet shows.
type PayAtTill struct {
	Order       string         `json:"order" minLength:"1" maxLength:"64" doc:"your own name for it, once per tenant: asked for again under it, nothing is charged twice, whatever code comes with it"`
	Amount      citygate.Money `json:"amount"`
	Subject     string         `json:"subject" minLength:"1" maxLength:"120" doc:"what the customer reads in his wallet"`
	PaymentCode string         `json:"payment_code" minLength:"1" maxLength:"128" doc:"as read from the wallet; kept nowhere, not even as a hash"`
	Contract    string         `json:"contract,omitempty" maxLength:"64" doc:"of the provider; left out = told from the code's form; where several contracts take that, the tenant's routing rules choose (kind till)"`
	Till        string         `json:"till,omitempty" maxLength:"64" doc:"which counter or gate, as you call it"`
	Payee       string         `json:"payee,omitempty" maxLength:"128" doc:"who earns it; left out = the tenant's default"`
	Wait        int            `json:"wait_seconds,omitempty" minimum:"10" maximum:"300" doc:"how long the customer may take to confirm; left out = 60"`
}

// A TillPayment is a payment that a customer's wallet was asked for.
type TillPayment struct {
	ID           string         `json:"id" example:"tpy_0195e2…"`
	Order        string         `json:"order"`
	Amount       citygate.Money `json:"amount"`
	Subject      string         `json:"subject"`
	Contract     string         `json:"contract"`
	Routing      *TillRouting   `json:"routing,omitempty" doc:"why this contract; absent: the order named it, or the code's form told"`
	Till         string         `json:"till,omitempty"`
	Payee        string         `json:"payee"`
	State        string         `json:"state" enum:"asked,paying,paid,declined,reversing,closed,refunded" doc:"asked: the provider's outcome is not known; paying: the customer confirms it; reversing: it is taken back and will not be paid any more; paid, declined, closed and refunded are certain"`
	Reason       string         `json:"reason,omitempty" doc:"the provider's own code"`
	ReversingFor string         `json:"reversing_for,omitempty" enum:"timeout,cancelled"`
	OurID        string         `json:"our_id" doc:"what the provider knows it by"`
	AskedBy      string         `json:"asked_by"`
	AskedAt      time.Time      `json:"asked_at"`
	WaitUntil    time.Time      `json:"wait_until" doc:"then it is taken back if nobody confirmed it"`
	PaidAt       *time.Time     `json:"paid_at,omitempty" doc:"also of one whose money went back"`
	EndedAt      *time.Time     `json:"ended_at,omitempty" doc:"of a declined or closed one"`
	ClearedAt    *time.Time     `json:"cleared_at,omitempty" doc:"when its bill had it; the next window pays it out"`
	Refunded     citygate.Money `json:"refunded" doc:"what goes back, or went back"`
	Returned     citygate.Money `json:"returned" doc:"of it what certainly did"`
	Taken        citygate.Money `json:"taken" doc:"what its provider took back and has not returned: a chargeback; the tenant's reversals say more"`
	TakenBearer  string         `json:"taken_bearer,omitempty" enum:"payee,tenant" doc:"who bears that, by the tenant's risk terms when it was first taken"`
	Refunds      []TillRefund   `json:"refunds,omitempty" doc:"left out of lists"`
}

// A TillRouting says by which rule a contract was chosen among several that take a code.
type TillRouting struct {
	PolicyVersion uint64 `json:"policy_version" doc:"of the tenant's rule set of then"`
	Rule          string `json:"rule"`
	Finding       string `json:"finding,omitempty" doc:"why a rule that matched was not followed to the letter, and which contract was certainly not reached before"`
}

// A TillRefund is money of a payment that goes back.
type TillRefund struct {
	Name    string         `json:"name,omitempty" doc:"left out where nobody asked for it"`
	Kind    string         `json:"kind" enum:"asked,reversal,late" doc:"reversal: it went back as the payment was taken back; late: it was paid although it was being taken back"`
	Amount  citygate.Money `json:"amount"`
	Reason  string         `json:"reason,omitempty"`
	AskedBy string         `json:"asked_by"`
	AskedAt time.Time      `json:"asked_at"`
	State   string         `json:"state" enum:"created,sent,unknown,succeeded,declined,replaced"`
	OurID   string         `json:"our_id"`

	Exchange *RefundExchange `json:"exchange,omitempty" doc:"of a payment that was made in another currency"`
}

// RefundTillPayment gives a payment back, or a part of it.
type RefundTillPayment struct {
	Name   string `json:"name" minLength:"1" maxLength:"64" doc:"your own name for it, once per payment: asked for again under it, nothing is given twice"`
	Amount int64  `json:"amount_minor,omitempty" minimum:"0" doc:"in the payment's currency; left out = all that is left"`
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

func tillPaymentNamed(text string) (citygate.UUID, error) {
	id, err := citygate.ParseUUID("tpy_", text)
	if err != nil {
		return id, errNotFound.Because(err, "till payment")
	}
	return id, nil
}

func (e *Edge) tillRoutes() {
	register(e, get("list-till-payments", "/v1/tenants/{tenant}/till-payments", "Payments that customers' wallets were asked for", "till"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"asked,paying,paid,declined,reversing,closed,refunded"`
			Order string `query:"order" maxLength:"64" doc:"the one of this name alone"`
		}) (*body[list[TillPayment]], error) {
			page, err := r.page("tpy_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(p TillPayment) string { return p.ID })(e.Till.List(ctx, r.id(), r.State, r.Order, page))
		})
	register(e, get("get-till-payment", "/v1/tenants/{tenant}/till-payments/{till_payment}", "What became of a payment", "till"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Payment string `path:"till_payment"`
		}) (*body[TillPayment], error) {
			id, err := tillPaymentNamed(r.Payment)
			if err != nil {
				return nil, err
			}
			return respond(e.Till.Find(ctx, r.id(), id))
		})
	register(e, post("pay-at-till", "/v1/tenants/{tenant}/till-payments", "Charge a customer's wallet by the code it shows", "till"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body PayAtTill
		}) (*body[TillPayment], error) {
			return respond(e.Till.Pay(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, post("cancel-till-payment", "/v1/tenants/{tenant}/till-payments/{till_payment}/cancel", "Give up a payment that is not made yet: it is taken back", "till"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Payment string `path:"till_payment"`
			Body    struct {
				Reason string `json:"reason,omitempty" maxLength:"500"`
			}
		}) (*body[TillPayment], error) {
			id, err := tillPaymentNamed(r.Payment)
			if err != nil {
				return nil, err
			}
			return respond(e.Till.Cancel(ctx, who.Subject, r.id(), id, r.Body.Reason))
		})
	register(e, post("refund-till-payment", "/v1/tenants/{tenant}/till-payments/{till_payment}/refunds", "Give a payment back, or a part of it; above the tenant's limit a second person may be needed", "till"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Payment string `path:"till_payment"`
			Body    RefundTillPayment
		}) (*body[TillPayment], error) {
			id, err := tillPaymentNamed(r.Payment)
			if err != nil {
				return nil, err
			}
			alone, err := e.Till.AloneMay(ctx, r.id(), id, r.Body)
			if err != nil {
				return nil, err
			}
			give := func(ctx context.Context) (*body[TillPayment], error) {
				began(ctx)
				return respond(e.Till.Refund(ctx, who.Subject, r.id(), id, r.Body, alone))
			}
			if alone {
				return give(ctx)
			}
			return approved(ctx, e, who, "refund-till-payment", access.PayoutRelease, give)
		})
}
