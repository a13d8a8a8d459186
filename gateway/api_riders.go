package gateway

import (
	"context"
	"crypto/ed25519"
	"maps"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// issue opens the riders' accounts, unless they are open, and gives each device
// its credential.
func (g *Gateway) issue(ctx context.Context, actor string, tenant citygate.TenantID, requests []edge.IssueCredential) ([]edge.IssuedCredential, error) {
	if err := g.may(ctx, tenant, tenants.Issuing); err != nil {
		return nil, err
	}
	accounts := make([]credential.Account, len(requests))
	for i, r := range requests {
		if err := g.collectsRides(ctx, tenant, r.Contract); err != nil {
			return nil, err
		}
		accounts[i] = credential.Account{Contract: r.Contract, RiderRef: r.RiderRef}
	}
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		accounts, err = credential.OpenAccounts(ctx, tx, actor, accounts)
		return err
	})
	if err != nil {
		return nil, err
	}
	wanted := make([]credential.Request, len(requests))
	for i, r := range requests {
		wanted[i] = credential.Request{
			Account: accounts[i].ID, Suite: ct1.SuiteP256, Medium: code.MediumPhone, DeviceKey: r.DeviceKey,
			Product: r.Product, Cap: r.Cap, Taps: r.Taps, Window: r.Window, TTLHours: r.TTLHours,
		}
		if len(r.DeviceKey) == ed25519.PublicKeySize {
			wanted[i].Suite, wanted[i].Medium = ct1.SuiteEd25519, code.MediumBand
		}
	}
	issues, err := g.Credentials.IssueBatch(ctx, actor, tenant, wanted)
	if err != nil {
		return nil, err
	}
	issued := make([]edge.IssuedCredential, len(issues))
	for i, x := range issues {
		issued[i] = edge.IssuedCredential{Account: accounts[i].ID.Text("acc_"), List: x.Rider.List, Index: x.Rider.Index, Credential: x.Credential}
	}
	return issued, nil
}

func (g *Gateway) deny(ctx context.Context, actor string, tenant citygate.TenantID, list uint16, index uint32, reason string) error {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return err
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return credential.Deny(ctx, tx, actor, reason, credential.Targets{Riders: []citygate.Rider{{Issuer: t.Issuer, List: list, Index: index}}})
	})
}

func (g *Gateway) lift(ctx context.Context, actor string, tenant citygate.TenantID, list uint16, index uint32, reason string) error {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return err
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return credential.Lift(ctx, tx, actor, reason, credential.Targets{Riders: []citygate.Rider{{Issuer: t.Issuer, List: list, Index: index}}})
	})
}

// credentialOf gives the record of a credential. A code that is asked about may
// carry its rider and still not be of it, if somebody signs with a stolen key.
func (g *Gateway) credentialOf(ctx context.Context, tenant citygate.TenantID, list uint16, index uint32, shown []byte) (edge.Credential, error) {
	t, err := g.Tenants.ByID(ctx, tenant)
	if err != nil {
		return edge.Credential{}, err
	}
	rider := citygate.Rider{Issuer: t.Issuer, List: list, Index: index}
	var issued map[citygate.Rider]credential.Credential
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		issued, err = credential.Issued(ctx, tx, []citygate.Rider{rider})
		return err
	})
	if err != nil {
		return edge.Credential{}, err
	}
	record, ok := issued[rider]
	if !ok {
		return edge.Credential{}, credential.ErrNotIssued.Explain("credential %s", rider)
	}
	v := edge.Credential{Account: record.Account.Text("acc_"), List: list, Index: index, Credential: record.PartA}
	if len(shown) > 0 {
		var c code.Code
		if err := g.schemes.Parse(shown, &c); err != nil {
			return edge.Credential{}, credential.ErrRequest.Explain("code: %v", err)
		}
		genuine := record.Issued(&c)
		v.Genuine = &genuine
	}
	return v, nil
}

