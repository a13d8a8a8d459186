package main

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/fare/bands"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
)

// A fareLine is the one line that the forms of fare price print.
type fareLine struct {
	EffectiveLegs int         `json:"effective_legs"`
	TotalMinor    *int64      `json:"total_minor"` // null: the fare is unknown
	Currency      *string     `json:"currency"`    // null with total_minor
	Products      []string    `json:"products"`
	Explanation   []gtfs.Step `json:"explanation"`
}

// formFlags choose what fare price reads beside a tariff of ours.
type formFlags struct {
	gtfs, journey, cases, distance, km, taps string
}

func (f *formFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.gtfs, "gtfs", "", "folder or zip of a GTFS feed with fares v2; with --journey")
	flags.StringVar(&f.journey, "journey", "", "JSON file of a journey, priced by --gtfs")
	flags.StringVar(&f.cases, "case", "", "JSON file of one case: base tables, tables, journey")
	flags.StringVar(&f.distance, "distance", "", "JSON file of distance tariffs; with --tariff ID and --km")
	flags.StringVar(&f.taps, "taps", "", "JSON file of what one rider tapped over days; with --tariff")
	flags.StringVar(&f.km, "km", "", "shortest path in kilometres, a decimal such as 17.15")
}

// ofTariffs are the flags that only tariffs of ours are priced by.
var ofTariffs = []string{"from", "to", "route", "category", "product", "kind", "at", "medium", "party", "amount", "currency"}

// price prices by the form that the flags name, and reports false if they name
// none, which leaves a tariff of ours.
func (f *formFlags) price(sys *system, changed func(flag string) bool, tariff string) (handled bool, err error) {
	named := 0
	for name, value := range map[string]string{"gtfs": f.gtfs, "case": f.cases, "distance": f.distance, "taps": f.taps} {
		if value != "" {
			named++
		} else if changed(name) {
			return true, &usageError{fmt.Errorf("--%s is empty: want a file", name)}
		}
	}
	switch {
	case named > 1:
		return true, &usageError{errors.New("give one of --gtfs, --case, --distance and --taps")}
	case f.gtfs == "" && f.journey != "":
		return true, &usageError{errors.New("--journey goes with --gtfs DIR")}
	case f.distance == "" && f.km != "":
		return true, &usageError{errors.New("--km goes with --distance T.json --tariff ID")}
	case f.gtfs != "" && f.journey == "":
		return true, &usageError{errors.New("fare price --gtfs needs --journey J.json")}
	case f.distance != "" && (tariff == "" || f.km == ""):
		return true, &usageError{errors.New("fare price --distance needs --tariff ID and --km KM")}
	case named == 0 || f.taps != "":
		return false, nil
	case f.distance == "" && tariff != "":
		return true, &usageError{errors.New("--tariff goes with --distance, or alone")}
	}
	for _, name := range ofTariffs {
		if changed(name) { // the price of one must not pass for that of three
			return true, &usageError{fmt.Errorf("--%s goes with a tariff of ours, --tariff FILE or mtr: this form does not price by it", name)}
		}
	}
	line, err := f.line(tariff)
	if err != nil {
		return true, err
	}
	return true, json.NewEncoder(sys.Stdout).Encode(line)
}

func (f *formFlags) line(tariff string) (*fareLine, error) {
	switch {
	case f.gtfs != "":
		return f.priceFeed()
	case f.cases != "":
		return f.priceCase()
	}
	return f.priceDistance(tariff)
}

func (f *formFlags) priceFeed() (*fareLine, error) {
	feed, err := readFeed(f.gtfs)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(f.journey)
	if err != nil {
		return nil, fmt.Errorf("read the journey: %w", err)
	}
	j, err := gtfs.ParseJourney(filepath.Base(f.journey), raw)
	if err != nil {
		return nil, err
	}
	return lineOf(feed.Price(j))
}

func (f *formFlags) priceCase() (*fareLine, error) {
	raw, err := os.ReadFile(f.cases)
	if err != nil {
		return nil, fmt.Errorf("read the case: %w", err)
	}
	cases, err := gtfs.ParseCases(filepath.Base(f.cases), raw)
	if err != nil {
		return nil, err
	}
	if len(cases) != 1 {
		return nil, fmt.Errorf("%s holds %d cases; leave the one to be priced", filepath.Base(f.cases), len(cases))
	}
	return lineOf(cases[0].Feed.Price(cases[0].Journey))
}

// lineOf takes what Feed.Price gives.
func lineOf(p *gtfs.Price, err error) (*fareLine, error) {
	if err != nil {
		return nil, err
	}
	line := &fareLine{EffectiveLegs: p.EffectiveLegs, Products: p.Products, Explanation: p.Explanation}
	if p.Total != nil {
		currency := string(p.Total.Currency)
		line.TotalMinor, line.Currency = &p.Total.Minor, &currency
	}
	return line, nil
}

func (f *formFlags) priceDistance(id string) (*fareLine, error) {
	raw, err := os.ReadFile(f.distance)
	if err != nil {
		return nil, fmt.Errorf("read the distance tariffs: %w", err)
	}
	name := filepath.Base(f.distance)
	tariffs, err := bands.Parse(name, raw)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(tariffs))
	for i := range tariffs {
		if tariffs[i].ID == id {
			return distanceLine(&tariffs[i], f.km)
		}
		ids = append(ids, tariffs[i].ID)
	}
	return nil, fmt.Errorf("%s has no tariff %q; it has %s", name, id, strings.Join(ids, ", "))
}

func distanceLine(t *bands.Tariff, km string) (*fareLine, error) {
	minor, known, err := t.Price(km)
	if err != nil {
		return nil, err
	}
	line := &fareLine{EffectiveLegs: 1, Products: []string{}, Explanation: []gtfs.Step{}}
	if !known {
		line.Explanation = append(line.Explanation, gtfs.Step{Op: "unknown", Leg: 1, Text: fmt.Sprintf("%s km lies beyond the last band of %s", km, t.ID)})
		return line, nil
	}
	currency := string(t.Currency)
	line.TotalMinor, line.Currency, line.Products = &minor, &currency, []string{t.ID}
	line.Explanation = append(line.Explanation, gtfs.Step{Op: "distance", Leg: 1, Product: t.ID, Minor: &minor, Currency: currency,
		Text: fmt.Sprintf("the base up to %d m and every started step of the bands up to %s km", t.Distance.Base.UpTo, km)})
	return line, nil
}

// readFeed reads a GTFS feed from a folder or a zip file.
func readFeed(path string) (*gtfs.Feed, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the feed: %w", err)
	}
	files := os.DirFS(path)
	if !info.IsDir() {
		archive, err := zip.OpenReader(path)
		if err != nil {
			return nil, fmt.Errorf("read the feed: %s is neither a folder nor a zip file: %w", filepath.Base(path), err)
		}
		defer func() { _ = archive.Close() }() // it was only read
		files = archive
	}
	return gtfs.Read(files)
}
