package edge

import (
	"context"
	"time"
)

// BundleReach says how far a bundle has come among an operator's terminals.
type BundleReach struct {
	Version  uint64       `json:"version" doc:"the bundle asked for; without one the latest"`
	Latest   uint64       `json:"latest" doc:"the bundle in force"`
	Waiting  uint64       `json:"waiting,omitempty" doc:"the next bundle, if it waits for signatures of offline roots"`
	Seen     int          `json:"seen" doc:"active terminals that uploaded in these days"`
	Laggards []BundleHeld `json:"laggards" doc:"those of them that have not acknowledged the bundle, or went back behind it; at most 1,000"`
	More     bool         `json:"more,omitempty" doc:"there are more laggards than are listed"`
}

// BundleHeld is which bundle a terminal acknowledged last.
type BundleHeld struct {
	Terminal uint32    `json:"terminal"`
	Name     string    `json:"name"`
	Bundle   uint64    `json:"bundle" doc:"the highest bundle that its taps named"`
	SeenAt   time.Time `json:"seen_at" doc:"its last upload, to within ten minutes"`
}

func (e *Edge) trustRoutes() {
	register(e, get("get-bundle-reach", "/v1/tenants/{tenant}/bundle/reach", "Which terminals have not acknowledged a trust bundle yet", "fleet"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Version uint64 `query:"version" doc:"the bundle, or a later one; 0 = the latest"`
			Days    int    `query:"days" minimum:"1" maximum:"365" default:"7" doc:"terminals seen in as many days"`
		}) (*body[BundleReach], error) {
			return respond(e.BundleReach(ctx, r.id(), r.Version, r.Days))
		})
}
