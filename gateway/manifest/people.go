package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"time"

	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/policies/ruleset"
)

// A SignIn is an OpenID Connect issuer where the tenant's people sign in.
type SignIn struct {
	Name     string `json:"name"`
	URL      string `json:"url"`
	ClientID string `json:"client_id"`
}

// A Role is one of the tenant's own making.
type Role struct {
	Role        string   `json:"role"`
	Permissions []string `json:"permissions"` // resource.verb; the verb may be *
}

// A Member is a person of the tenant. Who is no longer in the file stays a member:
// people are removed by the API or "citygate access".
type Member struct {
	SignIn string   `json:"sign_in,omitempty"` // name of the issuer; absent = nobody signs in, tokens by command
	ID     string   `json:"id"`                // what the issuer calls the person
	Name   string   `json:"name"`              // for people
	Roles  []string `json:"roles"`
}

// Key tells members apart as their subjects do.
func (m Member) Key() string {
	if m.SignIn == "" {
		return m.ID
	}
	return m.ID + "@" + m.SignIn
}

// Approvals is what needs a second person.
type Approvals struct {
	TwoPerson []string `json:"two_person"` // of key_revocation, payout_release, policy_publish, provider_credential
}

// twoPersonKinds are what a tenant chooses from.
var twoPersonKinds = []string{"key_revocation", "payout_release", "policy_publish", "provider_credential"}

// A RuleSet is the tenant's rule set: the newest version. Document is its JSON form, or
// File names a file that holds it, in YAML or JSON.
type RuleSet struct {
	From     time.Time `json:"from,omitzero"`  // absent or past = at once
	File     string    `json:"file,omitempty"` // relative to the manifest
	Document Raw       `json:"document,omitempty"`

	source []byte // of the file
}

// Set reads and compiles the rule set.
func (r *RuleSet) Set() (*ruleset.Set, error) {
	source := r.source
	if len(source) == 0 {
		source = r.Document
	}
	if len(source) == 0 {
		return nil, errNoDocument
	}
	return ruleset.Parse(source)
}

// RulesOf gives a rule set as the file says it, without the comments of its source.
func RulesOf(set *ruleset.Set, from time.Time) (*RuleSet, error) {
	r := &RuleSet{From: from.UTC()}
	return r, r.Document.UnmarshalYAML(set.Source())
}

// people adds who may do what in the tenant, and its rule set.
func (t Tenant) people(at string, add func(kind, name, path string, body any)) {
	for i, s := range t.SignIn {
		add(KindSignIn, s.Name, fmt.Sprintf("%s.sign_in[%d]", at, i), s)
	}
	for i, r := range t.Roles {
		r.Permissions = set(r.Permissions)
		add(KindRole, r.Role, fmt.Sprintf("%s.roles[%d]", at, i), r)
	}
	for i, m := range t.Members {
		m.Roles = set(m.Roles)
		add(KindMember, m.Key(), fmt.Sprintf("%s.members[%d]", at, i), m)
	}
	if t.Approvals != nil {
		add(KindApprovals, "", at+".approvals", Approvals{set(t.Approvals.TwoPerson)})
	}
	if t.RuleSet != nil {
		body := map[string]any{"document": t.RuleSet.Document}
		if compiled, err := t.RuleSet.Set(); err == nil {
			body["document"] = Raw(compiled.Canonical())
		}
		if !t.RuleSet.From.IsZero() {
			body["from"] = t.RuleSet.From.UTC().Truncate(time.Millisecond)
		}
		add(KindRules, "", at+".rule_set", body)
	}
}

// set gives the members of a list once, in order.
func set(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

func (c *City) checkPeople(at string, t Tenant) (found Problems) {
	issuers := map[string]bool{"": true}
	for i, s := range t.SignIn {
		issuers[s.Name] = true
		u, err := url.Parse(s.URL)
		if s.Name == "" || s.ClientID == "" || err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
			found = append(found, c.problem(fmt.Sprintf("%s.sign_in[%d]", at, i), "an issuer has a name, a client_id and the address that its tokens say, without query"))
		}
	}
	for i, r := range t.Roles {
		path := fmt.Sprintf("%s.roles[%d]", at, i)
		if len(r.Permissions) == 0 {
			found = append(found, c.problem(path, "permissions: a role has at least one"))
		}
		for k, text := range r.Permissions {
			p, err := authz.ParsePermission(text)
			if err == nil {
				err = (authz.Grant{Role: authz.Role(r.Role), Permission: p}).Check()
			}
			if err != nil {
				found = append(found, c.detail(fmt.Sprintf("%s.permissions[%d]", path, k), err))
			}
		}
	}
	for i, m := range t.Members {
		path := fmt.Sprintf("%s.members[%d]", at, i)
		switch {
		case m.ID == "" || len(m.Roles) == 0:
			found = append(found, c.problem(path, "a member has an id and at least one role"))
		case !issuers[m.SignIn]:
			found = append(found, c.problem(path+".sign_in", "issuer %q is not among the tenant's in this file", m.SignIn))
		default:
			if err := authz.CheckMember(m.SignIn, m.ID); err != nil {
				found = append(found, c.problem(path+".id", "%v", err))
			}
		}
	}
	if t.Approvals != nil {
		for _, kind := range t.Approvals.TwoPerson {
			if !slices.Contains(twoPersonKinds, kind) {
				found = append(found, c.problem(at+".approvals.two_person", "%q: want some of %v", kind, twoPersonKinds))
			}
		}
	}
	if t.RuleSet != nil {
		if _, err := t.RuleSet.Set(); err != nil {
			found = append(found, c.detail(at+".rule_set", err))
		}
		if len(t.Acceptance) > 0 {
			found = append(found, c.problem(at+".rule_set", "a rule set holds the acceptance rules: take the field acceptance out"))
		}
	}
	return found
}

// readRules fills in a rule set that lies in a file of its own.
func (c *City) readRules(i int, files fs.FS) (found Problems) {
	r := c.Tenants[i].RuleSet
	if r == nil || r.File == "" {
		return nil
	}
	path := fmt.Sprintf("tenants[%d].rule_set.file", i)
	switch {
	case len(r.Document) > 0:
		return Problems{c.problem(path, "give the file or the document, not both")}
	case files == nil:
		return Problems{c.problem(path, "a file cannot be read here: give the document itself")}
	}
	text, err := fs.ReadFile(files, r.File)
	if err == nil {
		r.source = text
		if _, err = r.Set(); err == nil {
			err = r.Document.UnmarshalYAML(text)
		}
	}
	if err != nil {
		if faults := ruleset.FaultsOf(err); faults != nil {
			err = errors.New(faults.Error())
		}
		return Problems{c.problem(path, "%s: %v", r.File, err)}
	}
	r.File = ""
	return nil
}
