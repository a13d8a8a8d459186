package edge_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cashlesscity/citygate/gateway/edge"
)

// wholes are operations that read whose answer has rows and comes as a whole, and
// what bounds it.
var wholes = map[string]string{
	"list-served":          "a PUT says all of them, at most 100",
	"get-checklist":        "one row for each thing that the source checks",
	"list-problems":        "one row for each code in the source",
	"list-deny-lists":      "a terminal needs all of them at once; an issuer opens a list for 65,536 riders",
	"list-updates":         "what a terminal has to fetch, one row for each list",
	"get-bundle-reach":     "what stands in the way of one bundle",
	"get-journey":          "one journey",
	"get-till-payment":     "one payment, with its refunds, at most 50",
	"get-bearer-claims":    "one row for each contract and currency, and the platform's",
	"get-explanation":      "the taps, rules and caps of one fare, and its path in one batch",
	"get-code-scheme":      "one scheme",
	"get-ridership-report": "the four tables of one report",
	"get-contract":         "one contract",
	"get-member":           "one person",
	"get-role":             "one role",

	"get-platform-member":  "one person",
	"get-terminal-profile": "one terminal",

	"get-account":    "one account",
	"get-policy":     "one version",
	"explain-access": "one answer",
	"get-liability":  "the lines of one document",

	"get-approval-settings": "one document",

	"get-platform-approval-settings": "one document",
	"explain-platform-access":        "one answer",
	"get-issuance-policy":            "one document",
	"get-payout-rules":               "one document",
}

// A listing is an operation whose answer has rows.
type listing struct {
	edge.Route
	answer *huma.Schema
}

// listings gives the operations that read and answer with rows: an array among the
// members of the answer, under whatever name.
func listings(e *edge.Edge) (all []listing) {
	schemas := e.OpenAPI().Components.Schemas.Map()
	resolved := func(s *huma.Schema) *huma.Schema {
		for s != nil && s.Ref != "" {
			s = schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		}
		return s
	}
	for _, r := range e.DocumentedRoutes() {
		ok := r.Operation.Responses["200"]
		if ok == nil || ok.Content["application/json"] == nil {
			continue
		}
		answer := resolved(ok.Content["application/json"].Schema)
		if answer == nil {
			continue
		}
		items := resolved(answer.Properties["items"])
		if items == nil && r.Operation.Method != http.MethodGet {
			continue // a change may answer with what it made
		}
		if slices.ContainsFunc(slices.Collect(maps.Values(answer.Properties)), func(s *huma.Schema) bool { s = resolved(s); return s != nil && s.Type == huma.TypeArray }) {
			all = append(all, listing{r, answer})
		}
	}
	return all
}

// madeAtOnce are changes whose answer has the rows that they changed.
var madeAtOnce = map[string]string{
	"report-loss": "the devices of one account that were lost",
	"end-roaming": "the versions of one pair that ended",
}

// Every list comes page by page, or something bounds it.
func TestEveryListIsPagedOrBounded(t *testing.T) {
	b := newBench(t)
	seen := map[string]bool{}
	for _, l := range listings(b.Edge) {
		op := l.Operation
		seen[op.OperationID] = true
		has := func(name string) bool {
			return slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == name })
		}
		paged := has("cursor") && has("limit") && l.answer.Properties["next"] != nil && l.answer.Properties["items"] != nil
		_, bounded := wholes[op.OperationID]
		_, changes := madeAtOnce[op.OperationID]
		switch {
		case !paged && !bounded && !changes:
			t.Errorf("%s answers with rows, without cursor, limit and next: use Paged with inPages or cutPages, or say in wholes what bounds it", op.OperationID)
		case paged && (bounded || changes):
			t.Errorf("%s comes page by page: take it out of wholes", op.OperationID)
		}
		if has("after") || has("before") {
			t.Errorf("%s takes after or before: the place in a list is a cursor", op.OperationID)
		}
	}
	for _, listed := range []map[string]string{wholes, madeAtOnce} {
		for op := range listed {
			if !seen[op] {
				t.Errorf("%s is no operation that answers with rows: take it out of its table", op)
			}
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d operations answer with rows", len(seen))
	}
}

