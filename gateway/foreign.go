package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// namedBy gives intake the riders of other schemes' codes: those of the operator's
// own contracts at once, those of others by message.
type namedBy struct{ g *Gateway }

var _ intake.Foreign = namedBy{}

// Name implements [intake.Foreign].
func (n namedBy) Name(ctx context.Context, tx *pg.Tx, codes []interbook.Code) ([]interbook.Name, error) {
	self, err := heldDirectory(n).ByID(ctx, tx.Tenant)
	if err != nil || self.Issuer == 0 {
		return nil, err
	}
	own := slices.DeleteFunc(slices.Clone(codes), func(c interbook.Code) bool { return c.Issuer != self.Issuer })
	if len(own) == 0 {
		return nil, nil
	}
	return n.g.Foreign.Take(ctx, tx, tx.Tenant, own)
}

// Ask implements [intake.Foreign]. What nobody answers for any more is given up
// when its time is over.
func (n namedBy) Ask(ctx context.Context, tx *pg.Tx, codes []interbook.Code) error {
	asked := map[citygate.TenantID][]interbook.Code{}
	for _, c := range codes {
		issuer, err := heldDirectory(n).ByIssuer(ctx, c.Issuer)
		if errors.Is(err, tenants.ErrNotFound) || err == nil && issuer.ID == tx.Tenant {
			continue
		}
		if err != nil {
			return err
		}
		asked[issuer.ID] = append(asked[issuer.ID], c)
	}
	for _, issuer := range slices.Sorted(maps.Keys(asked)) {
		if err := interbook.Put(ctx, tx, issuer, interbook.KindCodes, interbook.Codes{Items: asked[issuer]}); err != nil {
			return err
		}
	}
	return nil
}

// handleNames is the handler of names messages.
func (g *Gateway) handleNames(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var m interbook.Names
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("foreign names: %w", err)
	}
	issuer, err := heldDirectory{g}.ByID(ctx, from)
	if err != nil {
		return err
	}
	return intake.Named(ctx, tx, issuer.Issuer, m.Items)
}

// tellOwn hands names to the intake of the tenant that found them out.
func (g *Gateway) tellOwn(ctx context.Context, tx *pg.Tx, names []interbook.Name) error {
	self, err := heldDirectory{g}.ByID(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	return intake.Named(ctx, tx, self.Issuer, names)
}

// resolver opens the provider of a contract, if it says whose its codes are.
func (g *Gateway) resolver(ctx context.Context, tenant citygate.TenantID, contract string) (*adapters.CodeResolver, bool, error) {
	contracts, err := g.contracts(ctx, tenant)
	if err != nil {
		return nil, false, err
	}
	i := slices.IndexFunc(contracts, func(c collect.Contract) bool { return c.Name == contract })
	if i < 0 {
		return nil, false, nil
	}
	p, err := g.provider(ctx, tenant, contracts[i])
	if err != nil {
		return nil, false, err
	}
	r, ok := p.CodeResolver()
	return r, ok, nil
}

// askBeside has providers asked about codes beside the jobs.
func askBeside(b *collect.Bulkhead) func(context.Context, citygate.TenantID, string, func(context.Context) error) error {
	if b == nil {
		return nil
	}
	return func(ctx context.Context, tenant citygate.TenantID, contract string, work func(context.Context) error) error {
		return b.Do(ctx, collect.TaskCodes, tenant, contract, work)
	}
}

// proveForeign gives collect what this tenant named.
func (g *Gateway) proveForeign(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, riders []citygate.Rider, taps []interbook.ClaimTap) ([]collect.Proof, error) {
	found, err := foreign.Prove(ctx, tx, operator, riders, taps)
	if err != nil {
		return nil, err
	}
	proofs := make([]collect.Proof, len(found))
	for i, p := range found {
		at := taps[i].EventTime.Unix() // when the display was made was looked at when it was named
		proofs[i] = collect.Proof{Use: code.Use{Rider: riders[i], Counter: taps[i].Counter}, Reason: p.Reason, CapMinor: p.Cap, GeneratedAt: at, ExpiresAt: at + 1}
	}
	return proofs, nil
}

// schemesFor gathers the entries of code schemes in an operator's bundles: its own
// and those of the issuers it accepts, as far as they admit it.
func (g *Gateway) schemesFor(ctx context.Context, operator citygate.TenantID, accepts []citygate.TenantID) ([]bundle.Scheme, error) {
	others := slices.DeleteFunc(slices.Clone(accepts), func(id citygate.TenantID) bool { return id == operator })
	slices.Sort(others)
	var all []bundle.Scheme
	for _, id := range append([]citygate.TenantID{operator}, slices.Compact(others)...) {
		var entries []bundle.Scheme
		err := g.DB.InTenant(ctx, id, func(tx *pg.Tx) (err error) {
			if entries, err = foreign.For(ctx, tx, operator); err == nil {
				entries, err = withListed(ctx, tx, entries)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	all, disputed := undisputed(all)
	if disputed > 0 {
		g.Log.WarnContext(ctx, "tenants bring different keys under one name; each name keeps the first", "operator", operator, "left_out", disputed)
	}
	slices.SortStableFunc(all, func(a, b bundle.Scheme) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.ID, b.ID)) }) // as a bundle wants them
	return all, nil
}

// PutScheme stores how a tenant has a scheme read, and has the bundles published
// that change by it.
func (g *Gateway) PutScheme(ctx context.Context, actor string, tenant citygate.TenantID, e foreign.Entry) error {
	if err := g.hold(ctx); err != nil {
		return err
	}
	if err := errors.Join(g.checkSecret(ctx, tenant, &e), g.collectsRides(ctx, tenant, e.Contract)); err != nil {
		return err
	}
	var before []foreign.Entry
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if before, err = foreign.Entries(ctx, tx); err != nil {
			return err
		}
		return g.Foreign.Put(ctx, tx, actor, e)
	})
	if err != nil {
		return err
	}
	g.passes.forget(tenant)
	concerned := append([]citygate.TenantID{tenant}, e.Operators...)
	for _, b := range before {
		if b.Scheme == e.Scheme {
			concerned = append(concerned, b.Operators...)
		}
	}
	slices.Sort(concerned)
	for _, operator := range slices.Compact(concerned) {
		if err := g.renewSchemes(ctx, actor, tenant, operator); err != nil {
			return err
		}
	}
	return nil
}

