package pricing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of PublishRules.
var (
	ErrRulesExist = &citygate.Code{Name: "pricing.rules_exist", Kind: citygate.Conflict, Title: "The tenant has this version of journey rules with other content. Publish the change as a new version."}
	ErrRulesDate  = &citygate.Code{Name: "pricing.rules_date", Kind: citygate.Invalid, Title: "A version of journey rules must begin in the future and after all others. Give a later time."}
)

// A ruleVersion is one version of a tenant's journey rules.
type ruleVersion struct {
	from     int64 // unix milliseconds
	rules    *journey.Rules
	document *journey.Document
}

// A ruleBook is how a tenant's journeys are built at any time.
type ruleBook struct {
	base     journey.Rules // of the acceptance policy: before the first version
	versions []*ruleVersion
	reach    time.Duration // the longest of any version
	horizon  time.Duration
	next     time.Duration
}

// at gives the rules in force at an instant, unix milliseconds.
func (b *ruleBook) at(ms int64) *journey.Rules {
	if v := b.version(ms); v != nil {
		return v.rules
	}
	return &b.base
}

func (b *ruleBook) version(ms int64) (found *ruleVersion) {
	for _, v := range b.versions {
		if v.from <= ms {
			found = v
		}
	}
	return found
}

// ruleBook reads the tenant's versions. Their bodies never change and are read once.
func (e *Engine) ruleBook(ctx context.Context, tx *pg.Tx) (*ruleBook, error) {
	base, err := e.Rules(ctx, tx)
	if err != nil {
		return nil, err
	}
	b := &ruleBook{base: base, reach: base.Reach()}
	rows, err := tx.Query(ctx, `SELECT version FROM journey_rules WHERE tenant_id = $1 ORDER BY valid_from`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		v, err := e.rulesVersion(ctx, tx, n)
		if err != nil {
			return nil, err
		}
		b.versions = append(b.versions, v)
		b.reach, b.horizon = max(b.reach, v.rules.Reach()), max(b.horizon, v.rules.Horizon())
		if in := v.rules.Inference; in != nil {
			b.next = max(b.next, in.NextWithin)
		}
	}
	return b, nil
}

func (e *Engine) rulesVersion(ctx context.Context, tx *pg.Tx, n int64) (*ruleVersion, error) {
	key := tariffKey{tx.Tenant, uint64(n)}
	e.mu.Lock()
	v := e.ruleVersions[key]
	e.mu.Unlock()
	if v != nil {
		return v, nil
	}
	var body string
	var from time.Time
	if err := tx.QueryRow(ctx, `SELECT body::text, valid_from FROM journey_rules WHERE tenant_id = $1 AND version = $2`, int64(tx.Tenant), n).Scan(&body, &from); err != nil {
		return nil, err
	}
	document, err := journey.ParseDocument([]byte(body))
	if err != nil {
		return nil, err
	}
	rules, err := document.Rules()
	if err != nil {
		return nil, err
	}
	v = &ruleVersion{from.UnixMilli(), rules, document}
	e.mu.Lock()
	e.ruleVersions[key] = v
	e.mu.Unlock()
	return v, nil
}

// Places gives what the journey rules in force at an instant know of travel times;
// nil where there are none.
func (e *Engine) Places(ctx context.Context, tx *pg.Tx, at time.Time) (*journey.Places, error) {
	var n int64
	err := tx.QueryRow(ctx, `SELECT version FROM journey_rules WHERE tenant_id = $1 AND valid_from <= $2 ORDER BY valid_from DESC LIMIT 1`, int64(tx.Tenant), at).Scan(&n)
	if pg.IsNoRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := e.rulesVersion(ctx, tx, n)
	if err != nil {
		return nil, err
	}
	return v.rules.Places, nil
}

