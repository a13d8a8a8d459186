package pricing

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func idColumns(n int, at func(int) citygate.TapID) (terminals, seqs []int64) {
	terminals, seqs = make([]int64, n), make([]int64, n)
	for i := range n {
		id := at(i)
		terminals[i], seqs[i] = int64(id.Terminal), int64(id.Seq)
	}
	return terminals, seqs
}

// handedTo tells to which authority taps were handed over.
func handedTo(ctx context.Context, tx *pg.Tx, taps []Tap) (map[citygate.TapID]citygate.TenantID, error) {
	out := make(map[citygate.TapID]citygate.TenantID, len(taps))
	if len(taps) == 0 {
		return out, nil
	}
	terminals, seqs := idColumns(len(taps), func(i int) citygate.TapID { return taps[i].ID })
	rows, err := tx.Query(ctx, `
		SELECT h.terminal, h.seq, h.authority_id FROM unnest($2::bigint[], $3::bigint[]) AS u (terminal, seq) CROSS JOIN LATERAL (
			SELECT terminal, seq, authority_id FROM fare_handovers WHERE tenant_id = $1 AND terminal = u.terminal AND seq = u.seq OFFSET 0) AS h`,
		int64(tx.Tenant), terminals, seqs)
	if err != nil {
		return nil, err
	}
	var terminal, seq, authority int64
	_, err = pgx.ForEachRow(rows, []any{&terminal, &seq, &authority}, func() error {
		out[citygate.TapID{Terminal: uint32(terminal), Seq: uint64(seq)}] = citygate.TenantID(authority)
		return nil
	})
	return out, err
}

// handed reports which taps were handed over before.
func handed(ctx context.Context, tx *pg.Tx, taps []Tap) (map[citygate.TapID]bool, error) {
	to, err := handedTo(ctx, tx, taps)
	out := make(map[citygate.TapID]bool, len(to))
	for id := range to {
		out[id] = true
	}
	return out, err
}

func noteHandovers(ctx context.Context, tx *pg.Tx, to citygate.TenantID, facts []interbook.Fact) error {
	terminals, seqs := idColumns(len(facts), func(i int) citygate.TapID { return tapOf(&facts[i]) })
	_, err := tx.Exec(ctx, `
		INSERT INTO fare_handovers (tenant_id, terminal, seq, authority_id, at)
		SELECT $1, terminal, seq, $4, $5 FROM unnest($2::bigint[], $3::bigint[]) AS u (terminal, seq)
		ON CONFLICT (tenant_id, terminal, seq) DO NOTHING`, int64(tx.Tenant), terminals, seqs, int64(to), tx.Now)
	return err
}

// keepFacts stores what was handed over. A tap that is there already keeps what it
// is; only whether its operator accepts it may change.
func keepFacts(ctx context.Context, tx *pg.Tx, from citygate.TenantID, facts []interbook.Fact) error {
	facts = slices.CompactFunc(slices.Clone(facts), func(a, b interbook.Fact) bool { return tapOf(&a) == tapOf(&b) })
	for chunk := range slices.Chunk(facts, rowsMax) {
		n := len(chunk)
		terminals, seqs := idColumns(n, func(i int) citygate.TapID { return tapOf(&chunk[i]) })
		riders := make([]citygate.Rider, n)
		ctrs, kinds, parties, products := make([]int32, n), make([]int16, n), make([]int16, n), make([]int32, n)
		times, stops, routes := make([]time.Time, n), make([]string, n), make([]string, n)
		media, shown := make([]string, n), make([]int16, n)
		entered, currencies, accepted, evidence := make([]int64, n), make([]string, n), make([]bool, n), make([][]byte, n)
		for i := range chunk {
			f := &chunk[i]
			riders[i], ctrs[i], kinds[i], parties[i], products[i] = f.Rider, int32(f.Counter), int16(f.Kind), int16(f.Party), int32(f.Product)
			times[i], stops[i], routes[i] = f.EventTime.UTC().Truncate(time.Millisecond), f.Stop, f.Route
			entered[i], currencies[i], accepted[i], evidence[i] = f.Entered.Minor, string(f.Entered.Currency), f.Accepted, f.Evidence
			media[i], shown[i] = f.Medium, int16(f.Shown)
			if evidence[i] == nil {
				evidence[i] = []byte{}
			}
		}
		issuers, lists, indices := riderColumns(riders)
		if _, err := tx.Exec(ctx, `
			INSERT INTO fare_facts (tenant_id, operator_id, received_at, refusal, terminal, seq, issuer, list, idx, ctr, kind, event_time, stop, route, party, product,
				entered, entered_currency, accepted, evidence, medium, party_shown)
			SELECT $1, $2, $3, '', * FROM unnest($4::bigint[], $5::bigint[], $6::int[], $7::int[], $8::bigint[], $9::int[], $10::smallint[], $11::timestamptz[],
				$12::text[], $13::text[], $14::smallint[], $15::int[], $16::bigint[], $17::text[], $18::boolean[], $19::bytea[], $20::text[], $21::smallint[])
				AS u (terminal, seq, issuer, list, idx, ctr, kind, event_time, stop, route, party, product, entered, entered_currency, accepted, evidence, medium, party_shown)
			ON CONFLICT (tenant_id, terminal, seq) DO UPDATE SET accepted = excluded.accepted`,
			int64(tx.Tenant), int64(from), tx.Now, terminals, seqs, issuers, lists, indices, ctrs, kinds, times, stops, routes, parties, products,
			entered, currencies, accepted, evidence, media, shown); err != nil {
			return err
		}
	}
	return nil
}

