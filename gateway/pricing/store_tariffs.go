package pricing

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of Publish.
var (
	ErrTariffExists    = &citygate.Code{Name: "pricing.tariff_exists", Kind: citygate.Conflict, Title: "The tenant has this tariff version with other content. Publish the change as a new version."}
	ErrTariffDate      = &citygate.Code{Name: "pricing.tariff_date", Kind: citygate.Invalid, Title: "A tariff version must begin in the future and after all others; only a tenant's first may begin in the past. To put it before versions that have not begun, say that they are withdrawn (withdraw_later)."}
	ErrTariffWithdrawn = &citygate.Code{Name: "pricing.tariff_withdrawn", Kind: citygate.Conflict, Title: "The version was withdrawn before it began. Publish what it said under the next number."}
)

// withdrawBefore is how long at least before it begins a version can be withdrawn: taps
// of readers whose clocks are ahead may be being priced by it.
const withdrawBefore = 10 * time.Minute

type tariffKey struct {
	tenant  citygate.TenantID
	version uint64
}

// A version is a tariff and when it begins.
type version struct {
	from   int64 // unix milliseconds
	tariff *fare.Tariff
}

// A priceList is a tenant's versions, the oldest first.
type priceList []*version

// at gives the tariff valid at an instant, or nil.
func (l priceList) at(ms int64) *fare.Tariff {
	for _, v := range slices.Backward(l) {
		if v.from <= ms {
			return v.tariff
		}
	}
	return nil
}