// PublishRules stores a version of the tenant's journey rules, in force from an
// instant of event time on: in the future, so that no journey that is decided
// would be decided otherwise. The same version with the same content and instant
// is no error.
func PublishRules(ctx context.Context, tx *pg.Tx, actor string, d *journey.Document, from time.Time) error {
	from = from.UTC().Truncate(time.Millisecond)
	if _, err := d.Rules(); err != nil {
		return err
	}
	body, err := d.Encode()
	if err != nil {
		return err
	}
	digest := sha256.Sum256(body)
	// One publication of a tenant at a time.
	if _, err := tx.Exec(ctx, `
		INSERT INTO tariff_heads AS h (tenant_id, published_at) VALUES ($1, $2)
		ON CONFLICT (tenant_id) DO UPDATE SET published_at = excluded.published_at`, int64(tx.Tenant), tx.Now); err != nil {
		return err
	}
	published, err := RuleVersions(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range published {
		if p.Document.Version == d.Version {
			old, err := p.Document.Encode()
			if err != nil || string(old) != string(body) || !p.From.Equal(from) {
				return ErrRulesExist.Because(err, "version %d", d.Version)
			}
			return nil
		}
		if d.Version < p.Document.Version || !from.After(p.From) {
			return ErrRulesDate.Explain("version %d from %s; version %d begins at %s", d.Version, from.Format(time.RFC3339), p.Document.Version, p.From.Format(time.RFC3339))
		}
	}
	if from.Before(tx.Now) {
		return ErrRulesDate.Explain("%s is past", from.Format(time.RFC3339))
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO journey_rules (tenant_id, version, valid_from, body, digest, created_at) VALUES ($1, $2, $3, $4::json, $5, $6)
		ON CONFLICT (tenant_id, version) DO NOTHING`, int64(tx.Tenant), int64(d.Version), from, string(body), digest[:], tx.Now); err != nil {
		return err
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "journey_rules.publish", Object: "journey_rules",
		After: map[string]any{"version": d.Version, "valid_from": from, "digest": hex.EncodeToString(digest[:])}})
}

// A RuleVersion is one published version of a tenant's journey rules.
type RuleVersion struct {
	From     time.Time
	Document *journey.Document
}

// RuleVersions gives every version of the tenant's journey rules, the first one first.
func RuleVersions(ctx context.Context, tx *pg.Tx, page ...pg.Span) ([]RuleVersion, error) {
	rows, err := tx.Query(ctx, `SELECT body::text, valid_from FROM journey_rules WHERE tenant_id = $1`+pg.InSpan, pg.Of(tx.Tenant, page...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (v RuleVersion, err error) {
		var body string
		if err := r.Scan(&body, &v.From); err != nil {
			return v, err
		}
		v.From = v.From.UTC()
		v.Document, err = journey.ParseDocument([]byte(body))
		return v, err
	})
}

// The kinds of facts.
const (
	ReaderKindWrong  = "reader_kind_wrong"
	ReaderPlaceWrong = "reader_place_wrong"
	GatesOpened      = "gates_opened"
)

// A Fact is something the tenant knows of a reader or a station.
type Fact struct {
	ID         citygate.UUID
	Kind       string
	Terminal   uint32
	Stop       string
	From, To   time.Time // event times, both included
	RecordedAt time.Time
	Actor      string
}

func insertFact(ctx context.Context, tx *pg.Tx, f Fact) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO journey_facts (tenant_id, fact_id, kind, terminal, stop, starts_at, ends_at, recorded_at, actor)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, int64(tx.Tenant), f.ID, f.Kind, int64(f.Terminal), f.Stop, f.From, f.To, tx.Now, f.Actor)
	return err
}

// Facts gives what the tenant recorded, in the order of ids, from after on.
func Facts(ctx context.Context, tx *pg.Tx, after citygate.UUID, limit int) ([]Fact, error) {
	rows, err := tx.Query(ctx, `
		SELECT fact_id, kind, terminal, stop, starts_at, ends_at, recorded_at, actor FROM journey_facts
		WHERE tenant_id = $1 AND fact_id > $2 ORDER BY fact_id LIMIT $3`, int64(tx.Tenant), after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (f Fact, err error) {
		err = r.Scan(&f.ID, &f.Kind, &f.Terminal, &f.Stop, &f.From, &f.To, &f.RecordedAt, &f.Actor)
		f.From, f.To, f.RecordedAt = f.From.UTC(), f.To.UTC(), f.RecordedAt.UTC()
		return f, err
	})
}

// factsOf gives what is known of the time from from to to (unix milliseconds)
// and what the riders, whose rows are locked, have claimed.
func factsOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from, to int64) (f journey.Facts, err error) {
	rows, err := tx.Query(ctx, `
		SELECT kind, terminal, stop, starts_at, ends_at FROM journey_facts
		WHERE tenant_id = $1 AND ends_at >= $2 AND starts_at <= $3 ORDER BY fact_id`, int64(tx.Tenant), time.UnixMilli(from).UTC(), time.UnixMilli(to).UTC())
	if err != nil {
		return f, err
	}
	var kind, stop string
	var terminal uint32
	var start, end time.Time
	if _, err := pgx.ForEachRow(rows, []any{&kind, &terminal, &stop, &start, &end}, func() error {
		switch kind {
		case GatesOpened:
			f.Gates = append(f.Gates, journey.OpenGates{Stop: stop, From: start.UnixMilli(), To: end.UnixMilli()})
		case ReaderPlaceWrong:
			f.Suspects = append(f.Suspects, journey.Suspect{Terminal: terminal, From: start.UnixMilli(), To: end.UnixMilli(), What: journey.SuspectPlace})
		default:
			f.Suspects = append(f.Suspects, journey.Suspect{Terminal: terminal, From: start.UnixMilli(), To: end.UnixMilli(), What: journey.SuspectKind})
		}
		return nil
	}); err != nil {
		return f, err
	}
	issuers, lists, indices := riderColumns(riders)
	rows, err = tx.Query(ctx, `
		SELECT c.claim_id, c.terminal, c.seq, c.missing, c.stop, c.at
		FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx) CROSS JOIN LATERAL (
			SELECT * FROM journey_claims WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx OFFSET 0) AS c`,
		int64(tx.Tenant), issuers, lists, indices)
	if err != nil {
		return f, err
	}
	var c journey.Claim
	var seq int64
	var at *time.Time
	_, err = pgx.ForEachRow(rows, []any{&c.ID, &c.Tap.Terminal, &seq, &c.End, &c.Stop, &at}, func() error {
		c.Tap.Seq, c.At = uint64(seq), 0
		if at != nil {
			c.At = at.UnixMilli()
		}
		f.Claims = append(f.Claims, c)
		return nil
	})
	return f, err
}

// lastLacking gives the latest start of a journey of riders that lacks an end,
// between from and to (unix milliseconds), or from.
func lastLacking(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from, to int64) (int64, error) {
	issuers, lists, indices := riderColumns(riders)
	var last *time.Time
	err := tx.QueryRow(ctx, `
		SELECT max(j.starts_at) FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx) CROSS JOIN LATERAL (
			SELECT starts_at FROM journeys
			WHERE tenant_id = $1 AND issuer = u.issuer AND list = u.list AND idx = u.idx AND lacks AND starts_at > $5 AND starts_at <= $6
			ORDER BY starts_at DESC LIMIT 1 OFFSET 0) AS j`,
		int64(tx.Tenant), issuers, lists, indices, time.UnixMilli(from).UTC(), time.UnixMilli(to).UTC()).Scan(&last)
	if err != nil || last == nil {
		return from, err
	}
	return last.UnixMilli(), nil
}

// lackingBetween gives journeys that lack an end and begin between from and to,
// after a key, the first one first.
func lackingBetween(ctx context.Context, tx *pg.Tx, from, to time.Time, after citygate.UUID, limit int) ([]stored, error) {
	return collectJourneys(tx.Query(ctx, `
		SELECT `+journeyColumns+` FROM journeys j
		WHERE j.tenant_id = $1 AND j.lacks AND j.starts_at BETWEEN $2 AND $3 AND j.journey_id > $4
		ORDER BY j.journey_id LIMIT $5`, int64(tx.Tenant), from, to, after, limit))
}

// A Reading is what of a journey was not taken as its taps declare it.
type Reading struct {
	Rules       uint64            `json:"rules,omitempty"` // version
	Missing     journey.Missing   `json:"missing,omitempty"`
	Doubt       journey.Doubt     `json:"doubt,omitempty"`
	Retyped     []string          `json:"retyped,omitempty"` // taps
	SameStation journey.Treatment `json:"same_station,omitempty"`
	Inferred    *Inferred         `json:"inferred,omitempty"`
}

// Inferred is a [journey.Inferred] in a [Reading].
type Inferred struct {
	Stop       string         `json:"stop"`
	At         time.Time      `json:"at"`
	Method     journey.Method `json:"method"`
	Confidence int64          `json:"confidence_permille,omitempty"`
	Claim      string         `json:"claim,omitempty"`
	Evidence   []string       `json:"evidence,omitempty"` // taps
}

// readingOf gives how a journey was read, "" if everything was as declared.
func readingOf(j *journey.Journey, rules uint64) string {
	lone := j.Missing != journey.Nothing && j.Doubt == "" && j.Inferred == nil
	if rules == 0 && lone || j.Missing == journey.Nothing && len(j.Retyped) == 0 && j.SameStation == "" {
		return ""
	}
	r := Reading{Rules: rules, Missing: j.Missing, Doubt: j.Doubt, SameStation: j.SameStation}
	for _, id := range j.Retyped {
		r.Retyped = append(r.Retyped, id.String())
	}
	if in := j.Inferred; in != nil {
		r.Inferred = &Inferred{Stop: in.Stop, At: time.UnixMilli(in.At).UTC(), Method: in.Method, Confidence: in.Confidence}
		if !in.Claim.IsZero() {
			r.Inferred.Claim = in.Claim.Text(ClaimPrefix)
		}
		for _, id := range in.Evidence {
			r.Inferred.Evidence = append(r.Inferred.Evidence, id.String())
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return "" // a struct of texts and numbers always encodes
	}
	return string(raw)
}
