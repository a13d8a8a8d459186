package manifest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants"
)

// sizeMost bounds a file, in bytes.
const sizeMost = 16 << 20

// A Problem is one thing that is wrong with a file.
type Problem struct {
	Line int    // from 1; 0 = not known
	Path string // such as tenants[0].payees[1]
	Text string
}

// String gives "line 12: tenants[0].payees[1]: text".
func (p Problem) String() string {
	s := p.Text
	if p.Path != "" {
		s = p.Path + ": " + s
	}
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// Problems are everything that is wrong with a file; as an error it is
// [ErrManifest].
type Problems []Problem

// Error lists the problems, one a line.
func (p Problems) Error() string {
	list := make([]string, len(p))
	for i, each := range p {
		list[i] = each.String()
	}
	return strings.Join(list, "\n")
}

// Unwrap gives the code with the first problem as its detail.
func (p Problems) Unwrap() error { return ErrManifest.Explain("%s", p[0]) }

// lines finds the lines of a file's parts.
type lines struct{ file *ast.File }

// at gives the line of the part at path, or of the nearest one around it.
func (l lines) at(path string) int {
	for l.file != nil && path != "" {
		if p, err := yaml.PathString("$." + path); err == nil {
			if node, err := p.FilterFile(l.file); err == nil && node != nil {
				return lineOf(node)
			}
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	return 0
}

// lineOf gives where a node begins; a mapping's own token is its first colon.
func lineOf(node ast.Node) int {
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		node = m.Values[0].Key
	}
	if v, ok := node.(*ast.MappingValueNode); ok {
		node = v.Key
	}
	return node.GetToken().Position.Line
}

// Parse reads a file strictly and checks it. files is where the files it names
// lie; nil = it may name none. What is wrong comes as [Problems].
func Parse(raw []byte, files fs.FS) (*City, error) {
	if len(raw) > sizeMost {
		return nil, Problems{{Text: fmt.Sprintf("the file is larger than %d bytes", sizeMost)}}
	}
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return nil, syntax(err)
	}
	if len(file.Docs) != 1 {
		return nil, Problems{{Text: "want one YAML document in the file"}}
	}
	if refs := references(file); len(refs) > 0 {
		return nil, refs
	}
	c := new(City)
	if err := yaml.UnmarshalWithOptions(raw, c, yaml.Strict()); err != nil {
		return nil, syntax(err)
	}
	if said, err := json.Marshal(c.plain()); err != nil || control.Match(said) {
		return nil, Problems{{Text: "there is a line break or another control character in a value: the file cannot be written back with it"}}
	}
	c.lines = lines{file}
	if c.Citygate != Form {
		return nil, Problems{{Line: 1, Path: "citygate", Text: fmt.Sprintf("want citygate: %d, the version of the file's form", Form)}}
	}
	var found Problems
	for i := range c.Tenants {
		found = append(found, c.read(i, files)...)
	}
	if found = append(found, c.check()...); len(found) > 0 {
		slices.SortStableFunc(found, func(a, b Problem) int { return a.Line - b.Line })
		return nil, found
	}
	return c, nil
}

// plain is the file without the parts that are written as JSON, which has a way to
// write every character: certificates in PEM and the files of feeds have line breaks.
func (c *City) plain() *City {
	p := &City{Citygate: c.Citygate, Tenants: slices.Clone(c.Tenants)}
	for i := range p.Tenants {
		p.Tenants[i].Issuance = nil
		p.Tenants[i].Tariffs = slices.Clone(p.Tenants[i].Tariffs)
		for k := range p.Tenants[i].Tariffs {
			p.Tenants[i].Tariffs[k].Tariff = nil
		}
		if r := p.Tenants[i].RuleSet; r != nil {
			p.Tenants[i].RuleSet = &RuleSet{From: r.From, File: r.File}
		}
	}
	return p
}

// control finds a control character in JSON.
var control = regexp.MustCompile(`(^|[^\\])(\\\\)*\\(u00[01][0-9a-f]|u007f|[nrtbf])|\x7f`)

var position = regexp.MustCompile(`^\[(\d+):\d+\] *`)

// syntax turns an error of the YAML library into a problem. Its own message
// shows lines of the file; those are left out, as somebody may have put a
// secret there.
func syntax(err error) Problems {
	text := yaml.FormatError(err, false, false)
	p := Problem{Text: strings.TrimSpace(text)}
	if at := position.FindStringSubmatch(text); at != nil {
		_, _ = fmt.Sscan(at[1], &p.Line) // digits
		p.Text = strings.TrimSpace(text[len(at[0]):])
	}
	return Problems{p}
}

type referenceFinder struct{ found Problems }

func (r *referenceFinder) Visit(n ast.Node) ast.Visitor {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode:
		r.found = append(r.found, Problem{Line: n.GetToken().Position.Line, Text: "anchors, aliases, merge keys and tags are not read: write it out"})
		return nil
	}
	return r
}

