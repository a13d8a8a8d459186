package citygate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cashlesscity/citygate"

// Third-party doors: one library, one door. A library that is not listed may
// be imported by nobody.
var doors = map[string][]string{
	"github.com/gin-gonic/gin":                 {"gateway/edge", "gateway/console"},
	"github.com/danielgtaylor/huma/v2":         {"gateway/edge"},
	"github.com/golang-jwt/jwt/v5":             {"gateway/edge"},
	"github.com/jackc/pgx/v5/pgxpool":          {"tenants/pg", "gateway/jobs", "tenants/pg/pgtest"},
	"github.com/jackc/pgx/v5":                  stores,
	"github.com/pressly/goose/v3":              {"tenants/pg"},
	"github.com/riverqueue/river":              {"gateway/jobs"},
	"github.com/casbin/casbin/v2":              {"policies/authz"},
	"github.com/hashicorp/vault/api":           {"keys/vault"},                      // the server is never imported: deploy/vaultdev is a module of its own
	"github.com/fxamacker/cbor/v2":             {"keys/bundle", "gateway/issuance"}, // issuance reads what iOS apps attest, which is CBOR
	"github.com/veraison/go-cose":              {"keys/bundle"},
	"github.com/coreos/go-oidc/v3":             {"gateway/access"},                 // the only verifier of ID tokens
	"github.com/maypok86/otter/v2":             {"gateway/access", "gateway/edge"}, // bounded caches of what every request asks for
	"github.com/spf13/cobra":                   {"cmd/citygate"},
	"filippo.io/age":                           {"keys/offline"}, // passphrase-sealed root keys that also open without us
	"github.com/emmansun/gmsm":                 {"gateway/code/sm2"},
	"rsc.io/qr":                                {"cmd/citygate"},
	"github.com/bojanz/currency":               {"cmd/citygate", "gateway/edge", "gateway/settle", "gateway/ridership", "gateway/fare/gtfs", "gateway/fare/gtfs/exchange", "adapters/alipayplus", "adapters/alipayplus/alipayplussim", "adapters/openloop"},
	"golang.org/x/text":                        {"adapters/alipay", "adapters/alipay/alipaysim", "adapters/unionpay", "adapters/unionpay/unionpaysim", "gateway/settle"},
	"golang.org/x/crypto":                      {"gateway/edge", "keys/local"},
	"golang.org/x/sys":                         {"tenants/pg/pglocal", "cmd/citygate"},
	"cel.dev/cel-go":                           {"policies/ruleset"},
	"github.com/goccy/go-yaml":                 {"policies/ruleset", "gateway/manifest"},
	"golang.org/x/time":                        {"gateway/edge"}, // token buckets
	"github.com/dunglas/httpsfv":               {"adapters/httpsig"},
	"github.com/santhosh-tekuri/jsonschema/v6": {"adapters/schema", "gateway/edge/conform"},
	"pgregory.net/rapid":                       {},
	"github.com/google/go-cmp":                 {},
	"github.com/rogpeppe/go-internal":          {},
}

// stores are the packages that own tables: pgx types appear in their store.go.
var stores = []string{
	"tenants", "tenants/pg", "tenants/pg/pglocal", "tenants/pg/pgtest", "keys", "policies",
	"gateway/credential", "gateway/foreign", "gateway/issuance", "gateway/fleet", "gateway/intake", "gateway/pricing", "gateway/collect", "gateway/ledger",
	"gateway/interbook", "gateway/settle", "gateway/recon", "gateway/audit", "gateway/jobs", "gateway/edge", "gateway/city", "gateway/access",
	"gateway/retention", "gateway/roaming", "gateway/ridership", "gateway/risk", "gateway/sales", "gateway/till", "gateway/person", "gateway/explain", "gateway/agreement",
}

