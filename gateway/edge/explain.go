package edge

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cashlesscity/citygate"
)

// Explain is what the edge calls for signed explanations.
type Explain struct {
	Decision func(ctx context.Context, tenant citygate.TenantID, journey citygate.UUID, n int) (Explanation, error)
	Rider    func(ctx context.Context, tenant citygate.TenantID, code []byte, journey citygate.UUID) (Explanation, error)
}

// An Explanation is a fare decision with the proof that the tenant signed it: what
// citygate fare verify-explanation checks offline.
type Explanation struct {
	Format    string           `json:"format"`
	Document  json.RawMessage  `json:"document" doc:"taps, rules, caps before and after, tariff version; hashed in its canonical form"`
	Salt      string           `json:"salt"`
	Index     int              `json:"index" doc:"place among the leaves of the batch"`
	Path      []string         `json:"path" doc:"hashes that lead from the leaf to the root"`
	Batch     ExplanationBatch `json:"batch"`
	Signature []byte           `json:"signature" doc:"by the tenant's explain key"`
}

// An ExplanationBatch is what is signed.
type ExplanationBatch struct {
	Tenant   int64     `json:"tenant"`
	Number   int64     `json:"number"`
	Size     int       `json:"size"`
	Root     string    `json:"root"`
	SealedAt time.Time `json:"sealed_at"`
	Key      uint8     `json:"kid"`
}

func (e *Edge) explainRoutes() {
	register(e, get("get-explanation", "/v1/tenants/{tenant}/journeys/{journey}/explanation", "The signed explanation of a journey's fare", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Journey  string `path:"journey"`
			Decision int    `query:"decision" minimum:"1" doc:"number of the decision; left out = the last one"`
		}) (*body[Explanation], error) {
			id, err := citygate.ParseUUID("jrn_", r.Journey)
			if err != nil {
				return nil, errNotFound.Because(err, "journey")
			}
			return respond(e.Explain.Decision(ctx, r.id(), id, r.Decision))
		})
	prove(e, post("rider-explanation", "/v1/tenants/{tenant}/rider/explanation", "The signed explanation of a trip's fare", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body ByCodeTrip
		}) (*body[Explanation], error) {
			id, err := r.Body.journey()
			if err != nil {
				return nil, err
			}
			return respond(e.Explain.Rider(ctx, r.id(), r.Body.Code, id))
		})
}
