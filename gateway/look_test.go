package gateway

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// dueRows are rows that make work of a kind due: statements of the tenant ($1) and
// the instant at which it becomes due ($2).
var dueRows = map[string]struct {
	sql string
	now bool // due whatever the time
}{
	"audit.seal":     {`INSERT INTO audit_log (tenant_id, entry_id, at) SELECT $1, gen_random_uuid(), $2`, true},
	"answer.forget":  {`INSERT INTO idempotency_keys (tenant_id, key, route, created_at) SELECT $1, 'k', 'r', $2::timestamptz - interval '24 hours 1 microsecond'`, false},
	"list.entries":   {`INSERT INTO deny_entries (tenant_id, entry_id, since) SELECT $1, gen_random_uuid(), $2`, true},
	"list.issued":    {`INSERT INTO credential_lists (tenant_id, list, issued, read_issued, expires_at) SELECT $1, 1, 2, 1, $2::timestamptz + interval '1 day'`, true},
	"list.renew":     {listRow + `, $2::timestamptz - interval '36 hours' FROM l`, false},
	"list.heartbeat": {listRow + `, $2 FROM l; INSERT INTO deny_heartbeats (tenant_id, at) SELECT $1, $2::timestamptz - interval '5 minutes'`, false},
	"retention.erase": {`INSERT INTO retention (tenant_id, keep_days, automatic, erased_before)
		SELECT $1, 120, true, date_trunc('day', $2::timestamptz, 'UTC') - interval '121 days'`, true},
	"key.next": {`INSERT INTO tenant_keys (tenant_id, purpose, kid, state, expires) VALUES
		($1, 'audit', 1, 'active', $2::timestamptz + interval '1 year'), ($1, 'audit', 2, 'published', $2)`, false},
	"bundle.renew":     {`INSERT INTO bundles (tenant_id, version, issued_at, expires_at) SELECT $1, 1, $2::timestamptz - interval '7 days 1 microsecond', $2::timestamptz + interval '21 days' - interval '1 microsecond'`, false},
	"bundle.roaming":   {`INSERT INTO platform.roaming_terms (issuer_id, host_id, version, ends_at) SELECT 999, $1, 1, $2`, false},
	"window.open":      {`DELETE FROM windows WHERE tenant_id = $1 AND $2::timestamptz IS NOT NULL`, true},
	"window.close":     {`INSERT INTO windows (tenant_id, business_date, state, closes_at) SELECT $1, '2001-01-01', 'open', $2`, false},
	"window.pay":       {`INSERT INTO windows (tenant_id, business_date, state, pays_at) SELECT $1, '2001-01-01', 'closed', $2`, false},
	"payout.file":      {`INSERT INTO payouts (tenant_id, payout_id, state, created_at) SELECT $1, gen_random_uuid(), 'created', $2`, true},
	"tap.new":          {`INSERT INTO tap_batches (tenant_id, terminal, sha256, chain, received_at) SELECT $1, 1, 'x', 'ok', $2`, true},
	"tap.unnamed":      {`INSERT INTO foreign_taps (tenant_id, terminal, seq, state, give_up_at) SELECT $1, 1, 1, 'waiting', $2::timestamptz - interval '24 hours 1 microsecond'`, false},
	"tap.gap":          {`INSERT INTO tap_batches (tenant_id, terminal, sha256, chain, received_at) SELECT $1, 1, 'x', 'gap', $2::timestamptz - interval '24 hours 1 microsecond'`, false},
	"terminal.lists":   {`INSERT INTO terminal_lists (tenant_id, terminal_id, issuer, list, used_at) SELECT $1, 1, 1, 1, $2::timestamptz - interval '60 days 1 microsecond'`, false},
	"journey.close":    {`INSERT INTO journeys (tenant_id, journey_id, state, closes_at) SELECT $1, gen_random_uuid(), 'open', $2`, false},
	"flag.scan":        {scanRow, false},
	"code.settle":      {codeRow + `$2, $2::timestamptz + interval '1 day', NULL, false, false)`, false},
	"code.ask":         {codeRow + `$2::timestamptz + interval '1 day', $2, NULL, false, false)`, false},
	"code.tell":        {codeRow + `$2, $2, $2, false, false)`, true},
	"reversal.apply":   {chargeRow + `'succeeded', $2, $2); INSERT INTO reversals (tenant_id, reversal_id, charge_our_id, state, recorded_at) SELECT $1, gen_random_uuid(), 'ours', 'waiting', $2`, true},
	"reversal.outcome": {reversalRow, true},
	"reversal.sale":    {`INSERT INTO taken_sales (tenant_id, sale_id, charge_id, unsettled, first_at) SELECT $1, gen_random_uuid(), gen_random_uuid(), true, $2`, true},
	"reversal.early": {`INSERT INTO early_outcomes (tenant_id, contract, of_reference, reference, state, recorded_at) SELECT $1, 'box', 'cb', 'x', 'waiting', $2;
		INSERT INTO reversals (tenant_id, reversal_id, contract, reference, charge_our_id, state, recorded_at) SELECT $1, gen_random_uuid(), 'box', 'cb', 'nobodys', 'waiting', $2`, true},
	"purchase.expire":   {strings.Replace(chargeRow, "'charge'", "'purchase'", 1) + `'created', $2::timestamptz + interval '1 year', $2::timestamptz - interval '24 hours')`, false},
	"aggregation.close": {`INSERT INTO aggregations (tenant_id, aggregation_id, state, closes_at) SELECT $1, gen_random_uuid(), 'open', $2`, false},
	"debt.retry":        {`INSERT INTO debts (tenant_id, aggregation_id, state, unpassed, retry_at) SELECT $1, gen_random_uuid(), 'open', false, $2`, false},
	"charge.move":       {chargeRow + `'created', $2::timestamptz + interval '1 year', $2::timestamptz - interval '30 seconds')`, false},
	"charge.send":       {chargeRow + `'unknown', $2, $2)`, false},
	"refund.send":       {`INSERT INTO refunds (tenant_id, refund_id, contract, state, next_try_at) SELECT $1, gen_random_uuid(), 'box', 'sent', $2`, false},
	"charge.pass":       {chargeRow + `'succeeded', $2, $2)`, true},
	"debt.pass":         {`INSERT INTO debts (tenant_id, aggregation_id, state, unpassed, bear_at) SELECT $1, gen_random_uuid(), 'open', false, $2`, false},
	"agreement.ask": {`INSERT INTO agreements (tenant_id, agreement_id, contract, our_id, provider_id, state, opened_at, changed_at, next_ask_at)
		SELECT $1, gen_random_uuid(), 'box', 'ours', '', 'unknown', $2, $2, $2`, false},
	"feed.pull": {`INSERT INTO provider_contracts (tenant_id, contract, state, config, created_at) SELECT $1, 'box', 'active', '{"keys_every": "1h"}', $2;
		INSERT INTO provider_feeds (tenant_id, contract, feed, due_at, carried) SELECT $1, 'box', 'keys', $2, true`, false},
	"feed.carry": {`INSERT INTO provider_feeds (tenant_id, contract, feed, due_at, carried) SELECT $1, 'box', 'keys', $2::timestamptz + interval '1 year', false`, true},
	"push.send": {`INSERT INTO provider_contracts (tenant_id, contract, state, config, created_at) SELECT $1, 'box', 'active', '{"push_denials": true}', $2;
		INSERT INTO deny_pushes (tenant_id, account_id, contract, touched, state, next_try_at) SELECT $1, gen_random_uuid(), 'box', true, 'told', $2`, false},
	"card.push": {`INSERT INTO provider_contracts (tenant_id, contract, state, config, created_at) SELECT $1, 'box', 'active', '{}', $2;
		INSERT INTO wallet_cards (tenant_id, card_id, contract, card_ref, touched, state, next_try_at) SELECT $1, gen_random_uuid(), 'box', 'C', true, 'told', $2`, false},
	"rider.ask": {`INSERT INTO provider_contracts (tenant_id, contract, state, config, created_at) SELECT $1, 'box', 'active', '{}', $2;
		INSERT INTO rider_questions (tenant_id, account_id, contract, denied, next_ask_at) SELECT $1, gen_random_uuid(), 'box', false, $2`, false},
	"sale.deliver":   {`INSERT INTO product_sales (tenant_id, sale_id, state, paid_at) SELECT $1, gen_random_uuid(), 'paid', $2`, true},
	"sale.close":     {`INSERT INTO product_sales (tenant_id, sale_id, state, closes_at) SELECT $1, gen_random_uuid(), 'held', $2`, false},
	"sale.changed":   {`INSERT INTO product_sales (tenant_id, sale_id, state, used, ended_at) SELECT $1, gen_random_uuid(), 'reversed', 1, $2`, true},
	"till.pursue":    {`INSERT INTO till_payments (tenant_id, payment_id, state, asked_at, wait_until, next_at, refunded, returned, reversing_for) SELECT $1, gen_random_uuid(), 'asked', $2, $2::timestamptz + interval '1 minute', $2, 0, 0, ''`, false},
	"bill.process":   {`INSERT INTO external_files (tenant_id, contract, day, issue, state, imported_at) SELECT $1, 'box', '2001-01-01', 1, 'stored', $2`, true},
	"charge.release": {chargeRow + `'succeeded', $2, $2)`, true},
	"bill.import":    {`INSERT INTO provider_contracts (tenant_id, contract, state, config, created_at) SELECT $1, 'box', 'active', '{}', $2;` + chargeRow + `'declined', $2, $2)`, true},
	"decision.seal": {`INSERT INTO fare_decisions (tenant_id, journey_id, n, taps, known, calendar_version, window_date, amount, currency, tariff_version, inputs_hash, explanation, event_time, business_date, decided_at, payee, reason)
		SELECT $1, gen_random_uuid(), 1, '', true, 1, '2026-11-21', 1, 'CNY', 1, 'x', '{"a": 1}', $2, '2026-11-21', $2, 'p', ''`, true},
}

