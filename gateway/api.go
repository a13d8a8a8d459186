package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// verticals hands the edge what it calls: each function turns the wire's types
// into a vertical's and back, and decides nothing.
func (g *Gateway) verticals() edge.Verticals {
	return edge.Verticals{
		DB: g.DB, Clock: g.Clock, Tokens: g.Tokens, Tenants: g.Tenants, Access: g.Access, Limits: g.Limits, Settings: g.settings(), FileKeeps: g.fileKeeps,
		Audit:      edge.Audit{Entries: g.auditEntries, Checkpoints: g.auditCheckpoints},
		RecordTaps: g.recordTaps, Bundle: g.bundleObject, BundleReach: g.bundleReach, DenyLists: g.denyLists(), JWKS: g.jwks,
		Enrol: g.enrol, Terminals: g.terminals, SetTerminal: g.setTerminal, SetProfile: g.setProfile, ClearFlag: g.clearFlag,
		Vehicles: g.vehicles, PutVehicles: g.putVehicles, Payees: g.payees, PutPayees: g.putPayees, Assign: g.assign, PayeeOf: g.payeeOf,
		Issue: g.issue, Deny: g.deny, Lift: g.lift, Credential: g.credentialOf, Account: g.account, CloseAccount: g.closeAccount, PutPayer: g.putPayer, AskPayer: g.AskPayer, Denials: g.denials, Devices: g.devices(), Onboarding: g.onboarding(), Foreign: g.foreignAPI(),
		Policies: edge.Policies{List: g.listPolicies, Get: g.getPolicy, Publish: g.publishPolicy, Restore: g.restorePolicy, Check: g.checkPolicy, Replay: g.replayPolicy},
		Roaming:  g.roamingAPI(),
		Shared:   g.sharedFaresAPI(), Explain: g.explainAPI(), Simulate: g.simulateTariff, Ridership: g.ridershipAPI(),
		Pairings: g.pairings(), Payouts: g.payoutDesk(), Notify: edge.Notify{Take: g.notify, Code: g.requestCode, Notices: g.noticeList, Resolve: g.resolveNotice}, ProviderFeeds: g.feedsAPI(), Agreements: g.agreementsAPI(), Cards: g.cardsAPI(),
		Debts: g.debts, WriteOffDebt: g.writeOffDebt, CollectWrittenOff: g.collectWrittenOff, RetryDebts: g.RetryDebts, Refunds: g.refunds, RetryRefund: g.retryRefund, Carried: g.carried, Reversals: g.reversals(), Bearers: g.bearers(),
		JourneyReading: g.journeyReading(), Riders: g.selfService(), Risk: g.riskAPI(), Sales: g.salesAPI(), Till: g.tillAPI(), FareRefunds: g.fareRefunds(),
		Journeys: g.journeys, Journey: g.journey, Charges: g.charges, Balances: g.balances,
		Windows: g.windows, Terms: g.terms, AddTerms: g.addTerms, ReconItems: g.reconItems, ResolveRecon: g.resolve, Bills: g.bills, ReconHistory: g.reconHistory,
	}
}

func (g *Gateway) recordTaps(ctx context.Context, raw []byte) ([]edge.TapReceipt, error) {
	b, err := tap.ParseBatch(raw)
	if err != nil {
		return nil, err
	}
	// Taps that nobody prices are of no use yet: a flood of them gives way, for a
	// moment, to the work on those that are here.
	g.Jobs.Yield(ctx)
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

func journeyView(j pricing.Journey) edge.Journey {
	v := edge.Journey{ID: j.ID.Text(pricing.Prefix), Rider: j.Rider.String(), State: j.State, Unknown: j.Reason}
	for _, t := range j.Taps {
		v.Taps = append(v.Taps, t.String())
	}
	v.Currency = j.Amount.Currency
	if j.Amount.Currency != "" && j.State != pricing.StateSetAside { // an unknown fare is not a fare of zero
		fare := j.Amount
		v.Fare = &fare
	}
	v.Reading = readingView(j.Reading)
	return v
}

func (g *Gateway) journeys(ctx context.Context, tenant citygate.TenantID, state string, rider citygate.Rider, page edge.Page) (list []edge.Journey, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := pricing.List(ctx, tx, pricing.Filter{State: state, Rider: rider}, page.After, page.Limit)
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
		v.Corrections, err = corrections(ctx, tx, id)
		return err
	})
	return v, err
}

func (g *Gateway) charges(ctx context.Context, tenant citygate.TenantID, page edge.Page) (list []edge.Charge, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := collect.Charges(ctx, tx, page.After, page.Limit)
		list = make([]edge.Charge, len(found))
		ids := make([]citygate.UUID, len(found))
		for i, c := range found {
			list[i] = edge.Charge{
				ID: c.ID.Text("chg_"), Kind: c.Kind, By: c.StartedBy, State: c.State, Amount: c.Amount, Fee: c.Fee, Contract: c.Contract,
				OurID: c.OurID, Provider: c.ProviderRef, Reason: c.Reason, At: c.CreatedAt,
				Attempt: c.Attempt, Route: edge.ChargeRoute(c.Route), Recovery: c.Recovery,
			}
			if c.Recovers != (citygate.UUID{}) {
				list[i].Recovers = c.Recovers.Text("chg_")
			}
			ids[i] = c.ID
		}
		if err != nil {
			return err
		}
		if err := exchanges(ctx, tx, list); err != nil {
			return err
		}
		bearings, err := collect.Bearings(ctx, tx, ids)
		for i, c := range found {
			for _, b := range bearings[c.ID] {
				list[i].Bearers = append(list[i].Bearers, edge.ChargeBearer{
					Operator: int64(b.Operator), Journey: b.Journey.Text("jrn_"), Owed: b.Owed, Issuer: b.IssuerBears, Provider: b.ProviderBears, Platform: b.PlatformBears, PayDays: b.PayDays,
					Basis: b.Basis, Version: b.Version, Rule: b.Rule, Finding: b.Finding,
				})
			}
		}
		return err
	})
	return list, err
}

