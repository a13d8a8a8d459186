package intake

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Tap is a stored tap with its final answer: the gateway's own, or the
// verdict of an issuer that came later.
type Tap struct {
	ID       citygate.TapID
	Rider    citygate.Rider // not proven on a refused tap; zero when no code could be read
	Counter  uint16
	Product  uint16
	Kind     tap.Kind
	At       time.Time // event time
	Stop     string
	Route    string
	Vehicle  string
	Driver   string
	Party    uint8
	Shown    uint8          // riders the code itself states, 0 = unknown
	Medium   string         // what it was shown on, "" = unknown
	Entered  citygate.Money // zero currency = none
	Accepted bool
	Reason   code.Reason // "" when accepted
	Date     citygate.Date
	Received time.Time
	Evidence [32]byte // digest of the raw code
}

const (
	tapColumns = `t.terminal, t.seq, coalesce(t.issuer, 0), coalesce(t.list, 0), coalesce(t.idx, 0), coalesce(t.ctr, 0), coalesce(t.product, 0),
		t.kind, t.event_time, t.stop, t.route, t.vehicle, t.driver, t.party, coalesce(t.entered_minor, 0), coalesce(t.entered_currency, ''),
		coalesce(v.reason, t.reason), t.business_date, t.received_at, t.evidence_digest, t.medium, t.party_shown`

	withVerdicts = ` LEFT JOIN tap_verdicts v ON v.tenant_id = $1 AND v.terminal = t.terminal AND v.seq = t.seq`

	// The bounds of receipt let the planner leave out the partitions of other months.
	selectBatchBounds = `
		SELECT coalesce(min(received_at), 'epoch'), coalesce(max(received_at), 'epoch') FROM tap_seen
		WHERE tenant_id = $1 AND terminal = $2 AND seq >= $3 AND seq < $4`

	selectBatchTaps = `SELECT ` + tapColumns + ` FROM taps t` + withVerdicts + `
		WHERE t.tenant_id = $1 AND t.terminal = $2 AND t.seq >= $3 AND t.seq < $4 AND t.received_at BETWEEN $5 AND $6
		ORDER BY t.seq`

	selectIDBounds = `
		SELECT coalesce(min(s.received_at), 'epoch'), coalesce(max(s.received_at), 'epoch')
		FROM unnest($2::bigint[], $3::bigint[]) AS u (terminal, seq)
		JOIN tap_seen s ON s.tenant_id = $1 AND s.terminal = u.terminal AND s.seq = u.seq`

	selectTapsByID = `SELECT ` + tapColumns + ` FROM unnest($2::bigint[], $3::bigint[]) AS u (terminal, seq)
		CROSS JOIN LATERAL (
			SELECT * FROM taps WHERE tenant_id = $1 AND terminal = u.terminal AND seq = u.seq AND received_at BETWEEN $4 AND $5 OFFSET 0) AS t` + withVerdicts + `
		ORDER BY t.terminal, t.seq`

	selectTapsOfRiders = `SELECT ` + tapColumns + ` FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx)
		CROSS JOIN LATERAL (
			SELECT * FROM taps WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx
				AND accepted AND kind < 3 AND event_time BETWEEN $5 AND $6 AND received_at >= $7 OFFSET 0) AS t` + withVerdicts + `
		WHERE v.reason IS NULL
		ORDER BY t.event_time, t.terminal, t.seq`

	selectTapsOfTerminal = `SELECT ` + tapColumns + ` FROM taps t` + withVerdicts + `
		WHERE t.tenant_id = $1 AND t.terminal = $2 AND t.accepted AND t.kind < 3 AND t.event_time BETWEEN $3 AND $4 AND t.received_at >= $5 AND v.reason IS NULL
		ORDER BY t.seq`

	// LATERAL and OFFSET 0 make it one index look-up a tap whatever the planner
	// knows of the tables: without statistics it would scan them.
	selectEvidence = `
		SELECT u.terminal, u.seq, e.raw FROM unnest($2::bigint[], $3::bigint[]) AS u (terminal, seq)
		CROSS JOIN LATERAL (
			SELECT received_at, evidence_digest FROM taps
			WHERE tenant_id = $1 AND terminal = u.terminal AND seq = u.seq AND received_at BETWEEN $4 AND $5 OFFSET 0) AS t
		CROSS JOIN LATERAL (
			SELECT raw FROM tap_evidence
			WHERE tenant_id = $1 AND received_at = t.received_at AND digest = t.evidence_digest AND received_at BETWEEN $4 AND $5 OFFSET 0) AS e`

	selectEvidenceAt = `
		SELECT e.digest, e.raw FROM unnest($2::timestamptz[], $3::bytea[]) AS u (received_at, digest)
		CROSS JOIN LATERAL (
			SELECT digest, raw FROM tap_evidence
			WHERE tenant_id = $1 AND received_at = u.received_at AND digest = u.digest AND received_at BETWEEN $4 AND $5 OFFSET 0) AS e`
)

