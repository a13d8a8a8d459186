// Package schema makes JSON Schemas (2020-12) of the types that contracts with
// payment products are read into, and checks a contract's configuration against
// one. A fault is named by its JSON Pointer; the value there is never repeated,
// as it may be a secret in the wrong field.
package schema

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/cashlesscity/citygate"
)

const draft = "https://json-schema.org/draft/2020-12/schema"

// Of gives the schema of T as encoding/json reads it, without fields of other
// names. A field is required unless its tag says omitempty, omitzero or optional. Further
// tags narrow it: doc (for people), enum (words with | between them), pattern,
// format, minimum, minLength. extra, if any, is merged into the root.
func Of[T any](title string, extra map[string]any) json.RawMessage {
	root := object(reflect.TypeFor[T]())
	root["$schema"], root["title"] = draft, title
	for name, value := range extra {
		root[name] = value
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // maps of words and numbers
	}
	return text
}

// of gives the schema of a type.
func of(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[citygate.Currency]():
		return map[string]any{"type": "string", "pattern": "^[A-Z]{3}$"}
	case reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[[]byte]():
		return map[string]any{"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]*={0,2}$"}
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return orNull(of(t.Elem()))
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		r := map[string]any{"type": "integer", "minimum": 0}
		if t.Bits() < 64 {
			r["maximum"] = uint64(1)<<t.Bits() - 1
		}
		return r
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": of(t.Elem())}
	case reflect.Struct:
		return object(t)
	default:
		panic("schema: no rule for " + t.String())
	}
}

// orNull allows a pointer's null.
func orNull(r map[string]any) map[string]any {
	if one, ok := r["type"].(string); ok {
		r["type"] = []string{one, "null"}
	}
	return r
}

// object gives the schema of a struct; fields of embedded ones are its own.
func object(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "" || name == "-" {
			continue
		}
		r := of(f.Type)
		narrow(r, f.Tag)
		properties[name] = r
		if !strings.Contains(options, "omit") && f.Tag.Get("optional") == "" {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	out := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

func narrow(r map[string]any, tag reflect.StructTag) {
	if doc := tag.Get("doc"); doc != "" {
		r["description"] = doc
	}
	if words := tag.Get("enum"); words != "" {
		r["enum"] = strings.Split(words, "|")
	}
	for _, name := range []string{"pattern", "format"} {
		if v := tag.Get(name); v != "" {
			r[name] = v
		}
	}
	for _, name := range []string{"minimum", "maximum", "minLength", "maxLength"} {
		if v := tag.Get(name); v != "" {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				panic("schema: " + name + " is not a number: " + v)
			}
			r[name] = n
		}
	}
}

// A Schema holds documents to a JSON Schema.
type Schema struct{ compiled *jsonschema.Schema }

// Compile reads a schema that stands alone: it may come from outside, so it
// fetches nothing.
func Compile(text json.RawMessage) (*Schema, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("not JSON")
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource("config.json", value); err != nil {
		return nil, errors.New("not a JSON Schema")
	}
	compiled, err := c.Compile("config.json")
	if err != nil {
		return nil, errors.New("not a JSON Schema that stands alone")
	}
	return &Schema{compiled}, nil
}

type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("a reference to %q, and schemas stand alone", url)
}

// Check reports the first place of doc that the schema refuses, by its JSON
// Pointer below under ("/config" for a part of a larger document).
func (s *Schema) Check(doc json.RawMessage, under string) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return fmt.Errorf("%s: not JSON", place(under, nil))
	}
	if err := s.compiled.Validate(value); err != nil {
		return fault(err, under)
	}
	return nil
}

// fault names the deepest place that a schema refuses, and its rule.
func fault(err error, under string) error {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return fmt.Errorf("%s: it does not fit the schema", place(under, nil))
	}
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	at := v.InstanceLocation
	switch k := v.ErrorKind.(type) {
	case *kind.Required:
		return fmt.Errorf("%s: missing", place(under, append(slices.Clone(at), k.Missing[0])))
	case *kind.AdditionalProperties:
		return fmt.Errorf("%s: there is no such field", place(under, append(slices.Clone(at), k.Properties[0])))
	case *kind.Type:
		return fmt.Errorf("%s: want %s", place(under, at), strings.Join(k.Want, " or "))
	case *kind.Pattern:
		return fmt.Errorf("%s: want text of the form %s", place(under, at), k.Want)
	case *kind.Enum:
		return fmt.Errorf("%s: want one of %v", place(under, at), k.Want)
	}
	return fmt.Errorf("%s does not fit the rule %s of the schema", place(under, at), strings.Join(v.ErrorKind.KeywordPath(), "/"))
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

func place(under string, at []string) string {
	for _, p := range at {
		if len(p) > 64 {
			p = p[:64]
		}
		under += "/" + escape.Replace(strings.ToValidUTF8(p, "?"))
	}
	if under == "" {
		return "/"
	}
	return under
}
