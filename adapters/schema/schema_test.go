package schema

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
)

type shared struct {
	Every string `json:"every,omitempty"`
}

type contract struct {
	Base     string            `json:"base" format:"uri" doc:"where"`
	Kind     string            `json:"kind,omitempty" enum:"|bus|metro"`
	Keys     map[string][]byte `json:"keys"`
	Currency citygate.Currency `json:"currency,omitempty"`
	Store    struct {
		Name  string `json:"name,omitempty"`
		Level uint8  `json:"level,omitempty"`
	} `json:"store,omitzero"`
	Free  json.RawMessage `json:"free,omitempty"`
	Later *int64          `json:"later" optional:"1"`
	Own   func()          `json:"-"`
	shared
}

// What encoding/json writes of a type its schema takes, and faults have their place.
func TestSchemaOfAType(t *testing.T) {
	form, err := Compile(Of[contract]("a contract", map[string]any{"anyOf": []any{map[string]any{"required": []string{"kind"}}, map[string]any{"required": []string{"keys"}}}}))
	if err != nil {
		t.Fatal(err)
	}
	good, err := json.Marshal(contract{Base: "https://pay.example", Keys: map[string][]byte{"1": {1, 2}}, shared: shared{Every: "1h"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{string(good), `{"base":"x","keys":null,"kind":"","store":{"level":255},"free":[1,{"a":2}],"later":null}`} {
		if err := form.Check(json.RawMessage(doc), ""); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
	for doc, want := range map[string]string{
		`{"keys":{}}`: "/config/base: missing",
		`{"base":"x","keys":{},"sec/ret":"hunter2"}`:   "/config/sec~1ret: there is no such field",
		`{"base":7,"keys":{}}`:                         "/config/base: want string",
		`{"base":"x","keys":{"1":"hunter2!"}}`:         "/config/keys/1: want text of the form",
		`{"base":"x","keys":{},"kind":"hunter2"}`:      "/config/kind: want one of",
		`{"base":"x","keys":{},"store":{"level":256}}`: "/config/store/level does not fit the rule maximum",
		`{"base":"x","keys":{},"store":{"levels":1}}`:  "/config/store/levels: there is no such field",
		`{"base":"x","keys":{},"currency":"hkd"}`:      "/config/currency: want text of the form ^[A-Z]{3}$",
		`[]`: "/config: want object",
		`{`:  "/config: not JSON",
	} {
		err := form.Check(json.RawMessage(doc), "/config")
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
}

// A schema that comes from outside fetches nothing.
func TestSchemasStandAlone(t *testing.T) {
	for _, text := range []string{`{`, `{"type":"thing"}`, `{"$ref":"https://elsewhere.example/schema.json"}`, `{"$ref":"file:///etc/passwd"}`} {
		if _, err := Compile(json.RawMessage(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
