package edge

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// sharedHeaders are the header fields of answers, by name.
var sharedHeaders = map[string]*huma.Header{
	"X-Request-Id":         {Description: "names the request, here and in our log; the client's own if it sent a good one", Required: true},
	"RateLimit":            {Description: `what is left of the quota, as in "reads";r=499;t=1: so many more now, and all in t seconds (draft-ietf-httpapi-ratelimit-headers-10)`},
	"RateLimit-Policy":     {Description: `the quota, as in "reads";q=2000;w=4: so many at once, and as many in w seconds`},
	"ETag":                 {Description: "names this form of the document: send it back as If-None-Match, or as If-Match with what replaces it", Required: true},
	"Cache-Control":        {Description: "what caches may do", Required: true},
	"Retry-After":          {Description: "seconds to wait before the request is repeated", Schema: &huma.Schema{Type: huma.TypeInteger}},
	"WWW-Authenticate":     {Description: "Bearer"},
	"Idempotency-Replayed": {Description: "true: this is the first answer to the Idempotency-Key, once more"},
	"Vary":                 {Description: "Accept, where the form depends on it"},

	"Content-Security-Policy": {Description: "of a page for a browser"},
}

// problemStatuses say when an operation answers with a problem of a status.
var problemStatuses = map[int]string{
	http.StatusBadRequest:            "the body cannot be read as JSON",
	http.StatusUnauthorized:          "nobody can be told from what was shown: a token, an API key, a signature",
	http.StatusForbidden:             "who asks may not, and detail says what would be needed",
	http.StatusNotFound:              "there is no such thing for who asks; things of others answer the same",
	http.StatusConflict:              "it contradicts what is stored; with Retry-After, the first request with this Idempotency-Key is still running",
	http.StatusPreconditionFailed:    "the document is not the one that If-Match names, or there is none, or there is one and If-None-Match wants none",
	http.StatusRequestEntityTooLarge: "the body or what it asks for is over a limit",
	http.StatusUnsupportedMediaType:  "the body is not declared as what the operation reads",
	http.StatusUnprocessableEntity:   "the request is not valid, and errors point at what is wrong; or its Idempotency-Key is missing, or was another request's",
	http.StatusTooManyRequests:       "the quota is used up: RateLimit says of what, Retry-After for how long",
	http.StatusInternalServerError:   "something failed on our side",
	http.StatusServiceUnavailable:    "a part that is needed cannot be reached; nothing was done, or a repeat finds it done",
}

// answersOf gives the statuses of problems that a route can answer with.
func answersOf(known operation, op *huma.Operation, replaces bool) []int {
	all := []int{http.StatusInternalServerError}
	add := func(when bool, statuses ...int) {
		if when {
			all = append(all, statuses...)
		}
	}
	limited := known.id != "health"
	add(limited, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusUnprocessableEntity)
	add(known.class == token || known.class == terminal || known.class == proof, http.StatusUnauthorized, http.StatusForbidden)
	add(known.class == terminal, http.StatusNotFound, http.StatusRequestEntityTooLarge)
	add(known.class == token || known.class == terminal || known.class == proof, http.StatusConflict)
	add(known.class != terminal && len(pathParams(ginPath(op.Path))) > 0, http.StatusNotFound)
	add(known.class == token && known.writes, http.StatusNotFound) // what a body or the header Approval names
	add(known.class == proof || known.class == token && known.writes, http.StatusRequestEntityTooLarge)
	add(op.RequestBody != nil && known.class != terminal, http.StatusBadRequest, http.StatusUnsupportedMediaType)
	add(replaces, http.StatusPreconditionFailed)
	return all
}

func problemName(status int) string { return "Problem" + strconv.Itoa(status) }

// describe completes the document when every route is there: the answers that
// routes have in common, their headers, and the conditions that they take.
func (e *Edge) describe() {
	doc := e.api.OpenAPI()
	doc.Components.Headers, doc.Components.Responses = map[string]*huma.Header{}, map[string]*huma.Response{}
	for name, h := range sharedHeaders {
		made := *h
		if made.Schema == nil {
			made.Schema = &huma.Schema{Type: huma.TypeString}
		}
		doc.Components.Headers[name] = &made
	}
	e.describeProblem()
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch} {
			if op != nil {
				known := e.operations[op.Method+" "+ginPath(path)]
				e.describeOperation(op, known, item.Get != nil)
				for _, p := range op.Parameters {
					if p.In == "query" {
						e.queries[known.id] = append(e.queries[known.id], p.Name)
					}
				}
			}
		}
	}
}

func headersNamed(names ...string) map[string]*huma.Header {
	all := map[string]*huma.Header{}
	for _, name := range names {
		all[name] = &huma.Header{Ref: "#/components/headers/" + name}
	}
	return all
}

func (e *Edge) describeProblem() {
	doc := e.api.OpenAPI()
	schema := doc.Components.Schemas.Schema(reflectType[Problem](), true, "Problem")
	for status, when := range problemStatuses {
		headers := headersNamed("X-Request-Id", "RateLimit", "RateLimit-Policy", "Idempotency-Replayed")
		switch status {
		case http.StatusUnauthorized:
			headers["WWW-Authenticate"] = headersNamed("WWW-Authenticate")["WWW-Authenticate"]
		case http.StatusConflict:
			headers["Retry-After"] = headersNamed("Retry-After")["Retry-After"]
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			after := *doc.Components.Headers["Retry-After"]
			after.Required = true
			headers["Retry-After"] = &after
		}
		doc.Components.Responses[problemName(status)] = &huma.Response{
			Description: when, Headers: headers, Content: map[string]*huma.MediaType{"application/problem+json": {Schema: schema}},
		}
	}
}

func (e *Edge) describeOperation(op *huma.Operation, known operation, hasGet bool) {
	replaces := op.Method == http.MethodPut && known.class == token && hasGet
	for _, status := range []string{"default", "422", "500"} { // huma's own; ours are shared
		delete(op.Responses, status)
	}
	for _, status := range answersOf(known, op, replaces) {
		if op.Responses[strconv.Itoa(status)] != nil { // it says more than a problem there
			continue
		}
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + problemName(status)}
	}
	document := op.Method == http.MethodGet && known.class == token && !streamed[known.id]
	if document {
		op.Responses["304"] = &huma.Response{Description: "what If-None-Match names is current"}
	}
	for status, r := range op.Responses {
		if r.Ref != "" {
			continue
		}
		names := []string{"X-Request-Id"}
		if known.id != "health" {
			names = append(names, "RateLimit", "RateLimit-Policy")
		}
		if known.writes && known.class == token {
			names = append(names, "Idempotency-Replayed")
		}
		if document || op.Responses["304"] != nil {
			names = append(names, "ETag", "Cache-Control")
		}
		if known.id == "list-updates" {
			names = append(names, "Cache-Control")
		}
		if known.id == "get-problem" || known.id == "list-problems" {
			names = append(names, "Vary")
			if status == "200" || status == "304" {
				names = append(names, "Content-Security-Policy")
			}
		}
		r.Headers = headersNamed(names...)
	}
	condition := func(name, what string) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "header", Description: what, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	if op.Responses["304"] != nil {
		condition("If-None-Match", "entity tags that the client holds, or *: the answer is 304 without a body if one of them is current")
	}
	if replaces {
		condition("If-Match", "entity tags of the document that GET gave: it is replaced only if it is still one of them. Two such requests at once do not both succeed")
		condition("If-None-Match", "*: only if there is no such document yet")
	}
}
