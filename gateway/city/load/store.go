package load

import (
	"context"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Durability is what the server says of itself.
type Durability struct {
	Fsync             string `json:"fsync"`
	SynchronousCommit string `json:"synchronous_commit"`
}

// Durability asks the server how it keeps what it has acknowledged, in a session
// of the gateway's own.
func (o *Operator) Durability(ctx context.Context) (d Durability, err error) {
	err = o.Gateway.DB.InSystem(ctx, func(tx *pg.Tx) error {
		if err := tx.QueryRow(ctx, `SHOW fsync`).Scan(&d.Fsync); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SHOW synchronous_commit`).Scan(&d.SynchronousCommit)
	})
	return d, err
}

// Progress is how far the taps have come, as rows say.
type Progress struct {
	Recorded int64 // accepted taps
	Decided  int64 // of them, those with a decision
	Posted   int64 // transfers
}

// Backlog is the number of recorded taps that wait for their price.
func (p Progress) Backlog() int64 { return p.Recorded - p.Decided }

// Progress counts rows. On this operator every accepted tap is a journey of its
// own and has one decision.
func (o *Operator) Progress(ctx context.Context) (p Progress, err error) {
	err = o.Gateway.DB.InTenant(ctx, Tenant, func(tx *pg.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM fare_decisions WHERE tenant_id = $1), (SELECT count(*) FROM transfers WHERE tenant_id = $1),
			       (SELECT count(*) FROM taps WHERE tenant_id = $1 AND accepted)`, tx.Tenant).Scan(&p.Decided, &p.Posted, &p.Recorded)
	})
	return p, err
}

// Totals are what became of the operator's taps, as rows say. Amounts are minor
// units.
type Totals struct {
	Decisions  int64 `json:"decisions"`
	Charges    int64 `json:"charges"` // that succeeded
	Collected  int64 `json:"collected"`
	Fees       int64 `json:"fees"`
	Matched    int64 `json:"matched"`
	Exceptions int64 `json:"exceptions"`
	Payouts    int64 `json:"payouts"`
	Paid       int64 `json:"paid"`
}

// Totals counts rows.
func (o *Operator) Totals(ctx context.Context) (t Totals, err error) {
	err = o.Gateway.DB.InTenant(ctx, Tenant, func(tx *pg.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM fare_decisions WHERE tenant_id = $1 AND known),
			       c.n, c.amount, c.fee,
			       (SELECT count(*) FROM recon_items WHERE tenant_id = $1 AND kind = 'matched'),
			       (SELECT count(*) FROM recon_items WHERE tenant_id = $1 AND kind <> 'matched'),
			       p.n, p.amount
			FROM (SELECT count(*) AS n, coalesce(sum(amount), 0)::bigint AS amount, coalesce(sum(fee), 0)::bigint AS fee
			      FROM charges WHERE tenant_id = $1 AND state = 'succeeded') AS c,
			     (SELECT count(*) AS n, coalesce(sum(amount), 0)::bigint AS amount FROM payouts WHERE tenant_id = $1) AS p`, tx.Tenant).
			Scan(&t.Decisions, &t.Charges, &t.Collected, &t.Fees, &t.Matched, &t.Exceptions, &t.Payouts, &t.Paid)
	})
	return t, err
}

// A received names a tap by its identity in the operator's books.
type received struct {
	terminal uint32
	seq      uint64
}

// received gives every tap the gateway has ever taken in, accepted or not, with
// what stands in its row.
func (o *Operator) received(ctx context.Context) (map[received]said, error) {
	out := map[received]said{}
	err := o.Gateway.DB.InTenant(ctx, Tenant, func(tx *pg.Tx) error {
		clear(out)
		rows, err := tx.Query(ctx, `SELECT terminal, seq, accepted, reason FROM tap_seen WHERE tenant_id = $1`, tx.Tenant)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var terminal, seq int64
			var accepted bool
			var reason string
			if err := rows.Scan(&terminal, &seq, &accepted, &reason); err != nil {
				return err
			}
			out[received{uint32(terminal), uint64(seq)}] = said{accepted, code.Reason(reason)}
		}
		return rows.Err()
	})
	return out, err
}
