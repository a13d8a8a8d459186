package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// SharedFares is what the edge calls for integrated tariffs.
type SharedFares struct {
	Members func(ctx context.Context, tenant citygate.TenantID) ([]FareMember, error)
	Propose func(ctx context.Context, actor string, tenant citygate.TenantID, p ProposeFareMember) (FareMember, error)
	Agree   func(ctx context.Context, actor string, tenant citygate.TenantID, version int) (FareMember, error)
	End     func(ctx context.Context, actor string, tenant, operator citygate.TenantID, at *time.Time) (FareMember, error)
	Shares  func(ctx context.Context, tenant citygate.TenantID, after ShareAfter, limit int) ([]FareShare, error)
}

// A FareMember is a version of what makes an operator a member of its authority's
// integrated tariff.
type FareMember struct {
	Authority   int64      `json:"authority"`
	Operator    int64      `json:"operator"`
	Version     int        `json:"version"`
	Name        string     `json:"name" doc:"what the tariff calls the operator"`
	State       string     `json:"state" enum:"proposed,agreed,in_force,ended"`
	ProposedBy  string     `json:"proposed_by"`
	ProposedAt  time.Time  `json:"proposed_at"`
	AgreedBy    string     `json:"agreed_by,omitempty"`
	AgreedAt    *time.Time `json:"agreed_at,omitempty"`
	EffectiveAt *time.Time `json:"effective_at,omitempty" doc:"event time from which the authority prices the operator's taps"`
	EndedBy     string     `json:"ended_by,omitempty"`
	EndsAt      *time.Time `json:"ends_at,omitempty" doc:"event time from which the operator prices them itself"`
}

// ProposeFareMember asks an operator to become a member.
type ProposeFareMember struct {
	Operator int64      `json:"operator" minimum:"1" doc:"number of a tenant whose authority this is"`
	Name     string     `json:"name" minLength:"1" maxLength:"100" doc:"what the tariff calls it"`
	From     *time.Time `json:"from,omitempty" doc:"event time; left out = from the agreement on"`
}

// A FareShare is what an operator gets for a ride that its authority priced.
type FareShare struct {
	Journey      string          `json:"journey" doc:"the authority's number of it"`
	Authority    int64           `json:"authority"`
	Operator     int64           `json:"operator"`
	N            int             `json:"n" doc:"counts how often the share changed"`
	Amount       citygate.Money  `json:"amount"`
	At           time.Time       `json:"at" doc:"event time of the ride"`
	BusinessDate string          `json:"business_date" format:"date"`
	Taps         []string        `json:"taps" doc:"the operator's own taps of the ride, terminal:seq; erased with them"`
	Explanation  json.RawMessage `json:"explanation,omitempty" doc:"to the operator: amount is total x weight / weights, but for less than one minor unit"`
}

// ShareAfter is the last share of a page.
type ShareAfter struct {
	Journey  citygate.UUID
	Operator citygate.TenantID
}

func shareAfter(key string) (after ShareAfter, err error) {
	if key == "" {
		return after, nil
	}
	journey, operator, _ := strings.Cut(key, "/")
	id, err := citygate.ParseUUID("jrn_", journey)
	n, bad := strconv.ParseInt(operator, 10, 64)
	if err != nil || bad != nil {
		return after, errCursor
	}
	return ShareAfter{id, citygate.TenantID(n)}, nil
}

func (e *Edge) fareMemberRoutes() {
	const path = "/v1/tenants/{tenant}/fare-members"
	register(e, get("list-fare-members", path, "Memberships in an integrated tariff, all versions", "fares"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"proposed,agreed,in_force,ended"`
		}) (*body[list[FareMember]], error) {
			key := func(m FareMember) string { return fmt.Sprintf("%020d/%020d/%010d", m.Authority, m.Operator, m.Version) }
			keep := func(m FareMember) bool { return wanted(r.State, m.State) }
			return cutPages(ctx, r.Paging, key, keep)(e.Shared.Members(ctx, r.id()))
		})
	register(e, post("propose-fare-member", path, "Propose to an operator that this authority prices its rides", "fares"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body ProposeFareMember
		}) (*body[FareMember], error) {
			return respond(e.Shared.Propose(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, post("agree-fare-member", path+"/agree", "Agree that the authority prices this operator's rides", "fares"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Version int `json:"version" minimum:"1"`
			}
		}) (*body[FareMember], error) {
			return respond(e.Shared.Agree(ctx, who.Subject, r.id(), r.Body.Version))
		})
	register(e, post("end-fare-member", path+"/end", "End a membership from a time to come on; either party may", "fares"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Operator int64      `json:"operator" minimum:"1" doc:"the member; an operator names itself"`
				At       *time.Time `json:"at,omitempty" doc:"event time; left out = the next minute"`
			}
		}) (*body[FareMember], error) {
			return respond(e.Shared.End(ctx, who.Subject, r.id(), citygate.TenantID(r.Body.Operator), r.Body.At))
		})
	register(e, get("list-fare-shares", "/v1/tenants/{tenant}/fare-shares", "What operators get for rides that an authority priced, as it stands", "fares"),
		func(ctx context.Context, _ Caller, r *struct{ Paged }) (*body[list[FareShare]], error) {
			after, err := shareAfter(r.After)
			if err != nil {
				return nil, err
			}
			key := func(s FareShare) string { return fmt.Sprintf("%s/%d", s.Journey, s.Operator) }
			return inPages(ctx, r.Paging, key)(e.Shared.Shares(ctx, r.id(), after, r.more()))
		})
}
