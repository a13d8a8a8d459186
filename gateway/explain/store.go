package explain

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A row is a decision as it is stored.
type row struct {
	journey     citygate.UUID
	n           int
	taps        []citygate.TapID
	known       bool
	reason      string
	amount      int64
	currency    citygate.Currency
	tariff      uint64
	hash        []byte
	explanation json.RawMessage
	at          time.Time
	date        citygate.Date
	decided     time.Time
	shared      citygate.TenantID
}

const decisionColumns = `d.journey_id, d.n, d.taps, d.known, d.reason, d.amount, d.currency, d.tariff_version, d.inputs_hash, d.explanation::text, d.event_time,
	d.business_date, d.decided_at, d.shared_by`

func (r *row) scan(more ...any) []any { return append([]any{&r.journey, &r.n}, more...) }

// into gives what a row is read into; done completes it.
func (r *row) into() (fields []any, done func() error) {
	var taps, explanation string
	var version, shared int64
	fields = r.scan(&taps, &r.known, &r.reason, &r.amount, &r.currency, &version, &r.hash, &explanation, &r.at, &r.date, &r.decided, &shared)
	return fields, func() error {
		r.tariff, r.shared, r.explanation = uint64(version), citygate.TenantID(shared), json.RawMessage(explanation)
		r.taps = nil
		for one := range strings.FieldsSeq(taps) {
			id, err := citygate.ParseTapID("tap_" + strings.Replace(one, ":", "_", 1))
			if err != nil {
				return err
			}
			r.taps = append(r.taps, id)
		}
		return nil
	}
}

// unsealed gives decisions that are in no batch, oldest first. Those of rides that
// are erased are left: there is nothing to tell of them. A clock that was set back
// makes the look one over everything.
func unsealed(ctx context.Context, tx *pg.Tx, limit int) ([]row, error) {
	var last *time.Time
	if err := tx.QueryRow(ctx, `SELECT sealed_at FROM explanation_batches WHERE tenant_id = $1 ORDER BY number DESC LIMIT 1`, tx.Tenant).Scan(&last); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, err
	}
	since := time.Unix(0, 0)
	if last != nil && last.Before(tx.Now) {
		since = last.Add(-lookBack)
	}
	rows, err := tx.Query(ctx, `
		SELECT `+decisionColumns+` FROM fare_decisions d
		WHERE d.tenant_id = $1 AND d.decided_at >= $2 AND d.explanation::text <> '{}'
		AND NOT EXISTS (SELECT FROM explanation_leaves l WHERE l.tenant_id = $1 AND l.journey_id = d.journey_id AND l.n = d.n)
		ORDER BY d.decided_at, d.journey_id, d.n LIMIT $3`, tx.Tenant, since, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(found pgx.CollectableRow) (r row, err error) {
		fields, done := r.into()
		if err = found.Scan(fields...); err == nil {
			err = done()
		}
		return r, err
	})
}

func nextNumber(ctx context.Context, tx *pg.Tx) (n int64, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce(max(number), 0) + 1 FROM explanation_batches WHERE tenant_id = $1`, tx.Tenant).Scan(&n)
	return n, err
}

// digestsOf gives the SHA-256 of the tenant's tariff versions.
func digestsOf(ctx context.Context, tx *pg.Tx) (map[uint64]string, error) {
	rows, err := tx.Query(ctx, `SELECT version, digest FROM tariffs WHERE tenant_id = $1`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	out := map[uint64]string{}
	var version int64
	var digest []byte
	_, err = pgx.ForEachRow(rows, []any{&version, &digest}, func() error { out[uint64(version)] = hex.EncodeToString(digest); return nil })
	return out, err
}

func store(ctx context.Context, tx *pg.Tx, b *Batch, signature []byte, rows []row, leaves []Hash, salts [][SaltSize]byte) error {
	root, err := parseHash(b.Root)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO explanation_batches (tenant_id, number, size, root, sealed_at, kid, signature) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		tx.Tenant, b.Number, b.Size, root[:], b.SealedAt, int(b.Key), signature); err != nil {
		return err
	}
	ids, ns, hashes, saltsOf := make([]citygate.UUID, len(rows)), make([]int32, len(rows)), make([][]byte, len(rows)), make([][]byte, len(rows))
	for i := range rows {
		ids[i], ns[i], hashes[i], saltsOf[i] = rows[i].journey, int32(rows[i].n), leaves[i][:], salts[i][:]
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO explanation_leaves (tenant_id, number, journey_id, n, leaf, salt, position)
		SELECT $1, $2, id, n, leaf, salt, place - 1 FROM unnest($3::uuid[], $4::int[], $5::bytea[], $6::bytea[]) WITH ORDINALITY AS u (id, n, leaf, salt, place)
		RETURNING n`, tx.Tenant, b.Number, ids, ns, hashes, saltsOf)
	return err
}

// find reads a decision and its leaf; number 0 = it is in no batch.
func find(ctx context.Context, tx *pg.Tx, journey citygate.UUID, n int) (r row, leaf Hash, salt []byte, number int64, position int, err error) {
	fields, done := r.into()
	var hash []byte
	err = tx.QueryRow(ctx, `
		SELECT `+decisionColumns+`, l.leaf, l.salt, coalesce(l.number, 0), coalesce(l.position, 0) FROM fare_decisions d
		LEFT JOIN explanation_leaves l ON l.tenant_id = $1 AND l.journey_id = d.journey_id AND l.n = d.n
		WHERE d.tenant_id = $1 AND d.journey_id = $2 AND ($3 = 0 OR d.n = $3) ORDER BY d.n DESC LIMIT 1`,
		tx.Tenant, journey, n).Scan(append(fields, &hash, &salt, &number, &position)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, leaf, nil, 0, 0, pricing.ErrNotFound.Because(nil, "%s/%d", journey, n)
	}
	if err != nil {
		return r, leaf, nil, 0, 0, err
	}
	copy(leaf[:], hash)
	return r, leaf, salt, number, position, done()
}

// batchOf completes a file with its batch, and gives the batch's leaves.
func batchOf(ctx context.Context, tx *pg.Tx, number int64, f *File) ([]Hash, error) {
	var root []byte
	var kid int
	b := Batch{Tenant: tx.Tenant, Number: number}
	if err := tx.QueryRow(ctx, `SELECT size, root, sealed_at, kid, signature FROM explanation_batches WHERE tenant_id = $1 AND number = $2`, tx.Tenant, number).
		Scan(&b.Size, &root, &b.SealedAt, &kid, &f.Signature); err != nil {
		return nil, err
	}
	b.Root, b.SealedAt, b.Key = hex.EncodeToString(root), b.SealedAt.UTC(), uint8(kid)
	f.Batch = b
	rows, err := tx.Query(ctx, `SELECT leaf FROM explanation_leaves WHERE tenant_id = $1 AND number = $2 ORDER BY position`, tx.Tenant, number)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (h Hash, err error) {
		var raw []byte
		err = row.Scan(&raw)
		copy(h[:], raw)
		return h, err
	})
}
