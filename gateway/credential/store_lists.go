package credential

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	pendingEntries = `
		SELECT entry_id, announced_at IS NULL, lifted_at IS NOT NULL FROM deny_entries
		WHERE tenant_id = $1 AND (announced_at IS NULL OR (lifted_at IS NOT NULL AND lift_announced_at IS NULL))`
	liveLists = `
		SELECT l.list, l.issued, l.read_issued, coalesce(s.seq, 0), s.set_hash, s.built_at
		FROM credential_lists l
		LEFT JOIN LATERAL (
			SELECT seq, set_hash, built_at FROM deny_snapshots WHERE tenant_id = $1 AND list = l.list ORDER BY seq DESC LIMIT 1) AS s ON true
		WHERE l.tenant_id = $1 AND l.expires_at > $2 ORDER BY l.list`
	endOfList = `
		SELECT coalesce(max(first + size), 0) FROM credential_blocks WHERE tenant_id = $1 AND list = $2`
	deniedOfList = `
		SELECT c.idx
		FROM deny_entries d CROSS JOIN LATERAL (
			SELECT idx FROM credentials WHERE tenant_id = $1 AND account_id = d.account_id AND list = $2 OFFSET 0) AS c
		WHERE d.tenant_id = $1 AND d.lifted_at IS NULL AND d.account_id IS NOT NULL
		UNION
		SELECT d.idx FROM deny_entries d WHERE d.tenant_id = $1 AND d.list = $2 AND d.lifted_at IS NULL
		ORDER BY 1`
	snapshotBody = `
		SELECT body FROM deny_snapshots WHERE tenant_id = $1 AND list = $2 AND seq = $3`
	pastSnapshots = `
		SELECT seq, built_at FROM deny_snapshots
		WHERE tenant_id = $1 AND list = $2 AND seq >= coalesce(
			(SELECT max(seq) FROM deny_snapshots WHERE tenant_id = $1 AND list = $2 AND built_at <= $3), 0)
		ORDER BY seq`
	changesSince = `
		SELECT idx, seq FROM deny_changes WHERE tenant_id = $1 AND list = $2 AND seq > $3`
	insertSnapshot = `
		INSERT INTO deny_snapshots (tenant_id, list, seq, issued, denied, set_hash, kid, built_at, valid_until, body, sha256)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT DO NOTHING`
	insertDeltas = `
		INSERT INTO deny_deltas (tenant_id, list, to_seq, from_seq, body, sha256)
		SELECT $1, $2, $3, u.from_seq, u.body, u.sha256 FROM unnest($4::bigint[], $5::bytea[], $6::bytea[]) AS u (from_seq, body, sha256)
		ON CONFLICT DO NOTHING`
	upsertChanges = `
		INSERT INTO deny_changes (tenant_id, list, idx, seq)
		SELECT $1, $2, u.idx, $3 FROM unnest($4::bigint[]) AS u (idx)
		ON CONFLICT (tenant_id, list, idx) DO UPDATE SET seq = excluded.seq`
	dropDeltas = `
		DELETE FROM deny_deltas WHERE tenant_id = $1 AND list = $2 AND to_seq <= $3`
	dropBodies = `
		UPDATE deny_snapshots SET body = NULL WHERE tenant_id = $1 AND list = $2 AND seq <= $3 AND body IS NOT NULL`
	dropChanges = `
		DELETE FROM deny_changes WHERE tenant_id = $1 AND list = $2 AND seq <= $3`
	markRead = `
		UPDATE credential_lists l SET read_issued = u.issued
		FROM unnest($2::int[], $3::bigint[]) AS u (list, issued) WHERE l.tenant_id = $1 AND l.list = u.list`
	announceEntries = `
		UPDATE deny_entries SET announced_at = $2 WHERE tenant_id = $1 AND entry_id = ANY ($3::uuid[]) AND announced_at IS NULL`
	announceLifts = `
		UPDATE deny_entries SET lift_announced_at = $2 WHERE tenant_id = $1 AND entry_id = ANY ($3::uuid[]) AND lift_announced_at IS NULL`

	headsOfLists = `
		SELECT l.list, s.seq, s.denied, s.set_hash
		FROM credential_lists l
		CROSS JOIN LATERAL (
			SELECT seq, denied, set_hash FROM deny_snapshots WHERE tenant_id = $1 AND list = l.list ORDER BY seq DESC LIMIT 1) AS s
		WHERE l.tenant_id = $1 AND l.expires_at > $2 ORDER BY l.list`
	lastBeatAt = `SELECT max(at) FROM deny_heartbeats WHERE tenant_id = $1`
	insertBeat = `
		INSERT INTO deny_heartbeats (tenant_id, at, valid_until, body, sha256) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`
	dropBeats = `DELETE FROM deny_heartbeats WHERE tenant_id = $1 AND at < $2`
	dropEnded = `
		DELETE FROM deny_deltas d USING credential_lists l
		WHERE d.tenant_id = $1 AND l.tenant_id = $1 AND l.list = d.list AND l.expires_at < $2`
	dropEndedChanges = `
		DELETE FROM deny_changes d USING credential_lists l
		WHERE d.tenant_id = $1 AND l.tenant_id = $1 AND l.list = d.list AND l.expires_at < $2`
)

