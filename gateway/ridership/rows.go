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
	ErrSchema = &citygate.Code{Name: "ridership.schema", Kind: citygate.Internal, Title: "The export does not keep its schema. Nothing was given out; report it."}
	ErrPeriod = &citygate.Code{Name: "ridership.period", Kind: citygate.Invalid, Title: "The period cannot be reported. Name 1 to 31 business dates that are over."}
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

// Validate checks the rows against the TIDES schema of their name: columns,
// types, required, unique and listed values, minimums, primary key.
func (r Rows) Validate() error {
	raw, err := schemas.ReadFile("tides/" + r.Name + ".schema.json")
	if err != nil {
		return ErrSchema.Because(err, "no schema %s", r.Name)
	}
	var s struct {
		Fields  []field         `json:"fields"`
		Primary json.RawMessage `json:"primaryKey"` // one name or several
		Missing []string        `json:"missingValues"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return ErrSchema.Because(err, "schema %s", r.Name)
	}
	var key []string
	if json.Unmarshal(s.Primary, &key) != nil {
		var one string
		if err := json.Unmarshal(s.Primary, &one); err != nil {
			return ErrSchema.Because(err, "primary key of %s", r.Name)
		}
		key = []string{one}
	}
	for _, column := range r.Columns {
		if !slices.ContainsFunc(s.Fields, func(f field) bool { return f.Name == column }) {
			return ErrSchema.Because(nil, "%s has no field %s", r.Name, column)
		}
	}
	for _, f := range s.Fields {
		if err := r.check(f, s.Missing); err != nil {
			return ErrSchema.Because(err, "%s.%s", r.Name, f.Name)
		}
	}
	return r.unique(key)
}

func (r Rows) unique(key []string) error {
	seen := make(map[string]bool, len(r.Rows))
	for i, row := range r.Rows {
		values := make([]string, 0, len(key))
		for _, column := range key {
			at := slices.Index(r.Columns, column)
			if at < 0 {
				return ErrSchema.Because(nil, "%s lacks %s of its primary key", r.Name, column)
			}
			values = append(values, strconv.Quote(row[at]))
		}
		k := strings.Join(values, ",")
		if seen[k] {
			return ErrSchema.Because(nil, "%s row %d repeats the primary key %s", r.Name, i+1, k)
		}
		seen[k] = true
	}
	return nil
}

func (r Rows) check(f field, missingValues []string) error {
	at := slices.Index(r.Columns, f.Name)
	if at < 0 {
		if f.Constraints.Required {
			return fmt.Errorf("the field is required")
		}
		return nil
	}
	seen := map[string]bool{}
	for i, row := range r.Rows {
		v := row[at]
		if slices.Contains(missingValues, v) {
			if f.Constraints.Required {
				return fmt.Errorf("row %d: a value is required", i+1)
			}
			continue
		}
		if err := f.holds(v); err != nil {
			return fmt.Errorf("row %d: %w", i+1, err)
		}
		if f.Constraints.Unique && seen[v] {
			return fmt.Errorf("row %d: %q comes twice", i+1, v)
		}
		seen[v] = f.Constraints.Unique
	}
	return nil
}

var (
	integerForm = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	numberForm  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
)

// holds checks one value; every minimum of the schemas is 0 or 1.
func (f field) holds(v string) error {
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

// List gives a protected table as text, one cell a row; a suppressed count is
// empty, and so are the names of totals. Counts of 0 are left out.
func (t *Table) List(row, column string) Rows {
	out := Rows{Columns: []string{row, column, "count"}}
	for r, cells := range t.Cells {
		for c, cell := range cells {
			if cell.Count == 0 && !cell.Suppressed {
				continue
			}
			line := []string{"", "", ""}
			if r < len(t.Rows) {
				line[0] = t.Rows[r]
			}
			if c < len(t.Columns) {
				line[1] = t.Columns[c]
			}
			if !cell.Suppressed {
				line[2] = strconv.Itoa(cell.Count)
			}
			out.Rows = append(out.Rows, line)
		}
	}
	return out
}
