package collect

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// NotifyToken gives the part of a contract's notification address that nobody can
// guess. The first one that is offered for a contract is its for ever: requests
// that name it are with the provider. A contract that is not there has none.
func NotifyToken(ctx context.Context, tx *pg.Tx, contract, offered string) (token string, err error) {
	if _, err := tx.Exec(ctx, `
		INSERT INTO notify_addresses (tenant_id, contract, token, created_at)
		SELECT tenant_id, contract, $3, $4 FROM provider_contracts WHERE tenant_id = $1 AND contract = $2
		ON CONFLICT (tenant_id, contract) DO NOTHING`, tx.Tenant, contract, offered, tx.Now); err != nil {
		return "", err
	}
	err = tx.QueryRow(ctx, `SELECT token FROM notify_addresses WHERE tenant_id = $1 AND contract = $2`, tx.Tenant, contract).Scan(&token)
	if pg.IsNoRows(err) {
		return "", nil
	}
	return token, err
}

// NotifyTokens gives the tokens of all contracts that have one.
func NotifyTokens(ctx context.Context, tx *pg.Tx) (map[string]string, error) {
	rows, err := tx.Query(ctx, `SELECT contract, token FROM notify_addresses WHERE tenant_id = $1`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	var contract, token string
	_, err = pgx.ForEachRow(rows, []any{&contract, &token}, func() error { found[contract] = token; return nil })
	return found, err
}

// NotifiedContract gives the contract whose address has the token; found is false
// where there is none.
func NotifiedContract(ctx context.Context, tx *pg.Tx, token string) (c Contract, found bool, err error) {
	var config string
	err = tx.QueryRow(ctx, `
		SELECT c.contract, c.adapter, c.config::text, c.fee_ppm, c.state
		FROM notify_addresses a JOIN provider_contracts c ON c.tenant_id = $1 AND c.contract = a.contract
		WHERE a.tenant_id = $1 AND a.token = $2`, tx.Tenant, token).Scan(&c.Name, &c.Adapter, &config, &c.FeePPM, &c.State)
	if pg.IsNoRows(err) {
		return Contract{}, false, nil
	}
	c.Config = []byte(config)
	return c, err == nil, err
}

// repeated counts a notice that is stored already and gives its verdict, "" for
// one that is not.
func repeated(ctx context.Context, tx *pg.Tx, contract, id string, digest [sha256.Size]byte) (v Verdict, err error) {
	err = tx.QueryRow(ctx, `
		UPDATE provider_notices SET repeats = repeats + 1, last_at = $5
		WHERE tenant_id = $1 AND contract = $2 AND provider_id = $3 AND digest = $4 RETURNING verdict`,
		tx.Tenant, contract, id, digest[:], tx.Now).Scan(&v)
	if pg.IsNoRows(err) {
		return "", nil
	}
	return v, err
}

// overtaken reports whether a later notice of the same rider is stored.
func overtaken(ctx context.Context, tx *pg.Tx, contract, rider string, at time.Time) (later bool, err error) {
	if rider == "" || at.IsZero() {
		return false, nil
	}
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM provider_notices WHERE tenant_id = $1 AND contract = $2 AND rider_ref = $3 AND rider_ref <> '' AND said_at > $4)`,
		tx.Tenant, contract, rider, at).Scan(&later)
	return later, err
}

// ToldSince reports whether the provider told something of a rider since an instant.
func ToldSince(ctx context.Context, tx *pg.Tx, contract, rider string, since time.Time) (told bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM provider_notices WHERE tenant_id = $1 AND contract = $2 AND rider_ref = $3 AND rider_ref <> '' AND received_at > $4)`,
		tx.Tenant, contract, rider, since).Scan(&told)
	return told, err
}

