package gateway

import (
	"context"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/person"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// riderDevices names devices for joins: credentials of the tenant's own by the
// device they are on, all others by themselves.
type riderDevices struct{}

const (
	deviceOwn   = "device:"
	deviceRider = "rider:"
)

func (riderDevices) DevicesOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]string, error) {
	own, err := credential.DevicesOf(ctx, tx, riders)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.Rider]string, len(riders))
	for _, r := range riders {
		if d, ok := own[r]; ok {
			out[r] = deviceOwn + d.Text("dev_")
		} else {
			out[r] = deviceRider + r.String()
		}
	}
	return out, nil
}

func (riderDevices) RidersOf(ctx context.Context, tx *pg.Tx, devices []string) (map[string][]citygate.Rider, error) {
	out := make(map[string][]citygate.Rider, len(devices))
	var ids []citygate.UUID
	for _, d := range devices {
		if id, ok := strings.CutPrefix(d, deviceOwn); ok {
			u, err := citygate.ParseUUID("dev_", id)
			if err != nil {
				return nil, err
			}
			ids = append(ids, u)
			continue
		}
		r, err := citygate.ParseRider(strings.TrimPrefix(d, deviceRider))
		if err != nil {
			return nil, err
		}
		out[d] = []citygate.Rider{r}
	}
	found, err := credential.RidersOfDevices(ctx, tx, ids, tx.Now.Add(-tenants.TapsWithin-joinedFor))
	for id, riders := range found {
		out[deviceOwn+id.Text("dev_")] = riders
	}
	return out, err
}

// joinedFor is how far back, from the oldest tap that is taken, credentials that were
// replaced on a device count with it: no cap of a tariff is expected to count longer.
const joinedFor = 110 * 24 * time.Hour

// nextDay is when the next business date of a tenant begins.
func (g *Gateway) nextDay(ctx context.Context, tenant citygate.TenantID, now time.Time) (time.Time, error) {
	t, err := heldDirectory{g}.ByID(ctx, tenant)
	if err != nil {
		return time.Time{}, err
	}
	calendar, err := t.Calendar()
	if err != nil {
		return time.Time{}, err
	}
	_, end := calendar.Window(calendar.BusinessDate(now))
	return end.UTC(), nil
}

func joinedView(s person.Standing) edge.Joined {
	return edge.Joined{Devices: s.Devices, From: orNever(s.From), Until: orNever(s.Until)}
}

// riderJoin makes the devices whose codes these are one person.
func (g *Gateway) riderJoin(ctx context.Context, tenant citygate.TenantID, codes [][]byte) (v edge.Joined, err error) {
	if len(codes) == 0 {
		return v, person.ErrTooFew
	}
	if _, err := g.Tenants.ByID(ctx, tenant); err == nil {
		if err := g.People.Open(ctx, tenant); err != nil {
			return v, err
		}
	}
	err = g.asRiders(ctx, tenant, codes, func(tx *pg.Tx, riders []citygate.Rider) error {
		from, err := g.nextDay(ctx, tenant, tx.Now)
		if err != nil {
			return err
		}
		s, err := g.People.Join(ctx, tx, riders, from)
		v = joinedView(s)
		return err
	})
	return v, err
}

func (g *Gateway) riderLeave(ctx context.Context, tenant citygate.TenantID, code []byte) (v edge.Joined, err error) {
	err = g.asRider(ctx, tenant, code, func(tx *pg.Tx, rider citygate.Rider) error {
		until, err := g.nextDay(ctx, tenant, tx.Now)
		if err != nil {
			return err
		}
		s, err := g.People.Leave(ctx, tx, rider, until)
		v = joinedView(s)
		return err
	})
	return v, err
}

func (g *Gateway) riderJoined(ctx context.Context, tenant citygate.TenantID, code []byte) (v edge.Joined, err error) {
	err = g.asRider(ctx, tenant, code, func(tx *pg.Tx, rider citygate.Rider) error {
		s, err := g.People.Of(ctx, tx, rider)
		v = joinedView(s)
		return err
	})
	return v, err
}
