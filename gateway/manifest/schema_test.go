package manifest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cashlesscity/citygate/deploy"
	"github.com/cashlesscity/citygate/gateway/manifest"
)

var update = flag.Bool("update", false, "write the published schema")

const published = "../../docs/schemas/city.schema.json"

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	raw, err := manifest.Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("city.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("city.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// value is a file as a validator of JSON Schema sees it.
func value(t *testing.T, file []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	v, err = jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPublishedSchemaIsOfTheTypes(t *testing.T) {
	made, err := manifest.Schema()
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile(published, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if held, err := os.ReadFile(published); err != nil || !bytes.Equal(held, made) {
		t.Errorf("%s is not what the types say (%v): go test ./gateway/manifest -run TestPublishedSchema -update", published, err)
	}
}

// full is a file that uses every part there is.
const full = `citygate: 1
tenants:
  - {id: 1, slug: harbour, name: Harbour, kind: authority, mode: sandbox, currency: CNY, time_zone: Asia/Shanghai}
  - {id: 3, slug: hill, name: Hill, kind: authority, mode: sandbox, currency: CNY, time_zone: Asia/Shanghai}
  - id: 2
    slug: harbour-bus
    name: Bus
    kind: bus
    parent: harbour
    serves: [hill]
    mode: sandbox
    state: draft
    issuer: 7
    cap_unit: 100
    currency: CNY
    time_zone: Asia/Shanghai
    cut: "04:00"
    keys: [{purpose: audit, algorithm: ed25519}]
    contracts: [{name: pay, adapter: sandbox, fee_ppm: 6000, config: {fee_ppm: 6000}, secrets: {token: {env: TOKEN}}}]
    payees: [{id: bus, kind: operator, name: Bus, account: "1", bank_id: B, default: true}]
    stops: [{id: S, name: Stop, area: Centre}]
    vehicles: [{id: V, kind: bus, plate: P}]
    assignments: [{vehicle: V, payee: bus, from: "2026-11-21T00:00:00+08:00"}]
    terminals:
      - {id: 5, name: front, public_key: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, kind: validator, stop: S, route: "12", vehicle: V, state: active,
         profile: {mode: bus, kinds: [single], max_fare_minor: 500}}
    settlement: [{from: "2026-11-23", close_after_minutes: 60, pay_after_minutes: 600}]
    calendars: [{from: "2026-12-01", time_zone: Asia/Shanghai, cut: "04:00", rest_days: [sunday], holidays: ["2027-01-01"], workdays: ["2027-01-03"]}]
    retention: {keep_days: 200, automatic: true}
    quota: {reads: {per_second: 100, burst: 200}}
    code_schemes: [{scheme: token-defer, params: {providers: [palm]}, contract: pay, asks: true, keys: [{kind: root_ca, id: 1, key: AAAA}]}]
    acceptance:
      issuers: [{issuer: 7, currency: CNY, cap_unit_minor: 100}]
      schemes: [ct1]
      modes: [{mode: bus, kinds: [single]}]
      skew_seconds: 30
      max_window_seconds: 120
      max_ttl_hours: 48
      stale_list_seconds: 259200
      late_upload_days: 7
      clock_suspect_seconds: 600
      incomplete: {charge: max, max_journey_minutes: 180, grace_minutes: 60}
`

// files are the files of the repository that `citygate apply` reads, and one with
// every part.
func files(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"deploy/example-city.yaml": deploy.ExampleCity, "full": []byte(full)}
	scripts, err := filepath.Glob("../../cmd/citygate/testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	for _, script := range scripts {
		raw, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(raw), "\n-- ")[1:] {
			name, body, _ := strings.Cut(part, " --\n")
			if strings.HasPrefix(body, "citygate: 1\n") {
				out[filepath.Base(script)+"/"+name] = []byte(body)
			}
		}
	}
	return out
}

// What is read passes, and whatever the schema refuses of it is not read either.
func TestSchemaIsHeldByFilesOfTheRepository(t *testing.T) {
	s := compiled(t)
	read := 0
	for name, file := range files(t) {
		_, wrong := manifest.Parse(file, nil)
		if err := s.Validate(value(t, file)); wrong == nil && err != nil {
			t.Errorf("%s is read, and the schema refuses it: %v", name, err)
		}
		if wrong == nil {
			read++
		}
	}
	if read < 2 {
		t.Errorf("%d files were read", read)
	}
}

// visit calls do with every object of a document, where it lies.
func visit(at string, v any, do func(at string, o map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		do(at, v)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			visit(at+"."+name, v[name], do)
		}
	case []any:
		for _, each := range v {
			visit(at+"[]", each, do)
		}
	}
}

// open are objects whose form another package knows.
func open(at string) bool {
	return strings.Contains(at, ".config") || strings.Contains(at, ".params") || strings.Contains(at, ".secrets") && !strings.Contains(at, ".secrets.") ||
		strings.Contains(at, ".tariff") || strings.Contains(at, ".issuance")
}

// A field that nobody knows, one of another type, and one that is missing are
// refused by the schema exactly where they are when the file is read.
func TestSchemaRefusesWhatIsNotRead(t *testing.T) {
	s := compiled(t)
	if _, err := manifest.Parse([]byte(full), nil); err != nil {
		t.Fatal(err)
	}
	doc := value(t, []byte(full))
	tried, refused := 0, 0
	compare := func(what string, strict bool) {
		t.Helper()
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		_, unread := manifest.Parse(raw, nil) // JSON is YAML
		unfit := s.Validate(doc)
		tried++
		switch {
		case unfit != nil && unread == nil:
			t.Errorf("%s: it is read, and the schema refuses it: %v", what, unfit)
		case unfit == nil && unread != nil && strict:
			t.Errorf("%s: the schema takes it, and it is not read: %v", what, unread)
		case unfit != nil:
			refused++
		}
	}
	visit("", doc, func(at string, o map[string]any) {
		if open(at) {
			return
		}
		o["nobody_knows"] = "x"
		compare(at+" with a field that nobody knows", true)
		delete(o, "nobody_knows")
		for _, name := range slices.Sorted(maps.Keys(o)) {
			was := o[name]
			delete(o, name)
			compare(at+" without "+name, false)
			o[name] = map[string]any{"nobody_knows": true}
			compare(at+"."+name+" as an object", !open(at+"."+name))
			if _, text := was.(string); text {
				o[name] = "nothing that is one"
				compare(at+"."+name+" as another text", false)
			}
			o[name] = was
		}
	})
	if tried < 150 || refused < 120 {
		t.Errorf("%d changes were tried, %d refused", tried, refused)
	}
	for _, gone := range []string{"id", "slug", "name", "kind", "mode", "currency", "time_zone"} {
		doc := value(t, []byte(full))
		tenant := doc.(map[string]any)["tenants"].([]any)[2].(map[string]any)
		delete(tenant, gone)
		if s.Validate(doc) == nil {
			t.Errorf("a tenant without %s passes", gone)
		}
	}
}