// clockLead is how much earlier than its event time a tap may have been
// received: intake refuses what claims to be from further in the future than
// the rules' clock_suspect_seconds, which are at most this.
const clockLead = 24 * time.Hour

// BatchTaps gives the stored taps of a terminal with sequence numbers from
// first to first+count-1, in order, refused ones included.
func BatchTaps(ctx context.Context, tx *pg.Tx, terminal uint32, first uint64, count int) ([]Tap, error) {
	var from, to time.Time
	end := first + uint64(count)
	if err := tx.QueryRow(ctx, selectBatchBounds, tx.Tenant, terminal, first, end).Scan(&from, &to); err != nil {
		return nil, fmt.Errorf("taps of batch: %w", err)
	}
	rows, err := tx.Query(ctx, selectBatchTaps, tx.Tenant, terminal, first, end, from, to)
	return collect(rows, err, "taps of batch")
}

// TapsByID gives stored taps, refused ones included, ordered by terminal and
// sequence number. What does not exist is left out.
func TapsByID(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) ([]Tap, error) {
	terminals, seqs := split(ids)
	var from, to time.Time
	if err := tx.QueryRow(ctx, selectIDBounds, tx.Tenant, terminals, seqs).Scan(&from, &to); err != nil {
		return nil, fmt.Errorf("taps by id: %w", err)
	}
	rows, err := tx.Query(ctx, selectTapsByID, tx.Tenant, terminals, seqs, from, to)
	return collect(rows, err, "taps by id")
}

// TapsOfRiders gives the accepted taps of kind on and off of riders with event
// times from from to to, both included, ordered by event time, terminal and
// sequence number. Taps that an issuer refused later are not among them.
func TapsOfRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from, to time.Time) ([]Tap, error) {
	issuers, lists, idxs := make([]int32, len(riders)), make([]int32, len(riders)), make([]int64, len(riders))
	for i, r := range riders {
		issuers[i], lists[i], idxs[i] = int32(r.Issuer), int32(r.List), int64(r.Index)
	}
	rows, err := tx.Query(ctx, selectTapsOfRiders, tx.Tenant, issuers, lists, idxs, from, to, from.Add(-clockLead))
	return collect(rows, err, "taps of riders")
}

// TapsOfTerminal gives the accepted taps of kind on and off of a terminal with
// event times from from to to, both included, in the order of sequence numbers.
func TapsOfTerminal(ctx context.Context, tx *pg.Tx, terminal uint32, from, to time.Time) ([]Tap, error) {
	rows, err := tx.Query(ctx, selectTapsOfTerminal, tx.Tenant, terminal, from, to, from.Add(-clockLead))
	return collect(rows, err, "taps of terminal")
}

