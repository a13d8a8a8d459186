package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/gateway/sales"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// errRiderProof is the one answer to every code that proves nobody: which of the
// checks failed helps nobody but who guesses.
var errRiderProof = &citygate.Code{Name: "rider.proof", Kind: citygate.Unauthenticated, Title: "The code does not prove a rider here: it is not genuine, not fresh, was used before, or is one for readers. Make a proof (a code for a party of 0) and send it at once."}

func (g *Gateway) selfService() edge.Riders {
	return edge.Riders{Trips: g.riderTrips, Trip: g.riderTrip, Claim: g.riderClaim, Debts: g.riderDebts, Pay: g.riderPay, Inspect: g.inspect,
		Join: g.riderJoin, Leave: g.riderLeave, Joined: g.riderJoined, Challenge: g.riderChallenge}
}

// proofSlack is how far the clocks of a phone and of the gateway may be apart.
const proofSlack = 30 * time.Second

// proven gives the rider whose credential made a proof just now. A code that holds
// is kept as used, so that whoever saw it on a screen or on the wire learns nothing
// with it: by the issuer, because what a code proves to one tenant it would prove to
// every other that takes the issuer's riders, and these do not trust each other. An
// answer to a challenge names its tenant, and is kept there.
func (g *Gateway) proven(ctx context.Context, tenant citygate.TenantID, raw []byte) (rider citygate.Rider, err error) {
	answers := bytes.HasPrefix(raw, []byte(answerMagic))
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if answers {
			rider, err = g.answered(ctx, tx, raw)
			return err
		}
		var fresh bool
		if rider, fresh, err = g.provenBy(ctx, tx, raw); err == nil && !fresh {
			err = errRiderProof.Because(nil, "rider %s", rider)
		}
		return err
	})
	if err != nil || answers {
		return rider, err
	}
	err = g.ofIssuer(ctx, rider.Issuer, func(tx *pg.Tx) error {
		first, err := keepProof(ctx, tx, sha256.Sum256(raw))
		if err == nil && !first {
			err = errRiderProof.Because(nil, "rider %s: used before", rider)
		}
		return err
	})
	if errors.Is(err, tenants.ErrNotFound) {
		err = errRiderProof.Because(err, "rider %s", rider)
	}
	return rider, err
}

// shownBy verifies a code under the keys of a tenant: those of its own riders and
// of the riders it takes.
func (g *Gateway) shownBy(ctx context.Context, tx *pg.Tx, raw []byte) (rider citygate.Rider, fresh bool, err error) {
	proofs, err := g.Collector.Prove(ctx, tx, [][]byte{raw})
	if err != nil {
		return rider, false, err
	}
	p := proofs[0]
	rider = p.Use.Rider
	if p.Reason != "" || rider == (citygate.Rider{}) || rider.Foreign() {
		return rider, false, errRiderProof.Because(nil, "%s", p.Reason)
	}
	return rider, freshAt(tx.Now, p.GeneratedAt, p.Window, p.ExpiresAt), nil
}

// freshAt reports whether a code was made just now, by all its clocks may be apart.
func freshAt(now time.Time, generated, window, expires int64) bool {
	made := time.Unix(generated, 0)
	return !made.After(now.Add(proofSlack)) && now.Before(made.Add(time.Duration(window)*time.Second+proofSlack)) && now.Before(time.Unix(expires, 0))
}

// provenBy gives the rider of a code that was made as a proof. What a device shows at a
// reader proves nobody: every reader of every tenant that saw it in its minute could be
// the rider elsewhere. Only where a device can make nothing else it has to do.
func (g *Gateway) provenBy(ctx context.Context, tx *pg.Tx, raw []byte) (rider citygate.Rider, fresh bool, err error) {
	var c code.Code
	if err := ct1.ParseProof(raw, &c); err != nil {
		if err := (ct1.Scheme{}).Parse(raw, &c); err != nil || !ct1.ProvesByDisplay(&c) {
			return rider, false, errRiderProof.Because(err, "it is for readers")
		}
		return g.shownBy(ctx, tx, raw)
	}
	keys, err := g.trust.held(tx.Tenant)
	if err != nil {
		return rider, false, err
	}
	if v := (ct1.Scheme{}).Verify(&c, keys, nil); v.Reason != "" {
		return rider, false, errRiderProof.Because(nil, "%s", v.Reason)
	}
	return c.Rider, freshAt(tx.Now, c.GeneratedAt, c.Window, c.ExpiresAt), nil
}

