package gateway

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/archive"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A trace is what shows one tap in a row: its number, or bytes of it.
type trace struct {
	terminal, seq float64 // as JSON gives them
	needles       []string
}

// traces gives those of every tap of the bus from before an instant.
func (o *office) traces(before time.Time) (all []trace) {
	o.t.Helper()
	for _, row := range o.owner.Rows(bus, `SELECT t.terminal, t.seq, t.record, t.evidence_digest, s.digest, e.raw FROM taps t
		JOIN tap_seen s ON s.tenant_id = t.tenant_id AND s.terminal = t.terminal AND s.seq = t.seq
		JOIN tap_evidence e ON e.tenant_id = t.tenant_id AND e.received_at = t.received_at AND e.digest = t.evidence_digest
		WHERE t.tenant_id = $1 AND t.event_time < $2`, int64(bus), before) {
		terminal, seq := row[0].(int64), row[1].(int64)
		tr := trace{terminal: float64(terminal), seq: float64(seq), needles: []string{
			citygate.TapID{Terminal: uint32(terminal), Seq: uint64(seq)}.String(),
			hex.EncodeToString(fmt.Appendf(nil, `"terminal":%d,"seq":%d,`, terminal, seq)),
		}}
		for _, raw := range row[2:] {
			b := raw.([]byte)
			text := base64.StdEncoding.EncodeToString(b)
			tr.needles = append(tr.needles, hex.EncodeToString(b), text, hex.EncodeToString([]byte(text)))
		}
		all = append(all, tr)
	}
	return all
}

// in reports whether a value of a row shows the tap.
func (tr *trace) in(v any) bool {
	switch v := v.(type) {
	case string:
		if slices.Contains(strings.Fields(v), fmt.Sprintf("%.0f:%.0f", tr.terminal, tr.seq)) {
			return true
		}
		return slices.ContainsFunc(tr.needles, func(n string) bool { return strings.Contains(v, n) })
	case map[string]any:
		if v["terminal"] == tr.terminal && v["seq"] == tr.seq {
			return true
		}
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), tr.in)
	case []any:
		return slices.ContainsFunc(v, tr.in)
	}
	return false
}

// sweep reads every column of every row that tenants own, and counts by table those
// that show a tap and those that name one of riders, which are "list/idx".
func (o *office) sweep(taps []trace, riders map[string]bool) (showTap, nameRider map[string]int) {
	o.t.Helper()
	showTap, nameRider = map[string]int{}, map[string]int{}
	tables := o.owner.Rows(0, `SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname = 'tenant_id' ORDER BY 1`)
	if len(tables) < 60 {
		o.t.Fatalf("only %d tables", len(tables))
	}
	for _, tenant := range []citygate.TenantID{bus, rail} {
		for _, table := range tables {
			name := table[0].(string)
			if name == "provider_contracts" {
				continue // the sandbox's script has the tokens that the scripted provider knows
			}
			for _, row := range o.owner.Rows(tenant, fmt.Sprintf(`SELECT row_to_json(t)::text FROM %s AS t WHERE tenant_id = $1`, name), int64(tenant)) {
				var r map[string]any
				o.must(json.Unmarshal([]byte(row[0].(string)), &r))
				if slices.ContainsFunc(taps, func(tr trace) bool { return tr.in(r) }) {
					showTap[name]++
				}
				if riders[fmt.Sprintf("%v/%v", r["list"], r["idx"])] {
					nameRider[name]++
				}
			}
		}
	}
	return showTap, nameRider
}

// riders gives the token of every tap.
func (o *office) riders() map[string]bool {
	o.t.Helper()
	all := map[string]bool{}
	for _, row := range o.owner.Rows(bus, `SELECT DISTINCT list, idx FROM taps WHERE tenant_id = $1 AND list IS NOT NULL`, int64(bus)) {
		all[fmt.Sprintf("%v/%v", row[0], float64(row[1].(int64)))] = true
	}
	return all
}

