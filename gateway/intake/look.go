package intake

import (
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Looks finds what [Recorder.Due] does, and uploads since work was last asked for:
// what follows of them is due when they are priced, which may be still to come.
var Looks = []pg.Look{
	{Kind: "tap.new", When: `EXISTS (SELECT FROM tap_batches WHERE tenant_id = $1 AND received_at >= $4)`},
	{Kind: "tap.unnamed", When: `EXISTS (SELECT FROM foreign_taps WHERE tenant_id = $1 AND state = 'waiting' AND give_up_at < $2 - ` + pg.Seconds(nameGrace) + `)`},
	{Kind: "tap.gap", When: `EXISTS (SELECT FROM tap_batches WHERE tenant_id = $1 AND chain = 'gap' AND received_at < $2 - ` + pg.Seconds(GapGrace) + `)`},
	{Kind: "terminal.lists", When: fleet.ListsBefore(`$2 - ` + pg.Seconds(listsKept))},
}
