package agreement

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const columns = `agreement_id, contract, our_id, provider_id, rider_ref, account_id, linked, state, ending, valid_from, valid_to, single_max, single_currency,
	reason, error, asks, opened_at, invited_at, changed_at, asked_at, next_ask_at, ended_at`

func scan(r pgx.CollectableRow) (a Agreement, err error) {
	var account *citygate.UUID
	var most *int64
	var currency *string
	var from, to, invited, asked, next, ended *time.Time
	err = r.Scan(&a.ID, &a.Contract, &a.OurID, &a.ProviderID, &a.RiderRef, &account, &a.Linked, &a.State, &a.Ending, &from, &to, &most, &currency,
		&a.Reason, &a.Error, &a.Asks, &a.OpenedAt, &invited, &a.ChangedAt, &asked, &next, &ended)
	if account != nil {
		a.Account = *account
	}
	if most != nil && currency != nil {
		a.SingleMax = citygate.Money{Minor: *most, Currency: citygate.Currency(*currency)}
	}
	for _, t := range []struct {
		from *time.Time
		into *time.Time
	}{{from, &a.ValidFrom}, {to, &a.ValidTo}, {invited, &a.InvitedAt}, {asked, &a.AskedAt}, {next, &a.NextAskAt}, {ended, &a.EndedAt}} {
		if t.from != nil {
			*t.into = *t.from
		}
	}
	return a, err
}

func one(ctx context.Context, tx *pg.Tx, where string, args ...any) (a Agreement, found bool, err error) {
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM agreements WHERE tenant_id = $1 AND `+where, append([]any{tx.Tenant}, args...)...)
	if err != nil {
		return a, false, err
	}
	a, err = pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return Agreement{}, false, nil
	}
	return a, err == nil, err
}

// Find gives one of the tenant's agreements.
func Find(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Agreement, error) {
	a, found, err := one(ctx, tx, `agreement_id = $2`, id)
	if err == nil && !found {
		err = ErrNone
	}
	return a, err
}

func lock(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Agreement, bool, error) {
	return one(ctx, tx, `agreement_id = $2 FOR UPDATE`, id)
}

// lockNamed gives the row of an agreement that goes by these names, locked. Where each
// name has a row of its own they are one agreement, of which the tenant's name and the
// provider's number came in by different ways: the row that has no other name is given up.
func lockNamed(ctx context.Context, tx *pg.Tx, contract, ours, theirs string) (a Agreement, found bool, err error) {
	if ours == "" {
		return one(ctx, tx, `contract = $2 AND provider_id = $3 AND provider_id <> '' FOR UPDATE`, contract, theirs)
	}
	a, found, err = one(ctx, tx, `contract = $2 AND our_id = $3 FOR UPDATE`, contract, ours)
	if err != nil || theirs == "" || found && a.ProviderID == theirs {
		return a, found, err
	}
	b, other, err := one(ctx, tx, `contract = $2 AND provider_id = $3 FOR UPDATE`, contract, theirs)
	switch {
	case err != nil || !other:
		return a, found, err
	case !found && b.OurID == "":
		return b, true, nil
	case !found || b.OurID != "" || a.ProviderID != "": // the provider contradicts itself, and Hear says so
		return b, true, nil
	}
	if _, err := tx.Exec(ctx, `DELETE FROM agreements WHERE tenant_id = $1 AND agreement_id = $2`, tx.Tenant, b.ID); err != nil {
		return a, false, err
	}
	a.ProviderID = theirs
	if b.State == Ended && a.State != Ended {
		a.State, a.EndedAt, a.ChangedAt, a.Ending, a.NextAskAt = Ended, b.EndedAt, tx.Now, false, time.Time{}
	}
	return a, true, store(ctx, tx, &a)
}

// insert adds a row unless its names are taken, and reports whether it did.
func insert(ctx context.Context, tx *pg.Tx, a *Agreement) (bool, error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO agreements (tenant_id, agreement_id, contract, our_id, provider_id, rider_ref, account_id, linked, state, ending, valid_from, valid_to, single_max,
			single_currency, reason, error, asks, opened_at, changed_at, asked_at, next_ask_at, ended_at, invited_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23) ON CONFLICT DO NOTHING`,
		append([]any{tx.Tenant, a.ID, a.Contract, a.OurID, a.ProviderID, a.RiderRef, orNull(a.Account, a.Account.IsZero()), a.Linked}, append(append(a.values(), a.OpenedAt), a.times()...)...)...)
	return err == nil && tag.RowsAffected() == 1, err
}

