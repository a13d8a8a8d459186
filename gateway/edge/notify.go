package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

// Notify is what the edge calls for what providers send unasked.
type Notify struct {
	// Take proves, stores and acknowledges a notification. The tenant follows from
	// the address.
	Take func(ctx context.Context, product, address string, n Notification) (Ack, error)
	// Code answers a provider that asks for a rider's code.
	Code    func(ctx context.Context, product, address string, n Notification) (Ack, error)
	Notices func(ctx context.Context, tenant citygate.TenantID, state string, page Page) ([]Notice, error)
	Resolve func(ctx context.Context, actor string, tenant citygate.TenantID, notice citygate.UUID, note string) error
}

// A Notification is a provider's request as it was received.
type Notification struct {
	Method string
	Target string // path and query of the request line
	Header map[string][]string
	Body   []byte
}

// An Ack is the whole answer to one, in the provider's own words.
type Ack struct {
	Status      int
	ContentType string
	Body        []byte
}

// notifyLimit bounds the body of a notification, in bytes: the largest of a known
// product has some kilobytes.
const notifyLimit = 256 << 10

// A Notice is a notification that was proven to be the provider's.
type Notice struct {
	ID          string          `json:"id" example:"ntc_0195e2…"`
	Contract    string          `json:"contract"`
	ProviderID  string          `json:"provider_id,omitempty" doc:"the provider's own id of it"`
	Kind        string          `json:"kind" enum:"payment,refund,agreement,rider,reversal,other"`
	OurID       string          `json:"our_id,omitempty" doc:"of the charge or refund it is about"`
	ChargeOurID string          `json:"charge_our_id,omitempty" doc:"of a refund's charge"`
	RiderRef    string          `json:"rider_ref,omitempty"`
	Outcome     string          `json:"outcome,omitempty" doc:"what it says became of that"`
	Amount      *citygate.Money `json:"amount,omitempty"`
	ProviderRef string          `json:"provider_ref,omitempty"`
	Reason      string          `json:"reason,omitempty" doc:"the provider's own code"`
	Verdict     string          `json:"verdict" enum:"applied,known,asked,noted,held,waiting,unknown_order,mismatch,contradiction" doc:"what was done: the last three changed nothing and wait for somebody to look; waiting: the outcome of a dispute about what nobody has told yet"`
	Detail      string          `json:"detail,omitempty"`
	State       string          `json:"state" enum:"done,open,resolved"`
	Note        string          `json:"note,omitempty" doc:"why it was resolved"`
	Repeats     int             `json:"repeats" doc:"times it came again"`
	ReceivedAt  time.Time       `json:"received_at"`
	LastAt      time.Time       `json:"last_at"`
	ResolvedAt  *time.Time      `json:"resolved_at,omitempty"`
}

// notifyRoutes are where providers tell of payments, and where people see it.
func (e *Edge) notifyRoutes() {
	e.plain(proof, http.MethodPost, "/v1/notify/:product/:address", e.told(e.Notify.Take), notifyOperation("notify", "A provider tells of a payment, a refund, an agreement or a rider",
		"The body and its signature are the provider's. It is answered in the provider's own words, which each product defines, after what it says is stored; the same notification again is answered as the first. At most 256 KiB."))
	e.plain(proof, http.MethodPost, "/v1/notify/:product/:address/code", e.told(e.Notify.Code), notifyOperation("request-code", "A provider asks the operator to sign a code for a rider",
		"The body and its proof are the provider's. The code is stored before it is given out; the same request again has the same answer."))
	register(e, get("list-notices", "/v1/tenants/{tenant}/notices", "What providers told of their own accord", "providers"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"done,open,resolved" doc:"open: it contradicts our rows and waits for somebody to look; absent: any"`
		}) (*body[list[Notice]], error) {
			page, err := r.page("ntc_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(n Notice) string { return n.ID })(e.Notify.Notices(ctx, r.id(), r.State, page))
		})
	register(e, post("resolve-notice", "/v1/tenants/{tenant}/notices/{notice}/resolve", "End an open notice by a decision; it books nothing", "providers"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Notice string `path:"notice" example:"ntc_0195e2…"`
			Body   struct {
				Note string `json:"note" minLength:"1" maxLength:"500" doc:"what was found"`
			}
		}) (*done, error) {
			id, err := citygate.ParseUUID("ntc_", r.Notice)
			if err != nil {
				return nil, errNotFound.Because(err, "notice")
			}
			return respond(struct{}{}, e.Notify.Resolve(ctx, who.Subject, r.id(), id, r.Body.Note))
		})
}

func notifyOperation(id, summary, description string) *huma.Operation {
	text := func(name, doc string) *huma.Param {
		return &huma.Param{Name: name, In: "path", Required: true, Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	words := func() map[string]*huma.MediaType {
		all := map[string]*huma.MediaType{}
		for _, kind := range providerWords {
			all[kind] = &huma.MediaType{Schema: &huma.Schema{}}
		}
		return all
	}
	return &huma.Operation{
		OperationID: id, Summary: summary, Tags: []string{"providers"}, Description: description,
		Parameters:  []*huma.Param{text("product", "payment product of the contract"), text("address", "the contract's own address, as our requests to the provider name it")},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{}}}},
		Responses: map[string]*huma.Response{
			"200": {Description: "taken, in the words of the product", Content: words()},
			"204": {Description: "taken"},
			"400": {Description: "not taken, in the words of the product", Content: words()},
			"401": {Description: "not proven to be the provider's, in the words of the product", Content: words()},
		},
	}
}

// providerWords are the media types that products speak.
var providerWords = []string{"application/json", "application/x-www-form-urlencoded", "text/plain", "text/xml"}

// told answers a provider by take.
func (e *Edge) told(take func(ctx context.Context, product, address string, n Notification) (Ack, error)) gin.HandlerFunc {
	return func(c *gin.Context) { e.answerProvider(c, take) }
}

func (e *Edge) answerProvider(c *gin.Context, take func(ctx context.Context, product, address string, n Notification) (Ack, error)) {
	raw, err := io.ReadAll(io.LimitReader(c.Request.Body, notifyLimit+1))
	if err == nil && len(raw) > notifyLimit {
		err = errTooLarge.Explain("a notification has at most %d bytes", notifyLimit)
	}
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			err = errTooLarge.Explain("a notification has at most %d bytes", notifyLimit)
		}
		e.write(c, err)
		return
	}
	ack, err := take(c.Request.Context(), c.Param("product"), c.Param("address"), Notification{
		Method: c.Request.Method, Target: c.Request.URL.RequestURI(), Header: c.Request.Header, Body: raw,
	})
	if err != nil {
		e.write(c, err)
		return
	}
	if ack.ContentType != "" {
		c.Header("Content-Type", ack.ContentType)
	} else {
		c.Writer.Header()["Content-Type"] = nil // none is sent, whatever the body looks like
	}
	c.Status(ack.Status)
	c.Writer.WriteHeaderNow()
	if len(ack.Body) > 0 {
		_, _ = c.Writer.Write(ack.Body) // who hung up sends it again
	}
}
