package audit

import (
	"context"
	"errors"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The bounds of one call of [Sealer.Seal].
const (
	batchMax   = 500 // rows in one transaction
	batchesMax = 20
)

// triesMax is how often a checkpoint is made anew when another instance was faster.
const triesMax = 3

// A Sealer chains and seals logs. It is safe for concurrent use, and by several
// processes on one database.
type Sealer struct {
	DB   *pg.DB
	Ring *keys.Ring
}

// A Job asks for logs to be sealed.
type Job struct {
	Tenants []citygate.TenantID `json:"tenants"` // 0 = the platform
}

// Kind implements [pg.Job].
func (Job) Kind() string { return "audit.seal" }

// Run does a [Job]: a log that cannot be sealed keeps no other from it. It gives
// the logs that have more rows than one call takes.
func (s *Sealer) Run(ctx context.Context, j Job) (unfinished []citygate.TenantID, err error) {
	for _, tenant := range j.Tenants {
		more, sealErr := s.Seal(ctx, tenant)
		err = errors.Join(err, sealErr)
		if more {
			unfinished = append(unfinished, tenant)
		}
	}
	return unfinished, err
}

// Seal gives the rows of a log that wait their links, up to 10,000 a call, and
// seals the chain. A log with nothing to do costs one query. The same call again,
// or two at once, change nothing more.
func (s *Sealer) Seal(ctx context.Context, tenant citygate.TenantID) (more bool, err error) {
	var unchained, unsealed bool
	err = in(ctx, s.DB, tenant, func(tx *pg.Tx) (err error) {
		unchained, unsealed, err = work(ctx, tx)
		return err
	})
	if err != nil || !unchained && !unsealed {
		return false, err
	}
	for n := 0; unchained && n < batchesMax; n++ {
		if unchained, err = s.chain(ctx, tenant); err != nil {
			return false, err
		}
	}
	return unchained, s.checkpoint(ctx, tenant)
}

// chain gives one batch of rows their links and reports whether it was full.
func (s *Sealer) chain(ctx context.Context, tenant citygate.TenantID) (full bool, err error) {
	err = in(ctx, s.DB, tenant, func(tx *pg.Tx) error {
		last, err := lockHead(ctx, tx)
		if err != nil {
			return err
		}
		waiting, err := rows(ctx, tx, selectWaiting, tx.Tenant, batchMax)
		full = len(waiting) == batchMax
		if err != nil || len(waiting) == 0 {
			return err
		}
		if err := connect(waiting, last); err != nil {
			return err
		}
		return store(ctx, tx, waiting)
	})
	return full && err == nil, err
}

// connect numbers and hashes rows behind last.
func connect(rows []Row, last link) (err error) {
	for i := range rows {
		r := &rows[i]
		r.Seq, r.Prev = last.seq+1, last.hash
		if r.Hash, err = r.Sum(); err != nil {
			return err
		}
		last = link{r.Seq, r.Hash}
	}
	return nil
}

// checkpoint seals the chain as far as it goes. The key may be a network away, so
// nothing is locked while it signs: a checkpoint that another instance made
// meanwhile wins.
func (s *Sealer) checkpoint(ctx context.Context, tenant citygate.TenantID) error {
	for range triesMax {
		c, due, err := s.next(ctx, tenant)
		if err != nil || !due {
			return err
		}
		if err := s.sign(ctx, &c); err != nil {
			return err
		}
		added := false
		err = in(ctx, s.DB, tenant, func(tx *pg.Tx) (err error) {
			added, err = add(ctx, tx, c)
			return err
		})
		if err != nil || added {
			return err
		}
	}
	return nil // others are sealing this log
}

// next gives the checkpoint to make, if the chain goes further than the last one.
func (s *Sealer) next(ctx context.Context, tenant citygate.TenantID) (c Checkpoint, due bool, err error) {
	err = in(ctx, s.DB, tenant, func(tx *pg.Tx) error {
		due = false
		end, ok, err := head(ctx, tx, "")
		if err != nil || !ok || end.seq == 0 {
			return err
		}
		last, err := checkpoints(ctx, tx, lastCheckpoint)
		if err != nil {
			return err
		}
		c = Checkpoint{Tenant: tenant, N: 1, Seq: end.seq, Root: end.hash, At: tx.Now}
		if len(last) == 1 {
			c.N, c.Prev = last[0].N+1, last[0].Root
			due = end.seq > last[0].Seq
			return nil
		}
		due = true
		return nil
	})
	return c, due, err
}

// sign signs c with the log's audit key, and makes the key where there never was
// one: a tenant is audited from its first change on.
func (s *Sealer) sign(ctx context.Context, c *Checkpoint) error {
	kid, version, err := s.Ring.Active(ctx, c.Tenant, keys.Audit)
	if errors.Is(err, keys.ErrNotFound) {
		var made keys.Key
		made, err = s.Ring.Ensure(ctx, "system:audit", c.Tenant, keys.Audit, keys.Ed25519)
		kid, version = made.KeyID, made.Version
	}
	if err != nil {
		return err
	}
	c.KeyID = kid
	signatures, err := s.Ring.Signer().Sign(ctx, c.Tenant, keys.Audit, version, [][]byte{c.message()})
	if err != nil {
		return err
	}
	c.Signature = signatures[0].Bytes
	return signatures[0].Err
}
