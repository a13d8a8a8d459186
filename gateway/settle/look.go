package settle

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds what [Settler.CloseDue] and [Settler.PayDue] do.
var Looks = []pg.Look{
	{Kind: "window.open", When: `NOT EXISTS (SELECT FROM windows WHERE tenant_id = $1 AND business_date = $3)`},
	{Kind: "window.close", When: `EXISTS (SELECT FROM windows WHERE tenant_id = $1 AND state = 'open' AND closes_at <= $2)`},
	{Kind: "window.pay", When: `EXISTS (SELECT FROM windows WHERE tenant_id = $1 AND state = 'closed' AND pays_at <= $2)`},
	{Kind: "payout.file", When: `EXISTS (SELECT FROM payouts WHERE tenant_id = $1 AND state = 'created')`},
}
