package edge

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Riders is what the edge calls for riders themselves. code is a proof of
// the rider's phone or band: it proves the credential, once, and nobody has to
// register.
type Riders struct {
	Trips   func(ctx context.Context, tenant citygate.TenantID, code []byte, page Page) ([]Trip, error)
	Trip    func(ctx context.Context, tenant citygate.TenantID, code []byte, journey citygate.UUID) (Trip, error)
	Claim   func(ctx context.Context, tenant citygate.TenantID, code []byte, journey citygate.UUID, stop string, at time.Time) (Trip, error)
	Debts   func(ctx context.Context, tenant citygate.TenantID, code []byte, page Page) ([]OwnDebt, error)
	Pay     func(ctx context.Context, tenant citygate.TenantID, code []byte) (int, error)
	Inspect func(ctx context.Context, tenant citygate.TenantID, code []byte) (string, error)

	// Challenge gives what a device signs to prove itself without a code.
	Challenge func(ctx context.Context, tenant citygate.TenantID) (DeviceChallenge, error)

	Join   func(ctx context.Context, tenant citygate.TenantID, codes [][]byte) (Joined, error)
	Leave  func(ctx context.Context, tenant citygate.TenantID, code []byte) (Joined, error)
	Joined func(ctx context.Context, tenant citygate.TenantID, code []byte) (Joined, error)
}

// A Trip is a journey as its rider sees it.
type Trip struct {
	ID           string          `json:"id" example:"jrn_0195e2…"`
	StartsAt     time.Time       `json:"starts_at"`
	EndsAt       time.Time       `json:"ends_at"`
	State        string          `json:"state" enum:"open,priced,set_aside,empty"`
	Fare         *citygate.Money `json:"fare,omitempty"`
	Unknown      string          `json:"unknown,omitempty" doc:"why there is no fare yet"`
	Decision     int             `json:"decision,omitempty" doc:"number of the final decision; given when one trip is asked for"`
	BusinessDate string          `json:"business_date,omitempty" format:"date"`
	Explanation  json.RawMessage `json:"explanation,omitempty" doc:"why this fare; given when one trip is asked for"`
	Reading      *Reading        `json:"reading,omitempty" doc:"what was not taken as its taps declare it"`
	Corrections  []Correction    `json:"corrections,omitempty"`
}

// An OwnDebt is what a rider owes.
type OwnDebt struct {
	ID           string         `json:"id" example:"dbt_0195e2…"`
	Left         citygate.Money `json:"left"`
	BusinessDate string         `json:"business_date" format:"date" doc:"of the rides, or of the purchase"`
	Sale         string         `json:"sale,omitempty" doc:"what is owed was used of this product, and the payment for it was taken back; absent: it is owed for rides"`
	Product      string         `json:"product,omitempty" doc:"its name"`
	OpenedAt     time.Time      `json:"opened_at"`
	RetryAt      *time.Time     `json:"retry_at,omitempty" doc:"when it is collected again by itself"`
}

// An OwnPayment is what follows from a rider's asking to pay.
type OwnPayment struct {
	Debts int `json:"debts" doc:"that are collected now"`
}

// An Inspected is all that an inspector learns.
type Inspected struct {
	Result string `json:"result" enum:"valid,not_valid,denied"`
}

// ByCode is a request that a proof of its rider is in.
type ByCode struct {
	Code []byte `json:"code" minLength:"40" maxLength:"4096" doc:"a code with a party of 0 (no reader takes it), made for this request, base64; it proves its credential once, to one tenant. A code as readers take it proves only a device without a key of its own (codes made ahead, hash chains), and is what an inspector sends. In its place \"CG-proof\", the credential, a challenge of rider-challenge and the device key's signature of it"`
}

// ByCodeTrip is a request about one trip.
type ByCodeTrip struct {
	ByCode
	Journey string `json:"journey" example:"jrn_0195e2…"`
}

func (r ByCodeTrip) journey() (citygate.UUID, error) {
	id, err := citygate.ParseUUID("jrn_", r.Journey)
	if err != nil {
		return id, errNotFound.Because(err, "journey")
	}
	return id, nil
}

