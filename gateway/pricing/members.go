package pricing

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of memberships in an integrated tariff.
var (
	ErrMember      = &citygate.Code{Name: "pricing.member", Kind: citygate.Invalid, Title: "This membership in an integrated tariff cannot be. Name an operator of the authority, with its currency, and a time to come."}
	ErrMemberState = &citygate.Code{Name: "pricing.member_state", Kind: citygate.Conflict, Title: "The membership is not in a state for this. Read it again."}
	ErrNoMember    = &citygate.Code{Name: "pricing.no_member", Kind: citygate.NotFound, Title: "Nothing of that number was proposed. Read the memberships again."}
	ErrFacts       = &citygate.Code{Name: "pricing.facts", Kind: citygate.Internal, Title: "A tenant handed over taps that it may not, or gave a share that was not agreed on; the message waits for a person."}
)

// A Member is a version of what makes an operator part of its authority's
// integrated tariff. Taps of the operator with event times from EffectiveAt until
// EndsAt are priced by the authority, and by it alone.
type Member struct {
	Authority   citygate.TenantID
	Operator    citygate.TenantID
	Version     int
	Ordinal     int    // tells the taps of the authority's members apart
	Name        string // what the tariff calls the operator
	Currency    citygate.Currency
	AskedFrom   time.Time // zero = from the agreement on
	ProposedBy  string
	ProposedAt  time.Time
	AgreedBy    string
	AgreedAt    time.Time
	EffectiveAt time.Time
	EndedBy     string
	EndsAt      time.Time
}

// State gives proposed, agreed (for later), in_force or ended.
func (m *Member) State(now time.Time) string {
	switch {
	case !m.EndsAt.IsZero() && !now.Before(m.EndsAt):
		return "ended"
	case m.EffectiveAt.IsZero():
		return "proposed"
	case now.Before(m.EffectiveAt):
		return "agreed"
	}
	return "in_force"
}

// holds reports whether the membership holds at an event time.
func (m *Member) holds(at int64) bool {
	return !m.EffectiveAt.IsZero() && at >= m.EffectiveAt.UnixMilli() && (m.EndsAt.IsZero() || at < m.EndsAt.UnixMilli())
}

const (
	memberAhead = 366 * 24 * time.Hour // how far ahead a membership may begin or end
	memberMax   = 1 << 15              // ordinals stay below
)

const memberColumns = `authority_id, operator_id, version, ordinal, name, currency, asked_from, proposed_by, proposed_at,
	coalesce(agreed_by, ''), agreed_at, effective_at, coalesce(ended_by, ''), ends_at`

// Members gives all versions that the transaction's tenant is a party of.
func Members(ctx context.Context, tx *pg.Tx) ([]Member, error) {
	rows, err := tx.Query(ctx, `SELECT `+memberColumns+` FROM platform.fare_members
		WHERE $1 IN (authority_id, operator_id) ORDER BY authority_id, operator_id, version`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (m Member, err error) {
		var asked, agreed, effective, ends *time.Time
		err = row.Scan(&m.Authority, &m.Operator, &m.Version, &m.Ordinal, &m.Name, &m.Currency, &asked, &m.ProposedBy, &m.ProposedAt,
			&m.AgreedBy, &agreed, &effective, &m.EndedBy, &ends)
		m.ProposedAt = m.ProposedAt.UTC()
		for at, from := range map[*time.Time]*time.Time{&m.AskedFrom: asked, &m.AgreedAt: agreed, &m.EffectiveAt: effective, &m.EndsAt: ends} {
			if from != nil {
				*at = from.UTC()
			}
		}
		return m, err
	})
}

// between keeps the versions between an authority and an operator.
func between(all []Member, authority, operator citygate.TenantID) []Member {
	return slices.DeleteFunc(slices.Clone(all), func(m Member) bool { return m.Authority != authority || m.Operator != operator })
}

func memberObject(operator citygate.TenantID) string { return "fare_member:" + operator.String() }

