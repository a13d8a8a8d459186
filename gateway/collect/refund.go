package collect

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A refund is one row of refunds. It has three states that a charge has not:
// waiting, while its charge is not final, void, when that was declined, and
// replaced, when the provider declined it and it was tried again under another id.
type refund struct {
	ID           citygate.UUID
	OurID        string
	Contract     string
	Account      citygate.UUID
	Journey      citygate.UUID // of a purchase the sale
	N            int           // decision; noDecision of a purchase
	Amount       int64
	Currency     citygate.Currency
	BusinessDate citygate.Date
	State        string
	Do           adapters.Do
	Mark         string // what names it to its provider beside OurID
	SentAt       time.Time
	FinalAt      time.Time
	Charge       charge         // OurID, ProviderRef, SentAt, Amount and Quote
	Pays         citygate.Money // what the payer gets back, where he paid in another currency
}

const (
	refundVoid     = "void"
	refundReplaced = "replaced"
)

func (r *refund) request() driver.Refund {
	return driver.Refund{OurID: r.OurID, Charge: r.Charge.ref(), Amount: citygate.Money{Minor: r.Amount, Currency: r.Currency}, Reason: r.why(), Pays: r.Pays, Mark: r.Mark}
}

// atTill reports whether the refund is of a payment at a till; Journey is then the payment.
func (r *refund) atTill() bool { return r.N < noDecision }

func (r *refund) why() string {
	if r.atTill() {
		return "refund"
	}
	if r.N == noDecision {
		return "product given back"
	}
	return "fare correction"
}

// runRefunds sends refunds that are due and asks after those that are open.
func (r *run) runRefunds(ctx context.Context, contract Contract, provider *adapters.Provider) (did bool, err error) {
	about := provider.Describe()
	refunder, able := provider.Refunder()
	for {
		var batch []refund
		err := r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) (err error) {
			batch, err = takeRefunds(ctx, tx, contract.Name, queryBatch, tx.Now.Add(queryBatch*about.Deadline+leaseMargin))
			if err != nil {
				return err
			}
			if err := markRefunds(ctx, tx, provider, batch); err != nil {
				return err
			}
			return quotedRefunds(ctx, tx, provider, batch)
		})
		if err != nil || len(batch) == 0 {
			return did, err
		}
		if !able {
			return did, ErrNoRefund.Because(nil, "%d refunds wait", len(batch))
		}
		did = true
		var outcomes []outcome
		for i := range batch {
			if batch[i].Do == adapters.Query {
				res, err := refunder.QueryRefund(ctx, batch[i].request())
				if err != nil {
					res = driver.Result{OurID: batch[i].OurID, ReasonCode: reasonOf(err), RetryAt: res.RetryAt}
				}
				outcomes = append(outcomes, outcome{batch[i].OurID, adapters.Queried, res})
				continue
			}
			res, err := refunder.Refund(ctx, batch[i].request())
			outcomes = append(outcomes, classify([]driver.Result{res}, err)...)
		}
		if err := r.recordRefunds(context.WithoutCancel(ctx), about, outcomes); err != nil {
			return did, err
		}
	}
}

func (r *run) recordRefunds(ctx context.Context, about driver.Description, outcomes []outcome) error {
	at := map[string]time.Time{}
	var contradictions []error
	err := r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) (err error) {
		contradictions, err = r.applyRefunds(ctx, tx, about, outcomes, func(id string, a adapters.Action) time.Time {
			if _, ok := at[id]; !ok {
				at[id] = r.patient(id, a, about, tx.Now)
			}
			return at[id]
		})
		return err
	})
	r.failed = append(r.failed, contradictions...)
	return err
}

// applyRefunds is apply for refunds.
func (c *Collector) applyRefunds(ctx context.Context, tx *pg.Tx, about driver.Description, outcomes []outcome,
	when func(id string, a adapters.Action) time.Time) (contradictions []error, err error) {
	if len(outcomes) == 0 {
		return nil, nil
	}
	ids := make([]string, len(outcomes))
	for i, o := range outcomes {
		ids[i] = o.id
	}
	refunds, err := lockRefunds(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	if err := lockTills(ctx, tx, refunds); err != nil {
		return nil, err
	}
	var changes []change
	var transfers []ledger.Transfer
	var sold, atTill []*refund
	for _, o := range outcomes {
		r := refunds[o.id]
		if r == nil {
			contradictions = append(contradictions, ErrLost.Because(nil, "the provider speaks of refund %q, which we did not ask for", o.id))
			continue
		}
		was := adapters.State(r.State)
		m, next, err := o.on("refund", r.ID, was, r.SentAt, about, tx.Now)
		if err != nil {
			contradictions = append(contradictions, err)
			continue
		}
		if was.Final() {
			continue
		}
		if m.final {
			r.State, r.FinalAt = m.state, tx.Now
			if e, ok := inAnother(o.result.Exchange, r.Currency); ok && r.State == string(adapters.Succeeded) {
				if err := insertExchange(ctx, tx, r.OurID, e); err != nil {
					return nil, err
				}
			}
			transfers = append(transfers, r.transfers(tx.Tenant)...)
			if r.atTill() {
				back := TillReturn{Payment: r.Journey, Amount: r.Amount, Date: r.BusinessDate, Succeeded: r.State == string(adapters.Succeeded)}
				if back.Ordinal, err = ordinalOf(ctx, tx, r.ID); err != nil {
					return nil, err
				}
				more, err := c.Tills.Returned(ctx, tx, back)
				if err != nil {
					return nil, err
				}
				transfers, atTill = append(transfers, more...), append(atTill, r)
			}
			if r.N == noDecision {
				sold = append(sold, r)
			}
		} else {
			m.at = when(o.id, next)
		}
		changes = append(changes, m)
	}
	if err := storeRefundChanges(ctx, tx, changes); err != nil {
		return nil, err
	}
	if err := ledger.Post(ctx, tx, transfers); err != nil {
		return nil, err
	}
	for _, r := range atTill { // one that was declined leaves more in the payment
		taken, err := tillWasTaken(ctx, tx, r.Journey)
		if err == nil && taken {
			err = c.settleTill(ctx, tx, r.Journey)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, r := range sold {
		if err := c.returnedOf(ctx, tx, r); err != nil {
			return nil, err
		}
	}
	return contradictions, nil
}
