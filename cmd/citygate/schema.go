package main

import (
	"fmt"

	"github.com/spf13/cobra"

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
	return c
}
