package edge

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/fleet"
)

// singles are the documents that a PUT replaces, one by one: what their PUT's
// If-Match is held against. Those that tell more than their PUT takes are shown as
// their lists show them.
func (e *Edge) singles() {
	e.singleKeys()
	e.singleContracts()
	e.singlePeople()
	e.singleTerminals()
	e.singleAccounts()
	register(e, get("get-tenant-state", "/v1/tenants/{tenant}/state", "Where a tenant is in its life", "tenants"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[TenantState], error) {
			t, err := e.Tenants.ByID(ctx, r.id())
			return respond(TenantState{string(t.State)}, err)
		})
	register(e, get("get-code-scheme", "/v1/tenants/{tenant}/code-schemes/{scheme}", "How codes of one scheme are read that the tenant answers for", "riders"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Scheme string `path:"scheme" example:"mot-sm2"`
		}) (*body[CodeScheme], error) {
			return one("code scheme", func(s CodeScheme) bool { return s.Scheme == r.Scheme })(e.Foreign.Schemes(ctx, r.id()))
		})
}

// one answers with the row of a list that is asked for by name.
func one[T any](what string, is func(T) bool) func([]T, error) (*body[T], error) {
	return func(rows []T, err error) (*body[T], error) {
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(rows, is)
		if i < 0 {
			return nil, errNotFound.Because(nil, "%s", what)
		}
		return &body[T]{rows[i]}, nil
	}
}

// A TenantState is where a tenant is in its life.
type TenantState struct {
	State string `json:"state" enum:"draft,active,suspended,closing,closed"`
}

func (e *Edge) singleKeys() {
	register(e, get("get-key", "/v1/tenants/{tenant}/keys/{purpose}", "The key of a purpose that signs now", "keys"),
		func(ctx context.Context, _ Caller, r *InPurpose) (*body[TenantKey], error) {
			return one("key", func(k TenantKey) bool { return k.Purpose == r.Purpose && k.State == "active" })(e.Onboarding.Keys(ctx, r.id()))
		})
}

// InContract is a contract in a path.
type InContract struct {
	InTenant
	Contract string `path:"contract" minLength:"1" maxLength:"40"`
}

func (e *Edge) singleContracts() {
	contract := func(ctx context.Context, r InContract) (*body[Contract], error) {
		return one("contract", func(c Contract) bool { return c.Name == r.Contract })(e.Onboarding.Contracts(ctx, r.id()))
	}
	register(e, get("get-contract", "/v1/tenants/{tenant}/contracts/{contract}", "A contract with a payment provider", "providers"),
		func(ctx context.Context, _ Caller, r *InContract) (*body[Contract], error) { return contract(ctx, *r) })
	register(e, get("get-contract-secret", "/v1/tenants/{tenant}/contracts/{contract}/secrets/{secret}", "Which version of a contract's secret was given last, and when; never the secret", "providers"),
		func(ctx context.Context, _ Caller, r *struct {
			InContract
			Secret string `path:"secret" minLength:"1" maxLength:"40" doc:"name, as the adapter documents it"`
		}) (*body[ContractSecret], error) {
			c, err := contract(ctx, r.InContract)
			if err != nil {
				return nil, err
			}
			return one("secret", func(s ContractSecret) bool { return s.Name == r.Secret })(c.Body.Secrets, nil)
		})
}