// amounts gives every row that says what somebody paid or got, and the fares.
func (o *office) amounts() map[string]string {
	o.t.Helper()
	all := o.rows()
	keep := map[string]string{}
	for _, table := range []string{"transfers", "balances", "charges", "charge_shares", "refunds", "debts", "payouts", "receipts", "advices", "aggregations", "claim_lines",
		"windows", "external_lines", "recon_items"} {
		keep[table] = all[table]
	}
	for name, sql := range map[string]string{
		"fares":     `SELECT string_agg(concat_ws(' ', tenant_id, journey_id, state, reason, amount, payee, last_n), E'\n' ORDER BY tenant_id, journey_id) FROM journeys`,
		"decisions": `SELECT string_agg(concat_ws(' ', tenant_id, journey_id, n, account_id, payee, amount, currency, event_time, business_date, window_date, claim_state), E'\n' ORDER BY tenant_id, journey_id, n) FROM fare_decisions`,
		"claims":    `SELECT string_agg(concat_ws(' ', tenant_id, operator_id, journey_id, account_id, amount, state, at), E'\n' ORDER BY tenant_id, journey_id) FROM claims`,
	} {
		keep[name] = o.audit.Rows(0, sql)[0][0].(string)
	}
	for i := range 4 { // unchanged wants to have seen enough
		keep[fmt.Sprint("-", i)] = ""
	}
	return keep
}

// rideEveryWay has riders of the bus's own codes and of other schemes ride, some of
// them refused, one code copied, and all of it collected and paid out. It gives
// what the validator uploaded.
func (o *office) rideEveryWay() []byte {
	o.t.Helper()
	o.onboard()
	ministry, railway := newMinistry(o), newRailway(o)
	script, err := json.Marshal(map[string]any{"codes": []map[string]any{{"code": token(o, 1), "rider": "ann"}}})
	o.must(err)
	o.answerFor(ministry, railway, string(script))
	credential := o.credential("phone")
	v, second := o.reader(1), o.reader(2)
	o.settleDown()
	o.sync(v)
	o.sync(second)
	card := ministry.show(o, 1, o.now())
	for _, raw := range [][]byte{card, card, railway.show(o, 1, o.now()), token(o, 1), token(o, 5)} {
		o.offer(v, raw)
	}
	batch := o.board(v, credential, "phone")
	if got := o.upload(batch); !slices.Equal(got, []string{"recorded", "refused replayed", "recorded", "recorded", "recorded", "recorded"}) {
		o.t.Fatalf("the first bus: %v", got)
	}
	o.settleDown()
	copied, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: o.now().Unix() + 1, Counter: 1, Party: 1, Medium: code.MediumBand},
		func(m []byte) ([]byte, error) { return ed25519.Sign(key("phone"), m), nil })
	o.must(err)
	if d, err := second.Tap(o.now().UnixMilli(), copied, terminal.Input{MonotonicMS: 60_000, Clock: tap.ClockGNSS, Kind: tap.Single, Route: "12", Vehicle: "V-12", TariffVersion: 1}); err != nil || !d.Open {
		o.t.Fatalf("a copy at the gate: %+v, %v", d, err)
	}
	if got := o.drain(second); !slices.Equal(got, []string{"refused clone"}) {
		o.t.Fatalf("a copy: %v", got)
	}
	o.in(bus, func(tx *pg.Tx) error { // another record under a number that was used
		_, err := tx.Exec(o.t.Context(), `INSERT INTO tap_conflicts (tenant_id, terminal, seq, digest, record, received_at)
			SELECT tenant_id, terminal, seq, evidence_digest, record, received_at FROM taps WHERE tenant_id = $1 AND terminal = 1 AND seq = 1`, tx.Tenant)
		return err
	})
	for range 16 {
		o.move(6 * time.Hour)
		o.settleDown()
	}
	if left := o.balances(); len(left) != 0 {
		o.t.Fatalf("not paid out: %v", left)
	}
	return batch
}

// later moves the clock on, beyond what the tests' token is good for.
func (o *office) later(d time.Duration) {
	o.t.Helper()
	o.move(d)
	var err error
	o.token, err = o.Tokens.Mint(o.t.Context(), edge.Caller{Subject: actor, Scopes: []string{edge.ScopePlatform}}, 30*24*time.Hour)
	o.must(err)
}

