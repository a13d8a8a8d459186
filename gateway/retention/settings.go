package retention

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Settings are a tenant's, and how far it has erased.
type Settings struct {
	KeepDays     int       `json:"keep_days"` // 120 to 3660
	Automatic    bool      `json:"automatic"` // erased by the work that is due
	ErasedBefore time.Time `json:"erased_before,omitzero"`
	Taps         int64     `json:"taps_erased"`
	Journeys     int64     `json:"journeys_erased"`
}

const (
	day         = 24 * time.Hour
	keepDaysMin = int(tenants.KeepMin / day)
	keepDaysMax = 3660
)

// Read gives the settings of the transaction's tenant.
func Read(ctx context.Context, tx *pg.Tx) (Settings, error) {
	s := Settings{KeepDays: keepDaysMin}
	var before *time.Time
	err := tx.QueryRow(ctx, `SELECT keep_days, automatic, erased_before, taps, journeys FROM retention WHERE tenant_id = $1`, tx.Tenant).
		Scan(&s.KeepDays, &s.Automatic, &before, &s.Taps, &s.Journeys)
	if pg.IsNoRows(err) {
		return s, nil
	}
	if before != nil {
		s.ErasedBefore = before.UTC()
	}
	return s, err
}

// Set changes how long the transaction's tenant keeps and who erases, or is [ErrKeep].
func Set(ctx context.Context, tx *pg.Tx, actor string, keepDays int, automatic bool) (Settings, error) {
	was, err := Read(ctx, tx)
	if err != nil {
		return was, err
	}
	if keepDays < keepDaysMin || keepDays > keepDaysMax {
		return was, ErrKeep.Explain("%d days", keepDays)
	}
	is := was
	is.KeepDays, is.Automatic = keepDays, automatic
	if is == was {
		return is, nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO retention (tenant_id, keep_days, automatic, taps, journeys, changed_at) VALUES ($1, $2, $3, 0, 0, $4)
		ON CONFLICT (tenant_id) DO UPDATE SET keep_days = excluded.keep_days, automatic = excluded.automatic, changed_at = excluded.changed_at`,
		tx.Tenant, keepDays, automatic, tx.Now); err != nil {
		return was, err
	}
	type terms struct {
		KeepDays  int  `json:"keep_days"`
		Automatic bool `json:"automatic"`
	}
	return is, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "retention.set", Object: "tenant:" + tx.Tenant.String(),
		Before: terms{was.KeepDays, was.Automatic}, After: terms{keepDays, automatic}})
}

// noted adds what one batch erased to the tenant's row, and moves its cut on.
func noted(ctx context.Context, tx *pg.Tx, before time.Time, taps, journeys int64) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO retention AS r (tenant_id, keep_days, automatic, erased_before, taps, journeys, changed_at) VALUES ($1, $2, false, $3, $4, $5, $6)
		ON CONFLICT (tenant_id) DO UPDATE SET erased_before = greatest(r.erased_before, excluded.erased_before),
			taps = r.taps + excluded.taps, journeys = r.journeys + excluded.journeys, changed_at = excluded.changed_at`,
		tx.Tenant, keepDaysMin, before, taps, journeys, tx.Now)
	return err
}
