package credential

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ReasonDeclined is the reason of entries of riders who owe: it is what locks their cards.
const ReasonDeclined = "declined"

// CardPrefix is that of cards' ids in the API.
const CardPrefix = "crd_"

// The refusals about cards.
var (
	ErrNoCard = &citygate.Code{Name: "credential.no_card", Kind: citygate.NotFound, Title: "There is no such card. List the tenant's."}
	ErrCard   = &citygate.Code{Name: "credential.card", Kind: citygate.Conflict,
		Title: "The card is another rider's or another account's. A card stays with the rider it was put to; use another number."}
)

// A CardShow is how a wallet shows a card.
type CardShow string

// The ways. A card that is given up may be enabled again.
const (
	CardEnabled CardShow = "enabled"
	CardOverdue CardShow = "overdue" // disabled, because its rider owes
	CardRevoked CardShow = "revoked" // disabled, because it is given up
	cardNothing CardShow = "nothing" // it was never told of
)

// cardTip is what riders are shown of a card that a debt locks.
const cardTip = "a ride is not paid"

// A Card is a card of the tenant's in a rider's wallet.
type Card struct {
	ID       citygate.UUID
	Contract string
	Ref      string // the tenant's number of it
	RiderRef string
	Account  citygate.UUID // whose debts lock it; zero = nobody's
	Locked   CardShow      // by people; "" = not
	Tip      string

	Told    CardShow // what the wallet confirmed last
	toldTip string

	// The change under way, as of a [Push].
	N         int
	Wanted    CardShow
	WantedTip string
	DecidedAt time.Time
	State     PushState
	Touched   bool
	Attempts  int
	unsure    bool
	NextTryAt time.Time
	ToldAt    time.Time // zero = never
	Error     string
	CreatedAt time.Time
}

const cardColumns = `card_id, contract, card_ref, rider_ref, account_id, locked, tip, told, told_tip, n, wanted, wanted_tip, decided_at, state, touched, attempts, unsure, next_try_at, told_at, error, created_at`

func scanCard(r pgx.CollectableRow) (c Card, err error) {
	var account *citygate.UUID
	var told *time.Time
	err = r.Scan(&c.ID, &c.Contract, &c.Ref, &c.RiderRef, &account, &c.Locked, &c.Tip, &c.Told, &c.toldTip, &c.N, &c.Wanted, &c.WantedTip, &c.DecidedAt, &c.State, &c.Touched,
		&c.Attempts, &c.unsure, &c.NextTryAt, &told, &c.Error, &c.CreatedAt)
	if account != nil {
		c.Account = *account
	}
	if told != nil {
		c.ToldAt = *told
	}
	return c, err
}

func oneCard(ctx context.Context, tx *pg.Tx, where string, args ...any) (Card, error) {
	rows, err := tx.Query(ctx, `SELECT `+cardColumns+` FROM wallet_cards WHERE tenant_id = $1 AND `+where, append([]any{tx.Tenant}, args...)...)
	if err != nil {
		return Card{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, scanCard)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoCard
	}
	return c, err
}

// FindCard gives one of the tenant's cards.
func FindCard(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Card, error) {
	return oneCard(ctx, tx, `card_id = $2`, id)
}

// A PutCard is a card that a rider's wallet shows.
type PutCard struct {
	Contract, Ref, RiderRef string
	Account                 citygate.UUID // zero = that of the rider under the contract, if there is one
}

