package sales

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds what [Desk.RunDue] does, and what [Desk.Changed] finds.
var Looks = []pg.Look{
	{Kind: "sale.deliver", When: `EXISTS (SELECT FROM product_sales WHERE tenant_id = $1 AND state = 'paid')`},
	{Kind: "sale.close", When: `EXISTS (SELECT FROM product_sales WHERE tenant_id = $1 AND state = 'held' AND closes_at <= $2)`},
	{Kind: "sale.changed", When: `EXISTS (` + changedWhere + `)`},
}