// asRider runs fn for the rider whose code it is, in the tenant's transaction.
func (g *Gateway) asRider(ctx context.Context, tenant citygate.TenantID, raw []byte, fn func(tx *pg.Tx, rider citygate.Rider) error) error {
	return g.asRiders(ctx, tenant, [][]byte{raw}, func(tx *pg.Tx, riders []citygate.Rider) error {
		if fn == nil {
			return nil
		}
		return fn(tx, riders[0])
	})
}

// asRiders is asRider for codes of several credentials.
func (g *Gateway) asRiders(ctx context.Context, tenant citygate.TenantID, raws [][]byte, fn func(tx *pg.Tx, riders []citygate.Rider) error) error {
	if _, err := g.Tenants.ByID(ctx, tenant); err != nil {
		return errRiderProof.Because(err, "tenant %d", tenant)
	}
	if err := g.prime(ctx, tenant); err != nil {
		return err
	}
	if _, err := g.trust.held(tenant); err != nil { // it takes no codes yet
		return errRiderProof.Because(err, "tenant %d", tenant)
	}
	riders := make([]citygate.Rider, len(raws))
	for i, raw := range raws {
		var err error
		if riders[i], err = g.proven(ctx, tenant, raw); err != nil {
			return err
		}
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return fn(tx, riders) })
}

func tripView(j pricing.Journey) edge.Trip {
	v := edge.Trip{ID: j.ID.Text(pricing.Prefix), StartsAt: j.StartsAt, EndsAt: j.EndsAt, State: j.State, Unknown: j.Reason, Reading: readingView(j.Reading)}
	if j.Amount.Currency != "" && j.State != pricing.StateSetAside {
		fare := j.Amount
		v.Fare = &fare
	}
	return v
}

func (g *Gateway) riderTrips(ctx context.Context, tenant citygate.TenantID, raw []byte, page edge.Page) (list []edge.Trip, err error) {
	err = g.asRider(ctx, tenant, raw, func(tx *pg.Tx, rider citygate.Rider) error {
		found, err := pricing.List(ctx, tx, pricing.Filter{Rider: rider}, page.After, page.Limit)
		list = make([]edge.Trip, len(found))
		for i, j := range found {
			list[i] = tripView(j)
		}
		return err
	})
	return list, err
}

func (g *Gateway) riderTrip(ctx context.Context, tenant citygate.TenantID, raw []byte, id citygate.UUID) (v edge.Trip, err error) {
	err = g.asRider(ctx, tenant, raw, func(tx *pg.Tx, rider citygate.Rider) (err error) {
		v, err = tripOf(ctx, tx, rider, id)
		return err
	})
	return v, err
}

// tripOf gives a rider's own trip with why it cost what it cost. Another rider's
// is one that does not exist.
func tripOf(ctx context.Context, tx *pg.Tx, rider citygate.Rider, id citygate.UUID) (edge.Trip, error) {
	j, decisions, err := pricing.Find(ctx, tx, id)
	if err == nil && j.Rider != rider {
		err = pricing.ErrNotFound.Because(nil, "%s", id)
	}
	if err != nil {
		return edge.Trip{}, err
	}
	v := tripView(j)
	if len(decisions) > 0 {
		last := decisions[len(decisions)-1]
		v.Decision, v.BusinessDate, v.Explanation = last.N, last.BusinessDate.String(), last.Explanation
	}
	v.Corrections, err = corrections(ctx, tx, id)
	return v, err
}

