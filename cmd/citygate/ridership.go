package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bojanz/currency"
	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ridership"
)

func newRidershipCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "ridership",
		Short: "How many people ride, without saying who",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newRidershipExportCommand(sys))
	return c
}

func newRidershipExportCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var tenant, from, to, out string
	c := &cobra.Command{
		Use:   "export --tenant NUMBER|NAME --from DATE [--to DATE] --out DIR",
		Short: "Write boardings, origins and destinations, transfers and TIDES tables of a tenant",
		Long: `Write the ridership of a tenant from one business date to another, both included
and over, at most 31 days, into a new folder:

  station_activities.csv  TIDES: entries and exits by stop and hour
  boardings.csv           the same with totals
  od.csv                  rides from stop to stop
  transfers.csv           from line to line within an hour
  fare_transactions.csv   TIDES: one row per tap, under pseudonyms; not for publication

A count that fewer than 10 riders are behind is empty, and so are further counts
from which it would follow; a row without a name is a total, and pairs that never
happened are left out. Pseudonyms are good for this one export: their key is
drawn now and forgotten. TIDES tables are checked against their schemas before
anything is written. The export is in the tenant's audit log.`,
		Example: `  citygate ridership export --tenant harbour-metro --from 2026-11-20 --out ridership`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			if tenant == "" || from == "" || out == "" {
				return &usageError{errors.New("ridership export needs --tenant, --from and --out")}
			}
			first, err := citygate.ParseDate(from)
			if err != nil {
				return &usageError{fmt.Errorf("--from: %w", err)}
			}
			last := first
			if to != "" {
				if last, err = citygate.ParseDate(to); err != nil {
					return &usageError{fmt.Errorf("--to: %w", err)}
				}
			}
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			t, err := in.tenant(ctx, tenant)
			if err != nil {
				return err
			}
			digits, ok := currency.GetDigits(string(t.Currency))
			if !ok {
				return fmt.Errorf("the tenant's currency %s has no known decimals", t.Currency)
			}
			var key [32]byte
			if _, err := io.ReadFull(sys.Random, key[:]); err != nil {
				return fmt.Errorf("draw the key of the pseudonyms: %w", err)
			}
			report, err := ridership.Make(ctx, in.DB, actor(sys), t, first, last, int(digits), key)
			if err != nil {
				return err
			}
			return writeRidership(sys, report, out)
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&tenant, "tenant", "", "number or short name of the tenant (required)")
	flags.StringVar(&from, "from", "", "first business date, such as 2026-11-20 (required)")
	flags.StringVar(&to, "to", "", "last business date (default: the first)")
	flags.StringVar(&out, "out", "", "folder to write; it must not exist, or be empty (required)")
	return c
}

func writeRidership(sys *system, r *ridership.Report, out string) error {
	boardings := ridership.Rows{Columns: []string{"date", "stop", "hour", "count"}}
	for _, day := range r.Boardings {
		for _, row := range day.List("stop", "hour").Rows {
			boardings.Rows = append(boardings.Rows, append([]string{day.Date.String()}, row...))
		}
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) > 0 {
		return fmt.Errorf("the folder %s is not empty, or cannot be read; name a new one", out)
	}
	written := map[string]int{}
	for _, file := range []struct {
		name string
		rows ridership.Rows
	}{
		{"fare_transactions.csv", r.Transactions}, {"station_activities.csv", r.Activities}, {"boardings.csv", boardings},
		{"od.csv", r.OD.List("from_stop", "to_stop")}, {"transfers.csv", r.Transfers.List("from_line", "to_line")},
	} {
		var text bytes.Buffer
		if err := file.rows.Write(&text); err != nil {
			return fmt.Errorf("write %s: %w", file.name, err)
		}
		if err := os.WriteFile(filepath.Join(out, file.name), text.Bytes(), 0o600); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		written[file.name] = len(file.rows.Rows)
	}
	return json.NewEncoder(sys.Stdout).Encode(map[string]any{"rows": written})
}
