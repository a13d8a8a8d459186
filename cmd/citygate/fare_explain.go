package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"

	bojanz "github.com/bojanz/currency"
	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/explain"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newFareExplainCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, out string
	var n int
	c := &cobra.Command{
		Use:   "explain --tenant TENANT JOURNEY",
		Short: "Say why a journey cost what it cost, with the proof that this was signed",
		Long: `Says in words what was decided about a journey: taps, rules, caps before and after, tariff version; and where its
explanation lies in which signed batch. --file writes what riders and operators get from the API, for
"citygate fare verify-explanation".`,
		Example: `  citygate fare explain --tenant harbour-metro jrn_0195e2b05c007d5fa1d8e09e6ea1f4b2 --file why.json`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := citygate.ParseUUID(pricing.Prefix, args[0])
			if err != nil {
				return &usageError{err}
			}
			var d *explain.Document
			var file *explain.File
			err = withPricing(cmd.Context(), sys, f, name, func(in *installation, tx *pg.Tx) (err error) {
				d, file, err = in.Explanations.Find(cmd.Context(), tx, id, n)
				if errors.Is(err, explain.ErrPending) && out == "" {
					return nil
				}
				return err
			})
			if err != nil {
				return err
			}
			if err := sayDocument(sys, d); err != nil {
				return err
			}
			if file == nil {
				_, err = fmt.Fprintln(sys.Stdout, "not signed yet")
				return err
			}
			b := &file.Batch
			if _, err := fmt.Fprintf(sys.Stdout, "leaf %d of batch %d of %d, root %s, signed by explain-%d at %s\n", file.Index, b.Number, b.Size, b.Root, b.Key, b.SealedAt.Format("2006-01-02T15:04:05Z07:00")); err != nil {
				return err
			}
			for i, h := range file.Path {
				if _, err := fmt.Fprintf(sys.Stdout, "proof %d %s\n", i+1, h); err != nil {
					return err
				}
			}
			if out == "" {
				return nil
			}
			raw, err := json.MarshalIndent(file, "", "  ")
			if err != nil {
				return err
			}
			return os.WriteFile(out, append(raw, '\n'), 0o600)
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant")
	c.Flags().IntVar(&n, "decision", 0, "number of the decision (default: the last one)")
	c.Flags().StringVar(&out, "file", "", "where to write the explanation with its proof")
	required(c, "tenant")
	return c
}

func newFareVerifyExplanationCommand(sys *system) *cobra.Command {
	var jwks string
	c := &cobra.Command{
		Use:   "verify-explanation FILE --jwks FILE",
		Short: "Check a signed explanation offline, with the tenant's key set alone",
		Long: `Checks that the document is the one that the tenant signed, and says it in words. The key set is what the tenant
publishes at /.well-known/tenants/TENANT/jwks.json. Refusals: explain.file, explain.proof (it was changed, or the proof
is of another), explain.key, explain.signature.`,
		Example: `  citygate fare verify-explanation why.json --jwks jwks.json`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			raw, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			set, err := os.ReadFile(jwks)
			if err != nil {
				return err
			}
			f, err := explain.ParseFile(raw)
			if err != nil {
				return err
			}
			d, err := f.Verify(set)
			if err != nil {
				return err
			}
			if err := sayDocument(sys, d); err != nil {
				return err
			}
			_, err = fmt.Fprintf(sys.Stdout, "signed by explain-%d of tenant %d at %s\n", f.Batch.Key, f.Batch.Tenant, f.Batch.SealedAt.Format("2006-01-02T15:04:05Z07:00"))
			return err
		},
	}
	c.Flags().StringVar(&jwks, "jwks", "", "the tenant's key set")
	_ = c.MarkFlagRequired("jwks")
	required(c, "jwks")
	return c
}

func sayDocument(sys *system, d *explain.Document) error {
	digits, ok := bojanz.GetDigits(string(d.Currency))
	if !ok {
		digits = 0
	}
	lines, err := d.Words(func(minor int64) string {
		scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)
		return new(big.Rat).SetFrac(big.NewInt(minor), scale).FloatString(int(digits)) + " " + string(d.Currency)
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(sys.Stdout, "journey %s, decision %d of tenant %d, business date %s\n", d.Journey, d.Decision, d.Tenant, d.BusinessDate); err != nil {
		return err
	}
	for _, l := range lines {
		if _, err := fmt.Fprintln(sys.Stdout, l); err != nil {
			return err
		}
	}
	return nil
}
