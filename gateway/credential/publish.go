package credential

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// publishTries bounds how often PublishLists starts again because another
// publisher was faster.
const publishTries = 5

// DeltasKept is for how many publications of a list its deltas and snapshots
// stay: whoever was told a name fetches it within that.
const DeltasKept = 64

// skips are the ages of what deltas start from besides the last publications: a
// vehicle that was away for up to a week needs one object.
var skips = []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour, 3 * 24 * time.Hour, 7 * 24 * time.Hour}

// A publication is the next version of a list with the deltas that lead to it.
type publication struct {
	list    *denylist.List
	deltas  []*denylist.Delta
	changed []uint32 // against the version before, ascending
	oldest  uint32   // version that the longest delta starts from, made or not
}

// PublishLists signs and stores a new version of every live list of the tenant
// whose content changed since the last one, or whose last one is half-way through
// its validity: a snapshot, and deltas from the versions before. Then it says by a
// heartbeat that there is nothing newer, unless it said so a short while ago. It
// gives the lists it published; running it again publishes nothing.
func (r *Registry) PublishLists(ctx context.Context, tenant citygate.TenantID) ([]*denylist.List, error) {
	issuer, err := r.issuer(ctx, tenant)
	if err != nil {
		return nil, err
	}
	var published []*denylist.List
	for range publishTries {
		var state listState
		err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			state, err = readState(ctx, tx, issuer, r.ListValidity)
			return err
		})
		if err != nil {
			return published, err
		}
		due, err := state.due(r.ListValidity)
		if err != nil {
			return published, err
		}
		if len(due) > 0 {
			if err := r.signLists(ctx, tenant, due); err != nil {
				return published, err
			}
		}
		stored, err := r.storeLists(ctx, tenant, state, due)
		if err != nil {
			return published, err
		}
		published = append(published, stored...)
		if len(stored) == len(due) {
			return published, r.beat(ctx, tenant, issuer, len(published) > 0)
		}
		// A sequence number was taken: what took it may have been read before
		// what we know. Look again.
	}
	return published, ErrBusy.Because(nil, "%d tries", publishTries)
}

// due makes the versions that say something new or must be said again.
func (s *listState) due(validity time.Duration) ([]*publication, error) {
	var due []*publication
	for _, x := range s.lists {
		if !x.read {
			continue
		}
		l, err := denylist.Build(x.header, x.denied)
		if err != nil {
			return nil, err
		}
		if hash := l.Hash(); bytes.Equal(hash[:], x.hash) && s.now.Before(x.builtAt.Add(validity/2)) {
			continue
		}
		p := &publication{list: l, oldest: x.oldest}
		if x.last != nil {
			if err := p.makeDeltas(x, s.now); err != nil {
				return nil, err
			}
		}
		due = append(due, p)
	}
	return due, nil
}

// makeDeltas makes the deltas that lead to the new version from the versions
// before: from the last one, the last but one, the fourth and so on to the 64th,
// and from those that were the newest an hour to a week ago. A delta that is no
// smaller than the list itself helps nobody.
func (p *publication) makeDeltas(x *listRow, now time.Time) error {
	adds, removes := denylist.Changes(x.last, p.list)
	p.changed = append(adds, removes...)
	slices.Sort(p.changed)
	since := make(map[uint32]uint32, len(x.changes)+len(p.changed)) // index -> publication that changed it last
	maps.Copy(since, x.changes)
	for _, idx := range p.changed {
		since[idx] = p.list.Seq
	}
	for _, from := range x.starts(now) {
		var changed []uint32
		for idx, seq := range since {
			if seq > from {
				changed = append(changed, idx)
			}
		}
		if len(changed) > denylist.ChangesMax {
			break // those before have more
		}
		slices.Sort(changed)
		d, err := p.list.To(from, changed)
		if err != nil {
			return err
		}
		p.deltas = append(p.deltas, d)
	}
	return nil
}