func (e *Edge) selfServiceRoutes() {
	e.joinRoutes()
	prove(e, post("rider-challenge", "/v1/tenants/{tenant}/rider/challenge", "A challenge for a device to sign in place of showing a code, good for ten minutes and once", "self-service"),
		func(ctx context.Context, r *InTenant) (*body[DeviceChallenge], error) {
			return respond(e.Riders.Challenge(ctx, r.id()))
		})
	prove(e, post("rider-trips", "/v1/tenants/{tenant}/rider/trips", "Trips of the credential whose code is in the body", "self-service"),
		func(ctx context.Context, r *struct {
			Paged
			Body ByCode
		}) (*body[list[Trip]], error) {
			page, err := r.page("jrn_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(t Trip) string { return t.ID })(e.Riders.Trips(ctx, r.id(), r.Body.Code, page))
		})
	prove(e, post("rider-trip", "/v1/tenants/{tenant}/rider/trip", "Why a trip cost what it cost", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body ByCodeTrip
		}) (*body[Trip], error) {
			id, err := r.Body.journey()
			if err != nil {
				return nil, err
			}
			return respond(e.Riders.Trip(ctx, r.id(), r.Body.Code, id))
		})
	prove(e, post("rider-claim", "/v1/tenants/{tenant}/rider/claims", "Say where a trip began or ended of which a tap is missing", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body struct {
				ByCodeTrip
				Stop string    `json:"stop" minLength:"1" maxLength:"80" doc:"where the tap is missing"`
				At   time.Time `json:"at,omitzero" doc:"about when"`
			}
		}) (*body[Trip], error) {
			id, err := r.Body.journey()
			if err != nil {
				return nil, err
			}
			return respond(e.Riders.Claim(ctx, r.id(), r.Body.Code, id, r.Body.Stop, r.Body.At))
		})
	prove(e, post("rider-debts", "/v1/tenants/{tenant}/rider/debts", "What is owed for the credential, to the tenant that issued it", "self-service"),
		func(ctx context.Context, r *struct {
			Paged
			Body ByCode
		}) (*body[list[OwnDebt]], error) {
			page, err := r.page("dbt_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(d OwnDebt) string { return d.ID })(e.Riders.Debts(ctx, r.id(), r.Body.Code, page))
		})
	prove(e, post("rider-pay", "/v1/tenants/{tenant}/rider/pay", "Have what is owed collected now", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body ByCode
		}) (*body[OwnPayment], error) {
			n, err := e.Riders.Pay(ctx, r.id(), r.Body.Code)
			return respond(OwnPayment{n}, err)
		})
	register(e, post("inspect", "/v1/tenants/{tenant}/inspections", "Whether somebody who shows a code rides by it: nothing of where or when", "self-service"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Body ByCode
		}) (*body[Inspected], error) {
			result, err := e.Riders.Inspect(ctx, r.id(), r.Body.Code)
			return respond(Inspected{result}, err)
		})
}

// Risk is what the edge calls for terms about money that does not come.
type Risk struct {
	Terms   func(ctx context.Context, tenant citygate.TenantID, page pg.Span) ([]RiskTerms, error)
	Publish func(ctx context.Context, actor string, tenant citygate.TenantID, t RiskTerms) error
	// Liability gives what of the terms in force is for everybody to read.
	Liability func(ctx context.Context, tenant citygate.TenantID) (Liability, error)

	Flags      func(ctx context.Context, tenant citygate.TenantID, f RiskFlagFilter, page Page) ([]RiskFlag, error)
	ChangeFlag func(ctx context.Context, actor string, tenant citygate.TenantID, flag citygate.UUID, state, reason string) (RiskFlag, error)
}

// RiskTerms are one version of a tenant's terms.
type RiskTerms struct {
	From  time.Time       `json:"from" doc:"in the future, and after all other versions"`
	Terms json.RawMessage `json:"terms" doc:"the document of package risk: version, contracts, late"`
}

// Liability says who bears records that come late, expired or denied.
type Liability struct {
	Version uint64          `json:"version" doc:"of the risk terms; 0 = the tenant has published none"`
	Records []LiabilityLine `json:"records"`

	DisputeDays int `json:"dispute_days" doc:"how long after a debt was opened a party may dispute that it bears it"`
}

// A LiabilityLine is one rule of a [Liability].
type LiabilityLine struct {
	Records   string `json:"records" enum:"late,expired,denied"`
	AfterDays int    `json:"after_days" doc:"from so many whole days between event and upload on"`
	Bearer    string `json:"bearer" enum:"issuer,provider,operator,platform,rider"`
}

func (e *Edge) riskRoutes() {
	e.riskFlagRoutes()
	register(e, get("list-risk-terms", "/v1/tenants/{tenant}/risk-terms", "Terms about money that does not come: every version", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Between
		}) (*body[list[RiskTerms]], error) {
			page, err := r.span(r.Paging)
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(t RiskTerms) string { return instant(t.From) })(e.Risk.Terms(ctx, r.id(), page))
		})
	register(e, post("publish-risk-terms", "/v1/tenants/{tenant}/risk-terms", "Publish the next version of the terms about money that does not come", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body RiskTerms
		}) (*done, error) {
			return respond(struct{}{}, e.Risk.Publish(ctx, who.Subject, r.id(), r.Body))
		})
	e.plain(public, http.MethodGet, "/v1/tenants/:tenant/liability", func(c *gin.Context) {
		id, err := strconv.ParseInt(c.Param("tenant"), 10, 64)
		if err != nil || id <= 0 {
			e.write(c, errNotFound)
			return
		}
		l, err := e.Risk.Liability(c.Request.Context(), citygate.TenantID(id))
		if err != nil {
			e.write(c, err)
			return
		}
		c.JSON(http.StatusOK, l)
	}, &huma.Operation{
		OperationID: "get-liability", Summary: "Who bears offline records that come late, expired or denied: for everybody to read", Tags: []string{"money"},
		Responses: map[string]*huma.Response{"200": {Description: "the rules in force", Content: map[string]*huma.MediaType{
			"application/json": {Schema: e.api.OpenAPI().Components.Schemas.Schema(reflectType[Liability](), true, "Liability")},
		}}},
	})
}
