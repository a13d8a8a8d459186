package collect

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Bearing is how much of what a rider owes of an operator's fare issuer, provider
// and platform bear, and why. The operator bears the rest.
type Bearing struct {
	Aggregation   citygate.UUID
	Operator      citygate.TenantID
	Journey       citygate.UUID
	Owed          int64
	IssuerBears   int64
	ProviderBears int64
	PlatformBears int64
	PayDays       int    // after the decline, the operator is paid what others bear
	Basis         string // rule, terms, default or dispute
	Version       uint64 // of the rule set; 0 = none held at the ride's time
	Rule          string
	Finding       string // why the rule set was not followed to the letter
}

// Others gives what others than the operator bear.
func (b *Bearing) Others() int64 { return b.IssuerBears + b.ProviderBears + b.PlatformBears }

// Who bears, as rows name them.
const (
	byOperator = "operator"
	byIssuer   = "issuer"
	byProvider = "provider"
	byPlatform = "platform"
)

// The bases of a bearing.
const (
	byRule    = "rule"
	byTerms   = "terms"   // of roaming: the issuer bears all of it, up to the highest sum of the day
	byDefault = "default" // the operator bears all of it
	byDispute = "dispute" // a party was right that it does not bear it
)

// bearers decides who bears what riders owe, within one transaction. Terms
// between two cities come first: the operator relies on them. Without them the
// issuer's rule set of the ride's time is asked. What it is asked about does not
// change while the debt stands (the fare, its time, the contract that declined,
// the age when it did), so that looking again decides the same.
type bearers struct {
	c    *Collector
	line policies.Timeline
}

func (c *Collector) newBearers(ctx context.Context, tx *pg.Tx) (*bearers, error) {
	line, err := policies.TimelineOf(ctx, tx)
	return &bearers{c, line}, err
}

// of decides about one journey of a debt.
func (b *bearers) of(ctx context.Context, tx *pg.Tx, o *owedJourney) (Bearing, error) {
	d := Bearing{Aggregation: o.aggregation, Operator: o.operator, Journey: o.journey, Owed: o.owed, PayDays: ruleset.PayDaysUsual, Basis: byDefault}
	if b.c.Bears != nil && o.operator != tx.Tenant {
		g, err := b.c.Bears(ctx, tx, o.operator, o.at)
		if err != nil {
			return d, err
		}
		if g.Holds {
			d.IssuerBears, d.PayDays, d.Basis = max(0, o.owed-o.beyond), g.PayDays, byTerms
			return d, nil
		}
	}
	version := b.line.At(o.at).Version
	set, err := b.c.sets.Of(ctx, tx, version)
	switch {
	case errors.Is(err, ruleset.ErrSet): // it was published by a build that read more
		d.Version, d.Finding = version, "the rule set is not read here any more"
		return d, nil
	case err != nil || set == nil:
		return d, err
	}
	d.Version = version
	liable, err := set.Liable(&ruleset.Shortfall{
		At: o.at, Operator: o.operator, Amount: citygate.Money{Minor: o.owed, Currency: o.currency}, Contract: o.contract,
		AgeDays: int(citygate.DateOf(o.opened).Time().Sub(o.date.Time()) / (24 * time.Hour)), Reversed: o.reversal,
	})
	if err != nil {
		d.Finding = "a condition failed: " + err.Error()
	}
	part := min(liable.Minor, o.owed)
	switch liable.Bearer {
	case ruleset.Issuer:
		d.IssuerBears, d.PayDays = part, liable.PayDays
	case ruleset.Provider:
		d.ProviderBears, d.PayDays = part, liable.PayDays
	case ruleset.Platform:
		d.PlatformBears, d.PayDays = part, liable.PayDays
	case ruleset.Operator:
	}
	if liable.Rule != "" {
		d.Basis, d.Rule = byRule, liable.Rule
	}
	return d, nil
}

