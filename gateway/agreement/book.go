package agreement

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// dueActor writes what follows from questions that nobody asked for.
const dueActor = "system:agreement"

// A Manager asks a contract's provider: *adapters.Agreements.
type Manager interface {
	OpenAgreement(ctx context.Context, r driver.AgreementRequest) (driver.Invitation, error)
	QueryAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error)
	CloseAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error)
}

// Accounts is what follows for payers. Doing any of it again changes nothing.
type Accounts interface {
	// Known reports whether an account is collected by this number under the contract.
	Known(ctx context.Context, tx *pg.Tx, contract, number string) (bool, error)
	// Linkable is [ErrAccount] for an account that no agreement under the contract can collect.
	Linkable(ctx context.Context, tx *pg.Tx, account citygate.UUID, contract string) error
	// Link has an account be collected by the number too, and Unlink has none be any more.
	Link(ctx context.Context, tx *pg.Tx, actor string, account citygate.UUID, contract, number string) error
	Unlink(ctx context.Context, tx *pg.Tx, actor, contract, number string) error
	// Follow denies the accounts whose own number it is, or lets them go.
	Follow(ctx context.Context, tx *pg.Tx, actor, contract, number string, ended bool) error
}

// A Book keeps the agreements of every tenant. It is safe for concurrent use.
type Book struct {
	DB       *pg.DB
	Random   io.Reader
	Accounts Accounts
	// Manager opens a contract's provider, outside of transactions.
	Manager func(ctx context.Context, tenant citygate.TenantID, contract string) (Manager, error)
	// Beside does work with a contract's provider beside that with others; nil = in turn.
	Beside func(ctx context.Context, tenant citygate.TenantID, contract string, work func(context.Context) error) error
}

// An Opening asks a rider to agree.
type Opening struct {
	Contract  string
	OurID     string        // names it for ever
	Account   citygate.UUID // that is to be collected by it; zero = none yet
	Purpose   string        // shown to the rider
	SingleMax citygate.Money
	NotifyURL string
	ReturnURL string
}

var ourName = regexp.MustCompile(`^[A-Za-z0-9_]{1,32}$`)

// Open gives what a rider opens to agree. The row is there before anything is asked for;
// the same again gives a fresh invitation to the same agreement.
func (b *Book) Open(ctx context.Context, actor string, tenant citygate.TenantID, o Opening) (a Agreement, invitation driver.Invitation, err error) {
	if !ourName.MatchString(o.OurID) {
		return a, invitation, ErrName.Explain("agreement %.40q", o.OurID)
	}
	manager, err := b.Manager(ctx, tenant, o.Contract)
	if err != nil {
		return a, invitation, err
	}
	err = b.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if !o.Account.IsZero() {
			if err := b.Accounts.Linkable(ctx, tx, o.Account, o.Contract); err != nil {
				return err
			}
		}
		if a, err = b.fresh(tx, o.Contract, o.OurID, ""); err != nil {
			return err
		}
		a.Account, a.InvitedAt = o.Account, tx.Now
		a.schedule(tx.Now)
		added, err := insert(ctx, tx, &a)
		if err != nil {
			return err
		}
		if !added {
			known, found, err := lockNamed(ctx, tx, o.Contract, o.OurID, "")
			switch {
			case err != nil:
				return err
			case !found || known.Account != o.Account:
				return ErrOther.Explain("%s", o.OurID)
			case known.State == Ended || known.Ending:
				return ErrEnded.Explain("%s", o.OurID)
			}
			a = known
			a.InvitedAt = tx.Now
			if a.State == Unknown || a.State == Pending {
				a.Asks = 0
				a.schedule(tx.Now)
			}
			if err := store(ctx, tx, &a); err != nil {
				return err
			}
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "agreement.invite", Object: a.object(), After: map[string]any{"contract": a.Contract, "name": a.OurID}})
	})
	if err != nil {
		return a, invitation, err
	}
	invitation, err = manager.OpenAgreement(ctx, driver.AgreementRequest{
		OurID: o.OurID, Purpose: o.Purpose, SingleMax: o.SingleMax, NotifyURL: o.NotifyURL, ReturnURL: o.ReturnURL,
	})
	return a, invitation, err
}

