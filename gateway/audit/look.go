package audit

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds a tenant's log that [Sealer.Seal] has something to do in.
var Looks = []pg.Look{{
	Kind: "audit.seal",
	When: `EXISTS (SELECT FROM audit_log WHERE tenant_id = $1 AND seq IS NULL)
		OR coalesce((SELECT seq FROM audit_heads WHERE tenant_id = $1), 0) > coalesce((SELECT max(seq) FROM audit_checkpoints WHERE tenant_id = $1), 0)`,
}}