// A listState is what a tenant's deny lists say and should say, read in one
// transaction.
type listState struct {
	now         time.Time
	lists       []*listRow
	denied      []citygate.UUID // entries not published yet
	liftedAlone []citygate.UUID // entries whose lifting is not
}

// changed reports whether the reading itself is to be noted.
func (s *listState) changed() bool {
	return len(s.denied)+len(s.liftedAlone) > 0 || slices.ContainsFunc(s.lists, func(x *listRow) bool { return x.read && x.issued != x.readIssued })
}

// A listRow is one live list.
type listRow struct {
	header     denylist.Header // of the next version
	issued     int64           // credentials, exactly
	readIssued int64           // as of the last reading
	hash       []byte          // of the last version; nil = none
	builtAt    time.Time
	read       bool // what follows was read
	denied     []uint32
	last       *denylist.List    // the last version
	past       []past            // publications from the one of the longest skip on, ascending
	oldest     uint32            // sequence number that the longest delta starts from
	changes    map[uint32]uint32 // index -> seq that last changed it, since oldest
}

// A past is an earlier publication.
type past struct {
	seq     uint32
	builtAt time.Time
}

// readState reads the tenant's live lists. Who is denied is read only when
// something may have changed: an entry that is not published, credentials issued
// meanwhile (an account may have been denied in the same moment), or a version
// that must be said again.
//
// The entries are read first: what is not published is a part of what the sets,
// read after, say.
func readState(ctx context.Context, tx *pg.Tx, issuer citygate.Issuer, validity time.Duration) (listState, error) {
	s := listState{now: tx.Now}
	rows, err := tx.Query(ctx, pendingEntries, tx.Tenant)
	if err != nil {
		return s, err
	}
	var id citygate.UUID
	var fresh, lifted bool
	_, err = pgx.ForEachRow(rows, []any{&id, &fresh, &lifted}, func() error {
		if fresh {
			s.denied = append(s.denied, id)
		}
		if lifted {
			s.liftedAlone = append(s.liftedAlone, id)
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	if rows, err = tx.Query(ctx, liveLists, tx.Tenant, tx.Now); err != nil {
		return s, err
	}
	s.lists, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*listRow, error) {
		x := &listRow{header: denylist.Header{Issuer: issuer, BuiltAt: tx.Now.Unix(), ValidUntil: tx.Now.Add(validity).Unix()}}
		var built *time.Time
		err := row.Scan(&x.header.List, &x.issued, &x.readIssued, &x.header.Seq, &x.hash, &built)
		if built != nil {
			x.builtAt = *built
		}
		return x, err
	})
	if err != nil {
		return s, err
	}
	pending := len(s.denied)+len(s.liftedAlone) > 0
	for _, x := range s.lists {
		if pending || x.issued != x.readIssued || !tx.Now.Before(x.builtAt.Add(validity/2)) {
			if err := x.fill(ctx, tx); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// fill reads who is denied, and what deltas are made of.
func (x *listRow) fill(ctx context.Context, tx *pg.Tx) error {
	x.read = true
	list, seq := int32(x.header.List), x.header.Seq
	if err := tx.QueryRow(ctx, endOfList, tx.Tenant, list).Scan(&x.header.Issued); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, deniedOfList, tx.Tenant, list)
	if err != nil {
		return err
	}
	if x.denied, err = pgx.CollectRows(rows, pgx.RowTo[uint32]); err != nil {
		return err
	}
	x.header.Seq++
	if seq == 0 {
		return nil
	}
	var raw []byte
	if err := tx.QueryRow(ctx, snapshotBody, tx.Tenant, list, int64(seq)).Scan(&raw); err != nil {
		return err
	}
	if x.last, err = denylist.Parse(raw); err != nil {
		return err
	}
	if rows, err = tx.Query(ctx, pastSnapshots, tx.Tenant, list, tx.Now.Add(-skips[len(skips)-1])); err != nil {
		return err
	}
	x.past, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (past, error) {
		var p past
		err := row.Scan(&p.seq, &p.builtAt)
		return p, err
	})
	if err != nil {
		return err
	}
	starts := x.starts(tx.Now)
	x.oldest = starts[len(starts)-1]
	if rows, err = tx.Query(ctx, changesSince, tx.Tenant, list, int64(x.oldest)); err != nil {
		return err
	}
	x.changes = map[uint32]uint32{}
	var idx, at uint32
	_, err = pgx.ForEachRow(rows, []any{&idx, &at}, func() error {
		x.changes[idx] = at
		return nil
	})
	return err
}

// store stores a version and its deltas unless the sequence number was taken
// meanwhile.
func (p *publication) store(ctx context.Context, tx *pg.Tx) (bool, error) {
	l := p.list
	list, seq := int32(l.List), int64(l.Seq)
	hash, sum := l.Hash(), sha256.Sum256(l.Bytes())
	tag, err := tx.Exec(ctx, insertSnapshot, tx.Tenant, list, seq, int64(l.Issued), int32(l.Count()), hash[:], int16(l.KeyID),
		time.Unix(l.BuiltAt, 0), time.Unix(l.ValidUntil, 0), l.Bytes(), sum[:])
	if err != nil || tag.RowsAffected() == 0 {
		return false, err
	}
	from, bodies, sums := make([]int64, len(p.deltas)), make([][]byte, len(p.deltas)), make([][]byte, len(p.deltas))
	for i, d := range p.deltas {
		sum := sha256.Sum256(d.Bytes())
		from[i], bodies[i], sums[i] = int64(d.From), d.Bytes(), sum[:]
	}
	b := &pgx.Batch{}
	b.Queue(insertDeltas, tx.Tenant, list, seq, from, bodies, sums)
	for part := range slices.Chunk(p.changed, rowsMax) {
		idx := make([]int64, len(part))
		for i, n := range part {
			idx[i] = int64(n)
		}
		b.Queue(upsertChanges, tx.Tenant, list, seq, idx)
	}
	b.Queue(dropDeltas, tx.Tenant, list, seq-DeltasKept)
	b.Queue(dropBodies, tx.Tenant, list, seq-DeltasKept)
	b.Queue(dropChanges, tx.Tenant, list, int64(p.oldest)-DeltasKept) // never what a delta may still need
	return true, tx.SendBatch(ctx, b).Close()
}

// announce notes that everything that was read is published.
func (s *listState) announce(ctx context.Context, tx *pg.Tx) error {
	var lists []int32
	var issued []int64
	for _, x := range s.lists {
		if x.read {
			lists, issued = append(lists, int32(x.header.List)), append(issued, x.issued)
		}
	}
	b := &pgx.Batch{}
	b.Queue(markRead, tx.Tenant, lists, issued)
	for part := range slices.Chunk(s.denied, rowsMax) {
		b.Queue(announceEntries, tx.Tenant, tx.Now, part)
	}
	for part := range slices.Chunk(s.liftedAlone, rowsMax) {
		b.Queue(announceLifts, tx.Tenant, tx.Now, part)
	}
	return tx.SendBatch(ctx, b).Close()
}

// heads gives the newest version of each live list that has one.
func heads(ctx context.Context, tx *pg.Tx) ([]denylist.Beat, error) {
	rows, err := tx.Query(ctx, headsOfLists, tx.Tenant, tx.Now)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (denylist.Beat, error) {
		var b denylist.Beat
		var denied int
		var hash []byte
		err := row.Scan(&b.List, &b.Seq, &denied, &hash)
		if denied > 0 {
			copy(b.Mark[:], hash)
		}
		return b, err
	})
}

func lastBeat(ctx context.Context, tx *pg.Tx) (time.Time, error) {
	var at *time.Time
	if err := tx.QueryRow(ctx, lastBeatAt, tx.Tenant).Scan(&at); err != nil || at == nil {
		return time.Time{}, err
	}
	return *at, nil
}

// storeBeat stores a heartbeat and drops what nobody needs any more.
func storeBeat(ctx context.Context, tx *pg.Tx, h *denylist.Heartbeat) error {
	const kept = 24 * time.Hour
	sum := sha256.Sum256(h.Bytes())
	b := &pgx.Batch{}
	b.Queue(insertBeat, tx.Tenant, time.Unix(h.At, 0), time.Unix(h.ValidUntil, 0), h.Bytes(), sum[:])
	b.Queue(dropBeats, tx.Tenant, tx.Now.Add(-kept))
	b.Queue(dropEnded, tx.Tenant, tx.Now.Add(-kept))
	b.Queue(dropEndedChanges, tx.Tenant, tx.Now.Add(-kept))
	return tx.SendBatch(ctx, b).Close()
}

const (
	latestBody = `
		SELECT body, sha256 FROM deny_snapshots WHERE tenant_id = $1 AND list = $2 ORDER BY seq DESC LIMIT 1`
	bodyAt = `
		SELECT body, sha256 FROM deny_snapshots WHERE tenant_id = $1 AND list = $2 AND seq = $3 AND body IS NOT NULL`
	deltaBody = `
		SELECT body, sha256 FROM deny_deltas WHERE tenant_id = $1 AND list = $2 AND to_seq = $3 AND from_seq = $4`
	beatBody = `
		SELECT body, sha256 FROM deny_heartbeats WHERE tenant_id = $1 ORDER BY at DESC LIMIT 1`
	publishedLists = `
		SELECT l.list, s.seq, s.issued, s.denied, s.built_at, s.valid_until, octet_length(s.body), s.sha256
		FROM credential_lists l
		CROSS JOIN LATERAL (
			SELECT seq, issued, denied, built_at, valid_until, body, sha256 FROM deny_snapshots
			WHERE tenant_id = $1 AND list = l.list ORDER BY seq DESC LIMIT 1) AS s
		WHERE l.tenant_id = $1 AND l.expires_at > $2
		ORDER BY l.list`
	deltasTo = `
		SELECT from_seq, octet_length(body) FROM deny_deltas
		WHERE tenant_id = $1 AND list = $2 AND to_seq = $3 AND from_seq <= $4`
)

// object reads a signed object and its entity tag.
func object(ctx context.Context, tx *pg.Tx, missing error, sql string, args ...any) (raw []byte, etag string, err error) {
	var sum []byte
	err = tx.QueryRow(ctx, sql, append([]any{tx.Tenant}, args...)...).Scan(&raw, &sum)
	if pg.IsNoRows(err) {
		return nil, "", missing
	}
	return raw, hex.EncodeToString(sum), err
}

// LatestList gives the newest snapshot of a list and its entity tag.
func LatestList(ctx context.Context, tx *pg.Tx, list uint16) (raw []byte, etag string, err error) {
	return object(ctx, tx, ErrNoList.Explain("list %d", list), latestBody, int32(list))
}

// ListAt gives one version of a list. Only the last [DeltasKept] are there.
func ListAt(ctx context.Context, tx *pg.Tx, list uint16, seq uint32) (raw []byte, etag string, err error) {
	return object(ctx, tx, ErrNoList.Explain("list %d, sequence %d", list, seq), bodyAt, int32(list), int64(seq))
}

// DeltaTo gives the delta of a list that leads from one version to another.
func DeltaTo(ctx context.Context, tx *pg.Tx, list uint16, from, to uint32) (raw []byte, etag string, err error) {
	return object(ctx, tx, ErrNoList.Explain("list %d, from sequence %d to %d", list, from, to), deltaBody, int32(list), int64(to), int64(from))
}

// LatestHeartbeat gives the newest heartbeat.
func LatestHeartbeat(ctx context.Context, tx *pg.Tx) (raw []byte, etag string, err error) {
	return object(ctx, tx, ErrNoList.Explain("no heartbeat"), beatBody)
}

// A Published list is the newest snapshot of a live list, without its bytes.
type Published struct {
	List       uint16
	Seq        uint32
	Issued     uint32 // rounded up
	Denied     int
	BuiltAt    time.Time
	ValidUntil time.Time
	Size       int // bytes of the snapshot
	ETag       string
}

// Lists gives what is published of the tenant's live lists.
func Lists(ctx context.Context, tx *pg.Tx) ([]Published, error) {
	rows, err := tx.Query(ctx, publishedLists, tx.Tenant, tx.Now)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Published, error) {
		var p Published
		var sum []byte
		err := row.Scan(&p.List, &p.Seq, &p.Issued, &p.Denied, &p.BuiltAt, &p.ValidUntil, &p.Size, &sum)
		p.BuiltAt, p.ValidUntil, p.ETag = p.BuiltAt.UTC(), p.ValidUntil.UTC(), hex.EncodeToString(sum)
		return p, err
	})
}

