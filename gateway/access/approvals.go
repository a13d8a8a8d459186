package access

import (
	"context"
	"encoding/hex"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Kind is a group of operations that a tenant may want a second person for.
type Kind string

// The kinds.
const (
	KeyRevocation      Kind = "key_revocation"
	PayoutRelease      Kind = "payout_release"
	PolicyPublish      Kind = "policy_publish"
	ProviderCredential Kind = "provider_credential"

	// Of the platform alone.
	PlatformAccess Kind = "platform_access" // who its people are, and where they sign in
	TenantState    Kind = "tenant_state"    // suspending, closing and opening tenants, and whom they serve

	// AccessChange is of who a tenant's people are, what they may and where they
	// sign in. It is not chosen: it needs a second person wherever anything does, or
	// one could make the other.
	AccessChange Kind = "access_change"

	// ApprovalSettings is of the setting itself: to lower it needs a second person
	// wherever anything does.
	ApprovalSettings Kind = "approval_settings"
)

// Kinds gives those that a tenant chooses from.
func Kinds() []Kind { return []Kind{KeyRevocation, PayoutRelease, PolicyPublish, ProviderCredential} }

// PlatformKinds gives those that the platform chooses from.
func PlatformKinds() []Kind { return []Kind{KeyRevocation, PlatformAccess, TenantState} }

func kindsOf(tenant citygate.TenantID) []Kind {
	if tenant == 0 {
		return PlatformKinds()
	}
	return Kinds()
}

// A ProposalState is where a proposal is.
type ProposalState string

// The states. Open and approved ones end by themselves: they expire.
const (
	Open      ProposalState = "open"
	Approved  ProposalState = "approved" // its proposer may send the request again
	Executed  ProposalState = "executed"
	Refused   ProposalState = "refused"
	Withdrawn ProposalState = "withdrawn" // by its proposer
	Void      ProposalState = "void"      // another request was sent in its name
	Expired   ProposalState = "expired"
)

// The times and limits of proposals.
const (
	ProposalLife  = 24 * time.Hour
	proposalsMost = 1000            // open and approved ones of a tenant
	runFor        = 2 * time.Minute // a run that is older is taken for dead
	bodyShown     = 256 << 10       // bytes of a request kept for people to read
)

// ProposalPrefix begins the ids of proposals at the API.
const ProposalPrefix = "apr_"

// The refusals of approvals.
var (
	ErrNoProposal  = &citygate.Code{Name: "approval.not_found", Kind: citygate.NotFound, Title: "There is no such proposal. List them for their ids."}
	ErrSamePerson  = &citygate.Code{Name: "approval.same_person", Kind: citygate.Conflict, Title: "Who proposed it cannot approve it, by whatever token or API key. Ask another person."}
	ErrByKey       = &citygate.Code{Name: "approval.by_api_key", Kind: citygate.Conflict, Title: "An API key approves nothing. Sign in and approve as yourself."}
	ErrOver        = &citygate.Code{Name: "approval.over", Kind: citygate.Conflict, Title: "The proposal is decided or over. Read its state; propose again by sending the request without it."}
	ErrExpired     = &citygate.Code{Name: "approval.expired", Kind: citygate.Conflict, Title: "The proposal has expired. Propose again by sending the request without it."}
	ErrWaiting     = &citygate.Code{Name: "approval.waiting", Kind: citygate.Conflict, Title: "Nobody has approved the proposal yet. Repeat the request when another person has."}
	ErrChanged     = &citygate.Code{Name: "approval.content_changed", Kind: citygate.Conflict, Title: "This is not the request that was approved, and the approval is void. Propose again by sending the request without it."}
	ErrNotProposer = &citygate.Code{Name: "approval.not_proposer", Kind: citygate.Conflict, Title: "Only who proposed it can do this."}
	ErrDone        = &citygate.Code{Name: "approval.executed", Kind: citygate.Conflict, Title: "The proposal has been executed, and is good for once. Propose again to do it again."}
	ErrRunning     = &citygate.Code{Name: "approval.in_progress", Kind: citygate.Unavailable, Title: "The approved request is running. Wait, and read the proposal's state."}
	ErrTooMany     = &citygate.Code{Name: "approval.too_many", Kind: citygate.TooMany, Title: "Too many proposals wait in this tenant. Approve, refuse or withdraw some."}
	ErrUnapproved  = &citygate.Code{Name: "approval.setting_changed", Kind: citygate.Conflict, Title: "The setting changed at the same moment, and this would lower it now. Send the request again."}
)

// A Content is a request that needs a second person.
type Content struct {
	Kind      Kind
	Operation string // its id
	Method    string
	Path      string
	Body      []byte   // for people to read; nil where it holds a secret
	Hash      [32]byte // of all of it: what is approved
}

// A Proposal is a request that waits for a second person, or had one.
type Proposal struct {
	ID citygate.UUID
	Content
	Proposer  string // as the audit log names it
	Person    string // the human behind the proposer
	State     ProposalState
	CreatedAt time.Time
	ExpiresAt time.Time
	Second    string // who approved or refused
	DecidedAt *time.Time
	EndedAt   *time.Time
	Status    int // of the executed request's answer

	holder citygate.UUID
	tried  *time.Time
	done   []string
}

const (
	proposalColumns = `proposal_id, kind, operation, method, path, body, content_hash, proposer, person, state, created_at, expires_at,
		coalesce(second, ''), decided_at, ended_at, coalesce(status, 0), holder, tried_at, done`
	selectProposal  = `SELECT ` + proposalColumns + ` FROM access_proposals WHERE tenant_id = $1 AND proposal_id = $2`
	selectProposals = `SELECT ` + proposalColumns + ` FROM access_proposals WHERE tenant_id = $1 AND ($3::uuid IS NULL OR proposal_id < $3)
		AND ($2 = '' OR CASE WHEN state IN ('open', 'approved') AND expires_at <= $5 THEN 'expired' ELSE state END = $2)
		ORDER BY proposal_id DESC LIMIT $4`
	selectSame = `SELECT ` + proposalColumns + ` FROM access_proposals
		WHERE tenant_id = $1 AND content_hash = $2 AND person = $3 AND state IN ('open', 'approved') AND done = '{}' ORDER BY proposal_id LIMIT 1`
	expireProposals = `UPDATE access_proposals SET state = 'expired', ended_at = $2 WHERE tenant_id = $1 AND state IN ('open', 'approved') AND expires_at <= $2
		RETURNING proposal_id`
	countProposals = `SELECT count(*) FROM access_proposals WHERE tenant_id = $1 AND state IN ('open', 'approved')`
	insertProposal = `
		INSERT INTO access_proposals (tenant_id, proposal_id, kind, operation, method, path, body, content_hash, proposer, person, state, created_at, expires_at, done)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'open', $11, $12, '{}')`
	decideProposal = `UPDATE access_proposals SET state = $3, second = $4, decided_at = $5, ended_at = $6 WHERE tenant_id = $1 AND proposal_id = $2`
	endProposal    = `UPDATE access_proposals SET state = $3, ended_at = $4, holder = NULL WHERE tenant_id = $1 AND proposal_id = $2`
	holdProposal   = `UPDATE access_proposals SET holder = $3, tried_at = $4 WHERE tenant_id = $1 AND proposal_id = $2`
	noteDone       = `
		UPDATE access_proposals SET state = 'executed', done = array_append(done, $4)
		WHERE tenant_id = $1 AND proposal_id = $2 AND holder = $3 AND state IN ('approved', 'executed') AND NOT $4 = ANY(done)`
	holdsProposal  = `SELECT coalesce((SELECT holder = $3 AND state = 'executed' FROM access_proposals WHERE tenant_id = $1 AND proposal_id = $2 FOR UPDATE), false)`
	finishProposal = `
		UPDATE access_proposals SET state = 'executed', ended_at = $4, status = $5, holder = NULL
		WHERE tenant_id = $1 AND proposal_id = $2 AND holder = $3 AND state IN ('approved', 'executed')`
	releaseProposal = `UPDATE access_proposals SET holder = NULL, tried_at = NULL WHERE tenant_id = $1 AND proposal_id = $2 AND holder = $3`
	putSettings     = `
		INSERT INTO access_settings (tenant_id, two_person, changed_at) VALUES ($1, $2, $3)
		ON CONFLICT (tenant_id) DO UPDATE SET two_person = excluded.two_person, changed_at = excluded.changed_at`
)

// kinds gives those of a tenant: what it has chosen, or else all where money is
// real and none in a sandbox. The platform needs all while it has two
// administrators: to remove one of two is a change of its people, so one cannot
// make itself the only one.
func (g *Guard) kinds(ctx context.Context, tenant citygate.TenantID, s *snapshot) ([]string, error) {
	if s.twoPerson != nil {
		return s.twoPerson, nil
	}
	needed := len(s.Grantors()) > 1
	if tenant != 0 {
		t, err := g.Directory.ByID(ctx, tenant)
		if err != nil {
			return nil, err
		}
		needed = t.Mode != tenants.Sandbox
	}
	kinds := []string{}
	if needed {
		for _, k := range kindsOf(tenant) {
			kinds = append(kinds, string(k))
		}
	}
	return kinds, nil
}

// TwoPerson gives the kinds that need a second person in a tenant.
func (g *Guard) TwoPerson(ctx context.Context, tenant citygate.TenantID) ([]string, error) {
	s, err := g.current(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return g.kinds(ctx, tenant, s)
}

// ChosenTwoPerson gives the kinds that a tenant has chosen, if it has.
func (g *Guard) ChosenTwoPerson(ctx context.Context, tenant citygate.TenantID) (kinds []string, chosen bool, err error) {
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		kinds, err = twoPerson(ctx, tx)
		return err
	})
	return kinds, kinds != nil, err
}

