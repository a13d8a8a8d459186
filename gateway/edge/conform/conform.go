package conform

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A Reporter is told what does not follow the document: a testing.TB is one.
type Reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// Handler gives h, held to the document that h serves. Requests for the document
// itself pass.
func Handler(t Reporter, h http.Handler) http.Handler {
	asked := httptest.NewRecorder()
	ask := httptest.NewRequest(http.MethodGet, "/openapi.json", nil) //nolint:noctx // a test asks
	ask.RemoteAddr = "198.51.100.254:1"                              // whose quota no test counts
	h.ServeHTTP(asked, ask)
	d, err := load(asked.Body.Bytes())
	if err != nil {
		t.Errorf("the document: %v", err)
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/openapi") {
			h.ServeHTTP(w, r)
			return
		}
		sent := &keep{ReadCloser: r.Body}
		if r.Body != nil {
			r.Body = sent
		}
		got := &copied{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(got, r) // a panic goes through: there is no answer to look at
		t.Helper()
		for _, problem := range d.Check(r, sent.read.Bytes(), got.status, w.Header(), got.body.Bytes()) {
			t.Errorf("%s %s, %d: %s\n%.600s", r.Method, r.URL.RequestURI(), got.status, problem, got.body.String())
		}
	})
}

// keep keeps what was read of a body.
type keep struct {
	io.ReadCloser
	read bytes.Buffer
}

func (k *keep) Read(b []byte) (int, error) {
	n, err := k.ReadCloser.Read(b)
	k.read.Write(b[:n])
	return n, err
}

// copied keeps an answer that it passes on.
type copied struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (c *copied) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *copied) Write(b []byte) (int, error) {
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// A Document is an OpenAPI document, ready to check by.
type Document struct {
	whole    map[string]any
	routes   []route
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

type route struct {
	method string
	parts  []string
	at     string // JSON Pointer of the operation
	op     map[string]any
}

var documents sync.Map // by the hash of their bytes: a test makes many handlers of one document

func load(raw []byte) (*Document, error) {
	sum := sha256.Sum256(raw)
	if d, ok := documents.Load(sum); ok {
		return d.(*Document), nil //nolint:errcheck // nothing else is stored
	}
	d, err := Load(raw)
	if err == nil {
		documents.Store(sum, d)
	}
	return d, err
}

// The document as answers are held to it, and as requests are.
const answers, requests = "answers.json", "requests.json"

// Load reads a document in JSON.
func Load(raw []byte) (*Document, error) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	whole, ok := v.(map[string]any)
	if !ok || whole["openapi"] != "3.1.0" {
		return nil, fmt.Errorf("it is no OpenAPI 3.1 document: %.80s", raw)
	}
	d := &Document{whole: whole, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(answers, v); err != nil {
		return nil, err
	}
	if err := d.compiler.AddResource(requests, writable(v)); err != nil {
		return nil, err
	}
	for path, item := range object(whole["paths"]) {
		for method, op := range object(item) {
			if o := object(op); o["responses"] != nil {
				d.routes = append(d.routes, route{
					method: strings.ToUpper(method), parts: strings.Split(path, "/"), at: "/paths/" + token(path) + "/" + method, op: o,
				})
			}
		}
	}
	// What is spelt out comes before what is a parameter.
	slices.SortFunc(d.routes, func(a, b route) int {
		return strings.Count(strings.Join(a.parts, "/"), "{") - strings.Count(strings.Join(b.parts, "/"), "{")
	})
	return d, nil
}

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

// writable gives a document in which no request has to hold what only answers do.
func writable(v any) any {
	switch v := v.(type) {
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = writable(v[i])
		}
		return all
	case map[string]any:
		all := make(map[string]any, len(v))
		for name, member := range v {
			all[name] = writable(member)
		}
		if list, ok := v["required"].([]any); ok {
			all["required"] = slices.DeleteFunc(slices.Clone(list), func(name any) bool {
				text, _ := name.(string)
				return object(object(v["properties"])[text])["readOnly"] == true
			})
		}
		return all
	}
	return v
}

// withoutNull leaves out the members that are null: so does who sends them.
func withoutNull(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withoutNull(v[i])
		}
	case map[string]any:
		for name, member := range v {
			if member == nil {
				delete(v, name)
			} else {
				v[name] = withoutNull(member)
			}
		}
	}
	return v
}

