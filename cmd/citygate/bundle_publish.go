package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/keys/bundle"
)

func newBundleRootsCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var out string
	c := &cobra.Command{
		Use:   "roots",
		Short: "Show who signs an installation's bundles: terminals are enrolled with these roots",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			set, err := in.Bundles.Roots(ctx)
			if err != nil {
				return err
			}
			if out != "" {
				if err := writeNew(out, set.Raw()); err != nil {
					return err
				}
			}
			return printRootSet(sys.Stdout, &set)
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&out, "out", "", "also write the signed root set (TR1) to this file")
	return c
}

func newBundlePrepareCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var tenant, out string
	c := &cobra.Command{
		Use:   "prepare --tenant OPERATOR --out FILE",
		Short: "Write the operator's next bundle for offline roots to sign",
		Long: `Prepares the operator's next bundle with the keys of today and writes it to --out, with the signatures it has
so far. The bundle in force stays in force until enough roots have signed and "citygate bundle import" took
what they signed. If the bundle in force is young and nothing changed there is nothing to sign, and it says so.

"citygate serve" prepares bundles by itself when they are a week old; this command fetches what it prepared.
--held FILE also writes the bundle in force, for "bundle root sign --after".`,
		Example: `  citygate bundle prepare --tenant harbour-metro --out next.tb1 --held held.tb1`,
		Args:    cobra.NoArgs,
	}
	var heldOut string
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if tenant == "" || out == "" {
			return &usageError{errors.New("name the operator by --tenant and the file to write by --out")}
		}
		ctx := cmd.Context()
		in, err := f.reading(ctx, sys)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.close(ctx)) }()
		operator, err := in.tenant(ctx, tenant)
		if err != nil {
			return err
		}
		next, err := in.Bundles.Renew(ctx, actor(sys), operator.ID)
		if errors.Is(err, fleet.ErrNoBundle) {
			return fmt.Errorf("%w: publish the operator's policy first", err)
		}
		if err != nil {
			return err
		}
		if !next.Draft {
			say(sys, fmt.Sprintf("bundle %d of %s is in force until %s and says all there is: nothing to sign", next.Version, operator.Slug, next.ExpiresAt.Format(time.DateOnly)))
			return nil
		}
		if heldOut != "" {
			held, err := in.Bundles.Latest(ctx, operator.ID)
			if err == nil {
				err = replaceFile(heldOut, held.Body)
			}
			if err != nil {
				return err
			}
		}
		if err := replaceFile(out, next.Body); err != nil {
			return err
		}
		return printDraft(sys, next)
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&tenant, "tenant", "", "number or short name of the operator")
	c.Flags().StringVar(&out, "out", "", "file to write")
	c.Flags().StringVar(&heldOut, "held", "", "file to write the bundle in force to")
	return c
}

// printDraft says on one line how far a bundle is.
func printDraft(sys *system, b fleet.Published) error {
	content, signers, err := bundle.Inspect(b.Body)
	if err != nil {
		return err
	}
	home, _ := content.Home()
	state := fmt.Sprintf("in force until %s", b.ExpiresAt.Format(time.DateOnly))
	if b.Draft {
		state = fmt.Sprintf("waits: %d of %d signatures", len(signers), content.Threshold)
	}
	_, err = fmt.Fprintf(sys.Stdout, "bundle %d of tenant %d: %s\n", b.Version, home.ID, state)
	return err
}

func newBundleImportCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var cosign bool
	c := &cobra.Command{
		Use:   "import FILE...",
		Short: "Take over what offline roots signed: root sets and bundles",
		Long: `Takes signed root sets and signed bundles. A bundle must be the one that was prepared, and it is in force as soon
as the threshold of the root set in force has signed it: by one file or by several. A root set must be the
first, or follow the one in force and be signed by a threshold of both. Importing twice changes nothing.

An installation that signs with roots of its own key store moves to offline roots by importing a set that
follows its own with --cosign: its own roots then sign too, and no terminal has to be enrolled again.`,
		Example: `  citygate bundle import first.tr1
  citygate bundle import next-ada.tb1 next-bob.tb1
  citygate bundle import --cosign offline.tr1`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			ctx := cmd.Context()
			open := f.reading
			if cosign || f.mustExist(sys) != nil { // the first root set may come before the first start
				open = func(ctx context.Context, sys *system) (*installation, error) {
					return f.signing(ctx, sys, slog.New(slog.DiscardHandler))
				}
			}
			in, err := open(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			for _, name := range args {
				if err := in.importSigned(ctx, sys, name, cosign); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		},
	}
	f.withKeys(c)
	c.Flags().BoolVar(&cosign, "cosign", false, "have the roots of this installation's own key store sign a root set that replaces them")
	return c
}

func (in *installation) importSigned(ctx context.Context, sys *system, name string, cosign bool) error {
	raw, err := readBounded(sys, name, bundle.BytesMax)
	if err != nil {
		return err
	}
	if _, err := bundle.InspectRoots(raw); err == nil {
		set, err := in.Bundles.ImportRoots(ctx, actor(sys), raw, cosign)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(sys.Stdout, "root set %d is in force: %d of %d roots sign\n", set.Version, set.Threshold, len(set.Roots))
		return err
	}
	got, err := in.Bundles.Import(ctx, actor(sys), raw)
	if err != nil {
		return err
	}
	return printDraft(sys, got)
}

func printRootSet(w io.Writer, s *bundle.RootSet) error {
	var out strings.Builder
	_, _ = fmt.Fprintf(&out, "root set %d: %d of %d sign, from %s\n", s.Version, s.Threshold, len(s.Roots), time.Unix(s.Issued, 0).UTC().Format(time.RFC3339))
	for _, r := range s.Roots {
		_, _ = fmt.Fprintf(&out, "root %s\n", hex.EncodeToString(r.Public))
	}
	for _, id := range s.Signers() {
		_, _ = fmt.Fprintf(&out, "signed by root %x\n", id)
	}
	_, err := io.WriteString(w, out.String())
	return err
}
