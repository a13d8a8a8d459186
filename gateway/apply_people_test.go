package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cashlesscity/citygate/deploy"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/tenants"
)

const fileRules = `citygate: rules/1 # comments stay
time_zone: Asia/Shanghai
acceptance:
  schemes: [ct1]
  issuers: [{issuer: 101, currency: CNY, cap_unit_minor: 10}]
  modes: [{mode: bus, kinds: [single]}]
  skew_seconds: 30
  max_window_seconds: 120
  max_ttl_hours: 336
  late_upload_days: 7
  clock_suspect_seconds: 600
  incomplete: {charge: max, max_journey_minutes: 180, grace_minutes: 60}
  rules: [{id: no-bands, mediums: [band], then: refuse}]
`

// peopledFile is the example whose bus says who works for it, what needs two of them
// and by which rule set it accepts; edit changes that part.
func peopledFile(t *testing.T, edit ...string) Manifest {
	t.Helper()
	people := strings.NewReplacer(edit...).Replace(`
    sign_in: [{name: corp, url: "https://id.harbour.example", client_id: citygate}]
    roles: [{role: dispatcher, permissions: [fleet.read, money.read]}]
    members:
      - {sign_in: corp, id: "00u1", name: Ada, roles: [operator_admin]}
      - {sign_in: corp, id: "00u2", name: Bea, roles: [finance, operator_admin]}
      - {id: cyd, name: Cyd, roles: [dispatcher]}
    approvals: {two_person: [policy_publish]}
    rule_set: {file: rules.yaml}
`)
	raw := string(deploy.ExampleCity)
	at := strings.LastIndex(raw, "    acceptance:")
	city, err := manifest.Parse([]byte(raw[:at]+strings.TrimPrefix(people, "\n")), fstest.MapFS{"rules.yaml": {Data: []byte(fileRules)}})
	if err != nil {
		t.Fatal(err)
	}
	return Manifest{Name: "city.yaml", City: city}
}

// A file says who a tenant's people are, where they sign in, what needs two of them,
// and by which rule set it accepts. Applied again, and dumped and applied, it changes
// nothing, and the API leaves what it says alone.
func TestAFileKeepsPeopleAndRules(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	_, err := o.Apply(ctx, actor, peopledFile(t))
	o.must(err)
	for _, m := range []Manifest{peopledFile(t), o.dumped()} {
		changes, err := o.Diff(ctx, m)
		o.must(err)
		if len(changes) > 0 {
			t.Errorf("%s: there is still to do: %v", m.Name, changes)
		}
	}
	members, err := o.Access.Members(ctx, 2)
	o.must(err)
	if len(members) != 3 || members[1].Subject != "user:00u2@corp" || fmt.Sprint(members[1].Roles) != "[finance operator_admin]" {
		t.Errorf("members: %+v", members)
	}
	if kinds, err := o.Access.TwoPerson(ctx, 2); err != nil || fmt.Sprint(kinds) != "[policy_publish]" {
		t.Errorf("two persons for %v (%v)", kinds, err)
	}
	v, err := o.getPolicy(ctx, 2, 0)
	o.must(err)
	if v.Source != fileRules || !v.InForce {
		t.Errorf("the rule set: %+v", v)
	}
	o.must(o.Access.SetTwoPerson(ctx, actor, 2, []string{}, true)) // so that the API asks nobody
	for _, edit := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPut, "members/user:00u1@corp", map[string]any{"name": "Ada", "roles": []string{"auditor"}}},
		{http.MethodPost, "members", map[string]any{"external": "cyd", "name": "Cyd", "roles": []string{"auditor"}}},
		{http.MethodDelete, "members/user:cyd", nil},
		{http.MethodPut, "roles/dispatcher", map[string]any{"permissions": []string{"fleet.read"}}},
		{http.MethodDelete, "roles/dispatcher", nil},
		{http.MethodPut, "issuers/corp", map[string]any{"url": "https://id.harbour.example", "client_id": "another"}},
		{http.MethodDelete, "issuers/corp", nil},
		{http.MethodPut, "approval-settings", map[string]any{"two_person": []string{"payout_release"}}},
		{http.MethodPost, "policies", map[string]any{"source": strings.Replace(fileRules, "no-bands", "none", 1)}},
	} {
		w := o.ask(edit.method, "/v1/tenants/2/"+edit.path, "application/json", []byte(asJSON(t, edit.body)))
		if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), tenants.ErrManaged.Name) || !strings.Contains(w.Body.String(), "city.yaml") {
			t.Errorf("%s %s: %d %s", edit.method, edit.path, w.Code, w.Body)
		}
	}
	o.send(http.MethodPost, "/v1/tenants/2/members", map[string]any{"external": "dan", "name": "Dan", "roles": []string{"auditor"}}, nil)
	changes, err := o.Diff(ctx, peopledFile(t))
	o.must(err)
	if len(changes) != 1 || changes[0].Kind != manifest.KindApprovals {
		t.Errorf("somebody more, and approvals lowered: %v", changes)
	}
}

