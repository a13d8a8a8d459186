package authz

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
)

// A Permission is what one operation needs: "money.read".
type Permission struct{ Resource, Verb string }

// String gives "resource.verb".
func (p Permission) String() string { return p.Resource + "." + p.Verb }

// resources says what can be done to what, besides reading it.
var resources = map[string][]string{
	"platform":   {"read", "write", "access"},            // the directory of tenants itself, and the platform's own people
	"quota":      {"write"},                              // what a tenant may ask: of those above it alone
	"tenant":     {"read", "write"},                      // name, state, calendar, settings
	"access":     {"read", "write"},                      // members, roles, API keys, issuers
	"approval":   {"read", "write"},                      // proposals that need two persons
	"audit":      {"read"},                               //
	"fleet":      {"read", "write"},                      // terminals, vehicles, assignments
	"payee":      {"read", "write"},                      // who is paid, and to which account
	"trust":      {"read", "write"},                      // bundles and how far they have come
	"key":        {"read", "rotate", "revoke"},           //
	"policy":     {"read", "write", "publish", "replay"}, // acceptance, limits, routing, issuance; replay: what a draft would have done
	"tariff":     {"read", "write", "publish"},           //
	"provider":   {"read", "write", "test"},              // contracts and their credentials
	"rider":      {"read", "write"},                      // accounts, devices, credentials, denials
	"inspection": {"check"},                              // whether a code that is shown holds, and nothing else
	"ridership":  {"read", "publish"},                    // how many ride
	"taprow":     {"read"},                               // every tap as a row for analysts, riders under pseudonyms
	"debt":       {"read", "write"},                      // what riders owe, refunds
	"till":       {"charge", "read", "refund"},           // payments by the codes of customers' wallets
	"money":      {"read", "write"},                      // journeys, charges, balances
	"settlement": {"read", "write", "release"},           // windows, terms, payouts
	"recon":      {"read", "write"},                      // exceptions
	"tap":        {"read", "write"},                      // uploads of terminals
}

// Valid reports whether there is such a permission.
func (p Permission) Valid() bool { return slices.Contains(resources[p.Resource], p.Verb) }

// Permissions gives every permission there is, in order.
func Permissions() []Permission {
	var all []Permission
	for _, r := range slices.Sorted(maps.Keys(resources)) {
		for _, v := range resources[r] {
			all = append(all, Permission{r, v})
		}
	}
	return all
}

// ParsePermission reads "resource.verb"; both may be "*".
func ParsePermission(s string) (Permission, error) {
	resource, verb, ok := strings.Cut(s, ".")
	p := Permission{resource, verb}
	switch {
	case !ok, resource != "*" && resources[resource] == nil:
	case verb == "*" || p.Valid():
		return p, nil
	case resource == "*" && slices.ContainsFunc(Permissions(), func(q Permission) bool { return q.Verb == verb }):
		return p, nil
	}
	return Permission{}, ErrInvalid.Explain("%q is no permission: want resource.verb such as money.read, rider.* or *.read", s)
}

// Covers reports whether p, which may have wildcards, includes q. As in the
// rules of roles, the resource "*" leaves out the platform.
func (p Permission) Covers(q Permission) bool {
	return (p.Resource == q.Resource || (p.Resource == "*" && q.Resource != "platform" && q.Resource != "quota")) && (p.Verb == "*" || p.Verb == q.Verb)
}

// A Role names a set of permissions.
type Role string

// The built-in roles. Those of tenants' own making have other names.
const (
	PlatformAdmin   Role = "platform_admin"   // of the platform alone
	PlatformAuditor Role = "platform_auditor" // of the platform alone: reads, and changes nothing
	Authority       Role = "authority"        // runs an authority and what it owns
	OperatorAdmin   Role = "operator_admin"   // everything of its own tenant
	Finance         Role = "finance"
	Support         Role = "support"
	Cashier         Role = "cashier"        // charges customers at a till, and gives nothing back
	AdapterVendor   Role = "adapter_vendor" // builds and watches a payment adapter
	Auditor         Role = "auditor"        // reads, and changes nothing
	Terminal        Role = "terminal"       // a device: it authenticates by its key
)

// A Domain is where a permission counts.
type Domain string

// The domains.
const (
	Own   Domain = "own"   // the tenant of the role's holder
	Below Domain = "below" // tenants that one owns; of the platform: all of them
)

