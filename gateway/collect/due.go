package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The kinds of charges.
const (
	kindCharge    = "charge"
	kindRecovery  = "recovery"
	kindFirstRide = "first_ride" // a declined charge that the scheme insures, asked for once more
)

// A charge is one row of charges, as far as this package needs it.
type charge struct {
	ID           citygate.UUID
	Aggregation  citygate.UUID
	Kind         string
	OurID        string
	Contract     string
	Account      citygate.UUID
	PayerRef     string
	Amount       int64
	Currency     citygate.Currency
	Fee          int64
	Subject      string
	TripAt       time.Time
	BusinessDate citygate.Date
	State        adapters.State
	Do           adapters.Do
	ProviderRef  string
	Mark         string // what names it to its provider beside OurID
	CreatedAt    time.Time
	SentAt       time.Time
	FinalAt      time.Time
	Evidence     [][]byte
	Quote        driver.Quote // where the payer pays in another currency

	StartedBy risk.Source
	Recovery  driver.Recovery // as the provider is told; with it, or of a first ride, Recovers
	Recovers  driver.Ref
	Shown     []byte // by the rider, where a tap started it
	over      bool   // the scheme lets the merchant ask for this debt no more
}

// debit gives the request. It depends on columns that never change, so that it
// is the same, byte for byte, each time it is sent.
func (c *charge) debit() driver.Debit {
	return driver.Debit{OurID: c.OurID, RiderRef: c.PayerRef, Amount: c.money(), TripTime: c.TripAt, Subject: c.Subject,
		Evidence: c.Evidence, Attempted: c.CreatedAt, FirstRide: c.Kind == kindFirstRide, Quote: c.Quote, Mark: c.Mark,
		Recovery: c.Recovery, Recovers: c.Recovers, Shown: c.shown()}
}

// shown gives what goes with a recovery that the provider knows as one by a tap.
func (c *charge) shown() []byte {
	if c.Recovery != driver.RecoverByTap {
		return nil
	}
	return c.Shown
}

// recovers reports whether the charge is of a debt.
func (c *charge) recovers() bool { return c.Kind != kindCharge }

func (c *charge) ref() driver.Ref {
	return driver.Ref{OurID: c.OurID, ProviderRef: c.ProviderRef, SubmittedAt: c.SentAt, Amount: c.money(), Quote: c.Quote, Mark: c.Mark}
}

func (c *charge) money() citygate.Money { return citygate.Money{Minor: c.Amount, Currency: c.Currency} }

const (
	// leaseMargin is how long after a call's deadline a row that is still
	// marked as being sent belongs to a process that died.
	leaseMargin = time.Minute
	// attemptsMax bounds what one run asks about one payment; the rest waits
	// for the next run.
	attemptsMax = 4
)

// A run is one RunDue.
type run struct {
	*Collector
	tenant  citygate.TenantID
	touched map[string]int // calls about each payment in this run
	failed  []error
}

// RunDue does what is due by the clock: closes aggregations, starts recoveries,
// sends charges and refunds and asks after those whose outcome is open, until
// nothing is due. It may run any number of times, also at once.
func (c *Collector) RunDue(ctx context.Context, tenant citygate.TenantID) error {
	r := &run{Collector: c, tenant: tenant, touched: map[string]int{}}
	if err := c.reverseDue(ctx, tenant); err != nil { // what cannot be booked of one holds up no charge
		r.failed = append(r.failed, err)
	}
	if err := c.expirePurchases(ctx, tenant); err != nil {
		return err
	}
	if err := r.closeDue(ctx); err != nil {
		return err
	}
	if err := r.startRecoveries(ctx); err != nil {
		return err
	}
	if err := r.moveCharges(ctx); err != nil {
		return err
	}
	contracts, err := r.contractsDue(ctx)
	if err != nil {
		return err
	}
	for _, contract := range contracts {
		if c.Bulkhead != nil {
			if err := c.Bulkhead.Do(ctx, TaskCharges, tenant, contract.Name, func(ctx context.Context) error {
				alone := &run{Collector: c, tenant: tenant, touched: map[string]int{}}
				err := alone.runContract(ctx, contract)
				return errors.Join(append(alone.failed, err)...)
			}); err != nil {
				return err
			}
			continue
		}
		if err := r.runContract(ctx, contract); err != nil {
			r.failed = append(r.failed, fmt.Errorf("collect, tenant %d, contract %s: %w", tenant, contract.Name, err))
		}
	}
	return errors.Join(r.failed...)
}

func (r *run) runContract(ctx context.Context, contract Contract) error {
	provider, err := r.Provider(ctx, r.tenant, contract)
	if err != nil {
		return err
	}
	for {
		did, err := r.sendCharges(ctx, contract, provider)
		if err != nil {
			return err
		}
		asked, err := r.queryCharges(ctx, contract, provider)
		if err != nil {
			return err
		}
		refunded, err := r.runRefunds(ctx, contract, provider)
		if err != nil {
			return err
		}
		if !did && !asked && !refunded {
			return nil
		}
	}
}

// sendCharges submits what is due to be submitted, a batch at a time.
func (r *run) sendCharges(ctx context.Context, contract Contract, provider *adapters.Provider) (did bool, err error) {
	about := provider.Describe()
	for {
		var due []citygate.UUID
		err := r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) (err error) {
			due, err = dueToSend(ctx, tx, contract.Name)
			return err
		})
		if err != nil {
			return did, err
		}
		took := false
		for ids := range slices.Chunk(due, max(1, about.BatchMax)) {
			sent, err := r.sendBatch(ctx, contract, provider, about, ids)
			if err != nil {
				return did, err
			}
			took = took || sent
		}
		did = did || took
		if !took { // nothing is due, or another process has it
			return did, nil
		}
	}
}

