package intake

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	selectSeen = `
		SELECT seq, digest, reason FROM tap_seen
		WHERE tenant_id = $1 AND terminal = $2 AND seq >= $3 AND seq < $4`

	// lockTerminal makes the batches of one terminal wait for each other.
	lockTerminal = `
		INSERT INTO tap_terminals (tenant_id, terminal, offsets_ms, last_at) VALUES ($1, $2, '{}', $3)
		ON CONFLICT (tenant_id, terminal) DO UPDATE SET last_at = EXCLUDED.last_at
		RETURNING offsets_ms`

	selectNear = `
		SELECT sha256, prev_sha256, first_seq, taps, chain FROM tap_batches
		WHERE tenant_id = $1 AND terminal = $2
		  AND (sha256 IN ($3, $4) OR prev_sha256 IN ($3, $4))`
)

// seen gives the first answers to the taps of a batch that came before.
func seen(ctx context.Context, tx *pg.Tx, b *tap.Batch) (map[uint64]first, error) {
	rows, err := tx.Query(ctx, selectSeen, tx.Tenant, b.Terminal, b.First, b.First+uint64(b.Count))
	if err != nil {
		return nil, err
	}
	return scanSeen(rows)
}

func scanSeen(rows pgx.Rows) (map[uint64]first, error) {
	known := map[uint64]first{}
	var seq int64
	var digest []byte
	var reason string
	_, err := pgx.ForEachRow(rows, []any{&seq, &digest, &reason}, func() error {
		known[uint64(seq)] = first{[32]byte(digest), code.Reason(reason)}
		return nil
	})
	return known, err
}

// A held is what the transaction knows after it has the terminal's lock.
type held struct {
	offsets []int64
	seen    map[uint64]first
	near    []link
}

// hold takes the terminal's lock and reads, in one round trip, what the batch
// meets.
func hold(ctx context.Context, tx *pg.Tx, in *batch) (h held, err error) {
	b := in.Batch
	q := &pgx.Batch{}
	q.Queue(lockTerminal, tx.Tenant, b.Terminal, tx.Now).QueryRow(func(row pgx.Row) error { return row.Scan(&h.offsets) })
	q.Queue(selectSeen, tx.Tenant, b.Terminal, b.First, b.First+uint64(b.Count)).Query(func(rows pgx.Rows) (err error) {
		h.seen, err = scanSeen(rows)
		return err
	})
	q.Queue(selectNear, tx.Tenant, b.Terminal, b.Hash[:], b.Prev[:]).Query(func(rows pgx.Rows) error {
		var hash, prev []byte
		var l link
		_, err := pgx.ForEachRow(rows, []any{&hash, &prev, &l.first, &l.taps, &l.chain}, func() error {
			l.hash, l.prev = [32]byte(hash), [32]byte(prev)
			h.near = append(h.near, l)
			return nil
		})
		return err
	})
	return h, tx.SendBatch(ctx, q).Close()
}

// rowsMax is how many rows one statement inserts; beyond it unnest gets slower.
const rowsMax = 2000

// attemptFrom is the number of displays from which it pays to try whether all of
// them are free.
const attemptFrom = 32

const (
	insertUses = insertUseRows + ` ON CONFLICT (tenant_id, issuer, list, idx, ctr) DO NOTHING`

	// attemptUses fails on a display that was used before.
	attemptUses = insertUseRows + ` RETURNING list`

	insertUseRows = `
		INSERT INTO tap_uses (tenant_id, issuer, list, idx, ctr, terminal, seq, digest, received_at)
		SELECT $1, u.issuer, u.list, u.idx, u.ctr, $2, u.seq, u.digest, $3
		FROM unnest($4::int[], $5::int[], $6::bigint[], $7::int[], $8::bigint[], $9::bytea[]) AS u (issuer, list, idx, ctr, seq, digest)`

	selectUses = `
		SELECT t.issuer, t.list, t.idx, t.ctr, t.terminal, t.seq, t.digest
		FROM unnest($2::int[], $3::int[], $4::bigint[], $5::int[]) AS u (issuer, list, idx, ctr)
		JOIN tap_uses t ON t.tenant_id = $1 AND t.issuer = u.issuer AND t.list = u.list AND t.idx = u.idx AND t.ctr = u.ctr`
)

