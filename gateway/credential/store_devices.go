package credential

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// DevicesOf gives the device of each rider that the tenant issued a credential on a
// device to; of others nothing.
func DevicesOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]citygate.UUID, error) {
	issuer, list, idx := riderColumns(riders)
	rows, err := tx.Query(ctx, `
		SELECT c.issuer, c.list, c.idx, c.device_id FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx)
		CROSS JOIN LATERAL (
			SELECT issuer, list, idx, device_id FROM credentials
			WHERE tenant_id = $1 AND list = u.list AND idx = u.idx AND issuer = u.issuer AND device_id IS NOT NULL OFFSET 0) AS c`, tx.Tenant, issuer, list, idx)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.Rider]citygate.UUID)
	var r citygate.Rider
	var device citygate.UUID
	_, err = pgx.ForEachRow(rows, []any{&r.Issuer, &r.List, &r.Index, (*[16]byte)(&device)}, func() error { out[r] = device; return nil })
	return out, err
}

// RidersOfDevices gives the credentials that devices were issued since an instant.
func RidersOfDevices(ctx context.Context, tx *pg.Tx, devices []citygate.UUID, since time.Time) (map[citygate.UUID][]citygate.Rider, error) {
	rows, err := tx.Query(ctx, `
		SELECT c.device_id, c.issuer, c.list, c.idx FROM unnest($2::uuid[]) AS u (id)
		CROSS JOIN LATERAL (
			SELECT device_id, issuer, list, idx FROM credentials WHERE tenant_id = $1 AND device_id = u.id AND issued_at >= $3 OFFSET 0) AS c
		ORDER BY c.device_id, c.issuer, c.list, c.idx`, tx.Tenant, devices, since)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID][]citygate.Rider)
	var r citygate.Rider
	var device citygate.UUID
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&device), &r.Issuer, &r.List, &r.Index}, func() error { out[device] = append(out[device], r); return nil })
	return out, err
}
