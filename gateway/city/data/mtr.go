// Package data holds the real network the played city is built from: the
// stations and the fare table of the Hong Kong MTR (see hk-mtr/ORIGIN.md for
// origin, licence and acknowledgement), embedded and read into a tariff.
//
// A station is the same by its id. A row from a station to itself says 0.00 and
// is not a price: its cell stays empty. Two pairs of different stations (Central
// and Hong Kong, Tsim Sha Tsui and East Tsim Sha Tsui) also say 0.00, because one
// walks between them inside the gates: that is their price.
package data

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
)

//go:embed hk-mtr/mtr_lines_fares.csv
var mtrFares []byte

//go:embed hk-mtr/mtr_lines_and_stations.csv
var mtrStations []byte

// The rider categories of the MTR tariff: by Octopus, and by single ticket.
const (
	Adult         fare.Category = "adult"
	Student       fare.Category = "student"
	JoyYou        fare.Category = "joyyou" // from 60 on
	Child         fare.Category = "child"
	Elderly       fare.Category = "elderly"
	Disabled      fare.Category = "disabled"
	AdultTicket   fare.Category = "adult_ticket"
	ChildTicket   fare.Category = "child_ticket"
	ElderlyTicket fare.Category = "elderly_ticket"
)

// mtrColumns says which column of the fare table each category pays.
var mtrColumns = map[fare.Category]string{
	Adult:         "OCT_ADT_FARE",
	Student:       "OCT_STD_FARE",
	JoyYou:        "OCT_JOYYOU_SIXTY_FARE",
	Child:         "OCT_CON_CHILD_FARE",
	Elderly:       "OCT_CON_ELDERLY_FARE",
	Disabled:      "OCT_CON_PWD_FARE",
	AdultTicket:   "SINGLE_ADT_FARE",
	ChildTicket:   "SINGLE_CON_CHILD_FARE",
	ElderlyTicket: "SINGLE_CON_ELDERLY_FARE",
}

// MTRTable gives the embedded fare table. Its stops are the station ids of the
// MTR as decimal text ("76"), its names the English station names ("Lo Wu").
func MTRTable() (*fare.Table, error) { return ParseMTR(bytes.NewReader(mtrFares)) }

// MTRTariff gives the embedded table as a tariff in currency, of the categories
// named or of all: products 1, 2 and 3 ride as adult, student and elderly, others
// as adult. An incomplete journey costs the highest fare from the stop that is
// known, an exit where one entered the lowest that is not 0.
func MTRTariff(currency citygate.Currency, version uint64, categories ...fare.Category) (*fare.Tariff, error) {
	return ReadMTRTariff(bytes.NewReader(mtrFares), currency, version, categories...)
}

// ReadMTRTariff is [MTRTariff] of another table in the format of [ParseMTR].
func ReadMTRTariff(r io.Reader, currency citygate.Currency, version uint64, categories ...fare.Category) (*fare.Tariff, error) {
	table, err := ParseMTR(r)
	if err != nil {
		return nil, err
	}
	if len(categories) > 0 {
		maps.DeleteFunc(table.Amounts, func(c fare.Category, _ []int64) bool { return !slices.Contains(categories, c) })
	}
	t := &fare.Tariff{
		Name: "metro", Version: version, Currency: currency,
		Categories: fare.Categories{Products: map[uint16]fare.Category{1: Adult, 2: Student, 3: Elderly}, Default: Adult},
		Rules:      []fare.Rule{{ID: "od", Table: table}},
		Incomplete: fare.Incomplete{Mode: fare.MaxFromStop},
		SameStop:   fare.SameStop{Mode: fare.MinFromStop},
	}
	if err := t.Compile(); err != nil {
		return nil, err
	}
	return t, nil
}

