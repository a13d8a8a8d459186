package edge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

// InTenant is the tenant in a path. Exported, or huma does not see its field.
type InTenant struct {
	Tenant int64 `path:"tenant" minimum:"1" doc:"tenant number"`
}

func (r InTenant) id() citygate.TenantID { return citygate.TenantID(r.Tenant) }

// Paged is a list in a tenant, page by page.
type Paged struct {
	InTenant
	Paging
}

// body wraps a response value for huma.
type body[T any] struct{ Body T }

func respond[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{v}, nil
}

// respondList answers with rows that are a whole, such as those that a change made.
// Lists come page by page: inPages, cutPages.
func respondList[T any](items []T, err error) (*body[list[T]], error) {
	return respond(list[T]{Items: append([]T{}, items...)}, err)
}

func get(id, path, summary, tag string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{tag}}
}

func post(id, path, summary, tag string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, Tags: []string{tag}}
}

func (e *Edge) routes() {
	e.tenantRoutes()
	e.clockRoutes()
	e.settingsRoutes()
	e.fleetRoutes()
	e.trustRoutes()
	e.riderRoutes()
	e.deviceRoutes()
	e.ruleSetRoutes()
	e.moneyRoutes()
	e.journeyReadingRoutes()
	e.selfServiceRoutes()
	e.riskRoutes()
	e.salesRoutes()
	e.tillRoutes()
	e.fareRefundRoutes()
	e.onboardingRoutes()
	e.roamingRoutes()
	e.fareMemberRoutes()
	e.explainRoutes()
	e.simulationRoutes()
	e.ridershipRoutes()
	e.auditRoutes()
	e.accessRoutes()
	e.approvalRoutes()
	e.notifyRoutes()
	e.providerFeedRoutes()
	e.agreementRoutes()
	e.cardRoutes()
	e.platformRoutes()
	e.singles()
	e.signedRoutes()
	e.problemRoutes()
}

// A TenantDocument is a tenant as the API shows and takes it.
type TenantDocument struct {
	Slug       string            `json:"slug" minLength:"3" maxLength:"40"`
	Name       string            `json:"name" minLength:"1"`
	Kind       string            `json:"kind" enum:"authority,metro,rail,bus,minibus,taxi,ferry,parking,biller,clinic,merchant"`
	Parent     int64             `json:"parent,omitempty"`
	Mode       string            `json:"mode" enum:"sandbox,live"`
	Issuer     uint16            `json:"issuer,omitempty" doc:"number on the codes the tenant signs; absent = it issues none"`
	Currency   citygate.Currency `json:"currency"`
	TimeZone   string            `json:"time_zone" minLength:"1" maxLength:"64" example:"Asia/Shanghai"`
	CutMinutes int               `json:"cut_minutes" minimum:"0" maximum:"1439"`
	CapUnit    int64             `json:"cap_unit" minimum:"0"`
	State      string            `json:"state,omitempty" enum:"draft,active,suspended,closing,closed" doc:"a tenant is put as draft or active, which is what absent means; later its state has a route of its own"`
}

func document(t tenants.Tenant) TenantDocument {
	return TenantDocument{
		Slug: t.Slug, Name: t.Name, Kind: string(t.Kind), Parent: int64(t.Parent), Mode: string(t.Mode), Issuer: uint16(t.Issuer),
		Currency: t.Currency, TimeZone: t.TimeZone, CutMinutes: t.CutMinutes, CapUnit: t.CapUnit, State: string(t.State),
	}
}

// DocumentOf gives a tenant as the API shows it.
func DocumentOf(t tenants.Tenant) TenantDocument { return document(t) }

// A NumberedTenant is a tenant in a list.
type NumberedTenant struct {
	ID int64 `json:"id"`
	TenantDocument
}

// mayKnow gives the tenants that can be a caller's business: its own and what that
// owns, or all for the platform.
func (e *Edge) mayKnow(ctx context.Context, who Caller) ([]tenants.Tenant, error) {
	if who.Tenant == 0 {
		return e.Tenants.All(ctx)
	}
	return e.Tenants.Under(ctx, who.Tenant)
}