// priceList reads the tenant's versions. Their bodies never change and are
// read once.
func (e *Engine) priceList(ctx context.Context, tx *pg.Tx) (priceList, error) {
	rows, err := tx.Query(ctx, `SELECT version FROM tariffs WHERE tenant_id = $1 AND withdrawn_at IS NULL ORDER BY valid_from`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	list := make(priceList, len(numbers))
	for i, n := range numbers {
		key := tariffKey{tx.Tenant, uint64(n)}
		e.mu.Lock()
		v := e.tariffs[key]
		e.mu.Unlock()
		if v == nil {
			var body string
			var from time.Time
			err := tx.QueryRow(ctx, `SELECT body, valid_from FROM tariffs WHERE tenant_id = $1 AND version = $2`, int64(tx.Tenant), n).Scan(&body, &from)
			if err != nil {
				return nil, err
			}
			t, err := fare.ParseTariff([]byte(body))
			if err != nil {
				return nil, err
			}
			v = &version{from.UnixMilli(), t}
			e.mu.Lock()
			e.tariffs[key] = v
			e.mu.Unlock()
		}
		list[i] = v
	}
	return list, nil
}

// Publish stores a version of the tenant's tariff, valid from an instant on.
// The same version with the same content and instant is no error.
func Publish(ctx context.Context, tx *pg.Tx, actor string, t *fare.Tariff, validFrom time.Time) error {
	return publish(ctx, tx, actor, t, validFrom, false)
}

// PublishInstead is Publish, and withdraws the versions that have not begun and would
// begin at that instant or later.
func PublishInstead(ctx context.Context, tx *pg.Tx, actor string, t *fare.Tariff, validFrom time.Time) error {
	return publish(ctx, tx, actor, t, validFrom, true)
}

func publish(ctx context.Context, tx *pg.Tx, actor string, t *fare.Tariff, validFrom time.Time, instead bool) error {
	validFrom = validFrom.UTC().Truncate(time.Millisecond)
	body, err := t.Encode()
	if err != nil {
		return err
	}
	digest := t.Digest()
	if digest == ([32]byte{}) || t.Version > 1<<62 {
		return ErrTariffDate.Because(nil, "the tariff was not compiled, or its version is out of range")
	}
	// One publication of a tenant at a time, or two could both be the first.
	if _, err := tx.Exec(ctx, `
		INSERT INTO tariff_heads AS h (tenant_id, published_at) VALUES ($1, $2)
		ON CONFLICT (tenant_id) DO UPDATE SET published_at = excluded.published_at`, int64(tx.Tenant), tx.Now); err != nil {
		return err
	}
	all, err := heads(ctx, tx)
	if err != nil {
		return err
	}
	var last uint64
	var latest time.Time
	var withdrawn []int64
	for _, h := range all {
		switch {
		case h.version != t.Version:
		case h.withdrawn:
			return ErrTariffWithdrawn.Because(nil, "version %d", t.Version)
		case h.digest != digest || !h.from.Equal(validFrom):
			return ErrTariffExists.Because(nil, "version %d", t.Version)
		default:
			return nil
		}
		last = max(last, h.version)
		switch {
		case h.withdrawn:
		case instead && !h.from.Before(validFrom) && h.from.After(tx.Now.Add(withdrawBefore)):
			withdrawn = append(withdrawn, int64(h.version))
		default:
			latest = h.from
		}
	}
	if last > 0 && (!validFrom.After(latest) || validFrom.Before(tx.Now) || t.Version < last) {
		return ErrTariffDate.Explain("version %d from %s; the last is version %d, and one begins at %s", t.Version, validFrom.Format(time.RFC3339), last, latest.UTC().Format(time.RFC3339))
	}
	if err := withdraw(ctx, tx, actor, t, withdrawn); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO tariffs (tenant_id, version, valid_from, body, digest, created_at) VALUES ($1, $2, $3, $4::jsonb, $5, $6)
		ON CONFLICT (tenant_id, version) DO NOTHING`,
		int64(tx.Tenant), int64(t.Version), validFrom, string(body), digest[:], tx.Now); err != nil {
		return err
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "tariff.publish", Object: t.Name,
		After: map[string]any{"version": t.Version, "valid_from": validFrom, "digest": hex.EncodeToString(digest[:])}})
}

// A head is what Publish asks of a version.
type head struct {
	version   uint64
	from      time.Time
	digest    [32]byte
	withdrawn bool
}

// heads gives the tenant's versions, the one that begins first first.
func heads(ctx context.Context, tx *pg.Tx) ([]head, error) {
	rows, err := tx.Query(ctx, `SELECT version, valid_from, digest, withdrawn_at IS NOT NULL FROM tariffs WHERE tenant_id = $1 ORDER BY valid_from`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (h head, err error) {
		var n int64
		var digest []byte
		err = row.Scan(&n, &h.from, &digest, &h.withdrawn)
		h.version = uint64(n)
		copy(h.digest[:], digest)
		return h, err
	})
}

// withdraw takes versions back that have not begun, for t.
func withdraw(ctx context.Context, tx *pg.Tx, actor string, t *fare.Tariff, versions []int64) error {
	if len(versions) == 0 {
		return nil
	}
	var ridden bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM journeys WHERE tenant_id = $1 AND starts_at >= (SELECT min(valid_from) FROM tariffs WHERE tenant_id = $1 AND version = ANY($2)))`,
		int64(tx.Tenant), versions).Scan(&ridden); err != nil {
		return err
	}
	if ridden {
		return ErrTariffDate.Explain("a ride was priced by one of the versions %d already: its reader's clock is ahead", versions)
	}
	if _, err := tx.Exec(ctx, `UPDATE tariffs SET withdrawn_at = $3 WHERE tenant_id = $1 AND version = ANY($2) AND withdrawn_at IS NULL`, int64(tx.Tenant), versions, tx.Now); err != nil {
		return err
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "tariff.withdraw", Object: t.Name, After: map[string]any{"withdrawn": versions, "for": t.Version}})
}

// ErrNoVersion says that there is no such version to go back to.
var ErrNoVersion = &citygate.Code{Name: "pricing.no_version", Kind: citygate.NotFound, Title: "The tenant has no tariff version of that number. Read the list of versions."}

