package credential

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// rowsMax bounds the rows of one statement.
const rowsMax = 2000

const (
	insertAccounts = `
		INSERT INTO accounts (tenant_id, account_id, contract, rider_ref, category, state, created_at)
		SELECT $1, u.account_id, u.contract, u.rider_ref, u.category, 'active', $2
		FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[]) AS u (account_id, contract, rider_ref, category)
		ON CONFLICT DO NOTHING`
	// LATERAL and OFFSET 0 make it one index look-up a rider, whatever the
	// planner knows of the tables; so below.
	accountsByRef = `
		SELECT a.account_id, a.contract, a.rider_ref, a.category, a.state
		FROM unnest($2::text[], $3::text[]) AS u (contract, rider_ref)
		CROSS JOIN LATERAL (
			SELECT account_id, contract, rider_ref, category, state FROM accounts
			WHERE tenant_id = $1 AND contract = u.contract AND rider_ref = u.rider_ref OFFSET 0) AS a`
	accountByID = `
		SELECT account_id, contract, rider_ref, category, state FROM accounts WHERE tenant_id = $1 AND account_id = $2`
	closeAccount = `
		UPDATE accounts SET state = 'closed' WHERE tenant_id = $1 AND account_id = $2 AND state = 'active'`
	// The row locks make an account that is being closed wait for this
	// transaction, or this one see it closed.
	standingOf = `
		SELECT a.account_id, a.state, EXISTS (
			SELECT 1 FROM deny_entries d WHERE d.tenant_id = $1 AND d.account_id = a.account_id AND d.lifted_at IS NULL)
		FROM accounts a
		WHERE a.tenant_id = $1 AND a.account_id = ANY ($2::uuid[])
		ORDER BY a.account_id
		FOR SHARE OF a`
	insertCredentials = `
		INSERT INTO credentials (tenant_id, list, idx, issuer, account_id, kid, suite, medium, device_key, issued_at, ttl_hours,
			product, cap, taps, win, state, created_at, device_id)
		SELECT $1, $2, u.idx, $3, u.account_id, $4, u.suite, u.medium, u.device_key, $5, u.ttl_hours,
			u.product, u.cap, u.taps, u.win, 'reserved', $6, u.device_id
		FROM unnest($7::bigint[], $8::uuid[], $9::smallint[], $10::smallint[], $11::bytea[], $12::int[], $13::int[], $14::int[],
			$15::smallint[], $16::smallint[], $17::uuid[]) AS u (idx, account_id, suite, medium, device_key, ttl_hours, product, cap, taps, win, device_id)
		ON CONFLICT DO NOTHING`
	storeCredentials = `
		UPDATE credentials c SET state = 'issued', part_a = u.part_a
		FROM unnest($3::bigint[], $4::bytea[]) AS u (idx, part_a)
		WHERE c.tenant_id = $1 AND c.list = $2 AND c.idx = u.idx AND c.state = 'reserved'`
	accountsOfRiders = `
		SELECT c.issuer, c.list, c.idx, a.account_id, a.contract, a.rider_ref, a.category, a.state
		FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx)
		CROSS JOIN LATERAL (
			SELECT issuer, list, idx, account_id FROM credentials
			WHERE tenant_id = $1 AND list = u.list AND idx = u.idx AND issuer = u.issuer AND state = 'issued' OFFSET 0) AS c
		CROSS JOIN LATERAL (
			SELECT account_id, contract, rider_ref, category, state FROM accounts
			WHERE tenant_id = $1 AND account_id = c.account_id OFFSET 0) AS a`
	credentialsOfDevices = `
		SELECT c.device_id, c.issuer, c.list, c.idx, c.issued_at, c.ttl_hours, c.part_a, ARRAY(
			SELECT d.reason FROM deny_entries d WHERE d.tenant_id = $1 AND d.list = c.list AND d.idx = c.idx AND d.lifted_at IS NULL ORDER BY d.reason)
		FROM credentials c
		WHERE c.tenant_id = $1 AND c.device_id = ANY ($2::uuid[]) AND c.issued_at + c.ttl_hours * interval '1 hour' > $3
		ORDER BY c.device_id, c.issued_at DESC, c.list DESC, c.idx DESC`
	credentialsOfRiders = `
		SELECT c.issuer, c.list, c.idx, c.account_id, c.part_a
		FROM unnest($2::int[], $3::int[], $4::bigint[]) AS u (issuer, list, idx)
		CROSS JOIN LATERAL (
			SELECT issuer, list, idx, account_id, part_a FROM credentials
			WHERE tenant_id = $1 AND list = u.list AND idx = u.idx AND issuer = u.issuer AND state = 'issued' OFFSET 0) AS c`
)