// ProposeMember puts down that an operator of the authority is to be a member of
// its integrated tariff, under a name of the tariff, from a time on (zero = from
// the agreement on). The same as is proposed already changes nothing.
func (e *Engine) ProposeMember(ctx context.Context, actor string, authority, operator citygate.TenantID, name string, from time.Time) (m Member, err error) {
	ours, err := e.Directory.ByID(ctx, authority)
	if err != nil {
		return m, err
	}
	theirs, err := e.Directory.ByID(ctx, operator)
	switch {
	case errors.Is(err, tenants.ErrNotFound): // one answer, whether or not others have such a tenant
		return m, ErrMember.Explain("tenant %d is not an operator of %d with its currency and mode", operator, authority)
	case err != nil:
		return m, err
	case theirs.Parent != authority || ours.Currency != theirs.Currency || ours.Mode != theirs.Mode:
		return m, ErrMember.Explain("tenant %d is not an operator of %d with its currency and mode", operator, authority)
	case name == "" || len(name) > 100:
		return m, ErrMember.Explain("name: want what the tariff calls the operator, at most 100 bytes")
	}
	err = e.DB.InTenant(ctx, authority, func(tx *pg.Tx) error {
		if !from.IsZero() {
			if from = wholeMinute(from); from.Before(tx.Now.Add(-time.Minute)) || from.After(tx.Now.Add(memberAhead)) {
				return ErrMember.Explain("from: want a time from now to a year from now")
			}
		}
		all, err := Members(ctx, tx)
		if err != nil {
			return err
		}
		m = Member{Authority: authority, Operator: operator, Version: 1, Ordinal: 1, Name: name, Currency: ours.Currency, AskedFrom: from,
			ProposedBy: actor, ProposedAt: tx.Now.UTC()}
		for i := range all {
			if all[i].Authority == authority {
				m.Ordinal = max(m.Ordinal, all[i].Ordinal+1)
			}
		}
		if own := between(all, authority, operator); len(own) > 0 {
			last := own[len(own)-1]
			switch state := last.State(tx.Now); {
			case state == "proposed" && last.Name == name && last.AskedFrom.Equal(from):
				m = last
				return nil
			case last.EndsAt.IsZero() && state != "proposed":
				return ErrMemberState.Explain("version %d holds; end it first", last.Version)
			}
			m.Version, m.Ordinal = last.Version+1, last.Ordinal
		}
		if m.Ordinal >= memberMax {
			return ErrMember.Explain("the tariff has %d members", memberMax-1)
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO platform.fare_members (authority_id, operator_id, version, ordinal, name, currency, asked_from, proposed_by, proposed_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
			int64(authority), int64(operator), m.Version, m.Ordinal, m.Name, m.Currency, optionalTime(from), actor, tx.Now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrMemberState.Explain("another membership was proposed at the same moment")
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "fare_member.propose", Object: memberObject(operator),
			After: map[string]any{"version": m.Version, "name": name, "from": optionalTime(from)}})
	})
	return m, err
}

// AgreeMember is the operator's word to the last version that its authority
// proposed, which it names. From then on nothing of the version changes. Agreeing
// again changes nothing.
func (e *Engine) AgreeMember(ctx context.Context, actor string, operator citygate.TenantID, version int) (m Member, err error) {
	ours, err := e.Directory.ByID(ctx, operator)
	if err != nil {
		return m, err
	}
	err = e.DB.InTenant(ctx, operator, func(tx *pg.Tx) error {
		all, err := Members(ctx, tx)
		if err != nil {
			return err
		}
		own := between(all, ours.Parent, operator)
		if version < 1 || version > len(own) {
			return ErrNoMember.Because(nil, "version %d of %d", version, len(own))
		}
		m = own[version-1]
		switch state := m.State(tx.Now); {
		case state == "in_force" || state == "agreed":
			return nil
		case state != "proposed" || version != len(own):
			return ErrMemberState.Explain("version %d is %s, the last one is %d", version, state, len(own))
		case m.Currency != ours.Currency:
			return ErrMember.Explain("the tariff is in %s, the operator's books in %s", m.Currency, ours.Currency)
		case m.Authority != ours.Parent || m.Authority == 0:
			return ErrMember.Explain("the tenant is no operator of %d any more", m.Authority)
		}
		m.AgreedBy, m.AgreedAt, m.EffectiveAt = actor, tx.Now.UTC(), wholeMinute(tx.Now.Add(time.Minute))
		if m.AskedFrom.After(m.EffectiveAt) {
			m.EffectiveAt = m.AskedFrom
		}
		for _, before := range own[:version-1] { // one that was ended and still holds goes first
			if before.EndsAt.After(m.EffectiveAt) {
				m.EffectiveAt = before.EndsAt
			}
		}
		tag, err := tx.Exec(ctx, `
			UPDATE platform.fare_members SET agreed_by = $4, agreed_at = $5, effective_at = $6
			WHERE authority_id = $2 AND operator_id = $1 AND version = $3 AND agreed_at IS NULL AND ended_at IS NULL`,
			int64(operator), int64(m.Authority), version, actor, tx.Now, m.EffectiveAt)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrMemberState.Explain("version %d changed at the same moment", version)
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "fare_member.agree", Object: memberObject(operator),
			After: map[string]any{"authority": m.Authority, "version": version, "name": m.Name, "effective_at": m.EffectiveAt}})
	})
	return m, err
}