// storeBearings keeps what was decided; the last decision stands.
func storeBearings(ctx context.Context, tx *pg.Tx, all []Bearing) error {
	for chunk := range slices.Chunk(all, rowsMax) {
		n := len(chunk)
		ids, journeys, operators := make([]citygate.UUID, n), make([]citygate.UUID, n), make([]int64, n)
		owed, issuer, versions := make([]int64, n), make([]int64, n), make([]int64, n)
		provider, platform, days := make([]int64, n), make([]int64, n), make([]int32, n)
		bases, rules, findings := make([]string, n), make([]string, n), make([]string, n)
		for i, b := range chunk {
			ids[i], journeys[i], operators[i] = b.Aggregation, b.Journey, int64(b.Operator)
			owed[i], issuer[i], versions[i] = b.Owed, b.IssuerBears, int64(b.Version)
			provider[i], platform[i], days[i] = b.ProviderBears, b.PlatformBears, int32(b.PayDays)
			bases[i], rules[i], findings[i] = b.Basis, b.Rule, b.Finding
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO debt_bearers AS b (tenant_id, aggregation_id, operator_id, journey_id, owed, issuer_bears, provider_bears, platform_bears, pay_days, basis, rules_version, rule, finding, decided_at)
			SELECT $1, id, operator, journey, owed, issuer, provider, platform, days, basis, version, rule, finding, $2
			FROM unnest($3::uuid[], $4::bigint[], $5::uuid[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::text[], $11::text[],
			            $12::bigint[], $13::bigint[], $14::int[])
			     AS u (id, operator, journey, owed, issuer, basis, version, rule, finding, provider, platform, days)
			ON CONFLICT (tenant_id, aggregation_id, operator_id, journey_id) DO UPDATE SET
				owed = excluded.owed, issuer_bears = excluded.issuer_bears, basis = excluded.basis, rules_version = excluded.rules_version,
				rule = excluded.rule, finding = excluded.finding, decided_at = excluded.decided_at,
				provider_bears = excluded.provider_bears, platform_bears = excluded.platform_bears, pay_days = excluded.pay_days
			WHERE (b.owed, b.issuer_bears, b.provider_bears, b.platform_bears, b.pay_days, b.basis, b.rules_version, b.rule, b.finding)
				IS DISTINCT FROM (excluded.owed, excluded.issuer_bears, excluded.provider_bears, excluded.platform_bears, excluded.pay_days,
					excluded.basis, excluded.rules_version, excluded.rule, excluded.finding)`,
			tx.Tenant, tx.Now, ids, operators, journeys, owed, issuer, bases, versions, rules, findings, provider, platform, days); err != nil {
			return err
		}
	}
	return nil
}

// Bearings gives who bears what was owed after charges were declined, by charge;
// a charge that was not declined has none.
func Bearings(ctx context.Context, tx *pg.Tx, charges []citygate.UUID) (map[citygate.UUID][]Bearing, error) {
	rows, err := tx.Query(ctx, `
		SELECT c.charge_id, b.aggregation_id, b.operator_id, b.journey_id, b.owed, b.issuer_bears, b.provider_bears, b.platform_bears, b.pay_days, b.basis, b.rules_version, b.rule, b.finding
		FROM charges c JOIN debt_bearers b ON b.tenant_id = c.tenant_id AND b.aggregation_id = c.aggregation_id
		WHERE c.tenant_id = $1 AND b.tenant_id = $1 AND c.charge_id = ANY($2::uuid[]) AND c.state = 'declined'
		ORDER BY c.charge_id, b.operator_id, b.journey_id`, tx.Tenant, charges)
	if err != nil {
		return nil, err
	}
	found := map[citygate.UUID][]Bearing{}
	var charge citygate.UUID
	var b Bearing
	_, err = pgx.ForEachRow(rows, []any{&charge, &b.Aggregation, &b.Operator, &b.Journey, &b.Owed, &b.IssuerBears, &b.ProviderBears, &b.PlatformBears, &b.PayDays, &b.Basis, &b.Version, &b.Rule, &b.Finding}, func() error {
		found[charge] = append(found[charge], b)
		return nil
	})
	return found, err
}
