package pricing

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const rowsMax = 2_000 // rows of one statement

// riderColumns splits riders into the columns of the tables.
func riderColumns(riders []citygate.Rider) (issuers, lists []int32, indices []int64) {
	issuers, lists, indices = make([]int32, len(riders)), make([]int32, len(riders)), make([]int64, len(riders))
	for i, r := range riders {
		issuers[i], lists[i], indices[i] = int32(r.Issuer), int32(r.List), int64(r.Index)
	}
	return issuers, lists, indices
}

// lockRiders takes the rows of riders, which are in order.
func lockRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) error {
	for chunk := range slices.Chunk(riders, rowsMax) {
		issuers, lists, indices := riderColumns(chunk)
		if _, err := tx.Exec(ctx, `
			INSERT INTO pricing_riders (tenant_id, issuer, list, idx)
			SELECT $1, issuer, list, idx FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx)
			ORDER BY issuer, list, idx
			ON CONFLICT (tenant_id, issuer, list, idx) DO NOTHING`, int64(tx.Tenant), issuers, lists, indices); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			SELECT 1 FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx) CROSS JOIN LATERAL (
				SELECT 1 FROM pricing_riders
				WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx OFFSET 0 FOR UPDATE) AS p`,
			int64(tx.Tenant), issuers, lists, indices); err != nil {
			return err
		}
	}
	return nil
}

const journeyColumns = `j.journey_id, j.issuer, j.list, j.idx, j.paired, j.starts_at, j.ends_at, j.taps, j.state, j.reason, j.closes_at, j.last_n, j.amount, j.payee, j.account_id, j.claimed, j.reading`

func collectJourneys(rows pgx.Rows, err error) ([]stored, error) {
	if err != nil {
		return nil, err
	}
	var out []stored
	var (
		s            stored
		issuer, list int32
		index        int64
		start, end   time.Time
		closes       *time.Time
		taps         string
		account      pgtype.UUID
	)
	_, err = pgx.ForEachRow(rows, []any{&s.id, &issuer, &list, &index, &s.paired, &start, &end, &taps, &s.state, &s.reason, &closes,
		&s.lastN, &s.amount, &s.payee, &account, &s.claimed, &s.reading}, func() error {
		s.rider = citygate.Rider{Issuer: citygate.Issuer(issuer), List: uint16(list), Index: uint32(index)}
		s.at, s.ends, s.closes = start.UnixMilli(), end.UnixMilli(), 0
		if closes != nil {
			s.closes = closes.UnixMilli()
		}
		s.account = account.Bytes
		var err error
		if s.taps, err = parseTaps(taps); err != nil {
			return err
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

// journeysByID gives and locks the journeys that exist of ids. OFFSET 0 keeps
// the planner from scanning the whole table while it has no statistics of it.
func journeysByID(ctx context.Context, tx *pg.Tx, ids []citygate.UUID) (map[citygate.UUID]*stored, error) {
	ordered := slices.SortedFunc(slices.Values(ids), func(a, b citygate.UUID) int { return bytes.Compare(a[:], b[:]) })
	found, err := collectJourneys(tx.Query(ctx, `
		SELECT `+journeyColumns+` FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
			SELECT * FROM journeys WHERE tenant_id = $1 AND journey_id = u.id OFFSET 0 FOR UPDATE) AS j`,
		int64(tx.Tenant), ordered))
	out := make(map[citygate.UUID]*stored, len(found))
	for i := range found {
		out[found[i].id] = &found[i]
	}
	return out, err
}

// journeysOfRiders gives the paired journeys of riders that start between from
// and to (unix milliseconds). The riders' rows are locked.
func journeysOfRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from, to int64) ([]stored, error) {
	issuers, lists, indices := riderColumns(riders)
	return collectJourneys(tx.Query(ctx, `
		SELECT `+journeyColumns+` FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx) CROSS JOIN LATERAL (
			SELECT * FROM journeys
			WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx AND starts_at BETWEEN $5 AND $6 AND paired
			OFFSET 0) AS j`,
		int64(tx.Tenant), issuers, lists, indices, time.UnixMilli(from).UTC(), time.UnixMilli(to).UTC()))
}

// dueJourneys gives open journeys whose time is over, the oldest first.
func dueJourneys(ctx context.Context, tx *pg.Tx, limit int) ([]stored, error) {
	return collectJourneys(tx.Query(ctx, `
		SELECT `+journeyColumns+` FROM journeys j WHERE j.tenant_id = $1 AND j.state = 'open' AND j.closes_at <= $2
		ORDER BY j.closes_at, j.journey_id LIMIT $3`, int64(tx.Tenant), tx.Now, limit))
}

// journeyRows are the columns of journeys to be written.
type journeyRows struct {
	ids            []citygate.UUID
	riders         []citygate.Rider
	paired, claims []bool
	starts, ends   []time.Time
	taps, states   []string
	reasons        []string
	closes         []*time.Time
	ns             []int32
	amounts        []int64
	payees         []string
	accounts       []pgtype.UUID
	readings       []string
	lacks          []bool
}

func (r *journeyRows) add(o *outcome) {
	after := o.after()
	state, reason, n, claimed := o.state, string(o.reason), 0, false
	starts, ends := o.built.At(), int64(0)
	paired := len(o.built.Taps) > 0 && isPaired(o.built.Taps[0])
	if len(o.built.Taps) > 0 {
		ends = o.built.Taps[len(o.built.Taps)-1].At
	}
	if o.old != nil {
		n, claimed, paired = o.old.lastN, o.old.claimed, o.old.paired
		if len(o.built.Taps) == 0 {
			starts, ends = o.old.at, o.old.ends
		}
	}
	if d := o.decision; d != nil {
		n = d.n
		claimed = claimed || d.claim == claimPending || d.claim == claimAccepted
		if d.claim == claimRefused { // without effect; the journey is decided again at once
			state, reason = StateSetAside, claimRefused
			if after.amount > 0 {
				state, reason = statePriced, ""
			}
		}
	}
	var closes *time.Time
	if state == stateOpen {
		at := time.UnixMilli(o.closes()).UTC()
		closes = &at
	}
	r.ids, r.riders = append(r.ids, o.id), append(r.riders, o.built.Rider)
	r.paired, r.claims = append(r.paired, paired), append(r.claims, claimed)
	r.starts, r.ends = append(r.starts, time.UnixMilli(starts).UTC()), append(r.ends, time.UnixMilli(ends).UTC())
	r.taps, r.states, r.reasons = append(r.taps, tapsText(members(&o.built))), append(r.states, state), append(r.reasons, reason)
	r.closes, r.ns = append(r.closes, closes), append(r.ns, int32(n))
	r.amounts, r.payees = append(r.amounts, after.amount), append(r.payees, after.payee)
	r.accounts = append(r.accounts, nullable(after.account))
	r.readings, r.lacks = append(r.readings, o.reading), append(r.lacks, o.lacks)
}

func nullable(u citygate.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: !u.IsZero()} }

const insertJourneyRows = `
	INSERT INTO journeys (tenant_id, journey_id, issuer, list, idx, paired, starts_at, ends_at, taps, state, reason, closes_at,
	                      last_n, amount, payee, account_id, claimed, reading, lacks)
	SELECT $1, * FROM unnest($2::uuid[], $3::int[], $4::int[], $5::bigint[], $6::boolean[], $7::timestamptz[], $8::timestamptz[],
	                         $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::int[], $14::bigint[], $15::text[], $16::uuid[], $17::boolean[], $18::text[], $19::boolean[])
	     AS u (id, issuer, list, idx, paired, starts, ends, taps, state, reason, closes, n, amount, payee, account, claimed, reading, lacks)`

// A row of a new journey or decision that is there already fails the statement:
// not to look for it first saves a quarter of an insert. RETURNING stands where a
// bulk insert has ON CONFLICT: without either a distributed database makes COPY
// of it, which row-level security refuses.
const insertJourneys = insertJourneyRows + ` RETURNING last_n`

// An upsert finds its rows by the key whatever the planner thinks of the table;
// UPDATE ... FROM unnest scanned all of it while it had no statistics.
const updateJourneys = insertJourneyRows + `
	ON CONFLICT (tenant_id, journey_id) DO UPDATE
	SET starts_at = excluded.starts_at, ends_at = excluded.ends_at, taps = excluded.taps, state = excluded.state, reason = excluded.reason,
	    closes_at = excluded.closes_at, last_n = excluded.last_n, amount = excluded.amount, payee = excluded.payee,
	    account_id = excluded.account_id, claimed = excluded.claimed, reading = excluded.reading, lacks = excluded.lacks`

// writeJourneys inserts and updates the rows of outcomes. A new journey that
// somebody else has just stored is [ErrRaced].
func writeJourneys(ctx context.Context, tx *pg.Tx, outcomes []outcome) error {
	for chunk := range slices.Chunk(outcomes, rowsMax) {
		var fresh, old journeyRows
		for i := range chunk {
			if chunk[i].old == nil {
				fresh.add(&chunk[i])
			} else {
				old.add(&chunk[i])
			}
		}
		if err := fresh.write(ctx, tx, insertJourneys); err != nil {
			return raced(err)
		}
		if err := old.write(ctx, tx, updateJourneys); err != nil {
			return err
		}
	}
	return nil
}

func (r *journeyRows) write(ctx context.Context, tx *pg.Tx, sql string) error {
	if len(r.ids) == 0 {
		return nil
	}
	issuers, lists, indices := riderColumns(r.riders)
	_, err := tx.Exec(ctx, sql, int64(tx.Tenant), r.ids, issuers, lists, indices, r.paired, r.starts, r.ends,
		r.taps, r.states, r.reasons, r.closes, r.ns, r.amounts, r.payees, r.accounts, r.claims, r.readings, r.lacks)
	return err
}

const insertFares = `
	INSERT INTO fare_decisions (tenant_id, decided_at, journey_id, n, supersedes, taps, issuer_tenant, account_id, payee, known, reason, amount,
	                            currency, tariff_version, inputs_hash, explanation, event_time, business_date, calendar_version, window_date, claim_state, shared_by)
	SELECT $1, $2, id, n, CASE WHEN n > 1 THEN n - 1 END, taps, issuer, account, payee, known, reason, amount,
	       currency, tariff, hash, explanation::json, at, date, calendar, win, claim, shared
	FROM unnest($3::uuid[], $4::int[], $5::text[], $6::bigint[], $7::uuid[], $8::text[], $9::boolean[], $10::text[], $11::bigint[], $12::text[],
	            $13::bigint[], $14::bytea[], $15::text[], $16::timestamptz[], $17::date[], $18::int[], $19::date[], $20::text[], $21::bigint[])
	     AS u (id, n, taps, issuer, account, payee, known, reason, amount, currency, tariff, hash, explanation, at, date, calendar, win, claim, shared)
	RETURNING n`

// raced makes [ErrRaced] of a row that somebody else has just stored.
func raced(err error) error {
	if pg.SQLState(err) == pg.StateUniqueViolation {
		return ErrRaced.Because(err, "")
	}
	return err
}

// insertDecisions stores decisions. One that is there already is [ErrRaced].
func insertDecisions(ctx context.Context, tx *pg.Tx, decided []*decision) error {
	for chunk := range slices.Chunk(decided, rowsMax) {
		n := len(chunk)
		ids, ns, taps, issuers, accounts := make([]citygate.UUID, n), make([]int32, n), make([]string, n), make([]int64, n), make([]pgtype.UUID, n)
		payees, known, reasons, amounts, currencies := make([]string, n), make([]bool, n), make([]string, n), make([]int64, n), make([]string, n)
		tariffs, hashes, explanations := make([]int64, n), make([][]byte, n), make([]string, n)
		ats, dates, calendars, windows, claims := make([]time.Time, n), make([]time.Time, n), make([]int32, n), make([]time.Time, n), make([]string, n)
		shared := make([]int64, n)
		for i, d := range chunk {
			ids[i], ns[i], taps[i], issuers[i], accounts[i] = d.journey, int32(d.n), d.taps, int64(d.issuer), nullable(d.account)
			payees[i], known[i], reasons[i], amounts[i], currencies[i] = d.payee, d.known, string(d.reason), d.amount, string(d.currency)
			tariffs[i], hashes[i], explanations[i] = int64(d.tariff), d.hash[:], string(d.explanation)
			shared[i] = int64(d.sharedBy)
			ats[i], dates[i], calendars[i], windows[i], claims[i] = d.at, d.date.Time(), int32(d.calendar), d.window.Time(), d.claim
		}
		_, err := tx.Exec(ctx, insertFares, int64(tx.Tenant), tx.Now, ids, ns, taps, issuers, accounts, payees, known, reasons, amounts, currencies,
			tariffs, hashes, explanations, ats, dates, calendars, windows, claims, shared)
		if err != nil {
			return raced(err)
		}
	}
	return nil
}

// sorted orders verdicts as their rows are locked, without repetitions.
func sorted(items []interbook.Verdict) []interbook.Verdict {
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b interbook.Verdict) int {
		if c := bytes.Compare(a.Journey[:], b.Journey[:]); c != 0 {
			return c
		}
		return a.N - b.N
	})
	return items
}

// keepVerdicts records an issuer's answers, as far as it was asked.
func keepVerdicts(ctx context.Context, tx *pg.Tx, from citygate.TenantID, items []interbook.Verdict) error {
	for chunk := range slices.Chunk(sorted(items), rowsMax) {
		ids, ns, accepted := make([]citygate.UUID, len(chunk)), make([]int32, len(chunk)), make([]bool, len(chunk))
		for i, v := range chunk {
			ids[i], ns[i], accepted[i] = v.Journey, int32(v.N), v.Accepted
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO claim_verdicts (tenant_id, journey_id, n, accepted, at)
			SELECT $1, u.id, u.n, u.accepted, $2 FROM unnest($3::uuid[], $4::int[], $5::boolean[]) AS u (id, n, accepted) CROSS JOIN LATERAL (
				SELECT 1 FROM fare_decisions WHERE tenant_id = $1 AND journey_id = u.id AND n = u.n AND issuer_tenant = $6 OFFSET 0) AS d
			ON CONFLICT (tenant_id, journey_id, n) DO NOTHING`, int64(tx.Tenant), tx.Now, ids, ns, accepted, int64(from)); err != nil {
			return err
		}
	}
	return nil
}

