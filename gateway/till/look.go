package till

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds what [Desk.RunDue] does.
var Looks = []pg.Look{
	{Kind: "till.pursue", When: `EXISTS (SELECT FROM till_payments WHERE tenant_id = $1 AND next_at <= $2)`},
}
