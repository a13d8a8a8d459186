package edge

import (
	"context"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
)

// ProviderFeeds are the lists of providers that contracts follow.
type ProviderFeeds struct {
	Feeds func(ctx context.Context, tenant citygate.TenantID) ([]ProviderFeed, error)
	Keys  func(ctx context.Context, tenant citygate.TenantID, contract string) ([]ProviderKey, error)
	Take  func(ctx context.Context, actor string, tenant citygate.TenantID, contract, reason string) error
	// Pushes gives what providers were told of denials; contract and state may be "".
	Pushes func(ctx context.Context, tenant citygate.TenantID, contract, state string, page Page) ([]DenialPush, error)
}

// A ProviderFeed is a list of a provider that a contract follows or followed.
type ProviderFeed struct {
	Contract   string     `json:"contract"`
	Feed       string     `json:"feed" enum:"deny,keys" doc:"deny: riders whom the provider refuses; keys: the keys of its own codes"`
	Every      string     `json:"every,omitempty" doc:"how often it is read; absent = no more"`
	DueAt      time.Time  `json:"due_at"`
	ReadAt     *time.Time `json:"read_at,omitempty" doc:"when it was last read whole and taken"`
	Items      int        `json:"items" doc:"on it then"`
	Failures   int        `json:"failures" doc:"readings in a row that failed or were refused; they changed nothing"`
	FailedAt   *time.Time `json:"failed_at,omitempty"`
	Error      string     `json:"error,omitempty" doc:"why the last reading changed nothing"`
	Scheme     string     `json:"scheme,omitempty" doc:"code scheme that reads codes by the keys"`
	Carried    bool       `json:"carried" doc:"the bundles of readers have what the list changed"`
	LetThrough bool       `json:"let_through,omitempty" doc:"the next list of keys is taken as it is"`
}

// A ProviderKey is a key of a provider's own codes.
type ProviderKey struct {
	ID     uint32     `json:"id"`
	Key    []byte     `json:"key" doc:"public, base64, in the encoding that the scheme states"`
	State  string     `json:"state" enum:"in_force,missed,former" doc:"missed: in force, and not on the newest list; one more such list takes it out of force"`
	Since  time.Time  `json:"since"`
	Missed *time.Time `json:"missed_at,omitempty"`
	Until  *time.Time `json:"until,omitempty" doc:"when it went out of force; taps from before are verified by it for 30 days"`
}

// A DenialPush is what a rider's provider was told of his denial by the tenant.
type DenialPush struct {
	ID        string     `json:"id" doc:"the account"`
	Contract  string     `json:"contract"`
	RiderRef  string     `json:"rider_ref"`
	Denied    bool       `json:"denied" doc:"what the last change says"`
	Told      bool       `json:"told" doc:"what the provider took last"`
	Reason    string     `json:"reason,omitempty"`
	State     string     `json:"state" enum:"told,waiting,unknown,refused" doc:"unknown: sent, and nobody can say; refused: certainly not taken. Both are sent again"`
	Changed   bool       `json:"changed,omitempty" doc:"another change follows this one"`
	OurID     string     `json:"our_id" doc:"by which the provider knows the change"`
	DecidedAt time.Time  `json:"decided_at"`
	Attempts  int        `json:"attempts"`
	NextTryAt time.Time  `json:"next_try_at"`
	ToldAt    *time.Time `json:"told_at,omitempty"`
	Error     string     `json:"error,omitempty" doc:"why it was not taken the last time"`
}

func (e *Edge) providerFeedRoutes() {
	register(e, get("list-denial-pushes", "/v1/tenants/{tenant}/denial-pushes", "What providers were told of the tenant's denials, and what they did not take", "providers"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Contract string `query:"contract" maxLength:"40"`
			State    string `query:"state" enum:"told,waiting,unknown,refused" doc:"absent: any"`
		}) (*body[list[DenialPush]], error) {
			page, err := r.page("acc_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(p DenialPush) string { return p.ID })(e.ProviderFeeds.Pushes(ctx, r.id(), r.Contract, r.State, page))
		})
	register(e, get("list-provider-feeds", "/v1/tenants/{tenant}/provider-feeds", "Lists of providers that contracts follow: when they were read, and what went wrong", "providers"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Contract string `query:"contract" maxLength:"40"`
		}) (*body[list[ProviderFeed]], error) {
			keep := func(f ProviderFeed) bool { return wanted(r.Contract, f.Contract) }
			return cutPages(ctx, r.Paging, func(f ProviderFeed) string { return f.Contract + "/" + f.Feed }, keep)(e.ProviderFeeds.Feeds(ctx, r.id()))
		})
	register(e, get("list-provider-keys", "/v1/tenants/{tenant}/contracts/{contract}/keys", "Keys of a provider's own codes as its list gave them, in force and former", "providers"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Contract string `path:"contract" minLength:"1" maxLength:"40"`
			State    string `query:"state" enum:"in_force,missed,former" doc:"absent: any"`
		}) (*body[list[ProviderKey]], error) {
			keep := func(k ProviderKey) bool { return wanted(r.State, k.State) }
			return cutPages(ctx, r.Paging, func(k ProviderKey) string {
				return fmt.Sprintf("%010d %s", k.ID, k.Since.UTC().Format("20060102150405.000000"))
			}, keep)(e.ProviderFeeds.Keys(ctx, r.id(), r.Contract))
		})
	register(e, post("take-provider-keys", "/v1/tenants/{tenant}/contracts/{contract}/keys/take",
		"Have the provider's next list of keys taken as it is, also one that was rolled back; what is not on it goes at once", "providers"),
		func(ctx context.Context, who Caller, r *struct {
			InContract
			Body struct {
				Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"what the provider said, for the audit log"`
			}
		}) (*done, error) {
			return respond(struct{}{}, e.ProviderFeeds.Take(ctx, who.Subject, r.id(), r.Contract, r.Body.Reason))
		})
}