// unclaim notes of journeys with a refused claim whether the issuer knows any
// other decision of theirs. What it never accepted need not be taken back.
func unclaim(ctx context.Context, tx *pg.Tx, items []interbook.Verdict) error {
	var ids []citygate.UUID
	for _, v := range sorted(items) {
		if !v.Accepted {
			ids = append(ids, v.Journey)
		}
	}
	for chunk := range slices.Chunk(ids, rowsMax) {
		if _, err := tx.Exec(ctx, `
			UPDATE journeys j SET claimed = EXISTS (
				SELECT FROM fare_decisions d
				LEFT JOIN claim_verdicts v ON v.tenant_id = $1 AND v.journey_id = d.journey_id AND v.n = d.n
				WHERE d.tenant_id = $1 AND d.journey_id = j.journey_id AND d.claim_state <> 'none' AND coalesce(v.accepted, true))
			WHERE j.tenant_id = $1 AND j.journey_id = ANY($2::uuid[])`, int64(tx.Tenant), chunk); err != nil {
			return err
		}
	}
	return nil
}

// tapsOfJourneys gives the taps that journeys have. It takes no lock: whoever
// acts on them locks riders and journeys in their order and looks again.
func tapsOfJourneys(ctx context.Context, tx *pg.Tx, journeys []citygate.UUID) ([]citygate.TapID, error) {
	if len(journeys) == 0 {
		return nil, nil
	}
	found, err := collectJourneys(tx.Query(ctx, `
		SELECT `+journeyColumns+` FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
			SELECT * FROM journeys WHERE tenant_id = $1 AND journey_id = u.id OFFSET 0) AS j`, int64(tx.Tenant), journeys))
	var ids []citygate.TapID
	for i := range found {
		ids = append(ids, found[i].taps...)
	}
	return ids, err
}

