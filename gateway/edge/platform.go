package edge

import (
	"context"

	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/danielgtaylor/huma/v2"
)

// platform stands for the tenant where it is about the platform's own people.
const platform = 0

// AddPlatformMember asks for a person to be one of the platform's.
type AddPlatformMember struct {
	Issuer   string   `json:"issuer,omitempty" doc:"name of one of the platform's issuers; absent: tokens are made by command"`
	External string   `json:"external" minLength:"1" maxLength:"128" doc:"what the issuer calls the person (sub); without an issuer a short name"`
	Name     string   `json:"name,omitempty" maxLength:"140"`
	Roles    []string `json:"roles" minItems:"1" maxItems:"2" doc:"platform_admin, or platform_auditor, who reads and changes nothing"`
}

// InPlatformMember is a member of the platform in a path.
type InPlatformMember struct {
	Member string `path:"member" example:"platform:ada@corp" doc:"the subject, percent-encoded where it has slashes"`
}

// platformRoutes are those of the platform's own people. They need permissions
// that no role of a tenant has.
func (e *Edge) platformRoutes() {
	e.platformMemberRoutes()
	e.platformKeyRoutes()
	e.platformIssuerRoutes()
	e.platformApprovalRoutes()
	register(e, post("revoke-platform-tokens", "/v1/platform/token-revocations", "Take back access tokens of the platform made until now", "platform"),
		func(ctx context.Context, who Caller, r *struct {
			Body struct {
				Subject string `json:"subject" minLength:"1" maxLength:"200" doc:"whose; * = everybody's"`
			}
		}) (*done, error) {
			return e.revokeTokens(ctx, who, platform, r.Body.Subject)
		})
	register(e, get("explain-platform-access", "/v1/platform/access/explain", "Why one of the platform's people or API keys may or may not do something", "platform"),
		func(ctx context.Context, _ Caller, r *struct {
			Subject   string `query:"subject" required:"true" doc:"a member, or key_… of an API key" example:"platform:ada@corp"`
			Operation string `query:"operation" required:"true" doc:"id of an operation of this document" example:"put-tenant"`
			Domain    string `query:"domain" enum:"own,below" default:"own" doc:"below: in a tenant"`
		}) (*body[ExplanationDocument], error) {
			return e.explain(ctx, platform, r.Subject, r.Operation, authz.Domain(r.Domain))
		})
	prove(e, post("exchange-platform-token", "/v1/platform/tokens", "Sign in to the platform: an ID token of one of its issuers for an access token", "platform"),
		func(ctx context.Context, r *struct {
			Body struct {
				IDToken string `json:"id_token" minLength:"1" maxLength:"8192"`
			}
		}) (*body[AccessToken], error) {
			return e.exchange(ctx, platform, r.Body.IDToken)
		})
}

func (e *Edge) platformMemberRoutes() {
	register(e, get("list-platform-members", "/v1/platform/members", "The platform's people and their roles", "platform"),
		func(ctx context.Context, _ Caller, r *MemberQuery) (*body[list[MemberDocument]], error) {
			return e.members(ctx, platform, *r)
		})
	register(e, post("add-platform-member", "/v1/platform/members", "Make a person one of the platform's", "platform"),
		func(ctx context.Context, who Caller, r *struct{ Body AddPlatformMember }) (*body[MemberDocument], error) {
			m, err := e.Access.AddMember(ctx, who.Subject, platform, access.Member{
				Issuer: r.Body.Issuer, External: r.Body.External, Name: r.Body.Name, Roles: rolesOf(r.Body.Roles),
			})
			return respond(memberView(m), err)
		})
	register(e, put("put-platform-member", "/v1/platform/members/{member}", "Give one of the platform's people another name and other roles; counts everywhere within seconds", "platform"),
		func(ctx context.Context, who Caller, r *struct {
			InPlatformMember
			Body PutMember
		}) (*body[MemberDocument], error) {
			m, err := e.Access.SetMember(ctx, who.Subject, platform, r.Member, r.Body.Name, rolesOf(r.Body.Roles))
			return respond(memberView(m), err)
		})
	register(e, remove("remove-platform-member", "/v1/platform/members/{member}", "Take a person out of the platform: tokens and API keys count no more", "platform"),
		func(ctx context.Context, who Caller, r *InPlatformMember) (*done, error) {
			return respond(struct{}{}, e.Access.RemoveMember(ctx, who.Subject, platform, r.Member))
		})
	register(e, get("list-platform-roles", "/v1/platform/roles", "Roles of the platform's people and what they may do", "platform"),
		func(ctx context.Context, _ Caller, r *struct{ Paging }) (*body[list[RoleDocument]], error) {
			return cutPages(ctx, r.Paging, func(d RoleDocument) string { return d.Role }, nil)(builtinRoles(authz.PlatformRoles()), nil)
		})
}

