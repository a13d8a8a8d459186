package edge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// deepest JSON that is read: no request has a reason to be deeper.
const deepestJSON = 64

// strictJSON is huma's JSON, but for bodies that two readers could read as two
// requests, or that the database could not store: it refuses what is not UTF-8, a
// name that comes twice in one object, NUL in a text, what stands behind the
// document, and depth that nobody needs.
var strictJSON = huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: func(data []byte, v any) error {
	if _, first := v.(*any); first { // huma reads every body twice: to check it, then into its type
		if err := checkJSON(data); err != nil {
			return err
		}
	}
	return json.Unmarshal(data, v)
}}

// checkJSON reports why data is refused.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var open []map[string]bool // names seen in each open object; nil for an array
	named := false             // the next text of an object is a value
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		in := len(open) - 1
		switch v := t.(type) {
		case json.Delim:
			switch v {
			case '{', '[':
				if len(open) == deepestJSON {
					return fmt.Errorf("the body is deeper than %d levels", deepestJSON)
				}
				var names map[string]bool
				if v == '{' {
					names = map[string]bool{}
				}
				open = append(open, names)
			default:
				open = open[:in]
			}
			named = false
			continue
		case string:
			if strings.ContainsRune(v, 0) {
				return errors.New("a text has the character U+0000")
			}
			if in >= 0 && open[in] != nil && !named {
				name := strings.ToLower(v) // as encoding/json finds fields
				if open[in][name] {
					return errors.New("a name comes twice in one object")
				}
				open[in][name], named = true, true
				continue
			}
		}
		named = false
	}
}

// readable reports whether the address and the key of a request are texts that
// can be compared and stored.
func readable(r *http.Request) bool {
	query := r.URL.RawQuery
	if values := r.URL.Query(); len(values) > 0 {
		var all strings.Builder
		for name, list := range values {
			all.WriteString(name)
			all.WriteString(strings.Join(list, ""))
		}
		query = all.String()
	}
	for _, text := range []string{r.URL.Path, query, r.Header.Get("Idempotency-Key")} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return false
		}
	}
	return true
}

// asked refuses a query with a name that the operation does not take: a filter
// with a slip in its name would otherwise answer as if nothing had been asked.
func (e *Edge) asked(r *http.Request, op operation) error {
	for name := range r.URL.Query() {
		if takes := e.queries[op.id]; !slices.Contains(takes, name) {
			return errBody.Explain("the query has a parameter that this operation does not take; it takes: %s", cmp.Or(strings.Join(takes, ", "), "none"))
		}
	}
	return nil
}