func (a *Agreement) object() string { return "agreement:" + a.ID.Text(Prefix) }

func (b *Book) fresh(tx *pg.Tx, contract, ours, theirs string) (Agreement, error) {
	id, err := citygate.NewUUID(tx.Now, b.Random)
	return Agreement{ID: id, Contract: contract, OurID: ours, ProviderID: theirs, State: Unknown, OpenedAt: tx.Now, ChangedAt: tx.Now}, err
}

// Ask asks the provider how an agreement stands, by the tenant's name of it or the
// provider's number, and has row and accounts follow. One that neither side knows gets
// no row.
func (b *Book) Ask(ctx context.Context, actor string, tenant citygate.TenantID, contract, ours, theirs string) (a Agreement, err error) {
	if ours == "" && theirs == "" {
		return a, ErrName.Explain("no agreement is named")
	}
	manager, err := b.Manager(ctx, tenant, contract)
	if err != nil {
		return a, err
	}
	from, err := b.DB.NowOf(ctx, tenant)
	if err != nil {
		return a, err
	}
	said, err := manager.QueryAgreement(ctx, driver.Agreement{OurID: ours, ID: theirs})
	if err != nil {
		return a, err
	}
	return b.hear(ctx, actor, tenant, contract, said, from, false)
}

// AskByID is Ask of a row.
func (b *Book) AskByID(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) (Agreement, error) {
	a, err := b.find(ctx, tenant, id)
	if err != nil {
		return a, err
	}
	return b.Ask(ctx, actor, tenant, a.Contract, a.OurID, a.ProviderID)
}

func (b *Book) find(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (a Agreement, err error) {
	err = b.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		a, err = Find(ctx, tx, id)
		return err
	})
	return a, err
}

// hear takes an answer in. always makes a row also of what the provider does not know.
func (b *Book) hear(ctx context.Context, actor string, tenant citygate.TenantID, contract string, said driver.Agreement, from time.Time, always bool) (a Agreement, err error) {
	var wrong error
	err = b.DB.InTenant(context.WithoutCancel(ctx), tenant, func(tx *pg.Tx) (err error) {
		wrong = nil
		found, said := false, said
		if a, found, err = lockNamed(ctx, tx, contract, said.OurID, said.ID); err != nil {
			return err
		}
		if !found {
			if a, err = b.fresh(tx, contract, said.OurID, said.ID); err != nil {
				return err
			}
			if said.State == driver.AgreementUnknown && !always {
				a.ID, a.Reason = citygate.UUID{}, said.ReasonCode
				return nil
			}
			a.ChangedAt = from // nothing that was known is overtaken
			added, err := insert(ctx, tx, &a)
			if err == nil && !added { // another one was faster
				a, found, err = lockNamed(ctx, tx, contract, said.OurID, said.ID)
				err = errors.Join(err, errIf(!found, ErrNone))
			}
			if err != nil {
				return err
			}
		}
		if a.OurID == "" && said.OurID != "" {
			_, taken, err := one(ctx, tx, `contract = $2 AND our_id = $3`, contract, said.OurID)
			if err != nil {
				return err
			}
			if taken { // by one that the rider agreed to before, with a number of its own
				said.OurID = ""
			}
		}
		wrong, err = b.take(ctx, tx, actor, &a, said, from)
		return err
	})
	return a, errors.Join(err, wrong)
}

func errIf(is bool, err error) error {
	if is {
		return err
	}
	return nil
}

