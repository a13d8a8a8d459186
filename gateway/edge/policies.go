package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/ruleset"
)

// Policies is what the edge calls for rule sets.
type Policies struct {
	List func(ctx context.Context, tenant citygate.TenantID, before uint64, limit int) ([]PolicyVersion, error)
	// Get gives a version; 0 is the one in force.
	Get     func(ctx context.Context, tenant citygate.TenantID, version uint64) (PolicySource, error)
	Publish func(ctx context.Context, actor string, tenant citygate.TenantID, p PublishPolicy) (PolicyVersion, error)
	Restore func(ctx context.Context, actor string, tenant citygate.TenantID, version uint64, at *time.Time) (PolicyVersion, error)
	Check   func(ctx context.Context, source string) (PolicyCheck, error)
}

// PolicyVersion is one published version of a tenant's rule set.
type PolicyVersion struct {
	Version     uint64    `json:"version"`
	EffectiveAt time.Time `json:"effective_at" doc:"event time from which it holds; of the versions that are not from later, the highest decides"`
	InForce     bool      `json:"in_force" doc:"it decides on taps of now"`
	PublishedAt time.Time `json:"published_at"`
	PublishedBy string    `json:"published_by,omitempty"`
	Hash        string    `json:"hash,omitempty" doc:"SHA-256 of what the rule set says; absent: the version has no rule set"`
	Restores    uint64    `json:"restores,omitempty" doc:"the earlier version whose rule set it is again"`
}

// PolicySource is a version with the file it was made of.
type PolicySource struct {
	PolicyVersion
	Source string   `json:"source" doc:"the rule set in YAML, as it was published"`
	Rules  []string `json:"rules" doc:"the rules in the order they are tried"`
	Steps  int      `json:"steps" doc:"the most comparisons a reader makes for one tap"`
}

// PublishPolicy asks for the next version.
type PublishPolicy struct {
	Source      string     `json:"source" maxLength:"65536" doc:"the rule set in YAML: see policies/ruleset"`
	EffectiveAt *time.Time `json:"effective_at,omitempty" doc:"event time from which it holds; absent: from now on"`
}

// RestorePolicy says from when an earlier rule set holds again.
type RestorePolicy struct {
	EffectiveAt *time.Time `json:"effective_at,omitempty" doc:"absent: from now on"`
}

// PolicyCheck says what is wrong with a rule set, and what is in it.
type PolicyCheck struct {
	Valid  bool            `json:"valid"`
	Faults []ruleset.Fault `json:"faults,omitempty"`
	Hash   string          `json:"hash,omitempty"`
	Rules  []string        `json:"rules,omitempty"`
	Steps  int             `json:"steps,omitempty"`
}

func (e *Edge) ruleSetRoutes() {
	register(e, get("list-policies", "/v1/tenants/{tenant}/policies", "Versions of the tenant's rules, newest first", "policies"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Before uint64 `query:"before" doc:"version of the last row seen"`
			Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
		}) (*body[list[PolicyVersion]], error) {
			return respondList(e.Policies.List(ctx, r.id(), r.Before, r.Limit))
		})
	register(e, get("get-policy", "/v1/tenants/{tenant}/policies/{version}", "One version with its rule set; 0 is the one in force", "policies"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Version uint64 `path:"version"`
		}) (*body[PolicySource], error) {
			return respond(e.Policies.Get(ctx, r.id(), r.Version))
		})
	register(e, post("publish-policy", "/v1/tenants/{tenant}/policies", "Publish a rule set as the next version, from now on or for later", "policies"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body PublishPolicy
		}) (*body[PolicyVersion], error) {
			return respond(e.Policies.Publish(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, post("restore-policy", "/v1/tenants/{tenant}/policies/{version}/restore", "Roll back: publish the rule set of an earlier version as the next one", "policies"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Version uint64 `path:"version" minimum:"1"`
			Body    RestorePolicy
		}) (*body[PolicyVersion], error) {
			return respond(e.Policies.Restore(ctx, who.Subject, r.id(), r.Version, r.Body.EffectiveAt))
		})
	check := post("check-policy", "/v1/tenants/{tenant}/policy-checks", "Say what is wrong with a rule set, and publish nothing", "policies")
	register(e, check, func(ctx context.Context, _ Caller, r *struct {
		InTenant
		Body struct {
			Source string `json:"source" maxLength:"65536"`
		}
	}) (*body[PolicyCheck], error) {
		return respond(e.Policies.Check(ctx, r.Body.Source))
	})
}
