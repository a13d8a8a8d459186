package gtfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
)

// The refusals of this package.
var (
	ErrFeed    = &citygate.Code{Name: "gtfs.unreadable", Kind: citygate.Invalid, Title: "This is not a GTFS feed. Give the folder or zip file that holds the .txt files."}
	ErrRefused = &citygate.Code{Name: "gtfs.not_priced", Kind: citygate.Invalid, Title: "The feed cannot be priced. Correct the named rows; 'citygate fare import --gtfs' lists every finding."}
	ErrJourney = &citygate.Code{Name: "gtfs.bad_journey", Kind: citygate.Invalid, Title: "The journey cannot be read. Correct the named field."}
)

// A Feed is the fares of one GTFS feed, ready to be priced. It does not change
// and is safe for concurrent use.
type Feed struct {
	Tables   []*Table  // the tables that were read, in a fixed order
	Findings []Finding // what is wrong or remarkable, in the order of Tables

	fares
}

// Read reads the feed at the root of files, which is a folder or a zip.Reader.
// A feed that lies in the only folder of files is found there.
func Read(files fs.FS) (*Feed, error) {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, ErrFeed.Because(err, "list the files")
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { // what archivers of desktops leave behind
		return strings.HasPrefix(e.Name(), ".") || e.Name() == "__MACOSX"
	})
	if len(entries) == 1 && entries[0].IsDir() {
		inner, err := fs.Sub(files, entries[0].Name())
		if err != nil {
			return nil, ErrFeed.Because(err, "open the folder %s", entries[0].Name())
		}
		feed, err := Read(inner)
		if err == nil {
			feed.Findings = append(feed.Findings, Finding{"in_folder", Breach, "", 0, "", fmt.Sprintf("the files lie in the folder %q, not at the root", entries[0].Name())})
		}
		return feed, err
	}
	var names []string
	for _, e := range entries {
		if name, isText := strings.CutSuffix(e.Name(), ".txt"); isText && !e.IsDir() {
			names = append(names, name)
		}
	}
	if !slices.ContainsFunc(names, known) {
		return nil, ErrFeed.Explain("no .txt file of a feed among %d entries", len(entries))
	}
	return assemble(names, func(name string) ([]byte, error) { return readFile(files, name) })
}

// ReadFiles reads a feed from the texts of its files, by name.
func ReadFiles(files map[string]string) (*Feed, error) {
	var names []string
	for _, file := range slices.Sorted(maps.Keys(files)) {
		name, isText := strings.CutSuffix(file, ".txt")
		if !isText {
			return nil, ErrFeed.Explain("the file %q: names end in .txt", file)
		}
		names = append(names, name)
	}
	if !slices.ContainsFunc(names, known) {
		return nil, ErrFeed.Explain("no .txt file of a feed among %d entries", len(names))
	}
	return assemble(names, func(name string) ([]byte, error) {
		if len(files[name]) > maxFileBytes {
			return nil, ErrFeed.Explain("%s is larger than %d bytes", name, maxFileBytes)
		}
		return []byte(files[name]), nil
	})
}

// assemble reads the files of the names that a feed has.
func assemble(names []string, open func(name string) ([]byte, error)) (*Feed, error) {
	var tables []*Table
	var findings []Finding
	for _, name := range order {
		if !slices.Contains(names, name) {
			continue
		}
		raw, err := open(name + ".txt")
		if err != nil {
			return nil, err
		}
		if t := parseTable(name, raw, &findings); t != nil {
			tables = append(tables, t)
		}
	}
	for _, name := range names {
		if known(name) {
			continue
		}
		foreign := Finding{Code: "unknown_file", Severity: Note, File: name + ".txt", Detail: "the reference has no such file; it was not read"}
		if slices.ContainsFunc(farePrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			foreign.Code, foreign.Severity = "unknown_fare_file", Refuse
			foreign.Detail = "a fare file that the reference does not have: it may change prices in a way we do not know"
		}
		findings = append(findings, foreign)
	}
	return compile(tables, findings), nil
}

func readFile(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(path.Clean(name))
	if err != nil {
		return nil, ErrFeed.Because(err, "open %s", name)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, ErrFeed.Because(err, "read %s", name)
	}
	if len(raw) > maxFileBytes {
		return nil, ErrFeed.Explain("%s is larger than %d bytes", name, maxFileBytes)
	}
	return raw, nil
}

// FromTables makes a feed of tables that somebody else read or made, such as
// [Export]. Rows need not have their places in a file.
func FromTables(tables []*Table) *Feed {
	sorted := slices.Clone(tables)
	slices.SortStableFunc(sorted, func(a, b *Table) int { return rank(a.Name) - rank(b.Name) })
	var findings []Finding
	for _, t := range sorted {
		if !known(t.Name) {
			findings = append(findings, Finding{"unknown_fare_file", Refuse, t.File(), 0, "", "the reference has no such table"})
		}
	}
	return compile(sorted, findings)
}

func rank(name string) int {
	if i := slices.Index(order, name); i >= 0 {
		return i
	}
	return len(order)
}

// Refusals gives the findings because of which the feed cannot be priced.
func (f *Feed) Refusals() []Finding {
	var out []Finding
	for _, finding := range f.Findings {
		if finding.Severity == Refuse {
			out = append(out, finding)
		}
	}
	return out
}

// Files gives the feed's tables as files of a GTFS feed, by name. What was read
// from them by [Read] equals what they were made of.
func (f *Feed) Files() (map[string][]byte, error) {
	files := make(map[string][]byte, len(f.Tables))
	for _, t := range f.Tables {
		raw, err := t.encode()
		if err != nil {
			return nil, err
		}
		files[t.Name+".txt"] = raw
	}
	return files, nil
}

// Equal reports whether two feeds hold the same tables: columns, rows, order.
func (f *Feed) Equal(other *Feed) bool {
	return slices.EqualFunc(f.Tables, other.Tables, func(a, b *Table) bool {
		return a.Name == b.Name && slices.Equal(a.Columns, b.Columns) && slices.EqualFunc(a.Rows, b.Rows, slices.Equal)
	})
}