// dumped is a gateway's own file.
func (o *office) dumped() Manifest {
	o.t.Helper()
	city, err := o.Describe(o.t.Context())
	o.must(err)
	raw, err := city.Write()
	o.must(err)
	city, err = manifest.Parse(raw, nil)
	o.must(err)
	return Manifest{Name: "dump.yaml", City: city}
}

// What needs a second person by the API needs one by a file: it waits as a proposal
// of exactly these changes, and nothing of the file is done before.
func TestAFileIsNoWayRoundASecondPerson(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	_, err := o.Apply(ctx, actor, peopledFile(t))
	o.must(err)
	ada := access.Caller{Subject: "user:00u1@corp", Tenant: 2, Scopes: []string{access.ScopeMember}}
	for name, edit := range map[string][]string{
		"a member":  {"[dispatcher]}", "[auditor]}"},
		"a role":    {"[fleet.read, money.read]", "[fleet.read]"},
		"an issuer": {"client_id: citygate", "client_id: another"},
		"approvals": {"[policy_publish]", "[]"},
		"rules":     {"{file: rules.yaml}", "{document: " + asJSON(t, o.rulesDocument("no-rings")) + "}"},
	} {
		was := o.rows("access_proposals", "audit_log")
		m := peopledFile(t, edit...)
		m.City.Tenants[0].Name = "Another " + name // what needs nobody waits as well
		_, err := o.Apply(ctx, actor, m)
		if !errors.Is(err, ErrSecond) {
			t.Fatalf("%s: %v", name, err)
		}
		unchanged(t, name+" that waits", was, o.rows("access_proposals", "audit_log"))
		open, err := o.Access.Proposals(ctx, 2, access.Open, nil, 10)
		o.must(err)
		if len(open) != 1 || !strings.Contains(err2(m, o), open[0].ID.Text(access.ProposalPrefix)) {
			t.Fatalf("%s: %d wait", name, len(open))
		}
		_, err = o.Access.Approve(ctx, access.Caller{Subject: actor, Tenant: 2}, 2, open[0].ID)
		if !errors.Is(err, access.ErrSamePerson) {
			t.Errorf("%s, approved by its proposer: %v", name, err)
		}
		_, err = o.Access.Approve(ctx, ada, 2, open[0].ID)
		o.must(err)
		other := peopledFile(t, append(slices.Clone(edit), "name: Ada", "name: Eve")...)
		if _, err := o.Apply(ctx, actor, other); !errors.Is(err, ErrSecond) {
			t.Errorf("%s, and something that was not approved: %v", name, err)
		}
		_, err = o.Apply(ctx, actor, m)
		o.must(err)
		if changes, err := o.Diff(ctx, m); err != nil || len(changes) > 0 {
			t.Errorf("%s, approved: %v (%v)", name, changes, err)
		}
		done, err := o.Access.Proposal(ctx, 2, open[0].ID)
		if err != nil || done.State != access.Executed || done.EndedAt == nil {
			t.Errorf("%s: %+v (%v)", name, done, err)
		}
		left, err := o.Access.Proposals(ctx, 2, access.Open, nil, 10) // of what was not approved
		o.must(err)
		for _, p := range left {
			_, err := o.Access.Refuse(ctx, ada, 2, p.ID)
			o.must(err)
		}
		if name == "approvals" { // back to two persons, which needs none
			m = peopledFile(t)
		} else {
			continue
		}
		if changes, err := o.Diff(ctx, m); err != nil || !slices.ContainsFunc(changes, func(c manifest.Change) bool { return c.Kind == manifest.KindApprovals }) {
			t.Errorf("approvals again: %v (%v)", changes, err)
		}
		o.must(o.Access.SetTwoPerson(ctx, actor, 2, []string{"policy_publish"}, false))
	}
}

// err2 is what applying a file says.
func err2(m Manifest, o *office) string {
	_, err := o.Apply(o.t.Context(), actor, m)
	return fmt.Sprint(err)
}

// rulesDocument is the rule set of the file as JSON, with another rule.
func (o *office) rulesDocument(id string) any {
	o.t.Helper()
	var r manifest.RuleSet
	o.must(r.Document.UnmarshalYAML([]byte(strings.Replace(fileRules, "no-bands", id, 1))))
	return r.Document
}

// What cannot be is refused before anything is changed, and says why.
func TestPeopleThatCannotBeAreRefused(t *testing.T) {
	o := open(t)
	for why, edit := range map[string][]string{
		"there is no role":       {"[dispatcher]}", "[stranger]}"},
		"members of authorities": {"[dispatcher]}", "[authority]}"},
		"https address":          {"https://id", "http://id"},
	} {
		if _, err := o.Apply(t.Context(), actor, peopledFile(t, edit...)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if all, err := o.Tenants.All(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("a file that was refused made %v (%v)", all, err)
	}
}
