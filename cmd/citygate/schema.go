package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/adapters/builtin"
	"github.com/cashlesscity/citygate/gateway/manifest"
)

func newSchemaCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "schema",
		Short: "JSON Schemas of the files that citygate reads",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(&cobra.Command{
		Use:   "manifest",
		Short: `Print the JSON Schema (2020-12) of the file of "citygate apply"`,
		Long: `Prints the JSON Schema of the file that "citygate apply", "diff" and "validate" read, made from the types they read it
into. An editor that knows it completes and checks a file while it is written; "citygate validate" holds more: what parts say
of each other. It is also in docs/schemas/city.schema.json.`,
		Example: `  citygate schema manifest > city.schema.json`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			raw, err := manifest.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(sys.Stdout, "%s\n", raw)
			return err
		},
	})
	c.AddCommand(&cobra.Command{
		Use:   "contract [PRODUCT]",
		Short: "Print the JSON Schema (2020-12) of a contract's configuration, or list the payment products",
		Long: `Prints the JSON Schema of what "config" holds in a contract of a payment product, as the file of "citygate apply" and PUT
/v1/tenants/{tenant}/contracts/{contract} take it; both check it and name what does not fit by its JSON Pointer. Without PRODUCT it
lists the products of this build, the secrets of their contracts, and whether the tenant's own key signs their requests. The
configuration of an adapter program (product http) has a schema of its own in the program's manifest, which is held as well.`,
		Example: `  citygate schema contract
  citygate schema contract wechatpay > wechatpay.schema.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			products := builtin.Products()
			if len(args) == 0 {
				for _, name := range products.Names() {
					p := products[name]
					if _, err := fmt.Fprintf(sys.Stdout, "%-12s %s\n", name, p.Title); err != nil {
						return err
					}
					for _, s := range p.Secrets {
						if _, err := fmt.Fprintf(sys.Stdout, "%-12s   secret %s: %s\n", "", s.Name, s.Doc); err != nil {
							return err
						}
					}
					if p.Signed {
						if _, err := fmt.Fprintf(sys.Stdout, "%-12s   key provider-%s signs requests\n", "", name); err != nil {
							return err
						}
					}
				}
				return nil
			}
			p, ok := products[args[0]]
			if !ok || p.Open == nil {
				return errNoProduct.Explain("%.40q; there are %s", args[0], strings.Join(products.Names(), ", "))
			}
			_, err := fmt.Fprintf(sys.Stdout, "%s\n", p.Config)
			return err
		},
	})
	return c
}
