package collect

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// HandleSightings is the handler of sightings messages.
func (c *Collector) HandleSightings(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var m interbook.Sightings
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("sightings: %w", err)
	}
	return c.TakeSightings(ctx, tx, from, m.Items)
}

// TakeSightings takes what operator found of copied credentials of the
// transaction's tenant. Both codes are verified under our own keys, so that no
// operator can have an honest rider denied: only who holds the device key can
// make two codes of one display that differ. What they do not prove is left
// alone. What they do is kept as evidence, and the credential is denied.
func (c *Collector) TakeSightings(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, items []interbook.Sighting) error {
	if len(items) == 0 {
		return nil
	}
	raw := make([][]byte, 0, 2*len(items))
	for i := range items {
		raw = append(raw, items[i].First.Evidence, items[i].Second.Evidence)
	}
	proofs, err := c.Prove(ctx, tx, raw)
	if err != nil {
		return err
	}
	if len(proofs) != len(raw) {
		return fmt.Errorf("collect: %d proofs for %d codes", len(proofs), len(raw))
	}
	var copied []citygate.Rider
	for i := range items {
		s := &items[i]
		if !provesCopy(s, proofs[2*i], proofs[2*i+1]) {
			continue
		}
		copied = append(copied, s.Rider)
		for _, t := range []*interbook.ClaimTap{&s.First, &s.Second} {
			if err := keepConflict(ctx, tx, operator, s.Rider, nil, t, code.Clone); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(copied, citygate.Rider.Compare)
	if copied, err = c.issued(ctx, tx, slices.Compact(copied)); err != nil || len(copied) == 0 {
		return err
	}
	return c.Accounts.DenyRiders(ctx, tx, copied, DenyClone)
}

// provesCopy reports whether two codes are of one display of one credential of
// ours and yet not the same.
func provesCopy(s *interbook.Sighting, first, second Proof) bool {
	use := code.Use{Rider: s.Rider, Counter: s.First.Counter}
	return first.Reason == "" && second.Reason == "" && first.Use == use && second.Use == use && s.Second.Counter == s.First.Counter &&
		!bytes.Equal(s.First.Evidence, s.Second.Evidence)
}

// issued keeps the riders to whom something was issued.
func (c *Collector) issued(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) ([]citygate.Rider, error) {
	if len(riders) == 0 {
		return nil, nil
	}
	known, err := c.Accounts.AccountsOf(ctx, tx, riders)
	return slices.DeleteFunc(riders, func(r citygate.Rider) bool { _, ok := known[r]; return !ok }), err
}