func (e *Edge) tenantRoutes() {
	register(e, get("list-tenants", "/v1/tenants", "Tenants the token may see", "tenants"),
		func(ctx context.Context, who Caller, r *struct {
			Paging
			Kind  string `query:"kind" enum:"authority,metro,rail,bus,minibus,taxi,ferry,parking,biller,clinic,merchant"`
			State string `query:"state" enum:"draft,active,suspended,closing,closed"`
			Mode  string `query:"mode" enum:"sandbox,live"`
		}) (*body[list[NumberedTenant]], error) {
			after, err := r.number()
			if err != nil {
				return nil, err
			}
			all, err := e.mayKnow(ctx, who)
			all = slices.SortedFunc(slices.Values(all), func(a, b tenants.Tenant) int { return cmp.Compare(a.ID, b.ID) })
			var seen []NumberedTenant
			for _, t := range all {
				fits := wanted(r.Kind, t.Kind) && wanted(r.State, t.State) && wanted(r.Mode, t.Mode)
				if uint64(t.ID) <= after || !fits || len(seen) == r.more() {
					continue
				}
				if e.Access.Authorize(ctx, access.Request{Caller: who, Tenant: t.ID, Operation: "list-tenants", Need: permissions["list-tenants"]}) == nil {
					seen = append(seen, NumberedTenant{int64(t.ID), document(t)})
				}
			}
			return inPages(ctx, r.Paging, func(t NumberedTenant) string { return strconv.FormatInt(t.ID, 10) })(seen, err)
		})
	register(e, get("get-tenant", "/v1/tenants/{tenant}", "One tenant", "tenants"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[TenantDocument], error) {
			t, err := e.Tenants.ByID(ctx, r.id())
			return respond(document(t), err)
		})
	put := huma.Operation{
		OperationID: "put-tenant", Method: http.MethodPut, Path: "/v1/tenants/{tenant}", Summary: "Onboard a tenant under a new number (platform only)",
		Tags: []string{"tenants"},
	}
	register(e, put, func(ctx context.Context, who Caller, r *struct {
		InTenant
		Body TenantDocument
	}) (*body[TenantDocument], error) {
		d := r.Body
		t := tenants.Tenant{
			ID: r.id(), Slug: d.Slug, Name: d.Name, Kind: tenants.Kind(d.Kind), Parent: citygate.TenantID(d.Parent), Mode: tenants.Mode(d.Mode),
			Issuer: citygate.Issuer(d.Issuer), Currency: d.Currency, TimeZone: d.TimeZone, CutMinutes: d.CutMinutes, CapUnit: d.CapUnit,
			CalendarVersion: 1, State: tenants.Active,
		}
		switch tenants.State(d.State) {
		case "", tenants.Active:
		case tenants.Draft:
			t.State = tenants.Draft
		default:
			return nil, tenants.ErrInvalid.Explain("state %q: a tenant begins as draft or active", d.State)
		}
		if err := e.Tenants.Create(ctx, who.Subject, t); err != nil {
			return nil, err
		}
		return respond(document(t), nil)
	})
}

