package pricing

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrNotFound says that the tenant has no such journey.
var ErrNotFound = &citygate.Code{Name: "pricing.not_found", Kind: citygate.NotFound, Title: "There is no such journey. Check its id."}

// Prefix is what journey ids carry at the API.
const Prefix = "jrn_"

// eventOf names a decision in the books.
func eventOf(id citygate.UUID, n int) string { return id.Text(Prefix) + "/" + strconv.Itoa(n) }

// A Journey is a ride as it stands.
type Journey struct {
	ID       citygate.UUID
	Rider    citygate.Rider
	StartsAt time.Time
	EndsAt   time.Time
	Taps     []citygate.TapID
	State    string // open, priced, set_aside, empty
	Reason   string // why the fare is unknown
	ClosesAt time.Time
	Amount   citygate.Money // what is posted for it; no currency before the first decision
	Payee    string
	Reading  *Reading // nil: the taps were taken as they declare themselves
}

// A Decision is one decision about a journey, with everything that led to it.
type Decision struct {
	N             int
	Taps          string // "terminal:seq", in order
	Known         bool
	Reason        string
	Amount        citygate.Money
	TariffVersion uint64
	InputsHash    string // hexadecimal
	Explanation   json.RawMessage
	Payee         string
	EventTime     time.Time
	BusinessDate  citygate.Date
	WindowDate    citygate.Date
	DecidedAt     time.Time
	ClaimState    string // none, pending, accepted, refused
}

const viewColumns = `j.journey_id, j.issuer, j.list, j.idx, j.starts_at, j.ends_at, j.taps, j.state, j.reason, j.closes_at, j.amount, j.payee,
	coalesce((SELECT d.currency FROM fare_decisions d WHERE d.tenant_id = $1 AND d.journey_id = j.journey_id AND d.n = j.last_n), ''), j.reading`

func collectViews(rows pgx.Rows, err error) ([]Journey, error) {
	if err != nil {
		return nil, err
	}
	out := []Journey{}
	var (
		j            Journey
		issuer, list int32
		index        int64
		taps, cur    string
		closes       *time.Time
		reading      string
	)
	_, err = pgx.ForEachRow(rows, []any{&j.ID, &issuer, &list, &index, &j.StartsAt, &j.EndsAt, &taps, &j.State, &j.Reason, &closes,
		&j.Amount.Minor, &j.Payee, &cur, &reading}, func() error {
		j.Rider = citygate.Rider{Issuer: citygate.Issuer(issuer), List: uint16(list), Index: uint32(index)}
		j.Amount.Currency, j.ClosesAt = citygate.Currency(cur), time.Time{}
		if closes != nil {
			j.ClosesAt = closes.UTC()
		}
		j.StartsAt, j.EndsAt = j.StartsAt.UTC(), j.EndsAt.UTC()
		if j.Reading = nil; reading != "" {
			j.Reading = new(Reading)
			if err := json.Unmarshal([]byte(reading), j.Reading); err != nil {
				return err
			}
		}
		var err error
		j.Taps, err = parseTaps(taps)
		out = append(out, j)
		return err
	})
	return out, err
}

// Find gives a journey and its decisions, the first one first.
func Find(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Journey, []Decision, error) {
	found, err := collectViews(tx.Query(ctx, `SELECT `+viewColumns+` FROM journeys j WHERE j.tenant_id = $1 AND j.journey_id = $2`, int64(tx.Tenant), id))
	if err != nil {
		return Journey{}, nil, err
	}
	if len(found) == 0 {
		return Journey{}, nil, ErrNotFound.Because(nil, "%s", id)
	}
	rows, err := tx.Query(ctx, `
		SELECT d.n, d.taps, d.known, d.reason, d.amount, d.currency, d.tariff_version, d.inputs_hash, d.explanation::text, d.payee, d.event_time,
		       d.business_date, d.window_date, d.decided_at,
		       CASE v.accepted WHEN true THEN 'accepted' WHEN false THEN 'refused' ELSE d.claim_state END
		FROM fare_decisions d LEFT JOIN claim_verdicts v ON v.tenant_id = $1 AND v.journey_id = d.journey_id AND v.n = d.n
		WHERE d.tenant_id = $1 AND d.journey_id = $2 ORDER BY d.n`, int64(tx.Tenant), id)
	if err != nil {
		return Journey{}, nil, err
	}
	decisions := []Decision{}
	var (
		d           Decision
		version     int64
		hash        []byte
		explanation string
		currency    string
	)
	_, err = pgx.ForEachRow(rows, []any{&d.N, &d.Taps, &d.Known, &d.Reason, &d.Amount.Minor, &currency, &version, &hash, &explanation, &d.Payee,
		&d.EventTime, &d.BusinessDate, &d.WindowDate, &d.DecidedAt, &d.ClaimState}, func() error {
		d.Amount.Currency, d.TariffVersion = citygate.Currency(currency), uint64(version)
		d.InputsHash, d.Explanation = hex.EncodeToString(hash), json.RawMessage(explanation)
		d.EventTime, d.DecidedAt = d.EventTime.UTC(), d.DecidedAt.UTC()
		decisions = append(decisions, d)
		return nil
	})
	return found[0], decisions, err
}

