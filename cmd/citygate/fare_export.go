package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs/exchange"
)

func newFareExportCommand(sys *system) *cobra.Command {
	var f fareFlags
	var feedPath, out string
	c := &cobra.Command{
		Use:   "export (--tariff FILE|mtr | --gtfs DIR|ZIP) --out DIR",
		Short: "Write a tariff, or the fares of a feed, as GTFS Fares v2",
		Long: `Write a tariff as the fare files of a GTFS feed into a new folder. A complete
ride of one rider between two stops that has a price in the feed costs that by the
tariff: sections, tables, zones, distances, media, times of the day, discounts, minimum
and rounding are in it, and a transfer that the reference has too. What a feed cannot say
(caps, prices by day, as days go by the tenant's calendar, entered amounts, ...) is left
out and printed, one line of JSON for every part, with what follows. A tariff of which nothing can be said is refused.

With --gtfs the fare files of a feed, and those they refer to, are written anew:
the same tables without byte order marks, with every line ended.`,
		Example: `  citygate fare export --tariff mtr --out mtr-gtfs`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if (f.tariff == "") == (feedPath == "") || out == "" {
				return &usageError{errors.New("fare export needs --tariff or --gtfs, and --out DIR")}
			}
			feed, omitted, err := exported(f, feedPath)
			if err != nil {
				return err
			}
			if err := writeFeed(feed, out); err != nil {
				return err
			}
			lines := json.NewEncoder(sys.Stdout)
			for _, o := range omitted {
				if err := lines.Encode(o); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.tariff, "tariff", "", "tariff file, or mtr")
	flags.StringVar(&f.currency, "currency", "", "currency of mtr (default HKD)")
	flags.StringVar(&feedPath, "gtfs", "", "folder or zip of a GTFS feed")
	flags.StringVar(&out, "out", "", "folder to write; it must not exist, or be empty (required)")
	return c
}

func exported(f fareFlags, feedPath string) (*gtfs.Feed, []exchange.Omission, error) {
	if feedPath != "" {
		feed, err := readFeed(feedPath)
		return feed, nil, err
	}
	tariff, err := readTariff(f)
	if err != nil {
		return nil, nil, err
	}
	return exchange.Export(tariff)
}

func writeFeed(feed *gtfs.Feed, out string) error {
	files, err := feed.Files()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil { //nolint:gosec // what it holds is to be published
		return fmt.Errorf("make the folder: %w", err)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) > 0 {
		return fmt.Errorf("the folder %s is not empty, or cannot be read; name a new one", out)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(out, name), files[name], 0o644); err != nil { //nolint:gosec // as above
			return fmt.Errorf("write the feed: %w", err)
		}
	}
	return nil
}
