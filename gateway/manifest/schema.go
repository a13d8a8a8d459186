package manifest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
)

// Schema is the JSON Schema (2020-12) of a file, made from the types that a file
// is read into. It says less than [Parse] holds: what two parts say of each other,
// and the parts whose form another package knows (a contract's config, prices, an
// issuance policy, a scheme's parameters), are objects to it.
func Schema() ([]byte, error) {
	s := schemas{defs: map[string]any{}}
	root := s.object(reflect.TypeFor[City]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "A city for citygate apply"
	root["description"] = "Tenants with everything that onboarding sets, as `citygate apply -f`, `diff` and `validate` read it and `dump` writes it."
	root["$defs"] = s.defs
	return json.MarshalIndent(root, "", "  ")
}

type schemas struct{ defs map[string]any }

// A rule narrows what a field's type says.
type rule map[string]any

func oneOf[T ~string](values ...T) rule { return rule{"enum": values} }

var (
	isDate   = rule{"format": "date", "pattern": `^\d{4}-\d{2}-\d{2}$`}
	isTime   = rule{"pattern": `^([01]\d|2[0-3]):[0-5]\d$`}
	isBase64 = rule{"contentEncoding": "base64", "minLength": 1}
	isSlug   = rule{"minLength": 3, "maxLength": 40}
	filled   = rule{"minLength": 1}
	positive = rule{"minimum": 1}
	natural  = rule{"minimum": 0}
)

// narrowed are the rules of fields, by "Type.field"; [Parse] holds each of them too.
var narrowed = map[string]rule{
	"City.citygate": {"const": Form},
	"Tenant.id":     positive, "Tenant.slug": isSlug, "Tenant.name": filled,
	"Tenant.kind": oneOf(tenants.Kinds()...),
	"Tenant.mode": oneOf(tenants.Sandbox, tenants.Live), "Tenant.state": oneOf(tenants.States()...), "Tenant.time_zone": filled, "Tenant.cut": isTime,
	"Tenant.cap_unit": natural, "Tenant.currency": {"pattern": "^[A-Z]{3}$"},
	"Key.algorithm": oneOf("ed25519", "ecdsa-p256", "rsa-2048"), "Key.purpose": filled,
	"Contract.name": filled, "Contract.adapter": filled, "Contract.fee_ppm": {"minimum": 0, "maximum": 1_000_000},
	"Payee.id": filled, "Payee.name": filled, "Payee.kind": oneOf("operator", "owner", "driver"),
	"Feed.name": filled, "Feed.version": positive, "Feed.pause_min": {"minimum": 1, "maximum": 1440},
	"Stop.id": filled, "Stop.name": filled,
	"Vehicle.id": filled, "Vehicle.kind": oneOf("train", "bus", "minibus", "taxi", "ferry"),
	"Terminal.id": positive, "Terminal.name": filled, "Terminal.kind": oneOf("gate", "validator", "taximeter"), "Terminal.state": oneOf("active", "suspended"),
	"Terminal.public_key": {"contentEncoding": "base64", "minLength": 44, "maxLength": 44},
	"Terms.from":          isDate, "Terms.close_after_minutes": natural, "Terms.pay_after_minutes": natural,
	"Calendar.from": isDate, "Calendar.time_zone": filled, "Calendar.cut": isTime,
	"Roaming.role": oneOf("issuer", "host"), "Roaming.with": filled,
	"SignIn.name": filled, "SignIn.client_id": filled, "SignIn.url": {"format": "uri"}, "Role.role": filled, "Role.permissions": {"minItems": 1},
	"Member.id": filled, "Member.roles": {"minItems": 1}, "Approvals.two_person": {"items": rule{"enum": twoPersonKinds}},
	"CodeScheme.scheme": filled, "SchemeKey.key": isBase64,
}

// optional are fields whose absence means a zero that is good.
var optional = []string{"Contract.fee_ppm", "Terms.close_after_minutes", "Terms.pay_after_minutes", "City.tenants"}

// counted are the fields of acceptance that the gateway fills in.
var counted = []string{"version", "tenant", "from", "table", "prior"}

// of gives the schema of a type.
func (s *schemas) of(t reflect.Type) rule {
	switch t {
	case reflect.TypeFor[Raw]():
		return rule{"type": "object"}
	case reflect.TypeFor[time.Time]():
		return rule{"type": "string", "format": "date-time"}
	case reflect.TypeFor[accept.Kinds]():
		return rule{"type": "array", "items": rule{"enum": []string{"on", "off", "single"}}}
	case reflect.TypeFor[citygate.TenantID]():
		return rule{"type": "integer"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.String:
		return rule{"type": "string"}
	case reflect.Bool:
		return rule{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return rule{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		r := rule{"type": "integer", "minimum": 0}
		if t.Bits() < 64 {
			r["maximum"] = uint64(1)<<t.Bits() - 1
		}
		return r
	case reflect.Slice:
		return rule{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return rule{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		name := t.Name()
		if t.PkgPath() != reflect.TypeFor[City]().PkgPath() {
			name = t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:] + "." + name
		}
		if _, made := s.defs[name]; !made {
			s.defs[name] = nil // a type that holds itself ends here
			s.defs[name] = s.object(t)
		}
		return rule{"$ref": "#/$defs/" + name}
	default:
		return rule{}
	}
}

// object gives the schema of a struct.
func (s *schemas) object(t reflect.Type) rule {
	properties, required := map[string]any{}, []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || name == "" || name == "-" || t == reflect.TypeFor[accept.Rules]() && slices.Contains(counted, name) {
			continue
		}
		field := t.Name() + "." + name
		r := s.of(f.Type)
		if field == "Tenant.acceptance" {
			r = s.of(reflect.TypeFor[accept.Rules]())
		}
		for key, value := range narrowed[field] {
			r[key] = value
		}
		properties[name] = r
		own := t.PkgPath() == reflect.TypeFor[City]().PkgPath() // others' fields are held by who knows them
		if own && options != "omitempty" && !slices.Contains(optional, field) {
			required = append(required, name)
		}
	}
	out := rule{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	if t == reflect.TypeFor[Secret]() {
		out["minProperties"], out["maxProperties"] = 1, 1
	}
	return out
}
