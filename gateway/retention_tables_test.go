package gateway

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate/gateway/archive"
)

// Why rows of a tenant are not erased when riders' detail is. Whoever adds a table says
// here, or in package retention, what becomes of what it says of riders.
const (
	keptBooks    = "the books: accounts, amounts and times of business, as the law has them kept"
	keptHow      = "how the tenant works: nothing of riders"
	keptStaff    = "who works for the tenant, and what they did"
	keptPayer    = "a payer's account and devices, which he has until he gives them up"
	keptDenied   = "the deny lists, which say who may not ride by a number that a code shows"
	keptSums     = "sums over many riders"
	keptExpiring = "it goes by itself once it has ended"
)

// kept are the tables of tenants that package retention leaves as they are.
var kept = map[string]string{
	"advices": keptBooks, "aggregations": keptBooks, "balances": keptBooks, "bearer_payments": keptBooks, "bill_exchanges": keptBooks, "charge_shares": keptBooks,
	"charges": keptBooks, "claim_lines": keptBooks, "claim_verdicts": keptBooks, "debt_bearers": keptBooks, "debt_write_offs": keptBooks, "debts": keptBooks,
	"early_outcomes": keptBooks, "external_files": keptBooks, "external_lines": keptBooks, "fare_adjustments": keptBooks, "fare_advices": keptBooks, "fare_passed": keptBooks,
	"fare_refunds": keptBooks, "journey_corrections": keptBooks, "liability_disputes": keptBooks, "payment_exchanges": keptBooks, "payment_quotes": keptBooks, "payouts": keptBooks,
	"product_sales": keptBooks, "receipts": keptBooks, "recon_history": keptBooks, "recon_items": keptBooks, "refunds": keptBooks, "reversal_outcomes": keptBooks,
	"reversal_shares": keptBooks, "reversals": keptBooks, "roaming_days": keptBooks, "taken_sale_lines": keptBooks, "taken_sales": keptBooks, "till_payments": keptBooks, "till_taking_lines": keptBooks,
	"till_refunds": keptBooks, "transfers": keptBooks, "windows": keptBooks,
	"bundle_drafts": keptHow, "bundles": keptHow, "code_schemes": keptHow, "contract_secrets": keptHow, "fare_refund_rules": keptHow, "fare_pool_rides": keptHow,
	"issuance_policies": keptHow, "journey_facts": keptHow, "journey_rules": keptHow, "managed": keptHow, "notify_addresses": keptHow, "outbox_heads": keptHow,
	"inbox": keptHow, "payees": keptHow, "payout_rules": keptHow, "policies": keptHow, "product_catalogues": keptHow, "provider_breakers": keptHow,
	"provider_contracts": keptHow, "provider_feeds": keptHow, "provider_keys": keptHow, "retention": keptHow, "risk_scans": keptHow, "risk_terms": keptHow,
	"rule_sets": keptHow, "settlement_terms": keptHow, "stops": keptHow, "tap_batches": keptHow, "tap_terminals": keptHow, "tariff_heads": keptHow,
	"tariffs": keptHow, "tenant_keys": keptHow, "terminal_flags": keptHow, "terminal_lists": keptHow, "terminal_profiles": keptHow, "terminals": keptHow,
	"vehicles": keptHow, "assignments": keptHow, "explanation_batches": keptHow,
	"access_grants": keptStaff, "access_issuers": keptStaff, "access_keys": keptStaff, "access_members": keptStaff, "access_pairings": keptStaff, "access_proposals": keptStaff,
	"access_revocations": keptStaff, "access_settings": keptStaff, "audit_checkpoints": keptStaff, "audit_heads": keptStaff, "audit_log": keptStaff,
	"accounts": keptPayer, "code_batches": keptPayer, "credential_blocks": keptPayer, "credential_lists": keptPayer, "credentials": keptPayer, "devices": keptPayer,
	"fare_rights": keptPayer, "foreign_lists": keptPayer, "foreign_riders": keptPayer, "pricing_riders": keptPayer, "deny_pushes": keptPayer,
	"deny_changes": keptDenied, "deny_deltas": keptDenied, "deny_entries": keptDenied, "deny_heartbeats": keptDenied, "deny_snapshots": keptDenied,
	"ridership_days": keptSums, "ridership_reports": keptSums, "ridership_tables": keptSums,
	"device_challenges": keptExpiring, "idempotency_keys": keptExpiring, "rider_proofs": keptExpiring, "rider_questions": keptExpiring,
}

