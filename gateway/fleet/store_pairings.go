package fleet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	pairingColumns = `pairing_id, terminal, created_by, created_at, expires_at, used_at, coalesce(terminal_id, 0)`

	insertPairing = `
		INSERT INTO access_pairings (tenant_id, pairing_id, code_hash, terminal, created_by, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT DO NOTHING`
	countPairings  = `SELECT count(*) FROM access_pairings WHERE tenant_id = $1 AND used_at IS NULL AND expires_at > $2`
	sweepPairings  = `DELETE FROM access_pairings WHERE tenant_id = $1 AND expires_at < $2`
	selectPairings = `SELECT ` + pairingColumns + ` FROM access_pairings WHERE tenant_id = $1 AND used_at IS NULL AND expires_at > $2 ORDER BY pairing_id`
	selectPairing  = `SELECT ` + pairingColumns + ` FROM access_pairings WHERE tenant_id = $1 AND code_hash = $2 FOR UPDATE`
	usePairing     = `UPDATE access_pairings SET used_at = $3, terminal_id = $4 WHERE tenant_id = $1 AND code_hash = $2`
	dropPairing    = `DELETE FROM access_pairings WHERE tenant_id = $1 AND pairing_id = $2 AND used_at IS NULL AND expires_at > $3`
)

// pairedTerminal is what a row keeps of the terminal to be.
type pairedTerminal struct {
	ID      uint32 `json:"id"`
	Name    string `json:"name"`
	Kind    Kind   `json:"kind"`
	Mode    Mode   `json:"mode"`
	Stop    string `json:"stop"`
	Route   string `json:"route"`
	Vehicle string `json:"vehicle"`
}

// Pair makes a pairing code for a device that is to be t, and gives its text,
// which is shown once.
func (f *Fleet) Pair(ctx context.Context, actor string, tenant citygate.TenantID, t Terminal, random io.Reader) (Pairing, citygate.Secret, error) {
	if err := t.check(); err != nil {
		return Pairing{}, citygate.Secret{}, err
	}
	code, err := newPairingCode(random)
	if err != nil {
		return Pairing{}, citygate.Secret{}, err
	}
	hash, _ := pairingHash(string(code.Reveal()))
	wanted, err := json.Marshal(pairedTerminal{t.ID, t.Name, t.Kind, t.Mode, t.Stop, t.Route, t.Vehicle})
	if err != nil {
		return Pairing{}, citygate.Secret{}, err
	}
	p := Pairing{Terminal: t, CreatedBy: actor}
	err = f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, sweepPairings, tenant, tx.Now.Add(-pairingAgain)); err != nil {
			return err
		}
		var waiting int
		if err := tx.QueryRow(ctx, countPairings, tenant, tx.Now).Scan(&waiting); err != nil {
			return err
		}
		if waiting >= pairingsMost {
			return ErrPairings.Because(nil, "%d wait", waiting)
		}
		if _, err := Get(ctx, tx, t.ID); t.ID != 0 && err == nil {
			return ErrConflict.Explain("terminal %d is enrolled: a new device gets a new number", t.ID)
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		p.ID, p.CreatedAt, p.ExpiresAt = tx.NewID(), tx.Now, tx.Now.Add(PairingLife)
		if _, err := tx.Exec(ctx, insertPairing, tenant, p.ID, hash[:], wanted, actor, p.CreatedAt, p.ExpiresAt); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "pairing.create", Object: p.ID.Text(PairingPrefix), After: json.RawMessage(wanted)})
	})
	return p, code, err
}

// Pairings gives the codes that wait for a device, oldest first.
func (f *Fleet) Pairings(ctx context.Context, tenant citygate.TenantID) (all []Pairing, err error) {
	err = f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, selectPairings, tenant, tx.Now)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, scanPairing)
		return err
	})
	return all, err
}

// WithdrawPairing takes back a code that waits for a device.
func (f *Fleet) WithdrawPairing(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) error {
	return f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		tag, err := tx.Exec(ctx, dropPairing, tenant, id, tx.Now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNoPairing.Because(nil, "%s", id)
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "pairing.withdraw", Object: id.Text(PairingPrefix)})
	})
}

// Redeem enrols the device that has the private key of public, as a code says,
// in the transaction that uses up the code. signature is of [PairingProof].
func (f *Fleet) Redeem(ctx context.Context, tenant citygate.TenantID, code string, public ed25519.PublicKey, signature []byte) (Terminal, error) {
	if len(public) != ed25519.PublicKeySize {
		return Terminal{}, ErrInvalid.Explain("public_key: want an Ed25519 key of %d bytes", ed25519.PublicKeySize)
	}
	message, ok := PairingProof(tenant, code, public)
	if !ok || !ed25519.Verify(public, message, signature) {
		return Terminal{}, ErrPairing.Because(nil, "no code, or the signature does not prove the key")
	}
	algorithm, raw, err := bundle.EncodePublic(public)
	if err != nil {
		return Terminal{}, ErrInvalid.Because(err, "public key")
	}
	hash, _ := pairingHash(code)
	var got Terminal
	err = f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, selectPairing, tenant, hash[:])
		if err != nil {
			return err
		}
		p, err := pgx.CollectExactlyOneRow(rows, scanPairing)
		switch {
		case pg.IsNoRows(err):
			return ErrPairing.Because(nil, "no such code")
		case err != nil:
			return err
		case p.UsedAt != nil:
			if got, err = Get(ctx, tx, p.Enrolled); err == nil && (got.Algorithm != algorithm || !bytes.Equal(got.Public, raw)) {
				err = ErrPairing.Because(nil, "code %s was used by another key, of terminal %d", p.ID, p.Enrolled)
			}
			return err
		case !tx.Now.Before(p.ExpiresAt):
			return ErrPairing.Because(nil, "code %s ended at %s", p.ID, p.ExpiresAt)
		}
		t := p.Terminal
		t.Algorithm, t.Public = algorithm, raw
		if got, err = enrol(ctx, tx, "pairing:"+p.ID.Text(PairingPrefix)+"/"+p.CreatedBy, t); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, usePairing, tenant, hash[:], tx.Now, int64(got.ID))
		return err
	})
	if err != nil {
		return Terminal{}, err
	}
	return got, nil
}

func scanPairing(row pgx.CollectableRow) (Pairing, error) {
	var p Pairing
	var raw []byte
	var enrolled int64
	if err := row.Scan(&p.ID, &raw, &p.CreatedBy, &p.CreatedAt, &p.ExpiresAt, &p.UsedAt, &enrolled); err != nil {
		return Pairing{}, err
	}
	var t pairedTerminal
	if err := json.Unmarshal(raw, &t); err != nil {
		return Pairing{}, err
	}
	p.Terminal = Terminal{ID: t.ID, Name: t.Name, Kind: t.Kind, Mode: t.Mode, Stop: t.Stop, Route: t.Route, Vehicle: t.Vehicle}
	p.CreatedAt, p.ExpiresAt, p.Enrolled = p.CreatedAt.UTC(), p.ExpiresAt.UTC(), uint32(enrolled)
	if p.UsedAt != nil {
		used := p.UsedAt.In(time.UTC)
		p.UsedAt = &used
	}
	return p, nil
}