// everyListPages walks every list of a tenant row by row: it has each row once, in
// the order of the whole list, also when rows come and go on the way; and its
// cursors are good for nothing else.
func (w *world) everyListPages(t *testing.T, p, other *party) {
	t.Helper()
	w.second(p)
	few, held, filtered := []string{}, 0, 0
	for _, l := range listings(w.edge) {
		op := l.Operation.OperationID
		if wholes[op] != "" || madeAtOnce[op] != "" || l.Class != "token" {
			continue
		}
		c, _ := sample(w.edge.OpenAPI(), l.Route, p.id, p.has)
		path, _, _ := strings.Cut(c.url(), "?")
		needs := url.Values{} // what has to be said in any case
		for _, param := range l.Operation.Parameters {
			if param.In == "query" && param.Required {
				needs[param.Name] = c.query[param.Name]
			}
		}
		rows, next := w.rowsAt(t, path, needs, "limit", "500")
		if next != "" {
			t.Errorf("%s: %d rows and more", op, len(rows))
		}
		if len(rows) < 2 {
			if fewRows[op] == "" {
				few = append(few, op)
			}
			continue
		}
		held++
		walked, cursor := []string{}, ""
		for len(walked) <= len(rows) {
			page, after := w.rowsAt(t, path, needs, "limit", "1", "cursor", cursor)
			walked = append(walked, page...)
			if len(page) != 1 {
				t.Errorf("%s: a page of %d rows", op, len(page))
			}
			if after == "" {
				break
			}
			cursor = after
		}
		if !slices.Equal(walked, rows) {
			t.Errorf("%s: row by row\n%s\nat once\n%s", op, strings.Join(walked, "\n"), strings.Join(rows, "\n"))
		}
		another := "" // filter of this list, if it has one with a list of values
		for _, param := range l.Operation.Parameters {
			if param.In == "query" && !param.Required && len(param.Schema.Enum) > 0 {
				another = fmt.Sprintf("%s?limit=1&cursor=%s&%s=%v", path, cursor, param.Name, param.Schema.Enum[0])
				filtered++
			}
		}
		for what, address := range map[string]string{
			"of another filter": another, "twice": path + "?cursor=" + cursor + "&cursor=" + cursor,
			"cut": path + "?cursor=" + cursor[:len(cursor)-4], "changed": path + "?cursor=" + turned(cursor), "of nothing": path + "?cursor=" + strings.Repeat("A", 16),
			"none": path + "?cursor=", "no text": path + "?cursor=%20",
			"of another list":   p.path("payees") + "?cursor=" + w.cursor(t, p.path("balances")),
			"of another tenant": strings.Replace(path, p.id.String(), other.id.String(), 1) + "?cursor=" + cursor,
		} {
			if address == "" || what == "of another tenant" && !strings.Contains(path, "/"+p.id.String()) {
				continue // it has no filter; the platform's own lists
			}
			if got := w.ask(w.root, http.MethodGet, address, "", nil); got.Code != http.StatusUnprocessableEntity || code(got) != "request.cursor" {
				t.Errorf("%s with a cursor %s: %d %.200s", op, what, got.Code, got.Body)
			}
		}
	}
	if len(few) > 0 || held < 30 || filtered < 3 {
		t.Errorf("%d lists were walked, %d with a filter; these have too few rows: %v", held, filtered, few)
	}
}

// fewRows are lists of which this world has less than two rows, and where they are
// walked; that they are paged at all is TestEveryListIsPagedOrBounded's.
var fewRows = map[string]string{
	"list-sales":            "it takes a provider that sells: gateway/products_test.go",
	"list-rights":           "likewise",
	"list-catalogues":       "likewise",
	"list-fare-members":     "an integrated tariff takes an authority: gateway's shared fares tests",
	"list-fare-shares":      "likewise",
	"list-code-schemes":     "the world answers for one scheme; the list is cut as the others are",
	"list-platform-issuers": "the platform of the world has one",
	"list-reconciliation":   "one exception is open: gateway/due_test.go",
	"list-bearer-payments":  "it takes a bearer who owes: collect's dispute_test.go",
	"list-risk-flags":       "it takes taps that cannot be one person's: gateway's risk tests",
	"list-notices":          "it takes a provider that tells of its own accord: gateway's notify tests",

	"list-platform-audit-checkpoints": "the world seals once; gateway/audit_test.go walks a tenant's, which is the same code",
}