// rules are the built-in roles: what each may do, by domain. "*" stands for
// every resource but platform and quota, or every verb.
var rules = map[Role]map[Domain][]string{
	PlatformAdmin: {
		Own:   {"platform.*", "*.*"},
		Below: {"platform.*", "quota.*", "*.*"},
	},
	// What the platform's audit log says is not for tenants' auditors, so their role
	// is another.
	PlatformAuditor: {Own: {"platform.read", "*.read"}, Below: {"*.read"}},
	Authority: {
		Own:   {"*.*"},
		Below: {"*.read", "quota.*", "tenant.*", "access.*", "approval.*", "fleet.*", "policy.*", "tariff.*"},
	},
	OperatorAdmin: {Own: {"*.*"}},
	Finance: {
		Own:   {"money.*", "debt.*", "till.*", "settlement.*", "recon.*", "payee.*", "approval.*", "tenant.read", "fleet.read", "tariff.read", "policy.read", "provider.read", "ridership.read"},
		Below: {"money.read", "debt.read", "till.read", "settlement.read", "recon.read", "payee.read", "tenant.read", "ridership.read"},
	},
	Support: {
		Own:   {"rider.*", "debt.*", "till.read", "inspection.check", "money.read", "fleet.read", "tenant.read", "recon.read", "policy.read", "tariff.read", "trust.read"},
		Below: {"rider.read", "debt.read", "money.read", "fleet.read", "tenant.read"},
	},
	Cashier:       {Own: {"till.charge", "till.read"}},
	AdapterVendor: {Own: {"provider.read", "provider.test", "recon.read", "tenant.read"}},
	Auditor:       {Own: {"*.read"}, Below: {"*.read"}},
	Terminal:      {Own: {"tap.write"}},
}

// Roles gives the built-in roles a member of a tenant may have. The role
// authority is for members of authorities.
func Roles() []Role {
	return []Role{Authority, OperatorAdmin, Finance, Support, Cashier, AdapterVendor, Auditor}
}

// PlatformRoles gives the roles that members of the platform itself have.
func PlatformRoles() []Role { return []Role{PlatformAdmin, PlatformAuditor} }

// A Rule lets a role do something.
type Rule struct {
	Role       Role
	Domain     Domain
	Permission Permission // may have wildcards
}

// String gives the rule as casbin has it.
func (r Rule) String() string {
	return fmt.Sprintf("p, %s, %s, %s, %s", r.Role, r.Domain, r.Permission.Resource, r.Permission.Verb)
}

// Builtin gives the rules of the built-in roles, in order.
func Builtin() []Rule {
	var all []Rule
	for _, role := range slices.Sorted(maps.Keys(rules)) {
		for _, domain := range []Domain{Own, Below} {
			for _, text := range rules[role][domain] {
				resource, verb, _ := strings.Cut(text, ".")
				all = append(all, Rule{role, domain, Permission{resource, verb}})
			}
		}
	}
	return all
}

// The refusals of this package.
var (
	ErrInvalid = &citygate.Code{Name: "access.invalid", Kind: citygate.Invalid, Title: "The role, grant or name is not valid. Correct the named field."}
)

// Limits of what a tenant may define.
const (
	RolesMost  = 20  // roles of its own
	GrantsMost = 100 // permissions of those roles in all
)

var (
	roleForm     = regexp.MustCompile(`^[a-z][a-z0-9_]{1,39}$`)
	subjectForm  = regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,200}$`)
	localForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	externalForm = regexp.MustCompile(`^[!-~]{1,128}$`)
)

// A Grant gives a role of the tenant's own making a permission in the tenant.
// It says nothing about tenants below, nor about the platform.
type Grant struct {
	Role       Role
	Permission Permission // the verb may be "*"
}

// Check reports what cannot be a tenant's own grant.
func (g Grant) Check() error {
	_, builtin := rules[g.Role]
	switch {
	case builtin:
		return ErrInvalid.Explain("role %q is built in: choose another name", g.Role)
	case !roleForm.MatchString(string(g.Role)):
		return ErrInvalid.Explain("role %q: want 2 to 40 lower-case letters, digits and underscores", g.Role)
	case g.Permission.Resource == "*" || g.Permission.Resource == "platform" || g.Permission.Resource == "quota":
		return ErrInvalid.Explain("permission %s: name one resource of the tenant", g.Permission)
	}
	_, err := ParsePermission(g.Permission.String())
	return err
}

// CheckMember refuses what cannot name a person: what an issuer calls him, or, for one
// who does not sign in, issuer "", what we do. The error says what it has to be.
func CheckMember(issuer, name string) error {
	switch {
	case issuer == "" && !localForm.MatchString(name):
		return fmt.Errorf("%q: want up to 63 lower-case letters, digits, dots, hyphens and underscores", name)
	case issuer != "" && !externalForm.MatchString(name):
		return fmt.Errorf("%q: want the subject that the issuer gives the person, up to 128 visible ASCII characters", name)
	}
	return nil
}