// NeedsSecond reports whether operations of a kind need a second person.
func (g *Guard) NeedsSecond(ctx context.Context, tenant citygate.TenantID, kind Kind) (bool, error) {
	kinds, err := g.TwoPerson(ctx, tenant)
	follows := kind == ApprovalSettings || kind == AccessChange
	return slices.Contains(kinds, string(kind)) || (follows && len(kinds) > 0), err
}

func lowers(from, to []string) bool {
	return slices.ContainsFunc(from, func(k string) bool { return !slices.Contains(to, k) })
}

// Lowers reports whether kinds would leave out one that needs a second person now.
func (g *Guard) Lowers(ctx context.Context, tenant citygate.TenantID, kinds []string) (bool, error) {
	now, err := g.TwoPerson(ctx, tenant)
	return lowers(now, kinds), err
}

// SetTwoPerson says which kinds need a second person. To leave one out must have
// been approved.
func (g *Guard) SetTwoPerson(ctx context.Context, actor string, tenant citygate.TenantID, kinds []string, approved bool) error {
	kinds = slices.Compact(slices.Sorted(slices.Values(kinds)))
	for _, k := range kinds {
		if !slices.Contains(kindsOf(tenant), Kind(k)) {
			return ErrInvalid.Explain("%q: want some of %v", k, kindsOf(tenant))
		}
	}
	if kinds == nil {
		kinds = []string{}
	}
	return g.change(ctx, tenant, func(tx *pg.Tx) error {
		s, err := g.read(ctx, tx)
		if err != nil {
			return err
		}
		before, err := g.kinds(ctx, tenant, s)
		if err != nil {
			return err
		}
		if lowers(before, kinds) && !approved {
			return ErrUnapproved.Because(nil, "from %v to %v", before, kinds)
		}
		if s.twoPerson != nil && slices.Equal(s.twoPerson, kinds) {
			return nil
		}
		if _, err := tx.Exec(ctx, of(tx, putSettings), tenant, kinds, tx.Now); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "approval.settings", Object: "two_person", Before: before, After: kinds})
	})
}

