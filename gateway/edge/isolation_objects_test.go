package edge_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/danielgtaylor/huma/v2"
)

// This file is what the isolation matrix knows about names. A new route fails
// TestEveryReferenceHasAFactory until each of its path parameters is in
// [pathObjects], and each query parameter and body field is in [references] or in
// [plain]. An object of a new kind is made in [world.live], by the real verticals.

// pathObjects says which object of [party.has] a path parameter names. Where one
// word names different things, "operation parameter" comes before "parameter".
var pathObjects = map[string]string{
	"tenant": "tenant", "terminal": "terminal", "flag": "flag", "list": "list", "index": "index", "account": "account", "device": "device",
	"journey": "journey", "name": "payout file", "item": "item", "refund": "refund", "get-tariff version": "tariff", "publish-tariff version": "tariff", "restore-tariff version": "tariff",
	"get-policy version": "policy", "restore-policy version": "policy",
	"contract": "contract", "secret": "secret", "purpose": "purpose",
	"report": "ridership report", "table": "ridership table",
	"scheme": "scheme",
	"member": "member", "role": "role", "issuer": "identity issuer", "key": "api key",
	"debt": "debt", "reversal": "reversal", "dispute": "dispute", "right": "right", "sale": "sale", "till_payment": "till payment", "proposal": "proposal", "pairing": "pairing", "payout": "payout", "kid": "kid", "notice": "notice", "agreement": "agreement", "card": "wallet card",
	"get-platform-member member": "platform member", "get-platform-issuer issuer": "platform issuer",
	"put-platform-member member": "platform member", "remove-platform-member member": "platform member",
	"revoke-platform-api-key key": "platform api key", "put-platform-issuer issuer": "platform issuer", "remove-platform-issuer issuer": "platform issuer",
	"get-platform-proposal proposal": "platform proposal", "approve-platform-proposal proposal": "platform proposal",
	"refuse-platform-proposal proposal": "platform proposal", "withdraw-platform-proposal proposal": "platform proposal",
	"acknowledge-risk-flag flag": "risk flag", "close-risk-flag flag": "risk flag",
}

// references says which object of [party.has] a field of a query or a body names.
var references = map[string]string{
	"account": "account", "tap": "tap", "rider": "rider", "vehicle": "vehicle", "phone": "device", "contract": "contract", "list": "list", "index": "index",
	"parent": "tenant", "payee": "payee", "assign subject": "vehicle", "resolve-reconciliation contract": "item contract",
	"create-api-key owner": "member", "add-member issuer": "identity issuer", "explain-access subject": "member",
	"create-platform-api-key owner": "platform member", "add-platform-member issuer": "platform issuer", "explain-platform-access subject": "platform member",
	// A tenant's own numbers: that another tenant has the same must not show.
	"enrol-terminal id": "terminal", "create-pairing-code id": "terminal", "release-payout payee": "payee", "cancel-payout payee": "payee", "redirect-payout payee": "payee", "redirect-payout to": "payee", "put-vehicles id": "vehicle", "put-payees id": "payee", "put-stops id": "stop", "put-served authorities": "tenant",
	"record-journey-fact terminal": "terminal",
	"payment":                      "payment", "put-code-scheme operators": "tenant", "partner": "tenant", "operator": "tenant",
}

// worldJourneyRules are the least that journey rules can say.
var worldJourneyRules = map[string]any{"version": 1, "max_journey_minutes": 180, "upload_grace_minutes": 300}

