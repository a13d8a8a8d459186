package gateway

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// lateKeysFor is for how long taps are still verified by a provider's key that went out of
// force, also where its number stands for another key by then: a reader that was offline
// brings them late. Readers themselves lose it with the next bundle.
const lateKeysFor = 30 * 24 * time.Hour

// readKeys takes a provider's list of the keys of its own codes.
func (g *Gateway) readKeys(ctx context.Context, tenant citygate.TenantID, c collect.Contract, f adapters.Following) error {
	p, err := g.provider(ctx, tenant, c)
	if err != nil {
		return err
	}
	feed, ok := p.KeyFeed()
	if !ok {
		return ErrFeed.Explain("contract %s: %s has no list of keys", c.Name, c.Adapter)
	}
	var check func([]byte) error
	if plugin, ok := g.Foreign.Plugin(code.SchemeID(f.Scheme)); ok {
		check = plugin.Key
	}
	list, why := feed.PullKeys(ctx)
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if why != nil {
			return collect.FeedFailed(ctx, tx, c.Name, collect.FeedKeys, why)
		}
		_, refused, err := collect.TakeKeys(ctx, tx, feedActor, c.Name, list, check, f.Keys)
		if refused != nil {
			why = refused
		}
		return err
	})
	if why != nil {
		g.Log.WarnContext(ctx, "a provider's list of keys was not taken", "tenant", tenant, "contract", c.Name, "error", why)
	}
	return err
}

// carryKeys publishes the bundles that bring readers what a list of keys changed: those
// of the tenant and of the operators that it answers to for the scheme. That some are
// still to do is in a row, so a process that dies here does not keep readers from it.
func (g *Gateway) carryKeys(ctx context.Context, tenant citygate.TenantID, c collect.Contract, f adapters.Following) error {
	if err := g.hold(ctx); err != nil {
		return err
	}
	var waits bool
	var operators []citygate.TenantID
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if waits, err = collect.FeedUncarried(ctx, tx, c.Name); err != nil || !waits {
			return err
		}
		entries, err := foreign.Entries(ctx, tx)
		for _, e := range entries {
			if e.Scheme == code.SchemeID(f.Scheme) {
				operators = append([]citygate.TenantID{tenant}, e.Operators...)
			}
		}
		return err
	})
	if err != nil || !waits {
		return err
	}
	slices.Sort(operators)
	for _, operator := range slices.Compact(operators) {
		err = errors.Join(err, g.renewSchemes(ctx, feedActor, tenant, operator))
	}
	if err != nil {
		return err
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return collect.KeysCarried(ctx, tx, c.Name) })
}

// heldKeys are the keys that the lists of a tenant's providers hold, by scheme and in no
// bundle's way.
type heldKeys struct {
	// roots are those in force or out of it since then: where two lists name a key
	// alike, the first contract's counts, and of one name the key in force, else the
	// last.
	roots map[code.SchemeID][]bundle.ForeignRoot
	// former are those out of force since then, the last first, also under names that
	// have another key now.
	former map[code.SchemeID][]bundle.ForeignRoot
}

func listedRoots(ctx context.Context, tx *pg.Tx, since time.Time) (found heldKeys, err error) {
	contracts, err := collect.Contracts(ctx, tx)
	if err != nil {
		return found, err
	}
	found = heldKeys{map[code.SchemeID][]bundle.ForeignRoot{}, map[code.SchemeID][]bundle.ForeignRoot{}}
	for _, c := range contracts {
		f, err := adapters.FollowingOf(c.Adapter, c.Config)
		if err != nil || f.Keys == 0 {
			continue
		}
		held, err := collect.ListedKeys(ctx, tx, c.Name, since)
		if err != nil {
			return found, err
		}
		slices.SortStableFunc(held, func(a, b collect.ListedKey) int {
			switch {
			case a.InForce() == b.InForce():
				return b.Until.Compare(a.Until)
			case a.InForce():
				return -1
			}
			return 1
		})
		scheme := code.SchemeID(f.Scheme)
		for _, k := range held {
			root := bundle.ForeignRoot{Owner: f.Owner, List: f.List, Kind: f.Kind, ID: k.ID, Key: k.Material}
			found.roots[scheme] = addRoot(found.roots[scheme], root)
			if !k.InForce() {
				found.former[scheme] = append(found.former[scheme], root)
			}
		}
	}
	return found, nil
}

func sameName(a, b bundle.ForeignRoot) bool {
	return a.Owner == b.Owner && a.List == b.List && a.Kind == b.Kind && a.ID == b.ID
}

// addRoot adds a key unless the name is taken.
func addRoot(roots []bundle.ForeignRoot, r bundle.ForeignRoot) []bundle.ForeignRoot {
	if slices.ContainsFunc(roots, func(held bundle.ForeignRoot) bool { return sameName(held, r) }) {
		return roots
	}
	return append(roots, r)
}

