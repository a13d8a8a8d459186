package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"mime"
	"net/url"
	"path"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// verticals hands the edge what it calls: each function turns the wire's types
// into a vertical's and back, and decides nothing.
func (g *Gateway) verticals() edge.Verticals {
	return edge.Verticals{
		DB: g.DB, Clock: g.Clock, Tokens: g.Tokens, Tenants: g.Tenants,
		RecordTaps: g.recordTaps, Bundle: g.bundleObject, DenyLists: g.denyLists(),
		Enrol: g.enrol, Terminals: g.terminals, Issue: g.issue, Deny: g.deny,
		Journeys: g.journeys, Journey: g.journey, Charges: g.charges, Balances: g.balances,
		Windows: g.windows, Payouts: g.payouts, PayoutFile: g.payoutFile, ReconItems: g.reconItems, ResolveRecon: g.resolve,
	}
}

func (g *Gateway) recordTaps(ctx context.Context, raw []byte) ([]edge.TapReceipt, error) {
	b, err := tap.ParseBatch(raw)
	if err != nil {
		return nil, err
	}
	receipt, err := g.Intake.Record(ctx, b.Tenant, raw)
	if err != nil {
		return nil, err
	}
	list := make([]edge.TapReceipt, len(receipt.Results))
	for i, r := range receipt.Results {
		list[i] = edge.TapReceipt{Seq: r.Seq, Outcome: string(r.Outcome), Reason: r.Reason}
	}
	return list, nil
}

func (g *Gateway) bundleObject(ctx context.Context, tenant citygate.TenantID) ([]byte, string, error) {
	published, err := g.Bundles.Latest(ctx, tenant)
	return published.Body, strings.Trim(published.ETag, `"`), err
}

func (g *Gateway) enrol(ctx context.Context, actor string, tenant citygate.TenantID, t edge.EnrolTerminal) (edge.Terminal, error) {
	if len(t.PublicKey) != ed25519.PublicKeySize {
		return edge.Terminal{}, fleet.ErrInvalid.Explain("public_key: want an Ed25519 key of %d bytes", ed25519.PublicKeySize)
	}
	mode := fleet.Single
	if t.Kind == string(fleet.Gate) {
		mode = fleet.OnOff
	}
	enrolled, err := g.Fleet.Enrol(ctx, actor, tenant, fleet.Terminal{
		ID: t.ID, Name: t.Name, Kind: fleet.Kind(t.Kind), Mode: mode, Stop: t.Stop, Route: t.Route, Vehicle: t.Vehicle,
	}, ed25519.PublicKey(t.PublicKey))
	return terminalView(enrolled, nil), err
}

func terminalView(t fleet.Terminal, flags []string) edge.Terminal {
	return edge.Terminal{ID: t.ID, Name: t.Name, Kind: string(t.Kind), Stop: t.Stop, Route: t.Route, Vehicle: t.Vehicle, State: string(t.State), Flags: flags}
}

// showLists adds the deny lists a terminal used and how old the oldest was.
func showLists(v *edge.Terminal, used []fleet.UsedList) {
	for _, u := range used {
		age := int64(u.Age().Seconds())
		v.Lists = append(v.Lists, edge.UsedList{Issuer: uint16(u.Issuer), List: u.List, Seq: u.Seq, ProvenAt: u.ProvenAt, UsedAt: u.UsedAt, Age: age})
		if v.ListAge == nil || age > *v.ListAge {
			v.ListAge = &age
		}
	}
}

func (g *Gateway) terminals(ctx context.Context, tenant citygate.TenantID) (list []edge.Terminal, err error) {
	const most = 10_000
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		all, err := fleet.List(ctx, tx, 0, most)
		if err != nil {
			return err
		}
		flagged, err := fleet.Flags(ctx, tx)
		if err != nil {
			return err
		}
		flags := map[uint32][]string{}
		for _, f := range flagged {
			flags[f.Terminal] = append(flags[f.Terminal], string(f.Flag))
		}
		ids := make([]uint32, len(all))
		for i, t := range all {
			ids[i] = t.ID
		}
		used, err := fleet.UsedLists(ctx, tx, tx.Now.AddDate(0, 0, -7), ids...)
		list = make([]edge.Terminal, len(all))
		for i, t := range all {
			list[i] = terminalView(t, flags[t.ID])
			showLists(&list[i], used[t.ID])
		}
		return err
	})
	return list, err
}

// issue opens the riders' accounts, unless they are open, and gives each device
// its credential.
func (g *Gateway) issue(ctx context.Context, actor string, tenant citygate.TenantID, requests []edge.IssueCredential) ([]edge.IssuedCredential, error) {
	accounts := make([]credential.Account, len(requests))
	for i, r := range requests {
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

func journeyView(j pricing.Journey) edge.Journey {
	v := edge.Journey{ID: j.ID.Text(pricing.Prefix), Rider: j.Rider.String(), State: j.State, Unknown: j.Reason}
	for _, t := range j.Taps {
		v.Taps = append(v.Taps, t.String())
	}
	if j.Amount.Currency != "" {
		fare := j.Amount
		v.Fare, v.Currency = &fare, fare.Currency
	}
	return v
}

func (g *Gateway) journeys(ctx context.Context, tenant citygate.TenantID, page edge.Page) (list []edge.Journey, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := pricing.List(ctx, tx, page.After, page.Limit)
		list = make([]edge.Journey, len(found))
		for i, j := range found {
			list[i] = journeyView(j)
		}
		return err
	})
	return list, err
}