// take has a locked row hear an answer, and accounts follow. wrong is an answer that is
// about another agreement, which is noted.
func (b *Book) take(ctx context.Context, tx *pg.Tx, actor string, a *Agreement, said driver.Agreement, from time.Time) (wrong, err error) {
	was := a.State
	if wrong = a.Hear(said, from, tx.Now); wrong != nil {
		return wrong, store(ctx, tx, a)
	}
	if err := b.follow(ctx, tx, actor, a); err != nil {
		return nil, err
	}
	if err := store(ctx, tx, a); err != nil || a.State == was {
		return nil, err
	}
	return nil, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "agreement.change", Object: a.object(),
		Before: map[string]any{"state": was}, After: map[string]any{"state": a.State, "reason": a.Reason}})
}

// follow has accounts follow an agreement that is in force or over. An account that it
// cannot be put to is left, and the row says so.
func (b *Book) follow(ctx context.Context, tx *pg.Tx, actor string, a *Agreement) error {
	if a.ProviderID == "" || a.State != Active && a.State != Ended {
		return nil
	}
	if err := b.Accounts.Follow(ctx, tx, actor, a.Contract, a.ProviderID, a.State == Ended); err != nil {
		return err
	}
	switch {
	case a.State == Active && !a.Linked && !a.Ending && !a.Account.IsZero():
		err := b.Accounts.Link(ctx, tx, actor, a.Account, a.Contract, a.ProviderID)
		if _, refused := errors.AsType[*citygate.Code](err); refused {
			a.Error = clip(err.Error(), 500)
			return nil
		}
		a.Linked = err == nil
		return err
	case a.State == Ended:
		a.Linked = false
		return b.Accounts.Unlink(ctx, tx, actor, a.Contract, a.ProviderID)
	}
	return nil
}

// End ends an agreement at the provider. That the tenant wants it ended is on disk before
// anything is sent: where the reply is lost, and where the provider ends it later, the row
// says ending, and it is asked for again by schedule. Twice is once.
func (b *Book) End(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) (a Agreement, err error) {
	if a, err = b.find(ctx, tenant, id); err != nil || a.State == Ended {
		return a, err
	}
	manager, err := b.Manager(ctx, tenant, a.Contract)
	if err != nil {
		return a, err
	}
	err = b.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		found := false
		if a, found, err = lock(ctx, tx, id); err != nil || !found {
			return errors.Join(err, errIf(!found, ErrNone))
		}
		if a.State == Ended {
			return nil
		}
		if !a.Ending {
			a.Ending, a.Asks = true, 0
		}
		a.schedule(tx.Now)
		if err := store(ctx, tx, &a); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "agreement.end", Object: a.object(), After: map[string]any{"contract": a.Contract, "name": a.OurID}})
	})
	if err != nil || a.State == Ended {
		return a, err
	}
	ended, err := b.end(ctx, actor, tenant, manager, a)
	if err != nil {
		return a, b.failed(ctx, tenant, &a, err)
	}
	return ended, nil
}

// EndNamed is End of an agreement by the tenant's name of it or the provider's number,
// also of one that is not known here yet.
func (b *Book) EndNamed(ctx context.Context, actor string, tenant citygate.TenantID, contract, ours, theirs string) (a Agreement, err error) {
	err = b.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		a, _, err = lockNamed(ctx, tx, contract, ours, theirs)
		return err
	})
	if err != nil {
		return a, err
	}
	if a.ID.IsZero() {
		if a, err = b.Ask(ctx, actor, tenant, contract, ours, theirs); err != nil {
			return a, fmt.Errorf("nothing was ended: %w", err)
		}
		if a.ID.IsZero() {
			return a, ErrNone.Explain("neither the gateway nor the provider knows it")
		}
	}
	return b.End(ctx, actor, tenant, a.ID)
}

// reasonNotKnown is that of agreements whose end was asked for and of which the provider
// knows nothing.
const reasonNotKnown = "not_known"

