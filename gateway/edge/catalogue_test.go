package edge_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	ridecode "github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
)

var update = flag.Bool("update", false, "write what the tests of generated files compare")

// A foundCode is a citygate.Code in the source.
type foundCode struct {
	citygate.Code
	dir, variable, at string
	answered          bool // in a package that the gateway is made of
}

// A source is what the catalogue and its tests take from the module's files.
type source struct {
	codes []foundCode
	// said are the texts of tests and stories; named the variables that tests name,
	// by "directory.Name".
	said  strings.Builder
	named map[string]bool
}

const root, modulePath = "../..", "github.com/cashlesscity/citygate"

// read looks at every Go file and story of the module.
func read(t *testing.T) *source {
	t.Helper()
	s := &source{named: map[string]bool{}}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}}", modulePath+"/gateway").Output()
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		parts[strings.TrimPrefix(strings.TrimSpace(line), modulePath+"/")] = true
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "vaultdev" || name == "lint"):
			return filepath.SkipDir
		case strings.HasSuffix(name, ".txtar") || strings.HasSuffix(name, ".c"): // a test of the C interface
			raw, err := os.ReadFile(path)
			s.said.Write(raw)
			return err
		case !strings.HasSuffix(name, ".go"):
			return nil
		}
		return s.file(t, path, parts)
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(s.codes, func(a, b foundCode) int { return strings.Compare(a.Name, b.Name) })
	return s
}

func (s *source) file(t *testing.T, path string, parts map[string]bool) error {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, filepath.Dir(path))
	if err != nil {
		return err
	}
	dir := filepath.ToSlash(rel)
	if strings.HasSuffix(path, "_test.go") {
		s.test(f, dir)
		return nil
	}
	variables := map[ast.Expr]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for i, v := range spec.Values {
				if u, ok := v.(*ast.UnaryExpr); ok {
					variables[u.X] = spec.Names[i].Name
				}
			}
		}
		literal, ok := n.(*ast.CompositeLit)
		if !ok || !isCode(literal.Type) {
			return true
		}
		c := foundCode{dir: dir, variable: variables[literal], at: files.Position(literal.Pos()).String(), answered: parts[dir]}
		if problem := c.read(literal); problem != "" {
			t.Errorf("%s: %s: a code is written out where it is declared", c.at, problem)
		}
		s.codes = append(s.codes, c)
		return true
	})
	return nil
}

func isCode(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Code" {
		return false
	}
	of, ok := sel.X.(*ast.Ident)
	return ok && of.Name == "citygate"
}

var kinds = map[string]citygate.Kind{
	"Internal": citygate.Internal, "Invalid": citygate.Invalid, "Unauthenticated": citygate.Unauthenticated, "Forbidden": citygate.Forbidden,
	"NotFound": citygate.NotFound, "Conflict": citygate.Conflict, "TooLarge": citygate.TooLarge, "TooMany": citygate.TooMany, "Unavailable": citygate.Unavailable,
}

// read takes a code from its literal; problem says what is not constant in it.
func (c *foundCode) read(literal *ast.CompositeLit) (problem string) {
	for _, e := range literal.Elts {
		field, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return "a field without a name"
		}
		key, _ := field.Key.(*ast.Ident)
		switch v := field.Value.(type) {
		case *ast.BasicLit:
			text, err := strconv.Unquote(v.Value)
			if err != nil {
				return err.Error()
			}
			if key.Name == "Name" {
				c.Name = text
			} else {
				c.Title = text
			}
		case *ast.SelectorExpr:
			kind, known := kinds[v.Sel.Name]
			if !known {
				return "kind " + v.Sel.Name
			}
			c.Kind = kind
		default:
			return key.Name + " is no constant"
		}
	}
	return ""
}

// test notes what a test file says and which variables of which packages it names.
func (s *source) test(f *ast.File, dir string) {
	imported := map[string]string{}
	for _, spec := range f.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		rel, ours := strings.CutPrefix(path, modulePath+"/")
		if !ours {
			continue
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = rel
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch v := n.(type) {
		case *ast.BasicLit:
			s.said.WriteString(v.Value + "\n")
		case *ast.SelectorExpr:
			if of, ok := v.X.(*ast.Ident); ok {
				s.named[imported[of.Name]+"."+v.Sel.Name] = true
			}
		case *ast.Ident:
			s.named[dir+"."+v.Name] = true
		}
		return true
	})
}