// second gives a tenant a second one of what the other tests need one of.
func (w *world) second(p *party) {
	w.t.Helper()
	type o = map[string]any
	w.send(http.MethodPut, p.path("state"), o{"state": "active"}, nil)
	later := w.now().Add(200 * 24 * time.Hour)
	for i := range 2 {
		name, at := fmt.Sprintf("more-%d", i), later.Add(time.Duration(i)*time.Hour)
		w.send(http.MethodPost, p.path("stops"), o{"stops": []edge.Stop{{ID: name, Name: name}}}, nil)
		w.send(http.MethodPost, p.path("vehicles"), o{"vehicles": []edge.Vehicle{{ID: name, Kind: "bus"}}}, nil)
		w.send(http.MethodPut, p.path("issuers/%s", name), o{"url": "https://id.example/" + name, "client_id": "gateway"}, nil)
		w.send(http.MethodPost, p.path("members"), o{"external": name, "roles": []string{"support"}}, nil)
		w.send(http.MethodPost, p.path("pairing-codes"), o{"name": name, "kind": "validator"}, nil)
		w.send(http.MethodPost, p.path("journey-facts"), edge.JourneyFact{Kind: "gates_opened", Stop: name, From: w.now().Add(-2 * time.Hour), To: w.now().Add(-time.Hour)}, nil)
		w.send(http.MethodPost, p.path("journey-rules"), o{"from": at, "rules": o{"version": 10 + i, "max_journey_minutes": 180, "upload_grace_minutes": 300}}, nil)
		w.send(http.MethodPost, p.path("risk-terms"), o{"from": at, "terms": o{"version": 10 + i, "contracts": []any{}}}, nil)
		w.bind(p, name, edge.RegisterDevice{Kind: "phone", Contract: "pay-" + p.slug, RiderRef: "phone-" + p.slug, Vouched: true})
		w.owner.Exec(p.id, `INSERT INTO receipts (tenant_id, journey_id, kind, ref, issuer_id, contra, payee, amount, currency, business_date, calendar_version, window_date, at, received_at)
			VALUES ($1, '00000000-0000-0000-0000-000000000000', 'carried', $2, $1, '', $2, 70, 'CNY', '2026-11-20', 1, '2026-11-20', $3, $3)`, p.id, name, w.now())
		w.owner.Exec(p.id, `INSERT INTO foreign_codes (tenant_id, scheme, once, operator_id, terminal, seq, subject, proven, cap_minor, digest, evidence, event_time, fare_minor, fare_currency,
				give_up_at, state, reason, attempts, next_try_at, told, created_at)
			SELECT $1, 'token-defer', hash, $1, 1, 1, hash, false, 0, hash, 'x', $3, 0, 'CNY', $3, 'waiting', '', 0, $3, false, $3 FROM (SELECT sha256($2) AS hash) AS h`, p.id, []byte(name), w.now())
		w.must(w.SealSoon(w.t.Context()))
		w.must(w.Drain(w.t.Context()))
		_, err := w.Tokens.Mint(w.t.Context(), edge.Caller{Subject: worldActor, Scopes: []string{edge.ScopePlatform}}, time.Hour)
		w.must(err)
		w.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", 1960+i), edge.TenantDocument{Slug: name, Name: name, Kind: "bus", Mode: "sandbox", Currency: "CNY", TimeZone: "Asia/Shanghai"}, nil)
	}
	for n := range 2 {
		w.owner.Exec(p.id, `INSERT INTO recon_history (tenant_id, contract, item, n, kind, state, owner, our_id, day, issue, currency, expected, expected_fee, actual, actual_fee, resolution, note,
				opened_at, ended_at, ended_day, ended_issue)
			VALUES ($1, 'pay', 'charge/a', $2, 'missing_provider', 'open', 'provider', 'a', '2026-11-20', 1, 'CNY', 100, 0, 0, 0, '', '', $3, $3, '2026-11-20', 2)`, p.id, n+1, w.now())
	}
	for table, change := range map[string]string{
		"external_files": `{"issue":2}`,
		"debts":          `{"aggregation_id":"00000000-0000-7000-8000-000000000001"}`, "recon_items": `{"item":"row/2026-11-21/77","line_no":77}`,
		"payouts": `{"payout_id":"00000000-0000-7000-8000-000000000002","end_to_end_id":"SECOND","payee":"second"}`,
	} {
		w.owner.Exec(p.id, `INSERT INTO `+table+` SELECT (jsonb_populate_record(t, $2)).* FROM `+table+` AS t WHERE tenant_id = $1 LIMIT 1`, p.id, change)
	}
}

