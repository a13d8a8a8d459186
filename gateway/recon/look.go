package recon

import "github.com/cashlesscity/citygate/tenants/pg"

// KindBill is the look for bills. Whether a day's is to be had only its provider
// can tell, whose days these are and whose bills come when they come: it holds as
// long as one may be.
const KindBill = "bill.import"

// Looks finds what [Reconciler.ImportDue] does, and payments that [Releasable]
// gives.
var Looks = []pg.Look{
	{Kind: "bill.process", When: `EXISTS (SELECT FROM external_files WHERE tenant_id = $1 AND state = 'stored')`},
	{Kind: "charge.release", When: `EXISTS (
		SELECT FROM charges c WHERE c.tenant_id = $1 AND c.state = 'succeeded' AND NOT c.released
		AND EXISTS (SELECT FROM recon_items i WHERE i.tenant_id = $1 AND i.charge_id = c.charge_id AND i.refund_id IS NULL AND i.state <> 'open')
		AND NOT EXISTS (SELECT FROM recon_items i WHERE i.tenant_id = $1 AND i.charge_id = c.charge_id AND i.state = 'open'))`},
	{Kind: KindBill, When: `EXISTS (
		SELECT FROM provider_contracts p WHERE p.tenant_id = $1 AND (
			EXISTS (SELECT FROM charges WHERE tenant_id = $1 AND contract = p.contract)
			OR EXISTS (SELECT FROM refunds WHERE tenant_id = $1 AND contract = p.contract)
			OR EXISTS (SELECT FROM external_files WHERE tenant_id = $1 AND contract = p.contract)))`},
}
