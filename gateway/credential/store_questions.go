package credential

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	questionFirst = time.Minute    // a question without an answer is asked again; twice as long each time ...
	questionDaily = 24 * time.Hour // ... up to this, which is how often it is asked after who is denied
	questionsMost = 10             // of an account that was opened; then nobody is asked unless there is a reason

	askOpened = `
		INSERT INTO rider_questions (tenant_id, account_id, contract, denied, asks, next_ask_at)
		SELECT $1, a.account_id, a.contract, false, 0, $2
		FROM accounts a JOIN provider_contracts c ON c.tenant_id = $1 AND c.contract = a.contract AND c.config ->> 'check_riders' = 'true'
		WHERE a.tenant_id = $1 AND a.account_id = ANY ($3::uuid[]) ORDER BY a.account_id ON CONFLICT DO NOTHING`
	askDenied = `
		INSERT INTO rider_questions AS q (tenant_id, account_id, contract, denied, asks, next_ask_at)
		SELECT $1, a.account_id, a.contract, true, 0, $2 FROM accounts a WHERE a.tenant_id = $1 AND a.contract = $3 AND a.rider_ref = $4 AND a.state = 'active'
		ON CONFLICT (tenant_id, account_id) DO UPDATE SET denied = true, asks = 0, next_ask_at = excluded.next_ask_at`
	askNoMore = `
		DELETE FROM rider_questions q USING accounts a WHERE q.tenant_id = $1 AND a.tenant_id = $1 AND a.account_id = q.account_id AND a.contract = $2 AND a.rider_ref = $3`
	// Who was let go of by people, or closed his account, is asked after no more.
	dropQuestions = `
		DELETE FROM rider_questions q USING accounts a
		WHERE q.tenant_id = $1 AND q.contract = $2 AND q.next_ask_at <= $3 AND a.tenant_id = $1 AND a.account_id = q.account_id AND (a.state <> 'active'
			OR NOT q.denied AND q.asks >= $5
			OR q.denied AND NOT EXISTS (SELECT FROM deny_entries d WHERE d.tenant_id = $1 AND d.account_id = q.account_id AND d.reason = $4 AND d.lifted_at IS NULL))`
	lockQuestions = `
		SELECT q.account_id, a.rider_ref, q.asks FROM rider_questions q JOIN accounts a ON a.tenant_id = $1 AND a.account_id = q.account_id
		WHERE q.tenant_id = $1 AND q.contract = $2 AND q.next_ask_at <= $3 ORDER BY q.next_ask_at, q.account_id LIMIT $4 FOR UPDATE OF q SKIP LOCKED`
	takeQuestions = `
		UPDATE rider_questions q SET asks = q.asks + 1, next_ask_at = u.at FROM unnest($2::uuid[], $3::timestamptz[]) AS u (account_id, at)
		WHERE q.tenant_id = $1 AND q.account_id = u.account_id`
)

// AskAgain has a contract's provider asked daily how a rider stands who is denied for what
// it said of him.
func AskAgain(ctx context.Context, tx *pg.Tx, contract, riderRef string) error {
	_, err := tx.Exec(ctx, askDenied, tx.Tenant, tx.Now.Add(questionDaily), contract, riderRef)
	return err
}

// AskNoMore ends the questions after a rider.
func AskNoMore(ctx context.Context, tx *pg.Tx, contract, riderRef string) error {
	_, err := tx.Exec(ctx, askNoMore, tx.Tenant, contract, riderRef)
	return err
}

// QuestionsDue reports whether a contract's provider is to be asked after a rider now.
func QuestionsDue(ctx context.Context, tx *pg.Tx, contract string) (due bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM rider_questions WHERE tenant_id = $1 AND contract = $2 AND next_ask_at <= $3)`, tx.Tenant, contract, tx.Now).Scan(&due)
	return due, err
}

// DueQuestions gives riders of a contract of whom its provider is to be asked now, at most
// limit, as being asked: who looks again in the next minute is given none of them. reason is
// that of entries which are made of its answers.
func DueQuestions(ctx context.Context, tx *pg.Tx, contract, reason string, limit int) (riders []string, err error) {
	if _, err := tx.Exec(ctx, dropQuestions, tx.Tenant, contract, tx.Now, reason, questionsMost); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, lockQuestions, tx.Tenant, contract, tx.Now, limit)
	if err != nil {
		return nil, err
	}
	var accounts []citygate.UUID
	var again []time.Time
	var account citygate.UUID
	var rider string
	var asks int
	if _, err := pgx.ForEachRow(rows, []any{&account, &rider, &asks}, func() error {
		accounts, again, riders = append(accounts, account), append(again, tx.Now.Add(questionWait(asks))), append(riders, rider)
		return nil
	}); err != nil || len(riders) == 0 {
		return nil, err
	}
	_, err = tx.Exec(ctx, takeQuestions, tx.Tenant, accounts, again)
	return riders, err
}

func questionWait(asks int) time.Duration { return min(questionFirst<<min(asks, 12), questionDaily) }
