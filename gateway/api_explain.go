package gateway

import (
	"context"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/explain"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// explainAPI is the edge's way to signed explanations: operators and riders get the
// same file.
func (g *Gateway) explainAPI() edge.Explain {
	return edge.Explain{
		Decision: func(ctx context.Context, tenant citygate.TenantID, journey citygate.UUID, n int) (v edge.Explanation, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				_, f, err := g.Explanations.Find(ctx, tx, journey, n)
				v = explanationView(f)
				return err
			})
			return v, err
		},
		Rider: func(ctx context.Context, tenant citygate.TenantID, code []byte, journey citygate.UUID) (v edge.Explanation, err error) {
			err = g.asRider(ctx, tenant, code, func(tx *pg.Tx, rider citygate.Rider) error {
				j, _, err := pricing.Find(ctx, tx, journey)
				if err == nil && j.Rider != rider {
					err = pricing.ErrNotFound.Because(nil, "%s", journey)
				}
				if err != nil {
					return err
				}
				_, f, err := g.Explanations.Find(ctx, tx, journey, 0)
				v = explanationView(f)
				return err
			})
			return v, err
		},
	}
}

func explanationView(f *explain.File) edge.Explanation {
	if f == nil {
		return edge.Explanation{}
	}
	return edge.Explanation{Format: f.Format, Document: f.Document, Salt: f.Salt, Index: f.Index, Path: f.Path, Signature: f.Signature,
		Batch: edge.ExplanationBatch{Tenant: int64(f.Batch.Tenant), Number: f.Batch.Number, Size: f.Batch.Size, Root: f.Batch.Root, SealedAt: f.Batch.SealedAt, Key: f.Batch.Key}}
}
