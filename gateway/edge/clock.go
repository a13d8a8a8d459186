package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate/tenants"
)

// A Clock is what a tenant's clock shows.
type Clock struct {
	Now          time.Time `json:"now"`
	AheadSeconds int64     `json:"ahead_seconds" doc:"of the platform's clock; 0 for every live tenant"`
	Mode         string    `json:"mode" enum:"sandbox,live"`
}

func clockOf(c tenants.Clock, err error) (*body[Clock], error) {
	return respond(Clock{Now: c.Now, AheadSeconds: int64(c.Ahead / time.Second), Mode: string(c.Mode)}, err)
}

func (e *Edge) clockRoutes() {
	register(e, get("get-clock", "/v1/tenants/{tenant}/clock", "The time on the tenant's clock, behind every timestamp that is made for it", "tenants"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[Clock], error) {
			return clockOf(e.Tenants.Clock(ctx, r.id()))
		})
	register(e, put("set-clock", "/v1/tenants/{tenant}/clock", "Have a sandbox tenant's clock show a time", "tenants"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Now  time.Time `json:"now"`
				Back bool      `json:"back,omitempty" doc:"it may be before what the clock shows; what was made later stays"`
			}
		}) (*body[Clock], error) {
			return clockOf(e.Tenants.SetClock(ctx, who.Subject, r.id(), r.Body.Now, r.Body.Back))
		})
	register(e, post("advance-clock", "/v1/tenants/{tenant}/clock/advance", "Move a sandbox tenant's clock on", "tenants"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Seconds int64 `json:"seconds" minimum:"1" maximum:"316224000"`
			}
		}) (*body[Clock], error) {
			return clockOf(e.Tenants.AdvanceClock(ctx, who.Subject, r.id(), time.Duration(r.Body.Seconds)*time.Second))
		})
}
