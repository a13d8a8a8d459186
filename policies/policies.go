// Package policies keeps a tenant's rule sets as immutable, numbered versions.
//
// A version is a file that policies/ruleset compiles ([PublishSet]), or the fields
// of policies/accept alone ([Publish]). It holds from an event time on: of the
// versions that are not from later than a tap, the highest decides on it
// ([InForce]), and the tap names it. So a version published for later waits, one
// published after it from now on takes its place, and a rollback is the next
// version with the file of an earlier one. Nothing published is ever changed.
//
// Readers carry the newest version and those that hold until it does ([Chain]).
package policies

import "github.com/cashlesscity/citygate"

// The refusals of this package.
var (
	ErrNone    = &citygate.Code{Name: "policy.none", Kind: citygate.NotFound, Title: "The tenant has no such policy version. Publish one."}
	ErrVersion = &citygate.Code{Name: "policy.version", Kind: citygate.Conflict, Title: "This policy version exists with other content, or is not the next one. Publish the next version."}
	// ErrRuleSet says that plain acceptance fields would take the place of a rule set.
	ErrRuleSet = &citygate.Code{Name: "policy.rule_set", Kind: citygate.Conflict, Title: "The tenant has published a rule set, and plain acceptance fields would drop its rules, limits, routing and liability. Publish the next rule set instead: citygate policy publish, or POST /v1/tenants/{tenant}/policies."}
	ErrWhen    = &citygate.Code{Name: "policy.when", Kind: citygate.Invalid, Title: "The version cannot take effect then. Name a time from now to a year from now, with at most three versions ahead."}
)
