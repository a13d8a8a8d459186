package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// providerList is the reason of deny entries that come of a provider's own list.
const providerList = credential.ProviderList

// feedActor writes them, and takes providers' keys.
const feedActor = "system:provider_list"

// ErrFeed says that a contract's configuration asks for a list that its provider has
// not got.
var ErrFeed = &citygate.Code{Name: "gateway.feed", Kind: citygate.Invalid,
	Title: "The contract follows a list that its provider has not got. Take deny_every or keys_every out of the contract."}

// followLists reads the lists of providers that contracts follow, where one is due: of
// riders whom the provider refuses, and of the keys of its own codes. A list that
// cannot be read changes nothing and is asked for again; half a list would let refused
// riders through or keep keys that were withdrawn, so adapters give none.
func (g *Gateway) followLists(ctx context.Context, tenant citygate.TenantID) error {
	contracts, err := g.contracts(ctx, tenant)
	if err != nil {
		return err
	}
	var failed error
	for _, c := range contracts {
		f, err := adapters.FollowingOf(c.Adapter, c.Config)
		if err == nil && c.State == "active" {
			err = g.followThose(ctx, tenant, c, f)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("contract %s: %w", c.Name, err))
		}
	}
	return failed
}

// followThose reads what is due of a contract's lists beside the job, one after
// another. A list that fails does not keep the other from being read.
func (g *Gateway) followThose(ctx context.Context, tenant citygate.TenantID, c collect.Contract, f adapters.Following) error {
	if f.Deny == 0 && f.Keys == 0 {
		return nil
	}
	var deny, keys, waits bool
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		deny, keys, waits = false, false, false
		if f.Deny > 0 {
			if deny, err = collect.FeedDue(ctx, tx, c.Name, collect.FeedDeny); err != nil {
				return err
			}
		}
		if f.Keys > 0 {
			if keys, err = collect.FeedDue(ctx, tx, c.Name, collect.FeedKeys); err != nil {
				return err
			}
			waits, err = collect.FeedUncarried(ctx, tx, c.Name)
		}
		return err
	})
	if err != nil || !deny && !keys && !waits {
		return err
	}
	return g.bulkhead.Do(ctx, collect.TaskLists, tenant, c.Name, func(ctx context.Context) (failed error) {
		if deny {
			failed = g.readList(ctx, tenant, c, f.Deny)
		}
		if keys {
			failed = errors.Join(failed, g.readKeys(ctx, tenant, c, f))
		}
		if keys || waits {
			failed = errors.Join(failed, g.carryKeys(ctx, tenant, c, f))
		}
		return failed
	})
}

// readList has the riders on a provider's list denied: they cannot pay, so validators
// learn it.
func (g *Gateway) readList(ctx context.Context, tenant citygate.TenantID, c collect.Contract, every time.Duration) error {
	p, err := g.provider(ctx, tenant, c)
	if err != nil {
		return err
	}
	feed, ok := p.DenyFeed()
	if !ok {
		return ErrFeed.Explain("contract %s: %s has no list of riders", c.Name, c.Adapter)
	}
	riders, pullErr := feed.PullDeny(ctx)
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if pullErr != nil {
			return collect.FeedFailed(ctx, tx, c.Name, collect.FeedDeny, pullErr)
		}
		if err := credential.Mirror(ctx, tx, feedActor, providerList, c.Name, riders); err != nil {
			return err
		}
		return collect.FeedPulled(ctx, tx, c.Name, collect.FeedDeny, len(riders), every)
	})
	if pullErr != nil {
		g.Log.WarnContext(ctx, "a provider's list of refused riders could not be read", "tenant", tenant, "contract", c.Name, "error", pullErr)
	}
	return err
}