func (e *Edge) platformKeyRoutes() {
	register(e, get("list-platform-api-keys", "/v1/platform/api-keys", "The platform's API keys there ever were, oldest first", "platform"),
		func(ctx context.Context, _ Caller, r *KeyQuery) (*body[list[APIKeyDocument]], error) {
			return e.apiKeys(ctx, platform, *r)
		})
	register(e, post("create-platform-api-key", "/v1/platform/api-keys", "Make an API key of the platform; its text is shown once", "platform"),
		func(ctx context.Context, who Caller, r *struct{ Body CreateAPIKey }) (*body[NewAPIKey], error) {
			return e.createKey(ctx, who, platform, r.Body)
		})
	register(e, post("revoke-platform-api-key", "/v1/platform/api-keys/{key}/revoke", "Take an API key of the platform back for good", "platform"),
		func(ctx context.Context, who Caller, r *struct {
			Key string `path:"key" example:"key_0195e2…"`
		}) (*done, error) {
			return e.revokeKey(ctx, who, platform, r.Key)
		})
}

func (e *Edge) platformIssuerRoutes() {
	register(e, get("list-platform-issuers", "/v1/platform/issuers", "OpenID Connect issuers where the platform's people sign in", "platform"),
		func(ctx context.Context, _ Caller, r *IssuerQuery) (*body[list[IssuerDocument]], error) {
			return e.issuers(ctx, platform, *r)
		})
	register(e, put("put-platform-issuer", "/v1/platform/issuers/{issuer}", "Add an issuer of the platform, or give it another client id", "platform"),
		func(ctx context.Context, who Caller, r *struct {
			Issuer string `path:"issuer" maxLength:"31"`
			Body   struct {
				URL      string `json:"url" format:"uri" maxLength:"300"`
				ClientID string `json:"client_id" minLength:"1" maxLength:"200"`
			}
		}) (*done, error) {
			return respond(struct{}{}, e.Access.PutIssuer(ctx, who.Subject, platform, access.Issuer{Name: r.Issuer, URL: r.Body.URL, ClientID: r.Body.ClientID}))
		})
	register(e, remove("remove-platform-issuer", "/v1/platform/issuers/{issuer}", "Take away an issuer of the platform that has no members", "platform"),
		func(ctx context.Context, who Caller, r *struct {
			Issuer string `path:"issuer" maxLength:"31"`
		}) (*done, error) {
			return respond(struct{}{}, e.Access.RemoveIssuer(ctx, who.Subject, platform, r.Issuer))
		})
}

func (e *Edge) platformApprovalRoutes() {
	register(e, get("list-platform-proposals", "/v1/platform/proposals", "Requests to the platform that wait for a second person, or had one, newest first", "platform"),
		func(ctx context.Context, _ Caller, r *struct {
			Paging
			State string `query:"state" enum:"open,approved,executed,refused,withdrawn,void,expired"`
		}) (*body[list[ProposalDocument]], error) {
			return e.proposals(ctx, platform, r.State, r.Paging)
		})
	one := func(op huma.Operation, do deed) {
		register(e, op, func(ctx context.Context, who Caller, r *struct {
			Proposal string `path:"proposal" example:"apr_0195e2…"`
		}) (*body[ProposalDocument], error) {
			return oneProposal(ctx, who, platform, r.Proposal, do)
		})
	}
	const path = "/v1/platform/proposals/{proposal}"
	one(get("get-platform-proposal", path, "One proposal to the platform, with what is to be approved", "platform"), e.proposal)
	one(post("approve-platform-proposal", path+"/approve", "Approve somebody else's request to the platform: its proposer may then send it again, once", "platform"), e.Access.Approve)
	one(post("refuse-platform-proposal", path+"/refuse", "Refuse somebody else's request to the platform, also after it was approved", "platform"), e.Access.Refuse)
	one(post("withdraw-platform-proposal", path+"/withdraw", "Take back one's own request to the platform", "platform"), e.Access.Withdraw)
	register(e, get("get-platform-approval-settings", "/v1/platform/approval-settings", "What needs a second person of the platform", "platform"),
		func(ctx context.Context, _ Caller, _ *struct{}) (*body[ApprovalSettings], error) {
			return e.twoPerson(ctx, platform)
		})
	register(e, put("put-platform-approval-settings", "/v1/platform/approval-settings", "Say what needs a second person of the platform; to leave out what does needs one", "platform"),
		func(ctx context.Context, who Caller, r *struct{ Body ApprovalSettings }) (*body[ApprovalSettings], error) {
			return e.setTwoPerson(ctx, who, platform, "put-platform-approval-settings", r.Body)
		})
}
