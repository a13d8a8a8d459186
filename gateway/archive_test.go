package gateway

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/archive"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/tokendefer"
	"github.com/cashlesscity/citygate/gateway/code/uicdosipas"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// export takes the bus out and gives the directory.
func (o *office) export() string {
	o.t.Helper()
	dir := o.t.TempDir()
	root, err := os.OpenRoot(dir)
	o.must(err)
	defer root.Close()
	sum, err := archive.Exporter{DB: o.DB, Tenants: o.Tenants, Ring: o.Ring, PayoutFiles: o.Files.FS(), Clock: o.now}.Export(o.t.Context(), root, bus)
	o.must(err)
	r, err := archive.Check(os.DirFS(dir))
	o.must(err)
	if r.Manifest != sum || r.Taps < 2 || r.Verified < 1 || r.Other+r.Erased != 0 {
		o.t.Fatalf("the export: %+v, manifest %s", r, sum)
	}
	return dir
}

// count gives the number that a query finds.
func (o *office) count(sql string) int64 {
	o.t.Helper()
	n, ok := o.audit.Rows(0, sql)[0][0].(int64)
	if !ok {
		o.t.Fatalf("%s counts nothing", sql)
	}
	return n
}

// rideAndPay lets a rider ride, somebody show a forged code, and the fare be
// collected and paid out.
func (o *office) rideAndPay() {
	o.t.Helper()
	o.onboard()
	credential := o.credential("phone")
	v := o.validator()
	first := o.board(v, credential, "phone")
	o.upload(first)
	parsed, err := tap.ParseBatch(first)
	o.must(err)
	o.must(v.Ack(parsed.Hash))
	shown, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: 2, Party: 1, Medium: code.MediumBand},
		func(m []byte) ([]byte, error) { return ed25519.Sign(key("somebody else's key"), m), nil })
	o.must(err)
	d, err := v.Tap(o.now().UnixMilli(), shown, terminal.Input{MonotonicMS: 90_000, Clock: tap.ClockGNSS, Kind: tap.Single, Route: "12", Vehicle: "V-12", TariffVersion: 1})
	if err != nil || d.Open {
		o.t.Fatalf("a forged code: %+v, %v", d, err)
	}
	forged, err := v.NextBatch(0)
	o.must(err)
	o.upload(forged)
	for range 12 {
		o.move(6 * time.Hour)
		o.settleDown()
	}
}

