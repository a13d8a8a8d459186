package citygate_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every gateway that a test opens has its API held to the OpenAPI document: the
// literals that make one, or make what makes one, say what stands before it.
func TestEveryTestOfTheAPIIsHeldToTheDocument(t *testing.T) {
	files := map[string]*ast.File{}
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		files[filepath.ToSlash(path)] = file
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	made, found := unheld(files)
	for _, what := range found {
		t.Error(what)
	}
	for _, at := range []string{"cmd/citygate", "gateway", "gateway/city", "gateway/city/load", "gateway/edge"} {
		if made[at] == 0 {
			t.Errorf("no test of %s opens a gateway any more, or this test does not see it", at)
		}
	}
}

// openers are the types of which a literal opens a gateway, or is handed to what
// does, by package and name, with the field that says what stands before the API.
var openers = map[string]string{
	"gateway.Config": "Served", "gateway/city.Config": "Served", "gateway/city/load.Config": "Served", "cmd/citygate.system": "served",
}

// unheld gives where a test makes a gateway whose API nobody checks, and how many
// each package makes that are checked.
func unheld(files map[string]*ast.File) (made map[string]int, found []string) {
	made = map[string]int{}
	for path, file := range files {
		dir := filepath.ToSlash(filepath.Dir(path))
		test := strings.HasSuffix(path, "_test.go")
		imported := map[string]string{} // local name -> folder
		for _, i := range file.Imports {
			folder, ours := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module+"/")
			if !ours {
				continue
			}
			name := folder[strings.LastIndex(folder, "/")+1:]
			if i.Name != nil {
				name = i.Name.Name
			}
			imported[name] = folder
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				kind := named(n.Type, dir, imported)
				field, opens := openers[kind]
				if !opens || !test && kind != "gateway.Config" {
					return true
				}
				if held(n, field) || laterHeld(file, field) {
					made[dir]++
				} else {
					found = append(found, fmt.Sprintf("%s: a %s without %s: hold its API to the document by gateway/edge/conform", path, kind, field))
				}
			case *ast.CallExpr:
				// The edge alone: gateway/edge's own bench holds each to the document.
				if test && named(n.Fun, dir, imported) == "gateway/edge.New" && dir != "gateway/edge" {
					found = append(found, path+": edge.New: open a gateway.Gateway, whose API is held to the document")
				}
			case *ast.SelectorExpr:
				inner, ok := n.X.(*ast.SelectorExpr)
				if test && ok && n.Sel.Name == "ServeHTTP" && inner.Sel.Name == "Edge" {
					found = append(found, path+": Edge.ServeHTTP goes past what holds it to the document")
				}
			}
			return true
		})
	}
	slices.Sort(found)
	return made, found
}

// named gives a type or function as folder.Name.
func named(e ast.Expr, dir string, imported map[string]string) string {
	switch e := e.(type) {
	case *ast.Ident:
		return dir + "." + e.Name
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && imported[x.Name] != "" {
			return imported[x.Name] + "." + e.Sel.Name
		}
	}
	return ""
}

func held(literal *ast.CompositeLit, field string) bool {
	return slices.ContainsFunc(literal.Elts, func(e ast.Expr) bool {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return false
		}
		key, ok := kv.Key.(*ast.Ident)
		return ok && key.Name == field
	})
}

// laterHeld reports whether the file assigns the field.
func laterHeld(file *ast.File, field string) (yes bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok {
			yes = yes || slices.ContainsFunc(a.Lhs, func(e ast.Expr) bool {
				s, ok := e.(*ast.SelectorExpr)
				return ok && s.Sel.Name == field
			})
		}
		return !yes
	})
	return yes
}

// The scan can fail: each of these is found, and what is held is not.
func TestAnAPIThatNobodyChecksIsFound(t *testing.T) {
	for source, bad := range map[string]bool{
		`import "MODULE/gateway"; var x = gateway.Config{Served: f}`:                       false,
		`import "MODULE/gateway"; var x = gateway.Config{Workers: 1}`:                      true,
		`import g "MODULE/gateway"; var x = g.Config{}`:                                    true,
		`import "MODULE/gateway/city"; var x = city.Config{Riders: 1}`:                     true,
		`import "MODULE/gateway/city/load"; var x = load.Config{}`:                         true,
		`import "MODULE/gateway/city/load"; func y() { x := load.Config{}; x.Served = f }`: false,
		`import "MODULE/gateway/edge"; var x = edge.New(v, nil)`:                           true,
		`import "MODULE/gateway/jobs"; var x = jobs.Config{}`:                              false,
		`var x = bench.Edge.ServeHTTP`:                                                     true,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p; "+strings.ReplaceAll(source, "MODULE", module), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, found := unheld(map[string]*ast.File{"gateway/x/x_test.go": file}); (len(found) > 0) != bad {
			t.Errorf("%s: found %v", source, found)
		}
	}
}