// Propose keeps a request for a second person to approve. The same request of the
// same person while it waits is the same proposal.
func (g *Guard) Propose(ctx context.Context, c Caller, tenant citygate.TenantID, what Content) (p Proposal, err error) {
	if len(what.Body) > bodyShown {
		what.Body = nil
	}
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		if err := expire(ctx, tx); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, of(tx, selectSame), tenant, what.Hash[:], c.Person())
		if err != nil {
			return err
		}
		same, err := pgx.CollectRows(rows, scanProposal)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			p = same[0]
			return nil
		}
		var waiting int
		if err := tx.QueryRow(ctx, of(tx, countProposals), tenant).Scan(&waiting); err != nil {
			return err
		}
		if waiting >= proposalsMost {
			return ErrTooMany.Because(nil, "%d wait", waiting)
		}
		p = Proposal{ID: tx.NewID(), Content: what, Proposer: c.Subject, Person: c.Person(), State: Open, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(ProposalLife)}
		body := append([]byte{}, p.Body...)
		if _, err := tx.Exec(ctx, of(tx, insertProposal), tenant, p.ID, p.Kind, p.Operation, p.Method, p.Path, body, p.Hash[:], p.Proposer, p.Person, p.CreatedAt, p.ExpiresAt); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: c.Subject, Verb: "approval.propose", Object: p.ID.Text(ProposalPrefix), After: p.audited()})
	})
	return p, err
}

