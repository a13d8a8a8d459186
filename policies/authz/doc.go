// Package authz says who may call which operation of the API. It is the only
// importer of casbin.
//
// An operation needs one [Permission]: a resource and a verb. A [Role] is a set
// of permissions in each of two domains: Own, the tenant itself, and Below, the
// tenants it owns (for the platform: every tenant). A member of a tenant has
// roles there and nowhere else; what an authority's people may do in an
// operator's tenant is a matter of the authority's rules, and their
// transactions are bound to the operator alone.
//
// Everything about one tenant at one policy version is one immutable
// [Enforcer]. A change makes a new one; nothing is ever edited, so nothing that
// was revoked can be remembered. casbin's CachedEnforcer is not used: it goes on
// allowing what was taken away, and its key joins names so that crafted ones
// meet.
//
// casbin reads every rule at every request: 40 rules cost 20 to 90 µs. Who has
// which roles is therefore taken out of its g lines when the Enforcer is made,
// and what casbin says of one (role, domain, permission) is kept: it can never
// be another answer, as the rules never change. The built-in roles have the same
// rules in every tenant, so their answers are kept once for the process.
// [Enforcer.Explain] asks casbin about the whole request again, for people.
package authz
