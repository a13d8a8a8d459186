package intake

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// nameGrace is how long after an operator gives up on a code the answer may take
// to come: whoever answers gives up at the same time, and says so.
const nameGrace = 24 * time.Hour

// ask makes the question who rides on a code of another scheme.
func (it *item) ask(c *code.Code, proven bool) {
	it.asks = &interbook.Code{
		Terminal: it.Terminal, Seq: it.Seq, Scheme: c.Scheme, Evidence: it.Evidence, EventTime: time.UnixMilli(it.EventTime).UTC(), Fare: it.Entered,
		Issuer: c.Rider.Issuer, Account: c.Account, Once: c.Use().Once, Cap: c.CapMinor, Proven: proven,
	}
}

// name gives the fresh records of other schemes their riders, as far as they are
// known at once; the others wait.
func (r *Recorder) name(ctx context.Context, tx *pg.Tx, fresh []stored) error {
	var codes []interbook.Code
	of := map[uint64]*stored{}
	for i := range fresh {
		s := &fresh[i]
		if s.asks == nil || s.final != "" {
			continue
		}
		if r.config.Foreign == nil {
			s.final = code.Unsupported
			continue
		}
		s.asks.GiveUpAt = tx.Now.Add(s.patience())
		s.waiting, of[s.Seq] = true, s
		codes = append(codes, *s.asks)
	}
	if len(codes) == 0 {
		return nil
	}
	names, err := r.config.Foreign.Name(ctx, tx, codes)
	if err != nil {
		return fmt.Errorf("name foreign riders: %w", err)
	}
	for _, n := range names {
		s, ok := of[n.Seq]
		switch {
		case !ok:
		case n.Reason != "":
			s.waiting, s.final = false, n.Reason
		case n.Rider.Foreign() && n.Rider.Issuer == s.asks.Issuer:
			s.waiting, s.rider, s.counter = false, n.Rider, n.Counter
		}
	}
	return nil
}

// patience is how long the rider of the code may take to be named: by policy where
// somebody must vouch for it, else long enough for any outage between tenants.
func (it *item) patience() time.Duration {
	if rule, ok := it.policy.DeferredRule(it.asks.Scheme); ok && !it.asks.Proven {
		return time.Duration(rule.ResolveMinutes) * time.Minute
	}
	return 7 * 24 * time.Hour
}

func (r *Recorder) askNames(ctx context.Context, tx *pg.Tx, fresh []stored) error {
	var codes []interbook.Code
	for _, s := range fresh {
		if s.waiting {
			codes = append(codes, *s.asks)
		}
	}
	if len(codes) == 0 {
		return nil
	}
	return r.config.Foreign.Ask(ctx, tx, codes)
}

const (
	insertWaiting = `
		INSERT INTO foreign_taps (tenant_id, terminal, seq, received_at, kind, opened, event_time, generated_at, business_date, calendar_version,
			policy_version, clock_suspect, issuer, product, party, stop, route, vehicle, driver, entered_minor, entered_currency, evidence_digest, record,
			scheme, deferred, give_up_at, rule, state, medium, party_shown)
		SELECT $1, $2, u.seq, $3, u.kind, u.opened, u.event_time, u.generated_at, u.business_date, u.calendar_version,
			u.policy_version, u.clock_suspect, u.issuer, u.product, u.party, u.stop, u.route, u.vehicle, u.driver, u.entered_minor, u.entered_currency,
			u.evidence_digest, u.record, u.scheme, u.deferred, u.give_up_at, u.rule, 'waiting', u.medium, u.party_shown
		FROM unnest($4::int[], $5::bigint[], $6::smallint[], $7::boolean[], $8::timestamptz[], $9::timestamptz[], $10::date[], $11::bigint[], $12::boolean[],
			$13::int[], $14::int[], $15::smallint[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bigint[], $21::text[], $22::bytea[],
			$23::bytea[], $24::text[], $25::boolean[], $26::timestamptz[], $27::text[], $28::text[], $29::smallint[])
			AS u (calendar_version, seq, kind, opened, event_time, generated_at, business_date, policy_version, clock_suspect, issuer, product, party,
			stop, route, vehicle, driver, entered_minor, entered_currency, evidence_digest, record, scheme, deferred, give_up_at, rule, medium, party_shown)
		RETURNING seq`

	lockWaiting = `
		SELECT f.terminal, f.seq, f.issuer FROM unnest($2::bigint[], $3::bigint[]) AS u (terminal, seq)
		JOIN foreign_taps f ON f.tenant_id = $1 AND f.terminal = u.terminal AND f.seq = u.seq
		WHERE f.state = 'waiting' ORDER BY f.terminal, f.seq FOR UPDATE OF f`

	lockOverdue = `
		SELECT terminal, seq, issuer FROM foreign_taps
		WHERE tenant_id = $1 AND state = 'waiting' AND give_up_at < $2 ORDER BY terminal, seq LIMIT $3 FOR UPDATE`

	insertNamedTaps = `
		INSERT INTO taps (tenant_id, terminal, seq, received_at, kind, accepted, reason, opened, event_time, generated_at,
			business_date, calendar_version, policy_version, clock_suspect, issuer, list, idx, ctr, product, party,
			stop, route, vehicle, driver, entered_minor, entered_currency, evidence_digest, record, rule, medium, party_shown)
		SELECT $1, f.terminal, f.seq, f.received_at, f.kind, u.reason = '', u.reason, f.opened, f.event_time, f.generated_at,
			f.business_date, f.calendar_version, f.policy_version, f.clock_suspect, f.issuer, u.list, u.idx, u.ctr, f.product, f.party,
			f.stop, f.route, f.vehicle, f.driver, f.entered_minor, f.entered_currency, f.evidence_digest, f.record, f.rule, f.medium, f.party_shown
		FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::int[], $6::bigint[], $7::int[]) AS u (terminal, seq, reason, list, idx, ctr)
		JOIN foreign_taps f ON f.tenant_id = $1 AND f.terminal = u.terminal AND f.seq = u.seq AND f.state = 'waiting'
		RETURNING seq`

	insertNamedUses = `
		INSERT INTO tap_uses (tenant_id, issuer, list, idx, ctr, terminal, seq, digest, received_at)
		SELECT $1, f.issuer, u.list, u.idx, u.ctr, f.terminal, f.seq, f.evidence_digest, f.received_at
		FROM unnest($2::bigint[], $3::bigint[], $4::int[], $5::bigint[], $6::int[]) AS u (terminal, seq, list, idx, ctr)
		JOIN foreign_taps f ON f.tenant_id = $1 AND f.terminal = u.terminal AND f.seq = u.seq
		ORDER BY f.issuer, u.list, u.idx, u.ctr
		ON CONFLICT (tenant_id, issuer, list, idx, ctr) DO NOTHING
		RETURNING terminal, seq`

	settleWaiting = `
		UPDATE foreign_taps f SET state = CASE WHEN u.reason = '' THEN 'named' ELSE 'refused' END, decided_at = $2
		FROM unnest($3::bigint[], $4::bigint[], $5::text[]) AS u (terminal, seq, reason)
		WHERE f.tenant_id = $1 AND f.terminal = u.terminal AND f.seq = u.seq AND f.state = 'waiting'`
)

