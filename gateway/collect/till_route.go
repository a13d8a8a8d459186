package collect

import (
	"context"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A TillRoute is which contract takes a payment at a till by the tenant's rule set, and why.
type TillRoute struct {
	Contract string // "" = no rule matched, or none whose contracts may
	Version  uint64 // of the rule set; 0 = none holds
	Rule     string
	Finding  string // why a rule that matched was not followed to the letter
	Up       bool   // its provider is taken to answer
}

// RouteTill chooses among contracts that take a code of one form by the tenant's rule set
// of now, as charges are routed; attempt counts from 1, refused were certainly not reached.
// It takes no probe of a provider that is taken to be down: whoever sends does
// ([TillsAdmit]).
func (c *Collector) RouteTill(ctx context.Context, tx *pg.Tx, amount citygate.Money, attempt int, among []Contract, refused []string) (TillRoute, error) {
	r, err := c.newRouter(ctx, tx, nil)
	if err != nil {
		return TillRoute{}, err
	}
	r.probe = map[string]bool{}
	p := payment{tripAt: tx.Now, kind: kindTill, attempt: attempt, amount: amount, refused: refused, codes: namesOf(among)}
	if len(among) > 0 && !slices.ContainsFunc(among, func(c Contract) bool { return c.Adapter != among[0].Adapter }) {
		p.wallet = among[0].Adapter
	}
	d, err := r.choose(ctx, tx, &p)
	return TillRoute{Contract: d.contract, Version: d.version, Rule: d.rule, Finding: d.finding, Up: r.up[d.contract]}, err
}

func namesOf(contracts []Contract) []string {
	names := make([]string, len(contracts))
	for i := range contracts {
		names[i] = contracts[i].Name
	}
	return names
}

// MoveTill gives the intent of a payment that its contract's provider certainly never saw
// to another contract, under the same name: nobody there knows that either. It reports
// whether it is still to be sent.
func MoveTill(ctx context.Context, tx *pg.Tx, t TillCharge) (moved bool, err error) {
	tag, err := tx.Exec(ctx, `
		UPDATE charges SET contract = $4, mark = $5, sent_at = $6, attempts = attempts + 1
		WHERE tenant_id = $1 AND charge_id = $2 AND kind = $3 AND state = $7 AND NOT ever_unknown`,
		tx.Tenant, t.Payment, kindTill, t.Contract, t.Mark, tx.Now.UTC(), string(adapters.Sent))
	if err != nil || tag.RowsAffected() == 0 {
		return false, err
	}
	if t.Quote == (driver.Quote{}) {
		return true, nil
	}
	our := TillID(tx.Tenant, t.Payment)
	return true, storeQuotes(ctx, tx, []quoted{{Quote: t.Quote, ourID: our, charge: our, n: 1}})
}

// neverSent reports whether a call certainly reached nobody.
func neverSent(heard []outcome) bool {
	return !slices.ContainsFunc(heard, func(o outcome) bool { return o.event != adapters.NotSent })
}
