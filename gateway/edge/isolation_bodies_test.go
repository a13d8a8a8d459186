package edge_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/danielgtaylor/huma/v2"
)

// sneaked are fields that a caller would like to set and none may.
var sneaked = []string{
	"tenant_id", "tenant", "Tenant", "id", "status", "state", "STATE", "amount", "fee", "key_version", "created_at", "updated_at", "role", "roles", "scope", "actor",
	"issuer", "version", "approved", "is_admin", "permissions", "__proto__", "$ref",
}

// free are operations with a part of their body that is read by something else,
// which refuses unknown fields itself.
var free = map[string][]string{
	"publish-journey-rules": {"/rules"}, "publish-risk-terms": {"/terms"}, "publish-catalogue": {"/catalogue"},
	"put-contract": {"/config"}, "publish-tariff": {"/tariff"}, "simulate-tariff": {"/tariff"}, "put-acceptance": {"/rules"}, "put-code-scheme": {"/params"},
}

// levels calls visit with every object of a body: its place, and its schema.
func levels(s *sampler, value any, schema *huma.Schema, at string, visit func(at string, object map[string]any, schema *huma.Schema)) {
	schema = s.resolve(schema)
	switch v := value.(type) {
	case map[string]any:
		visit(at, v, schema)
		for name, inner := range v {
			if p := schema.Properties[name]; p != nil {
				levels(s, inner, p, at+"/"+name, visit)
			}
		}
	case []any:
		for i, inner := range v {
			levels(s, inner, schema.Items, fmt.Sprintf("%s/%d", at, i), visit)
		}
	}
}

// bodies sends what nobody should send to every route that takes a body, as the
// administrator of a tenant, or of the platform where that alone may.
func (w *world) bodies(t *testing.T, quiet *party) {
	own := w.mint(edge.Caller{Subject: "user:own", Tenant: quiet.id, Scopes: []string{edge.ScopeAdmin}})
	tried, objects := 0, 0
	for _, r := range w.tokenRoutes() {
		c, s := sample(w.edge.OpenAPI(), r, quiet.id, nobodys)
		if c.body == nil {
			continue
		}
		tried++
		token := own
		if r.Needs.Resource == "platform" || r.Needs.Resource == "quota" {
			token = w.root
		}
		ask := func(body string) *httptest.ResponseRecorder {
			return w.ask(token, c.method, c.url(), "application/json", []byte(body))
		}
		schema := r.Operation.RequestBody.Content["application/json"].Schema
		if rec := ask(string(c.raw())); rec.Code == http.StatusUnprocessableEntity && strings.Contains(rec.Body.String(), "expected") {
			t.Errorf("%s: the sample is not what the document says: %s\n%s", c.op, c.raw(), rec.Body)
		}
		levels(s, c.body, schema, "", func(at string, object map[string]any, schema *huma.Schema) {
			objects++
			if slices.Contains(free[c.op], at) {
				return
			}
			for _, name := range append([]string{"unknown", ""}, sneaked...) {
				if _, declared := schema.Properties[name]; declared {
					if schema.Properties[name].ReadOnly {
						t.Run(c.op+" "+name, func(t *testing.T) { w.withoutEffect(t, token, c, object, name) })
					}
					continue
				}
				for _, value := range []any{1, "x", nil, map[string]any{}} {
					object[name] = value
					if rec := ask(string(c.raw())); !refusedAsUnknown(rec) {
						t.Errorf("%s%s with %q: %v: %d %s", c.op, at, name, value, rec.Code, rec.Body)
					}
					delete(object, name)
				}
			}
			for name := range schema.Properties { // no other spelling of a field
				object[strings.ToUpper(name)] = object[name]
				if rec := ask(string(c.raw())); rec.Code < 400 || rec.Code >= 500 {
					t.Errorf("%s%s with %q: %d %s", c.op, at, strings.ToUpper(name), rec.Code, rec.Body)
				}
				delete(object, strings.ToUpper(name))
			}
		})
		for what, body := range brokenJSON(string(c.raw())) {
			rec := ask(body)
			if rec.Code < 400 || rec.Code >= 500 || rec.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s, %s: %d %s", c.op, what, rec.Code, rec.Body)
			}
		}
		w.values(t, ask, c, s, schema)
	}
	if tried < 20 || objects < 30 {
		t.Errorf("%d routes with %d objects were tried", tried, objects)
	}
}

// refusedAsUnknown reports whether a field was refused for its name: as one that
// is not there, or as another spelling of one that is.
func refusedAsUnknown(rec *httptest.ResponseRecorder) bool {
	return rec.Code == http.StatusUnprocessableEntity && strings.Contains(rec.Body.String(), "unexpected property") ||
		rec.Code == http.StatusBadRequest && strings.Contains(rec.Body.String(), "a name comes twice")
}