func (g *Gateway) riderClaim(ctx context.Context, tenant citygate.TenantID, raw []byte, id citygate.UUID, stop string, at time.Time) (v edge.Trip, err error) {
	var rider citygate.Rider
	if err := g.asRider(ctx, tenant, raw, func(_ *pg.Tx, who citygate.Rider) error { rider = who; return nil }); err != nil {
		return v, err
	}
	if err := g.Pricing.Claim(ctx, tenant, pricing.MissingTap{Rider: rider, Journey: id, Stop: stop, At: at}); err != nil {
		return v, err
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		v, err = tripOf(ctx, tx, rider, id)
		return err
	})
	return v, err
}

// accountOf gives who pays for a rider of the tenant's own; zero for others.
func accountOf(ctx context.Context, tx *pg.Tx, rider citygate.Rider) (citygate.UUID, error) {
	found, err := credential.AccountsOf(ctx, tx, []citygate.Rider{rider})
	return found[rider].ID, err
}

func (g *Gateway) riderDebts(ctx context.Context, tenant citygate.TenantID, raw []byte, page edge.Page) (list []edge.OwnDebt, err error) {
	err = g.ownAccount(ctx, tenant, raw, func(tx *pg.Tx, account citygate.UUID) error {
		found, err := collect.Debts(ctx, tx, "open", account, page.After, page.Limit)
		list = make([]edge.OwnDebt, len(found))
		for i, d := range found {
			list[i] = edge.OwnDebt{ID: d.ID.Text("dbt_"), Left: d.Left, BusinessDate: d.BusinessDate.String(), OpenedAt: d.OpenedAt, RetryAt: orNever(d.RetryAt), Product: d.Product}
			if !d.Sale.IsZero() {
				list[i].Sale = d.Sale.Text(sales.Prefix)
			}
		}
		return err
	})
	return list, err
}

func (g *Gateway) riderPay(ctx context.Context, tenant citygate.TenantID, raw []byte) (n int, err error) {
	err = g.ownAccount(ctx, tenant, raw, func(tx *pg.Tx, account citygate.UUID) error {
		n, err = g.Collector.Recover(ctx, tx, risk.ByRider, "rider", account)
		return err
	})
	return n, err
}

// ownAccount runs fn for the account of a rider whom the tenant issued a
// credential; of other tenants' riders it knows no account and does nothing.
func (g *Gateway) ownAccount(ctx context.Context, tenant citygate.TenantID, raw []byte, fn func(tx *pg.Tx, account citygate.UUID) error) error {
	return g.asRider(ctx, tenant, raw, func(tx *pg.Tx, rider citygate.Rider) error {
		own, err := heldDirectory{g}.ByID(ctx, tenant)
		if err != nil || own.Issuer != rider.Issuer {
			return err
		}
		account, err := accountOf(ctx, tx, rider)
		if err != nil || account.IsZero() {
			return err
		}
		return fn(tx, account)
	})
}

// The answers to an inspector.
const (
	inspectedValid  = "valid"
	inspectedNot    = "not_valid"
	inspectedDenied = "denied"
)

// inspect says whether who shows a code rides by it: the code holds now, nobody
// denies the credential, and a ride of it is under way or began a moment ago. An
// inspector learns nothing else, and nothing is kept of having asked.
func (g *Gateway) inspect(ctx context.Context, tenant citygate.TenantID, raw []byte) (string, error) {
	if err := g.prime(ctx, tenant); err != nil {
		return "", err
	}
	if _, err := g.trust.held(tenant); err != nil {
		return inspectedNot, nil // it takes no codes yet
	}
	var rider citygate.Rider
	riding := false
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		who, fresh, err := g.shownBy(ctx, tx, raw)
		if errors.Is(err, errRiderProof) || err == nil && !fresh {
			return nil
		}
		if err != nil {
			return err
		}
		rider = who
		riding, err = pricing.Riding(ctx, tx, rider, tx.Now)
		return err
	})
	if err != nil || rider == (citygate.Rider{}) {
		return inspectedNot, err
	}
	denied := false
	if err := g.ofIssuer(ctx, rider.Issuer, func(tx *pg.Tx) (err error) {
		if denied, err = credential.IsDenied(ctx, tx, rider); err != nil || !denied {
			return err
		}
		account, err := accountOf(ctx, tx, rider)
		if err != nil || account.IsZero() {
			return err
		}
		_, err = g.Collector.Recover(ctx, tx, risk.ByTap, "system:inspection", account) // as at a reader
		return err
	}); err != nil {
		return "", err
	}
	switch {
	case denied:
		return inspectedDenied, nil
	case riding:
		return inspectedValid, nil
	}
	return inspectedNot, nil
}