// insertNotice stores a notice, and reports whether it was not there yet.
func insertNotice(ctx context.Context, tx *pg.Tx, contract string, n driver.Notice, digest [sha256.Size]byte, r ruling) (id citygate.UUID, fresh bool, err error) {
	id = tx.NewID()
	state, reason := "done", n.Result.ReasonCode+n.Agreement.ReasonCode+n.Rider.ReasonCode+n.Taken.ReasonCode
	if r.verdict.open() {
		state = "open"
	}
	var amount *int64
	var currency *citygate.Currency
	for _, m := range []citygate.Money{n.Result.Amount, n.Taken.Amount} {
		if m.Currency.Valid() {
			amount, currency = &m.Minor, &m.Currency
		}
	}
	var said *time.Time
	if at := saidAt(n); !at.IsZero() {
		said = &at
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO provider_notices (tenant_id, notice_id, contract, provider_id, digest, kind, our_id, charge_our_id, rider_ref, outcome, amount, currency,
		                              provider_ref, reason, said_at, verdict, detail, state, note, repeats, received_at, last_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, '', 0, $19, $19)
		ON CONFLICT (tenant_id, contract, provider_id, digest) DO NOTHING`,
		tx.Tenant, id, contract, n.ID, digest[:], string(n.Kind), n.Result.OurID, n.ChargeID, riderOf(n), stateOf(n), amount, currency,
		n.Result.ProviderRef+n.Taken.Reference, reason, said, string(r.verdict), r.detail, state, tx.Now)
	return id, err == nil && tag.RowsAffected() == 1, err
}

// chargeOf gives our id of the charge that a refund is of.
func chargeOf(ctx context.Context, tx *pg.Tx, refund citygate.UUID) (ourID string, err error) {
	err = tx.QueryRow(ctx, `
		SELECT c.our_id FROM refunds r JOIN charges c ON c.tenant_id = $1 AND c.charge_id = r.charge_id WHERE r.tenant_id = $1 AND r.refund_id = $2`,
		tx.Tenant, refund).Scan(&ourID)
	return ourID, err
}

// endRecovery has the debt of an aggregation not tried again by itself.
func endRecovery(ctx context.Context, tx *pg.Tx, aggregation citygate.UUID) error {
	_, err := tx.Exec(ctx, `UPDATE debts SET retry_at = NULL, retry_shown = NULL WHERE tenant_id = $1 AND aggregation_id = $2 AND state = 'open'`, tx.Tenant, aggregation)
	return err
}

// A NoticeView is a notice as people look at it.
type NoticeView struct {
	ID          citygate.UUID
	Contract    string
	ProviderID  string
	Kind        string
	OurID       string
	ChargeOurID string
	RiderRef    string
	Outcome     string
	Amount      citygate.Money // no currency: none was said
	ProviderRef string
	Reason      string
	Verdict     string
	Detail      string
	State       string // done, open, resolved
	Note        string
	Repeats     int
	ReceivedAt  time.Time
	LastAt      time.Time
	ResolvedAt  time.Time // zero while it is not
}

// Notices lists notices in one state, or in any for "", by id, which grows with
// the time they came, after one of them, at most limit.
func Notices(ctx context.Context, tx *pg.Tx, state string, after citygate.UUID, limit int) ([]NoticeView, error) {
	where, err := inState("state", state, "done", "open", "resolved")
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `
		SELECT notice_id, contract, provider_id, kind, our_id, charge_our_id, rider_ref, outcome, coalesce(amount, 0), coalesce(currency, ''),
		       provider_ref, reason, verdict, detail, state, note, repeats, received_at, last_at, resolved_at
		FROM provider_notices WHERE tenant_id = $1 AND notice_id > $2`+where+` ORDER BY notice_id LIMIT $3`, tx.Tenant, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (n NoticeView, err error) {
		var resolved *time.Time
		err = row.Scan(&n.ID, &n.Contract, &n.ProviderID, &n.Kind, &n.OurID, &n.ChargeOurID, &n.RiderRef, &n.Outcome, &n.Amount.Minor, &n.Amount.Currency,
			&n.ProviderRef, &n.Reason, &n.Verdict, &n.Detail, &n.State, &n.Note, &n.Repeats, &n.ReceivedAt, &n.LastAt, &resolved)
		n.ReceivedAt, n.LastAt = n.ReceivedAt.UTC(), n.LastAt.UTC()
		if resolved != nil {
			n.ResolvedAt = resolved.UTC()
		}
		return n, err
	})
}

// ResolveNotice ends an open notice by a person's word. It books nothing: what the
// provider's bill says does.
func ResolveNotice(ctx context.Context, tx *pg.Tx, actor string, id citygate.UUID, note string) error {
	tag, err := tx.Exec(ctx, `
		UPDATE provider_notices SET state = 'resolved', note = $3, resolved_at = $4 WHERE tenant_id = $1 AND notice_id = $2 AND state = 'open'`,
		tx.Tenant, id, note, tx.Now)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrNotice.Explain("notice %s", id.Text("ntc_"))
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "notice.resolve", Object: "notice:" + id.Text("ntc_"), After: map[string]string{"note": note}})
}
