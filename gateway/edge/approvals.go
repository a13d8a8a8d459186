package edge

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
)

// approvalHeader names the proposal that a request is the execution of.
const approvalHeader = "Approval"

// guards says which operations a tenant may want a second person for. Where it
// does, the first request is kept as a proposal and answered 202; it runs when
// its proposer sends it again, naming the proposal, after somebody else approved.
// No request is ever run from what is stored.
var guards = map[string]access.Kind{
	"revoke-api-key": access.KeyRevocation,
	"revoke-key":     access.KeyRevocation,

	"add-settlement-terms": access.PayoutRelease,
	"release-payout":       access.PayoutRelease,
	"cancel-payout":        access.PayoutRelease,
	"redirect-payout":      access.PayoutRelease,
	"refund-journey":       access.PayoutRelease, // above the tenant's limit
	"refund-till-payment":  access.PayoutRelease, // likewise
	"put-refund-rules":     access.PayoutRelease,
	"put-payout-rules":     access.PayoutRelease, // where they let more go
	"put-payees":           access.PayoutRelease, // the account that money goes to
	"add-calendar":         access.PayoutRelease,
	"write-off-debt":       access.PayoutRelease, // money that is given up
	"decide-dispute":       access.PayoutRelease, // money that another bears

	"publish-policy":        access.PolicyPublish,
	"publish-tariff":        access.PolicyPublish,
	"restore-tariff":        access.PolicyPublish,
	"publish-journey-rules": access.PolicyPublish,
	"publish-risk-terms":    access.PolicyPublish,
	"publish-catalogue":     access.PolicyPublish,
	"restore-policy":        access.PolicyPublish,
	"put-acceptance":        access.PolicyPublish,
	"put-issuance-policy":   access.PolicyPublish,
	"put-code-scheme":       access.PolicyPublish,
	"take-provider-keys":    access.PolicyPublish, // whose codes readers take
	"propose-roaming":       access.PolicyPublish,
	"agree-roaming":         access.PolicyPublish,
	"end-roaming":           access.PolicyPublish,
	"propose-fare-member":   access.PolicyPublish,
	"agree-fare-member":     access.PolicyPublish,
	"end-fare-member":       access.PolicyPublish,

	"set-tenant-state": access.TenantState,
	"put-served":       access.TenantState,

	"add-platform-member":     access.PlatformAccess,
	"put-platform-member":     access.PlatformAccess,
	"remove-platform-member":  access.PlatformAccess,
	"put-platform-issuer":     access.PlatformAccess,
	"remove-platform-issuer":  access.PlatformAccess,
	"revoke-platform-api-key": access.KeyRevocation,

	"add-member":    access.AccessChange, // or the proposer makes the one who approves
	"put-member":    access.AccessChange,
	"remove-member": access.AccessChange,
	"put-role":      access.AccessChange,
	"remove-role":   access.AccessChange,
	"put-issuer":    access.AccessChange,
	"remove-issuer": access.AccessChange,

	"put-contract":        access.ProviderCredential,
	"put-contract-secret": access.ProviderCredential,

	"put-approval-settings":          access.ApprovalSettings,
	"put-platform-approval-settings": access.ApprovalSettings,
}

// asksItself are operations that need a second person for some of what they may
// be asked: they look for themselves.
var asksItself = map[string]bool{"put-approval-settings": true, "put-platform-approval-settings": true, "put-payout-rules": true, "refund-journey": true,
	"refund-till-payment": true}

// secretBodies are operations whose request holds a secret: of a proposal only
// the hash is kept, and not shown.
var secretBodies = map[string]bool{"put-contract-secret": true}

// ApplyFile is the operation of proposals that are changes by a file, whose secrets
// are neither kept nor shown.
const ApplyFile = "apply-file"

// A ProposalDocument is a request that waits for a second person, or had one.
type ProposalDocument struct {
	ID        string     `json:"id" example:"apr_0195e2…"`
	Kind      string     `json:"kind" enum:"key_revocation,payout_release,policy_publish,provider_credential,platform_access,tenant_state,access_change,approval_settings"`
	Operation string     `json:"operation" example:"publish-policy"`
	Method    string     `json:"method"`
	Path      string     `json:"path"`
	Body      string     `json:"body,omitempty" doc:"the request's, for people to read; left out where it holds a secret, is longer than 256 KiB, and in lists"`
	Content   string     `json:"content,omitempty" doc:"SHA-256 of operation, method, path, query and what the body means: what is approved; left out where the body holds a secret"`
	Proposer  string     `json:"proposer"`
	Person    string     `json:"person" doc:"the human behind the proposer: of an API key its owner"`
	State     string     `json:"state" enum:"open,approved,executed,refused,withdrawn,void,expired"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	Second    string     `json:"second,omitempty" doc:"who approved or refused it"`
	DecidedAt *time.Time `json:"decided_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Status    int        `json:"status,omitempty" doc:"of the answer to the executed request"`
}

