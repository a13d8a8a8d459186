package ruleset

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Diff says what differs between two sets: a line for each thing that was removed
// (-), added (+) or is another now (- and then +). Rules go by their ids.
func Diff(before, after *Set) []string {
	a, b := before.flat(), after.flat()
	names := slices.Sorted(maps.Keys(a))
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out []string
	for _, name := range names {
		was, had := a[name]
		is, has := b[name]
		if had && has && was == is {
			continue
		}
		if had {
			out = append(out, fmt.Sprintf("- %s: %s", name, was))
		}
		if has {
			out = append(out, fmt.Sprintf("+ %s: %s", name, is))
		}
	}
	return out
}

// flat gives each field of the canonical form and each rule as one line.
func (s *Set) flat() map[string]string {
	var root map[string]json.RawMessage
	out := map[string]string{}
	if json.Unmarshal(s.canonical, &root) != nil {
		return out // it is our own encoding
	}
	for name, value := range root {
		var fields map[string]json.RawMessage
		if json.Unmarshal(value, &fields) == nil && fields != nil {
			for field, v := range fields {
				flatten(out, name+"."+field, v)
			}
			continue
		}
		flatten(out, name, value)
	}
	return out
}

func flatten(out map[string]string, name string, value json.RawMessage) {
	var rules []struct {
		ID string `json:"id"`
	}
	var all []json.RawMessage
	if json.Unmarshal(value, &rules) == nil && len(rules) > 0 && rules[0].ID != "" && json.Unmarshal(value, &all) == nil {
		order := make([]string, len(rules))
		for i, r := range rules {
			order[i] = r.ID
			out[name+"."+r.ID] = string(all[i])
		}
		out[name] = "in the order " + strings.Join(order, ", ")
		return
	}
	if text := string(value); text != "null" && text != "[]" {
		out[name] = text
	}
}