// nobody's objects look like those of [party.has] and do not exist.
var nobodys = objects{
	"tenant": noTenant.String(), "terminal": "880088", "flag": "clock_wrong", "list": "60000", "index": "4000000",
	"account": citygate.UUID{0xee, 1}.Text("acc_"), "device": citygate.UUID{0xee, 2}.Text("dev_"), "journey": citygate.UUID{0xee, 3}.Text("jrn_"),
	"refund": citygate.UUID{0xee, 4}.Text("ref_"), "payout file": "nobody.csv", "item": "row/2026-11-21/999", "item contract": "pay-nobody",
	"rider": "8/60000/4000000", "vehicle": "V-nobody", "contract": "pay-nobody", "payee": "nobody",
	"policy": "9", "tariff": "9", "secret": "token", "purpose": "credential", "stop": "S-nobody", "scheme": "emv-cpm",
	"member": "user:nobody", "role": "no_office", "identity issuer": "nobody", "api key": citygate.UUID{0xee, 5}.Text("key_"),
	"proposal": citygate.UUID{0xee, 6}.Text("apr_"), "pairing": citygate.UUID{0xee, 7}.Text("pcd_"),
	"right": citygate.UUID{0xee, 0x19}.Text("rgt_"), "sale": citygate.UUID{0xee, 0x1a}.Text("sal_"), "till payment": citygate.UUID{0xee, 0x1d}.Text("tpy_"),
	"debt": citygate.UUID{0xee, 13}.Text("dbt_"), "reversal": citygate.UUID{0xee, 14}.Text("rvs_"), "dispute": citygate.UUID{0xee, 15}.Text("dsp_"), "payment": "NOBODYS", "payout": citygate.UUID{0xee, 8}.Text("pay_"), "kid": "99",
	"ridership report": citygate.UUID{0xee, 0x1b}.Text("rid_"), "ridership table": "od",
	"notice": citygate.UUID{0xee, 9}.Text("ntc_"), "agreement": citygate.UUID{0xee, 0x1c}.Text("agr_"), "wallet card": citygate.UUID{0xee, 0x1e}.Text("crd_"), "risk flag": citygate.UUID{0xee, 12}.Text("flg_"), "tap": "tap_880088_1",
	"platform member": "platform:nobody", "platform issuer": "nobody", "platform api key": citygate.UUID{0xee, 11}.Text("key_"), "platform proposal": citygate.UUID{0xee, 10}.Text("apr_"),
}

// plain are fields that name no object, with a value that is good for a first
// try; nil leaves it to the schema. Positions in lists ("after") are no
// references: what lies behind them is always the asker's own.
var plain = map[string]any{
	"cursor": nil, "withdraw_later": nil, "list-keys purpose": "credential", "created_by": "user:ada", "own": nil, "limit": nil, "state": nil, "prefix": nil, "version": nil, "days": nil, "at": nil, "code": nil, "codes": nil, "driver": "D-1",
	"slug": "valley-bus", "name": "Name", "kind": nil, "mode": nil, "issuer": 0, "currency": "CNY", "time_zone": "Asia/Shanghai", "cut_minutes": nil, "cap_unit": 100,
	"public_key": nil, "device_key": nil, "stop": "S", "route": "R", "plate": "P", "bank_id": "B", "put-payees account": "ACCOUNT-1", "default": nil,
	"to": nil, "publish-journey-rules rules": worldJourneyRules, "publish-risk-terms terms": map[string]any{"version": 1, "contracts": []any{}}, "from": nil, "subject": nil, "assignments": nil, "vehicles": nil, "payees": nil, "requests": nil, "reason": nil, "lost": nil, "category": "", "proof_expires_at": nil,
	"rider_ref": "somebody", "product": 1, "cap": 5, "issue-credentials taps": 4, "put-issuance-policy taps": 4, "window": 30, "ttl_hours": 48, "suite": 0, "challenge": make([]byte, 32), "signature": make([]byte, 64),
	"attestation": nil, "vouched": nil, "medium": nil, "anchor": nil, "band": nil, "unproven": nil, "chain": nil, "batch": nil, "windows": nil, "window_seconds": 30,
	"concessions": []any{}, "proof": nil, "bands_per_phone": 1, "wait_after_loss_hours": 72, "attestation_roots": nil, "attestation_fresh_status": nil, "apple": nil, "app_attestation": nil, "apps": nil, "development": nil, "roots": nil, "resolution": nil, "put-issuance-policy phone": nil,
	"algorithm": nil, "tariff": map[string]any{}, "adapter": "sandbox", "config": map[string]any{}, "fee_ppm": 6000, "value": []byte("value"), "rules": map[string]any{},
	"stops": nil, "area": "Centre", "source": worldRules, "effective_at": nil, "before": nil, "kinds": nil, "max_fare_minor": nil, "schemes": nil, "features": nil,
	"actor": "user:ada", "verb": "terminal.", "object": "terminal:1", "until": nil, // filters of a tenant's own audit log
	"scheme": "token-defer", "params": map[string]any{}, "keys": nil, "owner": "", "id": nil, "key": nil, "opens": nil, "asks": nil,
	"external": "somebody", "roles": []string{"support"}, "permissions": []string{"money.read"}, "scopes": []string{"money.read"}, "url": "ftp://no.issuer.example", "decision": nil, "simulate-tariff date": "2026-11-20", "publish-ridership-report from": "2026-10-07", "publish-ridership-report to": "2026-10-08", "export-fare-transactions from": "2026-10-07",
	"two_person": []string{}, "client_id": "gateway", "revoke-tokens subject": "user:somebody", "revoke-platform-tokens subject": "platform:somebody",
	"add-platform-member roles": []string{"platform_auditor"}, "put-platform-member roles": []string{"platform_auditor"}, "operation": "list-payouts", "domain": nil,
	"terms": nil, "role": nil, "cap_minor": nil, "upload_days": nil, "uncollected": nil, "notice_days": nil, "beyond": nil, "day_cap_minor": nil, "pay_days": nil, "products": nil, // nobody's but two tenants'
	"amount": map[string]any{"minor": 1, "currency": "CNY"}, "manual": false, "hold_above_minor": nil, "hold_payees": nil, // names that nobody looks up
	"goodwill_minor": nil, "alone_up_to_minor": 500, "refund-journey name": "sample",
	"catalogue": map[string]any{}, "evidence": nil, "order": "sample", "sell-product product": "two", "rider-buy product": "two", "give-right product": "staff",
	"payment_code": "280000000000000001", "till": "counter 1", "wait_seconds": 60, "refund-till-payment name": "sample",
	"anyway": nil, "not_issued_after": nil, "day": "2026-11-21", "list-reconciliation-history issue": nil, "next": "", "replay-policy limit": 100,
	"resolve-notice note":    "seen",
	"open-agreement purpose": nil, "single_max": nil, "return_url": nil, "minor": nil, "add-wallet-card card": "0370001", "why": nil, "tip": nil,
	"record-reversal reference": "CB-1", "conclude-reversal reference": "RP-1", "fee_minor": nil, "conclude-reversal outcome": "lost", "amount_minor": 0,
	"bearer": "platform", "dispute-liability evidence": "a list", "decide-dispute outcome": "rejected", "bears_instead": nil, "record-bearer-payment reference": "T-1", "record-bearer-payment contract": "",
	"now": nil, "back": nil, "seconds": 60, "taps": nil, "reads": nil, "writes": nil, "per_second": nil, "burst": nil, "add-calendar version": 2, "add-calendar from": "2027-01-01",
	"rest_weekdays": nil, "holidays": nil, "workdays": nil, "keep_days": nil, "automatic": nil,
	"close_after_minutes": 60, "pay_after_minutes": 600, "add-settlement-terms from": "2026-12-24",
}