func proposalView(p access.Proposal) ProposalDocument {
	d := ProposalDocument{
		ID: p.ID.Text(access.ProposalPrefix), Kind: string(p.Kind), Operation: p.Operation, Method: p.Method, Path: p.Path, Body: string(p.Body),
		Proposer: p.Proposer, Person: p.Person, State: string(p.State), CreatedAt: p.CreatedAt, ExpiresAt: p.ExpiresAt,
		Second: p.Second, DecidedAt: p.DecidedAt, EndedAt: p.EndedAt, Status: p.Status,
	}
	if !secretBodies[p.Operation] && p.Operation != ApplyFile {
		d.Content = hex.EncodeToString(p.Hash[:])
	}
	return d
}

// A waiting is the answer to a request that became a proposal. It is an error
// for huma alone, whose handlers have one type of answer.
type waiting struct{ ProposalDocument }

func (w *waiting) Error() string             { return "waits for a second person as " + w.ID }
func (w *waiting) GetStatus() int            { return http.StatusAccepted }
func (w *waiting) ContentType(string) string { return "application/json" }

// approved runs an operation, unless its kind needs a second person here: then
// it becomes a proposal, or is the execution of one.
func approved[Resp any](ctx context.Context, e *Edge, caller Caller, id string, kind access.Kind, run func(context.Context) (*Resp, error)) (*Resp, error) {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return nil, errInternal.Because(nil, "%s runs without an attempt", id)
	}
	whose := a.tenant
	if permissions[id].Resource == "platform" { // its people decide, also about a tenant
		whose = 0
	}
	needed, err := e.Access.NeedsSecond(ctx, whose, kind)
	switch {
	case err != nil:
		return nil, err
	case a.proposal == "" && !needed:
		return run(ctx)
	case a.proposal == "":
		what := access.Content{Kind: kind, Operation: id, Method: methodOf(a.route), Path: a.path, Hash: a.content}
		if !secretBodies[id] {
			what.Body = a.body
		}
		p, err := e.Access.Propose(ctx, caller, whose, what)
		if err != nil {
			return nil, err
		}
		return nil, &waiting{proposalView(p)}
	}
	proposal, err := citygate.ParseUUID(access.ProposalPrefix, a.proposal)
	if err != nil {
		return nil, access.ErrNoProposal.Because(err, "header %s", approvalHeader)
	}
	execution, joined, err := e.Access.Begin(ctx, caller, whose, proposal, a.content)
	if err != nil {
		return nil, err
	}
	worked := false
	defer func() { // also when the operation panics
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
		defer cancel()
		if err := execution.End(ctx, http.StatusOK, worked); err != nil {
			e.log.ErrorContext(ctx, "the end of an approved request is not stored", "proposal", a.proposal, "err", err)
		}
	}()
	resp, err := run(joined)
	worked = err == nil
	return resp, err
}

func methodOf(route string) string {
	for i := range route {
		if route[i] == ' ' {
			return route[:i]
		}
	}
	return route
}

// document says in the OpenAPI document that an operation may need a second person.
func (e *Edge) document(op *huma.Operation) {
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: approvalHeader, In: "header", Description: "the approved proposal (apr_…) that this request is; it must be the same request, by the same person, with an Idempotency-Key of its own",
		Schema: &huma.Schema{Type: huma.TypeString},
	})
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{Description: "a problem: code says which", Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: e.api.OpenAPI().Components.Schemas.Schema(reflectType[Problem](), true, "Problem")},
	}}
	op.Responses[strconv.Itoa(http.StatusAccepted)] = &huma.Response{
		Description: "this needs a second person here, and waits as a proposal: when another person has approved it, send it again with the header Approval",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: e.api.OpenAPI().Components.Schemas.Schema(reflectType[ProposalDocument](), true, "ProposalDocument")},
		},
	}
}

// InProposal is a proposal in a path.
type InProposal struct {
	InTenant
	Proposal string `path:"proposal" example:"apr_0195e2…"`
}

// ApprovalSettings says what needs a second person.
type ApprovalSettings struct {
	TwoPerson []string `json:"two_person" maxItems:"4" doc:"of key_revocation, payout_release, policy_publish, provider_credential; until a tenant says otherwise, all in live mode and none in a sandbox. Where any of them does, so do this setting's lowering and changes of members, roles and issuers. The platform's are key_revocation, platform_access, tenant_state; until it says otherwise, all while it has two administrators"`
}

