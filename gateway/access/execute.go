package access

import (
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Run is an approved request that is being executed.
type Run struct {
	g      *Guard
	tenant citygate.TenantID
	p      Proposal
	holder citygate.UUID
	before []string // verbs of changes that a run which died has made
}

// Begin starts the execution of an approved proposal by its proposer, for exactly
// the content that was approved: other content makes the approval void. One run
// goes at a time. The context it gives ties every audited change to the
// proposal, in the change's own transaction: a change is made when the proposal
// notes it, so a process that dies leaves both or none; a run after that goes on
// where it stopped, and never makes a change of the same verb again.
func (g *Guard) Begin(ctx context.Context, c Caller, tenant citygate.TenantID, id citygate.UUID, content [32]byte) (*Run, context.Context, error) {
	r := &Run{g: g, tenant: tenant}
	p, err := g.decide(ctx, tenant, id, func(tx *pg.Tx, p *Proposal) (error, error) {
		switch {
		case p.Person != c.Person():
			return ErrNotProposer.Because(nil, "%s", c.Subject), nil
		case p.State == Executed && p.EndedAt != nil:
			return ErrDone.Because(nil, "%s", id), nil
		case p.State != Open && p.State != Approved && p.State != Executed:
			return ErrOver.Because(nil, "%s is %s", id, p.State), nil
		case p.Hash != content && p.State == Executed:
			return ErrDone.Because(nil, "%s, and another request", id), nil
		case p.Hash != content:
			p.State, p.EndedAt = Void, &tx.Now
			if _, err := tx.Exec(ctx, of(tx, endProposal), tenant, id, Void, tx.Now); err != nil {
				return nil, err
			}
			return ErrChanged.Because(nil, "%s", id), tx.Audit(ctx, pg.AuditEntry{Actor: c.Subject, Verb: "approval.void", Object: id.Text(ProposalPrefix), After: p.audited()})
		case p.State == Open:
			return ErrWaiting.Because(nil, "%s", id), nil
		case !p.holder.IsZero() && p.tried != nil && within(tx.Now.Sub(*p.tried)):
			return ErrRunning.Because(nil, "%s since %s", id, p.tried), nil
		}
		r.holder, r.before = tx.NewID(), p.done
		_, err := tx.Exec(ctx, of(tx, holdProposal), tenant, id, r.holder, tx.Now)
		return nil, err
	})
	if err != nil {
		return nil, ctx, err
	}
	r.p = p
	return r, r.Join(ctx), nil
}

// Join ties the audited changes of a context to the proposal, as the context that
// [Guard.Begin] gave does.
func (r *Run) Join(ctx context.Context) context.Context { return pg.Joining(ctx, r.tenant, r.join) }

// within reports whether a run of that age may still be going; a clock that went
// back says nothing, and the run is taken for dead: its changes are refused by
// the holder.
func within(age time.Duration) bool { return age >= 0 && age < runFor }

// join notes a change in its own transaction.
func (r *Run) join(ctx context.Context, tx *pg.Tx, verb string) error {
	if slices.Contains(r.before, verb) {
		return ErrDone.Because(nil, "%s: %s was made before", r.p.ID, verb)
	}
	tag, err := tx.Exec(ctx, of(tx, noteDone), r.tenant, r.p.ID, r.holder, verb)
	if err != nil {
		return err
	}
	if tag.RowsAffected() != 1 { // a second change of that verb in this run, or not this run's any more
		var held bool
		if err := tx.QueryRow(ctx, of(tx, holdsProposal), r.tenant, r.p.ID, r.holder).Scan(&held); err != nil || held {
			return err
		}
		return ErrDone.Because(nil, "%s: another run has it", r.p.ID)
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: r.p.Proposer, Verb: "approval.execute", Object: r.p.ID.Text(ProposalPrefix), After: r.p.audited()})
}

// End says how the request was answered. One that was refused may be sent again.
func (r *Run) End(ctx context.Context, status int, worked bool) error {
	return r.g.within(ctx, r.tenant, func(tx *pg.Tx) error {
		if !worked {
			_, err := tx.Exec(ctx, of(tx, releaseProposal), r.tenant, r.p.ID, r.holder)
			return err
		}
		_, err := tx.Exec(ctx, of(tx, finishProposal), r.tenant, r.p.ID, r.holder, tx.Now, status)
		return err
	})
}
