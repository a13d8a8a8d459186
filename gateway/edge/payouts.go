package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/danielgtaylor/huma/v2"
)

// PayoutDesk is what the edge calls for payouts and the rules by which they wait.
type PayoutDesk struct {
	// List gives payouts in a state, "" for any.
	List    func(ctx context.Context, tenant citygate.TenantID, state string, page Page) ([]Payout, error)
	File    func(ctx context.Context, tenant citygate.TenantID, name string) (body []byte, contentType string, err error)
	Release func(ctx context.Context, actor string, tenant citygate.TenantID, payout citygate.UUID, r ReleasePayout) (Payout, error)
	Cancel  func(ctx context.Context, actor string, tenant citygate.TenantID, payout citygate.UUID, r ReleasePayout) (Payout, error)
	// Redirect has a payout paid to another payee.
	Redirect func(ctx context.Context, actor string, tenant citygate.TenantID, payout citygate.UUID, r RedirectPayout) (Payout, error)
	Rules    func(ctx context.Context, tenant citygate.TenantID) (PayoutRules, error)
	// Loosens reports whether rules would let a payout go that would wait now.
	Loosens  func(ctx context.Context, tenant citygate.TenantID, r PayoutRules) (bool, error)
	SetRules func(ctx context.Context, actor string, tenant citygate.TenantID, r PayoutRules, loosen bool) (PayoutRules, error)
}

// A Payout is money owed to a payee, and the files that pay it.
type Payout struct {
	ID         string         `json:"id"`
	Payee      string         `json:"payee"`
	Window     string         `json:"window" format:"date"`
	Amount     citygate.Money `json:"amount"`
	EndToEndID string         `json:"end_to_end_id"`
	State      string         `json:"state" enum:"held,created,sent,cancelled" doc:"held: it waits for somebody to release it, and is neither booked nor ordered; cancelled: it is owed again, and the next window that is paid has it"`
	PaidTo     string         `json:"paid_to,omitempty" doc:"who gets it in the place of the payee; absent: the payee"`
	HeldFor    string         `json:"held_for,omitempty" enum:"manual,above_limit,other_currency,payee" doc:"why it waits, or waited"`
	ReleasedBy string         `json:"released_by,omitempty"`
	ReleasedAt *time.Time     `json:"released_at,omitempty"`
	Files      []string       `json:"files"`
}

// ReleasePayout says what whoever releases a payout knows of it: that is what a
// second person approves.
type ReleasePayout struct {
	Amount citygate.Money `json:"amount" doc:"the payout's, or the release is refused"`
	Payee  string         `json:"payee" minLength:"1" doc:"who gets it: the payout's payee, or paid_to where it was redirected; or the request is refused"`
}

// RedirectPayout says what whoever redirects a payout knows of it, and who is to
// get it.
type RedirectPayout struct {
	ReleasePayout
	To string `json:"to" minLength:"1" doc:"another payee of the tenant, with a bank account, whose payouts do not wait by name; or the payee again"`
}

// PayoutRules say which payouts wait for a release.
type PayoutRules struct {
	Version    int        `json:"version,omitempty" readOnly:"true" doc:"0 = none were set: no payout waits"`
	Manual     bool       `json:"manual" doc:"every payout waits"`
	HoldAbove  *int64     `json:"hold_above_minor,omitempty" minimum:"0" doc:"those above it wait, in the tenant's currency, and all in another currency"`
	HoldPayees []string   `json:"hold_payees,omitempty" maxItems:"500" doc:"those to them wait"`
	SetBy      string     `json:"set_by,omitempty" readOnly:"true"`
	SetAt      *time.Time `json:"set_at,omitempty" readOnly:"true"`
}

// payoutRoute registers something that is done to one payout that waits, by what the desk
// has for it when it is asked.
func payoutRoute[B any](e *Edge, verb, summary string, do *func(ctx context.Context, actor string, tenant citygate.TenantID, payout citygate.UUID, body B) (Payout, error)) {
	register(e, post(verb+"-payout", "/v1/tenants/{tenant}/payouts/{payout}/"+verb, summary, "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Payout string `path:"payout" example:"pay_0195e2…"`
			Body   B
		}) (*body[Payout], error) {
			id, err := citygate.ParseUUID("pay_", r.Payout)
			if err != nil {
				return nil, errNotFound.Because(err, "payout")
			}
			return respond((*do)(ctx, who.Subject, r.id(), id, r.Body))
		})
}

func (e *Edge) payoutRoutes() {
	register(e, get("list-payouts", "/v1/tenants/{tenant}/payouts", "Payouts and their files, newest window first", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"held,created,sent,cancelled" doc:"held: they wait for a release"`
		}) (*body[list[Payout]], error) {
			page, err := r.page("pay_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(p Payout) string { return p.ID })(e.Payouts.List(ctx, r.id(), r.State, page))
		})
	payoutRoute(e, "release", "Let a payout go that waits: it is booked at once, and its file is written with what is due next", &e.Payouts.Release)
	payoutRoute(e, "cancel", "Take a payout back that waits: it is owed again, and paid with the next window that is", &e.Payouts.Cancel)
	payoutRoute(e, "redirect", "Have a payout that waits paid to another payee; it goes on waiting for its release", &e.Payouts.Redirect)
	register(e, get("get-payout-rules", "/v1/tenants/{tenant}/payout-rules", "Which payouts wait for a release", "money"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[PayoutRules], error) {
			return respond(e.Payouts.Rules(ctx, r.id()))
		})
	register(e, put("put-payout-rules", "/v1/tenants/{tenant}/payout-rules", "Say which payouts wait for a release, from the next one on; rules that let more go may need a second person, stricter ones never", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body PayoutRules
		}) (*body[PayoutRules], error) {
			set := func(loosen bool) func(context.Context) (*body[PayoutRules], error) {
				return func(ctx context.Context) (*body[PayoutRules], error) {
					began(ctx)
					return respond(e.Payouts.SetRules(ctx, who.Subject, r.id(), r.Body, loosen))
				}
			}
			loosens, err := e.Payouts.Loosens(ctx, r.id(), r.Body)
			if err != nil {
				return nil, err
			}
			if !loosens {
				return set(false)(ctx)
			}
			return approved(ctx, e, who, "put-payout-rules", access.PayoutRelease, set(true))
		})
	file := get("get-payout-file", "/v1/tenants/{tenant}/payout-files/{name}", "One payout file, CSV or pain.001", "money")
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	file.Responses = map[string]*huma.Response{"200": {Description: "the file", Content: map[string]*huma.MediaType{
		"text/csv": text, "application/xml": text, "text/xml": text, "application/octet-stream": text,
	}}}
	register(e, file,
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Name string `path:"name"`
		}) (*huma.StreamResponse, error) {
			file, contentType, err := e.Payouts.File(ctx, r.id(), r.Name)
			if err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(c huma.Context) {
				c.SetHeader("Content-Type", contentType)
				_, _ = c.BodyWriter().Write(file)
			}}, nil
		})
}
