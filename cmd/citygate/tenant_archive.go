package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/archive"
)

func newTenantExportCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var out string
	c := &cobra.Command{
		Use:   "export --dir DIR NUMBER|NAME...",
		Short: "Take everything a tenant owns out, in open formats",
		Long: `Writes tenants into an empty directory: every row each owns as JSON lines (taps with their evidence, journeys,
fare decisions, transfers, charges, payouts, tariffs, policies, terminals, audit log), its payout files, every
public key, and a manifest with the SHA-256 of each file. Private keys and secrets are not in it.

Money between two tenants has a side in each one's books: name the tenants that ride together in one export, or
"ledger check" of what was imported misses the other side. Prints the SHA-256 of the manifest: keep it apart.`,
		Example: `  citygate tenant export --dir /backup/harbour harbour-city harbour-bus`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || out == "" {
				return &usageError{fmt.Errorf("want --dir and at least one tenant (see '%s --help')", c.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			var ids []citygate.TenantID
			for _, name := range args {
				t, err := in.tenant(ctx, name)
				if err != nil {
					return err
				}
				ids = append(ids, t.ID)
			}
			if err := os.MkdirAll(out, 0o750); err != nil {
				return err
			}
			root, err := os.OpenRoot(out)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, root.Close()) }()
			var payouts fs.FS
			if exists(in.flags.files) {
				payouts = os.DirFS(in.flags.files)
			}
			sum, err := archive.Exporter{DB: in.DB, Tenants: in.Tenants, Ring: in.Ring, PayoutFiles: payouts, Clock: sys.Now}.Export(ctx, root, ids...)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(sys.Stdout, "manifest sha256 %s\n", sum)
			return err
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&out, "dir", "", "empty directory to write to (required)")
	c.Flags().StringVar(&f.files, "files", "", "directory of payout files (default: files in the data directory)")
	return c
}

func newTenantVerifyCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check an export, without a gateway",
		Long: `Holds every file of an export against its manifest, and every tap against its terminal's record, its evidence and
the exported public keys, of CT1 and of other schemes; codes that only a provider or a shared secret can prove are
counted apart with the reason ("unproven"). Prints one JSON object on one line, with the manifest's SHA-256 to compare with the
one that was printed when the export was made. Exits 1 naming the file that is not as it was made.`,
		Example: `  citygate tenant verify /backup/harbour`,
		Args:    one("the directory of an export"),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := archive.Check(os.DirFS(args[0]))
			if err != nil {
				return err
			}
			return json.NewEncoder(sys.Stdout).Encode(r)
		},
	}
	return c
}

func newTenantImportCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	c := &cobra.Command{
		Use:   "import DIR",
		Short: "Put an export into a gateway that is empty",
		Long: `Checks an export as "tenant verify" does and puts its tenants into a gateway that has none of their numbers and the
same schema. Afterwards "citygate ledger check" proves the books. Private keys are not in an export: the tenants
can be read and settled, and issue nothing until they have new keys.`,
		Example: `  citygate tenant import /backup/harbour --data /var/lib/citygate/elsewhere`,
		Args:    one("the directory of an export"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			ctx := cmd.Context()
			if err := f.settle(sys); err != nil {
				return err
			}
			if err := os.MkdirAll(f.data, 0o711); err != nil { //nolint:gosec // root's database user passes through
				return err
			}
			in, err := f.importing(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			r, err := archive.Import(ctx, in.DB, in.Tenants, actor(sys), os.DirFS(args[0]))
			if err != nil {
				return err
			}
			return json.NewEncoder(sys.Stdout).Encode(r)
		},
	}
	f.databaseOnly(c)
	return c
}
