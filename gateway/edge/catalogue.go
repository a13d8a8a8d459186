package edge

import (
	_ "embed" // the catalogue
	"encoding/json"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

// problemBase is where the pages of the codes are: a problem's type is the page of
// its code, relative to the gateway (RFC 9457, 3.1.1).
const problemBase = "/problems/"

// A ProblemPage is what there is to know about one code.
type ProblemPage struct {
	Code      string `json:"code"`
	Status    int    `json:"status" doc:"of an answer with the code; request.invalid comes with 400 or 415 as well, for a body that is no JSON"`
	Retryable bool   `json:"retryable" doc:"whether the same request can succeed later"`
	Meaning   string `json:"meaning"`
	Next      string `json:"next" doc:"what to do"`
	Answered  bool   `json:"answered" doc:"false: only commands, terminals and logs say it"`
}

// catalogueJSON is written by TestErrorCatalogue from the source, as docs/errors.md
// is.
//
//go:embed catalogue.json
var catalogueJSON []byte

// catalogue gives every code there is, in order.
var catalogue = sync.OnceValue(func() []ProblemPage {
	var pages []ProblemPage
	if err := json.Unmarshal(catalogueJSON, &pages); err != nil {
		panic("gateway/edge/catalogue.json: " + err.Error())
	}
	return pages
})

// retryable reports whether the same request can succeed later.
func retryable(code *citygate.Code) bool {
	ours := code.Kind == citygate.Unavailable || code.Kind == citygate.TooMany || code.Kind == citygate.Internal
	return ours || code.Name == errKeyRunning.Name
}

// pageOfCode documents a code: its title is what it means, then what to do.
func pageOfCode(code *citygate.Code) ProblemPage {
	p := ProblemPage{Code: code.Name, Status: statusOf(code), Retryable: retryable(code)}
	p.Meaning, p.Next = splitTitle(code)
	return p
}

func splitTitle(code *citygate.Code) (meaning, next string) {
	for _, between := range []string{". ", "; ", ": "} {
		if first, rest, ok := strings.Cut(code.Title, between); ok {
			return first + ".", strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	switch code.Kind {
	case citygate.Internal:
		next = "Repeat the request; if it stays, tell support its request_id."
	case citygate.NotFound:
		next = "Check what was asked for."
	case citygate.Conflict, citygate.Forbidden:
		next = "Read what is stored, and ask for something that it allows."
	case citygate.Unavailable, citygate.TooMany:
		next = "Try again when Retry-After says."
	default:
		next = "Correct the request."
	}
	return code.Title, next
}

func (e *Edge) problemRoutes() {
	pages := e.api.OpenAPI().Components.Schemas.Schema(reflectType[list[ProblemPage]](), true, "ProblemPages")
	page := e.api.OpenAPI().Components.Schemas.Schema(reflectType[ProblemPage](), true, "ProblemPage")
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	answer := func(of *huma.Schema) map[string]*huma.Response {
		return map[string]*huma.Response{
			"200": {Description: "JSON, or a page for a browser that prefers one", Content: map[string]*huma.MediaType{"application/json": {Schema: of}, "text/html": text}},
			"304": {Description: "what If-None-Match names is current"},
		}
	}
	e.plain(public, http.MethodGet, "/problems", func(c *gin.Context) {
		e.describeProblems(c, list[ProblemPage]{Items: catalogue()}, catalogue())
	}, &huma.Operation{OperationID: "list-problems", Summary: "Every code a problem can have", Tags: []string{"operations"}, Responses: answer(pages)})
	e.plain(public, http.MethodGet, problemBase+":code", func(c *gin.Context) {
		for _, p := range catalogue() {
			if p.Code == c.Param("code") {
				e.describeProblems(c, p, []ProblemPage{p})
				return
			}
		}
		e.write(c, errNotFound)
	}, &huma.Operation{
		OperationID: "get-problem", Summary: "What a problem's code means and what to do: the type of every problem points here", Tags: []string{"operations"},
		Parameters: []*huma.Param{{Name: "code", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}, Example: "tenant.not_found"}},
		Responses:  answer(page),
	})
}

var problemPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Problems - Citygate</title></head>
<body><h1>Problems</h1>{{range .}}
<h2 id="{{.Code}}"><a href="/problems/{{.Code}}"><code>{{.Code}}</code></a></h2>
<p>{{.Meaning}}</p>
<p>{{.Next}}</p>
<p>Status {{.Status}}, {{if .Retryable}}retryable{{else}}not retryable as it is{{end}}.{{if not .Answered}} Not an answer of the API.{{end}}</p>{{end}}
<p><a href="/problems">All codes</a></p></body></html>
`))

// describeProblems sends pages of the catalogue in the form that the client prefers.
func (e *Edge) describeProblems(c *gin.Context, asJSON any, pages []ProblemPage) {
	c.Header("Vary", "Accept")
	if accept := c.GetHeader("Accept"); strings.Contains(accept, "text/html") && !strings.Contains(accept, "json") {
		var b strings.Builder
		if err := problemPage.Execute(&b, pages); err != nil {
			e.write(c, err)
			return
		}
		c.Header("Content-Security-Policy", "default-src 'none'")
		e.tagged(c, "text/html; charset=utf-8", []byte(b.String()))
		return
	}
	raw, err := json.Marshal(asJSON)
	if err != nil {
		e.write(c, err)
		return
	}
	e.tagged(c, "application/json", raw)
}

// tagged sends a public document with an entity tag of its content, or says that
// the caller holds it already.
func (e *Edge) tagged(c *gin.Context, contentType string, raw []byte) {
	if !e.current(c, entityTag(raw), cacheSoon) {
		c.Data(http.StatusOK, contentType, raw)
	}
}