// turned gives a cursor with another first letter.
func turned(cursor string) string {
	if cursor[0] == 'A' {
		return "B" + cursor[1:]
	}
	return "A" + cursor[1:]
}

// cursor gives one of a list.
func (w *world) cursor(t *testing.T, path string) string {
	t.Helper()
	_, next := w.rowsAt(t, path, nil, "limit", "1")
	if next == "" {
		t.Fatalf("%s has too few rows", path)
	}
	return next
}

func (w *world) rowsAt(t *testing.T, path string, needs url.Values, more ...string) (rows []string, next string) {
	t.Helper()
	q := url.Values{}
	maps.Copy(q, needs)
	for i := 0; i < len(more); i += 2 {
		if more[i+1] != "" {
			q.Set(more[i], more[i+1])
		}
	}
	var answer struct {
		Items []json.RawMessage
		Next  string
	}
	rec := w.ask(w.root, http.MethodGet, path+"?"+q.Encode(), "", nil)
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); rec.Code != http.StatusOK || err != nil {
		t.Fatalf("%s?%s: %d %s", path, q.Encode(), rec.Code, rec.Body)
	}
	for _, item := range answer.Items {
		rows = append(rows, string(item))
	}
	return rows, answer.Next
}

// Rows that come and go between pages move no other row: nothing is shown twice,
// and nothing that was there all the time is left out.
func TestPagesHoldWhileRowsComeAndGo(t *testing.T) {
	b := newBench(t)
	admin := b.token(t, 1, edge.ScopeAdmin)
	put := func(name string) {
		t.Helper()
		if w := b.call("PUT", "/v1/tenants/1/roles/"+name, admin, `{"permissions":["money.read"]}`, "Idempotency-Key", "put-"+name); w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	for i := range 5 {
		put(fmt.Sprintf("m%d", 2*i))
	}
	var seen []string
	for turn, query := 0, "?own=true&limit=2"; ; turn++ {
		var page struct {
			Items []edge.RoleDocument
			Next  string
		}
		w := b.call("GET", "/v1/tenants/1/roles"+query, admin, "")
		if err := json.Unmarshal(w.Body.Bytes(), &page); w.Code != http.StatusOK || err != nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for _, r := range page.Items {
			seen = append(seen, r.Role)
		}
		if page.Next == "" {
			break
		}
		if turn == 0 { // m0 and m2 were shown: one before them comes, one of them goes, and the one the cursor names
			put("a1")
			put("m3")
			for _, gone := range []string{"m0", "m2"} {
				if w := b.call("DELETE", "/v1/tenants/1/roles/"+gone, admin, "", "Idempotency-Key", "gone-"+gone); w.Code != http.StatusOK {
					t.Fatalf("%s: %d %s", gone, w.Code, w.Body)
				}
			}
		}
		query = "?own=true&limit=2&cursor=" + page.Next
	}
	if want := []string{"m0", "m2", "m3", "m4", "m6", "m8"}; !slices.Equal(seen, want) {
		t.Errorf("seen %v, want %v", seen, want)
	}
}