// withoutEffect holds that a field that the document calls read-only is refused,
// or changes nothing of the answer.
func (w *world) withoutEffect(t *testing.T, token string, c call, object map[string]any, name string) {
	answer := func() string {
		rec := w.ask(token, c.method, c.url(), "application/json", c.raw())
		if rec.Code == http.StatusUnprocessableEntity {
			return "refused"
		}
		return versions.ReplaceAllString(canonical(rec, c.used), "VERSION")
	}
	was := answer()
	for _, value := range []any{99, "closed", "suspended"} {
		object[name] = value
		if got := answer(); got != "refused" && got != was {
			t.Errorf("%s %v: %s\nwithout it: %s", name, value, got, was)
		}
		delete(object, name)
	}
}

// brokenJSON are documents that are no request, whatever the route.
func brokenJSON(good string) map[string]string {
	inner := strings.TrimSuffix(strings.TrimPrefix(good, "{"), "}")
	first, _, _ := strings.Cut(inner, ",")
	name, _, _ := strings.Cut(first, ":")
	all := map[string]string{
		"data behind it": good + good, "text behind it": good + " x", "an array": "[" + good + "]", "a text": `"x"`, "null": `null`, "not JSON": good[:len(good)-1],
		"not UTF-8": "{\"x\xff\":1}", "half a surrogate": `{"\ud800":1}`, "NaN": `{"x":NaN}`,
		"too deep": strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "far too deep": strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000),
		"a byte order mark": "\ufeff" + good,
		"a comment":         "/* */" + good, "another type": `{"type":"object"}`,
	}
	if len(inner) > 0 {
		all["a name twice"] = "{" + first + "," + inner + "}"
		all["a name twice, spelt otherwise"] = "{" + strings.Replace(first, name, strings.ToUpper(name), 1) + "," + inner + "}"
		all["a name twice, escaped"] = "{" + strings.Replace(first, name, `"`+fmt.Sprintf(`\u%04x`, name[1])+name[2:], 1) + "," + inner + "}"
	}
	return all
}

// hostile are values of no field.
var hostile = []string{
	`"\u0000"`, `"a\u0000b"`, `"\ud800"`, `1e400`, `-1`, `1e30`, `99999999999999999999999999`, `9223372036854775808`, `0.5`, `1e2`, `true`, `{}`, `[]`, `[[]]`, `null`, `""`,
	`"' OR 1=1 --"`, `"%00"`, `"../../etc/passwd"`, `"2026-13-45"`, `"` + strings.Repeat("x", 300_000) + `"`,
}

// values puts what no field takes into each: any answer but a failure of ours.
func (w *world) values(t *testing.T, ask func(string) *httptest.ResponseRecorder, c call, s *sampler, schema *huma.Schema) {
	levels(s, c.body, schema, "", func(at string, object map[string]any, _ *huma.Schema) {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			was := object[name]
			for _, value := range hostile {
				object[name] = json.RawMessage(value)
				if rec := ask(string(c.raw())); rec.Code >= 500 || strings.Contains(rec.Body.String(), "SQLSTATE") {
					t.Errorf("%s%s/%s = %.60s: %d %.300s", c.op, at, name, value, rec.Code, rec.Body)
				}
			}
			object[name] = was
		}
	})
}

// addresses puts what no parameter takes into every path and query.
func (w *world) addresses(t *testing.T, quiet *party) {
	own := w.mint(edge.Caller{Subject: "user:own", Tenant: quiet.id, Scopes: []string{edge.ScopeAdmin}})
	for _, r := range w.edge.DocumentedRoutes() {
		for _, p := range r.Operation.Parameters {
			for _, value := range []string{"%00", "a%00b", "%ff", "%ed%a0%80", "%27%20OR%201=1--", "..%2f..%2fetc", "-1", "0", "1e9", "99999999999999999999", "%f0%9f%9a%8c", strings.Repeat("x", 5000), "null", "%0d%0aX-Evil:%201"} {
				c, s := sample(w.edge.OpenAPI(), r, quiet.id, nobodys)
				var path string
				switch p.In {
				case "path":
					path = r.Operation.Path
					for _, q := range r.Operation.Parameters {
						at := value
						if q.Name != p.Name {
							if at = s.has[pathObjects[q.Name]]; q.Name == "tenant" {
								at = quiet.id.String()
							}
						}
						path = strings.ReplaceAll(path, "{"+q.Name+"}", strings.ReplaceAll(at, "/", "%2F"))
					}
				case "query":
					path = c.path + "?" + p.Name + "=" + value
				default:
					continue
				}
				rec := w.ask(own, c.method, path, "application/json", c.raw())
				if rec.Code >= 500 || rec.Header().Get("X-Evil") != "" || rec.Code >= 400 && rec.Header().Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s %s: %d %v %.300s", c.method, path, rec.Code, rec.Header(), rec.Body)
				}
			}
		}
	}
}
