package gateway

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ridership"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ridershipAPI hands the edge how many people ride.
func (g *Gateway) ridershipAPI() edge.Ridership {
	return edge.Ridership{
		List: func(ctx context.Context, tenant citygate.TenantID, page edge.Page) (list []edge.RidershipReport, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				found, err := ridership.List(ctx, tx, page.After, page.Limit)
				list = make([]edge.RidershipReport, len(found))
				for i := range found {
					list[i] = ridershipView(&found[i])
				}
				return err
			})
			return list, err
		},
		Get: func(ctx context.Context, tenant citygate.TenantID, report citygate.UUID) (v edge.RidershipReport, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				r, err := ridership.Get(ctx, tx, report)
				v = ridershipView(&r)
				return err
			})
			return v, err
		},
		Publish: func(ctx context.Context, actor string, tenant citygate.TenantID, first, last citygate.Date) (edge.RidershipReport, error) {
			t, err := g.Tenants.ByID(ctx, tenant)
			if err != nil {
				return edge.RidershipReport{}, err
			}
			r, err := ridership.Publish(ctx, g.DB, actor, t, first, last)
			return ridershipView(&r), err
		},
		Table: func(ctx context.Context, tenant citygate.TenantID, report citygate.UUID, name string) (raw []byte, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				raw, err = ridership.Body(ctx, tx, report, name)
				return err
			})
			return raw, err
		},
		Transactions: func(ctx context.Context, actor string, tenant citygate.TenantID, first, last citygate.Date) (func(context.Context, io.Writer) error, error) {
			write, err := g.FareTransactions(ctx, actor, tenant, first, last)
			return func(ctx context.Context, w io.Writer) error {
				_, err := write(ctx, w)
				if err != nil {
					g.Log.ErrorContext(ctx, "fare transactions were broken off", "tenant", tenant, "err", err)
				}
				return err
			}, err
		},
	}
}

func ridershipView(r *ridership.Report) edge.RidershipReport {
	v := edge.RidershipReport{ID: r.ID.Text(ridership.Prefix), From: r.First.String(), To: r.Last.String(), MadeAt: r.MadeAt, MadeBy: r.MadeBy, Tables: make([]edge.RidershipTable, len(r.Tables))}
	for i, t := range r.Tables {
		v.Tables[i] = edge.RidershipTable{Name: t.Name, Rows: t.Rows, Suppressed: t.Suppressed, SHA256: hex.EncodeToString(t.SHA256[:])}
	}
	return v
}

// FareTransactions makes ready to write a tenant's taps in the form of TIDES, under
// pseudonyms whose key is drawn now and forgotten; write gives how many there were.
func (g *Gateway) FareTransactions(ctx context.Context, actor string, tenant citygate.TenantID, first, last citygate.Date) (write func(context.Context, io.Writer) (int, error), err error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return nil, err
	}
	teller := &ridership.Teller{}
	if _, err := io.ReadFull(g.Random, teller.Key[:]); err != nil {
		return nil, fmt.Errorf("draw the key of the pseudonyms: %w", err)
	}
	return ridership.Transactions(ctx, g.DB, actor, t, first, last, teller)
}