const (
	listRow = `WITH l AS (INSERT INTO credential_lists (tenant_id, list, issued, read_issued, expires_at) SELECT $1, 1, 2, 2, $2::timestamptz + interval '1 day' RETURNING list)
		INSERT INTO deny_snapshots (tenant_id, list, seq, built_at) SELECT $1, list, 1`
	scanRow = `INSERT INTO risk_scans (tenant_id, received_at, scanned_at) SELECT $1, $2::timestamptz - interval '2 minutes', $2::timestamptz - interval '1 minute';
		INSERT INTO tap_batches (tenant_id, terminal, sha256, chain, received_at) SELECT $1, 1, 'x', 'ok', $2::timestamptz - interval '1 minute'`
	codeRow     = `INSERT INTO foreign_codes (tenant_id, scheme, once, give_up_at, next_try_at, decided_at, told, proven) VALUES ($1, 'x', 'x', `
	chargeRow   = `INSERT INTO charges (tenant_id, charge_id, aggregation_id, kind, our_id, contract, ever_unknown, attempts, passed, released, state, next_try_at, created_at) VALUES ($1, gen_random_uuid(), gen_random_uuid(), 'charge', 'ours', 'box', false, 0, false, false, `
	reversalRow = `WITH r AS (INSERT INTO reversals (tenant_id, reversal_id, charge_our_id, state, recorded_at) SELECT $1, gen_random_uuid(), 'ours', 'open', $2 RETURNING reversal_id)
		INSERT INTO reversal_outcomes (tenant_id, reversal_id, reference) SELECT $1, reversal_id, 'x' FROM r`
)