// audited is what the audit log says of a proposal: what it is, and both names.
func (p Proposal) audited() map[string]any {
	m := map[string]any{"operation": p.Operation, "path": p.Path, "proposed_by": p.Proposer, "content": hex.EncodeToString(p.Hash[:])}
	if p.Second != "" {
		m["second"] = p.Second
	}
	return m
}

// Proposals gives a tenant's proposals, newest first; before pages on, and a
// state limits them to it.
func (g *Guard) Proposals(ctx context.Context, tenant citygate.TenantID, state ProposalState, before *citygate.UUID, limit int) (all []Proposal, err error) {
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, of(tx, selectProposals), tenant, state, before, limit, tx.Now)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, scanProposal)
		for i := range all {
			all[i].lapse(tx.Now)
		}
		return err
	})
	return all, err
}

// Proposal gives one proposal.
func (g *Guard) Proposal(ctx context.Context, tenant citygate.TenantID, id citygate.UUID) (p Proposal, err error) {
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		p, err = proposal(ctx, tx, id, "")
		p.lapse(tx.Now)
		return err
	})
	return p, err
}

func proposal(ctx context.Context, tx *pg.Tx, id citygate.UUID, lock string) (Proposal, error) {
	rows, err := tx.Query(ctx, of(tx, selectProposal+lock), tx.Tenant, id)
	if err != nil {
		return Proposal{}, err
	}
	p, err := pgx.CollectExactlyOneRow(rows, scanProposal)
	if pg.IsNoRows(err) {
		return p, ErrNoProposal.Because(nil, "proposal %s", id)
	}
	return p, err
}

func scanProposal(row pgx.CollectableRow) (Proposal, error) {
	var p Proposal
	var hash []byte
	var holder *citygate.UUID
	err := row.Scan(&p.ID, &p.Kind, &p.Operation, &p.Method, &p.Path, &p.Body, &hash, &p.Proposer, &p.Person, &p.State, &p.CreatedAt, &p.ExpiresAt,
		&p.Second, &p.DecidedAt, &p.EndedAt, &p.Status, &holder, &p.tried, &p.done)
	copy(p.Hash[:], hash)
	if holder != nil {
		p.holder = *holder
	}
	p.CreatedAt, p.ExpiresAt, p.DecidedAt, p.EndedAt = p.CreatedAt.UTC(), p.ExpiresAt.UTC(), inUTC(p.DecidedAt), inUTC(p.EndedAt)
	return p, err
}

// timeActor is who ends what nobody decided in time.
const timeActor = "system:time"

// expire ends the tenant's proposals whose time is over.
func expire(ctx context.Context, tx *pg.Tx) error {
	rows, err := tx.Query(ctx, of(tx, expireProposals), tx.Tenant, tx.Now)
	if err != nil {
		return err
	}
	over, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
	if err != nil {
		return err
	}
	for _, id := range over {
		if err := tx.Audit(ctx, pg.AuditEntry{Actor: timeActor, Verb: "approval.expire", Object: id.Text(ProposalPrefix)}); err != nil {
			return err
		}
	}
	return nil
}

// lapse says that p has expired if its time is over, and reports whether it did.
func (p *Proposal) lapse(now time.Time) bool {
	over := (p.State == Open || p.State == Approved) && !now.Before(p.ExpiresAt)
	if over {
		p.State = Expired
	}
	return over
}