// After what a tenant does not keep any more is erased, no row shows a tap and no
// row names a rider beside a ride; every amount is what it was, the books still
// prove, and an erased tap that is sent again is refused and charged to nobody.
func TestErasedTapsJoinNobody(t *testing.T) {
	o := open(t)
	batch := o.rideEveryWay()
	o.later(130 * 24 * time.Hour)
	date := citygate.DateOf(o.now().AddDate(0, 0, -122))
	if _, err := o.EraseBefore(t.Context(), actor, bus, citygate.DateOf(o.now().AddDate(0, 0, -118)), false); !errors.Is(err, retention.ErrTooEarly) {
		t.Errorf("erased after 118 days: %v", err)
	}

	taps, riders := o.traces(o.now().AddDate(0, 0, -122)), o.riders()
	if len(taps) < 7 || len(riders) < 4 {
		t.Fatalf("%d taps, %d riders", len(taps), len(riders))
	}
	// Every table that shows a tap is known: leaving one out leaves it here below.
	shown, named := o.sweep(taps, riders)
	if got, want := slices.Sorted(maps.Keys(shown)), []string{"code_conflicts", "code_use", "fare_decisions", "foreign_codes", "foreign_taps", "journeys", "outbox",
		"risk_flags", "tap_conflicts", "tap_evidence", "tap_seen", "tap_uses", "tap_verdicts", "taps"}; !slices.Equal(got, want) {
		t.Errorf("taps are shown by %v, want %v", got, want)
	}
	for _, table := range []string{"journeys", "claims", "code_use", "taps", "tap_uses"} {
		if named[table] == 0 {
			t.Errorf("%s names no rider before", table)
		}
	}
	was, before := o.amounts(), o.rows()
	for _, tenant := range []citygate.TenantID{bus, rail} {
		planned, err := o.EraseBefore(t.Context(), actor, tenant, date, true)
		o.must(err)
		unchanged(t, "a dry run", before, o.rows())
		done, err := o.EraseBefore(t.Context(), actor, tenant, date, false)
		o.must(err)
		if planned.DryRun = false; planned.Taps != done.Taps || planned.Journeys != done.Journeys || planned.Claims != done.Claims || planned.Messages != done.Messages || done.Held != 0 {
			t.Errorf("tenant %d: %+v was planned, %+v was done", tenant, planned, done)
		}
		before = o.rows()
		if again, err := o.EraseBefore(t.Context(), actor, tenant, date, false); err != nil || again.Taps+again.Journeys+again.Claims+again.Codes+again.Messages != 0 {
			t.Errorf("once more: %+v, %v", again, err)
		}
	}
	if shown, named = o.sweep(taps, riders); len(shown) != 0 {
		t.Errorf("taps are still shown by %v", shown)
	}
	mayName := []string{"code_batches", "credentials", "deny_changes", "deny_entries", "fare_rights", "foreign_riders", "pricing_riders", "product_sales"}
	for table := range named {
		if !slices.Contains(mayName, table) {
			t.Errorf("%s still names riders, %d times", table, named[table])
		}
	}
	unchanged(t, "erasing", was, o.amounts())
	o.booksHold()
	report, err := o.CheckBooks(t.Context())
	o.must(err)
	if len(report.Erased) == 0 || report.Erased[0].Tenant != bus || report.Erased[0].Taps != int64(len(taps)) || report.Erased[0].Journeys == 0 {
		t.Errorf("what cannot be derived again: %+v", report.Erased)
	}

	got := o.upload(batch)
	if want := []string{"refused too_late", "refused replayed", "refused too_late", "refused too_late", "refused too_late", "refused too_late"}; !slices.Equal(got, want) {
		t.Errorf("sent again: %v, want %v", got, want)
	}
	for range 4 {
		o.move(6 * time.Hour)
		o.settleDown()
	}
	now := o.amounts()
	delete(was, "windows")
	delete(now, "windows")
	now["-w"] = ""
	unchanged(t, "an erased tap that came again", was, now)
	if _, err = o.EraseBefore(t.Context(), actor, bus, date, false); err != nil {
		t.Error(err)
	}
	if shown, _ = o.sweep(taps, riders); len(shown) != 0 {
		t.Errorf("the refused taps are shown by %v", shown)
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	o.must(err)
	defer root.Close()
	_, err = archive.Exporter{DB: o.DB, Tenants: o.Tenants, Ring: o.Ring, Clock: o.now}.Export(t.Context(), root, bus, rail)
	o.must(err)
	if _, err := archive.Check(os.DirFS(dir)); err != nil {
		t.Errorf("an export afterwards: %v", err)
	}
}

// A bank takes a payment back after the ride it was for was erased: it is recorded, its
// rider owes it and pays, the dispute is won after all, and nothing shows the ride again.
func TestAPaymentIsTakenBackAfterItsRideWasErased(t *testing.T) {
	o := open(t)
	o.rideAndPay()
	o.later(140 * 24 * time.Hour)
	taps, riders := o.traces(o.now().AddDate(0, 0, -125)), o.riders()
	if _, err := o.EraseBefore(t.Context(), actor, bus, citygate.DateOf(o.now().AddDate(0, 0, -125)), false); err != nil {
		t.Fatal(err)
	}
	charge := list[edge.Charge](o, "charges")[0]
	first := o.reverse(bus, charge, "CB-1", price-100)
	second := o.reverse(bus, charge, "CB-2", 100)
	o.settleDown()
	o.booksHold()
	debts := list[edge.Debt](o, "debts?state=open")
	if first.Owed.Minor != price-100 || second.Owed.Minor != 100 || len(debts) != 2 {
		t.Fatalf("%+v and %+v, %d debts", first, second, len(debts))
	}
	o.conclude(bus, second.ID, "RP-2", "won", 100)
	o.send(http.MethodPost, busPath("accounts/"+debts[0].Account+"/retry-debts"), nil, nil)
	o.until("paid", func() bool { return len(list[edge.Debt](o, "debts?state=open")) == 0 })
	o.conclude(bus, first.ID, "RP-1", "won", price-100)
	o.until("given back", func() bool { return len(list[edge.Refund](o, "refunds?state=succeeded")) == 1 })
	o.move(3 * 24 * time.Hour)
	o.settleDown()
	o.booksHold()
	if got := o.net(bus); got["rider_debt"] != 0 || got["rider_receivable"] != 0 || got["reversal_fee"] != 30 {
		t.Errorf("the book: %v", got)
	}
	if shown, _ := o.sweep(taps, riders); len(shown) != 0 {
		t.Errorf("the ride is shown by %v", shown)
	}
	r, err := o.EraseBefore(t.Context(), actor, bus, citygate.DateOf(o.now().AddDate(0, 0, -121)), false)
	if o.must(err); r.Held != 0 {
		t.Errorf("held back for ever: %+v", r)
	}
}

// A debt that is open holds its ride back; when it is done, the work that is due
// erases by itself, where the tenant wants that. Nobody keeps less than 120 days.
func TestDebtHoldsItsTapsBack(t *testing.T) {
	o := open(t)
	o.rideAndPay()
	set := func(days int, automatic bool) (err error) {
		return o.DB.InTenant(t.Context(), bus, func(tx *pg.Tx) error {
			_, err := retention.Set(t.Context(), tx, actor, days, automatic)
			return err
		})
	}
	if err := set(119, true); !errors.Is(err, retention.ErrKeep) {
		t.Errorf("kept for 119 days: %v", err)
	}
	o.in(bus, func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO debts (tenant_id, aggregation_id, account_id, opened_amount, amount, currency, business_date, state, tries, unpassed, opened_at)
			SELECT tenant_id, aggregation_id, account_id, 450, 450, currency, business_date, 'open', 9, false, opened_at FROM aggregations WHERE tenant_id = $1`, tx.Tenant)
		return err
	})
	o.later(140 * 24 * time.Hour)
	r, err := o.EraseBefore(t.Context(), actor, bus, citygate.DateOf(o.now().AddDate(0, 0, -125)), false)
	o.must(err)
	if r.Held != 1 || r.HeldTaps != 1 || r.Taps != 1 || r.Journeys+r.Claims+r.Codes != 0 {
		t.Errorf("with an open debt: %+v", r)
	}
	kept := func() string {
		return fmt.Sprint(o.owner.Rows(bus, `SELECT (SELECT count(*) FROM taps WHERE tenant_id = $1), (SELECT count(*) FROM tap_evidence WHERE tenant_id = $1),
			(SELECT count(*) FROM code_use WHERE tenant_id = $1), (SELECT count(*) FROM journeys WHERE tenant_id = $1 AND taps <> '')`, int64(bus)))
	}
	if got := kept(); got != "[[1 1 1 1]]" {
		t.Errorf("kept: %s", got)
	}
	o.must(set(130, true))
	o.in(bus, func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE debts SET state = 'corrected', amount = 0, closed_at = $2 WHERE tenant_id = $1`, tx.Tenant, tx.Now)
		return err
	})
	o.move(24 * time.Hour)
	o.settleDown()
	if got := kept(); got != "[[1 1 1 1]]" { // what is before the last cut is looked at again with the next one
		t.Errorf("before a later cut: %s", got)
	}
	o.move(15 * 24 * time.Hour)
	o.settleDown()
	if got := kept(); got != "[[0 0 0 0]]" {
		t.Errorf("kept for ever: %s", got)
	}
	if n := o.audit.Count(bus, `SELECT count(*) FROM audit_log WHERE verb LIKE 'retention.%'`); n != 3 {
		t.Errorf("%d entries in the audit log", n)
	}
}