func (a *Agreement) values() []any {
	return []any{string(a.State), a.Ending, orNull(a.ValidFrom, a.ValidFrom.IsZero()), orNull(a.ValidTo, a.ValidTo.IsZero()),
		orNull(a.SingleMax.Minor, a.SingleMax.Minor == 0), orNull(string(a.SingleMax.Currency), a.SingleMax.Minor == 0), a.Reason, a.Error, a.Asks}
}

func (a *Agreement) times() []any {
	return []any{a.ChangedAt, orNull(a.AskedAt, a.AskedAt.IsZero()), orNull(a.NextAskAt, a.NextAskAt.IsZero()), orNull(a.EndedAt, a.EndedAt.IsZero()), orNull(a.InvitedAt, a.InvitedAt.IsZero())}
}

func store(ctx context.Context, tx *pg.Tx, a *Agreement) error {
	_, err := tx.Exec(ctx, `
		UPDATE agreements SET our_id = $3, provider_id = $4, rider_ref = $5, account_id = $6, linked = $7, state = $8, ending = $9, valid_from = $10, valid_to = $11,
			single_max = $12, single_currency = $13, reason = $14, error = $15, asks = $16, changed_at = $17, asked_at = $18, next_ask_at = $19, ended_at = $20, invited_at = $21
		WHERE tenant_id = $1 AND agreement_id = $2`,
		append([]any{tx.Tenant, a.ID, a.OurID, a.ProviderID, a.RiderRef, orNull(a.Account, a.Account.IsZero()), a.Linked}, append(a.values(), a.times()...)...)...)
	return err
}

func orNull[T any](v T, none bool) any {
	if none {
		return nil
	}
	return v
}

// A Filter says which agreements a list has; "" and the zero account are any.
type Filter struct {
	Contract string
	State    State
	Account  citygate.UUID
}

// List gives agreements behind the one with the id after, by id: as they were opened.
func List(ctx context.Context, tx *pg.Tx, f Filter, after citygate.UUID, limit int) ([]Agreement, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+columns+` FROM agreements
		WHERE tenant_id = $1 AND agreement_id > $2 AND ($3 = '' OR contract = $3) AND ($4 = '' OR state = $4) AND ($5::uuid IS NULL OR account_id = $5)
		ORDER BY agreement_id LIMIT $6`, tx.Tenant, after, f.Contract, string(f.State), orNull(f.Account, f.Account.IsZero()), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// byNumbers gives the agreements of a contract that have these numbers.
func byNumbers(ctx context.Context, tx *pg.Tx, contract string, numbers []string) (map[string]*Agreement, error) {
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM agreements WHERE tenant_id = $1 AND contract = $2 AND provider_id = ANY ($3::text[]) AND provider_id <> ''`,
		tx.Tenant, contract, numbers)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, scan)
	of := make(map[string]*Agreement, len(found))
	for i := range found {
		of[found[i].ProviderID] = &found[i]
	}
	return of, err
}

// takeDue gives agreements that are to be asked after now, as being asked: who looks again
// in the next minute is given none of them.
func takeDue(ctx context.Context, tx *pg.Tx, limit int) ([]Agreement, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+columns+` FROM agreements WHERE tenant_id = $1 AND next_ask_at <= $2 ORDER BY next_ask_at LIMIT $3 FOR UPDATE SKIP LOCKED`, tx.Tenant, tx.Now, limit)
	if err != nil {
		return nil, err
	}
	due, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, err
	}
	for i := range due {
		a := &due[i]
		a.Asks++
		a.NextAskAt = tx.Now.Add(wait(a.Asks))
		if err := store(ctx, tx, a); err != nil {
			return nil, err
		}
	}
	return due, nil
}

// Looks finds what [Book.RunDue] asks.
var Looks = []pg.Look{{Kind: "agreement.ask", When: `EXISTS (SELECT FROM agreements WHERE tenant_id = $1 AND next_ask_at <= $2)`}}

func clip(text string, most int) string {
	runes := []rune(strings.ToValidUTF8(text, "?"))
	return string(runes[:min(len(runes), most)])
}