// OpenAccounts opens accounts and gives them, in the order asked for. One that
// is there already, under its contract and rider reference, is given as it is:
// asking twice opens nothing twice. IDs are made here.
func OpenAccounts(ctx context.Context, tx *pg.Tx, actor string, accounts []Account) ([]Account, error) {
	out := make([]Account, 0, len(accounts))
	for part := range slices.Chunk(accounts, rowsMax) {
		opened, err := openAccounts(ctx, tx, actor, part)
		if err != nil {
			return nil, err
		}
		out = append(out, opened...)
	}
	return out, nil
}

// A ref is an account's natural key.
type ref struct{ contract, rider string }

func openAccounts(ctx context.Context, tx *pg.Tx, actor string, accounts []Account) ([]Account, error) {
	order := make([]ref, len(accounts))
	category := make(map[ref]string, len(accounts))
	for i, a := range accounts {
		if a.Contract == "" || a.RiderRef == "" || len(a.RiderRef) > 200 || len(a.Category) > 40 {
			return nil, ErrBadAccount.Explain("account %d of contract %q", i, a.Contract)
		}
		order[i] = ref{a.Contract, a.RiderRef}
		category[order[i]] = a.Category
	}
	// Rows are inserted in key order, so that two calls with the same riders
	// wait for each other and never in a circle.
	sorted := slices.Clone(order)
	slices.SortFunc(sorted, func(a, b ref) int {
		return cmp.Or(strings.Compare(a.contract, b.contract), strings.Compare(a.rider, b.rider))
	})
	sorted = slices.Compact(sorted)
	n := len(sorted)
	ids, contracts, riders, categories := make([]citygate.UUID, n), make([]string, n), make([]string, n), make([]string, n)
	for i, r := range sorted {
		ids[i], contracts[i], riders[i], categories[i] = tx.NewID(), r.contract, r.rider, category[r]
	}
	tag, err := tx.Exec(ctx, insertAccounts, tx.Tenant, tx.Now, ids, contracts, riders, categories)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, accountsByRef, tx.Tenant, contracts, riders)
	if err != nil {
		return nil, err
	}
	found := make(map[ref]Account, n)
	all, err := pgx.CollectRows(rows, scanAccount)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		found[ref{a.Contract, a.RiderRef}] = a
	}
	out := make([]Account, len(order))
	for i, r := range order {
		out[i] = found[r]
	}
	if tag.RowsAffected() == 0 {
		return out, nil
	}
	if _, err := tx.Exec(ctx, askOpened, tx.Tenant, tx.Now, ids); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, claimCards, tx.Tenant, ids); err != nil {
		return nil, err
	}
	return out, tx.Audit(ctx, pg.AuditEntry{
		Actor: actor, Verb: "account.open", Object: "account:" + out[0].ID.Text("acc_"), After: map[string]any{"opened": tag.RowsAffected()},
	})
}

func scanAccount(row pgx.CollectableRow) (Account, error) {
	var a Account
	err := row.Scan(&a.ID, &a.Contract, &a.RiderRef, &a.Category, &a.State)
	return a, err
}

// AccountByID gives an account of the tenant bound.
func AccountByID(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Account, error) {
	rows, err := tx.Query(ctx, accountByID, tx.Tenant, id)
	if err != nil {
		return Account{}, err
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanAccount)
	if pg.IsNoRows(err) {
		return Account{}, ErrNoAccount.Explain("account %s", id.Text("acc_"))
	}
	return a, err
}

// CloseAccount closes an account and denies its credentials, for good.
func CloseAccount(ctx context.Context, tx *pg.Tx, actor string, id citygate.UUID) error {
	tag, err := tx.Exec(ctx, closeAccount, tx.Tenant, id)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		_, err := AccountByID(ctx, tx, id) // closed before, or not there
		return err
	}
	return Deny(ctx, tx, actor, "closed", Targets{Accounts: []citygate.UUID{id}})
}

type standing struct {
	state  State
	denied bool
}

func standings(ctx context.Context, tx *pg.Tx, ids []citygate.UUID) (map[citygate.UUID]standing, error) {
	rows, err := tx.Query(ctx, standingOf, tx.Tenant, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID]standing, len(ids))
	var id citygate.UUID
	var s standing
	_, err = pgx.ForEachRow(rows, []any{&id, &s.state, &s.denied}, func() error {
		out[id] = s
		return nil
	})
	return out, err
}

