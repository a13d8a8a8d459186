package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/cashlesscity/citygate/gateway/city"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/spf13/cobra"
)

// demoMarker names the file that says a directory is the demo's own and may be
// emptied for the next run.
const demoMarker = ".citygate-demo"

func newDemoCommand(sys *system) *cobra.Command {
	var (
		seed   uint64
		riders int
		many   int
		db     databaseFlags
		once   bool
		asJSON bool
		logs   bool
		cpu    string
	)
	c := &cobra.Command{
		Use:   "demo",
		Short: "Play a day of a city, from taps to reconciled payouts, and check every invariant",
		Long: `Plays a compressed day of two small cities on a private PostgreSQL: offline codes and
validators, attacks, a provider outage, lost replies, declined riders, settlement, payout files and
reconciliation of faulty bills. Prints a scorecard and exits 0 only if every invariant holds.

The data stays in the data directory; "citygate serve --data DIR" serves its tenants afterwards, and
"citygate ledger check --data DIR" checks its books. The next demo on the directory empties it first.

With --tenants it plays that many operators instead that have nothing to do with each other, on one gateway: they
are onboarded by a file, every rider rides twice, and riders of another tenant are refused. Fares, charges, fees
and payouts of each must agree to the cent. It has no attacks and no faults.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON && !once {
				return &usageError{errors.New("--json goes with --once")}
			}
			if many > 0 && !cmd.Flags().Changed("riders") {
				riders = manyRiders
			}
			if many != 0 && (many < 2 || many > city.ManyMost || riders < 1 || riders > city.ManyRidersMost) {
				return &usageError{fmt.Errorf("--tenants: want 2 to %d, each with --riders of 1 to %d", city.ManyMost, city.ManyRidersMost)}
			}
			if many == 0 && riders < city.MinRiders {
				return &usageError{fmt.Errorf("--riders %d: a city that holds every attack five times has at least %d", riders, city.MinRiders)}
			}
			if db.data == "" {
				db.data = defaultData(sys, "demo")
			}
			progress := func(string) {}
			if !asJSON {
				progress = func(s string) { _, _ = fmt.Fprintln(sys.Stderr, s) }
			}
			log := slog.New(slog.DiscardHandler)
			if logs {
				log = slog.New(slog.NewTextHandler(sys.Stderr, nil))
			}
			if cpu != "" {
				f, err := os.Create(cpu)
				if err != nil {
					return err
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return err
				}
				defer pprof.StopCPUProfile()
			}
			config := city.Config{Seed: seed, Riders: riders, Progress: progress, Log: log, Served: sys.served}
			if many > 0 {
				return playMany(cmd.Context(), sys, db, config, many, asJSON)
			}
			score, err := playDemo(cmd.Context(), sys, db, config)
			if err != nil {
				return err
			}
			return report(sys, score, asJSON)
		},
	}
	f := c.Flags()
	f.Uint64Var(&seed, "seed", 1, "what the day is made from: the same seed gives the same counts and money")
	f.IntVar(&riders, "riders", 2000, "riders of both cities; with --tenants riders of each, by default 8")
	f.IntVar(&many, "tenants", 0, "play so many operators instead, each with keys, fares, provider contract and riders of its own")
	f.StringVar(&db.data, "data", "", "directory for database, keys, journals and files (default: the user's data directory)")
	f.StringVar(&db.url, "database-url", "", "use this empty PostgreSQL database, prepared with deploy/roles.sql, instead of a private one")
	f.BoolVar(&once, "once", false, "play one day and exit (what happens in any case; allows --json)")
	f.BoolVar(&asJSON, "json", false, "with --once: one JSON object on one line, nothing else")
	f.BoolVar(&logs, "log", false, "the gateway's log on standard error")
	f.StringVar(&cpu, "cpuprofile", "", "write a CPU profile of the play to this file")
	return c
}

func report(sys *system, score *city.Score, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(sys.Stdout).Encode(score); err != nil {
			return err
		}
	} else {
		if err := score.Print(sys.Stdout); err != nil {
			return err
		}
		_, err := fmt.Fprintf(sys.Stdout, "\nPlayed in %s. Data, journals, payout files and bills: %s\n", score.Seconds, score.DataDir)
		if err != nil {
			return err
		}
	}
	if !score.OK() {
		for _, found := range score.Broken {
			_, _ = fmt.Fprintf(sys.Stderr, "citygate: %s\n", found)
		}
		return &exitError{code: 1, err: errors.New("an invariant does not hold")}
	}
	return nil
}

// manyRiders is how many riders each of many tenants has unless told otherwise.
const manyRiders = 8

// playMany plays a day of many tenants and prints its score.
func playMany(ctx context.Context, sys *system, flags databaseFlags, c city.Config, tenants int, asJSON bool) error {
	start := sys.Now()
	var score *city.ManyScore
	err := onEmpty(ctx, sys, flags, c, func(c city.Config) (err error) {
		score, err = city.PlayMany(ctx, c, tenants)
		if err == nil {
			score.DataDir = c.Data
		}
		return err
	})
	if err != nil {
		return err
	}
	score.Seconds = city.Seconds(sys.Now().Sub(start) / (100 * time.Millisecond))
	if asJSON {
		err = json.NewEncoder(sys.Stdout).Encode(score)
	} else if err = score.Print(sys.Stdout); err == nil {
		_, err = fmt.Fprintf(sys.Stdout, "\nPlayed in %s. Data: %s\n", score.Seconds, score.DataDir)
	}
	if err == nil && !score.OK() {
		for _, found := range score.Broken {
			_, _ = fmt.Fprintf(sys.Stderr, "citygate: %s\n", found)
		}
		return &exitError{code: 1, err: errors.New("an invariant does not hold")}
	}
	return err
}

// playDemo plays one day on an emptied data directory.
func playDemo(ctx context.Context, sys *system, flags databaseFlags, c city.Config) (score *city.Score, err error) {
	start := sys.Now()
	err = onEmpty(ctx, sys, flags, c, func(c city.Config) (err error) {
		if score, err = city.Play(ctx, c); err == nil {
			score.DataDir = c.Data
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	score.Seconds = city.Seconds(sys.Now().Sub(start) / (100 * time.Millisecond))
	return score, nil
}

// onEmpty plays on an emptied data directory and stops its database.
func onEmpty(ctx context.Context, sys *system, flags databaseFlags, c city.Config, play func(city.Config) error) (err error) {
	data, err := filepath.Abs(flags.data)
	if err != nil {
		return err
	}
	flags.data, flags.often = data, true
	if err := emptyDemo(ctx, data); err != nil {
		return err
	}
	db, err := flags.open(ctx, sys, c.Progress)
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, db.stop(stop))
	}()
	c.Data = data
	c.AppURL, c.JobsURL = db.url(pglocal.App), db.url(pglocal.Jobs)
	c.Wall = sys.Now
	return play(c)
}

// emptyDemo makes dir an empty directory of the demo's own. It refuses to empty
// anything that no demo made.
func emptyDemo(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, demoMarker)); err != nil {
			return &usageError{fmt.Errorf("%s is not empty and not a demo's: choose another --data", dir)}
		}
		if err := pglocal.AwaitStopped(ctx, dir); err != nil {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // root's database user must reach its part of it
		return err
	}
	marker, err := os.Create(filepath.Join(dir, demoMarker))
	if err != nil {
		return err
	}
	_, err = io.WriteString(marker, "This directory belongs to \"citygate demo\", which empties it. The keys in it open with the key file beside them: they are for play.\n")
	return errors.Join(err, marker.Close())
}
