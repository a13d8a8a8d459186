package collect

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// limits bound what is gathered into one charge: the tenant's rules, and in their
// place what the risk terms say of the payer's contract.
type limits struct {
	rules Rules
	terms *risk.Terms
}

type contractLimits struct {
	Rules
	within time.Duration // of the first fare; 0 = by the business date alone
}

func (l limits) of(contract string) contractLimits {
	found := contractLimits{Rules: l.rules}
	if c := l.terms.Contract(contract); c != nil {
		found.AmountLimit, found.CountLimit, found.within = c.Window.Amount, c.Window.Taps, time.Duration(c.Window.Hours)*time.Hour
	}
	return found
}

// declineRules say what follows from declines of one transaction.
type declineRules struct {
	rules Rules
	terms *risk.Terms
	zone  *time.Location
}

// declines reads what declined charges are judged by. With nothing declined it
// reads nothing.
func (c *Collector) declines(ctx context.Context, tx *pg.Tx, rules Rules, declined []*charge) (*declineRules, error) {
	by := &declineRules{rules: rules, zone: time.UTC}
	if len(declined) == 0 {
		return by, nil
	}
	var err error
	if by.terms, err = c.terms.At(ctx, tx, tx.Now); err != nil {
		return nil, err
	}
	if len(by.terms.Contracts) == 0 {
		return by, nil
	}
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return nil, err
	}
	by.zone = settings.Calendar.Location
	return by, nil
}

// next gives when a declined charge is tried again; nil for never by schedule.
func (by *declineRules) next(ctx context.Context, tx *pg.Tx, ch *charge) (*time.Time, error) {
	if ch.Kind == kindRecovery {
		if reversal, err := ofReversal(ctx, tx, ch.Aggregation); err != nil || reversal {
			return nil, err
		}
	}
	terms := by.terms.Contract(ch.Contract)
	if terms == nil {
		return by.untermed(ctx, tx, ch)
	}
	rows, err := tx.Query(ctx, `
		SELECT coalesce(sent_at, created_at) FROM charges
		WHERE tenant_id = $1 AND aggregation_id = $2 AND kind <> 'first_ride' AND state NOT IN ('created', 'moved') ORDER BY 1`, tx.Tenant, ch.Aggregation)
	if err != nil {
		return nil, err
	}
	sent, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	if err != nil {
		return nil, err
	}
	d := terms.Opened(ch.Amount, risk.Past{}, false, tx.Now)
	if len(sent) > 0 {
		d.Since, d.Tries = sent[0], sent[1:]
	}
	at, ok := terms.Next(&d, by.zone)
	if !ok {
		return nil, nil
	}
	return &at, nil
}

// untermed gives the next try of a contract that no risk terms name.
func (by *declineRules) untermed(ctx context.Context, tx *pg.Tx, ch *charge) (*time.Time, error) {
	tries := 0
	if ch.recovers() {
		if err := tx.QueryRow(ctx, `SELECT tries + $3 FROM debts WHERE tenant_id = $1 AND aggregation_id = $2`, tx.Tenant, ch.Aggregation, ch.counts()).Scan(&tries); err != nil {
			return nil, err
		}
	}
	if tries >= by.rules.MaxTries {
		return nil, nil
	}
	at := tx.Now.Add(by.rules.RetryEvery)
	return &at, nil
}
