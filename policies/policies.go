// Package policies keeps a tenant's rule sets as immutable, numbered versions.
//
// The rules a terminal runs are those of policies/accept; a version is
// published once and never changed, and every tap names the version that
// decided it. Routing, limits and authorization rules are not here yet.
package policies

import "github.com/cashlesscity/citygate"

// The refusals of this package.
var (
	ErrNone    = &citygate.Code{Name: "policy.none", Kind: citygate.NotFound, Title: "The tenant has no such policy version. Publish one."}
	ErrVersion = &citygate.Code{Name: "policy.version", Kind: citygate.Conflict, Title: "This policy version exists with other content, or is not the next one. Publish the next version."}
)
