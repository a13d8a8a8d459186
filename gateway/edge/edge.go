package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
)

// Body limits, in bytes. A tariff may hold a GTFS feed of 4 MiB as texts in JSON.
const (
	bodyLimit   = 1 << 20
	batchLimit  = 2 << 20
	tariffLimit = 9 << 20
)

// limitOf gives the body limit of an operation.
func limitOf(of class, id string) int64 {
	switch {
	case of == terminal:
		return batchLimit
	case id == "publish-tariff" || id == "simulate-tariff":
		return tariffLimit
	}
	return bodyLimit
}

// A class says how a route is protected; every route has exactly one.
type class int

const (
	unclassified class = iota
	token              // bearer token; unsafe methods carry an Idempotency-Key
	terminal           // the body is signed by a terminal's key
	proof              // the body proves who asks: an ID token, a pairing code
	public             // a signed or public document
)

// An Edge is the HTTP handler of the gateway.
type Edge struct {
	Verticals
	log    *slog.Logger
	router *gin.Engine
	api    huma.API
	// operations by "METHOD /path" as gin spells it
	queries    map[string][]string // names that an operation takes in its query
	operations map[string]operation
	// authorizes is authorize; a test takes parts of it away, to see that others notice.
	authorizes func(context.Context, Caller, citygate.TenantID, operation) error
	limits     *limiter
}

type callerKey struct{}

// New builds the handler over the verticals.
func New(v Verticals, log *slog.Logger) *Edge {
	if v.FileKeeps == nil {
		v.FileKeeps = func(context.Context, citygate.TenantID, string, string) error { return nil }
	}
	gin.SetMode(gin.ReleaseMode)
	huma.NewError = newError // huma has one hook for the whole process; ours is the only API in it
	huma.NewErrorWithContext = newErrorIn
	huma.ValidateStrictCasing = true // or "REASON" is not checked and sets what "reason" sets
	router := gin.New()
	router.ContextWithFallback = true
	router.HandleMethodNotAllowed = true
	router.RedirectTrailingSlash = false // another spelling of a path is another path
	router.UseRawPath = true             // a reconciliation item has slashes in its name
	_ = router.SetTrustedProxies(nil)    // cannot fail without proxies to parse
	config := huma.DefaultConfig("Citygate", "1")
	config.DocsPath = "" // huma's stock page loads a CDN
	config.SchemasPath = ""
	config.CreateHooks = nil
	config.Formats = map[string]huma.Format{"application/json": strictJSON, "json": strictJSON}
	config.Info.Description = "Multi-tenant cashless-city gateway: taps in, fares, charges, books, settlement. Amounts are integers in the minor unit of their currency. In a request, a member that is null counts as left out."
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.Servers = []*huma.Server{{URL: "/", Description: "this gateway"}}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "short-lived access token"},
	}
	e := &Edge{Verticals: v, log: log, router: router, operations: map[string]operation{}, queries: map[string][]string{}, limits: newLimiter(v.Limits, v.Clock)}
	e.authorizes = e.authorize
	router.Use(func(c *gin.Context) { e.survive(c, e.guard) })
	e.api = humagin.New(router, config)
	for _, path := range []string{"/openapi.yaml", "/openapi.json", "/openapi-3.0.yaml", "/openapi-3.0.json"} {
		e.operations["GET "+path] = operation{class: public, id: "document", needs: open}
	}
	e.routes()
	e.describe()
	router.NoRoute(func(c *gin.Context) { e.write(c, errNotFound) })
	router.NoMethod(func(c *gin.Context) { // the router has set Allow
		e.write(c, errMethod.Explain("this path takes %s", c.Writer.Header().Get("Allow")))
	})
	return e
}

// ServeHTTP implements [http.Handler].
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.router.ServeHTTP(w, identified(w, r))
}

// survive runs a handler and answers for it if it panics: the caller gets a
// problem, the log the stack, and every other request goes on. An answer that is
// half-way out cannot be taken back, so its connection is cut.
func (e *Edge) survive(c *gin.Context, handle gin.HandlerFunc) (whole bool) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		c.Abort()
		if cause != http.ErrAbortHandler { //nolint:errorlint // a panic value is compared, as net/http does
			e.log.ErrorContext(c.Request.Context(), "handler panicked", "op", c.Request.Method+" "+c.FullPath(), "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if !c.Writer.Written() {
				e.write(c, errInternal.Because(nil, "panic"))
				return
			}
		}
		panic(http.ErrAbortHandler)
	}()
	handle(c)
	return true
}