// lookUp finds the entry of a table for a name of an operation.
func lookUp[T any](table map[string]T, op, name string) (T, bool) {
	if v, ok := table[op+" "+name]; ok {
		return v, true
	}
	v, ok := table[name]
	return v, ok
}

var samples atomic.Int64

// isPlain reports whether a field that is a reference elsewhere is none here.
func isPlain(op, name string) bool {
	_, plainHere := plain[op+" "+name]
	return plainHere
}

// refersTo gives the kind of object that a field names, "" for none.
func refersTo(op, name string) string {
	kind, _ := lookUp(references, op, name)
	return kind
}

// A sampler makes requests of the OpenAPI document that name the objects of has.
type sampler struct {
	schemas map[string]*huma.Schema
	op      string
	has     objects
	used    []string // values of has that the request names
	unknown []string // names that are in no table
	missing []string // kinds that has lacks
}

// A call is a request that a sampler made.
type call struct {
	op, method, path string
	query            url.Values
	body             any // nil = none
	used             []string
	refers           bool // beyond the tenant of its path
}

func (c call) raw() []byte {
	if c.body == nil {
		return nil
	}
	raw, err := json.Marshal(c.body)
	if err != nil {
		panic(err) // made of maps, strings and numbers
	}
	return raw
}

func (c call) url() string {
	if len(c.query) == 0 {
		return c.path
	}
	return c.path + "?" + c.query.Encode()
}

func (s *sampler) object(kind string) string {
	v, ok := s.has[kind]
	if !ok {
		s.missing = append(s.missing, kind)
	}
	s.used = append(s.used, v)
	return v
}