// end asks how an agreement stands and for its end. While its rider can still confirm one
// of which the provider knows nothing, it is not over: it would be in force there, and
// nobody would know.
func (b *Book) end(ctx context.Context, actor string, tenant citygate.TenantID, manager Manager, a Agreement) (Agreement, error) {
	from, err := b.DB.NowOf(ctx, tenant)
	if err != nil {
		return a, err
	}
	said, err := manager.QueryAgreement(ctx, a.named())
	if err != nil {
		return a, err
	}
	if said.State != driver.AgreementEnded {
		named := a.named()
		if said.ID != "" && a.ProviderID == "" {
			named.ID = said.ID
		}
		closed, err := manager.CloseAgreement(ctx, named)
		if err != nil {
			return a, err
		}
		switch nothing := said.State == driver.AgreementUnknown; {
		case nothing && a.State == Unknown && a.confirmable(from):
			// Products also say of what is not there that it has ended. One that was
			// confirmed and ended between the two questions is known the next time.
			said.ReasonCode = reasonNotKnown
		case nothing && closed.State != driver.AgreementActive && closed.State != driver.AgreementPending: // there is nothing to end
			said.State, said.ReasonCode = driver.AgreementEnded, reasonNotKnown
		case closed.State == driver.AgreementEnded:
			said.State, said.ReasonCode = closed.State, closed.ReasonCode
		}
	}
	return b.hear(ctx, actor, tenant, a.Contract, said, from, true)
}

// failed notes why a provider was not heard, and gives the reason back.
func (b *Book) failed(ctx context.Context, tenant citygate.TenantID, a *Agreement, why error) error {
	a.Error = clip(why.Error(), 500)
	return errors.Join(why, b.DB.InTenant(context.WithoutCancel(ctx), tenant, func(tx *pg.Tx) error {
		row, found, err := lock(ctx, tx, a.ID)
		if err != nil || !found || row.State == Ended {
			return err
		}
		row.Error = a.Error
		return store(ctx, tx, &row)
	}))
}

const (
	dueMost     = 200 // agreements that one turn asks after
	failedInRow = 3   // calls without an answer after which a turn leaves a contract
)

// RunDue asks after agreements that are due, and again for the end of those that are to
// end. It may run any number of times, also at once.
func (b *Book) RunDue(ctx context.Context, tenant citygate.TenantID) error {
	var due []Agreement
	err := b.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		due, err = takeDue(ctx, tx, dueMost)
		return err
	})
	of := map[string][]Agreement{}
	var contracts []string
	for _, a := range due {
		if of[a.Contract] == nil {
			contracts = append(contracts, a.Contract)
		}
		of[a.Contract] = append(of[a.Contract], a)
	}
	for _, contract := range contracts {
		work := func(ctx context.Context) error { return b.runContract(ctx, tenant, of[contract]) }
		if b.Beside != nil {
			err = errors.Join(err, b.Beside(ctx, tenant, contract, work))
		} else {
			err = errors.Join(err, work(ctx))
		}
	}
	return err
}

func (b *Book) runContract(ctx context.Context, tenant citygate.TenantID, due []Agreement) (failed error) {
	manager, err := b.Manager(ctx, tenant, due[0].Contract)
	if err != nil {
		return err
	}
	inARow := 0
	for i := range due {
		a := &due[i]
		if ctx.Err() != nil || inARow == failedInRow {
			break // they are due again
		}
		var err error
		if a.Ending {
			_, err = b.end(ctx, dueActor, tenant, manager, *a)
		} else {
			_, err = b.Ask(ctx, dueActor, tenant, a.Contract, a.OurID, a.ProviderID)
		}
		if inARow++; err == nil {
			inARow = 0
			continue
		}
		failed = errors.Join(failed, b.failed(ctx, tenant, a, err))
	}
	return failed
}