// inForceOnly asks [listedRoots] for no key that went out of force.
func inForceOnly(tx *pg.Tx) time.Time { return tx.Now }

// withListed gives a tenant's entries of schemes with the keys in force of its
// providers' lists. A key that somebody put by hand goes before a list's.
func withListed(ctx context.Context, tx *pg.Tx, entries []bundle.Scheme) ([]bundle.Scheme, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	held, err := listedRoots(ctx, tx, inForceOnly(tx))
	if err != nil {
		return nil, err
	}
	for i := range entries {
		for _, r := range held.roots[entries[i].ID] {
			entries[i].Roots = addRoot(entries[i].Roots, r)
		}
		entries[i].Roots = entries[i].Roots[:min(len(entries[i].Roots), bundle.ForeignMax)]
		slices.SortFunc(entries[i].Roots, foreign.CompareRoots)
	}
	return entries, nil
}

// undisputed takes out of a bundle's entries keys of names under which another tenant
// brings another key: a bundle holds one. The first keeps the name, so the operator's
// own entries go first. No tenant's list stops another's bundle.
func undisputed(entries []bundle.Scheme) (kept []bundle.Scheme, disputed int) {
	named := map[code.KeyName][]byte{}
	for i := range entries {
		e := &entries[i]
		e.Roots = slices.DeleteFunc(e.Roots, func(r bundle.ForeignRoot) bool {
			name := code.KeyName{Scheme: e.ID, Owner: r.Owner, List: r.List, Kind: r.Kind, ID: r.ID}
			held, taken := named[name]
			if taken && !bytes.Equal(held, r.Key) {
				disputed++
				return true
			}
			named[name] = r.Key
			return false
		})
	}
	return entries, disputed
}

// A lateSource is a bundle's keys and those of providers' lists that it has lost since,
// for taps that readers bring late.
type lateSource struct {
	code.ForeignKeySource
	late map[code.KeyName][]byte
}

// ForeignKey implements [code.ForeignKeySource].
func (l *lateSource) ForeignKey(name code.KeyName) ([]byte, code.Reason) {
	key, reason := l.ForeignKeySource.ForeignKey(name)
	if reason == "" {
		return key, ""
	}
	if former, ok := l.late[name]; ok {
		return former, ""
	}
	return nil, reason
}

// A lateCache keeps, by the bundle, what a tenant's readers lost of providers' keys.
type lateCache struct {
	mu      sync.Mutex
	tenants map[citygate.TenantID]lateOf
}

type lateOf struct {
	bundle uint64
	keys   map[code.KeyName][]byte   // under names that the bundle has lost
	former map[code.KeyName][][]byte // under any name, the last first
}

// withLate adds to the keys of bundle b those that its issuers' lists have lost. A key
// goes out of force with a new bundle, so what is kept holds for one.
func (g *Gateway) withLate(ctx context.Context, tenant citygate.TenantID, b *bundle.Bundle, held code.ForeignKeySource) (code.ForeignKeySource, error) {
	if len(b.Schemes) == 0 {
		return held, nil
	}
	g.late.mu.Lock()
	known, ok := g.late.tenants[tenant]
	g.late.mu.Unlock()
	if !ok || known.bundle != b.Version() {
		known = lateOf{b.Version(), map[code.KeyName][]byte{}, map[code.KeyName][][]byte{}}
		for _, s := range b.Schemes {
			if err := g.lateOf(ctx, s, &known); err != nil {
				return nil, err
			}
		}
		g.late.mu.Lock()
		g.late.tenants = maps.Clone(g.late.tenants)
		if g.late.tenants == nil {
			g.late.tenants = map[citygate.TenantID]lateOf{}
		}
		g.late.tenants[tenant] = known
		g.late.mu.Unlock()
	}
	if len(known.keys) == 0 {
		return held, nil
	}
	return code.WithFormer(&lateSource{held, known.keys}, known.former), nil
}

func (g *Gateway) lateOf(ctx context.Context, s bundle.Scheme, into *lateOf) error {
	keys, former := map[code.KeyName][]byte{}, map[code.KeyName][][]byte{}
	err := g.DB.InTenant(ctx, s.Tenant, func(tx *pg.Tx) error {
		held, err := listedRoots(ctx, tx, tx.Now.Add(-lateKeysFor))
		clear(keys)
		clear(former)
		for _, r := range held.roots[s.ID] {
			keys[foreign.NameOf(s.ID, r)] = r.Key
		}
		for _, r := range held.former[s.ID] {
			former[foreign.NameOf(s.ID, r)] = append(former[foreign.NameOf(s.ID, r)], r.Key)
		}
		return err
	})
	for name, key := range keys {
		if _, taken := into.keys[name]; !taken {
			into.keys[name] = key
		}
	}
	for name, all := range former {
		into.former[name] = append(into.former[name], all...)
	}
	return err
}
