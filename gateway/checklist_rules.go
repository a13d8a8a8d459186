package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants"
)

// abroad says of each admitted issuer of another tree whether there are terms.
func (c *checker) abroad(ctx context.Context) error {
	rules, err := policies.Latest(ctx, c.DB, c.tenant.ID)
	if err != nil {
		return nil //nolint:nilerr // the line about acceptance says so
	}
	v, err := c.visits(ctx, c.tenant.ID)
	if err != nil {
		return err
	}
	for _, r := range rules.Issuers {
		issuer, ok := v.all.ByIssuer(r.Issuer)
		if !ok || v.home(r.Issuer) {
			continue
		}
		item := edge.ChecklistItem{Name: fmt.Sprintf("roaming terms with issuer %d", r.Issuer), Done: v.admits(issuer.ID), Detail: "with " + issuer.Slug + ", whose riders' codes are refused without",
			Do: "agree on terms: POST /v1/tenants/{tenant}/roaming and, by the other, /roaming/agree"}
		if item.Done {
			item.Detail = "agreed with " + issuer.Slug
		}
		c.add(item)
	}
	return nil
}

// rules says whether riders are told what happens when money or a tap does not
// come.
func (c *checker) rules() error {
	if c.tenant.Kind != tenants.Authority {
		c.add(edge.ChecklistItem{Name: "journey rules", Optional: true, Done: len(c.have.JourneyRules) > 0,
			Detail: said(len(c.have.JourneyRules), versions, "without them no missing tap is inferred: it is charged as incomplete"),
			Do:     "POST /v1/tenants/{tenant}/journey-rules, or journey_rules in the file"})
		if err := c.travel(); err != nil {
			return err
		}
	}
	if c.tenant.Issuer != 0 {
		c.add(edge.ChecklistItem{Name: "risk terms", Optional: true, Done: len(c.have.RiskTerms) > 0,
			Detail: said(len(c.have.RiskTerms), versions, "without them charges and retries are bounded by what is built in, and GET /v1/tenants/{tenant}/liability has nothing to say about who bears late records"),
			Do:     "POST /v1/tenants/{tenant}/risk-terms, or risk_terms in the file"})
	}
	quota := edge.ChecklistItem{Name: "quota", Optional: true, Done: c.have.Quota != nil, Detail: "the usual one of a process holds", Do: "PUT /v1/tenants/{tenant}/quota by those above the tenant, or quota in the file"}
	if quota.Done {
		quota.Detail = "its own"
	}
	c.add(quota)
	keep := edge.ChecklistItem{Name: "retention", Optional: true, Do: `PUT /v1/tenants/{tenant}/retention with automatic: true, or retention in the file`,
		Detail: "rider detail is erased by command alone: somebody must run citygate tenant erase"}
	if r := c.have.Retention; r != nil && r.Automatic {
		keep.Done, keep.Detail = true, fmt.Sprintf("rider detail is erased after %d days", r.KeepDays)
	}
	c.add(keep)
	return nil
}

func versions(n int) string { return plural(n, "version") }

func said(n int, what func(int) string, otherwise string) string {
	if n == 0 {
		return otherwise
	}
	return what(n)
}

// travel says at which stops taps can be flagged as travel nobody can do: those of
// which the journey rules say how far others are. Nothing else knows.
func (c *checker) travel() error {
	item := edge.ChecklistItem{Name: "travel times", Optional: true, Detail: "the journey rules name no places, so no taps are flagged as impossible_travel, and travel at an impossible speed is charged as it is declared",
		Do: "a version of the journey rules with stops and travel (min_seconds between neighbours), or stops with lat_e6 and lon_e6 and max_speed_kmh"}
	var places *journey.Places
	var stops []string
	for _, t := range c.have.Terminals {
		stops = append(stops, t.Stop)
	}
	for _, s := range c.have.Stops {
		stops = append(stops, s.ID)
	}
	if n := len(c.have.JourneyRules); n > 0 {
		d, err := journey.ParseDocument(c.have.JourneyRules[n-1].Document)
		if err != nil {
			return err
		}
		for _, s := range d.Stops {
			stops = append(stops, s.ID)
		}
		rules, err := d.Rules()
		if err != nil {
			return err
		}
		places = rules.Places
	}
	slices.Sort(stops)
	var judged, unknown []string
	for _, s := range slices.Compact(stops) {
		switch {
		case s == "":
		case places.Judged(s):
			judged = append(judged, s)
		default:
			unknown = append(unknown, s)
		}
	}
	switch {
	case len(judged) == 0:
	case len(unknown) > 0:
		item.Detail = fmt.Sprintf("nobody is too fast for %s of %d, such as %s: the journey rules do not say how far they are", plural(len(unknown), "stop"), len(judged)+len(unknown), unknown[0])
	default:
		item.Done, item.Detail = true, plural(len(judged), "stop")
	}
	c.add(item)
	return nil
}

// people says whether those are there whom the tenant's own settings ask for: two
// who may approve, where something needs a second person.
func (c *checker) people(ctx context.Context) error {
	members, err := c.Access.Members(ctx, c.tenant.ID)
	if err != nil {
		return err
	}
	item := edge.ChecklistItem{Name: "administrator", Optional: true, Do: "citygate access admin --tenant " + c.tenant.Slug + " --person NAME", Detail: "nobody of the tenant gives roles: only the platform's people can act for it"}
	approve := authz.Permission{Resource: "approval", Verb: "write"}
	var able, signing []string
	for _, m := range members {
		may := func(p authz.Permission) (bool, error) {
			x, err := c.Access.Explain(ctx, c.tenant.ID, m.Subject, "checklist", p, authz.Own)
			return x.Allowed, err
		}
		grants, err := may(authz.Permission{Resource: "access", Verb: "write"})
		if err != nil {
			return err
		}
		if grants && !item.Done {
			item.Done, item.Detail = true, m.Subject
		}
		approves, err := may(approve)
		if err != nil {
			return err
		}
		if approves {
			able = append(able, m.Subject)
			if m.Issuer != "" {
				signing = append(signing, m.Subject)
			}
		}
	}
	c.add(item)
	kinds, err := c.Access.TwoPerson(ctx, c.tenant.ID)
	if err != nil || len(kinds) == 0 {
		return err
	}
	const two = 2
	second := edge.ChecklistItem{Name: "second person", Done: len(able) >= two, Do: "POST /v1/tenants/{tenant}/members: a role with " + approve.String() + " for a second person, who signs in at an issuer of the tenant; until there is one, those above the tenant approve, or citygate access approve",
		Detail: fmt.Sprintf("%s need two persons, and %s may approve", strings.Join(kinds, ", "), plural(len(able), "member"))}
	c.add(second)
	if second.Done {
		c.add(edge.ChecklistItem{Name: "sign-in", Optional: true, Done: len(signing) >= two, Detail: fmt.Sprintf("%d of %d who may approve sign in at an issuer; the others need tokens by command", len(signing), len(able)),
			Do: "PUT /v1/tenants/{tenant}/issuers/{issuer}, and members of that issuer"})
	}
	return nil
}
