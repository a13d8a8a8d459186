package edge

import (
	"context"
	"time"
)

// ByCodes is a request that proofs by several devices stand for.
type ByCodes struct {
	Codes [][]byte `json:"codes" minItems:"2" maxItems:"8" doc:"a code with a party of 0 made for this request by each device, base64; each proves its credential once"`
}

// Joined is what a rider learns of a join: nothing of the other devices but how many
// the person has.
type Joined struct {
	Devices int        `json:"devices" doc:"of the person; 1 = the device is by itself"`
	From    *time.Time `json:"from,omitempty" doc:"rides that begin from then on are counted together"`
	Until   *time.Time `json:"until,omitempty" doc:"until then: the device has left"`
}

func (e *Edge) joinRoutes() {
	prove(e, post("rider-join", "/v1/tenants/{tenant}/rider/join", "Have the devices whose codes are in the body counted as one person's, from the next business date on", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body ByCodes
		}) (*body[Joined], error) {
			return respond(e.Riders.Join(ctx, r.id(), r.Body.Codes))
		})
	prove(e, post("rider-leave", "/v1/tenants/{tenant}/rider/leave", "Have a device counted by itself again, from the next business date on", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body ByCode
		}) (*body[Joined], error) {
			return respond(e.Riders.Leave(ctx, r.id(), r.Body.Code))
		})
	prove(e, post("rider-joined", "/v1/tenants/{tenant}/rider/joined", "With how many devices a device is counted as one person's", "self-service"),
		func(ctx context.Context, r *struct {
			InTenant
			Body ByCode
		}) (*body[Joined], error) {
			return respond(e.Riders.Joined(ctx, r.id(), r.Body.Code))
		})
}
