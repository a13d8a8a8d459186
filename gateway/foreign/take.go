package foreign

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The states of a code.
const (
	waiting = "waiting" // nobody vouched for it yet
	sent    = "sent"    // the provider is being asked, or whoever asked died
	unknown = "unknown" // the provider could not say
	named   = "named"
	refused = "refused"
)

// giveUpMax bounds how long an operator may have a code waited for.
const giveUpMax = 31 * 24 * time.Hour

// A row is one code asked about.
type row struct {
	scheme   code.SchemeID
	once     [32]byte
	operator citygate.TenantID
	terminal uint32
	seq      uint64
	subject  [32]byte
	proven   bool
	cap      int64
	digest   [32]byte
	evidence []byte
	at       time.Time
	fare     citygate.Money
	giveUp   time.Time

	state  string
	reason code.Reason
	rider  citygate.Rider
	ctr    uint16
	told   bool
	tries  int
}

func (r *row) refuse(reason code.Reason) { r.state, r.reason = refused, reason }

// by reports whether the row is of this tap.
func (r *row) by(o *row) bool {
	return r.operator == o.operator && r.terminal == o.terminal && r.seq == o.seq
}

func (r *row) decided() bool { return r.state == named || r.state == refused }

func (r *row) name() interbook.Name {
	return interbook.Name{Terminal: r.terminal, Seq: r.seq, Rider: r.rider, Counter: r.ctr, Reason: r.reason}
}

func compareRows(a, b *row) int {
	return cmp.Or(cmp.Compare(a.scheme, b.scheme), bytes.Compare(a.once[:], b.once[:]), a.at.Compare(b.at),
		cmp.Compare(a.terminal, b.terminal), cmp.Compare(a.seq, b.seq))
}