// Books derives the transfers of this package from its decisions: a [ledger.Source].
type Books struct{}

// Name implements [ledger.Source].
func (Books) Name() string { return "pricing" }

// Derive implements [ledger.Source].
func (Books) Derive(ctx context.Context, tx *pg.Tx, yield func(ledger.Transfer) error) error {
	funded, err := fundingsOf(ctx, tx, nil)
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `
		SELECT journey_id, n, issuer_tenant, account_id, payee, amount, currency, event_time, business_date, claim_state
		FROM fare_decisions WHERE tenant_id = $1 ORDER BY journey_id, n`, int64(tx.Tenant))
	if err != nil {
		return err
	}
	var (
		id, last citygate.UUID
		account  pgtype.UUID
		before   posting
		p        posting
		issuer   int64
		currency string
		date     time.Time
		claim    string
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &p.n, &issuer, &account, &p.payee, &p.amount, &currency, &p.at, &date, &claim}, func() error {
		if id != last {
			before, last = posting{}, id
		}
		p.issuer, p.account, p.cur = citygate.TenantID(issuer), account.Bytes, citygate.Currency(currency)
		p.date, p.funded = citygate.DateOf(date), funded[id][p.n]
		if p.issuer == tx.Tenant && claim == claimRefused {
			return nil // never had an effect
		}
		for _, t := range transfersOf(tx.Tenant, id, before, p) {
			if err := yield(t); err != nil {
				return err
			}
		}
		before = p
		return nil
	})
	if err != nil {
		return err
	}
	return deriveShares(ctx, tx, yield)
}