// A tenant taken out and put into an empty gateway has equal books, row by row,
// and every tap verifies with the exported keys.
func TestExportedTenantHasEqualBooksElsewhere(t *testing.T) {
	o := open(t)
	o.rideAndPay()
	quota := tenants.Quota{Reads: tenants.Rate{PerSecond: 7, Burst: 70}}
	o.must(o.Tenants.SetQuota(t.Context(), actor, bus, quota))
	_, err := o.Tenants.AdvanceClock(t.Context(), actor, bus, 90*time.Minute)
	o.must(err)
	// Two payments' worth of chargebacks: one of them undecided, of the other the rest lost.
	charge := list[edge.Charge](o, "charges")[0]
	var bought edge.Sale // and a product that was given back before its price was taken back
	o.send(http.MethodPost, busPath("product-catalogues"), edge.Catalogue{Catalogue: json.RawMessage(shop)}, nil)
	o.move(time.Minute)
	o.send(http.MethodPost, busPath("sales"), map[string]any{"rider": list[edge.Journey](o, "journeys")[0].Rider, "product": "two", "order": "o"}, &bought)
	o.settleDown()
	o.send(http.MethodPost, busPath("sales/"+bought.ID+"/refund"), map[string]any{"reason": "not needed"}, nil)
	o.settleDown()
	o.reverse(bus, o.paidBy("purchase"), "CB-0", 701)
	o.reverse(bus, charge, "CB-1", 100)
	lost := o.reverse(bus, charge, "CB-2", 50)
	o.conclude(bus, lost.ID, "RP-2", "won", 20)
	o.conclude(bus, lost.ID, "RP-3", "lost", 0)
	o.settleDown()
	o.booksHold()
	later := tenants.CalendarVersion{Version: 2, From: citygate.DateOf(o.now().Add(30 * 24 * time.Hour)), TimeZone: "Asia/Tokyo", CutMinutes: 180, Weekdays: []time.Weekday{time.Sunday},
		Workdays: []citygate.Date{citygate.DateOf(o.now().Add(31 * 24 * time.Hour))}}
	o.in(bus, func(tx *pg.Tx) error { return tenants.AddCalendar(t.Context(), tx, actor, later, false) })
	dir := o.export()
	names := []string{}
	o.must(fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			names = append(names, name)
		}
		return err
	}))
	if !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "payout-files/") }) {
		t.Errorf("there are no payout files: %v", names)
	}
	was, err := o.CheckBooks(t.Context())
	o.must(err)

	other := open(t)
	other.micro.Store(o.micro.Load())
	if _, err := archive.Import(t.Context(), other.DB, other.Tenants, actor, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	is, err := other.CheckBooks(t.Context())
	o.must(err)
	if !is.OK() || is.Transfers != was.Transfers || is.Accounts != was.Accounts || is.Transfers == 0 {
		t.Errorf("the books were %+v and are %+v", was, is)
	}
	unchanged(t, "the way through an export", o.rows("device_challenges"), other.rows("device_challenges"))
	if a, b := asJSON(t, o.balances()), asJSON(t, other.balances()); a != b {
		t.Errorf("balances %s, elsewhere %s", a, b)
	}
	for _, table := range []string{"reversals", "reversal_outcomes", "reversal_shares"} {
		if n := other.count(`SELECT count(*) FROM ` + table); n < 2 {
			t.Errorf("%d rows of %s came through", n, table)
		}
	}
	if a, b := o.count(`SELECT count(*) FROM taken_sale_lines`), other.count(`SELECT count(*) FROM taken_sale_lines`); a != b || a == 0 {
		t.Errorf("%d lines of sales that were taken back, elsewhere %d", a, b)
	}
	clock, err := other.Tenants.Clock(t.Context(), bus)
	o.must(err)
	got, err := other.Tenants.QuotaOf(t.Context(), bus)
	o.must(err)
	moved, err := other.Tenants.ByID(t.Context(), bus)
	o.must(err)
	calendar, err := moved.Calendar()
	o.must(err)
	if clock.Ahead != 90*time.Minute || got != quota || calendar.Version != 2 || calendar.From != later.From || calendar.Former == nil {
		t.Errorf("elsewhere the clock is %s ahead, the quota %+v, the calendar %+v", clock.Ahead, got, calendar)
	}
	// A second time it is taken, and nothing changes.
	before := other.rows()
	if _, err := archive.Import(t.Context(), other.DB, other.Tenants, actor, os.DirFS(dir)); !errors.Is(err, archive.ErrTaken) {
		t.Errorf("imported twice: %v", err)
	}
	unchanged(t, "an import that was refused", before, other.rows())
}

// Whatever is changed in an export is found, and the file is named; also if the
// sums are made to fit.
func TestTamperedExportIsRefused(t *testing.T) {
	o := open(t)
	o.rideAndPay()
	dir := o.export()
	resum := func(name string, raw []byte) []byte {
		var m archive.Manifest
		manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		o.must(err)
		o.must(json.Unmarshal(manifest, &m))
		for i := range m.Files {
			if m.Files[i].Name == name {
				m.Files[i].SHA256, m.Files[i].Bytes = archive.Sum(raw), int64(len(raw))
			}
		}
		return []byte(asJSON(t, m))
	}
	const at = "tenants/1001/"
	for _, c := range []struct {
		name, old, new string
		resum          bool
	}{
		{at + "transfers.jsonl", `"amount":`, `"amount":9`, false},
		{at + "taps.jsonl", `"accepted":true`, `"accepted":false`, false},
		{at + "payees.jsonl", "OPERATOR-1001", "OPERATOR-6666", false},
		{"directory.json", "Valley Bus", "Alley Bus", false},
		{"keys.json", `"kid": 1`, `"kid": 2`, false},
		{"keys.json", `"kid": 1`, `"kid": 2`, true}, // the code's key is gone
		{at + "tap_evidence.jsonl", `"raw":"\\x7d`, `"raw":"\\x7e`, true},
		{at + "tap_seen.jsonl", `"digest":"\\x`, `"digest":"\\x00`, true},
	} {
		path := filepath.Join(dir, c.name)
		good, err := os.ReadFile(path)
		o.must(err)
		manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		o.must(err)
		bad := bytes.Replace(good, []byte(c.old), []byte(c.new), 1)
		if bytes.Equal(bad, good) {
			t.Fatalf("%s has no %s: %.300s", c.name, c.old, good)
		}
		o.must(os.WriteFile(path, bad, 0o600))
		if c.resum {
			o.must(os.WriteFile(filepath.Join(dir, "manifest.json"), resum(c.name, bad), 0o600))
		}
		_, err = archive.Check(os.DirFS(dir))
		table := strings.TrimSuffix(filepath.Base(c.name), ".jsonl")
		if !errors.Is(err, archive.ErrTampered) || !c.resum && !strings.Contains(err.Error(), table) {
			t.Errorf("%s with %s (sums made to fit: %t): %v", c.name, c.new, c.resum, err)
		}
		o.must(os.WriteFile(path, good, 0o600))
		o.must(os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o600))
	}
	extra := filepath.Join(dir, "tenants", "1001", "extra.jsonl")
	o.must(os.WriteFile(extra, nil, 0o600))
	if _, err := archive.Check(os.DirFS(dir)); !errors.Is(err, archive.ErrTampered) || !strings.Contains(err.Error(), "extra.jsonl") {
		t.Errorf("a file that nobody named: %v", err)
	}
	o.must(os.Remove(extra))
	if _, err := archive.Check(os.DirFS(dir)); err != nil {
		t.Errorf("put right again: %v", err)
	}
	manifest := filepath.Join(dir, "manifest.json")
	raw, err := os.ReadFile(manifest)
	o.must(err)
	var m archive.Manifest
	o.must(json.Unmarshal(raw, &m))
	m.Schema = "20200101000000_other.sql"
	o.must(os.WriteFile(manifest, []byte(asJSON(t, m)), 0o600))
	if _, err := archive.Import(t.Context(), o.DB, o.Tenants, "user:test", os.DirFS(dir)); !errors.Is(err, archive.ErrSchema) {
		t.Errorf("an export of another schema: %v", err)
	}
}