// The catalogue and docs/errors.md list every code of the source, as it is there,
// and no other.
func TestErrorCatalogue(t *testing.T) {
	s := read(t)
	pages := make([]edge.ProblemPage, 0, len(s.codes))
	names := regexp.MustCompile(`^[a-z]+(\.[a-z_]+)?$`)
	for i, c := range s.codes {
		p := edge.PageOfCode(&c.Code)
		p.Answered = c.answered
		if !names.MatchString(c.Name) || p.Meaning == "" || p.Next == "" || p.Status == 0 {
			t.Errorf("%s: code %q, title %q: want a name such as tenant.not_found, and a title that says what it means and what to do", c.at, c.Name, c.Title)
		}
		if i > 0 && s.codes[i-1].Name == c.Name {
			t.Errorf("%s and %s: both are %s", s.codes[i-1].at, c.at, c.Name)
		}
		pages = append(pages, p)
	}
	if len(pages) < 200 {
		t.Errorf("only %d codes were found", len(pages))
	}
	var catalogue bytes.Buffer
	e := json.NewEncoder(&catalogue)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(pages); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"catalogue.json": catalogue.String(), filepath.Join(root, "docs", "errors.md"): errorsPage(pages)} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s does not say what the source does (%v): run go test ./gateway/edge -run TestErrorCatalogue -update\n%s", path, err, firstDifference(string(got), want))
		}
	}
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d:\n%s\nwant\n%s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

// errorsPage is docs/errors.md.
func errorsPage(pages []edge.ProblemPage) string {
	var b strings.Builder
	b.WriteString(`# Errors

Written by TestErrorCatalogue from the source: change a code where it is declared, not here.

An answer that is no success is a problem document (RFC 9457, ` + "`application/problem+json`" + `). Switch on ` + "`code`" + `: a code is never renamed and
never used for something else. ` + "`type`" + ` is the address of its page at the gateway, ` + "`/problems/{code}`" + `; ` + "`title`" + ` says what to do, ` + "`detail`" + ` and
` + "`errors`" + ` (with JSON Pointers) what is wrong with this request, ` + "`request_id`" + ` what to tell support. ` + "`retryable`" + ` means that the same request, with
the same Idempotency-Key, can succeed later; with ` + "`Retry-After`" + ` in the answer, after that many seconds. A refusal never tells what another
tenant has: things of others answer as things that do not exist.

## Answers of the API

` + "`request.invalid`" + ` comes with 400 if the body is no JSON and with 415 if it is not declared as such.

`)
	table := func(answered bool) {
		b.WriteString("| code | status | retryable | what it means | what to do |\n| --- | --- | --- | --- | --- |\n")
		for _, p := range pages {
			if p.Answered == answered {
				again := "no"
				if p.Retryable {
					again = "yes"
				}
				fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %s |\n", p.Code, p.Status, again, cell(p.Meaning), cell(p.Next))
			}
		}
	}
	table(true)
	b.WriteString("\n## Reasons of refused taps\n\nIn `reason` of a receipt, of a verdict and on the display of a validator: the same words everywhere. A batch with refused taps is a success.\n\n" +
		"| reason | who gives it | what it means |\n| --- | --- | --- |\n")
	for _, r := range ridecode.Reasons() {
		m := reasonMeanings[r]
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r, m.by, m.text)
	}
	b.WriteString("\n## Codes of commands, terminals and logs\n\nNo answer of the API has them; the status is what their kind would be.\n\n")
	table(false)
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

type reasonMeaning struct{ by, text string }

const atGate, later = "validator and gateway", "gateway, after upload"