// A Filter says which journeys a list gives; the zero Filter is all of them.
type Filter struct {
	State string // one of the states of a journey
	Rider citygate.Rider
}

// States are written out: a partial index serves one only if the planner sees
// which one it is.
var filterState = map[string]string{
	"": "", "open": " AND j.state = 'open'", "priced": " AND j.state = 'priced'", "set_aside": " AND j.state = 'set_aside'", "empty": " AND j.state = 'empty'",
}

// ErrFilter says that no journey can be in such a list.
var ErrFilter = &citygate.Code{Name: "pricing.filter", Kind: citygate.Invalid, Title: "Journeys are open, priced, set_aside or empty. Ask for one of these states."}

// List gives journeys in the order of their ids, which grow with the time of
// the first tap, from after on. Those that were set aside have no price yet; their
// reason says what is missing.
func List(ctx context.Context, tx *pg.Tx, f Filter, after citygate.UUID, limit int) ([]Journey, error) {
	where, ok := filterState[f.State]
	if !ok {
		return nil, ErrFilter.Explain("state %q", f.State)
	}
	args := []any{int64(tx.Tenant), after, limit}
	if f.Rider != (citygate.Rider{}) {
		where += " AND j.issuer = $4 AND j.list = $5 AND j.idx = $6"
		args = append(args, int32(f.Rider.Issuer), int32(f.Rider.List), int64(f.Rider.Index))
	}
	return collectViews(tx.Query(ctx, `
		SELECT `+viewColumns+` FROM journeys j WHERE j.tenant_id = $1 AND j.journey_id > $2`+where+` ORDER BY j.journey_id LIMIT $3`, args...))
}

// A Payee is who is paid for a journey, and the tenant it was claimed from.
type Payee struct {
	Name   string
	Issuer citygate.TenantID
}

// PayeesOf tells who is paid for journeys. One that was never priced is absent.
func PayeesOf(ctx context.Context, tx *pg.Tx, ids []citygate.UUID) (map[citygate.UUID]Payee, error) {
	rows, err := tx.Query(ctx, `
		SELECT j.journey_id, j.payee, d.issuer_tenant FROM unnest($2::uuid[]) AS u (id)
		CROSS JOIN LATERAL (
			SELECT journey_id, payee, last_n FROM journeys WHERE tenant_id = $1 AND journey_id = u.id AND payee <> '' OFFSET 0) AS j
		CROSS JOIN LATERAL (
			SELECT issuer_tenant FROM fare_decisions WHERE tenant_id = $1 AND journey_id = u.id AND n = j.last_n OFFSET 0) AS d
		UNION ALL
		SELECT u.id, s.payee, s.issuer_tenant FROM unnest($2::uuid[]) AS u (id)
		CROSS JOIN LATERAL (
			SELECT payee, issuer_tenant FROM fare_decisions WHERE tenant_id = $1 AND journey_id = u.id AND shared_by <> 0 ORDER BY n DESC LIMIT 1) AS s`, int64(tx.Tenant), ids)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID]Payee, len(ids))
	var id citygate.UUID
	var p Payee
	_, err = pgx.ForEachRow(rows, []any{&id, &p.Name, &p.Issuer}, func() error {
		out[id] = p
		return nil
	})
	return out, err
}

// A Tally counts a tenant's journeys of one state and adds up what they cost.
type Tally struct {
	State    string
	Currency citygate.Currency // "" where nothing was decided
	Journeys int64
	Amount   int64
}

// Tallies gives the tenant's totals over all final decisions, by state and currency.
func Tallies(ctx context.Context, tx *pg.Tx) ([]Tally, error) {
	rows, err := tx.Query(ctx, `
		SELECT j.state, coalesce(d.currency, ''), count(*), coalesce(sum(j.amount), 0)::bigint
		FROM journeys j LEFT JOIN fare_decisions d ON d.tenant_id = $1 AND d.journey_id = j.journey_id AND d.n = j.last_n
		WHERE j.tenant_id = $1 GROUP BY 1, 2 ORDER BY 1, 2`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Tally])
}

// Riding reports whether a ride of a rider is under way at an instant: one that
// began within the last four hours and has not ended, or a single tap of the last
// two. Uploads that are still to come are not known here.
func Riding(ctx context.Context, tx *pg.Tx, rider citygate.Rider, at time.Time) (riding bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM journeys j WHERE j.tenant_id = $1 AND j.issuer = $2 AND j.list = $3 AND j.idx = $4 AND j.starts_at <= $5
			AND (j.state = 'open' AND j.starts_at > $6 OR NOT j.paired AND j.state <> 'empty' AND j.starts_at > $7))`,
		int64(tx.Tenant), int32(rider.Issuer), int32(rider.List), int64(rider.Index), at, at.Add(-4*time.Hour), at.Add(-2*time.Hour)).Scan(&riding)
	return riding, err
}
