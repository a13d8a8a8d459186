package authz

import (
	mathbits "math/bits"
	"slices"
	"strings"
	"sync"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"

	"github.com/cashlesscity/citygate"
)

// modelText is code and never comes from a tenant. The cheap comparisons stand
// first: g is looked up for rules that fit otherwise.
const modelText = `
[request_definition]
r = sub, dom, obj, act

[policy_definition]
p = sub, dom, obj, act

[role_definition]
g = _, _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.dom == p.dom && (p.obj == r.obj || p.obj == "*" && r.obj != "platform" && r.obj != "quota") && (p.act == r.act || p.act == "*") && g(r.sub, p.sub, r.dom)
`

// bits numbers the permissions, so that a word holds an answer about each.
var bits = func() map[Permission]uint {
	all := Permissions()
	if len(all) > 64 {
		panic("authz: more permissions than a word has bits")
	}
	numbered := make(map[Permission]uint, len(all))
	for i, p := range all {
		numbered[p] = uint(i)
	}
	return numbered
}()

// A memo keeps what casbin said of roles under rules that never change.
type memo struct {
	rules []Rule
	roles []Role
	said  []desk // by role

	mu     sync.Mutex // casbin is asked by one at a time
	casbin *casbin.Enforcer
}

func newMemo(rules []Rule) *memo {
	m := &memo{rules: rules}
	for _, r := range rules {
		if !slices.Contains(m.roles, r.Role) {
			m.roles = append(m.roles, r.Role)
		}
	}
	m.said = make([]desk, len(m.roles))
	return m
}

// ask gives casbin's answer about role number i. A failure of casbin is none.
func (m *memo) ask(i, domain int, need Permission, bit uint) (allowed, said bool) {
	if allowed, known := m.said[i].recall(domain, bit); known {
		return allowed, true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.casbin == nil {
		made, err := compile(m.rules, nil)
		if err != nil {
			return false, false
		}
		m.casbin = made
	}
	allowed, err := m.casbin.Enforce(string(m.roles[i]), string(domains[domain]), need.Resource, need.Verb)
	if err != nil {
		return false, false
	}
	m.said[i].keep(domain, bit, allowed)
	return allowed, true
}

// domains numbers the domains.
var domains = [...]Domain{Own, Below}

// compile makes a casbin enforcer that is never changed afterwards.
func compile(rules []Rule, members map[string][]Role) (*casbin.Enforcer, error) {
	m, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, err
	}
	e, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, err
	}
	p := make([][]string, len(rules))
	for i, r := range rules {
		p[i] = []string{string(r.Role), string(r.Domain), r.Permission.Resource, r.Permission.Verb}
	}
	if _, err := e.AddPoliciesEx(p); err != nil {
		return nil, err
	}
	var g [][]string
	for subject, roles := range members {
		for _, role := range roles {
			g = append(g, []string{subject, string(role), string(Own)}, []string{subject, string(role), string(Below)})
		}
	}
	if len(g) > 0 {
		_, err = e.AddGroupingPoliciesEx(g)
	}
	return e, err
}

// A Book makes enforcers. It keeps what casbin says of the built-in roles.
type Book struct{ builtin *memo }

// NewBook gives a Book.
func NewBook() *Book { return &Book{builtin: newMemo(Builtin())} }

// A Policy is who may do what in one tenant, at one version. The tenant 0 is
// the platform.
type Policy struct {
	Tenant  citygate.TenantID
	Version int64
	Members map[string][]Role // by subject, such as "user:ada"
	Grants  []Grant           // roles of the tenant's own making
}

// Check reports the first part of p that cannot be enforced.
func (p Policy) Check() error {
	own := map[Role]bool{}
	for _, g := range p.Grants {
		if err := g.Check(); err != nil {
			return err
		}
		own[g.Role] = true
	}
	if len(own) > RolesMost || len(p.Grants) > GrantsMost {
		return ErrInvalid.Explain("%d roles with %d grants: at most %d roles with %d grants in all", len(own), len(p.Grants), RolesMost, GrantsMost)
	}
	for subject, roles := range p.Members {
		if err := CheckSubject(subject); err != nil {
			return err
		}
		for _, role := range roles {
			if _, builtin := rules[role]; !builtin && !own[role] {
				return ErrInvalid.Explain("%s: there is no role %q", subject, role)
			}
			if role == Terminal || slices.Contains(PlatformRoles(), role) != (p.Tenant == 0) {
				return ErrInvalid.Explain("%s: role %q is not for members here", subject, role)
			}
		}
	}
	return nil
}

// CheckSubject refuses names that could be taken for something else.
func CheckSubject(subject string) error {
	_, isRole := rules[Role(subject)]
	if isRole || !subjectForm.MatchString(subject) || strings.Contains(subject, "$$") || roleForm.MatchString(subject) {
		return ErrInvalid.Explain("subject %q: want a prefix, such as user:ada, and no control characters", subject)
	}
	return nil
}

