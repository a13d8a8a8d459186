package edge_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cashlesscity/citygate/gateway/edge"
)

// FuzzCheckJSON: a body that is taken is one JSON document in UTF-8 without NUL, and
// stays taken when it is written anew; one with its first name twice is not taken.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"b":{"a":[{"a":null}]}}`, `{"a":"a","a":1}`, `{"a":1,"A":1}`, `[1,2]`, `{"a":1} x`, "{\"\xff\":1}", `{"\u0000":1}`, ``, `{"a":"b"`, `"x"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if edge.CheckJSON(data) != nil {
			return
		}
		var v any
		if len(bytes.TrimSpace(data)) == 0 {
			return // nothing at all is refused by who reads it
		}
		if err := json.Unmarshal(data, &v); err != nil {
			t.Skip() // what the decoder refuses later
		}
		if !utf8.Valid(data) {
			t.Errorf("taken: %q", data)
		}
		again, err := json.Marshal(v)
		if err != nil || edge.CheckJSON(again) != nil {
			t.Errorf("%q is taken, %q is not: %v", data, again, err)
		}
		if o, ok := v.(map[string]any); ok && len(o) > 0 {
			for name := range o {
				key, _ := json.Marshal(name)
				twice := `{` + string(key) + `:0,` + strings.TrimPrefix(string(again), `{`)
				if edge.CheckJSON([]byte(twice)) == nil {
					t.Errorf("a name twice is taken: %q", twice)
				}
				break
			}
		}
	})
}