// public packages are pure: standard library, root and each other, plus what
// their entry names.
var public = map[string][]string{
	"gateway/code":            nil,
	"gateway/code/sm2":        {"github.com/emmansun/gmsm"}, // the curve of the Chinese schemes
	"gateway/code/schemetest": nil,
	"gateway/denylist":        nil,
	"gateway/tap":             nil,
	"gateway/journey":         nil,
	"gateway/fare":            nil,
	"gateway/fare/bands":      nil,
	"gateway/fare/share":      nil,
	"gateway/fare/diary":      nil,
	"gateway/fare/gtfs":       {"github.com/bojanz/currency"}, // the decimals of currencies: amounts become minor units here

	"gateway/fare/gtfs/exchange": {"github.com/bojanz/currency"}, // and decimals again
	"gateway/entitlement":        nil,
	"gateway/terminal":           nil,
	"policies/accept":            nil,
	"adapters/driver":            nil,
	"keys/bundle":                {"github.com/fxamacker/cbor/v2", "github.com/veraison/go-cose"},
}

// ours says which packages of the module each package may import. A package
// that is not listed here may import nothing of ours but root.
var ours = map[string][]string{
	"": {}, "migrations": {},
	"tenants/pg":               {"migrations"},
	"tenants/pg/pglocal":       {"tenants/pg", "deploy"},
	"tenants/pg/pgtest":        {"tenants/pg", "tenants/pg/pglocal", "migrations", "deploy"},
	"tenants/pg/pgtest/withpg": {"tenants/pg/pglocal", "tenants/pg/pgtest"},
	"deploy":                   {}, "policies": {"policies/accept", "policies/ruleset", "tenants/pg"},
	"policies/authz":                 {},
	"tenants":                        {"tenants/pg"},
	"keys":                           {"keys/bundle", "tenants/pg"},
	"keys/local":                     {"keys"},
	"keys/keystest":                  {"keys"},
	"keys/sentinel":                  {"keys"}, // for tests
	"keys/softsm2":                   {"keys", "gateway/code/sm2"},
	"keys/vault":                     {"keys"},
	"keys/vault/vaulttest":           {"keys/vault", "deploy"},
	"keys/vault/vaulttest/withvault": {"keys/vault/vaulttest"},
	"keys/bundle":                    {"gateway/code", "policies/accept"},
	"keys/offline":                   {"keys/bundle"},
	"policies/accept":                {"gateway/code", "gateway/tap"},
	"policies/policytest":            {"policies/accept", "policies/ruleset"},
	"policies/ruleset":               {"policies/accept", "gateway/code", "gateway/tap"},
	"adapters":                       {"adapters/driver", "adapters/party", "adapters/schema", "adapters/wire"},
	"adapters/builtin":               {"adapters"},
	"adapters/schema":                nil,
	"adapters/simserve":              {},
	"adapters/party":                 {"adapters/driver"},
	"adapters/wire":                  {"adapters/driver"},
	"adapters/sandbox":               {"adapters/driver"},
	"adapters/httpsig":               nil,
	"adapters/remote":                {"adapters/driver", "adapters/httpsig", "adapters/schema", "adapters/wire"},
	"adapters/scaffold":              {"adapters/remote"},
	"adapters/remote/remotetest":     {"adapters/driver", "adapters/drivertest", "adapters/httpsig", "adapters/remote"},
	"adapters/drivertest":            {"adapters/driver", "adapters", "adapters/wire"},
	"adapters/alipay/alipaysim":      {"adapters/simserve", "gateway/code", "gateway/code/ct1", "keys/bundle"},
	"gateway/code/schemetest":        {"gateway/code", "policies/accept"},
	"gateway/tap":                    {"gateway/code"},
	"gateway/terminal":               {"gateway/code", "gateway/tap", "gateway/denylist", "gateway/journey", "gateway/fare", "keys/bundle", "policies/accept"},
	"gateway/terminal/cabi":          {"gateway/terminal", "gateway/code", "gateway/code/ct1", "gateway/tap", "keys/bundle", "policies/accept"}, // a program: it puts the SDK together for C
	"gateway/fare":                   {"gateway/journey", "gateway/entitlement", "gateway/fare/share", "gateway/fare/gtfs"},
	"gateway/entitlement":            {},
	"gateway/fare/bands":             {"gateway/fare"},
	"gateway/fare/share":             {},
	"gateway/fare/diary":             {"gateway/tap", "gateway/journey", "gateway/fare", "gateway/fare/share", "gateway/entitlement"},
	"gateway/fare/gtfs":              {},
	"gateway/fare/gtfs/exchange":     {"gateway/tap", "gateway/journey", "gateway/fare", "gateway/fare/gtfs"},
	"gateway/journey":                {"gateway/tap", "gateway/code"},
	"gateway/ledger":                 {"tenants", "tenants/pg"},
	"gateway/ledger/ledgertest":      {"tenants/pg", "gateway/ledger"},
	"gateway/interbook":              {"tenants", "tenants/pg", "gateway/code"},
	"gateway/jobs":                   {"tenants/pg"},
	"gateway/credential":             {"tenants", "tenants/pg", "keys", "keys/bundle", "gateway/code", "gateway/code/ct1", "gateway/denylist"},
	"gateway/fleet":                  {"tenants", "tenants/pg", "keys", "keys/bundle", "policies/accept", "gateway/code"},
	"gateway/intake":                 {"tenants", "tenants/pg", "keys/bundle", "policies/accept", "gateway/code", "gateway/denylist", "gateway/tap", "gateway/fleet", "gateway/interbook"},
	"gateway/foreign":                {"tenants", "tenants/pg", "adapters", "adapters/driver", "keys/bundle", "gateway/code", "gateway/credential", "gateway/interbook"},
	"gateway/risk":                   {"gateway/journey", "tenants/pg"},
	"gateway/person":                 {"keys", "tenants/pg"},
	"gateway/roaming":                {"tenants/pg", "policies/accept", "gateway/code"},
	"gateway/pricing":                {"tenants", "tenants/pg", "gateway/code", "gateway/tap", "gateway/journey", "gateway/fare", "gateway/fare/share", "gateway/entitlement", "gateway/ledger", "gateway/interbook", "gateway/intake", "gateway/fleet", "gateway/settle", "gateway/person"},
	"gateway/explain":                {"tenants/pg", "keys", "gateway/tap", "gateway/fare", "gateway/pricing"},
	"gateway/issuance":               {"tenants/pg", "gateway/code", "gateway/code/ct1", "gateway/credential"},
	"gateway/collect":                {"policies", "policies/ruleset", "tenants", "tenants/pg", "adapters", "adapters/driver", "gateway/code", "gateway/ledger", "gateway/interbook", "gateway/credential", "gateway/risk"},
	"gateway/settle":                 {"tenants", "tenants/pg", "gateway/ledger", "gateway/interbook"},
	"gateway/recon":                  {"tenants", "tenants/pg", "adapters", "adapters/driver", "gateway/ledger", "gateway/collect"},
	"gateway/archive":                {"tenants", "tenants/pg", "migrations", "keys", "keys/bundle", "gateway/code", "gateway/code/ct1", "gateway/code/schemes", "gateway/tap"},
	"gateway/retention":              {"tenants", "tenants/pg"},
	"gateway/agreement":              {"tenants/pg", "adapters/driver"},
	"gateway/sales":                  {"tenants/pg", "gateway/collect", "gateway/entitlement", "gateway/ledger", "gateway/pricing"},
	"gateway/till":                   {"tenants/pg", "adapters", "adapters/driver", "gateway/collect", "gateway/ledger", "gateway/risk"},
	"gateway/ridership":              {"tenants", "tenants/pg"},
	"gateway/manifest":               {"tenants", "keys", "policies/accept", "policies/authz", "policies/ruleset", "gateway/fare", "gateway/fare/gtfs", "gateway/fare/gtfs/exchange", "gateway/roaming", "gateway/entitlement", "gateway/journey", "gateway/risk"},
	"gateway/audit":                  {"tenants/pg", "keys", "keys/bundle"},
	"gateway/access":                 {"tenants", "tenants/pg", "policies/authz"},
	"gateway/access/issuertest":      {},
	"gateway/edge/conform":           {}, // for tests

	"adapters/wechatpay":                  {"adapters/driver", "adapters/wire", "gateway/code/motsm2", "gateway/code/sm2"}, // it makes the operator's part of ministry codes
	"adapters/wechatpay/wechatpayproduct": {"adapters", "adapters/driver", "adapters/party", "adapters/schema", "adapters/wechatpay", "adapters/wechatpay/wechatpaysim", "gateway/code", "gateway/code/motsm2"},
}