func token(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

// resolve follows a reference inside the document.
func (d *Document) resolve(v any, at string) (map[string]any, string) {
	o := object(v)
	ref, ok := o["$ref"].(string)
	if !ok {
		return o, at
	}
	at = strings.TrimPrefix(ref, "#")
	v = d.whole
	for part := range strings.SplitSeq(strings.TrimPrefix(at, "/"), "/") {
		v = object(v)[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return d.resolve(v, at)
}

func (d *Document) schema(doc, at string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.schemas[doc+at]; s != nil {
		return s, nil
	}
	parts := strings.Split(at, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	s, err := d.compiler.Compile(doc + "#" + strings.Join(parts, "/"))
	d.schemas[doc+at] = s
	return s, err
}

func (d *Document) valid(doc, at string, v any) error {
	s, err := d.schema(doc, at)
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func (d *Document) find(method, path string) (route, map[string]string, bool) {
	parts := strings.Split(path, "/")
next:
	for _, r := range d.routes {
		if r.method != method || len(r.parts) != len(parts) {
			continue
		}
		values := map[string]string{}
		for i, p := range r.parts {
			if !strings.HasPrefix(p, "{") {
				if p != parts[i] {
					continue next
				}
				continue
			}
			value, err := url.PathUnescape(parts[i])
			if err != nil {
				continue next
			}
			values[strings.Trim(p, "{}")] = value
		}
		return r, values, true
	}
	return route{}, nil, false
}

// Check gives everything about a request and its answer that the document does not
// have.
func (d *Document) Check(r *http.Request, sent []byte, status int, header http.Header, body []byte) (problems []string) {
	op, path, found := d.find(r.Method, r.URL.EscapedPath())
	if !found {
		return d.unrouted(r, status, header)
	}
	responses := object(op.op["responses"])
	answer, ok := responses[strconv.Itoa(status)]
	at := op.at + "/responses/" + strconv.Itoa(status)
	if !ok {
		return []string{"the document has no such status"}
	}
	documented, at := d.resolve(answer, at)
	problems = append(problems, d.headers(documented, header)...)
	problems = append(problems, d.body(documented, at, header.Get("Content-Type"), body)...)
	if status < http.StatusBadRequest {
		for _, p := range d.request(op, path, r, sent) {
			problems = append(problems, "the request was not refused: "+p)
		}
	}
	return problems
}

// usual are headers that mean the same everywhere, and are in no document.
var usual = []string{"Content-Type", "Content-Length", "Date", "X-Content-Type-Options", "Link"}

func (d *Document) headers(documented map[string]any, got http.Header) (problems []string) {
	listed := object(documented["headers"])
	known := map[string]bool{}
	for name, v := range listed {
		known[http.CanonicalHeaderKey(name)] = true
		h, at := d.resolve(v, "")
		values := got.Values(name)
		if h["required"] == true && len(values) == 0 {
			problems = append(problems, "header "+name+" is missing")
		}
		for _, value := range values {
			if at == "" || h["schema"] == nil {
				continue
			}
			_, where := d.resolve(h["schema"], at+"/schema")
			if err := d.valid(answers, where, typed(h["schema"], value)); err != nil {
				problems = append(problems, fmt.Sprintf("header %s: %v", name, err))
			}
		}
	}
	for name := range got {
		if !known[name] && !slices.Contains(usual, name) {
			problems = append(problems, "header "+name+" is not documented")
		}
	}
	return problems
}

func (d *Document) body(documented map[string]any, at, contentType string, body []byte) []string {
	content := object(documented["content"])
	if len(body) == 0 {
		if len(content) > 0 {
			return []string{"the body is missing"}
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return []string{fmt.Sprintf("media type %q: %v", contentType, err)}
	}
	m, ok := content[media]
	if !ok {
		return []string{"media type " + media + " is not documented"}
	}
	if media != "application/json" && !strings.HasSuffix(media, "+json") {
		return nil
	}
	return d.json(object(m), answers, at+"/content/"+token(media)+"/schema", body)
}

func (d *Document) json(media map[string]any, doc, at string, body []byte) []string {
	if media["schema"] == nil {
		return []string{"its schema is not documented"}
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return []string{fmt.Sprintf("the body is no JSON: %v", err)}
	}
	err = d.valid(doc, at, v)
	if err != nil && doc == requests {
		err = d.valid(doc, at, withoutNull(v))
	}
	if err != nil {
		return []string{fmt.Sprintf("the body: %v", err)}
	}
	return nil
}

// unrouted says what is wrong with the answer to a request for no operation.
func (d *Document) unrouted(r *http.Request, status int, header http.Header) []string {
	switch status {
	case http.StatusNotFound:
		return nil
	case http.StatusMethodNotAllowed:
		for method := range strings.SplitSeq(header.Get("Allow"), ",") {
			if _, _, found := d.find(strings.TrimSpace(method), r.URL.EscapedPath()); !found {
				return []string{fmt.Sprintf("Allow names %q, and the document has no such operation", method)}
			}
		}
		return nil
	default:
		return []string{"the document has no such operation"}
	}
}

// request says what of a request is not as the document asks.
func (d *Document) request(op route, path map[string]string, r *http.Request, sent []byte) (problems []string) {
	query := r.URL.Query()
	list, _ := op.op["parameters"].([]any)
	for i, v := range list {
		p, at := d.resolve(v, fmt.Sprintf("%s/parameters/%d", op.at, i))
		name, _ := p["name"].(string)
		var values []string
		switch p["in"] {
		case "path":
			values = []string{path[name]}
		case "query":
			values = query[name]
			delete(query, name)
		case "header":
			values = r.Header.Values(name)
		}
		if len(values) == 0 || values[0] == "" && p["in"] == "query" {
			if p["required"] == true && len(values) == 0 {
				problems = append(problems, "parameter "+name+" is missing")
			}
			continue
		}
		if err := d.valid(requests, at+"/schema", typed(p["schema"], values...)); err != nil {
			problems = append(problems, fmt.Sprintf("parameter %s: %v", name, err))
		}
	}
	for name := range query {
		problems = append(problems, "query parameter "+name+" is not documented")
	}
	body, at := d.resolve(op.op["requestBody"], op.at+"/requestBody")
	switch {
	case body == nil && len(sent) > 0:
		problems = append(problems, "a body is not documented")
	case body == nil || len(sent) == 0 && body["required"] != true:
	default:
		if media := object(object(body["content"])["application/json"]); media != nil {
			problems = append(problems, d.json(media, requests, at+"/content/application~1json/schema", sent)...)
		}
	}
	return problems
}

// typed gives the value of a parameter as its schema has it.
func typed(schema any, values ...string) any {
	s := object(schema)
	is := func(name string) bool {
		list, _ := s["type"].([]any)
		return s["type"] == name || slices.Contains(list, any(name))
	}
	switch text := strings.Join(values, ","); {
	case is("array"):
		all := []any{}
		for part := range strings.SplitSeq(text, ",") {
			all = append(all, typed(s["items"], part))
		}
		return all
	case is("integer"), is("number"):
		return json.Number(text)
	case is("boolean"):
		return text == "true"
	default:
		return text
	}
}