// sendBatch submits those of the charges that are still due.
func (r *run) sendBatch(ctx context.Context, contract Contract, provider *adapters.Provider, about driver.Description, ids []citygate.UUID) (did bool, err error) {
	var batch []charge
	var lease time.Time
	err = r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) (err error) {
		lease = tx.Now.Add(about.Deadline + leaseMargin)
		if batch, err = takeToSend(ctx, tx, ids, lease); err != nil {
			return err
		}
		if err := markCharges(ctx, tx, provider, batch); err != nil {
			return err
		}
		return recoverAs(ctx, tx, about.Limits.Recoveries, batch)
	})
	if err != nil || len(batch) == 0 {
		return false, err
	}
	batch, certain := payable(provider, batch)
	batch, over := exhausted(batch)
	batch, rest, unquoted, err := r.ask(ctx, contract, provider, about, batch, lease)
	if err != nil {
		return false, err
	}
	certain = slices.Concat(certain, over, rest)
	if len(batch) == 0 {
		how := silent // a payment that the provider could never take is no fault of its
		if unquoted {
			how = fails
		}
		return true, r.record(ctx, contract, about, how, certain)
	}
	debits := make([]driver.Debit, len(batch))
	for i := range batch {
		debits[i] = batch[i].debit()
	}
	results, callErr := provider.Submit(ctx, debits)
	heard := classify(results, callErr)
	err = r.record(ctx, contract, about, healthOf(heard, callErr), append(certain, heard...))
	if err == nil && callErr == nil {
		r.askStandings(ctx, contract, provider, batch, func(i int) bool { return results[i].Outcome == driver.Succeeded })
	}
	return true, err
}

// payable gives the charges that the provider could take; the others were certainly
// not sent. One bad debit must not stop the others.
func payable(provider *adapters.Provider, batch []charge) (ready []charge, refused []outcome) {
	for i := range batch {
		if err := provider.Check(batch[i].debit()); err != nil {
			refused = append(refused, outcome{batch[i].OurID, adapters.NotSent, driver.Result{OurID: batch[i].OurID, ReasonCode: reasonOf(err)}})
			continue
		}
		ready = append(ready, batch[i])
	}
	return ready, refused
}

// queryCharges asks after what is open and due.
func (r *run) queryCharges(ctx context.Context, contract Contract, provider *adapters.Provider) (did bool, err error) {
	about := provider.Describe()
	for {
		var batch []charge
		err := r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) (err error) {
			batch, err = takeToQuery(ctx, tx, contract.Name, queryBatch, tx.Now.Add(queryBatch*about.Deadline+leaseMargin))
			if err != nil {
				return err
			}
			return quotedCharges(ctx, tx, provider, batch)
		})
		if err != nil || len(batch) == 0 {
			return did, err
		}
		did = true
		outcomes := make([]outcome, len(batch))
		errs := make([]error, len(batch))
		var asking sync.WaitGroup
		for first := range min(queriesAtOnce, len(batch)) {
			asking.Go(func() {
				for i := first; i < len(batch); i += queriesAtOnce {
					outcomes[i] = outcome{id: batch[i].OurID, event: adapters.Queried}
					var err error
					if outcomes[i].result, err = provider.Query(ctx, batch[i].ref()); err != nil { // nobody can say still
						outcomes[i].result, errs[i] = driver.Result{OurID: batch[i].OurID, ReasonCode: reasonOf(err), RetryAt: outcomes[i].result.RetryAt}, err
					}
				}
			})
		}
		asking.Wait()
		if err := r.record(ctx, contract, about, healthOfQueries(outcomes, errs), outcomes); err != nil {
			return did, err
		}
	}
}

const (
	queryBatch    = 50
	queriesAtOnce = 4 // of one contract
)

// An outcome is what was heard of one payment.
type outcome struct {
	id     string
	event  adapters.Event
	result driver.Result
}

// classify turns the answer of a call into outcomes.
func classify(results []driver.Result, err error) []outcome {
	event := adapters.Submitted
	switch {
	case err == nil:
	case adapters.Certain(err):
		event = adapters.NotSent
	default:
		event = adapters.Lost
	}
	out := make([]outcome, len(results))
	for i, res := range results {
		if err != nil {
			res.ReasonCode = reasonOf(err)
		}
		out[i] = outcome{res.OurID, event, res}
	}
	return out
}

func reasonOf(err error) string {
	if c, ok := errors.AsType[*citygate.Code](err); ok {
		return c.Name
	}
	return "unknown"
}

// patient gives the instant of an action, later if this run has asked often enough.
func (r *run) patient(id string, a adapters.Action, about driver.Description, now time.Time) time.Time {
	r.touched[id]++
	if r.touched[id] >= attemptsMax && !a.At.After(now) {
		return now.Add(max(about.PollEvery, time.Second))
	}
	return a.At
}

// record stores outcomes and what follows from them.
func (r *run) record(ctx context.Context, contract Contract, about driver.Description, how health, outcomes []outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	// The money may have moved: an ended context must not keep us from saying so.
	ctx = context.WithoutCancel(ctx)
	settings, err := r.Settings(ctx, r.tenant)
	if err != nil {
		return err
	}
	at := map[string]time.Time{}
	var contradictions []error
	err = r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) error {
		contradictions = nil
		if err := hear(ctx, tx, contract.Name, how); err != nil {
			return err
		}
		var err error
		contradictions, err = r.apply(ctx, tx, contract, about, settings.Rules, outcomes, func(id string, a adapters.Action) time.Time {
			if _, ok := at[id]; !ok { // once, though the transaction may run again
				at[id] = r.patient(id, a, about, tx.Now)
			}
			return at[id]
		})
		return err
	})
	r.failed = append(r.failed, contradictions...)
	return err
}
