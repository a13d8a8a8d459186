package risk

import "github.com/cashlesscity/citygate/tenants/pg"

// Looks finds what [Flagger.Run] does: uploads that no scan has seen, or since which
// none came late enough to have seen those beside them.
var Looks = []pg.Look{
	{Kind: "flag.scan", When: `EXISTS (
		SELECT FROM (SELECT coalesce((SELECT received_at FROM risk_scans WHERE tenant_id = $1), 'epoch') AS upto,
			coalesce((SELECT scanned_at FROM risk_scans WHERE tenant_id = $1), 'epoch') AS at) AS s
		WHERE (s.at > $2 OR s.upto > $2 OR s.at + ` + pg.Seconds(scanEvery) + ` <= $2) AND (
			EXISTS (SELECT FROM tap_batches WHERE tenant_id = $1 AND received_at > s.upto)
			OR s.at < s.upto + ` + pg.Seconds(scanAgain) + ` AND EXISTS (SELECT FROM tap_batches WHERE tenant_id = $1 AND received_at >= s.upto - ` + pg.Seconds(scanAgain) + `)
			OR s.at > $2 OR s.upto > $2))`},
}