// A closing tenant finishes what it has and is closed then; what each state
// refuses is refused at the place where it happens.
func TestStatesRefuseWhatTheTableSays(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	o.onboard()
	credential := o.credential("phone")
	v := o.validator()
	batch := o.board(v, credential, "phone")

	refuses := func(activity tenants.Activity, state tenants.State, code string) {
		t.Helper()
		want := ""
		if !state.Allows(activity) {
			want = "tenant.state"
		}
		if code != want {
			t.Errorf("%s, %s: refused with %q, want %q", state, activity, code, want)
		}
	}
	attempt := func(method, path, contentType string, body []byte) string {
		t.Helper()
		w := o.ask(method, path, contentType, body)
		var p struct{ Code string }
		o.must(json.Unmarshal(w.Body.Bytes(), &p))
		return p.Code
	}
	issueBody := []byte(asJSON(t, map[string]any{"requests": []map[string]any{{"rider_ref": "r", "contract": "sandbox", "device_key": key("another")[32:], "product": 1, "cap": 50, "window": 30, "ttl_hours": 48}}}))
	for _, state := range []tenants.State{tenants.Suspended, tenants.Active, tenants.Closing} {
		to := state
		if state == tenants.Closing { // the ride of before is not paid yet
			to = tenants.Closed
		}
		got, err := o.SetState(ctx, actor, bus, to)
		o.must(err)
		if got.State != state {
			t.Fatalf("it is %s, want %s", got.State, state)
		}
		refuses(tenants.Issuing, state, attempt("POST", busPath("credentials"), "application/json", issueBody))
		refuses(tenants.TakingTaps, state, attempt("POST", "/v1/tap-batches", "application/octet-stream", batch))
		refuses(tenants.Configuring, state, attempt("PUT", busPath("keys/explain"), "application/json", []byte("{}")))
		before := o.count("SELECT count(*) FROM charges") + o.count("SELECT count(*) FROM payouts")
		if state == tenants.Suspended {
			for range 12 {
				o.move(6 * time.Hour)
				o.settleDown()
			}
			if n := o.count("SELECT count(*) FROM journeys WHERE state = 'priced'"); n != 1 {
				t.Errorf("suspended: %d journeys are priced, want the one that was uploaded", n)
			}
			if after := o.count("SELECT count(*) FROM charges") + o.count("SELECT count(*) FROM payouts"); after != before {
				t.Errorf("suspended: money went on: %d charges and payouts, %d before", after, before)
			}
		}
	}
	for range 60 {
		if now, err := o.Tenants.ByID(ctx, bus); err != nil || now.State == tenants.Closed {
			o.must(err)
			break
		}
		o.move(6 * time.Hour)
		o.settleDown()
	}
	now, err := o.Tenants.ByID(ctx, bus)
	o.must(err)
	if open, err := o.UnderWay(ctx, bus); now.State != tenants.Closed || open != "" || err != nil {
		t.Fatalf("it is %s and has %q under way (%v)", now.State, open, err)
	}
	if n := o.count("SELECT count(*) FROM payouts WHERE state = 'sent'"); n == 0 {
		t.Error("closed, and nobody was paid")
	}
	refuses(tenants.Issuing, tenants.Closed, attempt("POST", busPath("credentials"), "application/json", issueBody))
	refuses(tenants.TakingTaps, tenants.Closed, attempt("POST", "/v1/tap-batches", "application/octet-stream", batch))
	refuses(tenants.Configuring, tenants.Closed, attempt("PUT", busPath("keys/webhook"), "application/json", []byte("{}")))
	o.booksHold()
}

