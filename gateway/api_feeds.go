package gateway

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// feedsAPI is the edge's way to providers' lists.
func (g *Gateway) feedsAPI() edge.ProviderFeeds {
	return edge.ProviderFeeds{Feeds: g.ProviderFeeds, Keys: g.ProviderKeys, Take: g.TakeProviderKeys, Pushes: g.DenialPushes}
}

// ProviderFeeds tells how a tenant's lists of providers stand.
func (g *Gateway) ProviderFeeds(ctx context.Context, tenant citygate.TenantID) (views []edge.ProviderFeed, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		contracts, err := collect.Contracts(ctx, tx)
		if err != nil {
			return err
		}
		followed := map[string]adapters.Following{}
		for _, c := range contracts {
			followed[c.Name], _ = adapters.FollowingOf(c.Adapter, c.Config) // what cannot be read is not followed
		}
		found, err := collect.Feeds(ctx, tx)
		views = make([]edge.ProviderFeed, len(found))
		for i, f := range found {
			following := followed[f.Contract]
			every := following.Deny
			v := edge.ProviderFeed{Contract: f.Contract, Feed: f.Feed, DueAt: f.DueAt.UTC(), ReadAt: unlessZero(f.PulledAt), Items: f.Items,
				Failures: f.Failures, FailedAt: unlessZero(f.FailedAt), Error: f.Error, Carried: f.Carried, LetThrough: f.LetThrough}
			if f.Feed == collect.FeedKeys {
				every, v.Scheme = following.Keys, following.Scheme
			}
			if every > 0 {
				v.Every = every.String()
			}
			views[i] = v
		}
		return err
	})
	return views, err
}

// ProviderKeys gives the keys of a provider's own codes, in force and former.
func (g *Gateway) ProviderKeys(ctx context.Context, tenant citygate.TenantID, contract string) (views []edge.ProviderKey, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if err := collect.HasContract(ctx, tx, contract); err != nil {
			return collect.ErrNoKeyList.Explain("contract %q", contract)
		}
		held, err := collect.ListedKeys(ctx, tx, contract, time.Time{})
		views = make([]edge.ProviderKey, len(held))
		for i, k := range held {
			views[i] = edge.ProviderKey{ID: k.ID, Key: k.Material, State: "in_force", Since: k.Since.UTC(), Missed: unlessZero(k.Missed), Until: unlessZero(k.Until)}
			switch {
			case !k.InForce():
				views[i].State = "former"
			case !k.Missed.IsZero():
				views[i].State = "missed"
			}
		}
		return err
	})
	return views, err
}

// TakeProviderKeys has a provider's next list of keys taken as it is.
func (g *Gateway) TakeProviderKeys(ctx context.Context, actor string, tenant citygate.TenantID, contract, reason string) error {
	if err := g.may(ctx, tenant, tenants.Configuring); err != nil {
		return err
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return collect.LetKeysThrough(ctx, tx, actor, contract, reason) })
}

// unlessZero is a time for people, nil if it never was.
func unlessZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
