package gtfs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrCase is the refusal of a case file.
var ErrCase = ErrJourney

// A Case is one worked example: a feed in tables, a journey, and what it costs.
type Case struct {
	ID      string
	Feed    *Feed
	Journey *Journey
	Expect  Expect
}

// Expect is what a case says of its result; nil where it says nothing.
type Expect struct {
	Products      []string        `json:"products"`
	EffectiveLegs *int            `json:"effective_legs"`
	TotalMinor    json.RawMessage `json:"total_minor"` // an integer or null; nil where it is not given
}

// tableJSON is a table of a case: its rows as objects.
type tableJSON []map[string]any

type caseJSON struct {
	ID      string               `json:"id"`
	Kind    any                  `json:"kind"`
	Why     any                  `json:"why"`
	Note    any                  `json:"note"`
	TZ      string               `json:"tz"`
	Tables  map[string]tableJSON `json:"tables"`
	Journey []rideJSON           `json:"journey"`
	Rider   *string              `json:"rider"`
	Media   *string              `json:"media"`
	Expect  Expect               `json:"expect"`
}

// ParseCases reads a file of cases: base tables, which the tables of each case
// replace one by one, a journey, and what it should cost, if the file says so. A file
// may be one case itself, with the base beside its own tables. name stands for the file
// in messages.
func ParseCases(name string, raw []byte) ([]Case, error) {
	var form struct {
		caseJSON
		Source      any                        `json:"source"`
		Conventions any                        `json:"conventions"`
		Note        any                        `json:"note"`
		Base        map[string]json.RawMessage `json:"base"`
		Cases       []caseJSON                 `json:"cases"`
	}
	if err := strictJSON(raw, &form); err != nil {
		return nil, ErrCase.Explain("%s: %v", name, err)
	}
	own := form.given()
	switch {
	case own && form.Cases != nil:
		return nil, ErrCase.Explain("%s: cases: the file is a case itself; leave one of the two", name)
	case own:
		form.Cases = []caseJSON{form.caseJSON}
	case len(form.Cases) == 0:
		return nil, ErrCase.Explain("%s: cases: there is none", name)
	}
	var zone string
	base := make(map[string]tableJSON, len(form.Base))
	for table, value := range form.Base {
		if table == "tz" {
			if err := json.Unmarshal(value, &zone); err != nil {
				return nil, ErrCase.Explain("%s: base.tz: want the name of a time zone", name)
			}
			continue
		}
		var rows tableJSON
		if err := strictJSON(value, &rows); err != nil {
			return nil, ErrCase.Explain("%s: base.%s: want a list of rows: %v", name, table, err)
		}
		base[table] = rows
	}
	var cases []Case
	for i, form := range form.Cases {
		where := fmt.Sprintf("%s: cases[%d]", name, i)
		if own {
			where = name + ": case"
		}
		c, err := form.read(where, zone, base)
		if err != nil {
			return nil, err
		}
		cases = append(cases, *c)
	}
	return cases, nil
}

// given reports whether there is anything of a case.
func (form *caseJSON) given() bool {
	return form.ID != "" || form.Kind != nil || form.TZ != "" || form.Tables != nil || form.Journey != nil || form.Rider != nil || form.Media != nil
}

func (form *caseJSON) read(where, zone string, base map[string]tableJSON) (*Case, error) {
	merged := maps.Clone(base)
	maps.Copy(merged, form.Tables)
	if form.TZ != "" {
		zone = form.TZ
	}
	var tables []*Table
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		if merged[name] == nil {
			continue
		}
		at := where + ".tables." + name
		if _, own := form.Tables[name]; !own {
			at, _, _ = strings.Cut(where, ": ")
			at += ": base." + name
		}
		t, err := merged[name].table(at, name)
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	if zone != "" && !slices.ContainsFunc(tables, func(t *Table) bool { return t.Name == "agency" }) {
		tables = append(tables, &Table{Name: "agency", Columns: []string{"agency_timezone"}, Rows: [][]string{{zone}}, where: where + ".tz"})
	}
	j, err := makeJourney(form.Journey, form.Rider, form.Media)
	if err != nil {
		return nil, ErrCase.Explain("%s.journey%v", where, err)
	}
	return &Case{ID: form.ID, Feed: FromTables(tables), Journey: j, Expect: form.Expect}, nil
}

// table makes a table of rows given as objects. A column is there if any row
// has it, be it empty. Rows are counted as in a file: the first is row 2.
func (rows tableJSON) table(where, name string) (*Table, error) {
	t := &Table{Name: name, where: where}
	for _, row := range rows {
		for column := range row {
			if !slices.Contains(t.Columns, column) {
				t.Columns = append(t.Columns, column)
			}
		}
	}
	slices.Sort(t.Columns)
	if len(t.Columns) == 0 { // a table without rows is a header without rows
		t.Columns = slices.Clone(specs[name].columns)
		if len(t.Columns) == 0 {
			t.Columns = slices.Clone(specs[name].required)
		}
		t.Columns = slices.DeleteFunc(t.Columns, func(column string) bool { return column == "rule_priority" })
	}
	for i, row := range rows {
		cells := make([]string, len(t.Columns))
		for k, column := range t.Columns {
			switch value := row[column].(type) {
			case nil:
			case string:
				cells[k] = strings.TrimSpace(value)
			case json.Number:
				cells[k] = value.String()
			default:
				return nil, ErrCase.Explain("%s row %d column %s: want a text", where, i+2, column)
			}
		}
		t.Rows = append(t.Rows, cells)
	}
	return t, nil
}