// sample makes the request of a route for the tenant, with the objects of has.
func sample(doc *huma.OpenAPI, r edge.Route, tenant citygate.TenantID, has objects) (call, *sampler) {
	s := &sampler{schemas: doc.Components.Schemas.Map(), op: r.Operation.OperationID, has: has}
	c := call{op: s.op, method: r.Operation.Method, path: r.Operation.Path, query: url.Values{}}
	for _, p := range r.Operation.Parameters {
		switch p.In {
		case "path":
			kind, ok := lookUp(pathObjects, s.op, p.Name)
			if !ok {
				s.unknown = append(s.unknown, "path parameter "+p.Name)
			}
			value := tenant.String()
			if kind != "tenant" {
				value, c.refers = s.object(kind), true
			}
			c.path = strings.ReplaceAll(c.path, "{"+p.Name+"}", url.PathEscape(value))
		case "query":
			if kind, ok := lookUp(references, s.op, p.Name); ok {
				c.query.Set(p.Name, s.object(kind))
				c.refers = true
				continue
			}
			if _, ok := lookUp(plain, s.op, p.Name); !ok {
				s.unknown = append(s.unknown, "query parameter "+p.Name)
			}
			if p.Required {
				c.query.Set(p.Name, fmt.Sprint(s.value(p.Name, p.Schema, false)))
			}
		}
	}
	if body := r.Operation.RequestBody; body != nil && body.Content["application/json"] != nil {
		before := len(s.used)
		c.body = s.value("", body.Content["application/json"].Schema, true)
		c.refers = c.refers || len(s.used) > before
	}
	c.used = s.used
	return c, s
}

// value makes a value of a schema for the field called name.
func (s *sampler) value(name string, schema *huma.Schema, inBody bool) any {
	schema = s.resolve(schema)
	if name != "" && inBody {
		if kind, ok := lookUp(references, s.op, name); ok && !isPlain(s.op, name) && (schema.Type == huma.TypeString || schema.Type == huma.TypeInteger) {
			if text := s.object(kind); schema.Type == huma.TypeString {
				return text
			} else if text != "" {
				return json.Number(text)
			}
			return 0
		}
		v, ok := lookUp(plain, s.op, name)
		if !ok && refersTo(s.op, name) == "" {
			s.unknown = append(s.unknown, "body field "+name)
		}
		if v != nil {
			return v
		}
	}
	switch {
	case strings.HasSuffix(name, "_key") && schema.ContentEncoding == "base64":
		return publicKey(fmt.Sprint("sample ", samples.Add(1))) // a key is bound once
	case len(schema.Enum) > 0:
		return schema.Enum[0]
	case schema.Type == huma.TypeObject:
		return s.objectOf(schema)
	case schema.Type == huma.TypeArray && inBody && refersTo(s.op, name) != "":
		return []any{json.Number(s.object(refersTo(s.op, name)))}
	case schema.Type == huma.TypeArray:
		return []any{s.value(strings.TrimSuffix(name, "s"), schema.Items, false)}
	case schema.Type == huma.TypeInteger || schema.Type == huma.TypeNumber:
		if schema.Minimum != nil {
			return int64(max(*schema.Minimum, 1))
		}
		return 1
	case schema.Type == huma.TypeBoolean:
		return false
	}
	return text(schema)
}

func text(schema *huma.Schema) string {
	switch {
	case schema.ContentEncoding == "base64":
		return base64.StdEncoding.EncodeToString(make([]byte, 32))
	case schema.Format == "date":
		return "2026-12-24"
	case schema.Format == "date-time":
		return "2026-11-21T08:00:00Z"
	case len(schema.Examples) > 0:
		return fmt.Sprint(schema.Examples[0])
	case schema.MinLength != nil && *schema.MinLength > 0:
		return strings.Repeat("x", *schema.MinLength)
	}
	return ""
}

// objectOf fills what is required, and what names an object; the rest is named
// for the tables and left out.
func (s *sampler) objectOf(schema *huma.Schema) any {
	o := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		p := s.resolve(schema.Properties[name])
		if p.ReadOnly || name == "$schema" {
			continue
		}
		used := len(s.used)
		v := s.value(name, p, true)
		if slices.Contains(schema.Required, name) || len(s.used) > used {
			o[name] = v
		}
	}
	return o
}

func (s *sampler) resolve(schema *huma.Schema) *huma.Schema {
	for schema.Ref != "" {
		schema = s.schemas[schema.Ref[strings.LastIndexByte(schema.Ref, '/')+1:]]
	}
	return schema
}
