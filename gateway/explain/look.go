package explain

import (
	"context"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// Looks finds what [Sealer.RunDue] does.
var Looks = []pg.Look{{
	Kind: "decision.seal",
	When: `EXISTS (SELECT FROM fare_decisions WHERE tenant_id = $1)`,
	Then: func(ctx context.Context, tx *pg.Tx) (bool, error) {
		waiting, err := unsealed(ctx, tx, 1)
		return len(waiting) > 0, err
	},
}}