// Evidence gives the raw code bytes of taps. A tap whose month of evidence was
// dropped is left out.
func Evidence(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) (map[citygate.TapID][]byte, error) {
	terminals, seqs := split(ids)
	var from, to time.Time
	if err := tx.QueryRow(ctx, selectIDBounds, tx.Tenant, terminals, seqs).Scan(&from, &to); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	rows, err := tx.Query(ctx, selectEvidence, tx.Tenant, terminals, seqs, from, to)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	found := make(map[citygate.TapID][]byte, len(ids))
	var id citygate.TapID
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&id.Terminal, &id.Seq, &raw}, func() error {
		found[id] = append([]byte(nil), raw...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return found, nil
}

// A Place is where the evidence of a tap lies, as the [Tap] says.
type Place struct {
	ID       citygate.TapID
	Received time.Time
	Digest   [32]byte
}

// EvidenceAt is [Evidence] for a caller that has read the taps: it looks up the
// codes alone.
func EvidenceAt(ctx context.Context, tx *pg.Tx, places []Place) (map[citygate.TapID][]byte, error) {
	found := make(map[citygate.TapID][]byte, len(places))
	if len(places) == 0 {
		return found, nil
	}
	received, digests := make([]time.Time, len(places)), make([][]byte, len(places))
	from, to := places[0].Received, places[0].Received
	for i := range places {
		at := places[i].Received
		received[i], digests[i] = at, places[i].Digest[:]
		if at.Before(from) {
			from = at
		}
		if at.After(to) {
			to = at
		}
	}
	rows, err := tx.Query(ctx, selectEvidenceAt, tx.Tenant, received, digests, from, to)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	codes := make(map[[32]byte][]byte, len(places))
	var digest pgtype.DriverBytes
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&digest, &raw}, func() error {
		codes[[32]byte(digest)], raw = raw, nil // the next row gets bytes of its own
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	for i := range places {
		if code, ok := codes[places[i].Digest]; ok {
			found[places[i].ID] = code
		}
	}
	return found, nil
}

func split(ids []citygate.TapID) (terminals, seqs []int64) {
	terminals, seqs = make([]int64, len(ids)), make([]int64, len(ids))
	for i, id := range ids {
		terminals[i], seqs[i] = int64(id.Terminal), int64(id.Seq)
	}
	return terminals, seqs
}

func collect(rows pgx.Rows, err error, what string) ([]Tap, error) {
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	taps, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Tap, err error) {
		var digest []byte
		err = row.Scan(&t.ID.Terminal, &t.ID.Seq, &t.Rider.Issuer, &t.Rider.List, &t.Rider.Index, &t.Counter, &t.Product,
			&t.Kind, &t.At, &t.Stop, &t.Route, &t.Vehicle, &t.Driver, &t.Party, &t.Entered.Minor, &t.Entered.Currency,
			&t.Reason, &t.Date, &t.Received, &digest, &t.Medium, &t.Shown)
		t.Accepted = t.Reason == ""
		copy(t.Evidence[:], digest)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return taps, nil
}

// A Verdict refuses a tap after it was recorded.
type Verdict struct {
	ID     citygate.TapID
	Reason code.Reason
}

const insertVerdicts = `
	INSERT INTO tap_verdicts (tenant_id, terminal, seq, reason, source, at)
	SELECT $1, u.terminal, u.seq, u.reason, $2, $3 FROM unnest($4::bigint[], $5::bigint[], $6::text[]) AS u (terminal, seq, reason)
	ON CONFLICT (tenant_id, terminal, seq) DO NOTHING`

// WriteVerdicts refuses recorded taps on behalf of source, such as
// "issuer:1001". The first verdict on a tap stands.
func WriteVerdicts(ctx context.Context, tx *pg.Tx, source string, verdicts []Verdict) error {
	ids, reasons := make([]citygate.TapID, len(verdicts)), make([]string, len(verdicts))
	for i, v := range verdicts {
		ids[i], reasons[i] = v.ID, string(v.Reason)
	}
	terminals, seqs := split(ids)
	if _, err := tx.Exec(ctx, insertVerdicts, tx.Tenant, source, tx.Now, terminals, seqs, reasons); err != nil {
		return fmt.Errorf("write verdicts: %w", err)
	}
	return nil
}

// Counts says what became of everything a tenant's terminals uploaded.
// Uploaded = Recorded + Duplicate + all of Refused.
type Counts struct {
	Uploaded  int64
	Recorded  int64 // accepted to this day
	Duplicate int64
	Refused   map[code.Reason]int64 // by final reason
}

const (
	selectUploads = `
		SELECT coalesce(sum(taps + resent), 0)::bigint, coalesce(sum(duplicate + resent), 0)::bigint, coalesce(sum(refused), 0)::bigint
		FROM tap_batches WHERE tenant_id = $1`

	selectAnswers = `
		SELECT coalesce(v.reason, s.reason), s.accepted, count(*) FROM tap_seen s
		LEFT JOIN tap_verdicts v ON v.tenant_id = $1 AND v.terminal = s.terminal AND v.seq = s.seq
		WHERE s.tenant_id = $1 GROUP BY 1, 2`
)

// Count adds up a tenant's uploads.
func Count(ctx context.Context, tx *pg.Tx) (Counts, error) {
	c := Counts{Refused: map[code.Reason]int64{}}
	var conflicts int64 // refused in batches, less those that have a row of their own
	if err := tx.QueryRow(ctx, selectUploads, tx.Tenant).Scan(&c.Uploaded, &c.Duplicate, &conflicts); err != nil {
		return Counts{}, fmt.Errorf("count uploads: %w", err)
	}
	rows, err := tx.Query(ctx, selectAnswers, tx.Tenant)
	if err != nil {
		return Counts{}, fmt.Errorf("count answers: %w", err)
	}
	var reason code.Reason
	var accepted bool
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&reason, &accepted, &n}, func() error {
		if !accepted {
			conflicts -= n
		}
		if reason == "" {
			c.Recorded += n
		} else {
			c.Refused[reason] += n
		}
		return nil
	})
	if err != nil {
		return Counts{}, fmt.Errorf("count answers: %w", err)
	}
	if conflicts > 0 {
		c.Refused[code.SequenceConflict] += conflicts
	}
	return c, nil
}

