package edge

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

// Routes gives every route of the router with its class.
func (e *Edge) Routes() map[string]string {
	names := map[class]string{token: "token", terminal: "terminal", proof: "proof", public: "public"}
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
				if name, shared := strings.CutPrefix(r.Ref, "#/components/responses/"); shared {
					r = e.api.OpenAPI().Components.Responses[name]
				}
				if m := r.Content["application/problem+json"]; m != nil && m.Schema != nil {
					all[op.Method+" "+path] = true
				}
			}
		}
	}
	return all
}

// CursorOf makes the cursor of a page of the list at an address that ended with the
// row of a key, as a caller of a tenant gets it.
func CursorOf(address *url.URL, caller citygate.TenantID, key string) string {
	return cursorOf(bind(http.MethodGet, address, caller), key)
}

// AddUnsafe adds a token route that answers as write does.
func (e *Edge) AddUnsafe(path string, write func(http.ResponseWriter)) {
	e.operations["POST "+path] = operation{token, "half", permissions["deny-credential"], true}
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

// A Route is what the document says of a route, and how it is protected.
type Route struct {
	Class     string
	Needs     authz.Permission
	Operation *huma.Operation
}

// DocumentedRoutes gives the routes of the document, by operation.
func (e *Edge) DocumentedRoutes() []Route {
	var all []Route
	classes := e.Routes()
	for path, item := range e.api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete, item.Patch} {
			if op != nil {
				name := op.Method + " " + ginPath(path)
				if op.OperationID == ForgottenID {
					classes[name] = "token"
				}
				all = append(all, Route{classes[name], e.operations[name].needs, op})
			}
		}
	}
	slices.SortFunc(all, func(a, b Route) int { return strings.Compare(a.Operation.OperationID, b.Operation.OperationID) })
	return all
}

// OpenAPI gives the document.
func (e *Edge) OpenAPI() *huma.OpenAPI { return e.api.OpenAPI() }

// WithoutTenantCheck takes away that the tenant of the path is compared with the
// caller's, until what it gives is called.
func (e *Edge) WithoutTenantCheck() (restore func()) {
	return e.mutate(func(ctx context.Context, who Caller, _ citygate.TenantID, op operation) error {
		return e.authorize(ctx, who, who.Tenant, op)
	})
}

// WithoutRoleCheck takes away that a role must have the permission.
func (e *Edge) WithoutRoleCheck() (restore func()) {
	return e.mutate(func(ctx context.Context, who Caller, tenant citygate.TenantID, op operation) error {
		if err := e.authorize(ctx, who, tenant, op); !errors.Is(err, access.ErrForbidden) {
			return err
		}
		return nil
	})
}

// WithoutChecksOf takes away every check of one operation.
func (e *Edge) WithoutChecksOf(id string) (restore func()) {
	return e.mutate(func(ctx context.Context, who Caller, tenant citygate.TenantID, op operation) error {
		if op.id == id {
			return nil
		}
		return e.authorize(ctx, who, tenant, op)
	})
}

func (e *Edge) mutate(check func(context.Context, Caller, citygate.TenantID, operation) error) (restore func()) {
	e.authorizes = check
	return func() { e.authorizes = e.authorize }
}

// NeedsOnly lets an operation need another permission, until what it gives is called.
func (e *Edge) NeedsOnly(id, permission string) (restore func()) {
	need, err := authz.ParsePermission(permission)
	if err != nil {
		panic(err)
	}
	for route, op := range e.operations {
		if op.id == id {
			weak := op
			weak.needs = need
			e.operations[route] = weak
			return func() { e.operations[route] = op }
		}
	}
	panic("there is no operation " + id)
}

// Permission gives what the table says an operation needs.
func Permission(id string) authz.Permission { return permissions[id] }

// ForgottenID is the operation that AddForgotten adds.
const ForgottenID = "forgotten"

const forgottenPath = "/v1/tenants/{tenant}/forgotten/{gizmo}"

// AddForgotten documents a route that names things of which nobody thought.
func (e *Edge) AddForgotten() {
	e.operations["GET "+ginPath(forgottenPath)] = operation{class: token, id: ForgottenID, needs: permissions["list-tenants"]}
	text := &huma.Schema{Type: huma.TypeString}
	e.api.OpenAPI().Paths[forgottenPath] = &huma.PathItem{Get: &huma.Operation{
		OperationID: ForgottenID, Method: "GET", Path: forgottenPath,
		Parameters: []*huma.Param{{Name: "tenant", In: "path", Schema: text}, {Name: "gizmo", In: "path", Schema: text}, {Name: "gadget", In: "query", Schema: text}},
	}}
}

// RemoveForgotten takes it away again.
func (e *Edge) RemoveForgotten() {
	delete(e.operations, "GET "+ginPath(forgottenPath))
	delete(e.api.OpenAPI().Paths, forgottenPath)
}

// Pointer turns a location of huma's into a JSON Pointer.
func Pointer(location string) string { return pointer(location) }

// CheckJSON reports why a body is refused.
func CheckJSON(data []byte) error { return checkJSON(data) }

// Guarded reports whether an operation can need a second person.
func Guarded(id string) bool { return guards[id] != "" }

// PageOfCode documents a code.
func PageOfCode(code *citygate.Code) ProblemPage { return pageOfCode(code) }

// ActivitiesOf gives what an operation is part of, and whether that is said.
func ActivitiesOf(id string) (of []tenants.Activity, listed bool) {
	of, listed = activities[id]
	return of, listed
}