// starts gives the sequence numbers deltas start from, latest first.
func (x *listRow) starts(now time.Time) []uint32 {
	last := x.header.Seq - 1
	set := map[uint32]bool{}
	for back := uint32(0); back < DeltasKept && back < last; back = 2*back + 1 { // 1, 2, 4 ... 64 before the new one
		set[last-back] = true
	}
	for _, age := range skips {
		// Publications ascend; the newest that was there at that time.
		i, _ := slices.BinarySearchFunc(x.past, now.Add(-age), func(p past, t time.Time) int { return p.builtAt.Compare(t.Add(time.Nanosecond)) })
		if i > 0 {
			set[x.past[i-1].seq] = true
		} else if len(x.past) > 0 {
			set[x.past[0].seq] = true
		}
	}
	return slices.SortedFunc(maps.Keys(set), func(a, b uint32) int { return int(int64(b) - int64(a)) })
}

// signLists replaces each list and delta by its signed form.
func (r *Registry) signLists(ctx context.Context, tenant citygate.TenantID, due []*publication) error {
	kid, sign, err := r.listSigner(ctx, tenant)
	if err != nil {
		return err
	}
	for _, p := range due {
		if p.list, err = p.list.Sign(kid, sign); err != nil {
			return err
		}
		for i, d := range p.deltas {
			if p.deltas[i], err = d.Sign(kid, sign); err != nil {
				return err
			}
		}
		p.deltas = slices.DeleteFunc(p.deltas, func(d *denylist.Delta) bool { return len(d.Bytes()) >= len(p.list.Bytes()) })
	}
	return nil
}

// listSigner gives the tenant's active key for deny lists and heartbeats.
func (r *Registry) listSigner(ctx context.Context, tenant citygate.TenantID) (kid uint8, sign func([]byte) ([]byte, error), err error) {
	kid, version, err := r.Ring.Active(ctx, tenant, keys.DenyList)
	if err != nil {
		return 0, nil, err
	}
	return kid, func(msg []byte) ([]byte, error) {
		signatures, err := r.Ring.Signer().Sign(ctx, tenant, keys.DenyList, version, [][]byte{msg})
		if err != nil {
			return nil, err
		}
		return signatures[0].Bytes, signatures[0].Err
	}, nil
}

// storeLists stores what was signed and gives what nobody was faster with. When
// that is all of it, the entries that were read are published.
func (r *Registry) storeLists(ctx context.Context, tenant citygate.TenantID, state listState, due []*publication) ([]*denylist.List, error) {
	if len(due) == 0 && !state.changed() {
		return nil, nil
	}
	var stored []*denylist.List
	err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		stored = stored[:0]
		for _, p := range due {
			fresh, err := p.store(ctx, tx)
			if err != nil {
				return err
			}
			if fresh {
				stored = append(stored, p.list)
			}
		}
		if len(stored) < len(due) {
			return nil
		}
		return state.announce(ctx, tx)
	})
	return stored, err
}

// beat signs and stores a heartbeat if the last one is old or a list is new.
// Whatever keeps lists from being published keeps heartbeats too: they come after.
func (r *Registry) beat(ctx context.Context, tenant citygate.TenantID, issuer citygate.Issuer, isNew bool) error {
	var h *denylist.Heartbeat
	err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		h = nil
		last, err := lastBeat(ctx, tx)
		if err != nil || !isNew && tx.Now.Before(last.Add(r.HeartbeatEvery)) {
			return err
		}
		h = &denylist.Heartbeat{Issuer: issuer, At: tx.Now.Unix(), ValidUntil: tx.Now.Add(r.ListValidity).Unix()}
		if h.Beats, err = heads(ctx, tx); err != nil {
			return err
		}
		h.Blocks, err = blocksFor(ctx, tx, h.Beats)
		return err
	})
	if err != nil || h == nil || len(h.Beats) == 0 {
		return err
	}
	kid, sign, err := r.listSigner(ctx, tenant)
	if err != nil {
		return err
	}
	if h, err = h.Sign(kid, sign); err != nil {
		return err
	}
	return r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return storeBeat(ctx, tx, h) })
}