// guard runs before every route: class, size limit, token, idempotency. A
// route without a class is refused, whatever it would do.
func (e *Edge) guard(c *gin.Context) {
	path := c.FullPath()
	if path == "" {
		return // no route: NoRoute and NoMethod answer
	}
	if !readable(c.Request) {
		e.write(c, errBody.Explain("the address or the Idempotency-Key is not UTF-8, or has the character U+0000"))
		return
	}
	op := e.operations[c.Request.Method+" "+path]
	limit := limitOf(op.class, op.id)
	if c.Request.ContentLength > limit {
		e.write(c, errTooLarge.Explain("the limit here is %d bytes", limit))
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, limit)
	switch op.class {
	case public, terminal, proof:
		e.admitOpen(c, op)
	case token:
		e.authorized(c, op)
	default:
		e.write(c, errNotFound.Because(nil, "route %s %s has no class", c.Request.Method, path))
	}
}

// authorized checks the token, the tenant of the path and the permission, then
// runs the route, once per Idempotency-Key if it is unsafe. The path of a tenant
// that is not the caller's answers as if it did not exist.
func (e *Edge) authorized(c *gin.Context, op operation) {
	ctx := c.Request.Context()
	scheme, raw, _ := strings.Cut(c.GetHeader("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		raw = ""
	}
	check := e.Tokens.Check
	if strings.HasPrefix(raw, access.KeyPrefix) {
		check = e.Access.KeyCaller
	}
	caller, err := check(ctx, raw, func(tenant citygate.TenantID) error { return e.spent(c, tenant, op) })
	if err != nil {
		e.unknown(c, err)
		return
	}
	leave, ok := e.admitCaller(c, caller, op)
	if !ok {
		return
	}
	defer leave()
	tenant := caller.Tenant
	if text := c.Param("tenant"); text != "" {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id <= 0 {
			e.write(c, errNotFound)
			return
		}
		tenant = citygate.TenantID(id)
	}
	if err := e.authorizes(ctx, caller, tenant, op); err != nil {
		if errors.Is(err, errToken) {
			c.Header("WWW-Authenticate", "Bearer")
		}
		e.write(c, err)
		return
	}
	if err := e.asked(c.Request, op); err != nil {
		e.write(c, err)
		return
	}
	c.Request = c.Request.WithContext(context.WithValue(ctx, callerKey{}, caller.In(tenant)))
	if err := follow(c, caller.Tenant); err != nil {
		e.write(c, err)
		return
	}
	switch {
	case op.writes:
		e.once(c, tenant, op)
	case streamed[op.id]:
		c.Next()
	default:
		e.conditionally(c)
	}
}

// authorize asks the guard whether caller may run op for tenant.
func (e *Edge) authorize(ctx context.Context, caller Caller, tenant citygate.TenantID, op operation) error {
	return e.Access.Authorize(ctx, access.Request{Caller: caller, Tenant: tenant, Operation: op.id, Need: op.needs, Write: op.writes})
}

// register adds an operation of class token. fn never sees gin or huma's
// context: it gets who is calling and a decoded request.
func register[Req, Resp any](e *Edge, op huma.Operation, fn func(context.Context, Caller, *Req) (*Resp, error)) {
	op.Security = []map[string][]string{{"token": {}}}
	if op.Method != http.MethodGet {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "Idempotency-Key", In: "header", Required: true, Description: "repeats of the request with this key get the first answer",
			Schema: &huma.Schema{Type: huma.TypeString},
		})
	}
	op.MaxBodyBytes = limitOf(token, op.OperationID)
	kind, guarded := guards[op.OperationID]
	if guarded {
		e.document(&op)
	}
	needsActivity(op)
	e.admit(token, op.Method, ginPath(op.Path), op.OperationID)
	huma.Register(e.api, op, func(ctx context.Context, req *Req) (*Resp, error) {
		caller, ok := ctx.Value(callerKey{}).(Caller)
		if !ok {
			return nil, problem(ctx, e.log, op.OperationID, errToken)
		}
		run := func(ctx context.Context) (resp *Resp, err error) {
			began(ctx)
			return fn(ctx, caller, req)
		}
		var resp *Resp
		err := e.lives(ctx, op.OperationID, req)
		switch {
		case err != nil:
		case !guarded:
			resp, err = run(ctx)
		case asksItself[op.OperationID]:
			resp, err = fn(ctx, caller, req)
		default:
			resp, err = approved(ctx, e, caller, op.OperationID, kind, run)
		}
		var waits *waiting
		if errors.As(err, &waits) {
			return nil, waits
		}
		if err != nil {
			refusedBy(ctx, err)
			return nil, problem(ctx, e.log, op.OperationID, err)
		}
		return resp, nil
	})
}

// ginPath turns OpenAPI's {name} into gin's :name.
func ginPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// openAPIPath turns gin's :name into OpenAPI's {name}.
func openAPIPath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}

// pathParams names the parameters of a gin path.
func pathParams(path string) []string {
	var names []string
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			names = append(names, name)
		}
	}
	return names
}

func reflectType[T any]() reflect.Type { return reflect.TypeFor[T]() }
