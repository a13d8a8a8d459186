package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Dispute says that a party does not bear what it is told to bear of a debt.
type Dispute struct {
	ID           string     `json:"id"`
	Debt         string     `json:"debt"`
	Bearer       string     `json:"bearer" enum:"issuer,provider,platform"`
	State        string     `json:"state" enum:"open,upheld,rejected"`
	Reason       string     `json:"reason"`
	Evidence     string     `json:"evidence"`
	OpenedBy     string     `json:"opened_by"`
	OpenedAt     time.Time  `json:"opened_at"`
	BearsInstead string     `json:"bears_instead,omitempty"`
	Decision     string     `json:"decision,omitempty" doc:"why"`
	DecidedBy    string     `json:"decided_by,omitempty"`
	DecidedAt    *time.Time `json:"decided_at,omitempty"`
}

// OpenDispute disputes that a party bears a debt.
type OpenDispute struct {
	Bearer   string `json:"bearer" enum:"issuer,provider,platform" doc:"who disputes it"`
	Reason   string `json:"reason" minLength:"3" maxLength:"500"`
	Evidence string `json:"evidence" minLength:"1" maxLength:"2000" doc:"what proves it, and where it lies"`
}

// DecideDispute decides a dispute.
type DecideDispute struct {
	Outcome      string `json:"outcome" enum:"upheld,rejected"`
	BearsInstead string `json:"bears_instead,omitempty" enum:"operator,issuer" doc:"of an upheld one: who bears it then"`
	Reason       string `json:"reason" minLength:"3" maxLength:"500"`
}

// A BearerClaim is what a provider or the platform owes of what it bears.
type BearerClaim struct {
	Bearer   string         `json:"bearer" enum:"provider,platform"`
	Contract string         `json:"contract,omitempty" doc:"of a provider"`
	Claimed  citygate.Money `json:"claimed"`
	Disputed citygate.Money `json:"disputed" doc:"of it, and not to be paid until that is decided"`
	Paid     citygate.Money `json:"paid"`
	Owed     citygate.Money `json:"owed" doc:"what it may pay now; negative: what it is owed back"`
}

// A BearerStatement is what bearers owe, by bearer, contract and currency.
type BearerStatement struct {
	Claims []BearerClaim `json:"claims"`
}

// A BearerPayment is what a provider or the platform paid of what it bears.
type BearerPayment struct {
	ID         string         `json:"id"`
	Bearer     string         `json:"bearer" enum:"provider,platform"`
	Contract   string         `json:"contract,omitempty"`
	Reference  string         `json:"reference"`
	Amount     citygate.Money `json:"amount" doc:"negative: given back to it"`
	Reason     string         `json:"reason"`
	RecordedBy string         `json:"recorded_by"`
	At         time.Time      `json:"at"`
}

// RecordBearerPayment says what a bearer paid.
type RecordBearerPayment struct {
	Bearer    string         `json:"bearer" enum:"provider,platform"`
	Contract  string         `json:"contract,omitempty" doc:"of a provider"`
	Reference string         `json:"reference" minLength:"1" maxLength:"64" doc:"of the payment: the same again is the same payment"`
	Amount    citygate.Money `json:"amount" doc:"never more than is owed; negative: given back, never more than was overpaid"`
	Reason    string         `json:"reason" minLength:"3" maxLength:"500"`
}

// Bearers are those who bear what riders do not pay: their disputes and payments.
type Bearers struct {
	Disputes func(ctx context.Context, tenant citygate.TenantID, state string, page Page) ([]Dispute, error)
	Dispute  func(ctx context.Context, actor string, tenant citygate.TenantID, debt citygate.UUID, d OpenDispute) (Dispute, error)
	Decide   func(ctx context.Context, actor string, tenant citygate.TenantID, dispute citygate.UUID, d DecideDispute) (Dispute, error)
	Claims   func(ctx context.Context, tenant citygate.TenantID) ([]BearerClaim, error)
	Payments func(ctx context.Context, tenant citygate.TenantID, page Page) ([]BearerPayment, error)
	Paid     func(ctx context.Context, actor string, tenant citygate.TenantID, p RecordBearerPayment) (BearerPayment, error)
}

// bearerRoutes are about who bears what riders do not pay.
func (e *Edge) bearerRoutes() {
	register(e, get("list-disputes", "/v1/tenants/{tenant}/liability-disputes", "Disputes of who bears what riders owe", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"open,upheld,rejected" doc:"absent: any"`
		}) (*body[list[Dispute]], error) {
			page, err := r.page("dsp_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(d Dispute) string { return d.ID })(e.Bearers.Disputes(ctx, r.id(), r.State, page))
		})
	register(e, post("dispute-liability", "/v1/tenants/{tenant}/debts/{debt}/disputes", "Dispute that a party bears a debt: nothing of that is paid until it is decided", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Debt string `path:"debt" example:"dbt_0195e2…"`
			Body OpenDispute
		}) (*body[Dispute], error) {
			id, err := citygate.ParseUUID("dbt_", r.Debt)
			if err != nil {
				return nil, errNotFound.Because(err, "debt")
			}
			return respond(e.Bearers.Dispute(ctx, who.Subject, r.id(), id, r.Body))
		})
	register(e, post("decide-dispute", "/v1/tenants/{tenant}/liability-disputes/{dispute}/decision", "Decide who bears a disputed debt", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Dispute string `path:"dispute" example:"dsp_0195e2…"`
			Body    DecideDispute
		}) (*body[Dispute], error) {
			id, err := citygate.ParseUUID("dsp_", r.Dispute)
			if err != nil {
				return nil, errNotFound.Because(err, "dispute")
			}
			return respond(e.Bearers.Decide(ctx, who.Subject, r.id(), id, r.Body))
		})
	register(e, get("get-bearer-claims", "/v1/tenants/{tenant}/bearer-claims", "What providers and the platform owe of what they bear", "money"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[BearerStatement], error) {
			claims, err := e.Bearers.Claims(ctx, r.id())
			return respond(BearerStatement{Claims: append([]BearerClaim{}, claims...)}, err)
		})
	register(e, get("list-bearer-payments", "/v1/tenants/{tenant}/bearer-payments", "What providers and the platform paid of what they bear", "money"),
		func(ctx context.Context, _ Caller, r *Paged) (*body[list[BearerPayment]], error) {
			page, err := r.page("bpm_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(p BearerPayment) string { return p.ID })(e.Bearers.Payments(ctx, r.id(), page))
		})
	register(e, post("record-bearer-payment", "/v1/tenants/{tenant}/bearer-payments", "Record that a provider or the platform paid what it bears", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body RecordBearerPayment
		}) (*body[BearerPayment], error) {
			return respond(e.Bearers.Paid(ctx, who.Subject, r.id(), r.Body))
		})
}