// queueWaiting adds the inserts of records whose rider is still to be named.
func queueWaiting(q *pgx.Batch, tx *pg.Tx, in *batch, c *columns, waiting []stored) {
	schemes, deferred, giveUp := make([]string, len(waiting)), make([]bool, len(waiting)), make([]time.Time, len(waiting))
	for i, s := range waiting {
		schemes[i], deferred[i], giveUp[i] = string(s.asks.Scheme), !s.asks.Proven, s.asks.GiveUpAt
	}
	q.Queue(insertSeen, tx.Tenant, in.Terminal, tx.Now, c.seq, c.digest, c.reason)
	q.Queue(insertWaiting, tx.Tenant, in.Terminal, tx.Now, c.calendar, c.seq, c.kind, c.opened, c.eventTime, c.generatedAt, c.businessDate,
		c.policy, c.suspect, c.issuer, c.product, c.party, c.stop, c.route, c.vehicle, c.driver, c.enteredMinor, c.enteredCurrency, c.evidence,
		c.record, schemes, deferred, giveUp, c.rule, c.medium, c.shown)
	q.Queue(insertEvidence, tx.Tenant, tx.Now, c.evidence, c.raw)
}

// A waitingTap is locked.
type waitingTap struct {
	id     citygate.TapID
	issuer citygate.Issuer
}

func collectWaiting(rows pgx.Rows, err error) ([]waitingTap, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (w waitingTap, err error) {
		err = row.Scan(&w.id.Terminal, &w.id.Seq, &w.issuer)
		return w, err
	})
}

// Named makes taps of records whose riders were waited for, as an issuer names
// them, and has them priced. What does not wait for that issuer is passed over, so
// the same again changes nothing.
func Named(ctx context.Context, tx *pg.Tx, issuer citygate.Issuer, names []interbook.Name) error {
	for part := range slices.Chunk(names, rowsMax) {
		terminals, seqs := make([]int64, len(part)), make([]int64, len(part))
		of := make(map[citygate.TapID]interbook.Name, len(part))
		for i, n := range part {
			terminals[i], seqs[i] = int64(n.Terminal), int64(n.Seq)
			of[citygate.TapID{Terminal: n.Terminal, Seq: n.Seq}] = n
		}
		waiting, err := collectWaiting(tx.Query(ctx, lockWaiting, tx.Tenant, terminals, seqs))
		if err != nil {
			return fmt.Errorf("taps that wait for a rider: %w", err)
		}
		var answered []interbook.Name
		for _, w := range waiting {
			n := of[w.id]
			switch {
			case w.issuer != issuer:
				continue
			case n.Reason == "" && (n.Rider.Issuer != issuer || !n.Rider.Foreign()):
				n.Reason = code.InternalError // it named nobody of its own
			case n.Reason != "" && !n.Reason.Known():
				n.Reason = code.Unresolved // a word of a newer gateway
			}
			answered = append(answered, n)
		}
		if err := settleNamed(ctx, tx, fmt.Sprintf("issuer:%d", issuer), answered); err != nil {
			return err
		}
	}
	return nil
}

