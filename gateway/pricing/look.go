package pricing

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds what [Engine.RunDue] does.
var Looks = []pg.Look{
	{Kind: "journey.close", When: `EXISTS (SELECT FROM journeys WHERE tenant_id = $1 AND state = 'open' AND closes_at <= $2)`},
}