// A code scheme is a folder of gateway/code and needs no entry: all of them are
// public, may import gateway/code and the SM2 curve, and are put together by
// gateway/code/schemes alone. schemetest is the kit they pass.
const schemeFolder = "gateway/code/"

func init() {
	folders, err := filepath.Glob(schemeFolder + "*/doc.go")
	if err != nil {
		panic(err)
	}
	for _, doc := range folders {
		scheme := filepath.ToSlash(filepath.Dir(doc))
		if _, listed := public[scheme]; !listed { // schemetest has a doc.go too
			public[scheme] = nil
			ours[scheme] = []string{"gateway/code", "gateway/code/sm2"}
			ours[schemeFolder+"schemes"] = append(ours[schemeFolder+"schemes"], scheme)
		}
	}
	public[schemeFolder+"schemes"] = nil
	ours[schemeFolder+"schemes"] = append(ours[schemeFolder+"schemes"], "gateway/code")
}

// A payment product is a folder of adapters and needs no entry above unless it
// imports more than every product may: the adapter has the contract and package
// wire, its simulator NAMEsim what all serve with, and NAMEproduct puts the two together
// for the program. Package builtin alone lists them.
var kit = []string{"builtin", "driver", "drivertest", "httpsig", "interop", "party", "remote", "scaffold", "schema", "simserve", "wire"}