// Every kind of work is found from the instant on at which it is due, and not
// before, in the tenant that has it and in no other.
func TestEveryKindOfWorkIsFound(t *testing.T) {
	o := open(t)
	kinds := o.looks.Kinds()
	if made := slices.Sorted(maps.Keys(dueRows)); !slices.Equal(made, slices.Sorted(slices.Values(kinds))) {
		t.Fatalf("there are looks for\n%v\nand rows for\n%v", slices.Sorted(slices.Values(kinds)), made)
	}
	o.loosen()
	at := pgtest.Epoch.Add(72 * time.Hour)
	look := func(tenant citygate.TenantID, now time.Time) (found []string) {
		o.in(tenant, func(tx *pg.Tx) (err error) {
			tx.Now = now
			found, err = o.looks.Due(t.Context(), tx, citygate.DateOf(at), at)
			return err
		})
		return found
	}
	for i, kind := range kinds {
		tenant, other := citygate.TenantID(1_000+2*i), citygate.TenantID(1_001+2*i)
		do := func(tenant citygate.TenantID, sql string) {
			for s := range strings.SplitSeq(sql, ";") {
				if _, err := o.super.Try(0, s, int64(tenant), at); err != nil {
					t.Fatalf("%s: %v:\n%s", kind, err, s)
				}
			}
		}
		for _, one := range []citygate.TenantID{tenant, other} {
			do(one, `INSERT INTO windows (tenant_id, business_date, state, opens_at) SELECT $1, ($2::timestamptz AT TIME ZONE 'UTC')::date, 'paid', $2`)
		}
		if found := look(tenant, at); len(found) > 0 {
			t.Fatalf("%s: a tenant without rows has %v", kind, found)
		}
		made := dueRows[kind]
		do(tenant, made.sql)
		if found := look(tenant, at); !slices.Contains(found, kind) {
			t.Errorf("%s is due and %v was found", kind, found)
		}
		if found := look(tenant, at.Add(24*time.Hour)); !slices.Contains(found, kind) && kind != "list.issued" && kind != "list.renew" && kind != "list.heartbeat" {
			t.Errorf("%s has been due for a day and %v was found", kind, found)
		}
		if found := look(tenant, at.Add(-time.Microsecond)); !made.now && slices.Contains(found, kind) {
			t.Errorf("%s was found before it was due", kind)
		}
		if found := look(other, at); len(found) > 0 {
			t.Errorf("%s of another tenant: %v was found", kind, found)
		}
	}
}

