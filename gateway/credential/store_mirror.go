package credential

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	accountsNamed = `
		SELECT a.account_id
		FROM unnest($3::text[]) AS u (rider_ref)
		CROSS JOIN LATERAL (
			SELECT account_id FROM accounts
			WHERE tenant_id = $1 AND contract = $2 AND rider_ref = u.rider_ref AND state = 'active' OFFSET 0) AS a`
	deniedUnder = `
		SELECT d.account_id, a.rider_ref
		FROM deny_entries d
		JOIN accounts a ON a.tenant_id = d.tenant_id AND a.account_id = d.account_id
		WHERE d.tenant_id = $1 AND a.tenant_id = $1 AND a.contract = $2 AND d.reason = $3 AND d.lifted_at IS NULL`
)

// Mirror makes the open deny entries of a contract's accounts for one reason what
// a list of the provider says: an entry for everybody on it whom the tenant has an
// account of, none for anybody else. The list is the whole list, so that who left
// it is let go. Entries for other reasons are left alone.
func Mirror(ctx context.Context, tx *pg.Tx, actor, reason, contract string, riderRefs []string) error {
	listed := make(map[string]bool, len(riderRefs))
	for _, r := range riderRefs {
		listed[r] = true
	}
	var denied []citygate.UUID
	for part := range slices.Chunk(riderRefs, rowsMax) {
		rows, err := tx.Query(ctx, accountsNamed, tx.Tenant, contract, part)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
		if err != nil {
			return err
		}
		denied = append(denied, found...)
	}
	gone, err := noLonger(ctx, tx, contract, reason, listed)
	if err != nil {
		return err
	}
	if len(denied) > 0 {
		if err := Deny(ctx, tx, actor, reason, Targets{Accounts: denied}); err != nil {
			return err
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return Lift(ctx, tx, actor, reason, Targets{Accounts: gone})
}

// noLonger gives the accounts with an open entry that are not listed.
func noLonger(ctx context.Context, tx *pg.Tx, contract, reason string, listed map[string]bool) (gone []citygate.UUID, err error) {
	rows, err := tx.Query(ctx, deniedUnder, tx.Tenant, contract, reason)
	if err != nil {
		return nil, err
	}
	var account citygate.UUID
	var rider string
	_, err = pgx.ForEachRow(rows, []any{&account, &rider}, func() error {
		if !listed[rider] {
			gone = append(gone, account)
		}
		return nil
	})
	return gone, err
}

// MirrorOne is Mirror for one rider: his accounts are denied for the reason, or
// let go of it. Doing either again changes nothing.
func MirrorOne(ctx context.Context, tx *pg.Tx, actor, reason, contract, riderRef string, denied bool) error {
	rows, err := tx.Query(ctx, accountsNamed, tx.Tenant, contract, []string{riderRef})
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
	switch {
	case err != nil || len(found) == 0:
		return err
	case denied:
		return Deny(ctx, tx, actor, reason, Targets{Accounts: found})
	}
	return Lift(ctx, tx, actor, reason, Targets{Accounts: found})
}

// DeniedRider reports whether an account of a contract's rider is denied, for
// whatever reason.
func DeniedRider(ctx context.Context, tx *pg.Tx, contract, riderRef string) (denied bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM accounts a JOIN deny_entries d ON d.tenant_id = $1 AND d.account_id = a.account_id AND d.lifted_at IS NULL
			WHERE a.tenant_id = $1 AND a.contract = $2 AND a.rider_ref = $3)`, tx.Tenant, contract, riderRef).Scan(&denied)
	return denied, err
}