// RestoreTariff publishes what an earlier version said as the next one, valid from an
// instant on: nothing that was published changes, but with instead versions to come are
// withdrawn as by [PublishInstead]. It gives the new version.
func RestoreTariff(ctx context.Context, tx *pg.Tx, actor string, version uint64, validFrom time.Time, instead bool) (Published, error) {
	all, err := heads(ctx, tx)
	if err != nil {
		return Published{}, err
	}
	last := uint64(0)
	for _, h := range all {
		last = max(last, h.version)
	}
	found, ok, err := Tariff(ctx, tx, version)
	if err != nil {
		return Published{}, err
	}
	if !ok {
		return Published{}, ErrNoVersion.Because(nil, "version %d", version)
	}
	raw, err := found.Tariff.Encode()
	if err != nil {
		return Published{}, err
	}
	next := new(fare.Tariff)
	if err := json.Unmarshal(raw, next); err != nil {
		return Published{}, err
	}
	next.Version = last + 1
	if err := next.Compile(); err != nil {
		return Published{}, err
	}
	if err := publish(ctx, tx, actor, next, validFrom, instead); err != nil {
		return Published{}, err
	}
	return Published{From: validFrom.UTC().Truncate(time.Millisecond), Tariff: next}, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "tariff.restore", Object: next.Name,
		After: map[string]any{"restored": version, "version": next.Version, "valid_from": validFrom}})
}

// A Published is one version of a tenant's tariff.
type Published struct {
	From      time.Time
	Withdrawn time.Time // zero, or when it was taken back before it began
	Tariff    *fare.Tariff
}

// Tariffs gives every version of the tenant's tariff that holds, held or is to hold,
// the first one first.
func Tariffs(ctx context.Context, tx *pg.Tx) ([]Published, error) {
	rows, err := tx.Query(ctx, `SELECT body, valid_from FROM tariffs WHERE tenant_id = $1 AND withdrawn_at IS NULL ORDER BY version`, int64(tx.Tenant))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (p Published, err error) {
		var body string
		if err := r.Scan(&body, &p.From); err != nil {
			return p, err
		}
		p.From = p.From.UTC()
		p.Tariff, err = fare.ParseTariff([]byte(body))
		return p, err
	})
}

// A TariffVersion is a version of the tenant's prices without them.
type TariffVersion struct {
	Version   uint64
	From      time.Time
	Withdrawn time.Time // zero, or when it was taken back before it began
}

// TariffVersions gives versions behind after, those that begin to hold in a time,
// in the order of their numbers.
func TariffVersions(ctx context.Context, tx *pg.Tx, after uint64, page pg.Span) ([]TariffVersion, error) {
	args := append(pg.Of(tx.Tenant, page), int64(after))
	rows, err := tx.Query(ctx, `SELECT version, valid_from, withdrawn_at FROM tariffs WHERE tenant_id = $1 AND version > $6 AND ($2::timestamptz IS NULL OR valid_from > $2)
		AND ($3::timestamptz IS NULL OR valid_from >= $3) AND ($4::timestamptz IS NULL OR valid_from < $4) ORDER BY version LIMIT $5::bigint`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (v TariffVersion, err error) {
		var number int64
		var withdrawn *time.Time
		err = r.Scan(&number, &v.From, &withdrawn)
		v.Version, v.From = uint64(number), v.From.UTC()
		if withdrawn != nil {
			v.Withdrawn = withdrawn.UTC()
		}
		return v, err
	})
}

// Tariff gives one version of the tenant's prices; ok is false where there is none.
func Tariff(ctx context.Context, tx *pg.Tx, version uint64) (p Published, ok bool, err error) {
	var body string
	var withdrawn *time.Time
	err = tx.QueryRow(ctx, `SELECT body, valid_from, withdrawn_at FROM tariffs WHERE tenant_id = $1 AND version = $2`, int64(tx.Tenant), int64(version)).Scan(&body, &p.From, &withdrawn)
	if pg.IsNoRows(err) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	p.From = p.From.UTC()
	if withdrawn != nil {
		p.Withdrawn = withdrawn.UTC()
	}
	p.Tariff, err = fare.ParseTariff([]byte(body))
	return p, err == nil, err
}

// EntryVersions gives the versions of the tenant's prices that hold at an instant or
// begin after it, the oldest first, as readers are given them.
func EntryVersions(ctx context.Context, tx *pg.Tx, at time.Time) (versions []fare.EntryVersion, err error) {
	all, err := Tariffs(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if len(versions) == 1 && !p.From.After(at) {
			versions = versions[:0] // it holds no more
		}
		versions = append(versions, fare.EntryVersion{From: p.From.UnixMilli(), Tariff: p.Tariff})
	}
	return versions, nil
}
