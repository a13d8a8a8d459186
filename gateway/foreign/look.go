package foreign

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds what [Desk.RunDue] does.
var Looks = []pg.Look{
	{Kind: "code.settle", When: `EXISTS (
		SELECT FROM foreign_codes c WHERE c.tenant_id = $1 AND c.decided_at IS NULL AND (c.give_up_at <= $2 OR EXISTS (
			SELECT FROM foreign_riders r WHERE r.tenant_id = $1 AND r.scheme = c.scheme AND r.subject = c.subject)))`},
	{Kind: "code.ask", When: `EXISTS (SELECT FROM foreign_codes WHERE tenant_id = $1 AND decided_at IS NULL AND NOT proven AND next_try_at <= $2)`},
	{Kind: "code.tell", When: `EXISTS (SELECT FROM foreign_codes WHERE tenant_id = $1 AND NOT told AND decided_at IS NOT NULL)`},
}