// What a further provider calls a payer goes when the account is closed and its last
// payment is older than the tenant keeps, and not before, nor while it owes.
func TestPayersOfClosedAccountsGo(t *testing.T) {
	o := open(t)
	o.rideAndPay()
	account := o.audit.Rows(bus, `SELECT account_id::text FROM accounts WHERE tenant_id = `+bus.String())[0][0].(string)
	const name = "sentinel-payer-elsewhere"
	o.owner.Exec(bus, `INSERT INTO provider_contracts (tenant_id, contract, adapter, config, fee_ppm, state, created_at)
		SELECT tenant_id, 'elsewhere', adapter, config, fee_ppm, state, created_at FROM provider_contracts WHERE tenant_id = $1 LIMIT 1`, int64(bus))
	o.in(bus, func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO account_payers (tenant_id, account_id, contract, rider_ref, created_at) VALUES ($1, $2, 'elsewhere', $3, $4)`,
			tx.Tenant, account, name, tx.Now)
		if err == nil { // of an agreement that has ended it goes whatever becomes of the account
			_, err = tx.Exec(t.Context(), `INSERT INTO agreements (tenant_id, agreement_id, contract, our_id, provider_id, rider_ref, account_id, linked, state, ending, reason, error, asks,
				opened_at, changed_at, ended_at) VALUES ($1, $2, 'elsewhere', 'OURS', $3, $3, $2, false, 'ended', false, '', '', 0, $4, $4, $4)`, tx.Tenant, account, name, tx.Now)
		}
		if err == nil { // and of one that nobody has confirmed, and of a card that was given up
			_, err = tx.Exec(t.Context(), `INSERT INTO agreements (tenant_id, agreement_id, contract, our_id, provider_id, rider_ref, account_id, linked, state, ending, reason, error, asks,
				opened_at, changed_at, invited_at) VALUES ($1, gen_random_uuid(), 'elsewhere', 'NEVER', '', $3, $2, false, 'unknown', false, '', '', 0, $4, $4, $4)`, tx.Tenant, account, name, tx.Now)
		}
		for card, told := range map[string]string{name: "revoked", "kept": "enabled"} {
			if err == nil {
				_, err = tx.Exec(t.Context(), `INSERT INTO wallet_cards (tenant_id, card_id, contract, card_ref, rider_ref, account_id, locked, tip, told, told_tip, touched, n, wanted, wanted_tip, decided_at, state,
					attempts, next_try_at, told_at, error, created_at)
					VALUES ($1, gen_random_uuid(), 'elsewhere', $3, $4, $2, replace($5, 'enabled', ''), '', $5, '', false, 1, $5, '', $6, 'told', 0, $6, $6, '', $6)`,
					tx.Tenant, account, "C-"+told, "2088-"+card, told, tx.Now)
			}
		}
		return err
	})
	shows := func() (tables []string) {
		for table, rows := range o.rows("audit_log") {
			if strings.Contains(rows, name) {
				tables = append(tables, table)
			}
		}
		slices.Sort(tables)
		return tables
	}
	erase := func() {
		t.Helper()
		_, err := o.EraseBefore(t.Context(), actor, bus, citygate.DateOf(o.now().AddDate(0, 0, -121)), false)
		o.must(err)
	}
	o.later(10 * 24 * time.Hour)
	o.owner.Exec(bus, `UPDATE accounts SET state = 'closed' WHERE tenant_id = $1`, int64(bus))
	erase()
	if got := shows(); !slices.Equal(got, []string{"account_payers", "agreements", "wallet_cards"}) {
		t.Errorf("soon after the last payment the name is in %v", got)
	}
	o.later(140 * 24 * time.Hour)
	o.owner.Exec(bus, `UPDATE accounts SET state = 'active' WHERE tenant_id = $1`, int64(bus))
	erase()
	if got := shows(); !slices.Equal(got, []string{"account_payers"}) {
		t.Errorf("of an account in use the name is in %v", got)
	}
	o.owner.Exec(bus, `UPDATE accounts SET state = 'closed' WHERE tenant_id = $1`, int64(bus))
	erase()
	if got := shows(); len(got) != 0 {
		t.Errorf("the name is still in %v", got)
	}
	if n := o.count(`SELECT count(*) FROM wallet_cards WHERE rider_ref = '2088-kept' AND account_id IS NOT NULL`); n != 1 {
		t.Errorf("%d cards in use are left", n)
	}
	if n := o.count(`SELECT count(*) FROM agreements WHERE account_id IS NOT NULL`); n != 0 {
		t.Errorf("%d agreements say whose they were", n)
	}
	o.booksHold()
}
