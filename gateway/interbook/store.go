package interbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrUnhandled says that nobody was given for a message's kind.
var ErrUnhandled = &citygate.Code{Name: "interbook.unhandled", Kind: citygate.Internal, Title: "A message between tenants has no handler; it waits until there is one."}

// ErrSelf refuses a message to the tenant that sends it.
var ErrSelf = &citygate.Code{Name: "interbook.self", Kind: citygate.Internal, Title: "A tenant sends itself no messages; nothing was stored."}

// A CarryJob asks for a [Carry] of a tenant's outbox.
type CarryJob struct {
	Tenant citygate.TenantID `json:"tenant"`
}

// Kind implements [pg.Job].
func (CarryJob) Kind() string { return "interbook.carry" }

// A Handler takes one message in the receiver's transaction. It must not keep body.
type Handler func(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error

// Put stores a message to another tenant and asks for its delivery.
func Put(ctx context.Context, tx *pg.Tx, to citygate.TenantID, kind string, body any) error {
	if to == tx.Tenant || to == 0 {
		return ErrSelf.Because(nil, "%s from %d to %d", kind, tx.Tenant, to)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("interbook %s: %w", kind, err)
	}
	var position int64
	if err := tx.QueryRow(ctx, `
		INSERT INTO outbox_heads AS h (tenant_id, to_tenant, last_position) VALUES ($1, $2, 1)
		ON CONFLICT (tenant_id, to_tenant) DO UPDATE SET last_position = h.last_position + 1
		RETURNING last_position`, int64(tx.Tenant), int64(to)).Scan(&position); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO outbox (tenant_id, to_tenant, position, kind, body, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		int64(tx.Tenant), int64(to), position, kind, raw, tx.Now); err != nil {
		return err
	}
	return tx.Enqueue(ctx, CarryJob{tx.Tenant})
}

// carryBatch bounds the messages that are read at once.
const carryBatch = 50

// A message is one row of the outbox.
type message struct {
	to       citygate.TenantID
	position int64
	kind     string
	body     []byte
}

// Carry delivers what is in from's outbox, for each receiver in the order of
// sending, until nothing is left. It gives the errors of the receivers that did
// not take theirs.
func Carry(ctx context.Context, db *pg.DB, from citygate.TenantID, handlers map[string]Handler) error {
	var receivers []int64
	err := db.InTenant(ctx, from, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, `SELECT DISTINCT to_tenant FROM outbox WHERE tenant_id = $1 AND delivered_at IS NULL ORDER BY to_tenant`, int64(from))
		if err != nil {
			return err
		}
		receivers, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, to := range receivers {
		if err := carryTo(ctx, db, from, citygate.TenantID(to), handlers); err != nil {
			failed = append(failed, fmt.Errorf("interbook from %d to %d: %w", from, to, err))
		}
	}
	return errors.Join(failed...)
}

func carryTo(ctx context.Context, db *pg.DB, from, to citygate.TenantID, handlers map[string]Handler) error {
	for more := true; more; {
		batch, err := undelivered(ctx, db, from, to)
		if err != nil || len(batch) == 0 {
			return err
		}
		more = len(batch) == carryBatch // what is put from now on has a job of its own
		taken := 0
		var failure error
		for _, m := range batch {
			if failure = deliver(ctx, db, from, m, handlers); failure != nil {
				break
			}
			taken++
		}
		if taken > 0 {
			if err := markDelivered(ctx, db, from, to, batch[0].position, batch[taken-1].position); err != nil {
				return errors.Join(failure, err)
			}
		}
		if failure != nil {
			return failure
		}
	}
	return nil
}

func undelivered(ctx context.Context, db *pg.DB, from, to citygate.TenantID) ([]message, error) {
	var batch []message
	err := db.InTenant(ctx, from, func(tx *pg.Tx) error {
		batch = batch[:0]
		rows, err := tx.Query(ctx, `
			SELECT position, kind, body FROM outbox
			WHERE tenant_id = $1 AND to_tenant = $2 AND delivered_at IS NULL ORDER BY position LIMIT $3`,
			int64(from), int64(to), carryBatch)
		if err != nil {
			return err
		}
		m := message{to: to}
		_, err = pgx.ForEachRow(rows, []any{&m.position, &m.kind, &m.body}, func() error {
			batch = append(batch, m)
			m.body = nil
			return nil
		})
		return err
	})
	return batch, err
}

// deliver runs the handler unless the receiver has the message already.
func deliver(ctx context.Context, db *pg.DB, from citygate.TenantID, m message, handlers map[string]Handler) error {
	handle, ok := handlers[m.kind]
	if !ok {
		return ErrUnhandled.Because(nil, "%q, position %d", m.kind, m.position)
	}
	return db.InTenant(ctx, m.to, func(tx *pg.Tx) error {
		tag, err := tx.Exec(ctx, `
			INSERT INTO inbox (tenant_id, from_tenant, position, kind, received_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (tenant_id, from_tenant, position) DO NOTHING`,
			int64(m.to), int64(from), m.position, m.kind, tx.Now)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		if err := handle(ctx, tx, from, m.body); err != nil {
			return fmt.Errorf("%s, position %d: %w", m.kind, m.position, err)
		}
		return nil
	})
}

func markDelivered(ctx context.Context, db *pg.DB, from, to citygate.TenantID, first, last int64) error {
	return db.InTenant(ctx, from, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE outbox SET delivered_at = $5
			WHERE tenant_id = $1 AND to_tenant = $2 AND position BETWEEN $3 AND $4 AND delivered_at IS NULL`,
			int64(from), int64(to), first, last, tx.Now)
		return err
	})
}

// Undelivered counts what is still in the tenant's outbox.
func Undelivered(ctx context.Context, tx *pg.Tx) (int, error) {
	var n int
	err := tx.QueryRow(ctx, `SELECT count(*) FROM outbox WHERE tenant_id = $1 AND delivered_at IS NULL`, int64(tx.Tenant)).Scan(&n)
	return n, err
}
