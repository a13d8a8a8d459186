package credential

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds what [Registry.PublishLists] does, and what [DuePushes], [DueCards] and
// [DueQuestions] give.
func (r *Registry) Looks() []pg.Look {
	const live = `FROM credential_lists l
		LEFT JOIN LATERAL (SELECT built_at FROM deny_snapshots WHERE tenant_id = $1 AND list = l.list ORDER BY seq DESC LIMIT 1) AS s ON true
		WHERE l.tenant_id = $1 AND l.expires_at > $2`
	return []pg.Look{
		{Kind: "list.entries", When: `EXISTS (
			SELECT FROM deny_entries WHERE tenant_id = $1 AND (announced_at IS NULL OR (lifted_at IS NOT NULL AND lift_announced_at IS NULL)))`},
		{Kind: "list.issued", When: `EXISTS (SELECT FROM credential_lists WHERE tenant_id = $1 AND expires_at > $2 AND issued <> read_issued)`},
		{Kind: "list.renew", When: `EXISTS (SELECT ` + live + ` AND (s.built_at IS NULL OR s.built_at + ` + pg.Seconds(r.ListValidity/2) + ` <= $2))`},
		{Kind: "list.heartbeat", When: `EXISTS (SELECT ` + live + ` AND s.built_at IS NOT NULL)
			AND coalesce((SELECT max(at) FROM deny_heartbeats WHERE tenant_id = $1), 'epoch') + ` + pg.Seconds(r.HeartbeatEvery) + ` <= $2`},
		{Kind: "push.send", When: `EXISTS (
			SELECT FROM provider_contracts c JOIN deny_pushes p ON p.tenant_id = $1 AND p.contract = c.contract AND p.next_try_at <= $2 AND (p.touched OR p.state <> 'told')
			WHERE c.tenant_id = $1 AND c.state = 'active' AND c.config ->> 'push_denials' = 'true')`},
		{Kind: "card.push", When: `EXISTS (
			SELECT FROM provider_contracts c JOIN wallet_cards w ON w.tenant_id = $1 AND w.contract = c.contract AND w.next_try_at <= $2 AND (w.touched OR w.state <> 'told')
			WHERE c.tenant_id = $1 AND c.state = 'active')`},
		{Kind: "rider.ask", When: `EXISTS (
			SELECT FROM provider_contracts c JOIN rider_questions q ON q.tenant_id = $1 AND q.contract = c.contract AND q.next_ask_at <= $2
			WHERE c.tenant_id = $1 AND c.state = 'active')`},
	}
}