func (e *Edge) singlePeople() {
	member := func(ctx context.Context, tenant citygate.TenantID, subject string) (*body[MemberDocument], error) {
		m, err := e.Access.Member(ctx, tenant, subject)
		if errors.Is(err, access.ErrNotFound) {
			return nil, errNotFound.Because(err, "member")
		}
		if err != nil {
			return nil, err
		}
		return respond(memberView(m), nil)
	}
	issuer := func(ctx context.Context, tenant citygate.TenantID, name string) (*body[IssuerDocument], error) {
		all, err := e.Access.Issuers(ctx, tenant)
		x, err := one("issuer", func(x access.Issuer) bool { return x.Name == name })(all, err)
		if err != nil {
			return nil, err
		}
		return respond(IssuerDocument(x.Body), nil)
	}
	register(e, get("get-member", "/v1/tenants/{tenant}/members/{member}", "A member and its roles", "access"),
		func(ctx context.Context, _ Caller, r *InMember) (*body[MemberDocument], error) {
			return member(ctx, r.id(), r.Member)
		})
	register(e, get("get-platform-member", "/v1/platform/members/{member}", "One of the platform's people and the roles", "platform"),
		func(ctx context.Context, _ Caller, r *InPlatformMember) (*body[MemberDocument], error) {
			return member(ctx, platform, r.Member)
		})
	register(e, get("get-issuer", "/v1/tenants/{tenant}/issuers/{issuer}", "An OpenID Connect issuer where the tenant's people sign in", "access"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Issuer string `path:"issuer" maxLength:"31"`
		}) (*body[IssuerDocument], error) {
			return issuer(ctx, r.id(), r.Issuer)
		})
	register(e, get("get-platform-issuer", "/v1/platform/issuers/{issuer}", "An OpenID Connect issuer where the platform's people sign in", "platform"),
		func(ctx context.Context, _ Caller, r *struct {
			Issuer string `path:"issuer" maxLength:"31"`
		}) (*body[IssuerDocument], error) {
			return issuer(ctx, platform, r.Issuer)
		})
	register(e, get("get-role", "/v1/tenants/{tenant}/roles/{role}", "A role and what it may do", "access"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Role string `path:"role" maxLength:"40"`
		}) (*body[RoleDocument], error) {
			return one("role", func(d RoleDocument) bool { return d.Role == r.Role })(e.roles(ctx, r.id()))
		})
}

func (e *Edge) singleTerminals() {
	terminal := func(ctx context.Context, tenant citygate.TenantID, id uint32) (Terminal, error) {
		if id == 0 {
			return Terminal{}, errNotFound.Because(nil, "terminal")
		}
		found, err := e.Terminals(ctx, tenant, id-1, 1)
		if err == nil && (len(found) == 0 || found[0].ID != id) {
			err = errNotFound.Because(nil, "terminal")
		}
		if err != nil {
			return Terminal{}, err
		}
		return found[0], nil
	}
	register(e, get("get-terminal-state", "/v1/tenants/{tenant}/terminals/{terminal}/state", "Whether a terminal's batches are taken", "fleet"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Terminal uint32 `path:"terminal"`
		}) (*body[TerminalState], error) {
			t, err := terminal(ctx, r.id(), r.Terminal)
			return respond(TerminalState{t.State}, err)
		})
	register(e, get("get-terminal-profile", "/v1/tenants/{tenant}/terminals/{terminal}/profile", "What a terminal does otherwise than the operator's policy says; empty: nothing", "fleet"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Terminal uint32 `path:"terminal"`
		}) (*body[fleet.TerminalProfile], error) {
			t, err := terminal(ctx, r.id(), r.Terminal)
			if err != nil || t.Profile == nil {
				return respond(fleet.TerminalProfile{}, err)
			}
			return respond(*t.Profile, nil)
		})
}

// An AccountConcession is the category that an account is in.
type AccountConcession struct {
	Category       string     `json:"category" doc:"empty: none"`
	ProofExpiresAt *time.Time `json:"proof_expires_at,omitempty"`
}

func (e *Edge) singleAccounts() {
	register(e, get("get-concession", "/v1/tenants/{tenant}/accounts/{account}/concession", "The category that an account is in", "riders"),
		func(ctx context.Context, _ Caller, r *OfAccount) (*body[AccountConcession], error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			category, proof, err := e.Devices.ConcessionOf(ctx, r.id(), id)
			c := AccountConcession{Category: category}
			if !proof.IsZero() {
				c.ProofExpiresAt = &proof
			}
			return respond(c, err)
		})
	register(e, get("get-payer", "/v1/tenants/{tenant}/accounts/{account}/payers/{contract}", "What a contract's provider calls the payer of an account", "riders"),
		func(ctx context.Context, _ Caller, r *struct {
			InAccount
			Contract string `path:"contract" maxLength:"80"`
		}) (*body[AccountPayer], error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			a, err := e.Account(ctx, r.id(), id)
			return one("payer", func(p AccountPayer) bool { return p.Contract == r.Contract })(append(a.Payers, AccountPayer{a.Contract, a.RiderRef}), err)
		})
}