func references(file *ast.File) Problems {
	var r referenceFinder
	for _, doc := range file.Docs {
		if doc.Body != nil {
			ast.Walk(&r, doc.Body)
		}
	}
	return r.found
}

// read fills in the tariffs and other documents that lie in files of their own.
func (c *City) read(i int, files fs.FS) (found Problems) {
	for k := range c.Tenants[i].Tariffs {
		t := &c.Tenants[i].Tariffs[k]
		path := fmt.Sprintf("tenants[%d].tariffs[%d].file", i, k)
		if t.Feed != nil {
			raw, err := t.Feed.tariff(files, t.File, t.Tariff)
			if err != nil {
				found = append(found, c.problem(path, "%s: %v", t.File, err))
				continue
			}
			t.Tariff, t.File, t.Feed = raw, "", nil
			continue
		}
		raw, why := fromFile(files, t.File, t.Tariff)
		if why != "" {
			found = append(found, c.problem(path, "%s", why))
			continue
		}
		t.Tariff, t.File = raw, ""
	}
	found = append(found, c.readRules(i, files)...)
	return append(found, c.readVersions(i, files)...)
}

func (c *City) problem(path, format string, args ...any) Problem {
	return Problem{Line: c.lines.at(path), Path: path, Text: fmt.Sprintf(format, args...)}
}

// check finds what the file alone shows to be wrong.
func (c *City) check() (found Problems) {
	slugs, ids, issuers := map[string]bool{}, map[int64]bool{}, map[uint16]bool{}
	for i, t := range c.Tenants {
		path := fmt.Sprintf("tenants[%d]", i)
		if _, err := t.Record(); err != nil {
			found = append(found, c.detail(path, err))
		}
		if t.State != "" && !slices.Contains(tenants.States(), tenants.State(t.State)) {
			found = append(found, c.problem(path+".state", "want one of %v", tenants.States()))
		}
		if slugs[t.Slug] || ids[t.ID] || t.Issuer != 0 && issuers[t.Issuer] {
			found = append(found, c.problem(path, "number, slug or issuer number is that of an earlier tenant"))
		}
		slugs[t.Slug], ids[t.ID], issuers[t.Issuer] = true, true, true
		found = append(found, c.checkMoney(path, t)...)
		found = append(found, c.checkFleet(path, t)...)
		found = append(found, c.checkSettings(path, t)...)
		found = append(found, c.checkRiders(path, t)...)
		found = append(found, c.checkRoaming(path, t)...)
		found = append(found, c.checkVersions(path, t)...)
		found = append(found, c.checkPeople(path, t)...)
		if _, err := t.Rules(1); err != nil {
			found = append(found, c.detail(path+".acceptance", err))
		}
		seen := map[string]bool{}
		for _, item := range t.Items(path) {
			if name := item.Kind + " " + item.Name; seen[name] {
				found = append(found, c.problem(item.path, "%s is there twice", name))
			} else {
				seen[name] = true
			}
		}
	}
	return found
}

var fieldForm = regexp.MustCompile(`^([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*):? `)

var unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)

// detail makes a problem of a vertical's refusal. Those begin with the field they
// mean, which gives the line.
func (c *City) detail(path string, err error) Problem {
	text := err.Error()
	var said *citygate.Explained
	if errors.As(err, &said) {
		text = said.Detail
	}
	if m := unknownField.FindStringSubmatch(text); m != nil {
		if line := c.lines.key(path, m[1]); line > 0 {
			return Problem{Line: line, Path: path, Text: text}
		}
	}
	if m := fieldForm.FindStringSubmatch(text); m != nil {
		if deeper := path + "." + m[1]; c.lines.there(deeper) {
			return Problem{Line: c.lines.at(deeper), Path: path, Text: text}
		}
	}
	return Problem{Line: c.lines.at(path), Path: path, Text: text}
}

// there reports whether the file has a part at path.
func (l lines) there(path string) bool {
	p, err := yaml.PathString("$." + path)
	if err != nil || l.file == nil {
		return false
	}
	node, err := p.FilterFile(l.file)
	return err == nil && node != nil
}

type keyFinder struct {
	name string
	line int
}

func (k *keyFinder) Visit(n ast.Node) ast.Visitor {
	if v, ok := n.(*ast.MappingValueNode); ok && k.line == 0 && v.Key.GetToken().Value == k.name {
		k.line = v.Key.GetToken().Position.Line
	}
	return k
}

// key gives the line of the first field called name under path, or 0.
func (l lines) key(path, name string) int {
	p, err := yaml.PathString("$." + path)
	if err != nil || l.file == nil {
		return 0
	}
	node, err := p.FilterFile(l.file)
	if err != nil || node == nil {
		return 0
	}
	k := keyFinder{name: name}
	ast.Walk(&k, node)
	return k.line
}