func (g *Gateway) journey(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (v edge.Journey, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		j, decisions, err := pricing.Find(ctx, tx, id)
		if err != nil {
			return err
		}
		v = journeyView(j)
		if len(decisions) > 0 {
			last := decisions[len(decisions)-1]
			v.Decision, v.BusinessDate, v.Explanation = last.N, last.BusinessDate.String(), last.Explanation
		}
		return nil
	})
	return v, err
}

func (g *Gateway) charges(ctx context.Context, tenant citygate.TenantID, page edge.Page) (list []edge.Charge, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := collect.Charges(ctx, tx, page.After, page.Limit)
		list = make([]edge.Charge, len(found))
		for i, c := range found {
			list[i] = edge.Charge{
				ID: c.ID.Text("chg_"), Kind: c.Kind, State: c.State, Amount: c.Amount, Fee: c.Fee, Contract: c.Contract,
				OurID: c.OurID, Provider: c.ProviderRef, At: c.CreatedAt,
			}
		}
		return err
	})
	return list, err
}

func (g *Gateway) balances(ctx context.Context, tenant citygate.TenantID, prefix string) (list []edge.Balance, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := ledger.Balances(ctx, tx, prefix)
		list = make([]edge.Balance, len(found))
		for i, b := range found {
			list[i] = edge.Balance{Account: b.Account, Currency: b.Currency, Debit: b.Debit, Credit: b.Credit}
		}
		return err
	})
	return list, err
}

func (g *Gateway) windows(ctx context.Context, tenant citygate.TenantID, after citygate.Date, limit int) (list []edge.Window, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := settle.Windows(ctx, tx, after, limit)
		list = make([]edge.Window, len(found))
		for i, w := range found {
			list[i] = edge.Window{BusinessDate: w.BusinessDate.String(), State: w.State, OpensAt: w.OpensAt, ClosesAt: w.ClosesAt}
		}
		return err
	})
	return list, err
}

func (g *Gateway) payouts(ctx context.Context, tenant citygate.TenantID, page edge.Page) (list []edge.Payout, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := settle.PayoutsAfter(ctx, tx, page.After, page.Limit)
		list = make([]edge.Payout, len(found))
		for i, p := range found {
			list[i] = edge.Payout{
				ID: p.ID.Text("pay_"), Payee: p.Payee, Window: p.WindowDate.String(), Amount: citygate.Money{Minor: p.Amount, Currency: p.Currency},
				EndToEndID: p.EndToEndID, State: p.State,
			}
			for _, file := range []string{p.CSVFile, p.XMLFile} {
				if file != "" {
					list[i].Files = append(list[i].Files, file)
				}
			}
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

// reconID names an exception in a list. A contract's name may have slashes.
func reconID(i recon.Item) string { return url.PathEscape(i.Contract) + "/" + i.Item }

var errReconID = &citygate.Code{Name: "recon.bad_id", Kind: citygate.Invalid, Title: "That is not the id of a reconciliation item. Take it from the list."}

func (g *Gateway) reconItems(ctx context.Context, tenant citygate.TenantID, state, after string, limit int) (list []edge.ReconItem, err error) {
	contract, item, ok := strings.Cut(after, "/")
	if contract, err = url.PathUnescape(contract); err != nil || (after != "" && !ok) {
		return nil, errReconID.Explain("after: %q", after)
	}
	now := g.Clock()
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := recon.ExceptionsIn(ctx, tx, state, contract, item, limit)
		list = make([]edge.ReconItem, len(found))
		for n, i := range found {
			list[n] = edge.ReconItem{
				ID: reconID(i), Item: i.Item, Kind: string(i.Kind), State: i.State, Owner: i.Owner, Contract: i.Contract, Day: i.Day.String(), OurID: i.OurID,
				Currency: i.Currency, Expected: i.Expected, Actual: i.Actual, Diff: i.Actual - i.Expected, OpenedAt: i.OpenedAt,
				AgeDays: int(i.Age(now).Hours() / 24), Resolution: string(i.Resolution), Reason: i.Note,
			}
		}
		return err
	})
	return list, err
}

// resolve ends an exception. What it held goes on with the next look at what is
// due.
func (g *Gateway) resolve(ctx context.Context, actor string, tenant citygate.TenantID, item string, d edge.ResolveRecon) error {
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return recon.Resolve(ctx, tx, actor, d.Contract, item, recon.Resolution(d.Resolution), d.Reason)
	})
}

// EnsurePlatform makes the platform's own keys: the root that signs bundles and
// the token key. created says whether the token key is new, which is when the
// first administrator needs a token.
func (g *Gateway) EnsurePlatform(ctx context.Context, actor string) (created bool, err error) {
	if _, err := g.Ring.Ensure(ctx, actor, keys.Platform, keys.Root, keys.Ed25519); err != nil {
		return false, err
	}
	_, _, err = g.Ring.Active(ctx, keys.Platform, keys.Token)
	created = errors.Is(err, keys.ErrNotFound)
	if err != nil && !created {
		return false, err
	}
	_, err = g.Ring.Ensure(ctx, actor, keys.Platform, keys.Token, keys.Ed25519)
	return created, err
}
