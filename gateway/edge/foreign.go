package edge

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/danielgtaylor/huma/v2"
)

// Foreign is codes of other schemes, whose riders a tenant answers for.
type Foreign struct {
	PutScheme func(ctx context.Context, actor string, tenant citygate.TenantID, s CodeScheme) error
	Schemes   func(ctx context.Context, tenant citygate.TenantID) ([]CodeScheme, error)
	Register  func(ctx context.Context, actor string, tenant citygate.TenantID, requests []RegisterForeign) ([]ForeignRider, error)
	// Codes gives the codes asked about in a state, "" for any.
	Codes func(ctx context.Context, tenant citygate.TenantID, state string, after ForeignAfter, limit int) ([]ForeignCode, error)
}

// A ForeignKey is a key of a scheme whose issuers are not the platform's.
type ForeignKey struct {
	Owner string `json:"owner,omitempty" maxLength:"64" doc:"the provider, as the scheme writes it"`
	List  string `json:"list,omitempty" maxLength:"64" doc:"the provider's key list"`
	Kind  string `json:"kind,omitempty" maxLength:"64" doc:"what it is for in the scheme, such as root_ca"`
	ID    uint32 `json:"id,omitempty"`
	Key   []byte `json:"key" doc:"base64, in the encoding that the scheme states"`
}

// A CodeScheme is how a tenant that answers for a scheme's codes has them read.
type CodeScheme struct {
	Scheme    string          `json:"scheme" readOnly:"true"`
	Params    json.RawMessage `json:"params" doc:"the scheme's parameters, an object; issuer must be the tenant's issuer number"`
	Keys      []ForeignKey    `json:"keys,omitempty" maxItems:"1024"`
	Operators []int64         `json:"operators,omitempty" maxItems:"1024" doc:"tenants besides this one for whose validators it answers"`
	Contract  string          `json:"contract,omitempty" maxLength:"80" doc:"provider contract that collects from accounts that are opened; where a secret proves the codes (rotating), the contract holds it as its secret code-SCHEME, put there first"`
	Opens     bool            `json:"opens,omitempty" doc:"a code that is proven has an account opened at first sight; else it is refused as not_issued"`
	Asks      bool            `json:"asks,omitempty" doc:"the contract's provider is asked whose a deferred code is"`
}

// RegisterForeign puts a code of another scheme to a payer's account.
type RegisterForeign struct {
	Scheme   string `json:"scheme" maxLength:"40"`
	Code     []byte `json:"code" maxLength:"8192" doc:"any display of it as a reader reads it, base64"`
	Contract string `json:"contract" minLength:"1" maxLength:"80" doc:"provider contract the account is collected under"`
	RiderRef string `json:"rider_ref" minLength:"1" maxLength:"200" doc:"the payment provider's name for the payer"`
}

// A ForeignRider is a rider whose codes are of another scheme.
type ForeignRider struct {
	Account string `json:"account"`
	List    uint16 `json:"list"`
	Index   uint32 `json:"index"`
}

// ForeignRiders are riders in the order in which they were asked for.
type ForeignRiders struct {
	Riders []ForeignRider `json:"riders"`
}

// A ForeignCode is a code of another scheme that a tap asked about.
type ForeignCode struct {
	ID       string    `json:"id"`
	Scheme   string    `json:"scheme"`
	Operator int64     `json:"operator" doc:"whose terminal read it first"`
	Terminal uint32    `json:"terminal"`
	Seq      uint64    `json:"seq"`
	At       time.Time `json:"at"`
	State    string    `json:"state" enum:"waiting,sent,unknown,named,refused"`
	Reason   string    `json:"reason,omitempty"`
	Proven   bool      `json:"proven" doc:"its signatures held; else only its provider can prove it"`
	Evidence []byte    `json:"evidence" doc:"the code, base64"`
	Attempts int       `json:"attempts" doc:"how often the provider was asked"`
	GiveUpAt time.Time `json:"give_up_at"`
	List     uint16    `json:"list,omitempty"`
	Index    uint32    `json:"index,omitempty"`
}

// ForeignAfter is the last code of a page.
type ForeignAfter struct {
	Scheme string
	Once   []byte
}

// ForeignID names a code by its display.
func ForeignID(scheme string, once []byte) string {
	return "fcd_" + scheme + "_" + base64.RawURLEncoding.EncodeToString(once)
}

func foreignAfter(id string) (ForeignAfter, error) {
	if id == "" {
		return ForeignAfter{}, nil
	}
	scheme, once, ok := strings.Cut(strings.TrimPrefix(id, "fcd_"), "_")
	raw, err := base64.RawURLEncoding.DecodeString(once)
	if !ok || err != nil {
		return ForeignAfter{}, errCursor
	}
	return ForeignAfter{scheme, raw}, nil
}

func (e *Edge) foreignRoutes() {
	put := huma.Operation{
		OperationID: "put-code-scheme", Method: http.MethodPut, Path: "/v1/tenants/{tenant}/code-schemes/{scheme}",
		Summary: "Answer for codes of a scheme: how they are read, whose validators may, who collects", Tags: []string{"riders"},
	}
	register(e, put,
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Scheme string `path:"scheme" example:"mot-sm2"`
			Body   CodeScheme
		}) (*done, error) {
			r.Body.Scheme = r.Scheme
			return respond(struct{}{}, e.Foreign.PutScheme(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, get("list-code-schemes", "/v1/tenants/{tenant}/code-schemes", "The schemes whose codes the tenant answers for", "riders"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Contract string `query:"contract" maxLength:"80" doc:"that collects for them"`
		}) (*body[list[CodeScheme]], error) {
			keep := func(s CodeScheme) bool { return wanted(r.Contract, s.Contract) }
			return cutPages(ctx, r.Paging, func(s CodeScheme) string { return s.Scheme }, keep)(e.Foreign.Schemes(ctx, r.id()))
		})
	register(e, post("register-foreign-riders", "/v1/tenants/{tenant}/foreign-riders", "Put codes of other schemes, tokens say, to payers' accounts", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Requests []RegisterForeign `json:"requests" minItems:"1" maxItems:"500"`
			}
		}) (*body[ForeignRiders], error) {
			if len(r.Body.Requests) == 0 { // null is an array too
				return nil, errBody.Explain("requests: want at least one")
			}
			riders, err := e.Foreign.Register(ctx, who.Subject, r.id(), r.Body.Requests)
			return respond(ForeignRiders{riders}, err)
		})
	register(e, get("list-foreign-codes", "/v1/tenants/{tenant}/foreign-codes", "Codes of other schemes that taps asked about, with the evidence", "riders"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"waiting,sent,unknown,named,refused"`
		}) (*body[list[ForeignCode]], error) {
			after, err := foreignAfter(r.After)
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(c ForeignCode) string { return c.ID })(e.Foreign.Codes(ctx, r.id(), r.State, after, r.more()))
		})
}