// A draft is set up and does nothing else.
func TestDraftIsSetUpOnly(t *testing.T) {
	o := open(t)
	o.send("PUT", "/v1/tenants/7", map[string]any{"slug": "new-bus", "name": "New Bus", "kind": "bus", "mode": "sandbox", "issuer": 77, "currency": "CNY",
		"time_zone": "Asia/Shanghai", "cut_minutes": 0, "cap_unit": 10, "state": "draft"}, nil)
	o.send("PUT", "/v1/tenants/7/keys/credential", map[string]any{}, nil)
	issue := map[string]any{"requests": []map[string]any{{"rider_ref": "r", "contract": "c", "device_key": key("x")[32:], "product": 1, "cap": 5, "window": 30, "ttl_hours": 4}}}
	if code := o.refused("POST", "/v1/tenants/7/credentials", issue); code != "tenant.state" {
		t.Errorf("a draft issues: %s", code)
	}
}

// Money that was collected is not paid out while the tenant is suspended, and is
// when it is active again.
func TestSuspendedHoldsPayouts(t *testing.T) {
	o := open(t)
	o.onboard()
	credential := o.credential("phone")
	o.upload(o.board(o.validator(), credential, "phone"))
	const sent = "SELECT count(*) FROM payouts WHERE state = 'sent'"
	for range 12 {
		o.move(2 * time.Hour)
		o.settleDown()
	}
	if charged, paid := o.count("SELECT count(*) FROM charges WHERE state = 'succeeded'"), o.count(sent); charged != 1 || paid != 0 {
		t.Fatalf("%d charges, %d payouts: want a fare that is collected and not paid yet", charged, paid)
	}
	_, err := o.SetState(t.Context(), actor, bus, tenants.Suspended)
	o.must(err)
	for range 12 {
		o.move(6 * time.Hour)
		o.settleDown()
	}
	if n := o.count(sent); n != 0 {
		t.Errorf("%d payouts of a suspended tenant", n)
	}
	_, err = o.SetState(t.Context(), actor, bus, tenants.Active)
	o.must(err)
	for range 3 {
		o.move(6 * time.Hour)
		o.settleDown()
	}
	if n := o.count(sent); n != 1 {
		t.Errorf("%d payouts after it came back, want 1", n)
	}
	o.booksHold()
}