func (g *Gateway) account(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (v edge.Account, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		a, err := credential.AccountByID(ctx, tx, id)
		v = edge.Account{ID: a.ID.Text("acc_"), Contract: a.Contract, RiderRef: a.RiderRef, Category: a.Category, State: string(a.State)}
		if err != nil {
			return err
		}
		payers, err := collect.PayersOf(ctx, tx, id)
		for _, contract := range slices.Sorted(maps.Keys(payers)) {
			v.Payers = append(v.Payers, edge.AccountPayer{Contract: contract, RiderRef: payers[contract]})
		}
		return err
	})
	return v, err
}

func (g *Gateway) closeAccount(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) error {
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return credential.CloseAccount(ctx, tx, actor, id) })
}

func (g *Gateway) putPayer(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, contract, riderRef string) error {
	if err := g.collectsRides(ctx, tenant, contract); err != nil {
		return err
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if _, err := credential.AccountByID(ctx, tx, id); err != nil {
			return err
		}
		return collect.AddPayer(ctx, tx, actor, collect.Payer{Account: id, Contract: contract, RiderRef: riderRef})
	})
}

func (g *Gateway) denials(ctx context.Context, tenant citygate.TenantID, account citygate.UUID, page edge.Page) (list []edge.Denial, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if _, err := credential.AccountByID(ctx, tx, account); err != nil {
			return err
		}
		found, err := credential.Entries(ctx, tx, account, page.After, page.Limit)
		list = make([]edge.Denial, len(found))
		for i, e := range found {
			list[i] = edge.Denial{
				ID: e.ID.Text("dny_"), WholeAccount: e.WholeAccount, List: e.List, Index: e.Index, Reason: e.Reason, Actor: e.Actor,
				Since: e.Since, LiftedAt: orNever(e.LiftedAt),
			}
		}
		return err
	})
	return list, err
}

// orNever gives nil for the zero time.
func orNever(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (g *Gateway) debts(ctx context.Context, tenant citygate.TenantID, state string, account citygate.UUID, page edge.Page) (list []edge.Debt, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := collect.Debts(ctx, tx, state, account, page.After, page.Limit)
		list = make([]edge.Debt, len(found))
		for i, d := range found {
			list[i] = debtView(d)
		}
		return err
	})
	return list, err
}

// RetryDebts has the open debts of an account collected now, and gives how many that is;
// see [collect.Collector.RetryDebts].
func (g *Gateway) RetryDebts(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID) (n int, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if _, err := credential.AccountByID(ctx, tx, account); err != nil {
			return err
		}
		n, err = g.Collector.RetryDebts(ctx, tx, actor, account)
		return err
	})
	return n, err
}

func (g *Gateway) refunds(ctx context.Context, tenant citygate.TenantID, state string, page edge.Page) (list []edge.Refund, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := collect.Refunds(ctx, tx, state, page.After, page.Limit)
		list = make([]edge.Refund, len(found))
		for i, r := range found {
			list[i] = edge.Refund{
				ID: r.ID.Text("ref_"), Charge: r.Charge.Text("chg_"), OurID: r.OurID, ChargeOurID: r.ChargeOurID, Contract: r.Contract,
				Account: r.Account.Text("acc_"), Amount: r.Amount, BusinessDate: r.BusinessDate.String(), State: r.State, Reason: r.Reason,
				Attempt: r.Attempt, At: r.CreatedAt, FinalAt: orNever(r.FinalAt),
			}
		}
		if err != nil {
			return err
		}
		return refundExchanges(ctx, tx, len(list), func(i int) (string, **edge.RefundExchange) { return list[i].OurID, &list[i].Exchange })
	})
	return list, err
}

func (g *Gateway) retryRefund(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) (again citygate.UUID, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		again, err = collect.RetryRefund(ctx, tx, actor, id)
		return err
	})
	return again, err
}

func (g *Gateway) carried(ctx context.Context, tenant citygate.TenantID, after string, limit int) (list []edge.Carried, err error) {
	payee, currency := cutID(after)
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := settle.Carried(ctx, tx, settle.Carry{Payee: payee, Currency: currency}, limit)
		list = make([]edge.Carried, len(found))
		for i, c := range found {
			list[i] = edge.Carried{ID: idOf(c.Payee, c.Currency), Payee: c.Payee, Amount: citygate.Money{Minor: c.Amount, Currency: c.Currency}}
		}
		return err
	})
	return list, err
}
