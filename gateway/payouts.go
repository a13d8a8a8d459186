package gateway

import (
	"context"
	"errors"
	"io/fs"
	"mime"
	"path"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) payoutDesk() edge.PayoutDesk {
	return edge.PayoutDesk{
		List: g.payouts, File: g.payoutFile, Release: g.releasePayout, Cancel: g.cancelPayout, Redirect: g.redirectPayout, Rules: g.payoutRules, Loosens: g.loosensPayouts, SetRules: g.setPayoutRules,
	}
}

func payoutView(p settle.Payout) edge.Payout {
	v := edge.Payout{
		ID: p.ID.Text("pay_"), Payee: p.Payee, Window: p.WindowDate.String(), Amount: citygate.Money{Minor: p.Amount, Currency: p.Currency},
		EndToEndID: p.EndToEndID, State: p.State, HeldFor: p.HeldFor, ReleasedBy: p.ReleasedBy, ReleasedAt: inUTC(p.ReleasedAt), PaidTo: p.PayTo,
	}
	for _, file := range []string{p.CSVFile, p.XMLFile} {
		if file != "" {
			v.Files = append(v.Files, file)
		}
	}
	return v
}

func (g *Gateway) payouts(ctx context.Context, tenant citygate.TenantID, state string, page edge.Page) (list []edge.Payout, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := settle.PayoutsAfter(ctx, tx, state, page.After, page.Limit)
		list = make([]edge.Payout, len(found))
		for i, p := range found {
			list[i] = payoutView(p)
		}
		return err
	})
	return list, err
}

// payoutFile gives a payout file of the tenant: one that a payout of its own
// names, whatever else lies in the directory.
func (g *Gateway) payoutFile(ctx context.Context, tenant citygate.TenantID, name string) (body []byte, contentType string, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		_, err := settle.PayoutByFile(ctx, tx, name)
		return err
	})
	if pg.IsNoRows(err) {
		return nil, "", errNoFile
	}
	if err != nil {
		return nil, "", err
	}
	body, err = files{g.Files}.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", errNoFile
	}
	contentType = mime.TypeByExtension(path.Ext(name))
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	return body, contentType, err
}

var errNoFile = &citygate.Code{Name: "settle.no_file", Kind: citygate.NotFound, Title: "There is no such payout file. List the payouts for their names."}

// ReleasePayouts lets payouts go that wait, if the tenant may pay at all.
func (g *Gateway) ReleasePayouts(ctx context.Context, actor string, tenant citygate.TenantID, releases ...settle.Release) ([]settle.Payout, error) {
	if err := g.may(ctx, tenant, tenants.PayingOut); err != nil {
		return nil, err
	}
	return g.Settler.Release(ctx, actor, tenant, releases...)
}

func (g *Gateway) releasePayout(ctx context.Context, actor string, tenant citygate.TenantID, payout citygate.UUID, r edge.ReleasePayout) (edge.Payout, error) {
	released, err := g.ReleasePayouts(ctx, actor, tenant, releaseAsked(payout, r))
	if err != nil {
		return edge.Payout{}, err
	}
	return payoutView(released[0]), nil
}

func releaseAsked(payout citygate.UUID, r edge.ReleasePayout) settle.Release {
	return settle.Release{Payout: payout, Amount: r.Amount, Payee: r.Payee}
}

func (g *Gateway) cancelPayout(ctx context.Context, actor string, tenant citygate.TenantID, payout citygate.UUID, r edge.ReleasePayout) (edge.Payout, error) {
	p, err := g.Settler.Cancel(ctx, actor, tenant, releaseAsked(payout, r))
	return payoutView(p), err
}

func (g *Gateway) redirectPayout(ctx context.Context, actor string, tenant citygate.TenantID, payout citygate.UUID, r edge.RedirectPayout) (edge.Payout, error) {
	p, err := g.Settler.Redirect(ctx, actor, tenant, releaseAsked(payout, r.ReleasePayout), r.To)
	return payoutView(p), err
}

// PayoutRules gives the rules by which a tenant's payouts wait.
func (g *Gateway) PayoutRules(ctx context.Context, tenant citygate.TenantID) (r settle.PayoutRules, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		r, err = settle.RulesOfPayouts(ctx, tx)
		return err
	})
	return r, err
}

// SetPayoutRules gives a tenant other payout rules; see [settle.SetPayoutRules].
func (g *Gateway) SetPayoutRules(ctx context.Context, actor string, tenant citygate.TenantID, r settle.PayoutRules, loosen bool) (set settle.PayoutRules, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		set, err = settle.SetPayoutRules(ctx, tx, actor, r, loosen)
		return err
	})
	return set, err
}

func (g *Gateway) payoutRules(ctx context.Context, tenant citygate.TenantID) (edge.PayoutRules, error) {
	r, err := g.PayoutRules(ctx, tenant)
	return rulesView(r), err
}

func rulesView(r settle.PayoutRules) edge.PayoutRules {
	return edge.PayoutRules{
		Version: r.Version, Manual: r.Manual, HoldAbove: r.HoldAbove, HoldPayees: r.HoldPayees, SetBy: r.CreatedBy, SetAt: orNever(r.CreatedAt),
	}
}

func rulesAsked(r edge.PayoutRules) settle.PayoutRules {
	return settle.PayoutRules{Manual: r.Manual, HoldAbove: r.HoldAbove, HoldPayees: r.HoldPayees}
}

func (g *Gateway) loosensPayouts(ctx context.Context, tenant citygate.TenantID, r edge.PayoutRules) (bool, error) {
	held, err := g.PayoutRules(ctx, tenant)
	return held.Loosens(rulesAsked(r)), err
}

func (g *Gateway) setPayoutRules(ctx context.Context, actor string, tenant citygate.TenantID, r edge.PayoutRules, loosen bool) (edge.PayoutRules, error) {
	set, err := g.SetPayoutRules(ctx, actor, tenant, rulesAsked(r), loosen)
	return rulesView(set), err
}