// Codes of every scheme that public keys prove are proven again from an export
// alone, by name of the scheme; those that only a provider proves are counted with
// the reason. One bit of a key, or of a code whose digests were made to fit, and
// nothing is proven.
func TestTapsOfOtherSchemesVerifyFromAnExport(t *testing.T) {
	o := open(t)
	o.onboard()
	city, railway := newMinistry(o), newRailway(o)
	o.answerFor(city, railway, `{"codes":[{"code":"`+base64.StdEncoding.EncodeToString(token(o, 1))+`","rider":"ann"}]}`)
	v := o.reader(1)
	for _, raw := range [][]byte{city.show(o, 1, o.now()), city.show(o, 2, o.now()), railway.show(o, 1, o.now()), token(o, 1)} {
		if got := o.offer(v, raw); got != "" {
			t.Fatal(got)
		}
	}
	o.drain(v)
	for range 6 { // the railway names its ticket, the provider its token
		o.settleDown()
		o.move(time.Minute)
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	o.must(err)
	defer root.Close()
	_, err = archive.Exporter{DB: o.DB, Tenants: o.Tenants, Ring: o.Ring, PayoutFiles: o.Files.FS(), Clock: o.now}.Export(t.Context(), root, bus)
	o.must(err)
	r, err := archive.Check(os.DirFS(dir))
	o.must(err)
	if r.Verified != 3 || r.Schemes[motsm2.ID] != 2 || r.Schemes[uicdosipas.ID] != 1 || r.Other != 1 || len(r.Unproven) != 1 ||
		r.Unproven[0].Scheme != tokendefer.ID || !strings.Contains(r.Unproven[0].Why, "provider") {
		t.Fatalf("%+v", r)
	}
	var keys []archive.SchemeKeys
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		o.must(err)
		return raw
	}
	good, manifest := read("schemes.json"), read("manifest.json")
	write := func(name string, raw []byte) {
		t.Helper()
		var m archive.Manifest
		o.must(json.Unmarshal(manifest, &m))
		for i := range m.Files {
			if m.Files[i].Name == name {
				m.Files[i].SHA256, m.Files[i].Bytes = archive.Sum(raw), int64(len(raw))
			}
		}
		o.must(os.WriteFile(filepath.Join(dir, name), raw, 0o600))
		o.must(os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(asJSON(t, m)), 0o600))
	}
	refused := func(what string) {
		t.Helper()
		if _, err := archive.Check(os.DirFS(dir)); !errors.Is(err, archive.ErrTampered) || !strings.Contains(err.Error(), "verify") && !strings.Contains(err.Error(), "of no scheme") {
			t.Errorf("%s: %v", what, err)
		}
	}
	o.must(json.Unmarshal(good, &keys))
	flipped := 0
	for i := range keys {
		for j := range keys[i].Keys {
			var changed []archive.SchemeKeys
			o.must(json.Unmarshal(good, &changed))
			key := changed[i].Keys[j].Key
			key[len(key)-1] ^= 1
			write("schemes.json", []byte(asJSON(t, changed)))
			refused(string(keys[i].Scheme) + " with another key")
			flipped++
		}
	}
	if flipped != 2 {
		t.Errorf("%d keys were tried; want the Ministry's and the railway's", flipped)
	}
	write("schemes.json", []byte("[]"))
	if _, err := archive.Check(os.DirFS(dir)); !errors.Is(err, archive.ErrTampered) || !strings.Contains(err.Error(), "no scheme") {
		t.Errorf("without the schemes: %v", err)
	}
	write("schemes.json", good)
	// Who rewrites the evidence of each tap and every digest of it still has no signature.
	const at = "tenants/1001/"
	rows := func(name string) (all []map[string]any) {
		for line := range bytes.Lines(read(at + name)) {
			var row map[string]any
			d := json.NewDecoder(bytes.NewReader(line))
			d.UseNumber()
			o.must(d.Decode(&row))
			all = append(all, row)
		}
		return all
	}
	bytesOf := func(v any) []byte {
		raw, err := hex.DecodeString(strings.TrimPrefix(v.(string), `\x`))
		o.must(err)
		return raw
	}
	text := func(raw []byte) string { return `\x` + hex.EncodeToString(raw) }
	forge := func(name string, all []map[string]any) {
		var b bytes.Buffer
		for _, row := range all {
			b.WriteString(asJSON(t, row) + "\n")
		}
		write(at+name, b.Bytes())
		manifest = read("manifest.json")
	}
	was := map[string][]byte{"manifest.json": manifest}
	for _, name := range []string{"taps.jsonl", "tap_evidence.jsonl", "tap_seen.jsonl"} {
		was[at+name] = read(at + name)
	}
	for n := range 3 { // the ones that are proven
		taps, evidence, seen := rows("taps.jsonl"), rows("tap_evidence.jsonl"), rows("tap_seen.jsonl")
		row := taps[n]
		of := slices.IndexFunc(evidence, func(e map[string]any) bool { return e["digest"] == row["evidence_digest"] })
		raw := bytesOf(evidence[of]["raw"])
		raw[len(raw)-1] ^= 1
		digest := tap.EvidenceDigest(raw)
		record, err := tap.ParseRecord(bytesOf(row["record"]))
		o.must(err)
		record.Evidence = raw
		whole, err := record.AppendTo(nil)
		o.must(err)
		sum := tap.Digest(whole)
		evidence[of]["raw"], evidence[of]["digest"], row["evidence_digest"] = text(raw), text(digest[:]), text(digest[:])
		is := slices.IndexFunc(seen, func(s map[string]any) bool { return s["terminal"] == row["terminal"] && s["seq"] == row["seq"] })
		seen[is]["digest"] = text(sum[:])
		forge("taps.jsonl", taps)
		forge("tap_evidence.jsonl", evidence)
		forge("tap_seen.jsonl", seen)
		refused(fmt.Sprintf("tap %d with one bit of its code flipped", n+1))
		for name, raw := range was {
			o.must(os.WriteFile(filepath.Join(dir, name), raw, 0o600))
		}
		manifest = was["manifest.json"]
	}
	if _, err := archive.Check(os.DirFS(dir)); err != nil {
		t.Errorf("put right again: %v", err)
	}
}