var reasonMeanings = map[ridecode.Reason]reasonMeaning{
	ridecode.Malformed:           {atGate, "The bytes are no code of any scheme that is read here."},
	ridecode.Unsupported:         {atGate, "A code of a scheme, suite or version that is not read or not admitted here."},
	ridecode.UnknownIssuer:       {atGate, "The issuer is not in the trust bundle: none, or none that is admitted here."},
	ridecode.UnknownKey:          {atGate, "The issuer's key or the rider's secret is not held here; a newer bundle may have it."},
	ridecode.KeyRevoked:          {atGate, "The issuer's key was revoked."},
	ridecode.IssuerCertExpired:   {atGate, "The issuer's certificate was not valid at that time."},
	ridecode.BadIssuerCert:       {atGate, "The issuer's certificate does not verify."},
	ridecode.BadIssuerSignature:  {atGate, "The issuer's signature does not verify."},
	ridecode.BadDeviceSignature:  {atGate, "The device's signature does not verify."},
	ridecode.BadSecret:           {atGate, "The rotating code does not follow from the rider's secret."},
	ridecode.ExpiredCredential:   {atGate, "The credential has run out: the phone must renew it."},
	ridecode.ExpiredCode:         {atGate, "The code was shown too long after it was made."},
	ridecode.NotYetValid:         {atGate, "The code or credential begins in the future by this clock."},
	ridecode.AmountOverCap:       {atGate, "The fare is over what the credential is good for."},
	ridecode.TapsExhausted:       {atGate, "The credential was used as often as it may be."},
	ridecode.ProductNotValidHere: {atGate, "The rider's product is not taken here."},
	ridecode.Denied:              {atGate, "The rider is on the issuer's deny list."},
	ridecode.StaleList:           {atGate, "The validator's deny list is older than the policy lets it trust."},
	ridecode.Replayed:            {atGate, "The same code was shown here before."},
	ridecode.Passback:            {atGate, "The same rider was here a moment ago."},
	ridecode.WrongVehicle:        {atGate, "The code is bound to another vehicle or stop."},
	ridecode.InternalError:       {atGate, "The verifier failed; nothing is known about the code."},
	ridecode.PolicyRefused:       {atGate, "A rule of the operator refuses, and the decision names it."},
	ridecode.OverLimit:           {atGate, "A limit of the operator refuses, and the decision names it."},
	ridecode.SequenceConflict:    {later, "The terminal signed two different taps with one number."},
	ridecode.DoubleUse:           {later, "The same code was shown at two validators."},
	ridecode.Clone:               {later, "Two devices show codes of one credential."},
	ridecode.NotIssued:           {later, "The issuer gave out no such credential."},
	ridecode.TooLate:             {later, "The tap came later than the policy or the roaming terms take."},
	ridecode.ClockSuspect:        {later, "The terminal's clock cannot have been right."},
	ridecode.Unresolved:          {later, "Nobody vouched for a deferred code in time."},
}

func TestEveryReasonIsDocumented(t *testing.T) {
	for _, r := range ridecode.Reasons() {
		if reasonMeanings[r].text == "" {
			t.Errorf("reason %s has no meaning in reasonMeanings", r)
		}
	}
	if len(reasonMeanings) != len(ridecode.Reasons()) {
		t.Errorf("%d meanings of %d reasons", len(reasonMeanings), len(ridecode.Reasons()))
	}
}

// The type of a problem is an address where the gateway says what it is.
func TestAProblemPointsToItsPage(t *testing.T) {
	b := newBench(t)
	refused := b.call("GET", "/v1/tenants/1", "", "")
	var p edge.Problem
	if err := json.Unmarshal(refused.Body.Bytes(), &p); err != nil || p.Type != "/problems/auth.token_invalid" {
		t.Fatalf("%s, %v", refused.Body, err)
	}
	w := b.call("GET", p.Type, "", "")
	var page edge.ProblemPage
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || page.Code != p.Code || page.Status != refused.Code || page.Retryable != p.Retry ||
		page.Meaning == "" || page.Next == "" || !page.Answered {
		t.Errorf("%d %s, %v", w.Code, w.Body, err)
	}
	if again := b.call("GET", p.Type, "", "", "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("the same again: %d %s", again.Code, again.Body)
	}
	w = b.call("GET", p.Type, "", "", "Accept", "text/html,application/xhtml+xml")
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(w.Body.String(), "<code>auth.token_invalid</code>") {
		t.Errorf("for a browser: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := b.call("GET", "/problems/tenant.lost", "", ""); w.Code != http.StatusNotFound || code(w) != "request.not_found" {
		t.Errorf("a code that does not exist: %d %s", w.Code, w.Body)
	}
	var all struct{ Items []edge.ProblemPage }
	if w := b.call("GET", "/problems", "", ""); json.Unmarshal(w.Body.Bytes(), &all) != nil || len(all.Items) < 200 {
		t.Errorf("%d pages: %d", len(all.Items), w.Code)
	}
}
