package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ridership"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
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
		Short: "Publish boardings, origins and destinations and transfers of a tenant, and write them and TIDES tables",
		Long: `Publish the ridership of a tenant from one business date to another, both included
and over, at most 31 days, and write it into a new folder:

  station_activities.csv  TIDES: entries and exits by stop and hour
  boardings.csv           the same with totals
  od.csv                  rides from stop to stop
  transfers.csv           from line to line within an hour
  fare_transactions.csv   TIDES: one row per tap, under pseudonyms; not for publication

A count that fewer than 10 riders are behind is empty, and so are further counts
from which it would follow, by the sums of one table or of several; a row without
a name is a total, and pairs that never happened are left out. What is printed has
the rows of each file, and how many of them lack a count ("withheld").

A date is published once and for ever. The same period again gives the same
files, also after a late upload; a period that overlaps a published one is
refused, because the difference of two reports would be a count that neither
shows. Wait until late uploads are in, and choose days, weeks or months by the
traffic: of a quiet line's day little is left.

Pseudonyms are good for this one export and for one week (Monday to Sunday, by
business date) of it: their key is drawn now and forgotten. TIDES tables are held
against their schemas as they are written. Publishing and exporting are in the
tenant's audit log.`,
		Example: `  citygate ridership export --tenant harbour-metro --from 2026-11-16 --to 2026-11-22 --out ridership`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
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
			return in.exportRidership(ctx, sys, t, first, last, out)
		},
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&tenant, "tenant", "", "number or short name of the tenant")
	flags.StringVar(&from, "from", "", "first business date, such as 2026-11-20")
	flags.StringVar(&to, "to", "", "last business date (default: the first)")
	flags.StringVar(&out, "out", "", "folder to write; it must not exist, or be empty")
	required(c, "tenant", "from", "out")
	return c
}

func (in *installation) exportRidership(ctx context.Context, sys *system, t tenants.Tenant, first, last citygate.Date, out string) error {
	if there, err := os.ReadDir(out); err == nil && len(there) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the folder %s is not empty, or cannot be read; name a new one", out)
	}
	report, err := ridership.Publish(ctx, in.DB, actor(sys), t, first, last)
	if err != nil {
		return err
	}
	taps, err := in.FareTransactions(ctx, actor(sys), t.ID, first, last)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	written, withheld := map[string]int{}, map[string]int{}
	for _, table := range report.Tables {
		name := table.Name + ".csv"
		if err := in.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
			body, err := ridership.Body(ctx, tx, report.ID, table.Name)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(out, name), body, 0o600)
		}); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		written[name], withheld[name] = table.Rows, table.Suppressed
	}
	name := "fare_transactions.csv"
	if written[name], err = writeTaps(ctx, filepath.Join(out, name), taps); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return json.NewEncoder(sys.Stdout).Encode(map[string]any{"report": report.ID.Text(ridership.Prefix), "rows": written, "withheld": withheld})
}

// writeTaps writes a file whole or not at all.
func writeTaps(ctx context.Context, name string, taps func(context.Context, io.Writer) (int, error)) (n int, err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	to := bufio.NewWriter(file)
	if n, err = taps(ctx, to); err != nil {
		return 0, err
	}
	return n, to.Flush()
}