func (e *Edge) approvalRoutes() {
	register(e, get("list-proposals", "/v1/tenants/{tenant}/proposals", "Requests that wait for a second person, or had one, newest first", "access"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"open,approved,executed,refused,withdrawn,void,expired"`
		}) (*body[list[ProposalDocument]], error) {
			return e.proposals(ctx, r.id(), r.State, r.Paging)
		})
	one := func(op huma.Operation, do deed) {
		register(e, op, func(ctx context.Context, who Caller, r *InProposal) (*body[ProposalDocument], error) {
			return oneProposal(ctx, who, r.id(), r.Proposal, do)
		})
	}
	const path = "/v1/tenants/{tenant}/proposals/{proposal}"
	one(get("get-proposal", path, "One proposal, with what is to be approved", "access"),
		e.proposal)
	one(post("approve-proposal", path+"/approve", "Approve somebody else's request: its proposer may then send it again, once", "access"), e.Access.Approve)
	one(post("refuse-proposal", path+"/refuse", "Refuse somebody else's request, also after it was approved", "access"), e.Access.Refuse)
	one(post("withdraw-proposal", path+"/withdraw", "Take back one's own request", "access"), e.Access.Withdraw)
	register(e, get("get-approval-settings", "/v1/tenants/{tenant}/approval-settings", "What needs a second person", "access"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[ApprovalSettings], error) {
			return e.twoPerson(ctx, r.id())
		})
	register(e, put("put-approval-settings", "/v1/tenants/{tenant}/approval-settings", "Say what needs a second person; to leave out what does needs one", "access"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body ApprovalSettings
		}) (*body[ApprovalSettings], error) {
			if err := e.FileKeeps(ctx, r.id(), KeptApprovals, ""); err != nil {
				return nil, err
			}
			return e.setTwoPerson(ctx, who, r.id(), "put-approval-settings", r.Body)
		})
}

// A deed is what can be done to a proposal.
type deed func(context.Context, Caller, citygate.TenantID, citygate.UUID) (access.Proposal, error)

func (e *Edge) proposal(ctx context.Context, _ Caller, tenant citygate.TenantID, id citygate.UUID) (access.Proposal, error) {
	return e.Access.Proposal(ctx, tenant, id)
}

func oneProposal(ctx context.Context, who Caller, tenant citygate.TenantID, proposal string, do deed) (*body[ProposalDocument], error) {
	id, err := citygate.ParseUUID(access.ProposalPrefix, proposal)
	if err != nil {
		return nil, access.ErrNoProposal.Because(err, "path")
	}
	p, err := do(ctx, who, tenant, id)
	return respond(proposalView(p), err)
}

func (e *Edge) proposals(ctx context.Context, tenant citygate.TenantID, state string, p Paging) (*body[list[ProposalDocument]], error) {
	var before *citygate.UUID
	if p.After != "" {
		id, err := citygate.ParseUUID(access.ProposalPrefix, p.After)
		if err != nil {
			return nil, errCursor
		}
		before = &id
	}
	all, err := e.Access.Proposals(ctx, tenant, access.ProposalState(state), before, p.more())
	views := make([]ProposalDocument, len(all))
	for i, p := range all {
		views[i] = proposalView(p)
		views[i].Body = ""
	}
	return inPages(ctx, p, func(d ProposalDocument) string { return d.ID })(views, err)
}

func (e *Edge) twoPerson(ctx context.Context, tenant citygate.TenantID) (*body[ApprovalSettings], error) {
	kinds, err := e.Access.TwoPerson(ctx, tenant)
	return respond(ApprovalSettings{append([]string{}, kinds...)}, err)
}

// setTwoPerson says what needs a second person; to leave out what does is itself
// such a request.
func (e *Edge) setTwoPerson(ctx context.Context, who Caller, tenant citygate.TenantID, operation string, to ApprovalSettings) (*body[ApprovalSettings], error) {
	set := func(approved bool) func(context.Context) (*body[ApprovalSettings], error) {
		return func(ctx context.Context) (*body[ApprovalSettings], error) {
			began(ctx)
			return respond(to, e.Access.SetTwoPerson(ctx, who.Subject, tenant, to.TwoPerson, approved))
		}
	}
	lower, err := e.Access.Lowers(ctx, tenant, to.TwoPerson)
	if err != nil {
		return nil, err
	}
	if !lower {
		return set(false)(ctx)
	}
	return approved(ctx, e, who, operation, access.ApprovalSettings, set(true))
}