// productPart says which product's folder a package is in, and what it is there: ""
// for the adapter, sim or product; another one has none of the rights.
func productPart(pkg string) (name, part string, ok bool) {
	parts := strings.Split(pkg, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] != "adapters" || (len(parts) == 2 && slices.Contains(kit, parts[1])) {
		return "", "", false
	}
	if len(parts) == 3 {
		if part, ok = strings.CutPrefix(parts[2], parts[1]); !ok || (part != "sim" && part != "product") {
			return "", "", false
		}
	}
	return parts[1], part, true
}

// mayImport lists what a package of ours may import of ours.
func mayImport(from string) []string {
	if list, said := ours[from]; said {
		return list
	}
	name, part, ok := productPart(from)
	adapter := "adapters/" + name
	switch {
	case ok && part == "":
		return []string{"adapters/driver", "adapters/wire"}
	case ok && part == "sim":
		return []string{"adapters/simserve"}
	case ok && part == "product":
		return []string{"adapters", "adapters/driver", "adapters/party", "adapters/schema", adapter, adapter + "/" + name + "sim"}
	}
	return nil
}

// players may import adapters and simulators: they stand before the gateway or
// play its providers. In cmd/citygate these are the benchmarks alone.
var players = []string{"gateway/city", "gateway/city/load", "cmd/citygate"}

// above are the packages that put the others together.
var above = []string{"gateway", "gateway/edge", "gateway/console", "gateway/city", "cmd/citygate"}

// allowed reports why a package may not import another, or "".
func allowed(from, imp string) string {
	first, _, _ := strings.Cut(imp, "/")
	if !strings.Contains(first, ".") {
		return "" // standard library
	}
	if imp == module {
		return ""
	}
	if to, mine := strings.CutPrefix(imp, module+"/"); mine {
		if name, part, product := productPart(to); product && !slices.Contains(players, from) {
			own, _, inside := productPart(from)
			if inside && own == name && slices.Contains(mayImport(from), to) || from == "adapters/builtin" && part == "product" {
				return ""
			}
			return "a payment product is reached by package builtin"
		}
		switch {
		case strings.HasPrefix(from, "cmd/"):
			return ""
		case from == "gateway/city" || strings.HasPrefix(from, "gateway/city/"):
			if to == "cmd/citygate" {
				return "nothing imports cmd"
			}
			return ""
		case to == "gateway/city" || strings.HasPrefix(to, "gateway/city/"):
			return "only cmd and tests play cities"
		case from == "gateway":
			if slices.Contains(above, to) && to != "gateway/edge" && to != "gateway/console" {
				return "it is above the wiring"
			}
			return ""
		case from == "gateway/edge" || from == "gateway/console":
			if slices.Contains(above, to) {
				return "the edge is below the wiring"
			}
			return ""
		}
		if _, pure := public[from]; pure {
			if _, ok := public[to]; !ok {
				return "public packages import the standard library, root and public packages alone"
			}
		}
		if !slices.Contains(mayImport(from), to) {
			return "the table in imports_test.go does not allow it"
		}
		return ""
	}
	for lib, who := range doors {
		if imp == lib || strings.HasPrefix(imp, lib+"/") {
			if longer, ok := longest(imp); ok && longer != lib {
				continue
			}
			if !slices.Contains(who, from) {
				return "one library, one door: only " + strings.Join(who, ", ")
			}
			if extra, pure := public[from]; pure && !slices.Contains(extra, lib) {
				return "public packages bring no library"
			}
			return ""
		}
	}
	return "no package may import this library; argue for it in imports_test.go"
}

