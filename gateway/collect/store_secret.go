package collect

import (
	"context"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A ContractSecret is the name of a secret that a contract has. The value lies
// in the secret store under [SecretName] and is given to the adapter alone.
type ContractSecret struct {
	Contract string
	Name     string
	Version  int // of the secret store
	SetAt    time.Time
}

// ErrSecret refuses a contract's secret.
var ErrSecret = &citygate.Code{Name: "collect.secret", Kind: citygate.Invalid, Title: "The secret cannot be kept. Give an existing contract, a name the adapter documents, and a value of 1 to 16384 bytes."}

var secretForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

// SecretMost is the most bytes of a contract's secret.
const SecretMost = 16 << 10

// CheckSecret reports whether a contract may have a secret of that name.
func CheckSecret(contract, name string) error {
	if !secretForm.MatchString(name) || !secretForm.MatchString(contract) {
		return ErrSecret.Explain("contract %q, secret %q: want 1 to 40 lower-case letters, digits, hyphens and underscores", contract, name)
	}
	return nil
}

// SecretName is a contract's secret in the secret store. Neither part has a dot.
func SecretName(contract, name string) string { return contract + "." + name }

// HasContract is [ErrSecret] where there is no such contract.
func HasContract(ctx context.Context, tx *pg.Tx, contract string) error {
	var there bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM provider_contracts WHERE tenant_id = $1 AND contract = $2)`, tx.Tenant, contract).Scan(&there)
	if err == nil && !there {
		return ErrSecret.Explain("there is no contract %q", contract)
	}
	return err
}

// NoteSecret records that the secret store has a version of a contract's secret.
func NoteSecret(ctx context.Context, tx *pg.Tx, actor, contract, name string, version int) error {
	if err := CheckSecret(contract, name); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO contract_secrets AS s (tenant_id, contract, name, version, set_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant_id, contract, name) DO UPDATE SET version = excluded.version, set_at = excluded.set_at WHERE s.version < excluded.version`,
		tx.Tenant, contract, name, version, tx.Now)
	if pg.SQLState(err) == pg.StateForeignKeyViolation {
		return ErrSecret.Explain("there is no contract %q", contract)
	}
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "contract.secret", Object: contract + "/" + name, After: map[string]int{"version": version}})
}

// ContractSecrets lists the secrets that contracts have.
func ContractSecrets(ctx context.Context, tx *pg.Tx) ([]ContractSecret, error) {
	rows, err := tx.Query(ctx, `SELECT contract, name, version, set_at FROM contract_secrets WHERE tenant_id = $1 ORDER BY contract, name`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (s ContractSecret, err error) {
		err = r.Scan(&s.Contract, &s.Name, &s.Version, &s.SetAt)
		s.SetAt = s.SetAt.UTC()
		return s, err
	})
}