func (c *City) checkMoney(at string, t Tenant) (found Problems) {
	for i, k := range t.Keys {
		path := fmt.Sprintf("%s.keys[%d]", at, i)
		if err := keys.Purpose(k.Purpose).Check(citygate.TenantID(max(t.ID, 1))); err != nil {
			found = append(found, c.detail(path, err))
		}
		if !slices.Contains([]string{"", "ed25519", "ecdsa-p256", "rsa-2048"}, k.Algorithm) {
			found = append(found, c.problem(path+".algorithm", "want ed25519, ecdsa-p256 or rsa-2048"))
		}
	}
	for i, k := range t.Contracts {
		path := fmt.Sprintf("%s.contracts[%d]", at, i)
		if k.Name == "" || k.Adapter == "" || k.FeePPM < 0 || k.FeePPM > 1_000_000 {
			found = append(found, c.problem(path, "a contract has a name, an adapter and a fee_ppm of 0 to 1000000"))
		}
		for name, s := range k.Secrets {
			set := 0
			for _, is := range []bool{s.Env != "", s.File != "", s.Stdin, s.Kept} {
				if is {
					set++
				}
			}
			if set != 1 {
				found = append(found, c.problem(path+".secrets."+name, "say where the value comes from: exactly one of env, file, stdin and kept"))
			}
		}
	}
	for i, p := range t.Tariffs {
		path := fmt.Sprintf("%s.tariffs[%d]", at, i)
		if p.From.IsZero() {
			found = append(found, c.problem(path, "from: want the instant from which these prices hold"))
		}
		if _, err := p.Compiled(); err != nil {
			found = append(found, c.detail(path+".tariff", err))
		}
	}
	for i, s := range t.Settlement {
		path := fmt.Sprintf("%s.settlement[%d]", at, i)
		if _, err := citygate.ParseDate(s.From); err != nil {
			found = append(found, c.problem(path+".from", "want a date such as 2026-11-23"))
		}
		if s.CloseAfterMinutes < 0 || s.PayAfterMinutes < s.CloseAfterMinutes {
			found = append(found, c.problem(path, "want 0 <= close_after_minutes <= pay_after_minutes"))
		}
	}
	return found
}

func (c *City) checkFleet(at string, t Tenant) (found Problems) {
	payees := map[string]bool{"": true}
	defaults := 0
	for i, p := range t.Payees {
		payees[p.ID] = true
		if p.Default {
			defaults++
		}
		if p.ID == "" || p.Name == "" || !slices.Contains([]string{"operator", "owner", "driver"}, p.Kind) {
			found = append(found, c.problem(fmt.Sprintf("%s.payees[%d]", at, i), "a payee has an id, a name and a kind: operator, owner or driver"))
		}
	}
	if defaults > 1 {
		found = append(found, c.problem(at+".payees", "only one payee is the default"))
	}
	for i, v := range t.Vehicles {
		if v.ID == "" || !slices.Contains([]string{"train", "bus", "minibus", "taxi", "ferry"}, v.Kind) {
			found = append(found, c.problem(fmt.Sprintf("%s.vehicles[%d]", at, i), "a vehicle has an id and a kind: train, bus, minibus, taxi or ferry"))
		}
	}
	for i, s := range t.Stops {
		if s.ID == "" || s.Name == "" {
			found = append(found, c.problem(fmt.Sprintf("%s.stops[%d]", at, i), "a stop has an id and a name"))
		}
	}
	for i, a := range t.Assignments {
		path := fmt.Sprintf("%s.assignments[%d]", at, i)
		switch {
		case (a.Vehicle == "") == (a.Driver == "") || a.From.IsZero():
			found = append(found, c.problem(path, "an assignment has either a vehicle or a driver, and from"))
		case !payees[a.Payee]:
			found = append(found, c.problem(path+".payee", "payee %q is not in this file", a.Payee))
		}
	}
	for i, d := range t.Terminals {
		path := fmt.Sprintf("%s.terminals[%d]", at, i)
		const keySize = 32
		if raw, err := base64.StdEncoding.DecodeString(d.PublicKey); err != nil || len(raw) != keySize {
			found = append(found, c.problem(path+".public_key", "want an Ed25519 public key of %d bytes in base64", keySize))
		}
		if d.ID == 0 || d.Name == "" || !slices.Contains([]string{"gate", "validator", "taximeter"}, d.Kind) || !slices.Contains([]string{"", "active", "suspended"}, d.State) {
			found = append(found, c.problem(path, "a terminal has an id from 1, a name, a kind (gate, validator, taximeter) and a state (active, suspended)"))
		}
	}
	return found
}

// Write gives the file's bytes: what [Parse] reads back as an equal City.
func (c *City) Write() ([]byte, error) {
	c.Citygate = Form
	return yaml.MarshalWithOptions(c, yaml.Indent(2), yaml.IndentSequence(true))
}
