package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice says which values a flag may have, beside the empty one for any: another is refused before anything is
// opened. A misspelled state would be answered by a list of nothing, which looks as if
// nothing were so. A check that the command has already (PreRunE) goes on after it.
func choice(c *cobra.Command, name string, values ...string) {
	further := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		f := c.Flags().Lookup(name)
		switch {
		case f.Value.String() != "" && !slices.Contains(values, f.Value.String()):
			return &usageError{fmt.Errorf("--%s %q: want %s", name, f.Value.String(), strings.Join(values, ", "))}
		case further != nil:
			return further(c, args)
		}
		return nil
	}
}
