package credential

import (
	"bytes"
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// publishTries bounds how often PublishLists starts again because another
// publisher was faster.
const publishTries = 5

// PublishLists signs and stores a new snapshot of every live list of the tenant
// whose content changed since the last one, or whose last one is half-way
// through its validity. It gives the snapshots it published; running it again
// publishes nothing.
func (r *Registry) PublishLists(ctx context.Context, tenant citygate.TenantID) ([]*denylist.List, error) {
	issuer, err := r.issuer(ctx, tenant)
	if err != nil {
		return nil, err
	}
	var published []*denylist.List
	for range publishTries {
		var due []*denylist.List
		err := r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			lists, err := readLists(ctx, tx, issuer, r.ListValidity)
			if err != nil {
				return err
			}
			due, err = changed(lists, tx.Now, r.ListValidity)
			return err
		})
		if err != nil || len(due) == 0 {
			return published, err
		}
		if err := r.signLists(ctx, tenant, due); err != nil {
			return published, err
		}
		var stored []*denylist.List
		err = r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			stored = stored[:0]
			for _, l := range due {
				fresh, err := storeSnapshot(ctx, tx, l)
				if err != nil {
					return err
				}
				if fresh {
					stored = append(stored, l)
				}
			}
			return nil
		})
		if err != nil {
			return published, err
		}
		published = append(published, stored...)
		if len(stored) == len(due) {
			return published, nil
		}
		// A sequence number was taken: what took it may have been read before
		// what we know. Look again.
	}
	return published, ErrBusy.Because(nil, "%d tries", publishTries)
}

// changed builds the lists that say something new or must be said again.
func changed(lists []snapshot, now time.Time, validity time.Duration) ([]*denylist.List, error) {
	var due []*denylist.List
	for _, s := range lists {
		l, err := denylist.Build(s.header, s.denied)
		if err != nil {
			return nil, err
		}
		hash := l.Hash()
		if !bytes.Equal(hash[:], s.hash) || !now.Before(s.builtAt.Add(validity/2)) {
			due = append(due, l)
		}
	}
	return due, nil
}

// signLists replaces each list by its signed form.
func (r *Registry) signLists(ctx context.Context, tenant citygate.TenantID, lists []*denylist.List) error {
	kid, version, err := r.Ring.Active(ctx, tenant, keys.DenyList)
	if err != nil {
		return err
	}
	for i, l := range lists {
		lists[i], err = l.Sign(kid, func(msg []byte) ([]byte, error) {
			signatures, err := r.Ring.Signer().Sign(ctx, tenant, keys.DenyList, version, [][]byte{msg})
			if err != nil {
				return nil, err
			}
			return signatures[0].Bytes, signatures[0].Err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// issuedStep is what the count of issued credentials on a list is rounded up
// to: a list does not tell how many were issued since the last one.
const issuedStep = 256

func roundUp(issued uint32) uint32 {
	if issued > 1<<32-1-issuedStep {
		return 1<<32 - 1
	}
	return (issued + issuedStep - 1) / issuedStep * issuedStep
}
