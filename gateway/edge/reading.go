package edge

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/danielgtaylor/huma/v2"
)

// JourneyReading is what the edge calls for how taps become journeys.
type JourneyReading struct {
	Rules   func(ctx context.Context, tenant citygate.TenantID, page pg.Span) ([]JourneyRules, error)
	Publish func(ctx context.Context, actor string, tenant citygate.TenantID, r JourneyRules) error
	Facts   func(ctx context.Context, tenant citygate.TenantID, page Page) ([]JourneyFact, error)
	Record  func(ctx context.Context, actor string, tenant citygate.TenantID, f JourneyFact) (JourneyFact, error)
}

// A Reading is what of a journey was not taken as its taps declare it.
type Reading struct {
	Rules       uint64       `json:"rules,omitempty" doc:"version of the journey rules"`
	Missing     string       `json:"missing,omitempty" enum:"missing_on,missing_off" doc:"the end without a tap, or whose place is not believed"`
	Doubt       string       `json:"doubt,omitempty" enum:"impossible_speed,place_suspected" doc:"why a place is not believed"`
	Retyped     []string     `json:"retyped,omitempty" doc:"taps whose declared kind is not believed"`
	SameStation string       `json:"same_station,omitempty" enum:"no_charge,cheapest_single" doc:"what a ride is that ended where it began"`
	Inferred    *InferredEnd `json:"inferred,omitempty" doc:"how the missing end was found"`
}

// An InferredEnd is an end of a journey that no believed tap shows.
type InferredEnd struct {
	Stop       string    `json:"stop"`
	At         time.Time `json:"at" doc:"when it is thought to have happened"`
	Method     string    `json:"method" enum:"next_on,regular_trip,gates_opened,rider_claim"`
	Confidence int64     `json:"confidence_permille,omitempty" doc:"left out of what the rider claims"`
	Claim      string    `json:"claim,omitempty"`
	Evidence   []string  `json:"evidence,omitempty" doc:"taps it rests on, beside the journey's own"`
}

// A Correction is a fare that moved from one journey of a rider to another: the
// two halves sum to zero.
type Correction struct {
	From         string         `json:"from"`
	FromDecision int            `json:"from_decision"`
	To           string         `json:"to"`
	ToDecision   int            `json:"to_decision"`
	Amount       citygate.Money `json:"amount"`
}

// JourneyRules are one version of how a tenant's taps become journeys.
type JourneyRules struct {
	From  time.Time       `json:"from" doc:"event time from which it holds: in the future, and after all other versions"`
	Rules json.RawMessage `json:"rules" doc:"the document of package journey: version, max_journey_minutes, upload_grace_minutes, passback_seconds, same_station, retype, stops, travel, inference, claims"`
}

// A JourneyFact is something the tenant knows of a reader or a station.
type JourneyFact struct {
	ID         string     `json:"id,omitempty" readOnly:"true"`
	Kind       string     `json:"kind" enum:"reader_kind_wrong,reader_place_wrong,gates_opened"`
	Terminal   uint32     `json:"terminal,omitempty" doc:"the reader, unless gates were opened"`
	Stop       string     `json:"stop,omitempty" doc:"where gates were opened"`
	From       time.Time  `json:"from" doc:"event time"`
	To         time.Time  `json:"to" doc:"event time, at most a week later"`
	RecordedAt *time.Time `json:"recorded_at,omitempty" readOnly:"true"`
	Actor      string     `json:"actor,omitempty" readOnly:"true"`
}

func (e *Edge) journeyReadingRoutes() {
	register(e, get("list-journey-rules", "/v1/tenants/{tenant}/journey-rules", "How taps become journeys: every version", "policies"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Between
		}) (*body[list[JourneyRules]], error) {
			page, err := r.span(r.Paging)
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(v JourneyRules) string { return instant(v.From) })(e.JourneyReading.Rules(ctx, r.id(), page))
		})
	register(e, post("publish-journey-rules", "/v1/tenants/{tenant}/journey-rules", "Publish the next version of how taps become journeys", "policies"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body JourneyRules
		}) (*done, error) {
			return respond(struct{}{}, e.JourneyReading.Publish(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, get("list-journey-facts", "/v1/tenants/{tenant}/journey-facts", "What is known of readers and stations", "policies"),
		func(ctx context.Context, _ Caller, r *Paged) (*body[list[JourneyFact]], error) {
			page, err := r.page("jfa_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(f JourneyFact) string { return f.ID })(e.JourneyReading.Facts(ctx, r.id(), page))
		})
	register(e, huma.Operation{
		OperationID: "record-journey-fact", Method: "POST", Path: "/v1/tenants/{tenant}/journey-facts", Tags: []string{"policies"},
		Summary: "Record what is known of a reader or a station: the journeys that it can change are decided again",
	}, func(ctx context.Context, who Caller, r *struct {
		InTenant
		Body JourneyFact
	}) (*body[JourneyFact], error) {
		return respond(e.JourneyReading.Record(ctx, who.Subject, r.id(), r.Body))
	})
}
