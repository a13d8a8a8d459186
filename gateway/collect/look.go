package collect

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds what [Collector.RunDue], [Collector.PassBack] and [FeedDue] find.
var Looks = []pg.Look{
	{Kind: "reversal.apply", When: `EXISTS (
		SELECT FROM reversals r JOIN charges c ON c.tenant_id = $1 AND c.our_id = r.charge_our_id
		WHERE r.tenant_id = $1 AND r.state = 'waiting' AND c.state = 'succeeded')`},
	{Kind: "reversal.outcome", When: `EXISTS (
		SELECT FROM reversal_outcomes o JOIN reversals r ON r.tenant_id = $1 AND r.reversal_id = o.reversal_id
		WHERE o.tenant_id = $1 AND o.applied_at IS NULL AND r.state = 'open' AND NOT EXISTS (
			SELECT FROM charges c WHERE c.tenant_id = $1 AND c.aggregation_id = r.debt_id AND c.state IN ('created', 'sent', 'unknown')))`},
	{Kind: "reversal.sale", When: `EXISTS (` + unsettledWhere + `)`},
	{Kind: "reversal.early", When: `EXISTS (SELECT` + earlyWhere + `)`},
	{Kind: "purchase.expire", When: `EXISTS (
		SELECT FROM charges WHERE tenant_id = $1 AND kind = '` + kindPurchase + `' AND state IN ('created', 'sent', 'unknown') AND state = 'created'
		AND NOT ever_unknown AND created_at <= $2 - ` + pg.Seconds(PurchaseLife) + `)`},
	{Kind: "aggregation.close", When: `EXISTS (SELECT FROM aggregations WHERE tenant_id = $1 AND state = 'open' AND closes_at <= $2)`},
	{Kind: "debt.retry", When: `EXISTS (
		SELECT FROM debts d WHERE d.tenant_id = $1 AND d.state IN ('open', 'written_off') AND d.retry_at <= $2 AND NOT EXISTS (
			SELECT FROM charges c WHERE c.tenant_id = $1 AND c.aggregation_id = d.aggregation_id AND c.state IN ('created', 'sent', 'unknown')))`},
	{Kind: "charge.move", When: `EXISTS (
		SELECT FROM charges c WHERE c.tenant_id = $1 AND c.state IN ('created', 'sent', 'unknown') AND c.state = 'created' AND NOT c.ever_unknown
		AND (c.kind = '` + kindFirstRide + `' OR c.attempts > 0 OR c.created_at <= $2 - ` + pg.Seconds(breakerWait) + `))`},
	{Kind: "charge.send", When: `EXISTS (SELECT FROM charges WHERE tenant_id = $1 AND state IN ('created', 'sent', 'unknown') AND next_try_at <= $2)`},
	{Kind: "refund.send", When: `EXISTS (SELECT FROM refunds WHERE tenant_id = $1 AND state IN ('created', 'sent', 'unknown') AND next_try_at <= $2)`},
	{Kind: "charge.pass", When: `EXISTS (SELECT FROM charges WHERE tenant_id = $1 AND state = 'succeeded' AND NOT passed)`},
	{Kind: "debt.pass", When: `EXISTS (SELECT FROM debts WHERE tenant_id = $1 AND unpassed) OR EXISTS (SELECT FROM debts WHERE tenant_id = $1 AND bear_at <= $2)`},
	{Kind: "feed.pull", When: `EXISTS (
		SELECT FROM provider_contracts c CROSS JOIN (VALUES ('` + FeedDeny + `', 'deny_every'), ('` + FeedKeys + `', 'keys_every')) AS l (feed, every)
		LEFT JOIN provider_feeds f ON f.tenant_id = $1 AND f.contract = c.contract AND f.feed = l.feed
		WHERE c.tenant_id = $1 AND c.state = 'active' AND c.config ->> l.every <> '' AND (f.due_at IS NULL OR f.due_at <= $2))`},
	{Kind: "feed.carry", When: `EXISTS (SELECT FROM provider_feeds WHERE tenant_id = $1 AND feed = '` + FeedKeys + `' AND NOT carried)`},
}