// renewSchemes publishes an operator's bundle with the schemes of today, if it
// accepts the tenant whose schemes have changed. One that has none yet gets them
// with its first policy.
func (g *Gateway) renewSchemes(ctx context.Context, actor string, tenant, operator citygate.TenantID) error {
	profile, err := g.Bundles.Profile(ctx, operator)
	if errors.Is(err, fleet.ErrNoBundle) {
		return nil
	}
	if err != nil || operator != tenant && !slices.Contains(profile.Accepts, tenant) {
		return err
	}
	if profile.Schemes, err = g.schemesFor(ctx, operator, profile.Accepts); err != nil {
		return err
	}
	_, err = g.Bundles.Publish(ctx, actor, profile)
	g.trust.forget(operator)
	return err
}

// foreignAPI is the edge's way to codes of other schemes.
func (g *Gateway) foreignAPI() edge.Foreign {
	return edge.Foreign{
		PutScheme: func(ctx context.Context, actor string, tenant citygate.TenantID, s edge.CodeScheme) error {
			if err := g.byHand(ctx, tenant, manifest.KindCodeScheme, s.Scheme); err != nil {
				return err
			}
			e := foreign.Entry{Scheme: code.SchemeID(s.Scheme), Params: s.Params, Contract: s.Contract, Opens: s.Opens, Asks: s.Asks}
			for _, o := range s.Operators {
				e.Operators = append(e.Operators, citygate.TenantID(o))
			}
			for _, k := range s.Keys {
				e.Roots = append(e.Roots, bundle.ForeignRoot(k))
			}
			return g.PutScheme(ctx, actor, tenant, e)
		},
		Schemes: func(ctx context.Context, tenant citygate.TenantID) (list []edge.CodeScheme, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				entries, err := foreign.Entries(ctx, tx)
				list = make([]edge.CodeScheme, len(entries))
				for i, e := range entries {
					list[i] = edge.CodeScheme{Scheme: string(e.Scheme), Params: e.Params, Contract: e.Contract, Opens: e.Opens, Asks: e.Asks}
					for _, o := range e.Operators {
						list[i].Operators = append(list[i].Operators, int64(o))
					}
					for _, r := range e.Roots {
						list[i].Keys = append(list[i].Keys, edge.ForeignKey(r))
					}
				}
				return err
			})
			return list, err
		},
		Register: g.registerForeign,
		Codes: func(ctx context.Context, tenant citygate.TenantID, state string, after edge.ForeignAfter, limit int) (list []edge.ForeignCode, err error) {
			err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
				found, err := foreign.Codes(ctx, tx, state, code.SchemeID(after.Scheme), after.Once, limit)
				list = make([]edge.ForeignCode, len(found))
				for i, c := range found {
					list[i] = edge.ForeignCode{
						ID: edge.ForeignID(string(c.Scheme), c.Once[:]), Scheme: string(c.Scheme), Operator: int64(c.Operator), Terminal: c.Terminal, Seq: c.Seq,
						At: c.At, State: c.State, Reason: c.Reason, Proven: c.Proven, Evidence: c.Evidence, Attempts: c.Attempts, GiveUpAt: c.GiveUpAt,
					}
					if c.State == "named" {
						list[i].List, list[i].Index = c.Rider.List, c.Rider.Index
					}
				}
				return err
			})
			return list, err
		},
	}
}

// registerForeign opens payers' accounts, unless they are open, and puts codes of
// other schemes to them.
func (g *Gateway) registerForeign(ctx context.Context, actor string, tenant citygate.TenantID, requests []edge.RegisterForeign) ([]edge.ForeignRider, error) {
	if err := g.hold(ctx); err != nil {
		return nil, err
	}
	for _, r := range requests {
		if err := g.collectsRides(ctx, tenant, r.Contract); err != nil {
			return nil, err
		}
	}
	out := make([]edge.ForeignRider, len(requests))
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		accounts := make([]credential.Account, len(requests))
		for i, r := range requests {
			accounts[i] = credential.Account{Contract: r.Contract, RiderRef: r.RiderRef}
		}
		accounts, err := credential.OpenAccounts(ctx, tx, actor, accounts)
		if err != nil {
			return err
		}
		regs := make([]foreign.Registration, len(requests))
		for i, r := range requests {
			regs[i] = foreign.Registration{Scheme: code.SchemeID(r.Scheme), Code: r.Code, Account: accounts[i].ID}
		}
		riders, err := g.Foreign.Register(ctx, tx, actor, regs)
		if err != nil {
			return err
		}
		for i, r := range riders {
			out[i] = edge.ForeignRider{Account: accounts[i].ID.Text("acc_"), List: r.List, Index: r.Index}
		}
		return nil
	})
	return out, err
}
