package authz_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/authz"
)

func compile(t *testing.T, book *authz.Book, p authz.Policy) *authz.Enforcer {
	t.Helper()
	e, err := book.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func perm(t *testing.T, text string) authz.Permission {
	t.Helper()
	p, err := authz.ParsePermission(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The roles, as a table for people: what each may and may not.
func TestBuiltinRoles(t *testing.T) {
	e := compile(t, authz.NewBook(), authz.Policy{})
	for _, c := range []struct {
		role   authz.Role
		domain authz.Domain
		may    []string
		mayNot []string
	}{
		{authz.PlatformAdmin, authz.Below, []string{"platform.write", "tenant.write", "settlement.release"}, nil},
		{authz.PlatformAdmin, authz.Own, []string{"platform.write", "platform.access", "platform.read"}, nil},
		{authz.PlatformAuditor, authz.Own, []string{"platform.read", "audit.read"}, []string{"platform.write", "platform.access", "quota.write", "access.write"}},
		{authz.PlatformAuditor, authz.Below, []string{"money.read", "audit.read"}, []string{"money.write", "tenant.write", "quota.write", "approval.write"}},
		{authz.Authority, authz.Own, []string{"access.write", "money.read"}, []string{"platform.write", "platform.read"}},
		{authz.Authority, authz.Below, []string{"access.write", "fleet.write", "money.read"}, []string{"settlement.release", "recon.write", "rider.write", "key.revoke", "platform.read"}},
		{authz.OperatorAdmin, authz.Own, []string{"access.write", "settlement.release", "key.revoke"}, []string{"platform.write", "platform.read"}},
		{authz.OperatorAdmin, authz.Below, nil, []string{"tenant.read", "money.read"}},
		{authz.Finance, authz.Own, []string{"recon.write", "settlement.release"}, []string{"rider.read", "access.write", "key.revoke", "policy.publish"}},
		{authz.Finance, authz.Below, []string{"settlement.read"}, []string{"recon.write", "rider.read"}},
		{authz.Support, authz.Own, []string{"rider.write", "money.read"}, []string{"payee.read", "settlement.read", "access.read"}},
		{authz.AdapterVendor, authz.Own, []string{"provider.test", "recon.read"}, []string{"provider.write", "rider.read", "money.read"}},
		{authz.Auditor, authz.Own, []string{"money.read", "audit.read", "access.read"}, []string{"money.write", "approval.write", "platform.read"}},
		{authz.Terminal, authz.Own, []string{"tap.write"}, []string{"tap.read", "tenant.read"}},
	} {
		for _, text := range c.may {
			if !e.RolesAllow([]authz.Role{c.role}, c.domain, perm(t, text)) {
				t.Errorf("%s may not %s in %s", c.role, text, c.domain)
			}
		}
		for _, text := range c.mayNot {
			if e.RolesAllow([]authz.Role{c.role}, c.domain, perm(t, text)) {
				t.Errorf("%s may %s in %s", c.role, text, c.domain)
			}
		}
	}
	for _, p := range authz.Permissions() {
		for _, domain := range []authz.Domain{authz.Own, authz.Below} {
			if e.RolesAllow([]authz.Role{authz.Auditor, authz.PlatformAuditor}, domain, p) && p.Verb != "read" {
				t.Errorf("an auditor, who changes nothing, may %s", p)
			}
		}
		if p.Resource == "platform" && e.RolesAllow(authz.Roles(), authz.Own, p) {
			t.Errorf("a role of tenants may %s", p)
		}
	}
}

// What is taken out of casbin beforehand is what casbin says of the whole
// request, member by member.
func TestKeptAnswersAreCasbins(t *testing.T) {
	book := authz.NewBook()
	r := rand.New(rand.NewPCG(7, 7))
	for tenant := range citygate.TenantID(3) {
		policy := authz.Policy{Tenant: tenant + 1, Members: map[string][]authz.Role{}}
		roles := authz.Roles()
		for i := range 5 {
			role := authz.Role(fmt.Sprintf("desk_%d", i))
			roles = append(roles, role)
			for range 3 {
				p := authz.Permissions()[r.IntN(len(authz.Permissions()))]
				if r.IntN(3) == 0 {
					p.Verb = "*"
				}
				if p.Resource != "platform" && p.Resource != "quota" {
					policy.Grants = append(policy.Grants, authz.Grant{Role: role, Permission: p})
				}
			}
		}
		for i := range 6 {
			var has []authz.Role
			for range r.IntN(4) {
				if role := roles[r.IntN(len(roles))]; !slices.Contains(has, role) {
					has = append(has, role)
				}
			}
			policy.Members[fmt.Sprintf("user:%d", i)] = has
		}
		policy.Grants = slices.DeleteFunc(policy.Grants, func(g authz.Grant) bool { return g.Check() != nil })
		policy.Members = usable(policy)
		e := compile(t, book, policy)
		allowed := 0
		for i := range 2 * len(policy.Members) { // each is asked, and asked again when both domains are remembered
			subject := fmt.Sprintf("user:%d", i%len(policy.Members))
			for _, domain := range []authz.Domain{authz.Own, authz.Below} {
				for _, need := range authz.Permissions() {
					rule, err := e.Explain(subject, domain, need)
					if err != nil {
						t.Fatal(err)
					}
					if got := e.Allows(subject, domain, need); got != (rule != "") {
						t.Errorf("%s %s %s: kept %t, casbin's rule %q", subject, domain, need, got, rule)
					} else if got {
						allowed++
					}
				}
			}
		}
		if allowed == 0 {
			t.Error("nobody may anything: nothing was tried")
		}
	}
}

// A member is who the whole name says: names that begin alike, end alike or are
// a part of another are different people, at every number of members.
func TestMembersAreToldApartByTheWholeName(t *testing.T) {
	long := "user:" + strings.Repeat("0f3c9a7é-", 20) // longer than what stands beside the answers
	need := perm(t, "access.write")
	for _, many := range []int{0, 1, 2, 3, 50, 400} {
		policy := authz.Policy{Tenant: 1, Members: map[string][]authz.Role{}}
		for i := range many {
			name := fmt.Sprintf("user:%d", i/2)
			if i%2 == 1 {
				name = fmt.Sprintf("%s%d", long, i/2)
			}
			policy.Members[name] = []authz.Role{authz.Auditor}
			if i%3 == 0 {
				policy.Members[name] = []authz.Role{authz.OperatorAdmin}
			}
		}
		e := compile(t, authz.NewBook(), policy)
		for range 2 { // asked, then remembered
			for name, roles := range policy.Members {
				if got, want := e.Allows(name, authz.Own, need), roles[0] == authz.OperatorAdmin; got != want {
					t.Errorf("%d members: %s may: %t, want %t", many, name, got, want)
				}
			}
			for _, stranger := range []string{"", "user:", "user", "user:0 ", "user:999", "user:0\x00", long, long[:30], long + "999", long + "0x", "user:0" + strings.Repeat("\x00", 1<<16)} {
				if _, member := policy.Members[stranger]; !member && e.Allows(stranger, authz.Own, need) {
					t.Errorf("%d members: %q is none of them and may", many, stranger)
				}
			}
		}
	}
}

// usable drops roles whose grants were all dropped.
func usable(p authz.Policy) map[string][]authz.Role {
	members := map[string][]authz.Role{}
	for subject, roles := range p.Members {
		members[subject] = slices.DeleteFunc(roles, func(role authz.Role) bool {
			return !slices.Contains(authz.Roles(), role) && !slices.ContainsFunc(p.Grants, func(g authz.Grant) bool { return g.Role == role })
		})
	}
	return members
}

// A revoked role is gone with the next version, and the old version is not
// touched: the defect of CachedEnforcer.
func TestARevokedRoleIsGone(t *testing.T) {
	book := authz.NewBook()
	need := perm(t, "recon.write")
	before := compile(t, book, authz.Policy{Tenant: 1, Version: 1, Members: map[string][]authz.Role{"user:ada": {authz.Finance}}})
	if !before.Allows("user:ada", authz.Own, need) {
		t.Fatal("finance may not resolve")
	}
	after := compile(t, book, authz.Policy{Tenant: 1, Version: 2, Members: map[string][]authz.Role{"user:ada": {authz.Support}}})
	if after.Allows("user:ada", authz.Own, need) || !before.Allows("user:ada", authz.Own, need) {
		t.Error("versions are not told apart")
	}
	other := compile(t, book, authz.Policy{Tenant: 2, Members: map[string][]authz.Role{"user:ada": {"desk"}}, Grants: []authz.Grant{{Role: "desk", Permission: need}}})
	again := compile(t, book, authz.Policy{Tenant: 3, Members: map[string][]authz.Role{"user:ada": {"desk"}}, Grants: []authz.Grant{{Role: "desk", Permission: perm(t, "money.read")}}})
	if !other.Allows("user:ada", authz.Own, need) || again.Allows("user:ada", authz.Own, need) {
		t.Error("a role of one tenant's making counts in another")
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	book := authz.NewBook()
	money := perm(t, "money.read")
	for what, p := range map[string]authz.Policy{
		"unknown role":             {Tenant: 1, Members: map[string][]authz.Role{"user:ada": {"boss"}}},
		"terminal as a member":     {Tenant: 1, Members: map[string][]authz.Role{"user:ada": {authz.Terminal}}},
		"platform role in tenant":  {Tenant: 1, Members: map[string][]authz.Role{"user:ada": {authz.PlatformAdmin}}},
		"its auditor in a tenant":  {Tenant: 1, Members: map[string][]authz.Role{"user:ada": {authz.Auditor, authz.PlatformAuditor}}},
		"tenants' role there":      {Members: map[string][]authz.Role{"platform:ada": {authz.Auditor}}},
		"a subject named as role":  {Tenant: 1, Members: map[string][]authz.Role{"operator_admin": {authz.Support}}},
		"a subject with $$":        {Tenant: 1, Members: map[string][]authz.Role{"user:a$$own": {authz.Support}}},
		"a subject with a newline": {Tenant: 1, Members: map[string][]authz.Role{"user:a\n": {authz.Support}}},
		"a built-in role changed":  {Tenant: 1, Grants: []authz.Grant{{Role: authz.Support, Permission: money}}},
		"a role named oddly":       {Tenant: 1, Grants: []authz.Grant{{Role: "user:ada", Permission: money}}},
		"every resource":           {Tenant: 1, Grants: []authz.Grant{{Role: "desk", Permission: authz.Permission{Resource: "*", Verb: "read"}}}},
		"the platform":             {Tenant: 1, Grants: []authz.Grant{{Role: "desk", Permission: authz.Permission{Resource: "platform", Verb: "read"}}}},
		"no such verb":             {Tenant: 1, Grants: []authz.Grant{{Role: "desk", Permission: authz.Permission{Resource: "money", Verb: "burn"}}}},
		"a matcher for a name":     {Tenant: 1, Grants: []authz.Grant{{Role: "desk", Permission: authz.Permission{Resource: `money" || true || "`, Verb: "read"}}}},
	} {
		if _, err := book.Compile(p); !errors.Is(err, authz.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	e := compile(t, book, authz.Policy{Tenant: 1})
	if e.RolesAllow([]authz.Role{authz.OperatorAdmin}, authz.Own, authz.Permission{Resource: "money", Verb: "burn"}) {
		t.Error("a permission that does not exist is held")
	}
}

func TestEnforcersAreReadByMany(t *testing.T) {
	e := compile(t, authz.NewBook(), authz.Policy{Tenant: 1, Members: map[string][]authz.Role{"user:ada": {authz.Finance, "desk"}}, Grants: []authz.Grant{{Role: "desk", Permission: perm(t, "rider.read")}}})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, need := range authz.Permissions() {
				rule, err := e.Explain("user:ada", authz.Own, need)
				if got := e.Allows("user:ada", authz.Own, need); err != nil || got != (rule != "") {
					t.Errorf("%s: %t, %q, %v", need, got, rule, err)
				}
			}
		})
	}
	all.Wait()
}

// FuzzParsePermission: what parses covers something that exists, and prints as
// it was read.
func FuzzParsePermission(f *testing.F) {
	for _, seed := range []string{"money.read", "*.read", "rider.*", "*.*", "a.b", ".", "platform.write", "money.read.all"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := authz.ParsePermission(text)
		if err != nil {
			return
		}
		if p.String() != text || !slices.ContainsFunc(authz.Permissions(), p.Covers) {
			t.Errorf("%q reads as %v", text, p)
		}
	})
}
