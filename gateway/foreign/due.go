package foreign

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func sum256(b []byte) [32]byte { return sha256.Sum256(b) }

// batch bounds the codes of one step, and askBatch those that are asked about
// between two looks at the clock.
const (
	batch    = 500
	askBatch = 50
)

// How long after a question that was not answered it is asked again: as long
// as it has been asked about, between these.
const (
	retryMin = time.Minute
	retryMax = time.Hour
)

// RunDue goes on with a tenant's codes that wait: names those whose rider is known
// by now, asks providers about others, gives up on those whose time is over, and
// tells operators. It may run at any time and any number of times.
func (d *Desk) RunDue(ctx context.Context, tenant citygate.TenantID) error {
	failed := d.settleOpen(ctx, tenant)
	failed = errors.Join(failed, d.ask(ctx, tenant))
	return errors.Join(failed, d.tell(ctx, tenant))
}

// settleOpen names what can be named and gives up what has waited too long.
func (d *Desk) settleOpen(ctx context.Context, tenant citygate.TenantID) error {
	for {
		n := 0
		err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			rows, err := collectRows(tx.Query(ctx, selectOpen, tx.Tenant, tx.Now, batch))
			if n = len(rows); err != nil || n == 0 {
				return err
			}
			issuer, err := d.issuer(ctx, tx.Tenant)
			if err != nil {
				return err
			}
			readers, err := d.readers(ctx, tx)
			if err != nil {
				return err
			}
			if err := d.decide(ctx, tx, issuer, readers, rows); err != nil {
				return err
			}
			for _, r := range rows {
				if !r.decided() { // it is here because its time is over
					r.refuse(code.Unresolved)
				}
			}
			return store(ctx, tx, rows)
		})
		if err != nil || n < batch {
			return err
		}
	}
}

// ask has providers say whose deferred codes are.
func (d *Desk) ask(ctx context.Context, tenant citygate.TenantID) error {
	var entries map[code.SchemeID]*reader
	err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		entries, err = d.readers(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	beside := d.Beside
	if beside == nil {
		beside = within
	}
	var failed error
	for scheme, e := range entries {
		if e.Asks {
			failed = errors.Join(failed, beside(ctx, tenant, e.Contract, func(ctx context.Context) error { return d.askAbout(ctx, tenant, scheme, e) }))
		}
	}
	return failed
}

// silentMost is how many questions in a row a provider may leave unanswered before
// it is left alone; the others wait as if they had been asked.
const silentMost = 3

// errSilent says that it did.
var errSilent = errors.New("foreign: the provider answered none of several questions about codes")

// within does work here. That a provider is silent is no failure of the caller's.
func within(ctx context.Context, _ citygate.TenantID, _ string, work func(context.Context) error) error {
	if err := work(ctx); !errors.Is(err, errSilent) {
		return err
	}
	return nil
}

func (d *Desk) askAbout(ctx context.Context, tenant citygate.TenantID, scheme code.SchemeID, e *reader) error {
	silent := 0 // in a row
	for {
		var rows []*row
		err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			rows, err = collectRows(tx.Query(ctx, selectToAsk, tx.Tenant, tx.Now, []string{string(scheme)}, askBatch))
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, r := range rows {
				r.state = sent
				r.tries++
				if err := storeAt(ctx, tx, []*row{r}, tx.Now.Add(retryAfter(r.tries))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		resolver, ok, err := d.Resolver(ctx, tenant, e.Contract)
		if err != nil || !ok { // the codes go on waiting: somebody may register them
			return err
		}
		for _, r := range rows {
			if silent == silentMost {
				return errSilent
			}
			answer := resolver.ResolveCode(ctx, driver.CodeQuestion{
				OurID: questionID(tenant, r), Scheme: string(r.scheme), Evidence: r.evidence, At: r.at, Fare: r.fare,
			})
			if silent++; answer.ReasonCode != adapters.NoAnswer {
				silent = 0
			}
			if err := d.answered(ctx, tenant, e, r, answer); err != nil {
				return err
			}
		}
	}
}

// retryAfter doubles from retryMin to retryMax.
func retryAfter(tries int) time.Duration {
	wait := retryMin
	for range tries - 1 {
		if wait *= 2; wait >= retryMax {
			return retryMax
		}
	}
	return wait
}

// answered stores what a provider said of a code. One that was decided meanwhile
// stays as it is.
func (d *Desk) answered(ctx context.Context, tenant citygate.TenantID, e *reader, r *row, a driver.CodeAnswer) error {
	return d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		r := *r // the transaction may run again
		switch a.Outcome {
		case driver.CodeRefused:
			r.refuse(code.NotIssued)
		case driver.CodeKnown:
			held, err := holders(ctx, tx, []*row{&r})
			if err != nil {
				return err
			}
			if h := held[onceKey{r.scheme, r.once}]; h == nil || h.decided() {
				return nil
			}
			if err := d.nameBy(ctx, tx, e, &r, a.RiderRef); err != nil {
				return err
			}
		default:
			r.state = unknown
			if a.RetryAt.After(tx.Now) && a.RetryAt.Before(tx.Now.Add(retryMax)) {
				return storeAt(ctx, tx, []*row{&r}, a.RetryAt)
			}
		}
		return store(ctx, tx, []*row{&r})
	})
}

// nameBy names a row by what the provider calls the payer.
func (d *Desk) nameBy(ctx context.Context, tx *pg.Tx, e *reader, r *row, payer string) error {
	issuer, err := d.issuer(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	accounts, err := credential.OpenAccounts(ctx, tx, actor, []credential.Account{{Contract: e.Contract, RiderRef: payer}})
	if err != nil {
		return err
	}
	r.subject = bySaid(r.scheme, payer)
	who := subject{r.scheme, r.subject, accounts[0].ID}
	known, err := enlist(ctx, tx, issuer, "provider", []subject{who})
	if err != nil {
		return err
	}
	return give(ctx, tx, []*row{r}, func(*row) (citygate.Rider, bool) { return known[who.key()].rider, true })
}

// tell tells operators what was decided and they do not know yet.
func (d *Desk) tell(ctx context.Context, tenant citygate.TenantID) error {
	for {
		n := 0
		err := d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			rows, err := collectRows(tx.Query(ctx, selectUntold, tx.Tenant, batch))
			if n = len(rows); err != nil || n == 0 {
				return err
			}
			issuer, err := d.issuer(ctx, tx.Tenant)
			if err != nil {
				return err
			}
			schemes, onces := keys(rows)
			if _, err := tx.Exec(ctx, markTold, tx.Tenant, schemes, onces); err != nil {
				return err
			}
			for len(rows) > 0 { // they are in the order of operators
				operator := rows[0].operator
				var names []interbook.Name
				for len(rows) > 0 && rows[0].operator == operator {
					rows[0].rider.Issuer = issuer
					names, rows = append(names, rows[0].name()), rows[1:]
				}
				if err := d.tellOne(ctx, tx, operator, names); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n < batch {
			return err
		}
	}
}

func (d *Desk) tellOne(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, names []interbook.Name) error {
	if operator == tx.Tenant {
		return d.Tell(ctx, tx, names)
	}
	return interbook.Put(ctx, tx, operator, interbook.KindNames, interbook.Names{Items: names})
}