// longest gives the longest listed library that imp belongs to.
func longest(imp string) (string, bool) {
	best := ""
	for lib := range doors {
		if (imp == lib || strings.HasPrefix(imp, lib+"/")) && len(lib) > len(best) {
			best = lib
		}
	}
	return best, best != ""
}

// TestImports keeps the package graph the shape that ARCHITECTURE.md draws.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		from := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		for _, imp := range fields[1:] {
			if why := allowed(from, imp); why != "" {
				t.Errorf("%s imports %s: %s", from, imp, why)
			}
		}
		for _, name := range []string{"util", "common", "helper", "model", "service", "repository"} {
			if slices.Contains(strings.Split(from, "/"), name) {
				t.Errorf("package %s: a package is named for what it is, not %s", from, name)
			}
		}
	}
}

// The allow-list can refuse: each of these imports must be named.
func TestImportsRefuses(t *testing.T) {
	for _, c := range []struct{ from, imp string }{
		{"gateway/tap", "github.com/gin-gonic/gin"},
		{"gateway/fare", "github.com/jackc/pgx/v5"},
		{"gateway/ledger", "github.com/jackc/pgx/v5/pgxpool"},
		{"adapters/wire", module + "/gateway/code"},
		{"gateway/terminal", module + "/gateway/intake"},
		{"gateway/pricing", module + "/gateway/collect"},
		{"gateway/code", module + "/gateway/code/ct1"},
		{"gateway/code/ct1", module + "/gateway/code/schemes"},
		{"gateway/code/ct1", "github.com/emmansun/gmsm/sm2"},
		{"gateway/recon", module + "/cmd/citygate"},
		{"gateway", module + "/gateway/city"},
		{"adapters/acme/acmesim", module + "/adapters/acme"},
		{"adapters/acme/acmesim", module + "/adapters/wire"},
		{"adapters/acme", module + "/adapters/acme/acmesim"},
		{"adapters/acme", module + "/adapters/alipay"},
		{"adapters/acme/acmeproduct", module + "/adapters/alipay"},
		{"adapters/acme/acmeproduct", module + "/gateway/collect"},
		{"adapters/acme/acmehelp", module + "/adapters/acme"},
		{"adapters/builtin", module + "/adapters/acme"},
		{"gateway", module + "/adapters/acme/acmeproduct"},
		{"gateway/collect", module + "/adapters/acme"},
		{"keys", "github.com/hashicorp/vault/api"},
		{"", "github.com/google/uuid"},
	} {
		if allowed(c.from, c.imp) == "" {
			t.Errorf("%s may import %s", c.from, c.imp)
		}
	}
	for _, c := range []struct{ from, imp string }{
		{"gateway/intake", "gateway/tap"}, {"adapters/builtin", "adapters/acme/acmeproduct"}, {"adapters/acme/acmeproduct", "adapters/acme/acmesim"}, {"adapters/acme", "adapters/wire"},
	} {
		if why := allowed(c.from, module+"/"+c.imp); why != "" {
			t.Errorf("%s may not import %s: %s", c.from, c.imp, why)
		}
	}
}

// No command but a benchmark names a product.
func TestCommandsNameNoProduct(t *testing.T) {
	files, err := filepath.Glob("cmd/*/*.go")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ourImports.FindAllStringSubmatch(string(text), -1) {
			if _, _, product := productPart(m[1]); product && !strings.HasPrefix(filepath.Base(file), "bench_") && !strings.HasSuffix(file, "_test.go") {
				t.Errorf("%s imports %s", file, m[1])
			}
		}
	}
}

var ourImports = regexp.MustCompile(`"` + regexp.QuoteMeta(module) + `/(adapters/[^"]+)"`)

// Every package says what it is for, main packages included.
func TestEveryPackageHasADoc(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}|{{.Doc}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if pkg, doc, _ := strings.Cut(strings.TrimSpace(line), "|"); doc == "" {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}