// An Enforcer decides for one tenant at one version. It never changes and is
// safe for concurrent use.
type Enforcer struct {
	desks  desks // first, as every decision reads it
	policy Policy
	book   *Book
	own    *memo // roles of the tenant's own making

	explain sync.Once
	whole   *casbin.Enforcer // all rules and members, for Explain
	failed  error
	asking  sync.Mutex
}

// Compile gives the enforcer of p.
func (b *Book) Compile(p Policy) (*Enforcer, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &Enforcer{desks: newDesks(p.Members), policy: p, book: b, own: newMemo(ownRules(p.Grants))}, nil
}

// A roleSet has a bit for each role: the built-in ones first, as the book's memo
// has them, then those of the tenant's own making.
type roleSet uint64

// ownFrom is the first bit of a role of the tenant's own making.
const ownFrom = 32

func (e *Enforcer) set(roles []Role) (set roleSet) {
	for _, role := range roles {
		if i := slices.Index(e.book.builtin.roles, role); i >= 0 {
			set |= 1 << i
		} else if i := slices.Index(e.own.roles, role); i >= 0 {
			set |= 1 << (ownFrom + i)
		}
	}
	return set
}

func ownRules(grants []Grant) []Rule {
	list := make([]Rule, len(grants))
	for i, g := range grants {
		list[i] = Rule{g.Role, Own, g.Permission}
	}
	return list
}

// Tenant is whose policy it is, and Version which.
func (e *Enforcer) Tenant() citygate.TenantID { return e.policy.Tenant }

// Version is the policy version that e stands for.
func (e *Enforcer) Version() int64 { return e.policy.Version }

// RolesOf gives the roles of a subject. The caller must not change them.
func (e *Enforcer) RolesOf(subject string) []Role { return e.policy.Members[subject] }

// Allows decides whether a member may do what needs need.
func (e *Enforcer) Allows(subject string, domain Domain, need Permission) bool {
	bit, valid := bits[need]
	in := slices.Index(domains[:], domain)
	d := e.desks.of(subject)
	if !valid || in < 0 || d == nil {
		return false
	}
	if allowed, known := d.recall(in, bit); known {
		return allowed
	}
	allowed, said := e.ask(e.set(e.policy.Members[subject]), in, need, bit)
	if said {
		d.keep(in, bit, allowed)
	}
	return allowed
}

// RolesAllow decides for somebody who shows roles: a token that carries them.
func (e *Enforcer) RolesAllow(roles []Role, domain Domain, need Permission) bool {
	bit, valid := bits[need]
	in := slices.Index(domains[:], domain)
	if !valid || in < 0 {
		return false
	}
	allowed, _ := e.ask(e.set(roles), in, need, bit)
	return allowed
}

// ask gives what the roles of a set allow together. A failure of casbin about
// one is a refusal by it, and said is false: it is asked again next time.
func (e *Enforcer) ask(set roleSet, domain int, need Permission, bit uint) (allowed, said bool) {
	said = true
	for ; set != 0; set &= set - 1 {
		m, i := e.book.builtin, mathbits.TrailingZeros64(uint64(set))
		if i >= ownFrom {
			m, i = e.own, i-ownFrom
		}
		yes, clear := m.ask(i, domain, need, bit)
		if yes {
			return true, true
		}
		said = said && clear
	}
	return false, said
}

// HoldersOf gives the roles that have a permission, in order.
func (e *Enforcer) HoldersOf(domain Domain, need Permission) []Role {
	var held []Role
	for _, role := range e.assignable() {
		if e.RolesAllow([]Role{role}, domain, need) {
			held = append(held, role)
		}
	}
	return held
}

// assignable are the roles that members of the tenant can have.
func (e *Enforcer) assignable() []Role {
	all := Roles()
	if e.policy.Tenant == 0 {
		all = PlatformRoles()
	}
	for _, g := range e.policy.Grants {
		if !slices.Contains(all, g.Role) {
			all = append(all, g.Role)
		}
	}
	return all
}

// Grantors gives the members that may give somebody a role, in order.
func (e *Enforcer) Grantors() []string {
	var names []string
	for subject := range e.policy.Members {
		if e.Allows(subject, Own, Permission{"access", "write"}) {
			names = append(names, subject)
		}
	}
	slices.Sort(names)
	return names
}

// Explain asks casbin for the whole request and gives the rule that allowed
// it, or "" if none did.
func (e *Enforcer) Explain(subject string, domain Domain, need Permission) (rule string, err error) {
	e.explain.Do(func() {
		e.whole, e.failed = compile(append(Builtin(), ownRules(e.policy.Grants)...), e.policy.Members)
	})
	if e.failed != nil {
		return "", e.failed
	}
	e.asking.Lock()
	defer e.asking.Unlock()
	allowed, found, err := e.whole.EnforceEx(subject, string(domain), need.Resource, need.Verb)
	if err != nil || !allowed {
		return "", err
	}
	return "p, " + strings.Join(found, ", "), nil
}