func (g *Gateway) riskAPI() edge.Risk {
	return edge.Risk{Terms: g.riskTerms, Publish: byHand(g, manifest.KindRiskTerms, g.publishRiskTerms), Liability: g.liability, Flags: g.riskFlags, ChangeFlag: g.changeRiskFlag}
}

func (g *Gateway) riskTerms(ctx context.Context, tenant citygate.TenantID, page pg.Span) (list []edge.RiskTerms, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := risk.Versions(ctx, tx, page)
		if err != nil {
			return err
		}
		list = make([]edge.RiskTerms, len(found))
		for i, v := range found {
			if list[i].Terms, err = v.Terms.Encode(); err != nil {
				return err
			}
			list[i].From = v.From
		}
		return nil
	})
	return list, err
}

// insurable refuses terms by which a provider would be asked for insured first
// rides that knows none, or for a debt more often or later than its scheme allows.
func (g *Gateway) insurable(ctx context.Context, tenant citygate.TenantID, terms *risk.Terms) error {
	for i := range terms.Contracts {
		c := &terms.Contracts[i]
		var held collect.Contract
		err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			held, err = collect.FindContract(ctx, tx, c.Name)
			return err
		})
		if err != nil && c.FirstRide == 0 {
			continue
		}
		if err != nil {
			return risk.ErrTerms.Because(err, "contract %s: first_ride_minor: there is no such contract yet", c.Name)
		}
		p, err := g.Collector.Provider(ctx, tenant, held)
		if err != nil && c.FirstRide == 0 {
			continue // a try that the scheme forbids is not sent all the same
		}
		if err != nil {
			return err
		}
		limits := p.Describe().Limits
		if r := limits.Recoveries; r.Tries > 0 && c.Retries > r.Tries || r.Within > 0 && time.Duration(c.WithinDay)*24*time.Hour > r.Within {
			return risk.ErrTerms.Explain("contract %s: its scheme lets a debt be asked for %d times within %s by the merchant; the terms say %d within %d days",
				c.Name, r.Tries, r.Within, c.Retries, c.WithinDay)
		}
		if c.FirstRide > 0 && !limits.FirstRide {
			return risk.ErrTerms.Explain("contract %s: first_ride_minor: its provider knows no insured first rides; leave it out", c.Name)
		}
	}
	return nil
}

func (g *Gateway) publishRiskTerms(ctx context.Context, actor string, tenant citygate.TenantID, t edge.RiskTerms) error {
	terms, err := risk.Parse(t.Terms)
	if err != nil {
		return err
	}
	if err := g.insurable(ctx, tenant, terms); err != nil {
		return err
	}
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return risk.Publish(ctx, tx, actor, terms, t.From) })
}

// liability gives who bears what, by the terms in force and, where they are
// silent, by what holds without them. Whether a tenant exists does not show.
func (g *Gateway) liability(ctx context.Context, tenant citygate.TenantID) (edge.Liability, error) {
	terms := &risk.Terms{}
	if _, err := g.Tenants.ByID(ctx, tenant); err == nil {
		if err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			terms, err = new(risk.Book).At(ctx, tx, tx.Now)
			return err
		}); err != nil {
			return edge.Liability{}, err
		}
	}
	l := edge.Liability{Version: terms.Version, Records: []edge.LiabilityLine{}, DisputeDays: terms.Disputable()}
	for _, kind := range []risk.Records{risk.LateRecords, risk.ExpiredRecords, risk.DeniedRecords} {
		days := []int{0}
		for _, x := range terms.Late {
			if x.Records == kind && x.Days > 0 {
				days = append(days, x.Days)
			}
		}
		for _, d := range days {
			l.Records = append(l.Records, edge.LiabilityLine{Records: string(kind), AfterDays: d, Bearer: string(terms.Bearer(kind, time.Duration(d)*24*time.Hour))})
		}
	}
	return l, nil
}
