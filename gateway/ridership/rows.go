package ridership

import (
	"embed"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// The refusals of this package.
var (
	ErrSchema   = &citygate.Code{Name: "ridership.schema", Kind: citygate.Internal, Title: "The export does not keep its schema, and what does not was not given out. Report it."}
	ErrPeriod   = &citygate.Code{Name: "ridership.period", Kind: citygate.Invalid, Title: "The period cannot be reported. Name 1 to 31 business dates that are over."}
	ErrOverlap  = &citygate.Code{Name: "ridership.overlap", Kind: citygate.Conflict, Title: "Part of the period is in another report, and two that overlap could be subtracted. Ask for that report, or for dates that are in none."}
	ErrNoReport = &citygate.Code{Name: "ridership.no_report", Kind: citygate.NotFound, Title: "There is no such report, or no such table of it."}
)

// Rows are a file of TIDES: a table in text.
type Rows struct {
	Name    string // of the TIDES table
	Columns []string
	Rows    [][]string
}

// missing stands for a value that is not there, by the schemas' missingValues.
const missing = ""

// Write writes the rows as CSV with a header.
func (r Rows) Write(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(r.Columns); err != nil {
		return err
	}
	return out.WriteAll(r.Rows)
}

//go:embed tides/*.schema.json
var schemas embed.FS

type field struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Constraints struct {
		Required bool        `json:"required"`
		Unique   bool        `json:"unique"`
		Enum     []string    `json:"enum"`
		Minimum  json.Number `json:"minimum"`
	} `json:"constraints"`
}

// A schema is what TIDES says of one table.
type schema struct {
	Fields  []field         `json:"fields"`
	Primary json.RawMessage `json:"primaryKey"` // one name or several
	Missing []string        `json:"missingValues"`

	key []string
}

// schemaOf reads the schema of a TIDES table, and holds that the columns are fields
// of it and leave out none that is required.
func schemaOf(name string, columns []string) (*schema, error) {
	raw, err := schemas.ReadFile("tides/" + name + ".schema.json")
	if err != nil {
		return nil, ErrSchema.Because(err, "no schema %s", name)
	}
	s := &schema{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, ErrSchema.Because(err, "schema %s", name)
	}
	if json.Unmarshal(s.Primary, &s.key) != nil {
		var one string
		if err := json.Unmarshal(s.Primary, &one); err != nil {
			return nil, ErrSchema.Because(err, "primary key of %s", name)
		}
		s.key = []string{one}
	}
	for _, column := range columns {
		if !slices.ContainsFunc(s.Fields, func(f field) bool { return f.Name == column }) {
			return nil, ErrSchema.Because(nil, "%s has no field %s", name, column)
		}
	}
	for _, f := range s.Fields {
		if f.Constraints.Required && !slices.Contains(columns, f.Name) {
			return nil, ErrSchema.Because(nil, "%s lacks %s", name, f.Name)
		}
	}
	for _, column := range s.key {
		if !slices.Contains(columns, column) {
			return nil, ErrSchema.Because(nil, "%s lacks %s of its primary key", name, column)
		}
	}
	return s, nil
}

// checker gives a check of single rows: types, required and listed values, minimums.
func (s *schema) checker(columns []string) func(row []string) error {
	at := make([]int, len(s.Fields))
	for i, f := range s.Fields {
		at[i] = slices.Index(columns, f.Name)
	}
	return func(row []string) error {
		for i, f := range s.Fields {
			switch {
			case at[i] < 0:
			case slices.Contains(s.Missing, row[at[i]]):
				if f.Constraints.Required {
					return ErrSchema.Because(nil, "%s: a value is required", f.Name)
				}
			default:
				if err := f.holds(row[at[i]]); err != nil {
					return ErrSchema.Because(err, "%s", f.Name)
				}
			}
		}
		return nil
	}
}

// Validate checks the rows against the TIDES schema of their name: columns,
// types, required, unique and listed values, minimums, primary key.
func (r Rows) Validate() error {
	s, err := schemaOf(r.Name, r.Columns)
	if err != nil {
		return err
	}
	check := s.checker(r.Columns)
	for i, row := range r.Rows {
		if err := check(row); err != nil {
			return fmt.Errorf("%s row %d: %w", r.Name, i+1, err)
		}
	}
	if err := r.unique(s.key); err != nil {
		return err
	}
	for _, f := range s.Fields {
		if f.Constraints.Unique && slices.Contains(r.Columns, f.Name) {
			if err := r.unique([]string{f.Name}); err != nil {
				return err
			}
		}
	}
	return nil
}

// unique checks that no two rows have the same values in columns of r.
func (r Rows) unique(columns []string) error {
	seen := make(map[string]bool, len(r.Rows))
	for i, row := range r.Rows {
		values := make([]string, 0, len(columns))
		for _, column := range columns {
			values = append(values, strconv.Quote(row[slices.Index(r.Columns, column)]))
		}
		k := strings.Join(values, ",")
		if seen[k] {
			return ErrSchema.Because(nil, "%s row %d repeats %s", r.Name, i+1, k)
		}
		seen[k] = true
	}
	return nil
}

var (
	integerForm = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	numberForm  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
)

// holds checks one value; every minimum of the schemas is 0 or 1.
func (f *field) holds(v string) error {
	ok := true
	switch f.Type {
	case "date":
		_, err := time.Parse(time.DateOnly, v)
		ok = err == nil
	case "datetime":
		_, err := time.Parse(time.RFC3339, v)
		ok = err == nil
	case "integer":
		ok = integerForm.MatchString(v)
	case "number":
		ok = numberForm.MatchString(v)
	case "boolean":
		ok = v == "true" || v == "false"
	}
	switch low := f.Constraints.Minimum.String(); {
	case !ok:
		return fmt.Errorf("%q is no %s", v, f.Type)
	case f.Constraints.Enum != nil && !slices.Contains(f.Constraints.Enum, v):
		return fmt.Errorf("%q is none of the listed values", v)
	case low != "" && (strings.HasPrefix(v, "-") || low == "1" && v == "0"):
		return fmt.Errorf("%s is below %s", v, low)
	case low != "" && low != "0" && low != "1":
		return fmt.Errorf("the minimum %s is not understood", low)
	}
	return nil
}

// decimals writes minor units with the decimals of the currency.
func decimals(minor int64, digits int) string {
	sign := ""
	if minor < 0 {
		sign, minor = "-", -minor
	}
	text := strconv.FormatInt(minor, 10)
	if digits == 0 {
		return sign + text
	}
	for len(text) <= digits {
		text = "0" + text
	}
	return sign + text[:len(text)-digits] + "." + text[len(text)-digits:]
}

// hourAfter gives the end of the hour that starts at start.
func hourAfter(start string) string {
	t, err := time.Parse(time.RFC3339, start)
	if err != nil {
		return missing // Validate refuses it
	}
	return t.Add(time.Hour).Format(time.RFC3339)
}
