package credential

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ProviderList is the reason of entries that come of a provider's own list: it is not
// told what it said.
const ProviderList = "provider_list"

const (
	// A denial of an account is for its provider too. The account's row is locked until
	// the entry is committed, so no look at it misses one.
	touchPushes = `
		INSERT INTO deny_pushes AS p (tenant_id, account_id, contract, rider_ref, touched, told, n, denied, reason, decided_at, state, attempts, next_try_at, error)
		SELECT $1, a.account_id, a.contract, a.rider_ref, true, false, 0, false, '', $2, 'told', 0, $2, ''
		FROM accounts a WHERE a.tenant_id = $1 AND a.account_id = ANY ($3::uuid[]) ORDER BY a.account_id
		ON CONFLICT (tenant_id, account_id) DO UPDATE SET touched = true`

	lockPushes = `
		SELECT p.account_id, p.rider_ref, p.touched, p.told, p.n, p.denied, p.reason, p.decided_at, p.state, p.attempts, p.unsure
		FROM deny_pushes p
		WHERE p.tenant_id = $1 AND p.contract = $2 AND p.next_try_at <= $3 AND (p.touched OR p.state <> 'told')
		ORDER BY p.account_id LIMIT $4 FOR UPDATE`

	// Read after the rows are locked: what was committed while they were waited for is seen.
	selectDenied = `
		SELECT d.account_id, min(d.reason) FROM deny_entries d
		WHERE d.tenant_id = $1 AND d.account_id = ANY ($2::uuid[]) AND d.lifted_at IS NULL AND d.reason <> $3 GROUP BY d.account_id`

	updatePushes = `
		UPDATE deny_pushes p SET touched = u.touched, n = u.n, denied = u.denied, reason = u.reason, decided_at = u.decided_at, state = u.state,
			attempts = u.attempts, unsure = u.unsure, next_try_at = u.next_try_at, error = CASE WHEN u.state = 'told' THEN '' ELSE p.error END
		FROM unnest($2::uuid[], $3::boolean[], $4::int[], $5::boolean[], $6::text[], $7::timestamptz[], $8::text[], $9::int[], $10::timestamptz[], $11::boolean[])
			AS u (account_id, touched, n, denied, reason, decided_at, state, attempts, next_try_at, unsure)
		WHERE p.tenant_id = $1 AND p.account_id = u.account_id`

	recordTold = `
		UPDATE deny_pushes SET told = denied, told_at = $4, state = 'told', attempts = 0, unsure = false, error = '', next_try_at = $4
		WHERE tenant_id = $1 AND account_id = $2 AND n = $3 AND state <> 'told'`
	recordFailed = `
		UPDATE deny_pushes SET state = $4, error = $5 WHERE tenant_id = $1 AND account_id = $2 AND n = $3 AND state = 'unknown' AND attempts = $6`
	selectPushViews = `
		SELECT account_id, contract, rider_ref, touched, told, n, denied, reason, decided_at, state, attempts, next_try_at, told_at, error
		FROM deny_pushes WHERE tenant_id = $1 AND account_id > $2 AND ($3 = '' OR contract = $3) AND ($4 = '' OR state = $4) ORDER BY account_id LIMIT $5`
)

// A PushState is how far telling a provider of a denial has come.
type PushState string

// The states.
const (
	PushTold    PushState = "told"    // the provider took it
	PushWaiting PushState = "waiting" // it is not sent yet
	PushUnknown PushState = "unknown" // it was sent, and nobody can say
	PushRefused PushState = "refused" // it was certainly not taken
)

// pushAgain is how soon a change is sent again whose outcome is not known; twice as
// long each time, up to pushMost.
const (
	pushAgain = time.Minute
	pushMost  = 6 * time.Hour
)

// A Push is a change of a payer's standing that his provider is told.
type Push struct {
	Account   citygate.UUID
	Contract  string
	RiderRef  string
	N         int // of the account's changes
	Denied    bool
	Reason    string // of the denial, or of the last one that was lifted
	DecidedAt time.Time
	Attempts  int
	unsure    bool // an attempt since the last confirmed change had no answer

	State     PushState
	Touched   bool // another change follows
	Told      bool // what the provider took last
	NextTryAt time.Time
	ToldAt    time.Time // zero = never
	Error     string
}

// OurID names the change to the provider, for ever: 32 characters.
func (p *Push) OurID(tenant citygate.TenantID) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d deny %x %d", tenant, p.Account[:], p.N)
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:20])
}

// next makes up what is to be sent now, and reports whether anything is. denied is the
// reason of an open entry, "" if the account has none. A change whose outcome is open
// keeps number and content: what followed is told after it, so that a rider's changes
// reach the provider in their order. One that was certainly not taken is made up anew, and
// is sent also where the provider confirmed the same last: an attempt before it, whose
// answer was lost, may have said otherwise.
func (p *Push) next(denied string, now time.Time) (send bool) {
	if p.State == PushUnknown {
		p.unsure = true
		p.Attempts++
		p.NextTryAt = now.Add(pushWait(p.Attempts))
		return true
	}
	p.Touched = false
	if (denied != "") == p.Told && !p.unsure {
		p.State, p.Attempts, p.NextTryAt = PushTold, 0, now
		return false
	}
	if p.State == PushTold || p.Denied != (denied != "") {
		p.N, p.Attempts, p.DecidedAt = p.N+1, 0, now
	}
	if p.Denied = denied != ""; p.Denied {
		p.Reason = denied
	}
	p.State = PushUnknown // as it is from the first byte on
	p.Attempts++
	p.NextTryAt = now.Add(pushWait(p.Attempts))
	return true
}