// A Held is a version of a list that a terminal holds.
type Held struct {
	List uint16
	Seq  uint32
}

// An Update names the one object that brings a terminal up to date on a list.
type Update struct {
	List uint16
	Seq  uint32
	From uint32 // of a delta; 0 = the snapshot
	Size int    // bytes
}

// Updates gives what a holder of have needs, one object a list and none for those
// that are up to date, and the lists it holds that are no more.
func Updates(ctx context.Context, tx *pg.Tx, have []Held) (needs []Update, ended []uint16, err error) {
	published, err := Lists(ctx, tx)
	if err != nil {
		return nil, nil, err
	}
	held := make(map[uint16]uint32, len(have))
	for _, h := range have {
		held[h.List] = max(held[h.List], h.Seq)
	}
	live := make(map[uint16]bool, len(published))
	for _, p := range published {
		live[p.List] = true
		seq, ok := held[p.List]
		if seq == p.Seq {
			continue
		}
		best := Update{List: p.List, Seq: p.Seq, Size: p.Size}
		if ok && seq < p.Seq {
			rows, err := tx.Query(ctx, deltasTo, tx.Tenant, int32(p.List), int64(p.Seq), int64(seq))
			if err != nil {
				return nil, nil, err
			}
			var from uint32
			var size int
			_, err = pgx.ForEachRow(rows, []any{&from, &size}, func() error {
				if size < best.Size {
					best.From, best.Size = from, size
				}
				return nil
			})
			if err != nil {
				return nil, nil, err
			}
		}
		needs = append(needs, best)
	}
	for list := range held {
		if !live[list] {
			ended = append(ended, list)
		}
	}
	slices.Sort(ended)
	slices.SortFunc(needs, func(a, b Update) int { return cmp.Compare(a.List, b.List) })
	return needs, ended, nil
}