const factColumns = `f.terminal, f.seq, f.issuer, f.list, f.idx, f.ctr, f.kind, f.event_time, f.stop, f.route, f.party, f.product, f.entered,
	f.entered_currency, f.accepted AND f.refusal = '', f.medium, f.party_shown`

func collectFacts(rows pgx.Rows, err error) ([]Tap, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Tap, err error) {
		var terminal, seq, index int64
		var issuer, list, ctr, product int32
		var kind, party int16
		var at time.Time
		err = row.Scan(&terminal, &seq, &issuer, &list, &index, &ctr, &kind, &at, &t.Stop, &t.Route, &party, &product, &t.Entered.Minor, &t.Entered.Currency, &t.Accepted, &t.Medium, &t.Shown)
		t.ID = citygate.TapID{Terminal: uint32(terminal), Seq: uint64(seq)}
		t.Rider = citygate.Rider{Issuer: citygate.Issuer(issuer), List: uint16(list), Index: uint32(index)}
		t.Kind, t.At, t.Party, t.Product, t.Counter = tap.Kind(kind), at.UnixMilli(), uint8(party), uint16(product), uint16(ctr)
		return t, err
	})
}

func factsByID(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) ([]Tap, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	terminals, seqs := idColumns(len(ids), func(i int) citygate.TapID { return ids[i] })
	return collectFacts(tx.Query(ctx, `
		SELECT `+factColumns+` FROM (SELECT DISTINCT * FROM unnest($2::bigint[], $3::bigint[]) AS x (terminal, seq)) AS u CROSS JOIN LATERAL (
			SELECT * FROM fare_facts WHERE tenant_id = $1 AND terminal = u.terminal AND seq = u.seq OFFSET 0) AS f`, int64(tx.Tenant), terminals, seqs))
}

// factsOfRiders gives the accepted taps of kind on and off that were handed over.
func factsOfRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from, to time.Time) ([]Tap, error) {
	issuers, lists, indices := riderColumns(riders)
	return collectFacts(tx.Query(ctx, `
		SELECT `+factColumns+` FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx) CROSS JOIN LATERAL (
			SELECT * FROM fare_facts WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx
			AND event_time BETWEEN $5 AND $6 AND kind IN ($7, $8) AND accepted AND refusal = '' OFFSET 0) AS f`,
		int64(tx.Tenant), issuers, lists, indices, from, to, int16(tap.On), int16(tap.Off)))
}

// factEvidence adds the code bytes of taps that were handed over to out.
func factEvidence(ctx context.Context, tx *pg.Tx, taps []Tap, out map[citygate.TapID][]byte) error {
	if len(taps) == 0 {
		return nil
	}
	terminals, seqs := idColumns(len(taps), func(i int) citygate.TapID { return taps[i].ID })
	rows, err := tx.Query(ctx, `
		SELECT f.terminal, f.seq, f.evidence FROM unnest($2::bigint[], $3::bigint[]) AS u (terminal, seq) CROSS JOIN LATERAL (
			SELECT terminal, seq, evidence FROM fare_facts WHERE tenant_id = $1 AND terminal = u.terminal AND seq = u.seq OFFSET 0) AS f`,
		int64(tx.Tenant), terminals, seqs)
	if err != nil {
		return err
	}
	var terminal, seq int64
	var evidence []byte
	_, err = pgx.ForEachRow(rows, []any{&terminal, &seq, &evidence}, func() error {
		out[citygate.TapID{Terminal: uint32(terminal), Seq: uint64(seq)}] = evidence
		evidence = nil
		return nil
	})
	return err
}

func refuseFacts(ctx context.Context, tx *pg.Tx, verdicts []interbook.TapVerdict) error {
	terminals, seqs := idColumns(len(verdicts), func(i int) citygate.TapID {
		return citygate.TapID{Terminal: verdicts[i].Terminal, Seq: verdicts[i].Seq}
	})
	reasons := make([]string, len(verdicts))
	for i := range verdicts {
		reasons[i] = cmp.Or(string(verdicts[i].Reason), "refused")
	}
	_, err := tx.Exec(ctx, `
		UPDATE fare_facts AS f SET refusal = u.reason FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS u (terminal, seq, reason)
		WHERE f.tenant_id = $1 AND f.terminal = u.terminal AND f.seq = u.seq AND f.refusal = ''`, int64(tx.Tenant), terminals, seqs, reasons)
	return err
}