func (g *Gateway) balances(ctx context.Context, tenant citygate.TenantID, prefix, after string, limit int) (list []edge.Balance, err error) {
	account, currency := cutID(after)
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := ledger.BalancesAfter(ctx, tx, prefix, account, currency, limit)
		list = make([]edge.Balance, len(found))
		for i, b := range found {
			list[i] = edge.Balance{ID: idOf(b.Account, b.Currency), Account: b.Account, Currency: b.Currency, Debit: b.Debit, Credit: b.Credit}
		}
		return err
	})
	return list, err
}

// idOf names a row that is one of a name and a currency; the name may have slashes.
func idOf(name string, currency citygate.Currency) string { return name + "/" + string(currency) }

// cutID takes an id of idOf apart. What is none is a place in the list all the same.
func cutID(id string) (name string, currency citygate.Currency) {
	if i := strings.LastIndexByte(id, '/'); i >= 0 {
		return id[:i], citygate.Currency(id[i+1:])
	}
	return id, ""
}

func (g *Gateway) windows(ctx context.Context, tenant citygate.TenantID, after citygate.Date, limit int) (list []edge.Window, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := settle.Windows(ctx, tx, after, limit)
		list = make([]edge.Window, len(found))
		for i, w := range found {
			list[i] = edge.Window{
				BusinessDate: w.BusinessDate.String(), State: w.State, Terms: w.Terms, OpensAt: w.OpensAt.UTC(), EndsAt: w.EndsAt.UTC(),
				ClosesAt: w.ClosesAt.UTC(), PaysAt: w.PaysAt.UTC(), ClosedAt: inUTC(w.ClosedAt), PaidAt: inUTC(w.PaidAt),
			}
		}
		return err
	})
	return list, err
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return orNever(t.UTC())
}

// terms gives the default terms and every version that was added to them.
func (g *Gateway) terms(ctx context.Context, tenant citygate.TenantID, page edge.VersionsPage) (list []edge.Terms, err error) {
	until, err := untilDate(page.Until)
	if err != nil {
		return nil, err
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		list = nil
		var behind int
		if page.Behind == nil {
			list = []edge.Terms{termsView(settle.DefaultTerms())}
		} else {
			behind = int(*page.Behind)
		}
		all, err := settle.TermsAfter(ctx, tx, behind, until, page.Limit-len(list))
		for _, t := range all {
			list = append(list, termsView(t))
		}
		return err
	})
	return list, err
}

// untilDate reads the end of a span of business dates, nil for "".
func untilDate(text string) (*citygate.Date, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // there is no end
	}
	d, err := citygate.ParseDate(text)
	return &d, err
}

func termsView(t settle.Terms) edge.Terms {
	v := edge.Terms{Version: t.Version, CloseAfterMinutes: int(t.CloseAfter / time.Minute), PayAfterMinutes: int(t.PayAfter / time.Minute)}
	if t.Version > 0 {
		v.From = t.From.String()
	}
	return v
}

func (g *Gateway) addTerms(ctx context.Context, actor string, tenant citygate.TenantID, t edge.Terms) error {
	if err := g.byHand(ctx, tenant, manifest.KindSettlement, ""); err != nil {
		return err
	}
	from, err := citygate.ParseDate(t.From)
	if err != nil {
		return settle.ErrTerms.Explain("from: want a date, such as 2026-11-23")
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		return settle.AddTerms(ctx, tx, actor, settle.Terms{
			Version: t.Version, From: from, CloseAfter: time.Duration(t.CloseAfterMinutes) * time.Minute, PayAfter: time.Duration(t.PayAfterMinutes) * time.Minute,
		})
	})
}

// EnsurePlatform makes the platform's own keys: three roots of which two sign
// bundles, unless a root set was imported before, the token key and the key that
// seals the platform's audit log. created says
// whether the token key is new, which is when the first administrator needs a
// token. A key store that is not this database's is refused; one that is away is
// met later.
func (g *Gateway) EnsurePlatform(ctx context.Context, actor string) (created bool, err error) {
	if _, err := g.Bundles.EnsureRoots(ctx, actor); err != nil {
		return false, err
	}
	_, _, err = g.Ring.Active(ctx, keys.Platform, keys.Token)
	created = errors.Is(err, keys.ErrNotFound)
	if err != nil && !created {
		return false, err
	}
	if _, err := g.Ring.Ensure(ctx, actor, keys.Platform, keys.Token, keys.Ed25519); err != nil {
		return false, err
	}
	if _, err := g.Ring.Ensure(ctx, actor, keys.Platform, keys.Audit, keys.Ed25519); err != nil {
		return false, err
	}
	if err := g.Ring.Confirm(ctx, keys.Platform, keys.Token); err != nil && !errors.Is(err, keys.ErrUnavailable) {
		return false, err
	}
	_, err = g.Ring.EnsureNext(ctx, actor, keys.Platform, keys.Token) // who verifies tokens by key set knows the next one
	if err != nil && !errors.Is(err, keys.ErrUnavailable) && !errors.Is(err, keys.ErrForbidden) {
		return false, err
	}
	return created, nil
}
