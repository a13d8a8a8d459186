package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A documentKind is a document of a tenant that has versions.
type documentKind struct {
	use, short, field string
	publish           func(ctx context.Context, tx *pg.Tx, actor string, raw []byte, from time.Time) error
	// list calls each with every version.
	list func(ctx context.Context, tx *pg.Tx, each func(from time.Time, document any) error) error
}

var documentKinds = []documentKind{
	{
		use: "journey-rules", short: "How taps become journeys: print every version, or publish the next", field: "rules",
		publish: func(ctx context.Context, tx *pg.Tx, actor string, raw []byte, from time.Time) error {
			d, err := journey.ParseDocument(raw)
			if err != nil {
				return err
			}
			return pricing.PublishRules(ctx, tx, actor, d, from)
		},
		list: func(ctx context.Context, tx *pg.Tx, each func(time.Time, any) error) error {
			found, err := pricing.RuleVersions(ctx, tx)
			for i := 0; i < len(found) && err == nil; i++ {
				err = each(found[i].From, found[i].Document)
			}
			return err
		},
	},
	{
		use: "risk-terms", short: "Terms about money that does not come: print every version, or publish the next", field: "terms",
		publish: func(ctx context.Context, tx *pg.Tx, actor string, raw []byte, from time.Time) error {
			t, err := risk.Parse(raw)
			if err != nil {
				return err
			}
			return risk.Publish(ctx, tx, actor, t, from)
		},
		list: func(ctx context.Context, tx *pg.Tx, each func(time.Time, any) error) error {
			found, err := risk.Versions(ctx, tx)
			for i := 0; i < len(found) && err == nil; i++ {
				err = each(found[i].From, found[i].Terms)
			}
			return err
		},
	},
}

func newPolicyDocumentCommand(sys *system, k documentKind) *cobra.Command {
	var f gatewayFlags
	var name, file, from string
	c := &cobra.Command{
		Use:   k.use + " --tenant TENANT [--publish FILE --from TIME]",
		Short: k.short,
		Long: k.short + `.

Without --publish it prints every version as one line of JSON, with the instant from which it holds. A version
never changes; the same again is no error. A new one begins in the future and after all others.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (file == "") != (from == "") {
				return &usageError{errors.New("policy " + k.use + ": --publish goes together with --from")}
			}
			at, err := instant(sys, from)
			if err != nil {
				return err
			}
			var raw []byte
			if file != "" {
				if raw, err = documentFile(file); err != nil {
					return err
				}
			}
			return withPricing(cmd.Context(), sys, f, name, func(in *installation, tx *pg.Tx) error {
				if file != "" {
					t, err := in.Tenants.ByID(cmd.Context(), tx.Tenant)
					if err != nil {
						return err
					}
					if err := t.May(tenants.Configuring); err != nil {
						return err
					}
					if err := k.publish(cmd.Context(), tx, actor(sys), raw, at); err != nil {
						return fmt.Errorf("%s: %w", filepath.Base(file), err)
					}
					return nil
				}
				out := json.NewEncoder(sys.Stdout)
				return k.list(cmd.Context(), tx, func(from time.Time, document any) error {
					return out.Encode(map[string]any{"from": from, k.field: document})
				})
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name")
	c.Flags().StringVar(&file, "publish", "", "JSON file of the next version")
	c.Flags().StringVar(&from, "from", "", "when that begins, RFC 3339")
	required(c, "tenant")
	return c
}