// A tenant's table is erased from or is named here with the reason why it is not; and it
// goes along with the tenant, or says why not. A new one is in neither until somebody
// thought of it.
func TestEveryTableIsErasedOrKeptAndMoves(t *testing.T) {
	o := open(t)
	o.onboard()
	var tables []string
	for _, row := range o.owner.Rows(0, `SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname = 'tenant_id' AND NOT a.attisdropped ORDER BY 1`) {
		tables = append(tables, row[0].(string))
	}
	changes := regexp.MustCompile(`(?:UPDATE|DELETE FROM) ([a-z_]+)`)
	erased := map[string]bool{}
	files, err := filepath.Glob("retention/*.go")
	o.must(err)
	for _, name := range files {
		raw, err := os.ReadFile(name)
		o.must(err)
		for _, m := range changes.FindAllStringSubmatch(string(raw), -1) {
			erased[m[1]] = slices.Contains(tables, m[1])
		}
	}
	for _, table := range tables {
		if (kept[table] != "") == erased[table] {
			t.Errorf("%s: erased from: %t; kept because: %q. Want one of them", table, erased[table], kept[table])
		}
	}
	for _, table := range slices.Sorted(maps.Keys(kept)) {
		if !slices.Contains(tables, table) {
			t.Errorf("there is no table %s", table)
		}
	}

	account := o.accountsOf("sandbox", "ann")[0]
	o.owner.Exec(bus, `INSERT INTO agreements (tenant_id, agreement_id, contract, our_id, provider_id, rider_ref, account_id, linked, state, ending, reason, error, asks, opened_at, invited_at, changed_at)
		VALUES ($1, gen_random_uuid(), 'sandbox', 'A', '9', '2088', $2, true, 'active', true, '', '', 3, $3, $3, $3)`, bus, account, o.now())
	o.owner.Exec(bus, `INSERT INTO wallet_cards (tenant_id, card_id, contract, card_ref, rider_ref, account_id, locked, tip, told, told_tip, touched, n, wanted, wanted_tip, decided_at, state, attempts,
			unsure, next_try_at, error, created_at)
		VALUES ($1, gen_random_uuid(), 'sandbox', 'C', '2088', $2, 'overdue', 'pay', 'enabled', '', true, 2, 'overdue', 'pay', $3, 'unknown', 1, true, $3, 'lost', $3)`, bus, account, o.now())
	o.owner.Exec(bus, `INSERT INTO rider_questions (tenant_id, account_id, contract, denied, asks, next_ask_at) VALUES ($1, $2, 'sandbox', true, 1, $3)`, bus, account, o.now())
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	o.must(err)
	defer func() { _ = root.Close() }()
	_, err = archive.Exporter{DB: o.DB, Tenants: o.Tenants, Ring: o.Ring, PayoutFiles: o.Files.FS(), Clock: o.now}.Export(t.Context(), root, bus)
	o.must(err)
	stays := map[string]string{
		"idempotency_keys": "answers of a day", "device_challenges": "likewise", "person_devices": "riders consented to it here and nowhere else",
	}
	for _, table := range tables {
		_, err := fs.Stat(os.DirFS(dir), "tenants/1001/"+table+".jsonl")
		if (err == nil) == (stays[table] != "") {
			t.Errorf("%s is in the export: %t; it stays because: %q. Want one of them", table, err == nil, stays[table])
		}
	}
	other := open(t)
	other.micro.Store(o.micro.Load())
	_, err = archive.Import(t.Context(), other.DB, other.Tenants, actor, os.DirFS(dir))
	o.must(err)
	was, is := o.rows(), other.rows()
	for _, table := range []string{"agreements", "wallet_cards", "rider_questions"} {
		if was[table] == "" || was[table] != is[table] {
			t.Errorf("%s\nwas %s\nis  %s", table, was[table], is[table])
		}
	}
}