const selectAnswersTo = `
	SELECT t.evidence_digest, t.terminal, t.seq, coalesce(v.reason, t.reason) FROM taps t` + withVerdicts + `
	WHERE t.tenant_id = $1 AND t.received_at BETWEEN $2 AND $3 AND t.evidence_digest = ANY ($4::bytea[])
	ORDER BY t.received_at, t.terminal, t.seq`

// An Answer is the final reason for one tap with some evidence; "" = recorded.
type Answer struct {
	ID     citygate.TapID
	Reason code.Reason
}

// Answers gives what became of raw codes, by the digest of their bytes, among
// the taps received from from to to. It reads the whole period: it is meant for
// reports.
func Answers(ctx context.Context, tx *pg.Tx, digests [][32]byte, from, to time.Time) (map[[32]byte][]Answer, error) {
	keys := make([][]byte, len(digests))
	for i := range digests {
		keys[i] = digests[i][:]
	}
	rows, err := tx.Query(ctx, selectAnswersTo, tx.Tenant, from, to, keys)
	if err != nil {
		return nil, fmt.Errorf("answers: %w", err)
	}
	found := make(map[[32]byte][]Answer, len(digests))
	var digest []byte
	var a Answer
	_, err = pgx.ForEachRow(rows, []any{&digest, &a.ID.Terminal, &a.ID.Seq, &a.Reason}, func() error {
		found[[32]byte(digest)] = append(found[[32]byte(digest)], a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("answers: %w", err)
	}
	return found, nil
}

// AnyTap reports whether a tap of the transaction's tenant was ever recorded.
func AnyTap(ctx context.Context, tx *pg.Tx) (any bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM tap_seen WHERE tenant_id = $1 AND accepted)`, tx.Tenant).Scan(&any)
	return any, err
}