// loosen takes from the tables of a test all that keeps half rows out.
func (o *office) loosen() {
	o.t.Helper()
	for _, row := range o.super.Rows(0, `
		SELECT 'ALTER TABLE ' || c.conrelid::regclass || ' DROP CONSTRAINT ' || quote_ident(c.conname) || ' CASCADE'
		FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
		WHERE n.nspname IN ('public', 'platform') AND c.contype IN ('c', 'f') AND c.conparentid = 0 AND c.coninhcount = 0
		UNION ALL
		SELECT 'ALTER TABLE ' || a.attrelid::regclass || ' ALTER ' || quote_ident(a.attname) || ' DROP NOT NULL'
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('public', 'platform') AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped
		AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey))`) {
		o.super.Exec(0, fmt.Sprint(row[0]))
	}
}

// A tenant that is idle is left alone, until its clock is moved, its calendar makes
// it another day, it gets a contract or somebody rides; and after a while in any case.
func TestIdleTenantsAreLeftAlone(t *testing.T) {
	o := open(t)
	o.onboard()
	for range 3 {
		o.settleDown()
	}
	c := o.Config
	c.OnMissed = nil
	serving, err := New(t.Context(), c) // another process, which works no jobs
	o.must(err)
	defer func() { o.must(serving.Close(context.Background())) }()
	woken := func(what string, want bool) {
		t.Helper()
		serving.waiting = waitingSet{}
		o.must(serving.Tick(t.Context()))
		if got := serving.waiting.has(o.now(), bus); got != want {
			t.Errorf("%s the tenant was woken: %t, want %t", what, got, want)
		}
		o.must(o.Drain(t.Context()))
	}
	woken("at the start", true)
	woken("with nothing due", false)
	o.move(time.Minute)
	woken("a minute later", false)

	directory := tenants.NewDirectory(o.DB, o.now)
	_, err = directory.AdvanceClock(t.Context(), actor, bus, 10*time.Minute)
	o.must(err)
	woken("with its clock moved for a while", false)
	_, err = directory.AdvanceClock(t.Context(), actor, bus, 24*time.Hour)
	o.must(err)
	woken("with its clock moved for a day", true)
	woken("with the day's work done", false)

	of := func() tenants.Tenant {
		found, err := tenants.NewDirectory(o.DB, o.now).ByID(t.Context(), bus)
		o.must(err)
		return found
	}
	finds := func(as tenants.Tenant, kind string, want bool) {
		t.Helper()
		at, kinds, err := serving.lookAt(t.Context(), as, o.now().Add(-time.Hour))
		o.must(err)
		if got := slices.Contains(kinds, kind); got != want {
			t.Errorf("at %s there is %v to do; %s: want %t", at, kinds, kind, want)
		}
	}
	before := of()
	finds(before, "feed.pull", false)
	o.in(bus, func(tx *pg.Tx) error {
		return collect.AddContract(t.Context(), tx, actor, collect.Contract{Name: "feeding", Adapter: "sandbox", Config: []byte(`{"deny_every":"1h"}`)})
	})
	finds(before, "feed.pull", true)
	o.owner.Exec(bus, `DELETE FROM provider_contracts WHERE tenant_id = $1 AND contract = 'feeding'`, int64(bus)) // the sandbox has no list
	finds(before, "feed.pull", false)

	calendar, err := before.Calendar()
	o.must(err)
	now, err := o.DB.NowOf(t.Context(), bus)
	o.must(err)
	today := calendar.BusinessDate(now)
	o.send(http.MethodPost, busPath("calendars"), map[string]any{"version": 2, "from": today.AddDays(2).String(), "time_zone": "Asia/Shanghai", "cut_minutes": 180}, nil)
	start, end := calendar.Window(today.AddDays(1))
	o.move(start.Sub(now) + time.Hour)
	o.settleDown()
	o.move(end.Sub(start) - 90*time.Minute) // half an hour before that day would have ended
	finds(before, "window.open", false)
	finds(of(), "window.open", true) // by the new calendar the next day has begun

	o.settleDown()
	woken("after that", true)
	woken("with that done", false)
	o.move(roundEvery)
	woken("after a round's time", true)
}
