package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// providerList is the reason of deny entries that come of a provider's own list.
const providerList = "provider_list"

// feedActor writes them.
const feedActor = "system:provider_list"

// ErrFeed says that a contract's configuration asks for a list that cannot be
// followed.
var ErrFeed = &citygate.Code{Name: "gateway.feed", Kind: citygate.Invalid,
	Title: "The contract's deny_every is not a time of at least one minute. Correct the contract."}

const feedLeast = time.Minute

// feeds says which lists of the provider a contract follows; every product's
// configuration may say so.
type feeds struct {
	DenyEvery string `json:"deny_every"` // such as "1h"; "" = not followed
}

// denyEvery says how often a contract's list is read, 0 for never.
func denyEvery(c collect.Contract) (time.Duration, error) {
	var f feeds
	if err := json.Unmarshal(c.Config, &f); err != nil || f.DenyEvery == "" {
		return 0, nil // what else is wrong with it the adapter says
	}
	every, err := time.ParseDuration(f.DenyEvery)
	if err != nil || every < feedLeast {
		return 0, ErrFeed.Explain("contract %s: %q", c.Name, f.DenyEvery)
	}
	return every, nil
}

// followLists reads the lists of riders whom providers refuse, where a contract
// follows one and it is due, and denies what is on them: the riders cannot pay, so
// validators learn it. A list that cannot be read changes nothing and is asked for
// again; half a list would let refused riders through, so adapters give none.
func (g *Gateway) followLists(ctx context.Context, tenant citygate.TenantID) error {
	contracts, err := g.contracts(ctx, tenant)
	if err != nil {
		return err
	}
	var failed error
	for _, c := range contracts {
		every, err := denyEvery(c)
		if err == nil && every > 0 && c.State == "active" {
			err = g.followList(ctx, tenant, c, every)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("contract %s: %w", c.Name, err))
		}
	}
	return failed
}

func (g *Gateway) followList(ctx context.Context, tenant citygate.TenantID, c collect.Contract, every time.Duration) error {
	var due bool
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		due, err = collect.FeedDue(ctx, tx, c.Name, collect.FeedDeny)
		return err
	})
	if err != nil || !due {
		return err
	}
	return g.bulkhead.Do(ctx, collect.TaskLists, tenant, c.Name, func(ctx context.Context) error { return g.readList(ctx, tenant, c, every) })
}

func (g *Gateway) readList(ctx context.Context, tenant citygate.TenantID, c collect.Contract, every time.Duration) error {
	p, err := g.provider(ctx, tenant, c)
	if err != nil {
		return err
	}
	feed, ok := p.DenyFeed()
	if !ok {
		return ErrFeed.Explain("contract %s: %s has no list", c.Name, c.Adapter)
	}
	riders, pullErr := feed.PullDeny(ctx)
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if pullErr != nil {
			return collect.FeedFailed(ctx, tx, c.Name, collect.FeedDeny)
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
