package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/city/data"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs/exchange"
)

// importFlags are the flags of fare import.
type importFlags struct {
	feed, mtr, currency, name string
	version                   uint64
	pause                     int64
	riders, media, products   map[string]string
}

func newFareImportCommand(sys *system) *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import (--gtfs DIR|ZIP [--name NAME] | --mtr FILE)",
		Short: "Read the fares of a GTFS feed and report what is found, or make a tariff of an MTR fare table",
		Long: `With --mtr, read a fare table in the form of mtr_lines_fares.csv of DATA.GOV.HK,
every pair of stations once, and print it as a tariff of ours: one line of JSON,
which fare price --tariff takes. A station is the same by its id; two stations
whose row says 0.00 have that price.

With --gtfs, read the fares v2 of a GTFS feed, from a folder or a zip file, and print one
line of JSON per finding, with file, row (the header is row 1) and column, and
at the end one line with the number of rows read per file.

A finding is a note, a breach of the reference that has no say in a price, or a
refusal. Exits 1 if there is a refusal: such a feed is not priced.

With --name too the feed becomes a tariff of that name, printed as one line of JSON
on standard output, and the findings go to standard error. Publish it as any other: a
file of apply, or the API. Its one rule holds the feed, of other files
the columns that fares depend on. Stops and routes of taps are those of the feed by
their ids; "stops" and "routes" of the rule tie others, --rider and --media tie
categories and media of codes. A feed with rules for transfers or joined legs needs
--pause: the longest pause, in minutes, between two rides of one journey.`,
		Example: `  citygate fare import --gtfs feed.zip
  citygate fare import --gtfs feed.zip --name "City bus" --pause 60 --rider adult=NORMAL > tariff.json
  citygate fare import --mtr mtr_lines_fares.csv --currency HKD > metro.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			switch {
			case (f.feed == "") == (f.mtr == ""):
				return &usageError{errors.New("fare import needs --gtfs DIR or a zip file, or --mtr FILE")}
			case f.mtr != "":
				return fareImportMTR(sys, f.mtr, citygate.Currency(f.currency), f.version)
			case f.name == "" && (f.pause != 0 || len(f.riders)+len(f.media)+len(f.products) > 0):
				return &usageError{errors.New("--pause, --rider, --media and --product go with --name, which makes a tariff of the feed")}
			}
			return f.importFeed(sys)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.mtr, "mtr", "", "fare table in the form of mtr_lines_fares.csv")
	flags.StringVar(&f.currency, "currency", "HKD", "currency of the --mtr table")
	flags.Uint64Var(&f.version, "version", 1, "version of the tariff")
	flags.StringVar(&f.feed, "gtfs", "", "folder or zip of a GTFS feed")
	flags.StringVar(&f.name, "name", "", "name of the tariff that the feed becomes")
	flags.Int64Var(&f.pause, "pause", 0, "longest pause between two rides of one journey of the feed, in minutes")
	flags.StringToStringVar(&f.riders, "rider", nil, "category of ours and rider category of the feed that it is, adult=NORMAL (repeatable)")
	flags.StringToStringVar(&f.media, "media", nil, "medium of codes and fare medium of the feed that it is, phone=APP (repeatable)")
	flags.StringToStringVar(&f.products, "product", nil, "product number of credentials and the category of ours that it is, 2=student (repeatable)")
	return c
}

func fareImportMTR(sys *system, path string, currency citygate.Currency, version uint64) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the fare table: %w", err)
	}
	t, err := data.ReadMTRTariff(bytes.NewReader(raw), currency, version)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return writeTariff(sys, t)
}

// importFeed reads a feed and reports it, or makes a tariff of it.
func (f *importFlags) importFeed(sys *system) error {
	feed, err := readFeed(f.feed)
	if err != nil {
		return err
	}
	report := sys.Stdout
	if f.name != "" {
		report = sys.Stderr
	}
	out := json.NewEncoder(report)
	for _, finding := range feed.Findings {
		if err := out.Encode(finding); err != nil {
			return err
		}
	}
	refused := len(feed.Refusals())
	rows := make(map[string]int, len(feed.Tables))
	for _, t := range feed.Tables {
		rows[t.File()] = len(t.Rows)
	}
	if err := out.Encode(map[string]any{"rows": rows, "findings": len(feed.Findings), "refusals": refused}); err != nil {
		return err
	}
	if refused > 0 {
		return fmt.Errorf("%d findings refuse to price the feed", refused)
	}
	if f.name == "" {
		return nil
	}
	as := exchange.As{Name: f.name, Version: f.version, Pause: f.pause, Media: f.media}
	for ours, theirs := range f.riders {
		if as.Riders == nil {
			as.Riders = make(map[fare.Category]string, len(f.riders))
		}
		as.Riders[fare.Category(ours)] = theirs
	}
	for number, category := range f.products {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return &usageError{fmt.Errorf("--product %s=%s: want a product number, 0 to 65535", number, category)}
		}
		if as.Products == nil {
			as.Products = make(map[uint16]fare.Category, len(f.products))
		}
		as.Products[uint16(n)] = fare.Category(category)
	}
	t, err := exchange.Import(feed, as)
	if err != nil {
		return err
	}
	return writeTariff(sys, t)
}

func writeTariff(sys *system, t *fare.Tariff) error {
	text, err := t.Encode()
	if err != nil {
		return err
	}
	_, err = sys.Stdout.Write(append(text, '\n'))
	return err
}
