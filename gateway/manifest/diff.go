package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate/tenants"
)

// The kinds of a tenant's parts, in the order in which they are put into effect.
const (
	KindTenant     = "tenant"
	KindServes     = "serves"
	KindKey        = "key"
	KindContract   = "contract"
	KindSecret     = "secret"
	KindPayee      = "payee"
	KindStop       = "stop"
	KindVehicle    = "vehicle"
	KindAssignment = "assignment"
	KindTerminal   = "terminal"
	KindSettlement = "settlement"
	KindTariff     = "tariff"
	KindCalendar   = "calendar"
	KindRetention  = "retention"
	KindQuota      = "quota"
	KindProfile    = "profile"
	KindCodeScheme = "code scheme"
	KindIssuance   = "issuance"
	KindAcceptance = "acceptance"
	KindRoaming    = "roaming"

	KindProducts     = "products"
	KindJourneyRules = "journey rules"
	KindRiskTerms    = "risk terms"

	KindSignIn    = "sign-in issuer"
	KindRole      = "role"
	KindMember    = "member"
	KindApprovals = "approvals"
	KindRules     = "rule set"

	KindState = "state"
)

// An Item is one part of a tenant that is compared and applied by itself.
type Item struct {
	Kind string
	Name string // "" where there is one of the kind
	Body json.RawMessage

	path string // in the file
}

