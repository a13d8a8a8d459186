package citygate_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// platformTime lists who takes the platform's clock, and why it is not a tenant's
// time that is due there. Everything else asks for a tenant's: pg.Tx.Now in its
// transaction, pg.DB.NowOf and pg.DB.ClockOf outside of one. A name is "file
// function"; a function that takes the clock no more is to be taken out.
var platformTime = map[string]string{
	"gateway/access/guard.go age":         "how long ago this process saw the rights",
	"gateway/access/guard.go lookIfOlder": "how long ago this process saw the rights",
	"gateway/access/oidc.go RoundTrip":    "how often an issuer is asked",
	"gateway/access/oidc.go checkClaims":  "the issuer of an ID token is in the world",
	"gateway/access/oidc.go issuer":       "the issuer of an ID token is in the world",
	"gateway/access/oidc.go verify":       "the issuer of an ID token is in the world",
	"gateway/api.go verticals":            "buckets of the limiter",
	"gateway/archive/export.go Export":    "an archive holds several tenants",
	"gateway/assemble.go assemble":        "what this process remembers of the directory, and of who asked",
	"gateway/audit.go seal":               "how long a job is on the queue",
	"gateway/collect/bulkhead.go Do":      "how long this process waits for a provider",
	"gateway/due.go Tick":                 "how long a job is on the queue",
	"gateway/due.go due":                  "how long a job is on the queue",
	"gateway/due.go lists":                "how long a job is on the queue",
	"gateway/edge/edge.go New":            "buckets of the limiter",
	"gateway/gateway.go New":              "the platform's clock goes to the database",
	"gateway/intake/record.go sightings":  "what a reader says of its own clock",
	"gateway/intake/store.go queueFresh":  "what a reader says of its own clock",
	"gateway/intake/verify.go check":      "what a reader says of its own clock",
	"gateway/notify.go notify":            "a notification comes from the world",
	"gateway/notify_code.go requestCode":  "likewise",
	"gateway/passes.go secretsFor":        "how old a secret in this process is",
	"gateway/products.go provider":        "a real provider is in the world",
	"gateway/roaming.go lateTerms":        "how old what this process holds is",
	"gateway/roaming.go readVisits":       "how old what this process holds is",
	"gateway/roaming.go visits":           "how old what this process holds is",
	"gateway/tokens.go tokenKey":          "how old what this process holds of the platform's keys is",
	"tenants/clock.go moveClock":          "a tenant's clock is the platform's and how far it is ahead",
	"tenants/pg/clock.go ClockOf":         "a tenant's clock is the platform's and how far it is ahead",
	"tenants/pg/clock.go NowOf":           "a tenant's clock is the platform's and how far it is ahead",
	"tenants/pg/db.go Now":                "the platform's clock",
	"tenants/pg/db.go Open":               "the platform's clock comes in",
	"tenants/pg/db.go newID":              "an id's time is the platform's and how far the tenant is ahead",
	"tenants/pg/db.go once":               "a transaction's time is the platform's and how far the tenant is ahead",
	"tenants/store.go Snapshot":           "how old what this process holds of the directory is",
	"tenants/store.go find":               "the same, before it says that a tenant does not exist",
}

// ownTime are devices, what plays a city, and key stores, whose waiting and files
// are the platform's.
var ownTime = []string{"gateway/city", "gateway/code", "gateway/terminal", "gateway/tap", "keys/vault", "keys/local"}

// Every timestamp that is made for a tenant comes from its clock.
func TestClocks(t *testing.T) {
	found := map[string][]string{}                                           // by "file function"
	for _, top := range []string{"tenants", "keys", "policies", "gateway"} { // adapters get theirs from Gateway.provider
		err := fs.WalkDir(os.DirFS("."), top, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir():
				if strings.HasSuffix(name, "test") || slices.Contains(ownTime, name) {
					return fs.SkipDir
				}
			case path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") && name != "gateway/edge/limits.go": // buckets fill by the platform's time
				raw, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				return platformClocks(name, raw, found)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, where := range slices.Sorted(maps.Keys(found)) {
		if platformTime[where] == "" {
			t.Errorf("%s takes the platform's clock (%s): take the tenant's, by pg.Tx.Now, pg.DB.NowOf or pg.DB.ClockOf", where, strings.Join(found[where], ", "))
		}
	}
	for where := range platformTime {
		if found[where] == nil {
			t.Errorf("%s takes the platform's clock no more: take it out of the list", where)
		}
	}
}

// The list can refuse.
func TestClocksRefuses(t *testing.T) {
	const source = `package x
func (g *G) one() { use(g.Clock()) }
func (g *G) two() { use(g.DB.Now()) }
func (g *G) three() { x := Config{Clock: g.Clock}; use(x) }
func four(d *D) { use(d.clock) }
func five(tx *pg.Tx, c citygate.Clock) { use(tx.Now) }
`
	found := map[string][]string{}
	if err := platformClocks("x.go", []byte(source), found); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(found)), []string{"x.go four", "x.go one", "x.go three", "x.go two"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

// platformClocks adds the functions of a file that take the platform's clock: a
// field or method Clock or clock, or Now of the database.
func platformClocks(name string, source []byte, found map[string][]string) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, 0)
	if err != nil {
		return err
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			from := ""
			switch x := sel.X.(type) {
			case *ast.Ident:
				from = x.Name
			case *ast.SelectorExpr:
				from = x.Sel.Name
			}
			clock := (sel.Sel.Name == "Clock" || sel.Sel.Name == "clock") && from != "citygate" && from != "Tenants" // the type, and a tenant's
			if clock || sel.Sel.Name == "Now" && strings.EqualFold(from, "db") {
				where := name + " " + fn.Name.Name
				found[where] = append(found[where], set.Position(sel.Pos()).String())
			}
			return true
		})
	}
	return nil
}