// Noticed takes in what a notice says of an agreement: the end of one that is known by
// its number, at once. Of anything else the provider is asked, as soon as may be.
func (b *Book) Noticed(ctx context.Context, tx *pg.Tx, actor, contract string, said driver.Agreement) error {
	a, found, err := one(ctx, tx, `contract = $2 AND provider_id = $3 AND provider_id <> '' FOR UPDATE`, contract, said.ID)
	if err == nil && !found && said.OurID != "" {
		a, found, err = one(ctx, tx, `contract = $2 AND our_id = $3 FOR UPDATE`, contract, said.OurID)
	}
	if err != nil {
		return err
	}
	if !found {
		known, err := b.Accounts.Known(ctx, tx, contract, said.ID)
		if err != nil || !known {
			return err
		}
		if a, err = b.fresh(tx, contract, "", said.ID); err != nil {
			return err
		}
		if added, err := insert(ctx, tx, &a); err != nil || !added {
			return err // another one was faster, and its provider is asked
		}
	}
	if said.ID != "" && said.ID == a.ProviderID && said.State == driver.AgreementEnded {
		said.OurID = "" // its number says which one it is
		_, err := b.take(ctx, tx, actor, &a, said, tx.Now)
		return err
	}
	if a.State == Ended {
		if a.Reason != reasonNotKnown || a.ProviderID != "" || said.State != driver.AgreementActive || said.OurID == "" {
			return nil
		}
		// Its rider confirmed what was given up before the provider knew it: it is ended there.
		a.State, a.Ending, a.EndedAt, a.ChangedAt, a.Asks = Unknown, true, time.Time{}, tx.Now, 0
		if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "agreement.change", Object: a.object(), Before: map[string]any{"state": Ended}, After: map[string]any{"state": a.State, "ending": true}}); err != nil {
			return err
		}
	}
	a.NextAskAt = tx.Now
	return store(ctx, tx, &a)
}

const asksAtOnce = 4

// Check says what is done now about charges of one contract, by what is known of their
// agreements and, where [Judge] wants it, what the provider says of them until ctx ends:
// what is not answered by then stops no charge. It is called outside of transactions.
func (b *Book) Check(ctx context.Context, tenant citygate.TenantID, contract string, manager Manager, charges []Question) ([]Ruling, error) {
	numbers := make([]string, len(charges))
	for i := range charges {
		numbers[i] = charges[i].Number
	}
	var known map[string]*Agreement
	var now time.Time
	err := b.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		now = tx.Now
		known, err = byNumbers(ctx, tx, contract, numbers)
		return err
	})
	if err != nil {
		return nil, err
	}
	rulings := make([]Ruling, len(charges))
	ask := map[string]bool{}
	for i, q := range charges {
		r, again := Judge(known[q.Number], q, now, false, false)
		rulings[i] = r
		if again {
			ask[q.Number] = true
		}
	}
	if len(ask) == 0 {
		return rulings, nil
	}
	heard := b.askAll(ctx, tenant, contract, manager, ask, now)
	for i, q := range charges {
		if !ask[q.Number] {
			continue
		}
		a, answered := heard[q.Number]
		if !answered {
			a = known[q.Number]
		}
		rulings[i], _ = Judge(a, q, now, true, answered)
	}
	return rulings, nil
}

// askAll asks after agreements beside each other, and gives those that were answered.
func (b *Book) askAll(ctx context.Context, tenant citygate.TenantID, contract string, manager Manager, ask map[string]bool, from time.Time) map[string]*Agreement {
	numbers := make(chan string, len(ask))
	for n := range ask {
		numbers <- n
	}
	close(numbers)
	var mu sync.Mutex
	heard := map[string]*Agreement{}
	var workers sync.WaitGroup
	for range min(asksAtOnce, len(ask)) {
		workers.Go(func() {
			for number := range numbers {
				said, err := manager.QueryAgreement(ctx, driver.Agreement{ID: number})
				if err != nil {
					continue
				}
				said.ID = number
				a, err := b.hear(ctx, dueActor, tenant, contract, said, from, true)
				if err != nil {
					continue
				}
				mu.Lock()
				heard[number] = &a
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return heard
}
