package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
)

// Cards is what the edge calls for the tenant's cards in riders' wallets.
type Cards struct {
	Add func(ctx context.Context, actor string, tenant citygate.TenantID, a AddCard) (Card, error)
	// List gives cards; contract and state may be "", account zero.
	List func(ctx context.Context, tenant citygate.TenantID, contract, state string, account citygate.UUID, page Page) ([]Card, error)
	Show func(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (Card, error)
	// Lock locks a card as "overdue" or "revoked"; "" unlocks it.
	Lock func(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, locked, tip string) (Card, error)
}

// AddCard notes a card that a rider's wallet shows.
type AddCard struct {
	Contract string `json:"contract" minLength:"1" maxLength:"40" doc:"provider contract whose wallet shows it"`
	Card     string `json:"card" minLength:"1" maxLength:"64" doc:"the tenant's own number of it"`
	RiderRef string `json:"rider_ref" minLength:"1" maxLength:"200" doc:"the provider's name for the rider"`
	Account  string `json:"account,omitempty" doc:"whose debts lock it, where the contract says so; absent: that of the rider under the contract"`

	AccountID citygate.UUID `json:"-"`
}

// A Card is a card of the tenant's in a rider's wallet.
type Card struct {
	ID        string     `json:"id" example:"crd_0195e2…"`
	Contract  string     `json:"contract"`
	Card      string     `json:"card"`
	RiderRef  string     `json:"rider_ref"`
	Account   string     `json:"account,omitempty"`
	Locked    string     `json:"locked,omitempty" enum:"overdue,revoked" doc:"by people; absent: it is as its rider's debts have it"`
	Tip       string     `json:"tip,omitempty" doc:"what the rider is shown"`
	Told      string     `json:"told" enum:"nothing,enabled,overdue,revoked" doc:"what the wallet confirmed last"`
	Wanted    string     `json:"wanted" enum:"enabled,overdue,revoked" doc:"what the last change says"`
	State     string     `json:"state" enum:"told,waiting,unknown,refused" doc:"unknown: sent, and nobody can say; refused: certainly not taken. Both are sent again"`
	Changed   bool       `json:"changed,omitempty" doc:"another change follows"`
	Attempts  int        `json:"attempts"`
	NextTryAt time.Time  `json:"next_try_at"`
	ToldAt    *time.Time `json:"told_at,omitempty"`
	Error     string     `json:"error,omitempty" doc:"why it was not taken the last time"`
	CreatedAt time.Time  `json:"created_at"`
}

// InCard is a card in a path.
type InCard struct {
	InTenant
	Card string `path:"card" example:"crd_0195e2…"`
}

func (r InCard) card() (citygate.UUID, error) {
	id, err := citygate.ParseUUID("crd_", r.Card)
	if err != nil {
		return id, errNotFound.Because(err, "card")
	}
	return id, nil
}

func (e *Edge) cardRoutes() {
	register(e, post("add-wallet-card", "/v1/tenants/{tenant}/wallet-cards", "Note a card of the tenant's in a rider's wallet, which is told how it is from then on", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body AddCard
		}) (_ *body[Card], err error) {
			if r.Body.AccountID, err = accountIn(r.Body.Account); err != nil {
				return nil, err
			}
			return respond(e.Cards.Add(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, get("list-wallet-cards", "/v1/tenants/{tenant}/wallet-cards", "The tenant's cards in riders' wallets, and what the wallets know of them", "riders"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Contract string `query:"contract" maxLength:"40"`
			State    string `query:"state" enum:"told,waiting,unknown,refused" doc:"absent: any"`
			Account  string `query:"account" maxLength:"40"`
		}) (*body[list[Card]], error) {
			page, err := r.page("crd_")
			if err != nil {
				return nil, err
			}
			account, err := accountIn(r.Account)
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(c Card) string { return c.ID })(e.Cards.List(ctx, r.id(), r.Contract, r.State, account, page))
		})
	register(e, get("get-wallet-card", "/v1/tenants/{tenant}/wallet-cards/{card}", "One card", "riders"),
		func(ctx context.Context, _ Caller, r *InCard) (*body[Card], error) {
			id, err := r.card()
			if err != nil {
				return nil, err
			}
			return respond(e.Cards.Show(ctx, r.id(), id))
		})
	register(e, post("lock-wallet-card", "/v1/tenants/{tenant}/wallet-cards/{card}/lock", "Have the wallet show no code of a card until it is unlocked", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InCard
			Body struct {
				Why string `json:"why" enum:"overdue,revoked" doc:"its rider owes, or it is given up"`
				Tip string `json:"tip,omitempty" maxLength:"128" doc:"shown to the rider"`
			}
		}) (*body[Card], error) {
			id, err := r.card()
			if err != nil {
				return nil, err
			}
			return respond(e.Cards.Lock(ctx, who.Subject, r.id(), id, r.Body.Why, r.Body.Tip))
		})
	register(e, post("unlock-wallet-card", "/v1/tenants/{tenant}/wallet-cards/{card}/unlock", "Let a card be as its rider's debts have it", "riders"),
		func(ctx context.Context, who Caller, r *InCard) (*body[Card], error) {
			id, err := r.card()
			if err != nil {
				return nil, err
			}
			return respond(e.Cards.Lock(ctx, who.Subject, r.id(), id, "", ""))
		})
}