// AddCard notes a card of the tenant's in a rider's wallet, which is then told of it. The
// same again changes nothing; another rider or account is [ErrCard].
func AddCard(ctx context.Context, tx *pg.Tx, actor string, p PutCard) (Card, error) {
	if !p.Account.IsZero() {
		if _, err := AccountByID(ctx, tx, p.Account); err != nil {
			return Card{}, err
		}
	}
	id := newIDs(tx, 1)[0]
	var account *citygate.UUID
	if !p.Account.IsZero() {
		account = &p.Account
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO wallet_cards (tenant_id, card_id, contract, card_ref, rider_ref, account_id, locked, tip, told, told_tip, touched, n, wanted, wanted_tip, decided_at, state,
			attempts, next_try_at, error, created_at)
		VALUES ($1, $2, $3, $4, $5, coalesce($6, (SELECT account_id FROM accounts WHERE tenant_id = $1 AND contract = $3 AND rider_ref = $5)), '', '', 'nothing', '', true, 0,
			'enabled', '', $7, 'told', 0, $7, '', $7)
		ON CONFLICT (tenant_id, contract, card_ref) DO NOTHING`, tx.Tenant, id, p.Contract, p.Ref, p.RiderRef, account, tx.Now)
	if err != nil {
		return Card{}, err
	}
	c, err := oneCard(ctx, tx, `contract = $2 AND card_ref = $3 FOR UPDATE`, p.Contract, p.Ref)
	switch {
	case err != nil:
		return c, err
	case c.RiderRef != p.RiderRef || !p.Account.IsZero() && c.Account != p.Account:
		return c, ErrCard.Explain("card %s", p.Ref)
	case tag.RowsAffected() == 0:
		return c, nil
	}
	return c, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "wallet_card.add", Object: "card:" + c.ID.Text(CardPrefix), After: map[string]any{"contract": c.Contract, "card": c.Ref}})
}

// SetCard locks a card, or with locked "" lets it be as its rider's debts have it. tip is
// shown to the rider. again has the wallet told although it was told the same.
func SetCard(ctx context.Context, tx *pg.Tx, actor string, id citygate.UUID, locked CardShow, tip string, again bool) (Card, error) {
	c, err := oneCard(ctx, tx, `card_id = $2 FOR UPDATE`, id)
	if err != nil || c.Locked == locked && c.Tip == tip && !again {
		return c, err
	}
	if c.RiderRef == "" {
		return c, ErrCard.Explain("card %s was given up, and whose it was is erased", c.Ref)
	}
	before := c.Locked
	c.Locked, c.Tip, c.Touched = locked, tip, true
	if again && c.State == PushTold {
		c.Told = cardNothing
	}
	if c.State != PushUnknown { // what may have been done is asked for again in its time
		c.NextTryAt = tx.Now
	}
	if err := storeCard(ctx, tx, &c); err != nil {
		return c, err
	}
	return c, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "wallet_card.set", Object: "card:" + c.ID.Text(CardPrefix),
		Before: map[string]any{"locked": before}, After: map[string]any{"locked": locked}})
}

func storeCard(ctx context.Context, tx *pg.Tx, c *Card) error {
	_, err := tx.Exec(ctx, `
		UPDATE wallet_cards SET locked = $3, tip = $4, told = $5, touched = $6, n = $7, wanted = $8, wanted_tip = $9, decided_at = $10, state = $11, attempts = $12,
			next_try_at = $13, unsure = $14, error = CASE WHEN $11 = 'told' THEN '' ELSE error END
		WHERE tenant_id = $1 AND card_id = $2`,
		tx.Tenant, c.ID, string(c.Locked), c.Tip, string(c.Told), c.Touched, c.N, string(c.Wanted), c.WantedTip, c.DecidedAt, string(c.State), c.Attempts, c.NextTryAt, c.unsure)
	return err
}

// next makes up what the wallet is to be told now, and reports whether anything is, as
// [Push.next] does: a change whose outcome is open keeps number, time and content.
func (c *Card) next(owes bool, now time.Time) (send bool) {
	if c.State == PushUnknown {
		c.unsure = true
		c.Attempts++
		c.NextTryAt = now.Add(pushWait(c.Attempts))
		return true
	}
	c.Touched = false
	show, tip := CardEnabled, ""
	switch {
	case c.Locked != "":
		show, tip = c.Locked, c.Tip
	case owes:
		show, tip = CardOverdue, cardTip
	}
	if show == c.Told && tip == c.toldTip && !c.unsure {
		c.State, c.Attempts, c.NextTryAt = PushTold, 0, now
		return false
	}
	if c.State == PushTold || c.Wanted != show || c.WantedTip != tip {
		// The wallet keeps the newest state, and products count in seconds.
		at := now.UTC().Truncate(time.Second)
		if least := c.DecidedAt.UTC().Truncate(time.Second).Add(time.Second); c.N > 0 && at.Before(least) {
			at = least
		}
		c.N, c.Attempts, c.DecidedAt = c.N+1, 0, at
	}
	c.Wanted, c.WantedTip, c.State = show, tip, PushUnknown // as it is from the first byte on
	c.Attempts++
	c.NextTryAt = now.Add(pushWait(c.Attempts))
	return true
}

// claimCards puts cards that were noted before their riders had an account to the accounts
// that are opened now.
const claimCards = `
	UPDATE wallet_cards w SET account_id = a.account_id FROM accounts a
	WHERE a.tenant_id = $1 AND a.account_id = ANY ($2::uuid[]) AND w.tenant_id = $1 AND w.account_id IS NULL AND w.rider_ref <> '' AND w.contract = a.contract AND w.rider_ref = a.rider_ref`

// touchCards notes in the transaction of a change of accounts' entries that their cards
// may be shown otherwise.
func touchCards(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID) error {
	_, err := tx.Exec(ctx, `
		UPDATE wallet_cards SET touched = true, next_try_at = CASE state WHEN 'unknown' THEN next_try_at ELSE $3 END
		WHERE tenant_id = $1 AND account_id = ANY ($2::uuid[])`, tx.Tenant, accounts, tx.Now)
	return err
}

// CardsDue reports whether wallets of a contract are to be told anything now.
func CardsDue(ctx context.Context, tx *pg.Tx, contract string) (due bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM wallet_cards WHERE tenant_id = $1 AND contract = $2 AND next_try_at <= $3 AND (touched OR state <> 'told'))`,
		tx.Tenant, contract, tx.Now).Scan(&due)
	return due, err
}

