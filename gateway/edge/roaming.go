package edge

import (
	"context"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
)

// Roaming is what the edge calls for terms between tenants of different trees.
// partner is the other tenant, and role what the asking one is of the two.
type Roaming struct {
	List    func(ctx context.Context, tenant citygate.TenantID) ([]RoamingTerms, error)
	Propose func(ctx context.Context, actor string, tenant citygate.TenantID, p ProposeRoaming) (RoamingTerms, error)
	Agree   func(ctx context.Context, actor string, tenant citygate.TenantID, with RoamingPartner, version int) (RoamingTerms, error)
	End     func(ctx context.Context, actor string, tenant citygate.TenantID, with RoamingPartner, at *time.Time) ([]RoamingTerms, error)
}

// A RoamingPartner says who deals with the tenant of the path.
type RoamingPartner struct {
	Partner int64  `json:"partner" minimum:"1" doc:"number of the other tenant"`
	Role    string `json:"role" enum:"issuer,host" doc:"what the tenant of the path is: its riders are taken (issuer), or its readers take the partner's (host)"`
}

// Roamable is what two tenants agree on.
type Roamable struct {
	Schemes     []string `json:"schemes,omitempty" maxItems:"32" doc:"whose codes are taken; left out = all that the host reads"`
	Products    []uint16 `json:"products,omitempty" maxItems:"256" doc:"of the issuer; left out = all"`
	CapMinor    int64    `json:"cap_minor,omitempty" minimum:"0" maximum:"1099511627776" doc:"highest fare for one tap, minor units; 0 = what the credential promises"`
	DayCapMinor int64    `json:"day_cap_minor,omitempty" minimum:"0" maximum:"1099511627776" doc:"highest sum of one rider's fares on one business date of the host, minor units; 0 = none"`
	Beyond      string   `json:"beyond,omitempty" enum:"host,rider,issuer" doc:"who bears what goes beyond day_cap_minor: the host (its claims are refused), the rider (charged, at the host's risk) or the issuer; left out = host"`
	UploadDays  int64    `json:"upload_days,omitempty" minimum:"0" maximum:"366" doc:"taps that come later are the host's loss; 0 = as the host's rules say"`
	Uncollected string   `json:"uncollected" enum:"issuer,host" doc:"who bears a fare that the rider does not pay"`
	PayDays     int64    `json:"pay_days,omitempty" minimum:"0" maximum:"366" doc:"how long after a decline the issuer pays the host what it bears; 0 = 30 days"`
	NoticeDays  int64    `json:"notice_days,omitempty" minimum:"0" maximum:"366" doc:"how long the terms hold on after either has ended them"`
}

// ProposeRoaming asks for the next version of the terms.
type ProposeRoaming struct {
	RoamingPartner
	Terms Roamable   `json:"terms"`
	From  *time.Time `json:"from,omitempty" doc:"event time, rounded up to a minute; left out = when the partner agrees"`
}

// RoamingTerms is one version of the terms between two tenants.
type RoamingTerms struct {
	Issuer      int64      `json:"issuer"`
	Host        int64      `json:"host"`
	Version     int        `json:"version"`
	State       string     `json:"state" enum:"proposed,withdrawn,agreed,in_force,ended" doc:"that a newer version decides is not said here"`
	Terms       Roamable   `json:"terms"`
	Currency    string     `json:"currency"`
	ProposedBy  string     `json:"proposed_by"`
	ProposedAt  time.Time  `json:"proposed_at"`
	AgreedBy    string     `json:"agreed_by,omitempty"`
	AgreedAt    *time.Time `json:"agreed_at,omitempty"`
	EffectiveAt *time.Time `json:"effective_at,omitempty" doc:"event time from which it holds"`
	EndedBy     string     `json:"ended_by,omitempty"`
	EndsAt      *time.Time `json:"ends_at,omitempty" doc:"event time from which it holds no more"`
}

func (e *Edge) roamingRoutes() {
	register(e, get("list-roaming", "/v1/tenants/{tenant}/roaming", "Terms with tenants of other trees, all versions", "policies"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Partner int64  `query:"partner" minimum:"1" doc:"number of the other tenant"`
			State   string `query:"state" enum:"proposed,withdrawn,agreed,in_force,ended"`
		}) (*body[list[RoamingTerms]], error) {
			key := func(t RoamingTerms) string { return fmt.Sprintf("%020d/%020d/%010d", t.Issuer, t.Host, t.Version) }
			keep := func(t RoamingTerms) bool {
				return (r.Partner == 0 || r.Partner == t.Issuer || r.Partner == t.Host) && wanted(r.State, t.State)
			}
			return cutPages(ctx, r.Paging, key, keep)(e.Roaming.List(ctx, r.id()))
		})
	register(e, post("propose-roaming", "/v1/tenants/{tenant}/roaming", "Propose terms to another tenant", "policies"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body ProposeRoaming
		}) (*body[RoamingTerms], error) {
			return respond(e.Roaming.Propose(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, post("agree-roaming", "/v1/tenants/{tenant}/roaming/agree", "Agree to the terms that another tenant proposed last", "policies"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				RoamingPartner
				Version int `json:"version" minimum:"1"`
			}
		}) (*body[RoamingTerms], error) {
			return respond(e.Roaming.Agree(ctx, who.Subject, r.id(), r.Body.RoamingPartner, r.Body.Version))
		})
	register(e, post("end-roaming", "/v1/tenants/{tenant}/roaming/end", "End the terms with another tenant after their notice, and withdraw what is only proposed", "policies"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				RoamingPartner
				At *time.Time `json:"at,omitempty" doc:"event time, if it is to be later than the notice asks"`
			}
		}) (*body[list[RoamingTerms]], error) {
			return respondList(e.Roaming.End(ctx, who.Subject, r.id(), r.Body.RoamingPartner, r.Body.At))
		})
}