// EndMember is either party's word: from a time to come on (zero = the next whole
// minute) the operator prices its taps itself again. What is only proposed ends
// at once.
func (e *Engine) EndMember(ctx context.Context, actor string, tenant, operator citygate.TenantID, at time.Time) (m Member, err error) {
	err = e.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		all, err := Members(ctx, tx)
		if err != nil {
			return err
		}
		own := slices.DeleteFunc(all, func(m Member) bool { return m.Operator != operator })
		if len(own) == 0 {
			return ErrNoMember.Because(nil, "operator %d", operator)
		}
		m = own[len(own)-1]
		for i := range own { // an operator that changed its authority has rows with both
			if own[i].EndsAt.IsZero() {
				m = own[i]
			}
		}
		ends := wholeMinute(tx.Now.Add(time.Minute))
		switch state := m.State(tx.Now); {
		case state == "ended" || !m.EndsAt.IsZero():
			return ErrMemberState.Explain("version %d ends at %s", m.Version, m.EndsAt.Format(time.RFC3339))
		case state == "proposed":
			ends = tx.Now.UTC().Truncate(time.Microsecond)
		case !at.IsZero():
			if at = wholeMinute(at); at.Before(ends) || at.After(tx.Now.Add(memberAhead)) {
				return ErrMember.Explain("at: want a time from the next minute to a year from now")
			}
			ends = at
		}
		m.EndedBy, m.EndsAt = actor, ends
		tag, err := tx.Exec(ctx, `
			UPDATE platform.fare_members SET ender_id = $1, ended_by = $5, ended_at = $6, ends_at = $7
			WHERE authority_id = $2 AND operator_id = $3 AND version = $4 AND $1 IN (authority_id, operator_id) AND ended_at IS NULL`,
			int64(tenant), int64(m.Authority), int64(operator), m.Version, actor, tx.Now, ends)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrMemberState.Explain("version %d changed at the same moment", m.Version)
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "fare_member.end", Object: memberObject(operator),
			After: map[string]any{"authority": m.Authority, "version": m.Version, "ends_at": ends}})
	})
	return m, err
}

func wholeMinute(t time.Time) time.Time { return t.UTC().Truncate(time.Minute) }

func optionalTime(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// A circle is what the memberships mean for one run.
type circle struct {
	in   []Member // the tenant is the operator
	lead []Member // the tenant is the authority
}

// circleOf reads the memberships of the transaction's tenant that were agreed on.
func circleOf(ctx context.Context, tx *pg.Tx) (c circle, err error) {
	all, err := Members(ctx, tx)
	if err != nil {
		return c, err
	}
	for _, m := range all {
		switch {
		case m.EffectiveAt.IsZero():
		case m.Authority == tx.Tenant:
			c.lead = append(c.lead, m)
		default:
			c.in = append(c.in, m)
		}
	}
	return c, nil
}

// holder gives the authority that prices a tap, 0 if the tenant does. Codes of
// other schemes stay: their issuers vouch for them to the operator alone.
func (c *circle) holder(t *Tap) citygate.TenantID {
	if t.Rider.Foreign() {
		return 0
	}
	for i := range c.in {
		if c.in[i].holds(t.At) {
			return c.in[i].Authority
		}
	}
	return 0
}

// since gives when the tenant began to price taps of members, or never.
func (c *circle) since() int64 {
	first := int64(never)
	for i := range c.lead {
		first = min(first, c.lead[i].EffectiveAt.UnixMilli())
	}
	return first
}

// of gives the member that a tap of the tenant's tables is from, nil for its own.
func (c *circle) of(id citygate.TapID) *Member {
	ordinal := int(id.Seq >> ordinalShift)
	for i := len(c.lead) - 1; ordinal != 0 && i >= 0; i-- {
		if c.lead[i].Ordinal == ordinal {
			return &c.lead[i]
		}
	}
	return nil
}

// named gives the member of a name at an event time.
func (c *circle) named(name string, at int64) *Member {
	for i := range c.lead {
		if c.lead[i].Name == name && c.lead[i].holds(at) {
			return &c.lead[i]
		}
	}
	return nil
}

// ordinalShift is where a sequence number has the ordinal of the member that the
// tap is from. Readers count from 1 and never come near.
const ordinalShift = 48

func ownSeq(seq uint64) uint64 { return seq & (1<<ordinalShift - 1) }

var errOrdinal = errors.New("pricing: a reader's sequence number is too large to be handed over")
