package collect

import (
	"context"
	"crypto/sha256"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// IssuedFor gives the answer that a request for a code had, if it had one.
func IssuedFor(ctx context.Context, tx *pg.Tx, contract string, request [sha256.Size]byte) (ack driver.Ack, found bool, err error) {
	err = tx.QueryRow(ctx, `SELECT status, kind, answer FROM provider_codes WHERE tenant_id = $1 AND contract = $2 AND request = $3`,
		tx.Tenant, contract, request[:]).Scan(&ack.Status, &ack.ContentType, &ack.Body)
	if pg.IsNoRows(err) {
		return driver.Ack{}, false, nil
	}
	return ack, err == nil, err
}

// StoreCode stores a code that was signed, and gives the answer to send: that of
// the first of equal requests.
func StoreCode(ctx context.Context, tx *pg.Tx, contract string, request [sha256.Size]byte, issued driver.IssuedCode, ack driver.Ack) (driver.Ack, error) {
	id := tx.NewID()
	tag, err := tx.Exec(ctx, `
		INSERT INTO provider_codes (tenant_id, code_id, contract, request, rider_ref, card_ref, code, status, kind, answer, not_before, not_after, issued_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (tenant_id, contract, request) DO NOTHING`,
		tx.Tenant, id, contract, request[:], issued.RiderRef, issued.CardRef, issued.Code, ack.Status, ack.ContentType, ack.Body, issued.NotBefore, issued.NotAfter, tx.Now)
	if err != nil || tag.RowsAffected() == 1 {
		return ack, err
	}
	first, _, err := IssuedFor(ctx, tx, contract, request)
	return first, err
}
