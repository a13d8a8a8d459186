package recon

import "github.com/cashlesscity/citygate/tenants/pg"

// KindBill is the look for bills. Whether a day's is to be had only its provider
// can tell, whose days these are and whose bills come when they come: it holds as
// long as one may be.
const KindBill = "bill.import"

// KindRelease is the look for payments that are to be released. Which of them can be
// takes a look at each, so it holds as long as there are any.
const KindRelease = "charge.release"

// Looks finds what [Reconciler.ImportDue] does, and payments that [Releasable]
// gives.
var Looks = []pg.Look{
	{Kind: "bill.process", When: `EXISTS (SELECT FROM external_files WHERE tenant_id = $1 AND state = 'stored')`},
	{Kind: KindRelease, When: `EXISTS (SELECT FROM charges WHERE tenant_id = $1 AND state = 'succeeded' AND NOT released)`},
	{Kind: KindBill, When: `EXISTS (
		SELECT FROM provider_contracts p WHERE p.tenant_id = $1 AND (
			EXISTS (SELECT FROM charges WHERE tenant_id = $1 AND contract = p.contract)
			OR EXISTS (SELECT FROM refunds WHERE tenant_id = $1 AND contract = p.contract)
			OR EXISTS (SELECT FROM external_files WHERE tenant_id = $1 AND contract = p.contract)))`},
}
