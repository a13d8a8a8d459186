package gtfs

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Table is one file: its columns and rows as text, without byte order mark,
// with surrounding white space of cells removed.
type Table struct {
	Name    string     // "fare_products", without .txt
	Columns []string   // in the order of the file
	Rows    [][]string // every row has a cell for every column

	lines []int // where each row stands in the file; the header is row 1
	where string
}

// File gives the name for messages: the file, or the table of a case.
func (t *Table) File() string {
	if t.where != "" {
		return t.where
	}
	return t.Name + ".txt"
}

// line gives the place of row i for people.
func (t *Table) line(i int) int {
	if i < len(t.lines) {
		return t.lines[i]
	}
	return i + 2
}

// Severity says what a finding means for prices.
type Severity string

// The severities.
const (
	Note   Severity = "note"   // worth knowing, no rule is broken
	Breach Severity = "breach" // breaks the reference; no price depends on it
	Refuse Severity = "refuse" // the feed cannot be priced
)

// A Finding is one thing a reader should know about a feed. Code is stable.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	File     string   `json:"file,omitempty"`
	Row      int      `json:"row,omitempty"` // the header is row 1
	Column   string   `json:"column,omitempty"`
	Detail   string   `json:"detail"`
}

// String gives the finding in one line: where, what, why.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Row > 0 {
		fmt.Fprintf(&b, " row %d", f.Row)
	}
	if f.Column != "" {
		fmt.Fprintf(&b, " column %s", f.Column)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%s (%s)", f.Detail, f.Code)
	return b.String()
}

// The limits of a file, so that no feed can exhaust the reader.
const (
	maxFileBytes = 64 << 20
	maxColumns   = 200
)

var bom = []byte("\ufeff")

// parseTable reads the text of one file. What is found on the way is appended
// to findings; a file that is no table gives nil and a refusal.
func parseTable(name string, raw []byte, findings *[]Finding) *Table {
	t := &Table{Name: name}
	found := func(code string, severity Severity, row int, column, detail string) {
		*findings = append(*findings, Finding{code, severity, t.File(), row, column, detail})
	}
	if !utf8.Valid(raw) {
		found("not_utf8", Refuse, 0, "", "the file is not UTF-8; save it as UTF-8")
		return nil
	}
	if bytes.HasPrefix(raw, bom) {
		raw = raw[len(bom):]
		found("byte_order_mark", Note, 1, "", "the file begins with a byte order mark; it was ignored")
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		found("empty_file", Refuse, 1, "", "the file has no header")
		return nil
	}
	if raw[len(raw)-1] != '\n' {
		found("no_final_newline", Note, 0, "", "the last line has no line end; it was read all the same")
	}
	r := csv.NewReader(bytes.NewReader(raw))
	r.FieldsPerRecord = -1
	header, err := r.Read()
	if err != nil {
		found("not_csv", Refuse, csvLine(err, 1), "", csvText(err))
		return nil
	}
	if len(header) > maxColumns {
		found("too_many_columns", Refuse, 1, "", fmt.Sprintf("%d columns; at most %d are read", len(header), maxColumns))
		return nil
	}
	for _, column := range header {
		column = strings.TrimSpace(strings.Trim(column, "\ufeff"))
		if slices.Contains(t.Columns, column) {
			found("column_twice", Refuse, 1, column, "the column is given twice")
			return nil
		}
		t.Columns = append(t.Columns, column)
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return t
		}
		if err != nil {
			found("not_csv", Refuse, csvLine(err, len(t.Rows)+2), "", csvText(err))
			return nil
		}
		line, _ := r.FieldPos(0)
		if strings.TrimSpace(strings.Join(row, "")) == "" {
			found("blank_row", Note, line, "", "the row is empty; it was left out")
			continue
		}
		if len(row) != len(t.Columns) {
			detail := fmt.Sprintf("the row has %d cells, the header %d", len(row), len(t.Columns))
			if specs[name].fare {
				found("row_length", Refuse, line, "", detail)
				return nil
			}
			found("row_length", Breach, line, "", detail+"; missing cells were taken as empty, surplus ones left out")
			row = append(row, make([]string, max(0, len(t.Columns)-len(row)))...)[:len(t.Columns)]
		}
		for i, cell := range row {
			if trimmed := strings.TrimSpace(cell); trimmed != cell {
				found("white_space", Breach, line, t.Columns[i], fmt.Sprintf("white space around %q was removed", trimmed))
				row[i] = trimmed
			}
		}
		t.Rows, t.lines = append(t.Rows, row), append(t.lines, line)
	}
}

func csvLine(err error, otherwise int) int {
	if at, ok := errors.AsType[*csv.ParseError](err); ok {
		return at.Line
	}
	return otherwise
}

func csvText(err error) string {
	if at, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Sprintf("not CSV at character %d: %v", at.Column, at.Err)
	}
	return "not CSV: " + err.Error()
}

// encode gives the table as a file: comma-separated, LF, no byte order mark.
func (t *Table) encode() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write(t.Columns); err != nil {
		return nil, fmt.Errorf("write %s: %w", t.File(), err)
	}
	for _, row := range t.Rows {
		if err := w.Write(row); err != nil {
			return nil, fmt.Errorf("write %s: %w", t.File(), err)
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return nil, fmt.Errorf("write %s: %w", t.File(), err)
	}
	return b.Bytes(), nil
}
