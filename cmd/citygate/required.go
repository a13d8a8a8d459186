package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// required says of flags that the command cannot run without them: --help names them so,
// and what is missing or empty is refused before anything is opened. A check that the
// command has already (PreRunE) goes on after it.
func required(c *cobra.Command, names ...string) {
	for _, name := range names {
		c.Flags().Lookup(name).Usage += " (required)"
	}
	further := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		var missing []string
		for _, name := range names {
			if f := c.Flags().Lookup(name); !f.Changed || strings.TrimSpace(f.Value.String()) == "" {
				missing = append(missing, "--"+name)
			}
		}
		switch {
		case len(missing) == 0 && further != nil:
			return further(c, args)
		case len(missing) == 0:
			return nil
		}
		said := missing[len(missing)-1]
		if before := missing[:len(missing)-1]; len(before) > 0 {
			said = strings.Join(before, ", ") + " and " + said
		}
		return &usageError{fmt.Errorf("%s needs %s (see '%s --help')", strings.TrimPrefix(c.CommandPath(), "citygate "), said, c.CommandPath())}
	}
}