// ParseMTR reads a fare table in the format of mtr_lines_fares.csv. The table
// must be full: every pair of stations once, in any order.
func ParseMTR(r io.Reader) (*fare.Table, error) {
	rows, column, err := readCSV(r)
	if err != nil {
		return nil, err
	}
	need := []string{"SRC_STATION_NAME", "SRC_STATION_ID", "DEST_STATION_NAME", "DEST_STATION_ID"}
	for _, name := range mtrColumns {
		need = append(need, name)
	}
	for _, name := range need {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("mtr fares: no column %s", name)
		}
	}
	t := &fare.Table{Amounts: make(map[fare.Category][]int64)}
	index := make(map[string]int)
	for _, row := range rows {
		id := row[column["SRC_STATION_ID"]]
		if _, known := index[id]; !known {
			index[id] = len(t.Stops)
			t.Stops = append(t.Stops, id)
			t.Names = append(t.Names, row[column["SRC_STATION_NAME"]])
		}
	}
	n := len(t.Stops)
	if len(rows) != n*n {
		return nil, fmt.Errorf("mtr fares: %d rows for %d stations, want %d", len(rows), n, n*n)
	}
	for category := range mtrColumns {
		t.Amounts[category] = slices.Repeat([]int64{fare.NoPrice}, n*n)
	}
	seen := make([]bool, n*n)
	for i, row := range rows {
		from, to := index[row[column["SRC_STATION_ID"]]], -1
		if k, known := index[row[column["DEST_STATION_ID"]]]; known {
			to = k
		}
		if to < 0 || seen[from*n+to] {
			return nil, fmt.Errorf("mtr fares: row %d: the pair is given twice or its destination is no origin", i+2)
		}
		seen[from*n+to] = true
		if err := setCells(t, row, column, from, to); err != nil {
			return nil, fmt.Errorf("mtr fares: row %d: %w", i+2, err)
		}
	}
	return t, nil
}

// setCells fills the cells of one row. The row of a station to itself says 0.00
// and is not a ride; two stations with 0.00 between them (one walks from Central
// to Hong Kong inside the gates) are a pair with a price like any other.
func setCells(t *fare.Table, row []string, column map[string]int, from, to int) error {
	for category, name := range mtrColumns {
		minor, err := cents(row[column[name]])
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case from != to:
			t.Amounts[category][from*len(t.Stops)+to] = minor
		case minor != 0:
			return fmt.Errorf("%s: a station costs %d to itself", name, minor)
		}
	}
	return nil
}

// cents reads "12.30" as 1230, exactly.
func cents(s string) (int64, error) {
	whole, frac, ok := strings.Cut(s, ".")
	if !ok || len(frac) != 2 {
		return 0, fmt.Errorf("amount %q: want two decimals", s)
	}
	minor, err := strconv.ParseUint(whole+frac, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("amount %q: %w", s, err)
	}
	return int64(minor), nil
}

// A Line is one line of the MTR in one direction, with its stations in order.
type Line struct {
	Code      string // "EAL"
	Direction string // "UT", "DT", or a branch such as "LMC-UT"
	Stops     []string
	Names     []string
}

// MTRLines gives the embedded lines in the order of the file.
func MTRLines() ([]Line, error) {
	rows, column, err := readCSV(bytes.NewReader(mtrStations))
	if err != nil {
		return nil, err
	}
	var lines []Line
	for _, row := range rows {
		code, direction := row[column["Line Code"]], row[column["Direction"]]
		if code == "" { // the file ends with blank rows
			continue
		}
		if n := len(lines); n == 0 || lines[n-1].Code != code || lines[n-1].Direction != direction {
			lines = append(lines, Line{Code: code, Direction: direction})
		}
		l := &lines[len(lines)-1]
		l.Stops = append(l.Stops, row[column["Station ID"]])
		l.Names = append(l.Names, row[column["English Name"]])
	}
	return lines, nil
}

func readCSV(r io.Reader) (rows [][]string, column map[string]int, err error) {
	all, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, nil, fmt.Errorf("mtr csv: %w", err)
	}
	if len(all) < 2 {
		return nil, nil, fmt.Errorf("mtr csv: no rows")
	}
	column = make(map[string]int)
	for i, name := range all[0] {
		column[strings.TrimPrefix(name, "\ufeff")] = i
	}
	return all[1:], column, nil
}
