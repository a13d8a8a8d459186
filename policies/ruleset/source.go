package ruleset

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/accept"
)

// SourceMax bounds a rule set's file, in bytes.
const SourceMax = 64 << 10

const format = "rules/1"

// ErrSet says that a file is no rule set. Its text names each fault.
var ErrSet = &citygate.Code{Name: "policy.rules", Kind: citygate.Invalid, Title: "The rule set is not valid. Correct what is named."}

// A Fault is one thing wrong with a rule set's file.
type Fault struct {
	Line     int    `json:"line"` // from 1; 0 = the file as a whole
	Column   int    `json:"column"`
	Rule     string `json:"rule,omitempty"`
	Variable string `json:"variable,omitempty"`
	Message  string `json:"message"`
}

func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:%d: ", f.Line, f.Column)
	if f.Rule != "" {
		fmt.Fprintf(&b, "rule %s: ", f.Rule)
	}
	if f.Variable != "" {
		fmt.Fprintf(&b, "%s: ", f.Variable)
	}
	return b.String() + f.Message
}

// Faults are all that is wrong with a file, in its order.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// A text is a scalar and where it stands.
type text struct {
	S            string
	Line, Column int
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (t *text) UnmarshalYAML(n ast.Node) error {
	at := n.GetToken().Position
	t.Line, t.Column = at.Line, at.Column
	switch n := n.(type) {
	case *ast.LiteralNode:
		t.S = n.Value.Value
		t.Line++ // the text starts under its sign
	case *ast.StringNode:
		t.S = n.Value
	default: // true, 7: what YAML takes for something else
		t.S = n.String()
	}
	t.S = strings.TrimRight(t.S, "\n ")
	return nil
}

func (t text) MarshalJSON() ([]byte, error) { return json.Marshal(t.S) }

// A match is what a rule is about, by lists. An empty list means all.
type match struct {
	Schemes  []string `yaml:"schemes" json:"schemes,omitempty"`
	Issuers  []int64  `yaml:"issuers" json:"issuers,omitempty"`
	Products []int64  `yaml:"products" json:"products,omitempty"`
	Modes    []string `yaml:"modes" json:"modes,omitempty"`
	Kinds    []string `yaml:"kinds" json:"kinds,omitempty"`
	Mediums  []string `yaml:"mediums" json:"mediums,omitempty"`
	Areas    []string `yaml:"areas" json:"areas,omitempty"`
	Hours    []string `yaml:"hours" json:"hours,omitempty"`
	Days     []string `yaml:"days" json:"days,omitempty"`
	When     text     `yaml:"when" json:"when"`
}

type acceptRule struct {
	ID    text   `yaml:"id" json:"id"`
	Match match  `yaml:",inline" json:"match"`
	Then  string `yaml:"then" json:"then"`
}

type perDay struct {
	Amount int64 `yaml:"amount" json:"amount,omitempty"`
	Taps   int64 `yaml:"taps" json:"taps,omitempty"`
}

type offline struct {
	Displays int64 `yaml:"displays" json:"displays,omitempty"`
	Hours    int64 `yaml:"hours" json:"hours,omitempty"`
}

type velocity struct {
	PerHour    int64 `yaml:"per_hour" json:"per_hour,omitempty"`
	GapSeconds int64 `yaml:"gap_seconds" json:"gap_seconds,omitempty"`
}

type limitRule struct {
	ID       text     `yaml:"id" json:"id"`
	Match    match    `yaml:",inline" json:"match"`
	Currency string   `yaml:"currency" json:"currency,omitempty"`
	PerTap   int64    `yaml:"per_tap" json:"per_tap,omitempty"`
	PerDay   perDay   `yaml:"per_day" json:"per_day"`
	Offline  offline  `yaml:"offline" json:"offline"`
	Velocity velocity `yaml:"velocity" json:"velocity"`
}

type routeRule struct {
	ID         text     `yaml:"id" json:"id"`
	Wallets    []string `yaml:"wallets" json:"wallets,omitempty"`
	Contracts  []string `yaml:"contracts" json:"contracts,omitempty"` // of the payer
	Currencies []string `yaml:"currencies" json:"currencies,omitempty"`
	Hours      []string `yaml:"hours" json:"hours,omitempty"`
	Days       []string `yaml:"days" json:"days,omitempty"`
	When       text     `yaml:"when" json:"when"`
	Use        []string `yaml:"use" json:"use"`
}

type liabilityRule struct {
	ID        text    `yaml:"id" json:"id"`
	Operators []int64 `yaml:"operators" json:"operators,omitempty"`
	When      text    `yaml:"when" json:"when"`
	Bearer    string  `yaml:"bearer" json:"bearer"`
	UpTo      int64   `yaml:"up_to" json:"up_to,omitempty"`

	PayAfterDays *int `yaml:"pay_after_days" json:"pay_after_days,omitempty"`
}

type issuerRule struct {
	Issuer         int64  `yaml:"issuer" json:"issuer"`
	Currency       string `yaml:"currency" json:"currency"`
	CapUnitMinor   int64  `yaml:"cap_unit_minor" json:"cap_unit_minor"`
	UnsureCapMinor int64  `yaml:"unsure_cap_minor" json:"unsure_cap_minor"`
	StaleCapMinor  int64  `yaml:"stale_cap_minor" json:"stale_cap_minor"`
}

type modeRule struct {
	Mode     string   `yaml:"mode" json:"mode"`
	Kinds    []string `yaml:"kinds" json:"kinds"`
	Products []int64  `yaml:"products" json:"products"`
}

type incomplete struct {
	Charge            string `yaml:"charge" json:"charge"`
	Minor             int64  `yaml:"minor" json:"minor"`
	MaxJourneyMinutes int64  `yaml:"max_journey_minutes" json:"max_journey_minutes"`
	GraceMinutes      int64  `yaml:"grace_minutes" json:"grace_minutes"`
}

type acceptance struct {
	Schemes             []string     `yaml:"schemes" json:"schemes"`
	Issuers             []issuerRule `yaml:"issuers" json:"issuers"`
	Modes               []modeRule   `yaml:"modes" json:"modes"`
	SkewSeconds         int64        `yaml:"skew_seconds" json:"skew_seconds"`
	MaxWindowSeconds    int64        `yaml:"max_window_seconds" json:"max_window_seconds"`
	MaxTTLHours         int64        `yaml:"max_ttl_hours" json:"max_ttl_hours"`
	StaleListSeconds    int64        `yaml:"stale_list_seconds" json:"stale_list_seconds"`
	StaleLimitSeconds   int64        `yaml:"stale_limit_seconds" json:"stale_limit_seconds"`
	MissingListOK       bool         `yaml:"missing_list_ok" json:"missing_list_ok"`
	LateUploadDays      int64        `yaml:"late_upload_days" json:"late_upload_days"`
	ClockSuspectSeconds int64        `yaml:"clock_suspect_seconds" json:"clock_suspect_seconds"`
	Incomplete          incomplete   `yaml:"incomplete" json:"incomplete"`
	Rules               []acceptRule `yaml:"rules" json:"rules"`
	Default             string       `yaml:"default" json:"default"`
	Deferred            []deferred   `yaml:"deferred" json:"deferred,omitempty"`
}

type deferred struct {
	Scheme         string `yaml:"scheme" json:"scheme"`
	LimitMinor     int64  `yaml:"limit_minor" json:"limit_minor"`
	ResolveMinutes int64  `yaml:"resolve_minutes" json:"resolve_minutes"`
}

type document struct {
	Format     string              `yaml:"citygate" json:"citygate"`
	TimeZone   string              `yaml:"time_zone" json:"time_zone"`
	Areas      map[string][]string `yaml:"areas" json:"areas"`
	Acceptance acceptance          `yaml:"acceptance" json:"acceptance"`
	Limits     []limitRule         `yaml:"limits" json:"limits"`
	Routing    []routeRule         `yaml:"routing" json:"routing"`
	Liability  []liabilityRule     `yaml:"liability" json:"liability"`
}

// A Set is a rule set that was read and compiled. It is safe for concurrent use.
type Set struct {
	source    []byte
	canonical []byte
	zone      *time.Location
	rows      []row
	routes    []route
	bearings  []bearing
	base      accept.Rules
	contracts []string
	areas     map[string][]string
}

// Parse reads and compiles a rule set. What is wrong with it is [ErrSet] with
// [Faults] behind it.
func Parse(source []byte) (*Set, error) {
	d, err := read(source)
	if err != nil {
		return nil, err
	}
	c := newCompiler(source, d)
	s := c.compile()
	if len(c.faults) > 0 {
		slices.SortStableFunc(c.faults, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
		return nil, refused(c.faults)
	}
	s.source = bytes.Clone(source)
	if s.canonical, err = json.Marshal(d); err != nil {
		return nil, ErrSet.Because(err, "encode")
	}
	return s, nil
}

// Source gives the bytes the set was read from.
func (s *Set) Source() []byte { return s.source }

// Canonical gives what the set says, in the one form of it.
func (s *Set) Canonical() []byte { return s.canonical }

// Hash identifies what the set says.
func (s *Set) Hash() [32]byte { return sha256.Sum256(s.canonical) }

// Zone gives the time zone of the set's hours and days.
func (s *Set) Zone() *time.Location { return s.zone }

// Contracts gives the provider contracts that routing names, in order.
func (s *Set) Contracts() []string { return s.contracts }

// refused gives the error that says what is wrong, to whoever wrote the file.
func refused(f Faults) error { return &invalid{ErrSet.Explain("%v", f), f} }

// invalid carries faults for programs beside the error that spells them out.
type invalid struct {
	error
	faults Faults
}

func (i *invalid) Unwrap() error { return i.error }

func whole(format string, args ...any) error {
	return refused(Faults{{Message: fmt.Sprintf(format, args...)}})
}

// FaultsOf gives the faults behind an error of [Parse].
func FaultsOf(err error) Faults {
	var i *invalid
	if errors.As(err, &i) {
		return i.faults
	}
	return nil
}

func read(source []byte) (*document, error) {
	if len(source) > SourceMax {
		return nil, whole("the file is larger than %d bytes", SourceMax)
	}
	file, err := parser.ParseBytes(source, 0)
	if err != nil {
		return nil, yamlFault(err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, whole("want one YAML document")
	}
	var plain plainOnly
	ast.Walk(&plain, file.Docs[0].Body)
	if len(plain.faults) > 0 {
		return nil, refused(plain.faults)
	}
	d := new(document)
	if err := yaml.NodeToValue(file.Docs[0].Body, d, yaml.Strict()); err != nil {
		return nil, yamlFault(err)
	}
	d.order()
	return d, nil
}

// plainOnly refuses what makes a small file a large one, and what says one thing
// in a second place.
type plainOnly struct{ faults Faults }

func (p *plainOnly) Visit(n ast.Node) ast.Visitor {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode:
		at := n.GetToken().Position
		p.faults = append(p.faults, Fault{Line: at.Line, Column: at.Column, Message: "anchors, aliases and tags are not read; write the value out"})
		return nil
	}
	return p
}

// yamlFault gives the place and the first line of a YAML error.
func yamlFault(err error) error {
	f := Fault{Message: err.Error()}
	var placed yaml.Error
	if errors.As(err, &placed) {
		f.Message = placed.GetMessage()
		if t := placed.GetToken(); t != nil {
			f.Line, f.Column = t.Position.Line, t.Position.Column
		}
	}
	f.Message, _, _ = strings.Cut(f.Message, "\n")
	return refused(Faults{f})
}

// order puts what has no order of its own into one: the canonical form.
func (d *document) order() {
	for _, names := range d.Areas {
		slices.Sort(names)
	}
	a := &d.Acceptance
	slices.SortFunc(a.Issuers, func(x, y issuerRule) int { return cmp.Compare(x.Issuer, y.Issuer) })
	slices.SortFunc(a.Deferred, func(x, y deferred) int { return cmp.Compare(x.Scheme, y.Scheme) })
	slices.SortFunc(a.Modes, func(x, y modeRule) int { return cmp.Compare(x.Mode, y.Mode) })
	for i := range a.Modes {
		slices.Sort(a.Modes[i].Products)
	}
	if a.Default == "" {
		a.Default = thenAccept
	}
	for i := range a.Rules {
		a.Rules[i].Match.order()
	}
	for i := range d.Limits {
		d.Limits[i].Match.order()
	}
	for i := range d.Routing {
		r := &d.Routing[i]
		for _, list := range [][]string{r.Wallets, r.Contracts, r.Currencies, r.Hours, r.Days} {
			slices.Sort(list)
		}
	}
	for i := range d.Liability {
		slices.Sort(d.Liability[i].Operators)
	}
}

func (m *match) order() {
	for _, list := range [][]string{m.Schemes, m.Modes, m.Kinds, m.Mediums, m.Areas, m.Hours, m.Days} {
		slices.Sort(list)
	}
	slices.Sort(m.Issuers)
	slices.Sort(m.Products)
}
