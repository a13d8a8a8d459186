package fleet

import (
	"time"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// KindRenew is the look for bundles that have lived for a quarter of their time.
// Where offline roots are awaited it holds until they have signed.
const KindRenew = "bundle.renew"

// roamingSlack is for how long what changed terms of roaming is found: it may be
// committed a moment after it was done.
const roamingSlack = 5 * time.Minute

// Looks finds trust bundles to be made anew: old ones, and those of a host whose
// terms of roaming began or ended since all work was last asked for.
var Looks = []pg.Look{
	{Kind: KindRenew, When: `(
		SELECT $2 > issued_at + (expires_at - issued_at) / 4 FROM bundles WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1)`},
	{Kind: "bundle.roaming", When: `EXISTS (
		SELECT FROM platform.roaming_terms WHERE host_id = $1
		AND (effective_at > $4 - ` + pg.Seconds(roamingSlack) + ` AND effective_at <= $2 OR ends_at > $4 - ` + pg.Seconds(roamingSlack) + ` AND ends_at <= $2))`},
}
