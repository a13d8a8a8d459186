package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// taps gives pricing the taps that intake recorded.
type taps struct{}

var _ pricing.Taps = taps{}

func (taps) Batch(ctx context.Context, tx *pg.Tx, terminal uint32, first uint64, count int) ([]pricing.Tap, error) {
	found, err := intake.BatchTaps(ctx, tx, terminal, first, count)
	return priced(found), err
}

func (taps) ByID(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) ([]pricing.Tap, error) {
	found, err := intake.TapsByID(ctx, tx, ids)
	return priced(found), err
}

func (taps) OfRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from, to time.Time) ([]pricing.Tap, error) {
	found, err := intake.TapsOfRiders(ctx, tx, riders, from, to)
	return priced(found), err
}

func (taps) OfTerminal(ctx context.Context, tx *pg.Tx, terminal uint32, from, to time.Time) ([]pricing.Tap, error) {
	found, err := intake.TapsOfTerminal(ctx, tx, terminal, from, to)
	return priced(found), err
}

func (taps) Evidence(ctx context.Context, tx *pg.Tx, of []pricing.Tap) (map[citygate.TapID][]byte, error) {
	places := make([]intake.Place, len(of))
	for i := range of {
		places[i] = intake.Place{ID: of[i].ID, Received: of[i].Received, Digest: of[i].Digest}
	}
	return intake.EvidenceAt(ctx, tx, places)
}

func (taps) Refuse(ctx context.Context, tx *pg.Tx, issuer citygate.TenantID, verdicts []interbook.TapVerdict) error {
	refused := make([]intake.Verdict, len(verdicts))
	for i, v := range verdicts {
		refused[i] = intake.Verdict{ID: citygate.TapID{Terminal: v.Terminal, Seq: v.Seq}, Reason: v.Reason}
	}
	return intake.WriteVerdicts(ctx, tx, fmt.Sprintf("issuer:%d", issuer), refused)
}

func priced(found []intake.Tap) []pricing.Tap {
	list := make([]pricing.Tap, len(found))
	for i, t := range found {
		list[i] = pricing.Tap{
			Tap: journey.Tap{
				ID: t.ID, Rider: t.Rider, Kind: t.Kind, At: t.At.UnixMilli(), Stop: t.Stop, Route: t.Route, Vehicle: t.Vehicle, Driver: t.Driver,
				Party: t.Party, Shown: t.Shown, Medium: t.Medium, Entered: t.Entered, Product: t.Product,
			},
			Counter: t.Counter, Accepted: t.Accepted, Received: t.Received, Digest: t.Evidence,
		}
	}
	return list
}

// tellCopies tells issuers of copied credentials that intake found: other
// tenants by message, our own register here and now.
func (g *Gateway) tellCopies(ctx context.Context, tx *pg.Tx, copies []intake.Copy) error {
	told := map[citygate.TenantID][]interbook.Sighting{}
	for _, c := range copies {
		issuer, err := heldDirectory{g}.ByIssuer(ctx, c.Rider.Issuer)
		if errors.Is(err, tenants.ErrNotFound) {
			continue // it has left; nobody is there to deny anything
		}
		if err != nil {
			return err
		}
		told[issuer.ID] = append(told[issuer.ID], interbook.Sighting{Rider: c.Rider, First: shown(c.Counter, c.First), Second: shown(c.Counter, c.Second)})
	}
	if own := told[tx.Tenant]; len(own) > 0 {
		if err := g.Collector.TakeSightings(ctx, tx, tx.Tenant, own); err != nil {
			return err
		}
		delete(told, tx.Tenant)
	}
	for _, issuer := range slices.Sorted(maps.Keys(told)) {
		if err := interbook.Put(ctx, tx, issuer, interbook.KindSightings, interbook.Sightings{Items: told[issuer]}); err != nil {
			return err
		}
	}
	return nil
}

// tellDenied tells issuers which of their denied riders came to a reader: other
// tenants by message, our own here and now.
func (g *Gateway) tellDenied(ctx context.Context, tx *pg.Tx, denied []intake.Denied) error {
	told := map[citygate.TenantID][]interbook.Touch{}
	for _, d := range denied {
		issuer, err := heldDirectory{g}.ByIssuer(ctx, d.Rider.Issuer)
		if errors.Is(err, tenants.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		told[issuer.ID] = append(told[issuer.ID], interbook.Touch{Rider: d.Rider, Tap: shown(d.Counter, d.Shown)})
	}
	if own := told[tx.Tenant]; len(own) > 0 {
		if err := g.Collector.TakeTouches(ctx, tx, own); err != nil {
			return err
		}
		delete(told, tx.Tenant)
	}
	for _, issuer := range slices.Sorted(maps.Keys(told)) {
		if err := interbook.Put(ctx, tx, issuer, interbook.KindTouches, interbook.Touches{Items: told[issuer]}); err != nil {
			return err
		}
	}
	return nil
}

func shown(counter uint16, s intake.Shown) interbook.ClaimTap {
	return interbook.ClaimTap{Terminal: s.ID.Terminal, Seq: s.ID.Seq, Counter: counter, Evidence: s.Evidence, EventTime: s.At}
}
