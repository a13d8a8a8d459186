package edge

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

// Routes gives every route of the router with its class.
func (e *Edge) Routes() map[string]string {
	names := map[class]string{token: "token", terminal: "terminal", public: "public"}
	all := map[string]string{}
	for _, r := range e.router.Routes() {
		all[r.Method+" "+r.Path] = names[e.operations[r.Method+" "+r.Path].class]
	}
	return all
}

// Documented gives the operations of the OpenAPI document, spelled as gin does.
func (e *Edge) Documented() map[string]bool {
	all := map[string]bool{}
	for path, item := range e.api.OpenAPI().Paths {
		if item.Get != nil {
			all["GET "+ginPath(path)] = true
		}
		if item.Post != nil {
			all["POST "+ginPath(path)] = true
		}
		if item.Put != nil {
			all["PUT "+ginPath(path)] = true
		}
		if item.Delete != nil {
			all["DELETE "+ginPath(path)] = true
		}
	}
	return all
}

// Problems tells for every operation whether an answer of it is a problem.
func (e *Edge) Problems() map[string]bool {
	all := map[string]bool{}
	for path, item := range e.api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			all[op.Method+" "+path] = false
			for _, r := range op.Responses {
				if m := r.Content["application/problem+json"]; m != nil && m.Schema != nil {
					all[op.Method+" "+path] = true
				}
			}
		}
	}
	return all
}

// AddUnsafe adds a token route that answers as write does.
func (e *Edge) AddUnsafe(path string, write func(http.ResponseWriter)) {
	e.operations["POST "+path] = operation{token, "half", permissions["deny-credential"]}
	e.router.POST(path, func(c *gin.Context) { write(c.Writer) })
}

// AddUnclassified adds a route the way a mistake would.
func (e *Edge) AddUnclassified(path string) {
	e.router.GET(path, func(c *gin.Context) { c.Status(http.StatusOK) })
}

// Bound gives the path parameters that huma found in the request type of each
// documented operation, by "METHOD path" as gin spells it.
func (e *Edge) Bound() map[string][]string {
	all := map[string][]string{}
	for path, item := range e.api.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "DELETE": item.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				if p.In == "path" {
					all[method+" "+ginPath(path)] = append(all[method+" "+ginPath(path)], p.Name)
				}
			}
		}
	}
	return all
}

// Needs gives the permission of every operation that is served, by its id.
func (e *Edge) Needs() map[string]authz.Permission {
	all := map[string]authz.Permission{}
	for _, op := range e.operations {
		all[op.id] = op.needs
	}
	return all
}

// NeedsByRoute gives the permission of every route.
func (e *Edge) NeedsByRoute() map[string]authz.Permission {
	all := map[string]authz.Permission{}
	for route, op := range e.operations {
		all[route] = op.needs
	}
	return all
}

// Listed gives the ids of the permission table.
func Listed() []string { return slices.Sorted(maps.Keys(permissions)) }

// AddUnlisted registers an operation that the permission table does not list.
func (e *Edge) AddUnlisted(id string) {
	register(e, get(id, "/v1/unlisted", "Forgotten", "tenants"), func(context.Context, Caller, *struct{}) (*done, error) {
		return respond(struct{}{}, nil)
	})
}