// Take is asked by operator about codes, in a transaction of the tenant that
// answers for them. It gives the answers there are; the others follow by
// [Desk.RunDue]. The same question again has the same answer.
func (d *Desk) Take(ctx context.Context, tx *pg.Tx, operator citygate.TenantID, codes []interbook.Code) ([]interbook.Name, error) {
	issuer, err := d.issuer(ctx, tx.Tenant)
	if err != nil {
		return nil, err
	}
	readers, err := d.readers(ctx, tx)
	if err != nil {
		return nil, err
	}
	var names []interbook.Name
	rows := make([]*row, 0, len(codes))
	for i := range codes {
		r, reason := read(readers, tx, operator, &codes[i])
		if reason != "" {
			names = append(names, interbook.Name{Terminal: codes[i].Terminal, Seq: codes[i].Seq, Reason: reason})
			continue
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, compareRows)
	own, others, err := claim(ctx, tx, rows)
	if err != nil {
		return nil, err
	}
	var fresh []*row
	for _, r := range own {
		if !r.decided() {
			fresh = append(fresh, r)
		}
	}
	if err := d.decide(ctx, tx, issuer, readers, fresh); err != nil {
		return nil, err
	}
	for _, r := range own {
		if r.decided() {
			r.rider.Issuer, r.told = issuer, true
			names = append(names, r.name())
		}
	}
	for _, r := range others {
		names = append(names, r.name())
	}
	return names, store(ctx, tx, fresh)
}

// read makes the row of a question, or says why there is nothing to ask.
func read(readers map[code.SchemeID]*reader, tx *pg.Tx, operator citygate.TenantID, q *interbook.Code) (*row, code.Reason) {
	e, ok := readers[q.Scheme]
	if !ok {
		return nil, code.Unsupported
	}
	if !e.admits(tx.Tenant, operator) {
		return nil, code.UnknownIssuer
	}
	r := &row{
		scheme: q.Scheme, operator: operator, terminal: q.Terminal, seq: q.Seq, digest: sha256.Sum256(q.Evidence), evidence: q.Evidence,
		at: q.EventTime.UTC().Truncate(time.Microsecond), fare: q.Fare, state: waiting,
		giveUp: q.GiveUpAt,
	}
	if most := tx.Now.Add(giveUpMax); r.giveUp.After(most) {
		r.giveUp = most
	}
	if operator == tx.Tenant { // intake verified it
		r.subject, r.once, r.cap, r.proven = q.Account, q.Once, q.Cap, q.Proven
		return r, ""
	}
	var c code.Code
	if err := e.scheme.Parse(q.Evidence, &c); err != nil {
		return nil, code.ReasonOf(err)
	}
	c.Place(q.EventTime.Unix())
	verdict := code.VerifyLate(e.scheme, &c, e.keys, nil)
	if verdict.Outcome == code.Reject {
		return nil, verdict.Reason
	}
	if reason := timely(&c, q.EventTime); reason != "" {
		return nil, reason
	}
	r.subject, r.once, r.cap, r.proven = c.Account, c.Use().Once, c.CapMinor, verdict.Outcome == code.Accept
	return r, ""
}

// timely holds a display's own time against the tap's.
func timely(c *code.Code, at time.Time) code.Reason {
	made := time.Unix(c.GeneratedAt, 0)
	switch {
	case c.GeneratedAt >= c.ExpiresAt:
		return code.ExpiredCredential
	case c.CertExpiresAt != 0 && at.Unix() >= c.CertExpiresAt:
		return code.IssuerCertExpired
	case at.After(made.Add(time.Duration(c.Window)*time.Second + slack)):
		return code.ExpiredCode
	case at.Before(made.Add(-slack)):
		return code.NotYetValid
	}
	return ""
}

// claim gives each display to the first tap that asks about it. own are the rows
// of taps that have theirs, as they are stored; others the ones that do not.
func claim(ctx context.Context, tx *pg.Tx, rows []*row) (own, others []*row, err error) {
	if err := insertCodes(ctx, tx, rows); err != nil {
		return nil, nil, err
	}
	held, err := holders(ctx, tx, rows)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range rows {
		h := held[onceKey{r.scheme, r.once}]
		switch {
		case h == nil:
			return nil, nil, fmt.Errorf("foreign: code of tap %d/%d of tenant %d was stored and is not there", r.terminal, r.seq, r.operator)
		case h.by(r):
			own = append(own, h)
			continue
		case h.operator == r.operator && h.terminal == r.terminal:
			r.refuse(code.Replayed)
		default:
			r.refuse(code.DoubleUse)
		}
		others = append(others, r)
	}
	return own, others, nil
}

// decide names the rows whose subject is known, opens accounts for those that the
// entry opens, and refuses those that nobody will ever know. The rest goes on
// waiting.
func (d *Desk) decide(ctx context.Context, tx *pg.Tx, issuer citygate.Issuer, readers map[code.SchemeID]*reader, rows []*row) error {
	if len(rows) == 0 {
		return nil
	}
	subjects := make([]subject, len(rows))
	for i, r := range rows {
		subjects[i] = subject{scheme: r.scheme, digest: r.subject}
	}
	known, err := lookUp(ctx, tx, issuer, subjects)
	if err != nil {
		return err
	}
	var open []subject
	for i, r := range rows {
		if _, ok := known[subjects[i].key()]; ok || !r.proven {
			continue
		}
		if e := readers[r.scheme]; e == nil || !e.Opens {
			r.refuse(code.NotIssued)
		} else {
			open = append(open, subjects[i])
		}
	}
	if len(open) > 0 {
		opened, err := d.open(ctx, tx, issuer, readers, open)
		if err != nil {
			return err
		}
		for k, v := range opened {
			known[k] = v
		}
	}
	return give(ctx, tx, rows, func(r *row) (citygate.Rider, bool) {
		e, ok := known[subjectKey{r.scheme, r.subject}]
		return e.rider, ok && !r.decided()
	})
}

// open opens accounts for subjects at first sight.
func (d *Desk) open(ctx context.Context, tx *pg.Tx, issuer citygate.Issuer, readers map[code.SchemeID]*reader, subjects []subject) (map[subjectKey]enlisted, error) {
	accounts := make([]credential.Account, len(subjects))
	for i, s := range subjects {
		accounts[i] = credential.Account{Contract: readers[s.scheme].Contract, RiderRef: payerOf(s)}
	}
	accounts, err := credential.OpenAccounts(ctx, tx, actor, accounts)
	if err != nil {
		return nil, err
	}
	for i := range subjects {
		subjects[i].account = accounts[i].ID
	}
	return enlist(ctx, tx, issuer, "first_sight", subjects)
}

// actor is who opens accounts at first sight.
const actor = "system:foreign"

// give names the rows that have a rider, with the rider's next counters in the
// rows' order.
func give(ctx context.Context, tx *pg.Tx, rows []*row, of func(*row) (citygate.Rider, bool)) error {
	var mine []*row
	var riders []citygate.Rider
	for _, r := range rows {
		if rider, ok := of(r); ok {
			r.rider = rider
			mine, riders = append(mine, r), append(riders, rider)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	last, err := number(ctx, tx, riders)
	if err != nil {
		return err
	}
	for _, r := range slices.Backward(mine) {
		ctr, ok := last[r.rider]
		if !ok {
			r.refuse(code.TapsExhausted)
			continue
		}
		r.state, r.ctr = named, uint16(ctr)
		last[r.rider] = ctr - 1
	}
	return nil
}

// HandleCodes is the handler of codes messages: it takes them and puts the answers
// there are.
func (d *Desk) HandleCodes(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var m interbook.Codes
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("foreign codes: %w", err)
	}
	names, err := d.Take(ctx, tx, from, m.Items)
	if err != nil || len(names) == 0 {
		return err
	}
	return interbook.Put(ctx, tx, from, interbook.KindNames, interbook.Names{Items: names})
}
