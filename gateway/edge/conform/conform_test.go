package conform_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/edge/conform"
)

const document = `{"openapi":"3.1.0","info":{"title":"t","version":"1"},
 "components":{"headers":{"Retry-After":{"required":true,"schema":{"type":"integer"}},"ETag":{"required":true,"schema":{"type":"string"}}},
  "responses":{"Slow":{"description":"slow","headers":{"Retry-After":{"$ref":"#/components/headers/Retry-After"}},
   "content":{"application/problem+json":{"schema":{"$ref":"#/components/schemas/Problem"}}}}},
  "schemas":{"Problem":{"type":"object","additionalProperties":false,"required":["code"],"properties":{"code":{"type":"string"}}},
   "Thing":{"type":"object","additionalProperties":false,"required":["id","name"],"properties":{"id":{"type":"integer","readOnly":true},"name":{"type":"string","enum":["a","b"]}}}}},
 "paths":{"/things/{id}":{
  "get":{"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer","minimum":1}},{"name":"limit","in":"query","schema":{"type":"integer","maximum":5}},
    {"name":"X-Key","in":"header","required":true,"schema":{"type":"string"}}],
   "responses":{"200":{"description":"ok","headers":{"ETag":{"$ref":"#/components/headers/ETag"}},"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}}},
    "304":{"description":"same"},"429":{"$ref":"#/components/responses/Slow"}}},
  "put":{"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer"}}],
   "requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}}},
   "responses":{"200":{"description":"ok","content":{"application/json":{"schema":{"type":"object"}}}},"422":{"description":"no","content":{"application/json":{"schema":{"type":"object"}}}}}}}}}`

// A report keeps what is found.
type report struct{ found []string }

func (r *report) Helper() {}
func (r *report) Errorf(format string, args ...any) {
	r.found = append(r.found, fmt.Sprintf(format, args...))
}

type reply struct {
	status int
	header map[string]string
	body   string
}

// Whatever of a request or an answer the document does not have is found, and what
// it has is not.
func TestWhatIsNotDocumentedIsFound(t *testing.T) {
	const good, problem = `{"id":1,"name":"a"}`, `{"code":"x"}`
	json := map[string]string{"Content-Type": "application/json", "ETag": `"1"`}
	slow := func(name, value string) map[string]string {
		return map[string]string{"Content-Type": "application/problem+json", name: value}
	}
	for what, c := range map[string]struct {
		method, path, key, sent string
		reply                   reply
		want                    string // part of what is found, "" = nothing
	}{
		"as documented":                   {"GET", "/things/1?limit=5", "k", "", reply{200, json, good}, ""},
		"no body":                         {"GET", "/things/1", "k", "", reply{304, nil, ""}, ""},
		"a problem":                       {"GET", "/things/1", "k", "", reply{429, slow("Retry-After", "1"), problem}, ""},
		"another path":                    {"GET", "/nowhere", "", "", reply{404, nil, "?"}, ""},
		"a status":                        {"GET", "/things/1", "k", "", reply{418, json, good}, "no such status"},
		"an answer of a path":             {"GET", "/nowhere", "", "", reply{200, json, good}, "no such operation"},
		"a method":                        {"DELETE", "/things/1", "", "", reply{200, json, good}, "no such operation"},
		"a member of the body":            {"GET", "/things/1", "k", "", reply{200, json, `{"id":1,"name":"a","more":1}`}, "additional"},
		"a value of the body":             {"GET", "/things/1", "k", "", reply{200, json, `{"id":1,"name":"c"}`}, "must be one of"},
		"a member that is missing":        {"GET", "/things/1", "k", "", reply{200, json, `{"name":"a"}`}, "missing property 'id'"},
		"a body that is missing":          {"GET", "/things/1", "k", "", reply{200, json, ""}, "the body is missing"},
		"a body that is no JSON":          {"GET", "/things/1", "k", "", reply{200, json, "{"}, "no JSON"},
		"a media type":                    {"GET", "/things/1", "k", "", reply{200, map[string]string{"Content-Type": "text/html", "ETag": `"1"`}, good}, "media type text/html"},
		"a header":                        {"GET", "/things/1", "k", "", reply{200, map[string]string{"Content-Type": "application/json", "ETag": `"1"`, "X-More": "1"}, good}, "X-More is not documented"},
		"a header that is missing":        {"GET", "/things/1", "k", "", reply{200, map[string]string{"Content-Type": "application/json"}, good}, "ETag is missing"},
		"Retry-After that is missing":     {"GET", "/things/1", "k", "", reply{429, slow("Content-Type", "application/problem+json"), problem}, "Retry-After is missing"},
		"Retry-After of another type":     {"GET", "/things/1", "k", "", reply{429, slow("Retry-After", "soon"), problem}, "Retry-After"},
		"a problem of another form":       {"GET", "/things/1", "k", "", reply{429, slow("Retry-After", "1"), `{}`}, "missing property 'code'"},
		"a parameter over its bound":      {"GET", "/things/1?limit=6", "k", "", reply{200, json, good}, "parameter limit"},
		"a path parameter below its own":  {"GET", "/things/0", "k", "", reply{200, json, good}, "parameter id"},
		"a parameter that is missing":     {"GET", "/things/1", "", "", reply{200, json, good}, "X-Key is missing"},
		"a parameter nobody knows":        {"GET", "/things/1?more=1", "k", "", reply{200, json, good}, "more is not documented"},
		"a request as documented":         {"PUT", "/things/1", "", `{"name":"b"}`, reply{200, map[string]string{"Content-Type": "application/json"}, `{}`}, ""},
		"a bad request that is let in":    {"PUT", "/things/1", "", `{"name":"c"}`, reply{200, map[string]string{"Content-Type": "application/json"}, `{}`}, "was not refused"},
		"a bad request that is refused":   {"PUT", "/things/1", "", `{"name":"c"}`, reply{422, map[string]string{"Content-Type": "application/json"}, `{}`}, ""},
		"null for what may be left out":   {"PUT", "/things/1", "", `{"id":null,"name":"b"}`, reply{200, map[string]string{"Content-Type": "application/json"}, `{}`}, ""},
		"null for what may not":           {"PUT", "/things/1", "", `{"name":null}`, reply{200, map[string]string{"Content-Type": "application/json"}, `{}`}, "missing property 'name'"},
		"an answer's member in a request": {"PUT", "/things/1", "", `{"id":7,"name":"b"}`, reply{200, map[string]string{"Content-Type": "application/json"}, `{}`}, ""},
	} {
		r := &report{}
		h := conform.Handler(r, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/openapi.json" {
				_, _ = io.WriteString(w, document)
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			for name, value := range c.reply.header {
				w.Header().Set(name, value)
			}
			w.WriteHeader(c.reply.status)
			_, _ = io.WriteString(w, c.reply.body)
		}))
		req := httptest.NewRequest(c.method, c.path, strings.NewReader(c.sent))
		if c.key != "" {
			req.Header.Set("X-Key", c.key)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if found := strings.Join(r.found, "\n"); (c.want == "") != (found == "") || !strings.Contains(found, c.want) {
			t.Errorf("%s: found %q, want %q", what, found, c.want)
		}
		if w.Code != c.reply.status || w.Body.String() != c.reply.body {
			t.Errorf("%s: the answer became %d %s", what, w.Code, w.Body)
		}
	}
}

func TestADocumentThatIsNone(t *testing.T) {
	r := &report{}
	conform.Handler(r, http.NotFoundHandler())
	if len(r.found) != 1 {
		t.Errorf("found %v", r.found)
	}
}
