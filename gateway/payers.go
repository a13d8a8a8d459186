package gateway

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// accounts gives collect the issuer's accounts. An account's natural key is
// what the provider calls the payer, under its contract.
type accounts struct {
	credential.Denier
	known *payers
}

func (a accounts) AccountsOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]collect.Account, error) {
	of := make(map[citygate.Rider]collect.Account, len(riders))
	asked := a.known.take(tx.Tenant, riders, of)
	if len(asked) == 0 {
		return of, nil
	}
	native := slices.DeleteFunc(slices.Clone(asked), citygate.Rider.Foreign)
	found, err := credential.AccountsOf(ctx, tx, native)
	if err != nil {
		return nil, err
	}
	if len(native) < len(asked) {
		others, err := foreign.AccountsOf(ctx, tx, slices.DeleteFunc(slices.Clone(asked), func(r citygate.Rider) bool { return !r.Foreign() }))
		if err != nil {
			return nil, err
		}
		maps.Copy(found, others)
	}
	for rider, account := range found {
		of[rider] = collect.Account{ID: account.ID, Key: account.Contract + "/" + account.RiderRef, Contract: account.Contract, PayerRef: account.RiderRef}
	}
	a.known.keep(tx.Tenant, asked, of)
	return of, nil
}

// payersMax bounds each of the two generations of payers: about 15 MB each.
const payersMax = 1 << 16

// payers remembers who pays for riders. What it holds never changes: a
// credential keeps its account once it is issued, and an account its contract
// and its name for the payer; the gateway's role has no right to update any of
// them. So nothing has to be told to it. That nothing was issued to a rider may
// change and is not kept. It is safe for concurrent use.
type payers struct {
	mu         sync.Mutex
	young, old map[payerKey]collect.Account
}

type payerKey struct {
	tenant citygate.TenantID
	rider  citygate.Rider
}

// take puts what is known of a tenant's riders into of and gives the others.
func (p *payers) take(tenant citygate.TenantID, riders []citygate.Rider, of map[citygate.Rider]collect.Account) (unknown []citygate.Rider) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range riders {
		k := payerKey{tenant, r}
		account, ok := p.young[k]
		if !ok {
			if account, ok = p.old[k]; ok {
				p.put(k, account) // it is still asked for: it outlives its generation
			}
		}
		if ok {
			of[r] = account
		} else {
			unknown = append(unknown, r)
		}
	}
	return unknown
}

// keep remembers the accounts in of of a tenant's riders.
func (p *payers) keep(tenant citygate.TenantID, riders []citygate.Rider, of map[citygate.Rider]collect.Account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range riders {
		if account, ok := of[r]; ok {
			p.put(payerKey{tenant, r}, account)
		}
	}
}

func (p *payers) put(k payerKey, account collect.Account) {
	if p.young == nil || len(p.young) >= payersMax {
		p.young, p.old = make(map[payerKey]collect.Account), p.young
	}
	p.young[k] = account
}