// decide runs fn on a proposal that is locked. What fn refuses by a verdict is
// stored all the same: one that expired stays so when the clock goes back.
func (g *Guard) decide(ctx context.Context, tenant citygate.TenantID, id citygate.UUID, fn func(tx *pg.Tx, p *Proposal) (verdict, err error)) (p Proposal, err error) {
	var verdict error
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		verdict = nil
		var err error
		if p, err = proposal(ctx, tx, id, " FOR UPDATE"); err != nil {
			return err
		}
		if p.lapse(tx.Now) {
			verdict = ErrExpired.Because(nil, "at %s", p.ExpiresAt)
			if _, err = tx.Exec(ctx, of(tx, endProposal), tenant, id, Expired, tx.Now); err != nil {
				return err
			}
			return tx.Audit(ctx, pg.AuditEntry{Actor: timeActor, Verb: "approval.expire", Object: id.Text(ProposalPrefix), After: p.audited()})
		}
		verdict, err = fn(tx, &p)
		return err
	})
	if err == nil {
		err = verdict
	}
	return p, err
}

// Approve lets the proposer of a request send it again and have it done. It takes
// another person: neither the proposer nor the owner of the proposer's API key.
func (g *Guard) Approve(ctx context.Context, c Caller, tenant citygate.TenantID, id citygate.UUID) (Proposal, error) {
	return g.second(ctx, c, tenant, id, Approved)
}

// Refuse ends a proposal that is open, or approved and not yet executed.
func (g *Guard) Refuse(ctx context.Context, c Caller, tenant citygate.TenantID, id citygate.UUID) (Proposal, error) {
	return g.second(ctx, c, tenant, id, Refused)
}

func (g *Guard) second(ctx context.Context, c Caller, tenant citygate.TenantID, id citygate.UUID, to ProposalState) (Proposal, error) {
	verbs := map[ProposalState]string{Approved: "approval.approve", Refused: "approval.refuse"}
	return g.decide(ctx, tenant, id, func(tx *pg.Tx, p *Proposal) (error, error) {
		switch {
		case p.Person == c.Person():
			return ErrSamePerson.Because(nil, "%s", c.Subject), nil
		case c.Owner != "":
			return ErrByKey.Because(nil, "%s", c.Subject), nil
		case p.State == to && p.Second == c.Person():
			return nil, nil // again
		case p.State == Approved && to == Refused && len(p.done) == 0:
		case p.State != Open:
			return ErrOver.Because(nil, "%s is %s", id, p.State), nil
		}
		p.State, p.Second, p.DecidedAt = to, c.Person(), &tx.Now
		if to == Refused {
			p.EndedAt = &tx.Now
		}
		if _, err := tx.Exec(ctx, of(tx, decideProposal), tenant, id, to, p.Second, tx.Now, p.EndedAt); err != nil {
			return nil, err
		}
		return nil, tx.Audit(ctx, pg.AuditEntry{Actor: c.Subject, Verb: verbs[to], Object: id.Text(ProposalPrefix), After: p.audited()})
	})
}

// Withdraw takes a proposal back; only its proposer can.
func (g *Guard) Withdraw(ctx context.Context, c Caller, tenant citygate.TenantID, id citygate.UUID) (Proposal, error) {
	return g.decide(ctx, tenant, id, func(tx *pg.Tx, p *Proposal) (error, error) {
		switch {
		case p.Person != c.Person():
			return ErrNotProposer.Because(nil, "%s", c.Subject), nil
		case p.State == Withdrawn:
			return nil, nil
		case (p.State != Open && p.State != Approved) || len(p.done) > 0:
			return ErrOver.Because(nil, "%s is %s", id, p.State), nil
		}
		p.State, p.EndedAt = Withdrawn, &tx.Now
		if _, err := tx.Exec(ctx, of(tx, endProposal), tenant, id, Withdrawn, tx.Now); err != nil {
			return nil, err
		}
		return nil, tx.Audit(ctx, pg.AuditEntry{Actor: c.Subject, Verb: "approval.withdraw", Object: id.Text(ProposalPrefix), After: p.audited()})
	})
}
