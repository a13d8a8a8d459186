package edge

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/policies/authz"
)

// A MemberDocument is a person of a tenant.
type MemberDocument struct {
	Subject  string    `json:"subject" doc:"the person's name in the audit log" example:"user:ada@corp"`
	Issuer   string    `json:"issuer,omitempty" doc:"where the person signs in; absent: tokens are made by command"`
	External string    `json:"external" doc:"what the issuer calls the person (sub)"`
	Name     string    `json:"name,omitempty"`
	Roles    []string  `json:"roles"`
	AddedBy  string    `json:"added_by"`
	AddedAt  time.Time `json:"added_at"`
}

func memberView(m access.Member) MemberDocument {
	return MemberDocument{
		Subject: m.Subject, Issuer: m.Issuer, External: m.External, Name: m.Name, Roles: roleNames(m.Roles), AddedBy: m.AddedBy, AddedAt: m.AddedAt,
	}
}

func roleNames(roles []authz.Role) []string {
	list := make([]string, len(roles))
	for i, role := range roles {
		list[i] = string(role)
	}
	return list
}

func rolesOf(names []string) []authz.Role {
	list := make([]authz.Role, len(names))
	for i, name := range names {
		list[i] = authz.Role(name)
	}
	return list
}

// AddMember asks for a person to be a member.
type AddMember struct {
	Issuer   string   `json:"issuer,omitempty" doc:"name of one of the tenant's issuers; absent: tokens are made by command"`
	External string   `json:"external" minLength:"1" maxLength:"128" doc:"what the issuer calls the person (sub); without an issuer a short name"`
	Name     string   `json:"name,omitempty" maxLength:"140"`
	Roles    []string `json:"roles" minItems:"1" maxItems:"20" doc:"authority, operator_admin, finance, support, adapter_vendor, auditor, or a role of the tenant's own"`
}

// PutMember gives a member another name and other roles.
type PutMember struct {
	Name  string   `json:"name,omitempty" maxLength:"140"`
	Roles []string `json:"roles" minItems:"1" maxItems:"20"`
}

// A RoleDocument is a role and what it may do.
type RoleDocument struct {
	Role        string   `json:"role"`
	Permissions []string `json:"permissions" example:"[\"rider.read\",\"debt.*\"]"`
	Below       []string `json:"below,omitempty" doc:"what it may do in the tenants that this one owns"`
	Builtin     bool     `json:"builtin"`
}

