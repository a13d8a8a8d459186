package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
)

// Agreements is what the edge calls for riders' agreements with providers.
type Agreements struct {
	Open func(ctx context.Context, actor string, tenant citygate.TenantID, o OpenAgreement) (Invited, error)
	// List gives agreements; contract and state may be "", account zero.
	List func(ctx context.Context, tenant citygate.TenantID, contract, state string, account citygate.UUID, page Page) ([]Agreement, error)
	Show func(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (Agreement, error)
	Ask  func(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) (Agreement, error)
	End  func(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) (Agreement, error)
}

// OpenAgreement asks a rider to agree.
type OpenAgreement struct {
	Contract  string         `json:"contract" minLength:"1" maxLength:"40" doc:"provider contract that collects on agreements"`
	Name      string         `json:"name" pattern:"^[A-Za-z0-9_]{1,32}$" doc:"the tenant's own name of the agreement, for ever; the same again invites to the same one"`
	Account   string         `json:"account,omitempty" doc:"that is collected by it once the rider has agreed, as a further contract for routing; none: credentials are issued to the number it gets"`
	Purpose   string         `json:"purpose,omitempty" maxLength:"200" doc:"shown to the rider, where the product shows one"`
	SingleMax citygate.Money `json:"single_max,omitzero" doc:"most that one debit may be, where the product lets the tenant say so"`
	ReturnURL string         `json:"return_url,omitempty" maxLength:"500" doc:"where the rider's phone goes afterwards"`

	AccountID citygate.UUID `json:"-"`
}

// An Agreement is what is known of one.
type Agreement struct {
	ID         string          `json:"id" example:"agr_0195e2…"`
	Contract   string          `json:"contract"`
	Name       string          `json:"name,omitempty" doc:"the tenant's own; absent: it came to be otherwise"`
	ProviderID string          `json:"provider_id,omitempty" doc:"the provider's number, which debits name"`
	RiderRef   string          `json:"rider_ref,omitempty" doc:"the provider's name for the rider"`
	Account    string          `json:"account,omitempty"`
	Linked     bool            `json:"linked,omitempty" doc:"the account is collected by it"`
	State      string          `json:"state" enum:"unknown,pending,active,ended" doc:"unknown: the provider knows nothing of it, as the rider has not confirmed; pending: nothing can be debited on it now; ended: for good"`
	Ending     bool            `json:"ending,omitempty" doc:"its end was asked for and is not confirmed; it is asked for again until it is. One that its rider never confirmed stays so for 30 days after he was invited last, in which he still can"`
	ValidFrom  *time.Time      `json:"valid_from,omitempty"`
	ValidTo    *time.Time      `json:"valid_to,omitempty"`
	SingleMax  *citygate.Money `json:"single_max,omitempty" doc:"most that one debit may be"`
	Reason     string          `json:"reason,omitempty" doc:"the provider's own word for its state"`
	Error      string          `json:"error,omitempty" doc:"what went wrong the last time"`
	OpenedAt   time.Time       `json:"opened_at"`
	ChangedAt  time.Time       `json:"changed_at"`
	AskedAt    *time.Time      `json:"asked_at,omitempty" doc:"when the provider last answered about it"`
	NextAskAt  *time.Time      `json:"next_ask_at,omitempty" doc:"when it is asked next by schedule; a charge asks when it needs to"`
	EndedAt    *time.Time      `json:"ended_at,omitempty"`
}

// An Invited is an agreement with what its rider opens to confirm it.
type Invited struct {
	Agreement
	URL string `json:"url" doc:"for the rider's phone: an address, or a wallet SDK's signed parameters"`
}

// InAgreement is an agreement in a path.
type InAgreement struct {
	InTenant
	Agreement string `path:"agreement" example:"agr_0195e2…"`
}

func (r InAgreement) agreement() (citygate.UUID, error) {
	id, err := citygate.ParseUUID("agr_", r.Agreement)
	if err != nil {
		return id, errNotFound.Because(err, "agreement")
	}
	return id, nil
}

// accountIn reads an account that a request may name, zero for "".
func accountIn(text string) (id citygate.UUID, err error) {
	if text == "" {
		return id, nil
	}
	if id, err = citygate.ParseUUID("acc_", text); err != nil {
		return id, errNotFound.Because(err, "account")
	}
	return id, nil
}

func (e *Edge) agreementRoutes() {
	register(e, post("open-agreement", "/v1/tenants/{tenant}/agreements", "Invite a rider to be debited under a contract without being there", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body OpenAgreement
		}) (_ *body[Invited], err error) {
			if r.Body.AccountID, err = accountIn(r.Body.Account); err != nil {
				return nil, err
			}
			return respond(e.Agreements.Open(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, get("list-agreements", "/v1/tenants/{tenant}/agreements", "Riders' agreements, as they were opened", "riders"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Contract string `query:"contract" maxLength:"40"`
			State    string `query:"state" enum:"unknown,pending,active,ended" doc:"absent: any"`
			Account  string `query:"account" maxLength:"40"`
		}) (*body[list[Agreement]], error) {
			page, err := r.page("agr_")
			if err != nil {
				return nil, err
			}
			account, err := accountIn(r.Account)
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(a Agreement) string { return a.ID })(e.Agreements.List(ctx, r.id(), r.Contract, r.State, account, page))
		})
	register(e, get("get-agreement", "/v1/tenants/{tenant}/agreements/{agreement}", "One agreement, as far as it is known", "riders"),
		func(ctx context.Context, _ Caller, r *InAgreement) (*body[Agreement], error) {
			id, err := r.agreement()
			if err != nil {
				return nil, err
			}
			return respond(e.Agreements.Show(ctx, r.id(), id))
		})
	register(e, post("ask-agreement", "/v1/tenants/{tenant}/agreements/{agreement}/ask", "Ask the provider how an agreement stands", "riders"),
		func(ctx context.Context, who Caller, r *InAgreement) (*body[Agreement], error) {
			id, err := r.agreement()
			if err != nil {
				return nil, err
			}
			return respond(e.Agreements.Ask(ctx, who.Subject, r.id(), id))
		})
	register(e, post("end-agreement", "/v1/tenants/{tenant}/agreements/{agreement}/end", "End an agreement at the provider; where nobody can say, it is asked for again until it is so", "riders"),
		func(ctx context.Context, who Caller, r *InAgreement) (*body[Agreement], error) {
			id, err := r.agreement()
			if err != nil {
				return nil, err
			}
			return respond(e.Agreements.End(ctx, who.Subject, r.id(), id))
		})
}