// DueCards gives what wallets of a contract are to be told now, at most limit, as being
// sent: who asks again in the next minute is given none of it. debts says whether what
// riders owe locks their cards. only names one card; zero = all.
func DueCards(ctx context.Context, tx *pg.Tx, contract string, debts bool, only citygate.UUID, limit int) (send []Card, err error) {
	rows, err := tx.Query(ctx, `
		SELECT `+cardColumns+` FROM wallet_cards
		WHERE tenant_id = $1 AND contract = $2 AND next_try_at <= $3 AND (touched OR state <> 'told') AND ($4::uuid = '00000000-0000-0000-0000-000000000000' OR card_id = $4)
		ORDER BY card_id LIMIT $5 FOR UPDATE`, tx.Tenant, contract, tx.Now, only, limit)
	if err != nil {
		return nil, err
	}
	due, err := pgx.CollectRows(rows, scanCard)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	owing, err := owing(ctx, tx, due)
	if err != nil {
		return nil, err
	}
	for i := range due {
		c := &due[i]
		if c.next(debts && owing[c.Account], tx.Now) {
			send = append(send, *c)
		}
		if err := storeCard(ctx, tx, c); err != nil {
			return nil, err
		}
	}
	return send, nil
}

// owing gives the accounts of cards that are denied for what they owe. It reads after the
// cards are locked: what was committed while they were waited for is seen.
func owing(ctx context.Context, tx *pg.Tx, cards []Card) (map[citygate.UUID]bool, error) {
	ids := make([]citygate.UUID, len(cards))
	for i := range cards {
		ids[i] = cards[i].Account
	}
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT account_id FROM deny_entries WHERE tenant_id = $1 AND account_id = ANY ($2::uuid[]) AND lifted_at IS NULL AND reason = $3`, tx.Tenant, ids, ReasonDeclined)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[citygate.UUID])
	of := make(map[citygate.UUID]bool, len(found))
	for _, id := range found {
		of[id] = true
	}
	return of, err
}

// CardTold notes that a wallet took a change. What was sent twice is told once.
func CardTold(ctx context.Context, tx *pg.Tx, c *Card) error {
	_, err := tx.Exec(ctx, `
		UPDATE wallet_cards SET told = wanted, told_tip = wanted_tip, told_at = $4, state = 'told', attempts = 0, unsure = false, error = '', next_try_at = $4
		WHERE tenant_id = $1 AND card_id = $2 AND n = $3 AND state <> 'told'`, tx.Tenant, c.ID, c.N, tx.Now)
	return err
}

// CardNotTold notes why a change was not taken, or that nobody knows whether it was.
func CardNotTold(ctx context.Context, tx *pg.Tx, c *Card, certain bool, why string) error {
	state := PushUnknown
	if certain {
		state = PushRefused
	}
	_, err := tx.Exec(ctx, `UPDATE wallet_cards SET state = $4, error = $5 WHERE tenant_id = $1 AND card_id = $2 AND n = $3 AND state = 'unknown' AND attempts = $6`,
		tx.Tenant, c.ID, c.N, string(state), why, c.Attempts)
	return err
}

// A CardFilter says which cards a list has; "" and the zero account are any.
type CardFilter struct {
	Contract string
	State    PushState
	Account  citygate.UUID
}

// Cards gives cards behind the one with the id after, by id: as they were added.
func Cards(ctx context.Context, tx *pg.Tx, f CardFilter, after citygate.UUID, limit int) ([]Card, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+cardColumns+` FROM wallet_cards
		WHERE tenant_id = $1 AND card_id > $2 AND ($3 = '' OR contract = $3) AND ($4 = '' OR state = $4)
		AND ($5::uuid = '00000000-0000-0000-0000-000000000000' OR account_id = $5)
		ORDER BY card_id LIMIT $6`, tx.Tenant, after, f.Contract, string(f.State), f.Account, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanCard)
}
