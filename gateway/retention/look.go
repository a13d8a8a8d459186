package retention

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds a tenant that has what it does not keep erased by itself, and a day
// of that has passed since.
var Looks = []pg.Look{{
	Kind: "retention.erase",
	When: `EXISTS (SELECT FROM retention WHERE tenant_id = $1 AND automatic
		AND (erased_before IS NULL OR erased_before < date_trunc('day', $2 - make_interval(days => keep_days), 'UTC')))`,
}}
