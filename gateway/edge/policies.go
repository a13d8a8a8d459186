package edge

import (
	"context"
	"strconv"
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
	Replay  func(ctx context.Context, tenant citygate.TenantID, r ReplayPolicy) (PolicyReplay, error)
}

// ReplayPolicy asks what a draft would have decided on a day that is over.
type ReplayPolicy struct {
	Source string `json:"source" maxLength:"65536" doc:"the rule set in YAML"`
	Day    string `json:"day" format:"date" doc:"a business date" example:"2026-11-21"`
	Next   string `json:"next,omitempty" maxLength:"64" doc:"next of the part before"`
	Limit  int    `json:"limit,omitempty" minimum:"1" maximum:"50000" default:"20000" doc:"taps, or charges, that one part looks at"`
}

// PolicyReplay is a part of what would change. Parts add up.
type PolicyReplay struct {
	Day     string        `json:"day"`
	Taps    int           `json:"taps" doc:"looked at in this part"`
	Same    int           `json:"same" doc:"decided as they were"`
	Erased  int           `json:"erased" doc:"not tried: their code is not kept any more"`
	Unread  int           `json:"unread" doc:"not tried: no code, or of a scheme that nothing says how to read"`
	Refused []ReplayLine  `json:"accepted_to_refused"`
	Admits  []ReplayLine  `json:"refused_to_accepted"`
	Charges int           `json:"charges" doc:"looked at in this part"`
	Stay    int           `json:"charges_same" doc:"with the contract that collected them"`
	Moved   []ReplayRoute `json:"charges_to_another_contract"`
	Unknown []string      `json:"not_known" doc:"what a replay cannot know"`
	Next    string        `json:"next,omitempty" doc:"send it with the same draft for the next part; absent: the day is through"`
}

// A ReplayLine sums up the taps that change for one reason.
type ReplayLine struct {
	Reason  string                      `json:"reason" doc:"of the refusal, by the draft or that day"`
	Rule    string                      `json:"rule,omitempty" doc:"of the draft, that refuses; absent: a fixed check"`
	Taps    int                         `json:"taps"`
	Fares   map[citygate.Currency]int64 `json:"fares_minor" doc:"what they cost: known at the reader, or decided by pricing later for the rides that they began"`
	Decided int                         `json:"fare_decided_later" doc:"taps whose fare pricing decided"`
	Parts   int                         `json:"part_of_a_ride" doc:"taps of rides that another tap began"`
	NoFare  int                         `json:"fare_not_known"`
}

// A ReplayRoute sums up the charges that another contract would have collected.
type ReplayRoute struct {
	From    string                      `json:"from"`
	To      string                      `json:"to"`
	Rule    string                      `json:"rule,omitempty" doc:"of the draft; absent: none matched, and it is the payer's own"`
	Finding string                      `json:"finding,omitempty" doc:"why a rule was not followed to the letter"`
	Charges int                         `json:"charges"`
	Amounts map[citygate.Currency]int64 `json:"amounts_minor"`
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
		func(ctx context.Context, _ Caller, r *Paged) (*body[list[PolicyVersion]], error) {
			before, err := r.number()
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(v PolicyVersion) string { return strconv.FormatUint(v.Version, 10) })(e.Policies.List(ctx, r.id(), before, r.more()))
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
	replay := post("replay-policy", "/v1/tenants/{tenant}/policy-replays", "Say what a draft would have decided on a day's taps and charges, part by part; it changes nothing", "policies")
	register(e, replay, func(ctx context.Context, _ Caller, r *struct {
		InTenant
		Body ReplayPolicy
	}) (*body[PolicyReplay], error) {
		return respond(e.Policies.Replay(ctx, r.id(), r.Body))
	})
}