func pushWait(attempts int) time.Duration {
	return min(pushAgain<<min(max(attempts-1, 0), 10), pushMost)
}

// touch notes in the transaction of a change of accounts' entries that providers are to
// hear of it.
func touch(ctx context.Context, tx *pg.Tx, reason string, accounts []citygate.UUID) error {
	if reason == ProviderList || len(accounts) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, touchPushes, tx.Tenant, tx.Now, accounts); err != nil {
		return err
	}
	return touchCards(ctx, tx, accounts)
}

// DuePushes gives what the provider of a contract is to be told now, at most limit,
// as being sent: who asks again in the next minute is given none of it. The row is
// there before the first byte leaves.
func DuePushes(ctx context.Context, tx *pg.Tx, contract string, limit int) ([]Push, error) {
	rows, err := tx.Query(ctx, lockPushes, tx.Tenant, contract, tx.Now, limit)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (p Push, err error) {
		p.Contract = contract
		err = r.Scan(&p.Account, &p.RiderRef, &p.Touched, &p.Told, &p.N, &p.Denied, &p.Reason, &p.DecidedAt, &p.State, &p.Attempts, &p.unsure)
		return p, err
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	reasonOf, err := deniedFor(ctx, tx, found)
	if err != nil {
		return nil, err
	}
	return madeUp(ctx, tx, found, reasonOf)
}

// deniedFor gives the reason of an open entry of each account that has one.
func deniedFor(ctx context.Context, tx *pg.Tx, pushes []Push) (map[citygate.UUID]string, error) {
	ids := make([]citygate.UUID, len(pushes))
	for i := range pushes {
		ids[i] = pushes[i].Account
	}
	rows, err := tx.Query(ctx, selectDenied, tx.Tenant, ids, ProviderList)
	if err != nil {
		return nil, err
	}
	reasonOf := map[citygate.UUID]string{}
	var id citygate.UUID
	var reason string
	_, err = pgx.ForEachRow(rows, []any{&id, &reason}, func() error {
		reasonOf[id] = reason
		return nil
	})
	return reasonOf, err
}

// madeUp stores what is sent now and gives it.
func madeUp(ctx context.Context, tx *pg.Tx, found []Push, reasonOf map[citygate.UUID]string) (send []Push, err error) {
	n := len(found)
	ids, touched, numbers, denied, reasons := make([]citygate.UUID, n), make([]bool, n), make([]int32, n), make([]bool, n), make([]string, n)
	decided, states, attempts, tries, unsure := make([]time.Time, n), make([]string, n), make([]int32, n), make([]time.Time, n), make([]bool, n)
	for i := range found {
		p := &found[i]
		if p.next(reasonOf[p.Account], tx.Now) {
			send = append(send, *p)
		}
		ids[i], touched[i], numbers[i], denied[i], reasons[i] = p.Account, p.Touched, int32(p.N), p.Denied, p.Reason
		decided[i], states[i], attempts[i], tries[i], unsure[i] = p.DecidedAt, string(p.State), int32(p.Attempts), p.NextTryAt, p.unsure
	}
	_, err = tx.Exec(ctx, updatePushes, tx.Tenant, ids, touched, numbers, denied, reasons, decided, states, attempts, tries, unsure)
	return send, err
}

// PushesDue reports whether the provider of a contract is to be told anything now.
func PushesDue(ctx context.Context, tx *pg.Tx, contract string) (due bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM deny_pushes WHERE tenant_id = $1 AND contract = $2 AND next_try_at <= $3 AND (touched OR state <> 'told'))`,
		tx.Tenant, contract, tx.Now).Scan(&due)
	return due, err
}

// Told notes that a provider took a change. What was sent twice is told once.
func Told(ctx context.Context, tx *pg.Tx, p *Push) error {
	_, err := tx.Exec(ctx, recordTold, tx.Tenant, p.Account, int32(p.N), tx.Now)
	return err
}

// NotTold notes why a change was not taken, or that nobody knows whether it was.
// certain says that the provider certainly did nothing.
func NotTold(ctx context.Context, tx *pg.Tx, p *Push, certain bool, why string) error {
	state := PushUnknown
	if certain {
		state = PushRefused
	}
	_, err := tx.Exec(ctx, recordFailed, tx.Tenant, p.Account, int32(p.N), string(state), why, int32(p.Attempts))
	return err
}

// Pushes gives what providers were told, and what is under way, by account.
func Pushes(ctx context.Context, tx *pg.Tx, contract string, state PushState, after citygate.UUID, limit int) ([]Push, error) {
	rows, err := tx.Query(ctx, selectPushViews, tx.Tenant, after, contract, string(state), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (p Push, err error) {
		var told *time.Time
		err = r.Scan(&p.Account, &p.Contract, &p.RiderRef, &p.Touched, &p.Told, &p.N, &p.Denied, &p.Reason, &p.DecidedAt, &p.State, &p.Attempts, &p.NextTryAt, &told, &p.Error)
		if told != nil {
			p.ToldAt = *told
		}
		return p, err
	})
}
