package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// reconID names an exception in a list. A contract's name may have slashes.
func reconID(i recon.Item) string { return url.PathEscape(i.Contract) + "/" + i.Item }

var errReconID = &citygate.Code{Name: "recon.bad_id", Kind: citygate.Invalid, Title: "That is not the id of a reconciliation item. Take it from the list."}

func (g *Gateway) reconItems(ctx context.Context, tenant citygate.TenantID, state, after string, limit int) (list []edge.ReconItem, err error) {
	contract, item, ok := strings.Cut(after, "/")
	if contract, err = url.PathUnescape(contract); err != nil || (after != "" && !ok) {
		return nil, errReconID.Explain("after: %q", after)
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := recon.ExceptionsIn(ctx, tx, state, contract, item, limit)
		list = make([]edge.ReconItem, len(found))
		for n, i := range found {
			list[n] = edge.ReconItem{
				ID: reconID(i), Item: i.Item, Kind: string(i.Kind), State: i.State, Owner: i.Owner, Contract: i.Contract, Day: i.Day.String(), OurID: i.OurID,
				Currency: i.Currency, Expected: i.Expected, Actual: i.Actual, Diff: i.Actual - i.Expected, OpenedAt: i.OpenedAt,
				AgeDays: int(i.Age(tx.Now).Hours() / 24), Resolution: string(i.Resolution), Reason: i.Note,
			}
		}
		return err
	})
	return list, err
}

// resolve ends an exception. What it held goes on with the next look at what is
// due.
func (g *Gateway) resolve(ctx context.Context, actor string, tenant citygate.TenantID, item string, d edge.ResolveRecon) error {
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return recon.Resolve(ctx, tx, actor, d.Contract, item, recon.Resolution(d.Resolution), d.Reason)
	})
	g.rounds.forget(tenant)
	return err
}

// billID names an issue of a bill in a list.
func billID(f *recon.Issue) string {
	return url.PathEscape(f.Contract) + "/" + f.Day.String() + "/" + strconv.Itoa(f.Issue)
}

// bills lists what was imported, behind a bill.
func (g *Gateway) bills(ctx context.Context, tenant citygate.TenantID, contract, after string, limit int) (list []edge.Bill, err error) {
	var behind recon.Issue
	if after != "" {
		parts := strings.Split(after, "/")
		if len(parts) != 3 {
			return nil, errReconID.Explain("after: %q", after)
		}
		var err1, err2, err3 error
		behind.Contract, err1 = url.PathUnescape(parts[0])
		behind.Day, err2 = citygate.ParseDate(parts[1])
		behind.Issue, err3 = strconv.Atoi(parts[2])
		if err1 != nil || err2 != nil || err3 != nil {
			return nil, errReconID.Explain("after: %q", after)
		}
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := recon.Issues(ctx, tx, contract, behind.Contract, behind.Day, behind.Issue, limit)
		list = make([]edge.Bill, len(found))
		for n := range found {
			f := &found[n]
			list[n] = edge.Bill{
				ID: billID(f), Contract: f.Contract, Day: f.Day.String(), Issue: f.Issue, File: f.Name, SHA256: hex.EncodeToString(f.SHA256), Rows: f.Rows,
				State: "stored", Holds: f.Holds, Corrected: f.Corrected, IssuedAt: orNever(f.IssuedAt), ImportedAt: f.ImportedAt, CheckedAt: orNever(f.CheckedAt),
			}
			if f.Processed {
				list[n].State = "processed"
			}
		}
		return err
	})
	return list, err
}

// reconHistory lists what items were, behind one.
func (g *Gateway) reconHistory(ctx context.Context, tenant citygate.TenantID, q edge.ReconHistoryQuery, after string, limit int) (list []edge.ReconPast, err error) {
	contract, item, n := "", "", 0
	if after != "" {
		at := max(strings.LastIndexByte(after, '/'), 0)
		contract, item, _ = strings.Cut(after[:at], "/")
		var err1, err2 error
		contract, err1 = url.PathUnescape(contract)
		n, err2 = strconv.Atoi(strings.TrimPrefix(after[at:], "/"))
		if err1 != nil || err2 != nil {
			return nil, errReconID.Explain("after: %q", after)
		}
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		past, err := recon.History(ctx, tx, recon.HistoryQuery(q), contract, item, n, limit)
		if err != nil {
			return err
		}
		now, err := recon.Standing(ctx, tx, past)
		list = make([]edge.ReconPast, len(past))
		for i := range past {
			list[i] = pastOf(tenant, &past[i])
			if stands, ok := now[[2]string{past[i].Contract, past[i].Item.Item}]; ok {
				list[i].Now = &edge.ReconNow{
					N: stands.N, Kind: string(stands.Kind), State: stands.State, Day: stands.Day.String(), Issue: stands.Issue, Actual: stands.Actual, ActualFee: stands.ActualFee,
				}
			}
		}
		return err
	})
	return list, err
}

func pastOf(tenant citygate.TenantID, p *recon.Past) edge.ReconPast {
	v := edge.ReconPast{
		ID: reconID(p.Item) + "/" + strconv.Itoa(p.N), Item: p.Item.Item, N: p.N, Kind: string(p.Kind), State: p.State, Contract: p.Contract,
		Day: p.Day.String(), Issue: p.Issue, Line: p.Line, OurID: p.OurID, Currency: p.Currency,
		Expected: p.Expected, ExpectedFee: p.ExpectedFee, Actual: p.Actual, ActualFee: p.ActualFee, OpenedAt: p.OpenedAt,
		Resolution: string(p.Resolution), Reason: p.Note, EndedAt: p.EndedAt, EndedDay: p.EndedDay.String(), EndedIssue: p.EndedIssue,
		Corrections: []edge.ReconCorrection{},
	}
	for _, c := range p.Corrections(tenant) {
		v.Corrections = append(v.Corrections, edge.ReconCorrection{
			Transfer: c.Transfer.ID.String(), Reversal: c.Reversal.ID.String(), Code: c.Transfer.Code, Debit: c.Transfer.Debit, Credit: c.Transfer.Credit,
			Amount: citygate.Money{Minor: c.Transfer.Amount, Currency: c.Transfer.Currency},
		})
	}
	return v
}

var errNoBills = &citygate.Code{Name: "recon.no_bills", Kind: citygate.NotFound, Title: "The tenant has no such contract, or its provider gives no bills. List the tenant's contracts."}

// ImportBill stores and matches a bill that a provider handed over in another way than
// that on which the gateway asks for it. The same bill again changes nothing; another one
// of its day corrects what the one before said. It speaks to no provider.
func (g *Gateway) ImportBill(ctx context.Context, actor string, tenant citygate.TenantID, contract string, bill driver.Bill) error {
	contracts, err := g.contracts(ctx, tenant)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(contracts, func(c collect.Contract) bool { return c.Name == contract })
	if at < 0 {
		return errNoBills.Because(nil, "contract %q", contract)
	}
	p, err := g.provider(ctx, tenant, contracts[at])
	if err != nil {
		return err
	}
	biller, ok := p.Biller()
	if !ok {
		return errNoBills.Because(nil, "contract %q is one of %s", contract, contracts[at].Adapter)
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return tx.Audit(ctx, pg.AuditEntry{
			Actor: actor, Verb: "recon.import", Object: contract + "/" + bill.Day.String(),
			After: map[string]any{"file": bill.Name, "sha256": fmt.Sprintf("%x", sha256.Sum256(bill.Body))},
		})
	})
	if err != nil {
		return err
	}
	err = g.Reconciler.Import(ctx, tenant, contract, biller, bill)
	g.rounds.forget(tenant)
	return err
}