// settleNamed makes taps of locked waiting records.
func settleNamed(ctx context.Context, tx *pg.Tx, source string, names []interbook.Name) error {
	if len(names) == 0 {
		return nil
	}
	if err := takeNamedUses(ctx, tx, names); err != nil {
		return fmt.Errorf("displays of named riders: %w", err)
	}
	n := len(names)
	terminals, seqs, reasons := make([]int64, n), make([]int64, n), make([]string, n)
	lists, idxs, ctrs := make([]*int32, n), make([]*int64, n), make([]*int32, n)
	var verdicts []Verdict
	var accepted []citygate.TapID
	for i, name := range names {
		terminals[i], seqs[i], reasons[i] = int64(name.Terminal), int64(name.Seq), string(name.Reason)
		id := citygate.TapID{Terminal: name.Terminal, Seq: name.Seq}
		if name.Reason != "" {
			verdicts = append(verdicts, Verdict{id, name.Reason})
			continue
		}
		list, idx, ctr := int32(name.Rider.List), int64(name.Rider.Index), int32(name.Counter)
		lists[i], idxs[i], ctrs[i] = &list, &idx, &ctr
		accepted = append(accepted, id)
	}
	if _, err := tx.Exec(ctx, insertNamedTaps, tx.Tenant, terminals, seqs, reasons, lists, idxs, ctrs); err != nil {
		return fmt.Errorf("named taps: %w", err)
	}
	if _, err := tx.Exec(ctx, settleWaiting, tx.Tenant, tx.Now, terminals, seqs, reasons); err != nil {
		return fmt.Errorf("named taps: %w", err)
	}
	if len(verdicts) > 0 {
		if err := WriteVerdicts(ctx, tx, source, verdicts); err != nil {
			return err
		}
	}
	return enqueue(ctx, tx, accepted)
}

// takeNamedUses refuses the names whose display another tap has: their issuer gave
// it twice.
func takeNamedUses(ctx context.Context, tx *pg.Tx, names []interbook.Name) error {
	var terminals, seqs, idxs []int64
	var lists, ctrs []int32
	for _, n := range names {
		if n.Reason == "" {
			terminals, seqs = append(terminals, int64(n.Terminal)), append(seqs, int64(n.Seq))
			lists, idxs, ctrs = append(lists, int32(n.Rider.List)), append(idxs, int64(n.Rider.Index)), append(ctrs, int32(n.Counter))
		}
	}
	if len(seqs) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, insertNamedUses, tx.Tenant, terminals, seqs, lists, idxs, ctrs)
	if err != nil {
		return err
	}
	taken := map[citygate.TapID]bool{}
	var id citygate.TapID
	if _, err := pgx.ForEachRow(rows, []any{&id.Terminal, &id.Seq}, func() error {
		taken[id] = true
		return nil
	}); err != nil {
		return err
	}
	for i := range names {
		if n := &names[i]; n.Reason == "" && !taken[citygate.TapID{Terminal: n.Terminal, Seq: n.Seq}] {
			n.Reason = code.DoubleUse
		}
	}
	return nil
}

// enqueue has taps priced, those of a terminal that lie near each other by one job.
func enqueue(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) error {
	slices.SortFunc(ids, func(a, b citygate.TapID) int {
		return cmp.Or(cmp.Compare(a.Terminal, b.Terminal), cmp.Compare(a.Seq, b.Seq))
	})
	var jobs []pg.Job
	for i := 0; i < len(ids); {
		first, j := ids[i], i
		for j < len(ids) && ids[j].Terminal == first.Terminal && ids[j].Seq-first.Seq < tap.BatchTapsMax {
			j++
		}
		jobs = append(jobs, BatchJob{tx.Tenant, first.Terminal, first.Seq, int(ids[j-1].Seq-first.Seq) + 1})
		i = j
	}
	if len(jobs) == 0 {
		return nil
	}
	return tx.Enqueue(ctx, jobs...)
}

// giveUp refuses records whose rider nobody named in time.
func giveUp(ctx context.Context, tx *pg.Tx) (more bool, err error) {
	overdue, err := collectWaiting(tx.Query(ctx, lockOverdue, tx.Tenant, tx.Now.Add(-nameGrace), rowsMax))
	if err != nil {
		return false, fmt.Errorf("taps that wait for too long: %w", err)
	}
	names := make([]interbook.Name, len(overdue))
	for i, w := range overdue {
		names[i] = interbook.Name{Terminal: w.id.Terminal, Seq: w.id.Seq, Reason: code.Unresolved}
	}
	return len(overdue) == rowsMax, settleNamed(ctx, tx, "operator", names)
}
