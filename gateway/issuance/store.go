package issuance

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	latestPolicy = `SELECT version, body FROM issuance_policies WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1`
	insertPolicy = `
		INSERT INTO issuance_policies (tenant_id, version, body, actor, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`
	insertChallenge  = `INSERT INTO device_challenges (tenant_id, challenge, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
	forgetChallenges = `DELETE FROM device_challenges WHERE tenant_id = $1 AND expires_at < $2`
	takeChallenge    = `
		UPDATE device_challenges SET used_at = $3 WHERE tenant_id = $1 AND challenge = $2 AND used_at IS NULL AND expires_at > $3`

	deviceColumns = `device_id, account_id, kind, phone_id, suite, public_key, assurance, evidence, state, keyless, bound_at, lost_at`
	oneDevice     = `SELECT ` + deviceColumns + ` FROM devices WHERE tenant_id = $1 AND device_id = $2`
	keyHolder     = `SELECT ` + deviceColumns + ` FROM devices WHERE tenant_id = $1 AND public_key = $2 AND state <> 'released' FOR UPDATE`
	ofAccount     = `SELECT ` + deviceColumns + ` FROM devices WHERE tenant_id = $1 AND account_id = $2 ORDER BY device_id`
	newDevice     = `
		INSERT INTO devices (tenant_id, device_id, account_id, kind, phone_id, suite, public_key, assurance, evidence, state, bound_at, keyless)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'bound', $10, $11)
		ON CONFLICT (tenant_id, public_key) WHERE state <> 'released' DO NOTHING`
	countBands = `SELECT count(*) FROM devices WHERE tenant_id = $1 AND phone_id = $2 AND state = 'bound'`
	lose       = `UPDATE devices SET state = 'lost', lost_at = $3 WHERE tenant_id = $1 AND device_id = ANY ($2::uuid[]) AND state = 'bound'`
	newState   = `UPDATE devices SET state = $3 WHERE tenant_id = $1 AND device_id = $2`

	accountCategory = `SELECT category, proof_expires_at FROM accounts WHERE tenant_id = $1 AND account_id = $2`
	newCategory     = `UPDATE accounts SET category = $3, proof_expires_at = $4 WHERE tenant_id = $1 AND account_id = $2`
)

// Publish stores a policy as the next version and gives it.
func Publish(ctx context.Context, tx *pg.Tx, actor string, p Policy) (Policy, error) {
	if err := p.Check(); err != nil {
		return Policy{}, err
	}
	before, err := Latest(ctx, tx)
	if err != nil && before.Version != 0 {
		return Policy{}, err
	}
	p.Version = before.Version + 1
	body, err := p.encode()
	if err != nil {
		return Policy{}, err
	}
	tag, err := tx.Exec(ctx, insertPolicy, tx.Tenant, p.Version, body, actor, tx.Now)
	if err != nil {
		return Policy{}, err
	}
	if tag.RowsAffected() == 0 {
		return Policy{}, ErrState.Explain("version %d was published by somebody else meanwhile: look at it first", p.Version)
	}
	return p, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "issuance_policy.publish", Object: "issuance_policy", Before: before, After: p})
}

// Latest gives the policy in force.
func Latest(ctx context.Context, tx *pg.Tx) (Policy, error) {
	var version int
	var body []byte
	err := tx.QueryRow(ctx, latestPolicy, tx.Tenant).Scan(&version, &body)
	if pg.IsNoRows(err) {
		return Policy{}, ErrNoPolicy
	}
	if err != nil {
		return Policy{}, err
	}
	return decodePolicy(version, body)
}

// putChallenge stores a challenge and drops those that nobody may answer any more.
func putChallenge(ctx context.Context, tx *pg.Tx, challenge []byte, expires time.Time) error {
	if _, err := tx.Exec(ctx, forgetChallenges, tx.Tenant, tx.Now); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, insertChallenge, tx.Tenant, challenge, expires)
	return err
}

// UseChallenge takes a challenge of the tenant that was answered; a second time it
// is [ErrProof].
func UseChallenge(ctx context.Context, tx *pg.Tx, challenge []byte) error {
	return useChallenge(ctx, tx, challenge)
}

func useChallenge(ctx context.Context, tx *pg.Tx, challenge []byte) error {
	tag, err := tx.Exec(ctx, takeChallenge, tx.Tenant, challenge, tx.Now)
	if err == nil && tag.RowsAffected() != 1 {
		return ErrProof.Explain("the challenge is not ours, was used, or is older than %s", ChallengeTime)
	}
	return err
}

func scanDevice(row pgx.CollectableRow) (Device, error) {
	var d Device
	var phone *citygate.UUID
	var lost *time.Time
	err := row.Scan(&d.ID, &d.Account, &d.Kind, &phone, &d.Suite, &d.PublicKey, &d.Assurance, &d.Evidence, &d.State, &d.Keyless, &d.BoundAt, &lost)
	d.BoundAt = d.BoundAt.UTC()
	if phone != nil {
		d.Phone = *phone
	}
	if lost != nil {
		d.LostAt = lost.UTC()
	}
	return d, err
}

func deviceByID(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Device, error) {
	return findDevice(ctx, tx, id, oneDevice)
}

func lockDevice(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Device, error) {
	return findDevice(ctx, tx, id, oneDevice+" FOR UPDATE")
}

func findDevice(ctx context.Context, tx *pg.Tx, id citygate.UUID, sql string) (Device, error) {
	rows, err := tx.Query(ctx, sql, tx.Tenant, id)
	if err != nil {
		return Device{}, err
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDevice)
	if pg.IsNoRows(err) {
		return Device{}, ErrNoDevice.Explain("device %s", id.Text(Prefix))
	}
	return d, err
}

// holderOf gives the device that holds a key, locked.
func holderOf(ctx context.Context, tx *pg.Tx, key []byte) (d Device, held bool, err error) {
	rows, err := tx.Query(ctx, keyHolder, tx.Tenant, key)
	if err != nil {
		return Device{}, false, err
	}
	d, err = pgx.CollectExactlyOneRow(rows, scanDevice)
	if pg.IsNoRows(err) {
		return Device{}, false, nil
	}
	return d, err == nil, err
}

func devicesOf(ctx context.Context, tx *pg.Tx, account citygate.UUID, lock string) ([]Device, error) {
	rows, err := tx.Query(ctx, ofAccount+lock, tx.Tenant, account)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanDevice)
}

func lockDevices(ctx context.Context, tx *pg.Tx, account citygate.UUID) ([]Device, error) {
	return devicesOf(ctx, tx, account, " FOR UPDATE")
}

func insertDevice(ctx context.Context, tx *pg.Tx, d *Device) error {
	var phone *citygate.UUID
	if !d.Phone.IsZero() {
		phone = &d.Phone
	}
	tag, err := tx.Exec(ctx, newDevice, tx.Tenant, d.ID, d.Account, string(d.Kind), phone, int16(d.Suite), d.PublicKey, string(d.Assurance), d.Evidence, tx.Now, d.Keyless)
	if err == nil && tag.RowsAffected() == 0 {
		return ErrHeld.Explain("somebody bound it at this moment")
	}
	return err
}

func bandsOf(ctx context.Context, tx *pg.Tx, phone citygate.UUID) (n int, err error) {
	err = tx.QueryRow(ctx, countBands, tx.Tenant, phone).Scan(&n)
	return n, err
}

func loseDevices(ctx context.Context, tx *pg.Tx, ids []citygate.UUID) error {
	_, err := tx.Exec(ctx, lose, tx.Tenant, ids, tx.Now)
	return err
}

func setState(ctx context.Context, tx *pg.Tx, id citygate.UUID, state State) error {
	_, err := tx.Exec(ctx, newState, tx.Tenant, id, string(state))
	return err
}

// Category gives the category that an account is in, and until when its proof
// holds; zero without one.
func (o *Office) Category(ctx context.Context, tenant citygate.TenantID, account citygate.UUID) (category string, proof time.Time, err error) {
	err = o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		category, proof, err = categoryOf(ctx, tx, account)
		return err
	})
	return category, proof, err
}

// categoryOf gives an account's concession, and until when it is proven.
func categoryOf(ctx context.Context, tx *pg.Tx, account citygate.UUID) (category string, proof time.Time, err error) {
	var until *time.Time
	err = tx.QueryRow(ctx, accountCategory, tx.Tenant, account).Scan(&category, &until)
	if pg.IsNoRows(err) {
		return "", time.Time{}, credential.ErrNoAccount.Explain("account %s", account.Text("acc_"))
	}
	if until != nil {
		proof = until.UTC()
	}
	return category, proof, err
}

func setCategory(ctx context.Context, tx *pg.Tx, account citygate.UUID, category string, proof time.Time) error {
	var until *time.Time
	if !proof.IsZero() {
		until = &proof
	}
	tag, err := tx.Exec(ctx, newCategory, tx.Tenant, account, category, until)
	if err == nil && tag.RowsAffected() == 0 {
		return credential.ErrNoAccount.Explain("account %s", account.Text("acc_"))
	}
	return err
}
