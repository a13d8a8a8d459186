package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/spf13/cobra"
)

func newMigrateCommand(sys *system) *cobra.Command {
	var data, url string
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring a database's schema up to date",
		Long: `Applies the schema changes that a database lacks and prints the name of each, one a line; nothing when
it is up to date. The schema goes forward only. Two processes may migrate at once: one waits.

--database-url connects as citygate_owner to a database that the role owns; deploy/roles.sql makes the
roles. --data migrates the private database of a data directory, which "citygate serve" and
"citygate demo" do by themselves.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (data == "") == (url == "") {
				return &usageError{errors.New("give one of --database-url and --data (see 'citygate migrate --help')")}
			}
			ctx := cmd.Context()
			if data == "" {
				return migrate(ctx, sys, url)
			}
			server, err := pglocal.Start(ctx, pglocal.Config{
				DataDir: data, PGBin: sys.Env("PG_BIN"), CacheDir: cacheDir(sys), Durable: true,
				Progress: func(step string) { _, _ = fmt.Fprintln(sys.Stderr, step) },
			})
			if err != nil {
				return err
			}
			err = migrate(ctx, sys, server.URL(pglocal.Owner, pglocal.Database))
			return errors.Join(err, server.Stop(context.WithoutCancel(ctx)))
		},
	}
	c.Flags().StringVar(&url, "database-url", "", "PostgreSQL URL of the role citygate_owner")
	c.Flags().StringVar(&data, "data", "", "data directory whose private database is migrated")
	return c
}

func migrate(ctx context.Context, sys *system, ownerURL string) error {
	applied, err := pg.Migrate(ctx, ownerURL)
	if err != nil {
		return err
	}
	for _, name := range applied {
		if _, err := fmt.Fprintln(sys.Stdout, name); err != nil {
			return err
		}
	}
	return nil
}