// An APIKeyDocument is an API key without its secret.
type APIKeyDocument struct {
	ID         string     `json:"id" example:"key_0195e2…"`
	Prefix     string     `json:"prefix" doc:"what the key begins with"`
	Name       string     `json:"name"`
	Owner      string     `json:"owner" doc:"the member it speaks for: it never does more than the owner may"`
	Scopes     []string   `json:"scopes"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty" doc:"to within five minutes"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
}

func keyView(k access.APIKey) APIKeyDocument {
	return APIKeyDocument{
		ID: k.ID.Text("key_"), Prefix: k.Prefix(), Name: k.Name, Owner: k.Owner, Scopes: k.Scopes,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, LastUsedAt: k.LastUsedAt, RevokedAt: k.RevokedAt,
	}
}

// CreateAPIKey asks for an API key.
type CreateAPIKey struct {
	Name   string   `json:"name" minLength:"1" maxLength:"80"`
	Owner  string   `json:"owner,omitempty" doc:"absent: the caller, who must be a member"`
	Scopes []string `json:"scopes" minItems:"1" maxItems:"50" doc:"permissions such as money.read, rider.* or *.read"`
	Days   int      `json:"days" minimum:"1" maximum:"731" doc:"days until it expires"`
}

// A NewAPIKey is an API key with its text, which is shown once.
type NewAPIKey struct {
	APIKeyDocument
	Key string `json:"key" doc:"shown this once; send it as a bearer token"`
}

// An IssuerDocument is an OpenID Connect issuer of a tenant.
type IssuerDocument struct {
	Name     string `json:"name"`
	URL      string `json:"url" doc:"as its tokens say it; never changes under a name"`
	ClientID string `json:"client_id" doc:"the audience of ID tokens for this gateway"`
}

// An ExplanationDocument says why somebody may or may not do something.
type ExplanationDocument struct {
	Subject    string   `json:"subject"`
	Operation  string   `json:"operation"`
	Permission string   `json:"permission"`
	Domain     string   `json:"domain" enum:"own,below" doc:"below: in a tenant that this one owns"`
	Version    int64    `json:"version" doc:"of the tenant's access policy"`
	Allowed    bool     `json:"allowed"`
	Why        string   `json:"why"`
	Rule       string   `json:"rule,omitempty"`
	Roles      []string `json:"roles"`
	HeldBy     []string `json:"held_by" doc:"roles that have the permission"`
	GrantedBy  []string `json:"granted_by" doc:"members that may give such a role"`
}

func explanationView(x access.Explanation) ExplanationDocument {
	granted := x.GrantedBy
	if granted == nil {
		granted = []string{}
	}
	return ExplanationDocument{
		Subject: x.Subject, Operation: x.Operation, Permission: x.Permission.String(), Domain: string(x.Domain), Version: x.Version, Allowed: x.Allowed,
		Why: x.Why, Rule: x.Rule, Roles: roleNames(x.Roles), HeldBy: roleNames(x.HeldBy), GrantedBy: granted,
	}
}

// InMember is a member in a path.
type InMember struct {
	InTenant
	Member string `path:"member" example:"user:ada@corp" doc:"the subject, percent-encoded where it has slashes"`
}

func remove(id, path, summary, tag string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodDelete, Path: path, Summary: summary, Tags: []string{tag}}
}

func (e *Edge) accessRoutes() {
	e.memberRoutes()
	e.roleRoutes()
	e.apiKeyRoutes()
	e.issuerRoutes()
	register(e, post("revoke-tokens", "/v1/tenants/{tenant}/token-revocations", "Take back access tokens made until now", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Subject string `json:"subject" minLength:"1" maxLength:"200" doc:"whose; * = everybody's"`
			}
		}) (*done, error) {
			return e.revokeTokens(ctx, who, r.id(), r.Body.Subject)
		})
	register(e, get("explain-access", "/v1/tenants/{tenant}/access/explain", "Why a member or an API key may or may not do something", "access"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Subject   string `query:"subject" required:"true" doc:"a member, or key_… of an API key" example:"user:ada@corp"`
			Operation string `query:"operation" required:"true" doc:"id of an operation of this document" example:"list-payouts"`
			Domain    string `query:"domain" enum:"own,below" default:"own" doc:"below: in a tenant that this one owns"`
		}) (*body[ExplanationDocument], error) {
			return e.explain(ctx, r.id(), r.Subject, r.Operation, authz.Domain(r.Domain))
		})
}

// What of a tenant's people a file may keep: kinds of parts of that file.
const (
	KeptMember    = "member" // named without "user:"
	KeptRole      = "role"
	KeptSignIn    = "sign-in issuer"
	KeptApprovals = "approvals"
)

func (e *Edge) memberRoutes() {
	register(e, get("list-members", "/v1/tenants/{tenant}/members", "The tenant's people and their roles", "access"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			MemberQuery
		}) (*body[list[MemberDocument]], error) {
			return e.members(ctx, r.id(), r.MemberQuery)
		})
	register(e, post("add-member", "/v1/tenants/{tenant}/members", "Make a person a member", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body AddMember
		}) (*body[MemberDocument], error) {
			name := r.Body.External
			if r.Body.Issuer != "" {
				name += "@" + r.Body.Issuer
			}
			if err := e.FileKeeps(ctx, r.id(), KeptMember, name); err != nil {
				return nil, err
			}
			m, err := e.Access.AddMember(ctx, who.Subject, r.id(), access.Member{
				Issuer: r.Body.Issuer, External: r.Body.External, Name: r.Body.Name, Roles: rolesOf(r.Body.Roles),
			})
			return respond(memberView(m), err)
		})
	register(e, put("put-member", "/v1/tenants/{tenant}/members/{member}", "Give a member another name and other roles; counts everywhere within seconds", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InMember
			Body PutMember
		}) (*body[MemberDocument], error) {
			if err := e.FileKeeps(ctx, r.id(), KeptMember, strings.TrimPrefix(r.Member, "user:")); err != nil {
				return nil, err
			}
			m, err := e.Access.SetMember(ctx, who.Subject, r.id(), r.Member, r.Body.Name, rolesOf(r.Body.Roles))
			return respond(memberView(m), err)
		})
	register(e, remove("remove-member", "/v1/tenants/{tenant}/members/{member}", "Take a person out of the tenant: tokens and API keys count no more", "access"),
		func(ctx context.Context, who Caller, r *InMember) (*done, error) {
			if err := e.FileKeeps(ctx, r.id(), KeptMember, strings.TrimPrefix(r.Member, "user:")); err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.Access.RemoveMember(ctx, who.Subject, r.id(), r.Member))
		})
}

func (e *Edge) roleRoutes() {
	register(e, get("list-roles", "/v1/tenants/{tenant}/roles", "Roles and what they may do", "access"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Own bool `query:"own" doc:"those that the tenant made, and not those that every tenant has"`
		}) (*body[list[RoleDocument]], error) {
			keep := func(d RoleDocument) bool { return !r.Own || !d.Builtin }
			return cutPages(ctx, r.Paging, func(d RoleDocument) string { return d.Role }, keep)(e.roles(ctx, r.id()))
		})
	register(e, put("put-role", "/v1/tenants/{tenant}/roles/{role}", "Make a role of the tenant's own, or give it other permissions", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Role string `path:"role" maxLength:"40"`
			Body struct {
				Permissions []string `json:"permissions" minItems:"1" maxItems:"100" doc:"resource.verb; the verb may be *"`
			}
		}) (*done, error) {
			d := access.RoleDefinition{Role: authz.Role(r.Role)}
			for _, text := range r.Body.Permissions {
				p, err := authz.ParsePermission(text)
				if err != nil {
					return nil, err
				}
				d.Permissions = append(d.Permissions, p)
			}
			if err := e.FileKeeps(ctx, r.id(), KeptRole, r.Role); err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.Access.PutRole(ctx, who.Subject, r.id(), d))
		})
	register(e, remove("remove-role", "/v1/tenants/{tenant}/roles/{role}", "Take away a role of the tenant's own that nobody has", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Role string `path:"role" maxLength:"40"`
		}) (*done, error) {
			if err := e.FileKeeps(ctx, r.id(), KeptRole, r.Role); err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.Access.RemoveRole(ctx, who.Subject, r.id(), authz.Role(r.Role)))
		})
}

// roles gives the roles that every tenant has and those of the tenant's own.
func (e *Edge) roles(ctx context.Context, tenant citygate.TenantID) ([]RoleDocument, error) {
	own, err := e.Access.OwnRoles(ctx, tenant)
	views := builtinRoles(authz.Roles())
	for _, d := range own {
		v := RoleDocument{Role: string(d.Role)}
		for _, p := range d.Permissions {
			v.Permissions = append(v.Permissions, p.String())
		}
		views = append(views, v)
	}
	return views, err
}

// builtinRoles shows roles that are not of a tenant's making.
func builtinRoles(roles []authz.Role) []RoleDocument {
	var views []RoleDocument
	for _, role := range roles {
		v := RoleDocument{Role: string(role), Builtin: true}
		for _, rule := range authz.Builtin() {
			switch {
			case rule.Role == role && rule.Domain == authz.Own:
				v.Permissions = append(v.Permissions, rule.Permission.String())
			case rule.Role == role:
				v.Below = append(v.Below, rule.Permission.String())
			}
		}
		views = append(views, v)
	}
	return views
}

func (e *Edge) apiKeyRoutes() {
	register(e, get("list-api-keys", "/v1/tenants/{tenant}/api-keys", "API keys there ever were, oldest first", "access"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			KeyQuery
		}) (*body[list[APIKeyDocument]], error) {
			return e.apiKeys(ctx, r.id(), r.KeyQuery)
		})
	register(e, post("create-api-key", "/v1/tenants/{tenant}/api-keys", "Make an API key; its text is shown once", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body CreateAPIKey
		}) (*body[NewAPIKey], error) {
			return e.createKey(ctx, who, r.id(), r.Body)
		})
	register(e, post("revoke-api-key", "/v1/tenants/{tenant}/api-keys/{key}/revoke", "Take an API key back for good", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Key string `path:"key" example:"key_0195e2…"`
		}) (*done, error) {
			return e.revokeKey(ctx, who, r.id(), r.Key)
		})
}

func (e *Edge) issuerRoutes() {
	register(e, get("list-issuers", "/v1/tenants/{tenant}/issuers", "OpenID Connect issuers where the tenant's people sign in", "access"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			IssuerQuery
		}) (*body[list[IssuerDocument]], error) {
			return e.issuers(ctx, r.id(), r.IssuerQuery)
		})
	register(e, put("put-issuer", "/v1/tenants/{tenant}/issuers/{issuer}", "Add an issuer, or give it another client id", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Issuer string `path:"issuer" maxLength:"31"`
			Body   struct {
				URL      string `json:"url" format:"uri" maxLength:"300"`
				ClientID string `json:"client_id" minLength:"1" maxLength:"200"`
			}
		}) (*done, error) {
			if err := e.FileKeeps(ctx, r.id(), KeptSignIn, r.Issuer); err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.Access.PutIssuer(ctx, who.Subject, r.id(), access.Issuer{Name: r.Issuer, URL: r.Body.URL, ClientID: r.Body.ClientID}))
		})
	register(e, remove("remove-issuer", "/v1/tenants/{tenant}/issuers/{issuer}", "Take away an issuer that has no members", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Issuer string `path:"issuer" maxLength:"31"`
		}) (*done, error) {
			if err := e.FileKeeps(ctx, r.id(), KeptSignIn, r.Issuer); err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.Access.RemoveIssuer(ctx, who.Subject, r.id(), r.Issuer))
		})
	prove(e, post("exchange-token", "/v1/tenants/{tenant}/tokens", "Sign in: an ID token of one of the tenant's issuers for an access token", "access"),
		func(ctx context.Context, r *struct {
			InTenant
			Body struct {
				IDToken string `json:"id_token" minLength:"1" maxLength:"8192"`
			}
		}) (*body[AccessToken], error) {
			return e.exchange(ctx, r.id(), r.Body.IDToken)
		})
}

// memberTokenLife is how long a token of somebody who signed in works. Roles are
// looked up at every request, so it says how often the issuer is asked again.
const memberTokenLife = 15 * time.Minute

// An AccessToken is what an ID token is exchanged for.
type AccessToken struct {
	Token     string `json:"access_token"`
	Type      string `json:"token_type" enum:"Bearer"`
	ExpiresIn int64  `json:"expires_in" doc:"seconds"`
	Subject   string `json:"subject"`
}

// prove adds an operation of class proof: it has no token, and its body shows who
// asks. It carries no Idempotency-Key: a repeat is harmless.
func prove[Req, Resp any](e *Edge, op huma.Operation, fn func(context.Context, *Req) (*Resp, error)) {
	op.Security = []map[string][]string{}
	op.MaxBodyBytes = 16 << 10
	needsActivity(op)
	e.admit(proof, op.Method, ginPath(op.Path), op.OperationID)
	huma.Register(e.api, op, func(ctx context.Context, req *Req) (*Resp, error) {
		var resp *Resp
		err := e.lives(ctx, op.OperationID, req)
		if err == nil {
			resp, err = fn(ctx, req)
		}
		if err != nil {
			return nil, problem(ctx, e.log, op.OperationID, err)
		}
		return resp, nil
	})
}

// What follows is the same for the people of a tenant and for those of the
// platform, which is tenant 0 here.

// MemberQuery says which members. Exported, or huma does not see its fields; so are
// the others.
type MemberQuery struct {
	Paging
	Role   string `query:"role" maxLength:"40"`
	Issuer string `query:"issuer" maxLength:"31" doc:"where they sign in"`
}

// KeyQuery says which API keys.
type KeyQuery struct {
	Paging
	Owner string `query:"owner" maxLength:"200" example:"user:ada@corp"`
	State string `query:"state" enum:"usable,expired,revoked"`
}

// IssuerQuery says which issuers.
type IssuerQuery struct {
	Paging
	URL string `query:"url" maxLength:"300" doc:"as its tokens say it"`
}

func (e *Edge) members(ctx context.Context, tenant citygate.TenantID, q MemberQuery) (*body[list[MemberDocument]], error) {
	page, err := e.Access.MembersAfter(ctx, tenant, authz.Role(q.Role), q.Issuer, q.After, q.more())
	views := make([]MemberDocument, len(page))
	for i, m := range page {
		views[i] = memberView(m)
	}
	return inPages(ctx, q.Paging, func(m MemberDocument) string { return m.Subject })(views, err)
}

func (e *Edge) apiKeys(ctx context.Context, tenant citygate.TenantID, q KeyQuery) (*body[list[APIKeyDocument]], error) {
	var after *citygate.UUID
	if q.After != "" {
		id, err := citygate.ParseUUID("key_", q.After)
		if err != nil {
			return nil, errCursor
		}
		after = &id
	}
	page, err := e.Access.KeysAfter(ctx, tenant, q.Owner, q.State, after, q.more())
	views := make([]APIKeyDocument, len(page))
	for i, k := range page {
		views[i] = keyView(k)
	}
	return inPages(ctx, q.Paging, func(d APIKeyDocument) string { return d.ID })(views, err)
}

func (e *Edge) createKey(ctx context.Context, who Caller, tenant citygate.TenantID, b CreateAPIKey) (*body[NewAPIKey], error) {
	owner := b.Owner
	switch {
	case owner == "":
		owner = who.Person()
	case owner != who.Person() && (who.Owner != "" || slices.Contains(who.Scopes, ScopeMember)):
		return nil, access.ErrInvalid.Explain("owner: a member makes keys for itself; nobody acts in another's name")
	}
	k, text, err := e.Access.CreateKey(ctx, who.Subject, tenant, owner, b.Name, b.Scopes, time.Duration(b.Days)*24*time.Hour)
	if err != nil {
		return nil, err
	}
	return respond(NewAPIKey{keyView(k), string(text.Reveal())}, nil)
}

func (e *Edge) revokeKey(ctx context.Context, who Caller, tenant citygate.TenantID, key string) (*done, error) {
	id, err := citygate.ParseUUID("key_", key)
	if err != nil {
		return nil, access.ErrNotFound.Because(err, "API key")
	}
	return respond(struct{}{}, e.Access.RevokeKey(ctx, who.Subject, tenant, id))
}

func (e *Edge) issuers(ctx context.Context, tenant citygate.TenantID, q IssuerQuery) (*body[list[IssuerDocument]], error) {
	all, err := e.Access.Issuers(ctx, tenant)
	views := make([]IssuerDocument, len(all))
	for i, x := range all {
		views[i] = IssuerDocument(x)
	}
	keep := func(d IssuerDocument) bool { return wanted(q.URL, d.URL) }
	return cutPages(ctx, q.Paging, func(d IssuerDocument) string { return d.Name }, keep)(views, err)
}

func (e *Edge) exchange(ctx context.Context, tenant citygate.TenantID, idToken string) (*body[AccessToken], error) {
	caller, err := e.Access.Exchange(ctx, tenant, idToken)
	if err != nil {
		return nil, err
	}
	text, err := e.Tokens.Mint(ctx, caller, memberTokenLife)
	return respond(AccessToken{Token: text, Type: "Bearer", ExpiresIn: int64(memberTokenLife / time.Second), Subject: caller.Subject}, err)
}

func (e *Edge) revokeTokens(ctx context.Context, who Caller, tenant citygate.TenantID, subject string) (*done, error) {
	if subject == "*" {
		subject = ""
	}
	return respond(struct{}{}, e.Access.RevokeTokens(ctx, who.Subject, tenant, subject))
}

func (e *Edge) explain(ctx context.Context, tenant citygate.TenantID, subject, operation string, domain authz.Domain) (*body[ExplanationDocument], error) {
	need, ok := PermissionOf(operation)
	if !ok {
		return nil, errBody.Explain("operation: %q is none that needs a permission", operation)
	}
	if id, err := citygate.ParseUUID("key_", subject); err == nil {
		subject = id.String()
	}
	x, err := e.Access.Explain(ctx, tenant, subject, operation, need, domain)
	return respond(explanationView(x), err)
}