// Items lists the parts of a tenant in the order of their kinds; at is the
// tenant's place in the file.
func (t Tenant) Items(at string) []Item {
	var list []Item
	add := func(kind, name, path string, body any) {
		raw, err := json.Marshal(body)
		if err != nil { // only a malformed Raw, which Parse and the verticals refuse
			raw = json.RawMessage(`"malformed"`)
		}
		if ordered, err := compact(raw); err == nil {
			raw = ordered
		}
		list = append(list, Item{kind, name, raw, path})
	}
	head := Tenant{
		ID: t.ID, Slug: t.Slug, Name: t.Name, Kind: t.Kind, Parent: t.Parent, Mode: t.Mode, Issuer: t.Issuer, CapUnit: t.CapUnit,
		Currency: t.Currency, TimeZone: t.TimeZone, Cut: t.Cut,
	}
	if head.Cut == "" {
		head.Cut = CutText(0)
	}
	add(KindTenant, "", at, head)
	serves := slices.Clone(t.Serves)
	slices.Sort(serves)
	add(KindServes, "", at+".serves", append([]string{}, serves...))
	for i, k := range t.Keys {
		if k.Algorithm == "" {
			k.Algorithm = "ed25519"
		}
		add(KindKey, k.Purpose, fmt.Sprintf("%s.keys[%d]", at, i), k)
	}
	for i, c := range t.Contracts {
		path := fmt.Sprintf("%s.contracts[%d]", at, i)
		secrets := c.Secrets
		c.Secrets = nil
		if len(c.Config) == 0 {
			c.Config = Raw("{}")
		}
		add(KindContract, c.Name, path, c)
		for _, name := range slices.Sorted(maps.Keys(secrets)) {
			add(KindSecret, c.Name+"/"+name, path+".secrets."+name, secrets[name].Digest)
		}
	}
	t.settings(at, add)
	t.roaming(at, add)
	t.versions(at, add)
	t.riders(at, add)
	t.people(at, add)
	t.fleet(at, add)
	for i, s := range t.Settlement {
		add(KindSettlement, strconv.Itoa(i+1), fmt.Sprintf("%s.settlement[%d]", at, i), s)
	}
	for i, p := range t.Tariffs {
		name := fmt.Sprintf("#%d", i+1)
		body := map[string]any{"from": p.From.UTC().Truncate(time.Millisecond), "tariff": p.Tariff}
		if compiled, err := p.Compiled(); err == nil {
			name, body["tariff"] = strconv.FormatUint(compiled.Version, 10), compiled
		}
		add(KindTariff, name, fmt.Sprintf("%s.tariffs[%d]", at, i), body)
	}
	if len(t.Acceptance) > 0 {
		body := t.Acceptance
		if rules, err := t.Rules(1); err == nil {
			if same, err := AcceptanceOf(rules); err == nil {
				body = same
			}
		}
		add(KindAcceptance, "", at+".acceptance", body)
	}
	state := t.State
	if state == "" {
		state = string(tenants.Active)
	}
	add(KindState, "", at+".state", state)
	slices.SortStableFunc(list, func(a, b Item) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	return list
}

var order = []string{
	KindTenant, KindServes, KindCalendar, KindRetention, KindQuota, KindKey, KindContract, KindSecret, KindPayee, KindStop, KindVehicle, KindAssignment, KindTerminal,
	KindProfile, KindSettlement, KindTariff, KindProducts, KindJourneyRules, KindRiskTerms, KindIssuance, KindSignIn, KindRole, KindMember,
	KindAcceptance, KindRules, KindCodeScheme, KindRoaming, KindApprovals, KindState,
}

func (t Tenant) fleet(at string, add func(kind, name, path string, body any)) {
	for i, p := range t.Payees {
		add(KindPayee, p.ID, fmt.Sprintf("%s.payees[%d]", at, i), p)
	}
	for i, s := range t.Stops {
		add(KindStop, s.ID, fmt.Sprintf("%s.stops[%d]", at, i), s)
	}
	for i, v := range t.Vehicles {
		add(KindVehicle, v.ID, fmt.Sprintf("%s.vehicles[%d]", at, i), v)
	}
	for i, a := range t.Assignments {
		a.From = a.From.UTC().Truncate(time.Microsecond)
		name := "vehicle:" + a.Vehicle
		if a.Driver != "" {
			name = "driver:" + a.Driver
		}
		add(KindAssignment, name+"@"+a.From.Format(time.RFC3339Nano), fmt.Sprintf("%s.assignments[%d]", at, i), a)
	}
	for i, d := range t.Terminals {
		if d.State == "" {
			d.State = "active"
		}
		d.Profile = nil // a part of its own
		add(KindTerminal, strconv.FormatUint(uint64(d.ID), 10), fmt.Sprintf("%s.terminals[%d]", at, i), d)
	}
}

// Managed lists what applying the file marks as managed by it. Tariffs,
// settlement terms and assignments are managed as a whole: a version more, added
// by hand, is a change of what the file says.
func (t Tenant) Managed() []tenants.Resource {
	var list []tenants.Resource
	for _, i := range t.Items("") {
		r := tenants.Resource{Kind: i.Kind, Name: i.Name}
		switch i.Kind {
		case KindTariff, KindSettlement, KindAssignment, KindCalendar, KindProducts, KindJourneyRules, KindRiskTerms:
			r.Name = ""
		}
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

// A Change is one difference between what is and what a file wants.
type Change struct {
	Tenant string `json:"tenant"`
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	Verb   string `json:"verb"` // add, change
	// Before and After are the parts; both are absent for secrets.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	// Refused says why the gateway cannot make this change.
	Refused string `json:"refused,omitempty"`
	Line    int    `json:"line,omitempty"`
}

// String is one line for people.
func (c Change) String() string {
	s := fmt.Sprintf("%s %s: %s", c.Verb, c.Tenant, c.Kind)
	if c.Name != "" {
		s += " " + c.Name
	}
	if fields := c.fields(); fields != "" {
		s += ": " + fields
	}
	if c.Refused != "" {
		s += fmt.Sprintf(" (line %d: cannot be done: %s)", c.Line, c.Refused)
	}
	return s
}

// fields shows which fields of an object change, or the value of another one.
func (c Change) fields() string {
	if c.Before == nil {
		return ""
	}
	var before, after map[string]json.RawMessage
	if json.Unmarshal(c.Before, &before) != nil || json.Unmarshal(c.After, &after) != nil {
		return fmt.Sprintf("%s -> %s", short(c.Before), short(c.After))
	}
	out := ""
	for _, name := range slices.Sorted(maps.Keys(merged(before, after))) {
		if !bytes.Equal(before[name], after[name]) {
			if out != "" {
				out += ", "
			}
			out += fmt.Sprintf("%s %s -> %s", name, short(before[name]), short(after[name]))
		}
	}
	return out
}

func merged(a, b map[string]json.RawMessage) map[string]json.RawMessage {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func short(raw json.RawMessage) string {
	const most = 60
	switch {
	case len(raw) == 0:
		return "none"
	case len(raw) > most:
		return string(raw[:most]) + "…"
	}
	return string(raw)
}

// Diff lists what must change so that have, the tenants of a gateway, agrees
// with the file. What the gateway has beyond the file is no difference.
func Diff(have, want *City) []Change {
	var list []Change
	for n, t := range want.Tenants {
		held := map[[2]string]json.RawMessage{}
		if i := slices.IndexFunc(have.Tenants, func(h Tenant) bool { return h.ID == t.ID || h.Slug == t.Slug }); i >= 0 {
			for _, item := range have.Tenants[i].Items("") {
				held[[2]string{item.Kind, item.Name}] = item.Body
			}
		}
		for _, item := range t.Items(fmt.Sprintf("tenants[%d]", n)) {
			before, there := held[[2]string{item.Kind, item.Name}]
			if there && bytes.Equal(before, item.Body) {
				continue
			}
			if item.Kind == KindState && string(before) == `"closing"` && string(item.Body) == `"closed"` {
				continue // it will be
			}
			if !there && (item.Kind == KindServes && len(t.Serves) == 0 || (item.Kind == KindQuota || item.Kind == KindProfile) && string(item.Body) == "{}") {
				continue
			}
			if !there && item.Kind == KindRoaming && t.ends(item.Name) {
				continue
			}
			c := Change{Tenant: t.Slug, Kind: item.Kind, Name: item.Name, Verb: "add", Before: before, After: item.Body, Line: want.lines.at(item.path)}
			if there {
				c.Verb = "change"
			}
			kept := false
			if item.Kind == KindSecret {
				c.Before, c.After, kept = nil, nil, t.secret(item.Name).Kept
			}
			switch {
			case kept && there:
				continue
			case kept:
				c.Refused = "the gateway keeps no such secret: say where it comes from"
			default:
				c.Refused = refused(item.Kind, before, item.Body)
			}
			list = append(list, c)
		}
	}
	return list
}

// ends reports whether the file wants terms of that name to be none.
func (t Tenant) ends(name string) bool {
	return slices.ContainsFunc(t.Roaming, func(r Roaming) bool { return r.End && r.Name() == name })
}

func (t Tenant) secret(name string) Secret {
	for _, c := range t.Contracts {
		for n, s := range c.Secrets {
			if c.Name+"/"+n == name {
				return s
			}
		}
	}
	return Secret{}
}

// mayChange names the fields of a part that can change once it is there; parts
// that are not listed can change as a whole.
var mayChange = map[string][]string{
	KindTenant:     {"name", "parent", "time_zone", "cut"}, // the gateway says of the last three whether they still can
	KindKey:        {},
	KindContract:   {},
	KindPayee:      {"name", "account", "bank_id"},
	KindAssignment: {},
	KindTerminal:   {"name", "stop", "route", "vehicle", "state"},
	KindSettlement: {},
	KindCalendar:   {},
	KindTariff:     {},
	KindSignIn:     {"client_id"}, // members are people of that issuer
	KindMember:     {"name", "roles"},

	KindProducts: {}, KindJourneyRules: {}, KindRiskTerms: {},
}

// refused says why a part cannot become what the file says, or "".
func refused(kind string, before, after json.RawMessage) string {
	if before == nil {
		return ""
	}
	if kind == KindState {
		var from, to tenants.State
		if json.Unmarshal(before, &from) == nil && json.Unmarshal(after, &to) == nil && !from.MayBecome(to) && (to != tenants.Closed || !from.MayBecome(tenants.Closing)) {
			return fmt.Sprintf("a tenant that is %s cannot become %s", from, to)
		}
		return ""
	}
	fields, limited := mayChange[kind]
	if !limited {
		return ""
	}
	var b, a map[string]json.RawMessage
	if json.Unmarshal(before, &b) != nil || json.Unmarshal(after, &a) != nil {
		return "it never changes"
	}
	for _, name := range slices.Sorted(maps.Keys(merged(b, a))) {
		if !bytes.Equal(b[name], a[name]) && !slices.Contains(fields, name) {
			switch kind {
			case KindTariff, KindSettlement, KindCalendar, KindProducts, KindJourneyRules, KindRiskTerms:
				return "a version never changes: add the next one"
			case KindContract:
				return name + " never changes, as charges were booked under it: add a contract under another name"
			}
			return name + " never changes"
		}
	}
	return ""
}