// claimUses writes the uses, which are sorted, and gives those that somebody
// else has, or another record of the same batch.
func claimUses(ctx context.Context, tx *pg.Tx, uses []*stored) (map[code.Use]use, error) {
	taken := map[code.Use]use{}
	for part := range slices.Chunk(uses, rowsMax) {
		issuers, lists, ctrs := make([]int32, len(part)), make([]int32, len(part)), make([]int32, len(part))
		idxs, seqs, digests := make([]int64, len(part)), make([]int64, len(part)), make([][]byte, len(part))
		for i, s := range part {
			issuers[i], lists[i], idxs[i], ctrs[i] = int32(s.rider.Issuer), int32(s.rider.List), int64(s.rider.Index), int32(s.counter)
			seqs[i], digests[i] = int64(s.Seq), s.evidence[:]
		}
		args := []any{tx.Tenant, part[0].Terminal, tx.Now, issuers, lists, idxs, ctrs, seqs, digests}
		if len(part) >= attemptFrom {
			if taken, err := tx.Attempt(ctx, attemptUses, args...); err != nil {
				return nil, fmt.Errorf("claim uses: %w", err)
			} else if !taken {
				continue
			}
		}
		tag, err := tx.Exec(ctx, insertUses, args...)
		if err != nil {
			return nil, fmt.Errorf("claim uses: %w", err)
		}
		if tag.RowsAffected() == int64(len(part)) {
			continue
		}
		rows, err := tx.Query(ctx, selectUses, tx.Tenant, issuers, lists, idxs, ctrs)
		if err != nil {
			return nil, fmt.Errorf("read uses: %w", err)
		}
		var issuer, list, idx, ctr, terminal, seq int64
		var digest []byte
		_, err = pgx.ForEachRow(rows, []any{&issuer, &list, &idx, &ctr, &terminal, &seq, &digest}, func() error {
			rider := citygate.Rider{Issuer: citygate.Issuer(issuer), List: uint16(list), Index: uint32(idx)}
			taken[code.Use{Rider: rider, Counter: uint16(ctr)}] = use{uint32(terminal), uint64(seq), [32]byte(digest)}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read uses: %w", err)
		}
	}
	return taken, nil
}

// The rows of tap_seen and taps are new: the terminal's lock is held and tap_seen
// was read under it. So nothing can be in their way, and not to look for it saves
// a third of an insert. RETURNING stands where a bulk insert has ON CONFLICT:
// without either a distributed database makes COPY of it, which row-level
// security refuses.
const (
	insertSeen = `
		INSERT INTO tap_seen (tenant_id, terminal, seq, digest, accepted, reason, received_at)
		SELECT $1, $2, u.seq, u.digest, u.reason = '', u.reason, $3
		FROM unnest($4::bigint[], $5::bytea[], $6::text[]) AS u (seq, digest, reason)
		RETURNING accepted`

	insertTaps = `
		INSERT INTO taps (tenant_id, terminal, seq, received_at, kind, accepted, reason, opened, event_time, generated_at,
			business_date, calendar_version, policy_version, clock_suspect, issuer, list, idx, ctr, product, party,
			stop, route, vehicle, driver, entered_minor, entered_currency, evidence_digest, record, rule, medium, party_shown)
		SELECT $1, $2, u.seq, $3, u.kind, u.reason = '', u.reason, u.opened, u.event_time, u.generated_at,
			u.business_date, u.calendar_version, u.policy_version, u.clock_suspect, u.issuer, u.list, u.idx, u.ctr, u.product, u.party,
			u.stop, u.route, u.vehicle, u.driver, u.entered_minor, u.entered_currency, u.evidence_digest, u.record, u.rule, u.medium, u.party_shown
		FROM unnest($4::int[], $5::bigint[], $6::smallint[], $7::text[], $8::boolean[], $9::timestamptz[], $10::timestamptz[],
			$11::date[], $12::bigint[], $13::boolean[], $14::int[], $15::int[], $16::bigint[], $17::int[], $18::int[], $19::smallint[],
			$20::text[], $21::text[], $22::text[], $23::text[], $24::bigint[], $25::text[], $26::bytea[], $27::bytea[], $28::text[], $29::text[], $30::smallint[])
			AS u (calendar_version, seq, kind, reason, opened, event_time, generated_at,
			business_date, policy_version, clock_suspect, issuer, list, idx, ctr, product, party,
			stop, route, vehicle, driver, entered_minor, entered_currency, evidence_digest, record, rule, medium, party_shown)
		RETURNING kind`

	insertEvidence = `
		INSERT INTO tap_evidence (tenant_id, received_at, digest, raw)
		SELECT $1, $2, u.digest, u.raw FROM unnest($3::bytea[], $4::bytea[]) AS u (digest, raw)
		ON CONFLICT (tenant_id, received_at, digest) DO NOTHING`

	insertConflicts = `
		INSERT INTO tap_conflicts (tenant_id, terminal, seq, digest, record, received_at)
		SELECT $1, $2, u.seq, u.digest, u.record, $3
		FROM unnest($4::bigint[], $5::bytea[], $6::bytea[]) AS u (seq, digest, record)
		ON CONFLICT (tenant_id, terminal, seq, digest) DO NOTHING`

	// A batch that is here already is counted as sent again.
	insertBatch = `
		INSERT INTO tap_batches (tenant_id, terminal, first_seq, sha256, taps, prev_sha256, recorded, refused, duplicate, resent, chain, received_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11)
		ON CONFLICT (tenant_id, terminal, sha256) DO UPDATE SET resent = tap_batches.resent + EXCLUDED.taps`

	updateChain = `
		UPDATE tap_batches SET chain = $4 WHERE tenant_id = $1 AND terminal = $2 AND sha256 = $3`

	updateOffsets = `
		UPDATE tap_terminals SET offsets_ms = $3 WHERE tenant_id = $1 AND terminal = $2`
)

// write stores everything about a batch in one round trip, then reports on the
// terminal.
func write(ctx context.Context, tx *pg.Tx, in *batch, h held, fresh []stored, conflicts []*item, results []ItemResult) error {
	q := &pgx.Batch{}
	more := offsets(fresh)
	last := append(h.offsets, more...)
	last = last[max(0, len(last)-offsetsKept):]
	_, _, off := clockOff(last, in.items[len(in.items)-1].policy)
	for part := range slices.Chunk(fresh, rowsMax) {
		queueFresh(q, tx, in, part, off)
	}
	if len(conflicts) > 0 {
		seqs, digests, records := make([]int64, 0, len(conflicts)), make([][]byte, 0, len(conflicts)), make([][]byte, 0, len(conflicts))
		for _, it := range conflicts {
			seqs, digests, records = append(seqs, int64(it.Seq)), append(digests, it.digest[:]), append(records, it.encoded)
		}
		q.Queue(insertConflicts, tx.Tenant, in.Terminal, tx.Now, seqs, digests, records)
	}
	own, follow := judge(in, h.near)
	counts := map[Outcome]int{}
	for _, r := range results {
		counts[r.Outcome]++
	}
	q.Queue(insertBatch, tx.Tenant, in.Terminal, in.First, in.Hash[:], in.Count, in.Prev[:],
		counts[Recorded], counts[Refused], counts[Duplicate], own, tx.Now)
	for _, l := range follow {
		q.Queue(updateChain, tx.Tenant, in.Terminal, l.hash[:], l.chain)
	}
	if len(more) > 0 {
		q.Queue(updateOffsets, tx.Tenant, in.Terminal, last)
	}
	if slices.ContainsFunc(h.near, func(l link) bool { return l.hash == in.Hash }) {
		own = chainOK // it came before, and was judged then
	}
	raised := in.flags(own, follow, len(conflicts))
	if err := tx.SendBatch(ctx, q).Close(); err != nil {
		return err
	}
	if len(more) == 0 {
		last = nil // nothing new about the clock
	}
	return report(ctx, tx, in, len(fresh)+len(conflicts) > 0, last, raised)
}

// queueFresh adds the inserts of fresh records. One whose rider is still to be
// named becomes a tap when he is.
func queueFresh(q *pgx.Batch, tx *pg.Tx, in *batch, part []stored, clockOff bool) {
	c := newColumns(len(part))
	var waiting []stored
	for _, s := range part {
		if s.waiting {
			waiting = append(waiting, s)
			continue
		}
		c.add(s, in, clockOff || s.Clock == tap.ClockUnknown)
	}
	if len(waiting) > 0 {
		w := newColumns(len(waiting))
		for _, s := range waiting {
			w.add(s, in, clockOff || s.Clock == tap.ClockUnknown)
		}
		queueWaiting(q, tx, in, w, waiting)
	}
	if len(c.seq) == 0 {
		return
	}
	terminal := in.Terminal
	q.Queue(insertSeen, tx.Tenant, terminal, tx.Now, c.seq, c.digest, c.reason)
	q.Queue(insertTaps, tx.Tenant, terminal, tx.Now, c.calendar,
		c.seq, c.kind, c.reason, c.opened, c.eventTime, c.generatedAt,
		c.businessDate, c.policy, c.suspect, c.issuer, c.list, c.idx, c.ctr, c.product, c.party,
		c.stop, c.route, c.vehicle, c.driver, c.enteredMinor, c.enteredCurrency, c.evidence, c.record, c.rule, c.medium, c.shown)
	q.Queue(insertEvidence, tx.Tenant, tx.Now, c.evidence, c.raw)
}

// columns are rows turned into the arrays that unnest takes.
type columns struct {
	seq, policy                   []int64
	calendar                      []int32
	digest, evidence, raw, record [][]byte
	kind, party, shown            []int16
	opened, suspect               []bool
	reason, rule, medium          []string
	eventTime, businessDate       []time.Time
	generatedAt                   []*time.Time
	issuer, list, ctr, product    []*int32
	idx, enteredMinor             []*int64
	enteredCurrency               []*string
	stop, route, vehicle, driver  []string

	times []time.Time // what the pointers point to
	ints  []int32
	longs []int64
	texts []string
}

func newColumns(n int) *columns {
	return &columns{
		calendar: make([]int32, 0, n), seq: make([]int64, 0, n), policy: make([]int64, 0, n),
		digest: make([][]byte, 0, n), evidence: make([][]byte, 0, n), raw: make([][]byte, 0, n), record: make([][]byte, 0, n),
		kind: make([]int16, 0, n), party: make([]int16, 0, n), shown: make([]int16, 0, n), medium: make([]string, 0, n), opened: make([]bool, 0, n), suspect: make([]bool, 0, n),
		reason: make([]string, 0, n), rule: make([]string, 0, n), eventTime: make([]time.Time, 0, n), businessDate: make([]time.Time, 0, n),
		generatedAt: make([]*time.Time, 0, n), issuer: make([]*int32, 0, n), list: make([]*int32, 0, n),
		ctr: make([]*int32, 0, n), product: make([]*int32, 0, n), idx: make([]*int64, 0, n),
		enteredMinor: make([]*int64, 0, n), enteredCurrency: make([]*string, 0, n),
		stop: make([]string, 0, n), route: make([]string, 0, n), vehicle: make([]string, 0, n), driver: make([]string, 0, n),
		// Never grown: pointers into them stay good.
		times: make([]time.Time, 0, n), ints: make([]int32, 0, 4*n), longs: make([]int64, 0, 2*n), texts: make([]string, 0, n),
	}
}

func (c *columns) add(s stored, in *batch, suspect bool) {
	at := time.UnixMilli(s.EventTime).UTC()
	c.seq, c.policy = append(c.seq, int64(s.Seq)), append(c.policy, int64(s.policy.Version))
	c.digest, c.evidence = append(c.digest, s.digest[:]), append(c.evidence, s.evidence[:])
	raw := s.Evidence
	if raw == nil {
		raw = []byte{} // a tap without code bytes, not a NULL
	}
	c.raw, c.record = append(c.raw, raw), append(c.record, s.meta)
	c.kind, c.party = append(c.kind, int16(s.Kind)), append(c.party, int16(s.Party))
	c.medium, c.shown = append(c.medium, s.medium), append(c.shown, int16(s.shown))
	c.opened, c.suspect = append(c.opened, s.Accepted), append(c.suspect, suspect)
	c.reason, c.rule = append(c.reason, string(s.final)), append(c.rule, s.rule)
	date := in.calendar.BusinessDate(at)
	c.eventTime, c.businessDate, c.calendar = append(c.eventTime, at), append(c.businessDate, date.Time()), append(c.calendar, int32(in.calendar.On(date).Version))
	c.stop, c.route = append(c.stop, s.Stop), append(c.route, s.Route)
	c.vehicle, c.driver = append(c.vehicle, s.Vehicle), append(c.driver, s.Driver)
	if s.Entered.Currency == "" {
		c.enteredMinor, c.enteredCurrency = append(c.enteredMinor, nil), append(c.enteredCurrency, nil)
	} else {
		c.enteredMinor, c.enteredCurrency = append(c.enteredMinor, c.long(s.Entered.Minor)), append(c.enteredCurrency, c.text(string(s.Entered.Currency)))
	}
	if !s.parsed {
		c.issuer, c.list, c.idx, c.ctr = append(c.issuer, nil), append(c.list, nil), append(c.idx, nil), append(c.ctr, nil)
		c.product, c.generatedAt = append(c.product, nil), append(c.generatedAt, nil)
		return
	}
	c.issuer, c.list = append(c.issuer, c.int(int32(s.rider.Issuer))), append(c.list, c.int(int32(s.rider.List)))
	c.idx, c.ctr = append(c.idx, c.long(int64(s.rider.Index))), append(c.ctr, c.int(int32(s.counter)))
	c.product = append(c.product, c.int(int32(s.product)))
	c.times = append(c.times, time.UnixMilli(s.madeAt).UTC())
	c.generatedAt = append(c.generatedAt, &c.times[len(c.times)-1])
}

func (c *columns) int(v int32) *int32 {
	c.ints = append(c.ints, v)
	return &c.ints[len(c.ints)-1]
}

func (c *columns) long(v int64) *int64 {
	c.longs = append(c.longs, v)
	return &c.longs[len(c.longs)-1]
}

func (c *columns) text(v string) *string {
	c.texts = append(c.texts, v)
	return &c.texts[len(c.texts)-1]
}