const latencyOfEntries = `
	SELECT count(*) FILTER (WHERE announced_at IS NULL OR (lifted_at IS NOT NULL AND lift_announced_at IS NULL)),
		min(CASE WHEN announced_at IS NULL THEN since ELSE lifted_at END) FILTER (WHERE announced_at IS NULL OR (lifted_at IS NOT NULL AND lift_announced_at IS NULL)),
		count(*) FILTER (WHERE announced_at > $2),
		coalesce(max(extract(epoch FROM announced_at - since)) FILTER (WHERE announced_at > $2), 0)::bigint
	FROM deny_entries
	WHERE tenant_id = $1 AND (announced_at > $2 OR announced_at IS NULL OR (lifted_at IS NOT NULL AND lift_announced_at IS NULL))`

// The ages of a denial that is not published: what we aim at, what wakes
// somebody, and what breaks the schemes' rule.
const (
	PublishTarget = time.Minute
	PublishAlarm  = 30 * time.Minute
	PublishBreach = time.Hour
)

// A Standing says how long denials take to be published.
type Standing string

// The standings.
const (
	OnTime Standing = "on_time"
	Late   Standing = "late"   // over [PublishTarget]
	Alarm  Standing = "alarm"  // over [PublishAlarm]
	Breach Standing = "breach" // over [PublishBreach]
)

// A Latency is how old denials are, and get, before a published list has them.
type Latency struct {
	Pending   int           // denials and liftings that no list has yet
	Oldest    time.Duration // age of the oldest of them
	Published int           // denials published in the last 24 hours
	Worst     time.Duration // the longest any of those took
	Standing  Standing      // by Oldest
}

// PublishLatency gives the tenant's latency.
func PublishLatency(ctx context.Context, tx *pg.Tx) (Latency, error) {
	var l Latency
	var oldest *time.Time
	var worst int64
	err := tx.QueryRow(ctx, latencyOfEntries, tx.Tenant, tx.Now.Add(-24*time.Hour)).Scan(&l.Pending, &oldest, &l.Published, &worst)
	if err != nil {
		return Latency{}, err
	}
	l.Worst = time.Duration(min(worst, math.MaxInt32)) * time.Second
	if oldest != nil {
		l.Oldest = max(0, tx.Now.Sub(*oldest))
	}
	switch {
	case l.Oldest > PublishBreach:
		l.Standing = Breach
	case l.Oldest > PublishAlarm:
		l.Standing = Alarm
	case l.Oldest > PublishTarget:
		l.Standing = Late
	default:
		l.Standing = OnTime
	}
	return l, nil
}