func insertReserved(ctx context.Context, tx *pg.Tx, batch []reserved) error {
	for part := range slices.Chunk(batch, rowsMax) {
		n := len(part)
		idx, account, key := make([]int64, n), make([]citygate.UUID, n), make([][]byte, n)
		suite, medium, taps, win := make([]int16, n), make([]int16, n), make([]int16, n), make([]int16, n)
		ttl, product, limit := make([]int32, n), make([]int32, n), make([]int32, n)
		device := make([]*citygate.UUID, n)
		for i, b := range part {
			if !b.Device.IsZero() {
				device[i] = &part[i].Device
			}
			idx[i], account[i], key[i] = int64(b.rider.Index), b.Account, b.DeviceKey
			suite[i], medium[i], taps[i], win[i] = int16(b.Suite), int16(b.Medium), int16(b.Taps), int16(b.Window)
			ttl[i], product[i], limit[i] = int32(b.TTLHours), int32(b.Product), int32(b.Cap)
		}
		first := part[0]
		tag, err := tx.Exec(ctx, insertCredentials, tx.Tenant, int32(first.rider.List), int32(first.rider.Issuer), int16(first.kid), first.issuedAt, tx.Now,
			idx, account, suite, medium, key, ttl, product, limit, taps, win, device)
		if err != nil {
			return err
		}
		if tag.RowsAffected() != int64(n) { // the counter gave an index twice: never
			return ErrBusy.Because(nil, "%d of %d indices of list %d were free", tag.RowsAffected(), n, first.rider.List)
		}
	}
	return nil
}

func store(ctx context.Context, tx *pg.Tx, batch []reserved) error {
	for part := range slices.Chunk(batch, rowsMax) {
		idx, partA := make([]int64, len(part)), make([][]byte, len(part))
		for i, b := range part {
			idx[i], partA[i] = int64(b.rider.Index), b.partA
		}
		tag, err := tx.Exec(ctx, storeCredentials, tx.Tenant, int32(part[0].rider.List), idx, partA)
		if err != nil {
			return err
		}
		if tag.RowsAffected() != int64(len(part)) {
			return ErrBusy.Because(nil, "%d of %d reserved credentials were there", tag.RowsAffected(), len(part))
		}
	}
	return nil
}

func riderColumns(riders []citygate.Rider) (issuer, list []int32, idx []int64) {
	for _, r := range riders {
		issuer, list, idx = append(issuer, int32(r.Issuer)), append(list, int32(r.List)), append(idx, int64(r.Index))
	}
	return issuer, list, idx
}

// AccountsOf gives who pays for each rider. A rider the tenant bound issued
// nothing to is absent, one of another issuer too.
func AccountsOf(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]Account, error) {
	out := make(map[citygate.Rider]Account, len(riders))
	for part := range slices.Chunk(riders, rowsMax) {
		issuer, list, idx := riderColumns(part)
		rows, err := tx.Query(ctx, accountsOfRiders, tx.Tenant, issuer, list, idx)
		if err != nil {
			return nil, err
		}
		var r citygate.Rider
		var a Account
		_, err = pgx.ForEachRow(rows, []any{&r.Issuer, &r.List, &r.Index, &a.ID, &a.Contract, &a.RiderRef, &a.Category, &a.State}, func() error {
			out[r] = a
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// OfDevices gives the credentials of devices that have not run out, the newest of
// each device first. The caller holds whatever lock keeps others from issuing.
func OfDevices(ctx context.Context, tx *pg.Tx, devices []citygate.UUID) (map[citygate.UUID][]DeviceCredential, error) {
	rows, err := tx.Query(ctx, credentialsOfDevices, tx.Tenant, devices, tx.Now)
	if err != nil {
		return nil, err
	}
	out := make(map[citygate.UUID][]DeviceCredential, len(devices))
	var device citygate.UUID
	var h DeviceCredential
	var hours int
	_, err = pgx.ForEachRow(rows, []any{&device, &h.Rider.Issuer, &h.Rider.List, &h.Rider.Index, &h.IssuedAt, &hours, &h.PartA, &h.Denied}, func() error {
		h.IssuedAt = h.IssuedAt.UTC()
		h.ExpiresAt = h.IssuedAt.Add(time.Duration(hours) * time.Hour)
		out[device] = append(out[device], h)
		h = DeviceCredential{}
		return nil
	})
	return out, err
}

// Issued gives the record of each rider's credential; a rider the tenant bound
// issued nothing to is absent.
func Issued(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) (map[citygate.Rider]Credential, error) {
	out := make(map[citygate.Rider]Credential, len(riders))
	for part := range slices.Chunk(riders, rowsMax) {
		issuer, list, idx := riderColumns(part)
		rows, err := tx.Query(ctx, credentialsOfRiders, tx.Tenant, issuer, list, idx)
		if err != nil {
			return nil, err
		}
		all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Credential, error) {
			var c Credential
			err := row.Scan(&c.Rider.Issuer, &c.Rider.List, &c.Rider.Index, &c.Account, &c.PartA)
			return c, err
		})
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			out[c.Rider] = c
		}
	}
	return out, nil
}