func (e *Edge) moneyRoutes() {
	register(e, get("list-journeys", "/v1/tenants/{tenant}/journeys", "Journeys with their final fares", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"open,priced,set_aside,empty" doc:"set_aside: without a price, reason says why"`
			Rider string `query:"rider" doc:"issuer/list/index" example:"101/2944/17"`
		}) (*body[list[Journey]], error) {
			page, err := r.page("jrn_")
			if err != nil {
				return nil, err
			}
			var rider citygate.Rider
			if r.Rider != "" {
				if rider, err = citygate.ParseRider(r.Rider); err != nil {
					return nil, errBody.Explain("rider: want issuer/list/index, such as 101/2944/17")
				}
			}
			return inPages(ctx, r.Paging, func(j Journey) string { return j.ID })(e.Journeys(ctx, r.id(), r.State, rider, page))
		})
	register(e, get("get-journey", "/v1/tenants/{tenant}/journeys/{journey}", "Why a journey cost what it cost", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Journey string `path:"journey"`
		}) (*body[Journey], error) {
			id, err := citygate.ParseUUID("jrn_", r.Journey)
			if err != nil {
				return nil, errNotFound.Because(err, "journey")
			}
			return respond(e.Journey(ctx, r.id(), id))
		})
	register(e, get("list-charges", "/v1/tenants/{tenant}/charges", "Attempts to collect", "money"),
		func(ctx context.Context, _ Caller, r *Paged) (*body[list[Charge]], error) {
			page, err := r.page("chg_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(c Charge) string { return c.ID })(e.Charges(ctx, r.id(), page))
		})
	register(e, get("list-balances", "/v1/tenants/{tenant}/balances", "Balances of the tenant's book", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Named
			Prefix string `query:"prefix" doc:"first letters of the account's name" example:"payable:"`
		}) (*body[list[Balance]], error) {
			return inPages(ctx, r.Paging, func(b Balance) string { return b.ID })(e.Balances(ctx, r.id(), r.Prefix, r.After, r.more()))
		})
	register(e, get("list-windows", "/v1/tenants/{tenant}/windows", "Settlement windows, newest first", "money"),
		func(ctx context.Context, _ Caller, r *Paged) (*body[list[Window]], error) {
			var after citygate.Date
			if r.After != "" {
				var err error
				if after, err = citygate.ParseDate(r.After); err != nil {
					return nil, errCursor
				}
			}
			return inPages(ctx, r.Paging, func(w Window) string { return w.BusinessDate })(e.Windows(ctx, r.id(), after, r.more()))
		})
	register(e, get("list-settlement-terms", "/v1/tenants/{tenant}/settlement-terms", "When windows close and are paid: every version, and the default", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Until string `query:"until" format:"date" doc:"those that hold from a business date before it on"`
		}) (*body[list[Terms]], error) {
			page, err := r.versions()
			if err != nil {
				return nil, err
			}
			page.Until = r.Until
			return inPages(ctx, r.Paging, func(t Terms) string { return ordered(uint64(t.Version)) })(e.Terms(ctx, r.id(), page))
		})
	register(e, post("add-settlement-terms", "/v1/tenants/{tenant}/settlement-terms", "Add the next version of when windows close and are paid", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body Terms
		}) (*done, error) {
			return respond(struct{}{}, e.AddTerms(ctx, who.Subject, r.id(), r.Body))
		})
	e.payoutRoutes()
	e.owedRoutes()
	e.reversalRoutes()
	e.bearerRoutes()
	e.reconRoutes()
}

// signedRoutes are the routes that need no token: what terminals sign, and
// what we sign for everybody. They are plain gin handlers, added to the
// document by hand.
func (e *Edge) signedRoutes() {
	e.plain(terminal, http.MethodPost, "/v1/tap-batches", e.uploadTaps, &huma.Operation{
		OperationID: "upload-taps", Summary: "Upload a batch of taps signed by a terminal", Tags: []string{"terminals"},
		Description: "The body is a CTB1 batch: at most 5,000 taps or 2 MiB. A batch may be sent again; every record gets its first receipt.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}},
		Responses: map[string]*huma.Response{"200": {Description: "one receipt per record, in order", Content: map[string]*huma.MediaType{
			"application/json": {Schema: e.api.OpenAPI().Components.Schemas.Schema(reflectType[receipts](), true, "TapReceipts")},
		}}},
	})
	e.plain(public, http.MethodGet, "/v1/tenants/:tenant/bundle", func(c *gin.Context) {
		id, err := strconv.ParseInt(c.Param("tenant"), 10, 64)
		if err != nil || id <= 0 {
			e.write(c, errNotFound)
			return
		}
		raw, etag, err := e.Bundle(c.Request.Context(), citygate.TenantID(id))
		e.object(c, raw, etag, cacheSoon, err)
	}, signedObject("get-bundle", "The trust bundle of an operator's terminals (TB1)"))
	e.denyListRoutes()
	e.plain(public, http.MethodGet, "/.well-known/jwks.json", func(c *gin.Context) { e.keySet(c, 0) },
		keySetOperation("get-platform-keys", "The platform's public keys by purpose: those that sign access tokens, the next one among them, and those that seal its audit log"))
	e.plain(public, http.MethodGet, "/.well-known/tenants/:tenant/jwks.json", func(c *gin.Context) {
		id, err := strconv.ParseInt(c.Param("tenant"), 10, 64)
		if err != nil || id <= 0 {
			e.write(c, errNotFound)
			return
		}
		e.keySet(c, citygate.TenantID(id))
	}, keySetOperation("get-tenant-keys", "The public keys of a tenant by purpose, the next ones among them"))
	e.plain(public, http.MethodGet, "/healthz", func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{"status": "ok"})
	}, &huma.Operation{
		OperationID: "health", Summary: "Whether this process answers", Tags: []string{"operations"},
		Responses: map[string]*huma.Response{"200": {Description: "it does", Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{
			Type: huma.TypeObject, Properties: map[string]*huma.Schema{"status": {Type: huma.TypeString, Enum: []any{"ok"}}}, Required: []string{"status"},
		}}}}},
	})
}

type receipts struct {
	Results []TapReceipt `json:"results"`
}

func signedObject(id, summary string) *huma.Operation {
	return &huma.Operation{
		OperationID: id, Summary: summary, Tags: []string{"terminals"},
		Responses: map[string]*huma.Response{
			"200": {Description: "the signed object", Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}},
			"304": {Description: "what If-None-Match names is current"},
		},
	}
}

// plain adds a gin route and its operation.
func (e *Edge) plain(k class, method, path string, h gin.HandlerFunc, op *huma.Operation) {
	e.admit(k, method, path, op.OperationID)
	e.router.Handle(method, path, h)
	op.Method, op.Path = method, openAPIPath(path)
	op.Responses["default"] = &huma.Response{Description: "a problem: code says which", Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: e.api.OpenAPI().Components.Schemas.Schema(reflectType[Problem](), true, "Problem")},
	}}
	for _, name := range pathParams(path) {
		if slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "path" && p.Name == name }) {
			continue
		}
		op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeInteger}})
	}
	e.api.OpenAPI().AddOperation(op)
}

func (e *Edge) uploadTaps(c *gin.Context) {
	raw, err := io.ReadAll(c.Request.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			err = errTooLarge.Explain("a tap batch has at most %d bytes", batchLimit)
		}
		e.write(c, err)
		return
	}
	results, err := e.recordWithin(c, raw)
	if err != nil {
		e.write(c, err)
		return
	}
	c.JSON(http.StatusOK, receipts{results})
}

// What caches may do with a signed object: one that is replaced is asked for
// again soon, one whose name stands for its content never.
const (
	cacheSoon    = "public, max-age=30"
	cacheForever = "public, max-age=31536000, immutable"
)

// object sends a signed object with its entity tag, or says that the caller
// holds it already.
func (e *Edge) object(c *gin.Context, raw []byte, etag, cache string, err error) {
	if err != nil {
		e.write(c, err)
		return
	}
	if !e.current(c, strconv.Quote(etag), cache) {
		c.Data(http.StatusOK, "application/octet-stream", raw)
	}
}

// keySet sends a key set (RFC 7517).
func (e *Edge) keySet(c *gin.Context, tenant citygate.TenantID) {
	raw, err := e.JWKS(c.Request.Context(), tenant)
	if err != nil {
		e.write(c, err)
		return
	}
	e.tagged(c, "application/jwk-set+json", raw)
}

// entityTag names a document by its content.
func entityTag(raw []byte) string {
	sum := sha256.Sum256(raw)
	return strconv.Quote(hex.EncodeToString(sum[:16]))
}

func keySetOperation(id, summary string) *huma.Operation {
	return &huma.Operation{
		OperationID: id, Summary: summary, Tags: []string{"keys"},
		Responses: map[string]*huma.Response{
			"200": {Description: "a JSON Web Key Set", Content: map[string]*huma.MediaType{"application/jwk-set+json": {Schema: &huma.Schema{Type: huma.TypeObject}}}},
			"304": {Description: "what If-None-Match names is current"},
		},
	}
}

func (e *Edge) current(c *gin.Context, etag, cache string) bool {
	c.Header("ETag", etag)
	c.Header("Cache-Control", cache)
	if !matches(c.GetHeader("If-None-Match"), etag) {
		return false
	}
	c.Status(http.StatusNotModified)
	return true
}
